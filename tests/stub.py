"""Writes `tinygrad_rnn/methods.pyi`: what tensors spell, for type checkers, from the declarations.

    python tests/stub.py

A test compares the file with what this would write.
"""

import inspect
from pathlib import Path

import tinygrad_rnn as tg

PATH = Path(tg.__file__).with_name("methods.pyi")
HEAD = '''"""What tensors spell, as the ops declare it: written by tests/stub.py."""

# fmt: off
# ruff: noqa: E501

from collections.abc import Iterator
from typing import Any

from .tensor import Axis, Operand, Tensor

class Methods:
    T: Tensor
'''
GIVEN = {
    "backward": "(self, gradient: Operand | None = None, *, retain_graph: bool = False) -> None",
    "backward_steps": "(self, gradient: Operand | None = None) -> Iterator[Any]",
    "register_hook": "(self, hook: Any) -> Any",
    "__iter__": "(self) -> Iterator[Tensor]",
    "__array__": "(self, dtype: Any = None, copy: bool | None = None) -> Any",
    "__dlpack__": "(self, **options: Any) -> Any",
    "__dlpack_device__": "(self) -> Any",
}
IN_PLACE = ("iad", "isu", "imu", "itr", "ipo", "ima", "ifl", "imo")  # made by Python of the others
OTHERS = {"index": "Any", "dtype": "Any", "axis": "Axis", "other": "Operand"}


def parameter(name, dunder, p):
    """One parameter with its type, which its name or its default tells."""
    if p.kind is p.VAR_POSITIONAL:
        return f"*{p.name}: Any"
    word = "other" if dunder and p.name == "y" else p.name
    kind = "object" if name in ("__eq__", "__ne__") else OTHERS.get(word, "Operand")
    if p.default is p.empty:
        return f"{word}: {kind}"
    kind = (
        "bool"
        if isinstance(p.default, bool)
        else "int"
        if type(p.default) is int and kind == "Operand"
        else kind
    )
    kind += " | None" if p.default is None and "Operand" in kind else ""
    return f"{word}: {kind} = {p.default!r}"


def text():
    """The whole stub."""
    plain = {name for name, f in vars(tg.Tensor).items() if f.__class__.__name__ == "function"}
    made = [n for n in vars(tg.Tensor) if n in plain and spelled(n) and n[2:5] not in IN_PLACE]
    lines = []
    for name in [*made, *(n for n in GIVEN if n not in made)]:
        dunder = name.startswith("__")
        rest = [*inspect.signature(getattr(tg.Tensor, name)).parameters.values()][1:]
        if name.startswith("__r"):
            rest = [inspect.Parameter("y", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        words = ", ".join(["self", *(parameter(name, dunder, p) for p in rest)])
        line = GIVEN.get(name, f"({words}) -> Tensor")
        ignored = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
        lines.append(f"    def {name}{line}: ...{ignored}\n")
    return HEAD + "".join(lines)


def spelled(name):
    """Whether a method was attached by the ops, the class itself not having it."""
    module = getattr(tg.Tensor, name).__module__
    return module.startswith("tinygrad_rnn.ops.") and not module.endswith(".protocols")


if __name__ == "__main__":
    PATH.write_text(text(), "utf-8")
