"""JAX's part: the same formulas under jit(grad(lax.scan))."""

import jax
import jax.numpy as jnp
from jax import lax, random
from jax.nn import sigmoid


def run(problem):
    """A run of any cell, compiled before it is timed."""
    weights = {n: jnp.asarray(w) for n, w in problem.weights.items()}
    xs, mix = jnp.asarray(problem.xs), jnp.asarray(problem.mix)
    states, masks = ([jnp.asarray(a) for a in part] for part in (problem.states, problem.masks))
    step = STEPS[problem.kind]

    def loss(weights, xs):
        def fold(carry, x):
            carry = step(weights, *x, *carry)
            return carry, carry[0]

        _, ys = lax.scan(fold, tuple(states), (xs, *masks))
        return (ys * mix).sum()

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    def run():
        _, (of_weights, of_xs) = jax.block_until_ready(gradient(weights, xs))
        return of_xs, of_weights["Wh"]

    return run


def modified(problem):
    """An LSTM whose links are cut, with masks drawn in the compiled program."""
    weights = {n: jnp.asarray(w) for n, w in problem.weights.items()}
    xs, mix = jnp.asarray(problem.xs), jnp.asarray(problem.mix)
    states = tuple(jnp.asarray(s) for s in problem.states)
    kept = lambda key, shape, p: random.bernoulli(key, 1 - p, shape) / (1 - p)
    B, T, I, H = problem.size

    def loss(w, xs, key):
        k1, k2 = random.split(key)
        mx = mh = keep_h = keep_c = None
        if problem.kind == "feed-forward":
            xs = xs * kept(k1, xs.shape, 0.3)
        if problem.kind == "DropConnect":
            w = {**w, "Wh": w["Wh"] * kept(k1, w["Wh"].shape, 0.3)}
        if problem.kind == "variational":
            mx, mh = kept(k1, (B, I), 0.2), kept(k2, (B, H), 0.3)
        if problem.kind == "Zoneout":
            keep_h, keep_c = (random.bernoulli(k, p, (T, B, H)) for k, p in ((k1, 0.05), (k2, 0.5)))

        def fold(carry, given):
            x, keeps = given
            h, c, *older = carry
            seen = (x, h) if mx is None else (x * mx, h * mh)
            new = lstm(w, *seen, c)
            if keeps is not None:
                new = tuple(jnp.where(k, a, b) for k, a, b in zip(keeps, (h, c), new, strict=True))
            if older:
                new = (new[0] + older[0], new[1], h)
            return new, new[0]

        skip = problem.kind == "time skip"
        keeps = None if keep_h is None else (keep_h, keep_c)
        _, ys = lax.scan(fold, (*states, states[0]) if skip else states, (xs, keeps))
        return ((ys + xs if skip else ys) * mix).sum()

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    keys = [random.key(0)]

    def run():
        keys[0], key = random.split(keys[0])
        _, (of_weights, of_xs) = jax.block_until_ready(gradient(weights, xs, key))
        return of_xs, of_weights["Wh"]

    return run


def rnn(w, x, h):
    return (jnp.tanh(x @ w["Wx"] + h @ w["Wh"] + w["b"]),)


def gru(w, x, h):
    xz, xr, xn = jnp.split(x @ w["Wx"], 3, -1)
    hz, hr = jnp.split(h @ w["Wh"], 2, -1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    n = jnp.tanh(xn + (r * h) @ w["Wn"])
    return ((1 - z) * h + z * n,)


def lstm(w, x, h, c):
    i, f, g, o = jnp.split(x @ w["Wx"] + h @ w["Wh"] + w["b"], 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def zoneout(w, x, keep_h, keep_c, h, c):
    i, f, g, o = jnp.split(x @ w["Wx"] + h @ w["Wh"] + w["b"], 4, -1)
    c = keep_c * c + (1 - keep_c) * (sigmoid(f) * c + sigmoid(i) * jnp.tanh(g))
    return keep_h * h + (1 - keep_h) * (sigmoid(o) * jnp.tanh(c)), c


def norm(a):
    a = a - a.mean(-1, keepdims=True)
    return a / jnp.sqrt((a * a).mean(-1, keepdims=True) + 1e-5)


def layer_norm(w, x, h, c):
    a = norm(x @ w["Wx"]) * w["gx"] + norm(h @ w["Wh"]) * w["gh"] + w["b"]
    i, f, g, o = jnp.split(a, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(norm(c) * w["gc"] + w["bc"]), c


def peephole(w, x, h, c):
    i, f, g, o = jnp.split(x @ w["Wx"] + h @ w["Wh"] + w["b"], 4, -1)
    c = sigmoid(f + w["pf"] * c) * c + sigmoid(i + w["pi"] * c) * jnp.tanh(g)
    return sigmoid(o + w["po"] * c) * jnp.tanh(c), c


STEPS = {
    "RNN": rnn,
    "GRU": gru,
    "LSTM": lstm,
    "zoneout": zoneout,
    "layer norm": layer_norm,
    "peephole": peephole,
}
