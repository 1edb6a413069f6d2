"""What Numba compiles for functions of numbers, and loops that run one over an array."""

from functools import lru_cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.extending import lower_builtin, overload, type_callable

from . import curves, numbers
from .compiled import LLVM_REAL, OPTIONS, Overloads, closed, helper, library, read, written
from .written import Number, llvm, symbol

WHOLE = (types.Integer, types.Boolean)


@lru_cache(2)
def library_of(real):
    return library("curves", lambda module: [curves.written(module, n, real) for n in curves.NAMES])


def known_as_curve(function, count):
    """A function of numbers is, in compiled code, the curve of its name, at the last of them."""

    def describe(context):
        alone = lambda x: x(x) if x in LLVM_REAL else None
        return alone if count == 1 else lambda y, x: x(x, x) if x in LLVM_REAL else None

    def write(context, builder, signature, arguments):
        real = LLVM_REAL[signature.return_type]
        context.active_code_library.add_linking_library(library_of(real))
        return llvm(builder, symbol(function.__name__, real), real, arguments[-1])

    type_callable(function)(describe)
    for real in LLVM_REAL:
        lower_builtin(function, *[real] * count)(write)


for _name, _count in curves.NAMES.items():
    known_as_curve(getattr(numbers, _name), _count)


def known_as_choice(function, sign):
    """A function of two numbers is the one that is `sign` (> or <) of the other; NaN if either."""

    def describe(context):
        return lambda x, y: x(x, x) if x in LLVM_REAL or isinstance(x, WHOLE) else None

    def write(context, builder, signature, arguments):
        real = signature.return_type
        if real not in LLVM_REAL:
            icmp = builder.icmp_signed if getattr(real, "signed", False) else builder.icmp_unsigned
            return builder.select(icmp(sign, *arguments), *arguments)
        return curves.choice(sign, *[Number(builder, value) for value in arguments]).value

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

    kept = Overloads("each", *numbers.identity(number))
    return closed(njit(**OPTIONS)(each), (read(real, 1), written(real, 1)), kept)
