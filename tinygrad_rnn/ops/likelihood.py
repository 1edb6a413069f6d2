"""Losses from chances: how unlikely a model finds what happened."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import kernels
from ..limits import number, whole
from ..op import function, primitive
from ..tensor import Operand, Tensor, Value
from . import reduce
from .arithmetic import astype, equal, exp, log, maximum, not_equal, softplus, where
from .loss import MEAN, as_tensor, check_reduction, everything, flags_of, guess, pair, reduced
from .reduce import log_softmax, softmax
from .shape import check_index, embedding, reshape

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "kl_div",
    "nll_loss",
]
FAMILY = "loss"  # of these ops, in pictures

# -- one of several classes -----------------------------------------------------------------------


def _is_class(x: Value, target: Value) -> Value:
    """Of each row, and each class, whether it is the target."""
    return equal(target[:, None], Tensor(np.arange(x.shape[-1]), name="j"))


def _surprise(logs: Value, target: Value, ignore_index: int) -> Value:
    losses = where(_is_class(logs, target), -logs, 0)
    return where(not_equal(target, ignore_index), reduce.sum(losses, axis=-1), 0)


def _slope(g: Value, x: Value, target: Value, ignore_index: int) -> Value:
    slope = g[:, None] * (softmax(x) - astype(_is_class(x, target), dtype=x.dtype))
    return where(not_equal(target[:, None], ignore_index), slope, 0)


@primitive(
    lambda g, y, x, target, ignore_index: _cross_entropy_pull(g, x, target, ignore_index),
    None,
    formula=lambda x, target, ignore_index: _surprise(log_softmax(x), target, ignore_index),
    sign="cross entropy",
)
def _cross_entropy(x: Value, target: Value, ignore_index: int) -> Value:
    """-log softmax(x)[target] of each row; 0 where the target is `ignore_index`."""
    return kernels.cross_entropy(x, target, ignore_index)


@primitive(
    lambda h, y, g, x, target, ignore_index: reduce.sum(
        h * _cross_entropy_pull(np.ones(g.shape, g.dtype), x, target, ignore_index), axis=-1
    ),
    lambda h, y, g, x, target, ignore_index: _curve(h, g, x, target, ignore_index),
    None,
    formula=_slope,
)
def _cross_entropy_pull(g: Value, x: Value, target: Value, ignore_index: int) -> Value:
    """The cotangent of the above: g (softmax(x) - onehot(target)), 0 in ignored rows."""
    return kernels.cross_entropy_pull(g, x, target, ignore_index)


def _curve(h: Value, g: Value, x: Value, target: Value, ignore_index: int) -> Value:
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
    weight: Operand | None = None,
    label_smoothing: float = 0.0,
    reduction: str = MEAN,
) -> Tensor:
    """Return -log softmax(logits)[target], summed or averaged over all targets that count.

    Shapes: logits (..., C), target (...) of integers in 0 <= target < C, or `ignore_index`.
    mask: bools in the shape of the target or of its first axes, such as (T, B); where it is False
    the target is ignored, and no NaN or index out of range does harm.
    weight: (C), what a target of each class counts; "mean" divides by the weights that counted.
    label_smoothing: so much of each target is spread evenly over all classes (Szegedy et al. 2016);
    both as in PyTorch, whose classes are on axis 1 where ours are last.
    reduction: "mean" over the targets that are not ignored (0 when all are), "sum"
    (L = Σ_t, S6), or "none" for one number per target, 0 where it is ignored.
    Raises ValueError for shapes that disagree and for targets out of range, TypeError for targets
    that are not integers and for a mask that is not bools.

    >>> round(tg.cross_entropy(tg.tensor([[0.0, 0.0], [5.0, 0.0]]), [1, -100]).item(), 6)
    0.693147
    """
    rows, classes, counted = _classified(
        "cross_entropy", logits, target, mask, ignore_index, reduction
    )
    number("cross_entropy", "label_smoothing", label_smoothing, "[0, 1]")
    losses = _cross_entropy(rows, classes, ignore_index=ignore_index)
    weight, share = _weighed("cross_entropy", weight, rows, classes, counted)
    losses = losses if share is None else losses * share
    if label_smoothing:
        logs = log_softmax(where(counted.reshape(-1, 1), rows, 0))
        even = -reduce.mean(logs if weight is None else logs * weight, axis=-1)
        sharp = (1 - label_smoothing) * losses if label_smoothing < 1 else 0  # not 0 · inf
        losses = sharp + label_smoothing * where(counted, even, 0)
    return _classes_reduced(losses, share, counted, np.shape(target), reduction)


@function()
def nll_loss(
    log_probs: Operand, target: Operand, *, mask: Operand | None = None, ignore_index: int = -100,
    weight: Operand | None = None, reduction: str = MEAN,
) -> Tensor:  # fmt: skip
    """Return -log_probs[target], summed or averaged: `cross_entropy` once log_softmax was taken.

    Shapes, arguments and errors as for `cross_entropy`; meaning of `torch.nn.functional.nll_loss`,
    whose classes are on axis 1 where ours are last.

    >>> tg.nll_loss(tg.tensor([[-1.0, -2.0], [-3.0, -4.0]]), [0, 1], reduction="sum").item()
    5.0
    """
    rows, classes, counted = _classified(
        "nll_loss", log_probs, target, mask, ignore_index, reduction
    )
    losses = _surprise(rows, classes, ignore_index)
    _, share = _weighed("nll_loss", weight, rows, classes, counted)
    losses = losses if share is None else losses * share
    return _classes_reduced(losses, share, counted, np.shape(target), reduction)


def _classified(
    who: str, scores: Operand, target: Operand, mask: Any, ignore_index: int, reduction: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores as rows, a class for each, `ignore_index` where none counts, and where one does."""
    word = "logits" if who == "cross_entropy" else "log_probs"
    scores, target = as_tensor(who, word, scores), as_tensor(who, "target", target)
    check_reduction(who, reduction)
    whole(who, "ignore_index", ignore_index, -(2**63), 2**63 - 1)
    if not scores.ndim or target.shape != scores.shape[:-1]:
        hint = " One-hot? Use target.data.argmax(-1); of chances p, -(p * log_softmax(x)).sum(-1)."
        one_hot = hint * (target.shape == scores.shape)
        raise ValueError(
            f"{who}: target: expected shape {scores.shape[:-1]} for logits of shape "
            f"{scores.shape} (class last), got {target.shape}."
            + (one_hot or guess("target", target.shape, scores.shape[:-1]))
        )
    seen = everything(who, "target", target)
    if seen.dtype.kind not in "iu":
        raise TypeError(f"{who}: target: expected class indices (integers), got {target.dtype}")
    indices: Value = seen if seen is target._array else target  # under vmap those of one example
    counted = indices != ignore_index
    if mask is not None:
        counted = where(flags_of(who, mask, target.shape), counted, False)
    try:
        every, flags = np.broadcast_arrays(seen, everything(who, "mask", counted))
        check_index("target", every[flags], scores.shape[-1], ValueError)
    except ValueError as error:
        raise ValueError(f"{who}: {error} (or ignore_index={ignore_index})") from None
    classes = as_tensor(who, "", where(counted, indices.astype(np.int64), ignore_index).reshape(-1))
    classes.name = "target"
    rows = scores if scores.ndim == 2 else reshape(scores, shape=(target.size, scores.shape[-1]))
    return rows, classes, counted.reshape(-1)


