"""What the weights of all frameworks share: what stands beside what, and what none can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..limits import native, one_of
from ..nn import GRU, LSTM, RNN, Bidirectional, Recurrent
from ..nn.cell import Part
from ..nn.convert import form_in, form_of, kind_of, rewrite, rewrite_all
from ..nn.hooks import hooks_of
from ..nn.module import Module, misfits
from ..nn.recurrent import MAKING
from .options import Settings, refuse, said_by

Arrays: TypeAlias = "dict[str, np.ndarray]"

# Side by side in a framework's one array, as far as a cell has them.
READ_X, READ_H, BIAS_X, BIAS_H = ("Wx",), ("Wh", "Wn"), ("b",), ("bh", "bn")


def beside(cell: Any, names: Sequence[str]) -> np.ndarray | None:
    """What a cell has of these weights as one array, side by side; None if it has none."""
    found = [x.data for x in _own(cell, names)]
    return np.concatenate(found, axis=-1) if found else None


def _own(cell: Any, names: Sequence[str]) -> list[Any]:
    return [x for name in names if (x := getattr(cell, name, None)) is not None]


class Place(NamedTuple):
    """One array of a framework: which weights of a cell it holds, a row of them or two."""

    name: str
    cell: Any
    rows: tuple[Sequence[str], ...]


def arrays_of(places: Iterable[Place], turned: bool = False) -> Arrays:
    """The arrays of these places, without those of which the cells have nothing."""
    found = {}
    for place in places:
        rows = [x for x in (beside(place.cell, names) for names in place.rows) if x is not None]
        if rows:
            array = rows[0] if len(rows) == 1 else np.stack(rows)
            found[place.name] = np.array(array.T if turned else array, order="C")
    return found


def as_in(who: str, framework: str, layer: Any) -> dict[tuple[int, int], Any]:
    """The cells of a layer, see `cells_of`, rewritten in place as the framework has them."""
    cells, forms = cells_of(who, framework, layer), []
    for cell in cells.values():
        before = getattr(cell, "reset", "") == "before"  # of these only Keras has it
        forms.append(form_in(cell, "keras_reset_before" if before else framework))
    rewrite_all(who, layer, [*cells.values()], forms)
    return cells


def load(
    who: str, framework: str, layer: Any, given: Callable[[Any], Mapping[str, Any]],
    places: Callable[[Any], Iterable[Place]], turned: bool = False, hint: str = ""
) -> None:  # fmt: skip
    """Put a framework's arrays, those `given` for its cells, into a layer: all of them or none."""
    twin = deepcopy(layer)
    forms = [form_of(cell) for cell in cells_of(who, framework, twin).values()]
    cells = as_in(who, framework, twin)
    found = [*places(cells)]
    arrays, loaded = fitting(who, arrays_of(found, turned), given(cells), hint), dict[Any, Any]()
    for place in found:
        if place.name not in arrays:
            continue
        array = arrays[place.name].T if turned else arrays[place.name]
        rows = [array] if len(place.rows) == 1 else array.reshape(-1, array.shape[-1])
        for names, row in zip(place.rows, rows, strict=False):
            start = 0
            for x in _own(place.cell, names):
                end = start + x.shape[-1]
                part = row[..., start:end].astype(x.dtype)
                if not np.array_equal(loaded.setdefault(x, part), part, equal_nan=True):
                    raise ValueError(
                        f"{who}: nothing was loaded: {place.name} gives other numbers to a weight "
                        "that stands in another place, too"
                    )
                x.data, start = part, end
    for cell, form in zip(cells.values(), forms, strict=True):
        rewrite(cell, form)
    layer.load_state_dict(twin.state_dict())


def fitting(who: str, expected: Arrays, given: Mapping[str, Any], hint: str = "") -> Arrays:
    """What is given as arrays, in the order expected, or an error that lists every misfit."""
    wrong = misfits(expected, given, kind="floats")
    if wrong:
        raise ValueError(f"{who}: nothing was loaded: {'; '.join(wrong)}{hint}")
    return {name: np.asarray(given[name]) for name in expected}


def parts_of(who: str, layer: Any) -> Sequence[Any]:
    """The cells and Bidirectionals of a layer, or the one that was given."""
    parts = layer.cells if isinstance(layer, Recurrent) else [layer]
    if not all(isinstance(part, Part) for part in parts):
        raise TypeError(f"{who}: layer: expected a Recurrent or a cell, got {type(layer).__name__}")
    return parts


def copied(who: str, framework: str, layer: Any) -> Any:
    """A copy to be rewritten, of which nothing is left out."""
    refuse_hooks(who, framework, layer)
    return deepcopy(layer)


def refuse_hooks(who: str, framework: str, layer: Any) -> None:
    for module in layer.modules() if isinstance(layer, Module) else ():
        if hooks_of(module):
            raise ValueError(
                f"{who}: {type(module).__name__} has hooks, which {framework} would not run: "
                "remove them (handle.remove()), or give copy.deepcopy(layer), which has none"
            )


