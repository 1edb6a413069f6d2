"""Parts of speech where context decides (S29): what is before a word, or what is on both sides?

    python examples/part_of_speech.py [--quick]

In "I try to play", *try* is a verb, though by itself it might be a noun. Two taggers of the same
size learn from Cantonese conversations: an LSTM that has read what is before each word, and two of
half its width, of which one has read what is after it. Held-out conversations are the test; what
counts most are ambiguous words, those that were seen with several tags.
"""

import sys
import time
from collections import Counter, defaultdict

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

QUICK = "--quick" in sys.argv
EMBEDDING, HIDDEN, BATCH, EPOCHS = 48, 96, 32, 1 if QUICK else 5
began = time.perf_counter()

try:
    sentences = data.tagged_sentences()
except ModuleNotFoundError as missing:
    sys.exit(str(missing))
sentences = sentences[:: 16 if QUICK else 1]
cut = len(sentences) * 9 // 10  # other conversations are held out, not other lines of the same
train, test = sentences[:cut], sentences[cut:]

seen = defaultdict(Counter)  # how often each word had each tag
for word, tag in (pair for sentence in train for pair in sentence):
    seen[word][tag] += 1
known = ["?", *sorted(word for word in seen if seen[word].total() > 1)]  # 0: a rare word
tags = sorted({tag for counts in seen.values() for tag in counts})
number, tag_number = ({x: k for k, x in enumerate(names)} for names in (known, tags))


def batch(sentences):
    """Word numbers and tag numbers (T, B), and which of those steps are words."""
    words, lengths = data.pad([[number.get(w, 0) for w, _ in s] for s in sentences])
    answers, _ = data.pad([[tag_number[t] for _, t in s] for s in sentences])
    return words, answers, lengths, data.mask_of(lengths, len(words))


class Tagger(nn.Module):
    def __init__(self, layer, rng):
        self.embedding = nn.Embedding(len(known), EMBEDDING, rng=rng)
        self.dropout, self.layer = nn.Dropout(0.3, rng=rng), layer
        self.output = nn.Linear(layer.outputs, len(tags), rng=rng)

    def __call__(self, words, lengths):
        ys, _ = self.layer(self.dropout(self.embedding(words)), lengths=lengths)
        return self.output(self.dropout(ys))


def accuracy(guess, answers, mask):
    """The share of right tags among the words of a mask."""
    return (guess == answers)[mask].mean()


words, answers, lengths, mask = batch(test)
ambiguous = mask & [[len(seen[known[w]]) > 1 for w in row] for row in words]
usual = np.array([tag_number[seen[w].most_common(1)[0][0]] if w in seen else 0 for w in known])
usual[0] = tag_number["NOUN"]
print(f"{len(train):,} utterances; {ambiguous.sum():,} of {mask.sum():,} test words are ambiguous")
print("                     all words   ambiguous")
scores = [accuracy(usual[words], answers, where) for where in (mask, ambiguous)]
print("the usual tag        {:9.4f}   {:9.4f}".format(*scores))

rng, curves = np.random.default_rng(0), {}
half = HIDDEN // 2
for name, layer in {
    "what is before": nn.LSTM(EMBEDDING, HIDDEN, rng=rng),
    "both sides": nn.Bidirectional(
        nn.LSTM(EMBEDDING, half, rng=rng), nn.LSTM(EMBEDDING, half, rng=rng)
    ),
}.items():
    model = Tagger(layer, rng)
    optimizer = optim.Adam(model, lr=3e-3)
    curves[name] = ([], [])
    for epoch in range(EPOCHS):
        model.train()
        for index in data.buckets([len(s) for s in train], BATCH, rng=rng):
            x, y, steps, real = batch([train[k] for k in index])
            loss = tg.cross_entropy(model(x, steps), y, mask=real)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tg.no_grad():
            guess = model.eval()(words, lengths).data.argmax(-1)
        scores = [accuracy(guess, answers, where) for where in (mask, ambiguous)]
        print(f"{name:20} {scores[0]:9.4f}   {scores[1]:9.4f}   epoch {epoch+1}  {time.perf_counter()-began:.0f}s loss {loss.item():.3f}")
