"""How the text of a loop becomes a compiled function, which is kept on disk under a hash of it."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from .. import caches
from . import numbers, panels, text
from .spare import Array
from .spare import spare as lend
from .waiting import apart, over_a_fork
from .written import KINDS


class Uncompilable(Exception):
    """Nobody knows what to do with a text, or with a user's op in it."""


_lock = threading.Lock()
over_a_fork(_lock, panels.lock, caches.lock)


def function(source: str, counts: int, arguments: Any, called: Any) -> Any:
    """The compiled function of a text: from memory, from disk, or compiled now.

    It takes so many whole numbers, and a tuple of arrays: of numbers, and the arguments'.

    called: by their names in the text, the functions it calls, see `numbers.Called`. Somebody
    else's is known by all it reads, its code included, and not by its identity: one made again at
    every call is the same op, and another that took its address is not.
    """
    kinds = ((np.dtype(np.float64), 1, False), *[(a.dtype, a.ndim, a.written) for a in arguments])
    known = [c.around or numbers.identity(c.function) for c in called.values()]
    key = (source, kinds, *called, *[c.dtype for c in called.values()], *known)
    with _lock:
        made = caches.functions.recent(key)
        if made is None:
            made = caches.functions.keep(key, _compiled(source, counts, kinds, called))
        return made


def _compiled(source: str, counts: int, kinds: Any, called: Any) -> Any:
    """By us, or by Numba what only Numba understands: somebody else's op, as a rule."""
    with suppress(text.Unknown):
        return text.function(source, counts, [kind[:2] for kind in kinds], called)
    return apart(_by_numba, source, counts, kinds, called)


def _by_numba(source: str, counts: int, kinds: Any, called: Any) -> Any:
    from numba.core.errors import NumbaError

    from . import foreign

    if re.search(rf"\b(?:{'|'.join(panels.DOORS)})\(", source):
        for dtype in {dtype for dtype, *_ in kinds if dtype in KINDS}:
            panels.load(dtype)
    try:
        return foreign.function(source, counts, kinds, called)
    except NumbaError as error:
        theirs = [word.removeprefix("op_") for word, c in called.items() if c.around]
        names = " and ".join(theirs or called) or "the step"
        raise Uncompilable(names) from error


def packed(w: Array) -> Array:
    """A matrix of weights as `multiply` reads it."""
    w = np.asarray(w)
    rows, columns = w.shape
    out = lend((panels.packed_size(rows, columns, w.dtype),), w.dtype)
    panels.pack(w, out)
    return out
