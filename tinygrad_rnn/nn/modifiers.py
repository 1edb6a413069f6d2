"""What changes a cell wraps it, and is again a cell: cuts of links, zoneout, ways around it.

They nest in any order: `Residual(Zoneout(VariationalDropout(LSTM(64, 64), state=0.3), h=0.05))`.
Every random mask comes from a generator, is drawn before the loop and enters it as data.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from ..ops import broadcast_to, clip_gradient, concat, split, where
from ..randomness import Random, generator, given
from ..tensor import Tensor
from .cell import Cell, check_part
from .module import parameter, positive
from .moment import dropped, each_step, mask_of, once, probability


class Modifier(Cell):
    """A cell around a cell, with its states and sizes, to be changed in one respect.

    What is cut is cut for the step: an `output` that reads x itself, as that of `Residual` does,
    sees all of it, whichever way round the two are nested.

    >>> class Halved(tg.nn.Modifier):
    ...     def step(self, x, *state):
    ...         return self.cell.step(x / 2, *state)
    >>> cell = Halved(tg.nn.RNN(3, 4, rng=0))
    >>> cell(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """

    _conventions = ("adds",)
    adds: str | None = None  # what goes around the cell

    def __init__(self, cell: Cell, **settings: Any):
        check_part(type(self).__name__, "cell", cell)
        self.cell, self.settings = cell, settings

    def __repr__(self) -> str:
        name, inside = super().__repr__().split("(", 1)
        given = [f"{k}={v}, " for k, v in self.settings.items() if v is not None]
        return f"{name}({''.join(given)}{inside}"

    state = property(lambda self: self.cell.state)
    links = property(lambda self: self.cell.links)
    sizes = property(lambda self: self.cell.sizes)
    inputs = property(lambda self: self.cell.inputs)
    hidden = property(lambda self: self.cell.hidden)
    outputs = property(lambda self: self.cell.outputs)
    dtype = property(lambda self: self.cell.dtype)
    _changes = property(lambda self: self.cell._changes)

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        return self.cell.begin(batch)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return self.cell.advance(x, *state)

    def inner(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The cell's own new state, before this one changes it.

        >>> class Slow(tg.nn.Modifier):
        ...     def step(self, x, *state):
        ...         new = self.inner(x, *state)
        ...         return tuple(0.9 * old + 0.1 * h for old, h in zip(state, new))
        >>> Slow(tg.nn.LSTM(3, 4, rng=0))(np.ones((5, 2, 3), np.float32))[0].shape
        (5, 2, 4)
        """
        return self.cell._marked(self.cell.advance(x, *state), state)

    def output(self, x: Tensor, *state: Tensor) -> Tensor:
        return self.cell.output(x, *state)

    def _relinked(self, change: Callable[[str, Any], Any]) -> Cell:
        twin = copy(self)
        twin.__dict__["cell"] = self.cell._relinked(change)
        return twin


# -- cut links -----------------------------------------------------------------------------------


class Drawn(Modifier):
    """What draws masks, at these `rates`, in training."""

    p = property(lambda self: self.rates["p"])

    def __init__(self, cell: Cell, rates: dict[str, Any], rng: Random, **settings: Any):
        super().__init__(cell, **rates, **settings)
        self.rates = {k: probability(type(self).__name__, k, p) for k, p in rates.items()}
        self.rng = given(self, rng)

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether anything is left to chance now."""
        return self.training and any(self.rates.values())

    def _mask(self, shape: Any, p: float, name: str, kind: str = "links") -> Tensor:
        return mask_of(dropped(self, shape, p, self.dtype), f"{name} mask", kind)


class FeedforwardDropout(Drawn):
    """Dropout on what comes from below, x̃(t) = m(t) ⊙ x(t), never on the state (S25).

    A fresh mask at every step. Zaremba et al. 2014. Raises ValueError unless 0 <= p <= 1.

    >>> cell = tg.nn.FeedforwardDropout(tg.nn.GRU(3, 4, rng=0), 0.2, rng=0)
    >>> cell(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """

    def __init__(self, cell: Cell, p: float, *, rng: Random = None):
        super().__init__(cell, {"p": p}, rng)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if self.draws:
            x = x * each_step(lambda n: self._mask((n, *x.shape), self.p, "x"))
        return self.cell.advance(x, *state)


class VariationalDropout(Drawn):
    """The same links cut at every step of a sequence, of the input and of the state (S26).

    inputs and state are rates; masks are (B, size), one for each row, new at every call. The state
    is cut where weights read it (`Cell.links`), not where it is carried on, so that a GRU keeps
    what it decides to keep. per_gate draws a mask for each gate ("untied"). Gal & Ghahramani 2016.
    Raises ValueError without either rate.

    >>> cell = tg.nn.VariationalDropout(tg.nn.LSTM(3, 4, rng=0), inputs=0.2, state=0.3, rng=0)
    >>> cell(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """

    def __init__(
        self, cell: Cell, *, inputs: float | None = None, state: float | None = None,
        per_gate: bool = False, rng: Random = None,
    ):  # fmt: skip
        given = {k: p for k, p in (("inputs", inputs), ("state", state)) if p is not None}
        super().__init__(cell, given, rng, per_gate=per_gate or None)
        if not given:
            raise ValueError("VariationalDropout: expected inputs=..., state=..., or both")
        self.per_gate = per_gate

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if not self.draws:
            return self.cell.advance(x, *state)
        cell, cuts = once(lambda: self._cut(x, state[0]))
        x, h = (v * cuts[k] if k in cuts else v for k, v in (("x", x), ("h", state[0])))
        return cell.advance(x, h, *state[1:])

    def _cut(self, x: Tensor, h: Tensor) -> tuple[Cell, dict[str, Tensor]]:
        """The cell with cut links, and masks of what has no links that are known."""
        rates = {
            source: self.rates.get(word, 0.0) for source, word in (("x", "inputs"), ("h", "state"))
        }
        masks = {k: self._mask(v.shape, p, k) for k, v in (("x", x), ("h", h)) if (p := rates[k])}

        def change(source: str, W: Any) -> Any:
            if source not in masks:
                return W
            if not self.per_gate:
                return Cut(W, [masks[source]])
            count, rest = divmod(W.shape[1], self.cell.hidden)
            shape = (x.shape[0], W.shape[0])
            several = range(1 if rest else count)
            return Cut(W, [self._mask(shape, rates[source], source) for _ in several])

        left = {k: mask for k, mask in masks.items() if not self.links.get(k)}
        return self.cell._relinked(change), left


class Cut:
    """A weight of which each row of the batch sees its own part: x @ cut is (x ⊙ m) @ W.

    With several masks each has its own block of W's columns, one for each gate.
    """

    def __init__(self, W: Any, masks: list[Tensor]):
        if isinstance(W, Cut):  # already: one mask goes with each of several
            blocks = max(len(W.masks), len(masks))
            each = [(m * blocks)[:blocks] for m in (W.masks, masks)]
            masks, W = [m * n for m, n in zip(*each, strict=True)], W.W
        self.W: Any = W
        self.masks: list[Tensor] = masks
        self.shape: tuple[int, ...] = W.shape

    def __rmatmul__(self, x: Tensor) -> Tensor:
        if len(self.masks) == 1:
            return (x * self.masks[0]) @ self.W
        blocks = split(self.W, len(self.masks), axis=1)
        parts = [(x * m) @ W for m, W in zip(self.masks, blocks, strict=True)]
        return concat(parts, axis=-1)

    def __mul__(self, mask: Tensor) -> Cut:
        return Cut(self.W * mask, self.masks)


class DropConnect(Drawn):
    """Single recurrent weights cut, the same at every step: W ⊙ m in place of W (S24).

    One mask for the whole batch, new at every call; what is left is divided by 1 - p. Wan et al.
    2013; in recurrent networks Merity et al. 2018. Raises ValueError for a cell that does not say
    by `links` which weights read its state.

    >>> cell = tg.nn.DropConnect(tg.nn.LSTM(3, 4, rng=0), 0.5, rng=0)
    >>> xs = np.ones((5, 2, 3), np.float32)
    >>> bool((cell(xs)[0] == cell(xs)[0]).data.all())
    False
    >>> bool((cell.eval()(xs)[0] == cell(xs)[0]).data.all())
    True
    """

    def __init__(self, cell: Cell, p: float, *, rng: Random = None):
        super().__init__(cell, {"p": p}, rng)
        if any(getattr(module, "untied", None) for module in cell.modules()):
            kind = type(cell).__name__
            raise ValueError(f"DropConnect: {kind}: expected weights that steps share, got untied")
        if not self.links.get("h"):
            raise ValueError(
                f"DropConnect: {type(cell).__name__} does not say which weights read its state: "
                'set links = {"x": ("Wx",), "h": ("Wh",)} in its class'
            )

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        cell = once(lambda: self.cell._relinked(self._cut)) if self.draws else self.cell
        return cell.advance(x, *state)

    def _cut(self, source: str, W: Any) -> Any:
        return W * self._mask(W.shape, self.p, "W", "weights") if source == "h" else W


class Zoneout(Drawn):
    """Units that keep their state, each with its own chance: h(t) = m ⊙ h(t-1) + (1 - m) ⊙ h̃(t).

    Rates go by the names of states, `Zoneout(LSTM(64, 128), h=0.05, c=0.5)` (S27). A new mask at
    every step; in evaluation mode the expectation, p h(t-1) + (1 - p) h̃(t). The output
    is the state that was kept. Krueger et al. 2017. Raises ValueError for a state that the cell
    does not have, and without any rate.

    >>> cell = tg.nn.Zoneout(tg.nn.LSTM(3, 4, rng=0), h=0.05, c=0.5, rng=0)
    >>> cell(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """

    _changes = property(lambda self: self.cell._changes + 1)

    def __init__(self, cell: Cell, *, rng: Random = None, **rates: float):
        super().__init__(cell, rates, rng)
        such = ", ".join([f"{name}=0.1" for name in cell.state if name.isidentifier()])
        for name in rates:
            if name not in cell.state:
                raise ValueError(
                    f"Zoneout: {name}: expected a state of {type(cell).__name__}, one of "
                    f"{cell.state}: use {such}"
                )
        if not rates:
            raise ValueError(f"Zoneout: expected a rate for a state: use {such}")

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        parts = zip(self.state, state, self.inner(x, *state), strict=True)
        return tuple([self._mixed(name, old, now) for name, old, now in parts])

    def _mixed(self, name: str, old: Tensor, new: Tensor) -> Tensor:
        p = self.rates.get(name, 0.0)
        if not p:
            return new
        if old.dtype.kind != "f":  # in use it is a mean of both
            raise TypeError(f"Zoneout: {name}: expected a state of floats, got {old.dtype}")
        if not self.training:
            return p * old + (1 - p) * new

        def kept(steps: int) -> Tensor:
            chance = generator(self, self.rng).random((steps, *old.shape), np.float32)
            return mask_of(chance < np.float32(p), f"{name} keep", "keeps")

        return where(each_step(kept), old, new)


# -- ways around the cell --------------------------------------------------------------------------


class Residual(Modifier):
    """The output is x plus that of the cell: a way around it over depth. He et al. 2016.

    Raises ValueError unless the cell gives as many outputs as it reads inputs.

    >>> cell = tg.nn.Residual(tg.nn.GRU(4, 4, rng=0))
    >>> cell(np.ones((5, 2, 4), np.float32))[0].shape
    (5, 2, 4)
    """

    adds = "x"

    def __init__(self, cell: Cell):
        super().__init__(cell)
        if cell.inputs != cell.outputs:
            raise ValueError(
                f"Residual: expected a cell with as many outputs as inputs, got {cell.inputs} "
                f"inputs and {cell.outputs} outputs"
            )

    def output(self, x: Tensor, *state: Tensor) -> Tensor:
        return x + self.cell.output(x, *state)


class TimeSkip(Modifier):
    """A way around k steps of time: h(t) = cell(x(t), h(t-1)) + h(t-k) (S23).

    The states between go by "h-2" to "h-k", and are 0 before the first step.

    >>> cell = tg.nn.TimeSkip(tg.nn.RNN(3, 4, rng=0), 2)
    >>> cell.state
    ('h', 'h-2')
    """

    _changes = property(lambda self: self.cell._changes + 1)

    def __init__(self, cell: Cell, k: int):
        super().__init__(cell, k=k)
        positive("TimeSkip", k=k)
        self.k, self.adds = int(k), f"h(t-{k})"

    @property
    def state(self) -> tuple[str, ...]:  # type: ignore[override]
        """The cell's, and its first state of the k - 1 steps before."""
        names = list(self.cell.state)
        for j in range(2, self.k + 1):
            name = f"{names[0]}-{j}"
            while name in names:  # of a skip within
                name += "'"
            names.append(name)
        return tuple(names)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (*self.cell.sizes, *[self.cell.sizes[0]] * (self.k - 1))

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        begin = self.cell.begin(batch)
        zeros = np.zeros(begin[0].shape, begin[0].dtype)
        older = [Tensor(zeros, name=f"{name} begin") for name in self.state[len(begin) :]]
        return (*begin, *older)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        count = len(self.cell.state)
        path = (state[0], *state[count:])  # h(t-1), ..., h(t-k)
        new = self.inner(x, *state[:count])
        return (new[0] + path[-1], *new[1:], *path[:-1])

    def output(self, x: Tensor, *state: Tensor) -> Tensor:
        return self.cell.output(x, *state[: len(self.cell.state)])


class LearnedState(Modifier):
    """A cell whose state before the first step is trained: the same for every row, 0 at first.

    What a cell of your own begins with is what it is at first; whole numbers stay that.

    >>> cell = tg.nn.LearnedState(tg.nn.GRU(3, 4, rng=0))
    >>> [name for name, _ in cell.named_parameters()]
    ['cell.Wh', 'cell.Wx', 'cell.Wn', 'start.h']
    """

    def __init__(self, cell: Cell):
        super().__init__(cell)
        self.start = {
            name: parameter(h.data[0].copy(), f"{name}0")
            for name, h in zip(cell.state, cell.begin(1), strict=True)
            if h.dtype.kind == "f"
        }

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        given = zip(self.cell.state, self.cell.begin(batch), strict=True)
        trained = [(self.start.get(name), h) for name, h in given]
        return tuple([h if s is None else broadcast_to(s, shape=h.shape) for s, h in trained])


class ClipGradient(Modifier):
    """A cell whose gradient through time is clipped at every step, so that it cannot explode.

    The gradient of each state is clipped, by norm (of each row by itself) or by value; the forward
    pass stays as it is. See `tg.clip_gradient`, and `optim.clip_grad_norm` for clipping the sums
    at the end.

    >>> cell = tg.nn.ClipGradient(tg.nn.RNN(3, 4, rng=0), norm=1.0)
    >>> ys, _ = cell(np.ones((5, 2, 3), np.float32))
    >>> ys.shape
    (5, 2, 4)
    """

    _changes = property(lambda self: self.cell._changes + 1)

    def __init__(self, cell: Cell, *, norm: float | None = None, value: float | None = None):
        super().__init__(cell, norm=norm, value=value)
        clip_gradient(np.zeros(1), **self.settings)  # refuses limits that are none

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return tuple([clip_gradient(h, **self.settings) for h in self.inner(x, *state)])
