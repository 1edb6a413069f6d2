"""Lessons as data: what each asks for, found in the folders `lesson_NN`.

A folder holds the file that a learner fills in (`exercise.py`), the same solved (`solution.py`),
known mistakes (`mutants.py`: `delta__sign` is one of `delta`, its docstring says of what kind), and
`checks.py`, whose LESSON says how each exercise is judged.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from .judge import Judge

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Exercise:
    """A function or class that the learner writes.

    name: its name in the file. title. ideas: what is new in it, three at most. hints: three, each
    deeper: where, which rule, the line but one. why: said once it is right. check: judges it.
    """

    name: str
    title: str
    ideas: tuple[str, ...]
    hints: tuple[str, str, str]
    why: str
    check: Callable[[Judge], None]


@dataclass(frozen=True)
class Lesson:
    """A file of exercises.

    name: its file is `NN_name.py`. title. minutes it takes. exercises, in order. fast: the number
    of the one that the fast track takes. picture: made from what the learner wrote, by name, once
    all is right: their own run.
    """

    name: str
    title: str
    minutes: int
    exercises: tuple[Exercise, ...] = ()
    fast: int = 1
    picture: Callable[[Mapping[str, Any]], Any] | None = None
    number: str = field(default="", init=False)

    @property
    def file(self) -> str:
        """The name of the learner's file, without its ending."""
        return f"{self.number}_{self.name}"

    def number_of(self, exercise: Exercise) -> str:
        """The number by which an exercise is kept: 05.2."""
        return f"{self.number}.{self.exercises.index(exercise) + 1}"

    def part(self, name: str) -> ModuleType:
        """The lesson's `solution` or `mutants`."""
        return import_module(f".lesson_{self.number}.{name}", __package__)

    def source(self, name: str = "exercise") -> str:
        """The text of a file of the lesson."""
        return (HERE / f"lesson_{self.number}" / f"{name}.py").read_text("utf-8")


def numbers() -> list[str]:
    """The numbers of all lessons: "00", "01", …"""
    return sorted(path.parent.name[-2:] for path in HERE.glob("lesson_*/checks.py"))


@cache
def lesson(number: str) -> Lesson:
    """A lesson by its number: "05", or "5". Raises ValueError for one that is not there."""
    known = str(number).rjust(2, "0")
    if known not in numbers():
        span = f"{numbers()[0]} to {numbers()[-1]}"
        raise ValueError(f"course: there is no lesson {number!r}; they are {span}")
    found = import_module(f".lesson_{known}.checks", __package__).LESSON
    object.__setattr__(found, "number", known)
    return found


def exercise(number: str) -> tuple[Lesson, Exercise]:
    """An exercise by its number, "05.2", with its lesson. Raises ValueError if there is none."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(number))
    if not match:
        raise ValueError(
            f"course: expected the number of an exercise, such as 05.2, got {number!r}"
        )
    found = lesson(match[1])
    count = len(found.exercises)
    if not 1 <= int(match[2]) <= count:
        raise ValueError(f"course: lesson {found.number} has {count} exercises, got {number!r}")
    return found, found.exercises[int(match[2]) - 1]


def text_of(source: str, name: str) -> str:
    """The lines of a function or class in a file."""
    for node in ast.parse(source).body:
        if getattr(node, "name", None) == name:
            return ast.get_source_segment(source, node) or ""
    return ""
