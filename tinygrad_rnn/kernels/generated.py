"""What a generated loop is written with, and how its text becomes a compiled function.

A text is kept as a file named after its content, so that Numba can keep the compiled code beside
it, and the next process loads both.
"""

import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import from_dtype, njit, types
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from . import panels
from .compiled import _STAMP, LLVM_REAL, OPTIONS, SUFFIX, _warn_once, inlined
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


_functions: dict = {}
_lock = threading.Lock()


def function(source, counts, arguments, foreign):
    """The compiled function of a text: from memory, from disk, or compiled now."""
    kinds = (
        *[types.int64] * counts,
        types.Array(types.float64, 1, "C", readonly=True),
        *[_array_of(a) for a in arguments],
    )
    key = (source, kinds, *sorted((name, id(body)) for name, (body, _) in foreign.items()),
           tuple(around for _, around in foreign.values()))  # fmt: skip
    with _lock:
        if key not in _functions:
            for real in {a.dtype for a in arguments if a.dtype.kind == "f"}:
                panels.load(from_dtype(real))
            try:
                _functions[key] = _compiled(source, kinds, foreign)
            except NumbaError as error:
                names = " and ".join(word.removeprefix("op_") for word in foreign) or "the step"
                raise Uncompilable(names) from error
        return _functions[key]


def _array_of(argument):
    return types.Array(
        from_dtype(argument.dtype), argument.ndim, "C", readonly=not argument.written
    )


def _compiled(source, kinds, foreign):
    name = source.split("def ", 1)[1].split("(", 1)[0]
    if foreign:  # somebody's own op: its code may be anywhere, so it is compiled in this process
        space: dict = {}
        exec(compile(HEADER + source, f"<{name}>", "exec"), space)
        space |= {word: njit(**OPTIONS)(body) for word, (body, _) in foreign.items()}
        return _closed(njit(**GENERATED)(space[name]), kinds)
    try:
        module = _module(source)
        return _closed(njit(cache=True, **GENERATED)(getattr(module, name)), kinds)
    except (RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError) and "locator" not in str(error):
            raise
        _warn_once(str(error).splitlines()[0])
        space = {}
        exec(compile(HEADER + source, f"<{name}>", "exec"), space)
        return _closed(njit(**GENERATED)(space[name]), kinds)


def _closed(dispatcher, kinds):
    dispatcher.compile(kinds)
    dispatcher.disable_compile()
    return dispatcher


def folder():
    """Where texts and their compiled code are kept: our own, and nobody else's to write."""
    base = os.environ.get("NUMBA_CACHE_DIR")
    if base:
        path = Path(base) / "tinygrad_rnn"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        path = Path(home) / "tinygrad_rnn"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH):
        raise OSError(f"{path} can be written by others, and compiled code is kept there")
    return path


def _module(source):
    """The text as a module with a file of its own."""
    stamp = hashlib.sha256((_STAMP + source).encode()).hexdigest()[:20]
    name = f"tinygrad_rnn_loop_{stamp}"
    path = folder() / f"{name}.py"
    text = HEADER + source
    if not path.exists() or path.read_text("utf-8") != text:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


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
