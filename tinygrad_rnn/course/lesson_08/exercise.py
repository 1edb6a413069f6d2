"""08 Cutting

A long text is not learnt in one piece: memory would grow with every step. It is cut into windows.
The state goes on from one window to the next; its history, which the gradient walks back through,
does not.

Fill in the four functions. Check them at any time:

    tinygrad-rnn course check 08
"""

import tinygrad_rnn as tg


def window_gradients(step, error, windows, h, weight):
    """The gradient of each window's loss by the weight, as a list of arrays.

    `step(x, h)` is one step of a network: it returns the next state. `error(h, y)` is the loss of
    one step. Both use tensors, and `step` uses the tensor `weight`. windows is a list of pairs
    (xs, ys), each with as many x as y. h is the state before the first of all steps.

    The loss of a window is the sum of its steps' errors; `tg.grad(loss, weight)` is its gradient.
    Each window begins with the state in which the last one ended. The gradient of a window goes
    back to the first step of that window, and no further: `h.detach()` is h without its history.
    """
    gradients = []
    for xs, ys in windows:
        loss = 0.0
        # The steps of one window: their errors, and the way back.
        raise NotImplementedError
        gradients.append(tg.grad(loss, weight).data)
    return gradients


def truncated(step, error, xs, ys, h, k1, k2, weight):
    """A gradient after every k1 steps, which goes back k2 steps: a list of arrays.

    step, error, h and weight are as before; xs and ys are the whole sequence. k2 is at least k1,
    and k1 divides the number of steps. After k1, 2 k1, 3 k1, ... steps take the gradient of the
    loss of the last k1 steps: each step's loss counts once. Let it go back through the last k2
    steps (all there are, if there are fewer).

    One way: keep the detached state before every step. After t steps begin again with the one
    before step t - k2, run to t, and add up the errors of the last k1 steps of that run.
    """
    raise NotImplementedError


def carry(state, fresh):
    """The state with which the next window begins, as a tuple of tensors.

    state is a tuple of tensors (B, H): of an LSTM, h and c. Row b belongs to text number b.
    fresh is an array of B bools: where it is True, that text has ended, and another begins in the
    next window. Such rows are 0 in what you return, in all tensors; all other rows keep their
    numbers. None of it has a history.
    """
    raise NotImplementedError


def mean_loss(run, windows, state):
    """The mean of the losses of all windows, as a float, for a validation: no gradient is wanted.

    `run(x, y, state)` runs one window: it returns its loss, a tensor, and the state after it, a
    tensor. windows is a list of pairs (x, y). The state goes on from window to window.

    This one is right, but the memory that it takes grows with each window. Find what holds the
    windows that are over:

        total = 0.0
        for x, y in windows:
            loss, state = run(x, y, state)
            total += loss
        return total.item() / len(windows)
    """
    raise NotImplementedError
