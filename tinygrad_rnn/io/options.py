"""Every option of layers and cells: how each framework says it, or that it cannot.

One table: what is refused, what `settings` answers and what docs/conventions.md prints come of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from ..nn import Bidirectional, Recurrent
from ..nn.activations import ACTIVATIONS, name_of
from ..nn.convert import kind_of
from ..nn.hooks import hooks_of
from ..nn.module import Module

Settings: TypeAlias = "dict[str, Any]"
Said: TypeAlias = "Settings | str | Callable[[Any], Settings | None]"

NO = ""  # the framework has no such thing, and there is no more to say


class Option(NamedTuple):
    """One option, or one value of it.

    what: as it is written here. of: its value in a Recurrent, a Bidirectional or a cell, None or
    False where that has it not. torch, keras, onnx: the settings of the framework's module that say
    it, where ... stands for the value; or a function of the value that gives them, or None; or why
    it cannot be said. word: what a refusal calls it.
    """

    what: str
    of: Callable[[Any], Any]
    torch: Said
    keras: Said
    onnx: Said
    word: str = ""


def _is(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name, None) == value


def _value(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name, None)


# -- activations -----------------------------------------------------------------------------------

# Names of Keras 3 and what it means by them.
KERAS = {
    **{name: ACTIVATIONS[name] for name in ("tanh", "sigmoid", "relu", "elu")},
    **{name: ACTIVATIONS[name] for name in ("softplus", "softsign")},
    "linear": ACTIVATIONS["identity"],
    "hard_sigmoid": ACTIVATIONS["hard_sigmoid_keras"],
    "leaky_relu": ACTIVATIONS["leaky_relu_keras"],
}
# Names of ONNX for ours, with all constants, since onnxruntime takes 0 for some that are left out.
ONNX: dict[str | None, tuple[Any, ...]] = {
    **{"tanh": ("Tanh",), "sigmoid": ("Sigmoid",), "relu": ("Relu",)},
    **{"softplus": ("Softplus",), "softsign": ("Softsign",), "elu": ("Elu", 1.0)},
    **{"leaky_relu": ("LeakyRelu", 0.01), "leaky_relu_keras": ("LeakyRelu", 0.2)},
    "hard_sigmoid": ("HardSigmoid", 0.2, 0.5),
    "hard_sigmoid_keras": ("HardSigmoid", 1 / 6, 0.5),
    "thresholded_relu": ("ThresholdedRelu", 1.0),
    "scaled_tanh": ("ScaledTanh", 1.0, 1.0),
    **{"affine": ("Affine", 1.0, 0.0), "identity": ("Affine", 1.0, 0.0)},
}


def _functions(x: Any) -> Sequence[Any] | None:
    """The activations: an RNN's, those of a GRU's gates and candidate, an LSTM's, c's too."""
    one = getattr(x, "activation", None)
    return getattr(x, "activations", None) if one is None else [one]


def _in_torch(functions: Sequence[Any]) -> Settings | None:
    """`nonlinearity=` of an RNN: tanh or relu; of others only the usual ones"""
    names = [name_of(f) for f in functions]
    if len(names) == 1:
        return {"nonlinearity": names[0]} if names[0] in ("tanh", "relu") else None
    return {} if names == ["sigmoid", "tanh", "tanh"][: len(names)] else None


def _in_keras(functions: Sequence[Any]) -> Settings | None:
    """`activation=`, `recurrent_activation=`: its name, or the function, if g and c have one"""
    *gate, candidate = functions[:2]
    if any(f is not candidate for f in functions[2:]):
        return None
    known = {f: name for name, f in KERAS.items()}
    words = ("recurrent_activation", "activation")[-len([*gate, candidate]) :]
    return {w: known.get(f, f) for w, f in zip(words, (*gate, candidate), strict=True)}


def _in_onnx(functions: Sequence[Any]) -> Settings | None:
    """`activations=`, `activation_alpha=`, `activation_beta=`, of those with a name"""
    names = [name_of(f) for f in functions]
    if any(name not in ONNX for name in names):
        return None
    places = zip(("activations", "activation_alpha", "activation_beta"), range(3), strict=True)
    found = {w: [f[k] for f in (ONNX[name] for name in names) if len(f) > k] for w, k in places}
    return {word: given for word, given in found.items() if given}


# -- the table -------------------------------------------------------------------------------------


def _reversed(both: bool, last: bool) -> Callable[[Any], bool]:
    def of(x: Any) -> bool:
        if not getattr(x, "reverse", False):
            return False
        one = len(x.cells) == 1 and x.readout == "last"
        around = any(isinstance(cell, Bidirectional) for cell in x.cells)
        return around if both else not around and one == last

    return of


def _dropped(x: Any) -> list[float]:
    return [dropout.p for dropout in getattr(x, "dropout", ())]


def _between(x: Any) -> float | None:
    """The one rate of dropout between the cells, if there is none before the first."""
    first, *rest = _dropped(x) or [0.0]
    return (rest[0] or None) if not first and len({*rest}) == 1 else None


def _padded(pad: str, last: bool, both: bool | None = None) -> Callable[[Any], bool]:
    def of(x: Any) -> bool:
        if getattr(x, "pad", None) != pad or (x.readout == "last") != last:
            return False
        return both in (None, any(isinstance(cell, Bidirectional) for cell in x.cells))

    return of


def _projected(x: Any, less: bool) -> int | None:
    to = getattr(x, "projection", None)
    return to if to and (to < x.hidden) == less else None


def _hooked(x: Any) -> bool:
    return isinstance(x, Module) and hooks_of(x) is not None


def _changed(x: Any) -> bool:
    """Whether a class of one's own changes what a class here does, and not only its making; or a
    method that is set on the object itself."""
    kind = kind_of(x) or next((c for c in (Recurrent, Bidirectional) if isinstance(x, c)), None)
    above = type(x).__mro__[_hooked(x) : type(x).__mro__.index(kind)] if kind else ()
    names = {name for one in above for name in vars(one)}
    names |= {name for name in vars(x) if inspect.isroutine(getattr(kind, name, None))}
    return any(hasattr(kind, n) for n in names if n == "__call__" or not n.startswith("__"))


_OUTSIDE = "its go_backwards gives outputs in the order of reading"

OPTIONS = (
    # of a Recurrent
    Option("several cells", lambda x: len(getattr(x, "cells", "1")) > 1,
           {}, {}, "a node has one layer; give the layer's cells one by one"),
    Option("`batch_first=True`", _is("batch_first", True),
           {"batch_first": True}, {}, {"layout": 1}),
    Option("`readout='all'`", _is("readout", "all"), {}, {"return_sequences": True}, {}),
    Option("`readout='last'`", _is("readout", "last"), {}, {"return_sequences": False}, {}),
    *(Option(f"`readout={how!r}`", _is("readout", how), NO, NO, NO)
      for how in ("mean", "sum", "max")),
    Option("`pad='zero'`", _padded("zero", False), {}, {"zero_output_for_mask": True}, {}),
    Option("`pad='zero'`, `readout='last'`", _padded("zero", True), {}, {}, {}),
    Option("`pad='hold'`", _padded("hold", False, False), NO, {}, NO),
    Option("`pad='hold'` around a Bidirectional", _padded("hold", False, True), NO, NO, NO),
    Option("`pad='hold'`, `readout='last'`", _padded("hold", True), NO, {}, NO),
    Option("`reverse=True`", _reversed(False, False), NO, _OUTSIDE, {"direction": "reverse"}),
    Option("`reverse=True` of one cell, `readout='last'`", _reversed(False, True),
           NO, {"go_backwards": True}, {"direction": "reverse"}),
    Option("`reverse=True` around a Bidirectional", _reversed(True, False), NO, NO, NO),
    Option("`dropout=` one rate, between cells only", _between,
           {"dropout": ...}, NO, NO, "dropout between cells"),
    Option("`dropout=` else", lambda x: any(_dropped(x)) and not _between(x), NO, NO, NO,
           "dropout before its first cell or of several rates"),
    Option("`checkpoint=`, `unroll=`", lambda x: False, {}, {}, {}),
    Option("`share=True`", lambda x: False, NO, NO, NO),  # refused where cells are told apart
    # of a Bidirectional
    Option("`merge='concat'`", _is("merge", "concat"),
           {"bidirectional": True}, {"merge_mode": "concat"}, {"direction": "bidirectional"}),
    Option("`merge='sum'`", _is("merge", "sum"), NO, {"merge_mode": "sum"}, NO),
    Option("`merge='mul'`", _is("merge", "mul"), NO, {"merge_mode": "mul"}, NO),
    Option("`merge='mean'`", _is("merge", "mean"), NO, {"merge_mode": "ave"}, NO),
    Option("`merge=` a function", lambda x: callable(getattr(x, "merge", None)), NO, NO, NO),
    # of a cell
    Option("`activation=`, `activations=`", _functions, _in_torch, _in_keras, _in_onnx,
           "such activations"),
    Option("`bias=False`", lambda x: hasattr(x, "Wx") and x.b is None,
           {"bias": False}, {"use_bias": False}, {}),
    Option("`peepholes=True`", _value("P"), NO, NO, {}, "peepholes"),
    Option("`projection=`", lambda x: _projected(x, True), {"proj_size": ...}, NO, NO,
           "projection"),
    Option("`projection=` to as many or more", lambda x: _projected(x, False), NO, NO, NO),
    Option("`coupled=True`", _is("coupled", True), NO, NO, {"input_forget": 1}, "coupled gates"),
    Option("`norm=`", _value("norm"), NO, NO, NO, "norm"),
    Option("`clip=`", _value("clip"), NO, NO, {"clip": ...}, "clip"),
    Option("`untied=`", _value("untied"), NO, NO, NO, "untied weights"),
    Option("`reset='before'`", _is("reset", "before"),
           "nn.GRU(..., convention='torch') has it after", {"reset_after": False},
           {"linear_before_reset": 0},
           "reset='before', a reset gate that acts before the product"),
    Option("`reset='after'`", _is("reset", "after"),
           {}, {"reset_after": True}, {"linear_before_reset": 1}),
    Option("`convention=`, `update=`, `forget_bias=`, `dtype=`, `rng=`", lambda x: False,
           {}, {}, {}),
    Option("hooks (`handle.remove()`, or a `copy.deepcopy`, which has none)", _hooked, NO, NO, NO,
           "hooks"),
    Option("methods of one's own, in a subclass or set on it", _changed, NO, NO, NO,
           "methods of one's own"),
)  # fmt: skip


def told(framework: str, x: Any) -> Iterator[tuple[Option, Settings | str]]:
    """What a Recurrent, a Bidirectional or a cell has, and the settings that say it, or why not."""
    for option in OPTIONS:
        value = option.of(x)
        if value is None or value is False:
            continue
        said = getattr(option, framework)
        said = said(value) if callable(said) else said
        if isinstance(said, dict):
            yield option, {name: value if v is ... else v for name, v in said.items()}
        else:
            yield option, said or NO


def refuse(who: str, framework: str, kinds: Sequence[type], parts: Sequence[Any]) -> None:
    """Raise ValueError naming every option of these that the framework cannot say."""
    found: dict[str, None] = {}  # each once, in order
    for part in parts:
        for option, said in told(framework, part):
            if isinstance(said, str):
                word = option.word or option.what.replace("`", "")
                found[f"no {word}" + f" ({said})" * bool(said)] = None
    if found:
        names = "/".join(dict.fromkeys(kind.__name__ for kind in kinds))
        raise ValueError(
            f"{who}: {framework}'s {names} has {', '.join(found)}: make it without, of the same "
            "cells by nn.Recurrent(*layer.cells) or nn.Bidirectional(f, b), or keep it as it is by "
            "tg.io.save(path, layer.state_dict())"
        )


def said_by(framework: str, *parts: Any) -> Settings:
    """The settings of these together; lists, one for each direction, stand after each other."""
    found: Settings = {}
    for part in parts:
        for _, said in told(framework, part):
            for name, value in said.items() if isinstance(said, dict) else ():
                found[name] = found.get(name, []) + value if isinstance(value, list) else value
    return found
