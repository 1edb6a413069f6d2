"""Normalisation of features, for use inside a step or by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import sqrt
from ..tensor import Operand, Tensor
from .module import Module, as_floats, floating, parameter, positive

EPSILON = 1e-5


def normalized(x: Tensor) -> Tensor:
    """(x - mean) / √(variance + ε) over the last axis (Ba et al. 2016, formula 3)."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x / sqrt((x * x).mean(axis=-1, keepdims=True) + EPSILON)


class LayerNorm(Module):
    """normalized(x) ⊙ gain + shift, over the last axis, of the size given. Ba et al. 2016.

    `blocks` parts of the last axis may be normalised each by itself, as gates side by side are.

    >>> y = tg.nn.LayerNorm(4)(np.array([[1.0, 2.0, 3.0, 4.0]], np.float32))
    >>> y.data.round(2).tolist()
    [[-1.340000033378601, -0.44999998807907104, 0.44999998807907104, 1.340000033378601]]
    """

    def __init__(self, size: int, *, shift: bool = True, blocks: int = 1, dtype: Any = np.float32):
        positive("LayerNorm", size=size, blocks=blocks)
        dtype = floating("LayerNorm", dtype)
        if size % blocks:
            raise ValueError(f"LayerNorm: size: {size} features are no {blocks} equal blocks")
        self.blocks = blocks
        self.gain = parameter(np.ones(size, dtype), "gain")
        self.shift = parameter(np.zeros(size, dtype), "shift") if shift else None

    def __call__(self, x: Operand) -> Tensor:
        x = as_floats("LayerNorm", "x", x, self.gain.dtype)
        if x.shape[-1:] != self.gain.shape:
            raise ValueError(
                f"LayerNorm: x: expected {len(self.gain)} features on the last axis, got shape "
                f"{x.shape}"
            )
        if self.blocks == 1:
            y = normalized(x) * self.gain
        else:
            apart = x.reshape(*x.shape[:-1], self.blocks, len(self.gain) // self.blocks)
            y = normalized(apart).reshape(x.shape) * self.gain
        return y if self.shift is None else y + self.shift
