"""11 It writes

A language model reads symbols and says how likely each symbol is to come next. Here you measure
how well it does that, and let it write.

A symbol is a number: 0, 1, 2, … A model is a function, called once for each symbol that is read:

    logits, state = step(symbol, state)

`state` is what it remembers; `logits` are scores, one for each symbol, and their softmax is the
probability of each to come next. Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 11
"""

import numpy as np


def bits(logits, target):
    """How many bits a symbol costs on the average: the mean of -log2 p(target).

    logits: an array (T, B, C), the scores of C symbols at T steps of B texts.
    target: whole numbers (T, B), the symbol that came. Returns one number.

    Scores may be as large as 1000: subtract the largest of each place before np.exp.
    """
    raise NotImplementedError


def teacher_forcing(step, state, text):
    """What a model says of a text that it does not write itself.

    Let the model read the symbols of `text` one after another, beginning with this state. After
    each but the last, take the probability that it gives to the symbol that truly comes next.

    Returns these probabilities as an array of len(text) - 1 numbers.
    """
    raise NotImplementedError


def draw(logits, temperature, u):
    """Draw a symbol by chance: each as often as softmax(logits / temperature) says.

    u: the chance, a number from 0 up to 1. Imagine the probabilities laid side by side on a line
    from 0 to 1, symbol 0 first: return the symbol on whose piece u lies.

    Scores may be as large as 1000: subtract the largest before np.exp.
    """
    raise NotImplementedError


def write(step, state, prompt, count, choose):
    """Let a model go on from a prompt: the `count` symbols that it writes, as a list.

    It first reads the prompt, one symbol after another, beginning with this state. `choose(logits)`
    picks a symbol from the scores. Each symbol that was picked is the next one that it reads.
    """
    raise NotImplementedError


def both_ways(forward, backward, xs, begin):
    """What two cells know at each step, one having read what is before it, one what is after.

    forward, backward: functions `h = cell(x, h)`. xs: an array (T, I). begin: an array (H,), the
    state in which either of them begins. Step t itself is read by both.

    Returns an array (T, 2 * H): in row t the state of `forward` after it has read xs[0], …, xs[t],
    then that of `backward` after it has read xs[T - 1], …, xs[t].
    """
    raise NotImplementedError
