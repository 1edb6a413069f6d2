"""Dates as people write them, turned into ISO 8601 by an encoder and a decoder (S32).

    python examples/dates.py [--quick]

An LSTM reads "5 de marzo de 2024" character by character, and its last state is all that a second
LSTM knows when it writes "2024-03-05". In training the decoder reads the right characters, whatever
it would have written itself (teacher forcing), and so runs as one compiled loop; later it reads
its own. Days that it never saw in any language are the test. It takes a minute, and draws how
many dates were written without a mistake.
"""

import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

COUNT, EPOCHS = (80, 2) if "--quick" in sys.argv else (1500, 12)
EMBEDDING, HIDDEN, BATCH = 32, 128, 64
LOCALES = ("de", "en", "es", "fr", "it", "ja", "nl", "zh")
began = time.perf_counter()
rng = np.random.default_rng(0)
try:
    pairs = {locale: sorted(set(data.dates(COUNT, rng, [locale]))) for locale in LOCALES}
except ModuleNotFoundError as missing:
    sys.exit(str(missing))
everything = [pair for locale in LOCALES for pair in pairs[locale]]
days = sorted({day for _, day in everything})
new = set(rng.choice(days, len(days) // 10, replace=False))
train = [(text, day) for text, day in everything if day not in new]
letters = data.Vocabulary("".join(text for text, _ in everything))
figures = data.Vocabulary("^-0123456789")  # ^ stands before the first


def encoded(pairs):
    """Characters (T, B), their lengths, and what is to be written, (11, B), with ^ before it."""
    x, lengths = data.pad([letters.encode(text) for text, _ in pairs])
    return x, lengths, np.stack([figures.encode("^" + day) for _, day in pairs], 1)


class Translator(nn.Module):
    def __init__(self, rng):
        self.letters = nn.Embedding(len(letters), EMBEDDING, rng=rng)
        self.figures = nn.Embedding(len(figures), EMBEDDING, rng=rng)
        self.encoder = nn.LSTM(EMBEDDING, HIDDEN, rng=rng)
        self.decoder = nn.LSTM(EMBEDDING, HIDDEN, rng=rng)
        self.output = nn.Linear(HIDDEN, len(figures), rng=rng)

    def read(self, x, lengths):
        """The state after each text's own last character."""
        return self.encoder(self.letters(x), lengths=lengths)[1]

    def write(self, before, state):
        """Logits of what follows each character that was written, and the state to go on with."""
        hs, state = self.decoder(self.figures(before), state)
        return self.output(hs), state

    def translate(self, x, lengths):
        """The likeliest character, ten times, each read before the next is written."""
        written, state = [figures.encode("^" * len(lengths))], self.read(x, lengths)
        for _ in range(10):
            logits, state = self.write(written[-1][None], state)
            written.append(logits.data[0].argmax(-1))
        return np.stack(written)


model, right = Translator(rng), []
optimizer = optim.Adam(model)
x_new, lengths_new, y_new = encoded([pair for pair in everything if pair[1] in new])
for epoch in range(EPOCHS):
    optimizer.lr = optim.cosine(epoch, peak=5e-3, total=EPOCHS)
    for index in data.buckets([len(text) for text, _ in train], BATCH, rng=rng):
        x, lengths, y = encoded([train[k] for k in index])
        logits, _ = model.write(y[:-1], model.read(x, lengths))
        loss = tg.cross_entropy(logits, y[1:])
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimizer.step()
    with tg.no_grad():
        same = model.translate(x_new, lengths_new) == y_new
    right.append((same.all(0).mean(), same[1:].mean()))

for locale in LOCALES:
    x, lengths, y = encoded([pair for pair in pairs[locale] if pair[1] in new])
    with tg.no_grad():
        answer = model.translate(x, lengths)
    k, share = lengths.argmax(), (answer == y).all(0).mean()
    text, day = letters.decode(x[: lengths[k], k]), figures.decode(answer[1:, k])
    print(f"{locale}: {share:.3f} right; {text} -> {day}")
print(f"of {y_new.shape[1]} dates of new days {right[-1][0]:.4f} are exactly right")

whole, single = zip(*right, strict=True)
epochs = range(1, EPOCHS + 1)
curves = {"whole dates": (epochs, whole), "single characters": (epochs, single)}
tg.view.curve(curves, title="share written right", x_label="epoch").save("dates.svg")
print(f"wrote dates.svg after {time.perf_counter() - began:.0f} s")
