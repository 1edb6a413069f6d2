"""Code that is written instruction by instruction, in arithmetic that reads like Python.

Numba needs half a second to type a routine of fifteen lines. Its formula is run here instead, once,
on numbers whose operators write what LLVM is to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from .target import FUSED, VECTOR_BYTES

I1, I8, I32, I64 = map(ir.IntType, (1, 8, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
REALS: dict[Any, np.dtype[Any]] = {F32: np.dtype(np.float32), F64: np.dtype(np.float64)}
LANES = VECTOR_BYTES // 8  # of a vector of float64, in which all sums are made
MASKS = VECTOR_BYTES == 64  # whether lanes can be left out, so that few numbers are a vector too
KINDS = {dtype: kind for kind, dtype in REALS.items()}


def called(module: Any, name: str, kind: Any) -> Any:
    """The function of that name in a module, declared if nobody has."""
    return module.globals.get(name) or ir.Function(module, kind, name)


def llvm(builder: Any, name: str, result: Any, *arguments: Any, **flags: Any) -> Any:
    """Call a function by its name: one of LLVM's, or a routine of ours."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(called(builder.module, name, kind), arguments, **flags)


def suffix(kind: Any) -> str:
    """What stands for a type behind the names of LLVM's functions."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    return {F32: "f32", F64: "f64"}.get(kind) or f"i{kind.width}"


def symbol(name: str, real: Any) -> str:
    """The name by which loops call a routine of ours for one float type."""
    return f"tinygrad_rnn.{name}.{suffix(real)}"


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the host can: asked for by name, LLVM never decides it."""
    if not FUSED:
        return builder.fadd(builder.fmul(a, b), c)
    return llvm(builder, f"llvm.fma.{suffix(a.type)}", a.type, a, b, c)


def room(builder: Any, kind: Any) -> Any:
    """A place on the stack, for the whole time of the function."""
    with builder.goto_entry_block():
        return builder.alloca(kind)


@contextmanager
def loop(
    builder: Any, start: Any, stop: Any, step: Any, plain: bool = False, lanes: int = LANES
) -> Iterator[Any]:
    """What is written in this block is done for each of range(start, stop, step).

    A `plain` loop stays one turn at a time: to unroll it takes LLVM longer than it saves. `lanes`
    is of how many turns a vector is where numbers are added up.
    """
    at = room(builder, I64)
    builder.store(start, at)
    head, body, end = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.load(at)
    builder.cbranch(builder.icmp_signed("<", index, stop), body, end)
    builder.position_at_end(body)
    builder.sums = builder.calls = False
    yield index
    builder.store(builder.add(index, step, flags=("nsw",)), at)
    back = builder.branch(head)
    facts: list[Any] = [("unroll.disable",)] if plain else []
    # Sums are made in an order that depends on how many terms there are, and on nothing around
    # them: not on whether that is known, by which LLVM would unroll the loop first.
    if builder.sums and not builder.calls:
        facts = [("unroll.disable",), ("vectorize.width", I32(lanes)), ("interleave.count", I32(1))]
        facts += [("vectorize.predicate.enable", I1(1))] if MASKS and lanes > 1 else []
    if facts:
        module = builder.module
        told = [
            module.add_metadata([ir.MetaDataString(module, f"llvm.loop.{word}"), *value])
            for word, *value in facts
        ]
        name = ir.values.MDValue(module, (), str(len(module.metadata)))
        name.operands = name, *told  # a loop's own name begins with itself
        back.set_metadata("llvm.loop", name)
    builder.sums = builder.calls = False
    builder.position_at_end(end)


# What NumPy's functions are on numbers that are being written.
WRITTEN: dict[Any, Callable[..., Any]] = {}


def _operator(real: str, whole: str, turned: bool = False) -> Callable[[Any, Any], Any]:
    def operate(one: Number, other: Any) -> Number:
        x, y = one.beside(other)
        x, y = (y, x) if turned else (x, y)
        return x.made(getattr(x.builder, real if x.is_real else whole), y)

    return operate


