"""Lesson 05: mistakes that are often made."""

import numpy as np

from .solution import by_lag, delta, terms, weight_gradients


def delta__own_loss_left_out(own, h, Wh):
    """Only the last step's own loss came in: every step has a loss of its own"""
    alone = np.zeros_like(own)
    alone[-1] = own[-1]
    return delta(alone, h, Wh)


def delta__minus(own, h, Wh):
    """What comes back is subtracted: the slopes of both ways add up"""
    return delta(own, h, -Wh)


def delta__own_of_the_next(own, h, Wh):
    """The next step's own slope came back alone: what comes back is all that it feels"""
    found = np.zeros_like(own)
    for t in range(len(own)):
        later = own[t + 1] @ Wh.T if t + 1 < len(own) else 0
        found[t] = (own[t] + later) * (1 - h[t + 1] ** 2)
    return found


def delta__cut(own, h, Wh):
    """Nothing came back from the next step: each state is read by the step after it, too"""
    return own * (1 - h[1:] ** 2)


def delta__forwards(own, h, Wh):
    """It was walked from the first step to the last: at a step the next one's slope is needed"""
    found, other = np.zeros_like(own), 0
    for t in range(len(own)):
        found[t] = (own[t] + other) * (1 - h[t + 1] ** 2)
        other = found[t] @ Wh.T
    return found


def delta__one_step(own, h, Wh):
    """It went back one step only: what comes back from the next step has all later ones in it"""
    found = own * (1 - h[1:] ** 2)
    found[:-1] += found[1:] @ Wh.T * (1 - h[1:-1] ** 2)
    return found


def delta__wrong_step(own, h, Wh):
    """tanh' is taken at the wrong step: it belongs to the state that the step made"""
    return delta(own, np.concatenate([h[:1], h[:-1]]), Wh)


def delta__no_slope(own, h, Wh):
    """tanh' is missing: that is the slope by h, not by s"""
    return delta(own, np.zeros_like(h), Wh)


def delta__tanh_twice(own, h, Wh):
    """tanh was taken twice: h is tanh s already"""
    return delta(own, np.tanh(h), Wh)


def delta__one_way(own, h, Wh):
    """Only one of the two ways is multiplied by tanh': the sum of both has to pass through it"""
    found, later = np.zeros_like(own), 0
    for t in reversed(range(len(own))):
        found[t] = own[t] * (1 - h[t + 1] ** 2) + later
        later = found[t] @ Wh.T
    return found


def delta__transposed(own, h, Wh):
    """Wh is walked through forwards: on the way back its rows and columns change places"""
    return delta(own, h, Wh.T)


def delta__sign(own, h, Wh):
    """It has the other sign: is it 1 - tanh²?"""
    found, later = np.zeros_like(own), 0
    for t in reversed(range(len(own))):
        found[t] = (own[t] + later) * (h[t + 1] ** 2 - 1)
        later = found[t] @ Wh.T
    return found


def weight_gradients__other_order(x, h, delta):
    """They are returned in the other order: first that of Wx"""
    return weight_gradients(x, h, delta)[::-1]


def weight_gradients__after(x, h, delta):
    """The state is the one that the step made: Wh met the one from before the step"""
    return weight_gradients(x, h[1:], delta)


def weight_gradients__last_step(x, h, delta):
    """Only the last step counts: every step adds to the gradient, and = forgets the others"""
    return weight_gradients(x[-1:], h[-2:], delta[-1:])


def weight_gradients__first_step(x, h, delta):
    """Only the first step counts: every step adds to the gradient"""
    return weight_gradients(x[:1], h[:2], delta[:1])


def weight_gradients__each_step(x, h, delta):
    """It is not summed over time: the weights are the same at all steps"""
    return np.einsum("tbi,tbh->tih", x, delta), np.einsum("tbi,tbh->tih", h[:-1], delta)


def weight_gradients__each_row(x, h, delta):
    """It is not summed over the batch: the weights are the same for all rows"""
    return np.einsum("tbi,tbh->bih", x, delta), np.einsum("tbi,tbh->bih", h[:-1], delta)


def weight_gradients__one_row(x, h, delta):
    """Only one row of the batch counts: every row adds to the gradient"""
    return weight_gradients(x[:, :1], h[:, :1], delta[:, :1])


def weight_gradients__outer(x, h, delta):
    """np.outer multiplies every row of the batch with every other: a row belongs to itself alone"""
    steps = range(len(x))
    by_Wx = sum(np.outer(x[t], delta[t]) for t in steps)
    return by_Wx, sum(np.outer(h[t], delta[t]) for t in steps)


def weight_gradients__mean_over_time(x, h, delta):
    """It is a mean over time: the loss is a sum over all steps"""
    return tuple(found / len(x) for found in weight_gradients(x, h, delta))


def weight_gradients__mean_over_batch(x, h, delta):
    """It is a mean over the batch: the loss is a sum over its rows"""
    return tuple(found / x.shape[1] for found in weight_gradients(x, h, delta))


