"""Transforms of functions: both modes against each other, against closed forms, in any order."""

import functools
import gc
import random
import threading
import tracemalloc
import weakref
from typing import NamedTuple

import numpy as np
import pytest
import test_declared
import test_modifiers
import test_ops
import test_random_programs
import test_rtrl
import test_scan
import test_scan_search
from random_programs import DECLARED, Draw, ends_of
from test_scan import made  # noqa: F401 (a fixture)

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.loops import entry, trace
from tinygrad_rnn.loops.scanned import scanned
from tinygrad_rnn.ops import shape
from tinygrad_rnn.tensor import history
from tinygrad_rnn.transforms import (
    checkpoint,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    linearize,
    value_and_grad,
    vjp,
    vmap,
)

T, B, H = 5, 9, 4


def normal(seed, *shape):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape))


def inside(tree):
    """The arrays in containers, in order."""
    if isinstance(tree, dict):
        return [x for part in tree.values() for x in inside(part)]
    if isinstance(tree, list | tuple):
        return [x for part in tree for x in inside(part)]
    return [] if tree is None else [tree.data]


def dot(one, other):
    pairs = list(zip(inside(one), inside(other), strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return sum(float((a * b).sum()) for a, b in pairs), sum(
        float(abs(a * b).sum()) for a, b in pairs
    )


def near(one, other, tolerance=1e-12):
    """Whether two containers hold the same numbers."""
    for a, b in zip(inside(one), inside(other), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = 1 + np.abs(b).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def like(tree, seed):
    """Random numbers like what a transform returned."""
    rng = np.random.default_rng(seed)
    if isinstance(tree, dict):
        return {name: like(part, seed + k) for k, (name, part) in enumerate(tree.items())}
    if isinstance(tree, list | tuple):
        return tuple(like(part, seed + k) for k, part in enumerate(tree))
    return tg.tensor(rng.normal(size=tree.shape).astype(tree.dtype))


def agree(f, primals, tolerance=1e-12, second=True):
    """Forward mode is the transpose of reverse mode, and each goes through the other."""
    y, pull = vjp(f, *primals)
    w = like(y, 1)
    back = pull(w)
    v = like(back, 2)
    same, moved = jvp(f, primals, v)
    near(same, y)
    (a, size), (b, _) = dot(moved, w), dot(v, back)
    assert abs(a - b) <= tolerance * (1 + size), (a, b)
    if second:

        def gradient(*xs):
            return vjp(f, *xs)[1](w)

        def slope(*xs):
            ys = jvp(f, xs, v)[1]
            return sum_of(ys, w)

        forward_over_reverse = jvp(gradient, primals, v)[1]
        reverse_over_forward = grad(slope, tuple(range(len(primals))))(*primals)
        near(forward_over_reverse, reverse_over_forward, 10 * tolerance)
    return moved


def sum_of(ys, w):
    ys, w = (x if isinstance(x, tuple | list) else (x,) for x in (ys, w))
    total = 0.0
    for y, each in zip(ys, w, strict=True):
        total = total + (y * each).sum()
    return total


# -- every op ------------------------------------------------------------------------------------


def on_floats(op, inputs, attrs):
    """A function of the inputs that are floats, and these."""
    given = [np.asarray(x) for x in inputs]
    floats = [k for k, x in enumerate(given) if x.dtype.kind == "f"]

    def f(*xs):
        full = [x for x in given]
        for k, x in zip(floats, xs, strict=True):
            full[k] = x
        return op(*full, **attrs)

    return f, [tg.tensor(given[k]) for k in floats]


@pytest.mark.parametrize("op, inputs, attrs", test_ops.EACH)
def test_forward_mode_of_every_op_is_the_transpose_of_its_rules(op, inputs, attrs):
    f, primals = on_floats(op, inputs, attrs)
    if op.name in (*test_ops.COMPARISONS, *test_ops.PLACES):
        with pytest.raises(TypeError, match="expected tensors of floats"):
            jvp(f, primals, primals)
        return
    agree(f, primals)


def test_forward_mode_of_every_op_of_one_number():
    for op in test_declared.SMOOTH:
        shift = 1.0 if op.name == "arccosh" else 0.0
        xs = [normal(k, 3, 1, 4) * 0.05 + 0.5 + shift + 0.1 * k for k in range(op.arity)]
        xs = [x if op.rules[k] else x > 0.5 for k, x in enumerate(xs)]
        floats = [k for k, x in enumerate(xs) if op.rules[k]]
        dtype = {"dtype": np.float32} if op.name == "astype" else {}

        def f(*given, op=op, xs=xs, floats=floats, dtype=dtype):
            full = list(xs)
            for k, x in zip(floats, given, strict=True):
                full[k] = x
            return op(*full, **dtype)

        narrow = [x if k else x[:, :, :1] for k, x in enumerate(xs[k] for k in floats)]
        agree(f, [xs[k] for k in floats], 1e-6 if dtype else 1e-12, second=not dtype)
        if len(narrow) > 1:
            agree(f, narrow)


@pytest.mark.parametrize("f, inputs", test_ops.WRAPPED.values(), ids=test_ops.WRAPPED)
def test_forward_mode_of_functions_made_of_ops(f, inputs):
    agree(f, [tg.tensor(x) for x in inputs])


def test_both_modes_of_all_that_is_declared():
    """Of functions made of ops too, found as they are, with operands that they take."""
    for seed, name in enumerate(DECLARED):
        for k in range(seed, seed + 9):
            draw = Draw(k)
            if draw.add(name, k):
                break
        program = draw.program()
        try:
            agree(lambda *xs, program=program: ends_of(program, xs), [*map(tg.tensor, draw.leaves)])
        except Exception as error:
            error.add_note(f"{name}\n{program}")
            raise


def test_both_modes_of_all_that_is_declared_in_a_loop():
    """Several ops in each step, of those that have a compiled form."""
    rng, names, seen = random.Random(0), [*DECLARED], set()
    rng.shuffle(names)
    for seed in range(0, len(names), 8):
        fold = test_random_programs.Fold([(name, seed) for name in names[seed : seed + 8]], seed)
        seen |= {call.name for call in fold.program.calls}
        try:
            agree(fold, [*map(tg.tensor, fold.leaves)])
        except Exception as error:
            error.add_note(str(fold.program))
            raise
    assert len(seen) > 0.9 * len(names), {*names} - seen


@pytest.mark.parametrize("step", test_scan.STEPS, ids=lambda step: step.__name__)
def test_forward_mode_through_a_loop(step):
    """The tangents of a compiled loop are those of its steps, and come of one more loop."""
    tolerance = 1e-10 if step in (test_scan.products, test_scan.stacks) else 1e-11
    start = tg.tensor(test_scan.numbers(0, B, H))

    def folded(how, **words):
        return lambda h: how(step, h, None, length=3, **words)

    loop, steps = folded(tg.scan), folded(tg.unroll)
    v = normal(3, B, H)
    near(jvp(loop, (start,), (v,))[1], jvp(steps, (start,), (v,))[1], tolerance)
    agree(loop, (start,), tolerance, second=step is test_scan.columns)


@pytest.mark.parametrize("seed", range(1))  # others are in `test_random_programs`
def test_forward_mode_of_random_steps(seed):
    """With scans in them too; along some of the states and inputs."""
    rng = random.Random(seed)
    for scans in ([], [test_scan_search.random_scan(rng, 2)]) * 3:
        parts, size = test_scan_search.random_parts(rng), rng.choice([1, 3, 9])

        def step(x, h, c, parts=parts, scans=scans):
            pool = test_scan_search.mixed(parts, [h, c, x])
            pool += [scan(pool) for scan in scans]
            return [*map(tg.tanh, pool[-2:]), pool[-1] + pool[0]]

        primals = [normal(0, size, H), normal(1, size, H), normal(2, T, size, H)]
        moving = [k for k in range(3) if rng.random() < 0.6] or [2]
        how = {"reverse": rng.random() < 0.5}

        def f(*given, way=tg.scan, step=step, primals=primals, moving=moving, how=how):
            full = [*primals]
            for k, x in zip(moving, given, strict=True):
                full[k] = x
            return way(step, full[:2], full[2], **how)

        given = [primals[k] for k in moving]
        agree(f, given, 1e-10, second=False)
        moved = [jvp(lambda *xs, way=way, f=f: f(*xs, way=way), given, given)[1]
                 for way in (tg.scan, tg.unroll)]  # fmt: skip
        near(*moved, 1e-10)


# -- layers --------------------------------------------------------------------------------------

f64 = np.float64
CELLS = {
    **{name: lambda make=make: make(3, H) for name, make in test_scan.LIBRARY.items()},
    "clipped": lambda: nn.ClipGradient(nn.LSTM(3, H, dtype=f64, rng=0), norm=1e9),
    "own": lambda: test_modifiers.Sum(3),
    "two ways": lambda: nn.Bidirectional(
        nn.LSTM(3, H, dtype=f64, rng=0), nn.GRU(3, H, dtype=f64, rng=1)
    ),
    "stack": lambda: nn.Recurrent(
        nn.LSTM(3, H, dtype=f64, rng=0), nn.GRU(H, 2, dtype=f64, rng=1), reverse=True
    ),
    "last": lambda: nn.Recurrent(nn.LSTM(3, H, dtype=f64, rng=0), readout="last"),
}


def both_ends(layer, xs, unroll=False, **how):
    """What a layer returns, its last state too."""
    if isinstance(layer, nn.Recurrent):
        layer.unroll = unroll
    else:
        how["unroll"] = unroll
    ys, state = layer(xs, **how)
    return [ys, *inside_tensors(state)]


def inside_tensors(state):
    if isinstance(state, tg.Tensor):
        return [state]
    return [x for part in state for x in inside_tensors(part)]


EVERY = {**CELLS, **test_rtrl.CELLS, **test_rtrl.MODIFIED}


def test_every_cell_and_all_that_changes_one_is_here():
    kinds = {x for x in vars(nn).values() if isinstance(x, type) and issubclass(x, nn.Part)}
    here = {type(make()) for make in EVERY.values()}
    assert kinds - here == {nn.Part, nn.Cell, nn.Modifier}


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_both_modes_of_a_layer(name, unroll):
    layer = EVERY[name]()
    xs = normal(0, 3, 2, getattr(layer, "inputs", 3))
    agree(lambda layer, xs: both_ends(layer, xs, unroll=unroll), (layer, xs))


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("name", test_modifiers.DRAWING)
def test_both_modes_of_a_layer_that_draws(name, unroll):
    """The same masks each time, since each call makes the modifier anew."""
    cell = nn.LSTM(3, H, dtype=f64, rng=0)

    def f(cell, xs):
        return both_ends(test_modifiers.DRAWING[name](cell, 0.5), xs, unroll=unroll)

    agree(f, (cell, normal(0, 3, 2, 3)))


def test_sequences_of_any_lengths_and_checkpoints_in_time():
    layer, xs = CELLS["LSTM"](), normal(0, T, 3, 3)
    for how in ({"lengths": [5, 2, 4]}, {"checkpoint": 2}, {"checkpoint": "sqrt"}):
        agree(lambda layer, xs, how=how: both_ends(layer, xs, **how), (layer, xs), 1e-11, False)
    moved = grad(lambda xs: keeping(jvp(lambda xs: layer(xs, checkpoint=2)[0].sum(), (xs,), (xs,))))
    moved(xs)


def keeping(moved):
    """The tangent of a loop; which has to keep no more than the loop does."""
    assert [x.attrs["run"].every for x in history(moved) if x.op is scanned] == [2, 2]
    return moved[1]


@pytest.mark.parametrize("unroll", [False, True])
def test_a_loop_stays_a_loop(unroll):
    """Forward mode, and the gradient of a tangent, are loops again: nothing is unrolled."""
    layer, xs, v = CELLS["LSTM"](), normal(0, 50, 2, 3), normal(1, 50, 2, 3)
    seen = []

    def slope(xs):
        y = jvp(lambda xs: (layer(xs, unroll=unroll)[0] ** 2).sum(), (xs,), (v,))[1]
        seen.append([x.op for x in history([y])])
        return y

    value, pulled = value_and_grad(slope)(xs)
    assert (scanned in seen[0]) is not unroll and (len(seen[0]) < 200) is not unroll
    (other,) = hvp(lambda xs: (layer(xs)[0] ** 2).sum(), (xs,), (v,))
    near(pulled, other, 1e-11)
    expected = (tg.grad((layer(x := tg.tensor(xs, True))[0] ** 2).sum(), x).data * v.data).sum()
    np.testing.assert_allclose(value.item(), expected, rtol=1e-12)


@pytest.mark.compiled
def test_a_layer_of_any_weights_and_tangents_compiles_once(made):  # noqa: F811
    def f(layer, xs):
        return (layer(xs)[0] ** 2).mean()

    layer = nn.GRU(3, H, rng=0)
    for seed in range(3):
        xs, v = (tg.tensor(normal(k, T + seed, 2, 3), dtype="float32") for k in (seed, seed + 9))
        ways = {name: np.ones(x.shape) for name, x in layer.named_parameters()}
        y, dy = jvp(f, (layer, xs), (ways, v))
        _, (found, back) = value_and_grad(f, (0, 1))(layer, xs)
        expected = sum(float(g.data.sum()) for g in found.values()) + float((back * v).sum().data)
        np.testing.assert_allclose(dy.item(), expected, rtol=1e-4)
        assert dy.dtype == y.dtype == np.float32
        for x in layer.parameters():
            x.data = x.data * 0.9
    assert made["programs"] <= 2 and made["functions"] <= 3, made  # fewer, if others made them


def test_a_loop_that_runs_unrolled_has_tangents(monkeypatch):
    """As where there is no compiler, or what the tangents do has no compiled form."""
    layer, xs, v = CELLS["LSTM"](), normal(0, T, 2, 3), normal(1, T, 2, 3)
    _, push = linearize(lambda xs: layer(xs)[0], xs)
    expected = push(v)
    zeros = np.zeros((2, 3))  # nothing that is tracked but xs
    fixed = linearize(lambda xs: tg.scan(lambda x, h: tg.tanh(x * h + x), zeros, xs), xs)[1]
    other = fixed(v)
    monkeypatch.setattr(entry, "_machine", lambda: None)
    near(push(v), expected)
    near(fixed(v), other)
    near(jvp(lambda xs: layer(xs)[0], (xs,), (v,))[1], expected)


# -- in a step -----------------------------------------------------------------------------------


def test_transforms_in_a_step_of_a_scan():
    """Of what the step is given, and of what it reads from outside; three times, to be known."""
    w, q = normal(1, H, H), tg.tensor(0.3, requires_grad=True)

    def energy(h, w):
        return (tg.tanh(h @ w) ** 2).sum() * q

    steps = {
        "grad": lambda h: h - 0.1 * grad(energy)(h, w),
        "of what it reads": lambda h: h - 0.1 * (h @ grad(energy, 1)(h, w)),
        "jvp": lambda h: h - 0.1 * jvp(lambda h: tg.tanh(h @ w), (h,), (h * h,))[1],
        "moving weight": lambda h: h - 0.1 * jvp(lambda w: tg.tanh(h @ w), (w,), (w * w,))[1],
        "hvp": lambda h: h - 0.1 * hvp(lambda h: energy(h, w), (h,), (h,))[0],
    }
    for step in steps.values():

        def f(h, step=step, how=tg.scan):
            return how(step, h, None, length=3)

        for seed in range(3):
            h = normal(seed, 2, H)
            near(f(h), f(h, how=tg.unroll))
        agree(f, (h,), 1e-11, second=False)


def test_a_scan_in_the_step_of_a_scan():
    W = normal(1, H, H) * 0.5

    def inner(h, w, how=tg.scan):
        return how(lambda s: tg.tanh(s @ w), h, None, length=2)[0].sum(axis=0)

    def outer(h, w, how=tg.scan):
        return how(lambda h: tg.tanh(inner(h, w, how)), h, None, length=3)[0]

    h = normal(2, 2, H)
    agree(outer, (h, W), 1e-11, second=False)
    v = normal(3, 2, H), normal(4, H, H)
    near(jvp(outer, (h, W), v), jvp(lambda h, w: outer(h, w, tg.unroll), (h, W), v), 1e-11)
    step = lambda h: h - 0.1 * jvp(lambda h: inner(h, W), (h,), (h,))[1]
    near(tg.scan(step, h, None, length=2), tg.unroll(step, h, None, length=2))


# -- nested, in any order --------------------------------------------------------------------------


def test_no_derivative_is_taken_for_that_of_another_variable():
    inner = lambda x: grad(lambda y: x * y)(1.0)
    assert grad(lambda x: x * inner(x))(3.0).item() == 6.0
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(3.0).item() == 1.0
    pushed = lambda f, x: jvp(f, (x,), (1.0,))[1]
    assert pushed(lambda x: x * pushed(lambda y: x + y, 1.0), 3.0).item() == 1.0
    assert pushed(lambda x: x * pushed(lambda y: x * y, 1.0), 3.0).item() == 6.0
    assert grad(lambda x: x * pushed(lambda y: x * y, 1.0))(3.0).item() == 6.0
    assert pushed(lambda x: x * grad(lambda y: x * y)(1.0), 3.0).item() == 6.0


def test_every_order_of_every_transform():
    """d/dx of sin, four times, by each mode in each place."""
    for word in ("ffff", "rrrr", "frfr", "rffr", "rrff"):
        f = tg.sin
        for mode in word:
            forward = lambda x, f=f: jvp(f, (x,), (tg.tensor(1.0),))[1]
            f = forward if mode == "f" else grad(f)
        np.testing.assert_allclose(f(tg.tensor(0.7)).item(), np.sin(0.7), rtol=1e-14)


def test_there_is_a_past_where_somebody_waits_for_gradients():
    """At the top all is done again when a gradient comes by; inside a transform it is kept."""
    w, x, v = tg.tensor(2.0, requires_grad=True), tg.tensor(3.0), tg.tensor(5.0, requires_grad=True)
    f = lambda x: x * x * w * w
    for y, slope in (  # and its derivative by w
        (grad(f)(x), 24.0), (value_and_grad(f)(x)[0], 36.0), (vjp(f, x)[1](v)[0], 120.0),
        (jvp(f, (x,), (v,))[1], 120.0), (linearize(f, x)[1](v), 120.0), (vjp(f, x)[0], 36.0),
        (hvp(f, (x,), (v,))[0], 40.0), (jacobian(f)(x), 24.0), (hessian(f)(x), 8.0),
        (vjp(lambda x: x.sum() * w, np.ones(2))[0], 2.0),
        (linearize(lambda x: (x.sum() * w, x), np.ones(2), has_aux=True)[0], 2.0),
    ):  # fmt: skip
        assert tg.grad(y, w).item() == slope
    assert tg.grad(jvp(f, (x,), (v,))[1], v).item() == 2 * 3.0 * 4.0
    slope = tg.grad(grad(f)(x), w, create_graph=True)  # and again
    assert tg.grad(slope, w).item() == 12.0
    assert grad(lambda w: grad(lambda x: x * x * w)(3.0))(w).item() == 6.0
    assert grad(lambda x: x * tg.no_grad()(grad(lambda x: x * x))(x))(3.0).item() == 6.0
    with tg.no_grad():
        assert grad(f)(3.0).item() == 24.0 and not grad(f)(3.0).requires_grad
    for y in (grad(tg.sin)(x), *jvp(tg.sin, (x,), (x,)), hessian(tg.sin)(x), vjp(tg.sin, x)[0]):
        assert not y.requires_grad and y.op is None


USES = {
    "grad": lambda f, x: grad(f)(x), "value_and_grad": lambda f, x: value_and_grad(f)(x),
    "vjp": lambda f, x: vjp(f, x)[1](1.0), "jvp": lambda f, x: jvp(f, (x,), (x,)),
    "linearize": lambda f, x: linearize(f, x)[1](x), "hvp": lambda f, x: hvp(f, (x,), (x,)),
    "jacobian": lambda f, x: jacobian(f)(x), "hessian": lambda f, x: hessian(f)(x),
    "checkpoint": lambda f, x: checkpoint(f)(x).backward(),
    "vmap": lambda f, x: vmap(grad(f))(x[None]),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
def test_nothing_waits_for_the_garbage_collector(name):
    def used():
        w, x = normal(0, 3, 3), tg.tensor(normal(1, 3), requires_grad=True)
        f = lambda x: (tg.scan(lambda h: tg.tanh(h @ w), x, None, length=3)[0] ** 2).sum()
        found = USES[name](f, x)
        assert found is None or inside(found)
        return weakref.ref(f)

    used()
    gc.disable()
    try:
        assert used()() is None
    finally:
        gc.enable()


def test_what_returns_stays_linear():
    pull = vjp(lambda x: x * x, tg.tensor(3.0))[1]
    assert grad(lambda g: pull(g)[0] * g)(2.0).item() == 24.0  # linear in g, constant in the rest
    push = linearize(lambda x: x * x, tg.tensor(3.0))[1]
    assert grad(lambda v: push(v) * v)(2.0).item() == 24.0


def test_a_gradient_in_a_step_is_trained_as_its_steps_are():
    w = tg.tensor(normal(0, 3, 3), requires_grad=True)
    f = lambda x: (tg.tanh(x @ w) ** 2).sum()
    slopes = []
    for how in (tg.scan, tg.unroll):
        (y,) = how(lambda x, h: tg.tanh(h @ w + grad(f)(x)), normal(1, 2, 3), normal(2, 4, 2, 3))
        slopes.append(tg.grad((y * y).sum(), w))
    near(*slopes)


# -- matrices ------------------------------------------------------------------------------------


def test_jacobians_are_closed_forms_in_either_mode():
    x, A = normal(0, 3), normal(1, 5, 3)
    for matrix in (A, A[:2]):  # more results than inputs, and fewer
        found = jacobian(lambda x, matrix=matrix: tg.tanh(matrix @ x))(x)
        slope = 1 - np.tanh(matrix.data @ x.data) ** 2
        np.testing.assert_allclose(found.data, slope[:, None] * matrix.data, rtol=1e-13)
    found = jacobian(lambda x: {"a": x[:, None] * x, "b": [x.sum()]})(x)
    eye = np.eye(3)
    expected = np.einsum("ik,j->ijk", eye, x.data) + np.einsum("jk,i->ijk", eye, x.data)
    np.testing.assert_allclose(found["a"].data, expected, rtol=1e-14)
    np.testing.assert_array_equal(found["b"][0].data, np.ones(3))
    assert jacobian(lambda x: x * 1.0)(tg.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert jacobian(lambda x: x[:0])(x).shape == (0, 3)


def test_a_jacobian_is_that_of_complex_steps():
    x, W = normal(0, 4), np.random.default_rng(1).normal(size=(4, 3))

    def f(x, np=tg):
        return np.exp(np.sin(x @ W)) / (1.0 + (x * x).sum())

    found = jacobian(f)(x).data
    steps = x.data + 1e-30j * np.eye(4)
    expected = np.stack([f(z, np).imag / 1e-30 for z in steps], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_hessians_are_closed_forms_and_made_of_products():
    x, A = normal(0, 3), normal(1, 3, 3)
    f = lambda x: tg.exp(x @ A @ x * 0.1)
    S = (A.data + A.data.T) * 0.1
    value, s = np.exp(x.data @ A.data @ x.data * 0.1), S @ x.data
    expected = value * (S + np.outer(s, s))
    np.testing.assert_allclose(hessian(f)(x).data, expected, rtol=1e-12)
    np.testing.assert_allclose(jacobian(grad(f))(x).data, expected, rtol=1e-12)
    np.testing.assert_allclose(hvp(f, (x,), (A[0],))[0].data, expected @ A.data[0], rtol=1e-12)
    blocks = hessian(lambda x, y: (x * y.sum()).sum(), (0, 1))(x, normal(2, 2))
    assert [[b.shape for b in row] for row in blocks] == [[(3, 3), (3, 2)], [(2, 3), (2, 2)]]
    np.testing.assert_array_equal(blocks[0][1].data, np.ones((3, 2)))
    np.testing.assert_array_equal(blocks[1][1].data, np.zeros((2, 2)))


def test_the_hessian_of_a_layer():
    layer, xs = nn.RNN(2, 2, dtype=f64, rng=0), normal(0, 3, 2, 2)
    f = lambda layer: (layer(xs)[0] ** 2).sum()
    found = hessian(f)(layer)
    assert found["Wx"]["b"].shape == (2, 2, 2)
    ways = {name: normal(k, *x.shape) for k, (name, x) in enumerate(layer.named_parameters())}
    (product,) = hvp(f, (layer,), (ways,))
    for name, rows in found.items():
        axes = [(np.tensordot(h.data, ways[k].data, h.ndim - rows[name].ndim // 2))
                for k, h in rows.items()]  # fmt: skip
        np.testing.assert_allclose(sum(axes), product[name].data, rtol=1e-11, atol=1e-13)


# -- containers ----------------------------------------------------------------------------------


class Pair(NamedTuple):
    a: object
    b: object


def test_containers_of_all_kinds():
    layer = nn.Linear(2, 3, dtype=f64, rng=0)
    given = {"p": Pair(normal(0, 4, 2), [normal(1, 3), None]), "m": (layer,)}

    def f(given):
        (module,) = given["m"]
        y = module(given["p"].a) * given["p"].b[0]
        return {"y": y, "rest": Pair((y.sum(),), None)}

    out, pull = vjp(f, given)
    assert isinstance(out["rest"], Pair) and out["rest"].b is None
    (back,) = pull({"y": normal(2, 4, 3), "rest": Pair((2.0,), None)})
    assert isinstance(back["p"], Pair) and back["p"].b[1] is None and [*back["m"][0]] == ["W", "b"]
    agree(lambda x, b: list(inside_tensors(f({"p": Pair(x, [b, None]), "m": (layer,)})["y"])),
          (given["p"].a, given["p"].b[0]))  # fmt: skip
    _, moved = jvp(f, (given,), (back,))
    (a, size), (b, _) = (
        dot(moved["y"], normal(3, 4, 3)),
        dot(back, pull({"y": normal(3, 4, 3), "rest": Pair((0.0,), None)})[0]),
    )
    assert abs(a - b) <= 1e-12 * (1 + size)


def test_arguments_by_place_and_by_name_and_aux():
    f = lambda x, y, *, scale=1.0: ((x * y * scale).sum(), {"seen": x * 2.0, "word": "kept"})
    x, y = normal(0, 3), normal(1, 3)
    (value, aux), (gx, gy) = value_and_grad(f, argnums=(0, -1), has_aux=True)(x, y, scale=2.0)
    np.testing.assert_array_equal(gx.data, y.data * 2)
    np.testing.assert_array_equal(gy.data, x.data * 2)
    assert value.item() == (x.data * y.data * 2.0).sum() and aux["word"] == "kept"
    assert aux["seen"].op is None and not aux["seen"].requires_grad  # as x does not
    g, aux = grad(f, 1, has_aux=True)(x, y)
    np.testing.assert_array_equal(g.data, x.data)
    assert [len(jvp(f, (x, y), (x, y), has_aux=True)), len(vjp(f, x, y, has_aux=True))] == [3, 3]
    assert len(linearize(f, x, y, has_aux=True)) == 3 and len(hvp(f, (x, y), (x, y), True)) == 2
    for matrix in (jacobian, hessian):
        found, aux = matrix(f, has_aux=True)(x, y)
        assert aux["word"] == "kept" and found.shape[-1] == 3
    assert grad(f).__name__ == "<lambda>"


def test_what_was_computed_before_is_constant():
    """Also from the parameters of a module that stands there itself; and it can still be used."""
    layer = nn.Linear(2, 3, dtype=f64, rng=0)
    h = layer(normal(0, 4, 2))
    (found,) = vjp(lambda layer: (h * layer.b).sum(), layer)[1](1.0)
    np.testing.assert_array_equal(found["b"].data, h.data.sum(axis=0))
    np.testing.assert_array_equal(found["W"].data, np.zeros((2, 3)))
    ways = {"W": np.ones((2, 3)), "b": np.zeros(3)}
    assert jvp(lambda layer: (h * layer.b).sum(), (layer,), (ways,))[1].item() == 0
    (twice,) = hvp(lambda layer: (h * layer.b**2).sum(), (layer,), ({**ways, "b": h[0]},))
    np.testing.assert_allclose(twice["b"].data, 2 * h.data.sum(axis=0) * h.data[0], rtol=1e-15)
    np.testing.assert_array_equal(twice["W"].data, np.zeros((2, 3)))
    h.sum().backward()

    def step(h):
        return tg.tanh(layer(h[:, :2]) + grad(lambda m: (m(h[:, :2]) ** 2).mean())(layer)["b"])

    near(tg.scan(step, h.detach(), None, length=3), tg.unroll(step, h.detach(), None, length=3))


def test_training_with_a_gradient_is_training_by_backward():
    xs, results = normal(0, T, 2, 3), []
    for way in ("backward", "value_and_grad"):
        layer = CELLS["LSTM"]()
        optimizer = optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(3):
            f = lambda layer: (layer(xs)[0] ** 2).mean()
            if way == "backward":
                optimizer.zero_grad()
                f(layer).backward()
            else:
                _, found = value_and_grad(f)(layer)
                for name, x in layer.named_parameters():
                    x.grad = found[name]
            optimizer.step()
        results.append([x.data for x in layer.parameters()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


# -- what a rule may be --------------------------------------------------------------------------


def test_what_is_clipped_backward_is_the_identity_forward():
    x, v = normal(0, 3, 2), normal(1, 3, 2)
    for limit in ({"norm": 0.1}, {"value": 0.1}):
        f = lambda x, limit=limit: tg.clip_gradient(x * x, **limit)
        near(jvp(f, (x,), (v,))[1], x * v * 2.0)
        outer = grad(lambda x, f=f: jvp(f, (x,), (v,))[1].sum())(x)
        near(outer, v * 2.0)
    layer = nn.ClipGradient(nn.RNN(3, H, dtype=f64, rng=0), value=1e-3)
    xs, way = normal(0, T, 2, 3), normal(1, T, 2, 3)
    near(jvp(lambda xs: layer(xs)[0], (xs,), (way,))[1],
         jvp(lambda xs: layer.cell(xs)[0], (xs,), (way,))[1])  # fmt: skip


def test_an_op_of_ones_own():
    @tg.pointwise(lambda g, y, x: 3.0 * g * x * x)
    def cube(x):
        return x * x * x

    @tg.primitive(lambda g, y, x: tg.flip(tg.cumsum(tg.flip(g, 0), 0), 0))
    def running(x):
        return np.cumsum(x, axis=0)

    mask = np.array([True, False, True, True])

    @tg.primitive(lambda g, y, x: shape.put(g[mask], mask, index=(shape.ARRAY,), shape=g.shape))
    def masked(x):
        return np.where(mask, x, 0.0)

    agree(lambda x: running(cube(x)), (normal(0, 4, 2),))
    agree(lambda x: masked(x) * x, (normal(0, 4),))
    x, v = normal(0, 4), normal(1, 4)
    near(jvp(running, (x,), (v,))[1], tg.cumsum(v))
    near(jvp(lambda x: x[x.data > 0], (x,), (v,))[1], v[x.data > 0])


SLOPE = 2.0


def test_what_an_op_reads_may_not_change_between(monkeypatch):
    @tg.pointwise(lambda g, y, x: SLOPE * g)
    def sloped(x):
        return SLOPE * x

    push = linearize(lambda h: tg.scan(sloped, h, None, length=2)[0], normal(0, 3))[1]
    near(push(np.ones(3)), tg.tensor([[2.0] * 3, [4.0] * 3]))
    monkeypatch.setitem(globals(), "SLOPE", 3.0)
    with pytest.raises(RuntimeError, match="sloped: something that it reads"):
        push(np.ones(3))


def test_a_constant_has_no_slope():
    c, x = tg.tensor(1.0), normal(0, 3)
    assert not grad(lambda x: c)(x).data.any() and not jvp(lambda x: c, (x,), (x,))[1].data.any()
    assert not hvp(lambda x: x.sum(), (x,), (x,))[0].data.any()
    assert jacobian(lambda x: [c])(x)[0].shape == (3,) and not hessian(lambda x: c)(x).data.any()


def test_a_weight_that_changes_between_is_refused():
    w = nn.Linear(2, 2, dtype=f64, rng=0)
    push = linearize(lambda w: w(np.ones((1, 2))), w)[1]
    w.W.data = w.W.data * 2
    with pytest.raises(RuntimeError, match="new values"):
        push({name: np.ones(x.shape) for name, x in w.named_parameters()})


REFUSED = {
    "no function": (lambda: grad(normal(0)), ["grad: f", "function", "tg.grad(y, xs)"]),
    "an integer": (lambda: grad(lambda x: x * 1.0)(3), ["argument 0", "floats", "int64", "point"]),
    "a word": (lambda: vjp(lambda x: x, {"a": "b"}), ["argument 0['a']", "tensor", "str"]),
    "many": (lambda: grad(lambda x: x)(np.ones(2)), ["one number", "[2]", "y.sum()"]),
    "no tensor": (lambda: grad(lambda x: 3.0)(1.0), ["result", "tensors of floats", "got float"]),
    "an array": (lambda: jvp(lambda x: [x.data], (1.0,), (1.0,)),
                 ["its result[0]", "got ndarray", "tensor arithmetic"]),
    "whole numbers": (lambda: vjp(lambda x: tg.argmax(x), np.ones(2)), ["int64", "has_aux"]),
    "aux": (lambda: grad(lambda x: x, has_aux=True)(1.0), ["has_aux", "(result, aux)"]),
    "argnums": (lambda: grad(tg.sin, argnums=1)(1.0), ["argnums", "among 1", "got 1"]),
    "argnums twice": (lambda: grad(tg.mul, argnums=(1, -1))(1.0, 2.0), ["argnums", "(1, -1)"]),
    "argnums none": (lambda: grad(tg.sin, argnums=None)(1.0), ["argnums", "got None"]),
    "argnums name": (lambda: grad(tg.sin, argnums="x")(1.0), ["argnums", "got 'x'"]),
    "shape": (lambda: jvp(tg.sin, (np.ones(2),), (np.ones(3),)),
              ["jvp: tangents[0]", "float64[2]", "got float64[3]"]),
    "dtype": (lambda: jvp(tg.sin, (np.ones(2),), (tg.tensor([1, 2]),)), ["float64", "int64[2]"]),
    "number": (lambda: jvp(tg.sin, (1.0,), ()), ["tangents", "a tuple of 1", "a tuple of 0"]),
    "no tuple": (lambda: jvp(tg.sin, 1.0, 1.0), ["primals", "a tuple", "got float"]),
    "names": (lambda: jvp(lambda x: x["a"], ({"a": 1.0},), ({"b": 1.0},)),
              ["tangents[0]", "a dict of 'a'", "a dict of 'b'"]),
    "module": (lambda: jvp(lambda m: m.W, (nn.Linear(1, 1),), ({"W": [[1.0]]},)),
               ["tangents[0]", "'W', 'b'"]),
    "cotangent": (lambda: vjp(tg.sin, 1.0)[1]([1.0, 2.0]), ["the cotangent", "float64[2]"]),
    "cotangents": (lambda: vjp(lambda x: (x, x), 1.0)[1](1.0), ["a tuple of 2", "float"]),
    "twice": (lambda: (lambda m: grad(lambda a, b: a.W.sum(), (0, 1))(m, m))(nn.Linear(1, 1)),
              ["the same parameters", "twice"]),
    "nothing": (lambda: vjp(lambda x: x[0], [1.0, None])[1](None), ["cotangent"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    f, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        f()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# -- checkpoints ---------------------------------------------------------------------------------


def test_a_checkpoint_changes_nothing_but_what_is_kept():
    layer, xs = CELLS["LSTM"](), normal(0, T, 2, 3)
    head = nn.Linear(H, 2, dtype=f64, rng=0)

    def f(layer, xs, forget):
        block = lambda xs, words: {"h": head(layer(xs)[0]), "said": words, "as it was": xs}
        out = (checkpoint(block) if forget else block)(tg.sin(xs), "hello")
        assert out["said"] == "hello"
        return (tg.tanh(out["h"]) ** 2).sum() + out["as it was"].sum()

    plain, forgetful = (lambda m, xs, k=k: f(m, xs, k) for k in (False, True))
    near(value_and_grad(forgetful, (0, 1))(layer, xs), value_and_grad(plain, (0, 1))(layer, xs))
    near(grad(lambda head: forgetful(layer, xs))(head), grad(lambda head: plain(layer, xs))(head))
    agree(lambda xs: forgetful(layer, xs), (xs,), 1e-11)
    v = like(grad(plain)(layer, xs), 3)
    near(
        hvp(lambda m: forgetful(m, xs), (layer,), (v,)), hvp(lambda m: plain(m, xs), (layer,), (v,))
    )
    inner = checkpoint(lambda x: checkpoint(tg.sin)(x) * x)
    assert grad(inner)(0.5).item() == pytest.approx(np.cos(0.5) * 0.5 + np.sin(0.5))
    assert grad(checkpoint(grad(tg.sin)))(0.5).item() == -np.sin(0.5)
    x = tg.tensor(0.5, requires_grad=True)
    assert tg.grad(checkpoint(lambda h: h * x)(x * 2.0), x).item() == 2.0  # which it reads twice
    inner(x).backward()
    assert x.grad.item() == grad(inner)(0.5).item()
    with tg.no_grad():
        assert inner(x).op is None
    (path,) = tg.scan(lambda h: inner(h), x, None, length=2)
    assert path[-1].item() == inner(inner(x)).item()


def test_a_checkpoint_holds_no_more_than_it_returns():
    x = tg.tensor(np.ones(100_000), requires_grad=True)

    def peak(around):
        block = around(lambda x: tg.sin(tg.exp(tg.sin(tg.exp(tg.sin(tg.exp(tg.sin(x) * 0.1)))))))
        tracemalloc.start()
        try:
            y = x
            for _ in range(8):
                y = block(y)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        return held, tg.grad(y.sum(), x).data

    (held, expected), (less, found) = peak(lambda f: f), peak(checkpoint)
    np.testing.assert_array_equal(found, expected)
    assert less < 10 * x.data.nbytes < 50 * x.data.nbytes < held


def test_a_checkpoint_in_pictures_is_an_op():
    x = tg.tensor([0.5, 1.0], requires_grad=True, name="x")
    y = checkpoint(lambda x: tg.tanh(x) * 2.0)(x).sum()
    assert "checkpoint" in tg.draw(y, overlay="backward").svg and "checkpoint" in tg.explain(y).text
    assert [step.tensor.op.name for step in y.backward_steps() if step.tensor.op][
        -1
    ] == "checkpoint"


def test_what_a_checkpoint_refuses():
    rng = np.random.default_rng(0)
    x = tg.tensor(np.ones(50), requires_grad=True)
    for size in (1.0, 1e-9, 1e-200):  # small numbers are others, too
        y = checkpoint(lambda x: x * rng.random(50))(size * x).sum()
        with pytest.raises(RuntimeError, match="did something else when it was run again"):
            y.backward()
    w = nn.Linear(2, 2, dtype=f64, rng=0)
    y = checkpoint(w)(np.ones((1, 2))).sum()
    w.W.data = w.W.data * 2
    with pytest.raises(RuntimeError, match="new values"):
        y.backward()
    with pytest.raises(TypeError, match="checkpoint: f: expected a function"):
        checkpoint(x)


@pytest.mark.parametrize("make", [nn.LSTM, nn.RNN, nn.GRU])
def test_a_tangent_of_a_loop_that_was_met_before_is_not_traced_again(make, monkeypatch):
    layer = make(3, H, dtype=f64, rng=0)
    x, v = normal(0, T, B, 3), normal(1, T, B, 3)
    f = lambda x: layer(x)[0].sum()
    g = lambda weights: f(x)
    jvp(f, (x,), (v,))
    steps, seen = trace.Step.run, []
    monkeypatch.setattr(trace.Step, "run", lambda *given: seen.append(1) or steps(*given))
    for _ in range(2):  # with other weights too
        _, moved = jvp(f, (x,), (v,))
        u = tg.tensor(x.data, requires_grad=True)
        whole = tg.grad(f(u), u).data
        np.testing.assert_allclose(moved.item(), float((whole * v.data).sum()), rtol=1e-12)
        for w in layer.parameters():
            w.data = w.data * 1.5
    assert not seen
    weights = dict(layer.named_parameters())
    numbers = {path: w.detach() for path, w in weights.items()}
    slope = dot([*grad(g)(layer).values()], [*numbers.values()])[0]
    bend = dot([*hvp(g, (layer,), (numbers,))[0].values()], [*numbers.values()])[0]
    # What moves may be a weight itself, which then moves as well, or others than the last time.
    for along, rest in ((weights, slope), (numbers, 0), (weights, slope)):
        _, moved = jvp(g, (layer,), (along,))
        np.testing.assert_allclose(moved.item(), slope, rtol=1e-12)
        _, moved = jvp(lambda w, along=along: jvp(g, (w,), (along,))[1], (layer,), (numbers,))
        np.testing.assert_allclose(moved.item(), bend + rest, rtol=1e-12)


def test_second_derivatives_of_what_changes_its_gradients_are_refused():
    """By hooks or by clipping, also in the steps of a loop: it is the slope of no function."""
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    line, clipped = nn.Linear(3, 3, dtype=f64), nn.ClipGradient(nn.GRU(3, 3, dtype=f64), norm=0.1)
    handle = line.register_full_backward_hook(lambda module, inputs, outputs: None)
    clip = lambda x: tg.clip_gradient(x * x, value=1.0).sum()
    cases = [(lambda x: (line(tg.sin(x)) ** 3).sum(), "changed by hooks"), (clip, "clipped"),
             (lambda x: (clipped(x)[0] ** 2).sum(), "clipped")]  # fmt: skip
    for f, words in cases:
        for call in (
            lambda f=f: tg.transforms.hvp(f, (x,), (x,)),
            lambda f=f: tg.transforms.hessian(f)(x),
        ):
            with pytest.raises(ValueError, match=f"a gradient is {words} in the backward pass"):
                call()
        assert tg.transforms.jvp(tg.transforms.grad(f), (x,), (x,))[1].shape == x.shape
    handle.remove()
    assert tg.transforms.hvp(cases[0][0], (x,), (x,))[0].shape == x.shape


def test_layers_of_no_examples():
    for cell in (nn.GRU(3, 2, dtype=f64), nn.LSTM(3, 2, dtype=f64)):
        found = tg.transforms.vmap(lambda x, cell=cell: cell(x)[0])(np.zeros((0, 5, 3)))
        assert found.shape == (0, 5, 2)


AGAIN = {
    "checkpoint": lambda f: checkpoint(f)(np.ones(2)).sum(),
    "value_and_grad": lambda f: value_and_grad(f)(np.ones(()))[0],
    "grad": lambda f: grad(f)(np.ones(())),
    "jvp": lambda f: jvp(f, (np.ones(2),), (np.ones(2),))[1].sum(),
    "vjp": lambda f: vjp(f, np.ones(2))[1](np.ones(2))[0].sum(),
    "linearize": lambda f: linearize(f, np.ones(2))[1](np.ones(2)).sum(),
    "jacobian": lambda f: jacobian(f)(np.ones(2)).sum(),
    "hvp": lambda f: hvp(f, (np.ones(()),), (np.ones(()),))[0],
}


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.parametrize("begin", [0.0, 1.0])
def test_the_names_of_a_function_mean_in_the_backward_pass_what_they_meant(name, begin):
    """Of a loop around it: where weights begin with equal numbers, the results tell nothing."""
    weights = [tg.tensor(np.full((), begin), requires_grad=True) for _ in range(3)]
    total, expected = 0.0, []
    for w, c in zip(weights, (1.0, 2.0, 3.0), strict=True):
        total = total + AGAIN[name](lambda x: w * x**3 * c)  # noqa: B023 (what is tried)
        one = tg.tensor(np.full((), begin), requires_grad=True)
        expected.append(tg.grad(AGAIN[name](lambda x, one=one, c=c: one * x**3 * c), one).data)
    total.backward()
    assert [w.grad.data for w in weights] == expected and all(expected)


def changed_array(w):
    x = np.array([1e4, 1.0])
    y = checkpoint(lambda w, x: w * x)(w, x)
    x[1] = 3.0
    return y.sum()


def changed_array_of_a_gradient(w):
    x = np.ones(2)
    y = grad(lambda x: (w * x**2).sum())(x)
    x[1] = 3.0
    return y.sum()


def changed_tensor(w):
    v = tg.tensor(np.ones(2))
    y = grad(lambda x: (w * v * x).sum())(np.ones(2))
    v.data = np.full(2, 5.0)
    return y.sum()


def changed_layer(w):
    layer = nn.Dropout(0.5, rng=0)
    y = checkpoint(layer)(w)
    layer.eval()
    return y.sum()


def another_weight(w):
    weights = {"w": w}
    y = checkpoint(lambda x: weights["w"] * x)(np.ones(2))
    weights["w"] = tg.tensor(w.data, requires_grad=True)
    return y.sum()


@pytest.mark.parametrize("begin", [0.0, 1.0])
@pytest.mark.parametrize("change", [
    changed_array, changed_array_of_a_gradient, changed_tensor, changed_layer, another_weight,
])  # fmt: skip
def test_what_a_function_reads_and_has_changed_is_noticed_whatever_it_returns(change, begin):
    loss = change(tg.tensor(np.full(2, begin), requires_grad=True))
    with pytest.raises(RuntimeError, match=r"did something else|was given new values"):
        loss.backward()


@pytest.mark.parametrize("inside", [
    checkpoint, lambda f: grad(lambda x: (f(x) ** 2).sum()),
])  # fmt: skip
@pytest.mark.parametrize("begin", [0.0, 1.0])
def test_a_step_that_is_run_again_draws_what_was_drawn_for_it(inside, begin):
    class Own(nn.Cell):
        def __init__(self):
            self.inputs = self.hidden = 4
            self.dropout = nn.Dropout(0.5, rng=3)
            self.W = tg.tensor(np.eye(4) * begin, requires_grad=True)

        def step(self, x, h):
            return inside(lambda x: self.dropout(x) @ self.W + x)(x)

    found = []
    for unroll in (False, True):
        cell = Own()
        ys, _ = cell(np.ones((3, 1, 4)), unroll=unroll)
        found.append(tg.grad(ys.sum(), cell.W).data)
    np.testing.assert_array_equal(*found)


def test_a_layer_without_a_generator_draws_the_same_on_another_thread():
    w, layer = tg.tensor(np.ones(50), requires_grad=True), nn.Dropout(0.5)
    tg.manual_seed(0)
    try:
        y = checkpoint(lambda w: layer(w) * w)(w)
        thread = threading.Thread(target=y.sum().backward)
        thread.start()
        thread.join()
        first, w.grad = w.grad, None
        again = checkpoint(lambda w: layer(w) * w)(w)
        tg.manual_seed(1)
        again.sum().backward()
    finally:
        tg.manual_seed(None)
    np.testing.assert_array_equal(first.data, 2 * y.data)
    np.testing.assert_array_equal(w.grad.data, 2 * again.data)


@functools.cache
def triangle(n):
    return tg.tensor(np.tril(np.ones((n, n))))


def counted(x, depth=[0]):  # noqa: B006 (kept on purpose)
    if depth[0] == 3:
        return x
    depth[0] += 1
    y = counted(x) * 2.0
    depth[0] -= 1
    return y


def setter():
    held = None

    def helper(x):
        return tg.tanh(x + held)

    def outer(x):
        nonlocal held
        held = x * 2.0
        return helper(x)

    return outer


@pytest.mark.parametrize("f", [
    lambda x: checkpoint(lambda x: x * triangle(2))(x) * 2.0,
    lambda x: checkpoint(nn.GRU(2, 3, rng=0, dtype=f64))(x)[0] * 2.0,
    lambda x: grad(lambda x: (checkpoint(nn.GRU(2, 3, rng=0, dtype=f64))(x)[0] ** 2).sum())(x),
    counted, setter(), lambda x: eval("x * np.pi"), lambda x: x * globals()["np"].pi,
])  # fmt: skip
def test_what_is_done_alike_is_not_taken_for_something_else(f):
    x = normal(0, 2, 2)
    x.requires_grad = True
    checkpoint(f)(x).sum().backward()
    np.testing.assert_allclose(x.grad.data, tg.grad(f(x).sum(), x).data, rtol=1e-12)


def test_rows_that_change_places_are_noticed_in_a_large_array():
    w = np.random.default_rng(0).normal(size=(200, 64))
    x = tg.tensor(np.ones((200, 64)), requires_grad=True)
    y = checkpoint(lambda x: (x * w).sum())(x)
    w[[0, 61]] = w[[61, 0]]
    with pytest.raises(RuntimeError, match="did something else"):
        y.backward()


# -- a run that was made outside of what uses it ---------------------------------------------------


def moved(f, x):
    return linearize(f, x)[1]


def pulled(f, x):
    pull = vjp(f, x)[1]
    return lambda c: pull(c)[0]


OUTSIDE = {
    "grad": lambda p, v: grad(lambda v: (p(v) ** 2).sum())(v),
    "jvp": lambda p, v: jvp(p, (v,), (v,))[1],
    "scan": lambda p, v: tg.scan(lambda h: tg.sin(p(h)), v, None, length=2)[0][-1],
    "vmap": lambda p, v: vmap(p)(np.eye(3)),
    "vmap of grad": lambda p, v: vmap(grad(lambda v: (p(v) ** 2).sum()))(tg.stack([v, 2.0 * v])),
    "scan in vmap": lambda p, v: vmap(
        lambda u: tg.scan(lambda h: tg.sin(p(h)), u, None, length=2)[0])(tg.stack([v, 2.0 * v])),
}  # fmt: skip


def in_scan(x, w):
    return tg.scan(lambda h: tg.sin(h * w), x, None, length=2)[0][-1]


FUNCTIONS = {
    "ops": lambda x, w: tg.sin(x * w) * x,
    "a scan": in_scan,
    "a checkpoint": lambda x, w: checkpoint(lambda x: tg.sin(x * w) * x)(x),
}


@pytest.mark.parametrize("use", OUTSIDE)
@pytest.mark.parametrize("make", [moved, pulled])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_was_made_at_the_top_has_its_past_where_it_is_used(function, make, use):
    """Gradients by what the function reads, and by its primal, against differences."""
    v, f = normal(1, 3), lambda x: FUNCTIONS[function](x, w)
    w, x = normal(2, 3), normal(3, 3)
    total = lambda: (OUTSIDE[use](make(f, x), v) ** 2).sum()
    w.requires_grad = x.requires_grad = True
    for y in (w, x):
        numeric = np.zeros(3)
        for k in range(3):
            ends = []
            for step in (1e-6, -1e-6):
                before = y.data
                y.data = before + step * np.eye(3)[k]
                ends.append(total().item())
                y.data = before
            numeric[k] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(tg.grad(total(), y).data, numeric, rtol=1e-5, atol=1e-7)


CHANGES = {
    "a number in a checkpoint inside": lambda x, given: checkpoint(lambda z: z * given[0])(x),
    "a number in a gradient inside": lambda x, given: grad(lambda z: (z**2 * given[0]).sum())(x),
    "how long a scan is": lambda x, given: tg.scan(
        lambda h: h + x, np.zeros(2), None, length=int(given[0]))[0][-1],
    "where a scan begins": lambda x, given: tg.scan(
        lambda a, h: 0.5 * h + a * x, np.zeros(2), np.arange(3.0), reverse=given[0] > 3)[0].sum(0),
    "what a step does": lambda x, given: tg.scan(
        lambda h: h + x * (2 if given[0] > 3 else 3), np.zeros(2), None, length=2)[0][-1],
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_that_moves_no_result_is_noticed(what):
    """x is 0, and so is all that is made of it: only what was made tells."""
    x, given = tg.tensor([0.0, 0.0], requires_grad=True), [3.0]
    again = checkpoint(lambda x: CHANGES[what](x, given))(x).sum()
    expected = tg.grad(CHANGES[what](x, given).sum(), x).data
    np.testing.assert_allclose(tg.grad(again, x).data, expected)
    y = checkpoint(lambda x: CHANGES[what](x, given))(x).sum()
    given[0] = 4.0
    with pytest.raises(RuntimeError, match="did something else"):
        tg.grad(y, x)


def scaled(c):
    """An op, another each time it is made."""

    @tg.pointwise(lambda g, y, x: g * c)
    def act(x):
        return x * c

    return act


@pytest.mark.parametrize("other", [3.0, 2.0])
@pytest.mark.parametrize("scan", [False, True])
def test_another_op_of_the_same_name_is_noticed(scan, other):
    z, used = tg.tensor([0.0, 0.0], requires_grad=True), [scaled(3.0)]
    if scan:
        f = lambda z: tg.scan(lambda h: h + used[0](z), np.zeros(2), None, length=2)[0][-1]
    else:
        f = lambda z: used[0](z)
    y = checkpoint(f)(z).sum()
    used[0] = scaled(other)
    if other == 3.0:  # it was made again, and is the same
        assert tg.grad(y, z).data.tolist() == [3.0 * (1 + scan)] * 2
    else:
        with pytest.raises(RuntimeError, match="did something else"):
            tg.grad(y, z)


def test_an_attribute_with_a_program_is_no_scan():
    class Filter:
        program = "lowpass"

    @tg.primitive(lambda g, y, x, how=None: g)
    def filtered(x, how=None):
        return x * 1.0

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert checkpoint(lambda z: filtered(z, how=Filter()) * z)(x).data.tolist() == [1.0, 4.0]
