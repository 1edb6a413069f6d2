"""How far a gradient gets through time: Jacobians, their products, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..grad import grad
from ..limits import whole
from ..nn.cell import Part
from ..nn.cells import RNN
from ..nn.recurrent import batch_of
from ..tape.words import number, step_of
from ..tensor import Tensor, history, recording
from .jacobian import Step
from .steps import path_of, recorded
from .table import table

GONE, GROWN = 0.01, 100.0  # where a gradient counts as vanished, and as exploded
KEPT = "kept"  # the way along which no gate is passed


@dataclass(frozen=True)
class Verdict:
    """What becomes of a gradient as it goes back through time.

    word: "vanishes" (below 1 % at the first step), "explodes" (above 100 times) or "carries".
    since: the latest step k from which on back it is so, and lag, how many steps before the last
    that is; None if it carries. rate: by what it is multiplied in a step, on average. gates: the
    share of each gate in what arrives, "kept" that of the way past all of them; they add up to 1,
    and a negative one works against the others.

    >>> flow = tg.lab.flow(tg.nn.RNN(3, 4, rng=0), np.ones((30, 1, 3), np.float32))
    >>> flow.verdict.word, flow.verdict.gate
    ('vanishes', None)
    """

    word: str
    since: int | None
    lag: int | None
    rate: float
    gates: dict[str, float]

    @property
    def gate(self) -> str | None:
        """The way that most of what arrives has taken; None for a cell without gates."""
        return max(self.gates, key=lambda name: abs(self.gates[name])) if self.gates else None

    def __str__(self) -> str:
        words = f"the gradient {self.word}: × {number(self.rate)} a step"
        if self.since is not None:
            limit = "below 1 %" if self.word == "vanishes" else "above 100 times"
            words += f", {limit} from {self.lag} steps back (t={self.since})"
        if self.gate is not None:
            way = "with the gates held" if self.gate == KEPT else f"through gate {self.gate}"
            words += f", {self.gates[self.gate]:.0%} of it {way}"
        return words

    __repr__ = __str__


@dataclass(frozen=True)
class Flow:
    """The Jacobians of a run, of one row of its batch; N is the size of all states together.

    states, sizes: names and widths. steps (T,): the times in the order in which they ran.
    jacobians (T-1, N, N): ∂state(t)/∂state(t-1). end (T,): the spectral norm of ∂state(last)/
    ∂state(k), for each k. bounds: by name what its decay is compared with, a factor for each step
    (S16). verdict: what becomes of it.

    >>> flow = tg.lab.flow(tg.nn.GRU(3, 4, rng=0), np.ones((9, 1, 3), np.float32))
    >>> flow.states, flow.sizes
    (('h',), (4,))
    >>> flow.norms().shape, flow.spectral().shape, flow.memory(share=0.6)
    ((9, 9), (9, 9), 4)
    >>> flow.singular_values.shape, flow.radii.shape
    ((8, 4), (8,))
    >>> flow.draw().save("flow.svg")
    """

    states: tuple[str, ...]
    sizes: tuple[int, ...]
    steps: np.ndarray
    jacobians: np.ndarray = field(repr=False)
    end: np.ndarray
    bounds: dict[str, float]
    verdict: Verdict

    def norms(self, of: str | None = None, by: str | None = None) -> np.ndarray:
        """‖∂of(t)/∂by(k)‖, Frobenius, (T, T) with 0 where k > t; None is all states together."""
        return self._sizes(of, by, lambda M: np.sqrt((M * M).sum((-2, -1))))

    def spectral(self, of: str | None = None, by: str | None = None) -> np.ndarray:
        """The same as spectral norms, the largest singular values: slower, of large states."""
        return self._sizes(of, by, largest)

    def _sizes(self, of: str | None, by: str | None, size: Any) -> np.ndarray:
        """The sizes of all products of Jacobians, those of one length at once."""
        rows, columns, T = self._part(of), self._part(by), len(self.steps)
        N = sum(self.sizes)
        found, product = np.zeros((T, T)), np.repeat(np.eye(N)[None, rows], T, axis=0)
        with np.errstate(all="ignore"):
            for lag in range(T):
                if lag:
                    product = product[1:] @ self.jacobians[: T - lag]
                k = np.arange(T - lag)
                found[k + lag, k] = size(product[:, :, columns])
        return found

    def _part(self, name: str | None) -> slice:
        if name is None:
            return slice(None)
        if name not in self.states:
            raise ValueError(f"flow: expected a state, one of {self.states}, got {name!r}")
        k = self.states.index(name)
        return slice(sum(self.sizes[:k]), sum(self.sizes[: k + 1]))

    @cached_property
    def singular_values(self) -> np.ndarray:
        """The singular values of each Jacobian, the largest first (T-1, N)."""
        return np.linalg.svd(self.jacobians, compute_uv=False)

    @cached_property
    def radii(self) -> np.ndarray:
        """The spectral radius of each Jacobian (T-1,)."""
        return np.abs(np.linalg.eigvals(self.jacobians)).max(-1, initial=0.0)

    def memory(self, share: float = 1 / math.e) -> int | None:
        """How many steps back the norm first falls to this share; None if it never does."""
        found = np.flatnonzero(self.end[::-1] <= share)
        return int(found[0]) if len(found) else None

    def draw(self, title: str = "") -> Any:
        """A picture of log10 of the norm against k, with the bounds as lines."""
        from ..view.chart import curve

        k, lags = self.steps, np.arange(len(self.steps))[::-1]
        with np.errstate(all="ignore"):
            lines = {"‖∂s(T)/∂s(k)‖": (k, np.log10(self.end))}
            for name, rate in self.bounds.items():
                lines[name] = (k, lags * np.log10(rate))
        return curve(
            lines, title=title or str(self.verdict)[:78], x_label="step k",
            y_label="log10 of the spectral norm",
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(f"{n} {size}" for n, size in zip(self.states, self.sizes, strict=True))
        bounds = "".join(f"; {name} = {number(rate)}" for name, rate in self.bounds.items())
        lags = ("1/e", self.memory()), ("1 %", self.memory(GONE))
        memory = [f"{n} never" if lag is None else f"{n} at lag {lag}" for n, lag in lags]
        head = f"flow over {len(self.steps)} steps of ({names}){bounds}\n{self.verdict}\n"
        rows = zip(range(len(self.steps)), self.steps[::-1], self.end[::-1], strict=True)
        tail = table(("lag", "k", "spectral norm"), rows)
        return head + f"memory: {', '.join(memory)}\n{tail}"


def flow(
    run: Part | Mapping[str, Tensor],
    xs: Any = None,
    state: Any = None,
    *,
    gates: Mapping[str, Tensor] | None = None,
    row: int = 0,
    **how: Any,
) -> Flow:
    """How far gradients get through time: ∂state(t)/∂state(k) of a run, and a verdict (S16, S18).

    run: a cell, then with xs and state and what else its call takes; or all states of a run that
    was made, as return_states=True gives them for one layer, and its gates. row: of the batch. The
    Jacobian of a step is one pull with the identity, and a product of Jacobians is ∂h(t)/∂h(k).

    Raises ValueError for two directions at once, states that are not all, or made of constants (as
    a state that is handed on is, with lengths, unless the first one requires gradients), and no
    steps; RuntimeError for a freed graph.

    >>> cell = tg.nn.RNN(3, 4, rng=0)
    >>> flow = tg.lab.flow(cell, np.ones((30, 1, 3), np.float32))
    >>> flow.jacobians.shape, flow.verdict.word
    ((29, 4, 4), 'vanishes')
    """
    bounds: dict[str, float] = {}
    if isinstance(run, Mapping):
        states = run
    else:
        if isinstance(run, Part) and xs is None:
            raise TypeError("flow: xs is missing: of a cell, flow(cell, xs)")
        if not isinstance(run, Part):
            raise TypeError(
                f"flow: expected a cell and xs, or the states of one layer, got "
                f"{type(run).__name__}. Of a Recurrent give one of what return_states=True returns."
            )
        bounds = _bounds(run)
        with recording(True):
            asked = {"unroll": True, "return_states": True, "return_gates": True, **how}
            state = _begin(run, xs, bool(how.get("batch_first"))) if state is None else state
            *_, states, gates = run(xs, _leaves(state), **asked)
    paths, doors, steps = _read(states, gates or {})
    whole("flow", "row", row, 0, paths[0][0].shape[0] - 1, ", a row of the batch")
    if wrong := [path[0].shape for path in paths if path[0].ndim != 2]:
        raise ValueError(f"flow: expected states (B, size), got one of shape {wrong[0]}")
    sizes = tuple(path[0].shape[1] for path in paths)
    chain = _Chain(paths, doors, row)
    if (broken := np.isnan(chain.jacobians).any((1, 2))).any():
        raise ValueError(
            f"flow: the step t={steps[1 + broken.argmax()]} has NaN for a derivative: "
            "tg.lab.provenance(loss) finds where it comes from"
        )
    end = largest(np.stack(chain.products))
    verdict = _verdict(end, steps, chain)
    return Flow(tuple(states), sizes, steps, chain.jacobians, end, bounds, verdict)


def _begin(cell: Part, xs: Any, batch_first: bool = False) -> Any:
    """The state that a call would begin with; None where it is of no arrays, but of lists."""
    batch = batch_of(cell, xs, batch_first)
    begin = cell.begin(batch or 1)
    if not isinstance(begin, tuple | list) or not all(hasattr(h, "shape") for h in begin):
        return None
    return tuple([h[0] if batch is None else h for h in begin])


def _leaves(state: Any) -> Any:
    """A state that gradients get to, as to all that follow: what is handed on is no constant."""
    return tuple(map(_leaf, state)) if isinstance(state, tuple | list) else state


def _leaf(h: Any) -> Any:
    x = h if isinstance(h, Tensor) else Tensor(h)
    return h if x.tracked or x.dtype.kind != "f" else Tensor(x, requires_grad=True, name=x.name)


def _bounds(cell: Any) -> dict[str, float]:
    """(max f' · σ_max(W))^(t-k) holds from above; ρ(W)^(t-k) is what the linear system tends to."""
    if getattr(type(cell), "step", None) is not RNN.step or cell.untied is not None:
        return {}
    far = np.geomspace(1e-30, 1e4, 400)  # where softplus is steepest
    x = Tensor(np.concatenate([np.linspace(-8, 8, 4001), far, -far]), requires_grad=True)
    with recording(True):
        steepest = float(np.abs(grad(cell.activation(x).sum(), x).data).max())
    W = cell.Wh.data.astype(np.float64)
    radius = float(np.abs(np.linalg.eigvals(W)).max())
    return {"max f' · σ(W)": steepest * float(np.linalg.norm(W, 2)), "ρ(W)": radius}


def _read(states: Mapping[str, Tensor], gates: Mapping[str, Tensor]) -> Any:
    """The tensors of each step, in the order in which the steps ran; and their times."""
    if not states or not all(len(x) for x in states.values()):
        raise ValueError("flow: expected the states of at least one step, got none")
    given = recorded("flow", [*states.values(), *[x for x in gates.values() if x.tracked]])
    paths = [path_of("flow", x) for x in given]
    paths, doors = paths[: len(states)], paths[len(states) :]
    layers = {found[0] for path in paths for h in path if (found := step_of(h.scope))}
    if len(layers) > 1:
        raise ValueError(
            f"flow: expected the states of one loop, got those of {sorted(layers)}. Give one "
            "direction of a Bidirectional: {k: v for k, v in states.items() if 'forward' in k}"
        )
    for name, path in zip(states, paths):  # noqa: B905 (one of each)
        if any(step_of(h.scope) and not h.tracked for h in path):
            raise ValueError(
                f"flow: {name} of some steps is made of constants, so that nothing gets through "
                "it: begin with states made with requires_grad=True"
            )
    steps = np.arange(len(paths[0]))
    if paths[0][0].born > paths[0][-1].born:
        steps = steps[::-1]
    names = [name for name, x in gates.items() if x.tracked]
    ran = set(history([h for path in paths for h in path]))
    if doors and not any(door in ran for path in doors for door in path):
        raise ValueError(f"flow: gates: expected those of the same run as the states, got {names}")
    in_order: Any = lambda path: [path[t] for t in steps]
    return [in_order(p) for p in paths], dict(zip(names, map(in_order, doors), strict=True)), steps


class _Chain:
    """Jacobians of steps in a row, and their products up to the last."""

    def __init__(self, paths: Any, doors: Mapping[str, Any], row: int):
        self.moments = list(zip(*paths, strict=True))
        self.doors, self.row = doors, row
        T, N = len(self.moments), sum(path[0].shape[1] for path in paths)
        self.jacobians = np.zeros((T - 1, N, N))
        for k in range(T - 1):
            (self.jacobians[k],) = self.step(k).pull(np.eye(N))
        self.products = [np.eye(N)]
        with np.errstate(all="ignore"):
            for J in self.jacobians[::-1]:
                self.products.insert(0, self.products[0] @ J)

    def step(self, k: int) -> Step:
        return Step(self.moments[k], self.moments[k + 1], self.row)

    def shares(self, first: int) -> dict[str, float]:
        """What part of ∂state(last)/∂state(first) has come through each gate, step by step.

        Along its strongest direction, from v to u: uᵀ J(last) ... J(first+1) v is a sum over the
        ways through any one step; averaged over the steps.
        """
        last = len(self.products) - 1
        while first < last and not (np.isfinite(M := self.products[first]).all() and M.any()):
            first += 1
        if not self.doors or first == last:
            return {}
        u, s, vt = np.linalg.svd(M)
        forward, found = vt[0], np.zeros(len(self.doors) + 1)
        for k in range(first, len(self.jacobians)):
            back = (u[:, 0] @ self.products[k + 1])[None]
            scale = float(np.abs(back).max()) or 1.0
            doors = [path[k + 1] for path in self.doors.values()]
            ways = [way[0] @ forward for way in self.step(k).pull(back / scale, doors)]
            found += np.array(ways) * scale / s[0]
            forward = self.jacobians[k] @ forward
        found /= len(self.jacobians) - first
        return dict(zip([KEPT, *self.doors], found.tolist(), strict=True))


def _verdict(end: np.ndarray, steps: np.ndarray, chain: _Chain) -> Verdict:
    T, gone, grown = len(end), end < GONE, ~(end <= GROWN)
    rate = float(end[0] ** (1 / max(1, T - 1)))
    word, is_so = ("vanishes", gone) if gone[0] else ("explodes", grown)
    if not is_so[0]:
        return Verdict("carries", None, None, rate, chain.shares(0))
    first = int(np.argmin(is_so)) - 1  # the latest of the first steps that all are so
    return Verdict(word, int(steps[first]), T - 1 - first, rate, chain.shares(first))


def largest(M: np.ndarray) -> np.ndarray:
    """The largest singular value of each matrix of a stack; infinite where not all is finite."""
    finite = np.isfinite(M).all((-2, -1))
    found = np.where(finite, 0.0, np.inf)
    found[finite] = np.linalg.svd(M[finite], compute_uv=False)[:, 0]
    return found
