"""Derivatives by numerical differences, for tests and doubters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .grad import grad
from .limits import number, whole
from .randomness import Random, generator
from .tensor import Operand, Tensor


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Operand],
    order: int = 2,
    *,
    step: float = 1e-3,
    tolerance: float = 1e-6,
    rng: Random = 0,
) -> None:
    """Assert that the derivatives of `f(*args)`, up to an order, are what small steps show.

    f takes tensors and returns a tensor or a tuple of them. Along a random direction the slope of a
    random projection of f is compared with a five-point difference of error O(step⁴); then the same
    is asked of the gradient itself, up to `order`. Work is in float64; integer and bool arguments
    are held fixed. Raises AssertionError saying at which order, and both numbers.

    >>> tg.check_grads(lambda x, y: tg.tanh(x) / y, [[0.5, -1.0], [2.0, 3.0]])
    >>> tg.check_grads(lambda x: x * x.detach(), [[0.5]], order=1)
    Traceback (most recent call last):
    AssertionError: <lambda>: derivative of order 1: numerically ..., got ...
    """
    if not callable(f):
        raise TypeError(f"check_grads: f: expected a function, got {type(f).__name__}")
    if not isinstance(args, list | tuple):
        raise TypeError(f"check_grads: args: expected a list of arrays, got {type(args).__name__}")
    rng = generator("check_grads", rng)
    arrays = [a.data if isinstance(a, Tensor) else np.asarray(a) for a in args]
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    if not any(a.dtype.kind == "f" for a in arrays):
        raise TypeError("check_grads: args: expected floats in one of them: all others are fixed")
    whole("check_grads", "order", order, 1)
    number("check_grads", "step", step, "(0, inf)")
    name = getattr(f, "__name__", repr(f))
    for degree in range(1, order + 1):
        _check_slope(f, arrays, f"{name}: derivative of order {degree}", step, tolerance, rng)
        f = _gradient_of(f, rng)


def _check_slope(f: Any, arrays: Any, what: str, step: float, tolerance: float, rng: Any) -> None:
    xs = _leaves(arrays)
    ways = [rng.normal(size=x.shape) if x.requires_grad else None for x in xs]
    ys = _tuple(f(*xs))
    weights = [rng.normal(size=y.shape) for y in ys]

    def projected(s: float) -> float:
        moved = _leaves(a if v is None else a + s * v for a, v in zip(arrays, ways, strict=True))
        pairs = zip(_tuple(f(*moved)), weights, strict=True)
        return sum(float((y.data * w).sum()) for y, w in pairs)

    near, far = projected(step) - projected(-step), projected(2 * step) - projected(-2 * step)
    numeric = (8 * near - far) / (12 * step)
    exact, scale = 0.0, 1.0
    for g, v in zip(_gradients(ys, weights, xs), ways, strict=True):
        if v is not None:
            exact += float((g.data * v).sum())
            scale += float(np.abs(g.data * v).sum())
    error = abs(numeric - exact)
    if not error <= tolerance * scale:
        raise AssertionError(f"{what}: numerically {numeric:.12g}, got {exact:.12g}")


def _gradient_of(f: Callable[..., Any], rng: Any) -> Callable[..., Any]:
    """The gradient of a random projection of f, as a function to be checked in its turn."""
    seed = int(rng.integers(2**31))

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        ys = _tuple(f(*xs))
        weights = [generator("check_grads", seed).normal(size=y.shape) for y in ys]
        gs = _gradients(ys, weights, xs, create_graph=True)
        return tuple(g for g, x in zip(gs, xs, strict=True) if x.requires_grad)

    return gradient


def _gradients(ys: Any, weights: Any, xs: Any, create_graph: bool = False) -> list[Any]:
    total = Tensor(0.0)
    for y, w in zip(ys, weights, strict=True):
        total = total + (y * w).sum()
    wrt = [x for x in xs if x.requires_grad]
    found: list[Any] = [None] * len(wrt)
    if total.requires_grad:
        found = grad(total, wrt, create_graph=create_graph, allow_unused=True)
    zeros = [Tensor(np.zeros(x.shape)) if g is None else g for g, x in zip(found, wrt, strict=True)]
    each = iter(zeros)
    return [next(each) if x.requires_grad else None for x in xs]


def _leaves(arrays: Any) -> list[Tensor]:
    return [Tensor(a, requires_grad=np.asarray(a).dtype.kind == "f") for a in arrays]


def _tuple(ys: Any) -> tuple[Any, ...]:
    return tuple(ys) if isinstance(ys, tuple | list) else (ys,)
