"""Training: rules by hand, settings in their range, rates that were used, and data with a NaN."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


def leaf(*numbers, name=None):
    return tg.tensor(np.array(numbers), requires_grad=True, name=name)


def test_a_joint_norm_is_that_of_all_gradients_together():
    """√(3² + 4² + 12²) = 13, and none of 5, 12 or 17."""
    x, y, unused = leaf(0.0, 0.0), leaf(0.0), leaf(7.0)
    x.grad, y.grad = tg.tensor([3.0, 4.0]), tg.tensor([-12.0])
    assert optim.clip_grad_norm([x, y, unused], 6.5) == 13
    np.testing.assert_allclose(np.concatenate([x.grad.data, y.grad.data]), [1.5, 2.0, -6.0])
    assert unused.grad is None
    for tiny in (1e-160, 1e-161, 1e-200, 1e-300):  # squares with few digits left, and with none
        norm = optim.clip.euclidean([np.array([3 * tiny]), np.array([4 * tiny])])
        assert norm == pytest.approx(5 * tiny, rel=1e-12)


@pytest.mark.parametrize("rule", [optim.Adam, lambda xs, lr: optim.AdamW(xs, lr, weight_decay=0)])
def test_adam_counts_the_steps_of_each_parameter(rule):
    """The first step of Adam is lr · sign(g), also where the first gradient comes late."""
    early, late = leaf(1.0), leaf(1.0, -1.0)
    optimizer = rule([early, late], 0.1)
    for k in range(3):
        early.grad = tg.tensor([2.0])
        optimizer.step()
        np.testing.assert_allclose(early.data, [0.9 - 0.1 * k], rtol=1e-6)
    late.grad = tg.tensor([5.0, -0.01])
    optimizer.step()
    np.testing.assert_allclose(late.data, [0.9, -0.9], rtol=1e-5)
    assert [int(optimizer.memory[n]["count"]) for n in optimizer.memory] == [4, 1]
    assert optimizer.steps == 4


def test_settings_that_nobody_gives_are_those_of_the_papers():
    """Kingma and Ba (2015); Loshchilov and Hutter (2019); PyTorch's RMSprop."""
    adam = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
    for kind, settings in (
        (optim.Adam, adam),
        (optim.AdamW, adam | {"weight_decay": 1e-2}),
        (optim.RMSprop, {"lr": 1e-3, "decay": 0.99, "eps": 1e-8}),
    ):
        rule = kind([leaf(1.0)])
        assert {name: getattr(rule, name) for name in settings} == settings
    plain = optim.SGD([leaf(1.0)], 0.1)
    assert (plain.momentum, plain.weight_decay) == (0, 0)


def test_a_cosine_goes_up_in_its_warm_up_and_down_to_its_floor():
    rate = lambda k: optim.cosine(k, peak=1.0, total=10, warmup=4)
    assert [rate(k) for k in range(4)] == [0.25, 0.5, 0.75, 1.0]
    half = lambda done: 0.5 * (1 + math.cos(math.pi * done))
    np.testing.assert_allclose([rate(k) for k in (4, 5, 7, 9)], [1, half(1 / 6), 0.5, half(5 / 6)])
    assert rate(10) == rate(99) == 0
    assert optim.cosine(7, peak=1.0, total=10, warmup=4, floor=0.2) == pytest.approx(0.6)
    for step, kind in (("3", TypeError), (None, TypeError), (math.nan, ValueError)):
        with pytest.raises(kind, match=r"cosine: step: expected a number in \(-inf, inf\]"):
            optim.cosine(step, peak=1.0, total=10)

    assert (
        optim.cosine(10**400, peak=1.0, total=10) == optim.cosine(math.inf, peak=1.0, total=10) == 0
    )


@pytest.mark.parametrize("cost", [None, "a", 10**400, np.array([0.5, 1.0])])
def test_a_cost_is_one_number(cost):
    stopping = optim.EarlyStopping(nn.Linear(1, 1), 2)
    with pytest.raises(TypeError, match="EarlyStopping: cost: expected a number, got"):
        stopping.step(cost)
    assert stopping.since == 0


class Line(nn.Module):
    """y = w x, and its loss."""

    def __init__(self):
        self.w = leaf(1.0)

    def loss(self, x, y, state):
        """The mean squared error, for an x that may stand in a tuple."""
        x = x["x"] if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x
        return ((x * self.w - y) ** 2).mean(), state


