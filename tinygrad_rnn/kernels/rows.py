"""What is done row by row: softmax and its kin, cross-entropy, and adding rows where they belong.

A row is shifted by its largest entry, so nothing overflows; its sum is kept in float64. NaN and
infinities stay in their own row.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import LLVM_REAL, SUFFIX, helper, read, rows, specialised, written
from .pointwise import exp_number


@intrinsic
def larger(typing, x, y):
    """The larger of two numbers; NaN if either is."""

    def generate(context, builder, signature, arguments):
        real = signature.return_type
        kind, name = LLVM_REAL[real], f"llvm.maximum.{SUFFIX[real]}"
        call = ir.FunctionType(kind, [kind, kind])
        return builder.call(cgutils.get_or_insert_function(builder.module, call, name), arguments)

    return x(x, x), generate


@intrinsic
def plus(typing, total, x):
    """total + x, where LLVM may add in any order: the only way a sum vectorises."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=("reassoc",))

    return total(total, total), generate


@helper
def largest(row):
    """The largest entry of a row; -inf if it is empty, NaN if it holds one."""
    top = row.dtype.type(-np.inf)
    for j in range(row.size):
        top = larger(top, row[j])
    return top


@helper
def mass(row, top):
    """The sum of exp(row - top)."""
    total = 0.0
    for j in range(row.size):
        total = plus(total, np.float64(exp_number(row[j] - top)))
    return total


@helper
def raise_row(row, top, out):
    """out = exp(row - top); returns its sum."""
    total = 0.0
    for j in range(row.size):
        e = exp_number(row[j] - top)
        out[j] = e
        total = plus(total, np.float64(e))
    return total


def softmax(x, out):
    for i in range(x.shape[0]):
        share = 1.0 / raise_row(x[i], largest(x[i]), out[i])
        for j in range(x.shape[1]):
            out[i, j] = out[i, j] * share


def log_softmax(x, out):
    for i in range(x.shape[0]):
        top = largest(x[i])
        log_mass = math.log(mass(x[i], top))
        for j in range(x.shape[1]):
            out[i, j] = np.float64(x[i, j] - top) - log_mass


def logsumexp(x, out):
    for i in range(x.shape[0]):
        top = largest(x[i])
        if math.isinf(top):  # inf - inf would be NaN
            top = x.dtype.type(0)
        out[i] = np.float64(top) + math.log(mass(x[i], top))


def cross_entropy(logits, target, ignore_index, out):
    for i in range(logits.shape[0]):
        out[i] = 0.0
        if target[i] != ignore_index:
            top = largest(logits[i])
            log_mass = math.log(mass(logits[i], top))
            out[i] = log_mass - np.float64(logits[i, target[i]] - top)


def cross_entropy_pull(g, logits, target, ignore_index, out):
    for i in range(logits.shape[0]):
        if target[i] == ignore_index:
            out[i] = 0.0
        else:
            share = g[i] / raise_row(logits[i], largest(logits[i]), out[i])
            for j in range(logits.shape[1]):
                out[i, j] = out[i, j] * share
            out[i, target[i]] -= g[i]


def scatter_rows(g, index, out):
    out[:] = 0.0
    for i in range(index.size):
        place = index[i]
        for j in range(g.shape[1]):
            out[place, j] += g[i, j]


def kernel(name, real):
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
