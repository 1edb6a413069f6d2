"""Weights of the recurrent nodes of the ONNX standard, as it stacks them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn.cell import Part
from ..nn.convert import form_in, rewrite_all
from .foreign import BIAS_H, BIAS_X, READ_H, READ_X, Arrays, beside, cells_of, check_alike, copied


def to_onnx(part: Part) -> Arrays:
    """The inputs W, R, B and P of an RNN, LSTM or GRU node that computes what the part does.

    part: a cell or a Bidirectional, or a Recurrent of one. W is (directions, G·H, I), R
    (directions, G·H, H), B (directions, 2·G·H) unless there are no biases, P (directions, 3·H) with
    peepholes. Coupled gates leave zeros where those of the forget gate would stand. The node's
    attributes, such as linear_before_reset and input_forget, are `tg.io.settings("onnx", part)[0]`.

    ONNX Runtime differs from the standard where an LSTM is clipped, not clipping what goes into h,
    and takes neither float64 nor layout=1. Raises ValueError for what ONNX cannot say: projections,
    norms, modifiers, ...

    Source: https://onnx.ai/onnx/operators

    >>> node = tg.io.to_onnx(tg.nn.LSTM(3, 4, rng=0))
    >>> {name: array.shape for name, array in node.items()}
    {'W': (1, 16, 3), 'R': (1, 16, 4), 'B': (1, 32)}
    """
    cells = cells_of("to_onnx", "onnx", part := copied("to_onnx", "onnx", part))
    check_alike("to_onnx", "onnx", cells)
    forms = [form_in(cell, "onnx", getattr(cell, "reset", None)) for cell in cells.values()]
    rewrite_all("to_onnx", part, [*cells.values()], forms)
    stacks = [_stack(cell) for cell in cells.values()]
    likes = {name: array for stack in stacks for name, array in stack.items()}
    return {
        name: np.array([stack.get(name, np.zeros_like(like)) for stack in stacks], order="C")
        for name, like in likes.items()
    }


def _stack(cell: Any) -> Arrays:
    """What a node has of one direction."""
    found = {}
    for name, parts in (("W", READ_X), ("R", READ_H), ("B", BIAS_X + BIAS_H)):
        array = beside(cell, parts)
        if array is not None:
            found[name] = array.T if not getattr(cell, "coupled", False) else _spaced(array, cell)
    if getattr(cell, "P", None) is not None:
        found["P"] = cell.P.data[[0, 2, 1]].ravel()  # i, o, f
    return found


def _spaced(array: np.ndarray, cell: Any) -> np.ndarray:
    """Blocks i, o, g as i, o, f, g, once or, of biases, twice, with zeros in the place of f."""
    blocks = array.T.reshape(-1, 3, cell.hidden, *array.shape[:-1])
    return np.insert(blocks, 2, 0.0, axis=1).reshape(-1, *array.shape[:-1])
