"""How a kernel is compiled: once for each float type, kept on disk where a folder lets us."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numba
from numba import njit, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.serialize import dumps
from numba.extending import intrinsic as _intrinsic

from .kept import Kept
from .written import F32, F64

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""NumPy's error model lets a loop with a division vectorise; no fast-math, so that NaN survives."""

intrinsic: Callable[..., Callable[..., Any]] = _intrinsic  # typed as compiled code calls it

LLVM_REAL = {types.float32: F32, types.float64: F64}


class Overloads(NullCache):
    """What Numba asks for compiled code before it compiles, and hands it over to afterwards."""

    def __init__(self, *key: object) -> None:
        self.key = key

    def kept(self, kinds: Any, context: Any) -> Kept:
        made_for = context.codegen().magic_tuple()
        return Kept(*self.key, str(kinds), made_for, numba.__version__)

    def load_overload(self, kinds: Any, context: Any) -> Any:
        """The compiled function, or None."""
        context.refresh()
        rebuild = lambda data: CompileResult._rebuild(context, *pickle.loads(data))
        return self.kept(kinds, context).load(rebuild)

    def save_overload(self, kinds: Any, result: Any) -> None:
        """Keep a compiled function for the next process."""
        if not (result.lifted or result.library.has_dynamic_globals):
            self.kept(kinds, result.target_context).save(dumps(result._reduce()))


def specialised(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` compiled for exactly these argument types, and never for any other.

    A closed dispatcher lets read-only, transposed and strided arrays convert to the one signature
    it has, where an open one would compile again for each.
    """
    dispatcher = njit(**OPTIONS)(function)
    # The code of this package tells them apart.
    names = function.__module__, function.__qualname__, function.__code__.co_code
    return closed(dispatcher, arguments, Overloads(*names))


def closed(dispatcher: Any, kinds: Any, cache: Any = None) -> Any:
    """A dispatcher compiled for `kinds` and no others, from disk if the cache has it."""
    if cache is not None:
        dispatcher._cache = cache
    dispatcher.compile(kinds)
    dispatcher.disable_compile()
    return dispatcher


@global_compiler_lock  # type: ignore[untyped-decorator]
def library(name: str, write: Callable[[Any], None]) -> Any:
    """What `write(module)` writes instruction by instruction, for others to be compiled with.

    Optimised by itself: a caller's fast-math stays out.
    """
    context = cpu_target.target_context
    context.refresh()
    made = context.codegen().create_library(name)
    module = made.create_ir_module(name)
    write(module)
    made.add_ir_module(module)
    made.finalize()
    return made


def helper(function: Callable[..., Any]) -> Any:
    """A piece of a kernel: compiled into whatever calls it."""
    return njit(**OPTIONS)(function)


def read(real: Any, dimensions: int) -> Any:
    """The type of an array that is only read: packed if it has one dimension, else any strides."""
    return types.Array(real, dimensions, "C" if dimensions == 1 else "A", readonly=True)


def rows(real: Any) -> Any:
    """The type of a packed matrix that is only read."""
    return types.Array(real, 2, "C", readonly=True)


def written(real: Any, dimensions: int) -> Any:
    """The type of a packed array that is written."""
    return types.Array(real, dimensions, "C")
