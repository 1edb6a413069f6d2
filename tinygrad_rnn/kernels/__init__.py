"""Fast arithmetic on arrays: arrays in, fresh C-contiguous arrays out, and no tensors anywhere.

Compiled code is loaded, and LLVM or Numba imported, by the first call that needs it; without Numba,
or with NUMBA_DISABLE_JIT=1, the same doors lead to plain NumPy formulas.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import numpy as np
from numpy import empty

from ..quiet import quiet
from . import plain
from .numbers import (
    alike,
    exp,
    maximum,
    minimum,
    sigmoid,
    sigmoid_slope,
    softplus,
    tanh,
    tanh_slope,
)
from .plain import RULES
from .spare import Array, spare
from .waiting import apart

__all__ = [
    "alike",
    "column_sums",
    "cross_entropy",
    "cross_entropy_pull",
    "exp",
    "log_softmax",
    "logsumexp",
    "matmul",
    "maximum",
    "minimum",
    "scatter_rows",
    "sigmoid",
    "sigmoid_slope",
    "softmax",
    "softplus",
    "square_sum",
    "swept",
    "tanh",
    "tanh_slope",
    "update",
]

UPDATES = {*RULES, "column_sums", "square_sum"}
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

NATIVE = {SINGLE, DOUBLE}

BIG = 1 << 14  # numbers from which a product asks for memory that was used before
LONG = 1 << 32  # multiplications, at most so many at once, for Python to look at Ctrl-C in between
PANELS = 64  # rows or columns that stay together

# By name (or number, see `swept`), then by dtype: what has been loaded so far. A door looks here
# first, and nowhere else.
_loaded: defaultdict[Any, dict[Any, Any]] = defaultdict(dict)
_plains: dict[Any, Any] = {}
_product = _loaded["product"]


OLDEST = {"numba": [0, 62], "llvmlite": [0, 45]}
_wanted = threading.local()


@contextmanager
def shapes_only() -> Iterator[None]:
    """Compile nothing for its numbers in this block: a kernel not yet there is NumPy's."""
    _wanted.shapes = True
    try:
        yield
    finally:
        _wanted.shapes = False


def _load(name: Any, dtype: np.dtype[Any]) -> Any:
    """Find the kernel, compiled if it can be, and remember it. float16 and such stay in NumPy."""
    table = _loaded[name]
    if dtype not in table:
        if getattr(_wanted, "shapes", False):
            return _plain(name)
        table[dtype] = (dtype in NATIVE and apart(_compiled, name, dtype)) or _plain(name)
    return table[dtype]


@lru_cache(1)
def compiles() -> bool:
    """Whether there is a compiler: Numba and its LLVM are there, and switched on."""
    numba = sys.modules.get("numba")
    if numba is not None:
        return not getattr(numba.config, "DISABLE_JIT", False)
    there = all(importlib.util.find_spec(name) for name in ("numba", "llvmlite"))
    return there and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def _compiled(name: Any, dtype: np.dtype[Any]) -> Any:
    if not compiles():
        return None
    if name == "product" or name in UPDATES:
        _compiler("llvmlite")
        from . import matrices, updates

        return matrices.kernel(dtype) if name == "product" else updates.kernel(name, dtype)
    real = _compiler("numba").from_dtype(dtype)
    if name in _plains:
        from . import pointwise

        return pointwise.kernel(name, dtype)
    from . import rows

    return rows.kernel(name, real)


def _compiler(name: str) -> Any:
    """Numba, or what it makes of LLVM, or an ImportError that says how to do without."""
    try:
        found = importlib.import_module(name)
        if [*map(int, found.__version__.split(".")[:2])] < OLDEST[name]:
            oldest = ".".join(map(str, OLDEST[name]))
            raise ImportError(f"expected {name} {oldest} or newer, got {found.__version__}")
        importlib.import_module(".target", __name__)  # which loads LLVM
    except (ImportError, OSError) as error:
        raise ImportError(
            "tinygrad_rnn: Numba is installed and cannot be used. Install another one (pip install "
            f"--upgrade numba), or do without, slower: NUMBA_DISABLE_JIT=1. It says: {error}"
        ) from error
    return found


def _plain(name: Any) -> Callable[..., Any]:
    if name in _plains:
        return quiet(lambda x, out: np.copyto(out, _plains[name](x)))
    return plain.kernel(name)


