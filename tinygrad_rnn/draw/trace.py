"""A run written down: what was computed, what came back, step by step. Every picture reads it.

A trace holds words and numbers, no tensor: it neither keeps a graph alive nor changes it. As JSON
it is a document with a version; `docs/trace.md` says what each field means.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from .. import __version__
from ..grad import Walk, _seed, passes, stepping
from ..io import write_atomically
from ..op import Parts, pick
from ..optim.clip import euclidean
from ..tensor import Tensor, history
from .glyph import glyph, verb
from .steps import some_steps
from .text import attribute_words, literal, step_of

VERSION = 1
DATA = 64  # a larger array is told by its statistics only


@dataclass
class Numbers:
    """An array in a few numbers, and all of them where they are few.

    l2 is the Euclidean norm; least, largest and mean are those of the finite elements, None where
    there is none. nan and infinite count the others. data is flat and of four digits, or None for a
    large array.
    """

    l2: float
    least: float | None = None
    largest: float | None = None
    mean: float | None = None
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
    outside the steps. shape is None for a tuple of `parts`. own: whether the op is none of the
    library's, whatever it is called. delay: of a box of the folded view, from how many steps ago it
    hands its input on. restacked: an unstack that only undoes the stack it reads: its part i is
    what was stacked as i. order: when the walk back was here, -1 if it was not. saved: the bytes
    its array holds for the walk back.
    """

    id: int
    kind: str = "op"
    op: str = ""
    name: str = ""
    scope: str = ""
    layer: str = ""
    t: int = -1
    shape: list[int] | None = None
    dtype: str = ""
    inputs: list[tuple[int, int]] = field(default_factory=list)
    attributes: str = ""
    parts: int = 0
    own: bool = False
    delay: int = 0
    restacked: bool = False
    saved: int = 0
    value: Numbers | None = None
    grad: Numbers | None = None
    order: int = -1
    terms: list[Term] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name, or its op."""
        return self.name or self.op or self.kind

    @property
    def verb(self) -> str:
        """Which op of the library's it is; "" for any other, whatever that is called."""
        return "" if self.own or self.delay else self.op

    @property
    def sign(self) -> str:
        """What the op is called in a picture: an own one is never called by a sign."""
        return glyph(self.op) if self.verb else literal(self.op.replace("_", " "), 20)


@dataclass
class Trace:
    """A run: its records, leaves first and each op after what it reads; and which were asked for.

    walked: whether the walk back was done, so that `order`, `terms` and every `grad` are known.
    tensors: how many the history has, parts of tuples counted. lengths: by layer, of a loop of
    which only the first steps are written down, how many it has.
    """

    records: list[Record]
    outputs: list[int]
    walked: bool = False
    tensors: int = 0
    lengths: dict[str, int] = field(default_factory=dict)
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

    def whole(self, source: int, part: int) -> tuple[int, int]:
        """What an input is, looking through what is stacked only to be unstacked again."""
        while part >= 0 and self.records[source].restacked:
            source, part = self.records[self.records[source].inputs[0][0]].inputs[part]
        return source, part

    def users(self) -> list[list[tuple[int, int]]]:
        """For each record, who reads it: the number of the reader, and at which place."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.records]
        for r in self.records:
            for place, (source, _) in enumerate(r.inputs):
                found[source].append((r.id, place))
        return found

    def json(self) -> str:
        """The trace as a document."""
        document = _short_form(self)
        for given, r in zip(document["records"], self.records, strict=True):
            for term, known in zip(given.get("terms", ()), r.terms, strict=False):
                source, _ = r.inputs[known.place]
                if known.numbers == self.records[source].grad:
                    del term["numbers"]
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

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
        try:
            records = [_record(r) for r in given.pop("records")]
            for number, r in enumerate(records):
                _check(records, number)
                for term in r.terms:
                    if term.numbers is None:  # the only one: all that came to what it belongs to
                        term.numbers = records[r.inputs[term.place][0]].grad
            trace = cls(records=records, **given)
            known = bool(trace.outputs) and all(0 <= y < len(records) for y in trace.outputs)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"Trace: the document is no trace: {error!r}") from None
        if not known:
            raise ValueError("Trace: the document is no trace: it has not all of its outputs")
        return trace


def trace_of(
    outputs: Tensor | Sequence[Tensor],
    *,
    values: bool = True,
    walk: bool = True,
    title: str = "",
    most: int | None = None,
) -> Trace:
    """Write down what some outputs came from, compiled loops step by step.

    values: with numbers; without, shapes only, and nothing is computed. walk: also go back from the
    one output, a number, as `backward()` would, without leaving gradients anywhere; without, the
    gradients are those that `backward()` through these outputs, with `retain_graph=True`, has left,
    and none that another loss had a part in. most: of each compiled loop write down no more than so
    many steps, the first it does; not together with walk. Raises RuntimeError for a graph that
    `backward()` has freed, ValueError for a walk from several outputs.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if walk and len(outputs) != 1:
        raise ValueError(
            f"trace_of: walk: the walk back begins at one tensor, got {len(outputs)}: give the "
            "loss, or walk=False"
        )
    given, lengths = some_steps(outputs, values or walk, most)
    order = history(given)[::-1]
    own = frozenset() if walk else frozenset().union(*(passes(y.grad) for y in given))
    maker = _Maker(order, values, own)
    if walk:
        maker.walk(given)
    trace = Trace(maker.records, [], walk, len(order), lengths, literal(title, 200))
    trace.outputs = [trace.whole(*maker.place(x))[0] for x in given]
    return trace


