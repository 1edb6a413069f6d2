"""The loop back: the derivative of a step, and what it reads of the way ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .formula import cheap
from .forward import (
    begin,
    captured_leaf,
    carry_names,
    finish,
    leaves,
    place_captured,
    planned,
    sequence,
)
from .lower import ROWS, Coupled, Index, Node, turned
from .nest import VARIABLES, Argument, Nest, Place, Store, here, whole
from .plan import BACK_LINES, LARGE_SUMS, Plan
from .schedule import Text
from .sums import gathered, ordered
from .trace import Step, detached, is_written


def back_nodes(step: Step, batch: int | None, names: list[str], incoming: Sequence[bool]) -> Any:
    """The derivative of a step as nodes, and the text that will hold them."""
    lowering, text, numbers = begin(
        step, batch, "back", ["The derivative of the step, back in time.", "0 if way < 0 else 1"]
    )
    leaves(step, lowering, text, names)
    lowering.tensors(step.ahead)
    gs, pulled, nodes = step.pull(incoming)
    fixed = back_constants(step, lowering, text, numbers, nodes)
    place_captured(lowering, text)
    text.carried = {}
    for k, (y, g) in enumerate(zip(step.results, gs, strict=True)):
        if g is None:
            continue
        node = None
        if incoming[k]:
            node = lowering.leaf(g, ("incoming", k), True)
            text.places[node] = sequence(text, f"g{k}", ("incoming", k), node, "t", False, batch)
        if k < len(step.carry):
            node = carried_leaf(lowering, text, k, g, node, names)
        lowering.known[g] = node
        del y
    lowering.tensors(nodes)
    return lowering, text, numbers, fixed, pulled


def carried_leaf(lowering, text, k, g, incoming, names):
    """The cotangent of a new carry: what the step after passed back, and what came from outside."""
    from ..ops import add

    shape = lowering.shape(g.shape, True)
    leaf = Node("leaf", [], shape, g.dtype, ("carried", k), True)
    name = text.argument(
        f"d{names[k]}",
        ("carried", shape, k, len(shape) == 2 and shape[0] == ROWS),
        g.dtype,
        len(shape) + 1,
        True,
    )
    text.full[name] = shape
    text.places[leaf] = Place(name, "0", False)
    text.carried[leaf] = k
    if incoming is None:  # read here, so that it may be written over while others read it
        return Node("pointwise", [leaf], shape, g.dtype, detached, True)
    return Node("pointwise", [leaf, incoming], shape, g.dtype, add, True)


def back_constants(step, lowering, text, numbers, nodes):
    """What of the derivative depends on fixed arrays only: done once, before the loop."""
    fixed: list[Any] = []
    known: dict[Any, Any] = {x: ("captured", k) for k, x in enumerate(step.captured)}
    ahead = {*step.ahead, *step.xs, *step.carry}
    for y in nodes:
        for x in y.inputs:
            if x not in known and x.op is None and type(x._array) is np.ndarray:
                known[x] = ("constant", x._array)
                if not x.ndim and not is_written(x):
                    captured_leaf(lowering, text, numbers, x, known[x], "number")
        if y.inputs and all(x in known for x in y.inputs) and y not in ahead:
            known[y] = ("fixed", len(fixed))
            fixed.append((y.op, [known[x] for x in y.inputs], y.attrs))
            if type(y._array) is not tuple:
                captured_leaf(lowering, text, numbers, y, known[y], f"{y.op.name}{len(fixed)}")
    return fixed


def find_notes(step: Step, batch: int | None) -> list[Any]:
    """What the derivative reads of the way ahead and cannot cheaply work out again."""
    names = carry_names(step)
    lowering, _, _, _, pulled = back_nodes(step, batch, names, [True] * len(step.results))
    mine = {lowering.known[y]: y for y in step.ahead if isinstance(lowering.known[y], Node)}
    outputs = [lowering.node(p) for p in pulled if p is not None]
    there = {lowering.known[y] for y in step.results if y in lowering.known}
    needed = set()
    for n in ordered(outputs):
        for x in [*n.inputs, n]:
            if x in mine and x not in there and (n not in mine or n in outputs):
                needed.add(x)
    stored = set(needed)
    for n in sorted(needed, key=lambda n: -n.born):
        stored.discard(n)
        if not derivable(n, stored | there):
            stored.add(n)
    return [mine[n] for n in sorted(stored, key=lambda n: n.born)]


def derivable(node: Node, known: set[Node]) -> bool:
    """Whether a node costs little to work out from what is known."""
    stack, seen = [node], set()
    while stack:
        n = stack.pop()
        if n in seen or n in known or n.kind in ("leaf", "written"):
            continue
        seen.add(n)
        if not (n.kind == "view" or cheap(n)) or len(seen) > 64:
            return False
        stack += n.inputs
    return True


def back_plan(
    step: Step, batch: int | None, names: list[str], notes: list[Any], incoming: tuple[bool, ...]
) -> Plan:
    lowering, text, numbers, fixed, pulled = back_nodes(step, batch, names, incoming)
    for k, y in enumerate(step.results):
        node = lowering.known.get(y)
        if isinstance(node, Node) and node.kind not in ("leaf", "written"):
            if k < len(step.carry):
                text.places.setdefault(node, Place(text.names[k], "after", batch is not None))
            elif node not in text.places:
                role = ("out", k - len(step.carry))
                text.places[node] = sequence(text, f"y{k}", role, node, "t", False, batch)
    for k, y in enumerate(notes):
        node = lowering.known[y]
        name = y.name or text.numbered(f"{y.op.name}_")
        text.places[node] = sequence(text, name, ("note", k), node, "t", False, batch)
    text.given = set(text.places)
    back_outputs(step, lowering, text, pulled, batch, names)
    sums = sum(math.prod(x.shape) * x.dtype.itemsize for x in step.captured)
    plan = planned(text, numbers, fixed, BACK_LINES if sums < LARGE_SUMS else 2 * BACK_LINES)
    plan.gathers = [x.shape for x in step.captured if x.ndim == 2]
    return plan


def back_outputs(step, lowering, text, pulled, batch, names):
    """Say where the cotangents go: those of xs, of the carry, and of what is captured."""
    inputs, carry = len(step.xs), len(step.carry)
    nodes = [None if p is None else lowering.node(p) for p in pulled]
    if batch is not None and not all(map(in_rows, nodes[: inputs + carry])):
        raise Coupled
    became = gathered([n for n in nodes if n is not None], text.is_early, text.given)
    nodes = [None if n is None else became.get(n, n) for n in nodes]
    terms: list[Any] = []
    for k, n in enumerate(nodes[inputs + carry :]):
        if n is not None:
            target = tuple(range(len(step.captured[k].shape)))
            accumulated(text, n, target, k, step.captured[k], batch, terms)
    readers = count_readers(
        [*[n for n in nodes[: inputs + carry] if n], *[t[0] for t in terms]], text.given
    )
    dxs = [
        (n, input_place(text, lowering.known[x], k, n, batch))
        for k, (x, n) in enumerate(zip(step.xs, nodes, strict=False))
        if n is not None
    ]
    late = [(n, place) for n, place in dxs if n.kind == "product" and readers[n] == 1]
    in_time = [pair for pair in dxs if pair not in late]
    operands = [x for n, _ in late for x in n.inputs[: 2 * n.data : 2]]
    mark_blocks(text, [*operands, *[x for t in terms if t[1] == "gather" for x in t[2]]])
    starts = [x for n, _ in late for x in n.inputs[2 * n.data :]]
    outputs = carried_outputs(text, nodes[inputs : inputs + carry], lowering, step, readers)
    finish(text, in_time + outputs, [*operands, *starts, *[x for t in terms for x in t[2]]])
    for x in operands:
        text.settle(x)
    for n, place in late:
        text.places[n] = place
        text.late_product(n)
    accumulate_all(text, terms)


def in_rows(n: Node | None) -> bool:
    """Whether a cotangent has the batch in front, as what it is the cotangent of."""
    return n is None or n.kind == "written" or (n.batched and bool(n.shape))


def input_place(text: Text, x: Node, k: int, n: Node, batch: int | None) -> Place:
    """Where the cotangents of a sequence go."""
    word = text.argument(f"d{text.places[x].array}", ("dx", k), n.dtype, len(n.shape) + 1, True)
    text.full[word] = n.shape
    return Place(word, "t", batch is not None)


def accumulate_all(text: Text, terms: list[Any]) -> None:
    """Add up the terms of all that is captured; a sum of products alone begins with the first."""
    packed = [t[2][1] for t in terms if t[1] == "gather"]
    shared = {g for g in packed if packed.count(g) > 1}
    kinds: dict[int, list[str]] = {}
    for term in terms:
        kinds.setdefault(term[4], []).append(term[1])
    for term in terms:
        accumulate(text, term, shared, fresh=set(kinds[term[4]]) == {"gather"})


def count_readers(outputs: list[Node], until: Any) -> dict[Node, int]:
    readers: dict[Node, int] = {}
    for n in outputs:
        readers[n] = readers.get(n, 0) + 1
    for n in ordered(outputs, until):
        readers.setdefault(n, 0)
        for x in n.inputs if n not in until else ():
            readers[x] = readers.get(x, 0) + 1
    return readers


def mark_blocks(text: Text, operands: list[Node]) -> None:
    for x in operands:
        base = text.base(x)
        text.in_blocks.add(base if base is not None else x)


def carried_outputs(text, nodes, lowering, step, readers):
    """Where the carry's cotangents go: over the old ones, once everybody has read those."""
    places = {k: text.places[leaf] for leaf, k in text.carried.items()}
    out = []
    for k, n in enumerate(nodes):
        if k in places:
            if n is None:
                text.severed.add(k)
                shape = lowering.shape(step.carry[k].shape, True)
                n = Node("written", [], shape, step.carry[k].dtype, 0, True)
            out.append((k, n))
    reads = {k: carried_reads(text, n) for k, n in out}
    shared = {
        k for k, n in out if readers.get(n, 0) > 1
    }  # others read it, maybe before all is read
    return [
        (relayed(text, n) if k in shared or clashes(k, n, reads) else n, places[k]) for k, n in out
    ]


