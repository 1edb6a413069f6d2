"""Lesson 06: how its exercises are judged."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...language import said
from ...view import curve
from .. import Exercise, Judge, Lesson, call

STEP = 1e-30  # of a complex step, which rounds nothing away


def network(hidden: int, steps: int, seed: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A first state, what each step reads, and Wh."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=hidden),
        rng.normal(size=(steps, hidden)),
        rng.normal(size=(hidden, hidden)) / math.sqrt(hidden),
    )


def states(h: np.ndarray, reads: np.ndarray, Wh: np.ndarray) -> np.ndarray:
    """The state after each step."""
    found = []
    for read in reads:
        h = np.tanh(read + h @ Wh)
        found.append(h)
    return np.array(found)


def slopes(h: np.ndarray, reads: np.ndarray, Wh: np.ndarray) -> np.ndarray:
    """The slope of the last state by each entry of the first one, by complex steps."""
    nudges = 1j * STEP * np.eye(len(h))
    return np.array([states(h + nudge, reads, Wh)[-1].imag / STEP for nudge in nudges])


def jacobian(judge: Judge) -> None:
    """Expected: by hand, then the step itself, nudged."""
    one = call(np.array([0.6]), np.array([[2.0]]))
    judge.see("one unit, h = 0.6, Wh = 2", one, np.array([[1.28]]), by="by hand")
    two = call(np.array([0.0, 0.8]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    expected = np.array([[1, 0.72], [3, 1.44]])
    judge.see("two units, h = [0, 0.8], Wh = [[1, 2], [3, 4]]", two, expected, by="by hand")
    h, reads, Wh = network(3, 1)
    run = call(states(h, reads, Wh)[0], Wh)
    judge.see("three units", run, slopes(h, reads, Wh), by="the step itself, nudged")


def far_back(judge: Judge) -> None:
    """Expected: the slopes of the whole run, by complex steps."""
    for hidden, steps in ((2, 1), (2, 2), (3, 6)):
        h, reads, Wh = network(hidden, steps)
        what = f"hidden units: {hidden}, steps: {steps}"
        run = call(states(h, reads, Wh), Wh)
        judge.see(what, run, slopes(h, reads, Wh), by="the whole run, nudged")


def spectral_radius(judge: Judge) -> None:
    """Expected: eigenvalues that are known, since the matrix was made from them."""
    for what, W, expected in (
        ("W = [[0.5, 0.6], [0.6, 0.5]]", [[0.5, 0.6], [0.6, 0.5]], 1.1),
        ("W = [[0, 10], [0, 0]]", [[0.0, 10.0], [0.0, 0.0]], 0.0),
        ("W = [[0, -0.9], [0.9, 0]]", [[0.0, -0.9], [0.9, 0.0]], 0.9),
        ("W = [[-1.2, 0], [0, 0.5]]", [[-1.2, 0.0], [0.0, 0.5]], 1.2),
    ):
        run = call(np.array(W))
        judge.demand(what, run, np.isrealobj, "a size is wanted, and yours is a complex number")
        judge.see(what, run, expected, by="by hand")
    P = np.array([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]])
    made = P @ np.diag([0.3, -0.8, 0.5]) @ np.linalg.inv(P)
    what = "a matrix made to have the eigenvalues 0.3, -0.8 and 0.5"
    judge.see(what, call(made), 0.8, by="by hand")


def clip(judge: Judge) -> None:
    """Expected: by hand, and all entries' squares added up one by one."""
    for what, given, limit, expected in (
        ("one array [3, 4], limit 1", {"b": [3.0, 4.0]}, 1.0, {"b": [0.6, 0.8]}),
        ("one array [3, 4], limit 2", {"b": [3.0, 4.0]}, 2.0, {"b": [1.2, 1.6]}),
        ("one array [0.3, 0.4], limit 1", {"b": [0.3, 0.4]}, 1.0, {"b": [0.3, 0.4]}),
        ("all is 0", {"b": [0.0, 0.0]}, 1.0, {"b": [0.0, 0.0]}),
        (
            "two arrays, [[3]] and [4], limit 1",
            {"Wh": [[3.0]], "b": [4.0]}, 1.0, {"Wh": [[0.6]], "b": [0.8]},
        ),
    ):  # fmt: skip
        arrays = {name: np.array(values) for name, values in given.items()}
        wanted = {name: np.array(values) for name, values in expected.items()}
        dict_of = "expected a dict: each array by the name of its weight"
        judge.demand(what, call(arrays, limit), lambda found: isinstance(found, dict), dict_of)
        judge.see(what, call(arrays, limit), wanted, by="by hand", tolerance=1e-9)
    rng = np.random.default_rng(6)
    gradients = {"Wx": rng.normal(size=(2, 3)), "Wh": rng.normal(size=(3, 3)), "b": np.ones(3)}
    norm = math.sqrt(sum(x * x for g in gradients.values() for x in g.ravel().tolist()))
    scaled = {name: g * (1.5 / norm) for name, g in gradients.items()}
    judge.see("three arrays, limit 1.5", call(gradients, 1.5), scaled, by="added up one by one")


