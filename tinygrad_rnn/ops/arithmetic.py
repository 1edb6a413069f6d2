"""Arithmetic and elementary functions, one element at a time: z = f(x, y) and y = f(x)."""

from typing import Any

import numpy as np

from .. import kernels
from ..op import pointwise
from ..tensor import Value, as_dtype

__all__ = [
    "abs", "add", "astype", "div", "equal", "exp", "greater", "greater_equal", "less",
    "less_equal", "log", "maximum", "minimum", "mul", "neg", "not_equal", "power", "relu",
    "sigmoid", "sign", "softplus", "sqrt", "sub", "tanh", "where",
]  # fmt: skip

# -- arithmetic -------------------------------------------------------------------------------


@pointwise(lambda g, z, x, y: g, lambda g, z, x, y: g, sign="+", method=("__add__",))
def add(x: Value, y: Value) -> Value:
    """Return x + y.

    >>> tg.add(tg.tensor([1.0, 2.0]), 10)
    tensor([11., 12.], dtype=float64)
    """
    return x + y


@pointwise(
    lambda g, z, x, y: g, lambda g, z, x, y: -g, sign="−", numpy=("subtract",), method=("__sub__",)
)
def sub(x: Value, y: Value) -> Value:
    """Return x - y.

    >>> tg.sub(tg.tensor([1.0, 2.0]), 10)
    tensor([-9., -8.], dtype=float64)
    """
    return x - y


@pointwise(
    lambda g, z, x, y: g * y,
    lambda g, z, x, y: g * x,
    sign="×",
    numpy=("multiply",),
    method=("__mul__",),
)
def mul(x: Value, y: Value) -> Value:
    """Return x * y.

    >>> tg.mul(tg.tensor([1.0, 2.0]), 10)
    tensor([10., 20.], dtype=float64)
    """
    return x * y


@pointwise(
    lambda g, z, x, y: g / y,
    lambda g, z, x, y: -g * z / y,
    sign="÷",
    numpy=("divide", "true_divide"),
    method=("__truediv__",),
    quiet=True,
)
def div(x: Value, y: Value) -> Value:
    """Return x / y; ±inf or NaN where y is 0.

    >>> tg.div(tg.tensor([1.0, 2.0]), 10)
    tensor([0.1, 0.2], dtype=float64)
    """
    return x / y


def _powers_in_a_loop(build: Any, z: Value, inputs: Any) -> Value:
    if z.dtype.kind in "iu" and not inputs[1].is_constant:
        build.refuse("power of integers")  # which NumPy refuses where an exponent is negative
    return build.pointwise(z, inputs)


def _sloped(x: Value, y: Value) -> Value:
    """The exponent, but 1 where x⁰ would have 0 times infinity for a slope: all of it if nobody
    asks how that changes with the exponent."""
    other = where(equal(y, 0), 1, y)
    return where(greater(abs(x), 1.2e-38), y, other) if getattr(y, "tracked", False) else other


def _power(x: Value, y: Value) -> Value:
    return x * x if y == 2 else np.sqrt(x) if y == 0.5 else x**y


@pointwise(
    lambda g, z, x, y: g * y * power(x, _sloped(x, y) - 1),
    lambda g, z, x, y: g * where(equal(x, 0), 0, z * log(where(equal(x, 0), 1, x))),
    number=_power,
    loop=_powers_in_a_loop,
    sign="xʸ",
    method=("__pow__",),
    quiet=True,
)
def power(x: Value, y: Value) -> Value:
    """Return x to the power y. At 0 the derivative by y is taken as 0, and 0⁰ is constant.

    >>> tg.power(tg.tensor([2.0, 3.0]), 2)
    tensor([4., 9.], dtype=float64)
    """
    z = x**y
    rooted = np.ndim(y) and z.dtype.kind == "f"
    return np.where(y == 0.5, np.sqrt(x, dtype=z.dtype), z) if rooted else z


@pointwise(lambda g, y, x: -g, sign="−x", numpy=("negative",), method=("__neg__",))
def neg(x: Value) -> Value:
    """Return -x.

    >>> tg.neg(tg.tensor([1.0, -2.0]))
    tensor([-1.,  2.], dtype=float64)
    """
    return -x


# -- functions --------------------------------------------------------------------------------


@pointwise(lambda g, y, x: g * y, number=kernels.exp, compiled=True, sign="eˣ", method=True)
def exp(x: Value) -> Value:
    """Return e to the power x.

    >>> tg.exp(tg.tensor([0.0, 1.0]))
    tensor([1.        , 2.71828183], dtype=float64)
    """
    return np.exp(x)


