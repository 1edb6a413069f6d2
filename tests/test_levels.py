"""One trace, many pictures: levels, the folded view, the backward pass, gaps, two runs compared."""

import functools
import gc
import importlib
import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from functools import cache

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tape import Tape, tape_of
from tinygrad_rnn.view.canvas import DOTS

SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = shutil.which("neato")
B, H = 2, 4

PARTS = {
    "RNN": lambda: [nn.RNN(H, H, rng=0)],
    "LSTM": lambda: [nn.LSTM(H, H, rng=0)],
    "GRU": lambda: [nn.GRU(H, H, rng=0)],
    "two": lambda: [nn.LSTM(H, H, rng=0), nn.GRU(H, H, rng=1)],
    "both ways": lambda: [nn.Bidirectional(nn.GRU(H, H, rng=0), nn.LSTM(H, H, rng=1))],
    "masked": lambda: [
        nn.Zoneout(
            nn.VariationalDropout(nn.LSTM(H, H, rng=0), state=0.3, rng=1), h=0.2, c=0.4, rng=2
        )
    ],
    "cut": lambda: [nn.DropConnect(nn.LSTM(H, H, rng=0), 0.3, rng=1)],
    "skip": lambda: [nn.Residual(nn.TimeSkip(nn.GRU(H, H, rng=0), 3))],
}  # fmt: skip
HOW = {"both ways": {"lengths": True}}


def run(kind="LSTM", T=5, unroll=True, scale=1.0, name="x"):
    """The loss of a small network over T steps."""
    xs = np.sin(np.arange(T * B * H, dtype=np.float32)).reshape(T, B, H)
    layer = nn.Recurrent(*PARTS[kind](), unroll=unroll)
    how = {"lengths": [T, max(1, T - 2)]} if kind in HOW else {}
    ys, _ = layer(tg.tensor(xs, name=name), **how)
    return (ys * ys).sum() * scale


shared = cache(run)  # of what is only looked at


@cache
def taped(kind, T):
    """The tape of such a run, with its backward pass."""
    return tape_of(shared(kind, T))


@cache
def drawn(kind, T, unroll=True, **look):
    """Such a run drawn, and only looked at."""
    return tg.draw(shared(kind, T, unroll), **look)


def graph(figure):
    return figure._sheet.graph


def groups(figure, kind):
    root = ElementTree.fromstring(figure.svg)
    return [g for g in root.iter(f"{SVG}g") if kind in g.get("class", "").split()]


def shown(figure):
    return "\n".join(
        "".join(text.itertext()) for text in ElementTree.fromstring(figure.svg).iter(f"{SVG}text")
    )


def dot_counts(text):
    return len(re.findall(r"^ *n\d+ \[", text, re.M)), len(re.findall(r"^ *n\d+ -> n", text, re.M))


def without_numbers(text):
    return re.sub(r' data-\w+="[\d ]*"', "", text)


# -- the trace --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("backward", [False, True])
def test_a_trace_is_read_back_as_it_was_written(kind, backward):
    trace = tape_of(run(kind), values=backward, backward=backward, title="北")
    assert Tape.load(trace.json()) == trace
    json.loads(trace.json(), parse_constant=pytest.fail)  # no NaN, which is no JSON


def test_a_trace_keeps_what_is_not_finite():
    trace = tape_of(run(scale=np.nan))
    assert any(r.grad and math.isnan(r.grad.l2) for r in trace.records)
    again = Tape.load(trace.json())
    assert any(r.grad and math.isnan(r.grad.l2) for r in again.records)
    assert again == trace


def test_a_trace_with_values_and_gradients_is_small():
    trace = tape_of(run(T=42), values=True, backward=True)
    assert len(trace.records) > 600
    assert len(trace.json().encode()) < 440_000


def test_J07_a_tape_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version"):
        Tape.load('{"version": 999}')


def test_a_trace_is_drawn_like_the_tensors():
    loss = run("two")
    assert tg.draw(tape_of(loss, values=False, backward=False)).svg == tg.draw(loss).svg
    walked = tape_of(loss)
    one, other = (tg.draw(x, overlay="backward").svg for x in (walked, loss))
    assert one == other
    with pytest.raises(ValueError, match="with a backward pass"):
        tg.draw(tape_of(loss, backward=False), overlay="backward")


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "folded"])
@pytest.mark.parametrize("kind", ["two", "both ways"])
def test_the_svg_tells_which_records_it_draws(kind, level, view):
    trace = tape_of(run(kind, T=8), values=False, backward=False)
    figure = tg.draw(trace, level=level, view=view)
    drawn = [int(k) for g in groups(figure, "op") for k in g.get("data-ids").split()]
    assert len(drawn) == len(set(drawn))  # no op is drawn twice
    assert all(trace.records[k].kind == "op" for k in drawn)
    for g in groups(figure, "edge"):
        if g.get("data-source"):
            source, target, place = (int(g.get(f"data-{k}")) for k in ("source", "target", "place"))
            x = trace.records[target].inputs[place]
            while x[1] >= 0 and trace.records[x[0]].call.restacked:
                x = trace.records[trace.records[x[0]].inputs[0][0]].inputs[x[1]]
            assert x[0] == source
    times = [g.get("data-t") for g in groups(figure, "step")]
    expected = ["0", "1", "2", "7"] if view == "unrolled" else ["0"]
    assert [t for t in times if t is not None] == expected


# -- levels -----------------------------------------------------------------------------------

GATES = {
    "RNN": ["h = tanh(x Wx + h Wh + b)"],
    "LSTM": ["x Wx + h Wh + b", "f = σ", "i = σ", "g = tanh", "o = σ", "c = f·c + i·g",
             "h = o·tanh(c)"],
    "GRU": ["sums", "r = σ(… + …)", "z = σ(… + …)", "n = tanh(… + (r·h) Wn)",
            "h = (1 − z)·h + z·n"],
}  # fmt: skip


