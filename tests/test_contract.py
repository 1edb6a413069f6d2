"""What bad input gets, and what holds for every op and layer: a test for each row of the contract.

The letter and number in a name are the row: A is construction, B shapes, D layout and aliasing, E
graph semantics, F the backward walk, G numerics, H size, I threads, K training, P a property.
"""

import copy
import gc
import itertools
import math
import operator
import pickle
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim
from tinygrad_rnn.tensor import _Switch, history, mode, owned, recording, replace

T, B, I, H = 5, 3, 2, 4


def leaf(values, dtype=np.float64):
    return tg.tensor(values, requires_grad=True, dtype=dtype)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@contextmanager
def refused(kind, *words):
    """The block raises an error of this kind whose message says all of the words."""
    with pytest.raises(kind) as caught:
        yield
    missing = [word for word in words if str(word) not in str(caught.value)]
    assert not missing, f"{str(caught.value)!r} does not say {missing}"


def plain(x):
    return x.data if isinstance(x, tg.Tensor) else np.asarray(x)


def same(found, expected):
    """The same bits, the same shape, the same dtype."""
    found, expected = plain(found), plain(expected)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def close(found, expected, tolerance=1e-12):
    """Equal to a tolerance, measured against the largest number expected."""
    found, expected = plain(found), plain(expected)
    assert found.shape == expected.shape
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


def gradients(module, *leaves):
    """What backward left on a module and some leaves, taken away from there."""
    tensors = [*module.parameters(), *leaves]
    found = [x.grad.data for x in tensors]
    for x in tensors:
        x.grad = None
    return found


# -- A. construction and dtypes ---------------------------------------------------------------


@pytest.mark.parametrize(
    "ragged", [[[1, 2], [3]], [1, [2]], [np.ones(2), np.ones(3)], [[[1], [2]], [[3]]]], ids=str
)
def test_A01_a_ragged_list_is_refused(ragged):
    with refused(ValueError, "tensor", "expected lists of one length", "(2,", "tg.data.pad"):
        tg.tensor(ragged)
    with refused(ValueError, "ragged"):
        leaf([1.0, 2.0]).data = ragged


@pytest.mark.parametrize(
    "thing",
    ["a", ["a"], None, {}, [None], np.array([1.0, None]), np.array(["2020"], "M8[Y]"), b"1"],
    ids=repr,
)
def test_A02_only_numbers_become_tensors(thing):
    with refused(TypeError, "tensor", "expected floats", "integers or bools", "got"):
        tg.tensor(thing)
    x = leaf([1.0])
    for name in ("data", "grad"):
        if name == "data" or thing is not None:  # None is no gradient
            with refused(TypeError, "tensor", "expected floats"):
                setattr(x, name, thing)


@pytest.mark.parametrize("result", [None, [1, "a"], np.array([None])], ids=repr)
def test_A02_an_op_cannot_bring_other_things_into_the_graph(result):
    odd = tg.primitive(lambda g, y, x: g)(lambda x: result)
    odd.name = "odd"
    with refused(TypeError, "odd", "expected floats"):
        odd(leaf([1.0]))


def test_A02_a_derivative_of_the_shape_of_the_output_is_refused():
    grown = tg.primitive(lambda g, y, x: g)(lambda x: np.concatenate([x, x[:1]]))
    grown.name = "grown"
    with refused(ValueError, "grown: the cotangent of", "expected shape (3,)", "shape (4,)"):
        grown(leaf([1.0, 2.0, 3.0])).sum().backward()


@pytest.mark.parametrize("values", [[1, 2], [True]])
def test_A03_only_floats_require_gradients(values):
    with refused(TypeError, "requires_grad", "expected float32 or float64", "dtype=np.float32"):
        tg.tensor(values, requires_grad=True)
    with refused(TypeError, "requires_grad", "dtype=np.float32"):
        tg.tensor(values).requires_grad = True
    assert leaf(values).requires_grad


@pytest.mark.parametrize("values", [1j, [1 + 0j, 2], np.ones(2, np.complex64)])
def test_A04_complex_is_refused(values):
    x = leaf([1.0, 2.0])
    for wrong in (tg.tensor, x.__mul__, x.__rsub__, lambda z: setattr(x, "data", z),
                  lambda z: nn.Linear(2, 1)(z), lambda z: (x * 2).backward(z)):  # fmt: skip
        with refused(TypeError, "complex", "x.real and x.imag"):
            wrong(values)
    with refused(ValueError, "'W' is complex128"):
        nn.Linear(1, 1).load_state_dict({"W": np.ones((1, 1), complex), "b": np.ones(1)})


@pytest.mark.parametrize("a", [np.float32, np.float64, np.int64, np.int8, np.bool_])
@pytest.mark.parametrize("b", [np.float32, np.float64, np.int32])
def test_A05_mixed_precision_promotes_like_numpy(a, b):
    x, y = tg.tensor(np.ones(2, a)), tg.tensor(np.ones((2, 2), b))
    assert (x + y).dtype == (y * x).dtype == np.result_type(a, b)
    assert (x @ y).dtype == np.result_type(a, b)


def test_A05_float64_data_into_a_float32_layer_names_both():
    xs = np.ones((4, 1, 2))
    for layer in (nn.LSTM(2, 3, rng=0), nn.Linear(2, 3, rng=0), nn.LayerNorm(2)):
        with refused(TypeError, ": x", "float32", "float64", "astype", "dtype=np.float64"):
            layer(tg.tensor(xs))
        y = layer(xs)  # plain numbers are taken for what the weights are
        assert (y[0] if isinstance(y, tuple) else y).dtype == np.float32
    with refused(TypeError, "h", "float32", "float64"):
        nn.GRU(2, 3, rng=0)(xs, (tg.tensor(np.ones((1, 3))),))


@pytest.mark.compiled
def test_A05_a_loop_of_two_precisions_promotes_like_the_steps_one_by_one():
    w, xs = leaf([0.3, -0.7], np.float32), normal(T, 2)
    step = lambda x, h: (tg.tanh(h * w + x), w * 2)  # the state is float64, an output float32
    found = [tg.scan(step, np.zeros(2), xs, unroll=unroll) for unroll in (False, True)]
    slopes = [tg.grad(ys.sum() + more.sum(), w) for ys, more in found]
    for a, b in (*zip(*found, strict=True), slopes):
        assert a.dtype == b.dtype
        close(a, b, 1e-6 if a.dtype == np.float32 else 1e-12)
    assert [y.dtype for y in found[0]] == [np.float64, np.float32]


@pytest.mark.parametrize("number", [2, 2.0, True])
def test_A06_python_numbers_take_the_dtype_of_their_company(number):
    x = leaf([1.0, 3.0], np.float32)
    for y in (x * number, number * x, x + number, number - x, x / number, tg.where(x > 1, x, 0)):
        assert y.dtype == np.float32
    (x * number).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_A07_numpy_scalars_promote_like_numpy(kind):
    x = tg.tensor(np.ones(2, np.float32))
    expected = (np.ones(2, np.float32) * kind(2)).dtype
    assert (x * kind(2)).dtype == (kind(2) * x).dtype == expected


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["f4", "f8", "i2", "i8"])
def test_A08_foreign_byte_order_becomes_native(order, code):
    given = np.arange(3).astype(order + code)
    for x in (tg.tensor(given), tg.tensor([0, 1, 2], dtype=order + code)):
        assert x.dtype.isnative and x.data.tolist() == [0, 1, 2]
    assert tg.tensor([0.0, 1.0]).astype(order + code).dtype.isnative


def test_A08_half_becomes_single_and_extended_is_refused():
    assert tg.tensor(np.ones(2, np.float16)).dtype == np.float32
    with refused(TypeError, np.dtype(np.longdouble), "at most 64 bits", "astype(np.float64)"):
        tg.tensor(np.ones(2, np.longdouble))


def test_A08_bfloat16_is_led_to_single():
    half = pytest.importorskip("ml_dtypes", reason="NumPy's own has no bfloat16").bfloat16
    array = np.ones(2, half)
    for take in (tg.tensor, leaf([1.0, 2.0]).__mul__, nn.Linear(2, 1)):
        with refused(TypeError, "bfloat16", "at most 64 bits", "x.astype(np.float32)"):
            take(array)
    with refused(TypeError, "dtype", "bfloat16"):
        tg.tensor([1.0]).astype(half)


@pytest.mark.parametrize("dtype", [complex, object, "U3"])
def test_A08_astype_leads_to_no_dtype_a_tensor_cannot_have(dtype):
    with refused(TypeError, "dtype"):
        tg.tensor([1.0]).astype(dtype)
    with refused(TypeError, "dtype"):
        tg.tensor([1.0], dtype=dtype)


def test_A08_no_op_makes_half_precision():
    small = tg.tensor(np.array([1, 2], np.int8))
    found = [f(small).dtype for f in (tg.log, tg.sqrt, tg.softplus, tg.exp, tg.tanh)]
    found.append(tg.tensor([1.0]).astype(np.float16).dtype)
    assert not [dtype for dtype in found if dtype not in (np.float32, np.float64)]


def test_A09_array_subclasses_lose_their_manners(tmp_path):
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)
    x = tg.tensor(matrix)
    assert type(x.data) is np.ndarray
    same((x * matrix).data, np.asarray(matrix) ** 2)
    same(tg.mul(matrix, matrix), np.asarray(matrix) ** 2)
    mapped = np.memmap(tmp_path / "map", np.float64, "w+", shape=3)
    assert type(tg.tensor(mapped).data) is np.ndarray
    with refused(TypeError, "masked", "mask would be lost", "filled"):
        tg.tensor(np.ma.array([1.0], mask=[True]))
    for kind in (np.ndarray, np.recarray):
        with refused(TypeError, "x['a']", "stack"):
            tg.tensor(np.zeros(2, [("a", float)]).view(kind))


def test_A09_a_series_is_its_numbers():
    pandas = pytest.importorskip("pandas", reason="whose arrays these are")
    column = pandas.Series([1.0, 2.0], index=["a", "b"])
    x = leaf([3.0, 4.0])
    same(tg.tensor(column), np.array([1.0, 2.0]))
    same(x * column, np.array([3.0, 8.0]))
    assert tg.tensor(pandas.DataFrame({"a": [1], "b": [2]})).shape == (1, 2)
    for other in (pandas.Series(["a"]), pandas.Series([1, None], dtype=object)):
        with refused(TypeError, "expected floats", "Series"):
            tg.tensor(other)
    with refused(TypeError, "NumPy", "forget"):
        column * x


@pytest.mark.parametrize("number", [2, 2.5, True, np.float32(2), np.int8(2), np.array(2.5)])
def test_A10_numbers_are_tensors_without_axes(number):
    x = tg.tensor(number)
    assert x.shape == () and x.item() == number and x.dtype == np.asarray(number).dtype


@pytest.mark.parametrize("rule", [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW])
def test_A10_a_parameter_without_axes_stays_an_array(rule):
    x = leaf(1.0)
    optimizer = rule([x], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (x * x).backward()
        optimizer.step()
    assert type(x.data) is np.ndarray and x.shape == () and x.item() < 1
    assert all(type(array) is np.ndarray for array in optimizer.state_dict().values())


def test_A11_a_tensor_of_a_tensor_is_a_leaf_of_the_same_values():
    y = leaf([1.0, 2.0]) * 2
    x = tg.tensor(y)
    assert x.op is None and not x.requires_grad
    same(x.data, y.data)


@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_A12_an_integer_too_long(digits):
    with refused(OverflowError, "tensor", f"{digits + 1} digits", "64 bits"):
        tg.tensor(10**digits)


def test_A12_an_integer_too_long_beside_a_tensor():
    with refused(OverflowError, "mul"):
        tg.tensor([1.0]) * 10**400


def test_A13_new_data_and_gradients_fit_or_are_refused():
    x = leaf([1.0, 2.0])
    for wrong in ([1.0], [[1.0, 2.0]], np.ones(2, np.float32), [1, 2]):
        with refused(ValueError, "tensor.data", "expected shape (2,)", "float64", "got shape"):
            x.data = wrong
        with refused(ValueError, "tensor.grad", "expected shape (2,)", "float64", "got shape"):
            x.grad = wrong
    same(x.data, np.array([1.0, 2.0]))
    assert x.grad is None
    with refused(RuntimeError, "mul", "does not change", "new tensor"):
        (x * 2).data = [1.0, 2.0]


def test_A13_an_optimizer_cannot_change_a_shape():
    class Careless(optim.Optimizer):
        def update(self, x, g, memory):
            return np.ones(7), memory

    x = leaf([1.0, 2.0])
    x.grad = x
    with refused(ValueError, "Careless", "(2,)", "(7,)"):
        Careless([x], lr=0.1).step()
    same(x.data, np.array([1.0, 2.0]))


def test_A14_a_tensor_has_no_truth_value():
    for x in (tg.tensor([1.0]), tg.tensor([True, False]), leaf(1.0) > 0):
        with refused(TypeError, "truth value", "tg.where", "item()"):
            bool(x)
    with refused(ValueError, "item", "expected one element", "(2,)"):
        int(tg.tensor([1, 2]))
    assert int(tg.tensor([3])) == 3 and float(tg.tensor(0.5)) == 0.5


def test_A15_equality_is_elementwise():
    """As `<` is, with whatever can be compared; None and words are no numbers, and not equal."""
    x, y = leaf([1.0, 2.0, 3.0]), tg.tensor([1.0, 5.0, 3.0])
    for other in (y, y.data, [1, 5, 3], (1.0, 5.0, 3.0)):
        for equal, unequal in ((x == other, x != other), (other == x, other != x)):
            assert equal.data.tolist() == [True, False, True] and not equal.requires_grad
            assert unequal.data.tolist() == [False, True, False]
    for other in (2, 2.0, np.float32(2), np.int64(2)):
        assert (x == other).data.tolist() == (other == x).data.tolist() == [False, True, False]
    for other in (None, "a", object()):
        assert (x == other) is (other == x) is False and (x != other) is (other != x) is True
    with refused(ValueError, "equal", "[3]", "[2]"):
        operator.eq(x, np.ones(2))


def test_A15_tensors_are_told_apart_by_identity_in_sets_and_dicts():
    x, y = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0])
    assert len({x, y, x}) == 2 and {x: "x", y: "y"}[y] == "y" and y in {x, y}
    assert x in [x, y] and [x, y].index(x) == 0  # it is the first
    with refused(TypeError, "truth value"):
        [x, y].index(y)


# -- B. shapes and sizes ----------------------------------------------------------------------


CELLS = {
    "tanh": lambda i=I, h=H: nn.RNN(i, h, bias=2, dtype=np.float64),
    "relu": lambda i=I, h=H: nn.RNN(i, h, activation="relu", dtype=np.float64),
    "lstm": lambda i=I, h=H: nn.LSTM(i, h, dtype=np.float64),
    "gru": lambda i=I, h=H: nn.GRU(i, h, bias=True, dtype=np.float64),
}
cells = pytest.mark.parametrize("kind", CELLS)


def random_cell(kind, seed=0, **sizes):
    """Random, unequal weights everywhere: nothing hides behind a zero."""
    cell, rng = CELLS[kind](**sizes), np.random.default_rng(seed)
    for x in cell.parameters():
        x.data = rng.normal(size=x.shape) * 0.6
    return cell


def random_state(cell, batch=B, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(leaf(rng.normal(size=(batch, cell.hidden))) for _ in cell.state)


def test_B01_a_wrong_number_of_features_names_layer_and_layout():
    with refused(ValueError, "Linear", "x", "expected 3 features", "(2, 5)"):
        nn.Linear(3, 4)(np.ones((2, 5), np.float32))
    layout = "(T, B, inputs)", "inputs = 3", "(2, 2, 5)", "batch_first=False"
    with refused(ValueError, "xs", "expected", *layout):
        nn.LSTM(3, 4)(np.ones((2, 2, 5), np.float32))
    with refused(ValueError, "xs", "(B, T, inputs)", "batch_first=True"):
        nn.GRU(3, 4)(np.ones((2, 2, 5), np.float32), batch_first=True)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 3), ()])
def test_B02_other_numbers_of_axes_are_told_both_layouts(shape):
    with refused(ValueError, "xs", "(T, B, inputs) or (T, inputs)", shape):
        nn.GRU(3, 4)(np.ones(shape, np.float32))


def test_B02_integers_are_pointed_to_an_embedding():
    with refused(TypeError, "xs", "expected floats", "int64", "nn.Embedding"):
        nn.GRU(3, 4)(tg.tensor(np.ones((2, 2, 3), int)))


def test_B03_a_batch_in_the_wrong_place_mentions_batch_first():
    cell = random_cell("lstm")
    with refused(ValueError, "state", (T, H), "batch_first=False"):
        cell(normal(B, T, I), random_state(cell))


@pytest.mark.parametrize("shapes", [[(2, H)], [(B, H)], [(B, H), (B, 1)], [(H,), (H,)], []])
def test_B04_a_state_that_does_not_fit(shapes):
    with refused(ValueError, "state", "expected (h, c)", (B, H), "got", shapes):
        random_cell("lstm")(normal(T, B, I), [np.ones(s) for s in shapes])


