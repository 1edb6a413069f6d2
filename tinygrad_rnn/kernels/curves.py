"""exp, tanh, sigmoid and softplus of one number, without a branch, for every LLVM float type.

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
# log((1 + s) / (1 - s)) = 2s + s^3 p(s^2), p fitted in the same way on |s| <= 1/5, for softplus.
SINGLE_LOG = (0.666669487953186, 0.3995760679244995, 0.30365246534347534)
DOUBLE_LOG = (
    0.666666666666666,
    0.40000000000056957,
    0.2857142855576685,
    0.2222222430293859,
    0.1818166550817205,
    0.153911234740939,
    0.13173411545171437,
    0.13844279020454894,
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


def power_of_two(x, n):
    """2^n as a number of x's kind, n a whole number of as many bits, in the normal range."""
    exponent = x.builder.add(n, ir.Constant(n.type, BIAS[x.kind]))
    factor = x.builder.shl(exponent, ir.Constant(n.type, MANTISSA[x.kind]))
    return Number(x.builder, x.builder.bitcast(factor, x.kind))


def whole(shifted, shift):
    """n = shifted - shift as a whole number, read from the low bits of `shifted`."""
    builder, kind = shifted.builder, ir.IntType(8 * REALS[shifted.kind].itemsize)
    bits = [builder.bitcast(y.value, kind) for y in (shifted, shifted.constant(shift))]
    return builder.sub(*bits)


def scaled(x, n):
    """x * 2^n, in two steps, so that beyond the normal range it overflows or goes denormal once."""
    half = x.builder.ashr(n, ir.Constant(n.type, 1))
    return x * power_of_two(x, half) * power_of_two(x, x.builder.sub(n, half))


def both(x, y):
    """x + y of |x| >= |y|, and what rounding leaves off it."""
    total = x + y
    return total, x - total + y


def ratio(a, b):
    """The quotient of two numbers, of which each comes with what rounding left off it."""
    inverse = 1.0 / b[0]
    y = a[0] * inverse
    return fused(fused(-y, b[0], a[0]) + (a[1] - y * b[1]), inverse, y)


class Curves:
    """exp, tanh, sigmoid and softplus for one float type, within 2.5 units in the last place.

    exp is 0 below `low` and inf above `high`; tanh is 1 above `flat`. A comparison with NaN is
    false, so NaN passes every clamp.
    """

    def __init__(self, real, coefficients, logarithm, ln2, low, high, flat):
        self.coefficients, self.logarithm, self.ln2 = coefficients, logarithm, ln2
        self.low, self.high, self.flat = low, high, flat
        # Adding it rounds to a whole number, kept in the low bits.
        self.shift = 1.5 * 2.0 ** MANTISSA[real]

    def split(self, x):
        """r, what rounding left off it, p(r) and n of exp(x) = 2^n (1 + r + r^2 p)."""
        ln2_high, ln2_low = map(x.constant, self.ln2)
        shifted = fused(x, x.constant(1 / math.log(2.0)), x.constant(self.shift))
        n = shifted - self.shift
        near = fused(-n, ln2_high, x)
        r = fused(-n, ln2_low, near)
        rest = fused(-n, ln2_low, near - r)
        return r, rest, polynomial(r, self.coefficients), whole(shifted, self.shift)

    def power(self, x):
        """1 + q, what rounding left off it, and n of exp(x) = 2^n (1 + q), x <= 0."""
        r, rest, p, n = self.split(x.least(self.low))
        one, low = both(x.constant(1.0), r)
        return *both(one, fused(r * r, p, low + rest)), n

    def exp(self, x):
        r, _, p, n = self.split(x.least(self.low).most(self.high))
        return scaled(fused(r * r, p, r) + 1.0, n)

    def tanh(self, x):
        r, _, p, n = self.split(abs(x).most(self.flat) * 2.0)
        power = power_of_two(x, n)
        # exp(2|x|) - 1, accurate for small x too
        t = fused(power, fused(r * r, p, r), power - 1.0)
        return (t / (t + 2.0)).asked("copysign", x)

    def sigmoid(self, x):
        e = self.exp(-abs(x))
        return (x >= 0.0).choose(1.0, e) / (e + 1.0)

    def tanh_slope(self, x):
        return 4.0 * self.sigmoid_slope(2.0 * x)

    def sigmoid_slope(self, x):
        e = self.exp(-abs(x))
        inverse = 1.0 / (e + 1.0)
        return e * inverse * inverse

    def softplus(self, x):
        """max(x, 0) + log(1 + e), where 1 + e is 1 + f or, from e = 1/2 on, 2 (1 + f)."""
        e, rest, n = self.power(-abs(x))
        e, rest = (scaled(part, n) for part in (e, rest))
        near = e < 0.5
        f = near.choose(e, (e - 1.0) * 0.5)
        s, half = f / (f + 2.0), f * f * 0.5
        z = s * s
        bend = fused(s, fused(z, polynomial(z, self.logarithm), half), -half)
        ln2_high, ln2_low = (near.choose(x.constant(0.0), x.constant(part)) for part in self.ln2)
        top, low = both(ln2_high, f)
        low = low + ln2_low + (bend + rest * (1.0 - 0.5 * e))
        above = x.least(0.0).most(2 * self.flat)
        total = above + top
        back = total - above
        total = total + (above - (total - back) + (top - back) + low)
        return (x > 2 * self.flat).choose(x, total)


