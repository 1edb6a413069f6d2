"""Training: what to do with gradients.

Optimisers: SGD, Adam, AdamW, RMSprop. One of your own is an Optimizer.
Gradients that are too large: clip_grad_norm, clip_grad_value; Diverged where there is no way on.
While it trains: cosine for the rate, EarlyStopping, truncated_bptt and the Update it tells of.
"""

import typing as _typing

from ..tensor import foreign as _foreign
from .clip import Diverged, clip_grad_norm, clip_grad_value
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedule import cosine
from .stopping import EarlyStopping
from .truncated import Update, truncated_bptt

__all__ = [
    "SGD", "Adam", "AdamW", "Diverged", "EarlyStopping", "Optimizer", "RMSprop", "Update",
    "clip_grad_norm", "clip_grad_value", "cosine", "truncated_bptt",
]  # fmt: skip

if not _typing.TYPE_CHECKING:

    def __getattr__(name):
        hint = _foreign("optim", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
