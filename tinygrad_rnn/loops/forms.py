"""The forms that a loop is built of: what an op declares as its `loop` is made by these methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, partialmethod
from typing import Any

import numpy as np

from ..op import pick
from ..ops.arithmetic import astype
from ..ops.reduce import axes_of
from ..ops.shape import ARRAY
from ..tensor import Tensor
from . import nodes
from .lower import Lowering, plain
from .nodes import Coupled, Node, Unsupported
from .roles import Fixed, Timed
from .trace import Trace
from .where import ROWS, TURNED, ZERO, Offset, Way, fixed, offset


class Builder(Lowering):
    """Turns the ops of a step into nodes; `y` is an op's answer, `inputs` the nodes of its inputs.

    An axis of a node is a word: the size of the batch, a name of a size, or a number.
    """

    def tensors(self, nodes: Sequence[Tensor]) -> None:
        """Lower a list of ops, oldest first."""
        for y in nodes:
            if y in self.known:
                continue
            inputs = [self.node(x) for x in y.inputs]
            self.known[y] = inputs[0][y.attrs["i"]] if y.op is pick else self.lower(y, inputs)
            self.check_batch(y, self.known[y])
            if isinstance(self.known[y], Node) and self.known[y].source is None:
                self.known[y].source = y

    def lower(self, y: Tensor, inputs: list[Any]) -> Any:
        op = y.op
        form, formula = op.declared.loop, op.declared.formula
        if form is not None:
            made = getattr(self, form) if isinstance(form, str) else partial(form, self)
            return made(y, inputs, **y.attrs)
        if op.pointwise:
            return self.pointwise(y, inputs)
        if formula is not None:
            return self.composed(y, formula)
        if op.ours or y._array.__class__ is tuple:
            raise Unsupported(op.name)
        if self.batch is not None:
            raise Coupled(op.name)
        plain(y)
        return nodes.Call(inputs, self.shape(y.shape, True), y.dtype, op=op, attrs=y.attrs)

    def apart(self, x: Node, *axes: int) -> None:
        """Refuse to mix the rows of the batch along one of these axes."""
        if self.batch is not None and x.batched and any(x.shape[k] == ROWS for k in axes):
            raise Coupled

    def rows_first(self, y: Tensor, x: Node, ways: list[Way]) -> None:
        """Refuse a cut that does not leave the batch in front, whole."""
        self.check_rows_first(x)
        whole = y.shape[:1] == (self.batch,) and ways[:1] == [Way(0)]
        if self.batch is not None and x.batched and not whole:
            raise Coupled

    def reshaped(self, y: Tensor, inputs: list[Node], shape: Any) -> Node:
        """The same numbers in another shape: a view where only axes of size 1 come or go."""
        x = inputs[0]
        words = self.shape(y.shape, False)
        if self.batch is not None and x.batched:
            self.check_rows_first(x)
            if y.shape[:1] != (self.batch,):
                raise Coupled
            words = (ROWS, *words[1:])
        kept_old = [k for k, n in enumerate(x.shape) if n != "1"]
        kept_new = [k for k, n in enumerate(words) if n != "1"]
        if [x.shape[k] for k in kept_old] == [words[k] for k in kept_new]:
            to = dict(zip(kept_old, kept_new, strict=True))
            ways = [Way(to[k]) if k in to else fixed() for k in range(len(x.shape))]
            return self.view(x, words, ways)
        return nodes.Copy([x], words, x.dtype, x.batched)

    def permuted(self, x: Node, axes: Sequence[int]) -> Node:
        """Axis k of the answer is axis axes[k] of the input."""
        back = {a: k for k, a in enumerate(axes)}
        ways = [Way(back[a]) for a in range(len(axes))]
        return self.view(x, [x.shape[a] for a in axes], ways)

    def transposed(self, y: Tensor, inputs: list[Node], axes: Any) -> Node:
        order = [a % y.ndim for a in axes] if axes else range(y.ndim)[::-1]
        return self.permuted(inputs[0], order)

    def swapped(self, y: Tensor, inputs: list[Node], axis1: int, axis2: int) -> Node:
        axes = list(range(y.ndim))
        axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
        return self.permuted(inputs[0], axes)

    def expanded(self, y: Tensor, inputs: list[Node], shape: Any) -> Node:
        """Repeated along axes of size 1, and along new ones in front."""
        x = inputs[0]
        self.check_rows_first(x)
        words, extra = self.shape(y.shape, x.batched), y.ndim - len(x.shape)
        if self.batch is not None and x.batched and extra:
            raise Coupled
        ways = [
            fixed() if n == "1" and words[k + extra] != "1" else Way(k + extra)
            for k, n in enumerate(x.shape)
        ]
        return self.view(x, words, ways)

    def cast(self, x: Node, dtype: np.dtype) -> Node:
        if x.dtype == dtype:
            return x
        return nodes.Pointwise([x], x.shape, dtype, x.batched, op=astype)

    def over(self, y: Tensor, inputs: list[Node], axis: Any, keepdims: bool, how: str) -> Node:
        """All over what NumPy means by an axis, joined as `how` says."""
        axes = axes_of(y.inputs[0], axis)
        made = self.reduced(y, inputs[0], axes, how)
        return made if keepdims else self.without(made, axes)

    summed = partialmethod(over, how="+=")
    largest, smallest = partialmethod(over, how="larger"), partialmethod(over, how="smaller")

    def summed_to(self, y: Tensor, inputs: list[Node], shape: Any) -> Node:
        """The sum over what broadcasting would have repeated."""
        sizes, extra = y.inputs[0].shape, y.inputs[0].ndim - len(shape)  # a batch may be one row
        ones = {k + extra for k, n in enumerate(shape) if n == 1 and sizes[k + extra] != 1}
        axes = sorted({*range(extra), *ones})
        return self.without(self.reduced(y, inputs[0], axes, "+="), range(extra))

    def reduced(self, y: Tensor, x: Node, axes: Sequence[int], how: str) -> Node:
        """All over axes, which are kept as 1, joined as `how` says."""
        if not axes:
            return self.cast(x, y.dtype)
        if how != "+=" and y.dtype.kind == "u":
            raise Unsupported(f"{y.op.name} of unsigned integers")
        flags = y.dtype.kind == "b"
        x = self.cast(x, np.dtype(np.int64) if flags else y.dtype)  # a sum of flags is a number
        shape = tuple(["1" if k in axes else n for k, n in enumerate(x.shape)])
        batched = x.batched and not (self.batch is not None and 0 in axes)
        self.check_rows_first(x)
        made = nodes.Reduce([x], shape, x.dtype, batched, how=how, axes=tuple(axes))
        return self.cast(made, y.dtype)

    def without(self, x: Node, axes: Sequence[int]) -> Node:
        """A view that leaves out axes of size 1."""
        return self.at(x, dict.fromkeys(axes, ZERO)) if axes else x

    def at(self, x: Node, places: dict[int, Offset]) -> Node:
        """What is at fixed places of some axes, which go."""
        left = iter(range(len(x.shape)))
        shape = [n for k, n in enumerate(x.shape) if k not in places]
        ways = [fixed(places[k]) if k in places else Way(next(left)) for k in range(len(x.shape))]
        return self.view(x, shape, ways)

    def cuts(self, y: Tensor, inputs: list[Node], sections: Any, axis: int) -> list[Node]:
        """The parts of a split along an axis."""
        x, axis = inputs[0], axis % len(inputs[0].shape)
        self.apart(x, axis)
        parts: list[Node] = []
        begin = 0
        for i, part in enumerate(y._array):
            size = self.sizes.text(part.shape[axis])
            if begin == i * part.shape[axis] and not size.isdigit():
                first = offset(size, i)
            else:
                first = offset(self.sizes.text(begin) if begin > 1 else begin)
            shape = [size if a == axis else n for a, n in enumerate(x.shape)]
            ways = [Way(a, first if a == axis else ZERO) for a in range(len(shape))]
            parts.append(self.view(x, shape, ways))
            begin += part.shape[axis]
        return parts

    def slices(self, y: Tensor, inputs: list[Node], axis: int) -> list[Node]:
        """All that is along an axis, each without it."""
        x, axis = inputs[0], axis % len(inputs[0].shape)
        self.apart(x, axis)
        return [self.at(x, {axis: offset(i)}) for i in range(len(y._array))]

    def taken(self, y: Tensor, inputs: list[Node], index: Any) -> Node:
        x = inputs[0]
        if index == (ARRAY,):
            return self.rows_of(y, inputs)
        if len(inputs) > 1:
            self.refuse("indexing with an array (rows of a table have: tg.embedding)")
        ways = indexed(index, y.inputs[0].shape)
        self.rows_first(y, x, ways)
        return self.view(x, self.shape(y.shape, x.batched), ways)

    def put(self, y: Tensor, inputs: list[Node], index: Any, shape: Any) -> Node:
        x = inputs[0]
        if index == (ARRAY,):
            return self.add_rows(y, inputs, len(y))
        if len(inputs) > 1:
            self.refuse("indexing with an array")
        ways = indexed(index, y.shape)
        self.rows_first(y, x, ways)
        return nodes.Put([x], self.shape(y.shape, x.batched), y.dtype, x.batched, ways=tuple(ways))

    def flipped(self, y: Tensor, inputs: list[Node], axis: Any) -> Node:
        x, axes = inputs[0], axes_of(y, axis)
        self.apart(x, *axes)
        last = [offset(n) + offset(1, -1) for n in x.shape]
        ways = [Way(k, last[k], -1) if k in axes else Way(k) for k in range(len(last))]
        return self.view(x, x.shape, ways)

    def stacked(self, y: Tensor, inputs: list[Node], axis: int) -> Node:
        return self.joined(y, inputs, axis, True)

    def joined(self, y: Tensor, inputs: list[Node], axis: int, new: bool = False) -> Node:
        """Side by side along an axis, or along a new one."""
        axis = axis % y.ndim
        batched = self.is_batched(*inputs)
        if self.batch is not None and batched:
            if axis == 0:
                raise Coupled
            inputs = [self.spread(x, y.ndim - new) for x in inputs]
            self.check_rows_first(*inputs)
        return nodes.Join(
            inputs, self.shape(y.shape, batched), y.dtype, batched, axis=axis, new=new
        )

    def multiplied(self, y: Tensor, inputs: list[Node]) -> Node:
        """The matrix product: with a fixed matrix, or of two things that both change."""
        a, b = inputs
        words = self.shape(y.shape, False)
        real = y.dtype.kind == "f" and a.dtype == b.dtype == y.dtype
        known = not b.batched and isinstance(b, nodes.Leaf) and len(a.shape) == len(b.shape) == 2
        if real and known and (self.batch is None or (a.batched and a.shape[0] == ROWS)):
            return nodes.Product([a, b], (a.shape[0], b.shape[1]), y.dtype)
        if self.batch is not None:
            rows = a.inputs[0] if isinstance(a, nodes.View) and a.ways == TURNED else None
            sums = rows is not None and rows.batched and rows.shape[0] == ROWS  # over the batch
            if sums and len(b.shape) == 2 and b.batched and b.shape[0] == ROWS:
                return nodes.Dot([a, b], words, y.dtype, False)
            if len(a.shape) < 3 or (len(b.shape) == len(a.shape)) != b.batched or not a.batched:
                raise Coupled
            self.check_rows_first(a, b)
            words = (ROWS, *words[1:])
        return nodes.Dot([a, b], words, y.dtype)

    def rows_of(self, y: Tensor, inputs: list[Node]) -> Node:
        """Rows of a table by number, which are checked before the loop runs."""
        table, index = inputs
        first, second = [x.role if isinstance(x, nodes.Leaf) else None for x in (table, index)]
        sequence = isinstance(second, Timed) and second.kind == "x"
        if not (isinstance(first, Fixed) and sequence):
            self.refuse("rows by number of what the step computes")
        self.check_rows_first(index)
        return nodes.RowsOf([table, index], (*index.shape, *table.shape[1:]), y.dtype)

    def add_rows(self, y: Tensor, inputs: list[Node], rows: int) -> Node:
        """Zeros with rows added where they belong."""
        self.check_rows_first(*inputs)
        shape = self.shape(y.shape, False)
        return nodes.AddRows(inputs, shape, y.dtype, self.batch is None)

    def composed(self, y: Tensor, formula: Callable[..., Any]) -> Any:
        """What a formula in other ops comes to."""
        made = Trace([])
        made.number = dict.fromkeys(y.inputs, 0)
        with made.on():
            try:
                answer = formula(*y.inputs, **y.attrs)
            except ValueError as error:  # over nothing
                raise Unsupported(y.op.name) from error
        self.tensors(made.nodes)
        return self.node(answer)


def indexed(index: Sequence[Any], shape: Sequence[int]) -> list[Way]:
    """What a plain index does to each axis: (size here or None, start, step), and new axes."""
    index = list(index)
    given = sum(i is not None and i is not Ellipsis for i in index)
    if Ellipsis not in index:
        index.append(Ellipsis)
    at = next(k for k, i in enumerate(index) if i is Ellipsis)
    index[at : at + 1] = [slice(None)] * (len(shape) - given)
    ways: list[Way] = []
    axis = here = 0
    for i in index:
        if i is None:
            here += 1
            continue
        if isinstance(i, str):
            raise Unsupported("indexing with an array")
        if isinstance(i, slice):
            start, _, step = i.indices(shape[axis])
            ways.append(Way(here, offset(start), step))
            here += 1
        else:
            ways.append(fixed(offset(int(i) % shape[axis])))
        axis += 1
    return ways
