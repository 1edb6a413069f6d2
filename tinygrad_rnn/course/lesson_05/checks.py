"""Lesson 05: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import nn
from ...lab import ledger
from ...ops import cross_entropy
from ...tensor import Tensor
from ...view import curve
from .. import Exercise, Judge, Lesson, call
from ..judge import Run, Wrong

Array = np.ndarray
STEP = 1e-5  # of finite differences
RATE = 0.2  # of the training in the picture


@dataclass
class Net:
    """A network small enough to be nudged: states and losses by its formula, nothing else.

    L[t] is the sum of pull[t] * h[t + 1]² / 2, so that its slope by h[t + 1] is pull[t] * h[t + 1].
    """

    x: Array
    begin: Array
    Wx: Array
    Wh: Array
    b: Array
    pull: Array

    def run(self, s: Array | None = None, copies: Array | None = None) -> tuple[Array, Array]:
        """All states, and each step's loss. s: added to each s[t]. copies: of Wh, one a step."""
        h, losses = [self.begin], []
        for t, x in enumerate(self.x):
            Wh = self.Wh if copies is None else copies[t]
            now = x @ self.Wx + h[-1] @ Wh + self.b + (0 if s is None else s[t])
            h.append(np.tanh(now))
            losses.append((self.pull[t] * h[-1] ** 2).sum() / 2)
        return np.array(h), np.array(losses)

    @property
    def h(self) -> Array:
        return self.run()[0]

    @property
    def own(self) -> Array:
        return self.pull * self.h[1:]

    def by(self, name: str) -> Array:
        """The slope of the whole loss by each entry of a weight."""
        value = getattr(self, name)
        return nudged(lambda new: replace(self, **{name: new}).run()[1].sum(), value)

    def by_s(self) -> Array:
        """The slope of the whole loss by each s[t]."""
        return nudged(lambda s: self.run(s=s)[1].sum(), np.zeros_like(self.pull))

    def by_copies(self) -> Array:
        """The slope of each loss by each step's own copy of Wh: (T, T, H, H)."""
        copies = np.array([self.Wh] * len(self.x))
        return np.array([nudged(self._loss(t), copies) for t in range(len(copies))])

    def _loss(self, t: int) -> Callable[[Array], Any]:
        return lambda copies: self.run(copies=copies)[1][t]


def nudged(f: Callable[[Array], Any], value: Array) -> Array:
    """The slope of f by each entry of value."""
    found = np.zeros_like(value)
    for place in np.ndindex(value.shape):
        up, down = value.copy(), value.copy()
        up[place] += STEP
        down[place] -= STEP
        found[place] = (f(up) - f(down)) / (2 * STEP)
    return found


def net(steps: int, rows: int = 1) -> Net:
    """A network of two units that reads one number."""
    rng = np.random.default_rng(5)
    pull = rng.uniform(0.5, 1.5, (steps, rows, 2)) * rng.choice([-1, 1], (steps, rows, 2))
    return Net(
        rng.normal(size=(steps, rows, 1)), rng.normal(size=(rows, 2)) / 2,
        rng.normal(size=(1, 2)), rng.normal(size=(2, 2)), rng.normal(size=2) / 2, pull,
    )  # fmt: skip


CASES = [
    ("T = 1: one step, and a batch of 2 rows", net(1, rows=2)),
    ("T = 3, one row", net(3)),
    ("T = 3, and a batch of 2 rows", net(3, rows=2)),
]


def parted(run: Run, name: str, shape: tuple[int, ...], places: list[Any]) -> Run:
    """What run returns in pieces, by the names of their places: the first to be made is first."""

    def parts(made: Any) -> Any:
        got = run(made)
        found = np.asarray(got.data if isinstance(got, Tensor) else got)
        if found.shape != shape:
            words = "nothing at all" if got is None else found.shape
            raise Wrong(f"expected an array of shape {shape}, got {words}")
        return {_name(name, place): found[place] for place in places}

    return parts


def _name(name: str, place: Any) -> str:
    return f"{name}[{', '.join(map(str, np.atleast_1d(place)))}]"


def see_parts(
    judge: Judge, what: str, run: Run, expected: Array, name: str, places: list[Any], by: str
) -> None:
    """Compare arrays piece by piece, in the order of places."""
    named = {_name(name, place): expected[place] for place in places}
    judge.see(what, parted(run, name, expected.shape, places), named, by)


