"""NaN, infinities, zeros and ties through every compiled op: the same numbers as step by step.

One loop holds all ops, each of which writes columns of its own, so that a NaN in one hides no
other; what chooses between numbers has a second loop, for its derivative.
"""

import types

import numpy as np
import pytest

import tinygrad_rnn as tg

VALUES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1.5, -3.0, 700.0]
SIZE = len(VALUES)
FIRST, SECOND = (np.array(a) for a in np.meshgrid(VALUES, VALUES, indexing="ij"))  # every pair
MIXED = np.random.default_rng(0).choice(VALUES[1:], FIRST.shape)  # rows for what goes over one
MIXED[:4] = np.array([[np.nan], [np.inf], [-np.inf], [1.5]])
MIXED[4, 3] = np.nan


def pointwise():
    """Every op of the library that works on each number by itself, as a function of two arrays."""
    modules = [m for m in vars(tg.ops).values() if isinstance(m, types.ModuleType)]
    ops = {op.name: op for m in modules for op in vars(m).values() if isinstance(op, tg.Op)}
    ops = {name: op for name, op in ops.items() if op.pointwise}
    where, astype = ops.pop("where"), ops.pop("astype")
    made = {name: (op if op.arity == 2 else lambda x, y, op=op: op(x)) for name, op in ops.items()}
    made["where"] = lambda x, y: where(x > y, x, y)
    made["astype"] = lambda x, y: astype(astype(x, dtype=np.float32), dtype=x.dtype) + y
    for power in (0.5, 2, 3, -1):
        made[f"power {power}"] = lambda x, y, power=power: x**power
    return made


ROWS = {
    "softmax": lambda x: tg.softmax(x),
    "log_softmax": lambda x: tg.log_softmax(x),
    "logsumexp": lambda x: tg.logsumexp(x)[:, None],
    "sum": lambda x: x.sum(axis=1, keepdims=True),
    "max": lambda x: x.max(axis=1, keepdims=True),
    "min": lambda x: x.min(axis=1, keepdims=True),
}
POINTWISE = pointwise()
CHOOSING = {name: POINTWISE[name] for name in ("relu", "abs", "maximum", "minimum", "where")}
CHOOSING |= {"power": POINTWISE["power"], "max": lambda x, y: x.max(axis=1, keepdims=True) + 0 * y}


def compared(ours, theirs, dtype, names, what):
    """Nothing but what differs: (x, y, found, right) by name."""
    assert ours.dtype == theirs.dtype == dtype
    near = np.isclose(ours, theirs, rtol=1e-5 if dtype == np.float32 else 1e-12, equal_nan=True)
    found = {}
    for k, name in enumerate(names):
        part = np.s_[:, k * SIZE : (k + 1) * SIZE]
        pairs = [z[~near[part]] for z in (*what[name], ours[part], theirs[part])]
        if len(pairs[0]):
            found[name] = list(zip(*map(list, pairs), strict=True))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_compiled_op_is_right_at_the_edges(dtype):
    def step(x, y, z, h):
        found = [f(x, y) for f in POINTWISE.values()] + [f(z) for f in ROWS.values()]
        found = [v if v.dtype.kind == "f" else v.astype(x.dtype) for v in found]
        return h * 0.5, tg.concat([tg.expand(v, shape=x.shape) for v in found], axis=1)

    given = tuple(tg.tensor(v.astype(dtype)[None]) for v in (FIRST, SECOND, MIXED))
    h = np.ones((SIZE, 1), dtype)
    with np.errstate(all="ignore"):
        ours, theirs = (tg.scan(step, h, given, unroll=how)[1].data[0] for how in (False, True))
    what = dict.fromkeys(POINTWISE, (FIRST, SECOND)) | dict.fromkeys(ROWS, (MIXED, MIXED))
    assert not compared(ours, theirs, dtype, what, what)


def test_derivatives_of_what_chooses_are_right_at_the_edges():
    """Ties share a cotangent; NaN is never smaller, larger or equal."""

    def step(x, y, h):
        at = lambda z, k: z[:, k * SIZE : (k + 1) * SIZE]
        found = [f(at(x, k), at(y, k)) for k, f in enumerate(CHOOSING.values())]
        return h * 0.5, tg.concat(found, axis=1)

    answers, what = [], dict.fromkeys(CHOOSING, (FIRST, SECOND)) | {"max": (MIXED, MIXED)}
    for how in (False, True):
        x, y = (np.concatenate([pair[k] for pair in what.values()], axis=1) for k in (0, 1))
        x, y = (tg.tensor(v[None], requires_grad=True) for v in (x, y))
        with np.errstate(all="ignore"):
            z = tg.scan(step, np.ones((SIZE, 1)), (x, y), unroll=how)[1]
            z.backward(np.random.default_rng(1).uniform(0.5, 1, z.shape))
        answers.append([x.grad.data[0], y.grad.data[0]])
    for ours, theirs in zip(*answers, strict=True):
        assert not compared(ours, theirs, np.float64, what, what)
