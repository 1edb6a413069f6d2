"""Lesson 10: mistakes that are often made."""

import numpy as np


def dropout__no_rescaling(x, keep, p, training):
    """What is left is not made larger: the mean is too small, and other than in use"""
    return x * keep if training else x


def dropout__by_p(x, keep, p, training):
    """It is divided by the probability of being taken away, not by that of staying"""
    return x * keep / p if training else x


def dropout__in_use(x, keep, p, training):
    """Numbers are taken away in use, too"""
    return x * keep / (1 - p)


def dropout__use_rescaled(x, keep, p, training):
    """In use everything is there, and is made larger all the same"""
    return x * keep / (1 - p) if training else x / (1 - p)


def dropout__inverted(x, keep, p, training):
    """What was to stay is taken away, and the other way round"""
    return x * ~keep / (1 - p) if training else x


def below__state(step, xs, h, draw):
    """The state is cut at each step, too: little by little the memory is wiped out"""
    states = []
    for x in xs:
        h = step(x * draw(x.shape), h * draw(h.shape))
        states.append(h)
    return np.array(states)


def below__only_state(step, xs, h, draw):
    """It is the state that is cut, not the input"""
    states = []
    for x in xs:
        h = step(x, h * draw(h.shape))
        states.append(h)
    return np.array(states)


def below__none(step, xs, h, draw):
    """Nothing is cut"""
    states = []
    for x in xs:
        h = step(x, h)
        states.append(h)
    return np.array(states)


def below__same(step, xs, h, draw):
    """All steps have the same mask: here each draws its own"""
    mask, states = draw(xs[0].shape), []
    for x in xs:
        h = step(x * mask, h)
        states.append(h)
    return np.array(states)


def below__output(step, xs, h, draw):
    """It is the next state that is cut, on its way to the next step"""
    states = []
    for x in xs:
        h = step(x, h)
        h = h * draw(h.shape)
        states.append(h)
    return np.array(states)


def variational__fresh(step, xs, h, draw):
    """Each step draws masks of its own: of the state nothing is left after a while"""
    states = []
    for x in xs:
        h = step(x * draw(x.shape), h * draw(h.shape))
        states.append(h)
    return np.array(states)


def variational__fresh_state(step, xs, h, draw):
    """The mask of the input stays, but that of the state is drawn anew at each step"""
    of_x, states = draw(xs[0].shape), []
    for x in xs:
        h = step(x * of_x, h * draw(h.shape))
        states.append(h)
    return np.array(states)


def variational__inputs(step, xs, h, draw):
    """Only the input is cut: the links of the state have a mask, too"""
    return _variational(step, xs, h, draw, True, False, False)


def variational__state(step, xs, h, draw):
    """Only the state is cut: the input has a mask, too"""
    return _variational(step, xs, h, draw, False, True, False)


def variational__handed_on(step, xs, h, draw):
    """What is handed on is cut as well: only what the step reads goes through the mask"""
    return _variational(step, xs, h, draw, True, True, True)


def _variational(step, xs, h, draw, cut_x, cut_h, cut_new):
    of_x, of_h = draw(xs[0].shape), draw(h.shape)
    states = []
    for x in xs:
        h = step(x * of_x if cut_x else x, h * of_h if cut_h else h)
        h = h * of_h if cut_new else h
        states.append(h)
    return np.array(states)


def candidate__all(h, new, z, mask):
    """The whole next state is cut: what the gate keeps fades with it"""
    return ((1 - z) * h + z * new) * mask


def candidate__old(h, new, z, mask):
    """It is the old state that is cut: that is the memory"""
    return (1 - z) * h * mask + z * new


def candidate__gate(h, new, z, mask):
    """The gate is cut on both sides: then the old state gets a larger or smaller part, too"""
    return (1 - z * mask) * h + z * mask * new


def candidate__none(h, new, z, mask):
    """Nothing is cut"""
    return (1 - z) * h + z * new


def candidate__forgotten(h, new, z, mask):
    """Only what is written is left: the old state is missing"""
    return z * mask * new


def zoneout__off_in_use(step, xs, h, p, keep, training):
    """In use the step is taken whole: the state then moves faster than it did in training"""
    if not training:
        return _zoneout(step, xs, h, lambda old, new: new)
    return _zoneout(step, xs, h, lambda old, new: np.where(keep(old.shape), old, new))


def zoneout__expectation(step, xs, h, p, keep, training):
    """In use p and 1 - p have changed places: p is the probability of staying"""
    if not training:
        return _zoneout(step, xs, h, lambda old, new: (1 - p) * old + p * new)
    return _zoneout(step, xs, h, lambda old, new: np.where(keep(old.shape), old, new))


def zoneout__weights(step, xs, h, p, keep, training):
    """Nothing of the state is kept. To keep weights would change nothing within a run"""
    return _zoneout(step, xs, h, lambda old, new: new)


def zoneout__dropped(step, xs, h, p, keep, training):
    """Units are set to 0: that is dropout. Here they stay what they were"""
    if not training:
        return _zoneout(step, xs, h, lambda old, new: (1 - p) * new)
    return _zoneout(step, xs, h, lambda old, new: np.where(keep(old.shape), 0.0, new))


def zoneout__inverted(step, xs, h, p, keep, training):
    """What was to stay is new, and the other way round"""
    if not training:
        return _zoneout(step, xs, h, lambda old, new: (1 - p) * old + p * new)
    return _zoneout(step, xs, h, lambda old, new: np.where(keep(old.shape), new, old))


def zoneout__in_use(step, xs, h, p, keep, training):
    """In use it is still left to chance"""
    return _zoneout(step, xs, h, lambda old, new: np.where(keep(old.shape), old, new))


def zoneout__output(step, xs, h, p, keep, training):
    """What stands in the answer is not the state that is handed on: each has a mask of its own"""
    states = []
    for x in xs:
        new = step(x, h)
        mixed = [
            np.where(keep(h.shape), h, new) if training else p * h + (1 - p) * new for _ in "oh"
        ]
        states.append(mixed[1])
        h = mixed[0]
    return np.array(states)


def _zoneout(step, xs, h, mix):
    states = []
    for x in xs:
        h = mix(h, step(x, h))
        states.append(h)
    return np.array(states)
