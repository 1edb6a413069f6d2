"""Numbers below the normal range taken for zero, on one thread and for a time.

A processor computes with such numbers (denormals) up to a hundred times more slowly. Gradients that
vanish are full of them, so float32 loops and products run with two switches on: results that are
denormal become zero, and so do operands (FTZ and DAZ of x86, FZ of AArch64).
"""

import platform
from typing import Any

from llvmlite import ir

from .written import I32, I64, llvm, room

MACHINE = platform.machine().lower()
# The bits of the control register of floats that switch both on; no other processor has them here.
BITS = {"x86_64": 0x8040, "amd64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}.get(MACHINE, 0)
X86 = BITS == 0x8040


def control(builder: Any) -> Any:
    """Return the thread's control register of floats; 0 where nobody knows it."""
    if not BITS:
        return I64(0)
    if not X86:
        return llvm(builder, "llvm.aarch64.get.fpcr", I64)
    place = room(builder, I32)
    llvm(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), place)
    return builder.zext(builder.load(place), I64)


def restore(builder: Any, state: Any) -> None:
    """Set the thread's control register of floats, as to what `flush` has returned."""
    void = ir.VoidType()
    if BITS and not X86:
        llvm(builder, "llvm.aarch64.set.fpcr", void, state)
    elif BITS:
        place = room(builder, I32)
        builder.store(builder.trunc(state, I32), place)
        llvm(builder, "llvm.x86.sse.ldmxcsr", void, place)


def flush(builder: Any) -> Any:
    """Take denormals for zero on this thread from now on; return what `restore` wants back."""
    before = control(builder)
    restore(builder, builder.or_(before, I64(BITS)))
    return before
