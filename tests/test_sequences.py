"""What layers make of lengths, masks, resets and directions: each row as if it were alone.

The letter and number in a name are the contract's: C are lengths and masks, P properties. What a
layer gives is compared with its cell's step called in a plain loop over the steps of one row that
count, which knows nothing of padding.
"""

import inspect
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from plain_loops import uncompiled

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tensor import mode

T, B, I, H = 5, 4, 2, 3
LENGTHS = np.array([3, 0, 5, 1])
GAPS = np.array([[1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0]], bool)
RESETS = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]], bool)
EVERY = np.ones((T, B), bool)
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


def each(check, found, expected):
    for a, b in zip(found, expected, strict=True):
        check(a, b)


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


class Own(nn.Cell):
    """A user's cell: two states, no links, an output that is none of them, and a gate."""

    state = ("a", "b")

    def __init__(self, inputs=I, hidden=H):
        self.inputs, self.hidden, self.dtype = inputs, hidden, F8
        self.W = nn.module.parameter(np.zeros((inputs + hidden, hidden)), "W")

    def step(self, x, a, b):
        (n,) = nn.gates(n=tg.tanh(tg.concat([x, a], axis=-1) @ self.W + b))
        return n, b * 0.5 + a * n

    def output(self, x, a, b):
        return a + 2 * b


def kind(make, **options):
    return lambda inputs=I: make(inputs, H, dtype=F8, **options)


GIVEN = {
    "rnn": kind(nn.RNN, bias=2, clip=0.9),
    "untied": kind(nn.RNN, untied=T + 3),
    "irnn": lambda inputs=I: nn.IRNN(inputs, H, dtype=F8),
    "lstm": kind(nn.LSTM),
    "lstm, all": kind(nn.LSTM, peepholes=True, projection=2, coupled=True, clip=2.0),
    "lstm, torch": kind(nn.LSTM, convention="torch"),
    "lstm, ba2016": kind(nn.LSTM, norm="ba2016"),
    "lstm, per_gate": kind(nn.LSTM, norm="per_gate"),
    "gru": kind(nn.GRU),
    "gru, torch": kind(nn.GRU, convention="torch", norm="ba2016"),
    "mgu": kind(nn.MinimalGatedUnit),
    "jordan": lambda inputs=I: nn.OutputRecurrent(inputs, H, 2, dtype=F8),
    "prediction": lambda inputs=I: nn.OutputRecurrent(inputs, H, 2, source="prediction", dtype=F8),
    "own": Own,
}
AROUND = {  # what draws nothing
    "residual": lambda cell: nn.Residual(cell),
    "skip": lambda cell: nn.TimeSkip(cell, 3),
    "learned": lambda cell: nn.LearnedState(cell),
    "clipped": lambda cell: nn.ClipGradient(cell, value=1e3),
    "kept": lambda cell: nn.Zoneout(cell, **{cell.state[-1]: 0.3}).eval(),
}
DRAWING = {
    "feedforward": lambda cell: nn.FeedforwardDropout(cell, 0.4, rng=1),
    "variational": lambda cell: nn.VariationalDropout(cell, inputs=0.4, state=0.4, rng=2),
    "per gate": lambda cell: nn.VariationalDropout(cell, state=0.4, per_gate=True, rng=3),
    "drop connect": lambda cell: nn.DropConnect(cell, 0.4, rng=4),
    "zoneout": lambda cell: nn.Zoneout(cell, rng=5, **dict.fromkeys(cell.state, 0.4)),
}


def both(make):
    return nn.Bidirectional(make(), make(), merge="concat")


PARTS = {  # each of them without chance in it
    **GIVEN,
    "residual": lambda: nn.Residual(nn.LSTM(I, I, dtype=F8)),
    **{k: lambda f=f: f(nn.LSTM(I, H, dtype=F8)) for k, f in AROUND.items() if k != "residual"},
    "nest": lambda: nn.TimeSkip(nn.LearnedState(nn.TimeSkip(Own(), 2)), 2),
    "both": lambda: both(GIVEN["lstm"]),
    "both, own": lambda: nn.Bidirectional(
        Own(), nn.LearnedState(Own()), merge=lambda f, b: tg.exp(f) * 0.5 + b
    ),
}
CHANCE = {
    **{k: lambda f=f: f(nn.LSTM(I, H, dtype=F8)) for k, f in DRAWING.items()},
    **{f"{k}, own": lambda k=k: DRAWING[k](Own()) for k in ("variational", "zoneout")},
    "both, drawing": lambda: both(lambda: DRAWING["zoneout"](nn.GRU(I, H, dtype=F8))),
}
parts = pytest.mark.parametrize("name", PARTS)
one_way = pytest.mark.parametrize("name", [n for n in PARTS if n[:4] not in ("unti", "both")])
tied = pytest.mark.parametrize("name", [name for name in PARTS if name != "untied"])
steps = pytest.mark.parametrize(
    "name", [n for n in [*PARTS, *CHANCE] if n[:4] not in ("unti", "both")]
)
all_parts = pytest.mark.parametrize("name", [*PARTS, *CHANCE])


def made(name, seed=0):
    return randomised({**PARTS, **CHANCE}[name](), seed)


def first_state(part, batch=B, seed=7):
    rng = np.random.default_rng(seed)
    return tuple(leaf(rng.normal(size=(batch, size))) for size in part.sizes)


def flat(answer):
    """Every tensor of an answer, in order."""
    if isinstance(answer, tg.Tensor):
        return [answer]
    answer = answer.values() if isinstance(answer, dict) else answer
    return [x for part in answer for x in flat(part)]


def gradients(answers, leaves):
    """Of a weighted sum of all answers, with respect to the leaves: zeros where nothing came."""
    rng = np.random.default_rng(11)
    answers = flat(answers)
    for x in leaves:
        x.grad = None
    sum((y * rng.normal(size=y.shape)).sum() for y in answers).backward()
    return [np.zeros(x.shape) if x.grad is None else x.grad.data for x in leaves]


def run(part, xs, state=None, leaves=(), **how):
    """The answers as arrays, and the gradients of the leaves."""
    answers = part(xs, state, **{"unroll": True, **how})
    found = gradients(answers, leaves) if leaves else []
    return [y.data for y in flat(answers)], found


# -- a row alone ---------------------------------------------------------------------------------


def row(cell, xs, state, valid, reset, reverse):
    """Outputs (T, outputs), and the state after every step and at the end, of one row.

    A reset takes hold with the next step that counts; from the end, where one was read before.
    """
    ys, path, again = {}, {}, False
    for t in sorted(range(len(xs)), reverse=reverse):
        again = again or (reset[t] and not reverse)
        if valid[t]:
            state = cell.begin(1) if again else state
            with Untied(cell, t):
                state = cell.advance(xs[t][None], *state)
            ys[t], again = cell.output(xs[t][None], *state)[0], False
        again = again or (reset[t] and reverse and len(ys) > 0)
        path[t] = state
    none = tg.tensor(np.zeros(cell.outputs))
    return [ys.get(t, none) for t in range(len(xs))], [path[t] for t in range(len(xs))], state


class Untied:
    """While it lasts, an untied cell called for one step has its matrix of step t."""

    def __init__(self, cell, t):
        self.cell, self.t = cell, t

    def __enter__(self):
        from tinygrad_rnn.nn.moment import Moment

        untied = isinstance(self.cell, nn.RNN) and self.cell.untied
        slices = [self.cell.Wh[self.t]] if untied else []
        self.moment = Moment(1).at(slices).__enter__() if untied else None

    def __exit__(self, *_):
        if self.moment is not None:
            self.moment.__exit__()


def rows_alone(cell, xs, state, valid, reset, reverse=False):
    """ys (T, B, outputs), the last state, and every state: what a layer should make of it."""
    found = [
        row(cell, xs[:, b], [s[b : b + 1] for s in state], valid[:, b], reset[:, b], reverse)
        for b in range(xs.shape[1])
    ]
    ys = tg.stack([tg.stack(y) for y, _, _ in found], axis=1)
    end = [tg.concat(s) for s in zip(*[end for _, _, end in found], strict=True)]
    path = [
        tg.stack([tg.concat([path[t][k] for _, path, _ in found]) for t in range(len(xs))])
        for k in range(len(state))
    ]
    return ys, end, path


