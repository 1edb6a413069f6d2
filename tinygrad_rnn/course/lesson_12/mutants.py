"""Lesson 12: mistakes that are often made."""

import re

import numpy as np

from . import solution


def waiting__everything(source):
    """All products are listed: only those inside the loop over time have to wait"""
    return re.findall(r"multiply\(.*?(\w+)_packed", source)


def waiting__to_the_end(source):
    """What stands after the loop is listed too: the loop ends where the indentation does"""
    return waiting__everything(source.split("for step in")[1])


def waiting__outside(source):
    """These are the products that need not wait: those inside the loop are asked for"""
    inside = solution.waiting(source)
    return [name for name in waiting__everything(source) if name not in inside]


def waiting__packed(source):
    """The name is to be without its ending"""
    return [f"{name}_packed" for name in solution.waiting(source)]


def hoisted__inside(xs, Wx, Wh, b, h, multiply):
    """The product with the inputs is still inside the loop: it needs no state, and can go first"""
    states = []
    for x in xs:
        h = np.tanh(multiply(x, Wx) + multiply(h, Wh) + b)
        states.append(h)
    return np.array(states)


def hoisted__not_counted(xs, Wx, Wh, b, h, multiply):
    """A product is not done by multiply, so it is not counted"""
    return solution.hoisted(xs, Wx, Wh, b, h, np.matmul)


def hoisted__state_not_counted(xs, Wx, Wh, b, h, multiply):
    """The product with the state is not done by multiply, so it is not counted"""
    first = [multiply]  # for the inputs
    either = lambda a, w: first.pop()(a, w) if first else a @ w
    return solution.hoisted(xs, Wx, Wh, b, h, either)


def hoisted__bias_twice(xs, Wx, Wh, b, h, multiply):
    """The bias is added twice, before the loop and inside it"""
    return solution.hoisted(xs, Wx, Wh, 2 * b, h, multiply)


def hoisted__mixed(xs, Wx, Wh, b, h, multiply):
    """Rows of different texts are mixed up: time first, then the batch, before and after"""
    T, B, I = xs.shape
    order = xs.swapaxes(0, 1).reshape(T, B, I)
    return solution.hoisted(order, Wx, Wh, b, h, multiply)


def hoisted__one_state(xs, Wx, Wh, b, h, multiply):
    """Every step begins with the first state: the product with the state is what has to wait"""
    of_inputs = multiply(xs, Wx) + b
    return np.array([np.tanh(z + multiply(h, Wh)) for z in of_inputs])


def work__factor_2(n, k, m, size):
    """Only the multiplications are counted: each comes with an addition"""
    flops, moved = solution.work(n, k, m, size)
    return flops // 2, moved


def work__numbers(n, k, m, size):
    """It is numbers that are counted, not bytes: each of them takes several"""
    return solution.work(n, k, m, 1)


def work__only_read(n, k, m, size):
    """The result is left out: it has to be written, too"""
    return 2 * n * k * m, size * (n * k + k * m)


def roof__max(flops, bytes_moved, peak, bandwidth):
    """It is the higher of the two limits: both hold, so the lower one counts"""
    return max(peak, flops / bytes_moved * bandwidth)


def roof__upside_down(flops, bytes_moved, peak, bandwidth):
    """The intensity is upside down: it is flops for each byte"""
    return min(peak, bytes_moved / flops * bandwidth)


def roof__one_after_the_other(flops, bytes_moved, peak, bandwidth):
    """The two times are added, as if nothing were computed while bytes are on their way"""
    return flops / (flops / peak + bytes_moved / bandwidth)


def speedup__upside_down(before, after):
    """It is upside down: twice as fast means half the time"""
    return 1 / solution.speedup(before, after)


def speedup__means(before, after):
    """A single slow run spoils a mean, and all the more the mean of all times: use the median"""
    return np.mean(before) / np.mean(after)


def speedup__mean_of_ratios(before, after):
    """The mean of the ratios is taken: a single spoiled pair moves it, and not their median"""
    return np.mean(np.array(before) / np.array(after))


def speedup__first(before, after):
    """One pair says little: the first call often does things that are done but once"""
    return before[0] / after[0]


def speedup__apart(before, after):
    """The medians are taken first: so times are compared that were not taken together"""
    return np.median(before) / np.median(after)


def speedup__best(before, after):
    """The best times are compared: they need not come from the same pair"""
    return min(before) / min(after)
