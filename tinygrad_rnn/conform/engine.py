"""An engine as the kit sees it: an adapter's function, its ops, and what it does not offer."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Function: TypeAlias = Callable[..., Any]
HERE = f"{Path(__file__).parent}{os.sep}"
BESIDE = ("grad", "no_grad", "jvp")  # looked for at the adapter, all others in its ops


class NotOffered(Exception):
    """What an engine does not have, or says that it does not do."""


class Wrong(Exception):
    """What is not as it should be, with the evidence."""


class Ops:
    """What a case may call: `k.tanh(x)`. Raises NotOffered where the adapter has no such thing."""

    def __init__(self, adapter: Any):
        self.adapter = adapter

    def __getattr__(self, name: str) -> Any:
        place = self.adapter if name in BESIDE else getattr(self.adapter, "ops", None)
        found = getattr(place, name, None)
        if found is None:
            raise NotOffered(name if name in BESIDE else f"ops.{name}")
        return found

    def product(self, a: Any, b: Any) -> Any:
        """Of matrices, by the engine's function, or else its operator."""
        own = getattr(getattr(self.adapter, "ops", None), "matmul", None)
        return own(a, b) if own else a @ b


class Engine:
    """An adapter, called as it is documented, and what it returned, looked at."""

    def __init__(self, adapter: Any):
        if not callable(getattr(adapter, "value_and_grad", None)):
            raise ValueError(
                "conform: expected a function value_and_grad(f, arrays) that returns the value of "
                "f and a list of its gradients; the adapter has none"
            )
        self.adapter, self.ops = adapter, Ops(adapter)
        self.lacking: NotOffered | None = None  # found in f, whatever the engine makes of it

    def run(
        self, f: Function, arrays: Sequence[Any], *, copy: bool = True, **how: Any
    ) -> tuple[Any, list[Any]]:
        """The value of f, and its gradients by the arrays, or by copies of them."""
        if not self.has_arrays and any(np.ndim(a) for a in arrays):
            raise NotOffered("ops.sum")
        given = [np.array(a, np.float64) for a in arrays] if copy else list(arrays)
        value, found = self.pair(self.adapter.value_and_grad(self.watched(f), given, **how))
        if not isinstance(found, tuple | list) or len(found) != len(given):
            raise Wrong(f"expected {len(given)} gradients in a list, yours is {kind(found)}")
        gradients = [array(g, f"gradient of input {n}") for n, g in enumerate(found)]
        return array(value, "value"), gradients

    @property
    def has_arrays(self) -> bool:
        """Whether arrays can be given to it: with a sum of them, which makes them one number."""
        return getattr(getattr(self.adapter, "ops", None), "sum", None) is not None

    def takes(self, name: str) -> bool:
        """Whether value_and_grad has a further argument of that name."""
        return name in signature(self.adapter.value_and_grad).parameters

    def watched(self, f: Function) -> Function:
        """A function of the engine's values, which notes what the engine refuses in it.

        A refusal is a NotImplementedError or an assertion, or a TypeError that Python raises at
        the case itself: an operator that is not there, an argument that is not taken.
        """

        def forward(*values: Any) -> Any:
            try:
                return f(self.ops, *values)
            except NotOffered as error:
                self.lacking = error
                raise
            except (NotImplementedError, AssertionError, TypeError) as error:
                last = traceback.extract_tb(error.__traceback__)[-1].filename
                if isinstance(error, TypeError) and not last.startswith(HERE):
                    raise
                if "NoneType" in str(error) and "callable" not in str(error):
                    raise Wrong(f"an op returned None: {told(error)}") from error
                self.lacking = NotOffered(told(error))
                raise self.lacking from error

        return forward

    def pair(self, found: Any) -> tuple[Any, Any]:
        """What a function returned, as two things. Raises Wrong where it is something else."""
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Wrong(f"expected a pair, of which the value is the first, yours is {kind(found)}")
        return found[0], found[1]


def array(x: Any, what: str) -> Any:
    """Floats as an array; what is None, or a value of the engine, is Wrong."""
    found = None if x is None else np.asarray(x)
    if found is None or found.dtype.kind not in "fiu":
        raise Wrong(f"{what}: expected numbers of NumPy, yours is {kind(x)}")
    return found if found.dtype.kind == "f" else found.astype(np.float64)


def kind(x: Any) -> str:
    """What something is, in a word or two."""
    many = f" of {len(x)}" if isinstance(x, tuple | list) else ""
    return type(x).__name__ + many


def told(error: BaseException) -> str:
    """An error in one line."""
    words = " ".join(str(error).split())
    return type(error).__name__ + (f": {words[:160]}" if words else "")


def load(path: str, name: str = "") -> Any:
    """The adapter in a file of Python: its module, or an object in it.

    Raises ValueError, in a sentence, where it cannot be had.
    """
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"conform: {path}: expected a file of Python, such as my_engine.py")
    found = sys.modules[spec.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
    except (Exception, SystemExit) as error:
        ours, frames = Path(path).resolve(), traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).resolve() == ours]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [0])[-1]
        raise ValueError(f"conform: {path}: line {line}: {told(error)}") from error
    for part in filter(None, name.split(".")):
        if not hasattr(found, part):
            raise ValueError(f"conform: {path}: there is no {part} in it")
        found = getattr(found, part)
    return found
