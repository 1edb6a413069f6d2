"""Which cell solves which of the classic tests of memory, and how soon, with fixed seeds.

    python tests/benchmarks/memory_tasks.py

Three minutes on two cores. Prints a table for each test and writes memory_tasks.json; --only picks
tests, --seeds says how often each cell begins again.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # where the lessons are

import memory_lessons as lessons
from goals import Ratio, tally
from machine import described, machine
from table import Column, Table

import tinygrad_rnn as tg
from tinygrad_rnn import nn

LEGEND = """\
solved: how many seeds; batches, of 32 sequences, and seconds: in the middle of the seeds, solved or
given up. best and worst: of the seeds, what each came to. Cells learn with Adam at the rate given,
gradients clipped at norm 1; patient: its gates' biases begin as Tallec & Ollivier (2018) say, with
memories of every length up to the test's. ✓ and ✗ say whether what is promised holds."""


def patient(make):
    """Another maker: its cells begin with memories of every length up to `steps`."""
    return lambda I, H, rng, steps: lessons.patient(make(I, H, rng, steps), steps, rng)


def gru(I, H, rng, steps):
    return nn.GRU(I, H, bias=True, rng=rng)


def lstm(I, H, rng, steps):
    return nn.LSTM(I, H, rng=rng)


# Cells without gates learn at a lower rate.
CELLS = {
    "RNN": ("plain", lambda I, H, rng, steps: nn.RNN(I, H, rng=rng)),
    "TimeSkip(RNN, 10)": ("plain", lambda I, H, rng, steps: nn.TimeSkip(nn.RNN(I, H, rng=rng), 10)),
    "IRNN": ("plain", lambda I, H, rng, steps: nn.IRNN(I, H, rng=rng)),
    "MinimalGatedUnit": ("gated", lambda I, H, rng, steps: nn.MinimalGatedUnit(I, H, rng=rng)),
    "GRU": ("gated", gru),
    "GRU, patient": ("gated", patient(gru)),
    "LSTM": ("gated", lstm),
    "LSTM, patient": ("gated", patient(lstm)),
}

# Each test: what it is, how long a memory it asks for, units, rates, when to give up, and what is
# promised of a cell: the column, the goal, and whether that is the most there may be.
TESTS = {
    "adding": {
        "title": "Adding two of 100 numbers: mean squared error, solved below 0.01",
        "note": "Always 1 has 1/6 = 0.167. RNN has the LSTM's rate here; at 0.005 and 0.001 it "
        "does no better. IRNN needs more units: with 100, at 0.001, the best of three seeds came "
        "to 0.02 in 2,500 batches.",
        "make": lambda: lessons.Adding(100),
        "steps": 100,
        "units": 16,
        "rates": {"gated": 0.02, "plain": 0.005, "RNN": 0.02},
        "most": 1500,
        "promised": {"LSTM": ("worst", 0.01, True), "RNN": ("best", 0.10, False)},
    },
    "reber": {
        "title": "Embedded Reber grammar: nats a string, solved within 0.1 of the least",
        "note": "Solved means besides: the last symbol but one, which the second decides, is right "
        "in every string that was never shown. The least is 7 ln 2 = 4.852 on average, "
        "{least:.3f} for the 2,000 strings that are asked.",
        "make": lessons.EmbeddedReber,
        "steps": 20,
        "units": 16,
        "rates": {"gated": 0.02, "plain": 0.005},
        "most": 1500,
        "promised": {"LSTM": ("worst", 4.952, True)},
    },
    "order": {
        "title": "Temporal order of two out of 100 symbols: share right, solved above 0.99",
        "note": "The two stand 30 to 50 steps apart, the last of them 40 to 50 before the end. "
        "By chance 0.25 is right.",
        "make": lambda: lessons.TemporalOrder(100),
        "steps": 100,
        "units": 16,
        "rates": {"gated": 0.01, "plain": 0.005},
        "most": 1500,
        "promised": {"LSTM, patient": ("worst", 0.99, False)},
    },
    "copy": {
        "title": "Copying 3 symbols after 20 steps: share right, solved above 0.99",
        "note": "One of 8 is right by chance.",
        "make": lambda: lessons.CopyMemory(20, 3),
        "steps": 26,
        "units": 32,
        "rates": {"gated": 0.01, "plain": 0.005},
        "most": 1000,
        "promised": {},
    },
    "parity": {
        "title": "Parity of 20 bits: share right, solved above 0.99",
        "note": "By chance 0.5 is right. This asks for a state that flips, more than for a memory.",
        "make": lambda: lessons.Parity(20),
        "steps": 20,
        "units": 16,
        "rates": {"gated": 0.01, "plain": 0.005},
        "most": 1500,
        "promised": {"LSTM": ("worst", 0.99, False)},
    },
}

