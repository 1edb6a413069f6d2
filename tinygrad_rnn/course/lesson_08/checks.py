"""Lesson 08: how its exercises are judged."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from ...view import curve
from .. import Exercise, Judge, Lesson, Wrong

NUMERIC = "finite differences"


class Network:
    """A small network h(t) = tanh(x(t) + h(t-1) W), once in tensors and once in numbers alone."""

    def __init__(self, steps: int, size: int = 3, rows: int = 1, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.W = rng.normal(size=(size, size)) * 0.8
        self.xs, self.ys = rng.normal(size=(2, steps, rows, size))
        self.h = rng.normal(size=(rows, size))
        self.weight = tg.tensor(self.W, requires_grad=True, name="W")

    def step(self, x: Any, h: Any) -> Any:
        return tg.tanh(x + h @ self.weight)

    def error(self, h: Any, y: Any) -> Any:
        return ((h - y) ** 2).sum()

    def windows(self, size: int) -> list[tuple[Any, Any]]:
        return [
            (self.xs[t : t + size], self.ys[t : t + size]) for t in range(0, len(self.xs), size)
        ]

    def before(self, t: int) -> np.ndarray:
        """The state before step t, in numbers."""
        h = self.h
        for x in self.xs[:t]:
            h = np.tanh(x + h @ self.W)
        return h

    def slope(self, begin: int, end: int, counted: int) -> np.ndarray:
        """By W, of the errors of the last steps of a run; the state it begins with is held."""
        start = self.before(begin)

        def loss(W: np.ndarray) -> float:
            h, total = start, 0.0
            for t in range(begin, end):
                h = np.tanh(self.xs[t] + h @ W)
                total += float(((h - self.ys[t]) ** 2).sum()) * (t >= end - counted)
            return total

        return differences(loss, self.W)


def differences(loss: Callable[[np.ndarray], float], W: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """The slope of a loss by each entry of W, by nudging it."""
    slopes = np.zeros_like(W)
    for place in np.ndindex(*W.shape):
        nudge = np.zeros_like(W)
        nudge[place] = h
        slopes[place] = (loss(W + nudge) - loss(W - nudge)) / (2 * h)
    return slopes


def named(gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"gradient {k} of {len(gradients)}": g for k, g in enumerate(gradients, 1)}


def uncut(words: str, run: Callable[[], Any]) -> Any:
    """Run it; where nothing was cut, say so in place of the engine's sentence."""
    try:
        return run()
    except RuntimeError as error:
        if "freed" not in str(error):
            raise
        told = "a gradient went back into a window whose own gradient had been taken"
        raise Wrong(words, told, "Between two windows nothing is cut") from None


def window_gradients(judge: Judge) -> None:
    """Expected: each window's loss nudged, with the state that it begins with held fixed."""
    for words, steps, size in (
        ("one window of one step", 1, 1),
        ("one window of three steps", 3, 3),
        ("two windows of one step", 2, 1),
        ("three windows of two steps", 6, 2),
    ):
        net = Network(steps, seed=steps)
        expected = [net.slope(t, t + size, size) for t in range(0, steps, size)]

        def run(f: Any, net: Network = net, size: int = size, words: str = words) -> Any:
            given = net.step, net.error, net.windows(size), tg.tensor(net.h), net.weight
            return uncut(words, lambda: f(*given))

        judge.see(words, run, named(expected), NUMERIC)


def truncated(judge: Judge) -> None:
    """Expected: a run from the state before step t - k2, held fixed, whose weights are nudged."""
    for steps, k1, k2 in ((1, 1, 1), (3, 1, 1), (4, 2, 2), (6, 2, 4), (4, 1, 3), (6, 3, 6)):
        net = Network(steps, seed=10 * steps + k2)
        ends = range(k1, steps + 1, k1)
        expected = [net.slope(max(0, t - k2), t, k1) for t in ends]

        def run(f: Any, net: Network = net, k1: int = k1, k2: int = k2) -> Any:
            h = tg.tensor(net.h)
            return f(net.step, net.error, net.xs, net.ys, h, k1, k2, net.weight)

        judge.see(f"{steps} steps, k1 = {k1}, k2 = {k2}", run, named(expected), NUMERIC)


def carry(judge: Judge) -> None:
    """Expected: rows of numbers, each copied or 0."""
    rng = np.random.default_rng(0)
    for words, names, fresh in (
        ("two texts, and the first of them has ended", "h", [True, False]),
        ("three texts, and all go on", "h", [False, False, False]),
        ("the state of an LSTM, h and c", "hc", [False, True, False]),
    ):
        values = {name: rng.normal(size=(len(fresh), len(fresh))) for name in names}
        expected = {
            f"{n}, row {b}": np.zeros_like(row) if fresh[b] else row
            for n, rows in values.items() for b, row in enumerate(rows)
        }  # fmt: skip

        def made(f: Any, values: Any = values, fresh: Any = fresh) -> Any:
            parts = [tg.tensor(v, requires_grad=True) * 1.0 for v in values.values()]
            return f(tuple(parts), np.array(fresh))

        def run(f: Any, made: Any = made) -> Any:
            return [row for part in made(f) for row in tg.detach(part).data]

        judge.see(words, run, expected, "each row by itself")

        def flags(f: Any, made: Any = made) -> list[bool]:
            return [part.requires_grad for part in made(f)]

        told = "the state still has a history: .detach() cuts it off"
        judge.demand(words, flags, lambda flags: not any(flags), told)


