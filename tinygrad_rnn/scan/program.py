"""A compiled step: the text of its loop ahead and of its loop back, and the arrays they run on."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels.spare import spare
from ..ops import embedding
from .emit import CHEAP, VARIABLES, Nest, Place, Store, Text, gathered, here, ordered, whole
from .lower import ROWS, Coupled, Index, Lowering, Node, Sizes, Unsupported, turned
from .step import Step, detached, is_written


class Plan:
    """One direction of a step: its text, and where every array in it comes from."""

    def __init__(self, text: Text, source: str, numbers: list[Any], fixed: list[Any], lines: int):
        self.source, self.numbers, self.fixed, self.lines = source, numbers, fixed, lines
        self.words = {word: value for value, word in text.sizes.words.items()}
        self.values = tuple(self.words.values())
        self.arguments = list(text.arguments.values())
        self.foreign = text.foreign
        self.function: Any = None
        self.refusal: Unsupported | None = None
        self.gathers: list[Any] = []
        self.lock = threading.Lock()
        roles = [
            (k, a.role[0], a.role[2] if a.role[0] == "carried" else a.role[-1])
            for k, a in enumerate(self.arguments)
        ]
        self.timed = [r for r in roles if r[1] in TIMED]
        self.carried = [
            (k, n) for k, kind, n in roles if kind == "carried" and n not in text.severed
        ]
        self.carried_widths = {
            k: self.size(a.role[1][-1]) if a.role[3] else None
            for k, a in enumerate(self.arguments)
            if a.role[0] == "carried"
        }
        self.totals = [(k, n) for k, kind, n in roles if kind == "acc"]
        self.dxs = {n for _, kind, n in roles if kind == "dx"}
        self.once = [(k, a.role) for k, a in enumerate(self.arguments) if a.role[0] in ONCE]
        self.own = [(k, a) for k, a in enumerate(self.arguments) if a.role[0] in OWN]
        self.cost = self.estimate(text)
        self.rooms: dict[Any, list[Any]] = {}
        self.packs: dict[int, Any] = {}

    def compiled(self) -> Any:
        """The function of the text, compiled or found when it is first needed."""
        from ..kernels import generated

        with self.lock:
            if self.refusal is not None:
                raise self.refusal
            if self.function is None:
                counts = 6 + len(self.values)
                try:
                    self.function = generated.function(
                        self.source, counts, self.arguments, self.foreign
                    )
                except generated.Uncompilable as error:
                    self.refusal = Unsupported(str(error))
                    raise self.refusal from error
        return self.function

    def size(self, word: str) -> int:
        return self.words[word] if word in self.words else int(word)

    def estimate(self, text: Text) -> float:
        """Nanoseconds a step and row take, roughly: products at their speed, numbers one by one."""
        cost = 20.0 + sum(text.products.values()) / 100
        sizes = self.words | {ROWS: 1}
        for a in self.arguments:
            if a.role[0] in ("buffer", "note", "path"):
                shape = text.full[a.name]
                cost += 2 * math.prod(sizes[n] if n in sizes else int(n) for n in shape)
        return cost

    # -- the arrays ------------------------------------------------------------------------------

    def evaluated(self, captured: Sequence[np.ndarray]) -> list[Any]:
        """What depends on fixed arrays only."""
        out: list[Any] = []
        if self.fixed:
            with np.errstate(all="ignore"):
                for op, inputs, attrs in self.fixed:
                    arrays = [_value(role, captured, out) for role in inputs]
                    out.append(op.body(*arrays, **attrs))
        return out

    def numbers_from(self, captured: Sequence[np.ndarray], fixed: list[Any]) -> np.ndarray:
        if not self.numbers:
            return NO_NUMBERS
        values = [_value(role, captured, fixed) for role in self.numbers]
        return np.array([np.asarray(v).item() for v in values], np.float64)

    def held(self, captured: Sequence[np.ndarray], fixed: list[Any]) -> list[Any]:
        """The arguments that are the same at all times, in their places among all."""
        held: list[Any] = [None] * len(self.arguments)
        for k, role in self.once:
            if role[0] == "packed":
                held[k] = self.packed(k, role[1], captured, fixed)
            else:
                array = np.asarray(_value(role, captured, fixed))
                held[k] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        return held

    def packed(self, k: int, role: Any, captured: Any, fixed: Any) -> np.ndarray:
        """Weights as the products read them: packed anew when they are other weights.

        An array in a graph never changes, so the same array is the same weights.
        """
        from ..kernels import generated

        root = self.root(role)
        known = self.packs.get(k)
        if known is not None and root is not None and known[0]() is captured[root]:
            return known[1]
        out = generated.packed(_value(role, captured, fixed))
        if root is not None:
            self.packs[k] = weakref.ref(captured[root]), out
        return out

    def root(self, role: Any) -> int | None:
        """The only captured array that something fixed comes from; None if there are several."""
        if role[0] == "captured":
            return role[1]
        roots = {self.root(r) for r in self.fixed[role[1]][1]} if role[0] == "fixed" else {None}
        return roots.pop() if len(roots) == 1 else None

    def room(self, rows: int | None, block: int, captured: Sequence[np.ndarray]) -> Room:
        """The arrays of one thread: buffers of a step or a block, sums, carried cotangents."""
        waiting = self.rooms.get((rows, block))
        room = waiting.pop() if waiting else self.build(rows, block)
        out = []
        for k, array in room:
            kind, number = self.arguments[k].role[0], self.arguments[k].role[-1]
            if kind == "acc":
                shape = captured[number].shape or (1,)
                array = spare(shape, self.arguments[k].dtype)
                if not rows or not self.arguments[k].role[1]:
                    array.fill(0)
            elif kind == "carried":
                array.fill(0)
            out.append((k, array))
        return Room(out, (rows, block))

    def build(self, rows: int | None, block: int) -> list[Any]:
        sizes = self.words | {ROWS: rows or 0}
        room: list[Any] = []
        for k, a in self.own:
            kind = a.role[0]
            array: Any = None
            if kind in ("buffer", "carried"):
                shape = [sizes[n] if n in sizes else int(n) for n in a.role[1]]
                if a.role[3]:
                    shape[-1] = tall_size(1, shape[-1], a.dtype)
                array = np.zeros((block if a.role[2] is True else 1, *shape), a.dtype)
            elif kind == "scratch":
                array = np.empty(gather_size(self.gathers, a.dtype), a.dtype)
            elif kind == "tall":
                lines = block * (rows if rows is not None else a.role[2])
                array = np.empty(tall_size(lines, self.size(a.role[1]), a.dtype), a.dtype)
            room.append((k, array))
        return room

    def leave(self, room: Room) -> None:
        self.rooms.setdefault(room.key, []).append(list(room))


class Room(list):
    """The arrays of one thread, with their places among the arguments."""

    def __init__(self, arrays: list[Any], key: Any):
        super().__init__(arrays)
        self.key = key


AHEAD_LINES, BACK_LINES = 128, 256  # rows (of steps times batch) that a block of time has
NO_NUMBERS = np.zeros(0)
TIMED = {"x", "path", "out", "note", "incoming", "dx"}
ONCE = {"captured", "fixed", "constant", "packed"}
OWN = {"buffer", "carried", "acc", "scratch", "tall"}


def _value(role: Any, captured: Sequence[np.ndarray], fixed: list[Any]) -> Any:
    if role[0] == "captured":
        return captured[role[1]]
    return role[1] if role[0] == "constant" else fixed[role[1]]


def gather_size(sizes: Any, dtype: Any) -> int:
    from ..kernels import panels

    return max(panels.gather_size(*size, dtype) for size in sizes)


def tall_size(lines: int, columns: int, dtype: Any) -> int:
    from ..kernels import panels

    return panels.packed_size(max(1, lines), columns, dtype)


def program_of(step: Step) -> Program:
    """The program of a step; batched where the rows of its batch are independent."""
    batch = common_batch([*step.xs, *step.carry])
    if any(y.shape[:1] != (batch,) for y in step.results):
        batch = None
    if batch is not None:
        try:
            return Program(step, batch)
        except Coupled:
            pass
    try:
        return Program(step, None)
    except Coupled as error:
        raise Unsupported("a step whose rows depend on each other") from error


def common_batch(leaves: Sequence[Any]) -> int | None:
    sizes = {x.shape[0] if x.ndim >= 2 else None for x in leaves}
    return next(iter(sizes)) if len(sizes) == 1 else None


class Program:
    """A step and its two loops. `batch` is None where the loop sees the arrays as they are."""

    def __init__(self, step: Step, batch: int | None):
        self.step, self.batch = step, batch
        self.names = carry_names(step)
        self.tracked = any(x.tracked for x in [*step.xs, *step.captured]) or any(
            x.tracked for x in step.carry
        )
        self.notes = find_notes(step, batch) if self.tracked else []
        self.ahead = ahead_plan(step, batch, self.names, self.notes)
        self.outs = step.results[len(step.carry) :]
        self.seen: list[np.ndarray] = []  # the numbers that the step itself made, last time
        self.lookups = [
            (step.xs.index(y.inputs[1]), y.inputs[0].shape[0])
            for y in step.ahead
            if y.op is embedding
        ]
        self.backs: dict[tuple[bool, ...], Plan] = {}
        if self.tracked:
            self.back(tuple([True] * len(step.results)))

    @property
    def source(self) -> str:
        """The text of the loop ahead, and of the loop back."""
        return "\n\n".join([self.ahead.source, *(plan.source for plan in self.backs.values())][:2])

    def back(self, incoming: tuple[bool, ...]) -> Plan:
        plan = self.backs.get(incoming)
        if plan is None:
            plan = back_plan(self.step, self.batch, self.names, self.notes, incoming)
            self.backs[incoming] = plan
        return plan


def carry_names(step: Step) -> list[str]:
    usual = ["h", "c"]
    return [
        (x.name or (usual[k] if k < 2 else f"h{k}")).rstrip("0") or f"h{k}"
        for k, x in enumerate(step.carry)
    ]


def begin(step: Step, batch: int | None, text_name: str, head: Sequence[str]) -> Any:
    """A lowering and a text that know the leaves of a step."""
    sizes = Sizes()
    for x in step.carry:
        for n in x.shape[batch is not None :][::-1]:
            sizes.add(n, "H")
    for x in step.xs:
        for n in x.shape[batch is not None :][::-1]:
            sizes.add(n, "I")
    for x in step.captured:
        for n in x.shape[::-1]:
            if n != batch or batch is None:
                sizes.add(n, "N")
    lowering = Lowering(sizes, batch)
    text = Text(text_name, sizes, batch is not None, head)
    text.filled, text.begun, text.carried, text.given = {}, {}, {}, set()
    numbers: list[Any] = []
    for k, x in enumerate(step.captured):
        captured_leaf(lowering, text, numbers, x, ("captured", k), x.name or f"w{k}")
    return lowering, text, numbers


def captured_leaf(lowering, text, numbers, x, role, name):
    if is_written(x):
        return lowering.node(x)
    node = lowering.leaf(x, role, False)
    if x.ndim == 0:
        node.data = ("number", len(numbers))
        numbers.append(role)
        text.numbers[node] = text.fresh("number")
        return node
    node.name = name
    text.given.add(node)
    return node


def place_captured(lowering: Lowering, text: Text) -> None:
    """Arguments for the fixed arrays that the loop reads number by number."""
    for node in list(text.given):
        if node not in text.places:
            name = text.argument(node.name, node.data, node.dtype, len(node.shape), False)
            text.places[node] = Place(name)
            text.full[name] = node.shape


def drop_unused(text: Text, source: str) -> str:
    """Leave out arguments that the text does not mention."""
    import re

    body = source.split('"""', 2)[2]
    words = set(re.findall(r"\w+", body))
    for name in [n for n in text.arguments if n not in words]:
        del text.arguments[name]
    return text.source(text.lines)


