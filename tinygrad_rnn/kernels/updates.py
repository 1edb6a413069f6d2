"""What training does to all weights and gradients: one pass over memory for each.

An optimiser's rule reads old weights and memory and writes new ones. Its arithmetic is that of
the weights' own type; sums are kept in float64.
"""

from typing import Any

import numpy as np
from numba import types

from .compiled import helper, read, rows, specialised, written
from .rows import plus


def adam(x, g, m, v, settings, new_x, new_m, new_v):
    first, rest, second, rest_squared, keep, size, scale, eps = settings
    for i in range(x.size):
        a = first * m[i] + rest * g[i]
        b = second * v[i] + rest_squared * (g[i] * g[i])
        new_m[i] = a
        new_v[i] = b
        new_x[i] = keep * x[i] - size * a / (scale * np.sqrt(b) + eps)


def rmsprop(x, g, s, settings, new_x, new_s):
    decay, rest, size, eps = settings
    for i in range(x.size):
        a = decay * s[i] + rest * (g[i] * g[i])
        new_s[i] = a
        new_x[i] = x[i] - size * g[i] / (np.sqrt(a) + eps)


@helper
def drawn(g, x, decay):
    """The gradient with a pull of the weight towards zero; 0 * inf would be NaN."""
    return g + decay * x if decay else g


def momentum(x, g, v, settings, new_x, new_v):
    keep, decay, size = settings
    for i in range(x.size):
        a = keep * v[i] + drawn(g[i], x[i], decay)
        new_v[i] = a
        new_x[i] = x[i] - size * a


def descent(x, g, settings, new_x):
    decay, size = settings
    for i in range(x.size):
        new_x[i] = x[i] - size * drawn(g[i], x[i], decay)


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


def kernel(name: str, real: Any) -> Any:
    """The compiled kernel of that name, for one float type."""
    line, new = read(real, 1), written(real, 1)
    settings = {count: types.UniTuple(real, count) for count in (2, 3, 4, 8)}
    function, *arguments = {
        "adam": (adam, line, line, line, line, settings[8], new, new, new),
        "rmsprop": (rmsprop, line, line, line, settings[4], new, new),
        "momentum": (momentum, line, line, line, settings[3], new, new),
        "descent": (descent, line, line, settings[2], new),
        "square_sum": (square_sum, line, written(types.float64, 1)),
        "column_sums": (column_sums, rows(real), new),
    }[name]
    return specialised(function, *arguments)
