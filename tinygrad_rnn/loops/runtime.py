"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..kernels.spare import spare
from ..kernels.threads import Call, get_num_threads, together
from ..tensor import Tensor
from .entry import Ends
from .plan import BUFFERS, FRESH, Array, Plan
from .program import Program
from .roles import Carried, Total

SHORT = 1e5  # nanoseconds of work from which a second thread pays
LITTLE = 1 << 18  # bytes of buffers that are kept for the next call
LONG = 1e8  # nanoseconds of work between two looks at Ctrl-C


class Told(NamedTuple):
    """For those who run its steps one by one: what the carry is called, where, when it began."""

    names: Sequence[str] = ()
    scope: str = ""
    began: int = 0


NOTHING_TOLD = Told()


class Run:
    """One call of a scan: what it was given, and what it keeps for the backward pass.

    Of the results that `ends` names, only the last step that is done is returned.
    """

    def __init__(
        self, program: Program, xs: Sequence[Array], carry: Sequence[Array],
        captured: Sequence[Array], length: int, way: int, every: int | None, ends: Ends,
    ):  # fmt: skip
        self.program, self.length, self.way, self.every = program, length, way, every
        self.xs = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in xs]
        self.carry, self.captured, self.ends = carry, captured, ends
        self.told = NOTHING_TOLD
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
        T, program, every = self.length, self.program, self.every
        work = Work(program.forward, self, self.way)
        kept, whole = program.kept(keep and every is None, self.ends)
        span = self.span(T if len(whole) == len(program.made) else 4 * work.course.block)
        made, last = self.rooms(span, whole), self.carry
        for low, high in stretches(0, T, span, self.way):
            if keep and every is not None:
                self.begins[low] = [c.copy() for c in last[: len(self.carry)]]
            last = self.stretch(work, low, high, made, last)
        work.course.idle.append(work.buffers)
        self.kept = made
        if len(kept) < len(made):
            self.kept = [array if k in kept else None for k, array in enumerate(made)]
        ahead, out, ends, count = self.way > 0, [], self.ends, len(self.carry)
        for k, end in enumerate(last):
            first = ahead and k < count  # a path has one more
            out.append(end.copy() if k in ends else made[k][first : first + T])
        return out

    def span(self, most: int) -> int:
        """How many steps are done at a stretch: as checkpoints say, or `most`, or all."""
        span = self.every or most
        return span if span + 1 < self.length else self.length

    def rooms(self, span: int, whole: frozenset[int] = frozenset()) -> list[Array]:
        """Room for what the forward pass makes: in all steps what is `whole`, or in a stretch."""
        known = self.program.rooms
        rooms = known.get((self.length, span, whole))
        if rooms is None:
            rooms = []
            for k, y in enumerate(self.program.made):
                steps = (self.length if k in whole else span) + (k < len(self.carry))
                rooms.append(spare.maker((steps, *y._array.shape), y._array.dtype))
            known.keep((self.length, span, whole), rooms)
        try:
            return [make() for make in rooms]
        except (ValueError, OverflowError) as error:  # NumPy's, of sizes beyond any address
            raise MemoryError(f"scan: {self.length:,} steps are too many for any memory") from error

    def stretch(
        self, work: Work, low: int, high: int, made: Sequence[Array], carry: Sequence[Array]
    ) -> list[Array]:
        """Do the steps low .. high from that carry on, and return the results of the last."""
        parts, count = made[: len(self.program.step.results)], len(self.carry)
        if high - low < self.length:
            parts = [part(y, low, high, low, self.length, k < count) for k, y in enumerate(parts)]
        first, last = (0, -1)[:: self.way]
        for path, c in zip(parts, carry):  # noqa: B905 (outputs are not carried on)
            path[first] = c
        work.run(low, high, self.xs, made)
        return [array[last, ...] for array in parts]  # views, of numbers too

    # -- backward --------------------------------------------------------------------------------

    def backward(self, gs: Sequence[Array | None], wanted: Sequence[bool]) -> list[Array | None]:
        """The cotangents of xs, carry and captured, given those of the results.

        Of xs and carry only those that are `wanted`; others are gone as soon as they are made.
        """
        T, step, made = self.length, self.program.step, self.kept
        plan = self.program.backward(tuple([g is not None for g in gs]))
        work, again, led = Work(plan, self, -self.way), None, plan.led
        late = [k for k in self.ends if gs[k] is not None]
        every = not late and False not in [wanted[k] for k in led]
        span = self.span(T if every else 4 * work.course.block)
        if self.every is not None:
            made, again = self.rooms(span), Work(self.program.forward, self, self.way)
        dxs = [
            spare((T if wanted[k] else span, *x._array.shape), x._array.dtype) if k in led else None
            for k, x in enumerate(step.xs)
        ]
        incoming: list[Any] = [
            g if g is None or g.flags.c_contiguous else np.ascontiguousarray(g) for g in gs
        ]
        for k in late:  # nothing arrives before the stretch that is done first
            last, incoming[k] = incoming[k], np.zeros((span, *incoming[k].shape), incoming[k].dtype)
            incoming[k][(T - 1) % span if self.way > 0 else 0] = last
        for low, high in stretches(0, T, span, self.way)[::-1]:
            if again is not None:
                self.stretch(again, low, high, made, self.begins[low])
            work.run(low, high, self.xs, made, dxs, incoming)
            for k in late:
                incoming[k].fill(0)
        work.course.idle.append(work.buffers)
        asked = [dx if wanted[k] else None for k, dx in enumerate(dxs)]
        carried = work.carried(step.carry, wanted[len(dxs) :])
        return [*asked, *carried, *work.totals(step.captured)]


