"""PyTorch's part: the same runs with its layers, and with cells written by hand, op by op."""

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F


def layer(problem):
    """nn.RNN, nn.LSTM or nn.GRU; the GRU is PyTorch's own formula, without bias as ours."""
    _, _, I, H = problem.size
    module = getattr(nn, problem.kind)(I, H, bias=problem.kind != "GRU")
    if problem.kind != "GRU":
        weights = {n: torch.tensor(w) for n, w in problem.weights.items()}
        state = {"weight_ih_l0": weights["Wx"].T, "weight_hh_l0": weights["Wh"].T}
        state |= {"bias_ih_l0": weights["b"], "bias_hh_l0": torch.zeros_like(weights["b"])}
        module.load_state_dict(state)
    Wh = module.weight_hh_l0
    return _run(lambda xs: module(xs)[0], list(module.parameters()), lambda: Wh.grad.T, problem)


def own(problem):
    """A cell written by hand and looped over in Python."""
    w = {n: torch.tensor(a).requires_grad_() for n, a in problem.weights.items()}
    states = [torch.tensor(s) for s in problem.states]
    masks = [torch.tensor(m) for m in problem.masks]
    step = STEPS[problem.kind]

    def forward(xs):
        carry, ys = states, []
        for x in zip(xs.unbind(0), *(m.unbind(0) for m in masks), strict=True):
            carry = step(w, *x, *carry)
            ys.append(carry[0])
        return torch.stack(ys)

    return _run(forward, list(w.values()), lambda: w["Wh"].grad, problem)


def modified(problem):
    """An LSTM whose links are cut: with nn.LSTM where it can be, else looped over in Python."""
    w = {n: torch.tensor(a).requires_grad_() for n, a in problem.weights.items()}
    B, _, I, H = problem.size
    states = [torch.tensor(s) for s in problem.states]
    fast = nn.LSTM(I, H)

    def built_in(xs, Wh):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        given = (w["Wx"].T, Wh.T, w["b"], torch.zeros_like(w["b"]))
        return functional_call(fast, dict(zip(names, given, strict=True)), (xs,))[0]

    def loop(xs, step):
        carry, ys = states, []
        for t, x in enumerate(xs.unbind(0)):
            carry = step(t, x, carry)
            ys.append(carry[0])
        return torch.stack(ys)

    def variational(xs):
        mx, mh = (F.dropout(torch.ones(B, n), p) for n, p in ((I, 0.2), (H, 0.3)))
        return loop(xs, lambda t, x, carry: lstm(w, x * mx, carry[0] * mh, carry[1]))

    def zoned(xs):
        keep = [torch.rand(xs.shape[0], B, H) < p for p in (0.05, 0.5)]

        def step(t, x, carry):
            new = lstm(w, x, *carry)
            return [torch.where(k[t], a, b) for k, a, b in zip(keep, carry, new, strict=True)]

        return loop(xs, step)

    def skip(xs):
        path = [states[0], states[0]]

        def step(t, x, carry):
            h, c = lstm(w, x, *carry)
            path.append(h + path[-2])
            return path[-1], c

        return xs + loop(xs, step)

    forward = {
        "feed-forward": lambda xs: built_in(F.dropout(xs, 0.3), w["Wh"]),
        "variational": variational,
        "DropConnect": lambda xs: built_in(xs, F.dropout(w["Wh"], 0.3)),
        "Zoneout": zoned,
        "time skip": skip,
    }[problem.kind]
    return _run(forward, list(w.values()), lambda: w["Wh"].grad, problem)


def _run(forward, weights, of_Wh, problem):
    xs, mix = torch.tensor(problem.xs).requires_grad_(), torch.tensor(problem.mix)

    def run():
        for x in (xs, *weights):
            x.grad = None
        (forward(xs) * mix).sum().backward()
        return xs.grad, of_Wh()

    return run


def lstm(w, x, h, c):
    i, f, g, o = (x @ w["Wx"] + h @ w["Wh"] + w["b"]).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def zoneout(w, x, keep_h, keep_c, h, c):
    i, f, g, o = (x @ w["Wx"] + h @ w["Wh"] + w["b"]).chunk(4, -1)
    c = keep_c * c + (1 - keep_c) * (f.sigmoid() * c + i.sigmoid() * g.tanh())
    return keep_h * h + (1 - keep_h) * (o.sigmoid() * c.tanh()), c


def layer_norm(w, x, h, c):
    wide, H = w["b"].shape, h.shape[-1:]
    a = F.layer_norm(x @ w["Wx"], wide, w["gx"]) + F.layer_norm(h @ w["Wh"], wide, w["gh"])
    i, f, g, o = (a + w["b"]).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * F.layer_norm(c, H, w["gc"], w["bc"]).tanh(), c


def peephole(w, x, h, c):
    i, f, g, o = (x @ w["Wx"] + h @ w["Wh"] + w["b"]).chunk(4, -1)
    c = (f + w["pf"] * c).sigmoid() * c + (i + w["pi"] * c).sigmoid() * g.tanh()
    return (o + w["po"] * c).sigmoid() * c.tanh(), c


STEPS = {"LSTM": lstm, "zoneout": zoneout, "layer norm": layer_norm, "peephole": peephole}


class Model(nn.Module):
    """Embedding, LSTM, linear."""

    def __init__(self, symbols, embedding, hidden):
        super().__init__()
        self.embedding = nn.Embedding(symbols, embedding)
        self.recurrent = nn.LSTM(embedding, hidden)
        self.output = nn.Linear(hidden, symbols)

    def forward(self, index):
        return self.output(self.recurrent(self.embedding(index))[0])


def training(batch, steps, hidden, symbols, embedding):
    """One step of training a character model, from indices to new weights."""
    model = Model(symbols, embedding, hidden)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    text = np.random.default_rng(0).integers(symbols, size=(steps + 1, batch))
    index, target = torch.tensor(text[:-1]), torch.tensor(text[1:])

    def run():
        loss = F.cross_entropy(model(index).flatten(0, 1), target.flatten())
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        return loss.item()

    return run
