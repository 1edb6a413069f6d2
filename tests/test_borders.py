"""What is written for other frameworks, and read from them: every option is said, or refused."""

import copy
import inspect
import json
import pickle
import re
import threading
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx_models
import pytest
import reference_layers as by_formula

import tinygrad_rnn as tg
from tinygrad_rnn import io, nn
from tinygrad_rnn.io.options import OPTIONS
from tinygrad_rnn.tensor import replace

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
    both = any(name in MERGES for name in names)
    if "pad='hold'" in names and both and "readout='last'" not in names:
        return set()
    if "reverse=True" in names:
        return who & ({"onnx"} if "readout='last'" not in names else SOME) - (
            SOME if both else set()
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
    """What the layer answers to xs (T, B, I), step by step, (T, B, H) or (B, H)."""
    layer.unroll = True
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
LOAD = {"torch": io.load_torch, "keras": io.load_keras}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("framework", CHECK)
def test_settings_and_weights_together_compute_the_same(framework, kind):
    """Of every pair of options that can be said: by formulas of the framework's own layouts."""
    for _, names in [*cases(2, [kind])][::3]:
        layer, who = built(kind, names)
        if framework in able(names, who):
            CHECK[framework](layer, kind)
            twin, weights = copy.deepcopy(layer), GIVE[framework](layer)
            for x in twin.parameters():
                x.data = np.zeros_like(x.data)
            LOAD[framework](twin, weights)
            np.testing.assert_allclose(ours(twin), ours(layer), rtol=0, atol=1e-13)


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
        cell, doubled = nn.LSTM(I, H), type("Doubled", (nn.Recurrent,), {"__call__": 0})
        cell.output = lambda x, h, c: c
        for layer in (cell, doubled(nn.LSTM(I, H))):
            for give in (call, lambda x, name=framework: io.settings(name, x)):
                with pytest.raises(ValueError, match="has no methods of one's own"):
                    give(layer)


def test_what_is_behind_the_end_is_said_as_keras_means_it():
    """There zero_output_for_mask speaks of the last output too, and Bidirectional sets it."""
    make = lambda **how: nn.Recurrent(nn.LSTM(I, H), **how)
    (every,), (last,) = (io.settings("keras", make(readout=r)) for r in ("all", "last"))
    assert every["zero_output_for_mask"] is True and "zero_output_for_mask" not in last
    both = lambda **how: nn.Recurrent(nn.Bidirectional(nn.LSTM(I, H), nn.LSTM(I, H)), **how)
    with pytest.raises(ValueError, match="no pad='hold' around a Bidirectional"):
        io.settings("keras", both(pad="hold"))
    assert io.settings("keras", both(pad="hold", readout="last"))


def test_sizes_are_such_as_torch_takes():
    (found,) = io.settings("torch", nn.LSTM(np.int64(I), np.int64(H), convention="torch"))
    assert all(type(found[name]) is int for name in ("input_size", "hidden_size"))
    with pytest.raises(ValueError, match="no projection= to as many or more"):
        io.settings("torch", nn.LSTM(I, H, projection=H))


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
    with pytest.raises(ValueError, match=r"framework: expected one of .*'keras'.*got 'jax'"):
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


# -- names and files of other programs -------------------------------------------------------------


@pytest.mark.parametrize("name, expected", [
    ("hard_sigmoid", [0, 1 / 6, 0.5, 2 / 3, 1]), ("leaky_relu", [-0.8, -0.4, 0, 1, 4]),
    ("linear", [-4, -2, 0, 1, 4]),
])  # fmt: skip
def test_names_of_activations_mean_what_keras_means(name, expected):
    kernel, recurrent = np.array([[1.0]]), np.array([[0.0]])
    layer = io.from_keras([kernel, recurrent], activation=name)
    xs = np.array([-4.0, -2, 0, 1, 4]).reshape(1, 5, 1)
    np.testing.assert_allclose(ours(layer, xs).ravel(), expected, rtol=1e-15, atol=1e-16)
    assert io.settings("keras", layer)[0]["activation"] == name


def test_gates_by_the_names_of_keras():
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for shape in ((I, 4 * H), (H, 4 * H), (4 * H,))]
    said = {"activations": ("hard_sigmoid", "tanh", "tanh")}
    layer = io.from_keras(weights, **said, unroll=True)
    how = {"units": H, "recurrent_activation": "hard_sigmoid", "activation": "tanh"}
    expected = keras_run("LSTM", [how | {"return_sequences": True}], weights, XS.swapaxes(0, 1))
    close(ours(layer), expected.swapaxes(0, 1))
    older = io.from_keras(weights, activations=(nn.ACTIVATIONS["hard_sigmoid"], "tanh", "tanh"))
    older.unroll = True
    assert 0.01 < np.abs(ours(older) - ours(layer)).max() < 0.2
    assert callable(io.settings("keras", older)[0]["recurrent_activation"])
    with pytest.raises(ValueError, match=r"names that Keras has.*'linear'.*got 'identity'"):
        io.from_keras(weights, activations=("sigmoid", "identity", "tanh"))


