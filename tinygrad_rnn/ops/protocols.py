"""What other libraries ask tensors for: NumPy's functions, which find ops, and the numbers."""

from contextlib import suppress
from functools import cache, partial, reduce
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ..tensor import Outline, Tensor, describe, seen

# What has no slope, so that a plain answer loses nothing.
QUESTIONS = (
    "allclose array_equal array_equiv array_repr array_str can_cast count_nonzero "
    "empty_like isclose iscomplexobj isrealobj may_share_memory result_type shares_memory signbit"
)

UNSAID = ("dtype", "out")  # of NumPy's functions, where they are None


@cache
def table() -> dict[Any, Any]:
    """What NumPy's functions are here: the ops of their names, or that declare these."""
    from .. import ops

    declared = [getattr(ops, name) for name in ops.__all__]
    same = {name: f for f in declared for name in (f.__name__, *f.declared.numpy)}
    same |= {name: partial(_on_values, getattr(np, name), "") for name in QUESTIONS.split()}
    same |= {"shape": lambda x: x.shape, "ndim": lambda x: x.ndim}
    same["size"] = lambda x, axis=None: x.size if axis is None else x.shape[axis]
    return {theirs: f for name, f in same.items() if (theirs := numpys(name)) is not None}


def numpys(name: str) -> Any:
    """Return NumPy's function of that name, such as `linalg.norm`, or None."""
    place: Any = np
    return reduce(lambda place, part: getattr(place, part, None), name.split("."), place)


def array_ufunc(x: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """`np.tanh(tensor)`, `array * tensor`."""
    name, function = f"np.{ufunc.__name__}", ufunc
    if method != "__call__":
        name, function = f"{name}.{method}", getattr(ufunc, method)
    return _called(function, name, inputs, options)


def array_function(x: Tensor, function: Any, types: Any, inputs: Any, options: Any) -> Any:
    """`np.sum(tensor, axis=0)`; where NumPy has other positions, its words are taken."""
    if f := table().get(function):
        with suppress(ValueError):  # an old NumPy does not tell the words of all
            told = signature(function)
            bound, kinds = told.bind(*inputs, **options), [p.kind for p in told.parameters.values()]
            alone = sum(kind is Parameter.POSITIONAL_ONLY for kind in kinds)
            count = max(1, getattr(f, "arity", 1), alone)
            if not {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD} & {*kinds}:
                given = list(bound.arguments.items())
                inputs, options = [value for _, value in given[:count]], dict(given[count:])
    name = f"{function.__module__}.{function.__name__}".replace("numpy.", "np.", 1)
    return _called(function, name, inputs, options)


def array(x: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """`np.asarray(tensor)`."""
    if x.tracked and seen(x, "gives NumPy the numbers of") is not None:
        raise TypeError(
            "a tensor that remembers was given to NumPy, which would forget where it came "
            "from. Use the ops of tg (tg.stack for a list of tensors), or x.data."
        )
    return np.array(x.data, dtype=dtype, copy=copy)


def dlpack(x: Tensor, **options: Any) -> Any:
    """A copy for `from_dlpack` of other libraries, which they may write to."""
    if x.tracked:
        raise TypeError(
            "DLPack: a tensor that remembers was given to another library, which would forget "
            "where it came from. Give it the values: x.data, or x.detach()."
        )
    if options.pop("copy", None) is False:
        raise BufferError("DLPack: copy=False: a tensor's array is read-only. Let it copy.")
    return x.data.copy().__dlpack__(**options)


def dlpack_device(x: Tensor) -> Any:
    """Where its numbers are."""
    return x._array.__dlpack_device__()


def _called(function: Any, name: str, inputs: Any, options: Any) -> Any:
    """The op's answer; or NumPy's own on the values, where no past is lost by that.

    Raises TypeError that names the function where one would be, and for `out=`.
    """
    if options.get("out") is not None:
        raise TypeError(
            f"{name}: out=: a tensor is not written into an array. Leave it out, and use what is "
            "returned; for array += x write array = array + x."
        )
    options = {word: x for word, x in options.items() if x is not None or word not in UNSAID}
    f = table().get(function) or partial(_on_values, function, name)
    return f(*inputs, **options)


def _on_values(function: Any, lost: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's own answer; `lost` is its name, if it would lose the past of a tensor."""

    def values(x: Any) -> Any:
        if type(x) in (list, tuple):
            return type(x)(map(values, x))
        if not isinstance(x, Tensor):
            return x
        if lost and (x.tracked or x._array.__class__ is Outline):
            raise TypeError(
                f"{lost}: tg has no such op, and NumPy would forget where {describe(x)} came from. "
                "Write it with the ops of tg, make an op of it (tg.primitive), or take the values "
                "alone: x.data."
            )
        return x.data

    return function(*map(values, inputs), **{word: values(x) for word, x in options.items()})
