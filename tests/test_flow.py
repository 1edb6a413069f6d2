"""Measuring gradients through time: ledger, flow, heat, saturation, and where a NaN is from."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from references import gru, lstm

import tinygrad_rnn as tg
from tinygrad_rnn import lab, nn
from tinygrad_rnn.grad import pullback
from tinygrad_rnn.tape import tape_of
from tinygrad_rnn.view.heat import heat_map
from tinygrad_rnn.view.look import place_of, shade

T, B, I, H = 5, 2, 3, 4
F64 = {"dtype": np.float64}


def normal(seed, *shape, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


XS, TARGETS = normal(0, T, B, I), normal(1, T, B, H)

CELLS = {
    "RNN": lambda: nn.RNN(I, H, **F64, rng=0),
    "untied": lambda: nn.RNN(I, H, untied=T, **F64, rng=0),
    "LSTM": lambda: nn.LSTM(I, H, **F64, rng=0),
    "rich LSTM": lambda: nn.LSTM(I, H, projection=2, peepholes=True, norm="ba2016", **F64, rng=0),
    "coupled": lambda: nn.LSTM(I, H, coupled=True, norm="per_gate", **F64, rng=0),
    "GRU": lambda: nn.GRU(I, H, **F64, rng=0),
    "GRU after": lambda: nn.GRU(I, H, convention="torch", norm="ba2016", **F64, rng=0),
    "minimal": lambda: nn.MinimalGatedUnit(I, H, **F64, rng=0),
    "Jordan": lambda: nn.OutputRecurrent(I, H, H, source="prediction", **F64, rng=0),
    "variational": lambda: nn.VariationalDropout(
        nn.GRU(I, H, **F64, rng=0), state=0.3, inputs=0.2, per_gate=True, rng=1
    ),
    "DropConnect": lambda: nn.DropConnect(nn.LSTM(I, H, **F64, rng=0), 0.3, rng=1),
    "zoneout": lambda: nn.Zoneout(nn.LSTM(I, H, **F64, rng=0), h=0.3, c=0.2, rng=1),
    "time skip": lambda: nn.TimeSkip(nn.RNN(I, H, **F64, rng=0), 3),
    "learned": lambda: nn.LearnedState(nn.RNN(I, H, **F64, rng=0)),
}
BOTH = {
    **CELLS,
    "both ways": lambda: nn.Bidirectional(CELLS["LSTM"](), CELLS["GRU"](), merge="sum"),
}


# -- the ledger ------------------------------------------------------------------------------------


def rnn_by_hand(cell, targets):
    """S13, S14: the terms of Wh, Wx and b, and ∂L(t)/∂h(k) for L the sum of squares."""
    Wx, Wh, b = (w.data for w in (cell.Wx, cell.Wh, cell.b))
    path = [np.zeros((B, H))]
    for x in XS:
        path.append(np.tanh(x @ Wx + path[-1] @ Wh + b))
    terms = {name: np.zeros((T, T, *w.shape)) for name, w in (("Wx", Wx), ("Wh", Wh), ("b", b))}
    felt, inputs = np.zeros((T, T)), np.zeros((T, T))
    for t in range(T):
        g = 2 * (path[t + 1] - targets[t])
        for k in range(t, -1, -1):
            felt[t, k] = np.sqrt((g**2).sum())
            delta = (1 - path[k + 1] ** 2) * g
            inputs[t, k] = np.sqrt(((delta @ Wx.T) ** 2).sum())
            terms["Wx"][t, k], terms["b"][t, k] = XS[k].T @ delta, delta.sum(0)
            terms["Wh"][t, k] = path[k].T @ delta
            g = delta @ Wh.T
    return terms, felt, inputs


def squares(ys, targets=TARGETS):
    return ((ys - targets) ** 2).sum()


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_S14_every_term_is_that_of_the_formula(unroll, listed):
    cell = CELLS["RNN"]()
    ys, _ = cell(XS, unroll=unroll)
    loss = [squares(y, d) for y, d in zip(ys, TARGETS, strict=True)] if listed else squares(ys)
    found, (terms, _, _) = lab.ledger(loss, cell), rnn_by_hand(cell, TARGETS)
    assert found.parts.tolist() == found.steps.tolist() == list(range(T))
    for name, expected in terms.items():
        np.testing.assert_allclose(found.arrays[name], expected, rtol=1e-12, atol=1e-14)
        norms = np.sqrt((expected**2).reshape(T, T, -1).sum(-1))
        np.testing.assert_allclose(found.terms[name], norms, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.total(name), expected.sum((0, 1)), rtol=1e-12)
        assert not found.rest[name].any()
    assert all(w.grad is None for w in cell.parameters())


def test_S14_terms_by_lag_add_up_and_take_sides():
    cell = CELLS["RNN"]()
    found, (terms, _, _) = lab.ledger(squares(cell(XS)[0]), cell), rnn_by_hand(cell, TARGETS)
    lags, whole = found.by_lag("Wx"), terms["Wx"].sum((0, 1))
    for lag, total, norm, share in zip(lags.lags, lags.sums, lags.norms, lags.shares, strict=True):
        expected = sum(terms["Wx"][k + lag, k] for k in range(T - lag))
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        assert norm == pytest.approx(np.linalg.norm(expected))
        assert share == pytest.approx((expected * whole).sum() / (whole**2).sum())
    assert lags.lags.tolist() == list(range(T)) and lags.shares.sum() == pytest.approx(1)
    assert "lag" in repr(lags) and "Wx" in repr(found)


def total_is_the_gradient(loss, module):
    found = lab.ledger(loss, module)
    module.zero_grad()
    loss.backward()
    for name, w in module.named_parameters():
        size = max(1.0, abs(w.grad.data).max())
        np.testing.assert_allclose(found.total(name), w.grad.data, atol=1e-12 * size)
        parts = found.arrays[name].sum((0, 1)) + found.rest[name]
        np.testing.assert_allclose(parts, w.grad.data, atol=1e-12 * size)
    return found


@pytest.mark.parametrize("lengths", [None, [2, 5]])
@pytest.mark.parametrize("name", BOTH)
def test_S14_the_terms_add_up_to_the_gradient(name, lengths):
    cell = BOTH[name]()
    ys, _ = cell(XS, lengths=lengths, unroll=True)
    total_is_the_gradient(squares(ys, TARGETS[..., : ys.shape[2]]), cell)


@pytest.mark.parametrize("name", ["LSTM", "DropConnect", "both ways"])
def test_S14_the_terms_of_a_compiled_run_are_those_of_its_steps(name):
    found = []
    for unroll in (False, True):
        cell = BOTH[name]()
        found.append(total_is_the_gradient(squares(cell(XS, unroll=unroll)[0]), cell))
    for weight in found[0].names:
        np.testing.assert_allclose(found[0].terms[weight], found[1].terms[weight], atol=1e-12)


def test_a_direction_of_its_own_has_lags_of_its_own():
    both = BOTH["both ways"]()
    found = lab.ledger(squares(both(XS, unroll=True)[0]), both)
    forward, back = found.by_lag("forward.Wx"), found.by_lag("backward.Wx")
    early = forward.lags < 0
    assert (forward.norms[early] == 0).all() and (forward.norms[~early] > 0).all()
    assert (back.norms[back.lags > 0] == 0).all() and (back.norms[back.lags <= 0] > 0).all()


def test_layers_are_led_through():
    layer = nn.Recurrent(CELLS["LSTM"](), nn.GRU(H, H, **F64, rng=1), unroll=True, readout="mean")
    found = total_is_the_gradient(squares(layer(XS)[0], 0.0), layer)
    assert (found.terms["cells.0.Wx"][np.tril_indices(T)] > 0).all()


def test_what_reaches_a_weight_by_no_step_is_the_rest():
    cell = nn.RNN(H, H, **F64, rng=0)
    ys, _ = cell(normal(2, T, B, H), unroll=True)
    loss = ((ys @ cell.Wx) ** 2).sum()  # a weight that is tied to the output's
    assert total_is_the_gradient(loss, cell).rest["Wx"].any()


def test_S12_steps_may_be_marked_by_hand():
    """∂L/∂V = Σ h(t)ᵀ ∂L(t)/∂o(t), with nothing of V before its own step."""
    cell, V = CELLS["RNN"](), tg.tensor(normal(8, H, H), requires_grad=True, name="V")
    h, losses = cell.begin(B)[0], []
    for t, (x, d) in enumerate(zip(XS, TARGETS, strict=True)):
        with tg.scope(f"t={t}"):
            h = cell.step(tg.tensor(x), h)
            losses.append((h, ((h @ V - d) ** 2).sum()))
    found = lab.ledger(sum(loss for _, loss in losses), [V, cell.Wh])
    assert found.names == ["V", "Wh"] and (found.terms["Wh"][np.tril_indices(T, -1)] > 0).any()
    for t, (h, _) in enumerate(losses):
        slope = 2 * (h.data @ V.data - TARGETS[t])
        np.testing.assert_allclose(found.arrays["V"][t, t], h.data.T @ slope, rtol=1e-12)
    assert not (found.terms["V"] - np.diag(np.diag(found.terms["V"]))).any()
    alone = lab.ledger(losses[-1][1], V)  # a loss that is computed in a step is a part of it
    assert alone.parts.tolist() == [T - 1]
    np.testing.assert_allclose(alone.total(), found.arrays["V"][-1].sum(0), rtol=1e-12)


def test_what_lies_between_two_loops_has_no_step_of_its_own():
    below, between, above = CELLS["RNN"](), nn.Linear(H, I, **F64, rng=1), CELLS["GRU"]()
    loss = squares(above(between(below(XS, unroll=True)[0]), unroll=True)[0])
    model = nn.Recurrent(below)
    model.between = between
    found = total_is_the_gradient(loss, model)
    assert found.rest["between.W"].any() and not found.terms["between.W"].any()
    assert found.terms["cells.0.Wx"][np.tril_indices(T)].all()


def test_only_the_last_output_is_read():
    cell = CELLS["GRU"]()
    found = lab.ledger(squares(cell(XS, readout="last", unroll=True)[0], 0.0), cell.Wx)
    assert found.terms["Wx"][-1].all() and not found.terms["Wx"][:-1].any()
    assert found.total().shape == cell.Wx.shape


def test_one_step_has_one_term():
    cell = CELLS["LSTM"]()
    found = total_is_the_gradient(squares(cell(XS[:1], unroll=True)[0]), cell)
    assert found.terms["Wx"].shape == (1, 1) and not found.terms["Wh"].any()


def test_refusals_of_the_ledger():
    cell, other = CELLS["RNN"](), CELLS["RNN"]()
    ys, _ = cell(XS, unroll=True)
    for wrong, weights, words in [
        (ys, cell, r"one number, got shape \(5, 2, 4\)"),
        (tg.tensor(1.0), cell, "expected a tensor with a history"),
        ((cell.Wh * 2).sum(), cell, "folded over time"),
        (ys.sum(), other, "depends on"),
        ([], cell, "at least one"),
        (nn.ClipGradient(cell, norm=1.0)(XS, unroll=True)[0].sum(), cell, "clipped"),
    ]:
        with pytest.raises(ValueError, match=f"ledger: .*{words}"):
            lab.ledger(wrong, weights)
    with pytest.raises(ValueError, match=r"expected one of \('Wh', 'Wx', 'b'\), got None"):
        lab.ledger(ys.sum(), cell).total()
    loss = ys.sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        lab.ledger(loss, cell)


@pytest.mark.parametrize("unroll", [True, False])
@pytest.mark.parametrize("measure", [lab.ledger, lambda loss, _: lab.heat(loss)])
def test_weights_that_have_changed_since_are_refused(measure, unroll):
    """The steps would be measured with values that they never read."""
    cell = CELLS["RNN"]()
    loss = cell(XS, unroll=unroll)[0].sum()
    cell.Wh.data = 2 * cell.Wh.data
    with pytest.raises(RuntimeError, match=r"Wh .* was given new values"):
        measure(loss, cell)


# -- flow ------------------------------------------------------------------------------------------


def test_S16_jacobians_and_norms_of_an_rnn_are_those_of_the_formula():
    cell = CELLS["RNN"]()
    found, Wh = lab.flow(cell, XS, row=1), cell.Wh.data
    hs = cell(XS)[0].data[:, 1]
    jacobians = [np.diag(1 - h**2) @ Wh.T for h in hs[1:]]
    np.testing.assert_allclose(found.jacobians, jacobians, rtol=1e-12)
    norms, spectral = found.norms(), found.spectral("h", "h")
    for t in range(T):
        product = np.eye(H)
        for k in range(t, -1, -1):
            assert norms[t, k] == pytest.approx(np.linalg.norm(product))
            assert spectral[t, k] == pytest.approx(np.linalg.norm(product, 2))
            product = product @ jacobians[k - 1]
    assert not np.triu(norms, 1).any()
    np.testing.assert_allclose(found.end, spectral[-1], rtol=1e-12)
    np.testing.assert_allclose(found.radii, [abs(np.linalg.eigvals(J)).max() for J in jacobians])
    np.testing.assert_allclose(
        found.singular_values, [np.linalg.svd(J)[1] for J in jacobians], rtol=1e-10
    )


def test_S16_bounds_hold_from_above():
    cell = nn.RNN(I, H, activation="sigmoid", **F64, rng=0)
    cell.Wh.data = normal(3, H, H)
    found = lab.flow(cell, normal(4, 12, 1, I))
    rate = found.bounds["max f' · σ(W)"]
    assert rate == pytest.approx(np.linalg.norm(cell.Wh.data, 2) / 4)
    assert found.bounds["ρ(W)"] == pytest.approx(abs(np.linalg.eigvals(cell.Wh.data)).max())
    lags = np.arange(12)[:, None] - np.arange(12)
    assert (found.spectral() <= rate ** np.maximum(lags, 0) * (1 + 1e-12)).all()
    assert lab.flow(CELLS["GRU"](), XS).bounds == {}


def test_S16_bounds_are_of_the_step_that_is_done_and_of_the_steepest_slope():
    class Twice(nn.RNN):
        def step(self, x, h):
            return 2 * super().step(x, h)

    zeros = np.zeros((4, 1, 2), np.float32)
    assert lab.flow(Twice(2, 2, rng=0), zeros).bounds == {}
    cell = nn.RNN(2, 1, activation=tg.selu, rng=0)  # steepest next to 0, from below
    rate = lab.flow(cell, zeros).bounds["max f' · σ(W)"]
    assert rate == pytest.approx(1.7580993 * abs(cell.Wh.data.item()))


STEPS = {
    "LSTM": lambda x, s, w: np.concatenate(
        [a[1] for a in lstm(x, s[:, :H], s[:, H:], w["Wx"], w["Wh"], w["b"])[:2]], 1
    ),
    "GRU": lambda x, s, w: gru(x, s, w["Wx"], w["Wh"], w["Wn"], np.zeros(3 * H))[0][1],
}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_jacobians_are_central_differences_of_the_formula(name, compiled):
    cell = CELLS[name]()
    weights = {k: w.data for k, w in cell.named_parameters()}
    if name == "LSTM":  # the reference has its gates in the order i f g o, ours is f i g o
        swap = [*range(H, 2 * H), *range(H), *range(2 * H, 4 * H)]
        weights = {k: w[..., swap] for k, w in weights.items()}
    _, _, states = cell(XS, return_states=True, unroll=not compiled)
    found = lab.flow(states)
    before = np.concatenate([x.data for x in states.values()], -1)
    for t in range(1, T):
        for j in range(found.jacobians.shape[1]):
            nudge = np.zeros(found.jacobians.shape[1])
            nudge[j] = 1e-6
            ends = [STEPS[name](XS[t : t + 1, :1], before[t - 1, :1] + e, weights)
                    for e in (nudge, -nudge)]  # fmt: skip
            slope = (ends[0] - ends[1])[0] / 2e-6
            np.testing.assert_allclose(found.jacobians[t - 1][:, j], slope, atol=1e-8)


@pytest.mark.parametrize("how", [{}, {"lengths": [3, 5]}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_products_of_jacobians_are_what_the_whole_run_says(name, how):
    cell = CELLS[name]()
    begin = tuple(tg.tensor(h, requires_grad=True) for h in cell.begin(XS.shape[1]))
    _, _, states, gates = cell(XS, begin, unroll=True, return_states=True, return_gates=True, **how)
    found = lab.flow(states, gates=gates, row=1)
    first, last = found.steps[[1, -1]]
    stacked = {name: x.inputs for name, x in states.items()}
    early, expected = [path[first] for path in stacked.values()], []
    for path in stacked.values():
        for i in range(path[0].shape[1]):
            g = np.zeros(path[0].shape)
            g[1, i] = 1
            ends = pullback([path[last]], [g], early, until=set(early))
            expected.append(np.concatenate([ends.get(x, np.zeros(x.shape))[1] for x in early]))
    product = np.linalg.multi_dot(list(found.jacobians[:0:-1]))
    np.testing.assert_allclose(product, expected, rtol=1e-9, atol=1e-12)
    if found.verdict.gates:
        assert sum(found.verdict.gates.values()) == pytest.approx(1)
    assert found.end[1] == pytest.approx(np.linalg.norm(product, 2))


@tg.primitive(lambda g, y, x: g - g.mean(axis=0, keepdims=True))
def centred(x):
    """An op of somebody's that mixes the rows of a batch."""
    return x - x.mean(axis=0, keepdims=True)


