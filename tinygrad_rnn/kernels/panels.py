"""Products on packed weights for generated loops: compiled once, called by name.

A panel is two vectors wide: W (K, N) is packed as [N / width][K][width], its last panel filled up
with zeros. A generated function only holds calls to symbols that `load` has given addresses, so
it compiles fast, and stays on disk because no address is written into it.
"""

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir

from . import target
from .machine import CROWDED, FIRST, SECOND
from .objects import array, by_worker, matrix
from .product import DEPTH, HIGH, REGISTERS, Block, copy_all, sum_up
from .target import VECTOR_BYTES
from .threads import shared
from .written import I64, KINDS, llvm, symbol, write

LINE = 2 * VECTOR_BYTES  # bytes of one row of a panel
NEAR = SECOND // 2  # bytes of x that stay in the second cache while the panels go by
STACK = 1 << 17  # bytes of rows that are copied at a time
WAYS = 8  # rows that fit there
COPY_FROM = 64  # columns from which it pays to copy rows that do
PACK_FROM = 1 << 15  # numbers from which a thread packs some
SHORT = 128  # rows of which a panel of each side stays in a first cache of three such panels
TALL = SHORT if 3 * SHORT * LINE <= FIRST else DEPTH  # rows that `gather` packs at a time
# A few rows go under several panels at once: eight chains or more hide the latency of an FMA.
THIN = {1: 4, 2: 2, 3: 2} | ({4: 2} if REGISTERS == 32 else {})
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


def padded(columns: int, dtype: Any) -> int:
    """How wide rows are best that products write and read: whole panels, and not crowded."""
    wide, item = packed_size(1, columns, dtype), int(np.dtype(dtype).itemsize)
    return wide + (wide * item % CROWDED == 0) * width(dtype)


def gather_size(rows: int, columns: int, dtype: Any) -> int:
    """How many numbers of scratch `gather` needs for a sum of (rows, columns)."""
    spare = 64 // int(np.dtype(dtype).itemsize)
    return packed_size(TALL, rows, dtype) + packed_size(TALL, columns, dtype) + spare


def upwards(number, by):
    """The quotient, rounded up."""
    return (number + (by - 1)) // by


# --- the routines: addresses and strides in bytes -------------------------------------------------


def move_tile(w, source, source_row, source_col, target, target_row, target_col, rows, columns):
    with w.loop(0, rows) as i, w.loop(0, columns) as j:
        at = source + i * source_row + j * source_col
        place = target + i * target_row + j * target_col
        Block(w.builder, w.real).copy_one(at.value, place.value)