def ahead_plan(step: Step, batch: int | None, names: list[str], notes: list[Any]) -> Plan:
    lowering, text, numbers = begin(
        step, batch, "ahead", ["The step, ahead in time.", "0 if way > 0 else 1"]
    )
    leaves(step, lowering, text, names)
    place_captured(lowering, text)
    lowering.tensors(step.ahead)
    outputs: list[tuple[Node, Place]] = []
    for k, y in enumerate(step.results):
        node = lowering.result(y)
        if k < len(step.carry):
            outputs.append((node, Place(text.names[k], "after", batch is not None)))
        else:
            role = ("out", k - len(step.carry))
            outputs.append((node, sequence(text, f"y{k}", role, node, "t", True, batch)))
    for k, y in enumerate(notes):
        node = lowering.result(y)
        name = y.name or text.fresh(f"{y.op.name}_")
        outputs.append((node, sequence(text, name, ("note", k), node, "t", True, batch)))
    text.given = set(text.places)
    became = gathered([n for n, _ in outputs], text.is_early, text.given)
    outputs = [(became.get(n, n), p) for n, p in outputs]
    for node in ordered([n for n, _ in outputs], text.given):
        if node.kind == "product" and any(
            text.is_early(x) for x in node.inputs[: 2 * node.data : 2]
        ):
            text.in_blocks.add(node)
    finish(text, outputs)
    return planned(text, numbers, [], AHEAD_LINES)


