"""Every example runs, in a small setting, and shows what it says: numbers and a picture."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICK = {path.stem for path in EXAMPLES.glob("*.py") if "--quick" in path.read_text("utf-8")}
TEXT = "to be or not to be, that is the question\n" * 80


def run(path, folder, *arguments, without=()):
    """Run an example in a folder, as if some packages were not installed."""
    code = (
        "import runpy, sys; path, without, *sys.argv[1:] = sys.argv[1:]; "
        "sys.modules.update({name: None for name in without.split()}); "
        "runpy.run_path(path, run_name='__main__')"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(path), " ".join(without), *arguments]
    # Compiling takes longer than a small setting does, and threads would spin.
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What an example prints in its small setting, and the folder it left; each runs once."""
    known = {}

    def of(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            (folder / "text.txt").write_text("to be or not to be, that is the question\n" * 80)
            arguments = ["--quick"] * (name in QUICK) + ["text.txt"] * (name == "character_model")
            out = run(EXAMPLES / f"{name}.py", folder, *arguments)
            assert out.returncode == 0 and not out.stderr, out.stderr
            known[name] = out.stdout, folder
        return known[name]

    return of


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_it_runs_and_draws_what_it_says(name, printed):
    text, folder = printed(name)
    assert re.search(r"\d\.\d", text), "no number"
    pictures = {path.name for path in folder.glob("*.svg")}
    assert pictures == set(re.findall(r"\w+\.svg", text))
    assert pictures or name in ("character_model", "gradients_by_hand")
    for picture in pictures:
        assert ET.parse(folder / picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_text_of_one_line_will_do(tmp_path):
    (tmp_path / "text.txt").write_text("abc def ghi. " * 200)
    out = run(EXAMPLES / "character_model.py", tmp_path, "text.txt")
    assert out.returncode == 0 and not out.stderr


def table(text):
    """The numbers of each row of a printed table, by what stands before them."""
    rows = re.findall(r"^(\S.*?) {2,}([-+]?\d+\.\d+(?: +[-+]?\d+\.\d+)*)$", text, re.M)
    return {name: [float(x) for x in numbers.split()] for name, numbers in rows}


def test_part_of_speech_is_more_than_the_usual_tag(printed):
    rows = table(printed("part_of_speech")[0])
    usual = rows.pop("the usual tag")
    assert usual[0] > 0.75 and sorted(rows) == ["both sides", "what is before"]
    for shares in rows.values():
        assert shares[0] > usual[0] and min(shares) > 0.4


def test_arrive_or_leave_is_decided_by_the_verb(printed):
    text, _ = printed("arrive_or_leave")
    shares = re.findall(r"city: (\S+) of the cities right", text)
    assert [float(share) for share in shares] == pytest.approx([1, 1, 1], abs=0.02)
    arrive, leave = (table(part) for part in text.split("\nbeijing: ")[1:])
    assert arrive["reach"][-1] > 0.2 and leave["leave"][-1] < -0.2
    assert len(arrive) == len(leave) == 5
    for *gates, _ in (*arrive.values(), *leave.values()):
        i, f, g, o = gates
        assert 0 < i < 1 and 0 < f < 1 and -1 < g < 1 and 0 < o < 1


def test_recall_falls_with_the_lag(printed):
    rows = table(printed("recall_against_lag")[0])
    assert len(rows) == 10
    assert all(near >= far - 0.02 for near, far in rows.values())
    assert rows["GRU"][1] < 0.8 < rows["RNN, TimeSkip"][1]
    assert rows["LSTM, f = 0.98"][1] > rows["LSTM, f = 0.73"][1]


def test_sunspots_are_foreseen_better_than_by_last_year(printed):
    rows = table(printed("sunspots")[0])
    assert rows["autoregression"] == pytest.approx([16.7, 46.3], abs=0.1)
    for name in ("GRU, seed 0", "mean of those"):
        for error, naive in zip(rows[name], rows["as last year"], strict=True):
            assert error < 0.75 * naive


def test_digits_are_read(printed):
    text, _ = printed("digits_by_row")
    single = [float(share) for share in re.findall(r"one reader: (\S+)", text)]
    together = float(re.search(r"5 together: (\S+)", text)[1])
    assert len(single) == 5 and min(single) > 0.5
    assert together > sorted(single)[2]
    assert text.count("that was taken for") == 3


def test_dates_are_asked_in_every_language(printed):
    text, _ = printed("dates")
    answers = re.findall(r"^(\w\w): \d\.\d+ right; .+ -> ([-^0-9]{10})$", text, re.M)
    assert [locale for locale, _ in answers] == ["de", "en", "es", "fr", "it", "ja", "nl", "zh"]


def test_rtrl_learns_online_what_the_latest_step_alone_does_not_tell(printed):
    text, _ = printed("rtrl_online")
    rows = re.findall(r"^ +(W[hxn]) +(\S+) +(\S+) +(\S+)$", text, re.M)
    assert len(rows) == 3 and all(float(rtrl) < 1e-12 for _, _, rtrl, _ in rows)
    found = re.findall(r"^(\w.+\w) +loss of the first .+, of the last (\S+)$", text, re.M)
    losses = {name: float(last) for name, last in found}
    assert losses["with influence"] < 0.2 and losses["latest step alone"] > 0.5


NEEDS = {
    "part_of_speech": "pycantonese",
    "sunspots": "statsmodels",
    "digits_by_row": "sklearn",
    "dates": "babel",
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_package_is_one_sentence(name, tmp_path):
    out = run(EXAMPLES / f"{name}.py", tmp_path, without=[NEEDS[name]])
    assert out.returncode == 1 and not out.stdout
    pattern = r"data\.\w+: needs [\w-]+: pip install '\.\[data\]'\n"
    assert re.fullmatch(pattern, out.stderr)
