"""Tensors made of nothing, as NumPy makes arrays: dtypes are NumPy's, float64 unless told."""

from typing import Any

import numpy as np

from ..op import function
from ..tensor import Value, as_array, owned

__all__ = [
    "arange", "eye", "full", "full_like", "linspace", "ones", "ones_like", "zeros", "zeros_like",
]  # fmt: skip


@function()
def zeros(shape: Any, dtype: Any = float) -> Value:
    """Return a tensor of zeros.

    >>> tg.zeros((2, 2))
    tensor([[0., 0.],
            [0., 0.]], dtype=float64)
    """
    return full(shape, 0, dtype)


@function()
def ones(shape: Any, dtype: Any = float) -> Value:
    """Return a tensor of ones.

    >>> tg.ones(3, dtype=np.float32)
    tensor([1., 1., 1.], dtype=float32)
    """
    return full(shape, 1, dtype)


@function()
def full(shape: Any, fill_value: Any, dtype: Any = None) -> Value:
    """Return a tensor of one number everywhere, of its dtype unless told.

    >>> tg.full((2,), 0.5)
    tensor([0.5, 0.5], dtype=float64)
    """
    if isinstance(dtype, int):
        raise TypeError(f"dtype: got {dtype}: give the shape as one tuple, ({shape}, {dtype})")
    one = as_array(np.asarray(fill_value), dtype)
    return owned(np.full(shape, one, one.dtype))


@function()
def zeros_like(x: Value, dtype: Any = None) -> Value:
    """Return zeros of the shape and dtype of x.

    >>> tg.zeros_like(tg.tensor([1.0, 2.0]))
    tensor([0., 0.], dtype=float64)
    """
    return full_like(x, 0, dtype)


@function()
def ones_like(x: Value, dtype: Any = None) -> Value:
    """Return ones of the shape and dtype of x.

    >>> tg.ones_like(tg.tensor([3, 4]))
    tensor([1, 1], dtype=int64)
    """
    return full_like(x, 1, dtype)


@function(1)
def full_like(x: Value, fill_value: Any, dtype: Any = None) -> Value:
    """Return one number everywhere, in the shape and dtype of x.

    >>> tg.full_like(tg.tensor([1.0, 2.0]), 7)
    tensor([7., 7.], dtype=float64)
    """
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


@function()
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = float) -> Value:
    """Return a matrix (N, M) of ones on the k-th diagonal and zeros elsewhere; M is N unless told.

    >>> tg.eye(2)
    tensor([[1., 0.],
            [0., 1.]], dtype=float64)
    """
    return owned(as_array(np.eye(N, M, k, dtype)))


@function()
def arange(*range_: Any, dtype: Any = None) -> Value:
    """Return the numbers from start (0) to before stop by step (1): `arange(stop)`, or all three.

    >>> tg.arange(1, 7, 2)
    tensor([1, 3, 5], dtype=int64)
    """
    return owned(_in(dtype, lambda dtype: np.arange(*range_, dtype=dtype)))


@function()
def linspace(
    start: Value, stop: Value, num: int = 50, endpoint: bool = True, dtype: Any = None
) -> Value:
    """Return so many numbers at equal distances from start to stop, which is the last or left out.

    >>> tg.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float64)
    """
    ends = np.asarray(start), np.asarray(stop)
    return owned(_in(dtype, lambda dtype: np.linspace(*ends, num, endpoint, dtype=dtype)))


def _in(dtype: Any, make: Any) -> Any:
    """Numbers in a dtype: of whole ones, those that NumPy would cut a fraction off are refused."""
    if dtype is None or np.dtype(dtype).kind not in "iu":
        return as_array(make(dtype))
    made = make(None)
    whole = np.rint(made) if made.dtype.kind == "f" else made  # large ones are no floats
    close = np.abs(made - whole) < 1e-9
    return as_array(np.where(close, whole, made), dtype)
