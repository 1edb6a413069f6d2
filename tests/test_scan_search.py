"""Scan, searched for silent wrong numbers: random steps, pairs that differ in one thing, names.

Loops run as plain Python here (see `plain_loops`), so that many can be tried.
"""

import builtins
import contextlib
import copy
import functools
import gc
import inspect
import itertools
import random
import re
import sys
import threading
import time
import types
import warnings
import weakref
from collections import defaultdict, deque

import numpy as np
import pytest
from plain_loops import uncompiled
from test_scan import PARTS, H, U, V, b, check, numbers

import tinygrad_rnn as tg
from tinygrad_rnn import caches, nn
from tinygrad_rnn.kernels import generated, kept, text, waiting
from tinygrad_rnn.loops import compiled, places, runtime
from tinygrad_rnn.loops.reach import Reach
from tinygrad_rnn.nn.cell import _known

B, T = 3, 4


@pytest.fixture
def plain():
    with uncompiled():
        yield


@pytest.fixture
def split(monkeypatch):
    threads = tg.get_num_threads()
    monkeypatch.setattr(runtime, "SHORT", -1)
    tg.set_num_threads(2)
    yield
    tg.set_num_threads(threads)


def random_parts(rng, least=2, most=7):
    words = sorted(PARTS)
    count = rng.randint(least, most)
    return [(rng.choice(words), rng.randrange(10), rng.randrange(10)) for _ in range(count)]


def mixed(parts, pool):
    """A pool of arrays (B, H), and what random ops make of them."""
    pool = list(pool)
    for name, i, j in parts:
        pool.append(PARTS[name](pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]))
    return pool


@pytest.mark.parametrize("seed", range(6))
def test_random_steps(seed, plain, split):
    """Compiled is unrolled, and no loop reads what nobody wrote: its memory holds NaN."""
    rng = random.Random(seed)
    for _ in range(12):
        parts, batch, states = random_parts(rng), rng.choice([1, 3, 9]), rng.choice([1, 2])

        def step(x, *state, parts=parts):
            pool = mixed(parts, [*state, x])
            new = [tg.tanh(y) for y in pool[-len(state) :]]
            return [*new, pool[-len(state) - 1] + pool[len(state)]]

        how = {"reverse": rng.random() < 0.5, "checkpoint": rng.choice([None, "sqrt", 1])}
        carry = [numbers(k, batch, H) for k in range(states)]
        check(step, carry, [numbers(5, T, batch, H)], [U, V, b], tolerance=1e-10,
              second=rng.random() < 0.1, **how)  # fmt: skip


def random_scan(rng, deep):
    """What random steps make of the arrays of a pool, one by one, with steps in them too."""
    before, parts = random_parts(rng, 1, 4), random_parts(rng, 1, 5)
    length, states, reads = rng.choice([1, 2, 4]), rng.choice([1, 2]), rng.randrange(3)
    last_first, first = rng.random() < 0.5, rng.random() < 0.5
    deeper = random_scan(rng, deep - 1) if deep > 1 else None

    def scan(pool):
        pool = mixed(before, pool)
        xs = [tg.stack([tg.sin(pool[-1 - j % len(pool)])] * length) for j in range(reads)]

        def step(*given):
            made = mixed(parts, [*given, pool[-1], pool[0]])
            made += [deeper([*made[-2:], *given])] if deeper else []
            return [*map(tg.tanh, made[-states:]), made[-1] + given[0]]

        carry = [pool[-1 - j % len(pool)] for j in range(states)]
        ys = tg.scan(step, carry, tuple(xs) or None, length=length, reverse=last_first)
        return (ys[0 if first else -1] + ys[-1][-1]).mean(axis=0)

    return scan


@pytest.mark.parametrize("seed", range(4))
def test_random_steps_in_steps(seed, plain):
    rng = random.Random(seed)
    for _ in range(8):
        scans = [random_scan(rng, rng.choice([1, 1, 2])) for _ in range(rng.choice([1, 1, 2]))]
        parts, batch, states = random_parts(rng, 1, 4), rng.choice([1, 3]), rng.choice([1, 2])

        def step(x, *state, parts=parts, scans=scans):
            pool = mixed(parts, [*state, x])
            for scan in scans:
                pool.append(scan(pool))
            return [*map(tg.tanh, pool[-len(state) :]), pool[-1] + pool[0]]

        how = {"reverse": rng.random() < 0.5, "checkpoint": rng.choice([None, "sqrt", 1])}
        carry = [numbers(k, batch, H) for k in range(states)]
        check(step, carry, [numbers(5, T, batch, H)], [U, V, b], tolerance=1e-9, **how)


# -- pairs of steps that differ in one thing -------------------------------------------------------

settings = types.ModuleType("settings")
NUMBER = 1.0


class Holder:
    number = 1.0

    def __init__(self):
        self.inside = {"numbers": [1.0]}

    def read(self):
        return self.inside["numbers"][0]


holder, table, marks = Holder(), {"a": [1.0]}, np.ones(1)


def helper():
    return table["a"][0]


def reads_module():
    return settings.number


def reads_global():
    return NUMBER


def reads_class():
    return Holder.number


def reads_method():
    return holder.read()


def reads_array():
    return float(marks[0])


def set_number(value):
    """One number in every place where somebody's op may find it."""
    global NUMBER
    NUMBER = settings.number = Holder.number = marks[0] = table["a"][0] = value
    holder.inside["numbers"][0] = value


def own(read, name="own"):
    """An op whose body and derivative read a number that is no input."""

    def body(x):
        return x * read()

    body.__name__ = name
    return tg.pointwise(lambda g, y, x: g * read())(body)


@tg.pointwise(lambda g, y, x: g * settings.number)
def by_module(x):
    return x * settings.number


@tg.pointwise(lambda g, y, x: g * NUMBER)
def by_global(x):
    return x * NUMBER


