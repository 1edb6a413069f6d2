"""The backward pass as a layer of paint: arrows turned round, in the hue and width of their norm.

The scale is fixed and goes over twelve powers of ten: 1 is the largest gradient that is handed to
the last step of a layer, or the loss, where no step has any. Below it is blue and thin, above it
red and wide, and each box says its number.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from ..tape import Tape
from .fold import Fold
from .graph import Edge, Flow, Graph, Node, joint
from .look import place_of
from .text import number


def lay_over(graph: Graph, trace: Tape, fold: Fold) -> None:
    """Write what the backward pass carried on a graph of this trace, which it was recorded with."""
    _Overlay(graph, trace, fold).write()


def flow(norms: list[float], one: float) -> Flow:
    """Norms as something to paint: of several, the least and the largest."""
    if not norms:
        return Flow(math.nan, math.nan, "no gradient", None)
    bad = [v for v in norms if not math.isfinite(v)]
    low, high = min(norms), max(norms)
    words = number(low) if number(low) == number(high) else f"{number(low)} … {number(high)}"
    if bad:
        words = f"{number(bad[0])}!" + f" in {len(bad)} of {len(norms)}" * (len(norms) > 1)
        return Flow(bad[0], bad[0], words, None, True)
    some = min((v for v in norms if v > 0), default=0.0)
    if not some:
        return Flow(low, high, words, None)
    middle = (place_of(some / one) + place_of(high / one)) / 2
    return Flow(low, high, words, middle)


def _joint(samples: Iterable[tuple[int, float | None]]) -> list[float]:
    """The norms of several things together, of those of each time, in the order of the times."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for t, norm in samples:
        if norm is not None:
            found[t].append(norm)
    return [norm for t in sorted(found) if (norm := joint(found[t])) is not None]


