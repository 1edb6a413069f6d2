"""What an op does and its derivative rules, in letters: the rules, run and printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..loops.trace import Trace, outline
from ..op import Op, Parts
from ..tensor import Outline, Tensor, owned, recording
from .read import Reader
from .term import Call, Symbol, Term
from .write import Text


@dataclass(frozen=True)
class Letters:
    """An op on its letters: x alone, or a, b, c, …; y is the answer, g the cotangent of y.

    formula: what it does. rules: for each input what it gets, None where it gets nothing, or where
    the rule cannot be run without numbers.
    """

    formula: Term
    rules: tuple[Term | None, ...]


def blank(shape: tuple[int, ...], dtype: Any, name: str | None = None) -> Tensor:
    """A leaf with a shape and no numbers, that waits for a gradient if it is of floats."""
    x = owned(np.empty(0))
    x._array, x.name = outline(tuple(shape), np.dtype(dtype)), name
    x.tracked = x._array.dtype.kind == "f"
    return x


def in_letters(y: Tensor) -> tuple[str, tuple[str, ...]]:
    """What the op that made a tensor does, "tanh(x)", and the gradient of each input, as text; ""
    where that is nothing, or not known."""
    shapes = [(x._array.shape, x._array.dtype) for x in y.inputs]
    key = (y.op, *shapes, repr(y.attrs))
    known = _known.get(key)
    if known is None:
        if len(_known) > MANY:
            _known.clear()
        found, write = letters(y.op, shapes, y.attrs), Text()
        rules = tuple("" if rule is None else write(rule) for rule in found.rules)
        known = _known[key] = write(found.formula), rules
    return known


MANY = 2000  # ops, shapes and attributes whose letters are remembered
_known: dict[Any, tuple[str, tuple[str, ...]]] = {}


def letters(op: Op, shapes: Any, attrs: dict[str, Any]) -> Letters:
    """The letters of an op for inputs of such (shape, dtype)."""
    names = ["x"] if len(shapes) == 1 else [_letter(k) for k in range(len(shapes))]
    xs = [blank(size, dtype, name) for (size, dtype), name in zip(shapes, names, strict=True)]
    known: dict[Tensor, Term] = {x: Symbol(name) for x, name in zip(xs, names, strict=True)}
    trace = Trace(xs)
    trace.number |= dict.fromkeys(xs, 0)
    try:
        with trace, recording(True):
            op(*xs, **attrs)
    except (TypeError, ValueError, AttributeError, IndexError):  # it needs numbers
        return Letters(Call(op, tuple(known.values())), (None,) * len(xs))
    y = trace.nodes[0]
    formula = Reader(known).formula(y)
    known[y] = Symbol("y")
    g = _incoming(y, known)
    trace.number |= dict.fromkeys(known, 0)
    try:
        with trace, recording(True):
            pulled = op.pull(g, y, {x for x in xs if x.tracked})
    except (TypeError, ValueError, AttributeError, IndexError):  # it reads numbers
        return Letters(formula, (None,) * len(xs))
    read = Reader(known)
    return Letters(formula, tuple(read(p) if isinstance(p, Tensor) else None for p in pulled))


def _letter(k: int) -> str:
    return "abcdefhijklmnopqrstuvw"[k] if k < 22 else f"x{k}"


def _incoming(y: Tensor, known: dict[Tensor, Term]) -> Any:
    """The cotangent of an answer; of a tuple one for each part."""
    if isinstance(y._array, Outline):
        g = blank(y.shape, y.dtype)
        known[g] = Symbol("g")
        return g
    parts = Parts({i: blank(a.shape, a.dtype) for i, a in enumerate(y._array)})
    known |= {g: Symbol("g", block=str(i)) for i, g in parts.items()}
    return parts
