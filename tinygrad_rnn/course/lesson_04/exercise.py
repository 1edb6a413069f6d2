"""04 A cell is a line

A recurrent network is one line of code, done again and again: from an input and the state before
it makes the state after,

    h_new = tanh(x @ Wx + h @ Wh + b)

You write the line, the loop around it, and count what is in it.

Vectors are rows, and a batch has B of them. Inputs have I numbers, states H, and outputs O.

Fill in the four functions. Check them at any time:

    tinygrad-rnn course check 04
"""


def iterate(f, s, steps):
    """The states of a system that goes on by itself: a list of as many as there are steps.

    Each state is f of the one before. The first of the list is f(s): s itself is not in it.
    """
    raise NotImplementedError


def step(x, h, Wx, Wh, b):
    """The state after one step of a recurrent network: an array (B, H).

    x (B, I) is what it reads, and h (B, H) the state before. The weights are Wx (I, H), Wh (H, H)
    and the bias b (H,). It is the line above.
    """
    raise NotImplementedError


def unroll(x, h, Wx, Wh, b, V, c):
    """All outputs, an array (T, B, O), and the last state, an array (B, H). Return both.

    x (T, B, I) has the inputs of T steps, h (B, H) is the state to begin with. At each step the
    state is made as by `step`. The output of the step is made from the new state: it is that state
    times V (H, O), plus c (O,).
    """
    raise NotImplementedError


def count_parameters(inputs, hidden, outputs, steps):
    """How many numbers this network has to learn: all entries of Wx, Wh, b, V and c.

    Its inputs have `inputs` numbers, its states `hidden`, and its outputs `outputs`. It reads
    sequences of so many steps.
    """
    raise NotImplementedError
