"""What GradBench evaluates, in this library: each value is written out, each derivative derived.

Definitions are those of its `evals/*/README.md`. A module is built from its input: the variables,
and the function of them whose value is asked for, and a derivative: the gradient of the (last)
value, or a step of Newton's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import tinygrad_rnn as tg

from . import lstm as league


def hello(x):
    return {"x": x}, lambda x: x * x


def lstm(given):
    weights, state, text = league.arrays(given)
    states = [tg.tensor(s) for s in state]

    def loss(**weights):
        step = league.step(tg, weights.values())
        return league.mean(tg.scan(step, states, (text[:-1], text[1:]))[-1], text)

    return {f"w{k}": w for k, w in enumerate(weights)}, loss


def ode(given):
    """y₀' = x₀ and yᵢ' = xᵢ yᵢ₋₁ from 0 to time 2, in s steps of Runge and Kutta's fourth order."""
    steps, size = given["s"], 2 / given["s"]
    start = np.zeros(len(given["x"]))

    def end(x):
        slope = lambda y: x * tg.concat([np.ones(1), y[:-1]])

        def step(y):
            a = slope(y)
            b = slope(y + size / 2 * a)
            c = slope(y + size / 2 * b)
            d = slope(y + size * c)
            return y + size / 6 * (a + 2 * b + 2 * c + d)

        return tg.scan(step, start, None, length=steps)[0][-1]

    return {"x": given["x"]}, end


def llsq(given):
    """Half the sum of squares of what a polynomial with coefficients x misses of the sign of t."""
    t = -1 + np.arange(given["n"]) * 2 / (given["n"] - 1)

    def missed(x):
        miss = np.sign(t) - np.vander(t, len(x), increasing=True) @ x
        return (miss * miss).sum() / 2

    return {"x": given["x"]}, missed


def log_sum_exp(x):
    """Along the last axis, of its primitive ops: the benchmark asks for no rule written by hand."""
    most = x.max(axis=-1, keepdims=True)
    return most[..., 0] + tg.log(tg.exp(x - most).sum(axis=-1))


def lse(given):
    return {"x": given["x"]}, log_sum_exp


def gmm(given):
    """The log-posterior of a mixture of Gaussians whose precisions QᵀQ have a Wishart prior."""
    d, k, n, m, gamma = (given[name] for name in ("d", "k", "n", "m", "gamma"))
    x = np.asarray(given["x"], float)
    column, row = np.triu_indices(d, 1)
    place = np.full((d, d), len(row))  # of each entry of Q in l, where it is below the diagonal,
    place[row, column] = np.arange(len(row))  # else of a 0 behind it
    freedom = d + m + 1
    constant = -n * d / 2 * math.log(2 * math.pi) + k * (
        freedom * d * math.log(gamma / math.sqrt(2)) - log_gamma(freedom / 2, d)
    )

    def posterior(alpha, mu, q, l):
        below = tg.concat([l, np.zeros((k, 1))], axis=-1)[:, place]
        Q = below + tg.exp(q)[:, None] * np.eye(d)
        far = (x - mu[:, None]) @ Q.transpose(0, 2, 1)  # (k, n, d)
        each = (alpha + q.sum(axis=-1))[:, None] - (far * far).sum(axis=-1) / 2
        likelihood = log_sum_exp(each.T).sum() - n * log_sum_exp(alpha)
        prior = m * q.sum() - gamma * gamma / 2 * (Q * Q).sum()
        return likelihood + prior + constant

    return {name: given[name] for name in ("alpha", "mu", "q", "l")}, posterior


def kmeans(given):
    """The sum of each point's squared distance from the nearest of some centroids."""
    points = np.asarray(given["points"], float)[:, None]

    def cost(centroids):
        apart = points - centroids  # (n, k, d)
        return (apart * apart).sum(axis=-1).min(axis=-1).sum()

    return {"centroids": given["centroids"]}, cost


def log_gamma(a, d):
    """The logarithm of the multivariate gamma function of dimension d."""
    return d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma(a - j / 2) for j in range(d))


def alone(gradients):
    return next(iter(gradients.values())).tolist()


def joined(gradients):
    return np.concatenate([g.ravel() for g in gradients.values()]).tolist()


def named(gradients):
    return {name: g.tolist() for name, g in gradients.items()}


def gradient(value, **leaves):
    """The gradient of the last value there is by each of the variables."""
    output = value(**leaves)
    last = output[-1] if output.ndim else output
    return [g.data for g in tg.grad(last, [*leaves.values()])]


def newton(value, **leaves):
    """The gradient over the Hessian, which is diagonal: its product with ones, in one pass."""
    (x,) = leaves.values()
    first, second = tg.transforms.jvp(tg.transforms.grad(value), (x,), (np.ones(x.shape),))
    return [(first / second).data]


class Module(NamedTuple):
    """The names of the two functions, what they are built by, and how the second is answered."""

    value: str
    derived: str
    build: Callable
    answer: Callable = alone
    derive: Callable = gradient


MODULES = {
    "hello": Module("square", "double", hello),
    "llsq": Module("primal", "gradient", llsq),
    "lse": Module("primal", "gradient", lse),
    "ode": Module("primal", "gradient", ode),
    "gmm": Module("objective", "jacobian", gmm, named),
    "lstm": Module("objective", "jacobian", lstm, joined),
    "kmeans": Module("cost", "dir", kmeans, derive=newton),
}


def prepared(module, function, given):
    """A run of one function on an input, and what makes JSON of its output."""
    known = MODULES[module]
    if function not in (known.value, known.derived):
        names = f"{known.value!r} or {known.derived!r}"
        raise ValueError(f"function: expected {names} of module {module!r}, got {function!r}")
    variables, value = known.build(given)
    derived = function == known.derived
    leaves = {
        name: tg.tensor(np.asarray(x, float), requires_grad=derived)
        for name, x in variables.items()
    }
    if not derived:
        return lambda: value(**leaves), lambda output: output.data.tolist()
    run = lambda: known.derive(value, **leaves)
    return run, lambda found: known.answer(dict(zip(leaves, found, strict=True)))