def expected_of(part, xs, state, valid, reset):
    if isinstance(part, nn.Bidirectional):
        cut = len(part.forward.state)
        f = rows_alone(part.forward, xs, state[:cut], valid, reset)
        b = rows_alone(part.backward, xs, state[cut:], valid, reset, reverse=True)
        merge = (lambda f, b: tg.concat([f, b], -1)) if part.merge == "concat" else part.merge
        y = tg.where(valid[..., None], merge(f[0], b[0]), 0)
        return y, [*f[1], *b[1]], [*f[2], *b[2]]
    return rows_alone(part, xs, state, valid, reset)


SITUATIONS = {
    "lengths": (np.arange(T)[:, None] < LENGTHS, np.zeros((T, B), bool)),
    "gaps": (GAPS, np.zeros((T, B), bool)),
    "resets": (EVERY, RESETS),
    "gaps and resets": (GAPS, RESETS),
}


@parts
@pytest.mark.parametrize("situation", SITUATIONS)
def test_P02_P11_a_padded_batch_is_each_row_alone(name, situation):
    """Values, states and all gradients; a reset begins again, and one past a row's end nothing."""
    part, (valid, reset) = made(name), SITUATIONS[situation]
    xs, state = leaf(normal(T, B, I)), first_state(part)
    leaves = [xs, *state, *part.parameters()]
    how = {"mask": valid} if situation != "lengths" else {"lengths": LENGTHS}
    how |= {"reset": reset} if reset.any() else {}
    ys, end, states = part(xs, state, return_states=True, unroll=True, **how)
    # Where a reset waits for a step that counts, the states between are nobody's.
    seen = valid if reset.any() else EVERY
    found = [ys, *end, *(tg.where(seen[..., None], s, 0) for s in states.values())]
    ys, end, path = expected_of(part, xs, state, valid, reset)
    expected = [ys, *end, *(tg.where(seen[..., None], s, 0) for s in path)]
    each(close, found, expected)
    each(close, gradients(found, leaves), gradients(expected, leaves))


@one_way
def test_P12_from_the_end_is_the_row_turned_round(name):
    """Within its own length; the outputs are turned back."""
    part = made(name)
    xs, state = leaf(normal(T, B, I)), first_state(part)
    leaves, turn = [xs, *state, *part.parameters()], turned(LENGTHS)
    found = part(xs, state, lengths=LENGTHS, reverse=True, unroll=True)
    ys, end = part(xs[turn], state, lengths=LENGTHS, unroll=True)
    each(close, flat(found), [ys[turn], *end])
    each(close, gradients(found, leaves), gradients([ys[turn], *end], leaves))


def turned(lengths):
    """The index (T, B), (T, B) that turns each row round within its length."""
    t, n = np.arange(T)[:, None], np.asarray(lengths)
    return np.where(t < n, n - 1 - t, t), np.broadcast_to(np.arange(len(n)), (T, len(n)))


@pytest.mark.parametrize("cell", ["lstm", "gru", "own"])
def test_P12_two_directions_are_two_layers_one_of_them_turned(cell):
    f, b = (randomised(GIVEN[cell](), seed) for seed in (0, 1))
    xs, state, turn = normal(T, B, I), first_state(f) + first_state(b, seed=8), turned(LENGTHS)
    cut = len(f.state)
    how = {"lengths": LENGTHS, "unroll": True}
    ys, end = nn.Bidirectional(f, b)(xs, state, **how)
    ahead, first = f(xs, state[:cut], **how)
    back, second = b(xs[turn], state[cut:], **how)
    close(ys, tg.concat([ahead, back[turn]], axis=-1))
    each(close, end, [*first, *second])


@pytest.mark.parametrize("cell", ["lstm", "gru", "own"])
def test_P13_turning_rows_and_swapping_directions_swaps_the_halves(cell):
    f, b = (randomised(GIVEN[cell](), seed) for seed in (0, 1))
    xs, turn, how = normal(T, B, I), turned(LENGTHS), {"lengths": LENGTHS, "unroll": True}
    ys, end = nn.Bidirectional(f, b)(xs, **how)
    zs, other = nn.Bidirectional(b, f)(xs[turn], **how)
    cut = len(f.state)
    close(zs.data[turn], np.concatenate([ys.data[..., H:], ys.data[..., :H]], -1))
    each(close, other, [*end[cut:], *end[:cut]])


def test_C08_the_last_of_two_directions_is_each_ones_own():
    """Neither the row of the last step, nor what the backward cell says of it."""
    part = made("both")
    xs, how = normal(T, B, I), {"lengths": LENGTHS, "unroll": True}
    ys, end = part(xs, **how)
    last, _ = part(xs, readout="last", **how)
    same(last, np.concatenate([end[0].data, end[2].data], -1))
    assert [k for k, s in enumerate(part.state) if s.endswith(" h")] == [0, 2]
    rows = np.flatnonzero(LENGTHS)
    same(last.data[rows, :H], ys.data[LENGTHS[rows] - 1, rows, :H])
    same(last.data[rows, H:], ys.data[0, rows, H:])
    assert np.abs(last.data[0, H:] - ys.data[2, 0, H:]).max() > 0.01


# -- what stands in the padding ------------------------------------------------------------------


GARBAGE = [np.nan, np.inf, -np.inf, 1e308]


@all_parts
def test_C09_nothing_in_the_padding_is_seen(name):
    """Not even NaN: values, states, gates, every gradient; that of the padding is exactly 0."""
    for valid in (np.arange(T)[:, None] < LENGTHS, GAPS):
        found = []
        for rubbish in (0.0, np.resize(GARBAGE, (T, B, I))):
            part = made(name)
            xs = leaf(np.where(valid[..., None], normal(T, B, I), rubbish))
            state = first_state(part)
            leaves = [xs, *state, *part.parameters()]
            options = {"return_states": True, "return_gates": True}
            values, slopes = run(part, xs, state, leaves, mask=valid, **options)
            found.append(values + slopes)
            same(xs.grad.data[~valid], np.zeros(((~valid).sum(), I)))
        each(same, *found)
        assert all(np.isfinite(x).all() for x in found[0])


@pytest.mark.parametrize("name", ["gru", "both, own"])
def test_C09_nor_in_a_loop(name):
    found = []
    for rubbish in (0.0, np.resize(GARBAGE, (T, B, I))):
        part = made(name)
        xs = leaf(np.where(GAPS[..., None], normal(T, B, I), rubbish))
        state = first_state(part)
        leaves = [xs, *state, *part.parameters()]
        values, slopes = run(part, xs, state, leaves, mask=GAPS, unroll=False)
        found.append(values + slopes)
    each(same, *found)
    assert all(np.isfinite(x).all() for x in found[0])


@pytest.mark.parametrize(
    "option", [{"pad": "hold"}, *({"readout": r} for r in nn.recurrent.READOUTS)]
)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_C09_nor_by_any_readout_of_two_layers(option, dropout):
    found = []
    for rubbish in (0.0, np.resize(GARBAGE, (T, B, I))):
        below = nn.Bidirectional(Own(), Own(), merge=lambda f, b: f - b + 1)
        cells = randomised(below), randomised(nn.LSTM(H, H, dtype=F8))
        layer = nn.Recurrent(*cells, unroll=True, dropout=dropout, rng=0, **option)
        xs = leaf(np.where(GAPS[..., None], normal(T, B, I), rubbish))
        answers = layer(xs, mask=GAPS, return_states=True)
        values = [y.data for y in flat(answers)]
        found.append([*values, *gradients(answers, [xs, *layer.parameters()])])
    each(same, *found)
    assert all(np.isfinite(x).all() for x in found[0])


