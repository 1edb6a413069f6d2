"""Lesson 07, solved in another way."""

import numpy as np


def lstm_step(x, h, c, Wx, Wh, b):
    H = h.shape[1]
    a = np.concatenate([x, h], axis=1) @ np.concatenate([Wx, Wh]) + b
    gate = lambda k: 0.5 * (1 + np.tanh(0.5 * a[:, k * H : (k + 1) * H]))
    new = gate(0) * c
    new += gate(1) * np.tanh(a[:, 2 * H : 3 * H])
    return gate(3) * np.tanh(new), new


def lstm_count(inputs, hidden):
    shapes = [(inputs, 4 * hidden), (hidden, 4 * hidden), (4 * hidden,)]
    return sum(np.zeros(shape).size for shape in shapes)


def forget_bias(hidden, share, steps):
    f = np.exp(np.log(share) / steps)
    return np.repeat([np.log(f) - np.log1p(-f), 0, 0, 0], hidden)


def gru_step(x, h, Wx, Wh, Wn):
    H = h.shape[1]
    both = x @ Wx[:, : 2 * H] + h @ Wh
    z, r = np.split(1 / (1 + np.exp(-both)), 2, axis=1)
    read = np.concatenate([x, r * h], axis=1)
    candidate = np.tanh(read @ np.concatenate([Wx[:, 2 * H :], Wn]))
    return h + z * (candidate - h)


def other_z(Wx, Wh):
    H = Wh.shape[0]
    sign = np.where(np.arange(3 * H) < H, -1.0, 1.0)
    return Wx * sign, Wh * sign[: 2 * H]
