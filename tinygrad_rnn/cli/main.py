"""`tinygrad-rnn`: what may be said on the command line, and how a refusal reads there."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, TypeAlias

from .. import __version__
from ..language import WIDE, said, spoken
from ..nn.language import CELLS
from ..optim import Diverged
from .limits import Settings, option
from .voice import voices

STOPPED = 130  # what a shell reports of a program ended by Ctrl-C


class Help(argparse.RawDescriptionHelpFormatter):
    """Lines as wide as the terminal, also of Chinese, of which a letter takes two columns."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = super()._split_lines(re.sub(WIDE, "\\g<0>\0", text), width)
        return [line.replace("\0", "") for line in lines]

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else "\n".join(self._split_lines(text, width))


class Parser(argparse.ArgumentParser):
    """One whose help reads well in Chinese, too."""

    def __init__(self, **how: Any):
        super().__init__(**{"formatter_class": Help} | how)

    def add_argument(self, *names: Any, **how: Any) -> Any:
        """A path is no empty text, whatever it is the path of."""
        path = {"type": _path} if how.get("metavar") in ("RUN", "FILE", "FOLDER") else {}
        return super().add_argument(*names, **path | how)

    def format_help(self) -> str:
        return re.sub(f"(?<={WIDE}):$", "：", super().format_help(), flags=re.M)


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def parser() -> Parser:
    """Every subcommand with its options and defaults."""
    top = Parser(
        prog="tinygrad-rnn",
        description="Train a recurrent network on a text, sample from it, draw its graph.",
        epilog="examples:\n"
        "  tinygrad-rnn train                      learn the text that Python carries\n"
        "  tinygrad-rnn train book.txt --cell gru  learn a text of yours\n"
        "  tinygrad-rnn sample runs/lstm-1         go on writing\n"
        "  tinygrad-rnn graph --cell lstm --steps 4 -o lstm.svg\n"
        "  tinygrad-rnn explain 北京大学 -o bptt.html  step through a run, and back",
    )
    _add_language(top)
    top.add_argument("--version", action="version", version=f"tinygrad-rnn {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_sample, _add_graph, _add_explain, _add_course, _add_conform):
        add(commands)
    return top


def _add_language(top: Parser) -> None:
    words = "en or zh (中文); by default that of $LANG"
    top.add_argument("--lang", metavar="LANGUAGE", help=words, type=_language)


def _language(name: str) -> str:
    """Such as $LANG has it, "zh_CN.UTF-8", or a page: "zh-Hans"."""
    if not re.fullmatch(r"(en|zh)([-_.@].*)?", name):
        raise argparse.ArgumentTypeError(f"expected en or zh, got {name!r}")
    return name.replace("-", "_")


def _translated(command: Parser) -> Parser:
    """Put what a command and those below it say of themselves into the language in use."""
    command.description = said(command.description or "")
    command.epilog = said(command.epilog or "")
    for action in command._actions:
        action.help = said(action.help or "")
        if isinstance(action, argparse._SubParsersAction):
            for listed in action._choices_actions:
                listed.help = said(listed.help or "")
            for below in action.choices.values():
                _translated(below)
    return command


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(said(f"expected a whole number, got {word!r}")) from None


def _real(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise argparse.ArgumentTypeError(said(f"expected a number, got {word!r}")) from None


def _count(word: str) -> int:
    number = _whole(word)
    if number < 1:
        raise argparse.ArgumentTypeError(said(f"expected at least 1, got {number}"))
    return number


def _path(word: str) -> str:
    if not word:
        raise argparse.ArgumentTypeError(said("expected a path, got ''"))
    return word


def _number(words: str, kind: Callable[[str], Any] = _count, letter: str = "N") -> dict[str, Any]:
    return {"help": words, "type": kind, "metavar": letter}


OPTIONS: dict[str, dict[str, Any]] = {  # those that several commands have, or that a run keeps
    "cell": {"help": "kind of cell", "choices": tuple(CELLS)},
    "hidden": _number("size of the state"),
    "layers": _number("cells stacked"),
    "embedding": _number("size of the vector of a character"),
    "dropout": _number("share of the links dropped, 0 to 1", _real, "P"),
    "batch": _number("sequences read side by side"),
    "window": _number("steps that a gradient goes back", letter="T"),
    "epochs": _number("how often the text is read"),
    "lr": _number("highest learning rate", _real, "X"),
    "seed": _number("same seed, same run", _whole),
    "encoding": _number("encoding of TEXT", str, "NAME"),
    "max_bytes": _number("refuse a longer TEXT"),
    "steps": _number("steps in time", letter="T"),
    "length": _number("characters to write"),
    "temperature": _number("how daring; 0 always takes the likeliest", _real, "X"),
}


def _options(command: Parser, defaults: Mapping[str, Any], *, kept: bool = False) -> None:
    """Add options with their defaults. kept: what is not said is None, as a run may know better."""
    for name, default in defaults.items():
        how = OPTIONS[name] | {"help": f"{OPTIONS[name]['help']}, default {default}"}
        command.add_argument(option(name), **how, default=None if kept else default)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser(
        "train",
        help="learn to continue a text, character by character",
        description="Learn to continue a text, character by character. A short one is read in "
        "fewer sequences and shorter windows, unless you say how many. The run's folder gets the "
        "checkpoint, the best epoch, the loss curve and the drawn graph of a few steps. Ctrl-C "
        "saves and ends.",
    )
    text = "a text file (default: Python's own reference)"
    train.add_argument("text", nargs="?", metavar="TEXT", help=text)
    train.add_argument("--resume", metavar="RUN", help="go on with a run where it was left")
    words = "begin with the weights of another run, which knows all characters of TEXT"
    train.add_argument("--from", dest="source", metavar="RUN", help=words)
    train.add_argument("--out", metavar="FOLDER", help="the run's folder (default: runs/CELL-N)")
    train.add_argument("--quiet", action="store_true", help="no progress bar and no samples")
    usual = asdict(Settings())
    _options(train, {name: usual[name] for name in OPTIONS if name in usual}, kept=True)
    words = "end after N epochs that were no better on the held-out text (default: never)"
    train.add_argument("--patience", **_number(words))
    words = "default one for each core; the last bits depend on it, so a run keeps its number"
    train.add_argument("--threads", **_number(words))


def _add_sample(commands: Commands) -> None:
    sample = commands.add_parser(
        "sample",
        help="continue a prompt with a trained model",
        description="Continue a prompt with a model that `tinygrad-rnn train` left in a folder, "
        "and print both.",
    )
    sample.add_argument(
        "run",
        metavar="RUN",
        help="a run's folder, of which the best epoch is taken, or a checkpoint file",
    )
    sample.add_argument("--prompt", default="\n", metavar="S", help="text to go on from")
    _options(sample, {"length": 500, "temperature": 0.7})
    sample.add_argument("--seed", **_number("same seed, same text (default: another one)", _whole))


def _add_graph(commands: Commands) -> None:
    graph = commands.add_parser(
        "graph",
        help="draw the unrolled graph of backpropagation through time",
        description="Draw the unrolled graph of backpropagation through time. The ending of FILE "
        "says what it becomes: .svg and .dot need no other program, .png and .pdf are made by "
        "graphviz.",
    )
    _options(graph, {"cell": "lstm", "steps": 4, "layers": 1, "hidden": 8, "batch": 2, "seed": 0})
    words, output = "the picture, default graph.svg", "graph.svg"
    graph.add_argument("-o", "--output", default=output, metavar="FILE", help=words)


def _add_explain(commands: Commands) -> None:
    explain = commands.add_parser(
        "explain",
        help="step through a small run and its gradient, in a page or as text",
        description="Run a small network over a few characters and write a page that steps through "
        "its forward and backward pass: one HTML file that needs no network. With --text the "
        "backward pass is printed instead, with --equations its equations, and the page only "
        "written where -o is given.",
    )
    signs = "what it reads, default bananas"
    explain.add_argument("signs", nargs="?", metavar="CHARACTERS", help=signs)
    explain.add_argument("--text", action="store_true", help="print the backward pass")
    words = "print the equations of its layers"
    explain.add_argument("--equations", action="store_true", help=words)
    words = "steps in time (default: one for each character but the last)"
    explain.add_argument("--steps", **_number(words, letter="T"))
    _options(explain, {"cell": "lstm", "layers": 1, "hidden": 3, "seed": 0})
    explain.add_argument("-o", "--output", metavar="FILE", help="the page, default bptt.html")


def _add_course(commands: Commands) -> None:
    course = commands.add_parser(
        "course",
        help="learn by thirteen lessons, whose exercises are checked",
        description="Thirteen lessons with exercises. Without a word more, list them. Files are "
        "written into the folder course; nothing in it is ever written over.",
    )
    words = course.add_subparsers(dest="what", metavar="WORD")

    def add(name: str, words_for_it: str) -> Parser:
        return words.add_parser(name, help=words_for_it, description=words_for_it)

    start = add("start", "write the file of a lesson")
    start.add_argument("lesson", nargs="?", metavar="NN", help="default: the first not begun")
    start.add_argument("--notebook", action="store_true", help="as a Jupyter notebook")
    for name, words_for_it in (
        ("check", "check a lesson, and show evidence; exits with 0 only if all is right"),
        ("watch", "check a lesson again whenever it is saved"),
    ):
        check = add(name, words_for_it)
        saved = "a lesson or its file, default: the one saved last"
        check.add_argument("lesson", nargs="?", metavar="NN|FILE", help=saved)
    add("hint", "say how to go on, one step deeper each time").add_argument(
        "exercise", metavar="NN.K", help="such as 05.2"
    )
    solution = add("solution", "print a solution, once the exercise is done")
    solution.add_argument("exercise", metavar="NN.K", help="such as 05.2")
    solution.add_argument("--give-up", action="store_true", help="print it although it is not done")
    reset = add("reset", "begin a lesson anew; what was written is moved aside")
    reset.add_argument("lesson", metavar="NN", help="such as 05")
    report = add("report", "write what has been done, for a teacher")
    report.add_argument(
        "-o", "--output", default="report.json", metavar="FILE", help="default %(default)s"
    )
    report.add_argument(
        "--name", metavar="NAME", help="whose report it is, default: the name of FILE"
    )
    together = add("class", "read the reports of a class, and print them as tables")
    together.add_argument("folder", metavar="FOLDER", help="where the reports are")


def _add_conform(commands: Commands) -> None:
    conform = commands.add_parser(
        "conform",
        help="grade an autodiff engine, your own for one, case by case",
        description="Grade an autodiff engine through an adapter: a file of Python with a function "
        "value_and_grad(f, arrays) and a namespace ops. Each case says which mistake it finds. "
        "Ends with 0 if all that the engine offers passed, else with 1.",
    )
    words = "the adapter: a file, or FILE:OBJECT for an object in it"
    conform.add_argument("adapter", metavar="PATH", help=words)
    conform.add_argument("--json", metavar="FILE", help="write the verdicts as JSON")
    conform.add_argument("--badge", metavar="FILE", help="write a badge as SVG")
    words = "seconds for a case, default %(default)s"
    conform.add_argument("--limit", **_number(words, _real, "S"), default=20.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0 when it went well, 1 when training diverged, 2 when it was refused, 130 when it was
    stopped by Ctrl-C.
    """
    try:
        return _heard(arguments)
    except KeyboardInterrupt:  # before there is anything to stop
        return STOPPED


def _heard(arguments: Sequence[str] | None) -> int:
    """Say how a command went, in the language that it was given in."""
    ahead = Parser(add_help=False, exit_on_error=False, allow_abbrev=False)
    _add_language(ahead)
    try:  # it may stand anywhere, after a subcommand too
        first, rest = ahead.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        parser().error(str(error))
    with spoken(first.lang), voices() as output:
        code = _obeyed(_translated(parser()).parse_args(rest))
        output.flush()
        if output.lost:
            print(f"tinygrad-rnn: the output is not whole: {output.lost}", file=sys.stderr)
        return code or 2 * bool(output.lost)


def _obeyed(options: argparse.Namespace) -> int:
    """Do what a command says, and return how it went."""
    try:
        module = import_module(f".{options.command}", __package__)  # loads nothing else
        return int(getattr(module, options.command)(options))
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