@all_parts
def test_C01_a_row_of_no_steps_leaves_everything_alone(name):
    part = made(name)
    xs, state = leaf(normal(T, B, I)), first_state(part)
    ys, end = part(xs, state, lengths=LENGTHS, unroll=True)
    same(ys.data[:, 1], np.zeros((T, part.outputs)))
    each(same, [s.data[1] for s in end], [s.data[1] for s in state])
    (ys[:, 1].sum() + sum(s[1].sum() for s in end)).backward()
    same(xs.grad, np.zeros(xs.shape))
    for s in state:
        same(s.grad, (np.arange(B)[:, None] == 1) * np.ones(s.shape))
    assert not any(w.grad is not None and w.grad.data.any() for w in part.parameters())


@parts
def test_C07_P10_steps_past_the_longest_change_nothing(name):
    """Nor resets that stand there; the outputs keep all steps, with zeros at the end."""
    part, lengths = made(name), np.minimum(LENGTHS, 3)
    xs, state = normal(T, B, I), first_state(part)
    resets = RESETS & (np.arange(T)[:, None] < lengths)
    leaves = [*state, *part.parameters()]
    (ys, *end), found = run(part, xs[:3], state, leaves, lengths=lengths, reset=resets[:3])
    longer = {"lengths": lengths, "reset": resets | (np.arange(T)[:, None] >= lengths)}
    answers = part(
        np.where(np.arange(T)[:, None, None] < 3, xs, np.nan), state, unroll=True, **longer
    )
    same(answers[0].data[:3], ys)
    assert not answers[0].data[3:].any()
    each(same, answers[1], end)
    each(close, gradients([answers[0][:3], *answers[1]], leaves), found)


@parts
def test_C06_C12_P15_rows_may_come_in_any_order(name):
    part, order = made(name), np.array([2, 0, 3, 1])  # from the longest to the shortest
    xs, state = normal(T, B, I), first_state(part)
    how = {"unroll": True, "return_states": True}
    found = flat(part(xs, state, lengths=LENGTHS, **how))
    sorted_ = flat(part(xs[:, order], [s[order] for s in state], lengths=LENGTHS[order], **how))
    count = len(part.state)
    each(same, sorted_[1 : 1 + count], [s.data[order] for s in found[1 : 1 + count]])
    for a, b in zip(
        [sorted_[0], *sorted_[1 + count :]], [found[0], *found[1 + count :]], strict=True
    ):
        same(a, b.data[:, order])


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["both"])  # the one that has forward and reverse loops
def test_C06_order_changes_no_bit_of_a_compiled_loop(name):
    part, order = made(name), np.array([2, 0, 3, 1])
    xs, state = normal(T, B, I), first_state(part)
    ys, end = part(xs, state, lengths=LENGTHS)
    zs, last = part(xs[:, order], [s[order] for s in state], lengths=LENGTHS[order])
    same(zs, ys.data[:, order])
    each(same, last, [s.data[order] for s in end])
    alone, _ = part(xs[:3, :1], [s[:1] for s in state])
    same(alone, ys.data[:3, :1])


# -- resets, chunks ------------------------------------------------------------------------------


@tied
@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_parts_a_batch_into_separate_runs(name, reverse):
    """From the end too, where the run that is read first continues the state that is given."""
    part = made(name)
    xs, state, how = leaf(normal(T, B, I)), first_state(part), {"unroll": True, "reverse": reverse}
    leaves, flags = [xs, *state, *part.parameters()], np.zeros((T, B), bool)
    flags[2] = True
    answers = part(xs, state, reset=flags, **how)
    if isinstance(part, nn.Bidirectional):
        cut = len(part.forward.state)
        again = part.begin(B)
        one, two = (*state[:cut], *again[cut:]), (*again[:cut], *state[cut:])
        one, two = (two, one) if reverse else (one, two)
    else:
        one, two = (part.begin(B), state) if reverse else (state, part.begin(B))
    (early, first), (late, second) = part(xs[:2], one, **how), part(xs[2:], two, **how)
    end = first if reverse else second
    if isinstance(part, nn.Bidirectional):
        end = (*first[:cut], *second[cut:]) if reverse else (*second[:cut], *first[cut:])
    expected = [tg.concat([early, late]), *end]
    each(close, flat(answers), expected)
    each(close, gradients(answers, leaves), gradients(expected, leaves))


def test_resets_at_every_step_need_no_state():
    part, xs = made("gru"), normal(T, B, I)
    ys, _ = part(xs, first_state(part), reset=EVERY, unroll=True)
    for t in range(T):
        same(ys.data[t], part(xs[t : t + 1], unroll=True)[0].data[0])


@one_way
def test_P04_chunks_with_lengths_are_the_whole(name):
    """For every cell, values and gradients; a row that has ended waits."""
    part = made(name)
    xs, state = leaf(normal(T, B, I)), first_state(part)
    leaves = [xs, *state, *part.parameters()]
    whole = part(xs, state, lengths=LENGTHS, reset=RESETS, unroll=True)
    values, carried = [], state
    for a, b in ((0, 1), (1, 1), (1, 4), (4, 5)):
        own = np.clip(LENGTHS - a, 0, b - a)
        y, carried = part(xs[a:b], carried, lengths=own, reset=RESETS[a:b], unroll=True)
        values.append(y)
    chunks = [tg.concat(values), *carried]
    each(close, chunks, flat(whole))
    each(close, gradients(chunks, leaves), gradients(whole, leaves))


@pytest.mark.parametrize("name", ["zoneout", "feedforward", "variational", "drop connect"])
def test_P04_what_draws_is_streamed_in_use(name):
    part = made(name).eval()
    xs, state = normal(T, B, I), first_state(part)
    ys, end = part(xs, state, unroll=True)
    for t in range(T):
        y, state = part(xs[t : t + 1], state, unroll=True)
        close(y[0], ys[t])
    each(close, state, end)


# -- readouts, states, gates, layouts ------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "own", "both", "both, own"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("valid", [np.arange(T)[:, None] < LENGTHS, GAPS, None])
def test_C11_readouts_read_the_steps_that_count(name, reverse, valid):
    part, xs = made(name), normal(T, B, I)
    how = {"mask": valid, "reverse": reverse, "unroll": True}
    ys = part(xs, **how)[0].data
    counts = EVERY if valid is None else valid
    for b in range(B):
        own = ys[counts[:, b], b]
        nothing = np.zeros((1, part.outputs))
        own = own if len(own) else nothing
        for readout in ("mean", "sum", "max"):
            found, _ = part(xs, readout=readout, **how)
            close(found.data[b], getattr(own, readout)(axis=0))
        if not isinstance(part, nn.Bidirectional):
            found, _ = part(xs, readout="last", **how)
            close(found.data[b], own[0 if reverse else -1])


@pytest.mark.parametrize("pad", ["zero", "hold"])
@pytest.mark.parametrize(("steps", "how"), [
    (3, {"lengths": [0, 2, 3]}), (3, {"mask": np.tri(3, 3, 1, bool)}), (4, {"lengths": [1, 0, 4]}),
    (4, {}), (0, {}),
], ids=str)  # fmt: skip
def test_a_merge_of_ones_own_is_the_same_as_one_by_name(steps, how, pad):
    """As many steps as rows, too, where nothing but the axis tells them apart."""
    xs = np.random.default_rng(0).normal(size=(steps, 3, I))

    def found(merge, readout):
        ways = nn.RNN(I, H, dtype=F8, rng=0), nn.GRU(I, H, dtype=F8, rng=1)
        return nn.Bidirectional(*ways, merge=merge)(xs, pad=pad, readout=readout, **how)[0].data

    for readout in nn.recurrent.READOUTS if steps else ("all",):
        own = found(lambda f, b: f + b, readout)
        np.testing.assert_array_equal(own, found("sum", readout))


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_that_do_not_count_hold_the_output_before(reverse):
    part, xs = made("own"), normal(T, B, I)
    how = {"mask": GAPS, "reverse": reverse, "unroll": True}
    ys, _ = part(xs, **how)
    held, _ = part(xs, pad="hold", **how)
    for b in range(B):
        before = np.zeros(H)
        for t in sorted(range(T), reverse=reverse):
            before = ys.data[t, b] if GAPS[t, b] else before
            same(held.data[t, b], before)
            same(ys.data[t, b], before if GAPS[t, b] else np.zeros(H))
    free, _ = part(xs, pad="hold", reverse=reverse, unroll=True)
    same(free, part(xs, reverse=reverse, unroll=True)[0])


