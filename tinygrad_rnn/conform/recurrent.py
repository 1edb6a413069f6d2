"""The cases of the fourth level: cells made of the engine's ops, and layers of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations, product
from typing import Any

import numpy as np

from .cases import case, check
from .engine import Engine, Function, Wrong
from .evidence import Numbers, close, compare, stored, tolerance_of

LENGTHS = np.array([[4], [2]])  # of two sequences, of which the longer has four steps
H = 3  # the size of a state


def added(terms: Sequence[Any]) -> Any:
    """The sum of some values."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def states(step: Function, xs: Iterable[Any], *state: Any) -> list[Any]:
    """The first state after each step, which is given x and the states, and returns these."""
    found = []
    for x in xs:
        state = step(x, *state)
        found.append(state[0])
    return found


def numbered(hs: Sequence[Any]) -> Any:
    """One loss of the scalars of all steps."""
    return added([h * n for n, h in enumerate(hs, 1)])


def weighed(k: Any, hs: Sequence[Any], ws: Any) -> Any:
    """One loss of the states of all steps."""
    return added([k.sum(h * ws[t]) for t, h in enumerate(hs)])


# -- one unit, three steps ------------------------------------------------------------------------


def unit(activation: str, cut: Any = ()) -> Function:
    """A network of one unit, detached after some of its steps."""

    def f(k: Any, h: Any, x1: Any, x2: Any, x3: Any, w: Any, u: Any, b: Any) -> Any:
        def step(t: int, h: Any) -> tuple[Any]:
            h = k.detach(h) if t in cut else h
            return (getattr(k, activation)(w * (x1, x2, x3)[t] + u * h + b),)

        return numbered(states(step, range(3), h))

    return f


