"""Two runs side by side, and what only one of them has.

Boxes are matched by what they are and by what stands around them: first those whose surroundings
are alike three arrows deep, then two, one, then those that do the same, and at last those that have
the same name. What finds no partner is marked, − on the left and + on the right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from .canvas import Canvas
from .figure import Figure
from .graph import Graph
from .layout import Sheet
from .paint import caption
from .places import Wanted
from .sheet import checked, graph_of, laid_out, traced
from .text import count

DEPTH = 3  # arrows around a box that are compared first


def diff_of(a: object, b: object, titles: Sequence[str], level: str, view: str) -> Figure:
    """All of the work on one comparison."""
    if len(titles) != 2:
        raise ValueError(f"diff: titles: expected two, got {len(titles)}")
    graphs = []
    for outputs in (a, b):
        trace = traced(checked(outputs, level, view, None, "diff"), view, None)
        graphs.append(graph_of(trace, Wanted(1, 1, (), level), view, None))
    mark(*graphs)
    canvas, sheets = Canvas(), []
    for graph, title, sign, side in zip(graphs, titles, "−+", ("left", "right"), strict=True):
        marked = count(sum(bool(node.mark) for node in graph.nodes), "box", "boxes")
        dashes = ", dashed" if sign == "−" else ""
        graph.captions.append(f"{sign} marks what only the {side} has{dashes}: {marked}")
        sheets.append(laid_out(graph))
        caption(canvas, sheets[-1], title, canvas.width)
    return Figure(canvas, _beside(*sheets))


# -- what is the same ----------------------------------------------------------------------------


def mark(a: Graph, b: Graph) -> None:
    """Mark the boxes and arrows that have no partner in the other graph."""
    partner = matched(a, b)
    ours = [(partner.get(e.source), partner.get(e.target)) for e in a.edges]
    theirs: list[tuple[int | None, int | None]] = [(e.source, e.target) for e in b.edges]
    sides = (a, "−", {*partner}, ours, theirs), (b, "+", {*partner.values()}, theirs, ours)
    for graph, sign, both, own, others in sides:
        for n, node in enumerate(graph.nodes):
            node.mark = "" if n in both else sign
        left = Counter(others)
        for edge, ends in zip(graph.edges, own, strict=True):
            left[ends] -= 1
            edge.mark = "" if left[ends] >= 0 else sign


def matched(a: Graph, b: Graph) -> dict[int, int]:
    """The partner in b of each box of a that has one."""
    partner: dict[int, int] = {}
    known: dict[object, int] = {}
    for depth in range(DEPTH, -2, -1):
        left, right = (
            _surroundings(graph, depth, known) if depth >= 0 else _names(graph) for graph in (a, b)
        )
        free: defaultdict[object, list[int]] = defaultdict(list)
        taken = set(partner.values())
        for n in range(len(b.nodes)):
            if n not in taken:
                free[right[n]].append(n)
        for n in range(len(a.nodes)):
            if n not in partner and left[n] is not None and free[left[n]]:
                partner[n] = free[left[n]].pop(0)
    return partner


def _names(graph: Graph) -> list[object]:
    return [(node.kind, node.name) if node.name else None for node in graph.nodes]


def _surroundings(graph: Graph, depth: int, known: dict[object, int]) -> list[object]:
    """What each box is, and what leads to it and from it, so many arrows deep.

    Equal numbers are equal surroundings, in all graphs that share `known`. The refinement of
    Weisfeiler and Leman (1968).
    """
    kinds = [(node.kind, node.form, graph.columns[node.spot[0]].kind) for node in graph.nodes]
    found = [known.setdefault(kind, len(known)) for kind in kinds]
    for _ in range(depth):
        around: list[list[tuple[int, int]]] = [[] for _ in found]
        for edge in graph.edges:
            around[edge.target].append((0, found[edge.source]))
            around[edge.source].append((1, found[edge.target]))
        whole = [(own, *sorted(others)) for own, others in zip(found, around, strict=True)]
        found = [known.setdefault(one, len(known)) for one in whole]
    return list(found)


def _beside(a: Sheet, b: Sheet) -> Sheet:
    """Two sheets that stand side by side as one."""
    nodes, columns = len(a.graph.nodes), len(a.graph.columns)
    for node in b.graph.nodes:
        node.spot = node.spot[0] + columns, node.spot[1]
    for edge in b.graph.edges:
        edge.source, edge.target = edge.source + nodes, edge.target + nodes
    graph = replace(
        a.graph,
        nodes=a.graph.nodes + b.graph.nodes,
        edges=a.graph.edges + b.graph.edges,
        columns=a.graph.columns + b.graph.columns,
        steps=max(a.graph.steps, b.graph.steps),
    )
    return replace(a, graph=graph, frames=a.frames + b.frames)