def carried_reads(text: Text, node: Node) -> dict[int, bool]:
    """The carried cotangents that a formula reads, and whether only at the loop's own position."""
    found: dict[Node, bool] = {}
    for n in [node, *node.inputs[2 * node.data :]] if node.kind == "product" else [node]:
        text.reads(n, here(n.shape), found, here(n.shape))
    return {k: found[leaf] for leaf, k in text.carried.items() if leaf in found}


def clashes(k: int, node: Node, reads: dict[int, dict[int, bool]]) -> bool:
    """Whether to write a carried cotangent where the old one is would spoil what is still read.

    So it is where others' numbers are read from it in turn, as in carries that swap places.
    """
    if node.kind not in ("pointwise", "view", "product", "leaf", "written"):
        return True
    if not reads[k].get(k, True):
        return True
    seen, stack = set(), [j for j in reads[k] if j != k]
    while stack:
        j = stack.pop()
        if j == k:
            reads[k] = {}  # it is read in time, and waits for nobody
            return True
        if j not in seen:
            seen.add(j)
            stack += [i for i in reads.get(j, {}) if i != j]
    return False


def relayed(text: Text, node: Node) -> Node:
    """The same numbers by way of an array of their own."""
    if node.kind in ("pointwise", "view", "leaf", "written") and node not in text.places:
        text.places[node] = text.buffer(node, node in text.in_blocks)
        text.stores.append(Store(node, text.places[node], whole(node), "=", node))
    return Node("pointwise", [node], node.shape, node.dtype, detached, node.batched)


