"""The kernels, each against a reference it shares no code with."""

import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import waiting

DTYPES = (np.float32, np.float64)
CURVES = ("exp", "tanh", "sigmoid", "softplus")
ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.compiled
compiled = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="promised of compiled kernels only"
)


def numbers(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def bits(x):
    return np.ascontiguousarray(x).tobytes()


def layouts(x):
    """The same values, laid out in memory in every way a view can be."""
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    record = np.zeros(x.shape, [("flag", "i1"), ("value", x.dtype)])
    record["value"] = x
    return {
        "C": x,
        "F": np.asfortranarray(x),
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "strided": wide[::2, ::3],
        "misaligned": raw,
        "read-only": frozen,
        "field of a record": record["value"],
    }


# --- the matrix product -------------------------------------------------------------------------


def chain(x, y):
    """The product as one chain over k for each entry, exact to float64: products of float32."""
    return x.astype(np.float64) @ y.astype(np.float64)


def close(z, x, y):
    """z within the rounding of k additions of the sum of |x| |y|."""
    scale = np.abs(x).astype(np.float64) @ np.abs(y).astype(np.float64)
    depth = x.shape[-1]
    return np.all(np.abs(z - chain(x, y)) <= (depth + 2) * np.finfo(z.dtype).eps * scale)


SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 65)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", SIZES)
def test_product_is_right_at_every_size_and_orientation(rows, dtype):
    for depth in (0, 1, 2, 3, 8, 17, 33, 65):
        for columns in (*SIZES, 130, 259):
            x, y = numbers(rows, depth, dtype=dtype), numbers(depth, columns, dtype=dtype, seed=1)
            for left in (x, np.asfortranarray(x)):
                for right in (y, np.asfortranarray(y)):
                    z = kernels.matmul(left, right)
                    assert z.shape == (rows, columns) and z.dtype == dtype and z.flags.carray
                    assert close(z, x, y), (rows, depth, columns)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", (255, 256, 257, 513, 1100))
def test_a_long_sum_is_one_chain_across_blocks(depth, dtype):
    x, y = numbers(37, depth, dtype=dtype), numbers(depth, 41, dtype=dtype)
    z = kernels.matmul(x, y)
    assert close(z, x, y)
    head = kernels.matmul(x[:, :1], y[:1])
    assert_array_equal(head, x[:, :1] * y[:1])
    for other in (kernels.matmul(x, np.asfortranarray(y)), kernels.matmul(x[::-1], y)[::-1]):
        assert bits(other) == bits(z)


@compiled
def test_the_chain_is_fused_and_in_ascending_order():
    """float32 terms, added in float64 and rounded at each step, are what an FMA gives."""
    x, y = numbers(9, 70, dtype=np.float32), numbers(70, 35, dtype=np.float32)
    total = np.zeros((9, 35), np.float32)
    for k in range(70):
        exact = np.multiply.outer(x[:, k].astype(np.longdouble), y[k].astype(np.longdouble))
        total = (exact + total).astype(np.float32)
    from tinygrad_rnn.kernels.target import FUSED

    if not FUSED:
        pytest.skip("this host rounds products")
    assert_array_equal(kernels.matmul(x, y), total)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", ((33, 40, 65), (70, 300, 96), (5, 64, 257), (3, 1040, 33)))
