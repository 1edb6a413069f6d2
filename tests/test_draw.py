"""The picture of a graph: everything that is there, once, where it belongs, and nothing touched."""

import gc
import importlib
import os
import re
import shutil
import stat
import subprocess
import sys
import weakref
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tape import tape_of
from tinygrad_rnn.view import Figure, GraphvizNotFound, curve, draw
from tinygrad_rnn.view import render as render_module
from tinygrad_rnn.view.canvas import MARGIN, Box, Group, Path, Text
from tinygrad_rnn.view.heat import heat_map
from tinygrad_rnn.view.paint import badges
from tinygrad_rnn.view.path import smooth
from tinygrad_rnn.view.text import brief, width

core = importlib.import_module("tinygrad_rnn.tensor")  # `tg.tensor` is the function
op_module = importlib.import_module("tinygrad_rnn.op")
SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = shutil.which("neato")
needs_graphviz = pytest.mark.skipif(PROGRAM is None, reason="graphviz is not installed")


# -- networks to draw -------------------------------------------------------------------------


def parameter(name, *shape):
    values = np.sin(np.arange(np.prod(shape, dtype=int)) + len(name)).reshape(shape)
    return tg.tensor(values, requires_grad=True, name=name)


def rnn_step(x, state, p):
    (h,) = state
    return (tg.tanh(x @ p["Wx"] + h @ p["Wh"] + p["b"]),)


def lstm_step(x, state, p):
    h, c = state
    i, f, g, o = tg.split(x @ p["Wx"] + h @ p["Wh"] + p["b"], 4, axis=-1)
    c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
    return tg.sigmoid(o) * tg.tanh(c), c


def gru_step(x, state, p):
    (h,) = state
    rx, zx, nx = tg.split(x @ p["Wx"] + p["b"], 3, axis=-1)
    rh, zh, nh = tg.split(h @ p["Wh"], 3, axis=-1)
    r, z = tg.sigmoid(rx + rh), tg.sigmoid(zx + zh)
    return (((1 - z) * tg.tanh(nx + r * nh)) + z * h,)


CELLS = {"rnn": (rnn_step, 1, 1), "lstm": (lstm_step, 2, 4), "gru": (gru_step, 1, 3)}


def network(cell="lstm", T=3, layers=1, prefix="", name=lambda word: word):
    """Embedding, layers over T steps, a product and a loss; the loss and the parameters."""
    step, states, gates = CELLS[cell]
    E = parameter(name("E"), 5, 4)
    xs = list(tg.unstack(tg.embedding(E, tg.tensor(np.arange(2 * T).reshape(T, 2) % 5))))
    parameters = {"E": E}
    for k in range(layers):
        p = {"Wx": parameter(name("Wx"), 4, 4 * gates), "Wh": parameter(name("Wh"), 4, 4 * gates)}
        p["b"] = parameter(name("b"), 4 * gates)
        parameters |= {f"{word}{k}": x for word, x in p.items()}
        state = tuple(tg.tensor(np.zeros((2, 4)), name=name("h0")) for _ in range(states))
        path = []
        with tg.scope(f"{prefix}layer{k}"):
            for t in range(T):
                with tg.scope(f"t={t}"):
                    state = step(xs[t], state, p)
                path.append(state[0])
        xs = path
    Wy = parameters["Wy"] = parameter(name("Wy"), 4, 5)
    return tg.cross_entropy(tg.stack(xs) @ Wy, np.arange(2 * T).reshape(T, 2) % 5), parameters


# -- reading a picture ------------------------------------------------------------------------


def groups(figure, kind):
    """The groups of the SVG whose class has this word."""
    root = ElementTree.fromstring(figure.svg)
    return [g for g in root.iter(f"{SVG}g") if kind in g.get("class", "").split()]


def words(element):
    """The words that an element shows, without those for hovering."""
    return ["".join(text.itertext()) for text in element.iter(f"{SVG}text")]


def shown(figure):
    return "\n".join(words(ElementTree.fromstring(figure.svg)))


def dot_counts(text):
    return len(re.findall(r"^ *n\d+ \[", text, re.M)), len(re.findall(r"^ *n\d+ -> n", text, re.M))


def place(scope):
    """Layer and step of a scope, or neither: written again here, to be compared."""
    parts = scope.split("/")
    times = [k for k, part in enumerate(parts) if part.startswith("t=")]
    return ("/".join(parts[: times[0]]), int(parts[times[0]][2:])) if times else None


def expected_counts(outputs, hidden=()):
    """The counting rule of view/graph.py, from the history alone (no step feeds what is before)."""
    order = core.history(outputs)
    ops = [y for y in order if y.op is not None and y.op is not op_module.pick]

    def source(x):
        return x.inputs[0] if x.op is op_module.pick else x

    def is_hidden(y):
        return bool(place(y.scope)) and place(y.scope)[1] in hidden

    def side(y):  # the unstack and the embedding come before the steps, the rest after them
        return place(y.scope) or ("before" if y.op.name in ("embedding", "unstack") else "after")

    drawn = [y for y in ops if not is_hidden(y)]
    leaves = {(x, side(y)) for y in drawn for x in map(source, y.inputs) if x.op is None}
    pairs = {("gap", y) for y in drawn if any(is_hidden(source(x)) for x in y.inputs)}
    into = {source(x) for y in ops if is_hidden(y) for x in y.inputs if source(x).op}
    pairs |= {(x, "gap") for x in into if not is_hidden(x)}
    plain = sum(not is_hidden(source(x)) for y in drawn for x in y.inputs)
    return len(drawn) + len(leaves) + bool(hidden), plain + len(pairs), len(pairs)


# -- structure --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("T, layers", [(1, 1), (3, 1), (3, 2)])
def test_draws_every_tensor_of_the_history_and_every_input_once(cell, T, layers):
    loss, _ = network(cell, T, layers)
    figure = draw(loss)
    nodes, edges, _ = expected_counts([loss])
    assert (figure.nodes, figure.edges) == (nodes, edges)
    assert (len(groups(figure, "node")), len(groups(figure, "edge"))) == (nodes, edges)
    assert dot_counts(figure.dot) == (nodes, edges)
    assert len(groups(figure, "step")) == T + 2  # and what is before and after
    assert len(groups(figure, "layer")) == T * layers


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "T, first, last", [(10, 3, 1), (10, 1, 2), (10, 0, 1), (10, 2, 0), (6, 3, 1)]
)
def test_hidden_steps_are_one_node_and_what_they_touch_is_dashed(cell, T, first, last):
    loss, _ = network(cell, T, 2)
    figure = draw(loss, first=first, last=last)
    hidden = range(first, T - last)
    nodes, edges, dashed = expected_counts([loss], hidden)
    assert (figure.nodes, figure.edges) == (nodes, edges)
    assert dot_counts(figure.dot) == (nodes, edges)
    assert figure.hidden_steps == len(hidden)
    assert f"… {len(hidden)} steps …" in shown(figure)
    assert (
        len(
            [
                g
                for g in groups(figure, "edge")
                if g.find(f"{SVG}path[@stroke-dasharray]") is not None
            ]
        )
        == dashed
    )
    labels = [words(g)[0] for g in groups(figure, "step")]
    steps = [f"t = {t}" for t in range(T) if t not in hidden]
    assert labels == ["before the steps", *steps, "after the steps"]


def test_a_gap_of_one_step_is_not_worth_hiding():
    loss, _ = network("rnn", 5)
    assert draw(loss).hidden_steps == 0
    assert draw(network("rnn", 6)[0]).hidden_steps == 2


