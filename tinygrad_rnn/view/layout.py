"""What every layout shares: sizes of boxes, arrangement of a cell, edges within a cell."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from .cell import Cell
from .graph import Column, Edge, Graph, Node
from .lattice import Lattice
from .route import Grid, Plan, Streets
from .text import width

FONT, SMALL = 12.0, 10.0  # sizes of letters
TALL, LOW, CHIP = 40.0, 26.0, 18.0  # heights of boxes
ROOM = 30.0  # between two rows of boxes
PAD = 10.0  # between a frame and what is in it
HEADER = 20.0  # what the label of a frame takes


@dataclass
class Frame:
    """A rectangle around a column, or around one layer in a column; y runs downwards."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    inner: list[Frame] = field(default_factory=list)
    column: Column | None = None  # if it is around one


@dataclass
class Sheet:
    """A graph whose nodes and edges have coordinates, and the frames around its columns."""

    graph: Graph
    width: float
    height: float
    frames: list[Frame]
    sideways: bool = False  # whether depth runs to the right

    def move(self, right: float, down: float) -> None:
        """Everything on it, by so much."""
        for node in self.graph.nodes:
            node.x, node.y = round(node.x + right, 1), round(node.y + down, 1)
        for edge in self.graph.edges:
            edge.route = [(x + right, y + down) for x, y in edge.route]
        for frame in [f for outer in self.frames for f in (outer, *outer.inner)]:
            frame.left, frame.right = frame.left + right, frame.right + right
            frame.top, frame.bottom = frame.top + down, frame.bottom + down