def unit_lstm(k: Any, h: Any, c: Any, x1: Any, x2: Any, x3: Any, *w: Any) -> Any:
    def step(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        i, f, g, o = (w[n] * x + w[n + 1] * h for n in (0, 2, 4, 6))
        c = k.sigmoid(f) * c + k.sigmoid(i) * k.tanh(g)
        return k.sigmoid(o) * k.tanh(c), c

    return numbered(states(step, (x1, x2, x3), h, c))


def unit_gru(k: Any, h: Any, x1: Any, x2: Any, x3: Any, *w: Any) -> Any:
    def step(x: Any, h: Any) -> tuple[Any]:
        r, z = (k.sigmoid(w[n] * x + w[n + 1] * h) for n in (0, 2))
        return ((1 - z) * k.tanh(w[4] * x + w[5] * (r * h)) + z * h,)

    return numbered(states(step, (x1, x2, x3), h))


# -- layers of the engine's ops -------------------------------------------------------------------


def cell(k: Any, Wx: Any, Wh: Any, b: Any) -> Function:
    """A step of an RNN."""
    return lambda x, h: (k.tanh(k.product(x, Wx) + k.product(h, Wh) + b),)


def rnn(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    return weighed(k, states(cell(k, Wx, Wh, b), (xs[t] for t in range(4)), h), ws)


def rnn_last(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, w: Any) -> Any:
    return k.sum(states(cell(k, Wx, Wh, b), (xs[t] for t in range(4)), h)[-1] * w)


def stacked(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    step = cell(k, Wx, Wh, b)
    return weighed(k, states(step, states(step, (xs[t] for t in range(4)), h), h), ws)


def lstm(k: Any, xs: Any, h: Any, c: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    def step(t: int, h: Any, c: Any) -> tuple[Any, Any]:
        a = k.product(xs[t], Wx) + k.product(h, Wh) + b
        i, f, g, o = (a[:, n : n + H] for n in range(0, 4 * H, H))
        c = k.sigmoid(f) * c + k.sigmoid(i) * k.tanh(g)
        return k.sigmoid(o) * k.tanh(c), c

    return weighed(k, states(step, range(4), h, c), ws)


def lstm_peephole(k: Any, xs: Any, h: Any, c: Any, Wx: Any, Wh: Any, p: Any, ws: Any) -> Any:
    def step(t: int, h: Any, c: Any) -> tuple[Any, Any]:
        a = k.product(xs[t], Wx) + k.product(h, Wh)
        f = k.sigmoid(a[:, :H] + p * c)
        c = f * c + (1 - f) * k.tanh(a[:, H : 2 * H])
        return k.sigmoid(a[:, 2 * H :] + p * c) * k.tanh(c), c

    return weighed(k, states(step, range(4), h, c), ws)


def gru(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    def step(t: int, h: Any) -> tuple[Any]:
        a = k.product(xs[t], Wx) + b
        s = k.sigmoid(a[:, : 2 * H] + k.product(h, Wh[:, : 2 * H]))
        n = k.tanh(a[:, 2 * H :] + k.product(s[:, :H] * h, Wh[:, 2 * H :]))
        return ((1 - s[:, H:]) * n + s[:, H:] * h,)

    return weighed(k, states(step, range(4), h), ws)


def gru_after(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    def step(t: int, h: Any) -> tuple[Any]:
        a, u = k.product(xs[t], Wx) + b, k.product(h, Wh)
        r, z = (k.sigmoid(a[:, n : n + H] + u[:, n : n + H]) for n in (0, H))
        return ((1 - z) * h + z * k.tanh(a[:, 2 * H :] + r * u[:, 2 * H :]),)

    return weighed(k, states(step, range(4), h), ws)


# -- lengths, cuts --------------------------------------------------------------------------------


def lengths(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, w: Any, *o: Any) -> Any:
    """The last valid states. o: what stands in place of the padding's inputs, if anything."""

    def step(t: int, h: Any) -> tuple[Any]:
        x = k.where(np.repeat(t < LENGTHS, 2, axis=1), xs[t], o[0]) if o else xs[t]
        return (k.where(np.repeat(t < LENGTHS, H, axis=1), cell(k, Wx, Wh, b)(x, h)[0], h),)

    return k.sum(states(step, range(4), h)[-1] * w)


def truncation(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any, ws: Any) -> Any:
    return weighed(k, cut(k, xs, h, Wx, Wh, b), ws)


def cut(k: Any, xs: Any, h: Any, Wx: Any, Wh: Any, b: Any) -> list[Any]:
    """The states of an RNN that is cut after its second step."""
    step = cell(k, Wx, Wh, b)
    return states(lambda t, h: step(xs[t], k.detach(h) if t == 2 else h), range(4), h)


# fmt: off
for row in (
    ("unit_relu", "relu,order,number_right",
     "one unit with relu over three steps: a weight's gradients do not add up", unit("relu")),
    ("unit_rnn", "tanh,order,number_right",
     "one unit with tanh over three steps: a weight's gradients do not add up", unit("tanh")),
    ("unit_lstm", "sigmoid,tanh,order,number_right",
     "an LSTM of one unit: the way through c, and the way through h", unit_lstm),
    ("unit_gru", "sigmoid,tanh,order,number_left,number_right",
     "a GRU of one unit: the ways through r, z and 1 - z", unit_gru),
    ("unit_truncation", "detach,unit_rnn",
     "one unit, cut after its second step: the gradient stops there", unit("tanh", [2])),
    ("rnn", "matmul_oblong,broadcast_row,elementwise_tanh,index,order",
     "an RNN: over (t, k) all ways through the states add up, the bias's too", rnn),
    ("rnn_last", "rnn", "an RNN whose last state alone is read", rnn_last),
    ("stacked", "rnn", "two layers that share their weights: those of both add up", stacked),
    ("lstm", "rnn,cut,unit_lstm", "an LSTM whose gates i f g o are cut from one product", lstm),
    ("lstm_peephole", "lstm,number_left", "an LSTM with peepholes, whose input gate is 1 - f",
     lstm_peephole),
    ("gru", "rnn,cut,unit_gru",
     "a GRU that resets before the product, and whose z keeps the state", gru),
    ("gru_after", "rnn,cut,unit_gru",
     "a GRU that resets after the product, and whose z takes the candidate", gru_after),
    ("lengths", "rnn,where",
     "a batch of two lengths: the last state is read, not the last valid one", lengths),
    ("padding", "lengths", "NaN in the padding comes through where(): 0 times NaN is NaN",
     lambda k, xs, o, *rest: lengths(k, xs, *rest, o)),
    ("truncation", "rnn,detach", "an RNN cut after two steps: the gradient stops there alone",
     truncation),
):
    case(4, *row)
# fmt: on


@check(4, "cut_exact", "truncation", "what lies before a cut gets a gradient that is small, not 0")
def cut_exact(engine: Engine) -> None:
    late = lambda k, *inputs: k.sum(cut(k, *inputs[:-1])[-1] * inputs[-1][3])
    xs, h, *_ = engine.run(late, stored()["truncation"].inputs)[1]
    for name, g in {"inputs before the cut": xs[:2], "the first state": h}.items():
        if g.any():
            raise Wrong(f"gradient of {name}: expected 0, yours up to {abs(g).max():.6g}")


@check(4, "batch_mates", "rnn", "a NaN in one sequence comes to another of its batch")
def batch_mates(engine: Engine) -> None:
    known = stored()["rnn"]
    inputs = [np.array(a) for a in known.inputs]
    inputs[0][:, 1] = np.nan
    got, want = engine.run(rnn, inputs)[1][0][:, 0], known.gradients[0][:, 0]
    if not close(got, want, tolerance_of(got)):
        raise Wrong("gradient of the inputs of the first sequence: it changes with the second")


# -- layers of the engine's own -------------------------------------------------------------------

OWN = {  # the order of gates that is usual, where the weights begin, which cells it may be
    "rnn": ("h", 2, ("rnn",)),
    "lstm": ("ifgo", 3, ("lstm",)),
    "gru": ("rzn", 2, ("gru", "gru_after")),
}


@check(4, "own_rnn", "rnn", "the engine's own rnn(xs, h, Wx, Wh, b)")
def own_rnn(engine: Engine) -> str:
    return _own(engine, "rnn", ["h"])


@check(4, "own_lstm", "lstm", "the engine's own lstm(xs, h, c, Wx, Wh, b), its gates in any order")
def own_lstm(engine: Engine) -> str:
    return _own(engine, "lstm", permutations("ifgo"))


@check(4, "own_gru", "gru,gru_after", "the engine's own gru(xs, h, Wx, Wh, b), by any convention")
def own_gru(engine: Engine) -> str:
    return _own(engine, "gru", [*permutations("rzn"), *permutations("rZn")])  # Z is 1 - z


def _own(engine: Engine, name: str, orders: Iterable[Sequence[str]]) -> str:
    """Judge a layer by that convention by which its value is right, and return which it is.

    An engine whose gates have another order gets the blocks of its weights in that one; one whose
    z does what 1 - z does gets the blocks of z with a minus.
    """
    usual, first, ways = OWN[name]
    layer = lambda k, *inputs: k.sum(getattr(k, name)(*inputs[:-1]) * inputs[-1])
    failure: Wrong | None = None
    for order, way in product(orders, ways):
        known, weights = stored()[way], slice(first, first + 3)
        inputs, gradients = [*known.inputs], [*known.gradients]
        inputs[weights], gradients[weights] = (
            [_moved(a, usual, order) for a in some[weights]] for some in (inputs, gradients)
        )
        found = engine.run(layer, inputs)
        right = close(found[0], known.value, 1e-4)
        if right or failure is None:
            try:
                compare(found, Numbers(inputs, known.value, gradients))
                return f"as `{way}`, with gates in the order {' '.join(order)}"
            except Wrong as wrong:
                failure = wrong
        if right:
            break
    assert failure is not None
    raise failure


def _moved(a: Any, usual: str, order: Sequence[str]) -> Any:
    """Blocks of gates in another order; of a gate that is the rest of the usual one, negated."""
    blocks = dict(zip(usual, np.split(a, len(usual), axis=-1), strict=True))
    return np.concatenate([blocks.get(g, -blocks[g.lower()]) for g in order], axis=-1)
