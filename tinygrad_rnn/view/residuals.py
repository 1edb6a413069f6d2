"""What a run keeps in memory for the backward pass: how it grows with time, and what stops it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..loops.scanned import scanned
from ..op import pick
from ..tensor import Tensor, history
from . import look
from .canvas import DOTS, WORDS, Canvas
from .chart import round_ticks
from .figure import Picture
from .legend import legend, patch, sign
from .sheet import tensors_of
from .text import count, literal, size_words, step_of, width

Outputs: TypeAlias = Tensor | Sequence[Tensor]


@dataclass
class Window:
    """Bytes that one graph keeps: for each of its steps, and outside them.

    again: what a checkpointed loop has besides, in the backward pass, while it recomputes a span.
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
        """All that is kept when the backward pass begins."""
        return sum(self.steps) + self.rest


def kept(outputs: Outputs) -> list[Window]:
    """The bytes that the graphs of some outputs keep, in windows of time.

    Outputs whose graphs have no tensor in common are windows, one after the other, as in truncated
    backpropagation: each is let go before the next begins. Memory that several tensors look at is
    counted once; leaves outside the steps (parameters, data) are not counted. A compiled loop keeps
    what its backward pass reads, and its results. Raises RuntimeError for a graph that `backward()`
    has freed.
    """
    meter = _Meter()
    for y in [outputs] if isinstance(outputs, Tensor) else outputs:
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
        if not self.windows or self.met.isdisjoint(x for x in order if x.op is not None):
            self.windows.append(Window())
        for x in order:
            if x not in self.met:
                self.visit(x)
        self.met.update(order)

    def visit(self, x: Tensor) -> None:
        window = self.windows[-1]
        _, t = step_of(x.scope) or ("", -1)
        if x.op is scanned:
            self.loop(x)
        elif x.op is pick and x.inputs[0].op is scanned:
            run = x.inputs[0].attrs["run"]
            self.along(run, [] if x.attrs["i"] in run.ends else [x._array])
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
        self.along(run, [*run.xs, *(a for a in run.kept if a is not None)])
        if run.every is not None:
            for low, states in run.begins.items():
                _add(window.steps, low, sum(self.new(a, low) for a in states))
            program = run.program
            step = program.made
            span = sum(math.prod(y.shape) * np.dtype(y.dtype).itemsize for y in step)
            window.again = max(window.again, float(span * run.every))

    def along(self, run: Any, arrays: Iterable[np.ndarray]) -> None:
        """What each step of a loop has its part of."""
        last = run.length - 1 if run.way > 0 else 0
        each = sum(self.new(a, last) for a in arrays) / run.length
        for t in range(run.length):
            _add(self.windows[-1].steps, t, each)

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
            f"memory: expected fewer than {MOST:,} time steps, counted from 0, got t={t}"
        )
    if t >= 0:
        steps.extend([0.0] * (t + 1 - len(steps)))
        steps[t] += size


# -- the picture ---------------------------------------------------------------------------------


def memory(runs: Outputs | Mapping[str, Outputs], *, title: str = "") -> Picture:
    """Draw how memory for the backward pass grows, step by step, until the pass begins.

    Each bar is what is held after a step: what that step keeps is dark, what earlier ones keep is
    pale. Draw before `backward()`, which frees it. Several losses whose graphs have nothing in
    common are windows of truncated backpropagation: what a window held is gone when the next one
    begins, and scissors show where the state was detached.

    runs: the tensors to explain, for example the loss; or runs to compare, each under its name, at
        most six.
    title: a line above the picture.

    Raises RuntimeError for a graph that has been freed, ValueError for more than six runs or one
    that keeps nothing, TypeError when something is not a tensor.

    >>> ys, _ = tg.nn.LSTM(2, 3, rng=0)(np.ones((4, 1, 2), np.float32))
    >>> tg.view.memory(ys.sum()).save("memory.svg")
    """
    given = dict(runs) if isinstance(runs, Mapping) else {"": runs}
    if not 1 <= len(given) <= RUNS:
        raise ValueError(f"memory: runs: expected 1 to {RUNS} of them, got {len(given)}")
    windows: dict[str, list[Window]] = {}
    for name, outputs in given.items():
        is_empty = type(outputs) is list and not outputs
        found = kept([] if is_empty else tensors_of(outputs, "memory"))
        windows[literal(name, 60)] = found
        if not sum(w.total for w in found):
            raise ValueError(
                f"memory: {name or 'the run'} saves nothing for the backward pass: nothing in it "
                "requires gradients, or it was computed under no_grad()"
            )
    most = max(_peak(found) for found in windows.values())
    words = f"memory: {count(len(windows), 'run')}, at most {size_words(most)}"
    chart = _Chart(windows)
    chart.paint(literal(title, 90))
    return Picture(chart.canvas, words, literal(title, 90))


