"""One cell, many conventions: what frameworks mean by LSTM and GRU, and how they lay it out."""

from __future__ import annotations

from typing import NamedTuple

from ..limits import one_of


class Convention(NamedTuple):
    """How a framework writes the two cells.

    lstm, gru: the gates in the order of their blocks (g and n are the candidates). reset: whether
    the reset gate acts "before" the product with the candidate's matrix, or "after". update: what z
    gates, the "candidate" or the "previous" state. lstm_biases, gru_biases: b beside Wx, bh beside
    Wh, and the GRU's bn beside Wn; has_gru_bias says whether a GRU has them unless asked not to.
    """

    lstm: str
    lstm_biases: tuple[str, ...]
    gru: str
    gru_biases: tuple[str, ...]
    reset: str
    update: str
    has_gru_bias: bool = True


CONVENTIONS = {
    "textbook": Convention("figo", ("b",), "zrn", ("b",), "before", "candidate", False),
    "torch": Convention("ifgo", ("b", "bh"), "rzn", ("b", "bh", "bn"), "after", "previous"),
    "keras": Convention("ifgo", ("b",), "zrn", ("b", "bh", "bn"), "after", "previous"),
    "keras_reset_before": Convention("ifgo", ("b",), "zrn", ("b",), "before", "previous"),
    "flax": Convention("ifgo", ("b",), "rzn", ("b", "bn"), "after", "previous"),
    "onnx": Convention("iofg", ("b", "bh"), "zrn", ("b", "bh", "bn"), "before", "previous"),
}
# The ways in which the gates of a GRU act.
RESETS, UPDATES = (tuple(dict.fromkeys(getattr(how, word) for how in CONVENTIONS.values()))
                   for word in ("reset", "update"))  # fmt: skip


def convention_of(who: str, name: str) -> Convention:
    """The convention of that name. Raises ValueError listing those there are."""
    return CONVENTIONS[one_of(who, "convention", name, CONVENTIONS)]
