"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import chain, pairwise, repeat
from operator import call, itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..caches import Cache
from ..kernels.spare import spare
from ..kernels.threads import Call, get_num_threads, together
from ..tensor import Outline, Tensor
from .entry import Ends
from .plan import BUFFERS, FRESH, Array, Captured, Plan
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


class Run:
    """One call of a scan: what it was given, and what it keeps for the backward pass.

    Of the results that `ends` names, only the last step that is done is returned.
    """

    def __init__(
        self, program: Program, xs: list[Array], carry: Sequence[Array], captured: Captured,
        length: int, way: int, every: int | None, ends: Ends, told: Told,
    ):  # fmt: skip
        for k, x in enumerate(xs):
            if not x.flags.c_contiguous:
                xs[k] = np.ascontiguousarray(x)
        self.program, self.length, self.way, self.every = program, length, way, every
        self.xs, self.carry, self.captured, self.ends = xs, carry, captured, ends
        self.told = told
        self.kept: Sequence[Any] = ()  # what the forward pass made; None for what nobody reads
        self.outlines: tuple[Outline, ...] = ()  # of the results
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
        T, ends, count, ahead = self.length, self.ends, len(self.carry), self.way > 0
        work = Work(self.program.forward, self, self.way)
        rooms = work.course.rooms.get((keep, self.every, ends, ahead))
        rooms = rooms or work.course.forward(self, keep)
        made, last, parts = rooms.made(), _LAST if ahead else _FIRST, list[Any]()
        for low, high in rooms.stretches:
            begin = [*map(last, parts[:count])] if parts else self.carry
            if keep and self.every is not None:
                self.begins[low] = [c.copy() for c in begin]
            parts = self.stretch(work, low, high, made, begin)
        work.course.idle.append(work.buffers)
        self.kept, self.outlines, out = made, rooms.outlines, []
        if rooms.dropped:
            self.kept = [None if k in rooms.dropped else array for k, array in enumerate(made)]
        for k, path in enumerate(parts):
            first = ahead and k < count  # a path has one more
            out.append(last(path).copy() if k in ends else made[k][first : first + T])
        return out

    def stretch(
        self, work: Work, low: int, high: int, made: Sequence[Array], carry: Sequence[Array]
    ) -> list[Any]:
        """Do the steps low .. high from that carry on, and return the paths of these steps."""
        parts, count = [*made[: len(self.program.step.results)]], len(self.carry)
        if high - low < self.length:
            parts = [part(y, low, high, low, self.length, k < count) for k, y in enumerate(parts)]
        first = 0 if self.way > 0 else -1
        for path, c in zip(parts, carry):  # noqa: B905 (outputs are not carried on)
            path[first] = c
        work.run(low, high, self.xs, made)
        return parts

    # -- backward --------------------------------------------------------------------------------

    def backward(self, gs: Sequence[Array | None], wanted: Sequence[bool]) -> list[Array | None]:
        """The cotangents of xs, carry and captured, given those of the results.

        Of xs and carry only those that are `wanted`; others are gone as soon as they are made.
        """
        incoming: list[Any] = [*gs]
        for k, g in enumerate(gs):
            if g is not None and not g.flags.c_contiguous:
                incoming[k] = np.ascontiguousarray(g)
        plan = self.program.backward(tuple([g is not None for g in gs]))
        work = Work(plan, self, -self.way)
        known = work.course.rooms.get((*wanted, self.every, self.ends, self.way))
        rooms = known or work.course.backward(self, wanted)
        made, again = self.kept, None
        if self.every is not None:
            made, again = rooms.again.made(), Work(self.program.forward, self, self.way)
        dxs = rooms.made()
        for k in rooms.late:  # nothing arrives before the stretch that is done first
            last, shape = incoming[k], (rooms.span, *incoming[k].shape)
            incoming[k] = np.zeros(shape, last.dtype)
            incoming[k][(self.length - 1) % rooms.span if self.way > 0 else 0] = last
        for low, high in rooms.stretches:
            if again is not None:
                self.stretch(again, low, high, made, self.begins[low])
            work.run(low, high, self.xs, made, dxs, incoming)
            for k in rooms.late:
                incoming[k].fill(0)
        work.course.idle.append(work.buffers)
        if rooms.dropped:
            dxs = [None if k in rooms.dropped else dx for k, dx in enumerate(dxs)]
        carried = work.carried(self.program.step.carry, wanted[len(dxs) :])
        return [*dxs, *carried, *work.totals(self.program.step.captured)]


