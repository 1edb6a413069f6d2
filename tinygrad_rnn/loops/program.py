"""A compiled step: its loop of the forward pass and those of the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from operator import call, is_
from weakref import ref

from ..caches import Cache
from ..ops.shape import embedding, take
from ..tensor import Tensor, array_of, is_tracked
from .backward import Backward
from .draft import Draft
from .nodes import Coupled, Unsupported
from .plan import Captured, Held, Plan
from .trace import Step


def program_of(step: Step) -> Program:
    """The program of a step; batched where the rows of its batch are independent."""
    sizes = {x.shape[0] if x.ndim >= 2 else None for x in [*step.xs, *step.carry]}
    batch = sizes.pop() if len(sizes) == 1 else None
    if any(y.shape[:1] != (batch,) for y in step.results):
        batch = None
    with suppress(Coupled):  # a row needs another one: the loop sees all of them at once
        return Program(step, batch)
    return Program(step, None)


class Program:
    """A step and its loops. `batch` is None where the loop sees the arrays as they are."""

    def __init__(self, step: Step, batch: int | None):
        self.step, self.batch = step, batch
        self.residuals: list[Tensor] = []
        self.backs: dict[tuple[bool, ...], Plan] = {}
        self.read: set[int] = set()  # what of all that is made the backward pass reads
        every = tuple([True] * len(step.results))
        draft = None
        if any(x.tracked for x in step.leaves):
            draft = Backward(step, batch, every)
            self.residuals = draft.residuals()
        self.made = [*step.results, *self.residuals]
        self.forward = Draft(step, batch).written(self.residuals)
        if draft is not None:
            back = self.backs[every] = draft.written(self.residuals)
            self.read = {k for _, kind, k in back.timed if kind in Draft.writes}
        self.held = Cache(8)  # by the arrays of what it captured
        self.seen: list[Tensor] = []  # the numbers that the step itself made, last time
        place = {x: k for k, x in enumerate(step.xs)}
        self.lookups = []  # which inputs are numbers of rows, of how many, and the least of them
        for y in step.ops:
            if y.op is embedding or (y.op is take and len(y.inputs) > 1):
                rows = y.inputs[0].shape[0]
                self.lookups.append((place[y.inputs[1]], rows, -rows * (y.op is take)))
            for k, *rows in y.attrs["scan"].program.lookups if hasattr(y.op, "steps") else ():
                if y.inputs[k] not in place:
                    raise Unsupported("rows by number of what the step computes")
                self.lookups.append((place[y.inputs[k]], *rows))

    @property
    def source(self) -> str:
        """The text of the loop of the forward pass, and of that of the backward pass."""
        plans = [self.forward, *list(self.backs.values())[:1]]
        return "\n\n".join([plan.source for plan in plans])

    def given(self, captured: Sequence[Tensor]) -> Captured | None:
        """What its loops are given of these tensors; None if it is compiled for others."""
        arrays = [*map(array_of, captured)]
        key = (*map(id, arrays), *map(is_tracked, captured))
        held: Held | None = self.held.get(key)
        if held is None or not all(map(is_, map(call, held.of), arrays)):
            if not self.step.reads(captured):
                return None
            for old, other in [*self.held.items()]:
                if any([array() is None for array in other.of]):
                    self.held.pop(old, None)
            held = self.held.keep(key, Held([*map(ref, arrays)], {}))
        return Captured(self.step.captured, arrays, held)

    def backward(self, incoming: tuple[bool, ...]) -> Plan:
        """The loop of the backward pass, where so many results have a cotangent."""
        if incoming not in self.backs:
            draft = Backward(self.step, self.batch, incoming)
            self.backs[incoming] = draft.written(self.residuals)
        return self.backs[incoming]
