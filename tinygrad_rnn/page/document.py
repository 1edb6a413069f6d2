"""The page as one file: style, script, words, picture and data in a template, nothing fetched.

The template is filled once: no text of a run is ever read as a place to fill. A page may run no
script but its own, which the policy names by its hash.
"""

from __future__ import annotations

import base64
import gettext
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from ..formula.equations import Equations
from ..language import LOCALE
from ..view.figure import Figure

_edge_title = re.compile(r'(<g class="edge"[^>]*>)<title>[^<]*</title>')  # they are a tenth of it
SCRIPTS = ("numbers", "rules", "run", "graph", "panel", "strip", "main")


def document(
    data: Mapping[str, Any], figures: Mapping[str, Figure], equations: Mapping[str, Equations]
) -> str:
    """The whole HTML file."""
    title = escape(data["tape"].get("title", "tinygrad_rnn"))
    style = _file("page.css") + _dark([figure.svg for figure in figures.values()])
    script = "(() => {\n'use strict';\n" + "\n".join(_file(f"{s}.js") for s in SCRIPTS) + "})();\n"
    return Template(_file("page.html")).substitute(
        policy=_policy(script, [style, _file("graph.css")]),
        title=title,
        heading=title,
        page_css=style,
        graph_css=_file("graph.css"),
        levels="".join(_level_button(level) for level in data["levels"]),
        pictures=_pictures(figures),
        equations=_equations(equations),
        words=_json(_words()),
        data=_json(data),
        script=script,
    )


@cache
def _file(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _words() -> dict[str, list[str]]:
    """What the page says, by its key: in English, and in the Chinese of its catalogue."""
    chinese = gettext.translation("page", LOCALE, ["zh"]).pgettext
    english = json.loads(_file("words.json"))
    return {key: [text, chinese("page", text)] for key, text in english.items()}


def _level_button(level: str) -> str:
    return f'<button value="{level}" data-say="level_{level}"></button>'


def _equations(equations: Mapping[str, Equations]) -> str:
    """The equations of each layer."""
    turned = '<p class="facts" data-say="eq_turned"></p>'
    return "".join(
        f"<section><h3>{escape(layer)}</h3>{turned * (found.title != layer)}{found.html}</section>"
        for layer, found in equations.items()
    )


def _pictures(figures: Mapping[str, Figure]) -> str:
    """The first one as it is; the others packed, as they would make most of the file."""
    (level, figure), *others = figures.items()
    bare = _edge_title.sub(r"\1", figure.svg)
    lines = [f'<div class="level" data-level="{level}">{bare}</div>']
    for level, figure in others:
        packed = base64.b64encode(gzip.compress(figure.svg.encode("utf-8"), mtime=0)).decode()
        lines.append(
            f'<div class="level" data-level="{level}" hidden data-packed="{packed}"></div>'
        )
    return "\n".join(lines)


def _policy(script: str, styles: list[str]) -> str:
    """Nothing from anywhere, and of what is in the page only this script and these styles."""
    words = [f"script-src {_hash(script)}", f"style-src {' '.join(map(_hash, styles))}"]
    return "; ".join(["default-src 'none'", *words, "img-src data:"])


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(x: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(x, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


# -- the picture in the dark ----------------------------------------------------------------------


def _dark(pictures: list[str]) -> str:
    """A rule for each colour of the pictures that turns it round: light paper, dark ink."""
    found = sorted(set(re.findall(r'(fill|stroke)="(#[0-9a-f]{6})"', "".join(pictures))))
    return "".join(
        f':where(:root[data-theme=dark] [{kind}="{colour}"]) {{ {kind}: {_turned(colour)}; }}\n'
        for kind, colour in found
    )


def _turned(colour: str) -> str:
    """The same hue, as dark as it was light; not quite black, nor quite white."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    light = (max(parts) + min(parts)) / 2
    moved = [p + (0.93 - 0.8 * light) - light for p in parts]
    return "#" + "".join(f"{round(255 * min(1, max(0, p))):02x}" for p in moved)
