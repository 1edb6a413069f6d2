"""Products of matrices."""

from math import prod

from .. import kernels
from ..op import function, primitive
from ..tensor import Value
from .shape import reshape, swapaxes

__all__ = ["matmul"]
FAMILY = "product"  # of these ops, in pictures


@primitive(
    lambda g, z, x, y: _matmul(g, turned(y)),
    lambda g, z, x, y: _matmul(turned(flat(x, y)), flat(g, y)),
    sign="@",
    loop="multiplied",
)
def _matmul(x: Value, y: Value) -> Value:
    """The matrix product of two stacks of matrices, or of a stack and one matrix."""
    return kernels.matmul(x, y)


def turned(x: Value) -> Value:
    """Each matrix with its rows as columns."""
    return x.T if x.ndim == 2 else swapaxes(x, axis1=-2, axis2=-1)


def flat(x: Value, y: Value) -> Value:
    """A stack of matrices under each other, when they all meet the same matrix y."""
    return reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1])) if y.ndim == 2 < x.ndim else x


@function(2, method=("__matmul__",))
def matmul(x: Value, y: Value) -> Value:
    """Return x @ y, as NumPy has it: a vector is a row on the left, a column on the right.

    >>> tg.matmul(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), [1.0, 10.0])
    tensor([21., 43.], dtype=float64)
    """
    left, right = x.ndim, y.ndim
    if left > 1 and right > 1:
        return _matmul(x, y)
    if not left or not right:
        raise ValueError("matmul: a number has no matrix product; use * instead")
    z = _matmul(
        reshape(x, shape=(1, -1)) if left == 1 else x,
        reshape(y, shape=(-1, 1)) if right == 1 else y,
    )
    shape = z.shape[:-2] + z.shape[-2:-1] * (left > 1) + z.shape[-1:] * (right > 1)
    return reshape(z, shape=shape)