def _comparison(sign: str) -> Callable[[Any, Any], Any]:
    def compare(one: Number, other: Any) -> Number:
        """Whether it holds: with NaN nothing does, but that it is not the same."""
        x, y = one.beside(other)
        if not x.is_real:
            return x.made(lambda a, b: x.builder.icmp_signed(sign, a, b), y)
        write = x.builder.fcmp_unordered if sign == "!=" else x.builder.fcmp_ordered
        return x.made(lambda a, b: write(sign, a, b), y)

    return compare


class Number:
    """A number in code that is being written: arithmetic on it writes instructions.

    Its kind is a float type, a whole number of 64 bits, or a flag of one. What is no such number
    takes the kind of the one beside it.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def kind(self) -> Any:
        return self.value.type

    @property
    def is_real(self) -> bool:
        return self.kind in REALS

    def constant(self, x: Any) -> Number:
        """A number of this one's kind."""
        value = x if self.is_real else int(x)
        return Number(self.builder, ir.Constant(self.kind, value))

    def made(self, write: Any, *others: Any) -> Number:
        """What `write`, a method of the builder, makes of this and others of its kind."""
        values = [(x if isinstance(x, Number) else self.constant(x)).value for x in others]
        return Number(self.builder, write(self.value, *values))

    def called(self, name: str, *others: Any) -> Number:
        """What a function of LLVM's, or else of that name, says of this and others."""
        return self.made(lambda *values: llvm(self.builder, name, self.kind, *values), *others)

    def asked(self, name: str, *others: Any) -> Number:
        """What a function of LLVM's says of this and others."""
        return self.called(f"llvm.{name}.{suffix(self.kind)}", *others)

    def to(self, kind: Any) -> Number:
        """The same number in another kind; of a float as a flag, whether it is not 0."""
        write: Any = self.builder
        if kind == self.kind:
            return self
        if kind == I1:
            flag: Number = self != 0
            return flag
        if self.is_real:
            cast = write.fpext if kind == F64 else write.fptrunc if kind == F32 else write.fptosi
        elif kind in REALS:
            cast = write.uitofp if self.kind == I1 else write.sitofp
        else:
            cast = write.zext if self.kind == I1 else write.sext
            cast = cast if kind.width > self.kind.width else write.trunc
        return Number(write, cast(self.value, kind))

    def beside(self, other: Any) -> tuple[Number, Number]:
        """This and another in one kind, that of both or one that holds both."""
        if not isinstance(other, Number):
            as_real = isinstance(other, float) and not self.is_real
            like = self.to(F64) if as_real else self.to(I64) if self.kind == I1 else self
            other = like.constant(other)
        if self.kind == other.kind != I1:
            return self, other
        kind = F64 if self.is_real or other.is_real else I64
        return self.to(kind), other.to(kind)

    __add__, __radd__ = _operator("fadd", "add"), _operator("fadd", "add", True)
    __sub__, __rsub__ = _operator("fsub", "sub"), _operator("fsub", "sub", True)
    __mul__, __rmul__ = _operator("fmul", "mul"), _operator("fmul", "mul", True)
    __lt__, __le__, __gt__, __ge__ = map(_comparison, ("<", "<=", ">", ">="))
    __eq__, __ne__ = _comparison("=="), _comparison("!=")

    def __truediv__(self, other: Any) -> Number:
        x, y = self.beside(other)
        x, y = (x, y) if x.is_real else (x.to(F64), y.to(F64))
        return x.made(x.builder.fdiv, y)

    def __rtruediv__(self, other: Any) -> Number:
        return self.constant(other) / self if self.is_real else other / self.to(F64)

    def __floordiv__(self, other: Any) -> Number:
        """The quotient of whole numbers, rounded down as NumPy's; by 0 it is 0."""
        x, y = self.beside(other)
        if x.is_real:
            raise NotImplementedError("a quotient of floats that is rounded down")
        zero, minus = y == 0, y == -1  # by these the instruction itself may end the process
        by = (zero | minus).choose(1, y)
        quotient = x.made(x.builder.sdiv, by)
        below = x < quotient * by  # it is rounded towards 0
        up = (by < 0).choose(x > quotient * by, below)
        answer: Number = zero.choose(0, minus.choose(-x, up.choose(quotient - 1, quotient)))
        return answer

    def __rfloordiv__(self, other: Any) -> Number:
        quotient: Number = self.beside(other)[1] // self
        return quotient

    def __and__(self, other: Any) -> Number:
        return self.made(self.builder.and_, other)

    def __or__(self, other: Any) -> Number:
        return self.made(self.builder.or_, other)

    def __xor__(self, other: Any) -> Number:
        return self.made(self.builder.xor, other)

    def __pow__(self, other: Any) -> Number:
        x, y = self.beside(other)
        if not x.is_real:
            raise NotImplementedError("a power of whole numbers")
        return x.asked("pow", y)

    def __neg__(self) -> Number:
        x = self.to(I64) if self.kind == I1 else self
        return x.made(x.builder.fneg if x.is_real else x.builder.neg)

    def __abs__(self) -> Number:
        return self.asked("fabs") if self.is_real else (self < 0).choose(-self, self)

    def __invert__(self) -> Number:
        return self.made(self.builder.not_)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any) -> Any:
        """What a function of NumPy's is here: KeyError where nobody has said so."""
        given = [x if isinstance(x, Number) else self.beside(x)[1] for x in inputs]
        return WRITTEN[function](*given)

    def __bool__(self) -> bool:
        """One of the ways that a formula can take, see `chosen`."""
        answer: bool = self.builder.decide(self)
        return answer

    def choose(self, yes: Any, no: Any) -> Number:
        """`yes` where this flag is set, else `no`."""
        if not isinstance(yes, Number):
            yes = no.constant(yes) if isinstance(no, Number) else known(self.builder, yes)
        yes, no = (yes, no) if getattr(no, "kind", I1) == yes.kind else yes.beside(no)
        return Number(self.builder, self.builder.select(self.value, yes.value, no.value))

    def most(self, other: Any) -> Number:
        """This, or `other` where that is smaller; NaN stays."""
        flag: Number = self > other
        return flag.choose(other, self)

    def least(self, other: Any) -> Number:
        """This, or `other` where that is larger; NaN stays."""
        flag: Number = self < other
        return flag.choose(other, self)


