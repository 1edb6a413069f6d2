"""What a learner has done, for a teacher, and what a class has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..language import said
from .folder import Folder, noted
from .lessons import lesson, numbers
from .words import padded, width


def report(folder: Folder, name: str) -> str:
    """All that is noted of a learner, as JSON."""
    kept: dict[str, Any] = {"course": 1, "name": name, "exercises": folder.notes}
    return json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def read(path: Path) -> dict[str, Any]:
    """A learner's report. Raises ValueError if the file holds none."""
    kept = noted(path)
    if kept is None or "name" not in kept:
        raise ValueError(f"{path}: expected a report of `tinygrad-rnn course report`")
    name = " ".join(str(kept["name"]).split())  # on one line
    return {"name": name or path.stem, "exercises": kept["exercises"]}


def together(folder: Path) -> tuple[str, list[str]]:
    """A table of all reports in a folder, and what could not be read."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with reports")
    reports, refused = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            reports.append(read(path))
        except ValueError as error:
            refused.append(str(error))
    if not reports:
        raise ValueError(f"{folder}: expected reports of `tinygrad-rnn course report -o NAME.json`")
    asked = [(n, len(lesson(n).exercises)) for n in numbers() if lesson(n).exercises]
    rows = [["", *(number for number, _ in asked)]]
    for one in reports:
        done = [_done(one, number, count) for number, count in asked]
        rows.append([one["name"], *done])
    return table(rows) + "\n\n" + table(_hardest(reports, asked)), refused


def _done(report: dict[str, Any], number: str, count: int) -> str:
    notes = [report["exercises"].get(f"{number}.{k}", {}) for k in range(1, count + 1)]
    done = sum(bool(note.get("done")) for note in notes)
    return f"{done}/{count}" if any(notes) else "·"


def _hardest(reports: list[dict[str, Any]], asked: list[tuple[str, int]]) -> list[list[str]]:
    """The exercises that took most tries, or were given up."""
    rows = []
    for number in (f"{n}.{k}" for n, count in asked for k in range(1, count + 1)):
        notes = [one["exercises"][number] for one in reports if number in one["exercises"]]
        if notes:
            tries = sum(int(note.get("tries", 0)) for note in notes) / len(notes)
            hints = sum(int(note.get("hints", 0)) for note in notes) / len(notes)
            done = sum(bool(note.get("done")) for note in notes)
            shown = sum(bool(note.get("gave_up")) for note in notes)
            row = [number, f"{done}/{len(reports)}", f"{tries:.1f}", f"{hints:.1f}", str(shown)]
            rows.append((tries, row))
    rows.sort(key=lambda row: -row[0])
    head = [
        said(words) for words in ("the exercise", "done by", "tries each", "hints each", "gave up")
    ]
    return [head, *(row for _, row in rows[:10])]


def table(rows: list[list[str]]) -> str:
    """Rows in columns."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(padded, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)
