"""What training does to all weights and gradients: one pass over memory for each.

An optimiser's rule reads old weights and memory and writes new ones. Its arithmetic is that of
the weights' own type; sums are kept in float64.
"""

from typing import Any

import numpy as np

from . import text
from .numbers import Called
from .plain import RULES
from .spare import Array
from .threads import shared

GRAIN = 1 << 15  # weights from which a thread changes some
DOUBLE = np.dtype(np.float64)

# How much a rule remembers of each weight, and how many numbers it is set by.
SIZES = {"descent": (0, 2), "momentum": (1, 3), "rmsprop": (1, 4), "adam": (2, 8)}

SQUARE_SUM = """
def square_sum(x, out):
    total = f64(0.0)
    for i in range(x.shape[0]):
        total = plus(total, f64(x[i]) * f64(x[i]))
    out[0] = total
"""

# Four rows a round: the totals are read and written less often.
COLUMN_SUMS = """
def column_sums(rounds, x, totals, out):
    for j in range(x.shape[1]):
        totals[j] = 0.0
    for i in range(rounds):
        for j in range(x.shape[1]):
            upper = f64(x[4 * i, j]) + f64(x[4 * i + 1, j])
            lower = f64(x[4 * i + 2, j]) + f64(x[4 * i + 3, j])
            totals[j] = totals[j] + (upper + lower)
    for i in range(4 * rounds, x.shape[0]):
        for j in range(x.shape[1]):
            totals[j] = totals[j] + f64(x[i, j])
    for j in range(x.shape[1]):
        out[j] = totals[j]
"""

RULE = """
def {name}(start, stop, settings, {old}, {new}):
    for i in range(start, stop):
        {place} = rule(({settings}), {given})
"""


def ruled(name: str, dtype: np.dtype[Any]) -> Any:
    """The loop that does a rule to every weight; settings first."""
    memories, count = SIZES[name]
    old = ["x", "g", *"mv"[:memories]]
    new = ["new_x", "new_m", "new_v"][: 1 + memories]
    source = RULE.format(
        name=name, old=", ".join(old), new=", ".join(new),
        place="".join([f"{word}[i], " for word in new]),
        settings=", ".join([f"settings[{k}]" for k in range(count)]),
        given=", ".join([f"{word}[i]" for word in old]),
    )  # fmt: skip
    kinds = [(dtype, 1)] * (1 + len(old) + len(new))
    made = text.function(source, 2, kinds, {"rule": Called(RULES[name], dtype)})

    def update(settings: Any, *arrays: Array) -> None:
        if (len(settings), len(arrays)) != (count, len(kinds) - 1):
            raise ValueError(f"{name}: expected {count} settings and {len(kinds) - 1} arrays")
        shared(made, arrays[0].size, GRAIN, (np.array(settings, dtype), *arrays))

    return update


def kernel(name: str, dtype: np.dtype[Any]) -> Any:
    """The compiled kernel of that name, for one float type."""
    if name in RULES:
        return ruled(name, dtype)
    if name == "square_sum":
        squares = text.function(SQUARE_SUM, 0, [(dtype, 1), (DOUBLE, 1)], {})
        return lambda x, out: squares((x, out))
    sums = text.function(COLUMN_SUMS, 1, [(dtype, 2), (DOUBLE, 1), (dtype, 1)], {})
    return lambda x, out: sums(len(x) // 4, (x, np.empty(x.shape[1]), out))
