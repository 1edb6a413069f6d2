"""Activations by name: functions of a tensor, element by element, made of the verbs.

Where frameworks mean different functions by one name, the name alone is that of ONNX (with the
constants it takes for granted), and `_keras` is what Keras 3 means by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..ops import abs, exp, maximum, minimum, relu, sigmoid, softplus, tanh, where
from ..tensor import Tensor

Activation: TypeAlias = "Callable[[Tensor], Tensor]"

# The steeper an activation can be, the less a
# gradient vanishes and the sooner it explodes: the largest derivative is given with each (S18).


def identity(x: Tensor) -> Tensor:
    """x; derivative 1."""
    return x


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|); derivative at most 1, at 0."""
    return x / (1 + abs(x))


def hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """max(0, min(1, αx + β)); derivative at most |α|, half of it at the corners.

    That of ONNX and of Keras before 3. Keras 3 and PyTorch mean `hard_sigmoid_keras` by it.
    """
    return maximum(0, minimum(1, alpha * x + beta))


def hard_sigmoid_keras(x: Tensor) -> Tensor:
    """min(6, max(0, x + 3)) / 6, "hard_sigmoid" in Keras 3, Hardsigmoid in PyTorch; at most 1/6."""
    return hard_sigmoid(x, alpha=1 / 6)


def leaky_relu(x: Tensor, alpha: float = 0.01) -> Tensor:
    """x where x >= 0, else αx, as in ONNX and PyTorch; derivative at most max(1, |α|)."""
    return where(x >= 0, x, alpha * x)


def leaky_relu_keras(x: Tensor) -> Tensor:
    """x where x >= 0, else 0.2 x, which is "leaky_relu" in Keras 3; derivative at most 1."""
    return leaky_relu(x, alpha=0.2)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x >= 0, else α (eˣ - 1); derivative at most max(1, |α|)."""
    low = where(x >= 0, 0, x)  # the side that is not taken would overflow
    return where(x >= 0, x, alpha * (exp(low) - 1))


def thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > α, else 0; derivative at most 1. It jumps at α."""
    return where(x > alpha, x, 0)


def scaled_tanh(x: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """α tanh(βx); derivative at most |αβ|, at 0."""
    return alpha * tanh(beta * x)


def affine(x: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """αx + β; derivative α."""
    return alpha * x + beta


ACTIVATIONS: dict[str, Activation] = {
    "identity": identity,
    "tanh": tanh,  # derivative at most 1, at 0
    "sigmoid": sigmoid,  # 1 / (1 + e⁻ˣ); derivative at most 1/4, at 0
    "relu": relu,  # max(0, x); derivative at most 1
    "softplus": softplus,  # log(1 + eˣ); derivative below 1
    "softsign": softsign,
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid_keras": hard_sigmoid_keras,
    "leaky_relu": leaky_relu,
    "leaky_relu_keras": leaky_relu_keras,
    "elu": elu,
    "thresholded_relu": thresholded_relu,
    "scaled_tanh": scaled_tanh,
    "affine": affine,
}


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
