"""What a generated function is given: its arguments, and what is handed over for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor
from .where import Ways


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """What is the same at all steps: a captured array, or what the derivative makes of such."""

    of: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Such a matrix as products read it."""

    of: Tensor


@dataclass(frozen=True, slots=True)
class Timed:
    """An array with time as its first axis, the k-th of its kind.

    "x" inputs, "path" the carry at all steps and before them, "made" outputs and residuals, which
    are counted on from the carry, "incoming" cotangents of results, "dx" those of inputs.
    """

    kind: str
    k: int


@dataclass(frozen=True, slots=True)
class Buffer:
    """Room for what a step computes, or in `blocks` for each of a block of steps.

    `padded` rows are wider than what is in them, as products read and write them quickly.
    """

    padded: bool
    blocks: bool


@dataclass(frozen=True, slots=True)
class Carried:
    """The cotangent of the k-th carry, from step to step."""

    k: int
    padded: bool


@dataclass(frozen=True, slots=True)
class Total:
    """The cotangent of the k-th captured array, added up over time; `fresh` if it is first set."""

    k: int
    fresh: bool = field(compare=False)


class Tall:
    """A block of steps as one tall matrix, packed for the products that sum over it."""


class Scratch:
    """Where such products pack what they read."""


Role = Fixed | Packed | Timed | Buffer | Carried | Total | Tall | Scratch


class Argument(NamedTuple):
    """An argument of a generated function; `shape` in words, without an axis of time."""

    name: str
    role: Role
    dtype: np.dtype[Any]
    written: bool
    shape: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        if isinstance(self.role, Packed | Tall | Scratch):
            return 1
        along = isinstance(self.role, Timed | Buffer | Carried)
        return len(self.shape) + 1 if along else max(1, len(self.shape))


class Place(NamedTuple):
    """Where a node's numbers are: an argument, and how the loop finds its own part of it."""

    array: str
    time: str | None = None  # the index of axis 0, None where there is no axis of time
    shift: bool = False  # whether its rows are those of the whole batch, ours from `start` on

    def entry(self, index: Ways) -> str:
        """One of the numbers, as text."""
        parts = [] if self.time is None else [self.time]
        parts += [i.text(self.shift and k == 0) for k, i in enumerate(index)]
        return f"{self.array}[{', '.join(parts) or '0'}]"