def test_C11_no_step_at_all_reads_as_zero():
    for name in ("lstm", "both", "both, own"):
        part = made(name)
        for readout in ("last", "mean", "sum", "max"):
            nothing = np.zeros((B, part.outputs))
            mask = np.zeros((T, B), bool)
            same(part(normal(T, B, I), mask=mask, readout=readout, unroll=True)[0], nothing)
            same(part(normal(0, B, I), readout=readout, unroll=True)[0], nothing)
            same(part(normal(0, B, I), lengths=[0] * B, readout=readout, unroll=True)[0], nothing)


@steps
def test_P02_states_and_gates_are_those_of_single_steps(name):
    """Which is what a cell gives when it is called step by step."""
    part = made(name).eval()
    xs, state = normal(T, B, I), first_state(part)
    _, _, states, gates = part(xs, state, return_states=True, return_gates=True, unroll=True)
    assert tuple(states) == part.state
    from tinygrad_rnn.nn.moment import Moment

    with Moment(T) as moment:
        for t in range(T):
            state = part.advance(tg.tensor(xs[t]), *moment.at([]) and state)
            each(close, [states[k][t] for k in part.state], state)
            each(close, [gates[k][t] for k in gates], list(moment.shown.values()))
            assert list(gates) == list(moment.shown)


def test_gates_of_two_directions_stand_where_they_belong():
    part, xs = made("both"), normal(T, B, I)
    _, _, gates = part(xs, lengths=LENGTHS, return_gates=True, unroll=True)
    assert set(gates) == {f"{way} {gate}" for way in ("forward", "backward") for gate in "ifgo"}
    for way in ("forward", "backward"):
        cell = getattr(part, way)
        how = {"reverse": way == "backward", "lengths": LENGTHS, "unroll": True}
        alone = cell(xs, return_gates=True, **how)[2]
        for gate in "ifgo":
            same(gates[f"{way} {gate}"], alone[gate])
            assert not gates[f"{way} {gate}"].data[np.arange(T)[:, None] >= LENGTHS].any()


OPTIONS = [
    {}, {"lengths": LENGTHS}, {"mask": GAPS}, {"reset": RESETS}, {"mask": GAPS, "pad": "hold"},
    {"readout": "last", "lengths": LENGTHS}, {"readout": "max", "mask": GAPS}, {"reverse": True},
    {"return_states": True, "return_gates": True, "lengths": LENGTHS, "reset": RESETS},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(map(str, o)) or "none")
def test_P16_P17_layouts_differ_in_their_axes_only(options):
    for name in ("own", "both"):
        part = made(name)
        xs, state = normal(T, B, I), first_state(part)
        found = part(xs, state, unroll=True, **options)
        turned = {k: v.T if k in ("mask", "reset") else v for k, v in options.items()}
        other = part(xs.swapaxes(0, 1), state, batch_first=True, unroll=True, **turned)
        each(same, map(without_time_first(found, options), flat(found)), flat(other))
        for b, batch_first in ((0, False), (1, True), (2, False)):
            own = {k: v[..., b] if isinstance(v, np.ndarray) else v for k, v in options.items()}
            single = part(
                xs[:, b], [s[b] for s in state], unroll=True, **own, batch_first=batch_first
            )
            each(
                same,
                flat(single),
                [y.data[:, b] if y.ndim == 3 else y.data[b] for y in flat(found)],
            )


def without_time_first(found, options):
    return lambda y: y.data.swapaxes(0, 1) if y.ndim == 3 else y


@parts
def test_P11_a_list_of_arrays_is_its_rows(name):
    part = made(name)
    xs, state = [leaf(normal(n, I, seed=n)) for n in LENGTHS], first_state(part)
    how = {"unroll": True}
    ys, end = part(xs, state, **how)
    assert isinstance(ys, list) and [len(y) for y in ys] == list(LENGTHS)
    leaves = [*xs, *state, *part.parameters()]
    alone = [part(x, [s[b] for s in state], **how) for b, x in enumerate(xs)]
    expected = [
        *(y for y, _ in alone),
        *(tg.stack(s) for s in zip(*(e for _, e in alone), strict=True)),
    ]
    each(close, [*ys, *end], expected)
    each(close, gradients([*ys, *end], leaves), gradients(expected, leaves))


def test_a_list_goes_with_every_option():
    xs, part = [normal(n, I, seed=n) for n in LENGTHS], made("own")
    padded = np.zeros((T, B, I))
    for b, x in enumerate(xs):
        padded[: len(x), b] = x
    for options in ({"readout": "mean"}, {"reset": RESETS}, {"reverse": True}, {"pad": "hold"}):
        options = options | {"return_states": True, "return_gates": True, "unroll": True}
        ys, *rest = part(xs, **options)
        zs, *others = part(padded, lengths=LENGTHS, **options)
        if options.get("readout"):
            same(ys, zs)
        else:
            each(same, ys, [zs[:n, b] for b, n in enumerate(LENGTHS)])
        each(same, flat(rest), flat(others))
    first, _ = part(xs, batch_first=True, unroll=True)
    each(same, first, part(xs, unroll=True)[0])


EMPTY = [
    {}, {"lengths": True}, {"mask": True}, {"reset": True}, {"pad": "hold", "mask": True},
    {"return_states": True, "return_gates": True, "mask": True, "reset": True},
    {"checkpoint": "sqrt"}, {"reverse": True, "reset": True},
    *({"readout": r, "lengths": n} for r in ("last", "mean", "sum", "max") for n in (True, False)),
]  # fmt: skip


@pytest.mark.parametrize("options", EMPTY, ids=lambda o: " ".join(map(str, o.items())) or "none")
@pytest.mark.parametrize("steps, batch", [(0, 2), (2, 0), (0, 0)])
def test_B05_B06_nothing_goes_with_every_option(options, steps, batch):
    words = {"lengths": np.zeros(batch, int), "mask": np.ones((steps, batch)) > 0}
    words["reset"] = words["mask"]
    for name in ("own", "both", "zoneout", "per gate", "learned", "skip"):
        part = made(name)
        how = {k: words.get(k, v) for k, v in options.items() if v is not False}
        xs, state = leaf(normal(steps, batch, I)), first_state(part, batch)
        ys, end, *more = answers = part(xs, state, unroll=True, **how)
        wide = part.outputs
        assert ys.shape == ((batch, wide) if "readout" in how else (steps, batch, wide))
        if not steps:
            each(same, end, state)
        assert all(len(y) == steps for found in more for y in found.values())
        found = gradients(answers, [xs, *state, *part.parameters()])
        assert all(not g.any() for g in [found[0], *found[1 + len(state) :]])


def test_B05_nothing_goes_through_a_loop_too():
    for steps, batch in ((0, 2), (2, 0)):
        cells = nn.Zoneout(nn.RNN(I, H, dtype=F8), h=0.5), nn.RNN(I, H, dtype=F8)
        layer = nn.Recurrent(nn.Bidirectional(*cells, merge="sum"), dropout=0.5)
        mask, state = np.ones((steps, batch), bool), [first_state(c, batch) for c in layer.cells]
        answers = layer(normal(steps, batch, I), state, mask=mask, reset=mask, return_states=True)
        assert answers[0].shape == (steps, batch, H)
        assert not any(g.any() for g in gradients(answers, layer.parameters()))


# -- what is given -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint8, np.int32, np.uint64, np.int64, list, tuple, tg.tensor]
)
def test_C05_lengths_are_any_integers(kind):
    part, xs = made("gru"), normal(T, B, I)
    lengths = (
        LENGTHS.astype(kind)
        if inspect.isclass(kind) and issubclass(kind, np.generic)
        else kind(LENGTHS.tolist())
    )
    expected = part(xs, mask=np.arange(T)[:, None] < LENGTHS, unroll=True)
    each(same, flat(part(xs, lengths=lengths, unroll=True)), flat(expected))


def test_C05_small_lengths_do_not_wrap():
    part, xs = made("rnn"), normal(300, 2, I)
    expected = part(xs, lengths=[255, 200])
    each(same, flat(part(xs, lengths=np.array([255, 200], np.uint8))), flat(expected))


