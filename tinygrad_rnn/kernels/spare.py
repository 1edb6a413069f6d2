"""Memory that is written again, because fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
SMALL = 1 << 14  # bytes; below it fresh memory is cheap
LARGE = 1 << 28  # bytes; above it, memory is too much to keep
PATIENCE = 1000  # requests after which memory that nobody asked for again is given back


class Spare:
    """Hands out arrays, and what it handed out again, once nobody holds it or a view of it.

    An array that somebody holds on to is simply theirs. Memory that has lain idle for a while is
    given back, so what is kept is what the last few steps of a training loop went through.
    """

    def __init__(self) -> None:
        self.lent: dict[int, list[list[Any]]] = {}  # by bytes: user, memory, when it was last lent
        self.requests, self.lock = 0, threading.Lock()

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of that shape and dtype, packed, holding anything."""
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        size = count * dtype.itemsize
        if not SMALL <= size <= LARGE:
            return np.empty(shape, dtype)
        grain = 1 << (size.bit_length() - 5)
        size = -(-size // grain) * grain  # alike sizes, as of T and T + 1 steps, share memory
        with self.lock:
            self.requests += 1
            if self.requests % PATIENCE == 0:
                self.give_back()
            for entry in self.lent.setdefault(size, []):
                if entry[0]() is None:
                    break
            else:
                entry = [None, _aligned(size), 0]
                self.lent[size].append(entry)
            # the base of every view of it is this array, since a memoryview is none
            whole = np.frombuffer(entry[1], dtype, count)
            entry[0], entry[2] = weakref.ref(whole), self.requests
        return whole.reshape(shape)

    def maker(self, shape: tuple[int, ...], dtype: Any, zero: bool) -> Callable[..., Array]:
        """What makes such arrays soonest, zeros or anything: called with shape and dtype."""
        if not SMALL <= math.prod(shape) * np.dtype(dtype).itemsize <= LARGE:
            return np.zeros if zero else np.empty
        return self.zeros if zero else self

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self(shape, dtype)
        array.fill(0)
        return array

    def give_back(self) -> None:
        """Forget what others hold, and free what has not been asked for lately."""
        early = self.requests - PATIENCE
        for size, entries in list(self.lent.items()):
            entries[:] = [entry for entry in entries if entry[2] > early]
            if not entries:
                del self.lent[size]

    def __reduce__(self) -> tuple[Any, ...]:
        return Spare, ()


def _aligned(size: int) -> memoryview:
    """Fresh memory that begins where a vector does not straddle two cache lines."""
    memory = np.empty(size + 64, np.uint8)
    skip = -memory.__array_interface__["data"][0] % 64
    return memory[skip : skip + size].data


spare = Spare()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(spare, "lock", threading.Lock()))
