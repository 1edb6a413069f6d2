"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..kernels.spare import spare
from ..kernels.threads import get_num_threads, spread
from .plan import Plan
from .program import Program

SHORT = 3e5  # nanoseconds of work from which a second thread pays
LONG = 2e8  # nanoseconds of work between two looks at Ctrl-C


class Run:
    """One call of a scan: what it was given, and what it keeps for the way back."""

    def __init__(
        self,
        program: Program,
        xs: Sequence[np.ndarray],
        carry: Sequence[np.ndarray],
        captured: Sequence[np.ndarray],
        length: int,
        way: int,
        every: int | None,
    ):
        self.program, self.length, self.way, self.every = program, length, way, every
        self.xs = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in xs]
        self.carry, self.captured = carry, captured
        self.names: Sequence[str] = ()  # what the carry is called, in which scope the loop is, and
        self.scope, self.began = "", 0  # when it began: for those who run its steps one by one
        self.paths: list[np.ndarray] = []
        self.outs: list[np.ndarray] = []
        self.notes: list[np.ndarray] = []

    def __repr__(self) -> str:
        return f"{self.length} steps" + (" from last to first" if self.way < 0 else "")

    @property
    def source(self) -> str:
        """The text of the loop ahead, and of the loop back."""
        return self.program.source

    # -- ahead -----------------------------------------------------------------------------------

    def ahead(self, keep: bool) -> list[np.ndarray]:
        """Run all steps. `keep` what the way back reads, unless it is to be worked out again."""
        program, T = self.program, self.length
        self.paths = self.begun(self.carry, T)
        self.outs = [spare((T, *y.shape), y.dtype) for y in program.outs]
        work = Work(program.ahead, self, self.way)
        full = keep and self.every is None
        span = T if full else min(T, self.every or max(1, 4 * work.block))
        self.notes = [spare((span, *y.shape), y.dtype) for y in program.notes]
        arrays = {"x": self.xs, "path": self.paths, "out": self.outs, "note": self.notes}
        if span == T:
            work.run(0, T, arrays)
        else:
            for low, high in self.spans(span):
                work.run(
                    low, high, arrays | {"note": [n[: high - low] for n in self.notes]}, "note"
                )
        results = [p[1:] if self.way > 0 else p[:-1] for p in self.paths] + self.outs
        if not full:
            self.forget(keep)
        return results

    def begun(self, carry: Sequence[np.ndarray], steps: int) -> list[np.ndarray]:
        """Room for the carry at every step, and the first one in it."""
        paths = []
        for c in carry:
            path = spare((steps + 1, *c.shape), c.dtype)
            path[0 if self.way > 0 else steps] = c
            paths.append(path)
        return paths

    def forget(self, keep: bool) -> None:
        """Keep of the carry only what each span begins from."""
        self.begins = {}
        if keep:
            for low, high in self.spans(self.every or self.length):
                at = low if self.way > 0 else high
                self.begins[low] = [p[at].copy() for p in self.paths]
        self.paths, self.outs, self.notes = [], [], []

    def spans(self, span: int) -> list[tuple[int, int]]:
        """Stretches of time, in the order of the steps."""
        return stretches(0, self.length, span, self.way)

    # -- back ------------------------------------------------------------------------------------

    def back(self, gs: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """The cotangents of xs, carry and captured, given those of the results."""
        step, T = self.program.step, self.length
        plan = self.program.back(tuple([g is not None for g in gs]))
        dxs = [
            spare((T, *x.shape), x.dtype) if k in plan.dxs else None for k, x in enumerate(step.xs)
        ]
        work = Work(plan, self, -self.way)
        arrays: dict[str, Any] = {
            "x": self.xs, "path": self.paths, "out": self.outs, "note": self.notes, "dx": dxs,
            "incoming": [None if g is None else np.ascontiguousarray(g) for g in gs],
        }  # fmt: skip
        if self.every is None:
            work.run(0, T, arrays)
        else:
            again = Work(self.program.ahead, self, self.way)
            for low, high in reversed(self.spans(self.every)):
                arrays |= self.again(again, low, high)
                work.run(low, high, arrays, "path", "out", "note")
        found = [*dxs, *work.carried(len(step.carry)), *work.totals(len(step.captured))]
        return found

    def again(self, work: Work, low: int, high: int) -> dict[str, Any]:
        """The steps low .. high once more, from the carry that was kept."""
        span, program = high - low, self.program
        arrays = {
            "x": self.xs,
            "path": self.begun(self.begins[low], span),
            "out": [spare((span, *y.shape), y.dtype) for y in program.outs],
            "note": [spare((span, *y.shape), y.dtype) for y in program.notes],
        }
        work.run(low, high, arrays, "path", "out", "note")
        return arrays


def stretches(low: int, high: int, span: int, way: int) -> list[tuple[int, int]]:
    """low .. high in pieces of at most `span`, in the order that `way` goes through them."""
    starts = range(low, high, span)
    pieces = [(a, min(a + span, high)) for a in starts]
    return pieces if way > 0 else [(low + high - b, low + high - a) for a, b in pieces]


class Work:
    """A loop with the arrays it needs, its batch cut into one part for each thread."""

    def __init__(self, plan: Plan, run: Run, way: int):
        self.plan, self.way = plan, way
        self.function = plan.function or plan.compiled()
        value = plan.evaluator(run.captured)
        self.captured, batch = run.captured, run.program.batch
        self.cost = plan.cost * (batch or 1)  # nanoseconds a step
        self.parts = self.cut(batch, run.length)
        share = max([b - a for a, b in self.parts]) if batch else 1
        self.begun = 0  # steps that are done
        self.block = max(1, min(run.length, plan.lines // max(1, share)))
        self.numbers = plan.numbers_from(value)
        self.held = plan.held(run.captured, value)
        self.rooms = [plan.room(b - a if batch is not None else None, self.block, run.captured)
                      for a, b in self.parts]  # fmt: skip

    def cut(self, batch: int | None, length: int) -> list[tuple[int, int]]:
        """The rows of each thread: one thread where there is little to do."""
        if batch is None or batch < 8 or self.cost * length < SHORT:
            return [(0, batch or 0)]
        count = max(1, min(get_num_threads(), batch // 4))
        ends = [batch * k // count for k in range(count + 1)]
        return list(pairwise(ends))

    def run(self, low: int, high: int, arrays: dict[str, Any], *local: str) -> None:
        """The steps low .. high; the arrays of kinds in `local` hold only those."""
        room = max(self.block, int(LONG / max(1.0, self.cost)))
        for a, b in stretches(low, high, room, self.way):
            given = []
            for k, kind, number in self.plan.timed:
                first = a - low if kind in local else a
                last = first + b - a + (kind == "path")
                array = arrays[kind][number]
                given.append((k, array if last - first == len(array) else array[first:last]))
            if len(self.parts) == 1:
                self.call(0, b - a, given)
            else:
                spread(lambda p, q, n=b - a, g=given: self.calls(p, q, n, g), len(self.parts))
            self.begun += b - a

    def calls(self, first: int, last: int, count: int, given: Any) -> None:
        for part in range(first, last):
            self.call(part, count, given)

    def call(self, part: int, count: int, given: Any) -> None:
        arrays = self.held.copy()
        for k, array in given:
            arrays[k] = array
        for k, array in self.rooms[part]:
            arrays[k] = array
        start, stop = self.parts[part]
        self.function(
            count,
            self.way,
            self.block,
            start,
            stop,
            self.begun,
            *self.plan.values,
            self.numbers,
            *arrays,
        )

    # -- what is left when the loop is done ------------------------------------------------------

    def carried(self, count: int) -> list[np.ndarray | None]:
        found: list[np.ndarray | None] = [None] * count
        for at, k in self.plan.carried:
            width = self.plan.carried_widths[at]
            parts = [dict(room)[at][:1][..., :width][0] for room in self.rooms]
            found[k] = parts[0].copy() if len(parts) == 1 else np.concatenate(parts)
        return found

    def totals(self, count: int) -> list[np.ndarray | None]:
        """The sums of all threads, in the order of their rows."""
        found: list[np.ndarray | None] = [None] * count
        for at, k in self.plan.totals:
            first, *others = [dict(room)[at] for room in self.rooms]
            for other in others:
                first += other
            found[k] = first.reshape(self.captured[k].shape)
        return found
