"""How what is more than a loop over numbers gets into its array: products, sums, joins and such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from . import nodes
from .formula import literal
from .nest import last_only, nested
from .nodes import Node, Unsupported, ordered
from .roles import Place
from .schedule import Piece, Schedule, Store, Task
from .where import ROWS, VARIABLES, ZERO, Way, Ways, fixed, offset, straight

DEEP = 64  # ops that a formula goes through, from an array to its result
MANY = 512  # numbers, added up one by one, at which float32 has lost two digits


def make(schedule: Schedule, outputs: Iterable[Node]) -> None:
    """Give everything that must be in an array its place, and say how it gets there."""
    places = schedule.places
    order = [node for node in ordered(outputs, places.given) if node not in places.given]
    keep_deep(schedule, order)
    for node in [n for n in order if type(n) in MAKERS]:
        for x in node.operands:
            schedule.settle(x, isinstance(node, nodes.Call | nodes.Loop))
        if node not in places.at:
            places.buffer(node)
        MAKERS[type(node)](schedule, node)


def keep_deep(schedule: Schedule, order: Iterable[Node]) -> None:
    """Keep numbers on the way of a long formula, so that no loop has to compute all of it again.

    Formulas are written from the inside out, too: this is how many calls are inside each other.
    """
    depth = Counter[Node]()
    for node in order:
        if isinstance(node, nodes.Formula) and node not in schedule.places.at:
            depth[node] = 1 + max([depth[x] for x in node.inputs], default=0)
            if depth[node] >= DEEP:
                schedule.keep(node)
                depth[node] = 0


def product(schedule: Schedule, node: nodes.Product, late: bool = False) -> None:
    """Products with packed matrices: those of inputs for a block of steps at once, before it.

    `late` if nobody in the loop waits for the sum: then all of them after the block.
    """
    places, out = schedule.places, schedule.places.at[node]
    start = None if node.start is None else schedule.add(Store(node.start, out))
    fresh = start is None
    lines, reads = [], []
    for x, w in node.pairs:
        block = late or places.is_early(x)
        operands = places.array(x, block), places.packed(w), places.array(node, block, filled=True)
        line = f"multiply({', '.join(operands)}, {fresh})"
        if block:
            (schedule.late if late else schedule.early).append(line)
        else:
            lines.append(line)
            reads.append(x)
        fresh = False
    if not late and (lines or start):
        schedule.add(Piece(node, reads, lines, start))


def dot(schedule: Schedule, node: nodes.Dot) -> None:
    """A product of two things that both change: plain loops."""
    x, y = node.inputs
    *lead, row, column = straight(len(node.shape))
    inner = Way(-1)
    places, size = schedule.places, x.shape[-1]
    made = widened(schedule, node) if places.sizes.count([size], 1) > MANY else node
    a, b = places.entry(x, [*lead, row, inner]), places.entry(y, [*lead, inner, column])
    c = places.at[made].entry([*lead, row, column])
    along = [(column.text(), node.shape[-1])]
    lines = nested(along, [f"{c} = 0"])
    lines += nested([(inner.text(), size), *along], [f"{c} += {a} * {b}"])
    loops = list(zip(VARIABLES, node.shape[:-1], strict=False))
    schedule.add(Piece(made, (x, y), nested(loops, lines)))


def widened(schedule: Schedule, node: Node) -> Node:
    """A node, or if it is of float32 one of float64, which is put there when it is added up."""
    places, every = schedule.places, straight(len(node.shape))
    if node.dtype != np.float32:
        return node
    made = replace(node, name=None)
    places.widen(places.buffer(made).array)
    line = f"{places.entry(node, every)} = f32({places.entry(made, every)})"
    schedule.add(Piece(node, (made,), looped(node.shape, line)))
    return made


def reduce(schedule: Schedule, node: nodes.Reduce) -> None:
    places, x, how = schedule.places, node.inputs[0], node.how
    target = [fixed() if k in node.axes else Way(k) for k in range(len(x.shape))]
    if how == "+=" and last_only(x.shape, node.axes):
        schedule.add(Store(x, places.at[node], target, "=", node))  # a total, written once
        return
    made = widened(schedule, node) if how == "+=" else node
    start = fill(schedule, made, literal(first_of(node), node.dtype))
    schedule.add(Store(x, places.at[made], target, how, made, start))


def first_of(node: nodes.Reduce) -> Any:
    """What a reduction begins with."""
    if node.how == "+=":
        return 0
    if node.dtype.kind == "f":
        return -np.inf if node.how == "larger" else np.inf
    limits = np.iinfo(node.dtype)
    return limits.min if node.how == "larger" else limits.max


def fill(schedule: Schedule, node: Node, value: str) -> Task:
    entry = schedule.places.at[node].entry(straight(len(node.shape)))
    return schedule.add(Piece(None, (), looped(node.shape, f"{entry} = {value}")))


def looped(shape: tuple[str, ...], line: str) -> list[str]:
    """A line for every number of a shape."""
    return nested(list(zip(VARIABLES, shape, strict=False)), [line])


def join(schedule: Schedule, node: nodes.Join) -> None:
    at = ZERO
    for k, x in enumerate(node.inputs):
        target = list(straight(len(x.shape)))
        if node.new:
            target.insert(node.axis, fixed(offset(k)))
        else:
            target[node.axis] = Way(node.axis, at)
            at += offset(x.shape[node.axis])
        schedule.add(Store(x, schedule.places.at[node], target, makes=node))


def put(schedule: Schedule, node: nodes.Put) -> None:
    start = fill(schedule, node, literal(0, node.dtype))
    place = schedule.places.at[node]
    schedule.add(Store(node.inputs[0], place, node.ways, "+=", node, start))


def copy(schedule: Schedule, node: nodes.Copy) -> None:
    """The same numbers in another shape: row by row where there is a batch."""
    x, places = node.inputs[0], schedule.places
    base = places.base(x)
    if base is not None and base is not x:
        raise Unsupported("reshape of a view")
    batched = places.batched and node.batched
    if min(len(x.shape), len(node.shape)) <= batched:
        raise Unsupported("reshape to or from a number")
    a, b = places.at[x], places.at[node]
    rows = straight(1) if batched else ()
    source = a.entry(rows) if rows or a.time else a.array
    if places.is_padded(a):
        source = f"{source[:-1]}, 0:{x.shape[-1]}]"
    lines = [
        f"source = {source}.reshape(-1)", f"target = {b.entry(rows)}.reshape(-1)",
        "for j in range(source.size):", "    target[j] = source[j]",
    ]  # fmt: skip
    schedule.add(Piece(node, (x,), nested([("i", ROWS)], lines) if batched else lines))


def rows_of(schedule: Schedule, node: nodes.RowsOf) -> None:
    table, index = node.inputs
    at, every = schedule.places.at, straight(len(node.shape))
    line = f"{at[node].entry(every)} = {at[table].array}[{row_of(at[index], index, every)}]"
    schedule.add(Piece(node, (index,), looped(node.shape, line)))


def row_of(place: Place, index: Node, every: Ways) -> str:
    """The row of a table that an index names, and its other axes as they are."""
    n = len(index.shape)
    return ", ".join([place.entry(every[:n]), *[way.text() for way in every[n:]]])


def call(schedule: Schedule, node: nodes.Call) -> None:
    """An op of a user's; what it is given it may write to, so that it gets a copy."""
    places, words = schedule.places, []
    for x in node.inputs:
        if isinstance(x, nodes.Written) and x.value is not None:
            words.append(literal(x.value, x.dtype))
        elif x in places.at or x in places.numbers:
            copy = x.shape and places.arguments[places.at[x].array].written
            words.append(places.whole(x) + ".copy()" * bool(copy))
        else:
            raise Unsupported(node.op.name)
    out, whole = places.at[node], "[:]" if node.shape else ""
    words += [f"{k}={v!r}" for k, v in node.attrs.items()]
    line = f"{out.array}[{out.time}]{whole} = {places.called_name(node.op)}({', '.join(words)})"
    schedule.add(Piece(node, node.inputs, [line]))


def loop(schedule: Schedule, node: nodes.Loop) -> None:
    """A loop over arrays that get the names by which its text knows them."""
    places, lines = schedule.places, []
    for word, x in [*zip(node.words, node.inputs, strict=True), *node.parts.items()]:
        if isinstance(x, nodes.Part) and x not in places.at:
            places.buffer(x)
            if word in places.wide:
                places.widen(places.at[x].array)
        lines.append(f"{word} = {places.packed(x) if word in node.packed else places.whole(x)}")
    schedule.add(Piece(node, node.inputs, [*lines, *node.lines]))


MAKERS: dict[type[Node], Callable[[Schedule, Any], Any]] = {
    nodes.Product: product, nodes.Dot: dot, nodes.Reduce: reduce, nodes.Join: join,
    nodes.Put: put, nodes.Copy: copy, nodes.RowsOf: rows_of, nodes.Call: call,
    nodes.Loop: loop, nodes.Part: lambda schedule, x: schedule.add(Piece(x, x.inputs, [])),
}  # fmt: skip