def accumulated(text, n, target, k, captured, batch, terms):
    """Take the cotangent of something fixed apart into terms that the loop can add up.

    `target`: for each of its axes, the axis of `n` that goes along it, or None.
    """
    if n.kind == "written" and n.data == 0:
        return
    sums = n.is_sum and not n.batched
    if sums and all(x.shape == n.shape for x in n.inputs):
        for x in n.inputs:
            accumulated(text, x, target, k, captured, batch, terms)
        return
    if n.kind == "view" and not n.batched and n not in text.places:
        to = {way[0]: a for a, way in enumerate(n.data) if way[0] is not None}
        plain = all(way[1:] in (("0", 1), ("0", 0)) for way in n.data)
        if plain and all(axis in to or axis is None or n.shape[axis] == "1" for axis in target):
            target = tuple(None if a is None else to.get(a) for a in target)
            accumulated(text, n.inputs[0], target, k, captured, batch, terms)
            return
    if n.kind == "reduce" and n.data[0] == "sum":
        target = tuple(None if a in n.data[1] else a for a in target)
        terms.append((n.inputs[0], "sum", (n.inputs[0],), target, k, captured))
        return
    if n.kind == "dot" and target in ((0, 1), (1, 0)):
        x = turned(n.inputs[0])
        g = n.inputs[1]
        real = n.dtype == n.inputs[0].dtype == g.dtype and n.dtype.kind == "f"
        if x is not None and real:
            pair = (x, g) if target == (0, 1) else (g, x)
            terms.append((n, "gather", pair, target, k, captured))
            return
    if n.kind == "add_rows" and target == tuple(range(len(n.shape))):
        terms.append((n, "rows", tuple(n.inputs), target, k, captured))
        return
    if batch is not None and not n.batched:
        raise Coupled
    terms.append((n, "sum", (n,), target, k, captured))


