"""Real-time recurrent learning, against its formula in NumPy, differences, and the way backward."""

import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from test_beginnings import KINDS, MAKES
from test_modifiers import randomised

import tinygrad_rnn as tg
from tinygrad_rnn import lab, nn, optim

T, B, I, H = 4, 2, 2, 3
F8 = np.float64


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def squares(y, t):
    return (y * y).sum() * (t + 1.0)


def backward(cell, xs, loss, weights, state=None):
    """The loss and the gradients that backpropagation through time gives, step by step."""
    ys, _ = cell(xs, state, unroll=True)
    total = sum(loss(y, t) for t, y in enumerate(ys))
    return total, tg.grad(total, weights, allow_unused=True)


def near(found, expected, tolerance=1e-12):
    expected = np.asarray(expected.data if isinstance(expected, tg.Tensor) else expected)
    found = np.asarray(found)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    scale = np.abs(expected).max(initial=1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# -- the formula -------------------------------------------------------------------------------


def by_formula(x, weights, rate):
    """Williams & Zipser 1989 in plain loops: z(t) = (y(t), x(t)), y(t+1) = tanh(Σ w z), p, and what
    each step moves the weights by, at once, of Σ y² / 2; one row of a batch."""
    w = np.array(weights)  # (unit, what it reads: the units, then the inputs)
    y, p = np.zeros(H), np.zeros((H, *w.shape))
    for x_t in x:
        z, new = np.concatenate([y, x_t]), np.zeros_like(p)
        y = np.tanh(w @ z)
        for k in range(H):
            for i, j in np.ndindex(*w.shape):
                carried = sum(w[k, n] * p[n, i, j] for n in range(H))
                new[k, i, j] = (1 - y[k] ** 2) * (carried + (i == k) * z[j])
        p = new
        gradient = np.einsum("k,kij->ij", y, p)
        yield p.copy(), gradient
        w -= rate * gradient


@pytest.mark.parametrize("rate", [0, 0.3])
def test_rtrl_is_the_formula_with_weights_that_stay_or_change(rate):
    cell = randomised(nn.RNN(I, H, bias=0, dtype=F8))
    xs = normal(1, 6, 1, I)
    joined = np.concatenate([cell.Wh.data.T, cell.Wx.data.T], axis=1)
    formula = by_formula(xs[:, 0], joined, rate)
    sgd = optim.SGD(cell, lr=rate)
    count = 0
    for _, gradients, influence in lab.rtrl_steps(cell, xs, lambda y, t: (y * y).sum() / 2):
        p, gradient = next(formula)
        for name, part in (("Wh", slice(0, H)), ("Wx", slice(H, None))):
            near(gradients[name], gradient[:, part].T)
            near(influence[name], p[:, :, part].transpose(0, 2, 1))
            getattr(cell, name).grad = gradients[name]
        sgd.step()
        count += 1
    assert count == 6


# -- every cell --------------------------------------------------------------------------------

CELLS = {
    f"{kind.__name__} {how or ''}": lambda kind=kind, how=how: kind(
        I, H, **how, **({"outputs": 2} if kind is nn.OutputRecurrent and not how else {}), dtype=F8
    )
    for kind in KINDS
    if issubclass(kind, nn.Cell)
    for how in MAKES.get(kind.__name__, [{}])
    if "untied" not in how
}


class Own(nn.Cell):
    """Two states of different widths, an output of its own, and rows that feel each other."""

    state = ("s", "memory")
    sizes = (H, 2)
    outputs = 1

    def __init__(self):
        self.inputs, self.hidden, self.dtype = I, H, F8
        self.U = tg.tensor(normal(5, I + H + 2, H), requires_grad=True)
        self.V = tg.tensor(normal(6, H, 2), requires_grad=True)
        self.out = nn.Linear(H, 1, dtype=F8, rng=0)

    def step(self, x, s, memory):
        s = tg.sin(tg.concat([x, s, memory], axis=1) @ self.U)
        return s, 0.9 * memory + s @ self.V - s.mean(axis=0, keepdims=True) @ self.V

    def output(self, x, s, memory):
        return self.out(s) * memory.sum(axis=1, keepdims=True) + x[:, :1]


MODIFIED = {
    "own": Own,
    "zoneout": lambda: nn.Zoneout(nn.LSTM(I, H, dtype=F8), h=0.1, c=0.5).eval(),
    "variational": lambda: nn.VariationalDropout(nn.GRU(I, H, dtype=F8), state=0.5).eval(),
    "connect": lambda: nn.DropConnect(nn.RNN(I, H, dtype=F8), 0.5).eval(),
    "feedforward": lambda: nn.FeedforwardDropout(nn.RNN(I, H, dtype=F8), 0.5).eval(),
    "residual": lambda: nn.Residual(nn.GRU(H, H, dtype=F8)),
    "skip": lambda: nn.TimeSkip(nn.LSTM(I, H, dtype=F8), 3),
    "learned": lambda: nn.LearnedState(nn.TimeSkip(nn.RNN(I, H, dtype=F8), 2)),
}


def test_all_that_changes_a_cell_is_here():
    kinds = {x for x in vars(nn).values() if isinstance(x, type) and issubclass(x, nn.Modifier)}
    here = {type(make()) for make in MODIFIED.values()}
    assert kinds - here == {nn.Modifier, nn.ClipGradient}


@pytest.mark.parametrize("name", [*CELLS, *MODIFIED])
def test_three_gradients_of_every_cell_are_one(name):
    cell = randomised({**CELLS, **MODIFIED}[name]())
    xs = normal(2, T, B, cell.inputs)
    state = [normal(k, B, size) for k, size in enumerate(cell.sizes)]
    before = cell.state_dict()
    if name in MODIFIED and name != "own":
        state = None  # which some of them learn
    agreement = lab.assert_agree(cell, xs)
    assert list(agreement.rows) == [path for path, _ in cell.named_parameters()]
    assert all(np.array_equal(a, before[path]) for path, a in cell.state_dict().items())
    with tg.no_grad():
        loss, gradients = lab.rtrl(cell, xs, squares, state)
    same, expected = backward(cell, xs, squares, cell.parameters(), state)
    near(loss, same.item())
    for found, g in zip(gradients.values(), expected, strict=True):
        near(found, g)


def test_a_cell_of_float32_gives_float32():
    cell, xs = nn.LSTM(I, H, rng=0), normal(3, T, B, I).astype(np.float32)
    loss, gradients = lab.rtrl(cell, xs, squares)
    same, expected = backward(cell, xs, squares, cell.parameters())
    near(loss, same.item(), 1e-6)
    for found, g in zip(gradients.values(), expected, strict=True):
        near(found, g, 1e-5)
    rows = lab.assert_agree(cell).rows.values()  # in float64, on a copy
    assert max(off for *_, off in rows) < 1e-7
    assert cell.dtype == cell.Wh.dtype == np.float32


# -- what is given -----------------------------------------------------------------------------


def test_what_is_around_the_cell_learns_too():
    """Weights below it, above it and in its first state; and losses at some steps only."""
    cell, below = nn.GRU(H, H, dtype=F8), nn.Linear(I, H, dtype=F8)
    above = nn.Linear(H, 1, dtype=F8)
    start = tg.tensor(normal(4, B, H), requires_grad=True)
    weights = [*cell.parameters(), below.W, above.W, start]
    given = below(tg.tensor(normal(5, T, B, I)))

    def loss(y, t):
        return (above(y) ** 2).sum() + (above.W**2).sum() if t % 2 else None

    _, found = lab.rtrl(cell, given, loss, (tg.tanh(start),), weights=weights)
    _, expected = backward(
        cell, given, lambda y, t: loss(y, t) if t % 2 else 0, weights, (tg.tanh(start),)
    )
    assert len(found) == len(weights)
    for a, g in zip(found.values(), expected, strict=True):
        near(a, g)
    (only,) = lab.rtrl(cell, normal(6, T, B, H), squares, weights=cell.Wn)[1].values()
    near(only, lab.rtrl(cell, normal(6, T, B, H), squares)[1]["Wn"])


def test_what_gives_inputs_one_by_one_and_a_batch_of_none():
    cell, xs = nn.LSTM(I, H, dtype=F8, rng=0), normal(7, T, B, I)
    found = [cost for cost, *_ in lab.rtrl_steps(cell, iter(xs), squares)]
    assert len(found) == T
    near(sum(found), lab.rtrl(cell, xs, squares)[0])
    _, gradients, J = next(lab.rtrl_steps(cell, xs[:, :0], squares))
    assert J["Wh"].shape == (0, H, 4 * H) and not gradients["Wh"].any()


def test_no_step_is_kept():
    cell = nn.RNN(1, 2, rng=0)
    peaks = []
    for steps in (30, 300):  # first what a process does once
        stream = (np.ones((1, 1), np.float32) for _ in range(steps))
        tracemalloc.start()
        for _ in lab.rtrl_steps(cell, stream, squares):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 300_000  # a kilobyte a step; a step's own tensors take three


def test_what_is_given_in_changed_weights_is_refused():
    """Those of the cell may change from step to step, those that all xs came from may not."""
    cell, below = nn.RNN(H, H, rng=0), nn.Linear(I, H, rng=0)
    steps = lab.rtrl_steps(cell, below(np.ones((T, B, I), np.float32)), squares, weights=below)
    next(steps)
    below.W.data = 2 * below.W.data
    with pytest.raises(RuntimeError, match=r"W float32\[2, 3\] was given new values"):
        next(steps)


# -- what must be noticed ----------------------------------------------------------------------


class Cut(nn.RNN):
    def step(self, x, h):
        return super().step(x, h.detach())


@tg.pointwise(lambda g, y, x: g * (1 - y))
def wrong(x):
    return np.tanh(x)


def test_a_wrong_derivative_is_seen_in_the_differences():
    for cell in (Cut(I, H, rng=0), nn.RNN(I, H, activation=wrong, rng=0)):
        with pytest.raises(AssertionError, match=r"differ\n *weight .*\n *Wh ") as caught:
            lab.assert_agree(cell)
        rows = [line.split() for line in str(caught.value).splitlines()[2:]]
        assert [row[0] for row in rows] == ["Wh", "Wx", "b"]
        assert all(float(row[2]) < 1e-12 for row in rows) and float(rows[0][3]) > 1e-2


def test_a_wrong_influence_is_seen(monkeypatch):
    module = import_module("tinygrad_rnn.lab.rtrl")
    right = module._derivatives

    def forgetful(outputs, wrt):
        slopes = right(outputs, wrt)
        slopes[:, : wrt[0].size] *= 1 - 1e-6 * (wrt[0].name == "h")
        return slopes

    monkeypatch.setattr(module, "_derivatives", forgetful)
    with pytest.raises(AssertionError, match="gradients differ"):
        lab.assert_agree(nn.RNN(I, H, rng=0))


def test_a_weight_without_influence_agrees():
    cell = nn.RNN(I, H, rng=0)
    cell.idle = tg.tensor(np.ones(3, np.float32), requires_grad=True)
    assert lab.assert_agree(cell).rows["idle"] == (0, 0, 0)


RNN = nn.RNN(I, H, dtype=F8, rng=0)
XS = normal(0, T, B, I)
REFUSED = {
    "cell: expected a Cell, got Recurrent": lambda: lab.rtrl(nn.Recurrent(RNN), XS, squares),
    "got VariationalDropout, which asks .* cell.eval": lambda: lab.rtrl(
        nn.VariationalDropout(RNN, state=0.5), XS, squares
    ),
    "got RNN, which asks": lambda: lab.rtrl(nn.RNN(I, H, untied=T), XS, squares),
    "the gradient is clipped": lambda: lab.rtrl(nn.ClipGradient(RNN, norm=1.0), XS, squares),
    "xs: expected at least one step, got T = 0": lambda: lab.rtrl(RNN, XS[:0], squares),
    r"xs: expected \(T, B, 2\), a step is \(2, 1\)": lambda: lab.rtrl(RNN, XS[:, :, :1], squares),
    r"xs: expected \(T, B, 2\), a step is \(2,\)": lambda: lab.rtrl(RNN, XS[0], squares),
    "loss: expected a function of y and its step t, got ndarray": lambda: lab.rtrl(RNN, XS, XS),
    r"loss: expected one number computed from y at step 0, or None, got h float64\[2, 3\]": (
        lambda: lab.rtrl(RNN, XS, lambda y, t: y)
    ),
    "from y at step 0, or None, got float": lambda: lab.rtrl(RNN, XS, lambda y, t: 0.5),
    r"weights: expected tensors that require gradients, got \[\]": lambda: lab.rtrl(
        RNN, XS, squares, weights=[]
    ),
    r"weights: expected tensors that require gradients, got \['fixed'\]": lambda: lab.rtrl(
        RNN, XS, squares, weights=tg.Tensor(1.0, name="fixed")
    ),
    "assert_agree: cell: expected a Cell": lambda: lab.assert_agree(nn.RNN),
}


@pytest.mark.parametrize("message", REFUSED)
def test_it_is_refused(message):
    with pytest.raises((TypeError, ValueError), match=message):
        REFUSED[message]()


def test_what_older_steps_left_is_refused():
    """What nothing is kept of would be missing from the gradient."""
    outputs = []

    def change(y, t):
        outputs.append(y)
        return ((y - outputs[t - 1]) ** 2).sum() if t else None

    with pytest.raises(ValueError, match="reads h of another step: make it a state"):
        lab.rtrl(RNN, XS, change)

    class Secret(nn.RNN):
        def step(self, x, h):
            before, self.__dict__["kept"] = self.__dict__.get("kept", h), h
            return super().step(x, before)

    with pytest.raises(ValueError, match="reads h of another step"):
        lab.rtrl(Secret(I, H, dtype=F8), XS, squares)


def test_a_batch_of_another_size_is_refused():
    steps = lab.rtrl_steps(RNN, [XS[0], XS[1, :1]], squares)
    next(steps)
    with pytest.raises(ValueError, match=r"rtrl: xs: expected .* a step is \(1, 2\)"):
        next(steps)
