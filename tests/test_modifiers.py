"""What changes a cell: masks that are drawn, ways around it, and variants of a formula.

The letter and number in a name are the contract's properties. Masks are made visible by cells
that only add up what they read: what comes out of them is the mask.
"""

import copy
import hashlib
import subprocess
import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

T, B, I, H = 5, 3, 2, 4
F8 = np.float64


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(x):
    return tg.tensor(x, requires_grad=True)


def plain(x):
    return x.data if isinstance(x, tg.Tensor) else np.asarray(x)


def close(found, expected, tolerance=1e-12):
    found, expected = plain(found), plain(expected)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def same(found, expected):
    np.testing.assert_array_equal(plain(found), plain(expected), strict=True)


@contextmanager
def refused(kind, *words):
    """The block raises an error of this kind whose message says all of the words."""
    with pytest.raises(kind) as caught:
        yield
    missing = [word for word in words if str(word) not in str(caught.value)]
    assert not missing, f"{str(caught.value)!r} does not say {missing}"


def randomised(part, seed=0):
    """Random, unequal weights everywhere: nothing hides behind a zero."""
    rng = np.random.default_rng(seed)
    for x in part.parameters():
        x.data = (rng.normal(size=x.shape) * 0.6).astype(x.dtype)
    return part


def first_state(part, batch=B, seed=7):
    rng = np.random.default_rng(seed)
    return tuple(leaf(rng.normal(size=(batch, size))) for size in part.sizes)


class Sum(nn.Cell):
    """h = x Wx + h Wh, with Wx = I and Wh = I or nothing at first."""

    links = {"x": ("Wx",), "h": ("Wh",)}  # noqa: RUF012

    def __init__(self, size, carries=1.0):
        self.inputs, self.hidden, self.dtype = size, size, F8
        self.Wx = nn.module.parameter(np.eye(size), "Wx")
        self.Wh = nn.module.parameter(np.eye(size) * carries, "Wh")

    def step(self, x, h):
        return x @ self.Wx + h @ self.Wh


class Bare(nn.Cell):
    """The same, not saying which weights read what, and with dropout inside its step."""

    def __init__(self, size, p=0.0, carries=1.0):
        self.inputs, self.hidden, self.dtype, self.carries = size, size, F8, carries
        self.cut = nn.Dropout(p, rng=3)

    def step(self, x, h):
        return self.cut(x) + h * self.carries


DRAWING = {
    "feedforward": lambda cell, p, seed=1: nn.FeedforwardDropout(cell, p, rng=seed),
    "inputs": lambda cell, p, seed=1: nn.VariationalDropout(cell, inputs=p, rng=seed),
    "state": lambda cell, p, seed=1: nn.VariationalDropout(cell, state=p, rng=seed),
    "per gate": lambda cell, p, seed=1: nn.VariationalDropout(
        cell, inputs=p, state=p, per_gate=True, rng=seed
    ),
    "drop connect": lambda cell, p, seed=1: nn.DropConnect(cell, p, rng=seed),
    "zoneout": lambda cell, p, seed=1: nn.Zoneout(cell, rng=seed, **dict.fromkeys(cell.state, p)),
}
drawing = pytest.mark.parametrize("name", DRAWING)


def run(part, xs, state=None, unroll=True, **how):
    """Outputs and last state as arrays, and the gradients of xs, state and weights."""
    xs, state = leaf(xs), first_state(part, xs.shape[1]) if state is None else state
    ys, end = part(xs, state, unroll=unroll, **how)
    answers, rng = [ys, *end], np.random.default_rng(11)
    for x in (*state, *part.parameters()):
        x.grad = None
    sum((y * rng.normal(size=y.shape)).sum() for y in answers).backward()
    slopes = [x.grad for x in (xs, *state, *part.parameters())]
    return [plain(y) for y in answers], [None if g is None else g.data for g in slopes]


def equal(check, found, expected):
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        if a is not None or b is not None:
            check(0.0 * b if a is None else a, 0.0 * a if b is None else b)


# -- masks ---------------------------------------------------------------------------------------


@drawing
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_P60_the_same_seed_gives_the_same_bits(name, kind):
    """Whatever NumPy's own generator does in between, which stays as it was."""
    xs, before = normal(T, B, I), np.random.get_state()[1].tolist()
    found = []
    for seed in (1, 1, 2):
        part = randomised(DRAWING[name](kind(I, H, dtype=F8, rng=0), 0.5, seed))
        found.append(run(part, xs))
    equal(same, *found[:2])
    assert np.abs(found[0][0][0] - found[2][0][0]).max() > 1e-3
    assert np.random.get_state()[1].tolist() == before


def bits():
    """A fingerprint of everything that is drawn."""
    text = hashlib.sha256()
    for make in DRAWING.values():
        part = make(nn.LSTM(I, H, dtype=F8, rng=0), 0.5)
        for y in run(part, np.ones((T, B, I)), part.begin(B), dropout=0.5, rng=2)[0]:
            text.update(np.round(y, 9).tobytes())
    return text.hexdigest()


