"""A finished picture: text that can be looked at, saved and passed on; it holds no tensor."""

from __future__ import annotations

import os
from collections.abc import Container
from functools import cached_property
from pathlib import Path
from typing import Any

from ..io import write_atomically
from .dot import dot
from .layout import Sheet
from .render import FORMATS, render
from .svg import svg


class Picture:
    """A picture as SVG text. A notebook shows it; `save` writes it.

    svg: a self-contained document.
    """

    suffixes: tuple[str, ...] = (".svg",)

    def __init__(self, svg: str, words: str):
        self.svg, self._words = svg, words

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture; the suffix says how. An existing file is replaced, as a whole.

        Raises ValueError for a suffix that is not known, FileNotFoundError where there is no such
        folder, IsADirectoryError where the path is a folder.
        """
        target = Path(os.fspath(path))
        suffix = target.suffix.lower()
        if suffix not in self.suffixes:
            raise ValueError(
                f"save: expected a file name ending in {', '.join(self.suffixes)}, "
                f"got {str(target)!r}"
            )
        write_atomically(target, self._content(suffix), who="save")

    def _content(self, suffix: str) -> bytes:
        return self.svg.encode("utf-8")

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
    """The picture of a graph, also as DOT text and in the formats that graphviz can paint.

    nodes, edges: how many are drawn (the legend not counted).
    steps: how many time steps the graph has, of which `hidden_steps` are folded away.
    """

    suffixes = (".svg", ".dot", ".gv", *(f".{format}" for format in FORMATS))

    def __init__(self, sheet: Sheet):
        graph = sheet.graph
        self.nodes, self.edges = len(graph.nodes), len(graph.edges)
        self.steps, self.hidden_steps = graph.steps, graph.hidden_steps
        self._sheet = sheet
        words = _summary(self)
        super().__init__(svg(sheet, words), words)

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text with all places given, for `neato -n2`."""
        return dot(self._sheet)

    def render(self, format: str) -> bytes:
        """The picture as a file in memory: "svg" and "dot" as written here, others by graphviz.

        Raises ValueError for a format that is not known, GraphvizNotFound where graphviz is
        needed and missing, RuntimeError where it fails.
        """
        if not isinstance(format, str) or f".{format}" not in self.suffixes:
            known = ", ".join(suffix[1:] for suffix in self.suffixes)
            raise ValueError(f"render: format: expected one of {known}, got {format!r}")
        return self._content(f".{format}")

    def _content(self, suffix: str) -> bytes:
        if suffix == ".svg":
            return self.svg.encode("utf-8")
        if suffix in (".dot", ".gv"):
            return self.dot.encode("utf-8")
        return render(self.dot, suffix[1:])


def _summary(figure: Figure) -> str:
    def count(number: int, word: str) -> str:
        return f"{number:,} {word}{'s' * (number != 1)}"

    words = [count(figure.nodes, "node"), count(figure.edges, "edge")]
    if figure.steps:
        shown = figure.steps - figure.hidden_steps
        words.insert(
            0, count(figure.steps, "step") + (f" ({shown} shown)" * (shown < figure.steps))
        )
    return f"figure: {', '.join(words)}"
