"""Learning at every step of a run, forward in time: real-time recurrent learning.

python examples/rtrl_online.py [--quick] [FILE.svg]
"""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

quick = "--quick" in sys.argv
path = next((word for word in sys.argv[1:] if word != "--quick"), "rtrl_online.svg")
STEPS, H = 1000 if quick else 4000, 8

# Three ways to one gradient: backward through all steps, as layers are trained; forward in time,
# with no step kept; and by differences, which know no rule.
print("a GRU over 5 steps: how far apart three gradients are, as shares of the largest number")
print(tg.lab.assert_agree(nn.GRU(2, 4, rng=0)))

# Williams and Zipser's first task: bits come one by one, and the answer is whether two of them
# differ that are gone already.
bits = np.random.default_rng(1).integers(0, 2, STEPS)
xs = bits.reshape(STEPS, 1, 1) - 0.5


class Cut(nn.Modifier):
    """A cell whose state counts as given, so that its weights learn from the latest step alone."""

    def step(self, x, *state):
        return super().step(x, *[h.detach() for h in state])


def learn(cut):
    """The loss of each step; each is done with the weights that the one before has left."""
    model = nn.Module()
    model.cell = nn.RNN(1, H, dtype=np.float64, rng=0)
    model.output = nn.Linear(H, 1, dtype=np.float64, rng=0)
    adam, losses = optim.Adam(model, lr=0.01), []

    def loss(y, t):
        answer = np.full((1, 1), float(t > 1 and bits[t - 1] != bits[t - 2]))
        return tg.binary_cross_entropy_with_logits(model.output(y), answer)

    cell = Cut(model.cell) if cut else model.cell
    for cost, gradients, _ in tg.lab.rtrl_steps(cell, xs, loss, weights=model):
        for name, W in model.named_parameters():
            W.grad = gradients[name]
        adam.step()
        losses.append(cost)
    return losses


window = STEPS // 20
means = {}
for name, cut in (("with influence", False), ("latest step alone", True)):
    parts = np.reshape(learn(cut), (-1, window)).mean(1)
    means[name] = (window * np.arange(1, len(parts) + 1), parts)
    print(f"{name:18} loss of the first {window} steps {parts[0]:.3f}, of the last {parts[-1]:.3f}")

tg.view.curve(means, title="did they differ?", x_label="step", y_label="cross-entropy").save(path)
print(f"a coin costs {np.log(2):.3f}; wrote {path}")
