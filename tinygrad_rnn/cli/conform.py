"""`tinygrad-rnn conform`: grade an autodiff engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..conform import Report
from ..conform.apart import graded
from .limits import check, option


def conform(options: argparse.Namespace) -> int:
    """Grade the engine of an adapter, print each verdict as it comes, and write what is asked for.

    Returns 0 if all that the engine offers passed, else 1.
    """
    check({"limit": options.limit}, option)
    if options.badge and not options.badge.endswith(".svg"):
        raise ValueError(f"--badge: expected the name of an .svg file, got {options.badge!r}")
    files = [f for f in (options.json, options.badge) if f]
    for file in files:  # before the grading takes a while
        if not Path(file).resolve().parent.is_dir():
            raise ValueError(f"there is no folder for {file}: make it first")
        if Path(file).is_dir() or len({Path(f).resolve() for f in files}) < len(files):
            raise ValueError(f"{file}: expected a file for this alone, no folder")
    path, name = options.adapter, ""
    if not Path(path).exists():
        path, _, name = options.adapter.rpartition(":")
    report = Report(Path(path or name).stem)

    def kept():
        for verdict in graded(path or name, name if path else "", options.limit):
            report.verdicts.append(verdict)
            yield verdict

    for line in report.lines(kept()):
        print(line, flush=True)
    print(report.summary())
    for file, text in ((options.json, report.json), (options.badge, report.badge)):
        if file:
            Path(file).write_text(text(), "utf-8")
            print(f"wrote {file}")
    return 0 if report.holds else 1
