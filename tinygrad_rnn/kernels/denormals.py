"""Numbers below the normal range taken for zero, on one thread and for a time.

A processor computes with such numbers (denormals) up to a hundred times more slowly. Gradients that
vanish are full of them, so float32 loops and products run with two switches on: results that are
denormal become zero, and so do operands (FTZ and DAZ of x86, FZ of AArch64).
"""

import platform
from functools import lru_cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .compiled import helper, specialised
from .emitted import intrinsic, llvm
from .written import I64

I32 = ir.IntType(32)
MACHINE = platform.machine().lower()
# The bits of the control register of floats that switch both on; no other processor has them here.
BITS = {"x86_64": 0x8040, "amd64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}.get(MACHINE, 0)
X86 = BITS == 0x8040


@intrinsic
def control(typing: Any) -> Any:
    """Return the thread's control register of floats; 0 where nobody knows it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not BITS:
            return ir.Constant(I64, 0)
        if not X86:
            return llvm(builder, "llvm.aarch64.get.fpcr", I64)
        room = cgutils.alloca_once(builder, I32)
        llvm(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), room)
        return builder.zext(builder.load(room), I64)

    return types.int64(), generate


@intrinsic
def set_control(typing: Any, state: Any) -> Any:
    """Set the thread's control register of floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        void = ir.VoidType()
        if BITS and not X86:
            llvm(builder, "llvm.aarch64.set.fpcr", void, *arguments)
        elif BITS:
            room = cgutils.alloca_once(builder, I32)
            builder.store(builder.trunc(arguments[0], I32), room)
            llvm(builder, "llvm.x86.sse.ldmxcsr", void, room)
        return context.get_dummy_value()

    return types.void(state), generate


@helper
def flush_denormals() -> Any:
    """Take denormals for zero on this thread from now on; return what `restore` wants back."""
    before: Any = control()
    set_control(before | BITS)
    return before


@helper
def restore(before: Any) -> None:
    """Compute as before `flush_denormals`."""
    set_control(before)


def keep_denormals() -> None:
    """Compute with denormals on this thread, as where a loop has left without `restore`."""
    restore(control() & ~BITS)


@lru_cache(1)
def keeping() -> Any:
    """`keep_denormals`, compiled."""
    return specialised(keep_denormals)
