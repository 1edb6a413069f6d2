"""What is wrong with numbers: where, what was expected, what came, and like which mistake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..likeness import likeness
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
    tolerance = tolerance_of(value, *gradients)
    value = value.reshape(()) if value.size == 1 else value
    _same("value", value, want.value, {}, tolerance)
    for n, (g, w) in enumerate(zip(gradients, want.gradients, strict=True)):
        known = {MISTAKES[k]: wrong[n] for k, wrong in want.mistakes.items()}
        _same(f"gradient of input {n}", g, w, known, tolerance)


def _same(what: str, got: Any, want: Any, known: Mapping[str, Any], tolerance: float) -> None:
    if close(got, want, tolerance):
        return
    looks = _like(got, want, known, tolerance)
    if got.shape != want.shape:
        raise Wrong(f"{what}: expected shape {want.shape}, yours {got.shape}: {looks}")
    off = ~(abs(got - want) <= tolerance * max(1.0, abs(want).max(initial=0.0)))
    place = tuple(map(int, np.argwhere(off)[0]))
    where = f"{what}{list(place)}" if place else what
    looks = looks or (f"{off.sum()} of {got.size} numbers differ" if place else "another number")
    pairs = [(f"{want[place]:.{d}g}", f"{got[place]:.{d}g}") for d in (6, 9, 17)]
    expected, yours = next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
    raise Wrong(f"{where}: expected {expected}, yours {yours}: {looks}")


def _like(got: Any, want: Any, known: Mapping[str, Any], tolerance: float) -> str:
    """Which mistake numbers look like."""
    for words, wrong in known.items():
        if close(got, wrong, tolerance) and not close(wrong, want, tolerance):
            return words
    found = likeness(got, want, lambda a, b: close(a, b, tolerance))
    wrong_shape = "a gradient has the shape of its input" if got.shape != want.shape else ""
    return found or wrong_shape
