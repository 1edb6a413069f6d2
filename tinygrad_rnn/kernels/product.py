"""The matrix product: tiles of C that stay in registers, each entry one chain of FMAs over k.

C[i, j] is fma(A[i, k], B[k, j], ...) for k = 0, 1, 2, ... starting from zero, whatever the sizes,
strides or path taken below: a row's answer does not depend on its batch mates.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types

from .compiled import FUSED, HOST, LLVM_REAL, inlined, read, specialised
from .denormals import flush_denormals, restore
from .emitted import as_intrinsic, fma, intrinsic, llvm, suffix
from .written import I64, write

VECTOR_BYTES = 64 if "avx512f" in HOST else 32 if "avx" in HOST else 16
# The tile: as many rows of two vectors as the host's registers hold (32 of them, else 16).
ROWS = 8 if "avx512f" in HOST or "neon" in HOST or "fp-armv8" in HOST else 6 if FUSED else 4
THIN = 8  # vectors in the tile of a single row: eight chains hide the latency of an FMA
DEPTH = 256  # k is split into blocks of so many, so that a panel of B stays in the cache
PACK_FROM = 5 * ROWS  # rows of C from which a copy of B's panel pays for itself

SHALLOW = 4  # up to this k a product mostly writes C, so it walks C in the order of memory

I32 = ir.IntType(32)


class Block:
    """What the intrinsics below need to know to read and write vectors at raw addresses."""

    def __init__(self, builder, real):
        self.builder, self.kind, self.real = builder, real, LLVM_REAL[real]
        self.bytes = real.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.real, self.lanes)

    def times(self, stride, count):
        return self.builder.mul(stride, ir.Constant(I64, count))

    def pointer(self, address, kind):
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address):
        value = self.builder.load(self.pointer(address, self.vector))
        value.align = 1  # any address: a view may be misaligned
        return value

    def store(self, value, address):
        self.builder.store(value, self.pointer(address, self.vector)).align = 1

    def copy_one(self, source, target):
        """Copy one number."""
        value = self.builder.load(self.pointer(source, self.real))
        value.align = 1
        self.builder.store(value, self.pointer(target, self.real)).align = 1

    def offset(self, address, vectors):
        return self.builder.add(address, ir.Constant(I64, vectors * VECTOR_BYTES))

    def broadcast(self, address):
        value = self.builder.load(self.pointer(address, self.real))
        value.align = 1
        return self.splat(value)

    def splat(self, value):
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(undefined, value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def turned(self, address, stride):
        """The columns of a square of lanes x lanes numbers.

        Interleaving vector i with vector i + lanes / 2 rotates the bits of an entry's position by
        one; after log2(lanes) rounds row and column have changed places.
        """
        lanes, half = self.lanes, self.lanes // 2
        low, high = (
            ir.Constant(
                ir.VectorType(I32, lanes), [lanes * (i % 2) + start + i // 2 for i in range(lanes)]
            )
            for start in (0, half)
        )
        weave = self.builder.shuffle_vector
        lines = [self.load(self.builder.add(address, self.times(stride, i))) for i in range(lanes)]
        for _ in range(lanes.bit_length() - 1):
            pairs = [(lines[i], lines[i + half]) for i in range(half)]
            lines = [weave(*pair, mask) for pair in pairs for mask in (low, high)]
        return lines


def writes(code):
    """The intrinsic of code(block, ...) that returns nothing; its first argument says the type."""

    def typed(typing, *kinds):
        def generate(context, builder, signature, arguments):
            code(Block(builder, kinds[0].dtype), *arguments)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return as_intrinsic(typed, code, 1)


def sum_up(block, height, width, a, a_row, a_k, b, b_k, b_next, c, c_row, depth, fresh):
    """Write the code of one tile, `height` by `width`: what `tile` says."""
    builder = block.builder
    cells = [(r, v) for r in range(height) for v in range(width)]
    sums = {cell: cgutils.alloca_once(builder, block.vector) for cell in cells}
    places = [builder.add(c, block.times(c_row, r)) for r in range(height)]
    with builder.if_else(fresh) as (from_zero, from_c):
        with from_zero:
            for cell in cells:
                builder.store(ir.Constant(block.vector, None), sums[cell])
        with from_c:
            for r, v in cells:
                builder.store(block.load(block.offset(places[r], v)), sums[r, v])
    lines = [builder.add(a, block.times(a_row, r)) for r in range(height)]
    pairs = [builder.add(b, block.times(b_next, v // 2)) for v in range(width)]
    with cgutils.for_range(builder, depth) as loop:
        down, along = builder.mul(loop.index, b_k), builder.mul(loop.index, a_k)
        columns = [block.offset(builder.add(pairs[v], down), v % 2) for v in range(width)]
        columns = [block.load(column) for column in columns]
        for r in range(height):
            x = block.broadcast(builder.add(lines[r], along))
            for v in range(width):
                total = fma(builder, x, columns[v], builder.load(sums[r, v]))
                builder.store(total, sums[r, v])
    for r, v in cells:
        block.store(builder.load(sums[r, v]), block.offset(places[r], v))


@intrinsic(prefer_literal=True)
def tile(typing, rows, vectors, like, a, a_row, a_k, b, b_k, c, c_row, depth, fresh):
    """C tile (+)= A tile @ B tile, `rows` by `vectors`; a fresh one starts from zero.

    Addresses and strides are in bytes; B's and C's rows are contiguous, A may be strided anyhow.
    """
    height, width = rows.literal_value, vectors.literal_value

    def generate(context, builder, signature, arguments):
        a, a_row, a_k, b, b_k, c, c_row, depth, fresh = arguments[3:]
        block = Block(builder, signature.args[2].dtype)
        b_next = ir.Constant(I64, 2 * VECTOR_BYTES)
        sum_up(block, height, width, a, a_row, a_k, b, b_k, b_next, c, c_row, depth, fresh)
        return context.get_dummy_value()

    arguments = (rows, vectors, like, a, a_row, a_k, b, b_k, c, c_row, depth, fresh)
    return types.void(*arguments), generate


@writes
def dots(block, like, a, a_k, b, b_col, c, squares):
    """One row of A against as many columns of B as a vector has lanes, each contiguous.

    A vector holds one k of every column after `squares` squares of B are transposed on the way.
    """
    builder = block.builder
    total = cgutils.alloca_once(builder, block.vector)
    builder.store(ir.Constant(block.vector, None), total)
    with cgutils.for_range(builder, squares) as loop:
        first = block.times(loop.index, block.lanes)
        a_at = builder.add(a, builder.mul(first, a_k))
        square = block.turned(builder.add(b, block.times(first, block.bytes)), b_col)
        for k, column in enumerate(square):
            x = block.broadcast(builder.add(a_at, block.times(a_k, k)))
            builder.store(fma(builder, x, column, builder.load(total)), total)
    block.store(builder.load(total), c)


@intrinsic
def address(typing, array):
    """The address of an array's first entry, signed: unsigned ones turn sums into floats."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, I64)

    return types.int64(array), generate


