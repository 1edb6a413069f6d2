"""RNN, LSTM and GRU of the ONNX standard: a grid of variants, run three ways on the same numbers.

A `Case` says which variant, and its numbers follow from its seed. `onnx_run` builds a model of
that one node and lets onnxruntime run it, `reference_run` asks the formulas in NumPy. Both give
Y (T, D, B, H), Y_h (D, B, H) and Y_c, which is None where there is no cell; D is the number of
directions. Neither the cases nor the reference need onnx to be there.

What onnxruntime 1.31 does otherwise than the standard, on the processor: what goes into
an LSTM's last activation h is not clipped; a row of length 0 has zeros in Y_h and Y_c, not its
first state; an activation's constants that are left out are 0 for Affine, ScaledTanh and
ThresholdedRelu. It refuses layout=1, float64 and, in LSTM and GRU, clip=0. So the grid keeps to
rows of one step and more and says all constants. Opset 22 needs onnxruntime 1.21.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import reference_layers as by_formula

T, B, I, H = 6, 3, 4, 5
SHAPES = (I, H), (H, H), (H,), (H,)  # of Wx, Wh, b, bh
OPSET = 22
RAGGED, SHORTER = (3, 6, 1), (4, 2, 3)  # with a row that fills all steps, and without

# How the standard stacks the gates, in the names of the reference, and the functions it names.
ORDER = {"RNN": "h", "LSTM": "iofg", "GRU": "zrn"}
PEEPHOLES = "iof"
SHARED = {  # gates of each of the functions f, g, h
    "RNN": ("h",),
    "LSTM": ("iof", "g", "h"),
    "GRU": ("zr", "n"),
}
USUAL = {"RNN": ("Tanh",), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}
FUNCTIONS = {
    "Affine": by_formula.affine,
    "Elu": by_formula.elu,
    "HardSigmoid": by_formula.hard_sigmoid,
    "LeakyRelu": by_formula.leaky_relu,
    "Relu": by_formula.relu,
    "ScaledTanh": by_formula.scaled_tanh,
    "Sigmoid": by_formula.sigmoid,
    "Softplus": by_formula.softplus,
    "Softsign": by_formula.softsign,
    "Tanh": by_formula.tanh,
    "ThresholdedRelu": by_formula.thresholded_relu,
}


@dataclass(frozen=True)
class Case:
    """One variant of a layer, and the seed of its numbers."""

    name: str
    cell: str  # "RNN", "LSTM", "GRU"
    direction: str = "forward"  # "reverse", "bidirectional"
    lengths: tuple | None = None
    initial: bool = True  # are first states given?
    bias: bool = True
    peepholes: bool = False
    coupled: bool = False
    reset: str = "before"  # "after": linear_before_reset=1
    clip: float | None = None
    activations: tuple = ()  # of (name, alpha, beta), for each direction in turn
    batch: int = B
    seed: int = 0

    @property
    def directions(self):
        return 2 if self.direction == "bidirectional" else 1

    @property
    def states(self):
        return 2 if self.cell == "LSTM" else 1

    def functions(self, direction=0):
        """[(name, alpha, beta)] of one direction, as long as they are given."""
        usual = [(name,) for name in USUAL[self.cell]]
        n = len(usual)
        return list(self.activations[direction * n :][:n]) or usual


def single(x):
    """Numbers that float32 holds, in float64: both runs start from the very same."""
    return np.asarray(x, np.float32).astype(np.float64)


def numbers(case):
    """The sequences, and for each direction the first state, the gates and the peepholes."""
    rng = np.random.default_rng(case.seed)
    draw = lambda *shape, size=1.0: single(rng.normal(size=shape) * size)
    xs, states, weights, peepholes = draw(T, case.batch, I), [], [], []
    for _ in range(case.directions):
        state = tuple(draw(case.batch, H) for _ in range(case.states))
        states.append(state if case.initial else tuple(map(np.zeros_like, state)))
        gates = {}
        for name in ORDER[case.cell]:
            Wx, Wh, b, bh = (draw(*shape, size=0.5) for shape in SHAPES)
            gates[name] = (Wx, Wh, b, bh) if case.bias else (Wx, Wh, 0.0 * b, 0.0 * bh)
        weights.append(gates)
        peepholes.append({name: draw(H) for name in PEEPHOLES} if case.peepholes else {})
    return xs, states, weights, peepholes


# -- the formulas ------------------------------------------------------------------------------


def activations(case, direction, unclipped=""):
    """The function of each gate; a clip acts on what goes into all but the unclipped gates."""
    found = {}
    for gates, (name, *constants) in zip(SHARED[case.cell], case.functions(direction), strict=True):
        names = ("alpha", "beta")[: len(constants)]
        f = partial(FUNCTIONS[name], **dict(zip(names, constants, strict=True)))
        for gate in gates:
            found[gate] = by_formula.clipped(f, None if gate in unclipped else case.clip)
    return found


def layer(case, weights, peepholes, direction, unclipped=""):
    """The reference of one direction, as a function of (xs, state, lengths=, reverse=)."""
    chosen = {"activations": activations(case, direction, unclipped)}
    if case.cell == "LSTM":
        chosen |= {"peepholes": peepholes, "coupled": case.coupled}
    if case.cell == "GRU":
        chosen |= {"reset": case.reset, "z_gates": "previous"}
    return partial(getattr(by_formula, case.cell.lower()), weights=weights, **chosen)


def reference_run(case, unclipped="", given=None):
    """Y, Y_h, Y_c in float64 by the formulas of the standard, of other numbers if given."""
    xs, states, weights, peepholes = given or numbers(case)
    outputs, ends = [], []
    for k, state in enumerate(states):
        run = layer(case, weights[k], peepholes[k], k, unclipped)
        reverse = k == 1 or case.direction == "reverse"
        ys, end = run(xs, state, lengths=case.lengths, reverse=reverse)
        outputs.append(ys)
        ends.append(end)
    Y_h, *Y_c = map(np.stack, zip(*ends, strict=True))
    return np.stack(outputs, 1), Y_h, Y_c[0] if Y_c else None


def cotangents(case):
    """One random number for every number of Y, Y_h and Y_c."""
    rng = np.random.default_rng(case.seed + 1)
    return [None if y is None else rng.normal(size=y.shape) for y in reference_run(case)]


def reference_loss(case):
    """Σ g Y + Σ g Y_h + Σ g Y_c for these cotangents, as a function of the numbers."""
    g = cotangents(case)

    def loss(given):
        pairs = zip(g, reference_run(case, given=given), strict=True)
        return sum((a * y).sum() for a, y in pairs if y is not None)

    return loss


def reference_gradients(case):
    """Of that loss: {path into numbers: (direction, value)}.

    A path is (0,) for the sequences, (1, direction, which) for a state, (2, direction, gate, which)
    for one of (Wx, Wh, b, bh), and (3, direction, gate) for a peephole.
    """
    return by_formula.along(reference_loss(case), numbers(case), case.seed)


# -- the standard's arrays ---------------------------------------------------------------------


def stacked(weights, order):
    """W (D, G·H, I), R (D, G·H, H), B (D, 2·G·H) of named gates, one dict a direction."""
    each = [[gates[name] for name in order] for gates in weights]
    W = [np.concatenate([Wx.T for Wx, *_ in gates]) for gates in each]
    R = [np.concatenate([Wh.T for _, Wh, *_ in gates]) for gates in each]
    b = [np.concatenate([gate[k] for k in (2, 3) for gate in gates]) for gates in each]
    return np.stack(W), np.stack(R), np.stack(b)


def named(W, R, b, order):
    """The other way round: one dict of named gates a direction."""
    found = []
    for k in range(len(W)):
        Wx, Wh = (np.split(x[k], len(order)) for x in (W, R))
        biases = np.split(b[k], 2 * len(order))
        rows = zip(Wx, Wh, biases[: len(order)], biases[len(order) :], strict=True)
        found.append({
            name: (wx.T, wh.T, bx, bh) for name, (wx, wh, bx, bh) in zip(order, rows, strict=True)
        })  # fmt: skip
    return found


def inputs(case):
    """Name and array of all that the node reads, in the standard's order."""
    xs, states, weights, peepholes = numbers(case)
    W, R, b = stacked(weights, ORDER[case.cell])
    found = {"X": xs, "W": W, "R": R}
    if case.bias:
        found["B"] = b
    if case.lengths is not None:
        found["sequence_lens"] = np.array(case.lengths, np.int32)
    if case.initial:
        each = map(np.stack, zip(*states, strict=True))
        found |= dict(zip(("initial_h", "initial_c"), each, strict=False))
    if case.peepholes:
        found["P"] = np.stack([np.concatenate([p[name] for name in PEEPHOLES]) for p in peepholes])
    narrow = lambda x: x if x.dtype == np.int32 else x.astype(np.float32)
    return {name: narrow(x) for name, x in found.items()}


