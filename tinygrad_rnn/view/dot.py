"""A figure as DOT text: its boxes and arrows at their places, for whoever goes on with it.

Render it with `neato -n2` (`n` for "the nodes stand already", 2 for "and the edges").
"""

from __future__ import annotations

from collections.abc import Iterator

from .canvas import DOTS, FONT, Canvas, Group, Pen, Point, Text, background
from .graph import Edge, Graph, Node
from .paint import badges
from .text import width


def dot(canvas: Canvas, graph: Graph) -> str:
    """The figure as DOT; nodes are called n0, n1, …; what is around them is a background."""
    boxes = [g for g in canvas.marks if isinstance(g, Group) and g.kind.startswith("node ")]
    arrows = [g for g in canvas.marks if isinstance(g, Group) and g.kind == "edge"]
    around = [mark for mark in canvas.marks if mark not in boxes and mark not in arrows]
    lines = [
        'digraph "tinygrad_rnn" {',
        f"  {background(canvas, around)}",
        "  graph [splines=line, outputorder=edgesfirst]",
        f'  node [shape=box, style="rounded,filled", fixedsize=true, margin=0, fontname="{FONT}"]',
        "  edge [arrowsize=0.6]",
        *map(_node, range(len(boxes)), graph.nodes, boxes),
        *map(_edge, graph.edges, arrows),
        *(_steps(graph) if graph.steps else ()),
    ]
    return "\n".join([*lines, "}", ""])


def quoted(text: str) -> str:
    """Lines that graphviz shows literally: no escape, entity or HTML in them is understood."""
    for letter, safe in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(letter, safe)
    return f'"{text}"'


def _at(point: Point) -> str:
    return f"{point[0]:.1f},{-point[1]:.1f}"


def _node(n: int, node: Node, group: Group) -> str:
    first, words = group.marks[0], next(mark for mark in group.marks if isinstance(mark, Text))
    facts = [f"label={quoted(chr(10).join(node.lines))}", f'pos="{_at((node.x, node.y))}"']
    facts += [f"width={node.w / 72:.3f}, height={node.h / 72:.3f}, fontsize={words.size:g}"]
    facts += [f'fontcolor="{words.colour}", tooltip={quoted(node.title)}']
    if first is words:  # a constant, which has no box
        facts.append("shape=plaintext, style=solid")
    else:
        facts.append(f'fillcolor="{first.pen.fill}", {_line(first.pen, "rounded,filled,")}')
    if badge := "  ".join(words for words, _, _ in badges(node)):
        place = node.x + (width(badge, 11) - node.w) / 2, node.y - node.h / 2 - 6
        facts.append(f'xlabel={quoted(badge)}, xlp="{_at(place)}"')
    return f"  n{n} [{', '.join(facts)}]"


def _edge(edge: Edge, group: Group) -> str:
    line, head = group.marks
    ends = (edge.source, edge.target)[:: -1 if edge.back else 1]
    route = " ".join(map(_at, [head.parts[0][0], *line.parts[0]]))
    return (
        f'  n{ends[0]} -> n{ends[1]} [pos="e,{route}", {_line(line.pen)}, '
        f"tooltip={quoted(edge.title)}]"
    )


def _line(pen: Pen, style: str = "") -> str:
    """How the outline of a box, or an arrow, is drawn."""
    style += "dotted" if pen.dashes == DOTS else "dashed" if pen.dashes else "solid"
    return f'color="{pen.line}", penwidth={pen.size:g}, style="{style}"'


def _steps(graph: Graph) -> Iterator[str]:
    """The nodes of each column as a subgraph, for tools that know what goes together."""
    for k, column in enumerate(graph.columns):
        inside = " ".join(f"n{n};" for n, node in enumerate(graph.nodes) if node.spot[0] == k)
        yield f"  subgraph column{k} {{ label={quoted(column.label)}; {inside} }}"
