"""The ops: each is declared once, with its derivatives and all that is known of it."""

from . import (
    activation,
    algebra,
    arithmetic,
    cotangent,
    creation,
    elementary,
    linear,
    loss,
    moving,
    reduce,
    shape,
    spelling,
)
from .activation import *  # noqa: F403
from .algebra import *  # noqa: F403
from .arithmetic import *  # noqa: F403
from .cotangent import *  # noqa: F403
from .creation import *  # noqa: F403
from .elementary import *  # noqa: F403
from .linear import *  # noqa: F403
from .loss import *  # noqa: F403
from .moving import *  # noqa: F403
from .reduce import *  # noqa: F403
from .shape import *  # noqa: F403

MODULES = (  # each is a family, as in pictures
    arithmetic, elementary, activation, linear, algebra, reduce, loss,
    shape, moving, creation, cotangent,
)  # fmt: skip
__all__ = [
    *arithmetic.__all__,
    *elementary.__all__,
    *activation.__all__,
    *linear.__all__,
    *algebra.__all__,
    *reduce.__all__,
    *loss.__all__,
    *shape.__all__,
    *moving.__all__,
    *creation.__all__,
    *cotangent.__all__,
]

for _module in MODULES:
    for _declared in vars(_module).copy().values():
        spelling.attach(_declared)
