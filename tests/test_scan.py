"""Scan: a compiled loop is the steps run one by one, in everything that can be asked of it."""

import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import types
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import caches, kernels, nn
from tinygrad_rnn.kernels import panels, text
from tinygrad_rnn.loops import compiled, entry, runtime
from tinygrad_rnn.loops.trace import Step, trace
from tinygrad_rnn.op import pointwise
from tinygrad_rnn.tensor import recording

H, INPUTS = 4, 3


def some_compiled(names, *chosen):
    """All names, of which the loops of some are compiled."""
    return [pytest.param(n, marks=[pytest.mark.compiled] * (n in chosen)) for n in names]


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def weight(seed, *shape, name="W"):
    return tg.Tensor(0.5 * numbers(seed, *shape), requires_grad=True, name=name)


W, U, V = weight(1, INPUTS, H, name="W"), weight(2, H, H, name="U"), weight(3, H, H, name="V")
b = weight(4, H, name="b")


# -- scan and unroll, compared --------------------------------------------------------------------


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
    pairs = zip(floats, coefficients, strict=True)
    loss = sum([((y * y * 0.5 + y) * k).sum() for y, k in pairs]) if leaves else None
    for x in leaves:
        x.grad = None
    if loss is not None:
        sum((y * k).sum() for y, k in zip(run_floats(run), coefficients, strict=True)).backward()
    found += [0.0 if x.grad is None else x.grad.data for x in leaves]
    if second and loss is not None:
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
        if y.dtype.kind != "f":
            assert np.array_equal(x, y) and x.dtype == y.dtype, k
            continue
        if np.shape(x) and np.shape(y):
            assert x.shape == y.shape and x.dtype == y.dtype, k
        size = max(1.0, float(np.abs(y).max())) if y.size else 1.0
        error = np.abs(x - y) / size
        assert np.all(error <= tolerance) if error.size else True, (k, error.max())


@pytest.fixture
def split(monkeypatch):
    """Two threads, however little there is to do, or as many as it is called with."""
    threads = tg.get_num_threads()
    monkeypatch.setattr(runtime, "SHORT", -1)
    tg.set_num_threads(2)
    yield tg.set_num_threads
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


@pytest.mark.parametrize("name", some_compiled(LIBRARY, "RNN", "LSTM", "GRU"))
def test_M05_M08_cells_of_the_library(name, split):
    for T, B, I, H, how in SIZES if name in ("LSTM", "GRU") else SIZES[:-1]:
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
plane = weight(18, 9, H)


def gates(a):
    return tg.split(a, 4, axis=-1)


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


B = 9  # enough for two threads
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
    "no axes": (lambda s: tg.tanh(rate * s + bias), [()], [], [rate, bias]),
    "three axes": (lambda x, h: tg.tanh(x @ W + h @ U), [(2, B, H)], [(2, B, INPUTS)], [W, U]),
    "outputs": (with_outputs, [(B, H)], [(B, INPUTS)], [U, W, V]),
    "handed on": (
        lambda x, h, c: (tg.tanh(h @ U + x @ W + c * plane), c, plane, tg.Tensor(0.7)),
        [(B, H)] * 2, [(B, INPUTS)], [U, W, plane],
    ),
    "no inputs": (lambda h: tg.tanh(h @ (U.T * U) * rate), [(B, H)], [], [U, rate]),
    "swapped as they are": (lambda h, c: (c, h, h * c), [(B, H)] * 2, [], []),
    "in a ring": (lambda p, q, r: (q * 2, r[:, ::-1], tg.tanh(p)), [(B, H)] * 3, [], []),
    "an input": (lambda x, h: (tg.tanh(h @ U), x), [(B, H)], [(B, H)], [U]),
    "the input as state": (lambda x, h: (x, h), [(B, H)], [(B, H)], []),
}  # fmt: skip


@pytest.mark.parametrize("name", some_compiled(OWN, "layer-norm LSTM", "in a ring"))
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


@pytest.mark.compiled
def test_rows_of_a_table(split):
    index = np.random.default_rng(0).integers(0, 5, (6, 9))
    step = lambda k, h: tg.tanh(h @ U + tg.embedding(table, k))
    check(step, [numbers(0, 9, H)], [index], [table, U])
    check(step, [numbers(0, 9, H)], [index], [table, U], reverse=True, checkpoint=2)
    for wrong in (-1, 5):
        index[3, 2] = wrong
        with pytest.raises(IndexError, match="expected 0 <= index < 5"):
            tg.scan(step, tg.Tensor(numbers(0, 9, H)), index)


def test_M03_a_weight_computed_outside():
    made = W * 2
    step = lambda x, h: tg.tanh(x @ made + h @ U)
    x, h = tg.Tensor(numbers(0, 5, B, INPUTS)), tg.Tensor(numbers(1, B, H))
    found = [
        tg.grad(tg.scan(step, h, x, unroll=way)[0].sum(), W, retain_graph=True).data
        for way in (False, True)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.compiled
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
    big = np.array([2**63 + 2**12, 3, 2**64 - 2**12], np.uint64)  # more than an int64 holds
    check(lambda x, h: h * 0.5 + x.astype(np.float64), [np.ones(())], [big])


def test_M05_an_outer_scan():
    inner = lambda h: tg.scan(lambda s: tg.tanh(s @ U), h, None, length=2)[0][-1]
    check(lambda x, h: inner(h) + x @ W, [numbers(0, B, H)], [numbers(1, 4, B, INPUTS)], [U, W])


def test_M05_no_steps():
    step = lambda x, h: (tg.tanh(h @ U + x @ W), h.sum(axis=1), h > 0)
    out = tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 0, B, INPUTS))
    assert [(y.shape, y.dtype) for y in out] == [
        ((0, B, H), np.float64), ((0, B), np.float64), ((0, B, H), np.bool_)
    ]  # fmt: skip


# -- every op -------------------------------------------------------------------------------------

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
    return tg.tanh(a + tg.broadcast_to(h[:, :1], shape=h.shape) + tg.sum_to(h, shape=(len(h), 1)))


def columns(h):
    a = h - h.sum(axis=0) + h.max(axis=0) * h.min() - tg.mean(h)
    a = a + tg.logsumexp(h, axis=(1, 0), keepdims=True) * h.min(axis=(0, -1), keepdims=True)
    a = a + tg.softmax(h, axis=None) * tg.log_softmax(h, axis=[0, 1]) + tg.logsumexp(h, axis=None)
    return tg.tanh(a * tg.softmax(h, axis=0) + tg.logsumexp(h, axis=0) + tg.sum_to(h, shape=(1, H)))


def pieces(h):
    p, q = tg.split(h, 2, axis=-1)
    r, s = tg.split(h, sizes=[1, 3], axis=-1)
    a = tg.concat([q, p], axis=1) + tg.concat([r, s], axis=-1)[:, ::-1]
    a = a + tg.stack([h[:, 3], h[:, 0], a[:, 1], h[:, 2]], axis=1) * h[:, 1:2]
    a = a + tg.stack(tg.unstack(h, axis=1)[::-1], axis=1) + h[..., -1:]
    return tg.tanh(a * 0.5 + tg.flip(h, axis=1) + tg.concat([h[:, ::2], h[:, 1::2]], axis=1))


def across(h):
    first, rest = tg.split(tg.flip(h) * h[0], [1])
    return tg.tanh(tg.concat([rest, first], axis=0) + tg.stack([h, h * 2]).sum(axis=0))


def turns(h):
    n = len(h)
    a = tg.swapaxes(h, axis1=0, axis2=1).T * 2 + h.reshape(n, 2, 2).transpose(0, 2, 1).reshape(n, H)
    a = a + h.T.reshape(n, H) + (h[:, None, :] + h[:, :, None]).sum(axis=1)
    return tg.tanh(a - column(h.reshape(n, 2, 2)[:, 0, 1]))


def products(h):
    a = h @ U + h @ V.T + column(h @ U[0]) + h @ h.T @ h
    return tg.tanh(a + h * h.detach())


def stacks(h):
    outer = h.reshape(len(h), H, 1) @ h.reshape(len(h), 1, H)
    return tg.tanh(h @ U + (h.reshape(len(h), 1, H) @ outer).reshape(len(h), H))


def discrete(h):
    n, flags = whole(h), h > 0
    a = real(tg.maximum(n, 1) - tg.minimum(n, 2) * n**2 + tg.abs(-n) + tg.relu(n) * tg.sign(n))
    a = (
        a
        + n / 2
        + flags * h
        + real(flags.sum(axis=1, keepdims=True) + n.max(axis=1, keepdims=True))
    )
    a = a + real(flags.max(axis=1, keepdims=True) * (h < 1)) + real(tg.where(flags, 1, 2) + n.min())
    return tg.tanh(h * a + real(flags + (h < -1)) - h.astype(np.int32) * h)


