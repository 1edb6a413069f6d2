"""Weights in torch's own names and layouts, without torch: of its RNN, LSTM and GRU, its Linear,
Embedding and LayerNorm, and modules of these."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import starmap
from reprlib import repr as short
from typing import Any

import numpy as np

from ..nn import RNN, Bidirectional, Embedding, LayerNorm, Linear, Recurrent
from ..nn.cell import Part
from ..nn.module import Module, _walk
from ..tensor import Tensor, replace, wholly
from . import foreign
from .foreign import BIAS_H, BIAS_X, READ_H, READ_X, Arrays, Place

# The rows of a matrix are what stands side by side in the cell, in columns.
NAMES = {
    **{"weight_ih": READ_X, "weight_hh": READ_H, "bias_ih": BIAS_X, "bias_hh": BIAS_H},
    "weight_hr": ("Wr",),
}
LINES: dict[type, dict[str, str]] = {
    Linear: {"W": "weight", "b": "bias"},  # and W the other way round
    Embedding: {"table": "weight"},
    LayerNorm: {"gain": "weight", "shift": "bias"},
}
_NAME = re.compile(rf"({'|'.join(NAMES)})_l(\d+)(_reverse)?")
_NORMED = re.compile(r"parametrizations\.(.+)\.original([01])|(.+)_([gv])")


def from_torch(state: Mapping[str, Any], *, prefix: str = "", **how: Any) -> Recurrent:
    """A layer with the weights of a torch.nn.RNN, LSTM or GRU, which computes what that does.

    state: its `state_dict()` as arrays of floats by name: weight_ih_l0 (G·H, I), weight_hh_l0
    (G·H, H), bias_ih_l0 and bias_hh_l0 (G·H,), with a projection weight_hr_l0 (P, H) and
    weight_hh_l0 (G·H, P); then l1, ..., and the same with _reverse; of an RNNCell, LSTMCell or
    GRUCell without _l0; and of a weight under weight_norm its two parts. The kind of cell, sizes,
    layers, directions, biases and dtype follow from names and shapes; float16 becomes float32. Of a
    file, `tg.io.arrays`. prefix: what stands before these names, such as "encoder."; what lacks it
    is not looked at. how: what a state_dict does not speak of: activation="relu" of an RNN,
    batch_first=True, or another convention= or dtype=.

    Cells have states of their own: torch's h_n is those of layer 0 forward, layer 0 backward, ...
    Raises ValueError that lists all that is missing, unexpected or of another shape.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html

    >>> cell = tg.nn.LSTM(3, 4, convention="torch", rng=0)
    >>> layer = tg.io.from_torch(tg.io.to_torch(cell))
    >>> layer(np.ones((5, 2, 3), np.float32))[0].shape
    (5, 2, 4)
    """
    given = _without(prefix, "from_torch", state)
    kind, inputs, options = _described(given)
    how, merge, around = foreign.divided(how)
    names = [found for found in map(_NAME.fullmatch, given) if found]
    both = any(found[3] for found in names)
    parts: list[Part] = []
    for _ in {found[2] for found in names}:
        cells = [kind(inputs, **(options | how), rng=0) for _ in range(1 + both)]
        parts.append(Bidirectional(*cells, **merge) if both else cells[0])
        inputs = parts[-1].outputs
    foreign.refuse_merge("from_torch", parts, merge)
    layer = Recurrent(*parts, **around)
    _load("from_torch", layer, given)
    return layer


def load_torch(layer: Module, state: Mapping[str, Any], *, prefix: str = "") -> None:
    """Put the weights of a torch module into one of ours, all of them or none.

    layer: a Recurrent, or one of its cells or Bidirectionals, of the same sizes, in any convention:
    the weights are converted, as by `nn.convert`, and cast to its dtype. Also a Linear, Embedding
    or LayerNorm, and a module of all these and of tensors, each by the name that it has there too;
    what is done around their cells, such as a readout, is then the modules' own business. state,
    prefix: as in `from_torch`.

    Raises ValueError that lists all that is missing, unexpected or of another shape, or says what
    the layer has and torch has not: peepholes, a reset gate before the product, modifiers, ...

    >>> cell = tg.nn.RNN(3, 4, bias=2, rng=0)
    >>> tg.io.load_torch(cell, tg.io.to_torch(tg.nn.RNN(3, 4, bias=2, rng=1)))
    >>> bool((cell.Wx == tg.nn.RNN(3, 4, bias=2, rng=1).Wx).data.all())
    True
    """
    if isinstance(layer, Recurrent | Part) or not isinstance(layer, Module):
        _load("load_torch", layer, _without(prefix, "load_torch", state))
        return
    parts, new = _parts("load_torch", layer), dict[Tensor, np.ndarray]()
    starts = tuple([path for path, part in parts.items() if not isinstance(part, Tensor)])
    plain = _stripped(prefix, "load_torch", state)
    given = {name: x for name, x in plain.items() if not name.startswith(starts)}
    for start in starts:
        part = _without(prefix + start, "load_torch", state)
        given |= {start + name: x for name, x in part.items()}
    foreign.fitting("load_torch", _arrays("load_torch", layer), given, HINT)
    for path, part in parts.items():
        if isinstance(part, Recurrent | Part):
            twin = deepcopy(part)
            own = {name[len(path) :]: x for name, x in given.items() if name.startswith(path)}
            _load("load_torch", twin, own)
            made = [x.data for x in twin._leaves().values()]
            found = [*zip(part._leaves().values(), made, strict=True)]
        else:
            arrays = [
                (np.asarray(given[path + name]), x, turned) for name, x, turned in _lines(part)
            ]
            found = [
                (x, (a.T if turned else a).astype(x.dtype, order="C")) for a, x, turned in arrays
            ]
        for x, array in found:
            if not np.array_equal(new.setdefault(x, array), array, equal_nan=True):
                raise ValueError(
                    f"load_torch: nothing was loaded: {path} gives other numbers to a weight that "
                    "stands in another place, too"
                )
    wholly(lambda: deque(starmap(replace, new.items()), 0))


def to_torch(layer: Module) -> Arrays:
    """The weights of a layer or module with the names and layouts of torch's.

    layer: as in `load_torch`, cells of one layer alike, as those of one torch module are. The
    module takes `{name: torch.from_numpy(array) for ...}` as its state_dict; of an LSTMCell without
    the _l0 at their ends.

    Raises ValueError for what torch cannot say.

    >>> sorted(tg.io.to_torch(tg.nn.LSTM(3, 4, rng=0)))
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    return _arrays("to_torch", layer)