class Doubled(Curves):
    """The same within 1 unit: what rounding leaves off is carried along.

    It takes tanh and sigmoid two thirds longer, and a layer of float64 up to a tenth. Beside its
    curve a slope costs three products: all else they write is the same, and LLVM does it once.
    """

    def exp(self, x):
        r, _, p, n = self.split(x.least(self.low).most(self.high))
        one, low = both(x.constant(1.0), r)
        return scaled(one + fused(r * r, p, low), n)

    def decay(self, x):
        """exp(-2|x|) - 1 and what rounding left off it, accurate for small x too; exp(-2|x|)."""
        r, rest, p, n = self.split((abs(x) * -2.0).least(self.low))
        square = r * r
        bend = square * p
        q, low = both(r, bend)
        low = low + fused(square, p, -bend)
        power = scaled(x.constant(1.0), n)
        less, least = both(x.constant(-1.0), power)
        t, lower = both(less, power * q)
        return t, fused(power, low + rest, lower + least), fused(power, q, power)

    def tanh(self, x):
        t, lower, _ = self.decay(x)
        d, lowest = both(x.constant(2.0), t)
        return ratio((t, lower), (d, lower + lowest)).asked("copysign", x)

    def tanh_slope(self, x):
        t, _, e = self.decay(x)
        inverse = 1.0 / (t + 2.0)
        return 4.0 * e * inverse * inverse

    def sigmoid(self, x):
        e, low, n = self.power(-abs(x))
        d, lower = both(x.constant(1.0), scaled(e, n))
        up = x >= 0.0
        y = ratio((up.choose(1.0, e), up.choose(0.0, low)), (d, lower))
        return up.choose(y, scaled(y, n))

    def sigmoid_slope(self, x):
        e, _, n = self.power(-abs(x))
        e = scaled(e, n)
        inverse = 1.0 / (1.0 + e)
        return e * inverse * inverse


LN2 = {F32: (0.693145751953125, 1.428606765330187e-06),
       F64: (0.693147180559663, 2.8235290563031577e-13)}  # fmt: skip
# How many numbers a curve is given: of the answer and the input it looks at the input, the last.
NAMES = {"exp": 1, "tanh": 1, "sigmoid": 1, "softplus": 1, "tanh_slope": 2, "sigmoid_slope": 2}
CURVES = {
    F32: Curves(F32, SINGLE, SINGLE_LOG, LN2[F32], -104.0, 89.0, 10.0),
    F64: Doubled(F64, DOUBLE, DOUBLE_LOG, LN2[F64], -746.0, 710.0, 20.0),
}


def written(module, name, kind):
    """Add one of the curves of a float type to a module."""
    function = ir.Function(module, ir.FunctionType(kind, [kind]), symbol(name, kind))
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(getattr(CURVES[kind], name)(Number(builder, function.args[0])).value)
    return function


def curve(name, *given):
    """One of the curves at the last of some numbers, as a function of its own."""
    x = given[-1]
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
            np.arcsinh, np.arccosh, np.arctanh, np.hypot)  # fmt: skip


def _asked(name, x):
    """What a function of LLVM's says of a number."""
    if not x.is_real and name in ("floor", "ceil", "trunc"):
        return x
    return (x if x.is_real else x.to(F64)).asked(name)


def _library(name, x, *others):
    """What a function of C's library says of a number, or of two."""
    x = x if x.is_real else x.to(F64)
    for y in others:
        x, *others = x.beside(y)
    word = name.replace("arc", "a") + ("f" if x.kind == F32 else "")
    if not binding.address_of_symbol(word):
        raise NotImplementedError(word)
    x.builder.calls = True  # which no loop of vectors can
    return x.called(word, *others)


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
