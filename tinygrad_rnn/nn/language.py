"""A model of text: what comes next?"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..limits import number, one_of, whole
from ..ops import cross_entropy, embedding, softmax
from ..randomness import Random, generator, given
from ..tensor import Operand, Tensor, no_grad, scope
from .cell import Cell, Changing
from .cells import GRU, LSTM, RNN
from .layers import Dropout, Embedding, Linear
from .module import Module, positive
from .recurrent import Recurrent, State, run

CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
OFTEN = 4  # how often each symbol is read, on average, for a product of the whole table to pay


class Looked(Changing):
    """A weight behind a table: numbers @ it are the rows of that table, each times the weight."""

    def __init__(self, W: Tensor):
        self.W = W

    def __rmatmul__(self, index: Tensor) -> Tensor:
        return embedding(self.tensor, index)[:, 0]


class _Twins(threading.local):
    """Cells that look up, by those that multiply, with what each was made of; of each thread."""

    def __init__(self) -> None:
        self.known: WeakKeyDictionary[Cell, tuple[list[Any], Cell]] = WeakKeyDictionary()


_twins = _Twins()


@contextmanager
def looked_up(cell: Cell, table: Tensor, dtype: Any) -> Iterator[Cell]:
    """The cell that reads numbers of symbols (B, 1) in place of their rows of a table.

    Each row is multiplied by the weights once, however often its symbol is read.
    """
    made_of = [dtype, *vars(cell).values()]
    last, twin = _twins.known.get(cell, ([], cell))
    if len(last) != len(made_of) or not all(map(is_, last, made_of)):
        twin = cell._relinked(lambda source, W: Looked(W) if source == "x" else W)
        twin.__dict__.update(inputs=1, reads=dtype)
        _twins.known[cell] = made_of, twin
    looked = [x for x in vars(twin).values() if isinstance(x, Looked)]
    try:
        for x in looked:
            x.tensor = table @ x.W
        yield twin
    finally:
        for x in looked:
            x.tensor = None


class LanguageModel(Module):
    """Embedding → recurrent cells → linear: logits for the next of `symbols` symbols.

    cell: "rnn", "lstm" or "gru"; `layers` of them, each of size `hidden`; dropout acts on the
    feed-forward links only (S25; Zaremba et al. 2014). Indices are (T, B).

    >>> model = tg.nn.LanguageModel(30, cell="gru", embedding=8, hidden=16, rng=0)
    >>> logits, state = model(np.zeros((5, 2), np.int64))
    >>> logits.shape
    (5, 2, 30)
    >>> loss, state = model.loss(np.zeros((5, 2), np.int64), np.ones((5, 2), np.int64))
    >>> loss.shape
    ()
    >>> len(list(model.eval().sample([0, 1], 3, temperature=0.5, rng=0)))
    3
    """

    def __init__(
        self, symbols: int, *, cell: str = "lstm", embedding: int = 64, hidden: int = 256,
        layers: int = 1, dropout: float = 0.0, dtype: Any = np.float32, rng: Random = None,
    ):  # fmt: skip
        one_of("LanguageModel", "cell", cell, CELLS)
        positive("LanguageModel", layers=layers)
        rng = given(self, rng)  # one for all parts
        kind, sizes = CELLS[cell], [embedding] + [hidden] * layers
        self.embedding = Embedding(symbols, embedding, dtype=dtype, rng=rng)
        cells = [kind(i, h, dtype=dtype, rng=rng) for i, h in pairwise(sizes)]
        self.recurrent = Recurrent(*cells, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.output = Linear(hidden, symbols, dtype=dtype, rng=rng)

    def __call__(self, index: Operand, state: Any = None) -> tuple[Tensor, State]:
        """Logits (T, B, symbols) of what follows each index, and the state to go on with."""
        index = index if isinstance(index, Tensor) else Tensor(index)
        layer, table, cell = self.recurrent, self.embedding.table, self.recurrent.cells[0]
        often = index.size >= OFTEN * len(table) and index.dtype.kind in "iu"
        kinds = [type(cell) in CELLS.values(), type(layer) is Recurrent]  # of what has no hooks
        plain = all(kinds) and type(self.embedding) is Embedding
        if often and plain and not (layer.unroll or layer.dropout[0].draws):
            with looked_up(cell, table, index.dtype) as twin:
                parts = [twin, *layer.cells[1:]]
                ys, state = run(parts, layer, index.reshape(*index.shape, 1), state)
        else:
            ys, state = layer(self.embedding(index), state)
        return self.output(self.dropout(ys)), state

    def loss(self, index: Operand, target: Operand, state: Any = None) -> tuple[Tensor, State]:
        """The mean of -log p(target) over all steps, in nats, and the state to go on with."""
        logits, state = self(index, state)
        with scope("loss"):
            return cross_entropy(logits, target), state

    def sample(
        self, prompt: Sequence[int] | np.ndarray, length: int, *, temperature: float = 1.0,
        rng: Random = None,
    ) -> Iterator[int]:  # fmt: skip
        """Go on from a prompt, one symbol after another, each drawn from softmax(logits / T).

        At temperature 0 the likeliest is taken. Raises ValueError for an empty prompt or a
        negative temperature. The model is used as it stands: call `eval()` first.
        """
        if np.ndim(prompt) != 1:
            raise ValueError(f"sample: prompt: expected symbols in a row, got {np.shape(prompt)}")
        if not len(prompt):
            raise ValueError("sample: prompt: expected at least one symbol to begin from")
        number("sample", "temperature", temperature, "[0, inf)")
        whole("sample", "length", length)
        rng, begin = given(self, rng), np.array(prompt).reshape(-1, 1)

        def continued() -> Iterator[int]:
            index, state = begin, None
            for _ in range(length):
                with no_grad():
                    logits, state = self(index, state)
                scores = logits.data[-1, 0].astype(np.float64)
                if not np.isfinite(scores).all():
                    raise ValueError(
                        "sample: a logit is NaN or infinite: the model's weights, or its state, are"
                    )
                with np.errstate(over="ignore"):
                    scaled = scores / (temperature or 1.0)
                if temperature and np.isfinite(scaled).all():  # or it is next to 0
                    chances = softmax(scaled)
                    p = chances / chances.sum()
                    symbol = int(generator(self, rng).choice(len(p), p=p))
                else:
                    symbol = int(scores.argmax())
                yield symbol
                index = np.array([[symbol]])

        return continued()
