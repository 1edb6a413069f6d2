"""How Sphinx builds the site; `python docs/build.py` calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent  # conf.py is linked into the source: docs/..
project = "tinygrad_rnn"
copyright = "the authors of tinygrad_rnn, MIT licence"
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["site"]
templates_path = ["site/templates"]
language = "en"  # the other one is given on the command line
locale_dirs = [str(ROOT / "docs" / "locale")]
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
html_copy_source = False
html_show_sphinx = False
html_sidebars = {
    "**": [
        "sidebar/brand.html", "sidebar/search.html", "sidebar/scroll-start.html",
        "sidebar/navigation.html", "languages.html", "sidebar/scroll-end.html",
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


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (mathml, None), (mathml, None))
    app.connect("doctree-read", commands)


html_math_renderer = "mathml"
