"""Numbers in columns, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..tape.words import number

MOST = 24  # rows that are shown


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A heading and its rows, numbers to the right; of many rows the first and the last."""
    lines = [tuple(map(_word, row)) for row in rows]
    if len(lines) > MOST:
        lines = [*lines[: MOST - 6], ("…",) * len(head), *lines[-5:]]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True))
        for line in [tuple(head), *lines]
    )


def _word(x: Any) -> str:
    if isinstance(x, float | np.floating):
        return number(float(x))
    return "-" if x is None else str(x)
