"""Lesson 04: how its exercises are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import nn
from ...tensor import scope, tensor
from ...view import draw
from .. import Exercise, Judge, Lesson, call

Array = np.ndarray


def iterate(judge: Judge) -> None:
    """Expected: the closed form of each system."""
    run = call(lambda s: s / 2, 8.0, 3)
    judge.see("f(s) = s / 2 from 8, 3 steps", run, np.array([4, 2, 1.0]), "by hand")
    # s is drawn to 20: its distance shrinks to nine tenths at each step
    run = call(lambda s: s + 0.1 * (20 - s), 90.0, 5)
    expected = 20 + 70 * 0.9 ** np.arange(1, 6)
    judge.see("f(s) = s + 0.1 (20 - s) from 90, 5 steps", run, expected, "by its formula")
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a quarter of a turn
    run = call(lambda s: s @ turn, np.array([1.0, 0.0]), 4)
    expected = np.array([[0, 1], [-1, 0], [0, -1], [1, 0.0]])
    judge.see("a state of two numbers, turned by 90 degrees, 4 steps", run, expected, "by hand")


def one_by_one(x: Array, h: Array, Wx: Array, Wh: Array, b: Array) -> Array:
    """A step, number by number, as the formula is read."""
    found = np.zeros(h.shape)
    for row, unit in np.ndindex(*h.shape):
        total = b[unit]
        for k in range(x.shape[1]):
            total += x[row, k] * Wx[k, unit]
        for k in range(h.shape[1]):
            total += h[row, k] * Wh[k, unit]
        found[row, unit] = math.tanh(total)
    return found


def numbers(inputs: int, hidden: int, outputs: int, steps: int, rows: int) -> list[Array]:
    """Inputs, a state, and all weights."""
    rng = np.random.default_rng(4)
    shapes = [(steps, rows, inputs), (rows, hidden), (inputs, hidden), (hidden, hidden), (hidden,)]
    return [rng.normal(size=s) / 2 for s in [*shapes, (hidden, outputs), (outputs,)]]


def step(judge: Judge) -> None:
    """Expected: the formula, number by number."""
    by = "number by number"
    for what, sizes in [
        ("3 inputs, 2 units, one row", (3, 2, 1, 1, 1)),
        ("2 inputs, 4 units, a batch of 3 rows", (2, 4, 1, 1, 3)),
    ]:
        (x,), h, Wx, Wh, b, *_ = numbers(*sizes)
        judge.see(what, call(x, h, Wx, Wh, b), one_by_one(x, h, Wx, Wh, b), by)


def unroll(judge: Judge) -> None:
    """Expected: worked out by hand for one unit; then the engine's own layers."""
    one, none = np.ones((1, 1)), np.zeros(1)
    x, h = np.array([1.0, 0.0]).reshape(2, 1, 1), np.array([[0.5]])
    first = math.tanh(1.5)
    second = math.tanh(first)
    expected = {"outputs": np.array([[[2 * first]], [[2 * second]]]), "last": np.array([[second]])}
    what = "one unit reads 1, then 0, its state begins as 0.5, all weights are 1, V is 2"
    judge.see(what, call(x, h, one, one, none, 2 * one, none), expected, "by hand")
    for what, sizes in [
        ("T = 3, 2 inputs, 3 units, 2 outputs, one row", (2, 3, 2, 3, 1)),
        ("T = 4, a batch of 3 rows", (2, 4, 1, 4, 3)),
    ]:
        x, h, Wx, Wh, b, V, c = numbers(*sizes)
        cell = nn.RNN(*Wx.shape, dtype=np.float64, rng=0)
        output = nn.Linear(*V.shape, dtype=np.float64, rng=0)
        cell.load_state_dict({"Wx": Wx, "Wh": Wh, "b": b})
        output.load_state_dict({"W": V, "b": c})
        states, _ = cell(x, (h,), unroll=True)
        expected = {"outputs": output(states).data, "last": states.data[-1]}
        judge.see(what, call(x, h, Wx, Wh, b, V, c), expected, "the engine")


