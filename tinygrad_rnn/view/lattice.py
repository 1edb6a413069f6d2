"""One cell's boxes on rows by depth, in an order with few crossings, drawn close together.

The classic layered drawing (Sugiyama, Tagawa & Toda 1981): rows by longest path, a lane through
every row that a long edge passes, barycentres against crossings, then places as close to the
neighbours as the widths allow. `u` runs along a row; rows are counted in the direction of flow.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TypeAlias

Item: TypeAlias = tuple[str, int, int]  # ("box" or "out" or "in", whose, row)

LANE = 5.0  # half of the room a lane takes
SPACE = 12.0  # between two neighbours of a row
LANES = 6_000  # beyond this many, long edges go without
SWEEPS = 4


@dataclass
class Lattice:
    """What is to be arranged, and the answer: `order`, `u` and `width`.

    rows, links: the row of each box, and pairs (from, to) with the row of `from` the smaller.
    sides: how far each box reaches from its centre, to the left and to the right.
    enters, exits: boxes reached from before row 0, or looked at from beyond the last row.
    pulls: boxes that something left (-1) or right (+1) of the cell wants to reach.
    """

    rows: list[int]
    links: list[tuple[int, int]]
    sides: list[tuple[float, float]]
    enters: set[int] = field(default_factory=set)
    exits: set[int] = field(default_factory=set)
    pulls: dict[int, int] = field(default_factory=dict)
    order: list[list[Item]] = field(default_factory=list)
    u: dict[Item, float] = field(default_factory=dict)
    width: float = 0.0
    up: defaultdict[Item, list[Item]] = field(default_factory=lambda: defaultdict(list))
    down: defaultdict[Item, list[Item]] = field(default_factory=lambda: defaultdict(list))

    def arrange(self) -> None:
        """Fill in the answer."""
        self.order = [[] for _ in range(max(self.rows, default=-1) + 1)]
        for i, row in enumerate(self.rows):
            self.order[row].append(("box", i, row))
        self._open_lanes()
        self._uncross()
        self._settle()

    # -- lanes ---------------------------------------------------------------------------------

    def _open_lanes(self) -> None:
        reach = list(self.rows)
        for a, b in self.links:
            reach[a] = max(reach[a], self.rows[b] - 1)
        for a in self.exits:
            reach[a] = len(self.order) - 1
        lanes = [("out", a, row + 1, reach[a] + 1) for a, row in enumerate(self.rows)]
        lanes += [("in", b, 0, self.rows[b]) for b in sorted(self.enters)]
        free = LANES
        for what, i, start, end in lanes:
            free -= end - start
            if free >= 0:
                lane: list[Item] = [(what, i, r) for r in range(start, end)]
                box = ("box", i, self.rows[i])
                self._lane([box, *lane] if what == "out" else [*lane, box])
        for a, b in self.links:
            self._join(self._last(a, self.rows[b] - 1), ("box", b, self.rows[b]))

    def _lane(self, lane: list[Item]) -> None:
        for item in lane:
            if item[0] != "box":
                self.order[item[2]].append(item)
        for below, above in pairwise(lane):
            self._join(below, above)

    def _join(self, below: Item, above: Item) -> None:
        self.up[below].append(above)
        self.down[above].append(below)

    def _last(self, a: int, row: int) -> Item:
        """Return where the edges of box `a` to the row after this one leave from."""
        lane = ("out", a, row)
        return lane if lane in self.down else ("box", a, self.rows[a])

    # -- order ---------------------------------------------------------------------------------

    def _uncross(self) -> None:
        """Sort each row by where its neighbours are, there and back; keep the best of all."""
        best, fewest = [list(row) for row in self.order], self._crossings()
        for sweep in range(SWEEPS):
            near, rows = (self.down, self.order) if sweep % 2 == 0 else (self.up, self.order[::-1])
            for row, before in zip(rows[1:], rows, strict=False):
                self._sort(row, before, near)
            if (crossings := self._crossings()) < fewest:
                best, fewest = [list(row) for row in self.order], crossings
        self.order = best

    def _sort(self, row: list[Item], before: list[Item], near: dict[Item, list[Item]]) -> None:
        place = {item: float(k) for k, item in enumerate(before)}
        wish = {}
        for k, item in enumerate(row):
            places = [place[other] for other in near.get(item, ()) if other in place]
            if item[0] == "box" and item[1] in self.pulls:
                places.append(-1.0 if self.pulls[item[1]] < 0 else float(len(before)))
            wish[item] = sum(places) / len(places) if places else float(k)
        row.sort(key=wish.__getitem__)

    def _crossings(self) -> int:
        """How many pairs of edges between neighbouring rows cross."""
        total = 0
        for row, above in zip(self.order, self.order[1:], strict=False):
            place = {item: k for k, item in enumerate(above)}
            passed: list[int] = []
            for item in row:
                ends = [place[other] for other in self.up[item] if other in place]
                total += sum(len(passed) - bisect_right(passed, end) for end in ends)
                for end in ends:
                    insort(passed, end)
        return total

    # -- places --------------------------------------------------------------------------------

    def _settle(self) -> None:
        for row in self.order:
            self._place(row, [0.0] * len(row), [1.0] * len(row))
        for sweep in range(2 * SWEEPS):
            near = [self.down, self.up][sweep % 2]
            for row in self.order if sweep % 2 == 0 else self.order[::-1]:
                others = [near.get(item, []) for item in row]
                wanted = [
                    median(self.u[other] for other in around) if around else self.u[item]
                    for item, around in zip(row, others, strict=True)
                ]
                self._place(row, wanted, [1.0 + len(o) if o else 0.1 for o in others])
        self._straighten()
        self._normalise()

    def _place(self, row: list[Item], wanted: list[float], weights: list[float]) -> None:
        """Move the items of a row as near to where they are wanted as there is room."""
        self.u |= zip(row, nearest(wanted, weights, self._gaps(row)), strict=True)

    def _straighten(self) -> None:
        """Let a lane run straight where it has room in all of its rows."""
        room: dict[tuple[str, int], list[tuple[float, float, Item]]] = defaultdict(list)
        for row in self.order:
            gaps = [0.0, *self._gaps(row), 0.0]
            ends = [-float("inf"), *(self.u[item] for item in row), float("inf")]
            for k, item in enumerate(row):
                room[item[:2]].append((ends[k] + gaps[k], ends[k + 2] - gaps[k + 1], item))
        for (what, _), places in room.items():
            low, high = max(p[0] for p in places), min(p[1] for p in places)
            if what != "box" and low <= high:
                u = min(max(self.u[places[len(places) // 2][2]], low), high)
                self.u.update((item, u) for _, _, item in places)

    def _gaps(self, row: list[Item]) -> list[float]:
        return [
            self.reach(a)[1] + (SPACE if a[0] == b[0] == "box" else 8.0) + self.reach(b)[0]
            for a, b in pairwise(row)
        ]

    def reach(self, item: Item) -> tuple[float, float]:
        """How far an item reaches to the left and to the right of its `u`."""
        what, i, _ = item
        return self.sides[i] if what == "box" else (LANE, LANE)

    def _normalise(self) -> None:
        start = min((self.u[item] - self.reach(item)[0] for item in self.u), default=0.0)
        end = max((self.u[item] + self.reach(item)[1] for item in self.u), default=0.0)
        self.u = {item: u - start for item, u in self.u.items()}
        self.width = end - start


def depths(count: int, links: Sequence[tuple[int, int]]) -> list[int]:
    """The longest path to each of so many boxes; links come sorted by where they end."""
    rows = [0] * count
    for a, b in links:
        rows[b] = max(rows[b], rows[a] + 1)
    return rows


def nearest(wanted: list[float], weights: list[float], gaps: list[float]) -> list[float]:
    """The places nearest to the wanted ones (weighted least squares) that keep order and gaps.

    Without its gap every place must only be no smaller than the one before: that is isotonic
    regression, solved by pooling neighbours that disagree (Ayer et al. 1955).
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        mean, total, count = want - offset, weight, 1
        while pools and pools[-1][0] > mean:
            m, w, n = pools.pop()
            mean, total, count = (mean * total + m * w) / (total + w), total + w, count + n
        pools.append((mean, total, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
