"""Real-time recurrent learning: the exact gradient of a recurrence, carried forward in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..nn.cell import Cell, check_part
from ..nn.module import as_floats
from ..nn.moment import Moment
from ..nn.recurrent import check_state
from ..randomness import generator
from ..tape.itemised import Bundle, batched
from ..tensor import Tensor, history, no_grad, recording, replace
from ..transforms.functions import got, grad
from ..transforms.tangents import refuse_changed
from .steps import named_weights, refuse_clipped
from .table import table

Loss = Callable[[Tensor, int], Tensor | None]
Arrays = dict[str, np.ndarray]  # by weight


def rtrl(
    cell: Cell, xs: Any, loss: Loss, state: Any = None, *, weights: Any = None
) -> tuple[float, Arrays]:
    """The loss of a sequence and its exact gradient, computed forward in time: no step is kept.

    xs (T, B, inputs) and state are as for `cell(xs, state)`; `loss(y, t)` is what the output y of
    step t costs, one number, or None. Returns Σ_t loss(y(t), t) and its gradient by weight, that of
    backpropagation through time. weights: a tensor, several, or a module, by default the cell; what
    xs, state and loss read may be among them.

    With the states of all rows as one vector h, the influence J of the weights w goes along with it
    (Robinson & Fallside 1987; Williams & Zipser 1989, who call its numbers p):

        J(t) = ∂h(t)/∂h(t-1) J(t-1) + ∂h(t)/∂w
        ∂loss(t)/∂w = ∂loss(t)/∂h(t) J(t), and what loss(t) has of w by itself

    J has as many numbers as states times weights, whatever T is. To learn at every step, see
    `rtrl_steps`; to compare with other ways, `assert_agree`.

    Raises ValueError for a cell that asks for something at each step, such as a mask; for a
    gradient that is clipped; for T = 0; for a loss that is not such a number, or reads older steps.

    >>> cell, xs = tg.nn.GRU(3, 4, rng=0), np.ones((5, 2, 3), np.float32)
    >>> loss, gradients = tg.lab.rtrl(cell, xs, lambda y, t: (y * y).sum())
    >>> (cell(xs)[0] ** 2).sum().backward()
    >>> np.allclose(gradients["Wn"], cell.Wn.grad.data, atol=1e-5)
    True
    """
    total, sums = 0.0, Arrays()
    for cost, gradients, _ in rtrl_steps(cell, xs, loss, state, weights=weights):
        total += cost
        sums = {name: sums.get(name, 0) + g for name, g in gradients.items()}
    if not sums:
        raise ValueError("rtrl: xs: expected at least one step, got T = 0")
    return total, sums


def rtrl_steps(
    cell: Cell, xs: Iterable[Any], loss: Loss, state: Any = None, *, weights: Any = None
) -> Iterator[tuple[float, Arrays, Arrays]]:
    """The steps of `rtrl` one by one, each with the gradient of its own loss: to learn as it runs.

    Arguments as there; xs may be whatever gives one x(t) (B, inputs) after another, without end.
    Each step is its loss, the gradient of that by weight, and the influence J by weight, (numbers,
    *shape): how each number of the states moves with it, those of the first state, row by row,
    first.

    The weights may be changed after each step. J is then that of the weights as they were, each
    step's own: the gradient is no longer exactly that of any one set of weights, but near it if
    they change slowly (Williams & Zipser 1989).

    >>> cell, xs = tg.nn.RNN(1, 4, rng=0), np.ones((50, 1, 1), np.float32)
    >>> sgd, losses = tg.optim.SGD(cell, lr=0.1), []
    >>> for loss, gradients, J in tg.lab.rtrl_steps(cell, xs, lambda y, t: ((y - 1) ** 2).sum()):
    ...     for name, W in cell.named_parameters():
    ...         W.grad = gradients[name]
    ...     sgd.step()
    ...     losses.append(loss)
    >>> losses[-1] < 0.01 * losses[0]
    True
    """
    named = _checked(cell, loss, weights)
    wanted, h, J = list(named), list[Tensor](), np.zeros(0)
    for t, given in enumerate(xs):
        with recording(True):
            x = as_floats("rtrl", "xs", given, cell.dtype)
            batch = x.shape[0] if not t else h[0].shape[0]
            if x.ndim != 2 or x.shape != (batch, cell.inputs):
                raise ValueError(f"rtrl: xs: expected (T, B, {cell.inputs}), a step is {x.shape}")
            if not t:
                begin = cell.begin(len(x)) if state is None else check_state(cell, state, len(x))
                h, J = _leaves(cell, begin), _derivatives(_moving(begin), wanted)
            with Moment(1).at(()):
                new = cell.advance(x, *h)
                slopes = _derivatives(_moving(new), [*_moving(h), *wanted])
                by_state, by_weight = np.split(slopes, [len(J)], axis=1)
                h, J = _leaves(cell, new), by_state @ J + by_weight
                y = cell.output(x, *h)
            cost = 0 * y.sum() if (cost := loss(y, t)) is None else cost
            if not isinstance(cost, Tensor) or cost.size != 1 or not cost.tracked:
                expected = f"expected one number computed from y at step {t}, or None, {got(cost)}"
                raise ValueError(f"rtrl: loss: {expected}")
            slopes = _derivatives([cost], [*_moving(h), *wanted])
            by_state, by_weight = np.split(slopes, [len(J)], axis=1)
        found = _parts((by_state @ J + by_weight)[0], wanted), _parts(J, wanted)
        gradients, influence = (dict(zip(named.values(), a, strict=True)) for a in found)
        yield cost.item(), gradients, influence


def _checked(cell: Cell, loss: Any, weights: Any) -> dict[Tensor, str]:
    """The weights and what they are called; refused where the gradient would not be exact."""
    check_part("rtrl", "cell", cell)
    if not callable(loss):
        raise TypeError(f"rtrl: loss: expected a function of y and its step t, {got(loss)}")
    if asking := [type(m).__name__ for m in cell.modules() if m.draws]:
        raise ValueError(
            f"rtrl: cell: expected a step of x and the state alone, got {asking[0]}, which asks "
            "for more at each, such as a mask. cell.eval() switches dropout off."
        )
    named = named_weights("rtrl", cell if weights is None else weights)
    if not named or not all(w.tracked for w in named):
        names = [*named.values()]
        raise ValueError(f"rtrl: weights: expected tensors that require gradients, got {names}")
    return named


def _leaves(cell: Cell, states: Sequence[Tensor]) -> list[Tensor]:
    """States without their past, for which the influence stands."""
    leaves = [Tensor(s.data, requires_grad=s.dtype.kind == "f") for s in states]
    for name, h in zip(cell.state, leaves, strict=True):
        h.name, h.attrs = name, {"carried": True} if h.requires_grad else {}
    return leaves


def _moving(states: Sequence[Tensor]) -> list[Tensor]:
    """Those that a small change of a weight may move: no whole numbers."""
    return [s for s in states if s.dtype.kind == "f"]


def _derivatives(outputs: Sequence[Tensor], wrt: Sequence[Tensor]) -> np.ndarray:
    """How the numbers of some tensors, in rows, move with those of others: in one pass."""
    nodes, wanted = history(outputs), set(wrt)
    refuse_clipped("rtrl", nodes)
    refuse_changed(nodes)
    if older := [x for x in nodes if "carried" in x.attrs and x not in wanted]:
        raise ValueError(
            f"rtrl: reads {older[0].name} of another step: make it a state, or detach it"
        )
    units = np.eye(sum(y.size for y in outputs), dtype=outputs[0].dtype)
    numbers = np.arange(len(units))
    starts = [(y, Bundle(numbers, a)) for y, a in zip(outputs, _parts(units, outputs), strict=True)]
    found = {x: g.arrays for x, g, _ in batched(starts, wanted) if x in wanted}
    still = {x: np.zeros((len(units), *x.shape), x.dtype) for x in wrt if x not in found}
    return np.concatenate([(found | still)[x].reshape(len(units), x.size) for x in wrt], axis=1)


def _parts(columns: np.ndarray, tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Columns, one for each number of some tensors, cut into the shapes of these."""
    cuts = np.cumsum([x.size for x in tensors])[:-1]
    parts = zip(np.split(columns, cuts, axis=-1), tensors, strict=True)
    return [a.reshape(*columns.shape[:-1], *x.shape) for a, x in parts]


