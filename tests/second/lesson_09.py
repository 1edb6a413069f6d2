"""Lesson 09, solved in another way."""

import numpy as np


def mask_of(lengths, steps):
    mask = np.zeros((steps, len(lengths)), bool)
    for b, n in enumerate(lengths):
        mask[:n, b] = True
    return mask


def hold(step, xs, mask, h):
    states = np.empty((len(xs), *h.shape))
    now = h.copy()
    for t, real in enumerate(mask):
        rows = np.flatnonzero(real)
        if len(rows):
            now[rows] = step(xs[t][rows], now[rows])
        states[t] = now
    return states


def reverse_inside(xs, lengths):
    steps = np.arange(len(xs))[:, None]
    places = np.where(steps < lengths, lengths - 1 - steps, steps)
    return np.take_along_axis(xs, places[:, :, None], axis=0)


def last_valid(hs, lengths):
    return np.stack([hs[n - 1, b] for b, n in enumerate(lengths)])


def mean_loss(losses, mask):
    return np.nansum(np.where(mask, losses, np.nan)) / np.count_nonzero(mask)
