"""A sheet as DOT text: graphviz is left to paint, all places are given.

Render it with `neato -n2` (`n` for "the nodes stand already", 2 for "and the edges").
"""

from __future__ import annotations

from collections.abc import Iterator

from . import colours
from .graph import Edge, Node
from .layout import FONT, SMALL, Frame, Sheet
from .path import Point, label_place, smooth
from .text import width

_head = """digraph "tinygrad_rnn" {
  graph [bb="0,0,%s,%s", splines=line, outputorder=edgesfirst, bgcolor=white,
         fontname="Helvetica,Arial,sans-serif", fontsize=12, pad=0, margin=0]
  node [shape=box, style="rounded,filled", fixedsize=true, margin=0, fontsize=11,
        fontname="Helvetica,Arial,sans-serif"]
  edge [arrowsize=0.6, fontsize=9, fontname="Helvetica,Arial,sans-serif"]"""


def dot(sheet: Sheet) -> str:
    """The sheet as DOT; nodes are called n0, n1, …, lines of the legend key0, …, notes note0, …"""
    return "\n".join([*_Writer(sheet).lines(), "}", ""])


def quoted(text: str) -> str:
    """A string that graphviz shows literally: no escape, entity or HTML in it is understood."""
    for letter, safe in (("&", "&amp;"), ("\\", "\\\\"), ('"', '\\"')):
        text = text.replace(letter, safe)
    return f'"{text}"'


def _quoted_lines(lines: list[str]) -> str:
    return '"' + "\\n".join(quoted(line)[1:-1] for line in lines) + '"'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _badges(node: Node) -> Iterator[str]:
    if node.mark:
        yield node.mark
    if node.order:
        yield node.order
    if node.joins > 1:
        yield f"+= {node.joins}"


