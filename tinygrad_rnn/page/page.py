"""A finished page: HTML text that can be shown and saved; it holds no tensor."""

from __future__ import annotations

import os
from collections.abc import Container
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from ..formula.equations import Equations
from ..io.atomic import plain_path, write_atomically
from ..tape import Tape
from ..view.figure import Figure
from .backward import backward_text


class Page:
    """A run to step through, as one HTML file that needs no network. A notebook shows it.

    html: the file. figure: the picture in it. tape: the numbers in it. equations: those of each
    layer of which two steps do the same, by its name.
    """

    def __init__(self, html: str, figure: Figure, tape: Tape, equations: dict[str, Equations]):
        self.html, self.figure, self.tape, self.equations = html, figure, tape, equations

    @cached_property
    def text(self) -> str:
        """The backward pass as text: where each step is, and what it adds to which tensor."""
        return backward_text(self.tape)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page; an existing file is replaced, as a whole.

        Raises ValueError when the name does not end in .html, FileNotFoundError where there is no
        such folder, IsADirectoryError where the path is a folder.
        """
        target = Path(plain_path("save", path))
        if target.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"save: expected a file name ending in .html, got {str(target)!r}")
        write_atomically(target, self.html.encode("utf-8"), who="save")

    def _repr_html_(self) -> str:
        """The picture, which any viewer of notebooks shows, and the page where scripts may run."""
        picture = f'<div style="max-height:16em;overflow:auto">{self.figure.svg}</div>'
        return (
            f'{picture}<iframe sandbox="allow-scripts allow-downloads" '
            f'title="{escape(repr(self))}" style="width:100%;height:46em;border:0" '
            f'srcdoc="{escape(self.html)}"></iframe>'
        )

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        every = {
            "text/html": self._repr_html_(),
            "image/svg+xml": self.figure.svg,
            "text/plain": repr(self),
        }
        return {
            kind: text
            for kind, text in every.items()
            if (not include or kind in include) and not (exclude and kind in exclude)
        }

    def __repr__(self) -> str:
        forward = sum(r.kind == "op" for r in self.tape.records)
        backward = len(self.tape.backward)
        return (
            f"page: {forward:,} forward steps, {backward:,} backward, {len(self.html) // 1000:,} kB"
        )
