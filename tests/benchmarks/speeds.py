"""The product of matrices by itself, and what of a small call is spent in compiled loops."""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
from goals import MUST
from measure import Effort, Result, paired, ratio_of, watched
from plan import CELL, HOW, OURS, SIZE, TORCH
from problem import problem
from table import Column, Table

PRODUCTS = [(64, 256, 256), (64, 256, 1024), (6400, 256, 1024), (2048, 2048, 2048)]
"""Rows, depth, columns."""


def product(plan):
    """Float32 products on one thread, in a process of their own: NumPy's is set when it loads."""

    def case(size):
        command = [sys.executable, __file__, json.dumps([size, asdict(plan.effort)])]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = os.environ | dict.fromkeys(names, "1")
        out = subprocess.run(command, capture_output=True, text=True, env=env)
        if out.returncode:
            raise RuntimeError((out.stderr.strip() or "no message").splitlines()[-1])
        result = Result(**json.loads(out.stdout))
        others = [name for name in ("numpy", "torch") if result.times.get(name)]
        best = min(others, key=result.seconds)
        rate = 2 * size[0] * size[1] * size[2] / result.seconds("ours") / 1e9
        return result.row(rate=rate, over=result.ratio(best, "ours", 0.95))

    cases = [({"size": size}, lambda size=size: case(size)) for size in plan.some(PRODUCTS)]
    columns = [
        Column("size", "n×k×m", "<", 15),
        OURS,
        Column("numpy", "numpy ms"),
        TORCH,
        Column("rate", "our GFLOP/s", ".0f", 12),
        Column("over", "better / ours", "", 16),
        *HOW,
    ]
    note = """Float32 products (n×k) @ (k×m) of arrays, on one thread, against the quicker of NumPy
        and PyTorch."""
    return [Table("The product by itself", note, columns, cases)]


def products(size):
    """What multiplies, by library: to be called in a process with one thread."""
    rng = np.random.default_rng(0)
    n, k, m = size
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((n, k), (k, m)))

    def ours():
        import tinygrad_rnn as tg

        tg.set_num_threads(1)
        return lambda: (tg.matmul(x, y),)

    def in_torch():
        import torch

        torch.set_num_threads(1)
        a, b = torch.tensor(x), torch.tensor(y)
        return lambda: (a @ b,)

    return {"ours": ours, "numpy": lambda: lambda: (x @ y,), "torch": in_torch}


def small(plan):
    """How much of a small call is spent in the compiled loops."""
    size = (1, 100, 8, 16)

    def case(kind):
        (whole, loops), others = watched(lambda: timed(problem(kind, size), plan.effort))
        goal = {"goal": 0.5, "rank": MUST} if kind == "LSTM" else {}
        row = {"whole": statistics.median(whole) * 1e3, "loops": statistics.median(loops) * 1e3}
        part = ratio_of([a / b for a, b in zip(loops, whole, strict=True)], **goal)
        return row | {"part": part, "rounds": len(whole), "others": others}

    cases = [({"cell": kind, "size": size}, lambda kind=kind: case(kind))
             for kind in plan.some(("LSTM", "RNN", "GRU"), 1)]  # fmt: skip
    columns = [
        CELL,
        SIZE,
        Column("whole", "ours ms"),
        Column("loops", "loops ms"),
        Column("part", "loops / ours", ".0%", 20),
        *HOW,
    ]
    note = """Forward and backward of a layer: the time inside the two compiled functions, arguments
        included, over that of the whole call. The rest is Python."""
    return [Table("The loops' share of a small call", note, columns, cases)]


def timed(given, effort, calls=20):
    """Seconds of a call, and of the compiled functions in it, in every round."""
    from ours import layer

    from tinygrad_rnn.loops import runtime

    run, call, spent = layer(given), runtime.together, []

    def watched(*arguments, **words):
        start = time.perf_counter()
        call(*arguments, **words)
        spent.append(time.perf_counter() - start)

    whole, loops = [], []
    for _ in range(3):
        run()
    runtime.together = watched
    try:
        until = time.perf_counter() + effort.seconds
        while len(whole) < effort.rounds or time.perf_counter() < until:
            spent.clear()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            whole.append((time.perf_counter() - start) / calls)
            loops.append(sum(spent) / calls)
    finally:
        runtime.together = call
    return whole, loops


if __name__ == "__main__":
    size, effort = json.loads(sys.argv[1])
    builders = products(size)
    print(json.dumps(asdict(paired(builders, Effort(**effort), list(builders)))))