@pytest.mark.parametrize(
    "lengths, kind, words",
    [
        ([3, -1, 5, 1], ValueError, ("at least 0", "-1", "index 1")),
        ([3, 0, 6, 1], ValueError, ("at most 5", "6", "index 2")),
        (np.array([3, 0, 2**63 + 1, 1], np.uint64), ValueError, ("at most 5", "index 2")),
        ([3.0, 0.0, 5.0, 1.0], TypeError, ("integers", "float64", "astype")),
        ([3.5, 0, 5, np.nan], TypeError, ("integers", "float64")),
        ([True, False, True, True], TypeError, ("integers", "bool", "mask")),
        ([3, 0, 5], ValueError, ("4 of them", "(3,)")),
        ([[3, 0, 5, 1]], ValueError, ("4 of them", "(1, 4)")),
        (3, ValueError, ("4 of them", "()")),
        ("3051", TypeError, ("lengths",)),
    ],
    ids=str,
)
def test_C02_C03_C04_C05_lengths_that_are_refused(lengths, kind, words):
    with refused(kind, "Recurrent", "lengths", *words):
        made("gru")(normal(T, B, I), lengths=lengths)


@pytest.mark.parametrize("dtype", [bool, int, np.uint8, np.float32, F8])
def test_C10_a_mask_is_bools_or_zeros_and_ones(dtype):
    part, xs = made("gru"), normal(T, B, I)
    expected = part(xs, mask=GAPS, reset=RESETS, unroll=True)
    found = part(xs, mask=GAPS.astype(dtype), reset=tg.tensor(RESETS.astype(dtype)), unroll=True)
    each(same, flat(found), flat(expected))


@pytest.mark.parametrize("word", ["mask", "reset"])
def test_C10_masks_that_are_refused(word):
    part, xs = made("gru"), normal(T, B, I)
    for wrong, kind, words in (
        (GAPS * 0.5, ValueError, ("0 and 1", "0.5", "step 0", "sequence 0")),
        (np.full((T, B), np.nan), ValueError, ("0 and 1", "nan")),
        (GAPS * 2, ValueError, ("0 and 1", "2")),
        (GAPS.T, ValueError, ("(5, 4)", "(4, 5)", ".T")),
        (GAPS[:, :1], ValueError, ("(5, 4)", "(5, 1)")),
        (GAPS[..., None], ValueError, ("(5, 4)", "(5, 4, 1)")),
        (True, ValueError, ("(5, 4)", "()")),
    ):
        with refused(kind, "Recurrent", word, *words):
            part(xs, **{word: wrong})


def test_C10_a_mask_of_all_and_lengths_of_all_are_none():
    for name in ("lstm", "both, own"):
        part, xs = made(name), normal(T, B, I)
        expected = flat(part(xs, unroll=True, return_states=True))
        for how in ({"mask": EVERY}, {"lengths": [T] * B}, {"reset": ~EVERY}):
            each(same, flat(part(xs, unroll=True, return_states=True, **how)), expected)


def test_C11_a_loss_of_what_counts_is_the_mean_over_that():
    part, xs = made("lstm"), normal(T, B, I)
    valid = np.arange(T)[:, None] < LENGTHS
    ys, _ = part(xs, lengths=LENGTHS, unroll=True)
    goal = normal(T, B, H, seed=3)
    loss = tg.mean_squared_error(ys, goal, mask=valid)
    close(loss, ((ys.data - goal) ** 2)[valid].mean())
    assert tg.mean_squared_error(ys, goal, mask=~EVERY).item() == 0


# -- refusals ------------------------------------------------------------------------------------


def test_what_a_function_merges_may_have_any_width():
    """Of outputs of two sizes, and for the cell above, which is told how wide it is."""
    merge = lambda f, b: tg.concat([f, b, f[..., :1]], axis=-1)
    two = nn.Bidirectional(nn.RNN(I, H, dtype=F8), nn.GRU(I, 2, dtype=F8), merge=merge)
    assert two.outputs == H + 2 + 1
    layer = nn.Recurrent(two, nn.RNN(H + 3, 2, dtype=F8), unroll=True)
    assert layer(normal(T, B, I))[0].shape == (T, B, 2)


class Unfinished(nn.Cell):
    """Sizes that are not set."""


