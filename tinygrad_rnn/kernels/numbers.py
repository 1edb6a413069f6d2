"""Functions of one number, from which ops are made, and what a loop knows them by.

As they stand here they are NumPy's; inside compiled code Numba finds those of `pointwise.py`.
"""

from types import CellType, FunctionType
from typing import Any, NamedTuple

import numpy as np


class Called(NamedTuple):
    """A function that the text of a loop calls: of numbers of a dtype, or of whole arrays (None).

    `around` is all that somebody else's reads besides its inputs; None of the library's.
    """

    function: Any
    dtype: Any
    around: Any = None


def exp(x: Any) -> Any:
    """e to the power of a number."""
    return np.exp(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent of a number."""
    return np.tanh(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of a number, without overflow at either end."""
    e = np.exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) of a number, without overflow."""
    return np.logaddexp(x, 0.0)


def tanh_slope(y: Any, x: Any) -> Any:
    """1 - y² of y = tanh(x), by x alone: by y it would cancel where y is near 1."""
    e = np.exp(-2.0 * abs(x))
    return 4.0 * (e / ((1.0 + e) * (1.0 + e)))


def sigmoid_slope(y: Any, x: Any) -> Any:
    """y (1 - y) of y = σ(x), by x alone."""
    e = np.exp(-abs(x))
    return e / ((1.0 + e) * (1.0 + e))


def maximum(x: Any, y: Any) -> Any:
    """The larger of two numbers; NaN if either is."""
    return np.maximum(x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two numbers; NaN if either is."""
    return np.minimum(x, y)


def alike(x: Any, y: Any) -> Any:
    """A number in the dtype of another."""
    return np.asarray(y).dtype.type(x)


def typed(number: Any, dtype: Any) -> Any:
    """A function whose constants with a point have a dtype, where it can hold them.

    So they are beside an array in NumPy. Numba would make float64 of everything that they meet.
    """
    if not isinstance(number, FunctionType):
        return number
    world, code = number.__globals__, number.__code__
    known = {name: constant(world[name], dtype) for name in code.co_names if name in world}
    code = code.replace(co_consts=constant(code.co_consts, dtype))
    cells = tuple([CellType(constant(c.cell_contents, dtype)) for c in number.__closure__ or ()])
    defaults = constant(number.__defaults__, dtype)
    made = FunctionType(code, world | known, number.__name__, defaults, cells or None)
    made.__kwdefaults__ = number.__kwdefaults__
    return made


def constant(value: Any, dtype: Any) -> Any:
    """A constant in a dtype; what is no float, or has no equal there, as it is."""
    if type(value) is tuple:
        return tuple([constant(part, dtype) for part in value])
    if type(value) is not float:
        return value
    if dtype.kind in "iu":
        holds = value.is_integer() and 0 <= value <= np.iinfo(dtype).max
        return dtype.type(int(value)) if holds else value
    return dtype.type(value) if dtype.kind == "f" else value


def identity(number: Any) -> Any:
    """What a function of ours is in the key of compiled code: its place, code and constants."""
    if not isinstance(number, FunctionType):
        return number.__module__, number.__qualname__
    code, world = number.__code__, number.__globals__
    cells = [c.cell_contents for c in number.__closure__ or ()]
    read = [*map(world.get, code.co_names), *cells]
    plain = [x for x in read if isinstance(x, float | int | tuple)]
    constants = (code.co_consts, code.co_names, plain, number.__defaults__)
    return number.__module__, number.__qualname__, code.co_code, repr(constants)
