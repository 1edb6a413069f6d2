"""Sorting: NumPy's order, stable where elements tie, and gradients through the values."""

import numpy as np
import pytest

import tinygrad_rnn as tg

NAN, INF = np.nan, np.inf
X = np.random.default_rng(0).permutation(24).reshape(2, 3, 4) * 0.37 - 3
TIED = np.array([[2.0, 1.0, 2.0, 1.0], [0.0, -0.0, NAN, INF], [NAN, -INF, NAN, 3.0]])
EACH = [(X, axis) for axis in (-1, 0, 1, None)] + [(TIED, 1), (TIED, None), (np.zeros((0, 3)), 0)]


def leaf(x):
    return tg.tensor(x, requires_grad=True)


@pytest.mark.parametrize("x, axis", EACH)
def test_sort_and_argsort_are_numpys(x, axis):
    places = np.argsort(x, axis, kind="stable")
    for given in (x, tg.tensor(x)):
        ours = tg.argsort(given, axis)
        assert np.array_equal(np.asarray(ours), places) and ours.dtype == np.int64
        values = np.asarray(tg.sort(given, axis))
        assert np.array_equal(values, np.sort(x, axis), equal_nan=True)
    assert np.array_equal(np.sort(tg.tensor(x), axis).data, np.sort(x, axis), equal_nan=True)
    assert np.array_equal(np.argsort(tg.tensor(x), axis).data, places)


@pytest.mark.parametrize("axis", [-1, 0, None])
def test_derivatives_go_through_the_values(axis):
    tg.check_grads(lambda x: tg.sort(x, axis), [X], order=2)
    tg.check_grads(lambda x: tg.sort(x * x, axis) ** 2, [X], order=2)
    x, weights = leaf(X), np.random.default_rng(1).normal(size=X.shape if axis is not None else 24)
    slope = tg.grad((tg.sort(x, axis) * weights).sum(), x).data
    if axis is not None:  # of a permutation, the derivative is its inverse
        back = np.take_along_axis(weights, np.argsort(np.argsort(X, axis), axis), axis)
        assert np.array_equal(slope, back)
    assert tg.argsort(x, axis).op is None


def test_what_ties_keeps_its_order_and_its_gradient():
    x = leaf([2.0, 1.0, 2.0, 1.0])
    slope = tg.grad((tg.sort(x) * np.array([1.0, 2.0, 3.0, 4.0])).sum(), x)
    assert slope.data.tolist() == [3.0, 1.0, 4.0, 2.0]


def largest(row, k):
    """Of a row: by value, then by place; NaN above all numbers."""
    key = lambda i: (0, 0.0) if np.isnan(row[i]) else (1, -float(row[i]))
    return sorted(range(len(row)), key=lambda i: (*key(i), i))[:k]


def smallest(row, k):
    key = lambda i: (1, 0.0) if np.isnan(row[i]) else (0, row[i])
    return sorted(range(len(row)), key=lambda i: (*key(i), i))[:k]


@pytest.mark.parametrize("x", [TIED, X[0], X[0] > -1, np.array([[3, 0, 255]], np.uint8)])
@pytest.mark.parametrize("first", [largest, smallest])
def test_topk(first, x):
    for k in range(x.shape[1] + 1):
        expected = np.array([first(row, k) for row in x], np.int64).reshape(len(x), k)
        values, places = tg.topk(tg.tensor(x), k, largest=first is largest)
        assert np.array_equal(places.data, expected)
        picked = np.take_along_axis(x, expected, 1)
        assert values.dtype == x.dtype and np.array_equal(values.data, picked, x.dtype.kind == "f")
        turned = tg.topk(tg.tensor(x.T), k, axis=0, largest=first is largest)
        assert np.array_equal(turned[1].data, expected.T)


def test_derivatives_of_topk():
    for axis, most in ((0, True), (-1, False), (None, True)):
        tg.check_grads(lambda x, a=axis, m=most: tg.topk(x * x, 2, a, m)[0], [X], order=2)


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: tg.topk(tg.tensor(X), 5),
            "topk: k: expected 0 to 4, the size of axis 2, got 5",
        ),
        (lambda: tg.topk(tg.tensor(X), -1), "topk: k: expected 0 to 4"),
        (lambda: tg.sort(tg.tensor(X), 3), "sort: axis: axis 3 is out of bounds"),
        (lambda: tg.sort(tg.tensor(X), (0, 1)), "sort: axis: expected one axis, a whole number"),
        (lambda: tg.tensor(X).sort(), "no attribute 'sort'"),
    ],
)
def test_refusals(call, words):
    with pytest.raises((ValueError, TypeError, AttributeError), match=words):
        call()


def test_a_step_that_sorts_runs_unrolled_and_says_so(as_python):
    xs, h = tg.tensor(X[0, :, :3]), tg.tensor([0.0, 0.5, 0.0], requires_grad=True)
    for f in (tg.sort, lambda x: tg.topk(x, 3)[0], lambda x: tg.where(tg.argsort(x) > 0, x, -x)):
        step = lambda x, h, f=f: f(x + h)
        with pytest.warns(tg.ScanWarning, match="argsort has no compiled form"):
            path = tg.scan(step, h, xs)[0]
        same = tg.scan(step, h, xs, unroll=True)[0]
        assert np.array_equal(path.data, same.data)
        assert np.array_equal(tg.grad(path.sum(), h).data, tg.grad(same.sum(), h).data)
