"""What every library is given: the same weights, inputs and loss, as float32 arrays."""

from dataclasses import dataclass

import numpy as np

SIZES = [
    (1, 100, 8, 16),
    (16, 50, 32, 32),
    (32, 35, 64, 64),
    (32, 100, 128, 128),
    (64, 100, 256, 256),
    (20, 35, 650, 650),
    (128, 64, 512, 512),
]
"""Batch, steps, inputs, hidden: from one short sequence to where the products are all the work."""

GATES = {"RNN": 1, "GRU": 3}  # every other cell is an LSTM, with four


@dataclass
class Problem:
    """One cell at one size; the loss is sum(ys * mix), so that every output gets a cotangent."""

    kind: str
    size: tuple[int, int, int, int]
    weights: dict[str, np.ndarray]
    xs: np.ndarray
    masks: tuple[np.ndarray, ...]  # further inputs of a step, which need no gradient
    mix: np.ndarray

    @property
    def states(self):
        """The zeros (B, H) that a sequence begins with."""
        B, _, _, H = self.size
        return [np.zeros((B, H), np.float32)] * (1 if self.kind in GATES else 2)


def problem(kind, size, seed=0):
    """The arrays for a cell: RNN, GRU, or an LSTM by whatever name."""
    B, T, I, H = size
    rng = np.random.default_rng(seed)

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    wide = GATES.get(kind, 4) * H
    weights = {"Wx": normal(I, wide, scale=I**-0.5)}
    weights["Wh"] = normal(H, 2 * H if kind == "GRU" else wide, scale=0.7 * H**-0.5)
    if kind == "GRU":
        weights["Wn"] = normal(H, H, scale=0.7 * H**-0.5)
    else:
        weights["b"] = normal(wide, scale=0.1)
    if kind == "layer norm":
        weights |= {"gx": 1 + normal(wide, scale=0.1), "gh": 1 + normal(wide, scale=0.1)}
        weights |= {"gc": 1 + normal(H, scale=0.1), "bc": normal(H, scale=0.1)}
    if kind == "peephole":
        weights |= {name: normal(H, scale=0.1) for name in ("pi", "pf", "po")}
    count = 2 if kind == "zoneout" else 0
    masks = tuple((rng.random((T, B, H)) < 0.1).astype(np.float32) for _ in range(count))
    return Problem(kind, size, weights, normal(T, B, I), masks, normal(T, B, H))
