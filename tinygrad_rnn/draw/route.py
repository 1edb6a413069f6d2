"""Which streets an edge between two cells follows, and how many tracks each street needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

from .graph import Edge, Graph

TRACK = 7.0  # between two edges in one street


@dataclass
class Plan:
    """The streets that an edge between two cells follows."""

    leave: str  # "near": beside the box; "lane": up through its cell; "gap": from the gap
    streets: list[tuple[str, int]]  # ("gutter", left of which column), ("bus", below which band)
    arrive: str
    side: int = 1  # +1 from left to right, -1 from right to left
    net: Hashable = None  # edges of one net share their tracks


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
