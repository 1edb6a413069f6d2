"""When to stop, and which weights to keep."""

from __future__ import annotations

import math
from typing import Any

from ..limits import whole


class EarlyStopping:
    """Keep the best weights, and say when so many costs in a row have brought no better ones.

    model: a module, or whatever has `state_dict()` and `load_state_dict()`. patience: how many
    costs that are no better end it. best: the lowest cost so far; since: how many came after it.
    Raises ValueError for a patience below 1, TypeError for what is no model.

    >>> layer = tg.nn.Linear(2, 1, rng=0)
    >>> stopping = tg.optim.EarlyStopping(layer, patience=2)
    >>> [stopping.step(cost) for cost in (3.0, 2.0, 2.5, 2.2)]
    [False, False, False, True]
    >>> stopping.restore()
    2.0
    """

    def __init__(self, model: Any, patience: int):
        if not (hasattr(model, "state_dict") and hasattr(model, "load_state_dict")):
            got = type(model).__name__
            raise TypeError(f"EarlyStopping: model: expected a module, got {got}")
        self.model, self.patience = model, whole("EarlyStopping", "patience", patience, 1)
        self.best, self.since = math.inf, 0
        self._state: Any = None

    def step(self, cost: float) -> bool:
        """Take in the cost of the weights as they are; True when it is time to stop.

        What is not finite is no better than anything.
        """
        try:
            cost = float(cost)
        except (TypeError, ValueError, OverflowError):
            got = type(cost).__name__
            raise TypeError(f"EarlyStopping: cost: expected a number, got {got}") from None
        self.since += 1
        if -math.inf < cost < self.best:
            self.best, self.since = cost, 0
            self._state = self.model.state_dict()
        return self.since >= self.patience

    def restore(self) -> float:
        """Give the model its best weights again, and return their cost.

        Raises RuntimeError where no cost was finite.
        """
        if self._state is None:
            raise RuntimeError("EarlyStopping.restore: no weights kept: step saw no finite cost")
        self.model.load_state_dict(self._state)
        return self.best
