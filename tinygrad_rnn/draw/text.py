"""Words and numbers as they may stand in a picture: literal, short, and measured without a font."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

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
    clean = "".join(_printable(letter) for letter in given)
    if len(clean) <= limit:
        return clean
    tail = limit // 3
    return f"{clean[: limit - tail - 1]}…{clean[len(clean) - tail :]}"


def _printable(letter: str) -> str:
    if letter in "\t\n\r":
        return " "
    return "\ufffd" if unicodedata.category(letter) in _unprintable else letter


def width(text: str, size: float) -> float:
    """How wide a line of this text is at most, in any common sans-serif font of this size.

    The widest of them is DejaVu Sans Bold, whose widths these are.
    """
    return size * sum(map(_em, text))


_widths = {
    0.35: "'ijl ", 0.4: "/IJ\\|,.:;·", 0.5: "-f!()[]tr_`", 0.55: '"*⁻⁺¹²³ᵀʸˣ‖', 0.6: "?zcs",
    0.7: "LvxyakEFTeo$0123456789Σ√∂", 0.78: "hnu{}SYbdgpqCPZBAKRVX",
    0.85: "σUGDOQ#+<=>HN^~−×÷≤≥≠→∞", 0.93: "w&",
    1.0: "%@M…", 1.05: "m", 1.11: "W",
}  # fmt: skip
_ems = {letter: em for em, letters in _widths.items() for letter in letters}


@cache
def _em(letter: str) -> float:
    if letter in _ems:
        return _ems[letter]
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0.0  # it stands above or below another
    if is_wide(letter) and unicodedata.category(letter) != "So":
        return 1.0
    return 1.35 if letter.isupper() else 1.1


def is_wide(letter: str) -> bool:
    """Whether a letter is as wide as it is high, as Chinese characters are."""
    return unicodedata.east_asian_width(letter) in "WF"


def number(value: float) -> str:
    """A number in a few characters: 0.25, 12.5, 1.2e-3, NaN, ∞."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size == 0 or 0.01 <= size < 1000:
        return f"{value:.3g}"
    if 1000 <= size < 1e6:
        return f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def shape_words(shape: Sequence[int] | None, parts: int = 0) -> str:
    """The shape as 32×128; of a tuple, how many parts; of a single number, nothing."""
    return f"{parts} parts" if shape is None else "×".join(map(str, shape))


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
        return ":".join("" if v is None else _value(v) for v in (value.start, value.stop))
    if value is None or isinstance(value, bool | int | float | str | np.generic | np.dtype):
        return literal(value, 40)
    return literal(getattr(value, "__name__", type(value).__name__), 40)


def gradient_words(size: float | None) -> tuple[str, bool]:
    """The state of a gradient, and whether it is bad news: (words, loud).

    size: its Euclidean norm; None says there is no gradient yet.
    """
    if size is None:
        return "no grad yet", False
    if np.isfinite(size):
        return f"grad {number(size)}", False
    return f"grad has {number(size)}!", True
