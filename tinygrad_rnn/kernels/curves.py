"""exp, tanh and sigmoid of one number, without a branch, for every LLVM float type.

Every curve is built on one reduction: exp(x) = 2^n (1 + q), n the whole number nearest to
x / ln 2, q = exp(r) - 1 for the rest |r| <= ln(2) / 2. A loop over such a body is vectorised by
LLVM, and vector lanes and leftovers run the same operations: an element's answer depends on
that element only.
"""

import math
import operator
from functools import partial

import numpy as np
from llvmlite import binding, ir

from .written import F32, F64, I1, REALS, WRITTEN, Number, fma, symbol

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
MANTISSA = {F32: 23, F64: 52}
BIAS = {F32: 127, F64: 1023}


def fused(a, b, c):
    """a * b + c, rounded once where the host can: asked for by name, LLVM never decides it."""
    return a.made(lambda *values: fma(a.builder, *values), b, c)


def polynomial(x, coefficients):
    """The sum of coefficients[i] * x^i, by Horner's rule."""
    *rest, total = coefficients
    total = x.constant(total)
    for term in reversed(rest):
        total = fused(total, x, x.constant(term))
    return total


def scaled(x, shifted, shift):
    """x * 2^n for n = shifted - shift, read from the low bits of `shifted`.

    In two steps, so that results beyond the normal range overflow or go denormal with one rounding.
    """
    builder, kind = x.builder, x.kind
    whole = ir.IntType(8 * REALS[kind].itemsize)
    bits = [builder.bitcast(y.value, whole) for y in (shifted, x.constant(shift))]
    n = builder.sub(*bits)
    half = builder.ashr(n, ir.Constant(whole, 1))
    for power in (half, builder.sub(n, half)):
        exponent = builder.add(power, ir.Constant(whole, BIAS[kind]))
        factor = builder.shl(exponent, ir.Constant(whole, MANTISSA[kind]))
        x = x * Number(builder, builder.bitcast(factor, kind))
    return x


class Curves:
    """exp, tanh and sigmoid for one float type.

    exp is 0 below `low` and inf above `high`; tanh is 1 above `flat`. A comparison with NaN is
    false, so NaN passes every clamp.
    """

    def __init__(self, real, coefficients, ln2_high, ln2_low, low, high, flat):
        self.coefficients, self.ln2 = coefficients, (ln2_high, ln2_low)
        self.low, self.high, self.flat = low, high, flat
        # Adding it rounds to a whole number, kept in the low bits.
        self.shift = 1.5 * 2.0 ** MANTISSA[real]

    def split(self, x):
        """q and the shifted n of exp(x) = 2^n (1 + q)."""
        ln2_high, ln2_low = map(x.constant, self.ln2)
        shifted = fused(x, x.constant(1 / math.log(2.0)), x.constant(self.shift))
        n = shifted - self.shift
        r = fused(-n, ln2_low, fused(-n, ln2_high, x))
        return fused(r * r, polynomial(r, self.coefficients), r), shifted

    def exp(self, x):
        q, shifted = self.split(x.least(self.low).most(self.high))
        return scaled(q + 1.0, shifted, self.shift)

    def tanh(self, x):
        q, shifted = self.split(abs(x).most(self.flat) * 2.0)
        power = scaled(x.constant(1.0), shifted, self.shift)
        t = fused(power, q, power - 1.0)  # exp(2|x|) - 1, accurate for small x too
        return (t / (t + 2.0)).asked("copysign", x)

    def sigmoid(self, x):
        e = self.exp(-abs(x))
        return (x >= 0.0).choose(1.0, e) / (e + 1.0)


CURVES = {
    F32: Curves(F32, SINGLE, 0.693145751953125, 1.428606765330187e-06, -104.0, 89.0, 10.0),
    F64: Curves(F64, DOUBLE, 0.693147180559663, 2.8235290563031577e-13, -746.0, 710.0, 20.0),
}


def written(module, name, kind):
    """Add exp, tanh or sigmoid of a float type to a module."""
    function = ir.Function(module, ir.FunctionType(kind, [kind]), symbol(name, kind))
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(getattr(CURVES[kind], name)(Number(builder, function.args[0])).value)
    return function


def curve(name, x):
    """exp, tanh or sigmoid of a number, as a function of its own."""
    module, word = x.builder.module, symbol(name, x.kind)
    if word not in module.globals:
        written(module, name, x.kind).linkage = "internal"
    return x.called(word)


def choice(sign, x, y):
    """The one of two numbers that is `sign` (> or <) of the other; NaN if either is."""
    if not x.is_real:
        return (x > y if sign == ">" else x < y).choose(x, y)
    return x.asked("maximum", y) if sign == ">" else -(-x).asked("maximum", -y)


# --- what NumPy's functions are on numbers that are being written ---------------------------------

OPERATORS = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul,
    np.divide: operator.truediv, np.power: operator.pow, np.less: operator.lt,
    np.less_equal: operator.le, np.greater: operator.gt, np.greater_equal: operator.ge,
    np.equal: operator.eq, np.not_equal: operator.ne,
}  # fmt: skip
LLVMS = (np.sqrt, np.floor, np.ceil, np.trunc, np.rint, np.log, np.log2, np.exp2, np.sin, np.cos)
LIBRARYS = (np.log1p, np.expm1, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh,
            np.arcsinh, np.arccosh, np.arctanh)  # fmt: skip


def _asked(name, x):
    """What a function of LLVM's says of a number."""
    return (x if x.is_real else x.to(F64)).asked(name)


def _library(name, x):
    """What a function of C's library says of a number."""
    x = x if x.is_real else x.to(F64)
    word = name.replace("arc", "a") + ("f" if x.kind == F32 else "")
    if not binding.address_of_symbol(word):
        raise NotImplementedError(word)
    return x.called(word)


WRITTEN |= OPERATORS
WRITTEN |= {function: partial(_asked, function.__name__) for function in LLVMS}
WRITTEN |= {function: partial(_library, function.__name__) for function in LIBRARYS}
WRITTEN |= {
    np.absolute: abs, np.negative: operator.neg, np.square: lambda x: x * x,
    np.exp: partial(curve, "exp"), np.tanh: partial(curve, "tanh"),
    np.maximum: partial(choice, ">"), np.minimum: partial(choice, "<"),
    np.isnan: lambda x: x != x, np.isinf: lambda x: abs(x) == math.inf,
    np.isfinite: lambda x: abs(x) < math.inf, np.logical_not: lambda x: ~x.to(I1),
    np.logical_and: lambda x, y: x.to(I1) & y.to(I1),
    np.logical_or: lambda x, y: x.to(I1) | y.to(I1),
    np.logical_xor: lambda x, y: x.to(I1) ^ y.to(I1),
}  # fmt: skip
