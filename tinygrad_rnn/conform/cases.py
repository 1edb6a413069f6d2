"""The cases of the first two levels, and how a case is made.

A case is a function of an engine's ops, k, and of its values, and returns one number. Cases stand
in the order in which they depend on each other: each says which must hold before it is judged, and
which mistake it finds. What must come of it is stored: `tests/conform_numbers.py` has every formula
a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from .engine import Engine, Function
from .evidence import compare, stored


@dataclass(frozen=True)
class Case:
    """One thing that an engine gets right or wrong.

    finds: the mistake that it finds. needs: the cases without which it says nothing. judge: raises
    Wrong with evidence, or NotOffered; it may return a remark. f: what it differentiates, if that
    is one thing. stops: whether it raises in the middle of the engine's work, so that an engine
    that fails it is not itself any longer.
    """

    name: str
    level: int
    needs: tuple[str, ...]
    finds: str
    judge: Callable[[Engine], str | None]
    f: Any = None
    stops: bool = False


class Stop(Exception):
    """What a case raises in the middle of an engine's work."""


CASES: dict[str, Case] = {}


def check(
    level: int, name: str, needs: str, finds: str, stops: bool = False
) -> Callable[[Function], Function]:
    """Make a case of a function that judges an engine."""

    def listed(judge: Function) -> Function:
        CASES[name] = Case(
            name, level, tuple(filter(None, needs.split(","))), finds, judge, None, stops
        )
        return judge

    return listed


def case(level: int, name: str, needs: str, finds: str, f: Function) -> None:
    """Make a case of a function whose value and gradients must be those that are stored."""
    judge = lambda engine: same(engine, name)
    CASES[name] = Case(name, level, tuple(filter(None, needs.split(","))), finds, judge, f)


def same(engine: Engine, name: str, f: Function | None = None, arrays: Any = None, **how: Any):
    """Hold an engine to the numbers of a case, whose f and arrays may be others."""
    known = stored()[name]
    compare(engine.run(f or CASES[name].f, arrays or known.inputs, **how), known)


case(1, "identity", "", "the backward pass does not begin with 1", lambda k, x: x)
case(
    1, "mul", "identity", "a product's rule: each factor's gradient is the other",
    lambda k, x, y, z: x * y * z,
)  # fmt: skip


@check(1, "after_error", "mul", "after an error in f, what was left comes to the next call", True)
def after_error(engine: Engine) -> None:
    def broken(k: Any, x: Any, y: Any, z: Any) -> Any:
        raise Stop(x * y)

    with suppress(Stop):
        same(engine, "mul", broken)
    same(engine, "mul")


row: tuple[Any, ...]
# fmt: off
for row in (
    ("add", "mul", "a sum does not hand its gradient to both terms",
     lambda k, x, y, z: (x + y) * z),
    ("sub", "mul", "the sign of what is subtracted", lambda k, x, y, z: (x - y) * z),
    ("neg", "mul", "the sign of -x", lambda k, x, y: (-x) * y),
    ("div", "mul", "a quotient's rule: the minus or the square of the divisor",
     lambda k, x, y, z: x / y * z),
    ("number_right", "add", "x + 1 and x * 3 with a number of Python on the right",
     lambda k, x, y: (x * 3 + 1) * y),
    ("number_left", "add,sub", "1 - x with the number on the left, computed as x - 1",
     lambda k, x, y: (5 + 3 * (1 - x)) * y),
    ("number_over", "div", "2 / x computed as x / 2", lambda k, x, y: 2 / x * y / 4),
    ("power", "mul", "a power's rule: n times the power that is one less, of a negative number too",
     lambda k, x, y: x**3 * y),
    ("power_at_zero", "power", "the slope of x ** 2 at 0 is 0, not 0 / 0",
     lambda k, x, y: x**2 * y),
    ("power_of", "power", "the exponent's gradient, which has a logarithm",
     lambda k, x, y, z: x**y * z),
    ("exp", "mul", "the rule of exp", lambda k, x, y: k.exp(x) * y),
    ("log", "mul", "the rule of log", lambda k, x, y: k.log(x) * y),
    ("sqrt", "mul", "the rule of sqrt", lambda k, x, y: k.sqrt(x) * y),
    ("tanh", "mul", "the rule of tanh: 1 - y * y of its result", lambda k, x, y: k.tanh(x) * y),
    ("tanh_far", "tanh,add", "tanh made of exp overflows far from 0",
     lambda k, x, y, z: (k.tanh(x) + k.tanh(y)) * z),
    ("sigmoid", "mul", "the rule of sigmoid: y * (1 - y) of its result",
     lambda k, x, y: k.sigmoid(x) * y),
    ("sigmoid_far", "sigmoid,add", "sigmoid overflows far below 0",
     lambda k, x, y, z: (k.sigmoid(x) + k.sigmoid(y)) * z),
    ("relu", "mul,add", "relu lets a gradient through where x is negative",
     lambda k, x, y, z: (k.relu(x) + k.relu(y)) * z),
):
    case(1, *row)

