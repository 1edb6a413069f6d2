"""What is done row by row: softmax and its kin, cross-entropy, and adding rows where they belong.

A row is shifted by its largest entry, so nothing overflows; its sum is kept in float64. NaN and
infinities stay in their own row.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from . import pointwise as pointwise  # which says what exp is in compiled code
from .compiled import LLVM_REAL, helper, intrinsic, read, rows, specialised, written
from .numbers import exp
from .product import Block
from .target import VECTOR_BYTES
from .written import I32, I64, llvm, suffix

LINE = 2048  # numbers raised together: one long line has few leftovers, and fits the first cache


@intrinsic
def plus(typing, total, x):
    """total + x, where LLVM may add in any order: the only way a sum vectorises."""
    add = lambda context, builder, _, arguments: builder.fadd(*arguments, flags=("reassoc",))
    return total(total, total), add


class Sweep(Block):
    """A packed row in vectors. The last is masked: leftovers one by one would take the longest."""

    def __init__(self, context, builder, kind, row):
        super().__init__(builder, LLVM_REAL[kind.dtype])
        row = context.make_array(kind)(context, builder, row)
        self.start = builder.ptrtoint(row.data, I64)
        self.size = builder.extract_value(row.shape, 0)

    def each(self, number, join):
        """join(vector) for every vector of the row; `number` stands where the row has ended."""
        builder = self.builder
        whole = builder.sdiv(self.size, I64(self.lanes))
        with cgutils.for_range(builder, whole) as loop:
            join(self.load(builder.add(self.start, self.times(loop.index, VECTOR_BYTES))))
        left = builder.trunc(builder.sub(self.size, self.times(whole, self.lanes)), I32)
        places = ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes)))
        mask = builder.icmp_signed("<", places, self.splat(left))
        end = builder.add(self.start, self.times(whole, VECTOR_BYTES))
        rest = ir.Constant(self.vector, [number] * self.lanes)
        join(self.masked(self.pointer(end, self.vector), mask, rest))

    def masked(self, pointer, mask, rest):
        name = f"llvm.masked.load.{suffix(self.vector)}.p0"
        return llvm(self.builder, name, self.vector, pointer, I32(1), mask, rest)


@intrinsic
def largest(typing, row):
    """The largest entry of a row that is a number; -inf if there is none."""

    def generate(context, builder, signature, arguments):
        sweep = Sweep(context, builder, signature.args[0], *arguments)
        lowest = ir.Constant(sweep.vector, [-math.inf] * sweep.lanes)
        top = cgutils.alloca_once_value(builder, lowest)

        def join(x):
            before = builder.load(top)
            builder.store(builder.select(builder.fcmp_ordered(">", x, before), x, before), top)

        sweep.each(-math.inf, join)
        name = f"llvm.vector.reduce.fmax.{suffix(sweep.vector)}"
        return llvm(builder, name, sweep.real, builder.load(top))

    return row.dtype(row), generate


@intrinsic
def mass(typing, row):
    """The sum of a row, in float64."""

    def generate(context, builder, signature, arguments):
        sweep = Sweep(context, builder, signature.args[0], *arguments)
        double = ir.DoubleType()
        wide = ir.VectorType(double, sweep.lanes)
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * sweep.lanes))

        def join(x):
            x = x if x.type == wide else builder.fpext(x, wide)
            builder.store(builder.fadd(builder.load(total), x), total)

        sweep.each(0.0, join)
        numbers = ir.Constant(double, 0.0), builder.load(total)
        name = f"llvm.vector.reduce.fadd.{suffix(wide)}"
        return llvm(builder, name, double, *numbers, fastmath=("reassoc",))

    return types.float64(row), generate


@helper
def together(x):
    """How many rows of x are raised together."""
    return max(1, min(x.shape[0], LINE // x.shape[1]))


@helper
def raise_rows(x, first, tops, out, finite=False):
    """out = exp(x - top) for as many rows of x, from the first, as out has.

    `finite` says that an infinite top is to be left alone: inf - inf would be NaN.
    """
    for i in range(out.shape[0]):
        row, raised = x[first + i], out[i]
        top = largest(row)
        if finite and math.isinf(top):
            top = row.dtype.type(0)
        tops[i] = top
        if row.size > LINE:  # leftovers weigh little, and another pass would leave the cache
            for j in range(row.size):
                raised[j] = exp(row[j] - top)
        else:
            for j in range(row.size):
                raised[j] = row[j] - top
    if x.shape[1] <= LINE:
        flat = out.reshape(out.size)
        for k in range(flat.size):
            flat[k] = exp(flat[k])


def softmax(x, out):
    count = together(x)
    tops = np.empty(count, x.dtype)
    for first in range(0, x.shape[0], count):
        some = out[first : first + count]
        raise_rows(x, first, tops, some)
        for i in range(some.shape[0]):
            share = 1.0 / mass(some[i])
            for j in range(x.shape[1]):
                some[i, j] = some[i, j] * share


def log_softmax(x, out):
    count = together(x)
    tops = np.empty(count, x.dtype)
    for first in range(0, x.shape[0], count):
        some = out[first : first + count]
        raise_rows(x, first, tops, some)
        for i in range(some.shape[0]):
            log_mass = math.log(mass(some[i]))
            for j in range(x.shape[1]):
                some[i, j] = np.float64(x[first + i, j] - tops[i]) - log_mass


def logsumexp(x, out):
    count = together(x)
    tops, work = np.empty(count, x.dtype), np.empty((count, x.shape[1]), x.dtype)
    for first in range(0, x.shape[0], count):
        some = work[: x.shape[0] - first]
        raise_rows(x, first, tops, some, True)
        for i in range(some.shape[0]):
            out[first + i] = np.float64(tops[i]) + math.log(mass(some[i]))


def cross_entropy(logits, target, ignore_index, out):
    count = together(logits)
    tops, work = np.empty(count, logits.dtype), np.empty((count, logits.shape[1]), logits.dtype)
    for first in range(0, logits.shape[0], count):
        some = work[: logits.shape[0] - first]
        raise_rows(logits, first, tops, some)
        for i in range(some.shape[0]):
            aim, out[first + i] = target[first + i], 0.0
            if aim != ignore_index:
                low = np.float64(logits[first + i, aim] - tops[i])
                out[first + i] = math.log(mass(some[i])) - low


def cross_entropy_pull(g, logits, target, ignore_index, out):
    count = together(logits)
    tops = np.empty(count, logits.dtype)
    for first in range(0, logits.shape[0], count):
        some = out[first : first + count]
        raise_rows(logits, first, tops, some)
        for i in range(some.shape[0]):
            aim, weight = target[first + i], g[first + i]
            if aim == ignore_index:
                some[i] = 0.0
            else:
                share = weight / mass(some[i])
                for j in range(logits.shape[1]):
                    some[i, j] = some[i, j] * share
                some[i, aim] -= weight


def scatter_rows(g, index, out):
    out[:] = 0.0
    for i in range(index.size):
        place = index[i]
        for j in range(g.shape[1]):
            out[place, j] += g[i, j]


def kernel(name: str, real: Any) -> Any:
    """The compiled kernel of that name, for one float type."""
    whole, line, matrix = read(types.int64, 1), read(real, 1), rows(real)
    function, *arguments = {
        "softmax": (softmax, matrix, written(real, 2)),
        "log_softmax": (log_softmax, matrix, written(real, 2)),
        "logsumexp": (logsumexp, matrix, written(real, 1)),
        "cross_entropy": (cross_entropy, matrix, whole, types.int64, written(real, 1)),
        "cross_entropy_pull": (
            cross_entropy_pull, line, matrix, whole, types.int64, written(real, 2),
        ),
        "scatter_rows": (scatter_rows, matrix, whole, written(real, 2)),
    }[name]  # fmt: skip
    return specialised(function, *arguments)
