"""Many answers made one: of several models, or of one whose dropout draws again each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..limits import one_of
from ..op import has_nan
from ..ops import mean, stack
from ..tensor import Tensor, no_grad
from .module import Module, positive

Output = Callable[[Any], Tensor]


class Ensemble(Module):
    """Several models asked as one (S28; Breiman 1996).

    Called like a member, it gives how="mean": the mean of the members' outputs, with a gradient
    for each; or "vote": the class, along the last axis, that most of them find largest, as
    integers without that axis, the lowest of those with equal votes; or "all" of them, on an axis
    in front.
    output: what to take of what a member returns, such as `lambda result: result[0]` of
    (ys, state), or `tg.softmax` to average chances and not logits; by default it has to return
    one tensor. The members' outputs agree in shape.

    >>> models = [tg.nn.Linear(3, 2, rng=seed) for seed in range(5)]
    >>> tg.nn.Ensemble(*models)(np.ones((4, 3), np.float32)).shape
    (4, 2)
    """

    def __init__(self, *models: Any, how: str = "mean", output: Output | None = None):
        if not models:
            raise ValueError("Ensemble: expected at least one model")
        for k, model in enumerate(models):
            _check("Ensemble", how, f"model {k}", model)
        self.models, self.how, self.output = list(models), how, output

    def __call__(self, *inputs: Any, **words: Any) -> Tensor:
        results = (model(*inputs, **words) for model in self.models)
        return _joined("Ensemble", results, self.how, self.output)


def monte_carlo(
    model: Any, x: Any, samples: int, *, how: str = "mean", output: Output | None = None
) -> Tensor:
    """The mean, the vote or all of `samples` sub-networks that dropout cuts out of a model (S28).

    The model is run on x in training, without recording, as often as asked; how and output as for
    `Ensemble`. Whether each module inside was in training is put back, after an exception too.
    Gal & Ghahramani 2016 read the mean as a Bayesian average; without dropout all runs are alike.

    >>> model = tg.nn.Dropout(0.5, rng=0)
    >>> mean = tg.nn.monte_carlo(model, np.ones(1000, np.float32), 50)
    >>> bool(abs(mean.data.mean() - 1) < 0.05)
    True
    """
    positive("monte_carlo", samples=samples)
    _check("monte_carlo", how, "model", model)
    before = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        with no_grad():
            return _joined("monte_carlo", (model(x) for _ in range(samples)), how, output)
    finally:
        for module, training in before:
            module.training = training


def _joined(who: str, results: Iterable[Any], how: str, output: Output | None) -> Tensor:
    answers = [result if output is None else output(result) for result in results]
    for y in answers:
        if not isinstance(y, Tensor) or not y.ndim:
            got = f"shape {y.shape}" if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(
                f"{who}: output: expected one tensor with an axis of classes or features, got "
                f"{got}. Of a model that returns (ys, state), take output=lambda result: result[0]."
            )
    together = stack(answers)
    if how != "vote":
        return mean(together, 0) if how == "mean" else together
    if has_nan(together.data):
        raise ValueError(
            "Ensemble: a vote of NaN is none: tg.detect_anomaly() finds where it is from"
        )
    votes = together.data.argmax(-1)[..., None] == np.arange(together.shape[-1])
    return Tensor(np.argmax(votes.sum(0), -1))  # the first of the largest


def _check(who: str, how: str, word: str, model: Any) -> None:
    one_of(who, "how", how, ("mean", "vote", "all"))
    if not isinstance(model, Module):
        raise TypeError(f"{who}: {word}: expected a Module, got {type(model).__name__}")
