"""What a newcomer does wrong, and the words that lead on."""

import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, io, lab, nn, optim
from tinygrad_rnn.tensor import recording

T, I, H = 4, 2, 3
ONE = np.ones((T, 1, I), np.float32)
lstm = lambda **how: nn.LSTM(I, H, rng=0, **how)
both = lambda: nn.Bidirectional(lstm(), lstm())


class Own(nn.Cell):
    """A cell whose step is not finished."""

    inputs, hidden = I, H

    def step(self, x, h):
        """Forget the return."""


class Two(Own):
    """A step of two states, of which the class names one."""

    def step(self, x, h, c):
        """One state more than are named."""
        return h, c


class Learner(nn.Recurrent):
    """A model with a loss."""

    def loss(self, x, y, state):
        """Its loss and its state."""
        ys, state = self(x, state)
        return ys.sum(), state


def learnt(forward):
    """A window of learning with something for `forward`."""
    model = Learner(lstm())
    list(optim.truncated_bptt(forward(model), [(ONE, ONE)], optim.SGD(model, lr=0.1)))


def loss(cell=None):
    """A loss over all steps."""
    return (cell or lstm())(ONE)[0].sum()


def spent():
    """A graph that was differentiated twice."""
    cell = lstm()
    y = loss(cell)
    tg.grad(y, cell.Wh)
    y.backward()


def torch_names(start="", **more):
    """The weights of an LSTM as PyTorch names them."""
    named = io.to_torch(lstm(convention="torch"))
    return {**{start + name: array for name, array in named.items()}, **more}


def opened(tmp_path):
    """A pickle that is taken for a checkpoint."""
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps([1.0] * 20))
    io.load(path)


def ragged():
    """A state whose bias is lists of several lengths."""
    cell = lstm()
    cell.load_state_dict({**cell.state_dict(), "b": [[1, 2], [3]]})


def both_ways(**how):
    """A sum from first to last, or from last to first."""
    return tg.scan(lambda x, h: h + x, tg.tensor(0.0), np.arange(3.0), **how)


