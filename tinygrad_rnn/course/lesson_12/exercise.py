"""12 Why it is fast

A recurrent network has to go step by step. Here you find out what of its work must really wait,
move the rest out of the loop, and say how fast a product can be at best.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 12
"""

import numpy as np


def waiting(source):
    """The names of the weights whose products stand inside the loop over time, as a list.

    source: the text of a loop in Python, as the engine shows it. A product is a line such as

        multiply(h, Wh_packed, z, True)

    whose second argument is the weight and `_packed`: the name here is "Wh". The loop over time
    begins at the line `for step in range(count):`; inside it are the lines below that are indented
    more than this one, up to the first that is not. There is one such loop. Keep their order.
    """
    raise NotImplementedError


def hoisted(xs, Wx, Wh, b, h, multiply):
    """All states of the RNN `h = tanh(x @ Wx + h @ Wh + b)`, with one product for all inputs.

    xs: an array (T, B, I). Wx: (I, H). Wh: (H, H). b: (H,). h: (B, H), the state before the first
    step. Returns the states after each step, an array (T, B, H).

    Do every product by `multiply(a, w)`, which is `a @ w` and is counted: one call with Wx, before
    the loop, and one with Wh at each step.
    """
    raise NotImplementedError


def work(n, k, m, size):
    """What a product of arrays (n, k) and (k, m) has to do: its flops, and the bytes it moves.

    flops: operations on numbers, each multiplication and each addition counted as one. An entry of
    the result takes k of both, since a sum of k terms begins with 0.

    bytes: both arrays are read once, and the result is written once. A number takes `size` bytes,
    4 in float32.

    Returns both, as a pair (flops, bytes).
    """
    raise NotImplementedError


def roof(flops, bytes_moved, peak, bandwidth):
    """How many flops a second are reached at best.

    peak: the flops a second that the processor can do. bandwidth: the bytes a second that the
    memory can deliver. While it computes, the next bytes are on their way, so of the two limits
    only the lower one counts.
    """
    raise NotImplementedError


def speedup(before, after):
    """How many times as fast the new way is, from times in seconds that were taken in turn.

    before, after: lists of the same length. before[k] and after[k] were measured right after each
    other, so what slowed one of them down most likely slowed the other, too. Some pairs are spoiled
    all the same, by another program or by a compiler.

    Take the ratio of each pair, and of these the median: half of them are above it.
    """
    raise NotImplementedError