def reading(h):
    return tg.tanh(h * tg.mean_squared_error(h, h * 0.5) + h.astype(np.float32).astype(np.float64))


def no_past(h):
    with tg.no_grad():
        a = h * h
    return tg.tanh(a * h)


STEPS = [waves, choices, rows, columns, pieces, across, turns, products, stacks, discrete, no_past]


@pytest.mark.parametrize(
    "step", some_compiled(STEPS, products, discrete), ids=lambda step: step.__name__
)
def test_every_op(step, split):
    """Compiled where products and numbers of several kinds meet; `test_edges` compiles the rest."""
    tolerance = 1e-11 if step in (products, stacks) else 1e-12
    for batch, how in [(9, {}), (5, {"reverse": True, "checkpoint": "sqrt"})]:
        batch = 9 if step is across else batch  # whose text has the batch in it
        check(step, [numbers(0, batch, H)], [], [U, V], length=3, tolerance=tolerance, **how)


@pytest.mark.parametrize("step", some_compiled(["LSTM", waves, choices, rows], "LSTM"))
def test_three_threads_and_five(step, split, monkeypatch):
    """Their sums over the rows are added up, and their rows put together, in order."""
    cell, batch, counts = LIBRARY["LSTM"](5, 7), 23, []
    cut = runtime.Course.cut
    monkeypatch.setattr(
        runtime.Course, "cut", lambda *how: (counts.append(len(found := cut(*how))), found)[1]
    )
    for threads in (3, 5):
        split(threads)
        if step == "LSTM":
            carry, xs = [numbers(k, batch, 7) for k in range(2)], [numbers(7, 4, batch, 5)]
            check(cell.step, carry, xs, list(cell.parameters()), second=False)
        else:
            check(step, [numbers(0, batch, H)], [], [U], length=3, second=False, checkpoint=2)
        assert set(counts) == {threads}
        counts.clear()


def test_reading_through_float32():
    check(reading, [numbers(0, B, H)], [], length=2, tolerance=1e-6)


UNSUPPORTED = {
    "take": lambda h: h[:, [1, 0, 3, 3]] * 0.5,
    "sort": lambda h: tg.sort(h, axis=1) * 0.5,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_M06_what_has_no_compiled_form_runs_unrolled(name):
    step, carry = UNSUPPORTED[name], tg.Tensor(numbers(0, B, H), requires_grad=True)
    caches.programs.clear()
    with pytest.warns(tg.ScanWarning, match="no compiled form, so the steps run one by one") as one:
        (y,) = tg.scan(step, carry, None, length=3)
    assert len(one) == 1
    check(step, [numbers(0, B, H)], [], length=3)  # and once is enough
    assert y.tracked


def test_every_op_was_in_a_step():
    """The ops of the library are found on their own: one of whole arrays needs a step above."""
    modules = [m for m in vars(tg.ops).values() if isinstance(m, types.ModuleType)]
    known = {op for m in modules for op in vars(m).values() if isinstance(op, tg.op.Op)}
    steps = [*STEPS, reading, *UNSUPPORTED.values(), lambda h: tg.clip_gradient(h, norm=1)]
    alike = [op for op in known if op.pointwise and not op.attributes]  # run in `test_declared`
    steps += [lambda h: sum((op(*[h] * op.arity) for op in alike), start=h)]
    steps += [lambda h: h + tg.cumsum(h, axis=1) + tg.argmax(h) + tg.argmin(h) + tg.argsort(h)]
    steps += [lambda h: h * tg.cross_entropy(h, np.array([0, 1, 3] * 3))]
    steps += [lambda h: h + tg.embedding(table, h[:, 0] > 9)]
    seen = set()
    for step in steps[:-1]:
        made = trace(step, [], [tg.Tensor(numbers(0, B, H))])
        _, _, nodes = Step(made).pull([True])
        seen |= {y.op for y in [*made.nodes, *nodes]}
    looked_up = lambda k, h: h + tg.embedding(table, k)
    index = tg.Tensor(np.zeros(B, np.int64))
    made = trace(looked_up, [index], [tg.Tensor(numbers(0, B, H))])
    seen |= {y.op for y in [*made.nodes, *Step(made).pull([True])[2]]}
    refused = {"cross_entropy_pull", "ctc"}  # losses of indices, see `test_losses`, `test_ctc`
    assert {op.name for op in known - seen} <= refused


# -- what steps are made of, which `test_scan_search` mixes ----------------------------------------

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
    "softmax down": lambda p, q: tg.softmax(p, axis=0),
    "logs": lambda p, q: tg.log_softmax(p) * 0.1,
    "mass": lambda p, q: q - column(tg.logsumexp(p)), "sum": lambda p, q: p - q.sum(-1, True) * 0.1,
    "sum down": lambda p, q: p - q.sum(axis=0) * 0.1, "sum all": lambda p, q: p + q.sum() * 0.1,
    "mean": lambda p, q: p - q.mean(axis=1, keepdims=True), "max": lambda p, q: p - q.max(1, True),
    "min down": lambda p, q: p - q.min(axis=0), "flip": lambda p, q: tg.flip(p, axis=1),
    "concat": lambda p, q: tg.concat([p[:, 1:3], q[:, :2]], axis=1),
    "halves": lambda p, q: tg.concat(tg.split(p, 2, axis=1)[::-1], axis=1) + q,
    "stack": lambda p, q: tg.stack([p, q], axis=1).sum(axis=1),
    "unstack": lambda p, q: tg.stack([*tg.unstack(p, axis=1)[1:], q[:, 0]], axis=1),
    "reshape": lambda p, q: p.reshape(len(p), 2, 2).sum(axis=1) @ U[:2] + q,
    "transpose": lambda p, q: p.T.reshape(len(p), H) + q,
    "slice": lambda p, q: p[:, ::-1] * q[:, :1],
    "first row": lambda p, q: p * q[0], "plane": lambda p, q: p * b + q,
    "detach": lambda p, q: p.detach() * q, "flags": lambda p, q: q * (p > 0),
    "whole": lambda p, q: p * tg.astype(q * 2, dtype=np.int64),
    "power": lambda p, q: (p * p + 1) ** q,
}  # fmt: skip
# -- never out of date ----------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """What is lowered and compiled while a test runs."""
    from tinygrad_rnn.kernels import generated

    count = {"programs": 0, "functions": 0}

    def counted(word, function):
        def call(*arguments):
            count[word] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(compiled, "program_of", counted("programs", compiled.program_of))
    monkeypatch.setattr(generated, "_compiled", counted("functions", generated._compiled))
    return count


FACTOR = 2.0


def fresh(step, *, T=3, B=B, dtype=np.float64):
    """A scan's value now, which is what the steps one by one give now."""
    x, h = numbers(0, T, B, H).astype(dtype), numbers(1, B, H).astype(dtype)
    (y,), (expected,) = (tg.scan(step, h, x, unroll=way) for way in (False, True))
    np.testing.assert_allclose(y.data, expected.data, rtol=2e-5 if dtype == np.float32 else 1e-12)
    assert y.dtype == expected.dtype and y.tracked == expected.tracked
    return y


def test_M04_M09_what_changes_is_seen(monkeypatch):
    settings = {"a": 0.31, "flag": True, "f": tg.tanh}

    def step(x, h):
        y = settings["f"](x * settings["a"] + h * FACTOR)
        return y if settings["flag"] else y * 0.5

    seen = [fresh(step).data]
    for key, value in [("a", 0.32), ("a", 2), ("flag", False), ("f", tg.sigmoid)]:
        settings[key] = value
        seen.append(fresh(step).data)
    monkeypatch.setitem(globals(), "FACTOR", 2.5)
    seen += [fresh(step).data, fresh(step, dtype=np.float32).data]
    assert len({y.tobytes() for y in seen}) == len(seen)
    for sizes in [{"T": 1}, {"T": 40}, {"B": 1}, {"B": 5}]:
        fresh(step, **sizes)


def test_recording_switched_off_in_a_step_is_seen():
    on = {"on": True}

    def step(x, h):
        with recording(on["on"]):
            a = h @ U
        return tg.tanh(a + h * x)

    for on["on"] in (True, False, True):
        check(step, [numbers(0, B, H)], [numbers(1, 3, B, H)], [U])


def test_a_backward_pass_that_leads_nowhere():
    """Its loop has nothing to read and nothing to write."""
    h = tg.tensor(numbers(0, 2, H), requires_grad=True)
    (y,) = tg.scan(lambda h: h.detach() * 2.0, h, None, length=3)
    assert tg.grad((y * y).sum(), h, allow_unused=True) is None


def test_a_gradient_in_a_step_by_what_it_reads_from_outside():
    """Each time, also when the step is known: there is a history to what it reads."""
    w = weight(0)
    for _ in range(4):
        w.data = w.data * 0.9
        fresh(lambda x, h: tg.tanh(h + tg.grad((w * w * x * x).mean(), w, create_graph=True)))


