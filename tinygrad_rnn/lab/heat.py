"""What the loss at each step feels of every step: of its state, and of its input."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.arithmetic import where
from ..ops.shape import swapaxes
from ..tape.itemised import Bundle, Itemised
from ..tape.words import step_of
from ..tensor import Tensor, describe
from .steps import in_parts, path_of
from .table import table


@dataclass(frozen=True)
class Heat:
    """‖∂L(t)/∂h(k)‖: for each part t of the loss, a row, what it feels of step k, a column.

    parts (P,), steps (K,): the times t and k. norms (P, K): of the state, of all rows of the batch
    together, 0 where nothing gets, as to the future.
    inputs (P, K): ‖∂L(t)/∂x(k)‖ if inputs were given, else None.

    >>> ys, _ = tg.nn.RNN(3, 4, rng=0)(np.ones((4, 1, 3), np.float32))
    >>> heat = tg.lab.heat((ys * ys).sum())
    >>> bool((np.triu(heat.norms, 1) == 0).all())  # nothing is felt of the future
    True
    >>> heat.draw(words="tell").save("heat.svg")
    """

    parts: np.ndarray
    steps: np.ndarray
    norms: np.ndarray
    inputs: np.ndarray | None = None

    def draw(
        self, *, of: str = "states", words: Sequence[str] = (), relative: bool = True,
        title: str = "",
    ) -> Any:  # fmt: skip
        """A picture of the states', or of="inputs", with the words of a text along the axes.

        relative: each row in units of its own step, so that 1 is what a step feels of itself.
        Raises ValueError for inputs that were not measured.
        """
        from ..view.heat import heat_map

        if of not in ("states", "inputs") or (of == "inputs" and self.inputs is None):
            raise ValueError(
                f'heat: of: expected "states", or "inputs" where heat was given inputs, got {of!r}'
            )
        letter = "h" if of == "states" else "x"
        return heat_map(
            self.norms if of == "states" else self.inputs,  # type: ignore[arg-type]
            rows=self.parts, columns=self.steps, relative=relative,
            words=words, title=title or f"What the loss at t feels of {letter}(k): ‖∂L/∂{letter}‖",
        )  # fmt: skip

    def __repr__(self) -> str:
        first, last = self.norms[:, 0], self.norms[:, -1]
        own = [self.norms[i, list(self.steps).index(t)] if t in self.steps else None
               for i, t in enumerate(self.parts)]  # fmt: skip
        k, end = self.steps[0], self.steps[-1]
        head = f"heat of {len(self.parts)} parts of the loss over {len(self.steps)} steps\n"
        rows = zip(self.parts, first, own, last, strict=True)
        return head + table(("t", f"of step {k}", "of step t", f"of step {end}"), rows)


def heat(
    loss: Tensor | Sequence[Tensor], *, states: Tensor | None = None, inputs: Tensor | None = None
) -> Heat:
    """‖∂L(t)/∂h(k)‖ for every t and k: what each part of a loss feels of every step (S13).

    loss: one number, cut by the steps t whose output it reads; or a list of numbers, one for each
    t. states: whose, one of those that return_states=True gives, or ys; by default what the loss
    reads of each step or, if no other step reads that, the state behind it. inputs: a tensor (T,
    ...), or with batch_first (B, T, ...), that was folded over and has a gradient, as embedded text
    has, or xs made with requires_grad=True: then also ‖∂L(t)/∂x(k)‖, which shows what of a text a
    prediction is connected with.

    Raises ValueError for a loss without steps, inputs that it does not depend on, a state that a
    step hands on from the one before, and a gradient that is clipped.

    >>> cell = tg.nn.RNN(3, 4, rng=0)
    >>> ys, _ = cell(np.ones((4, 1, 3), np.float32))
    >>> tg.lab.heat((ys * ys).sum()).norms.shape
    (4, 4)
    """
    parts, rest = in_parts("heat", loss, states, inputs)
    of = _states(parts)
    if states is not None:
        of = {t: [h] for t, h in enumerate(path_of("heat", rest.pop(0)))}
        if not all(_new(h) for (h,) in of.values()):
            raise ValueError(
                f"heat: states: what {describe(states)} has of a step is handed on from the one "
                "before, with all that others read of it. Give the state that was new."
            )
        if set(parts.nodes).isdisjoint([h for (h,) in of.values()]):
            raise ValueError(f"heat: states: the loss depends on none of {describe(states)}")
        of = {t: _both(h) for t, (h,) in of.items()}
    x = None if inputs is None else rest[0]
    if x is not None and all(x is not y for y in parts.nodes):
        raise ValueError(f"heat: inputs: the loss does not depend on {describe(x)} by any step")
    readers = [y for y in parts.nodes if any(x is given for given in y.inputs)]
    turned = bool(readers) and all(map(_turns, readers))  # the batch is first
    if x is not None and (x.ndim <= turned or x.shape[turned] != len(of)):
        raise ValueError(
            f"heat: inputs: expected one for each of {len(of)} steps in front, got {describe(x)}"
        )
    return _measured(parts, of, x, 1 + turned)


def _states(parts: Itemised) -> dict[int, list[Tensor]]:
    """What the loss reads of each step or, if no other step reads that, the state behind it.

    In the last step, whose state nobody reads, it is where it is in the others.
    """
    of: dict[Tensor, list[Tensor]] = {}  # what another step of a layer reads
    for y in parts.nodes:
        for x in y.inputs:
            a, b = step_of(x.scope), step_of(y.scope)
            if a and b and a != b and a[0] == b[0]:
                of |= dict.fromkeys(_both(x), _both(x))
    if any([y in of for read in parts.read.values() for y in read]):
        return _with_others(parts.read, of)
    ways = {y: _way(y, of) for read in parts.read.values() for y in read}
    usual = {step_of(y.scope)[0]: way for y, way in ways.items() if way}  # type: ignore[index]
    found: dict[int, list[Tensor]] = {t: [] for t in parts.read}
    for t, read in parts.read.items():
        for y in read:
            for k in ways[y] or usual.get(step_of(y.scope)[0], ()):  # type: ignore[index]
                y = y.inputs[min(k, len(y.inputs) - 1)] if y.inputs else y
            found[t] += of.get(y) or _both(y)
    return _with_others(found if usual else parts.read, of)


def _with_others(
    found: dict[int, list[Tensor]], of: dict[Tensor, list[Tensor]]
) -> dict[int, list[Tensor]]:
    """The same, with the like states of steps of which the loss reads nothing."""
    kind = lambda y: ((step_of(y.scope) or ("",))[0], y.op, y.name)
    alike, made = {kind(y) for states in found.values() for y in states}, dict(found)
    for x, both in of.items():
        _, t = step_of(x.scope)  # type: ignore[misc]
        if t not in found and kind(x) in alike:
            made[t] = [*made.get(t, []), *both]
    return made


def _way(y: Tensor, ends: Collection[Tensor]) -> tuple[int, ...] | None:
    """The shortest way back within a step to one of the ends: by which input of each op."""
    here, known, left = step_of(y.scope), {y}, list[tuple[Tensor, tuple[int, ...]]]([(y, ())])
    for x, way in left:  # of which there are more while they are looked at
        if x in ends:
            return way
        inside = [(z, k) for k, z in enumerate(x.inputs) if step_of(z.scope) == here]
        left += [(z, (*way, k)) for z, k in inside if z not in known]
        known.update(x.inputs)
    return None


def _new(h: Tensor) -> bool:
    """Whether a step made it. What masks and resets choose from states before is handed on."""
    here, left = step_of(h.scope), [h]
    while left and here:
        y = left.pop()
        if step_of(y.scope) == here and y.op is not None and not _is_choice(y):
            return True
        left += y.inputs[1:] if step_of(y.scope) == here else ()
    return False


def _both(h: Tensor) -> list[Tensor]:
    """A state, and what a step made that it is where the step counts: an output may read that."""
    new = h.inputs[1] if _is_choice(h) else h
    here = step_of(h.scope)
    return [h, new] if new is not h and step_of(new.scope) == here and _new(new) else [h]


def _is_choice(y: Tensor) -> bool:
    """Whether it is chosen by what was made before the step: a mask, a reset, Zoneout."""
    return y.op is where and not step_of(y.inputs[0].scope)


def _turns(y: Tensor) -> bool:
    """Whether it puts time before the batch."""
    return y.op is swapaxes and {k % y.ndim for k in y.attrs.values()} == {0, 1}


def _measured(parts: Itemised, of: dict[int, list[Tensor]], x: Tensor | None, axis: int) -> Heat:
    steps = sorted(of)
    column = {h: j for j, t in enumerate(steps) for h in of[t]}
    norms = np.zeros((len(parts.labels), len(steps)))
    felt = np.zeros(norms.shape)
    for y, g, _ in parts.backward([*column, *([] if x is None else [x])]):
        if y in column:
            if y.op is where and column.get(y.inputs[1]) == column[y]:  # where the step counts
                g = Bundle(g.parts, np.where(y.inputs[0]._array, 0, g.arrays))
            rows = g.parts, column[y]
            norms[rows] = np.hypot(norms[rows], g.norms())
        if y is x:
            own = g.parts >= 0
            for j, of_step in enumerate(np.moveaxis(g.arrays[own], axis, 0)):
                felt[g.parts[own], j] = Bundle(g.parts[own], of_step).norms()
    times = np.array(parts.labels), np.array(steps)
    return Heat(*times, norms, None if x is None else felt)
