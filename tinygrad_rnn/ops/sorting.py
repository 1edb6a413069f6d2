"""Order along an axis: sorted values, the places they came from, the largest few."""

import numpy as np

from ..limits import whole
from ..op import function, primitive
from ..tensor import Value
from .moving import take_along_axis
from .shape import flip
from .statistics import one_axis

__all__ = ["argsort", "sort", "topk"]


@primitive(None, method=True)
def argsort(x: Value, axis: int | None = -1) -> Value:
    """Return the places of the elements in rising order along an axis, or of all in a row (None).

    What ties keeps its order; NaN comes last. No derivative. It has no form in a compiled loop: a
    scan whose step sorts runs its steps one by one, and says so.

    >>> tg.argsort(tg.tensor([3.0, 1.0, 2.0])).numpy()
    array([1, 2, 0])
    """
    return np.argsort(x, axis, kind="stable")


@function(1)
def sort(x: Value, axis: int | None = -1) -> Value:
    """Return the elements in rising order along an axis, or all in a row (None), NaN last.

    Each gradient goes to where the value came from; what ties keeps its order. In a
    scan see `argsort`.

    >>> tg.sort(tg.tensor([3.0, 1.0, 2.0])).numpy()
    array([1., 2., 3.])
    """
    x, axis = one_axis("sort", x, axis)
    return take_along_axis(x, argsort(x, axis=axis), axis)


@function(1)
def topk(x: Value, k: int, axis: int | None = -1, largest: bool = True) -> tuple[Value, Value]:
    """Return the k largest elements along an axis in falling order, and their places.

    With `largest=False` the smallest, in rising order. Of those that tie, the first comes first;
    NaN is larger than all numbers. Meaning of `torch.topk`, with `axis` for its `dim`. Gradients go
    through the values. In a scan see `argsort`. Raises ValueError for a k larger than the axis.

    >>> values, places = tg.topk(tg.tensor([3.0, 1.0, 2.0]), 2)
    >>> values.numpy(), places.numpy()
    (array([3., 2.]), array([0, 2]))
    """
    x, axis = one_axis("topk", x, axis)
    size = x.shape[axis]
    k = whole("topk", "k", k, 0, size, f", the size of axis {axis}")
    if largest:  # backwards, so that of those that tie the first stays first
        places = size - 1 - flip(argsort(flip(x, axis=axis), axis=axis), axis=axis)
    else:
        places = argsort(x, axis=axis)
    places = places[(slice(None),) * axis + (slice(0, k),)]
    return take_along_axis(x, places, axis), places