RUNS = 6
MOST = 10_000_000  # time steps; each has a number in memory
WIDTH, LEFT, RIGHT = 760.0, 76.0, 30.0
PANEL, HEAD, FOOT = 104.0, 42.0, 40.0  # heights: of the bars, above them, below them
BARS = 150  # more steps than that share bars
OWN, BEFORE, OUTSIDE, AGAIN = "#0072b2", "#b5d3e8", "#8a8a8a", "3 2"


def _peak(windows: list[Window]) -> float:
    return max(w.total + w.again for w in windows)


class _Chart:
    """The work on one picture: a panel for each run, all on one scale."""

    def __init__(self, runs: dict[str, list[Window]]):
        self.runs, self.canvas = runs, Canvas(WIDTH)
        self.group = math.ceil(max(map(_steps, runs.values())) / BARS) or 1
        longest = max(sum(map(self.wide, windows)) for windows in runs.values())
        self.unit = (WIDTH - LEFT - RIGHT) / longest
        top = max(map(_peak, runs.values()))
        self.ticks = [tick for tick in round_ticks((0, top), 3) if tick >= 0]
        self.scale = PANEL / self.ticks[-1]

    def paint(self, title: str) -> None:
        """Title, legend, and the panels one below the other."""
        self.canvas.text(20, 28, title, 15, bold=True)
        every = [w for windows in self.runs.values() for w in windows]
        entries = [patch("kept by this step", OWN), patch("by the steps before it", BEFORE)]
        if any(w.rest for w in every):
            entries.append(patch("outside the steps", OUTSIDE))
        if any(w.again for w in every):
            entries.append(patch("recomputed in the backward pass", look.PAPER, look.INK, AGAIN))
        if any(w.cut or w.inner for w in every):
            entries.append(sign("detached", "✂"))
        top = legend(self.canvas, entries, 20, 48.0 if title else 24.0, WIDTH - RIGHT)
        for name, windows in self.runs.items():
            self.panel(name, windows, top + HEAD + PANEL)
            top += HEAD + PANEL + FOOT
        self.canvas.height = top + 6

    def panel(self, name: str, windows: list[Window], floor: float) -> None:
        ceiling = floor - PANEL
        canvas = self.canvas
        words = _words(windows)
        free = WIDTH - RIGHT - 40 - width(words, WORDS)
        canvas.text(20, ceiling - 22, name, min(13.0, free / max(1.0, width(name, 1))), bold=True)
        canvas.text(WIDTH - RIGHT, ceiling - 22, words, at="end")
        for tick in self.ticks:
            y = floor - tick * self.scale
            canvas.line([(LEFT, y), (WIDTH - RIGHT, y)], look.INNER_LINE)
            canvas.text(LEFT - 8, y + 4, size_words(tick), at="end")
        start, first = 0.0, 0
        for window in windows:
            self.bars(window, start, floor)
            self.rail(window, start, floor)
            self.times(window, start, first, floor, len(windows) > 1)
            start, first = start + self.wide(window), first + len(window.steps)
        canvas.line([(LEFT, floor), (WIDTH - RIGHT, floor)], look.LINE)

    def wide(self, window: Window) -> float:
        """Its steps, and a bar for what is outside them."""
        return float(len(window.steps) + self.group)

    def x(self, at: float) -> float:
        return LEFT + at * self.unit

    def bars(self, window: Window, start: float, floor: float) -> None:
        """What is held after each step, or after several that share a bar; above the last, all."""
        held, left, right = 0.0, start, start + len(window.steps)
        ends = [*range(0, len(window.steps), self.group), len(window.steps)]
        shares = [
            (start + low, start + high, sum(window.steps[low:high]), OWN)
            for low, high in pairwise(ends)
        ]
        if window.rest:
            shares.append((right, right + self.group, window.rest, OUTSIDE))
        for left, right, own, colour in shares:
            self.bar(left, right, floor, held, own, colour)
            held += own
        top, words = floor - window.total * self.scale, size_words(window.total)
        if window.again:
            high, wide = window.again * self.scale, (right - left) * self.unit
            self.canvas.box(
                self.x(left), top - high, wide, high, look.PAPER, look.INK, dashes=AGAIN
            )
            words, top = f"{words} + {size_words(window.again)}", top - high
        if width(words, WORDS) < self.wide(window) * self.unit or window.again:
            self.canvas.text(self.x(right), top - 5, words, at="end", bold=True)

    def bar(
        self, left: float, right: float, floor: float, before: float, own: float, colour: str
    ) -> None:
        wide = (right - left) * self.unit
        room = min(2.0, 0.15 * wide)
        x, wide = self.x(left) + room / 2, wide - room
        middle, top = floor - before * self.scale, floor - (before + own) * self.scale
        self.canvas.box(x, middle, wide, floor - middle, BEFORE)
        self.canvas.box(x, top, wide, middle - top, colour)
        words = size_words(own)
        if own and width(words, 8) < wide and middle - top >= 8:
            x, y = x + wide / 2, (middle + top) / 2 + 3
            self.canvas.text(x, y, words, 8, at="middle", colour=look.PAPER)

    def rail(self, window: Window, start: float, floor: float) -> None:
        """The path of the state from step to step, with scissors where it loses its past."""
        y, steps = floor + 10, len(window.steps)
        if not steps:
            return
        first, last = (self.x(start + 0.5), y), (self.x(start + steps - 0.5), y)
        self.canvas.line([first, last], look.STATE, 1.9)
        if window.cut:
            before = self.x(start - self.group - 0.5), y
            self.canvas.line([before, first], look.STATE, 1.9, DOTS)
            self.scissors(start - self.group / 2, y)
        for t in window.inner:
            self.scissors(start + t + 1, y)

    def times(self, window: Window, start: float, first: int, floor: float, begins: bool) -> None:
        """The numbers of the steps: of those that windows begin with, or of round ones."""
        count = len(window.steps)
        ticks = round_ticks((0, max(1, count)), max(1, int(count * self.unit / 70)))
        for t in range(0, count, count if begins else max(1, round(ticks[1]))):
            words = str(first + t) if first + t else "t = 0"
            self.canvas.text(self.x(start + t + 0.5), floor + 30, words, at="middle")

    def scissors(self, at: float, y: float) -> None:
        """Draw scissors on white, so that the line is seen to be cut."""
        self.canvas.box(self.x(at) - 8, y - 4, 16, 8, look.PAPER)
        self.canvas.text(self.x(at), y + 6, "✂", 16, at="middle", kind="cut")


def _steps(windows: list[Window]) -> int:
    return sum(len(w.steps) for w in windows)


def _words(windows: list[Window]) -> str:
    steps, total = _steps(windows), sum(sum(w.steps) for w in windows)
    each = [f"{size_words(total / steps)} a step"] if steps else []
    most = f"at most {size_words(_peak(windows))} at a time"
    return " · ".join([count(steps, "step"), *each, most])
