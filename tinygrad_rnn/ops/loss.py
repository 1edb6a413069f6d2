"""Losses: how wrong, as one number."""

import numpy as np

from .. import kernels
from ..op import primitive
from ..tensor import Operand, Tensor, owned
from . import reduce
from .arithmetic import astype, not_equal
from .reduce import softmax
from .shape import check_index, reshape


@primitive(
    lambda g, y, x, target, ignore_index: _cross_entropy_pull(g, x, target, ignore_index), None
)
def _cross_entropy(x, target, ignore_index):
    """-log softmax(x)[target] of each row; 0 where the target is `ignore_index`."""
    return kernels.cross_entropy(x, target, ignore_index)


@primitive(
    lambda h, y, g, x, target, ignore_index: reduce.sum(
        h * _cross_entropy_pull(np.ones(g.shape, g.dtype), x, target, ignore_index), axis=-1
    ),
    lambda h, y, g, x, target, ignore_index: _curve(h, g, x, target, ignore_index),
    None,
)
def _cross_entropy_pull(g, x, target, ignore_index):
    """The cotangent of the above: g (softmax(x) - onehot(target)), 0 in ignored rows."""
    return kernels.cross_entropy_pull(g, x, target, ignore_index)


def _curve(h, g, x, target, ignore_index):
    counted = g * astype(not_equal(target, ignore_index), dtype=g.dtype)
    p, h = softmax(x), h * reshape(counted, shape=(-1, 1))
    return p * (h - reduce.sum(h * p, axis=-1, keepdims=True))


def cross_entropy(
    logits: Operand, target: Operand, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-log softmax(logits)[target], summed or averaged over all targets that count.

    Shapes: logits (..., C), target (...) of integers in 0 <= target < C, or `ignore_index`.
    reduction: "mean" over the targets that are not ignored (0 when all are), "sum" (the notes'
    L = Σ_t, S6), or "none" for one number per target.
    Raises ValueError for shapes that disagree and for targets out of range, TypeError for targets
    that are not integers.
    """
    logits = logits if isinstance(logits, Tensor) else Tensor(logits)
    target = target if isinstance(target, Tensor) else Tensor(target)
    indices = target.data
    _check_reduction("cross_entropy", reduction)
    if not logits.ndim or target.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: target: expected shape {logits.shape[:-1]} for logits of shape "
            f"{logits.shape} (class last), got {target.shape}."
            + (" One-hot? Use target.data.argmax(-1)." if target.shape == logits.shape else "")
        )
    if indices.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: target: expected class indices (integers), got dtype {target.dtype}"
        )
    count = _count(indices, logits.shape[-1], ignore_index)
    rows = logits
    if logits.ndim != 2:
        rows = reshape(logits, shape=(indices.size, logits.shape[-1]))
    flat = owned(indices.astype(np.int64, copy=False).reshape(-1))  # a tensor's array stays
    flat.name = "target"
    losses = _cross_entropy(rows, flat, ignore_index=ignore_index)
    if reduction == "none":
        return reshape(losses, shape=target.shape)
    total = reduce.sum(losses)
    return total if reduction == "sum" else total / float(max(1, count))


def _count(indices: np.ndarray, classes: int, ignore_index: int) -> int:
    """How many targets count, once none of them is out of range."""
    ignored = 0
    if indices.size and (indices.min() < 0 or indices.max() >= classes or ignore_index >= 0):
        counted = indices != ignore_index
        ignored = indices.size - int(counted.sum())
        try:
            check_index("target", indices[counted], classes, ValueError)
        except ValueError as error:
            raise ValueError(f"cross_entropy: {error} (or ignore_index={ignore_index})") from None
    return indices.size - ignored


def _check_reduction(who: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{who}: reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")


def mean_squared_error(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """(prediction - target)², averaged or summed over all elements, or ("none") each by itself.

    Raises ValueError when the shapes differ: (N, 1) against (N,) would broadcast to a plausible
    and wrong (N, N).
    """
    prediction = prediction if isinstance(prediction, Tensor) else Tensor(prediction)
    target = target if isinstance(target, Tensor) else Tensor(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"mean_squared_error: target: expected shape {prediction.shape} like the prediction, "
            f"got {target.shape}. Reshape one of them."
        )
    _check_reduction("mean_squared_error", reduction)
    error = prediction - target
    square = error * error
    if reduction == "none":
        return square
    return reduce.sum(square) if reduction == "sum" else reduce.mean(square)