def test_B04_a_state_that_is_no_tuple():
    xs, h = normal(T, B, I), tg.tensor(np.ones((B, H)))
    with refused(ValueError, "state", "expected the tuple (h,)", "got"):
        random_cell("gru")(xs, h)
    with refused(ValueError, "state", "expected (h,)", "got"):
        random_cell("gru")(xs, (h, h))
    for wrong in (h, (), ((h,), (h,))):
        with refused(ValueError, "state", "one tuple for each of 1 cells", "got"):
            nn.Recurrent(random_cell("gru"))(xs, wrong)
    with refused(TypeError, "state", "expected"):
        nn.Recurrent(random_cell("gru"))(xs, 5)


@cells
def test_B05_no_steps_give_back_the_state(kind):
    cell = random_cell(kind)
    state = random_state(cell)
    ys, end = cell(np.ones((0, B, I)), state)
    assert ys.shape == (0, B, H)
    sum(s.sum() for s in end).backward()
    for before, after in zip(state, end, strict=True):
        same(after.data, before.data)
        same(before.grad.data, np.ones((B, H)))


@cells
def test_B06_no_rows_give_zero_gradients(kind):
    cell = random_cell(kind)
    ys, end = cell(np.ones((T, 0, I)))
    assert ys.shape == (T, 0, H) and end[0].shape == (0, H) and ys.sum().item() == 0
    ys.sum().backward()
    for x in cell.parameters():
        same(x.grad.data, np.zeros(x.shape))


def test_B06_losses_over_nothing():
    logits = leaf(np.ones((0, 3)))
    loss = tg.cross_entropy(logits, np.zeros(0, int))
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 3)
    assert np.isnan(tg.mean_squared_error(np.ones((0, 3)), np.ones((0, 3))).item())
    table = nn.Embedding(4, 3)
    table(np.zeros((2, 0), int)).sum().backward()
    assert table.table.grad.shape == (4, 3) and not table.table.grad.data.any()


def test_B07_products_over_nothing_are_zero():
    x, w = leaf(np.ones((2, 3, 0))), leaf(np.ones((0, 4)))
    y = x @ w
    y.sum().backward()
    same(y.data, np.zeros((2, 3, 4)))
    assert x.grad.shape == x.shape and w.grad.shape == w.shape


SIZED = {
    "rnn": lambda size: nn.RNN(3, size),
    "lstm": lambda size: nn.LSTM(3, size),
    "gru": lambda size: nn.GRU(size, 3),
    "linear": lambda size: nn.Linear(size, 2),
    "embedding": lambda size: nn.Embedding(4, size),
    "layers": lambda size: nn.LanguageModel(4, layers=size, hidden=2),
    "projection": lambda size: nn.LSTM(3, 4, projection=size if size is not None else "none"),
    "minimal": lambda size: nn.MinimalGatedUnit(3, size),
    "norm": lambda size: nn.LayerNorm(size),
    "skip": lambda size: nn.TimeSkip(nn.RNN(2, 2), size),
    "untied": lambda size: nn.RNN(3, 4, untied=size if size is not None else "none"),
}


@pytest.mark.parametrize("make", SIZED.values(), ids=SIZED)
@pytest.mark.parametrize(
    "size", [0, -1, 2.0, np.float64(2), True, np.True_, "4", None, [4], np.array([4])], ids=repr
)
def test_B07_B08_sizes_are_whole_and_positive(make, size):
    words = ("at least 1", size) if type(size) is int else ("expected a whole number", "got")
    with refused(ValueError if type(size) is int else TypeError, "expected", *words):
        make(size)


@pytest.mark.parametrize("make", SIZED.values(), ids=SIZED)
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_B08_numpy_integers_are_sizes(make, kind):
    assert make(kind(2)).parameters()


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_B09_a_huge_layer_says_how_much_memory_it_wants(cell):
    with refused(MemoryError, "iB"):
        cell(10**7, 10**8)


@pytest.mark.parametrize("loss", [
    tg.mean_squared_error, tg.l1_loss, tg.huber_loss, tg.kl_div, tg.binary_cross_entropy,
    tg.binary_cross_entropy_with_logits,
])  # fmt: skip
def test_B10_a_loss_does_not_broadcast(loss):
    words = loss.__name__, "target", "expected shape (3, 1)", "got (3,)", "Reshape"
    with refused(ValueError, *words):
        loss(np.ones((3, 1)), np.ones(3))
    with refused(ValueError, "target", "expected shape (1, 3)", "got (3,)"):
        loss(np.ones((1, 3)), np.ones(3))


@pytest.mark.parametrize(
    "target, kind, words",
    [
        ([0, 3], ValueError, ["0 <= target < 3", "from 0 to 3"]),
        ([-1, 0], ValueError, ["0 <= target < 3", "from -1 to 0"]),
        (np.array([0, 255], np.uint8), ValueError, ["0 <= target < 3", "from 0 to 255"]),
        ([0.0, 1.0], TypeError, ["integers", "float64"]),
        ([True, False], TypeError, ["integers", "bool"]),
        (np.eye(3, dtype=int)[:2], ValueError, ["expected shape (2,)", "(2, 3)", "argmax(-1)"]),
        (np.eye(3)[:2], ValueError, ["expected shape (2,)", "(2, 3)", "argmax(-1)"]),
    ],
)
def test_B11_class_targets_are_checked_before_they_are_used(target, kind, words):
    for loss in (tg.cross_entropy, tg.nll_loss):
        with refused(kind, loss.__name__, "target", "expected", *words):
            loss(np.ones((2, 3)), target)


def test_B12_targets_transposed():
    with refused(ValueError, "target", "expected shape (4, 2)", "(4, 2, 3)", "got (2, 4)"):
        tg.cross_entropy(np.ones((4, 2, 3)), np.zeros((2, 4), int))


@pytest.mark.parametrize("index", [5, -1, [0, 5], [[-2]]])
def test_B13_rows_outside_the_table(index):
    bad = np.asarray(index).ravel()
    with refused(IndexError, "index", "0 <= index < 5", f"from {bad.min()} to {bad.max()}"):
        nn.Embedding(5, 3)(np.asarray(index))


def test_B13_indices_are_integers():
    with refused(TypeError, "index", "expected integers", "float64"):
        nn.Embedding(5, 3)([1.0])
    table = nn.Embedding(5, 3, rng=0)
    same(table(3).data, table.table.data[3])


def test_B14_reductions_over_nothing():
    x = tg.tensor(np.ones((2, 0)))
    for reduce in (tg.max, tg.min):
        with refused(ValueError, reduce.name, "zero-size", "[2, 0]", "axis=-1"):
            reduce(x, axis=-1)
    assert np.isnan(tg.mean(x, axis=-1).data).all() and tg.mean(x, axis=0).shape == (0,)
    same(tg.sum(x, axis=-1).data, np.zeros(2))
    same(tg.logsumexp(x).data, np.full(2, -np.inf))
    assert tg.softmax(x).shape == tg.log_softmax(x).shape == (2, 0)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda x: x.reshape(4), ["reshape", "size 6", "(4,)"]),
        (lambda x: x.transpose(0, 0), ["transpose", "repeated axis"]),
        (lambda x: x.transpose(0, 5), ["transpose", "5"]),
        (lambda x: x.sum(-5), ["sum", "-5"]),
        (lambda x: x.mean(2), ["2", "dimension 2"]),
        (lambda x: tg.flip(x, 2), ["flip", "2"]),
        (lambda x: tg.swapaxes(x, 0, 3), ["swapaxes", "3"]),
        (lambda x: tg.split(x, 2, axis=-1), ["split", "3 into 2"]),
        (lambda x: tg.split(x, sizes=[1, 1], axis=-1), ["split", "[1, 1]", "3"]),
        (lambda x: tg.split(x, sizes=[-1, 4], axis=-1), ["split", "[-1, 4]"]),
        (lambda x: tg.split(x, sizes=[1.5, 1.5], axis=-1), ["split", "1.5"]),
        (lambda x: tg.split(x, [2, 1], axis=-1), ["split", "[2, 1]", "increasing"]),
        (lambda x: tg.broadcast_to(x, (2, 2)), ["broadcast_to", "(2, 2)"]),
        (lambda x: x + np.ones(2), ["add", "(2,3)", "(2,)"]),
        (lambda x: x @ x, ["inner sizes", "(2, 3) @ (2, 3)"]),
        (lambda x: x @ 2.0, ["matmul", "number", "*"]),
        (lambda x: x[5], ["5", "size 2"]),
        (lambda x: x[1.5], ["index", "integers or bools", "float64"]),
        (lambda x: x.sum(1.0), ["sum", "axis", "whole numbers", "1.0"]),
        (lambda x: tg.softmax(x, axis=True), ["softmax", "axis", "whole numbers", "True"]),
        (lambda x: x.max((0, 0)), ["max", "repeated axis"]),
        (lambda x: tg.cumsum(x, 2), ["cumsum", "axis", "2"]),
        (lambda x: tg.sort(x, "last"), ["sort", "axis", "whole number", "'last'"]),
        (lambda x: tg.moveaxis(x, 0, 3), ["moveaxis", "destination", "3"]),
        (lambda x: tg.repeat(x, 2, 7), ["repeat", "axis", "7"]),
        (lambda x: tg.chunk(x, 0), ["chunk", "chunks", "at least 1", "0"]),
        (lambda x: tg.topk(x, 4), ["topk", "k", "0 to 3", "4"]),
    ],
)
def test_B15_shapes_and_axes_that_do_not_exist(change, words):
    with refused((ValueError, TypeError, IndexError), *words):
        change(tg.tensor(np.ones((2, 3))))


def test_B15_an_empty_list_indexes_nothing():
    assert tg.tensor(np.ones((2, 3)))[[]].shape == (0, 3)


def test_B16_joining_names_the_one_that_does_not_fit():
    x, odd = np.ones((2, 3)), np.ones((3, 2))
    for join in (tg.concat, tg.stack):
        with refused(ValueError, join.__name__, "number 2", (3, 2), (2, 3)):
            join([x, x, odd])
        with refused(ValueError, join.__name__, "at least one", "empty"):
            join([])


# -- a table of functions that D and P look at ------------------------------------------------

TARGET = np.array([1, 0])
FUNCTIONS = {
    "add": (tg.add, (2, 3), (3,)),
    "sub": (tg.sub, (3,), (2, 3)),
    "mul": (tg.mul, (2, 1), (1, 3)),
    "div": (tg.div, (2, 3), ()),
    "power": (tg.power, (2, 3), (3,)),
    "neg": (tg.neg, (2, 3)),
    "exp": (tg.exp, (2, 3)),
    "log": (tg.log, (2, 3)),
    "sqrt": (tg.sqrt, (2, 3)),
    "tanh": (tg.tanh, (2, 3)),
    "sigmoid": (tg.sigmoid, (2, 3)),
    "softplus": (tg.softplus, (2, 3)),
    "relu": (lambda x: tg.relu(x - 0.9), (2, 3)),
    "abs": (lambda x: tg.abs(x - 0.9), (2, 3)),
    "maximum": (tg.maximum, (2, 3), (3,)),
    "minimum": (tg.minimum, (2, 3), (3,)),
    "where": (lambda x, y: tg.where(x > y, x, y * y), (2, 3), (2, 1)),
    "matmul": (tg.matmul, (2, 3), (3, 4)),
    "matmul of stacks": (tg.matmul, (2, 2, 3), (2, 3, 2)),
    "vector": (tg.matmul, (3,), (3, 2)),
    "sum": (lambda x: x.sum(0), (2, 3)),
    "mean": (lambda x: x.mean(-1, keepdims=True), (2, 3)),
    "max": (lambda x: x.max(-1), (2, 3)),
    "min": (lambda x: x.min(), (2, 3)),
    "softmax": (tg.softmax, (2, 3)),
    "log_softmax": (lambda x: tg.log_softmax(x, axis=0), (2, 3)),
    "logsumexp": (tg.logsumexp, (2, 3)),
    "concat": (lambda x, y: tg.concat([x, y], axis=-1), (2, 3), (2, 1)),
    "stack": (lambda x, y: tg.stack([x, y, x]), (2, 3), (2, 3)),
    "split": (lambda x: tg.split(x, [2], axis=-1)[0], (2, 3)),
    "transpose": (tg.transpose, (2, 3)),
    "reshape": (lambda x: x.reshape(3, 2), (2, 3)),
    "slice": (lambda x: x[::-1, 1:], (2, 3)),
    "gather": (lambda x: x[[1, 1, 0], 1], (2, 3)),
    "flip": (tg.flip, (2, 3)),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (2, 2, 3)), (2, 1)),
    "embedding": (lambda x: tg.embedding(x, [[1, 1], [0, 1]]), (2, 3)),
    "cross_entropy": (lambda x: tg.cross_entropy(x, TARGET), (2, 3)),
    "squares": (tg.mean_squared_error, (2, 3), (2, 3)),
    **{kind: (lambda x, kind=kind: random_cell(kind)(x)[0], (3, 2, I)) for kind in CELLS},
}
functions = pytest.mark.parametrize("name", FUNCTIONS)


def prepared(name, seed=0):
    """A function of the table, and arrays of its shapes where it is smooth."""
    f, *shapes = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    return f, [rng.uniform(0.3, 1.5, shape) for shape in shapes]


def value_and_pull(f, arrays, cotangent=None):
    """f's value, and what a cotangent of ones (or another) becomes."""
    xs = [leaf(x, None) for x in arrays]
    y = f(*xs)
    g = np.ones(y.shape, y.dtype) if cotangent is None else cotangent
    return y.data, [x.data for x in tg.grad(y, xs, g)]


# -- D. layout and aliasing of inputs ---------------------------------------------------------


def spread(x, step):
    """x as every `step`-th element of a larger buffer along the last axis."""
    buffer = np.full((*x.shape[:-1], x.shape[-1] * abs(step)), np.nan) if x.ndim else np.ones(2)
    view = buffer[..., ::step] if x.ndim else buffer[1:].reshape(())
    view[...] = x
    return view


def misaligned(x):
    view = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def read_only(x):
    return np.frombuffer(x.tobytes()).reshape(x.shape)


