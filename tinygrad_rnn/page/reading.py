"""What a page tells, read from a graph: the trace, and what each weight gets, with all digits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..draw.steps import with_steps, work
from ..draw.trace import Trace, trace_of
from ..grad import Walk, _seed, stepping
from ..op import pick
from ..optim.clip import euclidean
from ..tensor import Tensor
from .levels import OPS, too_many

ELEMENTS = 64  # of a larger weight the page shows the first ones


@dataclass
class Share:
    """What one step of the walk back adds to a weight: `source` is the record it comes from.

    l2: the term's norm. total: that of the sum so far. data: the term's first elements. Numbers
    that are not finite are words, as in a trace's document.
    """

    source: int
    l2: float | str
    total: float | str
    data: list[float | str]


@dataclass
class Weight:
    """A parameter's record, how many elements it has, and its terms in the order of the walk."""

    id: int
    size: int
    shares: list[Share] = field(default_factory=list)


def read(loss: Tensor, title: str = "") -> tuple[Trace, list[Weight]]:
    """The trace of a run and back, and the terms of its weights' gradients."""
    _seed(loss, None, "explain")  # refuses at once what cannot be walked back
    if (ops := work([loss])) > 2 * OPS:  # parts of tuples counted, which are no ops of a trace
        raise too_many(ops)
    (given,) = with_steps([loss], values=True)
    trace = trace_of(given, title=title)
    return trace, _weights(given, trace)


def _weights(loss: Tensor, trace: Trace) -> list[Weight]:
    """Go back once more: a trace rounds to a few digits, and a sum of terms needs more."""
    back = sorted((r for r in trace.records if r.order >= 0), key=lambda r: r.order)
    shares: dict[Tensor, list[Share]] = {}
    ids: dict[Tensor, int] = {}
    walk = Walk([loss], [_seed(loss, None, "explain")._array], None, (), False, True)
    steps = (step for step in stepping(walk) if step.tensor.op is not pick)
    for r, step in zip(back, steps, strict=True):
        ids[step.tensor] = r.id
        for x, g in step.contributions:
            if x.op is None:
                total = exact(euclidean([step.so_far[x]]))
                first = [exact(v) for v in g.reshape(-1)[:ELEMENTS].tolist()]
                share = Share(r.id, exact(euclidean([g])), total, first)
                shares.setdefault(x, []).append(share)
    return [Weight(ids[x], x.size, terms) for x, terms in reversed(shares.items())]


def exact(v: float) -> float | str:
    """Nine digits; what is not finite as a word."""
    if math.isfinite(v):
        return float(f"{v:.9g}")
    return "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"
