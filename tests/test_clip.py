"""Clipping inside backpropagation through time, against sums by hand; and of gradients."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

T, B, I, H = 7, 4, 3, 5


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(array):
    return tg.tensor(array, requires_grad=True)


XS, H0, G = normal(0, T, B, I), normal(1, B, H), normal(2, T, B, H)
WX, WH, BIAS = normal(3, I, H), 1.3 * normal(4, H, H), normal(5, H)
LIMITS = [{"norm": 0.4}, {"value": 0.15}, {"norm": 1e9}]
each_limit = pytest.mark.parametrize("limit", LIMITS, ids=str)


def clipped(delta, norm=None, value=None):
    """Row by row and element by element, in plain NumPy."""
    if value is not None:
        return np.clip(delta, -value, value)
    rows = [row * min(1, norm / np.linalg.norm(row)) for row in delta]
    return np.array(rows)


def by_hand(limit):
    """S13 and S14 with every δ clipped: δ_k = clip(f'(s*_k) ⊙ (g_k + Wᵀ δ_{k+1}))."""
    hs = [H0]
    for x in XS:
        hs.append(np.tanh(x @ WX + hs[-1] @ WH + BIAS))
    dx, arriving = np.zeros_like(XS), np.zeros_like(H0)
    dWx, dWh, db = np.zeros_like(WX), np.zeros_like(WH), np.zeros_like(BIAS)
    for k in reversed(range(T)):
        delta = clipped((1 - hs[k + 1] ** 2) * (G[k] + arriving), **limit)
        dWx += XS[k].T @ delta
        dWh += hs[k].T @ delta
        db += delta.sum(0)
        dx[k], arriving = delta @ WX.T, delta @ WH.T
    return [dx, arriving, dWx, dWh, db]


def by_engine(limit, unroll, create_graph=False, **how):
    leaves = [leaf(a) for a in (XS, H0, WX, WH, BIAS)]
    xs, h, Wx, Wh, b = leaves

    def step(x, h):
        return tg.tanh(tg.clip_gradient(x @ Wx + h @ Wh + b, **limit))

    (ys,) = tg.scan(step, h, xs, unroll=unroll, **how)
    return [g.data for g in tg.grad(ys, leaves, G, create_graph=create_graph)]


def agree(found, expected, tolerance=1e-12):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()))


@each_limit
@pytest.mark.parametrize("how", [{}, {"checkpoint": 2}, {"create_graph": True}], ids=str)
def test_a_clipped_backward_pass_is_the_one_by_hand(limit, how):
    expected = by_hand(limit)
    agree(by_engine(limit, True), expected)
    agree(by_engine(limit, False, **how), expected)


def test_the_limits_above_are_reached():
    free = by_hand({"norm": 1e9})
    for limit in LIMITS[:2]:
        assert all(np.abs(a - b).max() > 0.1 for a, b in zip(by_hand(limit), free, strict=True))


def test_a_carry_or_an_input_handed_through():
    xs, h = leaf(normal(6, 3, B, H)), leaf(H0)

    def step(x, h):
        kept = tg.clip_gradient(h, norm=0.3)
        return tg.clip_gradient(h, value=0.2), kept * x, tg.clip_gradient(x, value=0.1)

    found = []
    for unroll in (False, True):
        ys = tg.scan(step, h, xs, unroll=unroll)
        loss = sum((y * y * k).sum() for k, y in enumerate(ys, 1))
        found.append([*[y.data for y in ys], *[g.data for g in tg.grad(loss, [xs, h])]])
    agree(*found)


@each_limit
def test_a_row_does_not_depend_on_its_mates(limit):
    g = normal(7, B, H)

    def pulled(rows):
        x = leaf(H0[rows])
        return tg.grad(tg.clip_gradient(x, **limit), x, g[rows]).data

    whole = pulled(slice(None))
    for k in range(B):
        assert np.array_equal(pulled(slice(k, k + 1))[0], whole[k])


@each_limit
def test_the_identity_ahead_and_exact_where_the_limit_is_not_reached(limit):
    x = leaf(H0)
    y = tg.clip_gradient(x, **limit)
    assert np.array_equal(y.data, x.data) and y.op.name == "clip_gradient"
    g = normal(8, B, H) * 1e-3
    assert np.array_equal(tg.grad(y, x, g).data, g)
    assert np.array_equal(tg.clip_gradient(H0, **limit), H0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_exploded_keep_their_direction(dtype):
    """Where squares overflow or there is nothing: no NaN, no zeros, no warning."""
    huge = np.finfo(dtype).max / 8
    g = np.array([[3, 4], [3 * huge / 2, -2 * huge], [0, 0], [1e-30, 0], [0, huge]], dtype)
    x = tg.tensor(np.zeros((5, 2), dtype), requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        found = tg.grad(tg.clip_gradient(x, norm=0.5), x, g)
    expected = [[0.3, 0.4], [0.3, -0.4], [0, 0], [1e-30, 0], [0, 0.5]]
    np.testing.assert_allclose(found.data, expected, rtol=3e-7)
    assert found.dtype == dtype


def test_nan_stays_in_its_row():
    x, g = leaf(np.zeros((2, 2))), np.array([[np.nan, 1], [3, 4]])
    found = tg.grad(tg.clip_gradient(x, norm=1), x, g).data
    assert np.isnan(found[0]).all() and np.allclose(found[1], [0.6, 0.8])
    found = tg.grad(tg.clip_gradient(x, value=2), x, np.array([[np.nan, np.inf], [-np.inf, 1]]))
    assert np.array_equal(found.data, [[np.nan, 2], [-2, 1]], equal_nan=True)


@each_limit
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (0, 3), (2, 0), (2, 2, 3)])
def test_as_a_function_of_the_cotangent_it_has_its_true_derivatives(limit, shape):
    def pulled(g):
        x = leaf(np.zeros(shape))
        return tg.grad((tg.clip_gradient(x, **limit) * g).sum(), x, create_graph=True)

    tg.check_grads(pulled, [normal(9, *shape)], order=2)
    tg.check_grads(pulled, [normal(9, *shape) * 0.05], order=2)


