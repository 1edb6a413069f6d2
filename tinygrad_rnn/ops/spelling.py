"""How tensors spell the ops: operators and methods, each attached once, here."""

# mypy: disable-error-code="method-assign,assignment,misc"

import numpy as np

from ..tensor import Outline, Tensor, describe
from . import arithmetic, linear, protocols, reduce, shape


def _compared(op):
    """With numbers, arrays, lists and tensors element by element; anything else is not equal."""
    known = (Tensor, np.ndarray, np.generic, complex, int, float, list, tuple)
    return lambda x, y: op(x, y) if isinstance(y, known) else NotImplemented


def _anew(name):
    """`h += y` is `h = h + y`; of a parameter it would train nothing."""

    def in_place(x, y):
        if x.tracked and x.op is None and x._array.__class__ is not Outline:
            raise TypeError(
                f"in place: {describe(x)} is a leaf that requires gradients, and p -= step would "
                "make another tensor of it, so that nothing is trained. Write p.data = p.data - "
                "step, or use tg.optim; for a new tensor write y = p - step."
            )
        return getattr(x, name)(y)

    return in_place


Tensor.__add__ = lambda x, y: arithmetic.add(x, y)
Tensor.__radd__ = lambda x, y: arithmetic.add(y, x)
Tensor.__sub__ = lambda x, y: arithmetic.sub(x, y)
Tensor.__rsub__ = lambda x, y: arithmetic.sub(y, x)
Tensor.__mul__ = lambda x, y: arithmetic.mul(x, y)
Tensor.__rmul__ = lambda x, y: arithmetic.mul(y, x)
Tensor.__truediv__ = lambda x, y: arithmetic.div(x, y)
Tensor.__rtruediv__ = lambda x, y: arithmetic.div(y, x)
Tensor.__pow__ = lambda x, y: arithmetic.power(x, y)
Tensor.__rpow__ = lambda x, y: arithmetic.power(y, x)
Tensor.__matmul__ = lambda x, y: linear.matmul(x, y) if _is_matrix(y) else NotImplemented
Tensor.__rmatmul__ = lambda x, y: linear.matmul(y, x)
Tensor.__neg__ = lambda x: arithmetic.neg(x)
Tensor.__abs__ = lambda x: arithmetic.abs(x)
Tensor.__eq__ = _compared(arithmetic.equal)
Tensor.__ne__ = _compared(arithmetic.not_equal)
Tensor.__lt__ = lambda x, y: arithmetic.less(x, y)
Tensor.__le__ = lambda x, y: arithmetic.less_equal(x, y)
Tensor.__gt__ = lambda x, y: arithmetic.greater(x, y)
Tensor.__ge__ = lambda x, y: arithmetic.greater_equal(x, y)
Tensor.__getitem__ = shape.getitem
Tensor.__iter__ = lambda x: iter(shape.unstack(x))
for _name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    setattr(Tensor, f"__i{_name}__", _anew(f"__{_name}__"))
for _method in (protocols.array_ufunc, protocols.array_function):
    setattr(Tensor, f"__{_method.__name__}__", _method)

Tensor.T = property(lambda x: shape.transpose(x))
Tensor.reshape = lambda x, *shape_: shape.reshape(x, shape=_unwrapped(shape_))
Tensor.transpose = lambda x, *axes: shape.transpose(x, axes=_unwrapped(axes) or None)

Tensor.abs = lambda x: arithmetic.abs(x)
Tensor.exp = lambda x: arithmetic.exp(x)
Tensor.log = lambda x: arithmetic.log(x)
Tensor.sqrt = lambda x: arithmetic.sqrt(x)
Tensor.tanh = lambda x: arithmetic.tanh(x)
Tensor.sigmoid = lambda x: arithmetic.sigmoid(x)
Tensor.relu = lambda x: arithmetic.relu(x)
Tensor.astype = lambda x, dtype: arithmetic.astype(x, dtype=dtype)

Tensor.sum = lambda x, axis=None, keepdims=False: reduce.sum(x, axis, keepdims)
Tensor.mean = lambda x, axis=None, keepdims=False: reduce.mean(x, axis, keepdims)
Tensor.max = lambda x, axis=None, keepdims=False: reduce.max(x, axis, keepdims)
Tensor.min = lambda x, axis=None, keepdims=False: reduce.min(x, axis, keepdims)
Tensor.softmax = lambda x, axis=-1: reduce.softmax(x, axis)
Tensor.log_softmax = lambda x, axis=-1: reduce.log_softmax(x, axis)


for _name, _method in vars(Tensor).copy().items():
    if getattr(_method, "__module__", None) == __name__:  # the verb's own words, for help()
        _verb = next(
            (vars(m)[_name] for m in (arithmetic, reduce, shape) if _name in vars(m)), None
        )
        _method.__name__ = _method.__qualname__ = _name
        _method.__doc__ = getattr(_verb, "__doc__", None)


def _is_matrix(y):
    """Whether y is no object that itself says what x @ y means."""
    return y.__class__ is Tensor or hasattr(y, "ndim") or not hasattr(y, "__rmatmul__")


def _unwrapped(numbers):
    """`x.reshape(2, 3)` and `x.reshape((2, 3))` say the same."""
    return numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], int) else numbers