def test_P60_in_another_process_too():
    code = "import numpy; numpy.random.seed(5); import test_modifiers; print(test_modifiers.bits())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.strip() == bits()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_P61_masks_have_mean_one_and_the_variance_of_dropout(p):
    """Within five standard errors, also of the variance."""
    size, n = 10, 20_000
    cell, ones = Sum(size, carries=0.0), np.ones((2, n, size))
    for part in (
        nn.FeedforwardDropout(cell, p, rng=0),
        nn.VariationalDropout(cell, inputs=p, rng=0),
        nn.VariationalDropout(Bare(size, carries=0.0), inputs=p, rng=0),
        Bare(size, p, carries=0.0),
    ):
        mask = part(ones, unroll=True)[0].data[1]
        assert set(np.unique(mask)) == {0.0, 1 / (1 - p)}
        variance, count = p / (1 - p), mask.size
        assert abs(mask.mean() - 1) < 5 * np.sqrt(variance / count)
        kept, error = (mask > 0).mean(), np.sqrt(p * (1 - p) / count)
        assert abs(kept - (1 - p)) < 5 * error
        close(mask.var(), np.asarray(kept * (1 - kept) / (1 - p) ** 2), 1e-9)


def test_P61_weights_are_dropped_and_units_kept_as_often_as_is_said():
    size, p = 300, 0.3
    state = (tg.tensor(np.eye(size)),)
    nothing, error = np.zeros((1, size, size)), np.sqrt(p * (1 - p) / size**2)
    cut, _ = nn.DropConnect(randomised(Sum(size)), p, rng=0)(nothing, state, unroll=True)
    assert abs((cut.data == 0).mean() - p) < 5 * error
    kept, _ = nn.Zoneout(Sum(size, 0.0), h=p, rng=0)(nothing + 2, state, unroll=True)
    assert abs((kept.data != 2).mean() - p) < 5 * error


def masks_of(name, calls=1, **options):
    """What a mask of the input or the state is at each step, (T, B, size), once for each call."""
    cell = Sum(50, carries=0.0 if name != "state" else 1.0)
    part = DRAWING[name](cell, 0.5)
    found = []
    for _ in range(calls):
        xs, state = np.ones((T, B, 50)), None
        if name == "state":
            xs, state = 0 * xs, (tg.tensor(np.ones((B, 50))),)
        found.append(part(xs, state, unroll=True, **options)[0].data != 0)
    return found


@pytest.mark.parametrize("name", ["inputs", "state"])
def test_P62_variational_masks_stay_for_a_sequence(name):
    """The same at each step, others for each row, new at every call."""
    one, two = masks_of(name, calls=2)
    assert all((one[t] == one[0]).all() for t in range(T))
    assert (one[0, 0] != one[0, 1]).any() and (one[0] != two[0]).any()
    half = one[0].mean()
    assert 0.2 < half < 0.8


def test_P62_other_masks_are_new_at_every_step():
    one, two = masks_of("feedforward", calls=2)
    assert all((one[t] != one[0]).any() for t in range(1, T)) and (one != two).any()
    inside = Bare(50, 0.5, carries=0.0)(np.ones((T, B, 50)), unroll=True)[0].data
    assert all((inside[t] != inside[0]).any() for t in range(1, T))


def test_P62_a_dropped_weight_is_dropped_for_all_rows_and_steps():
    """It is weights that are cut, not what they read: and the rest is divided by 1 - p."""
    cell, count = randomised(Sum(H)), 2 * H
    h, nothing = normal(count, H), np.zeros((T, count, H))
    ys, _ = nn.DropConnect(cell, 0.5, rng=0)(nothing, (h,), unroll=True)
    mask = np.linalg.lstsq(h, ys.data[0], rcond=None)[0] / cell.Wh.data
    np.testing.assert_allclose(mask, np.round(mask), atol=1e-9)
    assert set(np.round(mask).ravel()) == {0.0, 2.0}
    assert any(len(set(np.round(line))) == 2 for line in mask)  # of one unit, some but not all
    for before, after in zip([h, *ys.data[:-1]], ys.data, strict=True):
        close(after, before @ (cell.Wh.data * np.round(mask)))


def test_a_cut_weight_has_a_gradient_of_zero_and_the_others_theirs():
    cell = randomised(Sum(H))
    for part in (nn.DropConnect(cell, 0.5, rng=0), nn.VariationalDropout(cell, state=0.5, rng=0)):
        _, (_, _, _, slope) = run(part, normal(1, 1, H))
        assert (slope == 0).any() and (slope != 0).any()
    h = leaf(normal(B, H))
    ys, _ = nn.VariationalDropout(cell, state=0.5, rng=0)(np.zeros((1, B, H)), (h,), unroll=True)
    ys.sum().backward()
    mask = h.grad.data / cell.Wh.data.sum(1)
    assert set(np.round(mask, 9).ravel()) == {0.0, 2.0}
    close(ys[0], (h.data * mask.round()) @ cell.Wh.data)


def masks_of_gates(part, cell):
    """Through which mask of h each gate of an LSTM without bias reads, from what gates say."""
    state = np.ones((B, H)), np.zeros((B, H))
    gates = part(np.zeros((1, B, I)), state, return_gates=True, unroll=True)[2]
    found = {}
    for k, gate in enumerate(cell.order):
        y, W = gates[gate].data[0], cell.Wh.data[:, k * H : (k + 1) * H]
        a = np.arctanh(y) if gate == "g" else np.log(y / (1 - y))
        found[gate] = np.round(np.linalg.solve(W.T, a.T).T, 6) + 0.0
    return found


def test_every_gate_has_masks_of_its_own():
    """If asked for; else one goes with all of them."""
    cell = randomised(nn.LSTM(I, H, bias=False, dtype=F8))
    by = lambda cell, **how: nn.VariationalDropout(cell, state=0.5, **how)
    one = masks_of_gates(by(cell, rng=0), cell)
    each = masks_of_gates(by(cell, per_gate=True, rng=1), cell)
    for masks, count in ((one, 1), (each, 4)):
        assert all(set(np.unique(m)) == {0.0, 2.0} for m in masks.values())
        assert len({m.tobytes() for m in masks.values()}) == count
    for part in (
        by(by(cell, rng=0), per_gate=True, rng=1),
        by(by(cell, per_gate=True, rng=1), rng=0),
    ):
        both = masks_of_gates(part, cell)
        for gate, mask in both.items():
            same(mask, one[gate] * each[gate])