def _weighed(
    who: str, weight: Any, rows: Tensor, classes: Tensor, counted: Tensor
) -> tuple[Any, Tensor | None]:
    """The weights of the classes, and what each row counts by them."""
    if weight is None:
        return None, None
    weight = weight if isinstance(weight, Tensor) else Tensor(weight, dtype=rows.dtype)
    if weight.shape != rows.shape[1:]:
        raise ValueError(f"{who}: weight: expected shape {rows.shape[1:]}, got {weight.shape}")
    share = embedding(weight, where(counted, classes, 0))
    return weight, where(counted, share, 0)


def _classes_reduced(
    losses: Tensor, share: Tensor | None, counted: Tensor, shape: Any, reduction: str
) -> Tensor:
    if reduction == "none":
        return losses.reshape(shape)
    count = maximum(counted.sum(), 1).astype(losses.dtype)
    if share is not None and reduction == MEAN:
        count = where(equal(total := share.sum(), 0), 1, total)
    return losses.sum() / count if reduction == MEAN else losses.sum()


# -- chances of yes, and whole distributions ------------------------------------------------------


@function()
def binary_cross_entropy(
    probability: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = MEAN
) -> Tensor:
    """Return -y log p - (1 - y) log(1 - p) for probabilities p and targets y in [0, 1].

    A logarithm is at least -100, and has no slope where it is cut. From logits
    `binary_cross_entropy_with_logits` keeps more digits. Shapes, mask and reduction as for
    `mean_squared_error`. Raises ValueError for shapes that differ, and for probabilities and
    targets outside [0, 1].

    >>> round(tg.binary_cross_entropy(tg.tensor([0.5, 1.0]), [1, 1], reduction="sum").item(), 6)
    0.693147
    """
    who = "binary_cross_entropy"
    p, y, flags = pair(who, probability, target, mask, reduction)
    _check_chances(who, "probability", p, " Of logits? Use binary_cross_entropy_with_logits.")
    y = _chances(who, y, p)
    return reduced(-(y * _log(p) + (1 - y) * _log(1 - p)), flags, reduction)


