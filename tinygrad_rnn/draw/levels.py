"""How much of a step is one box: an op, a gate, or the whole cell.

- "op": every op is a box.
- "gate": what has a name in its step (gates, states), and what other cells read, keeps a box. An op
  without a name goes into the box of the one it leads to; those that lead to several are one box,
  with others that wait for equally many named ones.
- "cell": one layer at one step is one box.

Ops outside the steps are boxes of their own at every level.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .glyph import glyph
from .text import literal, number
from .trace import Record, Trace

LEVELS = ("op", "gate", "cell")
FORMULA = 24  # letters; a longer formula is not written on a box

Cells = dict[int, tuple[str, int]]


@dataclass
class Box:
    """Ops that are drawn as one. exits: those of them that something outside the box reads."""

    members: list[int]
    exits: list[int] = field(default_factory=list)
    label: str = ""
    lead: int = -1

    @property
    def key(self) -> int:
        """The op that it is called by."""
        return self.lead if self.lead >= 0 else (self.exits or self.members)[-1]


def boxes(trace: Trace, ops: list[int], every: list[int], level: str) -> list[Box]:
    """The boxes of these ops, each after those of its cell that it reads; `every` op may read."""
    if level == "op":
        return [Box([y], [y]) for y in ops]
    records = trace.records
    inside: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    found: list[list[int]] = []
    for y in ops:
        if records[y].t >= 0 and not records[y].op.startswith("z"):
            inside[records[y].layer, records[y].t].append(y)
        else:
            found.append([y])
    readers = _readers(trace, every)
    for members in inside.values():
        found += [members] if level == "cell" else _gates(trace, members, readers)
    found.sort(key=lambda members: records[members[0]].t >= 0)
    made = [Box(members) for members in found]
    for box in made:
        own = set(box.members)
        box.exits = [y for y in box.members if y in trace.outputs or not readers[y] <= own]
        box.label = _cell_label(trace, box) if level == "cell" else _gate_label(trace, box)
    return made


def _readers(trace: Trace, ops: list[int]) -> defaultdict[int, set[int]]:
    readers: defaultdict[int, set[int]] = defaultdict(set)
    for y in ops:
        for x in trace.records[y].inputs:
            readers[trace.whole(*x)[0]].add(y)
    return readers


def _gates(trace: Trace, members: list[int], readers: dict[int, set[int]]) -> list[list[int]]:
    """The ops of one step, sorted into boxes."""
    own = set(members)
    kept = {
        y
        for y in members
        if trace.records[y].name or y in trace.outputs or not readers[y] <= own or not readers[y]
    }
    goals: dict[int, set[int]] = {}
    for y in reversed(members):
        goals[y] = {y} if y in kept else set().union(*(goals[z] for z in readers[y]))
    depth: dict[int, int] = {}
    for y in members:
        before = [x for x, _ in (trace.whole(*x) for x in trace.records[y].inputs) if x in depth]
        depth[y] = max((depth[x] + (x in kept) for x in before), default=0)
    groups: defaultdict[tuple[int, bool, int], list[int]] = defaultdict(list)
    for y in members:
        alone = len(goals[y]) == 1
        goal = min(goals[y]) if alone else -1
        groups[depth[goal] if alone else depth[y], alone, goal].append(y)
    return [groups[key] for key in sorted(groups)]


# -- what stands on a box ------------------------------------------------------------------------


def _cell_label(trace: Trace, box: Box) -> str:
    """The states and outputs that leave the cell; h first."""
    records = trace.records
    if len(box.members) == 1:
        return ""
    names = {records[y].name: y for y in box.exits if records[y].name}
    named = sorted(names, key=lambda name: (name != "h", name))
    box.lead = names[named[0]] if named else -1
    return ", ".join(literal(n, 8) for n in named[:4]) or "cell"


def _gate_label(trace: Trace, box: Box) -> str:
    if len(box.members) == 1:
        return ""
    r = trace.records[box.key]
    formula = Formula(trace, box).words(box.key)
    name = literal(r.name, 12) if r.name else ""
    if len(box.exits) > 1 and not name:
        bases = {Formula(trace, box).words(y) for y in box.exits}
        formula = bases.pop() if len(bases) == 1 else ""
    if not formula or len(formula) > FORMULA:
        formula = "" if name else "sums"
        return name or formula
    return f"{name} = {formula}" if name else formula


class Formula:
    """A box as the formula it is, read from its ops."""

    def __init__(self, trace: Trace, box: Box):
        self.trace, self.own, self.layer = trace, set(box.members), trace.records[box.key].layer

    def words(self, y: int, budget: int = 5) -> str:
        """The formula of one op of the box."""
        r = self.trace.records[y]
        parts = [self._operand(*self.trace.whole(*x), budget) for x in r.inputs]
        if r.op in ("split", "unstack", "sum_to", "expand", "astype"):
            return parts[0]
        if r.op == "add":
            return " + ".join(parts)
        if r.op == "sub":
            return f"{parts[0]} − {_within(parts[1])}"
        if r.op == "mul":
            return "·".join(map(_within, parts))
        if r.op == "matmul":
            return " ".join(map(_within, parts))
        if r.op == "div":
            return f"{_within(parts[0])} / {_within(parts[1])}"
        if r.op == "power":
            return f"{_within(parts[0])}{'²' if parts[1] == '2' else '^' + parts[1]}"
        return glyph(r.op) if parts == ["…"] else f"{glyph(r.op)}({', '.join(parts)})"

    def _operand(self, x: int, part: int, budget: int) -> str:
        r = self.trace.records[x]
        if x in self.own:
            return self.words(x, budget - 1) if budget else "…"
        if r.kind == "constant":
            return _constant(r)
        if r.op and r.t >= 0 and r.layer == self.layer:
            return literal(r.name, 8) if r.name else "…"
        if r.kind == "parameter" or (r.kind == "input" and r.name):
            return literal(r.name.rsplit(".", 1)[-1], 8) or "w"
        return "x"


def _constant(r: Record) -> str:
    return number(r.value.data[0]) if r.value is not None and r.value.data else "…"


def _within(words: str) -> str:
    """With brackets, where it is a sum."""
    return f"({words})" if " + " in words or " − " in words else words
