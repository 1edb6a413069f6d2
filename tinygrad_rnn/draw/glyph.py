"""What ops are called in a picture, and which colours they share."""

from __future__ import annotations

from functools import cache

from ..tensor import Tensor
from .text import literal

_glyphs = {
    **{"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−x", "matmul": "@"},
    **{"sigmoid": "σ", "sum": "Σ", "sqrt": "√", "power": "xʸ", "abs": "|x|", "exp": "eˣ"},
    **{"less": "<", "greater": ">", "less_equal": "≤", "greater_equal": "≥"},
    **{"equal": "=", "not_equal": "≠", "transpose": "ᵀ", "cross_entropy": "cross entropy"},
    **{"log_softmax": "log softmax", "sum_to": "sum to"},
}
FAMILIES = {
    "matmul": "product",
    **dict.fromkeys(["add", "sub", "neg"], "sum"),
    **dict.fromkeys(["mul", "div", "power"], "scale"),
    "cross_entropy": "loss",
    **dict.fromkeys(["split", "stack", "unstack", "concat", "reshape", "transpose"], "move"),
    **dict.fromkeys(["swapaxes", "broadcast_to", "sum_to", "flip", "take", "put"], "move"),
    **dict.fromkeys(["astype", "embedding"], "move"),
    **dict.fromkeys(
        ["sigmoid", "tanh", "relu", "softplus", "softmax", "log_softmax", "exp", "log", "sqrt"],
        "curve",
    ),
}


def verb(y: Tensor) -> str:
    """Which op of the library's made it; "" of a leaf, and of an own op whatever it is called."""
    return y.op.name if y.op is not None and y.op.ours else ""


@cache
def glyph(name: str) -> str:
    """The sign, or the name, of an op."""
    return _glyphs.get(name, literal(name.replace("_", " "), 20))
