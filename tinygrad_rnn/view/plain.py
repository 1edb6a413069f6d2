"""The layout of a graph without time steps: one cell, flowing from left to right."""

from __future__ import annotations

from .canvas import MARGIN
from .layout import ROOM, Layout, Sheet
from .path import turned
from .route import Router


class Plain(Layout):
    """A graph without time steps: one cell, laid out upwards on its side, and turned."""

    def sheet(self) -> Sheet:
        """Do all of the work."""
        ((spot, cell),) = self.cells.items()
        self._turn()
        self._arrange([cell])
        heights = [self._row_height(cell, r) for r in range(len(cell.lattice.order))]
        v, centres = MARGIN, []
        for height in heights:
            centres.append(v + height / 2)
            v += height + 1.4 * ROOM
        self._stand(cell, centres, heights)
        self.start[spot] = MARGIN
        Router(self).route()
        for n, node in enumerate(self.nodes):
            node.x, node.y = self.v[n], MARGIN + cell.u[n]
        for edge in self.graph.edges:
            edge.route = turned(edge.route)
        self._turn()
        wide, high = v - 1.4 * ROOM + MARGIN, cell.span[1] + 2 * MARGIN
        return Sheet(self.graph, wide, high, [], sideways=True)

    def _turn(self) -> None:
        for node in self.nodes:
            node.w, node.h = node.h, node.w