class _Maker:
    """The work on one trace. A part of a tuple has no record: it is a place in its tuple's."""

    def __init__(self, order: list[Tensor], values: bool, own: frozenset[int]):
        self.values, self.own = values, own  # own: the backward passes whose gradients are told
        self.number: dict[Tensor, int] = {}
        self.records: list[Record] = []
        self.grads: dict[int, list[np.ndarray]] = {}
        order = sorted(order, key=lambda x: x.op is not None)  # a leaf with new values is younger
        for x in order:
            if x.op is not pick:
                self.number[x] = len(self.records)
                self.records.append(self.record(x))
            elif (g := self.grad(x)) is not None:
                self.grads.setdefault(self.place(x)[0], []).append(g)
        for number, parts in self.grads.items():
            self.records[number].grad = numbers(parts)

    def grad(self, x: Tensor) -> np.ndarray | None:
        """The gradient that only passes of our own have left on a tensor, if there is one."""
        return x.grad.data if x.grad is not None and passes(x.grad) <= self.own else None

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
            own=x.op is not None and not x.op.ours,
            name=literal(x.name, 60) if x.name else "",
            scope=literal(x.scope, 200),
            layer=literal(layer, 200),
            t=t,
            shape=None if is_tuple else list(x.shape),
            dtype=str(arrays[0].dtype) if arrays else "",
            inputs=[self.place(i) for i in x.inputs],
            attributes=attribute_words(x.attrs) if x.op else "",
            parts=len(arrays) if is_tuple else 0,
            restacked=is_restacked(x),
            saved=sum(a.nbytes for a in arrays) if x.op and x.tracked else 0,
            value=numbers(arrays) if self.values or not (is_tuple or x.ndim) else None,
            grad=numbers([g]) if not is_tuple and (g := self.grad(x)) is not None else None,
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


def is_restacked(y: Tensor) -> bool:
    """Whether this is the unstacking of a stack along its own axis, which moves nothing."""
    if verb(y) != "unstack" or verb(y.inputs[0]) != "stack":
        return False
    stack = y.inputs[0]
    return (stack.attrs["axis"] - y.attrs["axis"]) % stack.ndim == 0


def _parts(g: Any) -> list[np.ndarray]:
    if isinstance(g, dict | Parts):
        return list(g.values())
    return list(g) if isinstance(g, tuple) else [g]


def numbers(arrays: Sequence[np.ndarray]) -> Numbers:
    """One array, or several as one, in a few numbers."""
    flat = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
    whole = flat[0] if len(flat) == 1 else np.concatenate(flat) if flat else np.empty(0)
    size = _short(euclidean([whole]))
    if whole.size > DATA:
        return Numbers(size, *_statistics(whole))
    digits = 4 if whole.size > 1 else 6
    few = [_short(v, digits) for v in whole.tolist()]
    return Numbers(size, *_statistics(np.array(few)), few)


def _statistics(whole: np.ndarray) -> tuple[Any, Any, Any, int, int]:
    """The least, the largest and the mean of what is finite; how many are NaN, and infinite."""
    finite = np.isfinite(whole)
    good = whole if finite.all() else whole[finite]
    nan = int(np.isnan(whole).sum()) if good is not whole else 0
    bad = nan, whole.size - good.size - nan
    if not good.size:
        return None, None, None, *bad
    return _short(float(good.min())), _short(float(good.max())), _short(float(good.mean())), *bad


def _short(v: float, digits: int = 6) -> float:
    """A few significant digits: enough for a picture, and half the size of the document."""
    return float(f"{v:.{digits}g}") if math.isfinite(v) else v


# -- as a document -------------------------------------------------------------------------------


def _short_form(x: Any) -> Any:
    """What is as it is by default is left out. JSON has no NaN: such numbers are words there."""
    if isinstance(x, Numbers) and x.data is not None:
        return _short_form({"l2": x.l2, "data": x.data})
    if is_dataclass(x):
        given = {f.name: (getattr(x, f.name), _default(f)) for f in fields(x)}
        return {k: _short_form(v) for k, (v, usual) in given.items() if v != usual}
    if isinstance(x, dict):
        return {k: _short_form(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_short_form(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return x


def _default(f: Any) -> Any:
    if f.name in ("version", "made_by"):
        return None
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _record(given: dict[str, Any]) -> Record:
    record = Record(**given)
    record.inputs = [(source, part) for source, part in record.inputs]
    record.terms = [Term(t["place"], _numbers(t.get("numbers"))) for t in given.get("terms", ())]
    record.value, record.grad = _numbers(given.get("value")), _numbers(given.get("grad"))
    return record


def _check(records: list[Record], number: int) -> None:
    """Refuse a record that reads what does not come before it, which no walk would end at."""
    r = records[number]
    if r.id != number or not all(0 <= source < number for source, _ in r.inputs):
        raise ValueError(f"Trace: the document is no trace: record {number} is out of order")
    for source, part in r.inputs:
        if records[source].restacked and part >= 0:
            records[records[source].inputs[0][0]].inputs[part]


def _numbers(given: dict[str, Any] | None) -> Any:
    if given is None:
        return None
    as_float: Any = lambda v: float(v) if isinstance(v, str) else v
    if "data" in given:
        few = [as_float(v) for v in given["data"]]
        return Numbers(as_float(given["l2"]), *_statistics(np.array(few)), few)
    return Numbers(**{k: as_float(v) for k, v in given.items()})
