"""Products on packed weights for generated loops: compiled once, called by name.

A panel is two vectors wide: W (K, N) is packed as [N / width][K][width], its last panel filled up
with zeros. A generated function only holds calls to symbols that `load` has given addresses, so
it compiles fast, and stays on disk because no address is written into it.
"""

import threading
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray
from numba.core import cgutils, errors, types

from .compiled import LLVM_REAL, callable_from_c, helper
from .emitted import as_intrinsic, intrinsic, llvm, suffix
from .product import I64, ROWS, VECTOR_BYTES, copy, move, move_one, set_zero, sum_up, writes

LINE = 2 * VECTOR_BYTES  # bytes of one row of a panel
DEPTH = 256  # k is split into blocks of so many, so that a panel stays in the first cache
NEAR = 1 << 19  # bytes of x that stay in the second cache while the panels go by
TALL = 512  # rows that `gather` packs at a time
# One panel in the registers leaves room for ten rows where an eager product takes eight.
HIGH = 10 if ROWS == 8 else ROWS
# A few rows go under several panels at once: eight chains or more hide the latency of an FMA.
THIN = {1: 4, 2: 2, 3: 2} | ({4: 2} if ROWS == 8 else {})
TILES = [(rows, 2) for rows in range(1, HIGH + 1)]
TILES += [(rows, 2 * panels) for rows, panels in THIN.items()]
THIN_1, THIN_2, FEW = THIN[1], THIN[2], max(THIN)


def width(dtype: Any) -> int:
    """The columns of a panel."""
    return LINE // int(np.dtype(dtype).itemsize)