def test_what_the_weights_do_not_tell_is_said_when_they_come():
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for shape in ((I, H), (H, H))]
    layer = io.from_keras([*weights, *weights], merge="sum", readout="last", unroll=True)
    said = io.settings("keras", layer)
    assert said[0]["merge_mode"] == "sum" and said[0]["return_sequences"] is False
    close(ours(layer), keras_run("RNN", said, [*weights] * 2, XS.swapaxes(0, 1)))
    state = {"weight_ih_l0": weights[0].T, "weight_hh_l0": weights[1].T}
    assert io.from_torch(state, batch_first=True).batch_first
    with pytest.raises(ValueError, match=r"from_torch: torch's RNN has no reverse=True"):
        io.from_torch(state, reverse=True)


def cudnn(kind, seed=0):
    """A layer as Keras had it on a GPU before 2.0, and the same as any other layer has it."""
    rng, gates = np.random.default_rng(seed), {"GRU": 3, "LSTM": 4}[kind]
    Wx, Wh = rng.normal(size=(gates, I, H)), rng.normal(size=(gates, H, H))
    b = rng.normal(size=(2, gates * H))
    side = lambda blocks: np.concatenate([*blocks], axis=1)
    there = [
        side([np.frombuffer(W.T.tobytes()).reshape(I, H) for W in Wx]),
        side([np.frombuffer(W.T.tobytes()).reshape(H, H) for W in Wh]),
        b.ravel(),
    ]
    return there, [side(Wx), side(Wh), b if kind == "GRU" else b[0] + b[1]]


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_layers_of_cudnn_are_known_by_their_biases(kind):
    there, plain = cudnn(kind)
    layer = io.from_keras(there)
    for ours_, theirs in zip(io.to_keras(layer), plain, strict=True):
        np.testing.assert_allclose(ours_, theirs, rtol=0, atol=1e-15)
    other = filled(io.from_keras(plain, plain) if kind == "RNN" else io.from_keras(plain))
    io.load_keras(other, there)
    close(ours(other), ours(io.from_keras(plain)))


