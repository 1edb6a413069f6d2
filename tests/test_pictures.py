"""Pictures of memory and of masks, what paints them, and the gallery of all of them."""

import importlib.metadata
import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pictures
import pytest
from pictures import gallery, shown

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.view import GraphvizNotFound, draw
from tinygrad_rnn.view import render as painting
from tinygrad_rnn.view.raster import masks, masks_of
from tinygrad_rnn.view.residuals import kept, memory
from tinygrad_rnn.view.text import size_words, width

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture):
    root = ElementTree.fromstring(picture.svg)
    return ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]


def losses(T, window, cell=None, **how):
    """One loss for each window of a sequence, the state detached in between."""
    cell = cell or nn.LSTM(8, 16, rng=0)
    xs, state, found = np.ones((T, 4, 8), np.float32), None, []
    for t in range(0, T, window):
        ys, state = cell(xs[t : t + window], state, **how)
        found.append((ys * ys).mean())
        state = tg.detach(state)
    return found


# -- graphviz, wherever it comes from --------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without graphviz programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TINYGRAD_RNN_DOT", raising=False)
    return tmp_path


def picture():
    x = tg.tensor(np.ones(2), requires_grad=True, name="重み")
    return draw(tg.tanh(x).sum())


def has_version(monkeypatch, version):
    def found(name):
        if version is None or name != "pygraphviz":
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", found)


