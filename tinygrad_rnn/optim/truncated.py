"""Truncated backpropagation through time: a long sequence, trained on a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor, detach
from .clip import Diverged, clip_grad_norm
from .optimizers import Optimizer


class Update(NamedTuple):
    """What one window did: its loss, the norm of its gradient before clipping, the state after.

    >>> tg.optim.Update(loss=0.5, norm=1.0, state=None).loss
    0.5
    """

    loss: float
    norm: float
    state: Any

    def __repr__(self) -> str:
        return f"Update(loss={self.loss:.6g}, norm={self.norm:.6g})"


def truncated_bptt(
    forward: Callable[[Any, Any, Any], tuple[Tensor, Any]],
    windows: Iterable[tuple[Any, Any]],
    optimizer: Optimizer,
    *,
    state: Any = None,
    max_norm: float = float("inf"),
    schedule: Callable[[int], float] | None = None,
) -> Iterator[Update]:
    """Train on each (x, y) window in turn; the state goes on to the next, gradients stop there.

    `forward(x, y, state)` returns the loss and the new state. Between windows the state keeps its
    values and loses its history (Williams & Peng 1990), so time and memory are those of one window.
    Nothing happens until the result is iterated. Raises Diverged, before the weights are touched,
    when a gradient is NaN or infinite, and says where in the data a NaN is, if that is why.
    `schedule(step)` gives the learning rate. Leave the loop to
    stop before the windows end.

    >>> model = tg.nn.LanguageModel(5, cell="rnn", embedding=3, hidden=4, rng=0)
    >>> def forward(x, y, state):
    ...     logits, state = model(x, state)
    ...     return tg.cross_entropy(logits.reshape(-1, 5), y.ravel()), state
    >>> windows = tg.data.windows(np.arange(41) % 5, batch=2, length=10)
    >>> len(list(tg.optim.truncated_bptt(forward, windows, tg.optim.SGD(model, lr=0.1))))
    2
    """
    if hasattr(forward, "loss"):
        raise TypeError(
            "truncated_bptt: forward: expected a function (x, y, state), got "
            f"{type(forward).__name__}: pass model.loss"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            "truncated_bptt: optimizer: expected one such as tg.optim.Adam(model), got "
            f"{type(optimizer).__name__}"
        )
    for x, y in windows:
        answer: Any = forward(x, y, state)
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        if not pair or not isinstance(answer[0], Tensor):
            kind = type(answer).__name__
            got = f"({type(answer[0]).__name__}, ...)" if pair else kind
            raise TypeError(f"truncated_bptt: forward must return (loss, state), got {got}")
        loss, state = answer
        optimizer.zero_grad()
        loss.backward()
        state = detach(state)
        parameters = optimizer.parameters.values()
        try:
            norm = clip_grad_norm(parameters, max_norm, error_if_nonfinite=True)
        except Diverged as error:
            raise Diverged(_in_the_data(x, y) or str(error)) from None
        if schedule is not None:
            optimizer.lr = schedule(optimizer.steps)
        optimizer.step()
        yield Update(float(loss.item()), norm, state)


def _in_the_data(x: Any, y: Any) -> str:
    """Where x or y, arrays or tuples and dicts of them, is first not finite; "" if all is."""
    for name, data in _named_arrays("x", x) + _named_arrays("y", y):
        wrong = np.argwhere(~np.isfinite(data))
        if len(wrong):
            index = tuple(wrong[0].tolist())
            place = ", ".join(f"{axis} {k}" for axis, k in zip(("t", "row"), index, strict=False))
            return (
                f"the gradients are not finite, nor are the data: {name}{list(index)} is "
                f"{data[index]} ({place}), the first of {len(wrong)}. Leave such steps out, fill "
                "them, or give the layer and the loss a mask= of those that count."
            )
    return ""


def _named_arrays(name: str, data: Any) -> list[tuple[str, np.ndarray]]:
    """The arrays of floats in what a window holds."""
    if isinstance(data, dict | tuple | list):
        parts = dict(data) if isinstance(data, dict) else dict(enumerate(data))
        if not all(map(np.isscalar, parts.values())):
            return [found for k, x in parts.items() for found in _named_arrays(f"{name}[{k!r}]", x)]
    array = data.data if isinstance(data, Tensor) else np.asarray(data)
    return [(name, array)] if array.dtype.kind == "f" else []
