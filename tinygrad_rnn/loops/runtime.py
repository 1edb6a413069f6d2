"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..kernels.spare import spare
from ..kernels.threads import get_num_threads, spread
from ..tensor import Tensor
from .plan import Array, Plan, Values
from .program import Program
from .roles import Carried, Total

SHORT = 3e5  # nanoseconds of work from which a second thread pays
LONG = 2e8  # nanoseconds of work between two looks at Ctrl-C

Arrays = dict[str, Sequence[Any]]  # along time, by their kind; see `Run.part`


class Told(NamedTuple):
    """For those who run its steps one by one: what the carry is called, where, when it began."""

    names: Sequence[str] = ()
    scope: str = ""
    began: int = 0


class Run:
    """One call of a scan: what it was given, and what it keeps for the backward pass.

    Of the results that `ends` names, only the last step that is done is returned.
    """

    def __init__(
        self, program: Program, xs: Sequence[Array], carry: Sequence[Array],
        captured: Sequence[Array], length: int, way: int, every: int | None, ends: Collection[int],
    ):  # fmt: skip
        self.program, self.length, self.way, self.every = program, length, way, every
        self.xs = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in xs]
        self.carry, self.captured, self.ends = carry, captured, ends
        self.told = Told()
        self.kept: Sequence[Any] = ()  # what the forward pass made; None for what nobody reads
        self.begins: dict[int, list[Array]] = {}  # the carry where a span begins, if only that is

    def __repr__(self) -> str:
        return f"{self.length} steps" + (" from last to first" if self.way < 0 else "")

    @property
    def source(self) -> str:
        """The text of the loop of the forward pass, and of that of the backward pass."""
        return self.program.source

    # -- forward ---------------------------------------------------------------------------------

    def forward(self, keep: bool) -> list[Array]:
        """Run all steps. `keep` what the backward pass reads, unless it is to be recomputed."""
        T, program, ahead = self.length, self.program, self.way > 0
        work, count = Work(program.forward, self, self.way), len(program.step.results)
        kept = program.read if keep and self.every is None else set[int]()
        whole = kept.union([k for k in range(count) if k not in self.ends])
        span = self.span(T if len(whole) == len(program.made) else 4 * work.block)
        made, last = self.rooms(span, whole), self.carry
        for low, high in stretches(0, T, span, self.way):
            if keep and self.every is not None:
                self.begins[low] = [c.copy() for c in last[: len(self.carry)]]
            last = self.stretch(work, low, high, made, last)
        self.kept = [array if k in kept else None for k, array in enumerate(made)]
        first = [int(ahead and k < len(self.carry)) for k in range(count)]  # a path has one more
        return [
            last[k].copy() if k in self.ends else made[k][first[k] : first[k] + T]
            for k in range(count)
        ]

    def span(self, most: int) -> int:
        """How many steps are done at a stretch: as checkpoints say, or `most`, or all."""
        span = self.every or most
        return span if span + 1 < self.length else self.length

    def rooms(self, span: int, whole: Collection[int] = ()) -> list[Array]:
        """Room for what the forward pass makes: in all steps what is `whole`, or in a stretch."""
        rooms = []
        for k, y in enumerate(self.program.made):
            steps = (self.length if k in whole else span) + (k < len(self.carry))
            rooms.append(spare((steps, *y._array.shape), y._array.dtype))
        return rooms

    def stretch(
        self, work: Work, low: int, high: int, made: Sequence[Array], carry: Sequence[Array]
    ) -> list[Array]:
        """Do the steps low .. high from that carry on, and return the results of the last."""
        parts = [
            part(array, low, high, low, self.length, k < len(self.carry))
            for k, array in enumerate(made[: len(self.program.step.results)])
        ]
        first, last = (0, -1)[:: self.way]
        for path, c in zip(parts, carry, strict=False):  # outputs are not carried on
            path[first] = c
        work.run(low, high, {"x": self.xs, "path": made, "made": made})
        return [array[last, ...] for array in parts]  # views, of numbers too

    # -- backward --------------------------------------------------------------------------------

    def backward(self, gs: Sequence[Array | None], wanted: Sequence[bool]) -> list[Array | None]:
        """The cotangents of xs, carry and captured, given those of the results.

        Those of xs that are not `wanted` are gone as soon as they are made.
        """
        T, step, made = self.length, self.program.step, self.kept
        plan = self.program.backward(tuple([g is not None for g in gs]))
        work, again = Work(plan, self, -self.way), None
        led = {j for _, kind, j in plan.timed if kind == "dx"}
        late = [k for k in self.ends if gs[k] is not None]
        span = self.span(4 * work.block if late or not all([wanted[k] for k in led]) else T)
        if self.every is not None:
            made, again = self.rooms(span), Work(self.program.forward, self, self.way)
        dxs = [
            spare((T if wanted[k] else span, *x._array.shape), x._array.dtype) if k in led else None
            for k, x in enumerate(step.xs)
        ]
        incoming: list[Any] = [None if g is None else np.ascontiguousarray(g) for g in gs]
        for k in late:  # nothing arrives before the stretch that is done first
            incoming[k] = np.zeros((span, *incoming[k].shape), incoming[k].dtype)
            incoming[k][(T - 1) % span if self.way > 0 else 0] = gs[k]
        arrays = {"x": self.xs, "path": made, "made": made, "dx": dxs, "incoming": incoming}
        for low, high in stretches(0, T, span, self.way)[::-1]:
            if again is not None:
                self.stretch(again, low, high, made, self.begins[low])
            work.run(low, high, arrays)
            for k in late:
                incoming[k].fill(0)
        asked = [dx if wanted[k] else None for k, dx in enumerate(dxs)]
        return [*asked, *work.carried(step.carry), *work.totals(step.captured)]


