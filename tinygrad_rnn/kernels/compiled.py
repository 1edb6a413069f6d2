"""How a kernel is compiled: once for each float type, kept on disk where a folder lets us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core.codegen import get_host_cpu_features
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from .kept import Kept

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""NumPy's error model lets a loop with a division vectorise; no fast-math, so that NaN survives."""

# What Numba compiles for: an empty list, as of a generic processor, is a list too.
_FEATURES = getattr(config, "CPU_FEATURES", None)
_FEATURES = get_host_cpu_features() if _FEATURES is None else _FEATURES
HOST = {name[1:] for name in _FEATURES.split(",") if name.startswith("+")}
FUSED = bool(HOST & {"fma", "neon", "fp-armv8"})
LLVM_REAL = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


def specialised(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` compiled for exactly these argument types, and never for any other.

    A closed dispatcher lets read-only, transposed and strided arrays convert to the one signature
    it has, where an open one would compile again for each.
    """
    dispatcher = njit(**OPTIONS)(function)
    return closed(dispatcher, arguments, kept_as(function))


def closed(dispatcher: Any, kinds: Any, cache: Any = None) -> Any:
    """A dispatcher compiled for `kinds` and no others, from disk if the cache has it."""
    if cache is not None:
        dispatcher._cache = cache
    dispatcher.compile(kinds)
    dispatcher.disable_compile()
    return dispatcher


@global_compiler_lock  # type: ignore[untyped-decorator]
def library(name: str, real: Any, write: Callable[[Any, Any], None]) -> Any:
    """What `write(module, real)` writes instruction by instruction, compiled or from disk."""
    context, kept = cpu_target.target_context, Kept(name)
    context.refresh()
    codegen = context.codegen()
    made = kept.load(real, context, codegen.unserialize_library)
    if made is None:
        made = codegen.create_library(name)
        module = made.create_ir_module(name)
        write(module, real)
        made.add_ir_module(module)
        made.enable_object_caching()
        made.finalize()
        kept.save(real, context, made.serialize_using_object_code())
    return made


def kept_as(function: Callable[..., Any]) -> Kept:
    """The place on disk of a function of ours, which the code of this package tells apart."""
    return Kept(function.__module__, function.__qualname__, function.__code__.co_code)


def helper(function: Callable[..., Any]) -> Any:
    """A piece of a kernel: compiled into whatever calls it."""
    return njit(**OPTIONS)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A piece written into its only caller: LLVM optimises every separate piece twice."""
    return njit(inline="always", **OPTIONS)(function)


def read(real: Any, dimensions: int) -> Any:
    """The type of an array that is only read: packed if it has one dimension, else any strides."""
    return types.Array(real, dimensions, "C" if dimensions == 1 else "A", readonly=True)


def rows(real: Any) -> Any:
    """The type of a packed matrix that is only read."""
    return types.Array(real, 2, "C", readonly=True)


def written(real: Any, dimensions: int) -> Any:
    """The type of a packed array that is written."""
    return types.Array(real, dimensions, "C")
