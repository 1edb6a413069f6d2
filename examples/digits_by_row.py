"""Handwritten digits read row by row, as one reads a page: by one network, and by several (S28).

    python examples/digits_by_row.py [--quick]

An image of 8 × 8 is a sequence of 8 steps with 8 numbers each, and only what the network remembers
after the last row says which digit it was. Half of the images are held out. It takes ten seconds,
prints the digits that were hardest to read, and draws what was known after fewer rows.
"""

import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

EPOCHS = 4 if "--quick" in sys.argv else 60
HIDDEN, BATCH, READERS = 32, 32, 5
began = time.perf_counter()

try:
    images, digits = data.digits()
except ModuleNotFoundError as missing:
    sys.exit(str(missing))
rows = images.swapaxes(0, 1)  # (8 steps, 1797 images, 8 numbers)
test, train = np.array_split(np.random.default_rng(0).permutation(len(digits)), 2)


class Reader(nn.Module):
    def __init__(self, rng):
        self.layer = nn.Recurrent(nn.LSTM(8, HIDDEN, rng=rng), readout="last")
        self.dropout = nn.Dropout(0.3, rng=rng)
        self.output = nn.Linear(HIDDEN, 10, rng=rng)

    def __call__(self, rows):
        h, _ = self.layer(rows)
        return self.output(self.dropout(h))


def learn(model, rng):
    optimizer = optim.Adam(model, lr=5e-3)
    for epoch in range(EPOCHS):
        optimizer.lr = optim.cosine(epoch, peak=5e-3, total=EPOCHS)
        for index in np.array_split(rng.permutation(train), len(train) // BATCH):
            loss = tg.cross_entropy(model(rows[:, index]), digits[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def accuracy(model, count=8):
    """The share of held-out images of which the first `count` rows give the digit away."""
    with tg.no_grad():
        guess = model(rows[:count, test]).data.argmax(-1)
    return (guess == digits[test]).mean()


rngs = [np.random.default_rng(seed) for seed in range(READERS)]
readers = [learn(Reader(rng), rng) for rng in rngs]
together = nn.Ensemble(*readers, output=tg.softmax)  # the mean of their chances
for reader in readers:
    print(f"one reader: {accuracy(reader):.4f} of {len(test)} new images right")
print(f"{READERS} together: {accuracy(together):.4f}")

with tg.no_grad():
    chances = together(rows[:, test]).data
hardest = np.argsort(chances[np.arange(len(test)), digits[test]])[:3]
for k in hardest:
    print(f"\na {digits[test[k]]} that was taken for a {chances[k].argmax()}:")
    for row in images[test[k]]:
        print("  " + "".join(" ░▒▓█"[int(4 * grey)] * 2 for grey in row))

counts = range(1, 9)
curves = {
    "one reader": (counts, [accuracy(readers[0], count) for count in counts]),
    f"{READERS} together": (counts, [accuracy(together, count) for count in counts]),
}
title = "share of digits read after so many rows"
tg.view.curve(curves, title=title, x_label="rows").save("digits_by_row.svg")
print(f"\nwrote digits_by_row.svg after {time.perf_counter() - began:.0f} s")
