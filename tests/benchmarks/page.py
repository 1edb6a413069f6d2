"""The page of all tables, docs/performance.md: prose that holds whatever the numbers are."""

from goals import tally
from machine import described
from measure import QUIET

LEGEND = f"""\
±: half of the 95 % interval over rounds. ✓ met, ✗ missed; ? in doubt: the interval reaches across
the goal, or other programs used more than {QUIET:.0%} of the machine meanwhile ("others"). *must*:
a goal without excuse; *floor*: never below, whatever else is gained."""

INTRODUCTION = """\
# How fast it is

The same work in this library, in PyTorch and in JAX, in turn within one process: ratios are medians
over rounds, and say at their head which is over which. Each library pauses before its turn, and is
called once before it counts, unless a call takes all of them a tenth of a second. The whole page is
made by one command, on the machine that it names; such machines are shared, so compare within a
row, not between rows.

```console
pip install '.[bench]' && python tests/benchmarks/scan.py --markdown docs/performance.md
```

With `--gradbench PATH`, a checkout of [GradBench](https://github.com/gradbench/gradbench), its C++
is compiled and measured too. What is not installed is a dash, and its goals are not measured.

What makes the loops fast: weights are packed once and multiplied by a kernel that is written for
the vector units; what does not wait for the state is done for a block of steps at once, before the
loop or after it; a step's pointwise arithmetic is one pass over each row; the batch is cut into
rows for each core, which never wait for each other within a sequence; and memory, in large pages,
is used again. None of it knows an LSTM from a cell of your own.

What limits them: of a small call, what is Python and not in the loops, since a step of your own is
run again on tensors without numbers, to be sure that it is still the same; of a large layer with a
small batch, the weights, which every core reads at every step (to split them between two cores,
which then wait for each other twice a step, was tried, and took 1.03 of the time on this kind of
Intel); of a new process, the compiler, whose work is kept on disk for the next."""

CHAPTERS = {
    "What one waits for": ("first", "startup", "small"),
    "Layers and cells": ("layers", "own", "modifiers", "training", "vanishing", "league"),
    "The machine": ("product", "share", "threads", "eager"),
    "Growth": ("memory", "growth"),
}

CLOSING = """\
## What is reached

{tally}. Not measured here: the tests have to take at most five minutes on two slow cores from an
empty cache; the command in the README says at its end how long they took."""


def page(facts, done, closing, quick):
    """The text of the page: the tables of all sections that were run, and the closing one."""
    tables = [table for found in done.values() for table in found]
    parts = [INTRODUCTION, described(facts).replace("\n", "  \n")]
    if quick:
        parts.append("**A quick run: few rows, few rounds.**")
    parts += [f"{tally(tables)}.", LEGEND]
    for chapter, names in CHAPTERS.items():
        found = [table for name in names for table in done.get(name, ()) if table.rows]
        if found:
            parts += [f"## {chapter}", *(table.markdown() for table in found)]
    parts += [CLOSING.format(tally=tally(tables)), closing.markdown(heading=None)]
    return "\n\n".join(parts) + "\n"