def packed_size(depth: int, columns: int, dtype: Any) -> int:
    """How many numbers `pack` writes for a matrix (depth, columns)."""
    wide = width(dtype)
    return -(-columns // wide) * wide * depth


def gather_size(rows: int, columns: int, dtype: Any) -> int:
    """How many numbers of scratch `gather` needs for a sum of (rows, columns)."""
    spare = 64 // int(np.dtype(dtype).itemsize)
    return packed_size(TALL, rows, dtype) + packed_size(TALL, columns, dtype) + spare


# --- what the routines are made of --------------------------------------------------------------


def symbol(name, real):
    return f"tinygrad_rnn.{name}.{suffix(LLVM_REAL[real])}"


def call(builder, real, name, first, numbers):
    """Call a routine: a pointer that says the type, then 64-bit numbers."""
    first = builder.inttoptr(first, LLVM_REAL[real].as_pointer())
    llvm(builder, symbol(name, real), ir.VoidType(), first, *numbers)


@intrinsic(prefer_literal=True)
def routine(typing, name, like, numbers):
    """Call another routine by its name: it is compiled once, not into each caller."""

    def generate(context, builder, signature, arguments):
        (name, like, kinds), values = signature.args, arguments[2]
        values = cgutils.unpack_tuple(builder, values)
        values = [
            context.cast(builder, value, kind, types.int64)
            for value, kind in zip(values, kinds.types, strict=True)
        ]
        call(builder, like.dtype, name.literal_value, ir.Constant(I64, 0), values)
        return context.get_dummy_value()

    return types.void(name, like, numbers), generate


@writes
def tiles(block, like, pick, a, a_row, a_k, b, b_next, c, c_row, depth, fresh):
    """The tile TILES[pick], under panels that are `b_next` bytes apart."""
    builder, right = block.builder, (b, ir.Constant(I64, LINE), b_next)
    for i, sides in enumerate(TILES):
        with builder.if_then(builder.icmp_signed("==", pick, ir.Constant(I64, i))):
            sum_up(block, *sides, a, a_row, a_k, *right, c, c_row, depth, fresh)


@intrinsic
def stack(typing, like):
    """The address of room for one tile on the stack."""

    def generate(context, builder, signature, arguments):
        kind = ir.ArrayType(ir.IntType(8), HIGH * LINE)
        room = cgutils.alloca_once(builder, kind)
        return builder.ptrtoint(room, I64)

    return types.int64(like), generate


@helper
def move_tile(like, source, source_row, source_col, target, target_row, target_col, rows, columns):
    for i in range(rows):
        for j in range(columns):
            at = source + i * source_row + j * source_col
            move_one(like, at, target + i * target_row + j * target_col)


# --- the routines: addresses and strides in bytes -------------------------------------------------


def strip(
    first, a, a_step, a_row, a_k, b, b_next, c, c_step, c_row, c_col,
    steps, rows, depth, count, panels, fresh,
):  # fmt: skip
    """The columns of C under one panel, or under several if there are up to three rows."""
    like = carray(first, 1)
    item = like.itemsize
    in_place = c_col == item and count * item >= LINE
    room = stack(like)
    if not in_place:  # what fills up a tile is added to as well: garbage may be slow denormals
        for at in range(0, HIGH * LINE, item):
            set_zero(like, room + at)
    parts = (rows + HIGH - 1) // HIGH
    least = rows // parts  # tiles of even height: low ones are slow
    longer = rows - least * parts
    for s in range(steps):
        a_at, c_at = a + s * a_step, c + s * c_step
        for i in range(parts):
            height = least + (i < longer)
            pick = height - 1 if panels == 1 else HIGH + height - 1
            place, place_row = (c_at, c_row) if in_place else (room, LINE)
            if not in_place and not fresh:
                move_tile(like, c_at, c_row, c_col, room, LINE, item, height, count)
            tiles(like, pick, a_at, a_row, a_k, b, b_next, place, place_row, depth, fresh != 0)
            if not in_place:
                move_tile(like, room, LINE, item, c_at, c_row, c_col, height, count)
            a_at, c_at = a_at + height * a_row, c_at + height * c_row


def under_panels(
    first, a, a_step, a_row, a_k, b, c, c_step, c_row, c_col, steps, rows, depth, columns, fresh
):
    """C (+)= A @ W for as many rows of A as stay near: a panel is used for all of them."""
    like = carray(first, 1)
    item = like.itemsize
    wide = LINE // item
    j = 0
    while j < columns:
        panels = THIN_1 if rows == 1 else THIN_2 if rows <= FEW else 1
        if c_col != item or columns - j < panels * wide:
            panels = 1
        count = min(columns - j, panels * wide)
        panel = b + j * depth * item
        for start in range(0, max(depth, 1), DEPTH):
            block = min(DEPTH, depth - start)
            a_at, b_at = a + start * a_k, panel + start * LINE
            routine("strip", like, (
                a_at, a_step, a_row, a_k, b_at, depth * LINE, c + j * c_col, c_step, c_row, c_col,
                steps, rows, block, count, panels, fresh != 0 and start == 0,
            ))  # fmt: skip
        j += count


def multiply_all(
    first, a, a_step, a_row, a_k, b, c, c_step, c_row, c_col, steps, rows, depth, columns, fresh
):
    """C[s] (+)= A[s] @ W, in blocks of rows that stay in the second cache."""
    like = carray(first, 1)
    if rows == 0 or steps == 0:
        return
    if rows == 1:
        rows, steps, a_row, c_row = steps, 1, a_step, c_step
    elif a_step == rows * a_row and c_step == rows * c_row:
        rows, steps = rows * steps, 1
    near = NEAR // (max(depth, 1) * like.itemsize)
    tall = rows if rows <= 2 * near else max(near // HIGH, 4) * HIGH
    many = max(1, near // tall)
    for i in range(0, rows, tall):
        for s in range(0, steps, many):
            routine("under_panels", like, (
                a + s * a_step + i * a_row, a_step, a_row, a_k, b,
                c + s * c_step + i * c_row, c_step, c_row, c_col,
                min(many, steps - s), min(tall, rows - i), depth, columns, fresh,
            ))  # fmt: skip


def pack_rows_of(first, a, a_step, a_row, a_col, panels, line_count, rows, columns, start, stop):
    """Pack the lines start .. stop of A (steps, rows, columns), seen as one tall matrix."""
    like = carray(first, 1)
    item = like.itemsize
    wide = LINE // item
    size = line_count * LINE
    if a_step == rows * a_row:
        rows = stop  # one tall matrix it is
    for j in range(0, columns, wide):
        count = min(wide, columns - j)
        panel = panels + j // wide * size
        if count < wide:
            for k in range(stop - start):
                for i in range(count, wide):
                    set_zero(like, panel + k * LINE + i * item)
        at = start
        while at < stop:
            s, r = at // rows, at % rows
            height = min(rows - r, stop - at)
            source = a + s * a_step + r * a_row + j * a_col
            target = panel + (at - start) * LINE
            if a_col == item and count == wide:
                for i in range(height):
                    move(like, source + i * a_row, target + i * LINE)
                    move(like, source + i * a_row + VECTOR_BYTES, target + i * LINE + VECTOR_BYTES)
            else:
                copy(like, source, a_row, a_col, target, LINE, item, height, count)
            at += height


def gather_all(
    first, a, a_step, a_row, a_col, g, g_step, g_row, g_col, c, c_row, steps, rows, tall, columns,
    scratch, ready, fresh,
):  # fmt: skip
    """C (+)= sum of outer(A[s, r], G[s, r]), some lines packed at a time; G may be `ready`."""
    like = carray(first, 1)
    item = like.itemsize
    wide = LINE // item
    left = scratch + (-scratch) % 64
    right = left + (tall + wide - 1) // wide * TALL * LINE
    lines = steps * rows
    for start in range(0, lines, TALL):
        stop = min(start + TALL, lines)
        depth = stop - start
        routine("pack", like, (
            a, a_step, a_row, a_col, left, depth, rows, tall, start, stop,
        ))  # fmt: skip
        panels, b_next = right, depth * LINE
        if ready:
            panels, b_next = g + start * LINE, lines * LINE
        else:
            routine("pack", like, (
                g, g_step, g_row, g_col, right, depth, rows, columns, start, stop,
            ))  # fmt: skip
        for j in range(0, columns, wide):
            count = min(wide, columns - j)
            for i in range(0, tall, wide):
                routine("strip", like, (
                    left + i * depth * item, 0, item, LINE, panels + j // wide * b_next, 0,
                    c + i * c_row + j * item, 0, c_row, item, 1, min(wide, tall - i), depth,
                    count, 1, fresh != 0 and start == 0,
                ))  # fmt: skip


ROUTINES: dict[str, Any] = {
    "pack": (pack_rows_of, 10),
    "strip": (strip, 16),
    "under_panels": (under_panels, 14),
    "multiply": (multiply_all, 14),
    "gather": (gather_all, 17),
}

_loaded: dict[Any, Any] = {}
_lock = threading.Lock()


def load(real: Any) -> None:
    """Compile the routines of one float type, or find them on disk, and give them their names."""
    if real in _loaded:
        return
    with _lock:
        if real in _loaded:
            return
        callbacks = []
        for name, (function, numbers) in ROUTINES.items():
            kind = types.void(types.CPointer(real), *[types.int64] * numbers)
            callback = callable_from_c(function, kind)
            binding.add_symbol(symbol(name, real), callback.address)
            callbacks.append(callback)
        _loaded[real] = callbacks  # kept: a callback that is freed takes its code along


# --- what generated code calls ------------------------------------------------------------------


class View:
    """An array's address, shape and strides while code that takes it is written."""

    def __init__(self, context, builder, kind, value):
        array = context.make_array(kind)(context, builder, value)
        self.data = builder.ptrtoint(array.data, I64)
        self.shape = cgutils.unpack_tuple(builder, array.shape, kind.ndim)
        self.strides = cgutils.unpack_tuple(builder, array.strides, kind.ndim)


def door(*dimensions):
    """The intrinsic of a routine for arrays of so many dimensions, and numbers after them.

    What it is made of returns the routine's name and its numbers, given the arrays' `View`s.
    """

    def around(numbers):
        def typed(typing, *kinds):
            arrays = kinds[: len(dimensions)]
            _check_arrays(numbers.__name__, arrays, dimensions)

            def generate(context, builder, signature, arguments):
                given = [
                    View(context, builder, kind, value)
                    if isinstance(kind, types.Array)
                    else context.cast(builder, value, kind, types.int64)
                    for kind, value in zip(kinds, arguments, strict=True)
                ]
                target, values = numbers(builder, *given)
                values = [ir.Constant(I64, v) if isinstance(v, int) else v for v in values]
                call(builder, arrays[0].dtype, target, given[0].data, values)
                return context.get_dummy_value()

            return types.void(*kinds), generate

        return as_intrinsic(typed, numbers, 1)

    return around


def _check_arrays(name, arrays, dimensions):
    if not all(isinstance(kind, types.Array) for kind in arrays):
        raise errors.TypingError(f"{name} takes arrays")
    if tuple(kind.ndim for kind in arrays) != dimensions:
        raise errors.TypingError(f"{name} takes arrays of {dimensions} dimensions")
    reals = {kind.dtype for kind in arrays}
    if len(reals) != 1 or not reals <= set(LLVM_REAL):
        raise errors.TypingError(f"{name} takes float32 arrays or float64 arrays")


@door(2, 1)
def pack(builder, w, panels):
    """Pack a matrix of weights (depth, columns), of any strides, for `multiply`."""
    (depth, columns), (row, col) = w.shape, w.strides
    return "pack", (w.data, 0, row, col, panels.data, depth, depth, columns, 0, depth)


@door(3, 1)
def pack_rows(builder, g, panels):
    """Pack g (steps, rows, columns), seen as one tall matrix, for `gather_packed`."""
    steps, rows, columns = g.shape
    lines = builder.mul(steps, rows)
    return "pack", (g.data, *g.strides, panels.data, lines, rows, columns, 0, lines)


@door(3, 1, 3)
def multiply(builder, x, panels, out, fresh):
    """out[s] = x[s] @ W, or += if not `fresh`, W (depth, columns) being packed in `panels`."""
    places = panels.data, out.data, *out.strides
    return "multiply", (x.data, *x.strides, *places, *x.shape, out.shape[2], fresh)


@door(3, 3, 2, 1)
def gather(builder, x, g, out, scratch, fresh):
    """out += the sum of outer(x[s, r], g[s, r]) over all steps s and rows r; = if `fresh`.

    Of no rows at all there is no sum: then a fresh `out` is left as it is.
    """
    ends = *x.shape, g.shape[2], scratch.data, 0, fresh
    return "gather", (x.data, *x.strides, g.data, *g.strides, out.data, out.strides[0], *ends)


@door(3, 1, 2, 1)
def gather_packed(builder, x, panels, out, scratch, fresh):
    """`gather` where g is packed in `panels`, by `pack_rows`."""
    ends = *x.shape, out.shape[1], scratch.data, 1, fresh
    return "gather", (x.data, *x.strides, panels.data, 0, 0, 0, out.data, out.strides[0], *ends)
