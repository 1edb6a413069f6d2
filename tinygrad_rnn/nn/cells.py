"""Cells: the textbook's formula for one step of time, state in and state out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..limits import flag, number, one_of
from ..loops import unroll
from ..ops import concat, maximum, minimum, sigmoid, softmax, split, tanh
from ..randomness import Random, generator
from ..tensor import Tensor, scope
from .activations import Activation as Function
from .activations import activation as activation_of
from .cell import Cell
from .conventions import RESETS, UPDATES, convention_of
from .init import glorot, orthogonal
from .module import as_floats, floating, parameter, positive
from .moment import each_step, gates
from .norm import LayerNorm
from .recurrent import check_state

Activation: TypeAlias = "str | Function"


class Affine(Cell):
    """What cells share: sums of what is read, x Wx + h Wh + b, for one gate or several at once.

    `order` names the gates in the order of their blocks in `Wx`, and in `Wh` those of them that
    read h itself. `b` is the bias, and `bh`, if there are two, that beside `Wh`.
    """

    links: Mapping[str, tuple[str, ...]] = MappingProxyType({"x": ("Wx",), "h": ("Wh",)})
    order: str = "h"
    clip: float | None = None
    _conventions: ClassVar[tuple[str, ...]] = ("order", "clip")

    def _make(
        self, sizes: tuple[int, int], gates: tuple[int, int], biases: Sequence[str], dtype: Any,
        rng: Random, *, clip: float | None = None, reads: int | None = None,
    ) -> np.random.Generator:  # fmt: skip
        """Make weights for so many gates of x and of h, of which the state has `reads` features."""
        rng = begun(self, dtype, rng, inputs=sizes[0], hidden=sizes[1])
        who = type(self).__name__
        self.clip = clip if clip is None else number(who, "clip", clip, "(0, inf]")
        # The largest first: a size far too large fails at once, before it fills the memory.
        self.Wh = parameter(orthogonal(rng, self.hidden, gates[1], reads), "Wh", self.dtype)
        self.Wx = parameter(glorot(rng, self.inputs, self.hidden, gates[0]), "Wx", self.dtype)
        self.b = self._bias("b", gates[0], biases)
        self.bh = self._bias("bh", gates[1], biases)
        return rng

    def _bias(self, name: str, gates: int, names: Sequence[str]) -> Tensor | None:
        """A bias of so many gates, if it is among the names."""
        if name not in names:
            return None
        return parameter(np.zeros(gates * self.hidden), name, self.dtype)

    def _norm(self, wanted: Any, gates: int, **how: Any) -> LayerNorm | None:
        return LayerNorm(gates * self.hidden, dtype=self.dtype, **how) if wanted else None

    def _blocks(self, a: Tensor) -> dict[str, Tensor]:
        """The gates' parts of a sum, as far as it goes."""
        parts = split(a, a.shape[-1] // self.hidden, axis=-1)
        return dict(zip(self.order, parts, strict=False))

    def _clipped(self, *functions: Function) -> Sequence[Function]:
        """The activations, of what is cut off at ± clip."""
        limit = self.clip
        if limit is None:
            return functions
        return [partial(_limited, f, limit) for f in functions]


def _limited(function: Function, limit: float, a: Tensor) -> Tensor:
    return function(maximum(minimum(a, limit), -limit))


def begun(cell: Cell, dtype: Any, rng: Random, **sizes: int) -> np.random.Generator:
    """Give a cell its sizes and dtype, and return what it draws its weights from."""
    who = type(cell).__name__
    positive(who, **sizes)
    cell.inputs, cell.hidden, cell.dtype = sizes["inputs"], sizes["hidden"], floating(who, dtype)
    return generator(cell, rng)


def plus(a: Tensor, *biases: Tensor | None) -> Tensor:
    """The sum of what there is."""
    for b in biases:
        a = a if b is None else a + b
    return a


def normed(norm: LayerNorm | None, a: Tensor) -> Tensor:
    """What is to be normalised, if it is."""
    return a if norm is None else norm(a)


def several(who: str, given: Sequence[Activation], count: int) -> tuple[Function, ...]:
    """Activations as functions, as many as there are places for."""
    if isinstance(given, str) or callable(given) or len(given) != count:
        raise ValueError(f"{who}: activations: expected {count} names or functions, got {given!r}")
    return tuple(activation_of(who, one) for one in given)


class RNN(Affine):
    """h = f(x Wx + h Wh + b) (S2; Elman 1990).

    activation: a name of `nn.ACTIVATIONS`, which is what ONNX means by it whatever the convention,
    or a function of a tensor. bias: how many, 0, 1 or 2 (b, and bh). Wx
    (inputs, hidden) is Glorot, Wh (hidden, hidden) orthogonal. untied: a Wh for each of so many
    steps, (steps, hidden, hidden), instead of one that all share (S3). clip: what goes into the
    activation is cut off there, if given.

    >>> cell = tg.nn.RNN(3, 4, activation="relu", rng=0)
    >>> ys, (h,) = cell(np.ones((5, 2, 3), np.float32))
    >>> ys.shape, bool((ys[-1] == h).data.all())
    ((5, 2, 4), True)
    """

    _conventions = ("order", "clip", "activation")

    def __init__(
        self, inputs: int, hidden: int, *, activation: Activation = "tanh", bias: int = 1,
        untied: int | None = None, clip: float | None = None, dtype: Any = np.float32,
        rng: Random = None,
    ):  # fmt: skip
        if bias not in (0, 1, 2):
            raise ValueError(f"RNN: bias: expected 0, 1 or 2 of them, got {bias!r}")
        self.activation = activation_of("RNN", activation)
        biases = ("b", "bh")[: int(bias)]
        rng = self._make((inputs, hidden), (1, 1), biases, dtype, rng, clip=clip)
        self.untied = untied
        if untied is not None:
            positive("RNN", untied=untied)
            every = np.stack([orthogonal(rng, hidden) for _ in range(untied)])
            self.Wh = parameter(every, "Wh", self.dtype)
            self.links = {"x": ("Wx",)}  # a plain dict, so that the cell can be copied

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether each step has a matrix of its own."""
        return self.untied is not None

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        (f,) = self._clipped(self.activation)
        Wh = self.Wh if self.untied is None else each_step(self._first)
        return f(plus(x @ self.Wx + h @ Wh, self.b, self.bh))

    def _first(self, steps: int) -> Tensor:
        if steps > len(self.Wh):
            raise ValueError(
                f"RNN: xs: expected at most {len(self.Wh)} steps, each with a Wh of its own "
                f"(untied={self.untied}), got {steps}"
            )
        return self.Wh[:steps]


class IRNN(RNN):
    """h = relu(x Wx + h Wh + b) that begins with Wh = I, so that it carries on what it has.

    Le, Jaitly & Hinton 2015. Wx begins normal with a standard deviation of 0.001.

    >>> tg.nn.IRNN(3, 2, rng=0).Wh.data.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, inputs: int, hidden: int, *, dtype: Any = np.float32, rng: Random = None):
        rng = generator(self, rng)
        super().__init__(inputs, hidden, activation="relu", dtype=dtype, rng=rng)
        self.Wh.data = np.eye(hidden, dtype=self.dtype)
        self.Wx.data = rng.normal(0, 0.001, (inputs, hidden)).astype(self.dtype)


