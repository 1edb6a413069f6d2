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
    return _Search(tape_of(loss)).found()


class _Search:
    """The search on one tape."""

    def __init__(self, tape: Tape):
        self.tape, self.records = tape, tape.records
        self.users = [sorted({y for y, _ in users}) for users in tape.users()]

    def found(self) -> Provenance:
        """What is not finite and leads to a loss that is not; the oldest of it."""
        bad, first = {k for k in self.tape.outputs if _kind(self.records[k].value)}, []
        for r in reversed(self.records):  # each before what it reads
            if r.id in bad:
                new = {n for n, part in r.inputs if self._bad(n, part)}
                bad |= new
                first += [] if new else [r]
        return self._at(first[-1], "forward") if first else self._back()

    def _bad(self, number: int, part: int) -> str:
        value = self.records[number].value
        assert value is not None
        return _kind(Numbers(value.arrays[part]) if part >= 0 else value)

    def _back(self) -> Provenance:
        """The first step of the backward pass that makes of finite numbers one that is not."""
        for r in self.tape.backward:
            for numbers in [r.grad, *(term.numbers for term in r.terms)]:
                if kind := _kind(numbers):
                    return self._at(r, "backward", kind)
        return Provenance()

    def _at(self, r: Record, direction: str, kind: str = "") -> Provenance:
        """What is known of a place; a leaf is where it is first read."""
        readers = [self.records[y] for y in self.users[r.id] if self.records[y].t >= 0]
        where = r if r.kind == "op" or not readers else readers[0]
        inside, op = where.t >= 0, r.call.op
        name = r.name or ("" if op else f"a tensor {r.call.dtype}{r.shape}")
        return Provenance(
            kind or _kind(r.value), direction, where.t if inside else None,
            where.layer if inside else where.place.scope, self._gate(r) if inside and op else "",
            op, name,
        )  # fmt: skip

    def _gate(self, r: Record) -> str:
        """What the step calls this result, or the first it calls by name that is made of it."""
        new, known = [r.id], set()
        while new:
            y = self.records[min(new)]
            if y.name:
                return y.name
            new.remove(y.id)
            near = {u for u in self.users[y.id] if u not in known}
            near = {u for u in near if (self.records[u].layer, self.records[u].t) == (r.layer, r.t)}
            known |= near
            new += near
        return ""


def _kind(numbers: Numbers | None) -> str:
    """NaN, Inf, or nothing."""
    if numbers is None or not (numbers.nan or numbers.infinite):
        return ""
    return "NaN" if numbers.nan else "Inf"
