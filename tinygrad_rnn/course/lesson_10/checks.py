"""Lesson 10: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from ...view import curve
from .. import Exercise, Judge, Lesson, call

ROWS, INPUTS, SIZE = 2, 3, 2
U = np.array([[0.7, -0.4], [0.2, 0.9], [-0.5, 0.3]])
W = np.array([[0.6, -0.8], [0.5, 0.4]])


class Draw:
    """Masks that depend on their shape and number alone, so that they can be foretold."""

    def __init__(self, p: float, seed: int, bools: bool = False):
        self.p, self.seed, self.bools = p, seed, bools
        self.drawn: dict[Any, int] = {}

    def number(self, k: int, shape: Any) -> np.ndarray:
        chance = np.random.default_rng([self.seed, k, *shape]).random(shape)
        return chance < self.p if self.bools else (chance >= self.p) / (1 - self.p)

    def __call__(self, shape: Any) -> np.ndarray:
        shape = tuple(shape)
        k = self.drawn[shape] = self.drawn.get(shape, -1) + 1
        return self.number(k, shape)


def step(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.tanh(x @ U + h @ W)


def unit(x: Any, h: Any, j: int) -> float:
    """One unit of the next state of one row, number by number."""
    total = sum(x[i] * U[i, j] for i in range(INPUTS)) + sum(h[i] * W[i, j] for i in range(SIZE))
    return float(np.tanh(total))


def given(steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, ROWS, INPUTS)), rng.normal(size=(ROWS, SIZE))


def by_time(states: list[Any]) -> dict[str, np.ndarray]:
    return {f"step {t}": np.array(h) for t, h in enumerate(states)}


def dropout(judge: Judge) -> None:
    """Expected: number by number; and the mean over all masks, each as often as it comes."""
    x = np.array([3.0, -1.0, 2.0])
    keep = np.array([True, False, True])
    for p in (0.5, 0.2):
        expected = np.array([3 / (1 - p), 0.0, 2 / (1 - p)])
        judge.see(f"training, p = {p}", call(x, keep, p, True), expected, "number by number")

    def mean(f: Any) -> Any:
        every = [np.array(keep) for keep in product([True, False], repeat=3)]
        return sum(f(x, k, 0.2, True) * 0.8 ** k.sum() * 0.2 ** (~k).sum() for k in every)

    judge.see("the mean over all masks, p = 0.2", mean, x, "without dropout")
    judge.see("in use, p = 0.2", call(x, keep, 0.2, False), x, "without dropout")


def below(judge: Judge) -> None:
    """Expected: number by number, with the masks foretold."""
    for steps in (1, 2, 5):
        xs, h = given(steps, steps)
        masks = Draw(0.4, seed=steps)
        state, states = h.tolist(), []
        for t in range(steps):
            x = (xs[t] * masks.number(t, (ROWS, INPUTS))).tolist()
            state = [[unit(x[b], state[b], j) for j in range(SIZE)] for b in range(ROWS)]
            states.append(state)

        def run(f: Any, xs: Any = xs, h: Any = h, seed: int = steps) -> Any:
            return list(call(step, xs, h, Draw(0.4, seed))(f))

        judge.see(f"steps: {steps}, and masks", run, by_time(states), "number by number")


def variational(judge: Judge) -> None:
    """Expected: the rows of U and W scaled by the masks, once; then a network without dropout."""
    for steps in (1, 2, 5):
        xs, h = given(steps, 10 + steps)
        masks = Draw(0.4, seed=10 + steps)
        of_x, of_h = masks.number(0, (ROWS, INPUTS)), masks.number(0, (ROWS, SIZE))
        state, states = h, []
        for x in xs:
            rows = zip(x, state, of_x, of_h, strict=True)
            state = np.array(
                [np.tanh(r @ (m[:, None] * U) + s @ (n[:, None] * W)) for r, s, m, n in rows]
            )
            states.append(state)

        def run(f: Any, xs: Any = xs, h: Any = h, seed: int = 10 + steps) -> Any:
            return list(call(step, xs, h, Draw(0.4, seed))(f))

        judge.see(f"steps: {steps}, and masks", run, by_time(states), "with rows of weights cut")


def candidate(judge: Judge) -> None:
    """Expected: case by case, and a memory that a shut gate keeps through 50 steps."""
    h, new = np.array([[2.0, 4.0]]), np.array([[-1.0, 3.0]])
    mask = np.array([[0.0, 2.0]])
    for words, z, expected in (
        ("the gate half open", 0.5, [[1.0, 5.0]]),
        ("the gate wide open", 1.0, [[0.0, 6.0]]),
        ("the gate shut", 0.0, [[2.0, 4.0]]),
    ):
        run = call(h, new, np.full((1, 2), z), mask)
        judge.see(words, run, np.array(expected), "by hand")

    def long(f: Any) -> Any:
        draw, now = Draw(0.5, seed=3), h
        for _ in range(50):
            now = f(now, new, np.zeros((1, 2)), draw((1, 2)))
        return now

    judge.see("the gate shut for 50 steps", long, h, "what was there")


def zoneout(judge: Judge) -> None:
    """Expected: number by number, with the masks foretold; in use by both outcomes, weighed."""
    for training, steps in product((True, False), (1, 2, 5)):
        xs, h = given(steps, 20 + steps)
        masks = Draw(0.3, seed=20 + steps, bools=True)
        state, states = h.tolist(), []
        for t in range(steps):
            x, stays = xs[t].tolist(), masks.number(t, (ROWS, SIZE))
            before, state = state, [[0.0] * SIZE for _ in range(ROWS)]
            for b, j in np.ndindex(ROWS, SIZE):
                outcomes = unit(x[b], before[b], j), before[b][j]
                chance = float(stays[b, j]) if training else 0.3
                state[b][j] = outcomes[0] + chance * (outcomes[1] - outcomes[0])
            states.append(state)

        def run(f: Any, xs: Any = xs, h: Any = h, on: bool = training, n: int = steps) -> Any:
            return list(call(step, xs, h, 0.3, Draw(0.3, 20 + n, bools=True), on)(f))

        words = f"training, steps: {steps}" if training else f"in use, steps: {steps}"
        judge.see(words, run, by_time(states), "number by number")


def picture(made: Mapping[str, Any]) -> Any:
    """The learner's zoneout: a state that wants to be 1 at once, in training and in use."""
    p, steps, runs = 0.8, 20, 400
    xs, h = np.ones((steps, runs, 1)), np.zeros((runs, 1))
    keep = Draw(p, seed=0, bools=True)
    states = made["zoneout"](lambda x, h: x, xs, h, p, keep, True)[:, :, 0]
    used = made["zoneout"](lambda x, h: x, xs, h, p, keep, False)[:, 0, 0]
    lines = {"one run in training": states[:, 0], "the mean of 400": states.mean(1), "in use": used}
    return curve(lines, x_label="step", y_label="state")


