"""Where a loop looks: sizes and places in words, and ways from one shape to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

ROWS = "rows"  # the size of the batch, as far as one thread sees it


@dataclass(frozen=True, slots=True)
class Offset:
    """A sum of sizes, each times a whole number, as `2 * H - 1`; `1` is a size too."""

    terms: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Offset) -> Offset:
        total = dict(self.terms)
        for size, factor in other.terms:
            total[size] = total.get(size, 0) + factor
        return Offset(tuple([(size, factor) for size, factor in total.items() if factor]))

    def __mul__(self, times: int) -> Offset:
        return Offset(tuple([(size, factor * times) for size, factor in self.terms if times]))

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        text = ""
        for size, factor in self.terms:
            times = abs(factor)
            word = str(times) if size == "1" else size if times == 1 else f"{times} * {size}"
            sign = "-" if factor < 0 else "+"
            text = f"{text} {sign} {word}" if text else word if factor > 0 else f"-{word}"
        return text or "0"


def offset(size: str | int, times: int = 1) -> Offset:
    """A size, by its word or as a number, so many times."""
    word = str(size)
    one = ("1", int(word) * times) if word.isdigit() else (word, times)
    return Offset((one,) if one[1] else ())


ZERO = Offset()


class Way(NamedTuple):
    """Where to look along one axis: offset + step * (an axis elsewhere), or a fixed place.

    Elsewhere is another shape or, where it is told as text, the loops over one.
    """

    axis: int | None
    offset: Offset = ZERO
    step: int = 1

    def of(self, ways: Sequence[Way]) -> Way:
        """Return where one looks, from where the axes there look."""
        if self.axis is None:
            return self
        way = ways[self.axis]
        return Way(way.axis, self.offset + way.offset * self.step, self.step * way.step)

    def text(self, shift: bool = False) -> str:
        """The text; `shift` for rows of the whole batch, of which ours begin at `start`."""
        at = offset("start") + self.offset if shift else self.offset
        if self.axis is None:
            return str(at)
        variable = VARIABLES[self.axis]
        steps = variable if self.step == 1 else f"{self.step} * {variable}"
        return f"{at} + {steps}" if at else steps


Ways = Sequence[Way]


def fixed(place: Offset = ZERO) -> Way:
    """Always the same place of an axis."""
    return Way(None, place, 0)


def straight(ndim: int) -> tuple[Way, ...]:
    """Every axis as it is."""
    return tuple([Way(k) for k in range(ndim)])


TURNED = (Way(1), Way(0))
VARIABLES = "ijklmnpqz"  # of the loops over the axes of a shape; z is the inner one of a product


def here(shape: Sequence[str]) -> tuple[Way, ...]:
    """The position that a loop over this shape is at: no loop along an axis of size 1."""
    return tuple([fixed() if n == "1" else Way(k) for k, n in enumerate(shape)])


class Sizes:
    """Words for the sizes of a step's arrays: one text serves all sizes of the same pattern."""

    def __init__(self) -> None:
        self.words: dict[int, str] = {}

    def add(self, value: int, word: str) -> None:
        if value > 1 and value not in self.words:
            same = [w for w in self.words.values() if w.startswith(word)]
            self.words[value] = f"{word}{len(same) + 1}" if same else word

    def text(self, value: int) -> str:
        return self.words.get(value, str(value))

    def count(self, shape: Sequence[str], rows: int) -> int:
        """How many numbers there are in a shape in words, if the batch has so many rows."""
        known = {word: n for n, word in self.words.items()} | {ROWS: rows}
        return math.prod([known.get(word) or int(word) for word in shape])
