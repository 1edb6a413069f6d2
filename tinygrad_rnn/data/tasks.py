"""The classic tests of memory: what stands far back decides what is asked at the end.

From a `np.random.Generator`, or with None from that of `tg.manual_seed`, each draws a new batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ..limits import whole
from ..randomness import generator

Dice: TypeAlias = "np.random.Generator | None"


def adding(rng: Dice, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """The adding problem: xs, float32 (steps, batch, 2), and sums, float32 (batch, 1).

    At each step a number from 0 to 1 and a mark, 1 at one step of the first half and one of the
    second, 0 elsewhere; the answer is the sum of the two marked numbers. Who always says 1 has a
    mean squared error of 1/6. Source: S. Hochreiter and J. Schmidhuber, Long short-term memory
    (1997), experiment 4, in the form of M. Arjovsky et al., Unitary evolution recurrent neural
    networks (2016).

    Raises TypeError for an rng that is no Generator and ValueError for fewer than two steps.

    >>> xs, sums = tg.data.adding(np.random.default_rng(0), 10, 4)
    >>> xs.shape, sums.shape
    ((10, 4, 2), (4, 1))
    """
    rng, steps, batch = _asked("adding", rng, steps, batch, least=2)
    xs = np.zeros((steps, batch, 2), np.float32)
    xs[:, :, 0] = rng.random((steps, batch), np.float32)
    rows, half = np.arange(batch), steps // 2
    first, second = rng.integers(half, size=batch), rng.integers(half, steps, size=batch)
    xs[first, rows, 1] = xs[second, rows, 1] = 1
    return xs, xs[first, rows, :1] + xs[second, rows, :1]


ORDER_SYMBOLS = "EBabcdXY"


def temporal_order(rng: Dice, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which came first: symbols, int64 (steps, batch), and classes, int64 (batch,).

    The symbols are numbers in `"EBabcdXY"`: E, then noise out of abcd, then B; but one symbol
    between a tenth and two tenths of the way and one between five and six tenths are X or Y each.
    Class 0 is XX, 1 XY, 2 YX, 3 YY, each equally likely. Source: S. Hochreiter and J. Schmidhuber,
    Long short-term memory (1997), experiment 6a, with one length for all.

    Raises TypeError for an rng that is no Generator and ValueError for fewer than ten steps.

    >>> symbols, classes = tg.data.temporal_order(np.random.default_rng(0), 20, 4)
    >>> symbols.shape, classes.shape
    ((20, 4), (4,))
    """
    rng, steps, batch = _asked("temporal_order", rng, steps, batch, least=10)
    a, d, x = (ORDER_SYMBOLS.index(symbol) for symbol in "adX")
    symbols = rng.integers(a, d + 1, size=(steps, batch))
    symbols[0], symbols[-1] = ORDER_SYMBOLS.index("E"), ORDER_SYMBOLS.index("B")
    classes = rng.integers(4, size=batch)
    for tenths, which in ((1, classes // 2), (5, classes % 2)):
        begin, end = [n * steps // 10 for n in (tenths, tenths + 1)]
        symbols[rng.integers(begin, end + 1, size=batch), np.arange(batch)] = x + which
    return symbols, classes


def copy_memory(
    rng: Dice, steps: int, batch: int, *, length: int = 10, symbols: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Say it again, later: symbols and answers, both int64 (steps + 2 length, batch).

    `length` symbols from 1 to `symbols`; 0 for `steps` steps, the last of which is the sign
    `symbols` + 1 to begin; then 0 again, while the answers, 0 until then, are the symbols in their
    order. Who remembers nothing has a mean cross-entropy of at least
    length · ln(symbols) / (steps + 2 length). Source: M. Arjovsky et al., Unitary evolution
    recurrent neural networks (2016), after S. Hochreiter and J. Schmidhuber (1997).

    Raises TypeError for an rng that is no Generator and ValueError for a size below 1.

    >>> symbols, answers = tg.data.copy_memory(np.random.default_rng(0), 5, 2, length=3)
    >>> symbols.shape, answers.shape
    ((11, 2), (11, 2))
    """
    rng, steps, batch = _asked("copy_memory", rng, steps, batch, least=1)
    length = whole("copy_memory", "length", length, 1)
    symbols = whole("copy_memory", "symbols", symbols, 1)
    given = np.zeros((steps + 2 * length, batch), np.int64)
    answers = given.copy()
    given[:length] = answers[-length:] = rng.integers(1, symbols + 1, size=(length, batch))
    given[length + steps - 1] = symbols + 1
    return given, answers


def parity(rng: Dice, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Odd or even: bits, int64 (steps, batch), and at each step the parity so far, likewise.

    One step more is one more decision that every later answer hangs on. Without a state that flips
    there is nothing to gain over chance, ln 2. Source: M. Minsky and S. Papert, Perceptrons (1969);
    as a test of recurrent networks, S. Hochreiter and J. Schmidhuber, LSTM can solve hard long
    time lag problems (1996).

    Raises TypeError for an rng that is no Generator and ValueError for fewer than one step.

    >>> bits, odd = tg.data.parity(np.random.default_rng(0), 8, 2)
    >>> bool((odd == bits.cumsum(0) % 2).all())
    True
    """
    rng, steps, batch = _asked("parity", rng, steps, batch, least=1)
    bits = rng.integers(2, size=(steps, batch))
    return bits, np.cumsum(bits, 0) % 2


# -- Reber's grammar -------------------------------------------------------------------------------

# From each state of the grammar, the symbols that may follow, equally likely, and where they lead.
REBER: Sequence[dict[str, int]] = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
    {},
)


def reber(rng: Dice, count: int) -> tuple[list[str], list[list[str]]]:
    """Strings of Reber's grammar, such as "BTXSE", and after each symbol what may follow.

    `successors[n][t]` are the symbols, equally likely, that may come after `strings[n][t]`: "TP"
    after the first, none after the last. The seven symbols are BTSXPVE. A perfect predictor's
    -log p of a string is the sum of log(len(s)) over those, 6 ln 2 on average. Source: A. Reber,
    Implicit learning of artificial grammars (1967), in the form of A. Cleeremans et al., Finite
    state automata and simple recurrent networks (1989).

    Raises TypeError for an rng that is no Generator or a count that is no whole number.

    >>> strings, successors = tg.data.reber(np.random.default_rng(0), 1)
    >>> strings[0][0], successors[0][0], strings[0][-1]
    ('B', 'TP', 'E')
    """
    rng, count = _generator("reber", rng), whole("reber", "count", count, 0)
    walks = [_walk(rng) for _ in range(count)]
    return [string for string, _ in walks], [following for _, following in walks]


def embedded_reber(rng: Dice, count: int) -> tuple[list[str], list[list[str]]]:
    """Reber strings between two equal symbols: "BT" + a string of `reber` + "TE", or P for both T.

    The last but one symbol is decided by the second; whatever stands between says nothing about
    it. Returns what `reber` does; the average -log p is 7 ln 2. Source: S. Fahlman, The recurrent
    cascade-correlation architecture (1991); S. Hochreiter and J. Schmidhuber, Long short-term
    memory (1997), experiment 1.

    Raises TypeError for an rng that is no Generator or a count that is no whole number.

    >>> strings, successors = tg.data.embedded_reber(np.random.default_rng(0), 3)
    >>> [(s[0], s[1] == s[-2], s[-1]) for s in strings]
    [('B', True, 'E'), ('B', True, 'E'), ('B', True, 'E')]
    """
    rng, count = _generator("embedded_reber", rng), whole("embedded_reber", "count", count, 0)
    strings, successors = [], []
    for _ in range(count):
        outer = "TP"[rng.integers(2)]
        string, following = _walk(rng)
        strings.append(f"B{outer}{string}{outer}E")
        successors.append(["TP", "B", *following[:-1], outer, "E", ""])
    return strings, successors


def _walk(rng: np.random.Generator) -> tuple[str, list[str]]:
    """One way through the grammar: its symbols, and what might have come after each."""
    string, state, successors = "B", 1, ["".join(REBER[1])]
    while REBER[state]:
        symbol = successors[-1][rng.integers(len(successors[-1]))]
        state = REBER[state][symbol]
        string += symbol
        successors.append("".join(REBER[state]))
    return string, successors


def _asked(
    who: str, rng: Any, steps: Any, batch: Any, least: int
) -> tuple[np.random.Generator, int, int]:
    rng = _generator(who, rng)
    return rng, whole(who, "steps", steps, least), whole(who, "batch", batch, 0)


def _generator(who: str, rng: Any) -> np.random.Generator:
    """Refuse a seed: every batch would be the same one."""
    found = generator(who, rng)
    if found is rng or rng is None:
        return found
    raise TypeError(
        f"{who}: rng: expected a np.random.Generator or None, which give something new at each "
        f"call, got {rng!r}. Make one before the loop: np.random.default_rng(0)"
    )
