"""`tinygrad-rnn graph`: draw the graph that backpropagation through time walks."""

from __future__ import annotations

import argparse

import numpy as np

from .. import nn
from ..draw import draw


def graph(options: argparse.Namespace) -> int:
    """Unroll a small network on random symbols, take the gradient, and draw what it walked."""
    rng = np.random.default_rng(options.seed)
    symbols = 10
    model = nn.LanguageModel(
        symbols,
        cell=options.cell,
        embedding=options.hidden,
        hidden=options.hidden,
        layers=options.layers,
        rng=rng,
    )
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