def test_M03_M04_what_a_step_closes_over_is_seen():
    def made_with(weight, factor):
        return lambda x, h: tg.tanh(x + h @ weight) * factor

    weights = [tg.Tensor(numbers(k, H, H), requires_grad=k > 0) for k in range(3)]
    seen = [fresh(made_with(w, factor)).data for w in weights for factor in (0.3, 0.4)]
    assert len({y.tobytes() for y in seen}) == 6
    w = weights[1]
    step = made_with(w, 0.3)
    for on in (False, True, False):
        w.requires_grad = on
        assert fresh(step).tracked == on
    before = fresh(step).data
    w.data = w.data * 2
    assert not np.array_equal(fresh(step).data, before)


@pytest.mark.compiled
def test_M04_a_trained_step_is_not_compiled_again(made):
    cell = nn.GRU(H, H, dtype=np.float64, rng=0)
    optimizer = tg.optim.SGD(cell.parameters(), lr=0.1)
    xs, losses = numbers(0, 4, B, H), []
    for k in range(4):
        ys, _ = cell(xs)
        expected, _ = cell(xs, unroll=True)
        np.testing.assert_allclose(ys.data, expected.data, rtol=1e-12)
        loss = (ys * ys).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if not k:
            counts = dict(made)
    assert made == counts and len(set(losses)) == 4


@pytest.mark.compiled
def test_I13_other_numbers_and_lengths_compile_nothing(made):
    for k, factor in enumerate([0.31, 0.32, 1e-3, np.pi]):
        step = lambda x, h: tg.tanh(x * factor + h @ U)  # noqa: B023
        fresh(step, T=3 + k)
        if not k:
            counts = dict(made)
    assert made == counts
    fresh(step, B=7)
    assert made["functions"] == counts["functions"]  # the sizes are words in the text


def test_I14_other_layouts_of_what_a_loop_is_given_make_no_other_loop(made):
    x, h, w = numbers(0, 5, B, H), numbers(1, B, H), numbers(2, H, H)
    step = lambda x, h: tg.tanh(x + h @ matrix)
    answers = set()
    for turned in LAYOUTS.values():
        xs, carry, matrix = [tg.tensor(turned(y)) for y in (x, h, w)]
        answers.add(tg.scan(step, carry, xs)[0].data.tobytes())
        matrix = tg.tensor(w.T).T
        answers.add(tg.scan(step, turned(h), turned(x))[0].data.tobytes())
    assert made["programs"] == len(answers) == 1


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "packed": np.copy, "Fortran": np.asfortranarray, "read-only": frozen,
    "turned": lambda x: np.ascontiguousarray(x.T).T,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "misaligned": lambda x: np.frombuffer(b"." + x.tobytes(), offset=1).reshape(x.shape),
    "big-endian": lambda x: x.astype(">f8"),
}  # fmt: skip


def test_training_and_use():
    class Shrunk(nn.Cell):
        inputs, hidden, dtype = H, H, np.float64

        def step(self, x, h):
            return tg.tanh(x + h @ U) * (0.5 if self.training else 1.0)

    cell, xs = Shrunk(), numbers(0, 5, B, H)
    values = []
    for training in (True, False, True):
        cell.train() if training else cell.eval()
        values.append(cell(xs)[0].data)
        np.testing.assert_allclose(values[-1], cell(xs, unroll=True)[0].data, rtol=1e-12)
    assert np.array_equal(values[0], values[2]) and not np.array_equal(*values[:2])


def test_under_no_grad_and_with():
    step = lambda x, h: tg.tanh(x + h @ U)
    with tg.no_grad():
        assert not fresh(step).tracked
    assert fresh(step).tracked


# -- refusals -------------------------------------------------------------------------------------

rng = np.random.default_rng(0)
in_training = nn.Dropout(0.5, rng=0)
REFUSED = {
    "branch": (lambda x, h: h if h.sum() > 0 else x, "branches on .*tg.where"),
    "float": (lambda x, h: h * float(h.sum()), "reads the number of.*unroll=True"),
    "item": (lambda x, h: h * h.sum().item(), "reads the number of"),
    "data": (lambda x, h: h * h.data, "reads the numbers of"),
    "numpy": (lambda x, h: h * h.numpy(), "reads the numbers of"),
    "asarray": (lambda x, h: h * np.asarray(x), "reads the numbers of"),
    "index": (lambda x, h: x[h.astype(np.int64)[0, 0]] + [1, 2, 3][h[0, 0].astype(np.int64)],
              "indexes with|copies the numbers"),
    "random": (lambda x, h: h * rng.normal(size=h.shape), "random numbers.*xs.*unroll=True"),
    "random number": (lambda x, h: h * rng.random(), "random numbers"),
    "random weights": (lambda x, h: h @ (U * rng.random(U.shape)), "random numbers"),
    "dropout": (lambda x, h: in_training(h), "random numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_M03_what_a_loop_cannot_follow(name):
    step, words = REFUSED[name]
    with pytest.raises(tg.Untraceable, match=words) as caught:
        tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 4, B, H))
    if "random" not in words:
        assert "test_scan.py" in str(caught.value)
    if name not in ("branch", "asarray", "index"):
        tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 4, B, H), unroll=True)


def test_M03_random_numbers_in_a_known_step():
    """The same ops with a fixed mask are compiled first: what is drawn again is noticed even so."""
    mask = {"draw": lambda: np.ones((B, H))}
    step = lambda x, h: tg.tanh(h * tg.Tensor(mask["draw"]()) + x)
    fresh(step)
    mask["draw"] = lambda: 0.5 * np.ones((B, H))
    fresh(step)
    mask["draw"] = lambda: rng.normal(size=(B, H))
    with pytest.raises(tg.Untraceable, match="random numbers"):
        tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 4, B, H))


def test_M03_a_step_that_counts_its_calls():
    calls = []

    def step(x, h):
        calls.append(1)
        return tg.tanh(h) if len(calls) % 2 else tg.sigmoid(h)

    with pytest.raises(tg.Untraceable, match=r"the step changes calls\[0\]"):
        tg.scan(step, tg.Tensor(numbers(0, B, H)), numbers(1, 4, B, H))


BAD = [
    (dict(step=lambda x, h: h[:, :2]), TypeError, "state 0 from float64.9, 4. into float64.9, 2."),
    (dict(step=lambda x, h: h.astype(np.float32)), TypeError, "keeps its shape and dtype"),
    (dict(step=lambda x, h: None), TypeError, "returned 0 states, expected 1"),
    (dict(step=lambda x, h: {"h": h}), TypeError, "result 0: expected a tensor .* got dict"),
    (dict(step=lambda x, h: ((h,),)), TypeError, "result 0: .* got tuple. States.*side by side"),
    (dict(step=lambda x, h: "h"), TypeError, "result 0: expected a tensor .* got str"),
    (dict(step=lambda x, h: (h, np.ones(2, complex))), TypeError, "result 1: .* complex128"),
    (dict(step=lambda x, h: 0.0), TypeError, r"state 0 from float64.9, 4. into float64\[\]"),
    (dict(step=lambda x, h: h > 0), TypeError, "state 0 from float64.9, 4. into bool"),
    (dict(step=lambda x, h: tg.concat([h, h])), TypeError, "into float64.18, 4."),
    (dict(step=None), TypeError, r"scan: step: expected a function of .*, got None"),
    (dict(step=np.ones(2), carry=lambda x, h: h), TypeError, "step: expected a function of"),
    (dict(carry=None), TypeError, "carry 0: expected a tensor .* got NoneType"),
    (dict(carry=(np.ones((B, H)), {})), TypeError, "carry 1: expected a tensor .* got dict"),
    (dict(carry=((tg.tensor(1.0), tg.tensor(1.0, requires_grad=True)),)), TypeError, "carry 0"),
    (dict(xs="abcd"), TypeError, "xs 0: expected a tensor .* got str"),
    (dict(xs={"x": np.ones((4, B, H))}), TypeError, "xs 0: expected a tensor .* got dict"),
    (dict(step=lambda x, h: ()), TypeError, "returned 0 states, expected 1"),
    (dict(step=lambda x, h: None), TypeError, "returned 0 states, expected 1"),
    (dict(step=lambda x, h: (h + x[:, :3],)), ValueError, "add: .*given"),
    (dict(xs=(np.ones((3, B, H)), np.ones((4, B, H)))), ValueError, r"lengths \[3, 4\]"),
    (dict(length=5), ValueError, "lengths disagree: xs has 4 steps, but length=5"),
    (dict(xs=np.float64(2.0)), ValueError, "expected an axis of time in front"),
    (dict(xs=None), ValueError, "xs, or length=T"),
    (dict(xs=None, length=-1), ValueError, "at least 0, got -1"),
    (dict(length=0), ValueError, "lengths disagree: xs has 4 steps, but length=0"),
    (dict(xs=None, length="3"), TypeError, "whole number.*got '3'"),
    (dict(xs=None, length=2.5), TypeError, "whole number.*got 2.5"),
    (dict(xs=None, length=True), TypeError, "whole number.*got True"),
    (dict(checkpoint="cube"), TypeError, "checkpoint: expected None, 'sqrt' or a number"),
    (dict(checkpoint=0), ValueError, "checkpoint.*got 0"),
    (dict(checkpoint=True), TypeError, "checkpoint.*got True"),
    (dict(checkpoint=2.0), TypeError, "checkpoint.*got 2.0"),
]  # fmt: skip