def test_a_step_that_mixes_rows_is_refused():
    hs = [tg.tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)]
    for t in range(3):
        with tg.scope(f"t={t}"):
            hs.append(centred(tg.tanh(hs[-1])))
    with pytest.raises(ValueError, match="each row of the batch, 3 in all, is by itself"):
        tg.lab.flow({"h": tg.stack(hs[1:])})


def test_a_skip_over_time_carries():
    """S23: h(t) = tanh(...) + h(t-3): with Wh = 0 a unit comes back as it was, 3 steps on."""
    cell = CELLS["time skip"]()
    cell.cell.Wh.data = np.zeros((H, H))
    found = lab.flow(cell, XS)
    np.testing.assert_allclose(found.norms("h", "h")[:, 0], [2, 0, 0, 2, 0])
    assert found.states == ("h", "h-2", "h-3") and found.verdict.word == "carries"


def test_a_state_that_is_handed_on_lets_gradients_through_from_the_first_step_on():
    """With lengths, too: there it is chosen, at each step, from the one before."""
    cell = nn.TimeSkip(nn.RNN(I, H, dtype=np.float64, rng=0), 2)
    plain = lab.flow(cell, XS)
    for how in ({"lengths": [len(XS)] * XS.shape[1]}, {"reset": np.zeros(XS.shape[:2], bool)}):
        found = lab.flow(cell, XS, **how)
        np.testing.assert_allclose(found.jacobians, plain.jacobians, rtol=1e-12)
        np.testing.assert_allclose(found.end, plain.end, rtol=1e-12)
        _, _, states = cell(XS, unroll=True, return_states=True, **how)
        with pytest.raises(ValueError, match="h-2 of some steps is made of constants"):
            lab.flow(states)


