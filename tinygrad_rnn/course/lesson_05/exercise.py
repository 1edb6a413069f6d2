"""05 BPTT by hand, T = 3

A recurrent network reads an input at each of T steps, counted from 0: 0, 1, ..., T - 1. At step t
it does

    s[t] = x[t] @ Wx + h[t] @ Wh + b
    h[t + 1] = tanh(s[t])

so h[t] is the state before step t, and h[t + 1] the one after it. The loss is a sum, with a part
for each step: L = L[0] + ... + L[T - 1], where L[t] looks at the state h[t + 1] alone. You go
from the last step back to the first, and get the gradient of L by every weight.

Vectors are rows, and a batch has B of them: x is an array (T, B, I), and h an array (T + 1, B, H),
which begins with the state h[0] before all steps. The array own (T, B, H) is given, too: own[t]
is the slope of L[t] alone by h[t + 1].

Fill in the five functions. Check them at any time:

    tinygrad-rnn course check 05
"""

import numpy as np


def delta(own, h, Wh):
    """The slope of the whole loss L by s[t], for every step: an array (T, B, H).

    A state h[t + 1] reaches the loss in two ways. One is the loss of its own step: its slope is
    own[t]. The other is the next step, which reads it. The two slopes add up. After the last step
    there is no next one.

    Between s[t] and h[t + 1] is tanh, whose slope is 1 - tanh².
    """
    found = np.zeros_like(own)
    for t in reversed(range(len(own))):
        # The slope of L by s[t].
        raise NotImplementedError
    return found


def weight_gradients(x, h, delta):
    """The gradients of L by Wx, an array (I, H), and by Wh, an array (H, H). Return both.

    delta, an array (T, B, H), is given: the slope of L by s[t] for every step.

    Wx and Wh are the same at all steps, and for all rows of the batch. Each use adds its share.
    """
    raise NotImplementedError


def bias_gradient(delta):
    """The gradient of L by the bias b, an array (H,).

    delta, an array (T, B, H), is given: the slope of L by s[t] for every step. The bias is added
    at every step, and in every row of the batch.
    """
    raise NotImplementedError


def terms(own, h, Wh):
    """Where the gradient by Wh comes from: an array (T, T, H, H).

    Its entry [t, k] is what the loss L[t] adds through the use of Wh at step k. Think of a copy
    of Wh for each step: it is the slope of L[t] alone by the copy of step k, when only that copy
    is moved. So the state h[k] before step k stays as it is.

    It is 0 where k > t: a loss feels no later step. A term is summed over the rows of the batch.
    All terms together make up the gradient of L by Wh.
    """
    raise NotImplementedError


def by_lag(terms):
    """The terms added up by how many steps they go back: an array (T, H, H).

    Its entry [lag] is the sum of all terms[t, k] with t - k = lag, for the lags 0, ..., T - 1.
    """
    raise NotImplementedError
