"""Each layer equals its formula in plain NumPy, and its gradients the sums of BPTT, to 1e-12."""

import copy
import threading

import numpy as np
import pytest
import references as by_hand
from plain_loops import uncompiled

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.grad import history

T, B, I, H = 7, 3, 4, 5


def close(ours, theirs):
    ours = ours.data if isinstance(ours, tg.Tensor) else ours
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1, np.abs(theirs).max()))


def randomised(cell, seed=0):
    """Random, unequal weights everywhere, biases too: nothing hides behind a zero."""
    rng = np.random.default_rng(seed)
    for x in cell.parameters():
        x.data = rng.normal(size=x.shape) * 0.5
    return cell


CELLS = {
    "rnn": lambda: nn.RNN(I, H, dtype=np.float64),
    "lstm": lambda: nn.LSTM(I, H, convention="keras", dtype=np.float64),
    "gru": lambda: nn.GRU(I, H, bias=True, dtype=np.float64),
}


def reference(kind, xs, state, w, g):
    """Every state by the formula, and every gradient by hand, for cotangents g of the outputs."""
    if kind == "rnn":
        hs = by_hand.rnn(xs, *state, w["Wx"], w["Wh"], w["b"])
        return (hs,), by_hand.rnn_bptt(xs, hs, g, w["Wx"], w["Wh"])
    if kind == "lstm":
        hs, cs, gates = by_hand.lstm(xs, *state, w["Wx"], w["Wh"], w["b"])
        return (hs, cs), by_hand.lstm_bptt(xs, hs, cs, gates, g, w["Wx"], w["Wh"])
    hs, gates = by_hand.gru(xs, *state, w["Wx"], w["Wh"], w["Wn"], w["b"])
    return (hs,), by_hand.gru_bptt(xs, hs, gates, g, w["Wx"], w["Wh"], w["Wn"])


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("steps", [1, 2, T])
@pytest.mark.compiled
def test_layer_equals_formula_and_bptt_by_hand(kind, steps):
    """S2, S20, S21 forward; S12-S15 backward, the bias gradient Σ δ_k included."""
    rng = np.random.default_rng(steps)
    cell = randomised(CELLS[kind]())
    xs = tg.tensor(rng.normal(size=(steps, B, I)), requires_grad=True)
    state = tuple(tg.tensor(rng.normal(size=(B, H)), requires_grad=True) for _ in cell.state)
    g = rng.normal(size=(steps, B, H))
    ys, end = cell(xs, state)
    ys.backward(g)
    weights = {name: x.data for name, x in cell.named_parameters()}
    paths, gradients = reference(kind, xs.data, [s.data for s in state], weights, g)
    close(ys, paths[0][1:])
    for ours, theirs in zip(end, paths, strict=True):
        close(ours, theirs[-1])
    close(xs.grad, gradients["x"])
    for name, s in zip(cell.state, state, strict=True):
        close(s.grad, gradients[name])
    for name, x in cell.named_parameters():
        close(x.grad, gradients[name])


def test_language_model_of_pattern_one():
    """S6 and S12: L = Σ_t -log softmax(c + V h)[y], with ∂L/∂V = Σ_t h_tᵀ (ŷ_t - y_t)."""
    rng = np.random.default_rng(0)
    cell, output = randomised(CELLS["rnn"]()), nn.Linear(H, 6, dtype=np.float64, rng=0)
    xs, y = rng.normal(size=(T, B, I)), rng.integers(0, 6, (T, B))
    hs, _ = cell(xs)
    loss = tg.cross_entropy(output(hs), y, reduction="sum")
    loss.backward()
    path = by_hand.rnn(xs, np.zeros((B, H)), cell.Wx.data, cell.Wh.data, cell.b.data)
    p = by_hand.softmax(path[1:] @ output.W.data + output.b.data)
    picked = np.take_along_axis(p, y[..., None], -1)[..., 0]
    close(loss, -np.log(picked).sum())
    error = p - np.eye(6)[y]
    close(output.W.grad, sum(h.T @ e for h, e in zip(path[1:], error, strict=True)))
    close(output.b.grad, error.sum((0, 1)))
    g = error @ output.W.data.T
    close(cell.Wh.grad, by_hand.rnn_bptt(xs, path, g, cell.Wx.data, cell.Wh.data)["Wh"])


