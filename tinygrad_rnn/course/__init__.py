"""The course: thirteen lessons with exercises, each judged with evidence.

`tinygrad-rnn course` is the command; in a notebook the same is

    from tinygrad_rnn import course
    course.start("05")
    course.check("05.1", my_delta)

"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..io.atomic import write_text_atomically
from ..language import said
from .folder import Folder, code_of
from .grade import Result, judge, judged, names_of
from .judge import Judge, Open, Wrong, call
from .lessons import Exercise, Lesson, exercise, lesson, numbers, text_of
from .own import page
from .reports import table

__all__ = [
    "Exercise", "Folder", "Judge", "Lesson", "Result", "call", "check", "check_file", "exercise",
    "hint", "lesson", "reset", "solution", "start", "status",
]  # fmt: skip

MARKS = {"right": "✓", "wrong": "✗", "open": "·"}


def tell(text: str = "") -> None:
    """Print a sentence in the language in use."""
    print(said(text), flush=True)


def start(number: str, *, notebook: bool = False, folder: Any = None) -> Path:
    """Write the file of a lesson into the learner's folder, `course`, and return its path.

    Raises FileExistsError where it is there already, ValueError for a lesson that there is not.
    """
    return Folder(folder).start(lesson(number), notebook)


def reset(number: str, *, folder: Any = None) -> Path:
    """Move the file of a lesson to `NAME.bak-DATE` and write it anew."""
    kept, new = Folder(folder).reset(lesson(number))
    tell(f"what you wrote is in {kept}; what was right stays counted")
    return new


def check(number: str, made: Any, *, folder: Any = None) -> Result:
    """Judge what was made for an exercise, such as "05.1", and print the evidence.

    >>> from tinygrad_rnn import course
    >>> course.check("01.1", lambda f, x, h: (f(x + h) - f(x)) / h)  # doctest: +ELLIPSIS
    01.1 ...
    01.1: wrong
    """
    found, one = exercise(number)
    result = judge(found, one, made)
    _shown(Folder(folder), found, one, result)
    return result


def check_file(path: Path, found: Lesson, folder: Folder) -> bool:
    """Judge a learner's file and print the evidence; if all is right, write the page of their run.

    Says what to do next, and returns whether all is right.
    """
    print(f"{found.number} {said(found.title)} ({path})")
    try:
        names = names_of(path)
    except Wrong as evidence:
        for line in str(evidence).splitlines():
            tell(line)
        return False
    except Open:
        names = {}
    results = judged(found, names)
    for result, one in zip(results, found.exercises, strict=True):
        _shown(folder, found, one, result)
    left = next((result.number for result in results if not result), "")
    if left:
        tell(f"`tinygrad-rnn course hint {left}` leads on")
        return False
    if not found.exercises:
        folder.note(f"{found.number}.0", done=True)
    else:
        own = path.with_suffix(".html")
        try:
            write_text_atomically(own, page(found, names, code_of(path)))
            tell(f"all is right; the reasons and your own run are in {own}")
        except OSError as error:
            tell(f"all is right; no page of your own run was written: {error}")
    following = next((number for number in numbers() if number > found.number), "")
    if following:
        begun = folder.file(lesson(following))
        tell(f"what comes next: {begun or f'tinygrad-rnn course start {following}'}")
    return True


def _shown(folder: Folder, found: Lesson, one: Exercise, result: Result) -> None:
    """Print how an exercise stands, and keep it."""
    before = folder.of(result.number)
    print(f"{result.number} {MARKS[result.state]} {said(one.title)}")
    if result.state == "wrong":
        for line in result.evidence.splitlines():
            tell(f"     {line}")
    if result and not before["done"]:
        tell(f"     {one.why}")
    if result.state != "open":
        tries = before["tries"] + (not before["done"])
        folder.note(result.number, done=before["done"] or bool(result), tries=tries)


def hint(number: str, *, folder: Any = None) -> None:
    """Print the hints of an exercise, one more each time."""
    found, one = exercise(number)
    number, kept = found.number_of(one), Folder(folder)
    count = min(kept.of(number)["hints"] + 1, len(one.hints))
    for k, words in enumerate(one.hints[:count], 1):
        print(f"{k}/{len(one.hints)} {said(words)}")
    kept.note(number, hints=count)


def solution(number: str, *, give_up: bool = False, folder: Any = None) -> None:
    """Print a solution, once the exercise is done or given up. Raises ValueError before."""
    found, one = exercise(number)
    number, kept = found.number_of(one), Folder(folder)
    if not (kept.of(number)["done"] or give_up):
        raise ValueError(
            f"{number} is not done yet: `tinygrad-rnn course hint {number}` leads further, "
            f"`tinygrad-rnn course solution {number} --give-up` shows it"
        )
    if not kept.of(number)["done"]:
        kept.note(number, gave_up=True)
    print(text_of(found.source("solution"), one.name))


def status(*, folder: Any = None) -> None:
    """Print all lessons, what is done of each, and the path of the next file."""
    kept, rows, after = Folder(folder), [], ""
    for number in numbers():
        found = lesson(number)
        keys = [f"{number}.{k}" for k in range(1, len(found.exercises) + 1)] or [f"{number}.0"]
        done = sum(kept.of(key)["done"] for key in keys)
        path = kept.file(found)
        state = "✓" if done == len(keys) else "…" if done or path else "·"
        if state != "✓" and not after:
            after = str(path) if path else f"tinygrad-rnn course start {number}"
        count = f"{done}/{len(keys)}" if found.exercises else ""
        fast = f"{number}.{found.fast}" if found.exercises else ""
        minutes = said(f"{found.minutes} minutes")
        rows.append([number, state, said(found.title), count, minutes, fast])
    head = ["", "", "", "", "", said("fast track")]
    for line in table([head, *rows]).splitlines():
        print(line)
    tell("✓ done, … begun, · open; the fast track is one exercise of each lesson")
    tell(f"what comes next: {after}" if after else "all lessons are done")
