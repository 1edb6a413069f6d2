"""A learner's file in the language in use: its docstrings and comments, each a sentence to find."""

from __future__ import annotations

import ast
import re
import textwrap
from inspect import cleandoc
from typing import NamedTuple

from ..language import said
from ..view.text import is_wide

WIDTH = 78


class Passage(NamedTuple):
    """Words in a file of code: lines first to last (from 0), how they stand, and what they say."""

    first: int
    last: int
    indent: str
    comment: bool
    text: str


def passages(source: str) -> list[Passage]:
    """All docstrings, and all comments that have a line of their own."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            place = node.body[0]
            last = place.end_lineno or place.lineno
            indent = " " * place.col_offset
            text = cleandoc(ast.get_docstring(node, clean=False) or "")
            found.append(Passage(place.lineno - 1, last - 1, indent, False, text))
    inside = {k for p in found for k in range(p.first, p.last + 1)}
    k = 0
    while k < len(lines):
        begin = re.match(r"( *)# (?!%%)", lines[k])
        if not begin or k in inside:
            k += 1
            continue
        first, words = k, []
        while k < len(lines) and lines[k].startswith(f"{begin[1]}# "):
            words.append(lines[k].strip()[2:])
            k += 1
        found.append(Passage(first, k - 1, begin[1], True, " ".join(words)))
    return sorted(found)


def paragraphs(passage: Passage) -> list[str]:
    """Its sentences as they are looked up, each paragraph on one line; code, indented, as it is."""
    parts = passage.text.split("\n\n")
    return [part if part.startswith(" ") else " ".join(part.split()) for part in parts]


def translated(source: str) -> str:
    """A file of code whose words are those of the language in use."""
    lines = source.splitlines()
    for passage in reversed(passages(source)):
        words = "\n\n".join(map(said, paragraphs(passage)))
        if words == "\n\n".join(paragraphs(passage)):
            continue
        quotes = "" if passage.comment else '"""'
        text = folded(words, passage.indent, "# " if passage.comment else "")
        end = "\n" + passage.indent if "\n" in text and not passage.comment else ""
        first = passage.indent + quotes + text.removeprefix(passage.indent)
        lines[passage.first : passage.last + 1] = [first + end + quotes]
    return "\n".join(lines) + "\n"


def folded(text: str, indent: str, mark: str) -> str:
    """Lines that fit on a page; a Chinese character is two wide. Lines of a docstring stay."""
    room = WIDTH - len(indent)
    broken = [part for line in text.splitlines() for part in (fold(line, room) or [""])]
    return "\n".join((indent + mark + line).rstrip() for line in broken)


def fold(line: str, room: int) -> list[str]:
    """A line in parts of so many columns."""
    if width(line) <= room:
        return [line]
    if width(line) == len(line):
        return textwrap.wrap(line, room)
    parts, rest = [], line
    while width(rest) > room:
        k = next(k for k in range(len(rest), 0, -1) if width(rest[:k]) <= room)
        while k > 1 and (rest[k - 1 : k + 1].isascii() or rest[k] in "，。；：、）！？”"):
            k -= 1  # neither within a word nor before a mark
        k -= k > 1 and rest[k - 1] in "（“"
        parts.append(rest[:k].rstrip())
        rest = rest[k:].lstrip()
    return [*parts, rest]


def width(text: str) -> int:
    """The columns that a text takes in a terminal."""
    return sum(1 + is_wide(letter) for letter in text)


def padded(text: str, columns: int) -> str:
    """A text filled up with spaces."""
    return text + " " * (columns - width(text))
