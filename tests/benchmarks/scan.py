"""Every speed the project promises, measured side by side with PyTorch and JAX.

    pip install '.[bench]' && python tests/benchmarks/scan.py

Prints a table for each section and writes scan.json; --only picks sections, --quick takes a few
rows and rounds only, --markdown writes the tables for the docs. No test asserts a time.
"""

import argparse
import json
import os
import time
from pathlib import Path

from league import league
from limits import first, growth, memory, share, startup, threads, vanishing
from machine import described, machine
from measure import QUIET
from plan import Plan, settle
from rivals import eager, layers, modifiers, own, training
from table import tally

LEGEND = f"""\
✓ and ✗ say whether a goal is met. others: how much of the machine other programs used meanwhile;
above {QUIET:.0%} a goal is in doubt (?)."""

SECTIONS = {
    "layers": layers,
    "share": share,
    "own": own,
    "modifiers": modifiers,
    "training": training,
    "threads": threads,
    "memory": memory,
    "growth": growth,
    "startup": startup,
    "eager": eager,
    "vanishing": vanishing,
    "first": first,
    "league": league,
}


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
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables here too")
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
    except KeyboardInterrupt:
        print("\ninterrupted: what there is so far is written")
    tables = [table for found in done.values() for table in found]
    print(f"\n{tally(tables)}; {sum(spent.values()) / 60:.1f} minutes")
    options.json.write_text(json.dumps(written(facts, done, spent), indent=1), encoding="utf-8")
    if options.markdown:
        head = [described(facts).replace("\n", "  \n"), LEGEND, f"{tally(tables)}."]
        pages = [*head, *(table.markdown() for table in tables if table.rows)]
        options.markdown.write_text("\n\n".join(pages) + "\n", encoding="utf-8")


def written(facts, done, spent):
    """Everything, for a program to read."""
    sections = {
        name: {"seconds": spent.get(name), "tables": [t.plain() for t in tables]}
        for name, tables in done.items()
    }
    return {"machine": facts, "sections": sections}


if __name__ == "__main__":
    main()
