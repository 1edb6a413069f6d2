"""NumPy's warnings kept quiet: overflow to inf, and NaN in, NaN out, are answers here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def quietly(function: Callable[..., R], arguments: Any = (), words: Mapping[str, Any] = {}) -> R:
    """Call a function without these warnings.

    In a copy of the context: so there is nothing to put back, which a Ctrl-C could leave undone.
    """
    return copy_context().run(_called, function, arguments, words)


def _called(function: Callable[..., R], arguments: Any, words: Mapping[str, Any]) -> R:
    np.errstate(all="ignore").__enter__()
    return function(*arguments, **words)


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """The function, without these warnings."""

    @wraps(function)
    def call(*arguments: P.args, **words: P.kwargs) -> R:
        return copy_context().run(_called, function, arguments, words)

    return call
