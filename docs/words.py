"""The sentences of the code in other languages: `python docs/words.py` writes what it finds.

Of the catalogues in `tinygrad_rnn/locale/zh/LC_MESSAGES/`, `tinygrad_rnn.po` has what the command
says, and the refusals of the error catalogue, `page.po` the words of the page of a run, in a
context of their own, and `lesson_NN.po` those of a lesson. What is not translated there yet is
added, what the code does not say any more is taken out, and each .mo is made from its .po.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from datetime import datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tinygrad_rnn import language
from tinygrad_rnn.course.words import paragraphs, passages

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_rnn"
CATALOGUES = PACKAGE / "locale" / "zh" / "LC_MESSAGES"
# Where all sentences are read by people.
SPEAKING = ("cli/*", "conform/*", "course/*", "data/text", "io/atomic", "likeness")


OF_OTHERS = {  # what Python and NumPy say in refusals, and how things in a row are said
    "The detected shape was {} + inhomogeneous part", "{}: int too large to convert to float",
    "assignment destination is read-only", "output array is read-only",
    "Unable to allocate {} for an array with shape {} and data type {}",
    "zero-size array to reduction operation {} which has no identity",
    "axis: axis {} is out of bounds for array of dimension {}",
    "cannot reshape array of size {} into shape {}",
    "operands could not be broadcast together with shapes {}",
    "index {} is out of bounds for axis {} with size {}", "integer division or modulo by zero",
    "{}: {}: expected floats of at most 64 bits, integers or bools, got {}. {}",
    "{}: expected {} <= {} < {}, got values from {} to {}", "{}, a tensor {}",
    "{}, called at {}, in {}",
}  # fmt: skip


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
    own = {w for room in SPEAKING for path in PACKAGE.glob(f"{room}.py") for w in texts(path)}
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
    """What is refused on the page of errors, as the code has it, or Python and NumPy."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    shown = re.findall(r"^[A-Z]\w+: (.+)$", page, re.M)
    files = [p for p in PACKAGE.rglob("*.py") if not p.parent.name.startswith("lesson_")]
    every = {word for path in files for word in texts(path) if worth(word, 3)}
    patterns = {word: language.pattern(word) for word in sorted(every | OF_OTHERS)}
    return {word for text in shown for word in sentences(language.read(text, patterns))}


def of_lesson(folder: Path) -> set[str]:
    """The words of a lesson: of its file, its checks, and the kinds of its mistakes."""
    exercise, checks, mutants = (folder / f"{n}.py" for n in ("exercise", "checks", "mutants"))
    own = passages(exercise.read_text("utf-8"))
    found = {text for p in own for text in paragraphs(p) if not text.startswith(" ")}
    found |= {" ".join(text.split()) for text in texts(checks) if worth(text)}
    found |= set(re.findall(r'"([A-Z][a-z]{4,})"', checks.read_text("utf-8")))  # a title
    for node in ast.walk(ast.parse(mutants.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and "__" in node.name.strip("_"):
            found.add(" ".join((ast.get_docstring(node) or "").split()))
    return found - {""}


def catalogues() -> dict[str, set[str]]:
    """What each catalogue is to have, by its name."""
    lessons = sorted((PACKAGE / "course").glob("lesson_*/"))
    page = json.loads((PACKAGE / "page" / "words.json").read_text("utf-8"))
    every = {"tinygrad_rnn": spoken() | refusals(), "page": set(page.values())}
    return every | {p.name: of_lesson(p) for p in lessons}


def kept(name: str) -> Catalog:
    """The translations that are there."""
    path = CATALOGUES / f"{name}.po"
    return read_po(BytesIO(path.read_bytes()), locale="zh") if path.exists() else Catalog("zh")


def compiled(catalogue: Catalog) -> bytes:
    """A catalogue as gettext reads it; the same sentences give the same bytes."""
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1)
    file = BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def main() -> None:
    count, missing = 0, 0
    CATALOGUES.mkdir(parents=True, exist_ok=True)
    for name, wanted in catalogues().items():
        found, before, context = Catalog("zh"), kept(name), name if name == "page" else None
        for text in sorted(wanted):
            known = before.get(text, context)
            found.add(text, known.string if known else "", context=context)
        with (CATALOGUES / f"{name}.po").open("wb") as file:
            write_po(file, found, width=0, omit_header=True)
        (CATALOGUES / f"{name}.mo").write_bytes(compiled(kept(name)))
        left = [m.id for m in found if m.id and not m.string]
        count, missing = count + len(wanted), missing + len(left)
        print(f"{name}: {len(wanted)} sentences, {len(left)} without a translation")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
