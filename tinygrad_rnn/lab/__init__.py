"""Measuring networks: numbers about a graph that was run, each with a picture on request.

Gradients through time: flow gives a Flow with its Verdict, heat a Heat, ledger a Ledger, whose
terms by lag are Lags.
Gates: gates gives Gates, each with its Saturation.
Forward in time: rtrl, rtrl_steps; assert_agree compares, and gives an Agreement.
Parts of a graph: independent_parts, teacher_forcing_parts, which gives a Decoupling.
Where a number came from: provenance gives a Provenance.
"""

from .flow import Flow, Verdict, flow
from .gates import Gates, Saturation, gates
from .heat import Heat, heat
from .ledger import Lags, Ledger, ledger
from .parts import Decoupling, independent_parts, teacher_forcing_parts
from .provenance import Provenance, provenance
from .rtrl import Agreement, assert_agree, rtrl, rtrl_steps

__all__ = [
    "Agreement", "Decoupling", "Flow", "Gates", "Heat", "Lags", "Ledger", "Provenance",
    "Saturation", "Verdict", "assert_agree", "flow", "gates", "heat", "independent_parts", "ledger",
    "provenance", "rtrl", "rtrl_steps", "teacher_forcing_parts",
]  # fmt: skip
