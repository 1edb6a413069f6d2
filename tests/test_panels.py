"""Products on packed weights and the threads that share them, each promise by itself."""

import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import threads

pytestmark = pytest.mark.compiled
DTYPES = (np.float32, np.float64)
SIZES = (0, 1, 2, 3, 5, 7, 8, 9, 17, 31, 32, 33, 65)
compiled = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") != "0", reason="promised of compiled kernels only"
)


def numbers(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def bits(x):
    return np.ascontiguousarray(x).tobytes()


class Doors:
    """Every intrinsic behind a small function, for arrays of any strides and one float type."""

    def __init__(self, dtype):
        import numba

        from tinygrad_rnn.kernels import doors, panels

        real = numba.from_dtype(np.dtype(dtype))
        panels.load(np.dtype(dtype))
        a1, a2, a3 = (numba.types.Array(real, n, "A") for n in (1, 2, 3))

        def function(body, *kinds):
            return numba.njit(numba.void(*kinds))(body)

        def read(kind):
            return kind.copy(readonly=True)

        self.panels, self.dtype = panels, np.dtype(dtype)
        self.pack = panels.pack
        self.pack_rows = function(lambda g, p: doors.pack_rows(g, p), read(a3), a1)
        self.multiply = function(
            lambda x, p, out, fresh: doors.multiply(x, p, out, fresh),
            *(read(a3), read(a1), a3, numba.boolean),
        )
        self.gather = function(
            lambda x, g, out, scratch: doors.gather(x, g, out, scratch, False),
            *(read(a3), read(a3), a2, a1),
        )
        self.gather_packed = function(
            lambda x, p, out, scratch: doors.gather_packed(x, p, out, scratch, False),
            *(read(a3), read(a1), a2, a1),
        )

    def packed(self, w):
        buffer = np.full(self.panels.packed_size(*w.shape, self.dtype), np.nan, self.dtype)
        self.pack(w, buffer)
        return buffer

    def product(self, x, w):
        out = np.full((*x.shape[:2], w.shape[1]), np.nan, self.dtype)
        self.multiply(x, self.packed(w), out, True)
        return out

    def scratch(self, *sides):
        return np.full(self.panels.gather_size(*sides, self.dtype), np.nan, self.dtype)


@pytest.fixture(scope="module", params=DTYPES, ids=lambda dtype: dtype.__name__)
def doors(request):
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("promised of compiled kernels only")
    return Doors(request.param)


def close(z, x, y, start=0.0):
    """z within the rounding of k additions of the sum of |x| |y|."""
    x, y, start = (np.asarray(a, np.float64) for a in (x, y, start))
    scale = np.abs(start) + np.abs(x) @ np.abs(y)
    slack = (x.shape[-1] + 2) * np.finfo(z.dtype).eps
    return np.all(np.abs(z - (start + x @ y)) <= slack * scale)


def guarded(steps, rows, columns, dtype):
    """A view inside a larger array, and the larger array."""
    whole = numbers(steps + 2, rows + 2, columns + 2, dtype=dtype, seed=5)
    return whole[1:-1, 1:-1, 1:-1], whole


# --- packing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", SIZES)
def test_packing_is_exact_and_filled_up_with_zeros(doors, depth):
    wide = doors.panels.width(doors.dtype)
    for columns in SIZES:
        w = numbers(depth, columns, dtype=doors.dtype)
        count = -(-columns // wide)
        expected = np.zeros((depth, count * wide), doors.dtype)
        expected[:, :columns] = w
        expected = expected.reshape(depth, count, wide).swapaxes(0, 1)
        double = np.repeat(np.repeat(w, 2, 0), 3, 1)[::2, ::3]
        for same in (w, np.asfortranarray(w), double, w[::-1, ::-1].copy()[::-1, ::-1]):
            assert_array_equal(doors.packed(same).reshape(expected.shape), expected)
        stacked = np.repeat(w[None], 3, 0)
        for lines in (stacked, np.repeat(stacked, 2, 1)[:, ::2]):
            buffer = np.full(doors.panels.packed_size(3 * depth, columns, doors.dtype), np.nan)
            buffer = buffer.astype(doors.dtype)
            doors.pack_rows(lines, buffer)
            tall = np.concatenate([expected] * 3, axis=1)
            assert_array_equal(buffer.reshape(tall.shape), tall)


# --- multiply -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", SIZES)
def test_multiply_is_right_at_every_edge_and_writes_nowhere_else(doors, rows):
    for depth in SIZES:
        for columns in SIZES:
            w = numbers(depth, columns, dtype=doors.dtype, seed=1)
            panels = doors.packed(w)
            for steps in (0, 1, 3):
                x = numbers(steps, rows, depth, dtype=doors.dtype)
                out, whole = guarded(steps, rows, columns, doors.dtype)
                before = whole.copy()
                doors.multiply(x, panels, out, False)
                assert close(out, x, w, before[1:-1, 1:-1, 1:-1])
                doors.multiply(x, panels, out, True)
                assert close(out, x, w)
                out[...] = before[1:-1, 1:-1, 1:-1]
                assert bits(whole) == bits(before)


def spreads(x):
    """The same values in memory in several ways."""
    wide = np.repeat(np.repeat(np.repeat(x, 2, 0), 3, 1), 2, 2)
    turned = np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0)
    return x, wide[::2, ::3, ::2], turned, x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]


