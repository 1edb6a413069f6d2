"""Which streets an edge between two cells follows, how many tracks each needs, and every corner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .canvas import Point
from .cell import Cell
from .graph import Edge, Graph, Node

if TYPE_CHECKING:
    from .layout import Layout

TRACK = 7.0  # between two edges in one street
RAIL = 16.0  # between the arrows of two states


@dataclass
class Plan:
    """The streets that an edge between two cells follows."""

    leave: str  # "near": beside the box, "level": at its side, "lane": up its cell; or from a "gap"
    streets: list[tuple[str, int]]  # ("gutter", left of which column), ("bus", below which band)
    arrive: str
    side: int = 1  # +1 from left to right, -1 from right to left
    net: Hashable = None  # edges of one net share their tracks


@dataclass
class Grid:
    """Where streets, columns and layers are; `v` runs upwards."""

    floor: float = 0.0  # the bottom and the top of the steps
    ceiling: float = 0.0
    top: float = 0.0  # of everything
    right: float = 0.0
    bus: list[float] = field(default_factory=list)  # the middles of streets
    gutter: list[float] = field(default_factory=list)
    channel: dict[tuple[tuple[int, int], int], float] = field(default_factory=dict)  # below a row
    bands: list[tuple[float, float]] = field(default_factory=list)  # each layer's bottom and top
    column: list[tuple[float, float]] = field(default_factory=list)  # the left and right of each
    tops: dict[int, float] = field(default_factory=dict)  # of columns that are no steps


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

    A gutter has the number of the column to its right, a bus that of the band above it. A delay
    stands beside its step.
    """
    (start, low), (end, high) = graph.nodes[edge.source].spot, graph.nodes[edge.target].spot
    kinds = graph.columns[start].kind, graph.columns[end].kind
    side = 1 if end > start else -1
    away, up = ("gutter", start + (side > 0)), ("bus", low + 1)
    into, along = ("gutter", end + (side < 0)), ("bus", high)
    match kinds:
        case ("gap", "step") if away == into:
            return Plan("gap", [], "near", side)
        case ("gap", _):
            return Plan("gap", [("bus", len(graph.bands)), into], "near", side)
        case ("step", "gap") if away == into:
            return Plan("near", [], "gap", side)
        case ("before", "gap"):
            return Plan("near", [away, ("bus", 0)], "gap", side)
        case (_, "gap"):
            return Plan("lane", [up], "gap", side)
        case ("step", "delay"):  # out of the top, around, and in from the far side
            return Plan("lane", [up, ("gutter", end + (side > 0))], "near", -side)
        case ("delay", "step") if high != low:
            return Plan("near", [away, along], "lane", side)
        case ("before", "step"):
            return Plan("near", [away, along], "lane", side)
        case ("before", _):
            return Plan("near", [away, ("bus", 0), into], "near", side)
        case ("step" | "delay", "step") if away == into:
            return Plan("near", [into], "near", side)
        case _ if start == end:
            around = [up] if high == low + 1 else [up, ("gutter", start), along]
            return Plan("lane", around, "lane")
    return Plan("lane", [up, into], "near", side)


class Router:
    """The corners of every edge of a layout: along its streets, or through its cell."""

    def __init__(self, layout: Layout):
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
            plan = self.plans.get(e)
            if plan is not None and plan.arrive in ("gap", "level"):
                continue
            cell = self.cell_of[edge.target]
            if edge.source in cell.docks[edge.target]:
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
        source = self.nodes[edge.source]
        x, v = source.x + plan.side * source.w / 2, source.y
        for x, v in self._leave(edge, plan):
            yield x, v
        for kind, k in plan.streets:
            offset = self.streets.offset((kind, k), plan.net)
            if kind == "gutter":
                x = self.grid.gutter[k] + offset
            else:
                v = self.grid.bus[k] + offset
            yield x, v
        yield from self._arrive(edge, plan, port, x, v)

    def _leave(self, edge: Edge, plan: Plan) -> Iterator[Point]:
        node, n = self.nodes[edge.source], edge.source
        if plan.leave == "gap":
            for street in plan.streets[:1]:
                yield node.x + self.streets.offset(street, plan.net), self.grid.ceiling
            return
        cell, rail = self.cell_of[n], self._rail(edge)
        row = cell.row[n]
        if plan.leave == "level":
            yield node.x + plan.side * node.w / 2, node.y + rail
            return
        x = node.x - (rail / 2 if plan.leave == "lane" else 0.0)
        yield x, node.y + node.h / 2
        if plan.leave == "near":
            channel = cell.spot, row + 1
            yield x, self.grid.channel[channel] + self.streets.offset(channel, plan.net)
            return
        yield x, self.rims[cell.spot, row][1]
        for higher in range(row + 1, len(cell.lattice.order)):
            x = self.start[cell.spot] + self._lane(cell, n, "out", higher)
            yield from ((x, rim) for rim in self.rims[cell.spot, higher])

    def _arrive(self, edge: Edge, plan: Plan, port: float, x: float, v: float) -> Iterator[Point]:
        node = self.nodes[edge.target]
        if plan.arrive == "gap":
            yield from self._into_gap(node, plan, x, v)
            return
        if plan.arrive == "level":
            v = node.y + self._rail(edge)
            yield from ((x, v), (node.x - plan.side * node.w / 2, v))
            return
        cell = self.cell_of[edge.target]
        row, start = cell.row[edge.target], self.start[cell.spot]
        if plan.arrive == "near":
            channel = cell.spot, row
            v = self.grid.channel[channel] + self.streets.offset(channel, plan.net)
            yield from ((x, v), (start + port, v))
        else:
            lanes = [self._lane(cell, edge.target, "in", r) for r in range(row)]
            yield start + (lanes or [port])[0], v
            for r, u in enumerate(lanes):
                yield from ((start + u, rim) for rim in self.rims[cell.spot, r])
            yield start + port, self.rims[cell.spot, row][0]
        yield start + port, node.y - node.h / 2

    def _into_gap(self, gap: Node, plan: Plan, x: float, v: float) -> Iterator[Point]:
        """From below, from above, or at its side."""
        bus = plan.streets[-1] if plan.streets else ("", 1)
        if bus in (("bus", 0), ("bus", len(self.graph.bands))):
            x = gap.x + self.streets.offset(bus, plan.net)
            yield from ((x, v), (x, self.grid.ceiling if bus[1] else self.grid.floor))
        else:
            yield gap.x - plan.side * gap.w / 2, v

    def _rail(self, edge: Edge) -> float:
        """How far above the middle of its boxes an arrow runs, beside those of other states."""
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        count = max(1, len(source.states), len(target.states))
        return RAIL * (edge.rail - (count - 1) / 2)
