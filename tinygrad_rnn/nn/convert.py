"""Exact moves between conventions: the same function, its weights laid out in another way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..limits import one_of
from ..ops import sigmoid
from ..tensor import Tensor
from .activations import hard_sigmoid, hard_sigmoid_keras
from .cells import GRU, LSTM, RNN
from .conventions import CONVENTIONS, RESETS, UPDATES, convention_of
from .module import Module, _walk

Made = TypeVar("Made", bound=Module)

TURNED = (sigmoid, hard_sigmoid, hard_sigmoid_keras)  # gates of which 1 - gate(a) is gate(-a)


class Form(NamedTuple):
    """How a cell is written: its blocks in order, its biases, and what the gates of a GRU do."""

    convention: str
    order: str
    biases: tuple[str, ...]
    reset: str = ""
    update: str = ""


def convert(cell: Made, to: str, *, reset: str | None = None, update: str | None = None) -> Made:
    """A copy that computes the same function in another convention, or a refusal.

    cell: an RNN, LSTM or GRU, or any module: what is inside (modifiers, both directions, layers)
    is converted where it has conventions, and copied where it has not. to: a name of
    `nn.CONVENTIONS`. reset, update: of a GRU, instead of the convention's, as when making one;
    reset="after" in "onnx" is its linear_before_reset=1. What no convention speaks of (peepholes,
    projection, norm, clip, activations, ...) stays as it is, and so does a cell without biases.

    Blocks change places, and where z gates the other side, its weights and biases change their
    sign: there and back is the same to the bit. One bias becomes two as (b, 0). Two become one by
    adding them, up to the rounding of that sum; training goes on differently, since two biases
    with the same gradient move twice as far together, as if their learning rate were doubled.

    Raises TypeError if nothing inside has conventions, and ValueError, saying which convention
    would do, where no weights make the same function: a reset gate before the product is none
    after it; a bias that the reset gate multiplies, or that is normalised, cannot be added to
    another; of gates other than sigmoids 1 - z is no z of other weights.

    >>> cell = tg.nn.LSTM(3, 4, rng=0)
    >>> other = tg.nn.convert(cell, "torch")
    >>> cell.order, other.order
    ('figo', 'ifgo')
    >>> xs = np.ones((5, 2, 3), np.float32)
    >>> bool(np.allclose(cell(xs)[0].data, other(xs)[0].data, atol=1e-6))
    True
    """
    convention_of("convert", to)
    twin = deepcopy(cell)
    found = [module for module in twin.modules() if kind_of(module)]
    if not found:
        raise TypeError(
            f"convert: {type(cell).__name__} has no conventions: expected an RNN, LSTM or GRU, or "
            "a module with one inside"
        )
    forms = [form_in(module, to, reset, update) for module in found]
    rewrite_all("convert", twin, found, forms)
    return twin


def rewrite_all(who: str, whole: Module, cells: Sequence[Any], forms: Sequence[Form]) -> None:
    """Write cells of a module in other forms, in place. Raises ValueError for a weight that stands
    in two places: it would be laid out anew in both."""
    places = Counter(x for _, x in _walk(whole, "") if isinstance(x, Tensor))
    for cell, form in zip(cells, forms, strict=True):
        anew = form[1:] != form_of(cell)[1:]  # not only by another name
        for name, x in cell._leaves().items() if anew else ():
            if places[x] > 1:
                raise ValueError(
                    f"{who}: the {name} of this {type(cell).__name__} stands in {places[x]} "
                    f"places, and would be laid out anew in each: give the cell one of its own, "
                    f"cell.{name} = tg.tensor(cell.{name}.data, requires_grad=True)"
                )
    for cell, form in zip(cells, forms, strict=True):
        rewrite(cell, form)


def kind_of(module: Any) -> type | None:
    """RNN, LSTM or GRU, if the step of the module is theirs; None for all others."""
    step = getattr(type(module), "step", None)
    return next((kind for kind in (RNN, LSTM, GRU) if step is kind.step), None)


def form_of(cell: Any) -> Form:
    """The form in which a cell is written."""
    biases = tuple(k for k in ("b", "bh", "bn") if getattr(cell, k, None) is not None)
    said = [getattr(cell, word, "") for word in ("convention", "reset", "update")]
    return Form(said[0], cell.order, biases, *said[1:])


def form_in(cell: Any, to: str, reset: str | None = None, update: str | None = None) -> Form:
    """The form that a cell would have in the convention of that name."""
    how, old = convention_of("convert", to), form_of(cell)
    if kind_of(cell) is GRU:
        biases = how.gru_biases if old.biases else ()
        one_of("convert", "reset", reset, (None, *RESETS))
        one_of("convert", "update", update, (None, *UPDATES))
        return Form(to, how.gru, biases, reset or how.reset, update or how.update)
    order = old.order if kind_of(cell) is RNN else how.lstm
    order = order.replace("f", "") if getattr(cell, "coupled", False) else order
    return Form(to, order, how.lstm_biases if old.biases else ())


def rewrite(cell: Any, form: Form) -> None:
    """Write a cell in another form, in place; on a ValueError it may be half done."""
    old = form_of(cell)
    if old.reset != form.reset:
        fit = [name for name, how in CONVENTIONS.items() if how.reset == old.reset]
        raise ValueError(
            f"convert: GRU: a reset gate that acts {old.reset} the product, as it does here, "
            f"cannot be made to act {form.reset} it, as in {form.convention!r}, by any weights: "
            f"choose one of {fit}, or keep it with reset={old.reset!r}"
        )
    for name in ("bh", "bn"):
        _move_bias(cell, name, form)
    if old.update != form.update:
        _turn(cell, form)
    _reorder(cell, form.order)
    if kind_of(cell) is not RNN:
        cell.convention = form.convention
    if kind_of(cell) is GRU:
        cell.reset, cell.update = form.reset, form.update


def _move_bias(cell: Any, name: str, form: Form) -> None:
    """Give a bias that the form has and the cell has not, or add one to b that has no place."""
    bias, end = getattr(cell, name, None), cell.Wh.shape[-1]
    place = slice(None, end) if name == "bh" else slice(end, None)  # the same gates' part of b
    if bias is None and name in form.biases:
        zeros = np.zeros_like(cell.b.data[place])
        setattr(cell, name, Tensor(zeros, requires_grad=cell.b.requires_grad, name=name))
        cell._frozen += (name,) * ("b" in cell._frozen)
    elif bias is not None and name not in form.biases:
        if bias.data.any():
            _check_addable(cell, name, form)
            total = cell.b.data.copy()
            total[place] += bias.data
            cell.b.data = total
        setattr(cell, name, None)


def _check_addable(cell: Any, name: str, form: Form) -> None:
    if kind_of(cell) is not GRU:
        return
    norm, after = cell.norm is not None, name == "bn" and cell.reset == "after"
    if norm or after:
        fit = [known for known, how in CONVENTIONS.items() if name in how.gru_biases]
        why = "normalised with what it is added to" if norm else "multiplied by the reset gate"
        raise ValueError(
            f"convert: GRU: its {name} is {why}, and cannot be added to b, the one bias that "
            f"{form.convention!r} has there; choose one of {fit}, or set {name} to 0 first"
        )


def _turn(cell: Any, form: Form) -> None:
    """Let z gate what 1 - z did: σ(-a) is 1 - σ(a)."""
    if cell.activations[0] not in TURNED:
        raise ValueError(
            f"convert: GRU: z gates the {cell.update} state, and the {form.update} one in "
            f"{form.convention!r}: that needs gates with 1 - gate(a) = gate(-a), sigmoid or "
            f"hard_sigmoid; keep update={cell.update!r}"
        )
    start = cell.order.index("z") * cell.hidden
    for x in _last_before_gates(cell):
        turned = x.data.copy()
        block = turned[..., start : start + cell.hidden]
        np.negative(block, out=block)
        x.data = turned


def _last_before_gates(cell: Any) -> list[Tensor]:
    """What the gates' sums are linear in: the weights, or the gains behind a norm."""
    found = _gains(cell) or [cell.Wx, cell.Wh, cell.bh]
    return [x for x in (*found, cell.b) if x is not None]


def _gains(cell: Any) -> list[Tensor]:
    norms = [getattr(cell, name, None) for name in ("norm_x", "norm_h")]
    return [norm.gain for norm in norms if norm is not None]


def _reorder(cell: Any, order: str) -> None:
    """Put the blocks of everything that has a block for each gate into another order."""
    for x in (cell.Wx, cell.Wh, cell.b, cell.bh, *_gains(cell)):
        if x is None or order == cell.order:
            continue
        blocks = cell._blocks(x.data)  # in a GRU h is read by two of three
        x.data = np.concatenate([blocks[gate] for gate in order[: len(blocks)]], axis=-1)
    cell.order = order
