"""The same kernels in NumPy alone, for where there is no Numba: same arguments, same answers."""

import numpy as np


def product(x, y, out):
    np.matmul(x, y, out=out)


def shifted(x):
    """x without its rows' largest entries, and the float64 logarithm of the mass that is left."""
    top = x.max(axis=1, keepdims=True)
    low = x - top
    return top, low, np.log(np.exp(low).sum(axis=1, keepdims=True, dtype=np.float64))


def softmax(x, out):
    np.exp(x - x.max(axis=1, keepdims=True), out=out)
    np.divide(out, out.sum(axis=1, keepdims=True, dtype=np.float64), out=out, casting="same_kind")


def log_softmax(x, out):
    _, low, log_mass = shifted(x)
    np.subtract(low, log_mass, out=out, casting="same_kind")


def logsumexp(x, out):
    top = x.max(axis=1)
    top = np.where(np.isinf(top), x.dtype.type(0), top)  # inf - inf would be NaN
    mass = np.exp(x - top[:, None]).sum(axis=1, dtype=np.float64)
    np.add(top, np.log(mass), out=out, casting="same_kind")


def cross_entropy(logits, target, ignore_index, out):
    counted = np.flatnonzero(target != ignore_index)
    _, low, log_mass = shifted(logits[counted])
    out[:] = 0
    out[counted] = log_mass[:, 0] - low[np.arange(counted.size), target[counted]]


def cross_entropy_pull(g, logits, target, ignore_index, out):
    counted = np.flatnonzero(target != ignore_index)
    shares = np.empty((counted.size, logits.shape[1]), logits.dtype)
    softmax(logits[counted], shares)
    shares *= g[counted, None]
    shares[np.arange(counted.size), target[counted]] -= g[counted]
    out[:] = 0
    out[counted] = shares


def scatter_rows(g, index, out):
    out[:] = 0
    np.add.at(out, index, g)


def adam(x, g, m, v, settings, new_x, new_m, new_v):
    first, rest, second, rest_squared, keep, size, scale, eps = settings
    new_m[:] = first * m + rest * g
    new_v[:] = second * v + rest_squared * (g * g)
    new_x[:] = keep * x - size * new_m / (scale * np.sqrt(new_v) + eps)


def rmsprop(x, g, s, settings, new_x, new_s):
    decay, rest, size, eps = settings
    new_s[:] = decay * s + rest * (g * g)
    new_x[:] = x - size * g / (np.sqrt(new_s) + eps)


def drawn(g, x, decay):
    return g + decay * x if decay else g


def momentum(x, g, v, settings, new_x, new_v):
    keep, decay, size = settings
    new_v[:] = keep * v + drawn(g, x, decay)
    new_x[:] = x - size * new_v


def descent(x, g, settings, new_x):
    decay, size = settings
    new_x[:] = x - size * drawn(g, x, decay)


def square_sum(x, out):
    out[0] = np.square(x, dtype=np.float64).sum()


def column_sums(x, out):
    out[:] = x.sum(axis=0, dtype=np.float64)


def quiet(function):
    """`function` without NumPy's warnings: overflow to inf and NaN in, NaN out are answers here."""

    def call(*arguments):
        with np.errstate(all="ignore"):
            function(*arguments)

    return call


def kernel(name):
    """The NumPy formula of that name."""
    return quiet(globals()[name])
