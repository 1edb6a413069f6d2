"""Lesson 06, solved in another way."""

from functools import reduce

import numpy as np


def jacobian(h, Wh):
    return Wh @ np.diag((1 - h) * (1 + h))


def far_back(hs, Wh):
    back = np.eye(Wh.shape[0])
    for h in hs[::-1]:  # from the end, as backpropagation goes
        back = jacobian(h, Wh) @ back
    return back


def spectral_radius(W):
    return max(abs(value) for value in np.linalg.eigvals(W))


def clip(gradients, limit):
    every = np.concatenate([g.ravel() for g in gradients.values()])
    norm = np.linalg.norm(every)
    if norm <= limit:
        return dict(gradients)
    return {name: limit * g / norm for name, g in gradients.items()}


def kinds(factor, steps):
    g = reduce(lambda found, _: [*found, found[-1] * factor], range(steps), [np.float32(1)])[1:]
    normal = sum(one >= 2.0**-126 for one in g)
    zero = g.count(0)
    return {"normal": normal, "denormal": steps - normal - zero, "zero": zero}
