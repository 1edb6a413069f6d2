"""Data sets that installed packages carry, found as files without importing what is heavy."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time it is imported where it is needed: that takes a while
    from pathlib import Path

EXTRA = "pip install '.[data]'"  # where the README's own install was run

# What to install for each package that is imported under another name, or needs another command.
PROJECTS = {"sklearn": "scikit-learn"}
COMMANDS = {"music21": "pip install --no-deps music21"}  # its files are enough


def carried(who: str, package: str, path: str) -> Path:
    """Return where an installed package keeps a file or a folder. The package is not imported.

    Raises ModuleNotFoundError with the command that installs it, and FileNotFoundError when this
    copy of it comes without its data.
    """
    from pathlib import Path

    spec = _found(who, package)
    for folder in spec.submodule_search_locations or ():
        if (Path(folder) / path).exists():
            return Path(folder) / path
    raise FileNotFoundError(
        f"{who}: there is no {path} in {package} (at {spec.origin}), which should carry it. "
        f"Install it again: {_command(package)}"
    )


def imported(who: str, package: str, module: str) -> Any:
    """A module of an installed package. Raises ModuleNotFoundError as `carried` does."""
    _found(who, package)
    return importlib.import_module(f"{package}.{module}")


def _found(who: str, package: str) -> ModuleSpec:
    spec = importlib.util.find_spec(package)
    if spec is None:
        project = PROJECTS.get(package, package)
        raise ModuleNotFoundError(f"{who}: needs {project}: {_command(package)}", name=package)
    return spec


def _command(package: str) -> str:
    return COMMANDS.get(package, EXTRA)
