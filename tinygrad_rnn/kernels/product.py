"""Tiles of a matrix product, which stay in registers, and copies between any strides.

C[i, j] is fma(A[i, k], B[k, j], ...) for k = 0, 1, 2, ... starting from zero, at each block of
depth anew, and blocks are added up: whatever the sizes, strides or path taken by those who use the
tiles, so that a row's answer does not depend on its batch mates.
"""

from llvmlite import ir

from .target import HOST, VECTOR_BYTES
from .written import I8, I32, I64, REALS, fma, llvm, loop, room

REGISTERS = 32 if HOST & {"avx512f", "neon", "fp-armv8"} else 16  # of vectors
# k is split into blocks of so many: a panel streams in from the second cache as fast as it is used,
# and each block more reads and writes all of C once more.
DEPTH = 512
HIGH = (REGISTERS - 3) // 2  # rows of a tile that is two vectors wide
AHEAD = 16  # how many steps of k ahead a tile asks for the numbers of B that it will read
FETCHING = 4  # rows above which there is time to ask: lower tiles do little but read


class Block:
    """Reads and writes vectors of one float type at raw addresses."""

    def __init__(self, builder, real):
        self.builder, self.real, self.bytes = builder, real, REALS[real].itemsize
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

    def fetch(self, address):
        """Have a cache line brought near; an address that nobody has does no harm."""
        place = self.pointer(address, I8)
        llvm(self.builder, "llvm.prefetch.p0", ir.VoidType(), place, I32(0), I32(3), I32(1))

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


class Rows:
    """The addresses of a tile's rows of A, at one step after another.

    Where they are so far apart as a call says, LLVM would find each by adding to that of the row
    before, and run out of registers; it is not told what three rows at a time come from. Where
    they lie side by side all is said by the first, and the next lines are asked for.
    """

    def __init__(self, block, a, a_row, a_k, height):
        self.block, self.a_k, self.height = block, a_k, height
        self.packed = isinstance(a_row, ir.Constant)
        self.each = height if self.packed else 3
        self.places, self.steps = [], [block.times(a_row, r) for r in range(self.each)]
        if not self.packed:
            self.steps[1:] = map(self.apart, self.steps[1:])
        for r in range(0, height, self.each):
            self.places.append(room(block.builder, I64))
            block.builder.store(block.builder.add(a, block.times(a_row, r)), self.places[-1])

    def apart(self, number):
        """The same number, of which LLVM does not know where it comes from."""
        kind = ir.FunctionType(I64, [I64])
        return self.block.builder.asm(kind, "", "=r,0", [number], False)

    def next(self):
        """The addresses at the step that is due."""
        builder, rows = self.block.builder, []
        for place in self.places:
            at = builder.load(place)
            at = at if self.packed else self.apart(at)
            rows += [builder.add(at, step) for step in self.steps]
            builder.store(builder.add(at, self.a_k), place)
        if self.packed and self.height > FETCHING:
            for row in (rows[0], rows[-1]):
                self.block.fetch(builder.add(row, self.block.times(self.a_k, AHEAD)))
        return rows[: self.height]


def sum_up(block, height, width, a, a_row, a_k, b, b_k, b_next, c, c_row, depth, fresh):
    """Write the code of one tile, `height` by `width`: what `tile` says."""
    builder = block.builder
    cells = [(r, v) for r in range(height) for v in range(width)]
    sums = {cell: room(builder, block.vector) for cell in cells}
    places = [builder.add(c, block.times(c_row, r)) for r in range(height)]
    for cell in cells:
        builder.store(ir.Constant(block.vector, None), sums[cell])
    for r, v in cells if height > FETCHING else ():  # read at the end
        block.fetch(block.offset(places[r], v))
    lines = Rows(block, a, a_row, a_k, height)
    pairs = [builder.add(b, block.times(b_next, v // 2)) for v in range(width)]
    with loop(builder, I64(0), depth, I64(1)) as k:
        down = builder.mul(k, b_k)
        columns = [block.offset(builder.add(pairs[v], down), v % 2) for v in range(width)]
        rows = lines.next()
        for column in columns[:: max(1, 64 // VECTOR_BYTES)] if height > FETCHING else ():
            block.fetch(builder.add(column, block.times(b_k, AHEAD)))

        def add(r, v, x, column):
            builder.store(fma(builder, x, column, builder.load(sums[r, v])), sums[r, v])

        if height < width:  # of the two, the fewer are held in registers
            rows = [block.broadcast(row) for row in rows]
            for v, column in enumerate(map(block.load, columns)):
                for r, x in enumerate(rows):
                    add(r, v, x, column)
        else:
            columns = [block.load(column) for column in columns]
            for r, x in enumerate(map(block.broadcast, rows)):
                for v, column in enumerate(columns):
                    add(r, v, x, column)
    with builder.if_then(builder.not_(fresh)):  # what is there comes last: small sums of many terms
        for r, v in cells:  # are added up, and not each term to a sum that is large by now
            old = block.load(block.offset(places[r], v))
            builder.store(builder.fadd(old, builder.load(sums[r, v])), sums[r, v])
    for r, v in cells:
        block.store(builder.load(sums[r, v]), block.offset(places[r], v))


def dots(w, a, a_k, b, b_col, c, squares):
    """One row of A against as many columns of B as a vector has lanes, each contiguous.

    A vector holds one k of every column after `squares` squares of B are transposed on the way.
    """
    block, builder = Block(w.builder, w.real), w.builder
    total, part = room(builder, block.vector), room(builder, block.vector)
    nothing, deep = ir.Constant(block.vector, [-0.0] * block.lanes), DEPTH // block.lanes
    builder.store(nothing, total)  # the first block as it is, as everywhere
    with w.loop(0, squares.least(1), deep) as start:
        builder.store(ir.Constant(block.vector, None), part)
        with w.loop(start, (start + deep).most(squares)) as i:
            first = i * block.lanes
            a_at, b_at = a + first * a_k, b + first * w.item
            for k, column in enumerate(block.turned(b_at.value, b_col.value)):
                x = block.broadcast((a_at + a_k * k).value)
                builder.store(fma(builder, x, column, builder.load(part)), part)
        builder.store(builder.fadd(builder.load(total), builder.load(part)), total)
    block.store(builder.load(total), c.value)


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
    with w.loop(0, full_columns, lanes) as j, w.loop(0, full_rows, lanes) as i:
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
    turn = (source_col == item) & (target_row == item)
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
    packed = target_col == item
    lines = packed & (source_col == item)
    turned = packed & (source_row == item) & ~lines
    with w.when(lines):
        copy_lines(w, source, source_row, target, target_row, rows, columns)
    with w.when(turned):
        copy_turned(w, source, source_col, target, target_row, rows, columns)
    with w.when(~(lines | turned)), w.loop(0, rows) as i, w.loop(0, columns) as j:
        at = source + i * source_row + j * source_col
        place = target + i * target_row + j * target_col
        Block(w.builder, w.real).copy_one(at.value, place.value)
