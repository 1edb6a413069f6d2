"""What is wrong with numbers: where, what was expected, what came, and like which mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .engine import Wrong

MISTAKES = {  # whose numbers are stored where a case knows them
    "ignored": "the gradient that comes in is not multiplied by",
    "overwritten": "overwritten instead of added: one use alone counts",
    "untransposed": "a matrix is not transposed",
    "diagonal": "the diagonal of the Jacobian alone",
    "last": "one of places that repeat alone counts",
    "through": "it goes through what is held constant",
    "cut": "it does not go back through the states: of each step its own part alone",
    "later": "the loss of the last step alone counts",
}


@dataclass(frozen=True)
class Numbers:
    """What a case is given, and what must come; by known mistakes, what comes of them."""

    inputs: list[Any]
    value: Any = 0.0
    gradients: list[Any] = field(default_factory=list)
    mistakes: Mapping[str, list[Any]] = field(default_factory=dict)


@cache
def stored() -> dict[str, Numbers]:
    """The reference numbers of every case, by `tests/conform_numbers.py`."""
    text = Path(__file__).with_name("numbers.json").read_text("utf-8")
    return {name: _numbers(entry) for name, entry in json.loads(text).items()}


def _numbers(entry: dict[str, Any]) -> Numbers:
    arrays = {k: [np.array(a, np.float64) for a in entry[k]] for k in ("inputs", "gradients")}
    mistakes = {k: [np.array(a) for a in v] for k, v in entry.get("mistakes", {}).items()}
    return Numbers(value=np.array(entry["value"]), mistakes=mistakes, **arrays)


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Whether arrays agree, by the largest number of b, or by 1."""
    if a.shape != b.shape or not np.isfinite(a).all():
        return False
    return bool(np.all(abs(a - b) <= tolerance * max(1.0, abs(b).max(initial=0.0))))


def tolerance_of(*arrays: Any) -> float:
    """How near numbers have to be: engines of float32 have fewer digits."""
    return 1e-9 if all(a.dtype.itemsize >= 8 for a in arrays) else 1e-4


def compare(found: tuple[Any, Sequence[Any]], want: Numbers) -> None:
    """Raise Wrong, with evidence, where a value or a gradient is not what is stored."""
    value, gradients = found
    _same("value", value.reshape(()) if value.size == 1 else value, want.value, {})
    for n, (g, w) in enumerate(zip(gradients, want.gradients, strict=True)):
        known = {MISTAKES[k]: wrong[n] for k, wrong in want.mistakes.items()}
        _same(f"gradient of input {n}", g, w, known)


def _same(what: str, got: Any, want: Any, known: Mapping[str, Any]) -> None:
    tolerance = tolerance_of(got)
    if close(got, want, tolerance):
        return
    looks = likeness(got, want, known, tolerance)
    if got.shape != want.shape:
        raise Wrong(f"{what}: expected shape {want.shape}, yours {got.shape}: {looks}")
    off = ~(abs(got - want) <= tolerance * max(1.0, abs(want).max(initial=0.0)))
    place = tuple(map(int, np.argwhere(off)[0]))
    where = f"{what}{list(place)}" if place else what
    raise Wrong(f"{where}: expected {want[place]:.6g}, yours {got[place]:.6g}: {looks}")


def likeness(got: Any, want: Any, known: Mapping[str, Any], tolerance: float) -> str:
    """Which mistake numbers look like."""
    for words, wrong in known.items():
        if close(got, wrong, tolerance) and not close(wrong, want, tolerance):
            return words
    if got.shape != want.shape:
        return _shape(got, want, tolerance)
    if not np.isfinite(got).all():
        return "not a finite number"
    if close(got, -want, tolerance):
        return "same size, other sign"
    if not got.any():
        return "nothing arrives"
    if got.ndim > 1 and close(got.T, want, tolerance):
        return "transposed"
    some = abs(want) > tolerance
    ratios = got[some] / want[some]
    if ratios.size and not got[~some].any() and np.ptp(ratios) <= 1e-6 * abs(ratios).max():
        told = Fraction(float(ratios[0])).limit_denominator(12)
        # Two single numbers always have a ratio: it tells something only if it is simple.
        if ratios.size > 1 or abs(told - ratios[0]) < 1e-6 * abs(ratios[0]):
            return f"{ratios[0]:.6g} times as large"
    wrong = int((~(abs(got - want) <= tolerance * max(1.0, abs(want).max()))).sum())
    return f"of {got.size} numbers {wrong} differ" if got.size > 1 else "another number"


def _shape(got: Any, want: Any, tolerance: float) -> str:
    if got.T.shape == want.shape:
        return "transposed"
    ahead = got.ndim - want.ndim
    if ahead >= 0:
        padded = (1,) * ahead + want.shape
        axes = tuple(k for k, n in enumerate(padded) if n == 1 and got.shape[k] != 1)
        axes += tuple(k for k in range(ahead) if k not in axes)
        summed = got.sum(axis=axes, keepdims=True)
        if summed.shape == padded and close(summed.reshape(want.shape), want, tolerance):
            return "not summed over the axes along which it was broadcast"
    return "a gradient has the shape of its input"