def test_masks_around_masks_multiply():
    """Cut twice, of links and of what is read, in either order; weights and links too."""
    ones, size = np.ones((T, B, 50)), 50
    by = lambda cell, seed: nn.VariationalDropout(cell, inputs=0.5, rng=seed)
    for cell in (Sum(size, 0.0), Bare(size, carries=0.0)):
        one, two = (by(cell, seed)(ones, unroll=True)[0].data for seed in (1, 2))
        same(by(by(cell, 1), 2)(ones, unroll=True)[0], one * two)
    both = nn.VariationalDropout(
        nn.FeedforwardDropout(Sum(size, 0.0), 0.5, rng=1), inputs=0.5, rng=2
    )
    fresh = nn.FeedforwardDropout(Sum(size, 0.0), 0.5, rng=1)(ones, unroll=True)[0].data
    same(both(ones, unroll=True)[0], fresh * two)
    cell, state = randomised(Sum(size)), (tg.tensor(np.eye(size)),)
    nothing = np.zeros((1, size, size))
    dropped, _ = nn.DropConnect(cell, 0.5, rng=1)(nothing, state, unroll=True)
    cut, _ = nn.VariationalDropout(cell, state=0.5, rng=2)(nothing, state, unroll=True)
    mask = cut.data / cell.Wh.data
    for part in (
        nn.VariationalDropout(nn.DropConnect(cell, 0.5, rng=1), state=0.5, rng=2),
        nn.DropConnect(nn.VariationalDropout(cell, state=0.5, rng=2), 0.5, rng=1),
    ):
        close(part(nothing, state, unroll=True)[0], dropped.data * mask)


@drawing
def test_G09_P64_a_rate_of_zero_changes_no_bit(name):
    cell = randomised(nn.LSTM(I, H, dtype=F8))
    xs = normal(T, B, I)
    part = DRAWING[name](cell, 0.0)
    assert not part.draws
    equal(same, run(part, xs), run(cell, xs))
    equal(same, run(part.eval(), xs, dropout=0.0), run(cell, xs))


@drawing
def test_G09_a_rate_of_one_lets_nothing_through(name):
    """No input, no weights, no new state; nothing becomes NaN."""
    cell, xs = randomised(nn.LSTM(I, H, dtype=F8)), normal(T, B, I)
    found = run(DRAWING[name](cell, 1.0), xs)
    state, expected = first_state(cell), copy.deepcopy(cell)
    if name == "zoneout":
        for y, s in zip(found[0], (state[0].data, *(s.data for s in state)), strict=True):
            same(y, np.broadcast_to(s, y.shape))
        return
    if name in ("feedforward", "inputs", "per gate"):
        expected.Wx.data = 0 * expected.Wx.data
    if name in ("drop connect", "state", "per gate"):
        expected.Wh.data = 0 * expected.Wh.data
    for a, b in zip(found[0], run(expected, xs)[0], strict=True):
        close(a, b)


@drawing
def test_masks_do_not_outlive_a_call(name):
    """Every call draws again, use after training has none, and a copy goes its own way."""
    part = DRAWING[name](randomised(nn.LSTM(I, H, dtype=F8)), 0.5)
    xs = normal(T, B, I)
    one, two = run(part, xs), run(part, xs)
    assert np.abs(one[0][0] - two[0][0]).max() > 1e-3
    twin = copy.deepcopy(part)
    equal(same, run(part, xs), run(twin, xs))
    part.eval()
    three, four = run(part, xs), run(part, xs)
    equal(same, three, four)
    if name != "zoneout":
        equal(same, three, run(part.cell, xs))
    assert nn.Recurrent(part).train().cells[0].training


looped = pytest.mark.parametrize("name", ["feedforward", "per gate", "zoneout"])


@looped
def test_P65_checkpoints_and_second_walks_reuse_the_mask(name):
    """What is recomputed in the backward pass is so with the masks of the forward pass."""
    xs, found = normal(T, B, I), []
    for how in ({"unroll": True}, {}, {"checkpoint": 1}):
        part = randomised(DRAWING[name](nn.RNN(I, H, dtype=F8), 0.5))
        found.append(run(part, xs, **{"unroll": False, **how}))
    for other in found[1:]:
        equal(close, other, found[0])


@looped
def test_P65_so_do_second_derivatives(name):
    """Those of a loop that is compiled are those of one function, with one draw of masks."""
    found, xs = [], normal(3, B, I)
    for unroll in (True, False):
        part, x = randomised(DRAWING[name](nn.RNN(I, H, dtype=F8), 0.5)), leaf(xs)
        ys, _ = part(x, unroll=unroll)
        leaves = [x, part.cell.Wh]
        first, again = (tg.grad((ys * ys).sum(), leaves, create_graph=True) for _ in range(2))
        second = tg.grad(sum((g * g).sum() for g in first), leaves)
        found.append([*first, *second])
        for a, b in zip(first, again, strict=True):
            close(a, b)
    for a, b in zip(*found, strict=True):
        close(a, b)


def test_P65_the_gradient_of_a_mask_is_the_mask():
    part, xs = nn.FeedforwardDropout(Sum(H, 0.0), 0.5, rng=0), leaf(np.ones((T, B, H)))
    ys, _ = part(xs, unroll=True)
    for times in (1, 2):
        ys.sum().backward(retain_graph=True)
        same(xs.grad, times * ys.data)


