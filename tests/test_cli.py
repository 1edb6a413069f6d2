"""The command line as a person meets it: runs, refusals, Ctrl-C, and going on bit for bit."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import io
from tinygrad_rnn.cli import explain, train
from tinygrad_rnn.cli.main import main
from tinygrad_rnn.cli.run import Corpus, Run, Settings

SMALL = ["--hidden", "12", "--embedding", "4", "--batch", "4", "--window", "8", "--quiet"]


@pytest.fixture
def text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog\n" * 40, encoding="utf-8")
    return str(path)


def started(*arguments, **options):
    """A process of its own, as a shell would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tinygrad_rnn", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def same_checkpoint(one, other):
    arrays, facts = io.load(one)
    others, other_facts = io.load(other)
    assert arrays.keys() == others.keys()
    for name in arrays:
        assert arrays[name].tobytes() == others[name].tobytes(), name
    assert facts == other_facts


@pytest.mark.parametrize("cell", ["rnn", pytest.param("lstm", marks=pytest.mark.compiled), "gru"])
def test_a_run_leaves_a_model_a_curve_and_a_graph(text, cell, capsys, tmp_path):
    assert main(["train", text, *SMALL, "--cell", cell, "--epochs", "2"]) == 0
    folder = tmp_path / "runs" / f"{cell}-1"
    kept = ["best.safetensors", "checkpoint.safetensors", "graph.svg", "loss.svg"]
    assert sorted(p.name for p in folder.iterdir()) == kept
    for name in kept[2:]:
        assert (folder / name).read_text("utf-8").startswith("<svg")
    out = capsys.readouterr().out
    assert re.search(r"done: \d\.\d{3} bits per character on the held-out text", out)
    run = Run.load(folder)
    assert run.epoch == 2 and run.bits[-1] < run.bits[0]
    assert main(["sample", str(folder), "--prompt", "the", "--length", "20", "--seed", "1"]) == 0
    sampled = capsys.readouterr().out
    assert sampled.startswith("the") and len(sampled) == 24
    main(["sample", str(folder), "--prompt", "the", "--length", "20", "--seed", "1"])
    assert capsys.readouterr().out == sampled
    likeliest = set()
    for seed in "123":
        coldest = ["sample", str(folder), "--length", "20", "--temperature", "0", "--seed", seed]
        assert main([*coldest, "--prompt", "the"]) == 0
        likeliest.add(capsys.readouterr().out)
    assert len(likeliest) == 1
    assert main(["train", text, *SMALL, "--cell", cell, "--epochs", "1"]) == 0
    assert (tmp_path / "runs" / f"{cell}-2").is_dir()


def test_it_talks_while_it_trains(text, capsys):
    arguments = [a for a in SMALL if a != "--quiet"]
    assert main(["train", text, *arguments, "--epochs", "1", "--out", "here"]) == 0
    out = capsys.readouterr().out
    for words in ("1,760 characters", "28 different", "176 are held out", "epoch 1/1", "    "):
        assert words in out


@pytest.mark.compiled
def test_J13_resuming_continues_bit_for_bit(text, tmp_path):
    """Dropout's generator, Adam's moments and the carried state go on too."""
    whole = ["train", text, *SMALL, "--dropout", "0.3", "--epochs", "2", "--out", "whole"]
    assert main(whole) == 0
    settings = Run.load(tmp_path / "whole").settings
    corpus = Corpus.of(settings)
    (tmp_path / "parts").mkdir()
    run = Run.new(tmp_path / "parts", settings, corpus)
    seen = []
    for _ in train._epochs(run, corpus, seen, quiet=True):
        pass
    assert not seen and run.epoch == 2
    # The same again, stopped after every window and continued from the file.
    run = Run.new(tmp_path / "parts", settings, corpus)
    while run.epoch < 2:
        for _ in train._epochs(run, corpus, ["stop"], quiet=True):
            pass
        run.save()
        run = Run.load(tmp_path / "parts")
    same_checkpoint("whole/checkpoint.safetensors", "parts/checkpoint.safetensors")


@pytest.mark.compiled
def test_more_epochs_after_the_end(text, capsys):
    assert main(["train", text, *SMALL, "--epochs", "1", "--out", "run"]) == 0
    assert main(["train", "--resume", "run", "--quiet"]) == 2
    assert "finished its 1 epochs" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--epochs", "2", "--quiet"]) == 0
    assert Run.load("run").epoch == 2


