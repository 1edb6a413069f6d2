"""Reductions and running sums: NumPy's answers over all forms of axis, derivatives at the edges."""

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg

NAN, INF = np.nan, np.inf
X = np.random.default_rng(0).normal(size=(2, 3, 4))


def leaf(x, dtype=None):
    return tg.tensor(x, requires_grad=True, dtype=dtype)


def lse(x, axis, keepdims):
    top = np.max(np.abs(x), axis, keepdims=True, initial=0)
    top = np.where(np.isfinite(top), top, 0)
    total = np.log(np.exp(x - top).sum(axis, keepdims=True)) + top
    return total if keepdims else total.reshape(x.sum(axis).shape)


def by_reshaping(first):
    """The place in the elements of several axes in a row, from the definition."""

    def place(x, axis, keepdims):
        axes = [k % x.ndim for k in (range(x.ndim) if axis is None else np.atleast_1d(axis))]
        rest = [k for k in range(x.ndim) if k not in axes]
        shape = [*(x.shape[k] for k in rest), np.prod([x.shape[k] for k in axes], dtype=int)]
        flat = np.transpose(x, [*rest, *map(int, axes)]).reshape(shape)
        y = first(flat, -1)
        return np.expand_dims(y, tuple(sorted(axes))) if keepdims else y

    return place


REDUCTIONS = {
    **{name: getattr(np, name) for name in ("sum", "mean", "max", "min", "prod", "var", "std")},
    **{name: getattr(np, name) for name in ("any", "all")},
    "argmax": by_reshaping(np.argmax),
    "argmin": by_reshaping(np.argmin),
    "norm": lambda x, axis, keepdims: np.sqrt((x * x).sum(axis, keepdims=keepdims)),
    "logsumexp": lse,
}
SLOPED = [n for n in REDUCTIONS if n not in ("any", "all", "argmax", "argmin")]
EACH_AXIS = [None, 0, 2, -1, (1,), (0, 2), [0, -1], (2, 1, 0)]
each_reduction = pytest.mark.parametrize("name", REDUCTIONS)


def call(name, x, axis, keepdims):
    return getattr(tg, name)(x, axis=axis, keepdims=keepdims)


@each_reduction
def test_every_form_of_axis_is_numpys(name):
    for axis, keepdims in itertools.product(EACH_AXIS, (False, True)):
        theirs = tuple(axis) if isinstance(axis, list) else axis
        expected = np.asarray(REDUCTIONS[name](X, axis=theirs, keepdims=keepdims))
        for x in (tg.tensor(X), X):
            y = call(name, x, axis, keepdims)
            assert np.shape(y) == expected.shape, (axis, keepdims)
            y = y.data if isinstance(y, tg.Tensor) else y
            np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-15)


@each_reduction
def test_of_a_number_and_over_nothing(name):
    """Over nothing: what NumPy has, or its refusal."""
    if name != "logsumexp":
        assert call(name, tg.tensor(3.0), None, False).data == REDUCTIONS[name](
            np.array(3.0), axis=None, keepdims=False
        )
    with np.errstate(all="ignore"):
        for axis, shape in ((0, (0, 3)), (None, (0,)), (1, (0, 3)), (1, (2, 0, 3))):
            x = np.zeros(shape)
            try:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("warnings.warn", lambda *_, **__: None)
                    expected = REDUCTIONS[name](x, axis=axis, keepdims=False)
            except ValueError:
                with pytest.raises(ValueError, match=name):
                    call(name, tg.tensor(x), axis, False)
                continue
            assert np.array_equal(call(name, tg.tensor(x), axis, False).data, expected, True)


@each_reduction
@pytest.mark.parametrize(
    "bad", [[NAN, 1.0, 2.0], [1.0, INF, 2.0], [-INF, INF, 0.0], [2.0, 2.0, 1.0]]
)
def test_what_is_not_finite_and_ties_are_numpys(name, bad):
    x = np.array([bad, bad[::-1]])
    for axis in (None, 0, 1):
        with np.errstate(all="ignore"):
            expected = REDUCTIONS[name](x, axis=axis, keepdims=False)
            y = call(name, tg.tensor(x), axis, False)
        np.testing.assert_allclose(y.data, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n in REDUCTIONS if n not in ("norm", "logsumexp")])
def test_dtypes_are_numpys(name, dtype):
    x = (np.arange(6).reshape(2, 3) % 4).astype(dtype)
    if (name, dtype) in (("max", bool), ("min", bool)):
        return
    expected = REDUCTIONS[name](x, axis=0, keepdims=False)
    y = call(name, tg.tensor(x), 0, False)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y.data, expected, rtol=1e-6)


@pytest.mark.parametrize("name", SLOPED)
def test_first_and_second_derivative_over_axes(name):
    for axis, keepdims in ((None, False), (1, True), ((0, -1), False), ([2], True)):
        tg.check_grads(lambda x, a=axis, k=keepdims: call(name, x, a, k), [X], order=2)
    assert (
        tg.grad(call(name, leaf(np.ones((2, 3))), 0, False).sum(), leaf(X), allow_unused=True)
        is None
    )


