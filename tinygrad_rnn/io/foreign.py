"""What the weights of all frameworks share: what stands beside what, and what none can say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..nn import GRU, LSTM, RNN, Bidirectional, Recurrent
from ..nn.activations import ACTIVATIONS
from ..nn.cell import Part
from ..nn.convert import kind_of

Arrays: TypeAlias = "dict[str, np.ndarray]"

# Side by side in a framework's one array, as far as a cell has them.
READ_X, READ_H, BIAS_X, BIAS_H = ("Wx",), ("Wh", "Wn"), ("b",), ("bh", "bn")

# What a framework's cells can have besides.
_KNOWN: dict[str, set[str]] = {
    "torch": {"projection"},
    "keras": set(),
    "onnx": {"peepholes", "clip"},
}


def beside(cell: Any, names: Sequence[str]) -> np.ndarray | None:
    """What a cell has of these weights as one array, side by side; None if it has none."""
    found = [x.data for x in _own(cell, names)]
    return np.concatenate(found, axis=-1) if found else None


def put(cell: Any, names: Sequence[str], array: np.ndarray) -> None:
    """Cut an array into those weights of a cell that stand side by side in it."""
    start = 0
    for x in _own(cell, names):
        end = start + x.shape[-1]
        x.data = array[..., start:end].astype(x.dtype)
        start = end


def _own(cell: Any, names: Sequence[str]) -> Iterator[Any]:
    return (getattr(cell, name) for name in names if getattr(cell, name, None) is not None)


def fitting(who: str, expected: Arrays, given: Mapping[str, Any], hint: str = "") -> Arrays:
    """What is given as arrays, in the order expected, or an error that lists every misfit."""
    arrays = {name: np.asarray(array) for name, array in given.items()}
    wrong = [f"missing {name!r}" for name in expected if name not in arrays]
    wrong += [f"unexpected {name!r}" for name in arrays if name not in expected]
    for name, like in expected.items():
        array = arrays.get(name, like)
        if array.shape != like.shape or array.dtype.kind != "f":
            wrong.append(
                f"{name!r} is {array.dtype}{list(array.shape)}, expected floats{list(like.shape)}"
            )
    if wrong:
        raise ValueError(f"{who}: nothing was loaded: {'; '.join(wrong)}{hint}")
    return {name: arrays[name] for name in expected}


def parts_of(who: str, layer: Any) -> Sequence[Any]:
    """The cells and Bidirectionals of a layer, or the one that was given."""
    parts = layer.cells if isinstance(layer, Recurrent) else [layer]
    if not all(isinstance(part, Part) for part in parts):
        raise TypeError(f"{who}: layer: expected a Recurrent or a cell, got {type(layer).__name__}")
    return parts


def cells_of(who: str, framework: str, layer: Any) -> dict[tuple[int, int], Any]:
    """Every cell by its layer and direction, each one that the framework has too, or a refusal."""
    found = {}
    for k, part in enumerate(parts_of(who, layer)):
        both = isinstance(part, Bidirectional)
        for way, cell in enumerate((part.forward, part.backward) if both else (part,)):
            _check_sayable(who, framework, cell)
            found[k, way] = cell
    if len({id(cell) for cell in found.values()}) < len(found):
        raise ValueError(
            f"{who}: layer: one cell stands in it twice, and {framework} shares no weights between "
            "layers: make two"
        )
    return found


def check_alike(who: str, cells: Mapping[Any, Any]) -> None:
    """Refuse cells that could not be those of one module of a framework."""
    said = {
        (kind_of(cell), cell.hidden, getattr(cell, "projection", None), cell.b is None)
        for cell in cells.values()
    }
    ways = {sum(k == other for other, _ in cells) for k, _ in cells}
    if len(said) * len(ways) != 1:
        raise ValueError(
            f"{who}: layer: expected cells of one kind and size, with as many biases and "
            "directions, as one module has them; give them one by one"
        )


def kind_of_width(who: str, name: str, width: int, hidden: int) -> Any:
    """LSTM, GRU or RNN: how many gates beside each other read the state."""
    kinds = {4 * hidden: LSTM, 3 * hidden: GRU, hidden: RNN}
    if not hidden or width not in kinds:
        raise ValueError(
            f"{who}: {name}: expected 4, 3 or 1 times {hidden} units, for an LSTM, a GRU or an "
            f"RNN, got {width}"
        )
    return kinds[width]


def _check_sayable(who: str, framework: str, cell: Any) -> None:
    """Refuse a cell that computes what the framework's do not, whatever its weights."""
    kind = kind_of(cell)
    if kind is None:
        inside = hasattr(cell, "cell")
        hint = "; give the cell inside, which is its .cell" if inside else ""
        raise ValueError(
            f"{who}: {framework} has no {type(cell).__name__}: expected RNN, LSTM or GRU{hint}"
        )
    has = {
        "peepholes": getattr(cell, "P", None) is not None,
        "projection": getattr(cell, "Wr", None) is not None,
        "coupled gates": getattr(cell, "coupled", False),
        "norm": getattr(cell, "norm", None),
        "clip": cell.clip is not None,
        "untied weights": getattr(cell, "untied", None),
        "such activations": not _are_known(framework, kind, cell),
    }
    more = [word for word, there in has.items() if there and word not in _KNOWN[framework]]
    if more:
        raise ValueError(
            f"{who}: {framework}'s {kind.__name__} has no {', no '.join(more)}: make the cell "
            "without, or keep it as it is by tg.io.save(path, layer.state_dict())"
        )


def _are_known(framework: str, kind: type, cell: Any) -> bool:
    """Whether the framework has a cell with these activations."""
    tanh, relu, sigmoid = (ACTIVATIONS[name] for name in ("tanh", "relu", "sigmoid"))
    if framework == "onnx":
        return True
    if kind is RNN:
        return framework == "keras" or cell.activation in (tanh, relu)
    gate, candidate, *squash = cell.activations
    if framework == "keras":  # it has one for the gates, and one for the rest
        return squash in ([], [candidate])
    return gate is sigmoid and {candidate, *squash} == {tanh}
