"""The ops: each is declared once, with its derivatives and all that is known of it."""

from . import arithmetic, clip, linear, loss, reduce, shape, spelling
from .arithmetic import *  # noqa: F403
from .clip import *  # noqa: F403
from .linear import *  # noqa: F403
from .loss import *  # noqa: F403
from .reduce import *  # noqa: F403
from .shape import *  # noqa: F403

MODULES = (arithmetic, linear, reduce, loss, shape, clip)  # each is a family, as in pictures
__all__ = [
    *arithmetic.__all__,
    *linear.__all__,
    *reduce.__all__,
    *loss.__all__,
    *shape.__all__,
    *clip.__all__,
]

for _module in MODULES:
    for _declared in vars(_module).copy().values():
        spelling.attach(_declared)