def test_windows_are_learnt_at_the_rates_of_the_schedule():
    """The first at schedule(0), and each with the rate that is set."""
    line, used, seen = Line(), [], []

    class Noted(optim.SGD):
        def update(self, x, g, memory):
            used.append(self.lr)
            return super().update(x, g, memory)

    one = (np.ones((1, 1)), np.zeros((1, 1)))
    schedule = lambda k: seen.append(k) or 0.1 / (k + 1)
    updates = list(optim.truncated_bptt(line.loss, [one] * 3, Noted(line, 1.0), schedule=schedule))
    assert seen == [0, 1, 2] and used == [0.1, 0.05, 0.1 / 3]
    w, norms = 1.0, []
    for k in range(3):
        norms.append(2 * w)
        w -= 0.1 / (k + 1) * 2 * w
    np.testing.assert_allclose(line.w.data, [w])
    np.testing.assert_allclose([u.norm for u in updates], norms)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0, "0.1", True, None])
def test_settings_keep_their_range_when_they_are_set(bad):
    """Of every optimiser, and as when it is made; the old number stays."""
    for kind in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW):
        optimizer = kind([leaf(1.0)], 0.1)
        settings = [k for c in kind.__mro__ for k, v in vars(c).items()
                    if isinstance(v, optim.optimizers.Setting)]  # fmt: skip
        assert "lr" in settings and len(settings) == len(set(settings)) > 2
        for name in settings:
            old = getattr(optimizer, name)
            for wrong in (bad, (0.9, bad)):
                with pytest.raises((ValueError, TypeError), match=f"{kind.__name__}: {name}: exp"):
                    setattr(optimizer, name, wrong)
            assert getattr(optimizer, name) == old
        optimizer.lr = np.float32(0.5)
        assert optimizer.lr == 0.5 and type(optimizer.lr) is float
    decay = optim.AdamW([leaf(1.0)], weight_decay=0.3)
    decay.weight_decay = 0.2
    assert decay.decoupled == 0.2 and optim.Adam([leaf(1.0)]).decoupled == 0


def test_memory_goes_to_the_parameter_it_is_of():
    """Adam of [Wx, Wh] is not that of [Wh, Wx], though they are of one shape."""
    wx, wh = leaf(1.0, name="Wx"), leaf(2.0, name="Wh")
    wx.grad, wh.grad = tg.tensor([1.0]), tg.tensor([-9.0])
    optimizer = optim.Adam([wx, wh])
    optimizer.step()
    state = optimizer.state_dict()
    again = optim.Adam([wx, wh])
    again.load_state_dict(state)
    assert again.state_dict().keys() == state.keys()
    swapped = optim.Adam([wh, wx])
    with pytest.raises(ValueError, match=r"unexpected 'm/0 Wx'.* in the same order"):
        swapped.load_state_dict(state)
    assert not any(swapped.memory.values()) and swapped.steps == 0


