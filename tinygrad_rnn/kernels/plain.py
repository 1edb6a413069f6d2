"""The same kernels in NumPy alone, for where there is no Numba: same arguments, same answers."""

import numpy as np


def exp(x, out):
    np.exp(x, out=out)


def tanh(x, out):
    np.tanh(x, out=out)


def sigmoid(x, out):
    e = np.exp(-np.abs(x))
    np.divide(np.where(x >= 0, 1, e), 1 + e, out=out)


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


def quiet(function):
    """`function` without NumPy's warnings: overflow to inf and NaN in, NaN out are answers here."""

    def call(*arguments):
        with np.errstate(all="ignore"):
            function(*arguments)

    return call


def kernel(name):
    """The NumPy formula of that name."""
    return quiet(globals()[name])
