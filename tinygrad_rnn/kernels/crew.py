"""What a worker does where Python cannot follow: it waits for a call, makes it, and says so.

A worker never needs the interpreter's lock for that. It looks for the next call for a while, since
the loops of a training step follow each other closely, and then sleeps.
"""

from __future__ import annotations

import ctypes
from functools import cache
from types import SimpleNamespace
from typing import Any

from llvmlite import ir

from . import target
from .denormals import BITS, X86
from .written import I1, I32, I64, llvm

# The words of a worker's desk. What two threads write is on cache lines of its own.
POSTED, ENDED, ASLEEP = 0, 8, 16  # how many calls there were, how many are done; whether it sleeps
FUNCTION, FIRST, SECOND = 1, 2, 3  # the call: an address, and two numbers that it takes
LOCK, ACQUIRE, RELEASE = 24, 25, 26  # what it sleeps by, and the interpreter's functions for that
WORDS = 32
VOID = ir.VoidType()

TURNS = 50_000  # that a thread looks for what another does: a millisecond or two
# How a thread that only looks leaves its core to others, and saves power.
PAUSE: Any = ["llvm.x86.sse2.pause"] if X86 else ["llvm.aarch64.hint", I32(1)] if BITS else []
ACQUIRING = ir.FunctionType(I32, [I64, I32])
RELEASING = ir.FunctionType(VOID, [I64])
NAMES = "allocate", "acquire", "release"  # in the order of their words
CALL = ir.FunctionType(VOID, [I64, I64])


class Desk:
    """Writes what is done with the words of a desk, in the one order that all threads see."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.address = function.args[0]

    def word(self, k: int) -> Any:
        return self.builder.inttoptr(self.builder.add(self.address, I64(8 * k)), I64.as_pointer())

    def read(self, k: int) -> Any:
        return self.builder.load_atomic(self.word(k), "seq_cst", 8)

    def write(self, value: Any, k: int) -> None:
        self.builder.store_atomic(value, self.word(k), "seq_cst", 8)

    def exchanged(self, k: int, value: int) -> Any:
        """Whether the word was not 0; now it is that value."""
        before = self.builder.atomic_rmw("xchg", self.word(k), I64(value), "seq_cst")
        return self.builder.icmp_signed("!=", before, I64(0))

    def is_done(self) -> Any:
        return self.builder.icmp_signed("==", self.read(POSTED), self.read(ENDED))

    def call(self, k: int, kind: Any, *given: Any) -> Any:
        return self.builder.call(self.builder.inttoptr(self.read(k), kind.as_pointer()), given)

    def look(self, until: bool) -> Any:
        """Look until what was posted is done, or is not, but not for ever: return how it is."""
        builder = self.builder
        before, again, after = builder.block, *[self.function.append_basic_block() for _ in "ab"]
        builder.branch(again)
        builder.position_at_end(again)
        turn = builder.phi(I64)
        turn.add_incoming(I64(0), before)
        if PAUSE:
            llvm(builder, PAUSE[0], VOID, *PAUSE[1:])
        there = builder.icmp_signed("==", self.is_done(), I1(until))
        nearer = builder.add(turn, I64(1))
        turn.add_incoming(nearer, builder.block)
        stop = builder.or_(there, builder.icmp_signed(">", nearer, I64(TURNS)))
        builder.cbranch(stop, after, again)
        builder.position_at_end(after)
        return there


def serve(desk: Desk) -> None:
    """Wait for calls and make them, for ever."""
    builder = desk.builder
    wait, rest, wake, sleep, work = [desk.function.append_basic_block() for _ in range(5)]
    builder.branch(wait)
    builder.position_at_end(wait)
    builder.cbranch(desk.look(False), work, rest)
    builder.position_at_end(rest)
    desk.write(I64(1), ASLEEP)
    builder.cbranch(desk.is_done(), sleep, wake)
    builder.position_at_end(wake)  # posted just now: by one who has not seen that it sleeps?
    builder.cbranch(desk.exchanged(ASLEEP, 0), work, sleep)
    builder.position_at_end(sleep)
    desk.call(ACQUIRE, ACQUIRING, desk.read(LOCK), I32(1))
    builder.branch(wait)
    builder.position_at_end(work)
    desk.call(FUNCTION, CALL, desk.read(FIRST), desk.read(SECOND))
    desk.write(desk.read(POSTED), ENDED)
    builder.branch(wait)


def post(desk: Desk) -> None:
    """Hand over a call: a function, and two numbers that it takes."""
    builder = desk.builder
    for k, value in zip((FUNCTION, FIRST, SECOND), desk.function.args[1:], strict=True):
        desk.write(value, k)
    desk.write(builder.add(desk.read(POSTED), I64(1)), POSTED)
    with builder.if_then(desk.exchanged(ASLEEP, 0)):
        desk.call(RELEASE, RELEASING, desk.read(LOCK))
    builder.ret_void()


def join(desk: Desk) -> None:
    """Wait for a while: return whether the call is done."""
    desk.builder.ret(desk.builder.zext(desk.look(True), I64))


def written() -> Any:
    """The module of the three."""
    module = target.module("crew")
    for body, result, count in ((serve, VOID, 1), (post, VOID, 4), (join, I64, 1)):
        kind = ir.FunctionType(result, [I64] * count)
        body(Desk(ir.Function(module, kind, body.__name__)))
    return module


@cache
def routines() -> Any:
    """What Python calls, each with the address of a desk: compiled, or found on disk."""
    engine, word = target.compiled("crew", written), ctypes.c_int64
    kinds: dict[str, Any] = {"serve": (None, word), "post": (None, *[word] * 4),
                             "join": (word, word)}  # fmt: skip
    address = engine.get_function_address
    made = {name: ctypes.CFUNCTYPE(*kind)(address(name)) for name, kind in kinds.items()}
    return SimpleNamespace(**made, engine=engine)  # which holds the code


def desk() -> Any:
    """Memory for a worker's desk, and the address of its words."""
    memory: Any = (ctypes.c_int64 * (WORDS + 8))()
    skip = -ctypes.addressof(memory) % 64 // 8
    allocate, *others = [ctypes.pythonapi[f"PyThread_{name}_lock"] for name in NAMES]
    allocate.restype, others[0].argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]
    lock = allocate()
    others[0](lock, 1)  # so that whoever takes it next waits
    addresses: list[Any] = [ctypes.cast(f, ctypes.c_void_p).value for f in others]
    memory[skip + LOCK : skip + LOCK + 3] = [lock, *addresses]
    return memory, ctypes.addressof(memory) + 8 * skip
