"""Connectionist temporal classification: a loss over all ways to place labels in time."""

from typing import Any

import numpy as np

from ..lengths import check_lengths
from ..limits import whole
from ..op import function, primitive
from ..tensor import Value
from .arithmetic import equal, exp, less, maximum, where
from .loss import MEAN, as_tensor, check_reduction, numbers, reduced
from .reduce import logsumexp
from .shape import embedding, getitem, reshape, scatter_rows, stack, transpose

__all__ = ["ctc_loss"]
FAMILY = "loss"  # of these ops, in pictures

NEVER = -1e30  # the logarithm of a chance of 0: finite, so that differences of it are numbers


@function()
def ctc_loss(
    log_probs: Value,
    targets: Value,
    input_lengths: Value,
    target_lengths: Value,
    blank: int = 0,
    reduction: str = MEAN,
    zero_infinity: bool = False,
) -> Value:
    """Return -log of the chance that the outputs spell the targets, by whatever timing.

    A way spells what is left of it when repetitions are dropped, and then blanks; the chances of
    all ways are added up (Graves et al. 2006, formula 8), in logarithms, all rows at once.
    Shapes: log_probs (T, N, C), as log_softmax gives them; targets (N, S), what is behind a row's
    target_length ignored, or all in a row (sum of target_lengths); both lengths (N). One sequence:
    (T, C), (S), and two numbers. As `torch.nn.functional.ctc_loss`: "mean" divides each loss by its
    target's length (at least 1) before the mean over rows; "sum"; "none" gives (N).
    A target that fits into no way (too few times) has an infinite loss, 0 with zero_infinity, and a
    gradient of 0 (PyTorch's is NaN). The gradient is that of the formula, of any order; PyTorch's
    takes it for granted that log_softmax comes before. What is behind an input_length does no harm.
    Raises ValueError for shapes, lengths and labels that do not fit. In a step of a scan it is
    refused: take the loss after the scan.

    >>> even = tg.tensor(np.log(np.full((2, 1, 2), 0.5)))  # of 4 ways, 3 spell "1"
    >>> round(float(np.exp(-tg.ctc_loss(even, [[1]], [2], [1]).item())), 6)
    0.75
    """
    check_reduction("ctc_loss", reduction)
    x, places, times, sizes = _given(log_probs, targets, input_lengths, target_lengths, blank)
    in_time = np.arange(len(x))[:, None, None] < times[:, None]
    losses = _ctc(where(in_time, x, 0), places, times, sizes)
    if zero_infinity:
        losses = where(equal(losses, np.inf), 0, losses)
    if reduction == MEAN:
        losses = losses / np.maximum(sizes, 1).astype(x.dtype)
    return reduced(losses if np.ndim(target_lengths) else losses[0], None, reduction)


# -- all ways at once -------------------------------------------------------------------------
# A row's places are: the start, which is left at the first time, then a blank, a label, a blank,
# ... and a blank: [-1, _, a, _, b, _]. A step stays, goes on by one, or over a blank between two
# labels that differ. A row ends at one of its last two places.


def _emitted(x: Value, places: Any) -> Value:
    """Return what passing each place at each time adds, (T, N, E)."""
    T, N, C = x.shape
    rows = reshape(transpose(x, axes=(1, 2, 0)), shape=(N * C, T))
    picked = transpose(embedding(rows, _rows(places, C)), axes=(2, 0, 1))
    return where(places < 0, NEVER, maximum(picked, NEVER))


def _rows(places: Any, classes: int) -> Value:
    return np.maximum(places, 0) + classes * np.arange(len(places))[:, None]


def _paths(emitted: Value, places: Any) -> Value:
    """Return the logarithm of the chance to be at each place after 0, 1, ... times, (T + 1, N, E).

    In NumPy's functions, which on tensors are ops: what has no past to keep runs at their speed.
    """
    blank, before = places[:, 1:2], places[:, :-2]
    over = np.pad((places[:, 2:] != blank) & (places[:, 2:] != before), ((0, 0), (2, 0)))
    never = np.full((len(places), 2), NEVER, emitted.dtype)
    now = np.where(places < 0, 0, NEVER).astype(emitted.dtype)
    path = [now]
    for t in range(len(emitted)):
        wide = np.concatenate([never, now], axis=1)
        on, off = wide[:, 1:-1], np.where(over, wide[:, :-2], NEVER)
        top = np.maximum(np.maximum(now, on), off)
        mass = np.exp(now - top) + np.exp(on - top) + np.exp(off - top)
        now = top + np.log(mass) + emitted[t]
        path.append(now)
    return np.stack(path)


