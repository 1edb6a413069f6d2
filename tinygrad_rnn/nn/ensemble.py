"""Many answers made one: of several models, or of one whose dropout draws again each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

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
        _check("Ensemble", how)
        if not models:
            raise ValueError("Ensemble: expected at least one model")
        for k, model in enumerate(models):
            if not isinstance(model, Module):
                raise TypeError(f"Ensemble: model {k}: expected a Module, got {_kind(model)}")
        self.models, self.how, self.output = list(models), how, output

    def __call__(self, *inputs: Any) -> Tensor:
        answers = [_answer("Ensemble", model(*inputs), self.output) for model in self.models]
        return _joined(answers, self.how)


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
    _check("monte_carlo", how)
    if not isinstance(model, Module):
        raise TypeError(f"monte_carlo: model: expected a Module, got {_kind(model)}")
    run: Any = model
    with _in_training(model), no_grad():
        answers = [_answer("monte_carlo", run(x), output) for _ in range(samples)]
        return _joined(answers, how)


@contextmanager
def _in_training(model: Module) -> Iterator[None]:
    before = [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _joined(answers: Sequence[Tensor], how: str) -> Tensor:
    if how == "vote":
        return _vote(answers)
    return mean(stack(answers), 0) if how == "mean" else stack(answers)


def _vote(answers: Sequence[Tensor]) -> Tensor:
    votes: Any = 0
    for y in answers:
        classes = y.shape[-1]
        votes = votes + (y.data.argmax(-1)[..., None] == np.arange(classes))
    return Tensor(np.argmax(votes, -1))  # the first of the largest


def _answer(who: str, result: Any, output: Output | None) -> Tensor:
    y = result if output is None else output(result)
    if not isinstance(y, Tensor) or not y.ndim:
        got = f"shape {y.shape}" if isinstance(y, Tensor) else _kind(y)
        raise TypeError(
            f"{who}: output: expected one tensor with an axis of classes or features, got {got}. "
            "Of a model that returns (ys, state), take output=lambda result: result[0]."
        )
    return y


def _check(who: str, how: str) -> None:
    if how not in ("mean", "vote", "all"):
        raise ValueError(f"{who}: how: expected 'mean', 'vote' or 'all', got {how!r}")


def _kind(x: Any) -> str:
    return type(x).__name__
