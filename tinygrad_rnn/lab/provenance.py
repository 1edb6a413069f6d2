"""Where a NaN or an infinity comes from: the op, the step, the layer, the gate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..grad import Walk, _fitted
from ..op import Parts
from ..tape.words import step_of
from ..tensor import Tensor, describe, history, recording
from .steps import recorded


@dataclass(frozen=True)
class Provenance:
    """Where numbers first are not finite.

    kind: "NaN", "Inf", or "" where all are finite. direction: "ahead", or "back" for the gradient.
    t, layer, gate: the step, the scope around it and what the step calls what is computed there,
    None or "" outside. op: the verb, "" for a leaf; name: what the leaf or the answer goes by.

    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> str(tg.lab.provenance((x * 2.0).sum()))
    'all finite, ahead and back'
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
            return "all finite, ahead and back"
        at = [f"t={self.t}"] if self.t is not None else []
        at += [self.layer] if self.layer else []
        at += [f"gate {self.gate}"] if self.gate else []
        at += [f"op {self.op}"] if self.op else []
        said = [f"at {', '.join(at)}"] if at else []
        said += [] if self.op else [f"given in {self.name or 'a leaf'}"]
        way = "" if self.direction == "ahead" else " on the way back"
        return f"{self.kind} first{way} {', '.join(said)}"

    __repr__ = __str__


def provenance(loss: Tensor) -> Provenance:
    """Where a NaN or Inf in a loss, or else in its gradient, first appears.

    Ahead it is the oldest result that is not finite though all it was made from is, among those
    that lead to the loss; an infinity that goes nowhere, as of a mask, is none. If the loss is
    finite, it is the first step of the walk back that makes one. A compiled loop is computed anew
    step by step; no `.grad` is touched. Raises ValueError for a loss without a history,
    RuntimeError for a freed graph.

    >>> x = tg.tensor([0.0, 1.0], requires_grad=True, name="x")
    >>> found = tg.lab.provenance(tg.log(x).sum())
    >>> found.kind, found.op
    ('Inf', 'log')
    """
    (y,) = recorded("provenance", [loss])
    if y.size != 1:
        raise ValueError(f"provenance: loss: expected one number, got shape {y.shape}")
    order = history([y])
    users: defaultdict[Tensor, list[Tensor]] = defaultdict(list)
    for z in order:
        for x in z.inputs:
            users[x].append(z)
    bad = {y} if _kind(y._array) else set()
    for z in order:  # youngest first: what is not finite and leads to a loss that is not
        if z in bad:
            bad |= {x for x in z.inputs if _kind(x._array)}
    if bad:
        return _at(_oldest(bad), users, "ahead")
    return _back(y, users)


def _oldest(bad: Iterable[Tensor]) -> Tensor:
    given = set(bad)
    first = [z for z in given if not any(x in given for x in z.inputs)]
    return min(first, key=lambda z: z.born)


def _back(y: Tensor, users: Any) -> Provenance:
    """The first step of the walk back that makes of finite numbers one that is not."""
    walk = Walk([y], [np.ones(y.shape, y.dtype)], None, (), False, True)
    for k, z in enumerate(list(walk.order)):
        g = walk.found.arrived(z)
        if g is None or not z.tracked:
            continue
        if kind := _kind(g):  # every term was finite, and their sum is not
            return _at(z, users, "back", kind)
        with recording(False), np.errstate(all="ignore"):
            pulled = walk.visit(k) or []
            for x, gx in zip(z.inputs, pulled, strict=False):
                if gx is None or not x.tracked:
                    continue
                if kind := _kind(gx if isinstance(gx, Parts) else _fitted(gx, x, z)):
                    return _at(z, users, "back", kind)
    return Provenance()


def _kind(arrays: Any) -> str:
    """NaN, Inf, or nothing."""
    if isinstance(arrays, dict):
        arrays = tuple(arrays.values())
    given: Sequence[Any] = arrays if isinstance(arrays, tuple) else (arrays,)
    floats = [np.asarray(a) for a in given if np.asarray(a).dtype.kind == "f"]
    if all(np.isfinite(a).all() for a in floats):
        return ""
    return "NaN" if any(np.isnan(a).any() for a in floats) else "Inf"


def _at(z: Tensor, users: Any, direction: str, kind: str = "") -> Provenance:
    """What is known of a place; a leaf is where it is first read."""
    readers = [y for y in users[z] if step_of(y.scope)]
    where = z if z.op is not None or not readers else min(readers, key=lambda y: y.born)
    found = step_of(where.scope)
    layer, t = found or (where.scope, None)
    return Provenance(
        kind or _kind(z._array), direction, t, layer,
        _gate(z, users) if found and z.op else "", z.op.name if z.op else "",
        z.name or (describe(z) if z.op is None else ""),
    )  # fmt: skip


def _gate(z: Tensor, users: Any) -> str:
    """What the step calls this result, or the first it calls by name that is made of it."""
    place, new, known = step_of(z.scope), [z], set()
    while new:
        new.sort(key=lambda y: y.born, reverse=True)
        y = new.pop()
        if y.name:
            return y.name
        near = [u for u in users[y] if u not in known and step_of(u.scope) == place]
        known.update(near)
        new += near
    return ""
