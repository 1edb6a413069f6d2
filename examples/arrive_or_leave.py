"""Arrive or leave: the same city is where one goes or where one is from, by a word before it (S30).

    python examples/arrive_or_leave.py [--quick]

An LSTM reads made-up sentences such as "they leave cold busy beijing today", word by word, and says
of each word whether it is a destination, an origin, or neither, which *beijing* alone cannot tell.
It is tested at distances that it was not taught. Then two sentences are taken apart: the gates at
each word, which do much the same in both, and what each word spoke for: its gradient times what
sets it apart from the average word. (Without the decay of weights it answers as well, but these
numbers are less plain.) It takes a few seconds, and draws the graph of one sentence.
"""

import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

UPDATES = 130 if "--quick" in sys.argv else 600
WHO, WHEN = ["i", "you", "she", "we", "they"], ["today", "tomorrow", "soon", "now", "later"]
VERBS = {"reach": 1, "enter": 1, "visit": 1, "leave": 2, "quit": 2, "escape": 2}
LIKE = ["old", "cold", "busy", "warm", "quiet", "great", "far", "green"]
CITIES = ["beijing", "shanghai", "chengdu", "harbin", "lhasa", "wuhan"]
WORDS = [*WHO, *VERBS, *LIKE, *CITIES, *WHEN, "and"]
TAGS = ["-", "destination", "origin"]
began = time.perf_counter()


def clause(rng, distance):
    """Words and tags, with so many words between the verb and its city."""
    verb, like = rng.choice(list(VERBS)), rng.choice(LIKE, distance)
    words = [rng.choice(WHO), verb, *like, rng.choice(CITIES), rng.choice(WHEN), "and"]
    return words, [0, 0, *[0] * distance, VERBS[verb], 0, 0]


def sentences(rng, count, low, high):
    """Word numbers and tags (T, B), and lengths, of sentences with one or two clauses."""
    xs, ys = [], []
    for _ in range(count):
        clauses = [clause(rng, rng.integers(low, high + 1)) for _ in range(rng.integers(1, 3))]
        xs.append([WORDS.index(word) for words, _ in clauses for word in words][:-1])
        ys.append([tag for _, tags in clauses for tag in tags][:-1])
    (x, lengths), (y, _) = data.pad(xs), data.pad(ys)
    return x, y, lengths


rng = np.random.default_rng(0)
embedding, cell = nn.Embedding(len(WORDS), 8, rng=rng), nn.LSTM(8, 16, rng=rng)
output = nn.Linear(16, len(TAGS), rng=rng)
parts = [*embedding.parameters(), *cell.parameters(), *output.parameters()]
optimizer = optim.AdamW(parts, lr=0.01, weight_decay=0.3)
for _ in range(UPDATES):
    x, y, lengths = sentences(rng, 32, 0, 5)
    hs, _ = cell(embedding(x), lengths=lengths)
    loss = tg.cross_entropy(output(hs), y, mask=data.mask_of(lengths, len(x)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

for low, high in ((0, 5), (6, 10), (11, 20)):
    x, y, lengths = sentences(rng, 500, low, high)
    with tg.no_grad():
        hs, _ = cell(embedding(x), lengths=lengths)
        right = (output(hs).data.argmax(-1) == y)[y > 0].mean()
    print(f"{low:2} to {high:2} words between verb and city: {right:.4f} of the cities right")


def take_apart(sentence):
    """Print gates and gradients, and return the log odds of the last word as a destination."""
    average, words = embedding.table.data.mean(0), []
    for word in sentence.split():
        vector = embedding.table.data[[WORDS.index(word)]]
        words.append(tg.tensor(vector, requires_grad=True, name=word))
    hs, _, gates = cell(tg.stack(words), return_gates=True, unroll=True)
    logits = output(hs[-1])
    odds = logits[0, 1] - logits[0, 2]
    odds.backward(retain_graph=True)
    print(f"\n{word}: {TAGS[logits.data.argmax()]}, log odds of a destination {odds.item():+.2f}")
    print("mean gates" + "".join(f"{name:>8}" for name in gates) + "   spoke for")
    for t, word in enumerate(words):
        means = "".join(f"{gate.data[t].mean():8.2f}" for gate in gates.values())
        spoke = np.sum(word.grad.data * (word.data - average))
        print(f"{word.name:10}{means}{spoke:+12.2f}")
    return odds


for sentence in ("we reach cold busy beijing", "we leave cold busy beijing"):
    odds = take_apart(sentence)
picture = tg.draw(odds, first=5, title=f"{sentence}: destination (+) or origin (-)?")
picture.save("arrive_or_leave.svg")
print(f"\nwrote arrive_or_leave.svg after {time.perf_counter() - began:.0f} s")