def strip_of(tiles, known):
    """The routine of one strip of C, in tiles of some sides.

    known: of the bytes of an item, the strides a_row, a_k and b_k that are the same in all calls;
    None for one that is not. A stride that is known costs no instructions in the innermost loop.
    """
    high = max(rows for rows, _ in tiles)

    def strip(
        w, a, a_step, a_row, a_k, b, b_k, b_next, c, c_step, c_row, c_col,
        steps, rows, depth, count, panels, fresh,
    ):  # fmt: skip
        """The columns of C under one panel, or under several if there are up to three rows."""
        item, block = w.item, Block(w.builder, w.real)
        in_place = (c_col == item) & (count * item >= LINE)
        fresh, room = fresh != 0, w.room(high * LINE)
        with w.when(~in_place):  # what fills up a tile is added to: garbage may be slow denormals
            for vector in range(high * LINE // VECTOR_BYTES):
                block.store(ir.Constant(block.vector, None), (room + vector * VECTOR_BYTES).value)
        strides = [
            given if stride is None else w.number(stride)
            for given, stride in zip((a_row, a_k, b_k), known(item), strict=True)
        ]
        parts = (rows + (high - 1)) // high
        least = rows // parts.least(1)  # tiles of even height: low ones are slow
        longer = rows - least * parts
        with w.loop(0, steps) as s:
            # Addresses move on: of a formula for each, LLVM would keep all tiles' up to date.
            a_place, c_place = w.variable(a + s * a_step), w.variable(c + s * c_step)
            with w.loop(0, parts) as i:
                a_at, c_at = w.read(a_place), w.read(c_place)
                height = least + (i < longer).choose(1, 0)
                pick = (panels == 1).choose(height - 1, height + (high - 1))
                place, place_row = in_place.choose(c_at, room), in_place.choose(c_row, LINE)
                there = w.number(LINE), w.number(item)
                with w.when(~(in_place | fresh)):
                    move_tile(w, c_at, c_row, c_col, room, *there, height, count)
                for k, sides in enumerate(tiles):
                    with w.when(pick == k):
                        places = a_at, *strides[:2], b, strides[2], b_next, place, place_row
                        sum_up(block, *sides, *[x.value for x in (*places, depth, fresh)])
                with w.when(~in_place):
                    move_tile(w, room, *there, c_at, c_row, c_col, height, count)
                w.write(a_at + height * a_row, a_place)
                w.write(c_at + height * c_row, c_place)

    return strip


def under_panels_of(word):
    """The routine that goes from panel to panel, with strips by that name."""

    def under_panels(
        w, a, a_step, a_row, a_k, b, b_k, b_next, c, c_step, c_row, c_col,
        steps, rows, depth, columns, fresh,
    ):  # fmt: skip
        """C (+)= A @ W for as many rows of A as stay near: a panel is used for all of them."""
        item, wide = w.item, LINE // w.item
        most = (rows == 1).choose(THIN_1, (rows <= FEW).choose(THIN_2, 1))
        most = (c_col == item).choose(most, 1)
        groups = columns // (most * wide)  # so many panels at once, and what is left one by one
        left = columns - groups * most * wide
        with w.loop(0, groups + (left + (wide - 1)) // wide) as k:
            whole = k < groups
            panels = whole.choose(most, 1)
            j = whole.choose(k * most, groups * most + k - groups) * wide
            count = (columns - j).most(panels * wide)
            with w.loop(0, depth.least(1), DEPTH) as start:
                w.call(
                    symbol(word, w.real), a + start * a_k, a_step, a_row, a_k,
                    b + j // wide * b_next + start * b_k, b_k, b_next, c + j * c_col, c_step, c_row,
                    c_col, steps, rows, (depth - start).most(DEPTH), count, panels,
                    (fresh != 0) & (start == 0),
                )  # fmt: skip

    return under_panels


def multiply_all(
    w, a, a_step, a_row, a_k, b, b_k, b_next, c, c_step, c_row, c_col,
    steps, rows, depth, columns, fresh,
):  # fmt: skip
    """C[s] (+)= A[s] @ W, in blocks of rows that stay in the second cache."""
    one = rows == 1
    joined = (a_step == rows * a_row) & (c_step == rows * c_row)
    a_row, c_row = one.choose(a_step, a_row), one.choose(c_step, c_row)
    rows = one.choose(steps, joined.choose(rows * steps, rows))
    steps = (one | joined).choose(1, steps)
    turned = a_k != w.item
    tile = upwards(rows, upwards(rows, HIGH).least(1))
    crowded = ((a_row & (CROWDED - 1)) == 0) & (tile > WAYS) & (columns >= COPY_FROM)
    copied = turned | crowded
    with w.when(copied):
        copied_rows(w, a, a_step, a_row, a_k, b, b_k, b_next, c, c_step, c_row, c_col,
                    steps, rows, depth, columns, fresh)  # fmt: skip
    near = w.number(NEAR) // (depth.least(1) * w.item)
    blocks = upwards(rows, near.least(4 * HIGH))  # of even height, each in whole tiles
    tall = upwards(upwards(rows, blocks.least(1)), HIGH) * HIGH
    many = (near // tall.least(1)).least(1)
    rows = copied.choose(0, rows)
    with w.loop(0, rows, tall.least(1)) as i, w.loop(0, steps, many) as s:
        w.call(
            symbol("under_panels", w.real),
            a + s * a_step + i * a_row, a_step, a_row, a_k, b, b_k, b_next,
            c + s * c_step + i * c_row, c_step, c_row, c_col,
            (steps - s).most(many), (rows - i).most(tall), depth, columns, fresh,
        )  # fmt: skip


def copied_rows(
    w, a, a_step, a_row, a_k, b, b_k, b_next, c, c_step, c_row, c_col,
    steps, rows, depth, columns, fresh,
):  # fmt: skip
    """C[s] (+)= A[s] @ W for rows that are not contiguous, or so far apart that they are in each
    other's way in the first cache: some of them are copied to the stack.
    """
    item = w.item
    pitch = DEPTH * item + 64  # no power of two
    tall = STACK // pitch // HIGH * HIGH
    room = w.room(tall * pitch)
    with w.loop(0, steps) as s, w.loop(0, rows, tall) as i, w.loop(0, depth.least(1), DEPTH) as k:
        height, deep = (rows - i).most(tall), (depth - k).most(DEPTH)
        source = a + s * a_step + i * a_row + k * a_k
        w.call(symbol("copy", w.real), source, a_row, a_k, room, pitch, item, height, deep)
        w.call(
            symbol("under_panels", w.real), room, 0, pitch, item, b + k * b_k, b_k, b_next,
            c + s * c_step + i * c_row, 0, c_row, c_col, 1, height, deep, columns,
            (fresh != 0) & (k == 0),
        )  # fmt: skip


def interleave(w, source, source_row, target, panel, rows, panels):
    """Copy rows into whole panels, some side by side: a cache line is read with its neighbours."""
    block, group = Block(w.builder, w.real), 512 // LINE
    with w.loop(0, panels, group) as first, w.loop(0, rows) as i:
        line, place = source + i * source_row, target + i * LINE
        with w.loop(first, panels.most(first + group)) as j:
            for at in (0, VECTOR_BYTES):
                vector = block.load((line + j * LINE + at).value)
                block.store(vector, (place + j * panel + at).value)


def pack_rows_of(w, a, a_step, a_row, a_col, panels, line_count, rows, columns, start, stop):
    """Pack the lines start .. stop of A (steps, rows, columns), seen as one tall matrix."""
    item, wide, block = w.item, LINE // w.item, Block(w.builder, w.real)
    rows = (a_step == rows * a_row).choose(stop, rows).least(1)  # one tall matrix it may be
    whole = (a_col == item).choose(columns // wide, 0)  # panels that are filled side by side
    with w.when(columns // wide * wide < columns), w.loop(0, stop - start) as k:
        for vector in (0, VECTOR_BYTES):
            zero = ir.Constant(block.vector, None)
            block.store(zero, (panels + (columns // wide * line_count + k) * LINE + vector).value)
    with w.loop(start // rows, (stop + rows - 1) // rows) as s:
        low, high = start.least(s * rows), stop.most((s + 1) * rows)
        source = a + s * a_step + (low - s * rows) * a_row
        target = panels + (low - start) * LINE
        w.call(symbol("interleave", w.real), source, a_row, target, line_count * LINE,
               high - low, whole)  # fmt: skip
        with w.loop(whole, (columns + (wide - 1)) // wide) as j:
            w.call(symbol("copy", w.real), source + j * wide * a_col, a_row, a_col,
                   target + j * line_count * LINE, LINE, item, high - low,
                   (columns - j * wide).most(wide))  # fmt: skip


def pack_lines(w, start, stop, arrays):
    """Pack the lines start .. stop of the first matrix of a tuple into the second array."""
    of, (panels, _) = matrix(w, arrays, 0), array(w, arrays, 1)
    w.call(symbol("pack", w.real), of.data, 0, of.row, of.column, panels + start * LINE, of.rows,
           of.rows, of.columns, start, stop)  # fmt: skip


def gather_all(
    w, a, a_step, a_row, a_col, g, g_step, g_row, g_col, c, c_row, steps, rows, tall, columns,
    scratch, ready, fresh,
):  # fmt: skip
    """C (+)= sum of outer(A[s, r], G[s, r]), some lines packed at a time; G may be `ready`."""
    item, wide, pack = w.item, LINE // w.item, symbol("pack", w.real)
    left = scratch + (-scratch & 63)
    right = left + (tall + (wide - 1)) // wide * (TALL * LINE)
    lines, ready = steps * rows, ready != 0
    with w.loop(0, lines, TALL) as start:
        stop = lines.most(start + TALL)
        depth = stop - start
        w.call(pack, a, a_step, a_row, a_col, left, depth, rows, tall, start, stop)
        with w.when(~ready):
            w.call(pack, g, g_step, g_row, g_col, right, depth, rows, columns, start, stop)
        panels = ready.choose(g + start * LINE, right)
        b_next = ready.choose(lines, depth) * LINE
        full = tall // wide  # panels that go under one of the other side at once
        with w.loop(0, columns, wide) as j, w.loop(0, 2) as rest:
            pairs = (0, full * wide), (wide, tall - full * wide), (full, 1)
            i, high, count = [(rest == 0).choose(*pair) for pair in pairs]
            w.call(
                symbol("strip_packed", w.real), left + i * depth * item, depth * LINE, item, LINE,
                panels + j // wide * b_next, LINE, 0, c + i * c_row + j * item, wide * c_row,
                c_row, item, count, high, depth, (columns - j).most(wide), 1,
                (fresh != 0) & (start == 0),
            )  # fmt: skip


INNER: dict[str, Any] = {
    "strip": strip_of(TILES, lambda item: (None, item, LINE)),
    "strip_packed": strip_of(TILES[: min(HIGH, 11)], lambda item: (item, LINE, LINE)),
    "under_panels": under_panels_of("strip"),
    "interleave": interleave,
}
OUTER: dict[str, Any] = {
    "copy": copy_all, "pack": pack_rows_of, "multiply": multiply_all, "gather": gather_all,
    "pack_lines": pack_lines, "pack_lines_apart": by_worker("pack_lines"),
}  # fmt: skip

_loaded: dict[Any, Any] = {}  # kept: code that is freed is gone
lock = threading.Lock()


def load(dtype: Any, name: str = "panels", inner: Any = INNER, outer: Any = OUTER) -> Any:
    """Compile the routines of one dtype, or find them on disk; name those of `outer`."""
    real = KINDS[dtype]

    def written() -> Any:
        module = target.module(name)
        for word, body in (inner | outer).items():
            write(module, symbol(word, real), real, body, word in outer)
        return module

    with lock:
        if (name, dtype) not in _loaded:
            made = _loaded[name, dtype] = target.compiled(symbol(name, real), written)
            for word in outer:
                address = made.get_function_address(symbol(word, real))
                binding.add_symbol(symbol(word, real), address)
        return _loaded[name, dtype]


def load_called(code: bytes) -> None:
    """Load the routines that machine code calls: without them it would call what is at 0."""
    for dtype, real in KINDS.items():
        if any(symbol(word, real).encode() in code for word in OUTER):
            load(dtype)


def in_parts(engine: Any, name: str, dtype: Any) -> Any:
    """A routine that takes two numbers and a tuple of arrays, for Python and workers to call."""
    made = target.called(engine, symbol(name, KINDS[dtype]), 2, ctypes.py_object)
    made.apart = engine.get_function_address(symbol(f"{name}_apart", KINDS[dtype]))
    return made


@cache
def _packer(dtype: Any) -> Any:
    return in_parts(load(dtype), "pack_lines", dtype)


def pack(w: Any, panels: Any) -> None:
    """Pack a matrix of weights (depth, columns), of any strides, for `multiply`."""
    shared(_packer(w.dtype), len(w), PACK_FROM // max(1, w.shape[1]) + 1, (w, panels))


# --- what generated code calls ------------------------------------------------------------------


class Door:
    """What code calls a routine by: with arrays of so many dimensions, and numbers after them.

    `numbers` returns the routine's name and its numbers, given the arrays.
    """

    def __init__(self, numbers: Any, *dimensions: int) -> None:
        self.numbers, self.dimensions = numbers, dimensions

    def call(self, builder: Any, real: Any, *given: Any) -> None:
        """Write the call. An array has `data`, `shape` and `strides`: numbers of 64 bits."""
        target, values = self.numbers(builder, *given)
        values = [ir.Constant(I64, v) if isinstance(v, int) else v for v in values]
        llvm(builder, symbol(target, real), I64, *values)


def pack_rows(builder, g, panels):
    """Pack g (steps, rows, columns), seen as one tall matrix, for `gather_packed`."""
    steps, rows, columns = g.shape
    lines = builder.mul(steps, rows)
    return "pack", (g.data, *g.strides, panels.data, lines, rows, columns, 0, lines)


def multiply(builder, x, panels, out, fresh):
    """out[s] = x[s] @ W, or += if not `fresh`, W (depth, columns) being packed in `panels`."""
    weights = panels.data, LINE, builder.mul(x.shape[2], I64(LINE))
    ends = out.data, *out.strides, *x.shape, out.shape[2], fresh
    return "multiply", (x.data, *x.strides, *weights, *ends)


def gather(builder, x, g, out, scratch, fresh):
    """out += the sum of outer(x[s, r], g[s, r]) over all steps s and rows r; = if `fresh`.

    Of no rows at all there is no sum: then a fresh `out` is left as it is.
    """
    ends = *x.shape, g.shape[2], scratch.data, 0, fresh
    return "gather", (x.data, *x.strides, g.data, *g.strides, out.data, out.strides[0], *ends)


def gather_packed(builder, x, panels, out, scratch, fresh):
    """`gather` where g is packed in `panels`, by `pack_rows`."""
    ends = *x.shape, out.shape[1], scratch.data, 1, fresh
    return "gather", (x.data, *x.strides, panels.data, 0, 0, 0, out.data, out.strides[0], *ends)


DOORS = {
    "multiply": Door(multiply, 3, 1, 3), "gather": Door(gather, 3, 3, 2, 1),
    "gather_packed": Door(gather_packed, 3, 1, 2, 1), "pack_rows": Door(pack_rows, 3, 1),
}  # fmt: skip