@pytest.mark.parametrize("given, kind, words", BAD, ids=[words for _, _, words in BAD])
def test_M01_M02_refusals(given, kind, words):
    how = dict(step=lambda x, h: h + x, carry=numbers(0, B, H), xs=numbers(1, 4, B, H)) | given
    with pytest.raises(kind, match=words):
        tg.scan(**how)
    assert tg.scan(lambda h: h * 2, tg.Tensor(np.ones(2)), None, length=2)[0].shape == (2, 2)


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("how", [{}, {"checkpoint": 2}, {"unroll": True}], ids=str)
def test_M07_gradients_go_back_through_steps_whose_order_matters(way, how):
    """Products of matrices that do not commute: h A0 A1 ..., and its gradients in plain NumPy."""
    A, h0, g = numbers(0, 5, H, H), numbers(1, B, H), numbers(2, B, H)
    xs, carry = [tg.tensor(x, requires_grad=True) for x in (A, h0)]
    (path,) = tg.scan(lambda a, h: h @ a, carry, xs, reverse=way < 0, **how)
    (path[::way][-1] * g).sum().backward()
    before, back, expected = [h0], g, np.zeros_like(A)
    for a in A[::way]:
        before.append(before[-1] @ a)
    for t in range(5)[::-way]:
        expected[t] = before[t if way > 0 else 4 - t].T @ back
        back = back @ A[t].T
    np.testing.assert_allclose(path.data[::way][-1], before[-1], rtol=1e-12)
    np.testing.assert_allclose(carry.grad.data, back, rtol=1e-12)
    np.testing.assert_allclose(xs.grad.data, expected, rtol=1e-12)


@pytest.mark.parametrize("which", ["whole", "number"])
@pytest.mark.parametrize("row", [0, 8])
def test_M10_an_error_in_a_loop_says_in_which_step_and_holds_nothing(which, row, split):
    """Whichever thread it happens on."""

    @tg.primitive(lambda g, y, x: g)
    def whole(x):
        if x.max() > 2.5:
            raise ValueError("too large")
        return x * 1.5

    def body(x):
        return x * 1.5

    def number(x):
        if x > 2.5:
            raise ValueError("too large")
        return x * 1.5

    def pull(g, y, x):
        return g * 1.5

    op = {"whole": whole, "number": pointwise(pull, number=number)(body)}[which]
    start, xs = np.full((9, 2), 0.001), tg.Tensor(np.zeros((6, 9, 2)))
    start[row] = 1.0  # 1.5, 2.25, 3.4
    held = weakref.ref(xs)
    with pytest.raises(ValueError, match="too large") as caught:
        tg.scan(lambda x, h: op(h + x), start, xs)
    if which == "whole":  # the body of the other does not mind
        assert caught.value.__notes__ == ["in a step at t=3"]
    del caught, xs
    assert held() is None
    again = tg.scan(lambda x, h: op(h + x), start * 0.1, np.zeros((2, 9, 2)))[0]
    np.testing.assert_allclose(again.data[-1], start * 0.225, rtol=1e-12)


# -- ops of one's own -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", some_compiled(["pointwise", "whole"], "pointwise"))
def test_an_op_of_ones_own(which, made):
    @tg.pointwise(lambda g, y, x, p: g * p * (1 + 0 * x))
    def stretch(x, p=2.0):
        return x * p

    @tg.primitive(
        lambda g, y, x: g * tg.broadcast_to(tg.reshape(y, shape=(-1, 1)), shape=x.shape) * 0 + g
    )
    def total(x):
        return x.sum(axis=1)

    def same_name():
        @tg.pointwise(lambda g, y, x: g * 3 * x * x)
        def stretch(x):
            return x * x * x

        return stretch

    other = same_name()
    steps = {
        "pointwise": lambda h: tg.tanh(stretch(h) + stretch(h, 0.7) + other(h)),
        "whole": lambda h: h * 0.5 + column(total(h[:, :3]).detach()),
    }
    check(steps[which], [numbers(0, B, H)], [], length=4)
    assert made["programs"] == 1


SLOPE = 2.0


def test_M04_what_an_op_of_ones_own_reads_is_seen(monkeypatch):
    @tg.pointwise(lambda g, y, x: g * SLOPE)
    def sloped(x):
        return x * SLOPE

    @tg.pointwise(lambda g, y, x: g * SLOPE)  # read by the derivative alone
    def straight(x):
        return x * 1.0

    for step in (lambda h: tg.tanh(sloped(h)), lambda h: tg.tanh(straight(h))):
        for slope in (2.0, 3.0):
            monkeypatch.setitem(globals(), "SLOPE", slope)
            check(step, [numbers(0, B, H)], [], length=3)


@pytest.mark.compiled
def test_M06_an_op_that_numba_does_not_know():
    settings = types.SimpleNamespace(slope=2.0)

    @tg.pointwise(lambda g, y, x: g * settings.slope)
    def odd(x):
        return x * settings.slope

    step = lambda h: tg.tanh(odd(h))
    with pytest.warns(tg.ScanWarning, match="odd has no compiled form") as one:
        found = everything(step, [numbers(0, B, H)], [], [], True, length=3)
    assert len(one) == 1
    expected = everything(step, [numbers(0, B, H)], [], [], True, length=3, unroll=True)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


# -- NaN, threads, time, memory -------------------------------------------------------------------


def test_M10_nan_is_found_at_its_step():
    step = lambda x, h: tg.sqrt(h - x)
    x, h = tg.Tensor(np.ones((5, 2))), tg.Tensor(np.full(2, 1.5), requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(RuntimeError, match="NaN from sqrt in t=1"):
        tg.scan(step, h, x)
    zero = tg.Tensor(np.zeros(2), requires_grad=True)
    (y,) = tg.scan(lambda h: tg.where(h > 0, tg.sqrt(h), h), zero, None, length=3)
    (z,) = tg.scan(lambda h: h * tg.sqrt(h), zero, None, length=3)
    with (
        tg.detect_anomaly(),
        pytest.raises(RuntimeError, match=r"NaN in the gradient of \w+ in t="),
    ):
        z.sum().backward()
    assert not np.isnan(y.data).any()


@pytest.mark.parametrize("length", [1, 4])
def test_F11_M10_a_nan_that_a_step_leaves_out_again_is_found(length):
    """As step by step: it is the op's, whoever reads it; what came in as NaN is not."""
    U = tg.Tensor(np.eye(2), requires_grad=True)
    steps = {
        "log": lambda x, h: tg.where(h > 9, tg.log(h - 4), h @ U) * 0.5,
        "sqrt": lambda x, h: (h, tg.where(x > 9, tg.sqrt(x - 2), x).sum()),
        "power": lambda x, h: (
            h,
            tg.where(h.sum() > 1e9, ((-U) ** 0.5).sum(), 1.0),
        ),  # the same at all steps
    }
    x, h = tg.Tensor(np.ones((length, 3, 2))), tg.Tensor(np.full((3, 2), 3.0))
    for name, step in steps.items():
        for run in (tg.scan, tg.unroll):
            with tg.detect_anomaly(), pytest.raises(RuntimeError, match=f"NaN from {name}"):
                run(step, h, x)
        tg.scan(step, h, x)
    given = tg.Tensor(np.where(np.arange(length * 6).reshape(length, 3, 2) == 1, np.nan, 1.0))
    with tg.detect_anomaly():
        tg.scan(lambda x, h: tg.where(tg.isnan(x), h, x) @ U, h, given)


def test_looking_for_nan_leaves_a_loop_compiled():
    """Also where a sum of what it returns is none: infinities of both signs are no NaN."""
    x, h = tg.Tensor(np.ones((5, 2))), tg.Tensor(np.full(2, 9.0), requires_grad=True)
    with tg.detect_anomaly():
        (y,) = tg.scan(lambda x, h: tg.sqrt(h) + x, h, x)
        y.sum().backward()
        assert y.inputs is None and y.op.name == "pick"
        (z,) = tg.scan(lambda x, h: h * x, tg.Tensor([np.inf, -np.inf]), x)
    assert np.isinf(z.data).all()
    (g,) = [h.grad.data]
    (y,) = tg.unroll(lambda x, h: tg.sqrt(h) + x, h, x)
    np.testing.assert_allclose(g, tg.grad(y.sum(), h).data, rtol=1e-12)


def gradients(cell, xs, seed):
    ys, _ = cell(xs)
    leaves = list(cell.parameters())
    loss = (ys * np.random.default_rng(seed).normal(size=ys.shape)).sum()
    return [ys.data, *(g.data for g in tg.grad(loss, leaves))]


@pytest.mark.compiled
def test_I12_one_thread_and_two():
    cell, xs = nn.LSTM(32, 32, dtype=np.float64, rng=0), numbers(0, 40, 32, 32)
    threads, found = tg.get_num_threads(), []
    try:
        for n in (1, 2, 2):
            tg.set_num_threads(n)
            found.append(gradients(cell, xs, 1))
    finally:
        tg.set_num_threads(threads)
    for one, two, again in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12 * max(1, np.abs(one).max()))
        assert np.array_equal(two, again)