# -- zoneout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_one_mask_for_the_output_and_for_the_state(kind):
    """Each unit is exactly the old one or exactly the new; h and c each by a chance of its own."""
    part = randomised(nn.Zoneout(kind(I, H, dtype=F8), rng=0, **dict.fromkeys(kind.state, 0.5)))
    xs, state = normal(20, B, I), first_state(part)
    ys, _, states = part(xs, state, return_states=True, unroll=True)
    same(ys, states["h"])
    olds, masks = [s.data for s in state], []
    for t in range(20):
        news = part.cell.advance(tg.tensor(xs[t]), *map(tg.tensor, olds))
        for name, old, new in zip(part.state, olds, news, strict=True):
            kept = states[name].data[t] == old
            close(states[name].data[t], np.where(kept, old, new.data), 0.0)
            masks.append(kept)
        olds = [states[name].data[t] for name in part.state]
    assert 0.3 < np.mean(masks) < 0.7
    assert all((a != b).any() for a, b in pairwise(masks))


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_leaves_padded_steps_alone(training):
    part = randomised(nn.Zoneout(nn.LSTM(I, H, dtype=F8), h=0.5, c=0.5, rng=0)).train(training)
    xs, state, lengths = normal(T, B, I), first_state(part), np.array([2, 0, 5])
    ys, end, states = part(xs, state, lengths=lengths, return_states=True, unroll=True)
    for b, n in enumerate(lengths):
        assert not ys.data[n:, b].any()
        for name, first, last in zip(part.state, state, end, strict=True):
            held = states[name].data[n - 1, b] if n else first.data[b]
            same(last.data[b], held)
            same(states[name].data[n:, b], np.broadcast_to(held, (T - n, H)))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_P63_use_is_the_expectation_of_one_step(kind):
    """The mean over forty thousand draws is within five standard errors of p h + (1 - p) h̃."""
    n, rates = 40_000, {"h": 0.2, "c": 0.6}
    part = nn.Zoneout(kind(I, H, dtype=F8, rng=0), rng=1, **{k: rates[k] for k in kind.state})
    x, state = normal(1, 1, I), first_state(part, 1)
    many = [tg.tensor(np.repeat(s.data, n, 0)) for s in state]
    _, drawn = part(np.repeat(x, n, 1), many, unroll=True)
    _, expected = part.eval()(x, state, unroll=True)
    news = part.cell.advance(tg.tensor(x[0]), *state)
    for name, y, e, old, new in zip(part.state, drawn, expected, state, news, strict=True):
        error = np.abs(new.data - old.data)[0] * np.sqrt(rates[name] * (1 - rates[name]) / n)
        assert (np.abs(y.data.mean(0) - e.data[0]) < 5 * error + 1e-12).all()
        close(e, rates[name] * old.data + (1 - rates[name]) * new.data)


@drawing
@pytest.mark.parametrize("training", [True, False])
def test_masks_are_as_precise_as_what_they_cut(name, training):
    part = DRAWING[name](nn.TimeSkip(nn.LearnedState(nn.GRU(I, H, rng=0)), 2), 0.5).train(training)
    xs = tg.tensor(np.ones((T, B, I), np.float32), requires_grad=True)
    ys, end = part(xs, unroll=True, dropout=0.5, lengths=[1, 0, T])
    (ys.sum() + end[0].sum()).backward()
    found = [ys, *end, xs.grad, *(w.grad for w in part.parameters())]
    assert all(y.dtype == np.float32 for y in found)


def test_a_rate_may_be_a_number_of_numpy():
    part = nn.Zoneout(nn.GRU(I, H, rng=0), h=np.float64(0.1)).eval()
    assert part(np.ones((T, B, I), np.float32), unroll=True)[0].dtype == np.float32


def test_a_closed_gate_keeps_its_state_whatever_is_cut():
    """Links are cut, not what is carried on: with z = 0 every bit of h stays."""
    cell = randomised(nn.GRU(I, H, bias=True, dtype=F8))
    cell.b.data = np.repeat([-1e4, 0.1, 0.2], H)
    for per_gate in (False, True):
        part = nn.VariationalDropout(cell, inputs=0.5, state=0.5, per_gate=per_gate, rng=0)
        h = leaf(normal(B, H))
        ys, _ = part(normal(T, B, I), (h,), unroll=True)
        same(ys, np.broadcast_to(h.data, ys.shape))


def test_a_cell_that_names_no_links_is_cut_where_it_reads():
    ones, size = np.ones((T, B, 50)), 50
    part = nn.VariationalDropout(Bare(size), state=0.5, rng=0)
    ys, _ = part(0 * ones, (np.ones((B, size)),), unroll=True)
    mask = ys.data[0]
    assert set(np.unique(mask)) == {0.0, 2.0}
    for t in range(T):
        same(ys.data[t], mask ** (t + 1))
    untied = nn.VariationalDropout(
        randomised(nn.RNN(I, H, untied=T, dtype=F8)), inputs=0.5, state=0.5
    )
    assert np.isfinite(run(untied, normal(T, B, I))[0][0]).all()


def test_weights_narrower_than_the_state_have_one_mask():
    class Narrow(Sum):
        def __init__(self):
            super().__init__(H)
            self.Wh = nn.module.parameter(normal(H, 2), "Wh")
            self.Wo = nn.module.parameter(normal(2, H), "Wo")

        def step(self, x, h):
            return tg.tanh(x @ self.Wx + (h @ self.Wh) @ self.Wo)

    part = nn.VariationalDropout(Narrow(), inputs=0.5, state=0.5, per_gate=True, rng=0)
    assert np.isfinite(run(part, normal(T, B, H))[0][0]).all()


