"""Against PyTorch and JAX: each section returns its tables."""

from dataclasses import replace

from goals import FLOOR, MUST
from measure import mean, paired
from plan import (
    CELL,
    HOW,
    JAX,
    OURS,
    OVER_JAX,
    OVER_TORCH,
    SIZE,
    TORCH,
    in_jax,
    in_torch,
    ours,
    settle,
)
from problem import SIZES, problem
from table import Column, Table


def compared(builders, plan, goals=None, agree=()):
    """The row of one comparison: milliseconds of each, and the ratios with their goals.

    `goals`: what the ratio to each has to reach, and whether that is a must.
    """
    result = paired(builders, plan.effort, agree)
    goals = goals or {}
    ratios = {}
    for name in ("torch", "jax"):
        if name in builders:
            goal, rank = goals.get(name, (None, ""))
            ratios[f"over_{name}"] = result.ratio(name, "ours", goal, rank=rank)
    return result.row(**ratios)


def layers(plan):
    """Forward and backward of a built-in cell over a sequence."""

    def case(kind, size):
        given = problem(kind, size)
        builders = {
            "ours": ours("layer", given),
            "torch": in_torch("layer", given),
            "jax": in_jax("run", given),
        }
        # PyTorch's GRU resets after the product: near the same work, but another formula.
        agree = ["ours", "jax"] if kind == "GRU" else list(builders)
        least = 1.05 if kind == "LSTM" else 1.3
        goals = {"torch": (least, ""), "jax": (1.3, MUST if size in SIZES[:2] else "")}
        return compared(builders, plan, goals, agree)

    def means(rows):
        goals = {"LSTM": (1.35, None), "RNN GRU": (3.5, None), "RNN LSTM GRU": (None, 2)}
        return [
            _means([row for row in rows if row["cell"] in kinds.split()], kinds, *goals[kinds])
            for kinds in goals
        ]

    cases = [
        ({"cell": kind, "size": size}, lambda kind=kind, size=size: case(kind, size))
        for kind in ("RNN", "LSTM", "GRU")
        for size in plan.some(SIZES)
    ]
    note = """Forward and backward of one layer, float32, gradients of every weight and of the
        inputs. PyTorch: nn.RNN, nn.LSTM (oneDNN), nn.GRU; JAX: jit(grad(lax.scan)). Ratios are
        medians over rounds in which all run in turn: above 1 ours is faster."""
    columns = [CELL, SIZE, OURS, TORCH, JAX, OVER_TORCH, OVER_JAX, *HOW]
    return [Table("Layers, forward + backward", note, columns, cases, means)]


def _means(rows, kinds, torch_goal, jax_goal):
    over = lambda key, goal: mean([row[key] for row in rows if key in row], goal)
    return {
        "cell": kinds.replace(" ", ", "),
        "size": "geometric mean",
        "over_torch": over("over_torch", torch_goal),
        "over_jax": over("over_jax", jax_goal),
        "others": max((row.get("others") or 0 for row in rows), default=0),
    }


OWN_SIZES = [(32, 35, 64, 64), (32, 100, 128, 128)]


def own(plan):
    """Cells a user writes: as fast as the built-in one, and against others' hand-written ones."""

    def beside(size):
        given = problem("LSTM", size)
        builders = {"ours": ours("own", given), "built-in": ours("layer", given)}
        result = paired(builders, plan.effort, list(builders))
        return result.row(over=result.ratio("built-in", "ours", 0.95, rank=FLOOR))

    def against(kind, size):
        given = problem(kind, size)
        builders = {
            "ours": ours("own", given),
            "torch": in_torch("own", given),
            "jax": in_jax("run", given),
        }
        goals = {"torch": (4, ""), "jax": (2, "")}
        return compared(builders, plan, goals, list(builders))

    first = [({"cell": "LSTM", "size": s}, lambda s=s: beside(s)) for s in plan.some(OWN_SIZES, 1)]
    second = [
        ({"cell": kind, "size": size}, lambda kind=kind, size=size: against(kind, size))
        for kind in ("zoneout", "layer norm", "peephole")
        for size in plan.some(OWN_SIZES, 1)
    ]
    built_in = Column("built-in", "built-in ms", "", 12)
    over = Column("over", "built-in / own", "", 24)
    columns = [CELL, SIZE, Column("ours", "own ms", "", 10), built_in, over, *HOW]
    note = "An LSTM as five lines of a user's own, folded with scan, against the built-in layer."
    others = """LSTMs changed by a user, against the same lines written by hand in PyTorch (a Python
        loop of eager ops) and in JAX (lax.scan under jit). The masks of zoneout are inputs."""
    rivals = [CELL, SIZE, OURS, TORCH, JAX, OVER_TORCH, OVER_JAX, *HOW]
    return [
        Table("A cell of one's own beside the built-in one", note, columns, first),
        Table("Cells of one's own, elsewhere", others, rivals, second),
    ]


