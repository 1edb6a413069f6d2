"""Old against new: what scan.py times of ours, forward and backward, in two checkouts, in turns.

    git worktree add /tmp/old COMMIT && python tests/benchmarks/turns.py /tmp/old

Prints for every row of layers, cells of one's own, modifiers and training steps how many times as
long the old tree takes, with the 95 % interval of the mean over pairs of samples: above 1 the new
tree is faster. Each round has processes of its own, since one process may be a tenth slower than
the next for all its life. Rows whose interval reaches below --least are marked. No test asserts a
time.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECTIONS = ("layer", "own", "modified", "training")
SAMPLE = 0.02  # seconds


def serve(threads):
    """Time what is asked for on standard input: section, kind, sizes, calls, as JSON."""
    import ours
    from problem import problem

    import tinygrad_rnn as tg

    tg.set_num_threads(threads)
    runs = {}
    for line in sys.stdin:
        section, kind, size, calls = json.loads(line)
        key = section, kind, tuple(size)
        if key not in runs:
            runs.clear()
            build = getattr(ours, section)
            runs[key] = build(*size) if section == "training" else build(problem(*key[1:]))
            runs[key]()
        run = runs[key]
        start = time.perf_counter()
        for _ in range(calls):
            run()
        print((time.perf_counter() - start) / calls, flush=True)


class Worker:
    """A process that times what it is asked for, in one tree."""

    def __init__(self, tree, threads):
        folders = [str(tree), str(tree / "tests/benchmarks")]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "turns.py"), "--serve", "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"},
        )  # fmt: skip

    def time(self, row, calls):
        print(json.dumps([*row, calls]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def rows_of(section):
    """The kinds of a section, and their sizes."""
    from rivals import MODIFIED, OWN_SIZES, SIZES, TRAINING

    return {
        "layer": (("RNN", "LSTM", "GRU"), SIZES),
        "own": (("LSTM", "zoneout", "layer norm", "peephole"), OWN_SIZES),
        "modified": (MODIFIED, [*OWN_SIZES, SIZES[4]]),
        "training": (("training",), TRAINING),
    }[section]


def sampled(old, new, row, pairs):
    """Seconds of a call in both trees, in turns."""
    for worker in (old, new):
        once = worker.time(row, 1)
    calls = max(1, round(SAMPLE / once))
    for k in range(pairs):
        order = (old, new) if k % 2 else (new, old)
        seconds = {worker: worker.time(row, calls) for worker in order}
        yield seconds[old], seconds[new]


def main():
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("old", type=Path, nargs="?", help="the other checkout")
    options.add_argument("--rounds", type=int, default=4, help="of new processes (4)")
    options.add_argument("--pairs", type=int, default=11, help="samples of each in a round (11)")
    options.add_argument("--least", type=float, default=0.97, help="the least ratio (0.97)")
    options.add_argument("--threads", type=int, default=2, help="of both (2)")
    options.add_argument("--sizes", type=int, default=99, help="how many of a section's (all)")
    options.add_argument("--kinds", nargs="+", help="of cells, such as LSTM (all)")
    options.add_argument("--sections", nargs="+", default=["layer"], choices=SECTIONS,
                         help="layer (usual), own, modified, training")  # fmt: skip
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        return serve(given.threads)
    if given.old is None or not (given.old / "tests/benchmarks/ours.py").exists():
        options.error("old: expected a checkout of this project")
    from measure import interval  # of this tree: those who serve have their own tree's

    rows = [
        (section, kind, size)
        for section in given.sections
        for kinds, sizes in [rows_of(section)]
        for kind, size in product(kinds, sizes[: given.sizes])
        if not given.kinds or kind in given.kinds
    ]
    trees, found, doubtful = (given.old.resolve(), HERE.parent.parent), {}, 0
    for _ in range(given.rounds):
        old, new = (Worker(tree, given.threads) for tree in trees)
        for row in rows:
            found.setdefault(row, []).extend(sampled(old, new, row, given.pairs))
    for (_, kind, size), samples in found.items():
        a, b = (min(seconds) * 1e3 for seconds in zip(*samples, strict=True))
        middle, half = interval([a / b for a, b in samples])
        ratio, low, high = (math.exp(middle + d) for d in (0, -half, half))
        doubtful += low < given.least
        mark = "  ?" * (low < given.least)
        print(f"{kind:13s}{'×'.join(map(str, size)):16s} old {a:8.3f} ms  new {b:8.3f} ms  "
              f"old / new {ratio:.3f}  [{low:.3f}, {high:.3f}]{mark}")  # fmt: skip
    print(f"{doubtful} rows below {given.least}")


if __name__ == "__main__":
    sys.exit(main())
