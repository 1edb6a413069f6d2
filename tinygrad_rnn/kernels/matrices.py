"""The product of two matrices as they lie in memory: what of them is packed first, and when."""

from typing import Any

import numpy as np
from numba import types

from . import panels
from .compiled import LLVM_REAL, read, specialised
from .doors import door, flush_denormals, restore
from .panels import DEPTH, LINE, NEAR, TILES, Door, strip_of, under_panels_of
from .product import HIGH, dots
from .target import VECTOR_BYTES
from .written import REALS, symbol

PACK_FROM = 32  # rows of C from which a copy of B pays for itself
WIDE = 1024  # columns of B that are packed at a time
FEW = NEAR // (4 * DEPTH)  # rows up to which a panel is used by all of them at once
SHALLOW = 4  # up to this k a product mostly writes C, so it walks C in the order of memory
IN_PLACE, PACKED, TURNED = range(3)


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


def product_all(
    w, a, a_row, a_k, b, b_k, b_col, out, out_row, out_col, rows, depth, columns, room, how
):  # fmt: skip
    """C = A @ B, first the columns that are not packed: `how` says which, see `product`."""
    item, lanes = w.item, VECTOR_BYTES // w.item
    wide = LINE // item
    room = room + (-room & 63)
    aside = out_col != item  # a C whose rows are not contiguous is moved when it is whole
    c, c_row = aside.choose(room, out), aside.choose(columns * item, out_row)
    panels = room + aside.choose((rows * columns * item + 63) & -64, 0)
    turned, in_place = (how == TURNED), (how == IN_PLACE)
    first = turned.choose(columns // lanes * lanes, in_place.choose(columns // wide * wide, 0))
    with w.when(turned):
        w.call(symbol("single", w.real), a, a_k, b, b_col, c, depth, first)
    tall = (depth <= SHALLOW).choose(HIGH, rows).least(1)
    with w.when(in_place), w.loop(0, rows, tall) as i:
        w.call(
            symbol("under_panels", w.real), a + i * a_row, 0, a_row, a_k, b, b_k, LINE,
            c + i * c_row, 0, c_row, item, 1, (rows - i).most(tall), depth, first, 1,
        )  # fmt: skip
    w.call(
        symbol("multiply_packed", w.real), a, a_row, a_k, b + first * b_col, b_k, b_col,
        c + first * item, c_row, item, rows, depth, columns - first, panels,
    )  # fmt: skip
    with w.when(aside):
        w.call(symbol("copy", w.real), c, c_row, item, out, out_row, out_col, rows, columns)


INNER = {
    "single": single,
    "multiply_packed": multiply_packed,
    "under_panels": under_panels_of("strip"),
    "strip": strip_of(TILES, lambda item: (None, None, None)),
}


def _product(builder, x, y, out, room, how):
    """out = x @ y, `how` it says."""
    places = x.data, *x.strides, y.data, *y.strides, out.data, *out.strides
    return "product", (*places, *x.shape, y.shape[1], room.data, how)


multiply = door("product", Door(_product, 2, 2, 2, 1))


def product(x, y, out):
    """out = x @ y for matrices of any strides."""
    (rows, depth), columns, item = x.shape, y.shape[1], out.itemsize
    lanes = VECTOR_BYTES // item
    how = IN_PLACE
    if y.strides[1] != item:
        how = PACKED
        if rows == 1 and y.strides[0] == item and depth % lanes == 0:
            how = TURNED
        elif columns > 1 and rows * (depth + columns) < depth * columns:
            # y's rows are not contiguous and x is the smaller copy: C.T = y.T @ x.T
            x, y, out = y.T, x.T, out.T
            rows, columns = columns, rows
    elif rows >= PACK_FROM and depth > SHALLOW:
        how = PACKED
    wide = LINE // item
    packed = columns if how == PACKED else wide
    packed = min(WIDE, (packed + wide - 1) // wide * wide)
    aside = rows * columns if out.strides[1] != item else 0
    room = np.empty(min(depth, DEPTH) * packed + aside + 128 // item, out.dtype)
    mode = flush_denormals() if item == 4 else 0
    multiply(x, y, out, room, how)
    if item == 4:
        restore(mode)


def kernel(real: Any) -> Any:
    """The compiled product, for one float type."""
    dtype = REALS[LLVM_REAL[real]]
    panels.load(dtype)
    panels.load(dtype, "product", INNER, {"product": product_all})
    return specialised(product, read(real, 2), read(real, 2), types.Array(real, 2, "A"))
