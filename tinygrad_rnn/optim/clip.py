"""Keep one bad step from throwing the weights away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import kernels
from ..limits import number
from ..quiet import quiet
from ..tensor import Tensor, owned


class Diverged(RuntimeError):
    """Gradients are NaN or infinite: a step would throw the weights away.

    >>> W = tg.tensor([1.0], requires_grad=True)
    >>> (W * np.inf).sum().backward()
    >>> try:
    ...     tg.optim.clip_grad_norm([W], 1.0, error_if_nonfinite=True)
    ... except tg.optim.Diverged:
    ...     print("the step is left out")
    the step is left out
    """


def clip_grad_norm(
    parameters: Iterable[Tensor] | Any, max_norm: float, *, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients down together so that their joint norm is at most `max_norm`.

    `parameters` is a module, or tensors. Returns the norm before. Direction is kept (Pascanu et
    al. 2013); parameters without a gradient do not count, and of none at all the norm is 0. A NaN
    or infinite norm is returned and the gradients are left as they are; `error_if_nonfinite`
    raises Diverged instead.

    >>> W = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> (W * W / 2).sum().backward()
    >>> tg.optim.clip_grad_norm([W], 1.0)
    5.0
    >>> W.grad.data.round(6).tolist()
    [0.6, 0.8]
    """
    number("clip_grad_norm", "max_norm", max_norm, "(0, inf]")
    found = _with_gradients("clip_grad_norm", parameters)
    norm = euclidean([x.grad.data for x in found if x.grad is not None])
    if not math.isfinite(norm):
        if error_if_nonfinite:
            raise Diverged(
                f"the norm of the gradients is {norm}. Try a smaller learning rate; "
                "tg.detect_anomaly() finds the op that a NaN comes from."
            )
        return norm
    if norm > max_norm:
        factor = max_norm / norm
        for x in found:
            assert x.grad is not None
            if factor < 1e-30:  # which float32 has no digits for
                scaled = np.multiply(x.grad.data, factor, dtype=np.float64)
                x.grad = owned(scaled.astype(x.grad.dtype))
            else:
                x.grad = x.grad * factor
    return norm


def clip_grad_value(parameters: Iterable[Tensor] | Any, limit: float) -> float:
    """Bring every element of the gradients into [-limit, limit].

    `parameters` is a module, or tensors. Returns the largest magnitude before, 0 of no gradients.
    Direction is not kept: see `clip_grad_norm`. Infinity becomes the limit; NaN stays, and is
    returned.

    >>> W = tg.tensor([3.0, 0.5], requires_grad=True)
    >>> (W * W / 2).sum().backward()
    >>> tg.optim.clip_grad_value([W], 1.0)
    3.0
    >>> W.grad.data.tolist()
    [1.0, 0.5]
    """
    number("clip_grad_value", "limit", limit, "(0, inf]")
    largest = 0.0
    for x in _with_gradients("clip_grad_value", parameters):
        assert x.grad is not None
        size = float(np.abs(x.grad.data).max(initial=0))
        largest = float(np.maximum(largest, size))  # NaN wins
        if not size <= limit:
            most = min(limit, float(np.finfo(x.grad.dtype).max))
            x.grad = owned(x.grad.data.clip(-most, most))
    return largest


def _with_gradients(who: str, parameters: Iterable[Tensor] | Any) -> list[Tensor]:
    if hasattr(parameters, "parameters"):
        parameters = parameters.parameters()
    if isinstance(parameters, Tensor):
        raise TypeError(f"{who}: parameters: expected a list of tensors, got one tensor")
    given = list(parameters) if isinstance(parameters, Iterable) else [parameters]
    if odd := [x for x in given if not isinstance(x, Tensor)]:
        kind = type(odd[0]).__name__
        raise TypeError(f"{who}: parameters: expected a module or a list of tensors, got {kind}")
    return [x for x in dict.fromkeys(given) if x.grad is not None]


SAFE = 1e-280  # a sum of squares above it has lost no digits to squares too small for a float64


@quiet
def euclidean(arrays: list[np.ndarray]) -> float:
    """The Euclidean norm of arrays together, also where their squares would overflow.

    NaN or infinite only if there is one in them; of nothing it is 0.
    """
    total = sum(map(kernels.square_sum, arrays))
    if SAFE < total < math.inf:
        return math.sqrt(total)
    largest = float(np.max([np.abs(a).max(initial=0) for a in arrays], initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(
        sum(float(np.square(a / largest, dtype=np.float64).sum()) for a in arrays)
    )