@pytest.mark.compiled
def test_G04_denormals_are_zero_in_a_loop_of_float32_and_nowhere_else(split):
    """On every thread, put back at the end, also where somebody's op raises."""

    def number(x):
        if x > 2.5:
            raise ValueError("too large")
        return x * 0.5

    half = pointwise(lambda g, y, x: g * 0.5, number=number)(lambda x: x * 0.5)

    def last(first, dtype, rows=8):
        carry, xs = np.full((rows, 2), first, dtype), np.zeros((4, rows, 2), dtype)
        return tg.scan(lambda x, h: half(h + x), carry, xs)[0].data[-1]

    def here():
        return (np.full(3, 1e-40, np.float32) * np.float32(0.5)).all()

    assert here()
    assert last(1e-36, np.float32).all() and not last(1e-37, np.float32).any()
    assert last(1e-307, np.float64).all()
    with pytest.raises(ValueError, match="too large"):
        last(3.0, np.float32)
    assert here()
    found = []
    kernels.threads.shared(lambda start, stop, _: found.append(here()), 2, 1, ())
    assert all(found)
    tiny = np.full((2, 2), 1e-40, np.float32)
    assert not kernels.matmul(tiny, np.eye(2, dtype=np.float32)).any() and here()
    assert (tg.tensor(tiny) * np.float32(0.5)).data.all()


@pytest.mark.compiled
def test_I03_callers_at_once(split):
    cell = nn.GRU(16, 16, dtype=np.float64, rng=0)
    inputs = [numbers(k, 30, 9, 16) for k in range(4)]
    serial = [gradients(cell, xs, k) for k, xs in enumerate(inputs)]
    found = {}

    def work(k):
        found[k] = [gradients(cell, inputs[k], k) for _ in range(5)]

    callers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for k, expected in enumerate(serial):
        for results in found[k]:
            for x, y in zip(results, expected, strict=True):
                np.testing.assert_allclose(x, y, rtol=0, atol=1e-12 * max(1, np.abs(y).max()))


@pytest.mark.compiled
def test_M08_results_stay():
    """What a caller holds is not written again, by later calls or by the caller."""
    cell, xs = nn.LSTM(32, 32, rng=0), numbers(0, 40, 8, 32).astype(np.float32)
    held = []
    for k in range(6):
        h0 = tg.Tensor(np.full((8, 32), 0.1 * k, np.float32), requires_grad=True)
        x = tg.Tensor(xs, requires_grad=True)
        ys, state = cell(x, (h0, h0))
        ys.sum().backward()
        tensors = [ys, *state, h0.grad, x.grad, ys[-1]]
        held.append([(y.data, y.data.copy()) for y in tensors])
        del ys, state, x, h0, tensors
    for kept in held:
        for array, copy in kept:
            assert np.array_equal(array, copy) and not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=120, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_I10_interrupted():
    """Ctrl-C ends a loop between two of its pieces, not when all steps are done."""
    code = """
    import signal, numpy as np, tinygrad_rnn as tg
    from tinygrad_rnn.loops import runtime
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us in the background
    signal.alarm(120)  # whoever started us may be gone
    U = tg.Tensor(np.eye(64) * 0.5, requires_grad=True)
    step = lambda h: tg.tanh(h @ U)
    h = tg.Tensor(np.ones((2, 64)))
    short = tg.scan(step, h, None, length=3)[0]
    done, together = [], runtime.together
    def piece(calls):
        done.append(calls[0].args[0])
        if len(done) == 2:
            print("ready", flush=True)
        together(calls)
    runtime.together, runtime.LONG = piece, 2e7
    try:
        with tg.no_grad():
            while True:
                done.clear()
                tg.scan(step, h, None, length=400_000)
    except KeyboardInterrupt:
        print(sum(done) < 400_000)
        again = tg.scan(step, h, None, length=3)[0]
        again.sum().backward()
        print(np.array_equal(again.data, short.data), flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "ready"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate()
    assert out.split() == ["True", "True"]


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="alarms")
def test_I10_I11_an_alarm_at_any_moment_leaves_nothing_behind(split):
    """In whatever line, or while workers run: it is raised, and the next call has the same bits."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")
    cell, xs = nn.RNN(16, 16, dtype=np.float64, rng=0), numbers(0, 40, 16, 16)

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    expected, times, rung = gradients(cell, xs, 1), np.random.default_rng(0), 0
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for seconds in times.uniform(1e-5, 4e-3, 100):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, seconds)  # rings once
                    for _ in range(3):
                        gradients(cell, xs, 1)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)  # it may still ring before this line
            except Alarm:
                rung += 1
            for x, y in zip(gradients(cell, xs, 1), expected, strict=True):
                assert np.array_equal(x, y)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung > 10
    pool = kernels.threads._pool
    assert sorted(map(id, pool.idle)) == sorted(map(id, pool.workers))


def test_H04_a_million_steps_and_their_memory():
    code = """
    import numpy as np, tinygrad_rnn as tg
    T = 1_000_000
    U = tg.Tensor(np.eye(1) * 0.9, requires_grad=True, dtype=np.float32)
    xs = np.random.default_rng(0).normal(size=(T, 1, 1)).astype(np.float32)
    def step(x, h):
        for _ in range(6):
            h = tg.tanh(h @ U + x)
        return h
    def run(xs, checkpoint):
        U.grad = None
        (ys,) = tg.scan(step, np.zeros((1, 1), np.float32), xs, checkpoint=checkpoint)
        ys.sum().backward()
        return U.grad.data
    run(xs[:10], None), run(xs[:10], "sqrt")
    import sys, tracemalloc
    exactly = lambda size: memoryview(bytearray(size))  # no piece of memory, which is not traced
    sys.modules["tinygrad_rnn.kernels.spare"]._fresh = exactly
    tracemalloc.start()
    peaks = []
    for checkpoint in ("sqrt", None):
        tracemalloc.clear_traces(); tracemalloc.reset_peak()
        g = run(xs, checkpoint)
        peaks.append(tracemalloc.get_traced_memory()[1])
    assert np.isfinite(g).all()
    print(*peaks)
    """
    child = python(code)
    assert child.returncode == 0, child.stderr
    small, large = map(int, child.stdout.split())
    assert small < 0.6 * large, (small, large)  # what is left is the result, and its cotangent
    assert large < 10 * 4 * 10**6, large


NO_NUMBA = {
    "switched off": ("", {"NUMBA_DISABLE_JIT": "1"}),
    "missing": ("import sys; sys.modules['numba'] = None", {}),
}


@pytest.mark.parametrize("name", NO_NUMBA)
def test_I09_without_numba(name):
    before, environment = NO_NUMBA[name]
    code = before + textwrap.dedent("""
    import numpy as np, tinygrad_rnn as tg
    cell = tg.nn.LSTM(3, 4, dtype=np.float64, rng=0)
    xs = np.random.default_rng(0).normal(size=(5, 2, 3))
    ys, _ = cell(xs, checkpoint="sqrt")
    ys.sum().backward()
    print(repr([ys.data.sum(), *(float(p.grad.data.sum()) for p in cell.parameters())]))
    """)
    found = python(code, **environment)
    assert found.returncode == 0, found.stderr
    cell, xs = nn.LSTM(3, 4, dtype=np.float64, rng=0), numbers(0, 5, 2, 3)
    ys, _ = cell(xs)
    ys.sum().backward()
    expected = [ys.data.sum(), *(p.grad.data.sum() for p in cell.parameters())]
    values = [float(word.split("(")[-1].strip("[]() \n")) for word in found.stdout.split(",")]
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_shapes_are_learnt_without_a_compiled_kernel(monkeypatch):
    """A first call would wait for a product whose numbers nobody reads."""
    for table in kernels._loaded.values():
        monkeypatch.delitem(table, np.dtype(np.float64), raising=False)
    monkeypatch.setattr(kernels, "_compiled", lambda *_: pytest.fail("a kernel is compiled"))
    made = weight(0, 11, 11)
    step = lambda h: tg.sigmoid(tg.softmax(h @ made) + tg.logsumexp(h)[:, None])
    assert "multiply(" in tg.loops.scan_source(step, numbers(0, 13, 11), None, length=2)
    assert not any(np.dtype(np.float64) in table for table in kernels._loaded.values())


