"""Refusals of words that other libraries have: each says what it is called here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from .tensor import foreign

F = TypeVar("F", bound=Callable[..., Any])


def refuse_words(place: str, who: str, words: Iterable[str], known: Collection[str]) -> None:
    """Refuse a keyword that is not known, saying what another library's is called here."""
    for word in words:
        if word not in known:
            expected = f": expected {', '.join(known)}" if known else ""
            raise TypeError(f"{who}: there is no {word}={foreign(place, word) or expected}")


def refuse_made(kind: type, given: Sequence[Any], words: dict[str, Any]) -> None:
    """Refuse another library's keywords, or a third number, where an object of a class is made."""
    if len(given) <= 2 and words.keys() <= _parameters(kind):
        return
    places = [c.__name__ for c in kind.__mro__]
    if len(given) > 2 and "Cell" in places:
        own = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
        names = [p.name for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
        if len(given) > len(names) and not any(p.kind is p.VAR_POSITIONAL for p in own):
            raise TypeError(
                f"{kind.__name__}: expected {', '.join(names)}, and the rest by name, got "
                f"{len(given)} arguments. For several layers{foreign('Cell', 'num_layers')[1:]}"
            )
    for place, word in [(place, word) for place in places for word in words]:
        if foreign(place, word):
            known = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
            if word not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                raise TypeError(f"{kind.__name__}: there is no {word}={foreign(place, word)}")


@lru_cache(1024)
def _parameters(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]


def worded(place: str, who: str = "") -> Callable[[F], F]:
    """A function whose refusal of another library's keyword says what it is called here."""

    def around(function: F) -> F:
        known = [name for name in inspect.signature(function).parameters if name != "self"]

        @wraps(function)
        def called(*inputs: Any, **words: Any) -> Any:
            try:
                return function(*inputs, **words)
            except TypeError:
                refuse_words(place, who or function.__qualname__, words, known)
                raise

        return cast(F, called)

    return around
