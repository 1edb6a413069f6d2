"""Time: a step, folded over a sequence."""

from .loop import unroll as unroll
