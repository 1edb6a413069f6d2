"""What a new process waits for: the import, and the first gradient of a layer or of a step."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
IMPORT = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"

# The first gradient of an LSTM layer; what it takes after the imports is printed.
LAYER = {
    "ours": """
import time, numpy as np, tinygrad_rnn as tg
cell, xs = tg.nn.LSTM(64, 64), np.ones((35, 32, 64), np.float32)
start = time.perf_counter()
cell(xs)[0].sum().backward()
print(time.perf_counter() - start)
assert cell.Wx.grad is not None
""",
    "torch": """
import time, torch
cell, xs = torch.nn.LSTM(64, 64), torch.ones(35, 32, 64)
start = time.perf_counter()
cell(xs)[0].sum().backward()
print(time.perf_counter() - start)
""",
    "jax": """
import time, jax, jax.numpy as jnp
def step(w, carry, x):
    h, c = carry
    i, f, g, o = jnp.split(x @ w["x"] + h @ w["h"] + w["b"], 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h
def loss(w, xs):
    h = jnp.zeros((32, 64))
    return jax.lax.scan(lambda carry, x: step(w, carry, x), (h, h), xs)[1].sum()
w = {"x": jnp.ones((64, 256)), "h": jnp.ones((64, 256)), "b": jnp.ones(256)}
xs = jnp.ones((35, 32, 64))
start = time.perf_counter()
jax.block_until_ready(jax.jit(jax.grad(loss))(w, xs))
print(time.perf_counter() - start)
""",
}

# Seconds of the first value and gradient of a step, after the imports; {ops} pointwise ops and two
# products. Each op of the chain reads the one before.
STEP = {
    "ours": """
import time, warnings
import numpy as np, tinygrad_rnn as tg
warnings.simplefilter("error")  # a step that is not compiled says so
wx, wh = (tg.tensor(np.eye(32, dtype=np.float32) * 0.5, requires_grad=True) for _ in "ab")
def step(x, h):
    a = x @ wx + h @ wh
    for k in range({ops} // 3):
        a = tg.tanh(a) * x + h
    return a
xs, h = np.ones((35, 8, 32), np.float32), np.zeros((8, 32), np.float32)
start = time.perf_counter()
ys = tg.scan(step, h, xs)[0]
ys.sum().backward()
print(time.perf_counter() - start)
assert wx.grad is not None
""",
    "jax": """
import time
import jax, jax.numpy as jnp
w = {{n: jnp.eye(32) * 0.5 for n in "xh"}}
def loss(w, xs):
    def step(h, x):
        a = x @ w["x"] + h @ w["h"]
        for k in range({ops} // 3):
            a = jnp.tanh(a) * x + h
        return a, a
    return jax.lax.scan(step, jnp.zeros((8, 32)), xs)[1].sum()
xs = jnp.ones((35, 8, 32))
start = time.perf_counter()
jax.block_until_ready(jax.jit(jax.value_and_grad(loss))(w, xs))
print(time.perf_counter() - start)
""",
}

# The same of GradBench's `lstm`, whose model is said once for both.
LEAGUE = """
import time
from gradbench import evaluations, lstm
given = lstm.example({layers}, 1024)
run = {run}
start = time.perf_counter()
run()
print(time.perf_counter() - start)
"""
IN = {
    "ours": 'evaluations.prepared("lstm", "jacobian", given)[0]',
    "jax": "lstm.in_jax(given)",
}


def first_layer(who):
    """Seconds of the first gradient of an LSTM layer in a process whose cache is empty."""
    return _first(LAYER[who])


def first_step(who, ops):
    """Of the first value and gradient of a step of so many ops, likewise."""
    return _first(STEP[who].format(ops=ops))


def first_of_league(who, layers):
    """Of the first gradient of GradBench's `lstm`, likewise."""
    return _first(LEAGUE.format(layers=layers, run=IN[who]))


def _first(code):
    with tempfile.TemporaryDirectory() as cache:
        return float(_run(code, cache)[0])


def imported(library):
    """Seconds of one import in a fresh process."""
    return float(_run(IMPORT.format(library))[0])


def process(who, cache=None):
    """Seconds from the start of a process to its end with one gradient of an LSTM layer."""
    return _run(LAYER[who], cache)[1]


def _run(code, cache=None):
    own = {"NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": cache} if cache else {}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))
    start = time.perf_counter()
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, env=os.environ | own)
    spent = time.perf_counter() - start
    if out.returncode:
        raise RuntimeError((out.stderr.strip() or "no message").splitlines()[-1])
    return out.stdout, spent
