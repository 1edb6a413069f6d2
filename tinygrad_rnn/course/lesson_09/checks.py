"""Lesson 09: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...view import curve
from .. import Exercise, Judge, Lesson, call

ALONE = "the sequence alone"
BATCHES = (
    ("one sequence", [3]),
    ("two of the same length", [2, 2]),
    ("lengths 4, 1, 3", [4, 1, 3]),
)


def mask_of(judge: Judge) -> None:
    """Expected: counted out, sequence by sequence."""
    for words, lengths, steps in (
        ("one sequence of 2 steps, of 2", [2], 2),
        ("one sequence of 1 step, of 3", [1], 3),
        ("lengths 1, 3, 2, of 4 steps", [1, 3, 2], 4),
    ):
        columns = [[True] * n + [False] * (steps - n) for n in lengths]
        expected = np.array(columns).T
        run = call(np.array(lengths), steps)
        judge.see(words, run, expected, "counted out, 1 for True")
        judge.demand(words, run, lambda mask: mask.dtype == bool, "an array of bools is asked for")


def padded(lengths: list[int], size: int, fill: float, seed: int = 0) -> tuple[Any, list[Any]]:
    """An array filled up with a number, and the sequences in it."""
    rng = np.random.default_rng(seed)
    sequences = [rng.normal(size=(n, size)) for n in lengths]
    xs = np.full((max(lengths) + 2 * (len(lengths) > 1), len(lengths), size), fill)
    for b, sequence in enumerate(sequences):
        xs[: len(sequence), b] = sequence
    return xs, sequences


def real(lengths: list[int], steps: int) -> np.ndarray:
    return np.array([[t < n for n in lengths] for t in range(steps)])


def step(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """A network in which rows cannot touch each other."""
    return np.tanh(0.5 + x + h[:, ::-1])


def hold(judge: Judge) -> None:
    """Expected: each sequence run alone, with loops over its numbers; then its last state."""
    for fill in (7.0, np.nan):
        for words, lengths in BATCHES:
            xs, sequences = padded(lengths, 2, fill)
            begin = np.linspace(-1, 1, 2 * len(lengths)).reshape(-1, 2)
            expected = {}
            for b, sequence in enumerate(sequences):
                (p, q), rows = begin[b], []
                for x in sequence:
                    p, q = np.tanh(0.5 + x[0] + q), np.tanh(0.5 + x[1] + p)
                    rows.append([p, q])
                rows += rows[-1:] * (len(xs) - len(rows))
                expected[f"sequence {b}"] = np.array(rows)

            def run(f: Any, xs: Any = xs, lengths: Any = lengths, begin: Any = begin) -> Any:
                found = call(step, xs, real(lengths, len(xs)), begin)(f)
                return list(np.swapaxes(found, 0, 1))

            judge.see(f"{words}, padded with {fill}", run, expected, ALONE)


def reverse_inside(judge: Judge) -> None:
    """Expected: a list of Python, reversed."""
    for words, lengths in BATCHES:
        xs, sequences = padded(lengths, 2, 7.0, seed=1)
        rest = len(xs)
        expected = {}
        for b, sequence in enumerate(sequences):
            turned = list(reversed(sequence.tolist()))
            expected[f"sequence {b}"] = np.array(turned + [[7.0, 7.0]] * (rest - len(turned)))

        def run(f: Any, xs: Any = xs, lengths: Any = lengths) -> Any:
            return list(np.swapaxes(call(xs, np.array(lengths))(f), 0, 1))

        judge.see(words, run, expected, "the sequence as a list, reversed")


def last_valid(judge: Judge) -> None:
    """Expected: the last of each sequence, before it was padded."""
    for words, lengths in BATCHES:
        hs, sequences = padded(lengths, 3, np.nan, seed=2)
        steps = np.arange(len(hs))[:, None, None]
        hs = np.where(np.isnan(hs), 9.0 + steps, hs)  # each step of the padding is another
        expected = np.array([sequence[-1] for sequence in sequences])
        judge.see(words, call(hs, np.array(lengths)), expected, ALONE)


def mean_loss(judge: Judge) -> None:
    """Expected: the losses in one list, and their mean."""
    for fill in (5.0, np.nan):
        for words, lengths in BATCHES:
            losses, sequences = padded(lengths, 1, fill, seed=3)
            every = [loss for sequence in sequences for loss in sequence[:, 0]]
            expected = sum(every) / len(every)
            run = call(losses[:, :, 0], real(lengths, len(losses)))
            judge.see(f"{words}, padded with {fill}", run, expected, "by a list of real losses")


def picture(made: Mapping[str, Any]) -> Any:
    """The learner's own states: sequences in one batch, and each alone."""
    lengths = np.array([12, 4, 8])
    waves = [np.sin(np.arange(n) * 0.7 + b)[:, None] for b, n in enumerate(lengths)]
    xs = np.full((12, 3, 1), np.nan)
    for b, wave in enumerate(waves):
        xs[: len(wave), b] = wave

    def unit(x: Any, h: Any) -> Any:
        return np.tanh(x + 0.8 * h)

    hs = made["hold"](unit, xs, made["mask_of"](lengths, 12), np.zeros((3, 1)))
    ends = made["last_valid"](hs, lengths)
    lines = {f"sequence {b}": hs[:, b, 0] for b in range(3)}
    for b, n in enumerate(lengths):
        lines[f"its last, {b}"] = ([n - 1, 11], [float(ends[b, 0])] * 2)
    return curve(lines, x_label="step", y_label="state")


