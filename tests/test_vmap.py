"""vmap: a function done to many examples at once is the function done to each, and stacked."""

from collections import namedtuple

import numpy as np
import pytest
import test_declared
import test_ops
import test_scan
import test_transforms
from plain_loops import uncompiled
from test_scan import made  # noqa: F401 (a fixture)
from test_transforms import both_ends, inside, near, normal

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.loops.scanned import scanned
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

N = 3  # examples


def one_by_one(f, axes, args):
    """What f gives for each example, stacked: what vmap means."""
    size = next(np.shape(x)[0] for x, axis in zip(args, axes, strict=True) if axis == 0)
    each = [
        f(*[x if axis is None else x[i] for x, axis in zip(args, axes, strict=True)])
        for i in range(size)
    ]
    return stacked(each)


def stacked(trees):
    first = trees[0]
    if isinstance(first, dict):
        return {name: stacked([t[name] for t in trees]) for name in first}
    if isinstance(first, list | tuple):
        return tuple(stacked([t[k] for t in trees]) for k in range(len(first)))
    return tg.tensor(np.stack([np.asarray(y.data if hasattr(y, "data") else y) for y in trees]))


def agrees(f, axes, *args, tolerance=1e-12):
    """Whether vmap(f) gives what f gives one by one."""
    found, wanted = vmap(f, in_axes=axes)(*args), one_by_one(f, axes, args)
    for a, b in zip(inside(found), inside(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# -- every op ------------------------------------------------------------------------------------


def examples(x):
    """N inputs like one: floats nearby, integers and flags at other places."""
    x = x.data if isinstance(x, tg.Tensor) else x
    x = np.asarray(x)
    if x.dtype.kind == "f":
        return np.stack([x * (1 + 0.01 * i) for i in range(N)])
    return np.stack([np.roll(x, i) for i in range(N)])


def slope(f, floats):
    """The gradient of what a function gives, in some direction, by its inputs that are floats."""

    def loss(*xs):
        ys = f(*xs)
        total = 0.0
        for k, y in enumerate(ys if isinstance(ys, tuple) else (ys,)):
            total = total + (y * np.random.default_rng(k).normal(size=y.shape) * y).sum()
        return total

    return grad(loss, tuple(floats))


def check_function(f, inputs, differentiable=True):
    """A function of arrays, with examples of all of them, and of each alone."""
    count = len(inputs)
    ways = [tuple(0 if k in (i, count) else None for k in range(count)) for i in range(count)]
    for axes in dict.fromkeys([(0,) * count, *ways]):
        args = [x if a is None else examples(x) for x, a in zip(inputs, axes, strict=True)]
        agrees(f, axes, *args)
        if differentiable:
            floats = [k for k, x in enumerate(args) if x.dtype.kind == "f"]
            agrees(slope(f, floats), axes, *args, tolerance=1e-11)


SLOPES = {"tanh_slope": tg.tanh, "sigmoid_slope": tg.sigmoid}


@pytest.mark.parametrize("op, inputs, attrs", test_ops.EACH)
def test_every_op(op, inputs, attrs):
    inputs = [np.asarray(x) for x in inputs]
    f = lambda *xs: op(*xs, **attrs)
    if op.name in ("take", "put") and any(x.dtype.kind == "b" for x in inputs):
        mask = inputs.pop()
        with pytest.raises(tg.Untraceable, match="vmap: the function reads the numbers of"):
            vmap(f, in_axes=(None, 0))(*inputs, examples(mask))
        f = lambda x: op(x, mask, **attrs)
    if op.name in SLOPES:  # rules call them with the answer beside what it came from
        inputs, f = inputs[1:], lambda x: op(SLOPES[op.name](x), x)
    check_function(f, inputs, op.name not in (*test_ops.COMPARISONS, *test_ops.PLACES))


def test_every_op_of_one_number():
    shapes = (2, 1, 4), (3, 1), (4,)
    for op in (op for op in test_declared.SMOOTH if op.name not in SLOPES):
        low = 1.2 if op.name == "arccosh" else 0.2
        rng = np.random.default_rng(0)
        xs = [rng.uniform(low, low + 0.6, shape) for shape in shapes[: op.arity]]
        xs = [x if counts else x > 0.5 for x, counts in zip(xs, op.company(op.arity), strict=True)]
        dtype = {"dtype": np.float64} if op.name == "astype" else {}
        check_function(lambda *given, op=op, dtype=dtype: op(*given, **dtype), xs)


@pytest.mark.parametrize("f, inputs", test_ops.WRAPPED.values(), ids=test_ops.WRAPPED)
def test_functions_made_of_ops(f, inputs):
    check_function(f, inputs)


def test_indices_of_all_kinds():
    """Where NumPy puts what it picks depends on what stands beside it."""
    x = normal(0, 3, 4, 5, 2)
    a, b = np.array([2, 0, -1]), np.array([[1], [3]])
    apart = np.s_[:, [2, 0, 1], :, ..., 1]  # what stands for no axes keeps them apart, too
    forms = [
        lambda x, a, b: x[a], lambda x, a, b: x[:, a], lambda x, a, b: x[:, :, a, 1],
        lambda x, a, b: x[a, :, a], lambda x, a, b: x[..., b * 0 + 1], lambda x, a, b: x[:, b, a],
        lambda x, a, b: x[1, :, a], lambda x, a, b: x[None, :, a], lambda x, a, b: x[:, None, a, b],
        lambda x, a, b: x[a, None, b], lambda x, a, b: x[:, 1:3, a, ::-1],
        lambda x, a, b: x[:, :, a, ..., 1], lambda x, a, b: x[:, a, ..., a, 1],
        lambda x, a, b: x[0, a, :, ..., a * 0], lambda x, a, b: x[:, 0, :, ..., a * 0 + 1],
        lambda x, a, b: tg.index_put(x, apart, x[apart] * 2),
        lambda x, a, b: tg.embedding(x, tg.abs(a)),
        lambda x, a, b: tg.take_along_axis(x, a[:, None, None, None], 0),
    ]  # fmt: skip
    for f in forms:
        for axes in [(0, None, None), (None, 0, None), (0, 0, 0), (None, 0, 0), (None, None, 0)]:
            pairs = zip((x, a, b), axes, strict=True)
            args = [tg.tensor(v if k is None else examples(v)) for v, k in pairs]
            agrees(f, axes, *args)
            agrees(slope(f, [0]), axes, *args)
    with pytest.raises(IndexError, match="expected 0 <= index < 3"):
        vmap(lambda a: tg.embedding(x, a))(examples(a))
    with pytest.raises(IndexError, match="out of bounds"):
        vmap(tg.embedding)(examples(x.data), examples(a))


def test_einsum_sorting_and_losses():
    x, y = normal(0, N, 3, 4), normal(1, N, 4, 2)
    agrees(lambda x, y: tg.einsum("ij,jk->ki", x, y), (0, 0), x, y)
    agrees(lambda x, y: tg.einsum("...j,jk->...k", x, y), (0, None), x, y[0])
    agrees(lambda x: tg.topk(x, 2), (0,), x)
    agrees(
        lambda x: [tg.sort(x, 0), tg.cumprod(x), tg.norm(x), tg.std(x, 1), tg.roll(x, 1, 0)],
        (0,),
        x,
    )
    agrees(lambda x: tg.layer_norm(x) @ x.T, (0,), x)
    agrees(lambda x, w: tg.conv1d(x, w, padding="same"), (0, None), x, normal(2, 2, 3, 3))
    agrees(lambda x: tg.attention(x, x, x, causal=True), (0,), x)
    classes = np.random.default_rng(0).integers(0, 4, (N, 3))
    flags = classes != 1
    for how in ({}, {"reduction": "sum"}, {"label_smoothing": 0.1, "weight": [1.0, 2.0, 3.0, 4.0]}):
        loss = lambda x, t, m, how=how: tg.cross_entropy(x, t, mask=m, **how)
        agrees(loss, (0, 0, 0), x, classes, flags)
        agrees(slope(loss, [0]), (0, 0, 0), x, classes, flags)
        agrees(loss, (None, 0, None), x[0], classes, flags[0])
        agrees(loss, (0, None, None), x, classes[0], flags[0])
    agrees(lambda x, t: tg.nll_loss(tg.log_softmax(x), t), (0, 0), x, classes)
    chances = lambda x, t: tg.binary_cross_entropy_with_logits(x, tg.one_hot(t, 4, x.dtype))
    agrees(chances, (0, 0), x, classes)
    agrees(lambda x, m: tg.huber_loss(x, x * 2, mask=m), (0, 0), x, flags)
    with pytest.raises(ValueError, match="cross_entropy: target: expected 0 <= target < 4"):
        vmap(tg.cross_entropy)(x, classes + 1)
    with pytest.raises(ValueError, match="one_hot: index: expected"):
        vmap(lambda t: tg.one_hot(t, 3))(classes)


def test_an_op_of_ones_own():
    """By its formula, if it has one; else example by example."""

    @tg.pointwise(lambda g, y, x, z: 3.0 * g * x * x * z, lambda g, y, x, z: g * x * x * x)
    def cubes(x, z):
        return x * x * x * z

    @tg.primitive(lambda g, y, x: tg.flip(tg.cumsum(tg.flip(g, 0), 0), 0))
    def running(x):
        return np.cumsum(x, axis=0)

    @tg.primitive(lambda g, y, x, axis: tg.flip(g, axis), formula=lambda x, axis: tg.flip(x, axis))
    def turned(x, axis):
        return np.flip(x, axis)

    x, z = normal(0, N, 3, 4), normal(1, N, 4)
    for f in (lambda x, z: cubes(x, z), lambda x, z: running(x) * z,
              lambda x, z: turned(x, axis=0) * z):  # fmt: skip
        agrees(f, (0, 0), x, z)
        agrees(slope(f, [0, 1]), (0, None), x, z[0])


# -- loops ---------------------------------------------------------------------------------------

H = test_scan.H


@pytest.mark.parametrize("step", test_scan.STEPS, ids=lambda step: step.__name__)
def test_every_step_of_a_scan(step):
    start = test_scan.numbers(0, N, 9, H)

    def f(h, how=tg.scan):
        return tuple(y for y in how(step, h, None, length=3) if y.dtype.kind == "f")

    with uncompiled():
        found = vmap(f)(start), vmap(slope(f, [0]))(start)
    steps = lambda h: f(h, tg.unroll)
    wanted = one_by_one(steps, (0,), (start,)), one_by_one(slope(steps, [0]), (0,), (start,))
    for a, b in zip(inside(found), inside(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_scan_stays_one_loop(made):  # noqa: F811
    """One compiled loop forward and one backward, whatever weights it is called with."""
    cell, xs = nn.LSTM(3, 4, rng=0, dtype=np.float64), normal(0, 5, 6, 3)
    loss = lambda cell, x: total(both_ends(cell, x))
    found = vmap(grad(loss), in_axes=(None, 0))(cell, xs)
    near(found, per_example(cell, xs))
    y = vmap(lambda x: cell(x)[0])(xs)
    assert [t.op for t in history([y])].count(scanned) == 1
    before = len(made)
    for seed in range(2):
        other = nn.LSTM(3, 4, rng=seed, dtype=np.float64)
        near(vmap(grad(loss), in_axes=(None, 0))(other, xs), per_example(other, xs))
    assert len(made) == before


def per_example(layer, xs, how=both_ends):
    """The gradients of each example by a loop over them, step by step."""
    gradient = grad(lambda layer, x: total(how(layer, x, unroll=True)))
    return stacked([gradient(layer, x) for x in xs])


def total(ys):
    return sum(((y * (k + 1)) ** 2).sum() for k, y in enumerate(ys))


@pytest.mark.parametrize("name", test_transforms.CELLS)
def test_gradients_of_each_example_by_a_layer(name):
    layer, xs = test_transforms.CELLS[name](), normal(0, N, 3, 3)
    unrolled = lambda x: both_ends_of(layer, x, True)
    with uncompiled():
        ys = vmap(lambda x: both_ends_of(layer, x))(xs)
        found = vmap(value_and_grad(lambda layer, x: total(both_ends_of(layer, x))), (None, 0))
        values, gradients = found(layer, xs)
    near(tuple(ys), one_by_one(unrolled, (0,), (xs,)), 1e-12)
    one = value_and_grad(lambda layer, x: total(both_ends_of(layer, x, True)))
    wanted = stacked([one(layer, x) for x in xs])
    near((values, gradients), wanted, 1e-11)


def both_ends_of(layer, xs, unroll=False):
    if isinstance(layer, nn.Recurrent):
        layer.unroll = unroll
        return both_ends(layer, xs)
    return both_ends(layer, xs, unroll=unroll)


def test_a_batch_in_each_example():
    """Examples that are batches themselves, along any axis, with a state of their own."""
    cell, xs = nn.GRU(3, 4, rng=0, dtype=np.float64), normal(0, 5, 2, N, 3)
    state = normal(1, N, 2, 4)
    f = lambda x, h, **how: cell(x, (h,), **how)[0]
    with uncompiled():
        found = vmap(f, in_axes=(2, 0), out_axes=1)(xs, state)
        slopes = vmap(grad(lambda cell, x: (cell(x)[0] ** 2).sum()), (None, 2))(cell, xs)
    each = [f(xs[:, :, i], state[i], unroll=True).data for i in range(N)]
    np.testing.assert_allclose(found.data, np.stack(each, 1), rtol=1e-12, atol=1e-12)
    one = grad(lambda cell, x: (cell(x, unroll=True)[0] ** 2).sum())
    near(slopes, stacked([one(cell, xs[:, :, i]) for i in range(N)]))


def test_a_scan_in_a_scan_and_vmap_in_a_step():
    w = normal(5, 4, 4)
    xs = normal(0, N, 3, 4)

    def nested(x, how=tg.scan):
        def outer(x, h):
            (path,) = how(lambda s: tg.tanh(s @ w + x), h, None, length=2)
            return path[-1] * 0.5

        return how(outer, x[0] * 0.0, x)[0]

    def mapped(x, how=tg.scan):
        rows = vmap(lambda row: tg.softmax(row * 2.0) * row.sum())
        return how(lambda h: rows(h) @ w, x, None, length=2)[0]

    with uncompiled():
        found = [vmap(f)(xs) for f in (nested, mapped)]
        found += [vmap(slope(f, [0]))(xs)[0] for f in (nested, mapped)]
    steps = [lambda x, f=f: f(x, tg.unroll) for f in (nested, mapped)]
    wanted = [one_by_one(f, (0,), (xs,)) for f in steps]
    wanted += [one_by_one(slope(f, [0]), (0,), (xs,))[0] for f in steps]
    near(tuple(found), tuple(wanted))


# -- with other transforms -----------------------------------------------------------------------


def curved(x):
    return tg.tanh(x * x[::-1]) * x.sum()


def test_transforms_of_one_example():
    xs, vs = normal(0, N, 4), normal(1, N, 4)
    whole = lambda x: (curved(x) ** 2).sum()
    for f in (grad(whole), jacobian(curved), hessian(whole), grad(lambda x: grad(whole)(x).sum())):
        agrees(f, (0,), xs)
    agrees(lambda x, v: jvp(curved, (x,), (v,)), (0, 0), xs, vs)
    agrees(lambda x, v: jvp(curved, (x,), (v,)), (None, 0), xs[0], vs)
    agrees(lambda x, v: vjp(curved, x)[1](v)[0], (0, None), xs, vs[0])
    agrees(lambda x, v: linearize(curved, x)[1](v), (None, 0), xs[0], vs)
    agrees(lambda x, v: hvp(whole, (x,), (v,)), (0, 0), xs, vs)
    agrees(value_and_grad(lambda x, n: ((curved(x) * n).sum(), x), has_aux=True), (0, 0), xs,
           np.arange(N))  # fmt: skip
    agrees(checkpoint(curved), (0,), xs)
    agrees(grad(lambda x: checkpoint(whole)(x)), (0,), xs)


def test_transforms_of_all_examples():
    xs, vs = normal(0, N, 4), normal(1, N, 4)
    mapped, looped = vmap(curved), lambda xs: tg.stack([curved(x) for x in xs])
    total = lambda f: lambda xs: (f(xs) ** 2).sum()
    for order in (grad, hessian):
        near(order(total(mapped))(xs), order(total(looped))(xs))
    near(jacobian(mapped)(xs), jacobian(looped)(xs))
    near(jvp(mapped, (xs,), (vs,)), jvp(looped, (xs,), (vs,)))
    near(hvp(total(mapped), (xs,), (vs,)), hvp(total(looped), (xs,), (vs,)))
    per = lambda one: lambda xs: (one(xs) ** 2).sum()
    first = grad(lambda x: (curved(x) ** 2).sum())
    near(grad(per(vmap(first)))(xs), grad(per(lambda xs: tg.stack([first(x) for x in xs])))(xs))


def test_a_jacobian_is_the_products_with_a_basis():
    x = normal(0, 4)
    pull, push = vjp(curved, x)[1], linearize(curved, x)[1]
    basis, wanted = np.eye(4), jacobian(curved)(x)
    near(vmap(lambda v: pull(v)[0])(basis), wanted)
    near(vmap(push, out_axes=1)(basis), wanted)
    near(vmap(lambda v: vjp(curved, x)[1](v)[0])(basis), wanted)
    near(vmap(lambda v: jvp(curved, (x,), (v,))[1], out_axes=1)(basis), wanted)

    def within(x):  # a basis for each example
        pull, push = vjp(curved, x)[1], linearize(curved, x)[1]
        return vmap(lambda v: pull(v)[0])(basis), vmap(push, out_axes=1)(basis)

    w = normal(2, 4, 4)
    loop = lambda x, w: tg.scan(lambda h: tg.tanh(h @ w) * x, x, None, length=3)[0][-1]
    with uncompiled():
        for f, given in ((lambda x: loop(x, w), x), (lambda w: loop(x, w), w)):
            wanted = jacobian(f)(given)
            units = np.eye(given.size).reshape(given.size, *given.shape)
            by = -1 if given is x else 1
            columns = vmap(linearize(f, given)[1], out_axes=by)(units)
            near(columns.reshape(wanted.shape), wanted)
            pull = vjp(f, given)[1]
            near(vmap(lambda v, pull=pull: pull(v)[0])(np.eye(4)), wanted)

    xs = normal(1, N, 4)
    near(vmap(within)(xs), (vmap(jacobian(curved))(xs),) * 2)


def test_vmap_in_vmap():
    xs, ys = normal(0, N, 4), normal(1, 2, 4)
    table = vmap(vmap(lambda x, y: tg.tanh(x @ y), (None, 0)), (0, None))
    np.testing.assert_allclose(table(xs, ys).data, np.tanh(xs.data @ ys.data.T), rtol=1e-13)
    slopes = vmap(vmap(grad(lambda x, y: tg.tanh(x @ y)), (None, 0)), (0, None))(xs, ys)
    slope_of = lambda x, y: (1 - np.tanh(x @ y) ** 2) * y
    wanted = np.array([[slope_of(x, y) for y in ys.data] for x in xs.data])
    np.testing.assert_allclose(slopes.data, wanted, rtol=1e-12)
    cell, seqs = nn.RNN(2, 3, rng=0, dtype=np.float64), normal(2, N, 2, 4, 2)
    loss = lambda cell, x: (cell(x)[0] ** 2).sum()
    with uncompiled():
        deep = vmap(vmap(grad(loss), (None, 0)), (None, 0))(cell, seqs)
        flat = vmap(grad(loss), (None, 0))(cell, seqs.reshape(2 * N, 4, 2))
    near(deep, {k: g.reshape(N, 2, *g.shape[1:]) for k, g in flat.items()})


def test_gradients_of_each_example_may_be_trained():
    """A penalty on how long each example's gradient is, by the parameters of a module."""
    layer, xs = nn.Linear(3, 2, rng=0, dtype=np.float64), normal(0, N, 3)
    loss = lambda layer, x: (tg.tanh(layer(x)) ** 2).sum()

    def penalty(gradients):
        return sum((g**2).sum() for g in gradients.values()) ** 2

    found = penalty(vmap(grad(loss), (None, 0))(layer, xs))
    found.backward()
    one = lambda layer: penalty(
        {k: tg.stack([grad(loss)(layer, x)[k] for x in xs]) for k in ("W", "b")}
    )
    near({"W": layer.W.grad, "b": layer.b.grad}, grad(one)(layer))
    weights = {"W": tg.tensor(layer.W.data, requires_grad=True), "b": normal(1, 2)}
    given = lambda w, x: (tg.tanh(x @ w["W"] + w["b"]) ** 2).sum()
    for axes, x in (((None, 0), xs), ((None, None, 0), xs)):
        f = grad(given) if len(axes) == 2 else lambda w, more, x: vjp(given, w, x)[1](more)[0]
        more = () if len(axes) == 2 else (tg.tensor(2.0, requires_grad=True),)
        weights["W"].grad = None
        penalty(vmap(f, axes)(weights, *more, x)).backward()
        tracked = [weights["W"], *more]
        again = [w.grad.data.copy() for w in tracked]
        for w in tracked:
            w.grad = None
        each = [f(weights, *more, row) for row in xs]
        penalty({k: tg.stack([g[k] for g in each]) for k in each[0]}).backward()
        near(tuple(map(tg.tensor, again)), tuple(w.grad for w in tracked))
    by = vmap(lambda x: loss(layer, x))(xs).sum()
    layer.zero_grad()
    by.backward()
    near(layer.W.grad, sum(grad(loss)(layer, x)["W"] for x in xs))


def test_weights_of_each_example():
    """An ensemble: weights are what is different, and what an example is can be the same."""
    weights = {"W": normal(0, N, 3, 3), "b": normal(1, N, 3)}
    xs = normal(2, 4, 3)

    def f(w, xs, how=tg.scan):
        return how(lambda x, h: tg.tanh(x @ w["W"] + h @ w["W"].T + w["b"]), w["b"] * 0.0, xs)[0]

    each = lambda i: {k: v[i] for k, v in weights.items()}
    with uncompiled():
        found = vmap(f, (0, None))(weights, xs)
        slopes = vmap(grad(lambda w, x: (f(w, x) ** 2).sum()), ({"W": 0, "b": 0}, None))(
            weights, xs
        )
    near(found, stacked([f(each(i), xs, tg.unroll) for i in range(N)]))
    one = grad(lambda w, x: (f(w, x, tg.unroll) ** 2).sum())
    near(slopes, stacked([one(each(i), xs) for i in range(N)]))


# -- what it takes and returns -------------------------------------------------------------------

Pair = namedtuple("Pair", "a b")


def test_containers_and_axes():
    x, y = normal(0, N, 2), normal(1, 2, N)
    f = lambda pair, more, flag: {"sum": pair.a + pair.b, "rest": (more[0] * 2, None, pair.a)}
    found = vmap(f, in_axes=(Pair(0, 1), [0, None], None), out_axes={"sum": 0, "rest": -1})(
        Pair(x, y), [np.arange(N), "word"], "flag"
    )
    np.testing.assert_array_equal(found["sum"].data, x.data + y.data.T)
    np.testing.assert_array_equal(found["rest"][0].data, 2 * np.arange(N))
    np.testing.assert_array_equal(found["rest"][2].data, x.data.T)
    assert found["rest"][1] is None
    same, each = vmap(lambda x: (tg.tensor(3.0), x), out_axes=(None, 0))(x)
    assert same.shape == () and each.shape == (N, 2)
    assert vmap(lambda x: 2.0)(x).shape == (N,)
    assert vmap(lambda x, y=1.0: x * y)(x, y=2.0).shape == (N, 2)
    assert vmap(lambda x: x[None].sum(0))(np.ones((0, 3))).shape == (0, 3)
    assert vmap(lambda x: x, in_axes=-1, out_axes=-2)(np.ones((4, 5, N))).shape == (4, N, 5)
    one = vmap(lambda x: x.shape == (2,) and x.ndim == 1 and len(x) == x.size == 2)
    assert one(x).data.all()


def hooked_layer():
    layer = nn.Linear(2, 2, rng=0, dtype=np.float64)
    layer.W.register_hook(lambda g: g * 2)
    return layer


def drawn(x):
    return x * np.random.random()


rng = np.random.default_rng(0)
kept = []
REFUSED = {
    "no function": (lambda: vmap(3), "vmap: f: expected a function"),
    "no axis": (lambda: vmap(tg.exp)(1.0), "argument \\[0\\] has no axis 0"),
    "too few": (lambda: vmap(tg.add, (0,))(np.ones(2), 1.0), "one for each of 2 arguments"),
    "no examples": (lambda: vmap(tg.add, None)(np.ones(2), 1.0), "got None for all"),
    "sizes": (lambda: vmap(tg.add)(np.ones(2), np.ones(3)), "got 2 in argument .* and 3 in"),
    "word": (lambda: vmap(lambda x: x)("abc"), "expected a tensor with examples along axis 0"),
    "axes": (lambda: vmap(lambda x: x[0], ([0, 0],))([np.ones(2)]), "in_axes: expected the number"),
    "flag": (lambda: vmap(tg.exp, True)(np.ones(2)), "in_axes: expected the number of an axis"),
    "float": (lambda: vmap(tg.exp, 0.5)(np.ones(2)), "in_axes: expected the number of an axis"),
    "module": (
        lambda: vmap(lambda m, x: m(x))(nn.Linear(2, 2), np.ones((3, 2))),
        "a module is the same for all examples",
    ),
    "by name": (lambda: vmap(lambda x, y: x + y)(np.ones(2), y=np.ones(2)), "vmap: y: expected"),
    "out axis": (lambda: vmap(tg.exp, 0, 2)(np.ones(2)), "out_axes: its result has 0 axes"),
    "out none": (lambda: vmap(tg.exp, 0, None)(np.ones(2)), "is not the same for all examples"),
    "no tensor": (lambda: vmap(lambda x: "y")(np.ones(2)), "its result: expected tensors"),
    "branch": (lambda: vmap(lambda x: x if x > 0 else -x)(np.ones(2)), "vmap: the function branch"),
    "numbers": (lambda: vmap(lambda x: x.item())(np.ones(2)), "vmap: the function reads"),
    "array": (lambda: vmap(lambda x: np.asarray(x) + 1)(np.ones(2)), "vmap: the function "),
    "backward": (
        lambda: vmap(lambda x: x.sum().backward())(tg.tensor(np.ones((2, 2)), requires_grad=True)),
        "vmap: the function calls backward",
    ),
    "hook": (
        lambda: vmap(grad(lambda m, x: m(x).sum()), (None, 0))(hooked_layer(), np.ones((3, 2))),
        "vmap: W float64.2, 2. has a hook",
    ),
    "tg.grad": (lambda: vmap(lambda x: tg.grad(x * x, x))(np.ones(2)), "Use tg.transforms.grad"),
    "draws": (lambda: vmap(drawn)(np.ones(2)), "vmap: the function draws random numbers"),
    "draws its own": (lambda: vmap(lambda x: x * rng.normal())(np.ones(2)), "draws random numbers"),
    "drops": (lambda: vmap(nn.Dropout(0.5, rng=0))(np.ones((2, 3))), "draws random numbers"),
    "draws what is given": (
        lambda: vmap(lambda r, x: x * r.random(), (None, 0))(np.random.default_rng(0), np.ones(2)),
        "draws random numbers",
    ),
    "draws what is given by name": (
        lambda: vmap(lambda x, r: x * r.random())(np.ones(2), r=np.random.default_rng(0)),
        "draws random numbers",
    ),
    "drops what is given by name": (
        lambda: vmap(lambda x, f: f(x))(np.ones((2, 3)), f=nn.Dropout(0.5, rng=0)),
        "draws random numbers",
    ),
    "drops in a list": (
        lambda: vmap(lambda f, x: f[0](x), ([None], 0))([nn.Dropout(0.5, rng=0)], np.ones((2, 3))),
        "draws random numbers",
    ),
    "drops in a step": (
        lambda: vmap(nn.VariationalDropout(nn.RNN(2, 2, rng=0), inputs=0.5, state=0.5, rng=0))(
            np.ones((2, 4, 2), np.float32)
        ),
        "draws random numbers",
    ),
    "shapes": (lambda: vmap(tg.add)(np.ones((2, 3)), np.ones((2, 4))), "float64.3., .*float64.4"),
    "ctc": (
        lambda: vmap(tg.ctc_loss, (0, 0, None, None))(
            np.zeros((2, 4, 3)), np.ones((2, 2), int), 4, 2
        ),
        "vmap: the function",
    ),
    "lengths": (
        lambda: vmap(lambda x, n: nn.RNN(2, 2, rng=0)(x, lengths=n)[0])(
            np.ones((2, 4, 3, 2), np.float32), np.ones((2, 3), int)
        ),
        "vmap: the function",
    ),
    "kept": (lambda: (vmap(lambda x: (kept.append(x), x)[1])(np.ones(2)), kept[-1] + 1)[0], "kept"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, match = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=match):
        call()


def test_drawing_layers_draw_outside():
    """With masks that are given, or in evaluation, there is nothing to refuse."""
    cell = nn.Zoneout(nn.RNN(3, 4, dtype=np.float64, rng=0), h=0.5)
    cell.eval()
    xs = normal(0, N, 2, 3)
    agrees(lambda x: cell(x, unroll=True)[0], (0,), xs)


@pytest.mark.parametrize(
    "how",
    [
        {"lengths": [4]}, {"lengths": [0]}, {"lengths": [4], "reverse": True},
        {"mask": np.array([[1], [1], [0], [1], [0], [1]], bool)},
        {"lengths": [4], "reset": np.array([[0], [0], [1], [0], [0], [0]], bool)},
    ],
)  # fmt: skip
def test_padding_that_is_the_same_for_all_examples(how):
    """Per-example gradients of a layer, and the layer in a step of a loop."""
    layer = nn.LSTM(3, 4, rng=0, dtype=np.float64)
    X = np.random.default_rng(0).normal(size=(5, 6, 3))
    f = lambda layer, x: (layer(x[:, None], **how)[0] ** 2).sum()
    found = vmap(grad(f), in_axes=(None, 0))(layer, X)
    each = [grad(f)(layer, tg.tensor(x)) for x in X]
    for path, g in found.items():
        np.testing.assert_allclose(g.data, np.stack([one[path].data for one in each]), atol=1e-12)
    for unroll in (False, True):
        sums = tg.scan(lambda x, s: s + f(layer, x), tg.tensor(0.0), X, unroll=unroll)[0]
        expected = sum(f(layer, x).item() for x in X)
        np.testing.assert_allclose(sums[-1].item(), expected, rtol=1e-12)


def test_a_clipped_gradient_is_that_of_each_example():
    """Of what is the same for all, too, which gets the sum of them."""
    w, xs = np.ones(3), np.full((4, 3), 10.0)
    f = lambda w, x: (tg.clip_gradient(w, norm=1.0) * x).sum()
    found = grad(lambda w: vmap(f, (None, 0))(w, xs).sum())(w)
    np.testing.assert_allclose(found.data, 4 / 3**0.5, rtol=1e-12)
    agrees(grad(f), (None, 0), tg.tensor(w), tg.tensor(xs))
    step = lambda x, h: tg.tanh(vmap(f, (None, 0))(h, x).sum() * x[0])
    scans = []
    for unroll in (False, True):
        h = tg.tensor(w, requires_grad=True)
        (ys,) = tg.scan(step, h, normal(0, 3, 4, 3), unroll=unroll)
        scans.append(tg.grad(ys.sum(), h).data)
    np.testing.assert_allclose(*scans, rtol=1e-12)


def test_a_mask_of_each_example_beside_one_target_for_all():
    logits, flags = normal(0, 3, 2, 4), tg.tensor(np.array([[1, 0], [1, 1], [0, 0]], bool))
    f = lambda x, mask: tg.cross_entropy(x, np.array([0, 3]), mask=mask)
    agrees(f, (0, 0), logits, flags)
    agrees(lambda x: tg.argsort(x, None), (0,), normal(0, 3))