rnn = lambda inputs=I, hidden=H, **how: nn.RNN(inputs, hidden, dtype=F8, rng=0, **how)
XS = normal(T, B, I)
WRONG = {
    "no cell": (lambda: nn.Recurrent(), ValueError, "Recurrent", "at least one cell"),
    "no cell, but a layer": (
        lambda: nn.Recurrent(rnn(), nn.Linear(3, 3)),
        TypeError, "cell 1", "expected a Cell", "Linear"),
    "a cell without sizes": (
        lambda: nn.Recurrent(Unfinished()), TypeError, "Unfinished", "self.inputs", "self.hidden"),
    "cells that do not fit": (
        lambda: nn.Recurrent(rnn(), rnn()), ValueError, "cell 1 expects 2", "cell 0 gives 3"),
    "cells that do not fit two": (
        lambda: nn.Recurrent(nn.Bidirectional(rnn(), rnn()), rnn(H)),
        ValueError, "expects 3", "gives 6"),
    "no such readout": (
        lambda: nn.Recurrent(rnn(), readout="first"), ValueError, "readout", "'last'", "'first'"),
    "no such pad": (lambda: nn.Recurrent(rnn(), pad="nan"), ValueError, "pad", "'hold'", "'nan'"),
    "two rates for one": (
        lambda: nn.Recurrent(rnn(), dropout=[0.1, 0.2]),
        ValueError, "dropout", "each of 1", "got 2"),
    "a rate of 1.5": (lambda: nn.Recurrent(rnn(), dropout=1.5), ValueError, "p:", "[0, 1]", "1.5"),
    "no such word": (lambda: rnn()(XS, length=[1]), TypeError, "length"),
    "lengths and a mask": (
        lambda: rnn()(XS, lengths=LENGTHS, mask=GAPS), ValueError, "lengths or a mask", "both"),
    "a list and lengths": (
        lambda: rnn()([XS[:, 0]], lengths=[1]), ValueError, "a list of sequences", "of its own"),
    "a list of other widths": (
        lambda: rnn()([XS[:, 0], XS[:, 0, :1]]), ValueError, "xs", "inputs = 2", "(5, 1)"),
    "an empty list": (lambda: rnn()([]), ValueError, "xs", "(T, B, inputs)", "(0,)"),
    "other features": (lambda: rnn()(XS[..., :1]), ValueError, "xs", "inputs = 2", "(5, 4, 1)"),
    "single precision": (
        lambda: rnn()(tg.tensor(XS, dtype="f4")), TypeError, "xs", "float64", "float32", "astype"),
    "a state of one array": (
        lambda: nn.Recurrent(rnn())(XS, normal(B, H)),
        TypeError, "one tuple for each of 1", "ndarray"),
    "a state of one tensor": (
        lambda: rnn()(XS, tg.tensor(normal(B, H))),
        ValueError, "the tuple (h,)", "one tensor", "(4, 3)"),
    "a state of another batch": (
        lambda: rnn()(XS, (normal(B - 1, H),)),
        ValueError, "state of cell 0", "(h,)", "(4, 3)", "(3, 3)"),
    "a state of a sequence": (
        lambda: nn.LSTM(I, H, dtype=F8)(XS, (normal(T, B, H), normal(B, H))), ValueError,
        "expected (h, c)", "no time axis", "(5, 4, 3)"),
    "one state too few": (
        lambda: nn.LSTM(I, H, dtype=F8)(XS, (normal(B, H),)),
        ValueError, "expected (h, c)", "(4, 3)"),
    "a state of single precision": (
        lambda: rnn()(XS, (tg.tensor(normal(B, H), dtype="f4"),)),
        TypeError, "h:", "float64", "float32"),
    "one direction": (
        lambda: nn.Bidirectional(rnn(), nn.Linear(2, 2)),
        TypeError, "backward: expected a Cell", "Linear"),
    "two directions of two": (
        lambda: nn.Bidirectional(nn.Bidirectional(rnn(), rnn()), rnn()),
        TypeError, "forward: expected"),
    "one cell twice": (
        lambda: nn.Bidirectional(*[rnn()] * 2),
        ValueError, "the same cell", "share weights", "make one for each", "share=True"),
    "one cell thrice": (
        lambda: nn.Recurrent(rnn(), *[rnn(H)] * 2),
        ValueError, "cells 1 and 2 are the same", "make one for each", "share=True"),
    "one cell, wrapped": (
        lambda: (lambda cell: nn.Recurrent(nn.Zoneout(cell, h=0.1), cell))(rnn(H)),
        ValueError, "cells 0 and 1 are the same"),
    "cells that read other things": (
        lambda: nn.Bidirectional(rnn(), rnn(1)),
        ValueError, "read the same", "2 inputs", "and 1 of"),
    "cells of other precision": (
        lambda: nn.Bidirectional(rnn(), nn.RNN(I, H)), ValueError, "float64", "float32"),
    "cells of other precision in a stack": (
        lambda: nn.Recurrent(rnn(), nn.RNN(H, H)),
        ValueError, "of one dtype", "float64 for cell 0", "float32 for cell 1"),
    "no such merge": (
        lambda: nn.Bidirectional(rnn(), rnn(), merge="ave"),
        ValueError, "merge", "'mean'", "'ave'"),
    "a sum of two sizes": (
        lambda: nn.Bidirectional(rnn(), rnn(I, 2), merge="sum"),
        ValueError, "'sum'", "3 and 2", "'concat'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refusals(case):
    act, kind, *words = WRONG[case]
    with refused(kind, *words):
        act()


# -- layers nobody wrote -------------------------------------------------------------------------


def nested(kind, around, inputs, rate):
    """A cell with modifiers around it, the first of them innermost."""
    cell = KINDS[kind](inputs)
    for k, name in enumerate(around):
        if name == "residual" and cell.inputs != cell.outputs:
            continue
        cell = AROUNDS[name](cell, rate, k)
    return cell


KINDS = {name: GIVEN[name] for name in GIVEN if name not in ("irnn", "lstm, torch")}
AROUNDS = {
    "residual": lambda cell, p, seed: nn.Residual(cell),
    "skip": lambda cell, p, seed: nn.TimeSkip(cell, 1 + seed % 3),
    "learned": lambda cell, p, seed: nn.LearnedState(cell),
    "clipped": lambda cell, p, seed: nn.ClipGradient(cell, norm=0.5),
    "kept": lambda cell, p, seed: nn.Zoneout(cell, **{cell.state[0]: p}, rng=seed).eval(),
    "zoneout": lambda cell, p, seed: nn.Zoneout(cell, **{cell.state[-1]: p}, rng=seed),
    "feedforward": lambda cell, p, seed: nn.FeedforwardDropout(cell, p, rng=seed),
    "variational": lambda cell, p, seed: nn.VariationalDropout(
        cell, inputs=p * (seed % 2), state=p, per_gate=seed > 1, rng=seed
    ),
    "drop connect": lambda cell, p, seed: (
        nn.DropConnect(cell, p, rng=seed) if cell.links.get("h") else nn.LearnedState(cell)
    ),
}

FEW = ["rnn", "lstm", "gru", "own"]  # what takes least time to compile


def nests(kinds, least):
    """A cell and at least so many modifiers, up to three."""
    around = st.lists(st.sampled_from(sorted(AROUNDS)), min_size=least, max_size=3)
    return st.tuples(st.sampled_from(sorted(kinds)), around)


def layers(most, merges, cells):
    """How a layer is made, of so many cells at most."""
    return st.fixed_dictionaries({
        "nests": st.lists(cells, min_size=1, max_size=most),
        "merge": st.sampled_from(merges),
        "rate": st.sampled_from([0.4, 0.4, 0.4, 0.0, 1.0]),
        "dropout": st.sampled_from([0.0, 0.4]),
        "readout": st.sampled_from(["all", "all", *nn.recurrent.READOUTS]),
        "pad": st.sampled_from(["zero", "hold"]),
        "reverse": st.booleans(),
        "checkpoint": st.sampled_from([None, None, "sqrt", 1]),
        "batch_first": st.booleans(),
    })  # fmt: skip


calls = st.fixed_dictionaries({
    "steps": st.sampled_from([5, 5, 5, 2, 1, 0]),
    "batch": st.sampled_from([3, 3, 3, 1, 0]),
    "counts": st.sampled_from(["all", "lengths", "mask"]),
    "reset": st.booleans(),
    "state": st.booleans(),
    "rubbish": st.sampled_from(GARBAGE),
    "seed": st.integers(0, 99),
})  # fmt: skip


def layer_of(how, unroll):
    """Cells in one direction or both: the same numbers and masks at every call."""
    cells, inputs = [], H
    for kind, around in how["nests"]:
        two = [nested(kind, around, inputs, how["rate"]) for _ in range(2 if how["merge"] else 1)]
        merge = (lambda f, b: f * 2 + tg.exp(b)) if how["merge"] == "own" else how["merge"]
        cells.append(nn.Bidirectional(*two, merge=merge) if how["merge"] else two[0])
        inputs = cells[-1].outputs
    words = ("readout", "pad", "reverse", "checkpoint", "batch_first", "dropout")
    return randomised(nn.Recurrent(*cells, rng=9, unroll=unroll, **{k: how[k] for k in words}))


def call_of(how, call):
    """What a layer is called with: leaves and options, with rubbish where nothing counts."""
    steps, batch, rng = call["steps"], call["batch"], np.random.default_rng(call["seed"])
    xs, valid = rng.normal(size=(steps, batch, H)), rng.random((steps, batch)) < 0.6
    lengths = rng.integers(0, steps + 1, batch)
    if call["counts"] == "lengths":
        valid = np.arange(steps)[:, None] < lengths
    turn = (lambda x: x.swapaxes(0, 1)) if how["batch_first"] else (lambda x: x)
    words = {"lengths": {"lengths": lengths}, "mask": {"mask": turn(valid)}, "all": {}}
    words = words[call["counts"]]
    if words:
        xs = np.where(valid[..., None], xs, call["rubbish"])
    if call["reset"]:
        words["reset"] = turn(rng.random((steps, batch)) < 0.3)
    return leaf(turn(xs)), words, turn(valid) if call["counts"] != "all" else None


def outcome(how, call, unroll, second):
    """Everything a layer gives and every gradient, first and second, as arrays."""
    layer = layer_of(how, unroll)
    xs, words, valid = call_of(how, call)
    state = [first_state(cell, call["batch"]) for cell in layer.cells] if call["state"] else None
    answers = flat(layer(xs, state, return_states=True, return_gates=True, **words))
    leaves = [x for x in [xs, *flat(state or ()), *layer.parameters()] if x.size]
    rng = np.random.default_rng(3)
    loss = sum((y * rng.normal(size=y.shape)).sum() for y in answers)
    if not loss.tracked:
        return [y.data for y in answers]
    first = derived(loss, leaves, retain_graph=second)
    if valid is not None and xs.size:
        assert not first[0].data[~valid].any()
    found = [y.data for y in (*answers, *first)]
    if second:
        first = derived(loss, leaves, create_graph=True)
        turned = sum((g * rng.normal(size=g.shape)).sum() for g in first)
        found += [g.data for g in derived(turned, leaves)] if turned.tracked else []
    return found


def derived(y, leaves, **how):
    """Gradients, zeros for what was not used."""
    found = tg.grad(y, leaves, allow_unused=True, **how)
    none = lambda x: tg.tensor(np.zeros(x.shape))
    return [none(x) if g is None else g for x, g in zip(leaves, found, strict=True)]


def check_layer(how, call, second=False):
    compiled, unrolled = (outcome(how, call, unroll, second) for unroll in (False, True))
    for a, b in zip(compiled, unrolled, strict=True):
        assert np.isfinite(b).all()
        close(a, b)


@settings(max_examples=8, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
@given(layers(1, [None, None, None, "own"], nests(FEW, 1)), calls, st.booleans())
def test_P01_layers_nobody_wrote(how, call, second):
    """A loop is its steps: values, states, gates, gradients, and second ones, to 1e-12."""
    note(f"{how} {call}")
    with uncompiled():
        check_layer(how, call, second)


class Rooted(nn.Cell):
    """A cell whose slope at 0 is infinite."""

    def __init__(self):
        self.inputs, self.hidden, self.dtype = 2, 2, np.dtype(np.float64)
        self.w = tg.tensor(np.array([0.5, 2.0]), requires_grad=True)

    def step(self, x, h):
        return tg.sqrt(x * self.w) + 0.5 * h


@pytest.mark.parametrize("layers", [1, 2])
def test_C09_padding_reads_what_the_row_has_read(layers):
    """Zeros there would have an infinite slope, and 0 times that is NaN."""
    xs = np.random.default_rng(0).uniform(0.5, 1, (4, 2, 2))
    xs[2:, 0] = np.nan
    cells = [Rooted() for _ in range(layers)]
    ys, _ = nn.Recurrent(*cells, unroll=True)(xs, lengths=[2, 4])
    ys.sum().backward()
    found = [cell.w.grad.data for cell in cells]
    for cell in cells:
        cell.zero_grad()
    for b, n in enumerate([2, 4]):
        nn.Recurrent(*cells, unroll=True)(xs[:n, b])[0].sum().backward()
    for cell, g in zip(cells, found, strict=True):
        np.testing.assert_allclose(g, cell.w.grad.data, rtol=1e-12)


class Narrow(nn.Cell):
    """Its steps go up by about 1, and have no derivative where a row has come to its room, x[0]."""

    def __init__(self):
        self.inputs, self.hidden, self.dtype = 2, 2, np.dtype(F8)
        self.w, self.highest = leaf(normal(2)), -np.inf

    def step(self, x, h):
        if not mode.recording:
            self.highest = max(self.highest, h.data.max())
        return h + 1 + 0.001 * tg.sqrt(x[:, :1] - h) * self.w


NARROW = {
    "alone": Narrow,
    "kept": lambda: nn.Zoneout(Narrow(), h=0.3).eval(),
    "skip": lambda: nn.TimeSkip(Narrow(), 2),
    "learned": lambda: nn.LearnedState(Narrow()),
    "clipped": lambda: nn.ClipGradient(nn.Residual(Narrow()), norm=1e3),
    "both": lambda: nn.Bidirectional(Narrow(), Narrow()),
}


def cramped(part, state, valid, reset):
    """Inputs with room for the steps of each row that count and not one more; else inf and NaN."""
    room = np.full(B, 50.0)
    cells = [m for m in part.modules() if isinstance(m, Narrow)]
    for b in range(B):
        with tg.no_grad():
            xs = leaf(np.full((T, 1, 2), 50.0))
            rows = (valid[:, b : b + 1], reset[:, b : b + 1])
            expected_of(part, xs, [s[b : b + 1].detach() for s in state], *rows)
        if valid[:, b].any():
            room[b] = max(cell.highest for cell in cells) + 0.1
        for cell in cells:
            cell.highest = -np.inf
    xs = np.repeat(np.broadcast_to(room, (T, B))[..., None], 2, axis=2)
    return np.where(valid[..., None], xs, np.where(np.arange(2), np.inf, np.nan))


@pytest.mark.parametrize("name, unroll", [*((name, True) for name in NARROW), ("alone", False)])
@pytest.mark.parametrize("situation", ["gaps", "gaps and resets"])
def test_C09_what_would_come_after_a_rows_end_reaches_nothing(name, unroll, situation):
    """Not even as inf · 0, where one step more has no derivative: slopes are those of each row."""
    part, (valid, reset) = NARROW[name](), SITUATIONS[situation]
    state = first_state(part)
    xs = leaf(cramped(part, state, valid, reset))
    leaves = [xs, *state, *part.parameters()]
    ys, end = part(xs, state, mask=valid, reset=reset, unroll=unroll)
    expected_ys, expected_end, _ = expected_of(part, xs, state, valid, reset)
    found, expected = [ys, *end], [expected_ys, *expected_end]
    each(close, found, expected)
    slopes = gradients(found, leaves)
    each(close, slopes, gradients(expected, leaves))
    assert all(np.isfinite(plain(g)).all() for g in slopes)


def drawing():
    return nn.Zoneout(Narrow(), h=0.2, rng=0)


@pytest.mark.parametrize("readout", ["last", "mean", "sum", "max"])
def test_C09_readouts_and_layers_above_see_nothing_of_the_padding(readout):
    """Two layers of cells without room, either way, with chance in them: all slopes are finite."""
    merge = lambda f, b: (f + b) * 0.5
    one, two = (nn.Bidirectional(c, Narrow(), merge=merge) for c in (Narrow(), drawing()))
    layer = nn.Recurrent(two, nn.Residual(nn.LSTM(2, 2, dtype=F8, rng=0)), readout=readout)
    layer.unroll, zeros = True, [tg.tensor(np.zeros((B, 2)))] * 2
    xs = leaf(cramped(one, zeros, GAPS, ~EVERY))
    y, _ = layer(xs, mask=GAPS)
    assert np.isfinite(y.data).all()
    for g in gradients(y, [xs, *layer.parameters()]):
        assert np.isfinite(plain(g)).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("steps", [5, 300, 1100])
def test_P01_a_mean_over_time_does_not_depend_on_batch_mates(steps, dtype):
    """To the bit: of one feature or more, few rows or many, alone too."""
    for size in (1, 2, 3):
        for batch in (2, 7, 64):
            xs = normal(steps, batch, size).astype(dtype)
            whole, total = tg.mean(tg.tensor(xs), axis=0), tg.sum(tg.tensor(xs), axis=0)
            for b in range(0, batch, 5):
                same(tg.mean(xs[:, b : b + 1], axis=0)[0], whole[b])
                same(tg.mean(xs[:, b], axis=0), whole[b])
                same(tg.sum(tg.tensor(xs[:, b : b + 1]), axis=0, keepdims=True)[0, 0], total[b])


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_P01_one_feature_read_out_alone_is_that_of_the_batch(readout):
    layer = nn.Recurrent(nn.RNN(I, 1, rng=0), readout=readout, unroll=True)
    xs = normal(40, 3, I)
    whole, _ = layer(xs)
    for b in range(3):
        same(layer(xs[:, b : b + 1])[0][0], whole[b])


def test_B03_C05_lengths_of_the_other_layout_lead_to_batch_first():
    for first in (False, True):
        layer, xs = (
            nn.Recurrent(rnn(), batch_first=first),
            normal(*((7, 2) if first else (2, 7)), I),
        )
        with refused(ValueError, "lengths", "T=2, B=7", f"batch_first={not first}"):
            layer(xs, lengths=[7, 3])
    with pytest.raises(ValueError) as caught:
        rnn()(normal(7, 2, I), lengths=[7, 3, 1])
    assert "batch_first" not in str(caught.value)


def test_M10_an_exception_in_a_step_names_its_time_and_its_layer():
    class Late(Own):
        def step(self, x, a, b):
            if x.data[0, 0] == 3:
                raise ZeroDivisionError("in the user's step")
            return super().step(x, a, b)

    xs = np.arange(5.0)[:, None, None] * np.ones((1, 1, H))
    with pytest.raises(ZeroDivisionError) as caught:
        nn.Recurrent(Late(H), unroll=True, reverse=True)(xs)
    assert caught.value.__notes__ == ["in a step at layer0/t=3"]
    with pytest.raises(ZeroDivisionError) as caught:
        tg.unroll(lambda x, h: h + 1 // int(x.item()), 1.0, np.array([1.0, 0.0]))
    assert caught.value.__notes__ == ["in a step at t=1"]


def test_one_set_of_weights_in_several_places_when_asked_for():
    """The same cell thrice is three cells of the same weights; gradients add up."""
    cell = randomised(rnn(H))
    twins = [randomised(rnn(H)) for _ in range(3)]
    xs = leaf(normal(T, B, H))
    shared = nn.Recurrent(*[cell] * 3, share=True, unroll=True)
    ys, zs = (part(xs)[0] for part in (shared, nn.Recurrent(*twins, unroll=True)))
    close(ys, zs)
    assert len(shared.parameters()) == len(cell.parameters())
    found = gradients(ys, cell.parameters())
    apart = gradients(zs, [x for twin in twins for x in twin.parameters()])
    count = len(found)
    each(close, found, [sum(plain(g) for g in apart[k::count]) for k in range(count)])
    both = nn.Bidirectional(cell, cell, share=True)
    assert both(xs, unroll=True)[0].shape == (T, B, 2 * H)


class Echo(nn.Cell):
    """It gives what it reads, times a weight."""

    def __init__(self):
        self.inputs = self.hidden = 1
        self.dtype, self.w = np.dtype(F8), leaf([1.0])

    def step(self, x, h):
        return x * self.w


@pytest.mark.parametrize("above", [False, True])
def test_C09_a_merge_without_a_derivative_in_the_padding_reaches_nothing(above):
    """From the end nothing has been read there, and that has no inverse."""
    with np.errstate(all="ignore"):
        both = nn.Bidirectional(Echo(), Echo(), merge=lambda f, b: f + 1 / b)
    xs = leaf(np.array([2.0, 1.5, 1.0, 7.0])[:, None, None])
    layer = nn.Recurrent(both, *[Echo()] * above, unroll=True)
    with np.errstate(all="ignore"):
        state = [tuple(leaf(np.zeros((1, 1))) for _ in cell.state) for cell in layer.cells]
        y, _ = layer(xs, state, lengths=[3])
        slopes = gradients(y, [xs, *layer.parameters(), *flat(state)])
    close(y.data[:3, 0, 0], xs.data[:3, 0, 0] + 1 / xs.data[:3, 0, 0])
    assert all(np.isfinite(plain(g)).all() for g in slopes) and not plain(slopes[0])[3].any()


# -- states, outputs and gates that are no rows of numbers ----------------------------------------


class Fast(nn.Cell):
    """Fast weights: each row has a matrix of its own, and there are as many rows as columns."""

    state, inputs, hidden, dtype = ("h", "S"), H, H, F8

    def begin(self, batch):
        return tg.zeros((batch, H)), tg.zeros((batch, H, H))

    def step(self, x, h, S):
        S = 0.9 * S + x[:, :, None] * x[:, None]
        nn.gates(one=tg.sigmoid(x.sum(axis=1)), every=S * 2)
        return tg.tanh(x + (S @ h[:, :, None])[:, :, 0]), S


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("rows", [H, T, 2])
def test_C09_a_state_of_matrices_sees_no_padding(rows, unroll):
    xs, own, cell = normal(T, rows, H), np.arange(rows) % T + 1, Fast()
    ys, end, gates = cell(xs, lengths=own, return_gates=True, unroll=unroll)
    for b, n in enumerate(own):
        y, (h, S), alone = cell(xs[:n, b : b + 1], return_gates=True)
        each(close, (ys[:n, b], end[0][b], end[1][b]), (y[:, 0], h[0], S[0]))
        for name, gate in gates.items():
            close(gate[:n, b], alone[name][:, 0])
            assert not plain(gate)[n:, b].any()


def test_a_state_of_matrices_begins_again_and_is_given_back():
    xs, cell, again = normal(T, H, H), Fast(), RESETS[:, :H]
    _, end = cell(xs, reset=again)
    for b in range(H):
        state = None
        for t in range(T):
            _, state = cell(xs[t : t + 1, b : b + 1], None if again[t, b] else state)
        each(close, (end[0][b], end[1][b]), (state[0][0], state[1][0]))
    whole, first = cell(xs, end)[0], (end[0][0], end[1][0])
    close(cell(xs[:, 0], first)[0], whole[:, 0])


OUTPUTS = {
    "a matrix": lambda cell, x, h: h[:, :, None] * h[:, None],
    "a number": lambda cell, x, h: h.sum(axis=1),
    "flags": lambda cell, x, h: h > 0,
    "whole numbers": lambda cell, x, h: tg.astype(h * 10, dtype=np.int64),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_of_any_shape_are_read_row_by_row(kind):
    class Shown(nn.RNN):
        output = OUTPUTS[kind]

    cell, xs, own = Shown(H, H, rng=0, dtype=F8), normal(T, T, H), np.array([3, 1, 5, 2, 4])
    reads = {"last": lambda y: y[-1], "max": lambda y: y.max(0), "mean": lambda y: y.mean(0),
             "sum": lambda y: y.sum(0)}  # fmt: skip
    with uncompiled():
        whole = plain(cell(xs)[0])
        held = plain(cell(xs, lengths=own, pad="hold")[0])
        rows = [plain(cell(xs[:n, b : b + 1])[0])[:, 0] for b, n in enumerate(own)]
        for b, n in enumerate(own):
            close(held[:n, b], rows[b])
            close(held[n:, b], np.repeat(rows[b][-1:], T - n, axis=0))
        for readout, read in reads.items():
            each(close, plain(cell(xs, readout=readout)[0]), read(whole))
            found = plain(cell(xs, lengths=own, readout=readout)[0])
            each(close, found, np.stack([read(row) for row in rows]))


def test_what_has_no_batch_in_front_is_refused_where_rows_differ():
    class Alone(nn.RNN):
        output = lambda cell, x, h: h.sum()

    cell, xs = Alone(I, H, rng=0, dtype=F8), normal(T, B, I)
    with uncompiled():
        for how in ({}, {"batch_first": True}):
            assert cell(np.swapaxes(xs, 0, 1) if how else xs, **how)[0].shape == (T,)
        with refused(ValueError, "have the batch, 4, in front, got shape ()"):
            cell(xs, lengths=LENGTHS)


class Count(nn.RNN):
    """One that counts its steps."""

    state = ("h", "n")

    def begin(self, batch):
        return super().begin(batch)[0], tg.tensor(np.zeros((batch, 1), np.int64))

    def step(self, x, h, n):
        return super().step(x, h), n + 1


def test_a_state_that_counts_is_given_back():
    cell, xs = Count(I, H, rng=0, dtype=F8), normal(T, B, I)
    _, (h, n) = cell(xs)
    same(cell(xs, (h, n))[1][1], np.full((B, 1), 2 * T))
    same(cell(xs, (h, [[k] for k in range(B)]))[1][1], np.arange(T, T + B)[:, None])
    with refused(TypeError, "n: expected int64, as begin() gives, got float64"):
        cell(xs, (h, tg.zeros((B, 1))))


def test_what_is_around_a_cell_takes_its_states_as_they_are():
    xs = normal(T, H, H)
    with uncompiled():
        learned = nn.LearnedState(Fast())
        assert [x.shape for x in learned.start.values()] == [(H,), (H, H)]
        each(close, learned(xs)[1], Fast()(xs)[1])
        assert nn.TimeSkip(Fast(), 3)(xs)[1][2].shape == (H, H)
        counted = nn.LearnedState(Count(I, H, rng=0, dtype=F8))
        assert [*counted.start] == ["h"]
        same(counted(normal(T, B, I))[1][1], np.full((B, 1), T))
        tg.lab.assert_agree(Count(I, H, rng=0, dtype=F8))
    assert str(tg.equations(Fast())).startswith("Fast: x (B, 3), h (B, 3), S (B, 3, 3)\n")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_reset_where_nothing_counts_waits_for_the_next_step_that_does(reverse):
    """The state stays what it is until then, also as return_states gives it."""
    cell = nn.RNN(1, 1, rng=0, dtype=np.float64)
    mask = np.array([[1], [0], [0], [1], [1]], bool)
    reset = np.array([[0], [0], [1], [0], [0]], bool)
    xs = np.ones((5, 1, 1))
    if reverse:  # a reset at t parts t-1 from t
        mask, reset = mask[::-1], np.array([[0], [0], [0], [1], [0]], bool)
    layer = nn.Recurrent(cell, reverse=reverse)
    _, _, (states,) = layer(xs, mask=mask, reset=reset, return_states=True)
    found = states["h"].data.ravel()[:: -1 if reverse else 1]
    first, second = cell(np.ones((2, 1, 1)))[0].data.ravel()
    np.testing.assert_allclose(found, [first, first, first, first, second], rtol=1e-12)
