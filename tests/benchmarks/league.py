"""GradBench's evaluation `lstm`, against its own C++ and JAX."""

import statistics

from measure import paired
from plan import HOW, JAX, OURS, OVER_JAX
from table import Column, Ratio, Table

CHECKED = 1e-12  # gradients agree to this part of the largest


def league(plan):
    """An LSTM with diagonal weights: its gradient, and the first of a process."""
    from gradbench import evaluations, lstm, manual

    def case(size):
        given = lstm.example(*size)
        builders = {
            "ours": lambda: evaluations.prepared("lstm", "jacobian", given)[0],
            "c++": lambda: manual.Lstm(plan.gradbench, given),
            "jax": lambda: lstm.in_jax(given),
        }
        result = paired(builders, plan.effort, list(builders), CHECKED)
        over = {"over_cpp": Ratio(result.ratio("c++", "ours"), 4)}
        return result.row(**over, over_jax=Ratio(result.ratio("jax", "ours"), 2.5))

    cases = [({"size": size}, lambda size=size: case(size)) for size in plan.some(lstm.SIZES)]
    size = Column("size", "layers×T", "<", 10)
    cpp, over_cpp = Column("c++", "C++ ms"), Column("over_cpp", "C++ / ours", "", 13)
    columns = [size, OURS, cpp, JAX, over_cpp, OVER_JAX, *HOW]
    note = f"""GradBench's `lstm`: diagonal weights of width 14, float64, one row, all gradients, in
        a dozen lines of a user's own; JAX: the same lines under jit(grad(lax.scan)); C++: written
        by hand, GradBench's own, compiled with its flags. Gradients agree to {CHECKED:g} of the
        largest."""
    return [Table("GradBench lstm", note, columns, cases), first(plan)]


def first(plan):
    """The first gradient of a process that has compiled nothing yet."""
    import startup as fresh

    def case(layers):
        pairs = [[fresh.first_of_league(who, layers) for who in ("ours", "jax")]
                 for _ in range(plan.few)]  # fmt: skip
        ours, jax = map(statistics.median, zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        return {"ours": ours, "jax": jax, "ratio": Ratio(ratio, 3.5, most=True)}

    columns = [
        Column("layers", "layers", "d", 6),
        Column("ours", "ours s", ".2f"),
        Column("jax", "jax s", ".2f"),
        Column("ratio", "ours / jax", "", 14),
    ]
    note = "The same with 1,024 characters, once, after the imports; ours with an empty cache."
    cases = [({"layers": n}, lambda n=n: case(n)) for n in plan.some((2, 4, 6), 1)]
    return Table("GradBench lstm, the first call", note, columns, cases)
