"""A small autodiff engine for recurrent networks: import tinygrad_rnn as tg."""

import typing as _typing
from importlib import import_module as _import_module

from . import data, nn, ops, optim, view
from .check import check_grads
from .grad import backward as _backward
from .grad import backward_steps as _backward_steps
from .grad import grad
from .hooks import register_hook as _register_hook
from .kernels.threads import get_num_threads, set_num_threads
from .loops import ScanWarning, scan, unroll
from .nn.equations import equations
from .op import pointwise, primitive
from .ops import *  # noqa: F403
from .page import explain
from .randomness import manual_seed
from .tensor import Tensor, Untraceable, detach, detect_anomaly, no_grad, scope, tensor
from .tensor import foreign as _foreign
from .view import draw

if _typing.TYPE_CHECKING:
    from . import io, lab, transforms

__version__ = "0.2.0"
__all__ = [
    "ScanWarning", "Tensor", "Untraceable", "check_grads", "data", "detach", "detect_anomaly",
    "draw", "equations", "explain", "get_num_threads", "grad", "io", "lab", "manual_seed", "nn",
    "no_grad", "optim", "pointwise", "primitive", "scan", "scope", "set_num_threads", "tensor",
    "transforms", "unroll", "view",
]  # fmt: skip
__all__ += ops.__all__

expand = ops.broadcast_to  # what PyTorch's tensors call it

Tensor.backward = _backward  # type: ignore[method-assign, assignment]
Tensor.backward_steps = _backward_steps  # type: ignore[method-assign, assignment]
Tensor.register_hook = _register_hook  # type: ignore[method-assign, assignment]


def __getattr__(name: str) -> _typing.Any:
    if name in ("io", "lab", "transforms"):  # imported when first used
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_foreign('tg', name)}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
