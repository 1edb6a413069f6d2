"""A line chart of a few numbers over time, such as the loss over training steps, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from ..tensor import Tensor
from . import look
from .canvas import WORDS, Canvas
from .figure import Picture
from .legend import legend, line
from .text import count, literal, number, width

Span: TypeAlias = tuple[float, float]
Points: TypeAlias = "list[tuple[float, float]]"

WIDTH, HEIGHT = 720.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 24.0, 56.0, 56.0  # around the plot
MOST = 1e300  # what is larger could not be divided, nor told apart
DASHES = ("", "7 4", "12 3 3 3", "9 3 3 3 3 3")  # lines are told apart on paper, too


def curve(
    series: Any, *, title: str = "", x_label: str = "", y_label: str = "", log: bool = False
) -> Picture:
    """Draw lines: of numbers, of pairs, or several of them, best in a dict by their names.

    A line is numbers, which stand at x = 0, 1, 2, …; or (xs, ys); or pairs [(x, y), …]. Numbers are
    lists, arrays, tensors, or whatever can be iterated over. Of several without names, as of a list
    of lists or an array of rows, each is a line. A NaN, an infinity or a None is a gap in its line,
    and so is a number beyond 1e300; one below 1e-300 is 0. A point alone is a dot; no points at all
    is an empty chart that says so.

    log: whether y has a logarithmic scale, on which what is not above 0 is a gap.

    Raises TypeError for what are no numbers, ValueError for xs and ys that differ in length.

    >>> tg.view.curve({"loss": [3.0, 2.0, 1.5]}, x_label="epoch").save("loss.svg")
    """
    lines = {name: _line_of(name, given) for name, given in _by_name(series).items()}
    words = [literal(text, 80) for text in (title, x_label, y_label)]
    chart, points = _Chart(lines, log), sum(map(len, lines.values()))
    chart.paint(*words)
    told = f"curve: {len(lines)} series, {count(points, 'point')}"
    return Picture(chart.canvas, told, words[0] or "curve")


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
        value = float(given)
        return math.inf if abs(value) > MOST else 0.0 if abs(value) < 1 / MOST else value
    except OverflowError:
        return math.inf
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
    """The smallest and the largest finite value; never equal, so that one can divide."""
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
    step, parts = math.ceil((high - low) / 7), (1, 2, 5) if high - low <= 2 else (1,)
    fine = [k + math.log10(m) for k in range(low, high + step, step) for m in parts]
    first, last = max(k for k in fine if k <= span[0]), min(k for k in fine if k >= span[1])
    return [k for k in fine if first <= k <= last]


class _Chart:
    """The work on one chart."""

    def __init__(self, lines: dict[str, Points], log: bool):
        if log:
            up = lambda y: math.log10(y) if y > 0 else math.nan
            lines = {name: [(x, up(y)) for x, y in points] for name, points in lines.items()}
        self.lines, self.log, self.canvas = lines, log, Canvas(WIDTH, HEIGHT)
        self.seen = [p for points in lines.values() for p in points if all(map(math.isfinite, p))]
        self.x_span, y_span = (_span(p[k] for p in self.seen) for k in (0, 1))
        ticks = round_ticks(self.x_span)
        self.x_ticks = [x for x in ticks if self.x_span[0] <= x <= self.x_span[1]]
        self.y_ticks = _decades(y_span) if log else round_ticks(y_span)
        self.y_span, self.top = (self.y_ticks[0], self.y_ticks[-1]), TOP
        self.y_words = [*map(_power, self.y_ticks)] if log else _labels(self.y_ticks)
        self.left = max(LEFT, 20 + max(width(word, WORDS) for word in self.y_words))

    def paint(self, title: str, x_label: str, y_label: str) -> None:
        """Everything, from top to bottom."""
        canvas, middle = self.canvas, (self.left + WIDTH - RIGHT) / 2
        size = min(15.0, (WIDTH - LEFT - 10) / max(1.0, width(title, 1)))
        canvas.text(LEFT, 26, title, size, bold=True)
        names = [literal(name, 28) for name in self.lines]
        if any(names):
            entries = [line(n, look.hue(k)[1], 2.0, _dashes(k)) for k, n in enumerate(names)]
            self.top = legend(canvas, entries, LEFT, TOP - 12, WIDTH - RIGHT) - 10
        self.top += 18 * bool(y_label)
        canvas.height = HEIGHT + self.top - TOP
        canvas.text(20, self.top - 10, y_label, colour=look.FAINT)
        canvas.text(middle, canvas.height - 16, x_label, at="middle")
        if not self.seen:
            words = "no points above 0" if self.log else "no finite points"
            canvas.text(middle, (self.top + canvas.height - BOTTOM) / 2, words, at="middle")
        self._axes()
        self._lines()

    def _at(self, x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = self.x_span, self.y_span
        bottom = self.canvas.height - BOTTOM
        return (
            self.left + (x - left) / (right - left) * (WIDTH - self.left - RIGHT),
            bottom - (y - low) / (high - low) * (bottom - self.top),
        )

    def _axes(self) -> None:
        canvas, left, top, right = self.canvas, self.left, self.top, WIDTH - RIGHT
        bottom = canvas.height - BOTTOM
        for y, tick in zip(self.y_ticks, self.y_words, strict=True):
            _, v = self._at(0, y)
            canvas.line([(left, v), (right, v)], look.INNER_LINE)
            canvas.text(left - 8, v + 4, tick, at="end")
        for x, tick in zip(self.x_ticks, _labels(self.x_ticks), strict=True):
            u, _ = self._at(x, 0)
            canvas.line([(u, top), (u, bottom)], look.INNER_LINE)
            canvas.text(u, bottom + 18, tick, at="middle")
        canvas.line([(left, top), (left, bottom), (right, bottom)], look.LINE)

    def _lines(self) -> None:
        for k, points in enumerate(self.lines.values()):
            _, colour = look.hue(k)
            for run in _runs(points):
                places = [self._at(*point) for point in run]
                if len(run) == 1:
                    x, y = places[0]
                    self.canvas.box(x - 3, y - 3, 6, 6, colour, round=3, kind="line")
                else:
                    self.canvas.line(places, colour, 1.8, _dashes(k), kind="line")


def _dashes(k: int) -> str:
    """The dashes of a line; hues come again after eight, with other dashes."""
    return DASHES[(k + k // 8) % len(DASHES)]


def _runs(points: Points) -> Iterator[Points]:
    """The stretches of a line without a gap."""
    for whole, run in groupby(points, lambda point: all(map(math.isfinite, point))):
        if whole:
            yield list(run)


def _power(y: float) -> str:
    """10ʸ in a few letters, however large it is: 0.05, 200, 1e6, 1e330."""
    whole = 0 if abs(y) < 300 else math.floor(y)
    mantissa, _, exponent = f"{10 ** (y - whole):g}".partition("e")
    power = whole + int(exponent or 0)
    return f"{mantissa}e{power}" if power else mantissa


def _labels(ticks: list[float]) -> list[str]:
    """Numbers with the decimals that tell them apart, as short as they can be."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    largest = max(map(abs, ticks), default=0.0)
    if largest >= 1e6 or (largest and largest < 1e-3):
        texts = ([number(tick, k) for tick in ticks] for k in range(1, 17))
        return next((text for text in texts if len({*text}) == len(ticks)), [*map(str, ticks)])
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    comma = "," if largest >= 10_000 else ""  # years have none
    return [f"{tick:{comma}.{decimals}f}" for tick in ticks]
