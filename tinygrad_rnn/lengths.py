"""Which steps of a padded batch are real: lengths and masks, checked in one place."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tensor import as_array


def check_lengths(
    who: str, lengths: Any, steps: int | None = None, batch: int | None = None,
    word: str = "lengths",
) -> np.ndarray:  # fmt: skip
    """The length of each sequence of a batch as int64 (B,), 0 allowed, in any order.

    `steps` is the longest that fits and `batch` how many there have to be; None asks for nothing.
    Any type of integer is taken. Raises TypeError for floats and bools, and ValueError for a wrong
    shape or a length below 0 or above `steps`, in the name of `who` and its argument `word`.

    >>> tg.data.check_lengths("mine", [3, 0], steps=5, batch=2).tolist()
    [3, 0]
    """
    array = plain(who, word, lengths)
    if array.ndim != 1 or batch not in (None, len(array)):
        wanted = "one whole number for each sequence" + f", {batch} of them" * (batch is not None)
        raise ValueError(f"{who}: {word}: expected {wanted}, got shape {array.shape}")
    if array.dtype.kind not in "iu" and len(array):  # an empty list is an array of floats
        raise TypeError(
            f"{who}: {word}: expected integers, how many steps of each sequence are real, got "
            f"dtype {array.dtype}. Whole floats go through .astype(np.int64); bools are a mask."
        )
    most = np.iinfo(np.int64).max if steps is None else steps
    wrong = (array < 0) | (array > most)  # before the conversion, in which large ones would wrap
    if wrong.any():
        index = int(wrong.argmax())
        limit = "" if steps is None else f" and at most {steps}, the number of steps"
        raise ValueError(
            f"{who}: {word}: expected at least 0{limit}, got {array[index]} at index {index}"
        )
    return array.astype(np.int64)


def check_mask(who: str, mask: Any, steps: int, batch: int, word: str = "mask") -> np.ndarray:
    """Return which steps of which sequences are real as bools (T, B); holes are allowed.

    Takes bools, or 0 and 1 in any type of number. Raises ValueError for other numbers and for
    shapes other than (steps, batch), in the name of `who` and its argument `word`.

    >>> tg.data.check_mask("mine", [[1, 0], [1, 1]], steps=2, batch=2).tolist()
    [[True, False], [True, True]]
    """
    array = plain(who, word, mask)
    if array.shape != (steps, batch):
        turned = " Use its .T." if array.shape == (batch, steps) else ""
        raise ValueError(
            f"{who}: {word}: expected shape (T, B) = {(steps, batch)}, got {array.shape}.{turned}"
        )
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        t, b = np.argwhere(wrong)[0]
        raise ValueError(
            f"{who}: {word}: expected bools, or 0 and 1, got {array[t, b]} at step {t} of sequence "
            f"{b}. To weigh steps, multiply what they give."
        )
    return array.astype(bool)


def plain(who: str, word: str, x: Any) -> np.ndarray:
    """An argument as a plain array of numbers, or a refusal in the name of `who`."""
    try:
        return as_array(x)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).removeprefix("tensor: ")
        raise type(error)(f"{who}: {word}: {reason}") from None
