"""Cases that once broke a picture, a page, a measurement or the backward pass in steps."""

import itertools

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tape import Tape, tape_of


def chain(times, batch=2):
    W = tg.tensor(np.eye(3) * 0.5, requires_grad=True, name="W")
    h = tg.tensor(np.ones((batch, 3)))
    for t in times:
        with tg.scope(f"t={t}"):
            h = tg.tanh(h @ W)
    return (h * h).sum(), W


def test_memory_refuses_a_time_that_no_list_can_reach():
    loss, _ = chain([999_999_998, 999_999_999])
    with pytest.raises(ValueError, match=r"memory: .* got t=999999998"):
        tg.view.memory(loss)


def test_around_a_step_that_is_not_there_is_refused_by_name():
    loss, _ = chain(range(5))
    with pytest.raises(ValueError, match=r"around: no step .* t=0 to t=4, got \[99\]"):
        tg.draw(loss, first=0, last=0, around=[99])
    assert tg.draw(loss, first=0, last=0, around=[2]).hidden_steps < 5
    for wrong in ("ab", [1.7], None):
        with pytest.raises(TypeError, match="draw: around"):
            tg.draw(loss, around=wrong)


def test_a_ledger_of_an_empty_batch_can_be_read():
    loss, W = chain(range(3), batch=0)
    found = tg.lab.ledger(loss, W)
    assert "W" in repr(found) and not found.by_lag().shares.any()


def test_a_trace_is_walked_back_from_one_output_only():
    loss, _ = chain(range(3))
    with pytest.raises(ValueError, match=r"tape_of: backward: .* got 2"):
        tape_of([loss, loss])
    assert len(tape_of([loss, loss], backward=False).outputs) == 2


@pytest.mark.parametrize("left", [0, 2])
def test_steps_say_that_the_graph_was_freed_between_them(left):
    loss, W = chain(range(3))
    steps = loss.backward_steps()
    list(itertools.islice(steps, left))
    loss.backward()
    before = W.grad.data.copy()
    with pytest.raises(RuntimeError, match="was freed"):
        list(steps)
    assert np.array_equal(W.grad.data, before)


def test_a_page_refuses_a_long_loop_before_it_is_unrolled(monkeypatch):
    ys, _ = nn.RNN(2, 2, rng=0)(np.ones((20_000, 1, 2), np.float32))
    loss = ys.sum()
    monkeypatch.setattr("tinygrad_rnn.tape.loops.with_steps", lambda *_, **__: pytest.fail())
    with pytest.raises(ValueError, match="more than the 4,000 that a page"):
        tg.explain(loss)


def test_a_page_of_more_steps_than_a_picture_holds_shows_the_first_and_the_last():
    loss, _ = chain(range(1900))
    page = tg.explain(loss)
    assert page.figure.hidden_steps == 1900 - 40 - 20 < page.figure.steps == 1900


def test_refusals_name_who_was_asked():
    loss, _ = chain(range(3))
    vector = loss * np.ones(2)
    with pytest.raises(RuntimeError, match=r"^explain: "):
        tg.explain(vector)
    with pytest.raises(RuntimeError, match=r"^draw: overlay: "):
        tg.draw(vector, overlay="backward")
    for draw, who in ((tg.view.memory, "memory"), (tg.view.masks, "masks"),
                      (tg.lab.heat, "heat")):  # fmt: skip
        with pytest.raises(TypeError, match=f"^{who}: "):
            draw(None)
    with pytest.raises(TypeError, match="explain: text"):
        tg.explain(loss, text=3)
    with pytest.raises(TypeError, match="ledger: weights"):
        tg.lab.ledger(loss, ["W"])


def document(record, outputs="0", version=3):
    tables = '"calls":[{},{"restacked":true}],"places":[{}]'
    return f'{{"version":{version},{tables},"records":[{record}],"outputs":[{outputs}]}}'


ONE = '"id":0,"place":0'


@pytest.mark.parametrize(
    "text",
    [
        '{"version":3}',
        "",
        "[" * 100_000,
        '{"version":' + "9" * 5000 + "}",
        document(f'{{{ONE},"call":0,"call":0}}'),
        document(f'{{{ONE},"call":0,"inputs":[[0]]}}'),
        document(f'{{{ONE},"call":0}}', version=2),
        document("", outputs=""),
        document(f'{{{ONE},"call":0}}', outputs="1"),
        document(f'{{{ONE},"call":2}}'),
        document('{"id":5,"place":0,"call":0}'),
        document(f'{{{ONE},"call":0,"inputs":[[7,0]]}}'),
        document(f'{{{ONE},"call":1,"inputs":[[0,0]]}}'),
        document(f'{{{ONE},"call":0,"terms":[{{"place":3}}]}}'),
        document(f'{{{ONE},"call":0,"what":1}}'),
    ],
)
def test_J01_J02_a_document_that_is_no_trace_is_refused(text):
    assert len(Tape.load(document(f'{{{ONE},"call":0}}')).records) == 1
    with pytest.raises(ValueError, match=r"^Tape: the document is no tape: ") as no:
        Tape.load(text)
    assert len(str(no.value)) < 300
