"""What the page's script reads: the trace as the document it is, and what the page adds to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ..draw.text import literal
from ..draw.trace import Trace
from ..tensor import Tensor
from .reading import Weight
from .strips import itemised, state_rows


def page_data(
    loss: Tensor,
    trace: Trace,
    weights: list[Weight],
    signs: Mapping[int, str],
    levels: Iterable[str],
) -> dict[str, Any]:
    """Ready to be written as JSON. signs: what was read at each time step, if that is known."""
    levels = list(levels)
    return {
        "trace": json.loads(trace.json()),
        "weights": [asdict(w) for w in weights],
        "signs": {str(t): literal(sign, 8) for t, sign in signs.items()},
        "rows": state_rows(trace),
        "itemised": itemised(loss, trace),
        "levels": levels,
        "level": levels[0],
    }
