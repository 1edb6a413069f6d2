"""A canvas: boxes, lines and words at their places. It is written as SVG, or handed to graphviz.

Every picture is marks on a canvas, so all of them look alike in every format, and no other file
writes a tag. x runs to the right, y downwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeAlias

from .look import INK, PAPER
from .text import width

Point: TypeAlias = tuple[float, float]

FONTS = (
    "system-ui, 'Segoe UI', 'Noto Sans', 'Helvetica Neue', Arial, 'Noto Sans CJK SC', "
    "'PingFang SC', 'Microsoft YaHei', sans-serif"
)
FONT = "Helvetica,Arial,sans-serif"  # for graphviz
NONE = "none"
HATCHED, DOTTED = "hatched", "dotted"  # fills: what is not finite, and where nothing arrives
DOTS = "1 3"  # the dashes of a line on which nothing arrives
MARGIN = 20.0


@dataclass
class Pen:
    """How a shape is drawn: filled, outlined, by a line of this width and these dashes."""

    fill: str = NONE
    line: str = NONE
    size: float = 1.0
    dashes: str = ""


@dataclass
class Box:
    """A rectangle, from its upper left corner."""

    x: float
    y: float
    w: float
    h: float
    pen: Pen
    round: float = 0.0
    kind: str = ""
    title: str = ""


@dataclass
class Path:
    """Lines through points; curved, three points for each Bézier curve after the first point."""

    parts: list[list[Point]]
    pen: Pen
    closed: bool = False
    curved: bool = False
    kind: str = ""


@dataclass
class Text:
    """A line of words on a base line; its tail is never bold."""

    x: float
    y: float
    words: str
    size: float = 11.0
    colour: str = INK
    bold: bool = False
    at: str = "start"  # or "middle", or "end": which of its points x is
    kind: str = ""
    tail: str = ""

    @property
    def span(self) -> tuple[float, float]:
        """The ends of it in the widest font."""
        wide = width(f"{self.words} {self.tail}".rstrip(), self.size)
        left = self.x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.at]
        return left, left + wide


@dataclass
class Group:
    """Marks that are one thing. data: what a page has to know of it."""

    kind: str
    marks: list[Any]
    title: str = ""
    data: dict[str, object] = field(default_factory=dict)


class Canvas:
    """Marks on paper of this size, in the order in which they are painted."""

    def __init__(self, width: float = 0.0, height: float = 0.0):
        self.width, self.height = width, height
        self.marks: list[Any] = []

    @contextmanager
    def group(self, kind: str, title: str = "", /, **data: object) -> Iterator[None]:
        """What is drawn meanwhile is one thing. data: where it is None, it is left out."""
        outer, self.marks = self.marks, []
        yield
        known = {key: value for key, value in data.items() if value is not None}
        outer.append(Group(kind, self.marks, title, known))
        self.marks = outer

    def box(
        self, x: float, y: float, w: float, h: float, fill: str = NONE, line: str = NONE,
        size: float = 1.0, *, dashes: str = "", round: float = 0.0, kind: str = "", title: str = "",
    ) -> None:  # fmt: skip
        """A rectangle; its fill is a colour, or `HATCHED`, or `DOTTED`."""
        pattern, fill = fill, PAPER if fill in (HATCHED, DOTTED) else fill
        self.marks.append(Box(x, y, w, h, Pen(fill, line, size, dashes), round, kind, title))
        if pattern == HATCHED:
            self.marks.append(Path(_hatching(x, y, w, h), Pen(line=HATCH, size=1.2), kind="hatch"))
        elif pattern == DOTTED:
            rows = [y + 3 + 5 * k for k in range(int((h - 1) // 5))]
            dots = [[(x + 2, v), (x + w - 2, v)] for v in rows]
            self.marks.append(Path(dots, Pen(line=DOT, dashes="1 4"), kind="dots"))

    def line(
        self, points: Sequence[Point], colour: str, size: float = 1.0, dashes: str = "",
        *, curved: bool = False, kind: str = "",
    ) -> None:  # fmt: skip
        """A line through points, or a chain of Bézier curves."""
        pen, digits = Pen(line=colour, size=size, dashes=dashes), 1 if curved else 2
        rounded = [(round(x, digits), round(y, digits)) for x, y in points]
        self.marks.append(Path([rounded], pen, curved=curved, kind=kind))

    def shape(self, parts: Iterable[Sequence[Point]], fill: str, kind: str = "") -> None:
        """Areas of one colour."""
        self.marks.append(Path([list(p) for p in parts], Pen(fill), closed=True, kind=kind))

    def lines(
        self, parts: Iterable[Sequence[Point]], colour: str, size: float, kind: str = ""
    ) -> None:
        """Several lines that are one thing."""
        self.marks.append(Path([list(p) for p in parts], Pen(line=colour, size=size), kind=kind))

    def dot(self, x: float, y: float, radius: float, colour: str, kind: str = "") -> None:
        """A round dot."""
        size = 2 * radius
        self.box(x - radius, y - radius, size, size, colour, round=radius, kind=kind)

    def text(self, x: float, y: float, words: str, size: float = 11.0, **look: Any) -> None:
        """Words, if there are any, see `Text`; the paper is as wide as they are in any font."""
        if words:
            self.marks.append(Text(x, y, words, size, **look))
            self.width = max(self.width, self.marks[-1].span[1] + MARGIN)

    # -- as text -------------------------------------------------------------------------------

    def svg(self, title: str) -> str:
        """One self-contained document: nothing has to be fetched."""
        wide, high = _n(self.width), _n(self.height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
            f'viewBox="0 0 {wide} {high}" role="img" font-family="{FONTS}" fill="{INK}">\n'
            f"<title>{escape(title)}</title>\n"
            f'<rect width="{wide}" height="{high}" rx="8" fill="{PAPER}"/>\n'
            + "".join(f"{line}\n" for mark in self.marks for line in _tags(mark))
            + "</svg>\n"
        )

    def painted(self) -> str:
        """DOT text without nodes: graphviz paints all marks as a background."""
        return f"digraph {{\n  {background(self, self.marks)}\n}}\n"


HATCH, DOT = "#555555", "#9aa5b1"


def _hatching(x: float, y: float, w: float, h: float) -> list[list[Point]]:
    """Lines across a rectangle, upwards to the right."""
    found = []
    for k in range(3, int(w + h), 6):
        start = (x, y + k) if k <= h else (x + k - h, y + h)
        found.append([start, (x + k, y) if k <= w else (x + w, y + k - w)])
    return found


def _n(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _p(point: Point, between: str = " ") -> str:
    return f"{_n(point[0])}{between}{_n(point[1])}"


# -- SVG -----------------------------------------------------------------------------------------


def _tags(mark: Any) -> Iterator[str]:
    if isinstance(mark, Group):
        data = "".join(f' data-{key}="{escape(str(v))}"' for key, v in mark.data.items())
        title = f"<title>{escape(mark.title)}</title>" if mark.title else ""
        inside = "".join(line for one in mark.marks for line in _tags(one))
        yield f'<g class="{mark.kind}"{data}>{title}{inside}</g>'
        return
    named = f' class="{mark.kind}"' if mark.kind else ""
    yield _WRITERS[type(mark)](mark, named)


def _box(mark: Box, named: str) -> str:
    round = f' rx="{_n(mark.round)}"' if mark.round else ""
    rect = (
        f'<rect{named} x="{_n(mark.x)}" y="{_n(mark.y)}" width="{_n(mark.w)}" '
        f'height="{_n(mark.h)}"{round}{_look(mark.pen)}'
    )
    return f"{rect}><title>{escape(mark.title)}</title></rect>" if mark.title else f"{rect}/>"


def _path(mark: Path, named: str) -> str:
    if len(mark.parts) == 1 and not mark.curved:
        points = " ".join(_p(point, ",") for point in mark.parts[0])
        return (
            f'<poly{"gon" if mark.closed else "line"}{named} points="{points}"{_look(mark.pen)}/>'
        )
    d = ""
    for start, *rest in mark.parts:
        d += f"M{_p(start)}{'C' if mark.curved else 'L'}{' '.join(map(_p, rest))}"
        d += "z" * mark.closed
    return f'<path{named} d="{d}"{_look(mark.pen)}/>'


def _text(mark: Text, named: str) -> str:
    bold = ' font-weight="600"' if mark.bold else ""
    colour = f' fill="{mark.colour}"' if mark.colour != INK else ""
    anchor = f' text-anchor="{mark.at}"' if mark.at != "start" else ""
    tail = f' <tspan font-weight="400">{escape(mark.tail)}</tspan>'
    return (
        f'<text{named} x="{_n(mark.x)}" y="{_n(mark.y)}" font-size="{_n(mark.size)}"{bold}{colour}'
        f"{anchor}>{escape(mark.words)}{tail if mark.tail else ''}</text>"
    )


def _look(pen: Pen) -> str:
    line = f' stroke="{pen.line}"' if pen.line != NONE else ""
    if line and pen.size != 1:
        line += f' stroke-width="{_n(pen.size)}"'
    if line and pen.dashes:
        line += f' stroke-dasharray="{pen.dashes}"'
    return f' fill="{pen.fill}"{line}'


_WRITERS: dict[type, Callable[[Any, str], str]] = {Box: _box, Path: _path, Text: _text}


# -- for graphviz --------------------------------------------------------------------------------


def background(canvas: Canvas, marks: Iterable[Any]) -> str:
    """The paper, and marks on it in graphviz's language xdot, as attributes of a graph."""
    chunks = [""]
    for line in (line for mark in marks for line in _xdot(mark)):
        if len(chunks[-1]) > 4000:  # graphviz reads no string of more than 16 kB
            chunks.append("")
        chunks[-1] += f" {line} \n"  # with a space, as a backslash at the end would join lines
    drawn = "\n    + ".join('"' + chunk.replace('"', '\\"') + '"' for chunk in chunks)
    wide, high = canvas.width, canvas.height
    place = f'pos="{_n(wide / 2)},{_n(-high / 2)}", width={wide / 72:.4f}, height={high / 72:.4f}'
    return (  # the paper's own margins: graphviz would cut it to what stands on it
        f'graph [bb="0,{_n(-high)},{_n(wide)},0", pad=0, margin=0, bgcolor=white,\n'
        f"    _background={drawn}]\n"
        f'  paper [style=invis, label="", shape=box, fixedsize=true, {place}]'
    )