REFUSALS = {
    "a flag in words": (
        lambda: nn.Recurrent(lstm(), reverse="no"), ValueError, "reverse: expected one of"),
    "a flag of a scan in words": (
        lambda: both_ways(reverse="no"), ValueError, "scan: reverse: expected one of (True, "),
    "gradients asked for in words": (
        lambda: tg.tensor(1.0, requires_grad="no"), ValueError, "requires_grad: expected one of"),
    "a dtype that nobody knows": (
        lambda: lstm(dtype="foo"), TypeError, "LSTM: dtype: expected float32 or float64, got foo"),
    "a state of ragged lists": (
        ragged, ValueError, "'b': expected lists of one length, got ragged ones"),
    "no function to check": (
        lambda: tg.check_grads(3, [1.0]), TypeError, "f: expected a function, got int"),
    "no model to stop": (
        lambda: optim.EarlyStopping(3, 2), TypeError, "model: expected a module, got int"),
    "another dtype": (
        lambda: lstm()(tg.tensor(ONE, dtype=float)),
        TypeError, "or the cell with dtype=np.float64"),
    "a word that a layer has not": (
        lambda: nn.Recurrent(lstm())(ONE, unroll=True), TypeError, "unroll=: expected xs, state"),
    "no return": (
        lambda: Own()(ONE), TypeError, "Own: step returned None: return the new state"),
    "more states than are named": (
        lambda: Two()(ONE), TypeError, "set state = ('h', 'c') in the class", "(x, h, c)"),
    "more states, wrapped": (lambda: nn.Zoneout(Two(), h=0.1), TypeError, "state = ('h', 'c')"),
    "a state of 0": (
        lambda: lstm()(ONE, 0), TypeError, "state of cell 0", "the tuple (h, c)", "got int"),
    "a state that is one array": (
        lambda: lstm()(ONE, np.zeros((1, H))), ValueError, "the tuple (h, c)", "shape (1, 3)"),
    "a list of all kinds": (
        lambda: lstm()([ONE, ONE[:, 0]]), ValueError, "a list of sequences", "(4, 1, 2), (4, 2)"),
    "zoneout of p": (lambda: nn.Zoneout(lstm(), p=0.1), ValueError, "use h=0.1, c=0.1"),
    "zoneout of nothing": (lambda: nn.Zoneout(lstm()), ValueError, "use h=0.1, c=0.1"),
    "dropout of nothing": (
        lambda: nn.VariationalDropout(lstm()), ValueError, "inputs=..., state=..., or both"),
    "zoneout of a layer": (
        lambda: nn.Zoneout(nn.Recurrent(lstm()), h=0.1), TypeError, "wrap each cell inside it"),
    "zoneout of two ways": (
        lambda: nn.Zoneout(both(), h=0.1), TypeError, "wrap each cell inside it"),
    "two ways of a class": (
        lambda: nn.Bidirectional(nn.LSTM, lstm()), TypeError, "nn.LSTM(inputs, hidden)"),
    "a list of cells": (
        lambda: nn.Recurrent([lstm()]), TypeError, "unpack the list: Recurrent(*cells)"),
    "a class": (
        lambda: nn.Recurrent(nn.LSTM), TypeError, "make one, such as nn.LSTM(inputs, hidden)"),
    "a cell that is to be unrolled": (
        lambda: setattr(lstm(), "unroll", True),
        TypeError, "LSTM.unroll", "nn.Recurrent(cell, unroll=True)", "cell(xs, unroll=True)"),
    "two ways that are to be turned": (
        lambda: setattr(both(), "readout", "last"), TypeError, "cell(xs, readout='last')"),
    "a seed in words": (
        lambda: nn.LSTM(I, H, rng="0"), TypeError, "LSTM: rng: expected", "got '0'"),
    "a seed of a mask": (
        lambda: nn.Zoneout(lstm(), h=0.1, rng="0"), TypeError, "Zoneout: rng: expected"),
    "a loss without a state": (
        lambda: learnt(lambda model: lambda x, y, state: model.loss(x, y, state)[0]),
        TypeError, "must return (loss, state), got Tensor"),
    "a model for its loss": (
        lambda: learnt(lambda model: model), TypeError, "got Learner: pass model.loss"),
    "windows of text": (
        lambda: data.windows("some text", 2, 2), TypeError, "index", "Vocabulary(text).encode"),
    "a ledger of a name": (
        lambda: lab.ledger(loss(), "Wh"), TypeError, "ledger: weights", "cell.Wh", "'Wh'"),
    "a ledger of a number": (lambda: lab.ledger(loss(), 3), TypeError, "ledger: weights", "got 3"),
    "the flow of nothing": (lambda: lab.flow(lstm()), TypeError, "xs is missing", "flow(cell, xs)"),
    "too few words": (
        lambda: lab.heat(loss()).draw(words="abc"), ValueError, "words", "4 steps, got 3"),
    "a prefix without its dot": (
        lambda: io.from_torch(torch_names("lstm."), prefix="lstm"), ValueError, "'lstm.'"),
    "weights of others": (
        lambda: io.from_torch(torch_names(head=np.ones(2))),
        ValueError, "unexpected 'head'", "drop it", "prefix='lstm.'"),
    "a gradient of many": (
        lambda: tg.draw(lstm()(ONE)[0], overlay="backward"),
        RuntimeError, "draw: overlay", "y.sum()"),
    "a page of many": (lambda: tg.explain(lstm()(ONE)[0]), RuntimeError, "explain: ", "y.sum()"),
    "a spent graph": (spent, RuntimeError, "or tg.grad() went", "retain_graph=True the first"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_leads_on(name):
    wrong, kind, *words = REFUSALS[name]
    with pytest.raises(kind) as refusal:
        wrong()
    for word in words:
        assert word in str(refusal.value), str(refusal.value)
    assert "cotangent too" not in str(refusal.value)


def test_a_file_that_is_not_opened_says_how_to_make_one_that_is(tmp_path):
    with pytest.raises(io.CheckpointError, match=r"a pickle.*safetensors\.torch\.save_file"):
        opened(tmp_path)


SAID = {
    "zoneout": (lambda: nn.Zoneout(lstm(), h=0.1), "Zoneout(h=0.1, cell=LSTM("),
    "dropout": (
        lambda: nn.VariationalDropout(lstm(), state=0.0),
        "VariationalDropout(state=0.0, cell=LSTM("),
    "per gate": (
        lambda: nn.VariationalDropout(lstm(), inputs=0.2, per_gate=True),
        "VariationalDropout(inputs=0.2, per_gate=True, cell="),
    "from below": (lambda: nn.FeedforwardDropout(lstm(), 0.5), "FeedforwardDropout(p=0.5, cell="),
    "weights": (lambda: nn.DropConnect(lstm(), 0.5), "DropConnect(p=0.5, cell="),
    "limit": (lambda: nn.ClipGradient(lstm(), norm=1.0), "ClipGradient(norm=1.0, cell="),
    "skip": (lambda: nn.TimeSkip(lstm(), 3), "TimeSkip(k=3, cell="),
    "first states": (
        lambda: [s.name for s in nn.TimeSkip(lstm(), 2).begin(1)], "['h0', 'c0', 'h-2 begin']"),
    "a NaN in what is given": (
        lambda: lab.provenance(tg.tensor([np.nan], requires_grad=True).sum()),
        "NaN first given in a tensor float64[1]"),
    "one of each": (lambda: nn.RNN(1, 1).explain(), "RNN: 1 input, 1 hidden unit, 3 parameters"),
    "a memory that lasts": (
        lambda: lab.flow(nn.RNN(I, H, activation=lambda a: a, rng=0), ONE),
        "memory: 1/e never, 1 % never\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_is_shown_reads(name):
    shown, words = SAID[name]
    assert words in repr(shown())


# -- what people write first -----------------------------------------------------------------------


@pytest.mark.parametrize("on", [False, True])
def test_what_a_cell_returns_is_no_tensor(on):
    cell, head = nn.GRU(3, 4, rng=0), nn.Linear(4, 2, rng=0)
    with recording(on):
        result = cell(np.ones((1, 5, 3), np.float32))
        for f in (head, tg.softmax, tg.sum, tg.tensor):
            with pytest.raises(TypeError, match=r"got a tuple of 2 .* take \[0\] of it"):
                f(result)


def test_a_module_with_forward_is_told_what_it_is_called():
    class Net(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(TypeError, match="Net: a Module is called by its __call__"):
        Net()

    class Both(Net):
        def __call__(self, x):
            return self.forward(x)

    assert Both()(3) == 3


def test_masks_have_the_operators_of_masks():
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    low, high = x < 3, x > 1
    for ours, theirs in (
        (low & high, low.data & high.data), (low | False, low.data), (True ^ low, ~low.data),
        (~low, ~low.data), (low ^ high, low.data ^ high.data),
    ):  # fmt: skip
        assert isinstance(ours, tg.Tensor) and np.array_equal(ours.data, theirs)
    for wrong in (lambda: x & low, lambda: low | 1, lambda: ~x):
        with pytest.raises(TypeError, match="expected tensors of True and False, got"):
            wrong()
    step = lambda h: h + tg.where((h > 0) & ~(h > 2), 1.0, 0.0)
    same = [tg.scan(step, np.array([-1.0, 1, 5]), None, length=3, unroll=u)[0] for u in (0, 1)]
    assert np.array_equal(*[y.data for y in same]) and same[0].data[-1].tolist() == [-1, 3, 5]


def test_questions_of_numpy_that_take_their_inputs_by_position_alone():
    x = tg.tensor([1.0], requires_grad=True)
    assert np.shares_memory(x, x) and np.may_share_memory(x, x)
    assert np.result_type(x, np.float32) == np.float64


@pytest.mark.parametrize("make", [tg.zeros, tg.ones])
def test_a_shape_in_several_words_is_told_to_be_one(make):
    with pytest.raises(TypeError, match=r"dtype: got 4: .* one tuple, \(3, 4\)"):
        make(3, 4)


def test_an_op_of_ones_own_that_fails_is_named():
    @tg.pointwise(lambda g, y, x: g)
    def looked_up(x):
        return {}["word"]

    with pytest.raises(KeyError) as caught:
        looked_up(tg.ones(3))
    assert "in the op looked_up" in caught.value.__notes__


def test_a_slice_of_parts_is_refused():
    with pytest.raises(TypeError, match="expected whole numbers in a slice, got slice"):
        tg.ones(3)[0.5:2]


def test_a_vocabulary_takes_texts_and_numbers_that_it_has():
    vocabulary = tg.data.Vocabulary("cab")
    assert repr(vocabulary) == "Vocabulary('abc')" and vocabulary.decode(iter([2, 0])) == "ca"
    for wrong in (["the", "cat"], None, 3):
        with pytest.raises(TypeError, match="expected a text"):
            tg.data.Vocabulary(wrong)
        with pytest.raises(TypeError, match="expected a text"):
            vocabulary.encode(wrong)
    for wrong in ([-1], [3], [0.5]):
        with pytest.raises(IndexError, match="expected whole numbers from 0 to 2, got"):
            vocabulary.decode(wrong)


def test_streams_of_lists_and_ranges_and_of_no_sequence():
    for given in ([0, 1, 2, 3, 4], range(5)):
        assert tg.data.streams(given, 2)[0].tolist() == [[0, 2], [1, 3]]
    with pytest.raises(ValueError, match=r"one long sequence of numbers, got shape \(2, 2\)"):
        tg.data.streams([[0, 1], [2, 3]], 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_model_of_nan_says_nothing(temperature, bad):
    model = nn.LanguageModel(3, cell="gru", embedding=2, hidden=3, rng=0)
    model.output.b.data = np.full_like(model.output.b.data, bad)
    with pytest.raises(ValueError, match="sample: a logit is NaN or infinite"):
        next(model.sample([0], 5, temperature=temperature))


def test_a_temperature_next_to_0_takes_the_likeliest():
    model = nn.LanguageModel(3, cell="gru", embedding=2, hidden=3, rng=0)
    coldest, cold = (list(model.sample([0], 5, temperature=t)) for t in (0, 1e-310))
    assert coldest == cold


def test_gates_are_tensors():
    with pytest.raises(TypeError, match="gates: f: expected a tensor, got int"):
        nn.gates(f=3)
