"""Gradients through time on small networks: rows S3 and S16 to S19 of docs/notes.md."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

T, B, H = 12, 2, 3


def numbers(seed, *shape, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


def path_of(Wh, activation, steps=T, h=None, xs=None):
    """Every state of h(t) = f(h(t-1) Wh + x(t)), one row, step by step."""
    h = tg.tensor(numbers(0, 1, len(Wh)) if h is None else h, requires_grad=True)
    Wh, path = tg.tensor(Wh), [h]
    for t in range(steps):
        path.append(nn.ACTIVATIONS[activation](path[-1] @ Wh + (0 if xs is None else xs[t])))
    return path


def jacobian(late, early):
    """∂late/∂early as a matrix, row by row from the engine."""
    rows = [tg.grad(late[0, i], early, retain_graph=True).data[0] for i in range(late.shape[1])]
    return np.array(rows)


def test_S03_weights_of_their_own_for_each_step_have_the_terms_of_the_sum():
    """A shared Wh has the sum of what each step's own copy of it has (S3, S14)."""
    tied = nn.RNN(H, H, dtype=np.float64, rng=0)
    untied = nn.RNN(H, H, untied=T, dtype=np.float64, rng=0)
    untied.load_state_dict(tied.state_dict() | {"Wh": np.stack([tied.Wh.data] * T)})
    xs = numbers(1, T, B, H)
    for cell in (tied, untied):
        (cell(xs)[0] * numbers(2, T, B, H)).sum().backward()
    np.testing.assert_allclose(untied.Wh.grad.data.sum(0), tied.Wh.grad.data, rtol=1e-12)


def test_S03_untied_weights_make_a_product_of_different_matrices():
    cell = nn.RNN(H, H, activation="identity", bias=0, untied=T, dtype=np.float64, rng=0)
    h = numbers(0, 1, H)
    _, (end,) = cell(np.zeros((T, 1, H)), (h,))
    np.testing.assert_allclose(end.data, h @ np.linalg.multi_dot(list(cell.Wh.data)), rtol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_S16_the_jacobian_over_time_is_a_product(activation):
    """∂h(t)/∂h(k) = Π diag(f') Wᵀ, and no longer than (max f' · σ_max(W))^(t-k)."""
    slopes = {
        "tanh": lambda a: 1 - np.tanh(a) ** 2,
        "sigmoid": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
        "relu": lambda a: (a > 0) * 1.0,
    }
    Wh, xs = numbers(1, H, H, scale=0.7), numbers(2, T, 1, H)
    path = path_of(Wh, activation, xs=xs)
    product, found = np.eye(H), jacobian(path[T], path[3])
    for t in range(3, T):
        a = path[t].data @ Wh + xs[t]
        product = np.diag(slopes[activation](a[0])) @ Wh.T @ product
    np.testing.assert_allclose(found, product, rtol=1e-10, atol=1e-15)
    steepest = {"tanh": 1, "sigmoid": 0.25, "relu": 1}[activation]
    bound = (steepest * np.linalg.norm(Wh, 2)) ** (T - 3)
    assert np.linalg.norm(found, 2) <= bound


def test_S16_entries_below_one_do_not_decide():
    """Erratum: the spectral radius does. Small entries explode, and large ones can be gone."""
    path = path_of([[0.5, 0.6], [0.6, 0.5]], "identity", 50)
    small = jacobian(path[-1], path[0])
    path = path_of([[0.0, 10.0], [0.0, 0.0]], "identity", 2)
    large = jacobian(path[-1], path[0])
    assert abs(small).max() == pytest.approx(58.7, abs=0.05) and not large.any()


def test_S16_the_sum_over_steps_has_immediate_derivatives():
    """Erratum: in Σ_k ∂h(t)/∂h(k) ∂h(k)/∂W the last factor holds h(k-1) fixed, or counts twice."""
    Wh = tg.tensor(numbers(1, H, H, scale=0.6), requires_grad=True)
    h, path = tg.tensor(numbers(0, 1, H), requires_grad=True), []
    for _ in range(4):
        h = tg.tanh(h @ Wh)
        path.append(h)
    whole = tg.grad(h.sum(), Wh, retain_graph=True).data
    right, wrong = np.zeros((H, H)), np.zeros((H, H))
    for k, state in enumerate(path):
        back = tg.grad(h.sum(), state, retain_graph=True).data
        before = path[k - 1].data if k else numbers(0, 1, H)
        fixed = tg.tensor(Wh.data, requires_grad=True)
        right += tg.grad((tg.tanh(tg.tensor(before) @ fixed) * back).sum(), fixed).data
        wrong += tg.grad((state * back).sum(), Wh, retain_graph=True).data
    np.testing.assert_allclose(right, whole, rtol=1e-12)
    assert np.abs(wrong - whole).max() > 0.1 * np.abs(whole).max()


def test_S17_slopes_of_tanh_and_sigmoid():
    x = tg.tensor(np.linspace(-6, 6, 1201), requires_grad=True)
    for f, steepest in ((tg.tanh, 1), (tg.sigmoid, 0.25)):
        slope = tg.grad(f(x).sum(), x).data
        assert slope.max() == slope[600] == steepest


def training(clip, steps=40):
    """Losses of a network that amplifies, with and without clipping."""
    cell = nn.RNN(1, 8, activation="identity", dtype=np.float64, rng=0)
    cell.Wh.data = 1.2 * cell.Wh.data
    sgd, losses = optim.SGD(cell, lr=0.02), []
    xs = numbers(3, 20, 4, 1)
    for _ in range(steps):
        loss = ((cell(xs, readout="last")[0] - 1) ** 2).mean()
        cell.zero_grad()
        loss.backward()
        if clip:
            optim.clip_grad_norm(cell, clip)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]) or losses[-1] > 1e30:
            break
        sgd.step()
    return losses


