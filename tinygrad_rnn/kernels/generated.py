"""What a generated loop is written with, and how its text becomes a compiled function.

The compiled code of a text is kept on disk under a hash of it, and the next process loads it.
"""

import hashlib
import threading
from collections import OrderedDict

import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from . import panels
from .compiled import LLVM_REAL, OPTIONS, SUFFIX, closed, inlined
from .kept import Kept
from .panels import gather, gather_packed, multiply, pack_rows
from .pointwise import exp_number as exp
from .pointwise import sigmoid_number as sigmoid
from .pointwise import tanh_number as tanh
from .rows import plus
from .spare import spare as lend

__all__ = [
    "abs", "exp", "f32", "f64", "gather", "gather_packed", "log", "log1p", "maximum", "minimum",
    "multiply", "np", "pack_rows", "plus", "sigmoid", "sqrt", "tanh",
]  # fmt: skip

f32, f64 = np.float32, np.float64
log, log1p, sqrt, abs = np.log, np.log1p, np.sqrt, np.abs


@intrinsic
def maximum(typing, x, y):
    """The larger of two numbers; NaN if either is."""

    def generate(context, builder, signature, arguments):
        real = signature.return_type
        if real not in LLVM_REAL:
            return builder.select(builder.icmp_signed(">", *arguments), *arguments)
        kind, name = LLVM_REAL[real], f"llvm.maximum.{SUFFIX[real]}"
        call = ir.FunctionType(kind, [kind, kind])
        return builder.call(cgutils.get_or_insert_function(builder.module, call, name), arguments)

    return x(x, x), generate


@inlined
def minimum(x, y):
    return -maximum(-x, -y)


HEADER = '''"""A loop written by tinygrad_rnn from a step of a recurrence."""

from tinygrad_rnn.kernels.generated import *

'''


class Apart(Compiler):
    """Compiles for arrays that do not overlap: the machine hands over no others.

    Without this promise every row would begin with a comparison of all addresses with all.
    """

    def __init__(self, *arguments):
        flags = next(a for a in arguments if hasattr(a, "noalias"))
        flags.noalias = True
        super().__init__(*arguments)


GENERATED = {**OPTIONS, "pipeline_class": Apart}


class Uncompilable(Exception):
    """Numba does not know what to do with a text, or with a user's op in it."""


FUNCTIONS = 512  # compiled functions that are remembered
_functions: OrderedDict = OrderedDict()
_lock = threading.Lock()


def function(source, counts, arguments, foreign):
    """The compiled function of a text: from memory, from disk, or compiled now.

    foreign: by their names in the text, the bodies of somebody else's ops, each with all that it
    reads besides its inputs. An op is known by that, its code included, and not by its identity:
    one made anew at every call is the same op, and another that took its address is not.
    """
    kinds = (
        *[types.int64] * counts,
        types.Array(types.float64, 1, "C", readonly=True),
        *[_array_of(a) for a in arguments],
    )
    key = (source, kinds, *sorted((name, around) for name, (_, around) in foreign.items()))
    with _lock:
        if key not in _functions:
            for real in {a.dtype for a in arguments if a.dtype.kind == "f"}:
                panels.load(from_dtype(real))
            try:
                _functions[key] = _compiled(source, kinds, foreign)
            except NumbaError as error:
                names = " and ".join(word.removeprefix("op_") for word in foreign) or "the step"
                raise Uncompilable(names) from error
            if len(_functions) > FUNCTIONS:
                _functions.popitem(last=False)
        _functions.move_to_end(key)
        return _functions[key]


def _array_of(argument):
    return types.Array(
        from_dtype(argument.dtype), argument.ndim, "C", readonly=not argument.written
    )


def _compiled(source, kinds, foreign):
    name = source.split("def ", 1)[1].split("(", 1)[0]
    space = {"__name__": __name__}
    exec(compile(HEADER + source, f"<{name}>", "exec"), space)
    loop = space[name]
    # Somebody else's op may call code from anywhere, so what it is in is compiled in this process.
    cache = None if foreign else Kept(source)
    for word, (body, _) in foreign.items():
        space[word] = njit(**OPTIONS)(body)
    loop.__qualname__ = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:20]}"  # its symbol
    return closed(njit(**GENERATED)(loop), kinds, cache)


_packers: dict = {}


def pack_weights(w, out):
    panels.pack(w, out)


def packed(w):
    """A matrix of weights as `multiply` reads it."""
    w = np.asarray(w)
    if w.dtype not in _packers:
        with _lock:
            panels.load(from_dtype(w.dtype))
            if w.dtype not in _packers:
                from .compiled import read, specialised, written

                real = from_dtype(w.dtype)
                _packers[w.dtype] = specialised(pack_weights, read(real, 2), written(real, 1))
    out = lend((panels.packed_size(*w.shape, w.dtype),), w.dtype)
    _packers[w.dtype](w, out)
    return out
