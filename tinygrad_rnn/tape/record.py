"""Recording a run: its history written on a tape, and one backward pass with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formula.rules import form_of, in_letters
from ..grad import BackwardPass, _seed, passes
from ..op import Parts, pick
from ..ops.shape import _stack, unstack
from ..tensor import Tensor, history
from .loops import with_steps
from .numbers import Numbers
from .tape import Call, Place, Record, Tape, Term
from .words import attribute_words, family, literal, step_of


def tape_of(
    outputs: Tensor | Sequence[Tensor],
    *,
    values: bool = True,
    backward: bool = True,
    title: str = "",
    most: int | None = None,
) -> Tape:
    """The tape of what some outputs came from, compiled loops step by step.

    values: with arrays; without, shapes only, and nothing is computed. backward: also record the
    backward pass from the one output, a number, as `backward()` would make it, without leaving
    gradients anywhere; without, the gradients are those that `backward()` through these outputs,
    with `retain_graph=True`, has left, and none that another loss had a part in. most: of each
    compiled loop record no more than so many steps, the first it does; not with backward.

    Raises RuntimeError for a graph that `backward()` has freed, or whose weights have other values
    since (unless it is without values and backward pass), ValueError for a backward pass from
    several outputs.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if backward and len(outputs) != 1:
        raise ValueError(
            f"tape_of: backward: expected one tensor, got {len(outputs)}: give the loss, or "
            "backward=False"
        )
    given, lengths = with_steps(outputs, values or backward, most)
    order = history(given)[::-1]
    own = frozenset() if backward else frozenset().union(*(passes(y.grad) for y in given))
    maker = _Maker(order, values, backward, own)
    if backward:
        maker.backward(*given)
    tape = Tape(maker.records, [], backward, len(order), lengths, literal(title, 200))
    tape.outputs = [tape.whole(*maker.place(x))[0] for x in given]
    return tape


class _Maker:
    """The work on one tape. A part of a tuple has no record: it is a place in its tuple's."""

    def __init__(self, order: list[Tensor], values: bool, letters: bool, own: frozenset[int]):
        self.values, self.letters = values, letters
        self.number: dict[Tensor, int] = {}
        self.records: list[Record] = []
        grads: dict[int, list[np.ndarray]] = {}
        order = sorted(order, key=lambda x: x.op is not None)  # a leaf with new values is younger
        for x in order:
            if x.op is not pick:
                self.number[x] = len(self.records)
                self.records.append(self.record(x))
            if type(x._array) is not tuple and x.grad is not None and passes(x.grad) <= own:
                grads.setdefault(self.place(x)[0], []).append(x.grad.data)
        for number, parts in grads.items():
            self.records[number].grad = Numbers(*parts)

    def place(self, x: Tensor) -> tuple[int, int]:
        """The record that a tensor is, or is a part of."""
        return (self.number[x.inputs[0]], x.attrs["i"]) if x.op is pick else (self.number[x], -1)

    def record(self, x: Tensor) -> Record:
        is_tuple = type(x._array) is tuple
        kind = "op" if x.op else "parameter" if x.requires_grad else "input"
        if kind == "input" and not x.ndim and not x.name:
            kind = "constant"
        arrays = list(x._array) if is_tuple else [x._array]
        dtype = str(arrays[0].dtype) if arrays else ""
        layer, t = step_of(x.scope) or ("", -1)
        told = self.values or not (is_tuple or x.ndim)
        return Record(
            len(self.records), kind, self.call(x, dtype) if x.op else Call(dtype=dtype),
            Place(literal(x.scope, 200), literal(layer, 200), t),
            name=literal(x.name, 60) if x.name else "",
            shape=None if is_tuple else list(x.shape),
            sizes=[a.size for a in arrays] if is_tuple else [],
            inputs=[self.place(i) for i in x.inputs],
            value=Numbers(*(arrays if x.op else map(np.copy, arrays))) if told else None,
        )  # fmt: skip

    def call(self, x: Tensor, dtype: str) -> Call:
        op = x.op
        assert op is not None
        formula, rules = in_letters(x) if self.letters else ("", ())
        return Call(
            op.name, not op.ours, dtype, attribute_words(x.attrs),
            sign=literal(op.declared.sign or "", 20), family=family(x), pointwise=op.pointwise,
            restacked=is_restacked(x), form=form_of(x), formula=formula, rules=rules,
        )  # fmt: skip

    def backward(self, y: Tensor) -> None:
        """Record the backward pass from y."""
        order = 0
        for z, g, terms in BackwardPass([y], [_seed(y, None, "tape_of")]).steps():
            if z.op is pick:
                continue
            r = self.records[self.number[z]]
            r.order, order = order, order + 1
            r.grad = Numbers(*(g.filled(z._array) if isinstance(g, Parts) else (g,)))
            r.terms = [Term(place, Numbers(gx)) for place, gx in terms]


def is_restacked(y: Tensor) -> bool:
    """Whether this is the unstacking of a stack along its own axis, which moves nothing."""
    stack: Any = y.inputs[0] if y.op is unstack else None
    return (
        stack is not None
        and stack.op is _stack
        and (stack.attrs["axis"] - y.attrs["axis"]) % stack.ndim == 0
    )
