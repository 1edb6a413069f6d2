"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..kernels import keep_denormals
from ..kernels.spare import spare
from ..kernels.threads import get_num_threads, spread
from ..tensor import Tensor
from .plan import Array, Plan, Values
from .program import Program
from .roles import Carried, Timed, Total

SHORT = 3e5  # nanoseconds of work from which a second thread pays
LONG = 2e8  # nanoseconds of work between two looks at Ctrl-C

Arrays = dict[str, Sequence[Any]]  # along time, by their kind
KEPT = ("path", "out", "residual")


class Run:
    """One call of a scan: what it was given, and what it keeps for the backward pass."""

    def __init__(
        self, program: Program, xs: Sequence[Array], carry: Sequence[Array],
        captured: Sequence[Array], length: int, way: int, every: int | None,
    ):  # fmt: skip
        self.program, self.length, self.way, self.every = program, length, way, every
        self.xs = [x if x.flags.c_contiguous else np.ascontiguousarray(x) for x in xs]
        self.carry, self.captured = carry, captured
        self.names: Sequence[str] = ()  # what the carry is called, in which scope the loop is, and
        self.scope, self.began = "", 0  # when it began: for those who run its steps one by one
        self.kept: Arrays = dict.fromkeys(KEPT, ())
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
        T, work = self.length, Work(self.program.forward, self, self.way)
        full = keep and self.every is None
        span = T if full else min(T, self.every or max(1, 4 * work.block))
        arrays = self.arrays(self.carry, T, span)
        for low, high in stretches(0, T, span, self.way):
            work.run(low, high, arrays, ("residual",))
        paths, outs = arrays["path"], arrays["out"]
        if full:
            self.kept = {kind: arrays[kind] for kind in KEPT}
        elif keep:
            for low, high in stretches(0, T, self.every or T, self.way):
                at = low if self.way > 0 else high
                self.begins[low] = [p[at].copy() for p in paths]
        return [*[p[1:] if self.way > 0 else p[:-1] for p in paths], *outs]

    def arrays(self, carry: Sequence[Array], steps: int, span: int) -> Arrays:
        """Room for so many steps, the first carry in it, and for the residuals of a span."""
        program, paths = self.program, []
        for c in carry:
            path = spare((steps + 1, *c.shape), c.dtype)
            path[0 if self.way > 0 else steps] = c
            paths.append(path)
        outs = [spare((steps, *y._array.shape), y._array.dtype) for y in program.outs]
        residuals = [spare((span, *y._array.shape), y._array.dtype) for y in program.residuals]
        return {"x": self.xs, "path": paths, "out": outs, "residual": residuals}

    # -- backward --------------------------------------------------------------------------------

    def backward(self, gs: Sequence[Array | None]) -> list[Array | None]:
        """The cotangents of xs, carry and captured, given those of the results."""
        step, T = self.program.step, self.length
        plan = self.program.backward(tuple([g is not None for g in gs]))
        led = {role.k for _, role in plan.roles[Timed] if role.kind == "dx"}
        xs = [x._array for x in step.xs]
        dxs = [spare((T, *x.shape), x.dtype) if k in led else None for k, x in enumerate(xs)]
        work = Work(plan, self, -self.way)
        incoming = [None if g is None else np.ascontiguousarray(g) for g in gs]
        arrays = {"x": self.xs, **self.kept, "dx": dxs, "incoming": incoming}
        again = None if self.every is None else Work(self.program.forward, self, self.way)
        for low, high in reversed(stretches(0, T, self.every or T, self.way)):
            if again is not None:
                arrays |= self.arrays(self.begins[low], high - low, high - low)
                again.run(low, high, arrays, KEPT)
            work.run(low, high, arrays, KEPT)
        return [*dxs, *work.carried(step.carry), *work.totals(step.captured)]


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

    def run(self, low: int, high: int, arrays: Arrays, local: Sequence[str]) -> None:
        """The steps low .. high; the arrays of kinds in `local` hold only those."""
        room = max(self.block, int(LONG / max(1.0, self.cost)))
        for a, b in stretches(low, high, room, self.way):
            for k, kind, j in self.plan.timed:
                first = a - low if kind in local else a
                last = first + b - a + (kind == "path")
                array = arrays[kind][j]
                array = array if last - first == len(array) else array[first:last]
                for given in self.given:
                    given[k] = array
            if len(self.parts) == 1:
                self.call(0, 1, b - a)
            else:
                spread(partial(self.call, count=b - a), len(self.parts))
            self.begun += b - a

    def call(self, first: int, last: int, count: int) -> None:
        """So many steps of the parts first .. last."""
        try:
            for (start, stop), given in zip(self.parts[first:last], self.given[first:last]):  # noqa: B905
                self.function(count, self.way, self.block, start, stop, self.begun,
                              *self.plan.values, self.numbers, *given)  # fmt: skip
        except BaseException:  # somebody's op raised, and the text was left before its end
            keep_denormals()
            raise

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
