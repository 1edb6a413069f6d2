"""What is drawn: a trace read as nodes, edges, columns of time and bands of layers.

The counting rule, which the tests repeat:

- every op that is shown is one node; a `pick` is none: its edges start at the tuple it picks from;
- a compiled loop is none: its steps are drawn, as if they had been run one by one;
- a `stack` that is only unstacked again along its axis is none, nor is that `unstack`: each part is
  the tensor that was stacked, and so one layer's steps lead straight to the next layer's;
- every leaf is one node in each cell (one layer at one step; everything before the steps;
  everything after them) in which a shown op uses it;
- every input of a shown op is one edge, unless it comes from a hidden step;
- hidden steps in a row are together one node, with one edge to or from each shown node they touch.

Where several ops are one box (see `levels`), what one of them hands to another is no edge, and what
they read of one tensor of another box, or of one leaf, is one edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

BUDGET = 3000  # nodes; more than that is neither readable nor quick to open


@dataclass
class Flow:
    """The gradient of a box or along an arrow: its norm, or the least and the largest.

    words: the same, to be read. place: where that is on the scale from -1 to 1; None of nothing,
    and of what is bad, that is, not finite.
    """

    low: float
    high: float
    words: str
    place: float | None
    bad: bool = False


@dataclass
class Label:
    """What stands on a box: words, the state of its gradient, and all else for whoever hovers."""

    glyph: str = ""
    words: str = ""  # what follows the glyph: a shape, or a value
    grad: str = ""  # "" where it is not told
    title: str = ""
    loud: bool = False
    chip: bool = False

    @property
    def lines(self) -> list[str]:
        """The label; a chip shows its name only, the legend tells the rest."""
        if self.chip:
            return [self.glyph]
        return [line for line in (f"{self.glyph} {self.words}".strip(), self.grad) if line]


@dataclass
class Place:
    """Where a box is: its centre, from the left and from the top, and its size."""

    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0


@dataclass
class Back:
    """What an overlay or a comparison says of a box or an arrow."""

    flow: Flow | None = None
    mark: str = ""  # "+" or "−": in which of two pictures it is, if not in both
    order: str = ""  # when the backward pass is here
    joins: int = 0  # how many gradients add up here, if more than one


@dataclass
class Node(Place, Label, Back):
    """A box: what it stands for, what it says, and where it is; it holds no tensor."""

    kind: str = ""  # "op", "parameter", "input", "constant", "delay" or "gap"
    spot: tuple[int, int] = (0, 0)  # (column, band)
    family: str = "other"
    library_op: str = ""  # which op of the library's, if it stands for a single one
    hue: int = -1  # of a parameter: which colour is its own
    output: bool = False
    ids: list[int] = field(default_factory=list)  # the records it stands for
    exits: list[int] = field(default_factory=list)  # those of them that others read
    name: str = ""  # of what it stands for, if that has one
    form: str = ""  # equal for boxes that do the same, whatever they are called
    states: list[int] = field(default_factory=list)  # of a cell: what it hands on, side by side


@dataclass
class Way:
    """Where an arrow runs, and the words at it."""

    route: list[tuple[float, float]] = field(default_factory=list)
    rail: int = 0  # which of the arrows side by side it is
    back: bool = False  # whether it points back, from the reader to what is read
    label: str = ""  # what stands beside its beginning
    last: bool = False  # or its end


@dataclass
class Edge(Way, Back):
    """An arrow between two nodes, given by their numbers.

    ends: for each connection it stands for, the record read, the record reading, and as which of
    its inputs.
    """

    source: int = -1
    target: int = -1
    title: str = ""
    part: int = -1  # which part of a tuple travels here
    place: int = 0  # which input of the target this is
    hidden: int = 0  # how many connections of hidden steps it stands for
    ends: list[tuple[int, int, int]] = field(default_factory=list)
    late: bool = False  # whether it is a delay, from one step to a later one

    @property
    def value(self) -> int:
        """The record that travels here."""
        return self.ends[0][0] if self.ends else -1


@dataclass(frozen=True)
class Column:
    """A slice of the picture from top to bottom: one time step, a gap, or what has no step."""

    kind: str  # "before", "step", "gap", "after", "delay" or "plain"
    label: str
    time: int = -1
    word: str = ""  # which of the sentences that a page translates its label is
    every: bool = False  # whether it stands for every step


@dataclass
class Entry:
    """A line of the legend: a parameter that the steps share."""

    label: str
    words: str
    hue: int
    loud: bool


@dataclass
class Graph:
    """A picture before it has coordinates."""

    nodes: list[Node]
    edges: list[Edge]
    columns: list[Column]
    bands: list[str]
    legend: list[Entry]
    steps: int  # how many there are in all
    hidden_steps: int
    tensors: int  # how many the whole history has
    alarm: str = ""
    level: str = "op"
    captions: list[str] = field(default_factory=list)  # what else the caption says
    one: str = ""  # of an overlay: what the middle of its scale is


class TooMany(ValueError):
    """A picture would have more nodes than can be read."""


def joint(norms: Sequence[float]) -> float | None:
    """The norm of several things together; None of nothing."""
    if not norms:
        return None
    if len(norms) == 1:
        return norms[0]
    return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)