HINT = "; of what belongs to other modules, drop it, or give the start of names, prefix='lstm.'"


def _load(who: str, layer: Any, given: Mapping[str, Any]) -> None:
    foreign.load(who, "torch", layer, lambda _: given, _places, True, HINT)


def _parts(who: str, module: Module) -> dict[str, Any]:
    """By the start of their names what torch has, too: layers, and tensors that are in none."""
    found: dict[str, Any] = {}
    inside: tuple[str, ...] = ()
    for path, x in _walk(module, ""):
        start = f"{path}." if path else ""
        if path.startswith(inside):
            continue
        if isinstance(x, Tensor) and x.op is None:
            found[path] = x
        elif isinstance(x, (Recurrent, Part, *LINES)):
            inside = (*inside, start)
            found[start] = Recurrent(*x.cells, share=True) if isinstance(x, Recurrent) else x
    known = {x for part in found.values() for x in _leaves(part)}
    if left := [path for path, x in module._leaves().items() if x not in known]:
        raise ValueError(f"{who}: torch has no place for {left}, tensors of one's own in a layer")
    foreign.refuse_hooks(who, "torch", module)
    return found


def _leaves(part: Any) -> Any:
    if isinstance(part, Tensor):
        return [part]
    if isinstance(part, Recurrent | Part):
        return part._leaves().values()
    return [x for _, x, _ in _lines(part)]


def _lines(x: Any) -> Iterator[tuple[str, Tensor, bool]]:
    """The tensors of what has no steps, by torch's names, and whether there they are turned."""
    if isinstance(x, Tensor):
        yield "", x, False
        return
    if getattr(x, "blocks", 1) > 1:
        raise ValueError("torch has no LayerNorm of several blocks: make one for each")
    for kind, names in LINES.items():
        for ours, theirs in names.items() if isinstance(x, kind) else ():
            if getattr(x, ours) is not None:
                yield theirs, getattr(x, ours), ours == "W"


