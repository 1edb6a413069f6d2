"""GradBench's tool: the protocol, and each evaluation against plain NumPy and complex steps.

The references follow the benchmark's definitions, not the simplified forms that the tool computes.
A complex step has no rounding of differences: f'(x) is the imaginary part of f(x + ih) / h.
"""

import io
import json
import math
import sys

import numpy as np
import pytest
from benchmarks.gradbench import __main__ as tool
from benchmarks.gradbench.lstm import example


def said(monkeypatch, capsys, *messages):
    """What the tool says to these messages, each with the next id."""
    lines = [json.dumps({"id": k} | message) + "\n" for k, message in enumerate(messages)]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(lines)))
    tool.main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_gradbench_is_answered_line_by_line(monkeypatch, capsys):
    square = {"kind": "evaluate", "module": "hello", "function": "square", "input": 3.0}
    lse = {"module": "lse", "function": "primal", "input": {"x": [0.0, 0.0], "min_runs": 3}}
    start, known, unknown, nine, six, half, analysis, wrong = said(
        monkeypatch,
        capsys,
        {"kind": "start", "eval": "hello"},
        {"kind": "define", "module": "hello"},
        {"kind": "define", "module": "ht"},
        square,
        square | {"function": "double"},
        square | lse,
        {"kind": "analysis", "of": 3, "valid": True},
        square | {"function": "cube"},
    )
    assert start == {"id": 0, "tool": "tinygrad-rnn"}
    assert known == {"id": 1, "success": True}
    assert not unknown["success"] and "ht" in unknown["error"] and "ode" in unknown["error"]
    assert (nine["output"], six["output"], half["output"]) == (9.0, 6.0, math.log(2))
    assert [len(reply["timings"]) for reply in (nine, six, half)] == [1, 1, 3]
    assert all(t["name"] == "evaluate" and t["nanoseconds"] > 0 for t in half["timings"])
    assert analysis == {"id": 6}
    assert not wrong["success"] and "expected 'square' or 'double'" in wrong["error"]


def llsq(x, n):
    t = [-1 + i * 2 / (n - 1) for i in range(n)]
    return sum((np.sign(u) - sum(c * u**j for j, c in enumerate(x))) ** 2 for u in t) / 2


def lse(x):
    return np.log(np.exp(x).sum())


def ode(x, s):
    """Every component, since they are what the primal answers; the last is what is derived."""
    y, h = np.zeros(len(x), x.dtype), 2 / s
    for _ in range(s):
        slopes = []
        for part in (0, 0.5, 0.5, 1):
            at = y + h * part * slopes[-1] if slopes else y
            slopes.append(np.array([x[0], *(x[1:] * at[:-1])]))
        y = y + h * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3]) / 6
    return y


def gmm(alpha, mu, q, l, *, d, k, n, m, gamma, x):
    precisions = []
    for diagonal, below in zip(q, l, strict=True):
        Q, rest = np.diag(np.exp(diagonal)), iter(below)
        for column in range(d):
            for row in range(column + 1, d):
                Q[row, column] = next(rest)
        precisions.append(Q.T @ Q)
    value = -n * np.log(np.exp(alpha).sum())
    for point in np.asarray(x):
        value += np.log(sum(
            np.exp(a - (point - mean) @ P @ (point - mean) / 2)
            * np.sqrt(np.linalg.det(P) / (2 * math.pi) ** d)
            for a, mean, P in zip(alpha, mu, precisions, strict=True)
        ))  # fmt: skip
    freedom = d + m + 1
    gammas = math.prod(math.gamma((freedom - j) / 2) for j in range(d))
    scale = math.pi ** (d * (d - 1) / 4) * gammas
    for P in precisions:
        density = np.linalg.det(P) ** (m / 2) * np.exp(-(gamma**2) * np.trace(P) / 2)
        value += np.log(density / (2 ** (freedom * d / 2) * gamma ** (-freedom * d) * scale))
    return value


