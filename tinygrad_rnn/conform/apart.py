"""Grade an engine in a process of its own, so that one that hangs or crashes loses one case only.

Run as `python -m tinygrad_rnn.conform.apart PATH OBJECT`: it reads the verdicts that are there from
its input, and writes a line of JSON for each new one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from subprocess import PIPE, Popen
from threading import TIMEOUT_MAX, Thread
from typing import Any

from .cases import CASES
from .engine import Engine, load
from .grading import FAILED, Verdict, grade, verdict

LIMIT = 20.0  # seconds for a case; the import of an engine may take three times as long


def graded(path: str, name: str = "", limit: float = LIMIT) -> Iterator[Verdict]:
    """The verdicts on the adapter in a file, as they come.

    path, name: a file of Python, and an object in it ("": the module). limit: seconds for a case.
    Raises ValueError in a sentence where there is no adapter.
    """
    file = Path(path)
    if not (file.is_file() and os.access(file, os.R_OK)):
        what = "it may not be read" if file.is_file() else "there is no such file"
        raise ValueError(f"conform: {path}: {'it is a folder' if file.is_dir() else what}")
    known: dict[str, Verdict] = {}
    while len(known) < len(CASES):
        with _Child(path, name, known) as child:
            ready = child.line(3 * limit)
            if not isinstance(ready, dict):
                raise ValueError(f"conform: {path}: its import {ready}")
            if ready.get("refused"):
                raise ValueError(ready["refused"])
            while len(known) < len(CASES):
                found = child.line(limit)
                if isinstance(found, dict):
                    known[found["name"]] = Verdict(**found)
                else:
                    case = next(c for c in CASES.values() if c.name not in known)
                    known[case.name] = verdict(case, FAILED, found)
                last = list(known.values())[-1]
                yield last
                spoilt = last.outcome == FAILED and CASES[last.name].stops
                if spoilt or not isinstance(found, dict):
                    break


class _Child:
    """A process that grades, and the lines that it writes."""

    def __init__(self, path: str, name: str, known: dict[str, Verdict]):
        command = [sys.executable, "-m", __name__, path, name]
        self.process = Popen(command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        self.queue: Queue[bytes] = Queue()
        with suppress(OSError):  # one that has ended already
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(list(known.values())).encode())
            self.process.stdin.close()
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.queue.put(line)
        self.queue.put(b"")

    def line(self, limit: float) -> Any:
        """What it says next, or in words why it says nothing."""
        try:
            line = self.queue.get(timeout=min(limit, TIMEOUT_MAX))
        except Empty:
            return f"gives no answer within {limit:g} seconds"
        if line:
            return json.loads(line)
        code = self.process.wait()
        with suppress(ValueError):
            return f"ends the process: {signal.Signals(-code).name}"
        return f"ends the process, with code {code}"

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with suppress(ProcessLookupError, AttributeError):  # what it began holds the pipe, too
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()


def main() -> None:
    """Grade, and say so on what was the standard output; what an engine prints goes elsewhere."""
    known = {v[0]: Verdict(*v) for v in json.load(sys.stdin)}
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    try:
        adapter, refused = load(*sys.argv[1:]), ""
        Engine(adapter)
    except ValueError as error:
        refused = str(error)
    print(json.dumps({"refused": refused}), file=out)
    for found in grade(adapter, known) if not refused else ():
        print(json.dumps(found._asdict()), file=out)


if __name__ == "__main__":
    main()
