"""How Sphinx builds the site; `python docs/build.py` calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from myst_nb.core import render
from sphinx import addnodes
from sphinx.search.en import SearchEnglish
from sphinx.util import logging

LESSON = 20  # seconds
logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent  # conf.py is linked into the source: docs/..
project = "tinygrad_rnn"
copyright = "the authors of tinygrad_rnn, MIT licence"
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["site"]
templates_path = ["site/templates"]
language = "en"  # the other one is given on the command line
locale_dirs = [str(ROOT / "build" / "site" / "locale")]  # a copy: Sphinx compiles it in place
gettext_compact = False
gettext_location = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "cache"  # run once: the second language finds the first one's answers
nb_execution_cache_path = str(ROOT / "build" / "site" / "cells")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = ">>> "

html_theme = "furo"
html_title = "tinygrad_rnn"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_search_scorer = str(ROOT / "docs" / "site" / "scorer.js")
html_copy_source = False
html_show_sphinx = False
html_sidebars = {
    "**": [
        "sidebar/brand.html", "languages.html", "sidebar/search.html",
        "sidebar/scroll-start.html", "sidebar/navigation.html", "sidebar/scroll-end.html",
    ]
}  # fmt: skip
suppress_warnings = ["mystnb.unknown_mime_type"]


def mathml(self: Any, node: nodes.Element) -> None:
    """A formula as MathML, which browsers show without a script."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def commands(app: Any, document: nodes.document) -> None:
    """Show a cell that is run by the shell as a command."""
    for block in document.findall(nodes.literal_block):
        first, _, rest = block.astext().partition("\n")
        if first == "%%sh":
            block.children = [nodes.Text(rest)]
            block.rawsource, block["language"] = rest, "sh"


HAN = "\\u3400-\\u9fff"
SOUGHT = json.loads((ROOT / "docs" / "site" / "sought.json").read_text("utf-8"))


def sought(app: Any, document: nodes.document) -> None:
    """Let a page be found by words that others say for what it says: by each, and by the whole."""
    page = app.env.docname
    if page in SOUGHT and app.builder.format == "html":
        words = ", ".join(Pairs({}).split(SOUGHT[page]))
        document.append(nodes.meta(name="keywords", content=words))
        whole = [("single", entry, "", "main", None) for entry in SOUGHT[page].split(", ")]
        document.append(addnodes.index(entries=whole))


class Pairs(SearchEnglish):
    """Search in Chinese: two neighbouring characters of a word are one."""

    lang = "zh"
    js_splitter_code = f"""
const words = (run) => {{
  const found = "Segmenter" in Intl
    ? Array.from(new Intl.Segmenter("zh", {{ granularity: "word" }}).segment(run), (x) => x.segment)
    : [];
  const long = found.filter((word) => word.length > 1);
  return long.length ? long : [run];
}};
const pairs = (word) => word.length === 1 ? [word]
  : Array.from(word).slice(1).map((character, place) => word[place] + character);
var splitQuery = (query) => {{
  const runs = query.match(/[{HAN}]+|[^\\s\\p{{P}}\\p{{S}}{HAN}]+|_/gu) || [];
  const found = runs.flatMap((run) => /[{HAN}]/.test(run) ? words(run).flatMap(pairs) : [run]);
  const long = found.filter((word) => word.length > 1);
  return long.length ? long : found;  // 的, 和, 在 are on every page
}};
"""

    def split(self, text: str) -> list[str]:
        """All words, of Chinese all characters and pairs of them."""
        han = re.findall(f"[{HAN}]+", text)
        pairs = [run[k : k + n] for run in han for n in (1, 2) for k in range(len(run) + 1 - n)]
        return pairs + re.findall(rf"[^\W{HAN}]+", text)

    def word_filter(self, word: str) -> bool:
        """Single characters count, if they are Chinese."""
        return bool(re.match(f"[{HAN}]", word)) or super().word_filter(word)


def timed(app: Any, error: Exception | None) -> None:
    """Warn of a lesson that takes a learner's patience: its cells may run for 20 seconds."""
    for name, data in app.env.nb_metadata.items():
        seconds = data.get("exec_data", {}).get("runtime") or 0
        if re.match(r"course/\d", name) and seconds > LESSON:
            logger.warning("%s: its cells took %.0f seconds, of %d", name, seconds, LESSON)


def joined(outputs: list[Any]) -> list[Any]:
    """What a cell prints, in one piece: myst_nb's own breaks a line where a piece ends."""
    whole: list[Any] = []
    for output in outputs:
        name = output.get("name")
        begun = [w for w in whole if name and w.get("name") == name]
        if begun:
            begun[0]["text"] += output["text"]
        else:
            whole.append(output)
    return whole


def setup(app: Any) -> None:
    render.coalesce_streams = joined
    app.add_search_language(Pairs)
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("doctree-read", commands)
    app.connect("doctree-read", sought)
    app.connect("build-finished", timed)


html_math_renderer = "mathml"
