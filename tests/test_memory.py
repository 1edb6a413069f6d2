"""Memory is flat over 1,000 training steps with the garbage collector off."""

import subprocess
import sys

import pytest

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
    early, late = map(int, out.stdout.split())  # kilobytes
    assert late - early < 1024, f"1,000 steps took {late - early} kB"
