"""Lesson 06: mistakes that are often made."""

import numpy as np

from .solution import jacobian


def jacobian__no_slope(h, Wh):
    """The slope of tanh is left out: it is not only Wh"""
    return Wh.copy()


def jacobian__no_weights(h, Wh):
    """The weights are left out: this is only the slope of tanh"""
    return np.diag(1 - h**2)


def jacobian__transposed(h, Wh):
    """It is transposed: which index is that of the state before?"""
    return (Wh * (1 - h**2)).T


def jacobian__wrong_side(h, Wh):
    """The slope is on the wrong side: it belongs to the state after, which is the column"""
    return Wh * (1 - h**2)[:, None]


def jacobian__not_squared(h, Wh):
    """The slope of tanh has a square in it"""
    return Wh * (1 - h)


def jacobian__tanh_again(h, Wh):
    """h is the value of tanh already: no second tanh"""
    return Wh * (1 - np.tanh(h) ** 2)


def jacobian__value(h, Wh):
    """This is the value of tanh, not its slope"""
    return Wh * h


def far_back__order(hs, Wh):
    """The product is in the wrong order: d meets the first step first, from the left"""
    product = np.eye(len(Wh))
    for h in hs:
        product = jacobian(h, Wh) @ product
    return product


def far_back__no_slope(hs, Wh):
    """The slope of tanh is left out: this is only a power of Wh"""
    return np.linalg.matrix_power(Wh, len(hs))


def far_back__one_for_all(hs, Wh):
    """One Jacobian stands for all steps: each step has a state of its own"""
    return np.linalg.matrix_power(jacobian(hs[-1], Wh), len(hs))


def far_back__sum(hs, Wh):
    """The Jacobians are added: what goes through one step after the other is multiplied"""
    return sum(jacobian(h, Wh) for h in hs)


def far_back__one_missing(hs, Wh):
    """One step is missing: each of the states in hs has a step that made it"""
    product = np.eye(len(Wh))
    for h in hs[1:]:
        product = product @ jacobian(h, Wh)
    return product


def far_back__entries(hs, Wh):
    """They are multiplied entry by entry: matrices one after the other are multiplied with @"""
    product = np.ones(Wh.shape)
    for h in hs:
        product = product * jacobian(h, Wh)
    return product


def spectral_radius__no_size(W):
    """The eigenvalues are taken as they are: take how far each is from 0"""
    return np.linalg.eigvals(W).max()


def spectral_radius__norm(W):
    """This is the largest singular value: it bounds one step, but does not say what many do"""
    return np.linalg.norm(W, 2)


def spectral_radius__entries(W):
    """This is the largest entry: entries below 1 can explode, and entries above 1 vanish"""
    return np.abs(W).max()


def spectral_radius__real(W):
    """Only the real parts are compared: an eigenvalue may be far from 0 without any"""
    return np.linalg.eigvals(W).real.max()


def spectral_radius__smallest(W):
    """This is the smallest eigenvalue: the largest one wins in the end"""
    return np.abs(np.linalg.eigvals(W)).min()


def spectral_radius__determinant(W):
    """This is the product of the eigenvalues: only the largest counts"""
    return abs(np.linalg.det(W))


def clip__each_array(gradients, limit):
    """Each array is clipped by itself: that turns the direction of all together"""
    norms = {name: np.sqrt((g**2).sum()) for name, g in gradients.items()}
    return {k: g * (limit / norms[k] if norms[k] > limit else 1) for k, g in gradients.items()}


def clip__each_entry(gradients, limit):
    """Each entry is clipped by itself: that turns the direction"""
    return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}


def clip__no_root(gradients, limit):
    """The norm is taken without the square root"""
    norm = sum((g**2).sum() for g in gradients.values())
    return {k: g * (limit / norm if norm > limit else 1) for k, g in gradients.items()}


def clip__always(gradients, limit):
    """Short gradients are made longer: what is within the limit stays as it is"""
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    return {k: g * (limit / norm if norm else 1) for k, g in gradients.items()}


def clip__largest_entry(gradients, limit):
    """The largest entry is taken for the norm"""
    norm = max(np.abs(g).max() for g in gradients.values())
    return {k: g * (limit / norm if norm > limit else 1) for k, g in gradients.items()}


def clip__sum_of_norms(gradients, limit):
    """The norms of the arrays are added up: it is the squares that are added, under one root"""
    norm = sum(np.sqrt((g**2).sum()) for g in gradients.values())
    return {k: g * (limit / norm if norm > limit else 1) for k, g in gradients.items()}


def clip__to_one(gradients, limit):
    """It is brought to 1, whatever the limit is"""
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    return {k: g * (1 / norm if norm > limit else 1) for k, g in gradients.items()}


def _counted(numbers, smallest):
    """How many are normal, denormal and 0."""
    numbers = np.array(numbers)
    normal, zero = int((numbers >= smallest).sum()), int((numbers == 0).sum())
    return {"normal": normal, "denormal": len(numbers) - normal - zero, "zero": zero}


def kinds__float64(factor, steps):
    """The gradient is a float64, which lives far longer: keep it a np.float32"""
    return _counted(float(factor) ** np.arange(1, steps + 1), np.finfo(np.float32).tiny)


def kinds__epsilon(factor, steps):
    """eps is not the smallest number: it is how near to 1 the next one lies"""
    g = np.multiply.accumulate(np.full(steps, factor))
    return _counted(g, np.finfo(np.float32).eps)


def kinds__with_the_first(factor, steps):
    """The 1 at the beginning is counted: count what is there after each step"""
    g = np.multiply.accumulate(np.append(np.float32(1), np.full(steps - 1, factor)))
    return _counted(g, np.finfo(np.float32).tiny)


def kinds__flushed(factor, steps):
    """What is below the smallest normal number is taken for 0: it is not yet"""
    g = np.multiply.accumulate(np.full(steps, factor))
    return _counted(np.where(g < np.finfo(np.float32).tiny, 0, g), np.finfo(np.float32).tiny)


def kinds__power(factor, steps):
    """The power is taken at once and rounded once: in a network every step rounds"""
    g = (float(factor) ** np.arange(1, steps + 1)).astype(np.float32)
    return _counted(g, np.finfo(np.float32).tiny)


def kinds__smallest_too(factor, steps):
    """The smallest normal number is normal itself"""
    g = np.multiply.accumulate(np.full(steps, factor))
    return _counted(g, np.nextafter(np.finfo(np.float32).tiny, np.float32(1)))