def _arrays(who: str, layer: Any) -> Arrays:
    if isinstance(layer, Recurrent | Part) or not isinstance(layer, Module):
        cells = foreign.as_in(who, "torch", foreign.copied(who, "torch", layer))
        foreign.check_alike(who, "torch", cells)
        return foreign.arrays_of(_places(cells), turned=True)
    found: Arrays = {}
    for path, part in _parts(who, layer).items():
        if isinstance(part, Recurrent | Part):
            found |= {path + name: x for name, x in _arrays(who, part).items()}
        else:
            for name, x, turned in _lines(part):
                found[path + name] = np.array(x.data.T if turned else x.data, order="C")
    return found


def _places(cells: Mapping[tuple[int, int], Any]) -> Iterator[Place]:
    for (k, backward), cell in cells.items():
        for name, weights in NAMES.items():
            yield Place(f"{name}_l{k}{'_reverse' * backward}", cell, (weights,))


def _stripped(prefix: str, who: str, state: Any) -> dict[str, Any]:
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise TypeError(
            f"{who}: state: expected arrays by name, got {type(state).__name__} {short(state)}; "
            "tg.io.arrays(path) reads them from a file"
        )
    if prefix and any(name.startswith(prefix + ".") for name in state):
        raise ValueError(f"{who}: prefix: expected it with its dot, {prefix + '.'!r}")
    return {name[len(prefix) :]: x for name, x in state.items() if name.startswith(prefix)}


def _without(prefix: str, who: str, state: Any) -> dict[str, Any]:
    """The arrays of a layer, without what stands before their names, by the names of torch's."""
    given = _undone_weight_norm(_stripped(prefix, who, state))
    if not any(map(_NAME.fullmatch, given)):  # a cell of torch's has no layers to count
        given = {name + "_l0" * (name in NAMES): array for name, array in given.items()}
    return given


def _undone_weight_norm(given: Mapping[str, Any]) -> dict[str, Any]:
    """Each weight that is given by its length g and its direction v, as weight_norm does, whole."""
    found = dict(given)
    halves: dict[str, dict[int, str]] = {}
    for name in given:
        if match := _NORMED.fullmatch(name):
            plain, which = match[1] or match[3], match[2] or "gv".index(match[4])
            halves.setdefault(plain, {})[int(which)] = name
    for plain, names in halves.items():
        g, v = (np.asarray(given.get(names.get(k, ""), 0.0)) for k in (0, 1))
        if len(names) == 2 and g.ndim in (0, v.ndim) and {*g.shape} <= {1, *v.shape}:
            rest = tuple(k for k in range(v.ndim) if not g.ndim or g.shape[k] == 1)
            length = np.sqrt(np.square(v, dtype=np.float64).sum(rest, keepdims=True))
            found[plain] = (v * (g / length)).astype(v.dtype)
            del found[names[0]], found[names[1]]
    return found


def _described(given: Mapping[str, Any]) -> tuple[Any, int, dict[str, Any]]:
    """The kind of cell, its inputs, and what to make it with, as the first layer tells."""
    names = ("weight_ih_l0", "weight_hh_l0")
    found = [np.asarray(given[name]) for name in names if name in given]
    if len(found) < 2 or any(x.ndim != 2 for x in found):
        raise ValueError(
            f"from_torch: state: expected matrices {names[0]} and {names[1]}, got "
            f"{sorted(given)[:8]}; what stands before the names can be given as prefix="
        )
    Wx, Wh = found
    projected = np.shape(given.get("weight_hr_l0", Wh.T))
    hidden = projected[-1] if "weight_hr_l0" in given else Wh.shape[1]
    kind = foreign.kind_of_width("from_torch", names[1], Wh.shape[0], hidden)
    bias = any(name.startswith("bias") for name in given)
    options: dict[str, Any] = {"hidden": hidden, "dtype": foreign.widened(Wx.dtype)}
    if kind is RNN:
        return kind, Wx.shape[1], {**options, "bias": 2 * bias}
    if "weight_hr_l0" in given:
        options["projection"] = projected[0]
    return kind, Wx.shape[1], {**options, "bias": bias, "convention": "torch"}
