"""The same kernels in NumPy alone, for where there is no Numba: same arguments, same answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .spare import Array


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


def adam(
    x: Array,
    g: Array,
    m: Array,
    v: Array,
    settings: Sequence[float],
    new_x: Array,
    new_m: Array,
    new_v: Array,
) -> None:
    first, rest, second, rest_squared, keep, size, scale, eps = settings
    new_m[:] = first * m + rest * g
    new_v[:] = second * v + rest_squared * (g * g)
    new_x[:] = keep * x - size * new_m / (scale * np.sqrt(new_v) + eps)


def rmsprop(
    x: Array, g: Array, s: Array, settings: Sequence[float], new_x: Array, new_s: Array
) -> None:
    decay, rest, size, eps = settings
    new_s[:] = decay * s + rest * (g * g)
    new_x[:] = x - size * g / (np.sqrt(new_s) + eps)


def drawn(g: Array, x: Array, decay: float) -> Array:
    return g + decay * x if decay else g


def momentum(
    x: Array, g: Array, v: Array, settings: Sequence[float], new_x: Array, new_v: Array
) -> None:
    keep, decay, size = settings
    new_v[:] = keep * v + drawn(g, x, decay)
    new_x[:] = x - size * new_v


def descent(x: Array, g: Array, settings: Sequence[float], new_x: Array) -> None:
    decay, size = settings
    new_x[:] = x - size * drawn(g, x, decay)


def square_sum(x: Array, out: Array) -> None:
    out[0] = np.square(x, dtype=np.float64).sum()


def column_sums(x: Array, out: Array) -> None:
    out[:] = x.sum(axis=0, dtype=np.float64)


def quiet(function: Callable[..., None]) -> Callable[..., None]:
    """`function` without NumPy's warnings: overflow to inf and NaN in, NaN out are answers here."""

    def call(*arguments: Any) -> None:
        with np.errstate(all="ignore"):
            function(*arguments)

    return call


def kernel(name: str) -> Callable[..., Any]:
    """The NumPy formula of that name."""
    return quiet(globals()[name])
