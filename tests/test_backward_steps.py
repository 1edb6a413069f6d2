"""The backward pass as a generator: the engine's own steps, one at a time."""

import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

T, B, I, H = 4, 2, 3, 5


def model(kind):
    cell = kind(I, H, dtype=np.float64, rng=0)
    xs = tg.tensor(np.random.default_rng(0).normal(size=(T, B, I)), requires_grad=True)
    ys, _ = cell(xs, unroll=True)
    return (ys * ys).mean(), [xs, *cell.parameters()]


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_the_steps_are_the_walk(kind):
    loss, leaves = model(kind)
    sums, seen, births = {}, [], []
    for step in loss.backward_steps():
        assert step.number == len(seen)
        seen.append(step.tensor)
        births.append(step.tensor.born)
        whole = [(x, g) for x, g in step.contributions if isinstance(g, np.ndarray)]
        for x, g in whole:
            assert g.shape == x.shape and not g.flags.writeable
            sums[x] = sums.get(x, 0) + g
        for x, _ in whole:
            np.testing.assert_allclose(step.so_far[x], sums[x], rtol=1e-12)
        if step.tensor in sums:  # all of it has arrived when the walk is there
            np.testing.assert_allclose(step.gradient, sums[step.tensor], rtol=1e-12)
        assert all(x.grad is None for x in leaves)
    assert births == sorted(births, reverse=True) and len(set(seen)) == len(seen)
    assert seen[0] is loss and set(leaves) <= set(seen)
    expected_loss, expected = model(kind)
    expected_loss.backward(retain_graph=True)
    for found, wanted in zip(leaves, expected, strict=True):
        np.testing.assert_array_equal(found.grad.data, wanted.grad.data)
    assert all(x.grad is not None for x in seen if type(x._array) is not tuple)


def test_a_walk_that_is_left_changes_nothing():
    loss, leaves = model(nn.RNN)
    for step in loss.backward_steps():
        if step.number == 5:
            break
    assert all(x.grad is None for x in leaves) and tg.tensor(1.0, requires_grad=True).exp().tracked
    loss.backward()
    assert all(x.grad is not None for x in leaves)


def test_shared_weights_fill_term_by_term():
    """S14: Wh gets one term from each step, from the last to the first."""
    loss, leaves = model(nn.RNN)
    Wh = next(x for x in leaves if x.name == "Wh")
    got = [(s.tensor.scope, s.so_far[Wh]) for s in loss.backward_steps() if Wh in s.so_far]
    assert [scope for scope, _ in got] == [f"layer0/t={t}" for t in reversed(range(T))]
    np.testing.assert_array_equal(got[-1][1], Wh.grad.data)


def test_what_has_come_so_far_is_the_sum_of_all_terms():
    """Also beyond 64, where they are added up in blocks."""
    x = tg.tensor([1.0, -1.0], requires_grad=True)
    factors = np.random.default_rng(0).normal(size=200)
    y = tg.tensor(0.0)
    for k in factors:
        y = y + (x * k).sum()
    got = [step.so_far[x] for step in y.backward_steps() if x in step.so_far]
    expected = np.cumsum(factors[::-1])
    np.testing.assert_allclose(got, np.stack([expected, expected], axis=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(x.grad.data, got[-1])


def test_tensors_in_between_have_a_gradient_only_where_the_graph_is_kept():
    for retain in (False, True):
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        h = tg.tanh(x)
        parts = tg.split(h, 2)
        loss = (parts[0] * h).sum()
        loss.backward(retain_graph=retain)
        assert all((y.grad is not None) is retain for y in (h, parts[0], loss))
        assert x.grad is not None and parts[1].grad is None
    np.testing.assert_allclose(h.grad.data, [2 * h.data[0] + h.data[1], h.data[0]], rtol=1e-15)
    y = tg.tanh(x)
    tg.grad((y * y).sum(), x)
    assert y.grad is None


def test_a_step_without_numbers_has_no_steps_to_go_through():
    w = tg.tensor(2.0, requires_grad=True)

    def step(h):
        list((h * w).sum().backward_steps())
        return h * w

    with pytest.raises(TypeError, match=r"the step calls backward_steps\(\) of"):
        tg.scan(step, np.ones(2), None, length=3)


def test_refusals_come_at_the_call():
    with pytest.raises(RuntimeError, match=r"backward_steps: .* does not require gradients"):
        tg.tensor(1.0).backward_steps()
    with pytest.raises(RuntimeError, match="implicit only for a result of one element"):
        (tg.tensor([1.0, 2.0], requires_grad=True) * 2).backward_steps()


def test_a_backward_pass_holds_no_gradient_that_it_is_done_with():
    made, alive = [], []

    def rule(g, y, x):
        alive.append(sum(old() is not None for old in made))
        out = g * 2.0
        made.append(weakref.ref(out))
        return out

    @tg.primitive(rule)
    def doubled(x):
        return x * 2.0

    y = x = tg.tensor(np.ones(3), requires_grad=True)
    for _ in range(5):
        y = doubled(y)
    y.sum().backward()
    assert alive == [0, 1, 1, 1, 1] and x.grad.data.tolist() == [32.0] * 3