def test_dropout_inside_a_step_of_ones_own():
    """Compiled as unrolled with one seed; around it, modifiers see to it that it draws."""
    xs = normal(T, B, H)
    one, two = (run(nn.TimeSkip(Bare(H, 0.5), 2), xs, unroll=unroll) for unroll in (True, False))
    equal(close, two, one)
    cell = Bare(H, 0.5).eval()
    same(cell(xs, unroll=True)[0], np.cumsum(xs, 0))


def test_what_was_not_said_to_draw_is_refused():
    class Silent(Bare):
        def step(self, x, h):
            return x + h * nn.each_step(lambda n: tg.tensor(np.ones((n, *h.shape))))

    with refused(RuntimeError, "draws = True", "each_step", "equally often"):
        Silent(H)(normal(T, B, H))


# -- between layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [0.5, [0.5], (0.5,)])
def test_dropout_below_a_single_cell_is_new_at_every_step(rates):
    """Not silently ignored because there is no second cell."""
    layer = nn.Recurrent(Sum(50, 0.0), dropout=rates, rng=0, unroll=True)
    one, two = (layer(np.ones((T, B, 50)))[0].data for _ in range(2))
    assert set(np.unique(one)) == {0.0, 2.0} and (one != two).any()
    assert all((one[t] != one[0]).any() and (one[:, 0] != one[:, 1]).any() for t in range(1, T))
    same(layer.eval()(np.ones((T, B, 50)))[0], np.ones((T, B, 50)))


def test_dropout_has_a_rate_for_each_cell():
    cells, ones = [Sum(50, 0.0) for _ in range(3)], np.ones((T, B, 50))
    layer = nn.Recurrent(*cells, dropout=[0.0, 0.5, 0.0], rng=0, unroll=True)
    _, _, states = layer(ones, return_states=True)
    first, second, third = (found["h"].data for found in states)
    same(first, ones)
    assert set(np.unique(second)) == {0.0, 2.0}
    same(third, second)
    nothing = nn.Recurrent(*cells, dropout=[0.0, 1.0, 0.0], unroll=True)
    assert not nothing(ones)[0].data.any()


def test_a_cell_called_by_itself_drops_when_it_trains():
    cell, ones = Sum(50, 0.0), np.ones((T, B, 50))
    assert set(np.unique(cell(ones, dropout=0.5, rng=0, unroll=True)[0].data)) == {0.0, 2.0}
    same(cell.eval()(ones, dropout=0.5, rng=0, unroll=True)[0], ones)


# -- ways around a cell --------------------------------------------------------------------------


def test_a_residual_is_added_where_steps_count():
    part = randomised(nn.Residual(nn.LSTM(H, H, dtype=F8)))
    xs, lengths = normal(T, B, H), np.array([2, 0, 5])
    ys, end = part(xs, lengths=lengths, unroll=True)
    hs, other = part.cell(xs, lengths=lengths, unroll=True)
    valid = (np.arange(T)[:, None] < lengths)[..., None]
    same(ys, np.where(valid, xs + hs.data, 0))
    for a, b in zip(end, other, strict=True):
        same(a, b)


@pytest.mark.parametrize("k", [1, 2, 3, T, T + 2])
def test_a_skip_adds_what_was_k_steps_before(k):
    """S23 in NumPy: h(t) = tanh(x Wx + h(t-1) Wh + b) + h(t-k), which is 0 before the first."""
    part = nn.TimeSkip(randomised(nn.RNN(I, H, dtype=F8)), k)
    Wx, Wh, b = (getattr(part.cell, name).data for name in ("Wx", "Wh", "b"))
    xs, before = normal(T, B, I), normal(k, B, H, seed=3)
    for first in (0.0 * before, before):
        path = list(first[::-1])  # h(-k), ..., h(-1)
        for x in xs:
            path.append(np.tanh(x @ Wx + path[-1] @ Wh + b) + path[-k])
        ys, end = part(xs, tuple(map(tg.tensor, first)), unroll=True)
        close(ys, np.stack(path[k:]))
        for j, s in enumerate(end, 1):
            close(s, path[-j])
    assert part.state == ("h", *(f"h-{j}" for j in range(2, k + 1)))
    same(part(xs, unroll=True)[0], part(xs, part.begin(B), unroll=True)[0])


def test_skips_within_skips_have_states_of_their_own():
    part = nn.TimeSkip(nn.TimeSkip(nn.GRU(I, H, dtype=F8, rng=0), 3), 2)
    assert len(set(part.state)) == len(part.state) == len(part.sizes) == 4
    _, end, states = part(normal(T, B, I), return_states=True, unroll=True)
    for name, s in zip(part.state, end, strict=True):
        same(states[name].data[-1], s)
    learned = nn.LearnedState(part)
    assert len(learned.begin(B)) == 4 and len(learned.parameters()) == len(part.parameters()) + 4


