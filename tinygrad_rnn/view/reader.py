"""A tape read as a graph: its ops as boxes, what they read as arrows, by the rule of `graph`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from ..tape import Record, Tape
from .graph import BUDGET, Edge, Entry, Graph, Node, TooMany, joint
from .levels import Box, boxes
from .places import Places, Wanted
from .text import count, gradient_words, literal, number, shape_words, sign

End = tuple[int, int, int]


def read(tape: Tape, wanted: Wanted) -> Graph:
    """Read a tape as a graph. Raises TooMany above the node budget."""
    return _Reader(tape, wanted).graph()


class _Reader:
    """One reading of one tape.

    number: what is drawn already, and as which node, or edge. users: of a leaf, the cells using it.
    """

    def __init__(self, tape: Tape, wanted: Wanted):
        self.tape, self.records, self.wanted = tape, tape.records, wanted
        self.places = Places(tape, wanted)
        self.inputs, self.spots = self.places.inputs, self.places.spots
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.known: dict[object, Edge] = {}
        self.number: dict[object, int] = {}
        self.users: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)
        for y, cell in self.places.cells.items():
            for x, _ in self.inputs[y]:
                if self.records[x].kind != "op":
                    self.users[x].add(cell)
        born = [y.id for y in self.records if y.kind == "parameter"]
        self.hues = {x: k for k, x in enumerate(born)}  # the same at every level

    @cached_property
    def tells(self) -> bool:
        """Whether boxes tell their gradients."""
        return any(y.kind == "op" and y.grad is not None for y in self.records)

    def graph(self) -> Graph:
        """All of the work."""
        places, wanted = self.places, self.wanted
        shown = [y for y in places.ops if y in self.spots]
        drawn = boxes(self.tape, shown, places.ops, wanted.level)
        self._refuse_too_many(drawn)
        self._draw_gaps()
        for box in drawn:
            self._draw_box(box)
        for x in places.lone:
            self._leaf(x, (places.outside, 0))
        self._refuse_too_many(self.nodes)
        hidden = [y for y in places.ops if y not in self.spots]
        for y in [*(y for box in drawn for y in box.members), *hidden]:
            self._draw_edges(y)
        folded = wanted.counts is not None
        return Graph(
            self.nodes,
            self.edges,
            places.columns,
            self._band_names(),
            self._legend() if wanted.legend else [],
            len(places.times),
            sum(map(len, places.runs)),
            0 if folded else self.tape.tensors,
            _alarm(self.records),
            wanted.level,
        )

    def _band_names(self) -> list[str]:
        """The layers; folded, with how many steps they have, where that differs."""
        counts = self.wanted.counts or {}
        differ = len(set(counts.values())) > 1
        return [f"{b}  ×{counts[b]:,}".strip() if differ else b for b in self.places.layers]

    def _refuse_too_many(self, things: Sequence[object]) -> None:
        if len(things) > BUDGET:
            advice = (
                "Show fewer steps with draw(..., first=1, last=1), or draw an earlier tensor."
                if self.places.times
                else "Build each step under a tg.scope of its time, as 't=0', so that most can be "
                "folded away, or draw an earlier tensor."
            )
            raise TooMany(
                f"draw: this picture would have at least {len(things)} nodes, more than the "
                f"{BUDGET} that can be read. {advice}"
            )

    # -- boxes ---------------------------------------------------------------------------------

    def _add(self, node: Node, keys: Sequence[object]) -> None:
        node.form = node.form or node.glyph
        self.number |= dict.fromkeys(keys, len(self.nodes))
        self.nodes.append(node)

    def _draw_gaps(self) -> None:
        gaps = [n for n, c in enumerate(self.places.columns) if c.kind == "gap"]
        for k, (n, run) in enumerate(zip(gaps, self.places.runs, strict=True)):
            inside = [y for y, home in self.places.home.items() if home == k]
            title = f"{len(run)} steps are not drawn, with {len(inside)} ops"
            node = Node(kind="gap", spot=(n, 0), glyph=self.places.columns[n].label, title=title)
            node.exits = [y for y in inside if y in self.places.cells]
            self._add(node, [("gap", k)])

    def _draw_box(self, box: Box) -> None:
        r, spot = self.records[box.key], self.spots[box.key]
        if self.places.columns[spot[0]].kind == "delay":
            self._draw_delay(r, spot)
            return
        for x, _ in (x for y in box.members for x in self.inputs[y]):
            if self._is_drawn_leaf(x, box):
                self._leaf(x, spot)
        sizes = [g for y in box.exits if (g := self.records[y].norm) is not None]
        grad, loud = gradient_words(joint(sizes)) if self.tells else ("", False)
        name, alone = literal(r.name, 12), len(box.members) == 1
        node = Node(
            kind="op",
            spot=spot,
            glyph=box.label or (f"{name} = {sign(r)}" if name else sign(r)),
            words=self._shape(r) if r.shape or r.shape is None else f"= {_value(r)}",
            grad=grad,
            title=_title(r, [self.records[y] for y in box.members], grad),
            loud=loud,
            family=r.call.family,
            library_op=r.library_op if alone else "",
            output=not set(self.tape.outputs).isdisjoint(box.members),
            ids=box.members,
            exits=box.exits,
            name=r.name,
            states=box.states,
        )
        if not alone or r.call.own:
            node.form = sign(r) if r.library_op else f"own {sign(r)}"
        self._add(node, box.members)

    def _shape(self, r: Record) -> str:
        return shape_words(r.shape, len(r.sizes)) if self.wanted.shapes else ""

    def _is_drawn_leaf(self, x: int, box: Box) -> bool:
        """Numbers that a box of several ops mentions are not drawn."""
        kind = self.records[x].kind
        return kind != "op" and (kind != "constant" or len(box.members) == 1)

    def _draw_delay(self, r: Record, spot: tuple[int, int]) -> None:
        words = f"{literal(r.name, 8)} {self._shape(r)}".strip()
        way = "earlier" if r.call.delay > 0 else "later"
        title = f"{r.name or 'what'} comes from a step {way}: {r.call.op}\n{_form(r)}"
        node = Node(kind="delay", spot=spot, glyph=r.call.op, words=words, title=title, name=r.name)
        self._add(node, [r.id])

    def _leaf(self, x: int, spot: tuple[int, int]) -> None:
        if (x, spot) in self.number:
            return
        r, folded = self.records[x], self.wanted.counts is not None
        chip = r.kind == "parameter" and self.places.columns[spot[0]].kind == "step"
        shape, name = self._shape(r), literal(r.name, 14 if chip else 20)
        node = Node(kind=r.kind, spot=spot, ids=[x], name=r.name, output=x in self.tape.outputs)
        if r.kind == "parameter":
            node.grad, node.loud = gradient_words(r.norm)
            node.hue, node.form, node.chip = self.hues[x], shape_words(r.shape), chip
            node.glyph = name or shape_words(r.shape) or "scalar"
            if name and not chip:
                node.words = shape
            elif name and folded:
                node.glyph = f"{name} {shape}".strip()
        elif r.kind == "input":
            node.glyph, node.words = name or "input", shape if r.shape else f"= {_value(r)}"
        else:
            node.glyph, node.chip = _value(r), True
        steps = 0 if folded else len({t for _, t in self.users.get(x, ())})
        shared = f"used in {count(steps, 'step')}" if steps else ""
        title = f"{node.kind} {literal(r.name, 60) or 'without a name'}"
        node.title = "\n".join(filter(None, [title, _form(r), shared, node.grad]))
        self._add(node, [(x, spot)])

    # -- arrows --------------------------------------------------------------------------------

    def _draw_edges(self, y: int) -> None:
        """Draw an edge from everything an op reads, or count it to one that is drawn already."""
        target = self._node_of(y, y) or 0
        for place, (x, part) in enumerate(self.inputs[y]):
            source = self._node_of(x, y)
            if source is not None and source != target:
                self._connect(source, target, part, (x, y, place))

    def _node_of(self, x: int, y: int) -> int | None:
        """Where what y reads is drawn; None of a leaf that is not."""
        if self.records[x].kind == "op":
            return self.number[x] if x in self.spots else self.number["gap", self.places.home[x]]
        several = y in self.spots and len(self.nodes[self.number[y]].ids) > 1
        told = self.records[x].kind == "constant" and several
        return None if told else self.number.get((x, self.spots.get(y)))

    def _connect(self, source: int, target: int, part: int, end: End) -> None:
        """An edge; one for all readings of hidden steps, or of several ops that are one box."""
        a, b = self.nodes[source], self.nodes[target]
        hides, several = "gap" in (a.kind, b.kind), len(b.ids) > 1 and self.wanted.level != "op"
        key: object = (source, target) if hides or a.spot == b.spot else (source, target, end[0])
        edge = self.known.get(key) if hides or several else None
        if a.kind == b.kind == "gap":
            return
        if edge is None:
            edge = self.known[key] = Edge(source=source, target=target)
            self.edges.append(edge)
        edge.ends.append(end)
        if hides:
            edge.hidden += 1
            edge.title = f"{count(edge.hidden, 'connection')} of hidden steps"
        elif len(edge.ends) == 1:
            self._describe(edge, a, b, -1 if several else part)

    def _describe(self, edge: Edge, a: Node, b: Node, part: int) -> None:
        """What is said of an edge between two boxes."""
        ((x, _, place),) = edge.ends
        edge.title = f"{a.lines[0]} → {b.lines[0]}" + (f", part {part}" if part >= 0 else "")
        edge.part, edge.place, edge.late = part, place, "delay" in (a.kind, b.kind)
        if self.wanted.level == "cell" and a.spot != b.spot and a.kind != "parameter":
            r = self.records[x]
            own = (b if r.call.delay else a).states
            value = r.inputs[0][0] if r.call.delay and r.inputs else r.id
            kinds = {self.places.columns[node.spot[0]].kind for node in (a, b)}
            if kinds == {"step"} and a.spot[0] != b.spot[0]:
                edge.label = literal(r.name, 8)
            edge.rail = own.index(value) if value in own else 0

    # -- around the picture --------------------------------------------------------------------

    def _legend(self) -> list[Entry]:
        """The parameters that steps use, hidden steps included, in the order of their colours."""
        entries, counts = [], self.wanted.counts or {}
        for x, cells in self.users.items():
            r = self.records[x]
            if r.kind == "parameter":
                grad, loud = gradient_words(r.norm)
                layers = {layer for layer, _ in cells}
                steps = max([len({t for _, t in cells}), *(counts.get(i, 0) for i in layers)])
                only = len(layers) == 1 and any(layers)
                where = f"in {literal(min(layers), 20)}, " if only else ""
                use = f"shared by {steps} steps" if steps > 1 else "used in 1 step"
                words = f"{shape_words(r.shape) or 'scalar'}, {where}{use}, {grad}"
                entries.append(Entry(literal(r.name, 20) or "parameter", words, self.hues[x], loud))
        return sorted(entries, key=lambda entry: entry.hue)


def _title(r: Record, members: Sequence[Record], grad: str) -> str:
    """What is said of a box to whoever hovers over it."""
    facts = [r.call.op, _form(r), r.call.attributes]
    if len(members) > 1:
        more = ", …" if len(members) > 24 else ""
        facts = [f"{len(members)} ops: {', '.join(map(sign, members[:24]))}{more}", _form(r)]
    facts += [f"in {literal(r.place.scope, 60)}" if r.place.scope else "", grad]
    facts += [f"named {literal(r.name, 60)}" if r.name else ""]
    return "\n".join(filter(None, facts))


def _alarm(records: Sequence[Record]) -> str:
    """The parameters whose gradient is not finite, hidden or not, in one sentence."""
    bad = []
    for r in records:
        words, loud = gradient_words(r.norm)
        if loud and r.kind != "op":
            bad.append(f"{literal(r.name or 'a leaf', 20)} ({words.removeprefix('grad ')})")
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    return f"Not finite: the gradient of {', '.join(bad[:4])}{more}" if bad else ""


def _value(r: Record) -> str:
    return number(r.value.data[0]) if r.value is not None and r.value.data else "?"


def _form(r: Record) -> str:
    if r.shape is None:
        return f"a tuple of {len(r.sizes)} parts"
    return (
        f"{r.call.dtype} of shape {shape_words(r.shape)}" if r.shape else f"{r.call.dtype} number"
    )