def _xdot(mark: Any) -> Iterator[str]:
    if isinstance(mark, Group):
        for one in mark.marks:
            yield from _xdot(one)
    elif isinstance(mark, Text):
        words = f"{mark.words} {mark.tail}".rstrip().replace('"', "''")
        at = {"start": -1, "middle": 0, "end": 1}[mark.at]
        y = _n(-mark.y - 0.2 * mark.size)  # graphviz moves what it paints up by so much
        yield f"t {int(mark.bold and not mark.tail)} c {_string(mark.colour)}"
        yield f"F {_n(mark.size)} {_string(FONT)} T {_n(mark.x)} {y} {at} 0 {_string(words)}"
    elif isinstance(mark, Box):
        yield from _xdot(Path([_outline(mark)], mark.pen, True, bool(mark.round)))
    else:
        pen = mark.pen
        style = "dotted" if pen.dashes.startswith("1 ") else "dashed" if pen.dashes else "solid"
        width = f"setlinewidth({_n(pen.size)})"
        line = pen.line if pen.line != NONE else pen.fill
        yield f"S {_string(style)} S {_string(width)} c {_string(line)} C {_string(pen.fill)}"
        filled = pen.fill != NONE
        letter = ("bB" if mark.curved else "Pp" if mark.closed else "LL")[not filled]
        for part in mark.parts:
            yield f"{letter} {len(part)} " + " ".join(_p((x, -y)) for x, y in part)


def _string(text: str) -> str:
    return f"{len(text.encode())} -{text}"


def _outline(box: Box) -> list[Point]:
    """The corners of a box; of a round one the control points of Bézier curves around it."""
    left, top, right, bottom = box.x, box.y, box.x + box.w, box.y + box.h
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if not box.round:
        return corners
    found: list[Point] = []
    r = min(box.round, box.w / 2, box.h / 2)
    ways = [((0, 1), (1, 0)), ((-1, 0), (0, 1)), ((0, -1), (-1, 0)), ((1, 0), (0, -1))]
    for (x, y), ((a, b), (c, d)) in zip(corners, ways, strict=True):
        enter, leave = (x + a * r, y + b * r), (x + c * r, y + d * r)
        if found:
            found += [found[-1], enter]  # straight on from the corner before
        near = 0.45 * r
        bend = [(x + a * near, y + b * near), (x + c * near, y + d * near)]
        found += [enter, *bend, leave]
    return [*found, found[-1], found[0], found[0]]