def finish(text: Text, outputs: list[tuple[Node, Place]]) -> None:
    """Give outputs their places, make what they need, and store them."""
    first: dict[Node, Place] = {}
    for node, place in outputs:
        if node.kind not in ("leaf", "written") and node not in text.places:
            text.places[node] = first[node] = place
    made = [n for n, _ in outputs]
    text.make(made)
    for node, place in outputs:
        direct = first.get(node) == place
        if direct and node.kind not in ("pointwise", "view"):
            continue
        text.stores.append(Store(node, place, whole(node), "=", node if direct else None))


def planned(text: Text, numbers: list[Any], fixed: list[Any], lines: int) -> Plan:
    for _ in range(4):
        text.lines = text.body()
        costly = [n for n, groups in text.expensive.items() if len(groups) > 1]
        if not costly:
            break
        for node in costly:
            text.places[node] = text.buffer(node, False)
            text.stores.append(Store(node, text.places[node], whole(node), "=", node))
    source = drop_unused(text, text.source(text.lines))
    return Plan(text, source, numbers, fixed, lines)


def sequence(text, name, role, node, time, written, batch):
    """An argument with an axis of time in front."""
    shape = node.shape
    word = text.argument(name, role, node.dtype, len(shape) + 1, written)
    text.full[word] = shape
    return Place(word, time, batch is not None and node.batched)


