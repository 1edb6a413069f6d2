"""Where CPython keeps the items of a tuple, and NumPy an array's numbers, sizes and strides."""

from __future__ import annotations

from typing import Any, NamedTuple

from .written import I64, Number, Writer, symbol

ITEMS, NUMBERS, SIZES = tuple.__basicsize__, object.__basicsize__, object.__basicsize__ + 16
STRIDES = SIZES + 8


class Matrix(NamedTuple):
    """Where a matrix is, its sizes, and its strides in bytes."""

    data: Number
    rows: Number
    columns: Number
    row: Number
    column: Number

    def turned(self, flag: Number) -> Matrix:
        """This, or its transpose if the flag is set."""
        data, *ends = self
        return Matrix(data, *[flag.choose(ends[k ^ 1], ends[k]) for k in range(4)])

    def either(self, flag: Number, other: Matrix) -> Matrix:
        """This if the flag is set, or another."""
        return Matrix(*[flag.choose(*pair) for pair in zip(self, other, strict=True)])


def word(w: Writer, address: Number, offset: Any) -> Number:
    """The whole number that is so many bytes behind an address."""
    place = w.builder.inttoptr((address + offset).value, I64.as_pointer())
    return Number(w.builder, w.builder.load(place))


def array(w: Writer, arrays: Number, k: int) -> tuple[Number, Number]:
    """Where the numbers of the k-th array of a tuple are, and how long its first axis is."""
    found = word(w, arrays, ITEMS + 8 * k)
    return word(w, found, NUMBERS), word(w, word(w, found, SIZES), 0)


def matrix(w: Writer, arrays: Number, k: int) -> Matrix:
    """The k-th array of a tuple, which has two axes."""
    found = word(w, arrays, ITEMS + 8 * k)
    ends = [word(w, word(w, found, at), 8 * axis) for at in (SIZES, STRIDES) for axis in range(2)]
    return Matrix(word(w, found, NUMBERS), *ends)


def by_worker(name: str) -> Any:
    """How a worker calls a routine that takes two numbers and a tuple, see `threads.Call`."""

    def routine(w: Writer, counts: Number, arrays: Number) -> None:
        w.call(symbol(name, w.real), *[word(w, counts, at) for at in (0, 8)], arrays)

    return routine
