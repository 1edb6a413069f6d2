"""What a loop is made of: numbers, products, sums, and other ways to look at arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

import numpy as np

from ..op import Op
from ..ops.arithmetic import add
from ..tensor import Tensor
from .where import Way, Ways, fixed


class Unsupported(Exception):
    """There is no compiled form of an op; the sentence names it."""


class Coupled(Exception):
    """The rows of the batch are not independent of each other."""


# -- what is computed ------------------------------------------------------------------------------

_births = count()


@dataclass(eq=False, repr=False, slots=True)
class Node:
    """One thing to compute: what from, and its shape in words (`rows`, `H`, `1`).

    `partial` is a sum over the batch, of which each thread knows only its own part: it may be added
    up when all are done, as cotangents of weights are, but nothing in the loop may read it.
    """

    inputs: list[Node]
    shape: tuple[str, ...]
    dtype: np.dtype[Any]
    batched: bool = True
    name: str | None = None
    source: Tensor | None = None
    born: int = field(init=False)
    partial: bool = field(init=False)

    def __post_init__(self) -> None:
        self.born = next(_births)
        self.partial = not self.batched and any(x.batched or x.partial for x in self.inputs)
        if self.batched and any(x.partial for x in self.inputs):
            raise Coupled

    @property
    def stem(self) -> str:
        """What the array is called that it is kept in, if it has no name."""
        return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def operands(self) -> list[Node]:
        """What has to be in an array before this can be made."""
        return []

    @property
    def is_sum(self) -> bool:
        """Whether it is a sum of two of its own shape, as cotangents are added up."""
        return False

    @property
    def is_constant(self) -> bool:
        return isinstance(self, Written)


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Leaf(Node):
    """Something that is there already; `role` says what."""

    role: Any


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Written(Node):
    """A constant of the program: one number, or None for 0, 1, 2, … along the last axis."""

    value: Any


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Pointwise(Node):
    """An op on numbers."""

    op: Op

    @property
    def stem(self) -> str:
        return self.op.name

    @property
    def is_sum(self) -> bool:
        return self.op is add and all(x.shape == self.shape for x in self.inputs)


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class View(Node):
    """Another way to look at the only input: one way for each axis of it, from the axes here."""

    ways: tuple[Way, ...]


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Put(Node):
    """Zeros, with the input at a place: a way for each axis here, from the axes of the input."""

    ways: tuple[Way, ...]


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Product(Node):
    """A sum of x @ w, w fixed, that may begin with something: inputs are x, w, x, w, …, start."""

    count: int = 1

    @property
    def pairs(self) -> list[tuple[Node, Node]]:
        flat = self.inputs[: 2 * self.count]
        return list(zip(flat[::2], flat[1::2], strict=True))

    @property
    def operands(self) -> list[Node]:
        return [x for x, _ in self.pairs]

    @property
    def start(self) -> Node | None:
        return self.inputs[-1] if len(self.inputs) > 2 * self.count else None


class Whole(Node):
    """What is made of whole arrays."""

    @property
    def operands(self) -> list[Node]:
        return self.inputs


class Dot(Whole):
    """x @ y, when both change."""


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Reduce(Node):
    """A sum ("+="), the "larger" or the "smaller" of all over axes, which are kept as 1."""

    how: str
    axes: tuple[int, ...]


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Join(Node):
    """Parts side by side along an axis, which is a new one or one of theirs."""

    axis: int
    new: bool


class Copy(Whole):
    """The same numbers in another shape."""


class RowsOf(Node):
    """Rows of a table by number: inputs are the table and the numbers."""


class AddRows(Node):
    """Rows added to those of a table by number: inputs are the rows and the numbers."""


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Call(Node):
    """An op of a user's, on whole arrays."""

    op: Op
    attrs: dict[str, Any]

    @property
    def operands(self) -> list[Node]:
        return [x for x in self.inputs if not isinstance(x, Written)]


@dataclass(eq=False, repr=False, slots=True, kw_only=True)
class Loop(Whole):
    """A loop in one step of a loop: `lines` of text.

    `words`: what its inputs go by there, some `packed`. `parts`: what it makes, and where it works.
    """

    lines: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    packed: set[str] = field(default_factory=set)
    parts: dict[str, Part] = field(default_factory=dict)


class Part(Node):
    """What such a loop, the only input, makes."""


There: TypeAlias = Leaf | Written  # nothing has to be computed for it
Formula: TypeAlias = Pointwise | View | Written  # part of a formula, if it is in no array


def under(x: Node, index: Ways) -> tuple[Way, ...]:
    """Return where an input is read, from a place of what is made of it: broadcasting undone."""
    pairs = zip(index[len(index) - len(x.shape) :], x.shape, strict=True)
    return tuple([fixed() if n == "1" else i for i, n in pairs])


def ordered(outputs: Iterable[Node], until: Iterable[Node] = ()) -> list[Node]:
    """Everything the outputs need, inputs first; of what is in `until`, nothing further."""
    ends = until if isinstance(until, set | dict) else set(until)
    seen: set[Node] = set()
    order: list[Node] = []
    stack = [(n, False) for n in outputs]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node not in ends:
                stack += [(x, False) for x in node.inputs]
    return order
