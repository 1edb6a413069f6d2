"""This library's part: each function returns a run, forward and backward, of one problem."""

import numpy as np

import tinygrad_rnn as tg


def layer(problem, **options):
    """A built-in cell over the sequence; `options` go to the layer."""
    _, _, I, H = problem.size
    order = {"convention": "keras"} if problem.kind == "LSTM" else {}  # i, f, g, o with one bias
    cell = getattr(tg.nn, problem.kind)(I, H, **order)
    cell.load_state_dict(problem.weights)
    fold = tg.nn.Recurrent(cell, **options) if options else cell
    return _run(lambda xs: fold(xs)[0], list(cell.parameters()), cell.Wh, problem)


def own(problem):
    """The same with a step written by hand, as a user would."""
    weights = {n: tg.tensor(w, requires_grad=True, name=n) for n, w in problem.weights.items()}
    step = STEPS[problem.kind](**weights)
    states = tuple(tg.tensor(s) for s in problem.states)
    masks = tuple(tg.tensor(m) for m in problem.masks)

    def forward(xs):
        return tg.scan(step, states, (xs, *masks) if masks else xs)[0]

    return _run(forward, list(weights.values()), weights["Wh"], problem)


def modified(problem):
    """An LSTM in a modifier, which draws new masks at every run."""
    _, _, I, H = problem.size
    inner = tg.nn.LSTM(I, H, convention="keras")
    inner.load_state_dict(problem.weights)
    cell = MODIFIED[problem.kind](inner)
    return _run(lambda xs: cell(xs)[0], list(cell.parameters()), inner.Wh, problem)


MODIFIED = {
    "feed-forward": lambda cell: tg.nn.FeedforwardDropout(cell, 0.3, rng=0),
    "variational": lambda cell: tg.nn.VariationalDropout(cell, inputs=0.2, state=0.3, rng=0),
    "DropConnect": lambda cell: tg.nn.DropConnect(cell, 0.3, rng=0),
    "Zoneout": lambda cell: tg.nn.Zoneout(cell, h=0.05, c=0.5, rng=0),
    "time skip": lambda cell: tg.nn.Residual(tg.nn.TimeSkip(cell, 2)),
}


def _run(forward, weights, Wh, problem):
    """A run that answers with the gradients of the inputs and of one weight, to be compared."""
    xs, mix = tg.tensor(problem.xs, requires_grad=True), tg.tensor(problem.mix)

    def run():
        for x in (xs, *weights):
            x.grad = None
        (forward(xs) * mix).sum().backward()
        return xs.grad.data, Wh.grad.data

    return run


def lstm(Wx, Wh, b):
    def step(x, h, c):
        i, f, g, o = tg.split(x @ Wx + h @ Wh + b, 4, axis=-1)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
        return h, c

    return step


def zoneout(Wx, Wh, b):
    def step(x, keep_h, keep_c, h, c):
        i, f, g, o = tg.split(x @ Wx + h @ Wh + b, 4, axis=-1)
        c = keep_c * c + (1 - keep_c) * (tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g))
        h = keep_h * h + (1 - keep_h) * (tg.sigmoid(o) * tg.tanh(c))
        return h, c

    return step


def norm(a):
    a = a - a.mean(axis=-1, keepdims=True)
    return a / tg.sqrt((a * a).mean(axis=-1, keepdims=True) + 1e-5)


def layer_norm(Wx, Wh, b, gx, gh, gc, bc):
    def step(x, h, c):
        i, f, g, o = tg.split(norm(x @ Wx) * gx + norm(h @ Wh) * gh + b, 4, axis=-1)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(norm(c) * gc + bc)
        return h, c

    return step


def peephole(Wx, Wh, b, pi, pf, po):
    def step(x, h, c):
        i, f, g, o = tg.split(x @ Wx + h @ Wh + b, 4, axis=-1)
        c = tg.sigmoid(f + pf * c) * c + tg.sigmoid(i + pi * c) * tg.tanh(g)
        h = tg.sigmoid(o + po * c) * tg.tanh(c)
        return h, c

    return step


STEPS = {"LSTM": lstm, "zoneout": zoneout, "layer norm": layer_norm, "peephole": peephole}


def training(batch, steps, hidden, symbols, embedding):
    """One step of training a character model, from indices to new weights."""
    model = tg.nn.LanguageModel(symbols, cell="lstm", embedding=embedding, hidden=hidden, rng=0)
    adam = tg.optim.Adam(model, lr=1e-3)
    text = np.random.default_rng(0).integers(symbols, size=(steps + 1, batch))

    def run():
        loss, _ = model.loss(text[:-1], text[1:])
        model.zero_grad()
        loss.backward()
        tg.optim.clip_grad_norm(model, 1.0)
        adam.step()
        return float(loss.data)

    return run
