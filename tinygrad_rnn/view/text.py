"""Words and numbers as they may stand in a picture: literal, short, and measured without a font."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from math import fsum

import numpy as np

from ..tape import Record
from ..tape.words import literal as literal
from ..tape.words import number as number
from ..tape.words import step_of as step_of


def width(text: str, size: float) -> float:
    """How wide a line of this text is at most, in any common sans-serif font of this size.

    The widest of them is DejaVu Sans Bold, whose widths these are.
    """
    return size * fsum(map(_em, text))


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


def sign(r: Record) -> str:
    """What the op of a record is called: by the sign of its declaration, else by its name."""
    return r.call.sign or literal(r.call.op.replace("_", " "), 20)


def shape_words(shape: Sequence[int] | None, parts: int = 0) -> str:
    """The shape as 32×128; of a tuple, how many parts; of a single number, nothing."""
    return f"{parts} parts" if shape is None else "×".join(map(str, shape))


def gradient_words(size: float | None) -> tuple[str, bool]:
    """The state of a gradient, and whether it is bad news: (words, loud).

    size: its Euclidean norm; None says there is no gradient yet.
    """
    if size is None:
        return "no grad yet", False
    if np.isfinite(size):
        return f"grad {number(size)}", False
    return f"grad has {number(size)}!", True


def brief(value: float) -> str:
    """A number in at most five letters: 0.25, 12, 150, 1e-3, NaN, ∞."""
    if not np.isfinite(value):
        return number(value)
    if value == 0 or 0.01 <= abs(value) < 9999.5:
        return f"{value:.2g}" if abs(value) < 99.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


UNITS = ("B", "kB", "MB", "GB", "TB")


def size_words(size: float) -> str:
    """A number of bytes in three digits: 640 B, 12.8 kB."""
    power = 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {UNITS[power]}"


def count(number: int, word: str, words: str = "") -> str:
    """So many things: 1 step, 2 steps, 1,000 boxes."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"
