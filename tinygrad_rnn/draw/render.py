"""Graphviz paints a picture whose places are given, where graphviz is installed."""

from __future__ import annotations

import os
import shutil
import subprocess

FORMATS = ("png", "pdf", "eps", "ps", "jpg", "gif", "webp")
TIMEOUT = 60.0  # seconds; with all places given it takes well under one
PROGRAM = "TINYGRAD_RNN_DOT"  # the environment variable that names the program


class GraphvizNotFound(RuntimeError):
    """The graphviz program is not there, or cannot be started; the message lists the cures."""


def render(dot: str, format: str) -> bytes:
    """The DOT text, with its places given, as a file of one of `FORMATS`.

    Raises GraphvizNotFound where there is no program to run, RuntimeError with what graphviz said
    where it fails or takes longer than a minute.
    """
    from graphviz.backend.dot_command import command

    program = _program(format)
    arguments = [program, *map(str, command("neato", format, neato_no_op=2)[1:])]
    try:
        done = subprocess.run(arguments, input=dot.encode(), capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"draw: {program} took longer than {TIMEOUT:g} seconds and was stopped. Save the "
            "picture as .svg, which needs no program, or show fewer steps."
        ) from None
    except OSError as error:
        raise _not_found(format, f"{program} could not be started ({error})") from error
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[-2000:] or "nothing"
        raise RuntimeError(
            f"draw: {program} failed with code {done.returncode}; it said: {said}. "
            "The DOT text is in figure.dot; an .svg needs no program."
        )
    return done.stdout


def _program(format: str) -> str:
    """The program that the user named, or the first that the system has."""
    if named := os.environ.get(PROGRAM):
        if found := shutil.which(named):
            return found
        raise _not_found(format, f"{PROGRAM} names {named!r}, which is no program")
    found = shutil.which("neato") or shutil.which("dot")
    if not found:
        raise _not_found(format, "found neither neato nor dot on the PATH")
    return found


def _not_found(format: str, why: str) -> GraphvizNotFound:
    return GraphvizNotFound(
        f"draw: {why}; graphviz is needed for {format}. Either save the picture as .svg, which "
        "needs no program; or install graphviz: apt install graphviz (Debian, Ubuntu), brew "
        "install graphviz (macOS), choco install graphviz (Windows), conda install -c conda-forge "
        f"graphviz; or set {PROGRAM} to the path of its dot. The DOT text is in figure.dot."
    )