def weight_gradients__transposed(x, h, delta):
    """Rows and columns have changed places: a weight has a row for each number that it meets"""
    return tuple(found.T for found in weight_gradients(x, h, delta))


def bias_gradient__nothing(delta):
    """The bias has a gradient, too: the loss changes when it is moved"""
    return np.zeros(delta.shape[-1])


def bias_gradient__last_step(delta):
    """Only the last step counts: the bias is added at every step"""
    return delta[-1].sum(axis=0)


def bias_gradient__first_step(delta):
    """Only the first step counts: the bias is added at every step"""
    return delta[0].sum(axis=0)


def bias_gradient__each_step(delta):
    """It is not summed over time: the bias is the same at all steps"""
    return delta.sum(axis=1)


def bias_gradient__each_row(delta):
    """It is not summed over the batch: the bias is the same for all rows"""
    return delta.sum(axis=0)


def bias_gradient__mean_over_time(delta):
    """It is a mean over time: the loss is a sum over all steps"""
    return delta.mean(axis=0).sum(axis=0)


def bias_gradient__mean_over_batch(delta):
    """It is a mean over the batch: the loss is a sum over its rows"""
    return delta.mean(axis=1).sum(axis=0)


def bias_gradient__all_units(delta):
    """All units have one sum: each unit has a bias of its own"""
    return np.full(delta.shape[-1], delta.sum())


def terms__total(own, h, Wh):
    """That is the total derivative: earlier uses of Wh, which have terms of their own, are in it
    again. The immediate one holds h[k] fixed"""
    return terms(own, h, Wh).cumsum(axis=1) * np.tri(len(own))[:, :, None, None]


def terms__after(own, h, Wh):
    """The state is the one that step k made: its copy of Wh met the one from before"""
    return np.einsum("kbi,tkbh->tkih", h[1:], _slopes(own, h, Wh))


def terms__before_tanh(own, h, Wh):
    """tanh' of step k is missing: between its copy of Wh and the state after it is tanh"""
    by_h = _slopes(own, h, Wh) / (1 - h[1:] ** 2)
    return np.einsum("kbi,tkbh->tkih", h[:-1], by_h)


def terms__all_losses(own, h, Wh):
    """In row t stands what all losses add: L[t] alone is asked for"""
    found = np.einsum("kbi,kbh->kih", h[:-1], delta(own, h, Wh))
    return found * np.tri(len(own))[:, :, None, None]


def terms__own_step_missing(own, h, Wh):
    """The terms k = t are missing: a loss feels its own step, too"""
    found = terms(own, h, Wh)
    steps = np.arange(len(own))
    found[steps, steps] = 0
    return found


def terms__own_step(own, h, Wh):
    """A loss reaches only its own step: go on to the ones before"""
    return terms(own, h, Wh) * np.eye(len(own))[:, :, None, None]


def terms__one_back(own, h, Wh):
    """A loss goes back one step only: go on to the first"""
    count = len(own)
    return terms(own, h, Wh) * (1 - np.tri(count, k=-2))[:, :, None, None]


def terms__swapped(own, h, Wh):
    """t and k have changed places: the row is the loss, the column the step"""
    return terms(own, h, Wh).swapaxes(0, 1)


def terms__transposed(own, h, Wh):
    """Wh is walked through forwards: on the way back its rows and columns change places"""
    return terms(own, h, Wh.T)


def terms__wrong_step(own, h, Wh):
    """tanh' is taken at the wrong step: it belongs to the state that the step made"""
    slopes = _slopes(own, np.concatenate([h[:1], h[:-1]]), Wh)
    return np.einsum("kbi,tkbh->tkih", h[:-1], slopes)


def _slopes(own, h, Wh):
    """Of each loss alone, by s at each step: (T, T, B, H)."""
    alone = [own * (np.arange(len(own)) == t)[:, None, None] for t in range(len(own))]
    return np.array([delta(one, h, Wh) for one in alone])


def by_lag__by_step(terms):
    """These are sums over the losses: a lag is how far the step lies before the loss"""
    return terms.sum(axis=0)


def by_lag__by_loss(terms):
    """These are sums over the steps: a lag is how far the step lies before the loss"""
    return terms.sum(axis=1)


def by_lag__mean(terms):
    """It is a mean: the sum of all lags has to be the whole gradient"""
    found = by_lag(terms)
    return found / np.arange(len(found), 0, -1)[:, None, None]


def by_lag__one_term(terms):
    """One term of each lag is left: all with the same lag are added up"""
    return terms[-1, ::-1]


def by_lag__reversed(terms):
    """The order is turned round: the first entry is lag 0"""
    return by_lag(terms)[::-1]


def by_lag__negative(terms):
    """The lag is t - k: a negative place counts from the end"""
    found = np.zeros(terms.shape[1:])
    for t in range(len(terms)):
        for k in range(t + 1):
            found[k - t] += terms[t, k]
    return found


def by_lag__forwards(terms):
    """The lag is t - k, and k is the second place of terms[t, k]"""
    return by_lag(terms.swapaxes(0, 1))
