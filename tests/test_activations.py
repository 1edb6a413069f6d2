"""Every activation in the table: its formula, its slope, and that loops are compiled with it."""

import math
import warnings

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn import activations
from tinygrad_rnn.nn.activations import ACTIVATIONS, activation

# Each once more, for one number, and the largest slope that its sentence promises.
FORMULAS = {
    "identity": (lambda x: x, 1),
    "tanh": (math.tanh, 1),
    "sigmoid": (lambda x: 1 / (1 + math.exp(-x)), 1 / 4),
    "relu": (lambda x: max(0, x), 1),
    "softplus": (lambda x: math.log1p(math.exp(x)), 1),
    "softsign": (lambda x: x / (1 + abs(x)), 1),
    "hard_sigmoid": (lambda x: max(0, min(1, 0.2 * x + 0.5)), 0.2),
    "hard_sigmoid_keras": (lambda x: max(0, min(6, x + 3)) / 6, 1 / 6),
    "leaky_relu_keras": (lambda x: x if x >= 0 else 0.2 * x, 1),
    "leaky_relu": (lambda x: x if x >= 0 else 0.01 * x, 1),
    "elu": (lambda x: x if x >= 0 else math.expm1(x), 1),
    "thresholded_relu": (lambda x: x if x > 1 else 0, 1),
    "scaled_tanh": (math.tanh, 1),
    "affine": (lambda x: x, 1),
}
GRID = np.array([-9, -2.6, -1.7, -0.9, -0.3, 0, 0.2, 0.8, 1.3, 2.4, 3.1, 8])
each = pytest.mark.parametrize("name", ACTIVATIONS)


def test_the_table_is_complete():
    assert set(ACTIVATIONS) == set(FORMULAS)


@each
def test_formulas(name):
    f = ACTIVATIONS[name]
    expected = [FORMULAS[name][0](x) for x in GRID]
    np.testing.assert_allclose(f(tg.tensor(GRID)).data, expected, rtol=1e-14, atol=1e-16)
    assert f(tg.tensor(GRID, dtype=np.float32)).dtype == np.float32


@each
def test_derivatives(name):
    smooth = GRID[GRID != 0]
    tg.check_grads(ACTIVATIONS[name], [smooth], order=2)


@each
def test_the_largest_slope(name):
    x = tg.tensor(np.linspace(-20, 20, 4001), requires_grad=True)
    slope = np.abs(tg.grad(ACTIVATIONS[name](x).sum(), x).data).max()
    assert 0.999 * FORMULAS[name][1] <= slope <= FORMULAS[name][1] * (1 + 1e-15)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_far_out(name, dtype):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        x = tg.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
        y = ACTIVATIONS[name](x)
        slope = tg.grad(y.sum(), x, create_graph=True)
        curve = tg.grad((slope * x).sum(), x)
    for found in (y, slope, curve):
        assert np.isfinite(found.data).all() and found.dtype == dtype


def test_one_loop_with_all_of_them():
    """Compiled, without a warning, and as the steps one by one."""
    W = tg.tensor(np.random.default_rng(0).normal(size=(4, 4)) * 0.7, requires_grad=True)
    xs = np.random.default_rng(1).normal(size=(5, 3, 4))

    def step(x, h):
        a = x + h @ W
        return tg.tanh(sum(f(a) * k for k, f in enumerate(ACTIVATIONS.values(), 1)) * 0.1)

    found = []
    for unroll in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (ys,) = tg.scan(step, np.zeros((3, 4)), xs, unroll=unroll)
            assert ys.op.name == ("stack" if unroll else "pick")
            found.append([ys.data, tg.grad((ys * ys).sum(), W).data])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_alpha_and_beta():
    x = tg.tensor([-3.0, -0.5, 0.5, 3.0])
    expected = {
        "hard_sigmoid": np.clip(0.5 * x.data + 0.1, 0, 1),
        "scaled_tanh": 0.5 * np.tanh(0.1 * x.data),
        "affine": 0.5 * x.data + 0.1,
    }
    for name, answer in expected.items():
        np.testing.assert_allclose(ACTIVATIONS[name](x, alpha=0.5, beta=0.1).data, answer)
    assert activations.leaky_relu(x, alpha=0.5).data.tolist() == [-1.5, -0.25, 0.5, 3]
    assert activations.thresholded_relu(x, alpha=0.4).data.tolist() == [0, 0, 0.5, 3]
    np.testing.assert_allclose(
        activations.elu(x, alpha=2.0).data, [2 * math.expm1(-3), 2 * math.expm1(-0.5), 0.5, 3]
    )


def test_slopes_at_the_corner():
    x = tg.tensor(0.0, requires_grad=True)
    slopes = {name: tg.grad(f(x), x).item() for name, f in ACTIVATIONS.items() if name != "relu"}
    assert slopes.pop("thresholded_relu") == 0 and slopes.pop("sigmoid") == 0.25
    assert slopes.pop("hard_sigmoid_keras") == 1 / 6
    assert slopes.pop("hard_sigmoid") == 0.2 and slopes.pop("softplus") == 0.5
    assert set(slopes.values()) == {1.0}


def test_activation_takes_a_name_or_a_function():
    own = lambda x: x * 2
    assert activation("RNN", own) is own
    assert all(activation("RNN", name) is f for name, f in ACTIVATIONS.items())
    for wrong, kind in [("swish", ValueError), (3, TypeError), (None, TypeError)]:
        with pytest.raises(kind) as caught:
            activation("RNN", wrong)
        for word in ["RNN: activation: expected", "'softsign'", "a function", f"got {wrong!r}"]:
            assert word in str(caught.value)
