"""Ops that make one number of many."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels, limits
from ..op import function, primitive
from ..tensor import Axis, Tensor, Value
from .arithmetic import abs, astype, div, equal, exp, log, real, where
from .shape import add_up, broadcast_to, reshape

__all__ = ["log_softmax", "logsumexp", "max", "mean", "min", "softmax", "sum"]


def kept(g: Value, x: Value, axis: Axis) -> Value:
    """A result with the axes it lost put back as 1, so that it broadcasts against x."""
    shape = list(x.shape)
    for k in axes_of(x, axis):
        shape[k] = 1
    return reshape(g, shape=tuple(shape))


def axes_of(x: Tensor, axis: Axis) -> tuple[int, ...]:
    """The axes that NumPy means by an axis, several, or None for all."""
    return tuple(range(x.ndim)) if axis is None else limits.axes_of("axis", axis, x.ndim)


@primitive(
    lambda g, y, x, axis, keepdims: broadcast_to(
        g if axis is None else kept(g, x, axis), shape=x.shape
    ),
    loop="summed",
    sign="Σ",
    method=True,
)
def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the sum over an axis, several, or all. float32 keeps its digits over a million terms.

    >>> tg.sum(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([4., 6.])
    """
    return add_up(x, None if axis is None else axes_of(x, axis), keepdims)


@function(1, method=True)
def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the mean over an axis, several, or all; over nothing it is NaN.

    >>> tg.mean(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1).numpy()
    array([1.5, 3.5])
    """
    total = sum(real(x), axis=axis, keepdims=keepdims)
    count = math.prod(x.shape[k] for k in axes_of(x, axis))
    return div(total, count)


def _share(g: Value, y: Value, x: Value, axis: Axis, keepdims: bool) -> Value:
    """The part of the cotangent that x gets where it is the extreme, equal where several tie."""
    peak = astype(equal(x, kept(y, x, axis)), dtype=g.dtype)
    return peak * kept(g, x, axis) / sum(peak, axis=axis, keepdims=True)


@primitive(_share, loop="largest", numpy=("amax",), method=True)
def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the largest over an axis, several, or all; ties share the gradient. NaN wins.

    >>> tg.max(tg.tensor([[1.0, 5.0], [3.0, 4.0]]), axis=1).numpy()
    array([5., 4.])
    """
    return x.max(axes_of(x, axis), keepdims=keepdims)


@primitive(_share, loop="smallest", numpy=("amin",), method=True)
def min(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the smallest over an axis, several, or all; ties share the gradient. NaN wins.

    >>> tg.min(tg.tensor([[1.0, 5.0], [3.0, 4.0]])).item()
    1.0
    """
    return x.min(axes_of(x, axis), keepdims=keepdims)


# -- softmax and its relatives, along an axis, several, or all -----------------------------------


def _along(kernel: Callable[..., Any], x: Value, axis: Axis) -> Value:
    """Run a kernel that works on the last axis along others, which it may take away."""
    axes = axes_of(x, axis)
    if axes == (x.ndim - 1,):
        return kernel(x)
    ends = range(-len(axes), 0)
    moved = np.moveaxis(x, axes, ends)
    rest = moved.shape[: x.ndim - len(axes)]
    y = kernel(moved.reshape(*rest, math.prod(moved.shape[len(rest) :])))
    return y if y.ndim == len(rest) else np.moveaxis(y.reshape(moved.shape), ends, axes)


def _softmax(x: Value, axis: Axis) -> Value:
    x = real(x)
    e = exp(x - max(x, axis=axis, keepdims=True))
    return e / sum(e, axis=axis, keepdims=True)


@primitive(
    lambda g, y, x, axis: y * (g - sum(g * y, axis=axis, keepdims=True)),
    formula=_softmax,
    method=True,
)
def softmax(x: Value, axis: Axis = -1) -> Value:
    """Return eˣ / Σ eˣ along an axis, several, or all, without overflow; of -inf it is 0.

    >>> tg.softmax(tg.tensor([0.0, 0.0, -np.inf])).numpy()
    array([0.5, 0.5, 0. ])
    """
    return _along(kernels.softmax, x, axis)


def _log_softmax(x: Value, axis: Axis) -> Value:
    x = real(x)
    low = x - max(x, axis=axis, keepdims=True)
    return low - log(sum(exp(low), axis=axis, keepdims=True))


@primitive(
    lambda g, y, x, axis: g - exp(y) * sum(g, axis=axis, keepdims=True),
    formula=_log_softmax,
    sign="log softmax",
    method=True,
)
def log_softmax(x: Value, axis: Axis = -1) -> Value:
    """Return the logarithm of `softmax`, also where that is too small for a float.

    >>> tg.log_softmax(tg.tensor([0.0, 1000.0])).numpy()
    array([-1000.,     0.])
    """
    return _along(kernels.log_softmax, x, axis)


def _logsumexp(x: Value, axis: Axis, keepdims: bool) -> Value:
    x = real(x)
    top = max(x, axis=axis, keepdims=True)
    top = where(equal(abs(top), np.inf), 0, top)  # inf - inf would be NaN
    y = top + log(sum(exp(x - top), axis=axis, keepdims=True))
    lost = axes_of(x, axis)
    shape = tuple([n for k, n in enumerate(x.shape) if k not in lost])
    return y if keepdims else reshape(y, shape=shape)


@primitive(
    lambda g, y, x, axis, keepdims: kept(g, x, axis) * softmax(x, axis=axis), formula=_logsumexp
)
def logsumexp(x: Value, axis: Axis = -1, keepdims: bool = False) -> Value:
    """Return log Σ eˣ along an axis, several, or all, without overflow; of nothing it is -inf.

    >>> tg.logsumexp(tg.tensor([1000.0, 0.0])).item()
    1000.0
    """
    y = _along(kernels.logsumexp, x, axis)
    return kept(y, x, axis) if keepdims else y
