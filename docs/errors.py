"""The catalogue of refusals, by running each call: `python docs/errors.py` writes docs/errors.md.

A chapter begins with what its calls are made of; each call is run by itself, and what it raises is
what the page shows. In front of a call stand the rows of tests/catalogue.py that it belongs to;
below it why it is refused, and the way out.
"""

import contextlib
import os
import re
import tempfile
import textwrap
import warnings
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, io, nn, optim

PAGE = Path(__file__).with_name("errors.md")
HEAD = """\
# What is refused, and what to do then

Every refusal says who refuses, which argument it is about, what was expected and what was got; most
say what to do instead. Here they are by what people do, each as it reads, with the reason and the
way out below it. To find one again, search this page for a few of its words.

They are of Python's own kinds: TypeError for a thing of the wrong sort, ValueError for one of the
wrong size or value, IndexError for a place that is not there, RuntimeError for a call at the wrong
time, MemoryError, OSError. `tg.io.CheckpointError` is a ValueError, `optim.Diverged` a
RuntimeError, `tg.Untraceable` a TypeError. A refused call has changed nothing.

This page is made by `python docs/errors.py`, which runs every call on it, after

```python
import os
import numpy as np
import tinygrad_rnn as tg
from tinygrad_rnn import data, io, nn, optim
```
"""

