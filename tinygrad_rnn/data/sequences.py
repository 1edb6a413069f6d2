"""Sequences of different length: padded into one array and back, and sorted into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..lengths import check_lengths, plain
from ..limits import lost, whole
from ..ops.shape import check_index
from ..randomness import Random, generator


def pad(sequences: Iterable[Any], value: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T_b, ...) side by side in one array (T, B, ...), and their lengths, int64 (B,).

    They may come in any order and be empty; T is the longest length. What lies behind the end of
    a sequence is `value`. The dtype is what NumPy mixes theirs to.

    Raises ValueError for no sequences at all, for shapes that differ in more than the length, and
    for a `value` that the dtype cannot hold.

    >>> array, lengths = tg.data.pad([[1, 2, 3], [4]])
    >>> array.tolist(), lengths.tolist()
    ([[1, 4], [2, 0], [3, 0]], [3, 1])
    """
    arrays = [plain("pad", f"sequence {b}", x) for b, x in enumerate(sequences)]
    if not arrays:
        raise ValueError("pad: sequences: expected at least one sequence, got none")
    filled = [x for x in arrays if len(np.atleast_1d(x))] or arrays
    dtype = np.result_type(*(x.dtype for x in filled))  # not of an empty list: that is float64
    rest = filled[0].shape[1:]
    for b, x in enumerate(arrays):
        if x.ndim < 1 or (x.shape[1:] != rest and x.shape != (0,)):
            raise ValueError(
                f"pad: sequence {b}: expected a shape like {filled[0].shape}, of any length, got "
                f"{x.shape}"
            )
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_):
        raise TypeError(f"pad: value: expected a number, got {value!r}")
    if lost(np.asarray(float(value) if dtype.kind == "f" else value), dtype).size:
        raise ValueError(f"pad: value: expected one that {dtype} can hold, got {value!r}")
    lengths = np.array([len(x) for x in arrays], np.int64)
    padded = np.full((lengths.max(), len(arrays), *rest), value, dtype)
    for b, x in enumerate(arrays):
        padded[: len(x), b] = x.reshape(len(x), *rest)
    return padded, lengths


def unpad(array: Any, lengths: Any) -> list[np.ndarray]:
    """The sequences (T_b, ...) of a padded array (T, B, ...), as copies: `pad` undone.

    Raises ValueError or TypeError for lengths that do not fit the array.

    >>> [part.tolist() for part in tg.data.unpad(np.array([[1, 4], [2, 0]]), [2, 1])]
    [[1, 2], [4]]
    """
    array = plain("unpad", "array", array)
    if array.ndim < 2:
        raise ValueError(f"unpad: array: expected (T, B, ...), got shape {array.shape}")
    steps, batch = array.shape[:2]
    return [
        array[:n, b].copy() for b, n in enumerate(check_lengths("unpad", lengths, steps, batch))
    ]


def mask_of(lengths: Any, steps: int) -> np.ndarray:
    """Return which steps are real, bool (steps, B): the first `lengths[b]` of sequence b.

    Raises ValueError or TypeError for lengths that do not fit into `steps`.

    >>> tg.data.mask_of([2, 1], steps=3).tolist()
    [[True, True], [True, False], [False, False]]
    """
    steps = whole("mask_of", "steps", steps, 0)
    return np.arange(steps)[:, None] < check_lengths("mask_of", lengths, steps)


def buckets(lengths: Any, batch: int, *, rng: Random = None) -> Iterator[np.ndarray]:
    """Batches of sequences of similar length: the numbers of `batch` sequences each, int64.

    Every sequence comes once; one batch may be smaller. Lengths are sorted with a tenth of noise,
    so that each call with the same generator mixes again, cut, and the batches shuffled. The same
    seed gives the same batches. What padding is left: `padding_share`.

    Raises ValueError or TypeError for lengths that are not whole numbers and a batch below 1.

    >>> [batch.size for batch in tg.data.buckets([3, 9, 4, 8, 5], 2, rng=0)]
    [2, 2, 1]
    """
    lengths = check_lengths("buckets", lengths)
    batch = whole("buckets", "batch", batch, 1)
    rng = generator("buckets", rng)
    noise = rng.uniform(0.95, 1.05, len(lengths))
    order = np.argsort((lengths + 1) * noise, kind="stable")
    starts = rng.permutation(np.arange(0, len(order), batch))
    return (order[start : start + batch] for start in starts)


def padding_share(lengths: Any, batches: Iterable[np.ndarray]) -> float:
    """Return which share of all steps is padding when these batches are padded: 0 for none.

    >>> tg.data.padding_share([2, 4], [np.array([0, 1])])
    0.25
    """
    lengths = check_lengths("padding_share", lengths)
    chosen = [lengths[index] for index in batches if len(index)]
    padded = sum(len(x) * int(x.max()) for x in chosen)
    return 1 - sum(sum(x.tolist()) for x in chosen) / padded if padded else 0.0


def one_hot(index: Any, classes: int, dtype: Any = np.float32) -> np.ndarray:
    """Vectors (..., classes) that are 1 at `index` (...) and 0 elsewhere.

    Raises IndexError outside 0 <= index < classes, and TypeError for what is not integers.

    >>> tg.data.one_hot([2, 0], 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    index = plain("one_hot", "index", index)
    classes = whole("one_hot", "classes", classes, 1)
    check_index("index", index, classes, IndexError)
    return (index[..., None] == np.arange(classes)).astype(dtype)