def attributes(case):
    """What the node says besides its arrays; what is as usual is left out."""
    found = {"hidden_size": H, "direction": case.direction}
    if case.activations:
        names, *constants = zip(*((*f, None, None)[:3] for f in case.activations), strict=True)
        found["activations"] = names
        for key, values in zip(("activation_alpha", "activation_beta"), constants, strict=True):
            given = [float(v) for v in values if v is not None]
            found |= {key: given} if given else {}
    if case.clip is not None:
        found["clip"] = case.clip
    if case.coupled:
        found["input_forget"] = 1
    if case.reset == "after":
        found["linear_before_reset"] = 1
    return found


PLACES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def model(case):
    """An ONNX model of this one node, checked; W, R, B and P are inputs as X is."""
    import onnx
    from onnx import helper

    arrays = inputs(case)
    places = [name if name in arrays else "" for name in PLACES]
    places = places[:6] if case.cell != "LSTM" else places
    state = (case.directions, case.batch, H)
    outputs = {"Y": (T, *state), "Y_h": state} | ({"Y_c": state} if case.states == 2 else {})
    node = helper.make_node(case.cell, places, list(outputs), **attributes(case))
    value = helper.make_tensor_value_info
    kinds = {"float32": onnx.TensorProto.FLOAT, "int32": onnx.TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "one_node",
        [value(name, kinds[x.dtype.name], x.shape) for name, x in arrays.items()],
        [value(name, kinds["float32"], shape) for name, shape in outputs.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    whole = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def onnx_run(case, threads=1):
    """Y, Y_h, Y_c in float32, by onnxruntime on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model(case).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, inputs(case))
    return tuple([*outputs, None][:3])


# -- the grid ----------------------------------------------------------------------------------

CELLS = ("RNN", "LSTM", "GRU")
DIRECTIONS = ("forward", "reverse", "bidirectional")

# A function with constants that are not its usual ones, for either place of a gate.
GATES = (("HardSigmoid", 0.3, 0.4), ("Softsign",), ("Affine", 0.2, 0.1), ("Tanh",))
CANDIDATES = (
    ("Relu",), ("LeakyRelu", 0.2), ("ThresholdedRelu", 0.3), ("Elu", 0.7), ("Softplus",),
    ("ScaledTanh", 1.2, 0.6), ("Affine", 0.5, 0.2), ("Softsign",), ("Sigmoid",),
    ("HardSigmoid", 0.25, 0.4),
)  # fmt: skip


def kinds():
    """The variants of a cell that every direction and every shape of a batch should know."""
    for cell in CELLS:
        yield cell.lower(), {"cell": cell}
        yield f"{cell.lower()}, no bias, no state", {"cell": cell, "bias": False, "initial": False}
        yield f"{cell.lower()}, clip", {"cell": cell, "clip": 0.4}
    yield "gru, reset after", {"cell": "GRU", "reset": "after"}
    yield "gru, reset after, clip", {"cell": "GRU", "reset": "after", "clip": 0.4}
    yield "lstm, peepholes", {"cell": "LSTM", "peepholes": True}
    yield "lstm, coupled", {"cell": "LSTM", "coupled": True}
    everything = {"peepholes": True, "coupled": True, "clip": 0.4}
    yield "lstm, peepholes, coupled, clip", {"cell": "LSTM", **everything}


def grid():
    rows = {"full": None, "ragged": RAGGED, "shorter": SHORTER}
    for (name, variant), direction, (word, lengths) in product(kinds(), DIRECTIONS, rows.items()):
        yield Case(f"{name}, {direction}, {word}", direction=direction, lengths=lengths, **variant)


def others():
    """Every function in every place, one direction with other functions than the other."""
    for f in CANDIDATES:
        yield Case(f"rnn, {f[0]}", "RNN", "reverse", RAGGED, activations=(f,))
        for reset in ("before", "after"):
            name = f"gru, reset {reset}, {f[0]}"
            yield Case(name, "GRU", lengths=RAGGED, reset=reset, activations=(("Sigmoid",), f))
        places = (("Sigmoid",), f, ("Tanh",)), (("Sigmoid",), ("Tanh",), f)
        for place, functions in zip("gh", places, strict=True):
            yield Case(f"lstm, {f[0]} as {place}", "LSTM", lengths=RAGGED, activations=functions)
    for f in GATES:
        yield Case(f"gru, {f[0]} gates", "GRU", activations=(f, ("Tanh",)))
        yield Case(f"lstm, {f[0]} gates", "LSTM", activations=(f, ("Tanh",), ("Tanh",)))
    two = {"direction": "bidirectional", "lengths": RAGGED}
    hard, leaky, scaled = ("HardSigmoid", 0.3, 0.4), ("LeakyRelu", 0.2), ("ScaledTanh", 1.2, 0.6)
    functions = (hard, scaled, leaky, ("Sigmoid",), ("Elu", 0.7), ("Tanh",))
    yield Case("lstm, functions of their own", "LSTM", activations=functions, **two)
    functions = (("Sigmoid",), scaled, hard, ("Elu", 0.7))
    yield Case("gru, functions of their own", "GRU", activations=functions, **two)
    yield Case("rnn, functions of their own", "RNN", activations=(scaled, hard), **two)
    for cell in CELLS:
        yield Case(f"{cell.lower()}, one row", cell, "bidirectional", (4,), batch=1)
        yield Case(f"{cell.lower()}, seven rows", cell, lengths=(1, 6, 2, 5, 3, 4, 6), batch=7)


CASES = [*grid(), *others()]
