"""What is drawn: a trace read as nodes, edges, columns of time and bands of layers.

The counting rule, which the tests repeat:

- every op that is shown is one node; a `pick` is none: its edges start at the tuple it picks from;
- a compiled loop is none: its steps are drawn, as if they had been run one by one;
- a `stack` that is only unstacked again along its axis is none, nor is that `unstack`: each part is
  the tensor that was stacked, and so one layer's steps lead straight to the next layer's;
- every leaf is one node in each cell (one layer at one step; everything before the steps;
  everything after them) in which a shown op uses it;
- every input of a shown op is one edge, unless it comes from a hidden step;
- hidden steps in a row are together one node, with one edge to or from each shown node they touch.

Where several ops are one box (see `levels`), what one of them hands to another is no edge, and what
they read of one tensor of another box, or of one leaf, is one edge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..tape import Record, Tape
from .glyph import sign
from .levels import Box, boxes
from .text import gradient_words, literal, number, shape_words

BUDGET = 3000  # nodes; more than that is neither readable nor quick to open


@dataclass
class Flow:
    """What is led back through a box or along an arrow: its norm, or the least and the largest.

    words: the same, to be read. place: where that is on the scale from -1 to 1; None of nothing,
    and of what is bad, that is, not finite.
    """

    low: float
    high: float
    words: str
    place: float | None
    bad: bool = False


@dataclass
class Node:
    """A box of the picture: words and a place; it holds no tensor."""

    kind: str  # "op", "parameter", "input", "constant", "delay" or "gap"
    spot: tuple[int, int]  # (column, band)
    glyph: str
    words: str  # what follows the glyph: a shape, or a value
    grad: str  # the state of the gradient; "" where it is not told
    title: str  # everything else, for whoever hovers over it
    family: str = "other"
    hue: int = -1  # of a parameter: which colour is its own
    loud: bool = False
    output: bool = False
    chip: bool = False
    ids: list[int] = field(default_factory=list)  # the records it stands for
    exits: list[int] = field(default_factory=list)  # those of them that others read
    name: str = ""  # of what it stands for, if that has one
    verb: str = ""  # which op of the library's, if it stands for a single one
    form: str = ""  # equal for boxes that do the same, whatever they are called
    states: list[int] = field(default_factory=list)  # of a cell: what it hands on, side by side
    flow: Flow | None = None
    order: str = ""  # when the walk back is here
    joins: int = 0  # how many cotangents add up here, if more than one
    mark: str = ""  # "+" or "−": in which of two pictures it is, if not in both
    x: float = 0.0  # the centre, from the left and from the top
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0

    @property
    def lines(self) -> list[str]:
        """The label; a chip shows its name only, the legend tells the rest."""
        if self.chip:
            return [self.glyph]
        return [line for line in (f"{self.glyph} {self.words}".strip(), self.grad) if line]


@dataclass
class Edge:
    """An arrow between two nodes, given by their numbers.

    ends: for each connection it stands for, the record read, the record reading, and as which of
    its inputs.
    """

    source: int
    target: int
    title: str
    part: int = -1  # which part of a tuple travels here
    place: int = 0  # which input of the target this is
    hidden: int = 0  # how many connections of hidden steps it stands for
    ends: list[tuple[int, int, int]] = field(default_factory=list)
    label: str = ""  # what stands beside its beginning
    last: bool = False  # or its end
    rail: int = 0  # which of the arrows side by side it is
    late: bool = False  # whether it is a delay, from one step to a later one
    flow: Flow | None = None
    back: bool = False  # whether its arrow points back, from the reader to what is read
    mark: str = ""
    route: list[tuple[float, float]] = field(default_factory=list)

    @property
    def value(self) -> int:
        """The record that travels here."""
        return self.ends[0][0] if self.ends else -1


@dataclass(frozen=True)
class Column:
    """A slice of the picture from top to bottom: one time step, a gap, or what has no step."""

    kind: str  # "before", "step", "gap", "after", "delay" or "plain"
    label: str
    time: int = -1
    word: str = ""  # which of the sentences that a page translates its label is
    every: bool = False  # whether it stands for every step


@dataclass
class Entry:
    """A line of the legend: a parameter that the steps share."""

    label: str
    words: str
    hue: int
    loud: bool


@dataclass
class Graph:
    """A picture before it has coordinates."""

    nodes: list[Node]
    edges: list[Edge]
    columns: list[Column]
    bands: list[str]
    legend: list[Entry]
    steps: int  # how many there are in all
    hidden_steps: int
    tensors: int  # how many the whole history has
    alarm: str = ""
    level: str = "op"
    notes: list[str] = field(default_factory=list)  # what else the caption says
    one: str = ""  # of an overlay: what the middle of its scale is


class TooMany(ValueError):
    """A picture would have more nodes than can be read."""


@dataclass(frozen=True)
class Wanted:
    """What a picture is to show: so many of the first and last steps, and those around some."""

    first: int = 3
    last: int = 1
    around: tuple[int, ...] = ()
    level: str = "op"
    counts: Mapping[str, int] | None = None  # of a folded trace: how many steps each layer has

    def hidden(self, times: list[int]) -> list[list[int]]:
        """The steps that are not shown, in runs; a gap of one step is not worth hiding."""
        shown = {*times[: self.first], *times[len(times) - self.last :]}
        for k, t in enumerate(times):
            if t in self.around:
                shown.update(times[max(0, k - 1) : k + 2])
        runs: list[list[int]] = []
        for before, t in zip([None, *times], times, strict=False):
            if t in shown:
                continue
            if runs and runs[-1][-1] == before:
                runs[-1].append(t)
            else:
                runs.append([t])
        hidden = [run for run in runs if len(run) > 1]
        if times and sum(map(len, hidden)) == len(times):
            raise ValueError(
                f"draw: around: no step would be shown: expected one of t={times[0]} to "
                f"t={times[-1]}, got {list(self.around)}"
            )
        return hidden


def read(trace: Tape, wanted: Wanted) -> Graph:
    """Read a trace as a graph. Raises TooMany above the node budget."""
    return _Reader(trace, wanted).graph()


class _Reader:
    """One reading of one trace."""

    def __init__(self, trace: Tape, wanted: Wanted):
        self.trace, self.records, self.wanted = trace, trace.records, wanted
        self.folded = wanted.counts is not None
        self.outputs = set(trace.outputs)
        self.inputs = {
            y.id: [trace.whole(*x) for x in y.inputs] for y in self.records if y.kind == "op"
        }
        self.ops = self._drawn_ops()
        used = {x for y in self.records for x, _ in y.inputs}
        self.lone = [y.id for y in self.records if y.kind != "op" and y.id not in used]
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.number: dict[object, int] = {}  # what is drawn already, and as which node
        self.users: dict[int, set[tuple[str, int]]] = {}  # of a leaf: the cells using it
        born = [y.id for y in self.records if y.kind == "parameter"]
        self.hues = {x: k for k, x in enumerate(born)}  # the same at every level
        self._place_steps()
        self._place_the_rest()
        self._hide_what_only_hidden_steps_touch()
        self._look_at_leaves()

    def _drawn_ops(self) -> list[int]:
        """The ops that are nodes, by the counting rule above."""
        ops = [y.id for y in self.records if y.kind == "op" and not y.restacked]
        read = self.outputs | {x for y in ops for x, _ in self.inputs[y]}
        return [y for y in ops if y in read]

    # -- where things go -----------------------------------------------------------------------

    def _place_steps(self) -> None:
        """Number the steps and the layers, and choose the steps that are shown."""
        self.cells = {
            y: (self.records[y].layer, self.records[y].t) for y in self.ops if self._in_steps(y)
        }
        layers = dict.fromkeys(layer for layer, _ in self.cells.values())
        self.times = sorted({t for _, t in self.cells.values()})
        self.bands = {layer: k for k, layer in enumerate(layers)}
        self.runs = self.wanted.hidden(self.times)
        self.run_of = {t: k for k, run in enumerate(self.runs) for t in run}

    def _in_steps(self, y: int) -> bool:
        return self.records[y].t >= 0

    def _place_the_rest(self) -> None:
        """An op outside the steps goes before them if some step depends on it, else after."""
        feeds: set[int] = set()
        for r in reversed(self.records):
            if r.id in self.cells or r.id in feeds:
                feeds.update(x for x, _ in r.inputs)
        rest = [y for y in self.ops if y not in self.cells]
        self.before = {y for y in rest if y in feeds}
        after = len(rest) > len(self.before) or bool(self.lone)
        self.columns = self._columns(bool(self.before), after)
        kinds = {c.kind: k for k, c in enumerate(self.columns)}
        steps = {c.time: k for k, c in enumerate(self.columns) if c.kind == "step"}
        self.gaps = [k for k, c in enumerate(self.columns) if c.kind == "gap"]
        self.outside = kinds.get("after", kinds.get("plain", -1))
        self.spots: dict[int, tuple[int, int]] = {}
        for y in self.ops:
            if y in self.cells:
                layer, t = self.cells[y]
                if t in steps:
                    self.spots[y] = steps[t] + self._shift(y), self.bands[layer]
            else:
                self.spots[y] = (kinds["before"] if y in self.before else self.outside), 0

    def _shift(self, y: int) -> int:
        """A delay stands left of the step, one from the other end right of it."""
        delay = self.records[y].delay
        return (delay < 0) - (delay > 0)

    def _columns(self, before: bool, after: bool) -> list[Column]:
        if not self.times:
            return [Column("plain", "")]
        columns = [self._column_before()] if before else []
        for t in self.times:
            if self.folded:
                columns += self._folded_columns()
            elif t not in self.run_of:
                columns.append(Column("step", f"t = {t}", t))
            elif t == (run := self.runs[self.run_of[t]])[0]:
                columns.append(Column("gap", f"… {len(run)} steps …", t))
        return columns + ([Column("after", "after the steps", word="after")] if after else [])

    def _folded_columns(self) -> list[Column]:
        counts = sorted(set((self.wanted.counts or {}).values()))
        many = f"×{counts[0]:,}" if len(counts) == 1 else "×T"
        shifts = [self._shift(y) for y in self.cells]
        left, right = min(shifts, default=0) < 0, max(shifts, default=0) > 0
        return [
            *[Column("delay", "the step before")] * left,
            Column("step", f"every step  {many}", 0, every=True),
            *[Column("delay", "the step after")] * right,
        ]

    def _column_before(self) -> Column:
        """Some of it may come from other steps: what an encoder leaves for a decoder."""
        late: set[int] = set()
        for y in self.ops:
            if y in self.cells or any(x in late for x, _ in self.inputs[y]):
                late.add(y)
        if late.isdisjoint(self.before):
            return Column("before", "before the steps", word="before")
        return Column("before", "before and between", word="between")

    def _hide_what_only_hidden_steps_touch(self) -> None:
        """Outside the steps, hide what reads hidden steps only, and what only they read.

        `home` is then the gap that stands for each hidden op.
        """
        self.home = {y: self.run_of[t] for y, (_, t) in self.cells.items() if t in self.run_of}
        if not self.runs:
            return
        kept = self.outputs | self.before | set(self.cells)
        for y in self.ops:
            made = [x for x, _ in self.inputs[y] if self.records[x].kind == "op"]
            if y not in kept and made and not any(x in self.spots for x in made):
                del self.spots[y]
                self.home[y] = self.home[made[0]]
        read_by_shown = set(self.outputs)
        for y in reversed(self.ops):
            if y in self.before and y not in read_by_shown:
                del self.spots[y]
            elif y in self.spots:
                read_by_shown.update(x for x, _ in self.inputs[y])
            for x, _ in self.inputs[y]:
                if y in self.home and x in self.before:
                    self.home.setdefault(x, self.home[y])

    def _look_at_leaves(self) -> None:
        for y in self.cells:
            for x, _ in self.inputs[y]:
                if self.records[x].kind != "op":
                    self.users.setdefault(x, set()).add(self.cells[y])
        self.op_grads = any(y.kind == "op" and y.grad is not None for y in self.records)

    # -- what is drawn there -------------------------------------------------------------------

    def graph(self) -> Graph:
        shown = [y for y in self.ops if y in self.spots]
        drawn = boxes(self.trace, shown, self.ops, self.wanted.level)
        self._refuse_too_many(drawn)
        for k, _ in enumerate(self.runs):
            self._draw_gap(k)
        for box in drawn:
            self._draw_box(box)
        for x in self.lone:
            self._leaf(x, (self.outside, 0))
        self._refuse_too_many(self.nodes)
        for box in drawn:
            self._draw_edges(box)
        self._draw_edges_into_gaps()
        return Graph(
            self.nodes,
            self.edges,
            self.columns,
            self._band_names(),
            self._legend(),
            len(self.times),
            len(self.run_of),
            0 if self.folded else self.trace.tensors,
            self._alarm(),
            self.wanted.level,
        )

    def _band_names(self) -> list[str]:
        """The layers; folded, with how many steps they have, where that differs."""
        counts = self.wanted.counts or {}
        differ = len(set(counts.values())) > 1
        return [f"{b}  ×{counts[b]:,}".strip() if differ else b for b in self.bands]

    def _refuse_too_many(self, things: Sequence[object]) -> None:
        if len(things) > BUDGET:
            advice = (
                "Show fewer steps with draw(..., first=1, last=1), or draw an earlier tensor."
                if self.times
                else "Build the steps under tg.scope(f't={t}'), so that most can be folded away, "
                "or draw an earlier tensor."
            )
            raise TooMany(
                f"draw: this picture would have at least {len(things)} nodes, more than the "
                f"{BUDGET} that can be read. {advice}"
            )

    def _add(self, node: Node, keys: Sequence[object]) -> None:
        node.form = node.form or node.glyph
        self.number |= dict.fromkeys(keys, len(self.nodes))
        self.nodes.append(node)

    def _draw_gap(self, k: int) -> None:
        inside = [y for y, home in self.home.items() if home == k]
        title = f"{len(self.runs[k])} steps are not drawn, with {len(inside)} ops"
        spot = self.gaps[k], 0
        node = Node("gap", spot, self.columns[spot[0]].label, "", "", title)
        node.exits = [y for y in inside if y in self.cells]
        self._add(node, [("gap", k)])

    def _draw_box(self, box: Box) -> None:
        r, spot = self.records[box.key], self.spots[box.key]
        if self.columns[spot[0]].kind == "delay":
            self._draw_delay(r, spot)
            return
        for x, _ in (x for y in box.members for x in self.inputs[y]):
            if self._is_drawn_leaf(x, box):
                self._leaf(x, spot)
        sizes = [g.l2 for y in box.exits if (g := self.records[y].grad) is not None]
        grad, loud = gradient_words(joint(sizes)) if self.op_grads else ("", False)
        words = shape_words(r.shape, r.parts)
        if not words and r.shape is not None:
            words = f"= {_value(r)}"
        label = box.label
        if not label:
            label = f"{literal(r.name, 12)} = {sign(r)}" if r.name else sign(r)
        title = self._box_title(box, grad)
        node = Node("op", spot, label, words, grad, title, r.family, loud=loud)
        node.output = not self.outputs.isdisjoint(box.members)
        node.ids, node.exits, node.name = box.members, box.exits, r.name
        node.states, node.verb = box.states, r.verb if len(box.members) == 1 else ""
        if len(box.members) > 1 or r.own:
            node.form = sign(r) if r.verb else f"own {sign(r)}"
        self._add(node, box.members)

    def _is_drawn_leaf(self, x: int, box: Box) -> bool:
        """Numbers that a box of several ops mentions are not drawn."""
        kind = self.records[x].kind
        return kind != "op" and (kind != "constant" or len(box.members) == 1)

    def _draw_delay(self, r: Record, spot: tuple[int, int]) -> None:
        words = f"{literal(r.name, 8)} {shape_words(r.shape)}".strip()
        way = "earlier" if r.delay > 0 else "later"
        title = f"{r.name or 'what'} comes from a step {way}: {r.op}\n{_form(r)}"
        self._add(Node("delay", spot, r.op, words, "", title, name=r.name), [r.id])

    def _draw_edges(self, box: Box) -> None:
        """From everything the box reads; at the level of ops once for each time it is read."""
        target = self.number[box.key]
        known: dict[object, Edge] = {}
        for y in box.members:
            for place, (x, part) in enumerate(self.inputs[y]):
                if self.records[x].kind != "op" and not self._is_drawn_leaf(x, box):
                    continue
                source = self._source(x, y)
                inside = self.nodes[source].spot == self.nodes[target].spot
                key: object = source if inside else (x, source)
                if source == target:
                    continue
                if self.nodes[source].kind == "gap":
                    self._connect_gap(source, target, (x, y, place))
                elif self.wanted.level == "op" or len(box.members) == 1:
                    self._connect(source, target, part, place, (x, y, place))
                elif key in known:
                    known[key].ends.append((x, y, place))
                else:
                    known[key] = self._connect(source, target, -1, place, (x, y, place))

    def _source(self, x: int, y: int) -> int:
        if self.records[x].kind != "op":
            return self.number[x, self.spots[y]]
        return self.number[x] if x in self.spots else self.number["gap", self.home[x]]

    def _connect(
        self, source: int, target: int, part: int, place: int, end: tuple[int, int, int]
    ) -> Edge:
        ends = f"{self.nodes[source].lines[0]} → {self.nodes[target].lines[0]}"
        words = f"{ends}, part {part}" if part >= 0 else ends
        edge = Edge(source, target, words, part, place, ends=[end])
        kinds = self.nodes[source].kind, self.nodes[target].kind
        a, b = (self.nodes[n].spot for n in (source, target))
        edge.late = "delay" in kinds
        if self.wanted.level == "cell" and a != b and kinds[0] != "parameter":
            r = self.records[end[0]]
            name = literal(r.name, 8)
            own = self.nodes[target if r.delay else source].states
            value = r.inputs[0][0] if r.delay and r.inputs else r.id
            columns = [self.columns[spot[0]].kind for spot in (a, b)]
            edge.label = name if columns == ["step", "step"] and a[0] != b[0] else ""
            edge.rail = own.index(value) if value in own else 0
        self.edges.append(edge)
        return edge

    def _connect_gap(self, source: int, target: int, end: tuple[int, int, int]) -> None:
        known = self.number.get(("edge", source, target))
        if known is None:
            known = self.number["edge", source, target] = len(self.edges)
            self.edges.append(Edge(source, target, ""))
        edge = self.edges[known]
        edge.hidden += 1
        edge.ends.append(end)
        edge.title = f"{edge.hidden} connection{'s' * (edge.hidden > 1)} of hidden steps"

    def _draw_edges_into_gaps(self) -> None:
        for y in self.ops if self.runs else ():
            if y not in self.spots:
                for place, (x, _) in enumerate(self.inputs[y]):
                    if x in self.spots:
                        gap = self.number["gap", self.home[y]]
                        self._connect_gap(self.number[x], gap, (x, y, place))

    def _leaf(self, x: int, spot: tuple[int, int]) -> None:
        if (x, spot) in self.number:
            return
        r, chip = self.records[x], self.columns[spot[0]].kind == "step"
        shape = shape_words(r.shape)
        if r.kind == "parameter":
            grad, loud = gradient_words(r.grad.l2 if r.grad is not None else None)
            label = literal(r.name, 14 if chip else 20) if r.name else shape or "scalar"
            if self.folded and chip and r.name:
                label = f"{label} {shape}"
            node = Node("parameter", spot, label, "" if chip or not r.name else shape, grad, "")
            node.hue, node.loud = self.hues[x], loud
        elif r.kind == "input":
            label = literal(r.name, 20) if r.name else "input"
            node = Node("input", spot, label, shape or f"= {_value(r)}", "", "")
        else:
            node = Node("constant", spot, _value(r), "", "", "")
        node.chip = node.kind == "constant" or (chip and node.kind == "parameter")
        node.output, node.ids, node.name = x in self.outputs, [x], r.name
        node.form = shape if node.kind == "parameter" else node.glyph
        node.title = self._leaf_title(r, node)
        self._add(node, [(x, spot)])

    # -- what is said about it -----------------------------------------------------------------

    def _box_title(self, box: Box, grad: str) -> str:
        r = self.records[box.key]
        if len(box.members) > 1:
            ops = ", ".join(sign(self.records[y]) for y in box.members[:24])
            more = ", …" if len(box.members) > 24 else ""
            facts = [f"{len(box.members)} ops: {ops}{more}", _form(r)]
        else:
            facts = [r.op, _form(r), r.attributes]
        facts += [f"in {literal(r.scope, 60)}" if r.scope else "", grad]
        facts += [f"named {literal(r.name, 60)}" if r.name else ""]
        return "\n".join(filter(None, facts))

    def _leaf_title(self, r: Record, node: Node) -> str:
        name = literal(r.name, 60) if r.name else "without a name"
        steps = 0 if self.folded else len({t for _, t in self.users.get(r.id, ())})
        shared = f"used in {steps} step{'s' * (steps > 1)}" if steps else ""
        return "\n".join(filter(None, [f"{node.kind} {name}", _form(r), shared, node.grad]))

    def _legend(self) -> list[Entry]:
        """The parameters that steps use, hidden steps included, in the order of their colours."""
        entries = []
        for x, cells in self.users.items():
            r = self.records[x]
            if r.kind == "parameter":
                grad, loud = gradient_words(r.grad.l2 if r.grad is not None else None)
                layers = {layer for layer, _ in cells}
                label = literal(r.name, 20) if r.name else "parameter"
                where = (
                    f"in {literal(min(layers), 20)}, " if len(layers) == 1 and any(layers) else ""
                )
                counts = self.wanted.counts or {}
                steps = max([len({t for _, t in cells}), *(counts.get(i, 0) for i in layers)])
                use = f"shared by {steps} steps" if steps > 1 else "used in 1 step"
                words = f"{shape_words(r.shape) or 'scalar'}, {where}{use}, {grad}"
                entries.append(Entry(label, words, self.hues[x], loud))
        return sorted(entries, key=lambda entry: entry.hue)

    def _alarm(self) -> str:
        """The parameters whose gradient is not finite, hidden or not, in one sentence."""
        bad = []
        for r in self.records:
            if r.kind != "op" and r.grad is not None:
                words, loud = gradient_words(r.grad.l2)
                if loud:
                    bad.append(f"{literal(r.name or 'a leaf', 20)} ({words.removeprefix('grad ')})")
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        return f"Not finite: the gradient of {', '.join(bad[:4])}{more}" if bad else ""


def joint(norms: Sequence[float]) -> float | None:
    """The norm of several things together; None of nothing."""
    if not norms:
        return None
    if len(norms) == 1:
        return norms[0]
    return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)


def _value(r: Record) -> str:
    return number(r.value.data[0]) if r.value is not None and r.value.data else "?"


def _form(r: Record) -> str:
    if r.shape is None:
        return f"a tuple of {r.parts} parts"
    return f"{r.dtype} of shape {shape_words(r.shape)}" if r.shape else f"{r.dtype} number"
