"""From a step's ops to what a loop is made of: numbers, products, sums, and other ways to look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..op import Op
from ..ops.arithmetic import add
from ..tensor import Outline, Tensor

ROWS = "rows"  # the size of the batch, as far as one thread sees it


class Unsupported(Exception):
    """There is no compiled form of an op; the sentence names it."""


class Coupled(Exception):
    """The rows of the batch are not independent of each other."""


class Index(NamedTuple):
    """Where to look along one axis: offset + step * (loop variable), or a fixed place."""

    variable: str | None
    offset: str = "0"
    step: int = 1


_births = count()


class Node:
    """One thing to compute: what it is, what from, and its shape in words (`rows`, `H`, `1`).

    kind is one of
    - leaf: something that is there already (`data` says what);
    - written: a constant of the program;
    - pointwise: an op on numbers; `data` is the Op;
    - view: another way to look at its only input; `data` maps the axes: for each axis of the input
      (axis here or None, offset, step);
    - product: the sum of x @ w over pairs in `inputs` (x, w, x, w, ...), w fixed; `data` pairs,
      and after them maybe what the sum begins with;
    - dot: x @ y in general; reduce: over axes, kept as 1 (`data` = "sum" | "max" | "min", axes);
    - join: parts side by side along an axis; copy: the same numbers in another shape;
    - put: zeros, with its input at a place (`data` as in a view, from there to here);
    - rows_of, add_rows: rows of a table by number; call: an op of a user's, on whole arrays.

    `partial` is a sum over the batch, of which each thread knows only its own part: it may be added
    up when all are done, as cotangents of weights are, but nothing in the loop may read it.
    """

    __slots__ = ("batched", "born", "data", "dtype", "inputs", "kind", "name", "partial", "shape",
                 "source")  # fmt: skip

    def __init__(self, kind, inputs, shape, dtype, data=None, batched=True, name=None, source=None):
        self.born = next(_births)
        self.kind, self.inputs, self.shape, self.dtype = kind, list(inputs), tuple(shape), dtype
        self.data, self.batched, self.name, self.source = data, batched, name, source
        self.partial = not batched and any(x.batched or x.partial for x in self.inputs)
        if batched and any(x.partial for x in self.inputs):
            raise Coupled

    @property
    def is_sum(self) -> bool:
        """Whether it is a sum of two, as cotangents are added up."""
        return self.kind == "pointwise" and self.data is add

    def __repr__(self):
        data = self.data.name if isinstance(self.data, Op) else self.data
        return f"<{self.kind} {data} {self.shape} from {len(self.inputs)}>"


class Sizes:
    """Words for the sizes of a step's arrays: one text serves all sizes of the same pattern."""

    def __init__(self):
        self.words: dict[int, str] = {}

    def add(self, value: int, word: str) -> None:
        if value > 1 and value not in self.words:
            taken = set(self.words.values())
            self.words[value] = next(
                w for w in [word, *(f"{word}{k}" for k in range(2, 999))] if w not in taken
            )

    def text(self, value: int) -> str:
        return self.words.get(value, str(value))

    def value(self, text: str) -> int:
        return next((v for v, word in self.words.items() if word == text), 0) or int(text)


class Lowering:
    """The nodes of tensors, their shapes in words, and what a batch along axis 0 allows."""

    def __init__(self, sizes: Sizes, batch: int | None):
        self.sizes, self.batch = sizes, batch
        self.known: dict[Tensor, Any] = {}

    # -- shapes ----------------------------------------------------------------------------------

    def shape(self, shape: Sequence[int], batched: bool) -> tuple[str, ...]:
        words = [self.sizes.text(n) for n in shape]
        if batched and self.batch is not None:
            words[0] = ROWS
        return tuple(words)

    def leaf(self, x: Tensor, data: Any, batched: bool) -> Node:
        shape = self.shape(x.shape, batched)
        self.known[x] = Node("leaf", [], shape, x.dtype, data, batched, x.name, x)
        return self.known[x]

    def node(self, x: Tensor) -> Any:
        """The node of a tensor; a constant that nobody announced is written into the text."""
        if x not in self.known:
            self.known[x] = self.constant(x)
        return self.known[x]

    def result(self, x: Tensor) -> Node:
        """The node of what a step returns; in a batched program it has the batch in front."""
        node = self.node(x)
        if self.batch is not None:
            if x.shape[:1] != (self.batch,):
                raise Coupled
            node = self.spread(node, x.ndim)
            self.check_rows_first(node)
        return node

    def constant(self, x: Tensor) -> Node:
        array = x._array
        if array.__class__ is Outline or (array.size and not np.all(array == array.flat[0])):
            raise Unsupported("a constant array made by a derivative")
        value = array.flat[0].item() if array.size else 0
        shape = self.shape(array.shape, False)
        return Node("written", [], shape, array.dtype, value, batched=False)

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
        return Node("pointwise", inputs, self.shape(y.shape, batched), y.dtype, y.op, batched)

    def aligned(self, x: Node, ndim: int) -> Node:
        """An input of a batched op: a batch goes with the batch; what is fixed may be cut by it."""
        if x.batched:
            if len(x.shape) != ndim:
                raise Coupled
        elif len(x.shape) == ndim and x.kind == "leaf" and x.source.shape[0] not in (0, 1):
            if x.source.shape[0] != self.batch:
                raise Coupled
            axes = [(0, "start", 1)] + [(k, "0", 1) for k in range(1, ndim)]
            return Node("view", [x], (ROWS, *x.shape[1:]), x.dtype, axes, True)
        return x

    def spread(self, x: Node, ndim: int) -> Node:
        """A part of a join, which has the rows of the batch even where it is the same for all."""
        if x.batched:
            return x
        if x.kind == "written":
            return Node("written", [], (ROWS, *x.shape[1:]), x.dtype, x.data, True)
        if x.kind == "leaf" and x.source is not None and x.source.shape[:1] == (self.batch,):
            axes = [(0, "start", 1)] + [(k, "0", 1) for k in range(1, ndim)]
            return Node("view", [x], (ROWS, *x.shape[1:]), x.dtype, axes, True)
        raise Coupled

    def view(self, x: Node, shape: Sequence[str], axes: list[Any]) -> Node:
        return Node("view", [x], shape, x.dtype, axes, x.batched)


def plain(y: Tensor) -> None:
    """Refuse attributes of a user's op that cannot be written into a text."""
    simple = (bool, int, float, str, type(None))
    for value in y.attrs.values():
        parts = value if isinstance(value, tuple) else (value,)
        if not all(type(part) in simple and part == part for part in parts):
            raise Unsupported(f"{y.op.name} with an attribute that is no number")
        if any(isinstance(part, float) and abs(part) == float("inf") for part in parts):
            raise Unsupported(f"{y.op.name} with an infinite attribute")


def turned(x: Node) -> Node | None:
    """What a matrix is the transpose of, if it is a view that swaps two axes."""
    if x.kind == "view" and x.data == [(1, "0", 1), (0, "0", 1)]:
        return x.inputs[0]
    return None
