"""The loss over all ways to place labels in time, against every way written out."""

import itertools
import re

import numpy as np
import pytest

import tinygrad_rnn as tg


def spelled(path, blank):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def by_all_ways(log_probs, target, blank=0):
    """-log of the summed chances of all C^T ways that spell the target."""
    T, C = log_probs.shape
    ways = [p for p in itertools.product(range(C), repeat=T) if spelled(p, blank) == list(target)]
    chances = [np.exp(sum(log_probs[t, label] for t, label in enumerate(p))) for p in ways]
    return -np.log(sum(chances)) if ways else np.inf


def log_probs(T, N, C, seed=0):
    x = np.random.default_rng(seed).normal(size=(T, N, C))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# targets with repetitions, empty, too long for their times, of padded batches
TARGETS = [[1, 2], [1, 1], [2, 0], [0, 0], [1, 2], [2, 2], [0, 0]]
TIMES = [5, 4, 2, 5, 1, 2, 0]
SIZES = [2, 2, 1, 0, 2, 2, 0]
X = log_probs(5, 7, 3)
EXPECTED = np.array(
    [
        by_all_ways(X[:t, n], y[:k])
        for n, (t, y, k) in enumerate(zip(TIMES, TARGETS, SIZES, strict=True))
    ]
)


def test_it_is_the_sum_over_all_ways():
    y = tg.ctc_loss(tg.tensor(X), TARGETS, TIMES, SIZES, reduction="none")
    np.testing.assert_allclose(y.data, EXPECTED, rtol=1e-13)
    assert np.isinf(EXPECTED).tolist() == [False] * 4 + [True] * 2 + [False] and EXPECTED[-1] == 0


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_every_target_of_up_to_three_labels(blank):
    x = log_probs(4, 1, 3, seed=blank)
    labels = [c for c in range(3) if c != blank]
    targets = [y for k in range(4) for y in itertools.product(labels, repeat=k)]
    expected = [by_all_ways(x[:, 0], y, blank) for y in targets]
    for target, wanted in zip(targets, expected, strict=True):
        one = tg.ctc_loss(x[:, 0], np.array(target, int), 4, len(target), blank, "none")
        np.testing.assert_allclose(one.data, wanted, rtol=1e-13)
    flat = [label for y in targets for label in y]  # all rows at once, their labels in a row
    sizes = [*map(len, targets)]
    many = np.repeat(x, len(targets), axis=1)
    y = tg.ctc_loss(many, flat, [4] * len(targets), sizes, blank, "none")
    np.testing.assert_allclose(y.data, expected, rtol=1e-13)
    chances = [np.exp(-by_all_ways(x[:, 0], y, blank)) for k in range(5)
               for y in itertools.product(labels, repeat=k)]  # fmt: skip
    assert abs(sum(chances) - 1) < 1e-12  # the reference has them all


def test_reductions_are_pytorchs():
    finite = slice(0, 4)
    args = [a[finite] for a in (TARGETS, TIMES, SIZES)]
    x, sizes = X[:, finite], np.array(SIZES[finite])
    total = tg.ctc_loss(x, *args, reduction="sum").item()
    np.testing.assert_allclose(total, EXPECTED[finite].sum(), rtol=1e-13)
    mean = (EXPECTED[finite] / np.maximum(sizes, 1)).mean()
    np.testing.assert_allclose(tg.ctc_loss(x, *args).item(), mean, rtol=1e-13)


def test_derivatives_of_any_order():
    args = [a[:4] for a in (TARGETS, TIMES, SIZES)]
    tg.check_grads(lambda x: tg.ctc_loss(x, *args), [X[:, :4]], order=3)
    tg.check_grads(lambda x: tg.ctc_loss(tg.log_softmax(x), *args, reduction="none"), [X[:, :4]])
    tg.check_grads(lambda x: tg.ctc_loss(x, [2, 1], 4, 2), [X[:4, 0]], order=2)


def test_what_fits_no_way_costs_infinity_and_teaches_nothing():
    x = tg.tensor(X, requires_grad=True)
    y = tg.ctc_loss(x, TARGETS, TIMES, SIZES, reduction="none", zero_infinity=True)
    assert np.array_equal(y.data == 0, np.isinf(EXPECTED) | (EXPECTED == 0))
    for zero in (False, True):
        y = tg.ctc_loss(x, TARGETS, TIMES, SIZES, reduction="sum", zero_infinity=zero)
        slope = tg.grad(y, x, create_graph=True)
        curve = tg.grad((slope * slope).sum(), x)
        for g in (slope, curve):
            assert np.isfinite(g.data).all() and not g.data[:, 4:].any() and g.data[:, :3].any()