def test_K01_ctrl_c_saves_and_says_how_to_go_on(text, tmp_path):
    with started("train", text, "--epochs", "100000", "--out", "run", *SMALL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run/loss.svg").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and not err
    assert "go on with: tinygrad-rnn train --resume run" in out
    run = Run.load(tmp_path / "run")
    assert len(run.bits) >= 49 and len(run.judged) == run.epoch
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.compiled
def test_J13_K01_a_run_stopped_by_ctrl_c_and_resumed_ends_in_the_same_bits(
    text, tmp_path, monkeypatch
):
    options = [text, "--dropout", "0.2", "--epochs", "2", *SMALL]
    advance, told = train._Progress.advance, []

    def counted(progress, characters, run):
        advance(progress, characters, run)
        told.append(characters)
        assert progress.done == sum(told) <= progress.total

    with monkeypatch.context() as patch:
        patch.setattr(train._Progress, "advance", counted)
        assert main(["train", *options, "--out", "whole"]) == 0
    assert told[-1] < told[0]  # what is left at the end of an epoch is a shorter window

    run = Run.load(tmp_path / "whole")
    for name, at in {
        "middle": (1, 7),
        "end": (0, Corpus.of(run.settings).windows(run.settings)),
    }.items():

        def interrupted(progress, characters, run, at=at):
            advance(progress, characters, run)
            if (run.epoch, run.done) == at:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(train._Progress, "advance", interrupted)
            assert main(["train", *options, "--out", name]) == 130
        done = Run.load(tmp_path / name)
        assert (done.epoch, done.done) == at
        assert main(["train", "--resume", name, "--quiet"]) == 0
        same_checkpoint("whole/checkpoint.safetensors", f"{name}/checkpoint.safetensors")


def test_J08_a_killed_run_keeps_its_last_checkpoint(text, tmp_path):
    with started("train", text, "--epochs", "100000", "--out", "run", *SMALL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run/loss.svg").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert Run.load(tmp_path / "run").epoch >= 1


def refusal(capsys, *arguments):
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("tinygrad-rnn: ") and not said.out
    return lines[0]


def test_texts_that_cannot_be_learnt(text, tmp_path, capsys):
    assert "there is no text at nowhere.txt" in refusal(capsys, "train", "nowhere.txt")
    (tmp_path / "empty.txt").write_text("")
    assert "empty.txt is empty" in refusal(capsys, "train", "empty.txt")
    (tmp_path / "short.txt").write_text("abc" * 6)
    assert "too short: 18 characters, and at least 20" in refusal(capsys, "train", "short.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 1000)
    message = refusal(capsys, "train", "latin.txt")
    assert "not UTF-8 (byte 3 is 0xe9)" in message and "iconv" in message
    assert "is a folder" in refusal(capsys, "train", ".")
    assert "TEXT is empty" in refusal(capsys, "train", "")
    (tmp_path / "binary").write_bytes(b"\0\1\2" * 1000)
    assert "NUL characters" in refusal(capsys, "train", "binary")
    assert not (tmp_path / "runs").exists()  # a refused run leaves nothing behind


def test_a_text_just_long_enough_is_learnt(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text("ab" * 10)
    message = refusal(capsys, "train", "t", "--batch", "32")
    least = int(re.search(r"need (\d+)", message)[1])
    (tmp_path / "t").write_text("a" * (least - 1))
    refusal(capsys, "train", "t", "--batch", "32")
    (tmp_path / "t").write_text("a" * least)
    assert main(["train", "t", "--epochs", "1", "--batch", "32", "--hidden", "4"]) == 0


@pytest.mark.compiled
def test_a_run_is_resumed_from_anywhere_and_its_text_may_have_moved(
    text, tmp_path, monkeypatch, capsys
):
    assert main(["train", "text.txt", *SMALL, "--epochs", "1", "--out", "my run"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train", "--resume", "../my run", "--epochs", "2", "--quiet"]) == 0
    (tmp_path / "text.txt").rename(tmp_path / "moved.txt")
    capsys.readouterr()
    message = refusal(capsys, "train", "--resume", "../my run", "--epochs", "3")
    assert "train TEXT --resume '../my run'" in message
    assert main(["train", "../moved.txt", "--resume", "../my run", "--epochs", "3", "--quiet"]) == 0


def test_G12_a_training_that_diverges_says_so_and_keeps_a_checkpoint(text, tmp_path, capsys):
    assert main(["train", text, *SMALL, "--lr", "1e9", "--epochs", "3", "--out", "run"]) == 1
    assert "diverged" in capsys.readouterr().err
    assert np.isfinite(Run.load(tmp_path / "run").model.output.W.data).all()


def test_folders_and_sizes_that_do_not_do(text, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file; name a folder" in refusal(capsys, "train", text, "--out", "file")
    assert "does not fit in memory" in refusal(capsys, "train", text, "--hidden", "99999999")
    assert not (tmp_path / "runs").exists()


def test_unicode_texts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "诗.txt").write_text("床前明月光，疑是地上霜。\r\n" * 40, encoding="utf-8-sig")
    assert main(["train", "诗.txt", *SMALL, "--epochs", "1", "--out", "run"]) == 0
    assert "\ufeff" not in Run.load("run").characters and "\r" not in Run.load("run").characters
    capsys.readouterr()
    assert main(["sample", "run", "--prompt", "明月", "--length", "5"]) == 0
    sampled = capsys.readouterr().out.removesuffix("\n")
    assert len(sampled) == 2 + 5 and set(sampled) <= set(Run.load("run").characters)
    assert "'x' does not occur" in refusal(capsys, "sample", "run", "--prompt", "x")
    assert "--prompt" in refusal(capsys, "sample", "run", "--prompt", "")


def test_runs_that_cannot_be_continued(text, tmp_path, capsys):
    assert main(["train", text, *SMALL, "--epochs", "1", "--out", "run"]) == 0
    capsys.readouterr()
    assert "already holds a run" in refusal(capsys, "train", text, "--out", "run")
    assert "--hidden cannot change" in refusal(capsys, "train", "--resume", "run", "--hidden", "3")
    assert "no run at nowhere" in refusal(capsys, "train", "--resume", "nowhere")
    assert "no run at nowhere" in refusal(capsys, "sample", "nowhere")
    (tmp_path / "text.txt").write_text("another text altogether " * 100)
    assert "it has changed" in refusal(capsys, "train", "--resume", "run", "--epochs", "2")
    io.save("other.safetensors", {"a": np.ones(2)}, {"b": 1})
    assert "not of a run" in refusal(capsys, "sample", "other.safetensors")
    for name, command in (("best", ["sample"]), ("checkpoint", ["train", "--resume"])):
        whole = (tmp_path / f"run/{name}.safetensors").read_bytes()
        (tmp_path / f"run/{name}.safetensors").write_bytes(whole[:-10])
        assert f"{name}.safetensors" in refusal(capsys, *command, "run")


@pytest.mark.parametrize(
    "option, value",
    [("--lr", "0"), ("--lr", "nan"), ("--lr", "inf"), ("--dropout", "2"), ("--seed", "-1")],
)
def test_numbers_out_of_range(text, capsys, option, value):
    assert option in refusal(capsys, "train", text, option, value)


@pytest.mark.parametrize("option, value", [("--hidden", "0"), ("--batch", "x"), ("--cell", "cnn")])
def test_options_that_make_no_sense(option, value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", option, value])
    assert stop.value.code == 2 and option in capsys.readouterr().err


def test_settings_and_defaults_agree_with_the_help(capsys):
    for command in (["--help"], ["train", "--help"], ["sample", "--help"], ["graph", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0
    defaults = Settings()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"default {defaults.cell}" in said and f"default {defaults.encoding}" in said
    for name in ("hidden", "layers", "embedding", "dropout", "batch", "window", "epochs", "lr"):
        assert f"default {getattr(defaults, name):g}" in said, name
    assert f"default {defaults.max_bytes}" in said and f"default {defaults.seed}" in said


@pytest.mark.parametrize("name", ["lstm.svg", "gru.dot"])
def test_graph_draws(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["graph", "--cell", name.split(".")[0], "--steps", "2", "-o", name]) == 0
    written = (tmp_path / name).read_text("utf-8")
    assert written.startswith("<svg" if name.endswith("svg") else "digraph") and "t = 1" in written
    assert f"wrote {name}" in capsys.readouterr().out


def test_graph_draws_two_sequences_of_eight_units_unless_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["graph", "--cell", "rnn", "--steps", "1", "-o", "a.dot"]) == 0
    assert "2×8" in Path("a.dot").read_text("utf-8")


def test_explain_reads_one_character_more_than_there_are_steps():
    assert explain._signs("abcdef", 2) == "abc" and explain._signs("ab", None) == "ab"
    assert explain._signs(None, 2) == explain.SIGNS[:3]


def test_graph_refuses_what_it_cannot_write(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ".svg" in refusal(capsys, "graph", "-o", "picture.xyz")
    assert "folder" in refusal(capsys, "graph", "-o", "no/such/folder/a.svg")


def test_a_reader_that_has_seen_enough(text):
    assert main(["train", text, *SMALL, "--epochs", "1", "--out", "run"]) == 0
    with started("sample", "run", "--length", "100000") as process:
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0 and not err


def test_a_terminal_without_the_letters(text):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    process = started("train", text, "--epochs", "1", *SMALL[:-1], env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and not err and "?" in out


@pytest.mark.parametrize("words, message", [
    (["sample", "x", "--seed", "1.5"], "--seed: expected a whole number, got '1.5'"),
    (["train", "--lr", "x"], "--lr: expected a number, got 'x'"),
])  # fmt: skip
def test_what_is_no_number_is_refused_in_a_sentence(words, message, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_equations_of_one_step_are_asked_for_in_vain(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "ab", "--equations"]) == 2
    assert "expected at least 2 steps" in capsys.readouterr().err
    assert main(["explain", "abc", "--equations"]) == 0
    assert capsys.readouterr().out.strip()
