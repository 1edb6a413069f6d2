"""Lesson 09, solved."""

import numpy as np


def mask_of(lengths, steps):
    return np.arange(steps)[:, None] < lengths


def hold(step, xs, mask, h):
    states = []
    for t in range(len(xs)):
        h = np.where(mask[t][:, None], step(xs[t], h), h)
        states.append(h)
    return np.array(states)


def reverse_inside(xs, lengths):
    turned = xs.copy()
    for b, n in enumerate(lengths):
        turned[:n, b] = xs[:n, b][::-1]
    return turned


def last_valid(hs, lengths):
    return hs[lengths - 1, np.arange(len(lengths))]


def mean_loss(losses, mask):
    return losses[mask].mean()
