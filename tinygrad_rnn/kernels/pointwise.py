"""exp, tanh and sigmoid of one number, without a branch, and loops that run an op over an array.

Every curve is built on one reduction: exp(x) = 2^n (1 + q), n the whole number nearest to
x / ln 2, q = exp(r) - 1 for the rest |r| <= ln(2) / 2. A loop over such a body is vectorised by
LLVM, and vector lanes and leftovers run the same operations: an element's answer depends on
that element only.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.extending import overload

from . import numbers
from .compiled import LLVM_REAL, OPTIONS, closed, helper, read, written
from .emitted import fma, llvm, numeric, suffix
from .kept import Kept

# exp(r) = 1 + r + r^2 p(r). The coefficients of p are a minimax fit (Remez exchange in 300-bit
# mpmath on |r| <= 1.0005 ln(2) / 2, weighted for the relative error of exp), rounded to the type:
# 0.05 and 0.03 units in the last place. ln 2 is split so that n * LN2_HIGH is exact.
SINGLE = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166838899254799,
    0.00836874544620514,
    0.0013814542908221483,
)
DOUBLE = (
    0.5000000000000011,
    0.1666666666666641,
    0.04166666666652973,
    0.008333333333494973,
    0.0013888888943759106,
    0.0001984126950578215,
    2.4801492950554886e-05,
    2.7557586796652136e-06,
    2.7630305918894667e-07,
    2.5000021104060197e-08,
)
MANTISSA = {types.float32: 23, types.float64: 52}
BIAS = {types.float32: 127, types.float64: 1023}


@numeric
def fused(builder, real, a, b, c):
    """a * b + c."""
    return fma(builder, a, b, c)


@numeric
def polynomial(builder, real, x, coefficients):
    """The sum of coefficients[i] * x^i, by Horner's rule."""
    *rest, total = cgutils.unpack_tuple(builder, coefficients)
    for term in reversed(rest):
        total = fma(builder, total, x, term)
    return total


@numeric
def with_sign(builder, real, size, sign):
    """`size` with the sign of `sign`, zero's sign included."""
    return llvm(builder, f"llvm.copysign.{suffix(size.type)}", size.type, size, sign)


@numeric
def scaled(builder, real, x, shifted, shift):
    """x * 2^n for n = shifted - shift, read from the low bits of `shifted`.

    In two steps, so that results beyond the normal range overflow or go denormal with one rounding.
    """
    whole = ir.IntType(real.bitwidth)
    n = builder.sub(builder.bitcast(shifted, whole), builder.bitcast(shift, whole))
    half = builder.ashr(n, ir.Constant(whole, 1))
    for power in (half, builder.sub(n, half)):
        exponent = builder.add(power, ir.Constant(whole, BIAS[real]))
        factor = builder.shl(exponent, ir.Constant(whole, MANTISSA[real]))
        x = builder.fmul(x, builder.bitcast(factor, x.type))
    return x


def curves(real, coefficients, mantissa, ln2_high, ln2_low, low, high, flat):
    """exp, tanh and sigmoid for one float type.

    exp is 0 below `low` and inf above `high`; tanh is 1 above `flat`. A comparison with NaN is
    false, so NaN passes every clamp.
    """
    coefficients = tuple(real(c) for c in coefficients)
    shift = real(1.5 * 2.0**mantissa)  # adding it rounds to a whole number, kept in the low bits
    per_ln2, ln2_high, ln2_low = real(1 / math.log(2.0)), real(ln2_high), real(ln2_low)
    low, high, flat = real(low), real(high), real(flat)
    zero, one, two = real(0), real(1), real(2)

    @helper
    def split(x):
        """q and the shifted n of exp(x) = 2^n (1 + q)."""
        shifted = fused(x, per_ln2, shift)
        n = shifted - shift
        r = fused(-n, ln2_low, fused(-n, ln2_high, x))
        return fused(r * r, polynomial(r, coefficients), r), shifted

    def exp(x):
        x = low if x < low else x
        x = high if x > high else x
        q, shifted = split(x)
        return scaled(one + q, shifted, shift)

    def tanh(x):
        y = abs(x)
        y = two * (flat if y > flat else y)
        q, shifted = split(y)
        power = scaled(one, shifted, shift)
        t = fused(power, q, power - one)  # exp(2|x|) - 1, accurate for small x too
        return with_sign(t / (t + two), x)

    natural = helper(exp)

    def sigmoid(x):
        e = natural(-abs(x))
        return (one if x >= zero else e) / (one + e)

    return {"exp": exp, "tanh": tanh, "sigmoid": sigmoid}


CURVES = {
    types.float32: curves(
        np.float32, SINGLE, 23, 0.693145751953125, 1.428606765330187e-06, -104.0, 89.0, 10.0
    ),
    types.float64: curves(
        np.float64, DOUBLE, 52, 0.693147180559663, 2.8235290563031577e-13, -746.0, 710.0, 20.0
    ),
}


def known_as(function):
    """The overload of a function of numbers for both float types: a curve of its name."""
    curve = lambda x: CURVES[x][function.__name__] if x in CURVES else None
    overload(function, jit_options=OPTIONS)(curve)


for _function in (numbers.exp, numbers.tanh, numbers.sigmoid):
    known_as(_function)


@numeric
def larger(builder, kind, x, y):
    """The larger of two numbers; NaN if either is."""
    if kind in LLVM_REAL:
        return llvm(builder, f"llvm.maximum.{suffix(x.type)}", x.type, x, y)
    compare = builder.icmp_signed if getattr(kind, "signed", False) else builder.icmp_unsigned
    return builder.select(compare(">", x, y), x, y)


@overload(numbers.maximum, jit_options=OPTIONS)
def _maximum(x, y):
    return lambda x, y: larger(x, y)


@overload(numbers.minimum, jit_options=OPTIONS)
def _minimum(x, y):
    if x in LLVM_REAL:
        return lambda x, y: -larger(-x, -y)
    return lambda x, y: x if x < y else y


@overload(numbers.alike, jit_options=OPTIONS)
def _alike(x, y):
    dtype = getattr(np, y.name)
    return lambda x, y: dtype(x)


@lru_cache(1024)
def function(number, dtype):
    """A function of numbers of ours as compiled code calls it, its constants of a dtype."""
    return number if number.__module__ == numbers.__name__ else helper(numbers.typed(number, dtype))


def kernel(number: Any, dtype: Any) -> Any:
    """The loop that does it to every number of an array, compiled for one float type."""
    real, step = from_dtype(dtype), function(number, dtype)

    def each(x, out):
        for i in range(x.size):
            out[i] = step(x[i])

    kept = Kept("each", *numbers.identity(number))
    return closed(njit(**OPTIONS)(each), (read(real, 1), written(real, 1)), kept)
