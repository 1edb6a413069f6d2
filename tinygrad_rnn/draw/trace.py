"""A run written down: what was computed, what came back, step by step. Every picture reads it.

A trace holds words and numbers, no tensor: it neither keeps a graph alive nor changes it. As JSON
it is a document with a version; `docs/trace.md` says what each field means.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import __version__
from ..grad import Walk, _seed, stepping
from ..io import write_atomically
from ..op import Parts, pick
from ..optim.clip import euclidean
from ..tensor import Tensor, history
from .steps import with_steps
from .text import attribute_words, literal, step_of

VERSION = 1
DATA = 64  # a larger array is told by its statistics only


@dataclass
class Numbers:
    """An array in a few numbers, and all of them where they are few.

    l2 is the Euclidean norm; least, largest and mean are those of the finite elements, None where
    there is none. nan and infinite count the others. data is flat, or None for a large array.
    """

    l2: float
    least: float | None
    largest: float | None
    mean: float | None
    nan: int = 0
    infinite: int = 0
    data: list[float] | None = None


@dataclass
class Term:
    """What one step of the walk back added to an input: which place, and its numbers."""

    place: int
    numbers: Numbers


@dataclass
class Record:
    """One tensor of the run.

    kind: "op", or of a leaf "parameter", "input" or "constant". inputs: for each, the number of its
    record and which part of it, if it is a tuple, else -1. layer and t: from its scope; t is -1
    outside the steps. shape is None for a tuple of `parts`. gates: the name that its step gave it.
    order: when the walk back was here, -1 if it was not. saved: the bytes its array holds for the
    walk back.
    """

    id: int
    kind: str
    op: str
    name: str
    scope: str
    layer: str
    t: int
    shape: list[int] | None
    dtype: str
    inputs: list[tuple[int, int]] = field(default_factory=list)
    attributes: str = ""
    parts: int = 0
    saved: int = 0
    value: Numbers | None = None
    grad: Numbers | None = None
    order: int = -1
    terms: list[Term] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name, or its op."""
        return self.name or self.op or self.kind


@dataclass
class Trace:
    """A run: its records, oldest first, and which of them were asked for.

    walked: whether the walk back was done, so that `order`, `terms` and every `grad` are known.
    """

    records: list[Record]
    outputs: list[int]
    walked: bool
    title: str = ""
    version: int = VERSION
    made_by: str = f"tinygrad-rnn {__version__}"

    @property
    def steps(self) -> list[int]:
        """The times that there are, in order."""
        return sorted({r.t for r in self.records if r.t >= 0})

    @property
    def layers(self) -> list[str]:
        """The layers that have steps, in the order in which they were computed."""
        return list(dict.fromkeys(r.layer for r in self.records if r.t >= 0))

    def users(self) -> list[list[tuple[int, int]]]:
        """For each record, who reads it: the number of the reader, and at which place."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.records]
        for r in self.records:
            for place, (source, _) in enumerate(r.inputs):
                found[source].append((r.id, place))
        return found

    def json(self) -> str:
        """The trace as a document."""
        return json.dumps(_plain(asdict(self)), ensure_ascii=False, separators=(",", ":"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document; an existing file is replaced, as a whole."""
        write_atomically(path, self.json().encode("utf-8"), who="save")

    @classmethod
    def load(cls, text: str) -> Trace:
        """The trace of a document. Raises ValueError for what is none, or of another version."""
        given = json.loads(text)
        if not isinstance(given, dict) or given.get("version") != VERSION:
            found = given.get("version") if isinstance(given, dict) else type(given).__name__
            raise ValueError(f"Trace: expected a trace of version {VERSION}, got {found}")
        records = [_record(r) for r in given.pop("records")]
        return cls(records=records, **given)


