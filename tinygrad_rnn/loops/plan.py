"""One direction of a step: its text, and where every array in it comes from."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..caches import Cache
from ..kernels.numbers import Called
from ..kernels.spare import spare
from ..quiet import quiet
from ..tensor import Tensor, history
from .nodes import Unsupported
from .roles import Argument, Buffer, Carried, Fixed, Packed, Scratch, Tall, Timed, Total
from .where import ROWS

Array = np.ndarray[Any, Any]
FORWARD_LINES, BACKWARD_LINES = 128, 256  # rows (of steps times batch) that a block of time has
LARGE_SUMS = 1 << 20  # bytes of weights' cotangents from which it pays to visit them less often
Kinds: TypeAlias = tuple[type, ...]
FRESH, BUFFERS = (Carried, Total), (Buffer, Scratch, Tall)  # the arrays of one thread
OWN = (Fixed, Packed, *FRESH, *BUFFERS)  # all that is not along time


@dataclass(eq=False)
class Plan:
    """One direction of a step: its text, and where every array in it comes from."""

    source: str
    arguments: list[Argument]
    sizes: InitVar[dict[str, int]]
    values: tuple[int, ...]  # of the sizes that the text speaks of
    numbers: list[Tensor]  # which are handed over as such
    lines: int
    called: dict[str, Called]
    turns: int  # of the loops in it, in one step
    function: Any = None

    def __post_init__(self, sizes: dict[str, int]) -> None:
        self.roles: dict[type, list[tuple[int, Any]]] = defaultdict(list)  # and their arguments
        for k, a in enumerate(self.arguments):
            self.roles[type(a.role)].append((k, a.role))
        self.shapes = [
            [1 if word == ROWS else sizes.get(word) or int(word) for word in a.shape]
            for a in self.arguments
        ]  # of one row
        self.courses = Cache(64)  # by the number of steps and of threads, see `Course` of runtime

    @cached_property
    def timed(self) -> list[tuple[int, str, int]]:
        """The arguments along time, of what kind they are, and which of it."""
        return [(k, role.kind, role.k) for k, role in self.roles[Timed]]

    @cached_property
    def led(self) -> set[int]:
        """Which of the inputs get a cotangent."""
        return {k for _, kind, k in self.timed if kind == "dx"}

    def compiled(self, ops: int) -> Any:
        """The function of the text, of so many ops, compiled or found when it is first needed."""
        from ..kernels import generated, waiting

        if self.function is None:
            counts = 6 + len(self.values)
            try:
                with waiting.compiling(ops):
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
        return cost * self.turns

    # -- the arrays ------------------------------------------------------------------------------

    def order(self, xs: int, made: int) -> Callable[[list[Any]], Any]:
        """What puts in order: numbers, arrays held, fresh ones, buffers, then those along time.

        Of these there are so many `xs`, so many `made`, and as many cotangents of xs.
        """
        own = [k for kind in OWN for k, _ in self.roles[kind]]
        place = {k: i for i, k in enumerate(own, 1)}
        first = {"x": 0, "path": xs, "made": xs, "dx": xs + made, "incoming": xs + made + xs}
        place |= {k: 1 + len(own) + first[kind] + j for k, kind, j in self.timed}
        places = [place[k] for k in range(len(self.arguments))]
        return itemgetter(0, *places) if places else lambda arrays: (arrays[0],)

    @quiet
    def held(self, tensors: Sequence[Tensor], captured: Sequence[Array]) -> Any:
        """What it is given at all times: numbers, and arrays that are made of those captured.

        Then, which argument is one of these as it is: it stands there as None.
        """
        from ..kernels import generated

        made: dict[Tensor, Any] = dict(zip(tensors, captured, strict=True))
        place = {x: j for j, x in enumerate(tensors)}
        fixed, packed = [[role.of for _, role in self.roles[kind]] for kind in (Fixed, Packed)]
        for y in history([*fixed, *packed, *self.numbers], made)[::-1]:
            if y not in made:
                made[y] = y.op.body(*[made[x] for x in y.inputs], **y.attrs) if y.op else y._array
        numbers = [np.asarray(made[x]).item() for x in self.numbers]
        arguments: list[Any] = [np.array(numbers, np.float64)]
        same = []
        for x in fixed:
            array = np.asarray(made[x], order="C")
            if x in place and array is made[x]:
                same.append((len(arguments), place[x]))
            arguments.append(None if x in place and array is made[x] else array)
        arguments += map(generated.packed, [made[x] for x in packed])
        return arguments, same

    def layout(self, kinds: Kinds, rows: int, block: int) -> Iterator[Callable[[], Array]]:
        """What makes each such array, in the order of roles."""
        from ..kernels.panels import gather_size, packed_size, padded

        for k, role in [pair for kind in kinds for pair in self.roles[kind]]:
            a = self.arguments[k]
            shape = [rows if w == ROWS else n for w, n in zip(a.shape, self.shapes[k], strict=True)]
            if isinstance(role, Scratch):
                sums = [self.shapes[t] for t, _ in self.roles[Total]]
                shape = [max([gather_size(s[0], s[1], a.dtype) for s in sums if len(s) == 2])]
            elif isinstance(role, Tall):
                shape = [packed_size(max(1, block * math.prod(shape[:-1])), shape[-1], a.dtype)]
            elif isinstance(role, Total):
                shape = shape or [1]
            else:
                if role.padded:
                    shape[-1] = padded(shape[-1], a.dtype)
                shape = [block if isinstance(role, Buffer) and role.blocks else 1, *shape]
            fresh = isinstance(role, Total) and rows and role.fresh
            zero = isinstance(role, Carried | Total) and not fresh
            yield spare.maker(tuple(shape), a.dtype, zero)


class Held(NamedTuple):
    """What the loops of a program make of arrays that it captured.

    It is kept as long as these are there: an array in a graph never changes.
    """

    of: list[weakref.ref[Array]]
    made: dict[Plan, tuple[list[Any], list[tuple[int, int]]]]


class Captured(NamedTuple):
    """The arrays of what a program captured, and what its loops make of them."""

    tensors: Sequence[Tensor]
    arrays: Sequence[Array]
    held: Held

    def arguments(self, plan: Plan) -> list[Any]:
        """What a loop is given at all times."""
        made = self.held.made
        known, same = made.get(plan) or made.setdefault(plan, plan.held(self.tensors, self.arrays))
        arguments = known.copy()
        for i, j in same:
            arguments[i] = self.arrays[j]
        return arguments
