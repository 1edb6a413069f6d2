"""Lesson 07: mistakes that are often made."""

import numpy as np

from .solution import forget_bias, sigmoid


def lstm_step__another_order(x, h, c, Wx, Wh, b):
    """The blocks are taken in another order: i f g o is that of PyTorch and Keras"""
    i, f, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step__candidate_last(x, h, c, Wx, Wh, b):
    """The blocks are taken in another order: which of the last two is the candidate?"""
    f, i, o, g = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step__no_tanh(x, h, c, Wx, Wh, b):
    """c is shown as it is: something is done to it before the output gate"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * c, c


def lstm_step__sigmoid_candidate(x, h, c, Wx, Wh, b):
    """The candidate has σ: what is written must be able to be negative"""
    f, i, g, o = np.split(sigmoid(x @ Wx + h @ Wh + b), 4, axis=-1)
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm_step__bare_candidate(x, h, c, Wx, Wh, b):
    """The candidate is written as it comes out of the sum: a function is missing"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * g
    return sigmoid(o) * np.tanh(c), c


def lstm_step__bare_gates(x, h, c, Wx, Wh, b):
    """The gates are as they come out of the sum: a gate lies between 0 and 1"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = f * c + i * np.tanh(g)
    return o * np.tanh(c), c


def lstm_step__bare(x, h, c, Wx, Wh, b):
    """The blocks are as they come out of the sum: each has to go through a function first"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = f * c + i * g
    return o * np.tanh(c), c


def lstm_step__swapped(x, h, c, Wx, Wh, b):
    """σ and tanh are swapped: a gate lies between 0 and 1, tanh between -1 and 1"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = np.tanh(f) * c + np.tanh(i) * sigmoid(g)
    return np.tanh(o) * sigmoid(c), c


def lstm_step__old_cell(x, h, c, Wx, Wh, b):
    """h is made from the old c, not from the new one"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    return sigmoid(o) * np.tanh(c), sigmoid(f) * c + sigmoid(i) * np.tanh(g)


