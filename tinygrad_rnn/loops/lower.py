"""Lowering of a step's ops to what a loop is made of: numbers, products, sums, views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from ..tensor import Outline, Tensor
from . import nodes
from .nodes import Coupled, Node, Unsupported
from .where import ROWS, Sizes, Way, offset, straight


class Lowering:
    """The nodes of tensors, their shapes in words, and what a batch along axis 0 allows."""

    def __init__(self, places: Any, batch: int | None):
        self.places, self.batch, self.sizes = places, batch, cast(Sizes, places.sizes)
        self.known: dict[Tensor, Any] = {}

    # -- shapes ----------------------------------------------------------------------------------

    def shape(self, shape: Sequence[int], batched: bool) -> tuple[str, ...]:
        words = [self.sizes.text(n) for n in shape]
        if batched and self.batch is not None:
            words[0] = ROWS
        return tuple(words)

    def leaf(self, x: Tensor, role: Any, batched: bool) -> nodes.Leaf:
        shape = self.shape(x.shape, batched)
        leaf = self.known[x] = nodes.Leaf([], shape, x.dtype, batched, x.name, x, role=role)
        return leaf

    def node(self, x: Tensor) -> Any:
        """The node of a tensor; a constant that nobody announced is written into the text."""
        if x not in self.known:
            self.known[x] = self.constant(x)
        return self.known[x]

    def result(self, x: Tensor) -> Node:
        """The node of what a step returns; in a batched program it has the batch in front."""
        node: Node = self.node(x)
        if self.batch is not None:
            if x.shape[:1] != (self.batch,):
                raise Coupled
            node = self.spread(node, x.ndim)
            self.check_rows_first(node)
        return node

    def constant(self, x: Tensor) -> Node:
        array = x._array
        if array.__class__ is Outline:
            raise Unsupported("an array of another trace")
        value = array.flat[0].item() if array.size else 0
        if array.size and not np.all(array == value):
            value = None
            if array.dtype != np.int64 or not np.all(array == np.arange(array.shape[-1])):
                raise Unsupported("a constant array made by a derivative")
        shape = self.shape(array.shape, False)
        return nodes.Written([], shape, array.dtype, False, value=value)

    # -- what batched programs may do ------------------------------------------------------------

    def is_batched(self, *inputs: Node) -> bool:
        return any(x.batched for x in inputs)

    def check_rows_first(self, *inputs: Node) -> None:
        if self.batch is not None:
            for x in inputs:
                if x.batched and (not x.shape or x.shape[0] != ROWS):
                    raise Coupled

    def check_batch(self, y: Tensor, node: Any) -> None:
        """What has the rows of the batch has as many: not so where one row is spread over more."""
        rows = isinstance(node, Node) and node.batched and node.shape[:1] == (ROWS,)
        if self.batch is not None and rows and y.shape[0] != self.batch:
            raise Coupled

    def refuse(self, what: str) -> None:
        raise Unsupported(what)

    def pointwise(self, y: Tensor, inputs: list[Node]) -> Node:
        if not y.op.ours:
            plain(y)
        self.check_rows_first(*inputs)
        batched = self.is_batched(*inputs)
        if self.batch is not None and batched:
            inputs = [self.aligned(x, y.ndim) for x in inputs]
        return nodes.Pointwise(inputs, self.shape(y.shape, batched), y.dtype, batched, op=y.op)

    def aligned(self, x: Node, ndim: int) -> Node:
        """An input of a batched op: a batch goes with the batch; what is fixed may be cut by it."""
        if x.batched:
            if len(x.shape) != ndim:
                raise Coupled
        elif len(x.shape) == ndim and x.source is not None:
            if x.source.shape[0] not in (0, 1, self.batch):
                raise Coupled
            return self.ours(x) if x.source.shape[0] not in (0, 1) else x
        return x

    def spread(self, x: Node, ndim: int) -> Node:
        """A part of a join, which has the rows of the batch even where it is the same for all."""
        if x.batched:
            return x
        if isinstance(x, nodes.Written):
            return nodes.Written([], (ROWS, *x.shape[1:]), x.dtype, value=x.value)
        if (
            isinstance(x, nodes.Leaf)
            and x.source is not None
            and x.source.shape[:1] == (self.batch,)
        ):
            return self.ours(x)
        raise Coupled

    def ours(self, x: Node) -> nodes.View:
        """The rows of the batch that one thread sees, of what has as many."""
        ways = (Way(0, offset("start")), *straight(len(x.shape))[1:])
        return nodes.View([x], (ROWS, *x.shape[1:]), x.dtype, ways=ways)

    def view(self, x: Node, shape: Iterable[str], ways: Iterable[Way]) -> nodes.View:
        return nodes.View([x], tuple(shape), x.dtype, x.batched, ways=tuple(ways))


def plain(y: Tensor) -> None:
    """Refuse attributes of a user's op that cannot be written into a text."""
    simple = (bool, int, float, str, type(None))
    for value in y.attrs.values():
        parts = value if isinstance(value, tuple) else (value,)
        if not all(type(part) in simple and part == part for part in parts):
            raise Unsupported(f"{y.op.name} with an attribute that is no number")
        if any(isinstance(part, float) and abs(part) == float("inf") for part in parts):
            raise Unsupported(f"{y.op.name} with an infinite attribute")
