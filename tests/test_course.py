"""The course: every solution passes, every stub and every listed mistake fails its own check."""

import ast
import json
import re
import signal
import subprocess
import sys
from inspect import isfunction
from pathlib import Path
from traceback import FrameSummary

import numpy as np
import pytest

from tinygrad_rnn import course, language
from tinygrad_rnn.cli.main import main
from tinygrad_rnn.course import grade, lessons, own
from tinygrad_rnn.course.folder import as_notebook, code_of
from tinygrad_rnn.course.judge import (
    Judge,
    Overtime,
    Wrong,
    call,
    compare,
    limit,
    mistakes_of,
    ours,
)
from tinygrad_rnn.course.words import passages, translated, width

NUMBERS = lessons.numbers()
EXERCISES = [f"{n}.{k}" for n in NUMBERS for k in range(1, len(lessons.lesson(n).exercises) + 1)]
SECOND = Path(__file__).parent / "second"  # solutions written differently


def solved(lesson):
    return vars(lesson.part("solution"))


def mistakes():
    for number in EXERCISES:
        lesson, exercise = lessons.exercise(number)
        for words, made in mistakes_of(lesson.part("mutants"), exercise.name).items():
            yield pytest.param(number, words, made, id=f"{number}-{made.__name__}")


@pytest.mark.parametrize("number", EXERCISES)
def test_solutions_pass_and_stubs_are_open(number):
    lesson, exercise = lessons.exercise(number)
    result = grade.judge(lesson, exercise, solved(lesson)[exercise.name])
    assert result, result.evidence
    stub = {}
    exec(lesson.source(), stub)
    assert grade.judge(lesson, exercise, stub[exercise.name]).state == "open"
    assert grade.judge(lesson, exercise, None).state == "open"
    assert grade.judge(lesson, exercise, lambda *_, **__: None).state == "wrong"


@pytest.mark.parametrize("number", EXERCISES)
def test_what_returns_nothing_is_told_so(number):
    """And no error of the checks themselves."""
    lesson, exercise = lessons.exercise(number)
    made = solved(lesson)[exercise.name]
    if isfunction(made):
        evidence = grade.judge(lesson, exercise, lambda *given, **words: None).evidence
        assert "Error" not in evidence, evidence


def softmax_less(least):
    def softmax(x):
        e = np.exp(x - least(x))
        return e / e.sum(-1, keepdims=True)

    return softmax


def clip_in_place(gradients, limit):
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    for g in gradients.values():
        g *= min(1.0, limit / max(norm, 1e-9))
    return gradients


def padding_lost(xs, lengths):
    turned = np.zeros_like(xs)
    for b, n in enumerate(lengths):
        turned[:n, b] = xs[:n, b][::-1]
    return turned


def drawn_at_the_left(scores, temperature, u):
    e = np.exp((scores - scores.max()) / temperature)
    return int(np.searchsorted(np.cumsum(e) / e.sum(), u))


def clip_nearly(gradients, limit):
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    return {name: g * min(1.0, limit / (norm + 1e-6)) for name, g in gradients.items()}


def clip_to_a_list(gradients, limit):
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    return [g * (limit / norm if norm > limit else 1.0) for g in gradients.values()]


