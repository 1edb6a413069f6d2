"""Losses: how far off, as one number; and what all losses are given."""

from __future__ import annotations

import numpy as np

from ..lengths import plain
from ..limits import number, one_of
from ..op import function
from ..tensor import Operand, Tensor, Untraceable, Value, every
from .arithmetic import abs, astype, less_equal, maximum, real, where
from .reduce import mean
from .reduce import sum as total
from .shape import reshape

__all__ = ["huber_loss", "l1_loss", "mean_squared_error"]
MEAN, SUM = mean.__name__, total.name  # what is asked for is called as the op is


@function()
def mean_squared_error(
    prediction: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = MEAN
) -> Tensor:
    """Return (prediction - target)², averaged or summed over all elements, or each ("none").

    mask: bools in the shape of the target or of its first axes, such as (T, B) for (T, B, F).
    Only where it is True elements count, in the mean too, which over none of them is 0; elsewhere
    the loss and its gradient are 0, whatever is there. Raises ValueError when the shapes differ:
    (N, 1) against (N,) would broadcast to a plausible and wrong (N, N).

    >>> tg.mean_squared_error(tg.tensor([1.0, 4.0]), [1.0, 2.0]).item()
    2.0
    """
    x, y, flags = pair("mean_squared_error", prediction, target, mask, reduction)
    error = x - y
    return reduced(error * error, flags, reduction)


@function()
def l1_loss(
    prediction: Operand, target: Operand, *, mask: Operand | None = None, reduction: str = MEAN
) -> Tensor:
    """Return |prediction - target|, averaged or summed over all elements, or each ("none").

    Shapes, mask, reduction and errors as for `mean_squared_error`. Where they agree, the derivative
    is taken as 0.

    >>> tg.l1_loss(tg.tensor([1.0, 4.0]), [1.0, 2.0]).item()
    1.0
    """
    x, y, flags = pair("l1_loss", prediction, target, mask, reduction)
    return reduced(abs(x - y), flags, reduction)


@function()
def huber_loss(
    prediction: Operand,
    target: Operand,
    *,
    delta: float = 1.0,
    mask: Operand | None = None,
    reduction: str = MEAN,
) -> Tensor:
    """Return e²/2 where the error e is at most δ, and δ (|e| - δ/2) beyond (Huber 1964).

    Shapes, mask, reduction and errors as for `mean_squared_error`; ValueError unless δ > 0.

    >>> tg.huber_loss(tg.tensor([0.5, 3.0]), [0.0, 0.0], reduction="none").numpy()
    array([0.125, 2.5  ])
    """
    x, y, flags = pair("huber_loss", prediction, target, mask, reduction)
    number("huber_loss", "delta", delta, "(0, inf]")
    error = x - y
    size = abs(error)
    delta = min(delta, float(np.finfo(error.dtype).max))  # 0 times infinity is NaN, too
    near = less_equal(size, delta)
    inner = where(near, error, 0)  # else an infinite error would have 0 times infinity for a slope
    losses = inner * inner * 0.5 + delta * (where(near, 0.5 * delta, size) - 0.5 * delta)
    return reduced(losses, flags, reduction)


def reduced(losses: Tensor, flags: Tensor | None, reduction: str) -> Tensor:
    """The losses, which are 0 where they do not count, as the caller wants them."""
    if reduction == "none":
        return losses
    count = losses.size
    if reduction == MEAN and flags is not None:
        each = count // max(1, flags.size)  # elements to a flag
        count = maximum(astype(flags.sum(), dtype=losses.dtype) * each, 1)
    return losses.sum() / count if reduction == MEAN else losses.sum()


# -- what a loss is given -------------------------------------------------------------------------


def as_tensor(who: str, word: str, x: Operand) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(plain(who, word, x))


def everything(who: str, word: str, x: Tensor) -> np.ndarray:
    """All numbers of what a loss has to look at, which it cannot in the step of a loop."""
    if (array := every(x)) is None:
        raise Untraceable(
            f"{who}: {word}: a step of a scan is compiled before there are numbers to look at. "
            "Return the prediction as an output of the step, and take the loss after the scan, "
            "of all times at once; or run the steps one by one with unroll=True."
        )
    return array  # type: ignore[no-any-return]


def numbers(who: str, word: str, x: Operand) -> np.ndarray:
    """The numbers of what a loss computes with; refused under vmap, where there are others."""
    everything(who, word, x := as_tensor(who, word, x))
    return x.data


def pair(
    who: str, x: Operand, target: Operand, mask: Operand | None, reduction: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A prediction and its target as tensors of one shape, and the mask: where it is False, 0."""
    x, y = as_tensor(who, "prediction", x), as_tensor(who, "target", target)
    check_reduction(who, reduction)
    if x.shape != y.shape:
        hint = guess("target", y.shape, x.shape) or " Reshape one of them."
        raise ValueError(
            f"{who}: target: expected shape {x.shape} like the prediction, got {y.shape}.{hint}"
        )
    x = as_tensor(who, "prediction", real(x))
    if mask is None:
        return x, y, None
    flags = flags_of(who, mask, y.shape)  # first of all: the derivative of what follows could be
    return where(flags, x, 0), where(flags, y, 0), flags  # infinite, and 0 times that is NaN


def flags_of(who: str, mask: Operand, shape: tuple[int, ...]) -> Value:
    """A mask as bools, with axes of size 1 behind for those of the target that it lacks."""
    mask = as_tensor(who, "mask", mask)
    if mask.dtype.kind != "b":
        raise TypeError(
            f"{who}: mask: expected bools, True where it counts, got {mask.dtype}. Use mask > 0."
        )
    if (shape and not mask.ndim) or mask.shape != shape[: mask.ndim]:
        raise ValueError(
            f"{who}: mask: expected shape {shape} like the target, or its first axes, got "
            f"{mask.shape}." + guess("mask", mask.shape, shape[: mask.ndim])
        )
    return reshape(mask, shape=mask.shape + (1,) * (len(shape) - mask.ndim))


def guess(word: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What may have gone wrong when one shape came and another was expected."""
    if len(shape) > 1 and (shape[1], shape[0], *shape[2:]) == expected:
        return f" Batch first? Use tg.swapaxes({word}, 0, 1)."
    if shape == (*expected, 1) or (word == "mask" and shape == (*expected[:-1], 1)):
        return f" Use {word}[..., 0]."
    return ""


def check_reduction(who: str, reduction: str) -> None:
    one_of(who, "reduction", reduction, (MEAN, SUM, "none"))
