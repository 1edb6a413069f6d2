"""A sheet as DOT text: its nodes, edges and frames at their places, for whoever goes on with it.

Render it with `neato -n2` (`n` for "the nodes stand already", 2 for "and the edges").
"""

from __future__ import annotations

from collections.abc import Iterator

from . import look
from .canvas import DOTS, FONT, HATCHED, Canvas, Group, background
from .graph import Edge, Graph, Node
from .layout import FONT as LARGE
from .layout import SMALL, Frame, Sheet
from .paint import badges, edge_look, node_look
from .path import label_place, smooth
from .text import width


def dot(canvas: Canvas, sheet: Sheet) -> str:
    """The sheet as DOT; nodes are called n0, n1, …; the canvas's caption is a background."""
    around = [g for g in canvas.marks if isinstance(g, Group) and g.kind == "caption"]
    lines = [
        'digraph "tinygrad_rnn" {',
        f"  {background(canvas, around)}",
        f'  graph [splines=line, outputorder=edgesfirst, fontname="{FONT}"]',
        '  node [shape=box, style="rounded,filled", fixedsize=true, margin=0, fontsize=11, '
        f'fontname="{FONT}"]',
        f'  edge [arrowsize=0.6, fontsize=10, fontname="{FONT}"]',
    ]
    for k, frame in enumerate(sheet.frames):
        lines += _frame(sheet.graph, f"cluster_{k}", frame, "  ")
    for n, node in enumerate(sheet.graph.nodes):
        if node.kind in ("gap", "delay") or not sheet.frames:
            lines.append("  " + _node(n, node))
    lines += ["  " + _edge(sheet, edge) for edge in sheet.graph.edges]
    return "\n".join([*lines, "}", ""])


def quoted(text: str) -> str:
    """Lines that graphviz shows literally: no escape, entity or HTML in them is understood."""
    for letter, safe in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(letter, safe)
    return f'"{text}"'


def _at(x: float, y: float) -> str:
    return f"{x:.1f},{-y:.1f}"


def _size(w: float, h: float) -> str:
    return f"width={w / 72:.3f}, height={h / 72:.3f}"


def _frame(graph: Graph, name: str, frame: Frame, indent: str) -> Iterator[str]:
    outer = name.count("_") == 1
    size = LARGE if outer else SMALL
    label = _at(frame.left + 9 + width(frame.label, size) / 2, frame.top + size / 2 + 5)
    fill = (look.FRAME, look.FRAME_LINE) if outer else (look.INNER, look.INNER_LINE)
    yield f"{indent}subgraph {name} {{"
    yield (
        f'{indent}  graph [bb="{_at(frame.left, frame.bottom)},{_at(frame.right, frame.top)}", '
        f'label={quoted(frame.label)}, lp="{label}", fontsize={size:g}, style="rounded,filled", '
        f'fillcolor="{fill[0]}", color="{fill[1]}", fontcolor="{look.FAINT}"]'
    )
    for k, within in enumerate(frame.inner):
        yield from _frame(graph, f"{name}_{k}", within, indent + "  ")
    for n in frame.members:
        yield f"{indent}  {_node(n, graph.nodes[n])}"
    yield indent + "}"


def _node(n: int, node: Node) -> str:
    fill, line, ink = node_look(node)
    bad = fill == HATCHED
    facts = [f'fillcolor="{look.PAPER if bad else fill}", color="{line}", fontcolor="{ink}"']
    if node.kind == "constant":
        facts = ["shape=plaintext, style=solid"]
    if node.kind == "gap" or bad or node.mark == "−":
        facts.append('style="rounded,filled,dashed"')
    if node.chip:
        facts.append("fontsize=10")
    if node.output or node.loud or bad:
        facts.append("penwidth=2.2")
    if badge := "  ".join(words for words, _, _ in badges(node)):
        place = _at(node.x + (width(badge, 11) - node.w) / 2, node.y - node.h / 2 - 6)
        facts.append(f'xlabel={quoted(badge)}, xlp="{place}"')
    label, title = (quoted("\n".join(lines)) for lines in (node.lines, [node.title]))
    place = f'pos="{_at(node.x, node.y)}", {_size(node.w, node.h)}'
    return f"n{n} [label={label}, {place}, {', '.join(facts)}, tooltip={title}]"


def _edge(sheet: Sheet, edge: Edge) -> str:
    way = edge.route[::-1] if edge.back else edge.route
    route = " ".join(_at(*point) for point in smooth(way, sheet.sideways))
    colour, size, dashes = edge_look(sheet.graph, edge)
    facts = [f'color="{colour}", penwidth={size:g}']
    if dashes:
        facts.append("style=" + ("dotted" if dashes == DOTS else "dashed"))
    if edge.label:
        x, y, at = label_place(edge)
        middle = width(edge.label, SMALL) / 2 * (-1 if at == "end" else 1)
        facts.append(f'label={quoted(edge.label)}, lp="{_at(x + middle, y - 4)}"')
    source, target = (edge.source, edge.target)[:: -1 if edge.back else 1]
    return (
        f'n{source} -> n{target} [pos="e,{_at(*way[-1])} {route}", {", ".join(facts)}, '
        f"tooltip={quoted(edge.title)}]"
    )