def boxes_at(figure, t):
    found = graph(figure)
    (column,) = (k for k, c in enumerate(found.columns) if c.time == t and c.kind == "step")
    return [node for node in found.nodes if node.spot[0] == column and node.kind == "op"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_gate_is_a_box_with_its_formula(kind):
    figure = tg.draw(run(kind), level="gate")
    assert sorted(box.glyph for box in boxes_at(figure, 1)) == sorted(GATES[kind])


SUM = "x Wx + {h} Wh + b"
LSTM = [SUM, "i = σ", "g = tanh", "f = σ", "o = σ", "c = f·{c} + i·g", "h = o·tanh(c)"]
WITHIN = [*LSTM[:5], "c̃ = f·{c} + i·g", "h̃ = o·tanh(c̃)"]
FORMULAS = {
    "LSTM": (lambda: nn.LSTM(3, 3, rng=0), LSTM),
    "peepholes": (lambda: nn.LSTM(3, 3, peepholes=True, rng=0),
        [SUM, "i = σ(… + {c}·P[0])", "g = tanh", "f = σ(… + {c}·P[1])", LSTM[5],
         "o = σ(… + c·P[2])", LSTM[6]]),
    "coupled": (lambda: nn.LSTM(3, 3, coupled=True, rng=0),
        [SUM, "i = σ", "g = tanh", "o = σ", "f = 1 − i", *LSTM[5:]]),
    "projection": (lambda: nn.LSTM(3, 3, projection=3, rng=0), [*LSTM[:6], "h = (o·tanh(c)) Wr"]),
    "GRU": (lambda: nn.GRU(3, 3, rng=0),
        ["sums", "z = σ(… + …)", "r = σ(… + …)", "n = tanh(… + (r·{h}) Wn)",
         "h = (1 − z)·{h} + z·n"]),
    "reset after": (lambda: nn.GRU(3, 3, convention="keras", rng=0),
        ["sums", "z = σ(… + …)", "r = σ(… + …)", "n = tanh(… + r·({h} Wn + bn))",
         "h = z·{h} + (1 − z)·n"]),
    "one gate": (lambda: nn.MinimalGatedUnit(3, 3, rng=0),
        ["x Wx + b", "f = σ(… + {h} Wh)", "n = tanh(… + (f·{h}) Wn)", "h = (1 − f)·{h} + f·n"]),
    "cut states": (lambda: nn.VariationalDropout(nn.LSTM(3, 3, rng=0), state=0.3, rng=1),
        ["x Wx + ({h}·h mask) Wh + b", *LSTM[1:]]),
    "cut inputs": (lambda: nn.FeedforwardDropout(nn.LSTM(3, 3, rng=0), 0.3, rng=1),
        ["… Wx + {h} Wh + b", *LSTM[1:]]),  # what was cut has no name
    "cut weights": (lambda: nn.DropConnect(nn.LSTM(3, 3, rng=0), 0.3, rng=1),
        ["x Wx + {h} (Wh·W mask) + b", *LSTM[1:]]),
    "zoneout": (lambda: nn.Zoneout(nn.LSTM(3, 3, rng=0), h=0.3, c=0.3, rng=1),
        [*WITHIN, "c = [c keep ? {c} : c̃]", "h = [h keep ? {h} : h̃]"]),
    "zoneout of h": (lambda: nn.Zoneout(nn.LSTM(3, 3, rng=0), h=0.3, rng=1),
        [*LSTM[:6], "h̃ = o·tanh(c)", "h = [h keep ? {h} : h̃]"]),
    "zoneout in evaluation mode": (lambda: nn.Zoneout(nn.LSTM(3, 3, rng=0), h=0.3, c=0.3).eval(),
        [*WITHIN, "c = 0.3 {c} + 0.7 c̃", "h = 0.3 {h} + 0.7 h̃"]),
    "clipped": (lambda: nn.ClipGradient(nn.LSTM(3, 3, rng=0), norm=1.0),
        [*WITHIN, "c = clip gradient(c̃)", "h = clip gradient(h̃)"]),
    "learned": (lambda: nn.LearnedState(nn.LSTM(3, 3, rng=0)), LSTM),
    "twice": (lambda: nn.Zoneout(nn.ClipGradient(nn.RNN(3, 3, rng=0), norm=1.0), h=0.3, rng=1),
        ["h̃ = tanh(x Wx + {h} Wh + b)", "h̃̃ = clip gradient(h̃)", "h = [h keep ? {h} : h̃̃]"]),
    "Jordan": (lambda: nn.OutputRecurrent(3, 3, 3, rng=0),
        ["h = tanh(x Wx + {o} Wo + b)", "o = h V + c"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_gate_says_the_formula_of_its_cell(kind):
    """At every step: before the first stand h0 and c0; at the last one, c̃ is there all the same."""
    make, formulas = FORMULAS[kind]
    ys, _ = make()(tg.tensor(np.ones((3, 1, 3), np.float32), name="x"), unroll=True)
    figure = tg.draw((ys * ys).sum(), level="gate")
    for t in range(3):
        names = {k: f"{k}0" if t == 0 else k for k in "hco"}
        expected = {formula.format(**names) for formula in formulas}
        labels = {box.glyph for box in boxes_at(figure, t)}
        last = {label for label in expected if t == 2 and label.startswith("c =")}
        assert labels | last == expected and (not last - labels or "c̃" in str(labels))
    folded = tg.draw((ys * ys).sum(), level="gate", view="folded")
    assert {box.glyph for box in boxes_at(folded, 0)} == {
        formula.format(h="h", c="c", o="o") for formula in formulas
    }


@pytest.mark.parametrize("kind", ["GRU", "masked"])
def test_a_tape_that_was_saved_says_the_same_formulas(kind):
    tape = taped(kind, 3)
    live, loaded = (tg.draw(x, level="gate") for x in (tape, Tape.load(tape.json())))
    assert [box.glyph for box in boxes_at(live, 1)] == [box.glyph for box in boxes_at(loaded, 1)]


def test_what_was_two_steps_ago_is_said_to_be():
    ys, _ = nn.TimeSkip(nn.RNN(3, 3, rng=0), 2)(np.ones((5, 1, 3), np.float32), unroll=True)
    figure = tg.draw(ys.sum(), level="gate", first=5)
    labels = [[box.glyph for box in boxes_at(figure, t)][-1] for t in range(5)]
    assert labels == ["h = h̃ + h-2 begin", "h = h̃ + h0", *["h = h̃ + h(t−2)"] * 3]
    back = nn.TimeSkip(nn.RNN(3, 3, rng=0), 2)
    ys, _ = nn.Recurrent(back, reverse=True, unroll=True)(np.ones((5, 1, 3), np.float32))
    assert boxes_at(tg.draw(ys.sum(), level="gate", first=5), 0)[-1].glyph == "h = h̃ + h(t+2)"


def test_only_the_one_thing_that_a_cell_reads_of_others_is_x():
    E = tg.tensor(np.eye(3, dtype=np.float32), requires_grad=True, name="E")
    rows = tg.embedding(E, np.array([[0], [1], [2]]))
    two = nn.Recurrent(nn.RNN(3, 3, rng=0), nn.RNN(3, 3, rng=1), unroll=True)
    figure = tg.draw(two(rows)[0].sum(), level="gate")
    assert [box.glyph for box in boxes_at(figure, 1)] == ["h = tanh(x Wx + h Wh + b)"] * 2
    h = tg.tensor(np.ones((1, 3), np.float32), name="h0")
    one, other = (tg.unstack(xs)[1] for xs in (rows, tg.exp(rows)))
    with tg.scope("t=1"):
        y = tg.tanh(one @ E + other + h)
    y.name = "y"
    (box,) = boxes_at(tg.draw(y, level="gate"), 1)
    assert box.glyph == "y = tanh(… E + … + h0)"  # which of them would be x?


def test_a_part_is_not_the_whole():
    W = tg.tensor(np.eye(4), requires_grad=True, name="W")
    p, q = tg.unstack(tg.tensor(np.ones((2, 1, 2)), requires_grad=True, name="P"))
    h = tg.tensor(np.ones((1, 4)), name="h0")
    for t in range(2):
        with tg.scope(f"t={t}"):
            a, b = tg.split(h @ W, 2, axis=-1)
            y = a * b + p * q
            y.name = "y"
            h = tg.concat([y, y], axis=-1)
    (box,) = (b for b in boxes_at(tg.draw(h.sum(), level="gate"), 0) if b.name == "y")
    assert box.glyph == "y = (h0 W)[0]·(h0 W)[1] + P[0]·P[1]"[: len(box.glyph)]
    levels = importlib.import_module("tinygrad_rnn.view.levels")
    trace = tape_of(h.sum(), backward=False)
    y0 = next(r.id for r in trace.records if r.name == "y")
    own = {r.id for r in trace.records if r.t == 0 and r.kind == "op"}
    words = levels.Formula(levels.Steps(trace), own).words(y0)
    assert words == "(h0 W)[0]·(h0 W)[1] + P[0]·P[1]"


def parsed(text, names):
    """The value of a formula as it stands on a box, by a reader of its own.

    Sums of quotients ("a / b") of products ("a·b") of products of matrices ("a b"), where a number
    before a product multiplies all of it.
    """
    tokens = re.findall(r"[a-z]+\(?|[\d.]+|[−+·/()²³⁴-⁹ᵀ]", text)

    def take(*wanted):
        return tokens.pop(0) if tokens and tokens[0] in wanted else None

    def atom():
        if take("("):
            value = total()
            assert take(")")
        else:
            word = tokens.pop(0)
            if word.endswith("("):
                value = {"tanh(": np.tanh, "exp(": np.exp, "abs(": np.abs}[word](total())
                assert take(")")
            else:
                value = names[word] if word in names else float(word)
        while sign := take(*"²³⁴⁵⁶⁷⁸⁹ᵀ"):
            value = value.T if sign == "ᵀ" else value ** ("²³⁴⁵⁶⁷⁸⁹".index(sign) + 2)
        return value

    def matrices():
        value = atom()
        while tokens and tokens[0] not in "+−·/)":
            value = value @ atom()
        return value

    def product():
        number = float(tokens.pop(0)) if re.match(r"[\d.]", tokens[0]) else None
        if number is not None and (not tokens or tokens[0] in "+−·/)"):
            value, number = number, 1.0
        else:
            value = matrices()
        while take("·"):
            value = value * matrices()
        return value if number is None else number * value

    def quotient():
        value = product()
        return value / matrices() if take("/") else value

    def total():
        value = -quotient() if take("−") else quotient()
        while sign := take("+", "−"):
            value = value + quotient() if sign == "+" else value - quotient()
        return value

    value = total()
    assert not tokens
    return value


def some_expression(rng, leaves, depth):
    a, b = (leaves[rng.integers(3)] if not depth or rng.random() < 0.2
            else some_expression(rng, leaves, depth - 1) for _ in range(2))  # fmt: skip
    ops = [lambda: a + b, lambda: a - b, lambda: a * b, lambda: a / b, lambda: a @ b, lambda: -a,
           lambda: tg.tanh(a), lambda: a**2.0, lambda: a.transpose(), lambda: tg.exp(a),
           lambda: abs(a), lambda: a * 2.0]  # fmt: skip
    return ops[rng.integers(len(ops))]()


@pytest.mark.parametrize("seed", range(4))
def test_a_formula_is_the_one_that_was_computed(seed, monkeypatch):
    """Random steps: what is read from the box is what the step gave."""
    levels = importlib.import_module("tinygrad_rnn.view.levels")
    monkeypatch.setattr(levels, "FORMULA", 1000)
    rng = np.random.default_rng(seed)
    compared = 0
    for _ in range(40):
        leaves = [tg.tensor(rng.normal(size=(3, 3)), requires_grad=True, name=n) for n in "abc"]
        with tg.scope("t=0"), np.errstate(all="ignore"):
            y = some_expression(rng, leaves, 3)
        if y.op is None or not np.isfinite(y.data).all():
            continue
        y.name = "y"
        (box,) = boxes_at(tg.draw(y, level="gate"), 0)
        formula = box.glyph.partition(" = ")[2]
        if "…" in formula or not re.search(
            r"[abc]", formula.replace("tanh", "").replace("abs", "")
        ):
            continue
        names = dict(zip("abc", (x.data for x in leaves), strict=True))
        with np.errstate(all="ignore"):
            assert np.allclose(parsed(formula, names), y.data, rtol=1e-9), formula
        compared += 1
    assert compared > 20


def test_sums_that_wait_for_gates_are_a_box_of_their_own():
    labels = [box.glyph for box in boxes_at(tg.draw(run("masked", 4), level="gate"), 1)]
    assert "x Wx + (h·h mask) Wh + b" in labels and "c̃ = f·c + i·g" in labels and len(labels) == 9


def test_a_step_of_a_plain_network_is_one_formula():
    (box,) = boxes_at(tg.draw(run("RNN"), level="gate"), 1)
    assert box.glyph == "h" or box.glyph == GATES["RNN"][0]  # if it is too long, its name
    assert len(box.ids) == 5 and box.exits == [max(box.ids)]


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("level", ["gate", "cell"])
@pytest.mark.parametrize("T", [1, 3, 10])
def test_every_op_of_a_shown_step_is_in_one_box(kind, level, T):
    fine, coarse = drawn(kind, T), tg.draw(taped(kind, T), level=level)
    ops = [sorted(k for node in graph(f).nodes if node.kind == "op" for k in node.ids)
           for f in (fine, coarse)]  # fmt: skip
    assert ops[0] == ops[1]
    assert coarse.nodes < fine.nodes and coarse.edges < fine.edges
    assert dot_counts(coarse.dot) == (coarse.nodes, coarse.edges)
    assert len(groups(coarse, "edge")) == coarse.edges == len(graph(coarse).edges)
    if level == "cell":
        steps = [node.spot for t in range(min(T, 3)) for node in boxes_at(coarse, t)]
        assert len(steps) == len(set(steps)) == min(T, 3) * len(graph(coarse).bands)


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("level", ["gate", "cell"])
def test_edges_of_a_coarse_picture_join_those_of_the_fine_one(kind, level):
    """Every input that one box hands to another is in exactly one edge; counted again here."""
    trace = taped(kind, 3)
    coarse = graph(tg.draw(trace, level=level))
    box_of = {k: n for n, node in enumerate(coarse.nodes) if node.kind == "op" for k in node.ids}
    expected = set()
    for edge in graph(drawn(kind, 3)).edges:
        ((source, target, place),) = edge.ends
        several = len(coarse.nodes[box_of[target]].ids) > 1
        if trace.records[source].kind == "constant" and several:
            continue
        if box_of.get(source) != box_of[target]:
            expected.add((source, target, place))
    ends = [end for edge in coarse.edges for end in edge.ends]
    assert len(ends) == len(set(ends)) and set(ends) == expected


def test_what_a_cell_hands_on_runs_along_rails():
    coarse = graph(tg.draw(run("LSTM", 5), level="cell", first=5))
    rails = [e for e in coarse.edges if e.label]
    assert sorted(e.label for e in rails) == ["c"] * 4 + ["h"] * 4
    for edge in rails:
        heights = {round(y, 1) for _, y in edge.route}
        assert len(heights) == 1  # level, from box to box
        start, end = (coarse.nodes[n] for n in (edge.source, edge.target))
        assert start.x < end.x
    c, h = ({round(e.route[0][1], 1) for e in rails if e.label == k} for k in "ch")
    assert len(c) == len(h) == 1 and min(c) < min(h)  # c above h


@pytest.mark.parametrize("lengths", [None, [5, 3]])
def test_what_others_read_of_a_cell_stands_first(lengths):
    xs = np.ones((5, B, H), np.float32)
    ys, _ = nn.Recurrent(nn.LSTM(H, H, rng=0), unroll=True)(xs, lengths=lengths)
    for view in ("unrolled", "folded"):
        (box,) = boxes_at(tg.draw(ys.sum(), level="cell", view=view), 0)
        assert box.glyph == "h, c"  # whichever was made first


def test_backward_in_time_the_arrows_go_left():
    coarse = graph(tg.draw(run("both ways", 5), level="cell", first=5))
    ways = {band: set() for band in coarse.bands}
    for edge in coarse.edges:
        ends = [coarse.nodes[n] for n in (edge.source, edge.target)]
        if edge.label:
            ways[coarse.bands[ends[0].spot[1]]].add(ends[0].x < ends[1].x)
    assert ways == {"layer0/forward": {True}, "layer0/backward": {False}}


# -- the folded view --------------------------------------------------------------------------

DELAYS = {
    "RNN": ["z⁻¹ h"],
    "LSTM": ["z⁻¹ c", "z⁻¹ h"],
    "GRU": ["z⁻¹ h"],
    "two": ["z⁻¹ c", "z⁻¹ h", "z⁻¹ h"],
    "both ways": ["z⁺¹ c", "z⁺¹ h", "z⁻¹ h"],
    "masked": ["z⁻¹ c", "z⁻¹ h"],
    "cut": ["z⁻¹ c", "z⁻¹ h"],
}


def delays(figure):
    return [node for node in graph(figure).nodes if node.kind == "delay"]


@pytest.mark.parametrize("kind", DELAYS)
@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("unroll", [True, False])
def test_a_recurrence_goes_through_its_delays(kind, level, unroll):
    figure = drawn(kind, 12, unroll, view="folded", level=level)
    found = graph(figure)
    assert sorted(f"{d.glyph} {d.words.split()[0]}" for d in delays(figure)) == DELAYS[kind]
    assert figure.steps == 12 and f"×{12}" in shown(figure)
    for edge in found.edges:
        kinds = [found.nodes[n].kind for n in (edge.source, edge.target)]
        assert edge.late == ("delay" in kinds)
    for n, node in enumerate(found.nodes):
        if node.kind == "delay":
            assert sum(e.target == n for e in found.edges) == 1
            assert any(e.source == n for e in found.edges)
            (loop,) = (e for e in found.edges if e.target == n)
            side = -1 if node.glyph.startswith("z⁻") else 1  # it comes in from the far side
            assert loop.route[-1][0] == pytest.approx(node.x + side * node.w / 2, abs=0.1)
            left = node.x < min(o.x - o.w / 2 for o in boxes_at(figure, 0))
            assert left == node.glyph.startswith("z⁻")


@pytest.mark.parametrize("unroll", [True, False])
def test_a_skip_over_time_has_a_longer_delay(unroll):
    figure = tg.draw(run("skip", 12, unroll), view="folded")
    assert sorted(d.glyph for d in delays(figure)) == sorted(["z⁻¹", "z⁻³"])


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("level", ["op", "gate", "cell"])
def test_compiled_or_not_the_recurrence_is_the_same(kind, level):
    one, other = (drawn(kind, 12, u, view="folded", level=level) for u in (True, False))
    assert (one.nodes, one.edges) == (other.nodes, other.edges)
    if kind not in ("skip", "cut"):  # whose names and scopes depend on the step that is kept
        assert without_numbers(one.svg) == without_numbers(other.svg) and one.dot == other.dot


def test_one_step_of_a_recurrence_is_what_an_inner_step_unrolled_is():
    loss = run("LSTM", 6)
    inner, one = (sorted(b.glyph for b in boxes_at(f, t)) for f, t in (
        (tg.draw(loss), 1), (tg.draw(loss, view="folded"), 0)))  # fmt: skip
    assert inner == one


def test_a_very_long_loop_is_folded_without_being_done_again():
    loss = run("RNN", 100_000, unroll=False)
    assert len(tape_of(loss, values=False, backward=False, most=8).records) < 200
    figure = tg.draw(loss, view="folded")
    assert figure.steps == 100_000 and "×100,000" in shown(figure)
    assert "shared by 100000 steps" in shown(figure)
    again = tg.draw(loss)  # unrolled, it would take minutes
    assert "too long" in shown(again) and again.nodes == figure.nodes
    with pytest.raises(ValueError, match="too long"):
        tg.draw(loss, overlay="backward")


@pytest.mark.parametrize("unroll", [True, False])
def test_each_step_reads_its_own_part_of_a_sequence(unroll):
    table = tg.tensor(np.eye(5, H, dtype=np.float32), requires_grad=True, name="table")
    xs = tg.embedding(table, tg.tensor(np.arange(24).reshape(12, 2) % 5))
    ys, _ = nn.GRU(H, H, rng=0)(xs, unroll=unroll)
    figure = tg.draw(ys.sum(), view="folded")
    (unstack,) = (n for n, node in enumerate(graph(figure).nodes) if node.glyph == "unstack")
    assert graph(figure).nodes[unstack].words == "12 parts" and "embedding 12×2×4" in shown(figure)
    assert [e.part for e in graph(figure).edges if e.source == unstack] == [-1]


def test_what_is_made_once_is_no_part_of_a_step():
    W = tg.tensor(np.eye(3), requires_grad=True, name="W")
    h = tg.tensor(np.ones((1, 3)), name="h0")
    for t in range(6):
        with tg.scope(f"t={t}"):
            if t == 0:
                twice = W * 2.0
            h = tg.tanh(h @ twice)
            h.name = "h"
    figure = tg.draw(h.sum(), view="folded")
    assert [d.glyph for d in delays(figure)] == ["z⁻¹"]
    assert graph(figure).columns[0].label.startswith("before")
    assert len(boxes_at(figure, 0)) == 2


def test_an_encoder_and_a_decoder_fold_each_by_itself():
    W = tg.tensor(np.eye(3), requires_grad=True, name="W")
    h, path = tg.tensor(np.ones((1, 3)), name="h0"), []
    for layer, T in (("encoder", 5), ("decoder", 3)):
        code = h
        with tg.scope(layer):
            for t in range(T):
                with tg.scope(f"t={t}"):
                    h = tg.tanh(h @ W + code)
                    h.name = "h"
                    path.append(h)
    figure = tg.draw(tg.stack(path).sum(), view="folded")
    assert sorted(d.glyph for d in delays(figure)) == ["z⁻¹", "z⁻¹"]
    text = shown(figure)
    assert "encoder  ×5" in text and "decoder  ×3" in text
    assert figure.svg.count("in encoder/t=4") == 1  # what every step of the decoder reads


def test_steps_that_hand_nothing_on_have_no_delay():
    W = tg.tensor(np.eye(3), requires_grad=True, name="W")
    ys = []
    for t in range(4):
        with tg.scope(f"t={t}"):
            ys.append(tg.tanh(tg.tensor(np.ones((1, 3)), name="x") @ W))
    figure = tg.draw(tg.stack(ys).sum(), view="folded")
    assert not delays(figure) and len(boxes_at(figure, 0)) == 2


# -- the backward pass ------------------------------------------------------------------------


def norm(x):
    return float(np.linalg.norm(x.grad.data)) if x.grad is not None else None


def test_the_overlay_tells_the_norms_of_a_real_backward():
    loss = run("LSTM", 4)
    figure = tg.draw(loss, overlay="backward")
    assert all(x.grad is None for x in history(loss))  # nothing was left anywhere
    trace = tape_of(loss, values=False, backward=False)
    loss.backward(retain_graph=True)
    truth = [x for x in history(loss) if x.op is not None and x.op.name != "pick"]
    truth = sorted(truth, key=lambda x: x.born)
    ops = [r.id for r in trace.records if r.kind == "op"]
    sizes = dict(zip(ops, truth, strict=True))
    compared = 0
    for node in graph(figure).nodes:
        if node.kind == "op":
            (k,) = node.ids
            assert trace.records[k].call.op == sizes[k].op.name
            if (size := norm(sizes[k]) if sizes[k].op.name != "split" else None) is not None:
                assert node.flow.low == node.flow.high == pytest.approx(size, rel=1e-4)
                compared += 1
    assert compared > 40


def history(loss):
    return importlib.import_module("tinygrad_rnn.tensor").history([loss])


def test_the_order_is_that_of_the_backward_pass():
    loss = run("GRU", 3)
    figure = tg.draw(loss, overlay="backward")
    orders = {node.ids[0]: int(node.order) for node in graph(figure).nodes if node.order}
    assert graph(figure).nodes[-1].kind != "op" or orders
    ops = [node for node in graph(figure).nodes if node.kind == "op"]
    assert all(node.order for node in ops) and len(set(orders.values())) == len(orders)
    assert min(orders.values()) == 1
    for edge in graph(figure).edges:  # a reader comes before what it reads
        source, target = (graph(figure).nodes[n] for n in (edge.source, edge.target))
        if source.order and target.order:
            assert int(target.order) < int(source.order)


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "folded"])
@pytest.mark.parametrize("kind", ["LSTM", "both ways", "skip"])
def test_under_the_overlay_arrows_point_back(kind, level, view):
    trace = taped(kind, 5)
    plain, back = (tg.draw(trace, level=level, view=view, overlay=o) for o in (None, "backward"))
    assert (plain.nodes, plain.edges) == (back.nodes, back.edges)
    assert all(edge.back and edge.flow is not None for edge in graph(back).edges)
    pairs = [re.findall(r"^ *(n\d+) -> (n\d+) ", f.dot, re.M) for f in (plain, back)]
    assert sorted(pairs[0]) == sorted((b, a) for a, b in pairs[1])
    heads = [
        g.find(f"{SVG}polygon").get("points").split()[0].split(",") for g in groups(back, "edge")
    ]
    for (x, y), edge in zip(heads, graph(back).edges, strict=True):
        assert (float(x), float(y)) == pytest.approx(edge.route[0], abs=0.11)
    assert "no backward() needed" in shown(back) and len(groups(back, "scale")) == 1


def test_where_cotangents_add_up_it_says_how_many():
    x = tg.tensor(np.ones(2), requires_grad=True, name="x")
    y = tg.tanh(x)
    figure = tg.draw((y * y + y.exp() + y).sum(), overlay="backward")
    (node,) = (node for node in graph(figure).nodes if node.glyph == "tanh")
    assert node.joins == 4 and "+= 4" in shown(figure)
    lstm = graph(tg.draw(run("LSTM", 3), overlay="backward"))
    joins = [node.joins for node in lstm.nodes if node.glyph == "c = +"]
    assert joins == [2, 2, 1]  # h of its own step, and c of the next
    cells = graph(tg.draw(run("LSTM", 3), overlay="backward", level="cell"))
    with tg.scope("t=0"):
        a = tg.tanh(x)
        b = a * a
    cell = graph(tg.draw((a + b).sum(), overlay="backward", level="cell"))
    assert [node.joins for node in cell.nodes if len(node.ids) > 1] == [1]  # from outside the box
    assert [node.joins for node in cells.nodes if "h" in node.glyph and node.exits] == [2, 2, 1]


def positions(scale):
    loss = run("RNN", 3, scale=scale)
    return [n.flow.place for n in graph(tg.draw(loss, overlay="backward")).nodes if n.kind == "op"]


def test_the_scale_is_relative_to_the_last_step():
    """A loss a million times as large has the same picture, up to its own boxes."""
    one, other = positions(1.0), positions(1e6)
    same = [abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True)]
    assert sum(same) >= 12 and all(-1 <= p <= 1 for p in one + other)


def test_hue_and_width_and_number_go_together():
    from tinygrad_rnn.view.look import stroke
    from tinygrad_rnn.view.overlay import flow

    looks = [stroke(flow([10.0**k], 1.0).place) for k in range(-8, 9)]
    widths = [size for _, size, _ in looks]
    assert widths == sorted(widths) and widths[0] == widths[2] and widths[-1] == widths[-3]
    red, blue = ([int(colour[k : k + 2], 16) for colour, _, _ in looks] for k in (1, 5))
    assert blue[0] - red[0] > 100 and red[-1] - blue[-1] > 100 and abs(red[8] - blue[8]) < 20
    assert len({colour for colour, _, _ in looks}) == 13 and widths[-1] > 5 * widths[0]
    assert flow([1e-6, 1.0], 1.0).place == -0.5  # of several, the middle
    assert flow([1e-7, 1e-3], 1.0).words == "1.0e-7 … 1.0e-3"
    assert flow([0.0], 1.0).place is None and stroke(None)[2] == DOTS
    assert flow([0.0, 1.0], 1.0).place == 0  # a zero has no power of ten
    assert flow([], 1.0).words == "no gradient"


@pytest.mark.parametrize("bad, word", [(np.nan, "NaN!"), (np.inf, "∞!")])
@pytest.mark.parametrize("level", ["op", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "folded"])
def test_what_is_not_finite_is_loud(bad, word, level, view):
    with np.errstate(all="ignore"):
        figure = tg.draw(run("RNN", 4, scale=bad), overlay="backward", level=level, view=view)
    assert word in shown(figure)
    hatched = [
        g for g in groups(figure, "node") if g.find(f"{SVG}path[@class='hatch']") is not None
    ]
    assert len(hatched) == sum(node.flow.bad for node in graph(figure).nodes) > 0
    assert any(edge.flow.bad for edge in graph(figure).edges)
    assert 'stroke="#000000" stroke-width="3" stroke-dasharray="6 3"' in figure.svg
    assert "dashed" in figure.dot


def test_folded_the_overlay_tells_the_least_and_the_largest():
    loss = run("LSTM", 6)
    every = graph(tg.draw(loss, overlay="backward", first=6))
    once = graph(tg.draw(loss, overlay="backward", view="folded"))
    for label in ("h = ×", "c = +", "o = σ", "split"):
        sizes = [node.flow.low for node in every.nodes if node.glyph == label]
        (node,) = (node for node in once.nodes if node.glyph == label)
        assert (node.flow.low, node.flow.high) == (min(sizes), max(sizes)) and len(sizes) == 6
        assert node.grad == node.flow.words and ("…" in node.grad)
    states = {node.words.split()[0]: node.flow for node in once.nodes if node.kind == "delay"}
    crossing = [e.flow.low for e in every.edges if every.nodes[e.target].glyph == "×"
                and every.nodes[e.source].glyph == "c = +"
                and every.nodes[e.source].spot != every.nodes[e.target].spot]  # fmt: skip
    assert (states["c"].low, states["c"].high) == (min(crossing), max(crossing))


def test_the_backward_pass_begins_at_one_tensor():
    loss = run("RNN", 2)
    with pytest.raises(ValueError, match="one tensor"):
        tg.draw([loss, loss * 2], overlay="backward")
    with pytest.raises(RuntimeError, match="does not require gradients"):
        tg.draw(tg.tensor(1.0) * 2, overlay="backward")


# -- gaps and budgets -------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("overlay", [None, "backward"])
def test_steps_around_some_are_shown_with_their_neighbours(level, overlay):
    trace = taped("LSTM", 100)
    figure = tg.draw(trace, level=level, first=1, around=[50, 97], overlay=overlay)
    labels = [c.label for c in graph(figure).columns]
    assert labels == ["t = 0", "… 48 steps …", "t = 49", "t = 50", "t = 51", "… 44 steps …",
                      "t = 96", "t = 97", "t = 98", "t = 99", "after the steps"]  # fmt: skip
    assert figure.hidden_steps == 92
    assert dot_counts(figure.dot) == (figure.nodes, figure.edges)
    gaps = [node for node in graph(figure).nodes if node.kind == "gap"]
    assert len(gaps) == 2
    for gap in gaps:
        assert bool(gap.grad) == (overlay is not None)
    if overlay:
        sizes = [r.grad.l2 for r in trace.records if r.name in "hc" and r.name and 0 < r.t < 49]
        assert gaps[0].flow.low == min(sizes) and gaps[0].flow.high == max(sizes)


def test_too_much_for_one_level_is_drawn_by_the_next(monkeypatch):
    monkeypatch.setattr(importlib.import_module("tinygrad_rnn.view.reader"), "BUDGET", 300)
    loss = run("LSTM", 19)
    figure = tg.draw(loss, first=19)
    assert "too much for the level of ops: drawn by gates" in shown(figure)
    assert figure.nodes == tg.draw(loss, first=19, level="gate").nodes <= 300
    loss = run("LSTM", 40)
    assert "drawn by cells" in shown(tg.draw(loss, first=40, level="op"))


@pytest.mark.parametrize(
    "options", [{"level": "layer"}, {"view": "rolled"}, {"overlay": "forward"}, {"level": None}]
)
def test_unknown_words_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        tg.draw(run("RNN", 2), **options)


# -- two runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("kind", PARTS)
def test_a_run_does_not_differ_from_itself(kind, level):
    figure = tg.view.diff(shared(kind, 6), run(kind, 6), level=level)
    found = graph(figure)
    assert not any(x.mark for x in [*found.nodes, *found.edges])
    assert figure.nodes == 2 * drawn(kind, 6, view="folded", level=level).nodes


def test_what_only_one_of_two_has_is_marked():
    figure = tg.view.diff(run("LSTM", 6), run("GRU", 6), titles=("left run", "right run"))
    found = graph(figure)
    marks = {sign: {n.glyph for n in found.nodes if n.mark == sign} for sign in "−+"}
    assert {"f = σ", "i = σ", "o = σ", "z⁻¹"} <= marks["−"] and "r = σ" in marks["+"]
    assert {"stack", "x", "Σ"}.isdisjoint(marks["−"] | marks["+"])
    text = shown(figure)
    assert "left run" in text and "right run" in text and "dashed" in text
    assert dot_counts(figure.dot) == (figure.nodes, figure.edges)
    left, right = ([n for n in found.nodes if n.mark == sign] for sign in "−+")
    sizes = [tg.draw(run(kind, 6), view="folded").nodes for kind in ("LSTM", "GRU")]
    assert sizes[0] - len(left) == sizes[1] - len(right)  # the others are pairs
    assert max(n.x for n in left) < min(n.x for n in right)
    for sign in "−+":  # a word for those who see no colour
        assert sum(t == sign for t in text.split("\n")) == len(
            [n for n in found.nodes if n.mark == sign]
        )


def test_one_more_op_is_one_mark():
    def loss(more):
        x = tg.tensor(np.ones(2), requires_grad=True, name="x")
        y = tg.tanh(x * x)
        for _ in range(more):
            y = y.exp()
        return y.sum()

    found = graph(tg.view.diff(loss(0), loss(1)))
    assert [n.glyph for n in found.nodes if n.mark] == ["eˣ"]
    assert sorted(e.mark for e in found.edges if e.mark) == ["+", "+", "−"]
    found = graph(tg.view.diff(loss(3), loss(1)))
    assert [n.mark for n in found.nodes if n.mark] == ["−", "−"]


def test_what_has_a_partner_is_no_partner_of_another():
    def loss(more):
        x = tg.tensor(np.ones(2), requires_grad=True, name="x")
        z = tg.log(x.exp()) if more else x
        return tg.tanh(x * x).exp().sum() + z.sum()

    found = graph(tg.view.diff(loss(True), loss(False)))
    assert sorted(n.glyph for n in found.nodes if n.mark) == ["eˣ", "log"]


def test_a_comparison_needs_two_titles():
    with pytest.raises(ValueError, match="titles"):
        tg.view.diff(run("RNN", 2), run("RNN", 2), titles=("one",))
    with pytest.raises(TypeError, match="diff: outputs"):
        tg.view.diff(run("RNN", 2), 1.0)


# -- all of them ------------------------------------------------------------------------------

VIEWS = [(level, view) for level in ("op", "gate", "cell") for view in ("unrolled", "folded")]
LOOKS = [(*view, overlay) for view in VIEWS for overlay in (None, "backward")]


def looks_at(words):
    """Each of the words with every view; every second word of a view has the overlay."""
    return [
        pytest.param(
            word, *view, (None, "backward")[(k + n // 2 + n) % 2], id=f"{ascii(word)[:9]}-{n}"
        )
        for k, word in enumerate(words)
        for n, view in enumerate(VIEWS)
    ]


@pytest.mark.parametrize("kind, level, view, overlay", looks_at(PARTS))
def test_boxes_stand_apart_and_arrows_end_at_them(kind, level, view, overlay):
    sheet = tg.draw(taped(kind, 10), level=level, view=view, overlay=overlay, around=[6])._sheet
    boxes = [
        (n.x - n.w / 2, n.y - n.h / 2, n.x + n.w / 2, n.y + n.h / 2) for n in sheet.graph.nodes
    ]
    for k, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= sheet.width and bottom <= sheet.height
        for other in boxes[k + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    for edge in sheet.graph.edges:
        for n, (x, y) in ((edge.source, edge.route[0]), (edge.target, edge.route[-1])):
            node = sheet.graph.nodes[n]
            across = abs(x - node.x) - node.w / 2, abs(y - node.y) - node.h / 2
            assert max(across) == pytest.approx(0, abs=0.1)


HOSTILE = ['"];n0->n1;x[label="', "\\N\\G\\n", "<script>alert(1)</script>", "]]>&amp;<!--",
           "a\0b\x1b[31m", "\ud800", "\u202eright", "x" * 20_000, "线é", "z⁻¹", "",
           "t="]  # fmt: skip


def hostile_run(word):
    W = tg.tensor(np.eye(3), requires_grad=True, name=word)
    h, path = tg.tensor(np.ones((1, 3)), name=word), []
    with tg.scope(word.replace("/", "|")):
        for t in range(8):
            with tg.scope(f"t={t}"):
                r = tg.sigmoid(h @ W)
                r.name = word
                h = tg.tanh(h @ W) * r
                h.name = word
            path.append(h)
    return tg.stack(path).sum()


@cache
def hostile_tape(word):
    return tape_of(hostile_run(word))


@cache
def tame_counts(level, view, overlay):
    tame = tg.draw(hostile_run("tame"), level=level, view=view, overlay=overlay)
    return tame.nodes, tame.edges


@pytest.mark.parametrize("word, level, view, overlay", looks_at(HOSTILE))
def test_L02_hostile_words_are_shown_literally_at_every_level(word, level, view, overlay):
    look = {"level": level, "view": view, "overlay": overlay}
    figure = tg.draw(hostile_tape(word), title=word, **look)
    if word:
        assert (figure.nodes, figure.edges) == tame_counts(level, view, overlay)
    root = ElementTree.fromstring(figure.svg)
    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    usual = {"svg", "title", "rect", "g", "path", "polygon", "text", "tspan"}
    assert kinds <= usual | ({"polyline"} if overlay else set())
    attributes = {name for e in root.iter() for name in e.attrib}
    assert not any(name.startswith("on") or "href" in name for name in attributes)
    assert dot_counts(figure.dot) == (figure.nodes, figure.edges)
    assert max(map(len, figure.dot.splitlines())) < 4000
    assert (figure.svg + figure.dot).replace("\n", "").isprintable()
    figure.svg.encode(), figure.dot.encode()


@pytest.mark.parametrize("word", HOSTILE, ids=[ascii(word)[:20] for word in HOSTILE])
def test_L02_a_tape_of_hostile_words_can_be_written(word):
    hostile_tape(word).json().encode()


@pytest.mark.skipif(PROGRAM is None, reason="graphviz is not installed")
@pytest.mark.parametrize("level, view, overlay", LOOKS[1::3])
def test_graphviz_takes_every_picture(level, view, overlay):
    figure = tg.draw(hostile_run(HOSTILE[0]), level=level, view=view, overlay=overlay)
    command = [PROGRAM, "-n2", "-Tsvg"]
    done = subprocess.run(command, input=figure.dot.encode(), capture_output=True, check=True)
    count = [g.get("class") for g in ElementTree.fromstring(done.stdout).iter(f"{SVG}g")].count
    assert count("edge") == figure.edges and count("node") == figure.nodes
    assert b"Warning" not in done.stderr  # that a box is too small for its label, in these fonts


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
def test_drawing_is_repeatable_and_leaves_no_trace(level):
    looks = [{"level": level, "view": v, "overlay": o} for at, v, o in LOOKS if at == level]
    loss, same = (run("both ways", 4, unroll=False) for _ in range(2))
    before = [(x, x.grad, x.name, x.inputs, x._array) for x in history(loss)]
    ones = [tg.draw(loss, **look) for look in looks]
    gc.collect()
    count = sum(type(x) is tg.Tensor for x in gc.get_objects())
    gc.disable()
    try:
        for one, look in zip(ones, looks, strict=True):
            assert tg.draw(loss, **look).svg == one.svg
        assert sum(type(x) is tg.Tensor for x in gc.get_objects()) == count
    finally:
        gc.enable()
    after = [(x, x.grad, x.name, x.inputs, x._array) for x in history(loss)]
    assert all(
        a is b for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert [tg.draw(same, **look).dot for look in looks] == [one.dot for one in ones]


# -- names mean nothing -----------------------------------------------------------------------

OP_NAMES = ["z", "z⁻¹", "zoneout", "pick", "stack", "unstack", "scan", "add", "mul", "matmul",
            "split", "take", "tanh", "sigmoid", "cross_entropy", "constructor", "__proto__",
            "toString", "gate", "t=3", "{9:9}"]  # fmt: skip
TENSOR_NAMES = ["x", "h", "c", "Wh", "f", "b", "h keep", "W mask", "grad", "no grad yet", "t = 1",
                "z⁻¹", "h, c", "before the steps", "constructor", "…", "a.b.Wx"]  # fmt: skip


def own_op(name):
    """Twice x, as an op of that name."""

    def body(x):
        return x * 2.0

    body.__name__ = name
    return tg.pointwise(lambda g, y, x: g * 2.0)(body)


def named_run(op, name=None, layer="layer0", T=5):
    """h = double(x W + h), every op and every state called as it is wished."""
    W = tg.tensor(np.eye(2), requires_grad=True, name=name)
    h = tg.tensor(np.ones((1, 2)), name=name)
    with tg.scope(layer):
        for t in range(T):
            with tg.scope(f"t={t}"):
                h = op(tg.tensor(np.full((1, 2), t * 0.1), name=name) @ W + h)
                h.name = name
    return h.sum()


def outline(figure):
    """What a picture is, whatever things are called: kinds, places, arrows, counts."""
    found = graph(figure)
    nodes = [(n.kind, n.spot, len(n.ids), len(n.exits), n.joins, n.order) for n in found.nodes]
    edges = [(e.source, e.target, e.part, e.rail, e.late, e.hidden) for e in found.edges]
    return nodes, edges, [(c.kind, c.time) for c in found.columns], len(found.legend)


@functools.cache
def outlines(op, name, layer="layer0"):
    """A run with an own op, tensors, or a scope of that name, drawn in three ways."""
    trace = tape_of(named_run(own_op(op) if op else tg.tanh, name, layer))
    looks = ("op", "unrolled"), ("cell", "unrolled"), ("gate", "folded")
    drawn = [tg.draw(trace, level=level, view=view, overlay="backward") for level, view in looks]
    families = [{node.family for node in graph(figure).nodes} for figure in drawn]
    return [outline(figure) for figure in drawn], families


@pytest.mark.parametrize("name", OP_NAMES)
def test_an_own_op_is_drawn_the_same_whatever_it_is_called(name):
    assert outlines(name, None) == outlines("double", None)
    loss = named_run(own_op(name), T=1)
    labels = {node.glyph for node in graph(tg.draw(loss)).nodes}
    assert name.strip("_").replace("_", " ") in labels  # by its own name, not by another's sign
    (record,) = (r for r in tape_of(loss).records if r.call.own)
    assert record.call.op == name.strip("_") and record.library_op == ""


@pytest.mark.parametrize("name", TENSOR_NAMES)
def test_tensors_are_drawn_the_same_whatever_they_are_called(name):
    assert outlines(None, name) == outlines(None, "name")


@pytest.mark.parametrize(
    "layer", ["gate", "cell", "scan", "t=", "t=x", "t = 3", "T=3", "z⁻¹", "__proto__", "a/b"]
)
def test_scopes_are_drawn_the_same_whatever_they_are_called(layer):
    assert outlines(None, "name", layer) == outlines(None, "name")


def test_states_that_have_one_name_run_on_rails_of_their_own():
    W = tg.tensor(np.eye(2), requires_grad=True, name="W")
    a = b = tg.tensor(np.ones((1, 2)))
    for t in range(3):
        with tg.scope(f"t={t}"):
            a, b = tg.tanh(a @ W), tg.exp(b * W[0])
            a.name = b.name = "a, b"
    found = graph(tg.draw((a + b).sum(), level="cell"))
    (middle,) = (node for node in boxes_at(tg.draw((a + b).sum(), level="cell"), 1))
    assert len(middle.states) == 2
    rails = [e.rail for e in found.edges if e.label]
    assert sorted(rails) == [0, 0, 1, 1]


def test_a_mask_is_what_was_drawn_as_one_and_not_what_is_called_so():
    from tinygrad_rnn.view.raster import masks_of

    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    y = x * tg.tensor(np.ones((2, 3)), name="x mask") * tg.tensor(np.ones((2, 3)), name="W keep")
    assert not masks_of(y.sum())
    dropout = nn.Dropout(0.5, rng=0)
    assert [m.keeps for m in masks_of(dropout(y).sum())] == [False]


def test_lab_knows_ops_and_not_their_names():
    from tinygrad_rnn.lab.parts import independent_parts, sources
    from tinygrad_rnn.lab.steps import path_of

    def stack(a, b):
        return np.stack([a, b])

    own = tg.primitive(lambda g, y, a, b: g[0], lambda g, y, a, b: g[1])(stack)
    a, b = (tg.tensor([1.0], requires_grad=True) for _ in range(2))
    assert sources(tg.stack([a, b])[0]) == (a,)
    assert {*sources(own(a, b)[0])} != {a}  # an own op may mix what it is given
    assert len(independent_parts([own(a, b)[0], own(a, b)[1]], [])) == 1
    with tg.scope("t=0"):
        h = tg.tanh(a)
    with pytest.raises(ValueError, match="what a loop gave"):
        path_of("flow", own(h, h))


# -- as many as arrive -------------------------------------------------------------------------


def contributions(loss, name="h"):
    """Of each state of the lowest layer, how many steps of a real pass hand it something."""
    found = {}
    for step in loss.backward_steps():
        for x, _ in step.contributions:
            if x.name == name and x.scope.startswith("layer0") and x.op is not None:
                found[x] = found.get(x, 0) + 1
    return [found[x] for x in sorted(found, key=lambda x: x.born)]


def iterated(ys):
    total = 0.0
    for y in ys:
        total = total + (y * 3.0).sum()
    return total


@pytest.mark.parametrize("level", ["op", "gate", "cell"])
@pytest.mark.parametrize("case", ["two layers", "iterated", "iterated and summed", "summed"])
def test_as_many_cotangents_add_up_as_arrive(case, level):
    cells = [nn.LSTM(H, H, rng=k) for k in range(2 if case == "two layers" else 1)]
    ys, _ = nn.Recurrent(*cells, unroll=True)(np.ones((3, B, H), np.float32))
    loss = {
        "iterated": lambda: iterated(ys),
        "iterated and summed": lambda: iterated(ys) + ys.sum(),
    }.get(case, lambda: (ys * ys).sum())()
    boxes = [n for n in graph(tg.draw(loss, overlay="backward", level=level, first=9)).nodes
             if n.kind == "op" and n.spot[1] == 0 and n.name == "h"]  # fmt: skip
    assert [n.joins for n in boxes] == contributions(loss) == [2, 2, 1]


# -- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "two", "both ways"])
def test_a_dashed_edge_says_how_many_connections_it_stands_for(kind):
    """Counted again: every input between an op that is shown and an op of a hidden step."""
    trace = tape_of(run(kind, 9), values=False, backward=False)
    found = graph(tg.draw(trace))
    node_of = {y: n for n, node in enumerate(found.nodes) if node.kind == "op" for y in node.ids}
    (gap,) = (n for n, node in enumerate(found.nodes) if node.kind == "gap")
    hidden = {r.id for r in trace.records if 3 <= r.t < 8}
    counts = {}
    for r in trace.records:
        for source, part in r.inputs if not r.call.restacked else ():
            source, _ = trace.whole(source, part)
            if (source in hidden) != (r.id in hidden) and trace.records[source].kind == "op":
                ends = [gap if y in hidden else node_of.get(y) for y in (source, r.id)]
                counts[tuple(ends)] = counts.get(tuple(ends), 0) + 1
    told = {(e.source, e.target): e for e in found.edges if e.hidden}
    assert {ends: e.hidden for ends, e in told.items()} == {
        ends: n for ends, n in counts.items() if None not in ends
    }
    assert max(e.hidden for e in told.values()) > 1
    for edge in told.values():
        many = "s" * (edge.hidden > 1)
        assert edge.title == f"{edge.hidden} connection{many} of hidden steps"


def test_a_parameter_says_in_how_many_steps_it_is_used():
    p, q = (tg.tensor(np.ones(2), requires_grad=True, name=name) for name in "pq")
    h = tg.tensor(np.ones(2), name="h0")
    for t in range(12):
        with tg.scope(f"t={t}"):
            h = h * p * p
            if t in (0, 5, 6):
                h = h + q
    figure = tg.draw(h.sum())
    titles = {node.glyph: node.title for node in graph(figure).nodes if node.kind == "parameter"}
    assert "used in 12 steps" in titles["p"] and "used in 3 steps" in titles["q"]
    text = shown(figure)
    assert "2, shared by 12 steps" in text and "2, shared by 3 steps" in text


def test_saved_are_the_bytes_that_wait_for_the_backward_pass():
    x = tg.tensor(np.ones((2, 6), np.float32), requires_grad=True, name="x")
    plain = tg.tensor(np.ones((2, 6), np.float32)) * 2.0  # needs no gradient: nothing is kept
    a, b = tg.split(tg.tanh(x) + plain, 2, axis=-1)
    records = tape_of((a * b).sum()).records
    saved = {(r.kind, r.label): r.saved for r in records}
    assert saved["op", "tanh"] == saved["op", "add"] == 2 * 6 * 4
    assert saved["op", "split"] == 2 * 6 * 4 and saved["op", "mul"] == 2 * 3 * 4
    assert saved["op", "sum"] == 4 and not any(r.saved for r in records if r.kind != "op")


def test_steps_that_are_not_alike_stand_before_and_after_the_one_that_is_kept():
    h = tg.tensor(np.ones(2), requires_grad=True, name="x")
    for t, op in enumerate((tg.tanh, tg.exp, tg.sigmoid, tg.relu, tg.softplus)):
        with tg.scope(f"t={t}"):
            h = op(h)
    found = graph(tg.draw(h.sum(), view="folded"))
    chain = [found.nodes[e.target].glyph for e in sorted(found.edges, key=lambda e: e.source)]
    assert sorted(chain) == sorted(["tanh", "eˣ", "σ", "relu", "softplus", "Σ"])
    assert not [node for node in found.nodes if node.kind == "delay"]


def test_weights_of_a_wrapped_cell_are_the_same_weights():
    """Their names differ, since their path does; what uses them does not."""

    def weights(part):
        ys, _ = nn.Recurrent(part, unroll=True)(np.ones((4, B, H), np.float32))
        return ys.sum()

    wrapped = nn.Zoneout(nn.LSTM(H, H, rng=0), h=0.2, c=0.2, rng=1)
    figure = tg.view.diff(weights(nn.LSTM(H, H, rng=0)), weights(wrapped))
    chips = [node for node in graph(figure).nodes if node.kind == "parameter"]
    assert len(chips) == 6 and not [node.glyph for node in chips if node.mark]
    assert [node.glyph for node in graph(figure).nodes if node.mark == "+"]  # zoneout itself
