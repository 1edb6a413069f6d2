"""The loop of the backward pass: a step's derivative, and what it reads of the forward pass."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..ops.arithmetic import add
from ..tensor import Tensor
from . import nodes, roles
from .draft import Draft, Outputs
from .formula import cheap
from .makers import MANY, looped, product, row_of
from .nodes import Coupled, Node, ordered
from .plan import BACKWARD_LINES, LARGE_SUMS, Plan
from .roles import Place
from .schedule import Piece, Store, reads
from .sums import gathered
from .trace import Step, detached
from .where import ROWS, TURNED, Way, fixed, here, offset, straight


class Term(NamedTuple):
    """A part of the cotangent of the k-th captured array, to be added up over time.

    Axis `target[a]` of the node goes along axis a, or none does. A product of two sequences is done
    for a block of steps at once, and rows are added to those of a table: these have `operands`.
    """

    k: int
    node: Node
    target: tuple[int | None, ...]
    operands: tuple[Node, ...] = ()

    @property
    def is_product(self) -> bool:
        return isinstance(self.node, nodes.Dot) and bool(self.operands)


class Backward(Draft):
    """The derivative of a step while it is written; `incoming`: which results have a cotangent.

    It says where the cotangents go: those of xs, of the carry, and of what is captured.
    """

    head = "backward", "The derivative of the step, backward in time.", "<"
    writes = ("path", "dx")

    def __init__(self, step: Step, batch: int | None, incoming: Sequence[bool], *around: Any):
        super().__init__(step, batch, *around)
        lowering = self.lowering
        lowering.tensors(step.ops)
        gs, pulled, ops = step.pull(incoming)
        self.fix(ops)
        self.place_captured()
        for k, g in enumerate(gs):
            if g is not None and incoming[k]:
                self.leaf(g, f"g{k}", roles.Timed("incoming", k))
            if g is not None and k < len(step.carry) and pulled[len(step.xs) + k] is not None:
                lowering.known[g] = self.arriving(k, g, lowering.known.get(g))
        lowering.tensors(ops)
        self.pulled = [None if p is None else lowering.node(p) for p in pulled]
        self.terms: list[Term] = []
        self.totals: dict[int, str] = {}  # where the cotangents of captured arrays are added up
        self.parts: dict[int, Place] = {}  # and those of a block of steps
        self.talls: dict[str, str] = {}  # arrays that are packed for sums of products
        self.scratch = ""

    def arriving(self, k: int, g: Tensor, incoming: Node | None) -> Node:
        """The cotangent of a new carry: what the step after passed back, and what came from
        outside."""
        shape = self.lowering.shape(g.shape, True)
        role = roles.Carried(k, len(shape) == 2 and shape[0] == ROWS)
        leaf = nodes.Leaf([], shape, g.dtype, role=role)
        word = self.places.argument(f"d{self.paths[k]}", role, leaf)
        self.places.at[leaf] = Place(word, "0")
        if incoming is None:  # read here, so that it may be written over while others read it
            return nodes.Pointwise([leaf], shape, g.dtype, op=detached)
        return nodes.Pointwise([leaf, incoming], shape, g.dtype, op=add)

    def fix(self, ops: Sequence[Tensor]) -> None:
        """What of the derivative depends on fixed arrays only is done once, before the loop."""
        for k, x in enumerate(self.step.fixed(ops), 1):
            if type(x._array) is not tuple:
                self.captured(x, f"{x.op.name}{k}" if x.op else "number")

    # -- what it reads of the forward pass ---------------------------------------------------------

    def residuals(self) -> list[Tensor]:
        """What is read of the forward pass and cannot cheaply be recomputed.

        What costs much and reads no cotangent is computed there too, as the slope of a curve is:
        beside the curve itself, of which it is half done.
        """
        step, known = self.step, self.lowering.known
        mine = {known[y]: y for y in step.ops if isinstance(known[y], Node)}
        ahead = {known[y]: y for y in step.ahead.values() if y in known}
        mine |= {n: y for n, y in ahead.items() if n.batched and not (n in mine or cheap(n))}
        outputs = [p for p in self.pulled if p is not None]
        there = {known[y] for y in step.results if y in known}
        stored = {n for n in ordered(outputs, mine) if n in mine and n not in there}
        for n in sorted(stored, key=lambda n: -n.born):
            if derivable(n, (stored | there) - {n}):
                stored.discard(n)
        return [mine[n] for n in sorted(stored, key=lambda n: n.born)]

    def written(self, residuals: Sequence[Tensor]) -> Plan:
        """The loop, given what the forward pass keeps for it."""
        places, known = self.places, self.lowering.known
        for k, y in enumerate([*self.step.results, *residuals]):
            node = known.get(y)
            if node is not None and not isinstance(node, nodes.There) and node not in places.at:
                places.at[node] = self.place(k, y, node)
        places.given = set(places.at)
        self.write()
        sums = sum(math.prod(x.shape) * x.dtype.itemsize for x in self.step.captured)
        return self.plan(BACKWARD_LINES if sums < LARGE_SUMS else 2 * BACKWARD_LINES)

    def write(self) -> None:
        """Give all cotangents their places, and say how they get there."""
        step, places, schedule = self.step, self.places, self.schedule
        outer = len(step.xs) + len(step.carry)
        if self.batch is not None and not all(map(in_rows, self.pulled[:outer])):
            raise Coupled
        computed = [n for n in self.pulled if n is not None]
        became = gathered(computed, places.is_early, places.given)
        pulled = [n and became[n] for n in self.pulled]
        for k, n in enumerate(pulled[outer:]):
            if n is not None:
                self.take_apart(k, n, tuple(range(len(step.captured[k].shape))))
        readers = count_readers([n for n in pulled[:outer] if n is not None]
                                + [t.node for t in self.terms], places.given)  # fmt: skip
        dxs = [
            (n, self.sequence(f"d{self.inputs[k]}", roles.Timed("dx", k), n))
            for k, n in enumerate(pulled[: len(step.xs)]) if n is not None
        ]  # fmt: skip
        late = [(n, p) for n, p in dxs if isinstance(n, nodes.Product) and readers[n] == 1]
        operands = [x for n, _ in late for x, _ in n.pairs]
        for x in (*operands, *[x for t in self.terms if t.is_product for x in t.operands]):
            places.in_blocks |= {places.base(x) or x, *x.inputs[: isinstance(x, nodes.View)]}
        starts = [n.start for n, _ in late if n.start is not None]
        in_time = [pair for pair in dxs if pair not in late]
        needed = [x for t in self.terms for x in (t.operands or (t.node,))]
        outputs = in_time + self.carried(pulled[len(step.xs) : outer], readers)
        self.finish(outputs, [*operands, *starts, *needed])
        for x in operands:
            schedule.settle(x)
        for n, place in late:
            places.at[n] = place
            product(schedule, n, late=True)
        self.add_up()

    # -- of the carry ------------------------------------------------------------------------------

    def carried(self, pulled: Sequence[Node | None], readers: Counter[Node]) -> Outputs:
        """Return where the carry's cotangents go: over the old ones, once those are read."""
        at = {leaf.role.k: (leaf, place) for leaf, place in self.schedule.carried()}
        out = {k: n for k, n in enumerate(pulled) if n is not None}
        read: dict[int, dict[int, bool]] = {}  # of these, and whether only where the loop is
        for k, n in out.items():
            start = n.start if isinstance(n, nodes.Product) else None
            found = reads(self.places, start or n, here(n.shape))
            read[k] = {j: found[leaf] for j, (leaf, _) in at.items() if leaf in found}
        shared = {k for k, n in out.items() if readers[n] > 1}  # others may read it too soon
        return [
            (self.relayed(n) if k in shared or clashes(k, n, read) else n, at[k][1])
            for k, n in out.items()
        ]

    def relayed(self, node: Node) -> Node:
        """The same numbers by way of an array of their own."""
        plain = isinstance(node, nodes.Formula | nodes.Leaf)
        if plain and node not in self.places.at:
            self.schedule.keep(node)
        return nodes.Pointwise([node], node.shape, node.dtype, node.batched, op=detached)

    # -- of what is captured -----------------------------------------------------------------------

    def take_apart(self, k: int, n: Node, target: tuple[int | None, ...]) -> None:
        """Take the cotangent of something fixed apart into terms that the loop can add up."""
        left = [(n, target)]
        while left:
            n, target = left.pop()
            if n.is_sum and (nodes.AddRows in map(type, n.inputs) or not n.batched):
                left += [(x, target) for x in n.inputs[::-1]]
                continue
            if isinstance(n, nodes.View) and not n.batched and n not in self.places.at:
                to = {way.axis: a for a, way in enumerate(n.ways) if way.axis is not None}
                plain = all(not way.offset and way.step in (0, 1) for way in n.ways)
                if plain and all(a in to or a is None or n.shape[a] == "1" for a in target):
                    turned = tuple([None if a is None else to.get(a) for a in target])
                    left.append((n.inputs[0], turned))
                    continue
            if not isinstance(n, nodes.Written) or n.value != 0:
                self.terms.append(self.term(k, n, target))

    def term(self, k: int, n: Node, target: tuple[int | None, ...]) -> Term:
        """How one part of a cotangent is added up."""
        operands: tuple[Node, ...] = ()
        if isinstance(n, nodes.Reduce) and n.how == "+=":
            target = tuple([None if a in n.axes else a for a in target])
            n = n.inputs[0]
        elif isinstance(n, nodes.Dot) and target in ((0, 1), (1, 0)) and is_of_sequences(n):
            x, g = n.inputs[0].inputs[0], n.inputs[1]
            operands = (x, g) if target == (0, 1) else (g, x)
        elif isinstance(n, nodes.AddRows) and target == tuple(range(len(n.shape))):
            operands = tuple(n.inputs)
        elif self.batch is not None and not n.batched:
            raise Coupled
        return Term(k, n, target, operands)

    def add_up(self) -> None:
        """Add up all terms; a sum of products alone begins with the first, which writes."""
        packed = [t.operands[1] for t in self.terms if t.is_product]
        shared = {g for g in packed if packed.count(g) > 1}
        for term in self.terms:
            if term.is_product:
                alone = all(t.is_product for t in self.terms if t.k == term.k)
                self.add_product(term, shared, alone)
            elif term.operands:
                self.add_rows(self.total(term.k, False), *term.operands)
            else:
                self.add_number(term)

    def add_product(self, term: Term, shared: set[Node], alone: bool) -> None:
        """A product over a block of steps."""
        x, g = term.operands
        places, schedule = self.places, self.schedule
        begins = "begun + done == 0" if alone and term.k not in self.totals else "False"
        total = self.total(term.k, alone)
        schedule.settle(x)
        schedule.settle(g)
        packed = g in shared  # more than one product reads it: packed once for all
        right = self.tall(g) if packed else places.array(g, True)
        self.scratch = self.scratch or places.argument("scratch", roles.Scratch(), g)
        operands = f"{places.array(x, True)}, {right}, {total}, {self.scratch}, {begins}"
        schedule.late.append(f"gather_packed({operands})" if packed else f"gather({operands})")

    def tall(self, g: Node) -> str:
        """A block of steps as one tall matrix, packed for the products that sum over it."""
        places = self.places
        array = places.array(g, True)
        if array not in self.talls:
            wish = f"{places.at[places.base(g) or g].array}_packed"
            self.talls[array] = places.argument(wish, roles.Tall(), g)
            self.schedule.late.append(f"pack_rows({array}, {self.talls[array]})")
        return self.talls[array]

    def add_rows(self, total: str, x: Node, index: Node) -> None:
        """Add what comes to the rows that an index names."""
        self.schedule.settle(x, True)
        at, every = self.places.at, straight(len(x.shape))
        line = f"{total}[{row_of(at[index], index, every)}] += {at[x].entry(every)}"
        self.schedule.add(Piece(None, (x, index), looped(x.shape, line)))

    def add_number(self, term: Term) -> None:
        """A sum in the loop itself: of a block of steps, for over all of them digits would go."""
        shape = self.step.captured[term.k].shape
        batched = term.node.batched and self.batch is not None
        ways = [
            fixed() if a is None else Way(a, offset("start", int(a == 0 and batched and n != 1)))
            for a, n in zip(term.target, shape, strict=True)
        ]
        left = [n for a, n in enumerate(term.node.shape) if a not in term.target]
        many = self.places.sizes.count(left, self.batch or 1) > MANY
        self.schedule.add(Store(term.node, self.part(term.k, many), ways, "+="))

    def part(self, k: int, many: bool) -> Place:
        """Return where a block of steps is added up for the total, of `many` a step in float64."""
        if k not in self.parts:
            total, leaf = self.total(k, False), self.lowering.known[self.step.captured[k]]
            if not (self.places.inside or any(t.operands for t in self.terms if t.k == k)):
                self.places.widen(total)
            word = self.places.argument(f"{total}_part", roles.Buffer(False, False), leaf)
            self.parts[k], every = Place(word, "0"), straight(len(leaf.shape))
            part, whole = self.parts[k].entry(every), Place(total).entry(every)
            self.schedule.early += looped(leaf.shape, f"{part} = 0")
            self.schedule.late += looped(leaf.shape, f"{whole} += {part}")
        if many:
            self.places.widen(self.parts[k].array)
        return self.parts[k]

    def total(self, k: int, fresh: bool) -> str:
        """Return where the cotangent of the k-th captured array is added up."""
        if k not in self.totals:
            x = self.step.captured[k]
            role, leaf = roles.Total(k, fresh), self.lowering.known[x]
            self.totals[k] = self.places.argument(f"d{x.name or f'w{k}'}", role, leaf)
        return self.totals[k]