def stub(folder, monkeypatch, text):
    """A pygraphviz in `folder` for Pythons that are started from now on."""
    (folder / "pygraphviz.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    has_version(monkeypatch, "2.0.4")


PAINTER = """
import sys
print("Fontconfig warning: no such font", file=sys.stderr)
class AGraph:
    def __init__(self, string): self.string = string
    def draw(self, format, prog): return f"{format} {prog} {'重み' in self.string}".encode()
"""


def test_without_a_program_the_library_paints(bare, monkeypatch, capfd):
    stub(bare, monkeypatch, PAINTER)
    assert picture().render("png").decode() == "png nop2 True"
    assert capfd.readouterr() == ("", "")  # its noise reaches nobody


def test_a_program_comes_before_the_library(bare, monkeypatch):
    stub(bare, monkeypatch, PAINTER)
    program = bare / "neato"
    program.write_text('#!/bin/sh\necho "$0"\n')
    program.chmod(0o755)
    assert picture().render("png").decode().strip() == str(program)


def test_the_program_that_is_named_comes_first(bare, monkeypatch):
    stub(bare, monkeypatch, PAINTER)
    monkeypatch.setenv("TINYGRAD_RNN_DOT", "/nowhere/dot")
    with pytest.raises(GraphvizNotFound, match="'/nowhere/dot', which is no program"):
        picture().render("png")


@pytest.mark.parametrize("version", [None, "1.14", "strange"])
def test_L01_neither_program_nor_library_is_an_error_with_cures(bare, monkeypatch, version):
    has_version(monkeypatch, version)
    with pytest.raises(GraphvizNotFound, match=r'pip install "pygraphviz>=2\.0"'):
        picture().render("pdf")


def test_L01_a_library_that_fails_is_quoted(bare, monkeypatch):
    stub(bare, monkeypatch, "raise ImportError('no libcairo here')")
    with pytest.raises(RuntimeError, match=r"(?s)pygraphviz failed with code 1.*no libcairo"):
        picture().render("png")


def test_L01_a_library_that_hangs_is_stopped(bare, monkeypatch):
    stub(bare, monkeypatch, "import time; time.sleep(30)")
    monkeypatch.setattr(painting, "TIMEOUT", 0.3)
    with pytest.raises(RuntimeError, match=r"pygraphviz took longer than 0\.3 seconds"):
        picture().render("png")


def test_a_file_of_that_name_in_the_folder_is_not_run(bare, monkeypatch):
    has_version(monkeypatch, "2.0.4")
    (bare / "pygraphviz.py").write_text("print('from here')")
    monkeypatch.chdir(bare)
    try:
        assert b"from here" not in picture().render("png")
    except RuntimeError as error:
        assert "No module named" in str(error)


@pytest.mark.skipif(
    importlib.util.find_spec("pygraphviz") is None, reason="pygraphviz is not installed"
)
@pytest.mark.parametrize("format, start", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pygraphviz_paints_the_picture(bare, capfd, format, start):
    first, again = picture().render(format), picture().render(format)
    assert first.startswith(start) and (format == "pdf" or first == again)
    assert capfd.readouterr() == ("", "")


# -- memory ----------------------------------------------------------------------------------------


def test_a_step_keeps_what_its_ops_made():
    """By hand: h W and tanh of it, float64 (2, 5), at each step; two sums and products outside."""
    W = tg.tensor(np.eye(5), requires_grad=True, name="W")
    h = tg.tensor(np.ones((2, 5)), name="h0")
    for t in range(3):
        with tg.scope(f"rnn/t={t}"):
            h = tg.tanh(h @ W)
    (window,) = kept((h * h).sum())
    assert window.steps == [160.0] * 3  # (h W), tanh: 2 * 2 * 5 * 8
    assert window.rest == 80 + 8 and not window.again and not window.cut


def test_memory_that_several_tensors_look_at_counts_once():
    W = tg.tensor(np.eye(6), requires_grad=True)
    x = tg.tensor(np.ones((2, 6)))
    with tg.scope("t=0"):
        y = x @ W
        parts = tg.split(y, 3, axis=-1)
    assert kept(parts[0] * parts[1] * parts[2])[0].steps == [2 * 6 * 8]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_compiled_loop_keeps_its_notes_and_states(reverse):
    xs = tg.tensor(np.ones((6, 2, 5)))
    W = tg.tensor(np.eye(5), requires_grad=True)
    (ys,) = tg.scan(lambda x, h: tg.tanh(x + h @ W), np.zeros((2, 5)), xs, reverse=reverse)
    run = ys.inputs[0].attrs["run"]
    held = sum(a.nbytes for a in run.kept)
    (window,) = kept(ys)
    assert len(window.steps) == 6 and window.total == pytest.approx(held) and held >= 7 * 80


def test_memory_grows_with_time_and_not_with_windows():
    (short,), (long,) = kept(losses(16, 16)), kept(losses(64, 64))
    assert 3.5 < long.total / short.total < 4.5
    windows = kept(losses(64, 16))
    assert [w.cut for w in windows] == [False, True, True, True]
    assert [w.total for w in windows] == [short.total] * 4


def test_checkpoints_keep_less_and_work_out_a_span_again():
    (plain,), (sparse,) = kept(losses(64, 64)), kept(losses(64, 64, checkpoint="sqrt"))
    assert sparse.total + sparse.again < 0.6 * plain.total and sparse.again
    assert not plain.again
    begins = {t for t, size in enumerate(sparse.steps) if size > sparse.steps[1]}
    assert begins == set(range(0, 64, 8))


def test_a_cut_inside_one_graph_frees_nothing_but_is_seen():
    W = tg.tensor(np.eye(5), requires_grad=True)
    h, total = tg.tensor(np.ones((2, 5))), 0.0
    for t in range(6):
        with tg.scope(f"rnn/t={t}"):
            h = tg.tanh((h.detach() if t == 3 else h) @ W)
            total = total + h.sum()
    (window,) = kept(total)
    assert window.inner == [2] and min(window.steps) >= 160
    svg = memory(total).svg
    assert svg.count('class="cut"') == 1


def test_graphs_that_share_history_are_one_window():
    ys, _ = nn.RNN(3, 4, rng=0)(np.ones((5, 2, 3), np.float32))
    assert len(kept([ys.sum(), (ys * ys).sum()])) == 1
    assert [w.cut for w in kept([losses(4, 4)[0], losses(4, 4)[0]])] == [False, False]


def test_the_picture_of_memory_compares_runs():
    runs = {"plain": losses(24, 24), "窗口": losses(24, 8), "√T": losses(24, 24, checkpoint=5)}
    figure = memory(runs, title="Memory <of> LSTM & co")
    words = texts(figure)
    assert {"Memory <of> LSTM & co", "plain", "窗口", "√T", "detached"} <= set(words)
    assert figure.svg.count('class="cut"') == 2
    for name, windows in runs.items():
        most = size_words(max(w.total + w.again for w in kept(windows)))
        assert any(f"at most {most} at a time" in word for word in words), name
    assert figure.svg == memory(runs, title="Memory <of> LSTM & co").svg


def test_what_a_span_takes_again_is_said_also_where_bars_are_narrow():
    figure = memory([*losses(24, 3, checkpoint=2)])
    assert sum(" + " in word for word in texts(figure)) == 8


def test_long_runs_share_bars():
    figure = memory(losses(1000, 1000, checkpoint="sqrt"))
    assert figure.svg.count("<rect") < 400 and "1,000 steps" in " ".join(texts(figure))


def test_looking_at_memory_changes_nothing():
    cell = nn.LSTM(8, 16, rng=0)
    (loss,) = losses(5, 5, cell)
    memory(loss)
    assert all(p.grad is None for p in cell.parameters())
    loss.backward()
    with pytest.raises(RuntimeError, match="freed"):
        memory(loss)


@pytest.mark.parametrize(
    "runs, error, words",
    [
        ({}, ValueError, "1 to 6"),
        ({key: [] for key in "abcdefg"}, ValueError, "got 7"),
        ([1.0], TypeError, "got float"),
        (tg.tensor(1.0), ValueError, "saves nothing for the backward pass"),
        ({"mine": []}, ValueError, "mine saves nothing"),
    ],
)
def test_what_has_no_memory_is_refused(runs, error, words):
    with pytest.raises(error, match=words):
        memory(runs)


@pytest.mark.parametrize(
    "size, words", [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (12_850, "12.8 kB"), (3e9, "3 GB")]
)
def test_bytes_are_told_in_three_digits(size, words):
    assert size_words(size) == words


# -- masks -----------------------------------------------------------------------------------------


def run(cell, **how):
    ys, _ = cell(np.ones((7, 2, 3), np.float32), **how)
    return (ys * ys).sum()


def test_masks_of_zoneout_say_which_units_stay():
    """What the mask says is what happened: kept is h(t-1) = h(t), to the bit."""
    cell = nn.Zoneout(nn.RNN(3, 6, rng=0), h=0.5, rng=1)
    ys, _ = cell(np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32))
    (mask,) = masks_of(ys, row=1)
    path = np.concatenate([np.zeros((1, 6), np.float32), ys.data[:, 1]])
    assert np.array_equal(mask.grid, (path[1:] == path[:-1]).T)
    assert mask.grid.any() and not mask.grid.all()
    assert (mask.name, mask.span, mask.keeps) == ("h keep", "step", True)


def test_masks_of_dropout_are_the_same_compiled_and_unrolled():
    found = []
    for unroll in (False, True):
        make = nn.Zoneout(nn.LSTM(3, 4, rng=0), h=0.5, c=0.5, rng=2)
        found.append(masks_of(run(make, unroll=unroll)))
    assert [m.name for m in found[0]] == [m.name for m in found[1]] == ["h keep", "c keep"]
    assert all(np.array_equal(a.grid, b.grid) for a, b in zip(*found, strict=True))


def test_feedforward_masks_change_and_variational_ones_do_not():
    (fresh,) = masks_of(run(nn.FeedforwardDropout(nn.LSTM(3, 4, rng=0), 0.5, rng=1)))
    assert fresh.span == "step" and fresh.grid.shape == (3, 7)
    assert (fresh.grid != fresh.grid[:, :1]).any()
    cell = nn.VariationalDropout(nn.LSTM(3, 4, rng=0), inputs=0.5, state=0.5, rng=1)
    for mask in masks_of(run(cell)):
        assert mask.span == "sequence" and mask.grid.shape[1] == 7
        assert (mask.grid == mask.grid[:, :1]).all()


def test_masks_for_each_gate_are_numbered():
    cell = nn.VariationalDropout(nn.GRU(3, 4, rng=0), state=0.5, per_gate=True, rng=1)
    assert [m.name for m in masks_of(run(cell))] == ["h 1 mask", "h 2 mask", "h 3 mask"]


def test_a_mask_of_weights_is_a_matrix():
    (mask,) = masks_of(run(nn.DropConnect(nn.LSTM(3, 4, rng=0), 0.5, rng=1)))
    assert mask.span == "weights" and mask.grid.shape == (4, 16)


def test_lengths_are_no_masks_that_were_drawn():
    cells = [nn.Zoneout(nn.RNN(3, 4, rng=k), h=0.5, rng=k) for k in range(2)]
    layer = nn.Recurrent(nn.Bidirectional(*cells))
    ys, _ = layer(np.ones((7, 2, 3), np.float32), lengths=[7, 3])
    assert [m.layer for m in masks_of(ys)] == ["layer0/forward", "layer0/backward"]


def test_the_picture_of_masks_has_a_mark_for_every_unit_and_step():
    loss = run(nn.FeedforwardDropout(nn.Zoneout(nn.RNN(3, 4, rng=0), h=0.5, rng=1), 0.5, rng=2))
    root = ElementTree.fromstring(masks(loss, title="面具").svg)
    panels = [g for g in root.iter(f"{SVG}g") if g.get("class") == "mask"]
    for mask, panel in zip(masks_of(loss), panels, strict=True):
        marks = {p.get("class"): p.get("d") for p in panel.iter(f"{SVG}path")}
        squares = int((~mask.grid if mask.keeps else mask.grid).sum())
        assert marks["on"].count("M") == squares
        if mask.keeps:  # a line for each stretch
            padded = np.pad(mask.grid, ((0, 0), (1, 0)))
            assert marks["by"].count("M") == (padded[:, 1:] & ~padded[:, :-1]).sum()
    assert "面具" in texts(masks(loss, title="面具"))


def test_large_masks_are_cut_off_and_say_so():
    cell = nn.Zoneout(nn.RNN(3, 50, rng=0), h=0.5, rng=1)
    ys, _ = cell(np.ones((120, 1, 3), np.float32))
    figure = masks(ys)
    assert any("32 of 50 rows, 100 of 120 columns" in word for word in texts(figure))
    (mask,) = masks_of(ys)
    squares = re.findall(r'class="on" d="([^"]*)"', figure.svg)[-1].count("M")  # not the legend
    assert squares == (~mask.grid[:32, :100]).sum() and len(figure.svg) < 150_000


def test_no_masks_and_no_such_row_are_refused():
    cell = nn.Zoneout(nn.RNN(3, 4, rng=0), h=0.5, rng=1)
    loss = run(cell)
    with pytest.raises(ValueError, match="row: expected 0 to 1, a row of the batch"):
        masks(loss, row=2)
    cell.eval()
    with pytest.raises(ValueError, match="drew no masks"):
        masks(run(cell))


# -- the gallery -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [entry.name for entry in gallery().ENTRIES])
def test_a_picture_is_as_it_was_when_somebody_last_looked_at_it(name):
    """Among them every kind of picture, with every part that it can have."""
    known = json.loads(pictures.PATH.read_text("utf-8"))[name]
    assert pictures.digests(name) == known, "look at it, and run tests/pictures.py"


@pytest.mark.compiled
def test_the_gallery_is_the_same_when_it_is_made_again():
    for name in ("bptt", "backward"):
        assert shown(name) == shown(name)


def test_the_page_of_the_gallery_shows_every_picture_with_words_for_it():
    module = gallery()
    (page,) = module.pages().values()
    for entry in module.ENTRIES:
        assert f"## {entry.title}" in page and entry.code.strip() in page
        assert all(f"---\n{name}\n```" in page for name in entry.shows)
    assert page.count("alt: ") == sum(len(entry.shows) for entry in module.ENTRIES)


@pytest.mark.parametrize("name", [e.name for e in gallery().ENTRIES if e.shows != ("page",)])
def test_all_words_of_a_picture_end_on_its_paper(name):
    """Also in the widest font; what is turned round is left out."""
    for svg in shown(name):
        words_end_on_paper(ElementTree.fromstring(svg))


def words_end_on_paper(root):
    paper = float(root.get("width"))
    for text in root.iter(f"{SVG}text"):
        words, size = "".join(text.itertext()), float(text.get("font-size") or 11)
        if words and not text.get("transform"):
            share = {"middle": 0.5, "end": 1.0}.get(text.get("text-anchor"), 0.0)
            left = float(text.get("x")) - share * width(words, size)
            assert left >= -1 and left + width(words, size) <= paper + 1, words
