"""06 Why it dies

A gradient that goes back through time is multiplied by one matrix for each step. A product of many
matrices nearly always shrinks to nothing, or grows beyond all bounds. Here you make that product,
find out what decides its fate, and what can be done.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 06
"""

import numpy as np


def jacobian(h, Wh):
    """What one step of a recurrent network does to a small change of its state: its Jacobian.

    The step was h = tanh(x Wx + before @ Wh + b). h (hidden,) is the state after it, and Wh is
    (hidden, hidden). Return J, (hidden, hidden): J[k, i] is the slope of h[i] by before[k]. So a
    small change d of the state before, a row, becomes the change d @ J of the state after.

    The slope of tanh is 1 - h ** 2, where h is its value.
    """
    raise NotImplementedError


def far_back(hs, Wh):
    """What all steps together do to a small change of the first state: (hidden, hidden).

    hs (steps, hidden) holds the state after each step, the first step first. A small change d of
    the state before the first step, a row, must become d @ result at the end. It goes through
    the `jacobian` of each step, one after the other.
    """
    # no step yet: a change stays what it is
    product = np.eye(len(Wh))
    for h in hs:
        # The step to h.
        raise NotImplementedError
    return product


def spectral_radius(W):
    """By what factor the powers of a square matrix W grow at each step, after many steps.

    It is the size of the largest eigenvalue: below 1 the powers vanish, above 1 they explode.
    `np.linalg.eigvals(W)` gives all eigenvalues. They may be negative or complex; what counts is
    how far each is from 0.
    """
    raise NotImplementedError


def clip(gradients, limit):
    """Gradients, together no longer than the limit, in the same direction: a new dict.

    gradients is a dict of arrays of any shape, such as `{"Wh": ..., "b": ...}`. Their norm is the
    square root of the sum of all squares of all entries of all of them. If it is above the limit,
    multiply all of them by the one number that brings it to the limit. If not, they stay as
    they are.
    """
    raise NotImplementedError


def kinds(factor, steps):
    """What becomes of a float32 gradient of 1 that is multiplied by the factor at every step.

    factor is a np.float32 between 0 and 1. Look at the gradient after each of the steps and
    count: return `{"normal": ..., "denormal": ..., "zero": ...}`, which add up to the steps.

    The smallest normal number is `np.finfo(np.float32).tiny`. What is smaller, but not 0, is
    denormal. Take care that the gradient stays a np.float32.
    """
    raise NotImplementedError
