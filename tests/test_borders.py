"""What leaves for other frameworks, and what comes back: every option is said there, or refused."""

import inspect
import re
from itertools import combinations, product
from pathlib import Path

import numpy as np
import onnx_models
import pytest
import reference_layers as by_formula

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn
from tinygrad_rnn.io.options import OPTIONS

I, H, T, B = 3, 4, 5, 2
XS = np.cos(np.arange(T * B * I) * 1.7).reshape(T, B, I)
ORDER = {
    "torch": {"RNN": "h", "LSTM": "ifgo", "GRU": "rzn"},
    "keras": {"RNN": "h", "LSTM": "ifgo", "GRU": "zrn"},
}


def filled(module):
    """The module with numbers of its own in every parameter."""
    rng = np.random.default_rng(7)
    for x in module.parameters():
        x.data = rng.normal(0, 0.7, x.shape).astype(x.dtype)
    return module


# -- the options, and who has them: written down once more, by the frameworks' own manuals ---------

EVERY, SOME = {"torch", "keras", "onnx"}, {"keras", "onnx"}
own = lambda x: x / (1 + x * x)
# name: (what of, options, who has it, kinds of cells)
LAYERS = {
    "batch_first": ({"batch_first": True}, EVERY),
    "readout='last'": ({"readout": "last"}, EVERY),
    "readout='mean'": ({"readout": "mean"}, set()),
    "readout='sum'": ({"readout": "sum"}, set()),
    "readout='max'": ({"readout": "max"}, set()),
    "pad='hold'": ({"pad": "hold"}, {"keras"}),
    "reverse=True": ({"reverse": True}, SOME),
    "dropout": ({"dropout": 0.5}, set()),
}
MERGES = {
    "merge='concat'": ("concat", EVERY),
    "merge='sum'": ("sum", {"keras"}),
    "merge='mul'": ("mul", {"keras"}),
    "merge='mean'": ("mean", {"keras"}),
    "merge= a function": (lambda f, b: f - b, set()),
}
CELLS = {
    "RNN": {
        "bias 0": ({"bias": 0}, EVERY),
        "bias 2": ({"bias": 2}, EVERY),
        "relu": ({"activation": "relu"}, EVERY),
        "activations (softsign)": ({"activation": "softsign"}, SOME),
        "activations (own)": ({"activation": own}, {"keras"}),
        "clip": ({"clip": 0.4}, {"onnx"}),
        "untied": ({"untied": T}, set()),
    },
    "LSTM": {
        "no bias": ({"bias": False}, EVERY),
        "convention": ({"convention": "onnx", "forget_bias": 0.0}, EVERY),
        "peepholes": ({"peepholes": True}, {"onnx"}),
        "projection": ({"projection": 2}, {"torch"}),
        "coupled": ({"coupled": True}, {"onnx"}),
        "norm": ({"norm": "ba2016"}, set()),
        "activations (gate)": ({"activations": ("hard_sigmoid", "tanh", "tanh")}, SOME),
        "activations (both)": (
            {"activations": ("hard_sigmoid_keras", "leaky_relu_keras", "leaky_relu_keras")},
            SOME,
        ),
        "activations (last)": ({"activations": ("sigmoid", "tanh", "relu")}, {"onnx"}),
        "activations (own)": ({"activations": ("sigmoid", own, own)}, {"keras"}),
        "clip": ({"clip": 9.0}, {"onnx"}),
    },
    "GRU": {
        "reset='before'": ({"reset": "before"}, SOME),
        "reset='after'": ({"reset": "after"}, EVERY),
        "convention": ({"convention": "keras"}, EVERY),
        "bias": ({"bias": True}, EVERY),
        "update": ({"update": "previous"}, EVERY),
        "activations (gate)": ({"activations": ("hard_sigmoid_keras", "elu")}, SOME),
        "activations (scaled)": ({"activations": ("sigmoid", "scaled_tanh")}, SOME),
        "norm": ({"norm": "ba2016"}, set()),
        "clip": ({"clip": 0.4}, {"onnx"}),
    },
}


