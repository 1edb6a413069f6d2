"""Memory is flat over 1,000 training steps with the garbage collector off."""

import gc
import subprocess
import sys

import numpy as np
import pytest

from tinygrad_rnn import nn, optim

STEPS = """
import gc, resource
gc.disable()
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

model = nn.LanguageModel(20, cell="lstm", embedding=16, hidden=64, rng=0)
optimizer = optim.Adam(model)
text = np.random.default_rng(0).integers(0, 20, 8 * 8 * 1201 + 1)
peaks = []
windows = tg.data.windows(text, 8, 8)
for k, update in enumerate(optim.truncated_bptt(model.loss, windows, optimizer, max_norm=1.0)):
    if k in (200, 1200):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module reads the peak memory")
def test_memory_is_flat_over_a_thousand_steps():
    out = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    early, late = map(int, out.stdout.split())
    grown = (late - early) * (1 if sys.platform == "darwin" else 1024)  # bytes there, kB elsewhere
    assert grown < 2**20, f"1,000 steps took {grown} bytes"


@pytest.mark.parametrize("how", [{}, {"unroll": True}, {"lengths": [3, 5]}, {"checkpoint": "sqrt"}])
def test_a_training_step_leaves_no_cycles(how):
    """What reference counting cannot free would pile up until the collector comes by."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(5, 2, 4)).astype(np.float32)
    cell = nn.LSTM(4, 4, rng=0)
    cut = nn.VariationalDropout(nn.DropConnect(cell, 0.2), inputs=0.2, state=0.3)
    cell = nn.Residual(nn.Zoneout(cut, h=0.1))
    optimizer = optim.Adam(cell)

    def step():
        loss = (cell(xs, **how)[0] ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step(), step()
    gc.disable()
    gc.freeze()  # what was there before is not walked
    try:
        step()
        assert gc.collect() == 0
    finally:
        gc.enable()
