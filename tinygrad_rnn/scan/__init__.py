"""Time: a step, folded over a sequence."""

from .loop import ScanWarning as ScanWarning
from .loop import fold as fold
from .loop import scan as scan
from .loop import scan_source as scan_source
from .loop import unroll as unroll
