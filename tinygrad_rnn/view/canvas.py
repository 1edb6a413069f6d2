"""A canvas: boxes, lines and words at their places. It is written as SVG, or handed to graphviz.

Every picture is marks on a canvas, so all of them look alike in every format, and no other file
writes a tag. x runs to the right, y downwards.
"""

from __future__ import annotations

import math
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
WORDS = 11.0  # the size of letters that nothing else is said of
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
    size: float = WORDS
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
        outer.append(Group(kind, self.marks, title, data))
        self.marks = outer

    def box(
        self, x: float, y: float, w: float, h: float, fill: str = NONE, line: str = NONE,
        size: float = 1.0, *, dashes: str = "", round: float = 0.0, kind: str = "", title: str = "",
    ) -> None:  # fmt: skip
        """A rectangle; its fill is a colour, or `HATCHED`, or `DOTTED`."""
        pattern, fill = fill, PAPER if fill in (HATCHED, DOTTED) else fill
        self.marks.append(Box(x, y, w, h, Pen(fill, line, size, dashes), round, kind, title))
        if pattern == HATCHED:
            self.lines(_hatching(x, y, w, h), HATCH, 1.2, kind="hatch")
        elif pattern == DOTTED:
            rows = [y + 3 + 5 * k for k in range(int((h - 1) // 5))]
            dots = [[(x + 2, v), (x + w - 2, v)] for v in rows]
            self.lines(dots, DOT, dashes="1 4", kind="dots")

    def line(self, points: Sequence[Point], *look: Any, **more: Any) -> None:
        """A line through points, see `lines`."""
        self.lines([points], *look, **more)

    def lines(
        self, parts: Iterable[Sequence[Point]], colour: str, size: float = 1.0, dashes: str = "",
        *, curved: bool = False, kind: str = "",
    ) -> None:  # fmt: skip
        """Several lines that are one thing, through points, or chains of Bézier curves."""
        pen, digits = Pen(line=colour, size=size, dashes=dashes), 1 if curved else 2
        rounded = [[(round(x, digits), round(y, digits)) for x, y in part] for part in parts]
        self.marks.append(Path(rounded, pen, curved=curved, kind=kind))

    def shape(self, parts: Iterable[Sequence[Point]], fill: str, kind: str = "") -> None:
        """Areas of one colour."""
        self.marks.append(Path([list(p) for p in parts], Pen(fill), closed=True, kind=kind))

    def text(self, x: float, y: float, words: str, size: float = WORDS, **look: Any) -> None:
        """Words, if there are any, see `Text`; the paper is as wide as they are in any font."""
        if words:
            self.marks.append(Text(x, y, words, size, **look))
            self.width = max(self.width, self.marks[-1].span[1] + MARGIN)

    # -- as text -------------------------------------------------------------------------------

    def svg(self, title: str) -> str:
        """One self-contained document: nothing has to be fetched."""
        wide, high = _n(self.width), _n(self.height)
        paper = {"xmlns": "http://www.w3.org/2000/svg", "width": wide, "height": high}
        paper |= {"viewBox": f"0 0 {wide} {high}", "role": "img", "font-family": FONTS}
        sheet = _tag("rect", width=wide, height=high, rx=8, fill=PAPER)
        lines = ["", _title(title), sheet, *map(_svg, self.marks), ""]
        return _tag("svg", "\n".join(lines), **paper, fill=INK) + "\n"

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


def _tag(name: str, inside: str = "", /, **attributes: object) -> str:
    """An element; an attribute that is empty is left out."""
    told = ""
    for key, value in attributes.items():
        if value not in (None, ""):
            text = _n(value) if isinstance(value, int | float) else str(value)
            told += f' {key.strip("_").replace("_", "-")}="{text}"'
    return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def _svg(mark: Any) -> str:
    if isinstance(mark, Group):
        known = {key: value for key, value in mark.data.items() if value is not None}
        data = {f"data-{key}": escape(str(value)) for key, value in known.items()}
        inside = _title(mark.title) + "".join(map(_svg, mark.marks))
        return _tag("g", inside, class_=mark.kind, **data)
    return _WRITERS[type(mark)](mark)


def _box(mark: Box) -> str:
    return _tag(
        "rect", _title(mark.title), class_=mark.kind, x=mark.x, y=mark.y, width=mark.w,
        height=mark.h, rx=mark.round or None, **_look(mark.pen),
    )  # fmt: skip


def _path(mark: Path) -> str:
    if len(mark.parts) == 1 and not mark.curved:
        name = "polygon" if mark.closed else "polyline"
        points = " ".join(_p(point, ",") for point in mark.parts[0])
        return _tag(name, class_=mark.kind, points=points, **_look(mark.pen))
    d = ""
    for start, *rest in mark.parts:
        d += f"M{_p(start)}{'C' if mark.curved else 'L'}{' '.join(map(_p, rest))}"
        d += "z" * mark.closed
    return _tag("path", class_=mark.kind, d=d, **_look(mark.pen))


def _text(mark: Text) -> str:
    tail = " " + _tag("tspan", escape(mark.tail), font_weight=400) if mark.tail else ""
    return _tag(
        "text", escape(mark.words) + tail, class_=mark.kind, x=mark.x, y=mark.y,
        font_size=mark.size, font_weight="600" * mark.bold,
        fill=mark.colour.removeprefix(INK), text_anchor=mark.at.removeprefix("start"),
    )  # fmt: skip


def _look(pen: Pen) -> dict[str, object]:
    look: dict[str, object] = {"fill": pen.fill}
    if pen.line != NONE:
        look |= {"stroke": pen.line, "stroke_width": pen.size if pen.size != 1 else None}
        look["stroke_dasharray"] = pen.dashes
    return look


_WRITERS: dict[type, Callable[[Any], str]] = {Box: _box, Path: _path, Text: _text}


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
        yield from _xdot(Path([_outline(mark)], mark.pen, closed=True))
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
    """The corners of a box, of a round one the points on arcs around them."""
    r = min(box.round, box.w / 2, box.h / 2)
    left, top, right, bottom = box.x + r, box.y + r, box.x + box.w - r, box.y + box.h - r
    corners = [(right, bottom), (left, bottom), (left, top), (right, top)]
    arcs = [(corner, k + j / 6) for k, corner in enumerate(corners) for j in range(7)]
    turns = [(corner, math.pi / 2 * quarters) for corner, quarters in arcs]
    around = [(x + r * math.cos(turn), y + r * math.sin(turn)) for (x, y), turn in turns]
    return around if r else corners
