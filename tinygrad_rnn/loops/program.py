"""A compiled step: its loop ahead and its loop back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import embedding
from .backward import back_plan, find_notes
from .forward import ahead_plan, carry_names
from .lower import Coupled, Unsupported
from .plan import Plan
from .trace import Step


def program_of(step: Step) -> Program:
    """The program of a step; batched where the rows of its batch are independent."""
    try:
        return _program_of(step)
    except RecursionError:  # formulas are written from the inside out
        raise too_long(step) from None


def too_long(step: Step) -> Unsupported:
    return Unsupported(f"a step of {len(step.ahead)} ops, hundreds of them in one chain,")


def _program_of(step: Step) -> Program:
    batch = common_batch([*step.xs, *step.carry])
    if any(y.shape[:1] != (batch,) for y in step.results):
        batch = None
    if batch is not None:
        try:
            return Program(step, batch)
        except Coupled:
            pass
    try:
        return Program(step, None)
    except Coupled as error:
        raise Unsupported("a step whose rows depend on each other") from error


def common_batch(leaves: Sequence[Any]) -> int | None:
    sizes = {x.shape[0] if x.ndim >= 2 else None for x in leaves}
    return next(iter(sizes)) if len(sizes) == 1 else None


class Program:
    """A step and its two loops. `batch` is None where the loop sees the arrays as they are."""

    def __init__(self, step: Step, batch: int | None):
        self.step, self.batch = step, batch
        self.names = carry_names(step)
        self.tracked = any(x.tracked for x in [*step.xs, *step.captured]) or any(
            x.tracked for x in step.carry
        )
        self.notes = find_notes(step, batch) if self.tracked else []
        self.ahead = ahead_plan(step, batch, self.names, self.notes)
        self.outs = step.results[len(step.carry) :]
        self.seen: list[np.ndarray] = []  # the numbers that the step itself made, last time
        place = {x: k for k, x in enumerate(step.xs)}
        self.lookups = [
            (place[y.inputs[1]], y.inputs[0].shape[0]) for y in step.ahead if y.op is embedding
        ]
        self.backs: dict[tuple[bool, ...], Plan] = {}
        if self.tracked:
            self.back(tuple([True] * len(step.results)))

    @property
    def source(self) -> str:
        """The text of the loop ahead, and of the loop back."""
        return "\n\n".join([self.ahead.source, *(plan.source for plan in self.backs.values())][:2])

    def back(self, incoming: tuple[bool, ...]) -> Plan:
        plan = self.backs.get(incoming)
        if plan is None:
            try:
                plan = back_plan(self.step, self.batch, self.names, self.notes, incoming)
            except RecursionError:
                raise too_long(self.step) from None
            self.backs[incoming] = plan
        return plan
