"""Weights of the recurrent nodes of the ONNX standard, as it stacks them."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from ..nn.cell import Part
from ..nn.convert import form_in, rewrite
from .foreign import BIAS_H, BIAS_X, READ_H, READ_X, Arrays, beside, cells_of, check_alike


def to_onnx(part: Part) -> Arrays:
    """The inputs W, R, B and P of an RNN, LSTM or GRU node that computes what the part does.

    part: a cell or a Bidirectional. W is (directions, G·H, I), R (directions, G·H, H), B
    (directions, 2·G·H) unless there are no biases, P (directions, 3·H) with peepholes. The rest is
    said by attributes of the node: linear_before_reset=1 for a GRU with `cell.reset` "after", clip,
    activations, direction.

    Raises ValueError for what ONNX cannot say: projections, norms, modifiers, ...

    Source: https://onnx.ai/onnx/operators
    """
    cells = cells_of("to_onnx", "onnx", deepcopy(part))
    if len({layer for layer, _ in cells}) > 1:
        raise ValueError("to_onnx: part: a node has one layer; give the layer's cells one by one")
    check_alike("to_onnx", cells)
    found: dict[str, list[np.ndarray]] = {}
    for cell in cells.values():
        rewrite(cell, form_in(cell, "onnx", getattr(cell, "reset", None)))
        for name, parts in (("W", READ_X), ("R", READ_H), ("B", BIAS_X + BIAS_H)):
            array = beside(cell, parts)
            if array is not None:
                found.setdefault(name, []).append(array.T)
        if getattr(cell, "P", None) is not None:
            found.setdefault("P", []).append(cell.P.data[[0, 2, 1]].ravel())  # i, o, f
    return {name: np.stack(arrays) for name, arrays in found.items()}
