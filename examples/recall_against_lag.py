"""Recall against lag: "I live in China ... I speak Chinese", with ever more in between (S31).

    python examples/recall_against_lag.py [--quick]

The first symbol of a row is asked for after the last; all between are noise. For each lag and each
kind of cell a network learns from nothing, by the gradient that arrives over that lag. A fresh
GRU keeps half of what it knew at each step, a fresh LSTM σ(1) = 0.73; with a larger bias of its
forget gate it begins with σ(4) = 0.98, and so do the LSTMs under one kind of dropout each. Guesses
are right once in eight times. Where a network begins to guess moves with its seed; here each has
one. It takes a minute, and draws two charts: cells, and dropout.
"""

import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

QUICK = "--quick" in sys.argv
LAGS, UPDATES = ((2, 5), 50) if QUICK else ((5, 10, 20, 40, 60, 80), 300)
SYMBOLS, HIDDEN, BATCH, P = 8, 32, 32, 0.2
INPUTS = 2 * SYMBOLS  # those that decide, and those that mean nothing
began = time.perf_counter()


class EachStep(nn.Modifier):
    """The state is cut again at every step, which is what not to do: all is lost in the end."""

    def __init__(self, cell, p, rng):
        super().__init__(cell)
        self.dropout = nn.Dropout(p, rng=rng)

    def step(self, x, *state):
        return self.cell.advance(x, *[self.dropout(s) for s in state])


def lstm(rng, bias=4):
    return nn.LSTM(INPUTS, HIDDEN, forget_bias=bias, rng=rng)


KINDS = {
    "RNN": lambda rng: nn.RNN(INPUTS, HIDDEN, rng=rng),
    "RNN, TimeSkip": lambda rng: nn.TimeSkip(nn.RNN(INPUTS, HIDDEN, rng=rng), 5),
    "GRU": lambda rng: nn.GRU(INPUTS, HIDDEN, rng=rng),
    "LSTM, f = 0.98": lstm,
    "LSTM, f = 0.73": lambda rng: lstm(rng, 1),
    "feed-forward": lambda rng: nn.FeedforwardDropout(lstm(rng), P, rng=rng),
    "each step": lambda rng: EachStep(lstm(rng), P, rng),
    "variational": lambda rng: nn.VariationalDropout(lstm(rng), inputs=P, state=P, rng=rng),
    "DropConnect": lambda rng: nn.DropConnect(lstm(rng), P, rng=rng),
    "Zoneout": lambda rng: nn.Zoneout(lstm(rng), h=P, c=P, rng=rng),
}


def sequences(rng, lag, count):
    """One-hot symbols (lag + 1, count, 2 · SYMBOLS), and the first of each."""
    x = rng.integers(SYMBOLS, INPUTS, (lag + 1, count))
    x[0] = rng.integers(SYMBOLS, size=count)
    return data.one_hot(x, INPUTS), x[0]


def recall(make, lag):
    """The share of symbols that a network recalls after a lag, once it has learnt."""
    rng = np.random.default_rng(0)
    cell, output = make(rng), nn.Linear(HIDDEN, SYMBOLS, rng=rng)
    optimizer = optim.Adam([*cell.parameters(), *output.parameters()], lr=3e-3)
    for _ in range(UPDATES):
        x, y = sequences(rng, lag, BATCH)
        h, _ = cell(x, readout="last")
        loss = tg.cross_entropy(output(h), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = sequences(rng, lag, 1000)
    with tg.no_grad():
        h, _ = cell.eval()(x, readout="last")
    return (output(h).data.argmax(-1) == y).mean()


print("lag            " + "".join(f"{lag:7}" for lag in LAGS))
curves = {}
for name, make in KINDS.items():
    curves[name] = LAGS, [recall(make, lag) for lag in LAGS]
    print(f"{name:15}" + "".join(f"{share:7.3f}" for share in curves[name][1]))

lost = [lag for lag, share in zip(*curves["RNN"], strict=True) if share < 2 / SYMBOLS]
print("the RNN guesses" + (f" from lag {lost[0]} on" if lost else " nowhere"))
for file, names in (("recall_cells.svg", [*KINDS][:4]), ("recall_dropout.svg", [*KINDS][-4:])):
    chosen = {name: curves[name] for name in names}
    tg.view.curve(chosen, title="share recalled", x_label="lag").save(file)
    print(f"wrote {file} after {time.perf_counter() - began:.0f} s")
