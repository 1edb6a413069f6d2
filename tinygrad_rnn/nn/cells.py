"""Cells: the textbook's formula for one step of time, state in and state out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import relu, sigmoid, split, tanh
from ..tensor import Tensor
from .init import Random, glorot, orthogonal
from .module import floating, parameter, positive
from .recurrent import Cell


class RNN(Cell):
    """h = f(x Wx + h Wh + b) (S2; Elman 1990).

    activation: "tanh", "relu", or a function of a tensor. bias: how many, 0, 1 or 2 (b, and bh
    as in note 003's formula 1). Wx (inputs, hidden) is Glorot, Wh (hidden, hidden) orthogonal.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        activation: str | Callable[[Tensor], Tensor] = "tanh",
        bias: int = 1,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("RNN", inputs=inputs, hidden=hidden)
        dtype = floating("RNN", dtype)
        if bias not in (0, 1, 2):
            raise ValueError(f"RNN: bias: expected 0, 1 or 2 of them, got {bias!r}")
        named = {"tanh": tanh, "relu": relu}
        if not callable(activation) and activation not in named:
            raise ValueError(
                f"RNN: activation: expected {', '.join(map(repr, named))} or a function, "
                f"got {activation!r}"
            )
        rng = np.random.default_rng(rng)
        self.inputs, self.hidden, self.dtype = inputs, hidden, dtype
        self.activation = activation if callable(activation) else named[activation]
        # The largest first: a size far too large fails at once, before it fills the memory.
        self.Wh = parameter(orthogonal(rng, hidden).astype(dtype), "Wh")
        self.Wx = parameter(glorot(rng, inputs, hidden).astype(dtype), "Wx")
        self.b = parameter(np.zeros(hidden, dtype), "b") if bias else None
        self.bh = parameter(np.zeros(hidden, dtype), "bh") if bias == 2 else None

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        a = x @ self.Wx + h @ self.Wh
        a = a if self.b is None else a + self.b
        return self.activation(a if self.bh is None else a + self.bh)


class LSTM(Cell):
    """c = σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c), with i, f, g, o = x Wx + h Wh + b (S20).

    Hochreiter & Schmidhuber 1997, forget gate Gers et al. 2000. One bias per gate; the forget
    gate's begins at 1, so that a new network remembers (Jozefowicz et al. 2015). Wx is
    (inputs, 4·hidden), Glorot; Wh (hidden, 4·hidden), orthogonal per gate. Parameters:
    4 [(inputs + hidden) hidden + hidden] (S22).
    """

    state = ("h", "c")

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("LSTM", inputs=inputs, hidden=hidden)
        dtype = floating("LSTM", dtype)
        rng = np.random.default_rng(rng)
        self.inputs, self.hidden, self.dtype = inputs, hidden, dtype
        self.Wh = parameter(orthogonal(rng, hidden, gates=4).astype(dtype), "Wh")
        self.Wx = parameter(glorot(rng, inputs, hidden, gates=4).astype(dtype), "Wx")
        forget = np.repeat([0.0, 1.0, 0.0, 0.0], hidden)
        self.b = parameter(forget.astype(dtype), "b") if bias else None

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        a = x @ self.Wx + h @ self.Wh
        i, f, g, o = split(a if self.b is None else a + self.b, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, c


class GRU(Cell):
    """h = (1 - z) h + z h̃, h̃ = tanh(x W + (r h) Wn), z, r = σ(x W + h Wh) (S21).

    The notes' form (Chung et al. 2014): the reset gate acts before the product, z gates the
    candidate, and there is no bias unless asked for. Wx is (inputs, 3·hidden) for z, r, h̃, Glorot;
    Wh (hidden, 2·hidden) for z and r, and Wn (hidden, hidden) for h̃, orthogonal per gate.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool = False,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("GRU", inputs=inputs, hidden=hidden)
        dtype = floating("GRU", dtype)
        rng = np.random.default_rng(rng)
        self.inputs, self.hidden, self.dtype = inputs, hidden, dtype
        self.Wh = parameter(orthogonal(rng, hidden, gates=2).astype(dtype), "Wh")
        self.Wx = parameter(glorot(rng, inputs, hidden, gates=3).astype(dtype), "Wx")
        self.Wn = parameter(orthogonal(rng, hidden).astype(dtype), "Wn")
        self.b = parameter(np.zeros(3 * hidden, dtype), "b") if bias else None

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        a = x @ self.Wx
        xz, xr, xn = split(a if self.b is None else a + self.b, 3)
        hz, hr = split(h @ self.Wh, 2)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        n = tanh(xn + (r * h) @ self.Wn)
        return (1 - z) * h + z * n