def test_flow_runs_the_hooks_of_a_cell_and_any_first_state():
    cell = nn.RNN(I, H, dtype=np.float64, rng=0)
    cell.register_forward_pre_hook(lambda module, given: (given[0] * 3.0, *given[1:]))
    _, _, states = cell(XS, unroll=True, return_states=True)
    expected = lab.flow(states).end
    np.testing.assert_allclose(lab.flow(cell, XS).end, expected, rtol=1e-12)
    begin = (np.zeros((B, H)),)
    np.testing.assert_allclose(lab.flow(cell, XS, begin).end, expected, rtol=1e-12)
    turned = XS.transpose(1, 0, 2)
    np.testing.assert_allclose(lab.flow(cell, turned, batch_first=True).end, expected, rtol=1e-12)
    np.testing.assert_allclose(lab.flow(cell, [*turned]).end, expected, rtol=1e-12)
    alone = lab.flow(cell, XS[:, :1]).end
    np.testing.assert_allclose(lab.flow(cell, XS[:, 0]).end, alone, rtol=1e-12)

    class Begun(nn.Cell):
        """A cell that begins with an array, or a list."""

        inputs, hidden, dtype = I, H, np.float64
        W = nn.module.parameter(normal(6, I, H), "W")

        def begin(self, batch):
            """Zeros, as they are."""
            return self.how(batch)

        def step(self, x, h):
            """Half of what was, and what is read."""
            return tg.tanh(0.5 * h + x @ self.W)

    ends = []
    for how in (lambda b: (np.zeros((b, H)),), lambda b: ([[0.0] * H] * b,), lambda b: None):
        cell = Begun()
        vars(cell)["how"] = how if how(1) else lambda b: (tg.zeros((b, H)),)
        ends.append(lab.flow(cell, XS).end)
    np.testing.assert_allclose(ends[:2], [ends[2]] * 2, rtol=1e-12)


