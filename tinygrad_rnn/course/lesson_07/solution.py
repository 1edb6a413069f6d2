"""Lesson 07, solved."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_step(x, h, c, Wx, Wh, b):
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_count(inputs, hidden):
    return 4 * ((inputs + hidden) * hidden + hidden)


def forget_bias(hidden, share, steps):
    f = share ** (1 / steps)
    b = np.zeros(4 * hidden)
    b[:hidden] = np.log(f / (1 - f))
    return b


def gru_step(x, h, Wx, Wh, Wn):
    z_by_x, r_by_x, n_by_x = np.split(x @ Wx, 3, axis=-1)
    z_by_h, r_by_h = np.split(h @ Wh, 2, axis=-1)
    z, r = sigmoid(z_by_x + z_by_h), sigmoid(r_by_x + r_by_h)
    n = np.tanh(n_by_x + (r * h) @ Wn)
    return (1 - z) * h + z * n


def other_z(Wx, Wh):
    hidden = len(Wh)
    Wx, Wh = Wx.copy(), Wh.copy()
    Wx[:, :hidden] *= -1
    Wh[:, :hidden] *= -1
    return Wx, Wh
