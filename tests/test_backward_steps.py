"""The walk back as a generator: the engine's own steps, one at a time."""

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
            np.testing.assert_allclose(step.cotangent, sums[step.tensor], rtol=1e-12)
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


def test_refusals_come_at_the_call():
    with pytest.raises(RuntimeError, match=r"backward_steps: .* does not require gradients"):
        tg.tensor(1.0).backward_steps()
    with pytest.raises(RuntimeError, match="implicit only for a result of one element"):
        (tg.tensor([1.0, 2.0], requires_grad=True) * 2).backward_steps()
