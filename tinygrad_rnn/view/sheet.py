"""The way from outputs to a figure: the trace, the view, the level, and the layout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..grad import _seed
from ..limits import one_of
from ..tape import Tape, tape_of
from ..tape.loops import work
from ..tensor import Tensor
from .canvas import Canvas
from .figure import Figure
from .fold import Fold, fold, unfolded
from .graph import Graph, TooMany
from .layout import Sheet
from .levels import LEVELS
from .overlay import lay_over
from .paint import caption
from .places import Wanted
from .plain import Plain
from .reader import read
from .unrolled import Unrolled

FEW = 8  # steps of a compiled loop that show what it does, also where a state is handed on
WORK = 200_000  # ops in loops; recording more takes seconds
VIEWS, OVERLAYS = ("unrolled", "folded"), (None, "backward")


def checked(
    outputs: Any, level: Any, view: Any, overlay: Any, who: str = "draw"
) -> Tape | list[Tensor]:
    """The outputs, unless they are none, or a word is not known."""
    one_of(who, "level", level, LEVELS)
    one_of(who, "view", view, VIEWS)
    one_of(who, "overlay", overlay, OVERLAYS)
    return outputs if isinstance(outputs, Tape) else tensors_of(outputs, who)


def tensors_of(outputs: Any, who: str) -> list[Tensor]:
    """The outputs, of which there must be some."""
    found = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    if not found:
        raise ValueError(f"{who}: expected at least one tensor, got an empty sequence")
    for x in found:
        if not isinstance(x, Tensor):
            raise TypeError(f"{who}: outputs: expected tensors, got {type(x).__name__}")
    return found


def figure_of(
    outputs: Tape | list[Tensor], wanted: Wanted, view: str, overlay: str | None, title: str | None
) -> Figure:
    """All of the work on one picture."""
    long = not isinstance(outputs, Tape) and work(outputs) > WORK
    if long and overlay:
        raise ValueError(
            "draw: overlay: this run is too long to draw its backward pass, more than "
            f"{WORK:,} ops in its loops: draw a shorter one, or without overlay"
        )
    asked, view = view, "folded" if long else view
    trace = traced(outputs, view, overlay)
    graph = graph_of(trace, wanted, view, overlay)
    if asked != view:
        graph.captions.append("too long to be drawn step by step: folded")
    canvas, sheet = Canvas(), laid_out(graph)
    caption(canvas, sheet, title if title is not None else trace.title, told=wanted.legend)
    return Figure(canvas, sheet)


def traced(outputs: Tape | list[Tensor], view: str, overlay: str | None) -> Tape:
    """The trace that a picture needs, no more."""
    if isinstance(outputs, Tape):
        if overlay and not outputs.has_backward:
            raise ValueError(
                "draw: overlay: expected a trace with a backward pass, as tape_of(loss) makes it; "
                "this one was made with backward=False"
            )
        return outputs
    if overlay and len(outputs) != 1:
        raise ValueError(f"draw: overlay: expected one tensor, got {len(outputs)}: draw the loss")
    if overlay:
        _seed(outputs[0], None, "draw: overlay")  # refuses what has no backward pass
    most = FEW if view == "folded" and not overlay else None
    return tape_of(outputs, values=False, backward=overlay is not None, most=most)


def graph_of(trace: Tape, wanted: Wanted, view: str, overlay: str | None) -> Graph:
    """The trace as a graph, at the level wanted or at the finest that can be read."""
    found = unfolded(trace)
    if view == "folded":
        found = fold(trace)
        wanted = replace(wanted, counts=found.counts)
    graph = readable(found.trace, wanted)
    if overlay:
        lay_over(graph, trace, found)
    if view == "folded":
        graph.steps = max(found.counts.values(), default=0)
        _name_origins(graph, trace, found)
    return graph


def _name_origins(graph: Graph, trace: Tape, folded: Fold) -> None:
    """The records that a folded picture stands for are those of the trace it was folded from."""
    for node in graph.nodes:
        node.ids, node.exits = (
            [z for y in some for z in folded.origins[y].values()] for some in (node.ids, node.exits)
        )
    for edge in graph.edges:
        edge.ends = [
            (trace.whole(*trace.records[reader].inputs[where])[0], reader, where)
            for _, y, place in edge.ends
            for _, reader, where in folded.readers.get((y, place), ())
        ]


def readable(trace: Tape, wanted: Wanted) -> Graph:
    """Read at the level wanted, or above the node budget at the next coarser one."""
    levels = LEVELS[LEVELS.index(wanted.level) :]
    for level in levels:
        try:
            graph = read(trace, replace(wanted, level=level))
            break
        except TooMany:
            if level == levels[-1] or not trace.steps:
                raise
    if level != wanted.level:
        graph.captions.append(f"too much for the level of {wanted.level}s: drawn by {level}s")
    return graph


def laid_out(graph: Graph) -> Sheet:
    """The graph with coordinates."""
    return (Unrolled(graph) if graph.steps else Plain(graph)).sheet()
