"""Run a step over time, and keep every state it went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops import reshape, stack, unstack
from ..tensor import Tensor, scope


def unroll(
    step: Callable[..., Any],
    carry: Tensor | Sequence[Tensor],
    xs: Tensor | None,
    *,
    length: int = 0,
    names: Sequence[str] = (),
) -> list[Tensor]:
    """Fold `step` over time: h(t) = step(x(t), h(t-1)), every op recorded (S4).

    `step(x, *carry)` returns the new carry, a tensor or a tuple of them. xs is (T, ...), or None
    for a system without inputs (S5): then `length` steps of `step(*carry)` are run. Returns one
    tensor (T, ...) per carry, its value after each step; in pictures the values go by `names`.
    Raises TypeError when a step changes the number, shape or dtype of its carry.
    """
    if isinstance(carry, Tensor):
        carry = (carry,)
    path = []
    for t, x in enumerate(_slices(xs, length)):
        with scope(f"t={t}"):
            new = step(*x, *carry)
        new = tuple(new) if isinstance(new, tuple | list) else (new,)
        _check_carry(t, carry, new)
        for state, name in zip(new, names, strict=False):
            if state.op is not None:  # a leaf handed on as it is keeps its own name
                state.name = name
        carry = new
        path.append(carry)
    if not path:
        return [reshape(c, shape=(1, *c.shape))[:0] for c in carry]
    return [stack(states) for states in zip(*path, strict=True)]


def _slices(xs: Tensor | None, length: int) -> list[tuple[Tensor, ...]]:
    """What each step reads: its slice of the inputs, or nothing."""
    if xs is None:
        return [()] * length
    slices = unstack(xs)
    for x in slices:
        if x.op is None:
            x.name = xs.name or "x"
    return [(x,) for x in slices]


def _check_carry(t: int, before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
    if len(before) != len(after):
        raise TypeError(
            f"unroll: step t={t} returned {len(after)} states, expected {len(before)} as it was "
            "given. Return all of them, in the same order."
        )
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.shape != new.shape or old.dtype != new.dtype:
            raise TypeError(
                f"unroll: step t={t} turned state {k} from {old.dtype}{list(old.shape)} into "
                f"{new.dtype}{list(new.shape)}. A state keeps its shape and dtype; give the first "
                "one the dtype of the inputs (or use astype)."
            )
