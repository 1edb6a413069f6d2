"""The equations of the layers of a run, read from what one of their steps did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..op import pick
from ..tensor import Tensor, Untraceable, history
from .equations import Equations, derived
from .program import Program


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
        found = _of_layer(layer, [steps[t] for t in sorted(steps)], read)
        if found is not None:
            made[layer] = found
    return made


def _of_layer(layer: str, steps: Sequence[list[Tensor]], read: set[Tensor]) -> Equations | None:
    """The equations of a layer by its last step that does what the one before did.

    read: what is read outside of the layer.
    """
    for before, step in reversed(list(pairwise(steps))):
        for earlier, now in ((before, step), (step, before)):
            ops = [y.op for y in now]
            if [y.op for y in earlier] == ops:
                likes = [other for other in steps if [y.op for y in other] == ops]
                told = {y for k, y in enumerate(now) if any(like[k] in read for like in likes)}
                try:
                    return _Step(earlier, now, told).equations(layer)
                except (Untraceable, ValueError):
                    continue
    return None


class _Step:
    """One step of a layer, and the one before it, whose ops are the same."""

    def __init__(self, before: list[Tensor], now: list[Tensor], read: set[Tensor]):
        self.read, own = read, set(now)
        place = {y: k for k, y in enumerate(before)}
        self.carry: dict[Tensor, Tensor] = {}  # of the step before, and what takes its place now
        self.xs: dict[Tensor, None] = {}
        for earlier, y in zip(before, now, strict=True):
            for old, x in zip(earlier.inputs, y.inputs, strict=True):
                if x in place:
                    self.carry[x] = now[place[x]]
                elif x not in own and not _is_same(x, old):
                    self.xs[x] = None
        if not self.carry:
            raise ValueError("nothing is carried from step to step")
        states = set(self.carry.values())
        self.outputs = [y for y in now if y in read and y not in states and y.op is not pick]

    def equations(self, title: str) -> Equations:
        """The equations, in which the loss reads what is read outside of the layer."""
        states = [*self.carry.values()]
        results = [*states, *self.outputs]
        names = [y.name or f"h{k + 1}" for k, y in enumerate(states)]
        batch = states[0].shape[0] if states[0].ndim > 1 else 0
        reads = [k for k, y in enumerate(results) if y in self.read]
        program = Program(results, [*self.xs], [*self.carry])
        return derived(program, names, title=title, weights={}, reads=reads, batch=batch)


def _is_same(x: Tensor, old: Tensor) -> bool:
    """Whether two steps read one tensor, or the same number."""
    if x is old:
        return True
    plain = x.op is None and old.op is None and not (x.ndim or old.ndim or x.tracked or x.name)
    return plain and bool(x.data == old.data)
