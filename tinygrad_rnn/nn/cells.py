"""Cells: the textbook's formula for one step of time, state in and state out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ..ops import concat, maximum, minimum, sigmoid, softmax, split, stack, tanh
from ..tensor import Tensor, scope
from .activations import activation as activation_of
from .cell import Cell
from .conventions import convention_of
from .init import Random, generator, glorot, orthogonal
from .module import as_floats, floating, parameter, positive
from .moment import each_step, gates
from .norm import LayerNorm

Activation: TypeAlias = "str | Callable[[Tensor], Tensor]"


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
        self,
        sizes: tuple[int, int],
        gates: tuple[int, int],
        biases: int,
        dtype: Any,
        rng: np.random.Generator,
        reads: int | None = None,
    ) -> None:
        """Weights for so many gates of x and of h, of which the state has `reads` features."""
        self.inputs, self.hidden = sizes
        self.dtype = dtype
        # The largest first: a size far too large fails at once, before it fills the memory.
        Wh = orthogonal(rng, self.hidden, gates[1], rows=reads)
        self.Wh = parameter(Wh.astype(dtype), "Wh")
        self.Wx = parameter(glorot(rng, self.inputs, self.hidden, gates[0]).astype(dtype), "Wx")
        self.b = self._bias("b", gates[0]) if biases else None
        self.bh = self._bias("bh", gates[1]) if biases == 2 else None

    def _bias(self, name: str, gates: int) -> Tensor:
        return parameter(np.zeros(gates * self.hidden, self.dtype), name)

    def _plus(self, a: Tensor, b: Tensor | None) -> Tensor:
        return a if b is None else a + b

    def _limited(self, a: Tensor) -> Tensor:
        """What goes into an activation, cut off at ± clip."""
        return a if self.clip is None else maximum(minimum(a, self.clip), -self.clip)


def limit(who: str, clip: float | None) -> float | None:
    """Return where activations' inputs are cut off: a number above 0, or None."""
    if clip is not None and not clip > 0:
        raise ValueError(f"{who}: clip: expected a number above 0, or None, got {clip!r}")
    return None if clip is None else float(clip)


def one_of(who: str, word: str, given: Any, known: Sequence[Any]) -> Any:
    """Refuse what is none of the choices."""
    if given not in known:
        raise ValueError(f"{who}: {word}: expected one of {tuple(known)}, got {given!r}")
    return given