def lstm_step__returned_first(x, h, c, Wx, Wh, b):
    """The two results are returned in the other order"""
    f, i, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def lstm_step__coupled(x, h, c, Wx, Wh, b):
    """What is let in is 1 - f: in an LSTM the input gate is a gate of its own"""
    f, _, g, o = np.split(x @ Wx + h @ Wh + b, 4, axis=-1)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step__no_bias(x, h, c, Wx, Wh, b):
    """The bias is left out"""
    f, i, g, o = np.split(x @ Wx + h @ Wh, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_step__x_only(x, h, c, Wx, Wh, b):
    """The gates read x, and nothing of what came before"""
    f, i, g, o = np.split(x @ Wx + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_count__by_inputs(inputs, hidden):
    """This is the formula 4 [(e + h) e + e]: how many columns does a block have?"""
    return 4 * ((inputs + hidden) * inputs + inputs)


def lstm_count__no_bias(inputs, hidden):
    """The bias is not counted"""
    return 4 * (inputs + hidden) * hidden


def lstm_count__two_biases(inputs, hidden):
    """There are two biases, as in PyTorch: here is one"""
    return 4 * ((inputs + hidden) * hidden + 2 * hidden)


def lstm_count__one_bias(inputs, hidden):
    """The bias is counted for one block only: each has its own"""
    return 4 * (inputs + hidden) * hidden + hidden


def lstm_count__three(inputs, hidden):
    """Only the three gates are counted: a fourth block has weights, too"""
    return 3 * ((inputs + hidden) * hidden + hidden)


def lstm_count__one(inputs, hidden):
    """Only one block is counted"""
    return (inputs + hidden) * hidden + hidden


def lstm_count__no_state(inputs, hidden):
    """What reads h is not counted"""
    return 4 * (inputs * hidden + hidden)


def forget_bias__wrong_gate(hidden, share, steps):
    """It is in the input gate's block: there it does not keep, it lets in"""
    f = share ** (1 / steps)
    return np.repeat([0, np.log(f / (1 - f)), 0, 0], hidden)


def forget_bias__one_unit(hidden, share, steps):
    """Only one unit has the bias: the gate has one for each unit"""
    b = forget_bias(hidden, share, steps)
    b[1:hidden] = 0
    return b


def forget_bias__every_gate(hidden, share, steps):
    """It is in all blocks: only one gate keeps c"""
    f = share ** (1 / steps)
    return np.full(4 * hidden, np.log(f / (1 - f)))


def forget_bias__one_step(hidden, share, steps):
    """The share is left after one step, not after all of them"""
    return np.repeat([np.log(share / (1 - share)), 0, 0, 0], hidden)


def forget_bias__divided(hidden, share, steps):
    """The share is divided by the steps: but the steps multiply c, one after the other"""
    f = share / steps
    return np.repeat([np.log(f / (1 - f)), 0, 0, 0], hidden)


def forget_bias__gate_itself(hidden, share, steps):
    """This is what f is, not the bias that makes the sigmoid f"""
    return np.repeat([share ** (1 / steps), 0, 0, 0], hidden)


def forget_bias__sign(hidden, share, steps):
    """The quotient in the logarithm is upside down: a large bias keeps more"""
    f = share ** (1 / steps)
    return np.repeat([np.log((1 - f) / f), 0, 0, 0], hidden)


def _gru(x, h, Wx, Wh):
    """The sums of z and r by all they read, and the candidate's by x."""
    z, r, n = np.split(x @ Wx, 3, axis=-1)
    z_by_h, r_by_h = np.split(h @ Wh, 2, axis=-1)
    return z + z_by_h, r + r_by_h, n


def gru_step__reset_after(x, h, Wx, Wh, Wn):
    """The reset gate acts after the product with Wn: it is asked for before"""
    z, r, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return (1 - z) * h + z * np.tanh(n + sigmoid(r) * (h @ Wn))


def gru_step__z_swapped(x, h, Wx, Wh, Wn):
    """z and 1 - z are swapped"""
    z, r, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return z * h + (1 - z) * np.tanh(n + (sigmoid(r) * h) @ Wn)


def gru_step__another_order(x, h, Wx, Wh, Wn):
    """z and r are taken from each other's blocks: r z n is the order of PyTorch"""
    r, z, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return (1 - z) * h + z * np.tanh(n + (sigmoid(r) * h) @ Wn)


def gru_step__no_reset(x, h, Wx, Wh, Wn):
    """The reset gate is left out: the candidate reads all of h"""
    z, _, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return (1 - z) * h + z * np.tanh(n + h @ Wn)


def gru_step__swapped(x, h, Wx, Wh, Wn):
    """σ and tanh are swapped: a gate lies between 0 and 1, tanh between -1 and 1"""
    z, r, n = _gru(x, h, Wx, Wh)
    z = np.tanh(z)
    return (1 - z) * h + z * sigmoid(n + (np.tanh(r) * h) @ Wn)


def gru_step__sigmoid_candidate(x, h, Wx, Wh, Wn):
    """The candidate has σ: what is written must be able to be negative"""
    z, r, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return (1 - z) * h + z * sigmoid(n + (sigmoid(r) * h) @ Wn)


def gru_step__no_product(x, h, Wx, Wh, Wn):
    """The candidate has r h as it is: it goes through a matrix first"""
    z, r, n = _gru(x, h, Wx, Wh)
    z = sigmoid(z)
    return (1 - z) * h + z * np.tanh(n + sigmoid(r) * h)


def gru_step__reset_keeps(x, h, Wx, Wh, Wn):
    """The reset gate acts on what is kept, too: it is for what the candidate reads"""
    z, r, n = _gru(x, h, Wx, Wh)
    z, h = sigmoid(z), sigmoid(r) * h
    return (1 - z) * h + z * np.tanh(n + h @ Wn)


def other_z__everything(Wx, Wh):
    """All blocks have the other sign: r and the candidate must stay as they are"""
    return -Wx, -Wh


def other_z__both_gates(Wx, Wh):
    """Both gates have the other sign: r must stay as it is"""
    H = len(Wh)
    sign = np.repeat([-1.0, -1.0, 1.0], H)
    return Wx * sign, Wh * sign[: 2 * H]


def other_z__reset(Wx, Wh):
    """The reset gate's block has the other sign: which block is that of z?"""
    H = len(Wh)
    sign = np.repeat([1.0, -1.0, 1.0], H)
    return Wx * sign, Wh * sign[: 2 * H]


def other_z__one_minus(Wx, Wh):
    """1 - W is not it: the gate is to become 1 - z, not the weights"""
    H = len(Wh)
    Wx, Wh = Wx.copy(), Wh.copy()
    Wx[:, :H], Wh[:, :H] = 1 - Wx[:, :H], 1 - Wh[:, :H]
    return Wx, Wh


def other_z__x_only(Wx, Wh):
    """Only what comes from x has the other sign: z reads h, too"""
    return Wx * np.repeat([-1.0, 1.0, 1.0], len(Wh)), Wh


def other_z__one_column(Wx, Wh):
    """Only one column has the other sign: a block has one for each hidden unit"""
    Wx, Wh = Wx.copy(), Wh.copy()
    Wx[:, 0] *= -1
    Wh[:, 0] *= -1
    return Wx, Wh


def other_z__as_it_was(Wx, Wh):
    """Nothing has changed"""
    return Wx, Wh
