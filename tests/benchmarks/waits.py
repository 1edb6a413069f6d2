"""What somebody waits for before the work itself: the first call, and a new process."""

import statistics
import tempfile
from functools import partial

import startup as fresh
from goals import FLOOR, MUST, Ratio
from measure import ratio_of, said, watched
from plan import OTHERS
from table import Column, Table

OPS = {15: 3.5, 100: 4, 600: 6}
"""How many times JAX's seconds the first call of a step of so many ops may take."""


def in_turn(ours, theirs, count, goal, rank):
    """The row of two things that return seconds, one after the other, so many times."""
    try:
        pairs, others = watched(lambda: [(ours(), theirs()) for _ in range(count)])
    except Exception as error:  # such as a library that is not installed
        ratio = Ratio(None, goal, most=True, rank=rank)
        return {"ratio": ratio, "errors": {"row": said(error)}}
    middle = [statistics.median(seconds) for seconds in zip(*pairs, strict=True)]
    ratio = ratio_of([a / b for a, b in pairs], goal, most=True, rank=rank)
    return {"ours": middle[0], "theirs": middle[1], "ratio": ratio, "others": others}


def first(plan):
    """The first call of a process that has compiled nothing yet, against JAX's."""
    seen = {}

    def layer():
        ours, jax = (partial(fresh.first_layer, who) for who in ("ours", "jax"))
        return in_turn(ours, jax, plan.few, 3.5, MUST)

    def step(ops, goal):
        ours, jax = (partial(fresh.first_step, who, ops) for who in ("ours", "jax"))
        row = in_turn(ours, jax, plan.few if ops < 600 else 1, goal, MUST)
        seen[ops] = row.get("ours")
        if all(seen.get(n) for n in OPS):
            a, b, c = ((n, seen[n]) for n in OPS)
            slow, usual = ((q[1] - p[1]) / (q[0] - p[0]) for p, q in ((b, c), (a, b)))
            row["linear"] = ratio_of([slow / usual], 1.25, most=True, rank=MUST)
        return row

    cases = [({"what": "LSTM layer"}, layer)]
    cases += [({"what": f"{n} ops"}, partial(step, n, OPS[n])) for n in OPS]
    columns = [
        Column("what", "what", "<", 10),
        Column("ours", "ours s", ".2f"),
        Column("theirs", "jax s", ".2f"),
        Column("ratio", "ours / jax", "", 18),
        Column("linear", "growth / linear", "", 18),
        OTHERS,
    ]
    note = """Value and gradient in the first call of a fresh process, after the imports; ours with
        an empty cache. LSTM layer: 32×35×64×64. Ops: a step of one's own of two products and so
        many pointwise ops, 35 steps of 8×32. growth / linear: seconds an op from 100 ops to 600,
        over those from 15 to 100."""
    return [Table("The first call", note, columns, plan.some(cases))]


def startup(plan):
    """Imports, and the first gradient of a new process."""
    count = 2 * plan.few - 1

    def imported(library):
        return {"ours": statistics.median(fresh.imported(library) for _ in range(count))}

    def ours():
        both = (partial(fresh.imported, library) for library in ("tinygrad_rnn", "numpy"))
        return in_turn(*both, count, 2, FLOOR)

    def warm():
        with tempfile.TemporaryDirectory() as cache:
            fresh.process("ours", cache)
            both = partial(fresh.process, "ours", cache), partial(fresh.process, "jax")
            return in_turn(*both, count, 1, FLOOR)

    def empty():
        with tempfile.TemporaryDirectory() as cache:
            return {"ours": fresh.process("ours", cache)}

    def torch():
        return {"ours": statistics.median(fresh.process("torch") for _ in range(plan.few))}

    cases = [
        ({"what": "import tinygrad_rnn, beside numpy"}, ours),
        ({"what": "import torch"}, partial(imported, "torch")),
        ({"what": "import jax"}, partial(imported, "jax")),
        ({"what": "first gradient, warm cache, beside jax"}, warm),
        ({"what": "first gradient, empty cache"}, empty),
        ({"what": "first gradient, torch"}, torch),
    ]
    columns = [
        Column("what", "what", "<", 38),
        Column("ours", "seconds", ".2f"),
        Column("theirs", "beside", ".2f"),
        Column("ratio", "ratio", "", 19),
        OTHERS,
    ]
    note = """Fresh processes: seconds of an import, and from the start of Python to its end with
        one gradient of an LSTM layer (32×35×64×64). An empty cache means all is compiled."""
    return [Table("Start", note, columns, cases)]
