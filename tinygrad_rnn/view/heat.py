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
        raise ValueError(f"draw: words: expected one for each of {steps} steps, got {len(words)}")
    title, labels = literal(title, 90), (literal(x_label, 40), literal(y_label, 40))
    chart = _Map(rows, columns, words)
    chart.axes(title, *labels)
    chart.cells(values, _units(values, rows, columns) if relative else np.ones(len(rows)))
    note = "each row relative to its own step" if relative else "as they are"
    chart.canvas.text(20, 46, note, colour=look.FAINT)
    scale(chart.canvas, LEFT, TOP + chart.side * len(rows) + 34)
    return Picture(chart.canvas, f"heat map: {len(rows)} × {len(columns)}", title or "heat map")


def _units(values: np.ndarray, rows: list[int], columns: list[int]) -> np.ndarray:
    """What each row is measured in: 1 where there is nothing."""
    units = np.ones(len(rows))
    for i, (row, t) in enumerate(zip(values, rows, strict=True)):
        own = row[columns.index(t)] if t in columns else 0.0
        usual = row[np.isfinite(row)].max(initial=0.0)
        units[i] = (own if 0 < own < math.inf else usual) or 1.0
    return units


class _Map:
    """The work on one heat map."""

    def __init__(self, rows: list[int], columns: list[int], words: Sequence[str]):
        self.rows, self.columns, self.words = rows, columns, words
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
        across, down = ([self._word(t) for t in times] for times in (self.columns, self.rows))
        widest = max((width(word, 11) for word in across), default=0.0)
        for j in range(0, len(across), self._every(widest + 4)):
            canvas.text(LEFT + (j + 0.5) * side, TOP - 5, across[j], at="middle")
        for i in range(0, len(down), self._every(13)):
            canvas.text(LEFT - 6, TOP + (i + 0.5) * side + 4, down[i], at="end")

    def _every(self, room: float) -> int:
        """How many cells apart labels are that need so much room: 1, 2, 5, 10, ..."""
        rounded = (m * 10**power for power in range(6) for m in (1, 2, 5))
        return next(n for n in rounded if n * self.side >= room)

    def _word(self, t: int) -> str:
        return literal(self.words[t], 7) if 0 <= t < len(self.words) else str(t)

    def cells(self, values: np.ndarray, units: np.ndarray) -> None:
        """A box for each number that is not 0."""
        for i, j in np.argwhere(values):
            value, share = values[i, j], values[i, j] / units[i]
            told = f"t={self.rows[i]}, k={self.columns[j]}: {number(value)}"
            self._cell(LEFT + j * self.side, TOP + i * self.side, share, told)

    def _cell(self, x: float, y: float, share: float, words: str) -> None:
        canvas, side, good = self.canvas, self.side, math.isfinite(share)
        place = look.place_of(share) if good else 0.0
        fill = look.shade(place) if good else HATCHED
        line, told = (look.INNER_LINE, words) if side > TOLD else (NONE, "")
        canvas.box(x, y, side, side, fill, line, 0.5, kind="cell", title=told)
        if side >= LEGIBLE:
            x, y, size = x + side / 2, y + side / 2, 9.5 if good else 11
            if not good:
                canvas.box(x - 15, y - 8, 30, 16, look.PAPER)
            ink = look.ink_on(place) if good else look.ALARM
            canvas.text(x, y + size / 3, brief(share), size, colour=ink, at="middle")
