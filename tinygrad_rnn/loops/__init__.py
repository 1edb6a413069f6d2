"""Time: a step, folded over a sequence."""

from .entry import Known, ScanWarning, fold, scan, scan_source, unroll

__all__ = ["Known", "ScanWarning", "fold", "scan", "scan_source", "unroll"]