class _Overlay:
    """The work on one graph."""

    def __init__(self, graph: Graph, trace: Tape, fold: Fold):
        self.graph, self.trace, self.fold, self.records = graph, trace, fold, trace.records
        self.terms = [{t.place: t.numbers.l2 for t in r.terms} for r in trace.records]
        self.through = self._looked_through()
        self.givers: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self.handed: set[int] = set()  # what a step hands to another, or out
        for r in trace.records:
            for place, x in enumerate(r.inputs):
                if place in self.terms[r.id] and r.id not in self.through:
                    self.givers[self._source(*x)].append(r.id)
                source = trace.records[trace.whole(*x)[0]]
                if source.t >= 0 and (source.layer, source.t) != (r.layer, r.t):
                    self.handed.add(source.id)
        self.one = self._reference()

    def _looked_through(self) -> set[int]:
        """The stacks that are only unstacked again, and so are not drawn."""
        records, users = self.records, self.trace.users()
        stacks = {r.inputs[0][0] for r in records if r.call.restacked} - {*self.trace.outputs}
        return {y for y in stacks if all(records[z].call.restacked for z, _ in users[y])}

    def _source(self, x: int, part: int) -> tuple[int, int]:
        """What an input is, looking through such stacks."""
        records = self.records
        while part >= 0 and records[x].call.restacked and records[x].inputs[0][0] in self.through:
            x, part = records[records[x].inputs[0][0]].inputs[part]
        return x, part

    def _reference(self) -> float:
        """The largest gradient of what a last step hands on; 1, the loss's own, if there is none.

        The last step is the one that was done last.
        """
        handed = [self.records[y] for y in sorted(self.handed)]
        last = {r.layer: r.t for r in handed}
        norms = [r.norm for r in handed if r.t == last[r.layer]]
        sizes = [g for g in norms if g is not None and 0 < g < math.inf]
        return max(sizes, default=1.0)

    def write(self) -> None:
        carried: defaultdict[int, list[list[float]]] = defaultdict(list)
        for edge in self.graph.edges:
            norms = self._carried(edge)
            edge.flow, edge.back = flow(norms, self.one), True
            carried[edge.source].append(norms)
        for n, node in enumerate(self.graph.nodes):
            self._paint(node, carried[n])
        for edge in self.graph.edges:
            self._label(edge)
        starts = Counter(e.source for e in self.graph.edges if e.label)
        for edge in self.graph.edges:
            edge.last = starts[edge.source] > 1 and self.graph.level != "cell"
        self._explain()

    # -- norms ---------------------------------------------------------------------------------

    def _carried(self, edge: Edge) -> list[float]:
        """The norm of what goes back along an arrow, one for each step that it stands for."""
        ends = edge.ends
        if self.graph.nodes[edge.target].kind == "delay":  # what goes back out of it went in
            ends = [end for e in self.graph.edges if e.source == edge.target for end in e.ends]
        return _joint(
            (k if edge.hidden else t, self.terms[reader].get(where))
            for k, (_, y, place) in enumerate(ends)
            for t, reader, where in self.fold.readers[y, place]
        )

    def _given(self, node: Node) -> list[float]:
        """The norm of the gradients of what a box hands on, for each step it stands for."""
        origins = [of for y in node.exits for of in self.fold.origins[y].items()]
        return _joint((t, self.records[y].norm) for t, y in origins)

    # -- nodes and arrows ----------------------------------------------------------------------

    def _paint(self, node: Node, carried: list[list[float]]) -> None:
        if node.kind == "gap":
            states = [self.records[y].norm for y in node.exits if y in self.handed]
            norms = [g for g in states if g is not None]
        elif node.kind == "op":
            norms = self._given(node)
        elif self.graph.columns[node.spot[0]].kind in ("step", "delay"):
            norms = _joint(pair for norms in carried for pair in enumerate(norms))
        else:
            norms = [g for x in node.ids for z in self.fold.origins[x].values()
                     if (g := self.records[z].norm)]  # fmt: skip
        node.flow = flow(norms, self.one)
        node.grad = "" if node.kind in ("input", "constant") and not norms else node.flow.words
        node.loud = node.flow.bad
        self._count(node)

    def _count(self, node: Node) -> None:
        """Set when the backward pass comes here, and how many gradients it adds up."""
        if node.kind != "op" and (node.chip or node.kind in ("gap", "delay")):
            return
        of = lambda ys: [z for y in ys for z in self.fold.origins[y].values()]
        records, ids = self.records, of(node.ids)
        orders = sorted(k + 1 for y in ids if (k := records[y].order) >= 0)
        if self.fold.counts and len(orders) == len(ids) > 1:  # moments apart, no stretch of time
            few = orders if len(orders) < 4 else [*orders[:2], "…", orders[-1]]
            node.order = ", ".join(map(str, few))
        elif orders:
            node.order = "–".join(map(str, dict.fromkeys((orders[0], orders[-1]))))
        for z in of(node.exits or node.ids):
            for part in range(-1, len(records[z].sizes)):
                others = [y for y in self.givers[z, part]
                          if y not in ids or records[y].t != records[z].t]  # fmt: skip
                node.joins = max(node.joins, len(others))

    def _label(self, edge: Edge) -> None:
        ends = [self.graph.columns[self.graph.nodes[n].spot[0]] for n in (edge.source, edge.target)]
        crosses = ends[0] != ends[1] and all(c.kind in ("step", "gap") for c in ends)
        assert edge.flow is not None
        edge.title = f"{edge.title}\n‖∂L/∂·‖ back along it: {edge.flow.words}"
        if crosses and (edge.flow.bad or edge.flow.place is not None):
            edge.label = f"{edge.label} {edge.flow.words}".strip()

    def _explain(self) -> None:
        self.graph.captions += [
            "the backward pass, done for this picture: no backward() needed",
            "numbers are Euclidean norms of gradients ∂L/∂·"
            + (", the least … the largest over the steps" if self.fold.counts else ""),
            "a disc says when the pass comes by, += k that k gradients add up",
        ]
        self.graph.one = f"1 stands for {number(self.one)}, the largest gradient at a last step"
