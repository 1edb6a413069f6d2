"""One backward pass for all parts of a loss at once, each part's gradient kept by itself.

A part is the loss at one time step. Its cotangents travel in bundles: one array with an axis of
parts in front, of those parts only that reach the tensor. What a loss hands to the steps without
passing through any is of no part yet, number -1, and gets its part where it enters a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ..grad import _fitted, _leading_to
from ..op import Parts, pick
from ..ops.linear import _matmul
from ..ops.shape import _stack, take, unstack
from ..tensor import Tensor, describe, history, recording
from .words import step_of

ABOVE = -1  # the number of what is of no part yet


class Bundle(NamedTuple):
    """The cotangents of one tensor: numbers of parts in order (n,), and for each an array."""

    parts: np.ndarray
    arrays: np.ndarray

    def plus(self, other: Bundle | None) -> Bundle:
        """Both together; a part that only one of them has stays as it is."""
        if other is None:
            return self
        if np.array_equal(self.parts, other.parts):
            return Bundle(self.parts, self.arrays + other.arrays)
        parts = np.union1d(self.parts, other.parts)
        return Bundle(parts, self.spread(parts) + other.spread(parts))

    def spread(self, parts: np.ndarray) -> np.ndarray:
        """Its arrays among those of more parts, zeros for the others."""
        arrays = np.zeros((len(parts), *self.arrays.shape[1:]), self.arrays.dtype)
        arrays[np.searchsorted(parts, self.parts)] = self.arrays
        return arrays

    def norms(self) -> np.ndarray:
        """The Euclidean norm of each array."""
        flat = np.abs(self.arrays.reshape(len(self.parts), -1)).astype(np.float64)
        top = flat.max(axis=1, initial=0.0)
        scale = np.where(np.isfinite(top) & (top > 0), top, 1.0)
        return scale * np.sqrt(((flat / scale[:, None]) ** 2).sum(axis=1))


@dataclass(frozen=True)
class Itemised:
    """A loss in parts: one for each step whose output it reads, or for each loss of a list.

    labels: of each part the time step, or the number of the loss. starts: the losses, with a
    bundle each. read: for each step, what the loss reads of it.
    """

    labels: tuple[int, ...]
    starts: tuple[tuple[Tensor, Bundle], ...]
    read: dict[int, list[Tensor]]

    @property
    def nodes(self) -> list[Tensor]:
        """All that any part came from, oldest first."""
        return history([y for outputs in self.read.values() for y in outputs])[::-1]

    def backward(
        self, wrt: Iterable[Tensor], until: Collection[Tensor] = (), some: range | None = None
    ) -> Iterator[tuple[Tensor, Any, list[tuple[Tensor, Bundle]]]]:
        """The backward pass of all parts, or of some: see `batched`."""
        number = {t: k for k, t in enumerate(self.labels)}
        some = range(len(self.labels)) if some is None else some

        def entered(x: Tensor, b: Bundle) -> Bundle:
            """A bundle that comes to x, with what is of no part yet in that of x's step."""
            above, step = b.parts == ABOVE, step_of(x.scope)
            if above.any() and step is not None:
                rest = Bundle(b.parts[~above], b.arrays[~above])
                b = Bundle(np.array([number[step[1]]]), b.arrays[above]).plus(rest)
            kept = (b.parts == ABOVE) | ((b.parts >= some.start) & (b.parts < some.stop))
            return b if kept.all() else Bundle(b.parts[kept], b.arrays[kept])

        return batched(self.starts, wrt, until, entered)


def parts_of(who: str, losses: Sequence[Tensor], several: bool) -> Itemised:
    """Cut one loss by the steps that it reads; or take several as they are.

    The backward pass is linear in the cotangent, so that the parts of one loss add up to it.
    """
    if not losses:
        raise ValueError(f"{who}: losses: expected at least one tensor")
    for loss in losses:
        if loss.size != 1:
            raise ValueError(f"{who}: loss: expected one number, got shape {loss.shape}")
    read: defaultdict[int, list[Tensor]] = defaultdict(list)
    for y in _frontier(losses):
        read[(step_of(y.scope) or ("", ABOVE))[1]].append(y)
    if not read:
        raise ValueError(
            f"{who}: expected a loss of something that was folded over time, got "
            f"{describe(losses[0])}. Steps are those of layers, tg.scan and tg.unroll, and what is "
            "computed inside `with tg.scope('t=3')`."
        )
    starts = [
        (y, Bundle(np.array([k if several else ABOVE]), np.ones((1, *y.shape), y.dtype)))
        for k, y in enumerate(losses)
    ]
    labels: Sequence[int] = range(len(losses)) if several else sorted(read)
    if several:  # each at the step that it reads, if that is one, and of its own
        own = [
            {step[1] for y in _frontier([x], sources) if (step := step_of(y.scope))} for x in losses
        ]
        if all(len(steps) == 1 for steps in own) and len(set().union(*own)) == len(own):
            labels = [min(steps) for steps in own]
    return Itemised(tuple(labels), tuple(starts), dict(sorted(read.items())))


