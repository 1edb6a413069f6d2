"""What a run keeps in memory for the walk back: how that grows with time, and what stops it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

import numpy as np

from ..loops.scanned import scanned
from ..tensor import Tensor, history
from . import colours
from .chart import round_ticks
from .figure import Picture
from .svg import FONTS
from .text import literal, step_of, width

Outputs: TypeAlias = Tensor | Sequence[Tensor]


@dataclass
class Window:
    """Bytes that one graph keeps: for each of its steps, and outside them.

    again: what a checkpointed loop has besides, on the way back, while it works out a span again.
    cut: whether its state came from the window before it, without its past. inner: the steps after
    which a state goes on without its past within the same graph.
    """

    steps: list[float] = field(default_factory=list)
    rest: float = 0.0
    again: float = 0.0
    cut: bool = False
    inner: list[int] = field(default_factory=list)

    @property
    def total(self) -> float:
        """All that is kept when the walk back begins."""
        return sum(self.steps) + self.rest


def kept(outputs: Outputs) -> list[Window]:
    """The bytes that the graphs of some outputs keep, in windows of time.

    Outputs whose graphs have no tensor in common are windows, one after the other, as in truncated
    backpropagation: each is let go before the next begins. Memory that several tensors look at is
    counted once; leaves outside the steps (parameters, data) are not counted. A compiled loop keeps
    what its way back reads, and its results. Raises RuntimeError for a graph that `backward()` has
    freed.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    meter = _Meter()
    for y in outputs:
        meter.add(y)
    return meter.windows