def test_softmax_needs_the_whole_jacobian():
    """S12's erratum: an elementwise φ' gives (0, -.923, 0, 0) where the truth is ŷ - y."""
    logits = tg.tensor([0.7, -1.1, 0.2, 1.3], requires_grad=True)
    p = by_hand.softmax(logits.data)
    tg.cross_entropy(logits, 1).backward()
    whole = p - np.eye(4)[1]
    diagonal = -np.eye(4)[1] / p * p * (1 - p)
    close(logits.grad, whole)
    assert np.abs(logits.grad.data - diagonal).max() > 0.1


@pytest.mark.parametrize("kind", CELLS)
def test_second_derivatives_of_a_layer(kind):
    cell = randomised(CELLS[kind]())
    weights = cell.parameters()
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(3, 2, I))

    def f(xs, *values):
        names = [name for name, _ in cell.named_parameters()]
        for name, value in zip(names, values, strict=True):
            value.name = name  # as in other tests, so that the loop is theirs
            setattr(cell, name, value)
        ys, end = cell(xs)
        return (ys, *end)

    tg.check_grads(f, [xs, *weights], order=2)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("steps, batch", [(0, 2), (2, 0), (1, 1)])
def test_empty_and_single_sequences(kind, steps, batch):
    cell = randomised(CELLS[kind]())
    state = tuple(tg.tensor(np.ones((batch, H)), requires_grad=True) for _ in cell.state)
    ys, end = cell(tg.tensor(np.ones((steps, batch, I))), state)
    assert ys.shape == (steps, batch, H)
    (ys.sum() + end[0].sum()).backward()
    found = [x.grad for x in (*cell.parameters(), *state)]
    if steps and batch:
        assert all(np.isfinite(g.data).all() and g.data.any() for g in found)
    else:
        assert all(g is None or not g.data.any() for g in found[: -len(state)])
    if steps == 0:
        assert np.array_equal(end[0].data, state[0].data)
        assert np.array_equal(state[0].grad.data, np.ones((batch, H)))


def test_parameter_counts():
    """S22, with the erratum: 4[(e+h)h + h] also where e and h differ."""
    assert nn.count_parameters(nn.LSTM(128, 128)) == 131_584
    assert nn.count_parameters(nn.LSTM(100, 128)) == 117_248
    assert nn.count_parameters(nn.GRU(128, 128)) == 98_304
    assert nn.count_parameters(nn.GRU(128, 128, bias=True)) == 98_688
    assert nn.count_parameters(nn.RNN(3, 5, bias=2)) == 15 + 25 + 10


def test_rnn_takes_any_activation_and_number_of_biases():
    """Compiled, they are among the cells of the library in test_scan."""
    xs = np.random.default_rng(0).normal(size=(T, B, I))
    for f in ("relu", tg.sigmoid, lambda a: a):
        for bias in (0, 1, 2, True, False):
            cell = randomised(nn.RNN(I, H, activation=f, bias=bias, dtype=np.float64))
            assert len(cell.parameters()) == 2 + int(bias)
            h, act = np.zeros((B, H)), (tg.relu if f == "relu" else f)
            for x in xs:
                a = x @ cell.Wx.data + h @ cell.Wh.data
                a = a + sum(b.data for b in (cell.b, cell.bh) if b is not None)
                h = np.asarray(act(a))
            close(cell(xs, unroll=True)[1][0], h)


def test_good_beginnings():
    """Orthogonal for each gate by itself, Glorot inputs, forget bias 1, float32."""
    cell = nn.LSTM(30, 20, rng=0)
    for block in np.split(cell.Wh.data.astype(np.float64), 4, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(20), atol=1e-6)
    assert cell.b.data.tolist() == [1] * 20 + [0] * 60
    bound = np.sqrt(6 / 50)
    assert np.abs(cell.Wx.data).max() <= bound < 1.1 * np.abs(cell.Wx.data).max()
    for cell in (nn.RNN(3, 4), nn.LSTM(3, 4), nn.GRU(3, 4, bias=True)):
        assert all(x.dtype == np.float32 for x in cell.parameters())
        assert cell(np.ones((2, 1, 3), np.float32))[0].dtype == np.float32