@writes
def keep(block, like, panel, strip):
    """Nothing, but a use: an address alone does not keep Numba from freeing its buffer."""


def strip_of(vectors):
    """The strip of C under one panel of B, `vectors` wide."""

    @inlined
    def strip(like, a, a_row, a_k, b, b_k, c, c_row, rows, depth, fresh):
        i = 0
        while rows - i >= ROWS:
            a_at, c_at = a + i * a_row, c + i * c_row
            tile(ROWS, vectors, like, a_at, a_row, a_k, b, b_k, c_at, c_row, depth, fresh)
            i += ROWS
        if rows - i >= 4:
            a_at, c_at = a + i * a_row, c + i * c_row
            tile(4, vectors, like, a_at, a_row, a_k, b, b_k, c_at, c_row, depth, fresh)
            i += 4
        if rows - i >= 2:
            a_at, c_at = a + i * a_row, c + i * c_row
            tile(2, vectors, like, a_at, a_row, a_k, b, b_k, c_at, c_row, depth, fresh)
            i += 2
        if rows - i >= 1:
            a_at, c_at = a + i * a_row, c + i * c_row
            tile(1, vectors, like, a_at, a_row, a_k, b, b_k, c_at, c_row, depth, fresh)

    return strip


wide_strip = strip_of(2)
narrow_strip = strip_of(1)