def test_a_learned_state_has_the_gradient_of_all_rows():
    """And of every reset; a state that is given takes its place."""
    part = randomised(nn.LearnedState(nn.RNN(I, H, dtype=F8)))
    xs, reset = normal(T, B, I), np.zeros((T, B), bool)
    reset[[2, 4], [1, 2]] = True
    weights, state = normal(T, B, H, seed=4), [leaf(s.data) for s in part.begin(B)]
    ys, _ = part(xs, reset=reset, unroll=True)
    (ys * weights).sum().backward()
    found = {name: h.grad.data for name, h in part.start.items()}
    part.zero_grad()
    zs, _ = part(xs, state, unroll=True)
    same(zs.data[:, 0], ys.data[:, 0])
    (zs * weights).sum().backward()
    assert all(h.grad is None for h in part.start.values())
    (part(xs, state, reset=reset, unroll=True)[0] * weights).sum().backward()
    given = {name: s.grad.data for name, s in zip(part.state, state, strict=True)}
    part.zero_grad()
    for s in state:
        s.grad = None
    apart = [leaf(s.data) for s in part.begin(B)]
    total = (part(xs, apart, reset=reset, unroll=True)[0] * weights).sum()
    total.backward()
    for name, s in zip(part.state, apart, strict=True):
        close(found[name], s.grad.data.sum(0) + part.start[name].grad.data)
        assert np.abs(part.start[name].grad.data).max() > 1e-3 and np.abs(given[name]).max() > 1e-3


def test_a_learned_state_is_where_rows_of_no_steps_stay():
    part = randomised(nn.LearnedState(nn.GRU(I, H, dtype=F8)))
    _, (end,) = part(normal(T, B, I), lengths=[0, 2, 0], unroll=True)
    same(end.data[0], part.start["h"].data)
    end[0].sum().backward()
    same(part.start["h"].grad, np.ones(H))


def test_a_clipped_cotangent_cannot_explode():
    cell = Sum(H)
    cell.Wh.data = np.eye(H) * 10
    xs, h = np.ones((6, B, H)), leaf(np.ones((B, H)))
    for part, most in ((nn.ClipGradient(cell, value=0.5), 5), (cell, 1e6)):
        ys, _ = part(xs, (h,), unroll=True)
        ys[-1].sum().backward()
        same(h.grad, np.full((B, H), float(most)))
        h.grad = None
    same(nn.ClipGradient(cell, value=0.5)(xs, unroll=True)[0], cell(xs, unroll=True)[0])


# -- variants of a formula -----------------------------------------------------------------------


def test_untied_matrices_multiply_in_their_order():
    """S3: without input, h(T) = h(0) W(1) W(2) ... W(T), and each has a gradient of its own."""
    cell = nn.RNN(I, H, activation=lambda a: a, bias=0, untied=T + 1, dtype=F8, rng=0)
    randomised(cell)
    h, W = normal(B, H), cell.Wh.data
    _, (end,) = cell(np.zeros((T, B, I)), (h,), unroll=True)
    close(end, h @ np.linalg.multi_dot(W[:T]))
    end.sum().backward()
    for t in range(T):
        left = h @ np.linalg.multi_dot([np.eye(H), *W[:t], np.eye(H)])
        right = np.linalg.multi_dot([np.eye(H), *W[t + 1 : T], np.eye(H)]).sum(1)
        close(cell.Wh.grad.data[t], np.outer(left.sum(0), right))
    assert not cell.Wh.grad.data[T].any()
    _, (end,) = cell(np.zeros((T, B, I)), (h,), reverse=True, unroll=True)
    close(end, h @ np.linalg.multi_dot(W[:T][::-1]))


def shared(cell, other):
    """The weights of one cell in another, as far as it has them."""
    for name, x in cell.named_parameters():
        x.data = dict(other.named_parameters())[name].data
    return cell


def test_P24_no_product_makes_before_and_after_one():
    before = randomised(nn.GRU(I, H, convention="torch", reset="before", dtype=F8))
    after = shared(nn.GRU(I, H, convention="torch", dtype=F8), before)
    xs = normal(T, B, I)
    assert np.abs(run(before, xs)[0][0] - run(after, xs)[0][0]).max() > 1e-2
    for cell in (before, after):
        cell.Wn.data, cell.bn.data = 0 * cell.Wn.data, 0 * cell.bn.data
    for a, b in zip(run(before, xs)[0], run(after, xs)[0], strict=True):
        same(a, b)


def test_P25_peepholes_of_zero_see_nothing():
    plain_ = randomised(nn.LSTM(I, H, dtype=F8))
    seeing = nn.LSTM(I, H, peepholes=True, dtype=F8)
    for name in ("Wx", "Wh", "b"):
        getattr(seeing, name).data = getattr(plain_, name).data
    xs = normal(T, B, I)
    for a, b in zip(run(seeing, xs)[0], run(plain_, xs)[0], strict=True):
        same(a, b)
    seeing.P.data = normal(3, H)
    assert np.abs(run(seeing, xs)[0][0] - run(plain_, xs)[0][0]).max() > 1e-2


@pytest.mark.parametrize("convention", ["textbook", "torch", "onnx"])
def test_P25_a_coupled_gate_is_one_minus_the_other(convention):
    """σ(-a) = 1 - σ(a): the same as a forget gate with minus the input gate's weights."""
    coupled = randomised(nn.LSTM(I, H, coupled=True, convention=convention, dtype=F8))
    full = nn.LSTM(I, H, convention=convention, dtype=F8)
    for name, x in coupled.named_parameters():
        blocks = dict(zip(coupled.order, np.split(x.data, 3, axis=-1), strict=True))
        blocks["f"] = -blocks["i"]
        getattr(full, name).data = np.concatenate([blocks[gate] for gate in full.order], -1)
    for a, b in zip(run(coupled, normal(T, B, I))[0], run(full, normal(T, B, I))[0], strict=True):
        close(a, b)


