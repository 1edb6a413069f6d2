"""Pieces of kernels that are written in LLVM's code, for what Numba cannot say."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from inspect import Signature, signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from .compiled import FUSED, LLVM_REAL

intrinsic: Callable[..., Callable[..., Any]] = _intrinsic  # typed as compiled code calls it


def numeric(code: Callable[..., Any]) -> Any:
    """The intrinsic that returns a number of its first argument's type: code(builder, type, ...).

    The other arguments are converted to that type, but for tuples.
    """

    def typed(typing: Any, kind: Any, *rest: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return code(builder, kind, *arguments)

        same = [other if isinstance(other, types.BaseTuple) else kind for other in rest]
        return kind(kind, *same), generate

    return as_intrinsic(typed, code, 2)


def as_intrinsic(typed: Any, code: Callable[..., Any], own: int) -> Any:
    """Make an intrinsic named like `code`, with its parameters but for the first few."""
    update_wrapper(typed, code)
    first, *_ = parameters = [*signature(code).parameters.values()]
    typed.__signature__ = Signature([first, *parameters[own:]])
    return intrinsic(typed)


def llvm(builder: Any, name: str, result: Any, *arguments: Any, **flags: Any) -> Any:
    """Call a function by its name: one of LLVM's, or a routine of ours."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    called: Any = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(called, arguments, **flags)


def suffix(kind: Any) -> str:
    """What stands for a type behind the names of LLVM's functions."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    return "f64" if kind == ir.DoubleType() else "f32"


def symbol(name: str, real: Any) -> str:
    """The name by which loops call a routine of ours for one float type."""
    return f"tinygrad_rnn.{name}.{suffix(LLVM_REAL[real])}"


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once where the host can: asked for by name, LLVM never decides it."""
    if not FUSED:
        return builder.fadd(builder.fmul(a, b), c)
    return llvm(builder, f"llvm.fma.{suffix(a.type)}", a.type, a, b, c)
