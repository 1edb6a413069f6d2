"""Truncated backpropagation through time: a long sequence, learnt a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..tensor import Tensor, detach
from .clip import clip_grad_norm
from .optimizers import Optimizer


class Update(NamedTuple):
    """What one window did: its loss, the norm of its gradient before clipping, the state after."""

    loss: float
    norm: float
    state: Any


def truncated_bptt(
    forward: Callable[[Any, Any, Any], tuple[Tensor, Any]],
    windows: Iterable[tuple[Any, Any]],
    optimizer: Optimizer,
    *,
    state: Any = None,
    max_norm: float = float("inf"),
    schedule: Callable[[int], float] | None = None,
) -> Iterator[Update]:
    """Learn from each (x, y) window in turn; the state goes on to the next, gradients stop there.

    `forward(x, y, state)` returns the loss and the new state. Between windows the state keeps its
    values and loses its history (Williams & Peng 1990), so time and memory are those of one window.
    Nothing happens until the result is iterated. Raises Diverged, before the weights are touched,
    when a gradient is NaN or infinite. `schedule(step)` gives the learning rate. Leave the loop to
    stop before the windows end.
    """
    if hasattr(forward, "loss"):
        raise TypeError(
            "truncated_bptt: forward: expected a function (x, y, state), got "
            f"{type(forward).__name__}: pass model.loss"
        )
    for x, y in windows:
        answer: Any = forward(x, y, state)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise TypeError(
                f"truncated_bptt: forward must return (loss, state), got {type(answer).__name__}"
            )
        loss, state = answer
        optimizer.zero_grad()
        loss.backward()
        state = detach(state)
        parameters = optimizer.parameters.values()
        norm = clip_grad_norm(parameters, max_norm, error_if_nonfinite=True)
        if schedule is not None:
            optimizer.lr = schedule(optimizer.steps)
        optimizer.step()
        yield Update(float(loss.item()), norm, state)
