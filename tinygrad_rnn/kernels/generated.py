"""What a generated loop is written with, and how its text becomes a compiled function.

The compiled code of a text is kept on disk under a hash of it, and the next process loads it.
"""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from numba import from_dtype, njit, types
from numba.core.compiler import Compiler
from numba.core.errors import NumbaError

from .. import caches
from . import numbers, panels, pointwise
from .compiled import OPTIONS, closed, read, specialised, written
from .denormals import flush_denormals, restore
from .kept import Kept
from .numbers import maximum as larger
from .numbers import minimum as smaller
from .panels import gather, gather_packed, multiply, pack_rows
from .rows import plus
from .spare import Array
from .spare import spare as lend

__all__ = [
    "f32", "f64", "flush_denormals", "gather", "gather_packed", "larger", "multiply", "np",
    "pack_rows", "plus", "restore", "smaller",
]  # fmt: skip

f32, f64 = np.float32, np.float64


HEADER = '''"""A loop written by tinygrad_rnn from a step of a recurrence."""

from tinygrad_rnn.kernels.generated import *

'''


class Apart(Compiler):
    """Compiles for arrays that do not overlap: the machine hands over no others.

    Without this promise every row would begin with a comparison of all addresses with all.
    """

    def __init__(self, *arguments: Any) -> None:
        flags = next(a for a in arguments if hasattr(a, "noalias"))
        flags.noalias = True
        super().__init__(*arguments)  # type: ignore[no-untyped-call]


GENERATED = {**OPTIONS, "pipeline_class": Apart}


class Uncompilable(Exception):
    """Numba does not know what to do with a text, or with a user's op in it."""


_lock = threading.Lock()


def function(source: str, counts: int, arguments: Any, called: Any) -> Any:
    """The compiled function of a text: from memory, from disk, or compiled now.

    called: by their names in the text, the functions it calls, see `numbers.Called`. Somebody
    else's is known by all it reads, its code included, and not by its identity: one made again at
    every call is the same op, and another that took its address is not.
    """
    kinds = (
        *[types.int64] * counts,
        types.Array(types.float64, 1, "C", readonly=True),
        *[_array_of(a) for a in arguments],
    )
    known = [c.around or numbers.identity(c.function) for c in called.values()]
    key = (source, kinds, *called, *[c.dtype for c in called.values()], *known)
    with _lock:
        made = caches.functions.recent(key)
        if made is None:
            if any(f"{word}(" in source for word in panels.__all__):
                for real in {a.dtype for a in arguments if a.dtype.kind == "f"}:
                    panels.load(from_dtype(real))
            try:
                made = caches.functions.keep(key, _compiled(source, kinds, called))
            except NumbaError as error:
                theirs = [word.removeprefix("op_") for word, c in called.items() if c.around]
                names = " and ".join(theirs or called) or "the step"
                raise Uncompilable(names) from error
        return made


def _array_of(argument: Any) -> Any:
    return types.Array(
        from_dtype(argument.dtype), argument.ndim, "C", readonly=not argument.written
    )


def _compiled(source: str, kinds: Any, called: Any) -> Any:
    name = source.split("def ", 1)[1].split("(", 1)[0]
    space: dict[str, Any] = {"__name__": __name__}
    exec(compile(HEADER + source, f"<{name}>", "exec"), space)
    loop = space[name]
    # Somebody else's op may call code from anywhere, so what it is in is compiled in this process.
    foreign = any(c.around for c in called.values())
    known = [(word, str(c.dtype), numbers.identity(c.function)) for word, c in called.items()]
    cache = None if foreign else Kept(source, *known)
    for word, c in called.items():
        body = c.function if c.dtype is None else numbers.typed(c.function, c.dtype)
        ours = c.around is None
        space[word] = pointwise.function(c.function, c.dtype) if ours else njit(**OPTIONS)(body)
    loop.__qualname__ = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:20]}"  # its symbol
    return closed(njit(**GENERATED)(loop), kinds, cache)


def pack_weights(w: Array, out: Array) -> None:
    panels.pack(w, out)


@lru_cache
def _packer(dtype: np.dtype[Any]) -> Any:
    real = from_dtype(dtype)
    panels.load(real)
    return specialised(pack_weights, read(real, 2), written(real, 1))


def packed(w: Array) -> Array:
    """A matrix of weights as `multiply` reads it."""
    w = np.asarray(w)
    rows, columns = w.shape
    out = lend((panels.packed_size(rows, columns, w.dtype),), w.dtype)
    _packer(w.dtype)(w, out)
    return out