class _Writer:
    """DOT counts upwards and in points, the sheet downwards and in pixels: one for one."""

    def __init__(self, sheet: Sheet):
        self.sheet, self.graph = sheet, sheet.graph

    def lines(self) -> Iterator[str]:
        wide, high = self.sheet.width, self.sheet.height
        yield _head % (_n(wide), _n(high))
        yield (  # the sheet's own margins: graphviz would cut the paper to what stands on it
            f'  paper [style=invis, label="", pos="{_n(wide / 2)},{_n(high / 2)}", '
            f"width={wide / 72:.3f}, height={high / 72:.3f}]"
        )
        for k, frame in enumerate(self.sheet.frames):
            yield from self._frame(f"cluster_{k}", frame, "  ")
        for n, node in enumerate(self.graph.nodes):
            if node.kind in ("gap", "delay") or not self.sheet.frames:
                yield "  " + self._node(n, node)
        for edge in self.graph.edges:
            yield "  " + self._edge(edge)
        yield from self._caption()

    def _at(self, x: float, y: float) -> str:
        return f"{_n(x)},{_n(self.sheet.height - y)}"

    def _frame(self, name: str, frame: Frame, indent: str) -> Iterator[str]:
        inner = indent + "  "
        size = FONT if name.count("_") == 1 else SMALL
        middle = frame.left + 9 + width(frame.label, size) / 2
        fill, line = (
            (colours.FRAME, colours.FRAME_LINE)
            if name.count("_") == 1
            else (colours.INNER, colours.INNER_LINE)
        )
        yield f"{indent}subgraph {name} {{"
        yield (
            f'{inner}graph [bb="{self._at(frame.left, frame.bottom)},'
            f'{self._at(frame.right, frame.top)}", label={quoted(frame.label)}, '
            f'lp="{self._at(middle, frame.top + size / 2 + 5)}", fontsize={_n(size)}, '
            f'style="rounded,filled", fillcolor="{fill}", color="{line}", '
            f'fontcolor="{colours.FAINT}"]'
        )
        for k, within in enumerate(frame.inner):
            yield from self._frame(f"{name}_{k}", within, inner)
        for n in frame.members:
            yield inner + self._node(n, self.graph.nodes[n])
        yield indent + "}"

    def _node(self, n: int, node: Node) -> str:
        fill, line = colours.node_colours(node)
        look = f'fillcolor="{fill}", color="{line}"'
        if node.kind == "constant":
            look = "shape=plaintext, style=solid"
        bad = node.flow is not None and node.flow.bad
        if node.kind == "gap" or bad or node.mark == "−":
            look += ', style="rounded,filled,dashed"'
        if node.chip:
            look += ", fontsize=10"
        if node.loud:
            look += f', fontcolor="{colours.ALARM}"'
        if node.output or node.loud or bad:
            look += ", penwidth=2.2"
        if badge := "  ".join(_badges(node)):
            place = self._at(node.x + (width(badge, 11) - node.w) / 2, node.y - node.h / 2 - 6)
            look += f', xlabel={quoted(badge)}, xlp="{place}"'
        return (
            f"n{n} [label={_quoted_lines(node.lines)}, {self._box(node)}, {look}, "
            f"tooltip={_quoted_lines(node.title.split(chr(10)))}]"
        )

    def _box(self, node: Node) -> str:
        place = self._at(node.x, node.y)
        return f'pos="{place}", width={node.w / 72:.3f}, height={node.h / 72:.3f}'

    def _edge(self, edge: Edge) -> str:
        way = edge.route[::-1] if edge.back else edge.route
        route = " ".join(self._point(p) for p in smooth(way, self.sheet.sideways))
        colour, size, dashes = colours.edge_look(self.graph, edge)
        look = f'color="{colour}"'
        if size != 1.2:
            look += f", penwidth={size}"
        if dashes:
            look += ", style=" + ("dotted" if dashes == "1 3" else "dashed")
        look += self._label(edge)
        tip, ends = self._point(way[-1]), (edge.source, edge.target)
        source, target = ends[::-1] if edge.back else ends
        return (
            f'n{source} -> n{target} [pos="e,{tip} {route}", {look}, '
            f"tooltip={_quoted_lines(edge.title.split(chr(10)))}]"
        )

    def _label(self, edge: Edge) -> str:
        if not edge.label:
            return ""
        x, y, end = label_place(edge)
        middle = width(edge.label, SMALL) / 2 * (-1 if end else 1)
        return f', label={quoted(edge.label)}, lp="{self._at(x + middle, y - 4)}", fontsize=10'

    def _point(self, point: Point) -> str:
        return self._at(*point)

    def _caption(self) -> Iterator[str]:
        colour = {"title": colours.INK, "note": colours.FAINT, "alarm": colours.ALARM}
        for k, text in enumerate(self.sheet.texts):
            middle = text.y - 0.35 * text.size
            yield self._words(f"note{k}", text.x, middle, text.words, text.size) + (
                f', fontcolor="{colour[text.kind]}"]'
            )
        for k, key in enumerate(self.sheet.keys):
            fill, line = colours.hue(key.entry.hue)
            yield (
                f"  key{k} [label={quoted(key.entry.label)}, "
                f'pos="{self._at(key.x, key.y)}", width={key.w / 72:.3f}, '
                f'height={key.h / 72:.3f}, fillcolor="{fill}", color="{line}", fontsize=10]'
            )
            words, left = key.entry.words, key.x + key.w / 2 + 8
            ink = colours.ALARM if key.entry.loud else colours.INK
            line = self._words(f"use{k}", left, key.y, words, 11)
            yield line + f', fontcolor="{ink}"]'
        for k, sample in enumerate(self.sheet.samples):
            shade, size, _ = colours.flow_look(sample.flow)
            place = self._at(sample.x + sample.w / 2, sample.y)
            yield (
                f'  scale{k} [label="", style=filled, pos="{place}", '
                f"width={sample.w / 72:.3f}, height={size / 72:.3f}, "
                f'fillcolor="{shade}", color="{shade}"]'
            )
            left, words = sample.x + sample.w + 6, sample.words
            yield self._words(f"power{k}", left, sample.y, words, 11) + "]"

    def _words(self, name: str, left: float, y: float, words: str, size: float) -> str:
        """A line of text that begins at `left` in any font."""
        wide = width(words, size)
        return (
            f'  {name} [shape=plaintext, style=solid, label={quoted(words)[:-1]}\\l", '
            f'pos="{self._at(left + wide / 2, y)}", width={wide / 72:.3f}, '
            f"height={size / 45:.3f}, "
            f"fontsize={_n(size)}"
        )
