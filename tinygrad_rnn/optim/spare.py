"""Memory that is written again, because fresh memory costs more than the arithmetic on it."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

SMALL = 1 << 14  # bytes; below it fresh memory is cheap


class Spare:
    """Hands out arrays, and what it handed out again, once nobody holds it or a view of it.

    It keeps at most `limit` of them, so arrays that somebody holds on to cost nothing here.
    """

    def __init__(self, limit: int):
        self.limit, self.kept = limit, 0
        self.lent: dict[int, list[tuple[Any, memoryview]]] = {}

    def __call__(self, like: np.ndarray) -> np.ndarray:
        """An array of that shape and dtype, packed, holding anything."""
        if like.nbytes < SMALL:
            return np.empty(like.shape, like.dtype)
        lent = self.lent.setdefault(like.nbytes, [])
        free = [k for k, (user, _) in enumerate(lent) if user() is None]
        if free:
            memory = lent.pop(free[0])[1]
        elif self.kept < self.limit:
            memory = np.empty(like.nbytes, np.uint8).data
            self.kept += 1
        else:
            return np.empty(like.shape, like.dtype)
        # the base of every view of it is this array, since a memoryview is none
        whole = np.frombuffer(memory, like.dtype)
        lent.append((weakref.ref(whole), memory))
        return whole.reshape(like.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Spare, (self.limit,)
