"""What a tape says of a run in words: its steps, names and numbers, each on one short line."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Any

import numpy as np

from ..tensor import Tensor

# Control characters, bidi controls, lone surrogates, unassigned code points, line separators:
# none of them has a picture, some would break the file, some would reorder the text around them.
_unprintable = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}


_step = re.compile(r"t=([0-9]{1,9})")


def step_of(scope: str) -> tuple[str, int] | None:
    """The layer and the time step that a scope names, or None outside the steps."""
    if "t=" not in scope:
        return None
    parts = scope.split("/")
    for k, part in enumerate(parts):
        if found := _step.fullmatch(part):
            return "/".join(parts[:k]), int(found[1])
    return None


def literal(text: object, limit: int = 24) -> str:
    """The text as one short line of printable characters; what is not printable shows as \ufffd."""
    given = str(text)
    if len(given) > 4 * limit:
        given = given[: 2 * limit] + given[-2 * limit :]
    clean = given if given.isprintable() else "".join(map(_printable, given))
    if len(clean) <= limit:
        return clean
    tail = limit // 3
    return f"{clean[: limit - tail - 1]}…{clean[len(clean) - tail :]}"


def _printable(letter: str) -> str:
    if letter in "\t\n\r":
        return " "
    return "\ufffd" if unicodedata.category(letter) in _unprintable else letter


def number(value: float, decimals: int = 1) -> str:
    """A number in a few characters: 0.25, 12.5, 1.2e-3, NaN, ∞. decimals: of one with a power."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size == 0 or 0.01 <= size < 999.5:
        return f"{value:.3g}"
    if 999.5 <= size < 1e6:
        return f"{value:.0f}"
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def family(x: Tensor) -> str:
    """What an op of the library's is for, by its sign, its kind, or the file that it is in."""
    op = x.op
    if op is None or not op.ours:
        return "other"
    alone = len(x.inputs) == 1 and x._array.__class__ is not tuple
    curve = alone and op.rules[0] is not None and x.inputs[0].shape == x.shape
    declared = getattr(sys.modules[op.body.__module__], "FAMILY", "curve" if curve else "other")
    return SIGNS.get(op.declared.sign or "", declared)


SIGNS = dict.fromkeys(["+", "−", "−x"], "addition") | dict.fromkeys(["×", "÷", "xʸ"], "scale")


def attribute_words(attrs: dict[str, Any]) -> str:
    """An op's attributes in one line; a big or strange one only by its type."""
    return ", ".join(f"{literal(name)}={_value(value)}" for name, value in attrs.items())


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array {'×'.join(map(str, value.shape))}"
    if isinstance(value, tuple | list):
        inside = ", ".join(_value(part) for part in value[:6])
        return f"({inside}{', …' if len(value) > 6 else ''})"
    if isinstance(value, slice):
        ends = [value.start, value.stop, value.step][: 2 + (value.step is not None)]
        return ":".join("" if v is None else _value(v) for v in ends)
    if value is None or isinstance(value, bool | int | float | str | np.generic | np.dtype):
        return literal(value, 40)
    return literal(getattr(value, "__name__", type(value).__name__), 40)
