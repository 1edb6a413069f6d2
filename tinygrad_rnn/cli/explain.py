"""`tinygrad-rnn explain`: a page, or a text, that steps through backpropagation through time."""

from __future__ import annotations

import argparse
from itertools import cycle, islice

import numpy as np

from .. import nn
from ..page import explain as page_of
from .graph import sizes_of
from .voice import verbatim

SIGNS = "bananas"


def explain(options: argparse.Namespace) -> int:
    """Run a small network over a few characters, each to tell the next, and explain the run."""
    steps = options.steps or len(options.signs or SIGNS)
    sizes = sizes_of(options, len(SIGNS), 1, steps)
    signs = _signs(options.signs, options.steps)
    symbols = sorted(set(signs))
    model = nn.LanguageModel(len(symbols), **sizes, rng=options.seed)
    index = np.array([[symbols.index(sign)] for sign in signs])
    model.recurrent.unroll = True  # the page is the same, and no loop is compiled for it
    loss, _ = model.loss(index[:-1], index[1:])
    title = f"{options.cell.upper()}: {signs[:-1]} → {signs[1:]}"
    page = page_of(loss, title=title, text=signs[:-1])
    if options.equations and not page.equations:
        raise ValueError("--equations: expected at least 2 steps, which do the same, got 1")
    output = options.output or ("" if options.text or options.equations else "bptt.html")
    if output:
        page.save(output)
    if options.text:
        verbatim(page.text)  # which has its language already
    if options.equations:
        verbatim("\n".join(map(str, page.equations.values())))
    if output:
        print(f"wrote {output}")
    return 0


def _signs(given: str | None, steps: int | None) -> str:
    """What the steps read, and one more, which only the last step has to tell."""
    if given is None:
        return "".join(islice(cycle(SIGNS), (steps or len(SIGNS) - 1) + 1))
    if len(given) < 2 or (steps and len(given) <= steps):
        least = (steps or 1) + 1
        raise ValueError(
            f"explain: CHARACTERS: expected at least {least}, one more than there are steps, got "
            f"{given!r}"
        )
    return given[: steps + 1] if steps else given