_FIRST, _LAST = itemgetter((0, ...)), itemgetter((-1, ...))  # views, of numbers too


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


class Rooms(NamedTuple):
    """Arrays along time, as one pass over a loop has them, and what it does at a stretch.

    Those that are `dropped` are nobody's when the pass is done. `late` are the results of which
    only the last has a cotangent, `again` the rooms of a forward pass that is done again, or None.
    """

    length: int
    span: int
    stretches: list[tuple[int, int]]
    makers: list[Callable[[], Any]]
    dropped: frozenset[int] = frozenset()
    outlines: tuple[Outline, ...] = ()
    late: Sequence[int] = ()
    again: Any = None

    def made(self) -> list[Any]:
        """Each of them, holding anything."""
        try:
            return [*map(call, self.makers)]
        except (ValueError, OverflowError) as error:  # NumPy's, of sizes beyond any address
            raise MemoryError(f"scan: {self.length:,} steps are too many for any memory") from error


class Course:
    """How a loop runs over so many steps: which rows each thread has, how many steps at once.

    It does not depend on the arrays.
    """

    def __init__(self, plan: Plan, program: Program, length: int, threads: int):
        self.plan, self.program, self.length = plan, program, length
        self.function = plan.compiled(len(program.step.ops))
        cost = plan.cost * (program.batch or 1)  # nanoseconds a step
        parts = self.cut(program.batch, cost * length, threads)
        rows = [b - a for a, b in parts]
        self.block = max(1, min(length, plan.lines // max([1, *rows])))
        self.most = max(self.block, int(LONG / max(1.0, cost)))  # steps of one call
        self.counts = [(self.block, *part, *plan.values) for part in parts]
        self.order = plan.order(len(program.step.xs), len(program.made))
        self.fresh = [[*plan.layout(FRESH, n, self.block)] for n in rows]
        self.buffers = [[*plan.layout(BUFFERS, n, self.block)] for n in rows]
        self.idle: deque[list[list[Array]]] = deque(maxlen=1)  # what the next call takes, if little
        self.rooms = Cache(64)  # by what is asked of a pass

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

    # -- arrays along time -----------------------------------------------------------------------

    def forward(self, run: Run, keep: bool) -> Rooms:
        """The arrays of a forward pass: of all steps what is asked for, or kept to be read."""
        program, results = self.program, self.program.step.results
        kept = program.read if keep and run.every is None else set[int]()
        whole = kept.union([k for k in range(len(results)) if k not in run.ends])
        outlines = [
            Outline(y.shape if k in run.ends else (self.length, *y.shape), y.dtype)
            for k, y in enumerate(results)
        ]
        span = self.span(run, len(whole) == len(program.made))
        dropped = frozenset(range(len(program.made))) - kept
        pieces = stretches(0, self.length, span, run.way)
        rooms = Rooms(self.length, span, pieces, self.makers(span, whole), dropped, tuple(outlines))
        return self.rooms.keep((keep, run.every, run.ends, run.way > 0), rooms)

    def backward(self, run: Run, wanted: Sequence[bool]) -> Rooms:
        """The arrays of a backward pass: cotangents of xs, at all steps if they are wanted."""
        plan, xs = self.plan, self.program.step.xs
        late = [k for _, kind, k in plan.timed if kind == "incoming" and k in run.ends]
        span = self.span(run, not late and all(wanted[k] for k in plan.led))
        shapes = [(self.length if wanted[k] else span, *x.shape) for k, x in enumerate(xs)]
        makers = [
            spare.maker(shapes[k], x.dtype) if k in plan.led else _nothing for k, x in enumerate(xs)
        ]
        dropped = frozenset([k for k in plan.led if not wanted[k]])
        pieces = stretches(0, self.length, span, run.way)[::-1]
        again = run.every and Rooms(self.length, span, pieces, self.makers(span, ()))
        rooms = Rooms(self.length, span, pieces, makers, dropped, (), late, again)
        return self.rooms.keep((*wanted, run.every, run.ends, run.way), rooms)

    def span(self, run: Run, whole: bool) -> int:
        """How many steps are done at a stretch: as checkpoints say, all, or a few blocks."""
        span = run.every or (self.length if whole else 4 * self.block)
        return span if span + 1 < self.length else self.length

    def makers(self, span: int, whole: Collection[int]) -> list[Callable[[], Array]]:
        """What makes all that a forward pass makes: of all steps what is `whole`."""
        makers, count = [], len(self.program.step.carry)
        for k, y in enumerate(self.program.made):
            steps = (self.length if k in whole else span) + (k < count)
            makers.append(spare.maker((steps, *y.shape), y.dtype))
        return makers


_nothing = repeat(None).__next__


class Work:
    """A loop with the arrays it needs, its batch cut into one part for each thread."""

    def __init__(self, plan: Plan, run: Run, way: int):
        key = run.length, get_num_threads()
        course: Course = plan.courses.get(key) or plan.courses.keep(
            key, Course(plan, run.program, *key)
        )
        self.course, self.way, self.length = course, way, run.length
        self.held = run.captured.arguments(plan)
        self.buffers, self.fresh = course.lent(), [[*map(call, made)] for made in course.fresh]
        self.paths = range(len(run.xs), len(run.xs) + len(run.carry))
        self.begun = 0  # steps that are done

    def run(self, low: int, high: int, *kinds: Sequence[Array | None]) -> None:
        """The steps low .. high, on arrays along time: of each kind those that there are."""
        course, timed = self.course, [*chain(*kinds)]
        short = high - low <= course.most
        for a, b in ((low, high),) if short else stretches(low, high, course.most, self.way):
            some = timed if b - a == self.length else [
                y if y is None else part(y, a, b, low, self.length, k in self.paths)
                for k, y in enumerate(timed)
            ]  # fmt: skip
            calls = []
            for counts, fresh, buffers in zip(course.counts, self.fresh, self.buffers):  # noqa: B905
                arrays = course.order([*self.held, *fresh, *buffers, *some])
                calls.append(Call(course.function, b - a, self.way, self.begun, *counts, arrays))
            together(calls)
            self.begun += b - a

    # -- what is left when the loop is done ------------------------------------------------------

    def carried(self, carry: Sequence[Tensor], wanted: Sequence[bool]) -> list[Array | None]:
        """The cotangents of the first carry, as far as they are wanted."""
        found: list[Array | None] = [None] * len(carry)
        for at, (_, role) in enumerate(self.course.plan.roles[Carried]):
            if wanted[role.k]:
                what: Any = 0, ..., *[slice(n) for n in carry[role.k].shape[-1:] if role.padded]
                parts = [fresh[at][what] for fresh in self.fresh]
                found[role.k] = parts[0].copy() if len(parts) == 1 else np.concatenate(parts)
        return found

    def totals(self, captured: Sequence[Tensor]) -> list[Array | None]:
        """The sums of all threads, in the order of their rows."""
        found: list[Array | None] = [None] * len(captured)
        roles = self.course.plan.roles
        for at, (_, role) in enumerate(roles[Total], len(roles[Carried])):
            first = self.fresh[0][at]
            for fresh in self.fresh[1:]:
                first += fresh[at]
            like = captured[role.k]._array
            same = first.dtype is like.dtype and first.shape == like.shape
            found[role.k] = first if same else first.reshape(like.shape).astype(like.dtype)
        return found
