"""Measuring networks: numbers about a graph that was run, each with a picture on request."""

from .flow import Flow, Verdict, flow
from .gates import Gates, Saturation, gates
from .heat import Heat, heat
from .ledger import Lags, Ledger, ledger
from .parts import Decoupling, independent_parts, teacher_forcing_parts
from .provenance import Provenance, provenance

__all__ = [
    "Decoupling", "Flow", "Gates", "Heat", "Lags", "Ledger", "Provenance", "Saturation",
    "Verdict", "flow", "gates", "heat", "independent_parts", "ledger", "provenance",
    "teacher_forcing_parts",
]  # fmt: skip
