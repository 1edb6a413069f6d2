"""An array told in a few numbers: its norm, its range, what is not finite, and few elements."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..optim.clip import euclidean

FEW = 64  # a larger array is told by its statistics only


class Numbers:
    """An array, or the parts of a tuple as one; every number is computed when it is asked for.

    l2 is the Euclidean norm; least, largest and average are those of the finite elements, None
    where there is none. nan and infinite count the others. data is flat, None for a large array. Of
    one that a document told there may be no array: `given` are the numbers that stand there.
    """

    def __init__(self, *arrays: np.ndarray, **given: Any):
        self.arrays = arrays
        vars(self).update(given)

    @cached_property
    def flat(self) -> np.ndarray:
        """All elements in float64."""
        flat = [np.asarray(a, np.float64).reshape(-1) for a in self.arrays]
        return flat[0] if len(flat) == 1 else np.concatenate([*flat, np.empty(0)])

    @cached_property
    def l2(self) -> float:
        return euclidean([self.flat])

    @cached_property
    def data(self) -> list[float] | None:
        return self.flat.tolist() if self.flat.size <= FEW else None

    @cached_property
    def _finite(self) -> np.ndarray:
        return self.flat[np.isfinite(self.flat)]

    @cached_property
    def least(self) -> float | None:
        return float(self._finite.min()) if self._finite.size else None

    @cached_property
    def largest(self) -> float | None:
        return float(self._finite.max()) if self._finite.size else None

    @cached_property
    def average(self) -> float | None:
        return float(self._finite.mean()) if self._finite.size else None

    @cached_property
    def nan(self) -> int:
        return int(np.isnan(self.flat).sum())

    @cached_property
    def infinite(self) -> int:
        return int(self.flat.size - self._finite.size - self.nan)
