"""Memory is flat over 1,000 training steps with the garbage collector off."""

import gc
import subprocess
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import caches, nn, optim
from tinygrad_rnn.kernels.spare import Spare
from tinygrad_rnn.loops import backward, draft, runtime

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


# -- what a sequence takes, in arrays along time of one state ------------------------------------

T, B, H = 12_000, 4, 8
ONE = T * B * H * 4  # bytes of one such array


class Leaky(nn.Cell):
    """A cell whose derivative reads nothing of its states."""

    def __init__(self, size, dtype):
        self.inputs, self.hidden, self.dtype = size, size, dtype
        self.W = tg.tensor(np.eye(size, dtype=dtype), requires_grad=True)

    def step(self, x, h):
        return 0.5 * h + x @ self.W


class Projected(nn.LSTM):
    """A cell whose output is something else than a state."""

    def output(self, x, h, c):
        return h + x


CELLS = {
    "lstm": lambda n, dtype: nn.LSTM(n, n, dtype=dtype, rng=0),
    "leaky": Leaky,
    "output": lambda n, dtype: Projected(n, n, dtype=dtype, rng=0),
    "both": lambda *how: nn.Bidirectional(CELLS["lstm"](*how), CELLS["lstm"](*how)),
}


def taken(monkeypatch, run):
    """The most that is held at a time while `run` runs twice, in arrays along time.

    What is lent again in the second run counts while nobody has it. The buffers of a block of
    steps, which do not grow with time, are there before.
    """
    run()
    monkeypatch.setattr(runtime, "spare", Spare())
    exactly = lambda size: memoryview(bytearray(size))  # and no large piece to cut it from
    monkeypatch.setattr(sys.modules[Spare.__module__], "_fresh", exactly)
    for program in caches.programs.values():
        getattr(program, "rooms", {}).clear()  # one that cannot be compiled has none
    tracemalloc.start()
    try:
        run()
        run()
        return tracemalloc.get_traced_memory()[1] / ONE
    finally:
        tracemalloc.stop()


def sequence(requires_grad=False):
    xs = np.random.default_rng(0).normal(size=(T, B, H)).astype(np.float32)
    return tg.tensor(xs, requires_grad=requires_grad)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_last_state_alone_takes_no_path(kind, reverse, monkeypatch):
    layer = nn.Recurrent(CELLS[kind](H, np.float32), readout="last", reverse=reverse)
    xs = sequence()

    @tg.no_grad()
    def run():
        return layer(xs)

    peak = taken(monkeypatch, run)
    assert peak < 0.25


@pytest.mark.compiled
@pytest.mark.parametrize(
    "kind, most", [("lstm", 0.2), ("leaky", 0.15), ("output", 0.2), ("both", 0.35)]
)
def test_checkpoints_of_a_loss_of_the_last_state_take_the_root_of_the_steps(
    kind, most, monkeypatch
):
    """Also where the inputs would have a gradient that nobody asks for."""
    layer = nn.Recurrent(CELLS[kind](H, np.float32), readout="last", checkpoint="sqrt")
    weights, xs = list(layer.parameters()), sequence(requires_grad=True)
    peak = taken(monkeypatch, lambda: tg.grad(layer(xs)[0].sum(), weights))
    assert peak < most


@pytest.mark.compiled
@pytest.mark.parametrize(
    "kind, how, most",
    [
        ("lstm", {}, 10.4),  # h, c, five gates, a room, and of the loss its product and gradient
        ("leaky", {}, 3.4),
        ("lstm", {"checkpoint": "sqrt"}, 3.4),
        ("output", {"checkpoint": "sqrt"}, 3.4),
    ],
    ids=str,
)
def test_nothing_is_kept_that_nobody_reads_or_holds(kind, how, most, monkeypatch):
    cell, xs = CELLS[kind](H, np.float32), sequence(requires_grad=True)
    layer, mix = nn.Recurrent(cell, **how), tg.tensor(np.ones((T, B, H), np.float32))
    wanted = [xs, *cell.parameters()]

    def run():
        return tg.grad((layer(xs)[0] * mix).sum(), wanted)

    assert taken(monkeypatch, run) < most


def test_memory_of_nearly_one_size_is_shared():
    """As that of T steps of a gradient and T + 1 of a path."""
    spare = Spare()
    x = spare((1001, 100), np.float32)
    at = x.ctypes.data
    del x
    y = spare((1000, 100), np.float32)
    assert y.ctypes.data == at != spare((1000, 100), np.float32).ctypes.data


@pytest.mark.parametrize("kind", ["lstm", "output", "both"])
@pytest.mark.parametrize("how", [{}, {"reverse": True}, {"checkpoint": 7}], ids=str)
def test_what_is_done_in_stretches_is_what_the_steps_are(kind, how, monkeypatch):
    """More steps than a stretch has, and no whole number of them: the last state and gradients."""
    monkeypatch.setattr(draft, "FORWARD_LINES", 2)
    monkeypatch.setattr(backward, "BACKWARD_LINES", 3)
    layer = nn.Recurrent(CELLS[kind](2, np.float64), readout="last", **how)
    xs = tg.tensor(np.random.default_rng(0).normal(size=(41, 1, 2)), requires_grad=True)

    wanted = [xs, *layer.parameters()]

    def answers(unroll):
        layer.unroll = unroll
        y, state = layer(xs)
        ends = [y, *[s for part in state for s in part]]
        found = tg.grad(tg.concat([end * end for end in ends], axis=1).sum(), wanted)
        return [x.data for x in (*ends, *found)]

    for x, y in zip(answers(False), answers(True), strict=True):
        assert x.shape == y.shape
        assert np.abs(x - y).max() <= 1e-12 * max(1, np.abs(y).max())


@pytest.mark.compiled
def test_old_numbers_of_frozen_weights_are_let_go():
    cell, old = nn.LSTM(4, 4, rng=0).freeze(), []
    for batch in range(1, 5):
        cell.Wx.data = np.full(cell.Wx.shape, batch, np.float32)
        old.append(weakref.ref(cell.Wx._array))
        for _ in range(3):
            cell(np.ones((3, batch, 4), np.float32))
    gc.collect()
    assert [array() is None for array in old] == [True, True, True, False]
