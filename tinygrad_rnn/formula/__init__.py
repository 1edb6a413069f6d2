"""Formulas: what ops, steps and cells do, and their derivatives, printed from their own rules.

They are read from the trace that a step leaves and from what the ops' rules leave in a backward
pass through it, so an op that somebody adds is printed like the library's.
"""

from .equations import Equations as Equations

__all__ = ["Equations"]
