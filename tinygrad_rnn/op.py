"""An op: what it does to arrays, and the gradient of each input, given that of its result."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper, wraps
from operator import attrgetter
from typing import Any, cast

import numpy as np

from . import kernels
from .limits import flag, native
from .quiet import quietly
from .refusals import F, refuse_words
from .tensor import (
    _NONE,
    ARRAYS,
    Outline,
    Tensor,
    _births,
    _new,
    array_of,
    as_array,
    caller,
    describe,
    is_tracked,
    leaked,
    mode,
    owned,
)

# The kinds of numbers that a tensor has, or that become one that it has, by their letters.
KNOWN = frozenset([letter for letter in np.typecodes["All"] if native(letter) == letter])


@dataclass(frozen=True)
class Declared:
    """What is said of an op beside its body and its rules; see `pointwise` and `primitive`."""

    number: Callable[..., Any] | None = None
    cheap: bool = False
    compiled: bool = False
    loop: Callable[..., Any] | str | None = None
    formula: Callable[..., Any] | None = None
    sign: str | None = None
    numpy: tuple[str, ...] = ()
    method: bool | tuple[str, ...] = False
    quiet: bool = False


class Op:
    """An op: what it does to arrays, and the gradient of each input, given that of its result.

    Made by `pointwise`, `primitive` or `variadic` around a body that takes arrays and returns an
    array (or a tuple of arrays). Called with tensors it gives a tensor that remembers; called with
    arrays only, the plain array. Inputs come first, attributes (`axis=...`) after them.
    """

    __slots__ = ("__dict__", "__weakref__", "arity", "body", "count", "ours", "rules", "trusted")

    def __init__(
        self, body: Callable[..., Any], rules: Sequence[Callable[..., Any] | None], *,
        pointwise: bool = False, variadic: bool = False, declared: Declared = Declared(),
    ):  # fmt: skip
        if not callable(body):
            raise TypeError(
                f"an op is made of a function, got {type(body).__name__}. Give one derivative per "
                "input first: @tg.pointwise(lambda g, y, x: ...)"
            )
        update_wrapper(self, body)
        self.name = body.__name__.strip("_")
        self.body, self.rules = body, tuple(rules)
        self.pointwise, self.declared = pointwise, declared
        self.ours = str(body.__module__).startswith(f"{__package__}.")
        self.trusted = self.ours and not declared.quiet
        if declared.compiled and self.ours:
            self.body = kernels.swept(declared.number or body, body)
        self.around: Any = None  # of somebody else's: what it reads, see loops/trace.py
        self.arity = -1 if variadic else len(rules)
        given = inspect.signature(body).parameters.values()
        least = inspect.Parameter.KEYWORD_ONLY if variadic else inspect.Parameter.POSITIONAL_ONLY
        parameters = [p for p in given if p.kind >= least and p.kind != p.VAR_POSITIONAL]
        if len(parameters) < self.arity:
            raise TypeError(f"{self.name}: {len(rules)} derivatives for {len(parameters)} inputs")
        rest = parameters[max(self.arity, 0) :]
        self.attributes = dict.fromkeys([p.name for p in rest])
        self.count = None if rest or not self.ours else len(rules)
        self.defaults = {p.name: p.default for p in rest if p.default is not p.empty}
        _check_rules(self, [p.name for p in parameters[: self.arity]])

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    @property
    def functions(self) -> list[Any]:
        """All that says what it does: body, rules, number, loop form, formula."""
        known = self.declared
        every = (self.body, *self.rules, known.number, known.loop, known.formula)
        return [f for f in every if callable(f)]

    def __reduce__(self) -> Any:
        """Pickled by where it is found, as functions are."""
        return _found, (self.body.__module__, self.body.__qualname__)

    def __call__(self, *inputs: Any, **attrs: Any) -> Any:
        if attrs or len(inputs) != self.count:
            inputs, attrs = self._bound(inputs, attrs)
        arrays = []
        for x in inputs:
            if type(x) is not Tensor:
                return self._plainly(inputs, attrs)
            arrays.append(x._array)
        if mode.trace is not None:
            y = mode.trace.record(self, inputs, attrs)
            if y is not None:
                return y
        try:
            out = self.body(*arrays, **attrs) if self.trusted else self._guarded(arrays, attrs)
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise self._refusal(error, inputs, attrs) from error
        except Exception as error:
            error.add_note(f"in the op {self.name}")
            raise
        if type(out) is tuple:
            return self.several(tuple([np.asarray(part) for part in out]), inputs, attrs)
        return self._remember(out, inputs, attrs)

    def several(self, out: tuple[np.ndarray, ...], inputs: Any, attrs: Any) -> tuple[Tensor, ...]:
        """A tuple becomes one node, and each of its parts another."""
        whole = (self._remember(out, inputs, attrs),)
        return tuple([pick._remember(part, whole, {"i": i}) for i, part in enumerate(out)])

    def _plainly(self, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The op as a function of NumPy's: arrays in, array out. One tensor makes all tensors."""
        for x in inputs:
            if type(x) is not np.ndarray or x.dtype.char not in KNOWN:
                if Tensor in map(type, inputs):
                    return self(*self._as_tensors(inputs), **attrs)
                inputs = self._as_arrays(inputs)
                break
        if self.trusted:
            return self.body(*inputs, **attrs)
        return self._guarded(inputs, attrs) if self.ours else quietly(self.body, inputs, attrs)

    def _as_arrays(self, inputs: Sequence[Any]) -> list[Any]:
        """Inputs as arrays; Python numbers stay such where another input is an array."""
        try:
            arrays = [_plain(x) for x in inputs]
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        typed = any(isinstance(x, np.ndarray | np.generic) for x in arrays)
        return arrays if typed else [as_array(x) for x in arrays]

    def _remember(self, out: Any, inputs: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
        """The only place where a tensor with a past is born."""
        if out.__class__ not in ARRAYS:
            out = np.asarray(out)
        here = mode.__dict__
        floats = out.__class__ is tuple or out.dtype.kind == "f"  # else there is no slope
        tracked = here["recording"] and floats and True in map(is_tracked, inputs)
        y: Tensor = _new(Tensor)
        y._array, y.scope, y.born, y.tracked = out, here["scope"], next(_births), tracked
        y._grad = y._hooks = y.name = y.line = None
        y.op, y.inputs, y.attrs = (self, inputs, attrs or _NONE) if tracked else (None, (), _NONE)
        if here["anomaly"]:
            _watch(self, inputs, y)
        return y

    def _guarded(self, arrays: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Run a body that may warn, or that is not ours and may do and return anything."""
        if not self.ours:
            _freeze(*arrays)
        out = quietly(self.body, arrays, attrs)
        if self.ours:  # of narrow integers NumPy would make float16
            if out.dtype.char != "e":
                return out
            return quietly(self.body, [np.asarray(a, np.float32) for a in arrays], attrs)
        parts = [as_array(part) for part in (out if out.__class__ is tuple else (out,))]
        parts = [part if part.flags.owndata else part.copy() for part in parts]
        _freeze(*parts)  # an op that keeps its buffer must not write to it again
        return tuple(parts) if out.__class__ is tuple else parts[0]

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        """The cotangent of each input, given `g`, that of `y`; None for those nobody waits for.

        A rule is written once. Here it is run on arrays; when history is being recorded, on
        tensors, so that what it does can be differentiated again.
        """
        inputs, attrs, answer = y.inputs, y.attrs, y._array
        g = g.filled(answer) if type(answer) is tuple else g
        given = (g, y, *inputs) if mode.recording else (g, answer, *map(array_of, inputs))
        if not self.ours:
            _freeze(*(g if g.__class__ is tuple else (g,)), answer, *map(array_of, inputs))
        pulled: list[Any] = []
        if self.arity < 0:
            pulled += self.rules[0](*given, **attrs)  # type: ignore[misc]
            if len(pulled) != len(inputs):
                raise ValueError(
                    f"{self.name}: its derivative returned {len(pulled)} cotangents for "
                    f"{len(inputs)} inputs. Return one each, None where there is none."
                )
        else:
            for rule, x in zip(self.rules, inputs):  # noqa: B905 (this loop is hot)
                waits = rule is not None and (x.tracked if wanted is None else x in wanted)
                pulled.append(rule(*given, **attrs) if waits else None)  # type: ignore[misc]
        if not self.ours:
            _freeze(*pulled)
            self._check_pulled(pulled, inputs, wanted)
        return pulled

    def _check_attributes(self, inputs: Sequence[Any], attrs: dict[str, Any]) -> None:
        """Refuse a tensor where no rule would lead a gradient to it."""
        rest = () if self.arity < 0 else zip(self.attributes, inputs[self.arity :])  # noqa: B905
        for name, value in [*rest, *attrs.items()]:
            if isinstance(value, Tensor):
                raise TypeError(
                    f"{self.name}: {name}: got {describe(value)}, but the derivatives are of "
                    f"{self.arity} inputs only. Give one for each input, None where there is "
                    f"none; for an attribute, give {name}.data."
                )

    def _check_pulled(self, pulled: list[Any], inputs: Any, wanted: set[Tensor] | None) -> None:
        """Refuse a derivative that returns nothing, or of which the next would know nothing."""
        rules = self.rules * (len(inputs) if self.arity < 0 else 1)
        for k, (g, x, rule) in enumerate(zip(pulled, inputs, rules, strict=True)):
            if g is None and rule is not None and (x.tracked if wanted is None else x in wanted):
                raise TypeError(
                    f"{self.name}: the derivative of input {k}, {describe(x)}, returned None. "
                    "Return an array; where there is no derivative, None takes the rule's place."
                )
            if mode.recording and isinstance(g, np.ndarray | np.generic):
                raise NotImplementedError(
                    f"{self.name}: the derivative of input {k}, {describe(x)}, returned an array, "
                    "which remembers nothing, so that it cannot be differentiated again. Write it "
                    "in tensor arithmetic: tg.cos(x) for np.cos(x.data)."
                )

    def _bound(self, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[Any, Any]:
        """Tell inputs from attributes given by position, and fill in the defaults."""
        if not self.ours:
            self._check_attributes(inputs, attrs)
        if len(inputs) != self.arity >= 0:
            if len(inputs) < self.arity:
                raise TypeError(f"{self.name}: expected {self.arity} inputs, got {len(inputs)}")
            rest = inputs[self.arity :]
            if len(rest) > len(self.attributes):
                raise TypeError(
                    f"{self.name}: expected {self.arity} inputs"
                    + (f" and then {', '.join(self.attributes)}" if self.attributes else "")
                    + f", got {len(inputs)} arguments"
                )
            inputs, attrs = inputs[: self.arity], dict(zip(self.attributes, rest)) | attrs  # noqa: B905
        for name, value in attrs.items() if self.ours else ():
            if self.defaults.get(name).__class__ is bool and value.__class__ is not bool:
                attrs = attrs | {name: flag(self.name, name, value)}
        if attrs.keys() != self.attributes.keys():
            if self.ours and attrs:
                refuse_words("f", self.name, attrs, self.attributes)
            attrs = {**self.defaults, **attrs}
        return inputs, attrs

    def _refusal(self, error: Exception, inputs: Sequence[Tensor], attrs: Any) -> Exception:
        if mode.trace is None:
            for x in inputs:
                if x._array.__class__ is Outline:
                    return leaked(x)
        given = ", ".join(map(describe, inputs)) + "".join(
            f", {name}={value!r}" for name, value in attrs.items()
        )
        kinds = (IndexError, TypeError, ValueError, AttributeError)
        kind = next(k for k in kinds if isinstance(error, k))
        return kind(f"{self.name}: {error} (given {given})")

    def company(self, count: int) -> list[bool]:
        """Return which inputs promote each other's dtypes: a condition or an index does not."""
        counts = [self.arity < 0 or r is not None or not any(self.rules) for r in self.rules]
        return counts * (count // len(counts))

    def _as_tensors(self, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
        """Inputs as tensors. A Python number takes its company's dtype, as in NumPy (NEP 50)."""
        try:
            if len(inputs) == 2 and None not in self.rules:  # x * 2.0, without detours
                x, number = inputs if type(inputs[0]) is Tensor else inputs[::-1]
                if type(number) in (float, int) and x._array.dtype.kind == "f":
                    y = owned(np.array(number, x._array.dtype))
                    return (x, y) if inputs[0] is x else (y, x)
            company = self.company(len(inputs))
            kept = [
                x if type(x) is Tensor or (counts and type(x) in (int, float, bool)) else Tensor(x)
                for x, counts in zip(inputs, company, strict=True)
            ]
            friends = [x for x, counts in zip(kept, company, strict=True) if counts]
            dtype = np.result_type(*[x._array.dtype if type(x) is Tensor else x for x in friends])
            return tuple([x if type(x) is Tensor else owned(np.array(x, dtype)) for x in kept])
        except (TypeError, ValueError, OverflowError) as error:
            raise type(error)(f"{self.name}: {str(error).removeprefix('tensor: ')}") from None


def _check_rules(op: Op, inputs: Sequence[str]) -> None:
    """Refuse derivatives of somebody else's op that could not be called as they will be."""
    for k, rule in enumerate(() if op.ours or op.arity < 0 else op.rules):
        try:
            found = inspect.signature(rule)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # no function, or one in C that does not tell
            continue
        try:
            found.bind("g", "y", *inputs, **op.attributes)
        except TypeError:
            wanted = ", ".join(["g", "y", *inputs, *[f"{name}=" for name in op.attributes]])
            words = f"{op.name}: the derivative of input {k}: expected a function of ({wanted}), "
            words += f"of what arrives, the answer and all inputs, got one of {found}"
            raise TypeError(words) from None


def pointwise(*rules: Any, **declared: Any) -> Callable[..., Op]:
    """Make an op of a function of one element at a time, broadcasting like NumPy.

    rules: one derivative per input, None where the input has none. `rule(g, answer, *inputs,
    **attributes)` returns that input's gradient, written in tensor arithmetic, so that it can be
    differentiated again, printed, and compiled.

    May be declared of it, by these names:

    - number: the op on one number, which is compiled into the loop of a scan; by default the body
      itself, which then must read the same for an array and for a number. It may branch, as in
      `x if x > 0.0 else 0.1 * x`, and call NumPy's functions and `kernels.exp, tanh, sigmoid,
      maximum, minimum`. Write its constants with a point: they then take the dtype of the numbers
      it is given, as they do beside an array.
    - cheap=True: a loop may rather compute it twice than keep it. A single operator other than a
      division is so by itself.
    - compiled=True: arrays go through a loop compiled from `number` too, where that was measured
      to be faster than the body; the body is then what runs without a compiler.
    - loop: what a loop may not do with it, see `primitive`; by default it may do all.
    - sign: how pictures and formulas write it; by default its name.
    - numpy: what NumPy calls it beside its own name, `("absolute",)`.
    - method=True: tensors have it as a method, `x.tanh()`. Or the names of all its methods, where
      ("__add__",) stands for its reflection and `+=` too.
    - quiet=True: silences NumPy's overflow, division and domain warnings in a body of the
      library's; in those of others they always are silent.

    >>> @tg.pointwise(lambda g, y, x: 3.0 * g * x * x)
    ... def cube(x):
    ...     return x * x * x
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> tg.grad(cube(x), x).item()
    12.0
    """
    return lambda body: Op(body, rules, pointwise=True, declared=Declared(**declared))


def primitive(*rules: Any, **declared: Any) -> Callable[..., Op]:
    """Make an op of a function of whole arrays; rules, sign, numpy, method as in `pointwise`.

    - formula: the same in other ops, with the same parameters: `formula(*inputs, **attributes)`.
      The loop of a scan is compiled from it; the body is the faster way for arrays.
    - loop: where there is no such formula, how a loop does it: `loop(build, y, inputs,
      **attributes)` returns the node of the answer, made of the nodes of its inputs by the methods
      of `build`; or the name of that method which does it (see loops/forms.py). An op with neither
      runs unrolled.

    >>> @tg.primitive(lambda g, y, x: tg.flip(tg.cumsum(tg.flip(g, 0), 0), 0))
    ... def running(x):
    ...     return np.cumsum(x, axis=0)
    >>> x = tg.tensor([1.0, 2.0, 4.0], requires_grad=True)
    >>> tg.grad(running(x), x, [1.0, 1.0, 1.0]).numpy()
    array([3., 2., 1.])
    """
    return lambda body: Op(body, rules, declared=Declared(**declared))


def variadic(rule: Any, **declared: Any) -> Callable[..., Op]:
    """Make an op of any number of inputs; `rule` returns the gradients of all of them."""
    return lambda body: Op(body, [rule], variadic=True, declared=Declared(**declared))


def function(inputs: int = 0, **declared: Any) -> Callable[[F], F]:
    """Make a function of other ops one of the library's; `numpy` and `method` as in `pointwise`.

    It needs no derivative: graphs, loops, pictures and equations see the ops that it is made of.
    Its first `inputs` arguments reach it as tensors or arrays, whatever was given.
    """

    def declare(body: F) -> F:
        known, who = inspect.signature(body).parameters, body.__qualname__
        names, flags = [*known], [p.name for p in known.values() if p.default.__class__ is bool]

        @wraps(body)
        def made(*given: Any, **words: Any) -> Any:
            for x in given[:inputs]:
                if type(x) is not Tensor:
                    given = (*map(operand, given[:inputs]), *given[inputs:])
                    break
            if words:
                words |= {name: operand(words[name]) for name in names[:inputs] if name in words}
                words |= {name: flag(who, name, words[name]) for name in flags if name in words}
            try:
                return body(*given, **words)
            except (TypeError, ValueError, IndexError) as error:
                refuse_words("f", who, words, names)
                if type(error) not in RAW or re.match(r"[\w.]+( \w+)?(: |\()", str(error)):
                    raise  # it says whose it is
                raise type(error)(f"{who}: {error}") from error

        vars(made)["declared"] = Declared(**declared)
        return cast(F, made)

    return declare


RAW = TypeError, ValueError, IndexError  # of Python's and NumPy's, which name nobody


def operand(x: Any) -> Any:
    """Return x as a tensor or an array."""
    return x if isinstance(x, Tensor) else as_array(x)


def _found(module: str, name: str) -> Any:
    return attrgetter(name)(importlib.import_module(module))


class Parts(dict[int, Any]):
    """The cotangent of a tuple: only of those of its parts that were used."""

    def filled(self, like: Any) -> tuple[Any, ...]:
        """One cotangent for every part, zeros for the unused."""
        zeros = owned if mode.recording else np.asarray
        every = enumerate(like)
        return tuple(
            [self[i] if i in self else zeros(np.zeros(a.shape, a.dtype)) for i, a in every]
        )

    def merge(self, other: Parts) -> None:
        """Add the cotangents of another; a backward pass merges what it made itself."""
        for i, g in other.items():
            self[i] = self[i] + g if i in self else g


class Pick(Op):
    """One part of the tuple that an op with several results returned."""

    def pull(self, g: Any, y: Tensor, wanted: set[Tensor] | None = None) -> list[Any]:
        return [Parts({y.attrs["i"]: g})]


@partial(Pick, rules=[None])
def pick(x: Any, i: int) -> Any:
    """One part of the tuple that an op with several results returned."""
    return x[i]


def _freeze(*arrays: Any) -> None:
    for array in arrays:
        if array.__class__ is np.ndarray:
            array.setflags(write=False)


def _plain(x: Any) -> Any:
    """An input of an op among arrays; a Python number stays one, and takes its company's dtype."""
    typed = type(x) is np.ndarray or isinstance(x, np.generic)
    return x if (x.dtype.char in KNOWN if typed else isinstance(x, float | int)) else as_array(x)


# -- looking for NaN --------------------------------------------------------------------------


def _watch(op: Op, inputs: Sequence[Tensor], y: Tensor) -> None:
    y.line = caller()
    if has_nan(y._array) and not any(has_nan(x._array) for x in inputs):
        raise RuntimeError(f"NaN from {op.name}{place(y)}. Its inputs had none.")


def has_nan(data: Any) -> bool:
    """Whether there is a NaN in an array, or in one of a tuple of arrays."""
    parts = data if isinstance(data, tuple) else (data,)  # of a loop's results only outlines
    arrays = [a for a in parts if type(a) is np.ndarray and a.dtype.kind == "f"]
    return any(bool(np.isnan(a).any()) for a in arrays)


def place(y: Tensor) -> str:
    """Return where in the model, and on which line, a tensor was made, as far as it is known."""
    where = f" in {y.scope}" if y.scope else ""
    return where + (f", called at {y.line}" if y.line else "")
