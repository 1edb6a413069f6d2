"""Lesson 07: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import exp, tanh
from typing import Any

import numpy as np

from ...language import said
from ...nn import GRU, LSTM, count_parameters
from ...view import curve
from .. import Exercise, Judge, Lesson, call

TEXT = "we (my cat and I) sleep (well) here"


def s(a: float) -> float:
    return 1 / (1 + exp(-a))


def column(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float64)[:, None]


def both(*given: Any) -> Any:
    """A step of the learner's LSTM; c comes first, since a wrong c makes h wrong, too."""
    run = call(*given)

    def step(made: Any) -> Any:
        result = run(made)
        pair = isinstance(result, tuple | list) and len(result) == 2
        return {"c": result[1], "h": result[0]} if pair else result

    return step


def lstm_step(judge: Judge) -> None:
    """Expected: one unit by hand with the functions of `math`, then the engine's cell."""
    old, none, b = (0.5, -1.0), np.zeros((1, 4)), np.array([0.4, -0.8, 1.2, 0.7])
    new = [s(0.4) * c + s(-0.8) * tanh(1.2) for c in old]
    expected = {"c": column(*new), "h": column(*[s(0.7) * tanh(c) for c in new])}
    zero, one, c = column(0, 0), column(1, 1), column(*old)
    for what, given in (
        ("one unit, two rows: the bias alone", (zero, zero, c, none, none, b)),
        ("one unit, two rows: x = 1, and Wx alone", (one, zero, c, b[None], none, 0 * b)),
        ("one unit, two rows: h = 1, and Wh alone", (zero, one, c, none, b[None], 0 * b)),
    ):
        judge.see(what, both(*given), expected, by="by hand")
    rng = np.random.default_rng(7)
    cell: Any = LSTM(2, 3, dtype=np.float64, rng=rng)
    cell.b.data = rng.normal(size=12)
    x, h, c = rng.normal(size=(4, 2)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    run = both(x, h, c, cell.Wx.data, cell.Wh.data, cell.b.data)
    h, c = cell.step(x, h, c)
    what = "2 inputs, 3 hidden units, a batch of 4"
    judge.see(what, run, {"c": c.data, "h": h.data}, by="nn.LSTM")


def lstm_count(judge: Judge) -> None:
    """Expected: the weights of the engine's cell, counted."""
    for inputs, hidden in ((3, 2), (128, 128), (100, 128)):
        counted = count_parameters(LSTM(inputs, hidden, rng=0))
        what = f"{inputs} inputs, {hidden} hidden units"
        judge.see(what, call(inputs, hidden), counted, by="counted in nn.LSTM", tolerance=1e-9)


def forget_bias(judge: Judge) -> None:
    """Expected: worked out by hand where f is 3/4; then what an LSTM with that bias keeps."""
    log3 = 1.0986122886681098  # σ(log 3) = 3 / (1 + 3)
    expected = np.array([log3, 0, 0, 0])
    judge.see("0.75 after 1 step", call(1, 0.75, 1), expected, by="by hand")
    judge.see("0.5625 after 2 steps", call(1, 0.5625, 2), expected, by="by hand")
    for hidden, share, steps in ((2, 0.5, 20), (3, 0.9, 100)):
        run = _kept(hidden, share, steps)
        what = f"the share of c that nn.LSTM has after {steps} steps with your bias"
        judge.see(what, run, np.full((1, hidden), share), by="asked for")
        judge.demand(
            f"{hidden} hidden units",
            call(hidden, share, steps),
            partial(_only_first, hidden),
            "all blocks but that of the forget gate must be 0",
        )


def _only_first(hidden: int, b: Any) -> bool:
    return not np.any(b[hidden:])


def _kept(hidden: int, share: float, steps: int) -> Any:
    """What the engine's LSTM has of c = 1 after so many steps with the learner's bias."""

    def run(made: Any) -> np.ndarray:
        b = np.asarray(made(hidden, share, steps), np.float64)
        cell: Any = LSTM(1, hidden, dtype=np.float64, rng=0)
        cell.Wx.data, cell.Wh.data = 0 * cell.Wx.data, 0 * cell.Wh.data
        cell.b.data = b
        c = np.ones((1, hidden))
        for _ in range(steps):
            c = cell.step(np.zeros((1, 1)), np.zeros((1, hidden)), c)[1].data
        return c

    return run


def gru_step(judge: Judge) -> None:
    """Expected: one unit by hand, then the engine's cell."""
    old, one, Wx = (0.5, -1.0), column(1, 1), np.array([[0.4, -0.8, 1.2]])
    for what, by_h, Wn in (
        ("one unit, two rows: x = 1, and Wx alone", (0.0, 0.0), 0.0),
        ("one unit, two rows: x = 1, Wx and Wn", (0.0, 0.0), 2.0),
        ("one unit, two rows: x = 1, all weights", (3.0, -1.0), 2.0),
    ):  # fmt: skip
        new = []
        for h in old:
            z, r = s(0.4 + by_h[0] * h), s(-0.8 + by_h[1] * h)
            new.append((1 - z) * h + z * tanh(1.2 + r * h * Wn))
        run = call(one, column(*old), Wx, np.array([by_h]), np.array([[Wn]]))
        judge.see(what, run, column(*new), by="by hand")
    rng = np.random.default_rng(7)
    cell: Any = GRU(2, 3, dtype=np.float64, rng=rng)
    x, state = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    run = call(x, state, cell.Wx.data, cell.Wh.data, cell.Wn.data)
    what = "2 inputs, 3 hidden units, a batch of 4"
    judge.see(what, run, cell.step(x, state).data, by="nn.GRU")


def other_z(judge: Judge) -> None:
    """Expected: the engine's GRU with update="previous" does what the other one did."""
    rng = np.random.default_rng(7)
    for inputs, hidden in ((1, 1), (2, 3)):
        one: Any = GRU(inputs, hidden, dtype=np.float64, rng=rng)
        x, h = rng.normal(size=(4, inputs)), rng.normal(size=(4, hidden))
        run = _as_other(one, x, h)
        what = f"{inputs} inputs, {hidden} hidden units: one step of the other GRU"
        judge.see(what, run, one.step(x, h).data, by="one step of the first GRU")


def _as_other(one: Any, x: np.ndarray, h: np.ndarray) -> Any:
    """A step of the GRU of the other convention, with the learner's weights."""
    given = call(one.Wx.data.copy(), one.Wh.data.copy())

    def run(made: Any) -> np.ndarray:
        Wx, Wh = given(made)
        cell: Any = GRU(one.inputs, one.hidden, update="previous", dtype=np.float64, rng=0)
        cell.Wx.data, cell.Wh.data, cell.Wn.data = Wx, Wh, one.Wn.data
        step: np.ndarray = cell.step(x, h).data
        return step

    return run


def picture(made: Mapping[str, Any]) -> Any:
    """The learner's own cells, set by hand, remember whether a bracket is open."""
    Wx, b = np.zeros((2, 4)), np.array([6.0, -6, 0, 6])  # it keeps, and lets nothing in
    Wx[0], Wx[1] = [0, 12, 6, 0], [-12, 0, 0, 0]  # "(" opens i and writes 1, ")" shuts f
    z = np.array([[12, 0, 0.55], [12, 0, 0], [-6, 0, 0]])  # "(" writes ½; the third x is 1
    h, c, g = np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1))
    lines: dict[str, list[float]] = {
        "c of your LSTM": [],
        "h of your LSTM": [],
        "h of your GRU": [],
    }
    for letter in TEXT:
        x = np.array([[letter == "(", letter == ")"]], np.float64)
        h, c = made["lstm_step"](x, h, c, Wx, np.zeros((1, 4)), b)
        g = made["gru_step"](np.append(x, [[1.0]], 1), g, z, np.zeros((1, 2)), np.zeros((1, 1)))
        for name, value in zip(lines, (c, h, g), strict=True):
            lines[name].append(float(value[0, 0]))
    lines = {said(name): values for name, values in lines.items()}
    labels = said("letter of the text"), said("value of the state")
    return curve(lines, title=TEXT, x_label=labels[0], y_label=labels[1])


