"""The tape of a run: every tensor, its value and gradient, what gave it that, in which order."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

import numpy as np

from .. import __version__
from ..formula.rules import SAME
from ..io import write_atomically
from .numbers import Numbers

VERSION = 3


@dataclass
class Term:
    """What the backward pass at one op added to an input: which place, and its numbers."""

    place: int
    numbers: Numbers


@dataclass(frozen=True)
class Call:
    """An op and how it was called, told once for all that are alike; of a leaf only its dtype.

    op: its name. own: whether it is none of the library's, whatever it is called. dtype: of the
    answer. sign: how it is written, "" if by its name. family: of an op of the library's, what it
    is for, as a colour tells. pointwise: whether it works element by element. restacked: whether it
    only unstacks what it reads: its part i is what was stacked as i. delay: of a box of the folded
    view, from how many steps ago it hands its input on.
    form: what it does as a formula, to be filled in, and how tightly that holds together, see
    `formula/rules.py`.
    formula, rules: once a backward pass was recorded, what the op does, and the gradient of each
    input, in letters: x, or a, b, c, are its inputs, y its answer, g what arrives there.
    """

    op: str = ""
    own: bool = False
    dtype: str = ""
    attributes: str = ""
    sign: str = ""
    family: str = "other"
    pointwise: bool = False
    restacked: bool = False
    delay: int = 0
    form: tuple[str, int] = ("", 0)
    formula: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where something was computed: its scope, and the layer and time step that this names.

    t is -1 outside the steps.
    """

    scope: str = ""
    layer: str = ""
    t: int = -1


@dataclass
class Record:
    """One tensor of the run.

    kind: "op", or of a leaf "parameter", "input" or "constant". inputs: for each, the number of its
    record and which part of it, if it is a tuple, else -1. shape is None for a tuple; sizes are the
    numbers of elements of its parts. order: when the backward pass was here, -1 if it was not.
    """

    id: int
    kind: str = "op"
    call: Call = Call()
    place: Place = Place()
    name: str = ""
    shape: list[int] | None = None
    sizes: list[int] = field(default_factory=list)
    inputs: list[tuple[int, int]] = field(default_factory=list)
    value: Numbers | None = None
    grad: Numbers | None = None
    order: int = -1
    terms: list[Term] = field(default_factory=list)

    @property
    def t(self) -> int:
        """Its time step; -1 outside the steps."""
        return self.place.t

    @property
    def layer(self) -> str:
        """Its layer; "" outside the steps."""
        return self.place.layer

    @property
    def norm(self) -> float | None:
        """The Euclidean norm of its gradient, if there is one."""
        return None if self.grad is None else self.grad.l2

    @property
    def cuts(self) -> bool:
        """Whether its parts are what it reads, cut in pieces."""
        return bool(self.sizes) and self.call.form[0] == SAME

    @property
    def label(self) -> str:
        """Its name, or its op."""
        return self.name or self.call.op or self.kind

    @property
    def library_op(self) -> str:
        """The name of the library's op that it is; "" for any other, whatever that is called."""
        return "" if self.call.own or self.call.delay else self.call.op

    @property
    def saved(self) -> int:
        """The bytes that its array holds for the backward pass; 0 where that does not come."""
        size = math.prod(self.shape) if self.shape is not None else sum(self.sizes)
        held = self.kind == "op" and self.order >= 0
        return size * np.dtype(self.call.dtype).itemsize if held else 0


@dataclass(eq=False, repr=False)
class Tape:
    """A run: its records, leaves first and each op after what it reads; and which were asked for.

    It holds the arrays of the run and no tensor: it neither keeps a graph alive nor changes it.
    Two tapes are equal if their documents are. As a document, see `docs/tape.md`, it is rounded.

    has_backward: whether a backward pass was recorded, and `order`, `terms` and every `grad` are
    known. tensors: how many the history has, parts of tuples counted. lengths: by layer, of a loop
    of which only the first steps are recorded, how many it has.
    """

    records: list[Record]
    outputs: list[int]
    has_backward: bool = False
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
    def backward(self) -> list[Record]:
        """The records that the backward pass came to, in its order."""
        return sorted((r for r in self.records if r.order >= 0), key=lambda r: r.order)

    def whole(self, source: int, part: int) -> tuple[int, int]:
        """What an input is, looking through what is stacked only to be unstacked again."""
        while part >= 0 and self.records[source].call.restacked:
            source, part = self.records[self.records[source].inputs[0][0]].inputs[part]
        return source, part

    def sources(self, r: Record) -> list[tuple[int, int]]:
        """What a record reads, looking through the same."""
        return [self.whole(*x) for x in r.inputs]

    def users(self) -> list[list[tuple[int, int]]]:
        """The readers of each record: the number of the reader, and at which place."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.records]
        for r in self.records:
            for place, (source, _) in enumerate(r.inputs):
                found[source].append((r.id, place))
        return found

    def arrivals(self) -> list[list[tuple[Record, Term]]]:
        """What came to each record in the backward pass, from where, in that order."""
        found: list[list[tuple[Record, Term]]] = [[] for _ in self.records]
        for r in self.backward:
            for term in r.terms:
                found[r.inputs[term.place][0]].append((r, term))
        return found

    def json(self) -> str:
        """The tape as a document."""
        from .document import written

        return written(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the document; an existing file is replaced, as a whole."""
        write_atomically(path, self.json().encode("utf-8"), who="save")

    @classmethod
    def load(cls, text: str) -> Tape:
        """The tape of a document. Raises ValueError for what is none, or of another version."""
        from .document import read

        return read(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tape) and self.json() == other.json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        ops = sum(r.kind == "op" for r in self.records)
        return f"tape: {ops:,} ops, {len(self.backward):,} backward steps"
