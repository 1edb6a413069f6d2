"""What a step may ask for besides its input and state: what is drawn for it, and what it shows.

A step stays a pure function of data: random numbers are drawn before the loop and enter it as
sequences, one slice for each step. `each_step` and `once` ask for them from inside the step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np

from ..limits import number
from ..randomness import generator
from ..tensor import Tensor

Made = TypeVar("Made")


class _Here(threading.local):
    moment: Moment | None = None


_here = _Here()


class Moment:
    """The steps of one run over a sequence, and the one that is being done.

    `streams` are what its steps read besides x, each (T, ...), in the order they ask; `made` is
    what all of them share; `shown` what the last one named with `gates`.
    """

    def __init__(self, length: int):
        self.length = length
        self.streams: list[Tensor] = []
        self.made: list[Any] = []
        self.shown: dict[str, Tensor] = {}
        self.slices: Sequence[Tensor] | None = None  # this step's; None as long as it is asked
        self.reads = self.shares = 0  # how often this step has asked
        self.outer: list[Moment | None] = []

    def at(self, slices: Sequence[Tensor] | None) -> Moment:
        """The same run at another step, to which these slices of its streams belong."""
        self.slices, self.reads, self.shares, self.shown = slices, 0, 0, {}
        return self

    def __enter__(self) -> Moment:
        self.outer.append(_here.moment)
        _here.moment = self
        return self

    def __exit__(self, *_: object) -> None:
        _here.moment = self.outer.pop()

    def read(self, make: Callable[[int], Tensor]) -> Tensor:
        k, self.reads = self.reads, self.reads + 1
        if self.slices is None:
            self.streams.append(make(self.length))
            return make(1)[0] if not self.length else self.streams[-1][0]
        if k >= len(self.slices):
            raise RuntimeError(
                "a step asked for something that was not drawn for it: a module whose step uses "
                "`each_step` says so by `draws = True`, and asks equally often at every step"
            )
        return self.slices[k]

    def share(self, make: Callable[[], Made]) -> Made:
        k, self.shares = self.shares, self.shares + 1
        if k == len(self.made):
            self.made.append(make())
        return self.made[k]


def step_now() -> Callable[[], AbstractContextManager[Any]]:
    """What puts the step that is being done now, and how often it has asked, back for a block."""
    moment = _here.moment
    if moment is None:
        return nullcontext
    names = "slices", "reads", "shares", "shown"
    then = {name: getattr(moment, name) for name in names} | {"shown": {}}

    @contextmanager
    def again() -> Iterator[None]:
        now = {name: getattr(moment, name) for name in names}
        vars(moment).update(then)
        try:
            with moment:
                yield
        finally:
            vars(moment).update(now)

    return again


def each_step(make: Callable[[int], Tensor]) -> Tensor:
    """The step's own slice of `make(T)`, which is called once for the whole sequence.

    `make(n)` returns a tensor (n, ...). A module whose step asks so has `draws = True`. Outside a
    layer, for one step called by itself, it is `make(1)[0]`.

    >>> class Noisy(tg.nn.RNN):
    ...     draws = True
    ...
    ...     def step(self, x, h):
    ...         noise = tg.nn.each_step(lambda steps: tg.tensor(np.ones((steps, 1, 1), np.float32)))
    ...         return super().step(x + noise, h)
    >>> Noisy(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """
    if _here.moment is not None:
        return _here.moment.read(make)
    whole = make(1)
    one = whole[0]
    one.name = one.name or whole.name
    one.attrs = one.attrs if one.op else whole.attrs
    return one


def once(make: Callable[[], Made]) -> Made:
    """What is the same at every step of a sequence, made at the first of them.

    >>> tg.nn.once(lambda: 3)
    3
    """
    return make() if _here.moment is None else _here.moment.share(make)


def gates(**tensors: Tensor) -> tuple[Tensor, ...]:
    """Name what a step computes, for pictures and `return_gates`; return them in order.

    >>> class Gated(tg.nn.RNN):
    ...     def step(self, x, h):
    ...         (z,) = tg.nn.gates(z=tg.sigmoid(x @ self.Wx))
    ...         return z * h + (1 - z) * super().step(x, h)
    >>> xs = np.ones((5, 2, 3), np.float32)
    >>> _, _, gates = Gated(3, 4, rng=0)(xs, return_gates=True)
    >>> gates["z"].shape
    (5, 2, 4)
    """
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"gates: {name}: expected a tensor, got {type(x).__name__}")
        if x.op is not None and x.name is None:
            x.name = name
    if _here.moment is not None:
        _here.moment.shown.update(tensors)
    return tuple(tensors.values())


def dropped(layer: Any, shape: Sequence[int], p: float, dtype: Any) -> np.ndarray:
    """A mask of dropout, drawn for a layer: 0 with probability p, else 1 / (1 - p)."""
    chance = generator(layer, layer.rng).random(shape, np.float32)
    mask = np.greater_equal(chance, np.float32(p), out=chance).astype(dtype, copy=False)
    mask *= np.asarray(1 / (1 - p) if p < 1 else 0.0, dtype)
    return mask


def mask_of(array: np.ndarray, name: str, kind: str) -> Tensor:
    """A mask that pictures know: it leaves "links", or "weights", or "keeps" what was before."""
    mask = Tensor(array, name=name)
    mask.attrs = {"mask": kind}
    return mask


def probability(who: str, word: str, p: Any) -> float:
    """A probability, or a refusal in the name of `who`."""
    return number(who, word, p, "[0, 1]", "a probability")
