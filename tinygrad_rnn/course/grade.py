"""An exercise, or a file of them, is judged."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .folder import code_of
from .judge import LIMIT, Judge, Open, Overtime, Wrong, is_open, limit, mistakes_of
from .lessons import Exercise, Lesson


@dataclass(frozen=True)
class Result:
    """How an exercise stands: "right", "wrong" or "open"; evidence in words if it is wrong.

    A notebook shows it; it is true where it is right.

    >>> from tinygrad_rnn import course
    >>> bool(course.check("01.1", lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h)))
    01.1 ...
    True
    """

    number: str
    title: str
    state: str
    evidence: str = ""

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return f"{self.number}: {self.state}"


def judge(lesson: Lesson, exercise: Exercise, made: Any) -> Result:
    """Judge one thing that a learner made; None is what they have not made."""
    number = lesson.number_of(exercise)
    if made is None:
        return Result(number, exercise.title, "open")
    if not callable(made):
        words = f"expected the function {exercise.name}, got {type(made).__name__}"
        return Result(number, exercise.title, "wrong", words)
    allowed = sys.getrecursionlimit()  # a learner may raise it: for the rest of the process too
    try:
        with limit():
            exercise.check(Judge(made, mistakes_of(lesson.part("mutants"), exercise.name)))
    except Open:
        return Result(number, exercise.title, "open")
    except Wrong as evidence:
        return Result(number, exercise.title, "wrong", str(evidence))
    except Overtime:
        words = f"it has not ended after {LIMIT:.0f} seconds: is there a loop that never ends?"
        return Result(number, exercise.title, "wrong", words)
    finally:
        sys.setrecursionlimit(allowed)
    return Result(number, exercise.title, "right")


def names_of(path: Path) -> dict[str, Any]:
    """Run a learner's file and return what it defines. Raises Wrong where it cannot be run."""
    try:
        source = code_of(path)
    except UnicodeDecodeError:
        raise Wrong(f"{path} is not written in UTF-8: save it as UTF-8") from None
    linecache.cache[str(path)] = (len(source), None, source.splitlines(True), str(path))
    module = sys.modules[path.stem] = ModuleType(path.stem)  # dataclasses look for it there
    names = vars(module)
    names["__file__"] = str(path)
    try:
        with limit(3 * LIMIT):
            exec(compile(source, str(path), "exec", dont_inherit=True), names)
    except SyntaxError as error:
        wide = "code is written with the half-width signs , ( ) : ; that stand on the keyboard"
        kind = wide if error.msg.startswith("invalid character") else ""
        raise Wrong(f"{path}: in line {error.lineno}: {error.msg}", kind) from None
    except Overtime:
        raise Wrong(f"{path} has not ended after {3 * LIMIT:.0f} seconds") from None
    except (Exception, SystemExit) as error:
        if is_open(error):
            raise Open from None
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(path)), 0)
        raise Wrong(f"{path}: in line {line}: {type(error).__name__}: {error}") from error
    finally:
        sys.modules.pop(path.stem, None)  # it may have done so itself
    return names


def judged(lesson: Lesson, names: dict[str, Any]) -> list[Result]:
    """Judge all that a lesson asks for, each by itself: what is not right yet is lent to the rest.

    names: what the learner's file defines; {} of a file that cannot be run before it is filled in.
    """
    found: list[Result] = []
    solved = vars(lesson.part("solution"))
    for one in lesson.exercises:
        if names and one.name not in names:
            words = f"there is no {one.name} in the file: has it another name?"
            result = Result(lesson.number_of(one), one.title, "wrong", words)
        else:
            result = judge(lesson, one, names.get(one.name))
        if names and not result:
            names[one.name] = solved[one.name]
        found.append(result)
    return found


def picture(lesson: Lesson, names: Mapping[str, Any]) -> Any:
    """The picture of the learner's own run; None if there is none to make."""
    with suppress(Wrong, Open, NotImplementedError):
        return lesson.picture(names) if lesson.picture else None
    return None
