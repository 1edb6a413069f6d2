"""A scan inside the step of a scan stays a loop, and gives what its steps give one by one."""

import numpy as np
import pytest
from plain_loops import uncompiled

import tinygrad_rnn as tg

T, L, B, I, H = 4, 5, 3, 2, 6


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def weight(seed, *shape):
    return tg.tensor(numbers(seed, *shape) * 0.5, requires_grad=True)


U, W, V, Q = weight(0, H, H), weight(1, I, H), weight(2, H, H), weight(3, H, H)
bias, rate, one = weight(4, H), weight(5), weight(6, H)
cube = tg.pointwise(lambda g, y, x: 3.0 * g * x * x)(lambda x: x * x * x)


@tg.primitive(lambda g, y, x: 2.0 * g)
def doubled(x):
    return 2.0 * x


@pytest.fixture(autouse=True)
def plain(request):
    if "compiled" in request.keywords:
        yield
    else:
        with uncompiled():
            yield


def results(step, carry, xs, weights, unroll, dtype=np.float64, **how):
    """What comes out, and all gradients of it, each result with other cotangents."""
    given = [tg.tensor(a.astype(dtype) if a.dtype.kind == "f" else a,
                       requires_grad=a.dtype.kind == "f") for a in [*carry, *xs]]  # fmt: skip
    state, inputs = given[: len(carry)], given[len(carry) :]
    ys = tg.scan(step, state, tuple(inputs) or None, unroll=unroll, **how)
    loss = sum(
        (y * numbers(9 + k, *y.shape).astype(dtype)).sum()
        for k, y in enumerate(ys) if y.dtype.kind == "f"
    )  # fmt: skip
    wrt = [x for x in [*given, *weights] if x.requires_grad]
    return ys, [*ys, *tg.grad(loss, wrt, allow_unused=True, retain_graph=True)]


def check(step, carry, xs, weights=(), tolerance=1e-12, **how):
    """The loop and the steps one by one; returns the text of the loop."""
    ys, found = results(step, carry, xs, weights, False, **how)
    assert ys[0].op is not None and ys[0].inputs[0].op.name == "scan"
    _, expected = results(step, carry, xs, weights, True, **how)
    for a, b in zip(found, expected, strict=True):
        if b is None:
            assert a is None or not a.data.any()
        else:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a.data, b.data, rtol=tolerance, atol=tolerance)
    return ys[0].inputs[0].attrs["run"].source


def is_loop(source, deep=1):
    """Whether both texts have a loop over time in the loop over time, so deep."""
    parts = source.split("def backward(")
    return all(part.count("for done") == 1 + deep for part in parts)


# -- what an inner step may read, and what it may return ------------------------------------------


def of_inputs(reverse=False):
    inner = lambda x, s: tg.tanh(x @ W + s @ U)

    def step(x, h):
        (s,) = tg.scan(inner, h, x, reverse=reverse)
        return tg.tanh(s[0 if reverse else -1] @ V + h)

    return step


def of_the_carry(x, h):
    (s,) = tg.scan(lambda s: tg.tanh(s @ U + x @ W + bias) * rate, h, None, length=L)
    return s[-1] + s.mean(axis=0)


def whole_paths(x, h):
    """Two carries, outputs, the carry given on; all of them leave the outer step."""

    def inner(x, s, c):
        c = c * tg.sigmoid(x @ W) + s
        return tg.tanh(c @ U), c, x.sum(axis=-1), x, s

    s, c, y, again, before = tg.scan(inner, [h, h * 0.5], x)
    return c[-1], s, y, again * 2.0, before, c[::-1]


def of_what_the_outer_step_computes(x, h):
    """A matrix, a vector and a number that change from outer step to outer step; the inputs too."""
    M, v, n = V * h.mean() + Q, tg.tanh(h[0]) + bias, (h * h).sum() * 0.1
    inputs = tg.stack([tg.sin(x @ W), x @ W, h * rate])
    (s,) = tg.scan(lambda x, s: tg.tanh(s @ M + x * v) * n, h @ Q, inputs)
    return s[-1] + h


def vectors(x, h):
    s, n = tg.scan(
        lambda s, n: (tg.tanh(s @ U + x @ W) * n, n * rate), [h, h.sum()], None, length=3
    )
    return s[-1] * n.sum()


def whole_numbers(x, h):
    inner = lambda x, s, k: (s * tg.where(k % 2 == 0, x, -x) + rate, k + 1, k > 1)
    s, k, flags = tg.scan(inner, [h, tg.tensor(0)], x)
    return s[-1] + k.sum() + tg.where(flags[-1], 1.0, 2.0), k


