"""A run as a page to step through: every value of the forward pass, every gradient backward."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..tensor import Tensor

if TYPE_CHECKING:
    from .page import Page

__all__ = ["Page", "explain"]


def __getattr__(name: str) -> Any:
    if name != "Page":  # what makes pages is imported when one is made
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".page", __name__).Page


def __dir__() -> list[str]:
    return __all__


def explain(loss: Tensor, *, title: str = "", text: str | Sequence[str] | None = None) -> Page:
    """Make a page that steps through the run that led to `loss`, forward and backward.

    It is one HTML file that needs no network: the graph, every forward and backward step with its
    numbers, the gradient of each weight filling term by term. Its backward pass is that of
    `backward()`, but leaves no gradient anywhere, and the graph as it was.

    loss: a number that requires gradients; small networks read best.
    title: a line at the top.
    text: what was read, one sign for each time step, for example the letters.

    Raises TypeError when `loss` is not a tensor, RuntimeError when it is not a number, does not
    require gradients, or its graph was freed by `backward()`, ValueError when `text` has another
    length than there are steps, or the graph is too large to be drawn.

    >>> xs = np.ones((2, 1, 2), np.float32)
    >>> page = tg.explain((tg.nn.RNN(2, 3, rng=0)(xs)[0] ** 2).mean())
    >>> page.save("bptt.html")
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"explain: loss: expected a tensor, got {type(loss).__name__}")
    from ..formula.runs import equations_of
    from ..grad import _seed
    from ..tape import tape_of
    from ..tape.loops import with_steps
    from ..tape.words import step_of
    from .data import page_data
    from .document import document
    from .levels import check_size, pictures
    from .page import Page

    _seed(loss, None, "explain")  # refuses at once what has no backward pass
    check_size(loss)
    (given,), _ = with_steps([loss])
    tape = tape_of(given, title=title)
    figures = pictures(tape)
    data = page_data(given, tape, signs(tape.steps, text), figures)
    equations = equations_of([given], step_of)
    html = document(data, figures, equations)
    return Page(html, next(iter(figures.values())), tape, equations)


def signs(steps: Sequence[int], text: str | Sequence[str] | None) -> dict[int, str]:
    """What was read at each time step. Raises ValueError when there are not as many as steps."""
    if text is None:
        return {}
    if not hasattr(text, "__len__"):
        raise TypeError(f"explain: text: expected a text or a list, got {type(text).__name__}")
    if len(text) != len(steps):
        raise ValueError(
            f"explain: text: expected {len(steps)} signs, one for each time step, got {len(text)}"
        )
    return dict(zip(steps, map(str, text), strict=True))
