"""The kernels of a training step: optimisers' rules, norms, sums of columns, spare memory."""

import copy
import math
import mmap
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_kernels import compiled, layouts

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, optim, tensor
from tinygrad_rnn.kernels import plain
from tinygrad_rnn.kernels.spare import PATIENCE, PIECE, SMALL, Spare
from tinygrad_rnn.ops.shape import add_up
from tinygrad_rnn.optim.clip import euclidean

DTYPES = (np.float32, np.float64)
SIZES = (0, 1, 7, 15, 16, 17, 64, 65, 1000)
SETTINGS = {  # and how many arrays a rule reads and writes
    "adam": ((0.9, 0.1, 0.999, 0.001, 0.99, 2e-3, 1.5, 1e-8), 4, 3),
    "rmsprop": ((0.9, 0.1, 1e-3, 1e-8), 3, 2),
    "momentum": ((0.9, 0.01, 1e-3), 3, 2),
    "descent": ((0.01, 1e-3), 2, 1),
}
rules = pytest.mark.parametrize("rule", SETTINGS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def numbers(*shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def prepared(rule, *shape, dtype):
    settings, reads, writes = SETTINGS[rule]
    old = [numbers(*shape, dtype=dtype, seed=k) for k in range(reads)]
    old[2:] = [abs(x) for x in old[2:]]  # of which a rule may take the root
    return settings, old, [np.empty(shape, dtype) for _ in range(writes)]


def updated(rule, settings, old):
    new = [np.empty(old[0].shape, old[0].dtype) for _ in range(SETTINGS[rule][2])]
    kernels.update(rule, settings, old, new)
    return new


def textbook(rule, settings, x, g, m=0, v=0):
    """New weights, and new memory, of whole arrays."""
    if rule == "adam":
        first, rest, second, rest_squared, keep, size, scale, eps = settings
        m, v = m * first + g * rest, v * second + np.square(g) * rest_squared
        return x * keep - m * size / (np.sqrt(v) * scale + eps), m, v
    if rule == "rmsprop":
        m = m * settings[0] + np.square(g) * settings[1]
        return x - g * settings[2] / (np.sqrt(m) + settings[3]), m
    *keep, decay, size = settings
    drawn = g + x * decay
    if rule == "descent":
        return (x - drawn * size,)
    m = m * keep[0] + drawn
    return x - m * size, m


@rules
@dtypes
@pytest.mark.parametrize("size", SIZES)
def test_rules_agree_with_numpy(rule, dtype, size):
    settings, old, new = prepared(rule, size, dtype=dtype)
    before = [x.copy() for x in old]
    expected = textbook(rule, settings, *old)
    eps = np.finfo(dtype).eps
    plain.kernel(rule)(settings, *old, *new)
    for found, answer in zip(new, expected, strict=True):
        np.testing.assert_allclose(found, answer, rtol=4 * eps, atol=2 * eps)
    for found, answer in zip(updated(rule, settings, old), expected, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, answer, rtol=4 * eps, atol=2 * eps)
    for x, kept in zip(old, before, strict=True):
        np.testing.assert_array_equal(x, kept)


@rules
@dtypes
def test_rules_take_any_layout_and_do_an_element_by_itself(rule, dtype):
    settings, old, _ = prepared(rule, 13, 17, dtype=dtype)
    expected = updated(rule, settings, old)
    for layout in layouts(old[0]):
        views = [layouts(x)[layout] for x in old]
        for found, answer in zip(updated(rule, settings, views), expected, strict=True):
            assert found.tobytes() == answer.tobytes(), layout
    for some in (slice(0, 1), slice(3, 8)):
        parts = updated(rule, settings, [x[some] for x in old])
        for found, answer in zip(parts, expected, strict=True):
            assert found.tobytes() == answer[some].tobytes()
    for found in updated(rule, [np.float32(0.5), *[1] * (len(settings) - 1)], old):
        assert found.dtype == dtype and np.isfinite(found).all()
    for number in updated(rule, settings, [x[0, 0] for x in map(np.asarray, old)]):
        assert number.shape == ()
    with pytest.raises(ValueError, match=r"\(13, 17\), got \(2,\)"):
        kernels.update(rule, settings, [old[0], np.ones(2)], expected)


@compiled
@rules
def test_rules_write_nothing_but_whole_arrays_of_the_weights_kind(rule):
    """And read no more settings and arrays than there are: compiled code would read on."""
    settings, reads, writes = SETTINGS[rule]
    old, locked = [np.ones(40)] * reads, np.ones(40)
    locked.flags.writeable = False
    narrow = [np.ones(40, np.float32)] * (writes > 1)  # the first one's kind is that of all
    for wrong in (np.ones(80)[::2], np.ones(39), locked, *narrow):
        new = [np.ones(40) for _ in range(writes - 1)] + [wrong]
        with pytest.raises(ValueError, match="expected"):
            kernels.update(rule, settings, old, new)
        assert (wrong == 1).all()
    new = [np.ones(40) for _ in range(writes)]
    for given in ((settings[1:], old, new), (settings, old[1:], new), (settings, old, new + new)):
        with pytest.raises(ValueError, match="expected"):
            kernels.update(rule, *given)
    kernels.update(rule, settings, old, new)


@rules
@dtypes
def test_G03_rules_keep_nan_where_it_is(rule, dtype):
    settings, old, _ = prepared(rule, 40, dtype=dtype)
    old[1][5] = np.nan
    for found in updated(rule, settings, old):
        assert np.isnan(found[5]) and np.isnan(found).sum() == 1


@dtypes
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_infinite_weight_is_not_multiplied_by_zero(decay, dtype):
    x, g = np.full(20, np.inf, dtype), np.ones(20, dtype)
    (found,) = updated("descent", (decay, 1e-3), [x, g])
    assert np.isnan(found).all() == bool(decay) and not np.isfinite(found).any()


@dtypes
@pytest.mark.parametrize("rows", (0, 1, 3, 4, 5, 63, 64, 1001))
@pytest.mark.parametrize("columns", (0, 1, 15, 16, 17, 103))
def test_column_sums_round_once(rows, columns, dtype):
    x = numbers(rows, columns, dtype=dtype)
    wide = x.astype(np.longdouble)
    room = np.finfo(dtype).eps * abs(wide.sum(axis=0))
    room += rows * np.finfo(np.float64).eps * abs(wide).sum(axis=0)
    for layout, view in layouts(x).items() if x.size else [("C", x)]:
        found = kernels.column_sums(view)
        assert found.shape == (columns,) and found.dtype == dtype
        assert np.all(abs(found - wide.sum(axis=0)) <= room), layout


def test_column_sums_agree_with_numpy_and_keep_nan():
    x = numbers(50, 9, dtype=np.float32)
    x[7, 3], x[9, 4] = np.nan, np.inf
    expected = np.empty(9, np.float32)
    plain.kernel("column_sums")(x, expected)
    np.testing.assert_allclose(kernels.column_sums(x), expected, rtol=1e-7)
    with pytest.raises(ValueError, match=r"a matrix, got shape \(3,\)"):
        kernels.column_sums(np.ones(3))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape, axis", [((300_000, 3), (0,)), ((3000, 100, 3), (0, 1))])
def test_a_tall_float32_sum_keeps_its_digits(shape, axis, keepdims):
    x = np.full(shape, 0.1, np.float32)
    found = add_up(x, axis, keepdims)
    assert found.shape == x.sum(axis=axis, keepdims=keepdims).shape
    np.testing.assert_allclose(found, 300_000 * np.float64(np.float32(0.1)), rtol=1e-7)


@dtypes
@pytest.mark.parametrize("seed", range(60))
def test_sums_of_rows_by_any_axes_in_any_memory_depend_on_these_rows_alone(seed, dtype):
    """To the bit, be they alone or among others; and each keeps its digits."""
    rng = np.random.default_rng(seed)
    ndim = int(rng.integers(2, 5))
    shape = rng.integers(1, 3000 if ndim == 2 and seed % 3 == 0 else 9, ndim)
    order = rng.permutation(ndim)
    x = rng.normal(size=shape[order]).astype(dtype).transpose(np.argsort(order))
    x = x[tuple([slice(None, None, int(k)) for k in rng.choice([1, 2, -1], ndim)])]
    axis = tuple(rng.permutation(ndim)[: rng.integers(1, ndim)].tolist())
    whole, exact = add_up(x, axis, True), x.astype(np.longdouble).sum(axis, keepdims=True)
    room = {np.float32: 1e-6, np.float64: 1e-15}[dtype] * abs(x).astype(float).sum(
        axis, keepdims=True
    )
    assert whole.dtype == dtype and np.all(abs(whole - exact) <= room)
    assert np.array_equal(add_up(x, axis), whole.squeeze(axis))
    for k in {*range(ndim)} - {*axis}:
        for size in (1, 2):
            some = (slice(None),) * k + (slice(0, size),)
            assert np.array_equal(add_up(x[some], axis, True), whole[some])


def test_a_float32_sum_across_memory_keeps_its_digits():
    x = np.full((300_000, 4), 0.1, np.float32)
    for found in (add_up(x.T, (1,)), tg.mean(x.T, 1) * 300_000, add_up(x[:, ::2], None) / 2):
        np.testing.assert_allclose(found, 30_000, rtol=1e-6)


@pytest.mark.compiled
def test_layers_on_many_rows_are_those_on_few():
    xs = np.random.default_rng(0).normal(size=(40, 64, 32)).astype(np.float32)
    layer, x = tg.nn.LayerNorm(32), tg.tensor(xs, requires_grad=True)
    one = tg.tensor(xs[:, :1], requires_grad=True)
    for f in (layer, tg.softmax, tg.log_softmax, lambda x: tg.norm(x, axis=-1)):
        many, alone = f(x), f(one)
        assert np.array_equal(many.data[:, :1], alone.data)
        slopes = [tg.grad((y * y).sum(), z).data for y, z in ((many, x), (alone, one))]
        assert np.array_equal(slopes[0][:, :1], slopes[1])


@dtypes
@pytest.mark.parametrize("size", SIZES)
def test_square_sums(size, dtype):
    x = numbers(size, dtype=dtype)
    exact = float((x.astype(np.longdouble) ** 2).sum())
    found, out = kernels.square_sum(x), np.empty(1)
    plain.kernel("square_sum")(x, out)
    assert type(found) is float and found == pytest.approx(exact, rel=1e-13)
    assert found == pytest.approx(out[0], rel=1e-13)
    if size:
        for view in layouts(np.stack([x, x])).values():
            assert kernels.square_sum(view) == pytest.approx(2 * exact, rel=1e-13)


@dtypes
def test_norms_of_every_size(dtype):
    x = numbers(1000, dtype=dtype)
    exact = math.sqrt((x.astype(np.longdouble) ** 2).sum())
    least = 1e-30 if dtype == np.float32 else 1e-300
    for scale in (1.0, least, 1 / least, 1e-20, 1e20):
        with np.errstate(all="raise"):
            norm = euclidean([x[:300] * dtype(scale), x[300:] * dtype(scale)])
        assert norm / scale == pytest.approx(exact, rel=1e-6 if dtype == np.float32 else 1e-12)
    assert euclidean([]) == euclidean([x[:0]]) == euclidean([x * 0]) == 0.0
    x[5] = np.inf
    assert euclidean([x]) == np.inf
    x[7] = np.nan
    assert math.isnan(euclidean([x]))


def test_spare_memory_is_lent_to_one_at_a_time():
    spare, shape = Spare(), (64, SMALL)
    x = spare(shape, np.float32)
    x[:] = 1
    held = x[3:, ::2]  # a view keeps the memory
    del x
    y = spare(shape, np.float32)
    y[:] = 2
    assert np.all(held == 1)
    place = held.__array_interface__["data"][0] - 3 * SMALL * 4
    del held
    again = spare(shape, np.float32)
    assert again.__array_interface__["data"][0] == place and np.all(y == 2)
    assert spare((0, SMALL), np.float32).shape == (0, SMALL)
    for twin in (copy.deepcopy(spare), pickle.loads(pickle.dumps(spare))):
        assert twin(shape, np.float32).shape == shape


def test_spare_memory_is_given_back():
    spare = Spare()
    x = spare((SMALL,), np.float32)
    spare((SMALL, 3), np.float32)
    for _ in range(PATIENCE * 2):
        spare((SMALL, 2), np.float32)
    idle = lambda: {size for size, entries in spare.idle.items() if entries}
    assert idle() == {SMALL * 8} and len(spare.lent) == 2  # that, and x
    del x
    assert idle() == {SMALL * 4, SMALL * 8} and len(spare.lent) == 2
    for _ in range(PATIENCE * 2):
        spare((SMALL, 2), np.float32)
    assert idle() == {SMALL * 8} and len(spare.lent) == 1


def test_fresh_memory_is_cut_for_one_at_a_time():
    """Also when many threads ask for it at once; a vector straddles no two cache lines."""
    spare, sizes = Spare(), [SMALL, 3 * SMALL, PIECE // 4, PIECE // 4 + 1, 20 * SMALL, 2 * PIECE]
    with ThreadPoolExecutor(8) as threads:
        got = threads.map(lambda k: spare((sizes[k % len(sizes)],), np.uint8), range(120))
        arrays = sorted(got, key=lambda x: x.ctypes.data)
    ends = [(x.ctypes.data, x.ctypes.data + x.nbytes) for x in arrays]
    assert all(stop <= start for (_, stop), (start, _) in pairwise(ends))
    assert not any(start % 64 for start, _ in ends)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="memory is in pieces on Linux alone")
def test_a_small_array_that_somebody_keeps_does_not_keep_what_lay_beside_it():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    spare, kept = Spare(), []
    for k in range(8):  # a piece or two each
        some = [spare((2**20 + k * 2**18,), np.uint8) for _ in range(6)]
        kept += [spare((SMALL + k,), np.uint8), *[x.fill(1) for x in some]]
        del some
    before = resident()
    for _ in range(PATIENCE * 2):
        spare((SMALL, 2), np.uint8)
    assert before - resident() > 30 * 2**20


def test_I10_nothing_of_python_runs_where_an_interrupt_would_be_lost():
    """What is called when an array goes lets no error out, Ctrl-C neither."""
    spare = Spare()
    x = spare((SMALL, 2), np.float32)
    (lent,) = spare.lent.values()
    called = []
    sys.setprofile(lambda frame, event, _: called.append(event))
    del x
    sys.setprofile(None)
    assert [*spare.idle[SMALL * 8]] == [lent] and "call" not in called


@pytest.mark.parametrize("rule", [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW])
def test_arrays_that_somebody_holds_are_never_written_again(rule):
    x = tensor(numbers(100, 100, dtype=np.float32), requires_grad=True)
    optimizer, held, copies = rule([x], lr=0.1), [], []
    for step in range(12):
        x.grad = numbers(100, 100, dtype=np.float32, seed=step)
        optimizer.step()
        if step % 3:
            mine = [x.data[5:, 3:], *optimizer.memory["0"].values()]
            held += mine
            copies += [array.copy() for array in mine]
    for array, kept in zip(held, copies, strict=True):
        np.testing.assert_array_equal(array, kept)


@compiled
def test_training_does_not_ask_for_fresh_memory():
    x = tensor(np.zeros((100, 100), np.float32), requires_grad=True)
    optimizer, places = optim.Adam([x]), set()
    for _ in range(10):
        x.grad = np.ones((100, 100), np.float32)
        optimizer.step()
        places |= {x.data.ctypes.data, optimizer.memory["0"]["m"].ctypes.data}
    assert len(places) <= 6
