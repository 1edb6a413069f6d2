"""Memory that is written again, because fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Idle: TypeAlias = "deque[tuple[int, memoryview]]"  # when it came back, and what
SMALL = 1 << 14  # bytes; below it fresh memory is cheap
LARGE = 1 << 28  # bytes; above it, memory is too much to keep
PATIENCE = 1000  # requests after which memory that nobody asked for again is given back


class Spare:
    """Hands out arrays, and what it handed out again, once nobody holds it or a view of it.

    An array that somebody holds on to is simply theirs. Memory that has lain idle for a while is
    given back, so what is kept is what the last few steps of a training loop went through.
    """

    def __init__(self) -> None:
        self.idle: defaultdict[int, Idle] = defaultdict(deque)  # by bytes, the latest last
        self.lent: dict[int, Any] = {}  # what tells when nobody holds it any more
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
        try:
            memory = self.idle[size].pop()[1]  # one step, which no other thread comes between
        except IndexError:
            memory = _aligned(size)
        # the base of every view of it is this array, since a memoryview is none
        whole = np.frombuffer(memory, dtype, math.prod(shape))
        self.lent[id(memory)] = weakref.ref(whole, partial(self._returned, memory))
        return whole.reshape(shape)

    def zeros(self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """The same, holding zeros."""
        array = self.take(size, shape, dtype)
        array.fill(0)
        return array

    def _returned(self, memory: memoryview, _: Any) -> None:
        del self.lent[id(memory)]
        self.idle[memory.nbytes].append((self.requests, memory))

    def give_back(self) -> None:
        """Free what has not been asked for lately."""
        early = self.requests - PATIENCE
        for size, entries in list(self.idle.items()):
            with suppress(IndexError):  # another thread was sooner
                while entries and entries[0][0] <= early:
                    entries.popleft()
            if not entries:
                self.idle.pop(size, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return Spare, ()


def _aligned(size: int) -> memoryview:
    """Fresh memory that begins where a vector does not straddle two cache lines."""
    memory = np.empty(size + 64, np.uint8)
    skip = -memory.__array_interface__["data"][0] % 64
    return memory[skip : skip + size].data


spare = Spare()
