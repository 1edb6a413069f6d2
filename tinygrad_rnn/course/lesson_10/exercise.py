"""10 Forgetting on purpose

A network that may rely on each of its numbers learns its examples by heart. So some are taken away
while it learns, others each time. In a recurrent network it matters which: a memory that loses a
part of itself at every step is soon no memory.

All arrays are NumPy's. xs has the shape (T, B, I): T steps, B sequences, I numbers a step. A state
has the shape (B, H). `step(x, h)` takes x (B, I) and the state, and returns the next state.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 10
"""

import numpy as np


def dropout(x, keep, p, training):
    """x with some of its numbers taken away, as an array of the same shape.

    keep is an array of bools of the shape of x: False for what is taken away. Each number is taken
    away with the probability p, below 1. In training the others are made larger, so that the mean
    over all possible keep is x. When the network is used (training is False) nothing is taken away
    and nothing is made larger: it is x.
    """
    raise NotImplementedError


def below(step, xs, h, draw):
    """The states after each step, (T, B, H), with dropout on the inputs alone.

    `draw(shape)` returns a new mask of that shape: 0 for what is taken away, 1 / (1 - p) for what
    is not, ready to be multiplied with. At each step draw one for x, and leave the state alone.
    """
    states = []
    for x in xs:
        # The next state, of the input x.
        raise NotImplementedError
        states.append(h)
    return np.array(states)


def variational(step, xs, h, draw):
    """The states after each step, (T, B, H), with the same links cut at every step.

    `draw` is as before. Draw two masks, before the first step: one of the shape of an input, one
    of the shape of the state. The step reads its input and its state through them. What it
    returns, and what stands in the answer, is not cut.
    """
    raise NotImplementedError


def candidate(h, new, z, mask):
    """The next state of a gated cell, with dropout on what it is about to write.

    Without dropout the next state is (1 - z) h + z new: the gate z says how much of the old state
    h gives way to the candidate new. mask is ready to be multiplied with. All are arrays (B, H).
    However often this is done, what the gate keeps must not fade.
    """
    raise NotImplementedError


def zoneout(step, xs, h, p, keep, training):
    """The states after each step, (T, B, H), with zoneout.

    In training some units of the state stay as they were: at each step `keep((B, H))` returns a new
    array of bools, True for what stays, which happens with the probability p. The others take what
    the step returns. What stands in the answer is the state that is handed on.

    When the network is used (training is False) nothing is left to chance: each unit gets the mean
    of what it would have got.
    """
    raise NotImplementedError
