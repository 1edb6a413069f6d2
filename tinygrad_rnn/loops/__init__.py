"""Time: a step, folded over a sequence."""

from .entry import Known as Known
from .entry import ScanWarning as ScanWarning
from .entry import fold as fold
from .entry import scan as scan
from .entry import scan_source as scan_source
from .entry import unroll as unroll