def test_S17_clipping_turns_explosion_into_learning():
    wild, tame = training(None), training(1.0)
    assert wild[0] == tame[0] and wild[1] > 1e30  # one step, and it is gone
    assert len(tame) == 40 and tame[-1] < 0.01 * tame[0]


@pytest.mark.parametrize("gain", [0.8, 1.6])
@pytest.mark.parametrize("activation, steepest", [
    ("tanh", 1), ("sigmoid", 0.25), ("relu", 1), ("softsign", 1), ("hard_sigmoid", 0.2),
    ("identity", 1),
])  # fmt: skip
def test_S18_no_activation_cures_it(activation, steepest, gain):
    """Slopes of at most 1 bound the product; with W above, ReLU explodes as the identity does."""
    q = np.linalg.qr(numbers(4, 8, 8))[0]
    path = path_of(gain * q, activation, 30, h=np.abs(numbers(5, 1, 8)))
    size = np.linalg.norm(jacobian(path[30], path[0]), 2)
    assert size <= (steepest * gain) ** 30 * (1 + 1e-9)
    if activation == "identity":
        assert size == pytest.approx(gain**30)
    if activation == "relu":
        positive = path_of(gain * np.eye(8), "relu", 30, h=np.ones((1, 8)))
        assert np.linalg.norm(jacobian(positive[30], positive[0]), 2) == pytest.approx(gain**30)


def test_S19_what_waits_for_no_state_is_done_for_many_steps_at_once():
    """x Wx is one product for a block of time; only h Wh is done step after step."""
    cell = nn.RNN(4, 5, rng=0)
    forward = tg.loops.scan_source(cell.step, cell.begin(2), np.ones((3, 2, 4), np.float32))
    forward = forward.split("def back")[0]
    block, steps = forward.split("for step in", 1)
    assert "Wx" in block and "multiply" in block
    inner = [line for line in steps.splitlines() if "multiply(" in line]
    assert any("Wh" in line for line in inner) and not any("Wx" in line for line in inner)
