"""`tinygrad-rnn course`: lessons with exercises that are judged."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from .. import course as lessons
from ..course import Folder, Lesson, lesson
from ..course.folder import ENDINGS
from ..course.lessons import numbers
from ..course.reports import report, together
from ..io.atomic import write_text_atomically
from .voice import harmless


def course(options: argparse.Namespace) -> int:
    """Do what is asked for; without a word of it, list the lessons."""
    asked = globals()[f"_{options.what or 'status'}"]
    return int(asked(options) or 0)


def _status(options: argparse.Namespace) -> None:
    lessons.status()


def _start(options: argparse.Namespace) -> None:
    folder = Folder()
    number = options.lesson or _after(folder)
    path = folder.start(lesson(number), options.notebook)
    print(f"wrote {path}: fill it in, then `tinygrad-rnn course check {lesson(number).number}`")
    print(f"read along: docs/course/{path.stem}.md in a copy of the project, or on its site")


def _after(folder: Folder) -> str:
    """The first lesson that has not been begun."""
    for number in numbers():
        if folder.file(lesson(number)) is None:
            return number
    raise ValueError("all lessons have been begun; say which one to start")


def _chosen(asked: str | None) -> tuple[Path, Lesson, Folder]:
    """The file that is asked for by a lesson's number or by its path, else the one saved last."""
    folder = Folder()
    if asked and (exercise := re.fullmatch(r"(\d{1,2})\.\d{1,2}", asked)):
        asked = exercise[1]  # a lesson is checked as a whole
    if asked and not re.fullmatch(r"\d{1,2}", asked):
        path = Path(asked)
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file")
        if not re.match(r"\d\d_", path.name):
            raise ValueError(f"{path}: expected a file of the course, such as 05_bptt.py")
        return path, lesson(path.name[:2]), Folder(path.parent)
    if asked:
        found = lesson(asked)
        begun = folder.file(found)
        if begun is None:
            raise FileNotFoundError(
                f"lesson {found.number} has not been begun: "
                f"`tinygrad-rnn course start {found.number}`"
            )
        return begun, found, folder
    files = [(folder.file(lesson(n)), lesson(n)) for n in numbers()]
    saved = [(path, found) for path, found in files if path]
    if not saved:
        raise FileNotFoundError("no lesson has been begun: `tinygrad-rnn course start`")
    path, found = max(saved, key=lambda one: one[0].stat().st_mtime)
    return path, found, folder


def _check(options: argparse.Namespace) -> int:
    path, found, folder = _chosen(options.lesson)
    return 0 if lessons.check_file(path, found, folder) else 1


def _watch(options: argparse.Namespace) -> None:
    """Check a file whenever it is saved, until Ctrl-C."""
    seen = None
    print("checking whenever a file is saved; Ctrl-C ends it")
    while True:
        try:
            path, found, folder = _chosen(options.lesson)
            saved = (path, path.stat().st_mtime_ns)
        except FileNotFoundError:  # editors put a new file in the old one's place
            if seen is None:
                raise
            saved = seen
        if saved != seen:
            print()
            try:
                lessons.check_file(path, found, folder)
            except ValueError as error:  # it may be half saved
                print(error)
            seen = saved
        time.sleep(0.3)


def _hint(options: argparse.Namespace) -> None:
    lessons.hint(options.exercise)


def _solution(options: argparse.Namespace) -> None:
    lessons.solution(options.exercise, give_up=options.give_up)


def _reset(options: argparse.Namespace) -> None:
    new = lessons.reset(options.lesson)
    print(f"wrote {new}")


def _report(options: argparse.Namespace) -> None:
    if Path(options.output).suffix in ENDINGS:
        raise ValueError(f"--output: {options.output} would be an exercise: expected a .json file")
    name = options.name or Path(options.output).stem
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(options.output, report(Folder(), name))
    print(f"wrote {options.output}")


def _class(options: argparse.Namespace) -> None:
    words, refused = together(Path(options.folder))
    for line in [*words.splitlines(), *refused]:
        print(harmless(line))