MODIFIED = ("feed-forward", "variational", "DropConnect", "Zoneout", "time skip")


def modifiers(plan):
    """The library's modifiers around an LSTM."""

    def case(kind, size):
        given = problem(kind, size)
        builders = {
            "ours": ours("modified", given),
            "torch": in_torch("modified", given),
            "jax": in_jax("modified", given),
        }
        builders["plain"] = ours("layer", problem("LSTM", size))
        result = paired(builders, plan.effort, list(builders)[:3] if kind == "time skip" else [])
        return result.row(
            over_torch=result.ratio("torch", "ours", 1, rank=FLOOR),
            over_jax=result.ratio("jax", "ours"),
            over_plain=result.ratio("ours", "plain"),
        )

    cases = [
        ({"cell": kind, "size": size}, lambda kind=kind, size=size: case(kind, size))
        for kind in plan.some(MODIFIED)
        for size in plan.some(OWN_SIZES, 1)
    ]
    note = """An LSTM in a modifier, with masks drawn again in each run, against the same in PyTorch
        (feed-forward dropout and DropConnect around nn.LSTM, the others a loop in Python) and in
        JAX (lax.scan under jit, masks drawn inside). The last ratio is the price: ours over our
        plain LSTM."""
    price = Column("over_plain", "ours / plain", "", 14)
    wide = Column("cell", "modifier", "<", 14)
    columns = [wide, SIZE, OURS, TORCH, JAX, OVER_TORCH, OVER_JAX, price, *HOW]
    return [Table("Modifiers around an LSTM", note, columns, cases)]


# Batch, steps, hidden, symbols, embedding.
TRAINING = [(32, 64, 256, 103, 64), (24, 48, 256, 103, 64), (64, 100, 512, 103, 64)]


def training(plan):
    """Whole training steps of a character model."""

    def case(*sizes):
        builders = {"ours": ours("training", *sizes), "torch": in_torch("training", *sizes)}
        row = compared(builders, plan, {"torch": (1.2, MUST)})
        return row | {"aim": replace(row["over_torch"], goal=1.5, rank="")}

    cases = [({"size": s[:3]}, lambda s=s: case(*s)) for s in plan.some(TRAINING, 1)]
    note = """One step: embedding 64, LSTM, linear to 103 symbols, mean cross-entropy, clipping by
        the norm of all gradients, Adam; the same in PyTorch with its own modules."""
    size = Column("size", "B×T×H", "<", 15)
    aim = Column("aim", "and the aim", "", 20)
    columns = [size, OURS, TORCH, OVER_TORCH, aim, *HOW]
    return [Table("Training a character model", note, columns, cases)]


def eager(plan):
    """What eager.py measures: one op after the other, on one thread."""
    import eager as steps

    def case(size):
        builders = {"ours": lambda: steps.ours(*size), "torch": lambda: steps.theirs(*size)}
        try:
            settle(1)
            return compared(builders, plan, {"torch": (1, "")})
        finally:
            settle(plan.threads)

    cases = [({"size": size}, lambda size=size: case(size)) for size in plan.some(steps.SIZES)]
    note = "The tape itself: an LSTM op by op, forward and backward, one thread, no compiled loop."
    return [Table("Eager", note, [SIZE, OURS, TORCH, OVER_TORCH, *HOW], cases)]
