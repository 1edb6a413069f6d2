"""Where in time the gradient dies or grows, by activation and weight; and clipping (S16-S18).

python examples/vanish_and_explode.py [FILE.svg]
"""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

T, H = 40, 24
rng = np.random.default_rng(0)
turn, _ = np.linalg.qr(rng.normal(size=(H, H)))  # keeps lengths: all singular values are 1
xs = rng.normal(size=(T, 1, H))


def lengths(activation, gain):
    """|∂L/∂h(k)| at each step k, for a cotangent of length 1 at the last: what arrives."""
    cell = nn.RNN(H, H, activation=activation, bias=0, dtype=np.float64, rng=0)
    cell.Wh.data = gain * turn
    _, _, (states,) = nn.Recurrent(cell, unroll=True)(xs, return_states=True)
    path = states["h"].inputs  # the state of every step, before they were stacked
    last = tg.tensor(np.full((1, H), H**-0.5))
    found = [tg.grad(path[-1], h, last, retain_graph=True, allow_unused=True) for h in path]
    return np.array([np.linalg.norm(g.data) for g in found])


print("|∂h(T)/∂h(k)|, 30 steps back       gain 0.8      gain 1.0      gain 1.4")
for activation in ("identity", "relu", "tanh", "softsign", "sigmoid", "hard_sigmoid"):
    row = [lengths(activation, gain)[T - 31] for gain in (0.8, 1.0, 1.4)]
    print(f"    {activation:24}" + "".join(f"{size:14.1e}" for size in row))


def training(clip):
    """Losses of a linear network that amplifies, taught to end at 1."""
    cell = nn.RNN(1, 8, activation="identity", dtype=np.float64, rng=0)
    cell.Wh.data = 1.2 * cell.Wh.data
    sgd, losses = optim.SGD(cell, lr=0.02), []
    given = np.random.default_rng(3).normal(size=(20, 4, 1))
    for _ in range(40):
        loss = ((cell(given, readout="last")[0] - 1) ** 2).mean()
        losses.append(loss.item())
        if losses[-1] > 1e30:
            break
        cell.zero_grad()
        loss.backward()
        if clip:
            optim.clip_grad_norm(cell, 1.0)
        sgd.step()
    return losses


free, clipped = training(clip=False), training(clip=True)
print(f"\ntraining without clipping: the loss after step {len(free) - 1} is {free[-1]:.0e}")
print(f"clipped to a norm of 1: {clipped[0]:.0f} becomes {clipped[-1]:.2f} in 40 steps")

path = sys.argv[1] if len(sys.argv) > 1 else "vanish_and_explode.svg"
with np.errstate(divide="ignore"):
    lines = {
        f"{name}, gain {gain}": (range(T), np.log10(lengths(name, gain)))
        for name, gain in (("identity", 1.4), ("relu", 1.4), ("tanh", 1.0), ("sigmoid", 1.0))
    }
tg.view.curve(
    lines,
    title="how much of the gradient arrives at step k",
    x_label="k",
    y_label="log10 |∂h(T)/∂h(k)|",
).save(path)
print(f"wrote {path}")
