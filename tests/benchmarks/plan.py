"""What is asked for, what every section builds its rows of, and columns they share."""

import sys

from measure import Effort
from table import Column

CELL, SIZE = Column("cell", "cell", "<", 10), Column("size", "B×T×I×H", "<", 15)
OURS, TORCH, JAX = (Column(n, f"{n} ms") for n in ("ours", "torch", "jax"))
OVER_TORCH = Column("over_torch", "torch / ours", "", 21)
OVER_JAX = Column("over_jax", "jax / ours", "", 21)
OTHERS = Column("others", "others", ".0%", 6)
HOW = [Column("rounds", "rounds", "d", 6), OTHERS]
"""How many rounds, and how much of the machine other programs used meanwhile."""


class Plan:
    """What the command line asks for: threads, how much of everything, a checkout of GradBench."""

    def __init__(self, threads=2, quick=False, gradbench=None):
        self.threads, self.quick, self.gradbench = threads, quick, gradbench
        self.effort = Effort(0.3, 3, 0) if quick else Effort()
        self.few = 1 if quick else 3  # times that a fresh process is started

    def some(self, items, count=2):
        """All of them, or the first few when it must be quick."""
        return list(items)[:count] if self.quick else list(items)


# -- contenders: imported when first needed, so that a missing library is a row's error --------


def ours(name, *arguments, **options):
    def build():
        import ours

        return getattr(ours, name)(*arguments, **options)

    return build


def in_torch(name, *arguments):
    def build():
        import in_torch

        return getattr(in_torch, name)(*arguments)

    return build


def in_jax(name, *arguments):
    def build():
        import in_jax

        return getattr(in_jax, name)(*arguments)

    return build


def settle(threads):
    """Let both libraries use so many threads."""
    import tinygrad_rnn as tg

    tg.set_num_threads(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