class LSTM(Affine):
    """c = σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c), with i, f, g, o = x Wx + h Wh + b (S20).

    Hochreiter & Schmidhuber 1997, forget gate Gers et al. 2000. Wx is (inputs, 4·hidden), Glorot;
    Wh (hidden, 4·hidden), orthogonal per gate; the forget gate's bias begins at `forget_bias`, so
    that a new network remembers (Jozefowicz et al. 2015). The order of the gates' blocks, and
    whether there are one or two biases, is that of the `convention` (`nn.CONVENTIONS`). Parameters:
    4 [(inputs + hidden) hidden + hidden] with one bias per gate (S22).

    peepholes: gates see c too, by P (3, hidden) for i, f, o (Gers & Schmidhuber 2000). projection:
    h = (σ(o) tanh(c)) Wr is only so wide (Sak et al. 2014). coupled: f = 1 - i, with no block of
    its own (Greff et al. 2017). norm: "ba2016" normalises x Wx, h Wh and the c that h reads (Ba et
    al. 2016, formulas 20-22), "per_gate" each gate's sum by itself, and that c. activations: of the
    gates, of the candidate, of c, as for an RNN. clip: what goes into an activation is cut off
    there.

    >>> cell = tg.nn.LSTM(3, 4, rng=0)
    >>> ys, (h, c) = cell(np.ones((5, 2, 3), np.float32))
    >>> ys.shape, h.shape, c.shape
    ((5, 2, 4), (2, 4), (2, 4))
    >>> tg.nn.count_parameters(cell)
    128
    """

    state = ("h", "c")
    _conventions = ("convention", "order", "activations", "clip")

    def __init__(
        self, inputs: int, hidden: int, *, bias: bool = True, forget_bias: float = 1.0,
        convention: str = "textbook", peepholes: bool = False, projection: int | None = None,
        coupled: bool = False, norm: str | None = None,
        activations: tuple[Activation, Activation, Activation] = ("sigmoid", "tanh", "tanh"),
        clip: float | None = None, dtype: Any = np.float32, rng: Random = None,
    ):  # fmt: skip
        how = convention_of("LSTM", convention)
        if projection is not None:
            positive("LSTM", projection=projection)
        self.convention, self.coupled = convention, flag("LSTM", "coupled", coupled)
        self.order = how.lstm.replace("f", "") if coupled else how.lstm
        self.activations, count = several("LSTM", activations, 3), len(self.order)
        biases = how.lstm_biases if bias else ()
        rng = self._make(
            (inputs, hidden), (count, count), biases, dtype, rng, clip=clip, reads=projection
        )
        if self.b is not None and not coupled:
            begin = [forget_bias * (k == "f") for k in self.order]
            self.b.data = np.repeat(begin, hidden).astype(self.dtype)
        self.P = parameter(np.zeros((3, hidden)), "P", self.dtype) if peepholes else None
        self.projection, self.Wr = projection, None
        if projection:
            self.Wr = parameter(glorot(rng, hidden, projection), "Wr", self.dtype)
        self.norm = one_of("LSTM", "norm", norm, (None, "ba2016", "per_gate"))
        blocks = count if norm == "per_gate" else 1
        self.norm_x = self._norm(norm, count, shift=False, blocks=blocks)
        self.norm_h = self._norm(norm == "ba2016", count, shift=False)
        self.norm_c = self._norm(norm, 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.projection or self.hidden, self.hidden

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, candidate, squash = self._clipped(*self.activations)
        a = self._blocks(self._sum(x, h))
        i, f = self._seen("i", a, c), self._seen("f", a, c)
        i, g = gate(i), candidate(a["g"])
        f = 1 - i if self.coupled else gate(f)
        i, f, g = gates(i=i, f=f, g=g)
        c = f * c + i * g
        (o,) = gates(o=gate(self._seen("o", a, c)))
        h = o * squash(normed(self.norm_c, c))
        return h if self.Wr is None else h @ self.Wr, c

    def _sum(self, x: Tensor, h: Tensor) -> Tensor:
        """x Wx + h Wh + b, the sum normalised, or each of the two, or none."""
        from_x, from_h = x @ self.Wx, h @ self.Wh
        if self.norm == "per_gate":
            return plus(normed(self.norm_x, from_x + from_h), self.b, self.bh)
        return plus(normed(self.norm_x, from_x), normed(self.norm_h, from_h), self.b, self.bh)

    def _seen(self, gate: str, a: Mapping[str, Tensor], c: Tensor) -> Any:
        """What goes into a gate, which may have peepholes to c; None where f is coupled."""
        if self.P is None or gate not in a:
            return a.get(gate)
        return a[gate] + c * self.P["ifo".index(gate)]


class GRU(Affine):
    """h = (1 - z) h + z h̃, h̃ = tanh(x W + (r h) Wn), z, r = σ(x W + h Wh) (S21).

    The form of Chung et al. 2014: the reset gate acts before the product, z gates the
    candidate, and there is no bias unless asked for. A `convention` (see `nn.CONVENTIONS`), or
    `reset` and `update`, choose another: reset="after" is h̃ = tanh(x W + r (h Wn + bn)), as in
    cuDNN, update="previous" is h = z h + (1 - z) h̃ (Cho et al. 2014). Before and after cannot be
    converted into each other.

    Wx is (inputs, 3·hidden) in the convention's order of gates, Glorot; Wh (hidden, 2·hidden) for z
    and r, and Wn (hidden, hidden) for h̃, orthogonal per gate. norm: "ba2016" normalises x Wx, h Wh
    and the candidate's product. activations: of the gates, of the
    candidate. clip: what goes into an activation is cut off there.

    >>> cell = tg.nn.GRU(3, 4, rng=0)
    >>> ys, (h,) = cell(np.ones((5, 2, 3), np.float32))
    >>> ys.shape, h.shape
    ((5, 2, 4), (2, 4))
    """

    links = MappingProxyType({"x": ("Wx",), "h": ("Wh", "Wn")})
    _conventions = ("convention", "order", "reset", "update", "activations", "clip")

    def __init__(
        self, inputs: int, hidden: int, *, bias: bool | None = None, convention: str = "textbook",
        reset: str | None = None, update: str | None = None, norm: str | None = None,
        activations: tuple[Activation, Activation] = ("sigmoid", "tanh"), clip: float | None = None,
        dtype: Any = np.float32, rng: Random = None,
    ):  # fmt: skip
        how = convention_of("GRU", convention)
        self.convention, self.order = convention, how.gru
        self.reset = one_of("GRU", "reset", reset or how.reset, RESETS)
        self.update = one_of("GRU", "update", update or how.update, UPDATES)
        self.activations = several("GRU", activations, 2)
        biases = how.gru_biases if (how.has_gru_bias if bias is None else bias) else ()
        rng = self._make((inputs, hidden), (3, 2), biases, dtype, rng, clip=clip)
        self.Wn = parameter(orthogonal(rng, hidden), "Wn", self.dtype)
        self.bn = self._bias("bn", 1, biases)
        self.norm = one_of("GRU", "norm", norm, (None, "ba2016"))
        self.norm_x, self.norm_h, self.norm_n = (
            self._norm(norm, n, shift=False) for n in (3, 2, 1)
        )

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        gate, candidate = self._clipped(*self.activations)
        z, r, n = self._sums(x, h)
        z, r = gates(z=gate(z), r=gate(r))
        n = n + (self._product(r * h) if self.reset == "before" else r * self._product(h))
        (n,) = gates(n=candidate(n))
        return (1 - z) * h + z * n if self.update == "candidate" else z * h + (1 - z) * n

    def _sums(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What goes into z and r, and the part of the candidate that reads x."""
        from_x, from_h = x @ self.Wx, plus(h @ self.Wh, self.bh)
        from_x, from_h = normed(self.norm_x, from_x), normed(self.norm_h, from_h)
        by_x, by_h = self._blocks(plus(from_x, self.b)), self._blocks(from_h)
        return by_x["z"] + by_h["z"], by_x["r"] + by_h["r"], by_x["n"]

    def _product(self, h: Tensor) -> Tensor:
        return normed(self.norm_n, plus(h @ self.Wn, self.bn))


class MinimalGatedUnit(Affine):
    """h = (1 - f) h + f h̃, h̃ = tanh(x W + (f h) Wn), f = σ(x W + h Wh): one gate. Zhou et al. 2016.

    Wx is (inputs, 2·hidden) for f and h̃, Glorot; Wh and Wn (hidden, hidden) are orthogonal; f's
    bias begins at 1, so that a new network learns at once.

    >>> ys, (h,) = tg.nn.MinimalGatedUnit(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))
    >>> ys.shape
    (5, 2, 4)
    """

    links = MappingProxyType({"x": ("Wx",), "h": ("Wh", "Wn")})
    order = "fn"

    def __init__(
        self, inputs: int, hidden: int, *, bias: bool = True, dtype: Any = np.float32,
        rng: Random = None,
    ):  # fmt: skip
        rng = self._make((inputs, hidden), (2, 1), ("b",) if bias else (), dtype, rng)
        self.Wn = parameter(orthogonal(rng, hidden), "Wn", self.dtype)
        if self.b is not None:
            self.b.data = np.repeat([1.0, 0.0], hidden).astype(self.dtype)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        f, n = split(plus(x @ self.Wx, self.b), 2, axis=-1)
        (f,) = gates(f=sigmoid(f + h @ self.Wh))
        (n,) = gates(n=tanh(n + (f * h) @ self.Wn))
        return (1 - f) * h + f * n


SOURCES = ("output", "prediction", "target")


class OutputRecurrent(Cell):
    """h(t) = tanh(b + o(t-1) Wo + x(t) Wx), o(t) = c + h(t) V: only the output is fed back (S7).

    source says what stands for o(t-1): "output" itself, "prediction" softmax(o), or "target", what
    the output should have been. With targets no step waits for another, and all of them run at once
    as one batch: `ys, state = cell(xs, targets=ys)`. Without targets set `cell.source` to "output"
    or "prediction". Jordan 1986; teacher forcing: Williams & Zipser 1989. V is (hidden, outputs).

    >>> cell = tg.nn.OutputRecurrent(3, 8, 2, source="target", rng=0)
    >>> xs, targets = np.ones((5, 1, 3), np.float32), np.zeros((5, 1, 2), np.float32)
    >>> ys, _ = cell(xs, targets=targets)
    >>> ys.shape
    (5, 1, 2)
    """

    state = ("o",)
    links = MappingProxyType({"x": ("Wx",), "h": ("Wo",)})
    _conventions = ("activation",)

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, source: str = "output",
        activation: Activation = "tanh", dtype: Any = np.float32, rng: Random = None,
    ):  # fmt: skip
        rng = begun(self, dtype, rng, inputs=inputs, hidden=hidden, outputs=outputs)
        self.source = one_of("OutputRecurrent", "source", source, SOURCES)
        self.activation, self.width = activation_of("OutputRecurrent", activation), outputs
        self.Wo = parameter(glorot(rng, outputs, hidden), "Wo", self.dtype)
        self.Wx = parameter(glorot(rng, inputs, hidden), "Wx", self.dtype)
        self.V = parameter(glorot(rng, hidden, outputs), "V", self.dtype)
        self.b = parameter(np.zeros(hidden), "b", self.dtype)
        self.c = parameter(np.zeros(outputs), "c", self.dtype)

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.width,)

    def step(self, x: Tensor, o: Tensor) -> Tensor:  # type: ignore[override]
        if self.source == "target":
            raise ValueError(
                'OutputRecurrent: source="target" has no step of its own: call the cell with '
                'targets=, or set cell.source to "output" or "prediction"'
            )
        return self._after(x, softmax(o) if self.source == "prediction" else o)

    def _after(self, x: Tensor, before: Tensor) -> Tensor:
        (h,) = gates(h=self.activation(x @ self.Wx + before @ self.Wo + self.b))
        return h @ self.V + self.c

    def __call__(self, xs: Any, state: Any = None, *, targets: Any = None, **how: Any) -> Any:
        """Every output and the last; with targets (T, B, outputs), by teacher forcing.

        Then state is what stands before the first target, and `unroll=True` does step after step
        what else is done for all at once.
        """
        if (targets is not None) != (self.source == "target"):
            raise ValueError(
                f"OutputRecurrent: source={self.source!r} "
                + ("goes without targets" if targets is not None else "needs targets=")
                + '; cell.source is "target" for teacher forcing, "output" or "prediction" without'
            )
        if targets is None:
            return super().__call__(xs, state, **how)
        unrolled = how.pop("unroll", False)
        if how:
            raise TypeError(f"OutputRecurrent: with targets there is no {', '.join(how)}")
        return self._taught(xs, targets, state, unrolled)

    def _taught_step(self, x: Tensor, y: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
        y.name = "target" if y.op is None else y.name
        return y, self._after(x, o)

    def _taught(self, xs: Any, targets: Any, state: Any, unrolled: bool) -> Any:
        xs = as_floats("OutputRecurrent", "xs", xs, self.dtype)
        targets = as_floats("OutputRecurrent", "targets", targets, self.dtype)
        fits = xs.ndim == 3 and xs.shape[2] == self.inputs
        if not fits or targets.shape != (*xs.shape[:2], self.width):
            raise ValueError(
                f"OutputRecurrent: expected xs (T, B, {self.inputs}) and targets (T, B, "
                f"{self.width}), got {xs.shape} and {targets.shape}"
            )
        batch = xs.shape[1]
        state = self.begin(batch) if state is None else state
        (begin,) = check_state(self, state, batch)
        if unrolled:
            with scope("layer0"):
                _, ys = unroll(self._taught_step, begin, (xs, targets))
        else:
            before = concat([begin[None], targets[:-1]]) if len(xs) else targets
            rows = [v.reshape(-1, v.shape[2]) for v in (xs, before)]
            ys = self._after(*rows).reshape(targets.shape)
        return ys, (ys[-1] if len(ys) else begin,)
