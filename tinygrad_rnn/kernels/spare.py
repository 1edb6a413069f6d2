"""Memory that is written again, because fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
SMALL = 1 << 14  # bytes; below it fresh memory is cheap
LARGE = 1 << 28  # bytes; above it, memory is too much to keep
PAGE = 1 << 21  # bytes: in small pages, a new search is made for each 4 kB of every array
PIECE = 1 << 24  # bytes of which arrays are cut
APART = 4096 + 64  # bytes between two: rows that are read together do not share a place in a cache
PATIENCE = 1000  # requests after which memory that nobody asked for again is given back


class Lent(weakref.ref[Array]):
    """Tells when nobody holds an array any more, and keeps its memory; when it was asked for.

    What it calls then must not be Python: a Ctrl-C that comes there would be lost.
    """

    memory: memoryview | None = None
    when = 0


class Spare:
    """Hands out arrays, and what it handed out again, once nobody holds it or a view of it.

    An array that somebody holds on to is simply theirs. Memory that has lain idle for a while is
    given back, so what is kept is what the last few steps of a training loop went through.
    """

    def __init__(self) -> None:
        self.idle: defaultdict[int, deque[Lent]] = defaultdict(deque)  # by bytes, the latest last
        self.lent: dict[int, Lent] = {}  # by memory, idle or not
        self.requests = 0

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of that shape and dtype, packed, holding anything."""
        return self.maker(shape, dtype)()

    def maker(self, shape: tuple[int, ...], dtype: Any, zero: bool = False) -> Callable[[], Array]:
        """What makes such arrays soonest, holding zeros or anything."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if not SMALL <= size <= LARGE:
            return partial(np.zeros if zero else np.empty, shape, dtype)
        grain = 1 << (size.bit_length() - 5)
        size = -(-size // grain) * grain  # alike sizes, as of T and T + 1 steps, share memory
        return partial(self.zeros if zero else self.take, size, shape, dtype)

    def take(self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Memory of so many bytes, idle or fresh, as an array."""
        self.requests += 1
        if self.requests % PATIENCE == 0:
            self.give_back()
        idle = self.idle[size]
        try:
            memory = idle.pop().memory  # one step, which no other thread comes between
        except IndexError:
            memory = None
        if memory is None:
            memory = _fresh(size)
        # the base of every view of it is this array, since a memoryview is none
        whole = np.frombuffer(memory, dtype, math.prod(shape))
        self.lent[id(memory)] = lent = Lent(whole, idle.append)
        lent.memory, lent.when = memory, self.requests
        return whole.reshape(shape)

    def zeros(self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The same, holding zeros."""
        array = self.take(size, shape, dtype)
        array.fill(0)
        return array

    def give_back(self) -> None:
        """Free what has not been asked for lately."""
        early = self.requests - PATIENCE
        for entries in list(self.idle.values()):
            with suppress(IndexError):  # another thread was sooner
                while entries and entries[0].when <= early:
                    self.lent.pop(id(entries.popleft().memory), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Spare, ()


_pieces = count()
_left: deque[memoryview] = deque(maxlen=1)  # of the last large piece, what nobody has yet


def _fresh(size: int) -> memoryview:
    """Fresh memory that begins where a vector does not straddle two cache lines."""
    if size > PIECE // 4:
        return _paged(size)
    try:
        left = _left.pop()  # one step, which no other thread comes between
    except IndexError:
        left = memoryview(b"")
    if len(left) < size + APART:
        left = _paged(PIECE)
    _left.append(left[size + APART :])
    return left[APART : size + APART]


def _paged(size: int) -> memoryview:
    """Fresh memory in large pages: NumPy asks the system for them, if it has any."""
    apart = APART * (next(_pieces) % 32)
    memory = np.empty(size + PAGE + apart, np.uint8)
    skip = -memory.__array_interface__["data"][0] % PAGE + apart
    return memory[skip : skip + size].data


spare = Spare()
