"""Learning rates that change with time."""

from __future__ import annotations

import math

from ..limits import number


def cosine(step: int, *, peak: float, total: int, warmup: int = 0, floor: float = 0.0) -> float:
    """The learning rate at a step: up to `peak` in `warmup` steps, then half a cosine to `floor`.

    Use it as `optimizer.lr = cosine(optimizer.steps, peak=2e-3, total=1000, warmup=50)`. From
    `total` on it stays at the floor (Loshchilov & Hutter 2017, without restarts). Raises ValueError
    unless 0 <= warmup <= total, total >= 1 and step >= 0.

    >>> [round(tg.optim.cosine(step, peak=1.0, total=4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    for word, rate in (("peak", peak), ("floor", floor)):
        number("cosine", word, rate, "[0, inf)")
    for word, steps in (("step", step), ("total", total), ("warmup", warmup)):
        number("cosine", word, steps, "(-inf, inf]")
    if total < 1 or not 0 <= warmup <= total or step < 0:
        raise ValueError(
            f"cosine: expected total >= 1, 0 <= warmup <= total and step >= 0, got total={total}, "
            f"warmup={warmup}, step={step}"
        )
    if step >= total:
        return floor
    if step < warmup:
        return peak * min(1.0, (step + 1) / warmup)
    done = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
