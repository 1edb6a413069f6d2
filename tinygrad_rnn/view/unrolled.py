"""The layout of an unrolled graph: time to the right, layers upwards, depth within a step upwards.

Nothing is solved for: a cell is arranged by itself (`lattice`), equal cells share one arrangement,
cells stand on a grid, and an edge between cells follows the streets between them: out of the side
of its box or up through its cell, along a gutter between two columns, along a bus between two
layers. Each street is as wide as the traffic on it. The work is linear in what is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

from .canvas import MARGIN
from .cell import Cell
from .layout import FONT, HEADER, PAD, ROOM, SMALL, Frame, Layout, Sheet
from .route import Router, plan_between
from .text import literal, width


class Unrolled(Layout):
    """The work on one sheet of an unrolled graph; `v` runs upwards until the sheet is finished."""

    def sheet(self) -> Sheet:
        """Do all of the work."""
        self._plan_edges()
        self._arrange_cells()
        self._count_traffic()
        self._place_rows()
        self._place_columns()
        self._place_boxes()
        Router(self).route()
        return self._finish()

    # -- plans ---------------------------------------------------------------------------------

    def _plan_edges(self) -> None:
        """Choose the streets of every edge between cells, and tell the cells what to expect."""
        cell_of, arriving = self.cell_of, defaultdict(list)
        for e, edge in enumerate(self.graph.edges):
            if edge.hidden or cell_of[edge.source] is not cell_of[edge.target]:
                self.plans[e] = plan = plan_between(self.graph, edge)
                arriving[edge.target].append(plan)
                plan.net = ("from", edge.source, edge.value, edge.late)
                if plan.leave == "gap":
                    plan.net = ("to", edge.target)
                if plan.leave == "lane":
                    cell_of[edge.source].ports.exits.add(edge.source)
                if plan.arrive == "lane":
                    cell_of[edge.target].enter(edge.target)
                elif plan.arrive == "near":
                    cell_of[edge.target].ports.pulls[edge.target] = -plan.side
        for target, plans in arriving.items():
            if len(plans) > 2 and target in cell_of and not cell_of[target].is_step:
                for plan in plans:  # many states into one stack: one bundle
                    plan.net = ("to", target)

    def _arrange_cells(self) -> None:
        kinds = defaultdict(list)
        for cell in self.cells.values():
            kinds[cell.kind()].append(cell)
        for cells in kinds.values():
            self._arrange(cells)

    # -- traffic -------------------------------------------------------------------------------

    def _count_traffic(self) -> None:
        """Reserve a track in every street that an edge follows."""
        gate: dict[Hashable, Hashable] = {}  # one edge, or bundle, may enter the side of a box
        for e, plan in self.plans.items():
            source, target = self.graph.edges[e].source, self.graph.edges[e].target
            if plan.leave == "near":
                cell = self.cell_of[source]
                if self._is_free(cell, source, plan.side):
                    plan.leave = "level"
                else:
                    self.streets.take((cell.spot, cell.row[source] + 1), plan.net)
            for street in plan.streets:
                self.streets.take(street, plan.net)
            if plan.arrive == "near":
                cell = self.cell_of[target]
                free = self._is_free(cell, target, -plan.side)
                key = plan.net if plan.net == ("to", target) else e
                gates = (target, self.graph.edges[e].rail)
                if free and gate.setdefault(gates, key) == key:
                    plan.arrive = "level"
                else:
                    self.streets.take((cell.spot, cell.row[target]), plan.net)

    def _is_free(self, cell: Cell, n: int, side: int) -> bool:
        """Whether nothing stands between a box and this side (-1 left, +1 right) of its cell."""
        if side < 0 and cell.docks[n]:
            return False
        others = [m for m in cell.boxes if cell.row[m] == cell.row[n] and m != n]
        return all((cell.u[m] - cell.u[n]) * side < 0 for m in others)

    # -- places --------------------------------------------------------------------------------

    def _place_rows(self) -> None:
        """Stack the layers, and the rows in each, from the bottom up."""
        bands, named = len(self.graph.bands), any(self.graph.bands)
        self.grid.floor = self.streets.width(("bus", 0), 0.0, 16.0)
        self.grid.bus.append(self.grid.floor / 2)
        v = self.grid.floor + (PAD if named else 0.0)
        for band in range(bands):
            cells = [c for c in self.cells.values() if c.is_step and c.spot[1] == band]
            top = self._place_band(cells, v) + (HEADER - 6 if named else 0.0)
            self.grid.bands.append((v, top))
            street = self.streets.width(("bus", band + 1), 14.0 if named else 0.0, 14.0)
            if band < bands - 1:
                self.grid.bus.append(top + street / 2)
                v = top + street
        self.grid.ceiling = top + HEADER + (4.0 if named else -PAD)
        street = self.streets.width(("bus", bands), 0.0, 16.0)
        self.grid.bus.append(self.grid.ceiling + street / 2)
        self.grid.top = self.grid.ceiling + street
        self.grid.tops = {
            c.spot[0]: self._place_band([c], self.grid.floor) + HEADER - PAD / 2
            for c in self.cells.values()
            if not c.is_step
        }
        self.grid.top = max([self.grid.top, *self.grid.tops.values()])

    def _place_band(self, cells: list[Cell], v: float) -> float:
        """Stand cells of one band on common rows from `v` upwards; the top of it."""
        v += PAD
        rows = max((len(c.lattice.order) for c in cells), default=0)
        below = [n for c in cells for n in c.below]
        if below:
            height = max(self.nodes[n].h for n in below)
            self.v |= dict.fromkeys(below, v + height / 2)
            v += height
        centres, heights = [], []
        for row in range(rows):
            least = ROOM if row or below else 0.0
            v = self._place_channel(cells, row, v, least)
            heights.append(max(self._row_height(c, row) for c in cells))
            centres.append(v + heights[-1] / 2)
            v += heights[-1]
        v = self._place_channel(cells, rows, v, 0.0)
        for cell in cells:
            self._stand(cell, centres, heights)
        return v + PAD

    def _place_channel(self, cells: list[Cell], row: int, v: float, least: float) -> float:
        """Keep room below a row for its streets; the top of it."""
        wide = max(self.streets.width((c.spot, row), least, 14.0) for c in cells)
        for cell in cells:
            self.grid.channel[cell.spot, row] = v + wide / 2
        return v + wide

    def _place_columns(self) -> None:
        """Put gutters and columns side by side; every step is equally wide."""
        columns = self.graph.columns
        wide = [0.0] * len(columns)
        for cell in self.cells.values():
            k = cell.spot[0]
            layer = literal(self.graph.bands[cell.spot[1]], 28) if columns[k].kind == "step" else ""
            label = max(width(columns[k].label, FONT + 1), width(layer, SMALL)) + 18
            wide[k] = max(wide[k], cell.span[1] - cell.span[0] + 2 * PAD, label)
        steps = max(w for w, column in zip(wide, columns, strict=True) if column.kind == "step")
        gaps = {node.spot[0]: node.w for node in self.nodes if node.kind == "gap"}
        x = MARGIN
        for k, column in enumerate(columns):
            x = self._place_gutter(k, x, 18.0 if k else 0.0)
            gap = gaps[k] if column.kind == "gap" else 0.0
            size = steps if column.kind == "step" else gap or wide[k]
            self.grid.column.append((x, x + size))
            x += size
        self.grid.right = self._place_gutter(len(columns), x, 0.0)

    def _place_gutter(self, k: int, x: float, least: float) -> float:
        street = self.streets.width(("gutter", k), least, 16.0)
        self.grid.gutter.append(x + street / 2)
        return x + street

    def _place_boxes(self) -> None:
        """Every cell stands in the middle of its column."""
        for spot, cell in self.cells.items():
            left, right = self.grid.column[spot[0]]
            self.start[spot] = (left + right) / 2 - sum(cell.span) / 2
            for n in cell.members:
                self.nodes[n].x, self.nodes[n].y = self.start[spot] + cell.u[n], self.v[n]
        for node in (node for node in self.nodes if node.kind == "gap"):
            node.x = sum(self.grid.column[node.spot[0]]) / 2
            node.y, node.h = (
                (self.grid.floor + self.grid.ceiling) / 2,
                self.grid.ceiling - self.grid.floor,
            )

    # -- the sheet -----------------------------------------------------------------------------

    def _finish(self) -> Sheet:
        """Turn `v`, which runs upwards, into `y`, which runs downwards; draw the frames."""
        top = self.grid.top + MARGIN
        for node in self.nodes:
            node.y = top - node.y
        for edge in self.graph.edges:
            edge.route = [(x, top - v) for x, v in edge.route]
        columns = enumerate(self.graph.columns)
        frames = [self._frame(k, top) for k, c in columns if c.kind not in ("gap", "delay")]
        return Sheet(self.graph, self.grid.right + MARGIN, top + MARGIN, frames)

    def _frame(self, k: int, top: float) -> Frame:
        column, (left, right) = self.graph.columns[k], self.grid.column[k]
        ceiling = top - self.grid.tops.get(k, self.grid.ceiling)
        frame = Frame(column.label, left, ceiling, right, top - self.grid.floor, column=column)
        for across, band in self.cells:
            layer = literal(self.graph.bands[band], 28) if column.kind == "step" else ""
            if across == k and layer:
                low, high = self.grid.bands[band]
                frame.inner.append(Frame(layer, left + 5, top - high, right - 5, top - low))
        return frame
