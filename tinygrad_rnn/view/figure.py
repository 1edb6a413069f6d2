"""A finished picture: it can be looked at, saved and passed on; it holds no tensor."""

from __future__ import annotations

import os
from collections.abc import Container
from functools import cached_property
from pathlib import Path
from typing import Any

from ..io.atomic import plain_path, write_atomically
from ..limits import one_of
from .canvas import Canvas
from .dot import dot
from .layout import Sheet
from .paint import paint
from .render import FORMATS, render
from .text import count


class Picture:
    """A picture, which a notebook shows, and `save` writes in many formats, alike in all.

    >>> picture = tg.view.curve([1.0, 2.0])
    >>> isinstance(picture, tg.view.Picture), picture.svg[:4]
    (True, '<svg')
    >>> picture.save("curve.svg")
    >>> picture.render("svg")[:4]
    b'<svg'
    """

    suffixes: tuple[str, ...] = (".svg", *(f".{format}" for format in FORMATS))

    def __init__(self, canvas: Canvas, words: str, title: str = ""):
        self._canvas, self._words, self._title = canvas, words, title or words

    @cached_property
    def svg(self) -> str:
        """The picture as a self-contained SVG document."""
        return self._canvas.svg(self._title)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the suffix says how. An existing file is replaced, as a whole.

        Raises ValueError for a suffix that is not known, FileNotFoundError where there is no such
        folder, IsADirectoryError where the path is a folder, and what `render` raises.
        """
        target = Path(plain_path("save", path))
        suffix = target.suffix.lower()
        if suffix not in self.suffixes:
            raise ValueError(
                f"save: expected a file name ending in {', '.join(self.suffixes)}, "
                f"got {str(target)!r}"
            )
        write_atomically(target, self.render(suffix[1:]), who="save")

    def render(self, format: str) -> bytes:
        """The picture as a file in memory: "svg" as written here, "png", "pdf", … by graphviz.

        Raises ValueError for a format that is not known, GraphvizNotFound where graphviz is
        needed and missing, RuntimeError where it fails.
        """
        one_of("render", "format", format, [suffix[1:] for suffix in self.suffixes])
        return self.svg.encode() if format == "svg" else render(self._canvas.painted(), format)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        both = {"image/svg+xml": self.svg, "text/plain": repr(self)}
        return {
            kind: text
            for kind, text in both.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    def __repr__(self) -> str:
        return self._words


class Figure(Picture):
    """The picture of a graph, also as DOT text.

    nodes, edges: how many are drawn (the legend not counted).
    steps: how many time steps the graph has, of which `hidden_steps` are folded away.

    >>> x = tg.tensor([1.0], requires_grad=True, name="x")
    >>> figure = tg.draw(x * 2.0)
    >>> isinstance(figure, tg.view.Figure), figure.dot[:7], figure.render("dot")[:7]
    (True, 'digraph', b'digraph')
    """

    as_dot = (".dot", ".gv")
    suffixes = (".svg", *as_dot, *Picture.suffixes[1:])

    def __init__(self, canvas: Canvas, sheet: Sheet):
        graph = sheet.graph
        self.nodes, self.edges = len(graph.nodes), len(graph.edges)
        self.steps, self.hidden_steps = graph.steps, graph.hidden_steps
        self._sheet = sheet
        paint(canvas, sheet)
        sheet.width, sheet.height = canvas.width, canvas.height
        words = [count(self.nodes, "node"), count(self.edges, "edge")]
        if self.steps:
            shown = self.steps - self.hidden_steps
            hidden = f" ({shown} shown)" if self.hidden_steps else ""
            words.insert(0, count(self.steps, "step") + hidden)
        super().__init__(canvas, f"figure: {', '.join(words)}")

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text with all places given, for `neato -n2`."""
        return dot(self._canvas, self._sheet.graph)

    def render(self, format: str) -> bytes:
        """The picture as a file in memory, as of any `Picture`; "dot" and "gv" are the DOT text."""
        return self.dot.encode() if f".{format}" in self.as_dot else super().render(format)
