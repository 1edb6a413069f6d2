"""The equations of the layers of a run, read from what one of their steps did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from ..op import pick
from ..tensor import Tensor, Untraceable, history
from .equations import Equations, derived
from .program import Program

TURNED = " (t counts from the last step to the first)"


def equations_of(outputs: Sequence[Tensor], step_of: Any) -> dict[str, Equations]:
    """The equations of each layer, of which two steps that follow each other do the same.

    step_of: what tells the layer and the time of a scope, None outside of all steps.
    """
    layers: defaultdict[str, defaultdict[int, list[Tensor]]] = defaultdict(
        lambda: defaultdict(list)
    )
    nodes = history(outputs)[::-1]
    for y in nodes:
        if y.op is not None and (found := step_of(y.scope)) is not None:
            layers[found[0]][found[1]].append(y)
    made = {}
    for layer, steps in layers.items():
        own = {y for step in steps.values() for y in step}
        read = {*outputs, *[x for y in nodes if y not in own for x in y.inputs]}
        times = sorted(steps)
        if times[-1] - times[0] < 2 * len(times):  # those between have no part in it
            times = [*range(times[0], times[-1] + 1)]
        found = _of_layer(layer, [steps[t] for t in times], read)
        if found is not None:
            made[layer] = found
    return made


def _of_layer(layer: str, steps: Sequence[list[Tensor]], read: set[Tensor]) -> Equations | None:
    """The equations of a layer by its last step that does what the one before did.

    read: what is read outside of the layer.
    """
    for order, turned in (steps, ""), (steps[::-1], TURNED):  # one of them they were done in
        for k in reversed(range(1, len(steps))):
            ops = [y.op for y in order[k]]
            if [y.op for y in order[k - 1]] == ops:
                likes = [other for other in steps if [y.op for y in other] == ops]
                told = {y for n, y in enumerate(order[k]) if any(like[n] in read for like in likes)}
                with suppress(Untraceable, ValueError):
                    found = _Step(order[: k + 1], told)
                    if found.is_done(order, read):
                        return found.equations(layer + turned)
    return None


class _Step:
    """The last of some steps of a layer; the one before it has the same ops."""

    def __init__(self, steps: Sequence[list[Tensor]], read: set[Tensor]):
        *_, before, now = self.steps = steps
        self.read, last = read, len(steps) - 1
        self.place = {y: (k, n) for k, step in enumerate(steps) for n, y in enumerate(step)}
        self.carry: dict[Tensor, Tensor] = {}  # of a step before, and what takes its place now
        self.xs: dict[Tensor, None] = {}
        for earlier, y in zip(before, now, strict=True):
            if not _are_same(earlier.attrs, y.attrs):
                if any([x in self.place for x in y.inputs]):
                    raise ValueError("each step does it with other numbers")
                self.xs[y] = None  # its part of a sequence, as a rule
                continue
            for old, x in zip(earlier.inputs, y.inputs, strict=True):
                k, n = self.place.get(x, (last, -1))
                was, m = self.place.get(old, (k - 1, n))
                # The first steps may do less, where they begin with what needs no gradient: there
                # the same op has another number.
                fewer = len(steps[k - 1]) < len(now)
                if k < last and was == k - 1 and (m == n or fewer):
                    self.hand_on(k, n)
                elif (n < 0 or k < last) and not _is_same(x, old):
                    self.xs[x] = None
        if not self.carry:
            raise ValueError("nothing is carried from step to step")
        states = set(self.carry.values())
        self.outputs = [y for y in now if y in read and y not in states and y.op is not pick]

    def hand_on(self, k: int, n: int) -> None:
        """Carry what is read of step k from there to the last one."""
        ops = [y.op for y in self.steps[-1]]
        if any([y.op for y in step] != ops for step in self.steps[k:]):
            raise ValueError("the steps between do something else")
        for old, new in [*pairwise(self.steps[k:])][::-1]:
            self.carry[old[n]] = new[n]

    def is_done(self, steps: Sequence[Sequence[Tensor]], read: set[Tensor]) -> bool:
        """Whether all steps do what this one does, or less: the first may begin with what needs no
        gradient, and of the last nobody may read a state."""
        stands: dict[Tensor, Tensor] = {}  # for what of this step
        for step in steps:
            left = iter(self.steps[-1])
            for y in step:
                now = next((now for now in left if self.is_twin(y, now, stands)), None)
                if now is None or (y in read and now not in self.read):
                    return False
                stands[y] = now
        return True

    def is_twin(self, y: Tensor, now: Tensor, stands: dict[Tensor, Tensor]) -> bool:
        """Whether an op of another step does what one of this step does, with the same."""
        if y.op is not now.op or not (now in self.xs or _are_same(y.attrs, now.attrs)):
            return False
        last = len(self.steps) - 1
        for x, own in zip(y.inputs, now.inputs, strict=True):
            begins = own in self.carry or own in self.xs
            while own in self.carry:  # to what takes its place now
                own = self.carry[own]
            if x in stands:
                same = stands[x] is own
            elif begins:
                same = True
            elif self.place.get(own, (-1,))[0] == last:
                same = x.op is None and not x.tracked
            else:
                same = _is_same(x, own)
            if not same:
                return False
        return True

    def equations(self, title: str) -> Equations:
        """The equations, in which the loss reads what is read outside of the layer."""
        states = [*self.carry.values()]
        results = [*states, *self.outputs]
        names = [y.name or f"h{k + 1}" for k, y in enumerate(states)]
        batch = states[0].shape[0] if states[0].ndim > 1 else 0
        reads = [k for k, y in enumerate(results) if y in self.read]
        program = Program(results, [*self.xs], [*self.carry])
        return derived(program, names, title=title, weights={}, reads=reads, batch=batch)


def _are_same(attrs: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether two ops have the same attributes."""
    pairs: list[Any] = [(x, others.get(name)) for name, x in attrs.items()]
    return len(attrs) == len(others) and all([x is y or np.array_equal(x, y) for x, y in pairs])


def _is_same(x: Tensor, old: Tensor) -> bool:
    """Whether two steps read one tensor, or the same number."""
    if x is old:
        return True
    plain = x.op is None and old.op is None and not (x.ndim or old.ndim or x.tracked or x.name)
    return plain and bool(x.data == old.data)
