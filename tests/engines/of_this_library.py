"""An adapter of this library, its layers among what it offers."""

from types import SimpleNamespace

import tinygrad_rnn as tg
from tinygrad_rnn import nn, no_grad, transforms  # noqa: F401 (the kit calls no_grad)

ops = SimpleNamespace(**{name: getattr(tg, name) for name in tg.ops.__all__}, detach=tg.detach)
ops.concatenate = tg.concat


def layer(kind):
    def run(xs, *given):
        cell = kind(xs.shape[-1], given[0].shape[-1], dtype="float64")
        *state, cell.Wx, cell.Wh, cell.b = given
        return cell(xs, tuple(state))[0]

    return run


ops.rnn, ops.lstm = layer(nn.RNN), layer(nn.LSTM)


def value_and_grad(f, arrays, times=1):
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    y = f(*xs)
    for _ in range(times):
        y.backward(retain_graph=True)
    return y.data, [0 * x.data if x.grad is None else x.grad.data for x in xs]


def grad(f, xs):
    return transforms.grad(lambda xs: f(*xs))(xs)


def jvp(f, arrays, tangents):
    return [t.data for t in transforms.jvp(f, tuple(arrays), tuple(tangents))]
