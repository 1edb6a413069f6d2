"""Clipping on the way back, inside backpropagation through time."""

import math

import numpy as np

from ..op import function, primitive
from ..tensor import Outline, Tensor, Untraceable, as_array, mode
from . import reduce
from .arithmetic import abs, maximum, minimum, sqrt

__all__ = ["clip_cotangent"]


@primitive(
    lambda g, y, x, norm, value: _by_norm(g, norm) if norm else _by_value(g, value),
    loop=lambda build, y, inputs, norm, value: inputs[0],
)
def _clip_cotangent(x, norm, value):
    """x itself; what comes back through it is clipped."""
    return x


def _by_value(g, value):
    return maximum(minimum(g, value), -value)


def _by_norm(g, norm):
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


@function()
def clip_cotangent(x, *, norm=None, value=None):
    """x itself, whose cotangent is clipped on the way back: at every step, when a step says it.

    value: each element is brought into [-value, value]. norm: each row, along the last axis, is
    scaled down to at most that Euclidean length by itself, so that a sequence's gradient does not
    depend on its batch mates. NaN stays NaN (S13; Pascanu et al. 2013).

    The gradient is by intent not the identity's. A derivative of it is a walk back as well, which
    is clipped where it comes by here again; as a function of the cotangent, clipping has its true
    derivative.
    Raises ValueError unless exactly one positive limit is given, and Untraceable in a step of a
    scan on what does not change with time: all steps' cotangents would be clipped as one.

    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> tg.grad((10 * tg.clip_cotangent(x, norm=1.0)).sum(), x)
    tensor([0.70710678, 0.70710678], dtype=float64)
    """
    x = x if hasattr(x, "ndim") else as_array(x)
    if (norm is None) == (value is None):
        raise ValueError("clip_cotangent: expected norm=... or value=..., one of the two")
    word, limit = ("norm", norm) if value is None else ("value", value)
    if isinstance(limit, bool) or not isinstance(limit, int | float | np.number):
        raise TypeError(f"clip_cotangent: {word}: expected a number, got {limit!r}")
    if not 0 < limit < math.inf:
        hint = "Without a limit, leave it out."
        raise ValueError(f"clip_cotangent: {word}: expected a positive number, got {limit}. {hint}")
    if norm is not None and not x.ndim:
        raise ValueError("clip_cotangent: norm: x has no axis to measure along. Use value=...")
    if mode.trace is not None and isinstance(x, Tensor) and x._array.__class__ is not Outline:
        raise Untraceable(
            "clip_cotangent: x is the same at every step of the scan, so that its cotangent comes "
            "back once, for all steps. Clip what the step computes, or clip x before the scan; or "
            "run the steps one by one with unroll=True."
        )
    return _clip_cotangent(x, **{"norm": None, "value": None, word: float(limit)})