def _log(p: Tensor) -> Value:
    cut = p < np.exp(-100.0)  # where it would be less than -100
    return where(cut, -100.0, log(where(cut, 1, p)))


@function()
def binary_cross_entropy_with_logits(
    logits: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = MEAN
) -> Tensor:
    """Return -y log σ(x) - (1 - y) log σ(-x) for logits x and targets y in [0, 1].

    It is y softplus(-x) + (1 - y) softplus(x): no term is negative, so that no digits cancel, and
    none overflows. Shapes, mask and reduction as for `mean_squared_error`.
    Raises ValueError for shapes that differ and for targets outside [0, 1].

    >>> round(tg.binary_cross_entropy_with_logits(tg.tensor([0.0]), [1]).item(), 6)
    0.693147
    """
    who = "binary_cross_entropy_with_logits"
    x, y, flags = pair(who, logits, target, mask, reduction)
    y = _chances(who, y, x)
    losses = y * softplus(-x) + (1 - y) * softplus(x)
    return reduced(losses if flags is None else where(flags, losses, 0), flags, reduction)


def _chances(who: str, target: Tensor, like: Tensor) -> Value:
    """The target as floats, once it is known that they are chances."""
    _check_chances(who, "target", target, " Of -1 and 1 make (target + 1) / 2.")
    return target if target.dtype.kind == "f" else astype(target, dtype=like.dtype)


def _check_chances(who: str, word: str, x: Tensor, hint: str) -> None:
    array = everything(who, word, x)
    if not np.all((array >= 0) & (array <= 1)):
        raise ValueError(
            f"{who}: {word}: expected numbers from 0 to 1, got values from {array.min()} to "
            f"{array.max()}.{hint}"
        )


@function()
def kl_div(
    log_probs: Operand,
    target: Operand,
    *,
    log_target: bool = False,
    mask: Operand | None = None,
    reduction: str = MEAN,
) -> Tensor:
    """Return p (log p - log q), elementwise, for log_probs log q and target p (or log p).

    Summed over the last axis it is the divergence KL(p ‖ q) of Kullback and Leibler (1951). Name,
    order and meaning of `torch.nn.functional.kl_div`: log_target says that the target is a
    logarithm, and "mean" is over all elements, which is no mean of divergences: that is
    reduction="sum" over the number of rows. Where p is 0 the term is 0, whatever q is, and so are
    its derivatives. Shapes, mask, reduction and errors as for `mean_squared_error`.

    >>> halves = tg.tensor(np.log([0.5, 0.5]))
    >>> round(tg.kl_div(halves, tg.tensor([1.0, 0.0]), reduction="sum").item(), 6)
    0.693147
    """
    x, y, flags = pair("kl_div", log_probs, target, mask, reduction)
    never = equal(y, -np.inf if log_target else 0)
    p, log_p = (exp(y), where(never, 0, y)) if log_target else (y, log(where(never, 1, y)))
    return reduced(p * (log_p - where(never, 0, x)), flags, reduction)
