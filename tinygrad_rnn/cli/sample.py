"""`tinygrad-rnn sample`: continue a prompt with a trained model."""

from __future__ import annotations

import argparse
import sys

from .. import data
from .limits import check, option
from .run import BEST, Run
from .voice import harmless, verbatim


def sample(options: argparse.Namespace) -> int:
    """Print the prompt and what follows it, character by character."""
    given = {"temperature": options.temperature, "seed": options.seed or 0}
    check(given, option)
    run = Run.load(options.run, BEST)
    vocabulary = data.Vocabulary(run.characters)
    prompt = options.prompt
    if prompt == "\n" and prompt not in run.characters:
        prompt = run.characters[0]
    if not prompt:
        raise ValueError("--prompt: expected at least one character to begin from")
    begin, length = vocabulary.encode(prompt), options.length
    how = {"temperature": options.temperature, "rng": options.seed}
    symbols = run.model.eval().sample(begin, length, **how)
    verbatim(prompt.lstrip("\n"))
    for symbol in symbols:
        if not getattr(sys.stdout, "heard", True):  # `| head` has seen enough
            break
        letter = run.characters[symbol]
        verbatim(harmless(letter) if sys.stdout.isatty() else letter)
        sys.stdout.flush()
    print()
    return 0
