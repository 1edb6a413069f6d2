"""Music as text: Irish tunes in ABC notation."""

from __future__ import annotations

import re

from .packages import carried


def tunes() -> list[str]:
    """Irish tunes in ABC notation: 2,009 texts, 535,000 characters of 89 different ones.

    Of each tune the lines of title, rhythm, metre, unit and key (T, R, M, L, K) and the notes;
    numbers, remarks and the transcribers' addresses are left out. A few tunes occur twice, in two
    transcriptions. Source: music21's copy of F. O'Neill, Music of Ireland (1903), written down in
    ABC by N. Paap, H. Norbeck, T. O'Neil and others. Licence: the tunes are in the public domain;
    the transcriptions are spread with music21 by permission.

    Raises ModuleNotFoundError without music21, which is not imported.

    >>> len(tg.data.tunes())
    2009
    """
    folder = carried("data.tunes", "music21", "corpus/oneills1850")
    texts = [path.read_text("ascii") for path in sorted(folder.glob("*.abc"))]
    return [_tune(part) for text in texts for part in re.split("^X:", text, flags=re.M)[1:]]


def _tune(text: str) -> str:
    """A tune without the fields that notes do not need; it ends at the first empty line."""
    _, *lines = (line.strip() for line in text.splitlines())
    lines = "\n".join(lines).strip().split("\n\n")[0].splitlines()
    return "\n".join(
        line[:2] + line[2:].strip() if line[1:2] == ":" else line
        for line in lines
        if not line.startswith("%") and (line[1:2] != ":" or line[0] in "TRMLK")
    )
