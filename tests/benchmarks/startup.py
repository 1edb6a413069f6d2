"""What a new process waits for: the import, and the first gradient of an LSTM layer."""

import os
import statistics
import subprocess
import sys
import tempfile
import time

IMPORT = "import time; s = time.perf_counter(); import {}; print(time.perf_counter() - s)"

GRADIENT = {
    "ours": """
import numpy as np, tinygrad_rnn as tg
cell = tg.nn.LSTM(64, 64)
ys, _ = cell(np.ones((35, 32, 64), np.float32))
ys.sum().backward()
assert cell.Wx.grad is not None
""",
    "torch": """
import torch
cell = torch.nn.LSTM(64, 64)
ys, _ = cell(torch.ones(35, 32, 64))
ys.sum().backward()
""",
    "jax": """
import jax, jax.numpy as jnp
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
jax.block_until_ready(jax.jit(jax.grad(loss))(w, jnp.ones((35, 32, 64))))
""",
}


def imported(library, count):
    """Seconds of one import in a fresh process: the median."""
    return statistics.median(float(_run(IMPORT.format(library))[0]) for _ in range(count))


def first_gradient(who, count, cache=None):
    """Seconds from the start of a process to its end with one gradient: the median."""
    return statistics.median(_run(GRADIENT[who], cache)[1] for _ in range(count))


def empty_and_warm(count):
    """The same for ours, with an empty Numba cache and with one that has been filled."""
    empty, warm = [], []
    for _ in range(max(1, count // 2)):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(_run(GRADIENT["ours"], cache)[1])
            warm += [_run(GRADIENT["ours"], cache)[1] for _ in range(2)]
    return statistics.median(empty), statistics.median(warm)


def _run(code, cache=None):
    own = {"NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": cache} if cache else {}
    start = time.perf_counter()
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, env=os.environ | own)
    spent = time.perf_counter() - start
    if out.returncode:
        raise RuntimeError((out.stderr.strip() or "no message").splitlines()[-1])
    return out.stdout, spent
