"""A sheet as SVG: no program, no script, no style sheet, nothing that has to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from . import colours
from .graph import Edge, Graph, Node
from .layout import FONT, SMALL, Frame, Key, Sheet, Text
from .path import Point, arrival, arrow_head, smooth

FONTS = (
    "system-ui, 'Segoe UI', 'Noto Sans', 'Helvetica Neue', Arial, 'Noto Sans CJK SC', "
    "'PingFang SC', 'Microsoft YaHei', sans-serif"
)


def svg(sheet: Sheet, summary: str) -> str:
    """The sheet as one self-contained SVG document."""
    wide, high = _n(sheet.width), _n(sheet.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" role="img" font-family="{FONTS}" fill="{colours.INK}">',
        f"<title>{escape(summary)}</title>",
        f'<rect width="{wide}" height="{high}" rx="8" fill="{colours.PAPER}"/>',
    ]
    for frame in sheet.frames:
        lines += _frame(frame, colours.FRAME, colours.FRAME_LINE, "step")
        for inner in frame.inner:
            lines += _frame(inner, colours.INNER, colours.INNER_LINE, "layer")
    for edge in sheet.graph.edges:
        lines += _edge(sheet, edge)
    for node in sheet.graph.nodes:
        lines += _node(node)
    lines += [_part(sheet.graph, edge) for edge in sheet.graph.edges if edge.part >= 0]
    lines += [_text(text) for text in sheet.texts]
    for key in sheet.keys:
        lines += _key(key)
    return "\n".join([*lines, "</svg>", ""])


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _frame(frame: Frame, fill: str, line: str, kind: str) -> Iterator[str]:
    yield f'<g class="{kind}">'
    yield (
        f'<rect x="{_n(frame.left)}" y="{_n(frame.top)}" width="{_n(frame.right - frame.left)}" '
        f'height="{_n(frame.bottom - frame.top)}" rx="8" fill="{fill}" stroke="{line}"/>'
    )
    size, weight = (FONT, ' font-weight="600"') if kind == "step" else (SMALL, "")
    yield (
        f'<text x="{_n(frame.left + 9)}" y="{_n(frame.top + size + 3)}" font-size="{_n(size)}"'
        f'{weight} fill="{colours.FAINT}">{escape(frame.label)}</text></g>'
    )


def _edge(sheet: Sheet, edge: Edge) -> Iterator[str]:
    graph = sheet.graph
    colour = colours.edge_colour(graph, edge)
    size = "1.9" if colours.is_state(graph, edge) else "1.2"
    dashed = ' stroke-dasharray="5 4"' if edge.hidden else ""
    start, *rest = smooth(edge.route, sheet.sideways)
    curves = " ".join(" ".join(map(_p, rest[k : k + 3])) for k in range(0, len(rest), 3))
    head = " ".join(f"{_n(x)},{_n(y)}" for x, y in arrow_head(edge.route, sheet.sideways))
    yield f'<g class="edge"><title>{escape(edge.title)}</title>'
    yield (
        f'<path d="M{_p(start)} C{curves}" fill="none" stroke="{colour}" '
        f'stroke-width="{size}"{dashed}/><polygon points="{head}" fill="{colour}"/></g>'
    )


def _part(graph: Graph, edge: Edge) -> str:
    """The number of the part of a tuple, beside the arrow's head."""
    (before, height), (x, y) = arrival(edge.route)
    level = abs(height - y) < 0.05
    x, y = (x - 14, y - 4) if level else (x - 10 if before > x + 1 else x + 4, y + 10)
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="9" fill="{colours.FAINT}">{edge.part}</text>'


def _node(node: Node) -> Iterator[str]:
    fill, line = colours.node_colours(node)
    bold = 2.2 if node.output or node.loud else 1.4 if node.kind == "parameter" else 1.0
    round_ = node.h / 2 if node.kind in ("parameter", "constant") and node.chip else 5
    dashes = ' stroke-dasharray="5 4"' if node.kind == "gap" else ""
    yield f'<g class="node {node.kind}"><title>{escape(node.title)}</title>'
    if node.kind != "constant":
        yield (
            f'<rect x="{_n(node.x - node.w / 2)}" y="{_n(node.y - node.h / 2)}" '
            f'width="{_n(node.w)}" height="{_n(node.h)}" rx="{_n(round_)}" fill="{fill}" '
            f'stroke="{line}" stroke-width="{bold}"{dashes}/>'
        )
    yield from _label(node)
    yield "</g>"


def _label(node: Node) -> Iterator[str]:
    lines = node.lines
    x, y = _n(node.x), node.y - (7.0 if len(lines) > 1 else 0.0)
    font = SMALL if node.chip else FONT
    words = f" <tspan {_shape_style}>{escape(node.words)}</tspan>" if node.words else ""
    first = escape(node.glyph) + (words if not node.chip else "")
    weight = ' font-weight="600"' if node.kind == "op" else ""
    yield (
        f'<text x="{x}" y="{_n(y + font * 0.35)}" font-size="{_n(font)}"{weight} '
        f'text-anchor="middle">{first}</text>'
    )
    for line in lines[1:]:
        fill = f'{colours.ALARM}" font-weight="700' if node.loud else colours.FAINT
        yield (
            f'<text x="{x}" y="{_n(y + 17.5)}" font-size="{_n(SMALL)}" fill="{fill}" '
            f'text-anchor="middle">{escape(line)}</text>'
        )


_shape_style = 'font-weight="400" font-size="11"'


def _text(text: Text) -> str:
    fill = {"title": colours.INK, "note": colours.FAINT, "alarm": colours.ALARM}[text.kind]
    weight = "400" if text.kind == "note" else "700"
    return (
        f'<text class="{text.kind}" x="{_n(text.x)}" y="{_n(text.y)}" font-size="{_n(text.size)}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text.words)}</text>'
    )


def _key(key: Key) -> Iterator[str]:
    fill, line = colours.hue(key.entry.hue)
    ink = f'{colours.ALARM}" font-weight="700' if key.entry.loud else colours.INK
    yield (
        f'<g class="key"><rect x="{_n(key.x - key.w / 2)}" y="{_n(key.y - key.h / 2)}" '
        f'width="{_n(key.w)}" height="{_n(key.h)}" rx="{_n(key.h / 2)}" fill="{fill}" '
        f'stroke="{line}" stroke-width="1.4"/>'
    )
    yield (
        f'<text x="{_n(key.x)}" y="{_n(key.y + 3.5)}" font-size="{_n(SMALL)}" '
        f'text-anchor="middle">{escape(key.entry.label)}</text>'
    )
    yield (
        f'<text x="{_n(key.x + key.w / 2 + 8)}" y="{_n(key.y + 4)}" font-size="11" '
        f'fill="{ink}">{escape(key.entry.words)}</text></g>'
    )
