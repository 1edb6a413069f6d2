"""A run's files and its numbers: damage, locks, texts, sizes, silence, what training computes."""

import importlib.util
import io as streams
import math
import os
import signal
import sys
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, io, nn
from tinygrad_rnn.cli import limits, lock, train
from tinygrad_rnn.cli.lock import locked
from tinygrad_rnn.cli.main import main
from tinygrad_rnn.cli.run import BEST, CHECKPOINT, Corpus, Run, Settings
from tinygrad_rnn.cli.voice import Voice, harmless, voices
from tinygrad_rnn.view.residuals import kept

TEXT = "the quick brown fox jumps over the lazy dog\n" * 20
SIZES = {"hidden": 5, "embedding": 3, "batch": 4, "window": 8, "epochs": 2}


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return "text.txt"


def new(folder, **settings):
    """A run that has learnt nothing yet, whose steps run one by one: nothing is compiled."""
    settings = Settings(**{"text": "text.txt", **SIZES, **settings})
    corpus = Corpus.of(settings)
    folder.mkdir(exist_ok=True)
    run = Run.new(folder, settings, corpus)
    run.model.recurrent.unroll = True
    return run, corpus


def refusal(capsys, *arguments):
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("tinygrad-rnn: ") and not said.out, said
    return lines[0]


# -- when it stops --------------------------------------------------------------------------------