def built(kind, names):
    """A layer with these options, and who can say all of it."""
    of, around, merge, who = {"dtype": np.float64}, {"unroll": True}, None, set(EVERY)
    for name in names:
        if name in MERGES:
            merge, has = MERGES[name]
        else:
            more, has = LAYERS[name] if name in LAYERS else CELLS[kind][name]
            (around if name in LAYERS else of).update(more)
        who &= has
    if kind == "GRU" and of.get("reset") != "after" and of.get("convention") != "keras":
        who -= {"torch"}
    make = lambda: getattr(nn, kind)(I, H, **of)
    part = nn.Bidirectional(make(), make(), merge=merge) if merge else make()
    return filled(nn.Recurrent(part, **around)).eval(), who


def able(names, who):
    """What goes together only in part: who can say these options of one layer."""
    if "reverse=True" in names:
        return who & ({"onnx"} if "readout='last'" not in names else SOME) - (
            SOME if any(name in MERGES for name in names) else set()
        )
    return who


GIVE = {"torch": io.to_torch, "keras": io.to_keras, "onnx": io.to_onnx}
TAKE = {"torch": lambda x: io.load_torch(x, {}), "keras": lambda x: io.load_keras(x, [])}


def cases(most, kinds=tuple(CELLS)):
    for kind in kinds:
        names = [*CELLS[kind], *LAYERS, *MERGES]
        for some in (few for n in range(most + 1) for few in combinations(names, n)):
            words = [re.split(r"[= ]", name)[0] for name in some]
            if len(set(words)) == len(words):
                yield kind, some


def check_refused(call, kind, framework, names):
    """By the name of each option that this framework has not."""
    with pytest.raises(ValueError, match=rf"{framework}'s {kind} has ") as no:
        call()
    for name in names:
        has = {**LAYERS, **MERGES, **CELLS[kind]}[name][1]
        if framework not in able([name], has):
            word = re.split(r" \(| 0| 2", name)[0]
            assert word in str(no.value), (names, str(no.value))


def test_every_pair_of_options_is_said_or_refused_by_name():
    for kind, names in [*cases(2)][::3]:
        layer, who = built(kind, names)
        for framework in EVERY:
            if framework in able(names, who):
                assert len(io.settings(framework, layer)) == 1
            else:
                check_refused(lambda: io.settings(framework, layer), kind, framework, names)  # noqa: B023


@pytest.mark.parametrize("kind", CELLS)
def test_weights_neither_leave_nor_come_where_an_option_would_be_lost(kind):
    for _, names in cases(1, [kind]):
        layer, who = built(kind, names)
        for framework in EVERY - able(names, who):
            for call in (GIVE[framework], TAKE.get(framework, GIVE[framework])):
                check_refused(lambda: call(layer), kind, framework, names)  # noqa: B023


# -- what is said is what is computed -------------------------------------------------------------


def hard(x):
    return np.clip(x / 6 + 0.5, 0, 1)


MEANT = {  # what names of Keras 3 mean
    **{"tanh": np.tanh, "sigmoid": by_formula.sigmoid, "relu": by_formula.relu, "linear": np.array},
    **{"softsign": by_formula.softsign, "elu": by_formula.elu, "hard_sigmoid": hard},
    "leaky_relu": lambda x: np.where(x < 0, 0.2 * x, x),
}


def direction(kind, gates, reverse, activations, xs, **more):
    """Outputs (T, B, H), each where it belongs, and the last h."""
    hidden = next(iter(gates.values()))[1].shape
    zeros = [np.zeros((xs.shape[1], n)) for n in hidden[: 1 + (kind == "LSTM")]]
    more |= {"z_gates": "previous"} if kind == "GRU" else {}
    run = getattr(by_formula, kind.lower())
    ys, end = run(xs, zeros, gates, reverse=reverse, activations=activations, **more)
    return ys, end[0]


