"""Lesson 08: mistakes that are often made."""

import numpy as np

import tinygrad_rnn as tg


def window_gradients__no_detach(step, error, windows, h, weight):
    """Nothing is cut: each gradient goes back through all windows before its own"""
    gradients = []
    for xs, ys in windows:
        loss = 0.0
        for x, y in zip(xs, ys, strict=True):
            h = step(x, h)
            loss = loss + error(h, y)
        gradients.append(tg.grad(loss, weight, retain_graph=True).data)
    return gradients


def window_gradients__zeroed(step, error, windows, h, weight):
    """Each window begins with the state before all: the numbers of the state are to go on, too"""
    return [window_gradients__no_detach(step, error, [w], h, weight)[0] for w in windows]


def window_gradients__each_step(step, error, windows, h, weight):
    """The history is cut at each step: inside a window it has to stay whole"""
    gradients = []
    for xs, ys in windows:
        loss = 0.0
        for x, y in zip(xs, ys, strict=True):
            h = step(x, h.detach())
            loss = loss + error(h, y)
        gradients.append(tg.grad(loss, weight).data)
    return gradients


def window_gradients__twice(step, error, windows, h, weight):
    """What earlier windows gave is counted again: each window has a loss of its own"""
    gradients, total = [], 0.0
    for xs, ys in windows:
        h = h.detach()
        for x, y in zip(xs, ys, strict=True):
            h = step(x, h)
            total = total + error(h, y)
        gradients.append(tg.grad(total, weight, retain_graph=True).data)
    return gradients


def window_gradients__last(step, error, windows, h, weight):
    """Only a window's last step has a loss: each of its steps has one"""
    gradients = []
    for xs, ys in windows:
        h = h.detach()
        for x in xs:
            h = step(x, h)
        gradients.append(tg.grad(error(h, ys[-1]), weight).data)
    return gradients


def _truncated(step, error, xs, ys, h, weight, every, back, counted, zeroed=False):
    before = [h.detach()]
    for x in xs:
        before.append(step(x, before[-1]).detach())
    gradients = []
    for t in range(every, len(xs) + 1, every):
        begin = max(0, t - back)
        h, loss = before[0 if zeroed else begin], 0.0
        for j in range(begin, t):
            h = step(xs[j], h)
            if j >= t - counted:
                loss = loss + error(h, ys[j])
        gradients.append(tg.grad(loss, weight).data)
    return gradients


def truncated__twice(step, error, xs, ys, h, k1, k2, weight):
    """Losses are counted twice: of the k2 steps that were run again, only the last k1 are new"""
    return _truncated(step, error, xs, ys, h, weight, k1, k2, k2)


def truncated__each_step(step, error, xs, ys, h, k1, k2, weight):
    """The history is cut at each step: the gradient goes back one step, whatever k2 is"""
    gradients = []
    for x, y in zip(xs, ys, strict=True):
        h = step(x, h.detach())
        gradients.append(tg.grad(error(h, y), weight).data)
    return [sum(gradients[t : t + k1]) for t in range(0, len(xs), k1)]


def truncated__whole(step, error, xs, ys, h, k1, k2, weight):
    """Each gradient goes back to the first of all steps: it is to stop after k2"""
    return _truncated(step, error, xs, ys, h, weight, k1, len(xs), k1)


def truncated__windows(step, error, xs, ys, h, k1, k2, weight):
    """It goes back k1 steps, not k2"""
    return _truncated(step, error, xs, ys, h, weight, k1, k1, k1)


def truncated__zeroed(step, error, xs, ys, h, k1, k2, weight):
    """Each run begins with the state before all steps: what the network has read is forgotten"""
    return _truncated(step, error, xs, ys, h, weight, k1, k2, k1, zeroed=True)


def truncated__off_by_one(step, error, xs, ys, h, k1, k2, weight):
    """It goes back one step too far"""
    return _truncated(step, error, xs, ys, h, weight, k1, k2 + 1, k1)


def carry__all(state, fresh):
    """All rows are 0 as soon as one text ends: the other texts lose their memory"""
    return tuple(part.detach() * (0.0 if fresh.any() else 1.0) for part in state)


def carry__inverted(state, fresh):
    """The texts that go on are reset, and those that have ended are kept"""
    return tuple(tg.where(fresh[:, None], part.detach(), 0.0) for part in state)


def carry__columns(state, fresh):
    """Units are reset, not rows: the first axis is that of the texts"""
    return tuple(tg.where(fresh[: part.shape[1]], 0.0, part.detach()) for part in state)


def carry__only_h(state, fresh):
    """Only the first part of the state is reset: an LSTM remembers in the second"""
    first, *rest = state
    return (tg.where(fresh[:, None], 0.0, first.detach()), *[part.detach() for part in rest])


def carry__history(state, fresh):
    """The numbers are right, but the history still hangs on them"""
    return tuple(tg.where(fresh[:, None], 0.0, part) for part in state)


def mean_loss__total(run, windows, state):
    """The total is a tensor: through it every loss is held, and with each loss its window"""
    total = 0.0
    for x, y in windows:
        loss, state = run(x, y, state)
        state = state.detach()
        total = total + loss
    return total.item() / len(windows)


def mean_loss__state(run, windows, state):
    """The losses are let go, but the state holds the windows that it came through"""
    total = 0.0
    for x, y in windows:
        loss, state = run(x, y, state)
        total += loss.item()
    return total / len(windows)


def mean_loss__both(run, windows, state):
    """Every window is held twice: by a tensor that grows, and by the state that goes on"""
    total = 0.0
    for x, y in windows:
        loss, state = run(x, y, state)
        total = total + loss
    return total.item() / len(windows)


def mean_loss__zeroed(run, windows, state):
    """Each window begins with the state before all: nothing is held, and nothing remembered"""
    return float(np.mean([run(x, y, state)[0].item() for x, y in windows]))
