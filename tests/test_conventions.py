"""One cell, many conventions: exact moves or refusals, explanations that count, foreign weights."""

import re
import tracemalloc
import zipfile
from itertools import product

import numpy as np
import onnx_models
import pytest
import reference_layers as by_formula

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn

I, H, P, T, B = 3, 4, 2, 5, 2
XS = np.cos(np.arange(T * B * I)).reshape(T, B, I)
F64 = {"dtype": np.float64}


def filled(module, seed=0):
    """The module with random numbers in every parameter, also in biases and gains."""
    rng = np.random.default_rng(seed)
    for x in module.parameters():
        x.data = rng.normal(0, 0.7, x.shape).astype(x.dtype)
    return module


def outputs(module, xs=XS):
    """What it answers, step by step: nothing has to be compiled."""
    layer = module if isinstance(module, nn.Recurrent) else nn.Recurrent(module)
    layer.unroll = True
    return layer(xs.astype(layer.cells[0].dtype))[0].data


def same_function(one, other):
    """Equal up to the rounding of float64, and no constant."""
    ours, theirs = outputs(one), outputs(other)
    assert np.ptp(ours) > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14 * max(1, np.abs(ours).max()))


def same_bits(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, x in ours.items():
        assert x.dtype == theirs[name].dtype and x.tobytes() == theirs[name].tobytes(), name


# -- convert -------------------------------------------------------------------------------------

LSTMS = {
    "plain": {},
    "no bias": {"bias": False},
    "peepholes": {"peepholes": True},
    "projection": {"projection": P},
    "coupled": {"coupled": True},
    "ba2016": {"norm": "ba2016"},
    "per_gate": {"norm": "per_gate"},
    "activations": {"activations": ("hard_sigmoid", "softsign", "relu")},
    "clip": {"clip": 0.5},
    "all": {"peepholes": True, "projection": P, "coupled": True, "norm": "per_gate", "clip": 0.5},
}
PAIRS = list(product(nn.CONVENTIONS, repeat=2))


@pytest.mark.parametrize("options", LSTMS.values(), ids=LSTMS)
def test_lstms_are_converted_exactly(options):
    cells = {name: filled(nn.LSTM(I, H, convention=name, **F64, **options)) for name in CONVENTIONS}
    for source, to in PAIRS:
        cell = cells[source]
        twin = nn.convert(cell, to)
        assert (twin.convention, twin.order) == (to, cells[to].order)
        assert twin.state_dict().keys() == cells[to].state_dict().keys()
        same_function(cell, twin)
        if set(cell.state_dict()) <= set(twin.state_dict()):
            same_bits(cell, nn.convert(twin, source))


CONVENTIONS = list(nn.CONVENTIONS)
BEFORE = {"textbook", "keras_reset_before", "onnx"}  # the rest reset after the product
GRUS = {
    "plain": {"bias": True},
    "no bias": {"bias": False},
    "clip": {"bias": True, "clip": 0.5},
    "hard gates": {"activations": ("hard_sigmoid", "softsign")},
}


@pytest.mark.parametrize("options", GRUS.values(), ids=GRUS)
def test_grus_are_converted_exactly_or_refused(options):
    cells = {name: filled(nn.GRU(I, H, convention=name, **F64, **options)) for name in CONVENTIONS}
    for source, to in PAIRS:
        cell = cells[source]
        if (source in BEFORE) != (to in BEFORE):
            with pytest.raises(ValueError, match=r"reset gate.*choose one of.*reset="):
                nn.convert(cell, to)
            continue
        twin = nn.convert(cell, to)
        assert (twin.convention, twin.reset, twin.update) == (to, cell.reset, cells[to].update)
        assert twin.order == cells[to].order
        same_function(cell, twin)
        if set(cell.state_dict()) <= set(twin.state_dict()):
            same_bits(cell, nn.convert(twin, source))


@pytest.mark.parametrize("bias", [0, 1, 2])
@pytest.mark.parametrize("untied", [None, T])
def test_rnns_have_as_many_biases_as_the_convention(bias, untied):
    cell = filled(nn.RNN(I, H, bias=bias, untied=untied, **F64))
    for to, how in nn.CONVENTIONS.items():
        twin = nn.convert(cell, to)
        same_function(cell, twin)
        assert (twin.bh is not None) == (bias > 0 and len(how.lstm_biases) == 2)
        assert (twin.b is not None) == (bias > 0)


@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_gru_of_any_convention_can_keep_its_reset_and_update(reset):
    cell = filled(nn.GRU(I, H, convention="onnx", reset=reset, **F64))
    for update, to in product(("candidate", "previous"), ("torch", "keras", "onnx")):
        twin = nn.convert(cell, to, reset=reset, update=update)
        assert (twin.reset, twin.update, twin.convention) == (reset, update, to)
        same_function(cell, twin)
        same_bits(cell, nn.convert(twin, "onnx", reset=reset))


def test_a_bias_inside_the_reset_gate_has_no_other_place():
    cell = filled(nn.GRU(I, H, convention="torch", **F64))
    with pytest.raises(ValueError, match=r"bn is multiplied by the reset gate.*'torch', 'keras'"):
        nn.convert(cell, "textbook", reset="after")
    cell.bn.data = np.zeros(H)
    twin = nn.convert(cell, "textbook", reset="after")
    assert twin.bn is None and twin.update == "candidate"
    same_function(cell, twin)


@pytest.mark.parametrize("source", ["textbook", "onnx"])
def test_normalised_grus_keep_the_biases_that_are_normalised(source):
    cell = filled(nn.GRU(I, H, convention=source, norm="ba2016", bias=True, **F64))
    for to in ("onnx", "keras_reset_before", "textbook"):
        if source == "onnx" and to != "onnx":
            with pytest.raises(ValueError, match=r"bh is normalised.*choose one of.*set bh to 0"):
                nn.convert(cell, to)
        else:
            same_function(cell, nn.convert(cell, to))
            same_bits(cell, nn.convert(nn.convert(cell, to), source))


def test_only_gates_that_mirror_can_be_turned():
    cell = filled(nn.GRU(I, H, activations=("softsign", "tanh"), **F64))
    with pytest.raises(ValueError, match=r"z gates the candidate.*update='candidate'"):
        nn.convert(cell, "keras_reset_before")
    same_function(cell, nn.convert(cell, "keras_reset_before", update="candidate"))


def test_what_is_inside_is_converted_and_the_original_is_left_alone():
    both = nn.Bidirectional(nn.Zoneout(nn.LSTM(I, H, **F64), h=0.3), nn.LSTM(I, H, **F64))
    tied = nn.RNN(2 * H, 2 * H, **F64)
    minimal = nn.MinimalGatedUnit(2 * H, H, **F64)
    layer = filled(nn.Recurrent(both, tied, tied, minimal, share=True)).eval()
    layer.cells[0].backward.b.requires_grad = False
    before = {name: x.copy() for name, x in layer.state_dict().items()}
    twin = nn.convert(layer, "torch")
    assert twin.cells[0].forward.cell.convention == "torch" == twin.cells[0].backward.convention
    assert twin.cells[1] is twin.cells[2] is not layer.cells[1] and twin.cells[1].bh is not None
    assert (
        not twin.cells[0].backward.bh.requires_grad and twin.cells[0].forward.cell.bh.requires_grad
    )
    same_function(layer, twin)
    assert all((x == before[name]).all() for name, x in layer.state_dict().items())
    assert not set(twin._leaves().values()) & set(layer._leaves().values())


def test_what_has_no_conventions_is_refused():
    with pytest.raises(TypeError, match="MinimalGatedUnit has no conventions"):
        nn.convert(nn.MinimalGatedUnit(I, H), "torch")
    with pytest.raises(ValueError, match=r"convert: convention: expected one of \('textbook'"):
        nn.convert(nn.LSTM(I, H), "pytorch")


# -- explain -------------------------------------------------------------------------------------


class Own(nn.Cell):
    def __init__(self):
        self.inputs, self.hidden = I, H
        self.a = nn.Linear(I + H, H)

    def step(self, x, h):
        return tg.tanh(self.a(tg.concat([x, h], axis=-1)))


def explained():
    for convention in CONVENTIONS:
        for name, options in LSTMS.items():
            yield f"lstm {convention} {name}", nn.LSTM(I, H, convention=convention, **options)
        for name, options in (*GRUS.items(), ("norm", {"norm": "ba2016"})):
            yield f"gru {convention} {name}", nn.GRU(I, H, convention=convention, **options)
        after = nn.GRU(I, H, convention=convention, reset="after", update="candidate")
        yield f"gru {convention} other", after
    for bias in (0, 1, 2):
        yield f"rnn {bias}", nn.RNN(I, H, bias=bias, activation="relu")
    yield "untied", nn.RNN(I, H, untied=T)
    yield "large", nn.LSTM(1000, 70, projection=1, peepholes=True)
    yield "one unit", nn.GRU(1, 1, convention="torch")
    yield "irnn", nn.IRNN(I, H)
    yield "minimal", nn.MinimalGatedUnit(I, H)
    yield "minimal bare", nn.MinimalGatedUnit(I, H, bias=False)
    for source in ("output", "prediction"):
        yield f"output {source}", nn.OutputRecurrent(I, H, P, source=source)
    yield "own", Own()
    yield "wrapped", nn.Residual(nn.LearnedState(nn.TimeSkip(nn.GRU(H, H), 3)))


EXPLAINED = dict(explained())


def numbers(text):
    return [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", text)]


@pytest.mark.parametrize("cell", EXPLAINED.values(), ids=EXPLAINED)
def test_the_counts_that_are_explained_add_up_to_the_parameters(cell):
    text = cell.explain()
    assert max(map(len, text.splitlines())) <= 100
    total = nn.count_parameters(cell)
    assert numbers(text.splitlines()[0])[-1] == total
    table = text.split("\nWeights")[1].split("\n\n")[1]
    rows, (summed, *_) = (part.splitlines() for part in re.split(r"\n +-+\n", table))
    assert numbers(summed)[0] == total
    for bracket in re.findall(r"= (.*)", summed):
        python = bracket.replace(",", "").replace(" [", " * (").replace("]", ")")
        assert eval(python.replace(") ", ") * ", 1).replace("·", "*")) == total
    rows = [re.split(r" {3,}", row.strip()) for row in rows]
    assert [row[0] for row in rows] == [name for name, _ in cell.named_parameters()]
    for (_, shape, terms, count), x in zip(rows, cell.parameters(), strict=True):
        assert numbers(count) == [x.size] == [np.prod(numbers(terms))] == [np.prod(numbers(shape))]


def shown(cell):
    """Every number that its explanation shows."""
    return numbers(cell.explain())


def test_the_lstm_of_textbooks_has_131584_parameters_and_that_of_torch_132096():
    for convention in CONVENTIONS:
        text = nn.LSTM(128, 128, convention=convention).explain()
        here = re.search(r"131,584.*\b(textbook|keras|flax)\b.*", text)[0]
        there = re.search(r"132,096.*\b(torch|onnx)\b.*", text)[0]
        assert "textbook" in here and "flax" in here and "torch" not in here and "onnx" in there
    assert numbers(nn.LSTM(128, 128).explain().splitlines()[0])[-1] == 131_584
    assert numbers(nn.LSTM(128, 128, convention="torch").explain().splitlines()[0])[-1] == 132_096
    cell = nn.LSTM(100, 128)
    assert {117_248, 91_600} <= set(shown(cell)) and nn.count_parameters(cell) == 117_248
    assert "= 4 [(100 + 128) 128 + 128]" in cell.explain()


def test_an_explanation_reads_like_this():
    assert (
        nn.LSTM(100, 128).explain().rstrip()
        == """\
LSTM as 'textbook' has it: 100 inputs, 128 hidden units, 117,248 parameters

  a_t[k] = x_t Wx[k] + h_{t−1} Wh[k] + b[k]    for k = f, i, g, o
  i_t = σ(a_t[i])       input gate
  g_t = tanh(a_t[g])    candidate
  f_t = σ(a_t[f])       forget gate
  c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t
  o_t = σ(a_t[o])       output gate
  h_t = o_t ⊙ tanh(c_t)

Weights, their columns in blocks of 128 for f, i, g, o

  Wh   128 × 512   4 · 128 · 128    65,536
  Wx   100 × 512   4 · 100 · 128    51,200
  b    512         4 · 128             512
                                   -------
                                   117,248 = 4 [(100 + 128) 128 + 128]

In other conventions, with the biases that are usual there

  117,248   b           textbook, keras, keras_reset_before, flax
  117,760   b, bh       torch, onnx

  b and bh are one bias, their sum, that is trained twice as fast.
  The count 4 [(e + h) e + e] is right only if e = h: here 91,600 would be wrong."""
    )


def test_grus_count_their_biases():
    counts = {"textbook": 98_304, "keras_reset_before": 98_688, "flax": 98_816}
    counts |= dict.fromkeys(("keras", "torch", "onnx"), 99_072)
    for name, count in counts.items():
        cell = nn.GRU(128, 128, convention=name)
        assert nn.count_parameters(cell) == count
        for other, theirs in counts.items():
            assert re.search(rf"^ +{theirs:,}  .*\b{other}\b", cell.explain(), re.M)


def test_what_modifiers_add_is_said():
    cell = nn.Zoneout(nn.LearnedState(nn.LSTM(I, H, projection=P)), h=0.1)
    around = cell.explain().split("\n\n")[1]
    assert re.search(r"^  Zoneout adds no parameters\.", around)
    assert re.search(rf"^  LearnedState adds {P + H} parameters\.", around, re.M)


def test_what_is_not_trained_is_not_counted():
    cell = nn.LSTM(I, H)
    cell.b.requires_grad = False
    assert numbers(cell.explain().splitlines()[0])[-1] == 4 * (I + H) * H
    assert re.search(r"Not trained.*\bb\b", cell.explain())
    with pytest.raises(TypeError, match=r"expected one cell, got Recurrent.*layer.cells\[0\]"):
        nn.explain(nn.Recurrent(cell))


@pytest.mark.parametrize("name", [n for n in EXPLAINED if n.split()[1:2] != ["onnx"]][::3])
def test_the_formulas_that_are_printed_are_the_equations_of_the_cell(name):
    """Which are computed in `test_formula`; gates are told beside them."""
    cell = EXPLAINED[name]
    part = "\n\n".join(cell.explain().split("\nWeights")[0].split("\n\n")[1:]).splitlines()
    lines = tg.equations(cell).lines("forward")
    assert [re.split(" {4,}(?!for )", line.strip())[0] for line in part[-len(lines) :]] == [
        line.strip() for line in lines
    ]


def test_gates_are_told_beside_their_formulas():
    text = nn.LSTM(I, H).explain()
    assert text == nn.explain(nn.LSTM(I, H))
    for gate, word in {"i": "input", "f": "forget", "o": "output"}.items():
        assert re.search(rf"^  {gate}_t = σ\(a_t\[{gate}\]\) +{word} gate$", text, re.M)


# -- PyTorch -------------------------------------------------------------------------------------


def number(shape, k):
    """Numbers that anyone can write down again."""
    return np.sin(np.arange(np.prod(shape)) * 0.7 + k).reshape(shape) * 0.8


def torch_state(kind, inputs=2, hidden=3, layers=2, ways=2, bias=True, projection=0):
    """Names in torch's order, and shapes as its documentation gives them."""
    gates, state, reads = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind], {}, projection or hidden
    for layer in range(layers):
        for end in ("", "_reverse")[:ways]:
            shapes = {
                "weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, reads),
                "bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,),
                "weight_hr": (projection, hidden),
            }  # fmt: skip
            for name, shape in shapes.items():
                there = {"b": bias, "w": name != "weight_hr" or projection}[name[0]]
                if there:
                    state[f"{name}_l{layer}{end}"] = number(shape, len(state))
        inputs = ways * reads
    return state


def sigma(x):
    return 1 / (1 + np.exp(-x))


def torch_step(kind, state, end, x, h, c):
    """torch's formulas, as its documentation has them."""
    bias = lambda name: state.get(name + end, 0.0)
    a = state["weight_ih" + end] @ x + bias("bias_ih")
    b = state["weight_hh" + end] @ h + bias("bias_hh")
    if kind == "RNN":
        return np.tanh(a + b), c
    if kind == "GRU":
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        r, z = sigma(ar + br), sigma(az + bz)
        return (1 - z) * np.tanh(an + r * bn) + z * h, c
    i, f, g, o = np.split(a + b, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(c)
    return (state["weight_hr" + end] @ h if "weight_hr" + end in state else h), c


def torch_run(kind, state, xs):
    """The outputs for one sequence (T, inputs)."""
    for layer in range(1 + max(int(name.split("_l")[1][0]) for name in state)):
        ways = []
        for end in (f"_l{layer}", f"_l{layer}_reverse"):
            if "weight_ih" + end not in state:
                continue
            c = np.zeros(len(state["weight_ih" + end]) // (4 if kind == "LSTM" else 1))
            h, path = np.zeros(state["weight_hh" + end].shape[1]), []
            for x in xs[::-1] if ways else xs:
                h, c = torch_step(kind, state, end, x, h, c)
                path.append(h)
            ways.append(path[::-1] if ways else path)
        xs = np.concatenate(ways, axis=1)
    return xs


READ = np.cos(np.arange(12)).reshape(3, 2, 2)
# What torch 2.13 answers at t = 1 in row 1, and the sum of all its answers.
RECORDED = {
    ("RNN", 0): ([-0.8553002652542396, -0.6796699969490839, -0.8849199432313944,
                  0.7853225157100011, 0.9811842382357606, -0.9292864937936473], -7.570974507283184),
    ("GRU", 0): ([0.42077755781859905, 0.20174414551246758, -0.4085826081518249,
                  -0.6770838018738093, -0.21834827267807394, 0.6282875175600734],
                 -3.7433205072028994),
    ("LSTM", 0): ([0.24429781511748144, -0.0027804601403518888, -0.05988057276762593,
                   -0.2558141001479073, -0.0005372376704291499, 0.4791321853232551],
                  3.165982427978597),
    ("LSTM", 2): ([-0.7924844187101531, 0.9781234813117203, -0.2848430337458766,
                   0.06820978027675235], -0.28520333458054803),
}  # fmt: skip


@pytest.mark.parametrize("kind, projection", RECORDED)
def test_torch_weights_answer_what_torch_answered(kind, projection):
    state = torch_state(kind, projection=projection)
    ys = outputs(io.from_torch(state), READ)
    row, total = RECORDED[kind, projection]
    np.testing.assert_allclose(ys[1, 1], row, rtol=0, atol=1e-14)
    assert abs(ys.sum() - total) < 1e-13


TORCH = [
    (kind, layers, ways, bias, projection)
    for kind, layers, ways, bias, projection in product(
        ("RNN", "GRU", "LSTM"), (1, 2), (1, 2), (True, False), (0, 2)
    )
    if kind == "LSTM" or not projection
]


@pytest.mark.parametrize("kind, layers, ways, bias, projection", TORCH)
def test_torch_weights_there_and_back(kind, layers, ways, bias, projection):
    """P28, to the bit; and what they compute is what torch's documentation says."""
    how = {"layers": layers, "ways": ways, "bias": bias, "projection": projection}
    state = torch_state(kind, **how)
    layer = io.from_torch({**{f"decoder.{k}": x for k, x in state.items()}, "head.W": 1},
                          prefix="decoder.")  # fmt: skip
    assert nn.count_parameters(layer) == sum(x.size for x in state.values())
    np.testing.assert_allclose(
        outputs(layer, READ)[:, 0], torch_run(kind, state, READ[:, 0]), rtol=0, atol=1e-14
    )
    back = io.to_torch(layer)
    assert list(back) == list(state)
    assert all(back[name].tobytes() == x.tobytes() for name, x in state.items())


@pytest.mark.parametrize("kind, to", [("RNN", "keras"), ("LSTM", "textbook"), ("GRU", "flax")])
def test_torch_weights_go_into_layers_of_other_conventions(kind, to):
    state = torch_state(kind)
    plain = io.from_torch(state)
    layer = filled(nn.convert(plain, to))
    io.load_torch(layer, state)
    np.testing.assert_allclose(outputs(layer, READ), outputs(plain, READ), rtol=0, atol=1e-14)
    if kind != "RNN":
        assert layer.cells[1].backward.convention == to
    state = torch_state(kind, layers=1, ways=1)
    cell = filled(nn.convert(io.from_torch(state), to)).cells[0]
    io.load_torch(cell, state)
    expected = torch_run(kind, state, READ[:, 0])
    np.testing.assert_allclose(outputs(cell, READ)[:, 0], expected, rtol=0, atol=1e-14)
    assert torch_run(kind, io.to_torch(cell), READ[:, 0]) == pytest.approx(expected, abs=1e-14)


def test_torch_itself_agrees():
    torch = pytest.importorskip("torch", reason="torch is what to compare with")
    for kind, layers, ways, bias, projection in TORCH:
        module = getattr(torch.nn, kind)(
            2, 3, layers, bidirectional=ways == 2, bias=bias, dtype=torch.float64,
            **({"proj_size": projection} if projection else {}),
        )  # fmt: skip
        layer = io.from_torch(module.state_dict())
        ys, _ = module(torch.from_numpy(READ))
        np.testing.assert_allclose(outputs(layer, READ), ys.detach(), rtol=0, atol=1e-14)
        filled(layer)
        arrays = {name: torch.from_numpy(x) for name, x in io.to_torch(layer).items()}
        module.load_state_dict(arrays)
        ys, _ = module(torch.from_numpy(READ))
        np.testing.assert_allclose(outputs(layer, READ), ys.detach(), rtol=0, atol=1e-14)


def test_J05_everything_that_does_not_fit_is_listed_and_nothing_is_loaded():
    state = torch_state("LSTM")
    layer = filled(io.from_torch(state))
    before = {name: x._array for name, x in layer.named_parameters()}
    del state["bias_hh_l0"]
    state["weight_hh_l1"] = np.zeros((2, 2))
    state["weight_ih_l0"] = state["weight_ih_l0"].astype(int)
    state["weight_ih_l7"] = np.zeros((12, 2))
    wanted = r"nothing was loaded: missing 'bias_hh_l0'; unexpected 'weight_ih_l7'; "
    wanted += r"'weight_ih_l0' is int64\[12, 2\].*'weight_hh_l1' is float64\[2, 2\], expected "
    wanted += r"floats\[12, 3\]; .*prefix="
    with pytest.raises(ValueError, match=f"load_torch: {wanted}"):
        io.load_torch(layer, state)
    assert all(x._array is before[name] for name, x in layer.named_parameters())
    state["weight_ih_l0"] = np.zeros((12, 2))
    with pytest.raises(ValueError, match="from_torch: nothing was loaded: missing 'bias_hh_l0'"):
        io.from_torch(state)
    with pytest.raises(ValueError, match=r"expected matrices.*encoder.*prefix="):
        io.from_torch({f"encoder.{name}": x for name, x in state.items()})
    with pytest.raises(ValueError, match=r"4, 3 or 1 times 3 units, for an LSTM.*got 6"):
        io.from_torch({"weight_ih_l0": np.zeros((6, 2)), "weight_hh_l0": np.zeros((6, 3))})
    with pytest.raises(TypeError, match="expected arrays by name, got list"):
        io.from_torch([1])


def test_J06_float32_weights_make_float32_layers_and_are_cast_into_others():
    state = {name: x.astype(np.float32) for name, x in torch_state("GRU").items()}
    assert io.from_torch(state).cells[0].dtype == np.float32
    layer = io.from_torch(state, dtype=np.float64, convention="keras")
    assert layer.cells[0].dtype == np.float64 and layer.cells[0].forward.convention == "keras"
    state["weight_ih_l0"] = state["weight_ih_l0"].astype(np.float16)
    assert io.from_torch(state).cells[0].dtype == np.float32
    with pytest.raises(ValueError, match="'weight_ih_l1' is int64"):
        io.from_torch(state | {"weight_ih_l1": np.zeros((9, 6), int)})


CANNOT = {
    "no peepholes": nn.LSTM(I, H, peepholes=True),
    "no coupled gates": nn.LSTM(I, H, coupled=True),
    "no norm, no clip": nn.LSTM(I, H, norm="ba2016", clip=1.0),
    "no untied weights": nn.RNN(I, H, untied=2),
    "no such activations": nn.LSTM(I, H, activations=("hard_sigmoid", "tanh", "relu")),
    "has no Zoneout": nn.Zoneout(nn.LSTM(I, H), h=0.1),
    "has no MinimalGatedUnit": nn.MinimalGatedUnit(I, H),
}


@pytest.mark.parametrize("reason", CANNOT)
def test_frameworks_refuse_what_they_do_not_have(reason):
    cell = CANNOT[reason]
    for framework, call in (
        ("torch", io.to_torch), ("torch", lambda layer: io.load_torch(layer, {})),
        ("keras", io.to_keras), ("keras", lambda layer: io.load_keras(layer, [])),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"_{framework}: {framework}.*{reason}"):
            call(nn.Recurrent(cell))


def test_frameworks_refuse_other_layers():
    with pytest.raises(ValueError, match="reset gate that acts before"):
        io.to_torch(nn.GRU(I, H))
    with pytest.raises(ValueError, match="no projection"):
        io.to_keras(nn.LSTM(I, H, projection=P))
    with pytest.raises(ValueError, match="no such activations"):
        io.to_torch(nn.RNN(I, H, activation="softsign"))
    with pytest.raises(ValueError, match="cells of one kind and size"):
        io.to_torch(nn.Recurrent(nn.LSTM(I, H), nn.LSTM(H, I)))
    both = nn.Bidirectional(nn.LSTM(H, H), nn.LSTM(H, H))
    with pytest.raises(ValueError, match="directions"):
        io.to_torch(nn.Recurrent(nn.LSTM(I, H), both))
    tied = nn.RNN(H, H)
    for call in (io.to_torch, io.to_keras):
        with pytest.raises(ValueError, match="one cell stands in it twice"):
            call(nn.Recurrent(tied, tied, share=True))
        with pytest.raises(TypeError, match="expected a Recurrent or a cell, got list"):
            call([tied])
    with pytest.raises(TypeError, match="expected a Recurrent or a cell, got Linear"):
        io.to_keras(nn.Linear(I, H))


# -- Keras ---------------------------------------------------------------------------------------


def keras_weights(kind, inputs=2, hidden=3, bias=True, after=True, seed=0):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    shapes = [(inputs, gates * hidden), (hidden, gates * hidden)]
    two = kind == "GRU" and after
    shapes += [(2, gates * hidden) if two else (gates * hidden,)] if bias else []
    return [number(shape, seed + k) for k, shape in enumerate(shapes)]


def keras_run(kind, weights, xs, after=True):
    """Keras' formulas for one sequence (T, inputs)."""
    W, U, *bias = weights
    b = np.atleast_2d(bias[0]) if bias else np.zeros((1, W.shape[1]))
    b = b if len(b) == 2 else np.concatenate([b, np.zeros_like(b)])
    h, c, path = np.zeros(len(U)), np.zeros(len(U)), []
    for x in xs:
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
        a, r, q = (
            np.split(x @ W + b[0], gates),
            np.split(h @ U + b[1], gates),
            np.split(U, gates, 1),
        )
        if kind == "RNN":
            h = np.tanh(a[0] + r[0])
        elif kind == "GRU":
            update, reset = sigma(a[0] + r[0]), sigma(a[1] + r[1])
            recurrent = reset * r[2] if after else (reset * h) @ q[2]
            h = update * h + (1 - update) * np.tanh(a[2] + recurrent)
        else:
            i, f, o = (sigma(a[k] + r[k]) for k in (0, 1, 3))
            c = f * c + i * np.tanh(a[2] + r[2])
            h = o * np.tanh(c)
        path.append(h)
    return np.array(path)


KERAS = [
    (kind, bias, after)
    for kind, bias, after in product(("RNN", "GRU", "LSTM"), (True, False), (True, False))
    if kind == "GRU" or after
]


@pytest.mark.parametrize("kind, bias, after", KERAS)
def test_keras_weights_there_and_back(kind, bias, after):
    how = {"bias": bias, "after": after}
    first, second = keras_weights(kind, **how), keras_weights(kind, 3, **how, seed=5)
    named = {} if bias else {"convention": "keras" if after else "keras_reset_before"}
    layer = io.from_keras(first, second, **named)
    hidden = keras_run(kind, first, READ[:, 0], after)
    expected = keras_run(kind, second, hidden, after)
    np.testing.assert_allclose(outputs(layer, READ)[:, 0], expected, rtol=0, atol=1e-14)
    assert nn.count_parameters(layer) == sum(x.size for x in [*first, *second])
    back = io.to_keras(layer)
    assert len(back) == len(first) + len(second)
    for ours, theirs in zip(back, [*first, *second], strict=True):
        assert ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("kind, bias, after", KERAS)
def test_keras_weights_of_both_directions(kind, bias, after):
    how = {"bias": bias, "after": after}
    forward, backward = keras_weights(kind, **how), keras_weights(kind, **how, seed=5)
    named = {} if bias else {"convention": "keras" if after else "keras_reset_before"}
    layer = io.from_keras([*forward, *backward], **named)
    assert isinstance(layer.cells[0], nn.Bidirectional)
    ahead = keras_run(kind, forward, READ[:, 0], after)
    back = keras_run(kind, backward, READ[::-1, 0], after)[::-1]
    expected = np.concatenate([ahead, back], axis=1)
    np.testing.assert_allclose(outputs(layer, READ)[:, 0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind, after, to", [
    ("RNN", True, "torch"), ("LSTM", True, "onnx"), ("GRU", True, "torch"),
    ("GRU", False, "textbook"),
])  # fmt: skip
def test_keras_weights_go_into_layers_of_other_conventions(kind, after, to):
    weights = keras_weights(kind, after=after)
    layer = filled(nn.convert(io.from_keras(weights), to))
    io.load_keras(layer, weights)
    expected = keras_run(kind, weights, READ[:, 0], after)
    np.testing.assert_allclose(outputs(layer, READ)[:, 0], expected, rtol=0, atol=1e-14)
    again = io.to_keras(layer.cells[0])
    assert keras_run(kind, again, READ[:, 0], after) == pytest.approx(expected, abs=1e-14)


def test_J05_J06_states_of_what_are_no_arrays_by_name_are_refused():
    state = torch_state("GRU")
    for wrong in (None, [1], {1: np.ones(2)}, state | {7: np.ones(2)}):
        with pytest.raises(TypeError, match="from_torch: state: expected arrays by name, got "):
            io.from_torch(wrong)
    for wrong in (None, "kernel", {"kernel": np.ones(2)}, np.ones(2)):
        with pytest.raises(TypeError, match="from_keras: layers: expected lists of arrays"):
            io.from_keras(wrong)
    masked = {name: np.ma.masked_array(x, mask=x > 0) for name, x in state.items()}
    with pytest.raises(ValueError, match=r"nothing was loaded.*'weight_hh_l0' is a masked array"):
        io.from_torch(masked)
    layer = nn.Linear(2, 2, rng=0)
    before = layer.W.data.copy()
    with pytest.raises(ValueError, match="nothing was loaded: 'W' is a masked array"):
        layer.load_state_dict({"W": np.ma.masked_array(np.ones((2, 2))), "b": np.ones(2)})
    assert np.array_equal(layer.W.data, before)


def test_J05_keras_weights_that_do_not_fit_are_refused_together():
    weights = keras_weights("LSTM")
    layer = filled(io.from_keras(weights))
    before = {name: x._array for name, x in layer.named_parameters()}
    with pytest.raises(ValueError, match=r"load_keras: nothing was loaded: missing 'weights\[2\]'; "
                       r"'weights\[1\]' is float64\[4\], expected floats\[3, 12\]"):  # fmt: skip
        io.load_keras(layer, [weights[0], np.zeros(4)])
    assert all(x._array is before[name] for name, x in layer.named_parameters())
    with pytest.raises(ValueError, match="does not tell whether its reset_after was True"):
        io.from_keras(keras_weights("GRU", bias=False))
    with pytest.raises(ValueError, match=r"lists of 2 or 3 arrays.*got 5"):
        io.from_keras([*weights, *weights[:2]])
    with pytest.raises(ValueError, match=r"expected a kernel.*got shapes \(12,\)"):
        io.from_keras([weights[2], weights[1]])
    with pytest.raises(ValueError, match=r"4, 3 or 1 times 3 units.*got 2"):
        io.from_keras([weights[0], np.zeros((3, 2))])
    with pytest.raises(TypeError, match=r"expected a list of arrays, got dict.*arrays.values"):
        io.load_keras(layer, {"kernel": weights[0]})


def test_activations_of_keras_are_said_beside_the_weights():
    weights = keras_weights("GRU")
    layer = io.from_keras(weights, activations=("hard_sigmoid", "relu"), dtype=np.float32)
    assert layer.cells[0].activations[1] is tg.relu and layer.cells[0].dtype == np.float32


# -- ONNX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_onnx_stacks_say_the_same(kind, reset):
    options = {"GRU": {"reset": reset, "bias": True}, "LSTM": {"peepholes": True}, "RNN": {}}[kind]
    cells = [filled(getattr(nn, kind)(I, H, **F64, **options), seed) for seed in (0, 1)]
    both = nn.Bidirectional(*cells)
    found = io.to_onnx(both)
    order = {"GRU": "zrn", "LSTM": "iofg", "RNN": "h"}[kind]
    weights = onnx_models.named(found["W"], found["R"], found["B"], order)
    runs = []
    for k, gates in enumerate(weights):
        how, count = {}, 2 if kind == "LSTM" else 1
        if kind == "LSTM":
            how["peepholes"] = dict(zip("iof", np.split(found["P"][k], 3), strict=True))
        if kind == "GRU":
            how |= {"reset": reset, "z_gates": "previous"}
        zeros = [np.zeros((B, H))] * count
        run = getattr(by_formula, kind.lower())
        runs.append(run(XS, zeros, gates, reverse=k == 1, **how)[0])
    expected = np.concatenate(runs, axis=-1)
    np.testing.assert_allclose(outputs(both), expected, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="onnx's LSTM has no projection, no norm"):
        io.to_onnx(nn.LSTM(I, H, projection=P, norm="ba2016"))
    with pytest.raises(ValueError, match="a node has one layer"):
        io.to_onnx(nn.Recurrent(nn.RNN(I, H), nn.RNN(H, H)))


# -- files ---------------------------------------------------------------------------------------


def test_arrays_come_from_safetensors_and_from_npz(tmp_path):
    state = {
        **torch_state("GRU"),
        "fortran": np.asfortranarray(number((2, 3), 0)),
        "one": np.float32(3),
    }
    state = {name: np.asarray(x) for name, x in state.items()}
    io.save(tmp_path / "a", state)
    np.savez(tmp_path / "b.npz", **state)
    np.savez_compressed(tmp_path / "c.npz", **state)
    for name in ("a", "b.npz", "c.npz"):
        found = io.arrays(tmp_path / name)
        assert sorted(found) == sorted(state)
        for key, x in found.items():
            assert x.dtype == state[key].dtype and x.shape == state[key].shape
            assert (x == state[key]).all()
    np.savez(tmp_path / "list.npz", *keras_weights("LSTM"))
    layer = io.from_keras(list(io.arrays(tmp_path / "list.npz").values()))
    assert layer.cells[0].hidden == 3
    np.savez(tmp_path / "none.npz")
    assert io.arrays(tmp_path / "none.npz") == {}


def npy(shape, dtype="<f8", payload=b"", descr=None):
    descr = descr or f"'{dtype}'"
    return npy_of(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", payload)


def npy_of(text, payload=b""):
    header = text.encode() + b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + payload


def packed(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


W8 = b"12345678"
BAD = {
    "not as long as shape": npy((2**40,), payload=W8),
    "as shape .-1, -1. of float64 needs": npy((-1, -1), payload=W8),
    "holds objects": npy((1,), "|O", W8),
    "holds <U0": npy((10**18,), "<U0"),  # no bytes in the file, and 4 EB in memory
    "holds .V0": npy((10**18,), "|V0"),
    "holds complex64": npy((1,), "<c8", W8),
    "holds ([<>]?f|float)": npy((1,), "<f16", W8 * 2),
    r"holds \[\('a'": npy((1,), payload=W8, descr="[('a', '<f8')]"),
    "other than 0 and 1": npy((8,), "|b1", W8),
    "an integer": npy((True,), payload=W8),
    "shape is not valid": npy((1.0,), payload=W8),
    "expected 4294967295 bytes": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{" + W8,
    r"cannot be read: .*\(": npy_of("(" * 9000),  # what Python's parser says is its own
    "x.npy' cannot be read": npy_of("-" * 9000 + "1"),
    r"cannot be read: .*(\[|nested)": npy_of("[" * 4000 + "]" * 4000),
    "cannot be read: .*9": npy(f"({'9' * 5000},)"),
    "too large": npy(f"(0, {'9' * 4000})"),
    "too big": npy((0, 2**62, 2**62)),
    "version": b"\x93NUMPY\x09\x00" + b" " * 80,
    "magic": b"\x93NUMPY",
}


@pytest.mark.parametrize("reason", BAD)
def test_J01_J02_J03_J04_bad_arrays_are_refused_by_name(reason, tmp_path):
    (tmp_path / "x.npy").write_bytes(BAD[reason])
    packed(tmp_path / "bad.npz", ("x.npy", BAD[reason]))
    for name in ("x.npy", "bad.npz"):
        tracemalloc.start()
        try:
            with pytest.raises(io.CheckpointError, match=rf"(?s){name}.*({reason})") as no:
                io.arrays(tmp_path / name)
            assert tracemalloc.get_traced_memory()[1] < 20e6 and len(str(no.value)) < 800
        finally:
            tracemalloc.stop()


BAD_MEMBERS = {
    "no array": [("archive/data.pkl", b"\x80\x04")],
    "magic": [("x.npy", b"hello, this is no array")],
    "claims to hold": [("x.npy", npy((2**18,), payload=bytes(2**21)))],
}


@pytest.mark.parametrize("reason", BAD_MEMBERS)
def test_J01_J02_J04_bad_npz_files_are_refused_by_name(reason, tmp_path, monkeypatch):
    if reason == "claims to hold":
        monkeypatch.setattr("tinygrad_rnn.io.npz.MOST", 100)
    path = packed(tmp_path / "bad.npz", *BAD_MEMBERS[reason])
    with pytest.raises(io.CheckpointError, match=rf"bad.npz.*({reason})"):
        io.arrays(path)


def test_J01_J03_npz_files_that_were_cut_off_or_changed_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(50.0))
    data = (tmp_path / "x.npz").read_bytes()
    for k in (3, 30, len(data) // 2, len(data) - 5):
        (tmp_path / "y.npz").write_bytes(data[:k])
        with pytest.raises(io.CheckpointError, match=r"y\.npz"):
            io.arrays(tmp_path / "y.npz")
    middle = bytearray(data)
    middle[len(data) // 2] ^= 1
    (tmp_path / "y.npz").write_bytes(middle)
    with pytest.raises(io.CheckpointError, match="CRC"):
        io.arrays(tmp_path / "y.npz")
    elsewhere = data[:-6] + (2**24).to_bytes(4, "little") + data[-2:]  # where it says it begins
    (tmp_path / "y.npz").write_bytes(elsewhere)
    with pytest.raises(io.CheckpointError, match=r"y\.npz"):
        io.arrays(tmp_path / "y.npz")
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "z.npz", "w") as z,
    ):
        for _ in range(2):
            z.writestr("x.npy", npy((0,)))
    with pytest.raises(io.CheckpointError, match="repeats a name"):
        io.arrays(tmp_path / "z.npz")
    with pytest.raises(FileNotFoundError, match=r"nothing.npz"):
        io.arrays(tmp_path / "nothing.npz")


def test_a_state_that_takes_another_one_knows_what_its_numbers_mean():
    """However it takes it: as `update`, `|=` and `|` of dicts."""
    saved = nn.GRU(2, 3, bias=False, convention="keras", rng=1).state_dict()

    def updated(state):
        state.update(saved)
        return state

    def joined(state):
        state |= saved
        return state

    for take in (updated, joined, lambda state: state | saved, lambda state: dict(state) | saved):
        state = take(nn.GRU(2, 3, bias=False).state_dict())
        assert state.conventions[""]["reset"] == "after"
        with pytest.raises(ValueError, match="convention"):
            nn.GRU(2, 3, bias=False).load_state_dict(state)
        nn.GRU(2, 3, bias=False, convention="keras").load_state_dict(state)


def test_arrays_of_either_byte_order_become_layers():
    cell = nn.LSTM(3, 4, rng=0)
    for dtype in (">f4", ">f8", ">f2"):
        state = {name: x.astype(dtype) for name, x in tg.io.to_torch(cell).items()}
        layer = tg.io.from_torch(state)
        assert layer.cells[0].dtype == (np.float64 if dtype == ">f8" else np.float32)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_layer_of_one_direction_has_nothing_to_merge(framework):
    weights = getattr(tg.io, f"to_{framework}")(nn.LSTM(3, 4, rng=0))
    with pytest.raises(ValueError, match="nothing to merge"):
        getattr(tg.io, f"from_{framework}")(weights, merge="sum")


def test_layers_of_one_direction_and_two_are_merged_together():
    one = tg.io.to_keras(nn.LSTM(3, 4, rng=0))
    both = nn.Bidirectional(nn.LSTM(4, 4, rng=0), nn.LSTM(4, 4, rng=1), merge="sum")
    layer = tg.io.from_keras(one, tg.io.to_keras(both), merge="sum")
    xs = np.ones((5, 2, 3), np.float32)
    assert layer(xs)[0].shape == (5, 2, 4)


def test_a_part_of_a_state_brings_what_its_own_arrays_mean():
    class Model(nn.Module):
        def __init__(self, **how):
            self.encoder, self.head = nn.GRU(2, 3, bias=False, **how), nn.Linear(3, 1)

    state, part = Model().state_dict(), Model(convention="keras").state_dict()
    for name in [name for name in part if not name.startswith("head")]:
        del part[name]
    state |= part
    assert Model().load_state_dict(state) == ([], [])
