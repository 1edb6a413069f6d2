"""Normalisation of features, for use inside a step or by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import layer_norm
from ..tensor import Operand, Tensor
from .module import Module, as_floats, floating, parameter, positive


class LayerNorm(Module):
    """`tg.layer_norm` over the last axis, of the size given, with a gain and a shift.

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
        x = as_floats("LayerNorm", "x", x, self.gain.dtype, len(self.gain))
        if self.blocks == 1:
            return layer_norm(x, self.gain, self.shift)
        apart = x.reshape(*x.shape[:-1], self.blocks, len(self.gain) // self.blocks)
        y = layer_norm(apart).reshape(x.shape) * self.gain
        return y if self.shift is None else y + self.shift
