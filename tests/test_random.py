"""Random numbers: every `rng`, what is drawn without one, and that it is drawn once."""

import ast
import inspect
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from test_contract import refused
from test_docstrings import PUBLIC
from test_house import FILES, parsed

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn
from tinygrad_rnn.transforms import checkpoint, grad, hvp

XS = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def the_world():
    """No test is left seeded, and none reads or moves what is everybody's."""
    before = np.random.get_state()[1].tobytes(), random.getstate()
    tg.manual_seed(None)
    yield
    tg.manual_seed(None)
    assert (np.random.get_state()[1].tobytes(), random.getstate()) == before


def weights(made):
    return [x.data for x in made.parameters()]


def seen(**how):
    """What `check_grads` gives to a function."""
    given = []
    tg.check_grads(lambda x: given.append(x.data) or x * x, [np.ones(3)], order=1, **how)
    return given


def modified(change):
    return lambda **how: [change(nn.LSTM(3, 3, rng=0), **how)(XS, unroll=True)[0].data]


def modelled(**how):
    model = nn.LanguageModel(5, cell="rnn", embedding=3, hidden=3, dropout=0.5, **how)
    return [*weights(model), model(np.ones((4, 2), int))[0].data]


def sampled(**how):
    """As likely as not: a model of equal chances."""
    model = nn.LanguageModel(2, cell="rnn", embedding=1, hidden=1, rng=0)
    model.output.W.data = np.zeros((1, 2), np.float32)
    return [np.array(list(model.sample([0], 60, **how)))]


def task(make):
    """A task takes no seed, which would give one and the same batch at every call."""

    def made(rng=None):
        rng = rng if rng is None or isinstance(rng, np.random.Generator) else tg.manual_seed(rng)
        return [np.asarray(x) for x in make(rng)]

    return made


TASKS = {
    "data.adding": task(lambda rng: data.adding(rng, 20, 4)),
    "data.temporal_order": task(lambda rng: data.temporal_order(rng, 20, 4)),
    "data.copy_memory": task(lambda rng: data.copy_memory(rng, 20, 4)),
    "data.parity": task(lambda rng: data.parity(rng, 20, 4)),
    "data.reber": task(lambda rng: data.reber(rng, 20)[0]),
    "data.embedded_reber": task(lambda rng: data.embedded_reber(rng, 20)[0]),
}
DRAWING = TASKS | {
    "check_grads": seen,
    "data.buckets": lambda **how: list(data.buckets(np.arange(40), 4, **how)),
    "data.dates": lambda **how: [np.array(data.dates(30, **how))],
    "nn.DropConnect": modified(lambda cell, **how: nn.DropConnect(cell, 0.5, **how)),
    "nn.Dropout": lambda **how: [nn.Dropout(0.5, **how)(XS).data],
    "nn.Embedding": lambda **how: weights(nn.Embedding(4, 3, **how)),
    "nn.FeedforwardDropout": modified(lambda cell, **how: nn.FeedforwardDropout(cell, 0.5, **how)),
    "nn.GRU": lambda **how: weights(nn.GRU(3, 4, **how)),
    "nn.IRNN": lambda **how: weights(nn.IRNN(3, 4, **how)),
    "nn.LSTM": lambda **how: weights(nn.LSTM(3, 4, projection=2, **how)),
    "nn.LanguageModel": modelled,
    "nn.LanguageModel.sample": sampled,
    "nn.Linear": lambda **how: weights(nn.Linear(3, 4, **how)),
    "nn.MinimalGatedUnit": lambda **how: weights(nn.MinimalGatedUnit(3, 4, **how)),
    "nn.OutputRecurrent": lambda **how: weights(nn.OutputRecurrent(3, 4, 2, **how)),
    "nn.RNN": lambda **how: weights(nn.RNN(3, 4, untied=3, **how)),
    "nn.Recurrent": lambda **how: [
        nn.Recurrent(nn.RNN(3, 3, rng=0), dropout=0.5, unroll=True, **how)(XS)[0].data
    ],
    "nn.VariationalDropout": modified(
        lambda cell, **how: nn.VariationalDropout(cell, inputs=0.5, state=0.5, **how)
    ),
    "nn.Zoneout": modified(lambda cell, **how: nn.Zoneout(cell, h=0.5, c=0.5, **how)),
}
drawing = pytest.mark.parametrize("name", DRAWING)