LAYOUTS = {
    "Fortran": lambda x: np.array(x, order="F"),
    "strided": lambda x: spread(x, 2),
    "backwards": lambda x: spread(x, -1),
    "read-only": read_only,
    "misaligned": misaligned,
    "foreign": lambda x: x.astype(">f8"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_D01_D03_D04_layout_of_an_input_changes_no_bit(layout):
    for name in FUNCTIONS:
        f, arrays = prepared(name)
        value, pulled = value_and_pull(f, arrays)
        other, other_pulled = value_and_pull(f, [layout(x) for x in arrays])
        same(other, value)
        for found, expected in zip(other_pulled, pulled, strict=True):
            same(found, expected)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_D01_layout_of_weights_changes_no_bit(layout, kind):
    cell, xs = random_cell(kind), normal(T, B, I)
    expected = cell(xs)[0].data
    for x in cell.parameters():
        x.data = layout(x.data)
    same(cell(xs)[0].data, expected)


@pytest.mark.compiled
def test_D01_D02_D03_D04_layout_of_what_a_compiled_loop_is_given_changes_no_bit(tmp_path):
    """Inputs, states and weights, which none of it writes into."""
    cell, xs = random_cell("lstm"), normal(T, B, I)
    state, mix = [s.data for s in random_state(cell)], normal(T, B, H, seed=3)
    weights = [x.data for x in cell.parameters()]

    def found(layout):
        for x, array in zip(cell.parameters(), weights, strict=True):
            replace(x, np.asarray(layout(array)))
        x, hs = owned(np.asarray(layout(xs))), [owned(np.asarray(layout(s))) for s in state]
        for leaf_ in (x, *hs):
            leaf_.requires_grad = True
        ys, end = cell(x, hs)
        (ys * mix).sum().backward()
        return [ys.data, *(s.data for s in end), *gradients(cell, x, *hs)]

    def mapped(x):
        path = tmp_path / str(len([*tmp_path.iterdir()]))
        x.tofile(path)
        return np.memmap(path, x.dtype, "r", shape=x.shape)

    expected = found(np.array)
    layouts = [layout for name, layout in LAYOUTS.items() if name != "foreign"]
    for layout in (*layouts, mapped):  # foreign bytes are turned at the door
        for a, b in zip(found(layout), expected, strict=True):
            same(a, b)


@pytest.mark.compiled
def test_D02_a_broadcast_sequence_goes_through_a_compiled_loop():
    cell, row, slopes = random_cell("lstm"), normal(I), []
    for array in (np.broadcast_to(row, (T, B, I)), np.tile(row, (T, B, 1))):
        x = owned(array)
        x.requires_grad = True
        cell(x)[0].sum().backward()
        assert x.grad.shape == (T, B, I)
        slopes.append(x.grad)
    same(*slopes)
    same(row, normal(I))


def test_D02_a_broadcast_input_has_a_gradient_of_its_logical_shape():
    small = np.array([1.0, 2.0, 3.0])
    x = leaf(np.broadcast_to(small, (2, 3)))
    (x * x).sum().backward()
    same(x.grad.data, np.broadcast_to(2 * small, (2, 3)))
    same(small, np.array([1.0, 2.0, 3.0]))
    y = leaf(small)
    (tg.broadcast_to(y, (4, 3)) * y).sum().backward()
    (tg.broadcast_to(y, (4, 3)) * y).sum().backward()
    same(y.grad.data, 16 * small)


def test_D05_the_same_tensor_twice_gets_both_gradients():
    x = leaf(normal(3, 3))
    (x @ x).sum().backward()
    ones = np.ones((3, 3))
    close(x.grad, ones @ x.data.T + x.data.T @ ones)
    shared = random_cell("tanh", i=H)
    xs = normal(T, B, H)
    nn.Recurrent(shared, shared, share=True)(xs)[0].sum().backward()
    tied = gradients(shared)
    below, above = copy.deepcopy(shared), copy.deepcopy(shared)
    nn.Recurrent(below, above)(xs)[0].sum().backward()
    for a, b, both in zip(gradients(below), gradients(above), tied, strict=True):
        close(a + b, both)


def test_D05_one_array_as_input_and_state():
    array = normal(1, B, H)
    cell = random_cell("gru", i=H)
    x, h = leaf(array), leaf(array[0])
    cell(x, (h,))[0].sum().backward()
    both = x.grad.data[0] + h.grad.data
    x.grad = None
    cell(x, (x[0],))[0].sum().backward()
    close(x.grad.data[0], both)


def test_D06_overlapping_views_are_as_good_as_copies():
    buffer = normal(7)
    views, copies = [buffer[:5], buffer[2:]], [buffer[:5].copy(), buffer[2:].copy()]
    f = lambda x, y: (x * y).tanh()
    for found, expected in zip(value_and_pull(f, views), value_and_pull(f, copies), strict=True):
        same(found, expected)


def test_D07_of_a_gigabyte_on_disk_only_the_windows_are_read(tmp_path):
    """As bytes, and once: neither as float64 nor as two copies of all of it."""
    symbols = np.memmap(tmp_path / "text", np.uint8, "w+", shape=2**30)
    symbols[:8] = symbols[-8:] = np.arange(8)
    floats = np.memmap(tmp_path / "xs", np.float32, "w+", shape=(2**26, 4))
    table = nn.Embedding(8, 4, rng=0)
    tracemalloc.start()
    try:
        x, y = next(data.windows(symbols, 4, 100))
        same(x[:8, 0], np.arange(8, dtype=np.uint8))
        assert x.shape == y.shape == (100, 4) and x.flags.c_contiguous and x.flags.owndata
        steps = (2**30 - 1) // 4
        *_, (x, y) = data.windows(symbols, 4, 100, start=steps // 100 - 2)
        same(y[-5:, 3], symbols[4 * steps - 4 : 4 * steps + 1])
        nn.GRU(4, 2, rng=0)(table(x))[0].sum().backward()
        assert tg.tensor(floats[5:9]).dtype == np.float32
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_D07_J12_nothing_in_a_graph_lies_in_a_file_that_may_shrink(tmp_path):
    """A mapped file that is cut off would end the process at the next look."""
    np.save(tmp_path / "x.npy", normal(T, B, I))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    cell, w = random_cell("gru"), leaf(normal(T, B, I, seed=1))
    layer = nn.Linear(2, 2, dtype=np.float64)
    layer.load_state_dict({"W": mapped[0, :2], "b": mapped[0, 0]})
    found = [layer.W, layer.b, tg.tensor(mapped), cell(mapped)[0], cell(mapped, unroll=True)[0]]
    found += [w * mapped, tg.mean_squared_error(w, mapped), tg.where(mapped > 0, w, mapped)]
    runs = [x.attrs["run"] for x in history(found) if "run" in (x.attrs or ())]
    arrays = [x._array for x in history(found)] + [x for run in runs for x in run.xs]
    assert len(runs) == 1
    for array in arrays:  # some are tuples, of parts that are there too
        if isinstance(array, np.ndarray):
            assert not np.shares_memory(array, mapped)


def test_D08_changing_an_input_after_forward_changes_nothing():
    array = np.array([1.0, 2.0])
    x = leaf(array)
    y = (x * x).sum()
    array[:] = 100
    y.backward()
    same(x.grad.data, np.array([2.0, 4.0]))
    seed = np.ones(2)
    z = x * 2
    x.grad = None
    z.backward(seed)
    seed[:] = 100
    same(x.grad.data, np.array([2.0, 2.0]))


def test_D09_what_a_graph_needs_cannot_be_written():
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward(retain_graph=True)
    held = np.asarray(y.detach())
    arrays = [x.data, y.data, x.numpy(), x.grad.data, y.grad.data, held, x.detach().data]
    for array in arrays:
        with refused(ValueError, "read-only"):
            array[0] = 7
    fresh = np.array(y.detach(), copy=True)
    fresh[0] = 7
    assert y.data[0] == 1


@pytest.mark.parametrize(
    "forget",
    [
        *(np.asarray, np.diff, np.add.reduce, np.linalg.inv, lambda x: np.multiply.outer(x, x)),
        *(lambda x: np.array([x, x]), lambda x: tg.tensor([x, x]), lambda x: np.diff(a=x)),
        *(lambda x: tg.sum([x, x]), lambda x: x * [x, x], lambda x: tg.add([x, x], 1.0)),
    ],
)
def test_D09_numpy_does_not_get_what_it_would_forget(forget):
    with pytest.raises(TypeError):
        forget(leaf([1.0, 2.0]) * 1)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.compiled] if k in ("lstm", "gru") else []) for k in CELLS],
)
def test_D10_a_second_call_leaves_the_first_answer_alone(kind):
    cell = random_cell(kind)
    ys, end = cell(leaf(normal(T, B, I)), random_state(cell))
    before = [ys.data.copy(), *(s.data.copy() for s in end)]
    cell(leaf(normal(T, B, I, seed=1)), random_state(cell))[0].sum().backward()
    for found, expected in zip([ys, *end], before, strict=True):
        same(found.data, expected)


def test_D10_a_buffer_that_an_op_uses_again_does_not_change_old_answers():
    buffer = np.zeros(2)

    def doubled(x):
        return np.multiply(x, 2, out=buffer)

    op = tg.op.Op(doubled, [lambda g, y, x: 2 * g])
    first = op(leaf([1.0, 2.0]))
    try:
        op(leaf([5.0, 6.0]))
    except ValueError as error:
        assert "read-only" in str(error)
    same(first.data, np.array([2.0, 4.0]))


def test_D11_gradients_that_share_memory_are_never_added_to_in_place():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = tg.tensor([1.0, 1.0])
    (a + b).backward(seed)
    first = a.grad
    (a * 3).backward(seed)
    same(a.grad.data, np.array([4.0, 4.0]))
    for untouched in (b.grad, seed, first):
        same(untouched.data, np.ones(2))


def test_D11_a_gradient_does_not_follow_the_buffer_of_a_derivative():
    buffer = np.ones(2)
    x = leaf([1.0, 2.0])
    tg.op.Op(lambda x: x + 0.0, [lambda g, y, x: buffer])(x).sum().backward()
    try:
        buffer[:] = 99
    except ValueError as error:
        assert "read-only" in str(error)
    same(x.grad.data, np.ones(2))


# -- E. in place, and what a graph means ------------------------------------------------------


def test_E01_nothing_changes_in_place():
    x = leaf([1.0, 2.0])
    with refused(TypeError, "does not change in place", "tg.index_put(x, i, y)", "tg.where"):
        x[0] = 3.0
    with refused(ValueError, "read-only"):
        np.add(x.data, 1, out=x.data)
    array = np.ones(2)
    for out in (array, x):
        with refused(TypeError, "np.add: out=", "array = array + x"):
            np.add(x, 1, out=out)
    with refused(TypeError, "np.add: out="):
        array += x
    with refused(TypeError, "np.sum: out="):
        np.sum(x, 0, None, array)

    def greedy(x):
        x += 1
        return x

    with refused(ValueError, "greedy", "read-only"):
        tg.op.Op(greedy, [None])(leaf([1.0, 2.0]))


@pytest.mark.parametrize("change", ["data", "step", "load"])
def test_E03_new_values_between_forward_and_backward_are_refused(change):
    layer = nn.Linear(2, 2, dtype=np.float64, rng=0)
    optimizer = optim.SGD(layer, lr=0.1)
    loss = layer(np.ones((3, 2))).sum()
    loss.backward(retain_graph=True)
    before = gradients(layer)
    if change == "data":
        layer.W.data = np.ones((2, 2))
    elif change == "step":
        layer.W.grad = np.ones((2, 2))
        optimizer.step()
        optimizer.zero_grad()
    else:
        layer.load_state_dict(layer.state_dict())
    with refused(RuntimeError, "float64[2", "new values", "optimizer.step()", "loss again"):
        loss.backward()
    assert layer.W.grad is None and layer.b.grad is None
    layer(np.ones((3, 2))).sum().backward()
    close(gradients(layer)[1], before[1])


def test_E04_a_view_refuses_after_its_base_got_new_values():
    x = leaf([1.0, 2.0, 3.0])
    y = x[1:] * x[1:]
    x.data = [5.0, 6.0, 7.0]
    same(y.data, np.array([4.0, 9.0]))
    with refused(RuntimeError, "new values"):
        y.sum().backward()


