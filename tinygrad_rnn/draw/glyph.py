"""What ops are called in a picture: by the sign of their declaration, else by their name."""

from __future__ import annotations

from ..tape import Record
from ..tape.words import literal


def sign(r: Record) -> str:
    """What the op of a record is called in a picture."""
    return r.sign or literal(r.op.replace("_", " "), 20)
