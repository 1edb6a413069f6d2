"""The printer of formulas: what is printed is true, reads like a textbook, and needs no table."""

import functools
import random
import re
from copy import deepcopy

import numpy as np
import pytest
from formulas import Evaluated, sections_of
from test_scan import H, U, V, b
from test_scan_search import mixed, random_parts

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.formula import term
from tinygrad_rnn.nn.moment import Moment

B, T, I = 4, 3, 2
F = np.float64


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# -- the printed text, computed in NumPy, gives the engine's gradients --------------------------


def run(cell, xs, begin):
    """Steps one by one with what the cell draws: outputs, and each slice that steps asked for."""
    moment = Moment(T)
    cell._ask(moment, xs, [h.detach() for h in begin], False)
    slices = [[stream[t] for t in range(T)] for stream in moment.streams]
    state, ys = begin, []
    for t in range(T):
        with moment.at([s[t] for s in slices]):
            state = cell.advance(xs[t], *state)
            ys.append(cell.output(xs[t], *state))
    return ys, state, moment.streams, slices


def name_of_stream(stream):
    return (stream.name or next(z.name for z in stream.inputs if z.name)).replace(" ", "_")


def known_of(cell, text, xs, begin, streams, slices, ys, pulls):
    """What the printed names stand for."""
    known = {("x", t + 1): xs.data[t] for t in range(T)}
    known |= {
        (f"∂L_t/∂{'y' if ' y_t = ' in text else cell.state[0]}", t + 1): pulls[t] for t in range(T)
    }
    for stream, parts in zip(streams, slices, strict=True):
        known |= {(name_of_stream(stream), t + 1): part.data for t, part in enumerate(parts)}
    for name, h in zip(cell.state, begin, strict=True):
        base, _, late = name.partition("-")
        known[base, 1 - int(late or 1)] = h.data
    masks = {}
    for x in history_of(ys):
        if x.op is None and x.name and not x.tracked and x.ndim:
            masks.setdefault(x.name.replace(" ", "_"), []).append(x.data)
    for name, arrays in masks.items():
        if f"({name}" in text or len(arrays) == 1:
            known |= {name + "'" * k: array for k, array in enumerate(arrays)}
        else:
            order = text.split(" = split(Wh")[0].splitlines()[-1].strip().split(", ")
            labels = [word[word.index("[") :] for word in order]
            known |= {f"{name}{label}": a for label, a in zip(labels, arrays, strict=True)}
    return known


def history_of(ys):
    from tinygrad_rnn.tensor import history

    return history(ys)[::-1]


def check_cell(cell, detail):
    cell = deepcopy(cell)
    for k, x in enumerate(cell.parameters()):
        x.data = (0.6 * numbers(k, *x.shape)).astype(x.dtype)
    equations = tg.equations(cell, detail=detail)
    text = str(equations)
    check_latex(
        equations._repr_latex_().replace(r"$$\begin{aligned}", "")[: -len("\\end{aligned}$$")]
    )
    xs = tg.tensor(numbers(50, T, B, cell.inputs), requires_grad=True)
    begin = cell.begin(B)
    begin = [h if h.tracked else tg.tensor(numbers(60 + k, *h.shape), requires_grad=True)
             for k, h in enumerate(begin)]  # fmt: skip
    ys, state, streams, slices = run(cell, xs, begin)
    pulls = [numbers(70 + t, *ys[0].shape) for t in range(T)]
    loss = sum((y * r).sum() for y, r in zip(ys, pulls, strict=True))
    leaves = dict(cell.named_parameters())
    wanted = [xs, *begin, *leaves.values()]
    found = tg.grad(loss, wanted, retain_graph=True, allow_unused=True)
    known = known_of(cell, text, xs, begin, streams, slices, ys, pulls)
    names = {x: name for x, name in short(leaves).items()}
    known |= {names[x]: x.data for x in leaves.values()}
    own = {"clip_gradient": lambda x, norm=None, value=None: x}
    made = Evaluated(text, known, T, B, own)
    pairs = [(("δx", t + 1), found[0].data[t]) for t in range(T)]
    pairs += [
        ((name, T), h.data) for name, h in zip(cell.state, state, strict=True) if "-" not in name
    ]
    if detail:
        base = cell.state[0]
        pairs.append(((f"δ{base}", 0), found[1].data))
    for x, g in zip(leaves.values(), found[1 + len(begin) :], strict=True):
        if g is not None:
            pairs += gradients(names[x], g.data, text, made)
    for key, expected in pairs:
        np.testing.assert_allclose(made.known[key], expected, rtol=1e-12, atol=1e-12, err_msg=key)
    return text


def short(leaves):
    """What a leaf is called: the end of its name that no other has."""
    ends = [x.name.split(".") for x in leaves.values()]
    count = lambda end: sum(e[-len(end) :] == end for e in ends)
    return {
        x: ".".join(next(e[-k:] for k in range(1, len(e) + 1) if count(e[-k:]) == 1))
        for x, e in zip(leaves.values(), ends, strict=True)
    }


