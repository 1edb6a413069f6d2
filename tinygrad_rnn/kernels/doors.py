"""What code that Numba compiles calls, as intrinsics: routines of `panels`, and `denormals`."""

from functools import update_wrapper
from inspect import signature
from types import SimpleNamespace
from typing import Any

from numba import types
from numba.core import cgutils, errors

from . import denormals
from .compiled import LLVM_REAL, intrinsic
from .panels import DOORS
from .written import I64


def given(context, builder, kind, value):
    if not isinstance(kind, types.Array):
        return context.cast(builder, value, kind, types.int64)
    array = context.make_array(kind)(context, builder, value)
    shape, strides = [cgutils.unpack_tuple(builder, x) for x in (array.shape, array.strides)]
    data = builder.ptrtoint(array.data, I64)
    return SimpleNamespace(data=data, shape=shape, strides=strides)


def door(name, routine):
    """The intrinsic of a routine."""
    count = len(routine.dimensions)

    def sorts(typing, *kinds):
        _check_arrays(name, kinds[:count], routine.dimensions)

        def generate(context, builder, signature, arguments):
            told = [given(context, builder, *x) for x in zip(kinds, arguments, strict=True)]
            routine.call(builder, LLVM_REAL[kinds[0].dtype], *told)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    typed: Any = update_wrapper(sorts, routine.numbers)
    typed.__signature__ = signature(routine.numbers)  # its first one stands for `typing`
    return intrinsic(typed)


def _check_arrays(name, arrays, dimensions):
    if not all(isinstance(kind, types.Array) for kind in arrays):
        raise errors.TypingError(f"{name} takes arrays")
    if tuple(kind.ndim for kind in arrays) != dimensions:
        raise errors.TypingError(f"{name} takes arrays of {dimensions} dimensions")
    reals = {kind.dtype for kind in arrays}
    if len(reals) != 1 or not reals <= set(LLVM_REAL):
        raise errors.TypingError(f"{name} takes float32 arrays or float64 arrays")


multiply, gather, gather_packed, pack_rows = map(door, DOORS, DOORS.values())


@intrinsic
def flush_denormals(typing):
    """Take denormals for zero on this thread from now on; return what `restore` wants back."""
    return types.int64(), lambda context, builder, *_: denormals.flush(builder)


@intrinsic
def restore(typing, before):
    """Compute as before `flush_denormals`."""

    def generate(context, builder, signature, arguments):
        denormals.restore(builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.int64), generate