def copy_lines(w, source, source_row, target, target_row, rows, columns):
    """Copy a matrix whose rows are contiguous on both sides."""
    block = Block(w.builder, w.real)
    whole = columns * w.item // VECTOR_BYTES * VECTOR_BYTES
    with w.loop(0, rows) as i:
        line, place = source + i * source_row, target + i * target_row
        with w.loop(0, whole, VECTOR_BYTES) as at:
            block.store(block.load((line + at).value), (place + at).value)
        with w.loop(whole, columns * w.item, w.item) as at:
            block.copy_one((line + at).value, (place + at).value)


def copy_turned(w, source, source_col, target, target_row, rows, columns):
    """Copy a matrix whose columns are contiguous in the source, whose rows are in the target."""
    block = Block(w.builder, w.real)
    lanes, item = block.lanes, w.item
    full_rows, full_columns = rows // lanes * lanes, columns // lanes * lanes
    with w.loop(0, full_rows, lanes) as i, w.loop(0, full_columns, lanes) as j:
        corner, place = source + i * item + j * source_col, target + i * target_row + j * item
        for k, line in enumerate(block.turned(corner.value, source_col.value)):
            block.store(line, (place + target_row * k).value)
    with w.loop(0, rows) as i, w.loop((i < full_rows).choose(full_columns, 0), columns) as j:
        at = source + i * item + j * source_col
        block.copy_one(at.value, (target + i * target_row + j * item).value)


def copy_all(
    w, source, source_row, source_col, target, target_row, target_col, rows, columns
):  # fmt: skip
    """Copy a matrix between any two sets of strides."""
    item = w.item
    turn = source_col.equals(item) & target_row.equals(item)
    # The same copy, seen with rows as columns.
    source_row, source_col = (
        turn.choose(source_col, source_row),
        turn.choose(source_row, source_col),
    )
    target_row, target_col = (
        turn.choose(target_col, target_row),
        turn.choose(target_row, target_col),
    )
    rows, columns = turn.choose(columns, rows), turn.choose(rows, columns)
    packed = target_col.equals(item)
    lines = packed & source_col.equals(item)
    turned = packed & source_row.equals(item) & ~lines
    with w.when(lines):
        copy_lines(w, source, source_row, target, target_row, rows, columns)
    with w.when(turned):
        copy_turned(w, source, source_col, target, target_row, rows, columns)
    with w.when(~(lines | turned)), w.loop(0, rows) as i, w.loop(0, columns) as j:
        at = source + i * source_row + j * source_col
        place = target + i * target_row + j * target_col
        Block(w.builder, w.real).copy_one(at.value, place.value)


@writes
def copy(
    block, like, source, source_row, source_col, target, target_row, target_col, rows, columns
):
    """Copy a matrix between any two sets of strides."""
    numbers = source, source_row, source_col, target, target_row, target_col, rows, columns
    module, name = block.builder.module, f"copy.{suffix(block.real)}"
    if name not in module.globals:
        write(module, name, block.kind, copy_all)
    llvm(block.builder, name, ir.VoidType(), *numbers)


@inlined
def aligned(buffer):
    """The first address in `buffer` where a vector does not straddle two cache lines."""
    start = address(buffer)
    return start + (-start) % 64


@inlined
def thin(like, a, a_row, a_k, b, b_k, c, c_row, rows, depth, width):
    """Compute up to three rows of C, `width` columns in tiles of one row."""
    for j in range(0, width, THIN * VECTOR_BYTES):
        for i in range(rows):
            a_at, c_at = a + i * a_row, c + i * c_row + j
            tile(1, THIN, like, a_at, a_row, a_k, b + j, b_k, c_at, c_row, depth, True)


