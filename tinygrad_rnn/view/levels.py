"""How much of a step is one box: an op, a gate, or the whole cell.

- "op": every op is a box.
- "gate": what has a name in its step (gates, states), and what other cells read, keeps a box. An op
  without a name goes into the box of the one it leads to; those that lead to several are one box,
  with others that wait for equally many named ones.
- "cell": one layer at one step is one box.

Ops outside the steps are boxes of their own at every level.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from ..formula.rules import SAME
from ..formula.write import ATOM
from ..tape import Record, Tape
from .fold import Folder
from .text import literal

LEVELS = ("op", "gate", "cell")
FORMULA = 28  # letters; a longer formula is not written on a box
UNKNOWN = "…"  # stands for what has no name

Cells = dict[int, tuple[str, int]]


@dataclass
class Box:
    """Ops that are drawn as one.

    exits: those of them that something outside the box reads. states: of a cell, those of the exits
    that its label tells, in that order.
    """

    members: list[int]
    exits: list[int] = field(default_factory=list)
    label: str = ""
    states: list[int] = field(default_factory=list)

    @property
    def key(self) -> int:
        """The op that it is called by."""
        return (self.states or (self.exits or self.members)[-1:])[0]


def boxes(trace: Tape, ops: list[int], every: list[int], level: str) -> list[Box]:
    """The boxes of these ops, each after those of its cell that it reads; `every` op may read."""
    if level == "op":
        return [Box([y], [y]) for y in ops]
    records = trace.records
    inside: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for y in ops:
        if records[y].t >= 0 and not records[y].call.delay:
            inside[records[y].layer, records[y].t].append(y)
    found = [[y] for y in ops if records[y].t < 0 or records[y].call.delay]
    readers = _readers(trace, every)
    for members in inside.values():
        found += [members] if level == "cell" else _gates(trace, members, readers)
    found.sort(key=lambda members: records[members[0]].t >= 0)
    made, steps = [Box(members) for members in found], Steps(trace)
    for box in made:
        own = set(box.members)
        box.exits = [y for y in box.members if y in trace.outputs or not readers[y] <= own]
        box.label = _cell_label(trace, box, readers) if level == "cell" else _gate_label(steps, box)
    return made


def _readers(trace: Tape, ops: list[int]) -> defaultdict[int, set[int]]:
    readers: defaultdict[int, set[int]] = defaultdict(set)
    for y in ops:
        for x, _ in trace.sources(trace.records[y]):
            readers[x].add(y)
    return readers


def _gates(trace: Tape, members: list[int], readers: dict[int, set[int]]) -> list[list[int]]:
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
        before = [x for x, _ in trace.sources(trace.records[y]) if x in depth]
        depth[y] = max((depth[x] + (x in kept) for x in before), default=0)
    groups: defaultdict[tuple[int, bool, int], list[int]] = defaultdict(list)
    for y in members:
        alone = len(goals[y]) == 1
        goal = min(goals[y]) if alone else -1
        groups[depth[goal] if alone else depth[y], alone, goal].append(y)
    return [groups[key] for key in sorted(groups)]


# -- what stands on a box ------------------------------------------------------------------------


def _cell_label(trace: Tape, box: Box, readers: dict[int, set[int]]) -> str:
    """The states and outputs that leave the cell; what others than its own layer read is first."""
    if len(box.members) == 1:
        return ""
    own = trace.records[box.members[0]].layer
    inward = {
        y for y in box.exits if all((z := trace.records[n]).t >= 0 and z.layer == own
                                    for n in readers[y])
    }  # fmt: skip
    named = [y for y in reversed(box.exits) if trace.records[y].name]
    box.states = sorted(named, key=lambda y: y in inward and y not in trace.outputs)[:4]
    return ", ".join(literal(trace.records[y].name, 8) for y in box.states) or "cell"


def _gate_label(steps: Steps, box: Box) -> str:
    """Its name and its formula; of an op alone that has no name, nothing, as its sign says all."""
    r = steps.records[box.key]
    if len(box.members) == 1 and (not r.name or r.t < 0 or r.call.delay):
        return ""
    formulas = Formula(steps, set(box.members))
    words = {formulas.words(y) for y in ([box.key] if r.name else box.exits)}
    formula = words.pop() if len(words) == 1 else ""
    formula = formula.removesuffix(f"({UNKNOWN})")
    if not formula or len(formula) > FORMULA:
        return literal(r.name, 12) or "sums"
    return f"{literal(r.name, 12)} = {formula}" if r.name else formula


class Steps:
    """What a formula has to know of a trace besides its own box."""

    def __init__(self, trace: Tape):
        self.trace, self.records = trace, trace.records

    @cached_property
    def folder(self) -> Folder:
        """Which ops of different steps are alike."""
        return Folder(self.trace)

    @cached_property
    def reads(self) -> defaultdict[tuple[str, int], set[tuple[int, int]]]:
        """What each layer at each step reads of others, or of a sequence, a part at each step."""
        found: defaultdict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
        rows: defaultdict[tuple[str, int], set[tuple[int, int]]] = defaultdict(set)
        for r in self.records:
            for x, part in self.trace.sources(r) if r.kind == "op" and r.t >= 0 else ():
                if self.records[x].t >= 0 and self.records[x].layer != r.layer:
                    found[r.layer, r.t].add((x, part))
                elif self.records[x].t < 0 and self.records[x].cuts:
                    rows[r.layer, x].add((r.t, part))
        for (layer, x), pairs in rows.items():
            times, parts = (set(column) for column in zip(*pairs, strict=True))
            alone = len(pairs) == 1 and parts <= {-1, *times}
            if alone or len(pairs) == len(times) == len(parts) > 1:
                for t, part in pairs:
                    found[layer, t].add((x, part))
        return found

    def named(self, x: int) -> str:
        """The name of what an op only moves about, if it has one."""
        r = self.records[x]
        while not r.name and r.call.form[0] == SAME:
            r = self.records[r.inputs[0][0]]
        return r.name


class Formula:
    """A box as the formula it is: the forms of its ops, put into each other.

    own: the ops that are written out. first: whether the states of the step before are those that
    stand before the first, h0 for h.
    """

    def __init__(self, steps: Steps, own: set[int], first: bool = False):
        self.steps, self.own, self.first = steps, own, first
        self.trace, self.records = steps.trace, steps.records

    def words(self, y: int) -> str:
        """The formula of one op of the box."""
        return self._op(y, 5)[0]

    def _op(self, y: int, budget: int) -> tuple[str, int]:
        """The formula of an op, and how tightly it holds together."""

        r = self.records[y]

        def operand(found: re.Match[str]) -> str:
            if int(found[1]) >= len(r.inputs):  # somebody's op is called so
                return found[0]
            return _held(self._operand(y, int(found[1]), budget), int(found[2]))

        form, tight = r.call.form
        if form == SAME:
            return self._operand(y, 0, budget)
        return re.sub(r"{(\d+):(\d)}", operand, form).replace("+ −", "− "), tight

    def _operand(self, y: int, place: int, budget: int) -> tuple[str, int]:
        own = self.records[y]
        x, part = self.trace.whole(*own.inputs[place])
        r = self.records[x]
        if x in self.own:
            return self._part(x, part, budget - 1) if budget else (UNKNOWN, ATOM)
        if r.kind == "op" and r.t >= 0 and r.layer == own.layer:
            return self._of_a_step(y, r), ATOM
        if (x, part) in self.steps.reads[own.layer, own.t]:
            return self._x(y, x), ATOM
        if r.name:
            name = r.name.rsplit(".", 1)[-1] if r.kind == "parameter" else r.name
            return literal(name, 12), ATOM
        if r.kind == "op" and r.t < 0 and budget:
            return self._part(x, part, budget - 1)
        return self._as_later(y, place, budget)

    def _part(self, x: int, part: int, budget: int) -> tuple[str, int]:
        """The formula of an op, or of one of its parts, by its number."""
        words = self._op(x, budget)
        if part < 0 or words[0] == UNKNOWN:
            return words
        return f"{_held(words, ATOM)}[{part}]", ATOM

    def _of_a_step(self, y: int, r: Record) -> str:
        """What is made in this layer, at this step or another."""
        if not r.name:
            return UNKNOWN
        rank, t = self.steps.folder.rank, self.records[y].t
        late = r.call.delay or rank[t] - rank[r.t]
        if late and self.first:
            return f"{literal(r.name, 12)}0"
        far = f"(t{'−' if late > 0 else '+'}{abs(late)})" if abs(late) > 1 else ""
        return literal(r.name, 12) + far

    def _x(self, y: int, x: int) -> str:
        """What is read of others is x, if it is all that is read of others."""
        own, name = self.records[y], self.steps.named(x)
        if name and self.records[x].t < 0:
            return literal(name, 12)
        reads = self.steps.reads[own.layer, own.t]
        near = {n for z in self.own | {y} for n, _ in self.records[z].inputs}
        if any(z != x and not self.steps.named(z) for z, _ in reads) or any(
            self.records[n].name == "x" and n != x for n in near
        ):
            return literal(self.records[x].name, 12) or UNKNOWN
        return "x"

    def _as_later(self, y: int, place: int, budget: int) -> tuple[str, int]:
        """What was computed without a gradient, as from h0, is what it is at a later step."""
        folder, r = self.steps.folder, self.records[y]
        twins = folder.twins(y) if r.t >= 0 and not self.first and budget else []
        if len(twins) != 1 or self.records[z := twins[0]].t == r.t:
            return UNKNOWN, ATOM
        inside = folder.members[r.layer, self.records[z].t]
        other = Formula(self.steps, {n for n in inside if not self.records[n].name}, True)
        return other._operand(z, place, budget - 1)


def _held(part: tuple[str, int], least: int) -> str:
    """Add brackets where it holds together less tightly."""
    words, tight = part
    return words if tight >= least else f"({words})"
