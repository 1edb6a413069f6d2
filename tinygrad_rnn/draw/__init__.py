"""Pictures: the graph a tensor remembers, unrolled in time; and a curve of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from .chart import curve
    from .figure import Figure, Picture
    from .render import GraphvizNotFound

__all__ = ["Figure", "GraphvizNotFound", "Picture", "curve", "draw"]

# What draws is imported when something is drawn: most programs never do.
_homes = {"curve": "chart", "Figure": "figure", "Picture": "figure", "GraphvizNotFound": "render"}


def __getattr__(name: str) -> Any:
    if name not in _homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_homes[name]}", __name__), name)


def draw(
    outputs: Tensor | Sequence[Tensor], *, first: int = 3, last: int = 1, title: str | None = None
) -> Figure:
    """Draw what the outputs came from: time to the right, layers upwards.

    The scopes say what goes where: in `layer0/t=3`, `t=3` is the time step, and what stands before
    it the layer. A parameter that steps share is a small chip in each of them, with a line in the
    legend. Under `backward(retain_graph=True)` every node shows its gradient's Euclidean norm.
    Compiled loops are drawn as their steps, within which gradients are known under `unroll=True`
    only. Nothing is changed or kept alive.

    outputs: the tensors to explain, for example the loss.
    first, last: how many time steps to show at either end; two or more in between are folded.
    title: a line above the picture.

    Raises RuntimeError for a graph that `backward()` has freed, ValueError when there is nothing to
    draw or more than 3000 nodes, TypeError when something is not a tensor.
    """
    if not isinstance(outputs, Tensor | list | tuple):
        raise TypeError(f"draw: outputs: expected tensors, got {type(outputs).__name__}")
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if not outputs:
        raise ValueError("draw: expected at least one tensor, got an empty sequence")
    for x in outputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"draw: outputs: expected tensors, got {type(x).__name__}")
    for word, steps in (("first", first), ("last", last)):
        if not isinstance(steps, int) or steps < 0:
            raise ValueError(f"draw: {word}: expected a number of steps, 0 or more, got {steps!r}")
    if first + last == 0:
        raise ValueError("draw: first and last are both 0, so that no step would be shown")
    from .caption import add_caption
    from .figure import Figure
    from .graph import read
    from .plain import Plain
    from .unrolled import Unrolled

    graph = read(outputs, first, last)
    sheet = (Unrolled(graph) if graph.steps else Plain(graph)).sheet()
    add_caption(sheet, title)
    return Figure(sheet)
