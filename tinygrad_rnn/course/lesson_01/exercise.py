"""01 A slope by nudging

A slope says how fast a function rises: nudge x a little, see how much f(x) changes, and divide.
That needs no rule of calculus, so it is what every rule is checked against.

Fill in the three functions. Check them at any time:

    tinygrad-rnn course check 01
"""

import numpy as np


def central_difference(f, x, h):
    """The slope of f at x, from one point on each side of x, each at the distance h.

    For f(x) = x * x, x = 3 and any h it is 6.
    """
    raise NotImplementedError


def best_step(f, x, slope, steps):
    """The one of these steps with which central_difference comes nearest to the true slope.

    Call it with each h of steps, compare with the true slope, and return the best h.
    A step may be too small: f(x + h) and f(x - h) are then equal in nearly all their digits.
    """
    raise NotImplementedError


def partials(f, values, h):
    """The slope of f(values) by each entry of the array values, as an array of the same shape.

    Nudge one entry at a time, and hold all the others where they are.
    """
    gradient = np.zeros_like(values)
    for k in range(len(values)):
        # The slope by values[k] alone.
        raise NotImplementedError
    return gradient
