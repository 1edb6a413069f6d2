"""A heat map of sizes over time, such as what the loss at t feels of step k, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np

from . import colours
from .figure import Picture
from .svg import FONTS
from .text import literal, number, width

LEFT, TOP, RIGHT, BOTTOM = 76.0, 78.0, 28.0, 96.0  # around the cells
WIDE = 560.0  # of all cells together, unless there are few
LARGEST, LEGIBLE = 46.0, 30.0  # a cell's side at most, and from where on a number fits in it
TOLD = 8.0  # from where on a cell can be pointed at
DECADES = 6  # the scale is the same in every picture: from 1e-6 to 1e6, white at 1
SMALL, LARGE = "#0b4f8a", "#b3321c"  # the ends of the scale: what vanishes, what explodes


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
    """Draw sizes (R, C), each row relative to that of its own step, on one fixed log scale.

    White is 1, blue is smaller down to 1e-6, red larger up to 1e6; a 0, to which nothing comes,
    as the future, is hatched; NaN and infinities are marked. rows and columns: their times.
    relative: divide a row by its value at its own step, or by its largest where that is none; else
    white is the number 1. words: of a text, for the axes. Raises ValueError for shapes that differ.
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
    chart = _Map(values, (rows, columns), list(words))
    chart.relative = relative
    chart.titles = [literal(title, 90), literal(x_label, 40), literal(y_label, 40)]
    return Picture(chart.svg(), f"heat map: {len(rows)} × {len(columns)}")


