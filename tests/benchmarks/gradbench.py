"""GradBench's evaluation `lstm`: an LSTM with diagonal weights, float64, one row, in our own lines.

The model is that of ADBench (Srajer, Kukelova, Fitzgibbon 2018): l layers of width b, at each
character the one before is turned into the logits of the next, and the loss is the mean of their
log-probabilities, with 2 inside the logarithm.
"""

import numpy as np

WIDTH = 14
SIZES = [(layers, steps) for steps in (1024, 4096, 8192) for layers in (2, 4, 6)]


def data(layers, steps, seed=0):
    """Weights (2l, 4, b), those of what is read and said (3, b), states, characters."""
    rng = np.random.default_rng(seed)
    some = lambda *shape: rng.uniform(-1, 1, shape)
    hot = np.eye(WIDTH)[rng.integers(WIDTH, size=steps)]
    return some(2 * layers, 4, WIDTH), some(3, WIDTH), some(2 * layers, WIDTH), hot


def ours(layers, steps):
    import tinygrad_rnn as tg

    main, extra, state, text = data(layers, steps)
    main, extra = tg.tensor(main, requires_grad=True), tg.tensor(extra, requires_grad=True)
    states = [tg.tensor(s) for s in state]

    def step(x, gold, *states):
        x, new = x * extra[0], []
        for k in range(0, 2 * layers, 2):
            (wf, wi, wo, wc), (bf, bi, bo, bc) = main[k], main[k + 1]
            h, c = states[k : k + 2]
            c = c * tg.sigmoid(x * wf + bf) + tg.sigmoid(h * wi + bi) * tg.tanh(h * wc + bc)
            x = tg.sigmoid(x * wo + bo) * tg.tanh(c)
            new += [x, c]
        said = x * extra[1] + extra[2]
        return *new, (gold * (said - tg.log(tg.exp(said).sum() + 2.0))).sum()

    def run():
        main.grad = extra.grad = None
        losses = tg.scan(step, states, (text[:-1], text[1:]))[-1]
        (losses.sum() / (-float(WIDTH) * (steps - 1))).backward()
        return main.grad.data, extra.grad.data

    return run


def in_jax(layers, steps):
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    with jax.enable_x64(True):
        main, extra, state, text = (jnp.asarray(a) for a in data(layers, steps))

        def loss(main, extra):
            def step(states, given):
                x, gold = given
                x, new = x * extra[0], []
                for k in range(0, 2 * layers, 2):
                    (wf, wi, wo, wc), (bf, bi, bo, bc) = main[k], main[k + 1]
                    h, c = states[k : k + 2]
                    c = c * sigmoid(x * wf + bf) + sigmoid(h * wi + bi) * jnp.tanh(h * wc + bc)
                    x = sigmoid(x * wo + bo) * jnp.tanh(c)
                    new += [x, c]
                said = x * extra[1] + extra[2]
                return tuple(new), (gold * (said - jnp.log(jnp.exp(said).sum() + 2.0))).sum()

            given = text[:-1], text[1:]
            losses = jax.lax.scan(step, tuple(state), given)[1]
            return losses.sum() / (-WIDTH * (steps - 1))

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))

    def run():
        with jax.enable_x64(True):
            return jax.block_until_ready(gradient(main, extra))

    return run
