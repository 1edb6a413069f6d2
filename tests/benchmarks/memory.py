"""Peak memory of a layer over a long sequence, in a process of its own.

python tests/benchmarks/memory.py ours "LSTM" "last state, checkpoint" 4000   # prints megabytes
"""

import ctypes
import gc
import resource
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np

WAYS = {
    "all outputs": {},
    "all outputs, checkpoint": {"checkpoint": "sqrt"},
    "last state": {"readout": "last"},
    "last state, checkpoint": {"readout": "last", "checkpoint": "sqrt"},
    "last state, not recorded": {"readout": "last"},
}
"""What the loss is of, and what a layer of ours is told. All outputs come with the gradient of the
inputs, the last state without."""

KINDS = ("LSTM", "GRU", "RNN", "LSTM, own", "LSTM, two layers", "LSTM, both ways")

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@cache
def measured(who, kind, way, steps):
    """Megabytes, taken in a fresh process."""
    command = [sys.executable, __file__, who, kind, way, str(steps)]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError((out.stderr.strip() or "no message").splitlines()[-1])
    return float(out.stdout)


def ours(kind, way, size):
    from ours import lstm

    import tinygrad_rnn as tg

    class Own(tg.nn.Cell):
        state = ("h", "c")

        def __init__(self, inputs, hidden):
            self.inputs, self.hidden = inputs, hidden
            shapes = (inputs, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,)
            self.weights = [tg.tensor(numbers(s) / hidden, requires_grad=True) for s in shapes]

        def step(self, x, h, c):
            return lstm(*self.weights)(x, h, c)

    T, B, H = size
    cells = [tg.nn.LSTM, tg.nn.LSTM] if "two" in kind else [getattr(tg.nn, kind[:4].strip(","))]
    parts = [Own(H, H)] if "own" in kind else [cell(H, H) for cell in cells]
    if "both" in kind:
        parts = [tg.nn.Bidirectional(parts[0], tg.nn.LSTM(H, H))]
    layer = tg.nn.Recurrent(*parts, **WAYS[way])
    xs = tg.tensor(numbers(size), requires_grad="all" in way)
    mix = tg.tensor(numbers((T, B, layer.cells[-1].outputs)))

    def run():
        for x in (xs, *layer.parameters()):
            x.grad = None
        with tg.no_grad() if "not" in way else nullcontext():
            loss = (layer(xs)[0] * mix if "all" in way else layer(xs)[0]).sum()
        if "not" not in way:
            loss.backward()

    return run


def torch(kind, way, size):
    import torch
    from torch import nn

    T, B, H = size
    both, layers = "both" in kind, 2 if "two" in kind else 1
    module = getattr(nn, kind[:4].strip(","))(H, H, layers, bidirectional=both)
    xs = torch.tensor(numbers(size), requires_grad="all" in way)
    mix = torch.tensor(numbers((T, B, H * (1 + both))))

    def run():
        for x in (xs, *module.parameters()):
            x.grad = None
        with torch.no_grad() if "not" in way else nullcontext():
            ys, state = module(xs)
            if "all" in way:
                loss = (ys * mix).sum()
            else:
                loss = (state[0] if kind[:4] == "LSTM" else state)[-1].sum()
            ys = state = None
        if "not" not in way:
            loss.backward()

    return run


def numbers(shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def high_water(restart=False):
    """The most kilobytes this process has held; begin again if asked to and the system can."""
    if restart and MARK.exists():
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
        MARK.write_text("5")
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def main(who, kind, way, steps):
    contender = {"ours": ours, "torch": torch}[who]
    contender(kind, way, (9, 2, 4))()
    run = contender(kind, way, (steps, 32, 128))
    before = high_water(restart=True)
    run()
    run()  # what is kept for the next call counts, whatever it costs then
    print((high_water() - before) / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