def torch_cell_state():
    rng = np.random.default_rng(5)
    shapes = {"weight_ih": (12, 2), "weight_hh": (12, 3), "bias_ih": (12,), "bias_hh": (12,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


class Tagger(nn.Module):
    """What people bring: a table, a stack in both directions, a norm, heads, a tensor, a cell."""

    def __init__(self):
        lstm = lambda inputs: nn.LSTM(inputs, H, convention="torch")
        both = [nn.Bidirectional(lstm(k), lstm(k)) for k in (I, 2 * H)]
        self.embed, self.rnn = nn.Embedding(9, I), nn.Recurrent(*both, readout="mean")
        self.norm, self.scale = nn.LayerNorm(2 * H), tg.tensor(np.ones(2, np.float32))
        self.heads = {"tone": nn.Linear(2 * H, 2), "rate": nn.Linear(2 * H, 1, bias=False)}
        self.step = nn.GRU(I, H, convention="torch")


def torch_state():
    """Its arrays in torch's names, written down from torch's manual."""
    sizes = {"embed.weight": (9, I), "norm.weight": (2 * H,), "norm.bias": (2 * H,), "scale": (2,),
             "heads.tone.weight": (2, 2 * H), "heads.tone.bias": (2,),
             "heads.rate.weight": (1, 2 * H),
             "step.weight_ih": (3 * H, I), "step.weight_hh": (3 * H, H),
             "step.bias_ih": (3 * H,), "step.bias_hh": (3 * H,)}  # fmt: skip
    for end, reads in (("l0", I), ("l1", 2 * H)):
        for way in (end, f"{end}_reverse"):
            sizes |= {f"rnn.weight_ih_{way}": (4 * H, reads), f"rnn.weight_hh_{way}": (4 * H, H),
                      f"rnn.bias_ih_{way}": (4 * H,), f"rnn.bias_hh_{way}": (4 * H,)}  # fmt: skip
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}


def test_weights_of_a_whole_torch_module_come_and_leave():
    model, state = Tagger(), torch_state()
    io.load_torch(model, {f"model.{name}": x for name, x in state.items()}, prefix="model.")
    assert np.array_equal(model.heads["tone"].W.data, state["heads.tone.weight"].T)
    assert np.array_equal(model.embed.table.data, state["embed.weight"])
    assert np.array_equal(model.norm.shift.data, state["norm.bias"])
    rnn = {name[4:]: x for name, x in state.items() if name.startswith("rnn.")}
    xs = XS.astype(np.float32)
    mean = nn.Recurrent(*io.from_torch(rnn).cells, readout="mean")
    assert np.array_equal(model.rnn(xs)[0].data, mean(xs)[0].data)
    back = {re.sub("(step.*)_l0", r"\1", name): x for name, x in io.to_torch(model).items()}
    assert back.keys() == state.keys()
    assert all(np.array_equal(x, state[name]) for name, x in back.items())
    head = nn.Linear(2 * H, 2)
    io.load_torch(head, state, prefix="heads.tone.")
    assert np.array_equal(head.W.data, model.heads["tone"].W.data)


@pytest.mark.parametrize(("change", "words"), [
    (lambda s: s.pop("norm.weight"), r"missing 'norm\.weight'"),
    (lambda s: s.update(more=s["scale"]), "unexpected 'more'"),
    (lambda s: s.update(scale2=s["scale"]), "unexpected 'scale2'"),
    (lambda s: s.update({"rnn.bias_ih_l2": s["scale"]}), r"unexpected 'rnn\.bias_ih_l2'"),
    (lambda s: s.update({"heads.tone.weight": s["heads.tone.weight"].T}), r"\[8, 2\], expected"),
    (lambda s: s.update(scale=np.array([1e300, 0.0])), "float32 does not hold"),
])  # fmt: skip
def test_of_a_torch_module_that_does_not_fit_nothing_is_loaded(change, words):
    model, state = Tagger(), torch_state()
    before = model.state_dict()
    change(state)
    with pytest.raises(ValueError, match=f"load_torch: nothing was loaded: .*{words}"):
        io.load_torch(model, state)
    assert all(np.array_equal(x, before[name]) for name, x in model.state_dict().items())


class Adapted(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.more = tg.tensor(np.ones(3, np.float32), requires_grad=True)


class Headed(nn.Recurrent):
    def __init__(self):
        super().__init__(nn.RNN(2, 3, bias=2))
        self.head = nn.Linear(3, 1)


@pytest.mark.parametrize("held", [
    Adapted, Headed, lambda: {"a": nn.Linear(2, 2), "a.b": nn.Linear(2, 2)},
])  # fmt: skip
def test_no_tensor_of_a_module_is_left_out(held):
    model = nn.Module()
    model.part = held()
    for call in (lambda: io.to_torch(model), lambda: io.load_torch(model, {})):
        with pytest.raises(ValueError, match="torch has no place for"):
            call()


def test_what_is_no_weight_of_a_module_does_not_matter():
    """A result that is kept, a lock, and names that torch gives to weights of cells."""
    model = nn.Module()
    model.weight_ih, model.gate_g, model.gate_v = [
        tg.tensor(np.full(2, k, np.float32), requires_grad=True) for k in range(3)
    ]
    state = io.to_torch(model)
    assert [*state] == ["weight_ih", "gate_g", "gate_v"]
    model.last, model.lock = model.gate_g * 2.0, threading.Lock()
    io.load_torch(model, {name: x + 1 for name, x in state.items()})
    assert model.weight_ih.data.tolist() == [1, 1] and model.gate_v.data.tolist() == [3, 3]
    model.layer = nn.Linear(1, 1)
    model.layer.register_forward_hook(lambda module, given, found: None)
    with pytest.raises(ValueError, match="Linear has hooks"):
        io.to_torch(model)


def test_what_torch_has_not_is_not_in_a_module_for_it():
    model, state = Tagger(), torch_state()
    model.heads["rate"].W = model.heads["tone"].W
    with pytest.raises(ValueError, match="stands in another place, too"):
        io.load_torch(model, state | {"heads.rate.weight": state["heads.tone.weight"] + 1})
    with pytest.raises(ValueError, match="no LayerNorm of several blocks"):
        io.to_torch(nn.LayerNorm(4, blocks=2))
    model.step = nn.Residual(nn.GRU(H, H))
    with pytest.raises(ValueError, match="torch has no Residual"):
        io.to_torch(model)


def test_a_torch_lstm_cell_has_no_layers_in_its_names():
    state = torch_cell_state()
    plain = {f"{name}_l0": x for name, x in state.items()}
    layer = io.from_torch({f"core.{k}": x for k, x in state.items()}, prefix="core.")
    assert all((x == plain[name]).all() for name, x in io.to_torch(layer).items())
    cell = filled(nn.LSTM(2, 3))
    io.load_torch(cell, state)
    assert (cell.Wh.data == io.to_torch(cell)["weight_hh_l0"].T[:, [*range(3, 6), *range(3),
            *range(6, 12)]]).all()  # fmt: skip


@pytest.mark.parametrize("g, v", [("_g", "_v"), (".original0", ".original1")])
@pytest.mark.parametrize("axis", [1, 0, None])
def test_weight_norm_is_undone(g, v, axis):
    state = {f"{name}_l0": x for name, x in torch_cell_state().items()}
    before = "parametrizations." * ("." in g)
    V = state["weight_hh_l0"]
    length = np.sqrt((V**2).sum(axis, keepdims=axis is not None))
    halves = {f"{before}weight_hh_l0{g}": 1.5 * length, f"{before}weight_hh_l0{v}": V}
    rest = {name: x for name, x in state.items() if name != "weight_hh_l0"}
    found = io.to_torch(io.from_torch(rest | halves))
    np.testing.assert_allclose(found["weight_hh_l0"], 1.5 * V, rtol=1e-14)
    halves.popitem()
    with pytest.raises(ValueError, match="expected matrices weight_ih_l0 and weight_hh_l0"):
        io.from_torch(rest | halves)


def safetensors_file(path, dtype, shape, payload):
    header = f'{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{len(payload)}]}}}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + payload)
    return path


@pytest.mark.parametrize("shape", [(), (2, 3), (0, 2)])
def test_J06_half_precision_is_read_and_becomes_float32(shape, tmp_path):
    exact = np.arange(1 - 3.0, 1 - 3 + np.prod(shape), dtype="<f4").reshape(shape) / 4
    top = exact.view("<u4") >> 16 if shape else np.frombuffer(exact.tobytes(), "<u4") >> 16
    half = safetensors_file(tmp_path / "h", "F16", [*shape], exact.astype("<f2").tobytes())
    brain = safetensors_file(tmp_path / "b", "BF16", [*shape], top.astype("<u2").tobytes())
    np.savez(tmp_path / "z.npz", w=exact.astype(">f2"))
    np.save(tmp_path / "w.npy", np.array(exact.astype(np.float16), order="F"))
    for path, name in ((half, "w"), (brain, "w"), (tmp_path / "z.npz", "w"),
                       (tmp_path / "w.npy", "arr_0")):  # fmt: skip
        (found,) = (x for key, x in io.arrays(path).items() if key == name)
        assert found.dtype == np.float32 and found.shape == shape and (found == exact).all()


def test_J06_special_numbers_of_bfloat16(tmp_path):
    bits = np.array([0x7F80, 0xFF80, 0x7FC0, 0x8000, 0x0001], "<u2")
    found = io.load(safetensors_file(tmp_path / "b", "BF16", [5], bits.tobytes()))[0]["w"]
    assert found[:2].tolist() == [np.inf, -np.inf] and np.isnan(found[2])
    assert np.signbit(found[3]) and found[3] == 0 and found[4] == 2.0**-133


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"\x80\x02x" * 20)
    return path


ELSEWHERE = {  # what the file is, and the words that help
    "a.pt": (lambda p: zipped(p, "archive/data.pkl", "archive/data/0"), "safetensors.torch"),
    "b.keras": (lambda p: zipped(p, "metadata.json", "config.json", "m.h5"), "get_weights"),
    "c.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5.*get_weights"),
    "d.pkl": (lambda p: p.write_bytes(b"\x80\x04\x95" + b"\x11" * 99), "safetensors.torch"),
    "e.zip": (lambda p: zipped(p, "readme.txt"), "a zip archive$"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_J04_advice_fits_the_file(name, tmp_path):
    make, words = ELSEWHERE[name]
    make(tmp_path / name)
    for read in (io.load, io.arrays):
        with pytest.raises(io.CheckpointError, match=words) as no:
            read(tmp_path / name)
        assert ("get_weights" in str(no.value)) == (name[0] in "bc")
        assert ("safetensors.torch" in str(no.value)) == (name[0] in "ad")
    np.savez(tmp_path / "f.npz", x=np.ones(2))
    np.save(tmp_path / "g.npy", np.ones(2))
    for own_, words in (("f.npz", r"\.npz, which tg.io.arrays"), ("g.npy", "which tg.io.arrays")):
        with pytest.raises(io.CheckpointError, match=words):
            io.load(tmp_path / own_)


def test_J01_J04_a_damaged_npy_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(20))
    data = (tmp_path / "x.npy").read_bytes()
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "x.npy").write_bytes(data[:-3])
    for name, words in (("x.npy", "not as long"), ("o.npy", "holds objects")):
        with pytest.raises(io.CheckpointError, match=rf"expected an npy file.*{name}.*{words}"):
            io.arrays(tmp_path / name)


