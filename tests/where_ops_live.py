"""Prints, for each op, the files whose text would have to change if it were deleted.

    python tests/where_ops_live.py

Those that call it, or import it, are its users and not listed; neither are `__all__`, the stub, the
kernels, which ops call, and the rooms that speak of activations, losses and file formats by the
names that users give these; and those in which learners, or engines of others, have ops of their
own (the course, the kit that grades an engine).
"""

import re
from pathlib import Path

import tinygrad_rnn as tg
from tinygrad_rnn import ops

PACKAGE = Path(tg.__file__).parent
USERS = {"nn", "io", "cli", "data", "optim", "kernels", "course", "conform"}


def in_python(text):
    """The quoted words of a file, docstrings and `__all__` aside, and the ops declared there."""
    text = re.sub(r'(?s)""".*?"""|^__all__ = \[.*?\]', "", text, flags=re.M)
    declared = re.findall(
        r"(?m)^@(?:pointwise|primitive|variadic|function)\b[^@]*?^def (\w+)", text
    )
    return {*re.findall(r"""["'](\w+)["']""", text), *(name.strip("_") for name in declared)}


def in_script(text):
    """The quoted words and the keys of a JavaScript or JSON file."""
    return {*re.findall(r"[\"'`](\w+)[\"'`]", text), *re.findall(r"^\s*(\w+): ", text, re.M)}


def everywhere():
    """For each op, the files."""
    names = {f.__name__.strip("_") for module in ops.MODULES for f in vars(module).values()
             if hasattr(f, "declared")}  # fmt: skip
    found = {name: [] for name in sorted(names)}
    for path in sorted(PACKAGE.rglob("*")):
        where = path.relative_to(PACKAGE).as_posix()
        if path.suffix in (".py", ".js", ".json") and where.split("/")[0] not in USERS:
            read = in_python if path.suffix == ".py" else in_script
            for name in read(path.read_text("utf-8")) & names:
                found[name].append(where)
    return found


if __name__ == "__main__":
    for op, files in everywhere().items():
        print(f"{op:34} {len(files)}  {', '.join(files)}")