def test_a_cell_of_ones_own():
    """Five lines of formula: the minimal gated unit, folded, stacked and differentiated."""

    class Minimal(nn.Cell):
        def __init__(self):
            self.inputs, self.hidden, self.dtype = I, I, np.float64
            self.W = tg.tensor(np.full((2 * I, 2 * I), 0.1), requires_grad=True, name="W")

        def step(self, x, h):
            f, n = tg.split(tg.concat([x, h], axis=-1) @ self.W, 2, axis=-1)
            f = f.sigmoid()
            return h + f * (n.tanh() - h)

    layer = nn.Recurrent(Minimal(), Minimal())
    xs = np.random.default_rng(0).normal(size=(T, B, I))
    tg.check_grads(lambda xs: layer(xs)[0], [xs], order=2)
    assert [name for name, _ in layer.named_parameters()] == ["cells.0.W", "cells.1.W"]


def test_dropout_is_off_in_use_and_keeps_the_mean_in_training():
    layer = nn.Dropout(0.25, rng=0)
    x = tg.tensor(np.ones(100_000, np.float32), requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert abs(kept.mean() - 0.75) < 0.01 and np.allclose(y.data[kept], 1 / 0.75)
    y.sum().backward()
    assert np.array_equal(x.grad.data, y.data)
    assert layer.eval()(x) is x
    assert not nn.Dropout(1.0)(x).data.any() and nn.Dropout(0.0)(x) is x


def test_a_recurrent_layer_drops_below_every_cell_even_a_single_one():
    layer = nn.Recurrent(nn.RNN(I, H, rng=0), dropout=0.5, rng=1)
    xs = np.ones((T, 400, I), np.float32)
    assert not np.allclose(layer(xs)[0].data, layer(xs)[0].data)
    layer.eval()
    assert np.array_equal(layer(xs)[0].data, layer(xs)[0].data)


def test_a_system_without_inputs():
    """S5: s(t) = f(s(t-1)); here a rotation, whose gradient turns back."""
    turn = np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]])
    start = tg.tensor([[1.0, 0.0]], requires_grad=True)
    for fold in (tg.unroll, tg.scan):
        (path,) = fold(lambda s: s @ tg.tensor(turn), start, None, length=10)
        close(path[-1], [[np.cos(1.0), np.sin(1.0)]])
        close(tg.grad(path[-1][0, 0], start), [[np.cos(1.0), -np.sin(1.0)]])
    xs = np.ones((3, 1, 2))
    for fold in (tg.unroll, tg.scan):
        with pytest.raises(ValueError, match="either xs, or length"):
            fold(lambda s: s, start, None)
        with pytest.raises(ValueError, match="xs has 3 steps, but length=4"):
            fold(lambda x, s: x + s, start, xs, length=4)
        with pytest.raises(ValueError, match=r"one length, got lengths \[3, 2\]"):
            fold(lambda x, y, s: x + y + s, start, (xs, xs[:2]))
        assert fold(lambda x, s: x + s, start, xs, length=3)[0].shape == (3, 1, 2)


def test_scopes_name_the_layer_and_the_step():
    from tinygrad_rnn.tensor import history

    def scopes(op, **options):
        layer = nn.Recurrent(nn.RNN(I, H), nn.RNN(H, H), **options)
        ys, _ = layer(np.ones((2, B, I), np.float32))
        return {y.scope for y in history([ys]) if y.op and y.op.name == op}

    steps = {f"layer{k}/t={t}" for k in (0, 1) for t in (0, 1)}
    assert scopes("tanh", unroll=True) == steps
    assert scopes("scan") == {"layer0", "layer1"}


@pytest.mark.parametrize("cell", ["rnn", pytest.param("lstm", marks=pytest.mark.compiled), "gru"])
def test_a_language_model_learns_to_count(cell):
    text = np.arange(400) % 5
    model = nn.LanguageModel(5, cell=cell, hidden=16, embedding=8, layers=2, rng=0)
    optimizer = tg.optim.Adam(model, lr=0.02)
    for _ in range(4):
        updates = list(tg.optim.truncated_bptt(model.loss, tg.data.windows(text, 4, 10), optimizer))
    assert updates[-1].loss < 0.1
    assert list(model.eval().sample([0, 1], 6, temperature=0)) == [2, 3, 4, 0, 1, 2]
    assert len(list(model.sample([3], 4, rng=0))) == 4


