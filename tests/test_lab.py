"""Measuring networks: what their graphs fall into."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import lab, nn

T, B, I, H, O = 5, 2, 3, 4, 3


def leaf(seed, *shape):
    values = np.random.default_rng(seed).normal(size=shape)
    return tg.tensor(values, requires_grad=True)


U, V, W, b, c = leaf(0, I, H), leaf(1, H, O), leaf(2, O, H), leaf(3, H), leaf(4, O)
WEIGHTS = [U, V, W, b, c]
XS = np.random.default_rng(5).normal(size=(T, B, I))
TARGETS = np.random.default_rng(6).normal(size=(T, B, O))


def jordan(feed):
    """S7: h(t) = tanh(b + o(t-1) W + x(t) U), fed with its own output or with the target."""
    targets = [tg.tensor(y) for y in TARGETS]
    back, losses = tg.tensor(np.zeros((B, O))), []
    for x, y in zip(XS, targets, strict=True):
        o = tg.tanh(b + back @ W + x @ U) @ V + c
        losses.append(tg.mean_squared_error(o, y))
        back = {"output": o, "chance": tg.softmax(o), "target": y, "cut": o.detach()}[feed]
    return losses


ALONE = tuple((t,) for t in range(T))


@pytest.mark.parametrize("feed, count", [("output", 1), ("chance", 1), ("target", T), ("cut", T)])
def test_teacher_forcing_makes_the_steps_independent(feed, count):
    found = lab.teacher_forcing_parts(jordan(feed), WEIGHTS)
    assert found.count == len(found.sizes) == count
    assert found.parts == (ALONE if count == T else (tuple(range(T)),))
    assert len(set(found.sizes)) == 1 and str(found).startswith(f"{count} part")


SUMS = {
    "added": lambda losses: sum(losses[1:], losses[0]),
    "from 0": sum,
    "stacked": lambda losses: tg.stack(losses).sum(),
    "mean": lambda losses: tg.stack(losses).mean(),
    "joined": lambda losses: tg.sum(tg.concat([x.reshape(1) for x in losses])),
    "scaled": lambda losses: 0.5 * -(sum(losses) / T) * 2 / tg.tensor(3.0),
    "weighted": lambda losses: sum(x * (0.9**t) for t, x in enumerate(losses)),
    "twice": lambda losses: sum(losses) + tg.stack(losses).mean() * 0.1,
}


@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("feed, count", [("output", 1), ("target", T)])
def test_a_sum_is_taken_apart(how, feed, count):
    losses = jordan(feed)
    found = lab.teacher_forcing_parts(SUMS[how](losses), WEIGHTS)
    assert found.count == count and len(found.losses) == T
    assert found.parts == (ALONE if count == T else (tuple(range(T)),))


def test_products_of_losses_are_not_a_sum():
    first, *others = jordan("target")
    found = lab.teacher_forcing_parts(first * others[0] + others[1], WEIGHTS)
    assert found.count == 2 and found.parts == ((0,), (1,))


def test_parts_are_the_tensors_between_weights_and_losses():
    losses = jordan("target")
    parts = lab.independent_parts(losses, WEIGHTS)
    together = [x for part in parts for x in part]
    assert len(together) == len(set(together)) and not set(together) & set(WEIGHTS)
    for loss, part in zip(losses, parts, strict=True):
        assert part[0] is loss and [x.born for x in part] == sorted(
            [x.born for x in part], reverse=True
        )
        assert [x.op.name for x in part].count("tanh") == 1
    assert len(lab.independent_parts(losses, [])) == 1  # the weights hold them together
    assert len(lab.independent_parts(losses, WEIGHTS[1:])) == 1  # one of them is enough
    assert lab.independent_parts([], []) == lab.independent_parts([U], [U]) == []


def test_gradients_agree_with_the_parts():
    """What is in another part has no influence: the numbers behind the claim."""
    for feed, apart in [("output", False), ("target", True)]:
        losses = jordan(feed)
        parts = lab.independent_parts(losses, WEIGHTS)
        first = next(
            x for x in lab.independent_parts(losses[:1], WEIGHTS)[0] if x.op.name == "tanh"
        )
        last = tg.grad(losses[-1], first, allow_unused=True, retain_graph=True)
        assert (last is None) == apart == (len(parts) > 1)


def test_what_only_a_weight_came_from_is_left_out():
    raw = leaf(7, 2)
    made = raw * 2
    ys = [made * k for k in (1.0, 3.0)]
    assert [len(part) for part in lab.independent_parts(ys, [made])] == [1, 1]
    assert [len(part) for part in lab.independent_parts(ys, [raw])] == [3]


def test_a_long_graph_in_one_breath():
    h = leaf(8)
    for _ in range(20_000):
        h = h * 0.5
    (part,) = lab.independent_parts([h], [])
    assert len(part) == 20_001


def test_a_module_may_be_given_for_its_weights():
    layer = tg.nn.Linear(I, O, dtype=np.float64, rng=0)
    losses = [layer(x).sum() for x in XS]
    assert lab.teacher_forcing_parts(losses, layer).count == T
    assert lab.teacher_forcing_parts(losses, [layer.W]).count == 1


def test_refusals():
    with pytest.raises(ValueError, match="losses: expected at least one"):
        lab.teacher_forcing_parts([], WEIGHTS)
    with pytest.raises(ValueError, match="teacher_forcing_parts: expected a tensor with a history"):
        lab.teacher_forcing_parts([*jordan("target")[:1], tg.tensor(1.0)], WEIGHTS)
    loss = sum(jordan("output"))
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        lab.teacher_forcing_parts(loss, WEIGHTS)


@pytest.mark.parametrize("unroll", [True, False])
def test_the_layer_taught_by_targets_is_all_steps_at_once(unroll):
    """S7: T parts step by step; one batch gives the same outputs and gradients."""
    cell = tg.nn.OutputRecurrent(I, H, O, source="target", dtype=np.float64, rng=0)
    ys, (last,) = cell(XS, targets=TARGETS, unroll=unroll)
    found = lab.teacher_forcing_parts(
        [tg.mean_squared_error(y, d) for y, d in zip(ys, TARGETS, strict=True)], cell
    )
    assert found.count == (T if unroll else 1)  # as one batch there is one product for all
    by_hand = tg.nn.OutputRecurrent(I, H, O, dtype=np.float64, rng=0)
    back, losses = np.zeros((B, O)), []
    for x, y in zip(XS, TARGETS, strict=True):
        losses.append(tg.mean_squared_error(by_hand.step(tg.tensor(x), tg.tensor(back)), y))
        back = y
    sum(losses).backward()
    (tg.mean_squared_error(ys, TARGETS) * T).backward()
    np.testing.assert_allclose(last.data, ys.data[-1])
    for a, e in zip(cell.parameters(), by_hand.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.data, e.grad.data, atol=1e-13)
    cell.source = "output"
    free = cell(XS, unroll=True)[0]
    assert lab.teacher_forcing_parts([(y * y).sum() for y in free], cell).count == 1


def test_one_weight_may_be_given_by_itself():
    W = tg.tensor([[2.0], [3.0]], requires_grad=True)
    losses = [(W * float(k)).sum() for k in range(1, 4)]
    for weights in (W, [W]):
        assert lab.teacher_forcing_parts(losses, weights).count == 3
        assert len(lab.independent_parts(losses, without=weights)) == 3
    assert len(lab.independent_parts(losses[0], without=[])) == 1
    with pytest.raises(TypeError, match="weights: expected a tensor"):
        lab.teacher_forcing_parts(losses, "W")


@pytest.mark.parametrize("how", [{}, {"reset": np.zeros((3, 1), bool)}, {"lengths": [3]}])
def test_heat_refuses_a_state_that_is_handed_on_whatever_chooses_it(how):
    cell = nn.TimeSkip(nn.RNN(2, 2, rng=0, dtype=np.float64), 2)
    xs = np.random.default_rng(0).normal(size=(3, 1, 2))
    ys, _, states = cell(xs, return_states=True, **how)
    plain, _, before = cell(xs, return_states=True)
    expected = tg.lab.heat((plain * plain).sum(), states=before["h"]).norms
    found = tg.lab.heat((ys * ys).sum(), states=states["h"]).norms
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="handed on"):
        tg.lab.heat((ys * ys).sum(), states=states["h-2"])


@pytest.mark.parametrize("around", [nn.Residual, lambda cell: cell])
def test_heat_of_rows_of_other_lengths_is_that_of_each_row(around):
    """Also where the output is another than the state, which lengths change after it is read."""
    cell = around(nn.RNN(2, 2, rng=0, dtype=np.float64))
    xs = np.random.default_rng(0).normal(size=(3, 2, 2))

    def norms(xs, **how):
        ys, _, states = cell(xs, return_states=True, **how)
        return tg.lab.heat((ys * ys).sum(), states=states["h"]).norms

    first, second = norms(xs[:, :1]), norms(xs[:2, 1:])
    first[:2, :2] = np.hypot(first[:2, :2], second)
    np.testing.assert_allclose(norms(xs, lengths=[3, 2]), first, rtol=1e-12)
    mask = np.array([[1, 1], [1, 1], [1, 0]], bool)
    np.testing.assert_allclose(norms(xs, mask=mask), first, rtol=1e-12)


@pytest.mark.parametrize("how", [{}, {"lengths": [4, 2]}])
def test_heat_of_outputs_that_nobody_reads_is_that_of_the_states_behind_them(how):
    cell = nn.Residual(nn.LSTM(3, 3, rng=0, dtype=np.float64))
    xs = np.random.default_rng(0).normal(size=(4, 2, 3))
    ys, _, states = cell(xs, return_states=True, **how)
    found, expected = tg.lab.heat((ys * ys).sum()), tg.lab.heat((ys * ys).sum(), states=states["h"])
    np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-12)
    assert (np.tril(found.norms) > 0).sum() == 10


RESET = np.arange(8).reshape(4, 2) == 4  # the third step of one of two rows


@pytest.mark.parametrize("how", [{}, {"reset": RESET}])
@pytest.mark.parametrize("around", [nn.Residual, lambda cell: cell])
def test_heat_of_a_state_that_is_kept_in_part_counts_what_is_kept(around, how):
    cell = around(nn.Zoneout(nn.GRU(3, 3, dtype=np.float64, rng=0), h=0.5, rng=1))
    xs = tg.tensor(np.random.default_rng(0).normal(size=(4, 2, 3)))
    ys, _, states = cell(xs, unroll=True, return_states=True, **how)
    hs, loss = states["h"].inputs, (ys * ys).sum()
    for found in tg.lab.heat(loss), tg.lab.heat(loss, states=states["h"]):
        for t in range(4):
            part = (ys[t] ** 2).sum()
            for k in range(t + 1):
                g = tg.grad(part, hs[k], retain_graph=True, allow_unused=True)
                exact = 0 if g is None else np.linalg.norm(g.data)
                np.testing.assert_allclose(found.norms[t, k], exact, rtol=1e-12)


def test_heat_finds_the_state_however_far_behind_the_output_it_is():
    class Own(nn.RNN):
        def output(self, x, h):
            for _ in range(12):
                h = 0.9 * h + 0.1 * h * h
            return h

    ys, _ = Own(3, 3, dtype=np.float64, rng=0)(np.random.default_rng(0).normal(size=(4, 2, 3)))
    assert (np.tril(tg.lab.heat((ys * ys).sum()).norms) > 0).sum() == 10


def test_heat_of_outputs_of_both_directions_is_that_of_both_states():
    class Own(nn.RNN):
        def output(self, x, h):
            return 1.0 * h

    xs, norms = np.random.default_rng(0).normal(size=(5, 2, 3)), []
    for kind in nn.RNN, Own:
        ys, _ = nn.Bidirectional(*[kind(3, 3, dtype=np.float64, rng=k) for k in (0, 1)])(xs)
        norms.append(tg.lab.heat((ys * ys).sum()).norms)
    np.testing.assert_allclose(*norms, rtol=1e-12)


def test_a_state_that_a_step_chooses_is_its_own():
    class Latch(nn.RNN):
        def step(self, x, h):
            return tg.where(tg.abs(x) > 0.5, x, h)

    xs = tg.tensor(np.random.default_rng(0).normal(size=(5, 2, 2)), requires_grad=True)
    ys, _, (states,) = nn.Recurrent(Latch(2, 2, dtype=np.float64))(xs, return_states=True)
    assert tg.lab.heat((ys * ys).sum(), states=states["h"]).norms.any()


def test_heat_has_the_states_of_steps_of_which_the_loss_reads_nothing():
    W, states = tg.tensor(np.eye(3) * 0.4, requires_grad=True), [tg.tensor(np.ones((1, 3)))]
    for t in range(5):
        with tg.scope(f"cell/t={t}"):
            states.append(tg.tanh(states[-1] @ W + 0.1))
    loss = (states[-1] ** 2).sum()
    found = tg.lab.heat(loss)
    assert found.parts.tolist() == [4] and found.steps.tolist() == [0, 1, 2, 3, 4]
    grads = tg.grad(loss, states[1:])
    np.testing.assert_allclose(found.norms[0], [np.linalg.norm(g.data) for g in grads])