ELSEWHERE = {
    read.__name__: own(read)
    for read in (reads_module, reads_global, reads_class, reads_method, reads_array, helper)
}


def in_closure(value):
    return tg.pointwise(lambda g, y, x: g * value)(lambda x: x * value)


def by_default(value):
    def body(x, factor=value):
        return x * factor

    return tg.pointwise(lambda g, y, x, factor: g * factor)(body)


def by_rule(value):
    def body(x):
        return x * 1.0

    return tg.pointwise(lambda g, y, x: g * value)(body)


def widened(x):
    return np.repeat(x, int(NUMBER) + 1, axis=1)


wide = tg.primitive(lambda g, y, x: g.reshape(len(x), H, -1).sum(axis=-1))(widened)


def captured(seed, *shape, **how):
    return tg.Tensor(0.5 * numbers(seed, *shape), **{"requires_grad": True, **how})


def within(block, function):
    def call(p):
        with block:
            return function(p)

    return call


def times(w):
    return lambda p: p * w


def reciprocal(zero):
    """Of a zero that only a choice brings in: its sign is in the text."""
    return lambda p: 1 / tg.maximum(1 / tg.where(p > 0, zero, 1.0), -2)


DIFFERENCES = {  # of p (B, H), something that depends on one thing; and two of that thing
    "kind of a number": (lambda v: lambda p: tg.astype(p * 4, dtype=np.int16) * v * 0.5, 2, 2.0),
    "a flag": (lambda v: lambda p: tg.where(p > 0, v, 2), True, 1),
    "a number": (lambda v: lambda p: p * v, 2, 3),
    "a half": (lambda v: lambda p: p * v, 0.5, 0.25),
    "sign of zero": (reciprocal, 0.0, -0.0),
    "name": (lambda v: times(captured(0, H, name=v)), "w", "h"),
    "whether it learns": (lambda v: times(captured(0, H, requires_grad=v)), True, False),
    "dtype": (lambda v: times(captured(0, H, dtype=v)), np.float64, np.float32),
    "shape": (lambda v: times(captured(0, *v)), (H,), (1,)),
    "order": (lambda v: lambda p: (p @ v[0]) * 0.5 + tg.tanh(p @ v[1]), (U, V), (V, U)),
    "tied": (lambda v: lambda p: tg.tanh(p @ v[0]) @ v[1], (U, U), (U, V)),
    "axis": (lambda v: lambda p: tg.softmax(p, axis=v), 0, 1),
    "cut": (lambda v: lambda p: p * (p.detach() if v else p), True, False),
    "recording": (lambda v: within(tg.no_grad() if v else tg.scope(""), tg.tanh), True, False),
    "scope": (lambda v: within(tg.scope(v), tg.tanh), "a", "b"),
    "index": (lambda v: lambda p: p * p[:, v], slice(0, 1), slice(1, 2)),
    "closure of an op": (lambda v: in_closure(v), 2.0, 3.0),
    "default of an op": (lambda v: by_default(v), 2.0, 3.0),
    "rule of an op": (lambda v: by_rule(v), 2.0, 3.0),
    "name of an op": (lambda v: own(lambda: 2.0, v), "add", "pick"),
    "attribute of an op": (lambda v: functools.partial(by_default(1.0), factor=v), 2.0, 2),
    **{
        name: (lambda v, op=op: set_number(v) or op, 2.0, 3.0) for name, op in ELSEWHERE.items()
    },
    "shape that an op gives": (
        lambda v: set_number(v) or (lambda p: p + wide(p).sum(axis=1, keepdims=True)), 1.0, 2.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_M09_pairs_that_differ_in_one_thing(name, plain):
    """Each after the other in one process: what one compiled never serves the other."""
    make, *values = DIFFERENCES[name]
    rng = random.Random(name)
    for order in (values, values[::-1]):
        parts, at = random_parts(rng, 1, 3), rng.randrange(2)
        for value in order:
            piece = make(value)

            def step(x, h, parts=parts, at=at, piece=piece):
                p = piece([x, h][at])
                return tg.tanh(mixed(parts, [h, x, p * 0.5])[-1] + p + h @ U * 0.1)

            carry, xs = [numbers(1, B, H)], [numbers(2, T, B, H)]
            check(step, carry, xs, [U, V, b], tolerance=1e-10, second=False)


def test_which_are_inputs_which_states_which_outputs(plain):
    """The same ops on the same arrays, shared out differently over x, carry and outputs."""
    steps = {
        (2, 1): lambda a, b, c: (tg.tanh(a + c), a * c + b),
        (1, 2): lambda a, b, c: (tg.tanh(a + c), a * c + b),
        (0, 3): lambda a, b, c: (tg.tanh(a + c), a * c + b, b),
        (2, 1, "one"): lambda a, b, c: tg.tanh(a + c),
    }
    for keys in itertools.permutations(steps, 2):
        for key in keys:
            xs = [numbers(k, T, B, H) for k in range(key[0])]
            carry = [numbers(5 + k, B, H) for k in range(key[1])]
            how = {} if xs else {"length": T}
            check(steps[key], carry, xs, second=False, **how)


def test_the_order_of_keywords_means_nothing(plain):
    pairs = [dict(axis=0, keepdims=True), dict(keepdims=True, axis=0), dict(axis=1, keepdims=False),
             dict(keepdims=False, axis=1)]  # fmt: skip
    for first, second in itertools.permutations(pairs, 2):
        for how in (first, second):
            step = lambda x, h, how=how: tg.tanh(x + h + tg.sum(x @ x.T, **how).sum())
            check(step, [numbers(1, B, H)], [numbers(2, T, B, H)], second=False)


def test_two_numbers_that_are_each_others_company(plain):
    for values in itertools.permutations([(2, 1.0), (2, 1), (2.0, 1), (2.0, 1.0)], 2):
        for p, q in values:
            step = lambda x, h, p=p, q=q: (tg.tanh(x + h), tg.where(x > 0, p, q))
            check(step, [numbers(1, B, H)], [numbers(2, T, B, H)], second=False)


def test_two_is_not_two_point_zero_beside_whole_numbers():
    x, h = np.array([[[20000]], [[-15000]]], np.int16), np.zeros((1, 1))
    make = lambda k: lambda x, h: 0.9 * h + 0.1 * (x * k)
    with np.errstate(over="ignore"):
        low = [20000.0 * 2 - 65536, -15000.0 * 2]  # 16 bits hold -32768 … 32767
    for k, first in ((2, low), (2.0, [40000.0, -30000.0])):
        path = tg.scan(make(k), h, x)[0].data.ravel()
        np.testing.assert_allclose(path, [0.1 * first[0], 0.09 * first[0] + 0.1 * first[1]])


@pytest.mark.compiled
def test_what_an_op_reads_elsewhere_is_known_when_it_is_compiled():
    """With the compiler. A module's attribute has no compiled form: then step by step, and said."""
    x = numbers(3, 2, 1, 1)
    for op in (by_global, by_module):
        for value in (2.0, 5.0):
            set_number(value)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", tg.ScanWarning)
                (y,) = tg.scan(lambda x, h, op=op: op(x) + h, np.zeros((1, 1)), x)
            np.testing.assert_allclose(y.data.ravel(), np.cumsum(x.ravel() * value))


def test_M09_an_op_made_anew_at_every_call_is_the_same_op(monkeypatch, plain):
    made = []
    program_of = compiled.program_of
    monkeypatch.setattr(compiled, "program_of", lambda step: made.append(1) or program_of(step))
    x, h = numbers(1, T, B, H), numbers(2, B, H)
    for value in (2.0, 2.0, 2.0, 3.0, 2.0):
        op = in_closure(value)
        (y,) = tg.scan(lambda x, h, op=op: tg.tanh(op(x) + h), h, x)
        (z,) = tg.unroll(lambda x, h, op=op: tg.tanh(op(x) + h), h, x)
        np.testing.assert_allclose(y.data, z.data)
    assert len(made) == 2


def test_what_is_remembered_has_a_bound_and_can_be_forgotten(monkeypatch, plain):
    cache = caches.Cache(2)
    assert [cache.keep(word, word.upper()) for word in "abc"] == ["A", "B", "C"]
    assert cache.recent("b") == "B" and cache.recent("a") is None
    cache.keep("d", "D")
    assert {*cache} == {"b", "d"}
    made = []
    program_of = compiled.program_of
    monkeypatch.setattr(compiled, "program_of", lambda step: made.append(1) or program_of(step))
    paths = []
    for forget in (False, False, True):
        if forget:
            caches.clear()
        assert len(caches.programs) == (len(made) and not forget)
        (y,) = tg.scan(lambda x, h: tg.tanh(x + h), h1, numbers(1, T, B, H))
        paths.append(y.data)
    assert len(made) == 2
    np.testing.assert_array_equal(paths, [paths[0]] * 3)


def test_M04_what_an_op_reads_must_not_change_before_the_backward_pass(plain):
    set_number(2.0)
    x = tg.tensor(numbers(1, T, B, H), requires_grad=True)
    (y,) = tg.scan(lambda x, h: by_global(x) + h, numbers(2, B, H), x)
    set_number(3.0)
    with pytest.raises(RuntimeError, match="by_global: something that it reads"):
        y.sum().backward()


# -- names mean nothing ----------------------------------------------------------------------------


def words_of_texts():
    """Every word that stands in a generated text, and some that a text might hold."""
    weights = [captured(k, H, H) for k in range(3)]
    table = captured(5, 6, H)

    def wide_step(x, i, h, c):
        p = mixed([("coupled", 0, 1)], [h, x])[-1] @ weights[0]
        q = own(lambda: 2.0)(h @ weights[1] + x @ weights[2].T) + tg.embedding(table, i)
        return tg.tanh(p + q), tg.softmax(c + q) * 0.37

    steps = [(wide_step, [numbers(1, B, H), numbers(2, B, H)], 2)]
    for names in itertools.batched(PARTS, 9) if hasattr(itertools, "batched") else [[*PARTS]]:
        parts = [(name, 0, 1) for name in names]
        steps.append((lambda x, h, parts=parts: tg.tanh(mixed(parts, [x, h])[-1]), [h1], 1))
    found = set()
    for step, carry, inputs in steps:
        xs = (numbers(3, T, B, H), np.zeros((T, B), int))[:inputs]
        found |= set(re.findall(r"[A-Za-z_]\w*", tg.loops.scan_source(step, carry, xs)))
    return found


h1 = numbers(1, B, H)
STRANGE = ["", " ", "a b", "π", "1", "x'", 'a"b', "W[0]", "__class__", "h\n", "-", "W.W", "a" * 300]


def test_names_mean_nothing(plain):
    """Tensors, ops and scopes by every name there is: the numbers are the same."""
    texts = words_of_texts()
    texts = {word for word in texts if not re.search(r"\d\d|[2-9]$", word)}  # x_row1 for x_row77
    usual = {"print", "sum", "forward", "grad", "T", "x0", "g0", "y1", "dW", "v1", "v2", "rows1"}
    usual |= {"x_row1", "x_packed", "W_packed", "scratch", "product_1"}
    ours = {*places.RESERVED, *text.words(None)} - {*dir(builtins)}
    words = [*texts, *ours, *STRANGE, *usual]
    words = sorted({*words})
    assert len(words) >= 200 and {"multiply", "scratch", "count", "low"} <= {*words}
    random.Random(0).shuffle(words)
    expected = None
    for k in range(0, len(words), 7):
        names = (words[k : k + 7] + words[:7])[:7]
        found = named_run(*names)
        expected = expected or found
        for y, z in zip(found, expected, strict=True):
            np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-12, err_msg=str(names))


def named_run(w, u, p, state, sequence, first, second):
    W, U, P = (captured(k, *shape, name=name) for k, (name, shape) in
               enumerate([(w, (H, H)), (u, (H, H)), (p, (H,))]))  # fmt: skip
    ops = [own(lambda: 2.0, first), own(lambda: 0.5, second)]
    h0, x = captured(4, B, H, name=state), captured(5, T, B, H, name=sequence)

    def step(x, h):
        with tg.scope(w or "scope"):
            a = ops[0](x @ U) + (h * P) @ W
            a.name = second
        return tg.tanh(a + ops[1](h @ W.T)), a * 0.5

    paths = tg.scan(step, h0, x)
    loss = sum((y * y).sum() for y in paths)
    return [y.data for y in [*paths, *tg.grad(loss, [W, U, P, h0, x])]]


def test_ops_of_the_library_have_names_of_their_own():
    """Loops tell the library's ops apart by name: no two may share one."""
    modules = {m for m in vars(tg).values() if isinstance(m, types.ModuleType)}
    modules |= {m for o in modules for m in vars(o).values() if isinstance(m, types.ModuleType)}
    ops = {x for m in modules for x in vars(m).values() if isinstance(x, tg.op.Op) and x.ours}
    names = [op.name for op in ops if op.pointwise]
    assert len(names) > 20 and len({*names}) == len(names)


# -- a step is a pure function, or refused ---------------------------------------------------------

COUNT = 0


class Tally(dict):
    count = 0

    def tick(self):
        self.count += 1
        return self.count


class Counter:
    total, everyones = 0, []

    def __init__(self):
        self.count, self.seen, self.when = 0, [], {"first": None}

    def __call__(self):
        self.count += 1
        return self.count

    def note(self):
        self.seen.append(1)
        return len(self.seen)

    def share(self):
        self.everyones.append(1)
        return len(self.everyones)

    def tick(self):
        Counter.total += 1
        return Counter.total


def impure_steps():
    """Ways to do something else each time, each with what a refusal says of it."""
    numpys, stdlib, legacy = np.random.default_rng(0), random.Random(0), np.random.RandomState(0)
    order, cycle, counter = iter([0.1] * 99), itertools.cycle([0.1, 0.2]), Counter()
    numbers_ahead, under_way, tally = (k for k in range(99)), (k for k in range(99)), Tally()
    next(under_way)
    log, array, cell, count = [], np.zeros(3), 0, itertools.count()
    weight = captured(0, H)

    def by_nonlocal():
        nonlocal cell
        cell += 1
        return cell

    def by_global():
        global COUNT
        COUNT += 1
        return COUNT

    def by_array():
        array[1] += 1
        return array[1]

    def by_weight():
        weight.data = weight.data + 1
        return 1

    def by_default(seen=[]):  # noqa: B006
        seen.append(1)
        return len(seen)

    def by_attribute():
        by_attribute.count = getattr(by_attribute, "count", 0) + 1
        return by_attribute.count

    def by_cache():
        log.append(1)
        return len(log)

    return {
        "a NumPy generator": (lambda: numpys.random() < 0.01, "draws random numbers from numpys"),
        "its other face": (lambda: numpys.normal() > 9, "draws random numbers from numpys"),
        "a generator of Python's": (lambda: stdlib.random() < 0.01, "draws .* from stdlib"),
        "a legacy generator": (lambda: legacy.rand() < 0.01, "draws .* from legacy"),
        "random": (lambda: random.random() < 0.01, "draws random numbers from random"),
        "a normal of random": (lambda: random.gauss(0, 1) > 9, "draws .* from random"),
        "np.random": (lambda: np.random.random() < 0.01, r"draws .* from np\.random"),
        "a normal of np.random": (lambda: np.random.normal() > 9, r"draws .* from np\.random"),
        "an iterator": (lambda: next(order) > 9, "changes order"),
        "a cycle": (lambda: next(cycle) > 9, "changes cycle"),
        "a generator": (lambda: next(numbers_ahead) > 99, "changes numbers_ahead"),
        "a generator under way": (lambda: next(under_way) > 99, "changes under_way"),
        "a counter": (lambda: next(count) > 99, "changes count"),
        "nonlocal": (lambda: by_nonlocal() > 99, "changes cell"),
        "global": (lambda: by_global() > 99, "changes COUNT"),
        "an array": (lambda: by_array() > 99, "changes array"),
        "a weight": (lambda: by_weight() > 99, "changes weight"),
        "a default": (lambda: by_default() > 99, "changes .*0"),
        "a list": (lambda: by_cache() > 99, r"changes log\[0\]"),
        "an object": (lambda: counter() > 99, r"changes counter\.count"),
        "a list of an object": (lambda: counter.note() > 99, r"changes counter\.seen\[0\]"),
        "a list of a class": (lambda: counter.share() > 99, r"changes counter\.everyones\[\d"),
        "a function's own": (lambda: by_attribute() > 99, r"changes by_attribute\.count"),
        "a dict of one's own": (lambda: tally.tick() > 99, r"changes tally\.count"),
        "a class": (lambda: counter.tick() > 99, r"changes .*total"),
        "a dict": (lambda: counter.when.update(first=1), r"changes counter\.when\['first'\]"),
    }  # fmt: skip


@pytest.mark.parametrize("name", impure_steps())
def test_M03_a_step_that_draws_or_counts_is_refused_at_its_first_call(name, plain):
    """However seldom it makes a difference, and whatever was compiled before."""
    x, h = numbers(1, T, B, H), numbers(2, B, H)
    for before in (False, True):
        changes, words = impure_steps()[name]
        if before:
            tg.scan(lambda x, h: tg.tanh(x + h), h, x)
        with pytest.raises(tg.Untraceable, match=f"scan: the step {words}"):
            tg.scan(lambda x, h, f=changes: h * 0.5 if f() else tg.tanh(x + h), h, x)


@pytest.mark.parametrize("name", ["an object", "a NumPy generator", "nonlocal"])
def test_a_cell_that_draws_or_counts_is_refused(name, plain):
    changes, words = impure_steps()[name]

    class Own(nn.Cell):
        dtype = np.float64

        def __init__(self):
            self.inputs = self.hidden = H
            self.inner = nn.Linear(H, H, dtype=np.float64, rng=0)

        def step(self, x, h):
            return h * 0.5 if changes() else tg.tanh(self.inner(x) + h)

    for cell in (Own(), nn.Residual(Own())):
        with pytest.raises(tg.Untraceable, match=f"scan: the step {words}"):
            cell(numbers(1, T, B, H))


@pytest.mark.parametrize("name", ["an object", "a NumPy generator"])
def test_an_activation_that_draws_or_counts_is_refused(name, plain):
    changes, words = impure_steps()[name]
    own = lambda a: a if changes() else tg.tanh(a)
    for cell in (nn.RNN(H, H, activation=own), nn.LSTM(H, H, activations=("sigmoid", own, "tanh"))):
        with pytest.raises(tg.Untraceable, match=f"scan: the step {words}"):
            cell(numbers(1, T, B, H))


class Counting(nn.Cell):
    dtype = np.float64

    def __init__(self):
        self.inputs = self.hidden = H
        self.steps, self.last = 0, None

    def step(self, x, h):
        self.steps += 1
        return tg.tanh(x + h)


class Keeping(Counting):
    def step(self, x, h):
        h = tg.tanh(x + h + (0 if self.last is None else self.last))
        self.last = h
        return h


@pytest.mark.parametrize("cell, word", [(Counting(), "steps"), (Keeping(), "last")])
def test_a_cell_that_keeps_something_on_itself_is_refused(cell, word, plain):
    with pytest.raises(tg.Untraceable, match=rf"the step changes .*{word}\. It is run once"):
        cell(numbers(1, T, B, H))


def test_a_step_may_log_its_tensors_and_read_what_it_likes(plain):
    log, several, ring, marks = [], defaultdict(list), deque(), set()
    thing, rng, order = types.SimpleNamespace(scale=0.5), np.random.default_rng(0), iter([1, 2])
    cycle = itertools.cycle([1, 2])
    assert [next(cycle) for _ in range(3)] == [1, 2, 1]
    options = {"names": ["a"], "deep": [{"k": (1, 2.0)}], "copy": copy}

    def step(x, h):
        new = tg.tanh(x * thing.scale + h * options["deep"][0]["k"][1])
        log.append(new)
        several["h"].append((x, new))
        ring.append(new)
        marks.add(new)
        assert None not in (rng, order, cycle) and options["copy"].copy
        return new

    for _ in range(3):
        check(step, [numbers(2, B, H)], [numbers(1, T, B, H)], second=False)
    assert any(x.dtype == np.float64 for x in log)


def test_a_tensor_kept_from_a_step_says_so(plain):
    kept = []

    def step(x, h):
        kept.append(tg.tanh(x + h))
        return kept[-1]

    x, h = numbers(1, T, B, H), numbers(2, B, H)
    tg.scan(step, h, x)
    y = kept[0]
    uses = [lambda: y + 1.0, lambda: tg.tanh(y), lambda: y.data, lambda: y.numpy(), lambda: y[0],
            lambda: float(y.sum()), lambda: np.asarray(y), lambda: y @ y.T, lambda: y.sum(),
            lambda: tg.concat([y, y]), lambda: tg.tensor(y), lambda: y.reshape(-1), lambda: -y,
            lambda: tg.stack([y, y]), lambda: y.detach(),
            lambda: tg.scan(lambda x, h: tg.tanh(x + h + y), h, x),
            lambda: tg.scan(lambda x, h: y, h, x)]  # fmt: skip
    for use in uses:
        with pytest.raises(tg.Untraceable, match="was kept from inside a step"):
            use()
    assert "float64[3, 4]" in repr(y) and y.shape == (B, H)


def test_unseen_changes_are_found_where_they_make_other_numbers(plain):
    """What is made inside leaves no trace outside: it is found because the numbers differ."""
    with pytest.raises(tg.Untraceable, match="does not do the same each time"):
        tg.scan(lambda x, h: h * np.random.default_rng().random((B, H)), h1, numbers(1, T, B, H))


# -- shapes, and words -----------------------------------------------------------------------------


def test_an_axis_that_grows_at_batch_one(plain):
    W = captured(0, 3 * H, H)
    steps = [
        lambda x, h: tg.tanh(
            tg.broadcast_to((h * 0.5 + x).detach(), (3, H)).reshape(1, 3 * H) @ W + x
        ),
        lambda x, h: tg.tanh((h + x + V[:3]).sum(axis=0, keepdims=True) + h),
        lambda x, h: tg.tanh(tg.concat([h, x], axis=0).sum(axis=0, keepdims=True)),
        lambda x, h: tg.tanh((h.T @ x) @ b.reshape(H, 1)).T,
    ]
    for step in steps:
        check(step, [numbers(1, 1, H)], [numbers(2, T, 1, H)], [W, V, b], second=False)


def test_a_split_of_a_slice(plain):
    W = captured(0, H, 3 * H + 2)
    for cut in (slice(2, None), slice(1, -1), slice(None, -2)):

        def step(x, h, cut=cut):
            i, f, g = tg.split((x @ W)[:, cut], 3, axis=-1)
            return tg.tanh(h * tg.sigmoid(f) + tg.split(i * g, 2, axis=-1)[1].sum(-1, True))

        check(step, [numbers(1, B, H)], [numbers(2, T, B, H)], [W], second=False)


def test_powers_at_the_edge(plain):
    edge = np.array([[-np.inf, -0.0, 0.0, np.inf, np.nan, -1.0, 4.0]])
    for power in (0.5, -1, 0, 1, 2, 3, -0.5, 1.5):
        with np.errstate(all="ignore"):
            x = np.repeat(edge[None], 2, axis=0)
            paths = [run(lambda x, h, p=power: h * 0 + x**p, np.zeros((1, 7)), x)[0].data
                     for run in (tg.scan, tg.unroll)]  # fmt: skip
        np.testing.assert_array_equal(*paths)


def test_slopes_of_powers_at_the_edge(plain):
    """The rule is another where it may be differentiated again, as in a loop."""
    base = tg.tensor([[np.nan, np.nan, 0.0, -0.0, 0.0, np.inf, 2.0]], requires_grad=True)
    power = tg.tensor([[0.0, -0.0, np.nan, 0.0, np.inf, 0.0, 0.0]], requires_grad=True)
    with np.errstate(all="ignore"):
        found = [
            [g.data for g in tg.grad(y.sum(), [base, power], create_graph=again)]
            for again in (False, True)
            for y in (base**power, tg.scan(lambda h: (h, base**power), 0.0, None, length=1)[1])
        ]
    for pair in found[1:]:
        for one, other in zip(found[0], pair, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_long_step_is_written_without_deep_recursion(plain):
    def step(x, h):
        total = h * w
        for _ in range(120):
            h = h * 0.99 + 0.01
            total = total + h * w
        return tg.tanh(total) + x

    w = captured(0, H)
    given = [numbers(1, 1, H)], [numbers(2, 1, 1, H)], [w]
    check(step, *given, second=False)
    caches.programs.clear()
    allowed = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)  # calls inside each other
    try:
        check(step, *given, second=False)
    finally:
        sys.setrecursionlimit(allowed)


def test_a_text_grows_with_the_ops(plain):
    """In what all later ones read, nothing is computed again and again."""

    def step(x, h, ops):
        for k in range(ops):
            x, h = h - x * 0.5, x + h * 0.25
            if k % 10 == 9:
                h = tg.tanh(h @ W)
        return x + h

    W, given = captured(0, H, H), ([numbers(1, B, H)], [numbers(2, 2, B, H)])
    check(functools.partial(step, ops=30), *given, [W], second=False)
    sizes = [len(tg.loops.scan_source(functools.partial(step, ops=n), *given)) for n in (30, 90)]
    assert sizes[1] < 4 * sizes[0]


def test_what_is_compiled_for_long_is_said(plain, monkeypatch, caplog):
    def patient(source, *given):
        """As if it took until it has been said."""
        deadline, count = time.monotonic() + 5, len(texts)
        while len(caplog.messages) == count and time.monotonic() < deadline:
            time.sleep(0.001)
        texts.append(source)
        return function(source, *given)

    texts, function = [], generated.function
    monkeypatch.setattr(generated, "function", patient)
    monkeypatch.setattr(waiting, "PATIENCE", 0)
    monkeypatch.setattr(kept, "folder", lambda: "/somewhere")
    caplog.set_level("INFO", "tinygrad_rnn")
    before, W = threading.active_count(), captured(0, H, H)
    for _ in range(2):
        (y,) = tg.scan(lambda x, h: tg.tanh(h @ W + x), numbers(1, B, H), numbers(2, T, B, H))
        y.sum().backward()
    assert len(texts) == 2  # the forward pass and the backward pass, once
    assert caplog.messages == ["compiling a loop of 3 ops, once: it is kept in /somewhere"] * 2
    assert {record.levelname for record in caplog.records} == {"INFO"}  # nobody watches
    assert threading.active_count() == before
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    waiting._say(1)
    assert caplog.records[-1].levelname == "WARNING"
    assert caplog.messages[-1] == "compiling a loop of 1 op, once: it is kept in /somewhere"


def test_the_order_of_jax_is_refused():
    for run in (tg.scan, tg.unroll):
        for step in (lambda carry, x: carry + x, lambda h, x: h + x, lambda h, c, x: h + c):
            with pytest.raises(TypeError, match=r"the inputs first, step\(\*x, \*carry\)"):
                run(step, h1, numbers(1, T, B, H))
    with pytest.raises(TypeError, match=r"Turned\.step: the step is called with the inputs first"):
        type("Turned", (nn.Cell,), {"step": lambda self, h, x: h + x})
    (y,) = tg.unroll(lambda s: s * 0.5, h1, None, length=2)
    np.testing.assert_allclose(y.data[1], h1 / 4)


# -- what is known of a cell of the library ------------------------------------------------------

LIBRARY = {
    "RNN": lambda: tg.nn.RNN(3, 2, rng=0, dtype="float64"),
    "LSTM": lambda: tg.nn.LSTM(3, 2, peepholes=True, clip=0.3, rng=0, dtype="float64"),
    "GRU": lambda: tg.nn.GRU(3, 2, bias=True, rng=0, dtype="float64"),
    "MinimalGatedUnit": lambda: tg.nn.MinimalGatedUnit(3, 2, rng=0, dtype="float64"),
}


def _turned_activations(cell):
    if isinstance(cell, tg.nn.RNN):
        cell.activation = tg.relu
    elif hasattr(cell, "activations"):
        cell.activations = cell.activations[::-1]


def _other_weight(cell):
    cell.Wh = tg.tensor(cell.Wh.data[::-1].copy(), requires_grad=True)


def _weight_gone(cell):
    cell.b = None


def _in_place(cell):
    cell.Wx.data = cell.Wx.data * 2


def _frozen(cell):
    cell.Wh.requires_grad = False


def _no_clip(cell):
    cell.clip = None


def _other_order(cell):
    cell.order = cell.order[1::-1] + cell.order[2:]


def _own_step(cell):
    kind = type(cell)
    cell.__class__ = type("Own", (kind,), {"step": lambda self, x, *s: kind.step(self, 2 * x, *s)})


CHANGES = [
    _turned_activations, _other_weight, _weight_gone, _in_place, _frozen, _no_clip, _other_order,
    _own_step,
]  # fmt: skip


def _sizes(hidden=2):
    return {"inputs": 3, "hidden": hidden, "rng": 0, "dtype": "float64"}


AROUND = {  # what has modules, dicts or lists in it that its step reads
    "normalised": lambda: tg.nn.LSTM(norm="ba2016", **_sizes()),
    "Residual": lambda: tg.nn.Residual(tg.nn.GRU(**_sizes(3))),
    "Zoneout": lambda: tg.nn.Zoneout(tg.nn.LSTM(**_sizes()), h=0.4, c=0.2, rng=0).eval(),
    "TimeSkip": lambda: tg.nn.TimeSkip(tg.nn.LSTM(**_sizes()), 2),
    "two": lambda: tg.nn.Residual(tg.nn.TimeSkip(tg.nn.RNN(**_sizes(3)), 2)),
}


def _inner_weight(cell):
    inner = cell.modules()[-1]
    name = "gain" if isinstance(inner, tg.nn.LayerNorm) else "Wh"
    setattr(inner, name, tg.tensor(2 * getattr(inner, name).data, requires_grad=True))


def _inner_class(cell):
    inner = cell.modules()[-1]
    kind = type(inner)
    name = "step" if isinstance(inner, nn.Cell) else "__call__"
    method = getattr(kind, name)
    own = {name: lambda self, x, *state: method(self, 2 * x, *state)}
    inner.__class__ = type("Own", (kind,), own)


def _other_inside(cell):
    if isinstance(cell, nn.Modifier):
        cell.cell = nn.TimeSkip(cell.cell, 1)
    else:
        cell.norm_h, cell.norm_x = cell.norm_x, cell.norm_h
        cell.norm_x.gain.data = cell.norm_x.gain.data * 3


def _other_rate(cell):
    if isinstance(cell, nn.Zoneout):
        cell.rates["h"] = 0.9


INSIDE = [_inner_weight, _inner_class, _other_inside, _other_rate]


@pytest.mark.parametrize(
    ("kind", "change"),
    [*itertools.product(LIBRARY, CHANGES), *itertools.product(AROUND, INSIDE)],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_M04_M09_a_cell_that_is_changed_between_two_calls_does_what_it_then_says(
    kind, change, as_python
):
    xs = np.random.default_rng(1).normal(size=(3, 2, 3))

    def gradients(cell, **how):
        weights = cell.parameters()
        ys, _ = cell(xs, **how)
        return [ys.data, *[g.data for g in tg.grad((ys * ys).sum(), weights)]]

    cell = (LIBRARY | AROUND)[kind]()
    before = gradients(cell)
    again = gradients(cell)
    assert all(map(np.array_equal, before, again))
    assert _known(cell, False).resumed, "its step is run again"
    change(cell)
    for how in ({}, {"return_gates": False}, {"reverse": True}):
        got, expected = gradients(cell, **how), gradients(cell, unroll=True, **how)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


FROZEN = {
    **LIBRARY, **AROUND,
    "Residual of peepholes": lambda: tg.nn.Residual(tg.nn.LSTM(peepholes=True, **_sizes(3))),
    "ClipGradient": lambda: tg.nn.ClipGradient(tg.nn.LSTM(peepholes=True, **_sizes()), value=1.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", FROZEN)
def test_M04_frozen_weights_that_are_given_new_numbers_count(kind, as_python):
    """No piece of one is taken for a constant of the step, and each may be trained again."""
    cell, xs = FROZEN[kind]().freeze(), tg.tensor(np.random.default_rng(1).normal(size=(4, 2, 3)))
    for k in range(3):
        for found in (cell(xs)[0], cell(xs)[0]):
            np.testing.assert_allclose(found.data, cell(xs, unroll=True)[0].data, rtol=1e-12)
        cell.load_state_dict({name: a * 0.9 + k for name, a in cell.state_dict().items()})
    for x in cell._leaves().values():
        x.requires_grad = True
        for how in ({}, {"unroll": True}):
            assert tg.grad((cell(xs, **how)[0] ** 2).sum(), x, allow_unused=True) is not None or (
                kind == "TimeSkip"
            )
        x.requires_grad = False


def test_M04_a_patched_output_and_a_bound_method_are_noticed(monkeypatch, as_python):
    cell, xs = tg.nn.Residual(tg.nn.GRU(**_sizes(3))), np.ones((3, 2, 3))
    cell(xs), cell(xs)
    monkeypatch.setattr(tg.nn.Residual, "output", lambda self, x, *state: 2.0 * state[0])
    np.testing.assert_allclose(cell(xs)[0].data, cell(xs, unroll=True)[0].data, rtol=1e-12)
    cell = tg.nn.GRU(**_sizes())
    cell.shortcut, gone = cell.advance, weakref.ref(cell)
    cell(xs), cell(xs)
    del cell
    gc.collect()
    assert gone() is None


# -- what a step did the last time -----------------------------------------------------------------


TURNS = {
    "at": range(-1, 9), "part": range(9), "name": [None, "u"], "factor": [2.0, 0.37, 0.38],
    "scope": ["", "a"], "fixed": [False, True], "copies": [1, 2], "second": [-1, -2],
    "recording": [True, True, False],
}  # fmt: skip


def turning(parts, switch):
    """A step that is like another one up to where the switches turn it."""
    v, w = tg.tensor(numbers(7, B, H)), tg.tensor(numbers(8, B, H), requires_grad=True)

    def step(x, h):
        with tg.scope(switch["scope"]) if switch["scope"] else contextlib.nullcontext():
            x = x + w * (v if switch["fixed"] else x)
        pool = [h, tg.concat([x] * switch["copies"], axis=1)[:, :H]]
        if switch["name"]:
            pool[-1].name = switch["name"]
        for k, (name, i, j) in enumerate(parts):
            if switch["at"] == k:
                name, i, j = parts[switch["part"] % len(parts)]
            pool.append(PARTS[name](pool[-1 - i % len(pool)], pool[-1 - j % len(pool)]))
        with contextlib.nullcontext() if switch["recording"] else tg.no_grad():
            return tg.tanh(switch["factor"] * pool[-1]), pool[switch["second"]]

    return step


@pytest.mark.parametrize("seed", range(2))
def test_M03_a_step_that_turns_is_seen_wherever_it_turns(seed, plain):
    """Whatever a step did at earlier calls, its program is the one that a first call finds."""
    rng = random.Random(seed)
    switch = {name: values[0] for name, values in TURNS.items()}
    step = turning(random_parts(rng, 3), switch)
    carry, xs = tg.tensor(numbers(1, B, H)), tg.tensor(numbers(2, T, B, H), requires_grad=True)
    followed = 0
    for name in rng.sample(list(TURNS), len(TURNS)) * 2:
        usual, value = dict(switch), rng.choice(TURNS[name])
        for turned in (False, False, True, True, True, False):
            switch |= usual
            if turned:
                switch[name] = value
            with_past = tg.scan(step, carry, xs)
            pasts, caches.pasts = caches.pasts, caches.Cache(9)
            followed += len(pasts) > 0
            try:
                without = tg.scan(step, carry, xs)
            finally:
                caches.pasts = pasts
            runs = [out[0].inputs[0].attrs["run"] for out in (with_past, without)]
            assert runs[0].program is runs[1].program
            for a, b_ in zip(runs[0].captured.arrays, runs[1].captured.arrays, strict=True):
                np.testing.assert_array_equal(a, b_)
            slopes = [tg.grad(out[0].sum(), xs, allow_unused=True) for out in (with_past, without)]
            assert repr(slopes[0]) == repr(slopes[1])
        if rng.random() < 0.5:
            switch |= usual
    assert followed > 20


def test_what_a_step_did_holds_no_weights_and_hands_out_no_tensor_that_was_kept(plain):
    kept = []
    weight = tg.tensor(np.eye(H), requires_grad=True)
    xs, h = tg.tensor(numbers(2, T, B, H)), tg.tensor(numbers(1, B, H))
    switch = {"keep": False, "use": False}

    def step(x, h, weight=weight):
        y = x @ weight
        if switch["keep"]:
            kept.append(y)
        return tg.tanh((kept[-1] if switch["use"] else y) + h)

    def run():
        return tg.scan(step, h, xs)[0]

    for _ in range(3):
        run()
    *_, past = caches.pasts.values()
    reached = Reach(past.nodes, past.calls, past.leaves)
    assert not [x for x, *_ in reached.things if x is weight or x is weight._array]
    switch["keep"] = True
    for _ in range(3):
        run()
    assert len({id(y) for y in kept}) == len(kept), "one and the same tensor, twice"
    switch |= {"keep": False, "use": True}
    with pytest.raises(tg.Untraceable, match="was kept from inside a step"):
        run()


@pytest.fixture
def busy():
    """Another thread that draws from what is everybody's, as those do that load data."""
    stop, begun = threading.Event(), threading.Event()

    def draw():
        while not stop.is_set():
            np.random.permutation(5)
            random.random()
            begun.set()
            time.sleep(1e-3)

    thread = threading.Thread(target=draw)
    thread.start()
    begun.wait()
    yield
    stop.set()
    thread.join()


def test_what_other_threads_draw_is_not_taken_for_what_a_step_draws(busy):
    xs = np.ones((4, 2, 3), np.float32)
    for k in range(4):
        nn.LSTM(3, 3 + k, rng=0)(xs)
        tg.scan(lambda x, h, k=k: h + x * k, np.zeros(3), np.ones((2, 3)))
    layer = nn.GRU(3, 4, rng=0)
    gradients = tg.transforms.grad(lambda layer, x: layer(x)[0].sum())
    for _ in range(10):
        tg.transforms.vmap(gradients, in_axes=(None, 1))(layer, xs)
    for draw in (np.random.random, random.random):
        with pytest.raises(tg.Untraceable, match="draws random numbers"):
            tg.transforms.vmap(lambda x: x * draw())(np.ones((3, 2)))  # noqa: B023 (called at once)
        with pytest.raises(tg.Untraceable, match="draws random numbers"):
            tg.scan(lambda x, h: h + x * draw(), np.zeros(3), np.ones((2, 3)))  # noqa: B023


def test_a_step_that_is_known_is_tried_again_where_another_thread_drew(monkeypatch):
    """On what it sees at one time, and not on the whole sequence."""
    from tinygrad_rnn.loops import trace

    class Drawn:
        """What a step reaches, from which somebody draws once."""

        drew, said = True, []

        def __init__(self, *roots, **how):
            """Of no step in particular."""

        def changed(self):
            """Say it."""
            return self.said.pop() if self.said else None

    step = lambda x, h: tg.tanh(h + 2 * x)
    xs = np.random.default_rng(0).normal(size=(4, 2, 3))
    expected = tg.unroll(step, np.zeros((2, 3)), xs)[0].data
    monkeypatch.setattr(trace, "Reach", Drawn)
    monkeypatch.setattr(trace, "alone", lambda: False)
    for said in ([], [], ["changes its rng"], []):
        Drawn.said = said
        np.testing.assert_allclose(tg.scan(step, np.zeros((2, 3)), xs)[0].data, expected)
        assert not said


def test_what_other_threads_draw_for_a_cell_is_not_taken_for_what_its_step_draws():
    class Own(nn.Cell):
        def __init__(self):
            self.inputs = self.hidden = 3
            self.dropout = nn.Dropout(0.5, rng=0)

        def step(self, x, h):
            return self.dropout(x) + h

    def use(cell):
        try:
            for _ in range(8):
                cell(np.ones((4, 2, 3), np.float32))
        except Exception as error:
            wrong.append(error)

    wrong = []
    for _ in range(8):
        cell = Own()
        threads = [threading.Thread(target=use, args=[cell]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
