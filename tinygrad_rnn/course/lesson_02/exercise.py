"""02 The tape

A tape notes each op as it runs: what came out, from what, and how fast it rises with each of these.
One walk back over the tape then gives all slopes at once. This is a tape for single numbers.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 02
"""

import math


class Node:
    """A number on the tape, and how it was made.

    value: the number. parents: the nodes that it was made from; () of a number that was given.
    slopes: one for each parent: how fast the value rises with that parent's value, the other
    parents held fixed. gradient: how fast the end of the whole run rises with this value; 0.0
    until a walk back has added to it.
    """

    def __init__(self, value, parents=(), slopes=()):
        self.value = value
        self.parents = parents
        self.slopes = slopes
        self.gradient = 0.0


def add(a, b):
    """The sum of two nodes, as an example: it rises as fast as either of them."""
    return Node(a.value + b.value, (a, b), (1.0, 1.0))


def mul(a, b):
    """The product of the nodes `a` and `b`: a new Node with its value, its parents and its slopes.

    The parents are `(a, b)`, in this order, and the slopes in the same order.
    """
    raise NotImplementedError


def tanh(a):
    """The hyperbolic tangent of the node `a`: a new Node with one parent and one slope."""
    y = math.tanh(a.value)
    # A node with the value y, and with its slope.
    raise NotImplementedError


def order(end):
    """A list of all nodes that the node `end` was made from, and `end` itself, as the last one.

    Each node is listed once, after all of its parents. Several lists may be right.
    """
    raise NotImplementedError


def backward(end):
    """Set the gradient of every node that `end` was made from: how fast `end` rises with it.

    All gradients are 0.0 when it is called. That of `end` itself is 1.0. Walk along `order(end)`,
    from its end to its beginning. Each node hands on to each of its parents what has arrived at
    the node, times the slope for that parent. Nothing is returned.
    """
    raise NotImplementedError


def deep_order(end):
    """The same as `order`, for runs of 10,000 ops in a row: without a function that calls itself.

    Python allows about 1,000 calls inside each other. Keep a list of what is left to do instead.
    """
    raise NotImplementedError