class _Meter:
    """The count: which memory is known, and at which step of which window it was made."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.met: set[Tensor] = set()
        self.places: dict[int, tuple[int, int] | None] = {}

    def add(self, y: Tensor) -> None:
        order = history([y])[::-1]
        made = [x for x in order if x.op is not None]
        if not self.windows or self.met.isdisjoint(made):
            self.windows.append(Window())
        for x in order:
            if x not in self.met:
                self.met.add(x)
                self.visit(x)

    def visit(self, x: Tensor) -> None:
        window = self.windows[-1]
        _, t = step_of(x.scope) or ("", -1)
        if x.op is scanned:
            self.loop(x)
        elif x.op is None and id(_owner(x._array)) in self.places:
            self.look(x)
        elif x.op is None and t < 0:
            self.places[id(_owner(x._array))] = None
        else:
            new = sum(self.new(a, t) for a in _arrays(x))
            window.rest += new if t < 0 else 0
            _add(window.steps, t, new)

    def loop(self, x: Tensor) -> None:
        """A compiled loop: arrays along time, or the states that its spans begin from."""
        window, run = self.windows[-1], x.attrs["run"]
        last = run.length - 1 if run.way > 0 else 0
        along = [*run.xs, *run.paths, *run.outs, *run.notes, *_arrays(x)]
        each = sum(self.new(a, last) for a in along) / run.length
        for t in range(run.length):
            _add(window.steps, t, each)
        if run.every is not None:
            for low, states in run.begins.items():
                _add(window.steps, low, sum(self.new(a, low) for a in states))
            program = run.program
            step = [*run.carry, *program.outs, *program.notes]
            span = sum(math.prod(y.shape) * np.dtype(y.dtype).itemsize for y in step)
            window.again = max(window.again, float(span * run.every))

    def new(self, array: np.ndarray, t: int) -> int:
        """The bytes behind an array, if nobody before it has them too."""
        owner = _owner(array)
        if id(owner) in self.places:
            return 0
        self.places[id(owner)] = len(self.windows) - 1, t
        return owner.nbytes

    def look(self, x: Tensor) -> None:
        """A leaf that looks at what an op made is a state without its past: a cut."""
        here, place = len(self.windows) - 1, self.places[id(_owner(x._array))]
        if place is None:
            return
        if place[0] < here:
            self.windows[here].cut = True
        elif place[1] >= 0 and place[1] not in self.windows[here].inner:
            self.windows[here].inner.append(place[1])


def _arrays(x: Tensor) -> Sequence[np.ndarray]:
    return x._array if type(x._array) is tuple else (x._array,)


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory it is, of which others are views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _add(steps: list[float], t: int, size: float) -> None:
    if t >= MOST:
        raise ValueError(
            f"draw_memory: expected fewer than {MOST:,} time steps, counted from 0, got t={t}"
        )
    if t >= 0:
        steps.extend([0.0] * (t + 1 - len(steps)))
        steps[t] += size


# -- the picture ---------------------------------------------------------------------------------


def draw_memory(runs: Outputs | Mapping[str, Outputs], *, title: str = "") -> Picture:
    """Draw how memory for the walk back grows, step by step, until the walk begins.

    Each bar is what is held after a step: what that step keeps is dark, what earlier ones keep is
    pale. Draw before `backward()`, which frees it. Several losses whose graphs have nothing in
    common are windows of truncated backpropagation: what a window held is gone when the next one
    begins, and scissors show where the state was detached.

    runs: the tensors to explain, for example the loss; or runs to compare, each under its name, at
        most six.
    title: a line above the picture.

    Raises RuntimeError for a graph that has been freed, ValueError for more than six runs or one
    that keeps nothing, TypeError when something is not a tensor.
    """
    given = dict(runs) if isinstance(runs, Mapping) else {"": runs}
    if not 1 <= len(given) <= RUNS:
        raise ValueError(f"draw_memory: runs: expected 1 to {RUNS} of them, got {len(given)}")
    windows: dict[str, list[Window]] = {}
    for name, outputs in given.items():
        several = [outputs] if isinstance(outputs, Tensor) else outputs
        if not isinstance(several, list | tuple):
            raise TypeError(f"draw_memory: expected tensors, got {type(several).__name__}")
        for y in several:
            if not isinstance(y, Tensor):
                raise TypeError(f"draw_memory: expected tensors, got {type(y).__name__}")
        windows[literal(name, 60)] = found = kept(several)
        if not sum(w.total for w in found):
            raise ValueError(
                f"draw_memory: {name or 'the run'} keeps nothing for the walk back: nothing in it "
                "requires gradients, or it was computed under no_grad()"
            )
    most = max(_peak(found) for found in windows.values())
    words = f"memory: {len(windows)} run{'s' * (len(windows) > 1)}, at most {size_words(most)}"
    return Picture(_Sheet(windows, literal(title, 90)).svg(words), words)


RUNS = 6
MOST = 10_000_000  # time steps; each has a number in memory
WIDTH, LEFT, RIGHT = 760.0, 76.0, 30.0
PANEL, HEAD, FOOT = 104.0, 42.0, 40.0  # heights: of the bars, above them, below them
BARS = 150  # more steps than that share bars
OWN, BEFORE, OUTSIDE = "#0072b2", "#b5d3e8", "#8a8a8a"
UNITS = ("B", "kB", "MB", "GB", "TB")


def size_words(size: float) -> str:
    """A number of bytes in three digits: 640 B, 12.8 kB."""
    power = 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {UNITS[power]}"


def _peak(windows: list[Window]) -> float:
    return max(w.total + w.again for w in windows)


@dataclass
class _Bar:
    """What is held after one step, or several that share a bar, or after all of them."""

    at: float  # in steps from the left
    wide: float
    before: float
    own: float
    colour: str


class _Sheet:
    """The work on one picture: a panel for each run, all on one scale."""

    def __init__(self, runs: dict[str, list[Window]], title: str):
        self.runs, self.title = runs, title
        self.group = math.ceil(max(map(_steps, runs.values())) / BARS) or 1
        longest = max(sum(map(self.wide, windows)) for windows in runs.values())
        self.unit = (WIDTH - LEFT - RIGHT) / longest
        top = max(map(_peak, runs.values()))
        self.ticks = [tick for tick in round_ticks((0, top), 3) if tick >= 0]
        self.scale = PANEL / self.ticks[-1]
        self.top = 74.0 if title else 50.0

    def svg(self, words: str) -> str:
        """The whole document."""
        high = self.top + len(self.runs) * (HEAD + PANEL + FOOT) + 6
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{high:g}" '
            f'viewBox="0 0 {WIDTH:g} {high:g}" role="img" font-family="{FONTS}" font-size="11" '
            f'fill="{colours.INK}"><title>{escape(self.title or words)}</title>',
            '<defs><pattern id="again" width="5" height="5" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate(45)"><path d="M0 0V5" stroke="{colours.INK}"/></pattern>'
            "</defs>",
            f'<rect width="{WIDTH:g}" height="{high:g}" rx="8" fill="{colours.PAPER}"/>',
        ]
        if self.title:
            lines.append(_text(20, 28, self.title, 'font-size="15" font-weight="700"'))
        lines += self.legend(self.top - 22)
        for k, (name, windows) in enumerate(self.runs.items()):
            floor = self.top + k * (HEAD + PANEL + FOOT) + HEAD + PANEL
            lines += self.panel(name, windows, floor)
        return "\n".join([*lines, "</svg>", ""])

    def legend(self, y: float) -> Iterator[str]:
        every = [w for windows in self.runs.values() for w in windows]
        entries = [(OWN, "kept by this step"), (BEFORE, "by the steps before it")]
        if any(w.rest for w in every):
            entries.append((OUTSIDE, "outside the steps"))
        if any(w.again for w in every):
            entries.append(("url(#again)", "again on the way back"))
        x = 20.0
        for fill, words in entries:
            yield _box(x, y - 9, 12, 11, fill, colours.LINE)
            yield _text(x + 18, y, words)
            x += 26 + width(words, 11)
        if any(w.cut or w.inner for w in every):
            yield _text(x, y + 2, "✂", 'font-size="15"')
            yield _text(x + 18, y, "detached")

    def panel(self, name: str, windows: list[Window], floor: float) -> Iterator[str]:
        ceiling = floor - PANEL
        yield _text(20, ceiling - 22, name, 'font-size="13" font-weight="600"')
        yield _text(WIDTH - RIGHT, ceiling - 22, _words(windows), 'text-anchor="end"')
        for tick in self.ticks:
            y = floor - tick * self.scale
            yield _line(LEFT, y, WIDTH - RIGHT, y, colours.INNER_LINE)
            yield _text(LEFT - 8, y + 4, size_words(tick), 'text-anchor="end"')
        start, first = 0.0, 0
        for window in windows:
            bars = self.bars(window, start)
            for bar in bars:
                yield from self.bar(bar, floor)
            yield from self.top_of(window, bars, floor)
            yield from self.rail(window, start, floor)
            yield from self.times(window, start, first, floor, len(windows) > 1)
            start, first = start + self.wide(window), first + len(window.steps)
        yield _line(LEFT, floor, WIDTH - RIGHT, floor, colours.LINE)

    def wide(self, window: Window) -> float:
        """Its steps, and a bar for what is outside them."""
        return float(len(window.steps) + self.group)

    def x(self, at: float) -> float:
        return LEFT + at * self.unit

    def bars(self, window: Window, start: float) -> list[_Bar]:
        bars, held = [], 0.0
        for t in range(0, len(window.steps), self.group):
            own = sum(window.steps[t : t + self.group])
            wide = min(self.group, len(window.steps) - t)
            bars.append(_Bar(start + t, wide, held, own, OWN))
            held += own
        if window.rest:
            bars.append(_Bar(start + len(window.steps), self.group, held, window.rest, OUTSIDE))
        return bars

    def bar(self, bar: _Bar, floor: float) -> Iterator[str]:
        room = min(2.0, 0.15 * bar.wide * self.unit)
        x, wide = self.x(bar.at) + room / 2, bar.wide * self.unit - room
        middle, top = floor - bar.before * self.scale, floor - (bar.before + bar.own) * self.scale
        yield _box(x, middle, wide, floor - middle, BEFORE)
        yield _box(x, top, wide, middle - top, bar.colour)
        words = size_words(bar.own)
        if bar.own and width(words, 8) < wide and middle - top >= 8:
            inside = 'font-size="8" text-anchor="middle" fill="#ffffff"'
            yield _text(x + wide / 2, (middle + top) / 2 + 3, words, inside)

    def top_of(self, window: Window, bars: list[_Bar], floor: float) -> Iterator[str]:
        """The number above a window, and what is there besides on the way back."""
        last = bars[-1]
        top = floor - (last.before + last.own) * self.scale
        words = size_words(window.total)
        right = self.x(last.at + last.wide)
        if window.again:
            high = window.again * self.scale
            yield _box(self.x(last.at), top - high, right - self.x(last.at), high, "url(#again)",
                       colours.INK)  # fmt: skip
            words, top = f"{words} + {size_words(window.again)}", top - high
        if width(words, 11) < self.wide(window) * self.unit or window.again:
            yield _text(right, top - 5, words, 'text-anchor="end" font-weight="600"')

    def rail(self, window: Window, start: float, floor: float) -> Iterator[str]:
        """The way of the state from step to step, with scissors where it loses its past."""
        y, count = floor + 10, len(window.steps)
        if not count:
            return
        yield _line(self.x(start + 0.5), y, self.x(start + count - 0.5), y, colours.STATE, 1.9)
        if window.cut:
            before = start - self.group - 0.5
            yield _line(self.x(before), y, self.x(start + 0.5), y, colours.STATE, 1.9, "2 3")
            yield from self.scissors(start - self.group / 2, y)
        for t in window.inner:
            yield from self.scissors(start + t + 1, y)

    def times(
        self, window: Window, start: float, first: int, floor: float, begins: bool
    ) -> Iterator[str]:
        """The numbers of the steps: of those that windows begin with, or of round ones."""
        count = len(window.steps)
        ticks = round_ticks((0, max(1, count)), max(1, int(count * self.unit / 70)))
        for t in range(0, count, count if begins else max(1, round(ticks[1]))):
            words = str(first + t) if first + t else "t = 0"
            yield _text(self.x(start + t + 0.5), floor + 30, words, 'text-anchor="middle"')

    def scissors(self, at: float, y: float) -> Iterator[str]:
        """On white, so that the line is seen to be cut."""
        yield _box(self.x(at) - 8, y - 4, 16, 8, colours.PAPER)
        yield _text(self.x(at), y + 6, "✂", 'class="cut" font-size="16" text-anchor="middle"')


def _steps(windows: list[Window]) -> int:
    return sum(len(w.steps) for w in windows)


def _words(windows: list[Window]) -> str:
    steps = _steps(windows)
    total = sum(sum(w.steps) for w in windows)
    words = [f"{steps:,} step{'s' * (steps != 1)}"]
    if steps:
        words.append(f"{size_words(total / steps)} a step")
    words.append(f"at most {size_words(_peak(windows))} at a time")
    return " · ".join(words)


def _box(x: float, y: float, wide: float, high: float, fill: str, line: str = "none") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{fill}" '
        f'stroke="{line}"/>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, size: float = 1.0, dashes: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{size:g}"{dashed}/>'
    )


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'
