"""How weights begin."""

from __future__ import annotations

import numpy as np


def glorot(rng: np.random.Generator, inputs: int, outputs: int, gates: int = 1) -> np.ndarray:
    """Uniform within ±√(6 / (inputs + outputs)), for each gate's block by itself.

    Shape (inputs, gates · outputs). Glorot & Bengio 2010, formula 16.
    """
    bound = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-bound, bound, (inputs, gates * outputs))


def orthogonal(
    rng: np.random.Generator, size: int, gates: int = 1, rows: int | None = None
) -> np.ndarray:
    """A random orthogonal matrix for each gate, side by side: shape (rows, gates · size).

    Every block keeps lengths by itself; one orthogonal draw over all gates would not. Where `rows`
    is not `size`, its rows or its columns are orthogonal, whichever are fewer. Saxe et al. 2014; Q
    of a QR factorisation with R's diagonal made positive is uniform.
    """
    rows = rows or size
    blocks = []
    for _ in range(gates):
        q, r = np.linalg.qr(rng.normal(size=(max(rows, size), min(rows, size))))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        blocks.append(q if rows >= size else q.T)
    return np.concatenate(blocks, axis=1)
