"""Where a NaN or an infinity comes from: the op, the step, the layer, the gate."""

from __future__ import annotations

from dataclasses import dataclass

from ..tape import Numbers, Record, Tape, tape_of
from ..tensor import Tensor
from .steps import refuse_unrecorded


@dataclass(frozen=True)
class Provenance:
    """Where numbers first are not finite.

    kind: "NaN", "Inf", or "" where all are finite. direction: "forward", or "backward" for the
    gradient.
    t, layer, gate: the step, the scope around it and what the step calls what is computed there,
    None or "" outside. op: "" for a leaf; name: what the leaf or the answer goes by.

    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> str(tg.lab.provenance((x * 2.0).sum()))
    'all finite, forward and backward'
    """

    kind: str = ""
    direction: str = ""
    t: int | None = None
    layer: str = ""
    gate: str = ""
    op: str = ""
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.kind)

    def __str__(self) -> str:
        if not self.kind:
            return "all finite, forward and backward"
        at = [f"t={self.t}"] if self.t is not None else []
        at += [self.layer] if self.layer else []
        at += [f"gate {self.gate}"] if self.gate else []
        at += [f"op {self.op}"] if self.op else []
        said = [f"at {', '.join(at)}"] if at else []
        said += [] if self.op else [f"given in {self.name or 'a leaf'}"]
        where = "" if self.direction == "forward" else " in the backward pass"
        return f"{self.kind} first{where} {', '.join(said)}"

    __repr__ = __str__


def provenance(loss: Tensor) -> Provenance:
    """Return where a NaN or Inf in a loss, or else in its gradient, first appears.

    Forward it is the oldest result that is not finite though all it was made from is, among those
    that lead to the loss; an infinity that goes nowhere, as of a mask, is none. If the loss is
    finite, it is the first step of the backward pass that makes one. A compiled loop is recomputed
    step by step; no `.grad` is touched. Raises ValueError for a loss without a history,
    RuntimeError for a freed graph.

    >>> x = tg.tensor([0.0, 1.0], requires_grad=True, name="x")
    >>> found = tg.lab.provenance(tg.log(x).sum())
    >>> found.kind, found.op
    ('Inf', 'log')
    """
    refuse_unrecorded("provenance", [loss])
    if loss.size != 1:
        raise ValueError(f"provenance: loss: expected one number, got shape {loss.shape}")
    tape = tape_of(loss)
    if origin := _oldest(tape):
        return _at(tape, origin, "forward", _kind(origin.value))
    for r in tape.backward:
        for numbers in [r.grad, *(term.numbers for term in r.terms)]:
            if kind := _kind(numbers):
                return _at(tape, r, "backward", kind)
    return Provenance()


def _oldest(tape: Tape) -> Record | None:
    """What is not finite though all it was made of is, and leads to a loss that is not."""
    bad, oldest = {k for k in tape.outputs if _kind(tape.records[k].value)}, None
    for r in reversed(tape.records):  # each before what it reads
        if r.id in bad:
            new = {n for n, part in r.inputs if _kind(tape.records[n].value, part)}
            bad |= new
            oldest = oldest if new else r
    return oldest


def _at(tape: Tape, r: Record, direction: str, kind: str) -> Provenance:
    """What is known of a place; a leaf is where it is first read."""
    readers = (y for y in tape.records if y.t >= 0 and any(n == r.id for n, _ in y.inputs))
    where = r if r.kind == "op" else next(readers, r)
    inside, op = where.t >= 0, r.call.op
    return Provenance(
        kind, direction, where.t if inside else None, where.layer if inside else where.place.scope,
        _gate(tape, r) if inside and op else "", op,
        r.name or ("" if op else f"a tensor {r.call.dtype}{r.shape}"),
    )  # fmt: skip


def _gate(tape: Tape, r: Record) -> str:
    """What the step calls this result, or the first it calls by name that is made of it."""
    made = {r.id}
    for y in tape.records[r.id :]:
        near = (y.layer, y.t) == (r.layer, r.t) and any(n in made for n, _ in y.inputs)
        if near or y is r:
            if y.name:
                return y.name
            made.add(y.id)
    return ""


def _kind(numbers: Numbers | None, part: int = -1) -> str:
    """NaN, Inf, or nothing; of a tuple, that of a part."""
    if numbers is not None and part >= 0:
        numbers = Numbers(numbers.arrays[part])
    if numbers is None or not (numbers.nan or numbers.infinite):
        return ""
    return "NaN" if numbers.nan else "Inf"
