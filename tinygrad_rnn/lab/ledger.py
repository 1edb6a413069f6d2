"""The ledger of a gradient: what each step's output adds to it at each step before (S14)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..limits import one_of
from ..optim.clip import euclidean
from ..tape.itemised import ABOVE, Bundle, Itemised, batched
from ..tape.words import step_of
from ..tensor import Tensor, history
from .steps import in_parts, named_weights
from .table import table

FEW = 1_000_000  # numbers of all terms together that are kept without being asked for
ROOM = 16_000_000  # numbers of the terms of one weight at one step: more parts are done later


@dataclass(frozen=True)
class Lags:
    """The terms of a gradient, added up by how many steps t - k they go back.

    lags (L,); norms (L,) of each sum; sums (L, *shape) themselves; shares (L,), signed: what part
    of the whole gradient each makes up, measured along it. The shares add up to 1, less what
    reaches the weight by no step.

    >>> cell = tg.nn.RNN(3, 4, rng=0)
    >>> ys, _ = cell(np.ones((4, 1, 3), np.float32))
    >>> tg.lab.ledger((ys * ys).sum(), cell.Wh).by_lag().lags.tolist()
    [0, 1, 2, 3]
    """

    lags: np.ndarray
    norms: np.ndarray
    sums: np.ndarray
    shares: np.ndarray

    def __repr__(self) -> str:
        rows = zip(self.lags, self.norms, self.shares, strict=True)
        return table(("lag", "Frobenius norm", "share"), rows)


@dataclass(frozen=True)
class Ledger:
    """Every term (t, k) of the gradients of weights that steps share.

    names: of the weights. parts (P,) and steps (K,): which t and which k there are. terms: by name,
    the Frobenius norm of each term (P, K). arrays: by name all terms (P, K, *shape), if they are
    few or were asked for. rest: by name what reaches the weight through no step, as of a weight
    that the loss reads too.

    >>> cell = tg.nn.RNN(3, 4, rng=0)
    >>> ys, _ = cell(np.ones((4, 1, 3), np.float32))
    >>> ledger = tg.lab.ledger((ys * ys).sum(), cell)
    >>> ledger.names, ledger.total("Wh").shape, ledger.by_lag("Wh").lags.tolist()
    (['Wh', 'Wx', 'b'], (4, 4), [0, 1, 2, 3])
    >>> ledger.draw("Wh").save("ledger.svg")
    """

    parts: np.ndarray
    steps: np.ndarray
    terms: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    rest: dict[str, np.ndarray]
    _sums: dict[str, tuple[np.ndarray, np.ndarray]] = field(repr=False)  # lags, and their sums

    @property
    def names(self) -> list[str]:
        """The weights there are."""
        return list(self.terms)

    def total(self, name: str | None = None) -> np.ndarray:
        """The sum of all terms, and the rest: the gradient that `backward()` leaves."""
        name = self._named(name)
        return self._sums[name][1].sum(0) + self.rest[name]

    def by_lag(self, name: str | None = None) -> Lags:
        """The terms added up by how far they go back."""
        name = self._named(name)
        lags, sums = self._sums[name]
        whole = self.total(name).reshape(-1)
        flat = sums.reshape(len(lags), whole.size)  # there may be no lag, or no element
        size = float(whole @ whole)
        shares = flat @ whole / size if size else np.zeros(len(lags))
        return Lags(lags, np.sqrt((flat * flat).sum(1)), sums, shares)

    def draw(self, name: str | None = None, *, words: Sequence[str] = ()) -> Any:
        """A picture of the norms of one weight's terms: rows t, columns k, words along both."""
        from ..view.heat import heat_map

        name = self._named(name)
        return heat_map(
            self.terms[name], rows=self.parts, columns=self.steps, words=words,
            title=f"What the loss at t adds to the gradient of {name} at step k",
        )  # fmt: skip

    def _named(self, name: str | None) -> str:
        if name is None and len(self.terms) == 1:
            return self.names[0]
        return str(one_of("ledger", "name", name, self.names))

    def __repr__(self) -> str:
        rows = []
        for name in self.names:
            lags = self.by_lag(name)
            near = float(lags.shares[abs(lags.lags) <= 1].sum())
            size = euclidean([self.total(name)])
            rows.append((name, "×".join(map(str, self.rest[name].shape)), size, near))
        head = f"ledger of {len(self.parts)} parts of the loss at {len(self.steps)} steps\n"
        return head + table(("weight", "shape", "Frobenius norm", "share of lag ≤ 1"), rows)