def cells_of(who: str, framework: str, layer: Any) -> dict[tuple[int, int], Any]:
    """Every cell by its layer and direction, or a refusal of what the framework cannot say."""
    parts, found = parts_of(who, layer), {}
    for k, part in enumerate(parts):
        both = isinstance(part, Bidirectional)
        for way, cell in enumerate((part.forward, part.backward) if both else (part,)):
            found[k, way] = cell
    kinds = [_kind(who, framework, cell) for cell in found.values()]
    refuse(who, framework, kinds, [*dict.fromkeys([layer, *parts, *found.values()])])
    if len({id(cell) for cell in found.values()}) < len(found):
        raise ValueError(
            f"{who}: layer: one cell stands in it twice, and {framework} shares no weights between "
            "layers: make two"
        )
    return found


def check_alike(who: str, framework: str, cells: Mapping[Any, Any]) -> None:
    """Refuse cells that could not be those of one module of a framework."""
    said = set()
    for cell in cells.values():
        found = said_by(framework, cell)
        alone = [item for item in found.items() if not isinstance(item[1], list)]
        said.add((kind_of(cell), cell.hidden, *sorted(alone)))
    ways = {sum(k == other for other, _ in cells) for k, _ in cells}
    if len(said) * len(ways) != 1:
        raise ValueError(
            f"{who}: layer: expected cells of one kind and size, with as many biases and "
            "directions and the same options, as one module has them; give them one by one"
        )


def settings(framework: str, layer: Recurrent | Part) -> list[Settings]:
    """What the modules of a framework are made with that compute what a layer does.

    framework: "torch", then it is one dict, the keyword arguments of a torch.nn.RNN, LSTM or GRU;
    "keras", a dict for each layer, of which merge_mode goes to keras.layers.Bidirectional; "onnx",
    one dict, the attributes of a node. layer: as in `to_torch`, `to_keras` and `to_onnx`, which
    give the weights. An activation without a name in Keras is the function here, to be written
    again there.

    Raises ValueError for what the framework cannot say.

    >>> tg.io.settings("torch", tg.nn.LSTM(3, 4, convention="torch"))
    [{'input_size': 3, 'hidden_size': 4, 'num_layers': 1}]
    """
    one_of("settings", "framework", framework, ("torch", "keras", "onnx"))
    cells, parts = cells_of("settings", framework, layer), parts_of("settings", layer)
    first, count = cells[0, 0], len(parts)
    if framework != "keras":
        check_alike("settings", framework, cells)
        read, hidden = int(first.inputs), int(first.hidden)
        sizes = {"input_size": read, "hidden_size": hidden, "num_layers": count}
        usual = {"hidden_size": hidden, "direction": "forward"}
        said = said_by(framework, *dict.fromkeys([layer, *parts, *cells.values()]))
        return [(sizes if framework == "torch" else usual) | said]
    made = []
    for k, part in enumerate(parts):
        own = {where: cell for where, cell in cells.items() if where[0] == k}
        check_alike("settings", framework, own)
        said = said_by(framework, *dict.fromkeys([layer, part, *own.values()]))
        more = {"return_sequences": True} if k < count - 1 or layer is part else {}
        made.append({"units": int(own[k, 0].hidden), **said, **more})
    return made


def divided(how: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options apart: those of the cells, of both directions, and of the layer around them."""
    names = ({*how} - {"merge"} - {*MAKING}, {"merge"}, {*MAKING})
    cells, both, around = ({k: v for k, v in how.items() if k in of} for of in names)
    return cells, both, around


def widened(dtype: np.dtype) -> Any:
    """The dtype of a layer for weights of this one: float16 becomes float32, as everywhere."""
    return native(dtype) or dtype


def refuse_merge(who: str, parts: Sequence[Part], merge: dict[str, Any]) -> None:
    """Refuse a way to merge where no part has two directions, but for the usual one."""
    both = any(isinstance(part, Bidirectional) for part in parts)
    if merge.get("merge", "concat") != "concat" and not both:
        raise ValueError(f"{who}: merge: a layer of one direction has nothing to merge")


def kind_of_width(who: str, name: str, width: int, hidden: int) -> Any:
    """LSTM, GRU or RNN: how many gates beside each other read the state."""
    kinds = {4 * hidden: LSTM, 3 * hidden: GRU, hidden: RNN}
    if not hidden or width not in kinds:
        raise ValueError(
            f"{who}: {name}: expected 4, 3 or 1 times {hidden} units, for an LSTM, a GRU or an "
            f"RNN, got {width}"
        )
    return kinds[width]


def _kind(who: str, framework: str, cell: Any) -> type:
    """RNN, LSTM or GRU, or a refusal of another cell."""
    kind = kind_of(cell)
    if kind is None:
        inside = hasattr(cell, "cell")
        hint = "; give the cell inside, which is its .cell" if inside else ""
        raise ValueError(
            f"{who}: {framework} has no {type(cell).__name__}: expected RNN, LSTM or GRU{hint}"
        )
    return kind