def lstm(main, extra, *, state, sequence):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    state, total = [np.array(s, main.dtype) for s in state], 0
    for now, gold in zip(sequence[:-1], np.asarray(sequence)[1:], strict=True):
        x = now * extra[0]
        for k in range(0, len(state), 2):
            (f, i, o, c), (bf, bi, bo, bc) = (w.reshape(4, -1) for w in main[k : k + 2])
            cell = state[k + 1] * sigmoid(x * f + bf)
            cell = cell + sigmoid(state[k] * i + bi) * np.tanh(state[k] * c + bc)
            x = sigmoid(x * o + bo) * np.tanh(cell)
            state[k], state[k + 1] = x, cell
        logits = x * extra[1] + extra[2]
        total += (gold * (logits - np.log(np.exp(logits).sum() + 2))).sum()
    return -total / (len(gold) * (len(sequence) - 1))


RNG = np.random.default_rng(0)
SMALL = {"min_runs": 2, "min_seconds": 0}
MIXTURE = {"d": 3, "k": 4, "n": 5, "m": 2, "gamma": 1.5, "x": RNG.normal(size=(5, 3)).tolist()}
PARTS = {"alpha": RNG.normal(size=4), "mu": RNG.random((4, 3)), "q": RNG.normal(size=(4, 3))}
PARTS |= {"l": RNG.normal(size=(4, 3))}
TEXT = example(2, 5)
CASES = {
    "llsq": (("primal", "gradient"), llsq, {"x": RNG.random(4)}, {"n": 7}),
    "lse": (("primal", "gradient"), lse, {"x": RNG.normal(size=6)}, {}),
    "ode": (("primal", "gradient"), ode, {"x": RNG.random(5)}, {"s": 3}),
    "gmm": (("objective", "jacobian"), gmm, PARTS, MIXTURE),
    "lstm": (
        ("objective", "jacobian"),
        lstm,
        {name: np.array(TEXT[name]) for name in ("main_params", "extra_params")},
        {name: TEXT[name] for name in ("state", "sequence")},
    ),
}


@pytest.mark.parametrize("module", CASES)
def test_gradbench_gets_the_values_and_the_derivatives_it_asks_for(module):
    names, reference, variables, fixed = CASES[module]
    given = {name: x.tolist() for name, x in variables.items()} | fixed | SMALL
    ask = {"id": 1, "kind": "evaluate", "module": module, "input": given}
    value, gradient = (tool.response(ask | {"function": name}) for name in names)
    for reply in (value, gradient):
        assert reply["success"], reply["error"]
        assert len(reply["timings"]) == 2
    arrays = [x.astype(complex) for x in variables.values()]
    np.testing.assert_allclose(value["output"], reference(*arrays, **fixed).real, 1e-12, 1e-12)
    wanted = {}
    for name, x in zip(variables, arrays, strict=True):
        wanted[name] = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            x[index] += 1e-30j
            wanted[name][index] = np.ravel(reference(*arrays, **fixed))[-1].imag / 1e-30
            x[index] -= 1e-30j
    got = gradient["output"]
    if module != "gmm":  # which has an array for each name; the others are one list
        got = {"all": got}
        wanted = {"all": np.concatenate([w.ravel() for w in wanted.values()])}
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-11, atol=1e-12)


def test_gradbench_gets_a_step_of_newtons_towards_the_means():
    """Of a centroid with m points it is what it misses of their mean: 2 m (c - mean) over 2 m."""
    points = np.random.default_rng(1).normal(size=(40, 3))
    centroids = points[:4] + 0.1
    given = {"points": points.tolist(), "centroids": centroids.tolist()} | SMALL
    ask = {"id": 1, "kind": "evaluate", "module": "kmeans", "input": given}
    cost, step = (tool.response(ask | {"function": name}) for name in ("cost", "dir"))
    squares = [[sum((p - c) ** 2) for c in centroids] for p in points]
    nearest = np.array([row.index(min(row)) for row in squares])
    np.testing.assert_allclose(cost["output"], sum(map(min, squares)), rtol=1e-12)
    means = np.array([points[nearest == k].mean(axis=0) for k in range(4)])
    np.testing.assert_allclose(step["output"], centroids - means, rtol=1e-10, atol=1e-12)
    assert [len(reply["timings"]) for reply in (cost, step)] == [2, 2]
