"""Clipping in the backward pass, inside backpropagation through time."""

from typing import Any

from ..limits import number
from ..op import function, primitive
from ..tensor import Tensor, Value, mode
from . import reduce
from .arithmetic import abs, maximum, minimum, sqrt

__all__ = ["clip_gradient"]


@primitive(
    lambda g, y, x, norm, value: _by_norm(g, norm) if norm else _by_value(g, value),
    loop=lambda build, y, inputs, norm, value: inputs[0],
)
def _clip_gradient(x: Value, norm: float | None, value: float | None) -> Value:
    """x itself; its gradient is clipped."""
    return x


def _by_value(g: Value, value: Any) -> Value:
    return maximum(minimum(g, value), -value)


def _by_norm(g: Value, norm: float | None) -> Value:
    """Each row over the larger of 1 and its length in units of `norm`.

    The largest element is taken out before squaring, so that a row that has exploded does not
    overflow; a row that is short enough is divided by exactly 1.
    """
    if not g.shape[-1]:
        return g
    unit = g / norm
    top = maximum(reduce.max(abs(unit), axis=-1, keepdims=True), 1)
    rest = unit / top
    return g / (top * sqrt(maximum(reduce.sum(rest * rest, axis=-1, keepdims=True), 1)))


@function(1)
def clip_gradient(x: Value, *, norm: float | None = None, value: float | None = None) -> Value:
    """x itself, whose gradient is clipped in the backward pass: at every step, if a step does so.

    value: each element is brought into [-value, value]. norm: each row, along the last axis, is
    scaled down to at most that Euclidean length by itself, so that a sequence's gradient does not
    depend on its batch mates. NaN stays NaN (S13; Pascanu et al. 2013).

    The gradient is by intent not the identity's. A second derivative takes a backward pass as
    well, which is clipped here again; as a function of the cotangent, clipping has its true
    derivative.
    Raises ValueError unless exactly one positive limit is given, and Untraceable in a step of a
    scan on what does not change with time: the gradients of all steps would be clipped as one.

    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> tg.grad((10 * tg.clip_gradient(x, norm=1.0)).sum(), x)
    tensor([0.70710678, 0.70710678], dtype=float64)
    """
    if (norm is None) == (value is None):
        raise ValueError("clip_gradient: expected norm=... or value=..., one of the two")
    asked = dict(norm=norm, value=value)
    word, limit = next((k, v) for k, v in asked.items() if v is not None)
    number("clip_gradient", word, limit, "(0, inf)", hint=". Without a limit, leave it out.")
    if norm is not None and not x.ndim:
        raise ValueError("clip_gradient: norm: x has no axis to measure along. Use value=...")
    if mode.trace and isinstance(x, Tensor):
        x = mode.trace.each("clip_gradient", x)
    return _clip_gradient(x, **asked | {word: float(limit)})
