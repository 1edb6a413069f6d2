"""The layout of an unrolled graph: time to the right, layers upwards, depth within a step upwards.

Nothing is solved for: a cell is arranged by itself (`lattice`), equal cells share one arrangement,
cells stand on a grid, and an edge between cells follows the streets between them: out of the side
of its box or up through its cell, along a gutter between two columns, along a bus between two
layers. Each street is as wide as the traffic on it. The work is linear in what is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator

from .canvas import Point
from .cell import Cell
from .graph import Edge, Graph, Node
from .layout import FONT, HEADER, MARGIN, PAD, ROOM, SMALL, Frame, Layout, Sheet
from .route import Plan, Streets, plan_between
from .text import literal, width

RAIL = 16.0  # between the arrows of two states


class Unrolled(Layout):
    """The work on one sheet of an unrolled graph; `v` runs upwards until the sheet is finished."""

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.streets = Streets()
        self.gap_in = {node.spot[0]: node for node in graph.nodes if node.kind == "gap"}
        self.plans: dict[int, Plan] = {}
        self.level_start: set[int] = set()  # edges that leave their box level, at its side
        self.level_end: set[int] = set()
        self.channel: dict[tuple[tuple[int, int], int], float] = {}  # the middle, below a row
        self.bus: list[float] = []
        self.gutter: list[float] = []
        self.bands: list[tuple[float, float]] = []  # the bottom and top of each layer's frame
        self.column: list[tuple[float, float]] = []  # the left and right of each

    def sheet(self) -> Sheet:
        """Do all of the work."""
        self._plan_edges()
        self._arrange_cells()
        self._count_traffic()
        self._place_rows()
        self._place_columns()
        self._place_boxes()
        self._route()
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
                    cell_of[edge.source].exits.add(edge.source)
                if plan.arrive == "lane":
                    cell_of[edge.target].enter(edge.target)
                elif plan.arrive == "near":
                    cell_of[edge.target].pulls[edge.target] = -plan.side
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
                    self.level_start.add(e)
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
                    self.level_end.add(e)
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
        self.floor = self.streets.width(("bus", 0), 0.0, 16.0)
        self.bus.append(self.floor / 2)
        v = self.floor + (PAD if named else 0.0)
        for band in range(bands):
            cells = [c for c in self.cells.values() if c.is_step and c.spot[1] == band]
            top = self._place_band(cells, v) + (HEADER - 6 if named else 0.0)
            self.bands.append((v, top))
            street = self.streets.width(("bus", band + 1), 14.0 if named else 0.0, 14.0)
            if band < bands - 1:
                self.bus.append(top + street / 2)
                v = top + street
        self.ceiling = top + HEADER + (4.0 if named else -PAD)
        street = self.streets.width(("bus", bands), 0.0, 16.0)
        self.bus.append(self.ceiling + street / 2)
        self.top = self.ceiling + street
        self.tops = {
            c.spot[0]: self._place_band([c], self.floor) + HEADER - PAD / 2
            for c in self.cells.values()
            if not c.is_step
        }
        self.top = max([self.top, *self.tops.values()])

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
            self.channel[cell.spot, row] = v + wide / 2
        return v + wide

    def _place_columns(self) -> None:
        """Put gutters and columns side by side; every step is equally wide."""
        columns = self.graph.columns
        wide = [0.0] * len(columns)
        for cell in self.cells.values():
            k = cell.spot[0]
            layer = literal(self.graph.bands[cell.spot[1]], 28) if columns[k].kind == "step" else ""
            label = max(width(columns[k].label, FONT + 1), width(layer, SMALL)) + 18
            wide[k] = max(wide[k], cell.right - cell.left + 2 * PAD, label)
        steps = max(w for w, column in zip(wide, columns, strict=True) if column.kind == "step")
        x = MARGIN
        for k, column in enumerate(columns):
            x = self._place_gutter(k, x, 18.0 if k else 0.0)
            gap = self.gap_in[k].w if column.kind == "gap" else 0.0
            size = steps if column.kind == "step" else gap or wide[k]
            self.column.append((x, x + size))
            x += size
        self.right = self._place_gutter(len(columns), x, 0.0)

    def _place_gutter(self, k: int, x: float, least: float) -> float:
        street = self.streets.width(("gutter", k), least, 16.0)
        self.gutter.append(x + street / 2)
        return x + street

    def _place_boxes(self) -> None:
        """Every cell stands in the middle of its column."""
        self.start: dict[tuple[int, int], float] = {}
        for spot, cell in self.cells.items():
            left, right = self.column[spot[0]]
            self.start[spot] = (left + right) / 2 - (cell.left + cell.right) / 2
            for n in cell.members:
                self.nodes[n].x, self.nodes[n].y = self.start[spot] + cell.u[n], self.v[n]
        for node in self.gap_in.values():
            node.x = sum(self.column[node.spot[0]]) / 2
            node.y, node.h = (self.floor + self.ceiling) / 2, self.ceiling - self.floor

    # -- routes --------------------------------------------------------------------------------

    def _route(self) -> None:
        ports = self._all_ports()
        for e, edge in enumerate(self.graph.edges):
            if e in self.plans:
                edge.route = list(self._follow(e, edge, self.plans[e], ports.get(e, 0.0)))
            else:
                cell = self.cell_of[edge.source]
                start = self.start[cell.spot]
                points = self._inner_route(cell, edge, ports.get(e, 0.0))
                edge.route = [(start + u, v) for u, v in points]

    def _all_ports(self) -> dict[int, float]:
        """Where each edge that comes from below meets its box, as `u`."""
        keys: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        for e, edge in enumerate(self.graph.edges):
            cell, plan = self.cell_of.get(edge.target), self.plans.get(e)
            if cell is None or e in self.level_end or edge.source in cell.docks[edge.target]:
                continue
            if plan is None:
                key = self._came_from(cell, edge)
            elif plan.arrive == "near":
                key = -plan.side * float("inf")
            else:
                key = self._lane(cell, edge.target, "in", cell.row[edge.target] - 1)
            keys[edge.target].append((key, e))
        return {e: u for box in keys for e, u in self._ports(box, keys[box]).items()}

    def _lane(self, cell: Cell, n: int, what: str, row: int) -> float:
        return cell.lattice.u.get((what, cell.index[n], row), cell.u[n])

    def _follow(self, e: int, edge: Edge, plan: Plan, port: float) -> Iterator[Point]:
        """The corners of an edge on its way through the streets."""
        x, v = 0.0, 0.0
        for x, v in self._leave(e, edge, plan):
            yield x, v
        for kind, k in plan.streets:
            offset = self.streets.offset((kind, k), plan.net)
            x, v = (self.gutter[k] + offset, v) if kind == "gutter" else (x, self.bus[k] + offset)
            yield x, v
        yield from self._arrive(e, edge, plan, port, x, v)

    def _leave(self, e: int, edge: Edge, plan: Plan) -> Iterator[Point]:
        if plan.leave == "gap":
            gap = self.nodes[edge.source]
            for _, k in plan.streets[:1]:
                yield self._gap_contact(gap, k, self.streets.offset(("bus", k), plan.net), plan)
            return
        cell, n = self.cell_of[edge.source], edge.source
        node, row = self.nodes[n], cell.row[n]
        if e in self.level_start:
            yield node.x + plan.side * node.w / 2, node.y + self._rail(edge)
            return
        aside = (self._rail(edge) if plan.leave == "lane" else 0.0) / 2
        yield node.x - aside, node.y + node.h / 2
        if plan.leave == "near":
            channel = cell.spot, row + 1
            yield node.x, self.channel[channel] + self.streets.offset(channel, plan.net)
            return
        yield node.x - aside, self.rims[cell.spot, row][1]
        for higher in range(row + 1, len(cell.lattice.order)):
            x = self.start[cell.spot] + self._lane(cell, n, "out", higher)
            yield from ((x, rim) for rim in self.rims[cell.spot, higher])

    def _arrive(
        self, e: int, edge: Edge, plan: Plan, port: float, x: float, v: float
    ) -> Iterator[Point]:
        if plan.arrive == "gap":
            yield from self._into_gap(self.nodes[edge.target], plan, x, v)
            return
        cell, node = self.cell_of[edge.target], self.nodes[edge.target]
        row, start = cell.row[edge.target], self.start[cell.spot]
        if e in self.level_end:
            x = x if plan.streets else self._gap_side(edge, plan)
            v = node.y + self._rail(edge)
            yield x, v
            yield node.x - plan.side * node.w / 2, v
            return
        if plan.arrive == "near":
            channel = cell.spot, row
            v = self.channel[channel] + self.streets.offset(channel, plan.net)
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
            return gap.x + offset, self.floor
        if k == len(self.graph.bands):
            return gap.x + offset, self.ceiling
        return gap.x + way * plan.side * gap.w / 2, self.bus[k] + offset

    # -- the sheet -----------------------------------------------------------------------------

    def _finish(self) -> Sheet:
        """Turn `v`, which runs upwards, into `y`, which runs downwards; draw the frames."""
        top = self.top + MARGIN
        for node in self.nodes:
            node.y = top - node.y
        for edge in self.graph.edges:
            edge.route = [(x, top - v) for x, v in edge.route]
        columns = enumerate(self.graph.columns)
        frames = [self._frame(k, top) for k, c in columns if c.kind not in ("gap", "delay")]
        return Sheet(self.graph, self.right + MARGIN, top + MARGIN, frames)

    def _frame(self, k: int, top: float) -> Frame:
        column, (left, right) = self.graph.columns[k], self.column[k]
        ceiling = self.tops.get(k, self.ceiling)
        frame = Frame(column.label, left, top - ceiling, right, top - self.floor, [], [])
        frame.column = column
        for spot, cell in self.cells.items():
            layer = literal(self.graph.bands[spot[1]], 28) if column.kind == "step" else ""
            if spot[0] == k and layer:
                low, high = self.bands[spot[1]]
                rim = left + 5, top - high, right - 5, top - low
                frame.inner.append(Frame(layer, *rim, list(cell.members)))
            elif spot[0] == k:
                frame.members += cell.members
        return frame