def sources(y: Tensor) -> Sequence[Tensor]:
    """What y was made from; where it is one slice of a stack, that which was stacked there."""
    if y.op is None:
        return ()
    stacked: Any = y.inputs[0] if y.inputs else None
    place: Any = None
    if y.op is take and len(y.inputs) == 1:
        place = y.attrs["index"][0]
    elif y.op is pick and stacked.op is unstack:
        stacked, place = stacked.inputs[0], y.attrs["i"]
    joined = stacked is not None and stacked.op is _stack
    if joined and isinstance(place, int | np.integer) and not stacked.attrs["axis"]:
        return (stacked.inputs[place],)
    return y.inputs


def _frontier(losses: Sequence[Tensor], behind: Any = lambda y: y.inputs) -> list[Tensor]:
    """What of the steps is read from outside: the first of them that a backward pass comes to."""
    met, known, new = [], set(), list(losses)
    while new:
        y = new.pop()
        if y in known or not y.tracked:
            continue
        known.add(y)
        if step_of(y.scope):
            met.append(y)
        else:
            new += behind(y)
    return met


def batched(
    starts: Sequence[tuple[Tensor, Bundle]],
    wrt: Iterable[Tensor],
    until: Collection[Tensor] = (),
    entered: Any = lambda x, b: b,
) -> Iterator[tuple[Tensor, Any, list[tuple[Tensor, Bundle]]]]:
    """One backward pass with many cotangents: each tensor, what has come there, what that adds.

    What has come is a bundle, of a tuple one for each part of it that was used. It goes back to the
    tensors in `wrt`, and stops at those in `until`.
    """
    order = history([y for y, _ in starts], until)
    wanted = _leading_to([*wrt], order, until)
    found: dict[Tensor, Any] = {}

    def add(x: Tensor, b: Any) -> Any:
        if isinstance(b, dict):
            there = found.setdefault(x, {})
            there |= {i: part.plus(there.get(i)) for i, part in b.items()}
            return b
        b = entered(x, b)
        if len(b.parts):
            found[x] = b.plus(found.get(x))
        return b

    for y, b in starts:
        add(y, b)
    for y in order:
        g, terms = found.pop(y, None), []
        if g is None:
            continue
        if y not in until and any(x in wanted for x in y.inputs):
            with recording(False), np.errstate(all="ignore"):
                pulled = _pulled(y, g, wanted)
            terms = [(x, add(x, b)) for x, b in pulled]
        yield y, g, terms


def _pulled(y: Tensor, g: Any, wanted: set[Tensor]) -> list[tuple[Tensor, Any]]:
    """What the cotangents of y give to each of its inputs that is wanted."""
    assert y.op is not None
    if y.op is pick:
        return [(y.inputs[0], {y.attrs["i"]: g})]
    if isinstance(g, dict):
        parts = np.unique(np.concatenate([b.parts for b in g.values()]))
        gs = {i: b.spread(parts) for i, b in g.items()}
        one: Any = lambda k: Parts({i: a[k] for i, a in gs.items()})
    else:
        parts, gs = g
        one = lambda k: gs[k]
    if len(parts) > 1 and not isinstance(gs, dict) and _in_front(y):
        found = _lifted(y, gs, wanted)
    else:
        each = [y.op.pull(one(k), y, wanted) for k in range(len(parts))]
        found = {
            place: np.stack([_fitted(a, x, y) for a in gave])
            for place, (x, *gave) in enumerate(zip(y.inputs, *each, strict=True))
            if gave[0] is not None and x in wanted
        }
    return [(y.inputs[place], Bundle(parts, a)) for place, a in found.items()]


def _in_front(y: Tensor) -> bool:
    """Whether the rules of its op may be given one more axis in front, as broadcasting has it."""
    assert y.op is not None
    same = all(x.ndim == y.ndim for x in y.inputs)
    return y.op.ours and (y.op.pointwise or (y.op is _matmul and same))


def _lifted(y: Tensor, gs: np.ndarray, wanted: set[Tensor]) -> dict[int, np.ndarray]:
    """All cotangents through the rules of the op at once."""
    assert y.op is not None
    lift: Any = lambda a: a.reshape((1,) * (y.ndim + 1 - a.ndim) + a.shape)
    inputs = [SimpleNamespace(_array=lift(x._array), tracked=x in wanted) for x in y.inputs]
    image: Any = SimpleNamespace(_array=lift(y._array), inputs=inputs, attrs=y.attrs)
    found = {}
    for place, a in enumerate(y.op.pull(gs, image)):
        if a is not None:
            shape = y.inputs[place].shape
            extra = a.ndim - 1 - len(shape)
            axes = [k for k, n in enumerate(shape, 1 + extra) if n == 1 != a.shape[k]]
            total = a.sum(axis=(*range(1, 1 + extra), *axes))
            found[place] = total.reshape(-1, *shape).astype(y.inputs[place].dtype, copy=False)
    return found
