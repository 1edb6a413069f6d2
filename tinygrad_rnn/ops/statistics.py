"""Products, spreads, lengths, running sums, and where the extremes are, along axes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..limits import axis_of
from ..op import function, primitive
from ..tensor import Axis, Value
from .arithmetic import (
    abs,
    add,
    astype,
    div,
    equal,
    maximum,
    mul,
    not_equal,
    power,
    sqrt,
    where,
)  # fmt: skip
from .reduce import _along, axes_of, kept, max, mean, min, sum
from .shape import concat, flip, reshape, transpose

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "norm",
    "prod",
    "std",
    "var",
]


def _squeezed(y: Value, axes: Any, keepdims: bool) -> Value:
    """Drop the axes that were kept as 1, unless they are wanted."""
    left = tuple(n for k, n in enumerate(y.shape) if k not in axes)
    return y if keepdims else reshape(y, shape=left)


# -- spread ---------------------------------------------------------------------------------------


@function(1, method=True)
def var(
    x: Value, axis: Axis = None, ddof: float = 0, keepdims: bool = False,
    correction: float | None = None,
) -> Value:  # fmt: skip
    """Return the variance over an axis, several, or all: Σ (x - mean)² / (n - ddof).

    `correction` is another word for `ddof`, as in NumPy; PyTorch's default is 1. Over no more than
    `ddof` elements it is NaN, or inf.

    >>> tg.var(tg.tensor([1.0, 2.0, 6.0]), ddof=1).item()
    7.0
    """
    rest = x - mean(x, axis, keepdims=True)
    count = math.prod(x.shape[k] for k in axes_of(x, axis))
    freedom = count - (ddof if correction is None else correction)
    return div(sum(rest * rest, axis, keepdims), freedom if freedom > 0 else 0)


def _root(x: Value, p: float = 2) -> Value:
    """The p-th root, with all derivatives 0 at 0, where they would be infinite."""
    zero = equal(x, 0)
    x = where(zero, 1, x)
    return where(zero, 0, sqrt(x) if p == 2 else power(x, 1 / p))


@function(method=True)
def std(
    x: Value, axis: Axis = None, ddof: float = 0, keepdims: bool = False,
    correction: float | None = None,
) -> Value:  # fmt: skip
    """Return the standard deviation, √`var`; where that is 0, all its derivatives are taken as 0.

    >>> tg.std(tg.tensor([1.0, 3.0])).item()
    1.0
    """
    return _root(var(x, axis, ddof, keepdims, correction=correction))


@function(1, numpy=("linalg.norm",))
def norm(x: Value, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the length of vectors, or the norm of matrices, as `np.linalg.norm` has them.

    Over one axis: (Σ |x|ᵖ)^(1/p) for ord = p > 0, by default 2; the largest or smallest |x| for
    inf and -inf; how many are not 0 for ord 0. Over two axes: "fro" or None the root of the sum of
    squares, 1 and -1 the largest and smallest column sum of |x|, inf and -inf of the rows. Without
    an axis and an ord, the root of the sum of all squares. Where the norm is 0, all derivatives are
    taken as 0. Raises ValueError for other orders (those of singular values among them).

    >>> x = tg.tensor([3.0, -4.0])
    >>> tg.norm(x).item(), tg.norm(x, ord=1).item()
    (5.0, 7.0)
    """
    x, axes = x if x.dtype.kind == "f" else astype(x, dtype=np.float64), axes_of(x, axis)
    if ord is None or (len(axes), ord) in ((1, 2), (2, "fro")):
        return _root(sum(x * x, axes, keepdims))
    extreme = {math.inf: max, -math.inf: min, 1: max, -1: min}.get(ord)
    if len(axes) == 2 and extreme:
        sums = sum(abs(x), axes[math.isinf(ord)], keepdims=True)
        return extreme(sums, axes, keepdims)
    if len(axes) == 1 and not isinstance(ord, str) and (ord >= 0 or ord == -math.inf):
        return _length(x, ord, axes, keepdims)
    known = "a positive number, 0, inf or -inf" if len(axes) == 1 else "'fro', 1, -1, inf or -inf"
    raise ValueError(f"norm: ord: expected None, {known}, got {ord!r} over {len(axes)} axes")


def _length(x: Value, p: float, axes: Any, keepdims: bool) -> Value:
    if math.isinf(p):
        return (max if p > 0 else min)(abs(x), axes, keepdims)
    if p == 0:
        return sum(astype(not_equal(x, 0), dtype=x.dtype), axes, keepdims)
    x, zero = abs(x), equal(x, 0)
    if p % 1:  # at 0 the slope of such a power, or that of a slope, is infinite
        return _root(sum(where(zero, 0, power(where(zero, 1, x), p)), axes, keepdims), p)
    return _root(sum(power(x, p), axes, keepdims), p)


# -- products and running sums --------------------------------------------------------------------


