"""One direction of a step: its text, and where every array in it comes from."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels.spare import spare
from .lower import ROWS, Unsupported
from .schedule import Text


class Plan:
    """One direction of a step: its text, and where every array in it comes from."""

    def __init__(self, text: Text, source: str, numbers: list[Any], fixed: list[Any], lines: int):
        self.source, self.numbers, self.fixed, self.lines = source, numbers, fixed, lines
        self.words = {word: value for value, word in text.sizes.words.items()}
        self.values = tuple([self.words[word] for word in text.told])
        self.arguments = list(text.arguments.values())
        self.called = text.called
        self.function: Any = None
        self.refusal: Unsupported | None = None
        self.gathers: list[Any] = []
        self.lock = threading.Lock()
        roles = [
            (k, a.role[0], a.role[2] if a.role[0] == "carried" else a.role[-1])
            for k, a in enumerate(self.arguments)
        ]
        self.timed = [r for r in roles if r[1] in TIMED]
        self.carried = [
            (k, n) for k, kind, n in roles if kind == "carried" and n not in text.severed
        ]
        self.carried_widths = {
            k: self.size(a.role[1][-1]) if a.role[3] else None
            for k, a in enumerate(self.arguments)
            if a.role[0] == "carried"
        }
        self.totals = [(k, n) for k, kind, n in roles if kind == "acc"]
        self.dxs = {n for _, kind, n in roles if kind == "dx"}
        self.once = [
            (k, a.role, self.root(a.role[1]) if a.role[0] == "packed" else None)
            for k, a in enumerate(self.arguments)
            if a.role[0] in ONCE
        ]
        self.own = [(k, a) for k, a in enumerate(self.arguments) if a.role[0] in OWN]
        self.cost = self.estimate(text)
        self.packs: dict[int, Any] = {}

    def compiled(self) -> Any:
        """The function of the text, compiled or found when it is first needed."""
        from ..kernels import generated

        with self.lock:
            if self.refusal is not None:
                raise self.refusal
            if self.function is None:
                counts = 6 + len(self.values)
                try:
                    self.function = generated.function(
                        self.source, counts, self.arguments, self.called
                    )
                except generated.Uncompilable as error:
                    self.refusal = Unsupported(str(error))
                    raise self.refusal from error
        return self.function

    def size(self, word: str) -> int:
        return self.words[word] if word in self.words else int(word)

    def estimate(self, text: Text) -> float:
        """Nanoseconds a step and row take, roughly: products at their speed, numbers one by one."""
        cost = 20.0 + sum(text.products.values()) / 100
        sizes = self.words | {ROWS: 1}
        for a in self.arguments:
            if a.role[0] in ("buffer", "note", "path"):
                shape = text.full[a.name]
                cost += math.prod(sizes[n] if n in sizes else int(n) for n in shape) / 5
            elif a.role[0] == "acc":
                cost += math.prod(text.captured[a.role[2]]) / 100
        return cost

    # -- the arrays ------------------------------------------------------------------------------

    def evaluator(self, captured: Sequence[np.ndarray]) -> Values:
        """What says what is meant by a role."""
        return Values(self.fixed, captured)

    def numbers_from(self, value: Callable[[Any], Any]) -> np.ndarray:
        if not self.numbers:
            return NO_NUMBERS
        return np.array([np.asarray(value(role)).item() for role in self.numbers], np.float64)

    def held(self, captured: Sequence[np.ndarray], value: Callable[[Any], Any]) -> list[Any]:
        """The arguments that are the same at all times, in their places among all."""
        held: list[Any] = [None] * len(self.arguments)
        for k, role, root in self.once:
            if role[0] == "packed":
                held[k] = self.packed(k, role[1], root, captured, value)
            else:
                array = np.asarray(value(role))
                held[k] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        return held

    def packed(self, k: int, role: Any, root: int | None, captured: Any, value: Any) -> np.ndarray:
        """Weights as the products read them: packed anew when they are other weights.

        An array in a graph never changes, so the same array is the same weights.
        """
        known = self.packs.get(k)
        if known is not None and root is not None and known[0]() is captured[root]:
            return known[1]
        from ..kernels import generated

        out = generated.packed(value(role))
        if root is not None:
            self.packs[k] = weakref.ref(captured[root]), out
        return out

    def root(self, role: Any) -> int | None:
        """The only captured array that something fixed comes from; None if there are several."""
        if role[0] == "captured":
            return role[1]
        roots = {self.root(r) for r in self.fixed[role[1]][1]} if role[0] == "fixed" else {None}
        return roots.pop() if len(roots) == 1 else None

    def room(self, rows: int | None, block: int, captured: Sequence[np.ndarray]) -> list[Any]:
        """The arrays of one thread: buffers of a step or a block, sums, carried cotangents."""
        sizes = self.words | {ROWS: rows or 0}
        room: list[Any] = []
        for k, a in self.own:
            kind = a.role[0]
            if kind == "acc":
                array = spare(captured[a.role[2]].shape or (1,), a.dtype)
                if not rows or not a.role[1]:
                    array.fill(0)
            elif kind == "scratch":
                array = spare((gather_size(self.gathers, a.dtype),), a.dtype)
            elif kind == "tall":
                lines = block * (rows if rows is not None else a.role[2])
                array = spare((tall_size(lines, self.size(a.role[1]), a.dtype),), a.dtype)
            else:
                shape = [sizes[n] if n in sizes else int(n) for n in a.role[1]]
                if a.role[3]:
                    shape[-1] = tall_size(1, shape[-1], a.dtype)
                array = spare((block if a.role[2] is True else 1, *shape), a.dtype)
                if kind == "carried":
                    array.fill(0)
            room.append((k, array))
        return room


class Values:
    """What is meant by a role; what is fixed is worked out when it is asked for.

    An object and no closure: one that calls itself would be a cycle, and keep the weights alive.
    """

    def __init__(self, fixed: Any, captured: Sequence[np.ndarray]):
        self.fixed, self.captured = fixed, captured
        self.known: dict[int, Any] = {}

    def __call__(self, role: Any) -> Any:
        kind, k = role[0], role[1]
        if kind != "fixed":
            return self.captured[k] if kind == "captured" else k
        if k not in self.known:
            op, inputs, attrs = self.fixed[k]
            arrays = [self(r) for r in inputs]
            with np.errstate(all="ignore"):
                self.known[k] = op.body(*arrays, **attrs)
        return self.known[k]


AHEAD_LINES, BACK_LINES = 128, 256  # rows (of steps times batch) that a block of time has
LARGE_SUMS = 1 << 20  # bytes of weights' cotangents from which it pays to visit them less often
NO_NUMBERS = np.zeros(0)
TIMED = {"x", "path", "out", "note", "incoming", "dx"}
ONCE = {"captured", "fixed", "constant", "packed"}
OWN = {"buffer", "carried", "acc", "scratch", "tall"}


def gather_size(sizes: Any, dtype: Any) -> int:
    from ..kernels import panels

    return max(panels.gather_size(size[0], size[1], dtype) for size in sizes)


def tall_size(lines: int, columns: int, dtype: Any) -> int:
    from ..kernels import panels

    return panels.packed_size(max(1, lines), columns, dtype)
