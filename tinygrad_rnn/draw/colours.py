"""The colours: told apart by the colour-blind, legible on paper, and never the only sign."""

from __future__ import annotations

from .graph import Edge, Graph, Node

PAPER, INK, FAINT, LINE, ALARM = "#ffffff", "#1f2933", "#5f6b7a", "#6b7785", "#b00020"
STATE = "#1d4e89"  # what travels from step to step
FRAME, FRAME_LINE, INNER, INNER_LINE = "#f4f6f9", "#ccd3dc", "#fbfcfe", "#dde3ea"

# After Okabe & Ito (2008), the pale ones darkened so that they can outline a chip.
_hues = ["#0072b2", "#d55e00", "#009e73", "#b4508f", "#b98900", "#3a9bd9", "#7a5c00", "#6a51a3"]

_families = {
    "product": ("#dbe8f6", "#3b76ad"),
    "sum": ("#eef1f5", "#7d8998"),
    "scale": ("#fcefd6", "#b98a2f"),
    "curve": ("#dcf1e6", "#3a8d68"),
    "move": ("#ffffff", "#9aa5b1"),
    "loss": ("#fbe1e2", "#b5505c"),
    "other": ("#eeeafa", "#7c6bb0"),
}


def hue(index: int) -> tuple[str, str]:
    """The fill and outline of a parameter's chip; the hues repeat after eight."""
    outline = _hues[index % len(_hues)]
    return tint(outline, 0.85), outline


def tint(colour: str, white: float) -> str:
    """A colour mixed with so much white."""
    parts = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(p + (255 - p) * white):02x}" for p in parts)


def node_colours(node: Node) -> tuple[str, str]:
    """The fill and the outline of a node."""
    if node.loud:
        return "#ffd9dd", ALARM
    if node.kind == "parameter":
        return hue(node.hue)
    if node.kind == "op":
        return _families[node.family]
    return (FRAME, FRAME_LINE) if node.kind == "gap" else ("#f3f3ee", "#9a9a8c")


def edge_colour(graph: Graph, edge: Edge) -> str:
    """A parameter's arrow has its hue; what crosses from step to step stands out."""
    source = graph.nodes[edge.source]
    if source.kind == "parameter":
        return hue(source.hue)[1]
    return STATE if is_state(graph, edge) else LINE


def is_state(graph: Graph, edge: Edge) -> bool:
    """Whether an edge goes from one step to another."""
    ends = [graph.columns[graph.nodes[n].spot[0]] for n in (edge.source, edge.target)]
    return ends[0] != ends[1] and all(c.kind in ("step", "gap") for c in ends)
