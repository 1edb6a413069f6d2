"""Time: a step, folded over a sequence."""

from .entry import Known, ScanWarning, fold, last_of, scan, scan_source, unroll

__all__ = ["Known", "ScanWarning", "fold", "last_of", "scan", "scan_source", "unroll"]
