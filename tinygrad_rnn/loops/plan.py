"""One direction of a step: its text, and where every array in it comes from."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..kernels.numbers import Called
from ..kernels.spare import spare
from ..op import Op
from . import roles
from .nodes import Unsupported
from .roles import Argument, Source
from .where import ROWS

Array = np.ndarray[Any, Any]
FORWARD_LINES, BACKWARD_LINES = 128, 256  # rows (of steps times batch) that a block of time has
LARGE_SUMS = 1 << 20  # bytes of weights' cotangents from which it pays to visit them less often
OWN = (roles.Buffer, roles.Carried, roles.Total, roles.Scratch, roles.Tall)
NO_NUMBERS = np.zeros(0)


class Fixing(NamedTuple):
    """An op on fixed arrays, done once before the loop."""

    op: Op
    inputs: list[Source]
    attrs: dict[str, Any]


class Plan:
    """One direction of a step: its text, and where every array in it comes from."""

    def __init__(
        self, source: str, arguments: list[Argument], sizes: dict[str, int],
        values: tuple[int, ...], numbers: list[Source], fixed: Sequence[Fixing], lines: int,
        called: dict[str, Called],
    ):  # fmt: skip
        self.source, self.arguments, self.called = source, arguments, called
        self.sizes, self.values = sizes, values
        self.numbers, self.fixed, self.lines = numbers, fixed, lines
        self.of: dict[tuple[type, ...], list[tuple[int, Any]]] = {}  # what `roles` found
        self.cost = self.estimate()
        self.packs: dict[int, tuple[weakref.ref[Array], Array]] = {}
        self.function: Any = None

    def roles(self, *kinds: type) -> list[tuple[int, Any]]:
        """The roles of some kinds, each with the place of its argument among all."""
        known = self.of.get(kinds)
        if known is None:
            found = [(k, a.role) for k, a in enumerate(self.arguments)]
            known = self.of[kinds] = [(k, role) for k, role in found if isinstance(role, kinds)]
        return known

    def compiled(self) -> Any:
        """The function of the text, compiled or found when it is first needed."""
        from ..kernels import generated

        if self.function is None:
            counts = 6 + len(self.values)
            try:
                self.function = generated.function(self.source, counts, self.arguments, self.called)
            except generated.Uncompilable as error:
                raise Unsupported(str(error)) from error
        return self.function

    def size(self, word: str) -> int:
        return self.sizes[word] if word in self.sizes else int(word)

    def shape(self, words: Sequence[str], rows: int) -> list[int]:
        return [rows if word == ROWS else self.size(word) for word in words]

    def estimate(self) -> float:
        """Nanoseconds a step and row take, roughly: products at their speed, numbers one by one."""
        cost = 20.0
        for a in self.arguments:
            count = math.prod(self.shape(a.shape, 1))
            if isinstance(a.role, roles.Packed | roles.Total):
                cost += count / 100
            elif isinstance(a.role, roles.Buffer) or (
                isinstance(a.role, roles.Timed) and a.role.kind in ("path", "residual")
            ):
                cost += count / 5
        return cost

    # -- the arrays ------------------------------------------------------------------------------

    def held(self, values: Values) -> list[Any]:
        """The arguments that are the same at all times, in their places among all."""
        held: list[Any] = [None] * len(self.arguments)
        for k, role in self.roles(roles.Captured, roles.Fixed, roles.Constant):
            array = np.asarray(values.of(role))
            held[k] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
        for k, role in self.roles(roles.Packed):
            held[k] = self.packed(k, role.of, values)
        return held

    def packed(self, k: int, source: Source, values: Values) -> Array:
        """Weights as the products read them: packed again when they are other weights.

        An array in a graph never changes, so the same array is the same weights.
        """
        root = self.root(source)
        known = self.packs.get(k)
        if known is not None and root is not None and known[0]() is values.captured[root]:
            return known[1]
        from ..kernels import generated

        out: Array = generated.packed(values.of(source))
        if root is not None:
            self.packs[k] = weakref.ref(values.captured[root]), out
        return out

    def root(self, source: Source) -> int | None:
        """The only captured array that something fixed comes from; None if there are several."""
        if isinstance(source, roles.Captured):
            return source.k
        roots = {self.root(x) for x in self.fixed[source.k].inputs} if isinstance(
            source, roles.Fixed) else {None}  # fmt: skip
        return roots.pop() if len(roots) == 1 else None

    def room(
        self, rows: int | None, block: int, captured: Sequence[Array]
    ) -> list[tuple[int, Array]]:
        """The arrays of one thread: buffers of a step or a block, sums, carried cotangents."""
        room = []
        for k, role in self.roles(*OWN):
            dtype = self.arguments[k].dtype
            if isinstance(role, roles.Total):
                array = spare(captured[role.k].shape or (1,), dtype)
            elif isinstance(role, roles.Scratch):
                sizes = [_panels().gather_size(*shape, dtype) for shape in role.shapes]
                array = spare((max(sizes),), dtype)
            elif isinstance(role, roles.Tall):
                lines = block * (role.rows if rows is None else rows)
                array = spare((_packed_size(lines, self.size(role.columns), dtype),), dtype)
            else:
                shape = self.shape(role.shape, rows or 0)
                if role.padded:
                    shape[-1] = _packed_size(1, shape[-1], dtype)
                steps = block if isinstance(role, roles.Buffer) and role.blocks else 1
                array = spare((steps, *shape), dtype)
            fresh = isinstance(role, roles.Total) and rows and role.fresh
            if isinstance(role, roles.Carried | roles.Total) and not fresh:
                array.fill(0)
            room.append((k, array))
        return room


class Values:
    """The fixed arrays; what is made of them is computed when it is asked for."""

    def __init__(self, fixed: Sequence[Fixing], captured: Sequence[Array]):
        self.fixed, self.captured = fixed, captured
        self.known: dict[int, Any] = {}

    def of(self, source: Source) -> Any:
        if isinstance(source, roles.Captured):
            return self.captured[source.k]
        if isinstance(source, roles.Constant):
            return source.array
        k = source.k
        if k not in self.known:
            made = self.fixed[k]
            with np.errstate(all="ignore"):
                self.known[k] = made.op.body(*[self.of(x) for x in made.inputs], **made.attrs)
        return self.known[k]

    def numbers(self, sources: Sequence[Source]) -> Array:
        """The numbers that are handed over."""
        if not sources:
            return NO_NUMBERS
        return np.array([np.asarray(self.of(x)).item() for x in sources], np.float64)


def _panels() -> Any:
    from ..kernels import panels

    return panels


def _packed_size(lines: int, columns: int, dtype: np.dtype[Any]) -> int:
    return int(_panels().packed_size(max(1, lines), columns, dtype))
