"""Elementary functions of one number at a time, by NumPy's names, else by PyTorch's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..limits import whole
from ..op import function, pointwise
from ..tensor import Value
from .arithmetic import astype, equal, exp, sqrt, where

__all__ = [
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "ceil", "cos",
    "cosh", "erf", "exp2", "expm1", "floor", "floor_divide", "hypot", "isfinite", "isinf",
    "isnan", "log1p", "log2", "logical_and", "logical_not", "logical_or", "logical_xor", "ndtr",
    "reciprocal", "remainder", "rint", "round", "rsqrt", "sin", "sinh", "square", "tan", "trunc",
]  # fmt: skip

LN2 = math.log(2.0)

# -- exponentials, logarithms, powers ------------------------------------------------------------


@pointwise(lambda g, y, x: g * exp(x), sign="eˣ−1", quiet=True)
def expm1(x: Value) -> Value:
    """Return eˣ - 1, to full precision near 0.

    >>> tg.expm1(tg.tensor([0.0, 1e-10]))
    tensor([0.e+00, 1.e-10], dtype=float64)
    """
    return np.expm1(x)


@pointwise(lambda g, y, x: g * y * LN2, sign="2ˣ", quiet=True)
def exp2(x: Value) -> Value:
    """Return 2ˣ.

    >>> tg.exp2(tg.tensor([-1.0, 3.0]))
    tensor([0.5, 8. ], dtype=float64)
    """
    return np.exp2(x)


@pointwise(lambda g, y, x: g / (1 + x), quiet=True)
def log1p(x: Value) -> Value:
    """Return log(1 + x), to full precision near 0; -inf at -1, NaN below.

    >>> tg.log1p(tg.tensor([0.0, 1e-10]))
    tensor([0.e+00, 1.e-10], dtype=float64)
    """
    return np.log1p(x)


@pointwise(lambda g, y, x: g / (x * LN2), quiet=True)
def log2(x: Value) -> Value:
    """Return the logarithm to base 2; -inf at 0, NaN below.

    >>> tg.log2(tg.tensor([0.5, 8.0]))
    tensor([-1.,  3.], dtype=float64)
    """
    return np.log2(x)


@pointwise(lambda g, y, x: g * y / x * -0.5, sign="1/√", quiet=True)
def rsqrt(x: Value) -> Value:
    """Return 1 / √x; inf at 0, NaN below.

    >>> tg.rsqrt(tg.tensor([4.0, 0.25]))
    tensor([0.5, 2. ], dtype=float64)
    """
    return 1.0 / np.sqrt(x)


@pointwise(lambda g, y, x: g * (x + x), number=lambda x: x * x, sign="x²", quiet=True)
def square(x: Value) -> Value:
    """Return x².

    >>> tg.square(tg.tensor([-3.0, 2.0]))
    tensor([9., 4.], dtype=float64)
    """
    return np.square(x)


@pointwise(lambda g, y, x: -g * y * y, sign="1/x", quiet=True)
def reciprocal(x: Value) -> Value:
    """Return 1 / x; ±inf at 0. Of integers it is an integer, as NumPy has it.

    >>> tg.reciprocal(tg.tensor([4.0, -0.5]))
    tensor([ 0.25, -2.  ], dtype=float64)
    """
    return np.reciprocal(x)


def _part(x: Value, z: Value) -> Value:
    zero = equal(z, 0)
    return where(zero, 0, x / where(zero, 1, z))


@pointwise(
    lambda g, z, x, y: g * _part(x, z),
    lambda g, z, x, y: g * _part(y, z),
    sign="√(x²+y²)",
    quiet=True,
)
def hypot(x: Value, y: Value) -> Value:
    """Return √(x² + y²), where squares would overflow too; at (0, 0) its slopes are taken as 0.

    >>> tg.hypot(tg.tensor([3.0, 1e200]), [4.0, 0.0])
    tensor([5.e+000, 1.e+200], dtype=float64)
    """
    return np.hypot(x, y)


# -- whole numbers: steps, which no gradient passes -----------------------------------------------


@pointwise(None, sign="⌊x⌋", quiet=True)
def floor(x: Value) -> Value:
    """Return the largest whole number that is not above x; no gradient passes.

    >>> tg.floor(tg.tensor([-1.5, 1.5]))
    tensor([-2.,  1.], dtype=float64)
    """
    return np.floor(x)


@pointwise(None, sign="⌈x⌉", quiet=True)
def ceil(x: Value) -> Value:
    """Return the smallest whole number that is not below x; no gradient passes.

    >>> tg.ceil(tg.tensor([-1.5, 1.5]))
    tensor([-1.,  2.], dtype=float64)
    """
    return np.ceil(x)


@pointwise(None, quiet=True)
def trunc(x: Value) -> Value:
    """Return x without what stands behind the point; no gradient passes.

    >>> tg.trunc(tg.tensor([-1.5, 1.5]))
    tensor([-1.,  1.], dtype=float64)
    """
    return np.trunc(x)


@pointwise(None, quiet=True)
def rint(x: Value) -> Value:
    """Return the nearest whole number, the even one of two; no gradient passes.

    >>> tg.rint(tg.tensor([0.5, 1.5, -1.2]))
    tensor([ 0.,  2., -1.], dtype=float64)
    """
    return np.rint(x)


@function(1, numpy=("around",), method=True)
def round(x: Value, decimals: int = 0) -> Value:
    """Return x rounded to so many decimals, halves to even; no gradient passes.

    Negative decimals are digits before the point. Integers stay integers.

    >>> tg.round(tg.tensor([2.345, 2.5]), 1)
    tensor([2.3, 2.5], dtype=float64)
    """
    decimals = whole("round", "decimals", decimals, -308, 308)
    power = 10.0 ** abs(decimals)
    if not decimals or (x.dtype.kind != "f" and decimals > 0):
        return rint(x) if x.dtype.kind == "f" else x
    return astype(rint(x * power) / power if decimals > 0 else rint(x / power) * power, x.dtype)


# The least whole number by -1 has no room among whole numbers: it is -x, wrapped as NumPy's.
_quotient = lambda x, y: -x if y == -1 and x == x // 1 else x // y


@pointwise(None, None, sign="//", number=_quotient, method=("__floordiv__",), quiet=True)
def floor_divide(x: Value, y: Value) -> Value:
    """Return the largest whole number that is not above x / y, `x // y`; no gradient passes.

    >>> tg.tensor([7.0, -7.0]) // 2
    tensor([ 3., -4.], dtype=float64)
    """
    return np.floor_divide(x, y)


@pointwise(
    lambda g, z, x, y: g,
    lambda g, z, x, y: -g * floor_divide(x, y),
    sign="%",
    method=("__mod__",),
    quiet=True,
)
def remainder(x: Value, y: Value) -> Value:
    """Return what x leaves when divided by y, `x % y`, with the sign of y.

    Its slope is 1 by x and -(x // y) by y, also where it jumps.

    >>> tg.tensor([7.0, -7.0]) % 3
    tensor([1., 2.], dtype=float64)
    """
    return np.remainder(x, y)


# -- angles --------------------------------------------------------------------------------------


@pointwise(lambda g, y, x: g * cos(x), quiet=True)
def sin(x: Value) -> Value:
    """Return the sine of x in radians.

    >>> tg.sin(tg.tensor([0.0, np.pi / 2]))
    tensor([0., 1.], dtype=float64)
    """
    return np.sin(x)


@pointwise(lambda g, y, x: -g * sin(x), quiet=True)
def cos(x: Value) -> Value:
    """Return the cosine of x in radians.

    >>> tg.cos(tg.tensor([0.0, np.pi]))
    tensor([ 1., -1.], dtype=float64)
    """
    return np.cos(x)


@pointwise(lambda g, y, x: g * (1 + y * y), quiet=True)
def tan(x: Value) -> Value:
    """Return the tangent of x in radians.

    >>> tg.tan(tg.tensor([0.0, 1.0]))
    tensor([0.        , 1.55740772], dtype=float64)
    """
    return np.tan(x)


@pointwise(lambda g, y, x: g / sqrt((1 - x) * (1 + x)), quiet=True)
def arcsin(x: Value) -> Value:
    """Return the angle in [-π/2, π/2] whose sine is x; NaN beyond ±1, where the slope is infinite.

    >>> tg.arcsin(tg.tensor([0.0, 1.0]))
    tensor([0.        , 1.57079633], dtype=float64)
    """
    return np.arcsin(x)


@pointwise(lambda g, y, x: -g / sqrt((1 - x) * (1 + x)), quiet=True)
def arccos(x: Value) -> Value:
    """Return the angle in [0, π] whose cosine is x; NaN beyond ±1, where the slope is infinite.

    >>> tg.arccos(tg.tensor([1.0, 0.0]))
    tensor([0.        , 1.57079633], dtype=float64)
    """
    return np.arccos(x)


@pointwise(lambda g, y, x: g / (1 + x * x), quiet=True)
def arctan(x: Value) -> Value:
    """Return the angle in [-π/2, π/2] whose tangent is x.

    >>> tg.arctan(tg.tensor([0.0, 1.0]))
    tensor([0.        , 0.78539816], dtype=float64)
    """
    return np.arctan(x)


def _turn(g: Value, x: Value, y: Value) -> Value:
    """The slope of the angle of (x, y) by y."""
    r = hypot(x, y)
    return g * (x / r) / r


@pointwise(
    lambda g, z, y, x: _turn(g, x, y),
    lambda g, z, y, x: -_turn(g, y, x),
    quiet=True,
)
def arctan2(y: Value, x: Value) -> Value:
    """Return the angle in [-π, π] of the point (x, y), y first; at (0, 0) its slope is NaN.

    >>> tg.arctan2(tg.tensor([1.0, -1.0]), tg.tensor([1.0, -1.0]))
    tensor([ 0.78539816, -2.35619449], dtype=float64)
    """
    return np.arctan2(y, x)


@pointwise(lambda g, y, x: g * cosh(x), quiet=True)
def sinh(x: Value) -> Value:
    """Return the hyperbolic sine, (eˣ - e⁻ˣ) / 2.

    >>> tg.sinh(tg.tensor([0.0, 1.0]))
    tensor([0.        , 1.17520119], dtype=float64)
    """
    return np.sinh(x)


@pointwise(lambda g, y, x: g * sinh(x), quiet=True)
def cosh(x: Value) -> Value:
    """Return the hyperbolic cosine, (eˣ + e⁻ˣ) / 2.

    >>> tg.cosh(tg.tensor([0.0, 1.0]))
    tensor([1.        , 1.54308063], dtype=float64)
    """
    return np.cosh(x)


@pointwise(lambda g, y, x: g / hypot(x, 1.0), quiet=True)
def arcsinh(x: Value) -> Value:
    """Return the number whose hyperbolic sine is x.

    >>> tg.arcsinh(tg.tensor([0.0, 1.0]))
    tensor([0.        , 0.88137359], dtype=float64)
    """
    return np.arcsinh(x)


@pointwise(lambda g, y, x: g / (sqrt(x - 1) * sqrt(x + 1)), quiet=True)
def arccosh(x: Value) -> Value:
    """Return the number, 0 or more, whose hyperbolic cosine is x; NaN below 1.

    >>> tg.arccosh(tg.tensor([1.0, 2.0]))
    tensor([0.       , 1.3169579], dtype=float64)
    """
    return np.arccosh(x)


@pointwise(lambda g, y, x: g / ((1 - x) * (1 + x)), quiet=True)
def arctanh(x: Value) -> Value:
    """Return the number whose hyperbolic tangent is x; ±inf at ±1, NaN beyond.

    >>> tg.arctanh(tg.tensor([0.0, 0.5]))
    tensor([0.        , 0.54930614], dtype=float64)
    """
    return np.arctanh(x)


# -- the bell curve ------------------------------------------------------------------------------

PEAK = 2 / math.sqrt(math.pi)  # the slope of erf at 0
TOP = 1 / math.sqrt(2 * math.pi)  # that of Φ
ROOT = math.sqrt(0.5)
HIGH, LOW = 0.7071067690849304, 1.210161710447897e-08  # √½: 24 bits of it, and the rest


def _hill(k: float) -> Callable[[Value], Value]:
    """exp(k x²) in two parts, for a rounding of x² would be felt x² times."""

    def number(x: Value) -> Value:
        x = kernels.minimum(np.abs(x), 40.0)  # beyond it is 0
        high = np.rint(x * 64.0) * 0.015625  # its square has no rounding, in float32 neither
        return kernels.exp(k * (high * high)) * kernels.exp(k * ((x - high) * (x + high)))

    return number


@pointwise(lambda g, y, x: g * (-2 * x) * y, number=_hill(-1.0), compiled=True, sign="e^−x²")
def steep(x: Value) -> Value:
    """exp(-x²)."""
    return _hill(-1.0)(x)


@pointwise(lambda g, y, x: -g * x * y, number=_hill(-0.5), compiled=True, sign="e^−x²/2")
def bell(x: Value) -> Value:
    """exp(-x²/2)."""
    return _hill(-0.5)(x)


def _normal(number: Value) -> Value:
    """Φ(x) = erfc(-x / √2) / 2, to first order in what -x / √2 is rounded by: at most 4 ulp off."""
    x = np.float64(number)
    if not abs(x) < 40:
        twice = math.erfc(-x)
    else:
        high = np.float64(np.float32(x))  # in 24 bits
        p, q = high * HIGH, high * LOW + (x - high) * ROOT
        z = p + q
        twice = math.erfc(-z) + PEAK * math.exp(-z * z) * (p - z + q)
    return kernels.alike(0.5 * twice, number)


def _erf(x: Value) -> Value:
    return math.erf(x)


@pointwise(lambda g, y, x: g * (PEAK * steep(x)), number=_erf, compiled=True, quiet=True)
def erf(x: Value) -> Value:
    """Return the error function, 2/√π ∫₀ˣ exp(-t²) dt, of the C library: at most 1 ulp off.

    >>> tg.erf(tg.tensor([0.0, 1.0]))
    tensor([0.        , 0.84270079], dtype=float64)
    """
    return _each(math.erf, x)


@pointwise(
    lambda g, y, x: g * (TOP * bell(x)),
    number=_normal,
    sign="Φ",
    compiled=True,
    quiet=True,
)
def ndtr(x: Value) -> Value:
    """Return Φ(x), the part of the standard normal distribution below x; at most 4 ulp off.

    >>> tg.ndtr(tg.tensor([0.0, 1.0]))
    tensor([0.5       , 0.84134475], dtype=float64)
    """
    return _each(_normal, x)


def _each(number: Callable[..., Any], x: Value) -> Value:
    """A function of one number on an array, where there is no compiler."""
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    return np.vectorize(lambda v: number(np.float64(v)), otypes=[dtype])(x)


# -- questions: True or False, no derivative -----------------------------------------------------


@pointwise(None)
def isnan(x: Value) -> Value:
    """Return whether each element is NaN.

    >>> tg.isnan(tg.tensor([1.0, np.nan]))
    tensor([False,  True], dtype=bool)
    """
    return np.isnan(x)


@pointwise(None)
def isinf(x: Value) -> Value:
    """Return whether each element is inf or -inf.

    >>> tg.isinf(tg.tensor([1.0, np.nan, -np.inf]))
    tensor([False, False,  True], dtype=bool)
    """
    return np.isinf(x)


@pointwise(None)
def isfinite(x: Value) -> Value:
    """Return whether each element is a number: not inf, -inf or NaN.

    >>> tg.isfinite(tg.tensor([1.0, np.nan, -np.inf]))
    tensor([ True, False, False], dtype=bool)
    """
    return np.isfinite(x)


@pointwise(None, None, sign="∧", method=("__and__",))
def logical_and(x: Value, y: Value) -> Value:
    """Return whether both are true; a number is, unless it is 0. Of flags also `x & y`.

    >>> tg.logical_and(tg.tensor([True, True]), tg.tensor([True, False]))
    tensor([ True, False], dtype=bool)
    """
    return np.logical_and(x, y)


@pointwise(None, None, sign="∨", method=("__or__",))
def logical_or(x: Value, y: Value) -> Value:
    """Return whether one of the two is true, or both; a number is, unless it is 0; also `x | y`.

    >>> tg.logical_or(tg.tensor([True, False]), tg.tensor([False, False]))
    tensor([ True, False], dtype=bool)
    """
    return np.logical_or(x, y)


@pointwise(None, None, sign="⊻", method=("__xor__",))
def logical_xor(x: Value, y: Value) -> Value:
    """Return whether one of the two is true, and not both; a number is, unless it is 0.

    >>> tg.logical_xor(tg.tensor([True, False]), tg.tensor([True, True]))
    tensor([False,  True], dtype=bool)
    """
    return np.logical_xor(x, y)


@pointwise(None, sign="¬", method=("__invert__",))
def logical_not(x: Value) -> Value:
    """Return whether each element is 0 or False. Of flags also `~x`.

    >>> tg.logical_not(tg.tensor([0.0, 2.0]))
    tensor([ True, False], dtype=bool)
    """
    return np.logical_not(x)
