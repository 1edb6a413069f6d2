"""Scan: a compiled loop is the steps run one by one, in everything that can be asked of it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.scan import loop, machine
from tinygrad_rnn.scan.step import Step, trace

H, INPUTS = 4, 3


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def weight(seed, *shape, name="W"):
    return tg.Tensor(0.5 * numbers(seed, *shape), requires_grad=True, name=name)


W, U, V = weight(1, INPUTS, H, name="W"), weight(2, H, H, name="U"), weight(3, H, H, name="V")
b = weight(4, H, name="b")


# -- scan and unroll, compared ------------------------------------------------------------------


def everything(step, carry, xs, parameters, second, **how):
    """Values, first derivatives by `grad` and by `backward`, second derivatives."""
    rng = np.random.default_rng(9)
    leaf = lambda x: tg.Tensor(x, requires_grad=np.asarray(x).dtype.kind == "f")
    state, inputs = [leaf(c) for c in carry], [leaf(x) for x in xs]
    given_xs = None if not xs else inputs[0] if len(xs) == 1 else tuple(inputs)
    leaves = [x for x in [*state, *inputs, *parameters] if x.tracked]
    run = lambda: tg.scan(step, state, given_xs, **how)
    results = run()
    found = [y.data for y in results]
    floats = [y for y in results if y.dtype.kind == "f"]
    coefficients = [rng.normal(size=y.shape).astype(y.dtype) for y in floats]
    loss = sum(((y * y * 0.5 + y) * k).sum() for y, k in zip(floats, coefficients, strict=True))
    for x in leaves:
        x.grad = None
    sum((y * k).sum() for y, k in zip(run_floats(run), coefficients, strict=True)).backward()
    found += [0.0 if x.grad is None else x.grad.data for x in leaves]
    if second:
        first = tg.grad(loss, leaves, create_graph=True, allow_unused=True)
        found += [0.0 if g is None else g.data for g in first]
        bend = sum((g * g).sum() for g in first if g is not None)
        if isinstance(bend, tg.Tensor) and bend.tracked:
            curves = tg.grad(bend, leaves, allow_unused=True)
            found += [0.0 if g is None else g.data for g in curves]
    return found


def run_floats(run):
    return [y for y in run() if y.dtype.kind == "f"]


def check(step, carry, xs, parameters=(), *, tolerance=1e-12, second=True, **how):
    """scan == unroll, relative to the largest entry."""
    compiled = everything(step, carry, xs, parameters, second, **how)
    expected = everything(step, carry, xs, parameters, second, unroll=True, **how)
    assert len(compiled) == len(expected)
    for k, (x, y) in enumerate(zip(compiled, expected, strict=True)):
        x, y = np.asarray(x), np.asarray(y)
        if np.shape(x) and np.shape(y):
            assert x.shape == y.shape and x.dtype == y.dtype, k
        size = max(1.0, float(np.abs(y).max())) if y.size else 1.0
        error = np.abs(x - y) / size
        assert np.all(error <= tolerance) if error.size else True, (k, error.max())


@pytest.fixture
def split(monkeypatch):
    """Two threads, however little there is to do."""
    threads = tg.get_num_threads()
    monkeypatch.setattr(machine, "SHORT", -1)
    tg.set_num_threads(2)
    yield
    tg.set_num_threads(threads)


f64 = np.float64
LIBRARY = {
    "RNN": lambda I, H: nn.RNN(I, H, dtype=f64, rng=0),
    "RNN relu": lambda I, H: nn.RNN(I, H, activation="relu", bias=2, dtype=f64, rng=0),
    "RNN own": lambda I, H: nn.RNN(I, H, activation=lambda a: tg.tanh(a) + a * 0.1, bias=0,
                                   dtype=f64, rng=0),
    "LSTM": lambda I, H: nn.LSTM(I, H, dtype=f64, rng=0),
    "LSTM without bias": lambda I, H: nn.LSTM(I, H, bias=False, dtype=f64, rng=0),
    "GRU": lambda I, H: nn.GRU(I, H, dtype=f64, rng=0),
    "GRU with bias": lambda I, H: nn.GRU(I, H, bias=True, dtype=f64, rng=0),
}  # fmt: skip
SIZES = [  # T, B, I, H, and how
    (17, 3, 5, 7, {}),
    (1, 1, 5, 7, {"reverse": True}),
    (2, 0, 5, 7, {"checkpoint": 1}),
    (0, 3, 5, 7, {}),
    (5, 9, 5, 7, {"checkpoint": "sqrt"}),
    (6, 9, 5, 7, {"checkpoint": 4, "reverse": True}),
    (3, 4, 4, 4, {"reverse": True}),
]


@pytest.mark.parametrize("name", LIBRARY)
def test_cells_of_the_library(name, split):
    for T, B, I, H, how in SIZES:
        cell = LIBRARY[name](I, H)
        carry = [numbers(k, B, H) for k in range(len(cell.state))]
        check(cell.step, carry, [numbers(7, T, B, I)], list(cell.parameters()), **how)


# -- cells of one's own ---------------------------------------------------------------------------

W4, U4, b4 = weight(5, INPUTS, 4 * H), weight(6, H, 4 * H), weight(7, 4 * H)
peep_i, peep_f, peep_o = weight(8, H), weight(9, H), weight(10, H)
scale, shift = weight(11, 4 * H), weight(12, 4 * H)
table = weight(13, 5, H)
left, left_x = weight(14, H, H), weight(15, H, INPUTS)
rate, bias = weight(16), weight(17)
plane = weight(18, 3, H)


def gates(a):
    return tg.split(a, 4)


def zoneout(x, mask_h, mask_c, h, c):
    i, f, g, o = gates(x @ W4 + h @ U4 + b4)
    new = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    out = tg.sigmoid(o) * tg.tanh(new)
    return mask_h * h + (1 - mask_h) * out, mask_c * c + (1 - mask_c) * new


def layer_norm(a):
    low = a - tg.mean(a, axis=-1, keepdims=True)
    return low / tg.sqrt(tg.mean(low * low, axis=-1, keepdims=True) + 1e-5) * scale + shift


def layer_norm_lstm(x, h, c):
    i, f, g, o = gates(layer_norm(x @ W4 + h @ U4))
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def peephole(x, h, c):
    i, f, g, o = gates(x @ W4 + h @ U4 + b4)
    new = tg.sigmoid(f + peep_f * c) * c + tg.sigmoid(i + peep_i * c) * tg.tanh(g)
    return tg.sigmoid(o + peep_o * new) * tg.tanh(new), new


def minimal_gated(x, h):
    f = tg.sigmoid(x @ W + h @ U)
    return (1 - f) * h + f * tg.tanh(x @ W + (f * h) @ V)


def lagged(x, h, s):
    """A linear memory that is only seen through h, one step later."""
    return tg.tanh(s @ V), s @ U + x @ W


def attention(x, h):
    return tg.tanh(tg.softmax(h @ h.T) @ h + x @ W)


def with_outputs(x, h):
    h = tg.tanh(h @ U + x @ W)
    return h, h * 2, h.sum(axis=-1), x, h @ V, h.T, h.mean()


def counted(x, k, h, n):
    return tg.tanh(h @ U + x @ W) * tg.astype(n + k, dtype=np.float64), n + 1


B = 3
OWN = {
    "zoneout LSTM": (zoneout, [(B, H), (B, H)], [(B, INPUTS), (B, H), (B, H)], [W4, U4, b4]),
    "layer-norm LSTM": (layer_norm_lstm, [(B, H), (B, H)], [(B, INPUTS)], [W4, U4, scale, shift]),
    "peephole LSTM": (peephole, [(B, H)] * 2, [(B, INPUTS)], [W4, U4, b4, peep_i, peep_f, peep_o]),
    "minimal gated unit": (minimal_gated, [(B, H)], [(B, INPUTS)], [W, U, V]),
    "lagged": (lagged, [(B, H), (B, H)], [(B, INPUTS)], [W, U, V]),
    "attention over the batch": (attention, [(B, H)], [(B, INPUTS)], [W]),
    "from the left": (lambda x, h: tg.tanh(left @ h + left_x @ x), [(H, B)], [(INPUTS, B)],
                      [left, left_x]),
    "one axis": (lambda x, h: tg.tanh(x @ W + h @ U), [(H,)], [(INPUTS,)], [W, U]),
    "one axis, left": (lambda x, h: tg.tanh(left_x @ x + left @ h), [(H,)], [(INPUTS,)],
                       [left, left_x]),
    "no axes": (lambda s: tg.tanh(rate * s + bias), [()], [], [rate, bias]),
    "no axes, with x": (lambda x, s: tg.tanh(rate * s + x), [()], [()], [rate]),
    "no inputs": (lambda s: tg.tanh(s @ U * rate), [(B, H)], [], [U, rate]),
    "three axes": (lambda x, h: tg.tanh(x @ W + h @ U), [(2, B, H)], [(2, B, INPUTS)], [W, U]),
    "a plane": (lambda x, h: tg.tanh(x @ W + h * plane) + plane, [(B, H)], [(B, INPUTS)],
                [W, plane]),
    "outputs": (with_outputs, [(B, H)], [(B, INPUTS)], [U, W, V]),
    "handed on": (lambda x, h, c: (tg.tanh(h @ U + x @ W + c), c), [(B, H)] * 2, [(B, INPUTS)],
                  [U, W]),
    "swapped": (lambda h, c: (c, tg.tanh(h)), [(B, H)] * 2, [], []),
    "swapped as they are": (lambda h, c: (c, h, h * c), [(B, H)] * 2, [], []),
    "in a ring": (lambda p, q, r: (q * 2, r[:, ::-1], tg.tanh(p)), [(B, H)] * 3, [], []),
    "an input": (lambda x, h: (tg.tanh(h @ U), x), [(B, H)], [(B, H)], [U]),
    "the input as state": (lambda x, h: (x, h), [(B, H)], [(B, H)], []),
    "x unused": (lambda x, h: tg.tanh(h @ U), [(B, H)], [(B, INPUTS)], [U]),
    "state unused": (lambda x, h: tg.tanh(x @ W), [(B, H)], [(B, INPUTS)], [W]),
    "a constant": (lambda x, h: (h * 0.5, plane, tg.Tensor(0.7)), [(B, H)], [(B, H)], [plane]),
    "weights made in it": (lambda x, h: tg.tanh(x @ (W * 2) + h @ (U.T * U)), [(B, H)],
                           [(B, INPUTS)], [W, U]),
    "detached": (lambda x, h: tg.tanh(h.detach() * h + x @ W), [(B, H)], [(B, INPUTS)], [W]),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_cells_of_ones_own(name, split):
    step, carry, xs, parameters = OWN[name]
    carry = [numbers(k, *shape) for k, shape in enumerate(carry)]
    for T, how in [(5, {}), (4, {"reverse": True, "checkpoint": "sqrt"})]:
        inputs = [numbers(k + 5, T, *shape) for k, shape in enumerate(xs)]
        length = {} if xs else {"length": T}
        check(step, carry, inputs, parameters, **how, **length)


def test_whole_numbers_as_state_and_input(split):
    whole = np.random.default_rng(0).integers(0, 5, (6, 9, 1))
    carry = [numbers(0, 9, H), np.ones((9, 1), np.int64)]
    check(counted, carry, [numbers(1, 6, 9, INPUTS), whole], [U, W])


def test_rows_of_a_table(split):
    index = np.random.default_rng(0).integers(0, 5, (6, 9))
    step = lambda k, h: tg.tanh(h @ U + tg.embedding(table, k))
    check(step, [numbers(0, 9, H)], [index], [table, U])
    check(step, [numbers(0, 9, H)], [index], [table, U], reverse=True, checkpoint=2)
    for wrong in (-1, 5):
        index[3, 2] = wrong
        with pytest.raises(IndexError, match="expected 0 <= index < 5"):
            tg.scan(step, tg.Tensor(numbers(0, 9, H)), index)


def test_a_weight_computed_outside():
    made = W * 2
    step = lambda x, h: tg.tanh(x @ made + h @ U)
    x, h = tg.Tensor(numbers(0, 5, B, INPUTS)), tg.Tensor(numbers(1, B, H))
    found = [
        tg.grad(tg.scan(step, h, x, unroll=way)[0].sum(), W, retain_graph=True).data
        for way in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_float32_and_narrow_numbers():
    cell = nn.LSTM(INPUTS, H, rng=0)
    carry = [numbers(k, B, H).astype(np.float32) for k in range(2)]
    xs = [numbers(3, 30, B, INPUTS).astype(np.float32)]
    check(cell.step, carry, xs, list(cell.parameters()), tolerance=2e-5)
    begin = [np.full((2, 3), 100, np.int8), np.ones((2, 3), np.uint16), np.array([True, False])]
    step = lambda n, m, flag: (n + 1, m * 3, tg.not_equal(flag, n.max() > m.astype(np.int32).min()),
                               n.sum(), tg.minimum(n, 2), -n)  # fmt: skip
    step(*map(tg.Tensor, begin))
    check(step, begin, [], length=60)


def test_an_outer_scan():
    inner = lambda h: tg.scan(lambda s: tg.tanh(s @ U), h, None, length=3)[0][-1]
    check(lambda x, h: inner(h) + x @ W, [numbers(0, B, H)], [numbers(1, 4, B, INPUTS)], [U, W])


def test_no_steps():
    step = lambda x, h: (tg.tanh(h @ U + x @ W), h.sum(axis=1), h > 0)
    out = tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 0, B, INPUTS))
    assert [(y.shape, y.dtype) for y in out] == [
        ((0, B, H), np.float64), ((0, B), np.float64), ((0, B, H), np.bool_)
    ]  # fmt: skip


# -- every op ---------------------------------------------------------------------------------------

real = lambda c: c.astype(np.float64)
column = lambda x: x.reshape(len(x), 1)
whole = lambda x: (x * 3).astype(np.int64)


def waves(h):
    a = tg.tanh(tg.abs(h) - tg.exp(-h * h) + tg.log(h * h + 1.2))
    a = tg.relu(a) + tg.sigmoid(a) + tg.softplus(a) * tg.sign(h) + (a * a + 0.1) ** 0.5
    return tg.tanh(a - 2.0**a / (a * a + 1.5) + tg.sqrt(a * a + 0.2) + a**3 + (h * h + 1) ** h)


def choices(h):
    a = tg.where(h > 0.1, h * 2, tg.where(h <= -0.3, U[0], h - 1))
    a = a + real(h < 0) * real(tg.less_equal(h, 1)) - real(tg.greater(h, a))
    a = tg.maximum(a, h * h) + tg.minimum(a, 0.3) * real(tg.not_equal(h, 0))
    return tg.tanh(a + real(tg.equal(h, h.max(axis=1, keepdims=True))) * real(h >= 0.2))


def rows(h):
    a = h - h.sum(axis=1, keepdims=True) + h.max(axis=-1, keepdims=True) * h.min(axis=1)[:, None]
    a = tg.softmax(a) + tg.log_softmax(h) * 0.1 + column(tg.logsumexp(h)) - tg.mean(a, -1, True)
    return tg.tanh(a + tg.expand(h[:, :1], shape=h.shape) + tg.sum_to(h, shape=(len(h), 1)))


def columns(h):
    a = h - h.sum(axis=0) + h.max(axis=0) * h.min() - tg.mean(h) + h.max()
    a = a + tg.sum_to(h, shape=(1, H)) + tg.sum_to(h, shape=(H,)) - h.mean(axis=(0, 1))
    return tg.tanh(a * tg.softmax(h, axis=0) + tg.log_softmax(h, axis=0) + tg.logsumexp(h, axis=0))


def pieces(h):
    p, q = tg.split(h, 2)
    r, s = tg.split(h, [1, 3])
    a = tg.concat([q, p], axis=1) + tg.concat([r, s], axis=-1)[:, ::-1]
    a = a + tg.stack([h[:, 3], h[:, 0], a[:, 1], h[:, 2]], axis=1) * h[:, 1:2]
    a = a + tg.stack(tg.unstack(h, axis=1)[::-1], axis=1) + h[..., -1:]
    return tg.tanh(a * 0.5 + tg.flip(h, axis=1) + tg.concat([h[:, ::2], h[:, 1::2]], axis=1))


def across(h):
    a = tg.concat([h[1:], h[:1]], axis=0) + tg.stack(tg.unstack(h)[::-1]) + tg.flip(h) * h[0]
    first, rest = tg.split(a, [1, len(h) - 1], axis=0)
    return tg.tanh(tg.concat([rest, first], axis=0) + tg.stack([h, a]).sum(axis=0))


def turns(h):
    n = len(h)
    a = tg.swapaxes(h, axis1=0, axis2=1).T * 2 + h.reshape(n, 2, 2).transpose(0, 2, 1).reshape(n, H)
    a = a + h.T.reshape(n, H) + (h[:, None, :] + h[:, :, None]).sum(axis=1)
    return tg.tanh(a + tg.expand(h, shape=(2, n, H)).sum(axis=0) - column(h.reshape(n, 2, 2)[:, 0, 1]))


def products(h):
    a = h @ U + h @ V.T + column(h @ U[0]) + h @ h.T @ h
    outer = h.reshape(len(h), H, 1) @ h.reshape(len(h), 1, H)
    return tg.tanh(a + (h.reshape(len(h), 1, H) @ outer).reshape(len(h), H) + h * h.detach())


def discrete(h):
    n, flags = whole(h), h > 0
    a = real(tg.maximum(n, 1) - tg.minimum(n, 2) * n**2 + tg.abs(-n) + tg.relu(n) * tg.sign(n))
    a = a + n / 2 + flags * h + real(flags.sum(axis=1, keepdims=True) + n.max(axis=1, keepdims=True))
    a = a + real(flags.max(axis=1, keepdims=True) * (h < 1)) + real(tg.where(flags, 1, 2) + n.min())
    return tg.tanh(h * a + real(flags + (h < -1)) - h.astype(np.int32) * h)


def reading(h):
    return tg.tanh(h * tg.mean_squared_error(h, h * 0.5) + h.astype(np.float32).astype(np.float64))


def no_past(h):
    with tg.no_grad():
        a = h * h
    return tg.tanh(a * h)


STEPS = [waves, choices, rows, columns, pieces, across, turns, products, discrete, no_past]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_every_op(step, split):
    tolerance = 1e-11 if step is products else 1e-12
    for batch, how in [(9, {}), (2, {"reverse": True, "checkpoint": "sqrt"})]:
        check(step, [numbers(0, batch, H)], [], [U, V], length=3, tolerance=tolerance, **how)


def test_reading_through_float32():
    check(reading, [numbers(0, B, H)], [], length=2, tolerance=1e-6)


UNSUPPORTED = {
    "take": lambda h: h[:, [1, 0, 3, 3]] * 0.5,
    "cross_entropy": lambda h: tg.tanh(h * tg.cross_entropy(h, np.array([0, 1, 3]))),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_has_no_compiled_form_runs_unrolled(name):
    step, carry = UNSUPPORTED[name], tg.Tensor(numbers(0, B, H), requires_grad=True)
    loop._programs.clear()
    with pytest.warns(tg.ScanWarning, match="no compiled form, so the steps run one by one") as one:
        (y,) = tg.scan(step, carry, None, length=3)
    assert len(one) == 1
    check(step, [numbers(0, B, H)], [], length=3)  # and once is enough
    assert y.tracked


def test_every_op_was_in_a_step():
    """The ops of the library are found on their own: a new one needs a step above."""
    modules = [m for m in vars(tg.ops).values() if isinstance(m, types.ModuleType)]
    known = {op for m in modules for op in vars(m).values() if isinstance(op, tg.Op)}
    steps = [*STEPS, reading, *UNSUPPORTED.values(), lambda h: h + tg.embedding(table, h[:, 0] > 9)]
    seen = set()
    for step in steps[:-1]:
        made, results = trace(step, [], [tg.Tensor(numbers(0, B, H))])
        _, _, nodes = Step(made, results, 0).pull([True])
        seen |= {y.op for y in [*made.nodes, *nodes]}
    looked_up = lambda k, h: h + tg.embedding(table, k)
    index = tg.Tensor(np.zeros(B, np.int64))
    made, results = trace(looked_up, [index], [tg.Tensor(numbers(0, B, H))])
    seen |= {y.op for y in [*made.nodes, *Step(made, results, 1).pull([True])[2]]}
    assert {op.name for op in known - seen} <= {"cross_entropy_pull"}


# -- steps nobody wrote ------------------------------------------------------------------------------

PARTS = {  # of two arrays (B, H), one more
    "add": lambda p, q: p + q, "sub": lambda p, q: p - q * 0.3, "mul": lambda p, q: p * q,
    "div": lambda p, q: p / (q * q + 1.1), "tanh": lambda p, q: tg.tanh(p),
    "sigmoid": lambda p, q: tg.sigmoid(p + q), "exp": lambda p, q: tg.exp(-p * p),
    "log": lambda p, q: tg.log(p * p + 1.5), "relu": lambda p, q: tg.relu(p) - q,
    "softplus": lambda p, q: tg.softplus(p), "square": lambda p, q: p**2,
    "where": lambda p, q: tg.where(p > q, p, q * 0.5), "maximum": lambda p, q: tg.maximum(p, q),
    "minimum": lambda p, q: tg.minimum(p, q * 2), "product": lambda p, q: p @ U,
    "turned product": lambda p, q: p @ V.T, "two products": lambda p, q: p @ U + q @ V + b,
    "coupled": lambda p, q: p @ q.T @ p * 0.1, "softmax": lambda p, q: tg.softmax(p),
    "softmax down": lambda p, q: tg.softmax(p, axis=0), "logs": lambda p, q: tg.log_softmax(p) * 0.1,
    "mass": lambda p, q: q - column(tg.logsumexp(p)), "sum": lambda p, q: p - q.sum(-1, True) * 0.1,
    "sum down": lambda p, q: p - q.sum(axis=0) * 0.1, "sum all": lambda p, q: p + q.sum() * 0.1,
    "mean": lambda p, q: p - q.mean(axis=1, keepdims=True), "max": lambda p, q: p - q.max(1, True),
    "min down": lambda p, q: p - q.min(axis=0), "flip": lambda p, q: tg.flip(p, axis=1),
    "concat": lambda p, q: tg.concat([p[:, 1:3], q[:, :2]], axis=1),
    "halves": lambda p, q: tg.concat(tg.split(p, 2)[::-1], axis=1) + q,
    "stack": lambda p, q: tg.stack([p, q], axis=1).sum(axis=1),
    "unstack": lambda p, q: tg.stack([*tg.unstack(p, axis=1)[1:], q[:, 0]], axis=1),
    "reshape": lambda p, q: p.reshape(len(p), 2, 2).sum(axis=1) @ U[:2] + q,
    "transpose": lambda p, q: p.T.reshape(len(p), H) + q, "slice": lambda p, q: p[:, ::-1] * q[:, :1],
    "first row": lambda p, q: p * q[0], "plane": lambda p, q: p * b + q,
    "detach": lambda p, q: p.detach() * q, "flags": lambda p, q: q * (p > 0),
    "whole": lambda p, q: p * tg.astype(q * 2, dtype=np.int64), "power": lambda p, q: (p * p + 1) ** q,
}  # fmt: skip
part = st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=22, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
@given(
    st.lists(part, min_size=2, max_size=9), st.sampled_from([1, 3, 9]), st.booleans(),
    st.sampled_from([None, "sqrt", 1]), st.booleans(),
)  # fmt: skip
def test_steps_nobody_wrote(parts, batch, reverse, checkpoint, second_state):
    note(f"{parts} B={batch}")

    def step(x, *state):
        pool = [*state, x]
        for name, i, j in parts:
            pool.append(PARTS[name](pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]))
        new = [tg.tanh(y) for y in pool[-len(state) :]]
        return [*new, pool[-len(state) - 1] + pool[len(state)]]

    carry = [numbers(k, batch, H) for k in range(1 + second_state)]
    threads, short = tg.get_num_threads(), machine.SHORT
    tg.set_num_threads(2)
    machine.SHORT = -1
    try:
        check(step, carry, [numbers(5, 3, batch, H)], [U, V, b], tolerance=1e-10, reverse=reverse,
              checkpoint=checkpoint, second=len(parts) < 5)  # fmt: skip
    finally:
        tg.set_num_threads(threads)
        machine.SHORT = short
