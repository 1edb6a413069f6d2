"""Losses: how wrong, as one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..op import function, primitive
from ..tensor import Operand, Outline, Tensor, Untraceable, owned
from . import reduce
from .arithmetic import astype, log, maximum, not_equal, softplus, where
from .reduce import softmax
from .shape import check_index, reshape

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "mean_squared_error",
]


@primitive(
    lambda g, y, x, target, ignore_index: _cross_entropy_pull(g, x, target, ignore_index),
    None,
    sign="cross entropy",
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
    counted = reshape(not_equal(target, ignore_index), shape=(-1, 1))
    p = softmax(where(counted, x, 0))  # an ignored row may be NaN, and 0 times that is NaN
    h = h * where(counted, reshape(g, shape=(-1, 1)), 0)
    return p * (h - reduce.sum(h * p, axis=-1, keepdims=True))


@function()
def cross_entropy(
    logits: Operand,
    target: Operand,
    *,
    mask: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-log softmax(logits)[target], summed or averaged over all targets that count.

    Shapes: logits (..., C), target (...) of integers in 0 <= target < C, or `ignore_index`.
    mask: bools in the shape of the target or of its first axes, such as (T, B); where it is False
    the target is ignored, and no NaN or index out of range does harm.
    reduction: "mean" over the targets that are not ignored (0 when all are), "sum" (the notes'
    L = Σ_t, S6), or "none" for one number per target, 0 where it is ignored.
    Raises ValueError for shapes that disagree and for targets out of range, TypeError for targets
    that are not integers and for a mask that is not bools.
    """
    logits, target = _tensor(logits), _tensor(target)
    _check_reduction("cross_entropy", reduction)
    if not logits.ndim or target.shape != logits.shape[:-1]:
        one_hot = " One-hot? Use target.data.argmax(-1)." if target.shape == logits.shape else ""
        raise ValueError(
            f"cross_entropy: target: expected shape {logits.shape[:-1]} for logits of shape "
            f"{logits.shape} (class last), got {target.shape}."
            + (one_hot or _guess("target", target.shape, logits.shape[:-1]))
        )
    indices = _numbers("cross_entropy", "target", target)
    if indices.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy: target: expected class indices (integers), got dtype {target.dtype}"
        )
    if mask is not None:
        mask = _numbers("cross_entropy", "mask", _flags("cross_entropy", mask, target.shape))
    count = _count(indices, mask, logits.shape[-1], ignore_index)
    indices = indices.astype(np.int64, copy=False)
    if mask is not None:
        indices = np.where(mask, indices, ignore_index)
    wide = (indices.size, logits.shape[-1])
    rows = logits if logits.ndim == 2 else reshape(logits, shape=wide)
    flat = owned(indices.reshape(-1))  # a tensor's array stays
    flat.name = "target"
    losses = _cross_entropy(rows, flat, ignore_index=ignore_index)
    if reduction == "none":
        return reshape(losses, shape=target.shape)
    total = reduce.sum(losses)
    return total if reduction == "sum" else total / float(max(1, count))


def _count(indices: np.ndarray, flags: Any, classes: int, ignore_index: int) -> int:
    """How many targets count, once none of those is out of range."""
    outside = indices.size and (indices.min() < 0 or indices.max() >= classes)
    if not outside and ignore_index < 0 and flags is None:
        return indices.size
    counted = indices != ignore_index
    counted = counted if flags is None else counted & flags
    try:
        check_index("target", indices[counted], classes, ValueError)
    except ValueError as error:
        raise ValueError(f"cross_entropy: {error} (or ignore_index={ignore_index})") from None
    return int(counted.sum())