@function(1, method=True)
def prod(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the product over an axis, several, or all; over nothing it is 1.

    Halves are multiplied with each other until one element is left, so that the derivative by each
    element is the product of the others, zeros among them or not.

    >>> tg.prod(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).numpy()
    array([3., 8.])
    """
    axes = axes_of(x, axis)
    y = _whole(x)
    for k in axes:
        while (n := y.shape[k]) > 1:
            a, b, rest = (y[(slice(None),) * k + (cut,)] for cut in _halves(n))
            y = concat([a * b, rest], axis=k) if n % 2 else a * b
        if not n:
            y = sum(y, k, keepdims=True) + 1
    return _squeezed(y, axes, keepdims)


def _whole(x: Value) -> Value:
    """x in the dtype that NumPy has products of it in."""
    dtype = np.prod(np.empty(0, x.dtype)).dtype
    return x if x.dtype == dtype else astype(x, dtype=dtype)


def _halves(n: int) -> tuple[slice, slice, slice]:
    return slice(0, n // 2), slice(n // 2, n - n % 2), slice(n - n % 2, n)


def one_axis(who: str, x: Value, axis: Any) -> tuple[Value, int]:
    """Return x and the number of an axis of it; for None, all elements in a row, and 0."""
    if axis is None:
        return reshape(x, shape=(-1,)), 0
    return x, axis_of(f"{who}: axis", axis, x.ndim)


def _running(join: Callable[..., Any], x: Value, k: int) -> Value:
    """Join each element with all before it along axis k: with 1, 2, 4, ... neighbours at a time."""
    before, reach = (slice(None),) * k, 1
    while reach < x.shape[k]:
        first, most, rest = (x[(*before, cut)] for cut in np.s_[:reach, :-reach, reach:])
        x, reach = concat([first, join(rest, most)], axis=k), 2 * reach
    return x


@function(1, method=True)
def cumsum(x: Value, axis: int | None = None) -> Value:
    """Return the running sums along an axis, or over all elements in a row.

    float32 keeps its digits: sums are in float64.

    >>> tg.cumsum(tg.tensor([1.0, 2.0, 3.0])).numpy()
    array([1., 3., 6.])
    """
    x, axis = one_axis("cumsum", x, axis)
    return _cumsum(_whole(x), axis=axis)


@primitive(
    lambda g, y, x, axis: flip(_cumsum(flip(g, axis=axis), axis=axis), axis=axis),
    formula=lambda x, axis: _running(add, x, axis),
)
def _cumsum(x: Value, axis: int) -> Value:
    wide = np.float64 if x.dtype == np.float32 else x.dtype
    return np.cumsum(x, axis, wide).astype(x.dtype, copy=False)


@function(1, method=True)
def cumprod(x: Value, axis: int | None = None) -> Value:
    """Return the running products along an axis, or over all elements in a row.

    Each is made of the products of 1, 2, 4, ... neighbours, so that the derivatives are right where
    elements are 0.

    >>> tg.cumprod(tg.tensor([1.0, 2.0, 3.0])).numpy()
    array([1., 2., 6.])
    """
    x, axis = one_axis("cumprod", x, axis)
    return _running(mul, _whole(x), axis)


# -- questions, and where the extremes are -----------------------------------------------------


@function(method=True)
def any(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return whether any element over an axis, several, or all is not 0; NaN is not 0.

    >>> bool(tg.any(tg.tensor([0.0, 2.0])).item())
    True
    """
    return sum(not_equal(x, 0), axis, keepdims) > 0


@function(method=True)
def all(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return whether no element over an axis, several, or all is 0; NaN is not 0.

    >>> bool(tg.all(tg.tensor([0.0, 2.0])).item())
    False
    """
    return equal(sum(equal(x, 0), axis, keepdims), 0)


def _first(extreme: Callable[..., Any], x: Value, axis: Axis, keepdims: bool) -> Value:
    """The place of the first extreme in ops: how many elements come before it."""
    rest = [k for k in range(x.ndim) if k not in axes_of(x, axis)]
    y = reshape(
        transpose(x, axes=(*rest, *axes_of(x, axis))), shape=(*(x.shape[k] for k in rest), -1)
    )
    hit = where(equal(y, y), equal(y, extreme(y, -1, keepdims=True)), True)
    place = sum(equal(_running(maximum, astype(hit, dtype=np.int64), len(rest)), 0), -1)
    return kept(place, x, axis) if keepdims else place


@primitive(None, formula=partial(_first, max), method=True)
def argmax(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the place of the largest element along an axis, the first where several tie.

    Over several axes, or all, it is the place in their elements in a row. NaN is the largest. No
    derivative.

    >>> tg.argmax(tg.tensor([[1.0, 5.0], [7.0, 7.0]]), axis=1).numpy()
    array([1, 0])
    """
    return _place(np.argmax, x, axis, keepdims)


@primitive(None, formula=partial(_first, min), method=True)
def argmin(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the place of the smallest element along an axis; as `argmax` in all else.

    >>> tg.argmin(tg.tensor([[1.0, 5.0], [7.0, 7.0]]), axis=1).numpy()
    array([0, 0])
    """
    return _place(np.argmin, x, axis, keepdims)


def _place(first: Callable[..., Any], x: Value, axis: Axis, keepdims: bool) -> Value:
    y = _along(lambda rows: first(rows, -1), x, axis)
    return kept(y, x, axis) if keepdims else y
