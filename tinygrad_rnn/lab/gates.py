"""Gates that are stuck: how often open or shut, and units that are dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Tensor
from .table import table

BINS = 20
STILL = 1e-6  # a unit that moves less than this does not change


@dataclass(frozen=True)
class Saturation:
    """One gate, or state, over time and batch; each array but the last two has one number a unit.

    low, high: the share of steps at which a unit is below `shut` and above `open`. mean: of its
    values. still: whether it never changes. never_positive: whether it is at most 0 throughout, as
    a dead ReLU is. counts (BINS,), edges (BINS + 1,): how many values there are between the edges.

    >>> z = tg.lab.gates({"z": np.full((9, 2, 4), 0.99)}).gates["z"]
    >>> z.high.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    still: np.ndarray
    never_positive: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    shut: float
    open: float


@dataclass(frozen=True)
class Gates:
    """Every gate of a run by name, see `Saturation`.

    >>> gates = tg.lab.gates({"z": np.full((9, 2, 4), 0.99)})
    >>> list(gates.gates), gates.dead["z"].tolist()
    (['z'], [0, 1, 2, 3])
    >>> gates.draw().save("gates.svg")
    """

    gates: dict[str, Saturation]

    def __getitem__(self, name: str) -> Saturation:
        return self.gates[name]

    @property
    def dead(self) -> dict[str, np.ndarray]:
        """The numbers, by name, of the units that never change or are never positive."""
        return {
            name: np.flatnonzero(gate.still | (gate.never_positive & (gate.shut >= 0)))
            for name, gate in self.gates.items()
        }

    def draw(self, title: str = "How often a gate has which value") -> Any:
        """A picture of every gate: the share of values over the range of each."""
        from ..view.chart import curve

        lines = {}
        for name, gate in self.gates.items():
            share = gate.counts / max(1, gate.counts.sum())
            lines[name] = ((gate.edges[1:] + gate.edges[:-1]) / 2, share)
        return curve(lines, title=title, x_label="value", y_label="share of all values")

    def __repr__(self) -> str:
        head = ("gate", "units", "average", "shut", "open", "still", "never > 0")
        rows = [
            (name, len(g.mean), *(float(a.mean()) for a in (g.mean, g.low, g.high)),
             int(g.still.sum()), int(g.never_positive.sum()))
            for name, g in self.gates.items()
        ]  # fmt: skip
        return table(head, rows)


def gates(
    given: Mapping[str, Any], *, mask: Any = None, shut: float = 0.05, open: float = 0.95
) -> Gates:
    """How saturated gates or states are, from what return_gates=True or return_states=True gives.

    given: one layer's, by name, each (T, B, units), or (T, units) of one sequence. mask: the steps
    that count, bools (T, B): padding is no shut gate. A gate with negative values, as a candidate
    of tanh has, counts as shut below -open. Raises TypeError for what is no dict, ValueError for
    other shapes and where nothing counts.

    >>> cell = tg.nn.LSTM(3, 4, rng=0)
    >>> _, _, gates = cell(np.ones((9, 2, 3), np.float32), return_gates=True)
    >>> sorted(tg.lab.gates(gates).gates)
    ['f', 'g', 'i', 'o']
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            "gates: expected the gates of one layer by name, got "
            f"{type(given).__name__}. Of a Recurrent's list of layers, give one: gates[0]"
        )
    return Gates({name: _saturation(name, x, mask, shut, open) for name, x in given.items()})


def _saturation(name: str, x: Any, mask: Any, shut: float, open: float) -> Saturation:
    values = np.asarray(x.data if isinstance(x, Tensor) else x, np.float64)
    counted = np.ones(values.shape[:-1], bool) if mask is None else np.asarray(mask, bool)
    if values.ndim not in (2, 3) or counted.shape != values.shape[:-1]:
        raise ValueError(
            f"gates: {name}: expected (T, B, units) and a mask of its first axes, got shapes "
            f"{values.shape} and {counted.shape}"
        )
    values = values[counted]
    if not len(values):
        raise ValueError(f"gates: {name}: expected at least one step that counts, got none")
    least = float(values.min(initial=0.0))
    low = -open if least < 0 else shut
    limits = (min(least, -1.0) if least < 0 else 0.0, max(1.0, float(values.max(initial=1.0))))
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, BINS, limits if np.isfinite(limits).all() else None)
    still = (np.ptp(values, axis=0) <= STILL) & (len(values) > 1)
    return Saturation(
        (values < low).mean(0), (values > open).mean(0), values.mean(0), still,
        (values <= 0).all(0), counts, edges, low, open,
    )  # fmt: skip
