"""Weights of keras.layers.SimpleRNN, LSTM and GRU as Keras lists them, without Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..nn import GRU, RNN, Bidirectional, Recurrent
from ..nn.cell import Cell, Part
from . import foreign
from .foreign import BIAS_H, BIAS_X, READ_H, READ_X, Place
from .options import KERAS


def from_keras(*layers: Sequence[Any], convention: str | None = None, **how: Any) -> Recurrent:
    """A layer with the weights of SimpleRNN, LSTM or GRU layers, which computes what they do.

    layers: of each the list that its `get_weights()` gives: kernel (I, G·H), recurrent_kernel
    (H, G·H), and, if it has one, the bias, (G·H,), or (2, G·H) of a GRU with reset_after=True; of a
    Bidirectional twice that, forward and backward. A bias of (2·G·H,) says that they are those of a
    CuDNNGRU or CuDNNLSTM, and they are turned into what those of GRU and LSTM would be. convention:
    only needed for a GRU without bias, which does not tell its reset_after: "keras" is True,
    "keras_reset_before" False; or to have the cells in another one. how: what Keras keeps apart
    from the weights: activations=, whose names mean here what they mean to Keras 3 (those of before
    can be given as functions, such as nn.ACTIVATIONS["hard_sigmoid"]), merge=, readout=, ..., or
    another dtype=; float16 becomes float32.

    Raises ValueError for arrays that do not belong together.

    Source: https://keras.io/api/layers/recurrent_layers

    >>> cell = tg.nn.GRU(3, 4, convention="keras", rng=0)
    >>> layer = tg.io.from_keras(tg.io.to_keras(cell), convention="keras")
    >>> layer(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """
    parts: list[Part] = []
    how, merge, around = foreign.divided(how)
    how = {word: _meant(word, given) for word, given in how.items()}
    for weights in layers:
        if not isinstance(weights, list | tuple):
            raise TypeError(
                "from_keras: layers: expected lists of arrays, one for each layer, as its "
                f"get_weights() gives, got {type(weights).__name__}"
            )
        arrays = [np.asarray(array) for array in weights]
        if len(arrays) not in (2, 3, 4, 6):
            raise ValueError(
                "from_keras: layers: expected lists of 2 or 3 arrays, or of 4 or 6 for both "
                f"directions, got {len(arrays)}; give each layer's list by itself"
            )
        step = len(arrays) // (1 + (len(arrays) > 3))
        halves = [arrays[k : k + step] for k in range(0, len(arrays), step)]
        cells = [_made(half, convention, how) for half in halves]
        parts.append(Bidirectional(*cells, **merge) if len(cells) == 2 else cells[0])
    foreign.refuse_merge("from_keras", parts, merge)
    layer = Recurrent(*parts, **around)
    _load("from_keras", layer, [array for weights in layers for array in weights])
    return layer


def load_keras(layer: Recurrent | Part, weights: Sequence[Any]) -> None:
    """Put the weights of Keras layers into a layer, all of them or none.

    layer: a Recurrent, or one of its cells or Bidirectionals, of the same sizes, in any convention:
    the weights are converted, as by `nn.convert`, and cast to its dtype. weights: the arrays of all
    its layers in one list, as `keras.Model.get_weights()` gives them; see `from_keras`.

    Raises ValueError that lists all that is missing, unexpected or of another shape, or says what
    the layer has and Keras has not: peepholes, a projection, modifiers, ...

    >>> cell = tg.nn.LSTM(3, 4, rng=0)
    >>> weights = [np.ones((3, 16)), np.ones((4, 16)), np.zeros(16)]
    >>> tg.io.load_keras(cell, weights)
    >>> cell.Wx.data.tolist()[0][:3]
    [1.0, 1.0, 1.0]
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

    >>> [w.shape for w in tg.io.to_keras(tg.nn.LSTM(3, 4, rng=0))]
    [(3, 16), (4, 16), (16,)]
    """
    cells = foreign.as_in("to_keras", "keras", foreign.copied("to_keras", "keras", layer))
    return list(foreign.arrays_of(_places(cells)).values())


def _load(who: str, layer: Any, weights: Sequence[Any]) -> None:
    def given(cells: Mapping[Any, Any]) -> dict[str, np.ndarray]:
        arrays, start = [np.asarray(array) for array in weights], 0
        for cell in cells.values():
            end = start + 2 + (cell.b is not None)
            arrays[start:end] = _without_cudnn(arrays[start:end])
            start = end
        return {f"weights[{k}]": array for k, array in enumerate(arrays)}

    foreign.load(who, "keras", layer, given, _places)


def _places(cells: Mapping[Any, Any]) -> Iterator[Place]:
    """The arrays of these cells in the order of Keras, numbered."""
    count = 0
    for cell in cells.values():
        for rows in ((READ_X,), (READ_H,), (BIAS_X, BIAS_H))[: 2 + (cell.b is not None)]:
            yield Place(f"weights[{count}]", cell, rows)
            count += 1


def _meant(word: str, given: Any) -> Any:
    """Activations by the names of Keras, as functions; whatever else there is, as it is."""
    if word == "activations":
        return [_meant("activation", one) for one in given]
    if word != "activation" or not isinstance(given, str):
        return given
    if given not in KERAS:
        raise ValueError(
            f"from_keras: {word}: expected names that Keras has, of {list(KERAS)}, or functions, "
            f"such as those of nn.ACTIVATIONS, got {given!r}"
        )
    return KERAS[given]


def _without_cudnn(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The weights of a cell; those of a CuDNN layer, known by twice the biases, as if of no such.

    There each gate's kernel is the memory of its transpose, and the biases stand in a row.
    """
    if len(arrays) < 3 or arrays[0].ndim != 2 or arrays[1].ndim != 2:
        return arrays
    kernel, recurrent, bias = arrays
    (inputs, width), hidden = kernel.shape, len(recurrent)
    if bias.shape != (2 * width,) or width not in (3 * hidden, 4 * hidden):
        return arrays
    gates = [k.reshape(hidden, inputs).T for k in np.split(kernel, width // hidden, axis=1)]
    turned = [k.T for k in np.split(recurrent, width // hidden, axis=1)]
    two = bias.reshape(2, width)
    both = two if width == 3 * hidden else two.sum(0)  # an LSTM of Keras has one
    return [np.concatenate(gates, axis=1), np.concatenate(turned, axis=1), both]


def _made(arrays: Sequence[np.ndarray], convention: str | None, how: Mapping[str, Any]) -> Cell:
    """A cell with the sizes of these arrays."""
    kernel, recurrent, *bias = arrays
    if kernel.ndim != 2 or recurrent.ndim != 2:
        raise ValueError(
            "from_keras: layers: expected a kernel (I, G·H) and a recurrent_kernel (H, G·H), got "
            f"shapes {kernel.shape} and {recurrent.shape}"
        )
    inputs, hidden = kernel.shape[0], recurrent.shape[0]
    kind = foreign.kind_of_width("from_keras", "recurrent_kernel", recurrent.shape[1], hidden)
    if kind is RNN:
        return RNN(
            inputs,
            hidden,
            rng=0,
            **{"dtype": foreign.widened(kernel.dtype), "bias": len(bias), **how},
        )
    if kind is GRU and convention is None:
        if not bias:
            raise ValueError(
                "from_keras: a GRU without bias does not tell whether its reset_after was True or "
                'False: give convention="keras" or "keras_reset_before"'
            )
        before = bias[0].shape == kernel.shape[1:]
        convention = "keras_reset_before" if before else "keras"
    options = {
        "dtype": foreign.widened(kernel.dtype),
        "bias": bool(bias),
        "convention": convention or "keras",
    }
    return kind(inputs, hidden, rng=0, **{**options, **how})