def known(builder: Any, x: Any) -> Number:
    """A number that is known, in the kind that NumPy gives it."""
    if isinstance(x, Number):
        return x
    kind = KINDS.get(np.result_type(x), I64)
    return Number(builder, ir.Constant(kind, x if kind in REALS else int(x)))


class Writer:
    """What the body of a routine is written with."""

    def __init__(self, builder: Any, real: Any) -> None:
        self.builder, self.real = builder, real
        self.item = REALS[real].itemsize

    def number(self, value: Any) -> Number:
        return known(self.builder, value)

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Number]:
        """What is written in this block is done for each of range(start, stop, step)."""
        start, stop, step = [self.number(x).value for x in (start, stop, step)]
        with loop(self.builder, start, stop, step, plain=True) as index:
            yield Number(self.builder, index)

    @contextmanager
    def when(self, flag: Number) -> Iterator[None]:
        """What is written in this block is done if the flag is set."""
        with self.builder.if_then(flag.value):
            yield

    def variable(self, value: Number) -> Any:
        """The place of a number that changes: `read` and `write` it."""
        place = room(self.builder, value.kind)
        self.write(value, place)
        return place

    def read(self, place: Any) -> Number:
        return Number(self.builder, self.builder.load(place))

    def write(self, value: Number, place: Any) -> None:
        self.builder.store(value.value, place)

    def room(self, size: int) -> Number:
        """The address of so many bytes on the stack."""
        place = room(self.builder, ir.ArrayType(I8, size))
        return Number(self.builder, self.builder.ptrtoint(place, I64))

    def call(self, name: str, *numbers: Any) -> None:
        """Call the routine of that name; flags are 0 and 1."""
        values = [self.number(n).to(I64).value for n in numbers]
        llvm(self.builder, name, I64, *values)


def write(module: Any, name: str, real: Any, body: Callable[..., Any], seen: bool = False) -> None:
    """Add a routine to a module: `body(writer, *numbers)` says what it does.

    It is not copied into those that call it, and unless `seen` nobody else can. It answers what the
    body returns, 0 if that is nothing.
    """
    count = body.__code__.co_argcount - 1
    function = called(module, name, ir.FunctionType(I64, [I64] * count))
    function.linkage = "external" if seen else "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    answer = body(Writer(builder, real), *[Number(builder, x) for x in function.args])
    builder.ret(I64(0) if answer is None else answer.value)
