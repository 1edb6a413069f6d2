"""Convolution, attention and normalisation, against loops over their definitions."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tg


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# -- conv1d ---------------------------------------------------------------------------------------


def convolved(x, w, b, stride, ends, dilation, groups):
    """Every product of the definition, added one by one."""
    x = np.pad(x, ((0, 0), (0, 0), ends))
    (N, _, L), (O, part, K) = x.shape, w.shape
    y = np.zeros((N, O, (L - dilation * (K - 1) - 1) // stride + 1))
    for n, o, t in np.ndindex(y.shape):
        first = o // (O // groups) * part
        y[n, o, t] = b[o] + sum(
            w[o, c, k] * x[n, first + c, t * stride + k * dilation]
            for c in range(part)
            for k in range(K)
        )
    return y


WAYS = [  # stride, padding, dilation, and what that pads
    (1, 0, 1, (0, 0)), (2, 1, 1, (1, 1)), (3, 2, 2, (2, 2)), (1, "same", 1, (1, 1)),
    (1, "same", 2, (2, 2)), (1, "causal", 2, (4, 0)), (2, "causal", 1, (2, 0)), (4, 0, 3, (0, 0)),
]  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride, padding, dilation, ends", WAYS)
def test_conv1d_is_its_definition(stride, padding, dilation, ends, groups):
    x, w, b = normal(0, 2, 4, 8), normal(1, 4, 4 // groups, 3), normal(2, 4)
    f = lambda x, w, b: tg.conv1d(x, w, b, stride, padding, dilation, groups)
    expected = convolved(x, w, b, stride, ends, dilation, groups)
    np.testing.assert_allclose(f(tg.tensor(x), w, b).data, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(f(tg.tensor(x[0]), w, b).data, expected[0], rtol=1e-12, atol=1e-13)
    tg.check_grads(f, [x, w, b], order=2)


def test_conv1d_at_its_edges():
    x, w = normal(0, 1, 2, 5), normal(1, 3, 2, 4)
    even = tg.conv1d(x, w, padding="same")  # an odd zero comes last, as in PyTorch
    np.testing.assert_allclose(even, convolved(x, w, np.zeros(3), 1, (1, 2), 1, 1), rtol=1e-12)
    whole = tg.conv1d(x, normal(1, 3, 2, 5))
    assert whole.shape == (1, 3, 1) and tg.conv1d(x, normal(1, 3, 2, 1)).shape == (1, 3, 5)
    assert tg.conv1d(np.zeros((0, 2, 5)), w).shape == (0, 3, 2)
    y = tg.conv1d(tg.tensor(x, dtype=np.float32), tg.tensor(w, dtype=np.float32))
    assert y.dtype == np.float32


def test_a_causal_convolution_sees_nothing_later():
    x, w = tg.tensor(normal(0, 1, 2, 6), requires_grad=True), normal(1, 3, 2, 3)
    for t in range(6):
        y = tg.conv1d(x, w, padding="causal", dilation=2)
        assert not tg.grad(y[0, :, t].sum(), x).data[..., t + 1 :].any()


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(x=normal(0, 8)), "expected x (N, C, L) or (C, L) and weight (O, C / groups, K)"),
        (dict(weight=normal(0, 4, 3, 3)), "weight: expected (O, 4 / groups, K)"),
        (dict(groups=2), "weight: expected (O, 4 / groups, K), O a multiple of groups=2"),
        (dict(groups=0), "groups: expected at least 1, got 0"),
        (dict(stride=0), "stride: expected at least 1, got 0"),
        (dict(padding=-1), "padding: expected at least 0, got -1"),
        (dict(padding="same", stride=2), "padding='same' keeps the length with stride 1, got 2"),
        (dict(dilation=4), "weight: a kernel that reaches over 9 does not fit into 8 times"),
        (dict(bias=normal(0, 3)), "bias: expected shape (6,), got (3,)"),
    ],
)
def test_convolutions_that_do_not_fit_are_refused_aloud(change, words):
    given = dict(x=normal(0, 2, 4, 8), weight=normal(1, 6, 4, 3))
    with pytest.raises(ValueError, match=re.escape(f"conv1d: {words}")):
        tg.conv1d(**given | change)


def test_a_padding_of_another_word_is_refused():
    with pytest.raises(TypeError, match=r"padding: expected a number, 'same' or 'causal', got"):
        tg.conv1d(normal(0, 2, 4, 8), normal(1, 6, 4, 3), padding="valid")


# -- attention ------------------------------------------------------------------------------------


def attended(query, key, value, sees, added, scale):
    """For each query by itself: the values of the keys that it sees, by their weights."""
    y = np.zeros((*query.shape[:-1], value.shape[-1]))
    for *rest, i in np.ndindex(query.shape[:-1]):
        at = tuple(rest)
        keys = [j for j in range(key.shape[-2]) if sees[(*at, i, j)]]
        fit = [np.exp(query[(*at, i)] @ key[(*at, j)] * scale + added[(*at, i, j)]) for j in keys]
        for j, weight in zip(keys, fit, strict=True):
            y[(*at, i)] += weight / sum(fit) * value[(*at, j)]
    return y


Q, K, V = normal(0, 2, 3, 4), normal(1, 2, 5, 4), normal(2, 2, 5, 6)
FLAGS = normal(3, 2, 3, 5) > -0.5
FLAGS[0, 1] = False  # a query that sees nothing
ADDED = normal(4, 3, 5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, FLAGS, FLAGS[1], ADDED])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_its_definition(mask, causal, scale):
    sees, added = np.ones((2, 3, 5), bool), np.zeros((2, 3, 5))
    if mask is not None and mask.dtype == bool:
        sees = sees & mask
    elif mask is not None:
        added = added + mask
    if causal:
        sees = sees & (np.arange(3)[:, None] >= np.arange(5))
    expected = attended(Q, K, V, sees, added, 0.5 if scale is None else scale)
    f = lambda q, k, v: tg.attention(q, k, v, mask, causal, scale)
    np.testing.assert_allclose(f(*map(tg.tensor, (Q, K, V))).data, expected, rtol=1e-12, atol=1e-14)
    tg.check_grads(f, [Q, K, V], order=2)


def test_attention_broadcasts_and_a_mask_has_a_derivative():
    y = tg.attention(Q[0], K, V)
    expected = tg.attention(np.broadcast_to(Q[0], (2, 3, 4)), K, V)
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    tg.check_grads(lambda q, m: tg.attention(q, K, V, mask=m), [Q[0], ADDED], order=2)
    assert tg.attention(Q[:, :0], K, V).shape == (2, 0, 6)
    alike = tg.attention(Q[..., :0], K[..., :0], V)  # which compares nothing: all count the same
    np.testing.assert_allclose(alike.data, np.broadcast_to(V.mean(-2, keepdims=True), alike.shape))
    small = [tg.tensor(x, dtype=np.float32) for x in (Q, K, V)]
    assert tg.attention(*small, mask=FLAGS, causal=True).dtype == np.float32


def test_who_sees_nothing_gets_nothing_and_teaches_nothing():
    q, k, v = (tg.tensor(x, requires_grad=True) for x in (Q, K, V))
    y = tg.attention(q, k, v, mask=np.zeros((3, 5), bool))
    assert not y.data.any()
    assert not any(g.data.any() for g in tg.grad(y.sum(), [q, k, v]))


def test_attention_of_shapes_that_do_not_fit_is_refused():
    for shapes in ([(3, 4), (5, 3), (5, 6)], [(3, 4), (5, 4), (4, 6)], [(4,), (5, 4), (5, 6)]):
        words = re.escape(
            "attention: expected query (..., L, E), key (..., S, E) and value (..., S, V)"
        )
        with pytest.raises(ValueError, match=words):
            tg.attention(*map(np.zeros, shapes))
    with pytest.raises(
        ValueError, match=r"attention: mask: expected .*3, 5. or what broadcasts to it, got shape"
    ):
        tg.attention(Q, K, V, mask=np.ones((5, 3), bool))


# -- normalisation --------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0, (0, 2), [1]])
def test_norms_are_their_formulas(axis):
    x, w, b = normal(0, 2, 3, 4), normal(1, 4), normal(2, 4)
    axes = tuple(axis) if isinstance(axis, list) else axis
    root = np.sqrt((x * x).mean(axes, keepdims=True) + 0.1)
    y = tg.rms_norm(tg.tensor(x), w, axis, eps=0.1)
    np.testing.assert_allclose(y.data, x / root * w, rtol=1e-13)
    spread = x.var(axes, keepdims=True) + 0.1
    y = tg.layer_norm(tg.tensor(x), w, b, axis, eps=0.1)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(spread) * w + b
    np.testing.assert_allclose(y.data, expected, rtol=1e-12, atol=1e-14)
    tg.check_grads(lambda *v: tg.layer_norm(*v, axis, eps=0.1), [x, w, b], order=2)
    tg.check_grads(lambda *v: tg.rms_norm(*v, axis), [x, w], order=2)


def test_norms_of_nothing_much():
    """Rows of one number repeated have layer norm 0, and a finite slope."""
    x = tg.tensor(np.full((2, 3), 0.5), requires_grad=True)
    y = tg.layer_norm(x)
    assert not y.data.any() and np.isfinite(tg.grad((y * normal(0, 2, 3)).sum(), x).data).all()
    zeros = tg.tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    y = tg.rms_norm(zeros)
    assert y.dtype == np.float32 and not y.data.any()
    assert np.isfinite(tg.grad(y.sum(), zeros).data).all()
    assert tg.layer_norm(np.zeros((0, 3))).shape == (0, 3)
    one = tg.tensor([1e-4], dtype=np.float32)
    np.testing.assert_allclose(tg.rms_norm(one).item(), 1e-4 / np.sqrt(1e-8 + 2.0**-23), rtol=1e-6)


# -- in a loop ------------------------------------------------------------------------------------


def test_in_a_compiled_loop_they_are_what_they_are_unrolled(as_python):
    memory, kernel = (tg.tensor(normal(k, *s), requires_grad=True) for k, s in
                      enumerate([(2, 5, 4), (3, 1, 2)]))  # fmt: skip
    sees = tg.tensor(FLAGS[:, :1])

    def step(x, h):
        read = tg.attention(h[:, None], memory, memory, mask=sees)[:, 0]
        local = tg.conv1d(x[:, None], kernel, padding="causal").sum(axis=1)
        return tg.layer_norm(read + tg.rms_norm(local, eps=0.1), eps=0.1) + 0.5 * h

    xs, h = (tg.tensor(normal(k, *s), requires_grad=True) for k, s in
             ((5, (3, 2, 4)), (6, (2, 4))))  # fmt: skip
    found = []
    for unroll in (False, True):
        path = tg.scan(step, h, xs, unroll=unroll)[0]
        slopes = tg.grad((path * path).sum(), [xs, h, memory, kernel], create_graph=True)
        curves = tg.grad(sum((g * g).sum() for g in slopes), [xs, h, memory, kernel])
        found.append([y.data for y in (path, *slopes, *curves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_mask_of_nan_is_seen_in_attention():
    """A mask that is learned and no number any more is not what hides a place."""
    q = np.random.default_rng(0).normal(size=(3, 4))
    mask = np.array([[0, np.nan, 0], [0, -np.inf, 1], [-np.inf] * 3])
    found = tg.attention(q, q, q, mask=mask)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all() and not found[2].any()


def test_scatter_add_adds_in_the_dtype_of_the_sum():
    many = np.zeros(300, int)
    assert tg.scatter_add(tg.zeros((1,)), 0, many, np.ones(300, np.uint8)).item() == 300
    assert tg.scatter_add(tg.zeros((1,)), 0, [0, 0], [True, True]).item() == 2
    near = tg.scatter_add(np.zeros(1), 0, [0, 0, 0], np.array([1e8, 1, 1], np.float32))
    assert near[0] == 100_000_002
    src = tg.tensor(np.ones((2, 2), np.float32), requires_grad=True)
    tg.scatter_add(tg.zeros((4, 2)), 0, [[0, 1]], src).sum().backward()
    np.testing.assert_array_equal(src.grad.data, np.float32([[1, 1], [0, 0]]))


@pytest.mark.parametrize("call", [
    lambda flags: tg.gather(np.arange(3.0), 0, flags),
    lambda flags: tg.take_along_axis(np.arange(3.0), flags),
    lambda flags: tg.scatter_add(np.zeros(3), 0, flags, np.ones(3)),
])  # fmt: skip
def test_bools_are_no_places(call):
    with pytest.raises(IndexError, match="expected whole numbers as index, got bools"):
        call(np.array([True, False, True]))


def test_scatter_add_repeats_nothing():
    with pytest.raises(ValueError, match=r"src: expected at least \(3, 2\), got \(1, 2\)"):
        tg.scatter_add(tg.zeros((4, 2)), 0, [[0, 0], [1, 1], [2, 2]], [[1.0, 2.0]])


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: tg.tile(np.ones(2), -1), ValueError, "tile: reps: expected at least 0, got -1"),
    (lambda: tg.tile(np.ones(2), 2.5), TypeError, "tile: reps: expected a whole number, got 2.5"),
    (lambda: tg.conv1d(np.ones((1, 2, 5)), np.ones((1, 2, 3)), padding=[1]), TypeError,
     "conv1d: padding: expected a number, 'same' or 'causal'"),
    (lambda: tg.conv1d(np.ones((1, 2, 5)), np.ones((1, 2, 3)), padding=np.array([1, 1])),
     TypeError, "conv1d: padding: expected a number, 'same' or 'causal'"),
])  # fmt: skip
def test_counts_that_are_none_are_refused_by_name(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