# -- arrays that leave -----------------------------------------------------------------------------


FUNCTIONS = [name for name in io.__all__ if inspect.isfunction(getattr(io, name))]


def leaving(tmp_path):
    """By name of a function of `tg.io`, or of what has a state_dict: the arrays it gives."""
    layer = filled(nn.Bidirectional(*[nn.GRU(I, H, convention="torch") for _ in "fb"]))
    for cell in (nn.GRU(I, H), nn.LSTM(I, H, peepholes=True, coupled=True), nn.RNN(I, H), layer):
        yield "to_onnx", cell, io.to_onnx(cell)
        yield "state_dict", cell, cell.state_dict()
    yield "to_torch", layer, io.to_torch(layer)
    yield "to_keras", layer, dict(enumerate(io.to_keras(layer)))
    turned = {
        "f": np.asfortranarray(np.ones((2, 3))),
        "b": np.ones((2, 3), ">f8"),
        "n": np.ones(()),
    }
    io.save(tmp_path / "s", turned)
    np.savez(tmp_path / "z.npz", **turned)
    np.save(tmp_path / "y.npy", turned["f"])
    yield "load", None, io.load(tmp_path / "s")[0]
    for path in ("s", "z.npz", "y.npy"):
        yield "arrays", None, io.arrays(tmp_path / path)
    replace(layer.forward.Wx, np.asfortranarray(layer.forward.Wx.data))  # as an optimiser may
    yield "state_dict", layer, layer.state_dict()
    for kind in (tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSprop):
        yield "state_dict", None, kind(layer, 0.1).state_dict()