def several(
    who: str, given: Sequence[Activation], count: int
) -> tuple[Callable[[Tensor], Tensor], ...]:
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
        self,
        inputs: int,
        hidden: int,
        *,
        activation: Activation = "tanh",
        bias: int = 1,
        untied: int | None = None,
        clip: float | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("RNN", inputs=inputs, hidden=hidden)
        dtype = floating("RNN", dtype)
        if bias not in (0, 1, 2):
            raise ValueError(f"RNN: bias: expected 0, 1 or 2 of them, got {bias!r}")
        self.activation, self.clip = activation_of("RNN", activation), limit("RNN", clip)
        rng = generator(self, rng)
        self._make((inputs, hidden), (1, 1), int(bias), dtype, rng)
        self.untied = untied
        if untied is not None:
            positive("RNN", untied=untied)
            every = np.stack([orthogonal(rng, hidden) for _ in range(untied)])
            self.Wh = parameter(every.astype(dtype), "Wh")
            self.links = {"x": ("Wx",)}  # a plain dict, so that the cell can be copied

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether each step has a matrix of its own."""
        return self.untied is not None

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        Wh = self.Wh if self.untied is None else each_step(self._first)
        a = self._plus(x @ self.Wx + h @ Wh, self.b)
        return self.activation(self._limited(self._plus(a, self.bh)))

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
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool = True,
        forget_bias: float = 1.0,
        convention: str = "textbook",
        peepholes: bool = False,
        projection: int | None = None,
        coupled: bool = False,
        norm: str | None = None,
        activations: tuple[Activation, Activation, Activation] = ("sigmoid", "tanh", "tanh"),
        clip: float | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("LSTM", inputs=inputs, hidden=hidden, projection=projection or 1)
        dtype = floating("LSTM", dtype)
        how = convention_of("LSTM", convention)
        self.convention, self.coupled, self.clip = convention, bool(coupled), limit("LSTM", clip)
        self.order = how.lstm.replace("f", "") if coupled else how.lstm
        self.activations = several("LSTM", activations, 3)
        rng, count = generator(self, rng), len(self.order)
        biases = len(how.lstm_biases) if bias else 0
        self._make((inputs, hidden), (count, count), biases, dtype, rng, projection)
        if self.b is not None and not coupled:
            begin = [forget_bias * (k == "f") for k in self.order]
            self.b.data = np.repeat(begin, hidden).astype(dtype)
        self.P = parameter(np.zeros((3, hidden), dtype), "P") if peepholes else None
        self.projection, self.Wr = projection, None
        if projection:
            self.Wr = parameter(glorot(rng, hidden, projection).astype(dtype), "Wr")
        one_of("LSTM", "norm", norm, (None, "ba2016", "per_gate"))
        self.norm, width = norm, count * hidden
        self.norm_x = (
            LayerNorm(width, shift=False, blocks=count if norm == "per_gate" else 1, dtype=dtype)
            if norm
            else None
        )
        self.norm_h = LayerNorm(width, shift=False, dtype=dtype) if norm == "ba2016" else None
        self.norm_c = LayerNorm(hidden, dtype=dtype) if norm else None

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.projection or self.hidden, self.hidden

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, candidate, squash = self.activations
        i, f, g, o = self._sums(x, h)
        if self.P is not None:
            i, f = i + c * self.P[0], f if f is None else f + c * self.P[1]
        i, g = gate(self._limited(i)), candidate(self._limited(g))
        f = 1 - i if f is None else gate(self._limited(f))
        i, f, g = gates(i=i, f=f, g=g)
        c = f * c + i * g
        (o,) = gates(o=gate(self._limited(o if self.P is None else o + c * self.P[2])))
        h = o * squash(self._limited(c if self.norm_c is None else self.norm_c(c)))
        return h if self.Wr is None else h @ self.Wr, c

    def _sums(self, x: Tensor, h: Tensor) -> list[Any]:
        """What goes into i, f, g and o; f is None when it is coupled."""
        from_x, from_h = x @ self.Wx, h @ self.Wh
        a = self._plus(self._plus(self._normalized(from_x, from_h), self.b), self.bh)
        found = dict(zip(self.order, split(a, len(self.order), axis=-1), strict=True))
        return [found.get(gate) for gate in "ifgo"]

    def _normalized(self, from_x: Tensor, from_h: Tensor) -> Tensor:
        if self.norm_x is None:
            return from_x + from_h
        if self.norm_h is None:
            return self.norm_x(from_x + from_h)
        return self.norm_x(from_x) + self.norm_h(from_h)


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
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool | None = None,
        convention: str = "textbook",
        reset: str | None = None,
        update: str | None = None,
        norm: str | None = None,
        activations: tuple[Activation, Activation] = ("sigmoid", "tanh"),
        clip: float | None = None,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("GRU", inputs=inputs, hidden=hidden)
        dtype = floating("GRU", dtype)
        how = convention_of("GRU", convention)
        self.convention, self.order, self.clip = convention, how.gru, limit("GRU", clip)
        self.reset = one_of("GRU", "reset", reset or how.reset, ("before", "after"))
        self.update = one_of("GRU", "update", update or how.update, ("candidate", "previous"))
        self.activations = several("GRU", activations, 2)
        rng, has = generator(self, rng), how.has_gru_bias if bias is None else bias
        biases = how.gru_biases if has else ()
        self._make((inputs, hidden), (3, 2), len([k for k in biases if k != "bn"]), dtype, rng)
        self.Wn = parameter(orthogonal(rng, hidden).astype(dtype), "Wn")
        self.bn = self._bias("bn", 1) if "bn" in biases else None
        self.norm = one_of("GRU", "norm", norm, (None, "ba2016"))
        self.norm_x, self.norm_h, self.norm_n = (
            LayerNorm(gates * hidden, shift=False, dtype=dtype) if norm else None
            for gates in (3, 2, 1)
        )

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        gate, candidate = self.activations
        z, r, n = self._sums(x, h)
        z, r = gates(z=gate(self._limited(z)), r=gate(self._limited(r)))
        n = n + (self._product(r * h) if self.reset == "before" else r * self._product(h))
        (n,) = gates(n=candidate(self._limited(n)))
        return (1 - z) * h + z * n if self.update == "candidate" else z * h + (1 - z) * n

    def _sums(self, x: Tensor, h: Tensor) -> list[Tensor]:
        """What goes into z and r, and the part of the candidate that reads x."""
        from_x, from_h = x @ self.Wx, self._plus(h @ self.Wh, self.bh)
        if self.norm_x is not None and self.norm_h is not None:
            from_x, from_h = self.norm_x(from_x), self.norm_h(from_h)
        x_parts = dict(zip(self.order, split(self._plus(from_x, self.b), 3, axis=-1), strict=True))
        h_parts = dict(zip(self.order[:2], split(from_h, 2, axis=-1), strict=True))
        return [x_parts["z"] + h_parts["z"], x_parts["r"] + h_parts["r"], x_parts["n"]]

    def _product(self, h: Tensor) -> Tensor:
        n = self._plus(h @ self.Wn, self.bn)
        return n if self.norm_n is None else self.norm_n(n)


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
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool = True,
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("MinimalGatedUnit", inputs=inputs, hidden=hidden)
        dtype, rng = floating("MinimalGatedUnit", dtype), generator(self, rng)
        self._make((inputs, hidden), (2, 1), int(bool(bias)), dtype, rng)
        self.Wn = parameter(orthogonal(rng, hidden).astype(dtype), "Wn")
        if self.b is not None:
            self.b.data = np.repeat([1.0, 0.0], hidden).astype(dtype)

    def step(self, x: Tensor, h: Tensor) -> Tensor:  # type: ignore[override]
        f, n = split(self._plus(x @ self.Wx, self.b), 2, axis=-1)
        (f,) = gates(f=sigmoid(f + h @ self.Wh))
        (n,) = gates(n=tanh(n + (f * h) @ self.Wn))
        return (1 - f) * h + f * n


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
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        source: str = "output",
        activation: Activation = "tanh",
        dtype: Any = np.float32,
        rng: Random = None,
    ):
        positive("OutputRecurrent", inputs=inputs, hidden=hidden, outputs=outputs)
        dtype = floating("OutputRecurrent", dtype)
        one_of("OutputRecurrent", "source", source, ("output", "prediction", "target"))
        self.source, self.activation = source, activation_of("OutputRecurrent", activation)
        self.inputs, self.hidden, self.dtype, self.width = inputs, hidden, dtype, outputs
        rng = generator(self, rng)
        self.Wo = parameter(glorot(rng, outputs, hidden).astype(dtype), "Wo")
        self.Wx = parameter(glorot(rng, inputs, hidden).astype(dtype), "Wx")
        self.V = parameter(glorot(rng, hidden, outputs).astype(dtype), "V")
        self.b = parameter(np.zeros(hidden, dtype), "b")
        self.c = parameter(np.zeros(outputs, dtype), "c")

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
        unroll = how.pop("unroll", False)
        if how:
            raise TypeError(f"OutputRecurrent: with targets there is no {', '.join(how)}")
        return self._taught(xs, targets, state, unroll)

    def _taught(self, xs: Any, targets: Any, state: Any, unroll: bool) -> Any:
        xs = as_floats("OutputRecurrent", "xs", xs, self.dtype)
        targets = as_floats("OutputRecurrent", "targets", targets, self.dtype)
        fits = xs.ndim == 3 and xs.shape[2] == self.inputs
        if not fits or targets.shape != (*xs.shape[:2], self.width):
            raise ValueError(
                f"OutputRecurrent: expected xs (T, B, {self.inputs}) and targets (T, B, "
                f"{self.width}), got {xs.shape} and {targets.shape}"
            )
        begin = self._first(state, xs.shape[1])
        before = concat([begin[None], targets[:-1]]) if len(xs) else targets
        if not unroll:
            rows = [v.reshape(-1, v.shape[2]) for v in (xs, before)]
            ys = self._after(*rows).reshape(targets.shape)
            return ys, (ys[-1] if len(ys) else begin,)
        path = []
        for t in range(len(xs)):
            with scope(f"layer0/t={t}"):
                x, y = xs[t], before[t]
                for part, name in ((x, "x"), (y, "target" if t else "o0")):
                    part.name = name if part.op is None else part.name
                path.append(self._after(x, y))
        return (stack(path), (path[-1],)) if path else (targets[:0], (begin,))

    def _first(self, state: Any, batch: int) -> Tensor:
        """What stands before the first target."""
        begin = self.begin(batch) if state is None else tuple(state)
        shapes = [np.shape(o) for o in begin]
        if shapes != [(batch, self.width)]:
            raise ValueError(
                f"OutputRecurrent: state: expected (o,) of shape {(batch, self.width)}, got "
                f"shapes {shapes}"
            )
        return as_floats("OutputRecurrent", "o", begin[0], self.dtype)
