"""The model of GradBench's `lstm`, said once for this library and for JAX, and inputs for it.

It is that of ADBench (Srajer, Kukelova, Fitzgibbon 2018): l layers of width b whose weights are
diagonal, float64, one row. At each character the one before is turned into the logits of the next,
and the loss is the mean of their log-probabilities, with 2 inside the logarithm.
"""

import numpy as np

SIZES = [(layers, steps) for steps in (1024, 4096, 8192) for layers in (2, 4, 6)]


def example(layers, steps, seed=0):
    """An input as GradBench draws one, for characters of up to 14 bits; its text is no more real.

    Rows of weights and biases (2l, 4b), of what is read and said (3, b), states (2l, b), and the
    bits (c, b) of each character.
    """
    rng = np.random.default_rng(seed)
    codes = rng.integers(ord(" "), ord("~"), size=steps)
    codes[0] = ord("—")
    bits = codes[:, None] >> np.arange(int(codes.max()).bit_length())[::-1] & 1
    width = bits.shape[1]
    return {
        "main_params": rng.random((2 * layers, 4 * width)).tolist(),
        "extra_params": rng.random((3, width)).tolist(),
        "state": rng.random((2 * layers, width)).tolist(),
        "sequence": bits.astype(float).tolist(),
    }


def arrays(given):
    """Vectors (b,) of weights, states (2l, b), bits (c, b).

    Of each layer there are eight vectors, weights and biases of the gates f, i, o and the change;
    then come those of what is read, and of what is said, weights and biases.
    """
    names = ("main_params", "extra_params", "state", "sequence")
    main, extra, state, text = (np.asarray(given[name], float) for name in names)
    return [*main.reshape(-1, text.shape[1]), *extra], state, text


def step(ops, weights):
    """A step for a scan: from a character, the next and all states to new states and the score."""
    *layers, read, say, bias = weights

    def step(x, gold, *states):
        x, new = x * read, []
        for k in range(0, len(states), 2):
            h, c = states[k : k + 2]
            wf, wi, wo, wc, bf, bi, bo, bc = layers[4 * k : 4 * k + 8]
            change = ops.sigmoid(h * wi + bi) * ops.tanh(h * wc + bc)
            c = c * ops.sigmoid(x * wf + bf) + change
            x = ops.sigmoid(x * wo + bo) * ops.tanh(c)
            new += [x, c]
        said = x * say + bias
        return *new, (gold * (said - ops.log(ops.exp(said).sum() + 2.0))).sum()

    return step


def mean(scores, text):
    """The loss of all scores; each character counts with all its bits."""
    return scores.sum() / -(text.shape[1] * (len(text) - 1.0))


def in_jax(given):
    """A run that answers with JAX's gradient of all weights, compiled at its first call."""
    from types import SimpleNamespace

    import jax
    import jax.numpy as jnp

    ops = SimpleNamespace(sigmoid=jax.nn.sigmoid, tanh=jnp.tanh, exp=jnp.exp, log=jnp.log)

    def loss(weights):
        scan = step(ops, weights)

        def fold(states, given):
            *states, score = scan(*given, *states)
            return tuple(states), score

        return mean(jax.lax.scan(fold, tuple(state), (text[:-1], text[1:]))[1], text)

    with jax.enable_x64(True):
        weights, state, text = jax.tree.map(jnp.asarray, arrays(given))
        gradient = jax.jit(lambda weights: jnp.stack(jax.grad(loss)(weights)))

    def run():
        with jax.enable_x64(True):
            return (jax.block_until_ready(gradient(weights)),)

    return run
