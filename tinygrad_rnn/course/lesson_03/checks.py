"""Lesson 03: how its exercises are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from ...view import curve
from .. import Exercise, Judge, Lesson, call
from ..judge import Run

H = 1e-30  # an imaginary step: nothing is subtracted, so it can be as small as one likes


def nudged(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of f, one entry after the other, by complex steps."""
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[place] += 1j * H
        gradient[place] = f(moved).imag / H
    return gradient


def quiet(run: Run) -> Run:
    """Without NumPy's warnings: an overflow is seen in the numbers."""

    def silent(made: Any) -> Any:
        with np.errstate(all="ignore"):
            return run(made)

    return silent


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers to try things with."""
    return np.random.default_rng(seed).normal(size=shape).round(2)


def unbroadcast(judge: Judge) -> None:
    """Expected: counted, place by place: which entry stood there?"""
    for shape, wide in (
        ((3,), (3,)),
        ((3,), (2, 3)),
        ((2, 1), (2, 3)),
        ((1, 3), (2, 3)),
        ((), (2, 3)),
        ((3, 1), (4, 3, 2)),
        ((1, 1), (1, 1)),
    ):
        gradient = numbers(*wide)
        size = int(np.prod(shape))
        entries = np.broadcast_to(np.arange(size).reshape(shape), wide)
        expected = np.bincount(entries.ravel(), gradient.ravel(), size).reshape(shape)
        judge.see(f"{shape} → {wide}", call(gradient, shape), expected, by="place by place")


def matmul_backward(judge: Judge) -> None:
    """Expected: by complex steps."""
    for n, i, o in ((1, 1, 1), (2, 2, 2), (1, 3, 2), (5, 3, 2)):
        x, W, g = numbers(n, i), numbers(i, o, seed=1), numbers(n, o, seed=2)

        def by_x(v: np.ndarray, W: np.ndarray = W, g: np.ndarray = g) -> Any:
            return (g * (v @ W)).sum()

        def by_W(v: np.ndarray, x: np.ndarray = x, g: np.ndarray = g) -> Any:
            return (g * (x @ v)).sum()

        expected = {"x": nudged(by_x, x), "W": nudged(by_W, W)}
        judge.see(f"({n}, {i}) @ ({i}, {o})", call(x, W, g), expected, by="by nudging")


def exactly(row: np.ndarray) -> list[Decimal]:
    """The softmax of a row, in 50 digits, where no exp overflows."""
    with localcontext() as context:
        context.prec = 50
        e = [Decimal(float(x)).exp() for x in row]
        return [one / sum(e) for one in e]


def softmax(judge: Judge) -> None:
    """Expected: in 50 digits."""
    for rows in (
        [0.0, 0.0],
        [0.0, 1.0, 2.0],
        [[0.0, 1.0, 2.0], [2.0, 2.0, 5.0]],
        [1000.0, 1001.0],
        [-1000.0, -1001.0],
        [[1000.0, 1001.0], [0.0, 1.0]],
        [0.0, 2000.0],
        [2000.0, 0.0],
    ):
        x = np.array(rows)
        expected = [[float(p) for p in exactly(row)] for row in np.atleast_2d(x)]
        judge.see(f"x = {rows}", quiet(call(x)), np.reshape(expected, x.shape), by="in 50 digits")


def softmax_backward(judge: Judge) -> None:
    """Expected: by complex steps of exp(x) / Σ exp(x)."""
    for shape in ((2,), (4,), (2, 3)):
        x, g = numbers(*shape), numbers(*shape, seed=1)

        def f(v: np.ndarray, g: np.ndarray = g) -> Any:
            return (g * np.exp(v) / np.exp(v).sum(-1, keepdims=True)).sum()

        p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        judge.see(f"p.shape = {shape}", call(p, g), nudged(f, x), by="by nudging x")


def cross_entropy(judge: Judge) -> None:
    """Expected: the loss in 50 digits, the gradient by complex steps; of large x both by hand."""
    for n, c in ((1, 2), (1, 4), (3, 4)):
        x, targets = numbers(n, c), np.arange(n) % c
        losses = [-exactly(row)[k].ln() for row, k in zip(x, targets, strict=True)]

        def f(v: np.ndarray, targets: np.ndarray = targets) -> Any:
            right = v[np.arange(len(v)), targets]
            return (np.log(np.exp(v).sum(-1)) - right).sum() / len(v)

        expected = {"loss": float(sum(losses) / n), "gradient": nudged(f, x)}
        words = f"x.shape = {(n, c)}, targets = {targets.tolist()}"
        judge.see(words, quiet(call(x, targets)), expected, by="by nudging x")
    far = quiet(call(np.array([[1000.0, 0.0]]), np.array([1])))
    expected = {"loss": 1000.0, "gradient": np.array([[1.0, -1.0]])}
    judge.see("x = [[1000, 0]], targets = [1]", far, expected, by="by hand")


def picture(made: Mapping[str, Any]) -> Any:
    """A network of one layer, trained by the learner's rules alone: three classes of points."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    centres = np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])
    x = centres[targets] + rng.normal(size=(60, 2))
    W, b, losses, right = np.zeros((2, 3)), np.zeros((1, 3)), [], []
    for _ in range(60):
        o = x @ W + b
        loss, gradient = made["cross_entropy"](o, targets)
        losses.append(loss)
        right.append((made["softmax"](o).argmax(-1) != targets).mean())
        W = W - 0.3 * made["matmul_backward"](x, W, gradient)[1]
        b = b - 0.3 * made["unbroadcast"](gradient, b.shape)
    lines = {"loss": losses, "share of wrong classes": right}
    return curve(lines, title="One layer, trained by your rules", x_label="step")


