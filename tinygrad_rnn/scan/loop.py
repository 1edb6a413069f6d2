"""Run a step over time, and keep every state it went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops import reshape, stack, unstack
from ..tensor import Operand, Tensor, scope


def unroll(
    step: Callable[..., Any],
    carry: Operand | Sequence[Operand],
    xs: Operand | None,
    *,
    length: int | None = None,
    names: Sequence[str] = (),
) -> list[Tensor]:
    """Fold `step` over time: h(t) = step(x(t), h(t-1)), every op recorded (S4).

    `step(x, *carry)` returns the new carry, a tensor or a tuple of them. xs is (T, ...), or None
    for a system without inputs (S5): then `length` steps of `step(*carry)` are run. Returns one
    tensor (T, ...) per carry, its value after each step; in pictures the values go by `names`.
    Raises TypeError when a step changes the number, shape or dtype of its carry.
    """
    given = carry if isinstance(carry, tuple | list) else (carry,)
    state = tuple(c if isinstance(c, Tensor) else Tensor(c) for c in given)
    path = []
    for t, x in enumerate(_slices(xs, length)):
        with scope(f"t={t}"):
            new = step(*x, *state)
        new = tuple(new) if isinstance(new, tuple | list) else (new,)
        _check_carry(t, state, new)
        for part, name in zip(new, names, strict=False):
            if part.op is not None:  # a leaf handed on as it is keeps its own name
                part.name = name
        state = new
        path.append(state)
    if not path:
        return [reshape(c, shape=(1, *c.shape))[:0] for c in state]
    return [stack(states) for states in zip(*path, strict=True)]


def _slices(xs: Operand | None, length: int | None) -> list[tuple[Tensor, ...]]:
    """What each step reads: its slice of the inputs, or nothing."""
    if (xs is None) == (length is None):
        raise ValueError("unroll: expected either xs, or length=T for steps that read nothing")
    if xs is None:
        return [()] * (length or 0)
    xs = xs if isinstance(xs, Tensor) else Tensor(xs)
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
        if old._array.shape != new._array.shape or old._array.dtype != new._array.dtype:
            raise TypeError(
                f"unroll: step t={t} turned state {k} from {old.dtype}{list(old.shape)} into "
                f"{new.dtype}{list(new.shape)}. A state keeps its shape and dtype; give the first "
                "one the dtype of the inputs (or use astype)."
            )
