"""GradBench's own C++, written by hand: compiled from a checkout, with the checkout's flags."""

import json
import statistics
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from . import lstm


@cache
def program(checkout, module):
    """The program of a module of `tools/manual`, made anew as GradBench makes it: by its make."""
    if checkout is None:
        raise ValueError("--gradbench: expected a checkout of github.com/gradbench/gradbench")
    folder = Path(checkout).resolve() / "tools/manual"
    command = ["make", "-C", str(folder), f"bin/{module}", "-B", "MULTITHREADED=no"]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        lines = [line for line in out.stderr.splitlines() if "rror" in line]
        raise RuntimeError(f"{lines[0] if lines else 'no compiler'} (try make -C {checkout}/cpp)")
    return folder / "bin" / module


class Lstm:
    """A run of the C++ in a process of its own, which times itself: the gradient of all weights."""

    def __init__(self, checkout, given):
        self.program, self.count = program(checkout, "lstm"), len(lstm.arrays(given)[0])
        self.begun = json.dumps(given).removesuffix("}")  # said once: it is long

    def __call__(self):
        return (np.array(json.loads(self.lines(1)[0])).reshape(self.count, -1),)

    def seconds(self, calls):
        """Of one call, the mean; the first, which finds nothing in its caches, is left out."""
        found = [json.loads(line) for line in self.lines(calls + 1)[1:]]
        times = [one["nanoseconds"] / 1e9 for one in found if one["name"] == "evaluate"]
        return statistics.fmean(times[1:])

    def lines(self, runs):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(f'{self.begun}, "min_runs": {runs}, "min_seconds": 0}}')
            file.flush()
            command = [self.program, file.name, "jacobian"]
            out = subprocess.run(command, capture_output=True, text=True, check=True)
        return out.stdout.splitlines()