def kinds(judge: Judge) -> None:
    """Expected: for ½ by hand; else each product rounded as a file of floats rounds it."""
    half = np.float32(0.5)
    expected = {"normal": 10, "denormal": 0, "zero": 0}
    judge.see("factor 0.5, 10 steps", call(half, 10), expected, by="by hand", tolerance=1e-9)
    expected = {"normal": 126, "denormal": 23, "zero": 51}
    judge.see("factor 0.5, 200 steps", call(half, 200), expected, by="by hand", tolerance=1e-9)
    factor, by = np.float32(0.9), "each product rounded by itself"
    judge.see("factor 0.9, 2000 steps", call(factor, 2000), _rounded(0.9, 2000), by, 1e-9)


def _rounded(factor: float, steps: int) -> dict[str, int]:
    """The count, by what `struct` makes of each exact product."""
    as_float32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    found, g, factor = {"normal": 0, "denormal": 0, "zero": 0}, 1.0, as_float32(factor)
    for _ in range(steps):
        g = as_float32(g * factor)
        found["zero" if g == 0 else "normal" if g >= 2.0**-126 else "denormal"] += 1
    return found


def picture(made: Mapping[str, Any]) -> Any:
    """How large the learner's own products are, over the steps, for three matrices."""
    h, reads, Wh = network(16, 60)
    Wh, lines = np.linalg.qr(Wh)[0], {}
    for radius in (0.7, 1.0, 2.5):
        hs = states(h, 0.3 * reads, radius * Wh)
        found = [made["far_back"](hs[len(hs) - k :], radius * Wh) for k in range(1, 61)]
        measured = made["spectral_radius"](radius * Wh)
        name = f"{said('spectral radius')} {measured:.1f}"
        lines[name] = (range(1, 61), [float(np.linalg.norm(J, 2)) for J in found])
    labels = said("steps back"), said("size of the product")
    return curve(lines, log=True, x_label=labels[0], y_label=labels[1])


LESSON = Lesson(
    "vanishing",
    "Why it dies",
    45,
    (
        Exercise(
            "jacobian",
            "One step back",
            ("a Jacobian is a matrix of slopes", "tanh flattens"),
            (
                "First the sum, then the tanh: by the chain rule their slopes are multiplied.",
                "The slope of sum number i by before[k] is Wh[k, i]. That of tanh belongs to h[i].",
                "Every column i of Wh is multiplied by 1 - h[i] ** 2: Wh * (1 - h ** 2) does it.",
            ),
            "Two things are in it: the weights, and the slope of tanh, which is never above 1. A "
            "unit that is near 1 or -1 lets next to nothing through.",
            jacobian,
        ),
        Exercise(
            "far_back",
            "Many steps back",
            ("one after the other is a product", "the order counts"),
            (
                "A change d becomes d @ J1 after the first step. And after the second?",
                "d @ J1 @ J2 @ ...: the first step's Jacobian stands first.",
                "In the loop: product = product @ jacobian(h, Wh).",
            ),
            "The gradient of a loss at the end is multiplied by this same product, from the other "
            "side. What the product makes small, no learning rate can bring back.",
            far_back,
        ),
        Exercise(
            "spectral_radius",
            "The spectral radius",
            ("powers follow the largest eigenvalue", "entries decide nothing"),
            (
                "Begin with np.linalg.eigvals(W).",
                "How far a number is from 0, also a complex one, is what np.abs gives.",
                "The largest of np.abs(np.linalg.eigvals(W)).",
            ),
            "[[0.5, 0.6], [0.6, 0.5]] has no entry of 1 or more, and explodes, with 1.1 a step; "
            "[[0, 10], [0, 0]] has a 10, and is gone after two steps.",
            spectral_radius,
        ),
        Exercise(
            "clip",
            "Clip by norm",
            ("one norm for all", "shorter, in the same direction"),
            (
                "Find one number first: the norm of all arrays together.",
                "Square all entries, add up within each array and over the arrays, take one root.",
                "scale = limit / norm if norm > limit else 1.0, and all arrays times this scale.",
            ),
            "A step in the same direction, only shorter, still goes downhill. Clipping each array "
            "by itself turns the direction. Nothing of this helps a gradient that has vanished: "
            "there is nothing left to be scaled.",
            clip,
        ),
        Exercise(
            "kinds",
            "Neither normal nor zero",
            ("float32 has a smallest normal number", "below it numbers lose digits"),
            (
                "Keep g, a np.float32 of 1, and multiply it by the factor in a loop.",
                "After each step compare: is it 0? If not, is it below the smallest normal number?",
                'count["zero" if g == 0 else "denormal" if g < smallest else "normal"] += 1.',
            ),
            "Times 0.9 it never becomes 0: among the last few denormal numbers it is rounded up "
            "to itself, over and over. So a dead gradient goes on through denormal numbers, with "
            "which some processors compute far more slowly.",
            kinds,
        ),
    ),
    fast=2,
    picture=picture,
)
