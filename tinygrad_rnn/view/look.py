"""The colours: told apart by the colour-blind, legible on paper, and never the only sign.

One scale says how large a norm is, wherever one is painted: in a box, along an arrow, in a cell of
a heat map, and on the page, which is given `SCALE`.
"""

from __future__ import annotations

import math

PAPER, INK, FAINT, LINE, ALARM = "#ffffff", "#1f2933", "#5f6b7a", "#6b7785", "#b00020"
STATE = "#1d4e89"  # what travels from step to step
JOIN = "#7a3e00"  # where several things are added up
FRAME, FRAME_LINE, INNER, INNER_LINE = "#f4f6f9", "#ccd3dc", "#fbfcfe", "#dde3ea"

# After Okabe & Ito (2008), the pale ones darkened so that they can outline a chip.
_hues = ["#0072b2", "#d55e00", "#009e73", "#b4508f", "#b98900", "#3a9bd9", "#7a5c00", "#6a51a3"]

MARKS = {"+": ("#fdebd3", "#b35900"), "−": ("#e6e0f3", "#5e3c99")}  # only right, only left
FAMILIES = {
    "product": ("#dbe8f6", "#3b76ad"),
    "addition": ("#eef1f5", "#7d8998"),
    "scale": ("#fcefd6", "#b98a2f"),
    "curve": ("#dcf1e6", "#3a8d68"),
    "move": ("#ffffff", "#9aa5b1"),
    "loss": ("#fbe1e2", "#b5505c"),
    "other": ("#eeeafa", "#7c6bb0"),
}
LOUD = ("#ffd9dd", ALARM)
LEAF = ("#f3f3ee", "#9a9a8c")

# From blue over white to red, after ColorBrewer's RdBu. A norm of 1 is white, and a line of it
# grey; `decades` powers of ten away the colour is deep, beyond `deep` only white can be read on it.
DECADES, POWER, DEEP = 6, 0.75, 0.7
NEUTRAL, EMPTY, BAD = "#8a8f96", "#b8c0ca", "#000000"  # lines: of 1, of nothing, of no number
SCALE = {
    "light": {"low": "#2166ac", "middle": "#ffffff", "high": "#b2182b", "none": "#e3e6ea"},
    "dark": {"low": "#438cd8", "middle": "#262e38", "high": "#e05252", "none": "#39424d"},
    "line": NEUTRAL,
    "decades": DECADES,
    "exponent": POWER,
    "deep": DEEP,
}


def hue(index: int) -> tuple[str, str]:
    """The fill and outline of a parameter's chip; the hues repeat after eight."""
    outline = _hues[index % len(_hues)]
    return mixed(outline, PAPER, 0.85), outline


def mixed(colour: str, other: str, share: float) -> str:
    """A colour with so much of another."""
    parts = ((int(c[k : k + 2], 16) for c in (colour, other)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)


def place_of(ratio: float) -> float:
    """Where a ratio above 0 stands on the scale: -1 at 1e-6 and below, 0 at 1, 1 at 1e6 and above.

    A ratio of 0 has vanished, too.
    """
    return min(max(math.log10(ratio) / DECADES, -1.0), 1.0) if ratio > 0 else -1.0


def shade(place: float, middle: str = PAPER) -> str:
    """The colour of a place on the scale. middle: `NEUTRAL` for a line, which is seen on paper."""
    end = SCALE["light"]["low" if place < 0 else "high"]  # type: ignore[index]
    return mixed(middle, end, abs(place) ** POWER)


def ink_on(place: float) -> str:
    """The ink that can be read on that colour."""
    return PAPER if abs(place) > DEEP else INK


def stroke(place: float | None, bad: bool = False) -> tuple[str, float, str]:
    """The colour, the width and the dashes of a line: blue and thin to red and wide.

    Where nothing arrives, or a zero, place is None, and the line dotted.
    """
    if bad:
        return BAD, 3.0, "6 3"
    if place is None:
        return EMPTY, 0.8, "1 3"
    return shade(place, NEUTRAL), round(2.4 + 1.8 * place, 2), ""