def test_what_is_behind_the_lengths_does_no_harm():
    dirty, wrong = X[:, :4].copy(), np.array(TARGETS[:4])
    for n, (t, k) in enumerate(zip(TIMES[:4], SIZES[:4], strict=True)):
        dirty[t:, n], wrong[n, k:] = np.nan, 99
    x = tg.tensor(dirty, requires_grad=True)
    y = tg.ctc_loss(x, wrong, TIMES[:4], SIZES[:4], reduction="sum")
    np.testing.assert_allclose(y.item(), EXPECTED[:4].sum(), rtol=1e-13)
    slope = tg.grad(y, x, create_graph=True)
    curve = tg.grad((slope * slope).sum(), x)
    for g in (slope, curve):
        assert np.isfinite(g.data).all() and all(
            not g.data[t:, n].any() for n, t in enumerate(TIMES[:4])
        )


def test_chances_of_0_and_long_sequences():
    """-inf is a chance of 0; logarithms keep what a product of chances would lose."""
    x = X[:4, :1].copy()
    x[1] = [[-np.inf, 0.0, -np.inf]]
    y = tg.ctc_loss(tg.tensor(x), [[1, 2]], [4], [2], reduction="sum")
    np.testing.assert_allclose(y.item(), by_all_ways(x[:, 0], [1, 2]), rtol=1e-13)
    T = 3000
    even = tg.tensor(np.full((T, 1, 2), np.log(0.5)), requires_grad=True)
    y = tg.ctc_loss(even, [[1]], [T], [1])  # T (T + 1) / 2 ways of 2^-T
    np.testing.assert_allclose(y.item(), T * np.log(2) - np.log(T * (T + 1) / 2), rtol=1e-10)
    np.testing.assert_allclose(tg.grad(y, even).data.sum(), -T, rtol=1e-8)


def test_float32_stays():
    x = tg.tensor(X[:, :4], requires_grad=True, dtype=np.float32)
    y = tg.ctc_loss(x, TARGETS[:4], TIMES[:4], SIZES[:4], reduction="none")
    assert y.dtype == tg.grad(y.sum(), x).dtype == np.float32
    np.testing.assert_allclose(y.data, EXPECTED[:4], rtol=2e-6)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            dict(targets=[[1, 3]]),
            "targets: expected 0 <= label < 3, but not 0, which is the blank, got 3",
        ),
        (
            dict(targets=[[1, 0]]),
            "targets: expected 0 <= label < 3, but not 0, which is the blank, got 0",
        ),
        (dict(targets=[[1]]), "targets: expected (1, 2 or more), or 2 labels in a row"),
        (dict(targets=[[1.0, 2.0]]), "targets: expected integers, got dtype float64"),
        (
            dict(input_lengths=[6]),
            "input_lengths: expected at least 0 and at most 5",
        ),
        (
            dict(input_lengths=[5, 5]),
            "input_lengths: expected one whole number for each",
        ),
        (dict(target_lengths=[-1]), "target_lengths: expected at least 0, got -1 at index 0"),
        (dict(blank=3), "blank: expected 0 to 2, the last class, got 3"),
        (dict(log_probs=X[0, 0]), "log_probs: expected floats (T, N, C), or (T, C)"),
        (dict(reduction="all"), "reduction: expected one of ('mean', 'sum', 'none'), got 'all'"),
    ],
)
def test_what_does_not_fit_is_refused_aloud(change, words):
    given = dict(log_probs=X[:, :1], targets=[[1, 2]], input_lengths=[5], target_lengths=[2])
    with pytest.raises((ValueError, TypeError), match=re.escape(f"ctc_loss: {words}")):
        tg.ctc_loss(**given | change)


def test_in_a_step_it_is_refused():
    def step(x, times, h):
        return h + tg.ctc_loss(x, [[1]], times, [1])

    with pytest.raises(tg.Untraceable, match="take the loss after the scan"):
        tg.scan(step, tg.tensor(0.0), (tg.tensor(X[None, :, :1]), tg.tensor([[5]])))
