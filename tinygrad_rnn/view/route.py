"""Which streets an edge between two cells follows, how many tracks each needs, and every corner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .canvas import Point
from .cell import Cell
from .graph import Edge, Graph, Node

if TYPE_CHECKING:
    from .unrolled import Unrolled

TRACK = 7.0  # between two edges in one street
RAIL = 16.0  # between the arrows of two states


@dataclass
class Plan:
    """The streets that an edge between two cells follows."""

    leave: str  # "near": beside the box; "lane": up through its cell; "gap": from the gap
    streets: list[tuple[str, int]]  # ("gutter", left of which column), ("bus", below which band)
    arrive: str
    side: int = 1  # +1 from left to right, -1 from right to left
    net: Hashable = None  # edges of one net share their tracks
    level_start: bool = False  # whether it leaves its box level, at its side
    level_end: bool = False


class Streets:
    """How many tracks every street has, and which of them a net uses."""

    def __init__(self) -> None:
        self.tracks: defaultdict[Hashable, dict[Hashable, int]] = defaultdict(dict)

    def take(self, street: Hashable, net: Hashable) -> None:
        self.tracks[street].setdefault(net, len(self.tracks[street]))

    def offset(self, street: Hashable, net: Hashable) -> float:
        """How far from the middle of the street the net runs."""
        return TRACK * (self.tracks[street][net] - (len(self.tracks[street]) - 1) / 2)

    def width(self, street: Hashable, least: float, around: float) -> float:
        count = len(self.tracks.get(street, ()))
        return max(least, around + TRACK * count) if count else least


def plan_between(graph: Graph, edge: Edge) -> Plan:
    """Choose the way of an edge whose ends are in different cells.

    A gutter has the number of the column to its right, a bus that of the band above it.
    """
    (start, low), (end, high) = graph.nodes[edge.source].spot, graph.nodes[edge.target].spot
    kinds = graph.columns[start].kind, graph.columns[end].kind
    side = 1 if end > start else -1
    beside_end = ("gutter", end if side > 0 else end + 1)
    top = ("bus", len(graph.bands))
    match kinds:
        case ("step", "delay"):  # out of the top, around, and in from the far side
            way = 1 if end < start else -1
            return Plan("lane", [("bus", low + 1), ("gutter", end + (way < 0))], "near", way)
        case ("delay", "step") if high == low and abs(end - start) == 1:
            return Plan("near", [("gutter", max(start, end))], "near", side)
        case ("delay", "step"):
            return Plan("near", [("gutter", max(start, end)), ("bus", high)], "lane", side)
        case ("gap", "step") if abs(end - start) == 1:
            return Plan("gap", [], "near", side)
        case ("gap", _):
            return Plan("gap", [top, beside_end], "near", side)
        case ("step", "gap") if abs(end - start) == 1:
            return Plan("near", [], "gap", side)
        case ("before", "gap"):
            return Plan("near", [("gutter", start + 1), ("bus", 0)], "gap", side)
        case (_, "gap"):
            return Plan("lane", [("bus", low + 1)], "gap", side)
        case ("before", "step"):
            return Plan("near", [("gutter", start + 1), ("bus", high)], "lane", side)
        case ("before", _):
            return Plan("near", [("gutter", start + 1), ("bus", 0), beside_end], "near", side)
        case _ if start == end and high == low + 1:
            return Plan("lane", [("bus", high)], "lane")
        case _ if start == end:
            return Plan("lane", [("bus", low + 1), ("gutter", start), ("bus", high)], "lane")
        case ("step", "step") if abs(end - start) == 1:
            return Plan("near", [("gutter", max(start, end))], "near", side)
    return Plan("lane", [("bus", low + 1), beside_end], "near", side)


class Router:
    """The corners of every edge of a layout: along its streets, or through its cell."""

    def __init__(self, layout: Unrolled):
        self.layout, self.grid, self.streets = layout, layout.grid, layout.streets
        self.graph, self.nodes, self.cell_of = layout.graph, layout.nodes, layout.cell_of
        self.plans, self.start, self.rims = layout.plans, layout.start, layout.rims

    def route(self) -> None:
        """Give every edge its corners."""
        ports = self._all_ports()
        for e, edge in enumerate(self.graph.edges):
            if e in self.plans:
                edge.route = list(self._follow(edge, self.plans[e], ports.get(e, 0.0)))
            else:
                cell = self.cell_of[edge.source]
                start = self.start[cell.spot]
                points = self.layout.inner_route(cell, edge, ports.get(e, 0.0))
                edge.route = [(start + u, v) for u, v in points]

    def _all_ports(self) -> dict[int, float]:
        """Return where each edge that comes from below meets its box, as `u`."""
        keys: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        for e, edge in enumerate(self.graph.edges):
            cell, plan = self.cell_of.get(edge.target), self.plans.get(e)
            if (
                cell is None
                or (plan is not None and plan.level_end)
                or edge.source in cell.docks[edge.target]
            ):
                continue
            if plan is None:
                key = self.layout.came_from(cell, edge)
            elif plan.arrive == "near":
                key = -plan.side * float("inf")
            else:
                key = self._lane(cell, edge.target, "in", cell.row[edge.target] - 1)
            keys[edge.target].append((key, e))
        return {e: u for box in keys for e, u in self.layout.ports(box, keys[box]).items()}

    def _lane(self, cell: Cell, n: int, what: str, row: int) -> float:
        return cell.lattice.u.get((what, cell.index[n], row), cell.u[n])

    def _follow(self, edge: Edge, plan: Plan, port: float) -> Iterator[Point]:
        """The corners of an edge on its way through the streets."""
        x, v = 0.0, 0.0
        for x, v in self._leave(edge, plan):
            yield x, v
        for kind, k in plan.streets:
            offset = self.streets.offset((kind, k), plan.net)
            x, v = (
                (self.grid.gutter[k] + offset, v)
                if kind == "gutter"
                else (x, self.grid.bus[k] + offset)
            )
            yield x, v
        yield from self._arrive(edge, plan, port, x, v)

    def _leave(self, edge: Edge, plan: Plan) -> Iterator[Point]:
        if plan.leave == "gap":
            gap = self.nodes[edge.source]
            for _, k in plan.streets[:1]:
                yield self._gap_contact(gap, k, self.streets.offset(("bus", k), plan.net), plan)
            return
        cell, n = self.cell_of[edge.source], edge.source
        node, row = self.nodes[n], cell.row[n]
        if plan.level_start:
            yield node.x + plan.side * node.w / 2, node.y + self._rail(edge)
            return
        aside = (self._rail(edge) if plan.leave == "lane" else 0.0) / 2
        yield node.x - aside, node.y + node.h / 2
        if plan.leave == "near":
            channel = cell.spot, row + 1
            yield node.x, self.grid.channel[channel] + self.streets.offset(channel, plan.net)
            return
        yield node.x - aside, self.rims[cell.spot, row][1]
        for higher in range(row + 1, len(cell.lattice.order)):
            x = self.start[cell.spot] + self._lane(cell, n, "out", higher)
            yield from ((x, rim) for rim in self.rims[cell.spot, higher])

    def _arrive(self, edge: Edge, plan: Plan, port: float, x: float, v: float) -> Iterator[Point]:
        if plan.arrive == "gap":
            yield from self._into_gap(self.nodes[edge.target], plan, x, v)
            return
        cell, node = self.cell_of[edge.target], self.nodes[edge.target]
        row, start = cell.row[edge.target], self.start[cell.spot]
        if plan.level_end:
            x = x if plan.streets else self._gap_side(edge, plan)
            v = node.y + self._rail(edge)
            yield x, v
            yield node.x - plan.side * node.w / 2, v
            return
        if plan.arrive == "near":
            channel = cell.spot, row
            v = self.grid.channel[channel] + self.streets.offset(channel, plan.net)
            yield (x if plan.streets else self._gap_side(edge, plan)), v
            yield start + port, v
        else:
            lanes = [self._lane(cell, edge.target, "in", r) for r in range(row)]
            yield start + (lanes or [port])[0], v
            for r, u in enumerate(lanes):
                yield from ((start + u, rim) for rim in self.rims[cell.spot, r])
            yield start + port, self.rims[cell.spot, row][0]
        yield start + port, node.y - node.h / 2

    def _rail(self, edge: Edge) -> float:
        """How far above the middle of its boxes an arrow runs, beside those of other states."""
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        count = max(1, *(len(n.states) for n in (source, target)))
        return RAIL * (edge.rail - (count - 1) / 2)

    # -- the gap -------------------------------------------------------------------------------

    def _gap_side(self, edge: Edge, plan: Plan) -> float:
        """The side of the gap at which an edge leaves it."""
        gap = self.nodes[edge.source]
        return gap.x + plan.side * gap.w / 2

    def _into_gap(self, gap: Node, plan: Plan, x: float, v: float) -> Iterator[Point]:
        if plan.streets:
            k = plan.streets[-1][1]
            contact = self._gap_contact(gap, k, self.streets.offset(("bus", k), plan.net), plan, -1)
            yield contact[0], v
            yield contact
        else:
            yield gap.x - plan.side * gap.w / 2, v

    def _gap_contact(self, gap: Node, k: int, offset: float, plan: Plan, way: int = 1) -> Point:
        """Where an edge on this bus touches the gap: from below, from above, or at its side."""
        if k == 0:
            return gap.x + offset, self.grid.floor
        if k == len(self.graph.bands):
            return gap.x + offset, self.grid.ceiling
        return gap.x + way * plan.side * gap.w / 2, self.grid.bus[k] + offset
