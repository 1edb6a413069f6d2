"""The tape of a run: the engine's own numbers; and one backward pass for many cotangents."""

import sys

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, nn
from tinygrad_rnn.tape import document, tape_of
from tinygrad_rnn.tape.itemised import Bundle, batched, parts_of

pullback = sys.modules["tinygrad_rnn.grad"].pullback  # `tg.grad` is the function


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_tape_has_the_arrays_of_the_engine_and_keeps_them():
    cell = nn.LSTM(3, 4, dtype=np.float64, rng=0)
    ys, _ = cell(normal(0, 5, 2, 3), unroll=True)
    loss = (ys * ys).sum()
    tape = tape_of(loss)
    loss.backward(retain_graph=True)
    own = {name: (w.data.copy(), w.grad.data.copy()) for name, w in cell.named_parameters()}
    tg.optim.SGD(cell, lr=1.0).step()  # which may write into the arrays of weights
    arrivals = tape.arrivals()
    for r in tape.records:
        if r.kind == "parameter":
            (value,), (grad,) = r.value.arrays, r.grad.arrays
            np.testing.assert_array_equal(value, own[r.name][0])
            np.testing.assert_array_equal(grad, own[r.name][1])
            terms = [term.numbers.arrays[0] for _, term in arrivals[r.id]]
            np.testing.assert_allclose(sum(terms), grad, rtol=1e-12)
            assert len(terms) == 5
    assert [r.order for r in tape.backward] == list(range(len(tape.backward)))


def test_what_is_read_many_times_after_the_steps_is_met_once():
    y = nn.RNN(2, 2, dtype=np.float64, rng=0)(normal(0, 3, 1, 2), unroll=True)[0]
    for _ in range(60):  # there is a way for each subset of these
        y = y + y
    found = parts_of("test", [y.sum()], False).read
    assert {t: len(ys) for t, ys in found.items()} == {0: 1, 1: 1, 2: 1}


def test_a_record_of_several_results_says_whether_they_are_pieces():
    x = tg.tensor(np.arange(6.0), requires_grad=True)

    @tg.primitive(lambda g, y, x: g[0] + 2 * g[1])
    def both(x):
        return x + 1, x * 2

    (left, _), (one, _) = tg.split(x, 2), both(x)
    records = tape_of((one[:3] * left).sum()).records
    assert [(r.call.op, r.cuts) for r in records if r.sizes] == [("split", True), ("both", False)]


def test_numbers_that_are_not_finite_are_counted_by_kind():
    x = tg.tensor([np.inf, 1.0, np.nan, -np.inf, np.nan, np.nan], requires_grad=True, name="x")
    (record,) = [r for r in tape_of((x * 1.0).sum()).records if r.name == "x"]
    assert (record.value.nan, record.value.infinite, record.value.largest) == (3, 2, 1.0)


def test_a_gradient_of_very_many_passes_is_no_part_of_a_tape_and_does_not_remember_them():
    x = tg.tensor(3.0, requires_grad=True)
    for count in range(1, 300):
        loss = x * x
        loss.backward(retain_graph=True)
        (grad,) = [r.grad for r in tape_of(loss, backward=False).records if r.kind == "parameter"]
        assert (grad is None) == (count > 1) and x.grad.item() == 6.0 * count
    assert len(x.grad.attrs["passes"]) <= 100


@tg.primitive(lambda g, y, x: g @ MIXES.T)
def mixed(x):
    """An op of somebody's that neither moves numbers nor goes element by element."""
    return x @ MIXES