class Layout:
    """The work on one sheet.

    A cell is laid out in `u` along its rows and `v` across them, in the direction of flow;
    """

    def __init__(self, graph: Graph):
        self.graph, self.nodes = graph, graph.nodes
        self.cells = self._gather_cells()
        self.cell_of = {n: cell for cell in self.cells.values() for n in cell.members}
        self._size_boxes()
        self.v: dict[int, float] = {}  # where each node's centre is, across the rows
        self.rims: dict[tuple[Hashable, int], tuple[float, float]] = {}  # of a row of a cell
        self.streets, self.grid = Streets(), Grid()
        self.plans: dict[int, Plan] = {}  # of edges between cells
        self.start: dict[tuple[int, int], float] = {}  # the left end of each cell

    def _gather_cells(self) -> dict[tuple[int, int], Cell]:
        members: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        inner: defaultdict[tuple[int, int], list[Edge]] = defaultdict(list)
        for n, node in enumerate(self.nodes):
            if node.kind != "gap":
                members[node.spot].append(n)
        for edge in self.graph.edges:
            spot = self.nodes[edge.source].spot
            if spot == self.nodes[edge.target].spot and not edge.hidden:
                inner[spot].append(edge)
        cells = {spot: Cell(self.graph, spot, members[spot], inner[spot]) for spot in members}
        self._level_delays(cells)
        return cells

    def _level_delays(self, cells: dict[tuple[int, int], Cell]) -> None:
        """A delay stands as high as the lowest box that reads it, or above the delay below it."""
        for spot, cell in cells.items():
            if self.graph.columns[spot[0]].kind != "delay":
                continue
            rows: dict[int, int] = {}
            for edge in self.graph.edges:
                reader = self.nodes[edge.target].spot
                if edge.source in cell.row and reader[1] == spot[1] and reader != spot:
                    row = cells[reader].row.get(edge.target, 0)
                    rows[edge.source] = min(rows.get(edge.source, row), row)
            free = 0
            for n in sorted(cell.row, key=lambda n: (rows.get(n, 0), n)):
                cell.row[n] = max(free, rows.get(n, 0))
                free = cell.row[n] + 1

    def _size_boxes(self) -> None:
        """Boxes in one kind of column are equally wide, and so are all chips: they line up."""
        widths: defaultdict[str, float] = defaultdict(float)
        for node in self.nodes:
            first = (SMALL, 12) if node.chip else (FONT, 14)
            words = [(node.lines[0], *first), (node.order, 9, 40 * (node.joins > 1))]
            words += [(line, SMALL, 14) for line in node.lines[1:]]
            need = max(width(text, size) + room for text, size, room in words)
            widths[self._family(node)] = max(widths[self._family(node)], need)
        most = max((len(node.states) for node in self.nodes), default=0) or 1
        for node in self.nodes:
            least = 28.0 if node.chip else 50.0
            node.w = math.ceil(max(least, widths[self._family(node)]) / 0.2) * 0.2
            node.h = CHIP if node.chip else TALL if len(node.lines) > 1 else LOW
            if self.graph.level == "cell" and len(node.ids) > 1:
                node.h = max(TALL, most * 16.0 + 8)

    def _family(self, node: Node) -> str:
        if node.chip:
            return node.kind
        return self.graph.columns[node.spot[0]].kind + " of several" * (len(node.ids) > 1)

    def _arrange(self, cells: list[Cell]) -> None:
        """Make one arrangement that has room for what any of these equal cells needs."""
        first = cells[0]
        sides = []
        for k, n in enumerate(first.boxes):
            left = max(cell.reach(cell.boxes[k]) for cell in cells)
            sides.append((left, self.nodes[n].w / 2))
        lattice = Lattice([first.row[n] for n in first.boxes], list(first.links()), sides)
        for cell in cells:
            lattice.enters |= {cell.index[n] for n in cell.ports.enters}
            lattice.exits |= {cell.index[n] for n in cell.ports.exits}
            lattice.pulls |= {cell.index[n]: side for n, side in cell.ports.pulls.items()}
        lattice.arrange()
        for cell in cells:
            cell.take(lattice)

    def _stand(self, cell: Cell, centres: list[float], heights: list[float]) -> None:
        """Put the boxes of a cell on rows with these centres and heights."""
        for row, (v, height) in enumerate(zip(centres, heights, strict=False)):
            self.rims[cell.spot, row] = v - height / 2, v + height / 2
        for n, row in cell.row.items():
            self.v[n] = centres[row]
            chips = cell.docks[n]
            step = max((self.nodes[c].h for c in chips), default=0.0) + 4
            for k, chip in enumerate(chips):
                self.v[chip] = centres[row] - step * (k - (len(chips) - 1) / 2)

    def _row_height(self, cell: Cell, row: int) -> float:
        heights = [LOW]
        for n in cell.boxes:
            if cell.row[n] == row:
                chips = cell.docks[n]
                heights += [self.nodes[n].h, sum(self.nodes[c].h + 4 for c in chips) - 4]
        return max(heights)

    # -- edges within a cell -------------------------------------------------------------------

    def inner_route(self, cell: Cell, edge: Edge, port: float) -> list[tuple[float, float]]:
        """The route from a box, through the lanes, into the next box, in (u, v), bends angular."""
        a, b = edge.source, edge.target
        if a in cell.docks[b]:
            start, end = cell.u[a] + self.nodes[a].w / 2, cell.u[b] - self.nodes[b].w / 2
            reach = self.nodes[b].h / 2 - 5  # level, if that is on the box
            height = min(max(self.v[a], self.v[b] - reach), self.v[b] + reach)
            return [(start, self.v[a]), (end, height)]
        points = [(cell.u[a], self.v[a] + self.nodes[a].h / 2)]
        if a in cell.row:
            points.append((cell.u[a], self.rims[cell.spot, cell.row[a]][1]))
            lanes, what, whose = range(cell.row[a] + 1, cell.row[b]), "out", cell.index[a]
        else:
            lanes, what, whose = range(cell.row[b]), "in", cell.index[b]
        for row in lanes:
            u = cell.lattice.u.get((what, whose, row))
            if u is not None and u == points[-1][0] and len(points) > 1:
                points[-1] = u, self.rims[cell.spot, row][1]  # further along the same line
            elif u is not None:
                points += [(u, rim) for rim in self.rims[cell.spot, row]]
        rim, side = self.rims[cell.spot, cell.row[b]][0], self.v[b] - self.nodes[b].h / 2
        return [*points, (port, rim), (port, side)]

    def came_from(self, cell: Cell, edge: Edge) -> float:
        """The `u` from which an edge within a cell comes to its target: the order of the ports."""
        a, b = edge.source, edge.target
        before = cell.row[b] - 1
        if a in cell.row:
            return cell.lattice.u.get(("out", cell.index[a], before), cell.u[a])
        return cell.lattice.u.get(("in", cell.index[b], before), cell.u[a])

    def ports(self, box: int, keys: list[tuple[float, int]]) -> dict[int, float]:
        """Return where on the rim of a box its edges end: those from the left, left."""
        step = min(24.0, self.nodes[box].w / (len(keys) + 1))
        middle = self.cell_of[box].u[box]
        return {
            e: middle + step * (k - (len(keys) - 1) / 2) for k, (_, e) in enumerate(sorted(keys))
        }
