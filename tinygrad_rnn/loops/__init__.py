"""Time: a step, folded over a sequence."""

from .entry import (
    Ends,
    Known,
    ScanWarning,
    check_order,
    fold,
    interval,
    last_of,
    scan,
    scan_source,
    unroll,
)

__all__ = [
    "Ends", "Known", "ScanWarning", "check_order", "fold", "interval", "last_of", "scan",
    "scan_source", "unroll",
]  # fmt: skip