# -- beside the other ways ------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """How far apart three gradients of a cell's weights are.

    rows: for each weight the largest number of its gradient by BPTT, and how far from that gradient
    those by RTRL and by differences are at most, as a share of that number, or of a thousandth of
    the largest of all.

    >>> list(tg.lab.assert_agree(tg.nn.RNN(3, 4, rng=0)).rows)
    ['Wh', 'Wx', 'b']
    """

    rows: dict[str, tuple[float, ...]]

    def __repr__(self) -> str:
        head = ("weight", "largest by BPTT", "RTRL is off by", "differences by")
        return table(head, [(name, *row) for name, row in self.rows.items()])


def assert_agree(cell: Cell, xs: Any = None, *, tolerance: float = 1e-6) -> Agreement:
    """Assert that three gradients of a cell's weights are one, and return how far apart they are.

    Backpropagation through time, as it is compiled; real-time recurrent learning (`rtrl`), which
    has the rules of ops in common with it, but no loop and no way back; and central differences,
    which need no rule. The loss is a random sum of all outputs over xs (T, B, inputs), by default
    five random steps of two rows. Work is in float64, on a copy. Of a weight of more than 100
    numbers, differences are taken by 100. Meant for sizes like those of a test.

    Raises AssertionError, with the table, where differences are off by more than the tolerance or
    RTRL by more than 1e-10. Differences alone are off where an op's derivative is wrong, where
    something is detached, and at a kink.

    >>> tg.lab.assert_agree(tg.nn.RNN(3, 4, rng=0))
    weight  largest by BPTT  RTRL is off by  differences by
        Wh ...
        Wx ...
         b ...
    >>> class Cut(tg.nn.RNN):
    ...     def step(self, x, h):
    ...         return super().step(x, h.detach())
    >>> tg.lab.assert_agree(Cut(3, 4, rng=0))
    Traceback (most recent call last):
    AssertionError: assert_agree: Cut: gradients differ...
    """
    check_part("assert_agree", "cell", cell)
    cell, rng = _in_float64(cell), generator("assert_agree", 0)
    xs = rng.normal(size=(5, 2, cell.inputs)) if xs is None else np.asarray(xs, np.float64)
    ways = rng.normal(size=(*xs.shape[:-1], cell.outputs))
    forward = rtrl(cell, xs, lambda y, t: (y * ways[t]).sum())[1]
    found = grad(lambda cell: (cell(xs)[0] * ways).sum())(cell)
    backward = {name: g.data for name, g in found.items()}
    least, rows = 1e-3 * max(abs(g).max() for g in backward.values()) or 1.0, {}
    for name, W in cell.named_parameters():
        some, largest = rng.permutation(W.size)[:100], abs(backward[name]).max()
        slopes = np.array([_slope(cell, xs, ways, W, k) for k in some])
        off = forward[name] - backward[name], slopes - backward[name].reshape(-1)[some]
        rows[name] = (float(largest), *[float(abs(a).max() / max(largest, least)) for a in off])
    agreement = Agreement(rows)
    if not all(a <= 1e-10 and b <= tolerance for _, a, b in rows.values()):
        raise AssertionError(f"assert_agree: {type(cell).__name__}: gradients differ\n{agreement}")
    return agreement


@no_grad()
def _slope(cell: Cell, xs: np.ndarray, ways: np.ndarray, W: Tensor, k: int) -> float:
    """How the loss moves with one number of a weight, by a central difference.

    A wider step would meet more kinks, a smaller one leave fewer digits.
    """
    before, ends = W.data, []
    for step in (1e-6, -1e-6):
        replace(W, before + step * (np.arange(W.size) == k).reshape(W.shape))
        ends.append(cell(xs)[0].data)
    replace(W, before)
    return float(((ends[0] - ends[1]) * ways).sum() / 2e-6)


def _in_float64(cell: Cell) -> Cell:
    """A copy that computes in float64."""
    twin = deepcopy(cell)
    for module in twin.modules():
        module.__dict__["dtype"] = np.dtype(np.float64)
    for x in [x for x in twin._leaves().values() if x.dtype.kind == "f"]:
        replace(x, x.data.astype(np.float64))
    return twin
