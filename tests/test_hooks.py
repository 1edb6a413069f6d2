"""Hooks: what is called when a gradient comes by or a module is called, and what it may do."""

import copy
import doctest
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.hooks import Handle
from tinygrad_rnn.tape import tape_of
from tinygrad_rnn.tensor import mode, recording


def leaf(values, dtype=np.float64, name=None):
    return tg.tensor(values, requires_grad=True, dtype=dtype, name=name)


def said(error, *words):
    missing = [word for word in words if str(word) not in str(error.value)]
    assert not missing, f"{str(error.value)!r} does not say {missing}"


# -- of tensors -----------------------------------------------------------------------------------


def test_E12_a_hook_sees_the_whole_gradient_once_a_pass():
    x, seen = leaf([1.0, 2.0]), []
    h = x * 3.0
    for y in (x, h):
        assert y.register_hook(seen.append).hooks is not None
    y = (h * h + h * 2.0 + x).sum()
    y.backward(retain_graph=True)
    assert [g.data.tolist() for g in seen] == [[8.0, 14.0], [25.0, 43.0]]
    assert not any(g.requires_grad for g in seen)
    y.backward()
    assert len(seen) == 4 and seen[2].data.tolist() == [8.0, 14.0]
    assert seen[3].data.tolist() == [25.0, 43.0]  # of this pass, not what .grad has by now
    with pytest.raises(ValueError, match="read-only"):
        seen[0].data[0] = 1.0


def test_E12_what_a_hook_returns_stands_for_the_gradient():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    h = x * w
    h.register_hook(lambda g: g * 10.0)
    h.register_hook(lambda g: np.array(g.data + 1.0))  # an array will do
    x.register_hook(lambda g: -g)
    y = (h * 2.0).sum()
    found = tg.grad(y, [h, x, w], retain_graph=True)
    assert [g.data.tolist() for g in found] == [[21, 21], [-63, -84], [21, 42]]
    w.grad = [1.0, 1.0]
    y.backward(retain_graph=True)
    assert h.grad.data.tolist() == [21, 21] and x.grad.data.tolist() == [-63, -84]
    assert w.grad.data.tolist() == [22, 43]
    *_, last = y.backward_steps()
    assert last.gradient.tolist() in ([-63, -84], [21, 42])


def test_E12_hooks_run_in_the_order_in_which_they_were_registered():
    x, told, handles = leaf(1.0), [], {}

    def at(word, *gone):
        def hook(g):
            told.append(word)
            for other in gone:
                handles[other].remove()

        handles[word] = x.register_hook(hook)

    at("a")
    at("b", "b", "d")  # itself, and one whose turn has not come
    at("c", "a")
    at("d")
    for expected in ("abc", "c"):
        tg.grad(x * 2.0, x)
        assert "".join(told) == expected
        told.clear()
    x.register_hook(lambda g: at("late"))  # which has its turn in the next pass
    tg.grad(x * 2.0, x)
    assert "".join(told) == "c"
    handles["c"].remove()
    handles["c"].remove()
    told.clear()
    tg.grad(x * 2.0, x)
    assert told == ["late"]


@pytest.mark.parametrize(
    ("returned", "kind", "words"),
    [
        (np.ones(2), ValueError, ["h float32[3]", "(2,)", "(3,)", "float32", "None"]),
        (np.ones(3), ValueError, ["h float32[3]", "float64", "float32"]),
        (1.0, ValueError, ["shape ()", "(3,)"]),
        ("more", TypeError, ["expected floats", "str"]),
    ],
)
def test_E12_a_hook_that_returns_something_else(returned, kind, words):
    x = leaf([1.0, 2.0, 3.0], np.float32)
    h = x * 2.0
    h.name = "h"
    h.register_hook(lambda g: returned)
    with pytest.raises(kind) as error:
        h.sum().backward()
    said(error, *words)
    assert "in a hook of h" in error.value.__notes__[0] and x.grad is None and mode.recording


@pytest.mark.parametrize("scanned", [False, True])
def test_E12_a_hook_that_raises_leaves_gradients_alone(scanned):
    w, x = leaf([[0.5]]), leaf(np.ones((3, 1, 1)))
    step = lambda x, h: tg.tanh(h @ w + x)
    loss = (tg.scan if scanned else tg.unroll)(step, np.zeros((1, 1)), x)[0].sum()
    x.grad = np.full((3, 1, 1), 7.0)
    handle = w.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError) as error:
        loss.backward(retain_graph=True)
    assert error.value.__notes__ == ["in a hook of a tensor float64[1, 1]"]
    assert w.grad is None and (x.grad.data == 7).all() and mode.recording
    handle.remove()
    expected = tg.grad(loss, [w, x], retain_graph=True)
    loss.backward()
    assert w.grad.data == expected[0].data and (x.grad.data == 7 + expected[1].data).all()


