"""Lesson 05, solved in another way."""

import numpy as np


def delta(own, h, Wh):
    """From the end, and turned round."""
    found = []
    for by_loss, state in zip(own[::-1], h[:0:-1], strict=True):
        by_state = by_loss + (found[-1] @ Wh.T if found else 0)
        found.append(by_state * (1 - state) * (1 + state))
    return np.array(found[::-1])


def weight_gradients(x, h, delta):
    """All steps and rows in one product."""
    return np.einsum("tbi,tbh->ih", x, delta), np.einsum("tbi,tbh->ih", h[:-1], delta)


def bias_gradient(delta):
    """A weight whose input is always 1."""
    rows = delta.reshape(-1, delta.shape[-1])
    return np.ones(len(rows)) @ rows


def terms(own, h, Wh):
    """One loss at a time, all others held at 0."""
    found = []
    for t in range(len(own)):
        alone = np.zeros_like(own)
        alone[t] = own[t]
        found.append(np.einsum("kbi,kbh->kih", h[:-1], delta(alone, h, Wh)))
    return np.array(found)


def by_lag(terms):
    """Diagonals of the table."""
    count = len(terms)
    return np.array([sum(terms[t, t - lag] for t in range(lag, count)) for lag in range(count)])
