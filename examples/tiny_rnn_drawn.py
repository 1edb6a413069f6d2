"""A tiny recurrent network, its gradients, and their graph, as a picture.

python examples/tiny_rnn_drawn.py [FILE.svg]
"""

import sys

import numpy as np

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
cell, output = tg.nn.RNN(2, 3, rng=rng), tg.nn.Linear(3, 2, rng=rng)

xs = tg.tensor(rng.normal(size=(3, 1, 2)), dtype=np.float32, name="x")
hs, _ = cell(xs, unroll=True)  # every step recorded, not one compiled loop
loss = tg.cross_entropy(output(hs), [[0], [1], [0]])
loss.backward(retain_graph=True)  # keep the graph, and every gradient on it, for the picture

path = sys.argv[1] if len(sys.argv) > 1 else "tiny_rnn.svg"
tg.draw(loss, title="a tiny RNN over three steps").save(path)
print(f"loss {loss.item():.4f}; wrote {path}")
