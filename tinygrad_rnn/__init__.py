"""A small autodiff engine for recurrent networks: import tinygrad_rnn as tg."""

import typing as _typing
from importlib import import_module as _import_module

from . import data as data
from . import nn as nn
from . import optim as optim
from .check import check_grads as check_grads
from .draw import diff as diff
from .draw import draw as draw
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
from .op import Op as Op
from .op import pointwise as pointwise
from .op import primitive as primitive
from .op import variadic as variadic
from .ops import abs as abs
from .ops import add as add
from .ops import astype as astype
from .ops import binary_cross_entropy as binary_cross_entropy
from .ops import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .ops import clip_cotangent as clip_cotangent
from .ops import concat as concat
from .ops import cross_entropy as cross_entropy
from .ops import div as div
from .ops import embedding as embedding
from .ops import equal as equal
from .ops import exp as exp
from .ops import expand as expand
from .ops import flip as flip
from .ops import greater as greater
from .ops import greater_equal as greater_equal
from .ops import less as less
from .ops import less_equal as less_equal
from .ops import log as log
from .ops import log_softmax as log_softmax
from .ops import logsumexp as logsumexp
from .ops import matmul as matmul
from .ops import max as max
from .ops import maximum as maximum
from .ops import mean as mean
from .ops import mean_squared_error as mean_squared_error
from .ops import min as min
from .ops import minimum as minimum
from .ops import mul as mul
from .ops import neg as neg
from .ops import not_equal as not_equal
from .ops import power as power
from .ops import relu as relu
from .ops import reshape as reshape
from .ops import sigmoid as sigmoid
from .ops import sign as sign
from .ops import softmax as softmax
from .ops import softplus as softplus
from .ops import split as split
from .ops import sqrt as sqrt
from .ops import stack as stack
from .ops import sub as sub
from .ops import sum as sum
from .ops import sum_to as sum_to
from .ops import swapaxes as swapaxes
from .ops import tanh as tanh
from .ops import transpose as transpose
from .ops import unstack as unstack
from .ops import where as where
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

if _typing.TYPE_CHECKING:
    from . import io as io
    from . import lab as lab
    from .draw import curve as curve
    from .draw import draw_masks as draw_masks
    from .draw import draw_memory as draw_memory
    from .draw import trace_of as trace_of
    from .page import explain as explain

Tensor.backward = _backward  # type: ignore[method-assign, assignment]
Tensor.backward_steps = _backward_steps  # type: ignore[method-assign, assignment]


def __getattr__(name: str) -> _typing.Any:
    if name in ("io", "lab"):  # checkpoints, measurements: imported when first used
        return _import_module(f".{name}", __name__)
    if name in ("curve", "draw_masks", "draw_memory", "trace_of"):  # `tg.draw` is the function
        return getattr(_import_module(".draw", __name__), name)
    if name == "explain":
        return _import_module(".page", __name__).explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_foreign('tg', name)}")


def __dir__() -> list[str]:
    late = ("curve", "draw_masks", "draw_memory", "explain", "io", "lab", "trace_of")
    return sorted({*globals(), *late})


__version__ = "0.2.0"