@pointwise(lambda g, y, x: g / x, method=True, quiet=True)
def log(x: Value) -> Value:
    """Return the natural logarithm; -inf at 0, NaN below.

    >>> tg.log(tg.tensor([1.0, 10.0]))
    tensor([0.        , 2.30258509], dtype=float64)
    """
    return np.log(x)


@pointwise(lambda g, y, x: g / (y + y), sign="√", method=True, quiet=True)
def sqrt(x: Value) -> Value:
    """Return the square root; NaN below 0. At 0 the derivative is infinite.

    >>> tg.sqrt(tg.tensor([0.0, 9.0]))
    tensor([0., 3.], dtype=float64)
    """
    return np.sqrt(x)


@pointwise(None, lambda g, z, y, x: -g * z * (2 * tanh(x)), number=kernels.tanh_slope, quiet=True)
def tanh_slope(y: Value, x: Value) -> Value:
    """1 - y² of y = tanh(x), to the last digits."""
    return kernels.tanh_slope(y, x)


@pointwise(
    None, lambda g, z, y, x: -g * z * tanh(0.5 * x), number=kernels.sigmoid_slope, quiet=True
)
def sigmoid_slope(y: Value, x: Value) -> Value:
    """y (1 - y) of y = σ(x), to the last digits."""
    return kernels.sigmoid_slope(y, x)


def _tanh_rule(g: Value, y: Value, x: Value) -> Value:
    """What y alone says, in float32; it takes an exponential more to have all digits."""
    return g - g * y * y if y.dtype.itemsize == 4 else g * tanh_slope(y, x)


def _sigmoid_rule(g: Value, y: Value, x: Value) -> Value:
    return g * (y - y * y) if y.dtype.itemsize == 4 else g * sigmoid_slope(y, x)


@pointwise(_tanh_rule, number=kernels.tanh, compiled=True, method=True)
def tanh(x: Value) -> Value:
    """Return the hyperbolic tangent.

    >>> tg.tanh(tg.tensor([0.0, 1.0]))
    tensor([0.        , 0.76159416], dtype=float64)
    """
    return np.tanh(x)


@pointwise(_sigmoid_rule, number=kernels.sigmoid, compiled=True, sign="σ", method=True)
def sigmoid(x: Value) -> Value:
    """Return 1 / (1 + e⁻ˣ), without overflow at either end.

    >>> tg.sigmoid(tg.tensor([0.0, -1000.0]))
    tensor([0.5, 0. ], dtype=float64)
    """
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


@pointwise(
    lambda g, y, x: g * sigmoid(x),
    number=kernels.softplus,
    compiled=True,
    quiet=True,
)
def softplus(x: Value) -> Value:
    """Return log(1 + eˣ), without overflow; log sigmoid(x) is -softplus(-x).

    >>> tg.softplus(tg.tensor([0.0, 1000.0]))
    tensor([6.93147181e-01, 1.00000000e+03], dtype=float64)
    """
    return np.logaddexp(x, x.dtype.type(0))


@pointwise(lambda g, y, x: g * sign(x), sign="|x|", numpy=("absolute",), method=("abs", "__abs__"))
def abs(x: Value) -> Value:
    """Return |x|; the derivative at 0 is taken as 0.

    >>> tg.abs(tg.tensor([-2.0, 3.0]))
    tensor([2., 3.], dtype=float64)
    """
    return np.abs(x)


@pointwise(None, number=lambda x: 1.0 if x > 0.0 else -1.0 if x < 0.0 else x + 0.0, cheap=True)
def sign(x: Value) -> Value:
    """Return -1, 0 or 1; NaN stays.

    >>> tg.sign(tg.tensor([-2.0, 0.0, 3.0]))
    tensor([-1.,  0.,  1.], dtype=float64)
    """
    return np.sign(x)


# -- choices ----------------------------------------------------------------------------------


@pointwise(
    lambda g, y, x: where(x > 0, g, 0),
    number=lambda x: 0.0 if x <= 0.0 else x,
    cheap=True,
    method=True,
)
def relu(x: Value) -> Value:
    """Return the larger of x and 0; the derivative at 0 is taken as 0. NaN stays.

    >>> tg.relu(tg.tensor([-2.0, 3.0]))
    tensor([0., 3.], dtype=float64)
    """
    return np.maximum(x, 0)


