"""Layers without memory: an affine map, a table of vectors, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import embedding
from ..tensor import Operand, Tensor, scope
from .init import Random, glorot
from .module import Module, as_floats, floating, parameter, positive


class Linear(Module):
    """y = x W + b, for x of shape (..., inputs) (S1). W is Glorot, b begins at 0."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("Linear", inputs=inputs, outputs=outputs)
        dtype = floating("Linear", dtype)
        weights = glorot(np.random.default_rng(rng), inputs, outputs)
        self.W = parameter(weights.astype(dtype), "W")
        self.b = parameter(np.zeros(outputs, dtype), "b") if bias else None

    def __call__(self, x: Operand) -> Tensor:
        x = as_floats("Linear", "x", x, self.W.dtype)
        if x.ndim < 1 or x.shape[-1] != self.W.shape[0]:
            raise ValueError(
                f"Linear: x: expected {self.W.shape[0]} features on the last axis, got shape "
                f"{x.shape}"
            )
        with scope("linear"):
            y = x @ self.W
            return y if self.b is None else y + self.b


class Embedding(Module):
    """The row of a table for each index: integers (...) to vectors (..., size).

    Rows begin normal with variance 1 / size. Raises IndexError outside 0 <= index < count.
    """

    def __init__(self, count: int, size: int, *, dtype: Any = np.float32, rng: Random = None):
        positive("Embedding", count=count, size=size)
        dtype = floating("Embedding", dtype)
        rows = np.random.default_rng(rng).normal(size=(count, size)) / np.sqrt(size)
        self.table = parameter(rows.astype(dtype), "table")

    def __call__(self, index: Operand) -> Tensor:
        with scope("embedding"):
            return embedding(self.table, index)


class Dropout(Module):
    """In training each element is 0 with probability p, else x / (1 - p); in use x itself (S24).

    A new mask at every call, drawn from `rng`. Raises ValueError unless 0 <= p <= 1.
    """

    def __init__(self, p: float, *, rng: Random = None):
        if not isinstance(p, int | float | np.number):
            raise TypeError(f"Dropout: p: expected a probability in [0, 1], got {p!r}")
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p: expected a probability in [0, 1], got {p}")
        self.p = float(p)
        self.rng = np.random.default_rng(rng) if p else None  # what never draws needs none

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype.kind != "f":
            raise TypeError(f"Dropout: x: expected floats, got {x.dtype}")
        if not self.training or self.p == 0:
            return x
        assert self.rng is not None
        kept = self.rng.random(x.shape, np.float32) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x * Tensor((kept * scale).astype(x.dtype), name="mask")
