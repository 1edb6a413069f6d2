"""07 Gates that remember

A plain recurrent network writes its whole state anew at every step. An LSTM and a GRU have gates:
numbers between 0 and 1 that say how much is kept, how much is written, and how much is shown.

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 07
"""

import numpy as np


def sigmoid(a):
    """Between 0, shut, and 1, open. It is given: nothing is to be done here."""
    return 1 / (1 + np.exp(-a))


def lstm_step(x, h, c, Wx, Wh, b):
    """One step of an LSTM: return the new h and the new c, in this order.

    x (batch, inputs), h and c (batch, hidden), Wx (inputs, 4 * hidden), Wh (hidden, 4 * hidden),
    b (4 * hidden,). The sum x Wx + h Wh + b has four blocks of columns, each as wide as h, in
    this order: forget gate f, input gate i, candidate g, output gate o. `np.split(a, 4, axis=-1)`
    takes them apart.

    A gate is the sigmoid of its block, the candidate is the tanh of its own. The new c is what f
    keeps of the old c, plus what i lets in of g. The new h is what o shows of the tanh of the
    new c. All products of gates are entry by entry.
    """
    raise NotImplementedError


def lstm_count(inputs, hidden):
    """How many weights an LSTM has: all entries of Wx, Wh and b of `lstm_step`.

    Wx is (inputs, 4 * hidden), Wh (hidden, 4 * hidden), b (4 * hidden,). For 128 inputs and 128
    hidden units there are 131584. Inputs and hidden may differ.
    """
    raise NotImplementedError


def forget_bias(hidden, share, steps):
    """The bias b, (4 * hidden,), of a new LSTM that still has this share of c after so many steps.

    Say that x and h are 0 and that nothing is written. Then each step multiplies c by the same
    f = sigmoid(bias), and after all steps f ** steps is left. Which f leaves the share? And
    sigmoid(bias) is f where bias = log(f / (1 - f)).

    Put that bias into the block of the forget gate, in the order f, i, g, o. All else is 0.
    """
    raise NotImplementedError


def gru_step(x, h, Wx, Wh, Wn):
    """One step of a GRU: return the new h.

    x (batch, inputs), h (batch, hidden). Wx (inputs, 3 * hidden) has blocks for the update gate z,
    the reset gate r and the candidate n, in this order. Wh (hidden, 2 * hidden) has those for z
    and r, and Wn (hidden, hidden) is the candidate's own. There is no bias.

    z and r are sigmoids of what x and h give them. The candidate is a tanh; it reads x, and of h
    only what r lets through: h is multiplied by r before it goes through Wn. The new h is
    (1 - z) times the old h, plus z times the candidate.
    """
    raise NotImplementedError


def other_z(Wx, Wh):
    """Weights (Wx, Wh) with which a GRU of the other convention does the same.

    The other convention, that of PyTorch and Keras, has z and 1 - z change places: its new h is
    z times the old h, plus (1 - z) times the candidate. So each z must become 1 - z, and r and n
    must stay as they are. The blocks are those of `gru_step`. Note that 1 - sigmoid(a) is
    sigmoid(-a).
    """
    raise NotImplementedError
