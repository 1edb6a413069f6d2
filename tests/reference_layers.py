"""Recurrent layers in plain NumPy, a loop over t, and their exact gradients by complex step.

Nothing here is imported from the library: a reference shares no code with what it checks. All
sums are in float64, or in complex128 when a number is complex. Weights have names, not places:
`{"i": (Wx, Wh, b, bh), ...}`, one entry a gate, with Wx (I, H), Wh (H, H), b and bh (H,); a bias
that is not there is 0.0. Sequences are (T, B, I), states tuples of (B, H).
"""

import numpy as np

# -- activations: functions of a complex number that are analytic on either side of a kink, -----
# -- where the sign is the real part's ---------------------------------------------------------

tanh = np.tanh


def identity(x):
    return x


def sigmoid(x):
    positive = np.real(x) >= 0
    e = np.exp(np.where(positive, -x, x))
    return np.where(positive, 1.0, e) / (1.0 + e)


def relu(x):
    return np.where(np.real(x) > 0, x, 0.0)


def leaky_relu(x, alpha=0.01):
    return np.where(np.real(x) >= 0, x, alpha * x)


def thresholded_relu(x, alpha=1.0):
    return np.where(np.real(x) > alpha, x, 0.0)


def elu(x, alpha=1.0):
    negative = np.real(x) < 0
    return np.where(negative, alpha * np.expm1(np.where(negative, x, 0.0)), x)


def softsign(x):
    return x / (1.0 + absolute(x))


def softplus(x):
    return relu(x) + np.log1p(np.exp(-absolute(x)))


def affine(x, alpha=1.0, beta=0.0):
    return alpha * x + beta


def scaled_tanh(x, alpha=1.0, beta=1.0):
    return alpha * tanh(beta * x)


def hard_sigmoid(x, alpha=0.2, beta=0.5):
    y = alpha * x + beta
    return np.where(np.real(y) < 0, 0.0, np.where(np.real(y) > 1, 1.0, y))


def absolute(x):
    """|x| of a number that is complex only because it is being differentiated."""
    return np.where(np.real(x) < 0, -x, x)


def clipped(activation, limit):
    """The activation of x kept within [-limit, limit]; limit None is no limit."""
    if limit is None:
        return activation
    held = lambda x: np.where(np.abs(np.real(x)) > limit, np.sign(np.real(x)) * limit, x)
    return lambda x: activation(held(x))


# -- time --------------------------------------------------------------------------------------


def fold(step, xs, state, lengths=None, reverse=False):
    """Every output and the last state; a row past its end answers zero and keeps its state.

    Reversed, time runs down, and a row waits with its first state until its last valid step.
    """
    ends = np.full(xs.shape[1], len(xs)) if lengths is None else np.asarray(lengths)
    xs, *state = (np.asarray(x, np.result_type(x, np.float64)) for x in (xs, *state))
    ys = [None] * len(xs)
    for t in sorted(range(len(xs)), reverse=reverse):
        valid = (t < ends)[:, None]
        after = step(xs[t], *state)
        state = [np.where(valid, new, old) for new, old in zip(after, state, strict=True)]
        ys[t] = np.where(valid, state[0], 0.0)
    return np.stack(ys), tuple(state)


def bidirectional(forward, backward, xs, states, lengths=None):
    """Two layers side by side, each a function of (xs, state, lengths=, reverse=)."""
    ahead, first = forward(xs, states[0], lengths=lengths)
    back, second = backward(xs, states[1], lengths=lengths, reverse=True)
    return np.concatenate([ahead, back], -1), (first, second)


# -- cells -------------------------------------------------------------------------------------


def into(gate, x, h):
    """What arrives at a gate: x Wx + h Wh + b + bh."""
    Wx, Wh, b, bh = gate
    return x @ Wx + h @ Wh + b + bh


def chosen(usual, others, clip):
    """The activation of each gate, from the usual ones and those named instead."""
    assert set(others or {}) <= set(usual), f"gates are {sorted(usual)}, got {sorted(others)}"
    return {name: clipped(f, clip) for name, f in (usual | (others or {})).items()}


def rnn(xs, state, weights, *, activations=None, clip=None, **time):
    """S2: h = f(x Wx + h Wh + b + bh); the one gate is named h."""
    f = chosen({"h": tanh}, activations, clip)
    return fold(lambda x, h: (f["h"](into(weights["h"], x, h)),), xs, state, **time)


