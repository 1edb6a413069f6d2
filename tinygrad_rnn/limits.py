"""What an argument may be: a whole number, a number within limits, an axis, one of a few words.

Each check returns what it was given, or refuses it in the name of `who`, whose argument is `word`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple


def whole(
    who: str, word: str, given: Any, least: int = 0, most: int | None = None, why: str = "",
    kind: str = "a whole number",
) -> int:  # fmt: skip
    """A whole number of at least `least` and, for the reason `why`, at most `most`, as an int."""
    given = given[()] if isinstance(given, np.ndarray) and not given.ndim else given
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"{who}: {word}: expected {kind}, got {given!r} ({type(given).__name__})")
    if given < least or (most is not None and given > most):
        limit = f"at least {least}" if most is None else f"{least} to {most}{why}"
        raise ValueError(f"{who}: {word}: expected {limit}, got {given}")
    return int(given)


def number(
    who: str, word: str, given: Any, limits: str, kind: str = "a number", hint: str = ""
) -> float:
    """A number of an interval as it is written, such as "[0, inf)", as a float; never NaN."""
    given = given[()] if isinstance(given, np.ndarray) and not given.ndim else given
    if isinstance(given, bool) or not isinstance(given, int | float | np.integer | np.floating):
        raise TypeError(f"{who}: {word}: expected {kind} in {limits}, got {given!r}")
    if isinstance(given, int) and given.bit_length() > 1023:  # more than any float
        given = np.inf if given > 0 else -np.inf
    low, high = map(float, limits[1:-1].split(","))
    ends = [low] * (limits[0] == "[") + [high] * (limits[-1] == "]")
    if not (low < given < high or given in ends):
        raise ValueError(f"{who}: {word}: expected {kind} in {limits}, got {given}{hint}")
    return float(given)


def one_of(who: str, word: str, given: Any, known: Iterable[Any]) -> Any:
    """One of a few choices."""
    if given not in (known := tuple(known)):
        raise ValueError(f"{who}: {word}: expected one of {known}, got {given!r}")
    return given


FLAGS = True, False


def flag(who: str, word: str, given: Any) -> bool:
    """True or False; other things are not asked whether they are true."""
    if isinstance(given, int | np.bool_) and given in FLAGS:
        return bool(given)
    raise ValueError(f"{who}: {word}: expected one of {FLAGS}, got {given!r}")


def axis_of(word: str, given: Any, ndim: int) -> int:
    """An axis of so many, counted from 0."""
    return _counted(normalize_axis_index, word, given, ndim, "one axis, a whole number")


def axes_of(word: str, given: Any, ndim: int) -> tuple[int, ...]:
    """An axis of so many, or several, counted from 0."""
    return _counted(normalize_axis_tuple, word, given, ndim, "whole numbers of axes")


def _counted(count: Any, word: str, given: Any, ndim: int, expected: str) -> Any:
    try:
        if given.__class__ is bool:
            raise TypeError
        return count(given, ndim, word)
    except TypeError:
        raise TypeError(f"{word}: expected {expected}, got {given!r}") from None


def native(given: Any) -> np.dtype | None:
    """The dtype that a tensor has for one, in this machine's byte order; None if it has none."""
    try:
        dtype = np.dtype(given)
    except TypeError:
        return None
    if dtype.kind not in "biuf" or (dtype.kind == "f" and dtype.itemsize > 8):
        return None
    return np.dtype(np.float32 if dtype.char == "e" else dtype.type)  # the one that NumPy gives


def lost(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers of an array that would be others in a dtype, or infinite in one of floats."""
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        return array[
            np.isfinite(array) & ~np.isfinite(cast) if dtype.kind == "f" else cast != array
        ]


OTHERWISE = {  # by kind of dtype
    None: "A function without a return gives None.",
    "U": "Text is encoded: tg.data.Vocabulary(text).encode(text).",
    "O": "Something in it is no number.",
    "c": "Give x.real and x.imag by themselves.",
    "f": "Use x.astype(np.float64).",
    "M": "Count from a day: (x - x[0]) / np.timedelta64(1, 'D').",
}


def strange(dtype: np.dtype, data: Any) -> str:
    """What is said of data of a dtype that no tensor has."""
    way = OTHERWISE.get(data if data is None else dtype.kind, "Use x.astype(np.float32).")
    way = f"Take a field, x[{dtype.names[0]!r}], or stack several." if dtype.names else way
    got = f"{dtype} ({type(data).__name__})"
    return f"expected floats of at most 64 bits, integers or bools, got {got}. {way}"


def ragged(error: Exception) -> str:
    """What is said of lists that are no array."""
    got = str(error).split(". ")[-1].rstrip(".")
    return f"expected lists of one length, got ragged ones: {got}. tg.data.pad fills them up."