@pytest.mark.compiled
def test_rows_that_products_read_do_not_crowd_one_place_of_a_cache():
    """The gates' cotangents would be 4,096 bytes a row here: one panel more keeps rows apart."""
    for columns, dtype in itertools.product((1, 5, 512, 1000, 1024), (np.float32, np.float64)):
        wide = panels.padded(columns, dtype)
        assert columns <= wide <= columns + 2 * panels.width(dtype)
        assert wide % panels.width(dtype) == 0 != wide * np.dtype(dtype).itemsize % 4096
    cell = nn.LSTM(3, 128, dtype=np.float64, rng=0)
    xs = weight(1, 5, 9, 3)
    wanted = [xs, *cell.parameters()]

    def gradients(unroll):
        ys, _ = nn.Recurrent(cell, unroll=unroll)(xs)
        return [x.data for x in tg.grad((ys * ys).sum(), wanted)]

    for found, expected in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_size_that_a_loop_does_not_speak_of_makes_no_other_loop(kind):
    """As many inputs as hidden ones, or not: it is a product's affair, and no line's."""
    texts = set()
    for inputs in (INPUTS, H):
        cell = kind(inputs, H, dtype=np.float64, rng=0)
        state = [tg.Tensor(numbers(0, B, H)) for _ in cell.state]
        texts.add(tg.loops.scan_source(cell.step, state, numbers(1, 4, B, inputs)))
    assert len(texts) == 1


def test_the_texts_can_be_read():
    cell = nn.RNN(INPUTS, H, dtype=np.float64, rng=0)
    text = tg.loops.scan_source(cell.step, tg.Tensor(numbers(0, B, H)), numbers(1, 4, B, INPUTS))
    assert "def forward(" in text and "def backward(" in text and "tanh(" in text
    compile(text, "<loop>", "exec")
    ys, _ = cell(numbers(1, 4, B, INPUTS))
    assert "def forward(" in ys.inputs[0].attrs["run"].source
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="no compiled form"):
            tg.loops.scan_source(UNSUPPORTED["take"], tg.Tensor(numbers(0, B, H)), None, length=2)


@pytest.mark.compiled
def test_a_float32_loop_compiles_routines_of_float32_alone(monkeypatch):
    """Although it adds up the gradient of a bias in float64."""
    asked, load = set(), panels.load

    def noted(dtype, *more):
        asked.add(np.dtype(dtype))
        return load(dtype, *more)

    monkeypatch.setattr(panels, "load", noted)
    W, U, b = (
        tg.tensor(np.ones(shape, np.float32), requires_grad=True)
        for shape in ((2, 3), (3, 3), (3,))
    )
    step = lambda x, h: tg.tanh(x @ W + 0.3125 * (h @ U) + b) - 0.0625 * h
    xs = np.ones((4, 5, 2), np.float32)
    (path,) = tg.scan(step, np.zeros((5, 3), np.float32), xs)
    path.sum().backward()
    assert asked == {np.dtype(np.float32)} and b.grad.dtype == np.float32


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_slopes_of_curves_are_computed_beside_them(kind):
    """Half of a curve's work is its slope's: the backward loop reads it, and takes no exponential,
    whichever results get a gradient."""
    layer = kind(INPUTS, H, dtype=np.float64, rng=0)
    y = layer(tg.Tensor(numbers(1, 6, B, INPUTS)))[0]
    while y.op.name != "scan":
        y = y.inputs[0]
    program = y.attrs["run"].program
    count = len(program.step.results)
    for incoming in [
        [True] * count,
        [True] + [False] * (count - 1),
        [False] * (count - 1) + [True],
    ]:
        source = program.backward(tuple(incoming)).source
        assert not re.search(r"\b(exp|tanh|sigmoid|\w+_slope)\(", source)
        assert re.search(r"_slope_1_row1\[j\]", source)
    assert re.search(r"= \w+_slope\(", program.forward.source)


def test_what_costs_much_is_not_done_twice():
    """softplus has the slope sigmoid(x), which the forward pass leaves to the backward pass."""
    step = lambda x, h: tg.softplus(h + x) * tg.exp(h)
    source = tg.loops.scan_source(
        step, tg.Tensor(numbers(0, B, H), True), tg.Tensor(numbers(1, 6, B, H), True)
    )
    forward, backward = source.split("def backward(")
    assert [forward.count(f"= {name}(") for name in ("softplus", "sigmoid", "exp")] == [1, 1, 1]
    assert not re.search(r"= (softplus|sigmoid|exp)\(", backward)


@pytest.mark.parametrize("length", [2**60, 2**63 - 1, 10**30])
@pytest.mark.compiled
def test_more_steps_than_any_memory_holds_are_refused(length):
    with pytest.raises(MemoryError, match="steps are too many for any memory"):
        tg.scan(lambda h: h * 2, np.zeros(2), None, length=length)


def test_two_threads_agree_on_what_they_remember():
    """Who comes second takes what the first has left: a trace goes by which object that is."""
    cache = caches.Cache(2)
    assert [cache.agree("a", x) for x in (1, 2)] == [1, 1] and cache.agree("b", None) is None
    assert cache.agree("c", 3) == 3 and [*cache] == ["b", "c"]


@pytest.mark.parametrize(
    "taken",
    [
        lambda u, mask: u[mask], lambda u, mask: u[tg.tensor(mask)], lambda u, mask: u[mask, None],
        lambda u, mask: u[None][:, mask], lambda u, mask: u[None] [..., mask],
        lambda u, mask: (u[None] * np.ones((2, 1)))[np.stack([mask, ~mask])],
    ],
)  # fmt: skip
def test_a_mask_from_outside_takes_as_much_in_a_loop(taken):
    """The shape of what is taken is in the mask's numbers, which are there."""
    xs, mask = tg.Tensor(numbers(0, 4, 3), True), np.array([True, False, True])
    step = lambda u, h: tg.tanh(h + u + taken(u, mask).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.ScanWarning)
        both = [tg.scan(step, np.zeros(3), xs, unroll=u)[0] for u in (False, True)]
    np.testing.assert_allclose(*[y.data for y in both], rtol=1e-12)
    np.testing.assert_allclose(*[tg.grad(y.sum(), xs).data for y in both], rtol=1e-12)
    with pytest.raises(IndexError, match="boolean index did not match"):
        tg.scan(lambda u, h: h + taken(u, mask[:2]).sum(), np.zeros(3), xs)


def test_what_a_step_captured_of_a_spent_history_is_not_learnt():
    """Nor is its history walked, which may be long."""
    x = tg.Tensor(numbers(0, 3), True)
    y = x * x
    y.sum().backward()
    known = entry.Known([x])
    compiled._learn(known, "shapes", None, [y], y.born + 1)
    assert not known.programs
    z = x * 2.0
    compiled._learn(known, "shapes", "a program", [z, x], z.born)
    assert known.programs["shapes"][:2] == ("a program", [0, x])


def flags(x):
    return tg.astype(x, dtype=bool)


