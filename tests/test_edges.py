"""NaN, infinities, zeros and ties through every compiled op: the same numbers as step by step.

One loop holds every op, each with columns of its own, so that a NaN in one hides no other.
"""

import types

import numpy as np
import pytest

import tinygrad_rnn as tg

VALUES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1.5, -3.0, 700.0]
SIZE = len(VALUES)
FIRST, SECOND = (np.array(a) for a in np.meshgrid(VALUES, VALUES, indexing="ij"))  # every pair
MIXED = np.random.default_rng(0).choice(VALUES[1:], FIRST.shape)  # rows for what sums over one
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
    "logsumexp": lambda x: x + tg.logsumexp(x)[:, None],
    "sum": lambda x: x + x.sum(axis=1, keepdims=True),
    "max": lambda x: x * 0 + x.max(axis=1, keepdims=True),
    "min": lambda x: x * 0 + x.min(axis=1, keepdims=True),
}
POINTWISE = pointwise()
NAMES = [*POINTWISE, *ROWS]


def step(x, y, h):
    """Each op on the columns that are its own."""
    found = []
    for k, name in enumerate(NAMES):
        a, b = (z[:, k * SIZE : (k + 1) * SIZE] for z in (x, y))
        z = POINTWISE[name](a, b) if name in POINTWISE else ROWS[name](b)
        found.append(z if z.dtype.kind == "f" else z.astype(x.dtype))
    return h * 0.5, tg.concat(found, axis=1)


def answers(dtype, unroll):
    """What every op gives, and what its cotangent becomes: by name."""
    x = np.tile(FIRST, len(NAMES)).astype(dtype)
    y = np.concatenate([SECOND] * len(POINTWISE) + [MIXED] * len(ROWS), axis=1).astype(dtype)
    x, y = (tg.tensor(z[None], requires_grad=True) for z in (x, y))
    _, z = tg.scan(step, tg.tensor(np.ones((SIZE, 1), dtype)), (x, y), unroll=unroll)
    g = np.random.default_rng(1).uniform(0.5, 1, z.shape).astype(dtype)
    with np.errstate(all="ignore"):
        z.backward(tg.tensor(g))
    kinds = {"value": z, "of x": x.grad, "of y": y.grad}
    return {
        (name, kind): found.data[0, :, k * SIZE : (k + 1) * SIZE]
        for kind, found in kinds.items()
        for k, name in enumerate(NAMES)
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_compiled_op_is_right_at_the_edges(dtype):
    compiled, expected = (answers(dtype, unroll) for unroll in (False, True))
    wrong = {}
    for case, ours in compiled.items():
        theirs = expected[case]
        assert ours.dtype == theirs.dtype == dtype
        near = np.isclose(ours, theirs, rtol=1e-5 if dtype == np.float32 else 1e-12, equal_nan=True)
        if not near.all():
            wrong[case] = [
                (*pair, found, right)
                for *pair, found, right in zip(
                    FIRST[~near], SECOND[~near], ours[~near], theirs[~near], strict=True
                )
            ]
    assert not wrong, wrong
