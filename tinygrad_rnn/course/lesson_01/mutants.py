"""Lesson 01: mistakes that are often made."""

import numpy as np

from .solution import central_difference, partials


def central_difference__one_sided(f, x, h):
    """One point is x itself: nudge to both sides, the error is then h² instead of h"""
    return (f(x + h) - f(x)) / h


def central_difference__half_width(f, x, h):
    """The two points are 2h apart, not h"""
    return (f(x + h) - f(x - h)) / h


def central_difference__sign(f, x, h):
    """The lower point is taken first"""
    return (f(x - h) - f(x + h)) / (2 * h)


def central_difference__brackets(f, x, h):
    """Brackets are missing: the whole difference is divided, by all of 2h"""
    return f(x + h) - f(x - h) / 2 * h


def best_step__error(f, x, slope, steps):
    """It is the error itself: the step that has it is asked for"""
    return min(abs(central_difference(f, x, h) - slope) for h in steps)


def best_step__place(f, x, slope, steps):
    """It is the place in the list: the step that stands there is asked for"""
    return int(np.argmin([abs(central_difference(f, x, h) - slope) for h in steps]))


def best_step__smallest(f, x, slope, steps):
    """The smallest step is not the best: below some size, rounding spoils it"""
    return min(steps)


def best_step__largest_error(f, x, slope, steps):
    """It is the worst step: the smallest error is wanted"""
    errors = [abs(central_difference(f, x, h) - slope) for h in steps]
    return steps[int(np.argmax(errors))]


def best_step__signed(f, x, slope, steps):
    """The errors are compared with their signs: take their size"""
    errors = [central_difference(f, x, h) - slope for h in steps]
    return steps[int(np.argmin(errors))]


def partials__together(f, values, h):
    """All entries are nudged at once: only one may move, the others are held"""
    return np.full_like(values, central_difference(f, values, h))


def partials__not_put_back(f, values, h):
    """An entry is not put back before the next one is nudged"""
    gradient, moved = np.zeros_like(values), values.copy()
    for k in range(len(values)):
        before = f(moved)
        moved[k] += h
        gradient[k] = (f(moved) - before) / h
    return gradient


def partials__first(f, values, h):
    """Only the first entry is filled: is the return inside of the loop?"""
    gradient = np.zeros_like(values)
    gradient[0] = partials(f, values, h)[0]
    return gradient


def partials__everywhere(f, values, h):
    """One slope stands in all places: each entry has its own"""
    gradient = np.zeros_like(values)
    for k in range(len(values)):
        nudge = np.zeros_like(values)
        nudge[k] = h
        gradient[:] = (f(values + nudge) - f(values - nudge)) / (2 * h)
    return gradient
