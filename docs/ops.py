"""The table of all ops, from their declarations: a page of the site."""

import inspect

import numpy as np
from reference import escaped, signature

from tinygrad_rnn import ops

HEAD = """\
# All ops

Each is a function, `tg.tanh(x)`; some are methods of tensors too. What NumPy has by the name in the
last column means here what it means there, and `np.tanh(tensor)` is `tg.tanh(tensor)`.
`help(tg.tanh)` says shapes, dtypes, errors, and what the derivative is where there is a choice.
Lists and arrays are taken as tensors are; of arrays alone an op gives an array.

This page is made from the declarations.
"""


def row(name):
    """One op: how it is called, what it returns, its method, and what NumPy calls it."""
    f = getattr(ops, name)
    said = " ".join(escaped((inspect.getdoc(f) or "").split("\n\n")[0]).split())
    method = f.declared.method
    spelled = (
        [f"`.{name}`"] if method is True else [f"`.{m}`" for m in method or () if m[:2] != "__"]
    )
    theirs = [n for n in (name, *f.declared.numpy) if hasattr(np, n)]
    numpy = ", ".join(f"`np.{n}`" for n in theirs)
    said = said.replace("|", "\\|")
    return f"| `{name}{signature(f)}` | {said} | {', '.join(spelled)} | {numpy} |"


def text():
    """The whole page."""
    parts = [HEAD]
    for module in ops.MODULES:
        title = module.__doc__.split("\n")[0].rstrip(".:")
        file = module.__name__.split(".")[-1] + ".py"
        parts += [f"\n## {title}\n", f"In [`{file}`](../tinygrad_rnn/ops/{file}).\n"]
        parts += ["| op | what it does | method | NumPy |", "|---|---|---|---|"]
        parts += map(row, module.__all__)
    return "\n".join(parts) + "\n"


def pages():
    """The page, by its file."""
    return {"ops.md": text()}