def test_arrays_that_leave_are_contiguous_native_and_nobody_elses(tmp_path):
    seen = set()
    for name, module, arrays in leaving(tmp_path):
        seen.add(name)
        inside = [x.data for x in module.parameters()] if module else []
        for x in arrays.values():
            assert x.flags.c_contiguous and x.flags.owndata and x.flags.writeable, name
            assert x.dtype.isnative and not any(np.shares_memory(x, own_) for own_ in inside), name
    answers = {
        name: str(inspect.signature(getattr(io, name)).return_annotation) for name in FUNCTIONS
    }
    giving = {
        name for name, answer in answers.items() if re.search("ndarray|Arrays|StateDict", answer)
    }
    assert seen == giving | {"state_dict"} and len(giving) == 5


def test_what_another_program_saves_is_what_was_given(tmp_path):
    from safetensors.numpy import load_file, save_file

    for arrays in (io.to_onnx(filled(nn.GRU(I, H))), io.to_torch(filled(nn.LSTM(I, H)))):
        save_file(arrays, tmp_path / "a")
        assert all((load_file(tmp_path / "a")[name] == x).all() for name, x in arrays.items())


# -- conventions that travel -----------------------------------------------------------------------

bare = {"bias": False}
MEANS = {  # two of equal shapes that are not the same function
    "order": (nn.LSTM(I, H), nn.LSTM(I, H, convention="keras")),
    "reset": [nn.GRU(I, H, **bare, reset=reset) for reset in ("before", "after")],
    "update": [nn.GRU(I, H, **bare, update=update) for update in ("candidate", "previous")],
    "activations": (nn.LSTM(I, H), nn.LSTM(I, H, activations=("hard_sigmoid", "tanh", "tanh"))),
    "activation": (nn.RNN(I, H), nn.RNN(I, H, activation=own)),
    "clip": (nn.RNN(I, H), nn.RNN(I, H, clip=1.0)),
    "merge": [
        nn.Bidirectional(nn.RNN(I, H), nn.RNN(I, H), merge=merge) for merge in ("sum", "mul")
    ],
    "reverse": [nn.Recurrent(nn.RNN(I, H), reverse=reverse) for reverse in (False, True)],
    "adds": (nn.Residual(nn.RNN(H, H)), nn.Zoneout(nn.RNN(H, H), h=0.1)),
    "adds='h": (nn.TimeSkip(nn.RNN(H, H), 2), nn.TimeSkip(nn.RNN(H, H), 3)),
}


