"""The Jacobian of one step of a run: its derivative by all that it was given, in one pull."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..grad import pullback
from ..tape.loops import copied
from ..tape.words import step_of
from ..tensor import Tensor, owned
from .steps import refuse_clipped


class Wide:
    """One step with one row of its batch repeated, so that many cotangents go back at once.

    Rows of a batch know nothing of each other: N equal rows with N cotangents are N pulls. `before`
    are the states it was given, `after` those that it made; `image` says what stands for what.
    """

    def __init__(self, states: Sequence[Sequence[Tensor]], row: int, count: int):
        (before, after), self.row, self.count = states, row, count
        self.before, self.after = before, after
        self.batch = before[0].shape[0]
        self.image: dict[Tensor, Tensor] = {}
        for x in before:
            if x not in self.image:
                self.image[x] = owned(self._rows(x._array))
                self.image[x].tracked = True
        own = _own(before, after)
        refuse_clipped("flow", own)
        for y in own:
            if any(x in self.image for x in y.inputs):
                self.image[y] = self._copy(y)

    def _rows(self, a: Any) -> Any:
        if a.__class__ is tuple:
            return tuple(map(self._rows, a))
        if a.ndim < 1 or a.shape[0] != self.batch:
            raise ValueError(
                f"flow: expected a step of which each row of the batch, {self.batch} in all, is by "
                f"itself, got an array of shape {a.shape} in between"
            )
        return np.repeat(a[self.row : self.row + 1], self.count, axis=0)

    def _copy(self, y: Tensor) -> Tensor:
        x = copied(y, [self._seen(z, y) for z in y.inputs])
        x._array, x._grad, x.tracked = self._rows(y._array), None, True
        return x

    def _seen(self, z: Tensor, y: Tensor) -> Tensor:
        """What y reads: an image, or what no state leads to, of a mask for all rows this row's."""
        if z in self.image:
            return self.image[z]
        array = z._array
        each = y.op.pointwise and z.ndim == y.ndim and z.shape[0] == self.batch > 1
        return owned(array[self.row : self.row + 1] if each else array)

    def pull(
        self, cotangents: Sequence[np.ndarray], gates: Sequence[Tensor] = ()
    ) -> list[np.ndarray]:
        """The cotangents of `before` side by side, (count, N), from those of `after`.

        First the part that passes none of the gates, then for each gate the part that goes
        through it: together they are all. A path through several counts for the earliest.
        """
        there = [
            (self.image[y], g)
            for y, g in zip(self.after, cotangents, strict=True)
            if y in self.image
        ]
        ends = {self.image[x] for x in self.before}
        doors = {self.image[x] for x in gates if x in self.image}
        ways = [_pulled(there, ends | doors, ends)]
        at = _pulled(there, ends, doors) if doors else {}
        for door in map(self.image.get, gates):
            open_ = [(door, at[door])] if door in at else []
            ways.append(_pulled(open_, (ends | doors) - {door}, ends))
        return list(map(self._sorted, ways))

    def _sorted(self, found: dict[Tensor, Any]) -> np.ndarray:
        """The part of each state before; a tensor that stands twice there counts once."""
        out: list[np.ndarray] = []
        for k, x in enumerate(self.before):
            known = all(x is not z for z in self.before[:k]) and self.image[x] in found
            size = (self.count, *x.shape[1:])
            out.append(found[self.image[x]] if known else np.zeros(size, x.dtype))
        return np.concatenate(out, axis=1)


def _pulled(there: Sequence[Any], until: set[Any], wrt: set[Tensor]) -> dict[Tensor, Any]:
    """Pull cotangents of tensors back to others."""
    if not there:
        return {}
    outputs, gs = zip(*there, strict=True)
    return pullback(outputs, gs, [*wrt], until=until)


def _own(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[Tensor]:
    """What a step computes itself, oldest first; refused where it reads older steps as well."""
    own, new, ends = set(), list(after), set(before)
    place = next((found for y in after if y not in ends and (found := step_of(y.scope))), None)
    while new:
        y = new.pop()
        at = step_of(y.scope)
        if y in own or y in ends or at is None:
            continue
        if at == place:
            own.add(y)
            new += y.inputs
        elif place is not None and at[0] == place[0] and y.op is not None:
            raise ValueError(
                f"flow: the step t={place[1]} reads {y.name or y.op.name} of step t={at[1]}, which "
                "is none of the states given: give all of them, as return_states=True returns them"
            )
    return sorted(own, key=lambda y: y.born)
