"""Every speed the project promises, measured side by side with PyTorch and JAX.

    pip install '.[bench]' && python tests/benchmarks/scan.py

Prints a table for each section, the goals at the end, and writes scan.json; --only picks sections,
--quick takes a few rows and rounds only, --markdown writes the page of the docs, --gradbench says
where a checkout of GradBench is. No test asserts a time.
"""

import argparse
import json
import os
import time
from pathlib import Path

from goals import reached, tally
from league import league
from limits import growth, memory, share, threads, vanishing
from machine import described, machine
from measure import said
from page import CHAPTERS, LEGEND, page
from plan import Plan, settle
from rivals import eager, layers, modifiers, own, training
from speeds import product, small
from table import Column, Table
from waits import first, startup

SECTIONS = {
    f.__name__: f
    for f in (
        first, startup, small, layers, own, modifiers, training, vanishing, league,
        product, share, threads, eager, memory, growth,
    )
}  # fmt: skip
assert {*SECTIONS} == {name for names in CHAPTERS.values() for name in names}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="NAME",
                        help=f"sections to run: {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few rows, few rounds")
    parser.add_argument("--threads", type=int, default=2, help="for every library (2)")
    parser.add_argument("--json", type=Path, default=Path("scan.json"), metavar="PATH",
                        help="where the numbers go (scan.json)")  # fmt: skip
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the page here")
    parser.add_argument("--gradbench", type=Path, metavar="PATH",
                        help="checkout of GradBench, for its C++")  # fmt: skip
    return parser.parse_args()


def main():
    options = arguments()
    # Read when the libraries are first imported: JAX has no other switch for its threads.
    os.environ |= {"NPROC": str(options.threads), "OMP_NUM_THREADS": str(options.threads)}
    settle(options.threads)
    facts, done, spent = machine(options.threads), {}, {}
    print(described(facts), LEGEND, sep="\n")
    try:
        plan = Plan(options.threads, options.quick, options.gradbench)
        for name in options.only or SECTIONS:
            start = time.perf_counter()
            done[name] = []
            for table in SECTIONS[name](plan):
                done[name].append(table)
                table.run()
            spent[name] = time.perf_counter() - start
    except (KeyboardInterrupt, Exception) as error:
        print(f"\nstopped by {said(error)}: what there is so far is written")
    tables = [table for found in done.values() for table in found]
    closing = summed(tables)
    closing.run()
    print(f"\n{tally(tables)}; {sum(spent.values()) / 60:.1f} minutes: "
          + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items()))  # fmt: skip
    options.json.write_text(json.dumps(written(facts, done, spent), indent=1), encoding="utf-8")
    if options.markdown:
        text = page(facts, done, closing, options.quick)
        options.markdown.write_text(text, encoding="utf-8")


def summed(tables):
    """All goals of these tables, a row for each."""
    columns = [
        Column("where", "section", "<", 42),
        Column("rows", "rows", "<", 24),
        Column("what", "what", "<", 16),
        Column("goal", "goal", "<", 12),
        Column("worst", "worst", "", 7),
        *(Column(name, name, "", 9) for name in ("met", "missed", "in doubt", "not measured")),
    ]
    note = "Every goal of the sections above, and how many of its rows meet it."
    cases = [(row, dict) for row in reached(tables)]
    return Table("What is reached", note, columns, cases)


def written(facts, done, spent):
    """Everything, for a program to read."""
    sections = {
        name: {"seconds": spent.get(name), "tables": [t.plain() for t in tables]}
        for name, tables in done.items()
    }
    return {"machine": facts, "sections": sections}


if __name__ == "__main__":
    main()
