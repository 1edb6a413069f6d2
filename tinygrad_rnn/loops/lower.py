"""From a step's ops to what a loop is made of: numbers, products, sums, and other ways to look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..op import Op, pick
from ..ops.arithmetic import add
from ..ops.reduce import axes_of
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
    """Turns tensors without numbers into nodes; `batched` when axis 0 is a batch throughout."""

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

    def tensors(self, nodes: Sequence[Tensor]) -> None:
        """Lower a list of ops, oldest first."""
        for y in nodes:
            if y in self.known:
                continue
            inputs = [self.node(x) for x in y.inputs]
            if y.op is pick:
                self.known[y] = inputs[0][y.attrs["i"]]
            else:
                self.known[y] = self.lower(y, inputs)
            self.check_batch(y, self.known[y])
            if isinstance(self.known[y], Node) and self.known[y].source is None:
                self.known[y].source = y

    def lower(self, y: Tensor, inputs: list[Any]) -> Any:
        op = y.op
        if op.pointwise and op.declared.loop is None:
            return self.pointwise(y, inputs)
        rule = (op.declared.loop or RULES.get(op.name)) if op.ours else None
        if rule is None:
            if op.ours or y._array.__class__ is tuple:
                raise Unsupported(op.name)
            if self.batch is not None:
                raise Coupled(op.name)
            plain(y)
            return Node("call", inputs, self.shape(y.shape, True), y.dtype, (op, y.attrs))
        return rule(self, y, inputs, **y.attrs)

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


def _reshape(self, y, inputs, shape):
    x, old, new = inputs[0], list(inputs[0].shape), list(y.shape)
    words = self.shape(y.shape, False)
    if self.batch is not None and x.batched:
        self.check_rows_first(x)
        if not new or new[0] != self.batch:
            raise Coupled
        words = (ROWS, *words[1:])
    kept_old = [k for k, n in enumerate(old) if n != "1"]
    kept_new = [k for k, n in enumerate(words) if n != "1"]
    if [old[k] for k in kept_old] == [words[k] for k in kept_new]:
        to = dict(zip(kept_old, kept_new, strict=True))
        axes = [(to[k], "0", 1) if k in to else (None, "0", 0) for k in range(len(old))]
        return self.view(x, words, axes)
    return Node("copy", [x], words, x.dtype, None, x.batched)


def _permuted(self, x, axes):
    """Axis k here is axis axes[k] of the input."""
    back = {a: k for k, a in enumerate(axes)}
    ways = [(back[a], "0", 1) for a in range(len(axes))]
    return self.view(x, [x.shape[a] for a in axes], ways)


def _transpose(self, y, inputs, axes):
    n = y.ndim
    return _permuted(self, inputs[0], [a % n for a in axes] if axes else range(n)[::-1])


def _swapaxes(self, y, inputs, axis1, axis2):
    axes = list(range(y.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return _permuted(self, inputs[0], axes)


def _broadcast_to(self, y, inputs, shape):
    x = inputs[0]
    self.check_rows_first(x)
    batched = x.batched
    words, extra = self.shape(y.shape, batched), y.ndim - len(x.shape)
    if self.batch is not None and batched and extra:
        raise Coupled
    axes = [
        (None, "0", 0) if n == "1" and words[k + extra] != "1" else (k + extra, "0", 1)
        for k, n in enumerate(x.shape)
    ]
    return self.view(x, words, axes)


def _reduced(self, x, axes, how, dtype):
    """A sum or extreme over axes, which are kept as 1."""
    if x.dtype != dtype:  # a sum of flags is a number
        x = _cast(self, x, dtype)
    shape = ["1" if k in axes else n for k, n in enumerate(x.shape)]
    batched = x.batched and not (self.batch is not None and 0 in axes)
    self.check_rows_first(x)
    return Node("reduce", [x], shape, dtype, (how, tuple(axes)), batched)


def _cast(self, x, dtype):
    from ..ops import astype

    return Node("pointwise", [x], x.shape, dtype, astype, x.batched)


def _without(self, x, axes):
    shape = [n for k, n in enumerate(x.shape) if k not in axes]
    left = iter(range(len(shape)))
    ways = [(None, "0", 0) if k in axes else (next(left), "0", 1) for k in range(len(x.shape))]
    return self.view(x, shape, ways)


def _sum_to(self, y, inputs, shape):
    x = inputs[0]
    extra = len(x.shape) - len(shape)
    ones = {k + extra for k, n in enumerate(shape) if n == 1 and x.shape[k + extra] != "1"}
    axes = sorted({*range(extra), *ones})
    if not axes:
        return x
    return _without(self, _reduced(self, x, axes, "sum", y.dtype), range(extra))


def _over(how):
    def rule(self, y, inputs, axis, keepdims):
        x = inputs[0]
        axes = axes_of(y.inputs[0], axis)
        if not axes:
            return x if x.dtype == y.dtype else _cast(self, x, y.dtype)
        flags = y.dtype.kind == "b"
        kept = _reduced(self, x, axes, how, np.dtype(np.int64) if flags else y.dtype)
        kept = _cast(self, kept, y.dtype) if flags else kept
        return kept if keepdims else _without(self, kept, axes)

    return rule


def _number(self, op, inputs, like):
    shape = like.shape
    return Node("pointwise", inputs, shape, like.dtype, op, like.batched)


def _exponentials(self, x, axes):
    from ..ops import exp, sub

    top = _reduced(self, x, axes, "max", x.dtype)
    return top, _number(self, exp, [_number(self, sub, [x, top], x)], x)


def _softmax(self, y, inputs, axis):
    from ..ops import div

    x, axes = inputs[0], axes_of(y, axis)
    self.check_rows_first(x)
    _, e = _exponentials(self, x, axes)
    total = _reduced(self, e, axes, "sum", x.dtype)
    return _number(self, div, [e, total], x)


def _log_softmax(self, y, inputs, axis):
    from ..ops import log, sub

    x, axes = inputs[0], axes_of(y, axis)
    self.check_rows_first(x)
    top, e = _exponentials(self, x, axes)
    total = _reduced(self, e, axes, "sum", x.dtype)
    low = _number(self, sub, [x, top], x)
    return _number(self, sub, [low, _number(self, log, [total], total)], x)


def _logsumexp(self, y, inputs, axis, keepdims):
    from ..ops import abs, add, equal, exp, log, sub, where

    x, axes = inputs[0], axes_of(y.inputs[0], axis)
    self.check_rows_first(x)
    top = _reduced(self, x, axes, "max", x.dtype)
    limit, zero = (Node("written", [], (), x.dtype, value, False) for value in (np.inf, 0))
    is_infinite = Node("pointwise", [_number(self, abs, [top], top), limit], top.shape,
                       np.dtype(bool), equal, top.batched)  # fmt: skip
    top = _number(self, where, [is_infinite, zero, top], top)  # inf - inf would be NaN
    e = _number(self, exp, [_number(self, sub, [x, top], x)], x)
    mass = _number(self, log, [_reduced(self, e, axes, "sum", x.dtype)], top)
    total = _number(self, add, [top, mass], top)
    return total if keepdims else _without(self, total, axes)


def _split(self, y, inputs, sections, axis):
    x = inputs[0]
    k = axis % len(x.shape)
    parts, at = [], 0
    equal = isinstance(sections, int)
    if self.batch is not None and x.batched and x.shape[k] == ROWS:
        raise Coupled
    for i, part in enumerate(y._array):
        size = self.sizes.text(part.shape[k])
        if equal and not size.isdigit():
            offset = "0" if i == 0 else size if i == 1 else f"{i} * {size}"
        else:
            offset = self.sizes.text(at) if at > 1 else str(at)
        shape = [size if a == k else n for a, n in enumerate(x.shape)]
        ways = [(a, offset if a == k else "0", 1) for a in range(len(shape))]
        parts.append(self.view(x, shape, ways))
        at += part.shape[k]
    return parts


def _unstack(self, y, inputs, axis):
    x = inputs[0]
    k = axis % len(x.shape)
    if self.batch is not None and x.batched and x.shape[k] == ROWS:
        raise Coupled
    shape = [n for a, n in enumerate(x.shape) if a != k]
    parts = []
    for i in range(len(y._array)):
        left = iter(range(len(shape)))
        ways = [(None, str(i), 0) if a == k else (next(left), "0", 1) for a in range(len(x.shape))]
        parts.append(self.view(x, shape, ways))
    return parts


def _indexed(index, shape):
    """What a plain index does to each axis: (size here or None, start, step), and new axes."""
    index = list(index)
    given = sum(i is not None and i is not Ellipsis for i in index)
    if Ellipsis not in index:
        index.append(Ellipsis)
    at = next(k for k, i in enumerate(index) if i is Ellipsis)
    index[at : at + 1] = [slice(None)] * (len(shape) - given)
    ways, axis, here = [], 0, 0
    for i in index:
        if i is None:
            here += 1
            continue
        if isinstance(i, str):
            raise Unsupported("indexing with an array")
        if isinstance(i, slice):
            start, _, step = i.indices(shape[axis])
            ways.append((here, str(start), step))
            here += 1
        else:
            ways.append((None, str(int(i) % shape[axis]), 0))
        axis += 1
    return ways


def _take(self, y, inputs, index):
    x = inputs[0]
    if len(inputs) > 1:
        raise Unsupported("indexing with an array")
    self.check_rows_first(x)
    ways = _indexed(index, y.inputs[0].shape)
    batched = x.batched
    if self.batch is not None and batched and (not ways or ways[0] != (0, "0", 1)):
        raise Coupled
    if self.batch is not None and batched and y.shape[:1] != (self.batch,):
        raise Coupled
    return self.view(x, self.shape(y.shape, batched), ways)


def _put(self, y, inputs, index, shape):
    x = inputs[0]
    if len(inputs) > 1:
        raise Unsupported("indexing with an array")
    self.check_rows_first(x)
    ways = _indexed(index, shape)
    if self.batch is not None and x.batched and ways[:1] != [(0, "0", 1)]:
        raise Coupled
    return Node("put", [x], self.shape(y.shape, x.batched), y.dtype, ways, x.batched)


def _flip(self, y, inputs, axis):
    x, axes, n = inputs[0], axes_of(y, axis), y.ndim
    if self.batch is not None and x.batched and any(x.shape[a] == ROWS for a in axes):
        raise Coupled
    ways = [(k, f"{x.shape[k]} - 1", -1) if k in axes else (k, "0", 1) for k in range(n)]
    return self.view(x, x.shape, ways)


def _joined(self, y, inputs, axis, new):
    k = axis % y.ndim
    batched = self.is_batched(*inputs)
    if self.batch is not None and batched:
        if k == 0:
            raise Coupled
        inputs = [self.spread(x, y.ndim - new) for x in inputs]
        self.check_rows_first(*inputs)
    return Node("join", inputs, self.shape(y.shape, batched), y.dtype, (k, new), batched)


def _concat(self, y, inputs, axis):
    return _joined(self, y, inputs, axis, 0)


def _stack(self, y, inputs, axis):
    return _joined(self, y, inputs, axis, 1)


def turned(x: Node) -> Node | None:
    """What a matrix is the transpose of, if it is a view that swaps two axes."""
    if x.kind == "view" and x.data == [(1, "0", 1), (0, "0", 1)]:
        return x.inputs[0]
    return None


def _matmul(self, y, inputs):
    a, b = inputs
    words = self.shape(y.shape, False)
    real = y.dtype.kind == "f" and a.dtype == b.dtype == y.dtype
    fixed = not b.batched and b.kind == "leaf" and len(a.shape) == len(b.shape) == 2
    if real and fixed and (self.batch is None or (a.batched and a.shape[0] == ROWS)):
        return Node("product", [a, b], (a.shape[0], b.shape[1]), y.dtype, 1)
    if self.batch is not None:
        rows = turned(a)
        sums = rows is not None and rows.batched and rows.shape[0] == ROWS  # over the batch
        if sums and len(b.shape) == 2 and b.batched and b.shape[0] == ROWS:
            return Node("dot", [a, b], words, y.dtype, None, False)
        if len(a.shape) < 3 or (len(b.shape) == len(a.shape)) != b.batched or not a.batched:
            raise Coupled
        self.check_rows_first(a, b)
        words = (ROWS, *words[1:])
    return Node("dot", [a, b], words, y.dtype)


def _embedding(self, y, inputs):
    table, index = inputs
    kinds = [x.data[0] if x.kind == "leaf" else "" for x in (table, index)]
    if kinds != ["captured", "x"]:  # whose numbers can be checked before the loop runs
        raise Unsupported("embedding of what the step computes")
    self.check_rows_first(index)
    shape = (*index.shape, *table.shape[1:])
    return Node("rows_of", [table, index], shape, y.dtype)


def _scatter_rows(self, y, inputs, rows):
    x, index = inputs
    self.check_rows_first(x, index)
    return Node("add_rows", [x, index], self.shape(y.shape, False), y.dtype, None,
                self.batch is None)  # fmt: skip


RULES: dict[str, Callable[..., Any]] = {
    "clip_cotangent": lambda self, y, inputs, **limit: inputs[0],  # nothing, on the way ahead
    "reshape": _reshape, "transpose": _transpose, "swapaxes": _swapaxes,
    "broadcast_to": _broadcast_to, "sum_to": _sum_to,
    "sum": _over("sum"), "max": _over("max"), "min": _over("min"),
    "softmax": _softmax, "log_softmax": _log_softmax, "logsumexp": _logsumexp,
    "split": _split, "unstack": _unstack,
    "take": _take, "put": _put, "flip": _flip, "concat": _concat, "stack": _stack,
    "matmul": _matmul, "embedding": _embedding, "scatter_rows": _scatter_rows,
}  # fmt: skip
