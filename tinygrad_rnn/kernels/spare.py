"""Memory that is written again, because fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import mmap
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import numpy as np

from .machine import CROWDED

Array: TypeAlias = np.ndarray[Any, Any]
SMALL = 1 << 14  # bytes; below it fresh memory is cheap
LARGE = 1 << 28  # bytes; above it, memory is too much to keep
PAGE = 1 << 21  # bytes of a large page, of which the processor keeps in mind where they are
PIECE = 1 << 24  # bytes of which arrays are cut
APART = CROWDED + 64  # bytes between two, so that rows that are read together are not crowded
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
        dtype = np.dtype(np.dtype(dtype).type)  # NumPy's own object, by which dtypes are compared
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
                    memory = entries.popleft().memory
                    self.lent.pop(id(memory), None)
                    _given_back(memory)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        return Spare, ()


_turns = count()
_left: deque[memoryview] = deque(maxlen=1)  # of the last piece, what nobody has yet


def _fresh(size: int) -> memoryview:
    """Fresh memory that begins where a vector does not straddle two cache lines.

    If it is so large that NumPy asks for large pages, its own; else a slice of a piece in such.
    """
    if size > PIECE // 4 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return _alone(size)
    try:
        left = _left.pop()  # one step, which no other thread comes between
    except IndexError:
        left = memoryview(b"")
    if len(left) < size + APART:
        try:
            piece = mmap.mmap(-1, PIECE + PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            piece.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # there is no room for so much, or there are no such pages
            return _alone(size)
        left = memoryview(piece)[-_address(piece) % PAGE :]
    _left.append(left[size + APART :])
    return left[APART : size + APART]


def _alone(size: int) -> memoryview:
    """Memory of its own; if it is large, from where a large page begins, and apart from others."""
    large = size > PIECE // 4
    grain, apart = (PAGE, APART * (next(_turns) % 32)) if large else (64, 0)
    memory = np.empty(size + grain + apart, np.uint8)
    skip = -_address(memory) % grain + apart
    return memory[skip : skip + size].data


def _address(memory: Any) -> int:
    return int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])


def _given_back(memory: memoryview) -> None:
    """Let the system have what is in a slice: others of its piece may live on."""
    piece, small = memory.obj, mmap.PAGESIZE
    if isinstance(piece, mmap.mmap):
        start = _address(memory) - _address(piece)
        first, last = -(-start // small) * small, (start + len(memory)) // small * small
        piece.madvise(mmap.MADV_DONTNEED, first, last - first)


spare = Spare()
