"""The layout of a graph without time steps: one cell, flowing from left to right."""

from __future__ import annotations

from collections import defaultdict

from .canvas import MARGIN
from .cell import Cell
from .layout import ROOM, Layout, Sheet


class Plain(Layout):
    """A graph without time steps: one cell, flowing from left to right."""

    sideways = True

    def sheet(self) -> Sheet:
        (cell,) = self.cells.values()
        self._arrange([cell])
        heights = [self._row_height(cell, r) for r in range(len(cell.lattice.order))]
        v, centres = 0.0, []
        for height in heights:
            centres.append(v + height / 2)
            v += height + 1.4 * ROOM
        self._stand(cell, centres, heights)
        self._route(cell)
        for n, node in enumerate(self.nodes):
            node.x, node.y = MARGIN + self.v[n], MARGIN + cell.u[n]
        wide, high = v - 1.4 * ROOM + 2 * MARGIN, cell.span[1] + 2 * MARGIN
        return Sheet(self.graph, wide, high, [], sideways=True)

    def _route(self, cell: Cell) -> None:
        ends: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        for e, edge in enumerate(self.graph.edges):
            if edge.source not in cell.docks[edge.target]:
                ends[edge.target].append((self.came_from(cell, edge), e))
        ports = {e: u for box, keys in ends.items() for e, u in self.ports(box, keys).items()}
        for e, edge in enumerate(self.graph.edges):
            points = self.inner_route(cell, edge, ports.get(e, 0.0))
            edge.route = [(MARGIN + v, MARGIN + u) for u, v in points]
