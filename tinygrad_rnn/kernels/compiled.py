"""How a kernel is compiled: once for each float type, kept on disk where a folder lets us."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, njit, types

OPTIONS: Any = {"nogil": True, "error_model": "numpy", "fastmath": False}
"""NumPy's error model lets a loop with a division vectorise; no fast-math, so that NaN survives."""

_FEATURES = getattr(config, "CPU_FEATURES", None) or get_host_cpu_features().flatten()
HOST = {name[1:] for name in _FEATURES.split(",") if name.startswith("+")}
FUSED = bool(HOST & {"fma", "neon", "fp-armv8"})
LLVM_REAL = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
SUFFIX = {types.float32: "f32", types.float64: "f64"}


class KernelCacheWarning(RuntimeWarning):
    """No folder can be written, so every process compiles its kernels anew."""


_warned = False


def _warn_once(reason):
    global _warned
    if not _warned:
        _warned = True
        message = f"kernels are compiled anew in every process: {reason} (set NUMBA_CACHE_DIR)"
        warnings.warn(message, KernelCacheWarning, stacklevel=2)


def _fingerprint():
    """Of every file in this folder: Numba's own cache would not see a changed helper."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


_STAMP = f"_{_fingerprint()}"


def specialised(function, *arguments):
    """`function` compiled for exactly these argument types, and never for any other.

    A closed dispatcher lets read-only, transposed and strided arrays convert to the one signature
    it has, where an open one would compile again for each.
    """
    if not function.__qualname__.endswith(_STAMP):
        function.__qualname__ += _STAMP  # it names the cache file
    try:
        dispatcher = njit(cache=True, **OPTIONS)(function)
        dispatcher.compile(arguments)
    except (RuntimeError, OSError) as error:  # "no locator available", a full or lost folder
        if isinstance(error, RuntimeError) and "locator" not in str(error):
            raise
        _warn_once(str(error).splitlines()[0])
        dispatcher = njit(**OPTIONS)(function)
        dispatcher.compile(arguments)
    dispatcher.disable_compile()
    return dispatcher


def helper(function):
    """A piece of a kernel: compiled into whatever calls it."""
    return njit(**OPTIONS)(function)


def inlined(function):
    """A piece written into its only caller: LLVM optimises every separate piece twice."""
    return njit(inline="always", **OPTIONS)(function)


def read(real, dimensions):
    """The type of an array that is only read: packed if it has one dimension, else any strides."""
    return types.Array(real, dimensions, "C" if dimensions == 1 else "A", readonly=True)


def rows(real):
    """The type of a packed matrix that is only read."""
    return types.Array(real, 2, "C", readonly=True)


def written(real, dimensions):
    """The type of a packed array that is written."""
    return types.Array(real, dimensions, "C")