def torch_run(kind, said, state, xs):
    """A torch module made with these settings, with this state: outputs and h_n side by side."""
    xs, known = (xs.swapaxes(0, 1) if said.pop("batch_first", False) else xs), len(state)
    layers, two = said.pop("num_layers"), said.pop("bidirectional", False)
    assert said.pop("input_size") == xs.shape[2] and said.pop("hidden_size") == H
    assert (4 if said.pop("bias", True) else 2) + ("proj_size" in said) == known // layers // (
        1 + two
    )
    functions = {"h": MEANT[said.pop("nonlinearity", "tanh")]} if kind == "RNN" else {}
    assert said.keys() <= {"proj_size", "dropout"}
    for layer in range(layers):
        ways = []
        for way in range(1 + two):
            end, order = f"_l{layer}" + "_reverse" * way, ORDER["torch"][kind]
            cut = lambda name: np.split(state[name + end], len(order))  # noqa: B023
            blank = [0.0] * len(order)
            biases = [cut(n) if n + end in state else blank for n in ("bias_ih", "bias_hh")]
            rows = zip(cut("weight_ih"), cut("weight_hh"), *biases, strict=True)
            gates = dict(zip(order, ((w.T, u.T, b, c) for w, u, b, c in rows), strict=True))
            more = {"reset": "after"} if kind == "GRU" else {}
            if "proj_size" in said:
                more["projection"] = state["weight_hr" + end].T
            ways.append(direction(kind, gates, way == 1, functions, xs, **more))
        xs, last = (np.concatenate(parts, -1) for parts in zip(*ways, strict=True))
    return xs, last


def keras_layer(kind, said, arrays, xs, reverse):
    """One layer in one direction, xs (T, B, I): outputs in the order of reading, and the last."""
    order, biases = ORDER["keras"][kind], [[0.0] * 4] * 2
    W, U, *rest = (np.split(a, len(order), -1) for a in arrays)
    if rest:
        two = arrays[2].ndim == 2
        assert two == (kind == "GRU" and said["reset_after"])
        biases = [[b[k] for b in rest[0]] for k in (0, 1)] if two else [rest[0], biases[1]]
    gates = {g: (W[k], U[k], biases[0][k], biases[1][k]) for k, g in enumerate(order)}
    gate, candidate = (
        MEANT.get(said.get(name), said.get(name)) for name in ("recurrent_activation", "activation")
    )
    given = {"z": gate, "r": gate, "i": gate, "f": gate, "o": gate} | dict.fromkeys(
        "ngh", candidate
    )
    inside = {"RNN": "h", "GRU": "zrn", "LSTM": "ifogh"}[kind]
    more = {"reset": "after" if said["reset_after"] else "before"} if kind == "GRU" else {}
    ys, last = direction(kind, gates, reverse, {g: given[g] for g in inside}, xs, **more)
    return ys[:: -1 if reverse else 1], last


def keras_run(kind, every, weights, xs):
    """Layers of Keras made with these settings, with these weights, on xs (B, T, I)."""
    xs, weights = xs.swapaxes(0, 1), list(weights)
    merges = {"sum": np.add, "mul": np.multiply, "ave": lambda f, b: (f + b) / 2}
    merges["concat"] = lambda f, b: np.concatenate([f, b], -1)
    for said in every:
        count, back = 2 + said.get("use_bias", True), said.get("go_backwards", False)
        take = lambda: [weights.pop(0) for _ in range(count)]  # noqa: B023
        assert said["units"] == H
        ys, last = keras_layer(kind, said, take(), xs, back)
        if "merge_mode" in said:
            more, start = keras_layer(kind, said, take(), xs, True)
            merged = merges[said["merge_mode"]]
            ys, last = merged(ys, more[::-1]), merged(last, start)
        xs = ys if said["return_sequences"] else last
    assert not weights
    return xs.swapaxes(0, 1) if xs.ndim == 3 else xs


