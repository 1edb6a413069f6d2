"""Against the machine, and how time and memory grow: each section returns its tables."""

import threading
from dataclasses import replace

import numpy as np
from goals import FLOOR, MUST, Ratio
from measure import paired, said
from plan import CELL, HOW, OTHERS, OURS, SIZE, in_jax, in_torch, ours, settle
from problem import SIZES, problem
from table import Column, Table


def packed_multiply():
    """The product of a compiled loop, x (steps, rows, depth) times packed weights, by itself."""
    from tinygrad_rnn.kernels import panels, text

    single = np.dtype(np.float32)
    panels.load(single)
    source = "def product(x, weights, out):\n    multiply(x, weights, out, True)\n"
    return text.function(source, 0, [(single, 3), (single, 1), (single, 3)], {})


def product_builder(threads, calls):
    """Every thread multiplies matrices of its own, (256, 512) @ (512, 2048)."""
    from tinygrad_rnn.kernels import generated

    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((1, 256, 512), (512, 2048)))
    weights, multiply = generated.packed(y), packed_multiply()

    def work():
        out = np.empty((1, 256, 2048), np.float32)
        for _ in range(calls):
            multiply((x, weights, out))

    def run():
        crew = [threading.Thread(target=work) for _ in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()

    return run


def share(plan):
    """How much of what the machine can multiply an LSTM uses."""
    calls = 10
    work = 2 * 256 * 512 * 2048 * calls * plan.threads

    def case(size):
        B, T, I, H = size
        flops = 2 * T * B * (I + H) * 4 * H * 3
        builders = {
            "ours": ours("layer", problem("LSTM", size)),
            "product": lambda: product_builder(plan.threads, calls),
        }
        result = paired(builders, plan.effort)
        if result.errors:
            return {"errors": result.errors}
        rate, peak = (
            n / 1e9 / result.seconds(k, min) for n, k in ((flops, "ours"), (work, "product"))
        )
        usual = result.ratio("product", "ours").value * flops / work
        return result.row(rate=rate, peak=peak, usual=usual, share=Ratio(rate / peak, 0.85))

    cases = [({"size": s}, lambda s=s: case(s)) for s in plan.some(SIZES[3:], 1)]
    columns = [
        SIZE,
        OURS,
        Column("rate", "best GFLOP/s", ".0f", 13),
        Column("peak", "peak GFLOP/s", ".0f", 13),
        Column("share", "best / peak", ".0%", 14),
        Column("usual", "median share", ".0%", 13),
        *HOW,
    ]
    note = f"""Layers' products, 2·T·B·(I+H)·4H·3 operations forward and backward, against the best
        of our product (256×512)@(512×2048), the weights packed, on {plan.threads} threads at once,
        timed in turn."""
    return [Table("Share of the peak, LSTM", note, columns, cases)]


def threads(plan):
    """One thread against two."""

    def build(kind, size, count):
        from ours import layer

        import tinygrad_rnn as tg

        run = layer(problem(kind, size))

        def counted():
            tg.set_num_threads(count)
            return run()

        return counted

    def case(kind, size):
        builders = {n: lambda n=n: build(kind, size, int(n)) for n in ("1", "2")}
        try:
            result = paired(builders, plan.effort, list(builders))
        finally:
            settle(plan.threads)
        long = (result.seconds("1") or 0) >= 0.005
        return result.row(gain=result.ratio("1", "2", 1.7 if long else 0.98))

    cases = [
        ({"cell": kind, "size": size}, lambda kind=kind, size=size: case(kind, size))
        for kind in plan.some(("LSTM", "RNN", "GRU"), 1)
        for size in plan.some(SIZES)
    ]
    columns = [
        CELL,
        SIZE,
        Column("1", "1 thread ms", "", 12),
        Column("2", "2 threads ms", "", 13),
        Column("gain", "gain", "", 18),
        *HOW,
    ]
    note = """Ours, forward and backward, with set_num_threads(1) and (2) in turn; rows of 5 ms and
        more on one thread have to gain, the others not to lose."""
    return [Table("Two threads against one", note, columns, cases)]


def grown(sizes, along, plan):
    """Rows of one series; a size is compared with the one before it, per unit of its growth."""
    seen = {}

    def case(size):
        effort = replace(
            plan.effort, seconds=plan.effort.seconds / 2
        )  # alone, its best is soon seen
        result = paired({"ours": ours("layer", problem("LSTM", size))}, effort)
        if result.errors:
            return {"errors": result.errors}
        best = result.seconds("ours", min)
        seen[size] = best / size[along]
        before = sizes[sizes.index(size) - 1] if size != sizes[0] else None
        row = result.row(best=best * 1e3, unit=best / (size[0] * size[1]) * 1e6)
        if before in seen:
            row["linear"] = Ratio(seen[size] / seen[before], 1.25, most=True, rank=FLOOR)
        return row

    return [({"size": size}, lambda size=size: case(size)) for size in sizes]


def growth(plan):
    """Time for longer sequences and larger batches."""
    steps = plan.some([100, 1_000, 10_000, 100_000, 1_000_000])
    long = [
        grown([(B, T, H, H) for T in steps if B * T * H < 1e8], 1, plan)
        for B, H in ((1, 16), (8, 64))
    ]
    batches = plan.some([1, 2, 4, 8, 16, 32, 64, 128, 256])
    wide = grown([(B, 100, 64, 64) for B in batches], 0, plan)
    columns = [
        Column("size", "B×T×I×H", "<", 18),
        Column("best", "best ms", "", 10),
        Column("unit", "µs a row and step", "", 18),
        Column("linear", "growth / linear", "", 19),
        *HOW,
    ]
    note = """LSTM, forward and backward. growth / linear: the time of a row over that of the row
        above, divided by how many times longer (or wider) it is; 1 is linear."""
    return [
        Table("Longer sequences", note, columns, [*long[0], *long[1]]),
        Table("Larger batches", note, columns, wide),
    ]


def memory(plan):
    """Peak memory of a long sequence."""
    from memory import KINDS, WAYS, measured

    goals = {
        ("all outputs", 1_000): 0.7,
        ("all outputs, checkpoint", 4_000): 0.25,
        ("last state, checkpoint", 4_000): 0.15,
    }

    def case(kind, way, steps):
        row, errors = {}, {}
        for who in ("ours", "torch"):
            try:
                told = way if who == "ours" else way.removesuffix(", checkpoint")
                row[who] = measured(who, kind, told, steps)
            except Exception as error:
                errors[who] = said(error)
        ratio = row["ours"] / row["torch"] if len(row) == 2 else None
        goal = goals.get((way, steps)) if kind == "LSTM" else None
        return row | {"over": Ratio(ratio, goal, most=True), "errors": errors}

    kinds = [("LSTM", 4_000), *[(kind, 1_000) for kind in KINDS]]
    few = ("all outputs", "last state, checkpoint")
    cases = [
        (
            {"cell": kind, "size": (32, T, 128, 128), "way": way},
            lambda how=(kind, way, T): case(*how),
        )
        for kind, T in plan.some(kinds, 1)
        for way in (WAYS if kind == "LSTM" else few)
    ]
    columns = [
        Column("cell", "cell", "<", 16),
        SIZE,
        Column("way", "loss of", "<", 24),
        Column("ours", "ours MB", ".0f", 9),
        Column("torch", "torch MB", ".0f", 9),
        Column("over", "ours / torch", "", 13),
    ]
    note = """How far the high-water mark of a fresh process rises after a warm-up on a tiny size,
        in two runs forward and backward: with the gradient of the inputs for a loss of all outputs,
        without for one of the last state. checkpoint: Recurrent(cell, checkpoint="sqrt"), against
        PyTorch without; not recorded: under no_grad(), forward alone."""
    return [Table("Peak memory", note, columns, cases)]


def vanishing(plan):
    """Gradients below the range of float32 against healthy ones."""

    def case(kind):
        healthy = problem(kind, (32, 1000, 128, 128))
        gone = replace(healthy, mix=healthy.mix * np.float32(1e-36))
        row = {}
        for who, build in (("ours", ours), ("torch", in_torch), ("jax", in_jax)):
            name = "run" if who == "jax" else "layer"
            builders = {"healthy": build(name, healthy), "gone": build(name, gone)}
            result = paired(builders, plan.effort)
            how = {"most": True, "rank": MUST} if who == "ours" else {}
            row[who] = result.ratio("gone", "healthy", 1.2 if how else None, **how)
            row |= {"others": max(result.others or 0, row.get("others", 0))}
            row["errors"] = row.get("errors", {}) | {
                f"{who} {k}": e for k, e in result.errors.items()
            }
        return row

    cases = [({"cell": kind}, lambda kind=kind: case(kind))
             for kind in plan.some(("RNN", "LSTM", "GRU"), 1)]  # fmt: skip
    columns = [CELL, *(Column(n, n, "", 22) for n in ("ours", "torch", "jax")), OTHERS]
    note = """Forward and backward of a layer, 32×1000×128×128: the time with the loss times 1e-36,
        so that gradients are below the normal range of float32, over the time without."""
    return [Table("Gradients that vanish", note, columns, cases)]