COLUMNS = [
    Column("cell", "cell", "<", 18),
    Column("units", "units", "d", 6),
    Column("rate", "rate", "g", 6),
    Column("solved", "solved", "", 8),
    Column("batches", "batches", ".0f", 8),
    Column("seconds", "seconds", ".1f", 8),
    Column("best", "best", ".3f", 15),
    Column("worst", "worst", ".3f", 15),
]


def tried(test, cell, seeds, units, rate, most):
    """One row: a cell learns from the beginning once for each seed."""
    make, seconds, runs = CELLS[cell][1], [], []
    for seed in range(seeds):
        task, start = test["make"](), time.perf_counter()
        runs.append(
            lessons.learn(
                task,
                lambda inputs, rng: make(inputs, units, rng, test["steps"]),
                seed=seed,
                lr=rate,
                most=most,
            )
        )
        seconds.append(time.perf_counter() - start)
    reached = [task.better(marks[task.mark] for marks in run) for run in runs]
    row = {
        "solved": f"{sum(task.solved(run[-1]) for run in runs)} of {seeds}",
        "batches": statistics.median(50 * len(run) for run in runs),
        "seconds": statistics.median(seconds),
        "best": task.better(reached),
        "worst": max(reached) if task.better is min else min(reached),
        "last": [run[-1] for run in runs],
    }
    if cell in test["promised"]:
        column, goal, most_allowed = test["promised"][cell]
        row[column] = Ratio(row[column], goal, most_allowed)
    return row


def table(name, seeds):
    """The rows of one test, each measured when it is printed."""
    test = TESTS[name]
    rates = test["rates"]
    plan = [
        (cell, test["units"], rates.get(cell, rates[kind]), test["most"])
        for cell, (kind, _) in CELLS.items()
    ]
    cases = [
        (
            {"cell": cell, "units": units, "rate": rate},
            lambda how=(cell, seeds, units, rate, most): tried(test, *how),
        )
        for cell, units, rate, most in plan
    ]
    least = getattr(test["make"](), "least", None)
    return Table(test["title"], test["note"].format(least=least), COLUMNS, cases)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(TESTS), default=list(TESTS),
                        metavar="NAME", help=f"tests to run: {', '.join(TESTS)}")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 (3)")
    parser.add_argument("--json", type=Path, default=Path("memory_tasks.json"), metavar="PATH",
                        help="where the numbers go (memory_tasks.json)")  # fmt: skip
    options = parser.parse_args()
    facts, tables, start = machine(tg.get_num_threads()), [], time.perf_counter()
    print(described(facts), LEGEND, sep="\n")
    try:
        for name in options.only:
            tables.append(table(name, options.seeds))
            tables[-1].run()
    except KeyboardInterrupt:
        print("\ninterrupted: what there is so far is written")
    print(f"\n{tally(tables)}; {(time.perf_counter() - start) / 60:.1f} minutes")
    written = {"machine": facts, "tables": [t.plain() for t in tables]}
    options.json.write_text(json.dumps(written, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
