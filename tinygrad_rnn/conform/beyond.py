"""The cases of the fifth level: derivatives of derivatives, forward mode, RTRL."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import CASES, case, check
from .engine import Engine, Wrong
from .evidence import Numbers, compare, stored
from .recurrent import numbered, unit


def third(k: Any, x: Any, y: Any) -> Any:
    once = lambda x, y: k.grad(lambda x, y: x * x * x * x * y, [x, y])[0]
    return k.grad(once, [x, y])[0]


def second_arrays(k: Any, x: Any, W: Any, u: Any, v: Any) -> Any:
    def f(x: Any, W: Any) -> Any:
        y = k.tanh(k.product(x, W))
        return k.sum(y * y)

    gx, gw = k.grad(f, [x, W])
    return k.sum(gx * u) + k.sum(gw * v)


# fmt: off
for row in (
    ("second", "order", "the gradient of a gradient: its graph is missing, or half of it",
     lambda k, x, y: k.grad(lambda x, y: x * x * x * y, [x, y])[0]),
    ("third", "second", "a third derivative", third),
    ("second_arrays", "second,matmul_oblong,elementwise_tanh",
     "a Hessian times a vector, through a product of matrices and tanh", second_arrays),
    ("second_rnn", "second,unit_rnn", "second derivatives through three steps of time",
     lambda k, *inputs: numbered(k.grad(lambda *xs: unit("tanh")(k, *xs), list(inputs)))),
):
    case(5, *row)
# fmt: on


@check(5, "jvp", "order", "forward mode: a tangent is not what the gradient says, of scalars")
def jvp(engine: Engine) -> None:
    _tangent(engine, "mul")
    _tangent(engine, "order")


@check(5, "jvp_arrays", "jvp,matmul_oblong", "forward mode through a product of matrices")
def jvp_arrays(engine: Engine) -> None:
    _tangent(engine, "matmul_oblong")


@check(5, "jvp_rnn", "jvp,unit_rnn", "forward mode through three steps of time")
def jvp_rnn(engine: Engine) -> None:
    _tangent(engine, "unit_rnn")


def _tangent(engine: Engine, name: str) -> None:
    """Hold a tangent to the product of the stored gradients and the direction."""
    known, f = stored()[name], engine.watched(CASES[name].f)
    along = [np.cos(np.arange(1.0, a.size + 1)).reshape(a.shape) for a in known.inputs]
    value, tangent = engine.pair(engine.ops.jvp(f, [a.copy() for a in known.inputs], along))
    slope = sum((g * v).sum() for g, v in zip(known.gradients, along, strict=True))
    try:
        want = Numbers(known.inputs, known.value, [np.asarray(slope)])
        compare((np.asarray(value), [np.asarray(tangent)]), want)
    except Wrong as wrong:
        raise Wrong(str(wrong).replace("gradient of input 0", f"tangent of `{name}`")) from wrong


@check(5, "rtrl", "unit_rnn", "real-time recurrent learning, from single steps, is not BPTT")
def rtrl(engine: Engine) -> None:
    known = stored()["unit_rnn"]
    h, *xs, w, u, b = known.inputs
    step = lambda k, h, x, w, u, b: k.tanh(w * x + u * h + b)
    influence, total, loss = np.zeros(3), np.zeros(3), np.zeros(())  # of w, u, b on h
    for n, x in enumerate(xs, 1):
        h, (back, _, *direct) = engine.run(step, [h, x, w, u, b])
        h, influence = h.reshape(()), back * influence + np.array(direct)
        loss, total = loss + n * h, total + n * influence
    found = [np.asarray(g, np.result_type(*direct)) for g in total]  # as many digits as it has
    compare((loss, found), Numbers([], known.value, known.gradients[4:]))