MIXES = normal(9, 4, 4)
WAYS = {
    "pointwise, broadcasting": lambda a, b: tg.tanh(a * b[0]) + tg.sigmoid(b[:1]) / 3.0,
    "products": lambda a, b: (a @ b.T) @ tg.exp(b),
    "stacks of products": lambda a, b: tg.stack([a, b]) @ b.T @ a,
    "moved": lambda a, b: tg.concat([tg.flip(a, 0), b.T.reshape(4, 4)], axis=1).T,
    "split": lambda a, b: tg.split(a * b, 4, axis=1)[1] + tg.split(a, 4, axis=1)[3],
    "repeated": lambda a, b: a[np.array([0, 2, 0])] @ b,
    "sums": lambda a, b: a.sum(axis=0) * b.mean(axis=1, keepdims=True),
    "softmax": lambda a, b: tg.softmax(a, axis=0) - tg.logsumexp(b, axis=1, keepdims=True),
    "largest": lambda a, b: tg.max(a @ b, axis=0),
    "an own one": lambda a, b: mixed(a) * mixed(b),
    "both twice": lambda a, b: a * a + b @ b,
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("way", WAYS)
def test_many_cotangents_at_once_are_one_pass_each(way, dtype):
    a, b = (tg.tensor(normal(k, 4, 4), dtype=dtype, requires_grad=True) for k in range(2))
    y = WAYS[way](a, b)
    for n in (1, 2, 7):
        gs = normal(3, n, *y.shape).astype(dtype)
        found = {
            x: g for x, g, _ in batched([(y, Bundle(np.arange(n), gs))], [a, b]) if x in {a, b}
        }
        for k in range(n):
            one = pullback([y], [gs[k]], [a, b])
            for x in (a, b):
                assert found[x].arrays.dtype == dtype and x.grad is None
                np.testing.assert_allclose(
                    found[x].arrays[k], one[x], rtol=1e-12 if dtype is np.float64 else 2e-5,
                    atol=1e-12 if dtype is np.float64 else 1e-5,
                )  # fmt: skip


def test_parts_of_a_loss_that_some_reach_by_two_ways():
    """The output of a step is read by the loss and, past the stack, by another layer's steps."""
    below, above = (nn.RNN(3, 3, dtype=np.float64, rng=k) for k in range(2))
    ys, _ = below(normal(0, 4, 2, 3), unroll=True)
    zs, _ = above(ys, unroll=True)
    scale = tg.exp(below.b).sum()  # of no step, and the loss reads it
    parts = parts_of("a test", [((ys + zs) ** 2).sum() * scale], several=False)
    weights = {*below.parameters(), *above.parameters()}
    sums = {x: g for x, g, _ in parts.backward(weights) if x in weights}
    assert parts.labels == (0, 1, 2, 3)
    for x, expected in pullback([parts.starts[0][0]], [np.ones(())], [*weights]).items():
        if x in weights:
            np.testing.assert_allclose(sums[x].arrays.sum(0), expected, rtol=1e-12)
    assert sums[below.b].parts[0] == -1 and sums[below.Wx].parts.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shapes", [((1, 3, 2), (5, 2, 4)), ((5, 3, 2), (1, 2, 4)),
                                    ((2, 5, 3, 2), (1, 1, 2, 4)), ((1, 3, 2), (2, 5, 2, 4)),
                                    ((1, 3, 0), (5, 0, 4)), ((1, 3, 2), (0, 2, 4))])  # fmt: skip
def test_a_matrix_against_a_stack_is_its_product_with_each(shapes):
    x, y = normal(0, *shapes[0]), normal(1, *shapes[1])
    found = kernels.matmul(x, y)
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    assert found.shape == (*lead, 3, 4) and found.flags.c_contiguous
    for at in np.ndindex(lead):
        one = (np.broadcast_to(z, lead + z.shape[-2:])[at] for z in (x, y))
        np.testing.assert_array_equal(found[at], kernels.matmul(*one))


def test_a_number_that_is_rounded_twice_is_rounded_right():
    for v in [0.051753, -0.76554, 0.0040845, *np.random.default_rng(0).normal(size=2000).tolist()]:
        for digits in (4, 6):
            short = document.rounded(v, digits)
            assert f"{short:.3g} {short:.2g}" == f"{v:.3g} {v:.2g}"
