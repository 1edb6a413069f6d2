"""The pictures of one run that a page holds: from every op to one cell, folded."""

from __future__ import annotations

from contextlib import suppress

from ..tape import Tape
from ..tape.loops import work
from ..tensor import Tensor
from ..view import draw
from ..view.figure import Figure
from ..view.graph import TooMany

NODES = 600  # more than that are too many to be stepped through one by one
OPS = 4000  # a run with more of them makes a page that no browser opens quickly
ALL = 10_000  # steps at the beginning: none is left out


def pictures(tape: Tape) -> dict[str, Figure]:
    """The pictures that are not too large, by the name of the level, the finest first.

    Of very many steps only the first and the last are drawn; without steps there is one picture.
    Raises ValueError above 4000 ops.
    """
    ops = sum(r.kind == "op" for r in tape.records)
    if ops > OPS:
        raise too_many(ops)
    if not tape.steps:
        return {"op": draw(tape, level="op")}
    levels = ["op"] * (ops <= NODES) + ["gate"]
    found = {level: figure for level in levels if (figure := _whole(tape, level))}
    found["cell"] = _whole(tape, "cell") or draw(tape, level="cell", first=40, last=20)
    found["folded"] = draw(tape, view="folded")
    return found


def _whole(tape: Tape, level: str) -> Figure | None:
    """The picture with every step, if it can be read."""
    with suppress(TooMany):
        figure = draw(tape, level=level, first=ALL)
        return figure if figure.nodes <= NODES else None
    return None


def check_size(loss: Tensor) -> None:
    """Refuse a run that is far too long before any step of it is done again."""
    if (ops := work([loss])) > 2 * OPS:  # parts of tuples counted, which are no ops of a tape
        raise too_many(ops)


def too_many(ops: int) -> ValueError:
    """The refusal of a run that is too long."""
    return ValueError(
        f"explain: this run has {ops:,} ops, more than the {OPS:,} that a page can step through. "
        "Explain fewer time steps."
    )
