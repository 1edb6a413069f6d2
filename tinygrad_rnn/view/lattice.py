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
from typing import TypeAlias

Item: TypeAlias = tuple[str, int, int]  # ("box" or "out" or "in", whose, row)

LANE = 5.0  # half of the room a lane takes
SPACE = 12.0  # between two neighbours of a row
LANES = 6_000  # beyond this many, long edges go without
SWEEPS = 8
MANY = 2_000  # items; beyond this many, half of the sweeps must do


@dataclass
class Lattice:
    """What is to be arranged, and the answer: `order`, `u` and `width`.

    rows, links: the row of each box, and pairs (from, to) with the row of `from` the smaller.
    sides: how far each box reaches from its centre, to the left and to the right.
    enters, exits: boxes reached from before row 0, or looked at from beyond the last row.
    pulls: boxes that something left (-1) or right (+1) of the cell wants to reach.
    light: boxes that do not bend the line of the others: leaves.
    """

    rows: list[int]
    links: list[tuple[int, int]]
    sides: list[tuple[float, float]]
    enters: set[int] = field(default_factory=set)
    exits: set[int] = field(default_factory=set)
    pulls: dict[int, int] = field(default_factory=dict)
    light: set[int] = field(default_factory=set)
    order: list[list[Item]] = field(default_factory=list)
    u: dict[Item, float] = field(default_factory=dict)
    width: float = 0.0
    up: defaultdict[Item, list[Item]] = field(default_factory=lambda: defaultdict(list))
    down: defaultdict[Item, list[Item]] = field(default_factory=lambda: defaultdict(list))

    @property
    def sweeps(self) -> int:
        """How often rows are gone through: the more there is on them, the less often."""
        return SWEEPS // 2 if sum(map(len, self.order)) > MANY else SWEEPS

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
        free = LANES
        for a, row in enumerate(self.rows):
            free -= reach[a] - row
            if free >= 0:
                self._lane(
                    [("box", a, row)] + [("out", a, r) for r in range(row + 1, reach[a] + 1)]
                )
        for b in sorted(self.enters):
            free -= self.rows[b]
            if free >= 0:
                lane: list[Item] = [("in", b, r) for r in range(self.rows[b])]
                self._lane([*lane, ("box", b, self.rows[b])])
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
        for sweep in range(self.sweeps):
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
        for row in self.order:  # what is pulled to the left should not look over a box
            for k, item in enumerate(row):
                if item[0] == "box" and item[1] in self.pulls:
                    total += k > 0 if self.pulls[item[1]] < 0 else k < len(row) - 1
        return total

    # -- places --------------------------------------------------------------------------------

    def _settle(self) -> None:
        for row in self.order:
            gaps = self._gaps(row)
            for item, u in zip(row, nearest([0.0] * len(row), [1.0] * len(row), gaps), strict=True):
                self.u[item] = u
        sweeps = self.sweeps
        for sweep in range(4 * sweeps):
            near = [self.down, self.up][sweep % 2]
            middles = self._lane_middles() if sweep > sweeps else {}
            for row in self.order if sweep % 2 == 0 else self.order[::-1]:
                self._pull_row(row, near, middles)
        self._straighten()
        self._close_strips()
        self._normalise()

    def _lane_middles(self) -> dict[tuple[str, int], float]:
        """Return where each lane would like to run: straight, half way between what it connects."""
        ends: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        for a, b in self.links:
            here, there = ("box", a, self.rows[a]), ("box", b, self.rows[b])
            ends["out", a] += [self.u[here], self.u[there]]
        for a in self.exits:
            ends["out", a].append(self.u["box", a, self.rows[a]])
        for b in self.enters:
            ends["in", b].append(self.u["box", b, self.rows[b]])
        return {lane: sum(us) / len(us) for lane, us in ends.items()}

    def _pull_row(
        self, row: list[Item], near: dict[Item, list[Item]], middles: dict[tuple[str, int], float]
    ) -> None:
        """Move the items of a row towards their neighbours before it, or after it."""
        wanted, weights = [], []
        for item in row:
            if item[:2] in middles:
                wanted.append(middles[item[:2]])
                weights.append(4.0)
                continue
            others = self._guides(item, near)
            wanted.append(_middle([self.u[other] for other in others]) if others else self.u[item])
            is_light = item[0] == "box" and item[1] in self.light
            weights.append(0.1 if is_light or not others else 1.0 + len(others))
        for item, u in zip(row, nearest(wanted, weights, self._gaps(row)), strict=True):
            self.u[item] = u

    def _guides(self, item: Item, near: dict[Item, list[Item]]) -> list[Item]:
        """The neighbours an item lines up with: ops before leaves, boxes before lanes."""
        others = near.get(item, [])
        boxes = [o for o in others if o[0] == "box"]
        return [o for o in boxes if o[1] not in self.light] or boxes or others

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

    def _close_strips(self) -> None:
        """Move the two sides together where no row has anything."""
        end, moved = -float("inf"), 0.0
        for item in sorted(self.u, key=lambda item: self.u[item] - self.reach(item)[0]):
            left, right = self.reach(item)
            moved += max(0.0, self.u[item] - left - end - SPACE) if end > -float("inf") else 0.0
            end = max(end, self.u[item] + right)
            self.u[item] -= moved

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


def _middle(places: list[float]) -> float:
    """The median; between the two middle ones when their number is even."""
    places = sorted(places)
    return (places[(len(places) - 1) // 2] + places[len(places) // 2]) / 2


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
