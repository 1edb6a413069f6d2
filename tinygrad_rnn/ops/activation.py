"""Activations made of other ops, by PyTorch's names.

The steeper an activation can be, the less a gradient vanishes and the sooner it explodes: the
largest derivative is given with each (S18).
"""

import math

import numpy as np

from .. import kernels
from ..limits import one_of
from ..op import function, pointwise
from ..tensor import Value
from .arithmetic import abs, maximum, minimum, real, sigmoid, softplus, tanh, where
from .elementary import expm1, ndtr

__all__ = [
    "clip", "elu", "gelu", "hard_sigmoid", "hard_tanh", "leaky_relu", "log_sigmoid", "mish",
    "selu", "silu", "softsign",
]  # fmt: skip


@function(method=True)
def clip(x: Value, a_min: Value = None, a_max: Value = None) -> Value:
    """Return x where it lies between the limits, else the nearer limit; NaN stays.

    A limit may be a number, an array or a tensor, or None for none. At a limit, x and the limit
    each get half of the gradient.

    >>> tg.clip(tg.tensor([-2.0, 0.5, 3.0]), 0, 1)
    tensor([0. , 0.5, 1. ], dtype=float64)
    """
    if a_min is None and a_max is None:
        raise ValueError("clip: expected a_min or a_max, or both, got neither")
    x = x if a_min is None else maximum(x, a_min)
    return x if a_max is None else minimum(x, a_max)


@function()
def hard_tanh(x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """Return x between the limits, else the nearer limit; derivative at most 1, ½ at the corners.

    >>> tg.hard_tanh(tg.tensor([-2.0, 0.5]))
    tensor([-1. ,  0.5], dtype=float64)
    """
    return clip(x, min_val, max_val)


@function(1)
def hard_sigmoid(x: Value, alpha: float = 0.2, beta: float = 0.5) -> Value:
    """Return max(0, min(1, αx + β)); derivative at most |α|, half of it at the corners.

    That of ONNX and of Keras before 3. Keras 3 and PyTorch mean α = 1/6 by it.

    >>> tg.hard_sigmoid(tg.tensor([-9.0, 1.0]))
    tensor([0. , 0.7], dtype=float64)
    """
    return clip(alpha * x + beta, 0, 1)


@function(1)
def log_sigmoid(x: Value) -> Value:
    """Return log(1 / (1 + e⁻ˣ)) without overflow; derivative below 1.

    >>> tg.log_sigmoid(tg.tensor([-1000.0, 0.0]))
    tensor([-1.00000000e+03, -6.93147181e-01], dtype=float64)
    """
    return -softplus(-real(x))


@pointwise(lambda g, y, x: g / (1 + abs(x)) ** 2, quiet=True)
def softsign(x: Value) -> Value:
    """Return x / (1 + |x|); derivative at most 1, at 0. It is NaN at ±inf.

    >>> tg.softsign(tg.tensor([-1.0, 3.0]))
    tensor([-0.5 ,  0.75], dtype=float64)
    """
    return x / (1.0 + np.abs(1.0 * x))  # |-128| and 1 + 255 have no room in a byte


@function(1)
def leaky_relu(x: Value, alpha: float = 0.01) -> Value:
    """Return x where x >= 0, else αx, as in ONNX and PyTorch; derivative at most max(1, |α|).

    At 0 it is 1.

    >>> tg.leaky_relu(tg.tensor([-1.0, 2.0]))
    tensor([-0.01,  2.  ], dtype=float64)
    """
    return where(x >= 0, x, alpha * x)


@function(1)
def elu(x: Value, alpha: float = 1.0) -> Value:
    """Return x where x >= 0, else α (eˣ - 1); derivative at most max(1, |α|), 1 at 0.

    >>> tg.elu(tg.tensor([-1.0, 2.0]))
    tensor([-0.63212056,  2.        ], dtype=float64)
    """
    low = where(x >= 0, 0, x)  # the side that is not taken would overflow
    return where(x >= 0, x, alpha * expm1(low))


@function()
def selu(x: Value) -> Value:
    """Return 1.0507 elu(x, 1.6733), which keeps mean 0 and variance 1 (Klambauer et al. 2017).

    Derivative at most 1.7581, just below 0; 1.0507 at 0.

    >>> tg.selu(tg.tensor([-1.0, 2.0]))
    tensor([-1.11133074,  2.10140197], dtype=float64)
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@pointwise(
    lambda g, y, x: g * (sigmoid(x) + y * sigmoid(-x)),
    number=lambda x: x * kernels.sigmoid(x),
    quiet=True,
)
def silu(x: Value) -> Value:
    """Return x / (1 + e⁻ˣ), also called swish; derivative at most 1.0998. It is NaN at -inf.

    >>> tg.silu(tg.tensor([-1.0, 2.0]))
    tensor([-0.26894142,  1.76159416], dtype=float64)
    """
    return x * sigmoid(x)


def _mish_rule(g: Value, y: Value, x: Value) -> Value:
    """1 - tanh²(w) is (1 + tanh(w)) 2σ(-2w), where nothing cancels."""
    w = softplus(x)
    t = tanh(w)
    return g * (t + x * sigmoid(x) * (2 * (1 + t) * sigmoid(-2 * w)))


@pointwise(_mish_rule, number=lambda x: x * kernels.tanh(kernels.softplus(x)), quiet=True)
def mish(x: Value) -> Value:
    """Return x tanh(log(1 + eˣ)) (Misra 2019); derivative at most 1.0885. It is NaN at -inf.

    >>> tg.mish(tg.tensor([-1.0, 2.0]))
    tensor([-0.30340146,  1.94395896], dtype=float64)
    """
    return x * tanh(softplus(x))


@function(1)
def gelu(x: Value, approximate: str = "none") -> Value:
    """Return x Φ(x), Φ as in `ndtr`; derivative at most 1.129. It is NaN at -inf.

    approximate="tanh" is x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 (Hendrycks & Gimpel 2016).

    >>> tg.gelu(tg.tensor([-1.0, 2.0]))
    tensor([-0.15865525,  1.95449974], dtype=float64)
    """
    if one_of("gelu", "approximate", approximate, ("none", tanh.name)) == "none":
        return x * ndtr(x)
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
