"""What training does to all weights and gradients: one pass over memory for each.

An optimiser's rule reads old weights and memory and writes new ones. Its arithmetic is that of
the weights' own type; sums are kept in float64.
"""

from typing import Any

import numpy as np
from numba import njit, types

from .compiled import OPTIONS, Overloads, closed, helper, read, rows, specialised, written
from .plain import RULES
from .rows import plus

# How much a rule remembers of each weight, and how many numbers it is set by.
SIZES = {"descent": (0, 2), "momentum": (1, 3), "rmsprop": (1, 4), "adam": (2, 8)}


def square_sum(x, out):
    total = 0.0
    for i in range(x.size):
        wide = np.float64(x[i])
        total = plus(total, wide * wide)
    out[0] = total


def column_sums(x, out):
    whole = x.shape[0] // 4 * 4
    totals = np.zeros(x.shape[1])
    for i in range(0, whole, 4):  # four rows a round: the totals are read and written less often
        for j in range(x.shape[1]):
            upper = np.float64(x[i, j]) + np.float64(x[i + 1, j])
            lower = np.float64(x[i + 2, j]) + np.float64(x[i + 3, j])
            totals[j] += upper + lower
    for i in range(whole, x.shape[0]):
        for j in range(x.shape[1]):
            totals[j] += x[i, j]
    for j in range(x.shape[1]):
        out[j] = totals[j]


def loop(rule, memories):
    """The loop that does a rule, which remembers so much, to every weight; settings first."""

    def nothing(settings, x, g, new_x):
        for i in range(x.size):
            (new_x[i],) = rule(settings, x[i], g[i])

    def one(settings, x, g, m, new_x, new_m):
        for i in range(x.size):
            new_x[i], new_m[i] = rule(settings, x[i], g[i], m[i])

    def two(settings, x, g, m, v, new_x, new_m, new_v):
        for i in range(x.size):
            new_x[i], new_m[i], new_v[i] = rule(settings, x[i], g[i], m[i], v[i])

    return (nothing, one, two)[memories]


def kernel(name: str, real: Any) -> Any:
    """The compiled kernel of that name, for one float type."""
    if name == "square_sum":
        return specialised(square_sum, read(real, 1), written(types.float64, 1))
    if name == "column_sums":
        return specialised(column_sums, rows(real), written(real, 1))
    memories, settings = SIZES[name]
    old, new = (read(real, 1),) * (2 + memories), (written(real, 1),) * (1 + memories)
    each = njit(**OPTIONS)(loop(helper(RULES[name]), memories))
    return closed(each, (types.UniTuple(real, settings), *old, *new), Overloads("update", name))
