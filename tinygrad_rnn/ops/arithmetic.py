"""Arithmetic and elementary functions, one element at a time: z = f(x, y) and y = f(x)."""

import numpy as np

from .. import kernels
from ..op import pointwise
from ..tensor import as_dtype

__all__ = [
    "abs", "add", "astype", "div", "equal", "exp", "greater", "greater_equal", "less",
    "less_equal", "log", "maximum", "minimum", "mul", "neg", "not_equal", "power", "relu",
    "sigmoid", "sign", "softplus", "sqrt", "sub", "tanh", "where",
]  # fmt: skip

# -- arithmetic -------------------------------------------------------------------------------


@pointwise(lambda g, z, x, y: g, lambda g, z, x, y: g, sign="+", method=("__add__",))
def add(x, y):
    return x + y


@pointwise(
    lambda g, z, x, y: g,
    lambda g, z, x, y: -g,
    sign="−",
    numpy=("subtract",),
    method=("__sub__",),
)
def sub(x, y):
    return x - y


@pointwise(
    lambda g, z, x, y: g * y,
    lambda g, z, x, y: g * x,
    sign="×",
    numpy=("multiply",),
    method=("__mul__",),
)
def mul(x, y):
    return x * y


@pointwise(
    lambda g, z, x, y: g / y,
    lambda g, z, x, y: -g * z / y,
    sign="÷",
    numpy=("divide", "true_divide"),
    method=("__truediv__",),
    quiet=True,
)
def div(x, y):
    return x / y


@pointwise(
    lambda g, z, x, y: g * y * power(x, where(equal(y, 0), 1, y) - 1),
    lambda g, z, x, y: g * where(equal(x, 0), 0, z * log(where(equal(x, 0), 1, x))),
    sign="xʸ",
    method=("__pow__",),
    quiet=True,
)
def power(x, y):
    """x to the power y. At 0 the derivative by y is taken as 0, and 0⁰ is constant."""
    return x**y


@pointwise(lambda g, y, x: -g, sign="−x", numpy=("negative",), method=("__neg__",))
def neg(x):
    return -x


# -- functions --------------------------------------------------------------------------------


@pointwise(lambda g, y, x: g * y, sign="eˣ", method=True)
def exp(x):
    return kernels.exp(x)


@pointwise(lambda g, y, x: g / x, method=True, quiet=True)
def log(x):
    return np.log(x)


@pointwise(lambda g, y, x: g / (y + y), sign="√", method=True, quiet=True)
def sqrt(x):
    return np.sqrt(x)


@pointwise(lambda g, y, x: g - g * y * y, method=True)
def tanh(x):
    return kernels.tanh(x)


@pointwise(lambda g, y, x: g * (y - y * y), sign="σ", method=True)
def sigmoid(x):
    """1 / (1 + e⁻ˣ), without overflow at either end."""
    return kernels.sigmoid(x)


@pointwise(lambda g, y, x: g * sigmoid(x), quiet=True)
def softplus(x):
    """log(1 + eˣ), without overflow; log sigmoid(x) is -softplus(-x)."""
    return np.logaddexp(x, x.dtype.type(0))


@pointwise(lambda g, y, x: g * sign(x), sign="|x|", numpy=("absolute",), method=("abs", "__abs__"))
def abs(x):
    """|x|; the derivative at 0 is taken as 0."""
    return np.abs(x)


@pointwise(None)
def sign(x):
    """-1, 0 or 1; NaN stays."""
    return np.sign(x)


# -- choices ----------------------------------------------------------------------------------


@pointwise(lambda g, y, x: where(x > 0, g, 0), method=True)
def relu(x):
    """The larger of x and 0; the derivative at 0 is taken as 0. NaN stays."""
    return np.maximum(x, 0)


def _chosen(g, wins, x, y):
    """The cotangent of x where it was chosen over y, and half of it where they tie."""
    return g * (astype(wins, dtype=g.dtype) + 0.5 * astype(equal(x, y), dtype=g.dtype))


@pointwise(lambda g, z, x, y: _chosen(g, x > y, x, y), lambda g, z, x, y: _chosen(g, y > x, y, x))
def maximum(x, y):
    """The larger of two; where they tie, each gets half of the cotangent. NaN stays."""
    return np.maximum(x, y)


@pointwise(lambda g, z, x, y: _chosen(g, x < y, x, y), lambda g, z, x, y: _chosen(g, y < x, y, x))
def minimum(x, y):
    """The smaller of two; where they tie, each gets half of the cotangent. NaN stays."""
    return np.minimum(x, y)


@pointwise(
    None,
    lambda g, z, condition, x, y: where(condition, g, 0),
    lambda g, z, condition, x, y: where(condition, 0, g),
)
def where(condition, x, y):
    """x where the condition holds, else y.

    Both are computed: keep the side that is not taken finite, or its 0·∞ makes a NaN gradient.
    """
    return np.where(condition, x, y)


@pointwise(lambda g, y, x, dtype: astype(g, dtype=x.dtype), method=True)
def astype(x, dtype):
    """The same values in another dtype."""
    return np.asarray(x).astype(as_dtype(dtype))


# -- comparisons: True or False, no derivative ---------------------------------------------------


@pointwise(None, None, sign="<", method=("__lt__",))
def less(x, y):
    return x < y


@pointwise(None, None, sign="≤", method=("__le__",))
def less_equal(x, y):
    return x <= y


@pointwise(None, None, sign=">", method=("__gt__",))
def greater(x, y):
    return x > y


@pointwise(None, None, sign="≥", method=("__ge__",))
def greater_equal(x, y):
    return x >= y


@pointwise(None, None, sign="=", method=("__eq__",))
def equal(x, y):
    """x == y, element by element."""
    return x == y


@pointwise(None, None, sign="≠", method=("__ne__",))
def not_equal(x, y):
    """x != y, element by element."""
    return x != y
