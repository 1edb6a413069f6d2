"""What is said in another language: the catalogue, what is recognised, and who says it."""

import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import language, nn
from tinygrad_rnn.cli.main import main

WORDS = Path(__file__).parent.parent / "docs" / "words.py"
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def chinese():
    assert language.use("zh_CN.UTF-8") == "zh"
    yield
    assert language.use("") == "en"


@pytest.fixture(scope="module")
def words():
    pytest.importorskip("babel")
    return runpy.run_path(str(WORDS))


def test_the_catalogues_have_what_the_code_says_and_nothing_else(words):
    """All that the command, the page of errors and lessons say; `python docs/words.py` mends it."""
    for name, wanted in words["catalogues"]().items():
        catalogue = words["kept"](name)
        kept = {m.id: m.string for m in catalogue if m.id}
        assert kept.keys() == wanted
        assert [text for text, translation in kept.items() if not translation] == []
        made = (words["CATALOGUES"] / f"{name}.mo").read_bytes()
        assert words["compiled"](catalogue) == made


def test_a_translation_fills_the_same_gaps(words):
    for message in words["kept"]("tinygrad_rnn"):
        if message.id:
            given, taken = message.id.count("{}"), re.findall(r"\{(\d*)\}", message.string)
            assert len(taken) == given, message.id
            assert sorted(map(int, filter(None, taken))) in ([], list(range(given))), message.id


def test_the_refusals_that_people_meet_are_said_in_chinese(words, chinese):
    page = (WORDS.parent / "errors.md").read_text("utf-8")
    met = re.findall(r"^[A-Z]\w+: (.+)$", page, re.M)
    told = [text for text in met if CHINESE.search(language.said(text))]
    assert len({*told}) >= 60 and told == met
    bare = [re.sub("[`'(].*?[`')]", "", language.said(text)) for text in met]
    assert [text for text in bare if re.search(r"(\b[A-Za-z]{2,} ){4}", text)] == []


def test_a_word_of_the_page_is_not_one_of_a_refusal(words, chinese):
    """A tensor called "gradient" keeps its name; on the page the word is translated."""
    assert words["kept"]("page").get("gradient", "page").string == "梯度"
    assert language.said("gradient") == "gradient"
    assert "gradient" in language.said("mean: gradient: expected floats, got int64")


def test_a_sentence_keeps_its_values_and_what_is_unknown_stays(chinese):
    with pytest.raises(ValueError) as refusal:
        nn.Linear(3, 2)(np.ones((4, 7), np.float32))
    told = language.said(str(refusal.value))
    assert told.startswith("Linear：x：") and "3" in told and "(4, 7)" in told
    with pytest.raises(TypeError) as refusal:
        tg.tensor("some text")  # three sentences, one in another
    assert not re.search("[a-z]+ [a-z]+", language.said(str(refusal.value)))
    assert language.said("colourless green ideas") == "colourless green ideas"
    assert language.said("  wrote a b.svg\n") == "  已写出 a b.svg\n"
    assert "我的/跑 一.svg" in language.said("wrote 我的/跑 一.svg")


@pytest.mark.timeout(60)
def test_what_can_be_read_in_many_ways_is_read_in_the_end(chinese):
    assert language.said("a" + ", but b, default c, a tensor d" * 20)


