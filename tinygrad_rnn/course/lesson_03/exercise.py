"""03 Arrays

A network computes with arrays, and its rules are rules for arrays. Four of them are enough for a
network that tells classes apart: that of broadcasting, of a product, of softmax and of its loss.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 03

All arrays are NumPy arrays. A gradient always has the shape of what it is the gradient of.
"""

import numpy as np


def unbroadcast(gradient, shape):
    """What arrives at an array of this shape that was broadcast to `gradient.shape`.

    Broadcasting uses one entry in many places, where axes of size 1 were stretched or axes were
    added in front. Return an array of the given shape: for each entry, what came from all places.
    """
    raise NotImplementedError


def matmul_backward(x, W, gradient):
    """The gradients of x and of W, where `y = x @ W` and `gradient` is that of y.

    x is (N, I), W is (I, O), gradient is (N, O). Return two arrays, (N, I) and (I, O).
    """
    raise NotImplementedError


def softmax(x):
    """Probabilities from numbers: `exp(x)` divided by its sum, along the last axis.

    x has one axis or more; the answer has its shape. It must be right for any finite x, also where
    `exp(x)` is infinite, or 0 in a whole row.
    """
    raise NotImplementedError


def softmax_backward(p, gradient):
    """The gradient of x, where `p = softmax(x)` and `gradient` is that of p; all of one shape.

    Each probability of a row depends on every number of that row.
    """
    raise NotImplementedError


def cross_entropy(x, targets):
    """The loss, and its gradient by x: the mean over rows of -log of what the right class got.

    x is (N, C), a row of numbers for each example; their softmax is what the classes get. targets
    is (N,), the right class of each row, 0 to C - 1. Return a number and an array (N, C). It must
    be right for any finite x, also where a probability is so small that it is rounded to 0.
    """
    raise NotImplementedError
