"""GradBench's evaluation `lstm`, against its own C++ and JAX."""

from functools import partial

import numpy as np
from goals import MUST
from measure import paired
from plan import HOW, JAX, OTHERS, OURS, OVER_JAX
from startup import first_of_league
from table import Column, Table
from waits import in_turn

CHECKED = 1e-12  # gradients agree to this part of the largest


def league(plan):
    """An LSTM with diagonal weights: its gradient, and the first of a process."""
    from gradbench import evaluations, lstm, manual

    def ours(given):
        run = evaluations.prepared("lstm", "jacobian", given)[0]
        return lambda: (np.stack(run()),)

    def case(size):
        given = lstm.example(*size)
        builders = {
            "ours": lambda: ours(given),
            "c++": lambda: manual.Lstm(plan.gradbench, given),
            "jax": lambda: lstm.in_jax(given),
        }
        result = paired(builders, plan.effort, list(builders), CHECKED)
        return result.row(
            over_cpp=result.ratio("c++", "ours", 4, rank=MUST),
            over_jax=result.ratio("jax", "ours", 2.5, rank=MUST),
        )

    cases = [({"size": size}, lambda size=size: case(size)) for size in plan.some(lstm.SIZES)]
    size = Column("size", "layers×T", "<", 10)
    cpp, over_cpp = Column("c++", "C++ ms"), Column("over_cpp", "C++ / ours", "", 21)
    columns = [size, OURS, cpp, JAX, over_cpp, OVER_JAX, *HOW]
    note = f"""GradBench's `lstm`: diagonal weights of width 14, float64, one row, all gradients, in
        a dozen lines of a user's own; JAX: the same lines under jit(grad(lax.scan)); C++: written
        by hand, GradBench's own, compiled with its flags. Gradients agree to {CHECKED:g} of the
        largest."""
    return [Table("GradBench lstm", note, columns, cases), first(plan)]


def first(plan):
    """The first gradient of a process that has compiled nothing yet."""

    def case(layers):
        both = (partial(first_of_league, who, layers) for who in ("ours", "jax"))
        return in_turn(*both, plan.few, 3.5, MUST)

    columns = [
        Column("layers", "layers", "d", 6),
        Column("ours", "ours s", ".2f"),
        Column("theirs", "jax s", ".2f"),
        Column("ratio", "ours / jax", "", 21),
        OTHERS,
    ]
    note = "The same with 1,024 characters, once, after the imports; ours with an empty cache."
    cases = [({"layers": n}, lambda n=n: case(n)) for n in plan.some((2, 6), 1)]
    return Table("GradBench lstm, the first call", note, columns, cases)
