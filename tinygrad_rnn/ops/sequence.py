"""What one time reads of others: convolution and attention."""

from typing import Any

import numpy as np

from ..limits import whole
from ..op import function, operand
from ..tensor import Value
from .arithmetic import not_equal, where
from .linear import matmul
from .reduce import softmax
from .shape import concat, reshape, stack, swapaxes

__all__ = ["attention", "conv1d"]


@function(2)
def conv1d(
    x: Value, weight: Value, bias: Value = None, stride: int = 1, padding: Any = 0,
    dilation: int = 1, groups: int = 1,
) -> Value:  # fmt: skip
    """Return yₒ(t) = bₒ + Σ_c Σ_k w(o, c, k) x_c(t·stride + k·dilation - padding).

    As `torch.nn.functional.conv1d`: x (N, C, L) or (C, L), weight (O, C / groups, K), bias (O);
    the answer is (N, O, ⌊(L + padding - dilation (K - 1) - 1) / stride⌋ + 1), padding counted at
    both ends. padding: so many zeros at each end; "same" as many as keep the length (stride 1 only;
    an odd one comes last), and "causal", which PyTorch has not: all in front, so that y(t) sees
    nothing after t. groups: that many blocks of channels by themselves.
    Raises ValueError for shapes that disagree and for a kernel longer than the padded x.

    >>> tg.conv1d(tg.tensor([[1.0, 2.0, 4.0]]), tg.tensor([[[-1.0, 1.0]]])).numpy()
    array([[1., 2.]])
    """
    bias = bias if bias is None else operand(bias)
    if x.ndim == 2:
        return conv1d(x[None], weight, bias, stride, padding, dilation, groups)[0]
    before, after = _ends(x, weight, bias, stride, padding, dilation, groups)
    (N, C, _), (O, _, K) = x.shape, weight.shape
    x = concat([np.zeros((N, C, before), x.dtype), x, np.zeros((N, C, after), x.dtype)], axis=2)
    span = x.shape[2] - dilation * (K - 1)
    taps = [x[:, :, k * dilation : k * dilation + span : stride] for k in range(K)]
    windows = stack(taps, axis=2)  # (N, C, K, time)
    time = windows.shape[-1]
    windows = reshape(windows, shape=(N, groups, C // groups * K, time))
    kernel = reshape(weight, shape=(1, groups, O // groups, C // groups * K))
    y = reshape(matmul(kernel, windows), shape=(N, O, time))
    return y if bias is None else y + reshape(bias, shape=(O, 1))


def _ends(
    x: Value, weight: Value, bias: Value, stride: int, padding: Any, dilation: int, groups: int,
) -> tuple[int, int]:  # fmt: skip
    """How many zeros go before and after x, once all fits."""
    for word, number in (("stride", stride), ("dilation", dilation), ("groups", groups)):
        whole("conv1d", word, number, 1)
    if x.ndim != 3 or weight.ndim != 3:
        raise ValueError(
            "conv1d: expected x (N, C, L) or (C, L) and weight (O, C / groups, K), got shapes "
            f"{x.shape} and {weight.shape}. Of (T, N, C) make tg.transpose(x, (1, 2, 0))."
        )
    (_, C, L), (O, part, K) = x.shape, weight.shape
    if part * groups != C or O % groups:
        raise ValueError(
            f"conv1d: weight: expected (O, {C} / groups, K), O a multiple of groups={groups}, for "
            f"{C} channels, got shape {weight.shape}"
        )
    if bias is not None and tuple(bias.shape) != (O,):
        raise ValueError(f"conv1d: bias: expected shape {(O,)}, got {tuple(bias.shape)}")
    reach = dilation * (K - 1)
    ends = {"same": (reach // 2, reach - reach // 2), "causal": (reach, 0)}
    if not isinstance(padding, str) or padding not in ends:
        padding = whole("conv1d", "padding", padding, kind="a number, 'same' or 'causal'")
    if padding == "same" and stride != 1:
        raise ValueError(f"conv1d: padding='same' keeps the length with stride 1, got {stride}")
    before, after = ends.get(padding, (padding, padding))
    if reach >= L + before + after or not K:
        raise ValueError(
            f"conv1d: weight: a kernel that reaches over {reach + 1} does not fit into "
            f"{L + before + after} times, padding included"
        )
    return before, after


@function(3)
def attention(
    query: Value, key: Value, value: Value, mask: Value = None, causal: bool = False,
    scale: float | None = None,
) -> Value:  # fmt: skip
    """Return softmax(query keyᵀ · scale) value (Vaswani et al. 2017, formula 1).

    Shapes: query (..., L, E), key (..., S, E), value (..., S, V), the axes in front broadcasting;
    the answer is (..., L, V). mask, broadcasting to (..., L, S): bools, True where a query sees a
    key, or numbers that are added to the scores. causal: query i sees keys 0 to i. scale: by
    default 1/√E. As `torch.nn.functional.scaled_dot_product_attention`, without dropout; a query
    that sees nothing gets 0, and no gradient. Inside a scan the causal mask is unrolled.
    Raises ValueError for shapes that do not fit.

    >>> x = tg.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> tg.attention(x, x, x, causal=True).numpy()[0]
    array([1., 0.])
    """
    mask = mask if mask is None else operand(mask)
    _check_shapes(query, key, value, mask)
    scores = matmul(query, swapaxes(key, -1, -2))
    usual = max(1, query.shape[-1]) ** -0.5
    scores = scores * (usual if scale is None else scale)
    sees = np.tril(np.ones(scores.shape[-2:], bool)) if causal else None
    if mask is not None and mask.dtype.kind != "b":
        there = not_equal(mask, -np.inf)  # a query may see nothing at all; a NaN is seen
        scores, mask = scores + where(there, mask, 0), there
    if mask is not None:
        sees = mask if sees is None else where(sees, mask, False)
    if sees is None:
        return matmul(softmax(scores), value)
    lowest = float(np.finfo(scores.dtype).min)
    return matmul(where(sees, softmax(where(sees, scores, lowest)), 0), value)


def _check_shapes(query: Value, key: Value, value: Value, mask: Value) -> None:
    q, k, v = (tuple(x.shape) for x in (query, key, value))
    if min(len(q), len(k), len(v)) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ValueError(
            "attention: expected query (..., L, E), key (..., S, E) and value (..., S, V), got "
            f"shapes {q}, {k} and {v}"
        )
    sizes = zip((() if mask is None else mask.shape)[:-3:-1], (k[-2], q[-2]), strict=False)
    if any(n not in (1, size) for n, size in sizes):
        raise ValueError(
            f"attention: mask: expected (..., {q[-2]}, {k[-2]}) or what broadcasts to it, got "
            f"shape {tuple(mask.shape)}"
        )
