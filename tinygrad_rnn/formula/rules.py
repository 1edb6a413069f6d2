"""What an op does and its derivative rules, in letters: the rules, run and printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..loops.trace import Trace, outline
from ..op import Op, Parts
from ..ops import arithmetic as ar
from ..ops import shape
from ..tensor import Outline, Tensor, owned
from .read import Reader
from .term import Call, Number, Symbol, Term
from .write import ANY, Text, digits


def blank(size: tuple[int, ...], dtype: Any, name: str | None = None) -> Tensor:
    """A leaf with a shape and no numbers, that waits for a gradient if it is of floats."""
    x = owned(np.empty(0))
    x._array, x.name = outline(tuple(size), np.dtype(dtype)), name
    x.tracked = x._array.dtype.kind == "f"
    return x


def in_letters(y: Tensor) -> tuple[str, tuple[str, ...]]:
    """What the op that made a tensor does, "tanh(x)", and the gradient of each input, as text; ""
    where that is nothing, or where the rule cannot be run without numbers.

    An op's one input is x, several are a, b, c, …, numbers themselves; y is the answer, g the
    cotangent of y.
    """
    numbers = [float(x._array) if is_number(x) else None for x in y.inputs]
    found: tuple[str, tuple[str, ...]] = _remembered(y, numbers, lambda: _letters(y))
    return found


def _remembered(y: Tensor, what: Sequence[Any], make: Callable[[], Any]) -> Any:
    """What is made, once for all tensors that an op makes of inputs of such shapes."""
    sizes = [(x._array.shape, x._array.dtype) for x in y.inputs]
    key = (*what, y.op, *sizes, repr(y.attrs))
    if key not in _known:
        if len(_known) > MANY:
            _known.clear()
        _known[key] = make()
    return _known[key]


MANY = 2000  # ops, shapes and attributes whose letters are remembered
_known: dict[Any, Any] = {}


def _letters(y: Tensor) -> tuple[str, tuple[str, ...]]:
    op, write = y.op, Text()
    assert op is not None
    many = sum(not is_number(x) for x in y.inputs) > 1
    xs = [x if is_number(x) else blank(x._array.shape, x.dtype) for x in y.inputs]
    known: dict[Tensor, Term] = {
        x: Number(float(x._array)) if is_number(x) else Symbol(_letter(k) if many else "x")
        for k, x in enumerate(xs)
    }
    trace = Trace(xs)
    trace.number |= dict.fromkeys(xs, 0)
    formula: Term = Call(op, tuple([known[x] for x in xs]))
    pulled: list[Any] = [None] * len(xs)
    with suppress(TypeError, ValueError, AttributeError, IndexError), trace.on():
        op(*xs, **y.attrs)
        new = trace.nodes[0]
        formula, known[new] = Reader(known).formula(new), Symbol("y")
        g = _incoming(new, known)
        trace.number |= dict.fromkeys(known, 0)
        pulled = op.pull(g, new, {x for x in xs if x.tracked})  # a rule may need numbers
        pulled = list(map(_spelled, pulled))
    read = Reader(known)
    return write(formula), tuple([write(read(p)) if isinstance(p, Tensor) else "" for p in pulled])


SAME = "{0:0}"  # the form of what only changes a shape or a dtype, or cuts
_same = (ar.astype, shape.broadcast_to, shape.reshape, shape._split, shape.unstack)


class Form(Text):
    """A formula to be filled in, without attributes: {0:3} is input 0, in brackets if it holds
    together less tightly than 3."""

    def __call__(self, x: Term, least: int = ANY) -> str:
        return f"{{{x.name}:{least}}}" if isinstance(x, Symbol) else super().__call__(x, least)

    def form(self, x: Term) -> tuple[str, int]:
        whole = isinstance(x, Symbol) or (isinstance(x, Call) and x.op in _same)
        return (SAME, ANY) if whole else super().form(x)

    def number(self, value: float) -> str:
        short = float(f"{value:.3g}")
        return digits(short if np.isfinite(short) else value)

    def operator(self, sign: str) -> str:
        return sign.replace(" ⊙ ", "·")

    def settings(self, op: Op, attrs: dict[str, Any]) -> list[str]:
        return []

    def function(self, name: str) -> str:
        return name.replace("_", " ")


def form_of(y: Tensor) -> tuple[str, int]:
    """What the op that made a tensor does, as a form, and how tightly that holds together.

    Numbers that it reads stand there themselves.
    """
    ids = list(map(id, y.inputs))
    terms: list[Term] = [
        Number(float(x._array)) if is_number(x) else Symbol(str(ids.index(id(x)))) for x in y.inputs
    ]
    read = Reader(dict(zip(y.inputs, terms, strict=True)))
    return _remembered(y, terms, lambda: Form().form(read.formula(y)))


def is_number(x: Tensor) -> bool:
    """Whether it is a number that is written as such."""
    return not (x.ndim or x.op or x.name or x.tracked) and bool(np.isfinite(x._array))


def _letter(k: int) -> str:
    return "abcdefhijklmnopqrstuvw"[k] if k < 22 else f"x{k}"


def _spelled(g: Any) -> Any:
    """A gradient that is one op alone, as what that is made of."""
    formula = g.op.declared.formula if isinstance(g, Tensor) and g.op is not None else None
    return g if formula is None else formula(*g.inputs, **g.attrs)


def _incoming(y: Tensor, known: dict[Tensor, Term]) -> Any:
    """The cotangent of an answer; of a tuple one for each part."""
    if isinstance(y._array, Outline):
        g = blank(y.shape, y.dtype)
        known[g] = Symbol("g")
        return g
    parts = Parts({i: blank(a.shape, a.dtype) for i, a in enumerate(y._array)})
    known |= {g: Symbol("g", block=str(i)) for i, g in parts.items()}
    return parts