@pytest.mark.parametrize("name", ["any", "all", "argmax", "argmin"])
def test_questions_have_no_past(name):
    y = call(name, leaf(X), 1, False)
    assert y.op is None and y.dtype.kind in "bi"


def test_degrees_of_freedom():
    for ddof, axis in itertools.product((0, 1, 1.5), (None, 0, (1, 2))):
        for name in ("var", "std"):
            ours, theirs = getattr(tg, name), getattr(np, name)
            expected = theirs(X, axis=axis, ddof=ddof)
            for y in (ours(X, axis, ddof), ours(tg.tensor(X), axis=axis, correction=ddof).data):
                np.testing.assert_allclose(y, expected, rtol=1e-13)
    tg.check_grads(lambda x: tg.std(x, 1, ddof=1), [X], order=2)
    with np.errstate(all="ignore"):  # nothing is known of the spread of one
        assert np.isnan(tg.var(tg.tensor([1.0]), ddof=1).item())
        assert np.isposinf(tg.var(tg.tensor([1.0, 2.0]), ddof=3).item())


@pytest.mark.parametrize("name", ["std", "norm"])
def test_where_there_is_no_spread_all_derivatives_are_0(name):
    x = leaf(np.full((2, 3), 0.5 if name == "std" else 0.0))
    y = getattr(tg, name)(x, axis=1)
    slope = tg.grad(y.sum(), x, create_graph=True)
    curve = tg.grad((slope * slope).sum() + slope.sum(), x)
    assert not y.data.any() and not slope.data.any() and not curve.data.any()


# -- norms ----------------------------------------------------------------------------------------

VECTORS = [None, 2, 1, 3, 0.5, INF, -INF, 0]
MATRICES = [None, "fro", 1, -1, INF, -INF]


def test_norms_are_numpys():
    for order, axis, keepdims in itertools.product(VECTORS, (0, -1), (False, True)):
        y = tg.norm(X, order, axis, keepdims)
        np.testing.assert_allclose(y, np.linalg.norm(X, order, axis, keepdims), rtol=1e-13)
    for order, axis, keepdims in itertools.product(MATRICES, ((0, 1), (2, 1)), (False, True)):
        y = tg.norm(X, order, axis, keepdims)
        np.testing.assert_allclose(y, np.linalg.norm(X, order, axis, keepdims), rtol=1e-13)
    np.testing.assert_allclose(tg.norm(X[0, 0], 3), np.linalg.norm(X[0, 0], 3), rtol=1e-13)
    np.testing.assert_allclose(tg.norm(X[0], INF), np.linalg.norm(X[0], INF), rtol=1e-13)
    assert tg.norm(np.array([3, 4])) == 5 and tg.norm(tg.tensor([3, 4], dtype=np.int8)).item() == 5


def test_derivatives_of_norms():
    for order in VECTORS:
        tg.check_grads(lambda x, p=order: tg.norm(x, p, 1), [X], order=2)
    for order in MATRICES:
        tg.check_grads(lambda x, p=order: tg.norm(x, p, (0, 2)), [X], order=2)


@pytest.mark.parametrize(
    "order, axis", [(2, (0, 1)), ("nuc", (0, 1)), ("fro", 0), (-2, 0), (1, None)]
)
def test_norms_of_singular_values_are_refused(order, axis):
    with pytest.raises(ValueError, match="norm: ord: expected None"):
        tg.norm(X, order, axis)


# -- products -------------------------------------------------------------------------------------


def others(x):
    """The product of all other elements, for each, by multiplying them."""
    return np.array([np.prod(np.delete(x, k)) for k in range(x.size)])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_the_derivative_of_a_product_with_zeros(size, zeros):
    x = np.random.default_rng(size).uniform(0.5, 2, size)
    x[:zeros] = 0
    y = leaf(x)
    slope = tg.grad(tg.prod(y), y, create_graph=True)
    np.testing.assert_allclose(slope.data, others(x), rtol=1e-14)
    for k in range(size):  # the second: the product of all but two
        curve = tg.grad(slope[k], y, retain_graph=True, allow_unused=True)
        expected = np.array([0.0 if i == k else np.prod(np.delete(x, [i, k])) for i in range(size)])
        got = np.zeros(size) if curve is None else curve.data
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def running_slopes(x):
    """The derivative of Σ of all running products by each element, from the definition."""
    n = x.size
    return np.array([sum(np.prod(np.delete(x[: t + 1], k)) for t in range(k, n)) for k in range(n)])


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_the_derivative_of_running_products_with_zeros(zeros):
    x = np.random.default_rng(1).uniform(0.5, 2, 7)
    x[2 : 2 + zeros] = 0
    y = leaf(x)
    np.testing.assert_allclose(tg.cumprod(y).data, np.cumprod(x), rtol=1e-14)
    np.testing.assert_allclose(tg.grad(tg.cumprod(y).sum(), y).data, running_slopes(x), rtol=1e-13)


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_sums_and_products_are_numpys(name):
    ours, theirs = getattr(tg, name), getattr(np, name)
    for axis in (None, 0, 1, -1):
        np.testing.assert_allclose(ours(tg.tensor(X), axis).data, theirs(X, axis), rtol=1e-14)
        tg.check_grads(lambda x, a=axis: ours(x, a), [X], order=2)
    for shape, axis in (((0,), 0), ((2, 0), 1), ((0, 2), 1), ((), None), ((1,), 0)):
        x = np.ones(shape)
        assert np.array_equal(ours(tg.tensor(x), axis).data, theirs(x, axis))
    for bad in ([1.0, NAN, 2.0], [1.0, INF, -INF, 1.0], [0.0, INF, 1.0]):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(ours(tg.tensor(bad)).data, theirs(bad))
    for dtype in (bool, np.int8, np.int32, np.float32):
        x = np.ones(3, dtype)
        y = ours(tg.tensor(x))
        assert y.dtype == theirs(x).dtype and np.array_equal(y.data, theirs(x))


