"""00 Five minutes: train, sample, open the page

There is nothing to fill in here. Run this file, with Python or with

    tinygrad-rnn course check 00

A small network reads a text, letter by letter, and learns to foresee the next letter. Then it
writes by itself. Open what this leaves in the folder five_minutes, and then change something: the
text, the size, the number of rounds.
"""

from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

TEXT = """
one small wave, two small waves, three small waves upon the sand.
one white gull, two white gulls, three white gulls above the sand.
one grey stone, two grey stones, three grey stones below the sand.
"""
ROUNDS = 16
FOLDER = Path("five_minutes")

# Letters become numbers, and a network gets one output for each letter.
letters = data.Vocabulary(TEXT)
index = letters.encode(TEXT * 6)
model = nn.LanguageModel(len(letters), cell="gru", embedding=8, hidden=48, rng=0)
optimizer = optim.Adam(model, lr=0.01)

# It reads the text again and again. The loss says how surprised it is by the next letter.
losses = []
for count in range(1, ROUNDS + 1):
    windows = data.windows(index, batch=4, length=24)
    updates = optim.truncated_bptt(model.loss, windows, optimizer, max_norm=1.0)
    losses += [update.loss for update in updates]
    if count % 4 == 0:
        print(f"round {count}: loss {losses[-1]:.2f}")

# It goes on from a few letters, each drawn by the probability that it gives to it.
prompt = letters.encode("one ")
written = model.eval().sample(prompt, 60, temperature=0.4, rng=1)
print(repr(letters.decode([*prompt, *written])))

# A tiny network that has learned nothing yet, so that every number finds a place on the page.
word = "one two"
tiny = nn.LanguageModel(len(letters), cell="rnn", embedding=2, hidden=3, rng=0)
numbers = np.reshape(letters.encode(word), (-1, 1))
loss, _ = tiny.loss(numbers[:-1], numbers[1:])

FOLDER.mkdir(exist_ok=True)
tg.view.curve(losses, x_label="update", y_label="loss").save(FOLDER / "loss.svg")
tg.draw(loss, level="cell", title="Back through six letters").save(FOLDER / "graph.svg")
tg.explain(loss, title="Back through six letters", text=word[:-1]).save(FOLDER / "page.html")
for name in ("loss.svg", "graph.svg", "page.html"):
    print("wrote", FOLDER / name)