def part(array: Array, low: int, high: int, begin: int, length: int, more: int) -> Array:
    """The steps low .. high, and so many `more`, of an array of all steps or those from `begin`."""
    first = low if len(array) >= length else low - begin
    last = first + high - low + more
    return array if last - first == len(array) else array[first:last]


def course_of(plan: Plan, program: Program, length: int, threads: int) -> Course:
    """The course of so many steps, which does not depend on the arrays."""
    course: Course | None = plan.courses.get((length, threads))
    return course or plan.courses.keep((length, threads), Course(plan, program, length, threads))


def stretches(low: int, high: int, span: int, way: int) -> list[tuple[int, int]]:
    """low .. high in pieces of at most `span`, in the order that `way` goes through them."""
    if high - low <= span:
        return [(low, high)] if high > low else []
    pieces = [(a, min(a + span, high)) for a in range(low, high, span)]
    return pieces if way > 0 else [(low + high - b, low + high - a) for a, b in pieces]


class Course:
    """How a loop runs over so many steps: which rows each thread has, how many steps at once."""

    def __init__(self, plan: Plan, program: Program, length: int, threads: int):
        batch = program.batch
        cost = plan.cost * (batch or 1)  # nanoseconds a step
        self.parts = self.cut(batch, cost * length, threads)
        rows = [b - a for a, b in self.parts]
        self.block = max(1, min(length, plan.lines // max([1, *rows])))
        self.most = max(self.block, int(LONG / max(1.0, cost)))  # steps of one call
        self.order = plan.order(len(program.step.xs), len(program.made))
        self.fresh = [[*plan.layout(FRESH, n, self.block)] for n in rows]
        self.buffers = [[*plan.layout(BUFFERS, n, self.block)] for n in rows]
        self.idle: deque[list[list[Array]]] = deque(maxlen=1)  # what the next call takes, if little

    def cut(self, batch: int | None, cost: float, threads: int) -> list[tuple[int, int]]:
        """The rows of each thread: one thread where there is little to do."""
        if batch is None or batch < 8 or cost < SHORT:
            return [(0, batch or 0)]
        count = max(1, min(threads, batch // 4))
        ends = [batch * k // count for k in range(count + 1)]
        return list(pairwise(ends))

    def lent(self) -> list[list[Array]]:
        """The buffers of each thread: whoever has them is alone with them."""
        try:
            return self.idle.pop()
        except IndexError:
            made = [[make() for make in buffers] for buffers in self.buffers]
            if sum([buffer.nbytes for buffers in made for buffer in buffers]) > LITTLE:
                self.idle = deque(maxlen=0)
            return made


class Work:
    """A loop with the arrays it needs, its batch cut into one part for each thread."""

    def __init__(self, plan: Plan, run: Run, way: int):
        self.plan, self.way, self.length = plan, way, run.length
        self.function = plan.function or plan.compiled(len(run.program.step.ops))
        self.course = course = course_of(plan, run.program, run.length, get_num_threads())
        self.held = plan.held(run.program.step.captured, run.captured)
        self.fresh = [[make() for make in fresh] for fresh in course.fresh]
        self.buffers = course.lent()
        self.paths = range(len(run.xs), len(run.xs) + len(run.carry))
        self.begun = 0  # steps that are done
        self.given: list[Any] = []

    def run(self, low: int, high: int, *kinds: Sequence[Array | None]) -> None:
        """The steps low .. high, on arrays along time: of each kind those that there are."""
        for a, b in stretches(low, high, self.course.most, self.way):
            timed = [*chain(*kinds)]
            if b - a < self.length:
                timed = [
                    y if y is None else part(y, a, b, low, self.length, k in self.paths)
                    for k, y in enumerate(timed)
                ]
            self.given = [
                self.course.order([*self.held, *fresh, *buffers, *timed])
                for fresh, buffers in zip(self.fresh, self.buffers)  # noqa: B905 (of each part)
            ]
            together(self.calls(b - a))
            self.begun += b - a

    def calls(self, count: int) -> list[Call]:
        """What each thread does of so many steps."""
        block, more = self.course.block, (self.begun, *self.plan.values)
        parts = zip(self.course.parts, self.given)  # noqa: B905 (one for each)
        return [Call(self.function, count, self.way, block, *rows, *more, x) for rows, x in parts]

    # -- what is left when the loop is done ------------------------------------------------------

    def carried(self, carry: Sequence[Tensor], wanted: Sequence[bool]) -> list[Array | None]:
        """The cotangents of the first carry, as far as they are wanted."""
        found: list[Array | None] = [None] * len(carry)
        for at, (_, role) in enumerate(self.plan.roles[Carried]):
            if not wanted[role.k]:
                continue
            parts = [fresh[at][0] for fresh in self.fresh]
            if role.padded:
                parts = [part[..., : carry[role.k]._array.shape[-1]] for part in parts]
            found[role.k] = parts[0].copy() if len(parts) == 1 else np.concatenate(parts)
        return found

    def totals(self, captured: Sequence[Tensor]) -> list[Array | None]:
        """The sums of all threads, in the order of their rows."""
        found: list[Array | None] = [None] * len(captured)
        for at, (_, role) in enumerate(self.plan.roles[Total], len(self.plan.roles[Carried])):
            first = self.fresh[0][at]
            for fresh in self.fresh[1:]:
                first += fresh[at]
            like = captured[role.k]._array
            same = (first.dtype, first.shape) == (like.dtype, like.shape)
            found[role.k] = first if same else first.reshape(like.shape).astype(like.dtype)
        return found