def gradients(name, g, text, made):
    """Where the gradient of a weight stands: whole, in blocks, or as that of each step's own."""
    if f"∂L/∂{name}" in made.known:
        return [(f"∂L/∂{name}", g)]
    if (f"δ{name}", 1) in made.known:
        return [((f"δ{name}", t + 1), g[t]) for t in range(T)]
    line = next(x for x in sections_of(text)["Blocks"] if f"({name}" in x)
    parts = Evaluated.__new__(Evaluated)
    parts.known, parts.batch, parts.functions, parts.t, parts.end = {name: g}, B, {}, None, 0
    parts.line(line)
    return [(f"∂L/∂{key}", value) for key, value in parts.known.items() if key != name]


CELLS = {
    **{f"rnn {k}": nn.RNN(I, 3, bias=k, dtype=F, activation=a)
       for k, a in enumerate(["tanh", "relu", "softplus"])},
    "rnn untied": nn.RNN(I, 3, untied=T, dtype=F), "irnn": nn.IRNN(I, 3, dtype=F),
    "rnn clip": nn.RNN(I, 3, clip=0.7, dtype=F),
    **{f"rnn {a}": nn.RNN(I, 3, activation=a, dtype=F) for a in sorted(nn.ACTIVATIONS)},
    **{f"lstm {c}": nn.LSTM(I, 3, convention=c, dtype=F) for c in nn.CONVENTIONS},
    "lstm peepholes": nn.LSTM(I, 3, peepholes=True, dtype=F),
    "lstm projection": nn.LSTM(I, 3, projection=2, dtype=F),
    "lstm coupled": nn.LSTM(I, 3, coupled=True, clip=1.0, dtype=F),
    "lstm norm": nn.LSTM(I, 3, norm="ba2016", dtype=F),
    "lstm gates' norm": nn.LSTM(I, 3, norm="per_gate", dtype=F),
    **{f"gru {c}": nn.GRU(I, 3, convention=c, dtype=F) for c in nn.CONVENTIONS},
    "gru norm": nn.GRU(I, 3, norm="ba2016", dtype=F),
    "minimal": nn.MinimalGatedUnit(I, 3, dtype=F),
    "output": nn.OutputRecurrent(I, 3, 2, dtype=F),
    "prediction": nn.OutputRecurrent(I, 3, 2, source="prediction", dtype=F),
    "feedforward": nn.FeedforwardDropout(nn.LSTM(I, 3, dtype=F), 0.3, rng=0),
    "variational": nn.VariationalDropout(nn.GRU(I, 3, dtype=F), inputs=0.3, state=0.3, rng=0),
    "per gate": nn.VariationalDropout(nn.LSTM(I, 3, dtype=F), state=0.4, per_gate=True, rng=1),
    "dropconnect": nn.DropConnect(nn.GRU(I, 3, dtype=F), 0.3, rng=0),
    "zoneout": nn.Zoneout(nn.LSTM(I, 3, dtype=F), h=0.4, c=0.5, rng=0),
    "zoneout in evaluation mode": nn.Zoneout(nn.LSTM(I, 3, dtype=F), h=0.4, c=0.5, rng=0).eval(),
    "residual": nn.Residual(nn.LSTM(3, 3, dtype=F)),
    "time skip": nn.TimeSkip(nn.GRU(I, 3, dtype=F), 3),
    "learned": nn.LearnedState(nn.LSTM(I, 3, dtype=F)),
    "clipped": nn.ClipGradient(nn.RNN(I, 3, dtype=F), value=0.1),
    "clipped norm": nn.ClipGradient(nn.LSTM(I, 3, dtype=F), norm=0.2),
    "nested": nn.Residual(nn.Zoneout(nn.VariationalDropout(nn.LSTM(3, 3, peepholes=True, dtype=F),
                                                           state=0.3, rng=0), h=0.3, rng=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_the_equations_of_a_cell_give_its_gradients(name):
    check_cell(CELLS[name], detail=False)


@pytest.mark.parametrize("name", list(CELLS)[::4])
def test_so_do_those_with_a_line_for_every_op(name):
    check_cell(CELLS[name], detail=True)


# -- steps of somebody's own ----------------------------------------------------------------------


def check_step(step, states, detail, told):
    """The equations of a step give the gradients of a loss that reads every result."""
    carry = [tg.tensor(numbers(k, B + 1, H), requires_grad=True) for k in range(states)]
    xs = tg.tensor(numbers(9, T, B + 1, H), requires_grad=True)
    names = ["h"] if states == 1 else ["h1", "h2"]
    text = str(tg.equations(step, carry, xs, detail=detail))
    paths = tg.unroll(step, carry, xs)
    pulls = [numbers(20 + k, *path.shape) for k, path in enumerate(paths)]
    loss = sum((path * r).sum() for path, r in zip(paths, pulls, strict=True))
    wanted = {"U": U, "V": V, "b": b}
    found = tg.grad(loss, [xs, *wanted.values()], allow_unused=True)
    known = {("x", t + 1): xs.data[t] for t in range(T)} | {
        name: w.data for name, w in wanted.items()
    }
    known |= {(name, 0): h.data for name, h in zip(names, carry, strict=True)}
    known |= {
        ("h1", -1): carry[-1].data,
        ("h2", -1): carry[0].data,
    }  # where one is the other's delay
    known |= {(f"∂L_t/∂{name}", t + 1): r[t] for name, r in zip([*names, "y"], pulls, strict=True)
              for t in range(T)}  # fmt: skip
    made = Evaluated(text, known, T, B + 1)
    pairs = [] if found[0] is None else [(("δx", t + 1), found[0].data[t]) for t in range(T)]
    for name, g in zip(wanted, found[1:], strict=True):
        pairs += gradients(name, g.data, text, made) if g is not None else []
    for key, expected in pairs:
        got, size = made.known[key], 1 + np.abs(expected).max()
        assert np.abs(got - expected).max() <= 1e-12 * size, (told, key, text)


@pytest.mark.parametrize("block", range(10))
def test_the_equations_of_random_steps_give_their_gradients(block):
    for seed in range(20 * block, 20 * block + 20):
        rng = random.Random(seed)
        parts, states = random_parts(rng, 2, 6), rng.choice([1, 2])

        def step(x, *state, parts=parts):
            pool = mixed(parts, [*state, x])
            new = [tg.tanh(y) for y in pool[-len(state) :]]
            return [*new, pool[-len(state) - 1] + pool[len(state)]]

        check_step(step, states, rng.random() < 0.3, seed)


# -- the textbook's --------------------------------------------------------------------------------

RNN = """\
RNN: x (B, 2), h (B, 3)

Forward, t = 1 … T
  a_t = x_t Wx + h_{t−1} Wh + b
  h_t = tanh(a_t)

Backward, t = T … 1, where δv is ∂L/∂v, and 0 after the last step
  δh_t = ∂L_t/∂h_t + δa_{t+1} Whᵀ
  δa_t = δh_t ⊙ (1 − h_t²)
  δx_t = δa_t Wxᵀ

Weights, Σ_t over all steps
  ∂L/∂Wx = Σ_t x_tᵀ δa_t
  ∂L/∂Wh = Σ_t h_{t−1}ᵀ δa_t
  ∂L/∂b = Σ_t Σ_batch δa_t
"""

LSTM = """\
LSTM: x (B, 2), h (B, 3), c (B, 3)

Blocks of weights
  Wx[f], Wx[i], Wx[g], Wx[o] = split(Wx, 4, axis=−1)
  Wh[f], Wh[i], Wh[g], Wh[o] = split(Wh, 4, axis=−1)
  b[f], b[i], b[g], b[o] = split(b, 4, axis=−1)

Forward, t = 1 … T
  a_t[k] = x_t Wx[k] + h_{t−1} Wh[k] + b[k]    for k = f, i, g, o
  i_t = σ(a_t[i])
  g_t = tanh(a_t[g])
  f_t = σ(a_t[f])
  c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t
  o_t = σ(a_t[o])
  h_t = o_t ⊙ tanh(c_t)

Backward, t = T … 1, where δv is ∂L/∂v, and 0 after the last step
  δh_t = ∂L_t/∂h_t + δa_{t+1}[f] Wh[f]ᵀ + δa_{t+1}[i] Wh[i]ᵀ + δa_{t+1}[g] Wh[g]ᵀ
         + δa_{t+1}[o] Wh[o]ᵀ
  δo_t = δh_t ⊙ tanh(c_t)
  δc_t = δh_t ⊙ o_t ⊙ (1 − tanh(c_t)²) + δc_{t+1} ⊙ f_{t+1}
  δf_t = δc_t ⊙ c_{t−1}
  δg_t = δc_t ⊙ i_t
  δi_t = δc_t ⊙ g_t
  δa_t[o] = δo_t ⊙ o_t ⊙ (1 − o_t)
  δa_t[g] = δg_t ⊙ (1 − g_t²)
  δa_t[i] = δi_t ⊙ i_t ⊙ (1 − i_t)
  δa_t[f] = δf_t ⊙ f_t ⊙ (1 − f_t)
  δx_t = δa_t[f] Wx[f]ᵀ + δa_t[i] Wx[i]ᵀ + δa_t[g] Wx[g]ᵀ + δa_t[o] Wx[o]ᵀ

Weights, Σ_t over all steps
  ∂L/∂Wx[k] = Σ_t x_tᵀ δa_t[k]    for k = f, i, g, o
  ∂L/∂Wh[k] = Σ_t h_{t−1}ᵀ δa_t[k]    for k = f, i, g, o
  ∂L/∂b[k] = Σ_t Σ_batch δa_t[k]    for k = f, i, g, o
"""

GRU = """\
GRU: x (B, 2), h (B, 3)

Blocks of weights
  Wx[z], Wx[r], Wx[n] = split(Wx, 3, axis=−1)
  Wh[z], Wh[r] = split(Wh, 2, axis=−1)

Forward, t = 1 … T
  a_t[k] = x_t Wx[k] + h_{t−1} Wh[k]    for k = z, r
  z_t = σ(a_t[z])
  r_t = σ(a_t[r])
  u_t = r_t ⊙ h_{t−1}
  a_t[n] = x_t Wx[n] + u_t Wn
  n_t = tanh(a_t[n])
  h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ n_t

Backward, t = T … 1, where δv is ∂L/∂v, and 0 after the last step
  δh_t = ∂L_t/∂h_t + δa_{t+1}[z] Wh[z]ᵀ + δa_{t+1}[r] Wh[r]ᵀ + δu_{t+1} ⊙ r_{t+1}
         + δh_{t+1} ⊙ (1 − z_{t+1})
  δn_t = δh_t ⊙ z_t
  δa_t[n] = δn_t ⊙ (1 − n_t²)
  δu_t = δa_t[n] Wnᵀ
  δr_t = δu_t ⊙ h_{t−1}
  δz_t = δh_t ⊙ (n_t − h_{t−1})
  δa_t[r] = δr_t ⊙ r_t ⊙ (1 − r_t)
  δa_t[z] = δz_t ⊙ z_t ⊙ (1 − z_t)
  δx_t = δa_t[z] Wx[z]ᵀ + δa_t[r] Wx[r]ᵀ + δa_t[n] Wx[n]ᵀ

Weights, Σ_t over all steps
  ∂L/∂Wx[k] = Σ_t x_tᵀ δa_t[k]    for k = z, r, n
  ∂L/∂Wh[k] = Σ_t h_{t−1}ᵀ δa_t[k]    for k = z, r
  ∂L/∂Wn = Σ_t u_tᵀ δa_t[n]
"""


@pytest.mark.parametrize("kind, text", [(nn.RNN, RNN), (nn.LSTM, LSTM), (nn.GRU, GRU)])
def test_the_three_cells_read_like_a_textbook(kind, text):
    """As in textbooks (∂L/∂W = Σ δ sᵀ), in Greff et al. 2017 for the LSTM, in Cho et al. 2014."""
    assert str(tg.equations(kind(2, 3))) == text


COMMAND = re.compile(
    r"\\(begin|cdot|delta|end|frac|hat|in|lambda|le|left|ge|ne|mathrm|mu|odot|operatorname|partial"
    r"|phi|quad|right|sigma|sqrt|sum|surd|text|tilde|top|varepsilon|,|[\\{}_%&#$])|[{}]"
)
OPEN = {"}": "{", r"\right": r"\left", r"\end": r"\begin"}


def check_latex(text):
    """Groups, brackets and environments close in the order in which they were opened, each row has
    one `&=`, and there is no command or letter that LaTeX with amsmath does not know in math."""
    inside = []
    assert text.isascii() and "%" not in text, text
    for token in re.findall(r"\\[a-zA-Z]+|\\.|[{}]", text):
        if token in OPEN.values():
            inside.append(token)
        elif token in OPEN:
            assert inside.pop() == OPEN[token], text
        assert COMMAND.fullmatch(token), token
    assert not inside, text
    for row in re.split(r"\\\\\n", text):
        assert row.count("&=") == 1, row


def test_latex_has_every_line_and_balanced_braces():
    found = tg.equations(nn.LSTM(2, 3, peepholes=True))
    latex = found.latex
    assert latex.count("&=") == sum(map(len, found.sections.values()))
    assert (
        r"\frac{\partial L}{\partial W_{x,k}} &= \sum_{t} {x_{t}}^{\top} \, \delta a_{k,t}" in latex
    )
    for text in (latex, found._repr_latex_()):
        assert all(text.count(a) == text.count(b) for a, b in ("{}", (r"\left", r"\right")))
    assert found._repr_latex_().startswith("$$")


def test_mathml_is_well_formed():
    from xml.etree import ElementTree

    for cell in (nn.LSTM(2, 3), nn.Zoneout(nn.GRU(2, 3), h=0.1), nn.RNN(2, 3, clip=1.0)):
        tree = ElementTree.fromstring(tg.equations(cell).html)
        rows = tree.findall(".//tr")
        assert len(rows) == sum(map(len, tg.equations(cell).sections.values()))


# -- ops of somebody's own -------------------------------------------------------------------------


@tg.pointwise(lambda g, y, x: g * (tg.tanh(tg.softplus(x)) + bend(x)), sign="ϕ")
def mish_like(x):
    return x * np.tanh(np.logaddexp(x, 0))


@tg.pointwise(lambda g, y, x: g * 2 * x - 0 * y)
def bend(x):
    return x * x


@tg.pointwise(lambda g, z, x, y: g * y, lambda g, z, x, y: g * x, sign="⊛")
def star(x, y):
    return x * y


def swish(x):
    return x * tg.sigmoid(x)


def test_ops_of_ones_own_are_printed_by_their_rules():
    def step(x, h):
        return star(mish_like(h @ U), swish(x))

    text = str(tg.equations(step, numbers(0, 5, H), numbers(1, 3, 5, H)))
    assert "u_t = h_{t−1} U" in text and "h_t = (ϕ(u_t) ⊛ (x_t ⊙ σ(x_t)))" in text
    assert "δu_t = δh_t ⊙ x_t ⊙ σ(x_t) ⊙ (tanh(softplus(u_t)) + bend(u_t))" in text
    assert "δx_t = δh_t ⊙ ϕ(u_t) ⊙ σ(x_t) ⊙ (1 + x_t ⊙ (1 − σ(x_t)))" in text
    assert "∂L/∂U = Σ_t h_{t−1}ᵀ δu_t" in text


def test_what_has_no_equations_is_refused_with_a_way_out():
    with pytest.raises(TypeError, match=r"equations: expected one cell.*got Recurrent.*cells\[0\]"):
        tg.equations(nn.Recurrent(nn.RNN(2, 3)))
    with pytest.raises(TypeError, match=r"equations: expected one cell, or a step.*got function"):
        tg.equations(step_that_branches)
    with pytest.raises(tg.Untraceable, match=r"tg\.where"):
        tg.equations(step_that_branches, numbers(0, 5, 3), numbers(1, 3, 5, 3))
    with pytest.raises(tg.Untraceable, match=r"rule reads numbers.*peeks.*tg\.where"):
        tg.equations(lambda x, h: peeks(x + h), numbers(0, 5, 3), numbers(1, 3, 5, 3))


def step_that_branches(x, h):
    return x if h.sum() > 0 else h


@tg.pointwise(lambda g, y, x: g * float(x.data.sum()))
def peeks(x):
    return x * 2


def test_nothing_is_changed_by_looking():
    cell = nn.Zoneout(nn.LSTM(2, 3), h=0.5, rng=3)
    before = cell.rng.bit_generator.state
    first, second = str(tg.equations(cell)), str(tg.equations(cell))
    assert first == second and cell.rng.bit_generator.state == before
    assert all(x.grad is None for x in cell.parameters())


HANDING_ON = {
    "change places": lambda x, a, b: (b, a, tg.tanh(x + a * 0.5 + b)),
    "keep": lambda x, a, b: (a, tg.tanh(b @ U + a), a * b),
    "delay": lambda x, a, b: (x, a, a * b + x),
    "twice": lambda x, a, b: 2 * [tg.tanh(x @ U + a)] + [a * b],
    "weight": lambda x, a, b: (tg.tanh(x), b @ V, a * b @ U),
    "in a row": lambda x, a, b: (tg.tanh(x @ U + b), a, a - b),
    "output handed on": lambda x, a, b: (tg.tanh(x + a @ V), a * b, b),
}


@pytest.mark.parametrize("name", HANDING_ON)
def test_what_a_step_only_hands_on(name):
    check_step(HANDING_ON[name], 2, False, name)


@tg.pointwise(
    lambda g, y, x: g * (tg.sigmoid(x) + y * (1 - tg.sigmoid(x))),
    number=lambda x: x / (1.0 + np.exp(-x)),
    sign="silu",
)
def swish_op(x):
    """x σ(x)."""
    return x / (1 + np.exp(-x))


def centred(x, axis):
    return x - tg.mean(x, axis, True)


@tg.primitive(lambda g, y, x, axis: g - tg.mean(g, axis, True), formula=centred, sign="centre")
def centre_op(x, axis=-1):
    return x - x.mean(axis, keepdims=True)


def test_a_new_op_and_a_new_composite_are_written_everywhere():
    """Letters, LaTeX, the sign in the picture, the rule on the page: all from the declaration."""
    x = tg.tensor(numbers(0, 2, 5), requires_grad=True, name="x")
    page = tg.explain((centre_op(swish_op(x)) * numbers(1, 2, 5)).sum())
    told = {r.call.op: r.call for r in page.tape.records}
    assert told["swish_op"].formula == "silu(x)" and told["centre_op"].formula == "centre(x)"
    rules = {"swish_op": "g ⊙ (σ(x) + y ⊙ (1 − σ(x)))", "centre_op": "g − (Σ_j g) / 5"}
    for op, rule in rules.items():
        assert told[op].rules == (rule,) and rule in page.html
    shown = {node.glyph for node in tg.draw(centre_op(swish_op(x)).sum())._sheet.graph.nodes}
    assert {"silu", "centre", "Σ"} <= shown

    def step(x, h):
        return tg.tanh(h @ U + centre_op(swish_op(x)))

    found = tg.equations(step, numbers(0, 5, H), numbers(1, 3, 5, H))
    assert "a_t = h_{t−1} U + centre(silu(x_t))" in str(found)
    assert r"\operatorname{centre}\left(\operatorname{silu}\left(x_{t}\right)\right)" in found.latex
    assert "<mi>centre</mi>" in found.html


def test_what_has_no_name_is_called_by_its_type():
    step = functools.partial(lambda factor, x, h: tg.tanh(factor * x + h), 2.0)
    title = str(tg.equations(step, np.zeros((1, 3)), np.zeros((4, 1, 3)))).splitlines()[0]
    assert title.startswith("partial: ")


def own_step(step):
    """The equations of a step of x and h, (4, 3) each."""
    return tg.equations(step, np.ones((4, 3)), np.ones((2, 4, 3)))


def own_weight(name):
    return tg.tensor(numbers(0, 3, 3), requires_grad=True, name=name)


def test_powers_of_powers_are_told_apart():
    steps = [
        lambda x, h: h + x.detach() ** (x.detach() ** 2.5),
        lambda x, h: h + (x.detach() ** x.detach()) ** 2.5,
        lambda x, h: h + (x.detach() ** 1.5) ** 2,
        lambda x, h: h + (x.detach() ** 2) @ tg.transpose(h**2) @ h,
    ]
    lines = [own_step(step).lines("forward")[-1].replace("detached(x_t)", "x") for step in steps]
    assert lines[:3] == [
        "h_t = h_{t−1} + x^(x^2.5)", "h_t = h_{t−1} + (x^x)^2.5", "h_t = h_{t−1} + (x^1.5)²",
    ]  # fmt: skip
    assert lines[3].endswith("(h_{t−1}²)ᵀ h_{t−1}")


def test_names_that_look_alike_are_told_apart():
    a, b, c = map(own_weight, ("layer 0", "layer/0", "x_t"))
    lines = own_step(lambda x, h: tg.tanh(h @ a + x @ b + h @ c)).lines("sums")
    assert [line.split(" = ")[0] for line in lines] == ["∂L/∂layer_0", "∂L/∂layer_0'", "∂L/∂x_t'"]
    k, q, m, n = map(own_weight, "kqml")  # no letter of a gate is left
    assert len(own_step(lambda x, h: tg.tanh(h @ k + x @ q + h @ m + x @ n)).lines("sums")) == 4


@pytest.mark.parametrize("value, text, latex", [
    (-np.inf, "−∞", r"-\infty"), (np.inf, "∞", r"\infty"), (np.nan, "NaN", r"\mathrm{NaN}"),
])  # fmt: skip
def test_constants_without_a_value(value, text, latex):
    made = own_step(lambda x, h: tg.where(x > 0, h, value))
    assert f"[x_t > 0 ? h_{{t−1}} : {text}]" in str(made) and f"{latex} & " in made.latex


def test_the_largest_float_is_drawn_and_explained():
    q = tg.tensor(np.ones((1, 3, 4)), requires_grad=True)
    loss = tg.attention(q, q, q, causal=True).sum()  # where -1.8e308 stands for what is not seen
    assert tg.draw(loss).svg and tg.explain(loss).html


@pytest.mark.timeout(60)
def test_a_state_that_is_changed_many_times_in_a_step():
    W = own_weight("W")

    def step(x, h):
        for _ in range(14):
            h = h + 0.1 * (tg.tanh(h @ W + x) - h)
        return h

    assert own_step(step).lines("sums")


def test_weights_without_a_name_go_by_their_attributes():
    class Own(nn.Cell):
        def __init__(self):
            self.inputs = self.hidden = 3
            self.A = tg.tensor(numbers(0, 3, 3).astype("f4"), requires_grad=True)
            self.W = tg.tensor(numbers(1, 3, 3).astype("f4"), requires_grad=True)

        def step(self, x, h):
            return tg.tanh(x @ self.A + h @ self.W)

    cell = Own()
    found = tg.explain((cell(np.ones((3, 1, 3), np.float32))[0] ** 2).sum()).equations["layer0"]
    assert found.lines("sums") == tg.equations(cell).lines("sums")
    assert (cell.A.name, cell.W.name) == ("A", "W")


def test_a_formula_that_is_too_long_is_refused():
    def step(x, h):
        for _ in range(2000):
            x = tg.sin(x)
        return x + h

    with pytest.raises(ValueError, match="equations: too many ops in a row"):
        own_step(step)


ALGEBRA = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}


def computed(x, known):
    """The number that a formula made of sums and products stands for."""
    if isinstance(x, term.Sum):
        return sum(c * computed(y, known) for c, y in x.terms)
    if isinstance(x, term.Product):
        return np.prod([computed(y, known) ** n for y, n in x.factors])
    return x.value if isinstance(x, term.Number) else known[x]


def test_formulas_keep_their_numbers_however_they_are_put_together():
    rng = random.Random(0)
    for _ in range(300):
        known = {term.Symbol(c, mark="δ" * (c == "d")): rng.uniform(0.5, 2) for c in "abcd"}
        pool = [*known.items(), (term.Number(-2.0), -2.0)]
        for _ in range(12):
            (x, a), (y, b) = rng.choices(pool, k=2)
            if (n := rng.choice([-1, 0, 0, 0, 0, 2])) and abs(a) > 0.1:
                pool.append((term.raised(x, n), a**n))
            else:
                name = rng.choice([*ALGEBRA])
                pool.append((getattr(term, name)(x, y), ALGEBRA[name](a, b)))
            made, right = pool[-1]
            assert computed(made, known) == pytest.approx(right, rel=1e-9, abs=1e-9), made


class Named(nn.Cell):
    """Weights in lists, and with names that end in t."""

    def __init__(self):
        self.inputs = self.hidden = 3
        self.parts = [own_weight(None), own_weight(None)]
        self.Wt, self.ht = own_weight(None), own_weight(None)

    def step(self, x, h):
        return x @ self.parts[0] + h @ self.parts[1] @ self.Wt @ self.ht


def test_no_weight_is_called_by_a_number_alone_or_looks_like_a_state():
    made = tg.equations(Named())
    assert made.lines("sums")[0].startswith("∂L/∂parts.0 = ")
    assert r"\mathrm{Wt}" in made.latex and "h_{t}} &= " not in made.latex


def lines_of(step):
    return [line for name in ("forward", "backward") for line in own_step(step).lines(name)]


def test_conditions_stand_in_brackets_and_known_ones_are_gone():
    kept = lines_of(lambda x, h: (lambda m: tg.where(m, h, x) + tg.where(m, x * h, h))(h == x))
    assert any(line.endswith(" = [h_{t−1} = x_t]") for line in kept)
    assert not any("[0 ?" in line for line in lines_of(lambda x, h: x + 2**h))


def test_a_sum_along_an_axis_says_how_far_it_reaches():
    lines = lines_of(lambda x, h: h + tg.logsumexp(h, axis=-1, keepdims=True))
    assert any("(Σ_j δh_{t+1}) ⊙ softmax(h_t)" in line for line in lines)
    lines = lines_of(lambda x, h: x + tg.norm(h, axis=-1, keepdims=True))
    assert any(" / (2 u_t)" in line for line in lines)


def run_equations(step, T=5):
    """The equations of a run of a step that is given t and all states before, the latest first."""
    states = [tg.tensor(np.zeros((1, 3)))] * 2
    for t in range(T):
        with tg.scope(f"t={t}"):
            states.insert(0, step(t, *states[:2]))
    return tg.explain((states[0] ** 2).sum()).equations


def test_a_run_is_told_of_states_that_are_read_two_steps_later():
    W, x = tg.tensor(numbers(0, 3, 3), requires_grad=True, name="W"), tg.tensor(numbers(1, 1, 3))
    found = run_equations(lambda t, h, old: tg.tanh(x * 1.0 + h @ W + 0.5 * old))[""]
    assert found.lines("forward")[0].endswith("h1_{t−1} W + h1_{t−2} / 2")
    assert found.lines("backward")[0] == "δh1_t = ∂L_t/∂h1_t + δa_{t+1} Wᵀ + δa_{t+2} / 2"

    class Swap(nn.Cell):
        state = ("h", "k")

        def __init__(self):
            self.inputs, self.hidden, self.W = 3, 3, W

        def step(self, x, h, k):
            return k, tg.tanh(x + h @ self.W)

    ys, _ = Swap()(numbers(2, 6, 1, 3))
    found = tg.explain((ys * ys).sum()).equations["layer0"]
    assert found.lines("forward")[0] == "a_t = x_t + k_{t−2} W"
    assert found.lines("backward")[1] == "δa_t = δk_t ⊙ (1 − k_t²)"


def test_delays_are_told_of_steps_that_follow_each_other_alone():
    """Where each step reads the last but one, a loss of the last step has every other one."""
    W, h = own_weight("W"), [tg.tensor(numbers(k, 1, 3)) for k in (0, 1)]
    for t in range(8):
        with tg.scope(f"t={t}"):
            h.append(tg.tanh(tg.tensor(numbers(t, 1, 3)) + h[-2] @ W))
    every = tg.explain(sum((x**2).sum() for x in h[2:])).equations[""]
    assert every.lines("forward")[0] == "a_t = x_t + h1_{t−2} W"
    assert not tg.explain((h[-1] ** 2).sum()).equations


def test_the_equations_of_a_run_from_the_last_step_to_the_first_say_so():
    ys, _ = nn.RNN(2, 3, rng=0)(np.ones((4, 1, 2), np.float32), reverse=True)
    page = tg.explain((ys * ys).sum())
    assert page.equations["layer0"].title == "layer0 (t counts from the last step to the first)"
    assert 'data-say="eq_turned"' in page.html
    ys, _ = nn.RNN(2, 3, rng=0)(np.ones((4, 1, 2), np.float32))
    page = tg.explain((ys * ys).sum())
    assert page.equations["layer0"].title == "layer0"
    assert 'data-say="eq_turned"' not in page.html


def test_what_a_run_does_otherwise_in_each_step_is_no_number_of_all_of_them():
    """What is cut from a sequence in the step is an input; else there are no equations."""
    W, xs = (
        tg.tensor(numbers(0, 3, 3), requires_grad=True, name="W"),
        tg.tensor(numbers(1, 5, 1, 3)),
    )
    rows = tg.tensor(numbers(2, 5, 1, 3), requires_grad=True, name="E") * 1.0
    found = run_equations(lambda t, h, old: tg.tanh(rows[t] + h @ W))[""]
    assert found.lines("forward")[0].endswith("_t + h1_{t−1} W")
    clipped = lambda t, h, old: tg.clip_gradient(tg.tanh(xs[t] + h @ W), value=0.1 * (t + 1))
    assert not run_equations(clipped)


@pytest.mark.parametrize("other", [0, 2, 4])
def test_a_run_in_which_one_step_does_something_else_has_no_equations(other):
    W, x = own_weight("W"), tg.tensor(numbers(1, 1, 3))
    usual = lambda t, h, old: tg.tanh(x * 1.0 + h @ W)
    assert run_equations(usual)
    assert not run_equations(lambda t, h, old: x + h @ W if t == other else usual(t, h, old))
    scaled = lambda t, h, old: usual(t, h, old) + (x @ W) * (2.0 if t == other else 0.5)
    found = run_equations(scaled)  # with an input for what differs
    assert not found or "x'_t" in found[""].lines("forward")[-1]


def cut_twice(x, h):
    a = x @ U
    (f, g), (p, q, r, s) = tg.split(a, 2, axis=-1), tg.split(a, 4, axis=-1)
    return tg.tanh(tg.concat([f * g, tg.concat([p * q, r * s], axis=-1)], axis=-1) + h @ V)


def cut_state(x, h):
    c, d = tg.split(h, 2, axis=-1)
    d = 0.5 * d + tg.tanh(x @ U)[:, :2] * c
    return tg.concat([tg.sin(d) @ V[:2, :2], d], axis=-1) + b


def cut_part(x, h):
    one, other = tg.split(x @ U, 2, axis=-1)
    p, q = tg.split(tg.tanh(one), 2, axis=-1)
    return tg.tanh(h @ V) * tg.concat([q, p, other], axis=-1) + tg.unstack(tg.stack([x, b * h]))[1]


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("step", [cut_twice, cut_state, cut_part])
def test_what_is_cut_twice_and_states_and_parts_that_are_cut(step, detail):
    both = lambda x, h: (new := step(x, h), tg.sin(new))
    check_step(both, 1, detail, step.__name__)


def test_the_batch_of_a_cell_is_no_number():
    class Groups(nn.Cell):
        def __init__(self):
            self.inputs, self.hidden, self.V = (
                10,
                4,
                tg.tensor(numbers(0, 2, 4), requires_grad=True),
            )

        def step(self, x, h):
            made = (x.reshape(x.shape[0], 5, 2) @ self.V).sum(1)
            return tg.tanh(made + h - h.mean(axis=0, keepdims=True))

    text = str(tg.equations(Groups()))
    assert "shape=(B, 5, 2)" in text and "shape=(5 * B, 2)" in text and " / B" in text
    assert "211" not in text and "1055" not in text
    batch = np.ones((2, 256, 3))  # somebody's own may be a factor, too
    found = tg.equations(lambda x, h: tg.tanh(x / 256 + h), batch[0], batch)
    assert found.lines("forward")[0] == "a_t = x_t / 256 + h_{t−1}"
    cell = Groups()
    ys, _ = cell(numbers(1, 5, 1, 10))
    found = str(tg.explain((ys * ys).sum()).equations["layer0"])
    assert "shape=(1, 5, 4)" in found and "/ B" not in found


@pytest.mark.parametrize("size", [0, 211, 422])
def test_a_cell_may_be_as_wide_as_the_batch_that_its_equations_are_made_with(size):
    assert tg.equations(nn.RNN(size or 211, 3)).title.startswith(f"RNN: x (B, {size or 211})")

    class Alone(nn.Cell):
        def __init__(self):
            self.inputs, self.hidden, self.W = size, 3, own_weight("W")

        def step(self, x, h):
            return tg.tanh(h @ self.W)

    assert tg.equations(Alone()).lines("forward")[0] == "a_t = h_{t−1} W"


def test_weights_in_lists_go_by_their_paths():
    class Listed(nn.Cell):
        def __init__(self):
            self.inputs = self.hidden = 4
            self.parts = [nn.Linear(4, 4, rng=k) for k in range(2)]

        def step(self, x, h):
            return tg.tanh(self.parts[0](h) + self.parts[1](x))

    sums = tg.equations(Listed()).lines("sums")
    assert [x.split(" = ")[0] for x in sums] == [
        f"∂L/∂parts.{k}.{name}" for k in (0, 1) for name in "Wb"
    ]


def test_one_formula_of_the_backward_pass_has_one_name():
    first, second = own_weight("A"), own_weight("C")
    lines = own_step(lambda x, h: tg.tanh(x + h @ first + h @ second))
    assert sorted(lines.lines("sums")) == ["∂L/∂A = Σ_t u_t", "∂L/∂C = Σ_t u_t"]
    assert sum(line.startswith("u_t") for line in lines.lines("backward")) == 1


def test_what_the_loss_reads_later_is_of_the_later_step():
    z, W = np.zeros((4, 3)), own_weight("W")
    found = tg.equations(lambda x, h: (tg.tanh(x + h @ W), h), z, np.zeros((2, 4, 3)))
    assert found.lines("backward")[0] == "δh_t = ∂L_t/∂h_t + ∂L_{t+1}/∂y_{t+1} + δa_{t+1} Wᵀ"
    assert r"\frac{\partial L_{t+1}}{\partial y_{t+1}}" in found.latex


def test_a_step_that_draws_has_no_equations():
    with pytest.raises(tg.Untraceable, match="draws random numbers"):
        own_step(lambda x, h: tg.tanh(x + h * np.random.rand()))


def test_letters_of_every_script_in_latex():
    for name, words in {
        "Σ": r"\Sigma",
        "ξ": r"\xi",
        "权重": r"\text{权重}",
        "é": r"\text{é}",
    }.items():
        weight = own_weight(name)
        assert words in own_step(lambda x, h, weight=weight: tg.tanh(x + h @ weight)).latex


def test_a_rule_has_the_numbers_that_are_known():
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    rules = [r.call.rules for r in tg.explain((x**2).sum()).tape.records if r.call.op == "power"]
    assert rules == [("2 g ⊙ x", "")]


def test_a_quotient_of_a_number_has_no_brackets():
    assert own_step(lambda x, h: h + 2 / x).lines("forward") == ["h_t = h_{t−1} + 2 / x_t"]
