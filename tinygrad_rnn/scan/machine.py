"""Runs the two loops of a program: arrays, blocks of time, rows of the batch over the cores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..kernels.threads import get_num_threads, spread
from .program import Plan, Program

SHORT = 2e5  # nanoseconds of work from which a second thread pays
LONG = 2e8  # nanoseconds of work between two looks at Ctrl-C
AHEAD_ROWS, BACK_ROWS = 128, 256  # rows (of steps times batch) that a block of time has


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
        self.xs = [np.ascontiguousarray(x) for x in xs]
        self.carry, self.captured = list(carry), list(captured)
        self.batch = program.batch

    # -- ahead -----------------------------------------------------------------------------------

    def ahead(self, keep: bool) -> list[np.ndarray]:
        """Run all steps. `keep` what the way back reads, unless it is to be worked out again."""
        program, T = self.program, self.length
        first = 0 if self.way > 0 else T
        self.paths = []
        for c in self.carry:
            path = np.empty((T + 1, *c.shape), c.dtype)
            path[first] = c
            self.paths.append(path)
        steps = program.step.results[len(self.carry) :]
        self.outs = [np.empty((T, *y.shape), y.dtype) for y in steps]
        work = Work(program.ahead, self, ahead=True)
        full = keep and self.every is None
        span = T if full else min(T, self.every or max(1, 4 * work.block))
        self.notes = [np.empty((span, *y.shape), y.dtype) for y in program.notes]
        for low, high in self.spans(span):
            notes = [n[: high - low] for n in self.notes]
            work.run(low, high, self.paths, self.outs, notes)
        results = [p[1:] if self.way > 0 else p[:-1] for p in self.paths] + self.outs
        if not full:
            self.forget(keep)
        return results

    def forget(self, keep: bool) -> None:
        """Keep of the carry only what each span begins from."""
        self.notes = []
        self.begins = {}
        if keep:
            for low, high in self.spans(self.every or self.length):
                at = low if self.way > 0 else high
                self.begins[low] = [p[at].copy() for p in self.paths]
        self.paths, self.outs = [], []

    def spans(self, span: int) -> list[tuple[int, int]]:
        """Stretches of time, in the order of the steps."""
        starts = range(0, self.length, max(1, span))
        out = [(low, min(low + span, self.length)) for low in starts]
        if self.way < 0:
            out = [(self.length - high, self.length - low) for low, high in out]
        return out

    # -- back ------------------------------------------------------------------------------------

    def back(self, gs: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """The cotangents of xs, carry and captured, given those of the results."""
        step, T = self.program.step, self.length
        plan = self.program.back(tuple(g is not None for g in gs))
        self.gs = [None if g is None else np.ascontiguousarray(g) for g in gs]
        roles = {a.role for a in plan.arguments}
        self.dxs = [
            np.empty((T, *x.shape), x.dtype) if ("dx", k) in roles else None
            for k, x in enumerate(step.xs)
        ]
        work = Work(plan, self, ahead=False)
        if self.every is None:
            work.run(0, T, self.paths, self.outs, self.notes)
        else:
            again = Work(self.program.ahead, self, ahead=True)
            for low, high in reversed(self.spans(self.every)):
                work.run(low, high, *self.again(again, low, high), local=True)
        found: list[Any] = list(self.dxs)
        for k, c in enumerate(step.carry):
            found.append(work.carried(k, c) if ("carried", k) in roles else None)
        for k in range(len(step.captured)):
            found.append(work.total(k) if ("acc", k) in roles else None)
        self.gs, self.dxs = [], []
        return found

    def again(self, work: Work, low: int, high: int) -> Any:
        """The steps low .. high once more, from the carry that was kept."""
        span = high - low
        paths = []
        for c in self.begins[low]:
            path = np.empty((span + 1, *c.shape), c.dtype)
            path[0 if self.way > 0 else span] = c
            paths.append(path)
        step = self.program.step
        outs = [np.empty((span, *y.shape), y.dtype) for y in step.results[len(paths) :]]
        notes = [np.empty((span, *y.shape), y.dtype) for y in self.program.notes]
        work.run(low, high, paths, outs, notes, local=True)
        return paths, outs, notes


class Work:
    """A loop with the arrays it needs, its batch cut into one part for each thread."""

    def __init__(self, plan: Plan, run: Run, ahead: bool):
        self.plan, self.run_, self.way = plan, run, run.way if ahead else -run.way
        self.function = plan.compiled()
        self.fixed = _fixed(plan, run.captured)
        self.numbers = np.array(
            [np.asarray(self.value(role)).item() for role in plan.numbers], np.float64
        )
        self.sizes = tuple(plan.sizes)
        batch = run.batch
        rows = 1 if batch is None else batch
        self.cost = plan_cost(plan) * rows  # nanoseconds a step
        self.parts = self.cut(batch, run.length)
        share = max(1, max((stop - start for start, stop in self.parts), default=1))
        lines = AHEAD_ROWS if ahead else BACK_ROWS
        share = share if batch is not None else 1
        self.block = max(1, min(run.length, -(-lines // share)))
        self.shared = {a.name: self.once(a) for a in plan.arguments if a.role[0] in ONCE}
        self.own = [self.room(start, stop) for start, stop in self.parts]

    def cut(self, batch: int | None, length: int) -> list[tuple[int, int]]:
        if batch is None:
            return [(0, 0)]
        threads = get_num_threads()
        count = min(threads, batch // 4) if self.cost * length > SHORT else 1
        count = max(1, count)
        ends = [batch * k // count for k in range(count + 1)]
        return list(zip(ends, ends[1:], strict=False))

    def value(self, role: Any) -> np.ndarray:
        if role[0] == "captured":
            return self.run_.captured[role[1]]
        return role[1] if role[0] == "constant" else self.fixed[role[1]]

    def once(self, argument: Any) -> np.ndarray:
        """What does not change in time."""
        role = argument.role
        if role[0] == "packed":
            from ..kernels import generated

            return generated.packed(self.value(role[1]))
        return np.ascontiguousarray(self.value(role)).reshape(
            self.value(role).shape if argument.ndim else ()
        )

    def room(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The arrays of one thread: buffers of a step or a block, sums, carried cotangents."""
        words = {word: value for value, word in self.plan.sizes.items()}
        words["rows"] = stop - start
        own = {}
        for a in self.plan.arguments:
            if a.role[0] == "buffer":
                shape = [words[n] if n in words else int(n) for n in a.role[2]]
                own[a.name] = np.empty((self.block if a.role[1] else 1, *shape), a.dtype)
            elif a.role[0] == "carried":
                like = self.run_.program.step.carry[a.role[1]]
                shape = like.shape if self.run_.batch is None else (stop - start, *like.shape[1:])
                own[a.name] = np.zeros((1, *shape), a.dtype)
            elif a.role[0] == "acc":
                own[a.name] = np.zeros(self.run_.captured[a.role[1]].shape or (1,), a.dtype)
            elif a.role[0] == "scratch":
                from ..kernels.panels import gather_size

                sizes = [
                    b.shape for b in self.run_.captured if b.ndim == 2
                ]
                need = max(gather_size(*s, a.dtype) for s in sizes)
                own[a.name] = np.empty(need, a.dtype)
        return own

    def run(self, low, high, paths, outs, notes, local=False) -> None:
        """The steps low .. high; `local` arrays hold only those."""
        room = max(self.block, int(LONG / max(1.0, self.cost)))
        stretches = [(a, min(a + room, high)) for a in range(low, high, room)]
        if self.way < 0:
            stretches = [(low + high - b, low + high - a) for a, b in stretches]
        for a, b in stretches:
            shift = low if local else 0
            given = self.sequences(a, b, a - shift, b - shift, paths, outs, notes)
            if len(self.parts) == 1:
                self.call(0, b - a, given)
            else:

                def part(first: int, last: int, given: Any = given, count: int = b - a) -> None:
                    for k in range(first, last):
                        self.call(k, count, given)

                spread(part, len(self.parts))

    def call(self, part: int, count: int, given: dict[str, Any]) -> None:
        own, shared = self.own[part], self.shared
        arrays = [
            given[n] if n in given else own[n] if n in own else shared[n]
            for n in self.names
        ]
        start, stop = self.parts[part]
        self.function(
            count, self.way, self.block, start, stop, *self.sizes, self.numbers, *arrays
        )

    @property
    def names(self) -> list[str]:
        return [a.name for a in self.plan.arguments]

    def sequences(self, a, b, a_here, b_here, paths, outs, notes) -> dict[str, Any]:
        """The arrays with an axis of time, cut to the steps a .. b."""
        run, out = self.run_, {}
        here = notes and len(notes[0]) == b - a and len(notes[0]) < b_here
        for argument in self.plan.arguments:
            kind, k = argument.role[0], argument.role[-1]
            if kind == "x":
                out[argument.name] = run.xs[k][a:b]
            elif kind == "path":
                out[argument.name] = paths[k][a_here : b_here + 1]
            elif kind == "out":
                out[argument.name] = outs[k - len(paths)][a_here:b_here]
            elif kind == "note":
                out[argument.name] = notes[k] if here else notes[k][a_here:b_here]
            elif kind == "incoming":
                out[argument.name] = run.gs[k][a:b]
            elif kind == "dx":
                out[argument.name] = run.dxs[k][a:b]
        return out

    # -- what is left when the loop is done --------------------------------------------------------

    def carried(self, k: int, like: Any) -> np.ndarray:
        name = next(a.name for a in self.plan.arguments if a.role == ("carried", k))
        if len(self.parts) == 1:
            return self.own[0][name][0]
        return np.concatenate([own[name][0] for own in self.own])

    def total(self, k: int) -> np.ndarray:
        name = next(a.name for a in self.plan.arguments if a.role == ("acc", k))
        total = self.own[0][name]
        for own in self.own[1:]:
            total += own[name]
        return total.reshape(self.run_.captured[k].shape)


ONCE = {"captured", "fixed", "constant", "packed"}


def plan_cost(plan: Plan) -> float:
    """Nanoseconds a step and row take, roughly: products at their speed, numbers one by one."""
    words = {word: value for value, word in plan.sizes.items()} | {"rows": 1}
    cost = 20.0
    for a in plan.arguments:
        if a.role[0] in ("buffer", "acc"):
            shape = a.role[2] if a.role[0] == "buffer" else ()
            cost += 3 * math.prod(words[n] if n in words else int(n) for n in shape)
        if a.role[0] == "packed":
            cost += plan.products.get(a.name, 0) / 100
    return cost


def _fixed(plan: Plan, captured: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What depends on fixed arrays only."""
    out: list[Any] = []
    with np.errstate(all="ignore"):
        for op, inputs, attrs in plan.fixed:
            arrays = [
                captured[k] if kind == "captured" else k if kind == "constant" else out[k]
                for kind, k in inputs
            ]
            out.append(op.body(*arrays, **attrs))
    return out