def test_equal_steps_stand_alike_and_in_line():
    figure = draw(network("lstm", 4, 2)[0])
    nodes, frames = figure._sheet.graph.nodes, figure._sheet.frames
    columns = [frame for frame in frames if frame.label.startswith("t =")]
    wide = {round(frame.right - frame.left, 3) for frame in columns}
    assert len(wide) == 1
    outlines = []
    for frame in columns:
        members = [
            n
            for n, node in enumerate(nodes)
            if figure._sheet.graph.columns[node.spot[0]] == frame.column and node.kind == "op"
        ]
        outlines.append(
            [
                (nodes[n].glyph, round(nodes[n].x - frame.left, 3), round(nodes[n].y, 3))
                for n in members
            ]
        )
    assert len(outlines[0]) == 2 * 14  # split is one box, its parts are none
    assert outlines[0] == outlines[1] == outlines[2] == outlines[3]
    assert [f.left for f in columns] == sorted(f.left for f in columns)
    lower, upper = columns[0].inner
    assert (lower.label, upper.label) == ("layer0", "layer1") and upper.bottom < lower.top


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("retain", [False, True])
def test_boxes_do_not_overlap_and_edges_go_around_them(cell, retain):
    loss, _ = network(cell, 6, 2)
    if retain:
        loss.backward(retain_graph=True)
    sheet = draw(loss)._sheet
    boxes = [
        (n.x - n.w / 2, n.y - n.h / 2, n.x + n.w / 2, n.y + n.h / 2) for n in sheet.graph.nodes
    ]
    for k, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= sheet.width and bottom <= sheet.height
        for other in boxes[k + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    for edge in sheet.graph.edges:
        line = smooth(edge.route, sheet.sideways)
        for x, y in (
            point for k in range(0, len(line) - 3, 3) for point in bezier(*line[k : k + 4])
        ):
            inside = [
                k for k, (a, b, c, d) in enumerate(boxes) if a + 1 < x < c - 1 and b + 1 < y < d - 1
            ]
            assert set(inside) <= {edge.source, edge.target, *gap_of(sheet)}


def bezier(a, b, c, d):
    for s in np.linspace(0, 1, 9):
        weights = (1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3
        yield tuple(
            sum(w * p[k] for w, p in zip(weights, (a, b, c, d), strict=True)) for k in (0, 1)
        )


def gap_of(sheet):  # a bus between two layers passes behind the gap
    return [k for k, node in enumerate(sheet.graph.nodes) if node.kind == "gap"]


def test_arrows_begin_and_end_at_their_boxes():
    for outputs in (network("gru", 8, 2)[0], parameter("x", 2) * parameter("y", 2)):
        graph = draw(outputs)._sheet.graph
        for edge in graph.edges:
            for n, (x, y) in ((edge.source, edge.route[0]), (edge.target, edge.route[-1])):
                node = graph.nodes[n]
                across = abs(x - node.x) - node.w / 2, abs(y - node.y) - node.h / 2
                assert max(across) == pytest.approx(0, abs=0.1)


def test_without_time_steps_depth_runs_to_the_right():
    x, y = parameter("x", 3), parameter("y", 3)
    figure = draw((x * y + x).sum())
    graph = figure._sheet.graph
    assert (figure.nodes, figure.edges, figure.steps) == (5, 5, 0)
    assert all(graph.nodes[e.source].x < graph.nodes[e.target].x for e in graph.edges)
    assert not groups(figure, "step")


def test_what_is_squared_has_two_arrows():
    x = parameter("x", 3)
    assert draw(x * x).edges == 2


def test_words_at_the_corners_of_a_box_do_not_meet():
    box = SimpleNamespace(order="12", joins=3, mark="")
    (_, left, _), (_, right, _) = badges(box)
    assert (left, right) == (-1, 1)


def test_several_outputs_and_a_part_of_a_tuple():
    x = parameter("x", 4)
    a, _ = tg.split(x, 2, axis=-1)
    figure = draw([a, x.sum()])
    assert (figure.nodes, figure.edges) == (3, 2)
    assert len([node for node in figure._sheet.graph.nodes if node.output]) == 2


def two_layers_with_a_stack_between(T):
    w, v, path = parameter("w", 2), parameter("v", 2), []
    h = tg.tensor(np.ones(2))
    for t in range(T):
        with tg.scope(f"layer0/t={t}"):
            h = tg.tanh(h * w)
        path.append(h)
    between, h = tg.stack(path, axis=1), tg.tensor(np.ones(2))
    with tg.scope("layer1"):
        for t, x in enumerate(tg.unstack(between, axis=-1)):
            with tg.scope(f"t={t}"):
                h = tg.tanh(x + h * v)
    return h, between


def test_what_is_stacked_and_unstacked_again_is_an_edge():
    h, between = two_layers_with_a_stack_between(3)
    graph = draw(h)._sheet.graph
    assert sorted({n.glyph for n in graph.nodes}) == ["+", "input", "tanh", "v", "w", "×"]
    assert [column.label for column in graph.columns] == ["t = 0", "t = 1", "t = 2"]
    rising = [
        e for e in graph.edges if graph.nodes[e.source].spot[1] < graph.nodes[e.target].spot[1]
    ]
    assert [graph.nodes[e.target].glyph for e in rising] == ["+", "+", "+"]
    assert [graph.nodes[e.source].spot[0] for e in rising] == [0, 1, 2]
    names = [node.glyph for node in draw([h, between])._sheet.graph.nodes]
    assert names.count("stack") == 1 and "unstack" not in names


def test_an_unstack_along_another_axis_is_drawn():
    x, y = parameter("x", 2), parameter("y", 2)
    a, b = tg.unstack(tg.stack([x, y]), axis=1)
    names = [node.glyph for node in draw(a * b)._sheet.graph.nodes]
    assert sorted(names) == ["stack", "unstack", "x", "y", "×"]


def test_what_a_decoder_reads_of_an_encoder_is_said_to_be_between():
    h, between = two_layers_with_a_stack_between(3)
    with tg.scope("decoder/t=0"):
        y = h * between.sum(axis=1)
    assert draw(y)._sheet.graph.columns[0].label == "before and between"


def test_parts_are_numbered_at_their_arrows():
    figure = draw(network("lstm", 1)[0])
    parts = [edge.part for edge in figure._sheet.graph.edges if edge.part >= 0]
    assert sorted(parts) == [0, 0, 1, 2, 3]  # of the unstack, and of the split


def test_ops_that_only_hidden_steps_use_are_hidden_with_them():
    x, w = parameter("x", 20, 3), parameter("w", 3)
    h, losses = tg.tensor(np.zeros(3)), []
    for t in range(20):
        row = x[t]
        with tg.scope(f"rnn/t={t}"):
            h = tg.tanh(row + h * w)
        losses.append((h * h).sum())
    figure = draw(tg.stack(losses).sum())
    names = [node.glyph for node in figure._sheet.graph.nodes]
    assert names.count("take") == 4 and names.count("Σ") == 4 + 1


# -- chips and the legend ---------------------------------------------------------------------


def test_a_shared_parameter_is_a_chip_in_every_step_and_a_line_of_the_legend():
    figure = draw(network("lstm", 100, 2)[0])
    nodes = figure._sheet.graph.nodes
    chips = [node for node in nodes if node.kind == "parameter" and node.chip]
    assert sorted(node.glyph for node in chips) == sorted(["Wx", "Wh", "b"] * 4 * 2)
    assert len({(node.glyph, node.hue) for node in chips}) == 6
    legend = ["  ".join(words(key)) for key in groups(figure, "key")]
    assert len(legend) == 6
    assert "Wh  4×16, in layer0, shared by 100 steps, no grad yet" in legend
    assert "Wh  4×16, in layer1, shared by 100 steps, no grad yet" in legend
    whole = [node.glyph for node in nodes if node.kind == "parameter" and not node.chip]
    assert sorted(whole) == ["E", "Wy"]  # outside the steps: drawn once, in full


def test_L07_shapes_and_values_stand_on_the_nodes():
    text = shown(draw(network("lstm", 3)[0]))
    assert "@ 2×16" in text and "σ 2×4" in text and "split 4 parts" in text
    assert "÷ = " in text  # a single number shows its value


def test_a_slide_has_neither_legend_nor_shapes():
    loss, _ = network("lstm", 3)
    for overlay in (None, "backward"):
        figure = draw(loss, title="A slide", legend=False, shapes=False, overlay=overlay)
        assert not [g for kind in ("key", "scale") for g in groups(figure, kind)]
        assert words(groups(figure, "caption")[0]) == ["A slide"] and "2×" not in shown(figure)
        assert "÷ = " in shown(figure)  # a number is no shape
        assert figure.nodes == draw(loss).nodes
    folded = shown(draw(loss, view="folded", shapes=False, legend=False))
    assert "×4" not in folded and "Wh" in folded


# -- gradients --------------------------------------------------------------------------------


def test_before_backward_there_is_no_gradient_and_never_a_zero():
    text = shown(draw(network("lstm", 10)[0]))
    assert text.count("no grad yet") == 2 + 3  # E and Wy on their nodes, the shared ones below
    assert "grad 0" not in text


def test_after_backward_every_node_shows_its_norm():
    loss, parameters = network("lstm", 10)
    loss.backward(retain_graph=True)
    figure = draw(loss)
    text = shown(figure)
    assert "no grad yet" not in text and "grad 1" in text.splitlines()
    for word in ("Wh0", "E"):
        size = np.linalg.norm(parameters[word].grad.data)
        found = [float(g) for g in re.findall(r"grad ([-\de.]+)", text)]
        assert any(abs(g - size) <= 0.05 * size for g in found)
    ops = [node for node in figure._sheet.graph.nodes if node.kind == "op"]
    assert all(node.grad.startswith("grad ") for node in ops)


def test_a_gradient_of_zero_is_told_from_none():
    x, y = parameter("x", 2), parameter("y", 2)
    loss = (x * 0.0).sum()
    loss.backward(retain_graph=True)
    text = shown(draw([loss, y])).splitlines()
    assert text.count("grad 0") == 1 and text.count("no grad yet") == 1


@pytest.mark.parametrize("bad, word", [(np.nan, "NaN"), (np.inf, "∞"), (-np.inf, "∞")])
def test_L07_a_gradient_that_is_not_finite_is_loud(bad, word):
    loss, parameters = network("rnn", 10)
    loss = loss + parameters["Wh0"][0, 0] * bad
    loss.backward(retain_graph=True)
    figure = draw(loss)
    (alarm,) = [
        t
        for t in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")
        if t.get("class") == "alarm"
    ]
    assert "Wh" in alarm.text and word in alarm.text
    assert any(node.loud for node in figure._sheet.graph.nodes)
    assert f"grad has {word}!" in shown(figure)


def test_L07_a_huge_gradient_does_not_overflow_on_the_way_to_the_label():
    x = parameter("x", 2)
    y = (x * 1e300).sum()
    y.backward(retain_graph=True)
    assert "grad 1.4e300" in shown(draw(y))


def gradients(*outputs):
    """The norm that the picture's trace tells of each tensor, by its name or op."""
    records = tape_of(outputs, backward=False).records
    return {r.label: None if r.grad is None else r.grad.l2 for r in records if r.kind != "constant"}


def test_a_gradient_is_told_only_of_the_passes_through_these_outputs():
    """Two losses share a weight: each picture tells what its own backward pass left, alone."""
    w = tg.tensor(np.ones(4), requires_grad=True, name="w")
    shared = tg.tanh(w)
    a, b = (shared * 2.0).sum(), tg.exp(shared).sum()
    slope = 1 - np.tanh(1) ** 2
    sizes = [
        4 * slope,
        2 * slope * np.exp(np.tanh(1)),
    ]  # the norm of four equal numbers is twice one
    assert set(gradients(b).values()) == {None}
    a.backward(retain_graph=True)
    assert gradients(a)["w"] == pytest.approx(sizes[0], rel=1e-5) and gradients(a)["mul"] == 2
    assert set(gradients(b).values()) == {None}  # not even on what both go through
    text = shown(tg.view.diff(a, b, view="unrolled"))
    assert text.count("no grad yet") == 1 and f"grad {sizes[0]:.3g}" in text
    w.grad = None
    b.backward(retain_graph=True)
    assert gradients(b)["w"] == pytest.approx(sizes[1], rel=1e-5)
    assert gradients(a)["w"] is None and gradients(a)["tanh"] is None
    a.backward(retain_graph=True)  # the sum of both is neither's
    assert gradients(a)["w"] is None and gradients(b)["w"] is None
    assert gradients(a, b)["w"] == pytest.approx(sum(sizes), rel=1e-5)


@pytest.mark.parametrize("unroll", [True, False])
def test_what_an_earlier_loss_left_on_weights_is_not_told_of_a_later_one(unroll):
    cell = tg.nn.RNN(4, 4, rng=0)
    loss = lambda k: (cell(np.full((3, 2, 4), k, np.float32), unroll=unroll)[0] * k).sum()
    loss(1.0).backward()
    for clip in (False, True):
        if clip:
            tg.optim.clip_grad_norm(cell, 1e-3)  # nor what was made of it
        assert set(gradients(loss(2.0)).values()) == {None}
    walked = tape_of(loss(2.0)).records  # and what the backward pass does not come to has none
    assert all(r.grad is not None for r in walked if r.kind == "parameter")
    unreached = (cell.Wh * 0.0 > 1.0).astype(np.float32)
    assert {r.name: r.grad for r in tape_of((cell.b + unreached[0]).sum()).records}.get(
        "Wh"
    ) is None


def test_L05_a_freed_graph_says_so():
    loss, _ = network("rnn", 2)
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        draw(loss)


# -- compiled loops ---------------------------------------------------------------------------


def odd_step(gain):
    """States handed on, a name and a scope of its own, numbers, a constant and a past left out."""

    def step(x, m, h, held):
        with tg.scope("inner"):
            n = tg.tanh(x * m + h * gain)
        n.name = "n"
        return 0.37 * n + h.detach() * 2.0, held, (n * n).sum()

    return step


def picture_of(kind, unroll, T, retain=False):
    """The same network, compiled or not: the outputs."""
    x = tg.tensor(np.sin(np.arange(T * 6.0)).reshape(T, 2, 3), name="data")
    if kind in ("RNN", "LSTM", "GRU"):
        cells = [getattr(tg.nn, kind)(3, 3, rng=k, dtype=np.float64) for k in range(2)]
        with tg.scope("model"):
            ys, (_, (h, *_)) = tg.nn.Recurrent(*cells, unroll=unroll)(x)
        outputs = [(ys * ys).sum() + h.mean()]
    elif kind == "odd":
        begin = [tg.tensor(np.zeros((2, 3)), name="h0"), parameter("held", 2) * 2.0]
        several = (x, parameter("mask", T, 2, 3))
        hs, held, sums = tg.scan(odd_step(parameter("gain", 3)), begin, several, unroll=unroll)
        outputs = [hs[-1], held, sums.sum() * 2]
    else:
        turn, start = parameter("turn", 2, 2), parameter("start", 2)
        with tg.scope("encoder"):
            (path,) = tg.scan(lambda s: s @ turn, start, None, length=T, unroll=unroll)
        with tg.scope("decoder"):
            bias = path[-1] * 3
            back = tg.scan(
                lambda s, h: tg.tanh(s + h + bias), start, path[:3], reverse=True, unroll=unroll
            )
        outputs = [(back[0] * path[:3]).sum()]
    if retain:
        outputs = [sum(y.sum() for y in outputs)]
        outputs[0].backward(retain_graph=True)
    return outputs


KINDS = ["RNN", "LSTM", "GRU", "odd", "coder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("T", [1, 4, 20])
def test_a_compiled_loop_is_drawn_as_its_steps(kind, T):
    compiled, recorded = (picture_of(kind, unroll, T) for unroll in (False, True))
    ops = [{y.op.name for y in core.history(z) if y.op} for z in (compiled, recorded)]
    assert "scan" in ops[0] and "scan" not in ops[1]
    one, other = draw(compiled), draw(recorded)
    numbers = r' data-\w+="[\d ]*"'  # of the records: a compiled loop has them in another order
    assert re.sub(numbers, "", one.svg) == re.sub(numbers, "", other.svg)
    assert one.steps == T and one.dot == other.dot and "scan" not in one.svg


@pytest.mark.parametrize("kind", KINDS)
def test_inside_a_compiled_loop_there_is_no_gradient_and_never_a_zero(kind):
    figures = [draw(picture_of(kind, u, 4, True)) for u in (False, True)]
    assert ["under unroll=True" in figure.svg for figure in figures] == [True, False]
    one, other = (figure._sheet.graph for figure in figures)
    assert [n.glyph for n in one.nodes] == [n.glyph for n in other.nodes]
    kept = [x.grad == y.grad for x, y in zip(one.nodes, other.nodes, strict=True)]
    for node, same in zip(one.nodes, kept, strict=True):
        step = one.columns[node.spot[0]].kind == "step"
        inside = node.kind == "op" and (step or node.glyph == "unstack")
        assert node.grad == "no grad yet" if inside else same
    assert [entry.words for entry in one.legend] == [entry.words for entry in other.legend]
    assert any("grad 0" not in n.grad and n.grad.startswith("grad ") for n in one.nodes)


def test_L05_a_compiled_loop_that_was_freed_says_so():
    (loss,) = picture_of("LSTM", False, 3)
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        draw(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_L06_drawing_a_compiled_loop_changes_nothing_and_keeps_nothing(kind):
    def words(y):
        return y.born, y.name, y.scope, y.op, y.inputs, y.tracked, y.grad

    outputs = picture_of(kind, False, 4, retain=True)
    before = {y: (words(y), y._array) for y in core.history(outputs)}
    gc.collect()
    count = sum(type(x) is tg.Tensor for x in gc.get_objects())
    gc.disable()
    try:
        figure = draw(outputs)
        assert sum(type(x) is tg.Tensor for x in gc.get_objects()) == count
        assert all((words(y), y._array) == (w, a) for y, (w, a) in before.items() if y.op)
        gone = [weakref.ref(y) for y in before if y.op or y.ndim]  # a 2.0 is in the program
        del outputs, before
        assert figure.svg and not [ref for ref in gone if ref() is not None]
    finally:
        gc.enable()


def test_L06_drawing_a_compiled_loop_does_not_run_its_steps(monkeypatch):
    (loss,) = picture_of("LSTM", False, 20)
    called = []
    usual = op_module.Op.__call__
    monkeypatch.setattr(
        op_module.Op, "__call__", lambda op, *x, **o: called.append(op.name) or usual(op, *x, **o)
    )
    assert draw(loss).steps == 20
    assert set(called) <= {"stack", "unstack", "take"}
    assert called.count("take") == 2  # of the cs of both layers, only the last is kept


def test_a_long_compiled_loop_folds():
    (loss,) = picture_of("RNN", False, 2000)
    figure = draw(loss)
    assert (figure.steps, figure.hidden_steps) == (2000, 1996)
    assert figure.nodes == draw(picture_of("RNN", False, 20)).nodes


def test_a_run_is_told_without_an_address():
    (loss,) = picture_of("RNN", False, 3)
    (node, *_) = (y for y in core.history([loss]) if y.op and y.op.name == "scan")
    told = repr(node.attrs) + repr(node) + repr(node.op)
    assert "3 steps" in told and "0x" not in told


# -- touches nothing --------------------------------------------------------------------------


def test_L06_drawing_changes_nothing_and_runs_nothing(monkeypatch):
    loss, _ = network("lstm", 10, 2)
    loss.backward(retain_graph=True)
    before = [(y.born, y.grad, y.op, y.inputs, y._array) for y in core.history([loss])]

    def refuse(*_, **__):
        raise AssertionError("a picture runs no ops")

    monkeypatch.setattr(op_module.Op, "__call__", refuse)
    born = next(core._births)
    figure = draw(loss)
    assert figure.svg and figure.dot
    assert next(core._births) == born + 1
    after = [(y.born, y.grad, y.op, y.inputs, y._array) for y in core.history([loss])]
    assert all(
        a is b
        for x, y in zip(before, after, strict=True)
        for a, b in zip(x[1:], y[1:], strict=True)
    )
    assert [x[0] for x in before] == [y[0] for y in after]


def test_L06_a_figure_keeps_no_tensor_alive():
    loss, parameters = network("lstm", 10)
    loss.backward(retain_graph=True)
    gone = [weakref.ref(y) for y in core.history([loss])]
    gc.collect()
    gc.disable()
    try:
        figure = draw(loss)
        assert figure.dot
        del loss, parameters
        assert not [ref for ref in gone if ref() is not None]
    finally:
        gc.enable()


def test_the_same_program_gives_the_same_text():
    def texts():
        loss, _ = network("gru", 10, 2)
        loss.backward(retain_graph=True)
        figure = draw(loss, title="one")
        return figure.svg, figure.dot

    one = texts()
    kept = [tg.tensor(np.zeros(3)) for _ in range(100)]  # other births, other addresses
    assert texts() == one
    assert kept and not re.search(r"0x[0-9a-f]{6,}", "".join(one))


def test_given_new_values_after_its_use_a_leaf_is_still_drawn():
    x = parameter("x", 2)
    y = x * x
    x.data = np.ones(2)
    assert draw(y).nodes == 2


# -- hostile words ----------------------------------------------------------------------------

HOSTILE = [
    '"',
    '"];n0->n1;x[label="',
    "\\",
    "\\N\\G\\n\\l",
    'a\\"b',
    "<b>bold</b>",
    "<script>alert(1)</script>",
    "&lt;&#65;&amp;",
    "]]><!-- & &amp; &lt; &#65;",
    "{a|b}",
    "a\0b\x1b[31m\x7f",
    "\ud800 lone",
    "\u202eright to left\u2066",
    "\ufffe\uffff",
    "x" * 20_000,
    "线\U0001f600é",
    "node",
    "subgraph",
    "graph",
    "a\nb\r\tc",
    "t=",
    "t=99999999999999999999",
    "",
]


@pytest.mark.parametrize("word", HOSTILE, ids=[ascii(word)[:20] for word in HOSTILE])
def test_L02_L04_hostile_words_are_shown_literally_and_change_no_count(word):
    tame = draw(network("lstm", 6, 2)[0])
    figure = draw(network("lstm", 6, 2, word.replace("/", "|"), lambda name: word)[0], title=word)
    counts = tame.nodes, tame.edges
    assert (figure.nodes, figure.edges) == counts
    root = ElementTree.fromstring(figure.svg)
    assert (len(groups(figure, "node")), len(groups(figure, "edge"))) == counts
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "title", "rect", "g", "path", "polygon", "text", "tspan"}
    assert not any(
        name.startswith("on") or "href" in name for e in root.iter() for name in e.attrib
    )
    assert len(figure.svg) < 2 * len(tame.svg)
    assert dot_counts(figure.dot) == counts
    assert max(map(len, figure.dot.splitlines())) < 4000
    figure.svg.encode("utf-8"), figure.dot.encode("utf-8")
    assert all(c == "\n" or c.isprintable() for c in figure.svg + figure.dot)
    if word.isprintable() and 0 < len(word) < 14:
        assert word in shown(figure)


@pytest.mark.parametrize("word", HOSTILE, ids=[ascii(word)[:20] for word in HOSTILE])
def test_L02_other_pictures_show_hostile_words_literally_too(word):
    loss = (parameter(word, 2) ** 2).sum()
    masked = tg.nn.Dropout(0.5, rng=0)(parameter(word, 2, 3)).sum()
    for picture in (
        curve({word: [1, 2], f"{word} b": [2, 1]}, title=word, y_label=word, x_label=word),
        heat_map(np.eye(2), rows=range(2), columns=range(2), title=word),
        tg.view.memory({word: loss, f"{word} c": loss}, title=word),
        tg.view.masks(masked, title=word),
        tg.view.diff(loss, loss + parameter(word, 2).sum(), titles=(word, word)),
        tg.explain(loss).figure,
    ):
        root = ElementTree.fromstring(picture.svg)
        kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert kinds <= {
            "svg",
            "title",
            "rect",
            "g",
            "path",
            "polygon",
            "polyline",
            "text",
            "tspan",
        }
        names = [name for element in root.iter() for name in element.attrib]
        assert not any(name.startswith("on") or "href" in name for name in names)
        assert all(c == "\n" or c.isprintable() for c in picture.svg) and len(picture.svg) < 50_000


@needs_graphviz
@pytest.mark.parametrize("word", HOSTILE, ids=[ascii(word)[:20] for word in HOSTILE])
def test_L02_L04_graphviz_reads_hostile_words_literally(word):
    figure = draw(network("rnn", 2, 1, word.replace("/", "|"), lambda name: word)[0], title=word)
    root = ElementTree.fromstring(neato(figure.dot, "svg"))
    count = [g.get("class") for g in root.iter(f"{SVG}g")].count
    assert (count("node"), count("edge")) == (figure.nodes, figure.edges)
    assert not list(root.iter(f"{SVG}script"))
    if word.isprintable() and 0 < len(word) < 14 and "\U0001f600" not in word:
        assert any(word in text.replace("\xa0", " ") for text in words(root))


def neato(text, format):
    arguments = [PROGRAM, "-n2", f"-T{format}"]
    return subprocess.run(
        arguments, input=text.encode(), capture_output=True, check=True, timeout=60
    ).stdout


def test_L07_large_arrays_and_long_shapes_are_told_in_short():
    large = tg.tensor(np.full((1000, 1000), np.nan), requires_grad=True)
    deep = tg.tensor(np.ones((1,) * 60))
    figure = draw((large * 2.0).sum() + deep.sum())
    assert "1000×1000" in shown(figure) and len(figure.svg) + len(figure.dot) < 20_000


def test_L04_equal_names_are_two_tensors():
    assert draw(parameter("x", 2) * parameter("x", 2)).nodes == 3


def test_a_scope_that_only_looks_like_a_step_is_none():
    x = parameter("x", 2)
    with tg.scope("t=x"), tg.scope("cat=3"):
        y = x + x
    assert draw(y).steps == 0


# -- sizes ------------------------------------------------------------------------------------


def long_chain(T):
    w = parameter("w", 2)
    h = tg.tensor(np.ones(2))
    for t in range(T):
        with tg.scope(f"rnn/t={t}"):
            h = tg.tanh(h * w)
    return h.sum()


def test_a_very_long_sequence_folds():
    figure = draw(long_chain(20_000))
    assert (figure.steps, figure.hidden_steps, figure.nodes) == (20_000, 19_996, 4 * 3 + 1 + 2)
    assert "… 19996 steps …" in shown(figure)
    assert repr(figure) == f"figure: 20,000 steps (4 shown), 15 nodes, {figure.edges} edges"


def test_too_many_nodes_are_refused_with_advice():
    with pytest.raises(ValueError, match="first=1, last=1"):
        draw(long_chain(2000), first=2000)
    x = parameter("x", 2)
    for _ in range(4000):
        x = x + 1.0
    with pytest.raises(ValueError, match="scope"):
        draw(x)


# -- bad input --------------------------------------------------------------------------------


def test_L05_a_leaf_alone_is_one_node():
    figure = draw(parameter("x", 2))
    assert (figure.nodes, figure.edges, repr(figure)) == (1, 0, "figure: 1 node, 0 edges")
    assert draw(tg.tensor(1.0)).nodes == 1 and draw([tg.tensor([]), tg.tensor(2)]).nodes == 2


def test_a_leaf_beside_steps_is_drawn_after_them():
    loss, _ = network("rnn", 2)
    assert draw([loss, parameter("x", 2)]).nodes == draw(loss).nodes + 1


@pytest.mark.parametrize(
    "arguments, options, error",
    [
        ([], {}, ValueError),
        ([1.0], {}, TypeError),
        (None, {"first": -1}, ValueError),
        (None, {"first": 1.5}, TypeError),
        (None, {"first": 0, "last": 0}, ValueError),
    ],
)
def test_L05_bad_arguments_are_refused(arguments, options, error):
    with pytest.raises(error, match="draw"):
        draw(parameter("x", 2) if arguments is None else arguments, **options)


# -- programs ---------------------------------------------------------------------------------


def figure_of_one():
    return draw(parameter("x", 2).sum())


@pytest.mark.parametrize("named", [None, "/nowhere/dot"])
def test_L01_a_missing_program_is_an_error_that_lists_the_cures(monkeypatch, tmp_path, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(render_module, "_has_library", lambda: False)
    monkeypatch.delenv("TINYGRAD_RNN_DOT", raising=False)
    if named:
        monkeypatch.setenv("TINYGRAD_RNN_DOT", named)
    figure = figure_of_one()
    with pytest.raises(GraphvizNotFound) as caught:
        figure.save(tmp_path / "x.png")
    for cure in (
        ".svg",
        "apt install graphviz",
        "brew",
        "choco",
        "conda",
        "TINYGRAD_RNN_DOT",
        "or as .dot",
    ):
        assert cure in str(caught.value)
    figure.save(tmp_path / "x.svg")
    figure.save(tmp_path / "x.dot")
    assert figure._repr_svg_() and figure._repr_mimebundle_()
    assert sorted(os.listdir(tmp_path)) == ["x.dot", "x.svg"]


def program(tmp_path, monkeypatch, script):
    path = tmp_path / "fake dot"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("TINYGRAD_RNN_DOT", str(path))


def test_L01_a_program_that_fails_is_quoted(monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, "cat > /dev/null; echo 'cairo is broken' >&2; exit 3")
    with pytest.raises(RuntimeError, match=r"code 3.*cairo is broken"):
        figure_of_one().render("png")


@pytest.mark.parametrize(
    "what, words",
    [
        (b"no program at all", "could not be started .*Exec format.*apt install graphviz"),
        (b"#!/nowhere/sh\n", "could not be started .*No such file.*or as .dot"),
        (b"#!/bin/sh\nkill -11 $$\n", "failed with code -11; it said: nothing"),
        (b"#!/bin/sh\nexit 0\n", "failed with code 0; it said: nothing"),  # nor wrote anything
        (b"#!/bin/sh\nprintf '\\377 bad' >&2; exit 1\n", "it said: \ufffd bad.*needs no program"),
        (b"#!/bin/sh\nyes >&2 & kill -13 $!; head -c 99999 /dev/zero >&2; exit 1\n", "code 1"),
        (None, "names '.*fake dot', which is no program"),
    ],
    ids=str,
)
@pytest.mark.skipif(os.name == "nt", reason="scripts of a shell")
def test_L01_a_program_that_is_broken_is_said_to_be(what, words, monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, "")
    path = tmp_path / "fake dot"
    path.write_bytes(what or b"#!/bin/sh\necho picture\n")
    path.chmod(0o755 if what else 0o644)
    with pytest.raises(RuntimeError, match=words) as no:
        figure_of_one().render("png")
    assert len(str(no.value)) < 2500


def test_L01_a_program_that_hangs_is_stopped(monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, "exec sleep 30")
    monkeypatch.setattr(render_module, "TIMEOUT", 0.3)
    with pytest.raises(RuntimeError, match="longer than"):
        figure_of_one().render("png")


def test_L01_a_program_that_warns_is_believed(monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, "cat > /dev/null; echo warning >&2; echo picture")
    assert figure_of_one().render("pdf") == b"picture\n"


def test_the_program_is_asked_for_finished_coordinates(monkeypatch, tmp_path):
    program(tmp_path, monkeypatch, 'cat > /dev/null; echo "$@"')
    assert figure_of_one().render("png").split() == [b"-Kneato", b"-Tpng", b"-n2"]


@needs_graphviz
@pytest.mark.parametrize("format, start", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_graphviz_paints_the_picture(tmp_path, format, start):
    figure = draw(network("lstm", 10, 2)[0])
    figure.save(tmp_path / f"x.{format}")
    assert (tmp_path / f"x.{format}").read_bytes().startswith(start)


@needs_graphviz
def test_graphviz_keeps_the_places_it_is_given():
    figure = draw(network("lstm", 10)[0])
    rows = [line.split() for line in neato(figure.dot, "plain").decode().splitlines()]
    places = {row[1]: (float(row[2]) * 72, float(row[3]) * 72) for row in rows if row[0] == "node"}
    zero = [
        places["n0"][k] - p
        for k, p in enumerate((figure._sheet.graph.nodes[0].x, -figure._sheet.graph.nodes[0].y))
    ]
    for n, node in enumerate(figure._sheet.graph.nodes):
        assert places[f"n{n}"][0] - zero[0] == pytest.approx(node.x, abs=1)
        assert places[f"n{n}"][1] - zero[1] == pytest.approx(-node.y, abs=1)


DEJAVU_BOLD = {  # advance widths of DejaVu Sans Bold in thousandths of an em, as its file has them
    "Wh": 1815, "x Wx + h Wh + b": 9400, "0.0404": 3859, "mmmmm": 5210, "ill": 1028, "σ": 779,
    "c = f·c0 + i·g": 7203, "no grad yet": 6503, "@MW%": 4100, "…": 1000,
}  # fmt: skip


@pytest.mark.parametrize("words", DEJAVU_BOLD)
def test_text_is_measured_by_the_widest_common_font(words):
    from tinygrad_rnn.view.text import width

    wide = DEJAVU_BOLD[words] / 1000
    assert wide <= width(words, 1.0) <= 1.12 * wide


def marks_of(marks, kind):
    """The marks of a type, those within groups too."""
    for mark in marks:
        if isinstance(mark, kind):
            yield mark
        yield from marks_of(getattr(mark, "marks", ()), kind)


def pictures():
    """One of every kind, with as long words as there may be."""
    loss, _ = network("lstm", 10, 2)
    loss.backward(retain_graph=True)
    long = "A title that is so long that it would be cut on its left side"
    yield draw(loss, title=long)
    for level, view in (("op", "folded"), ("gate", "unrolled"), ("cell", "unrolled")):
        yield draw(loss, level=level, overlay="backward", view=view)
    yield tg.view.diff(loss, network("gru", 10)[0], titles=(long, "WWWWWW"))
    yield curve({"W" * 40: [1, 2], "M" * 40: [2, 1]}, title=long, y_label="W" * 60, x_label=long)
    yield heat_map(np.tril(np.ones((12, 12))) / 3e7, rows=range(12), columns=range(12), title=long)
    yield tg.view.memory({"W" * 60: loss})
    yield tg.view.masks(tg.nn.Dropout(0.5, rng=0)(parameter("W" * 50, 2, 3)).sum(), title=long)


def test_no_words_leave_the_paper_or_their_box():
    """In the widest common font, whatever the format."""
    for picture in pictures():
        canvas = picture._canvas
        for text in marks_of(canvas.marks, Text):
            left, right = text.span
            assert left >= -0.1 and right <= canvas.width + 0.1, (repr(picture), text)
            assert 0.7 * text.size <= text.y <= canvas.height
        for group in marks_of(canvas.marks, Group):
            if group.kind in ("caption", "key"):
                assert all(text.span[0] >= MARGIN for text in marks_of(group.marks, Text))
            if not group.kind.startswith("node ") or group.kind == "node constant":
                continue
            box, *_ = (mark for mark in group.marks if isinstance(mark, Box))
            for text in (mark for mark in group.marks if isinstance(mark, Text)):
                if abs(text.x - box.x - box.w / 2) < 0.1:  # no badge, which has a box of its own
                    left, right = text.span
                    assert box.x <= left and right <= box.x + box.w, (repr(picture), text)
                    assert box.y < text.y - 0.7 * text.size and text.y < box.y + box.h


def test_graphviz_is_given_the_paper_as_it_is():
    figure = draw(network("lstm", 10, 2)[0], title="A title")
    for text in (figure.dot, figure._canvas.painted()):
        (size,) = re.findall(r'graph \[bb="0,-([\d.]+),([\d.]+),0"', text)
        paper = [figure._canvas.height, figure._canvas.width]
        assert [*map(float, size)] == pytest.approx(paper, abs=0.01)
    placed = re.findall(r'pos="([\d.]+),-([\d.]+)", width=([\d.]+), height=([\d.]+)', figure.dot)
    assert len(placed) == figure.nodes + 1  # and the paper
    for x, y, wide, high in (map(float, numbers) for numbers in placed):
        assert x - 36 * wide >= -0.1 and x + 36 * wide <= figure._canvas.width + 0.1
        assert y - 36 * high >= -0.1 and y + 36 * high <= figure._canvas.height + 0.1


@needs_graphviz
@pytest.mark.parametrize("format, start", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_every_picture_is_painted_as_it_is_in_svg(format, start):
    """The marks that graphviz paints are those of the SVG, each at its place."""
    for picture in (curve([3, 1, 2], title="b\\", y_label='"q"'), draw(parameter("x", 2).sum())):
        assert picture.render(format).startswith(start)
        painted = ElementTree.fromstring(neato(picture._canvas.painted(), "svg"))
        given = ElementTree.fromstring(picture.svg)
        texts = [[t.replace("\xa0", " ").replace('"', "''") for t in words(x)]
                 for x in (painted, given)]  # fmt: skip
        assert texts[0] == texts[1]
        shapes = [list(marks_of(picture._canvas.marks, kind)) for kind in (Box, Path)]
        count = sum(map(len, shapes)) + sum(len(path.parts) - 1 for path in shapes[1])
        drawn = [e for e in painted.iter() if re.search("poly|path", e.tag)]
        assert len(drawn) == count + 1  # and the paper


@needs_graphviz
def test_a_png_is_the_sheet_with_its_margins():
    for figure in (draw(network("rnn", 2)[0], title="wide " * 16), figure_of_one()):
        data = figure.render("png")
        size = [int.from_bytes(data[k : k + 4], "big") * 72 / 96 for k in (16, 20)]
        assert size == pytest.approx([figure._canvas.width, figure._canvas.height], abs=2)


# -- files and notebooks ----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".svg", ".SVG", ".dot", ".gv"])
def test_L03_L08_text_is_saved_as_utf_8_and_replaces_what_was_there(tmp_path, suffix):
    path = tmp_path / f"a picture{suffix}"
    path.write_text("old")
    figure = draw(parameter("重み", 2).sum())
    figure.save(str(path))
    expected = figure.svg if suffix.lower() == ".svg" else figure.dot
    assert path.read_bytes() == expected.encode() == figure.render(suffix[1:].lower())
    assert "重み" in expected and b"\r" not in path.read_bytes()
    assert os.listdir(tmp_path) == [path.name]


LOCALE = r"""
import sys, numpy as np, tinygrad_rnn as tg
from tinygrad_rnn.tape import tape_of
x = tg.tensor(np.ones(2), requires_grad=True, name="\u91cd\u307f")
loss = (x * x).sum()
for picture in (tg.draw(loss, title="\u03b4"), tg.view.curve({"\u91cd\u307f": [1, 2]})):
    picture.save(f"{type(picture).__name__}.svg")
tg.draw(loss).save("a.dot"), tg.explain(loss).save("a.html"), tape_of(loss).save("a.json")
tg.io.save("a", {"\u91cd\u307f": x.data}), tg.io.write_text_atomically("a.txt", "\u91cd\u307f\n")
assert [*tg.io.load("a")[0]] == ["\u91cd\u307f"]
try:
    tg.draw(loss).save("\u91cd.svg")
except ValueError as no:
    assert sys.getfilesystemencoding() in str(no)
print(sys.getfilesystemencoding(), sys.stdout.encoding)
"""


@pytest.mark.skipif(os.name == "nt", reason="locales by variables")
def test_J16_L08_files_are_utf_8_in_any_locale(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOCALE], cwd=tmp_path, capture_output=True,
        text=True, env=os.environ | plain | {"PYTHONPATH": path},
    )  # fmt: skip
    assert out.returncode == 0 and "utf" not in out.stdout, out.stderr
    for name in os.listdir(tmp_path):
        data = (tmp_path / name).read_bytes()
        assert "重み" in data[8 * (name == "a") :].decode(
            "utf-8", "strict" if "." in name else "replace"
        )
        assert b"\r" not in data
    assert len(os.listdir(tmp_path)) == 7


def test_L03_a_name_like_an_option_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure_of_one().save("-Tsvg.svg")
    assert os.listdir(tmp_path) == ["-Tsvg.svg"]


@pytest.mark.parametrize(
    "name, error, word",
    [
        ("x.bmp2", ValueError, ".svg, .dot"),
        ("x", ValueError, ".png"),
        ("nowhere/x.svg", FileNotFoundError, "create it"),
        ("folder.svg", IsADirectoryError, "folder"),
    ],
)
def test_L03_what_cannot_be_saved_is_said(tmp_path, name, error, word):
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(error, match=re.escape(word)):
        figure_of_one().save(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.svg"]


@pytest.mark.parametrize("format", ["exe", ".svg", None, "-o/etc/passwd"])
def test_L03_an_unknown_format_is_refused(format):
    with pytest.raises(ValueError, match=r"expected one of \('svg', 'dot'"):
        figure_of_one().render(format)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.svg"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        figure_of_one().save(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.svg"]


def test_a_notebook_gets_svg_and_text_and_nothing_else():
    figure = figure_of_one()
    assert figure._repr_mimebundle_() == {"image/svg+xml": figure.svg, "text/plain": repr(figure)}
    assert figure._repr_mimebundle_(include={"text/plain"}) == {"text/plain": repr(figure)}
    assert figure._repr_mimebundle_(exclude={"text/plain"}) == {"image/svg+xml": figure.svg}
    assert isinstance(figure, Figure) and figure._repr_svg_() == figure.svg


# -- curves -----------------------------------------------------------------------------------


def lines_of(picture):
    root = ElementTree.fromstring(picture.svg)
    return [element for element in root.iter() if element.get("class") == "line"]


def test_a_curve_goes_through_its_points():
    picture = curve({"loss": ([0, 1, 2], [4, 1, 2])}, title="Loss", x_label="step", y_label="nats")
    (line,) = lines_of(picture)
    points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.02)
    assert ys[0] < ys[2] < ys[1]  # y runs downwards on paper
    assert (ys[1] - ys[2]) / (ys[1] - ys[0]) == pytest.approx(1 / 3, abs=1e-3)
    assert {"Loss", "step", "nats", "loss", "0.0", "2.0"} <= set(
        words(ElementTree.fromstring(picture.svg))
    )
    assert repr(picture) == "curve: 1 series, 3 points"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_a_gap(bad):
    picture = curve({"a": (range(6), [1, 2, bad, 3, bad, 5])})
    tags = [line.tag.removeprefix(SVG) for line in lines_of(picture)]
    assert tags == ["polyline", "rect", "rect"]
    assert "nan" not in picture.svg.lower().replace("finance", "") and "inf" not in picture.svg


@pytest.mark.parametrize(
    "series", [{}, {"a": ([], [])}, {"a": ([1], [np.nan])}], ids=["none", "empty", "nan"]
)
def test_a_chart_without_points_says_so(series):
    picture = curve(series)
    assert not lines_of(picture) and "no finite points" in picture.svg


@pytest.mark.parametrize("y", [0.0, 3.0, -2e-9, 1e30])
def test_a_single_point_and_a_flat_line_stand_in_the_chart(y):
    (dot,) = lines_of(curve({"a": ([5], [y])}))
    assert 60 < float(dot.get("x")) + 3 < 720 and 0 < float(dot.get("y")) + 3 < 400
    assert len(lines_of(curve({"a": ([1, 2], [y, y])}))) == 1


@pytest.mark.parametrize("line", [
    [0.000512, 0.000518], ([1_000_000, 1_010_000, 1_020_000], [1, 2, 3]), [1e6, 1.05e6],
    [0, 1e-300], [1e15, 1e15 + 8],
])  # fmt: skip
def test_no_two_ticks_are_the_same(line):
    texts = re.findall(r'text-anchor="(\w+)"[^>]*>([^<]+)</text>', tg.view.curve(line).svg)
    assert texts
    for side in ("middle", "end"):
        ticks = [text for anchor, text in texts if anchor == side]
        assert len({*ticks}) == len(ticks)


def test_the_step_of_a_slice_is_shown():
    x = tg.tensor(np.eye(3), requires_grad=True)
    svg = tg.draw((x[::2] * x[::-2]).sum()).svg
    assert "index=(::2)" in svg and "index=(::-2)" in svg


def test_the_ticks_of_a_curve_are_round():
    from tinygrad_rnn.view.chart import round_ticks

    assert round_ticks((0.0, 6.0)) == [0, 1, 2, 3, 4, 5, 6]
    assert round_ticks((0.0, 1.0))[1] == pytest.approx(0.2)
    assert round_ticks((-130.0, 130.0))[0] == -150


def test_any_number_of_lines_is_told_apart():
    many = {f"<{k}>": ([0, 1], [k, k + 1]) for k in range(30)}
    picture = curve(many)
    looks = {(e.get("stroke"), e.get("stroke-dasharray")) for e in lines_of(picture)}
    assert len(looks) == 30
    four = lines_of(curve({k: many[k] for k in list(many)[:4]}))
    assert len({line.get("stroke-dasharray") for line in four}) == 4  # on paper, too
    texts = list(ElementTree.fromstring(picture.svg).iter(f"{SVG}text"))
    (more,) = (t for t in texts if "more" in (t.text or ""))
    assert more.text == "… and 6 more" and "<23>" in [t.text for t in texts]
    names = [t for t in texts if (t.text or "").startswith(("<", "…"))]
    assert all(72 <= float(t.get("x")) < 720 for t in names)
    top = min(
        float(y)
        for e in lines_of(picture)
        for y in e.get("points").replace(" ", ",").split(",")[1::2]
    )
    assert max(float(t.get("y")) for t in names) < top  # above the plot
    with pytest.raises(ValueError, match="as many ys"):
        curve({"a": ([1, 2], [1])})


GIVEN = {
    "a list": [3, 1, 2],
    "a dict": {"loss": [3, 1, 2]},
    "an array": np.array([3, 1, 2], np.float32),
    "integers": np.array([3, 1, 2]),
    "a tensor": tg.tensor([3.0, 1.0, 2.0], requires_grad=True),
    "numbers of tensors": [tg.tensor(v, requires_grad=True) * 1 for v in (3.0, 1.0, 2.0)],
    "xs and ys": ([0, 1, 2], [3, 1, 2]),
    "arrays xs and ys": (np.arange(3), np.array([3, 1, 2])),
    "pairs": [(0, 3), (1, 1), (2, 2)],
    "an array of pairs under a name": {"loss": np.array([[0, 3], [1, 1], [2, 2]])},
    "a list of xs and ys under a name": {"loss": [[0, 1, 2], [3, 1, 2]]},
    "a list of one line": [[3, 1, 2]],
}


@pytest.mark.parametrize("given", GIVEN)
def test_a_line_may_be_given_as_people_have_it(given):
    (line,) = lines_of(curve(GIVEN[given]))
    (expected,) = lines_of(curve({"loss": ([0, 1, 2], [3, 1, 2])}))
    assert line.get("points") == expected.get("points")


def test_whatever_can_be_iterated_over_is_a_line():
    assert repr(curve(k * k for k in range(4))) == "curve: 1 series, 4 points"
    assert repr(curve({"a": range(3), "b": iter([1.0])})) == "curve: 2 series, 4 points"
    assert [line.tag.removeprefix(SVG) for line in lines_of(curve([1, None, 2, 3]))] == [
        "rect", "polyline"]  # fmt: skip


@pytest.mark.parametrize("rows", [[[1, 2, 3], [3, 2]], np.ones((2, 3)), [([0, 1], [1, 2])] * 2])
def test_several_lines_without_names_are_numbered(rows):
    picture = curve(rows)
    assert len(lines_of(picture)) == 2
    assert {"1", "2"} <= set(words(ElementTree.fromstring(picture.svg)))


@pytest.mark.parametrize(
    "given, error",
    [
        ("loss", TypeError),
        (3, TypeError),
        (None, TypeError),
        ({"a": 3.0}, TypeError),
        ({"a": "x"}, TypeError),
        ({"a": {"b": [1]}}, TypeError),
        ([object()], TypeError),
        ({"a": [[1, 2, 3]] * 3}, ValueError),
        ({"a": [1, [2, 3]]}, ValueError),
    ],
)
def test_what_is_no_line_is_refused_with_what_would_be_one(given, error):
    with pytest.raises(error, match=r"curve.*expected numbers.*\(xs, ys\)"):
        curve(given)


def test_a_logarithmic_scale():
    """Equal factors are equal distances; what is not above 0 is a gap."""
    picture = curve([1000, 100, 1, 0, 10], log=True)
    line, dot = lines_of(picture)
    ys = [float(p.split(",")[1]) for p in line.get("points").split()]
    assert ys[2] - ys[1] == pytest.approx(2 * (ys[1] - ys[0]), abs=0.05)
    assert float(dot.get("y")) + 3 == pytest.approx((ys[1] + ys[2]) / 2, abs=0.05)
    assert {"1", "10", "100", "1000"} <= set(words(ElementTree.fromstring(picture.svg)))
    assert "no points above 0" in curve([0, -1], log=True).svg
    for span in ([3.0, 2.1], [1.5e-7, 3e-7, 4e-6], [1e-30, 1e30], [5.0], [7.0, 7.0]):
        for line in lines_of(curve(span, log=True)):
            ys = [float(place.split(",")[1]) for place in (line.get("points") or "").split()]
            ys = ys or [float(line.get("y")) + 3]
            assert all(55.9 <= y <= 344.1 for y in ys)


def test_a_curve_is_saved_as_svg_and_not_as_a_page(tmp_path):
    curve({"a": ([0, 1], [1, 2])}).save(tmp_path / "loss.svg")
    ElementTree.parse(tmp_path / "loss.svg")
    with pytest.raises(ValueError, match=r"\.svg"):
        curve({}).save(tmp_path / "loss.html")


def test_importing_the_package_starts_no_graphviz():
    code = "import sys, tinygrad_rnn.view; assert 'graphviz' not in sys.modules"
    subprocess.run([os.sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("series", [
    [1e308, -1e308], [1.797e308] * 2, [5e-324, 1e-323], [10**400, 1], [-1e300, 1e300],
    ([-1e308, 1e308], [1, 2]), [1e9 + k for k in range(5)], [1.0000001, 1.0000002, 1.0000003],
])  # fmt: skip
@pytest.mark.parametrize("log", [False, True])
def test_numbers_of_any_size_have_a_chart_with_whole_labels(series, log):
    root = ElementTree.fromstring(curve(series, log=log).svg)
    words = [el for el in root.iter() if el.tag.endswith("text") and el.get("text-anchor") == "end"]
    assert words
    for el in words:  # on the paper from their first letter on
        assert float(el.get("x")) - width(el.text, float(el.get("font-size"))) >= 0, el.text


@pytest.mark.parametrize(
    "series", [[999000.0, 1e6], [1e-5, 1e-4, 1e-3], [0.5, 2e7], [1e299, 1e300]]
)
def test_labels_of_powers_are_told_apart_and_written_one_way(series):
    root = ElementTree.fromstring(curve(series, log=True).svg)
    words = [el.text for el in root.iter() if el.get("text-anchor") == "end"]
    assert len({*words}) == len(words) and not any(re.search("e[+-]?0|^10e", w) for w in words)
    assert [float(w) for w in words] == sorted(map(float, words))


def test_the_name_of_a_run_is_no_longer_than_what_its_facts_leave():
    loss = nn.LSTM(2, 3, rng=0)(np.ones((4, 1, 2), np.float32))[0].sum()
    svg = tg.view.memory({"W" * 60: loss, "b": loss}).svg
    words = {el.text: el for el in ElementTree.fromstring(svg).iter() if el.tag.endswith("text")}
    name = next(el for text, el in words.items() if text and text.startswith("WWW"))
    beside = next(el for text, el in words.items() if text and "a step" in text)
    end = float(name.get("x")) + width(name.text, float(name.get("font-size")))
    assert end < float(beside.get("x")) - width(beside.text, float(beside.get("font-size")))


def test_a_number_in_five_letters():
    given = [0.0, 0.25, 12.0, 99.4, 99.6, 100.0, -99.9, 150.0, -9999.0, 1e4, 123456.0, 0.001]
    told = [brief(v) for v in given]
    assert told == [
        "0",
        "0.25",
        "12",
        "99",
        "100",
        "100",
        "-100",
        "150",
        "-9999",
        "1e4",
        "1e5",
        "1e-3",
    ]
    assert max(map(len, told)) <= 5


@pytest.mark.parametrize("path", [5, "", None])
def test_a_path_that_is_none_is_refused_in_words(path):
    x = tg.tensor([1.0], requires_grad=True)
    for picture in (curve([1.0]), tg.explain((x * x).sum())):
        with pytest.raises((TypeError, ValueError), match=r"save\(path\): expected "):
            picture.save(path)


def test_what_reads_only_the_last_of_folded_steps_is_shown():
    """A head on the last state of a loop written by hand: no other op reads a step like it."""
    cell, head = nn.GRU(2, 3, rng=0), nn.Linear(3, 1, rng=0)
    (h,) = cell.begin(4)
    for t in range(5):
        with tg.scope(f"layer0/t={t}"):
            h = cell.step(tg.tensor(np.ones((4, 2), np.float32)), h)
    loss = tg.mean_squared_error(head(h), np.zeros((4, 1), np.float32))
    for y in (loss, loss + (h * h).sum()):
        sheet = tg.draw(y, view="folded")._sheet
        assert [node.name for node in sheet.graph.nodes].count("W") == 1
    assert tg.explain(loss).equations