LESSON = Lesson(
    "gates",
    "Gates that remember",
    45,
    (
        Exercise(
            "lstm_step",
            "One step of an LSTM",
            ("a gate is a number between 0 and 1", "c is kept and added to", "h shows a part of c"),
            (
                "One sum makes all four: x @ Wx + h @ Wh + b. Take it apart into f, i, g, o.",
                "Three of the four are gates, and get the sigmoid. Only the candidate g gets tanh.",
                "c = f * c + i * g, after the functions; h is o times the tanh of this new c.",
            ),
            "From one step to the next c is only multiplied by f and added to. So its own slope is "
            "f, whatever the weights are: where f is 1, a gradient passes as it is.",
            lstm_step,
        ),
        Exercise(
            "lstm_count",
            "Counting the weights",
            ("four blocks of the same shape", "rows read, columns are written"),
            (
                "Count Wx, Wh and b one by one, from their shapes, and add up.",
                "Each of the four blocks reads x and h, so it has inputs + hidden rows; it writes "
                "one number for each hidden unit.",
                "One block: (inputs + hidden) * hidden entries, and its part of the bias. There "
                "are four.",
            ),
            "4 [(e + h) h + h]: 131,584 for e = h = 128, and 117,248 for e = 100. The formula with "
            "e in place of h is right only where both are equal: try a case in which they differ.",
            lstm_count,
        ),
        Exercise(
            "forget_bias",
            "Begin by remembering",
            ("what is kept is a power of f", "a bias sets a gate", "blocks have an order"),
            (
                "First find f: which number, multiplied with itself so often, is the share?",
                "f is share ** (1 / steps). Then the bias is the logarithm that is given.",
                "b = np.zeros(4 * hidden), and b[:hidden] = np.log(f / (1 - f)): it comes first.",
            ),
            "With a bias of 0 half of c is lost at every step, and after 20 steps a millionth is "
            "left. So a new LSTM begins with a forget bias of 1 or more, and can learn to forget.",
            forget_bias,
        ),
        Exercise(
            "gru_step",
            "One step of a GRU",
            ("one gate keeps and writes", "the reset gate hides h", "before or after the product"),
            (
                "Take x @ Wx apart into three and h @ Wh into two, then add what belongs together.",
                "r belongs to the candidate only, inside the brackets: r * h goes through Wn.",
                "n = np.tanh(n_by_x + (r * h) @ Wn), and the new h mixes h and n by z.",
            ),
            "With z near 0 the state passes as it is, so here 1 - z does what f does in an LSTM. "
            "With one unit it does not matter where r acts; with several it does.",
            gru_step,
        ),
        Exercise(
            "other_z",
            "The other convention",
            ("1 - σ(a) is σ(-a)", "a convention is a sign"),
            (
                "What goes into z is a sum over x and h. What must become of that sum?",
                "It must change its sign, so that σ gives 1 - z. That takes both Wx and Wh.",
                "Work on copies; the first block, [:, :hidden], of both gets the other sign.",
            ),
            'The two are one and the same network, written with another sign. update="previous" '
            "chooses the other one here. A reset after the product is another network: no sign "
            "makes it the same.",
            other_z,
        ),
    ),
    picture=picture,
)