def trace_of(
    outputs: Tensor | Sequence[Tensor], *, values: bool = True, walk: bool = True, title: str = ""
) -> Trace:
    """Write down what some outputs came from, compiled loops step by step.

    values: with numbers; without, shapes only, and nothing is computed. walk: also go back from the
    one output, a number, as `backward()` would, without leaving gradients anywhere; without, the
    gradients are those that are there. Raises RuntimeError for a graph that `backward()` has freed.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    given = with_steps(outputs, values=values)
    order = history(given)[::-1]
    maker = _Maker(order, values)
    if walk:
        maker.walk(given)
    return Trace(maker.records, [maker.place(x)[0] for x in given], walk, literal(title, 200))


class _Maker:
    """The work on one trace. A part of a tuple has no record: it is a place in its tuple's."""

    def __init__(self, order: list[Tensor], values: bool):
        self.values = values
        self.number: dict[Tensor, int] = {}
        self.records: list[Record] = []
        self.grads: dict[int, list[Tensor]] = {}
        for x in order:
            if x.op is not pick:
                self.number[x] = len(self.records)
                self.records.append(self.record(x))
            elif x.grad is not None:
                self.grads.setdefault(self.place(x)[0], []).append(x.grad)
        for number, parts in self.grads.items():
            self.records[number].grad = numbers([g.data for g in parts])

    def place(self, x: Tensor) -> tuple[int, int]:
        """The record that a tensor is, or is a part of."""
        return (self.number[x.inputs[0]], x.attrs["i"]) if x.op is pick else (self.number[x], -1)

    def record(self, x: Tensor) -> Record:
        is_tuple = type(x._array) is tuple
        layer, t = step_of(x.scope) or ("", -1)
        kind = "op" if x.op else "parameter" if x.requires_grad else "input"
        if kind == "input" and not x.ndim and not x.name:
            kind = "constant"
        arrays = list(x._array) if is_tuple else [x._array]
        return Record(
            id=len(self.records),
            kind=kind,
            op=x.op.name if x.op else "",
            name=literal(x.name, 60) if x.name else "",
            scope=literal(x.scope, 200),
            layer=layer,
            t=t,
            shape=None if is_tuple else list(x.shape),
            dtype=str(arrays[0].dtype) if arrays else "",
            inputs=[self.place(i) for i in x.inputs],
            attributes=attribute_words(x.attrs) if x.op else "",
            parts=len(arrays) if is_tuple else 0,
            saved=sum(a.nbytes for a in arrays) if x.op and x.tracked else 0,
            value=numbers(arrays) if self.values or not x.op or not arrays[0].ndim else None,
            grad=numbers([x.grad.data]) if not is_tuple and x.grad is not None else None,
        )

    def walk(self, outputs: Sequence[Tensor]) -> None:
        (y,) = outputs
        seed = _seed(y, None, "trace")
        for step in stepping(Walk([y], [seed._array], None, (), False, True)):
            number, part = self.place(step.tensor)
            r = self.records[number]
            if part < 0:
                r.order = step.number
                r.grad = numbers(_parts(step.cotangent))
                left = list(step.contributions)
                for place, x in enumerate(step.tensor.inputs):
                    if left and left[0][0] is x:
                        r.terms.append(Term(place, numbers(_parts(left.pop(0)[1]))))
        self._number_orders()

    def _number_orders(self) -> None:
        """Count only the steps at records, so that the numbers have no holes."""
        seen = sorted((r for r in self.records if r.order >= 0), key=lambda r: r.order)
        for k, r in enumerate(seen):
            r.order = k


def _parts(g: Any) -> list[np.ndarray]:
    if isinstance(g, dict | Parts):
        return list(g.values())
    return list(g) if isinstance(g, tuple) else [g]


def numbers(arrays: Sequence[np.ndarray]) -> Numbers:
    """One array, or several as one, in a few numbers."""
    flat = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
    whole = flat[0] if len(flat) == 1 else np.concatenate(flat) if flat else np.empty(0)
    finite = np.isfinite(whole)
    good = whole if finite.all() else whole[finite]
    nan = int(np.isnan(whole).sum()) if good is not whole else 0
    few = [_short(v) for v in whole.tolist()] if whole.size <= DATA else None
    if not good.size:
        return Numbers(euclidean([whole]), None, None, None, nan, whole.size - nan, few)
    return Numbers(
        l2=_short(euclidean([whole])),
        least=_short(float(good.min())),
        largest=_short(float(good.max())),
        mean=_short(float(good.mean())),
        nan=nan,
        infinite=whole.size - good.size - nan,
        data=few,
    )


def _short(v: float) -> float:
    """Six significant digits: enough for a picture, and half the size of the document."""
    return float(f"{v:.6g}") if math.isfinite(v) else v


def _plain(x: Any) -> Any:
    """JSON has no NaN: they are words there, and the page reads them as such."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return x


def _record(given: dict[str, Any]) -> Record:
    terms = [Term(t["place"], _numbers(t["numbers"])) for t in given.pop("terms")]
    value, grad = (_numbers(given.pop(k)) for k in ("value", "grad"))
    inputs = [(source, part) for source, part in given.pop("inputs")]
    return Record(**given, inputs=inputs, value=value, grad=grad, terms=terms)


def _numbers(given: dict[str, Any] | None) -> Any:
    if given is None:
        return None
    as_float: Any = lambda v: float(v) if isinstance(v, str) else v
    found: dict[str, Any] = {k: as_float(v) for k, v in given.items() if k != "data"}
    data = given["data"]
    return Numbers(**found, data=None if data is None else [as_float(v) for v in data])