VARIANTS = {
    "rnn": lambda dtype=F8: nn.RNN(I, H, bias=2, dtype=dtype, rng=0),
    "lstm": lambda dtype=F8: nn.LSTM(I, H, peepholes=True, projection=2, dtype=dtype, rng=0),
    "coupled": lambda dtype=F8: nn.LSTM(I, H, coupled=True, convention="onnx", dtype=dtype, rng=0),
    "gru": lambda dtype=F8: nn.GRU(I, H, dtype=dtype, rng=0),
    "after": lambda dtype=F8: nn.GRU(I, H, convention="torch", dtype=dtype, rng=0),
    "mgu": lambda dtype=F8: nn.MinimalGatedUnit(I, H, dtype=dtype, rng=0),
    "jordan": lambda dtype=F8: nn.OutputRecurrent(I, H, 2, source="prediction", dtype=dtype, rng=0),
    "normed": lambda dtype=F8: nn.LSTM(I, H, norm="per_gate", dtype=dtype, rng=0),
}
variants = pytest.mark.parametrize("name", VARIANTS)


@variants
def test_P26_larger_inputs_and_smaller_weights_are_the_same(name):
    cell = randomised(VARIANTS[name]())
    xs, expected = normal(T, B, I), None
    expected = run(cell, xs)[0]
    cell.Wx.data = cell.Wx.data / 4  # exactly
    for a, b in zip(run(cell, xs * 4)[0], expected, strict=True):
        close(a, b)


@variants
def test_P27_single_precision_is_near(name):
    wide, narrow = (randomised(VARIANTS[name](dtype)) for dtype in (F8, np.float32))
    xs = normal(20, B, I).astype(np.float32)
    ys, expected = narrow(xs, unroll=True)[0], wide(xs.astype(F8), unroll=True)[0]
    assert ys.dtype == np.float32
    assert np.abs(ys.data - expected.data).max() < 1e-5 * np.sqrt(20)


def test_a_step_with_too_few_or_too_many_states_is_refused():
    class Wrong(Sum):
        state = ("h", "c")
        count = 1

        def step(self, x, h, c):
            return [x @ self.Wx + h] * self.count

        def output(self, x, *state):
            return x * 2

    for count in (1, 3):
        cell = Wrong(H)
        cell.count = count
        for part in (cell, nn.Zoneout(cell, c=0.5), nn.TimeSkip(cell, 2)):
            with refused(ValueError, "Wrong: step", "(h, c)", "2 new states", f"got {count}"):
                part(normal(T, B, H), lengths=[1, 2, 3])


# -- refusals ------------------------------------------------------------------------------------

lstm = lambda: nn.LSTM(I, H, rng=0)
jordan = lambda **how: nn.OutputRecurrent(I, H, 2, rng=0, **how)
ONE = np.ones((T, B, I), np.float32)


class Unfinished(nn.Cell):
    """Sizes that are not set, and no step."""


