"""The sentences of the code in other languages: `python docs/words.py` writes what it finds.

`tinygrad_rnn/locale/zh/LC_MESSAGES/tinygrad_rnn.po` has what the command says, and the refusals of
the error catalogue; what is not translated there yet is added, what the code does not say any more
is taken out, and the .mo is made from it.
"""

from __future__ import annotations

import ast
import re
import sys
from datetime import datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tinygrad_rnn import language

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_rnn"
PO = PACKAGE / "locale" / "zh" / "LC_MESSAGES" / "tinygrad_rnn.po"


def template(node: ast.AST) -> str:
    """A text of the code with {} for what is filled in; "" if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and template(node.left):
        return template(node.left) + (template(node.right) or "{}")
    return ""


def texts(path: Path) -> set[str]:
    """All texts in a file, docstrings left out."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in node.values
    }  # fmt: skip
    found = {template(node) for node in ast.walk(tree) if id(node) not in skipped}
    return {text.strip() for text in found if " " in text.strip()}


def worth(text: str, least: int = 5) -> bool:
    """Whether a text has letters enough to be told from others."""
    letters = re.sub(r"[^A-Za-z]", "", text)
    return "{" not in text.replace("{}", "") and len(letters) >= least


def spoken() -> set[str]:
    """What the command says, and Python's parser of arguments for it: all of it is translated."""
    own = {word for path in (PACKAGE / "cli").glob("*.py") for word in texts(path)}
    return {text for text in own if worth(text)} | {
        "usage: ", "options", "positional arguments", "show this help message and exit",
        "show program's version number and exit", "%(prog)s: error: %(message)s\n",
        "the following arguments are required: %s", "unrecognized arguments: %s",
        "argument %(argument_name)s: %(message)s", "expected one argument",
        "invalid choice: %(value)r (choose from %(choices)s)",
    }  # fmt: skip


def sentences(way: language.Reading) -> set[str]:
    """All that a text was read as."""
    return {way.sentence}.union(*map(sentences, way.parts)) - {""}


def refusals() -> set[str]:
    """What is refused on the page of errors, as the code has it; not what NumPy says there."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    shown = re.findall(r"^\w+(?:Error|Warning|Diverged|Untraceable|NotFound): (.+)$", page, re.M)
    every = {word for path in PACKAGE.rglob("*.py") for word in texts(path) if worth(word, 3)}
    patterns = {word: language.pattern(word) for word in sorted(every)}
    return {word for text in shown for word in sentences(language.read(text, patterns))}


def kept() -> Catalog:
    """The translations that are there."""
    return read_po(BytesIO(PO.read_bytes()), locale="zh") if PO.exists() else Catalog("zh")


def compiled(catalogue: Catalog) -> bytes:
    """A catalogue as gettext reads it; the same sentences give the same bytes."""
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1)
    file = BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def main() -> None:
    found, missing, before = Catalog("zh"), [], kept()
    for text in sorted(spoken() | refusals()):
        known = before.get(text)
        found.add(text, known.string if known else "")
        missing += [] if known and known.string else [text]
    PO.parent.mkdir(parents=True, exist_ok=True)
    with PO.open("wb") as file:
        write_po(file, found, width=0, omit_header=True)
    PO.with_suffix(".mo").write_bytes(compiled(kept()))
    print(f"{len(found)} sentences, {len(missing)} without a translation")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
