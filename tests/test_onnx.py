"""Recurrent layers of the ONNX standard: formulas in NumPy against onnxruntime, on one grid."""

import functools
import re
from pathlib import Path

import numpy as np
import onnx_models as models
import pytest
from onnx_models import CASES, CELLS, DIRECTIONS, ORDER, Case
from test_reference_layers import equal_differences

import tinygrad_rnn as tg
from tinygrad_rnn import nn

onnx_run = functools.cache(models.onnx_run)
each_cell = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(scope="session")
def runtime():
    """onnxruntime, where it is installed."""
    pytest.importorskip("onnx", reason="onnx builds the models that onnxruntime runs")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is what to compare with")


def test_a_model_is_put_together_as_the_how_to_page_says(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs/howto/weights.md"
    (text,) = [
        t for t in re.findall(r"```py\n(.*?)```", page.read_text("utf-8"), re.S) if "onnx" in t
    ]
    names = {"np": np, "tg": tg, "nn": nn}
    exec(text, names)
    xs = np.random.default_rng(0).normal(size=(9, 3, 3)).astype(np.float32)
    (found,) = runtime.InferenceSession("model.onnx").run(None, {"x": xs})
    ys, _ = nn.Recurrent(*names["cells"])(xs)
    np.testing.assert_allclose(found, names["head"](ys[-1]).data, atol=1e-6)


def apart(ours, theirs):
    """The largest difference of two runs, in parts of what is compared where that exceeds 1."""
    pairs = [(x, y) for x, y in zip(ours, theirs, strict=True) if x is not None or y is not None]
    assert all(x.shape == y.shape for x, y in pairs)
    return np.max([np.abs(x - y).max() / max(1, np.abs(y).max()) for x, y in pairs])  # NaN too


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_formulas_equal_onnxruntime(case, runtime):
    """To 1e-5, in float32.

    The standard clips what goes into every activation. Of an LSTM, onnxruntime does not clip the
    cell on its way into the last one, h: either is taken for an answer.
    """
    formulas = [models.reference_run(case)]
    if case.cell == "LSTM" and case.clip is not None:
        formulas.append(models.reference_run(case, unclipped="h"))
        assert apart(*formulas) > 0.1
    theirs = onnx_run(case)
    assert min(apart(theirs, ours) for ours in formulas) < 1e-5


def test_cases_have_names_of_their_own():
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_variant_makes_a_difference():
    runs = [(case, models.reference_run(case)[0]) for case in CASES]
    for k, (case, ours) in enumerate(runs):
        for other, theirs in runs[:k]:
            alike = (case.cell, case.direction) == (other.cell, other.direction)
            if alike and ours.shape == theirs.shape:
                assert np.abs(ours - theirs).max() > 1e-3, (case.name, other.name)


@each_cell
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gates_are_stacked_and_named_again(cell, direction):
    case = Case("", cell, direction)
    weights = models.numbers(case)[2]
    W, R, b = models.stacked(weights, ORDER[cell])
    D, G, H = case.directions, len(ORDER[cell]), models.H
    assert (
        W.shape == (D, G * H, models.I) and R.shape == (D, G * H, H) and b.shape == (D, 2 * G * H)
    )
    again = models.named(W, R, b, ORDER[cell])
    for ours, theirs in zip(again, weights, strict=True):
        assert list(ours) == list(theirs)
        for name in ours:
            pairs = zip(ours[name], theirs[name], strict=True)
            assert all((x == y).all() and x.shape == y.shape for x, y in pairs)


def test_the_standard_stacks_input_output_forget_cell():
    """Read off its text: W[iofc], Wb[iofc] before Rb[iofc], P[iof]; z, r, h of a GRU."""
    gates = {
        name: tuple(np.full(shape, k + 10 * which) for which, shape in enumerate(SHAPES))
        for k, name in enumerate("iofg")
    }
    W, R, b = models.stacked([gates], ORDER["LSTM"])
    assert W[0, :, 0].tolist() == [k for k in (0, 1, 2, 3) for _ in range(2)]
    assert R[0, :, 1].tolist() == [k for k in (10, 11, 12, 13) for _ in range(2)]
    assert b[0, ::2].tolist() == [20, 21, 22, 23, 30, 31, 32, 33]
    assert (models.PEEPHOLES, ORDER["GRU"]) == ("iof", "zrn")


SHAPES = (3, 2), (2, 2), (2,), (2,)


@each_cell
def test_gradients_are_those_of_the_loss_that_is_named(cell):
    case = Case("", cell, "bidirectional", models.RAGGED, peepholes=cell == "LSTM")
    cotangents = models.cotangents(case)

    def loss(given):
        answers = zip(cotangents, models.reference_run(case, given=given), strict=True)
        return sum((g * y).sum() for g, y in answers if y is not None)

    numbers = models.numbers(case)
    steps = models.by_formula.complex_step(models.reference_loss(case), numbers, most=2)
    equal_differences(loss, numbers, steps)
    along = models.reference_gradients(case)
    whole = models.by_formula.complex_step(models.reference_loss(case), numbers)
    for path, (direction, value) in along.items():
        assert value == pytest.approx((whole[path][1] * direction.ravel()).sum(), abs=1e-12)


@each_cell
def test_onnxruntime_knows_these_constants_of_activations(cell, runtime):
    for name in ("HardSigmoid", "LeakyRelu", "Elu"):
        usual = [(name,) for name in models.USUAL[cell]]
        case = Case("", cell, activations=(*usual[:-1], (name,)))
        assert apart(models.onnx_run(case), models.reference_run(case)) < 1e-5


# -- the library ---------------------------------------------------------------------------------


def places(case, cell):
    """Where the library keeps each matrix: {(2, gate, which) or (3, gate): (parameter, index)}.

    2 are the gates and 3 the peepholes, as in `numbers`; which of (Wx, Wh, b, bh) is 0 to 3.
    """
    found = {}
    for k, gate in enumerate(cell.order):
        block = (..., slice(k * models.H, (k + 1) * models.H))
        for which, name in enumerate(("Wx", "Wh", "b", "bh")):
            apart = case.cell == "GRU" and gate == "n" and which % 2  # a matrix of its own
            name = {"Wh": "Wn", "bh": "bn"}[name] if apart else name
            found[2, gate, which] = getattr(cell, name), (...,) if apart else block
    if case.peepholes:
        rows = {gate: (row,) for row, gate in enumerate("ifo") if gate in cell.order}
        found |= {(3, gate): (cell.P, row) for gate, row in rows.items()}
    return found


def library_cell(case, direction, dtype=np.float64):
    """A cell of this variant, with its numbers in it."""
    functions = tuple(in_tensors(*f) for f in case.functions(direction))
    options = {"dtype": dtype, "clip": case.clip}
    if case.cell == "RNN":
        cell = nn.RNN(models.I, models.H, activation=functions[0], bias=2, **options)
    elif case.cell == "GRU":
        options |= {"convention": "onnx", "reset": case.reset, "activations": functions}
        cell = nn.GRU(models.I, models.H, **options)
    else:
        options |= {"peepholes": case.peepholes, "coupled": case.coupled}
        options |= {"convention": "onnx", "activations": functions}
        cell = nn.LSTM(models.I, models.H, **options)
    given = dict(models.by_formula.leaves(models.numbers(case)))
    for (kind, *way), (parameter, index) in places(case, cell).items():
        data = parameter.data.copy()
        data[index] = given[kind, direction, *way]
        parameter.data = data
    return cell


def in_tensors(name, *constants):
    """A function of the standard in the library's ops."""
    alpha, beta = (*constants, 0.0, 0.0)[:2]
    return {
        "Affine": lambda x: alpha * x + beta,
        "Elu": lambda x: tg.where(x < 0, alpha * (tg.exp(tg.minimum(x, 0.0)) - 1.0), x),
        "HardSigmoid": lambda x: tg.minimum(tg.maximum(alpha * x + beta, 0.0), 1.0),
        "LeakyRelu": lambda x: tg.where(x < 0, alpha * x, x),
        "Relu": tg.relu,
        "ScaledTanh": lambda x: alpha * tg.tanh(beta * x),
        "Sigmoid": tg.sigmoid,
        "Softplus": lambda x: tg.relu(x) + tg.log(1.0 + tg.exp(-abs(x))),
        "Softsign": lambda x: x / (1.0 + abs(x)),
        "Tanh": tg.tanh,
        "ThresholdedRelu": lambda x: tg.where(x > alpha, x, 0.0),
    }[name]


def library_fold(case, dtype=np.float64, unroll=True):
    """The cells and what they read, and Y, Y_h, Y_c of them folded over it."""
    given = models.numbers(case)
    leaf = lambda x: tg.tensor(x, requires_grad=True, dtype=dtype)
    cells = [library_cell(case, k, dtype) for k in range(case.directions)]
    part = nn.Bidirectional(*cells) if len(cells) == 2 else cells[0]
    layer = nn.Recurrent(part, reverse=case.direction == "reverse", unroll=unroll)
    xs, first = leaf(given[0]), [[leaf(s) for s in state] for state in given[1]]
    ys, (end,) = layer(xs, (sum(map(tuple, first), ()),), lengths=case.lengths)
    Y = ys.reshape(*ys.shape[:2], case.directions, models.H).transpose(0, 2, 1, 3)
    states = [tg.stack(end[k :: case.states]) for k in range(case.states)]
    return cells, xs, first, [Y, *states, None][:3]


def values(answers):
    return [None if y is None else y.data for y in answers]


def library_run(case, unroll=True):
    """Y, Y_h, Y_c of the library, and {path: gradient} of the loss of `reference_gradients`."""
    cells, xs, first, answers = library_fold(case, unroll=unroll)
    pairs = zip(models.cotangents(case), answers, strict=True)
    sum((y * g).sum() for g, y in pairs if y is not None).backward()
    found = {(0,): xs.grad.data}
    for k, state in enumerate(first):
        found |= {(1, k, n): s.grad.data for n, s in enumerate(state)}
        for (kind, *way), (parameter, index) in places(case, cells[k]).items():
            found[kind, k, *way] = parameter.grad.data[index]
    return values(answers), found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_library_equals_formulas(case):
    """To 1e-12 in float64, and its gradients to 1e-10."""
    answers, gradients = library_run(case)
    assert apart(answers, models.reference_run(case)) < 1e-12
    for path, (direction, expected) in models.reference_gradients(case).items():
        # What a variant does not read, it need not have: the forget gate of coupled ones.
        ours = (gradients[path] * direction).sum() if path in gradients else 0.0
        size = np.abs(gradients.get(path, 0.0) * direction).sum()
        assert abs(ours - expected) <= 1e-12 * size, path


# Where onnxruntime does as the standard says, and clips the cell on its way into h.
SAME = [case for case in CASES if case.cell != "LSTM" or case.clip is None]


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.name)
def test_library_equals_onnxruntime(case, runtime):
    """To 1e-5, both in float32."""
    *_, answers = library_fold(case, np.float32)
    assert answers[0].dtype == np.float32
    assert apart(values(answers), onnx_run(case)) < 1e-5


