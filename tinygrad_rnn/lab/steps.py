"""The steps of a run that was made: what belongs to which, and what its loss reads of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..grad import Walk, pullback
from ..ops.arithmetic import where
from ..ops.clip import _clip_cotangent
from ..ops.shape import _stack, reshape, swapaxes, take
from ..tape.loops import with_steps
from ..tape.words import step_of
from ..tensor import Tensor, describe, history, recording


def recorded(who: str, outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs with every step of their loops recorded; refused where nothing was."""
    for x in outputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"{who}: expected tensors, got {type(x).__name__}")
        if not x.tracked:
            raise ValueError(
                f"{who}: expected a tensor with a history, got {describe(x)}. Compute it while "
                "recording, from weights that are trained."
            )
    return with_steps(outputs, values=True)


def path_of(who: str, x: Tensor) -> list[Tensor]:
    """The tensors of each step that a sequence over time, such as ys, was stacked from."""
    y = x
    while y.op in (swapaxes, take, where, reshape):
        y = y.inputs[y.op is where]
    if y.op is not _stack or not any(step_of(h.scope) for h in y.inputs):
        raise ValueError(
            f"{who}: expected what a loop gave at every step, as return_states=True and "
            f"return_gates=True return it, got {describe(x)}"
        )
    return list(y.inputs)


def refuse_clipped(who: str, nodes: Iterable[Tensor]) -> None:
    """A cotangent that is clipped on its way is no longer a sum of what it was made of."""
    if any(y.op is _clip_cotangent for y in nodes):
        raise ValueError(
            f"{who}: the cotangent is clipped on its way back, so that what comes back is no sum "
            "of parts. Measure the cell without ClipCotangent."
        )


@dataclass(frozen=True)
class Row:
    """A part of a loss: what it reads, and the cotangents with which it does."""

    label: int
    outputs: tuple[Tensor, ...]
    cotangents: tuple[np.ndarray, ...]

    def walk(
        self, wrt: Iterable[Tensor], until: Iterable[Tensor] = ()
    ) -> Iterator[tuple[Tensor, list[Any], Walk]]:
        """Lead this part back to some tensors, from one to the next: where, and what it gave."""
        alive = [k for k, g in enumerate(self.cotangents) if np.any(g)]
        outputs, gs = [self.outputs[k] for k in alive], [self.cotangents[k] for k in alive]
        walk = Walk(outputs, gs, list(wrt), set(until), False, True)
        for k, y in enumerate(list(walk.order)):
            with recording(False), np.errstate(all="ignore"):
                pulled = walk.visit(k)
            yield y, pulled or [], walk


@dataclass(frozen=True)
class Itemised:
    """A loss in parts: one for each step whose output it reads, or for each loss of a list.

    above: what the loss leads to each tensor without passing through any step.
    read: for each step, what the loss reads of it.
    """

    rows: tuple[Row, ...]
    above: dict[Tensor, Any]
    read: dict[int, list[Tensor]]

    @property
    def nodes(self) -> list[Tensor]:
        """All that any part came from, oldest first."""
        return history([y for row in self.rows for y in row.outputs])[::-1]


def parts_of(who: str, losses: Sequence[Tensor], several: bool) -> Itemised:
    """Cut one loss by the steps that it reads; or take several as they are.

    The walk back is linear in the cotangent, so that the parts of one loss add up to it.
    """
    if not losses:
        raise ValueError(f"{who}: losses: expected at least one tensor")
    for loss in losses:
        if loss.size != 1:
            raise ValueError(f"{who}: loss: expected one number, got shape {loss.shape}")
    read: defaultdict[int, list[Tensor]] = defaultdict(list)
    for y in (frontier := _frontier(losses)):
        read[_time(y)].append(y)
    if not frontier:
        raise ValueError(
            f"{who}: expected a loss of something that was folded over time, got "
            f"{describe(losses[0])}. Steps are those of layers, tg.scan and tg.unroll, and what is "
            "computed inside `with tg.scope('t=3')`."
        )
    ones = [np.ones(loss.shape, loss.dtype) for loss in losses]
    if several:
        whole = [Row(t, (y,), (g,)) for t, (y, g) in enumerate(zip(losses, ones, strict=True))]
        return Itemised(tuple(whole), {}, dict(sorted(read.items())))
    found = pullback(losses, ones, until=frontier)
    rows = []
    for t, outputs in sorted(read.items()):
        got = [y for y in outputs if y in found]
        rows.append(Row(t, tuple(got), tuple([np.asarray(found[y]) for y in got])))
    above = {x: g for x, g in found.items() if x not in frontier}
    return Itemised(tuple(rows), above, dict(sorted(read.items())))


def _frontier(losses: Sequence[Tensor]) -> set[Tensor]:
    """What of the steps is read from outside: the first of them that a walk back comes to."""
    met, known, new = set(), set(), list(losses)
    while new:
        y = new.pop()
        if y in known or not y.tracked:
            continue
        known.add(y)
        if step_of(y.scope):
            met.add(y)
        else:
            new += y.inputs
    return met


def _time(y: Tensor) -> int:
    found = step_of(y.scope)
    assert found is not None
    return found[1]