def _chosen(g: Value, wins: Value, x: Value, y: Value) -> Value:
    """The cotangent of x where it was chosen over y, and half of it where they tie."""
    return g * (astype(wins, dtype=g.dtype) + 0.5 * astype(equal(x, y), dtype=g.dtype))


@pointwise(
    lambda g, z, x, y: _chosen(g, x > y, x, y),
    lambda g, z, x, y: _chosen(g, y > x, y, x),
    number=kernels.maximum,
    cheap=True,
)
def maximum(x: Value, y: Value) -> Value:
    """Return the larger of two; where they tie, each gets half of the gradient. NaN stays.

    >>> tg.maximum(tg.tensor([-2.0, 3.0]), 1)
    tensor([1., 3.], dtype=float64)
    """
    return np.maximum(x, y)


@pointwise(
    lambda g, z, x, y: _chosen(g, x < y, x, y),
    lambda g, z, x, y: _chosen(g, y < x, y, x),
    number=kernels.minimum,
    cheap=True,
)
def minimum(x: Value, y: Value) -> Value:
    """Return the smaller of two; where they tie, each gets half of the gradient. NaN stays.

    >>> tg.minimum(tg.tensor([-2.0, 3.0]), 1)
    tensor([-2.,  1.], dtype=float64)
    """
    return np.minimum(x, y)


@pointwise(
    None,
    lambda g, z, condition, x, y: where(condition, g, 0),
    lambda g, z, condition, x, y: where(condition, 0, g),
    number=lambda condition, x, y: x if condition else y,
    cheap=True,
)
def where(condition: Value, x: Value, y: Value) -> Value:
    """Return x where the condition holds, else y.

    Both are computed: keep the side that is not taken finite, or its 0·∞ makes a NaN gradient.

    >>> tg.where(tg.tensor([True, False]), [1.0, 2.0], 0)
    tensor([1., 0.], dtype=float64)
    """
    return np.where(condition, x, y)


@pointwise(
    lambda g, y, x, dtype: astype(g, dtype=x.dtype), number=lambda x, dtype=None: x, method=True
)
def astype(x: Value, dtype: Any) -> Value:
    """Return the same values in another dtype.

    >>> tg.astype(tg.tensor([1.5, -1.5]), np.int64)
    tensor([ 1, -1], dtype=int64)
    """
    return np.asarray(x).astype(as_dtype(dtype))


def real(x: Value) -> Value:
    """As floats: sums and differences of whole numbers may be too large for their dtype."""
    return x if x.dtype.kind == "f" else astype(x, dtype=np.float64)


# -- comparisons: True or False, no derivative ---------------------------------------------------


@pointwise(None, None, sign="<", method=("__lt__",))
def less(x: Value, y: Value) -> Value:
    """Return whether x < y, element by element.

    >>> tg.less(tg.tensor([1.0, 2.0]), 2)
    tensor([ True, False], dtype=bool)
    """
    return x < y


@pointwise(None, None, sign="≤", method=("__le__",))
def less_equal(x: Value, y: Value) -> Value:
    """Return whether x <= y, element by element.

    >>> tg.less_equal(tg.tensor([1.0, 3.0]), 2)
    tensor([ True, False], dtype=bool)
    """
    return x <= y


@pointwise(None, None, sign=">", method=("__gt__",))
def greater(x: Value, y: Value) -> Value:
    """Return whether x > y, element by element.

    >>> tg.greater(tg.tensor([1.0, 3.0]), 2)
    tensor([False,  True], dtype=bool)
    """
    return x > y


@pointwise(None, None, sign="≥", method=("__ge__",))
def greater_equal(x: Value, y: Value) -> Value:
    """Return whether x >= y, element by element.

    >>> tg.greater_equal(tg.tensor([1.0, 2.0]), 2)
    tensor([False,  True], dtype=bool)
    """
    return x >= y


@pointwise(None, None, sign="=", method=("__eq__",))
def equal(x: Value, y: Value) -> Value:
    """Return whether x == y, element by element.

    >>> tg.equal(tg.tensor([1.0, 2.0]), 2)
    tensor([False,  True], dtype=bool)
    """
    return x == y


@pointwise(None, None, sign="≠", method=("__ne__",))
def not_equal(x: Value, y: Value) -> Value:
    """Return whether x != y, element by element.

    >>> tg.not_equal(tg.tensor([1.0, 2.0]), 2)
    tensor([ True, False], dtype=bool)
    """
    return x != y
