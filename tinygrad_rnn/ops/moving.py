"""Elements moved about: repeated, shifted, padded, picked; made of views, joins and indices."""

from math import prod
from typing import Any

import numpy as np

from ..limits import axes_of, axis_of, one_of, whole
from ..op import function, operand
from ..tensor import Axis, Tensor, Value, as_array, every
from .arithmetic import add, astype, equal, where
from .shape import (
    ARRAY,
    broadcast_to,
    check_index,
    concat,
    getitem,
    parsed,
    put,
    reshape,
    split,
    take,
    transpose,
)  # fmt: skip

__all__ = [
    "chunk",
    "expand_dims",
    "gather",
    "index_put",
    "moveaxis",
    "one_hot",
    "pad",
    "ravel",
    "repeat",
    "roll",
    "scatter_add",
    "squeeze",
    "take_along_axis",
    "tile",
]

# -- axes ----------------------------------------------------------------------------------------


@function(1, method=True)
def ravel(x: Value) -> Value:
    """Return all elements along one axis, the last axis fastest.

    >>> tg.ravel(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2., 3., 4.], dtype=float64)
    """
    return reshape(x, shape=(-1,))


@function(1)
def moveaxis(x: Value, source: Any, destination: Any) -> Value:
    """Return x with one axis, or several, at other places; the others keep their order.

    >>> tg.moveaxis(tg.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    source = axes_of("moveaxis: source", source, x.ndim)
    destination = axes_of("moveaxis: destination", destination, x.ndim)
    if len(source) != len(destination):
        raise ValueError(f"moveaxis: {len(source)} axes cannot go to {len(destination)} places")
    axes = [k for k in range(x.ndim) if k not in source]
    for place, k in sorted(zip(destination, source, strict=True)):
        axes.insert(place, k)
    return x if axes == list(range(x.ndim)) else transpose(x, axes=tuple(axes))


@function(1, method=True)
def squeeze(x: Value, axis: Axis = None) -> Value:
    """Return x without its axes of size 1: those given, or all. Raises ValueError for another size.

    >>> tg.squeeze(tg.zeros((1, 3, 1)), 0).shape
    (3, 1)
    """
    every = [k for k, n in enumerate(x.shape) if n == 1]
    axes = every if axis is None else axes_of("squeeze: axis", axis, x.ndim)
    if not {*axes} <= {*every}:
        raise ValueError(f"squeeze: expected axes of size 1, got axis {axis} of shape {x.shape}")
    return reshape(x, shape=tuple(n for k, n in enumerate(x.shape) if k not in axes))


@function(1)
def expand_dims(x: Value, axis: int | tuple[int, ...]) -> Value:
    """Return x with a new axis of size 1, or several, at these places of the answer.

    >>> tg.expand_dims(tg.zeros((3,)), (0, -1)).shape
    (1, 3, 1)
    """
    many = axis if isinstance(axis, tuple | list) else (axis,)
    new = axes_of("expand_dims: axis", many, x.ndim + len(many))
    old = iter(x.shape)
    return reshape(x, shape=tuple(1 if k in new else next(old) for k in range(x.ndim + len(new))))


# -- again ---------------------------------------------------------------------------------------


@function(1, method=True)
def repeat(x: Value, repeats: Any, axis: int | None = None) -> Value:
    """Return each element along an axis (None: of all, laid out flat) so many times in a row.

    `repeats` is one number for all, or a list of one for each.

    >>> tg.repeat(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 1., 2., 2.], dtype=float64)
    """
    x, k = (ravel(x), 0) if axis is None else (x, axis)
    k = axis_of("repeat: axis", k, x.ndim)
    before, n, after = x.shape[:k], x.shape[k], x.shape[k + 1 :]
    if np.ndim(repeats):
        return _taken(x, np.repeat(np.arange(n), repeats), k)
    times = whole("repeat", "repeats", repeats)
    wide = broadcast_to(reshape(x, shape=(*before, n, 1, *after)), (*before, n, times, *after))
    return reshape(wide, shape=(*before, n * times, *after))


@function(1)
def tile(x: Value, reps: Any) -> Value:
    """Return x so many times along each axis, side by side; reps for the last axes come last.

    >>> tg.tile(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 2., 1., 2.], dtype=float64)
    """
    reps = tuple([whole("tile", "reps", count) for count in np.atleast_1d(reps).tolist()])
    n = max(x.ndim, len(reps))
    shape, reps = ((1,) * (n - len(s)) + tuple(s) for s in (x.shape, reps))
    pairs = list(zip(reps, shape, strict=True))
    x = reshape(x, shape=tuple(k for _, size in pairs for k in (1, size)))
    x = broadcast_to(x, tuple(k for pair in pairs for k in pair))
    return reshape(x, shape=tuple(prod(pair) for pair in pairs))


# -- elsewhere -----------------------------------------------------------------------------------


@function(1)
def roll(x: Value, shift: Any, axis: Axis = None) -> Value:
    """Return x with its elements moved on by `shift` places; what leaves at the end comes first.

    Along an axis or several, with one shift for each or one for all; None: all, laid out flat.

    >>> tg.roll(tg.tensor([1.0, 2.0, 3.0]), 1)
    tensor([3., 1., 2.], dtype=float64)
    """
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), shape=x.shape)
    for s, k in np.broadcast(shift, axis):
        k = axis_of("roll: axis", int(k), x.ndim)
        by = -whole("roll", "shift", s, -(2**62)) % max(x.shape[k], 1)
        if by:
            before = (slice(None),) * k
            x = concat(
                [getitem(x, (*before, slice(by, None))), getitem(x, (*before, slice(by)))], k
            )
    return x


@function(1)
def chunk(x: Value, chunks: int, axis: int = 0) -> Value:
    """Return x cut along an axis into `chunks` parts, of which the last may be smaller or missing.

    PyTorch's: every part but the last has the size that is needed, rounded up.

    >>> [part.shape for part in tg.chunk(tg.zeros((5,)), 2)]
    [(3,), (2,)]
    """
    chunks, n = whole("chunk", "chunks", chunks, 1), x.shape[axis_of("chunk: axis", axis, x.ndim)]
    return split(x, list(range(-(-n // chunks), n, max(1, -(-n // chunks)))), axis)


@function(1)
def pad(x: Value, pad_width: Any, mode: Any = "constant", constant_values: Any = 0) -> Value:
    """Return x with more elements before and after, along each axis.

    `pad_width` is a number, a pair (before, after), or a pair for each axis. mode: "constant",
    with `constant_values` in the same forms, or "edge", "reflect", "symmetric" or "wrap", as
    `np.pad` has them.

    >>> tg.pad(tg.tensor([1.0, 2.0]), (1, 2))
    tensor([0., 1., 2., 0., 0.], dtype=float64)
    >>> tg.pad(tg.tensor([1.0, 2.0, 3.0]), 2, mode="reflect")
    tensor([3., 2., 1., 2., 3., 2., 1.], dtype=float64)
    """
    one_of("pad", "mode", mode, ("constant", "edge", "reflect", "symmetric", "wrap"))
    widths = np.broadcast_to(pad_width, (x.ndim, 2)).tolist()
    if isinstance(constant_values, Tensor):
        raise TypeError("pad: constant_values: expected numbers, got a tensor. Use tg.concat")
    values = np.broadcast_to(constant_values, (x.ndim, 2)).tolist()
    for k, (pair, value) in enumerate(zip(widths, values, strict=True)):
        if not any([whole("pad", "pad_width", n) for n in pair]):
            continue
        if mode == "constant":
            ends = [as_array(np.full((*x.shape[:k], n, *x.shape[k + 1 :]), v), x.dtype)
                    for n, v in zip(pair, value, strict=True)]  # fmt: skip
            x = concat([ends[0], x, ends[1]], k)
        else:
            x = _taken(x, np.pad(np.arange(x.shape[k]), pair, mode), k)
    return x


# -- picked by number ----------------------------------------------------------------------------


def _taken(x: Value, index: Value, axis: int) -> Value:
    """The slices of x along an axis that an array of integers names."""
    return getitem(x, (*(slice(None),) * axis, index))


def _placed(who: str, x: Value, index: Any, axis: int) -> tuple[Value, Value, int]:
    """x and an index as tensors or arrays of as many axes, and the axis counted from 0."""
    x, index = operand(x), operand(index)
    if index.dtype.kind == "b":
        raise IndexError(f"{who}: expected whole numbers as index, got bools")
    if index.ndim != x.ndim or not x.ndim:
        raise ValueError(f"{who}: expected as many axes, got {x.shape} and index {index.shape}")
    return x, index, axis_of(f"{who}: axis", axis, x.ndim)


def _each(shape: tuple[int, ...], index: Value, axis: int) -> tuple[Value, ...]:
    """An index of arrays: the place itself along every axis but one, whose numbers are given."""
    own = np.ix_(*map(range, shape))
    return (*own[:axis], index, *own[axis + 1 :])


@function()
def take_along_axis(x: Value, indices: Value, axis: int | None = -1) -> Value:
    """Return for each 1-D slice of x along an axis the elements that a slice of `indices` names.

    What argsort and argmax give is such an index. Other axes are repeated to fit each other; with
    axis None x is laid out flat.

    >>> tg.take_along_axis(tg.tensor([[3.0, 1.0], [2.0, 4.0]]), [[1], [0]])
    tensor([[1.],
            [2.]], dtype=float64)
    """
    x, axis = (ravel(x), 0) if axis is None else (x, axis)
    x, index, k = _placed("take_along_axis", x, indices, axis)
    one = [(*s[:k], 1, *s[k + 1 :]) for s in (x.shape, index.shape)]
    shape = np.broadcast_shapes(*one)
    x = broadcast_to(x, (*shape[:k], x.shape[k], *shape[k + 1 :])) if one[0] != shape else x
    return getitem(x, _each(shape, index, k))


@function()
def gather(x: Value, axis: int, index: Value) -> Value:
    """Return y of the shape of `index`, y[i, j] = x[index[i, j], j] along axis 0, and so on.

    PyTorch's: along the other axes `index` may be shorter than x, and is not repeated.

    >>> tg.gather(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, [[1], [0]])
    tensor([[2.],
            [3.]], dtype=float64)
    """
    x, index, k = _placed("gather", x, index, axis)
    return getitem(x, _each(index.shape, index, k))


@function()
def scatter_add(x: Value, axis: int, index: Value, src: Value) -> Value:
    """Return x with src[i, j] added at x[index[i, j], j] along axis 0, and so on.

    The reverse of `gather`: what is named twice gets both. `src` may be larger than `index`.

    >>> tg.scatter_add(tg.zeros((3,)), 0, [0, 2, 2], [1.0, 2.0, 3.0])
    tensor([1., 0., 5.], dtype=float64)
    """
    x, index, k = _placed("scatter_add", x, index, axis)
    src = operand(src)
    part = getitem(src, tuple(map(slice, index.shape)))
    if part.shape != index.shape:
        raise ValueError(f"scatter_add: src: expected at least {index.shape}, got {src.shape}")
    part = astype(part, dtype=np.result_type(x.dtype, src.dtype))  # in which they are added up
    places = _each(index.shape, index, k)
    return add(x, put(part, *places, index=(ARRAY,) * x.ndim, shape=x.shape))


@function()
def index_put(x: Value, index: Any, values: Value, accumulate: bool = False) -> Value:
    """Return x with `values` in the places that x[index] takes: what `x[index] = values` means.

    The index is any of `x[index]`; the values broadcast to it, and take the dtype of x. Of a place
    that is named twice the last value counts, as in NumPy, and it alone has a gradient; with
    `accumulate` all are added to what is there, also at places that a step of a scan or an example
    of `vmap` is given. The name is PyTorch's. Raises IndexError for places that are not there,
    ValueError for values that do not fit, TypeError for floats in integers.

    >>> tg.index_put(tg.tensor([1.0, 2.0, 3.0]), slice(1, None), [8.0, 9.0])
    tensor([1., 8., 9.], dtype=float64)
    >>> tg.index_put(tg.zeros((3,)), [0, 2, 2], 1.0, accumulate=True)
    tensor([1., 0., 2.], dtype=float64)
    """
    x = operand(x)
    values = operand(values)
    plain, arrays = parsed(index)
    masked = any([a.dtype == bool for a in arrays])
    if masked or not accumulate:  # which of two counts is known by their numbers alone
        arrays = list(map(as_array, arrays))
    places = take(np.arange(x.size).reshape(x.shape), *arrays, index=plain)
    if masked:
        plain = (ARRAY,) * x.ndim
        arrays = [*np.unravel_index(places, x.shape)]
    if not np.can_cast(values.dtype, x.dtype, "same_kind"):
        raise TypeError(f"index_put: values: expected {x.dtype} like x, got {values.dtype}")
    shape = places.shape
    try:
        values = broadcast_to(astype(values, dtype=x.dtype), shape)
    except ValueError:
        wanted = f"a shape that broadcasts to {shape}, that of x[index]"
        raise ValueError(f"index_put: values: expected {wanted}, got {values.shape}") from None
    if accumulate:
        return add(x, put(values, *arrays, index=plain, shape=x.shape))
    order = np.arange(places.size).reshape(shape)
    last = np.full(x.size, -1)
    last[places] = order
    counts = last[places] == order
    if not counts.all():
        values = where(counts, values, np.zeros((), x.dtype))
    there = put(values, *arrays, index=plain, shape=x.shape)
    return where(last.reshape(x.shape) < 0, x, there)


@function()
def one_hot(index: Value, num_classes: int = -1, dtype: Any = np.int64) -> Value:
    """Return 1 at the place that each number of `index` names along a new last axis, 0 elsewhere.

    PyTorch's: `num_classes` is its size, by default as large as is needed. Raises ValueError for
    numbers outside 0 <= index < num_classes; in the step of a scan, which is compiled before there
    are numbers to look at, such a number gives zeros only.

    >>> tg.one_hot([2, 0], 3)
    array([[0, 0, 1],
           [1, 0, 0]])
    """
    index = operand(index) if np.size(index) else as_array(index, np.int64)
    if whole("one_hot", "num_classes", num_classes, -1) < 0:
        num_classes = int(as_array(index).max(initial=-1)) + 1
    if (numbers := every(index)) is not None:
        check_index("one_hot: index", numbers, num_classes, ValueError)
    return astype(equal(expand_dims(index, -1), np.arange(num_classes)), dtype=dtype)