def _floats(x: Array) -> Array:
    """x as a packed array of native floats: what every kernel but the product reads."""
    x = np.asarray(x)
    if x.dtype in NATIVE and x.flags.c_contiguous and x.flags.aligned:
        return x
    dtype = np.dtype(x.dtype.type) if x.dtype.kind == "f" else DOUBLE
    return np.require(x, dtype, ("C", "A"))


def swept(number: Callable[..., Any], plain: Callable[..., Any]) -> Callable[[Any], Array]:
    """The function of arrays that does `number` to every element; `plain` is it in NumPy.

    Integers become float64.
    """
    table = _loaded[number] = {}
    _plains[number] = plain

    @wraps(plain)
    def door(x: Array) -> Array:
        try:
            out = empty(x.shape, x.dtype)
            table[x.dtype](x.ravel(), out.ravel())
        except (KeyError, TypeError):  # not loaded yet, or neither native nor aligned
            x = _floats(x)
            out = empty(x.shape, x.dtype)
            _load(number, x.dtype)(x.ravel(), out.ravel())
        return out

    return door


def _by_rows(x: Array) -> tuple[Array, Array]:
    """x as packed floats, and as a matrix whose rows are its last axis."""
    x = _floats(x)
    if not x.ndim:
        raise ValueError("expected at least one axis, got a number")
    return x, x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _reweighed(name: Any, x: Array) -> Array:
    x, matrix = _by_rows(x)
    out = empty(matrix.shape, x.dtype)
    if x.size:
        _load(name, x.dtype)(matrix, out)
    return out.reshape(x.shape)


