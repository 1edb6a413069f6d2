"""Lesson 04, solved in another way."""

from functools import reduce
from itertools import accumulate

import numpy as np


def iterate(f, s, steps):
    return list(accumulate(range(steps), lambda before, _: f(before), initial=s))[1:]


def step(x, h, Wx, Wh, b):
    """One product of all that is read, the 1 of the bias too."""
    read = np.concatenate([x, h, np.ones((len(x), 1))], axis=1)
    return np.tanh(read @ np.concatenate([Wx, Wh, b[None]]))


def unroll(x, h, Wx, Wh, b, V, c):
    def more(states, now):
        return [*states, step(now, states[-1], Wx, Wh, b)]

    states = reduce(more, x, [h])
    return np.einsum("tbh,ho->tbo", np.stack(states[1:]), V) + c, states[-1]


def count_parameters(inputs, hidden, outputs, steps):
    shapes = [(inputs, hidden), (hidden, hidden), (hidden,), (hidden, outputs), (outputs,)]
    return sum(np.zeros(shape).size for shape in shapes)
