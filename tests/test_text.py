"""The compiler of texts: what it writes does what Python does with the same text."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from plain_loops import SPACE

from tinygrad_rnn.kernels import compiles, numbers
from tinygrad_rnn.kernels.numbers import Called
from tinygrad_rnn.loops.places import RESERVED

if not compiles():
    pytest.skip("promised of compiled loops only", allow_module_level=True)

from tinygrad_rnn.kernels import text

pytestmark = pytest.mark.compiled

TEXT = """
def forward(length, way, x, table, index, small, flags, out, sums):
    control = flush_denormals()
    done = 0
    for t in range(0, length, 2):
        row = x[t, 1:length - 1]
        for j in range(length - 2):
            v = pick(row[j], 2 * j) if way > 0 else row[j]
            out[t, j] = v / 4 + abs(row[j]) * tanh(v) ** 2
        total = 0.0
        for j in range(length):
            total = plus(total, np.float64(x[t, j]))
        sums[0] += total
        done = done + min(2, length - t)
    for k in range(index.size):
        target = out.reshape(-1)
        target[k] -= table[index[k], 0] / done
        small[k] = np.uint8(small[k] * 3) - np.uint8(k)
        flags[k] = (small[k] > 100) ^ flags[k]
    sums[1] = larger(sums[0], f64(done))
    restore(control)
"""


def pick(x, j):
    """A function of numbers that branches."""
    if x < 0.5:
        return 0.25 if x > -0.5 else x * 2.0
    return np.sqrt(x) + j


def one_tanh(called, x):
    """The library's of float64, alone: NumPy's differs by an ulp, and terms of the text cancel."""
    given, out = np.full(1, x), np.zeros(1, x.dtype)
    source = "def one(length, x, out):\n    out[0] = tanh(x[0])\n"
    text.function(source, 1, [(x.dtype, 1)] * 2, called)(1, (given, out))
    return out[0]


def arrays(dtype):
    rng = np.random.default_rng(0)
    x, table = (rng.normal(size=shape).astype(dtype) for shape in ((6, 6), (4, 1)))
    index = np.array([-1, 3, 0, -4, 2])
    small, flags = np.arange(40, 200, 32, np.uint8), np.arange(5) % 2 > 0
    return [x, table, index, small, flags, np.zeros((6, 4), dtype), np.zeros(2)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("way", [1, -1])
def test_a_text_does_what_python_does_with_it(dtype, way):
    called = {
        "pick": Called(pick, np.dtype(dtype)),
        "tanh": Called(numbers.tanh, np.dtype(dtype)),
    }
    ours, theirs = arrays(dtype), arrays(dtype)
    function = text.function(TEXT, 2, [(a.dtype, a.ndim) for a in ours], called)
    function(6, way, tuple(ours))
    tanh = np.tanh if dtype is np.float32 else partial(one_tanh, {"tanh": called["tanh"]})
    space = SPACE | {"pick": numbers.typed(pick, np.dtype(dtype)), "tanh": tanh}
    exec(TEXT, space)
    with np.errstate(over="ignore"):
        space["forward"](6, way, *theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=4 * np.finfo(dtype).eps)
    assert ours[-1][1] == max(ours[-1][0], 6)


def test_names_mean_nothing():
    """Arrays that go by what a text is made to call."""
    source = """
def forward(keep, kept, choose):
    y = keep[0]
    y = kept[0] if y > 0.0 else y
    choose[0] = y
"""
    given = [np.array([2.0]), np.array([3.0]), np.zeros(1)]
    text.function(source, 0, [(a.dtype, 1) for a in given], {})(tuple(given))
    assert given[-1] == 3.0
    assert {*text.words(None)} <= RESERVED


@pytest.mark.parametrize(
    "line", ["x[0] = y", "x[:] = 0.0", "x[0] = math(x[0])", "x[0] = x[0] // 2", "while x: pass"]
)
def test_what_a_text_does_not_say_is_unknown(line):
    source = f"def forward(x):\n    {line}\n"
    called = {"math": Called(lambda x: np.spacing(x), np.dtype(float))}
    with pytest.raises(text.Unknown):
        text.written(source, 0, [(np.dtype(float), 1)], called)


def test_what_somebody_else_has_written_is_unknown():
    called = {"op_f": Called(lambda x: x, np.dtype(float), ("code",))}
    with pytest.raises(text.Unknown):
        text.written("def forward(x):\n    x[0] = op_f(x[0])\n", 0, [(np.dtype(float), 1)], called)


def test_the_first_gradient_of_a_process_needs_no_numba():
    """Importing it, and setting it up, takes longer than to compile a loop."""
    code = """
import sys, numpy as np, tinygrad_rnn as tg
w = tg.tensor(np.eye(3), requires_grad=True)
tg.scan(lambda h: tg.tanh(h @ w), np.ones((2, 3)), None, length=3)[0].sum().backward()
assert w.grad is not None and "llvmlite" in sys.modules
print([name for name in ("numba", "scipy") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]" and not out.stderr
