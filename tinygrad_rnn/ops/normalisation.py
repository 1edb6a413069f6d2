"""Features of one mean and one size."""

import numpy as np

from ..op import function
from ..tensor import Axis, Value
from .arithmetic import real, sqrt
from .reduce import mean

__all__ = ["layer_norm", "rms_norm"]


@function(1)
def rms_norm(x: Value, weight: Value = None, axis: Axis = -1, eps: float | None = None) -> Value:
    """Return x / √(mean(x²) + ε) over an axis or several, times the weight (Zhang, Sennrich 2019).

    The weight broadcasts against x. As `torch.nn.functional.rms_norm`, with axes instead of their
    sizes; ε is by default the distance from 1 to the next float.

    >>> tg.rms_norm(tg.tensor([3.0, 4.0]), eps=0.0).numpy() * 12.5**0.5
    array([3., 4.])
    """
    x = real(x)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    y = x / sqrt(mean(x * x, axis, keepdims=True) + eps)
    return y if weight is None else y * weight


@function(1)
def layer_norm(
    x: Value, weight: Value = None, bias: Value = None, axis: Axis = -1, eps: float = 1e-5
) -> Value:
    """Return (x - mean) / √(variance + ε) over an axis or several, times weight, plus bias.

    Weight and bias broadcast against x. Ba et al. 2016, formula 3; as
    `torch.nn.functional.layer_norm`, with axes instead of their sizes.

    >>> tg.layer_norm(tg.tensor([1.0, 3.0]), eps=0.0).numpy()
    array([-1.,  1.])
    """
    y = rms_norm(x - mean(x, axis, keepdims=True), weight, axis, eps)
    return y if bias is None else y + bias
