"""Teacher forcing cuts time: fed with targets, steps no longer wait for each other (S7).

python examples/teacher_forcing.py [FILE.svg]
"""

import sys
from time import perf_counter

import numpy as np

import tinygrad_rnn as tg

T, B = 60, 16
rng = np.random.default_rng(0)
xs = rng.normal(size=(T, B, 8)).astype(np.float32)
targets = np.sin(np.cumsum(xs[:, :, :4], 0))  # what the outputs should have been
cell = tg.nn.OutputRecurrent(8, 32, 4, source="target", rng=0)


def run(steps=T, **how):
    """One loss for each step, and the gradient of Wo, the only weight that leads through time."""
    given = {"targets": targets[:steps]} if cell.source == "target" else {}
    ys, _ = cell(xs[:steps], **given, **how)
    losses = [tg.mean_squared_error(y, d) for y, d in zip(ys, targets, strict=False)]
    gradient = tg.grad(sum(losses), cell.Wo, retain_graph=True)
    return losses, gradient.data


for source in ("output", "target"):
    cell.source = source
    losses, _ = run(unroll=True)
    found = tg.lab.teacher_forcing_parts(losses, cell)
    print(
        f"o(t-1) is the {source}: without the shared weights the graph is in {found.count} part(s)"
    )

# So all T steps are one batch of T · B rows: the same gradient, and nothing to wait for.
start = perf_counter()
_, one_by_one = run(unroll=True)
middle = perf_counter()
_, at_once = run()
seconds = middle - start, perf_counter() - middle
print(f"largest difference of the gradients: {np.abs(one_by_one - at_once).max():.1e}")
print(f"step by step {1e3 * seconds[0]:.1f} ms, all at once {1e3 * seconds[1]:.1f} ms")

path = sys.argv[1] if len(sys.argv) > 1 else "teacher_forcing.svg"
losses, _ = run(steps=3, unroll=True)
tg.draw(sum(losses), title="taught by targets: no arrow leads from step to step").save(path)
print(f"wrote {path}")