def test_what_a_state_that_is_handed_on_feels_is_not_told():
    """It is the tensor that another state was at the step before, and others read that."""
    cell = nn.TimeSkip(nn.RNN(I, H, dtype=np.float64, rng=0), 2)
    ys, _, states = cell(XS, unroll=True, return_states=True)
    assert lab.heat(squares(ys), states=states["h"]).norms.any()
    h, path = tg.tensor(np.ones((2, 4)), requires_grad=True), []
    for t in range(1, 4):  # nor are they taken for one that begin elsewhere
        with tg.scope(f"t={t}"):
            path.append(h := tg.tanh(h * 0.5))
    whole = tg.stack(path)
    assert lab.heat((whole * whole).sum(), states=whole).norms.any()
    with pytest.raises(ValueError, match="of a step is handed on from the one before"):
        lab.heat(squares(ys), states=states["h-2"])


def test_one_tensor_that_is_two_states_counts_once():
    class Twice(nn.Cell):
        inputs, hidden, state, dtype = I, H, ("h", "k"), np.float64
        W = nn.module.parameter(normal(6, H, H), "W")

        def step(self, x, h, k):
            new = (h + 2 * k) @ self.W
            return new, new

    found = lab.flow(Twice(), XS)
    expected = np.linalg.norm(np.linalg.matrix_power(3 * Twice.W.data, T - 1), 2)
    assert found.spectral("h")[-1, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    "gain, activation, word, lag",
    [(1.0, "identity", "carries", None), (0.5, "tanh", "vanishes", 7),
     (1.5, "identity", "explodes", 12)],
)  # fmt: skip
def test_S16_verdicts_on_made_cases(gain, activation, word, lag):
    """Wh orthogonal times a gain: the norm over n steps is gain ** n."""
    cell = nn.RNN(I, 6, activation=activation, bias=0, **F64, rng=0)
    cell.Wh.data = gain * np.linalg.qr(normal(5, 6, 6))[0]
    found = lab.flow(cell, np.zeros((20, 1, I)))
    np.testing.assert_allclose(found.end, gain ** np.arange(19.0, -1, -1))
    verdict = found.verdict
    assert verdict.word == word and verdict.lag == lag and verdict.rate == pytest.approx(gain)
    assert verdict.since == (None if lag is None else 19 - lag)
    assert verdict.gates == {} and verdict.gate is None and word in str(verdict)
    assert found.memory() == (2 if gain < 1 else None)
    assert found.memory(0.01) == (7 if gain < 1 else None)


