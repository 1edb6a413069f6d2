"""Lesson 12, solved."""

import numpy as np


def waiting(source):
    names, loop = [], None
    for line in source.splitlines():
        text = line.lstrip()
        indent = len(line) - len(text)
        if loop is not None and text and indent <= loop:
            break
        if text.startswith("for step in"):
            loop = indent
        elif loop is not None and text.startswith("multiply("):
            names.append(text.split("_packed")[0].split()[-1])
    return names


def hoisted(xs, Wx, Wh, b, h, multiply):
    T, B, I = xs.shape
    of_inputs = multiply(xs.reshape(T * B, I), Wx).reshape(T, B, -1) + b
    states = []
    for t in range(T):
        h = np.tanh(of_inputs[t] + multiply(h, Wh))
        states.append(h)
    return np.array(states)


def work(n, k, m, size):
    return 2 * n * k * m, size * (n * k + k * m + n * m)


def roof(flops, bytes_moved, peak, bandwidth):
    return min(peak, flops / bytes_moved * bandwidth)


def speedup(before, after):
    return np.median(np.array(before) / np.array(after))
