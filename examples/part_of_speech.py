"""Parts of speech where context decides (S29): what is before a word, or what is on both sides?

    python examples/part_of_speech.py [--quick]

In "I try to play", *try* is a verb, though by itself it might be a noun. Two taggers of the same
width learn from Cantonese conversations: an LSTM that has read what is before each word, and two of
half its width, one of which has read what is after it. What counts are the ambiguous words of other
conversations, those whose usual tag is right less than nine times in ten: 好 is *good* at the end,
but *very* before another word. It takes half a minute, and draws how the taggers learnt.
"""

import sys
import time
from collections import Counter, defaultdict

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

QUICK = "--quick" in sys.argv
EMBEDDING, WIDTH, BATCH, EPOCHS, RATE = (48, 48, 64, 3, 1e-2) if QUICK else (48, 96, 32, 6, 3e-3)
began = time.perf_counter()
try:
    sentences = data.tagged_sentences()[:: 8 if QUICK else 1]
except ModuleNotFoundError as missing:
    sys.exit(str(missing))
cut = len(sentences) * 9 // 10
train, test = sentences[:cut], sentences[cut:]

seen = defaultdict(Counter)  # how often each word had each tag
for word, tag in (pair for sentence in train for pair in sentence):
    seen[word][tag] += 1
words = ["?", *sorted(word for word in seen if seen[word].total() > 1)]  # "?" is any rare word
tags = sorted({tag for counts in seen.values() for tag in counts})
word_number, tag_number = ({x: k for k, x in enumerate(names)} for names in (words, tags))


def batch(sentences):
    """The numbers of words and of tags, (T, B), and how many of those steps are real."""
    x, lengths = data.pad([[word_number.get(word, 0) for word, _ in s] for s in sentences])
    y, _ = data.pad([[tag_number[tag] for _, tag in s] for s in sentences])
    return x, y, lengths


class Tagger(nn.Module):
    def __init__(self, layer, rng):
        self.embedding = nn.Embedding(len(words), EMBEDDING, rng=rng)
        self.layer, self.dropout = layer, nn.Dropout(0.3, rng=rng)
        self.output = nn.Linear(layer.outputs, len(tags), rng=rng)

    def __call__(self, x, lengths):
        ys, _ = self.layer(self.dropout(self.embedding(x)), lengths=lengths)
        return self.output(self.dropout(ys))


def train_epoch(model, optimizer, rng):
    model.train()
    for index in data.buckets([len(s) for s in train], BATCH, rng=rng):
        x, y, lengths = batch([train[k] for k in index])
        loss = tg.cross_entropy(model(x, lengths), y, mask=data.mask_of(lengths, len(x)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


x, y, lengths = batch(test)
counts = [seen.get(word, Counter(NOUN=1)) for word in words]
usual = np.array([tag_number[count.most_common(1)[0][0]] for count in counts])
sure = np.array([max(count.values()) / count.total() for count in counts])
real = data.mask_of(lengths, len(x))
kinds = {"all": real, "ambiguous": real & (sure[x] < 0.9), "好": real & (x == word_number["好"])}


def right(guess):
    """Which share of the words of each kind has the right tag."""
    return [(guess == y)[kind].mean() for kind in kinds.values()]


print("right tags      " + "".join(f"{k} ({kind.sum():,})".rjust(18) for k, kind in kinds.items()))
print("the usual tag   " + "".join(f"{share:18.3f}" for share in right(usual[x])))

epochs = range(1, EPOCHS + 1)
curves = {"the usual tag": (epochs, [right(usual[x])[1]] * EPOCHS)}
rng, half = np.random.default_rng(0), WIDTH // 2
before = nn.LSTM(EMBEDDING, WIDTH, rng=rng)
both = nn.Bidirectional(nn.LSTM(EMBEDDING, half, rng=rng), nn.LSTM(EMBEDDING, half, rng=rng))
for name, layer in (("what is before", before), ("both sides", both)):
    model, shares = Tagger(layer, rng), []
    optimizer = optim.Adam(model)
    for epoch in range(EPOCHS):
        optimizer.lr = optim.cosine(epoch, peak=RATE, total=EPOCHS)
        train_epoch(model, optimizer, rng)
        with tg.no_grad():
            shares.append(right(model.eval()(x, lengths).data.argmax(-1)))
    print(f"{name:16}" + "".join(f"{share:18.3f}" for share in shares[-1]))
    curves[name] = epochs, [ambiguous for _, ambiguous, _ in shares]
tg.view.curve(curves, title="ambiguous words right", x_label="epoch").save("part_of_speech.svg")
print(f"wrote part_of_speech.svg after {time.perf_counter() - began:.0f} s")