def ledger(loss: Tensor | Sequence[Tensor], weights: Any, *, arrays: bool | None = None) -> Ledger:
    """Every term of the gradient of shared weights, ∂L(t)/∂W at step k = s(k-1)ᵀ δ(k) (S14).

    loss: one number, cut by the steps t whose output it reads; or a list of numbers, one for each
    t. weights: a tensor, several, or a module. arrays: keep every term, and not only its norm; by
    default when they are few. Terms add up to `W.grad`, and no `.grad` is touched. A compiled loop
    is expanded into its steps. Two loops over the same cell count their steps together.

    Raises ValueError for a loss without steps, for weights that it does not depend on, and where
    `clip_gradient` makes the gradient no sum of its parts; RuntimeError for a freed graph.

    >>> cell = tg.nn.RNN(3, 4, rng=0)
    >>> ys, _ = cell(np.ones((4, 1, 3), np.float32))
    >>> ledger = tg.lab.ledger((ys * ys).sum(), cell.Wh)
    >>> ledger.parts.tolist(), ledger.steps.tolist()
    ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    wanted = named_weights("ledger", weights)
    parts, _ = in_parts("ledger", loss)
    nodes = set(history([y for y, _ in parts.starts]))
    missing = [name for x, name in wanted.items() if x not in nodes or not x.tracked]
    if missing or not wanted:
        raise ValueError(
            f"ledger: weights: expected tensors that the loss depends on and that require "
            f"gradients, got {missing or 'none'}"
        )
    return _Maker(parts, wanted, arrays).ledger()


class _Maker:
    """The work on one ledger."""

    def __init__(self, parts: Itemised, wanted: dict[Tensor, str], arrays: bool | None):
        self.parts, self.wanted = parts, wanted
        nodes = parts.nodes
        self.made = _made_before(nodes, set(wanted))
        self.steps = sorted({found[1] for y in nodes if (found := step_of(y.scope))})
        self.column = {t: k for k, t in enumerate(self.steps)}
        grid = len(parts.labels), len(self.steps)
        few = np.prod(grid) * sum(x.size for x in wanted) <= FEW
        keep = few if arrays is None else arrays
        self.terms = {x: np.zeros(grid) for x in wanted}
        self.arrays = {x: np.zeros((*grid, *x.shape)) for x in wanted if keep}
        self.rest = {x: np.zeros(x.shape) for x in wanted}
        self.labels = np.array(parts.labels)
        lags = np.unique(self.labels[:, None] - np.array(self.steps))
        self.lags = np.arange(lags[0], lags[-1] + 1)
        self.sums = {x: np.zeros((len(self.lags), *x.shape)) for x in wanted}
        self.known = {x: np.zeros(len(self.lags), bool) for x in wanted}

    def ledger(self) -> Ledger:
        most = max(1, ROOM // max(x.size for x in self.wanted))
        for low in range(0, len(self.labels), most):
            self._add(range(low, low + most))
        named: Any = lambda found: {self.wanted[x]: a for x, a in found.items()}
        return Ledger(
            self.labels, np.array(self.steps),
            named(self.terms), named(self.arrays), named(self.rest),
            named({x: (self.lags[own], self.sums[x][own]) for x, own in self.known.items()}),
        )  # fmt: skip

    def _add(self, some: range) -> None:
        """All terms of some parts, in one backward pass; each is entered when it is whole."""
        last = self._last_readers()
        sums: dict[tuple[int | None, Tensor], Bundle] = {}
        for y, _, terms in self.parts.backward([*self.wanted, *self.made], self.made, some):
            step = step_of(y.scope)
            for x, term in terms:
                for w, g in self._passed_on(x, term):
                    key = step[1] if step else None, w
                    sums[key] = g.plus(sums.get(key))
            for key in last.get(y, ()):
                if key in sums:
                    self._enter(*key, sums.pop(key), some)
        for key, g in sums.items():
            self._enter(*key, g, some)

    def _last_readers(self) -> dict[Tensor, list[tuple[int | None, Tensor]]]:
        """The terms, by step and weight, that are whole when the pass was at each tensor."""
        reads = {x: [x] for x in self.wanted}
        reads |= {x: [w for w in history([x]) if w in self.wanted] for x in self.made}
        last: dict[tuple[int | None, Tensor], Tensor] = {}
        for y in self.parts.nodes[::-1]:
            if step := step_of(y.scope):
                last |= {(step[1], w): y for x in y.inputs for w in reads.get(x, ())}
        found: dict[Tensor, list[tuple[int | None, Tensor]]] = {}
        for key, y in last.items():
            found.setdefault(y, []).append(key)
        return found

    def _passed_on(self, x: Tensor, term: Bundle) -> Iterator[tuple[Tensor, Bundle]]:
        """What came to something that was made of weights before the loop, passed on to them."""
        if x in self.wanted:
            yield x, term
        elif x in self.made and len(term.parts):
            for w, g, _ in batched([(x, term)], self.wanted):
                if w in self.wanted:
                    yield w, g

    def _enter(self, t: int | None, x: Tensor, term: Bundle, some: range) -> None:
        parts, g = term
        if t is None:
            new = parts >= (0 if some.start else ABOVE)  # what is above all parts counts once
            self.rest[x] += g[new].sum(0)
            return
        k, lags = self.column[t], self.labels[parts] - t - self.lags[0]
        self.terms[x][parts, k] = term.norms()
        if x in self.arrays:
            self.arrays[x][parts, k] = g
        self.sums[x][lags] += g
        self.known[x][lags] = True


def _made_before(nodes: Sequence[Tensor], wanted: set[Tensor]) -> set[Tensor]:
    """What steps read that was made of weights before them, such as a weight with a mask."""
    inside, leads = set(), set(wanted)
    read: set[Tensor] = set()
    for y in nodes:
        is_step = step_of(y.scope) is not None
        if is_step or any(x in inside for x in y.inputs):
            inside.add(y)
        if any(x in leads for x in y.inputs):
            leads.add(y)
        if is_step:
            read.update(y.inputs)
    return {x for x in read if x.op and x in leads and x not in inside and x not in wanted}
