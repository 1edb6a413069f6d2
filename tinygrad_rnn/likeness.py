"""In which of the usual ways numbers are wrong: of a learner, or of an engine that is graded."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, combinations
from typing import Any

import numpy as np

Same = Callable[[Any, Any], bool]


def likeness(got: Any, want: Any, same: Same) -> str:
    """Words for it, "" if it is like none.

    same: whether two arrays of one shape are near enough to each other.
    """
    agree: Same = lambda one, other: one.shape == other.shape and same(one, other)
    if got.shape != want.shape:
        return _shape(got, want, agree)
    if not np.isfinite(got).all():
        return "not every number is finite"
    if not got.any():
        return "all of it is 0"
    if agree(-got, want):
        return "same size, other sign"
    if factor := _factor(got, want, agree):
        return f"{factor:.6g} times as large"
    if got.ndim > 1 and agree(got.T, want):
        return "it is transposed"
    if want.ndim and len(want) > 1:
        if agree(got[::-1], want):
            return "the order along the first axis is reversed"
        if agree(got[1:], want[:-1]):
            return "one place late along the first axis"
        if agree(got[:-1], want[1:]):
            return "one place early along the first axis"
    return ""


def _factor(got: Any, want: Any, agree: Same) -> float | None:
    """How many times as large; of single numbers, which always have a ratio, a simple one."""
    ratio = float((want * got).sum() / max(float((want * want).sum()), 1e-300))
    simple = any(abs(r - round(r)) < 1e-6 for r in (2 * ratio, 1 / (ratio or 1)))
    told = bool(ratio) and (want.size > 1 or simple)
    return ratio if told and agree(got / ratio, want) else None


def _shape(got: Any, want: Any, agree: Same) -> str:
    """The same of another shape: which way to the right one there is."""
    if got.ndim > 1 and agree(got.T, want):
        return "it is transposed"
    every = chain.from_iterable(combinations(range(got.ndim), n) for n in range(1, got.ndim + 1))
    for axes in every:
        axis = axes if len(axes) > 1 else axes[0]
        for keep in (False, True):
            if agree(got.sum(axis=axes, keepdims=keep), want):
                return f"right once it is summed over axis={axis}"
            if agree(got.mean(axis=axes, keepdims=keep), want):
                return f"right once the mean over axis={axis} is taken"
    return ""