def derivable(node: Node, known: set[Node]) -> bool:
    """Whether a node costs little to compute from what is known."""
    stack, seen = [node], set[Node]()
    while stack:
        n = stack.pop()
        if n in seen or n in known or isinstance(n, nodes.There):
            continue
        seen.add(n)
        if not (isinstance(n, nodes.View) or cheap(n)) or len(seen) > 64:
            return False
        stack += n.inputs
    return True


def in_rows(n: Node | None) -> bool:
    """Whether a cotangent has the batch in front, as what it is the cotangent of."""
    return n is None or isinstance(n, nodes.Written) or (n.batched and bool(n.shape))


def is_of_sequences(n: nodes.Dot) -> bool:
    """Whether a product sums over rows, as the product of a layer's inputs and cotangents does."""
    left, g = n.inputs
    turned = isinstance(left, nodes.View) and left.ways == TURNED
    return turned and n.dtype == left.dtype == g.dtype and n.dtype.kind == "f"


def count_readers(outputs: Sequence[Node], until: Iterable[Node]) -> Counter[Node]:
    ends = set(until)
    read = [x for n in ordered(outputs, ends) if n not in ends for x in n.inputs]
    return Counter([*outputs, *read])


def clashes(k: int, node: Node, reads: dict[int, dict[int, bool]]) -> bool:
    """Whether to write a carried cotangent where the old one is would spoil what is still read.

    So it is where others' numbers are read from it in turn, as in carries that swap places.
    """
    if not isinstance(node, nodes.Pointwise | nodes.View | nodes.Product | nodes.There):
        return True
    if not reads[k].get(k, True):
        return True
    seen, stack = set[int](), [j for j in reads[k] if j != k]
    while stack:
        j = stack.pop()
        if j not in seen:
            seen.add(j)
            stack += reads.get(j, ())
    if k in seen:
        reads[k] = {}  # it is read in time, and waits for nobody
    return k in seen