def test_a_run_keeps_its_best_epoch_and_ends_when_no_better_one_comes(text, capsys, monkeypatch):
    costs = iter([3.0, 2.0, 2.5, 2.25, 2.75, 1.5, 1.75])
    monkeypatch.setattr(train, "judge", lambda run, index: next(costs))
    words = [f"--{name}={size}" for name, size in (SIZES | {"epochs": 6}).items()]
    assert main(["train", text, *words, "--patience", "2", "--out", "run", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "2.000 after epoch 2" in said and "and no epoch after it was better" in said
    last, best = Run.load("run"), Run.load("run", BEST)
    assert (last.epoch, last.best, best.epoch) == (4, 2, 2) and last.over
    assert len(best.bits) == len(last.bits) // 2
    assert not np.array_equal(best.model.output.W.data, last.model.output.W.data)
    over = refusal(capsys, "train", "--resume", "run")
    assert "none better since epoch 2. Give more: --patience 4" in over
    both = refusal(capsys, "train", "--resume", "run", "--epochs", "4")
    assert both.endswith("Give more: --epochs 8 --patience 4")
    assert main(["train", "--resume", "run", "--patience", "4", "--quiet"]) == 0
    assert [bits for _, bits in Run.load("run").judged] == [3.0, 2.0, 2.5, 2.25, 2.75, 1.5]
    assert Run.load("run", BEST).epoch == 6
    capsys.readouterr()
    assert "--epochs 12" in refusal(capsys, "train", "--resume", "run")


# -- what training computes -----------------------------------------------------------------------


def bits_by_hand(model, x, y):
    """-log2 p of every symbol of streams (T, B), in float64, the state carried from end to end."""
    weights = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    cells = range(len(model.recurrent.cells))
    h = [np.zeros((x.shape[1], model.recurrent.cells[k].hidden)) for k in cells]
    Wx, Wh, b = (
        [weights[f"recurrent.cells.{k}.{name}"] for k in cells] for name in ("Wx", "Wh", "b")
    )
    bits = np.empty(x.shape)
    for t, (now, following) in enumerate(zip(x, y, strict=True)):
        z = weights["embedding.table"][now]
        for k in cells:
            z = h[k] = np.tanh(z @ Wx[k] + h[k] @ Wh[k] + b[k])
        scores = np.exp(z @ weights["output.W"] + weights["output.b"])
        bits[t] = -np.log2(scores[range(len(now)), following] / scores.sum(axis=1))
    return bits


def louder(model):
    """Larger weights: other numbers at every step, and gradients that have to be clipped."""
    model.load_state_dict({name: 10 * array for name, array in model.state_dict().items()})


def test_what_a_text_costs_is_a_sum_over_its_characters(text, tmp_path):
    run, _ = new(tmp_path / "run", cell="rnn", layers=2, dropout=0.5, window=3)
    louder(run.model)
    index = np.random.default_rng(0).integers(0, len(run.characters), 131)
    x, y = data.streams(index, 4)
    assert len(x) == 32  # two windows of 12, and a shorter one
    expected = bits_by_hand(run.model, x, y)
    assert expected[24:].mean() != pytest.approx(expected.mean(), rel=1e-3)
    assert train.judge(run, index) == pytest.approx(expected.mean(), rel=1e-5)


def test_an_epoch_drops_out_clips_and_begins_without_a_state(text, tmp_path):
    """The bits of every window are those of a loop written out here."""
    run, corpus = new(tmp_path / "run", dropout=0.3)
    other, _ = new(tmp_path / "other", dropout=0.3)
    louder(run.model), louder(other.model)
    list(train._epochs(run, corpus, [], quiet=True))
    model, expected, norms = other.model, [], []
    total = 2 * math.ceil((len(corpus.training) - 1) // 4 / 8)
    for _ in range(2):
        model.train()
        state = None
        for x, y in data.windows(corpus.training, 4, 8):
            loss, state = model.loss(x, y, state)
            state = tg.detach(state)
            expected.append(float(loss.item()) / math.log(2))
            other.optimizer.zero_grad()
            loss.backward()
            norm = math.sqrt(sum(float((p.grad.data**2).sum()) for p in model.parameters()))
            for p in model.parameters():
                p.grad = tg.tensor(p.grad.data / np.float32(max(norm, 1)))
            norms.append(norm)
            k, warm = other.optimizer.steps, total // 10
            low, high = run.settings.lr / 50, run.settings.lr
            fall = (1 + math.cos(math.pi * (k - warm) / (total - warm))) / 2
            rate = high * (k + 1) / warm if k < warm else low + (high - low) * fall
            other.optimizer.lr = rate
            other.optimizer.step()
    assert max(norms) > 3 and min(norms) < 1, "clipping would not be seen"
    np.testing.assert_allclose(run.bits, expected, rtol=1e-5)
    assert [k for k, _ in run.judged] == [total // 2, total]


def test_progress_goes_on_where_the_session_before_ended(text, tmp_path, monkeypatch):
    run, corpus = new(tmp_path / "run", epochs=3)
    run.epoch, run.done, skipped = 2, 1, []
    monkeypatch.setattr(train._Progress, "skip", lambda self, count: skipped.append(count))
    list(train._epochs(run, corpus, [1], quiet=True))
    assert skipped == [2 * 4 * ((len(corpus.training) - 1) // 4) + 4 * 8]


def test_the_smoothed_curve_is_a_mean():
    """It neither begins at the first value nor lags behind a constant."""
    assert train.smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    a, b, c = 5.0, 3.0, 2.0
    weights = np.array([1, 13 / 3, (13 / 3) ** 2])  # of three, the last counts most
    assert train.smoothed([a, b, c])[-1] == pytest.approx(np.average([a, b, c], weights=weights))
    many = np.random.default_rng(0).normal(size=1000)
    weights = 0.97 ** np.arange(1000)[::-1]
    assert train.smoothed(many)[-1] == pytest.approx(np.average(many, weights=weights))
    assert train.smoothed([]) == []


# -- a damaged file -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The file of a run that stopped within its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    run, corpus = new(folder, text=str(folder / "text.txt"), dropout=0.1)
    for _ in train._epochs(run, corpus, [], quiet=True):
        if run.epoch == 1:  # on a slow machine it wants to be saved before
            break
    list(train._epochs(run, corpus, [1], quiet=True))
    assert (run.epoch, run.done) == (1, 1)
    run.save()
    return folder / CHECKPOINT


@pytest.fixture
def saved(stopped, text, tmp_path):
    """That run, with a part of its file changed."""
    arrays, facts = io.load(stopped)
    (tmp_path / "run").mkdir()

    def changed(part, name, value):
        if part == "settings":
            facts["settings"][name] = value
        elif part == "facts":
            facts[name] = value
        elif value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name]) if callable(value) else value
        io.save(tmp_path / "run" / CHECKPOINT, arrays, facts)
        return tmp_path / "run"

    return changed


DAMAGED = [
    *[("settings", "batch", x) for x in (0, -1, "4", 4.5, True, None, [4], 3)],
    *[("settings", "window", x) for x in ("a", 0, 8.0)],
    *[("settings", "hidden", x) for x in (10**9, 6, 4, False)],
    *[("settings", "layers", x) for x in (10**9, 2, 0)],
    *[("settings", "embedding", x) for x in (10**9, 2)],
    *[("settings", "cell", x) for x in ("cnn", None, 1, "gru", ["lstm"])],
    *[("settings", "seed", x) for x in (None, -1, 0.5)],
    *[("settings", "text", x) for x in (5, "", ["text.txt"])],
    *[("settings", "lr", x) for x in (0, -1.0, "x", None)],
    *[("settings", "dropout", x) for x in (2, -0.5, True)],
    *[("settings", name, "x") for name in ("epochs", "threads", "max_bytes")],
    ("settings", "encoding", 8),
    ("settings", "a newer one", 1),
    *[("facts", "epoch", x) for x in (-1, 1.0, "1", True, 5)],
    *[("facts", "done", x) for x in (-1, 0, "x")],
    *[("facts", "characters", x) for x in ("", "ab", "ba", 5, None)],
    *[("facts", "digest", x) for x in (None, 5)],
    *[("facts", "random", x) for x in (None, {}, 5, {"bit_generator": "MT19937"})],
    *[("facts", "settings", x) for x in (None, [], "x", {"batch": 4, "hidden": 5})],
    ("arrays", "state/0/0", lambda x: x.astype(np.float64)),
    ("arrays", "state/0/0", lambda x: x[:2]),
    ("arrays", "state/0/1", None),
    ("arrays", "state/1/0", np.zeros((4, 5), np.float32)),
    ("arrays", "adam/count/output.W", np.array(-1)),
    ("arrays", "adam/count/output.W", np.array(10**6)),
    ("arrays", "adam/count/output.W", np.array(2.5)),
    ("arrays", "adam/steps", np.array(3)),
    ("arrays", "adam/lr", np.array(np.nan)),
    ("arrays", "adam/m/output.W", lambda x: x.astype(np.float64)),
    ("arrays", "adam/v/output.W", None),
    ("arrays", "model/output.W", lambda x: x.T.copy()),
    ("arrays", "model/output.W", lambda x: x.astype(np.float64)),
    ("arrays", "model/output.b", None),
    ("arrays", "bits", None),
    ("arrays", "bits", lambda x: x[:-1]),
    ("arrays", "bits", lambda x: x.astype(np.int64)),
    ("arrays", "judged", lambda x: x[:, :1]),
    ("arrays", "judged", lambda x: x[:0]),
    ("arrays", "another", np.zeros(3)),
]


def test_the_run_that_is_damaged_below_can_be_loaded(saved, tmp_path):
    run = Run.load(saved("settings", "epochs", 2))
    assert (run.epoch, run.done, run.settings.batch) == (1, 1, 4)


@pytest.mark.parametrize("part, name, value", DAMAGED)
def test_J01_J05_J07_a_damaged_run_is_refused_in_a_sentence(part, name, value, saved, monkeypatch):
    made = []
    monkeypatch.setattr(nn, "LanguageModel", lambda *a, **k: made.append(1) or REAL(*a, **k))
    folder = saved(part, name, value)
    with pytest.raises(io.CheckpointError, match=CHECKPOINT) as said:
        Run.load(folder)
    assert "\n" not in str(said.value) and "object has no" not in str(said.value)
    print(said.value)
    if part == "settings" and value == 10**9:
        assert not made and f"{name} 1000000000" in str(said.value)


REAL = nn.LanguageModel


def test_a_count_of_windows_that_does_not_fit_the_text(saved, capsys):
    folder = saved("settings", "window", 9)
    assert "its file was changed" in refusal(capsys, "train", "--resume", str(folder))


def test_J07_a_run_from_before_there_were_threads_and_encodings(saved):
    folder = saved("settings", "batch", 4)
    arrays, facts = io.load(folder / CHECKPOINT)
    for name in ("threads", "encoding", "max_bytes"):
        del facts["settings"][name]
    io.save(folder / CHECKPOINT, arrays, facts)
    assert Run.load(folder).settings.threads is None
    del facts["settings"]["lr"]  # the default might be another number
    io.save(folder / CHECKPOINT, arrays, facts)
    with pytest.raises(io.CheckpointError, match="its settings lack lr"):
        Run.load(folder)


# -- memory and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", limits.GATES)
@pytest.mark.parametrize("layers", [1, 3])
def test_weights_are_counted_before_there_are_any(cell, layers):
    sizes = {"cell": cell, "embedding": 3, "hidden": 5, "layers": layers}
    model = nn.LanguageModel(7, **sizes)
    matrices = sum(x.size for x in model.parameters() if x.ndim == 2)
    assert limits.weights(7, **sizes) == matrices


@pytest.mark.parametrize(
    "arguments",
    [
        ["graph", "--hidden", "1000000"],
        ["graph", "--batch", "1000000000000"],
        ["graph", "--steps", "1000000000"],
        ["graph", "--layers", "1000000000000"],
        ["explain", "--hidden", "1" + "0" * 40],
        ["explain", "--steps", "1000000000"],
        ["train", "text.txt", "--hidden", "1000000"],
        ["train", "text.txt", "--layers", "1000000000"],
        ["train", "text.txt", "--embedding", "1000000000000"],
    ],
)
def test_what_does_not_fit_in_memory_is_refused_before_it_is_made(
    arguments, text, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(nn, "LanguageModel", lambda *_, **__: pytest.fail("it was made"))
    message = refusal(capsys, *arguments)
    size = f"{int(arguments[-1]):,}"
    assert "does not fit in memory" in message and size in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not say what it has")
def test_a_container_has_no_more_memory_than_it_is_given(monkeypatch):
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for said, expected in (("4096\n", 4096), (f"{2**62}\n", whole), ("max\n", whole)):
        monkeypatch.setattr(limits.Path, "read_text", lambda self, said=said: said)
        assert limits.memory() == expected


@pytest.mark.parametrize("cell", limits.CELLS)
def test_an_estimate_of_memory_is_near_what_is_kept(cell, monkeypatch):
    """Refused where there is an eighth of it, and not where there is sixteen times as much."""
    sizes = {"embedding": 8, "hidden": 16, "layers": 2}
    model = nn.LanguageModel(5, cell=cell, **sizes, rng=0)
    loss, _ = model.loss(*np.zeros((2, 100, 4), int))
    (window,) = kept(loss)
    for there, refused in ((window.total / 8, True), (16 * window.total, False)):
        monkeypatch.setattr(limits, "memory", lambda there=there: int(there))
        with pytest.raises(ValueError, match="memory") if refused else nullcontext():
            limits.check_memory(5, cell, **sizes, batch=4, steps=100)


def test_memory_that_runs_out_is_a_sentence_too(text, capsys, monkeypatch):
    monkeypatch.setattr(Run, "new", lambda *_: np.empty(2**50))
    assert "does not fit in memory: Unable to allocate" in refusal(capsys, "train", text)


def test_a_text_too_short_for_one_stream_is_not_to_be_cut_into_fewer(tmp_path, capsys):
    (short := tmp_path / "short.txt").write_text("ab")
    told = refusal(capsys, "train", str(short), "--batch", "1")
    assert "2 characters, and at least 20 are needed" in told and "--batch" not in told


def test_a_text_of_some_lines_is_read_in_few_streams(tmp_path, steps_one_by_one):
    (short := tmp_path / "short.txt").write_text("abcdefghij" * 3)
    run = tmp_path / "run"
    assert main(["train", str(short), "--hidden", "2", "--epochs", "1", "--out", str(run)]) == 0
    assert Run.load(run).settings.batch == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a path is text")
def test_a_path_that_no_file_of_a_run_can_hold_is_refused_at_once(text, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text(TEXT)
    assert "a byte that is no UTF-8" in refusal(capsys, "train", name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--resume", "--from", "--out"])
def test_an_empty_path_is_not_taken_for_none(option, capsys, text):
    with pytest.raises(SystemExit):
        main(["train", text, option, ""])
    assert f"argument {option}: expected a path, got ''" in capsys.readouterr().err


def test_more_threads_than_memory_holds_are_refused(text, capsys):
    assert "1 to 1024" in refusal(capsys, "train", text, "--threads", "100000")
    for wrong in (True, 2.0, 0, limits.MOST + 1):  # as a run's file may have them
        with pytest.raises(ValueError, match="a whole number from 1 to 1024"):
            limits.check({"threads": wrong}, "its {}".format)
    with pytest.raises(ValueError, match="1 to 1024"):
        tg.set_num_threads(10**9)


def test_a_batch_beyond_every_text_is_refused_at_once(text, capsys):
    assert "streams of two steps need 2222222223" in refusal(
        capsys, "train", text, "--batch", "1000000000"
    )


@pytest.mark.parametrize("command", ["graph", "explain", "sample", "train"])
def test_a_seed_below_zero_is_named(command, text, capsys):
    given = {"sample": ["run"], "train": [text]}.get(command, [])
    assert "--seed: expected a whole number from 0, got -1" in refusal(
        capsys, command, *given, "--seed", "-1"
    )


def test_a_short_text_has_a_batch_and_a_window_that_fit(text, tmp_path, capsys):
    settings = Settings(text=text)
    corpus = Corpus.of(settings)
    fitted = train._fitted(settings, {}, corpus)
    assert (fitted.batch, fitted.window) == (4, 16)
    corpus.training = np.zeros(26_000, np.int64)
    fitted = train._fitted(settings, {}, corpus)
    assert corpus.windows(fitted) >= 100 and (fitted.batch, fitted.window) == (5, 48)
    assert train._fitted(settings, {"batch": 24, "window": 48}, corpus) == settings
    assert train._fitted(settings, {"batch": 24}, corpus).window == 16
    corpus.training = np.zeros(420_000, np.int64)
    assert train._fitted(settings, {}, corpus) == settings
    assert "for a longer text" in train._why(fitted) and not train._why(settings)


# -- texts ----------------------------------------------------------------------------------------


def test_a_text_without_an_end_is_not_read_for_ever(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.txt").write_text("ab\n" * 2_000_000)
    message = refusal(capsys, "train", "long.txt", "--max-bytes", "1000000")
    assert "more than 1,000,000 bytes" in message and "--max-bytes" in message
    assert len(data.read_text("long.txt", max_bytes=6_000_000)) == 6_000_000
    assert len(data.read_text("long.txt", max_bytes=None)) == 6_000_000
    if os.path.exists("/dev/zero"):
        assert "NUL characters" in refusal(capsys, "train", "/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_text_may_come_from_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=("héllo\r\n".encode(),), daemon=True)
    writer.start()
    assert data.read_text(pipe) == "héllo\n"
    writer.join()


def test_a_character_may_lie_across_two_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(data.text, "BLOCK", 5)
    path = tmp_path / "t"
    for encoding, name in (("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16")):
        path.write_bytes("a北京\r\n大学é\r".encode(encoding))
        assert data.read_text(path, encoding=name) == "a北京\n大学é\n"
    path.write_bytes(b"abcdefgh\xe9 ")
    with pytest.raises(data.TextError, match=r"byte 8 is 0xe9.*--encoding"):
        data.read_text(path)


def test_a_text_in_another_encoding_is_read_and_the_run_keeps_it(text, tmp_path, capsys):
    (tmp_path / "latin.txt").write_bytes("ça vaut l'été\n".encode("latin-1") * 60)
    assert "--encoding" in refusal(capsys, "train", "latin.txt")
    assert "utf-16" in refusal(capsys, "train", "latin.txt", "--encoding", "utf-16")
    for wrong in ("nonsense", "hex", "rot13", ""):
        assert "--encoding: expected" in refusal(capsys, "train", text, "--encoding", wrong)
    settings = Settings(text="latin.txt", encoding="latin-1")
    assert "é" in Corpus.of(settings).vocabulary.characters


# -- nobody listens -------------------------------------------------------------------------------


class Gone(streams.StringIO):
    """A pipe whose reader has left after some lines."""

    def __init__(self, lines):
        super().__init__()
        self.lines = lines

    def write(self, words):
        self.lines -= words.count("\n")
        if self.lines < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(words)


@pytest.fixture
def steps_one_by_one(monkeypatch):
    """Models whose steps run one by one: nothing is compiled."""

    class Unrolled(nn.LanguageModel):
        def __init__(self, *sizes, **more):
            super().__init__(*sizes, **more)
            self.recurrent.unroll = True

    monkeypatch.setattr(nn, "LanguageModel", Unrolled)


SMALL = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]


@pytest.mark.parametrize("lines", [None, 0, 1])
def test_a_training_goes_on_when_nobody_listens(
    lines, text, tmp_path, monkeypatch, steps_one_by_one
):
    monkeypatch.setattr(sys, "stdout", None if lines is None else Gone(lines))
    monkeypatch.setattr(sys, "stderr", None if lines is None else Gone(0))
    assert main(["train", text, *SMALL, "--out", "run"]) == 0
    assert Run.load("run").epoch == 2 and (tmp_path / "run/graph.svg").exists()
    assert main(["train", "nowhere"]) == 2
    assert main(["explain", "ab", "--hidden", "1", "--text", "-o", "page.html"]) == 0
    assert main(["graph", "--hidden", "1", "--steps", "1"]) == 0
    assert {"page.html", "graph.svg"} < {p.name for p in tmp_path.iterdir()}
    drawn = iter(range(1000))
    real = nn.LanguageModel.sample
    monkeypatch.setattr(
        nn.LanguageModel,
        "sample",
        lambda *given, **how: (next(drawn) * 0 + symbol for symbol in real(*given, **how)),
    )
    assert main(["sample", "run", "--length", "100"]) == 0
    assert next(drawn) < 100 or lines == 1  # there is no line to write


def test_a_closed_pipe_has_nothing_left_to_say_at_the_end():
    """What is in the buffer would raise when Python ends, and change the exit code."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        os.close(reader)
        voice = Voice(stream)
        voice.write("words")
        voice.flush()
        assert not voice.heard and not voice.isatty()
        stream.flush()  # into nothing
    assert not Voice(stream).heard
    with pytest.raises(OSError):
        voice.fileno()
    voice = Voice(SimpleNamespace(isatty=lambda: True))
    assert voice.isatty()
    voice.heard = False
    assert not voice.isatty()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_an_output_that_is_cut_off_by_a_full_disk_is_no_success(capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["explain", "ab", "--hidden", "1", "--text"]) == 2
    assert "the output is not whole: No space left on device" in capsys.readouterr().err


def test_words_of_others_do_not_steer_a_terminal():
    assert harmless("a\x1b[31m\x07\u202e\tb\n\r") == "a\ufffd[31m\ufffd\ufffd\tb\n\ufffd"
    assert harmless("明月 é 👩\u200d🚀") == "明月 é 👩\u200d🚀"


def test_both_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit), voices():
        assert sys.stdout is not before[0]
        raise SystemExit
    assert (sys.stdout, sys.stderr) == before


# -- one process at a time, and threads -----------------------------------------------------------


def test_J09_a_run_is_trained_by_one_process_at_a_time(saved, tmp_path, capsys, text):
    folder = saved("settings", "epochs", 2)
    before = (folder / CHECKPOINT).read_bytes()
    with locked(folder, "--out"):
        for resumed in (folder, folder / CHECKPOINT):
            message = refusal(capsys, "train", "--resume", str(resumed))
            assert f"--resume: another process is training in {folder}" in message
        (tmp_path / "empty").mkdir()
        with locked(tmp_path / "empty", "--out"):
            message = refusal(capsys, "train", text, *SMALL, "--out", "empty")
            assert "--out: another process is training in empty" in message
    assert (folder / CHECKPOINT).read_bytes() == before
    assert [p.name for p in folder.iterdir()] == [CHECKPOINT]  # the lock is no file
    with locked(folder, "--out"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process to be killed")
def test_J09_the_lock_of_a_killed_process_is_gone(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with locked(tmp_path, "--out"):
            os.write(writer, b".")
            signal.pause()
    os.read(reader, 1)
    with pytest.raises(ValueError, match="another process"), locked(tmp_path, "--out"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader), os.close(writer)
    with locked(tmp_path, "--out"):
        pass


def test_on_windows_a_file_in_the_folder_is_locked_which_may_be_written(tmp_path, monkeypatch):
    held = []

    def locking(handle, how, count):
        os.write(handle, b" ")  # to lock bytes there takes the right to write them
        if held:
            raise PermissionError("another has it")
        held.append((how, count))

    windows = SimpleNamespace(LK_NBLCK=2, locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "O_TEMPORARY", 0, raising=False)
    spec = importlib.util.spec_from_file_location("lock_of_windows", lock.__file__)
    here = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(here)
    with here.locked(tmp_path, "--out"):
        assert (tmp_path / ".lock").exists() and held == [(2, 1)]
        with pytest.raises(ValueError, match="another process"), here.locked(tmp_path, "--out"):
            pass


def test_without_a_terminal_the_rate_is_that_of_this_session(monkeypatch, capsys):
    """It trained on 400 of 1,000 characters before, and on 50 more while it compiled: these do not
    count, and the next 55 take 11 seconds."""
    now = [7.0]
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(train, "_columns", lambda: 0)
    run = SimpleNamespace(bits=[3.0, 2.0])
    with train._Progress(1000, quiet=False) as progress:
        progress.skip(400)
        now[0] += 9
        progress.advance(50, run)  # too soon to say anything
        now[0] += 11
        progress.advance(55, run)
    assert capsys.readouterr().out == " 50%  2.500 bits/char, 5 char/s, 99 s left\n"


def test_a_folder_that_cannot_be_locked_is_used_and_that_is_said(tmp_path, monkeypatch, capsys):
    def unable(handle):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "_lock", unable)
    with locked(tmp_path, "--out"), locked(tmp_path, "--out"):
        pass
    assert "not locked against other runs: [Errno 37] No locks" in capsys.readouterr().err


def test_a_run_keeps_its_number_of_threads(text, tmp_path, capsys, monkeypatch, steps_one_by_one):
    """The last bits of sums depend on it."""
    seen = []
    real = train._epochs
    monkeypatch.setattr(
        train, "_epochs", lambda *a, **k: seen.append(tg.get_num_threads()) or real(*a, **k)
    )
    before = tg.get_num_threads()
    given = ["--epochs", "1", "--threads", str(before + 62), "--out", "run"]
    assert main(["train", text, *SMALL, *given]) == 0
    assert f"threads: {before + 62}, and" in capsys.readouterr().out
    assert Run.load("run").settings.threads == before + 62
    monkeypatch.setenv("TINYGRAD_RNN_NUM_THREADS", "1")
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert seen == [before + 62] * 2 and tg.get_num_threads() == before
    assert "the same bits" in capsys.readouterr().out
    assert "--threads cannot change" in refusal(
        capsys, "train", "--resume", "run", "--threads", "1"
    )
    assert new(tmp_path / "new")[0].settings.threads is None
    assert train._placed(Settings()).threads == before


def test_a_finished_run_makes_the_pictures_that_are_missing(
    text, tmp_path, capsys, steps_one_by_one
):
    assert main(["train", text, *SMALL, "--out", "run"]) == 0
    (tmp_path / "run/graph.svg").unlink()
    whole = (tmp_path / "run" / CHECKPOINT).read_bytes()
    capsys.readouterr()
    assert main(["train", "--resume", "run"]) == 0
    assert "graph.svg" in capsys.readouterr().out and (tmp_path / "run/graph.svg").exists()
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == whole
    assert "has finished its 2 epochs" in refusal(capsys, "train", "--resume", "run")


def test_a_run_is_not_thrown_back_to_its_best_epoch(text, tmp_path, capsys, steps_one_by_one):
    assert main(["train", text, *SMALL, "--out", "run"]) == 0
    whole = (tmp_path / "run" / CHECKPOINT).read_bytes()
    capsys.readouterr()
    told = refusal(capsys, "train", "--resume", f"run/{BEST}", "--epochs", "3")
    assert "--resume run, or begin a new run with --from run/best.safetensors" in told
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == whole
    for name in (BEST, "graph.svg"):
        (tmp_path / "run" / name).unlink()
    assert main(["train", "--resume", "run"]) == 0
    out = capsys.readouterr().out
    assert BEST not in out and f"run/{CHECKPOINT}   the model" in out


def test_a_text_that_is_learnt_by_heart_has_not_diverged(
    text, capsys, monkeypatch, steps_one_by_one
):
    costs = iter([3.0, 99.0])
    monkeypatch.setattr(train, "judge", lambda run, index: next(costs))
    assert main(["train", text, *SMALL, "--out", "run"]) == 0
    assert "3.000 after epoch 1, which is the one kept; it learns" in capsys.readouterr().out


def test_a_new_run_may_begin_with_the_weights_of_another(saved, tmp_path, capsys, steps_one_by_one):
    folder = str(saved("settings", "epochs", 2))
    (tmp_path / "b.txt").write_text("the lazy dog jumps\n" * 40)
    assert (
        main(["train", "b.txt", "--from", folder, "--out", "b", "--epochs", "1", "--lr", "1e-9"])
        == 0
    )
    source, run = Run.load(folder), Run.load("b")
    assert run.characters == source.characters and run.settings.hidden == 5
    for name, array in source.model.state_dict().items():
        np.testing.assert_allclose(run.model.state_dict()[name], array, atol=1e-6)
    assert main(["train", "--resume", "b", "--epochs", "2"]) == 0  # in the letters of the source
    bits = Run.load("b").bits
    np.testing.assert_allclose(bits[len(bits) // 2 :], bits[: len(bits) // 2], atol=1e-3)
    (tmp_path / "c.txt").write_text("ABC " * 100)
    capsys.readouterr()
    said = refusal(capsys, "train", "c.txt", "--from", folder)
    assert "'A' does not occur in the training text of that run" in said
    assert "--hidden is theirs" in refusal(
        capsys, "train", "b.txt", "--from", folder, "--hidden", "9"
    )
    assert "--from cannot" in refusal(capsys, "train", "--resume", "b", "--from", folder)


def test_a_folder_with_a_model_alone_is_not_written_over(tmp_path, capsys, text):
    (tmp_path / "only").mkdir()
    model = tmp_path / "only" / "best.safetensors"
    model.write_bytes(b"somebody's only copy")
    assert "already holds a model" in refusal(capsys, "train", text, "--out", "only")
    assert model.read_bytes() == b"somebody's only copy"


def test_runs_that_are_nowhere_are_said_at_once(text, tmp_path, capsys):
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere" / "else")
    assert "runs" in refusal(capsys, "train", text)