def test_the_way_is_told_gate_by_gate():
    """An LSTM that remembers does so past its gates; one that is all gate has no other way."""
    cell = CELLS["LSTM"]()
    cell.Wh.data, cell.b.data = 0.01 * cell.Wh.data, np.repeat([6.0, 0, 0, 0], H)  # f i g o
    verdict = lab.flow(cell, XS).verdict
    assert verdict.word == "carries" and verdict.gate == "kept" and verdict.gates["kept"] > 0.9

    class Gated(nn.Cell):
        inputs = hidden = H
        dtype = np.float64
        W = nn.module.parameter(normal(6, H, H), "W")

        def step(self, x, h):
            (r,) = nn.gates(r=tg.sigmoid(h))
            (u,) = nn.gates(u=tg.tanh(r @ self.W + h))
            return u * x

    ways = lab.flow(Gated(), normal(7, T, 1, H)).verdict.gates
    assert ways["kept"] == 0 and ways["r"] != 0 and ways["u"] != 0
    assert sum(ways.values()) == pytest.approx(1)


def test_one_step_has_nothing_to_carry():
    found = lab.flow(CELLS["GRU"](), XS[:1])
    assert found.jacobians.shape == (0, H, H) and found.end.tolist() == [1.0]
    assert found.verdict.word == "carries" and found.memory() is None and "lag" in repr(found)
    np.testing.assert_allclose(found.norms(), [[np.sqrt(H)]])


def test_numbers_that_are_not_finite_explode():
    cell = nn.RNN(I, H, activation="identity", rng=0)
    cell.Wh.data = cell.Wh.data * np.float32(1e38)
    found = lab.flow(cell, np.zeros((12, 1, I), np.float32))
    assert found.end[0] == np.inf and found.verdict.word == "explodes"


