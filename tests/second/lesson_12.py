"""Lesson 12, solved in another way."""

import re
from statistics import median

import numpy as np


def waiting(source):
    before, inside = re.split(r"for step in .*\n", source)
    depth = len(before) - len(before.rstrip(" "))
    lines = [line for line in inside.splitlines() if line.strip()]
    names = []
    while lines and lines[0].startswith(" " * (depth + 1)):
        names += re.findall(r"^ *multiply\(.* (\w+)_packed", lines.pop(0))
    return names


def hoisted(xs, Wx, Wh, b, h, multiply):
    states = multiply(xs, Wx)
    states += b
    for z in states:
        z += multiply(h, Wh)
        h = np.tanh(z, out=z)
    return states


def work(n, k, m, size):
    entries = n * m
    numbers = entries + k * (n + m)
    return entries * (k + k), numbers * size


def roof(flops, bytes_moved, peak, bandwidth):
    seconds = max(flops / peak, bytes_moved / bandwidth)
    return flops / seconds


def speedup(before, after):
    return median(one / other for one, other in zip(before, after, strict=True))