@pytest.mark.parametrize("rows", (1, 2, 3, 5, 10, 20))
def test_strides_do_not_matter(doors, rows):
    for depth, columns in ((40, 70), (300, 129), (513, 33)):
        x = numbers(3, rows, depth, dtype=doors.dtype)
        w = numbers(depth, columns, dtype=doors.dtype, seed=1)
        panels, expected = doors.packed(w), doors.product(x, w)
        more = numbers(3, rows, columns, dtype=doors.dtype, seed=2)
        added = more.copy()
        doors.multiply(x, panels, added, False)
        for x_view in spreads(x):
            for out in spreads(more.copy()):
                doors.multiply(x_view, panels, out, False)
                assert bits(out) == bits(added)
                doors.multiply(x_view, panels, out, True)
                assert bits(out) == bits(expected)


def test_a_row_does_not_depend_on_its_mates_or_its_place(doors):
    for depth, columns in ((40, 65), (700, 300)):
        x = numbers(4, 21, depth, dtype=doors.dtype)
        w = numbers(depth, columns, dtype=doors.dtype, seed=1)
        whole = doors.product(x, w)
        for rows in (1, 2, 3, 4, 5, 7, 9, 13, 20):
            assert bits(doors.product(x[:, :rows], w)) == bits(whole[:, :rows])
            assert bits(doors.product(x[2:3, -rows:], w)) == bits(whole[2:3, -rows:])
        for count in (1, 31, 64):
            assert bits(doors.product(x, w[:, :count])) == bits(whole[..., :count])


def test_a_long_batch_is_cut_into_blocks_and_stays_the_same(doors):
    x = numbers(9, 300, 700, dtype=doors.dtype)
    w = numbers(700, 40, dtype=doors.dtype, seed=1)
    whole = doors.product(x, w)
    assert close(whole, x, w)
    view = np.concatenate([x, x], axis=1)[:, :300]
    assert bits(doors.product(view, w)) == bits(whole)


def test_rows_that_crowd_one_place_of_the_cache_are_copied_and_stay_the_same(doors):
    """Rows 4,096 bytes apart are read from a copy where a tile has many and there are columns."""
    for rows, columns in ((5, 40), (5, 70), (12, 70), (16, 70), (140, 70)):
        x = numbers(2, rows, 1024, dtype=doors.dtype)[..., :300]
        w = numbers(300, columns, dtype=doors.dtype, seed=1)
        assert bits(doors.product(x, w)) == bits(doors.product(x.copy(), w))


def test_multiply_is_the_chain_that_matmul_is(doors):
    for rows, depth, columns in ((1, 33, 40), (3, 300, 70), (37, 600, 130)):
        x = numbers(1, rows, depth, dtype=doors.dtype)
        w = numbers(depth, columns, dtype=doors.dtype, seed=1)
        assert bits(doors.product(x, w)[0]) == bits(kernels.matmul(x[0], w))


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_what_is_not_finite_stays_in_its_row(doors, bad):
    x = numbers(2, 21, 40, dtype=doors.dtype)
    w = numbers(40, 37, dtype=doors.dtype, seed=1)
    clean = doors.product(x, w)
    x[1, 7, 5] = bad
    out = doors.product(x, w)
    assert not np.isfinite(out[1, 7]).any()
    out[1, 7] = clean[1, 7]
    assert bits(out) == bits(clean)
    w[3, 36] = bad
    assert np.isfinite(doors.product(x[:1], w)[..., :36]).all()


