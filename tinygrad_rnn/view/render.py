"""Graphviz paints a picture whose places are given: its program, or the library in pygraphviz."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys

FORMATS = ("png", "pdf", "eps", "ps", "jpg", "gif", "webp")
TIMEOUT = 60.0  # seconds; with all places given it takes well under one
PROGRAM = "TINYGRAD_RNN_DOT"  # the environment variable that names the program

# Done by a Python of its own: what the library prints about fonts, or a crash of it, stays there,
# and it can be stopped.
LIBRARY = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="nop2"))
"""


class GraphvizNotFound(RuntimeError):
    """Graphviz is not there, or cannot be started; the message lists the cures.

    >>> issubclass(tg.view.GraphvizNotFound, RuntimeError)
    True
    """


def render(dot: str, format: str) -> bytes:
    """The DOT text, with its places given, as a file of one of `FORMATS`.

    Done by the program that TINYGRAD_RNN_DOT names, or else by the first that is there: neato or
    dot on the PATH, the package pygraphviz. It is given the text alone, never the name of a file.
    Raises GraphvizNotFound where there is none of them, RuntimeError with what graphviz said where
    it fails or takes longer than a minute.
    """
    arguments = _arguments(format)
    painter = "pygraphviz" if LIBRARY in arguments else arguments[0]
    try:
        done = subprocess.run(arguments, input=dot.encode(), capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"draw: {painter} took longer than {TIMEOUT:g} seconds and was stopped. Save the "
            "picture as .svg, which needs no program, or show fewer steps."
        ) from None
    except OSError as error:
        raise _not_found(format, f"{painter} could not be started ({error})") from error
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[-2000:] or "nothing"
        raise RuntimeError(
            f"draw: {painter} failed with code {done.returncode}; it said: {said}. Save the "
            "picture as .svg, which needs no program, or as .dot, which is what it was given."
        )
    return done.stdout


def _arguments(format: str) -> list[str]:
    """The command that reads DOT and writes the picture."""
    from graphviz.backend.dot_command import command

    usual, *options = map(str, command("neato", format, neato_no_op=2))
    named = os.environ.get(PROGRAM)
    found = shutil.which(named) if named else shutil.which("neato") or shutil.which(usual)
    if found:
        return [found, *options]
    if named:
        raise _not_found(format, f"{PROGRAM} names {named!r}, which is no program")
    if _has_library():
        return [sys.executable, "-P", "-c", LIBRARY, format]
    raise _not_found(format, "found neither neato nor dot on the PATH, nor pygraphviz")


def _has_library() -> bool:
    """Whether there is a pygraphviz that brings graphviz along; before 2.0 it ran the programs."""
    try:
        major = importlib.metadata.version("pygraphviz").split(".")[0]
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(sys.executable) and major.isdigit() and int(major) >= 2


def _not_found(format: str, why: str) -> GraphvizNotFound:
    return GraphvizNotFound(
        f"draw: {why}; graphviz is needed for {format}. Either save the picture as .svg, which "
        'needs no program, or as .dot; or install graphviz: pip install "pygraphviz>=2.0", apt '
        "install graphviz (Debian, Ubuntu), brew install graphviz (macOS), choco install graphviz "
        "(Windows), conda install -c conda-forge graphviz; or set "
        f"{PROGRAM} to the path of its dot."
    )
