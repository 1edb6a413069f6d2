"""Routines that are written instruction by instruction, in arithmetic that reads like Python.

Numba needs half a second to type a routine of fifteen lines. Its formula is run here instead, once,
on numbers whose operators write what LLVM is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

I1, I64 = ir.IntType(1), ir.IntType(64)


class Whole:
    """A whole number of 64 bits, or a flag of one, in code that is being written."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def made(self, write: Callable[..., Any], other: Any) -> Whole:
        """What `write`, a method of the builder, makes of this and another."""
        if not isinstance(other, Whole):
            other = Whole(self.builder, ir.Constant(self.value.type, int(other)))
        return Whole(self.builder, write(self.value, other.value))

    def __add__(self, other: Any) -> Whole:
        return self.made(self.builder.add, other)

    def __sub__(self, other: Any) -> Whole:
        return self.made(self.builder.sub, other)

    def __mul__(self, other: Any) -> Whole:
        return self.made(self.builder.mul, other)

    def __floordiv__(self, other: Any) -> Whole:
        """The quotient of two numbers that are not negative."""
        return self.made(self.builder.sdiv, other)

    def __and__(self, other: Any) -> Whole:
        return self.made(self.builder.and_, other)

    def __or__(self, other: Any) -> Whole:
        return self.made(self.builder.or_, other)

    def __neg__(self) -> Whole:
        return Whole(self.builder, self.builder.neg(self.value))

    def __invert__(self) -> Whole:
        return Whole(self.builder, self.builder.not_(self.value))

    def compared(self, sign: str, other: Any) -> Whole:
        return self.made(lambda a, b: self.builder.icmp_signed(sign, a, b), other)

    def __lt__(self, other: Any) -> Whole:
        return self.compared("<", other)

    def __le__(self, other: Any) -> Whole:
        return self.compared("<=", other)

    def __ge__(self, other: Any) -> Whole:
        return self.compared(">=", other)

    def equals(self, other: Any) -> Whole:
        return self.compared("==", other)

    def choose(self, yes: Any, no: Any) -> Whole:
        """`yes` where this flag is set, else `no`."""
        values = [x.value if isinstance(x, Whole) else ir.Constant(I64, x) for x in (yes, no)]
        return Whole(self.builder, self.builder.select(self.value, *values))

    def most(self, other: Any) -> Whole:
        """The smaller of two numbers."""
        chosen: Whole = (self < other).choose(self, other)
        return chosen

    def least(self, other: Any) -> Whole:
        """The larger of two numbers."""
        chosen: Whole = (self < other).choose(other, self)
        return chosen


class Writer:
    """What the body of a routine is written with."""

    def __init__(self, builder: Any, real: Any) -> None:
        self.builder, self.real = builder, real
        self.item = real.bitwidth // 8

    def number(self, value: Any) -> Whole:
        known = isinstance(value, int)
        return Whole(self.builder, ir.Constant(I64, value) if known else value)

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Whole]:
        """What is written in this block is done for each of range(start, stop, step)."""
        ends = [x.value if isinstance(x, Whole) else ir.Constant(I64, x) for x in (start, stop)]
        by = step.value if isinstance(step, Whole) else ir.Constant(I64, step)
        builder = self.builder
        at = cgutils.alloca_once_value(builder, ends[0])
        head, body, end = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.load(at)
        builder.cbranch(builder.icmp_signed("<", index, ends[1]), body, end)
        builder.position_at_end(body)
        yield Whole(builder, index)
        builder.store(builder.add(index, by), at)
        builder.branch(head)
        builder.position_at_end(end)

    @contextmanager
    def when(self, flag: Whole) -> Iterator[None]:
        """What is written in this block is done if the flag is set."""
        with self.builder.if_then(flag.value):
            yield

    def variable(self, value: Whole) -> Any:
        """The place of a number that changes: `read` and `write` it."""
        return cgutils.alloca_once_value(self.builder, value.value)

    def read(self, place: Any) -> Whole:
        return Whole(self.builder, self.builder.load(place))

    def write(self, value: Whole, place: Any) -> None:
        self.builder.store(value.value, place)

    def room(self, size: int) -> Whole:
        """The address of so many bytes on the stack."""
        with self.builder.goto_entry_block():
            room = self.builder.alloca(ir.ArrayType(ir.IntType(8), size))
        return Whole(self.builder, self.builder.ptrtoint(room, I64))

    def call(self, name: str, *numbers: Any) -> None:
        """Call the routine of that name; flags are 0 and 1."""
        values = [self.number(n) if not isinstance(n, Whole) else n for n in numbers]
        given = [self.builder.zext(x.value, I64) if x.value.type == I1 else x.value for x in values]
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(given))
        module = self.builder.module
        self.builder.call(cgutils.get_or_insert_function(module, kind, name), given)


def write(module: Any, name: str, real: Any, body: Callable[..., None], seen: bool = False) -> None:
    """Add a routine to a module: `body(writer, *numbers)` says what it does.

    It is not copied into those that call it, and unless `seen` nobody else can.
    """
    count = body.__code__.co_argcount - 1
    kind = ir.FunctionType(ir.VoidType(), [I64] * count)
    function = cgutils.get_or_insert_function(module, kind, name)
    function.linkage = "external" if seen else "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    body(Writer(builder, real), *[Whole(builder, x) for x in function.args])
    builder.ret_void()
