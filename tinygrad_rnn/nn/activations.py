"""Activations by name: functions of a tensor, element by element.

Where frameworks mean different functions by one name, the name alone is that of ONNX (with the
constants it takes for granted), and `_keras` is what Keras 3 means by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..ops import elu, hard_sigmoid, leaky_relu, relu, sigmoid, softplus, softsign, tanh, where
from ..tensor import Tensor

Activation: TypeAlias = "Callable[[Tensor], Tensor]"


def identity(x: Tensor) -> Tensor:
    """x; derivative 1."""
    return x


def hard_sigmoid_keras(x: Tensor) -> Tensor:
    """min(6, max(0, x + 3)) / 6, "hard_sigmoid" in Keras 3, Hardsigmoid in PyTorch; at most 1/6."""
    return hard_sigmoid(x, alpha=1 / 6)


def leaky_relu_keras(x: Tensor) -> Tensor:
    """x where x >= 0, else 0.2 x, which is "leaky_relu" in Keras 3; derivative at most 1."""
    return leaky_relu(x, alpha=0.2)


def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > α, else 0; derivative at most 1. It jumps at α."""
    return where(x > alpha, x, 0)


def scaled_tanh(x: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """α tanh(βx); derivative at most |αβ|, at 0."""
    return alpha * tanh(beta * x)


def affine(x: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """αx + β; derivative α."""
    return alpha * x + beta


_KNOWN: list[Any] = [identity, tanh, sigmoid, relu, softplus, softsign, hard_sigmoid]
_KNOWN += [hard_sigmoid_keras, leaky_relu, leaky_relu_keras, elu]
_KNOWN += [thresholded_relu, scaled_tanh, affine]
ACTIVATIONS: dict[str, Activation] = {f.__name__: f for f in _KNOWN}


def activation(who: str, given: Any) -> Activation:
    """The activation of that name, or the function that was given.

    Raises ValueError for another name and TypeError for what is neither, saying `who` was asked.

    >>> tg.nn.activation("mine", "relu") is tg.relu
    True
    """
    if callable(given):
        return given
    if isinstance(given, str) and given in ACTIVATIONS:
        return ACTIVATIONS[given]
    kind = ValueError if isinstance(given, str) else TypeError
    raise kind(
        f"{who}: activation: expected {', '.join(map(repr, ACTIVATIONS))} or a function, "
        f"got {given!r}"
    )


def name_of(function: Activation) -> str | None:
    """Its name in `ACTIVATIONS`, or None for a function of one's own."""
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)
