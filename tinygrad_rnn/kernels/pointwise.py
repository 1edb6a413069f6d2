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
from numba.extending import lower_builtin, overload, type_callable

from . import numbers
from .compiled import LLVM_REAL, OPTIONS, closed, helper, library, read, written
from .emitted import fma, llvm, suffix, symbol
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
WHOLE = (types.Integer, types.Boolean)


class Number:
    """A number in code that is being written: arithmetic on it writes instructions.

    So a formula below is run once, to write its function, which Numba then need not type.
    """

    def __init__(self, builder, real, value):
        self.builder, self.real, self.value = builder, real, value
        self.kind = LLVM_REAL[real]

    def made(self, write, *others):
        """What `write`, a method of the builder, makes of this and others."""
        values = [x.value if isinstance(x, Number) else ir.Constant(self.kind, x) for x in others]
        return Number(self.builder, self.real, write(self.value, *values))

    def called(self, name, *others):
        """What a function of LLVM's says of this and others."""
        name = f"llvm.{name}.{suffix(self.kind)}"
        return self.made(lambda *values: llvm(self.builder, name, self.kind, *values), *others)

    def __add__(self, other):
        return self.made(self.builder.fadd, other)

    def __sub__(self, other):
        return self.made(self.builder.fsub, other)

    def __mul__(self, other):
        return self.made(self.builder.fmul, other)

    def __truediv__(self, other):
        return self.made(self.builder.fdiv, other)

    def __neg__(self):
        return self.made(self.builder.fneg)

    def __abs__(self):
        return self.called("fabs")

    def where(self, sign, other, yes, no):
        """`yes` where the comparison holds, else `no`; it never does with NaN."""
        holds = self.made(lambda a, b: self.builder.fcmp_ordered(sign, a, b), other)
        return yes.made(lambda a, b: self.builder.select(holds.value, a, b), no)

    def least(self, low):
        """This, or `low` where that is larger; NaN stays."""
        return self.where("<", low, self.constant(low), self)

    def most(self, high):
        return self.where(">", high, self.constant(high), self)

    def constant(self, x):
        return Number(self.builder, self.real, ir.Constant(self.kind, x))


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
    builder, real = x.builder, x.real
    whole = ir.IntType(real.bitwidth)
    bits = [builder.bitcast(y.value, whole) for y in (shifted, x.constant(shift))]
    n = builder.sub(*bits)
    half = builder.ashr(n, ir.Constant(whole, 1))
    for power in (half, builder.sub(n, half)):
        exponent = builder.add(power, ir.Constant(whole, BIAS[real]))
        factor = builder.shl(exponent, ir.Constant(whole, MANTISSA[real]))
        x = x * Number(builder, real, builder.bitcast(factor, x.kind))
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
        return (t / (t + 2.0)).called("copysign", x)

    def sigmoid(self, x):
        e = self.exp(-abs(x))
        return x.where(">=", 0.0, x.constant(1.0), e) / (e + 1.0)


CURVES = {
    types.float32: Curves(
        types.float32, SINGLE, 0.693145751953125, 1.428606765330187e-06, -104.0, 89.0, 10.0
    ),
    types.float64: Curves(
        types.float64, DOUBLE, 0.693147180559663, 2.8235290563031577e-13, -746.0, 710.0, 20.0
    ),
}


def written_curves(module, real):
    """Write the curves of a float type: optimised by themselves, a caller's fast-math stays out."""
    kind = LLVM_REAL[real]
    for name in ("exp", "tanh", "sigmoid"):
        curve = ir.Function(module, ir.FunctionType(kind, [kind]), symbol(name, real))
        builder = ir.IRBuilder(curve.append_basic_block())
        builder.ret(getattr(CURVES[real], name)(Number(builder, real, curve.args[0])).value)


@lru_cache(2)
def library_of(real):
    return library("curves", real, written_curves)


def known_as_curve(function):
    """A function of numbers is, in compiled code, the curve of its name."""
    type_callable(function)(lambda context: lambda x: x(x) if x in LLVM_REAL else None)

    def write(context, builder, signature, arguments):
        real = signature.return_type
        context.active_code_library.add_linking_library(library_of(real))
        return llvm(builder, symbol(function.__name__, real), LLVM_REAL[real], *arguments)

    for real in LLVM_REAL:
        lower_builtin(function, real)(write)


for _function in (numbers.exp, numbers.tanh, numbers.sigmoid):
    known_as_curve(_function)


def known_as_choice(function, sign):
    """A function of two numbers is the one that is `sign` (> or <) of the other; NaN if either."""

    def describe(context):
        return lambda x, y: x(x, x) if x in LLVM_REAL or isinstance(x, WHOLE) else None

    def write(context, builder, signature, arguments):
        real = signature.return_type
        if real not in LLVM_REAL:
            icmp = builder.icmp_signed if getattr(real, "signed", False) else builder.icmp_unsigned
            return builder.select(icmp(sign, *arguments), *arguments)
        x, y = (Number(builder, real, value) for value in arguments)
        return (x.called("maximum", y) if sign == ">" else -(-x).called("maximum", -y)).value

    type_callable(function)(describe)
    for kind in (*LLVM_REAL, *WHOLE):
        lower_builtin(function, kind, kind)(write)


known_as_choice(numbers.maximum, ">")
known_as_choice(numbers.minimum, "<")


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
