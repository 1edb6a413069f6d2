"""Words of other libraries: refused with what is said here, from the table that the page shows."""

import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn import elsewhere
from tinygrad_rnn.tensor import ELSEWHERE

PAGE = Path(__file__).parent.parent / "docs/conventions.md"
x = tg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
CLASSES = {  # one of each kind, and how it is made
    "Cell": (nn.LSTM, (2, 3)), "Linear": (nn.Linear, (2, 3)), "Embedding": (nn.Embedding, (2, 3)),
    "Dropout": (nn.Dropout, (0.5,)), "LayerNorm": (nn.LayerNorm, (3,)),
    "Recurrent": (nn.Recurrent, (nn.GRU(2, 3),)),
    "Bidirectional": (nn.Bidirectional, (nn.GRU(2, 3), nn.GRU(2, 3))),
    "Optimizer": (optim.Adam, ([x],)),
}  # fmt: skip
OBJECTS = {"x": x, "tg": tg, "nn": nn, "optim": optim, "module": nn.Linear(2, 3)}
FUNCTIONS = [tg.sum, tg.mean, tg.max, tg.min, tg.softmax, tg.log_softmax, tg.concat, tg.stack]
FUNCTIONS += [tg.cross_entropy, tg.mean_squared_error, x.sum, x.mean, x.max, x.softmax]


def said(function, *given, **words):
    with pytest.raises((AttributeError, TypeError)) as refusal:
        function(*given, **words)
    return str(refusal.value)


@pytest.mark.parametrize("place", [p for p in elsewhere.PLACES.values() if p])
def test_every_word_of_the_table_is_refused_with_its_advice(place):
    """And none of them exists here: of what exists nothing is refused."""
    words = [word for where, word in ELSEWHERE if where == place]
    assert words
    for word in words:
        advice = ELSEWHERE[place, word].replace("`", "")
        if place in OBJECTS:
            assert not hasattr(OBJECTS[place], word), f"{place}.{word} exists"
            message = said(getattr, OBJECTS[place], word)
        elif place in CLASSES:
            kind, given = CLASSES[place]
            kinds = [k for k in vars(nn).values() if inspect.isclass(k) and place == "Cell"
                     and issubclass(k, nn.Cell) and not issubclass(k, nn.Modifier)]  # fmt: skip
            for made in [*kinds, kind]:
                assert word not in inspect.signature(made.__init__).parameters, f"{made} {word}"
            message = said(kind, *given, **{word: 1})
        elif place == "layer":
            message = said(nn.Recurrent(nn.GRU(2, 3)), np.ones((1, 1, 2)), **{word: 1})
            assert message == said(nn.GRU(2, 3), np.ones((1, 1, 2)), **{word: 1})
        else:
            assert place == "f"
            messages = [said(f, x, x, **{word: 1}) if f in (tg.cross_entropy, tg.mean_squared_error)
                        else said(f, **{word: 1}) if hasattr(f, "__self__")
                        else said(f, x, **{word: 1}) for f in FUNCTIONS]  # fmt: skip
            assert len({m.split(": ", 1)[1] for m in messages}) == 1
            message = messages[0]
        assert message.endswith(f"; use {advice}") and word in message


def test_the_page_shows_the_table():
    page = PAGE.read_text("utf-8")
    _, section = page.split("## Coming from PyTorch, JAX and Keras\n")
    assert section.split("\n\n")[-1] == elsewhere.table() + "\n"
    for row in elsewhere.ROWS:
        assert "|" not in "".join(row)


def test_what_the_table_advises_exists():
    """Each `tg.`, `nn.` and `optim.` name of its right column is one of ours."""
    found = 0
    for advice in {advice for _, _, advice in elsewhere.ROWS}:
        for path in re.findall(r"\b((?:tg|nn|optim)(?:\.\w+)+)", advice):
            thing = {"tg": tg, "nn": nn, "optim": optim}[path.split(".")[0]]
            for name in path.split(".")[1:]:
                thing = getattr(thing, name)
            found += 1
    assert found > 60


def test_other_names_are_refused_as_ever_and_own_keywords_are_own():
    assert said(getattr, x, "nothing") == "'Tensor' object has no attribute 'nothing'"
    assert said(getattr, nn, "Nothing").endswith("has no attribute 'Nothing'")
    assert "unexpected keyword argument 'wrong'" in said(nn.LSTM, 2, 3, wrong=1)
    assert said(tg.sum, x, wrong=1) == "sum: there is no wrong=: expected axis, keepdims"
    assert "no arguments" in said(nn.Module, 3)

    for kind, given in (
        (nn.LSTM, (3, 4, 2)),
        (nn.IRNN, (3, 4, 2)),
        (nn.Zoneout, (nn.GRU(2, 3),) * 3),
    ):
        assert "and the rest by name, got 3 arguments. For several layers use nn.Recurrent" in said(
            kind, *given
        )
    assert nn.OutputRecurrent(2, 3, 1).width == 1
    viewed = lambda f, b: f.view(2)
    both = nn.Bidirectional(nn.GRU(2, 3), nn.GRU(2, 3), merge=viewed)
    assert said(lambda: both.outputs) == "a tensor has no attribute 'view'; use x.reshape(...)"

    assert pickle.loads(pickle.dumps(tg.mean)) is tg.mean is tg.ops.mean
    axis = "axis: int | tuple[int, ...] | None = None"
    assert str(inspect.signature(tg.mean)) == f"(x: Any, {axis}, keepdims: bool = False) -> Any"

    class Mine(nn.Cell):
        def __init__(self, hidden_size, **others):
            self.inputs = self.hidden = hidden_size
            self.others = others

    class Scaled(optim.SGD):
        def __init__(self, parameters, learning_rate):
            super().__init__(parameters, learning_rate)

    class Open(nn.Cell):
        def __init__(self, *sizes, **others):
            self.sizes_given = sizes

    assert Open(1, 2, 3, num_layers=2).sizes_given == (1, 2, 3)
    assert Mine(hidden_size=3, num_layers=2).others == {"num_layers": 2}
    assert Scaled([x], learning_rate=2.0).lr == 2.0

    @tg.pointwise(lambda g, y, x, dim: g * dim)
    def times(x, dim):
        return x * dim

    assert times(x, dim=3).data[0, 0] == 3