def ours(layer, xs=XS):
    """What the layer answers to xs (T, B, I), (T, B, H) or (B, H)."""
    ys = layer(xs.swapaxes(0, 1) if layer.batch_first else xs)[0].data
    return ys.swapaxes(0, 1) if layer.batch_first and ys.ndim == 3 else ys


def close(ys, expected, to=1e-13):
    assert np.ptp(expected) > 1e-3 and ys.shape == expected.shape
    np.testing.assert_allclose(ys, expected, rtol=0, atol=to * max(1, np.abs(expected).max()))


def check_torch(layer, kind):
    (said,) = io.settings("torch", layer)
    xs = XS.swapaxes(0, 1) if said.get("batch_first") else XS
    ys, last = torch_run(kind, said, io.to_torch(layer), xs)
    close(ours(layer), last if layer.readout == "last" else ys)


def check_keras(layer, kind):
    ys = keras_run(kind, io.settings("keras", layer), io.to_keras(layer), XS.swapaxes(0, 1))
    close(ours(layer), ys if layer.readout == "last" else ys.swapaxes(0, 1))


CHECK = {"torch": check_torch, "keras": check_keras}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("framework", CHECK)
def test_settings_and_weights_together_compute_the_same(framework, kind):
    """Of every pair of options that can be said: by formulas of the framework's own layouts."""
    for _, names in [*cases(2, [kind])][::3]:
        layer, who = built(kind, names)
        if framework in able(names, who):
            CHECK[framework](layer, kind)


@pytest.fixture(scope="session")
def runtime():
    """onnxruntime, where it is installed."""
    pytest.importorskip("onnx", reason="onnx builds the models that onnxruntime runs")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is what to compare with")


