"""The tests of memory as lessons: what is shown, how it is marked, and one loop that learns."""

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

EXAM = 10**6  # the seed of what is asked at the end; lessons are drawn from small ones


class Adding:
    """Solved below a mean squared error of 0.01, which is 1/6 for a constant answer."""

    inputs, outputs, readout = 2, 1, "last"
    mark, better = "error", min

    def __init__(self, steps):
        self.steps = steps
        self.exam = data.adding(np.random.default_rng(EXAM), steps, 1000)

    def loss(self, model, rng, batch):
        return self._error(model, *data.adding(rng, self.steps, batch))

    def marks(self, model):
        return {"error": self._error(model, *self.exam).item()}

    def solved(self, marks):
        return marks["error"] < 0.01

    def _error(self, model, xs, sums):
        return tg.mean_squared_error(model(xs), sums)


class TemporalOrder:
    """Solved above 99 % of right answers; by chance it is 25 %."""

    inputs, outputs, readout = len(data.ORDER_SYMBOLS), 4, "last"
    mark, better = "right", max

    def __init__(self, steps):
        self.steps = steps
        self.exam = data.temporal_order(np.random.default_rng(EXAM), steps, 1000)

    def loss(self, model, rng, batch):
        symbols, classes = data.temporal_order(rng, self.steps, batch)
        return tg.cross_entropy(model(data.one_hot(symbols, self.inputs)), classes)

    def marks(self, model):
        symbols, classes = self.exam
        answers = model(data.one_hot(symbols, self.inputs)).data.argmax(1)
        return {"right": float((answers == classes).mean())}

    def solved(self, marks):
        return marks["right"] > 0.99


class EmbeddedReber:
    """Solved within 0.1 nats a string of a perfect predictor, with every outer symbol right.

    The outer symbol is asked of strings that were never shown: the rare ones, thus the long ones.
    """

    inputs, outputs, readout = 7, 7, "all"
    mark, better = "nats", min

    def __init__(self):
        self.symbols = data.Vocabulary("BTSXPVE")
        self.strings, successors = data.embedded_reber(np.random.default_rng(EXAM), 2000)
        self.shown = set()
        self.index, self.lengths = self._padded(self.strings)
        self.chances = np.zeros((*self.index.shape, 7))
        for n, following in enumerate(successors):
            for t, legal in enumerate(following):
                self.chances[t, n, self.symbols.encode(legal)] = 1 / max(1, len(legal))
        logs = np.log(np.where(self.chances > 0, self.chances, 1))
        self.least = -(self.chances * logs).sum() / len(self.strings)

    def _padded(self, strings):
        return data.pad([self.symbols.encode(string) for string in strings])

    def _predicted(self, model, index, lengths):
        return model(data.one_hot(index[:-1], 7), lengths=lengths - 1)

    def loss(self, model, rng, batch):
        strings, _ = data.embedded_reber(rng, batch)
        self.shown.update(strings)
        index, lengths = self._padded(strings)
        mask = data.mask_of(lengths - 1, len(index) - 1)
        return tg.cross_entropy(self._predicted(model, index, lengths), index[1:], mask=mask)

    def marks(self, model):
        """Nats a string, the least there can be, and how many outer symbols of new strings."""
        logs = tg.log_softmax(self._predicted(model, self.index, self.lengths)).data
        nats = -(self.chances[:-1] * logs).sum() / len(self.strings)
        new = np.array([n for n, string in enumerate(self.strings) if string not in self.shown])
        answers = logs[self.lengths[new] - 3, new].argmax(1)
        right = answers == self.index[self.lengths[new] - 2, new]
        return {
            "nats": float(nats),
            "least": float(self.least),
            "outer": float(right.mean()),
            "new": len(new),
        }

    def solved(self, marks):
        return marks["nats"] - marks["least"] < 0.1 and marks["outer"] == 1


class CopyMemory:
    """Solved when more than 99 % of the symbols are recalled; by chance it is 12.5 %."""

    inputs, outputs, readout = 10, 9, "all"
    mark, better = "right", max

    def __init__(self, steps, length):
        self.steps, self.length = steps, length
        self.exam = data.copy_memory(np.random.default_rng(EXAM), steps, 500, length=length)

    def loss(self, model, rng, batch):
        given, answers = data.copy_memory(rng, self.steps, batch, length=self.length)
        return tg.cross_entropy(model(data.one_hot(given, self.inputs)), answers)

    def marks(self, model):
        given, answers = self.exam
        said = model(data.one_hot(given, self.inputs)).data.argmax(2)
        right = (said == answers)[-self.length :]
        return {"right": float(right.mean())}

    def solved(self, marks):
        return marks["right"] > 0.99


class Parity:
    """Solved above 99 % of right last answers; by chance it is 50 %."""

    inputs, outputs, readout = 1, 2, "all"
    mark, better = "right", max

    def __init__(self, steps):
        self.steps = steps
        self.exam = data.parity(np.random.default_rng(EXAM), steps, 1000)

    def loss(self, model, rng, batch):
        bits, answers = data.parity(rng, self.steps, batch)
        return tg.cross_entropy(model(bits[:, :, None].astype(np.float32)), answers)

    def marks(self, model):
        bits, answers = self.exam
        said = model(bits[:, :, None].astype(np.float32)).data.argmax(2)
        return {"right": float((said == answers)[-1].mean())}

    def solved(self, marks):
        return marks["right"] > 0.99


class Model(nn.Module):
    """One cell over time, and what it says of its outputs."""

    def __init__(self, task, cell, rng):
        self.layer = nn.Recurrent(cell, readout=task.readout)
        self.output = nn.Linear(cell.outputs, task.outputs, rng=rng)

    def __call__(self, xs, lengths=None):
        return self.output(self.layer(xs, lengths=lengths)[0])


def learn(task, make, *, seed, lr, most, batch=32, every=50):
    """The marks after every so many batches until the task is solved, or `most` have been shown.

    `make(inputs, rng)` is the cell. Everything is drawn from the one seed.
    """
    rng = np.random.default_rng(seed)
    model = Model(task, make(task.inputs, rng), rng)
    optimizer = optim.Adam(model, lr=lr)
    marks = []
    for n in range(1, most + 1):
        optimizer.zero_grad()
        task.loss(model, rng, batch).backward()
        optim.clip_grad_norm(model, 1.0)
        optimizer.step()
        if n % every == 0:
            with tg.no_grad():
                marks.append(task.marks(model))
            if task.solved(marks[-1]):
                break
    return marks


def patient(cell, steps, rng):
    """A cell that begins with memories of every length up to `steps`, by its gates' biases.

    C. Tallec and Y. Ollivier, Can recurrent neural networks warp time? (2018).
    """
    spans = np.log(rng.uniform(1, steps - 1, cell.hidden))
    blocks = {"f": spans, "i": -spans, "z": -spans}
    begin = [blocks.get(gate, np.zeros(cell.hidden)) for gate in cell.order]
    cell.b.data = np.concatenate(begin).astype(cell.dtype)
    return cell