FINE = np.ones((4, 3, 1))
BROKEN = FINE.copy()
BROKEN[2, 1, 0], BROKEN[3, 0, 0] = np.nan, np.inf
DATA = {
    "inputs": (BROKEN, FINE, r"x\[2, 1, 0\] is nan \(t 2, row 1\), the first of 2"),
    "targets": (FINE, tg.tensor(BROKEN), r"y\[2, 1, 0\] is nan \(t 2, row 1\)"),
    "a tuple": ((BROKEN, [4, 4]), FINE, r"x\[0\]\[2, 1, 0\] is nan"),
    "a dict": ({"x": BROKEN}, FINE, r"x\['x'\]\[2, 1, 0\] is nan"),
    "a list": (FINE[:, 0, 0], [1.0, 2.0, np.inf, 4.0], r"y\[2\] is inf \(t 2\)"),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_G12_a_nan_in_the_data_is_said_to_be_there(name):
    x, y, words = DATA[name]
    line = Line()
    with pytest.raises(optim.Diverged, match=words) as refusal:
        list(optim.truncated_bptt(line.loss, [(x, y)], optim.SGD(line, 0.1)))
    assert "learning rate" not in str(refusal.value) and line.w.data == 1
    if name == "inputs":  # and where the data are finite, what was said before
        line.w.data, huge = [1e200], FINE * 1e200
        with (
            pytest.raises(optim.Diverged, match="Try a smaller learning rate"),
            np.errstate(all="ignore"),
        ):
            list(optim.truncated_bptt(line.loss, [(huge, FINE)], optim.SGD(line, 0.1)))


def test_early_stopping_gives_the_best_weights_back():
    layer = nn.Linear(2, 1, rng=0)
    stopping = optim.EarlyStopping(layer, patience=2)
    with pytest.raises(RuntimeError, match="no weights kept"):
        stopping.restore()
    seen = []
    for cost in (2.0, np.nan, 1.0, 1.0, np.inf):
        layer.W.data = layer.W.data + 1
        seen.append((layer.W.data, stopping.step(cost), stopping.since))
    assert [(end, since) for _, end, since in seen] == [
        (False, 0), (False, 1), (False, 0), (False, 1), (True, 2)
    ]  # fmt: skip
    assert stopping.restore() == 1.0 and np.array_equal(layer.W.data, seen[2][0])
    never = optim.EarlyStopping(layer, patience=2)
    assert [never.step(np.nan), never.step(-np.inf)] == [False, True]
    with pytest.raises(RuntimeError, match="saw no finite cost"):
        never.restore()
    with pytest.raises(ValueError, match="patience: expected at least 1, got 0"):
        optim.EarlyStopping(layer, patience=0)


def test_a_frozen_weight_is_left_alone_whatever_gradient_it_had():
    layer = tg.nn.Linear(2, 1, rng=0)
    optimizer = optim.SGD(layer, lr=0.1)
    layer(np.ones((1, 2), np.float32)).sum().backward()
    before = layer.freeze().W.data
    layer.zero_grad()
    optimizer.step()
    assert layer.W.data is before or np.array_equal(layer.W.data, before)


def test_a_tensor_that_is_given_twice_is_clipped_once():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    (w * w / 2).sum().backward()
    assert optim.clip_grad_norm([w, w], 1.0) == 5.0 and np.allclose(w.grad.data, [0.6, 0.8])


def test_what_is_no_optimizer_is_refused_before_anything_is_computed():
    model, windows = tg.nn.LanguageModel(5, embedding=3, hidden=4), [(1.0, 1.0)]
    with pytest.raises(TypeError, match=r"optimizer: expected one such as .* got LanguageModel"):
        list(optim.truncated_bptt(model.loss, windows, model))


@pytest.mark.parametrize(("answer", "words"), [
    (lambda loss, state: (state, loss), r"got \(tuple, \.\.\.\)"),
    (lambda loss, state: (1.5, state), r"got \(float, \.\.\.\)"),
    (lambda loss, state: loss, "got Tensor"),
])  # fmt: skip
def test_what_a_forward_function_returns_begins_with_the_loss(answer, words):
    w = tg.tensor([1.0], requires_grad=True)
    forward = lambda x, y, state: answer((w * x).sum(), (w,))
    with pytest.raises(TypeError, match=rf"truncated_bptt: .* \(loss, state\), {words}"):
        list(optim.truncated_bptt(forward, [(1.0, 1.0)], optim.SGD([w], lr=0.1)))


class Kept(optim.Optimizer):
    """Remembers more than the weights have digits for, and one number."""

    remembers = ("v", "t")

    def update(self, x, g, memory):
        v, t = 0.9 * memory.get("v", np.zeros(x.shape)) + g, memory.get("t", np.array(0)) + 1
        return x - self.lr / t * v, {"v": v, "t": t}


def test_what_an_optimiser_of_ones_own_remembers_comes_back_as_it_was():
    model, twin = (nn.Linear(2, 1, rng=0) for _ in range(2))
    first, other = Kept(model, lr=0.1), Kept(twin, lr=0.1)

    def train(model, optimizer):
        loss = (model(np.full((3, 2), 1 / 3, np.float32)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    train(model, first)
    twin.load_state_dict(model.state_dict())
    other.load_state_dict(first.state_dict())
    assert other.state_dict()["v/W"].dtype == np.float64
    for _ in range(20):
        train(model, first)
        train(twin, other)
    np.testing.assert_array_equal(model.W.data, twin.W.data)


def test_gradients_are_scaled_by_less_than_their_dtype_has_digits_for():
    w = tg.tensor(np.ones(4, np.float32), requires_grad=True)
    w.grad = np.full(4, 3e38, np.float32)
    optim.clip_grad_norm([w], 1e-8)
    np.testing.assert_allclose(w.grad.data, 0.5e-8, rtol=1e-6)
    assert w.grad.dtype == np.float32
    assert optim.cosine(0.5, peak=1.0, total=10, warmup=1) == 1.0


def test_a_subclass_that_changes_nothing_loads_what_fits_alone():
    class Mine(optim.Adam):
        pass

    model = nn.Linear(2, 1, rng=0)
    mine = Mine(model, lr=0.1)
    model(np.ones((3, 2), np.float32)).sum().backward()
    mine.step()
    state = mine.state_dict()
    for bad in (np.array(["a"]), np.ones((5, 7))):
        with pytest.raises(ValueError, match="'m/W' is"):
            mine.load_state_dict({**state, "m/W": bad})
    kept = Kept(model, lr=0.1)
    with pytest.raises(ValueError, match="expected numbers"):
        kept.load_state_dict({"steps": np.array(1), "lr": np.array(0.1), "v/W": np.array(["a"])})


def test_gradients_that_are_scaled_keep_their_past():
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    w.grad = tg.grad((w**3).sum(), w, create_graph=True)
    optim.clip_grad_norm([w], 1.0)
    assert w.grad.requires_grad