def test_a_row_does_not_depend_on_its_batch_mates(size, dtype):
    rows, depth, columns = size
    x, y = numbers(rows, depth, dtype=dtype), numbers(depth, columns, dtype=dtype)
    turned = np.asfortranarray(y)
    whole = kernels.matmul(x, y)
    for count in (1, 2, 3, 4, 5, 8, rows - 1):
        for first in {0, rows - count}:
            some = slice(first, first + count)
            for right in (y, turned):
                assert bits(kernels.matmul(x[some], right)) == bits(whole[some])
                assert bits(kernels.matmul(x.T[:, some].T, right)) == bits(whole[some])
    for count in (1, 2, 15, 17, columns - 1):
        for right in (y[:, :count], turned[:, :count]):
            assert bits(kernels.matmul(x, right)) == bits(whole[:, :count])
    assert bits(kernels.matmul(y.T, x.T).T) == bits(whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", (3, 40))
def test_I14_product_of_every_layout(rows, dtype):
    x, y = numbers(rows, 19, dtype=dtype), numbers(19, 37, dtype=dtype)
    expected = bits(kernels.matmul(x, y))
    for left_name, left in layouts(x).items():
        for right_name, right in layouts(y).items():
            assert bits(kernels.matmul(left, right)) == expected, (left_name, right_name)


GUARDED = """
import ctypes, itertools, mmap
import numpy as np
from tinygrad_rnn import kernels
libc, page, kept = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE, []
def guarded(x):
    size = -(-x.nbytes // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (0, size + page):
        assert libc.mprotect(ctypes.c_void_p(start + fence), page, 0) == 0
    for first in (page, page + size - x.nbytes):
        y = np.frombuffer(memory, x.dtype, x.size, first).reshape(x.shape)
        y[...] = x
        yield y
for m, k, n in itertools.product((1, 5, 44), (1, 16, 33), (1, 16, 31, 49, 130)):
    for x in guarded(np.ones((m, k), np.float32)):
        for y in guarded(np.ones((n, k), np.float32)):
            assert (kernels.matmul(x, y.T) == k).all()
        for y in guarded(np.ones((k, n), np.float32)):
            assert (kernels.matmul(x, y) == k).all()
        for y in guarded(np.ones((m, n), np.float32)):
            assert (kernels.matmul(x.T, y) == m).all()
for n in (1, 15, 16, 17, 33):
    for x in guarded(np.zeros((3, n), np.float32)):
        assert (kernels.softmax(x) == np.float32(1 / n)).all()
        assert kernels.cross_entropy(x, np.zeros(3, int), -1).shape == (3,)
print("unharmed")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
def test_kernels_read_nothing_outside_their_arrays():
    """Both ends of the arrays lie against pages that may not be touched."""
    assert run(GUARDED) == ["unharmed"]


def test_I03_products_in_threads_do_not_share_anything():
    pairs = [(numbers(45, 60, seed=i), numbers(60, 50, seed=i)) for i in range(8)]
    expected = [bits(kernels.matmul(x, y)) for x, y in pairs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert [
                bits(z) for z in pool.map(lambda pair: kernels.matmul(*pair), pairs)
            ] == expected


def test_product_of_broadcast_views():
    x, row, column = numbers(20, 30), numbers(30), numbers(20, 1)
    assert close(kernels.matmul(x, np.broadcast_to(row[:, None], (30, 33))), x, row[:, None])
    tall = np.broadcast_to(row, (50, 30))
    assert close(kernels.matmul(tall, x.T), tall, x.T)
    wide = np.broadcast_to(column, (20, 4))
    assert_array_equal(kernels.matmul(wide, np.eye(4)), wide)


def test_product_of_stacks_dtypes_and_nothing():
    x, y, one = numbers(2, 3, 4, 5), numbers(3, 5, 6), numbers(5, 6)
    assert close(kernels.matmul(x, y), x, y)
    assert close(kernels.matmul(x, one), x, one)
    assert close(kernels.matmul(x.swapaxes(0, 1), one), x.swapaxes(0, 1), one)
    assert close(kernels.matmul(one.T, x.swapaxes(-1, -2)), one.T, x.swapaxes(-1, -2))
    assert kernels.matmul(x.astype(np.float32), one).dtype == np.float64
    assert kernels.matmul(x.astype(np.float32), one.astype(np.float32)).dtype == np.float32
    whole = np.arange(6).reshape(2, 3)
    assert_array_equal(kernels.matmul(whole, whole.T), whole @ whole.T)
    assert kernels.matmul(whole > 2, whole.T > 2).dtype == bool
    assert_array_equal(kernels.matmul(np.ones((2, 3, 0)), np.ones((0, 4))), np.zeros((2, 3, 4)))
    assert kernels.matmul(np.ones((0, 3, 2)), np.ones((2, 4))).shape == (0, 3, 4)
    assert kernels.matmul(np.ones((0, 3, 2)), np.ones((0, 2, 4))).shape == (0, 3, 4)


def test_product_names_the_sizes_that_do_not_meet():
    for shapes in (((2, 3), (4, 5)), ((2, 3), (3,)), ((2, 2, 3), (4, 5)), ((2, 2, 3), (3, 3, 5))):
        with pytest.raises(ValueError, match=r"shape|\(2, (2, )?3\) @ "):
            kernels.matmul(*map(np.ones, shapes))


@pytest.mark.parametrize("size", ((1, 9, 300), (9, 20, 33), (40, 20, 65)))
def test_G03_nan_stays_in_its_row_and_column(size):
    rows, depth, columns = size
    for order in "CF":
        x, y = numbers(rows, depth), np.asarray(numbers(depth, columns), order=order)
        x[-1, 3], y[5, -1] = np.nan, np.inf
        z = kernels.matmul(x, y)
        assert np.isnan(z[-1]).all()
        assert np.isfinite(z[:-1, :-1]).all() and np.isinf(z[:-1, -1]).all()


# --- exp, tanh, sigmoid, softplus ---------------------------------------------------------------


def truth(name, x):
    x = mpmath.mpf(float(x))
    if name == "sigmoid":
        return 1 / (1 + mpmath.exp(-x))
    if name == "softplus":
        return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x)))
    return getattr(mpmath, name)(x)


def ulps(name, x, y):
    """How many units in the last place y is from the truth; infinities must be due."""
    largest = float(np.finfo(y.dtype).max)
    worst = 0.0
    for argument, answer in zip(x, y, strict=True):
        exact = truth(name, argument)
        if not np.isfinite(answer):
            assert exact > largest, (argument, answer)
            continue
        near = min(exact, largest) if exact > 0 else max(exact, -largest)
        unit = np.spacing(np.abs(y.dtype.type(float(near))))
        worst = max(worst, float(abs(mpmath.mpf(float(answer)) - exact) / mpmath.mpf(float(unit))))
    return worst


def arguments(dtype):
    """Numbers of every size the type has, and the places where a curve changes its mind."""
    edge = 110 if dtype == np.float32 else 760
    random = np.random.default_rng(3)
    sign = random.choice([-1.0, 1.0], 1500)
    lowest = -44 if dtype == np.float32 else -323
    parts = (
        random.uniform(-edge, edge, 1500),
        random.normal(size=1500),
        sign * 10 ** random.uniform(lowest, 2.9, 1500),
        np.arange(-40, 41) * np.log(2) / 2,
        [-87.4, -88.0, -103.9, 88.7, 88.73, 9.01, 10.0, 20.0, 709.7, -708.5, -745.1, 1e30, -1e30],
    )
    with np.errstate(under="ignore"):
        return np.concatenate(parts).astype(dtype)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_curves_are_accurate_everywhere(name, dtype):
    x = arguments(dtype)
    with mpmath.workprec(200):
        worst = ulps(name, x, getattr(tg, name)(x))
    assert worst <= (2.5 if dtype == np.float32 and name in ("tanh", "sigmoid") else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_curves_without_the_compiler_are_accurate_too(name, dtype):
    x = arguments(dtype)
    with np.errstate(over="ignore"), mpmath.workprec(200):
        assert ulps(name, x, kernels._plains[getattr(kernels, name)](x)) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_curves_at_the_edges(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    huge = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, huge, -huge], dtype)
    nan, inf = np.nan, np.inf
    assert_array_equal(tg.exp(x), np.array([nan, inf, 0, 1, 1, 1, 1, inf, 0], dtype))
    assert_array_equal(tg.sigmoid(x), np.array([nan, 1, 0, 0.5, 0.5, 0.5, 0.5, 1, 0], dtype))
    half = np.log(dtype(2))
    expected = np.array([nan, inf, 0, half, half, half, half, huge, 0], dtype)
    assert_array_equal(tg.softplus(x), expected)
    answer = tg.tanh(x)
    assert_array_equal(answer, np.array([nan, 1, -1, 0, -0.0, tiny, -tiny, 1, -1], dtype))
    assert_array_equal(np.signbit(answer[1:]), np.signbit(x[1:]))
    some = arguments(dtype)
    assert_array_equal(tg.tanh(-some), -tg.tanh(some))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_an_answer_depends_on_its_element_only(name, dtype):
    curve = getattr(tg, name)
    x = (3 * numbers(13, 17, dtype=dtype)).astype(dtype)
    expected = curve(x)
    assert expected.dtype == dtype and expected.flags.carray
    for layout, view in layouts(x).items():
        assert bits(curve(view)) == bits(expected), layout
    for count in (0, 1, 2, 7, 31, 100):
        assert bits(curve(x.ravel()[count:])) == bits(expected.ravel()[count:])
        assert bits(curve(x.ravel()[:count])) == bits(expected.ravel()[:count])
    assert bits(curve(np.broadcast_to(x[0], (5, 17)))[4]) == bits(expected[0])
    assert curve(x[0, 0]) == expected[0, 0] and curve(np.array(x[0, 0])).shape == ()


def test_curves_of_other_numbers():
    assert tg.tanh(np.array([0, 1])).dtype == np.float64
    assert_array_equal(tg.exp(np.array([False, True])), tg.exp(np.array([0.0, 1.0])))
    assert tg.sigmoid(np.zeros(3, np.float16)).dtype == np.float32
    assert tg.exp(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert tg.exp(1) == pytest.approx(math.e, rel=1e-15)


DISPATCHERS = []  # kept: one that is dropped leaves a dead proxy for the garbage collector to find


@compiled
def test_numbers_inside_compiled_code():
    """Also where the caller asks for fast-math, which must not reach into the reduction."""
    from numba import njit

    from tinygrad_rnn.kernels.numbers import exp, sigmoid, softplus, tanh

    def four(x, out):
        for i in range(x.size):
            out[0, i] = exp(x[i])
            out[1, i] = tanh(x[i])
            out[2, i] = sigmoid(x[i])
            out[3, i] = softplus(x[i])

    for dtype in DTYPES:
        x = 5 * numbers(50, dtype=dtype)
        expected = np.stack([getattr(tg, name)(x) for name in CURVES])
        for fastmath in (False, True):
            out = np.empty((4, 50), dtype)
            DISPATCHERS.append(njit(fastmath=fastmath)(four))
            DISPATCHERS[-1](x, out)
            assert bits(out) == bits(expected)
        np.testing.assert_allclose([tanh(x[0]), exp(x[0])], [out[1, 0], out[0, 0]], rtol=1e-6)


# --- row by row ---------------------------------------------------------------------------------


def reference(x):
    """softmax, log_softmax and logsumexp of float64 rows, in extended precision."""
    wide = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        top = wide.max(axis=-1, keepdims=True)
        log_mass = np.log(np.exp(wide - top).sum(axis=-1, keepdims=True))
        return np.exp(wide - top - log_mass), wide - top - log_mass, (top + log_mass)[..., 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", ((1,), (4, 1), (3, 5), (2, 3, 17), (5, 64), (40, 33), (3, 200), (2, 3000))
)
def test_rows_against_extended_precision(shape, dtype):
    x = (4 * numbers(*shape)).astype(dtype)
    eps = np.finfo(dtype).eps
    share, log_share, total = reference(x)
    # shifting a row by its largest entry is one rounding, as large as the shift is; so is each
    # addition of its sum, and a processor with short vectors has more of them one after another
    sums = np.sqrt(shape[-1]) / 4 if dtype is np.float64 else 0  # of float32 they are in float64
    room = eps * (2 * (1 + np.abs(log_share)) + sums)
    assert np.all(np.abs(kernels.softmax(x) - share) <= room * share)
    assert np.all(np.abs(kernels.log_softmax(x) - log_share) <= room)
    assert np.all(np.abs(kernels.logsumexp(x) - total) <= 2 * eps * (1 + np.abs(total)))
    for name in ("softmax", "log_softmax", "logsumexp"):
        assert getattr(kernels, name)(x).dtype == dtype
        for layout, view in layouts(x.reshape(-1, shape[-1])).items():
            answer = getattr(kernels, name)(view)
            assert bits(answer) == bits(getattr(kernels, name)(x)), (name, layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_at_the_edges(dtype):
    inf, nan, huge = np.inf, np.nan, 1e300 if dtype == np.float64 else 1e38
    x = np.array(
        [[1, 2, -inf], [-inf] * 3, [0, nan, 1], [huge, -huge, huge], [inf, 0, 0], [-huge] * 3],
        dtype,
    )
    e = 1 / (1 + np.exp(1))
    share = [[e, 1 - e, 0], [nan] * 3, [nan] * 3, [0.5, 0, 0.5], [nan] * 3, [1 / 3] * 3]
    np.testing.assert_allclose(kernels.softmax(x), share, rtol=1e-6)
    totals = [2 + np.log1p(np.exp(-1)), -inf, nan, huge, inf, -huge]
    np.testing.assert_allclose(kernels.logsumexp(x), totals, rtol=1e-6)
    answer = kernels.log_softmax(x)
    assert answer[0, 2] == -inf and np.isnan(answer[[1, 2, 4]]).any(axis=1).all()
    np.testing.assert_allclose(answer[5], -np.log(3) * np.ones(3), rtol=1e-6)
    assert kernels.softmax(np.ones((4, 0), dtype)).shape == (4, 0)
    assert kernels.log_softmax(np.ones((0, 4), dtype)).shape == (0, 4)
    assert_array_equal(kernels.logsumexp(np.ones((2, 0), dtype)), [-inf, -inf])
    assert kernels.logsumexp(np.ones((0, 4), dtype)).shape == (0,)


def test_long_float32_rows_keep_their_sum():
    x = numbers(2, 100_000, dtype=np.float32)
    exact = np.exp(x.astype(np.float64)).sum(axis=1)
    assert np.all(np.abs(np.exp(kernels.logsumexp(x).astype(float)) / exact - 1) < 2e-6)
    first = np.exp(x[:, 0].astype(float)) / exact
    np.testing.assert_allclose(kernels.softmax(x)[:, 0], first, rtol=3e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_other_rows(dtype):
    x, target = numbers(9, 77, dtype=dtype), np.arange(9)
    for call in (
        kernels.softmax,
        kernels.log_softmax,
        kernels.logsumexp,
        lambda rows: kernels.cross_entropy(rows, target[: len(rows)], -1),
    ):
        assert bits(call(x[:1])) == bits(call(x)[:1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", (1, 7, 65))
def test_cross_entropy_and_its_pull(columns, dtype):
    logits, g = numbers(12, columns, dtype=dtype), numbers(12, dtype=dtype)
    target = np.arange(12) % columns
    target[[3, 8]] = -100
    logits[3] = np.nan
    counted = target != -100
    share, log_share, _ = reference(logits)
    losses = np.where(counted, -log_share[np.arange(12), target % columns], 0)
    eps = np.finfo(dtype).eps
    answer = kernels.cross_entropy(logits, target, -100)
    np.testing.assert_allclose(answer, losses.astype(float), rtol=4 * eps, atol=4 * eps)
    share[np.arange(12), target % columns] -= 1
    pulled = np.where(counted[:, None], g[:, None] * share, 0).astype(float)
    for cotangent in (g, g.astype(np.float64), np.repeat(g, 2)[::2]):
        answer = kernels.cross_entropy_pull(cotangent, logits, target, -100)
        assert answer.dtype == dtype
        np.testing.assert_allclose(answer, pulled, rtol=4 * eps, atol=8 * eps)


def test_cross_entropy_at_the_edges():
    logits = np.array([[1e300, -1e300], [-np.inf, 0], [np.nan, 0], [0, 0]])
    losses = kernels.cross_entropy(logits, np.array([1, 0, 0, 1]), -1)
    assert_array_equal(losses[:2], [np.inf, np.inf] if losses[0] == np.inf else [2e300, np.inf])
    assert np.isnan(losses[2]) and losses[3] == np.log(2)
    pulled = kernels.cross_entropy_pull(np.ones(4), logits, np.array([1, 0, 0, 1]), -1)
    assert_array_equal(pulled[[0, 1, 3]], [[1, -1], [-1, 1], [0.5, -0.5]])
    assert np.isnan(pulled[2]).all()
    assert kernels.cross_entropy(np.ones((0, 3)), np.ones(0, int), -1).shape == (0,)
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        kernels.cross_entropy(logits, np.zeros(3, int), -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", (1, 7, 16, 33))
def test_one_nan_anywhere_in_a_row_is_seen(columns, dtype):
    x = np.repeat(numbers(1, columns, dtype=dtype), columns + 1, axis=0)
    x[np.arange(columns), np.arange(columns)] = np.nan
    target = np.zeros(columns + 1, int)
    answers = (
        *(kernels.softmax(x), kernels.log_softmax(x), kernels.logsumexp(x)),
        kernels.cross_entropy(x, target, -1),
        kernels.cross_entropy_pull(np.ones(columns + 1, dtype), x, target, -1),
    )
    for answer in answers:
        assert np.isnan(answer[:columns]).all() and np.isfinite(answer[columns]).all()


@pytest.mark.parametrize("dtype", (*DTYPES, np.int64))
def test_scatter_rows_adds_what_meets(dtype):
    g = (10 * numbers(50, 3, 4)).astype(dtype)
    index = np.random.default_rng(0).integers(0, 6, 50)
    expected = np.zeros((7, 3, 4), dtype)
    np.add.at(expected, index, g)
    assert_array_equal(kernels.scatter_rows(g, index, 7), expected)
    assert_array_equal(
        kernels.scatter_rows(g[::-1], index[::-1].copy()[::-1][::-1], 7).shape, (7, 3, 4)
    )
    assert_array_equal(kernels.scatter_rows(np.asfortranarray(g), index, 7), expected)
    assert_array_equal(kernels.scatter_rows(g[:, 0, 0], index, 7), expected[:, 0, 0])
    assert_array_equal(kernels.scatter_rows(g[:0], index[:0], 2), np.zeros((2, 3, 4)))


# --- how the kernels are loaded -----------------------------------------------------------------


@compiled
def test_I13_I14_one_specialisation_serves_every_layout():
    tg.tanh(np.zeros(3, np.float32))
    assert len(kernels._loaded[kernels.tanh][np.dtype(np.float32)].signatures) == 1


def run(script, **environment):
    """What a fresh process prints; a warning it does not expect is an error there."""
    command = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_does_not_load_numba():
    script = "import sys, tinygrad_rnn.kernels; print('numba' in sys.modules)"
    assert run(script) == ["False"]


EVERYTHING = """
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import kernels as k
x = np.random.default_rng(0).normal(size=(6, 9)) * 5
x[1, 2], x[2] = np.nan, -np.inf
target, g = np.array([0, 8, -1, 3, 3, 1]), np.arange(6.0)
y = np.nan_to_num(x[:, :6], neginf=-800.0)
answers = [tg.exp(y), tg.tanh(x), tg.sigmoid(x), k.matmul(y, y.T), k.matmul(y, y), k.softmax(x)]
answers += [k.log_softmax(y), k.logsumexp(x), k.cross_entropy(x, target, -1)]
answers += [k.cross_entropy_pull(g, x, target, -1), k.scatter_rows(y, abs(target), 9)]
answers += [tg.exp(np.array([800.0, -800.0])), k.logsumexp(np.full((2, 2), np.inf))]
answers += [k.column_sums(x), k.square_sum(y)]
for rule, reads, writes, count in (
    ("adam", 4, 3, 8), ("rmsprop", 3, 2, 4), ("momentum", 3, 2, 3), ("descent", 2, 1, 2)
):
    new = [np.empty_like(y) for _ in range(writes)]
    k.update(rule, tuple(np.arange(1, count + 1) / 10), [abs(y) + i for i in range(reads)], new)
    answers += new
"""


@compiled
@pytest.mark.parametrize("switch", ("jit", "numba"))
def test_I09_plain_numpy_gives_the_same_numbers(switch, tmp_path):
    path = tmp_path / "answers.npz"
    save = EVERYTHING + f"np.savez({str(path)!r}, *answers)\n"
    if switch == "jit":
        run(save, NUMBA_DISABLE_JIT="1")
    else:
        run("import sys; sys.modules['numba'] = None\n" + save)
    scope: dict = {}
    exec(EVERYTHING, scope)
    with np.load(path) as kept:
        for ours, theirs in zip(scope["answers"], kept.values(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    table = kernels._loaded[kernels.tanh][np.dtype(np.float64)]
    assert hasattr(table, "signatures"), "the kernels of this process are not compiled"


BROKEN = {
    "0.55.1": ("numba", "__version__ = '0.55.1'"),
    "0.38.0": ("llvmlite", "__version__ = '0.38.0'"),
    "NumPy 9.1": ("numba", "raise ImportError('Numba needs NumPy 2.4 or less. Got NumPy 9.1.')"),
    "libllvmlite.so": ("llvmlite", "raise OSError('Could not load libllvmlite.so')"),
}


@compiled
@pytest.mark.parametrize("words", BROKEN)
def test_I09_a_compiler_that_cannot_be_used_says_why_and_how_to_do_without(
    words, tmp_path, monkeypatch
):
    module, code = BROKEN[words]
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module)
    name = "product" if module == "llvmlite" else "logsumexp"
    with pytest.raises(ImportError, match=rf"NUMBA_DISABLE_JIT=1.*{words}"):
        kernels._compiled(name, np.dtype(np.float32))


UNCACHED = """
import warnings, numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import kept
kept._folders = lambda: ()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    x = np.ones((3, 3))
    assert abs(tg.tanh(x) - np.tanh(x)).max() < 1e-15
    assert abs(tg.exp(x) / np.exp(x) - 1).max() < 1e-15
print(*(caught.category is kept.KernelCacheWarning for caught in caught))
"""


@compiled
def test_I07_without_a_cache_folder_there_is_one_warning():
    assert run(UNCACHED) == ["True"]


@compiled
def test_I07_a_full_disk_is_the_same_as_no_folder(tmp_path):
    full = "def full(**_): raise OSError('No space left on device')\nkept.tempfile.mkstemp = full"
    script = UNCACHED.replace("kept._folders = lambda: ()", full)
    assert run(script, NUMBA_CACHE_DIR=str(tmp_path)) == ["True"]
    assert not list((tmp_path / "tinygrad_rnn").iterdir())


def test_I07_a_cache_folder_that_cannot_exist_is_no_error(tmp_path):
    """The user's own folder is tried then."""
    path = tmp_path / "file"
    path.write_text("")
    script = TWICE.replace("print(", "assert abs(tanh(x) - np.tanh(x)).max() < 1e-15 #")
    assert run(script, NUMBA_CACHE_DIR=str(path / "folder")) == []


TWICE = """
import numpy as np
from tinygrad_rnn import kernels
x, tanh = np.ones((3, 3)), kernels.swept(kernels.tanh, np.tanh)
tanh(x)
print(sum(kernels._loaded[kernels.tanh][x.dtype].stats.cache_hits.values()))
"""


def test_who_waits_for_the_compiler_lets_others_work():
    before = time.thread_time()
    assert waiting.apart(lambda: time.sleep(0.4) or 7) == 7
    assert time.thread_time() - before < 0.2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms there")
def test_what_is_being_compiled_is_waited_for_and_not_begun_again():
    """Ctrl-C ends the wait alone."""
    begun, go = [], threading.Event()

    def work():
        begun.append(1)
        go.wait(20)
        return 7

    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        waiting.apart(work, alike="a text")
    threading.Timer(0.3, go.set).start()
    assert waiting.apart(work, alike="a text") == 7 and begun == [1]
    assert waiting.apart(work, alike="a text") == 7 and begun == [1, 1]


FORKED = """
import os, threading, time
from tinygrad_rnn import caches
from tinygrad_rnn.kernels import generated, panels
locks, there = (generated._lock, panels.lock, caches.lock), threading.Event()

def hold():
    for lock in locks:
        lock.acquire()
    there.set()
    time.sleep(0.5)
    for lock in locks:
        lock.release()

threading.Thread(target=hold).start()
there.wait()
child = os.fork()
if child == 0:
    os._exit(sum(not lock.acquire(timeout=2) for lock in locks))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


FORKED_AT_WORK = """
import os, signal, sys, threading, time
import numba, numpy as np, tinygrad_rnn as tg
from tinygrad_rnn.kernels import target, waiting
call = lambda: tg.softmax(np.ones((64, 64), np.float32))
threading.Thread(target=call).start()
while not waiting._running:
    time.sleep(0.001)
child = os.fork()
signal.alarm(60)
if child == 0:
    call()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks there")
def test_a_fork_while_another_thread_compiles_leaves_no_lock_behind(tmp_path):
    assert run(FORKED) == ["0"]
    assert run(FORKED_AT_WORK, NUMBA_CACHE_DIR=str(tmp_path)) == ["0"]


IN_A_STEP = """
import numpy as np, tinygrad_rnn as tg
w = np.eye(3, dtype=np.float32)
inner = lambda x, s: tg.tanh(x @ w + s)
h = tg.scan(lambda x, h: tg.scan(inner, h, x)[0][-1], np.ones((2, 3), np.float32),
            np.ones((2, 4, 2, 3), np.float32))[0]
print(h.dtype, bool(np.isfinite(h.data).all()))
"""


@compiled
def test_the_first_loop_of_a_process_finds_the_routines_that_it_calls(tmp_path):
    """In a scan in a step the arrays of a product go by other names; then from the cache."""
    for _ in range(2):
        assert run(IN_A_STEP, NUMBA_CACHE_DIR=str(tmp_path)) == ["float32", "True"]


def kernels_host():
    """What vectors this processor has, and `run` with nothing said would use."""
    from llvmlite.binding import get_host_cpu_features

    return get_host_cpu_features()


HOSTS = {
    "avx2": ("haswell", "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+popcnt"),
    "sse": ("nehalem", "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"),
}


@compiled
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 vectors")
@pytest.mark.parametrize("host", HOSTS)
def test_I08_hosts_with_shorter_vectors(host, tmp_path):
    """A product is the same chain on any vectors; without FMA it rounds once more."""
    path = tmp_path / "answers.npz"
    products = f"""
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import kernels as k
random = np.random.default_rng(0)
answers = []
for m, d, n in ((1, 64, 300), (3, 9, 140), (29, 70, 33), (45, 300, 17), (64, 32, 96)):
    x, y = (random.normal(size=s).astype(np.float32) for s in ((m, d), (d, n)))
    answers += [k.matmul(x, y), k.matmul(x, np.asfortranarray(y)), k.matmul(y.T, x.T)]
answers += [tg.tanh(x), tg.exp(x), tg.sigmoid(x), k.softmax(x), tg.exp(100 * x)]
np.savez({str(path)!r}, *answers)
"""
    name, features = HOSTS[host]
    if host == "avx2" and not kernels_host()["avx512f"] and kernels_host()["avx2"]:
        pytest.skip("this processor's own vectors are these")
    run(products, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
    scope: dict = {}
    exec(products.replace("np.savez", "(lambda *_: 0)"), scope)
    from tinygrad_rnn.kernels.target import FUSED

    with np.load(path) as kept:
        for ours, theirs in zip(scope["answers"], kept.values(), strict=True):
            if FUSED and host == "avx2" and ours is not scope["answers"][-2]:
                assert bits(ours) == bits(theirs)
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=2e-5)


@compiled
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 vectors")
def test_an_empty_list_of_features_is_believed():
    """Numba has one for a generic processor: long vectors would be cut into pieces there."""
    script = "from tinygrad_rnn.kernels import target as m"
    script += "; print(m.FUSED, m.VECTOR_BYTES)"
    assert run(script, NUMBA_CPU_NAME="generic") == ["False", "16"]
    assert run(script, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="") == ["False", "16"]


@compiled
def test_I08_a_second_process_finds_a_kernel_unless_any_file_has_changed(tmp_path):
    """Numba's own stamp is of one file; a kernel is made of several."""
    copy = tmp_path / "tinygrad_rnn" / "kernels"
    shutil.copytree(ROOT / "tinygrad_rnn" / "kernels", copy, ignore=lambda *_: ["__pycache__"])
    (tmp_path / "tinygrad_rnn" / "__init__.py").write_text("")
    for below in ("limits.py", "quiet.py"):
        shutil.copy(ROOT / "tinygrad_rnn" / below, copy.parent)
    here = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    hits = [run(here + TWICE, NUMBA_CACHE_DIR=str(tmp_path / "kept")) for _ in range(2)]
    (copy / "plain.py").write_text((copy / "plain.py").read_text() + "# changed\n")
    hits.append(run(here + TWICE, NUMBA_CACHE_DIR=str(tmp_path / "kept")))
    assert hits == [["0"], ["1"], ["0"]]
