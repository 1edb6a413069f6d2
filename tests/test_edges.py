"""NaN, infinities, zeros and ties through every compiled op: the same numbers as step by step.

One loop holds all ops, each with a column of its own, so that a NaN in one hides no other; what
chooses between numbers has a second loop, for its derivative.
"""

import types

import numpy as np
import pytest

import tinygrad_rnn as tg

pytestmark = pytest.mark.compiled
VALUES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1.5, -3.0, 700.0]
SIZE = len(VALUES)
FIRST, SECOND = (np.array(a) for a in np.meshgrid(VALUES, VALUES, indexing="ij"))  # every pair
MIXED = np.random.default_rng(0).choice(VALUES[1:], FIRST.shape)  # rows for what goes over one
MIXED[:4] = np.array([[np.nan], [np.inf], [-np.inf], [1.5]])
MIXED[4, 3] = np.nan


def pointwise():
    """Every op of the library that works on each number by itself, as a function of two arrays."""
    modules = [m for m in vars(tg.ops).values() if isinstance(m, types.ModuleType)]
    ops = {op.name: op for m in modules for op in vars(m).values() if isinstance(op, tg.op.Op)}
    ops = {name: op for name, op in ops.items() if op.pointwise}
    where, astype = ops.pop("where"), ops.pop("astype")
    made = {name: (op if op.arity == 2 else lambda x, y, op=op: op(x)) for name, op in ops.items()}
    made["where"] = lambda x, y: where(x > y, x, y)
    made["astype"] = lambda x, y: astype(astype(x, dtype=np.float32), dtype=x.dtype) + y
    for power in (2, 3, -1, 0.5):
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


def near(found, right):
    return np.isclose(found, right, rtol=1e-5 if found.dtype == np.float32 else 1e-12,
                      equal_nan=True)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_compiled_op_is_right_at_the_edges(dtype):
    def step(x, y, z, h):
        found = [f(x, y) for f in POINTWISE.values()]
        found = [v if v.dtype.kind == "f" else v.astype(x.dtype) for v in found]
        return h * 0.5, tg.concat(found, axis=1), *[f(z) for f in ROWS.values()]

    pairs = (v.astype(dtype).reshape(1, -1, 1) for v in (FIRST, SECOND))
    given = (*pairs, np.tile(MIXED.astype(dtype), (SIZE, 1))[None])
    h = np.ones((SIZE * SIZE, 1), dtype)
    with np.errstate(all="ignore"):
        _, ours, *of_rows = tg.scan(step, h, given)
        _, theirs, *right = tg.scan(step, h, given, unroll=True)
    wrong = {
        (name, *at): (found, expected)
        for k, name in enumerate(POINTWISE)
        for *at, found, expected in zip(
            FIRST.flat, SECOND.flat, ours.data[0, :, k], theirs.data[0, :, k], strict=True
        )
        if not near(found, expected)
    }
    assert not wrong and ours.dtype == theirs.dtype == dtype
    for name, found, expected in zip(ROWS, of_rows, right, strict=True):
        assert near(found.data, expected.data).all(), name


def test_derivatives_of_what_chooses_are_right_at_the_edges():
    """Ties share a cotangent; NaN is never smaller, larger or equal."""

    def step(x, y, h):
        at = lambda z, k: z[:, k : k + 1]
        found = [f(at(x, k), at(y, k)) for k, f in enumerate(CHOOSING.values())]
        return h * 0.5, tg.concat(found, axis=1)

    answers = []
    for how in (False, True):
        x, y = (np.tile(v.reshape(1, -1, 1), len(CHOOSING)) for v in (FIRST, SECOND))
        x, y = (tg.tensor(v, requires_grad=True) for v in (x, y))
        with np.errstate(all="ignore"):
            z = tg.scan(step, np.ones((SIZE * SIZE, 1)), (x, y), unroll=how)[1]
            z.backward(np.random.default_rng(1).uniform(0.5, 1, z.shape))
        answers.append([x.grad.data[0], y.grad.data[0]])
    for ours, theirs in zip(*answers, strict=True):
        wrong = {name for name, found in zip(CHOOSING, near(ours, theirs).T, strict=True)
                 if not found.all()}  # fmt: skip
        assert not wrong