def of_whole_numbers(x, y, k):
    """Quotients, choices and casts of whole numbers: compiled code has kinds of its own."""
    return (
        *(x // y, x // 17, x // -24, x // 3, 100 // y, k // y, x // k),
        *(tg.maximum(x > 0, x), tg.maximum(x > 0, 2), tg.minimum(x, k * 3), tg.maximum(k, y)),
        *(flags(x) * 1, flags(x * 0.3) * 0.5, flags(x) == True, 1.0 - flags(x), flags(k) + 0.5),  # noqa: E712
        *(flags(x).sum(axis=1), flags(x * 0.3).mean(axis=1), tg.concat([flags(x), x], axis=1)),
    )  # fmt: skip


@pytest.mark.parametrize("by", ["LLVM", "Numba"])
def test_whole_numbers_and_flags_of_a_loop_are_numpys(by):
    low, high = -(2**63), 2**63 - 1
    x = np.array([[[-7, -1, 7, -25, 0, 24, low, high, low, 5, -5, 1]]])
    y = np.array([[[2, 2, 2, 24, 5, 0, -1, -1, 0, -3, -3, 1]]])
    k = np.array([[[1, -7, 3, -128, 127, 5, -1, -128, 100, 2, -2, -3]]], np.int8)
    more = (lambda h: h % 2.0) if by == "Numba" else (lambda h: h * 2.0)  # `%` goes by Numba
    step = lambda x, y, k, h: (more(h), *of_whole_numbers(x, y, k))
    with np.errstate(all="ignore"):
        found, expected = (
            tg.scan(step, np.ones((1, 1)), (x, y, k), unroll=unroll)[1:] for unroll in (False, True)
        )
        np.testing.assert_array_equal(expected[0].data, x // y)
    for n, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(a.data, b.data, str(n), strict=True)


def test_a_quotient_of_floats_in_a_loop_is_numpys():
    x = np.array([[[-7.5, -1, 7.25, 0, np.inf, np.nan, 3, -3, 1e300]]])
    y = np.array([[[2, 2, 0.3, 0, 2, 1, -1, 0, 1e-300]]])
    step = lambda x, y, h: (h, x // y, x // 0.3, 1 // x, x // -1, tg.floor_divide(x, y))
    with np.errstate(all="ignore"):
        found, expected = (
            tg.scan(step, np.ones((1, 1)), (x, y), unroll=unroll)[1:] for unroll in (False, True)
        )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.data, b.data, strict=True)


@pytest.mark.parametrize("unroll", [False, True])
def test_what_no_gradient_reaches_is_refused_compiled_or_not(unroll):
    w, v = (tg.tensor(float(n), requires_grad=True) for n in (2, 3))
    step = lambda x, h, g: (h * w + x, g * v + x)
    _, b = tg.scan(step, (tg.tensor(0.0), tg.tensor(0.0)), tg.tensor([1.0, 2.0]), unroll=unroll)
    words = "was not used" if unroll else "no gradient of sum .* reaches"
    with pytest.raises(RuntimeError, match=words):
        tg.grad(b.sum(), [w, v], retain_graph=True)
    assert tg.grad(b.sum(), [w, v], allow_unused=True)[0] is None


def test_a_cell_whose_first_call_fails_can_be_called_again():
    xs, cell = np.ones((4, 2, 3), np.float32), nn.LSTM(3, 5, rng=0)
    bad = xs.copy()
    bad[2] = np.inf
    with pytest.raises(RuntimeError, match="NaN"), tg.detect_anomaly():
        cell(bad)
    expected = nn.LSTM(3, 5, rng=0)(xs)[0].data
    for _ in range(3):
        np.testing.assert_array_equal(cell(xs)[0].data, expected)


def test_a_cell_is_first_called_by_several_threads():
    xs = np.ones((500, 4, 3), np.float32)
    for _ in range(5):
        cell = nn.LSTM(3, 16, rng=0)
        with ThreadPoolExecutor(4) as pool:
            found = [y.data for y, _ in pool.map(cell, [xs] * 4)]
        assert all(np.array_equal(found[0], y) for y in found)


def test_whole_numbers_in_a_loop_have_room():
    """Softmax of bytes, and rounding of what no float holds."""
    x = np.array([[-100, 100, 3]], np.int8)
    large = np.array([[2**53 + 1, 2**63 - 1, -5]])

    def step(x, y, h):
        softs = tg.softmax(x), tg.log_softmax(x), tg.logsumexp(x), tg.softmax(x > 0)
        return (h, *softs, tg.floor(y), tg.trunc(y) * y, tg.ceil(y) + 1)

    with np.errstate(over="ignore"):
        found, expected = (tg.scan(step, np.zeros(1), (x, large), unroll=u) for u in (False, True))
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-15)
        assert a.dtype == b.dtype


def test_an_op_of_ones_own_on_bytes_runs_where_they_wrap():
    @pointwise(None)
    def third(x):
        return (x + x + x) / 3

    x = np.array([100, -3], np.int8)
    with pytest.warns(tg.ScanWarning, match="third, an op of your own, of whole numbers"):
        found = tg.scan(lambda x, h: (h, third(x)), np.zeros(()), x)[1]
    np.testing.assert_array_equal(found.data, third(x))


def test_a_sum_that_llvm_does_not_vectorise_says_nothing(tmp_path):
    code = (
        "import numpy as np, tinygrad_rnn as tg\n"
        "step = lambda x, h: (h, tg.sum(tg.sinh(x) * 0.77))\n"
        "tg.scan(step, np.zeros(1), np.ones((3, 9, 5)))"
    )
    there = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.compiled
def test_whole_numbers_of_every_width_in_a_compiled_loop():
    """A sum over nothing, and casts of floats that have no room: by LLVM, not as plain Python."""
    xs = np.array([[-7.0, -1.0, -100.0, 3.0], [300.7, -40000.9, 7e4, 2e9]])
    kinds = [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]

    def step(x, h):
        casts = [tg.astype(x, dtype=kind) for kind in kinds]
        return (h, *casts, *[tg.sum_to(y, shape=x.shape) for y in casts])

    with np.errstate(invalid="ignore"):
        scans = [tg.scan(step, tg.tensor(0.0), xs, unroll=unroll) for unroll in (False, True)]
    for found, expected in zip(*scans, strict=True):
        assert found.dtype == expected.dtype and np.array_equal(found.data, expected.data)


LARGE, SIGNED = np.array([[2**63 + 5, 3, 2**64 - 1]], np.uint64), np.array([[-1, 3, 2**62]])


@pytest.mark.parametrize("step, x", [
    (lambda u, x, h: (h, tg.less(x, u), tg.equal(u, x)), SIGNED),
    (lambda u, x, h: (h, tg.remainder(x, u)), SIGNED > 0),
    (lambda u, x, h: (h, tg.astype(x, dtype=np.uint64) + u), np.array([[-3.5, 2.0, 7.0]])),
])  # fmt: skip
def test_uint64_beside_others_runs_step_by_step(step, x):
    """Compiled, it would be a float, or have a sign."""
    given = tg.tensor(0.0), [tg.tensor(LARGE), tg.tensor(x)]
    with pytest.warns(tg.ScanWarning, match="of uint64 and others has no compiled form"):
        found = tg.scan(step, *given)
    for a, b in zip(found, tg.scan(step, *given, unroll=True), strict=True):
        assert a.dtype == b.dtype and np.array_equal(a.data, b.data)


@pytest.mark.compiled
@pytest.mark.parametrize(("norm", "dtype", "hidden"), [
    ("ba2016", float, 4), ("ba2016", float, 7), ("per_gate", float, 7), ("per_gate", "f", 5),
    ("per_gate", "f", 13),
])  # fmt: skip
def test_a_row_of_a_normalised_cell_does_not_depend_on_its_batch_mates(norm, dtype, hidden):
    """To the bit, its gradients too: rows of a batch of one do not need each other either."""
    cell = nn.LSTM(5, hidden, norm=norm, dtype=np.dtype(dtype), rng=1)
    xs = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)

    def found(rows):
        x = tg.tensor(rows, requires_grad=True)
        ys, _ = cell(x)
        (ys * ys).sum().backward()
        return ys.data, x.grad.data

    among = found(xs)
    for k in range(4):
        for one, other in zip(found(xs[:, k : k + 1]), among, strict=True):
            np.testing.assert_array_equal(one[:, 0], other[:, k])


@pytest.mark.compiled
@pytest.mark.parametrize("op", [tg.relu, tg.sign])
def test_zero_has_no_sign_in_a_loop_that_it_has_not_outside(op):
    x = tg.tensor([-0.0, 0.0, np.nan, -2.0, 3.0])
    step = lambda h: (h, op(h))
    found, expected = [fold(step, x, None, length=1)[1].data for fold in (tg.scan, tg.unroll)]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[0, :2]), np.signbit(expected[0, :2]))


@pytest.mark.compiled
def test_a_row_is_the_same_alone_where_numbers_far_apart_are_added_up():
    """Over an axis that is not the last: alone they stand beside each other."""

    def step(x, h):
        inner = lambda a, s: (tg.sin(s + a * 0.5) * tg.sigmoid(x), s * 0.5)
        path = tg.scan(inner, x, tg.stack([x, tg.sin(x), x * 0.5]))[0]
        return 0.7 * h + 0.3 * tg.tanh(path.mean(axis=0))

    rng = np.random.default_rng(0)
    xs, h = rng.normal(size=(6, 5, 1)), rng.normal(size=(5, 1))

    def found(xs, h):
        x = tg.tensor(xs, requires_grad=True)
        (y,) = tg.scan(step, h, x)
        (y * y).sum().backward()
        return y.data, x.grad.data

    among = found(xs, h)
    for k in range(5):
        for one, other in zip(found(xs[:, k : k + 1], h[k : k + 1]), among, strict=True):
            np.testing.assert_array_equal(one[:, 0], other[:, k])


