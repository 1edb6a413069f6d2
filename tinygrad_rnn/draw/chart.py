"""A line chart of a few numbers over time, such as the loss over training steps, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TypeAlias

from . import colours
from .figure import Picture
from .svg import FONTS
from .text import literal, number, width

Span: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 720.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 24.0, 56.0, 56.0  # around the plot
DASHES = ("", "7 4", "2 3", "9 3 2 3")  # lines are told apart on paper, too
SERIES = 4


def curve(
    series: Mapping[str, tuple[Iterable[float], Iterable[float]]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> Picture:
    """Draw one to four lines, each given as (xs, ys) under its name.

    A NaN or an infinity is a gap in its line; a point alone is a dot; no points at all is an empty
    chart that says so. Raises ValueError for more than four lines and for xs and ys that differ in
    length.
    """
    if len(series) > SERIES:
        raise ValueError(
            f"curve: expected at most {SERIES} series, got {len(series)}: draw several"
        )
    lines = {str(name): _points(name, *points) for name, points in series.items()}
    words = {"title": title, "x": x_label, "y": y_label}
    chart = _Chart(lines, {key: literal(text, 80) for key, text in words.items()})
    count = sum(len(points) for points in lines.values())
    return Picture(chart.svg(), f"curve: {len(lines)} series, {count} points")


def _points(name: str, xs: Iterable[float], ys: Iterable[float]) -> list[tuple[float, float]]:
    xs, ys = [float(x) for x in xs], [float(y) for y in ys]
    if len(xs) != len(ys):
        raise ValueError(f"curve: {name!r}: expected as many ys as xs, got {len(ys)} and {len(xs)}")
    return list(zip(xs, ys, strict=True))


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


class _Chart:
    """The work on one chart."""

    def __init__(self, lines: dict[str, list[tuple[float, float]]], words: dict[str, str]):
        self.lines, self.words = lines, words
        seen = [p for points in lines.values() for p in points if all(map(math.isfinite, p))]
        self.is_empty = not seen
        self.x_ticks = round_ticks(_span(x for x, _ in seen))
        self.y_ticks = round_ticks(_span(y for _, y in seen))
        self.x_span = _span(x for x, _ in seen)
        self.y_span = self.y_ticks[0], self.y_ticks[-1]
        self.x_ticks = [x for x in self.x_ticks if self.x_span[0] <= x <= self.x_span[1]]

    def svg(self) -> str:
        """The whole document."""
        label = escape(self.words["title"] or "curve")
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{HEIGHT:g}" '
            f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" font-family="{FONTS}" '
            f'font-size="11" fill="{colours.INK}"><title>{label}</title>'
            f'<rect width="{WIDTH:g}" height="{HEIGHT:g}" rx="8" fill="{colours.PAPER}"/>'
        )
        body = [*self._axes(), *self._words(), *self._lines(), *self._legend()]
        return "\n".join([head, *body, "</svg>", ""])

    def _x(self, x: float) -> float:
        low, high = self.x_span
        return LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        low, high = self.y_span
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def _axes(self) -> Iterator[str]:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for y, tick in zip(self.y_ticks, _labels(self.y_ticks), strict=True):
            v = self._y(y)
            yield _line(LEFT, v, right, v, colours.INNER_LINE)
            yield _text(LEFT - 8, v + 4, tick, "end")
        for x, tick in zip(self.x_ticks, _labels(self.x_ticks), strict=True):
            u = self._x(x)
            yield _line(u, TOP, u, bottom, colours.INNER_LINE)
            yield _text(u, bottom + 18, tick, "middle")
        yield _line(LEFT, bottom, right, bottom, colours.LINE)
        yield _line(LEFT, TOP, LEFT, bottom, colours.LINE)

    def _words(self) -> Iterator[str]:
        middle, height = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        yield _text(LEFT, 26, self.words["title"], "start", 'font-size="15" font-weight="700"')
        yield _text(middle, HEIGHT - 16, self.words["x"], "middle")
        turned = f'transform="rotate(-90 18 {height:.1f})"'
        yield _text(18, height, self.words["y"], "middle", turned)
        if self.is_empty:
            yield _text(middle, height, "no finite points", "middle")

    def _lines(self) -> Iterator[str]:
        for k, points in enumerate(self.lines.values()):
            _, colour = colours.hue(k)
            for run in _runs(points):
                places = [f"{self._x(x):.2f},{self._y(y):.2f}" for x, y in run]
                if len(run) == 1:
                    x, y = places[0].split(",")
                    yield f'<circle class="line" cx="{x}" cy="{y}" r="3" fill="{colour}"/>'
                    continue
                dashes = f' stroke-dasharray="{DASHES[k]}"' if DASHES[k] else ""
                yield (
                    f'<polyline class="line" points="{" ".join(places)}" fill="none" '
                    f'stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"{dashes}/>'
                )

    def _legend(self) -> Iterator[str]:
        """Above the plot, to the right: a piece of each line and its name."""
        names = [literal(name, 28) for name in self.lines]
        x = WIDTH - RIGHT - sum(width(name, 11) + 46 for name in names) + 14
        for k, name in enumerate(names):
            _, colour = colours.hue(k)
            yield _line(x, TOP - 14, x + 24, TOP - 14, colour, 2.2, DASHES[k])
            yield _text(x + 30, TOP - 10, name, "start")
            x += width(name, 11) + 46


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