def delta(judge: Judge) -> None:
    """Expected: s[t] is moved a little, and the loss looked at."""
    for what, one in [
        ("T = 1: one step, one loss", net(1)),
        ("T = 2, and a loss after each step", net(2)),
        ("T = 3, and a loss after each step", net(3)),
        ("T = 3, and a batch of 2 rows", net(3, rows=2)),
        ("T = 5", net(5)),
    ]:
        backwards = list(range(len(one.x)))[::-1]
        run = call(one.own, one.h, one.Wh)
        see_parts(judge, what, run, one.by_s(), "delta", backwards, "by nudging s")


def weight_gradients(judge: Judge) -> None:
    """Expected: the weight is moved a little, and the loss looked at."""
    for what, one in CASES:
        expected = {name: one.by(name) for name in ("Wx", "Wh")}
        judge.see(what, call(one.x, one.h, one.by_s()), expected, "by nudging the weight")


def bias_gradient(judge: Judge) -> None:
    """Expected: the bias is moved a little, and the loss looked at."""
    for what, one in CASES:
        judge.see(what, call(one.by_s()), one.by("b"), "by nudging b")


def terms(judge: Judge) -> None:
    """Expected: one copy of Wh is moved a little; then the engine's ledger."""
    by = "by nudging the copy of step k"
    for what, one in [
        ("T = 1: one term", net(1)),
        ("T = 2: three terms", net(2)),
        ("T = 3, and a batch of 2 rows", net(3, rows=2)),
    ]:
        run = call(one.own, one.h, one.Wh)
        see_parts(judge, what, run, one.by_copies(), "terms", _places(len(one.x)), by)
    cell, h, own, book = booked()
    expected = book.arrays["Wh"]
    what = "a cell of the engine, T = 3"
    run = call(own, h, cell.Wh.data)
    see_parts(judge, what, run, expected, "terms", _places(3), "tg.lab.ledger")


def _places(count: int) -> list[Any]:
    """The losses in order; of each its own step, then back, and the future last."""
    past = [(t, k) for t in range(count) for k in reversed(range(t + 1))]
    return past + [(t, k) for t in range(count) for k in range(t + 1, count)]


def booked() -> tuple[Any, Array, Array, Any]:
    """A cell, its states, each loss's slope by its own state, and the engine's ledger."""
    rng = np.random.default_rng(0)
    cell = nn.RNN(1, 2, dtype=np.float64, rng=rng)
    output = nn.Linear(2, 2, dtype=np.float64, rng=rng)
    begin = np.array([[0.5, -0.5]])
    ys, _ = cell(np.array([[[1.0]], [[-1.0]], [[0.5]]]), (begin,), unroll=True)
    truth = np.array([[0], [1], [1]])
    loss = cross_entropy(output(ys), truth, reduction="sum")
    scores = np.exp(output(ys).data)
    wrong = scores / scores.sum(-1, keepdims=True) - np.eye(2)[truth]
    own = wrong @ output.W.data.T
    return cell, np.concatenate([begin[None], ys.data]), own, ledger(loss, cell.Wh)


def by_lag(judge: Judge) -> None:
    """Expected: counted by hand; then the engine's ledger."""
    table = np.array([[1.0, 0, 0], [2, 4, 0], [8, 16, 32]]).reshape(3, 3, 1, 1)
    what, by_hand = "the terms [[1, 0, 0], [2, 4, 0], [8, 16, 32]]", np.array([37.0, 18, 8])
    see_lags(judge, what, table, by_hand.reshape(3, 1, 1), "by hand")
    *_, book = booked()
    expected = book.by_lag("Wh").sums
    see_lags(judge, "a cell of the engine, T = 3", book.arrays["Wh"], expected, "tg.lab.ledger")


def see_lags(judge: Judge, what: str, table: Array, expected: Array, by: str) -> None:
    lags = list(range(len(expected)))
    see_parts(judge, what, call(table), expected, "by_lag", lags, by)


def picture(made: Mapping[str, Any]) -> Any:
    """The learner's gradients train a network that has to remember for two steps."""
    lines = {"all the way back": remembered(made), "not back in time": remembered(made, cut=True)}
    return curve(
        lines, title="Remember the first of three numbers", x_label="steps of training",
        y_label="the loss",
    )  # fmt: skip