class _Map:
    """The work on one heat map."""

    relative = True
    titles: Sequence[str] = ("", "", "")

    def __init__(
        self,
        values: np.ndarray,
        times: tuple[list[int], list[int]],
        words: list[str],
    ):
        self.values, self.words = values, words
        self.rows, self.columns = times
        self.side = min(LARGEST, WIDE / max(1, len(self.columns), len(self.rows)))
        self.width = LEFT + RIGHT + max(420.0, self.side * len(self.columns))
        self.height = TOP + BOTTOM + self.side * len(self.rows)

    def svg(self) -> str:
        """The whole document."""
        wide, high = f"{self.width:g}", f"{self.height:g}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
            f'viewBox="0 0 {wide} {high}" role="img" font-family="{FONTS}" font-size="11" '
            f'fill="{colours.INK}"><title>{escape(self.titles[0] or "heat map")}</title>{_HATCH}'
            f'<rect width="{wide}" height="{high}" rx="8" fill="{colours.PAPER}"/>'
        )
        body = [*self._words(), *self._axes(), *self._cells(), *self._scale()]
        return "\n".join([head, *body, "</svg>", ""])

    def _words(self) -> Iterator[str]:
        yield _text(20, 28, self.titles[0], "start", 'font-size="15" font-weight="700"')
        note = "each row relative to its own step" if self.relative else "as they are"
        yield _text(20, 46, note, "start", f'fill="{colours.FAINT}"')
        yield _text(LEFT, TOP - 18, self.titles[1], "start", 'font-weight="600"')
        middle = TOP + self.side * len(self.rows) / 2
        turned = f'font-weight="600" transform="rotate(-90 20 {middle:.1f})"'
        yield _text(20, middle, self.titles[2], "middle", turned)

    def _axes(self) -> Iterator[str]:
        widest = max((width(self._word(t), 11) for t in self.columns), default=0.0)
        for j in range(0, len(self.columns), self._every(widest + 4)):
            yield _text(LEFT + (j + 0.5) * self.side, TOP - 5, self._word(self.columns[j]))
        for i in range(0, len(self.rows), self._every(13)):
            yield _text(LEFT - 6, TOP + (i + 0.5) * self.side + 4, self._word(self.rows[i]), "end")

    def _every(self, room: float) -> int:
        """How many cells apart labels are that need so much room: 1, 2, 5, 10, ..."""
        rounded = (m * 10**power for power in range(6) for m in (1, 2, 5))
        return next(n for n in rounded if n * self.side >= room)

    def _word(self, t: int) -> str:
        return literal(self.words[t], 7) if 0 <= t < len(self.words) else str(t)

    def _cells(self) -> Iterator[str]:
        wide, high = (self.side * len(times) for times in (self.columns, self.rows))
        yield _box(LEFT, TOP, wide, high, 'class="none" fill="url(#none)"', "")
        for i, t in enumerate(self.rows):
            unit = self._unit(i, t)
            for j, k in enumerate(self.columns):
                value = self.values[i, j]
                if value != 0:
                    share = value / unit if unit else value
                    yield from self._cell(i, j, share, f"t={t}, k={k}: {number(value)}")

    def _unit(self, i: int, t: int) -> float:
        """What a row is measured in."""
        if not self.relative:
            return 1.0
        row = self.values[i]
        own = row[self.columns.index(t)] if t in self.columns else 0.0
        good = row[np.isfinite(row)]
        return float(own if own > 0 and math.isfinite(own) else good.max(initial=0.0))

    def _cell(self, i: int, j: int, share: float, words: str) -> Iterator[str]:
        x, y, side = LEFT + j * self.side, TOP + i * self.side, self.side
        fill, ink = _colour(share)
        yield _box(x, y, side, side, f'class="cell" fill="{fill}"', words if side > TOLD else "")
        if side >= LEGIBLE or not math.isfinite(share):
            size = 9.5 if math.isfinite(share) else max(6.0, min(11.0, side))
            yield _text(
                x + side / 2, y + side / 2 + size / 3, _short(share), "middle",
                f'font-size="{size:g}" fill="{ink}"',
            )  # fmt: skip

    def _scale(self) -> Iterator[str]:
        """The legend: the colours, from what vanishes to what explodes, and the hatching."""
        top, step = TOP + self.side * len(self.rows) + 34, 19.0
        for k in range(-DECADES, DECADES + 1):
            x = LEFT + (k + DECADES) * step
            yield _box(x, top, step, 14, f'fill="{_colour(10.0**k)[0]}"', "")
            if k % 2 == 0:
                word = f"1e{k}" if k else "1"
                yield _text(x + step / 2, top + 28, word, "middle", 'font-size="9.5"')
        x = LEFT + (2 * DECADES + 1) * step
        yield _text(LEFT, top - 7, "vanishes", "start", f'fill="{SMALL}"')
        yield _text(x, top - 7, "explodes", "end", f'fill="{LARGE}"')
        yield _box(x + 22, top, 19, 14, 'fill="url(#none)"', "")
        yield _text(x + 48, top + 11, "nothing arrives", "start")


_HATCH = (
    '<defs><pattern id="none" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#f4f5f7"/>'
    '<line x1="0" y1="0" x2="0" y2="6" stroke="#cdd3da" stroke-width="1.6"/></pattern></defs>'
)


def _colour(share: float) -> tuple[str, str]:
    """The fill for a size, and the ink that can be read on it."""
    if not math.isfinite(share):
        return "#ffe08a", colours.ALARM
    decades = math.log10(share) if share > 0 else -float(DECADES)
    strength = min(1.0, abs(decades) / DECADES) ** 0.7
    fill = colours.tint(SMALL if decades < 0 else LARGE, 1 - strength)
    return fill, colours.PAPER if strength > 0.55 else colours.INK


def _short(share: float) -> str:
    """A number in at most five letters."""
    if not math.isfinite(share):
        return "NaN" if math.isnan(share) else "∞"
    if share == 0 or 0.01 <= share < 100:
        return f"{share:.2g}"
    mantissa, exponent = f"{share:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _box(x: float, y: float, wide: float, high: float, more: str, words: str) -> str:
    shape = f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}" {more}'
    line = f' stroke="{colours.INNER_LINE}" stroke-width="0.5"' if wide > TOLD else ""
    return f"{shape}{line}><title>{escape(words)}</title></rect>" if words else f"{shape}{line}/>"


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'
