"""Ops that move elements about without changing them."""

import operator
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..limits import axis_of
from ..op import function, operand, primitive, variadic
from ..tensor import Axis, Outline, Tensor, Value, as_array

__all__ = [
    "broadcast_to", "concat", "embedding", "flip", "reshape", "split", "stack", "sum_to",
    "swapaxes", "transpose", "unstack",
]  # fmt: skip
FAMILY = "move"  # of these ops, in pictures
WHOLE = (int, np.integer)


@primitive(lambda g, y, x, shape: reshape(g, shape=x.shape), loop="reshaped")
def reshape(x: Value, shape: Any) -> Value:
    """Return the elements in another shape, in order; one size may be -1, for what is left.

    >>> tg.reshape(tg.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1))
    tensor([[1., 2.],
            [3., 4.]], dtype=float64)
    """
    return x.reshape(shape)


@primitive(lambda g, y, x, axes: transpose(g, axes=inverse(axes)), sign="ᵀ", loop="transposed")
def transpose(x: Value, axes: Any = None) -> Value:
    """Return x with its axes in another order; reversed when no order is given.

    >>> tg.transpose(tg.zeros((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    order = None if axes is None else tuple(axes)
    return np.transpose(x, order)


def inverse(axes: Any) -> Any:
    return None if axes is None else tuple(np.argsort([a % len(axes) for a in axes]).tolist())


@primitive(lambda g, y, x, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2), loop="swapped")
def swapaxes(x: Value, axis1: int, axis2: int) -> Value:
    """Return x with two axes exchanged.

    >>> tg.swapaxes(tg.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return np.swapaxes(x, axis1, axis2)


@primitive(lambda g, y, x, shape: sum_to(g, shape=x.shape), loop="expanded")
def broadcast_to(x: Value, shape: Any) -> Value:
    """Return x repeated along axes of size 1, and along new ones in front, up to `shape`.

    >>> tg.broadcast_to(tg.tensor([[1.0], [2.0]]), (2, 2))
    tensor([[1., 1.],
            [2., 2.]], dtype=float64)
    """
    if not x.ndim and type(shape) is tuple:  # NumPy's own takes as long as eight products
        y = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
        y.setflags(write=False)
        return y
    return np.broadcast_to(x, shape)


@primitive(lambda g, y, x, shape: broadcast_to(g, shape=x.shape), sign="sum to", loop="summed_to")
def sum_to(x: Value, shape: Any) -> Value:
    """Return the sum over what broadcasting `shape` would repeat: the reverse of `broadcast_to`.

    >>> tg.sum_to(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 2))
    tensor([[4., 6.]], dtype=float64)
    """
    return add_up(x, repeated(tuple(shape), x.shape)).reshape(shape)


@lru_cache(1024)
def repeated(shape: tuple[int, ...], larger: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which broadcasting would repeat a shape; ValueError where it does not fit."""
    extra = len(larger) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, larger[extra:], strict=True)):
        raise ValueError(f"{larger} does not repeat {shape}")
    return (*range(extra), *[k for k, n in enumerate(shape, extra) if n != larger[k]])


_added: Any = np.add.reduce


def add_up(x: Value, axis: Any, keepdims: bool = False) -> Value:
    """A sum that keeps its digits, and of each row is the same whatever stands beside it.

    NumPy adds pairwise only along what is in one piece, and in another order where a row is alone.
    """
    if axis is None or len(axis) == x.ndim:
        total = _added(x.ravel())
        return total.reshape((1,) * x.ndim) if keepdims else total
    exact = not axis or x.dtype.kind != "f"
    plain = x.flags.c_contiguous
    if exact or (axis == (x.ndim - 1,) and plain):
        return _added(x, axis, keepdims=keepdims)
    if axis == (0,) and x.ndim == 2 and x.shape[1] > 1 and plain:  # most often
        short = len(x) <= 8 or x.dtype == np.float64
        total = _added(x, 0) if short else kernels.column_sums(x)
        return total[None] if keepdims else total
    rest = [k for k in range(x.ndim) if k not in axis]
    shape = [x.shape[k] for k in rest]
    first, end = min(axis), max(axis) + 1
    before = prod(x.shape[:first])
    here = prod(x.shape[first:end])
    after = prod(x.shape[end:])
    together = end - first == len(axis) and end < x.ndim
    if together and x.dtype == np.float32 and here > 8 and not first:
        total = kernels.column_sums(x.reshape(here, after)).reshape(shape)
    elif together and (x.dtype == np.float64 or here <= 8):
        blocks = np.ascontiguousarray(x).reshape(before, here, after)
        if after == 1:  # which would be added pairwise
            blocks = blocks.repeat(2, axis=2)
        total = _added(blocks, 1)[:, :after].reshape(shape)
    else:
        rows = np.ascontiguousarray(x.transpose(*rest, *sorted(axis)))
        total = _added(rows, tuple(range(len(rest), x.ndim)))
    return np.expand_dims(total, axis) if keepdims else total


@primitive(lambda g, y, x, axis: flip(g, axis=axis), loop="flipped")
def flip(x: Value, axis: Axis = None) -> Value:
    """Return x the other way round along an axis, several, or all.

    >>> tg.flip(tg.tensor([1.0, 2.0, 3.0]))
    tensor([3., 2., 1.], dtype=float64)
    """
    return np.flip(x, axis)


@variadic(
    lambda g, y, *xs, axis: _split(g, tuple([x.shape[axis] for x in xs]), axis), loop="joined"
)
def _concat(*xs: Value, axis: int) -> Value:
    return np.concatenate(xs, axis)


@variadic(lambda g, y, *xs, axis: unstack(g, axis=axis), loop="stacked")
def _stack(*xs: Value, axis: int) -> Value:
    return np.stack(xs, axis)


@function(numpy=("concatenate",))
def concat(xs: Any, axis: int = 0) -> Value:
    """Join tensors along an axis, in which alone their sizes may differ.

    Raises ValueError naming the first whose other axes disagree.

    >>> tg.concat([tg.tensor([1.0, 2.0]), [3.0]])
    tensor([1., 2., 3.], dtype=float64)
    """
    xs = _joined("concat", xs, axis)
    for k, x in enumerate(xs):
        if x.ndim != xs[0].ndim or _without(x.shape, axis) != _without(xs[0].shape, axis):
            raise ValueError(
                f"concat: number {k} has shape {x.shape}, which does not fit {xs[0].shape} "
                f"of number 0 along axis {axis}"
            )
    return _concat(*xs, axis=axis)


@function()
def stack(xs: Any, axis: int = 0) -> Value:
    """Join N tensors of one shape along a new axis of size N.

    Raises ValueError naming the first of another shape.

    >>> tg.stack([tg.tensor([1.0, 2.0]), [3.0, 4.0]], axis=1)
    tensor([[1., 3.],
            [2., 4.]], dtype=float64)
    """
    xs = _joined("stack", xs, axis)
    for k, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ValueError(f"stack: number {k} has shape {x.shape}, expected {xs[0].shape}")
    return _stack(*xs, axis=axis)


def _joined(who: str, xs: Any, axis: int) -> list[Value]:
    if not isinstance(axis, WHOLE):
        raise TypeError(f"{who}: expected a list of tensors and an axis: tg.{who}([x, y], axis=0)")
    given = [operand(x) for x in (unstack(xs) if isinstance(xs, Tensor | np.ndarray) else xs)]
    if not given:
        raise ValueError(f"{who}: expected at least one tensor, got an empty list")
    return given


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    k = axis % max(1, len(shape))
    return shape[:k] + shape[k + 1 :]


@primitive(lambda g, y, x, sections, axis: _concat(*g, axis=axis), loop="cuts")
def _split(x: Value, sections: Any, axis: int) -> tuple[Value, ...]:
    """Equal sections along an axis, or sections of the sizes listed."""
    sections = sections if isinstance(sections, int) else tuple(sections)
    return tuple([x[cut] for cut in _cuts(x.shape[axis], sections, axis % x.ndim)])


@function(1)
def split(x: Value, indices_or_sections: Any = None, axis: int = 0, *, sizes: Any = None) -> Any:
    """Cut along an axis, as `np.split` does, into so many equal parts or at the points of a list.

    `sizes=[2, 1]` says how large the parts are instead of where they end. Raises ValueError for a
    number that does not divide the axis, points that do not increase, sizes that do not add up.

    >>> [part.shape for part in tg.split(tg.zeros((2, 6)), [1, 3], axis=1)]
    [(2, 1), (2, 2), (2, 3)]
    """
    if ((cut := indices_or_sections) is None) == (sizes is None):
        raise TypeError("split: expected a number of equal parts, a list of points, or sizes=[...]")
    if sizes is None and not isinstance(cut, WHOLE):
        size = x.shape[axis_of("split: axis", axis, x.ndim)]
        ends = [0, *[slice(None, point).indices(size)[1] for point in cut], size]
        if ends != sorted(ends):
            raise ValueError(f"split: expected points in increasing order, got {list(cut)}")
        sizes = [b - a for a, b in pairwise(ends)]
    return _split(x, axis=axis, sections=int(cut) if sizes is None else tuple(sizes))


@lru_cache
def _cuts(size: int, sections: Any, axis: int) -> list[Any]:
    """The index of each section."""
    if isinstance(sections, int):
        if sections < 1 or size % sections:
            raise ValueError(f"cannot cut an axis of {size} into {sections} equal sections")
        sections = (size // sections,) * sections
    ends = list(accumulate(sections, initial=0))
    if ends[-1] != size or any(not isinstance(n, WHOLE) or n < 0 for n in sections):
        raise ValueError(f"sections {list(sections)} are not whole numbers that add up to {size}")
    before = (slice(None),) * axis
    return [(*before, slice(a, b)) for a, b in pairwise(ends)]


@primitive(lambda g, y, x, axis: _stack(*g, axis=axis), loop="slices")
def unstack(x: Value, axis: int = 0) -> tuple[Value, ...]:
    """Return the slices along an axis, each without that axis.

    >>> tg.unstack(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))[1]
    tensor([3., 4.], dtype=float64)
    """
    return tuple(np.moveaxis(x, operator.index(axis), 0))


# -- indexing ---------------------------------------------------------------------------------

ARRAY = "array"  # in an index: here goes the next integer array


@variadic(
    lambda g, y, x, *arrays, index: (
        [put(g, *arrays, index=index, shape=x.shape)] + [None] * len(arrays)
    ),
    loop="taken",
)
def take(x: Value, *arrays: Value, index: Any) -> Value:
    """x[index], where each "array" in the index stands for the next of the arrays."""
    return x[_index(index, arrays) if arrays else index]


@variadic(
    lambda g, y, x, *arrays, index, shape: [take(g, *arrays, index=index)] + [None] * len(arrays),
    loop="put",
)
def put(x: Value, *arrays: Value, index: Any, shape: Any) -> Value:
    """Zeros of a shape with x added at the index; what is indexed twice gets both."""
    y = np.zeros(shape, x.dtype)
    if arrays:
        np.add.at(y, _index(index, arrays), x)
    else:
        y[index] = x
    return y


def _index(index: Any, arrays: Iterable[Value]) -> Any:
    arrays = iter(arrays)
    return tuple(next(arrays) if isinstance(i, str) else i for i in index)


@function(method=("__getitem__",))
def getitem(x: Value, index: Any) -> Value:
    """Return `x[index]` as NumPy has it; what is taken twice has the sum of both gradients.

    Integers, slices, None and ...; lists, arrays and tensors of integers or bools too, which meet
    each other element by element. Raises IndexError for other dtypes and for places
    that are not there. In a step of a scan, rows of a table by a number that the step is given are
    compiled; other integers and masks run it one by one, and a mask that it computes is refused.

    >>> tg.tensor([[1.0, 2.0], [3.0, 4.0]])[[1, 0], 0]
    tensor([3., 1.], dtype=float64)
    """
    plain, arrays = parsed(index)
    return take(x, *arrays, index=plain)


def parsed(index: Any) -> tuple[tuple[Any, ...], list[Value]]:
    """An index as `take` has it: its arrays by themselves, in their places ARRAY."""
    plain: list[Any] = []
    arrays = []
    for i in index if isinstance(index, tuple) else (index,):
        whole = isinstance(i, WHOLE) and type(i) is not bool
        if isinstance(i, slice):
            ends = (i.start, i.stop, i.step)
            if not all(k is None or hasattr(k, "__index__") for k in ends):
                raise TypeError(f"an index: expected whole numbers in a slice, got {i}")
            plain.append(slice(*[None if k is None else operator.index(k) for k in ends]))
        elif whole or i is None or i is Ellipsis:
            plain.append(i)
        else:
            plain.append(ARRAY)
            arrays.append(_places(i))
    return tuple(plain), arrays


def _places(i: Any) -> Value:
    """An index that is no number or slice, as an array or a tensor of integers or bools."""
    array = i if getattr(i, "_array", i).__class__ is Outline and i.dtype != bool else as_array(i)
    if isinstance(i, list | tuple) and not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise IndexError(f"an index: expected integers or bools, got dtype {array.dtype}")
    return i if isinstance(i, Tensor) else array


@primitive(
    lambda g, y, table, index: scatter_rows(g, index, rows=table.shape[0]), None, loop="rows_of"
)
def embedding(table: Value, index: Value) -> Value:
    """Return the rows of `table` that `index` names. Raises IndexError outside 0 <= index < rows.

    >>> tg.embedding(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1, 0, 1]).shape
    (3, 2)
    """
    check_index("index", index, len(table), IndexError)
    return table[index]


@primitive(lambda g, y, x, index, rows: embedding(g, index), None, loop="add_rows")
def scatter_rows(x: Value, index: Value, rows: int) -> Value:
    """A table of zeros with x added to the rows that `index` names: the reverse of `embedding`."""
    row = x.shape[index.ndim :]
    flat = np.ascontiguousarray(x).reshape(index.size, prod(row))
    table = kernels.scatter_rows(flat, index.reshape(-1).astype(np.int64), rows)
    return table.reshape(rows, *row)


def check_index(
    word: str, index: np.ndarray, size: int, error: type[Exception], low: int = 0
) -> None:
    """Refuse what is not integers in low <= index < size: a kernel would read past the end."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"{word}: expected integers, got dtype {index.dtype}")
    if index.size and (index.min() < low or index.max() >= size):
        ends = f"{index.min()} to {index.max()}"
        name = word.split(": ")[-1]
        raise error(f"{word}: expected {low} <= {name} < {size}, got values from {ends}")