REFUSALS = {
    "a modifier of no cell": (
        lambda: nn.Zoneout(nn.Linear(2, 2), h=0.1),
        TypeError, "Zoneout: cell: expected a Cell", "Linear"),
    "a modifier of two directions": (
        lambda: nn.Residual(nn.Bidirectional(lstm(), lstm())),
        TypeError, "Residual", "Bidirectional"),
    "a modifier of a class": (
        lambda: nn.TimeSkip(nn.LSTM, 2), TypeError, "expected a Cell", "type"),
    "a modifier of a cell without sizes": (
        lambda: nn.LearnedState(Unfinished()),
        TypeError, "Unfinished", "self.inputs", "self.hidden"),
    "a rate of 2": (lambda: nn.FeedforwardDropout(lstm(), 2), ValueError, "p:", "[0, 1]", "got 2"),
    "a rate of True": (lambda: nn.DropConnect(lstm(), True), TypeError, "p:", "[0, 1]", "True"),
    "a rate of NaN": (lambda: nn.Zoneout(lstm(), h=np.nan), ValueError, "h:", "[0, 1]", "nan"),
    "a rate of words": (
        lambda: nn.VariationalDropout(lstm(), state="0.1"), TypeError, "state:", "'0.1'"),
    "a rate below 0": (
        lambda: nn.VariationalDropout(lstm(), inputs=-0.1), ValueError, "inputs:", "-0.1"),
    "a state there is not": (
        lambda: nn.Zoneout(nn.GRU(2, 3), c=0.1), ValueError, "Zoneout: c:", "GRU", "('h',)"),
    "weights nobody named": (
        lambda: nn.DropConnect(Bare(2), 0.5),
        ValueError, "DropConnect: Bare", "links =", '"h": ("Wh",)'),
    "weights of an untied cell": (
        lambda: nn.DropConnect(nn.RNN(2, 3, untied=4), 0.5), ValueError, "DropConnect: RNN"),
    "a residual of other size": (
        lambda: nn.Residual(lstm()), ValueError, "Residual", "2 inputs", "4 outputs"),
    "a skip of 0": (lambda: nn.TimeSkip(lstm(), 0), ValueError, "TimeSkip: k", "at least 1", "0"),
    "a skip of 1.5": (lambda: nn.TimeSkip(lstm(), 1.5), TypeError, "TimeSkip: k", "whole number"),
    "no limit": (lambda: nn.ClipGradient(lstm()), ValueError, "norm=... or value=..."),
    "two limits": (lambda: nn.ClipGradient(lstm(), norm=1, value=1), ValueError, "one of the two"),
    "a limit below 0": (
        lambda: nn.ClipGradient(lstm(), norm=-1), ValueError, "norm", "(0, inf)", "-1"),
    "three biases": (lambda: nn.RNN(2, 3, bias=3), ValueError, "RNN: bias", "0, 1 or 2", "3"),
    "no such activation": (
        lambda: nn.RNN(2, 3, activation="tan"), ValueError, "RNN: activation", "'tan'"),
    "an activation that is a number": (
        lambda: nn.RNN(2, 3, activation=1), TypeError, "activation", "1"),
    "two activations of three": (
        lambda: nn.LSTM(2, 3, activations=("tanh", "tanh")), ValueError, "LSTM: activations", "3"),
    "activations as one word": (
        lambda: nn.GRU(2, 3, activations="tanh"), ValueError, "GRU: activations", "2", "'tanh'"),
    "a clip of 0": (lambda: nn.RNN(2, 3, clip=0), ValueError, "RNN: clip", "(0, inf]", "0"),
    "a clip of NaN": (lambda: nn.LSTM(2, 3, clip=np.nan), ValueError, "LSTM: clip", "nan"),
    "no untied step": (lambda: nn.RNN(2, 3, untied=0), ValueError, "untied", "at least 1"),
    "more steps than matrices": (
        lambda: nn.RNN(I, H, untied=T - 1)(ONE),
        ValueError, "at most 4 steps", "untied=4", "got 5"),
    "no such convention": (
        lambda: nn.LSTM(2, 3, convention="pytorch"),
        ValueError, "LSTM: convention", "'torch'", "'pytorch'"),
    "no such reset": (
        lambda: nn.GRU(2, 3, reset="never"),
        ValueError, "GRU: reset", "'before', 'after'", "'never'"),
    "no such update": (lambda: nn.GRU(2, 3, update="x"), ValueError, "GRU: update", "'candidate'"),
    "no such norm": (lambda: nn.GRU(2, 3, norm="per_gate"), ValueError, "GRU: norm", "'ba2016'"),
    "no such norm of an lstm": (
        lambda: nn.LSTM(2, 3, norm="x"), ValueError, "LSTM: norm", "'per_gate'"),
    "a projection of 0.5": (
        lambda: nn.LSTM(2, 3, projection=0.5), TypeError, "LSTM: projection", "whole number"),
    "whole numbers": (lambda: nn.MinimalGatedUnit(2, 3, dtype=int), TypeError, "dtype", "float32"),
    "features that are no blocks": (
        lambda: nn.LayerNorm(5, blocks=2), ValueError, "LayerNorm: size", "5", "2"),
    "features of another number": (
        lambda: nn.LayerNorm(5)(tg.tensor(ONE[..., :1])),
        ValueError, "LayerNorm: x", "5", "(5, 3, 1)"),
    "no such source": (lambda: jordan(source="x"), ValueError, "source", "'prediction'", "'x'"),
    "targets missing": (
        lambda: jordan(source="target")(ONE), ValueError, "'target' needs targets=", "cell.source"),
    "targets too many": (
        lambda: jordan()(ONE, targets=ONE), ValueError, "'output' goes without targets"),
    "targets and lengths": (
        lambda: jordan(source="target")(ONE, targets=ONE, lengths=[1]), TypeError, "no lengths"),
    "targets of another shape": (
        lambda: jordan(source="target")(ONE, targets=ONE[1:]),
        ValueError, "(T, B, 2)", "(4, 3, 2)"),
    "inputs of another shape": (
        lambda: jordan(source="target")(ONE[..., :1], targets=ONE),
        ValueError, "(T, B, 2)", "(5, 3, 1)"),
    "one input": (lambda: jordan(source="target")(ONE[0, 0], targets=ONE), ValueError, "got (2,)"),
    "a first target of another shape": (
        lambda: jordan(source="target")(ONE, (ONE[0, :1],), targets=ONE),
        ValueError, "state", "(3, 2)", "(1, 2)"),
    "a first target that is no tuple": (
        lambda: jordan(source="target")(ONE, tg.tensor(ONE[0]), targets=ONE),
        ValueError, "expected the tuple (o,)"),
    "targets in a layer": (
        lambda: nn.Recurrent(nn.Zoneout(jordan(source="target"), o=0.1))(ONE),
        ValueError, '"target"', "targets="),
    "no step": (
        lambda: made_of(Unfinished)(ONE), NotImplementedError, "Unfinished has no step(x, h)"),
}  # fmt: skip


def made_of(kind):
    cell = kind()
    cell.inputs, cell.hidden = I, H
    return cell


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case):
    act, kind, *words = REFUSALS[case]
    with refused(kind, *words):
        act()


def test_zoneout_of_a_state_of_whole_numbers_is_refused_in_training_too():
    class Counting(nn.Cell):
        state, sizes = ("h", "n"), property(lambda self: (2, 1))

        def __init__(self):
            self.inputs = self.hidden = 2

        def begin(self, batch):
            return tg.zeros((batch, 2), dtype="float32"), tg.zeros((batch, 1), dtype="int64")

        def step(self, x, h, n):
            return x + h, n + 1

    for training in (True, False):
        cell = nn.Zoneout(Counting(), n=0.5, rng=0).train(training)
        with pytest.raises(TypeError, match="Zoneout: n: expected a state of floats, got int64"):
            cell(np.ones((4, 3, 2), np.float32))


def test_a_prompt_is_one_row_of_symbols():
    model = nn.LanguageModel(5, embedding=2, hidden=3, rng=0)
    with pytest.raises(
        ValueError, match=r"sample: prompt: expected symbols in a row, got \(2, 2\)"
    ):
        model.sample(np.array([[1, 2], [3, 4]]), 2)


@pytest.mark.parametrize("around", [lambda cell: cell, lambda cell: nn.TimeSkip(cell, 2)])
def test_weights_of_which_each_step_has_others_are_not_cut_alike(around):
    cell = around(nn.RNN(3, 3, untied=4, rng=0))
    with pytest.raises(ValueError, match="expected weights that steps share, got untied"):
        nn.DropConnect(cell, 0.3)
