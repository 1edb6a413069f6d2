"""Lesson 01, solved in another way."""

import numpy as np


def central_difference(f, x, h):
    above, below = f(x + h), f(x - h)
    return 0.5 * (above - below) / h


def best_step(f, x, slope, steps):
    return min(steps, key=lambda h: abs(central_difference(f, x, h) - slope))


def partials(f, values, h):
    nudges = h * np.eye(len(values))
    return np.array([(f(values + n) - f(values - n)) / (2 * h) for n in nudges])