def leaves(step: Step, lowering: Lowering, text: Text, names: list[str]) -> None:
    batch = lowering.batch
    text.names = []
    for k, x in enumerate(step.carry):
        node = lowering.leaf(x, ("carry", k), True)
        place = sequence(text, names[k], ("path", k), node, "before", True, batch)
        text.places[node] = place
        text.names.append(place.array)
    for k, x in enumerate(step.xs):
        node = lowering.leaf(x, ("x", k), True)
        name = x.name or ("x" if len(step.xs) == 1 else f"x{k}")
        text.places[node] = sequence(text, name, ("x", k), node, "t", False, batch)


# -- back in time ---------------------------------------------------------------------------------


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
    lowering, text, _, _, pulled = back_nodes(step, batch, names, [True] * len(step.results))
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
        cheap = n.kind == "view" or (n.kind == "pointwise" and n.data.name in CHEAP)
        if not cheap or len(seen) > 64:
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
        name = y.name or text.fresh(f"{y.op.name}_")
        text.places[node] = sequence(text, name, ("note", k), node, "t", False, batch)
    text.given = set(text.places)
    back_outputs(step, lowering, text, pulled, batch, names)
    plan = planned(text, numbers, fixed, BACK_LINES)
    plan.gathers = [x.shape for x in step.captured if x.ndim == 2]
    return plan