def attention(x, h):
    """Softmax, means and products of two things that change."""

    def inner(q, s):
        a = tg.softmax(q @ s.T, axis=-1)
        return a @ s + tg.logsumexp(s, axis=-1, keepdims=True)

    (s,) = tg.scan(inner, h, tg.stack([h, tg.tanh(h)]))
    return tg.tanh(s[-1]) + x @ W


def without_history(x, h):
    with tg.no_grad():
        (s,) = tg.scan(lambda s: tg.tanh(s @ U), h, None, length=3)
    (r,) = tg.scan(lambda s: tg.tanh(s.detach() @ U + s), h, None, length=3)
    return s[-1] + r[-1] * h


def two_of_them(x, h):
    """The second reads the first; one is not read at all."""
    (s,) = tg.scan(lambda x, s: s + tg.sin(x @ W), h, x)
    tg.scan(lambda s: s * 2.0, h, None, length=2)
    (r,) = tg.scan(lambda s, r: tg.tanh(r @ U) * s, h, s, reverse=True)
    return r[0] + s[-1]


def ops_of_others(x, h):
    (s,) = tg.scan(lambda s: cube(s) * 0.1 + tg.sin(s), h, None, length=3)
    return s[-1]


def handed_on(x, h):
    """Carries that swap, and stay; outputs that are what was given; no carry at all."""
    s, _, r, y = tg.scan(lambda s, c, r: (c, s, r, s * c + r), [h, x @ W, h * 0.5], None, length=3)
    (z,) = tg.scan(lambda y: tg.tanh(y @ U), (), y)
    w = tg.scan(lambda s: (s, x), h, None, length=2)[1]
    return s[-1] + r[-1] + z.sum(axis=0) + w[0] @ W


def constants(x, h):
    (s,) = tg.scan(lambda s: tg.tanh(s * 0.3 + 2.0) - tg.ones((B, H)), h, None, length=3)
    return h * 0.5 + s[-1]


def three_deep(x, h):
    def middle(x, s):
        (r,) = tg.scan(lambda r: tg.tanh(r @ U + x @ W + h * rate), s, None, length=3)
        return r[-1] * 0.5, r

    s, r = tg.scan(middle, h, x)
    return tg.tanh(s[-1] @ V) + r.sum(axis=(0, 1))


batch, sequences, single = [numbers(1, B, H)], [numbers(2, T, L, B, I)], [numbers(2, T, B, I)]
CASES = {
    "inputs": (of_inputs(), batch, sequences),
    "inputs, last first": (of_inputs(True), batch, sequences),
    "the carry": (of_the_carry, batch, single),
    "whole paths": (whole_paths, batch, sequences),
    "what is computed": (of_what_the_outer_step_computes, batch, single),
    "vectors": (vectors, [numbers(1, H)], [numbers(2, T, I)]),
    "whole numbers": (whole_numbers, [numbers(1, H)], [numbers(2, T, L, H)]),
    "attention": (attention, batch, single),
    "handed on": (handed_on, batch, single),
    "no history": (without_history, batch, single),
    "constants": (constants, batch, single),
    "ops of others": (ops_of_others, batch, single),
}
WEIGHTS = [U, W, V, Q, bias, rate]


