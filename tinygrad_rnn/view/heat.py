"""A heat map of sizes over time, such as what the loss at t feels of step k."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from . import look
from .canvas import DOTTED, HATCHED, NONE, Canvas
from .figure import Picture
from .legend import scale
from .text import brief, literal, number, width

LEFT, TOP, RIGHT = 76.0, 78.0, 28.0  # around the cells
WIDE = 560.0  # of all cells together, unless there are few
LARGEST, LEGIBLE = 46.0, 30.0  # a cell's side at most, and from where on a number fits in it
TOLD = 8.0  # from where on a cell can be pointed at


def heat_map(
    values: np.ndarray,
    *,
    rows: Iterable[int],
    columns: Iterable[int],
    relative: bool = True,
    words: Sequence[str] = (),
    title: str = "",
    x_label: str = "step k",
    y_label: str = "loss at t",
) -> Picture:
    """Draw sizes (R, C), each row relative to that of its own step, on the one scale of norms.

    White is 1, blue is smaller down to 1e-6, red larger up to 1e6; where a 0 is, to which nothing
    comes, as the future, it is dotted; NaN and infinities are hatched. rows and columns: their
    times. relative: divide a row by its value at its own step, or by its largest where that is
    none; else white is the number 1. words: of a text, for the axes. Raises ValueError for shapes
    that differ.
    """
    values, rows, columns = np.asarray(values, float), list(map(int, rows)), list(map(int, columns))
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"heat_map: values: expected shape {(len(rows), len(columns))}, got {values.shape}"
        )
    steps = max([*rows, *columns], default=-1) + 1
    if 0 < len(words) < steps:
        raise ValueError(
            f"heat_map: words: expected one for each of {steps} steps, got {len(words)}"
        )
    title, labels = literal(title, 90), (literal(x_label, 40), literal(y_label, 40))
    chart = _Map(values, rows, columns, list(words))
    chart.axes(title, *labels)
    chart.cells(relative)
    note = "each row relative to its own step" if relative else "as they are"
    chart.canvas.text(20, 46, note, colour=look.FAINT)
    scale(chart.canvas, LEFT, TOP + chart.side * len(rows) + 34)
    return Picture(chart.canvas, f"heat map: {len(rows)} × {len(columns)}", title or "heat map")


class _Map:
    """The work on one heat map."""

    def __init__(self, values: np.ndarray, rows: list[int], columns: list[int], words: list[str]):
        self.values, self.words, self.rows, self.columns = values, words, rows, columns
        self.side = min(LARGEST, WIDE / max(1, len(columns), len(rows)))
        wide, high = (self.side * len(times) for times in (columns, rows))
        self.canvas = Canvas(LEFT + wide + RIGHT, TOP + high + 92)
        self.canvas.box(LEFT, TOP, wide, high, DOTTED, look.INNER_LINE, kind="none")

    def axes(self, title: str, x_label: str, y_label: str) -> None:
        """What is written around the cells."""
        canvas, side = self.canvas, self.side
        canvas.text(20, 28, title, 15, bold=True)
        canvas.text(LEFT, TOP - 18, x_label, bold=True)
        canvas.text(LEFT - 6, TOP - 5, y_label, bold=True, at="end")
        widest = max((width(self._word(t), 11) for t in self.columns), default=0.0)
        for j in range(0, len(self.columns), self._every(widest + 4)):
            canvas.text(LEFT + (j + 0.5) * side, TOP - 5, self._word(self.columns[j]), at="middle")
        for i in range(0, len(self.rows), self._every(13)):
            canvas.text(LEFT - 6, TOP + (i + 0.5) * side + 4, self._word(self.rows[i]), at="end")

    def _every(self, room: float) -> int:
        """How many cells apart labels are that need so much room: 1, 2, 5, 10, ..."""
        rounded = (m * 10**power for power in range(6) for m in (1, 2, 5))
        return next(n for n in rounded if n * self.side >= room)

    def _word(self, t: int) -> str:
        return literal(self.words[t], 7) if 0 <= t < len(self.words) else str(t)

    def cells(self, relative: bool) -> None:
        """A box for each number that is not 0."""
        for i, t in enumerate(self.rows):
            unit = self._unit(i, t) if relative else 1.0
            for j, k in enumerate(self.columns):
                value = self.values[i, j]
                if value != 0:
                    self._cell(
                        i, j, value / unit if unit else value, f"t={t}, k={k}: {number(value)}"
                    )

    def _unit(self, i: int, t: int) -> float:
        """What a row is measured in."""
        row = self.values[i]
        own = row[self.columns.index(t)] if t in self.columns else 0.0
        good = row[np.isfinite(row)]
        return float(own if own > 0 and math.isfinite(own) else good.max(initial=0.0))

    def _cell(self, i: int, j: int, share: float, words: str) -> None:
        x, y, side = LEFT + j * self.side, TOP + i * self.side, self.side
        good = math.isfinite(share)
        place = look.place_of(share) if good else 0.0
        fill, large = look.shade(place) if good else HATCHED, side > TOLD
        line, told = (look.INNER_LINE, words) if large else (NONE, "")
        self.canvas.box(x, y, side, side, fill, line, 0.5, kind="cell", title=told)
        if side >= LEGIBLE:
            middle, size = x + side / 2, 9.5 if good else 11
            if not good:
                self.canvas.box(middle - 15, y + side / 2 - 8, 30, 16, look.PAPER)
            ink = look.ink_on(place) if good else look.ALARM
            self.canvas.text(middle, y + side / 2 + size / 3, brief(share), size, colour=ink,
                             at="middle")  # fmt: skip
