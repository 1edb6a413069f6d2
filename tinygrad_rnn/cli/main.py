"""`tinygrad-rnn`: what may be said on the command line, and how a refusal reads there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .. import __version__
from ..optim import Diverged
from .voice import voices

STOPPED = 130  # what a shell reports of a program ended by Ctrl-C


def parser() -> argparse.ArgumentParser:
    """Every subcommand with its options and defaults."""
    top = argparse.ArgumentParser(
        prog="tinygrad-rnn",
        description="Train a recurrent network on a text, sample from it, draw its graph.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  tinygrad-rnn train                      learn the text that Python carries\n"
        "  tinygrad-rnn train book.txt --cell gru  learn a text of yours\n"
        "  tinygrad-rnn sample runs/lstm-1         go on writing\n"
        "  tinygrad-rnn graph --cell lstm --steps 4 -o lstm.svg\n"
        "  tinygrad-rnn explain 北京大学 -o bptt.html  step through a run, and back",
    )
    top.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_sample(commands)
    _add_graph(commands)
    _add_explain(commands)
    return top


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train",
        help="learn to continue a text, character by character",
        description="Learn to continue a text, character by character. Leaves in the run's folder "
        "the checkpoint, the loss curve and the drawn graph of a few steps. Ctrl-C saves and ends.",
    )
    train.add_argument(
        "text", nargs="?", metavar="TEXT", help="a text file (default: Python's own reference)"
    )
    train.add_argument("--encoding", metavar="NAME", help="how TEXT is written, default utf-8")
    train.add_argument(
        "--max-bytes", type=_count, metavar="N", help="refuse a longer TEXT, default 100000000"
    )
    train.add_argument("--resume", metavar="RUN", help="go on with a run where it was left")
    train.add_argument(
        "--from",
        dest="source",
        metavar="RUN",
        help="begin with the weights of another run, on a TEXT of its letters",
    )
    train.add_argument("--out", metavar="FOLDER", help="the run's folder (default: runs/CELL-N)")
    train.add_argument("--quiet", action="store_true", help="no progress bar and no samples")
    _add_settings(train)


def _add_settings(train: argparse.ArgumentParser) -> None:
    """Add what a run keeps: its model, and how it is trained."""
    train.add_argument("--cell", choices=("rnn", "lstm", "gru"), help="default lstm")
    train.add_argument("--hidden", type=_count, metavar="N", help="size of the state, default 256")
    train.add_argument("--layers", type=_count, metavar="N", help="cells stacked, default 1")
    train.add_argument("--embedding", type=_count, metavar="N", help="size of a symbol, default 64")
    train.add_argument(
        "--dropout", type=float, metavar="P", help="links dropped, 0 to 1, default 0"
    )
    train.add_argument(
        "--batch",
        type=_count,
        metavar="N",
        help="streams side by side, default 24 (fewer for a short text)",
    )
    train.add_argument(
        "--window",
        type=_count,
        metavar="T",
        help="steps a gradient goes back, default 48 (fewer for a short text)",
    )
    train.add_argument(
        "--epochs", type=_count, metavar="N", help="times through the text, default 6"
    )
    train.add_argument("--lr", type=float, metavar="X", help="highest learning rate, default 0.005")
    train.add_argument("--seed", type=int, metavar="N", help="same seed, same run; default 0")
    train.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="default one for each core; the last bits depend on it, so a run keeps its number",
    )


def _add_sample(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sample = commands.add_parser("sample", help="continue a prompt with a trained model")
    sample.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint file")
    sample.add_argument("--prompt", default="\n", metavar="S", help="what to begin from")
    sample.add_argument(
        "--length", type=_count, default=500, metavar="N", help="characters, default 500"
    )
    sample.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        metavar="X",
        help="0 is the likeliest; default 0.7",
    )
    sample.add_argument("--seed", type=int, metavar="N", help="for the same text again")


def _add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    graph = commands.add_parser(
        "graph",
        help="draw the unrolled graph of backpropagation through time",
        description="Draw the unrolled graph of backpropagation through time. The ending of FILE "
        "says what it becomes: .svg and .dot need no other program, .png and .pdf are made by "
        "graphviz.",
    )
    graph.add_argument(
        "--cell", choices=("rnn", "lstm", "gru"), default="lstm", help="default lstm"
    )
    graph.add_argument(
        "--steps", type=_count, default=4, metavar="T", help="steps in time, default 4"
    )
    graph.add_argument(
        "--layers", type=_count, default=1, metavar="N", help="cells stacked, default 1"
    )
    graph.add_argument(
        "--hidden", type=_count, default=8, metavar="N", help="size of the state, default 8"
    )
    graph.add_argument(
        "--batch", type=_count, default=2, metavar="N", help="sequences side by side, default 2"
    )
    graph.add_argument(
        "--seed", type=int, default=0, metavar="N", help="same seed, same picture; default 0"
    )
    graph.add_argument(
        "-o", "--output", default="graph.svg", metavar="FILE", help="default graph.svg"
    )


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="step through a small run and its gradient, in a page or as text",
        description="Run a small network over a few characters and write a page that steps through "
        "its forward and backward pass: one HTML file that needs no network. With --text the "
        "backward pass is printed instead, with --equations its equations, and the page only "
        "written where -o is given.",
    )
    explain.add_argument(
        "signs", nargs="?", metavar="CHARACTERS", help="what it reads, default bananas"
    )
    explain.add_argument("--text", action="store_true", help="print the backward pass")
    explain.add_argument(
        "--equations", action="store_true", help="print the equations of its layers"
    )
    explain.add_argument(
        "--cell", choices=("rnn", "lstm", "gru"), default="lstm", help="default lstm"
    )
    explain.add_argument("--steps", type=_count, metavar="T", help="default: all the characters")
    explain.add_argument(
        "--layers", type=_count, default=1, metavar="N", help="cells stacked, default 1"
    )
    explain.add_argument(
        "--hidden", type=_count, default=3, metavar="N", help="size of the state, default 3"
    )
    explain.add_argument(
        "--seed", type=int, default=0, metavar="N", help="same seed, same run; default 0"
    )
    explain.add_argument("-o", "--output", metavar="FILE", help="default bptt.html")


def _count(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {word!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0 when it went well, 1 when training diverged, 2 when it was refused, 130 when it was
    stopped by Ctrl-C.
    """
    with voices():
        options = parser().parse_args(arguments)
        try:
            module = import_module(f".{options.command}", __package__)  # loads nothing else
            return getattr(module, options.command)(options)
        except KeyboardInterrupt:
            return STOPPED
        except Diverged as error:
            print(f"tinygrad-rnn: training diverged: {error}", file=sys.stderr)
            return 1
        except MemoryError as error:
            print(f"tinygrad-rnn: it does not fit in memory: {error}", file=sys.stderr)
            return 2
        except (ValueError, OSError) as error:
            words = str(error)
            if isinstance(error, OSError) and error.strerror and error.filename:
                words = f"{error.filename}: {error.strerror}"
            print(f"tinygrad-rnn: {words}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
