"""The loop of the backward pass: a step's derivative, and what it reads of the forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..tensor import Tensor
from . import nodes, roles
from .draft import Draft
from .formula import cheap
from .makers import looped, product, row_of
from .nodes import Coupled, Node, ordered
from .plan import BACKWARD_LINES, LARGE_SUMS, Fixing, Plan
from .roles import Argument, Place, Source
from .schedule import reads
from .sums import gathered
from .trace import Step, detached, is_written
from .where import ROWS, TURNED, Way, fixed, here, offset, straight


class Backward(Draft):
    """The derivative of a step while it is written; `incoming`: which results have a cotangent."""

    def __init__(self, step: Step, batch: int | None, incoming: Sequence[bool]):
        super().__init__(step, batch, ("backward", "The derivative of the step, backward in time."))
        lowering = self.lowering
        lowering.tensors(step.ops)
        gs, self.pulled, ops = step.pull(incoming)
        self.fixed: list[Fixing] = []
        self.fix(ops)
        self.place_captured()
        for k, g in enumerate(gs):
            if g is not None:
                if incoming[k]:
                    self.leaf(g, f"g{k}", roles.Timed("incoming", k), "t", False)
                if k < len(step.carry):
                    lowering.known[g] = self.carried(k, g, lowering.known.get(g))
        lowering.tensors(ops)

    def carried(self, k: int, g: Tensor, incoming: Node | None) -> Node:
        """The cotangent of a new carry: what the step after passed back, and what came from
        outside."""
        from ..ops import add

        shape = self.lowering.shape(g.shape, True)
        role = roles.Carried(k, shape, len(shape) == 2 and shape[0] == ROWS)
        leaf = nodes.Leaf([], shape, g.dtype, role=role)
        word = self.places.argument(f"d{self.names[k]}", role, g, shape)
        self.places.at[leaf] = Place(word, "0")
        if incoming is None:  # read here, so that it may be written over while others read it
            return nodes.Pointwise([leaf], shape, g.dtype, op=detached)
        return nodes.Pointwise([leaf, incoming], shape, g.dtype, op=add)

    def fix(self, ops: Sequence[Tensor]) -> None:
        """What of the derivative depends on fixed arrays only is done once, before the loop."""
        step = self.step
        known: dict[Tensor, Source] = {x: roles.Captured(k) for k, x in enumerate(step.captured)}
        forward = {*step.ops, *step.xs, *step.carry}
        for y in ops:
            for x in y.inputs:
                if x not in known and x.op is None and type(x._array) is np.ndarray:
                    known[x] = roles.Constant(x._array)
                    if not x.ndim and not is_written(x):
                        self.captured(x, known[x], "number")
            if y.inputs and all(x in known for x in y.inputs) and y not in forward:
                known[y] = roles.Fixed(len(self.fixed))
                self.fixed.append(Fixing(y.op, [known[x] for x in y.inputs], y.attrs))
                if type(y._array) is not tuple:
                    self.captured(y, known[y], f"{y.op.name}{len(self.fixed)}")

    # -- what it reads of the forward pass ---------------------------------------------------------

    def residuals(self) -> list[Tensor]:
        """What is read of the forward pass and cannot cheaply be recomputed."""
        step, known = self.step, self.lowering.known
        mine = {known[y]: y for y in step.ops if isinstance(known[y], Node)}
        outputs = [self.lowering.node(p) for p in self.pulled if p is not None]
        there = {known[y] for y in step.results if y in known}
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

    def written(self, residuals: Sequence[Tensor]) -> Plan:
        """The loop, given what the forward pass keeps for it."""
        places, known = self.places, self.lowering.known
        for k, y in enumerate(self.step.results):
            node = known.get(y)
            if isinstance(node, Node) and not isinstance(node, nodes.There):
                if k < len(self.paths):
                    places.at.setdefault(node, self.result(k, node, False))
                elif node not in places.at:
                    places.at[node] = self.result(k, node, False)
        for k, y in enumerate(residuals):
            node = known[y]
            places.at[node] = self.residual(k, y, node, False)
        places.given = set(places.at)
        Cotangents(self).write()
        sums = sum(math.prod(x.shape) * x.dtype.itemsize for x in self.step.captured)
        lines = BACKWARD_LINES if sums < LARGE_SUMS else 2 * BACKWARD_LINES
        return self.plan(lines, self.fixed)


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


@dataclass(slots=True)
class Term:
    """A part of the cotangent of the k-th captured array, to be added up over time.

    A Dot is a product of two sequences, done for a block of steps at once; AddRows adds to the
    rows of a table; of another node, axis `target[a]` goes along axis a, or none does.
    """

    k: int
    node: Node
    target: tuple[int | None, ...]
    operands: tuple[Node, ...] = ()  # of a product, in the order in which it is what it is


class Cotangents:
    """Where the cotangents of a step go: those of xs, of the carry, and of what is captured."""

    def __init__(self, draft: Backward):
        self.draft, self.step, self.batch = draft, draft.step, draft.batch
        self.places, self.schedule = draft.places, draft.schedule
        self.terms: list[Term] = []
        self.talls: dict[str, str] = {}  # arrays that are packed for sums of products

    def write(self) -> None:
        step, places, schedule = self.step, self.places, self.schedule
        inputs, carry = len(step.xs), len(step.carry)
        found = [None if p is None else self.draft.lowering.node(p) for p in self.draft.pulled]
        if self.batch is not None and not all(map(in_rows, found[: inputs + carry])):
            raise Coupled
        became = gathered([n for n in found if n is not None], places.is_early, places.given)
        pulled = [None if n is None else became.get(n, n) for n in found]
        for k, n in enumerate(pulled[inputs + carry :]):
            if n is not None:
                self.take_apart(k, n, tuple(range(len(step.captured[k].shape))))
        outer = [n for n in pulled[: inputs + carry] if n is not None]
        readers = count_readers([*outer, *[t.node for t in self.terms]], places.given)
        dxs = [(n, self.input(k, n)) for k, n in enumerate(pulled[:inputs]) if n is not None]
        late = [(n, p) for n, p in dxs if isinstance(n, nodes.Product) and readers[n] == 1]
        operands = [x for n, _ in late for x, _ in n.pairs]
        products = [x for t in self.terms for x in t.operands]
        for x in (*operands, *products):
            places.in_blocks.add(places.base(x) or x)
        starts = [n.start for n, _ in late if n.start is not None]
        in_time = [(n, p) for n, p in dxs if not any(n is m for m, _ in late)]
        outputs = in_time + self.carried(pulled[inputs : inputs + carry], readers)
        needed = [x for t in self.terms for x in (t.operands or reading(t.node))]
        self.draft.finish(outputs, [*operands, *starts, *needed])
        for x in operands:
            schedule.settle(x)
        for n, place in late:
            places.at[n] = place
            product(schedule, n, late=True)
        self.add_up()

    def input(self, k: int, n: Node) -> Place:
        """Return where the cotangents of a sequence go."""
        x = self.draft.lowering.known[self.step.xs[k]]
        wish = f"d{self.places.at[x].array}"
        word = self.places.argument(wish, roles.Timed("dx", k), n, n.shape)
        return Place(word, "t", self.batch is not None)

    # -- of the carry ------------------------------------------------------------------------------

    def carried(
        self, pulled: Sequence[Node | None], readers: dict[Node, int]
    ) -> list[tuple[Node, Place]]:
        """Return where the carry's cotangents go: over the old ones, once those are read."""
        out: dict[int, Node] = {}
        at = {leaf.role.k: (leaf, place) for leaf, place in self.schedule.carried()}
        for k, n in enumerate(pulled):
            if k in at:
                leaf, place = at[k]
                if n is None:
                    a = self.places.arguments[place.array]
                    severed = replace(leaf.role, severed=True)
                    self.places.arguments[place.array] = a._replace(role=severed)
                    n = nodes.Written([], leaf.shape, leaf.dtype, value=0)
                out[k] = n
        leaves = {leaf: k for k, (leaf, _) in at.items()}
        reads = {k: self.reads(n, leaves) for k, n in out.items()}
        shared = {k for k, n in out.items() if readers.get(n, 0) > 1}  # others may read it too soon
        return [
            (self.relayed(n) if k in shared or clashes(k, n, reads) else n, at[k][1])
            for k, n in out.items()
        ]

    def reads(self, node: Node, leaves: dict[nodes.Leaf, int]) -> dict[int, bool]:
        """The carried cotangents that a formula reads, and whether only at the loop's position."""
        found: dict[Node, bool] = {}
        starts = [node.start] if isinstance(node, nodes.Product) and node.start is not None else []
        for n in [node, *starts]:
            for x, same in reads(self.places, n, here(n.shape)).items():
                found[x] = found.get(x, True) and same
        return {k: found[leaf] for leaf, k in leaves.items() if leaf in found}

    def relayed(self, node: Node) -> Node:
        """The same numbers by way of an array of their own."""
        plain = isinstance(node, nodes.Formula | nodes.Leaf)
        if plain and node not in self.places.at:
            self.schedule.keep(node)
        return nodes.Pointwise([node], node.shape, node.dtype, node.batched, op=detached)

    # -- of what is captured -----------------------------------------------------------------------

    def take_apart(self, k: int, n: Node, target: tuple[int | None, ...]) -> None:
        """Take the cotangent of something fixed apart into terms that the loop can add up."""
        if isinstance(n, nodes.Written) and n.value == 0:
            return
        if n.is_sum and not n.batched and all(x.shape == n.shape for x in n.inputs):
            for x in n.inputs:
                self.take_apart(k, x, target)
            return
        if isinstance(n, nodes.View) and not n.batched and n not in self.places.at:
            to = {way.axis: a for a, way in enumerate(n.ways) if way.axis is not None}
            plain = all(not way.offset and way.step in (0, 1) for way in n.ways)
            if plain and all(a in to or a is None or n.shape[a] == "1" for a in target):
                turned = tuple([None if a is None else to.get(a) for a in target])
                self.take_apart(k, n.inputs[0], turned)
                return
        if isinstance(n, nodes.Reduce) and n.how == "+=":
            target = tuple([None if a in n.axes else a for a in target])
            self.terms.append(Term(k, n.inputs[0], target))
            return
        if isinstance(n, nodes.Dot) and target in ((0, 1), (1, 0)):
            left, g = n.inputs
            turned_left = isinstance(left, nodes.View) and left.ways == TURNED
            if turned_left and n.dtype == left.dtype == g.dtype and n.dtype.kind == "f":
                x = left.inputs[0]
                self.terms.append(Term(k, n, target, (x, g) if target == (0, 1) else (g, x)))
                return
        rows = isinstance(n, nodes.AddRows) and target == tuple(range(len(n.shape)))
        if self.batch is not None and not n.batched and not rows:
            raise Coupled
        self.terms.append(Term(k, n, target))

    def add_up(self) -> None:
        """Add up all terms; a sum of products alone begins with the first, which writes."""
        packed = [t.operands[1] for t in self.terms if t.operands]
        shared = {g for g in packed if packed.count(g) > 1}
        for term in self.terms:
            if term.operands:
                alone = all(t.operands for t in self.terms if t.k == term.k)
                self.add_product(term, shared, alone)
            elif isinstance(term.node, nodes.AddRows) and is_whole(term):
                self.add_rows(self.total(term.k, False), *term.node.inputs)
            else:
                self.add_number(term)

    def add_product(self, term: Term, shared: set[Node], alone: bool) -> None:
        """A product over a block of steps."""
        x, g = term.operands
        places, schedule = self.places, self.schedule
        first = places.of_role(roles.Total(term.k, alone)) is None
        total = self.total(term.k, alone)
        schedule.settle(x)
        schedule.settle(g)
        begins = "begun + done == 0" if alone and first else "False"
        packed = g in shared  # more than one product reads it: packed once for all
        right = self.tall(g) if packed else places.array(g, True)
        operands = f"{places.array(x, True)}, {right}, {total}, scratch, {begins}"
        schedule.late.append(f"gather_packed({operands})" if packed else f"gather({operands})")
        if "scratch" not in places.arguments:
            matrices = tuple([x.shape for x in self.step.captured if x.ndim == 2])
            dtype = self.step.captured[term.k].dtype
            scratch = Argument("scratch", roles.Scratch(matrices), dtype, True)
            places.arguments[scratch.name] = scratch

    def tall(self, g: Node) -> str:
        """A block of steps as one tall matrix, packed for the products that sum over it."""
        places = self.places
        array = places.array(g, True)
        if array not in self.talls:
            rows = 1 if len(g.shape) < 2 or g.shape[0] == ROWS else places.sizes.value(g.shape[0])
            wish = f"{places.at[places.base(g) or g].array}_packed"
            role = roles.Tall(g.shape[-1], rows)
            self.talls[array] = places.argument(wish, role, g, ())
            self.schedule.late.append(f"pack_rows({array}, {self.talls[array]})")
        return self.talls[array]

    def add_rows(self, total: str, x: Node, index: Node) -> None:
        """Add what comes to the rows that an index names."""
        self.schedule.settle(x, True)
        at, every = self.places.at, straight(len(x.shape))
        line = f"{total}[{row_of(at[index], index, every)}] += {at[x].entry(every)}"
        self.schedule.piece(None, (x, index), looped(x.shape, line))

    def add_number(self, term: Term) -> None:
        """A sum in the loop itself."""
        shape = self.step.captured[term.k].shape
        batched = term.node.batched and self.batch is not None
        ways = []
        for a, n in zip(term.target, shape, strict=True):
            shift = a == 0 and batched and n != 1
            ways.append(fixed() if a is None else Way(a, offset("start", int(shift))))
        total = Place(self.total(term.k, False))
        self.schedule.store(term.node, total, ways or [fixed()], "+=")

    def total(self, k: int, fresh: bool) -> str:
        """Return where the cotangent of the k-th captured array is added up."""
        known = self.places.of_role(roles.Total(k, fresh))
        if known is not None:
            return known
        x = self.step.captured[k]
        shape = tuple([self.places.sizes.text(n) for n in x.shape])
        wish = f"d{x.name or f'w{k}'}"
        return self.places.argument(wish, roles.Total(k, fresh), x, shape)


def in_rows(n: Node | None) -> bool:
    """Whether a cotangent has the batch in front, as what it is the cotangent of."""
    return n is None or isinstance(n, nodes.Written) or (n.batched and bool(n.shape))


def is_whole(term: Term) -> bool:
    return term.target == tuple(range(len(term.node.shape)))


def reading(node: Node) -> list[Node]:
    """What has to be there for a term to be added up in the loop."""
    return node.inputs if isinstance(node, nodes.AddRows) else [node]


def count_readers(outputs: Sequence[Node], until: Iterable[Node]) -> dict[Node, int]:
    readers: dict[Node, int] = {}
    ends = set(until)
    for n in outputs:
        readers[n] = readers.get(n, 0) + 1
    for n in ordered(outputs, ends):
        readers.setdefault(n, 0)
        for x in n.inputs if n not in ends else ():
            readers[x] = readers.get(x, 0) + 1
    return readers


def clashes(k: int, node: Node, reads: dict[int, dict[int, bool]]) -> bool:
    """Whether to write a carried cotangent where the old one is would spoil what is still read.

    So it is where others' numbers are read from it in turn, as in carries that swap places.
    """
    if not isinstance(node, nodes.Pointwise | nodes.View | nodes.Product | nodes.There):
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