def test_E12_hooks_around_a_loop_see_what_they_see_step_by_step():
    """On weights, inputs, the first state and all outputs; a weight's is the sum over time."""
    found = []
    for run in (tg.scan, tg.unroll):
        w, x, h = map(leaf, (np.full((2, 2), 0.3), np.ones((4, 3, 2)), np.ones((3, 2))))
        (ys,) = run(lambda x, h, w=w: tg.tanh(h @ w + x), h, x)
        seen = []
        for y, factor in ((w, 2.0), (x, 3.0), (h, 5.0), (ys, 7.0)):
            y.register_hook(lambda g, s=seen, factor=factor: s.append(g.data) or g * factor)
        (ys * ys).sum().backward()
        assert len(seen) == 4
        seen.sort(key=lambda g: (g.ndim, g.shape, g.sum()))
        found.append([*seen, *(y.grad.data for y in (w, x, h))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_E12_a_hook_inside_a_loop_is_refused():
    w, seen = leaf([[0.5]]), []

    def step(x, h, of=0):
        h = tg.tanh(h @ w + x)
        (h if of == 0 else w if of == 1 else x).register_hook(seen.append)
        return h

    x = tg.tensor(np.ones((3, 1, 1)))
    for of in range(3):
        with pytest.raises(tg.Untraceable) as error:
            tg.scan(lambda x, h: step(x, h, of), np.zeros((1, 1)), x)  # noqa: B023
        said(error, "register_hook", "float64[1, 1]", "compiled loop", "outside", "unroll=True")
    assert w._hooks is None
    (h,) = tg.unroll(step, np.zeros((1, 1)), x)
    h.sum().backward()
    assert len(seen) == 3


def test_E12_a_hook_under_create_graph_is_differentiated():
    x = leaf(2.0)
    h = x * 1.0
    handle = h.register_hook(lambda g: g * g)
    slope = tg.grad(h**3, x, create_graph=True)
    assert slope.item() == 9 * 2.0**4
    handle.remove()
    assert tg.grad(slope, x).item() == 36 * 2.0**3


def test_E12_F11_a_hook_that_makes_a_nan_is_named():
    x = leaf([1.0], name="x")
    x.register_hook(lambda g: g * np.nan)
    with (
        tg.detect_anomaly(),
        pytest.raises(RuntimeError, match="NaN from a hook of x float64"),
    ):
        (x * x).backward()
    assert x.grad is None


def test_E12_where_there_is_no_gradient_there_is_no_hook():
    x = leaf([1.0])
    ys, _ = nn.RNN(1, 2, rng=0)(np.ones((2, 1, 1), np.float32))
    with tg.no_grad():
        constant = x * 2.0
    for y in (tg.tensor([1.0]), constant, x.detach(), ys.inputs[0]):
        with pytest.raises(RuntimeError) as error:
            y.register_hook(print)
        said(error, "has no gradient", "requires_grad=True")
    with pytest.raises(TypeError, match="register_hook: hook: expected a function, got int"):
        x.register_hook(3)
    called = []
    (x * 2.0).register_hook(called.append)  # nothing comes by
    y = x * 3.0
    y.register_hook(called.append)
    y.detach().sum()
    (x * 1.0).backward()
    assert not called


def test_E12_a_checkpoint_and_a_transform_run_a_hook_once():
    w, called = leaf([2.0]), []
    w.register_hook(lambda g: called.append(g.item()))

    def f(x):
        y = w * x
        y.register_hook(lambda g: called.append(-g.item()))
        return (y * y).sum()

    block = tg.transforms.checkpoint(f)
    (block(tg.tensor([3.0])) + w.sum()).backward()
    assert sorted(called) == [-12.0, 37.0]
    called.clear()
    assert tg.transforms.grad(f)(tg.tensor([3.0])).item() == 24.0
    assert called == [-12.0]
    called.clear()
    tg.transforms.jvp(f, (tg.tensor([3.0]),), (tg.tensor([1.0]),))
    assert not called


def test_E12_reverse_transforms_run_the_hooks_of_what_they_are_given_and_forward_ones_refuse():
    layer, x, f = nn.Linear(1, 1, rng=0, dtype=np.float64), leaf([2.0]), lambda x: (x**3).sum()
    tr, v = tg.transforms, np.ones(1)
    with x.register_hook(lambda g: g * 10.0), layer.b.register_hook(lambda g: g * 10.0):
        slope = tr.grad(f)(x)
        assert slope.item() == 120.0 == tr.value_and_grad(f)(x)[1].item()
        assert tg.grad(slope, x).item() == 10 * 120.0  # and once more where x itself is
        assert tr.grad(lambda d: f(d["x"]))({"x": x})["x"].item() == 120.0
        assert tr.vjp(f, x)[1](1.0)[0].item() == 120.0
        assert tr.grad(lambda m: m(x).sum())(layer)["b"].item() == 10.0
        assert tr.grad(lambda x: tr.grad(f)(x).sum())(x).item() == 120.0  # the outer one alone
        assert tr.jacobian(lambda x: x[0])(tg.tensor([2.0, 3.0])).data.tolist() == [1.0, 0.0]
        for refused in (
            lambda: tr.jvp(f, (x,), (v,)),
            lambda: tr.linearize(f, x)[1](v),
            lambda: tr.hvp(f, (x,), (v,)),
            lambda: tr.hessian(f)(x),
            lambda: tr.jacobian(lambda x: x * np.ones(3))(x),
            lambda: tr.jvp(lambda m: m(x), (layer,), (layer.state_dict(),)),
        ):
            with pytest.raises(TypeError, match=r"has a hook.*forward mode.*handle\.remove"):
                refused()
        with pytest.raises(TypeError, match=r"vmap: .* has a hook"):
            tr.vmap(lambda z: tr.grad(lambda x: (x * z).sum())(x))(tg.tensor([[1.0], [2.0]]))
    assert tr.grad(f)(x).item() == 12.0 == tr.jvp(f, (x,), (v,))[1].item()
    assert tr.vmap(lambda z: tr.grad(lambda x: (x * z).sum())(x))(tg.tensor([[1.0]])).item() == 1.0


def test_I06_backward_in_a_hook_of_another_graph():
    x, w = leaf(2.0), leaf(3.0)

    def hook(g):
        with recording(True):  # it is off in a pass, unless that has create_graph
            (w * w).backward()
        return g * w.grad

    x.register_hook(hook)
    (x * x).backward()
    assert x.grad.item() == 24.0 and w.grad.item() == 6.0 and mode.recording


def test_I06_a_hook_may_not_walk_the_graph_that_is_being_walked():
    x = leaf(2.0)
    h = x * x
    y = h * 3.0
    h.register_hook(lambda g: y.backward())
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()
    assert x.grad is None


def test_I01_hooks_of_two_threads_see_their_own_graphs():
    seen = {1.0: [], 2.0: []}

    def work(number):
        for _ in range(50):
            x = leaf(number)
            x.register_hook(lambda g: seen[number].append(g.item()))
            (x * x).backward()

    threads = [threading.Thread(target=work, args=(number,)) for number in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1.0: [2.0] * 50, 2.0: [4.0] * 50}


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_H03_a_copy_of_a_tensor_has_no_hooks(copied):
    x, called = leaf([1.0], name="x"), []
    handle = x.register_hook(lambda g: called.append(g))  # which could not be pickled
    (x * x).backward()
    called.clear()
    y = copied(x)
    (y * y).backward()
    assert not called and y.name == "x" and y.grad.item() == 2.0
    copied(handle).remove()
    y = x * 2.0
    y.register_hook(print)
    with pytest.raises(RuntimeError, match=r"only leaves can be copied. Use x\.detach\(\)"):
        copied(y)
    (x * x).backward()
    assert len(called) == 1


def test_H03_a_tensor_with_hooks_is_freed_when_nobody_holds_it():
    gc.collect()
    gc.disable()
    try:
        x = leaf([1.0])
        y = x * 2.0
        dead = weakref.ref(y), weakref.ref(x)
        handle = y.register_hook(lambda g: g * 2.0)
        x.register_hook(lambda g: None)
        y.backward()
        del x, y
        assert [r() for r in dead] == [None, None]
        handle.remove()  # of what is gone
        x = leaf([1.0])
        x.register_hook(lambda g, x=x: g)  # holds its own tensor
        dead = weakref.ref(x)
        del x
        assert dead() is not None
        gc.collect()
        assert dead() is None
    finally:
        gc.enable()


# -- of modules -----------------------------------------------------------------------------------


def numbers(*shape):
    return tg.tensor(np.random.default_rng(0).normal(size=shape))


def made(kind, *sizes, **words):
    return kind(*sizes, dtype=np.float64, rng=0, **words)


def test_E12_hooks_of_a_module_run_around_its_call_in_order():
    layer, told = made(nn.Linear, 2, 3), []
    x = numbers(4, 2)
    expected = layer(x * 2.0) * 10.0 + 1.0

    def tell(word, answer=None):
        def hook(module, *given):
            assert module is layer
            told.append(word)
            return answer(*given) if answer else None

        return hook

    layer.register_forward_hook(tell("c", lambda inputs, y: y * 10.0))
    layer.register_forward_pre_hook(tell("a"))
    layer.register_forward_pre_hook(tell("b", lambda inputs: inputs[0] * 2.0))
    layer.register_forward_hook(tell("d", lambda inputs, y: y + 1.0))
    y = layer(x)
    assert told == ["a", "b", "c", "d"] and y.data.tobytes() == expected.data.tobytes()
    y.sum().backward()
    np.testing.assert_allclose(layer.b.grad.data, np.full(3, 40.0))
    assert isinstance(layer, nn.Linear) and repr(layer) == repr(made(nn.Linear, 2, 3))
    assert [*layer.state_dict()] == ["W", "b"] and len(layer.parameters()) == 2


@pytest.mark.parametrize(
    ("hook", "kind", "words"),
    [
        (lambda m, i, y: y[0], ValueError, ["Linear", "(3,)", "(4, 3)", "float64", "None"]),
        (lambda m, i, y: y.astype(np.float32), ValueError, ["float32", "float64", "(4, 3)"]),
        (lambda m, i, y: (y, y), TypeError, ["tuple of 2", "a tensor of shape (4, 3)"]),
        (lambda m, i, y: 1 / 0, ZeroDivisionError, ["division"]),
    ],
)
def test_E12_a_hook_of_a_module_that_raises_or_returns_something_else(hook, kind, words):
    layer, x = made(nn.Linear, 2, 3), numbers(4, 2)
    expected = layer(x).data
    with layer.register_forward_hook(hook), pytest.raises(kind) as error:
        layer(x)
    said(error, *words)
    assert error.value.__notes__ == ["in a hook of Linear"]
    assert type(layer) is nn.Linear and layer(x).data.tobytes() == expected.tobytes()
    with (
        layer.register_forward_pre_hook(lambda m, inputs: (x, x)),
        pytest.raises(TypeError) as error,
    ):
        layer(x)
    said(error, "tuple of 2", "tuple of 1")
    with pytest.raises(
        TypeError, match="register_forward_hook: hook: expected a function, got int"
    ):
        layer.register_forward_hook(3)
    assert type(layer) is nn.Linear
    with pytest.raises(TypeError, match="Module has no __call__"):
        nn.Module().register_forward_hook(print)


def test_E12_a_hook_of_a_module_may_remove_itself_while_it_runs():
    layer, told, handles = made(nn.Linear, 2, 3), [], []
    handles.append(layer.register_forward_pre_hook(lambda *_: handles[0].remove()))
    handles.append(layer.register_forward_hook(lambda *_: told.append(handles[1].remove())))
    layer(numbers(1, 2))
    assert type(layer) is nn.Linear and "_hooks" not in vars(layer)
    layer(numbers(1, 2))
    assert told == [None]
    again = layer.register_forward_hook(lambda *_: told.append(1))
    handles[1].remove()  # which is gone: the new one stays
    layer(numbers(1, 2))
    again.remove()
    assert told == [None, 1] and type(layer) is nn.Linear


@pytest.mark.compiled
def test_E12_hooks_of_cells_run_where_they_are_folded():
    """Alone, in a stack, in both directions; after the fast way in is known, too."""
    below, above = made(nn.LSTM, 2, 3), made(nn.GRU, 3, 4)
    layer, x = nn.Recurrent(below, above), numbers(5, 2, 2)
    for _ in range(3):
        plain, _ = layer(x)
    ys, state = below(x)
    seen = []
    look = below.register_forward_hook(lambda *given: seen.append(given))
    assert below(x)[0].data.tobytes() == ys.data.tobytes()
    assert layer(x)[0].data.tobytes() == plain.data.tobytes()
    assert layer(x, lengths=[5, 2])[0].shape == plain.shape
    assert layer(x[:, 0])[0].shape == (5, 4)
    (cell, (given, begin), (out, end)) = seen[0]
    assert cell is below and given is x and [s.shape for s in begin] == [(2, 3)] * 2
    assert out.data.tobytes() == ys.data.tobytes()
    assert [s.data.tobytes() for s in end] == [s.data.tobytes() for s in state]
    assert (
        len(seen) == 4 and not seen[2][2][0].data[2:, 1].any() and seen[3][1][0].shape == (5, 1, 2)
    )
    double = below.register_forward_hook(lambda c, i, out: (out[0] * 2.0, out[1]))
    last = above.register_forward_hook(lambda c, i, out: (out[0][:5, :2] + 1.0, out[1]))
    expected, _ = above(ys * 2.0)
    for readout, of in (("all", lambda y: y), ("last", lambda y: y[-1])):
        layer.readout = readout
        y, (_, end) = layer(x)
        np.testing.assert_allclose(y.data, of(expected).data, rtol=1e-12)
    both = nn.Bidirectional(below, above.__class__(2, 4, dtype=np.float64, rng=0))
    assert (
        nn.Recurrent(both, readout="last")(x)[0].data[:, :3].tobytes()
        == (ys[-1] * 2).data.tobytes()
    )
    for handle in (look, double, last):
        handle.remove()
    layer.readout, kinds = "all", [type(cell) for cell in layer.cells]
    assert kinds == [nn.LSTM, nn.GRU] and layer(x)[0].data.tobytes() == plain.data.tobytes()
    both.register_forward_hook(lambda c, i, out: (out[0] * 2.0, out[1]))
    with pytest.raises(TypeError, match=r"Bidirectional returned other outputs.*part\.forward"):
        both(x)


def test_E12_what_goes_into_a_cell_may_be_replaced():
    cell, x = made(nn.GRU, 2, 3), numbers(4, 2, 2)
    expected, (end,) = cell(x * 0.5, (np.ones((2, 3)),))
    cell.register_forward_pre_hook(lambda c, inputs: (inputs[0] * 0.5, (inputs[1][0] + 1.0,)))
    for _ in range(2):
        ys, (h,) = cell(x, unroll=True)
        np.testing.assert_allclose(ys.data, expected.data, rtol=1e-12)
        np.testing.assert_allclose(h.data, end.data, rtol=1e-12)
    with cell.register_forward_pre_hook(lambda c, inputs: inputs[0]), pytest.raises(TypeError):
        cell(x)  # without the state


def test_E12_a_cell_whose_single_steps_are_taken_may_have_no_hooks():
    inner = made(nn.LSTM, 2, 2)
    handle = inner.register_forward_hook(print)
    for cell in (nn.Residual(inner), nn.VariationalDropout(inner, state=0.5, rng=0)):
        with pytest.raises(ValueError) as error:
            cell(numbers(3, 1, 2))
        said(error, type(cell).__name__, "single steps of LSTM", "hooks", "around it")
    handle.remove()
    cell(numbers(3, 1, 2))
    shapes = []
    cell.register_forward_hook(lambda c, i, out: shapes.append(out[0].shape))
    cell(numbers(3, 1, 2))
    assert shapes == [(3, 1, 2)]


class Own(nn.Cell):
    def __init__(self):
        self.inputs, self.hidden, self.dtype = 2, 2, np.float64
        self.linear = made(nn.Linear, 2, 2)

    def step(self, x, h):
        return tg.tanh(self.linear(h) + x)


def test_E12_a_hook_in_a_step_is_part_of_the_step():
    cell, x, seen = Own(), numbers(3, 1, 2), []
    plain = cell(x)[0].data
    cell.linear.register_forward_hook(lambda m, i, y: seen.append(y) or y * 2.0)
    ys, _ = cell(x)
    many, seen[:] = len(seen), []
    step_by_step, _ = cell(x, unroll=True)
    assert 1 <= many < 12 and len(seen) == 3
    np.testing.assert_allclose(ys.data, step_by_step.data, rtol=1e-12)
    assert not np.allclose(ys.data, plain)
    count = [0]
    for hook in (lambda m, i, y: print(y.data), lambda m, i, y: count.__setitem__(0, count[0] + 1)):
        with cell.linear.register_forward_hook(hook), pytest.raises(tg.Untraceable) as error:
            cell(x)
        said(error, "unroll=True", "changes" if count[0] else "reads the numbers")


def test_E12_a_hook_in_a_step_of_the_librarys_own_is_looked_at_too():
    cell = made(nn.LSTM, 2, 2, norm="ba2016")
    inner = [m for m in cell.modules() if m is not cell]
    count = [0]
    inner[0].register_forward_hook(lambda m, i, y: count.__setitem__(0, count[0] + 1))
    with pytest.raises(tg.Untraceable, match="changes"):
        cell(numbers(3, 1, 2))


def test_E12_a_language_model_takes_no_way_past_a_hook():
    index, told = np.arange(40).reshape(20, 2) % 3, []
    for part in ("embedding", "recurrent", "cell", "output", "itself"):
        model = nn.LanguageModel(3, embedding=2, hidden=3, rng=0)
        expected = model(index)[0].data
        module = {"cell": model.recurrent.cells[0], "itself": model}.get(part)
        module = module or getattr(model, part)
        module.register_forward_hook(lambda *_, part=part: told.append(part))
        np.testing.assert_allclose(model(index)[0].data, expected, rtol=1e-5)
        assert told.pop() == part and not told


COPIES = [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]


@pytest.mark.parametrize("copied", COPIES)
def test_K11_H03_a_copy_of_a_module_has_no_hooks(copied):
    cell, called = made(nn.LSTM, 2, 3), []
    layer = nn.Recurrent(cell)
    layer.handle = layer.register_forward_hook(lambda *_: called.append(layer))
    cell.register_forward_pre_hook(lambda *_: called.append(cell))
    cell.Wx.register_hook(called.append)
    twin = copied(layer)
    ys, _ = twin(numbers(2, 1, 2))
    ys.sum().backward()
    kinds = [type(twin), *map(type, twin.cells)]
    if copied is copy.copy:  # which shares what is inside
        assert kinds[0] is nn.Recurrent and called == [cell, called[1]]
        return
    assert not called and kinds == [nn.Recurrent, nn.LSTM] and twin.cells[0] is not cell
    twin.handle.remove()
    layer(numbers(2, 1, 2))
    assert called == [cell, layer]


def test_H03_a_module_with_hooks_can_be_weakly_referenced():
    layer = made(nn.Linear, 2, 3)
    handle = layer.register_forward_hook(lambda *_: None)
    watch = weakref.ref(layer)
    assert watch() is layer
    del layer
    gc.collect()
    assert watch() is None
    handle.remove()


def test_E12_what_takes_a_gradient_apart_refuses_hooks():
    cell = made(nn.RNN, 2, 3)
    ys, _ = cell(numbers(3, 1, 2), unroll=True)
    says = pytest.raises(ValueError, match=r"ledger: the gradient of Wh.* has hooks.*handle")
    with cell.Wh.register_hook(lambda g: g * 2.0), says:
        tg.lab.ledger((ys * ys).sum(), cell)
    tg.lab.ledger((ys * ys).sum(), cell)


# -- of the gradients of modules ------------------------------------------------------------------


def gated(layer, x, **words):
    """What a full backward hook of a layer sees, once a pass; and what takes it away."""
    seen = []

    def hook(module, gx, gy):
        assert module is layer
        seen.append((gx, gy))
        return words["returns"](gx) if words else None

    return seen, layer.register_full_backward_hook(hook)


def test_E12_a_backward_hook_of_a_module_sees_the_gradients_of_a_call():
    """Of two calls apart, in every kind of pass; what parameters get is as ever."""
    layer, x, z = made(nn.Linear, 2, 3), leaf([[1.0, 2.0]]), leaf([[3.0, 4.0]])
    y = layer(x) * layer(z)
    expected = tg.grad(y.sum(), [x, z, layer.W])
    seen, handle = gated(layer, x)
    a, b = layer(x), layer(z)
    (a * b).sum().backward(retain_graph=True)
    for ((gx,), (gy,)), y, other in zip(seen, (z, x), (a, b), strict=True):  # the youngest first
        np.testing.assert_allclose(gy.data, other.data)
        np.testing.assert_allclose(gx.data, y.grad.data)
        assert not gx.requires_grad and not gx.data.flags.writeable
    for w, g in zip((x, z, layer.W), expected, strict=True):
        np.testing.assert_allclose(w.grad.data, g.data, rtol=1e-15)
    tg.grad((a * b).sum(), layer.W, retain_graph=True)  # which does not lead to the inputs
    assert len(seen) == 2
    assert [*(a * b).sum().backward_steps()] and len(seen) == 4
    handle.remove()  # which also holds for what was called before
    (a * b).sum().backward()
    layer(x).sum().backward()
    assert len(seen) == 4 and type(layer) is nn.Linear


def test_E12_what_a_backward_hook_of_a_module_returns_stands_for_the_gradients_of_its_inputs():
    layer, x = made(nn.Linear, 2, 3), leaf([[1.0, 2.0]])
    x_grad, w_grad = tg.grad(layer(x).sum(), [x, layer.W])
    layer.register_full_backward_hook(lambda m, gx, gy: (gx[0] * 10.0,))
    layer.register_full_backward_hook(lambda m, gx, gy: gx[0] + gy[0].sum())
    found = tg.grad(layer(x).sum(), [x, layer.W])
    np.testing.assert_allclose(found[0].data, x_grad.data * 10 + 3, rtol=1e-15)
    np.testing.assert_allclose(found[1].data, w_grad.data, rtol=1e-15)
    found = tg.transforms.grad(lambda x: layer(x).sum())(x)
    np.testing.assert_allclose(found.data, x_grad.data * 10 + 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("hook", "kind", "words"),
    [
        (lambda m, gx, gy: (gy[0],), ValueError, ["Linear", "(1, 3)", "(1, 2)"]),
        (lambda m, gx, gy: gx * 2, TypeError, ["tuple of 2", "tuple of 1"]),
        (lambda m, gx, gy: (None,), TypeError, ["NoneType", "shape (1, 2)"]),
        (lambda m, gx, gy: 1 / 0, ZeroDivisionError, ["division"]),
    ],
)
def test_E12_a_backward_hook_of_a_module_that_raises_leaves_nothing_behind(hook, kind, words):
    layer, x = made(nn.Linear, 2, 3), leaf([[1.0, 2.0]])
    seen, _ = gated(layer, x)
    y = layer(x).sum()
    bad = layer.register_full_backward_hook(hook)
    loss = layer(x).sum()
    with pytest.raises(kind) as error:
        loss.backward(retain_graph=True)
    said(error, *words)
    assert "in a hook of Linear" in error.value.__notes__
    assert x.grad is layer.W.grad is None and mode.recording and len(seen) == 1
    bad.remove()
    loss.backward()
    y.backward()
    assert len(seen) == 3
    np.testing.assert_allclose(seen[1][0][0].data, seen[2][0][0].data)
    np.testing.assert_allclose(x.grad.data, 2 * seen[1][0][0].data)


def test_E12_a_pass_that_comes_by_another_way_than_the_outputs_runs_no_hook():
    """Nor with what an earlier one left, that ended between outputs and inputs."""

    class Leaks(nn.Module):
        def __call__(self, x):
            self.__dict__["inside"] = x * 2.0
            return x * self.inside

    layer, x = Leaks(), leaf(3.0)
    seen, _ = gated(layer, x)
    y, inside = layer(x), layer.inside
    with inside.register_hook(lambda g: 1 / 0), pytest.raises(ZeroDivisionError):
        y.backward(retain_graph=True)
    assert tg.grad(inside, x, retain_graph=True).item() == 2.0 and not seen
    (y + inside).backward()
    assert x.grad.item() == 14.0 and [(gx.item(), gy.item()) for (gx,), (gy,) in seen] == [(14, 1)]


def test_H03_a_call_with_a_backward_hook_is_freed_when_nobody_holds_it():
    layer, x = made(nn.Linear, 2, 3), leaf([[1.0, 2.0]])
    seen, _ = gated(layer, x)
    gc.collect()
    gc.disable()
    try:
        for create_graph in (False, True):
            for wrt in (x, layer.W):
                y = layer(x)
                tg.grad((y * y).sum(), wrt, create_graph=create_graph)
                dead = weakref.ref(y)
                seen.clear()
                del y
                assert dead() is None
    finally:
        gc.enable()


def test_E12_where_no_input_has_a_gradient_a_backward_hook_is_told_of_the_outputs():
    layer, x = made(nn.Linear, 2, 3), numbers(4, 2)
    seen, handle = gated(layer, x)
    with tg.no_grad():
        layer(x)
    layer(x).sum().backward()
    (((gx,), (gy,)),) = seen
    assert gx is None and gy.shape == (4, 3) and layer.W.grad is not None
    handle.remove()
    layer.register_full_backward_hook(lambda m, gx, gy: (gy[0],))
    with pytest.raises(TypeError, match="for an input that has no gradient, expected None"):
        layer(x).sum().backward()


def test_E12_a_backward_hook_of_a_module_under_create_graph_is_differentiated():
    class Cube(nn.Module):
        def __call__(self, x):
            return x**3

    layer, x = Cube(), leaf(2.0)
    seen, handle = gated(layer, x, returns=lambda gx: gx[0] * gx[0])
    slope = tg.grad(layer(x), x, create_graph=True)
    assert slope.item() == 9 * 2.0**4 and seen[0][0][0].item() == 12.0
    handle.remove()
    assert tg.grad(slope, x).item() == 36 * 2.0**3
    y, tangent = tg.transforms.jvp(layer, (x,), (1.0,))
    _, handle = gated(layer, x, returns=lambda gx: gx[0] * 10.0)
    assert (y.item(), tangent.item()) == (8.0, 12.0)
    assert [t.item() for t in tg.transforms.jvp(layer, (x,), (1.0,))] == [8.0, 12.0]
    assert tg.transforms.grad(tg.transforms.grad(layer))(2.0).item() == 120.0  # of 30 x²
    with pytest.raises(tg.Untraceable, match="vmap"):
        tg.transforms.vmap(tg.transforms.grad(layer))(tg.tensor([1.0, 2.0]))
    handle.remove()
    assert tg.transforms.vmap(tg.transforms.grad(layer))(tg.tensor([1.0, 2.0])).data[1] == 12.0


@pytest.mark.compiled
def test_E12_backward_hooks_of_cells_whose_loops_are_compiled():
    """Alone and in a stack, of all outputs and the last, they see what unrolled steps give."""
    below, above = made(nn.LSTM, 2, 3), made(nn.GRU, 3, 4)
    x = leaf(numbers(5, 2, 2).data)
    for words in ({}, {"readout": "last"}, {"batch_first": True}):
        layer, found = nn.Recurrent(below, above, **words), []
        for unroll in (False, True):
            layer.unroll = unroll
            seen, handle = gated(below, x, returns=lambda gx: (gx[0] * 2.0, gx[1]))
            more, other = gated(above, x)
            ys, (_, (h,)) = layer(x)
            (ys * ys).sum().backward()
            (((gx, (begin,)), (gy, (end,))),) = more
            assert begin is None and not end.data.any() and gx.shape[2] == 3 and gy.shape[2] == 4
            (((into, states), (back, _)),) = seen
            assert states == (None, None) and back.data.tobytes() == gx.data.tobytes()
            found.append([gx.data, gy.data, into.data, x.grad.data, below.Wh.grad.data])
            x.grad = None
            layer.zero_grad()
            handle.remove()
            other.remove()
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        twice = found[0][2].swapaxes(0, 1) if words.get("batch_first") else found[0][2]
        np.testing.assert_allclose(found[0][3], 2 * twice, rtol=1e-15)
    state = leaf(np.ones((2, 3))), leaf(np.ones((2, 3)))
    seen, handle = gated(below, x)
    ys, (h, c) = below(x, state)
    (h * c).sum().backward()
    (((_, begin), (gy, end)),) = seen
    assert [s.grad.data.tobytes() for s in state] == [g.data.tobytes() for g in begin]
    assert end[0].data.tobytes() == c.data.tobytes() and not gy.data.any()


def test_E12_where_no_gradient_of_one_call_comes_by_a_backward_hook_is_refused():
    cell, x = Own(), numbers(3, 1, 2)
    seen, _ = gated(cell.linear, x)
    with pytest.raises(tg.Untraceable) as error:
        cell(x)
    said(error, "register_full_backward_hook", "Linear", "unroll=True", "cell or the layer around")
    cell(x, unroll=True)[0].sum().backward()
    assert len(seen) == 3
    both = nn.Bidirectional(made(nn.LSTM, 2, 3), made(nn.LSTM, 2, 3))
    seen, handle = gated(both, x)
    with pytest.raises(TypeError, match=r"Bidirectional.*gradients.*part\.forward"):
        both(x)
    handle.remove()
    gated(both.forward, x)
    both(x)
    layer = made(nn.Linear, 2, 3)
    with layer.register_full_backward_hook(print), pytest.raises(ValueError) as error:
        tg.lab.ledger(layer(nn.RNN(2, 2, dtype=np.float64)(x, unroll=True)[0]).sum(), layer)
    said(error, "ledger", "has hooks", "handle.remove()")


def test_E12_tapes_and_pictures_show_what_goes_through_a_backward_hook():
    layer, x = made(nn.Linear, 2, 3), leaf([[1.0, 2.0]], name="x")
    seen, _ = gated(layer, x, returns=lambda gx: gx[0] * 10.0)
    loss = layer(x).sum()
    tape = tape_of(loss)
    loss.backward(retain_graph=True)
    shown = [r for r in tape.records if r.name == "x"]
    np.testing.assert_allclose(shown[0].grad.flat, x.grad.data.ravel())
    assert tg.draw(loss).dot.count('label="hooked') == 2
    assert len(seen) == 2


EXAMPLES = [
    Handle,
    nn.Module.register_forward_hook,
    nn.Module.register_forward_pre_hook,
    nn.Module.register_full_backward_hook,
]


@pytest.mark.parametrize("what", EXAMPLES, ids=lambda what: what.__name__)
def test_examples(what):
    test = doctest.DocTestParser().get_doctest(
        what.__doc__, {"tg": tg, "np": np}, what.__name__, None, 0
    )
    assert test.examples and not doctest.DocTestRunner(verbose=False).run(test).failed


def test_E12_a_tape_shows_the_gradients_that_hooks_make():
    """Also of what came from a compiled loop, and of copies of what is after it."""
    cell = made(nn.RNN, 2, 3)
    ys, _ = cell(numbers(3, 1, 2))
    half = ys * 0.5
    for y in (ys, half, cell.Wh):
        y.register_hook(lambda g: g * 3.0)
    loss = (half * half).sum()
    tape = tape_of(loss)
    loss.backward()
    shown = [r for r in tape.records if r.name == "Wh" and r.grad is not None]
    assert len(shown) == 1
    np.testing.assert_allclose(shown[0].grad.flat, cell.Wh.grad.data.ravel(), rtol=1e-12)


def test_a_hook_before_a_module_is_held_to_arrays_as_to_tensors():
    layer = nn.Linear(3, 4, rng=0)
    for hook, kind in ((lambda m, xs: [xs[0]], TypeError), (lambda m, xs: xs[0][0], ValueError)):
        with layer.register_forward_pre_hook(hook):
            for x in (np.ones((2, 3), np.float32), tg.ones((2, 3), np.float32)):
                with pytest.raises(kind, match="a hook of Linear returned"):
                    layer(x)
    with layer.register_forward_pre_hook(lambda m, xs: tg.tensor(xs[0] * 2)):
        assert layer(np.ones((2, 3), np.float32)).shape == (2, 4)