LESSON = Lesson(
    "lengths",
    "Many lengths",
    30,
    (
        Exercise(
            "mask_of",
            "What is real",
            ("a mask says which steps count", "steps are counted from 0"),
            (
                "np.arange(steps) counts the steps; compare it with the lengths.",
                "A sequence of n steps has the steps 0 to n - 1.",
                "np.arange(steps)[:, None] stands upright: beside lengths every step meets every "
                "sequence.",
            ),
            "A comparison of a column with a row has an answer for each pair. All that follows "
            "asks this mask, so a mistake by one here would be one everywhere.",
            mask_of,
        ),
        Exercise(
            "hold",
            "Hold the state",
            ("what does not count changes nothing", "choose, do not multiply"),
            (
                "Compute the next state of all sequences, and then say for each whether it is "
                "taken.",
                "np.where(condition, a, b) chooses; the condition needs an axis for the units: "
                "mask[t][:, None].",
                "In the loop: h = np.where(mask[t][:, None], step(xs[t], h), h).",
            ),
            "A state that is held at the end of a sequence is its last one, whatever follows; a "
            "gradient passes through it unchanged. And a choice, unlike a product, does not "
            "look at what it leaves: NaN cannot get through.",
            hold,
        ),
        Exercise(
            "reverse_inside",
            "From its own end",
            ("each sequence has an end of its own",),
            (
                "Go through the sequences; for each turn round its first lengths[b] steps.",
                "xs[:n, b] are the real steps of sequence b, and [::-1] turns them round.",
                "turned = xs.copy(); for each b and its length n: turned[:n, b] = xs[:n, b][::-1].",
            ),
            "Had the whole array been turned round, the padding would come first, and a network "
            "that reads from the end would begin with it: each short sentence by another number "
            "of steps.",
            reverse_inside,
        ),
        Exercise(
            "last_valid",
            "The last that counts",
            ("a sequence is read at its own last step",),
            (
                "For each sequence two numbers are needed: which step, and which row.",
                "The last real step of a sequence of n is n - 1.",
                "Two arrays as indices go in pairs: hs[lengths - 1, np.arange(len(lengths))].",
            ),
            "hs[-1] would have been right if the state had been held, and wrong if not. To ask for "
            "the last real step is right in both cases.",
            last_valid,
        ),
        Exercise(
            "mean_loss",
            "A mean over what counts",
            ("padding is no loss of 0, but none at all",),
            (
                "Take the real losses first; then they are simply numbers.",
                "An array of bools as an index takes what is True.",
                "losses[mask] is a row of all real losses; its mean is asked for.",
            ),
            "Divided by all steps, the loss would fall as soon as a longer sequence came into the "
            "batch, though nothing was learnt: batch mates would change each other's weight.",
            mean_loss,
        ),
    ),
    fast=2,
    picture=picture,
)