PASSED_ONCE = [  # and ought not to
    ("03.3", softmax_less(lambda x: x.min(-1, keepdims=True))),
    ("03.3", softmax_less(lambda x: x.mean(-1, keepdims=True))),
    ("03.3", softmax_less(lambda x: x[..., :1])),
    ("06.4", clip_in_place),
    ("06.4", clip_nearly),
    ("06.4", clip_to_a_list),
    ("09.3", padding_lost),
    ("11.3", drawn_at_the_left),
    ("12.5", lambda before, after: sorted(np.divide(before, after))[len(before) // 2]),
]


@pytest.mark.parametrize(("number", "made"), PASSED_ONCE)
def test_what_is_wrong_in_one_case_alone_does_not_pass(number, made):
    lesson, exercise = lessons.exercise(number)
    assert grade.judge(lesson, exercise, made).state == "wrong"


def test_only_the_exercise_itself_says_that_it_is_open():
    """Not an error of that kind that comes with words, as of a memoryview."""
    lesson, exercise = lessons.exercise("01.1")
    for made in (lambda f, x, h: memoryview(np.ones((2, 2)))[0], lambda f, x, h: 1 / 0):
        assert grade.judge(lesson, exercise, made).state == "wrong"


def test_a_mistake_is_not_named_where_it_would_be_right():
    lesson, exercise = lessons.exercise("09.1")
    as_lists = lambda lengths, steps: [[bool(t < n) for n in lengths] for t in range(steps)]
    evidence = grade.judge(lesson, exercise, as_lists).evidence
    assert "an array of bools is asked for" in evidence and "One step too many" not in evidence


def test_a_file_with_dataclasses_runs(tmp_path):
    path = tmp_path / "02_tape.py"
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text += "@dataclass\nclass Node:\n    value: float\nnode = Node(2.0)\n"
    path.write_text(text, "utf-8")
    assert grade.names_of(path)["node"].value == 2.0 and "02_tape" not in sys.modules


def test_progress_is_kept_beside_the_file_that_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away").mkdir()
    course.start("01", folder="away/course")
    assert main(["course", "check", "away/course/01_slope.py"]) == 1
    assert not Path("course").exists()
    assert "course hint 01.1" in capsys.readouterr().out


def test_where_nothing_can_be_written_the_course_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = course.start("01")
    path.write_text(lessons.lesson("01").source("solution"), "utf-8")

    def refused(path, text):
        raise PermissionError(f"{path}: Permission denied")

    monkeypatch.setattr(course, "write_text_atomically", refused)
    monkeypatch.setattr(course.folder, "write_text_atomically", refused)
    assert main(["course", "check", "01"]) == 0
    assert (
        main(["course", "hint", "02.1"]) == main(["course", "solution", "02.1", "--give-up"]) == 0
    )
    out = capsys.readouterr().out
    assert "no page of your own run was written: course/01_slope.html" in out and "def " in out


@pytest.mark.parametrize("number", [n for n in NUMBERS if lessons.lesson(n).exercises])
def test_a_second_solution_passes(number):
    lesson = lessons.lesson(number)
    path = SECOND / f"lesson_{number}.py"
    made = grade.names_of(path)
    for exercise in lesson.exercises:
        result = grade.judge(lesson, exercise, made[exercise.name])
        assert result, result.evidence
        one, other = path.read_text("utf-8"), lesson.source("solution")
        one, other = (ast.dump(ast.parse(lessons.text_of(t, exercise.name))) for t in (one, other))
        assert one != other, f"{exercise.name}: the second solution is the first one"


@pytest.mark.parametrize(("number", "words", "made"), [*mistakes()])
def test_every_listed_mistake_fails_and_is_named(number, words, made):
    lesson, exercise = lessons.exercise(number)
    result = grade.judge(lesson, exercise, made)
    assert result.state == "wrong"
    assert words in result.evidence


def test_every_exercise_has_mistakes_of_its_own():
    for number in EXERCISES:
        lesson, exercise = lessons.exercise(number)
        mutants = lesson.part("mutants")
        own = mistakes_of(mutants, exercise.name)
        named = [n for n in vars(mutants) if n.startswith(f"{exercise.name}__")]
        assert len(own) == len(named) >= 2, number


@pytest.mark.parametrize("number", NUMBERS)
def test_lessons_are_in_small_pieces(number):
    lesson = lessons.lesson(number)
    for exercise in lesson.exercises:
        text = lessons.text_of(lesson.source("solution"), exercise.name)
        assert text and len(text.splitlines()) <= 30, exercise.name
        assert 1 <= len(exercise.ideas) <= 3 and len(exercise.hints) == 3, exercise.name
        assert lessons.text_of(lesson.source(), exercise.name), exercise.name
    assert all(len(line) <= 100 for line in lesson.source().splitlines())
    assert 1 <= lesson.fast <= max(1, len(lesson.exercises))


def test_a_lesson_needs_nothing_of_later_ones(tmp_path):
    """Its file is started, solved and checked while the later lessons cannot be imported."""
    code = """
import re, sys
class Later:
    def find_spec(self, name, path=None, target=None):
        found = re.search(r"lesson_(\\d\\d)", name)
        if found and found[1] > number:
            raise ImportError(name)
number = "00"
sys.meta_path.insert(0, Later())
from tinygrad_rnn import course
from tinygrad_rnn.course import grade, lessons, own
folder = course.Folder("course")
for number in sys.argv[1:]:
    lesson = lessons.lesson(number)
    path = folder.start(lesson)
    if lesson.exercises:
        path.write_text(lesson.source("solution"), "utf-8")
        names = grade.names_of(path)
        assert all(grade.judged(lesson, names)), number
        assert "<svg" in own.page(lesson, names, path.read_text("utf-8")), number
"""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *sorted(NUMBERS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr


def test_nothing_of_a_learner_is_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "start", "01"]) == 0
    path = Path("course/01_slope.py")
    path.write_text("mine = 1\n", "utf-8")
    assert main(["course", "start", "01"]) == 2
    assert "reset 01" in capsys.readouterr().err and path.read_text("utf-8") == "mine = 1\n"
    for _ in range(2):
        assert main(["course", "reset", "01"]) == 0
    kept = sorted(Path("course").glob("01_slope.py.bak-*"))
    assert len(kept) == 2 and kept[0].read_text("utf-8") == "mine = 1\n"
    assert path.read_text("utf-8") == lessons.lesson("01").source()


def test_a_file_is_checked_with_evidence_and_exits_with_0_only_if_all_is_right(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    main(["course", "start", "1"])
    assert main(["course", "check"]) == 1
    assert capsys.readouterr().out.count("·") == 3
    path, right = Path("course/01_slope.py"), lessons.lesson("01").source("solution")
    path.write_text(right.replace("(2 * h)", "(4 * h)", 1), "utf-8")
    assert main(["course", "check", "01"]) == 1
    out = capsys.readouterr().out
    assert "by rule: 6, yours: 3\n     0.5 times as large" in out and "hint 01.1" in out
    path.write_text(right, "utf-8")
    assert main(["course", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "✗" not in out and "cancel" in out and "01_slope.html" in out
    assert "<svg" in Path("course/01_slope.html").read_text("utf-8")
    assert main(["course"]) == 0
    assert "01  ✓" in capsys.readouterr().out


def test_a_lesson_without_exercises_is_done_once_its_file_has_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "start", "00"]) == 0
    path, told = Path("course/00_five_minutes.py"), lessons.lesson("00").source()
    path.write_text("1 / 0\n", "utf-8")
    assert main(["course", "check", "00"]) == 1 and main(["course"]) == 0
    assert "00  ✓" not in capsys.readouterr().out
    quick = told.replace("ROUNDS = 16", "ROUNDS = 2")  # and nothing is compiled
    quick = quick.replace("\noptimizer", "\nmodel.recurrent.unroll = True\noptimizer")
    assert len(quick) > len(told)
    path.write_text(quick, "utf-8")
    assert main(["course", "check"]) == 0 and main(["course"]) == 0
    out = capsys.readouterr().out
    assert "00  ✓" in out and "start 01" in out
    made = re.findall(r"wrote (five_minutes\S+)", out)
    assert len(made) == 3 and all("<svg" in Path(name).read_text("utf-8") for name in made)


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("def f(:\n", "in line 1: invalid syntax"),
        ("import numpy\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
        ("central_difference = 3\n", "expected the function central_difference, got int"),
        ("def central_difference(f, x):\n    return 0\n", "TypeError"),
        ("def central_difference(f, x, h):\n    return 1 / 0\n", "in line 2, `return 1 / 0`"),
        ("def central_difference(f, x, h):\n    return 'six'\n", "yours: str 'six'"),
    ],
)
def test_a_file_that_cannot_be_run_says_where(text, evidence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("01_mine.py").write_text(text, "utf-8")
    assert main(["course", "check", "01_mine.py"]) == 1
    assert evidence in capsys.readouterr().out


def test_a_loop_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(grade, "limit", lambda: limit(0.2))

    def forever(f, x, h):
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    def deaf(f, x, h):
        while True:
            try:
                while True:
                    pass
            except:  # noqa: E722
                pass

    lesson, exercise = lessons.exercise("01.1")
    for made in (forever, deaf):
        assert "never ends" in grade.judge(lesson, exercise, made).evidence


def test_a_file_that_is_watched_is_checked_when_it_is_saved(tmp_path):
    command = [sys.executable, "-u", "-m", "tinygrad_rnn", "course"]
    subprocess.run([*command, "start", "01"], cwd=tmp_path, check=True, capture_output=True)
    path, right = tmp_path / "course/01_slope.py", lessons.lesson("01").source("solution")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as behind `&`
    child = subprocess.Popen(
        [*command, "watch"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)

    def until(words):
        for line in child.stdout:
            if words in line:
                return
        raise AssertionError(child.stderr.read())

    until("hint 01.1")
    path.unlink()
    path.with_suffix(".new").write_text(right, "utf-8")
    path.with_suffix(".new").rename(path)
    until("all is right")
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 130 and not errors


def test_the_page_of_a_run_says_its_language(tmp_path):
    lesson = lessons.lesson("01")
    for language_, tag in (("zh", 'lang="zh"'), ("", 'lang="en"')):
        language.use(language_)
        assert tag in own.page(lesson, dict(solved(lesson)), lesson.source("solution"))


def test_the_learners_folder_is_known_from_inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["course", "start", "01"])
    monkeypatch.chdir("course")
    assert main(["course", "hint", "01.1"]) == 0 and Path("progress.json").exists()
    assert not Path("course").exists()


def test_an_earlier_mistake_is_not_held_against_later_exercises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    right = lessons.lesson("01").source("solution")
    Path("01_a.py").write_text(right.replace("(2 * h)", "h", 1), "utf-8")
    assert main(["course", "check", "01_a.py"]) == 1
    out = capsys.readouterr().out
    assert "01.1 ✗" in out and "01.2 ✓" in out and "01.3 ✓" in out
    Path("01_a.py").write_text(right.replace("def partials", "def partial"), "utf-8")
    assert main(["course", "check", "01_a.py"]) == 1
    assert "there is no partials in the file" in capsys.readouterr().out


TAPE = """
def mul(a, b):
    return {product}

def order(end):
    return {order}
"""


def of_the_tape(number, product="0", order="0", flag=""):
    """The verdict on functions in a file with its own class of nodes."""
    lesson, exercise = lessons.exercise(number)
    names = {}
    text = lesson.source("solution").replace("self.gradient = 0.0", f"self.gradient = 0.0{flag}", 1)
    exec(text + TAPE.format(product=product, order=order), names)
    return grade.judge(lesson, exercise, names[exercise.name])


def test_learners_are_given_nodes_of_their_own_class():
    assert "unsupported operand" in of_the_tape("02.1", "a * b").evidence
    assert of_the_tape("02.1", "Node(a.value * b.value, (a, b), (b.value, a.value))")
    assert "Node" in of_the_tape("02.1", "Node(a.value * b.value, (a, b), (b, a))").evidence
    walk = "(f := lambda n, seen: [] if n in seen or not isinstance(n, Node) else "
    walk += "(seen.add(n), sum([f(p, seen) for p in n.parents], []) + [n])[1])(end, set())"
    assert of_the_tape("02.3", order=walk)
    marked = walk.replace("n in seen", "n.visited").replace(
        "seen.add(n)", "setattr(n, 'visited', 1)"
    )
    assert of_the_tape("02.3", order=marked, flag="; self.visited = False")


def test_a_recursion_limit_that_is_raised_and_put_back_is_seen():
    lesson, exercise = lessons.exercise("02.5")

    def deep(end):
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(100_000)
        try:
            return walked(end, [], set())
        finally:
            sys.setrecursionlimit(before)

    def walked(node, found, seen):
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                walked(parent, found, seen)
            found.append(node)
        return found

    assert "sys.setrecursionlimit" in grade.judge(lesson, exercise, deep).evidence


@pytest.mark.parametrize(
    "number, made",
    [
        ("07.5", lambda *given: given[0]),
        ("09.2", lambda *given: np.ones(3)),
        ("08.3", lambda *given: np.ones(3)),
        ("01.2", lambda *given: None),
    ],
)
def test_an_answer_of_another_kind_is_judged(number, made):
    found = grade.judge(*lessons.exercise(number), made)
    assert found.state == "wrong" and "ambiguous" not in found.evidence
    assert number != "01.2" or "nothing was returned" in found.evidence


def test_the_best_step_is_that_of_ones_own_difference():
    lesson, _ = lessons.exercise("01.2")
    names = {}
    exec(lesson.source("solution"), names)
    own = "def central_difference(f, x, h):\n"
    own += "    up, down = x + h, x - h\n    return (f(up) - f(down)) / (up - down)\n"
    exec(own, names)
    assert all(grade.judged(lesson, names))


def test_what_stands_in_a_named_result_is_said_in_chinese():
    difference = compare({"gradient 2 of 2": np.eye(3)}, {"gradient 2 of 2": np.ones((3, 3))}, 1e-6)
    language.use("zh")
    try:
        assert "第 2 个梯度（共 2 个）的 [0, 1] 处" in language.said(
            difference.words("the reference")
        )
    finally:
        language.use("")


def test_a_notebook_speaks_the_language_it_is_written_in(tmp_path):
    language.use("zh")
    try:
        path = course.start("01", notebook=True, folder=tmp_path)
    finally:
        language.use("")
    assert 'language.use("zh")' in code_of(path)


def test_a_recursion_limit_that_a_learner_raises_is_put_back():
    allowed = sys.getrecursionlimit()
    lesson, exercise = lessons.exercise("01.1")
    assert not grade.judge(lesson, exercise, lambda *_: sys.setrecursionlimit(allowed + 1))
    assert sys.getrecursionlimit() == allowed


def test_a_limit_in_another_ends_neither():
    import time

    with pytest.raises(Overtime), limit(0.3):
        with pytest.raises(Overtime), limit(0.05):
            time.sleep(5)
        with limit(60):
            pass
        time.sleep(5)


def test_a_whole_number_too_large_for_an_array_is_evidence():
    for size in (100, 10**4):
        assert compare(1.0, 10**size, 1e-6).got.startswith("int of ")


def test_lines_of_python_are_no_learners():
    frames = [
        FrameSummary(name, 1, "f") for name in ("/home/me/01_a.py", re.__file__, "<frozen x>")
    ]
    frames.append(FrameSummary(f"{Path(course.__file__).parent.parent}_course/01_a.py", 1, "f"))
    assert [ours(frame) for frame in frames] == [True, False, False, True]


def test_an_answer_is_judged_as_it_runs(tmp_path):
    """Not with what the judge itself imports from the future."""
    path = tmp_path / "01_mine.py"
    path.write_text("def f(x: Undefined): pass\n", "utf-8")
    with pytest.raises(Wrong, match="NameError"):
        grade.names_of(path)


def test_two_programs_may_note_in_one_folder(tmp_path):
    one, other = course.Folder(tmp_path), course.Folder(tmp_path)
    one.note("01.1", done=True)
    other.note("01.2", hints=2)
    one.note("02.1", tries=1)
    assert one.notes == other.notes and [*one.notes] == ["01.1", "01.2", "02.1"]
    assert other.of("01.1")["done"] and one.of("01.2")["hints"] == 2


def test_a_cell_of_a_notebook_is_python_without_commands(tmp_path):
    path, code = tmp_path / "01_a.ipynb", lambda text: {"cell_type": "code", "source": [text]}
    asked = 'course.check(\n    "01.1",\n    f,\n)\n\nx = ("a %g"\n    % 3)\n'
    cells = [code("%matplotlib inline\n!ls\ny = 1"), code(asked)]
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    names = grade.names_of(path)
    assert names["x"] == "a 3" and names["y"] == 1
    for broken in ({"cells": [{"cell_type": "code"}]}, {"cells": [{"source": ""}]}, []):
        path.write_text(json.dumps(broken), "utf-8")
        with pytest.raises(ValueError, match="expected a Jupyter notebook"):
            code_of(path)


def test_what_is_asked_for_wrongly_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, told in [
        (["start", "77"], "there is no lesson"), (["check", "01"], "has not been begun"),
        (["check"], "no lesson has been begun"), (["check", "nothing.py"], "no such file"),
        (["hint", "01"], "such as 05.2"), (["hint", "01.9"], "has 3 exercises"),
        (["solution", "01.1"], "is not done yet"), (["reset", "01"], "has not been begun"),
        (["class", "."], "expected reports"),
    ]:  # fmt: skip
        assert main(["course", *words]) == 2, words
        assert told in capsys.readouterr().err, words


def test_hints_go_deeper_and_a_solution_is_shown_when_given_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for count in (1, 2, 3, 3):
        main(["course", "hint", "01.1"])
        assert len(capsys.readouterr().out.splitlines()) == count
    assert main(["course", "solution", "01.1", "--give-up"]) == 0
    assert "def central_difference" in capsys.readouterr().out
    notes = json.loads(Path("course/progress.json").read_text("utf-8"))["exercises"]["01.1"]
    assert notes["hints"] == 3 and notes["gave_up"] and not notes["done"]


def test_an_exercise_goes_by_one_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in ("01.1", "1.1"):
        main(["course", "hint", number])
    assert "2/3 " in capsys.readouterr().out
    assert main(["course", "solution", "1.1", "--give-up"]) == 0
    notes = json.loads(Path("course/progress.json").read_text("utf-8"))["exercises"]
    assert notes.keys() == {"01.1"} and notes["01.1"]["gave_up"]


@pytest.mark.parametrize("leave", ["exit()", "raise SystemExit", "raise GeneratorExit"])
def test_who_leaves_in_the_middle_has_not_passed(leave, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = lessons.lesson("01").source().replace("raise NotImplementedError", leave)
    Path("01_mine.py").write_text("\ufeff" + text, "utf-8")  # as Windows saves it
    assert main(["course", "check", "01_mine.py"]) == 1
    assert f"`{leave}`" in capsys.readouterr().out


def test_damaged_progress_is_moved_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("course").mkdir()
    notes = ['{"hints": null}', '{"tries": "b"}', '{"tries": 1e999}', '{"tries": -1}', "3"]
    kept = [f'{{"course": 1, "exercises": {{"01.1": {note}}}}}' for note in notes]
    for text in ("{", "[]", "[" * 100_000, *kept):
        Path("course/progress.json").write_text(text, "utf-8")
        assert main(["course", "hint", "01.1"]) == 0
    assert len(list(Path("course").glob("progress.json.bak-*"))) == 8


def test_reports_of_a_class(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    right = solved(lessons.lesson("01"))
    for name, count in (("an", 3), ("bo", 1)):
        folder = tmp_path / name
        for k in range(1, count + 1):
            _, exercise = lessons.exercise(f"01.{k}")
            assert course.check(f"01.{k}", right[exercise.name], folder=folder)
        monkeypatch.chdir(folder)
        assert main(["course", "report", "-o", f"{tmp_path}/{name}.json"]) == 0
    (tmp_path / "other.json").write_text("{}", "utf-8")
    steering = {"course": 1, "name": "cy\x1b[31m\n0/3", "exercises": {}}
    (tmp_path / "steering.json").write_text(json.dumps(steering), "utf-8")
    capsys.readouterr()
    assert main(["course", "class", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split()[:2] == ["an", "3/3"] and out[2].split()[:2] == ["bo", "1/3"]
    assert any("other.json: expected a report" in line for line in out)
    assert out[3].split()[:2] == ["cy\ufffd[31m", "0/3"] and len(out[3].split()) > 5
    assert main(["course", "class", f"{tmp_path}/nowhere"]) == 2
    assert "expected a folder with reports" in capsys.readouterr().err


@pytest.mark.parametrize("number", NUMBERS)
def test_a_notebook_holds_the_same(number, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    lesson = lessons.lesson(number)
    path = course.Folder(tmp_path).start(lesson, notebook=True)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = code_of(path)
    for exercise in lesson.exercises:
        text = lessons.text_of(lesson.source(), exercise.name)
        assert lessons.text_of(code, exercise.name) == text
    assert as_notebook(lesson, lesson.source("solution" if lesson.exercises else "exercise"))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_lesson_in_chinese_is_the_same_code(number):
    language.use("zh")
    try:
        lesson = lessons.lesson(number)
        source, told = lesson.source(), translated(lesson.source())
        assert [p.text for p in passages(told)] != [p.text for p in passages(source)]
        bare = [ast.unparse(_bare(ast.parse(text))) for text in (source, told)]
        assert bare[0] == bare[1]
        assert all(width(line) <= 100 for line in told.splitlines())
        for exercise in lesson.exercises:
            for words in (exercise.title, *exercise.hints, exercise.why):
                assert language.said(words) != words or words.isascii() is False, words
    finally:
        language.use("")


def _bare(tree):
    """Code without its docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return tree


def test_evidence_names_the_kind_of_a_mistake():
    import numpy as np

    right = np.arange(1.0, 7).reshape(2, 3)
    for wrong, kind in [
        (-right, "other sign"), (2 * right, "2 times as large"), (right.T, "transposed"),
        (right[::-1], "reversed"), (0 * right, "0"), (right * np.nan, "finite"),
        (np.stack([right / 2] * 2), "summed over axis=0"),
    ]:  # fmt: skip
        assert kind in compare(right, wrong, 1e-6).kind
    overflowed = np.array([1.0, np.nan, np.inf])
    assert compare(overflowed, overflowed.copy(), 1e-9) is None
    assert compare(overflowed, overflowed + np.eye(3)[0], 1e-9).place == "[0]"
    assert compare({"a": 1.0, "b": right}, (1.0, right), 1e-6) is None
    assert compare(np.array([1, np.nan]), [1, np.nan], 1e-6) is None
    assert compare(np.array([True, False]), [True, True], 1e-6).place == "[1]"
    assert compare({"a": 1.0, "b": right}, (1.0, -right), 1e-6).place.startswith("b[")
    with pytest.raises(Wrong, match="changed its argument"):
        Judge(lambda x: x.fill(0), {}).see("", call(np.ones(2)), 0)


def test_a_report_is_not_written_over_an_exercise(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["course", "start", "01"]) == 0
    before = (tmp_path / "course" / "01_slope.py").read_text("utf-8")
    assert main(["course", "report", "-o", "course/01_slope.py"]) == 2
    assert "would be an exercise" in capsys.readouterr().err
    assert (tmp_path / "course" / "01_slope.py").read_text("utf-8") == before