MASK = np.array([[True, False, True], [False, False, True]])
times = lambda k, a, b, w: k.sum(k.product(a, b) * w)
for row in (
    ("sum", "mul", "a sum's gradient is not spread over the shape of what was summed",
     lambda k, x, y: k.sum(x) * y),
    ("elementwise", "sum", "a product of arrays, element by element", lambda k, x, y: k.sum(x * y)),
    ("elementwise_tanh", "elementwise,tanh", "a function of arrays, element by element",
     lambda k, x, y: k.sum(k.tanh(x) * y)),
    ("mean", "sum", "a mean's gradient is not divided by how many there are",
     lambda k, x, y: k.mean(x) * y),
    ("sum_axis", "elementwise", "a sum over axis 0 is spread along another axis",
     lambda k, x, y: k.sum(k.sum(x, axis=0) * y)),
    ("sum_last", "elementwise", "a sum over axis -1 is spread along another axis",
     lambda k, x, y: k.sum(k.sum(x, axis=-1) * y)),
    ("broadcast_number", "elementwise", "a number times an array: its gradient is not summed",
     lambda k, s, x, w: k.sum(s * x * w)),
    ("broadcast_row", "elementwise,add",
     "a row added to a matrix, a bias: its gradient is not summed over rows",
     lambda k, x, b, w: k.sum((x + b) * w)),
    ("broadcast_minus", "broadcast_row,sub",
     "a row subtracted from a matrix: its gradient is not summed over rows",
     lambda k, x, b, w: k.sum((x - b) * w)),
    ("broadcast_over", "broadcast_row,div",
     "a matrix divided by a row: its gradient is not summed over rows",
     lambda k, x, b, w: k.sum(x / b * w)),
    ("broadcast_column", "elementwise",
     "a column times a matrix: its gradient is not summed over an axis of size 1",
     lambda k, c, x, w: k.sum(c * x * w)),
    ("broadcast_both", "broadcast_row,broadcast_column",
     "a column times a row: both are broadcast", lambda k, a, b, w: k.sum(a * b * w)),
    ("matmul", "elementwise", "a product of matrices: one is not transposed on the way back",
     times),
    ("matmul_oblong", "matmul", "a product of matrices that are not square", times),
    ("matmul_vector", "matmul", "a matrix times a vector: the gradient is an outer product", times),
    ("vector_matmul", "matmul", "a vector times a matrix: the gradient is an outer product", times),
    ("matmul_stack", "matmul_oblong",
     "a stack of matrices times one: the gradient is not summed over the stack", times),
    ("transpose", "elementwise", "a transpose is not transposed back",
     lambda k, x, w: k.sum(k.transpose(x) * w)),
    ("reshape", "elementwise", "a reshape loses the order of numbers on the way back",
     lambda k, x, w: k.sum(k.reshape(x, (3, 2)) * w)),
    ("index", "elementwise", "x[1]: the gradient comes to another row, or in the row's shape",
     lambda k, x, w: k.sum(x[1] * w)),
    ("cut", "index", "x[:, 1:]: the gradient comes to other columns",
     lambda k, x, w: k.sum(x[:, 1:] * w)),
    ("gather", "index", "x[[0, 2, 0]]: a row that is read twice gets one gradient in place of two",
     lambda k, x, w: k.sum(x[np.array([0, 2, 0])] * w)),
    ("concatenate", "elementwise", "a concatenation is not cut into its parts on the way back",
     lambda k, x, y, w: k.sum(k.concatenate([x, y], axis=1) * w)),
    ("stack", "elementwise", "a stack does not hand each gradient to its own part",
     lambda k, x, y, w: k.sum(k.stack([x, y], axis=0) * w)),
    ("max", "elementwise", "a maximum's gradient goes to all numbers, not to the largest",
     lambda k, x, w: k.sum(k.max(x, axis=1) * w)),
    ("where", "elementwise", "where() hands a gradient to what was not chosen",
     lambda k, x, y, w: k.sum(k.where(MASK, x, y) * w)),
    ("softmax", "elementwise", "softmax: its Jacobian is a full matrix, not a diagonal",
     lambda k, x, w: k.sum(k.softmax(x, axis=-1) * w)),
    ("softmax_axis", "softmax", "softmax over axis 0 is computed over another axis",
     lambda k, x, w: k.sum(k.softmax(x, axis=0) * w)),
    ("softmax_far", "softmax", "softmax of large numbers overflows: no maximum is subtracted",
     lambda k, x, w: k.sum(k.softmax(x, axis=-1) * w)),
    ("log_softmax", "elementwise", "log_softmax: its rule, and the logarithm of 0",
     lambda k, x, w: k.sum(k.log_softmax(x, axis=-1) * w)),
):
    case(2, *row)
# fmt: on


@check(2, "layout", "matmul_oblong", "arrays that are not in one piece are read as if they were")
def layout(engine: Engine) -> None:
    apart = [np.repeat(a.T, 2, axis=0)[::2].T for a in stored()["matmul_oblong"].inputs]
    same(engine, "matmul_oblong", arrays=apart, copy=False)