def lstm(
    xs, state, weights, *, peepholes=None, coupled=False, projection=None,
    activations=None, clip=None, **time,
):  # fmt: skip
    """S20, with what has been added to it since; gates i, f, g, o, and h for the answer.

    Peepholes, `{"i": p, ...}` each (H,), let i and f see the cell before, o the one after.
    Coupled, f = 1 - i. A projection (H, P) makes h smaller than the cell, and Wh (P, H).
    """
    usual = {"i": sigmoid, "f": sigmoid, "g": tanh, "o": sigmoid, "h": tanh}
    a = chosen(usual, activations, clip)
    p = {"i": 0.0, "f": 0.0, "o": 0.0} | (peepholes or {})

    def step(x, h, c):
        i = a["i"](into(weights["i"], x, h) + p["i"] * c)
        f = 1.0 - i if coupled else a["f"](into(weights["f"], x, h) + p["f"] * c)
        c = f * c + i * a["g"](into(weights["g"], x, h))
        o = a["o"](into(weights["o"], x, h) + p["o"] * c)
        h = o * a["h"](c)
        return h if projection is None else h @ projection, c

    return fold(step, xs, state, **time)


def gru(
    xs, state, weights, *, reset="before", z_gates="candidate",
    activations=None, clip=None, **time,
):  # fmt: skip
    """S21 and its other conventions; gates z, r, n.

    Reset "before" is (r * h) Wh + bh, "after" is r * (h Wh + bh). z gates the "candidate",
    h = (1 - z) h + z n, or the "previous" state, h = z h + (1 - z) n.
    """
    a = chosen({"z": sigmoid, "r": sigmoid, "n": tanh}, activations, clip)
    assert reset in ("before", "after") and z_gates in ("candidate", "previous")

    def step(x, h):
        z = a["z"](into(weights["z"], x, h))
        r = a["r"](into(weights["r"], x, h))
        Wx, Wh, b, bh = weights["n"]
        recurrent = r * (h @ Wh + bh) if reset == "after" else (r * h) @ Wh + bh
        n = a["n"](x @ Wx + b + recurrent)
        return ((1.0 - z) * h + z * n if z_gates == "candidate" else z * h + (1.0 - z) * n,)

    return fold(step, xs, state, **time)


# -- gradients ---------------------------------------------------------------------------------


def leaves(nest, path=()):
    """Every array in dicts, tuples and lists inside each other, with the way to it."""
    if isinstance(nest, dict):
        nest = nest.items()
    elif isinstance(nest, tuple | list):
        nest = enumerate(nest)
    else:
        yield path, nest
        return
    for key, value in nest:
        yield from leaves(value, (*path, key))


def complexified(nest):
    if isinstance(nest, dict):
        return {key: complexified(value) for key, value in nest.items()}
    if isinstance(nest, tuple | list):
        return type(nest)(complexified(value) for value in nest)
    return nest if nest is None else np.array(nest, np.complex128)


def complex_step(f, arrays, most=None, seed=0, h=1e-30):
    """Derivatives of a number f(arrays): {path: (entries, values)}, entries of the flat array.

    Im f(x + ih) / h has no difference in it, so nothing is lost for however small an h. Of
    arrays with more than `most` entries only so many, drawn at random, are computed. None may
    stand for an array that is not there. f must be built of analytic functions, and say |x|,
    max and clip by the real part.
    """
    rng, arrays, found = np.random.default_rng(seed), complexified(arrays), {}
    for path, array in leaves(arrays):
        if array is None:
            continue
        few = most is not None and array.size > most
        entries = np.sort(rng.choice(array.size, most, replace=False)) if few else range(array.size)
        found[path] = np.array(entries, int), np.zeros(len(entries))
        for k, entry in enumerate(entries):
            array.flat[entry] += 1j * h
            found[path][1][k] = np.imag(f(arrays)) / h
            array.flat[entry] = np.real(array.flat[entry])
    return found


def along(f, arrays, seed=0, h=1e-30):
    """Derivatives of a number f(arrays) along a random direction of each array, and those: {path:
    (direction, value)}. All entries of an array are tried at once, by the complex step above."""
    rng, arrays, found = np.random.default_rng(seed), complexified(arrays), {}
    for path, array in leaves(arrays):
        if array is None:
            continue
        direction, before = rng.normal(size=array.shape), array.copy()
        array += 1j * h * direction
        found[path] = direction, np.imag(f(arrays)) / h
        array[...] = before
    return found