def test_refusals_of_flow():
    both = BOTH["both ways"]()
    with pytest.raises(ValueError, match="states of one loop, got those of"):
        lab.flow(both, XS)
    states = both(XS, return_states=True)[2]
    back = {k: v for k, v in states.items() if k.startswith("backward")}
    assert lab.flow(back).steps.tolist() == [4, 3, 2, 1, 0]
    states = CELLS["LSTM"]()(XS, unroll=True, return_states=True)[2]
    with pytest.raises(ValueError, match=r"reads c of step t=0, which is none of the states"):
        lab.flow({"h": states["h"]})
    with pytest.raises(ValueError, match="row: expected 0 to 1, a row of the batch, got 2"):
        lab.flow(states, row=2)
    with pytest.raises(ValueError, match="expected a state, one of"):
        lab.flow(states).norms("z")
    with pytest.raises(TypeError, match="expected a cell and xs"):
        lab.flow(nn.Recurrent(CELLS["GRU"]()), XS)
    with pytest.raises(ValueError, match="clipped"):
        lab.flow(nn.ClipGradient(CELLS["GRU"](), norm=1.0), XS)
    with pytest.raises(ValueError, match="at least one step"):
        lab.flow({})


# -- heat ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_S13_heat_is_that_of_the_formula(unroll, listed):
    cell, xs = CELLS["RNN"](), tg.tensor(XS, requires_grad=True)
    ys, _ = cell(xs, unroll=unroll)
    loss = [squares(y, d) for y, d in zip(ys, TARGETS, strict=True)] if listed else squares(ys)
    found, (_, felt, inputs) = lab.heat(loss, inputs=xs), rnn_by_hand(cell, TARGETS)
    np.testing.assert_allclose(found.norms, felt, rtol=1e-12)
    np.testing.assert_allclose(found.inputs, inputs, rtol=1e-12)
    assert not np.triu(found.norms, 1).any() and xs.grad is None
    np.testing.assert_allclose(lab.heat(loss, states=ys).norms, felt, rtol=1e-12)


def test_heat_of_another_state_both_ways_and_short_rows():
    cell = CELLS["LSTM"]()
    ys, _, states = cell(XS, unroll=True, return_states=True)
    loss = squares(ys)
    found = lab.heat(loss, states=states["c"])
    g = tg.grad(((ys[4] - TARGETS[4]) ** 2).sum(), states["c"].inputs[1], retain_graph=True)
    assert found.norms[4, 1] == pytest.approx(np.linalg.norm(g.data))
    both = BOTH["both ways"]()
    assert lab.heat(squares(both(XS, unroll=True)[0])).norms.all()
    short = lab.heat(squares(CELLS["GRU"]()(XS[:, :1], lengths=[3], unroll=True)[0], 0.0))
    assert not short.norms[3:].any() and short.norms[2, :3].all()


@pytest.mark.parametrize("unroll", [False, True])
def test_heat_of_inputs_with_the_batch_in_front_though_there_are_as_many_rows_as_steps(unroll):
    cell, xs = CELLS["RNN"](), np.random.default_rng(0).normal(size=(4, 4, XS.shape[2]))
    usual, turned = (tg.tensor(a, requires_grad=True) for a in (xs, xs.swapaxes(0, 1)))
    expected = lab.heat(squares(cell(usual, unroll=unroll)[0], 0.0), inputs=usual)
    ys, _ = cell(turned, unroll=unroll, batch_first=True)
    np.testing.assert_allclose(lab.heat(squares(ys, 0.0), inputs=turned).inputs, expected.inputs)
    assert not np.triu(expected.inputs, 1).any()


def test_heat_of_inputs_that_are_read_in_two_ways_has_time_in_front():
    cell, x = CELLS["RNN"](), tg.tensor(normal(0, 3, 3, I), requires_grad=True)
    twice = tg.swapaxes(tg.swapaxes(x, 1, 2) * 1.0, 1, 2)
    ys, _ = cell(x + twice, unroll=True)
    assert not np.triu(lab.heat(squares(ys, 0.0), inputs=x).inputs, 1).any()


def test_losses_of_some_steps_are_at_those_steps():
    cell = CELLS["RNN"]()
    ys, _ = cell(XS, unroll=True)
    losses = [(ys[t] ** 2).sum() for t in (4, np.int64(2))]
    for found in (lab.heat(losses), lab.ledger(losses, cell.Wh)):
        assert found.parts.tolist() == [4, 2]
    lags = lab.ledger(losses, cell.Wh).by_lag()
    assert lags.lags[-1] == 4 and not lags.norms[lags.lags < 0].any()
    assert lab.heat([losses[0] + losses[1], losses[1]]).parts.tolist() == [0, 1]


def test_states_and_gates_of_another_run_are_refused():
    cell = CELLS["LSTM"]()
    asked = {"unroll": True, "return_states": True, "return_gates": True}
    (ys, *_, states, _), (*_, others, gates) = cell(XS, **asked), cell(XS, **asked)
    with pytest.raises(ValueError, match="heat: states: the loss depends on none of"):
        lab.heat(squares(ys), states=others["h"])
    with pytest.raises(ValueError, match="flow: gates: expected those of the same run"):
        lab.flow(states, gates=gates)
    assert lab.flow(others, gates=gates).verdict