def drawn(name, **how):
    """A fingerprint of all that is drawn."""
    if name == "data.dates":
        pytest.importorskip("babel")
    found = DRAWING[name](**how)
    return [(x.shape, x.dtype.str, x.tobytes()) for x in found]


def taking_rng():
    """Every public function, class and method with a parameter `rng`."""
    found = dict(PUBLIC)
    for name, made in PUBLIC.items():
        if inspect.isclass(made):
            methods = inspect.getmembers(made, inspect.isfunction)
            found |= {f"{name}.{word}": f for word, f in methods if word[0] != "_"}
    return {
        name for name, made in found.items()
        if isinstance(made, type | types.FunctionType)
        and not (inspect.isclass(made) and issubclass(made, Exception))
        and "rng" in inspect.signature(made).parameters
    }  # fmt: skip


def test_every_rng_is_looked_at():
    assert {*DRAWING} == taking_rng()


@drawing
def test_K09_P60_one_seed_has_the_same_bits_and_another_has_others(name):
    first = drawn(name, rng=3)
    same = [3, np.int64(3), np.uint8(3), np.random.SeedSequence(3), np.random.PCG64(3)]
    for rng in (*same, np.random.default_rng(3)):
        assert drawn(name, rng=rng) == first
    huge = 10**40
    assert drawn(name, rng=huge) == drawn(name, rng=huge) != first
    shared = np.random.default_rng(3)
    assert drawn(name, rng=shared) == first != drawn(name, rng=shared)


@drawing
def test_K09_P60_what_is_given_no_rng_follows_manual_seed(name):
    if name == "check_grads":
        assert drawn(name) == drawn(name, rng=0)
        return
    free = drawn(name), drawn(name)
    assert free[0] != free[1]
    for seed in (3, np.random.SeedSequence(3)):
        tg.manual_seed(seed)
        first, next_ = drawn(name), drawn(name)
        assert first == drawn(name, rng=np.random.default_rng(3)) != next_
    rng = np.random.default_rng(3)
    assert tg.manual_seed(rng) is rng and drawn(name) == first
    state = rng.bit_generator.state
    assert drawn(name) == next_ != drawn(name)
    rng.bit_generator.state = state
    assert drawn(name) == next_


@drawing
def test_K09_other_seeds_are_refused(name):
    who = name.split(".")[1 if "." in name else 0] if "sample" not in name else "LanguageModel"
    legacy = np.random.RandomState(0)
    bad = [-1, np.int8(-1), 1.5, np.float64(1), np.nan, "0", True, np.True_, [1], (1, 2)]
    bad += [np.array([1, 2]), legacy, np.random, random.Random(0), random, {}]
    for rng in bad:
        kind = ValueError if isinstance(rng, int | np.integer) and rng is not True else TypeError
        with refused(kind, f"{who}: rng: expected a whole number", f"got {rng!r}", "rng=0"):
            DIRECT.get(name, DRAWING[name])(rng=rng)
        with refused(kind, "manual_seed: rng: expected", f"got {rng!r}"):
            tg.manual_seed(rng)


