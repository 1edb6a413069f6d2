"""A sheet on a canvas: how its frames, arrows and boxes look, and what is written around them."""

from __future__ import annotations

from typing import Any

from . import look
from .canvas import HATCHED, MARGIN, Canvas
from .graph import Column, Edge, Graph, Node
from .layout import FONT, SMALL, Frame, Sheet
from .legend import chip, legend, scale
from .path import arrival, arrow_head, label_place, smooth
from .text import count, literal, width

TITLE, NOTE = 16.0, 11.0


# -- around the picture --------------------------------------------------------------------------


def caption(
    canvas: Canvas, sheet: Sheet, title: str | None, left: float = 0.0, *, told: bool = True
) -> None:
    """Write title and captions above a sheet, the legend below, and move the sheet in between.

    told: whether to write captions and legend.
    """
    graph, x, y = sheet.graph, left + MARGIN, MARGIN
    lines = [(literal(title, 80), "title")] if title else []
    wide = sheet.width - 2 * MARGIN
    captions = [_summary(graph), *_wrapped(_captions(graph), wide)] if told else []
    lines += [(words, "note") for words in captions]
    lines += [(graph.alarm, "alarm")] if graph.alarm else []
    with canvas.group("caption"):
        for words, kind in lines:
            size = TITLE if kind == "title" else NOTE
            colour = {"title": look.INK, "note": look.FAINT, "alarm": look.ALARM}[kind]
            bold = kind != "note"
            canvas.text(x, y + size * 0.8, words, size, colour=colour, bold=bold, kind=kind)
            y += size * 1.5
        sheet.move(left, y - MARGIN / 2)
        canvas.width = max(canvas.width, left + sheet.width)
        bottom, right = y - MARGIN / 2 + sheet.height, canvas.width - MARGIN
        entries = [chip(e.words, e.label, e.hue, e.loud) for e in graph.legend]
        bottom = legend(canvas, entries, x, bottom, right)
        if graph.one and told:
            bottom = scale(canvas, x + 4, bottom + 10, graph.one, arrows=True)
    canvas.height = max(canvas.height, bottom)


def _wrapped(captions: list[str], wide: float) -> list[str]:
    """The captions on as few lines as they fit on."""
    lines: list[str] = []
    for note in captions:
        longer = f"{lines[-1]}  ·  {note}" if lines else note
        if lines and width(longer, NOTE) < wide:
            lines[-1] = longer
        else:
            lines.append(note)
    return lines


def _captions(graph: Graph) -> list[str]:
    """What else there is to say; where a compiled loop kept no gradient, how to have it kept."""
    some = any(n.grad.startswith("grad") for n in graph.nodes)
    steps = {k for k, column in enumerate(graph.columns) if column.kind == "step"}
    hidden = any(n.kind == "op" and n.spot[0] in steps and "yet" in n.grad for n in graph.nodes)
    advice = ["gradients inside a compiled loop are kept under unroll=True"]
    return (advice if some and hidden else []) + graph.captions


def _summary(graph: Graph) -> str:
    words = [count(graph.tensors, "tensor")] if graph.tensors else []
    words += [count(graph.steps, "time step")] if graph.steps else []
    if graph.hidden_steps:
        words.append(f"{graph.hidden_steps:,} steps hidden; what they touch is dashed")
    if not graph.one and any("grad" in n.grad and "yet" not in n.grad for n in graph.nodes):
        words.append("grad: Euclidean norm of the gradient")
    return "  ·  ".join(words)


# -- the picture ---------------------------------------------------------------------------------


def paint(canvas: Canvas, sheet: Sheet) -> None:
    """The frames, then the arrows, then the boxes, then what stands beside arrows."""
    graph = sheet.graph
    for frame in sheet.frames:
        _frame(canvas, frame)
        for inner in frame.inner:
            _frame(canvas, inner)
    for edge in graph.edges:
        _edge(canvas, sheet, edge)
    for node in graph.nodes:
        ids, exits = (" ".join(map(str, some)) for some in (node.ids, node.exits))
        column = graph.columns[node.spot[0]]
        facts: dict[str, Any] = {"ids": ids, "exits": exits if exits and exits != ids else None}
        facts |= {"op": node.library_op, "t": None if column.every else _time(column)}
        with canvas.group(f"node {node.kind}", node.title, **facts):
            _node(canvas, node)
    for edge in graph.edges:
        if edge.part >= 0:
            _part(canvas, edge)
        if edge.label:
            x, y, at = label_place(edge)
            canvas.text(x, y, edge.label, SMALL, colour=look.STATE, at=at)


def _frame(canvas: Canvas, frame: Frame) -> None:
    outer, column = frame.column is not None, frame.column
    fill, line = (look.FRAME, look.FRAME_LINE) if outer else (look.INNER, look.INNER_LINE)
    size, wide, high = FONT if outer else SMALL, frame.right - frame.left, frame.bottom - frame.top
    data = (
        {"t": _time(column), "every": 1 if column.every else None, "word": column.word}
        if column
        else {}
    )
    with canvas.group("step" if outer else "layer", **data):
        canvas.box(frame.left, frame.top, wide, high, fill, line, round=8)
        x, y = frame.left + 9, frame.top + size + 3
        canvas.text(x, y, frame.label, size, colour=look.FAINT, bold=outer)


def _time(column: Column) -> int | None:
    return column.time if column.kind == "step" else None