def test_a_flow_through_nan_is_no_explosion():
    xs = np.array(XS)
    xs[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"flow: the step t=3 has NaN .*provenance"):
        lab.flow(CELLS["RNN"](), xs)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
def test_what_was_recorded_of_other_weights_is_refused(kind):
    """A compiled loop is done again from the values that there are now."""
    cell = kind(3, 2, dtype=np.float64, rng=0)
    loss = (cell(np.ones((4, 1, 3)))[0] ** 2).sum()
    cell.Wh.data = cell.Wh.data * 2
    for look in (tape_of, tg.explain, lab.provenance, lambda y: tg.draw(y, overlay="backward"),
                 lambda y: tape_of(y, backward=False)):  # fmt: skip
        with pytest.raises(RuntimeError, match="was given new values"):
            look(loss)
    assert tg.draw(loss).svg and tape_of(loss, values=False, backward=False).records


def test_refusals_of_heat():
    loss = squares(CELLS["RNN"]()(XS, unroll=True)[0])
    with pytest.raises(ValueError, match="does not depend on"):
        lab.heat(loss, inputs=tg.tensor(XS, requires_grad=True) * 2)
    with pytest.raises(ValueError, match="return_states=True"):
        lab.heat(loss, states=loss)
    with pytest.raises(ValueError, match='expected "states", or "inputs"'):
        lab.heat(loss).draw(of="inputs")


def cells_of(picture):
    root = ET.fromstring(picture.svg)
    boxes = [e for e in root.iter() if e.get("class") == "cell"]
    texts = [e.text for e in root.iter() if e.tag.endswith("text")]
    return boxes, texts


def test_a_heat_map_shows_numbers_words_and_no_future():
    values = np.array([[2.0, 0, 0], [4e-7, 4.0, 0], [5e7, np.nan, 5.0]])
    draw = lambda: heat_map(values, rows=range(3), columns=range(3), words=["我", "<在>", "中国"])
    boxes, texts = cells_of(draw())
    assert len(boxes) == 6 and {"1", "1e-7", "1e7", "NaN", "我", "<在>", "中国"} <= set(texts)
    fills = [box.get("fill") for box in boxes]
    blue, white, red, bad = fills[1], fills[0], fills[3], fills[4]
    assert white == fills[2] == fills[5] == bad == "#ffffff" and len({blue, white, red}) == 3
    assert (blue, red) == (shade(place_of(1e-7)), shade(place_of(1e7)))  # as in every picture
    assert draw().svg.count('class="hatch"') == 2 == draw().svg.count('class="dots"')  # and legend
    assert draw().svg == draw().svg and repr(draw()) == "heat map: 3 × 3"
    boxes, texts = cells_of(heat_map(values, rows=[0, 1, 2], columns=[0, 1, 2], relative=False))
    assert "2" in texts and "4e-7" in texts
    large = heat_map(np.ones((100, 100)), rows=range(100), columns=range(100))
    assert len(cells_of(large)[0]) == 10_000 and len(large.svg) < 1_500_000
    with pytest.raises(ValueError, match="expected shape"):
        heat_map(values, rows=[0], columns=[0])


def test_every_measure_has_a_picture():
    cell = CELLS["RNN"]()
    ys, _, gates = CELLS["LSTM"]()(XS, return_gates=True, unroll=True)
    loss = squares(ys)
    boxes, texts = cells_of(lab.heat(loss).draw(words="我住在中国"))
    assert len(boxes) == 15 and {"我", "国"} <= set(texts)
    assert len(cells_of(lab.ledger(squares(cell(XS, unroll=True)[0]), cell).draw("Wx"))[0]) == 15
    assert lab.flow(cell, XS).draw().svg.count('class="line"') == 3
    assert lab.gates(gates).draw().svg.count('class="line"') == 4


# -- gates -----------------------------------------------------------------------------------------


def test_saturation_is_counted():
    f = np.full((4, 1, 3), 0.5)
    f[:, 0, 0], f[:3, 0, 1] = [0.01, 0.5, 0.99, 0.97], 0.02
    found = lab.gates({"f": f})["f"]
    assert found.low.tolist() == [0.25, 0.75, 0] and found.high.tolist() == [0.5, 0, 0]
    assert found.still.tolist() == [False, False, True] and found.mean[2] == 0.5
    assert (
        found.counts.sum() == 12
        and found.counts[0] == 4
        and found.edges[[0, -1]].tolist() == [0, 1]
    )
    mask = np.array([[True], [False], [False], [False]])
    assert lab.gates({"f": f}, mask=mask)["f"].low.tolist() == [1, 1, 0]
    g = lab.gates({"g": np.array([[[-0.99], [0.0]]])})["g"]  # a candidate is shut at -1
    assert g.low.tolist() == [0.5] and g.edges[0] == -1


def test_dead_units_are_found():
    cell = nn.IRNN(I, H, **F64, rng=0)
    cell.b.data = np.array([-100.0, 1, 1, 1])
    *_, states = cell(XS, return_states=True)
    found = lab.gates(states)
    assert found.dead["h"].tolist() == [0] and found["h"].never_positive.tolist()[0]
    assert repr(found).splitlines()[1].split()[:2] == ["h", "4"]


