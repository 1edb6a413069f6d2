"""The product of two matrices as they lie in memory: what of them is packed first, and when."""

import ctypes
import threading
from typing import Any

import numpy as np

from . import denormals, panels, target
from .objects import array, by_worker, matrix
from .panels import LINE, NEAR, TILES, strip_of, under_panels_of, upwards
from .product import DEPTH, HIGH, dots
from .spare import Array, spare
from .target import VECTOR_BYTES
from .threads import Call, get_num_threads, together
from .written import KINDS, symbol

PACK_FROM = 32  # rows of C from which a copy of B pays for itself
WIDE = 1024  # columns of B that are packed at a time
FEW = NEAR // (4 * DEPTH)  # rows up to which a panel is used by all of them at once
SHALLOW = 4  # up to this k a product mostly writes C, so it walks C in the order of memory
LARGE = 1 << 22  # multiplications from which a product is shared between threads
SHARES = 8, 64  # rows or columns that stay on one thread
KEPT = 1 << 20  # bytes of room for packing that a thread keeps at most


def single(w, a, a_k, b, b_col, c, depth, columns):
    """One row of C, as many columns of it as fill vectors, where B's columns are contiguous."""
    lanes = VECTOR_BYTES // w.item
    with w.loop(0, columns, lanes) as j:
        dots(w, a, a_k, b + j * b_col, b_col, c + j * w.item, depth // lanes)


def multiply_packed(
    w, a, a_row, a_k, b, b_k, b_col, c, c_row, c_col, rows, depth, columns, panels
):  # fmt: skip
    """C = A @ B for any B: some of its rows and columns are packed at a time."""
    some = (rows <= FEW).choose(512 // w.item, WIDE)  # few rows use a panel while it is near
    with w.loop(0, depth.least(1), DEPTH) as k, w.loop(0, columns, some) as j:
        count, deep = (columns - j).most(some), (depth - k).most(DEPTH)
        source = b + k * b_k + j * b_col
        w.call(symbol("pack", w.real), source, 0, b_k, b_col, panels, deep, deep, count, 0, deep)
        w.call(
            symbol("multiply", w.real), a + k * a_k, 0, a_row, a_k, panels, LINE, deep * LINE,
            c + j * c_col, 0, c_row, c_col, 1, rows, deep, count, (k == 0),
        )  # fmt: skip


def laid_out(w, arrays):
    """The matrices of C = A @ B, of which A or B may be a tuple's `x` or `y`, and what to pack.

    Flags say whether B is packed, and whether its columns are contiguous and A one row; then how
    many bytes of room packing takes.
    """
    x, y, out = [matrix(w, arrays, k) for k in range(3)]
    item, wide = w.item, LINE // w.item
    across, down = y.column == item, y.row == item
    squares = (x.columns & (wide // 2 - 1)) == 0
    dotted = ~across & down & (x.rows == 1) & squares
    # C.T = y.T @ x.T where y's rows are not contiguous and x is the smaller copy; or where both are
    # as fast to pack, and panels of x.T have fewer columns that are only filled up.
    fewer = x.rows * (x.columns + y.columns) < x.columns * y.columns
    full = upwards(x.rows, wide) * y.columns < upwards(y.columns, wide) * x.rows
    pack = across.choose((x.rows >= PACK_FROM) & (x.columns > SHALLOW), ~dotted)
    turn = across.choose(pack & (x.row == item) & full, ~dotted & fewer) & (y.columns > 1)
    a, b = y.turned(turn).either(turn, x), x.turned(turn).either(turn, y)
    c = out.turned(turn)
    columns = upwards(pack.choose(c.columns, wide), wide) * wide
    aside = (c.column != item).choose(c.rows * c.columns, 0)
    room = (a.columns.most(DEPTH) * columns.most(WIDE) + aside) * item + 256
    return (a, b, c), pack, dotted, room


def part_of(w, whole, part, parts):
    """The matrices of one of so many parts: rows of the product, or columns if those are more."""
    a, b, c = whole
    tall = c.rows >= c.columns
    size = tall.choose(c.rows, c.columns)
    share = tall.choose(*SHARES)
    count = upwards(size, share)
    low, high = [(count * k // parts * share).most(size) for k in (part, part + 1)]
    rows, columns = tall.choose(high - low, c.rows), tall.choose(c.columns, high - low)
    i, j = tall.choose(low, 0), tall.choose(0, low)
    a = a._replace(data=a.data + i * a.row, rows=rows)
    b = b._replace(data=b.data + j * b.column, columns=columns)
    at = c.data + i * c.row + j * c.column
    return a, b, c._replace(data=at, rows=rows, columns=columns)


def product_of(w, part, parts, arrays, room):
    """One of so many parts of out = x @ y for matrices of any strides, x, y, out being in a tuple.

    First the columns that are not packed.
    """
    whole, pack, dotted, _ = laid_out(w, arrays)
    a, b, c = part_of(w, whole, part, parts)
    item, lanes, wide = w.item, VECTOR_BYTES // w.item, LINE // w.item
    rows, depth, columns = a.rows, a.columns, b.columns
    room = room + (-room & 63)
    aside = c.column != item  # a C whose rows are not contiguous is moved when it is whole
    place, place_row = aside.choose(room, c.data), aside.choose(columns * item, c.row)
    packed = room + aside.choose((rows * columns * item + 63) & -64, 0)
    in_place = ~(pack | dotted)
    first = dotted.choose(columns // lanes * lanes, in_place.choose(columns // wide * wide, 0))
    with w.when(dotted):
        w.call(symbol("single", w.real), a.data, a.column, b.data, b.column, place, depth, first)
    tall = (depth <= SHALLOW).choose(HIGH, rows).least(1)
    with w.when(in_place), w.loop(0, rows, tall) as i:
        w.call(
            symbol("under_panels", w.real), a.data + i * a.row, 0, a.row, a.column, b.data, b.row,
            LINE, place + i * place_row, 0, place_row, item, 1, (rows - i).most(tall), depth,
            first, 1,
        )  # fmt: skip
    w.call(
        symbol("multiply_packed", w.real), a.data, a.row, a.column, b.data + first * b.column,
        b.row, b.column, place + first * item, place_row, item, rows, depth, columns - first,
        packed,
    )  # fmt: skip
    with w.when(aside):
        w.call(symbol("copy", w.real), place, place_row, item, c.data, c.row, c.column, rows,
               columns)  # fmt: skip


def product_part(w, part, parts, arrays):
    """One of so many parts of a product, with denormals taken for zero."""
    single = w.item == 4
    mode = denormals.flush(w.builder) if single else None
    w.call(symbol("product_of", w.real), part, parts, arrays, array(w, arrays, 3)[0])
    if single:
        denormals.restore(w.builder, mode)


def product(w, arrays):
    """The whole product, and 0. Or nothing, and how many bytes of room are wanted: where there is
    less, and of what is so large that threads share it.
    """
    (a, b, _), _, _, wanted = laid_out(w, arrays)
    small = a.rows * a.columns * b.columns < LARGE
    now = small & (wanted <= array(w, arrays, 3)[1])
    with w.when(now):
        w.call(symbol("product_part", w.real), 0, 1, arrays)
    return now.choose(0, wanted)


INNER = {
    "single": single,
    "multiply_packed": multiply_packed,
    "under_panels": under_panels_of("strip"),
    "strip": strip_of(TILES, lambda item: (None, None, None)),
    "product_of": product_of,
}
OUTER = {
    "product_part": product_part,
    "product": product,
    "product_part_apart": by_worker("product_part"),
}


class Near(threading.local):
    """Room for packing that one thread has to itself."""

    def __init__(self) -> None:
        self.room = np.empty(1 << 12, np.uint8)


def kernel(dtype: np.dtype[Any]) -> Any:
    """The compiled product of two matrices of any strides, for one float type."""
    near = Near()
    panels.load(dtype)
    engine = panels.load(dtype, "product", INNER, OUTER)
    name = symbol("product", KINDS[dtype])
    at_once = target.called(engine, name, 0, ctypes.py_object, answer=ctypes.c_int64)
    part = panels.in_parts(engine, "product_part", dtype)

    def multiply(x: Array, y: Array, out: Array) -> None:
        wanted = at_once((x, y, out, near.room))
        if wanted:
            large = out.size * x.shape[1] >= LARGE
            parts = get_num_threads() if large else 1
            rooms = [spare((wanted,), np.uint8) for _ in range(parts)]
            together([Call(part, k, parts, (x, y, out, rooms[k])) for k in range(parts)])
            if wanted <= KEPT:
                near.room = rooms[0]

    return multiply
