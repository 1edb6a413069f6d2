"""Lesson 11: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...view import curve
from .. import Exercise, Judge, Lesson, call

SHARES = np.array([[2.0, 1.0, 1.0], [1.0, 6.0, 1.0], [4.0, 3.0, 1.0]])  # by what was read


def bits(judge: Judge) -> None:
    """Expected: probabilities that are powers of 2, whose bits can be counted."""
    by = "counted by hand"
    even = np.zeros((1, 1, 4))
    judge.see("four symbols, all equally likely", call(even, np.array([[2]])), 2.0, by)
    logits = np.log(np.tile([1 / 2, 1 / 4, 1 / 8, 1 / 8], (3, 2, 1)))
    target = np.array([[0, 1], [2, 0], [3, 2]])
    words = "p = 1/2, 1/4, 1/8, 1/8; the targets 0 1, 2 0, 3 2 cost 1 + 2 + 3 + 1 + 3 + 3 bits"
    judge.see(words, call(logits, target), 13 / 6, by)
    large = call(np.full((1, 1, 2), 1000.0), np.array([[1]]))
    judge.see("two symbols, both with the score 1000", large, 1.0, by)


def teacher_forcing(judge: Judge) -> None:
    """Expected: read off the table from which the model takes its scores."""
    p = SHARES / SHARES.sum(1, keepdims=True)
    text = [0, 1, 1, 2, 0, 2]

    def step(symbol: int, count: int) -> tuple[np.ndarray, int]:
        return np.log(SHARES[symbol]), count

    by = "by the model's table"
    judge.see("the text 0 1", call(step, 0, [0, 1]), np.array([p[0, 1]]), by)
    expected = p[text[:-1], text[1:]]
    judge.see("the text 0 1 1 2 0 2", call(step, 0, text), expected, by)

    def turning(symbol: int, count: int) -> tuple[np.ndarray, int]:
        return np.log(SHARES[(symbol + count) % 3]), count + 1

    expected = np.array([p[(text[t] + t) % 3, text[t + 1]] for t in range(5)])
    judge.see("a model whose state counts the steps", call(turning, 0, text), expected, by)


def draw(judge: Judge) -> None:
    """Expected: where the pieces end was worked out by hand, for powers of small numbers."""
    logits, by = np.log(np.array([1.0, 2.0, 1.0])), "by the pieces of the line"
    chances = (0.1, 0.2, 0.27, 0.72, 0.8, 0.9)

    def see(words: str, logits: np.ndarray, temperature: float, *symbols: int) -> None:
        def all_of(made: Any) -> list[Any]:
            return [call(logits, temperature, u)(made) for u in chances]

        places = (f"u = {u}" for u in chances)
        judge.see(words, all_of, dict(zip(places, symbols, strict=True)), by)

    see("temperature 1: pieces of 1/4, 1/2, 1/4", logits, 1.0, 0, 0, 1, 1, 2, 2)
    see("temperature 1/2: pieces of 1/6, 4/6, 1/6", logits, 0.5, 0, 1, 1, 1, 1, 2)
    see("temperature 100: pieces of nearly 1/3 each", logits, 100.0, 0, 0, 0, 2, 2, 2)
    see("temperature 1/2, and all scores larger by 1000", logits + 1000, 0.5, 0, 1, 1, 1, 1, 2)
    far = np.array([-2000.0, 0.0])
    judge.see("u = 0, and symbol 0 has the probability 0", call(far, 1.0, 0.0), 1, by)


def machine(symbol: int, state: int) -> tuple[np.ndarray, int]:
    """A model that remembers everything it has read, in a number below 7."""
    state = (3 * state + symbol + 1) % 7
    return np.eye(7)[state], state


def write(judge: Judge) -> None:
    """Expected: for each symbol all that stands before it is read again from the beginning."""

    def likeliest(logits: np.ndarray) -> int:
        return int(np.argmax(logits))

    def again(prompt: list[int], count: int) -> list[int]:
        text = list(prompt)
        for _ in range(count):
            state = 0
            for symbol in text:
                state = (3 * state + symbol + 1) % 7
            text.append(state)  # the machine's score is 1 for that symbol
        return text[len(prompt) :]

    by = "all read again for each symbol"
    for words, prompt, count in (
        ("the prompt 2, one symbol", [2], 1),
        ("the prompt 2, six symbols", [2], 6),
        ("the prompt 2 5 1, six symbols", [2, 5, 1], 6),
    ):
        run = call(machine, 0, prompt, count, likeliest)
        judge.see(words, run, again(prompt, count), by)


def both_ways(judge: Judge) -> None:
    """Expected: for cells that are linear the states are sums of powers."""

    def forward(x: Any, h: Any) -> Any:
        return 0.5 * h + x

    def backward(x: Any, h: Any) -> Any:
        return 0.25 * h + x

    rng = np.random.default_rng(0)
    for T, H in ((1, 1), (3, 1), (4, 2)):
        xs = rng.normal(size=(T, H)).round(1)
        apart = np.subtract.outer(np.arange(T), np.arange(T)).astype(float)
        before = np.where(apart >= 0, 0.5 ** np.abs(apart), 0) @ xs
        after = np.where(apart <= 0, 0.25 ** np.abs(apart), 0) @ xs
        expected = np.concatenate([before, after], axis=1)
        words = f"forward h/2 + x, backward h/4 + x, T = {T}, H = {H}"
        judge.see(words, call(forward, backward, xs, np.zeros(H)), expected, "as a sum by hand")


def picture(made: Mapping[str, Any]) -> Any:
    """What each letter of a proverb costs a model that has counted pairs, and what it writes."""
    text = "step by step the river finds the sea; step by step the reader finds the river. "
    letters = sorted(set(text))
    index = [letters.index(letter) for letter in text]
    counts = np.full((len(letters), len(letters)), 0.02)
    np.add.at(counts, (index[:-1], index[1:]), 1)

    def step(symbol: int, state: Any) -> tuple[np.ndarray, Any]:
        return np.log(counts[symbol]), state

    rng = np.random.default_rng(3)
    written = made["write"](step, None, index[:1], 40, lambda s: made["draw"](s, 0.7, rng.random()))
    costs = -np.log2(made["teacher_forcing"](step, None, index))
    line = "".join(letters[k] for k in index[:1] + written)
    return curve(
        costs, title=f"It writes: {line}", x_label="letters read", y_label="bits of the next one"
    )


LESSON = Lesson(
    "writes",
    "It writes",
    60,
    (
        Exercise(
            "bits",
            "Bits a character",
            ("surprise is -log p", "bits are logarithms to base 2", "one mean over all places"),
            (
                "It is softmax-cross-entropy, in another unit.",
                "log softmax is logits - log(sum(exp(logits))), along the last axis, with the "
                "largest subtracted first. Take it at the targets and average once.",
                "With log_p of the shape of logits: "
                "-np.take_along_axis(log_p, target[..., None], -1).mean() / np.log(2).",
            ),
            "One bit is one question with yes or no. A model that hesitates evenly between n "
            "symbols costs log2(n) bits; one that knew would cost none. The mean is taken once, "
            "so texts of any length can be compared.",
            bits,
        ),
        Exercise(
            "teacher_forcing",
            "The text is read, not the guess",
            ("what is read and what is foretold are one place apart", "teacher forcing"),
            (
                "Go through pairs: a symbol, and the one after it.",
                "Call step with the first of a pair, and look up the second in the softmax of the "
                "scores. Keep the state that step returns.",
                "for one, other in zip(text[:-1], text[1:]): logits, state = step(one, state), "
                "and then the softmax of logits at place other.",
            ),
            "The teacher says the right symbol after every guess, so an early mistake spoils "
            "nothing later, and in training all the inputs are known beforehand.",
            teacher_forcing,
        ),
        Exercise(
            "draw",
            "Sure when cold, wild when hot",
            ("draw as often as p says", "scores are divided by the temperature"),
            (
                "First the softmax of the scores at this temperature, then the piece of the line.",
                "Scores divided by a small number lie further apart: cold makes sure. The pieces "
                "end at np.cumsum(p).",
                "The first place where np.cumsum(p) > u: np.argmax of that, with "
                "p = softmax(logits / temperature).",
            ),
            "Dividing scores by T takes probabilities to the power 1/T. Towards 0 only the "
            "likeliest is left; for a large T all are equally likely.",
            draw,
        ),
        Exercise(
            "write",
            "It reads what it wrote",
            ("the prompt sets the state", "the output is the next input"),
            (
                "Two loops: one reads the prompt, one writes.",
                "The scores after the prompt's last symbol already choose the first symbol.",
                "In the second loop: append choose(logits), then "
                "logits, state = step(written[-1], state).",
            ),
            "The model's weights are the same as in training; only the source of its input has "
            "changed. Now its mistakes are its own next input, which it may never have met.",
            write,
        ),
        Exercise(
            "both_ways",
            "In both directions",
            ("one cell reads backwards", "its states are put back in place"),
            (
                "One loop over xs for the forward cell, another over xs[::-1] for the backward "
                "cell.",
                "The first state of the backward run belongs to the last step: reverse the list "
                "of its states.",
                "np.concatenate([a, b[::-1]], axis=1), where a and b hold the states of the two "
                "runs in the order in which they came.",
            ),
            "Each row now knows the whole text: what is before it from the left half, what is "
            "after it from the right. So it can tag a text that is there, but not write one.",
            both_ways,
        ),
    ),
    fast=3,
    picture=picture,
)