# -- what an attribute would hide, or not show -----------------------------------------------------


class Plain(nn.Module):
    """A module without anything."""


class Own(nn.Cell):
    """A cell without anything."""

    inputs = hidden = 2


part = lambda: nn.Linear(2, 2)
HIDDEN = {
    "modules": (Plain, lambda: [part()]), "training": (Plain, lambda: [part()]),
    "parameters": (Plain, lambda: [x]), "eval": (Plain, lambda: True),
    "zero_grad": (Plain, part), "state": (Own, part), "hidden": (Own, part),
    "inputs": (Own, part), "output": (Own, part), "outputs": (Own, lambda: {"a": part()}),
    "step": (Own, part), "dtype": (Own, part), "links": (Own, lambda: {"x": part()}),
}  # fmt: skip
LOST = {
    "set": lambda: {part()}, "key": lambda: {part(): 1}, "values": lambda: {"a": part()}.values(),
    "deep": lambda: [({"a": {part()}},)], "parameter": lambda: {tg.tensor([1.0], True)},
    "array": lambda: np.array([part()], object),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_a_part_does_not_take_the_place_of_what_the_library_means(name):
    kind, value = HIDDEN[name]
    owner = kind()
    assert f"{kind.__name__}.{name} = " in said(setattr, owner, name, value())
    assert name not in vars(owner)


@pytest.mark.parametrize("name", LOST)
def test_parts_that_would_not_be_found_are_refused(name):
    assert "would not be found" in said(setattr, Plain(), "parts", LOST[name]())


def test_what_is_found_and_what_is_no_part_may_be_kept():
    owner = Plain()
    owner.hidden, owner.output, owner.state = part(), [part(), (part(),)], {"a": {"b": part()}}
    owner.seen, owner.order, owner.training = {1, 2}, {"x": [x.data]}, False
    assert len(owner.parameters()) == 8
    cell = Own()
    cell.state, cell.links, cell.dtype = ("h", "c"), {"x": ("Wx",)}, np.float64
    cell.step = lambda x, h, c: (h, c)
    cell._check()


# -- the how-to page for those who come from PyTorch -----------------------------------------------

FROM_TORCH = PAGE.with_name("howto") / "pytorch.md"
INDICES = np.random.default_rng(0).integers(0, 3, (7, 4))
XS = np.random.default_rng(1).normal(size=(7, 4, 3)).astype(np.float32)
STATE = np.random.default_rng(2).normal(size=(2, 4, 5)).astype(np.float32)


def tables(section):
    """The tables of a section without their heads: of each row, the code in each column."""
    text = FROM_TORCH.read_text("utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    for table in re.findall(r"\|---.*\n((?:\|.*\n?)+)", text):
        lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
        yield [[re.findall("`([^`]+)`", column) for column in line] for line in lines]


def here():
    """What the code of the page's right columns speaks of, as the page says."""
    own = nn.Recurrent(*[nn.LSTM(k, 5, convention="torch", rng=k) for k in (3, 5)])
    names = {"np": np, "tg": tg, "nn": nn, "optim": optim, "data": tg.data}
    names |= {"transforms": tg.transforms, "x": tg.tensor(XS), "i": INDICES, "layer": own}
    names |= {"cell": nn.LSTM(3, 5, convention="torch"), "h": STATE[0], "c": STATE[1]}
    names |= {"embedding": nn.Embedding(9, 5), "bias": 0.5, "ys": tg.zeros((7, 4, 5), np.float32)}
    return names | {"optimizer": optim.SGD(own, lr=0.1)}


def plain_numbers(found):
    """Of tensors of either library, and tuples of them."""
    if isinstance(found, tuple | list):
        return [plain_numbers(y) for y in found]
    found = found.detach() if hasattr(found, "detach") else found
    return np.asarray(found.data if isinstance(found, tg.Tensor) else found)


(MEANING,), (SPELLED, OTHERWISE) = map(
    tables, ["The same word, another meaning", "Spelled otherwise"]
)
PAIRS = [(there, here) for (there,), (here,), *_ in MEANING + SPELLED]


def test_what_is_written_for_those_who_come_from_pytorch_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = here()
    for code in [code for _, code in PAIRS] + [code for *_, row in OTHERWISE for code in row]:
        exec(code, names)
    assert len(PAIRS) > 30 and len(OTHERWISE) > 14


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_what_is_written_for_those_who_come_from_pytorch_computes_the_same():
    torch = pytest.importorskip("torch", reason="torch is what to compare with")
    names, lstm, lstm_cell = here(), torch.nn.LSTM(3, 5, 2), torch.nn.LSTMCell(3, 5)
    tg.io.load_torch(names["layer"], lstm.state_dict())
    tg.io.load_torch(names["cell"], lstm_cell.state_dict())
    theirs = {"torch": torch, "F": torch.nn.functional, "lstm": lstm, "lstm_cell": lstm_cell}
    theirs |= {name: torch.tensor(names[name]) for name in "ihc"} | {"x": torch.tensor(XS)}
    for there, ours in PAIRS:
        found = [plain_numbers(eval(*pair)) for pair in ((there, theirs), (ours, names))]
        for one, other in zip(*[y if isinstance(y, list) else [y] for y in found], strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6, err_msg=there)