@inlined
def single(like, a, a_k, b, b_col, c, depth, width):
    """One row of C, `width` columns of it, where B's columns are contiguous."""
    lanes = VECTOR_BYTES // like.itemsize
    for j in range(0, width, lanes):
        dots(like, a, a_k, b + j * b_col, b_col, c + j * like.itemsize, depth // lanes)


@inlined
def multiply(
    like, a, a_row, a_k, b, b_k, b_col, c, c_row, c_col, rows, depth, first, columns, panel, strip
):
    """C = A @ B, panel by panel of B's columns from `first` on.

    A panel of B is read in place or from a copy in `panel`; a strip of C that is not whole
    or not contiguous is computed in `strip` and copied out.
    """
    item = like.itemsize
    lanes = VECTOR_BYTES // item
    panel_at, strip_at = aligned(panel), aligned(strip)
    for j in range(first, columns, 2 * lanes):
        count = min(2 * lanes, columns - j)
        width = lanes if count <= lanes else 2 * lanes
        in_place = b_col == item and count == width and rows < PACK_FROM
        straight = c_col == item and count == width
        c_at = c + j * c_col if straight else strip_at
        line = c_row if straight else width * item
        for start in range(0, depth, DEPTH):
            block = min(DEPTH, depth - start)
            b_at, b_line = b + start * b_k + j * b_col, b_k
            if not in_place:
                copy(like, b_at, b_k, b_col, panel_at, width * item, item, block, count)
                b_at, b_line = panel_at, width * item
            a_at, fresh = a + start * a_k, start == 0
            if width == lanes:
                narrow_strip(like, a_at, a_row, a_k, b_at, b_line, c_at, line, rows, block, fresh)
            else:
                wide_strip(like, a_at, a_row, a_k, b_at, b_line, c_at, line, rows, block, fresh)
        if not straight:
            c_at = c + j * c_col
            copy(like, strip_at, line, item, c_at, c_row, c_col, rows, count)


def product(x, y, out):
    """out = x @ y for matrices of any strides."""
    (rows, depth), columns = x.shape, y.shape[1]
    item = out.itemsize
    lanes = VECTOR_BYTES // item
    a, a_row, a_k = address(x), x.strides[0], x.strides[1]
    b, b_k, b_col = address(y), y.strides[0], y.strides[1]
    c, c_row, c_col = address(out), out.strides[0], out.strides[1]
    first = 0
    if rows == 1 and b_k == item and depth % lanes == 0:
        first = columns // lanes * lanes
        single(x, a, a_k, b, b_col, c, depth, first)
    elif b_col != item and columns > 1 and rows * (depth + columns) < depth * columns:
        # y's rows are not contiguous and x is the smaller copy: C.T = y.T @ x.T
        a, a_row, a_k, b, b_k, b_col = b, b_col, b_k, a, a_k, a_row
        c_row, c_col, rows, columns = c_col, c_row, columns, rows
    if rows < 4 and first == 0 and b_col == item and c_col == item:
        first = columns // (THIN * lanes) * (THIN * lanes)
        thin(x, a, a_row, a_k, b, b_k, c, c_row, rows, depth, first * item)
    uneven = (columns - first) % lanes != 0
    packs = uneven or b_col != item or rows >= PACK_FROM
    panel = np.empty(min(depth, DEPTH) * 2 * VECTOR_BYTES + 64 if packs else 0, np.uint8)
    if uneven:
        panel[:] = 0  # what fills up a panel is multiplied too: garbage may be slow denormals
    strips = uneven or c_col != item
    strip = np.empty(rows * 2 * VECTOR_BYTES + 64 if strips else 0, np.uint8)
    mode = flush_denormals() if item == 4 else 0
    tall = ROWS if depth <= SHALLOW and b_col == item else max(1, rows)
    for i in range(0, rows, tall):
        a_at, c_at, height = a + i * a_row, c + i * c_row, min(tall, rows - i)
        multiply(
            out, a_at, a_row, a_k, b, b_k, b_col, c_at, c_row, c_col, height, depth, first, columns,
            panel, strip,
        )  # fmt: skip
    if item == 4:
        restore(mode)
    keep(out, panel, strip)


def kernel(real: Any) -> Any:
    """The compiled product, for one float type."""
    return specialised(product, read(real, 2), read(real, 2), types.Array(real, 2, "A"))
