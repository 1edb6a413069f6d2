"""Pictures: the graph a tensor remembers, unrolled in time or folded; and a curve of numbers.

Graphs: draw, diff, memory, masks. Numbers: curve.
What they give: Figure of a graph, else Picture; GraphvizNotFound where a format needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

from ..limits import whole
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..tape import Tape
    from .chart import curve
    from .figure import Figure, Picture
    from .raster import masks
    from .render import GraphvizNotFound
    from .residuals import memory

__all__ = [
    "Figure",
    "GraphvizNotFound",
    "Picture",
    "curve",
    "diff",
    "draw",
    "masks",
    "memory",
]

# What draws is imported when something is drawn: most programs never do.
_homes = {"curve": "chart", "Figure": "figure", "Picture": "figure", "GraphvizNotFound": "render"}
_homes |= {"masks": "raster", "memory": "residuals"}


def __getattr__(name: str) -> Any:
    if name not in _homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_homes[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__


def draw(
    outputs: Tensor | Sequence[Tensor] | Tape,
    *,
    level: str = "op",
    view: str = "unrolled",
    overlay: str | None = None,
    first: int = 3,
    last: int = 1,
    around: Sequence[int] = (),
    title: str | None = None,
    legend: bool = True,
    shapes: bool = True,
) -> Figure:
    """Draw what the outputs came from: time to the right, layers upwards.

    The scopes say what goes where: in `layer0/t=3`, `t=3` is the time step, and what stands before
    it the layer. A parameter that steps share is a small chip in each of them, with a line in the
    legend. Under `backward(retain_graph=True)` every node shows its gradient's Euclidean norm; what
    another loss has left on a tensor, or added to it, is not shown. Compiled loops are drawn as
    their steps, within which gradients are known under `unroll=True` only. Nothing is changed or
    kept alive.

    outputs: the tensors to explain, for example the loss; or a `Tape` of them.
    level: what is one box in a step: an "op", a "gate" with what leads to it, or the whole "cell".
    Above 3000 nodes the next coarser level is drawn, and the caption says so.
    view: "unrolled", every step a column; or "folded", one step for all, as the recurrence it is,
    what it hands to a later one through a box z⁻¹.
    overlay: "backward" shows the backward pass instead: arrows the other way, their hue and width
    the norm of the gradient, and in which order the pass comes to each node. No
    `backward()` need have been called.
    first, last, around: how many time steps to show at either end, and others to show with their
    neighbours; two or more in between are folded.
    title: a line above the picture. legend, shapes: whether captions and a legend are around it,
    and the shapes in boxes: a slide has room for neither.

    Raises RuntimeError for a graph that `backward()` has freed, ValueError when there is nothing to
    draw, or more than 3000 nodes at every level, or no single loss for a backward pass, TypeError
    when something is not a tensor.

    >>> xs = np.ones((2, 1, 2), np.float32)
    >>> ys, _ = tg.nn.RNN(2, 3, rng=0)(xs)
    >>> picture = tg.draw(ys, level="gate", title="two steps")
    >>> picture.save("rnn.svg")
    """
    from .places import Wanted
    from .sheet import checked, figure_of

    given = checked(outputs, level, view, overlay)
    first, last = whole("draw", "first", first), whole("draw", "last", last)
    steps = list(around) if isinstance(around, Iterable) else [around]
    if not all(isinstance(t, SupportsIndex) for t in steps):
        raise TypeError(f"draw: around: expected the numbers of steps, got {around!r}")
    if first + last + len(steps) == 0:
        raise ValueError("draw: first and last are both 0, so that no step would be shown")
    wanted = Wanted(first, last, tuple(map(index, steps)), level, shapes, legend)
    return figure_of(given, wanted, view, overlay, title)


def diff(
    a: Tensor | Sequence[Tensor] | Tape,
    b: Tensor | Sequence[Tensor] | Tape,
    *,
    titles: Sequence[str] = ("left", "right"),
    level: str = "op",
    view: str = "folded",
) -> Figure:
    """Two runs side by side, with what only one of them has marked: − on the left, + on the right.

    Boxes are matched by op, name and surroundings. a, b: outputs, or traces of them. titles: a line
    above each. level, view: as for `draw`.

    Raises what `draw` raises, and ValueError unless there are two titles.

    >>> xs = np.ones((2, 1, 2), np.float32)
    >>> runs = [cell(xs)[0] for cell in (tg.nn.LSTM(2, 3), tg.nn.GRU(2, 3))]
    >>> tg.view.diff(*runs, titles=("LSTM", "GRU"), level="gate").save("diff.svg")
    """
    from .compare import diff_of

    return diff_of(a, b, titles, level, view)