LESSON = Lesson(
    "forgetting",
    "Forgetting on purpose",
    30,
    (
        Exercise(
            "dropout",
            "Dropout, and its scale",
            ("what is taken away", "the mean stays what it was"),
            (
                "There are two cases, training and use. In use, x is returned as it is.",
                "A number that is there with the probability 1 - p has (1 - p) times the mean: "
                "what undoes that?",
                "In training it is x * keep / (1 - p).",
            ),
            "The next layer sees the same mean in training and in use, so nothing has to be "
            "changed when the network is used. Without the factor all sums would be 1 / (1 - p) "
            "times as large in use as in training.",
            dropout,
        ),
        Exercise(
            "below",
            "Between layers only",
            ("links from below, not through time", "a new mask at each step"),
            (
                "The mask is drawn inside the loop.",
                "It has the shape of x, and only x is multiplied with it.",
                "In the loop: h = step(x * draw(x.shape), h).",
            ),
            "What comes from below is there again, in another form, at the next step. The state "
            "is the only copy of what was read before: it is left alone.",
            below,
        ),
        Exercise(
            "variational",
            "One mask for all steps",
            ("the same links are cut at every step", "cut what is read, not what is handed on"),
            (
                "Both masks are drawn before the loop.",
                "The step gets the product of x and its mask, and of h and its mask; h itself is "
                "what the step returned.",
                "of_x, of_h = draw(xs[0].shape), draw(h.shape); then h = step(x * of_x, h * of_h).",
            ),
            "A sequence sees one thinned network from its beginning to its end: that of some rows "
            "of weights, as the checker computed it. What is cut stays cut, so what is left can "
            "carry a memory.",
            variational,
        ),
        Exercise(
            "candidate",
            "On what is written",
            ("a gate adds to a memory", "what is kept is not cut"),
            (
                "Two terms are added: what is kept and what is written. Which one may be cut?",
                "The mask belongs to the candidate alone.",
                "return (1 - z) * h + z * mask * new.",
            ),
            "A gate that is shut keeps the state whole, through as many steps as you like, though "
            "the masks are new at each. For an LSTM it is c = f c + i (mask g).",
            candidate,
        ),
        Exercise(
            "zoneout",
            "Zoneout: keep, not cut",
            ("units stay what they were", "in use: the expectation"),
            (
                "Compute the next state for all units, then decide which of them take it.",
                "With probability p a unit gets h, with 1 - p it gets new. What is the mean?",
                "h = np.where(keep(h.shape), h, new) in training, else p * h + (1 - p) * new.",
            ),
            "A unit that stays is no hole: its number is an honest one, only older, and the "
            "gradient passes through it unchanged. Weights have no part in it: they are the same "
            "at all steps anyway.",
            zoneout,
        ),
    ),
    fast=5,
    picture=picture,
)