def softmax(x: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis."""
    return _reweighed("softmax", x)


def log_softmax(x: Array) -> Array:
    """x - log(sum(exp(x))) over the last axis."""
    return _reweighed("log_softmax", x)


def logsumexp(x: Array) -> Array:
    """log(sum(exp(x))) over the last axis, which goes; -inf where there is nothing to sum."""
    x, matrix = _by_rows(x)
    out = empty(len(matrix), x.dtype)
    if x.size:
        _load("logsumexp", x.dtype)(matrix, out)
    else:
        out.fill(-np.inf)
    return out.reshape(x.shape[:-1])


def _classes(logits: Array, target: Array) -> tuple[Array, Array]:
    logits, target = _floats(logits), np.ascontiguousarray(target, np.int64)
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits (N, C) and target (N,), got {logits.shape} and {target.shape}"
        )
    return logits, target


def cross_entropy(logits: Array, target: Array, ignore_index: int) -> Array:
    """-log softmax(row)[target] of each row of logits (N, C); 0 where target is ignore_index.

    The caller has checked that every other target is in 0 .. C - 1.
    """
    logits, target = _classes(logits, target)
    out = empty(len(logits), logits.dtype)
    _load("cross_entropy", logits.dtype)(logits, target, int(ignore_index), out)
    return out


def cross_entropy_pull(g: Array, logits: Array, target: Array, ignore_index: int) -> Array:
    """The cotangent of logits, g (softmax(logits) - onehot(target)); zero in ignored rows."""
    logits, target = _classes(logits, target)
    g = np.ascontiguousarray(g, logits.dtype)
    if g.shape != target.shape:
        raise ValueError(f"expected one cotangent for each target {target.shape}, got {g.shape}")
    out = spare(logits.shape, logits.dtype)
    _load("cross_entropy_pull", logits.dtype)(g, logits, target, int(ignore_index), out)
    return out


def scatter_rows(g: Array, index: Array, rows: int) -> Array:
    """Zeros with `rows` rows, to which g[i] is added at index[i], in the order of i.

    The caller has checked that every index is in 0 .. rows - 1.
    """
    g = g if g.flags.c_contiguous and g.flags.aligned else np.require(g, None, ("C", "A"))
    index = np.ascontiguousarray(index, np.int64)
    if index.shape != g.shape[:1]:
        raise ValueError(f"expected one index for each row, got {index.shape} for {g.shape}")
    out = empty((rows, *g.shape[1:]), g.dtype)
    wide = math.prod(g.shape[1:])
    _load("scatter_rows", g.dtype)(g.reshape(len(g), wide), index, out.reshape(rows, wide))
    return out


def column_sums(x: Array) -> Array:
    """The sum of the rows of a matrix, each added up in float64 and rounded once."""
    x = _floats(x)
    if x.ndim != 2:
        raise ValueError(f"expected a matrix, got shape {x.shape}")
    out = empty(x.shape[1], x.dtype)
    _load("column_sums", x.dtype)(x, out)
    return out


def _packed(x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned:
        return x
    return np.require(x, dtype, ("C", "A"))


def square_sum(x: Array) -> float:
    """The sum of the squares of all numbers, as a float; it may overflow or lose small squares."""
    x = np.asarray(x)
    x = _floats(x if x.flags.c_contiguous else x.T)  # the order of memory is as good as any
    out = empty(1)
    _load("square_sum", x.dtype)(x.ravel(), out)
    return float(out[0])


def update(
    rule: str, settings: Sequence[float], old: Sequence[Array], new: Sequence[Array]
) -> None:
    """One step of an optimiser's rule, from old arrays into new ones, which share no memory.

    old: weights, gradient, then what the rule remembers; new: weights and memory, packed arrays
    of the old weights' shape and dtype. settings: as many numbers as the rule has.
    """
    x = new[0]
    for array in (*old, *new):
        if array.shape != x.shape:
            raise ValueError(f"expected arrays of shape {x.shape}, got {array.shape}")
    for array in new:  # which are written as they are
        if array.dtype != x.dtype or not array.flags.carray:
            got = f"{array.dtype} with strides {array.strides}"
            raise ValueError(f"expected packed {x.dtype} arrays that may be written, got {got}")
    packed = [_packed(array, x.dtype).ravel() for array in old]
    settings = tuple(map(float, settings))
    _load(rule, x.dtype)(settings, *packed, *[array.ravel() for array in new])


def matmul(x: Array, y: Array) -> Array:
    """The matrix product of two matrices, of a stack and a matrix, or of two stacks."""
    dtype = x.dtype
    kernel = _product.get(dtype)
    if not (type(x) is type(y) is np.ndarray and kernel and dtype == y.dtype):
        return _stacked(x, y)
    if x.ndim != 2 or y.ndim != 2:
        return _stacked(x, y)
    rows, depth = x.shape
    inner, columns = y.shape
    if depth != inner or not depth:
        return _stacked(x, y)
    room = empty if rows * columns < BIG else spare
    out = room((rows, columns), dtype)
    if rows * depth * columns > LONG:
        _in_pieces(kernel, x, y, out)
    else:
        kernel(x, y, out)
    return out


def _in_pieces(kernel: Callable[..., Any], x: Array, y: Array, out: Array) -> None:
    """out = x @ y; where it is long, Python looks at Ctrl-C between two pieces of it.

    Each entry is one chain, so it is the same in any piece.
    """
    (rows, columns), depth = out.shape, len(y)
    if rows * depth * columns <= LONG or max(rows, columns) <= PANELS:
        kernel(x, y, out)
        return
    tall = rows > columns
    half = max(rows, columns) // 2 // PANELS * PANELS or PANELS
    for side in (slice(half), slice(half, None)):
        rest = (x[side], y, out[side]) if tall else (x, y[:, side], out[:, side])
        _in_pieces(kernel, *rest)


def _stacked(x: Array, y: Array) -> Array:
    """The general case of `matmul`: other dtypes, stacks of matrices, nothing to sum over."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise ValueError(f"inner sizes differ: {x.shape} @ {y.shape}")
    dtype = np.result_type(x, y)
    if dtype not in NATIVE:
        with np.errstate(all="ignore"):
            return np.asarray(np.matmul(x, y, order="C"))
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    rows, columns = x.shape[-2], y.shape[-1]
    if y.ndim <= x.ndim and math.prod(y.shape[:-2]) == 1:
        y = y.reshape(y.shape[-2:])
    if y.ndim > 2 and math.prod(x.shape[:-2]) == 1:  # matrices beside each other are a wide one
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        wide = np.moveaxis(y, -2, 0).reshape(y.shape[-2], math.prod(lead) * columns)
        out = matmul(x.reshape(x.shape[-2:]), wide).reshape(rows, *lead, columns)
        return np.ascontiguousarray(np.moveaxis(out, 0, -2))
    if y.ndim == 2:  # a stack of matrices under each other is one tall matrix
        lead = x.shape[:-1]
        x = x.reshape(math.prod(lead), x.shape[-1])
    else:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x = np.broadcast_to(x, lead + x.shape[-2:])
        y = np.broadcast_to(y, lead + y.shape[-2:])
        lead += x.shape[-2:-1]
    if not x.shape[-1]:
        return np.zeros((*lead, columns), dtype)
    kernel = _load("product", dtype)
    out = spare((*lead, columns), dtype)
    flat = out.reshape(len(x), columns) if y.ndim == 2 else out
    for at in itertools.product(*map(range, flat.shape[:-2])):
        _in_pieces(kernel, x[at], y[at], flat[at])
    return out
