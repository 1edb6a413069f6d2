"""One direction of a step: its text, and where every array in it comes from."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property
from operator import is_
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..caches import Cache
from ..kernels.numbers import Called
from ..kernels.spare import spare
from ..tensor import Tensor, history
from .nodes import Unsupported
from .roles import Argument, Buffer, Carried, Fixed, Packed, Scratch, Tall, Timed, Total
from .where import ROWS

Array = np.ndarray[Any, Any]
FORWARD_LINES, BACKWARD_LINES = 128, 256  # rows (of steps times batch) that a block of time has
LARGE_SUMS = 1 << 20  # bytes of weights' cotangents from which it pays to visit them less often
Kinds: TypeAlias = tuple[type, ...]
Room: TypeAlias = tuple[int, Callable[[], Array]]  # an argument, and what makes its array
Packs: TypeAlias = dict[int, tuple[weakref.ref[Array], Array]]  # by argument: of what, packed
FRESH, BUFFERS = (Carried, Total), (Buffer, Scratch, Tall)  # the arrays of one thread


@dataclass(eq=False)
class Plan:
    """One direction of a step: its text, and where every array in it comes from."""

    source: str
    arguments: list[Argument]
    sizes: InitVar[dict[str, int]]
    values: tuple[int, ...]  # of the sizes that the text speaks of
    numbers: list[Tensor]
    lines: int
    called: dict[str, Called]
    function: Any = None

    def __post_init__(self, sizes: dict[str, int]) -> None:
        self.roles: dict[type, list[tuple[int, Any]]] = defaultdict(list)  # and their arguments
        for k, a in enumerate(self.arguments):
            self.roles[type(a.role)].append((k, a.role))
        self.shapes = [
            [1 if word == ROWS else sizes.get(word) or int(word) for word in a.shape]
            for a in self.arguments
        ]  # of one row
        self.timed = [(k, role.kind, role.k) for k, role in self.roles[Timed]]
        self.courses = Cache(64)  # by the number of steps and of threads, see `Course` of runtime
        self.last: Held | None = None

    @cached_property
    def led(self) -> set[int]:
        """Which of the inputs get a cotangent."""
        return {k for _, kind, k in self.timed if kind == "dx"}

    def compiled(self) -> Any:
        """The function of the text, compiled or found when it is first needed."""
        from ..kernels import generated, waiting

        if self.function is None:
            counts = 6 + len(self.values)
            try:
                with waiting.compiling(self.source.count("\n")):
                    made = generated.function(self.source, counts, self.arguments, self.called)
                self.function = made
            except generated.Uncompilable as error:
                raise Unsupported(str(error)) from error
        return self.function

    @cached_property
    def cost(self) -> float:
        """Nanoseconds a step and row take, roughly: products at their speed, numbers one by one."""
        cost = 20.0
        for a, shape in zip(self.arguments, self.shapes, strict=True):
            count = math.prod(shape)
            if isinstance(a.role, Packed | Total):
                cost += count / 100
            elif isinstance(a.role, Buffer) or getattr(a.role, "kind", "") in ("path", "made"):
                cost += count / 5
        return cost

    # -- the arrays ------------------------------------------------------------------------------

    def held(self, tensors: Sequence[Tensor], captured: Sequence[Array]) -> tuple[Any, Array]:
        """The arguments that are the same at all times, in their places among all, and numbers.

        What is made of captured arrays is kept until one of them is another: an array in a graph
        never changes. They themselves are not kept.
        """
        last = self.last
        if last is None or not all(map(is_, [ref() for ref in last.of], captured)):
            packs = {} if last is None else last.packs
            last = self.last = self.made_of(Values(tensors, captured), captured, packs)
        held = last.arguments.copy()
        for k, j in last.given:
            held[k] = captured[j]
        return held, last.numbers

    def made_of(self, values: Values, captured: Sequence[Array], packs: Packs) -> Held:
        """What is held of these arrays; `packs` is what was packed before."""
        arguments: list[Any] = [None] * len(self.arguments)
        given = []
        for k, role in self.roles[Fixed]:
            array = np.asarray(values.of(role.of), order="C")
            same = [j for j, one in enumerate(captured) if one is array]
            if same:
                given.append((k, same[0]))
            else:
                arguments[k] = array
        for k, role in self.roles[Packed]:
            arguments[k] = packed(values, role.of, packs, k)
        of = [weakref.ref(array) for array in captured]
        return Held(of, arguments, given, values.numbers(self.numbers), packs)

    def layout(self, kinds: Kinds, rows: int, block: int) -> Iterator[Room]:
        """Of each such array its place, and what makes it."""
        from ..kernels.panels import gather_size, packed_size

        for k, role in [pair for kind in kinds for pair in self.roles[kind]]:
            a, shape = self.arguments[k], self.shapes[k].copy()
            if ROWS in a.shape:
                shape[0] = rows
            if isinstance(role, Scratch):
                sums = [self.shapes[t] for t, _ in self.roles[Total]]
                shape = [max([gather_size(s[0], s[1], a.dtype) for s in sums if len(s) == 2])]
            elif isinstance(role, Tall):
                shape = [packed_size(max(1, block * math.prod(shape[:-1])), shape[-1], a.dtype)]
            elif isinstance(role, Total):
                shape = shape or [1]
            else:
                if role.padded:
                    shape[-1] = packed_size(1, shape[-1], a.dtype)
                shape = [block if isinstance(role, Buffer) and role.blocks else 1, *shape]
            fresh = isinstance(role, Total) and rows and role.fresh
            zero = isinstance(role, Carried | Total) and not fresh
            yield k, spare.maker(tuple(shape), a.dtype, zero)


class Held(NamedTuple):
    """What a loop is given at all times, made of these captured arrays."""

    of: list[weakref.ref[Array]]
    arguments: list[Any]
    given: list[tuple[int, int]]  # which argument is which of them, as it is
    numbers: Array
    packs: Packs


def packed(values: Values, x: Tensor, packs: Packs, k: int) -> Array:
    """Weights as the products read them: packed again when they are other weights.

    An array in a graph never changes, so the same array is the same weights.
    """
    root, known = values.root(x), packs.get(k)
    if known is not None and root is not None and known[0]() is root:
        return known[1]
    from ..kernels import generated

    out: Array = generated.packed(values.of(x))
    if root is not None:
        packs[k] = weakref.ref(root), out
    return out


class Values:
    """The fixed arrays, by their tensors; what is made of them is computed when asked for."""

    def __init__(self, tensors: Sequence[Tensor], captured: Sequence[Array]):
        self.known: dict[Tensor, Any] = dict(zip(tensors, captured, strict=True))

    def of(self, x: Tensor) -> Any:
        known = self.known
        if x not in known:
            with np.errstate(all="ignore"):
                for y in history([x], known)[::-1]:
                    if y not in known:
                        given = [known[z] for z in y.inputs]
                        known[y] = y.op.body(*given, **y.attrs) if y.op else y._array
        return known[x]

    def root(self, x: Tensor) -> Array | None:
        """The only captured array that something fixed comes from; None if there are several."""
        while x.op is not None and len(x.inputs) == 1:
            (x,) = x.inputs
        ends = history([x]) if x.op else [x]
        roots = [self.known.get(y) for y in ends if not y.op]
        return roots[0] if all(root is roots[0] for root in roots) else None

    def numbers(self, tensors: Sequence[Tensor]) -> Array:
        """The numbers that are handed over."""
        if not tensors:
            return NO_NUMBERS
        return np.array([np.asarray(self.of(x)).item() for x in tensors], np.float64)


NO_NUMBERS = np.empty(0)
