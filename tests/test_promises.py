"""What the README promises: that each line names a test, and the promises that are of no one part.

Those are what a process keeps of its own, Ctrl-C, long sequences and memory.
"""

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import waiting

ROOT = Path(__file__).parent.parent


def promises():
    """The numbered lines of the README, each with the names of its tests and their files."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.split("## What you may rely on\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(\d+)\. (.*(?:\n   .*)*)", section, re.M)
    return {int(n): re.findall(r"\[`(\w+)`\]\(([\w/.]+)\)", line) for n, line in lines}


def test_every_promise_of_the_readme_names_tests_that_are_run():
    """As functions of their files, which no mark skips but where a system lacks something."""
    found = promises()
    assert [*found] == [*range(1, 15)]
    for number, tests in found.items():
        assert tests, f"promise {number} names no test"
        for name, file in tests:
            assert re.fullmatch(r"tests/test_\w+\.py", file) and name.startswith("test_")
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            made = [x for x in tree.body if isinstance(x, ast.FunctionDef) and x.name == name]
            assert len(made) == 1, f"promise {number}: no {name} in {file}"
            marks = [ast.unparse(x) for x in made[0].decorator_list]
            assert not [m for m in marks if re.search(r"\bx?(skip|xfail|fail)\b(?!if)", m)], name


# -- nothing is changed that is everybody's --------------------------------------------------------


def run(code, **environment):
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return out


WORLD = """
import atexit, gc, locale, logging, os, random, signal, sys, threading, warnings
import numpy as np

