"""Keep one bad step from throwing the weights away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..tensor import Tensor


def clip_grad_norm(
    parameters: Iterable[Tensor] | Any, max_norm: float, *, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients down together so that their joint norm is at most `max_norm`.

    `parameters` is a module, or tensors. Returns the norm before. Direction is kept (Pascanu et
    al. 2013); parameters without a gradient do not count, and of none at all the norm is 0. A NaN
    or infinite norm is returned and the gradients are left as they are; `error_if_nonfinite`
    raises RuntimeError instead.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm: expected a positive number, got {max_norm}")
    if hasattr(parameters, "parameters"):
        parameters = parameters.parameters()
    if isinstance(parameters, Tensor):
        raise TypeError("clip_grad_norm: parameters: expected a list of tensors, got one tensor")
    found = [x for x in parameters if x.grad is not None]
    norm = _norm([x.grad.data for x in found if x.grad is not None])
    if not math.isfinite(norm):
        if error_if_nonfinite:
            raise RuntimeError(
                f"clip_grad_norm: the norm of the gradients is {norm}. tg.detect_anomaly() finds "
                "the op a NaN comes from."
            )
        return norm
    if norm > max_norm:
        for x in found:
            x.grad = x.grad * (max_norm / norm) if x.grad is not None else None
    return norm


def _norm(arrays: list[np.ndarray]) -> float:
    """The joint Euclidean norm, where even the squares of its parts would overflow."""
    largest = max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)
    if largest == 0 or not math.isfinite(largest):
        return largest
    with np.errstate(all="ignore"):
        return largest * math.sqrt(
            sum(float(np.square(a / largest, dtype=np.float64).sum()) for a in arrays)
        )