# --- gather ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", SIZES)
def test_gather_is_right_at_every_edge_and_writes_nowhere_else(doors, columns):
    for wide in SIZES:
        for steps, rows in ((0, 3), (1, 1), (3, 7), (1, 33), (3, 0)):
            x = numbers(steps, rows, wide, dtype=doors.dtype)
            g = numbers(steps, rows, columns, dtype=doors.dtype, seed=1)
            whole = numbers(wide + 2, columns + 2, dtype=doors.dtype, seed=2)
            before = whole.copy()
            out, start = whole[1:-1, 1:-1], before[1:-1, 1:-1]
            doors.gather(x, g, out, doors.scratch(wide, columns))
            lines = x.reshape(steps * rows, wide), g.reshape(steps * rows, columns)
            assert close(out, lines[0].T, lines[1], start)
            out[...] = start
            assert bits(whole) == bits(before)


@pytest.mark.parametrize("steps,rows", ((3, 10), (35, 20), (700, 1), (2, 600)))
def test_gather_does_not_care_for_strides_or_packing(doors, steps, rows):
    x = numbers(steps, rows, 37, dtype=doors.dtype)
    g = numbers(steps, rows, 70, dtype=doors.dtype, seed=1)
    expected, scratch = np.zeros((37, 70), doors.dtype), doors.scratch(37, 70)
    doors.gather(x, g, expected, scratch)
    for x_view, g_view in zip(spreads(x), spreads(g), strict=True):
        out = np.zeros_like(expected)
        doors.gather(x_view, g_view, out, scratch)
        assert bits(out) == bits(expected)
    panels = np.empty(doors.panels.packed_size(steps * rows, 70, doors.dtype), doors.dtype)
    doors.pack_rows(g, panels)
    out = np.zeros_like(expected)
    doors.gather_packed(x, panels, out, scratch)
    assert bits(out) == bits(expected)


@compiled
def test_wrong_arguments_are_refused_when_compiling():
    import numba

    from tinygrad_rnn.kernels.doors import pack_rows

    f = numba.njit(lambda g, p: pack_rows(g, p))
    with pytest.raises(numba.TypingError, match="dimensions"):
        f(np.ones(3), np.ones(3))
    with pytest.raises(numba.TypingError, match="float32"):
        f(np.ones((1, 3, 3), np.float32), np.ones(96))
    with pytest.raises(numba.TypingError, match="float32"):
        f(np.ones((1, 3, 3), int), np.ones(96, int))


