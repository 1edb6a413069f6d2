"""The Jacobian of one step of a run: its derivative by all that it was given, in one pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ..tape.itemised import Bundle, batched
from ..tape.words import step_of
from ..tensor import Tensor
from .steps import refuse_clipped


class Step:
    """One step of a run and one row of its batch: `before` its states, `after` the next ones."""

    def __init__(self, before: Sequence[Tensor], after: Sequence[Tensor], row: int):
        self.before, self.after, self.row = before, after, row
        self.own = _own(before, after)
        refuse_clipped("flow", self.own)
        read = {x for y in self.own for x in y.inputs}
        self.ends = set(before) | (read - self.own)

    def pull(self, cotangents: np.ndarray, gates: Sequence[Tensor] = ()) -> list[np.ndarray]:
        """The cotangents of the states before side by side, (count, N), from those after.

        First the part that passes none of the gates, then for each gate the part that goes
        through it: together they are all. A path through several counts for the earliest.
        """
        cuts = np.cumsum([y.shape[1] for y in self.after])[:-1]
        there = []
        for y, g in zip(self.after, np.split(cotangents, cuts, axis=1), strict=True):
            if y in self.own | self.ends:
                arrays = np.zeros((len(g), *y.shape), y.dtype)
                arrays[:, self.row] = g
                there.append((y, Bundle(np.arange(len(g)), arrays)))
        doors = {x for x in gates if x in self.own}
        ways = [_passed(there, self.before, self.ends | doors)]
        at = _passed(there, doors, self.ends) if doors else {}
        for x in gates:
            open_ = [(x, at[x])] if x in at else []
            ways.append(_passed(open_, self.before, (self.ends | doors) - {x}))
        return [self._side_by_side(found, len(cotangents)) for found in ways]

    def _side_by_side(self, found: dict[Tensor, Bundle], count: int) -> np.ndarray:
        """The part of each state before; a tensor that stands twice there counts once."""
        out = []
        for x in self.before:
            empty = Bundle(np.arange(count), np.zeros((count, *x.shape), x.dtype))
            arrays = found.pop(x, empty).arrays
            if (np.abs(np.delete(arrays, self.row, axis=1)) > 0).any():
                raise ValueError(
                    f"flow: expected a step of which each row of the batch, {len(x)} in all, is by "
                    "itself, got one that mixes them"
                )
            out.append(arrays[:, self.row])
        return np.concatenate(out, axis=1)


def _passed(
    there: Sequence[tuple[Tensor, Bundle]], wrt: Collection[Tensor], until: set[Tensor]
) -> dict[Tensor, Bundle]:
    """What comes from some tensors to others."""
    wanted = set(wrt)
    return {x: g for x, g, _ in batched(there, wanted, until) if x in wanted}


def _own(before: Sequence[Tensor], after: Sequence[Tensor]) -> set[Tensor]:
    """What a step computes itself; refused where it reads older steps as well."""
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
    return own
