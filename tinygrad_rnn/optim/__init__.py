"""Training: what to do with gradients."""

import typing as _typing

from ..tensor import foreign as _foreign
from .clip import Diverged as Diverged
from .clip import clip_grad_norm as clip_grad_norm
from .clip import clip_grad_value as clip_grad_value
from .optimizers import SGD as SGD
from .optimizers import Adam as Adam
from .optimizers import AdamW as AdamW
from .optimizers import Optimizer as Optimizer
from .optimizers import RMSprop as RMSprop
from .schedule import cosine as cosine
from .truncated import Update as Update
from .truncated import truncated_bptt as truncated_bptt

if not _typing.TYPE_CHECKING:

    def __getattr__(name):
        hint = _foreign("optim", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