def test_the_sizes_of_caches_are_read_from_the_system(tmp_path):
    from tinygrad_rnn.kernels.machine import cache_size

    for index, (level, kind, size) in enumerate(
        (("1", "Instruction", "32K"), ("1", "Data", "48K"), ("2", "Unified", "2048K"))
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    sizes = [cache_size(level, 7, str(tmp_path)) for level in (1, 2, 3)]
    assert sizes == [48 << 10, 2 << 20, 7]
    (tmp_path / "index1/size").write_text("unknown\n")
    assert cache_size(1, 7, str(tmp_path)) == cache_size(1, 7, str(tmp_path / "none")) == 7


@compiled
def test_I03_loading_from_many_threads_at_once():
    from tinygrad_rnn.kernels import panels

    single = np.dtype(np.float32)
    several = [threading.Thread(target=panels.load, args=(single,)) for _ in range(4)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert ("panels", single) in panels._loaded


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def four(monkeypatch):
    """Four threads, however few cores there are and whoever else has them."""
    monkeypatch.setattr(threads, "LONGEST", 0.0)
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


def spread(run, count):
    """Parts of range(count) on all threads, however small they are."""
    threads.shared(lambda start, stop, _: run(start, stop), count, 1, ())


@pytest.mark.parametrize("count", (0, 1, 2, 3, 4, 5, 10, 101))
def test_work_that_is_shared_covers_the_range_once(four, count):
    parts = []
    spread(lambda start, stop: parts.append((start, stop, threading.get_ident())), count)
    parts.sort()
    assert [i for start, stop, _ in parts for i in range(start, stop)] == list(range(count))
    assert len(parts) == max(1, min(count, 4))
    assert parts[0][2] == threading.get_ident()
    sizes = {stop - start for start, stop, _ in parts}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", (0, -1))
def test_fewer_than_one_thread_is_refused(n):
    with pytest.raises(ValueError, match="set_num_threads: n: expected 1 to 1024"):
        threads.set_num_threads(n)


@pytest.mark.parametrize("n", (1.0, "2", None, True))
def test_threads_are_counted_with_an_int(n):
    with pytest.raises(TypeError, match="set_num_threads: n: expected a whole number"):
        threads.set_num_threads(n)


@pytest.mark.parametrize("where", range(4))
@pytest.mark.parametrize("kind", (ValueError, KeyboardInterrupt, SystemExit))
def test_an_error_waits_for_the_other_parts(four, where, kind):
    ended = []

    def run(start, stop):
        if start == where:
            raise kind("here")
        time.sleep(0.02)
        ended.append(start)

    with pytest.raises(kind, match="here"):
        spread(run, 4)
    assert sorted(ended) == sorted({0, 1, 2, 3} - {where})
    spread(lambda start, stop: ended.append(start), 4)
    assert len(ended) == 7


def test_I03_a_part_may_spread_its_own_work(four):
    seen = []

    def inner(start, stop):
        seen.extend(range(start, stop))

    spread(lambda start, stop: spread(inner, 8), 4)
    assert sorted(seen) == sorted([*range(8)] * 4)


def test_I03_several_callers_at_once(four):
    totals = [[] for _ in range(6)]

    def caller(mine):
        for _ in range(100):
            spread(lambda start, stop: mine.append(stop - start), 10)

    callers = [threading.Thread(target=caller, args=(mine,)) for mine in totals]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert [sum(mine) for mine in totals] == [1000] * 6


@compiled
def test_a_worker_is_there_at_once_and_after_it_has_slept(four):
    """Loops that need no Python, and parts that do, hundreds in a row or long after each other."""
    from tinygrad_rnn.kernels import text

    source = (
        "def half(start, stop, x):\n    for i in range(start, stop):\n        x[i] = x[i] * 0.5\n"
    )
    half = text.function(source, 2, [(np.dtype(np.float64), 1)], {})
    x, expected = numbers(40), numbers(40) * 0.5**320
    for k in range(320):
        if k % 40 == 0:
            time.sleep(0.02)  # longer than anyone looks for work
        if k % 3:
            threads.together([threads.Call(half, i, i + 10, (x,)) for i in range(0, 40, 10)])
        else:
            spread(lambda start, stop: half(start, stop, (x,)), 40)
    assert_array_equal(x, expected)


def test_workers_that_are_of_no_use_are_not_hired_for_a_while(monkeypatch):
    """They share their core with another program; parts, and so the bits, stay what they are."""
    pool, who, here = threads._Pool(), [], threading.get_ident()
    monkeypatch.setattr(threads, "_pool", pool)
    called = lambda: who.append(threading.get_ident())

    def busy():
        end = time.thread_time() + 4e-3
        while time.thread_time() < end:
            pass

    late = lambda: (time.sleep(0.05), called())
    threads.together([busy, late])
    assert pool.vain == 1 and pool.until == 0 and who != [here]  # it may be by chance
    for vain in (2, 3):
        pool.until = 0.0
        threads.together([busy, late])
        assert pool.vain == vain and pool.until > time.perf_counter()
    threads.together([busy, late])
    assert who[-1] == here and pool.until < time.perf_counter() + threads.LONGEST
    pool.judge(1.2e-2, 1e-2, 2)  # they are of use again
    assert pool.vain == 0


def test_without_a_compiler_the_caller_does_all_parts(four, monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setitem(sys.modules, "tinygrad_rnn.kernels.crew", None)
    monkeypatch.delattr(kernels, "crew", raising=False)
    who = []
    spread(lambda start, stop: who.append((start, threading.get_ident())), 4)
    assert who == [(k, threading.get_ident()) for k in range(4)]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True, text=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip


def test_I10_an_interrupt_waits_for_the_other_parts():
    code = """
import _thread, signal, threading, time
from tinygrad_rnn.kernels import threads
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us in the background
threads.set_num_threads(2)
ended = []
def run(start, stop, _):
    if start:
        time.sleep(0.1); _thread.interrupt_main(); time.sleep(0.3); ended.append(start)
try:
    threads.shared(run, 2, 1, ())
except KeyboardInterrupt:
    print("interrupted", ended)
"""
    out = python(code)
    assert (out.stdout, out.stderr) == ("interrupted [1]\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_I04_a_forked_child_has_workers_of_its_own():
    code = """
import os, threading
from tinygrad_rnn.kernels import threads
threads.set_num_threads(3)
def seen():
    ids = []
    barrier = threading.Barrier(3)
    part = lambda start, stop, _: (barrier.wait(20), ids.append(threading.get_ident()))
    threads.shared(part, 3, 1, ())
    return len(set(ids))
assert seen() == 3
child = os.fork()
if not child:
    os._exit(0 if seen() == 3 else 1)
assert os.waitpid(child, 0)[1] == 0 and seen() == 3
print("good")
"""
    out = python(code)
    assert (out.stdout, out.stderr) == ("good\n", "")


def test_I11_leaving_is_silent_even_while_a_part_runs():
    code = """
import atexit, faulthandler, signal, threading, time
import numpy as np
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import threads
faulthandler.enable()
signal.signal(signal.SIGINT, signal.SIG_DFL)
threads.set_num_threads(3)
x = np.ones((512, 256), np.float32)
atexit.register(kernels.matmul, x, x.T)  # and workers look for more when it ends
kernels.matmul(x, x.T)
threads.shared(lambda a, b, _: None, 2, 1, ())
slow = lambda a, b, _: time.sleep(10_000)
threading.Thread(target=threads.shared, args=(slow, 2, 1, ()), daemon=True).start()
time.sleep(0.1)
"""
    out = python(code)
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")


def test_the_environment_caps_the_threads():
    code = "from tinygrad_rnn.kernels import threads; print(threads.get_num_threads())"
    assert python(code, TINYGRAD_RNN_NUM_THREADS="1").stdout == "1\n"
    assert int(python(code, TINYGRAD_RNN_NUM_THREADS="999").stdout) <= os.cpu_count()


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_I12_a_large_product_is_the_same_on_any_number_of_threads(dtype):
    before = threads.get_num_threads()
    try:
        for rows, depth, columns in (
            (1, 700, 6000),
            (2, 900, 3001),
            (7, 600, 1500),
            (301, 150, 90),
        ):
            x = numbers(rows, depth, dtype=dtype)
            y = numbers(depth, columns, dtype=dtype, seed=1)
            for right in (y, np.asfortranarray(y)):
                answers = set()
                for n in (1, 2, 3):
                    threads.set_num_threads(n)
                    answers.add(bits(kernels.matmul(x, right)))
                assert len(answers) == 1
    finally:
        threads.set_num_threads(before)


def strided(x):
    wide = np.full((3 * len(x), 2 * x.shape[1]), np.nan, x.dtype)
    wide[1::3, ::2] = x
    return wide[1::3, ::2]


def misaligned(x):
    memory = np.empty(x.nbytes + 1, np.uint8)[1:]
    out = memory.view(x.dtype).reshape(x.shape)
    out[:] = x
    return out


def unwritable(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": strided,
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "misaligned": misaligned,
    "read only": unwritable,
}


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "rows, depth, columns, parts",
    # Tall and wide, for two threads; then for one, where C.T = y.T @ x.T if y is in F order: x is
    # the smaller copy; or where panels of columns are less full than those of rows.
    [(193, 259, 131, 2), (131, 259, 193, 2), (2053, 1031, 3, 2), (5, 67, 33, 1), (96, 67, 33, 1)],
)
def test_shared_and_turned_products_are_numpys_in_every_layout(
    rows, depth, columns, parts, dtype, monkeypatch
):
    from tinygrad_rnn.kernels import matrices

    rng, seen = np.random.default_rng(rows), set()
    x, y = rng.normal(size=(rows, depth)), rng.normal(size=(depth, columns))
    x, y = x.astype(dtype), y.astype(dtype)
    expected = x.astype(np.float64) @ y.astype(np.float64)
    first = kernels.matmul(x, y)  # which compiles
    together = lambda calls: seen.add(len(calls)) or threads.together(calls)
    monkeypatch.setattr(matrices, "together", together)
    monkeypatch.setattr(threads, "_count", 2)
    for (one, of_x), (two, of_y) in itertools.product(LAYOUTS.items(), LAYOUTS.items()):
        out = kernels.matmul(of_x(x), of_y(y))
        assert_allclose(out, expected, 0, 2000 * np.finfo(dtype).eps, err_msg=f"{one} @ {two}")
        assert_array_equal(out, first, f"{one} @ {two}")  # each entry is one chain
    assert seen <= {1} if parts == 1 else seen == {2}
