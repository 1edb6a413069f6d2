"""What the page's script reads: the tape as the document it is, and what the page adds to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..lab.heat import heat
from ..optim.clip import euclidean
from ..quiet import quiet
from ..tape import Call, Place, Record, Tape, Term
from ..tape.document import rounded, statistics, usual
from ..tape.numbers import Numbers
from ..tape.words import literal
from ..tensor import Tensor
from ..view.fold import Folder
from ..view.look import SCALE

ELEMENTS = 64  # of a larger weight the page shows the first ones
ITEMISED = 64  # time steps; more rows than that cannot be read
DIGITS = 9  # of what is added up
LEFT = 0.05  # of the largest term: of a smaller sum few of the digits are right that a term has


@quiet
def page_data(
    loss: Tensor, tape: Tape, signs: Mapping[int, str], levels: Iterable[str]
) -> dict[str, Any]:
    """Ready to be written as JSON. signs: what was read at each time step, if that is known."""
    levels, known = list(levels), usual(Record) | usual(Call) | usual(Place)
    return {
        "tape": json.loads(tape.json()),
        "usual": {k: v for k, v in known.items() if k not in ("id", "call", "place")},
        "saved": {str(r.id): r.saved for r in tape.records if r.saved},
        "weights": weights(tape),
        "sums": sums(tape),
        "signs": {str(t): literal(sign, 8) for t, sign in signs.items()},
        "rows": state_rows(tape),
        "itemised": itemised(loss, tape),
        "levels": levels,
        "level": levels[0],
        "scale": SCALE,
    }


def weights(tape: Tape) -> list[dict[str, Any]]:
    """The terms of each parameter's gradient, in the order of the backward pass.

    source: the record a term comes from. l2: its norm. total: that of the sum so far. data: its
    first elements.
    """
    arrivals = tape.arrivals()
    found = []
    for r in tape.records:
        if r.kind == "parameter" and arrivals[r.id]:
            shares, total = [], np.zeros(())
            for source, term in arrivals[r.id]:
                total = total + term.numbers.flat
                shares.append(_share(source, term.numbers.flat, total))
            found.append({"id": r.id, "size": total.size, "shares": shares})
    return found


def sums(tape: Tape) -> dict[str, list[dict[str, Any]]]:
    """What is told of a gradient after each of its terms, where the page cannot add them up itself:
    it has no elements of large arrays, only a few digits of others, of which nothing may be left,
    and each part of a tuple has a sum of its own.

    Nothing of the first term, and of all of them what the record itself tells. step: the norm of
    what the same time step gave, where that is several terms.
    """
    found = {}
    for r, came in zip(tape.records, tape.arrivals(), strict=True):
        parts = {source.inputs[term.place][1] for source, term in came}
        large = any(term.numbers.data is None for _, term in came)
        if len(came) > 1 and (len(parts) > 1 or large or cancels([term for _, term in came])):
            told, every, steps = [], dict[int, Any](), dict[int, dict[int, Any]]()
            for n, (source, term) in enumerate(came):
                part, again = source.inputs[term.place][1], source.t in steps
                own = steps.setdefault(source.t, {})
                for some in (every, own):
                    some[part] = some.get(part, 0.0) + term.numbers.flat
                told.append(statistics(Numbers(*every.values())) if 0 < n < len(came) - 1 else {})
                if again:
                    told[-1]["step"] = rounded(Numbers(*own.values()).l2)
            found[str(r.id)] = told
    return found


def cancels(terms: Sequence[Term]) -> bool:
    """Whether terms have more digits than their sums: some sum is far less than what made it."""
    sums = np.cumsum([term.numbers.flat for term in terms], axis=0)
    most = np.maximum.accumulate([term.numbers.l2 for term in terms])
    return any(euclidean([total]) < LEFT * size for total, size in zip(sums, most, strict=True))


def _share(source: Record, term: np.ndarray, total: np.ndarray) -> dict[str, Any]:
    return {
        "source": source.id,
        "l2": rounded(euclidean([term]), DIGITS),
        "total": rounded(euclidean([total]), DIGITS),
        "data": [rounded(v, DIGITS) for v in term[:ELEMENTS].tolist()],
    }


def state_rows(tape: Tape) -> list[dict[str, Any]]:
    """The name of each state of each layer, and at each time the number of its record.

    A state is what another step of its layer reads. That of the last step, which none reads, is
    the op that does there what makes the state in the other steps.
    """
    found = Folder(tape)
    states: dict[tuple[str, object], None] = {}
    for r in tape.records:
        for source, _ in r.inputs:
            x = tape.records[source]
            if x.id in found.slot and r.t >= 0 and x.layer == r.layer and x.t != r.t:
                states[x.layer, found.slot[x.id]] = None
    rows = []
    for state in states:
        cells = dict(sorted(found.at[state].items(), key=lambda cell: cell[1]))
        label = next(tape.records[n].label for n in cells.values())
        rows.append({"layer": state[0], "label": label, "cells": cells})
    return rows


def itemised(loss: Tensor, tape: Tape) -> dict[str, Any] | None:
    """‖∂L(t)/∂h(k)‖, a row for each part of the loss; None where it has no parts to tell apart.

    norms: None where nothing gets, as to the future. cells: for each time, the number of the
    record that the loss reads.
    """
    if not 1 < len(tape.steps) <= ITEMISED:
        return None
    cells: dict[int, int] = {}
    for r in tape.records:
        if r.t < 0:
            cells |= {x.t: x.id for x in (tape.records[n] for n, _ in r.inputs) if x.t >= 0}
    read = {tape.records[n].layer for n in cells.values()}
    for row in state_rows(tape):  # of steps of which the loss reads nothing
        cells = (row["cells"] if row["layer"] in read else {}) | cells
    try:
        found = heat(loss)
    except ValueError:  # it says why: no part of it belongs to a step, or a gradient is clipped
        return None
    norms = [[rounded(v, DIGITS) if v else None for v in row] for row in found.norms.tolist()]
    return {
        "parts": found.parts.tolist(),
        "steps": found.steps.tolist(),
        "norms": norms,
        "cells": cells,
    }