TEXT = """
# Making tensors

A01
    tg.tensor([[1, 2], [3]])
Lists in a list have to be of one length. `tg.data.pad` fills the shorter ones up with zeros and
says how long they were.

A02
    tg.tensor("some text")
Only numbers have derivatives. `data.Vocabulary(text).encode(text)` makes whole numbers of symbols.

A02
    tg.tensor([1.0, None])
One of the elements is no number. Write 0 for what is missing, and give a mask.

A02
    tg.tensor(np.array(["2020-01-01"], "M8[D]"))
Dates are no numbers. Take the time since some day: `(dates - dates[0]) / np.timedelta64(1, "D")`.

A03
    tg.tensor([1, 2], requires_grad=True)
Whole numbers do not change by a little. Write them with a point.

A04
    tg.tensor([1 + 2j])
There are no complex numbers here. Give real and imaginary parts as two axes.

A08
    tg.tensor([1.0]).astype(complex)
A dtype is that of a tensor: float32, float64, an integer or bool.

A08
    tg.tensor([1.5, 2.0], dtype=np.int64)
A fraction would be cut off. `np.round(array)` says that this is meant.

A09
    tg.tensor(np.ma.array([1.0, 2.0], mask=[False, True]))
The mask would be lost, and what it hides would count. Fill it, and give the mask to what comes
after.

A09
    tg.tensor(np.zeros(2, [("height", float), ("weight", float)]))
A structured array has fields, and a tensor has none: `np.stack([a["height"], a["weight"]], -1)`.

A12
    tg.tensor(10**400)
Whole numbers have 64 bits. Make floats of them, scaled so that they fit.

A12
    tg.tensor([1.0]) * 10**400
The same, of a number beside a tensor.

# Changing tensors
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")

A13
    x.data = [1.0, 2.0, 3.0]
New values go where the old ones were. Another shape or dtype is another tensor.

A13
    x.grad = np.ones(2, np.float32)
A gradient has the shape and dtype of what it belongs to.

A13
    (x * 2).data = [1.0, 2.0]
A computed tensor is what it was computed as. Only leaves are given values.

E01
    x[0] = 3.0
Nothing changes in place, so that a gradient is always that of the values that were seen.

D09
    x.data[0] = 3.0
`x.data` shows the numbers that a graph uses. Assign a new array, `x.data = array`, or write into
`x.data.copy()`.

E01
    np.add(x, 1.0, out=np.zeros(2))
An array that is written to has no past. Use what is returned.

E02 E07
    x -= 0.1 * np.ones(2)
`-=` would bind the name to a new tensor, and the parameter would stay as it is.

E01
    tg.op.Op(lambda x: np.add(x, 1, out=x), [None])(x)
An op of your own writes into what it is given. Let it make a new array.

A14
    if x > 1: pass
A branch is taken by numbers, and the graph would know only one side. For one element
`bool(x.item() > 1)`, for all of an array `(x.data > 1).all()`.

A14
    float(x)
Only one element is a number. Take one, or sum them.

A15
    [tg.tensor([1.0]), tg.tensor([2.0])].index(x)
`in` a list asks whether elements are equal. Use a set, or `any(y is x for y in xs)`.

D09
    np.cbrt(x)
NumPy has a function that has no op here, so its gradient would be lost.

H02 H03
    import copy; copy.deepcopy(x * 2)
A copy would need all that the tensor came from. Copy its values, without the past.

# Sizes

B08
    nn.LSTM(3, 4.0)
Sizes are counted. `int(size)` says that rounding down is meant.

B07 B08
    nn.GRU(3, 0)
A layer has at least one input and one hidden unit.

B08
    nn.LanguageModel(50, hidden=8, layers=True)
A bool is no size, though Python takes True for 1.

B09
    nn.RNN(10**7, 10**8)
The weights do not fit into memory. The message says how much they need.

H05
    tg.broadcast_to(tg.tensor(1.0), (10**14,)) + 1.0
A view of one number needs no memory, but a sum of such views is an array.

K09
    nn.Linear(2, 2, rng="seed")
A seed is a whole number, or a generator that several layers share.

K09
    nn.Linear(2, 2, rng=-1)
Seeds are 0 or more.

G09
    nn.Dropout(1.5)
A probability is a number from 0 to 1.

G09
    nn.Zoneout(nn.GRU(3, 4), h=float("nan"))
NaN is no probability.

# Shapes
    lstm = nn.LSTM(3, 4, rng=0)
    xs = np.zeros((5, 2, 3), np.float32)

B01
    nn.Linear(3, 4)(np.ones((2, 5), np.float32))
The last axis holds the features, as many as the layer was made for.

B01
    lstm(np.ones((5, 2, 7), np.float32))
The last axis of a sequence holds what the cell reads, as many numbers as it was made for.

B02
    lstm(np.ones(3, np.float32))
A sequence has an axis of time, also if it has one step: `x[None]`.

A05
    lstm(tg.tensor(xs.astype(np.float64)))
Of two precisions one would be lost, or everything become slower, unseen. Say which is meant.

B02
    lstm(tg.tensor(np.zeros((5, 2, 3), int)))
Whole numbers name rows of a table, or have to be made floats.

B03 B04
    lstm(xs.swapaxes(0, 1), (np.zeros((2, 4)), np.zeros((2, 4))))
Either the state comes from another batch, or time and batch have changed places.

B04
    lstm(xs, np.zeros((2, 4)))
An LSTM has two states. They go in as they came out, in one tuple.

B04
    nn.Recurrent(lstm)(xs, (np.zeros((2, 4)), np.zeros((2, 4))))
A `Recurrent` has a tuple for each of its cells, also if that is one.

B10
    tg.mean_squared_error(np.ones((3, 1)), np.ones(3))
The difference would be a table of all pairs, and the loss a plausible, wrong number.

B11
    tg.cross_entropy(np.ones((2, 3)), [0, 3])
Three classes are called 0, 1 and 2. What is to be left out is given as `ignore_index`.

B11
    tg.cross_entropy(np.ones((2, 3)), [0.0, 1.0])
A class is a whole number. Of probabilities there is `tg.kl_div`.

B11
    tg.cross_entropy(np.ones((2, 3)), np.eye(3)[:2])
The target names classes, and is not one-hot.

B12
    tg.cross_entropy(np.ones((4, 2, 3)), np.zeros((2, 4), int))
Target and logits have the same order of axes, without that of the classes.

B13
    nn.Embedding(5, 3)([0, 5])
A table of five rows has the rows 0 to 4; negative ones would hide a mistake.

B13
    nn.Embedding(5, 3)([1.0])
A row is a whole number.

B14
    tg.max(tg.zeros((2, 0)), axis=-1)
Of nothing there is no largest. `tg.sum` is 0 there, `tg.mean` NaN.

B15
    tg.zeros((2, 3)).sum(2)
An axis is counted from 0, or from the end by negative numbers.

B15
    tg.zeros((2, 3)).reshape(4)
A reshape keeps all elements. One size may be -1, and is then what is left.

B15
    tg.zeros((2, 3)) + tg.zeros(2)
Axes are matched from the last one. `x[:, None]` gives one that broadcasts.

B15
    tg.zeros((2, 3)) @ tg.zeros((2, 3))
The last axis of the left is summed with the last but one of the right.

B15
    tg.zeros((2, 3))[0.5]
Places are whole numbers or bools.

B15
    tg.zeros((2, 3))[5]
There are two rows.

B16
    tg.concat([tg.zeros((2, 3)), tg.zeros((3, 2))])
What is joined agrees in all axes but one.

B16
    tg.stack([])
Of nothing there is no shape.

# Lengths and masks
    lstm = nn.LSTM(3, 4, rng=0)
    xs = np.zeros((5, 2, 3), np.float32)  # 5 steps, 2 sequences

C02
    lstm(xs, lengths=[3, -1])
A sequence has 0 steps or more.

C03
    lstm(xs, lengths=[3, 6])
A length beyond the array would read what is not there.

C04
    lstm(xs, lengths=[3.0, 5.0])
Lengths are counted.

C05
    lstm(xs, lengths=[True, False])
One bool for each sequence is no length; bools for each step are a mask.

C05
    lstm(xs, lengths=[3, 5, 1])
Each sequence has one length.

C10
    lstm(xs, mask=np.full((5, 2), 0.5))
A step counts or does not. Weights belong into the loss.

C10
    lstm(xs, mask=np.ones((2, 5), bool))
A mask has the axes of time and batch, in the order of the sequences.

C11
    tg.mean_squared_error(np.ones((5, 2)), np.ones((5, 2)), mask=np.ones((5, 2)))
Numbers as a mask may be weights, or may be meant the other way round. Bools say which count.

# Gradients
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")

F01
    y = (x * x).sum(); y.backward(); y.backward()
The first walk freed the graph, so that its memory is there for the next.

K07
    model = nn.LanguageModel(5, hidden=4, rng=0); text = np.zeros((3, 2), int)
    loss, state = model.loss(text, text); loss.backward()
    model.loss(text, text, state)[0].backward()
A state that is carried on brings its past with it. `optim.truncated_bptt` cuts it.

F02
    (x * 2).backward()
Of many numbers each has a gradient. Sum them, or say how much each counts: `y.backward(weights)`.

F03
    (x * 2).backward([1.0])
What comes in from above has one number for each one of the result.

F05
    tg.grad((x * x).sum(), tg.tensor([1.0], requires_grad=True))
The result does not depend on it, so a gradient of 0 may well be a mistake.

E08
    with tg.no_grad(): y = (x * x).sum()
    y.backward()
Without a past there is no way back.

K12
    tg.cross_entropy(np.ones((2, 3)), [0, 1]).backward()
A plain array comes from no weights. Give what the model returned.

K12
    tg.cross_entropy(None, [0])
The model returned nothing: its `__call__` has no return.

E03 E04
    linear = nn.Linear(2, 1, rng=0)
    optimizer = optim.SGD(linear, lr=0.1)
    loss = linear(np.ones((3, 2))).sum(); loss.backward(retain_graph=True)
    optimizer.step(); loss.backward()
The weights have moved on, and the graph still means the old ones.

F11
    with tg.detect_anomaly(): (tg.sqrt(x * 0) * 0.0).sum().backward()
The slope of a root at 0 is infinite, and 0 times that is NaN. Keep what goes in above 0.

E10
    tg.op.Op(lambda x: x * 2, [lambda g, y, x: g.sum()])(x).sum().backward()
A rule gives one number for each element of its input.

E10
    tg.op.Op(lambda x, y: x * y, [lambda g, z, x, y: g * y, lambda g, z, x, y: None])(x, x).sum().backward()
A rule that returns None has forgotten its return. Where no derivative is meant, None stands in the
list.

E10
    tg.op.Op(lambda x, y: x * y, [lambda g, z, x, y: g * y])(x, x)
No rule, no gradient, and that would go unseen.

E11
    def pull(g, y, x): g *= 2; return g
    tg.op.Op(lambda x: x * 2, [pull])(x).sum().backward()
What comes in belongs to others too. `return g * 2`.

# Training
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")

K02
    optim.SGD([], lr=0.1)
There is nothing to train; perhaps a generator was read before.

K02
    optim.SGD([tg.tensor([1.0])], lr=0.1)
A constant is not trained.

K02
    optim.SGD([x, x], lr=0.1)
It would be moved twice at each step.

G08
    optim.SGD([x], lr=-0.1)
A step goes downhill.

G08
    optim.Adam([x], betas=(0.9, 1.0))
With a decay of 1 nothing new would ever be learnt.

G08
    optim.Adam([x], lr="fast")
A rate is a number.

G07
    optim.clip_grad_norm([x], 0)
A gradient cut to length 0 trains nothing.

G07 G12
    x.grad = [float("nan"), 1.0]; optim.clip_grad_norm([x], 1.0, error_if_nonfinite=True)
The loss has left the numbers.

G12
    loss = lambda window, target, state: ((x * window).sum(), state)
    list(optim.truncated_bptt(loss, [([np.inf, 1.0], None)], optim.SGD([x], lr=0.1)))
The gradient is infinite or NaN, and no weight has been touched.

K05
    optim.cosine(3, peak=0.1, total=0)
A schedule has at least one step.

K06
    data.streams(np.arange(3), 4)
A text has a symbol to read and one to say for each stream.

K06
    data.windows(np.arange(30), 4, 0)
A window has at least one step.

K06
    list(data.windows("some text", 2, 2))
A window is of numbers.

K10
    nn.Module().layers = {nn.Linear(2, 2)}
A set has no order, so its parts have no names.

J14
    sgd = optim.SGD([x], lr=0.1); optim.Adam([x]).load_state_dict(sgd.state_dict() | {"velocity/0": np.ones(2)})
What one optimizer remembers means nothing to another.

# Saving and loading
    linear = nn.Linear(2, 3, rng=0)

J01
    with open("weights", "wb") as file: file.write(b"not a checkpoint")
    io.load("weights")
Only whole safetensors files are read.

J02
    with open("weights", "wb") as file: file.write((2**62).to_bytes(8, "little"))
    io.load("weights")
The file claims more than it holds. It was cut off, or is of another kind.

J03
    header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}'
    with open("weights", "wb") as file: file.write(len(header).to_bytes(8, "little") + header + bytes(12))
    io.load("weights")
Bytes that belong to nobody, or to two, are a sign of damage, or of something hidden.

J04
    import pickle
    with open("weights.pt", "wb") as file: pickle.dump([1.0] * 20, file)
    io.load("weights.pt")
A pickle can run code, and is never opened.

J05
    linear.load_state_dict({"W": np.ones((5, 3)), "bias": np.ones(3)})
All that does not fit is named at once, and nothing was loaded.

J06
    io.save("weights", {"w": np.ones(2, complex)})
There is no such dtype in the file.

J07
    nn.LSTM(2, 3).load_state_dict(nn.LSTM(2, 3, convention="keras").state_dict())
The arrays would fit, but their gates are in another order.

J10
    io.load("nowhere")
The file is not there.

J10
    io.save(".", {"w": np.ones(2)})
A folder is no file.

J11
    io.save("weights", {"a\\0b": np.ones(2)})
A name is text that every program can show.

# Threads and processes

I09
    tg.set_num_threads(0)
Something has to do the work.

# Pictures
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")

L01
    os.environ["TINYGRAD_RNN_DOT"] = "/nowhere/dot"; tg.draw(x * x).save("graph.png")
Only .svg and .dot need no program.

L03
    tg.draw(x * x).save("graph.txt")
The ending says what is written.

L05
    tg.draw([])
A picture shows at least one tensor.

H07
    y = x
    for _ in range(4000): y = y + x
    tg.draw(y)
Nobody sees anything in so large a picture, and to lay it out would take hours.

# Loops
    xs = np.ones((4, 2))

M01
    tg.scan(lambda x, h: h.reshape(2, 1), np.zeros(2), xs)
A state keeps its shape, so that the next step can read it.

M01
    tg.scan(lambda x, h: h.astype(np.float32), np.zeros(2), xs)
A state keeps its dtype.

M01
    tg.scan(lambda x, h, c: h, (np.zeros(2), np.zeros(2)), xs)
All states are returned, also those that stay as they are.

M02
    tg.scan(lambda x, h: None, np.zeros(2), xs)
The step has forgotten its return.

M02
    tg.scan(lambda x, y, h: h + x, np.zeros(2), (xs, np.ones((3, 2))))
What is read together is of one length.

M02
    tg.scan(lambda x, h: h + x, np.zeros(2), xs, length=5)
The length is that of xs.

M02
    tg.scan(lambda h, x: h + x, np.zeros(2), xs)
The inputs come first here, and in JAX last.

M03
    tg.scan(lambda x, h: h + x if h.sum() > 0 else h, np.zeros(2), xs)
A step is looked at once, before there are numbers.

M03
    tg.scan(lambda x, h: h + np.random.normal(), np.zeros(2), xs)
A step is looked at once, and would draw once for all times.

M06
    tg.scan(lambda x, h: np.cbrt(x) + h, np.zeros(2), xs)
What is no op has no derivative.

M10
    tg.unroll(lambda x, h: h + 1 // 0, np.zeros(2), xs)
What a step of yours raises comes through, with the step in a note below.
"""  # noqa: E501

