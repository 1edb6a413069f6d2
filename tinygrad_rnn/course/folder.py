"""A learner's folder: the files they fill in, and what they have done so far.

Nothing of theirs is ever written over: a file that is there is refused, or moved aside.
"""

from __future__ import annotations

import ast
import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..io.atomic import write_text_atomically
from ..language import used
from .lessons import Lesson, lesson, numbers, text_of
from .words import passages, translated

PROGRESS = "progress.json"
ENDINGS = (".py", ".ipynb")
KEPT = {"done": False, "tries": 0, "hints": 0, "gave_up": False}  # of each exercise


class Folder:
    """The learner's folder, `course` in the one where they are unless they are in it.

    >>> import tempfile
    >>> from tinygrad_rnn.course import Folder, lesson
    >>> folder = Folder(tempfile.mkdtemp())
    >>> folder.start(lesson("05")).name
    '05_bptt.py'
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self.path = Path(path) if path else Path("." if _is_ours(Path(".")) else "course")

    @property
    def notes(self) -> dict[str, dict[str, Any]]:
        """What is noted now: another program may have the folder open, too."""
        path = self.path / PROGRESS
        if not path.exists():
            return {}
        kept = noted(path)
        if kept is None:  # their files are what counts: they are checked again
            with suppress(OSError):
                path.rename(path.with_name(f"{PROGRESS}.bak-{datetime.now():%Y%m%d-%H%M%S-%f}"))
            return {}
        exercises: dict[str, dict[str, Any]] = kept["exercises"]
        return exercises

    def file(self, lesson: Lesson) -> Path | None:
        """The learner's file of a lesson, None before it is begun."""
        found = [self.path / f"{lesson.file}{end}" for end in ENDINGS]
        found = [path for path in found if path.exists()]
        return max(found, key=lambda path: path.stat().st_mtime) if found else None

    def start(self, lesson: Lesson, notebook: bool = False) -> Path:
        """Write the file of a lesson. Raises FileExistsError where one is there already."""
        path = self.path / f"{lesson.file}{'.ipynb' if notebook else '.py'}"
        if path.exists():
            raise FileExistsError(
                f"{path} is there already: go on with it, or have it moved aside by "
                f"`tinygrad-rnn course reset {lesson.number}`"
            )
        text = translated(lesson.source())
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(path, as_notebook(lesson, text) if notebook else text)
        return path

    def reset(self, lesson: Lesson) -> tuple[Path, Path]:
        """Move the learner's file to a new name and write it anew; return both paths."""
        old = self.file(lesson)
        if old is None:
            raise FileNotFoundError(f"lesson {lesson.number} has not been begun")
        kept = old.with_name(f"{old.name}.bak-{datetime.now():%Y%m%d-%H%M%S}")
        k = 1
        while kept.exists():
            kept = kept.with_name(f"{kept.name.split('~')[0]}~{(k := k + 1)}")
        old.rename(kept)
        return kept, self.start(lesson, old.suffix == ".ipynb")

    def of(self, number: str) -> dict[str, Any]:
        """What is noted of an exercise."""
        return KEPT | self.notes.get(number, {})

    def note(self, number: str, **what: Any) -> None:
        """Keep what happened to an exercise, where anything can be kept."""
        notes = self.notes | {number: self.of(number) | what}
        text = json.dumps({"course": 1, "exercises": notes}, indent=1, sort_keys=True)
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            write_text_atomically(self.path / PROGRESS, text + "\n")


def noted(path: Path) -> dict[str, Any] | None:
    """What is in a file of progress, or a report; None if it is damaged, or none of ours."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        notes = kept["exercises"].values()
        right = kept["course"] == 1 and all(map(_is_note, notes))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return kept if right else None


def _is_note(note: Any) -> bool:
    """Whether it says of an exercise what we do, in numbers that somebody may have counted."""
    known = [(note.get(name, usual), usual) for name, usual in KEPT.items()]
    return all(type(given) is type(usual) and 0 <= given < 10**6 for given, usual in known)


def _is_ours(path: Path) -> bool:
    """Whether a folder holds progress, or a file of a lesson."""
    files = {lesson(number).file for number in numbers()}
    begun = any(p.stem in files and p.suffix in ENDINGS for p in path.glob("[0-9][0-9]_*"))
    return begun or noted(path / PROGRESS) is not None


def as_notebook(lesson: Lesson, text: str) -> str:
    """A file of exercises as a Jupyter notebook, with a check below each."""
    opening = passages(text)[0]
    first = min((text.index(text_of(text, e.name)) for e in lesson.exercises), default=len(text))
    before = "\n".join(text[:first].splitlines()[opening.last + 1 :]).strip()
    imports = f"{before}\nfrom tinygrad_rnn import course" if lesson.exercises else before
    if used() != "en":  # as what it is written in
        imports += f'\nfrom tinygrad_rnn import language\n\nlanguage.use("{used()}")'
    cells = [_cell("markdown", f"# {opening.text}"), _cell("code", imports.strip())]
    for k, exercise in enumerate(lesson.exercises, 1):
        check = f'course.check("{lesson.number}.{k}", {exercise.name})'
        cells += [_cell("code", text_of(text, exercise.name)), _cell("code", check)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4}
    for k, cell in enumerate(cells):
        cell["id"] = f"cell-{k}"
    return json.dumps(notebook | {"nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, text: str) -> dict[str, Any]:
    made = {"cell_type": kind, "metadata": {}, "source": text}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def code_of(path: Path) -> str:
    """The Python of a learner's file: of a notebook its cells, without commands and checks."""
    text = path.read_text("utf-8-sig")  # with what Windows puts in front, or without
    if path.suffix != ".ipynb":
        return text
    try:
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        return "\n\n".join(_without_commands("".join(cell["source"])) for cell in cells)
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path}: expected a Jupyter notebook") from None


def _without_commands(cell: str) -> str:
    """A cell without the lines that are Jupyter's own, and without calls of the course."""
    lines = cell.splitlines()
    if not (tree := _parsed(lines)):  # what is Python may begin a line with % too
        lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
        tree = _parsed(lines)
    for part in tree.body if tree else ():
        if isinstance(part, ast.Expr) and ast.unparse(part).startswith("course."):
            for k in range(part.lineno - 1, part.end_lineno or part.lineno):
                lines[k] = ""
    return "\n".join(lines)


def _parsed(lines: list[str]) -> ast.Module | None:
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:  # said where it is run
        return None
