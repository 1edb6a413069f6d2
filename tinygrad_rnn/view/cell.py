"""One place of the picture: its boxes on rows, the chips at their sides, the inputs below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from .graph import Edge, Graph
from .lattice import Lattice, depths, nearest

DOCK = 14.0  # between a box and the chips at its side
BELOW = 12.0  # between the boxes that stand below, and the lanes that pass them


@dataclass
class Ports:
    """Which boxes of a cell are reached from outside, and how."""

    passing: set[int] = field(default_factory=set)  # by edges that pass below the cell
    enters: set[int] = field(default_factory=set)  # those, and from what stands below
    exits: set[int] = field(default_factory=set)  # looked at from above
    pulls: dict[int, int] = field(default_factory=dict)  # wanted from the left (-1) or right (+1)


class Cell:
    """One layer at one step, or everything before the steps, or after them, or without steps.

    row: of each box. docks: the chips at its side. below: what stands below the rows. u: where
    each node's centre is along its row, once arranged. span: how far the cell reaches on that
    scale, to the left and to the right.
    """

    def __init__(self, graph: Graph, spot: tuple[int, int], members: list[int], inner: list[Edge]):
        self.graph, self.spot, self.members, self.inner = graph, spot, members, inner
        self.docks: defaultdict[int, list[int]] = defaultdict(list)
        self.below: list[int] = []
        self.row = self._rows()
        self.ports = Ports()
        for n in self.below:  # it reaches the higher rows through lanes
            self.ports.enters.update(m for m in self.users[n] if self.row[m] > 0)
        self.u: dict[int, float] = {}
        self.span = 0.0, 0.0

    @cached_property
    def is_step(self) -> bool:
        """Whether it is in a step, and no column of its own."""
        return self.graph.columns[self.spot[0]].kind in ("step", "delay")

    @cached_property
    def users(self) -> defaultdict[int, list[int]]:
        """What reads each node in this cell."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for edge in self.inner:
            found[edge.source].append(edge.target)
        return found

    @cached_property
    def boxes(self) -> list[int]:
        """What stands on rows."""
        return list(self.row)

    @cached_property
    def index(self) -> dict[int, int]:
        """The number of each box."""
        return {n: k for k, n in enumerate(self.boxes)}

    # -- rows ----------------------------------------------------------------------------------

    def _rows(self) -> dict[int, int]:
        """The row of each node that stands on one; the others become chips, or stand below."""
        nodes = self.graph.nodes
        if self.graph.columns[self.spot[0]].kind == "delay":
            return {n: k for k, n in enumerate(self.members)}
        ops = [n for n in self.members if nodes[n].kind == "op"]
        order = {n: k for k, n in enumerate(ops)}
        links = [(order[e.source], order[e.target]) for e in self.inner if e.source in order]
        rows = dict(zip(ops, depths(len(ops), links), strict=True))
        standing = [n for n in self.members if n not in rows and not self._settled(n, rows)]
        if not self.is_step:
            rows |= self._late(rows)
        for n in standing:
            rows[n] = min((rows[m] for m in self.users[n]), default=0) - 1
        lowest = min(rows.values(), default=0)
        return {n: rows[n] - lowest for n in self.members if n in rows}

    def _settled(self, n: int, rows: dict[int, int]) -> bool:
        """Whether a leaf found its place as a chip beside its only user, or below the rows."""
        node, users = self.graph.nodes[n], set(self.users[n])
        alone = len(users) == 1 and not (self.is_step and self.graph.level == "cell")
        small = alone and self.is_step and (node.kind == "parameter" or rows[min(users)] > 0)
        if small or (alone and node.kind == "constant"):
            self.docks[min(users)].append(n)
            node.chip = True
            return True
        if self.is_step:
            self.below.append(n)
        return self.is_step

    def _late(self, rows: dict[int, int]) -> dict[int, int]:
        """Ops that wait for no op stand right before the first that waits for them."""
        firsts = [n for n in rows if rows[n] == 0 and self.users.get(n)]
        return {n: min(rows[m] for m in self.users[n]) - 1 for n in firsts}

    # -- arrangement ---------------------------------------------------------------------------

    def kind(self) -> Hashable:
        """Equal for cells that compute the same, whatever their leaves and neighbours are."""
        if not self.is_step:
            return self.spot
        return self.spot[1], tuple(self.graph.nodes[n].form for n in self.boxes), self.links()

    def enter(self, n: int) -> None:
        """Note that an edge from outside reaches this box from below."""
        self.ports.passing.add(n)
        self.ports.enters.add(n)

    def links(self) -> tuple[tuple[int, int], ...]:
        return tuple(
            (self.index[e.source], self.index[e.target])
            for e in self.inner
            if e.source in self.index
        )

    def reach(self, n: int) -> float:
        """How far a box and the chips at its side reach to the left of its centre."""
        nodes = self.graph.nodes
        return nodes[n].w / 2 + max((nodes[c].w + DOCK for c in self.docks[n]), default=0.0)

    def take(self, lattice: Lattice) -> None:
        """Stand on an arrangement that was made for all cells of this kind."""
        self.lattice = lattice
        for n, k in self.index.items():
            self.u[n] = lattice.u["box", k, lattice.rows[k]]
            for chip in self.docks[n]:
                both = self.graph.nodes[n].w + self.graph.nodes[chip].w
                self.u[chip] = self.u[n] - both / 2 - DOCK
        self._place_below()
        centre = lattice.width / 2
        reach = [abs(self.u[n] - centre) + self.graph.nodes[n].w / 2 for n in self.below]
        left = min([0.0, *(centre - r for r in reach)])
        self.span = left, max([lattice.width, *(centre + r for r in reach)])

    def _place_below(self) -> None:
        """Inputs stand under their users, out of the way of the lanes that pass them."""
        lanes = [self.lane_u(n) for n in sorted(self.ports.passing)]
        wishes = [(u, -1) for u in lanes]
        for n in self.below:
            places = [self.lane_u(m) for m in self.users[n]] or [0.0]
            wishes.append((sum(places) / len(places), n))
        wishes.sort()
        own = {n for _, n in wishes if n >= 0}
        halves = [self.graph.nodes[n].w / 2 if n in own else 0.0 for _, n in wishes]
        gaps = [a + b + (BELOW if a or b else 0.0) for a, b in pairwise(halves)]
        weights = [1.0 if n in own else 1e6 for _, n in wishes]
        places = nearest([u for u, _ in wishes], weights, gaps)
        self.u |= {n: u for (_, n), u in zip(wishes, places, strict=True) if n in own}

    def lane_u(self, n: int) -> float:
        """Return where an edge from below reaches the rows on its way to this box."""
        return self.lattice.u.get(("in", self.index[n], 0), self.u[n])