@function()
def mean_squared_error(
    prediction: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """(prediction - target)², averaged or summed over all elements, or ("none") each by itself.

    mask: bools in the shape of the target or of its first axes, such as (T, B) for (T, B, F).
    Only where it is True elements count, in the mean too, which over none of them is 0; elsewhere
    the loss and its gradient are 0, whatever is there. Raises ValueError when the shapes differ:
    (N, 1) against (N,) would broadcast to a plausible and wrong (N, N).
    """
    x, y, flags = _pair("mean_squared_error", prediction, target, mask, reduction)
    error = x - y
    return _reduced(error * error, flags, reduction)


LEAST = -100.0  # what the logarithm of a probability is taken for when that is 0


@function()
def binary_cross_entropy(
    probability: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """-y log p - (1 - y) log(1 - p) for probabilities p and targets y: 0, 1, or a chance between.

    A logarithm is at least -100, and has no slope where it is cut. From logits
    `binary_cross_entropy_with_logits` keeps more digits. Shapes, mask and reduction as for
    `mean_squared_error`. Raises ValueError for shapes that differ, and for probabilities and
    targets outside [0, 1].
    """
    who = "binary_cross_entropy"
    p, y, flags = _pair(who, probability, target, mask, reduction)
    _check_chances(who, "probability", p, " Of logits? Use binary_cross_entropy_with_logits.")
    y = _chances(who, y, p)
    return _reduced(-(y * _log(p) + (1 - y) * _log(1 - p)), flags, reduction)


def _log(p: Tensor) -> Tensor:
    cut = p < np.exp(LEAST)
    return where(cut, LEAST, log(where(cut, 1, p)))


@function()
def binary_cross_entropy_with_logits(
    logits: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """-y log σ(x) - (1 - y) log σ(-x) for logits x and targets y: 0, 1, or a chance in between.

    It is y softplus(-x) + (1 - y) softplus(x): no term is negative, so that no digits cancel, and
    none overflows. Shapes, mask and reduction as for `mean_squared_error`.
    Raises ValueError for shapes that differ and for targets outside [0, 1].
    """
    who = "binary_cross_entropy_with_logits"
    x, y, flags = _pair(who, logits, target, mask, reduction)
    y = _chances(who, y, x)
    losses = y * softplus(-x) + (1 - y) * softplus(x)
    return _reduced(losses if flags is None else where(flags, losses, 0), flags, reduction)


def _chances(who: str, target: Tensor, like: Tensor) -> Tensor:
    """The target as floats, once it is known that they are chances."""
    _check_chances(who, "target", target, " Of -1 and 1 make (target + 1) / 2.")
    return target if target.dtype.kind == "f" else astype(target, dtype=like.dtype)


def _check_chances(who: str, word: str, x: Tensor, hint: str) -> None:
    array = _numbers(who, word, x)
    if not np.all((array >= 0) & (array <= 1)):
        low, high = array.min(), array.max()
        raise ValueError(
            f"{who}: {word}: expected numbers from 0 to 1, got values from {low} to {high}.{hint}"
        )


def _reduced(losses: Tensor, flags: Tensor | None, reduction: str) -> Tensor:
    """The losses, which are 0 where they do not count, as the caller wants them."""
    if reduction == "none":
        return losses
    if reduction == "mean" and flags is None:
        return reduce.mean(losses)
    total = reduce.sum(losses)
    if reduction == "sum" or flags is None:
        return total
    each = losses.size // max(1, flags.size)  # elements to a flag
    return total / maximum(astype(reduce.sum(flags), dtype=losses.dtype) * each, 1)


# -- what a loss is given -------------------------------------------------------------------------


def _tensor(x: Operand) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _numbers(who: str, word: str, x: Tensor) -> np.ndarray:
    """The numbers of what a loss has to look at, which it cannot in the step of a loop."""
    if x._array.__class__ is Outline:
        raise Untraceable(
            f"{who}: {word}: a step of a scan is compiled before there are numbers to look at. "
            "Return the prediction as an output of the step, and take the loss after the scan, "
            "of all times at once; or run the steps one by one with unroll=True."
        )
    return x.data


def _pair(
    who: str, x: Operand, target: Operand, mask: Operand | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A prediction and its target as tensors of one shape, and the mask: where it is False, 0."""
    x, y = _tensor(x), _tensor(target)
    _check_reduction(who, reduction)
    if x.shape != y.shape:
        guess = _guess("target", y.shape, x.shape) or " Reshape one of them."
        raise ValueError(
            f"{who}: target: expected shape {x.shape} like the prediction, got {y.shape}.{guess}"
        )
    if mask is None:
        return x, y, None
    flags = _flags(who, mask, y.shape)  # first of all: the derivative of what follows could be
    return where(flags, x, 0), where(flags, y, 0), flags  # infinite, and 0 times that is NaN


def _flags(who: str, mask: Operand, shape: tuple[int, ...]) -> Tensor:
    """A mask as bools, with axes of size 1 behind for those of the target that it lacks."""
    mask = _tensor(mask)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"{who}: mask: expected bools, True where it counts, got {mask.dtype}. Use mask > 0."
        )
    if not mask.ndim or mask.shape != shape[: mask.ndim]:
        raise ValueError(
            f"{who}: mask: expected shape {shape} like the target, or its first axes, got "
            f"{mask.shape}." + _guess("mask", mask.shape, shape[: mask.ndim])
        )
    return reshape(mask, shape=mask.shape + (1,) * (len(shape) - mask.ndim))


def _guess(word: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What may have gone wrong when one shape came and another was expected."""
    if len(shape) > 1 and (shape[1], shape[0], *shape[2:]) == expected:
        return f" Batch first? Use tg.swapaxes({word}, 0, 1)."
    if shape == (*expected, 1) or (word == "mask" and shape == (*expected[:-1], 1)):
        return f" Use {word}[..., 0]."
    return ""


def _check_reduction(who: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{who}: reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")