def test_E05_repeated_indices_add_up():
    x = leaf([1.0, 2.0, 3.0])
    (x[[0, 0, 2, 0]] * np.array([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    same(x.grad.data, np.array([1011.0, 0.0, 100.0]))
    table = leaf(np.ones((3, 2)))
    tg.embedding(table, [[1, 1], [2, 1]]).sum().backward()
    same(table.grad.data, np.array([[0.0, 0.0], [3.0, 3.0], [1.0, 1.0]]))


def test_E06_augmented_assignment_makes_a_new_tensor():
    x = leaf([1.0, 2.0])
    h = before = x * 1
    for _ in range(3):
        h += x * h
    h.sum().backward()
    same(x.data, np.array([1.0, 2.0]))
    same(before.data, np.array([1.0, 2.0]))
    close(x.grad, (1 + x.data) ** 3 + 3 * x.data * (1 + x.data) ** 2)
    total = tg.tensor(0.0)  # a leaf that nobody trains
    total += x.sum()
    assert total.item() == 3


IN_PLACE = [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow]


def test_E06_E07_what_is_added_in_place_may_be_larger_or_wider():
    """`h += y` is `h = h + y`: nothing is written into what h was, so nothing has to fit."""
    x = leaf([1.0, 2.0, 3.0], np.float32)
    h = before = x * 2
    for y, dtype in ((np.ones((2, 3), np.float32), np.float32), (np.ones(3), np.float64)):
        h += y
        assert h.shape == (2, 3) and h.dtype == dtype
    same(before.data, np.array([2.0, 4.0, 6.0], np.float32))
    h.sum().backward()
    same(x.grad.data, np.full(3, 4, np.float32))
    with refused(ValueError, "add", "float64[2, 3]", "float64[4]"):
        h += np.ones(4)
    with refused(TypeError, "in place", "float32[3]", "p.data = "):
        x += np.ones((2, 3))
    same(x.data, np.array([1.0, 2.0, 3.0], np.float32))


PLACES = {
    "number": 1, "from the end": (-1, 0), "slice": (slice(None), slice(1, 3)), "none": 0,
    "backwards": (slice(None, None, -1), 1), "dots": (..., -1), "axis": (None, 2, slice(0, 2)),
    "list": [0, 2], "twice": [2, 0, 2, 2], "pairs": ([0, 0, 1], [3, 3, 0]), "bools": "mask",
    "both": ([1, 1], slice(0, 2)), "nothing": slice(2, 2), "no place": [],
}  # fmt: skip


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("places", PLACES)
def test_E05_E01_what_is_put_at_an_index(places, accumulate):
    """As NumPy assigns: the last of what goes to one place, also of its gradients; or all."""
    x, index = normal(3, 4), PLACES[places]
    index = x > 0 if index == "mask" else index
    y = normal(*x[index].shape, seed=1)

    def put(x, y):
        x = x.copy()
        if accumulate:
            np.add.at(x, index, y)
        else:
            x[index] = y
        return x

    a, b = leaf(x), leaf(y)
    found = tg.index_put(a, index, b, accumulate)
    same(found, put(x, y)) if not accumulate else close(found, put(x, y))
    g = normal(3, 4, seed=2)
    parts = tg.grad(found, [a, b], g)  # of a map that is linear, taken column by column
    units = [np.eye(v.size).reshape(v.size, *v.shape) for v in (x, y)]
    close(parts[0], np.array([(g * put(e, 0 * y)).sum() for e in units[0]]).reshape(x.shape))
    close(parts[1], np.array([(g * put(0 * x, e)).sum() for e in units[1]]).reshape(y.shape))
    one = tg.index_put(x, index, 2.0, accumulate=accumulate)  # arrays in, an array out
    assert isinstance(one, np.ndarray)
    close(one, put(x, np.full(y.shape, 2.0)))


def test_E05_what_is_replaced_leaves_nothing_behind():
    x, y = leaf([np.nan, 1.0, np.inf], np.float32), leaf([5.0, np.nan])
    z = tg.index_put(x, [0, 2, 2], tg.concat([y[:1], y[1:], y[:1] * 3]))
    assert z.dtype == np.float32 and z.data.tolist() == [5.0, 1.0, 15.0]
    (z * z).sum().backward()
    assert x.grad.data.tolist() == [0.0, 2.0, 0.0] and y.grad.data.tolist() == [100.0, 0.0]
    with refused(ValueError, "index_put: values", "(2,)", "(3,)"):
        tg.index_put(x, slice(0, 2), np.ones(3))
    with refused(TypeError, "index_put: values", "int64", "float64"):
        tg.index_put(tg.tensor([1, 2]), 0, 1.5)
    for wrong, words in ((3, ["out of bounds"]), (1.5, ["integers or bools", "float64"])):
        with refused(IndexError, *words):
            tg.index_put(x, wrong, 0.0)


@pytest.mark.compiled
def test_E05_a_state_that_is_written_to_in_a_loop():
    w, x = leaf(normal(2, 2)), normal(5, B, 2)

    def step(x, h):
        return tg.index_put(h, (slice(None), slice(1, 3)), tg.tanh(x @ w + h[:, :2]))

    found = []
    for run in (tg.scan, tg.unroll):
        (ys,) = run(step, normal(B, 4), x)
        found.append([ys, tg.grad((ys * ys).sum(), w)])
    for a, b in zip(*found, strict=True):
        close(a, b)
    with refused(tg.Untraceable, "numbers", "tg.where"):
        tg.scan(lambda k, h: tg.index_put(h, k, 1.0), np.zeros(3), np.arange(3))


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("change", [*IN_PLACE, operator.imatmul])
def test_E02_E06_a_parameter_is_not_bound_to_something_else(change, on):
    """`p -= lr * p.grad` would bind p to a new tensor, and train nothing."""
    p = tg.tensor(np.eye(2), requires_grad=True, name="p")
    with recording(on), refused(TypeError, "p float64[2, 2]", "p.data = ", "tg.optim"):
        change(p, np.eye(2))
    same(change(p.detach(), np.full((2, 2), 4.0)), change(np.eye(2), np.full((2, 2), 4.0)))


def test_E08_what_no_grad_computed_has_no_gradient():
    x = leaf([1.0])
    with tg.no_grad():
        y = x * 2
    assert not y.requires_grad and y.op is None
    with refused(RuntimeError, "backward", "does not require gradients", "no_grad"):
        y.backward()
    (x * y).backward()
    same(x.grad.data, np.array([2.0]))


def test_E09_a_detached_tensor_keeps_its_values():
    x = leaf([1.0, 2.0])
    y = x.detach()
    x.data = [5.0, 6.0]
    same(y.data, np.array([1.0, 2.0]))
    y.data = [7.0, 8.0]
    same(x.data, np.array([5.0, 6.0]))
    state = {"a": (x * 1, [x]), "b": 3}
    cut = tg.detach(state)
    assert cut["a"][0].op is None and not cut["a"][1][0].requires_grad and cut["b"] == 3


@pytest.mark.parametrize(
    "returned",
    [1.0, np.ones(2), np.ones((1, 3)), "a", np.ones(3) * 1j, object()],
    ids=["number", "short", "more axes", "text", "complex", "object"],
)
def test_E10_a_derivative_that_returns_something_else_names_its_op(returned):
    odd = tg.op.Op(lambda x: x * 2, [lambda g, y, x: returned])
    odd.name = "odd"
    x = leaf([1.0, 2.0, 3.0])
    with refused((ValueError, TypeError), "odd", "cotangent", "expected"):
        odd(x).sum().backward()
    assert x.grad is None


def test_E10_a_variadic_derivative_that_returns_too_few():
    odd = tg.op.variadic(lambda g, y, *xs: [g])(lambda *xs: xs[0] + xs[1])
    odd.name = "odd"
    with refused(ValueError, "odd", "1 cotangents for 2 inputs", "None where there is none"):
        odd(leaf([1.0]), leaf([2.0])).backward()


def test_E10_an_op_that_raises_says_what_it_was_given():
    class Particular(ValueError):
        def __init__(self, number, reason):
            super().__init__(f"{reason} {number}")

    def particular(x):
        raise Particular(3, "unlucky")

    with refused(ValueError, "particular", "unlucky 3", "float64[1]"):
        tg.pointwise(None)(particular)(leaf([1.0]))
    with refused(TypeError, "sign", "bool"):
        tg.sign(tg.tensor([True]))


def test_F09_E10_a_derivative_in_numpy_has_no_second_one():
    """It would be taken for a constant, and what comes of it left out without a word."""

    def slope(g, y, x):
        g, x = (v.data if isinstance(v, tg.Tensor) else v for v in (g, x))
        return g * np.cos(x)

    x = leaf([0.5])
    for kind in (tg.pointwise, tg.primitive):
        wave = kind(slope)(np.vectorize(math.sin))
        wave.name = "wave"
        y = (wave(x) * x).sum()
        close(tg.grad(y, x, retain_graph=True), np.array([np.sin(0.5) + 0.5 * np.cos(0.5)]))
        with refused(NotImplementedError, "wave", "input 0", "float64[1]", "tensor arithmetic"):
            tg.grad(y, x, create_graph=True)
    with refused(NotImplementedError, "wave"):  # nor is it known how a tangent goes through
        tg.transforms.jvp(lambda x: wave(x), (x.detach(),), (x.detach(),))


def test_E11_a_derivative_cannot_write_into_its_cotangent():
    def greedy(g, y, x):
        g *= 2
        return g

    x = leaf([1.0, 2.0])
    seed = tg.tensor([1.0, 1.0])
    with refused(ValueError, "read-only"):
        tg.op.Op(lambda x: x * 2, [greedy])(x).backward(seed)
    same(seed.data, np.ones(2))
    assert x.grad is None


def test_E10_ops_of_ones_own_have_second_derivatives_and_several_results():
    cube = tg.pointwise(lambda g, y, x: g * 3 * x * x)(lambda x: x * x * x)
    x = leaf([1.0, 2.0])
    slope = tg.grad(cube(x).sum(), x, create_graph=True)
    same(tg.grad(slope.sum(), x).data, np.array([6.0, 12.0]))
    both = tg.primitive(lambda g, y, x: 2 * g[0] + 3 * g[1])(lambda x: (2 * x, 3 * x))
    for used, expected in (((0, 1), 5.0), ((1,), 3.0)):
        parts = both(x)
        total = sum(parts[k].sum() for k in used)
        for create_graph in (False, True):
            found = tg.grad(total, x, create_graph=create_graph, retain_graph=True)
            same(found.data, np.full(2, expected))


def test_E10_a_rule_of_ones_own_may_have_tensors_in_it():
    """Where no history is recorded all else is arrays, which terms are added to in place."""
    steps = tg.tensor([1.0, 2.0])
    scaled = tg.pointwise(lambda g, y, x: g * steps)(lambda x: x * steps.data)
    x = leaf([1.0, 1.0])
    for terms in range(1, 6):
        y = sum((scaled(x) for _ in range(terms)), start=0.0)
        for create_graph in (False, True):
            found = tg.grad(y, x, [1.0, 1.0], create_graph=create_graph, retain_graph=True)
            same(found.data, terms * steps.data)


# -- F. the backward walk ---------------------------------------------------------------------


def test_F01_a_graph_is_spent_by_its_first_walk():
    x = leaf([1.0])
    y = x * x
    y.backward()
    with refused(RuntimeError, "mul", "freed", "retain_graph=True", "detach()"):
        y.backward()
    with refused(RuntimeError, "freed"):
        (y * 2).backward()
    same(x.grad.data, np.array([2.0]))


def test_F01_a_gradient_of_something_in_between_leaves_the_rest_usable():
    """Only what lies between is freed; of several, up to the farthest."""
    x, z = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    h = tg.tanh(x)
    s = h * z
    y = (s * s).sum()
    same(tg.grad(y, s), 2 * s.data)
    with refused(RuntimeError, "freed"):
        y.backward()
    (s * 2).sum().backward()
    close(x.grad, 2 * (1 - h.data**2) * z.data)
    x.grad = None
    h = tg.tanh(x)
    s = h * h
    tg.grad(s.sum(), [s, h])
    with refused(RuntimeError, "freed"):
        s.sum().backward()
    h.sum().backward()
    close(x.grad, 1 - h.data**2)
    h = tg.tanh(x)
    same(tg.grad(h, h, np.ones(2)), np.ones(2))
    assert tg.grad(h.sum(), [h, s], allow_unused=True)[1] is None
    h.sum().backward()


@pytest.mark.parametrize("unroll", [False, True])
def test_F01_a_layer_is_spent_by_its_first_walk(unroll):
    cell, x = random_cell("lstm"), leaf(normal(T, B, I))
    ys, end = cell(x, unroll=unroll)
    loss = ys.sum()
    loss.backward()
    before = [w.grad for w in cell.parameters()]
    for again in (loss, (ys * 2).sum(), end[1].sum()):
        with refused(RuntimeError, "freed", "retain_graph=True"):
            again.backward()
    with refused(RuntimeError, "freed"):
        tg.grad(loss, x)
    assert all(w.grad is g for w, g in zip(cell.parameters(), before, strict=True))


def test_F02_only_one_number_has_an_implicit_gradient():
    with refused(RuntimeError, "backward", "one element", "(2,)", "y.sum()", "gradients"):
        (leaf([1.0, 2.0]) * 2).backward()
    x = leaf([[3.0]])
    (x * x).backward()
    same(x.grad.data, np.array([[6.0]]))


def test_F03_a_cotangent_fits_or_is_refused():
    y = leaf([1.0, 2.0], np.float32) * 2
    for wrong in ([1.0], 1.0, [[1.0, 1.0]], [True, False]):
        with refused(ValueError, "gradient", "expected shape (2,)", "got shape"):
            y.backward(wrong)
    with refused(TypeError, "complex"):
        y.backward([1j, 1j])


def test_F03_another_float_as_cotangent_is_cast():
    x = leaf([1.0, 2.0], np.float32)
    (x * 2).backward(np.ones(2, np.float64))
    assert x.grad.dtype == np.float32


@functions
def test_F04_P43_a_retained_graph_walked_twice_gives_twice_the_gradient(name):
    f, arrays = prepared(name)
    xs = [leaf(x) for x in arrays]
    y = f(*xs).sum()
    y.backward(retain_graph=True)
    once = [x.grad.data for x in xs]
    y.backward()
    for x, g in zip(xs, once, strict=True):
        same(x.grad.data, 2 * g)


def test_F05_an_input_that_was_not_used():
    x, other = leaf([1.0]), leaf([2.0])
    with refused(RuntimeError, "number 1", "not used", "allow_unused=True"):
        tg.grad(x * 2, [x, other])
    found = tg.grad(x * 2, [x, other], allow_unused=True)
    assert found[0].item() == 2 and found[1] is None


def test_F05_no_partial_gradient_of_what_requires_none():
    """u depends on x but does not remember: w alone would be a plausible, wrong answer."""
    x, w = tg.tensor([3.0]), leaf([2.0])
    y = x * x * w + x * w
    with refused(RuntimeError, "does not require gradients"):
        tg.grad(y, x)
    x, w = tg.tensor([3.0]), leaf([2.0])
    y = x * x * w + x * w
    x.requires_grad = True
    try:
        y.backward()
    except RuntimeError:
        return
    assert x.grad is None


def test_F06_each_node_is_visited_once():
    x = y = leaf(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_F07_two_losses_on_one_trunk_add_up():
    def losses():
        cell = random_cell("lstm")
        ys, _ = cell(normal(T, B, I))
        return cell, (ys * ys).sum(), ys.tanh().sum()

    cell, a, b = losses()
    a.backward(retain_graph=True)
    b.backward()
    apart = gradients(cell)
    cell, a, b = losses()
    (a + b).backward()
    for found, expected in zip(apart, gradients(cell), strict=True):
        close(found, expected, 1e-14)


def test_F08_cut_branches_are_not_visited():
    def never(g, y, x):
        raise AssertionError("visited")

    cut = tg.op.Op(lambda x: x * 2, [never])
    x = leaf([1.0])
    y = x * 3 + cut(x).detach() + cut(tg.tensor([1.0])) + tg.tensor([5.0])
    cut(x)
    y.backward()
    same(x.grad.data, np.array([3.0]))


def test_F10_an_exception_inside_leaves_gradients_alone():
    broken = tg.op.Op(lambda x: x * 2, [lambda g, y, x: 1 / 0])
    broken.name = "broken"
    x, w = leaf([1.0]), leaf([2.0])
    with tg.scope("layer3"):
        y = broken(x)
    with pytest.raises(ZeroDivisionError) as caught:
        (y * w).backward()
    note = caught.value.__notes__[0]
    assert "broken" in note and "layer3" in note
    assert x.grad is None and w.grad is None and mode.recording
    (x * w).backward()
    assert x.grad.item() == 2


def test_F11_anomalies_name_op_scope_and_line():
    here = Path(__file__).name
    with tg.detect_anomaly():
        with refused(RuntimeError, "NaN", "log", "gate", here), tg.scope("gate"):
            tg.log(leaf([-1.0]))
        with tg.scope("gate"):
            y = tg.sqrt(leaf([0.0])) * 0.0
        with refused(RuntimeError, "NaN in the gradient of sqrt", "gate", here):
            y.backward()
    with np.errstate(all="ignore"):
        assert np.isnan(tg.log(leaf([-1.0])).item())


@pytest.mark.parametrize("scanned", [False, True])
def test_F11_a_nan_in_the_data_is_named(scanned):
    """And not the op that it happens to come by; what is masked out is no matter."""
    x = tg.tensor([[1.0], [np.nan]], name="readings")
    w = leaf([2.0])

    def step(x, h):
        return h + x * w

    with tg.detect_anomaly():
        with refused(RuntimeError, "NaN in the gradient of", "came in by readings float64[2, 1]"):
            (((x - w) ** 2).mean()).backward()
        with refused(RuntimeError, "came in by readings"):
            run = tg.scan if scanned else tg.unroll
            run(step, np.zeros(1), x)[0].sum().backward()
        tg.mean_squared_error(x * 1, x, mask=[True, False])
        (tg.where(np.array([[True], [False]]), x, 0.0) * w).sum().backward()
        with refused(RuntimeError, "NaN in the gradient of sqrt") as _:
            (tg.sqrt(w * 0) * 0.0 + tg.where(np.array([[True], [False]]), x, 0.0)).sum().backward()
    same(w.grad.data, np.array([1.0]))


def test_F12_gradients_where_functions_end():
    x = leaf([-1.0, 0.0, 4.0])
    tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0).sum().backward()
    same(x.grad.data, np.array([0.0, 0.0, 0.25]))
    zero = leaf([0.0])
    assert np.isposinf(tg.grad(tg.sqrt(zero), zero).item())
    assert np.isnan((zero / zero).item()) and np.isnan(tg.grad(zero / zero, zero).item())
    for exponent, slope in ((0, 0.0), (1, 1.0), (2, 0.0)):
        assert tg.grad(zero**exponent, zero).item() == slope


CHOICES = {
    "abs": (tg.abs, [0.0, -0.0], [0.0, 0.0]),
    "relu": (tg.relu, [0.0, -0.0], [0.0, 0.0]),
    "max": (tg.max, [2.0, 2.0, 1.0], [0.5, 0.5, 0.0]),
    "min of three": (tg.min, [1.0, 1.0, 1.0], [1 / 3, 1 / 3, 1 / 3]),
    "clip": (lambda x: tg.clip(x, 0.0, 1.0), [0.0, 0.5, 1.0, 2.0], [0.5, 1.0, 0.5, 0.0]),
    "hard_tanh": (tg.hard_tanh, [-1.0, 1.0, 0.0], [0.5, 0.5, 1.0]),
    "hard_sigmoid": (tg.hard_sigmoid, [-2.5, 2.5, 0.0], [0.1, 0.1, 0.2]),
    "leaky_relu": (tg.leaky_relu, [0.0], [1.0]),
    "elu": (tg.elu, [0.0], [1.0]),
    "selu": (tg.selu, [0.0], [1.0507009873554805]),
    "remainder": (lambda x: x % 2.0, [4.0, 3.0], [1.0, 1.0]),
    "power 0": (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
    "power 2": (lambda x: x**2, [0.0, 2.0], [0.0, 4.0]),
    "sqrt": (tg.sqrt, [0.0, 4.0], [np.inf, 0.25]),
    "log": (tg.log, [0.0, 4.0], [np.inf, 0.25]),
    "log, then nothing": (lambda x: tg.log(x) * 0.0, [0.0, 1.0], [np.nan, 0.0]),
    "quotient": (lambda x: x / x, [0.0, 2.0], [np.nan, 0.0]),
    "std": (tg.std, [2.0, 2.0], [0.0, 0.0]),
    "norm": (tg.norm, [0.0, 0.0], [0.0, 0.0]),
    "prod": (tg.prod, [0.0, 3.0, 2.0], [6.0, 0.0, 0.0]),
    "prod of two": (tg.prod, [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]),
    "cumprod": (tg.cumprod, [2.0, 0.0, 3.0], [1.0, 8.0, 0.0]),
    "sort": (lambda x: tg.sort(x) * np.array([1.0, 10.0, 100.0]), [2.0, 2.0, 1.0], [10, 100, 1]),
    "l1_loss": (lambda x: tg.l1_loss(x, np.array([1.0, 5.0])), [1.0, 3.0], [0.0, -0.5]),
    "where": (lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), [0.0, 4.0], [np.nan, 0.25]),
    "safe where": (
        lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0),
        [-1.0, 0.0, 4.0], [0.0, 0.0, 0.25],
    ),
    "softmax": (
        lambda x: tg.softmax(x) * np.array([1.0, 2.0, 3.0]), [-np.inf, 0.0, 0.0], [0.0, -0.25, 0.25]
    ),
    "logsumexp": (tg.logsumexp, [-np.inf, 1.0], [0.0, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_F12_F13_gradients_where_there_is_a_choice_are_those_of_the_page(name):
    """Op by op and in a loop, where it has such an op."""
    f, values, expected = CHOICES[name]
    x = leaf(values)
    with np.errstate(all="ignore"):  # ∞ · 0
        np.testing.assert_allclose(tg.grad(f(x).sum(), x).data, expected, 1e-15)
    if name == "sort":
        return
    x = leaf([values])
    _, ys = tg.scan(lambda x, h: (h, f(x)), np.zeros(1), x)
    np.testing.assert_allclose(tg.grad(ys.sum(), x).data, [expected], 1e-15)


@pytest.mark.parametrize("f", [tg.std, tg.norm])
def test_F12_what_is_flat_at_zero_is_so_in_every_order(f):
    x = leaf([0.0, 0.0])
    slope = f(x)
    for _ in range(3):
        slope = tg.grad(slope.sum(), x, create_graph=True)
        same(slope.data, np.zeros(2))


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_F12_zero_to_a_power_is_constant_in_the_exponent(exponent):
    y = leaf(exponent)
    assert tg.grad(tg.power(0.0, y), y).item() == 0


def test_F13_ties_are_shared_and_kinks_are_flat():
    x, y = leaf([2.0, 2.0, 1.0]), leaf([2.0, 3.0, 1.0])
    for extreme in (tg.max, lambda x: -tg.min(-x)):
        same(tg.grad(extreme(x), x).data, np.array([0.5, 0.5, 0.0]))
    for f in (tg.maximum, tg.minimum):
        a, b = tg.grad(f(x, y).sum(), [x, y])
        same(a.data + b.data, np.ones(3))
        assert a.data[0] == b.data[0] == 0.5
    zero = leaf([0.0, -0.0])
    same(tg.grad(tg.relu(zero).sum(), zero).data, np.zeros(2))
    assert not tg.grad(tg.abs(zero).sum(), zero).data.any()


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def watched(*outputs):
    """Weak references to every computed tensor of a graph, and to what its loops keep."""
    computed = [y for y in history(outputs) if y.op is not None]
    runs = [y.attrs["run"] for y in computed if y.op.name == "scan"]
    return [weakref.ref(x) for x in [*computed, *runs]], len(runs)


def alive(references):
    return [x for x in (reference() for reference in references) if x is not None]


@pytest.mark.parametrize("checkpoint", [None, "sqrt"])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.compiled
def test_F14_P46_reference_counting_frees_a_graph(no_collector, unroll, checkpoint):
    cell, options = random_cell("lstm"), {"unroll": unroll, "checkpoint": checkpoint}
    ys, end = cell(normal(T, B, I), **options)
    loss = (ys * ys).sum() + end[1].sum()
    references, loops = watched(loss)
    assert loops == (not unroll) and len(references) > (50 if unroll else 6)
    assert len(alive(references)) == len(references)
    loss.backward()
    del ys, end, loss
    assert not alive(references)
    ys = cell(normal(T, B, I), **options)[0]  # never walked
    references, _ = watched(ys)
    del ys
    assert not alive(references)
    ys, _ = cell(normal(T, B, I), **options)
    slope = tg.grad((ys * ys).sum(), cell.Wh, create_graph=True)  # the steps one by one
    references, _ = watched(ys, slope)
    tg.grad((slope * slope).sum(), cell.Wh)
    del ys, slope
    assert not alive(references)


@pytest.mark.compiled
def test_F14_tensors_do_not_pile_up_over_training(no_collector):
    model = nn.LanguageModel(5, hidden=4, embedding=3, rng=0)
    optimizer = optim.Adam(model)
    counts = []
    text = np.arange(500) % 5
    updates = optim.truncated_bptt(model.loss, data.windows(text, 2, 5), optimizer, max_norm=1.0)
    for k, _ in enumerate(updates):
        if k in (5, 20, 45):
            counts.append(sum(type(x) is tg.Tensor for x in gc.get_objects()))  # isinstance would
            # look into the dead weak proxies that other tests' compiled functions leave behind
    assert len(counts) == 3 and len(set(counts)) == 1


def test_F15_switches_are_put_back_after_an_exception():
    @tg.no_grad()
    def fail(depth):
        assert not mode.recording
        return fail(depth - 1) if depth else 1 / 0

    for switch in (tg.no_grad(), recording(False)):
        with pytest.raises(ZeroDivisionError), switch:
            raise ZeroDivisionError
        assert mode.recording
    with pytest.raises(ZeroDivisionError):
        fail(3)
    assert mode.recording
    with tg.no_grad(), recording(True):
        assert mode.recording


def test_F15_blocks_of_every_kind_are_put_back():
    before = dict(vars(mode))
    for block in (tg.detect_anomaly, tg.no_grad, lambda: tg.scope("a"), lambda: recording(False)):
        with pytest.raises(ZeroDivisionError), tg.scope("b"), block(), tg.scope("c"), block():
            raise ZeroDivisionError
        assert vars(mode) == before


def test_F16_a_generator_that_is_left_inside_a_block_leaves_it_on():
    """The page says not to; a loss says what is wrong, and all is put back when it ends."""

    def numbers():
        with tg.no_grad():
            yield 1.0

    x, given = leaf([1.0]), numbers()
    loss = x * next(given)
    with refused(RuntimeError, "does not require gradients", "no_grad"):
        loss.backward()
    given.close()
    (x * 1.0).backward()
    assert x.grad.item() == 1.0 and mode.recording and not mode.before
    with refused(TypeError, "numbers is a generator", "inside it"):
        tg.no_grad()(numbers)
    page = Path(__file__).parent.parent / "docs/conventions.md"
    assert "A generator or coroutine must not be left" in page.read_text("utf-8")


def test_F15_each_thread_has_its_own_switch():
    found = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: found.append(mode.recording))
        thread.start()
        thread.join()
    assert found == [True]


# -- G. numerics ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_G01_extremes_neither_overflow_nor_warn(dtype):
    ends = np.array([-1e5, -1000, 1000, 1e5], dtype)
    for f, value, slope in [
        (tg.sigmoid, [0, 0, 1, 1], [0, 0, 0, 0]),
        (tg.tanh, [-1, -1, 1, 1], [0, 0, 0, 0]),
        (tg.softplus, [0, 0, 1000, 1e5], [0, 0, 1, 1]),
        (lambda x: -tg.softplus(-x), [-1e5, -1000, 0, 0], [1, 1, 0, 0]),
        (tg.exp, [0, 0, np.inf, np.inf], [0, 0, np.inf, np.inf]),
    ]:
        found, pulled = value_and_pull(f, [ends])
        same(np.abs(found), np.abs(np.array(value, dtype)))
        same(np.abs(pulled[0]), np.array(slope, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_G01_softmax_and_cross_entropy_at_extremes(dtype):
    logits = np.array([[1e5, 0, -1e5], [0, 0, 0]], dtype)
    p = np.array([[1, 0, 0], [1 / 3] * 3], dtype)
    close(tg.softmax(logits), p, 1e-6)
    close(tg.log_softmax(logits)[0], np.array([0, -1e5, -2e5]), 1e-6)
    close(tg.logsumexp(logits), np.array([1e5, np.log(3)]), 1e-6)
    losses, pulled = value_and_pull(
        lambda x: tg.cross_entropy(x, [2, 0], reduction="none"), [logits]
    )
    close(losses, np.array([2e5, np.log(3)]), 1e-6)
    close(pulled[0], p - np.array([[0, 0, 1], [1, 0, 0]]), 1e-6)


def test_G02_masked_classes_have_no_probability_and_no_gradient():
    close(tg.softmax(tg.tensor([1e300, 1e300])), np.array([0.5, 0.5]))
    x = leaf([[0.0, -np.inf, 0.0]])
    same(tg.softmax(x).data, np.array([[0.5, 0.0, 0.5]]))
    for loss in (tg.cross_entropy(x, [0]), tg.softmax(x)[0, 0], tg.logsumexp(x)):
        gradient = tg.grad(loss, x).data
        assert gradient[0, 1] == 0 and np.isfinite(gradient).all()
    nothing = tg.tensor([-np.inf, -np.inf])
    assert np.isnan(tg.softmax(nothing).data).all() and np.isneginf(tg.logsumexp(nothing).item())


ONE_ARGUMENT = [tg.relu, tg.abs, tg.sign, tg.exp, tg.log, tg.sqrt, tg.tanh, tg.sigmoid, tg.softplus]


@pytest.mark.parametrize("f", ONE_ARGUMENT, ids=lambda f: f.name)
def test_G03_nan_stays_nan_and_infinities_are_limits(f):
    assert np.isnan(f(tg.tensor([1.0, np.nan])).data).tolist() == [False, True]
    limits = {"sigmoid": (0, 1), "tanh": (-1, 1), "exp": (0, np.inf), "softplus": (0, np.inf)}
    limits |= {"relu": (0, np.inf), "abs": (np.inf, np.inf), "sign": (-1, 1)}
    if f.name in limits:
        assert f(tg.tensor([-np.inf, np.inf])).data.tolist() == list(limits[f.name])


def test_G03_nan_survives_choices_and_sums():
    x = tg.tensor([[1.0, np.nan], [3.0, 4.0]])
    for f in (tg.max, tg.min, tg.sum, tg.mean, tg.softmax, tg.log_softmax, tg.logsumexp):
        found = np.isnan(f(x, axis=-1).data).reshape(2, -1).any(axis=1)
        assert found.tolist() == [True, False]
    for f in (tg.maximum, tg.minimum, tg.mul):
        assert np.isnan(f(x, 0.0).data[0, 1]) and np.isnan(f(2.0, x).data[0, 1])
    assert np.isnan((x @ np.zeros((2, 1))).data).ravel().tolist() == [True, False]
    cell = random_cell("relu")
    xs = np.ones((T, B, I))
    xs[2, 1, 0] = np.nan
    assert np.isnan(cell(xs)[0].data).any(axis=-1).tolist() == [
        [False, t >= 2, False] for t in range(T)
    ]


@pytest.mark.compiled
def test_G03_nan_and_infinity_pass_through_a_compiled_loop():
    """By the rows that have them alone, and by the choices that a fast compiler may get wrong."""
    xs = np.ones((4, 4))
    xs[1] = [np.nan, np.inf, -np.inf, 1]

    def step(x, h):
        h = h + x
        return h, tg.relu(h), tg.maximum(h, 0.0), tg.minimum(0.0, h), tg.where(h > 2, h, -h)

    found = [tg.scan(step, np.zeros(4), xs, unroll=unroll) for unroll in (False, True)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert np.isnan(found[0][1].data[1:, 0]).all() and np.isinf(found[0][2].data[1:, 1]).all()
    assert np.isfinite(found[0][0].data[:, 3]).all()


def test_G04_denormals_are_numbers():
    tiny = 5e-324
    x = tg.tensor([tiny, -tiny])
    for f in (tg.tanh, tg.relu, lambda x: x * 1.0, lambda x: x @ np.eye(2)):
        same(np.abs(f(x).data), np.array([tiny, tiny if f is not tg.relu else 0.0]))
    assert 0 < tg.exp(tg.tensor(-745.0)).item() < 1e-323
    assert np.float64(tiny) * 1.0 == tiny


def test_G05_long_float32_sums_keep_their_digits():
    tenth = np.float64(np.float32(0.1))
    long = np.full(10**6, 0.1, np.float32)
    for shape in ((10**6,), (10**4, 100), (100, 10**4)):
        x = tg.tensor(long.reshape(shape))
        assert abs(x.sum().item() / (tenth * 1e6) - 1) < 1e-5
        assert abs(x.mean().item() / tenth - 1) < 1e-5
        assert np.abs(x.mean(0).data / tenth - 1).max() < 1e-5
    b = leaf(np.zeros(100), np.float32)
    (tg.tensor(long.reshape(10**4, 100)) * b).sum().backward()
    assert np.abs(b.grad.data / (tenth * 1e4) - 1).max() < 1e-5


def test_G05_a_gradient_summed_over_ten_thousand_steps_keeps_its_digits():
    b = leaf(np.zeros(2), np.float32)
    xs = np.full((10**4, 2), 0.1, np.float32)
    path, *_ = tg.unroll(lambda x, h: 0.5 * h + b * x, [tg.tensor(np.zeros(2, np.float32))], xs)
    path.sum().backward()
    exact = 2 * np.float64(np.float32(0.1)) * (10**4 - 1)
    assert np.abs(b.grad.data / exact - 1).max() < 1e-5


@pytest.mark.compiled
def test_G05_a_compiled_loop_keeps_its_digits_over_two_hundred_thousand_rows():
    xs = np.random.default_rng(0).normal(size=(2000, 100, 2)).astype(np.float32)
    grads = []
    for dtype in (np.float32, np.float64):
        cell = nn.LSTM(2, 3, dtype=dtype, rng=0)
        cell(xs.astype(dtype))[0].mean().backward()
        grads.append(gradients(cell))
    for found, exact in zip(*grads, strict=True):
        assert np.abs(found - exact).max() < 3e-5 * np.abs(exact).max()


def of_a_million_rows():
    """The slopes of a mean of a million equal numbers: nothing averages out, all round alike."""
    cell = nn.RNN(1, 1, activation="identity", rng=0)
    cell.Wh.data, cell.Wx.data = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    cell(np.full((10**4, 100, 1), 0.1, np.float32))[0].mean().backward()
    return cell.Wx.grad.item() / np.float64(np.float32(0.1)), cell.b.grad.item()


@pytest.mark.compiled
def test_G05_a_product_adds_up_a_million_equal_terms_block_by_block():
    """On one thread all rows are one sum, on two they are two, with half as many terms."""
    x, g = (np.full((10**6, n), 1e-3, np.float32) for n in (3, 20))
    exact, before = 1e6 * np.float64(np.float32(1e-3)) ** 2, tg.get_num_threads()
    assert np.abs((tg.tensor(x).T @ g).data / exact - 1).max() < 2e-5
    try:
        for threads in (1, 2):
            tg.set_num_threads(threads)
            assert abs(of_a_million_rows()[0] - 1) < 4e-5 / threads
    finally:
        tg.set_num_threads(before)


@pytest.mark.compiled
def test_G05_the_gradient_of_a_bias_keeps_its_digits_over_a_million_equal_rows():
    assert abs(of_a_million_rows()[1] - 1) < 1e-5


@pytest.mark.compiled
@pytest.mark.parametrize("threads, steps", [(1, 10**4), (2, 10**4), (2, 4)])
def test_G05_what_a_loop_adds_up_number_by_number_keeps_its_digits(threads, steps):
    """A gain, a number, and one gain for each row: a million times, in many steps or in few."""
    before, count = tg.get_num_threads(), 10**6 // steps
    xs = np.full((steps, count, 2), 0.1, np.float32)
    gain, scale, rows = (leaf(np.zeros(n), np.float32) for n in (2, (), (count, 2)))
    step = lambda x, h: 0 * h + gain * x + scale * x + rows * x
    tg.set_num_threads(threads)
    try:
        (ys,) = tg.scan(step, np.zeros((count, 2), np.float32), xs)
        assert "run" in ys.inputs[0].attrs
        ys.sum().backward()
    finally:
        tg.set_num_threads(before)
    exact = 1e6 * np.float64(xs[0, 0, 0])
    for x, times in (gain, 1), (scale, 2), (rows, 1 / count):
        assert x.grad.dtype == np.float32
        assert np.abs(x.grad.data / (times * exact) - 1).max() < (1e-5 if steps > 4 else 2e-7)


@pytest.mark.compiled
def test_G05_sums_in_a_step_keep_their_digits_over_every_axis():
    """In float64, as outside of loops; and the loop is one of float32 all the same."""
    tenth, n = np.float64(np.float32(0.1)), 100_000
    xs, ones = np.full((1, 2, n, 2), 0.1, np.float32), np.ones((1, 2, 2, n), np.float32)
    h = leaf(np.ones((2, 1, 2)), np.float32)

    def step(x, one, h):
        (inner,) = tg.scan(lambda s: (x * s).sum(axis=1, keepdims=True), h, None, length=1)
        y = x * h  # whose gradient by h is a sum over the middle axis
        return h, y, y.sum(axis=1), y.sum(axis=(0, 1)), one @ x, inner[0]

    out = tg.scan(step, h, (xs, ones))
    _, y, middle, two, product, inner = out
    assert y.inputs[0].attrs["run"].source.count("flush_denormals()") == 2
    y.sum().backward()
    exact = (middle, 1), (two, 2), (product, 1), (inner, 1), (h.grad, 1)
    for found, times in exact:
        assert np.abs(found.data / (times * n * tenth) - 1).max() < 2e-7


@pytest.mark.compiled
def test_G06_rows_beyond_two_thousand_million_elements(tmp_path):
    """Of a table on disk of which only a few pages are read, by a loop and by an op."""
    rows = 2**31 // 3 + 5
    table = np.memmap(tmp_path / "table", np.float32, "w+", shape=(rows, 3))
    table[-1], table[2] = [1, 2, 3], [10, 20, 30]
    far, w = owned(np.asarray(table)), leaf(1.0, np.float32)
    index = np.array([rows - 1, 2, 0, rows - 1])
    (ys,) = tg.scan(lambda k, h: h + far[k] * w, np.zeros(3, np.float32), index)
    assert "run" in ys.inputs[0].attrs
    same(ys[-1], np.array([12, 24, 36], np.float32))
    ys[-1].sum().backward()
    assert w.grad.item() == 72
    same(tg.embedding(far, index)[0], np.array([1, 2, 3], np.float32))
    flags = owned(np.asarray(np.memmap(tmp_path / "flags", np.int8, "w+", shape=2**31 + 9)))
    assert not flags[[0, 2**31 + 7]].data.any() and flags[2**31 + 7 :].shape == (2,)


def test_G07_clipping_when_there_is_little_to_clip():
    x, y = leaf([3.0, 4.0]), leaf([0.0])
    assert optim.clip_grad_norm([], 1.0) == optim.clip_grad_norm([x, y], 1.0) == 0.0
    x.grad, y.grad = [0.0, 0.0], None
    assert optim.clip_grad_norm([x, y], 1.0) == 0.0
    x.grad = [3.0, 4.0]
    assert optim.clip_grad_norm((p for p in (x, y)), 10.0) == 5.0
    same(x.grad.data, np.array([3.0, 4.0]))
    assert optim.clip_grad_norm([x, y], 2.5) == 5.0
    close(x.grad, np.array([1.5, 2.0]))
    assert optim.clip_grad_norm([x], 2.5) == pytest.approx(2.5) and y.grad is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_G07_a_gradient_that_is_no_number_is_signalled(bad):
    x, y = leaf([1.0]), leaf([2.0])
    x.grad, y.grad = [bad], [5.0]
    norm = optim.clip_grad_norm([x, y], 1.0)
    assert not np.isfinite(norm) and y.grad.item() == 5.0
    with refused(RuntimeError, "norm", norm, "detect_anomaly"):
        optim.clip_grad_norm([x, y], 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_G07_the_norm_of_extreme_gradients(scale):
    x = leaf([3.0, 4.0])
    x.grad = np.array([3.0, 4.0]) * scale
    with np.errstate(all="raise"):
        assert optim.clip_grad_norm([x], scale) == pytest.approx(5 * scale)
    close(x.grad.data / scale, np.array([0.6, 0.8]))


@pytest.mark.parametrize("wrong", [0, -1.0, np.nan])
def test_G07_a_norm_to_clip_to_is_positive(wrong):
    with refused(ValueError, "max_norm", "(0, inf]", wrong):
        optim.clip_grad_norm([], wrong)


def test_G07_one_tensor_is_not_a_list_of_parameters():
    x = leaf([3.0, 4.0])
    x.grad = [3.0, 4.0]
    with refused(TypeError, "clip_grad_norm", "parameters", "expected"):
        optim.clip_grad_norm(x, 1.0)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda x: optim.SGD(x, -0.1), "lr"),
        (lambda x: optim.SGD(x, np.nan), "lr"),
        (lambda x: optim.SGD(x, np.inf), "lr"),
        (lambda x: optim.SGD(x, 0.1, momentum=2), "momentum"),
        (lambda x: optim.SGD(x, 0.1, momentum=1), "momentum"),
        (lambda x: optim.SGD(x, 0.1, weight_decay=-1), "weight_decay"),
        (lambda x: optim.RMSprop(x, decay=1.0), "decay"),
        (lambda x: optim.RMSprop(x, eps=0.0), "eps"),
        (lambda x: optim.Adam(x, betas=(1.0, 0.9)), "betas"),
        (lambda x: optim.Adam(x, betas=(0.9, -0.1)), "betas"),
        (lambda x: optim.Adam(x, eps=np.nan), "eps"),
        (lambda x: optim.AdamW(x, weight_decay=np.inf), "weight_decay"),
        (lambda x: optim.Adam(x, betas=(0.9,)), "betas"),
        (lambda x: optim.Adam(x, betas=(0.9, 0.9, 0.9)), "betas"),
    ],
)
def test_G08_hyper_parameters_out_of_range(make, name):
    with refused(ValueError, name, "expected", "got"):
        make([leaf([1.0])])


@pytest.mark.parametrize("wrong", ["a", None, [0.1]])
def test_G08_hyper_parameters_are_numbers(wrong):
    with refused(TypeError, "Adam", "lr", "expected a number"):
        optim.Adam([leaf([1.0])], lr=wrong)
    with refused(TypeError, "Dropout", "p", "expected a probability"):
        nn.Dropout(wrong)


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
def test_G09_dropout_has_a_probability(p):
    with refused(ValueError, "p", "expected a probability in [0, 1]", p):
        nn.Dropout(p)


def test_G09_P64_dropout_of_none_and_of_all():
    x = leaf(normal(3, 4))
    assert nn.Dropout(0.0)(x) is x
    y = nn.Dropout(1.0)(x)
    y.sum().backward()
    assert not y.data.any() and not x.grad.data.any()
    assert nn.Dropout(1.0).eval()(x) is x


def test_G10_a_loss_of_which_nothing_counts_is_zero():
    logits = leaf(normal(2, 3))
    for reduction in ("mean", "sum"):
        loss = tg.cross_entropy(logits, [-100, -100], reduction=reduction)
        assert loss.item() == 0
        same(tg.grad(loss, logits).data, np.zeros((2, 3)))
    half = tg.cross_entropy(logits, [1, -100])
    close(half, tg.cross_entropy(logits[:1], [1]))
    close(half, tg.cross_entropy(logits, [1, 0], ignore_index=0))


def test_G11_training_under_a_strict_numpy():
    with np.errstate(all="raise"):
        model = nn.LanguageModel(5, hidden=4, embedding=3, rng=0)
        loss, _ = model.loss(np.zeros((3, 2), int), np.ones((3, 2), int))
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1e-3)
        optim.Adam(model).step()
        for f in (tg.sigmoid, tg.tanh, tg.softplus, tg.exp, tg.softmax, tg.log_softmax):
            f(tg.tensor([-1000.0, 0.0, 1000.0]))
        assert np.geterr()["over"] == "raise"


# -- H. depth and size ------------------------------------------------------------------------


def test_H01_H02_a_hundred_thousand_steps():
    x = y = leaf([1.0, 2.0])
    for _ in range(50_000):
        y = (y * 1.0) + 0.0
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with refused(RuntimeError, "history", "leaves", "detach()"):
            copied(y)
    assert len(repr(y)) < 100
    y.sum().backward(retain_graph=True)
    same(x.grad.data, np.ones(2))
    del y


def test_H02_leaves_are_copied_and_pickled():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="W")
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y is not x and y.requires_grad and y.name == "W"
        same(y.data, x.data)
        y.data = [3.0, 4.0]
        with refused(ValueError, "read-only"):
            y.data[0] = 1
    same(x.data, np.array([1.0, 2.0]))


def test_H03_weak_references_to_tensors():
    x = leaf([1.0, 2.0])
    y = x * 2
    references, known = [weakref.ref(x), weakref.ref(y)], weakref.WeakValueDictionary(x=x, y=y)
    assert references[0]() is x and references[1]() is y and known["y"] is y
    del x, y
    assert references[0]() is references[1]() is None and not known
    z = leaf([1.0, 2.0])
    with refused(TypeError, "truth value"):  # it compares keys that it finds
        weakref.WeakKeyDictionary({z: "z"})[z]


def test_H03_what_has_a_past_is_not_pickled():
    y = leaf([1.0, 2.0]) * 2
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with refused(RuntimeError, "mul", "only leaves", "x.detach()"):
            copied(y)
    with refused(RuntimeError, "only leaves"):
        pickle.dumps({"state": [y]})
    assert pickle.loads(pickle.dumps(y.detach())).data.tolist() == [2.0, 4.0]


def test_H03_a_leaf_is_pickled_without_its_hooks():
    x, seen = leaf([1.0, 2.0]), []
    x.register_hook(lambda g: seen.append(g))
    for twin in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        (twin * 2).sum().backward()
        same(twin.grad, np.full(2, 2.0))
    assert not seen
    (x * 2).sum().backward()
    assert len(seen) == 1


def test_H05_too_much_memory_leaves_everything_as_it_was():
    x = leaf([1.0])
    with refused(MemoryError, "iB"):
        tg.broadcast_to(x, (10**14,)) + 1.0
    (x * x).backward()
    assert x.grad.item() == 2 and mode.recording


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_H05_K01_a_step_that_fails_half_way_changes_nothing(error):
    class Fragile(optim.SGD):
        def update(self, x, g, memory):
            if x.shape == (3,):
                raise error
            return super().update(x, g, memory)

    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0, 3.0])
    optimizer = Fragile([a, b], lr=0.1, momentum=0.9)
    a.grad, b.grad = np.ones(2), np.ones(3)
    with pytest.raises(error):
        optimizer.step()
    same(a.data, np.array([1.0, 2.0]))
    assert optimizer.memory == {"0": {}, "1": {}} and optimizer.steps == 0


def test_H05_with_little_memory_nothing_is_half_done():
    """A process that may take half a gigabyte more, and asks for more."""
    code = """
    import resource
    import numpy as np, tinygrad_rnn as tg
    cell = tg.nn.GRU(64, 8, rng=0)
    optimizer = tg.optim.Adam(cell)
    small = np.ones((5, 2, 64), np.float32)
    def step():
        cell(small)[0].sum().backward(); optimizer.step(); optimizer.zero_grad()
    step()
    before, huge = cell.state_dict(), np.broadcast_to(np.float32(1), (60_000, 40, 64))
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
    takers = [
        lambda: cell(huge),
        lambda: tg.tensor(huge) * 2.0,
        lambda: tg.scan(lambda x, h: h + x, np.zeros((40, 64), np.float32), huge),
        lambda: tg.nn.Linear(40_000, 10_000),
    ]
    for take in takers:
        try:
            take()
        except MemoryError as error:
            assert "iB" in str(error), error
        else:
            raise AssertionError("there was room")
    assert all((before[name] == x).all() for name, x in cell.state_dict().items())
    step()
    assert optimizer.steps == 2 and (cell.Wx.data != before["Wx"]).any()
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is limited as Linux does it")
    run = [sys.executable, "-c", textwrap.dedent(code)]
    child = subprocess.run(run, capture_output=True, text=True, timeout=200)
    assert child.returncode == 0, child.stderr


def test_H06_a_very_wide_graph():
    xs = [leaf(1.0) for _ in range(100_000)]
    total = tg.stack(xs).sum()
    for x in xs:
        total = total + x
    total.backward()
    assert total.item() == 200_000 and all(x.grad.item() == 2 for x in xs)


def test_H07_a_picture_of_too_much_is_an_excerpt_or_refused():
    x = y = z = leaf([1.0, 2.0])
    for t in range(4000):
        y = y + x
        with tg.scope(f"t={t}"):
            z = tg.tanh(z * x)
    with refused(ValueError, "draw", "at least 4000 nodes", "3000", "tg.scope"):
        tg.draw(y)
    excerpt = tg.draw(z)
    assert excerpt.nodes < 100 and excerpt.hidden_steps > 3900 and len(excerpt.svg) < 10**5


# -- I. threads and reentrance ----------------------------------------------------------------


def run_together(*jobs):
    """Run each job on a thread of its own, all at once; what they return, in order."""
    found = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(k):
        start.wait(10)
        found[k] = jobs[k]()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.compiled
def test_I01_threads_do_not_meet():
    def job(seed):
        cell = random_cell("lstm", seed=seed)
        for _ in range(5):
            with tg.scope(f"thread{seed}"):
                ys, _ = cell(normal(T, B, I, seed=seed))
            (ys * ys).sum().backward()
            with tg.no_grad():
                cell(normal(T, B, I, seed=seed))
        return gradients(cell), ys.scope

    alone = [job(seed) for seed in range(3)]
    for found, expected in zip(run_together(*[lambda s=s: job(s) for s in range(3)]), alone):  # noqa: B905
        assert found[1] == expected[1]
        for a, b in zip(found[0], expected[0], strict=True):
            same(a, b)


@pytest.mark.compiled
def test_I02_threads_that_share_parameters_add_what_grad_gives_them():
    """`.grad` of one parameter is for one thread, as the conventions say; `tg.grad` is for all."""
    cell = random_cell("lstm", seed=0)

    def job(seed):
        found = []
        for _ in range(5):
            ys, _ = cell(normal(T, B, I, seed=seed))
            found.append([g.data for g in tg.grad((ys * ys).sum(), list(cell.parameters()))])
        return found

    alone = [job(seed)[0] for seed in range(3)]
    for found, expected in zip(run_together(*[lambda s=s: job(s) for s in range(3)]), alone):  # noqa: B905
        for one in found:
            for a, b in zip(one, expected, strict=True):
                same(a, b)
    assert all(x.grad is None for x in cell.parameters())
    text = (Path(__file__).parents[1] / "docs/conventions.md").read_text("utf-8")
    assert "Gradients of two threads into the same parameters are not safe" in text


def test_I01_one_decorated_function_on_two_threads():
    """A leaves while B, who came with recording off, is inside: each gets back what it had."""
    a_inside, b_inside, a_left = (threading.Event() for _ in range(3))

    @tg.no_grad()
    def predict(mine, others):
        mine.set()
        assert others.wait(10)

    def a():
        predict(a_inside, b_inside)
        on = mode.recording
        a_left.set()
        return on

    def b():
        with tg.no_grad():
            assert a_inside.wait(10)
            predict(b_inside, a_left)
            on = mode.recording
        return on, mode.recording

    assert run_together(a, b) == [True, (False, True)]


def test_I01_a_scope_used_within_itself_is_put_back():
    def job():
        part = tg.scope("part")
        with part, part:
            inner = tg.tensor(1.0).scope
        return inner, tg.tensor(1.0).scope

    assert run_together(job) == [("part/part", "")]


def test_I06_a_derivative_may_walk_another_graph():
    def pull(g, y, x):
        with recording(True):
            z = leaf(x)
            return g * tg.grad((z * z * z).sum(), z).data

    cube = tg.op.Op(lambda x: x**3, [pull])
    x = leaf([1.0, 2.0])
    cube(x).sum().backward()
    same(x.grad.data, 3 * x.data**2)
    assert mode.recording


# -- K. training and data ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, kind, words",
    [
        ([], ValueError, ["got none", "generator"]),
        (iter(()), ValueError, ["got none", "generator"]),
        ([tg.tensor([1.0])], TypeError, ["'0'", "requires_grad=True", "float64[1]"]),
        ([leaf([1.0]) * 2], TypeError, ["'0'", "leaf", "mul"]),
        ({"W": np.ones(2)}, TypeError, ["'W'", "leaf", "ndarray"]),
        ([leaf([1.0])] * 2, ValueError, ["twice"]),
        (leaf([1.0]), TypeError, ["expected a module or a list", "one tensor"]),
    ],
)
def test_K02_what_an_optimizer_cannot_train(parameters, kind, words):
    with refused(kind, "SGD", "parameter", *words):
        optim.SGD(parameters, lr=0.1)


def test_K02_a_generator_is_read_once_and_kept():
    xs = [leaf([1.0]), leaf([2.0])]
    optimizer = optim.SGD((x for x in xs), lr=1.0)
    for _ in range(2):
        for x in xs:
            x.grad = [0.5]
        optimizer.step()
    assert [x.item() for x in xs] == [0.0, 1.0]


OPTIMIZERS = {
    "sgd": lambda xs, lr=0.1: optim.SGD(xs, lr),
    "decayed": lambda xs, lr=0.1: optim.SGD(xs, lr, momentum=0.9, weight_decay=0.1),
    "rmsprop": lambda xs, lr=0.1: optim.RMSprop(xs, lr),
    "adam": lambda xs, lr=0.1: optim.Adam(xs, lr),
    "adamw": lambda xs, lr=0.1: optim.AdamW(xs, lr, weight_decay=0.1),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def interrupted(call, line):
    """Call with Ctrl-C before the n-th line that the library runs; return whether it came to that.

    Where a debugger or the measurement of coverage traces, it goes on afterwards.
    """
    left = itertools.count(line, -1)

    def trace(frame, event, _):
        if event == "line" and "tinygrad_rnn" in frame.f_globals["__name__"] and not next(left):
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def of_all(owner, xs):
    """All bits of parameters and of what an optimizer remembers."""
    return [x.data.tobytes() for x in xs], {k: x.tobytes() for k, x in owner.state_dict().items()}


@optimizers
def test_K01_an_interrupt_anywhere_in_a_step_leaves_all_as_before_or_all_as_after(make):
    def begun():
        xs = [leaf([1.0, 2.0]), leaf([3.0])]
        optimizer = make(xs)
        trained(xs, optimizer, 1)
        for x in xs:
            x.grad = np.full(x.shape, 0.5)
        return xs, optimizer

    xs, optimizer = begun()
    before = of_all(optimizer, xs)
    optimizer.step()
    after, seen = of_all(optimizer, xs), []
    for line in itertools.count():
        xs, optimizer = begun()
        if not interrupted(optimizer.step, line):
            break
        seen.append([before, after].index(of_all(optimizer, xs)))
    assert seen == sorted(seen) and {*seen} == {0, 1}


def test_J05_K01_an_interrupt_while_loading_leaves_all_as_before_or_all_as_after():
    model = lambda rng: nn.Recurrent(nn.RNN(1, 2, rng=rng), nn.RNN(2, 2, rng=rng))
    saved, seen = model(1).state_dict(), []
    ends = [of_all(m, m.parameters()) for m in (model(0), model(1))]
    for line in itertools.count():
        loaded = model(0)
        if not interrupted(lambda: loaded.load_state_dict(saved), line):  # noqa: B023
            break
        seen.append(ends.index(of_all(loaded, loaded.parameters())))
    assert {*seen} == {0, 1}


def test_J05_memory_that_runs_out_while_loading_leaves_all_as_it_was(monkeypatch):
    model = nn.RNN(2, 3, rng=0)
    before, saved, left = of_all(model, model.parameters()), nn.RNN(2, 3, rng=1).state_dict(), [2]
    real = np.array

    def array(*given, **how):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        return real(*given, **how)

    monkeypatch.setattr(nn.module.np, "array", array)
    with pytest.raises(MemoryError):
        model.load_state_dict(saved)
    monkeypatch.undo()
    assert of_all(model, model.parameters()) == before


@optimizers
def test_K03_a_parameter_without_a_gradient_is_left_alone(make):
    x, y = leaf([1.0, 2.0]), leaf([3.0])
    optimizer = make([x, y])
    y.grad = [1.0]
    optimizer.step()
    same(x.data, np.array([1.0, 2.0]))
    assert optimizer.memory["0"] == {}
    moved, memory = y.item(), dict(optimizer.memory["1"])
    y.grad, x.grad = None, [1.0, 1.0]
    optimizer.step()
    assert y.item() == moved != 3.0 and x.data[0] != 1.0
    assert all(optimizer.memory["1"][kind] is array for kind, array in memory.items())


def test_K04_gradients_add_up_until_they_are_forgotten():
    layer = nn.Linear(2, 1, dtype=np.float64, rng=0)
    for _ in range(3):
        layer(np.ones((1, 2))).sum().backward()
    same(layer.W.grad.data, np.full((2, 1), 3.0))
    layer.zero_grad()
    assert layer.W.grad is None
    layer(np.ones((1, 2))).sum().backward()
    optim.SGD(layer, lr=0.1).zero_grad()
    assert layer.W.grad is None


def test_K05_a_learning_rate_over_time():
    rate = lambda step, **k: optim.cosine(step, peak=2.0, total=10, **k)
    assert rate(0) == 2.0 and rate(5) == pytest.approx(1.0) and rate(10) == 0.0
    assert [rate(s, warmup=4) for s in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    for warmup in (0, 4, 10):
        assert rate(10, warmup=warmup, floor=0.1) == rate(11, warmup=warmup, floor=0.1) == 0.1
    for step, total, warmup in [(-1, 10, 0), (0, 0, 0), (0, 10, 11), (0, 10, -1)]:
        with refused(ValueError, "cosine", "expected", f"total={total}", f"step={step}"):
            optim.cosine(step, peak=1.0, total=total, warmup=warmup)


def test_K06_windows_cover_the_text_once_in_order():
    text = np.arange(30)
    for length in (1, 5, 14, 100):
        pieces = list(data.windows(text, 2, length))
        assert all(len(x) == length for x, _ in pieces[:-1])
        xs, ys = (np.concatenate(part) for part in zip(*pieces, strict=True))
        same(xs, np.stack([text[:14], text[14:28]], axis=1))
        same(ys, xs + 1)
    later = list(data.windows(text, 2, 5, start=1))
    same(later[0][0], list(data.windows(text, 2, 5))[1][0])


def test_K06_a_text_too_short_or_a_window_of_nothing():
    with refused(data.TextError, "too short", "3 characters", "4 streams", "5 would"):
        data.streams(np.arange(3), 4)
    with refused(ValueError, "batch", "at least 1", "got 0"):
        data.streams(np.arange(3), 0)
    with refused(ValueError, "length", "at least 1", "got 0"):
        data.windows(np.arange(30), 4, 0)
    with refused(ValueError, "prompt", "at least one symbol"):
        nn.LanguageModel(3, hidden=2).sample([], 3)


def test_K06_a_state_of_another_batch_is_refused():
    model = nn.LanguageModel(5, hidden=4, embedding=3, rng=0)
    _, state = model(np.zeros((T, 2), int))
    with refused(ValueError, "state", "(3, 4)", "(2, 4)"):
        model(np.zeros((T, 3), int), state)


def test_K07_a_state_carried_with_its_history_says_so():
    model = nn.LanguageModel(5, hidden=4, embedding=3, rng=0)
    index = np.zeros((T, 2), int)
    loss, state = model.loss(index, index)
    loss.backward()
    with refused(RuntimeError, "carried", "detach()"):
        model.loss(index, index, state)[0].backward()
    model.loss(index, index, tg.detach(state))[0].backward()


def test_K07_truncated_backpropagation_carries_no_history():
    model = nn.LanguageModel(5, hidden=4, embedding=3, rng=0)
    updates = optim.truncated_bptt(
        model.loss, data.windows(np.arange(60) % 5, 2, 5), optim.SGD(model, lr=0.1)
    )
    for update in updates:
        for state in update.state:
            assert all(len(history([s])) == 1 and not s.requires_grad for s in state)


def test_K08_use_is_deterministic_and_reaches_every_part():
    model = nn.LanguageModel(5, hidden=4, embedding=3, layers=2, dropout=0.5, rng=0)
    index = np.arange(10).reshape(T, 2) % 5
    assert not np.array_equal(model(index)[0].data, model(index)[0].data)
    assert model.eval() is model and not any(m.training for m in model.modules())
    same(model(index)[0].data, model(index)[0].data)
    assert all(m.training for m in model.train().modules())


@pytest.mark.compiled
def test_K09_P60_the_same_seed_gives_the_same_bits():
    def run(seed):
        model = nn.LanguageModel(5, cell="gru", hidden=4, embedding=3, dropout=0.3, rng=seed)
        optimizer = optim.Adam(model, lr=0.01)
        text = np.arange(80) % 5
        losses = [
            u.loss for u in optim.truncated_bptt(model.loss, data.windows(text, 2, 8), optimizer)
        ]
        return losses, list(model.sample([1], 10, rng=seed)), model.state_dict()

    before = np.random.get_state()
    first, second, other = run(3), run(3), run(4)
    generator = run(np.random.default_rng(3))
    after = np.random.get_state()
    assert first[:2] == second[:2] and first[0] == generator[0] and first[0] != other[0]
    for name, array in first[2].items():
        same(second[2][name], array)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_K09_seeds_that_are_none():
    assert not np.array_equal(nn.Linear(2, 2).W.data, nn.Linear(2, 2).W.data)
    assert nn.Linear(2, 2, rng=10**40).W.shape == (2, 2)
    for seed in (-1, 1.5, "a"):
        with pytest.raises((ValueError, TypeError)):
            nn.Linear(2, 2, rng=seed)


def module(**parts):
    made = nn.Module()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def test_K10_parameters_are_found_by_path_in_order():
    tied = leaf([3.0])
    inner = module(w=leaf([1.0]), tied=tied)
    outer = module(
        b=leaf([2.0]), parts=[inner, {"x": (leaf([4.0]),)}], again=tied, n=tg.tensor(1.0)
    )
    outer.b = leaf([5.0])
    assert [name for name, _ in outer.named_parameters()] == [
        "b",
        "parts.0.w",
        "parts.0.tied",
        "parts.1.x.0",
    ]
    assert nn.count_parameters(outer) == 4
    with refused(ValueError, "'parts.1'", "rename"):
        module(parts={1: leaf([1.0]), "1": leaf([2.0])}).parameters()


def test_K10_modules_that_know_each_other_are_entered_once():
    parts = [module(w=leaf([1.0])) for _ in range(7)]
    for part in parts:
        part.others = [other for other in parts if other is not part]
    assert len(parts[0].parameters()) == len(parts[0].modules()) == 7


def test_J05_K10_loading_is_all_or_nothing():
    layer = nn.Linear(2, 2, rng=0)
    before = layer.state_dict()
    wrong = {"W": np.ones((3, 2)), "x": np.ones(1)}
    words = "nothing was loaded", "missing 'b'", "unexpected 'x'", "'W'", "[3, 2]", "[2, 2]"
    with refused(ValueError, *words):
        layer.load_state_dict(wrong)
    with refused(ValueError, "'W'"):
        layer.load_state_dict({"W": np.full((2, 2), "a"), "b": np.ones(2)})
    for name, array in layer.state_dict().items():
        same(array, before[name])
    layer.load_state_dict({"W": np.ones((2, 2)), "more": np.ones(1)}, strict=False)
    same(layer.W.data, np.ones((2, 2), np.float32))
    same(before["b"], layer.b.data)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_K11_a_copy_of_a_model_is_independent(copied):
    model = nn.LanguageModel(5, hidden=4, embedding=3, layers=2, rng=0)
    index = np.arange(10).reshape(T, 2) % 5
    model.loss(index, index)[0].backward()
    twin = copied(model)
    same(twin(index)[0].data, model(index)[0].data)
    before = model(index)[0].data
    twin.loss(index, index)[0].backward()
    optim.SGD(twin, lr=1.0).step()
    same(model(index)[0].data, before)
    assert not np.array_equal(twin(index)[0].data, before)
    shared = module(a=(x := leaf([1.0])), b=x)
    assert len(copied(shared).parameters()) == 1


@pytest.mark.parametrize("output", [None, "logits", {}])
def test_K12_a_loss_of_what_is_no_tensor(output):
    with refused(TypeError, "cross_entropy", "logits", "expected floats", type(output).__name__):
        tg.cross_entropy(output, [0])
    with refused(TypeError, "mean_squared_error", "expected floats", type(output).__name__):
        tg.mean_squared_error(output, [0.0])


def test_K12_a_loss_of_a_plain_array_has_nothing_to_learn():
    with refused(RuntimeError, "does not require gradients", "requires_grad=True"):
        tg.cross_entropy(np.ones((2, 3)), [0, 1]).backward()


# -- P. recurrent layers ----------------------------------------------------------------------


def loss_of(outputs, seed=5):
    """A sum of the outputs, each element with a weight of its own."""
    rng = np.random.default_rng(seed)
    return sum(((y * rng.normal(size=y.shape)).sum() for y in outputs), start=tg.tensor(0.0))


@cells
@pytest.mark.parametrize("k", [1, 2, T - 1])
def test_P04_chunks_with_a_carried_state_are_the_whole(kind, k):
    cell = random_cell(kind)
    xs, state = leaf(normal(T, B, I)), random_state(cell)
    ys, end = cell(xs, state)
    loss_of([ys, *end]).backward()
    expected = gradients(cell, xs, *state)
    first, middle = cell(xs[:k], state)
    second, last = cell(xs[k:], middle)
    joined = tg.concat([first, second])
    loss_of([joined, *last]).backward()
    same(joined.data, ys.data)
    for a, b in zip([*last, *gradients(cell, xs, *state)], [*end, *expected], strict=True):
        close(a, b)


@cells
def test_P05_detaching_is_a_cotangent_of_zero(kind):
    wall = tg.op.Op(lambda x: x + 0.0, [lambda g, y, x: 0.0 * g])
    cell, xs = random_cell(kind), leaf(normal(T, B, I))
    found = []
    for cut in (tg.detach, lambda state: tuple(map(wall, state)), lambda state: state):
        first, state = cell(xs[:2])
        second, end = cell(xs[2:], cut(state))
        loss_of([first, second, *end]).backward()
        found.append(gradients(cell, xs))
    for detached, walled in zip(found[0], found[1], strict=True):
        close(detached, walled)
    assert any(not np.allclose(a, b) for a, b in zip(found[0], found[2], strict=True))


@cells
def test_P06_a_window_as_long_as_the_text_is_full_backpropagation(kind):
    cell, xs = random_cell(kind), normal(T, B, I)

    def forward(x, y, state):
        ys, state = cell(x, state)
        return (ys * y).sum(), state

    weights = normal(T, B, H, seed=2)
    forward(xs, weights, None)[0].backward()
    full = gradients(cell)
    before = [x.data for x in cell.parameters()]
    list(optim.truncated_bptt(forward, [(xs, weights)], optim.SGD(cell, lr=1.0)))
    for x, old, g in zip(cell.parameters(), before, full, strict=True):
        same(x.data, old - g)


@cells
def test_P06_shorter_windows_are_the_whole_with_a_detached_state(kind):
    cell, xs, weights = random_cell(kind), normal(T, B, I), normal(T, B, H, seed=2)

    def forward(x, y, state):
        ys, state = cell(x, state)
        return (ys * y).sum(), state

    first, state = forward(xs[:2], weights[:2], None)
    (first + forward(xs[2:], weights[2:], tg.detach(state))[0]).backward()
    expected = gradients(cell)
    found = [np.zeros(g.shape) for g in expected]
    windows = [(xs[:2], weights[:2]), (xs[2:], weights[2:])]
    for _ in optim.truncated_bptt(forward, windows, optim.SGD(cell, lr=0.0)):
        found = [g + x.grad.data for g, x in zip(found, cell.parameters(), strict=True)]
    for a, b in zip(found, expected, strict=True):
        close(a, b)


@cells
def test_P07_losses_of_single_steps_add_up_to_full_backpropagation(kind):
    cell, xs = random_cell(kind), normal(T, B, I)
    weights = normal(T, B, H, seed=2)
    (cell(xs)[0] * weights).sum().backward()
    full = gradients(cell)
    for t in range(T):
        (cell(xs[: t + 1])[0][-1] * weights[t]).sum().backward()
    for found, expected in zip(gradients(cell), full, strict=True):
        close(found, expected)


@pytest.mark.compiled
@cells
def test_P08_a_permuted_batch_gives_permuted_bits(kind):
    cell, order = random_cell(kind), np.array([2, 0, 1])
    xs, state = leaf(normal(T, B, I)), random_state(cell)
    cotangent = normal(T, B, H, seed=3)
    ys, end = cell(xs, state)
    ys.backward(cotangent)
    expected = [xs.grad.data[:, order], *(s.grad.data[order] for s in state)]
    others = leaf(xs.data[:, order]), *(leaf(s.data[order]) for s in state)
    permuted, permuted_end = cell(others[0], others[1:])
    permuted.backward(cotangent[:, order])
    same(permuted.data, ys.data[:, order])
    for a, b in zip(permuted_end, end, strict=True):
        same(a.data, b.data[order])
    for x, g in zip(others, expected, strict=True):
        same(x.grad.data, g)


@pytest.mark.compiled
@cells
def test_P09_a_batch_is_its_rows_and_parameter_gradients_add(kind):
    cell = random_cell(kind)
    xs, state = leaf(normal(T, B, I)), random_state(cell)
    ys, _ = cell(xs, state)
    cotangent = normal(T, B, H, seed=3)
    ys.backward(cotangent)
    expected, rows = xs.grad.data, [s.grad.data for s in state]
    together = gradients(cell)
    for b in range(B):
        x, own = leaf(xs.data[:, b : b + 1]), [leaf(s.data[b : b + 1]) for s in state]
        y, _ = cell(x, own)
        y.backward(cotangent[:, b : b + 1])
        same(y.data, ys.data[:, b : b + 1])
        close(x.grad, expected[:, b : b + 1])
        for s, g in zip(own, rows, strict=True):
            close(s.grad, g[b : b + 1])
    for found, whole in zip(gradients(cell), together, strict=True):
        close(found, whole)


@cells
def test_P14_layers_are_single_layers_stacked(kind):
    parts = [random_cell(kind, 0), random_cell(kind, 1, i=H), random_cell(kind, 2, i=H, h=3)]
    xs, states = normal(T, B, I), [random_state(cell, seed=k) for k, cell in enumerate(parts)]
    ys, ends = nn.Recurrent(*parts)(xs, states)
    below = xs
    for cell, state, end in zip(parts, states, ends, strict=True):
        below, own = cell(below, state)
        for a, b in zip(own, end, strict=True):
            same(a.data, b.data)
    same(below.data, ys.data)


@cells
def test_P16_batch_first_is_a_transposition(kind):
    cell = random_cell(kind)
    xs, state = leaf(normal(T, B, I)), random_state(cell)
    turned = leaf(xs.data.swapaxes(0, 1))
    ys, end = cell(xs, state)
    zs, last = cell(turned, state, batch_first=True)
    same(zs.data, ys.data.swapaxes(0, 1))
    for a, b in zip(last, end, strict=True):
        same(a.data, b.data)
    cotangent = normal(T, B, H, seed=3)
    ys.backward(cotangent)
    zs.backward(cotangent.swapaxes(0, 1))
    same(turned.grad.data, xs.grad.data.swapaxes(0, 1))


@cells
@pytest.mark.parametrize("batch_first", [False, True])
def test_B02_P17_one_sequence_is_a_batch_of_one(kind, batch_first):
    cell = random_cell(kind)
    xs, state = normal(T, I), random_state(cell, batch=1)
    ys, end = cell(xs, [s[0] for s in state], batch_first=batch_first)
    batched, batched_end = cell(xs[:, None], state)
    same(ys.data, batched.data[:, 0])
    for a, b in zip(end, batched_end, strict=True):
        same(a.data, b.data[0])


def test_P18_zero_weights_have_closed_forms():
    xs = normal(T, B, I)
    steps = np.arange(1, T + 1)[:, None, None]
    for kind in CELLS:
        cell = CELLS[kind]()
        for x in cell.parameters():
            x.data = np.zeros(x.shape)
        state = [s.data for s in random_state(cell)]
        ys, end = cell(xs, state)
        if kind == "lstm":
            cs = 0.5**steps * state[1]
            close(ys, 0.5 * np.tanh(cs))
            close(end[1], cs[-1])
        else:
            close(ys, 0.5**steps * state[0] if kind == "gru" else np.zeros((T, B, H)))


def slopes(cell, xs, **kwargs):
    """How much each output step depends on each input step: (T, T), row of outputs."""
    found = np.zeros((len(xs), len(xs)))
    for t in range(len(xs)):
        x = leaf(xs)
        cell(x, **kwargs)[0][t].sum().backward()
        found[t] = np.abs(x.grad.data).sum((1, 2))
    return found


@cells
def test_P20_the_future_has_exactly_no_influence(kind):
    found = slopes(random_cell(kind), normal(T, B, I))
    assert not np.triu(found, 1).any()
    assert (found[np.tril_indices(T)] > 0).all()


def test_P19_without_recurrence_a_step_sees_itself_only():
    cell = random_cell("tanh")
    cell.Wh.data = np.zeros((H, H))
    found = slopes(cell, normal(T, B, I))
    assert (np.diag(found) > 0).all() and not (found - np.diag(np.diag(found))).any()


@cells
def test_P21_hidden_units_have_no_order(kind):
    cell, order = random_cell(kind), np.array([2, 0, 3, 1])
    xs, state = normal(T, B, I), random_state(cell)
    ys, end = cell(xs, state)
    for name, x in cell.named_parameters():
        blocks = x.data.reshape(*x.shape[:-1], -1, H)[..., order].reshape(x.shape)
        x.data = blocks[order] if name in ("Wh", "Wn") else blocks
    permuted, last = cell(xs, [s.data[:, order] for s in state])
    close(permuted, ys.data[..., order])
    for a, b in zip(last, end, strict=True):
        close(a, b.data[:, order])


def test_P22_an_open_forget_gate_keeps_the_cell_bit_for_bit():
    cell = random_cell("lstm")
    cell.b.data = np.repeat([1e3, -1e3, 0.3, 0.2], H)  # f, i, g, o
    h, c = random_state(cell)
    _, (_, end) = cell(normal(50, B, I), (h, c))
    same(end.data, c.data)
    end.sum().backward()
    same(c.grad.data, np.ones((B, H)))


def test_P23_a_closed_update_gate_and_the_identity_keep_the_state():
    gru = random_cell("gru")
    gru.b.data = np.repeat([-1e3, 0.5, 0.1], H)
    irnn = nn.RNN(I, H, activation="relu", dtype=np.float64)
    irnn.Wx.data, irnn.Wh.data = np.zeros((I, H)), np.eye(H)
    for cell in (gru, irnn):
        h = leaf(np.abs(normal(B, H)))
        ys, _ = cell(normal(50, B, I), (h,))
        same(ys.data, np.broadcast_to(h.data, (50, B, H)))
        ys[-1].sum().backward()
        same(h.grad.data, np.ones((B, H)))


# -- P. the engine ----------------------------------------------------------------------------


@functions
def test_P34_pushing_forward_and_pulling_back_agree(name):
    """⟨J v, w⟩ = ⟨v, Jᵀ w⟩, where J v is the derivative of Jᵀ u by u."""
    f, arrays = prepared(name)
    xs = [leaf(x) for x in arrays]
    y = f(*xs)
    rng = np.random.default_rng(1)
    w, vs = rng.normal(size=y.shape), [rng.normal(size=x.shape) for x in xs]
    u = leaf(np.zeros(y.shape))
    pulled = tg.grad(y, xs, u, create_graph=True)
    pushed = tg.grad(sum((g * v).sum() for g, v in zip(pulled, vs, strict=True)), u).data
    back = tg.grad(y, xs, w)
    products = [(g.data * v).sum() for g, v in zip(back, vs, strict=True)]
    close((pushed * w).sum(), sum(products), 1e-13)


@functions
def test_P35_a_pullback_is_linear(name):
    f, arrays = prepared(name)
    shape = f(*map(tg.tensor, arrays)).shape
    u, w = normal(*shape, seed=1), normal(*shape, seed=2)
    pull = lambda cotangent: value_and_pull(f, arrays, cotangent)[1]
    for both, a, b in zip(pull(2.0 * u - 3.0 * w), pull(u), pull(w), strict=True):
        close(both, 2.0 * a - 3.0 * b, 1e-13)
    assert not any(g.any() for g in pull(np.zeros(shape)))


@functions
def test_P36_the_gradient_of_a_sum_is_the_sum_of_gradients(name):
    f, arrays = prepared(name)
    g = lambda *xs: tg.tanh(f(*xs) * 0.5)
    parts = zip(value_and_pull(f, arrays)[1], value_and_pull(g, arrays)[1], strict=True)
    whole = value_and_pull(lambda *xs: f(*xs) + g(*xs), arrays)[1]
    for found, (a, b) in zip(whole, parts, strict=True):
        close(found, a + b, 1e-14)


def test_P37_a_constant_has_no_gradient_and_a_product_with_zero_has_zero():
    x = leaf([1.0, 2.0])
    with refused(RuntimeError, "does not require gradients"):
        tg.grad((x.detach() * 2).sum(), x)
    same(tg.grad((x * 0.0).sum(), x).data, np.zeros(2))


@pytest.mark.parametrize(
    "f", [tg.add, tg.mul, tg.div, tg.power, tg.matmul], ids=lambda f: f.__name__
)
def test_P38_an_input_used_twice_gets_both_derivatives(f):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (3, 3))
    (both,) = value_and_pull(lambda x: f(x, x), [x])[1]
    a, b = value_and_pull(f, [x, x])[1]
    close(both, a + b, 1e-15)


@functions
@pytest.mark.parametrize("turn", ["transposed", "flipped"])
def test_P40_views_inside_a_graph_are_as_good_as_arrays(name, turn):
    f, arrays = prepared(name)
    away, back = {"transposed": (np.transpose, tg.transpose), "flipped": (np.flip, tg.flip)}[turn]
    value, pulled = value_and_pull(f, arrays)
    turned = [np.ascontiguousarray(away(x)).reshape(away(x).shape) for x in arrays]
    other, other_pulled = value_and_pull(lambda *xs: f(*map(back, xs)), turned)
    close(other, value, 1e-14)
    for found, expected in zip(other_pulled, pulled, strict=True):
        close(away(found), expected, 1e-14)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in CELLS])
@pytest.mark.parametrize("first", [0, 1])
def test_P41_a_gradient_has_the_dtype_of_its_leaf(name, first):
    f, arrays = prepared(name)
    dtypes = [(np.float32, np.float64)[(k + first) % 2] for k in range(len(arrays))]
    xs = [leaf(x, dtype) for x, dtype in zip(arrays, dtypes, strict=True)]
    y = f(*xs)
    assert y.dtype == np.result_type(*dtypes)
    y.sum().backward()
    assert [x.grad.dtype for x in xs] == dtypes and [x.grad.shape for x in xs] == [
        x.shape for x in xs
    ]


def test_P42_order_of_building_and_of_walking_does_not_matter():
    a, b = normal(3, 3), normal(3, 3, seed=1)
    f, g = (lambda x, y: (x @ y).tanh().sum()), (lambda x, y: (x * y).exp().sum())
    found = []
    for build in (1, -1):
        for walk in (1, -1):
            x, y = leaf(a), leaf(b)
            losses = [part(x, y) for part in (f, g)[::build]][::build]
            for loss in losses[::walk]:
                loss.backward()
            found.append((x.grad, y.grad))
    for other in found[1:]:
        for p, q in zip(other, found[0], strict=True):
            close(p, q, 1e-15)


@functions
def test_P45_values_do_not_depend_on_recording(name):
    f, arrays = prepared(name)
    recorded = f(*[leaf(x) for x in arrays])
    with tg.no_grad():
        plain = f(*[leaf(x) for x in arrays])
    assert recorded.requires_grad and not plain.requires_grad and plain.inputs == ()
    same(plain.data, recorded.data)


@pytest.mark.parametrize("name", ["mul", "tanh", "power", "softmax", "lstm"])
def test_P45_gradients_do_not_depend_on_recording(name):
    f, arrays = prepared(name)
    xs = [leaf(x) for x in arrays]
    kept = tg.grad(f(*xs).sum(), xs, create_graph=True)
    for found, expected in zip(kept, tg.grad(f(*xs).sum(), xs), strict=True):
        close(found, expected, 1e-15)


def test_an_input_without_a_rule_is_refused():
    """It would be taken for an attribute, and no gradient would come to it."""

    @tg.pointwise(lambda g, z, x, y: g * y)
    def times(x, y):
        return x * y

    x, y = leaf([2.0]), leaf([3.0])
    for f in (lambda: times(x, y), lambda: times(x, y=y), lambda: times(x.data, y)):
        with refused(TypeError, "times: y: got a tensor float64[1]", "1 inputs", "y.data"):
            f()
    with refused(TypeError, "times: y"):
        tg.scan(lambda x, h: times(x, h), np.ones(1), np.ones((3, 1)))
    z = times(x, 3.0) + times(x, y=np.array([4.0]))
    z.backward()
    assert z.item() == 14 and x.grad.item() == 7
    tg.sum(x, axis=tg.tensor(0))  # an attribute of ours says itself what it takes


def test_a_rule_that_returns_nothing_is_refused():
    @tg.pointwise(lambda g, z, x, y: g * y, lambda g, z, x, y: None)
    def times(x, y):
        return x * y

    @tg.op.variadic(lambda g, y, *xs: [g] + [None] * (len(xs) - 1))
    def first(*xs):
        return xs[0] * 1

    x, y = leaf([2.0]), leaf([3.0])
    for op in (times, first):
        with refused(TypeError, f"{op.name}: ", "input 1", "returned None"):
            op(x, y).backward()
        assert x.grad is None
        op(x, y.data).backward()
        assert x.grad.item() == (3 if op is times else 1)
        x.grad = None
        assert tg.grad(op(x, y), x).item() == (3 if op is times else 1)


# -- P. optimisers ----------------------------------------------------------------------------


def textbook_sgd(x, gs, lr, momentum=0.0, weight_decay=0.0):
    v = 0.0
    for g in gs:
        v = momentum * v + (g + weight_decay * x)
        x = x - lr * v
        yield x


def textbook_rmsprop(x, gs, lr, decay, eps):
    s = 0.0
    for g in gs:
        s = decay * s + (1 - decay) * g**2
        x = x - lr * g / (np.sqrt(s) + eps)
        yield x


def textbook_adam(x, gs, lr, betas, eps, weight_decay=0.0):
    m, v = 0.0, 0.0
    for t, g in enumerate(gs, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        corrected = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        x = x - lr * (corrected[0] / (np.sqrt(corrected[1]) + eps) + weight_decay * x)
        yield x


RMS, ADAM = {"decay": 0.8, "eps": 1e-3}, {"betas": (0.7, 0.95), "eps": 1e-3}
RULES = [
    (optim.SGD, textbook_sgd, {}),
    (optim.SGD, textbook_sgd, {"momentum": 0.9}),
    (optim.SGD, textbook_sgd, {"weight_decay": 0.1}),
    (optim.SGD, textbook_sgd, {"momentum": 0.5, "weight_decay": 0.1}),
    (optim.RMSprop, textbook_rmsprop, RMS),
    (optim.Adam, textbook_adam, ADAM),
    (optim.Adam, textbook_adam, {"betas": (0.0, 0.0), "eps": 1e-8}),
    (optim.AdamW, textbook_adam, ADAM | {"weight_decay": 0.1}),
    (optim.AdamW, textbook_adam, ADAM | {"weight_decay": 0.0}),
]


@pytest.mark.parametrize("rule, textbook, settings", RULES)
def test_P71_twenty_steps_by_the_textbook(rule, textbook, settings):
    x, gs = leaf(normal(2, 3)), normal(20, 2, 3, seed=1)
    optimizer = rule([x], lr=0.05, **settings)
    for g, expected in zip(gs, textbook(x.data, gs, 0.05, **settings), strict=True):
        x.grad = g
        optimizer.step()
        close(x, expected, 1e-14)
    assert optimizer.steps == 20


@optimizers
def test_P71_defaults_and_dtypes(make):
    x, y = leaf([1.0, 2.0], np.float32), leaf([1.0, 2.0])
    a, b = make([x]), make([y])
    for g in normal(20, 2):
        x.grad, y.grad = g.astype(np.float32), g
        a.step()
        b.step()
    assert x.dtype == np.float32 and {m.dtype for m in a.memory["0"].values()} <= {
        np.dtype(np.float32),
        np.dtype(np.int64),
    }
    np.testing.assert_allclose(x.data, y.data, atol=1e-5)


def trained(xs, optimizer, steps, seed=0):
    """Some steps on gradients that depend on the values and on where each began."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for x in xs:
            x.grad = x.data * rng.normal()
        optimizer.step()
    return [x.data for x in xs]


@optimizers
def test_J13_P70_stopping_and_going_on_changes_no_bit(make):
    whole = [leaf(normal(2, 3)), leaf(normal(4, seed=1))]
    optimizer = make(whole)
    trained(whole, optimizer, 3, seed=1)
    state, arrays = optimizer.state_dict(), [x.data for x in whole]
    expected = trained(whole, optimizer, 4, seed=2)
    resumed = [leaf(array) for array in arrays]
    again = make(resumed, lr=0.7)
    again.load_state_dict(state)
    for found, array in zip(trained(resumed, again, 4, seed=2), expected, strict=True):
        same(found, array)
    assert again.steps == 7 and again.lr == 0.1


def test_P70_a_snapshot_does_not_follow_later_steps():
    x = leaf([1.0, 2.0])
    optimizer = optim.Adam([x])
    trained([x], optimizer, 2)
    state = optimizer.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    trained([x], optimizer, 2)
    for name, array in state.items():
        same(array, before[name])


def test_J14_P70_a_memory_that_does_not_fit_is_refused_whole():
    x = leaf([1.0, 2.0])
    sgd = optim.SGD([x], lr=0.1, momentum=0.9)
    trained([x], sgd, 2)
    adam = optim.Adam([x])
    good = {"steps": np.array(3), "lr": np.array(0.1)}
    m, v, count = np.ones(2), np.ones(2), np.array(3)
    bad = [
        sgd.state_dict(),
        {},
        good | {"m/7": m, "v/7": v, "count/7": count},
        good | {"m/0": np.ones(3), "v/0": v, "count/0": count},
        good | {"m/0": m},
        good | {"m/0": np.array(1.0), "v/0": v, "count/0": count},
        good | {"zeal/0": m},
        good | {"m/0": m * 1j, "v/0": v, "count/0": count},
        good | {"m/0": m.astype(str), "v/0": v, "count/0": count},
        good | {"m/0": m, "v/0": v, "count/0": np.array(2.5)},
        good | {"m/0": m, "v/0": v, "count/0": np.array(-1)},
        *[good | {"steps": steps} for steps in (np.array(-1), np.array(1.5), np.ones(2, int))],
        *[good | {"lr": lr} for lr in (np.array(np.nan), np.array(-1.0), None, "fast")],
    ]
    for state in bad:
        with refused(ValueError, "Adam", "nothing was loaded"):
            adam.load_state_dict(state)
    assert adam.memory == {"0": {}} and adam.steps == 0
    adam.load_state_dict(good | {"m/0": m, "v/0": v, "count/0": count})
    assert adam.steps == 3 and set(adam.memory["0"]) == {"m", "v", "count"}


@optimizers
def test_P72_the_order_of_parameters_does_not_matter(make):
    found = []
    for order in (1, -1):
        a, b = leaf(normal(2, 3)), leaf(normal(4, seed=1))
        optimizer = make([a, b][::order])
        found.append(trained([a, b], optimizer, 5))
    for x, y in zip(*found, strict=True):
        same(x, y)


@optimizers
def test_P73_a_parameter_in_two_pieces_moves_as_one(make):
    values, gs = normal(6), normal(5, 6, seed=1)
    whole, pieces = leaf(values), [leaf(values[:2]), leaf(values[2:])]
    one, two = make([whole]), make(pieces)
    for g in gs:
        whole.grad, pieces[0].grad, pieces[1].grad = g, g[:2], g[2:]
        one.step()
        two.step()
    same(np.concatenate([x.data for x in pieces]), whole.data)


@optimizers
@pytest.mark.parametrize("gradient", [1.0, -1.0, np.inf])
def test_G08_P74_a_learning_rate_of_zero_changes_no_bit(make, gradient):
    x = leaf([1.0, -0.0, 0.0, math.pi])
    before = x.data
    optimizer = make([x], lr=0.0)
    for _ in range(3):
        x.grad = np.full(4, gradient)
        optimizer.step()
    same(x.data, before)


def test_a_block_that_nothing_can_end_ends_when_the_next_begins():
    """As one is whose end a Ctrl-C has cut off; one that somebody holds may be ended still."""
    block = tg.no_grad()
    block.__enter__()
    with tg.scope("in it"):
        assert mode.scope == "in it" and not mode.recording
    del block
    with tg.scope("after it"):
        assert mode.scope == "after it" and mode.recording
    assert not mode.scope and mode.recording and not mode.before


def test_K01_what_a_block_did_not_put_back_is_put_back_by_those_around():
    """Ctrl-C may come just when a block ends, before it has done anything."""
    usual = {name: value for name, value in vars(mode).items() if name != "before"}
    inner, outer = _Switch(trace="a trace", recording=False), tg.scope("outer")
    outer.__enter__()
    inner.__enter__()
    tg.scope("inner").__enter__()
    assert mode.scope == "outer/inner" and not mode.recording
    outer.__exit__()
    assert {name: vars(mode)[name] for name in usual} == usual and not mode.before
    inner.__exit__()  # of a block that is not open
    assert {name: vars(mode)[name] for name in usual} == usual and not mode.before
    with inner, inner, tg.no_grad():
        pass
    assert {name: vars(mode)[name] for name in usual} == usual and not mode.before


def test_K01_a_trace_that_ctrl_c_ends_is_over(monkeypatch):
    leave = _Switch.__exit__

    def late(block, *error):
        if "trace" in block.switches:
            raise KeyboardInterrupt
        leave(block, *error)

    step, before = lambda h: tg.tanh(h), list(mode.before)
    with monkeypatch.context() as patch:
        patch.setattr(_Switch, "__exit__", late)
        with pytest.raises(KeyboardInterrupt):
            tg.scan(step, np.ones(2), None, length=2)
    assert mode.trace is None and mode.scope == ""
    del mode.before[len(before) :]
    assert tg.scan(step, np.ones(2), None, length=2)[0].shape == (2, 2)
