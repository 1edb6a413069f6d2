"""The ops: each is declared once, with its derivatives and all that is known of it."""

from . import (
    activation,
    algebra,
    arithmetic,
    clipping,
    creation,
    ctc,
    elementary,
    likelihood,
    linear,
    loss,
    moving,
    normalisation,
    reduce,
    sequence,
    shape,
    sorting,
    spelling,
    statistics,
)
from .activation import *  # noqa: F403
from .algebra import *  # noqa: F403
from .arithmetic import *  # noqa: F403
from .clipping import *  # noqa: F403
from .creation import *  # noqa: F403
from .ctc import *  # noqa: F403
from .elementary import *  # noqa: F403
from .likelihood import *  # noqa: F403
from .linear import *  # noqa: F403
from .loss import *  # noqa: F403
from .moving import *  # noqa: F403
from .normalisation import *  # noqa: F403
from .reduce import *  # noqa: F403
from .sequence import *  # noqa: F403
from .shape import *  # noqa: F403
from .sorting import *  # noqa: F403
from .statistics import *  # noqa: F403

MODULES = (
    arithmetic, elementary, activation, linear, algebra, reduce, statistics, sorting,
    normalisation, sequence, loss, likelihood, ctc, shape, moving, creation, clipping,
)  # fmt: skip
__all__ = [name for module in MODULES for name in module.__all__]

for _module in MODULES:
    for _declared in vars(_module).copy().values():
        spelling.attach(_declared)