def part(array: Array, low: int, high: int, begin: int, length: int, more: int) -> Array:
    """The steps low .. high, and so many `more`, of an array of all steps or those from `begin`."""
    first = low if len(array) >= length else low - begin
    last = first + high - low + more
    return array if last - first == len(array) else array[first:last]


def stretches(low: int, high: int, span: int, way: int) -> list[tuple[int, int]]:
    """low .. high in pieces of at most `span`, in the order that `way` goes through them."""
    if high - low <= span:
        return [(low, high)] if high > low else []
    pieces = [(a, min(a + span, high)) for a in range(low, high, span)]
    return pieces if way > 0 else [(low + high - b, low + high - a) for a, b in pieces]


class Work:
    """A loop with the arrays it needs, its batch cut into one part for each thread."""

    def __init__(self, plan: Plan, run: Run, way: int):
        self.plan, self.way = plan, way
        self.function = plan.function or plan.compiled()
        values, batch = Values(run.program.step.captured, run.captured), run.program.batch
        self.cost = plan.cost * (batch or 1)  # nanoseconds a step
        self.parts = self.cut(batch, run.length)
        self.length = run.length
        self.begun = 0  # steps that are done
        share = max([1, *[b - a for a, b in self.parts]])  # of the rows
        self.block = max(1, min(run.length, plan.lines // share))
        self.numbers, held = values.numbers(plan.numbers), plan.held(values)
        self.given = [plan.fill(held.copy(), b - a, self.block) for a, b in self.parts]

    def cut(self, batch: int | None, length: int) -> list[tuple[int, int]]:
        """The rows of each thread: one thread where there is little to do."""
        if batch is None or batch < 8 or self.cost * length < SHORT:
            return [(0, batch or 0)]
        count = max(1, min(get_num_threads(), batch // 4))
        ends = [batch * k // count for k in range(count + 1)]
        return list(pairwise(ends))

    def run(self, low: int, high: int, arrays: Arrays) -> None:
        """The steps low .. high."""
        room = max(self.block, int(LONG / max(1.0, self.cost)))
        for a, b in stretches(low, high, room, self.way):
            for k, kind, j in self.plan.timed:
                array = part(arrays[kind][j], a, b, low, self.length, kind == "path")
                for given in self.given:
                    given[k] = array
            if len(self.parts) == 1:
                self.call(0, 1, b - a)
            else:
                spread(partial(self.call, count=b - a), len(self.parts))
            self.begun += b - a

    def call(self, first: int, last: int, count: int) -> None:
        """So many steps of the parts first .. last."""
        for (start, stop), given in zip(self.parts[first:last], self.given[first:last]):  # noqa: B905
            self.function(count, self.way, self.block, start, stop, self.begun,
                          *self.plan.values, (self.numbers, *given))  # fmt: skip

    # -- what is left when the loop is done ------------------------------------------------------

    def carried(self, carry: Sequence[Tensor]) -> list[Array | None]:
        """The cotangents of the first carry."""
        found: list[Array | None] = [None] * len(carry)
        for at, role in self.plan.roles[Carried]:
            parts = [given[at][0] for given in self.given]
            if role.padded:
                parts = [part[..., : carry[role.k]._array.shape[-1]] for part in parts]
            found[role.k] = parts[0].copy() if len(parts) == 1 else np.concatenate(parts)
        return found

    def totals(self, captured: Sequence[Tensor]) -> list[Array | None]:
        """The sums of all threads, in the order of their rows."""
        found: list[Array | None] = [None] * len(captured)
        for at, role in self.plan.roles[Total]:
            first, *others = [given[at] for given in self.given]
            for other in others:
                first += other
            found[role.k] = first.reshape(captured[role.k]._array.shape)
        return found