def remembered(made: Mapping[str, Any], cut: bool = False, count: int = 200) -> list[float]:
    """The losses while h[3] learns to say what x[0] was. cut: nothing comes back from later."""
    rng = np.random.default_rng(4)
    x = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, 8, 1)
    Wx, Wh, b = rng.normal(size=(1, 2)) / 2, rng.normal(size=(2, 2)) / 2, np.zeros(2)
    found = []
    for _ in range(count):
        h = np.zeros((4, 8, 2))
        for t in range(3):
            h[t + 1] = np.tanh(x[t] @ Wx + h[t] @ Wh + b)
        error = np.zeros((3, 8, 2))
        error[-1, :, :1] = h[-1, :, :1] - 0.8 * x[0]
        found.append(float((error**2).sum() / 16))
        slopes = made["delta"](error / 8, h, 0 * Wh if cut else Wh)
        by_Wx, by_Wh = made["weight_gradients"](x, h, slopes)
        by_b = made["bias_gradient"](slopes)
        Wx, Wh, b = Wx - RATE * by_Wx, Wh - RATE * by_Wh, b - RATE * by_b
    return found


LESSON = Lesson(
    "bptt",
    "BPTT by hand, T = 3",
    60,
    (
        Exercise(
            "delta",
            "The walk back",
            ("a state reaches the loss in two ways", "the walk goes from the last step back"),
            (
                "Keep one array (B, H) for what comes back from the next step. It begins as 0.",
                "The slope by h[t + 1] is own[t] plus what came back. Through tanh it becomes the "
                "slope by s. Through Wh it becomes what comes back to the step before.",
                "found[t] = (own[t] + later) * (1 - h[t + 1] ** 2), and what the step before "
                "gets is found[t] @ Wh.T.",
            ),
            "That is all of backpropagation through time. Each step does the same few products, "
            "so going back costs about twice what going forward did, however many steps there are.",
            delta,
        ),
        Exercise(
            "weight_gradients",
            "Gradients of the weights",
            ("every use adds to the gradient", "a weight meets the state from before"),
            (
                "Look at s[t]: what stands left of Wx, and what left of Wh?",
                "Of a product row @ W the slope by W is the row, as a column, times the slope by "
                "the result. For a batch that is rows.T @ slopes, which sums over the rows.",
                "Sum over t: x[t].T @ delta[t] for Wx, and h[t].T @ delta[t] for Wh. h[t] is "
                "the state before step t.",
            ),
            "The weight is shared, so its gradient is a sum over every use: each step, each row. "
            "And h[t], not h[t + 1]: what met the weight was the state from before.",
            weight_gradients,
        ),
        Exercise(
            "bias_gradient",
            "Gradient of the bias",
            ("a bias is a weight whose input is 1",),
            (
                "How much does s[t] change when b is moved a little?",
                "As much as b. So each step, and each row, adds its delta as it is.",
                "Sum delta over its first axis, the steps, and its second, the rows.",
            ),
            "The bias can stand alone, or as a row of the weights whose input is always 1. "
            "Both ways its gradient is the sum of all delta.",
            bias_gradient,
        ),
        Exercise(
            "terms",
            "One term for each pair",
            ("a gradient is a sum over pairs", "a term is an immediate derivative"),
            (
                "Take one loss L[t] after the other. From it alone, go back from step t to step 0.",
                "It is the walk of delta where own is 0 but at t. At each step k that you pass, "
                "write down what its copy of Wh gets: as in weight_gradients, but not summed up.",
                "For step k: by_s = by_h * (1 - h[k + 1] ** 2), the term is h[k].T @ by_s, and the "
                "step before gets by_s @ Wh.T.",
            ),
            "That is the double sum of the textbooks, term by term. Its last factor is the "
            "derivative with h[k] held fixed. The engine's ledger holds the same numbers.",
            terms,
        ),
        Exercise(
            "by_lag",
            "Added up by lag",
            ("a lag is the steps between loss and use",),
            (
                "A lag is a diagonal of the table of terms.",
                "Go through all pairs with k <= t, and add each term to the entry t - k.",
                "found[t - k] += terms[t, k], with found full of zeros at the beginning.",
            ),
            "The sum of all lags is the gradient. If the sums get small with the lag, the network "
            "learns little from what is long ago: lesson 06 is about that.",
            by_lag,
        ),
    ),
    picture=picture,
)
