"""The same kernels in NumPy alone, for where there is no Numba: same arguments, same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..quiet import quiet
from .spare import Array

Number: TypeAlias = Any  # or an array of them


def product(x: Array, y: Array, out: Array) -> None:
    np.matmul(x, y, out=out)


def shifted(x: Array) -> tuple[Array, Array, Array]:
    """x without its rows' largest entries, and the float64 logarithm of the mass that is left."""
    top = x.max(axis=1, keepdims=True)
    low = x - top
    return top, low, np.log(np.exp(low).sum(axis=1, keepdims=True, dtype=np.float64))


def softmax(x: Array, out: Array) -> None:
    np.exp(x - x.max(axis=1, keepdims=True), out=out)
    np.divide(out, out.sum(axis=1, keepdims=True, dtype=np.float64), out=out, casting="same_kind")


def log_softmax(x: Array, out: Array) -> None:
    _, low, log_mass = shifted(x)
    np.subtract(low, log_mass, out=out, casting="same_kind")


def logsumexp(x: Array, out: Array) -> None:
    top = x.max(axis=1)
    top = np.where(np.isinf(top), x.dtype.type(0), top)  # inf - inf would be NaN
    mass = np.exp(x - top[:, None]).sum(axis=1, dtype=np.float64)
    np.add(top, np.log(mass), out=out, casting="same_kind")


def cross_entropy(logits: Array, target: Array, ignore_index: int, out: Array) -> None:
    counted = np.flatnonzero(target != ignore_index)
    _, low, log_mass = shifted(logits[counted])
    out[:] = 0
    out[counted] = log_mass[:, 0] - low[np.arange(counted.size), target[counted]]


def cross_entropy_pull(
    g: Array, logits: Array, target: Array, ignore_index: int, out: Array
) -> None:
    counted = np.flatnonzero(target != ignore_index)
    shares = np.empty((counted.size, logits.shape[1]), logits.dtype)
    softmax(logits[counted], shares)
    shares *= g[counted, None]
    shares[np.arange(counted.size), target[counted]] -= g[counted]
    out[:] = 0
    out[counted] = shares


def scatter_rows(g: Array, index: Array, out: Array) -> None:
    out[:] = 0
    np.add.at(out, index, g)


def square_sum(x: Array, out: Array) -> None:
    out[0] = np.square(x, dtype=np.float64).sum()


def column_sums(x: Array, out: Array) -> None:
    out[:] = x.sum(axis=0, dtype=np.float64)


# -- rules of optimisers, of numbers or of arrays: new weights and memory of old ones ------------


def adam(
    settings: Any, x: Number, g: Number, m: Number, v: Number
) -> tuple[Number, Number, Number]:
    first, rest, second, rest_squared, keep, size, scale, eps = settings
    m = first * m + rest * g
    v = second * v + rest_squared * g * g  # in this order it has room for g of 1e20
    return keep * x - size * m / (scale * np.sqrt(v) + eps), m, v


def rmsprop(settings: Any, x: Number, g: Number, s: Number) -> tuple[Number, Number]:
    decay, rest, size, eps = settings
    s = decay * s + rest * g * g
    return x - size * g / (np.sqrt(s) + eps), s


def momentum(settings: Any, x: Number, g: Number, v: Number) -> tuple[Number, Number]:
    keep, decay, size = settings
    v = keep * v + (g + decay * x if decay else g)  # 0 * inf would be NaN
    return x - size * v, v


def descent(settings: Any, x: Number, g: Number) -> tuple[Number]:
    decay, size = settings
    return (x - size * (g + decay * x if decay else g),)


RULES = {rule.__name__: rule for rule in (adam, rmsprop, momentum, descent)}


def updated(rule: Callable[..., Any]) -> Callable[..., None]:
    """The rule of arrays, in the form of a kernel."""

    def update(settings: Any, *arrays: Array) -> None:
        old = (len(arrays) + 1) // 2
        for new, value in zip(arrays[old:], rule(settings, *arrays[:old]), strict=True):
            new[:] = value

    return update


def kernel(name: str) -> Callable[..., Any]:
    """The NumPy formula of that name."""
    return quiet(updated(RULES[name]) if name in RULES else globals()[name])