def back_outputs(step, lowering, text, pulled, batch, names):
    inputs, carry = len(step.xs), len(step.carry)
    nodes = [None if p is None else lowering.node(p) for p in pulled]
    if batch is not None and any(
        n is not None and n.kind != "written" and (not n.batched or not n.shape)
        for n in nodes[: inputs + carry]
    ):
        raise Coupled
    became = gathered([n for n in nodes if n is not None], text.is_early, text.given)
    nodes = [None if n is None else became.get(n, n) for n in nodes]
    terms: list[Any] = []
    for k, n in enumerate(nodes[inputs + carry :]):
        if n is not None:
            target = tuple(range(len(step.captured[k].shape)))
            accumulated(text, n, target, k, step.captured[k], batch, terms)
    dxs = [(k, n) for k, n in enumerate(nodes[:inputs]) if n is not None]
    places = {}
    for k, n in dxs:
        like = text.places[lowering.known[step.xs[k]]]
        word = text.argument(f"d{like.array}", ("dx", k), n.dtype, len(n.shape) + 1, True)
        text.full[word] = n.shape
        places[k] = Place(word, "t", batch is not None)
    readers = count_readers(
        [*[n for n in nodes[: inputs + carry] if n], *[t[0] for t in terms]], text.given
    )
    late = [(k, n) for k, n in dxs if is_late(n, readers)]
    mark_blocks(text, [x for _, n in late for x in n.inputs[: 2 * n.data : 2]])
    mark_blocks(text, [x for t in terms if t[1] == "gather" for x in t[2]])
    outputs = [(n, places[k]) for k, n in dxs if (k, n) not in late]
    outputs += carried_outputs(text, nodes[inputs : inputs + carry], lowering, step, readers)
    for k, n in late:
        for x in n.inputs[: 2 * n.data : 2]:
            outputs.append((x, None))
        outputs += [(x, None) for x in n.inputs[2 * n.data :]]
    outputs += [(x, None) for t in terms for x in t[2]]
    placed = [(n, p) for n, p in outputs if p is not None]
    first = {}
    for node, place in placed:
        passing = place.time == "0" and node in text.in_blocks  # a sum after the block reads all
        if node.kind not in ("leaf", "written") and node not in text.places and not passing:
            text.places[node] = first[node] = place
    text.make([n for n, _ in outputs])
    for node, place in placed:
        if first.get(node) == place and node.kind not in ("pointwise", "view"):
            continue
        makes = node if first.get(node) == place else None
        text.stores.append(Store(node, place, whole(node), "=", makes))
    for k, n in late:
        for x in n.inputs[: 2 * n.data : 2]:
            text.settle(x)
        text.places[n] = places[k]
        text.late_product(n)
    shared = [t[2][1] for t in terms if t[1] == "gather"]
    shared = {g for g in shared if shared.count(g) > 1}
    kinds: dict[int, list[str]] = {}
    for term in terms:
        kinds.setdefault(term[4], []).append(term[1])
    for term in terms:
        accumulate(text, term, shared, fresh=set(kinds[term[4]]) == {"gather"})


def is_late(n: Node, readers: dict[Node, int]) -> bool:
    return n.kind == "product" and readers[n] == 1


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
    if n.kind == "pointwise" and n.data.name == "add" and not n.batched:
        if all(x.shape == n.shape for x in n.inputs):
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
    node, how, operands, target, k, captured = term
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
    ways = []
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
    at = nest._entry(text.places[index], every[:n], index.shape, hoist=False)
    value = nest._entry(text.places[x], every, x.shape, hoist=False)
    row = ", ".join([at, *VARIABLES[n : len(x.shape)]])
    text.looped(None, x.shape, f"{acc}[{row}] += {value}", (x, index))


def scratch(captured: Any) -> Any:
    from .emit import Argument

    return Argument("scratch", ("scratch",), captured.dtype, 1, True)


def accumulator(text: Text, k: int, captured: Any, fresh: bool) -> str:
    for name, argument in text.arguments.items():
        if argument.role[0] == "acc" and argument.role[2] == k:
            return name
    word = f"d{captured.name or f'w{k}'}"
    return text.argument(word, ("acc", fresh, k), captured.dtype, max(1, captured.ndim), True)
