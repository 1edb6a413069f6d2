"""The colours: told apart by the colour-blind, legible on paper, and never the only sign."""

from __future__ import annotations

from .graph import Edge, Flow, Graph, Node

PAPER, INK, FAINT, LINE, ALARM = "#ffffff", "#1f2933", "#5f6b7a", "#6b7785", "#b00020"
STATE = "#1d4e89"  # what travels from step to step
FRAME, FRAME_LINE, INNER, INNER_LINE = "#f4f6f9", "#ccd3dc", "#fbfcfe", "#dde3ea"

# After Okabe & Ito (2008), the pale ones darkened so that they can outline a chip.
_hues = ["#0072b2", "#d55e00", "#009e73", "#b4508f", "#b98900", "#3a9bd9", "#7a5c00", "#6a51a3"]

# From blue over a neutral middle to red, after ColorBrewer's RdBu: the pale one to write on.
_pale, _deep = ("#67a9cf", "#f7f7f7", "#ef8a62"), ("#2166ac", "#8a8f96", "#b2182b")
MARKS = {"+": ("#fdebd3", "#b35900"), "−": ("#e6e0f3", "#5e3c99")}  # only right, only left

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
    if node.mark:
        return MARKS[node.mark]
    if node.flow is not None:
        fill, line = flow_colours(node.flow)
        return fill, hue(node.hue)[1] if node.kind == "parameter" and not node.flow.bad else line
    if node.loud:
        return "#ffd9dd", ALARM
    if node.kind == "parameter":
        return hue(node.hue)
    if node.kind == "op":
        return _families[node.family]
    if node.kind == "delay":
        return "#ffffff", STATE
    return (FRAME, FRAME_LINE) if node.kind == "gap" else ("#f3f3ee", "#9a9a8c")


def flow_colours(flow: Flow) -> tuple[str, str]:
    """The fill and the outline of a box under the overlay."""
    if flow.bad:
        return "#ffffff", "#000000"
    if flow.place is None:
        return "#ffffff", "#b8c0ca"
    return mixed(_pale, flow.place), mixed(_deep, flow.place)


def edge_look(graph: Graph, edge: Edge) -> tuple[str, float, str]:
    """The colour, the width and the dashes of an arrow.

    A parameter's arrow has its hue; what crosses from step to step stands out.
    """
    dashes = "5 4" if edge.hidden or edge.late or edge.mark == "−" else ""
    if edge.mark:
        return MARKS[edge.mark][1], 2.2, dashes
    if edge.flow is not None:
        colour, size, own = flow_look(edge.flow)
        return colour, size, own or dashes
    source = graph.nodes[edge.source]
    if source.kind == "parameter":
        return hue(source.hue)[1], 1.2, dashes
    return (STATE, 1.9, dashes) if is_state(graph, edge) else (LINE, 1.2, dashes)


def flow_look(flow: Flow) -> tuple[str, float, str]:
    """The colour, the width and the dashes of what is led back: blue and thin to red and wide."""
    if flow.bad:
        return "#000000", 3.0, "6 3"
    if flow.place is None:
        return "#b8c0ca", 0.8, "1 3"
    dotted = "1 3" if flow.high == 0 and flow.words else ""
    return mixed(_deep, flow.place), round(2.4 + 1.8 * flow.place, 2), dotted


def mixed(scale: tuple[str, str, str], place: float) -> str:
    """A colour between the ends of a scale, at -1 and 1, and its middle."""
    end = scale[0] if place < 0 else scale[2]
    parts = ((int(c[k : k + 2], 16) for c in (scale[1], end)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * abs(place)):02x}" for a, b in parts)


def is_state(graph: Graph, edge: Edge) -> bool:
    """Whether an edge goes from one step to another."""
    ends = [graph.columns[graph.nodes[n].spot[0]] for n in (edge.source, edge.target)]
    return ends[0] != ends[1] and all(c.kind in ("step", "gap", "delay") for c in ends)