@pytest.mark.compiled
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_symbols_that_are_read_often_are_multiplied_once_and_no_bit_changes(cell):
    model = nn.LanguageModel(7, cell=cell, embedding=5, hidden=40, dtype=np.float64, rng=0)
    index = np.random.default_rng(0).integers(7, size=(11, 30))
    weights, found = list(model.parameters()), []

    def is_looked_up(logits):
        rows = {y.inputs[0] for y in history([logits]) if y.op and y.op.name == "embedding"}
        return model.embedding.table in rows

    for unroll in (False, True):
        model.recurrent.unroll = unroll
        logits, _ = model(index)
        assert is_looked_up(logits) == unroll
        found.append([logits, *tg.grad((logits * logits).mean(), weights)])
    for ours, steps in zip(*found, strict=True):
        np.testing.assert_allclose(ours.data, steps.data, rtol=0, atol=1e-12)
    model.recurrent.unroll = False
    few, _ = model(index[:, :2])
    assert is_looked_up(few)
    assert np.array_equal(few.data, found[0][0].data[:, :2])
    with pytest.raises(IndexError, match="0 <= index < 7, got values from 7"):
        model(np.full((8, 4), 7))
    with pytest.raises(TypeError, match="integers"):
        model(np.ones((8, 4)))


@pytest.mark.compiled
def test_what_is_looked_up_is_that_of_this_call_and_this_thread():
    """The cell that looks up is kept, what it looks up is not: weights change between calls."""
    model = nn.LanguageModel(7, hidden=16, embedding=5, dtype=np.float64, rng=0)
    index, weights = np.random.default_rng(0).integers(7, size=(11, 30)), list(model.parameters())
    wrong = []

    def agrees():
        found = []
        for unroll in (False, True):
            model.recurrent.unroll = unroll
            logits, _ = model(index)
            found.append([logits, *tg.grad((logits * logits).mean(), weights)])
        for ours, steps in zip(*found, strict=True):
            np.testing.assert_allclose(ours.data, steps.data, rtol=0, atol=1e-12)

    for x in (*weights[:3], weights[1]):
        agrees(), agrees()
        x.data = x.data * 0.5
    cell = model.recurrent.cells[0]
    cell.Wx = tg.tensor(cell.Wx.data * 2.0, requires_grad=True)
    weights = list(model.parameters())
    agrees()
    model.recurrent.unroll = False
    wanted = [g.data for g in tg.grad((model(index)[0] ** 2).mean(), weights)]

    def often():
        for _ in range(50):
            found = tg.grad((model(index)[0] ** 2).mean(), weights)
            if not all(map(np.array_equal, [g.data for g in found], wanted)):
                wrong.append(found)

    threads = [threading.Thread(target=often) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


# -- parameters in and out ----------------------------------------------------------------------


def test_a_state_dict_goes_back_in_and_snapshots_do_not_change():
    cell, other = nn.LSTM(2, 3, rng=0), nn.LSTM(2, 3, rng=1)
    snapshot = cell.state_dict()
    before = {path: array.copy() for path, array in snapshot.items()}
    assert other.load_state_dict(snapshot) == ([], [])
    optimizer = tg.optim.SGD(cell, lr=0.1)
    cell(np.ones((2, 1, 2), np.float32))[0].sum().backward()
    optimizer.step()
    for path, array in other.state_dict().items():
        assert np.array_equal(array, before[path]) and np.array_equal(snapshot[path], array)
        assert not np.array_equal(cell.state_dict()[path], array)


def test_J05_one_error_lists_every_misfit_and_nothing_is_loaded():
    cell = nn.LSTM(2, 3, rng=0)
    state = {path: array + 1 for path, array in cell.state_dict().items()}
    state["Wx"], state["extra"] = np.ones((12, 2), np.float32), np.ones(1)
    state["Wh"] = np.ones((3, 12), int)
    del state["b"]
    before = cell.state_dict()
    with pytest.raises(ValueError, match="nothing was loaded") as refusal:
        cell.load_state_dict(state)
    for word in (
        "missing 'b'",
        "unexpected 'extra'",
        "[12, 2]",
        "expected float32[2, 12]",
        "int64",
    ):
        assert word in str(refusal.value)
    assert all(np.array_equal(cell.state_dict()[p], a) for p, a in before.items())


def test_J05_numbers_that_a_parameter_does_not_hold_are_refused():
    module = nn.Linear(2, 1)
    module.count = tg.tensor(np.int32(0))
    large = module.state_dict() | {"W": np.full((2, 1), 1e300), "count": np.array(2**40 + 7)}
    with pytest.raises(ValueError, match=r"'W' has 1e.300, which float32 does not hold.*'count'"):
        module.load_state_dict(large)
    module.load_state_dict(module.state_dict() | {"W": np.array([[np.inf], [np.nan]])})
    with pytest.raises(ValueError, match=r"weight_ih_l0' has 1e.300"):
        cell = nn.RNN(2, 3, bias=2)
        state = tg.io.to_torch(cell) | {"weight_ih_l0": np.full((3, 2), 1e300)}
        tg.io.load_torch(cell, state)


def test_J05_what_a_module_is_made_with_can_be_kept(tmp_path):
    cell = nn.RNN(2, 3, clip=np.inf, rng=0)
    for module in (cell, nn.Recurrent(cell, reverse=np.True_, batch_first=1)):
        tg.io.save(tmp_path / "x.safetensors", module.state_dict())
        module.load_state_dict(tg.io.load(tmp_path / "x.safetensors")[0])
    with pytest.raises(ValueError, match="clip="):
        nn.RNN(2, 3, clip=1.0).load_state_dict(cell.state_dict())


def test_J05_not_strict_loads_what_there_is_and_says_what_there_is_not():
    cell = nn.LSTM(2, 3, rng=0)
    found = {"b": np.arange(12.0), "x": np.ones(1)}
    assert cell.load_state_dict(found, strict=False) == (["Wh", "Wx"], ["x"])
    assert cell.b.data.tolist() == list(range(12)) and cell.b.dtype == np.float32


def test_modules_nest_in_lists_and_dicts_share_and_even_contain_themselves():
    class Odd(nn.Module):
        def __init__(self):
            self.one = nn.Linear(2, 2)
            self.more = [nn.Linear(2, 2), {"deep": nn.Linear(2, 2)}]
            self.tied, self.me = self.one, self

    names = [name for name, _ in Odd().named_parameters()]
    assert names == ["one.W", "one.b", "more.0.W", "more.0.b", "more.1.deep.W", "more.1.deep.b"]
    assert not any(m.training for m in Odd().eval().modules()) and "me=..." in repr(Odd())


def test_a_parameter_is_not_replaced_by_what_is_none():
    """`m.W -= 0.1 * m.W.grad` would make W a computed tensor, and stop its training unseen."""
    layer = nn.Linear(2, 2, rng=0)
    for value in (layer.W - 1, np.ones((2, 2)), tg.tensor(np.ones((2, 2)))):
        with pytest.raises(TypeError, match=r"Linear\.W is a parameter.*\.data = "):
            layer.W = value
    layer.W = tg.tensor(np.ones((2, 2), np.float32), requires_grad=True)
    layer.b = None
    assert [name for name, _ in layer.named_parameters()] == ["W"]


def test_frozen_parameters_are_kept_but_not_trained():
    layer = nn.Linear(2, 3, rng=0)
    layer.b.requires_grad = False
    assert set(layer.state_dict()) == {"W", "b"} and nn.count_parameters(layer) == 6
    other = nn.Linear(2, 3, rng=1)
    assert other.load_state_dict(layer.state_dict()) == ([], [])


def test_modules_and_optimizers_show_what_they_are():
    layer = nn.Recurrent(nn.LSTM(2, 3), nn.GRU(3, 4))
    cells = "LSTM(Wh=3×12, Wx=2×12, b=12), GRU(Wh=4×8, Wx=3×12, Wn=4×4)"
    assert repr(layer) == f"Recurrent(cells=[{cells}], dropout=[Dropout(0), Dropout(0)])"
    assert repr(tg.optim.Adam(layer, lr=0.01)) == "Adam(lr=0.01, 6 parameters, 0 steps done)"
    layer.heads = {"tone": nn.Linear(4, 1), "rate": 0.5}
    assert repr(layer).endswith(", heads={tone=Linear(W=4×1, b=1)})")
    assert repr(tg.optim.Update(0.5, 2.0, layer)) == "Update(loss=0.5, norm=2)"


def test_J06_a_state_of_another_dtype_is_refused():
    with pytest.raises(TypeError, match=r"Recurrent: h: expected floats, float32 .* got float64"):
        nn.RNN(2, 3)(np.ones((2, 1, 2), np.float32), (tg.tensor(np.zeros((1, 3))),))
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got int32"):
        nn.GRU(2, 3, dtype=np.int32)


def test_a_cell_of_ones_own_has_the_dtype_of_its_weights():
    class Own(nn.Cell):
        def __init__(self, *dtypes):
            self.inputs, self.hidden = 2, 3
            self.lines = [nn.Linear(2, 3, dtype=dtype) for dtype in dtypes]

        def step(self, x, h):
            return sum([line(x) for line in self.lines], 0 * h)

    assert Own(np.float64).dtype == Own(np.float64).begin(1)[0].dtype == np.float64
    assert Own().dtype == Own(np.float64, np.float32).dtype == np.float32
    cell = Own(np.float64)
    assert cell(np.ones((4, 1, 2)))[0].dtype == np.float64
    assert cell.freeze().dtype == np.float64  # weights that are not trained are weights, too
    cell.dtype = np.float32
    with pytest.raises(TypeError, match="xs: expected floats, float32"):
        cell(tg.tensor(np.ones((4, 1, 2))))


def test_parameters_of_layers_within_are_named_after_them():
    class Two(nn.Module):
        def __init__(self):
            self.f, self.n = nn.Linear(2, 2), nn.Linear(2, 2)
            self.again = self.f

    two = Two()
    assert [x.name for x in two.parameters()] == ["f.W", "f.b", "n.W", "n.b"]


def test_blocks_of_a_layer_norm_are_normalised_each_by_itself():
    x = np.random.default_rng(0).normal(size=(3, 2, 6))
    layer = nn.LayerNorm(6, blocks=2, dtype=np.float64)
    layer.gain.data, layer.shift.data = np.arange(1.0, 7), np.arange(7.0, 13)
    apart = x.reshape(3, 2, 2, 3)
    apart = (apart - apart.mean(-1, keepdims=True)) / np.sqrt(apart.var(-1, keepdims=True) + 1e-5)
    expected = apart.reshape(x.shape) * np.arange(1.0, 7)
    np.testing.assert_allclose(layer(x).data, expected + np.arange(7.0, 13), atol=1e-12)
    plain = nn.LayerNorm(6, blocks=2, shift=False, dtype=np.float64)
    plain.gain.data = np.arange(1.0, 7)
    np.testing.assert_allclose(plain(x).data, expected, atol=1e-12)


OF_TWO = {  # layers of two features, and how each is asked
    "linear": (lambda **how: nn.Linear(2, 3, **how), lambda layer, x: layer(x)),
    "norm": (lambda **how: nn.LayerNorm(2, **how), lambda layer, x: layer(x)),
    "dropout": (lambda **how: nn.Dropout(0.5, rng=0, **how), lambda layer, x: layer(x)),
    "cell": (lambda **how: nn.LSTM(2, 3, **how), lambda layer, x: layer(x, unroll=True)[0]),
    "layer": (
        lambda **how: nn.Recurrent(nn.GRU(2, 3, **how), unroll=True, dropout=0.5, rng=0),
        lambda layer, x: layer(x)[0]),
    "readout": (
        lambda **how: nn.Recurrent(nn.RNN(2, 3, **how), unroll=True, readout="mean"),
        lambda layer, x: layer([np.array(x) if isinstance(x, list) else x] * 2)[0]),
    "both": (
        lambda **how: nn.Bidirectional(nn.RNN(2, 3, **how), nn.RNN(2, 3, **how)),
        lambda layer, x: layer(x, unroll=True)[0]),
    "state": (
        lambda **how: nn.TimeSkip(nn.RNN(2, 2, **how), 2),
        lambda layer, x: layer(x, (x[0], [1, 2]), unroll=True)[0]),
    "ensemble": (lambda **how: nn.Ensemble(nn.Linear(2, 3, **how)), lambda layer, x: layer(x)),
    "taught": (
        lambda **how: nn.OutputRecurrent(2, 3, 1, source="target", **how),
        lambda layer, x: layer([x] if isinstance(x, list) else x[None], targets=[[[1], [2.0]]])[0]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OF_TWO)
def test_plain_arrays_lists_and_numbers_take_the_dtype_of_the_layer(name, dtype):
    make, ask = OF_TWO[name]
    found = []
    for kind in (float, "f4", int, list):
        layer = make(dtype=dtype).train(name == "dropout")
        rng = np.random.default_rng(0)
        for x in layer.parameters():
            x.data = rng.normal(size=x.shape).astype(dtype)
        given = np.array([[1, 2], [3, 4]])
        y = ask(layer, given.tolist() if kind is list else given.astype(kind))
        assert y.dtype == dtype
        found.append(y.data)
        other = np.float32 if dtype == np.float64 else np.float64
        if name != "dropout":  # which has no weights
            with pytest.raises(TypeError, match="expected floats"):
                ask(layer, tg.tensor(given, dtype=other))
    for y in found:
        np.testing.assert_array_equal(y, found[0])


def test_what_is_no_number_is_refused_by_name():
    for x in ("text", [[1.0], [1.0, 2.0]], np.ones((1, 2), complex)):
        with pytest.raises((TypeError, ValueError), match=r"^Linear: x: "):
            nn.Linear(2, 3)(x)
    assert nn.Embedding(3, 2)([0, 2]).shape == (2, 2)
    with pytest.raises(TypeError, match="index: expected integers"):
        nn.Embedding(3, 2)([0.0, 2.0])


def test_a_call_of_a_cell_makes_no_layer(monkeypatch):
    """But one of which something is asked that only a layer has."""
    cell, xs = nn.LSTM(2, 3, rng=0), np.ones((4, 1, 2), np.float32)
    expected = nn.Recurrent(cell)(xs)[0]
    monkeypatch.setattr(nn.recurrent, "Recurrent", None)
    assert (cell(xs, lengths=[4])[0] == expected).data.all()
    with pytest.raises(TypeError):
        cell(xs, readout="last")


def test_what_a_layer_taught_by_targets_reads_is_named():
    cell = nn.OutputRecurrent(2, 3, 1, source="target", rng=0)
    ys, _ = cell(np.ones((3, 1, 2)), targets=np.ones((3, 1, 1)), unroll=True)
    named = [x.inputs[0].name for x in history([ys]) if x.op and x.inputs[-1] is cell.Wo]
    assert named == ["target", "target", "o0"]


@pytest.mark.compiled
def test_what_is_frozen_gets_no_gradient_until_it_is_trained_again():
    layer = nn.Recurrent(nn.LSTM(2, 3, rng=0), nn.GRU(3, 3, rng=1))
    xs = np.ones((4, 2, 2), np.float32)

    def moved():
        layer.zero_grad()
        (layer(xs)[0] ** 2).sum().backward()
        return {name for name, x in every.items() if x.grad is not None}

    every = dict(layer.named_parameters())
    first = {name for name in every if name.startswith("cells.0")}
    assert moved() == every.keys()
    every["cells.1.Wx"].grad = None
    before = layer.cells[0].freeze().state_dict()
    for x in every.values():
        x.grad = None
    assert moved() == every.keys() - first == {name for name, _ in layer.named_parameters()}
    assert before.keys() == {name.removeprefix("cells.0.") for name in first}
    layer.freeze()  # twice, the first cell's are still known
    assert layer.parameters() == [] and layer.state_dict().keys() == every.keys()
    assert layer(xs)[0].requires_grad is False
    layer.freeze(False)
    assert moved() == every.keys()


def test_what_was_frozen_from_outside_can_be_trained_again_by_itself():
    layer = nn.Recurrent(nn.LSTM(3, 4, rng=0), nn.LSTM(4, 4, rng=1)).freeze()
    layer.cells[1].freeze(False)
    assert [name for name, _ in layer.named_parameters()] == [
        f"cells.1.{n}" for n in ("Wh", "Wx", "b")
    ]
    assert len(layer.freeze(False).parameters()) == 6
    two = nn.convert(nn.LSTM(3, 4).freeze(), "torch").freeze(False)
    assert [name for name, _ in two.named_parameters()] == ["Wh", "Wx", "b", "bh"]
    assert len(nn.convert(two.freeze(), "textbook").freeze(False).parameters()) == 3
    line = nn.Linear(3, 2).freeze()
    line.b = None
    assert len(line.freeze(False).parameters()) == 1


def test_a_weight_that_stands_in_two_places_is_not_laid_out_anew_twice():
    a, b = nn.LSTM(4, 4, rng=0), nn.LSTM(4, 4, rng=1)
    b.Wx = a.Wx
    layer, tied = nn.Recurrent(a, b), nn.LSTM(4, 4)
    tied.Wh = tied.Wx
    both = nn.LanguageModel(5, embedding=4, hidden=4)
    both.other = nn.Linear(4, 16)
    both.other.W = both.recurrent.cells[0].Wx
    for move in (lambda: nn.convert(layer, "torch"), lambda: tg.io.to_torch(layer),
                 lambda: tg.io.to_onnx(nn.Bidirectional(a, b)), lambda: tg.io.to_torch(tied),
                 lambda: nn.convert(both, "torch")):  # fmt: skip
        with pytest.raises(ValueError, match=r"the W[hx] of this LSTM stands in 2 places"):
            move()
    plain = nn.Recurrent(nn.RNN(4, 4, bias=2), nn.RNN(4, 4, bias=2))
    plain.cells[1].Wh = plain.cells[0].Wh  # nothing of these is laid out otherwise
    state = tg.io.to_torch(plain)
    tg.io.load_torch(plain, state)
    before = plain.state_dict()
    with pytest.raises(ValueError, match="weight_hh_l1 gives other numbers to a weight that"):
        tg.io.load_torch(plain, state | {"weight_hh_l1": state["weight_hh_l1"] + 1})
    assert all(np.array_equal(x, before[name]) for name, x in plain.state_dict().items())
    twice, xs = nn.Recurrent(a, a, share=True), np.ones((3, 2, 4), np.float32)
    with uncompiled():
        found, expected = (of(xs)[0].data for of in (nn.convert(twice, "keras"), twice))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_ensemble_is_called_like_a_member():
    members = [nn.Recurrent(nn.RNN(2, 3, rng=n)) for n in (0, 1)]
    xs, lengths = np.ones((5, 2, 2), np.float32), [5, 2]
    with uncompiled():
        found = nn.Ensemble(*members, output=lambda r: r[0])(xs, lengths=lengths)
        expected = [member(xs, lengths=lengths)[0].data for member in members]
    np.testing.assert_allclose(found.data, np.mean(expected, axis=0), rtol=1e-6)


def test_copies_of_a_state_know_what_its_numbers_mean():
    state, other = nn.LSTM(2, 3).state_dict(), nn.LSTM(2, 3, convention="keras")
    for copied in (state.copy(), state | {}, copy.copy(state)):
        with pytest.raises(ValueError, match="order"):
            other.load_state_dict(copied)
    assert nn.LSTM(2, 3).load_state_dict(state | {}) == ([], [])


@pytest.mark.compiled
@pytest.mark.parametrize("readout", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_over_time_do_not_depend_on_how_long_others_are(readout, dtype):
    layer = nn.Recurrent(nn.RNN(3, 5, rng=0, dtype=dtype), readout=readout)
    rng = np.random.default_rng(0)
    for length, longer in rng.integers(1, 40, (30, 2)):
        x, z = (rng.normal(size=(n, 3)).astype(dtype) for n in (length, length + longer))
        assert np.array_equal(layer([x])[0].data[0], layer([x, z])[0].data[0])


def test_a_parameter_that_is_switched_off_is_forgotten_too():
    layer = nn.Linear(2, 1, rng=0)
    layer(np.ones((1, 2), np.float32)).sum().backward()
    layer.W.requires_grad = False
    layer.zero_grad()
    assert layer.W.grad is None and layer.b.grad is None


@pytest.mark.parametrize("word", ["reset", "update"])
def test_a_gru_is_converted_to_what_there_is(word):
    cell = nn.GRU(3, 4, convention="torch", rng=0)
    with pytest.raises(ValueError, match=f"convert: {word}: expected one of"):
        nn.convert(cell, "keras", **{word: "Previous"})


def test_a_prompt_is_what_it_was_when_it_was_given():
    model = nn.LanguageModel(5, hidden=4, rng=0).eval()
    prompt = [0, 1]
    later, expected = (
        model.sample(prompt, 4, temperature=0),
        [*model.sample(prompt, 4, temperature=0)],
    )
    prompt.append(2)
    assert [*later] == expected