DIRECT = {
    "data.adding": lambda rng: data.adding(rng, 20, 4),
    "data.temporal_order": lambda rng: data.temporal_order(rng, 20, 4),
    "data.copy_memory": lambda rng: data.copy_memory(rng, 20, 4),
    "data.parity": lambda rng: data.parity(rng, 20, 4),
    "data.reber": lambda rng: data.reber(rng, 20),
    "data.embedded_reber": lambda rng: data.embedded_reber(rng, 20),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_no_seed(name):
    for seed in (0, np.random.SeedSequence(0)):
        with refused(TypeError, "rng: expected a np.random.Generator or None", "each call"):
            DIRECT[name](seed)


def test_only_one_place_makes_generators():
    """What a seed means is said once."""
    made = set()
    for path in (p for p in FILES if not p.parent.name.startswith("lesson_")):  # learners' own
        calls = [ast.unparse(x.func) for x in ast.walk(parsed(path)) if isinstance(x, ast.Call)]
        if any(re.match(r"(np\.)?random\.(?!SeedSequence)", call) for call in calls):
            made.add(path.name)
    assert made == {"randomness.py"}


def every(rng):
    names = [name for name in DRAWING if name != "data.dates"]
    return [x for name in names for x in DRAWING[name](rng=rng)]


def test_P60_another_process_draws_the_same_without_the_compiler_and_after_numpy(tmp_path):
    """Weights to the bit, and what products with them give to its last digits."""
    code = f"""
import numpy as np
np.random.seed(7), np.random.normal(size=5)
import test_random
np.savez({str(tmp_path / "found.npz")!r}, *test_random.every(5))
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parent,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    expected = every(5)
    with np.load(tmp_path / "found.npz") as found:
        assert len(found.files) == len(expected) > 40
        for a, b in zip(found.values(), expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            if a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
            else:
                assert (a == b).all()


# -- threads and processes -----------------------------------------------------------------------


def model_of(k):
    tg.manual_seed(k)
    return modelled()


def test_P81_every_thread_has_a_seed_of_its_own():
    alone = [model_of(k) for k in range(8)]
    found, together = [None] * 8, threading.Barrier(8)

    def work(k):
        together.wait()
        found[k] = model_of(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(found, alone, strict=True):
        assert [x.tobytes() for x in ours] == [x.tobytes() for x in theirs]


def elsewhere(f):
    """What f does on another thread: its result, or what it raised."""
    found = []

    def work():
        try:
            found.append(f())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work, name="loader")
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_without_a_seed_is_refused_while_another_has_one():
    """It would draw other numbers in every run, though somebody asked for the same."""
    draw = lambda **how: nn.Linear(2, 2, **how).W.data
    assert elsewhere(draw).shape == (2, 2)
    tg.manual_seed(3)
    error = elsewhere(draw)
    assert isinstance(error, RuntimeError)
    for words in ("Linear: rng", "'loader'", "tg.manual_seed was called on another", "Give rng="):
        assert words in str(error)
    assert (elsewhere(lambda: draw(rng=0)) == draw(rng=0)).all()
    assert (elsewhere(lambda: tg.manual_seed(3) and draw()) == draw()).all()
    tg.manual_seed(None)
    assert elsewhere(draw).shape == (2, 2)  # that thread is gone, and its seed with it


def in_a_child(seed, sent):
    sent.put((seed, drawn("nn.Dropout")))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("seed", [3, None])
def test_a_forked_process_goes_on_as_seeded_or_draws_by_itself(seed):
    tg.manual_seed(seed)
    drawn("nn.Dropout")
    fork = multiprocessing.get_context("fork")
    sent, children = fork.SimpleQueue(), []
    for k in range(2):
        children.append(fork.Process(target=in_a_child, args=(k, sent)))
        children[-1].start()
    found = dict(sent.get() for _ in children)
    for child in children:
        child.join()
    ours = drawn("nn.Dropout")
    assert (found[0] == ours, found[1] == ours, found[0] == found[1]) == (seed is not None,) * 3


# -- drawn once, and done again --------------------------------------------------------------------


def parts(rng):
    """A function with layers that draw, and a leaf."""
    inner, outer = nn.Dropout(0.5, rng=rng), nn.Dropout(0.3, rng=rng)
    cell = nn.Zoneout(nn.GRU(3, 3, rng=0, dtype=np.float64), h=0.5, rng=rng)
    f = lambda x: outer(cell(inner(x) * x, unroll=True)[0])
    return f, tg.tensor(XS.astype(np.float64), requires_grad=True)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("how", [checkpoint, lambda f: checkpoint(lambda x: checkpoint(f)(x) * 1)])
def test_P65_what_is_computed_again_has_the_same_masks(how, given):
    def run(around):
        rng = np.random.default_rng(1)
        if not given:
            tg.manual_seed(rng)
        f, x = parts(rng if given else None)
        y = (around(f)(x) ** 2).sum()
        after = rng.random()
        (g,) = tg.grad(y, [x], create_graph=True)
        (h,) = tg.grad((g * g).sum(), [x])
        return [y.data, g.data, h.data, after, rng.random()]

    for a, b in zip(run(how), run(lambda f: f), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15)


def test_P65_a_mask_that_would_give_the_same_number_is_the_same_mask():
    """The sum alone does not say which were cut."""
    dropout = nn.Dropout(0.5, rng=0)
    for _ in range(30):
        x, kept = tg.tensor(np.ones(4), requires_grad=True), []
        y = checkpoint(lambda x, kept=kept: (kept.append(dropout(x)) or kept[-1]).sum())(x)
        y.backward()
        assert (x.grad.data == kept[0].data).all()


def test_P65_functions_of_layers_that_draw_are_differentiated_again():
    """Someone waits for the gradient of a product with the Hessian."""
    dropout = nn.Dropout(0.5, rng=0)
    start = dropout.rng.bit_generator.state
    w = tg.tensor(np.ones(6), requires_grad=True)
    f = lambda x: (dropout(x) ** 3 * w).sum()
    x = np.linspace(1, 2, 6)
    product = hvp(f, (x,), (np.ones(6),))[0]
    product.sum().backward()
    dropout.rng.bit_generator.state = start
    mask = dropout(np.ones(6)).data
    np.testing.assert_allclose(w.grad.data, 6 * x * mask**3, rtol=1e-14)
    dropout.rng.bit_generator.state = start
    np.testing.assert_allclose(grad(f)(x).data, 3 * x**2 * mask**3, rtol=1e-14)


def test_looking_at_a_cell_and_converting_one_draws_nothing():
    cell = nn.Zoneout(nn.VariationalDropout(nn.LSTM(2, 3, rng=0), state=0.5, rng=1), h=0.5)
    rng, plain = tg.manual_seed(0), {n: nn.LSTM(2, 3, convention=n, rng=0) for n in WAYS}
    tg.equations(cell), cell.explain(), repr(cell)
    for name, (there, back) in WAYS.items():
        back(there(plain[name]))
    assert rng.random() == np.random.default_rng(0).random()
    assert cell.cell.rng.random() == np.random.default_rng(1).random()


WAYS = {
    "torch": (tg.io.to_torch, tg.io.from_torch),
    "keras": (tg.io.to_keras, tg.io.from_keras),
}


def test_a_layer_made_before_a_seed_follows_it():
    layers = [nn.Dropout(0.5), nn.Zoneout(nn.RNN(3, 3, rng=0), h=0.5)]
    layers += [nn.Recurrent(nn.DropConnect(nn.RNN(3, 3, rng=0), 0.5), dropout=0.3)]

    def drawn_now():
        tg.manual_seed(3)
        return [np.asarray(f(XS)[0].data) for f in layers]

    for a, b in zip(drawn_now(), drawn_now(), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("rng", [None, 0])
def test_a_step_that_draws_by_a_layer_is_refused(rng):
    dropout = nn.Dropout(0.5, rng=rng)
    words = "draws numbers without an rng" if rng is None else "random numbers from dropout.rng"
    with refused(tg.Untraceable, words, "unroll=True"):
        tg.scan(lambda x, h: h + dropout(x), np.zeros((3, 3), np.float32), XS)
    layer = nn.FeedforwardDropout(nn.RNN(3, 3, rng=0), 0.5, rng=rng)
    with refused(tg.Untraceable, "the step draws", "unroll=True"):
        tg.scan(lambda x, h: layer(x[None], (h,))[0][0], np.zeros((3, 3), np.float32), XS)
    ys = tg.unroll(lambda x, h: h + dropout(x), np.zeros((3, 3), np.float32), XS)
    assert ys[0].shape == (4, 3, 3)
