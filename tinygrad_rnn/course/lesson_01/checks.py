"""Lesson 01: how its exercises are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ...view import curve
from .. import Exercise, Judge, Lesson, call


def central_difference(judge: Judge) -> None:
    """Expected: the formula worked out for powers, where the error is known exactly."""
    judge.see("f(x) = x², x = 3, h = 0.1", call(lambda x: x * x, 3.0, 0.1), 6.0, by="by rule")
    # (x + h)³ - (x - h)³ = 6 x² h + 2 h³
    judge.see(
        "f(x) = x³, x = 2, h = 0.1",
        call(lambda x: x**3, 2.0, 0.1),
        12.01,
        by="by the formula, by hand",
    )
    expected = math.cosh(0.5) * math.sinh(0.01) / 0.01
    judge.see("f = sinh, x = 0.5, h = 0.01", call(math.sinh, 0.5, 0.01), expected, by="by hand")


def best_step(judge: Judge) -> None:
    """Expected: the sum of both errors, of the formula h²/6 and of rounding, is smallest there; of
    another way to write the formula, whose rounding is another, what is smallest with it."""
    own: Any = getattr(judge.made, "__globals__", {}).get("central_difference")
    for dtype, expected in ((np.float64, 1e-5), (np.float32, 1e-2)):
        steps = [dtype(10.0**-k) for k in range(1, 13)]
        slope = float(np.exp(np.float64(1)))
        with suppress(Exception), np.errstate(all="ignore"):  # it may be not begun, or wrong
            errors = {h: abs(float(own(np.exp, dtype(1), h)) - slope) for h in steps}
            if min(errors.values()) < 1e-3:
                steps = [h for h in steps if np.isfinite(errors[h])]
                expected = float(min(steps, key=errors.__getitem__))
        run = call(np.exp, dtype(1), slope, steps)
        words = f"f = exp, x = 1, in {np.dtype(dtype)}"
        none = "that is none of the steps: return the h itself"
        judge.demand(words, run, steps.__contains__, none)
        judge.see(words, run, expected, by="the step with the smallest error", tolerance=1e-6)


def partials(judge: Judge) -> None:
    """Expected: the partial derivatives by the rules of calculus."""

    def f(v: Any) -> Any:
        return v[0] * v[1] + np.tanh(v[0])

    x, y = 0.5, -2.0
    expected = np.array([y + 1 / np.cosh(x) ** 2, x])
    by = "by the rules of calculus"
    judge.see("f = x y + tanh x", call(f, np.array([x, y]), 1e-5), expected, by, tolerance=1e-7)
    v = np.array([1.0, 2.0, 3.0])
    judge.see("f = x² + y² + z²", call(lambda v: (v * v).sum(), v, 1e-5), 2 * v, by, 1e-7)


def picture(made: Mapping[str, Any]) -> Any:
    """The error of the learner's own formula, by the step."""
    steps = [10.0**-k for k in range(13)]
    lines = {}
    for dtype in (np.float64, np.float32):
        slopes = [made["central_difference"](np.exp, dtype(1), dtype(h)) for h in steps]
        lines[str(np.dtype(dtype))] = [max(abs(float(s) - math.e), 1e-17) for s in slopes]
    return curve(lines, log=True, x_label="digits of the step", y_label="error of the slope")


LESSON = Lesson(
    "slope",
    "A slope by nudging",
    30,
    (
        Exercise(
            "central_difference",
            "The central difference",
            ("a slope is a quotient of differences", "a point on each side"),
            (
                "Two values of f are needed, at x + h and at x - h.",
                "A slope is how much f changes, divided by how far x went from one to the other.",
                "From x - h to x + h it is 2 h: divide f(x + h) - f(x - h) by that.",
            ),
            "With a point on each side the errors of h cancel, and what is left is f'''(x) h² / 6: "
            "a step ten times smaller has an error a hundred times smaller.",
            central_difference,
        ),
        Exercise(
            "best_step",
            "A step can be too small",
            ("two errors pull against each other", "numbers are rounded"),
            (
                "Try all steps: one value of central_difference for each.",
                "The error is the distance to the true slope, without its sign.",
                "errors = [abs(central_difference(f, x, h) - slope) for h in steps], and np.argmin "
                "finds the place of the smallest.",
            ),
            "The formula's error is about h², that of rounding about ε / h. Their sum is smallest "
            "near the cube root of ε: 1e-5 in float64, 1e-2 in float32. With a step of 1e-12 "
            "no digit would be left in float32.",
            best_step,
        ),
        Exercise(
            "partials",
            "One entry at a time",
            ("a gradient is an array of slopes", "all else is held fixed"),
            (
                "Work on copies of values, so that the caller's array is not changed.",
                "For entry k nudge values[k] up in one copy and down in another; then it is the "
                "central difference again.",
                "up = values.copy(); up[k] += h; the same down; (f(up) - f(down)) / (2 * h).",
            ),
            "That is a gradient. It took two calls of f for each entry: for a million weights two "
            "million calls. Backpropagation gets them all in the time of a few.",
            partials,
        ),
    ),
    picture=picture,
)