@pytest.mark.parametrize("word", MEANS)
def test_J05_J07_weights_are_not_taken_for_those_of_another_function(word, tmp_path):
    pair = MEANS[word]
    for module, other in (pair, pair[::-1]):
        before = [x._array for x in other.parameters()]
        io.save(tmp_path / "a", module.state_dict(), {"facts": 1})
        loaded, metadata = io.load(tmp_path / "a")
        assert metadata == {"facts": 1} and loaded.keys() == module.state_dict().keys()
        for state in (module.state_dict(), loaded):
            assert module.load_state_dict(state) == ([], [])
            with pytest.raises(ValueError, match=f"nothing was loaded: .*{word}.*nn.convert") as no:
                other.load_state_dict(state)
            assert "dict(state)" in str(no.value)
        assert all(x._array is y for x, y in zip(other.parameters(), before, strict=True))
        other.load_state_dict(dict(loaded))


def test_an_older_or_foreign_state_has_no_conventions_to_compare(tmp_path):
    cell, other = filled(nn.LSTM(I, H)), nn.LSTM(I, H, convention="keras")
    assert other.load_state_dict(dict(cell.state_dict())) == ([], [])
    same = nn.LSTM(I, H, convention="flax")  # another name for the same layout
    assert same.load_state_dict(other.state_dict()) == ([], [])
    whole = nn.StateDict(cell.state_dict(), {"else": {"order": "fog"}, "": {"later": 1}})
    assert cell.load_state_dict(whole, strict=False) == ([], [])
    for text in ('"figo"', "[]", '{"": "figo"}', "{"):
        facts = {"tinygrad_rnn_format": "1", "tinygrad_rnn_conventions": text}
        header = json.dumps({"__metadata__": facts}).encode()
        (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(io.CheckpointError, match=r"its conventions are|Expecting"):
            io.load(tmp_path / "a")
    header = json.dumps({"__metadata__": {"tinygrad_rnn_conventions": "mine"}}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header)
    assert io.load(tmp_path / "a") == ({}, {"tinygrad_rnn_conventions": "mine"})
    with pytest.raises(ValueError, match="'tinygrad_rnn_conventions' is taken"):
        io.save(tmp_path / "b", {}, {"tinygrad_rnn_conventions": {}})


def test_states_with_conventions_are_copied_and_pickled():
    state = nn.GRU(I, H).state_dict()
    for twin in (copy.deepcopy(state), copy.copy(state), pickle.loads(pickle.dumps(state))):
        assert type(twin) is nn.StateDict and twin.conventions == state.conventions
        assert all((twin[name] == x).all() for name, x in state.items())


@pytest.mark.parametrize("kind", CELLS)
def test_conversion_keeps_every_option(kind):
    """Of a cell and of the layer around it: the same function, or no conversion at all."""
    for _, names in cases(1, [kind]):
        layer, _ = built(kind, names)
        for to in ("torch", "keras_reset_before", "onnx"):
            try:
                twin = nn.convert(layer, to)
            except ValueError as no:
                assert kind == "GRU" and re.search("reset gate|normalised", str(no)), (names, to)
                continue
            np.testing.assert_allclose(ours(twin), ours(layer), rtol=0, atol=1e-13)


@pytest.mark.parametrize("framework", ["torch", "keras", "onnx"])
def test_hooks_are_exported_to_nobody(framework):
    layer = nn.Recurrent(nn.LSTM(3, 4, rng=0))
    handle = layer.cells[0].register_forward_hook(lambda cell, xs, out: None)
    with pytest.raises(ValueError, match=f"LSTM has hooks, which {framework} would not run"):
        getattr(tg.io, f"to_{framework}")(layer)
    with pytest.raises(ValueError, match="has no hooks"):
        tg.io.settings(framework, layer)
    getattr(tg.io, f"to_{framework}")(copy.deepcopy(layer))
    handle.remove()
    assert tg.io.settings(framework, layer)