def test_refusals_of_gates():
    with pytest.raises(TypeError, match=r"give one: gates\[0\]"):
        lab.gates([{}])
    with pytest.raises(ValueError, match="g: expected"):
        lab.gates({"g": np.ones(3)})
    with pytest.raises(ValueError, match="at least one step"):
        lab.gates({"g": np.ones((0, 1, 2))})


# -- provenance ------------------------------------------------------------------------------------


class Rooted(nn.Cell):
    """A cell that takes roots, and so has no slope at 0 and no number below."""

    inputs = hidden = I
    dtype = np.float64

    def __init__(self):
        self.W = nn.module.parameter(np.eye(I), "W")

    def step(self, x, h):
        (f,) = nn.gates(f=tg.sqrt(x @ self.W) * 1.0)
        return f + 0.5 * h


@pytest.mark.parametrize("unroll", [False, True])
def test_a_planted_NaN_is_found(unroll):
    layer = nn.Recurrent(nn.Residual(nn.RNN(I, I, **F64, rng=0)), Rooted(), unroll=unroll)
    xs = np.ones((9, 1, I))
    layer.cells[0].cell.Wx.data = np.zeros((I, I))
    layer.cells[0].cell.Wh.data = np.zeros((I, I))
    assert str(lab.provenance(layer(xs)[0].sum())) == "all finite, forward and backward"
    assert not lab.provenance(layer(xs)[0].sum())
    xs[6, 0, 1] = -4.0
    found = lab.provenance(layer(xs)[0].sum())
    assert str(found) == "NaN first at t=6, layer1, gate f, op sqrt"
    assert found.direction == "forward"
    xs[6, 0, 1] = 0.0
    found = lab.provenance(layer(xs)[0].sum())
    assert str(found) == "Inf first in the backward pass at t=6, layer1, gate f, op sqrt"
    assert found.t == 6 and found.layer == "layer1" and found and layer.parameters()[0].grad is None


def test_the_first_of_two_and_the_nearest_name():
    class Two(Rooted):
        def step(self, x, h):
            a = tg.log(x @ self.W)
            f, o = nn.gates(f=tg.sigmoid(a), o=tg.tanh(a))
            return f * o + 0.5 * h

    xs = np.ones((9, 1, I))
    xs[[4, 6]] = -1.0
    assert str(lab.provenance(Two()(xs, unroll=True)[0].sum())).endswith(
        "t=4, layer0, gate f, op log"
    )


def test_a_NaN_that_was_given_is_no_fault_of_an_op():
    cell, xs = CELLS["GRU"](), XS.copy()
    xs[3, 0, 1] = np.nan
    found = lab.provenance(squares(cell(xs, unroll=True)[0]))
    assert str(found) == "NaN first at t=3, layer0, given in x" and found.op == ""
    assert not lab.provenance(squares(cell(xs, lengths=[3, 5], unroll=True)[0]))
    cell.Wx.data = cell.Wx.data * np.inf
    with np.errstate(invalid="ignore"):
        found = lab.provenance(squares(cell(XS, unroll=True)[0]))
    assert found.name == "Wx" and found.kind == "Inf" and found.t == 0


def test_an_infinity_that_goes_nowhere_is_none():
    cell = CELLS["GRU"]()
    loss = squares(cell(XS, lengths=[2, 5], readout="max", unroll=True)[0], 0.0)
    assert not lab.provenance(loss)


def test_an_overflow_outside_the_steps_has_no_time():
    ys, _ = CELLS["GRU"]()(XS, unroll=True)
    found = lab.provenance(tg.exp(ys.sum() * 0 + 1e4))
    assert (found.kind, found.op, found.t, found.gate) == ("Inf", "exp", None, "")


def test_the_gate_is_the_first_that_is_named_of_what_is_made_of_it():
    class Three(Rooted):
        def step(self, x, h):
            a = tg.log(x @ self.W)
            twice = a * 2.0
            (o,) = nn.gates(o=a * 1.0)  # named before f, though what leads to f is older
            (f,) = nn.gates(f=tg.sigmoid(twice))
            return f + o + 0.5 * h

    xs = np.ones((3, 1, I))
    xs[1, 0] = [0.0, -1.0, 1.0]
    found = lab.provenance(Three()(xs, unroll=True)[0].sum())
    assert (found.gate, found.op, found.t) == ("o", "log", 1)
    assert found.kind == "NaN"  # beside an infinity
    xs[1, 0] = [0.0, 1.0, 1.0]
    found = lab.provenance(Three()(xs, unroll=True)[0].sum())
    assert (found.gate, found.op, found.kind) == ("o", "log", "Inf")


def test_S16_the_steepest_slope_may_be_far_from_0():
    """That of softplus is 1 at infinity: a bound of less would be broken after 400 steps."""
    cell = nn.RNN(1, 1, activation="softplus", dtype=np.float64, rng=0)
    cell.Wh.data = cell.Wx.data = np.ones((1, 1))
    found = lab.flow(cell, np.full((400, 1, 1), 30.0))
    assert found.end[0] <= found.bounds["max f' · σ(W)"] ** 399 * (1 + 1e-12)
