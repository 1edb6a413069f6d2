"""Measuring networks: numbers about a graph that was run, each with a picture on request."""

from .flow import Flow as Flow
from .flow import Verdict as Verdict
from .flow import flow as flow
from .gates import Gates as Gates
from .gates import Saturation as Saturation
from .gates import gates as gates
from .heat import Heat as Heat
from .heat import heat as heat
from .ledger import Lags as Lags
from .ledger import Ledger as Ledger
from .ledger import ledger as ledger
from .parts import Decoupling as Decoupling
from .parts import independent_parts as independent_parts
from .parts import teacher_forcing_parts as teacher_forcing_parts
from .provenance import Provenance as Provenance
from .provenance import provenance as provenance