def accumulate(text: Text, term: Any, shared: set[Node], fresh: bool) -> None:
    """Add one term up: products over a block of steps, other sums in the loop itself.

    A sum of products alone begins `fresh`: its first product writes instead of adding.
    """
    _, how, operands, target, k, captured = term
    first = all(a.role[0] != "acc" or a.role[2] != k for a in text.arguments.values())
    acc = accumulator(text, k, captured, fresh)
    if how == "gather":
        x, g = operands
        text.settle(x)
        text.settle(g)
        begins = "begun + done == 0" if fresh and first else False
        if g in shared:  # more than one product reads it: packed once for all
            packed = text.tall(g)
            text.late.append(
                f"gather_packed({text.array(x, True)}, {packed}, {acc}, scratch, {begins})"
            )
        else:
            text.late.append(
                f"gather({text.array(x, True)}, {text.array(g, True)}, {acc}, scratch, {begins})"
            )
        if not any(a.role[0] == "scratch" for a in text.arguments.values()):
            text.arguments["scratch"] = scratch(captured)
        return
    if how == "rows":
        rows_added(text, acc, *operands)
        return
    batched = operands[0].batched and text.batched
    place = Place(acc)
    ways: list[Any] = []
    for a, n in zip(target, captured.shape, strict=True):
        if a is None:
            ways.append((None, "0", 0))
        elif a == 0 and batched and n != 1:
            ways.append((0, "start", 1))
        else:
            ways.append((a, "0", 1))
    text.full[acc] = text.sizes_of(captured)
    text.stores.append(Store(operands[0], place, tuple(ways) or ((None, "0", 0),), "+=", None))


def rows_added(text, acc, x, index):
    """Add what comes to the rows that an index names."""
    text.settle(x, True)
    n = len(index.shape)
    nest = Nest(text, (), [])
    every = [Index(v) for v in VARIABLES[: len(x.shape)]]
    at = nest.entry(text.places[index], every[:n], index.shape)
    value = nest.entry(text.places[x], every, x.shape)
    row = ", ".join([at, *VARIABLES[n : len(x.shape)]])
    text.looped(None, x.shape, f"{acc}[{row}] += {value}", (x, index))


def scratch(captured: Any) -> Any:
    return Argument("scratch", ("scratch",), captured.dtype, 1, True)


def accumulator(text: Text, k: int, captured: Any, fresh: bool) -> str:
    for name, argument in text.arguments.items():
        if argument.role[0] == "acc" and argument.role[2] == k:
            return name
    word = f"d{captured.name or f'w{k}'}"
    return text.argument(word, ("acc", fresh, k), captured.dtype, max(1, captured.ndim), True)
