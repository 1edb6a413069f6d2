"""`tinygrad-rnn sample`: continue a prompt with what a run has learnt."""

from __future__ import annotations

import argparse

from .. import data
from .run import Run


def sample(options: argparse.Namespace) -> int:
    """Print the prompt and what follows it, character by character."""
    run = Run.load(options.run)
    vocabulary = data.Vocabulary(run.characters)
    prompt = options.prompt
    if prompt == "\n" and prompt not in run.characters:
        prompt = run.characters[0]
    if not prompt:
        raise ValueError("--prompt: expected at least one character to begin from")
    if not options.temperature >= 0:
        raise ValueError(f"--temperature: expected 0 or more, got {options.temperature}")
    if options.seed is not None and options.seed < 0:
        raise ValueError(f"--seed: expected 0 or more, got {options.seed}")
    symbols = run.model.eval().sample(
        vocabulary.encode(prompt),
        options.length,
        temperature=options.temperature,
        rng=options.seed,
    )
    print(prompt.lstrip("\n"), end="", flush=True)
    for symbol in symbols:
        print(run.characters[symbol], end="", flush=True)
    print()
    return 0