def world():
    hooks = sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook
    return {
        "random numbers": (np.random.get_state()[1].tolist(), random.getstate()),
        "errors": (np.geterr(), np.geterrcall()), "printing": np.get_printoptions(),
        "warnings": (warnings.filters[:], warnings.showwarning), "hooks": hooks,
        "signals": [(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        "environment": dict(os.environ), "locale": locale.setlocale(locale.LC_ALL),
        "path": (sys.path[:], sys.meta_path[:], os.getcwd()), "log": logging.root.handlers[:],
        "tracing": (sys.gettrace(), sys.getprofile(), gc.isenabled(), gc.callbacks[:]),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold()),
        "threads": threading.enumerate(), "at the end": atexit._ncallbacks(),
    }

def changed(before):
    now = world()
    return sorted(k for k in now if now[k] != before[k])
"""
IMPORTED = """
before = world()
import tinygrad_rnn as tg
from tinygrad_rnn import data, io, lab, nn, optim, transforms
import tinygrad_rnn.tape, tinygrad_rnn.page
assert changed(before) == [], changed(before)
"""
USED = """
xs = np.ones((4, 32, 8), np.float32)
cell = nn.VariationalDropout(nn.Zoneout(nn.LSTM(8, 16), h=0.1), inputs=0.2)
layer = nn.Recurrent(cell, nn.GRU(16, 16), dropout=0.1)
optimizer = optim.Adam(layer)
for lengths in (None, [3, 4] * 16):
    layer.unroll = lengths is None
    loss = (nn.Dropout(0.5)(layer(xs, lengths=lengths)[0]) ** 2).mean()
    loss.backward()
    optim.clip_grad_norm(layer, 1.0)
    optimizer.step()
    optimizer.zero_grad()
tg.manual_seed(0), next(tg.data.buckets(np.arange(9), 3))
with np.errstate(all="raise"):
    tg.softmax(np.array([1e30, -1e30, -np.inf])), tg.exp(np.array([-1e5, 1e5])), tg.log(np.zeros(1))
a = tg.tensor(np.ones((400, 400), np.float32))
a @ a
tg.draw((cell(xs, unroll=True)[0] ** 2).mean()).svg
tg.lab.flow(nn.RNN(8, 8), xs)
tg.equations(cell)
# Workers wait for the next loop, and libraries that come with the first one tidy up at the end.
left = {*changed(before)} - {"threads", "at the end"}
assert not left, left
"""


def test_K09_nothing_that_is_everybodys_is_changed_by_import_or_use():
    """Random and error state, warnings, signals, hooks, environment, locale, paths, threads."""
    out = run(WORLD + IMPORTED + USED)
    assert not out.stdout and not out.stderr


# -- long sequences --------------------------------------------------------------------------------


@pytest.mark.compiled
def test_H01_a_hundred_thousand_steps_of_a_loop():
    """Forward, backward, and freed without recursion or a collector."""
    steps, rate, add = 100_000, 0.999, np.random.default_rng(0).normal(size=100_000)
    a = tg.tensor(rate, requires_grad=True)
    xs = tg.tensor(add, requires_grad=True)
    (path,) = tg.scan(lambda x, h: a * h + x, 1.0, xs)
    h, slope = 1.0, 0.0
    for x in add:
        h, slope = rate * h + x, rate * slope + h
    node = weakref.ref(path.inputs[0])
    path[-1].backward()
    assert len(path) == steps and abs(path.data[-1] - h) < 1e-9 * abs(h)
    assert abs(a.grad.item() - slope) < 1e-9 * abs(slope)
    np.testing.assert_allclose(xs.grad.data[-300:], rate ** np.arange(299, -1, -1.0), 1e-12)
    del path
    assert node() is None


# -- Ctrl-C ----------------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """Whoever started us in the background switched Ctrl-C off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, columns", [(200, 3), (3, 200), (150, 170), (65, 64), (64, 65)])
def test_I10_a_product_in_pieces_has_the_same_bits(rows, columns, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = (
        rng.normal(size=(2, rows, 5)).astype(dtype),
        rng.normal(size=(2, 5, columns)).astype(dtype),
    )
    whole = [kernels.matmul(x[0], y[0]), kernels.matmul(x, y), kernels.matmul(x, y[0])]
    monkeypatch.setattr(kernels, "LONG", 1 << 10)
    parts = [kernels.matmul(x[0], y[0]), kernels.matmul(x, y), kernels.matmul(x, y[0])]
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_I10_ctrl_c_ends_a_product_between_two_of_its_pieces(monkeypatch, interruptible):
    done, product = [], kernels._load("product", np.dtype(np.float32))

    def piece(x, y, out):
        product(x, y, out)
        done.append(out.size)
        if len(done) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(kernels._product, np.dtype(np.float32), piece)
    monkeypatch.setattr(kernels, "LONG", 1 << 21)
    x = np.ones((512, 512), np.float32)
    with pytest.raises(KeyboardInterrupt):
        kernels.matmul(x, x)
    assert len(done) >= 3 and sum(done) < x.size
    assert (kernels.matmul(x, x) == 512).all()


def test_I10_ctrl_c_ends_the_wait_for_a_compiler(interruptible):
    """Which ends what it has begun, and hands on what it returns and raises."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go_on.wait(60)
        ended.set()

    main = threading.main_thread().ident
    killer = threading.Thread(
        target=lambda: begun.wait(60) and signal.pthread_kill(main, signal.SIGINT)
    )
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        waiting.apart(work)
    killer.join()
    assert not ended.is_set()
    go_on.set()
    assert ended.wait(60)
    answer, thread = waiting.apart(lambda x: (x, threading.current_thread()), 3)
    assert answer == 3 and thread is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        waiting.apart(lambda: 1 / 0)


def test_I10_ctrl_c_while_a_clock_is_started_leaves_no_thread(monkeypatch):
    start, before = threading.Timer.start, threading.active_count()

    def interrupted(timer):
        start(timer)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Timer, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), waiting.compiling(3):
        raise AssertionError("not reached")
    assert threading.active_count() == before


def test_P84_interrupted_at_any_moment_the_library_goes_on():
    """A hundred times: steps by steps and loops, one thread and two; then all is as if never."""
    code = """
    import random, signal, threading
    import numpy as np, tinygrad_rnn as tg
    from tinygrad_rnn import nn, optim
    def work(model, optimizer, how):
        loss = (model(xs, **how)[0] ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()
    xs = np.random.default_rng(0).normal(size=(30, 32, 8)).astype(np.float32)
    ways = [{}, {"unroll": True}, {"lengths": [30, 20] * 16}]
    model = nn.Zoneout(nn.LSTM(8, 32, rng=0), h=0.1, rng=1)
    optimizer = optim.Adam(model)
    first = nn.LSTM(8, 32, rng=0)
    expected = work(first, optim.Adam(first), {})
    for how in ways:
        work(model, optimizer, how)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    random.seed(0)
    caught, warned = 0, np.geterr()
    for k in range(100):
        tg.set_num_threads(1 + k % 2)
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 2e-2))
            while True:
                work(model, optimizer, ways[k % 3])
        except KeyboardInterrupt:
            caught += 1
        assert np.geterr() == warned
        assert all(np.isfinite(x.data).all() for x in model.parameters())
    again = nn.LSTM(8, 32, rng=0)
    assert work(again, optim.Adam(again), {}) == expected and caught == 100
    assert threading.active_count() <= 2
    """
    run(code)


# -- memory ----------------------------------------------------------------------------------------

FLAT = """
import gc, resource
gc.disable()
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

rng = np.random.default_rng(0)
xs = rng.normal(size=(9, 4, 8)).astype(np.float32)
lengths = [rng.integers(0, 10, 4) for _ in range(7)]
cell = nn.Zoneout(nn.VariationalDropout(nn.LSTM(8, 8, rng=0), inputs=0.2, rng=1), h=0.1, rng=2)
layer = nn.Recurrent(nn.Residual(cell), nn.Bidirectional(nn.GRU(8, 4, rng=3), nn.GRU(8, 4, rng=4)))
weights = [*layer.parameters()]
rules = [optim.SGD(weights, lr=1e-3, momentum=0.9), optim.RMSprop(weights), optim.AdamW(weights)]
scale = tg.tensor(np.float32(0.9), requires_grad=True)
peaks = []
for k in range(1201):
    layer.unroll = not k % 50
    ys, _ = layer(xs, lengths=lengths[k % 7])
    (zs,) = tg.scan(lambda y, h: tg.tanh(scale * h + y), np.zeros((4, 8), np.float32), ys)
    zs.register_hook(lambda g: g * 0.5)
    for x in (*weights, scale):
        x.grad = None
    (zs ** 2).mean().backward()
    optim.clip_grad_norm(weights, 1.0)
    rules[k % 3].step()
    if k in (200, 1200):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module reads the peak memory")
def test_F14_memory_is_flat_over_layers_lengths_masks_hooks_and_rules():
    early, late = map(int, run(FLAT).stdout.split())
    grown = (late - early) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 2**20, f"1,000 steps took {grown} bytes"


def test_the_readmes_equations_are_those_of_its_cell():
    text = (ROOT / "README.md").read_text("utf-8")
    cell = re.search(r"class MinimalGatedUnit.*?(?=\n\n\n)", text, re.S)[0]
    names = {"tg": tg, "nn": tg.nn}
    exec(cell, names)
    shown = re.search(r"```text\n(MinimalGatedUnit.*?)```", text, re.S)[1]
    assert str(tg.equations(names["MinimalGatedUnit"](1, 8))).startswith(shown)
