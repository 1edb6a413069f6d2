"""A small autodiff engine for recurrent networks: import tinygrad_rnn as tg."""

import typing as _typing
from importlib import import_module as _import_module

from . import data as data
from . import nn as nn
from . import optim as optim
from . import view as view
from .check import check_grads as check_grads
from .grad import BackwardStep as BackwardStep
from .grad import backward as _backward
from .grad import backward_steps as _backward_steps
from .grad import grad as grad
from .kernels.threads import get_num_threads as get_num_threads
from .kernels.threads import set_num_threads as set_num_threads
from .loops import ScanWarning as ScanWarning
from .loops import scan as scan
from .loops import scan_source as scan_source
from .loops import unroll as unroll
from .nn.equations import equations as equations
from .op import Op as Op
from .op import pointwise as pointwise
from .op import primitive as primitive
from .op import variadic as variadic
from .ops import *  # noqa: F403
from .tensor import Tensor as Tensor
from .tensor import Untraceable as Untraceable
from .tensor import detach as detach
from .tensor import detect_anomaly as detect_anomaly
from .tensor import foreign as _foreign
from .tensor import is_recording as is_recording
from .tensor import no_grad as no_grad
from .tensor import recording as recording
from .tensor import scope as scope
from .tensor import tensor as tensor
from .view import draw as draw

if _typing.TYPE_CHECKING:
    from . import io as io
    from . import lab as lab
    from . import tape as tape
    from .page import explain as explain

Tensor.backward = _backward  # type: ignore[method-assign, assignment]
Tensor.backward_steps = _backward_steps  # type: ignore[method-assign, assignment]


def __getattr__(name: str) -> _typing.Any:
    if name in ("io", "lab", "tape"):  # checkpoints, measurements, runs: imported when first used
        return _import_module(f".{name}", __name__)
    if name == "explain":
        return _import_module(".page", __name__).explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_foreign('tg', name)}")


def __dir__() -> list[str]:
    late = ("explain", "io", "lab", "tape")
    return sorted({*globals(), *late})


__version__ = "0.2.0"
