"""09 Many lengths

Sentences differ in length, an array does not. So short ones are filled up, and what fills them must
not count: not in the state, not in what is read from it, not in the loss.

In all exercises time is the first axis: xs has the shape (T, B, I) for T steps, B sequences side by
side, and I numbers a step. lengths is an array of B whole numbers, each from 1 to T: how many
steps of a sequence are real. What stands behind them is padding.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 09
"""

import numpy as np


def mask_of(lengths, steps):
    """Which steps are real, as an array of bools (steps, B).

    Entry [t, b] is True where step t of sequence b is real. Steps are counted from 0.
    For lengths [1, 3] and 3 steps it is [[True, True], [False, True], [False, True]].
    """
    raise NotImplementedError


def hold(step, xs, mask, h):
    """The states after each step, as an array (T, B, H), of sequences of many lengths.

    `step(x, h)` takes an array (B, I) and the state (B, H), and returns the next state (B, H).
    h is the state before the first step. mask (T, B) says which steps are real. Where a step of a
    sequence is real, its row of the state is the next one; where not, it stays as it was.

    In the padding may stand anything, NaN too. The answer of a sequence must be the one that it
    has when it is alone.
    """
    states = []
    for t in range(len(xs)):
        # The state after step t.
        raise NotImplementedError
        states.append(h)
    return np.array(states)


def reverse_inside(xs, lengths):
    """Each sequence from its own end to its beginning, as an array of the shape of xs.

    Only what is real is turned round; the padding stays where it is. What reads a sentence from
    its end needs that.
    """
    raise NotImplementedError


def last_valid(hs, lengths):
    """The state after the last real step of each sequence: an array (B, H).

    hs has the shape (T, B, H): the states after each step.
    """
    raise NotImplementedError


def mean_loss(losses, mask):
    """The mean of the losses of all real steps: one number.

    losses and mask have the shape (T, B). Every real step counts alike, in whatever sequence it
    stands. Where the mask is False, losses may hold anything, NaN too.
    """
    raise NotImplementedError
