"""Layers without memory: an affine map, a table of vectors, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import embedding
from ..randomness import Random, generator, given
from ..tensor import Operand, Tensor, scope
from .init import glorot
from .module import Module, as_floats, floating, parameter, positive
from .moment import dropped, each_step, mask_of, probability


class Linear(Module):
    """y = x W + b, for x of shape (..., inputs) (S1). W is Glorot, b begins at 0.

    >>> tg.nn.Linear(3, 2, rng=0)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, dtype: Any = np.float32,
        rng: Random = None,
    ):  # fmt: skip
        positive("Linear", inputs=inputs, outputs=outputs)
        dtype = floating("Linear", dtype)
        weights = glorot(generator(self, rng), inputs, outputs)
        self.W = parameter(weights, "W", dtype)
        self.b = parameter(np.zeros(outputs, dtype), "b") if bias else None

    def __call__(self, x: Operand) -> Tensor:
        x = as_floats("Linear", "x", x, self.W.dtype, len(self.W))
        with scope("linear"):
            y = x @ self.W
            return y if self.b is None else y + self.b


class Embedding(Module):
    """The row of a table for each index: integers (...) to vectors (..., size).

    Rows begin normal with variance 1 / size. Raises IndexError outside 0 <= index < count.

    >>> tg.nn.Embedding(10, 4, rng=0)(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, count: int, size: int, *, dtype: Any = np.float32, rng: Random = None):
        positive("Embedding", count=count, size=size)
        dtype = floating("Embedding", dtype)
        rows = generator(self, rng).normal(size=(count, size)) / np.sqrt(size)
        self.table = parameter(rows, "table", dtype)

    def __call__(self, index: Operand) -> Tensor:
        with scope("embedding"):
            return embedding(self.table, index)


class Dropout(Module):
    """Dropout: 0 with probability p, else x / (1 - p); in evaluation mode x itself (S24).

    A new mask at every call, drawn from `rng`; in a cell's step, at every step. Raises ValueError
    unless 0 <= p <= 1. Plain arrays become tensors of `dtype`.

    >>> dropout = tg.nn.Dropout(0.5, rng=0)
    >>> sorted(set(dropout(np.ones(100, np.float32)).data.tolist()))
    [0.0, 2.0]
    >>> dropout.eval()(np.ones(2, np.float32)).data.tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float, *, dtype: Any = np.float32, rng: Random = None):
        self.dtype, self.p = floating("Dropout", dtype), probability("Dropout", "p", p)
        self.rng = given(self, rng)

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether it cuts anything now."""
        return self.training and self.p > 0

    def __call__(self, x: Operand) -> Tensor:
        x = x if isinstance(x, Tensor) else as_floats("Dropout", "x", x, self.dtype)
        if x.dtype.kind != "f":
            raise TypeError(f"Dropout: x: expected floats, got {x.dtype}")
        if not self.draws:
            return x
        return x * each_step(lambda n: self._masks(n, x.shape, x.dtype))

    def _masks(self, count: int, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return mask_of(dropped(self, (count, *shape), self.p, dtype), "mask", "links")
