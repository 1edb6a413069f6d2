"""The tape of a run: every tensor, its value and gradient, what gave it that, in which order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import __version__
from ..io import write_atomically
from .numbers import Numbers

VERSION = 2


@dataclass
class Term:
    """What the backward pass at one op added to an input: which place, and its numbers."""

    place: int
    numbers: Numbers


@dataclass
class Record:
    """One tensor of the run.

    kind: "op", or of a leaf "parameter", "input" or "constant". inputs: for each, the number of its
    record and which part of it, if it is a tuple, else -1. layer and t: from its scope; t is -1
    outside the steps. shape is None for a tuple; sizes are the
    numbers of elements of its parts. own: whether the op is none of the
    library's, whatever it is called. delay: of a box of the folded view, from how many steps ago it
    hands its input on. restacked: an unstack that only undoes the stack it reads: its part i is
    what was stacked as i. sign: how the op is written, "" if by its name. family: of an op of the
    library's, what it is for, as a colour tells. pointwise: whether it works element by element.
    formula, rules: once a backward pass was recorded, what the op does, and the gradient of each
    input, in letters: x, or a, b, c, are its inputs, y its answer, g what arrives there.
    order: when the backward pass was here, -1 if it was not. saved: the bytes its array holds for
    the backward pass.
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
    sizes: list[int] = field(default_factory=list)
    own: bool = False
    delay: int = 0
    restacked: bool = False
    saved: int = 0
    sign: str = ""
    family: str = "other"
    pointwise: bool = False
    formula: str = ""
    rules: list[str] = field(default_factory=list)
    value: Numbers | None = None
    grad: Numbers | None = None
    order: int = -1
    terms: list[Term] = field(default_factory=list)

    @property
    def parts(self) -> int:
        """How many parts a tuple has; 0 of what is none."""
        return len(self.sizes)

    @property
    def label(self) -> str:
        """Its name, or its op."""
        return self.name or self.op or self.kind

    @property
    def library_op(self) -> str:
        """The name of the library's op that it is; "" for any other, whatever that is called."""
        return "" if self.own or self.delay else self.op


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
    def layers(self) -> list[str]:
        """The layers that have steps, in the order in which they were computed."""
        return list(dict.fromkeys(r.layer for r in self.records if r.t >= 0))

    @property
    def backward(self) -> list[Record]:
        """The records that the backward pass came to, in its order."""
        return sorted((r for r in self.records if r.order >= 0), key=lambda r: r.order)

    def whole(self, source: int, part: int) -> tuple[int, int]:
        """What an input is, looking through what is stacked only to be unstacked again."""
        while part >= 0 and self.records[source].restacked:
            source, part = self.records[self.records[source].inputs[0][0]].inputs[part]
        return source, part

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


def total(terms: Sequence[Term]) -> Numbers:
    """The numbers of a sum of terms."""
    first, *others = [term.numbers.flat for term in terms]
    return Numbers(sum(others, first))
