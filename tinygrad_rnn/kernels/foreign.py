"""Texts that Numba compiles: those with an op of somebody else's in them, which may do anything."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.core.compiler import Compiler

from . import doors, numbers, pointwise
from .compiled import OPTIONS, Overloads, closed, specialised
from .denormals import BITS
from .rows import plus

WORDS = vars(doors) | {"np": np, "f32": np.float32, "f64": np.float64, "plus": plus}
WORDS |= {"larger": numbers.maximum, "smaller": numbers.minimum}


class Apart(Compiler):
    """Compiles for arrays that do not overlap: the machine hands over no others."""

    def __init__(self, *arguments: Any) -> None:
        flags = next(a for a in arguments if hasattr(a, "noalias"))
        flags.noalias = True
        super().__init__(*arguments)  # type: ignore[no-untyped-call]


GENERATED = {**OPTIONS, "pipeline_class": Apart}


def function(source: str, counts: int, kinds: Any, called: Any) -> Any:
    """The compiled function of a text: of so many numbers, and a tuple of arrays."""
    kinds = (
        *[types.int64] * counts,
        *[types.Array(from_dtype(dtype), n, "C", not written) for dtype, n, written in kinds],
    )
    loop = _compiled(source, kinds, called)

    def run(*given: Any) -> None:
        try:
            loop(*given[:-1], *given[-1])
        except BaseException:  # somebody's op raised, and the text was left before its end
            _keeping()()
            raise

    return run


def keep_denormals() -> None:
    """Compute with denormals on this thread."""
    doors.restore(doors.flush_denormals() & ~BITS)


@lru_cache(1)
def _keeping() -> Any:
    return specialised(keep_denormals)


def _compiled(source: str, kinds: Any, called: Any) -> Any:
    name = source.split("def ", 1)[1].split("(", 1)[0]
    space: dict[str, Any] = WORDS | {"__name__": __name__}
    exec(compile(source, f"<{name}>", "exec"), space)
    loop = space[name]
    # Somebody else's op may call code from anywhere, so what it is in is compiled in this process.
    foreign = any(c.around for c in called.values())
    known = [(word, str(c.dtype), numbers.identity(c.function)) for word, c in called.items()]
    cache = None if foreign else Overloads(source, *known)
    for word, c in called.items():
        body = c.function if c.dtype is None else numbers.typed(c.function, c.dtype)
        ours = c.around is None
        space[word] = pointwise.function(c.function, c.dtype) if ours else njit(**OPTIONS)(body)
    loop.__qualname__ = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:20]}"  # its symbol
    return closed(njit(**GENERATED)(loop), kinds, cache)
