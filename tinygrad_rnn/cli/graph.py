"""`tinygrad-rnn graph`: draw the graph of backpropagation through time."""

from __future__ import annotations

import argparse
from typing import Any

from .. import nn
from ..randomness import generator
from ..view import draw
from .limits import check, check_memory, option

DRAWN = 100_000  # bytes that a step of a layer takes, recorded and drawn


def sizes_of(options: argparse.Namespace, symbols: int, batch: int, steps: int) -> dict[str, Any]:
    """The sizes of a small model, of which `steps` steps fit in memory, recorded and drawn."""
    check({"seed": options.seed}, option)
    sizes = {name: getattr(options, name) for name in ("cell", "hidden", "layers")}
    sizes["embedding"] = options.hidden
    check_memory(symbols, **sizes, batch=batch, steps=steps, each=DRAWN)
    return sizes


def graph(options: argparse.Namespace) -> int:
    """Unroll a small network on random symbols, take the gradient, and draw the graph."""
    symbols = 10
    sizes = sizes_of(options, symbols, options.batch, options.steps)
    rng = generator("graph", options.seed)
    model = nn.LanguageModel(symbols, **sizes, rng=rng)
    model.recurrent.unroll = True  # the picture is the same, and no loop is compiled for it
    x, y = rng.integers(0, symbols, (2, options.steps, options.batch))
    loss, _ = model.loss(x, y)
    loss.backward(retain_graph=True)
    steps = f"{options.steps:,} step{'s' * (options.steps > 1)}"
    title = f"{options.cell.upper()}, unrolled over {steps}"
    try:
        draw(loss, title=title).save(options.output)
    except RuntimeError as error:  # graphviz is missing, or failed
        raise OSError(error) from None
    print(f"wrote {options.output}")
    return 0