class Watched:
    """Runs windows, and sees how many of those that are over are still held."""

    def __init__(self, net: Network):
        self.net = net
        self.states: list[Any] = []
        self.errors: list[Any] = []
        self.most = [0, 0]

    def look(self) -> None:
        held = [sum(ref() is not None for ref in refs) for refs in (self.states, self.errors)]
        self.most = [max(pair) for pair in zip(self.most, held, strict=True)]

    def __call__(self, x: Any, y: Any, state: Any) -> Any:
        self.look()
        first = self.net.step(x, state)
        error = self.net.error(first, y)
        after = self.net.step(0.0 * x, first)  # only the state leads to it, not the loss
        self.states.append(weakref.ref(after))
        self.errors.append(weakref.ref(error))
        return error * 0.5, after


def mean_loss(judge: Judge) -> None:
    """Expected: the losses in numbers; and no window but the last one alive."""
    for count in (1, 6):
        net = Network(count, seed=count)
        h, losses = net.h, []
        for x, y in zip(net.xs, net.ys, strict=True):
            h = np.tanh(x + h @ net.W)
            losses.append(0.5 * ((h - y) ** 2).sum())
            h = np.tanh(h @ net.W)
        pairs = list(zip(net.xs, net.ys, strict=True))

        def run(f: Any, net: Network = net, pairs: Any = pairs) -> Any:
            return f(Watched(net), pairs, tg.tensor(net.h))

        words = f"{count} windows in all"
        judge.see(words, run, float(np.mean(losses)), "in numbers alone")

        def held(f: Any, net: Network = net, pairs: Any = pairs) -> list[int]:
            watched = Watched(net)
            mean = f(watched, pairs, tg.tensor(net.h))
            watched.look()
            del mean
            return watched.most

        found = held(judge.made)
        told = f"windows that are over, and still held: {max(found)}; at most 1 is allowed"
        judge.demand(words, held, lambda most: max(most) <= 1, told)


def picture(made: Mapping[str, Any]) -> Any:
    """How far the learner's truncated gradient is from the whole one, by k2."""
    steps = 12
    lines = {}
    for scale in (0.5, 1.0, 1.5):
        net = Network(steps, size=6, seed=1)
        orthogonal = np.linalg.qr(net.W)[0]
        weight = tg.tensor(orthogonal * scale, requires_grad=True)

        def step(x: Any, h: Any, weight: Any = weight) -> Any:
            return tg.tanh(0.3 * x + h @ weight)

        def total(k1: int, k2: int, step: Any = step, weight: Any = weight) -> Any:
            h = tg.tensor(np.zeros((1, 6)))
            given = (step, net.error, net.xs, 0.3 * net.ys, h)  # noqa: B023 (called at once)
            return sum(made["truncated"](*given, k1, k2, weight))

        whole = total(steps, steps)
        sizes = range(1, steps - 1)  # the first step multiplies W by a state of 0
        away = [np.linalg.norm(total(1, k) - whole) / np.linalg.norm(whole) for k in sizes]
        lines[f"spectral radius {scale}"] = (list(sizes), away)
    return curve(lines, log=True, x_label="k2", y_label="away from the whole gradient")


LESSON = Lesson(
    "cutting",
    "Cutting",
    45,
    (
        Exercise(
            "window_gradients",
            "The cut between windows",
            ("the state goes on, its history does not", "inside a window nothing is cut"),
            (
                "Two loops: one over windows, and in it one over the steps of a window.",
                "The loss begins anew in each window; h does not, only its history ends there.",
                "At the beginning of each window: h = h.detach(); loss = 0.0. In the inner loop: "
                "h = step(x, h); loss = loss + error(h, y).",
            ),
            "Inside a window the gradient is exact, across the cut it is 0, and nothing else is "
            "approximated. A cut at each step would be another network's gradient: one that never "
            "looks back.",
            window_gradients,
        ),
        Exercise(
            "truncated",
            "k1 and k2",
            ("k1: how often a gradient is taken", "k2: how far it goes back"),
            (
                "Take h after each step, detached, in a list: before[t] is the state before step "
                "t.",
                "For each end t the run is that of the steps max(0, t - k2) to t - 1; of their "
                "errors only those of the steps t - k1 to t - 1 count.",
                "for j in range(max(0, t - k2), t): h = step(xs[j], h); if j >= t - k1: "
                "loss = loss + error(h, ys[j]).",
            ),
            "With k1 = k2 these are the windows of the first exercise. With k2 > k1 every loss "
            "sees at least k2 - k1 steps before its own, which the first steps of a window do "
            "not. The price: each step is run k2 / k1 times.",
            truncated,
        ),
        Exercise(
            "carry",
            "A row that begins anew",
            ("rows are texts of their own", "every part of a state is reset"),
            (
                "Each tensor of the tuple is treated alike, and detached.",
                "fresh[:, None] has the shape (B, 1): beside (B, H) it is one answer for a row.",
                "tg.where(fresh[:, None], 0.0, part.detach()) for each part of the state.",
            ),
            "A row of a batch knows nothing of the others, so it can begin anew while they go on. "
            "To set all to 0 at each window would be simple, and would make a network that "
            "remembers no further than one window.",
            carry,
        ),
        Exercise(
            "mean_loss",
            "The leak",
            ("a tensor holds what it was made of", "a number holds nothing"),
            (
                "Ask of every name that lives longer than one turn of the loop: is it a tensor?",
                "There are two, total and state. A number has no history; nor has a state that is "
                "detached.",
                "total += loss.item(), and state = state.detach(); or all of it in "
                "`with tg.no_grad():`, under which nothing is recorded.",
            ),
            "A tensor holds its inputs, and they hold theirs. One that lives on in a loop holds "
            "all that was ever made there, and no error tells: the memory grows until there is "
            "no more.",
            mean_loss,
        ),
    ),
    picture=picture,
)