def onnx_run(kind, part):
    """Y and Y_h of a node that says of the part what `settings` and `to_onnx` say."""
    import onnx
    import onnxruntime
    from onnx import helper

    (said,), arrays = io.settings("onnx", part), {"X": XS, **io.to_onnx(part)}
    said.pop("layout", None)  # which onnxruntime does not know
    given = {name: x.astype(np.float32) for name, x in arrays.items()}
    places = [name if name in given else "" for name in onnx_models.PLACES]
    node = helper.make_node(kind, places if "P" in given else places[:4], ["Y", "Y_h"], **said)
    value = lambda name, x: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x)
    shapes = [value(name, x.shape) for name, x in given.items()]
    graph = helper.make_graph([node], "node", shapes, [value("Y", None), value("Y_h", None)])
    opset = helper.make_opsetid("", onnx_models.OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    Y, Y_h = session.run(None, given)
    return np.concatenate([*Y.swapaxes(0, 1)], -1), np.concatenate([*Y_h], -1)


@pytest.mark.parametrize("kind", CELLS)
def test_onnxruntime_computes_what_settings_and_weights_say(kind, runtime):
    for _, names in [*cases(2, [kind])][::3]:
        layer, who = built(kind, names)
        if "onnx" in able(names, who):
            ys, last = onnx_run(kind, layer)
            close(ours(layer), last if layer.readout == "last" else ys, 1e-5)


def test_a_coupled_lstm_is_one_with_input_forget(runtime):
    made = lambda **of: filled(nn.LSTM(I, H, coupled=True, dtype=np.float64, **of))
    for part in (made(), made(peepholes=True, bias=False), nn.Bidirectional(made(), made())):
        assert io.settings("onnx", part)[0]["input_forget"] == 1
        close(ours(nn.Recurrent(part, unroll=True)), onnx_run("LSTM", part)[0], 1e-5)


def test_directions_of_one_node_may_differ_in_what_is_zero_and_in_activations(runtime):
    for other in (
        {"peepholes": True},
        {"bias": False},
        {"activations": ("sigmoid", "elu", "relu")},
    ):
        cells = [filled(nn.LSTM(I, H, dtype=np.float64, **of)) for of in (other, {})]
        part = nn.Bidirectional(*cells)
        close(ours(nn.Recurrent(part, unroll=True)), onnx_run("LSTM", part)[0], 1e-5)


UNLIKE = {
    "onnx": [("GRU", {"reset": "after"}), ("LSTM", {"clip": 1.0}), ("LSTM", {"coupled": True})],
    "torch": [("RNN", {"activation": "relu"}), ("LSTM", {"bias": False})],
}


@pytest.mark.parametrize("framework", UNLIKE)
def test_cells_that_need_other_settings_are_not_of_one_module(framework):
    for kind, of in UNLIKE[framework]:
        part = nn.Bidirectional(getattr(nn, kind)(I, H), getattr(nn, kind)(I, H, **of))
        for call in (GIVE[framework], lambda x: io.settings(framework, x)):
            with pytest.raises(ValueError, match="and the same options, as one module has"):
                call(part)


class Own(nn.LSTM):
    def output(self, x, h, c):
        return c


class Made(nn.LSTM):
    def __init__(self, hidden):
        super().__init__(I, hidden)


def test_a_subclass_that_computes_something_else_is_refused():
    for framework, call in GIVE.items():
        with pytest.raises(ValueError, match=f"{framework}'s LSTM has no methods of one's own"):
            call(Own(I, H))
        assert call(Made(H))


def test_layers_of_which_the_framework_has_stacks():
    stack = lambda **how: filled(
        nn.Recurrent(
            nn.GRU(I, H, convention="torch", dtype=np.float64),
            nn.GRU(H, H, convention="torch", dtype=np.float64),
            unroll=True, **how,
        )
    ).eval()  # fmt: skip
    between = stack(dropout=(0.0, 0.3), batch_first=True)
    assert io.settings("torch", between)[0]["dropout"] == 0.3
    check_torch(between, "GRU")
    check_keras(stack(readout="last"), "GRU")
    for how, framework, words in (
        ({"dropout": 0.3}, "torch", "dropout before its first cell"),
        ({"dropout": (0.0, 0.3)}, "keras", "no dropout between cells"),
        ({"reverse": True, "readout": "last"}, "keras", r"reverse=True \(its go_backwards"),
        ({}, "onnx", "a node has one layer"),
    ):
        with pytest.raises(ValueError, match=words):
            GIVE[framework](stack(**how))


def test_settings_name_the_framework():
    with pytest.raises(ValueError, match="expected 'torch', 'keras' or 'onnx', got 'jax'"):
        io.settings("jax", nn.LSTM(I, H))


# -- the one table --------------------------------------------------------------------------------


def cell_of(said):
    if isinstance(said, dict):
        words = (f"`{k}={'…' if v is ... else repr(v)}`" for k, v in said.items())
        return ", ".join(words) or "as it is"
    if isinstance(said, str):
        return f"refused: {said.split(';')[0]}" if said else "refused"
    return said.__doc__


def printed():
    yield "| here | PyTorch | Keras | ONNX |"
    yield "|---|---|---|---|"
    for option in OPTIONS:
        said = map(cell_of, (option.torch, option.keras, option.onnx))
        yield f"| {' | '.join([option.what, *said])} |"


def test_the_conventions_print_the_table_that_the_refusals_are_made_from():
    page = Path(__file__).parent.parent / "docs/conventions.md"
    table = "\n".join(printed())
    assert table in page.read_text("utf-8"), f"docs/conventions.md should have:\n{table}"


def test_the_table_has_every_option_that_there_is():
    named = set(re.findall(r"`(\w+)=", " ".join(option.what for option in OPTIONS)))
    taken = set()
    for of in (nn.Recurrent, nn.Bidirectional, nn.RNN, nn.LSTM, nn.GRU):
        given = inspect.signature(of).parameters.values()
        taken |= {p.name for p in given if p.kind is p.KEYWORD_ONLY}
    assert named == taken