NAMES = {"tg": tg, "np": np, "nn": nn, "optim": optim, "io": io, "data": data, "os": os}


def chapters():
    """Each chapter: its title, what its calls begin with, and rows, call and words of each."""
    for chapter in re.split(r"^# ", TEXT, flags=re.M)[1:]:
        head, *entries = chapter.strip().split("\n\n")
        title, *before = head.split("\n")
        parts = [re.fullmatch(r"([A-M0-9 ]+)\n((?: {4}[^\n]*\n)+)(.*)", e, re.S) for e in entries]
        split = [(m[1].split(), textwrap.dedent(m[2]).strip(), m[3]) for m in parts]
        yield title, textwrap.dedent("\n".join(before)), split


def rows():
    """All rows of the catalogue of bad input that the page shows a refusal of."""
    return {row for _, _, entries in chapters() for names, *_ in entries for row in names}


def message(before, call):
    """What the call raises, in a folder of its own, with the warnings that led to it left out."""
    environment, names = dict(os.environ), dict(NAMES)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        exec(before, names)
        try:
            exec(call, names)
        except Exception as error:
            notes = getattr(error, "__notes__", [])
            return "\n".join([f"{type(error).__name__}: {error}", *notes])
        finally:
            os.environ.clear()
            os.environ.update(environment)
    raise AssertionError(f"not refused: {call}")


def text():
    """The whole page."""
    parts = [HEAD]
    for title, before, entries in chapters():
        parts.append(f"\n## {title}\n")
        parts += [f"```python\n{before}\n```\n"] if before else []
        for _, call, words in entries:
            shown = "\n".join(f">>> {line}" for line in call.split("\n"))
            parts.append(f"```text\n{shown}\n{message(before, call)}\n```\n\n{words}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
