"""The strip below the graph: gradients of states, and what each part of the loss feels of them."""

from __future__ import annotations

from typing import Any

from ..draw.fold import Folder
from ..draw.trace import Trace
from ..lab.heat import heat
from ..tensor import Tensor
from .reading import exact

ITEMISED = 64  # time steps; each of them is a walk back of its own


def state_rows(trace: Trace) -> list[dict[str, Any]]:
    """For each state of each layer its name, and at each time the number of its record.

    A state is what another step of its layer reads. That of the last step, which none reads, is
    the op that does there what makes the state in the other steps.
    """
    found = Folder(trace)
    states: dict[tuple[str, object], None] = {}
    for r in trace.records:
        for source, _ in r.inputs:
            x = trace.records[source]
            if x.id in found.slot and r.t >= 0 and x.layer == r.layer and x.t != r.t:
                states[x.layer, found.slot[x.id]] = None
    rows = []
    for state in states:
        cells = dict(sorted(found.at[state].items(), key=lambda cell: cell[1]))
        label = next(trace.records[n].label for n in cells.values())
        rows.append({"layer": state[0], "label": label, "cells": cells})
    return rows


def itemised(loss: Tensor, trace: Trace) -> dict[str, Any] | None:
    """‖∂L(t)/∂h(k)‖, a row for each part of the loss; None where it has no parts to tell apart.

    norms: None where nothing gets, as to the future. cells: for each time, the number of the
    record that the loss reads.
    """
    if not 1 < len(trace.steps) <= ITEMISED:
        return None
    cells: dict[int, int] = {}
    for r in trace.records:
        if r.t < 0:
            cells |= {x.t: x.id for x in (trace.records[n] for n, _ in r.inputs) if x.t >= 0}
    try:
        found = heat(loss)
    except ValueError:  # it says why: no part of it belongs to a step, or a cotangent is clipped
        return None
    norms = [[exact(v) if v else None for v in row] for row in found.norms.tolist()]
    return {
        "parts": found.parts.tolist(),
        "steps": found.steps.tolist(),
        "norms": norms,
        "cells": cells,
    }
