"""A line chart of a few numbers over time, such as the loss over training steps, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

import numpy as np

from ..tensor import Tensor
from . import colours
from .figure import Picture
from .svg import FONTS
from .text import literal, number, width

Span: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 720.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 24.0, 56.0, 56.0  # around the plot
DASHES = ("", "7 4", "2 3", "9 3 2 3")  # lines are told apart on paper, too
ENTRIES, LINE = 24, 18.0  # of the legend: a longer one is cut; from one line of it to the next

Points: TypeAlias = "list[tuple[float, float]]"


def curve(
    series: Any, *, title: str = "", x_label: str = "", y_label: str = "", log: bool = False
) -> Picture:
    """Draw lines: of numbers, of pairs, or several of them, best in a dict by their names.

    A line is numbers, which stand at x = 0, 1, 2, …; or (xs, ys); or pairs [(x, y), …]. Numbers are
    lists, arrays, tensors, or whatever can be iterated over. Of several without names, as of a list
    of lists or an array of rows, each is a line. A NaN, an infinity or a None is a gap in its line;
    a point alone is a dot; no points at all is an empty chart that says so.

    log: whether y has a logarithmic scale, on which what is not above 0 is a gap.

    Raises TypeError for what are no numbers, ValueError for xs and ys that differ in length.
    """
    lines = {name: _line_of(name, given) for name, given in _by_name(series).items()}
    words = {"title": title, "x": x_label, "y": y_label}
    chart = _Chart(lines, {key: literal(text, 80) for key, text in words.items()}, log)
    count = sum(len(points) for points in lines.values())
    return Picture(chart.svg(), f"curve: {len(lines)} series, {count} points")


def _by_name(series: Any) -> dict[str, Any]:
    """Lines by their names; one alone needs none, several are numbered."""
    if isinstance(series, Mapping):
        return {str(name): _listed(str(name), given) for name, given in series.items()}
    given = _listed("", series)
    depth = _depth(given)
    paired = depth == 2 and (isinstance(given, tuple) or {tuple} == set(map(type, given)))
    if depth < 2 or paired:
        return {"": given}
    return {str(k): part for k, part in enumerate(given, 1)}


def _listed(name: str, given: Any) -> Any:
    """Numbers in lists and tuples, whatever they were in."""
    if isinstance(given, Tensor):
        given = given.data
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if given is None:
        return math.nan
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        parts = [_listed(name, part) for part in given]
        return tuple(parts) if isinstance(given, tuple) else parts
    try:
        return float(given)
    except (TypeError, ValueError):
        raise TypeError(
            f"curve: {name or 'series'}: expected numbers, got {given!r}: give a list of them, "
            '(xs, ys), or a dict of such lines, {"loss": [3, 2, 1]}'
        ) from None


def _depth(given: Any) -> int:
    return 1 + max(map(_depth, given), default=0) if isinstance(given, list | tuple) else 0


def _line_of(name: str, given: Any) -> Points:
    """The points of one line."""
    depth, who = _depth(given), f"curve: {name!r}" if name else "curve"
    if depth == 1:
        return [(float(x), y) for x, y in enumerate(given)]
    flat = depth == 2 and all(isinstance(part, list | tuple) for part in given)
    pairs = flat and {tuple} == set(map(type, given))
    if flat and len(given) == 2 and (isinstance(given, tuple) or not pairs):
        xs, ys = given
        if len(xs) != len(ys):
            raise ValueError(f"{who}: expected as many ys as xs, got {len(ys)} and {len(xs)}")
        return list(zip(xs, ys, strict=True))
    if flat and all(len(part) == 2 for part in given):
        return [(x, y) for x, y in given]
    kind = TypeError if depth == 0 else ValueError
    got = "a single number" if depth == 0 else "lists of other lengths"
    raise kind(f"{who}: expected numbers [1, 2, 3], (xs, ys) or pairs (x, y) as a line, got {got}")


def round_ticks(span: Span, wanted: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that cover a span with about so many steps."""
    low, high = span
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _span(values: Iterable[float]) -> Span:
    """From the smallest to the largest finite value; never empty, so that it can be divided."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(low) / 10 or 1.0
        return low - room, high + room
    return low, high


def _decades(span: Span) -> list[float]:
    """Logarithms of round numbers that cover a span of logarithms."""
    if span[1] - span[0] < 0.5:
        return [math.log10(v) for v in round_ticks((10 ** span[0], 10 ** span[1]))]
    low, high = math.floor(span[0]), math.ceil(span[1])
    if high - low > 2:
        step = math.ceil((high - low) / 7)
        return [float(k) for k in range(low, high + step, step)]
    fine = [k + math.log10(m) for k in range(low, high) for m in (1, 2, 5)] + [float(high)]
    above = [k for k in fine if k >= span[1]][:1]
    below = [k for k in fine if k <= span[0]][-1:]
    return [k for k in fine if below[0] <= k <= above[0]]


class _Chart:
    """The work on one chart."""

    def __init__(self, lines: dict[str, Points], words: dict[str, str], log: bool):
        if log:
            up = lambda y: math.log10(y) if y > 0 else math.nan
            lines = {name: [(x, up(y)) for x, y in points] for name, points in lines.items()}
        self.lines, self.words, self.log = lines, words, log
        self.entries = self._places()
        self.top = TOP + max([y for _, y, _ in self.entries], default=0.0)
        self.height = HEIGHT + self.top - TOP
        seen = [p for points in lines.values() for p in points if all(map(math.isfinite, p))]
        self.is_empty = not seen
        self.x_ticks = round_ticks(_span(x for x, _ in seen))
        self.y_ticks = (_decades if log else round_ticks)(_span(y for _, y in seen))
        self.x_span = _span(x for x, _ in seen)
        self.y_span = self.y_ticks[0], self.y_ticks[-1]
        self.x_ticks = [x for x in self.x_ticks if self.x_span[0] <= x <= self.x_span[1]]

    def svg(self) -> str:
        """The whole document."""
        label = escape(self.words["title"] or "curve")
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{self.height:g}" '
            f'viewBox="0 0 {WIDTH:g} {self.height:g}" role="img" font-family="{FONTS}" '
            f'font-size="11" fill="{colours.INK}"><title>{label}</title>'
            f'<rect width="{WIDTH:g}" height="{self.height:g}" rx="8" fill="{colours.PAPER}"/>'
        )
        body = [*self._axes(), *self._words(), *self._lines(), *self._legend()]
        return "\n".join([head, *body, "</svg>", ""])

    def _x(self, x: float) -> float:
        low, high = self.x_span
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        low, high = self.y_span
        return self.height - BOTTOM - (y - low) / (high - low) * (self.height - self.top - BOTTOM)

    def _axes(self) -> Iterator[str]:
        right, bottom = WIDTH - RIGHT, self.height - BOTTOM
        for y, tick in zip(self.y_ticks, self._y_labels(), strict=True):
            v = self._y(y)
            yield _line(LEFT, v, right, v, colours.INNER_LINE)
            yield _text(LEFT - 8, v + 4, tick, "end")
        for x, tick in zip(self.x_ticks, _labels(self.x_ticks), strict=True):
            u = self._x(x)
            yield _line(u, self.top, u, bottom, colours.INNER_LINE)
            yield _text(u, bottom + 18, tick, "middle")
        yield _line(LEFT, bottom, right, bottom, colours.LINE)
        yield _line(LEFT, self.top, LEFT, bottom, colours.LINE)

    def _words(self) -> Iterator[str]:
        middle, height = (LEFT + WIDTH - RIGHT) / 2, (self.top + self.height - BOTTOM) / 2
        title = self.words["title"]
        size = min(15.0, (WIDTH - LEFT - 10) / max(1.0, width(title, 1)))
        yield _text(LEFT, 26, title, "start", f'font-size="{size:.3g}" font-weight="700"')
        yield _text(middle, self.height - 16, self.words["x"], "middle")
        turned = f'transform="rotate(-90 18 {height:.1f})"'
        yield _text(18, height, self.words["y"], "middle", turned)
        if self.is_empty:
            yield _text(
                middle, height, "no points above 0" if self.log else "no finite points", "middle"
            )

    def _lines(self) -> Iterator[str]:
        for k, points in enumerate(self.lines.values()):
            _, colour = colours.hue(k)
            for run in _runs(points):
                places = [f"{self._x(x):.2f},{self._y(y):.2f}" for x, y in run]
                if len(run) == 1:
                    x, y = places[0].split(",")
                    yield f'<circle class="line" cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
                    continue
                dashes = f' stroke-dasharray="{_dashes(k)}"' if _dashes(k) else ""
                yield (
                    f'<polyline class="line" points="{" ".join(places)}" fill="none" '
                    f'stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"{dashes}/>'
                )

    def _y_labels(self) -> list[str]:
        return [f"{10**y:g}" for y in self.y_ticks] if self.log else _labels(self.y_ticks)

    def _places(self) -> list[tuple[float, float, str]]:
        """Where the names stand: from the right edge to the left, and line below line."""
        names = [literal(name, 28) for name in self.lines]
        if names[ENTRIES:]:
            names = [*names[:ENTRIES], f"… and {len(names) - ENTRIES} more"]
        rows: list[list[str]] = []
        for name in names if any(names) else ():
            row = [*rows[-1], name] if rows else [name]
            fits = sum(width(word, 11) + 46 for word in row) <= WIDTH - LEFT - RIGHT
            rows[-1 if rows and fits else len(rows) :] = [row if fits else [name]]
        places = []
        for k, row in enumerate(rows):
            x = WIDTH - RIGHT - sum(width(name, 11) + 46 for name in row) + 14
            for name in row:
                places.append((x, k * LINE, name))
                x += width(name, 11) + 46
        return places

    def _legend(self) -> Iterator[str]:
        """Above the plot, to the right: a piece of each line and its name."""
        for k, (x, y, name) in enumerate(self.entries):
            if k < ENTRIES:
                _, colour = colours.hue(k)
                yield _line(x, TOP - 14 + y, x + 24, TOP - 14 + y, colour, 2.2, _dashes(k))
            yield _text(x + 30, TOP - 10 + y, name, "start")


def _dashes(k: int) -> str:
    """The dashes of a line; hues come again after eight, with other dashes."""
    return DASHES[(k + k // 8) % len(DASHES)]


def _runs(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The stretches of a line without a gap."""
    run: list[tuple[float, float]] = []
    for point in points:
        if all(map(math.isfinite, point)):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _labels(ticks: list[float]) -> list[str]:
    """Numbers with the decimals that tell them apart, as short as they can be."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    largest = max(map(abs, ticks), default=0.0)
    if largest >= 1e6 or (largest and largest < 1e-3):
        return [number(tick) for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    comma = "," if largest >= 10_000 else ""  # years have none
    return [f"{tick:{comma}.{decimals}f}" for tick in ticks]


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, size: float = 1.0, dashes: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{size:g}"{dashed}/>'
    )


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'
