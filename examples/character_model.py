"""A character model from the parts, in one page: embed, recur, predict, learn, write.

    python examples/character_model.py [TEXT]

Without TEXT it reads the language reference that every Python carries. It learns for about half a
minute, prints its loss in bits per character, and then writes a few lines of its own.
"""

import math
import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

BATCH, WINDOW, EPOCHS = 32, 64, 3

text = data.read_text(sys.argv[1]) if len(sys.argv) > 1 else data.default_text()
vocabulary = data.Vocabulary(text)
index = vocabulary.encode(text)


class Writer(nn.Module):
    def __init__(self, symbols, size=192):
        rng = np.random.default_rng(0)
        self.embedding = nn.Embedding(symbols, 48, rng=rng)
        self.cell = nn.GRU(48, size, bias=True, rng=rng)
        self.output = nn.Linear(size, symbols, rng=rng)

    def __call__(self, index, state=None):
        hs, state = self.cell(self.embedding(index), state)
        return self.output(hs), state

    def loss(self, x, y, state):
        logits, state = self(x, state)
        return tg.cross_entropy(logits, y), state


model = Writer(len(vocabulary))
optimizer = optim.Adam(model)
total = EPOCHS * len(list(data.windows(index, BATCH, WINDOW)))
print(f"{len(index):,} characters, {nn.count_parameters(model):,} parameters, {total} windows")


def schedule(step):
    return optim.cosine(step, peak=4e-3, total=total, warmup=total // 30)


for epoch in range(EPOCHS):
    windows = data.windows(index, BATCH, WINDOW)
    updates = optim.truncated_bptt(model.loss, windows, optimizer, max_norm=1.0, schedule=schedule)
    bits = [update.loss / math.log(2) for update in updates]
    print(f"epoch {epoch + 1}: {np.mean(bits[-50:]):.3f} bits per character")

rng, symbol, state = np.random.default_rng(0), vocabulary.encode(text[0])[0], None
for _ in range(300):
    with tg.no_grad():
        logits, state = model([[symbol]], state)
    chances = tg.softmax(logits.data[0, 0].astype(np.float64) / 0.7)
    symbol = rng.choice(len(chances), p=chances / chances.sum())
    print(vocabulary.decode(symbol), end="")
print()
