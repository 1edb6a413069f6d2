"""Weights of keras.layers.SimpleRNN, LSTM and GRU as Keras lists them, without Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from ..nn import GRU, RNN, Bidirectional, Recurrent
from ..nn.cell import Cell, Part
from ..nn.convert import form_in, form_of, rewrite
from .foreign import (
    BIAS_H,
    BIAS_X,
    READ_H,
    READ_X,
    Arrays,
    beside,
    cells_of,
    fitting,
    kind_of_width,
    put,
)


def from_keras(*layers: Sequence[Any], convention: str | None = None, **how: Any) -> Recurrent:
    """A layer with the weights of SimpleRNN, LSTM or GRU layers, which computes what they do.

    layers: of each the list that its `get_weights()` gives: kernel (I, G·H), recurrent_kernel
    (H, G·H), and, if it has one, the bias, (G·H,), or (2, G·H) of a GRU with reset_after=True; of a
    Bidirectional twice that, forward and backward. convention: only needed for a GRU without bias,
    which does not tell its reset_after: "keras" is True, "keras_reset_before" False; or to have the
    cells in another one. how: what the cells are made with, such as activations, which Keras keeps
    apart from the weights, or another dtype=.

    Raises ValueError for arrays that do not belong together.

    Source: https://keras.io/api/layers/recurrent_layers
    """
    parts: list[Part] = []
    for weights in layers:
        arrays = [np.asarray(array) for array in weights]
        if len(arrays) not in (2, 3, 4, 6):
            raise ValueError(
                "from_keras: layers: expected lists of 2 or 3 arrays, or of 4 or 6 for both "
                f"directions, got {len(arrays)}; give each layer's list by itself"
            )
        step = len(arrays) // (1 + (len(arrays) > 3))
        halves = [arrays[k : k + step] for k in range(0, len(arrays), step)]
        cells = [_made(half, convention, how) for half in halves]
        parts.append(Bidirectional(*cells) if len(cells) == 2 else cells[0])
    layer = Recurrent(*parts)
    _load("from_keras", layer, [array for weights in layers for array in weights])
    return layer


def load_keras(layer: Recurrent | Part, weights: Sequence[Any]) -> None:
    """Put the weights of Keras layers into a layer, all of them or none.

    layer: a Recurrent, or one of its cells or Bidirectionals, of the same sizes, in any convention:
    the weights are converted, as by `nn.convert`, and cast to its dtype. weights: the arrays of all
    its layers in one list, as `keras.Model.get_weights()` gives them; see `from_keras`.

    Raises ValueError that lists all that is missing, unexpected or of another shape, or says what
    the layer has and Keras has not: peepholes, a projection, modifiers, ...
    """
    if not isinstance(weights, list | tuple):
        raise TypeError(
            f"load_keras: weights: expected a list of arrays, got {type(weights).__name__}; of "
            "tg.io.arrays(path) give list(arrays.values())"
        )
    _load("load_keras", layer, weights)


def to_keras(layer: Recurrent | Part) -> list[np.ndarray]:
    """The weights of a layer in the order and layouts of Keras, as `set_weights` takes them.

    Raises ValueError for what Keras cannot say: see `load_keras`.
    """
    return list(_arrays(_in_keras("to_keras", deepcopy(layer))).values())


def _load(who: str, layer: Any, weights: Sequence[Any]) -> None:
    twin = deepcopy(layer)
    forms = [form_of(cell) for cell in cells_of(who, "keras", twin).values()]
    cells = _in_keras(who, twin)
    given = {f"weights[{k}]": array for k, array in enumerate(weights)}
    arrays = iter(fitting(who, _arrays(cells), given).values())
    for cell, form in zip(cells, forms, strict=True):
        put(cell, READ_X, next(arrays))
        put(cell, READ_H, next(arrays))
        if cell.b is not None:
            bias = next(arrays)
            rows = bias.reshape(-1, bias.shape[-1])  # one, or two where the reset acts after
            for names, row in zip((BIAS_X, BIAS_H), rows, strict=False):
                put(cell, names, row)
        rewrite(cell, form)
    layer.load_state_dict(twin.state_dict())


def _in_keras(who: str, layer: Any) -> list[Any]:
    """The cells of a layer, rewritten as Keras has them."""
    cells = list(cells_of(who, "keras", layer).values())
    for cell in cells:
        before = getattr(cell, "reset", "") == "before"
        rewrite(cell, form_in(cell, "keras_reset_before" if before else "keras"))
    return cells


def _arrays(cells: Sequence[Any]) -> Arrays:
    """The arrays of these cells in the order of Keras, numbered."""
    found: list[Any] = []
    for cell in cells:
        found += [beside(cell, READ_X), beside(cell, READ_H)]
        biases = [b for b in (beside(cell, BIAS_X), beside(cell, BIAS_H)) if b is not None]
        found += [np.stack(biases)] if len(biases) == 2 else biases
    return {f"weights[{k}]": array for k, array in enumerate(found)}


def _made(arrays: Sequence[np.ndarray], convention: str | None, how: Mapping[str, Any]) -> Cell:
    """A cell with the sizes of these arrays."""
    kernel, recurrent, *bias = arrays
    if kernel.ndim != 2 or recurrent.ndim != 2:
        raise ValueError(
            "from_keras: layers: expected a kernel (I, G·H) and a recurrent_kernel (H, G·H), got "
            f"shapes {kernel.shape} and {recurrent.shape}"
        )
    inputs, hidden = kernel.shape[0], recurrent.shape[0]
    kind = kind_of_width("from_keras", "recurrent_kernel", recurrent.shape[1], hidden)
    if kind is RNN:
        return RNN(inputs, hidden, **{"dtype": kernel.dtype, "bias": len(bias), **how})
    if kind is GRU and convention is None:
        if not bias:
            raise ValueError(
                "from_keras: a GRU without bias does not tell whether its reset_after was True or "
                'False: give convention="keras" or "keras_reset_before"'
            )
        convention = "keras_reset_before" if bias[0].ndim == 1 else "keras"
    options = {"dtype": kernel.dtype, "bias": bool(bias), "convention": convention or "keras"}
    return kind(inputs, hidden, **{**options, **how})