def test_and_so_has_a_loop():
    def slopes(g, unroll):
        W = leaf(WH)
        step = lambda x, h: tg.tanh(tg.clip_gradient(x @ WX + h @ W, norm=0.4))
        (ys,) = tg.scan(step, H0, XS, unroll=unroll)
        return tg.grad((ys * g).sum(), W, create_graph=True)

    for unroll in (False, True):
        tg.check_grads(lambda g, how=unroll: slopes(g, how), [G], order=1)


def test_drawn_as_a_box_of_its_own():
    x = leaf(H0)
    assert "clip gradient" in tg.draw(tg.clip_gradient(x, norm=1).sum()).svg


@pytest.mark.parametrize(
    "x, limit, kind, words",
    [
        (H0, {}, ValueError, "norm=... or value=..."),
        (H0, {"norm": 1, "value": 1}, ValueError, "one of the two"),
        (H0, {"norm": 0}, ValueError, "norm: expected a number in (0, inf), got 0"),
        (H0, {"value": np.nan}, ValueError, "value: expected a number in (0, inf), got nan"),
        (H0, {"value": np.inf}, ValueError, "leave it out"),
        (H0, {"value": "5"}, TypeError, "value: expected a number in (0, inf), got '5'"),
        (1.0, {"norm": 1}, ValueError, "norm: x has no axis"),
    ],
)
def test_refusals(x, limit, kind, words):
    with pytest.raises(kind, match="clip_gradient") as caught:
        tg.clip_gradient(x, **limit)
    assert words in str(caught.value)


def test_what_is_the_same_at_all_steps_is_refused_in_a_loop():
    """Compiled, its gradient would come once, added up; step by step it comes T times."""
    W = leaf(WH)
    step = lambda h: tg.tanh(h @ tg.clip_gradient(W, value=0.01))
    with pytest.raises(tg.Untraceable, match="clip x before the scan"):
        tg.scan(step, H0, None, length=3)
    (ys,) = tg.scan(step, H0, None, length=3, unroll=True)
    bound = np.abs(tg.grad(ys.sum(), W).data).max()
    assert 0.01 < bound <= 0.03 + 1e-12


# -- gradients that have arrived ------------------------------------------------------------------


def test_clip_grad_value():
    x, y, z = leaf(np.zeros(3)), leaf(np.zeros(2)), leaf(np.zeros(2))
    assert optim.clip_grad_value([], 1.0) == optim.clip_grad_value([z], 1.0) == 0
    x.grad, y.grad = [3.0, -4.0, 0.5], [0.1, np.inf]
    before = y.grad
    assert optim.clip_grad_value([x, z], 1.0) == 4 and y.grad is before
    assert x.grad.data.tolist() == [1, -1, 0.5] and z.grad is None
    kept = x.grad
    assert optim.clip_grad_value([x], 1.0) == 1 and x.grad is kept  # idempotent
    assert optim.clip_grad_value([x, y], 2.0) == np.inf and y.grad.data.tolist() == [0.1, 2]
    single = tg.tensor(np.zeros(1, np.float32), requires_grad=True)
    single.grad = np.full(1, np.inf, np.float32)
    assert optim.clip_grad_value([single], 1e300) == np.inf
    assert single.grad.data[0] == np.finfo(np.float32).max
    y.grad = [np.nan, -5.0]
    assert np.isnan(optim.clip_grad_value([y, x], 2.0))
    assert np.array_equal(y.grad.data, [np.nan, -2], equal_nan=True)


def test_clip_grad_value_of_a_module_and_refusals():
    layer = nn.Linear(2, 2, rng=0)
    for p in layer.parameters():
        p.grad = np.full(p.shape, 7, np.float32)
    assert optim.clip_grad_value(layer, 0.5) == 7
    assert all(p.grad.dtype == np.float32 and (p.grad.data == 0.5).all()
               for p in layer.parameters())  # fmt: skip
    for wrong in (0, -1, np.nan):
        with pytest.raises(ValueError, match="clip_grad_value: limit: expected a number in"):
            optim.clip_grad_value([], wrong)
    with pytest.raises(TypeError, match="clip_grad_value: parameters: expected a list"):
        optim.clip_grad_value(layer.W, 1)


@pytest.mark.parametrize(
    "size", [5e-324, 1e-320, 1e-200, 1e-170, 1e-160, 1e-155, 1e-140, 1.0, 1e155, 1e300]
)
def test_a_norm_keeps_its_digits_where_squares_are_too_small_or_too_large(size):
    """Squares below 1e-308 lose digits one by one, below 1e-324 all: math.hypot loses none."""
    numbers = [3 * size, 1.7 * size, 4.1 * size]
    got = optim.clip.euclidean([np.array(numbers[:2]), np.array(numbers[2:])])
    assert got == pytest.approx(math.hypot(*numbers), rel=1e-14, abs=0)
    w = leaf(numbers)
    w.grad = np.array(numbers)
    assert optim.clip_grad_norm([w], 1e308) == pytest.approx(math.hypot(*numbers), rel=1e-14, abs=0)
