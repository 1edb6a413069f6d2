"""How tensors spell the ops: methods and operators, as each op declares them."""

# mypy: disable-error-code="method-assign,assignment"
from inspect import signature
from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Outline, Tensor, describe
from . import protocols, shape

COMPARISONS = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}
FLAGS = {"__and__": "&", "__or__": "|", "__xor__": "^", "__invert__": "~"}
KNOWN = (Tensor, np.ndarray, np.generic, complex, int, float, list, tuple)


def attach(f: Any) -> None:
    """Give tensors the methods and operators that an op, or a function of ops, declares."""
    names = f.declared.method if hasattr(f, "declared") else ()
    for name in (f.__name__,) if names is True else names or ():
        if name in COMPARISONS:
            _spell(name, f, _compared(f))
        elif name in FLAGS:
            _spell(name, f, _of_flags(FLAGS[name], f))
            if name != "__invert__":  # of two, in which order does not matter
                _spell(f"__r{name[2:]}", f, _of_flags(FLAGS[name], f))
        elif name.startswith("__") and [*signature(getattr(f, "body", f)).parameters] == ["x", "y"]:
            reflected = f"__r{name[2:]}"
            _spell(name, f, _operator(f, reflected))
            _spell(reflected, f, lambda x, y: f(y, x))
            _spell(f"__i{name[2:]}", f, _anew(name))
        elif isinstance(f, Op):
            _spell(name, f, lambda x, *inputs, **words: f(x, *inputs, **words))
        else:
            setattr(Tensor, name, f)


def _spell(name: str, f: Any, method: Any) -> None:
    method.__name__ = method.__qualname__ = name
    method.__doc__, method.__wrapped__ = f.__doc__, getattr(f, "body", f)  # for help()
    setattr(Tensor, name, method)


def _compared(f: Any) -> Any:
    """Compare with numbers, arrays, lists, tensors element by element; all else is not equal."""
    return lambda x, y: f(x, y) if isinstance(y, KNOWN) else NotImplemented


def _of_flags(sign: str, f: Any) -> Any:
    """`mask & other`: of numbers NumPy would take the bits, which no op does."""

    def operator(*inputs: Any) -> Any:
        for x in inputs:
            dtype = x.dtype if isinstance(x, Tensor) else np.asarray(x).dtype
            if dtype.kind != "b":
                raise TypeError(
                    f"{sign}: expected tensors of True and False, got {dtype}. tg.{f.__name__} "
                    "takes numbers as whether they are not 0; for their bits take x.data."
                )
        return f(*inputs)

    return operator


def _operator(f: Any, reflected: str) -> Any:
    """The operator, unless y is an object that itself says what `x @ y` means."""

    def operator(x: Tensor, y: Any) -> Any:
        if type(y) is Tensor:
            return f(x, y)
        theirs = not isinstance(y, KNOWN) and not hasattr(y, "ndim")
        return NotImplemented if theirs and hasattr(y, reflected) else f(x, y)

    return operator


def _anew(name: str) -> Any:
    """`h += y` is `h = h + y`; of a parameter it would train nothing."""

    def in_place(x: Tensor, y: Any) -> Any:
        if x.tracked and x.op is None and x._array.__class__ is not Outline:
            raise TypeError(
                f"in place: {describe(x)} is a leaf that requires gradients, and p -= step would "
                "make another tensor of it, so that nothing is trained. Write p.data = p.data - "
                "step, or use tg.optim; for a new tensor write y = p - step."
            )
        return getattr(x, name)(y)

    return in_place


def _unwrapped(numbers: tuple[Any, ...]) -> Any:
    """`x.reshape(2, 3)` and `x.reshape((2, 3))` say the same."""
    return numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], int) else numbers


Tensor.T = property(lambda x: shape.transpose(x), doc=shape.transpose.__doc__)
Tensor.__iter__ = lambda x: iter(shape.unstack(x))
Tensor.reshape = lambda x, *size: shape.reshape(x, shape=_unwrapped(size))
Tensor.transpose = lambda x, *axes: shape.transpose(x, axes=_unwrapped(axes) or None)
Tensor.reshape.__doc__, Tensor.transpose.__doc__ = shape.reshape.__doc__, shape.transpose.__doc__
for _name in ("array", "array_function", "array_ufunc", "dlpack", "dlpack_device"):
    setattr(Tensor, f"__{_name}__", getattr(protocols, _name))
