"""Lesson 04, solved."""

import numpy as np


def iterate(f, s, steps):
    states = []
    for _ in range(steps):
        s = f(s)
        states.append(s)
    return states


def step(x, h, Wx, Wh, b):
    return np.tanh(x @ Wx + h @ Wh + b)


def unroll(x, h, Wx, Wh, b, V, c):
    outputs = []
    for now in x:
        h = step(now, h, Wx, Wh, b)
        outputs.append(h @ V + c)
    return np.array(outputs), h


def count_parameters(inputs, hidden, outputs, steps):
    state = inputs * hidden + hidden * hidden + hidden
    return state + hidden * outputs + outputs
