"""What ops are called in a picture, and which colours they share."""

from __future__ import annotations

from functools import cache

from ..tape import Record
from ..tape.words import literal

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


@cache
def glyph(name: str) -> str:
    """The sign, or the name, of an op."""
    return _glyphs.get(name, literal(name.replace("_", " "), 20))


def sign(r: Record) -> str:
    """What the op of a record is called in a picture: an own one is never called by a sign."""
    return glyph(r.op) if r.verb else literal(r.op.replace("_", " "), 20)
