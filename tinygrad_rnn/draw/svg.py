"""A sheet as SVG: no program, no script, no style sheet, nothing that has to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from . import colours
from .graph import Edge, Graph, Node
from .layout import FONT, SMALL, Frame, Key, Sample, Sheet, Text
from .path import Point, arrival, arrow_head, label_place, smooth
from .text import width

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
    if sheet.graph.scale:
        lines.append(_hatch)
    for frame in sheet.frames:
        time = f' data-t="{frame.time}"' if frame.time >= 0 else ""
        lines += _frame(frame, colours.FRAME, colours.FRAME_LINE, "step", time)
        for inner in frame.inner:
            lines += _frame(inner, colours.INNER, colours.INNER_LINE, "layer")
    for edge in sheet.graph.edges:
        lines += _edge(sheet, edge)
    for node in sheet.graph.nodes:
        lines += _node(node)
    lines += [_part(sheet.graph, edge) for edge in sheet.graph.edges if edge.part >= 0]
    lines += [_beside(edge) for edge in sheet.graph.edges if edge.label]
    lines += [_text(text) for text in sheet.texts]
    for key in sheet.keys:
        lines += _key(key)
    lines += [_sample(sample) for sample in sheet.samples]
    return "\n".join([*lines, "</svg>", ""])


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _frame(frame: Frame, fill: str, line: str, kind: str, data: str = "") -> Iterator[str]:
    yield f'<g class="{kind}"{data}>'
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
    colour, size, dashes = colours.edge_look(sheet.graph, edge)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    route = edge.route[::-1] if edge.back else edge.route
    start, *rest = smooth(route, sheet.sideways)
    curves = " ".join(" ".join(map(_p, rest[k : k + 3])) for k in range(0, len(rest), 3))
    head = " ".join(f"{_n(x)},{_n(y)}" for x, y in arrow_head(route, sheet.sideways))
    yield f'<g class="edge"{_ends(edge)}><title>{escape(edge.title)}</title>'
    yield (
        f'<path d="M{_p(start)} C{curves}" fill="none" stroke="{colour}" '
        f'stroke-width="{size}"{dashed}/><polygon points="{head}" fill="{colour}"/></g>'
    )


def _ends(edge: Edge) -> str:
    """Which records an arrow connects, for what is done with the picture."""
    if not edge.ends:
        return ""
    source, target, place = edge.ends[0]
    return f' data-source="{source}" data-target="{target}" data-place="{place}"'


def _part(graph: Graph, edge: Edge) -> str:
    """The number of the part of a tuple, beside the arrow's head."""
    (before, height), (x, y) = arrival(edge.route)
    level = abs(height - y) < 0.05
    x, y = (x - 14, y - 4) if level else (x - 10 if before > x + 1 else x + 4, y + 10)
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="9" fill="{colours.FAINT}">{edge.part}</text>'


def _beside(edge: Edge) -> str:
    """What stands beside an arrow: above its beginning."""
    x, y, end = label_place(edge)
    anchor = ' text-anchor="end"' if end else ""
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(SMALL)}" fill="{colours.STATE}"'
        f"{anchor}>{escape(edge.label)}</text>"
    )


def _node(node: Node) -> Iterator[str]:
    fill, line = colours.node_colours(node)
    bold = 2.2 if node.output or node.loud else 1.4 if node.kind == "parameter" else 1.0
    round_ = node.h / 2 if node.kind in ("parameter", "constant") and node.chip else 5
    bad = node.flow is not None and node.flow.bad
    dashes = ' stroke-dasharray="5 4"' if node.kind == "gap" or bad or node.mark == "−" else ""
    bold, fill = (2.6, "url(#hatch)") if bad else (bold, fill)
    ids = f' data-ids="{" ".join(map(str, node.ids))}"' if node.ids else ""
    yield f'<g class="node {node.kind}"{ids}><title>{escape(node.title)}</title>'
    if node.kind != "constant":
        yield (
            f'<rect x="{_n(node.x - node.w / 2)}" y="{_n(node.y - node.h / 2)}" '
            f'width="{_n(node.w)}" height="{_n(node.h)}" rx="{_n(round_)}" fill="{fill}" '
            f'stroke="{line}" stroke-width="{bold}"{dashes}/>'
        )
    yield from _label(node)
    yield from _badges(node)
    yield "</g>"


def _badges(node: Node) -> Iterator[str]:
    """At the corners: when the walk back comes by, how many cotangents add up; in which picture."""
    signs = [(node.order, -1, colours.INK), (f"+= {node.joins}" * (node.joins > 1), 1, "#7a3e00")]
    signs += [(node.mark, -1, colours.MARKS[node.mark][1])] if node.mark else []
    for words, side, ink in signs:
        if words:
            wide, y = width(words, 9) + 7, node.y - node.h / 2
            x = node.x + side * (node.w / 2 - wide / 2 + 5)
            yield (
                f'<rect x="{_n(x - wide / 2)}" y="{_n(y - 7)}" width="{_n(wide)}" height="13" '
                f'rx="6.5" fill="{colours.PAPER}" stroke="{ink}" stroke-width="0.8"/>'
                f'<text x="{_n(x)}" y="{_n(y + 2.7)}" font-size="9" fill="{ink}" '
                f'text-anchor="middle">{escape(words)}</text>'
            )


def _label(node: Node) -> Iterator[str]:
    lines = node.lines
    x, y = _n(node.x), node.y - (7.0 if len(lines) > 1 else 0.0)
    font = SMALL if node.chip else FONT
    words = f" <tspan {_shape_style}>{escape(node.words)}</tspan>" if node.words else ""
    first = escape(node.glyph) + (words if not node.chip else "")
    weight = ' font-weight="600"' if node.kind in ("op", "delay") else ""
    yield (
        f'<text x="{x}" y="{_n(y + font * 0.35)}" font-size="{_n(font)}"{weight} '
        f'text-anchor="middle">{first}</text>'
    )
    for line in lines[1:]:
        fill = f'{colours.ALARM}" font-weight="700' if node.loud else colours.FAINT
        yield (
            f'<text class="grad" x="{x}" y="{_n(y + 17.5)}" font-size="{_n(SMALL)}" fill="{fill}" '
            f'text-anchor="middle">{escape(line)}</text>'
        )


_shape_style = 'font-weight="400" font-size="11"'


_hatch = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#ffffff"/>'
    '<path d="M0 0V6" stroke="#000000" stroke-opacity="0.35" stroke-width="2"/></pattern></defs>'
)


def _sample(sample: Sample) -> str:
    """A piece of an arrow as the overlay paints it, and what it means."""
    colour, size, dashes = colours.flow_look(sample.flow)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<g class="scale"><path d="M{_n(sample.x)} {_n(sample.y)}h{_n(sample.w)}" fill="none" '
        f'stroke="{colour}" stroke-width="{size}"{dashed}/><text x="{_n(sample.x + sample.w + 6)}" '
        f'y="{_n(sample.y + 4)}" font-size="11">{escape(sample.words)}</text></g>'
    )


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