def _edge(canvas: Canvas, sheet: Sheet, edge: Edge) -> None:
    colour, size, dashes = edge_look(sheet.graph, edge)
    route = edge.route[::-1] if edge.back else edge.route
    source, target, place = edge.ends[0] if edge.ends else (None, None, None)
    with canvas.group("edge", edge.title, source=source, target=target, place=place):
        canvas.line(smooth(route, sheet.sideways), colour, size, dashes, curved=True)
        canvas.shape([arrow_head(route, sheet.sideways)], colour)


def _part(canvas: Canvas, edge: Edge) -> None:
    """The number of the part of a tuple, beside the arrow's head."""
    (before, height), (x, y) = arrival(edge.route)
    level = abs(height - y) < 0.05
    x, y = (x - 14, y - 4) if level else (x - 10 if before > x + 1 else x + 4, y + 10)
    canvas.text(x, y, str(edge.part), 9, colour=look.FAINT)


def _node(canvas: Canvas, node: Node) -> None:
    fill, line, ink = node_look(node)
    bad, flow = fill == HATCHED, node.flow
    empty = flow is not None and flow.place is None and not bad
    bold = 2.6 if bad else 2.2 if node.output or node.loud else 1.4 * (node.kind == "parameter")
    dashes = "5 4" if node.kind == "gap" or node.mark == "−" else "1 3" if empty else ""
    left, top = node.x - node.w / 2, node.y - node.h / 2
    if node.kind != "constant":
        round = node.h / 2 if node.kind == "parameter" and node.chip else 5
        canvas.box(left, top, node.w, node.h, fill, line, bold or 1.0, dashes=dashes, round=round)
    if bad:
        wide = max(width(text, FONT) for text in node.lines)
        canvas.box(node.x - wide / 2, top + 4, wide, node.h - 8, look.PAPER)
    font, middle = SMALL if node.chip else FONT, node.y - 7 * (len(node.lines) > 1)
    first: dict[str, Any] = {"bold": node.kind in ("op", "delay"), "at": "middle", "colour": ink}
    tail = "" if node.chip else node.words
    canvas.text(node.x, middle + font * 0.35, node.glyph, font, tail=tail, **first)
    for line in node.lines[1:]:
        colour = look.ALARM if node.loud else look.FAINT if ink == look.INK else ink
        second: dict[str, Any] = first | {"colour": colour, "bold": node.loud, "kind": "grad"}
        canvas.text(node.x, node.y + 10.5, line, SMALL, **second)
    _badges(canvas, node)


def _badges(canvas: Canvas, node: Node) -> None:
    """Write at the corners when the backward pass comes by, how many gradients add up, whose."""
    for words, side, ink in badges(node):
        wide, y = width(words, 9) + 7, node.y - node.h / 2
        x = node.x + side * (node.w / 2 - wide / 2 + 5)
        canvas.box(x - wide / 2, y - 7, wide, 13, look.PAPER, ink, 0.8, round=6.5)
        canvas.text(x, y + 2.7, words, 9, colour=ink, at="middle")


# -- looks ---------------------------------------------------------------------------------------


def badges(node: Node) -> list[tuple[str, int, str]]:
    """Words at the upper corners of a box, the side (-1 left), and their ink."""
    signs = [(node.order, -1, look.INK)] if node.order else []
    signs += [(f"+= {node.joins}", 1, look.JOIN)] if node.joins > 1 else []
    return signs + ([(node.mark, -1, look.MARKS[node.mark][1])] if node.mark else [])


def node_look(node: Node) -> tuple[str, str, str]:
    """The fill and the outline of a box, and the ink in it."""
    if node.mark:
        return *look.MARKS[node.mark], look.INK
    if (flow := node.flow) is not None:
        if flow.bad or flow.place is None:
            fill = HATCHED if flow.bad else look.PAPER
            return fill, look.stroke(None, flow.bad)[0], look.INK
        line = look.hue(node.hue)[1] if node.kind == "parameter" else look.stroke(flow.place)[0]
        return look.shade(flow.place), line, look.ink_on(flow.place)
    if node.loud:
        return *look.LOUD, look.INK
    if node.kind == "parameter":
        return *look.hue(node.hue), look.INK
    if node.kind == "op":
        return *look.FAMILIES[node.family], look.INK
    if node.kind == "delay":
        return look.PAPER, look.STATE, look.INK
    return *((look.FRAME, look.FRAME_LINE) if node.kind == "gap" else look.LEAF), look.INK


def edge_look(graph: Graph, edge: Edge) -> tuple[str, float, str]:
    """The colour, the width and the dashes of an arrow.

    A parameter's arrow has its hue; what crosses from step to step stands out.
    """
    dashes = "5 4" if edge.hidden or edge.late or edge.mark == "−" else ""
    if edge.mark:
        return look.MARKS[edge.mark][1], 2.2, dashes
    if edge.flow is not None:
        colour, size, own = look.stroke(edge.flow.place, edge.flow.bad)
        return colour, size, own or dashes
    ends = graph.nodes[edge.source], graph.nodes[edge.target]
    if ends[0].kind == "parameter":
        return look.hue(ends[0].hue)[1], 1.2, dashes
    kinds = {graph.columns[node.spot[0]].kind for node in ends}
    crosses = ends[0].spot[0] != ends[1].spot[0] and kinds <= {"step", "gap", "delay"}
    return (look.STATE, 1.9, dashes) if crosses else (look.LINE, 1.2, dashes)
