"""The steps of a run that was made, or what is no such run refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..nn.hooks import has_hooks
from ..ops.arithmetic import where
from ..ops.clipping import _clip_gradient
from ..ops.shape import _stack, reshape, swapaxes, take
from ..tape.itemised import Itemised, parts_of
from ..tape.loops import with_steps
from ..tape.words import step_of
from ..tensor import Tensor, describe, history


def recorded(who: str, outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs with every step of their loops recorded; refused where nothing was."""
    refuse_unrecorded(who, outputs)
    return with_steps(outputs)[0]


def in_parts(
    who: str, loss: Tensor | Sequence[Tensor], *others: Tensor | None
) -> tuple[Itemised, list[Tensor]]:
    """A loss of recorded steps cut into parts, see `parts_of`, and other tensors of those steps.

    Refused where a gradient is clipped, which then is no sum of parts.
    """
    losses: list[Any] = list(loss) if isinstance(loss, list | tuple) else [loss]
    given = recorded(who, [*losses, *(x for x in others if x is not None)])
    parts = parts_of(who, given[: len(losses)], several=not isinstance(loss, Tensor))
    refuse_clipped(who, history([y for y, _ in parts.starts]))
    return parts, given[len(losses) :]


def refuse_unrecorded(who: str, outputs: Sequence[Tensor]) -> None:
    """Refuse what is no tensor with a history."""
    for x in outputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"{who}: expected tensors, got {type(x).__name__}")
        if not x.tracked:
            raise ValueError(
                f"{who}: expected a tensor with a history, got {describe(x)}. Compute it while "
                "recording, from weights that are trained."
            )


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
    """Refuse a history with a gradient that is clipped or hooked, and so no sum of its parts."""
    for y in nodes:
        if y.op is _clip_gradient or has_hooks(y):
            clipped = y.op is _clip_gradient
            raise ValueError(
                f"{who}: the gradient {'is clipped' if clipped else f'of {describe(y)} has hooks'} "
                "in the backward pass, so that it is no sum of parts. Measure the cell without "
                f"{'ClipGradient' if clipped else 'them: handle.remove()'}."
            )


def named_weights(who: str, given: Any) -> dict[Tensor, str]:
    """The weights, and what they are called."""
    if hasattr(given, "named_parameters"):
        return {x: name for name, x in given.named_parameters()}
    single = isinstance(given, Tensor) or not np.iterable(given)
    tensors = [given] if single else list(given)
    if not all(isinstance(x, Tensor) for x in tensors):
        raise TypeError(
            f"{who}: weights: expected a tensor, such as cell.Wh, several, or a module, got "
            f"{given!r}"
        )
    named: dict[Tensor, str] = {}
    for k, x in enumerate(tensors):
        name = x.name or (f"weight {k}" if len(tensors) > 1 else "weight")
        named[x] = name if name not in named.values() else f"{name} ({k})"
    return named