@pytest.mark.parametrize("how", [{}, {"reverse": True}, {"checkpoint": 3}], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_M05_a_scan_in_a_step(name, how):
    step, carry, xs = CASES[name]
    source = check(step, carry, xs, WEIGHTS, **how)
    assert name in ("no history", "handed on") or is_loop(source)


@pytest.mark.parametrize("step, count", [(two_of_them, 2), (three_deep, 2)])
def test_several(step, count):
    """Of two that follow each other, and one in another; one that nobody reads is left out."""
    source = check(step, batch, sequences, WEIGHTS)
    assert source.split("def backward(")[0].count("for done") == 1 + count


@pytest.mark.compiled
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_compiled(dtype, tolerance):
    """All that a step may hold in one text; the rest runs as Python above."""
    weights = [tg.tensor(w.data.astype(dtype), requires_grad=True) for w in (U, W, V, bias, rate)]
    u, w, v, a, n = weights

    def step(x, h):
        scaled, number = v * h.mean(), (h * h).sum() * n
        inner = lambda x, s, c: (tg.tanh(x @ w + s @ u + a), c * 0.5 + s @ scaled, c * number)
        s, c, y = tg.scan(inner, [h, h * 0.1], x, reverse=True)
        return tg.tanh(s[0] + c.sum(axis=0)), y

    _, found = results(step, batch, sequences, weights, False, dtype)
    _, expected = results(step, batch, sequences, weights, True, dtype)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == dtype
        scale = max(1, np.abs(other.data).max())
        np.testing.assert_allclose(one.data, other.data, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("last_first", [False, True])
def test_M05_more_steps_than_are_done_at_a_stretch(last_first):
    xs = numbers(2, 2, 130, B, I)
    check(of_inputs(last_first), batch, [xs], WEIGHTS, 1e-11)
    check(whole_paths, batch, [xs], WEIGHTS, 1e-11, reverse=last_first)


def test_the_text_does_not_grow_with_the_steps():
    def lines(length):
        xs = tg.tensor(numbers(0, T, length, B, I), requires_grad=True)
        return tg.loops.scan_source(of_inputs(), tg.tensor(batch[0]), xs).splitlines()

    assert is_loop("\n".join(lines(50)))
    assert len(lines(50)) == len(lines(500))


# -- what else a scan does -------------------------------------------------------------------------


def test_M05_second_derivatives():
    def second(unroll):
        given = [tg.tensor(a, requires_grad=True) for a in (batch[0], sequences[0])]
        (ys,) = tg.scan(of_inputs(), *given, unroll=unroll)
        first = tg.grad((ys * ys).sum(), [*given, U, W], create_graph=True)
        return [g.data for g in tg.grad(sum((g * g).sum() for g in first), [*given, U, W])]

    for a, b in zip(second(False), second(True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [1, 3])
def test_a_gradient_in_a_step_of_a_scan_in_the_step(length):
    def step(x, h):
        u = (
            U * 0.5
        )  # the step's own: U has had its part in h, of which a compiled step knows nothing
        (s,) = tg.scan(lambda s: tg.tanh(s @ u + x @ W), h, None, length=length)
        g, gu = tg.grad((s[-1] ** 2).sum(), [h, u], create_graph=True)
        return h - 0.1 * g @ gu, s

    check(step, batch, single, WEIGHTS)


def test_a_gradient_in_a_step_inside_by_a_tensor_from_outside():
    """Also where the outer step was followed: what is done before the loop leads there too."""

    def step(x, h):
        def inner(s):
            g = tg.grad(tg.tanh(s.detach() + h.detach() @ U).sum(), U, create_graph=True)
            return tg.tanh(s @ g + x @ W)

        return tg.scan(inner, h, None, length=2)[0][-1]

    for _ in range(4):
        check(step, batch, single, WEIGHTS)


@pytest.mark.parametrize("again", [1, 4])
def test_M03_a_gradient_in_a_step_by_what_had_its_part_in_the_state_is_refused(again):
    """Step by step it goes back through all steps, which a loop cannot: no other number for it."""
    past = tg.tanh(U)  # also of what was computed before, and in a scan in the step
    loss = lambda h, x: (tg.tanh(h @ U + x @ W) ** 2).sum()

    def deep(x, h):
        inner = lambda s: tg.tanh(s @ U + h) * tg.grad((s * h).sum() * 2.0, h)
        return tg.scan(inner, h, None, length=2)[0][-1]

    steps = [
        lambda x, h: tg.tanh(h @ U) + tg.grad(loss(h, x), U, create_graph=True).sum(),
        lambda x, h: tg.tanh(h @ U) + tg.grad(loss(tg.tanh(h), x), [x, W])[1].sum(),
        lambda x, h: h * 0.5 + tg.grad((h @ past).sum(), past).sum(),
        lambda x, h: h * 0.5 + tg.grad((x @ W).sum(), W).sum(),  # by the inputs, if they are of it
        deep,
    ]
    xs = np.ones((3, B, 2)) * W[0, :2]
    for step in steps:
        for _ in range(again):
            with pytest.raises(tg.Untraceable) as error:
                tg.scan(step, np.ones((B, H)), xs)
            words = [
                "tg.grad of",
                "steps before",
                "tg.transforms.grad",
                "h.detach()",
                "unroll=True",
            ]
            assert all(word in str(error.value) for word in [*words, __file__])
    w = tg.tensor(0.5, requires_grad=True)
    _, slopes = tg.unroll(
        lambda h: ((h := h * w), tg.grad(h, w, retain_graph=True)), 1.0, None, length=3
    )
    np.testing.assert_allclose(slopes.data, [1.0, 2 * 0.5, 3 * 0.25])  # of w, w², w³


def test_M03_a_gradient_of_the_step_alone_is_one_in_a_loop_too():
    """Three ways to say it; without create_graph it is a constant."""

    def loss(w, x, h):
        return (tg.tanh(h @ w + x @ W) ** 2).sum()

    def by_transform(x, h):
        return tg.tanh(h @ U) - 0.1 * h @ tg.transforms.grad(lambda w: loss(w, x, h))(U)

    def by_detaching(x, h):
        return tg.tanh(h @ U) - 0.1 * h @ tg.grad(loss(U, x, h.detach()), U, create_graph=True)

    def as_a_constant(x, h):
        u = U * 1.0
        return tg.tanh(h @ U) - 0.1 * h @ tg.grad(loss(u, x, h), u, retain_graph=True)

    for step in (by_transform, by_detaching, as_a_constant):
        for _ in range(3):
            check(step, batch, single, WEIGHTS)


def test_M03_backward_in_a_step_is_refused():
    for word in ("backward", "backward_steps"):
        step = lambda h, word=word: getattr((h @ U).sum(), word)() or h
        with pytest.raises(tg.Untraceable) as error:
            tg.scan(step, np.ones((B, H)), None, length=2)
        assert all(
            w in str(error.value) for w in [f"calls {word}() of sum", "unroll=True", __file__]
        )


def test_a_step_that_does_another_thing_is_seen():
    """Before the scan inside it, in it and after it; also where the first scan was followed."""
    does = {"before": 1.0, "inside": 1.0, "after": 1.0, "length": 2}

    def step(x, h):
        h = h * does["before"]
        inner = lambda s: tg.tanh(s @ U) * does["inside"] + x @ W
        (s,) = tg.scan(inner, h, None, length=does["length"])
        return tg.tanh(s[-1] * does["after"])

    for word, value in [("", 1)] * 3 + [("before", 2.0), ("inside", 3.0), ("after", 4.0)] * 2 + [
        ("length", 3), ("", 1), ("inside", 5.0), ("", 1), ("length", 1),
    ]:  # fmt: skip
        does[word] = value
        check(step, batch, single, WEIGHTS)


def test_a_step_inside_that_draws_or_counts_is_refused():
    rng, given = np.random.default_rng(0), (tg.tensor(batch[0]), single[0])

    def counts(x, h):
        seen = []
        tg.scan(lambda s: seen.append(1) or s * float(len(seen)), h, None, length=3)

    def keeps(x, h):
        seen = []
        tg.scan(lambda s: seen.append(s) or tg.tanh(s), h, None, length=3)
        return h * seen[0]

    draws = lambda x, h: tg.scan(lambda s: s * rng.normal(), h, None, length=3)[0][-1]
    for step, words in [(draws, "draws random"), (counts, "changes seen"), (keeps, "was kept")]:
        with pytest.raises(tg.Untraceable, match=words):
            tg.scan(step, *given)


def sorting(x, h):
    return tg.scan(lambda s: tg.sort(tg.tanh(s + x @ W)), h, None, length=2)[0][-1]


def looking_up(k, h):
    rows = lambda k, s: tg.tanh(s + tg.embedding(U, k) + V[k] * h.mean())
    return tg.scan(rows, h, k)[0][-1]


def test_rows_of_a_table():
    index = np.random.default_rng(0).integers(0, H, (T, L, B))
    assert is_loop(check(looking_up, batch, [index], [U, V]))
    index[1, 2, 0] = H
    with pytest.raises(IndexError, match="expected 0 <= index < 6"):
        tg.scan(looking_up, tg.tensor(batch[0]), index)


def test_what_has_no_compiled_form_runs_step_by_step():
    index = np.random.default_rng(0).integers(0, H, (T, L, B))
    cut = lambda k, h: looking_up(k[1:], h)
    for step, xs, words in [(sorting, single[0], "argsort"), (cut, index, "rows by number")]:
        with pytest.warns(tg.ScanWarning, match=f"scan: {words}.* has no compiled form"):
            (ys,) = tg.scan(step, tg.tensor(batch[0]), xs)
        (expected,) = tg.scan(step, tg.tensor(batch[0]), xs, unroll=True)
        np.testing.assert_array_equal(ys.data, expected.data)


def test_an_op_of_others_must_not_change_before_the_backward_pass():
    factor = [2.0]
    scaled = tg.pointwise(lambda g, y, x: g * factor[0])(lambda x: x * factor[0])
    step = lambda h: tg.scan(lambda s: scaled(s), h, None, length=2)[0][-1]
    (ys,) = tg.scan(step, tg.tensor(batch[0], requires_grad=True), None, length=2)
    factor[0] = 3.0
    with pytest.raises(RuntimeError, match="was changed between the forward pass and the backward"):
        ys.sum().backward()


def test_a_picture_has_every_step():
    def drawn(unroll):
        h = tg.tensor(batch[0], requires_grad=True, name="h")
        (ys,) = tg.scan(of_inputs(), h, sequences[0][:2, :3], unroll=unroll)
        return tg.draw((ys * ys).mean()).svg

    assert drawn(False) == drawn(True)
