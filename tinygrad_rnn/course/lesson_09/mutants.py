"""Lesson 09: mistakes that are often made."""

import numpy as np


def mask_of__off_by_one(lengths, steps):
    """One step too many is real: steps are counted from 0, lengths from 1"""
    return np.arange(steps)[:, None] <= lengths


def mask_of__short(lengths, steps):
    """The last real step of each sequence is left out"""
    return np.arange(steps)[:, None] < lengths - 1


def mask_of__batch_first(lengths, steps):
    """Sequences stand along the first axis: here that is time"""
    return np.arange(steps) < lengths[:, None]


def mask_of__padding(lengths, steps):
    """It is the padding that is marked, not what is real"""
    return np.arange(steps)[:, None] >= lengths


def hold__times(step, xs, mask, h):
    """Where the padding is NaN, so is the answer: 0 times NaN is NaN, a choice is none of it"""
    states = []
    for t in range(len(xs)):
        m = mask[t][:, None]
        h = m * step(xs[t], h) + (1 - m) * h
        states.append(h)
    return np.array(states)


def hold__not(step, xs, mask, h):
    """The mask is not used: the network goes on through the padding"""
    states = []
    for x in xs:
        h = step(x, h)
        states.append(h)
    return np.array(states)


def hold__zeroed(step, xs, mask, h):
    """The mask is multiplied into the state: it becomes 0, where it is to be held"""
    states = []
    for t in range(len(xs)):
        h = step(xs[t], h) * mask[t][:, None]
        states.append(h)
    return np.array(states)


def hold__inputs(step, xs, mask, h):
    """The mask is used on the inputs: an input of 0 is an input, too, and moves the state"""
    return hold__not(step, np.where(mask[:, :, None], xs, 0.0), mask, h)


def hold__all_or_none(step, xs, mask, h):
    """A step is left out for all sequences as soon as one of them is over"""
    states = []
    for t in range(len(xs)):
        h = step(xs[t], h) if mask[t].all() else h
        states.append(h)
    return np.array(states)


def reverse_inside__padding(xs, lengths):
    """The padding is turned round, too: a short sequence then begins with it"""
    return xs[::-1].copy()


def reverse_inside__off_by_one(xs, lengths):
    """One entry of the padding is turned round with the rest"""
    return _turned(xs, lengths, 1)


def reverse_inside__short(xs, lengths):
    """The last real step stays where it is"""
    return _turned(xs, lengths, -1)


def reverse_inside__shortest(xs, lengths):
    """All are turned round in the length of the shortest: each has its own"""
    return _turned(xs, np.full_like(lengths, lengths.min()), 0)


def _turned(xs, lengths, more):
    turned = xs.copy()
    for b, n in enumerate(lengths):
        n = max(0, min(n + more, len(xs)))
        turned[:n, b] = xs[:n, b][::-1]
    return turned


def last_valid__last(hs, lengths):
    """It is the last step of the array: for a short sequence that is padding"""
    return hs[-1]


def last_valid__off_by_one(hs, lengths):
    """It is the step after the last real one: steps are counted from 0"""
    return hs[np.minimum(lengths, len(hs) - 1), np.arange(len(lengths))]


def last_valid__before(hs, lengths):
    """It is the step before the last real one"""
    return hs[np.maximum(lengths - 2, 0), np.arange(len(lengths))]


def last_valid__all(hs, lengths):
    """Every sequence is read at the ends of all the others, too: a pair of indices is wanted"""
    return hs[lengths - 1]


def mean_loss__times(losses, mask):
    """Where the padding is NaN, so is the loss: 0 times NaN is NaN"""
    return (losses * mask).sum() / mask.sum()


def mean_loss__padding(losses, mask):
    """It is divided by the number of all steps: the padding counts with a loss of 0"""
    return np.where(mask, losses, 0.0).mean()


def mean_loss__all(losses, mask):
    """The losses of the padding count, too"""
    return losses.mean()


def mean_loss__sequences(losses, mask):
    """It is a mean of the sequences' means: a step of a short one then counts more"""
    return (np.where(mask, losses, 0.0).sum(0) / mask.sum(0)).mean()


def mean_loss__batch(losses, mask):
    """It is divided by the number of sequences, not of steps"""
    return losses[mask].sum() / mask.shape[1]