def count_parameters(judge: Judge) -> None:
    """Expected: the engine's layers, counted."""
    judge.see("2 inputs, 3 units, 2 outputs, 1 step", call(2, 3, 2, 1), 26, "by hand")
    for inputs, hidden, outputs, steps in [(2, 3, 2, 5), (50, 128, 50, 1000)]:
        cell, output = nn.RNN(inputs, hidden, rng=0), nn.Linear(hidden, outputs, rng=0)
        expected = nn.count_parameters(cell) + nn.count_parameters(output)
        what = f"{inputs} inputs, {hidden} units, {outputs} outputs, {steps} steps"
        judge.see(what, call(inputs, hidden, outputs, steps), expected, "the engine")


def picture(made: Mapping[str, Any]) -> Any:
    """The learner's line, unrolled over three steps, as the engine recorded it."""
    x, h, *weights = numbers(2, 3, 1, 3, 1)[:5]
    names = ("Wx", "Wh", "b")
    shared = [tensor(w, requires_grad=True, name=n) for w, n in zip(weights, names, strict=True)]
    try:
        last = recorded(made["step"], x, h, shared)
    except Exception:  # it uses what arrays can do and tensors cannot: the engine's line instead
        last = recorded(lambda x, h, Wx, Wh, b: (x @ Wx + h @ Wh + b).tanh(), x, h, shared)
    return draw(last.sum(), title="Your line, three times")


def recorded(line: Any, x: Array, h: Array, weights: list[Any]) -> Any:
    """The last state, made of tensors."""
    state = tensor(h, name="h")
    for t, now in enumerate(x):
        with scope(f"rnn/t={t}"):
            state = line(tensor(now, name="x"), state, *weights)
    return state


LESSON = Lesson(
    "cell",
    "A cell is a line",
    30,
    (
        Exercise(
            "iterate",
            "From state to state",
            ("a state is made from the one before",),
            (
                "A loop over the steps, and a list that grows.",
                "What f made is what f gets next.",
                "In the loop: s = f(s), then states.append(s).",
            ),
            "That is a dynamical system: s(t) = f(s(t-1)). It needs no input, but a state to begin "
            "with. A recurrent network is one that listens, too.",
            iterate,
        ),
        Exercise(
            "step",
            "One step",
            ("the state before is an input, too", "a bias is added once"),
            (
                "Two products and a bias are added up; tanh is taken of the sum.",
                "x @ Wx has the shape (B, H), and h @ Wh has it, too.",
                "np.tanh(x @ Wx + h @ Wh + b); b is added to each row by itself.",
            ),
            "All that a recurrent network knows of its past is in h. The same input makes another "
            "state if the past was another.",
            step,
        ),
        Exercise(
            "unroll",
            "The loop",
            ("the state is handed on", "all steps share the weights"),
            (
                "A loop over x, whose first axis is time. One state lives through it.",
                "In the loop first the new state, then the output from it.",
                "In the loop: h = step(x[t], h, Wx, Wh, b), then outputs.append(h @ V + c).",
            ),
            "The loop works for any number of steps, with the same weights. Drawn step by step it "
            "is the unrolled network, drawn as one step with an arrow back the folded one.",
            unroll,
        ),
        Exercise(
            "count_parameters",
            "Count them",
            ("weights do not grow with time",),
            (
                "Write down the shape of each: Wx, Wh, b, V, c.",
                "A matrix of a rows and b columns has a times b numbers. Is one of them there more "
                "than once?",
                "inputs * hidden + hidden * hidden + hidden, and hidden * outputs + outputs.",
            ),
            "The number of steps is not in it. A sequence of a thousand steps takes longer to read "
            "than one of three, but needs no weight more.",
            count_parameters,
        ),
    ),
    fast=3,
    picture=picture,
)