@primitive(
    lambda g, y, x, places, times, sizes: _ctc_pull(
        g, y, x, *(np.asarray(v) for v in (places, times, sizes))
    ),
    None,
    None,
    None,
)
def _ctc(x: Value, places: Any, times: Any, sizes: Any) -> Value:
    path, n, last = _paths(_emitted(x, places), places), np.arange(len(places)), 2 * sizes + 1
    ends = logsumexp(stack([path[times, n, last], path[times, n, last - 1]], axis=-1))
    return np.where(ends < NEVER / 2, np.inf, -ends).astype(x.dtype)


def _ctc_pull(g: Value, y: Value, x: Value, places: Any, times: Any, sizes: Any) -> Value:
    """-g times the share of the ways that pass a label at a time (Graves et al. 2006, formula 14).

    Until then, and from then on, which is the same backwards: times and places turned round.
    """
    (T, N, C), E = x.shape, places.shape[1]
    t, n, s = np.arange(T)[:, None], np.arange(N)[:, None], np.arange(E)
    behind = 2 * sizes[:, None] + 2
    in_time, in_row = t < times, (s > 0) & (s < behind)
    turned = np.where(in_time, times - 1 - t, t)[..., None], n, np.where(in_row, behind - s, s)
    emitted, y = _emitted(x, places), reshape(y, shape=(N, 1))
    until = _paths(emitted, places)[1:]
    after = _paths(getitem(emitted, turned), places[turned[1:]])[1:]
    share = until + getitem(after, turned) - emitted + y
    possible = where(in_time[..., None] & in_row, less(y, np.inf), False)
    share = exp(where(possible, share, NEVER)) * reshape(g, shape=(N, 1))
    labels = scatter_rows(transpose(share, axes=(1, 2, 0)), _rows(places, C), rows=N * C)
    return -transpose(reshape(labels, shape=(N, C, T)), axes=(2, 0, 1))


# -- what it is given -------------------------------------------------------------------------


def _given(
    log_probs: Value, targets: Value, input_lengths: Value, target_lengths: Value, blank: int
) -> Any:
    """Return the arguments as those of a batch: log_probs, places, both lengths."""
    x = as_tensor("ctc_loss", "log_probs", log_probs)
    labels = numbers("ctc_loss", "targets", targets)
    times = numbers("ctc_loss", "input_lengths", input_lengths)
    sizes = numbers("ctc_loss", "target_lengths", target_lengths)
    if labels.size and labels.dtype.kind not in "iu":
        raise TypeError(f"ctc_loss: targets: expected integers, got dtype {labels.dtype}")
    if x.ndim == 2:
        x, labels, times, sizes = x[:, None], labels[None], times.reshape(-1), sizes.reshape(-1)
    if x.ndim != 3 or x.dtype.kind != "f":
        raise ValueError(
            "ctc_loss: log_probs: expected floats (T, N, C), or (T, C) of one sequence, got dtype "
            f"{x.dtype} and shape {x.shape}"
        )
    T, N, C = x.shape
    times = check_lengths("ctc_loss", times, T, N, "input_lengths")
    sizes = check_lengths("ctc_loss", sizes, None, N, "target_lengths")
    whole("ctc_loss", "blank", blank, 0, C - 1, ", the last class")
    return x, _places(labels.astype(np.int64), sizes, C, blank), times, sizes


def _places(targets: Value, sizes: Any, classes: int, blank: int) -> Value:
    """Return the places of each row, (N, E), once the labels are known to fit."""
    most = int(sizes.max(initial=0))
    within = np.arange(most) < sizes[:, None]
    if targets.ndim == 1 and len(targets) == sizes.sum():
        labels = targets
    elif targets.ndim == 2 and len(targets) == len(sizes) and targets.shape[1] >= most:
        labels = targets[:, :most][within]
    else:
        raise ValueError(
            f"ctc_loss: targets: expected ({len(sizes)}, {most} or more), or {sizes.sum()} labels "
            f"in a row, for target_lengths {sizes.tolist()}, got shape {targets.shape}"
        )
    wrong = labels[(labels < 0) | (labels >= classes) | (labels == blank)]
    if wrong.size:
        raise ValueError(
            f"ctc_loss: targets: expected 0 <= label < {classes}, but not {blank}, which is the "
            f"blank, got {wrong[0]}"
        )
    places = np.full((len(sizes), 2 * most + 2), blank)
    places[:, 0] = -1
    places[:, 2::2][within] = labels
    return places