@pytest.mark.parametrize("name, word", [
    *((name, "已写出") for name in ("zh", "zh-CN", "zh-Hans", "zh_CN.UTF-8")), ("en_GB", "wrote"),
])  # fmt: skip
def test_a_language_is_written_as_anywhere(name, word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--lang", name, "course", "start", "01"]) == 0
    assert word in capsys.readouterr().out


def test_the_language_may_be_said_after_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "start", "01", "--lang", "zh"]) == 0
    assert "已写出" in capsys.readouterr().out
    for words in (["--lang"], ["course", "--lang"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2 and "expected one argument" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--lang", "zhuang"])
    assert "expected en or zh, got 'zhuang'" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["--lang", "$LANG"])
def test_the_command_speaks_chinese_and_leaves_no_trace(how, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    ahead = ["--lang", "zh"] if how == "--lang" else []
    if not ahead:
        monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    monkeypatch.setenv("COLUMNS", "80")
    hook, before = sys.excepthook, dict(os.environ)
    for command in ([], ["train"], ["sample"], ["graph"], ["explain"], ["course"]):
        with pytest.raises(SystemExit):
            main([*ahead, *command, "--help"])
        said = capsys.readouterr().out
        assert said.startswith("用法：tinygrad-rnn") and "选项：" in said
        assert not said.split("\n\n")[1].startswith(("位置参数", "选项")), "it has no description"
        assert not re.search("(?m):$|[a-z]，", said), "half of a line is English"
        columns = [len(line) + len(CHINESE.findall(line)) for line in said.splitlines()]
        assert max(columns) <= 80
        lines = [line for line in said.splitlines() if re.search("[a-z]{3} [a-z]{3}", line)]
        assert all(CHINESE.search(line) or "tinygrad-rnn" in line for line in lines), lines
    assert main([*ahead, "sample", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("tinygrad-rnn：nowhere 那里没有运行")
    assert sys.excepthook is hook and dict(os.environ) == before
    assert language.said("wrote a.svg") == "wrote a.svg"


def test_an_error_that_nobody_catches_is_said_in_both(chinese, capsys):
    try:
        tg.tensor(np.ma.array([1.0], mask=[True]))
    except TypeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("TypeError: tensor: got a masked array") and "掩码" in said[-1]


def test_a_sentence_of_the_site_keeps_its_translation_when_it_is_measured_again():
    renumbered = runpy.run_path(str(WORDS.with_name("build.py")))["renumbered"]
    known = {"2.4 ±3% ≥1 must ✓": "2.4 ±3% ≥1 必须 ✓", "3 of 4 are met": "4 个中达到 3 个"}
    assert renumbered("0.9 ≥1.5 must ✗", known) == "0.9 ≥1.5 必须 ✗"
    assert renumbered("1 of 2 are met", known) == "", "its numbers stand in another order"
    assert renumbered("0.9 ≥1.5 floor ✗", known) == ""


def test_who_showed_errors_before_goes_on_showing_them(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "excepthook", mine := lambda *error: shown.append(error[1]))
    language.use("zh")
    language.use("zh")
    sys.excepthook(ValueError, error := ValueError("colourless green ideas"), None)
    assert shown == [error]
    language.use("")
    assert sys.excepthook is mine


def test_what_is_filled_in_is_no_sentence_however_it_reads(chinese):
    """Names of files and learners may have words of sentences in them."""
    for name in ("a, but b.svg", "x is empty", "two of them, default 3"):
        assert language.said(f"wrote {name}") == f"已写出 {name}"
    assert language.said("there is no run at x is empty; tinygrad-rnn train makes one").count(
        "x is"
    )
    assert language.said("tinygrad-rnn: a.txt is empty") == "tinygrad-rnn：a.txt 是空的"


@pytest.mark.timeout(5)
def test_a_long_text_takes_no_time(chinese):
    long = "; ".join(f"'cells.{k}.Wx' is float32[3, 4], expected float32[4, 4]" for k in range(800))
    end = "Build the module with the sizes it was saved with."
    words = f"Module.load_state_dict: nothing was loaded: {long}. {end}"
    assert "nothing was loaded" not in language.said(words)
    assert language.said("wrote " + "a, but b" * 1000) == "已写出 " + "a, but b" * 1000


def test_a_sample_is_the_model_s_own_words(chinese, capsys):
    from tinygrad_rnn.cli.train import _Progress
    from tinygrad_rnn.cli.voice import voices

    with voices():
        _Progress(1, quiet=False).say("wrote a.svg\n", "    The cat sat, but the dog ran\n")
    assert capsys.readouterr().out == "已写出 a.svg\n    The cat sat, but the dog ran\n"


def test_a_sentence_of_which_half_is_not_translated_stays_english(chinese):
    assert language.said("wrote two of them").startswith("已写出")
    half = "wrote something that nobody has ever said before"
    assert language.said(half) == half
    assert language.said(half.replace("something", "'something") + "'").startswith("已写出")
