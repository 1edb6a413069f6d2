"""Random programs of all ops: what the engine derives is what complex steps show.

`EXAMPLES=3000 python -m pytest tests/test_random_programs.py` tries other programs every time, and
makes small ones of those that fail; without it they are always the same.
"""

import os
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, reject, settings
from hypothesis import strategies as st
from random_programs import DECLARED, TINY, Draw, Plain, along, ends_of, run, slope

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import Untraceable

STEP = 1e-3  # of differences of slopes
EXAMPLES = int(os.environ.get("EXAMPLES", 0))
NAMES = [*DECLARED]
PAIRS = st.tuples(st.sampled_from(NAMES), st.integers(0, 9999))
CALLS = st.lists(PAIRS, min_size=10, max_size=40)
SEEDS = st.integers(0, 9999)


def tried(count):
    """So many programs, the same ones every time; or as many others as were asked for."""
    return settings(
        max_examples=EXAMPLES or count, derandomize=not EXAMPLES, deadline=None, database=None,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip


def drawn(calls, seed):
    draw = Draw(seed)
    for name, k in calls:
        draw.add(name, k)
    return draw.program()


def near(found, expected, tolerance, what, scale=1.0):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    bound = tolerance * (scale + np.abs(expected).max(initial=0.0))
    error = np.abs(found - expected).max(initial=0.0)
    assert error <= bound, f"{what}: off by {error:.3g}, at most {bound:.3g}"


def dot(xs, ys):
    """A sum of products, and that of their sizes."""
    products = [np.asarray(x * y) for x, y in zip(xs, ys, strict=True)]
    return sum(float(p.sum()) for p in products), sum(float(np.abs(p).sum()) for p in products)


def directions(rng, arrays):
    return [rng.uniform(-1, 1, np.shape(x)) for x in arrays]


def check_program(program):
    """Values, slopes and curvature of all that nobody used, forward and in reverse."""
    rng = np.random.default_rng(0)
    leaves = program.leaves
    u, v = directions(rng, leaves), directions(rng, leaves)
    moved, off = along(program, leaves, v)
    values, moved = [y.real for y in moved], [y.imag / TINY for y in moved]
    weights = directions(rng, values)
    assert off < 1e-7
    f = lambda *xs: ends_of(program, xs)
    xs = [tg.tensor(x, requires_grad=True) for x in leaves]
    ys = f(*xs)
    for y, expected in zip(ys, values, strict=True):
        near(y.data, expected, 1e-11, "value")
    # forward
    _, pushed = tg.transforms.jvp(f, (*leaves,), (*map(tg.tensor, v),))
    for y, expected in zip(pushed, moved, strict=True):
        near(y.data, expected, 1e-9 + off, "forward mode")
    # in reverse, leaf by leaf
    loss = sum((y * w).sum() for y, w in zip(ys, weights, strict=True)) + 0.0 * xs[0].sum()
    gradients = tg.grad(loss, xs, create_graph=True, allow_unused=True)
    gradients = [x * 0.0 if g is None else g for g, x in zip(gradients, xs, strict=True)]
    for k, (g, way) in enumerate(zip(gradients, v, strict=True)):
        alone = [way if k == j else 0.0 * x for j, x in enumerate(leaves)]
        slopes, off = along(program, leaves, alone)
        assert off < 1e-7
        expected, _ = dot([y.imag / TINY for y in slopes], weights)
        found, size = dot([g.data], [way])
        near(found, expected, 1e-9 + off, f"gradient of leaf {k}", 1 + size)
    # one is the other's transpose
    a, size = dot([y.data for y in pushed], weights)
    b, _ = dot([g.data for g in gradients], v)
    near(a, b, 1e-12, "<Jv, w> = <v, Jᵀw>", 1 + size)
    return check_curvature(program, xs, weights, gradients, u, v)


def check_curvature(program, xs, weights, gradients, u, v):
    """How slopes along v move along u, and by forward over reverse; whether no kink is near."""
    f = lambda *xs: ends_of(program, xs)
    along_v = sum((g * way).sum() for g, way in zip(gradients, v, strict=True))
    found = tg.grad(along_v + 0.0 * xs[0].sum(), xs, allow_unused=True)
    found = [np.zeros(x.shape) if g is None else g.data for g, x in zip(found, xs, strict=True)]
    bent, size = dot(found, u)
    total = lambda *xs: sum((y * w).sum() for y, w in zip(f(*xs), weights, strict=True))
    leaves = program.leaves
    other = tg.transforms.hvp(total, (*leaves,), (*map(tg.tensor, u),))
    other, _ = dot([g.data for g in other], v)
    near(bent, other, 1e-11, "forward over reverse", 1 + size)

    def slopes(s):
        moved, off = along(program, [x + s * w for x, w in zip(leaves, u, strict=True)], v)
        return dot([y.imag / TINY for y in moved], weights)[0], off

    return bent_alike(bent, slopes, 1 + size)


def bent_alike(found, slopes, scale):
    """Whether slopes, and how far each may be off, bend as found; False where a kink is near."""
    offs = []

    def at(s):
        value, off = slopes(s)
        offs.append(off)
        return value

    expected, off = slope(at, STEP)
    off += 0.01 * max(offs) / STEP  # of what differences are off by little is left
    if off < 1e-6:
        near(found, expected, 1e-7 + 10 * off, "second derivative", scale)
    return off < 1e-6


def test_every_op_is_drawn():
    """By walking the declarations: a new one is drawn without being named here."""
    judged = []
    for k, name in enumerate(NAMES):
        found = 0
        for seed in range(k, k + 12):
            draw, rng = Draw(seed), random.Random(seed)
            draw.add(rng.choice(NAMES), rng.randrange(9999))
            if found == 3 or not draw.add(name, seed):
                continue
            found += 1
            draw.add(rng.choice(NAMES), rng.randrange(9999))
            try:
                judged.append(check_program(draw.program()))
            except Exception as error:
                error.add_note(f"{name}\n{draw.program()}")
                raise
        assert found, f"{name}: say in ARGUMENTS what its parameters may be"
    assert np.mean(judged) > 0.9  # of the others a kink is too near for differences


@tried(40)
@given(CALLS, SEEDS)
def test_random_programs(calls, seed):
    program = drawn(calls, seed)
    note(program)
    check_program(program)


# -- steps ---------------------------------------------------------------------------------------


class Fold:
    """A program run over time: which of its leaves are inputs, carried, or read from outside."""

    def __init__(self, calls, seed):
        rng = random.Random(seed)
        draw = Draw(seed, loops=True)
        for name, k in calls:
            draw.add(name, k)
        some = rng.sample(range(len(draw.leaves)), len(draw.leaves))
        states, inputs = rng.choice([1, 2]), rng.choice([0, 1, 2])
        self.carried, self.read = some[:states], some[states : states + inputs]
        self.length, self.reverse = rng.randint(1, 4), rng.random() < 0.5
        self.checkpoint = rng.choice([None, None, "sqrt", 1])
        self.program = draw.step(self.carried)
        times = np.random.default_rng(seed + 10**6)  # no two leaves alike
        self.leaves = [
            times.uniform(-1.5, 1.5, (self.length, *x.shape)) if k in self.read else x
            for k, x in enumerate(self.program.leaves)
        ]

    def __call__(self, *leaves, how=tg.scan):
        """All results of a scan, or an unroll, of these leaves."""

        def step(*given):
            pool = list(leaves)
            for k, x in zip([*self.read, *self.carried], given, strict=True):
                pool[k] = x
            made = run(self.program, pool)
            return [made[k] for k in [*self.program.carry.values(), *self.program.ends]]

        xs = tuple([leaves[k] for k in self.read]) or None
        words = {"length": self.length, "reverse": self.reverse}
        words |= {"checkpoint": self.checkpoint} if how is tg.scan else {}
        return how(step, [leaves[k] for k in self.carried], xs, **words)

    def along(self, leaves, ways):
        """The same in plain NumPy, moving: see `random_programs.along`."""
        moved = [x + 1j * TINY * v for x, v in zip(leaves, ways, strict=True)]
        plain, pool, path = Plain(), list(moved), []
        for t in range(self.length)[:: -1 if self.reverse else 1]:
            for k in self.read:
                pool[k] = moved[k][t]
            made = run(self.program, pool, plain)
            path.append([made[k] for k in [*self.program.carry.values(), *self.program.ends]])
            for k, j in self.program.carry.items():
                pool[k] = made[j]
        path = path[:: -1 if self.reverse else 1]
        return [np.stack([y + 0j for y in ys]) for ys in zip(*path, strict=True)], plain.off


def everything(fold, how, u, v):
    """Values, tangents, gradients, and how these move."""
    f = lambda *xs: fold(*xs, how=how)
    xs = [tg.tensor(x, requires_grad=True) for x in fold.leaves]
    ys = f(*xs)
    weights = directions(np.random.default_rng(1), [y.data for y in ys])
    _, pushed = tg.transforms.jvp(f, (*fold.leaves,), (*map(tg.tensor, v),))
    loss = sum((y * w).sum() for y, w in zip(ys, weights, strict=True))
    gradients = tg.grad(loss, xs, create_graph=True, allow_unused=True)
    gradients = [x * 0.0 if g is None else g for g, x in zip(gradients, xs, strict=True)]
    bend = sum((g * way).sum() for g, way in zip(gradients, u, strict=True))
    second = tg.grad(bend, xs, allow_unused=True)
    second = [x * 0.0 if g is None else g for g, x in zip(second, xs, strict=True)]
    return weights, {
        name: [x.data for x in found]
        for name, found in [("value", ys), ("tangent", pushed), ("gradient", gradients),
                            ("second derivative", second)]
    }  # fmt: skip


def check_fold(fold):
    """A scan is its steps one by one, and both move as plain NumPy says."""
    rng = np.random.default_rng(0)
    u, v = directions(rng, fold.leaves), directions(rng, fold.leaves)
    weights, scanned = everything(fold, tg.scan, u, v)
    _, unrolled = everything(fold, tg.unroll, u, v)
    for name, found in scanned.items():
        size = max(np.abs(x).max(initial=0.0) for x in unrolled[name])
        for x, y in zip(found, unrolled[name], strict=True):
            near(x, y, 1e-12, f"{name} of a scan", 1 + size)
    moved, off = fold.along(fold.leaves, v)
    for y, pushed, expected in zip(scanned["value"], scanned["tangent"], moved, strict=True):
        near(y, expected.real, 1e-10, "value")
        if off < 1e-7:
            near(pushed, expected.imag / TINY, 1e-9 + off, "tangent")
    slope_of = lambda moved: dot([y.imag / TINY for y in moved], weights)[0]
    found, size = dot(scanned["gradient"], v)
    if off < 1e-7:
        near(found, slope_of(moved), 1e-9 + off, "gradient", 1 + size)
    near(dot(scanned["tangent"], weights)[0], found, 1e-12, "<Jv, w> = <v, Jᵀw>", 1 + size)

    def slopes(s):
        moved, off = fold.along([x + s * w for x, w in zip(fold.leaves, v, strict=True)], u)
        return slope_of(moved), off

    found, size = dot(scanned["second derivative"], v)
    return bent_alike(found, slopes, 1 + size)


def check_step(calls, seed):
    fold = Fold(calls, seed)
    note(fold.program)
    try:
        check_fold(fold)
    except (tg.ScanWarning, Untraceable):  # together they have no compiled form
        reject()


@tried(20)
@given(CALLS, SEEDS)
def test_random_steps(calls, seed):
    check_step(calls, seed)


@pytest.mark.compiled
@settings(tried(2), phases=[Phase.generate])
@given(st.lists(PAIRS, min_size=30, max_size=40), SEEDS)
def test_random_steps_compiled(calls, seed):
    check_step(calls, seed)
