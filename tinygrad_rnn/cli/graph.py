"""`tinygrad-rnn graph`: draw the graph of backpropagation through time."""

from __future__ import annotations

import argparse

import numpy as np

from .. import nn
from ..view import draw
from .limits import check, check_memory, option

DRAWN = 100_000  # bytes that a step of a layer takes, recorded and drawn


def graph(options: argparse.Namespace) -> int:
    """Unroll a small network on random symbols, take the gradient, and draw the graph."""
    check({"seed": options.seed}, option)
    sizes = {name: getattr(options, name) for name in ("cell", "hidden", "layers")}
    sizes["embedding"], symbols = options.hidden, 10
    check_memory(symbols, **sizes, batch=options.batch, steps=options.steps, each=DRAWN)
    rng = np.random.default_rng(options.seed)
    model = nn.LanguageModel(symbols, **sizes, rng=rng)
    model.recurrent.unroll = True  # every step recorded, and its gradients with it
    x, y = rng.integers(0, symbols, (2, options.steps, options.batch))
    loss, _ = model.loss(x, y)
    loss.backward(retain_graph=True)
    steps = f"{options.steps} step{'s' * (options.steps > 1)}"
    title = f"{options.cell.upper()}, unrolled over {steps}"
    try:
        draw(loss, title=title).save(options.output)
    except RuntimeError as error:  # graphviz is missing, or failed
        raise OSError(error) from None
    print(f"wrote {options.output}")
    return 0