def test_running_sums_keep_their_digits():
    x = np.full(300_000, 0.1, np.float32)
    exact = np.cumsum(x, dtype=np.float64)
    np.testing.assert_allclose(tg.cumsum(tg.tensor(x)).data, exact, rtol=1e-7)
    assert np.abs(np.cumsum(x) / exact - 1).max() > 1e-6  # NumPy's does not


# -- spelled as methods, refused aloud ------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*sorted({*REDUCTIONS} - {"norm", "logsumexp"}), "cumsum", "cumprod"]
)
def test_methods_are_the_functions(name):
    x = leaf(X)
    for axis in (None, 1, -1):
        y = getattr(x, name)(axis=axis)
        assert np.array_equal(y.data, getattr(tg, name)(x, axis).data)
        np.testing.assert_allclose(y.data, getattr(X, name)(axis=axis), rtol=1e-13)


@pytest.mark.parametrize("name", [*REDUCTIONS, "cumsum", "cumprod"])
@pytest.mark.parametrize("axis", [3, -4, (0, 0), (0, 3)])
def test_axes_that_are_not_there_are_refused(name, axis):
    if name.startswith("cum") and isinstance(axis, tuple):
        axis = (0, 1)
    with pytest.raises((IndexError, ValueError, TypeError), match="axis"):
        getattr(tg, name)(tg.tensor(X), axis=axis)


# -- in a loop ------------------------------------------------------------------------------------


def statistics_step(x, h):
    """Every reduction with a compiled form, and what each gives, in one program."""
    z = tg.tanh(x + h)
    parts = [
        tg.var(z, -1, keepdims=True), tg.std(z, -1, ddof=1, keepdims=True),
        tg.norm(z, axis=-1, keepdims=True), tg.norm(z, 1, axis=-1, keepdims=True),
        tg.norm(z, INF, axis=-1, keepdims=True), tg.prod(z, -1, keepdims=True),
        tg.cumprod(z, -1), tg.where(tg.any(z > 0.5, -1, keepdims=True), z, -z),
        tg.where(tg.all(z > 0.1, -1, keepdims=True), z, 2 * z), tg.cumsum(z, -1),
        tg.where(tg.argmax(z, -1, keepdims=True) > 2, z, -z), tg.argmin(z, 1, keepdims=True) * z,
    ]  # fmt: skip
    return sum(part * (k + 1) for k, part in enumerate(parts)) * 0.01 + h * 0.5


def test_in_a_compiled_loop_they_are_what_they_are_unrolled(as_python):
    x, h = (np.random.default_rng(k).uniform(-1, 1, s) for k, s in enumerate([(3, 2, 5), (2, 5)]))
    found = []
    for unroll in (False, True):
        leaves = leaf(x), leaf(h)
        path = tg.scan(statistics_step, leaves[1], leaves[0], unroll=unroll)[0]
        slopes = tg.grad((path * path).sum(), leaves, create_graph=True)
        curves = tg.grad(sum((g * g).sum() for g in slopes), leaves)
        found.append([y.data for y in (path, *slopes, *curves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_a_mean_of_whole_numbers_has_room_for_their_sum():
    times = np.array([1_700_000_000_000_000_000 + k for k in range(6)])
    for x in (times, times.astype(np.uint64) * 5, np.array([-120, -120], np.int8), times > 0):
        assert tg.mean(tg.tensor(x)).item() == tg.mean(x) == np.mean(x)
        assert tg.var(tg.tensor(x)).item() == np.var(x)
    assert not tg.layer_norm(tg.tensor(times)).data.any()
    np.testing.assert_allclose(tg.rms_norm(tg.tensor([3, 4])).data, [0.6 * 2**0.5, 0.8 * 2**0.5])