def test_weights_that_are_not_there_are_zero():
    for case in (c for c in CASES if not c.bias and c.direction == "reverse"):
        bare = {"RNN": {"bias": 0}, "LSTM": {"bias": False}, "GRU": {"bias": False}}[case.cell]
        cell, full = getattr(nn, case.cell), library_cell(case, 0)
        if case.cell != "RNN":
            bare["convention"] = "onnx"
        cell = cell(models.I, models.H, dtype=np.float64, **bare)
        for name, x in cell.named_parameters():
            x.data = getattr(full, name).data
        xs, how = models.numbers(case)[0], {"lengths": case.lengths, "unroll": True}
        assert len(cell.parameters()) < len(full.parameters())
        assert (cell(xs, **how)[0].data == full(xs, **how)[0].data).all()


@pytest.mark.parametrize("name", ["lstm, peepholes, coupled, clip", "gru, reset after, clip"])
def test_the_loop_equals_formulas(name):
    (case,) = [c for c in CASES if c.name == f"{name}, reverse, ragged"]
    (answers, gradients), (unrolled, expected) = library_run(case, False), library_run(case)
    assert apart(answers, models.reference_run(case)) < 1e-12
    assert apart(answers, unrolled) < 1e-12 and gradients.keys() == expected.keys()
    assert apart(gradients.values(), expected.values()) < 1e-12