@pytest.mark.compiled
def test_a_row_of_float32_is_the_same_alone_where_a_sum_goes_over_an_axis_before_it():
    rng = np.random.default_rng(0)
    xs, h = rng.normal(size=(50, 6)).astype("f"), rng.normal(size=6).astype("f")
    step = lambda x, h: tg.tanh(tg.stack([x, h, x * h, x - h, h * h]).sum(axis=0))
    (among,) = tg.scan(step, h, xs)
    for k in range(6):
        (alone,) = tg.scan(step, h[k : k + 1], xs[:, k : k + 1])
        np.testing.assert_array_equal(alone.data[:, 0], among.data[:, k])


@pytest.mark.compiled
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_a_row_is_the_same_among_as_many_as_it_is_wide(rows):
    """With 4 rows of 4 numbers the loop sees no batch, and is another text."""
    rng = np.random.default_rng(1)
    W, U = tg.tensor(rng.normal(size=(5, 4))), tg.tensor(rng.normal(size=(2, 4)))
    step = lambda x, h: tg.tanh(h + (x @ W + h @ U).mean(axis=-1, keepdims=True))
    xs, h = rng.normal(size=(3, 8, 5)), rng.normal(size=(8, 2))
    (among,), (alone,) = tg.scan(step, h, xs), tg.scan(step, h[:rows], xs[:, :rows])
    np.testing.assert_array_equal(alone.data, among.data[:, :rows])


@pytest.mark.compiled
def test_a_row_is_the_same_where_a_weight_is_as_wide_as_there_are_rows():
    """The width is a number of the text then, and not one that the loop is given."""
    rng = np.random.default_rng(0)
    W, xs = tg.tensor(rng.normal(size=(3, 10))), rng.normal(size=(5, 10, 3))
    step = lambda x, h: (h, tg.sum(x @ W, axis=-1))
    among = tg.scan(step, np.zeros((10, 2)), xs)[1].data
    for rows in (1, 9):
        alone = tg.scan(step, np.zeros((rows, 2)), xs[:, :rows])[1].data
        np.testing.assert_array_equal(alone, among[:, :rows])


def test_a_step_is_the_same_however_many_shapes_were_met(monkeypatch):
    """What a process forgets first may not be what the step did a moment ago."""
    monkeypatch.setattr(caches.answers, "most", 200)

    def step(x, h, n):
        n = 0.9 * n + 0.1  # the same for all batches, and so long known
        for k in range(1, 20):
            h = h + x[:, :k].sum(axis=1, keepdims=True) * 0.01
        return tg.tanh(h) * n, n

    for batch in range(1, 30):
        tg.scan(step, (np.zeros((batch, 1)), tg.tensor(1.0)), np.ones((2, batch, 60)))


@pytest.mark.filterwarnings("ignore::tinygrad_rnn.ScanWarning")
def test_values_put_at_a_mask_and_at_places_that_a_step_is_given():
    mask, places = np.array([True, False, True]), np.array([[0, 2], [1, 1], [2, 0]])
    h = tg.tensor(numbers(0, 3), requires_grad=True)

    def step(i, h):
        put = tg.index_put(0.5 * h, mask, h[:2] * h[1])
        return put, tg.index_put(put, i, h[:2], accumulate=True)

    found, expected = [
        [y.data for y in (*ys, *tg.grad((ys[0] ** 2).sum() + (ys[1] ** 3).sum(), [h]))]
        for ys in (tg.scan(step, h, places), tg.unroll(step, h, places))
    ]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    several = tg.transforms.vmap(lambda i: tg.index_put(h, i, 2.0, accumulate=True))(places)
    for row, i in zip(several.data, places, strict=True):
        np.testing.assert_array_equal(row, tg.index_put(h, i, 2.0, accumulate=True).data)


def test_a_table_may_be_read_several_times_in_a_step():
    """Its gradient is a sum of rows from several places, each added where it belongs."""
    table = tg.tensor(numbers(0, 7, H), requires_grad=True)
    i, j = np.random.default_rng(1).integers(0, 7, size=(2, 5, 3))
    steps = [
        lambda i, j, h: tg.tanh(table[i] * table[j] + 0.5 * h),
        lambda i, j, h: tg.tanh(tg.embedding(table, i) + table[j] * h + table[i] * table[i]),
    ]
    for step in steps:
        found, expected = [
            [y.data for y in (ys, tg.grad((ys * ys).sum(), table))]
            for fold in (tg.scan, tg.unroll)
            for ys in fold(step, np.zeros((3, H)), (i, j))
        ]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_the_first_op_of_a_process_may_be_a_slice():
    caches.clear()
    xs = numbers(0, 4, 3)
    found = tg.scan(lambda x, h: h + x[1:], np.zeros(2), xs)[0].data
    np.testing.assert_allclose(found, np.cumsum(xs[:, 1:], axis=0))


# -- steps in which much is alike ------------------------------------------------------------------


def repeated(count):
    """A step of so many blocks that do the same, in both float types."""

    def step(x, h, s):
        for _ in range(count):
            h = h + 0.1 * (tg.tanh(h @ U + b) * tg.sigmoid(x) - h)
            s = s + 0.1 * (tg.tanh(s @ SINGLE + s) * tg.sigmoid(s) - s)
        return h, s, h

    return step


SINGLE = tg.tensor(0.5 * numbers(7, 3, 3).astype("f"), requires_grad=True)


@pytest.mark.compiled
def test_loops_that_are_alike_are_one_function():
    """Of twelve blocks in each float type: written once for each, and called in all."""
    xs, h, s = numbers(0, 6, 2, H), numbers(1, 2, H), numbers(2, 2, 3).astype("f")
    found = []
    for unroll in (False, True):
        x = tg.tensor(xs, requires_grad=True)
        states = tg.scan(repeated(12), (h, s), x, unroll=unroll)
        loss = (states[0] ** 2).sum() + (states[1] ** 2).sum()
        found.append([y.data for y in (*states, *tg.grad(loss, [x, U, b, SINGLE]))])
        if not unroll:
            program = tg.scan(repeated(12), (h, s), x)[0].inputs[0].attrs["run"].program
    for one, other in zip(*found, strict=True):
        tolerance = 1e-12 if one.dtype == np.float64 else 3e-6
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    for plan in (program.forward, *program.backs.values()):
        kinds = [(np.dtype(np.float64), 1), *[(a.dtype, a.ndim) for a in plan.arguments]]
        counts = 6 + len(plan.values)
        module = str(text.written(plan.source, counts, kinds, plan.called))
        written = module.count('define internal void @"part.')
        assert 2 <= written <= 4 and module.count('call void @"part.') >= 8


def test_the_text_of_a_chain_grows_with_its_length_and_no_faster():
    """What products lie between is kept, and not done again from the beginning in every loop."""
    lengths = []
    for count in (10, 20, 40):
        h, s = np.zeros((2, H)), np.zeros((2, 3), np.float32)
        run = tg.scan(repeated(count), (h, s), np.zeros((2, 2, H)))[0].inputs[0].attrs["run"]
        lengths.append([len(text.splitlines()) for text in run.source.split("def backward")])
    for few, more, many in zip(*lengths, strict=True):
        assert many - more < 2.2 * (more - few)


def sines(x, h, n):
    """So long that what is kept on the way is what is turned, with the batch behind."""
    y = x + h
    for _ in range(n):
        y = tg.sin(y)
    return y.T.T


def products(x, h, n):
    """The same of a view that a sum over time reads."""
    for k in range(n):
        h = h * x if k % 2 else h + x
    return h[:, :2] @ WIDE


WIDE = tg.tensor(numbers(7, 2, 3), requires_grad=True)


@pytest.mark.compiled
@pytest.mark.parametrize("n", range(60, 66))
@pytest.mark.parametrize("step", [sines, products])
def test_what_is_kept_of_a_long_formula_has_room_wherever_it_ends(step, n):
    found, h = [], np.ones((4, 3))
    for unroll in (False, True):
        xs = tg.tensor(numbers(1, 2, 4, 3) * 0.1 + 1.0, requires_grad=True)
        (ys,) = tg.scan(lambda x, h: step(x, h, n), h, xs, unroll=unroll)
        assert unroll or "run" in ys.inputs[0].attrs
        grads = tg.grad((ys * ys).sum(), [xs] if step is sines else [xs, WIDE])
        found.append([ys.data, *[g.data for g in grads]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


@pytest.mark.compiled
def test_long_formulas_in_tangents():
    W, xs, h = numbers(0, 3, 3), numbers(1, 2, 4, 3), numbers(2, 4, 3)

    def last(W, unroll):
        def step(x, h):
            for _ in range(32):
                h = 0.9 * h + 0.1 * tg.tanh(h @ W + x) * tg.sigmoid(x)
            return h

        return tg.scan(step, h, xs, unroll=unroll)[0]

    tangent = lambda unroll: tg.transforms.jvp(lambda W: last(W, unroll), (W,), (W,))[1].data
    one, other = map(tangent, (False, True))
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