LESSON = Lesson(
    "arrays",
    "Arrays",
    45,
    (
        Exercise(
            "unbroadcast",
            "Broadcasting, undone",
            ("one entry is used in many places", "what is used twice gets both"),
            (
                "There are two kinds of axes: those that were added in front, and those of size 1 "
                "that were stretched.",
                "Sum over the ones in front, so that as many axes are left as shape has; then over "
                "each axis where shape says 1.",
                "gradient.sum(axes, keepdims=True) keeps the axes of size 1.",
            ),
            "A copy for each place was what the forward run made of an entry; so the way back adds "
            "the copies up. In a network this is the bias: its gradient is a sum over examples, "
            "and over time.",
            unbroadcast,
        ),
        Exercise(
            "matmul_backward",
            "Two products for one",
            ("y[n, o] = Σ x[n, i] W[i, o]", "an index that is not in the answer is summed over"),
            (
                "Nudge x[n, i]: y[n, o] rises by W[i, o], for every o.",
                "So the gradient of x[n, i] is the sum over o of gradient[n, o] W[i, o]: write "
                "that as a product of matrices. The same for W[i, o], where the sum is over n.",
                "The shapes must fit: (N, O) with (O, I), and (I, N) with (N, O); .T transposes.",
            ),
            "One product forward, two backward: this is why a step of training costs about three "
            "times a run. The sum over n in that of W is again a sum over all places where W was "
            "used.",
            matmul_backward,
        ),
        Exercise(
            "softmax",
            "A softmax that does not overflow",
            ("exp overflows", "a shift of all numbers changes nothing"),
            (
                "exp(710) is infinite. What can be taken off from a row without a change of its "
                "softmax?",
                "exp(x - c) = exp(x) / exp(c), and exp(c) is in the sum, too: it cancels. Choose c "
                "so that the largest exponent is 0.",
                "e = np.exp(x - x.max(-1, keepdims=True)), and then e divided by its own sum.",
            ),
            "After the shift the largest exponent is 0, so nothing overflows, and the sum is at "
            "least 1, so nothing is divided by 0.",
            softmax,
        ),
        Exercise(
            "softmax_backward",
            "A whole matrix",
            ("the derivative is a matrix", "it need not be built"),
            (
                "∂pᵢ/∂xⱼ = pᵢ ([i = j] - pⱼ): the gradient of xⱼ is a sum over all i.",
                "Multiply it out: Σᵢ gᵢ pᵢ [i = j] is gⱼ pⱼ, and Σᵢ gᵢ pᵢ pⱼ is pⱼ times the mean "
                "of g, weighted with p.",
                "p * (gradient - mean), with mean = (gradient * p).sum(-1, keepdims=True).",
            ),
            "The entries of your gradient add up to 0 in each row, for to raise all numbers of a "
            "row alike changes nothing. Of a diagonal that would not be true.",
            softmax_backward,
        ),
        Exercise(
            "cross_entropy",
            "The loss of a choice",
            ("-log of what the right class got", "the logarithm undoes exp", "a mean over rows"),
            (
                "-log softmax(x)[k] = log Σ exp(x) - x[k]. No probability is needed.",
                "Take off the maximum first, here too. The gradient of one row is p - y, where y "
                "is 1 at the right class and 0 elsewhere.",
                "gradient = softmax(x); gradient[np.arange(N), targets] -= 1; and a mean over N "
                "rows has gradients divided by N.",
            ),
            "The matrix of softmax and the 1 / p of the logarithm cancel, and p - y is left: a "
            "difference, never large, and 0 only where the network is right and sure.",
            cross_entropy,
        ),
    ),
    fast=2,
    picture=picture,
)
