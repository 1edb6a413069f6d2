"""The page that steps through a run: what it holds, and what it does in a browser."""

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from formulas import Reader as Formula
from formulas import sum_to

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cli.main import main
from tinygrad_rnn.page import backward, document
from tinygrad_rnn.tape import Tape, itemised, tape_of
from tinygrad_rnn.tensor import Outline

ROOM = Path(tg.__file__).parent / "page"
grad = sys.modules["tinygrad_rnn.grad"]  # `tg.grad` is the function
SIGNS = "我去到北京"
T, I, H = 5, 2, 3

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "<svg onload=window.hacked=3>",
    "javascript:hacked=4//\\n\u2028\u2029\x00${hacked}$script",
    "]]><b>bold</b><!--",
]


def recurrent():
    """h = tanh(x Wx + h Wh + b), L = sum of squares; and the same gradients by hand in NumPy."""
    rng = np.random.default_rng(0)
    cell = nn.RNN(I, H, dtype=np.float64, rng=0)
    xs = rng.normal(size=(T, 1, I))
    ys, _ = cell(xs, unroll=True)
    loss = (ys * ys).sum()
    Wx, Wh, b = (getattr(cell, name).data for name in ("Wx", "Wh", "b"))
    hs = [np.zeros((1, H))]
    for x in xs:
        hs.append(np.tanh(x @ Wx + hs[-1] @ Wh + b))
    sums = {name: np.zeros_like(w) for name, w in (("Wx", Wx), ("Wh", Wh), ("b", b))}
    later = np.zeros((1, H))
    for t in reversed(range(T)):
        delta = (2 * hs[t + 1] + later) * (1 - hs[t + 1] ** 2)
        sums["Wx"] += xs[t].T @ delta
        sums["Wh"] += hs[t].T @ delta
        sums["b"] += delta.sum(0)
        later = delta @ Wh.T
    return loss, cell, sums


def language_model(cell="lstm", steps=T, hidden=H, layers=1):
    rng = np.random.default_rng(0)
    model = nn.LanguageModel(6, cell=cell, embedding=hidden, hidden=hidden, layers=layers, rng=rng)
    model.recurrent.unroll = True
    x, y = rng.integers(0, 6, (2, steps, 1))
    return model.loss(x, y)[0]


def hostile():
    x = tg.tensor([[0.5, -0.25]], requires_grad=True)
    x.name = HOSTILE[0]
    with tg.scope(f"{HOSTILE[1]}/t=0"):
        y = tg.tanh(x)
        y.name = HOSTILE[2]
    with tg.scope(f"{HOSTILE[3]}/t=1"):
        y = tg.tanh(y)
        y.name = HOSTILE[4]
    return y.sum()


def data_of(page, name="data"):
    found = re.search(
        rf'<script type="application/json" id="{name}">(.*?)</script>', page.html, re.S
    )
    return json.loads(found[1])


@pytest.mark.parametrize("steps, there", [(1, False), (2, True), (3, True), (4, False)])
def test_the_parts_of_a_loss_are_told_apart_from_two_steps_to_a_limit(steps, there, monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.page.data.ITEMISED", 3)
    assert (data_of(tg.explain(language_model(steps=steps)))["itemised"] is not None) == there


def test_a_run_of_as_many_ops_as_can_be_stepped_through_is_explained(monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.page.levels.OPS", 3)
    x = tg.tensor([1.0], requires_grad=True)
    assert tg.explain(tg.exp(tg.tanh(x)).sum()).html
    with pytest.raises(ValueError, match="4 ops, more than the 3"):
        tg.explain(-tg.exp(tg.tanh(x)).sum())


# -- what the file holds ---------------------------------------------------------------------------


def test_the_terms_of_each_weight_add_up_to_its_gradient():
    loss, cell, sums = recurrent()
    data = data_of(tg.explain(loss))
    assert len(data["weights"]) == 3
    for weight in data["weights"]:
        name = data["tape"]["records"][weight["id"]]["name"]
        assert len(weight["shares"]) == T
        total = np.sum([share["data"] for share in weight["shares"]], axis=0)
        np.testing.assert_allclose(total, sums[name].ravel(), atol=1e-7)
        assert weight["shares"][-1]["total"] == pytest.approx(np.linalg.norm(sums[name]))
    assert cell.Wh.grad is None  # nothing is left anywhere
    loss.backward()
    np.testing.assert_allclose(cell.Wh.grad.data, sums["Wh"], atol=1e-12)


def test_compiled_loops_are_explained_as_their_steps():
    cell = nn.LSTM(I, H, dtype=np.float64, rng=0)
    xs = np.random.default_rng(0).normal(size=(T, 1, I))
    compiled, steps = (tg.explain((cell(xs, unroll=u)[0] ** 2).sum()) for u in (False, True))
    sums = []
    for page in (compiled, steps):
        data = data_of(page)
        assert [len(w["shares"]) for w in data["weights"]] == [T] * 3
        sums.append(sorted(w["shares"][-1]["total"] for w in data["weights"]))
    np.testing.assert_allclose(*sums, rtol=1e-8)


def test_numbers_that_a_step_mentions_are_its_own_at_each_step():
    step = lambda x, h: tg.tanh(0.3 * x + np.array([0.1, 0.7]) * h)
    x = tg.tensor(np.ones((T, 2)), requires_grad=True)
    compiled, steps = (
        tape_of(tg.scan(step, np.zeros(2), x, unroll=u)[0].sum()) for u in (False, True)
    )
    assert len(compiled.records) == len(steps.records)


def test_a_page_makes_one_recorded_pass_and_one_for_all_parts_of_the_loss(monkeypatch):
    passes = []

    def count(what, kind):
        def counted(*given, **words):
            letters = kind == "one loss" and isinstance(given[1][0]._array, Outline)
            passes.extend([] if letters else [kind])  # equations have a pass without numbers
            return what(*given, **words)

        return counted

    monkeypatch.setattr(
        grad.BackwardPass, "__init__", count(grad.BackwardPass.__init__, "one loss")
    )
    monkeypatch.setattr(itemised, "batched", count(itemised.batched, "all parts"))
    data = data_of(tg.explain(language_model()))
    assert passes == ["one loss", "all parts"] and data["itemised"]["parts"] == list(range(T))


def test_parts_of_the_loss_add_up_to_it():
    """So no state feels more of the whole than of all parts; the last one feels its own only."""
    cell = nn.RNN(I, 1, dtype=np.float64, rng=0)
    ys, _ = cell(np.random.default_rng(0).normal(size=(T, 1, I)), unroll=True)
    data = data_of(tg.explain((ys * ys).sum()))
    norms = np.array([[v or 0 for v in row] for row in data["itemised"]["norms"]])
    assert np.all(np.triu(norms, 1) == 0) and np.all(np.diag(norms) > 0)
    (row,) = data["rows"]
    for t, id in row["cells"].items():
        whole = data["tape"]["records"][id]["grad"]["l2"]
        assert data["itemised"]["cells"][t] == id
        assert whole <= norms[:, int(t)].sum() * (1 + 1e-5)
    assert norms[-1, -1] == pytest.approx(data["tape"]["records"][id]["grad"]["l2"], rel=1e-5)


def test_the_rows_below_the_graph_are_the_states():
    rows = data_of(tg.explain(language_model("lstm", layers=2)))["rows"]
    assert [(r["layer"], r["label"]) for r in rows] == [
        ("layer0", "h"), ("layer0", "c"), ("layer1", "h"), ("layer1", "c")
    ]  # fmt: skip
    assert all(list(row["cells"]) == [str(t) for t in range(T)] for row in rows)


def test_a_page_stands_alone_and_runs_no_script_but_its_own():
    page = tg.explain(language_model(), title="a title", text=SIGNS)
    tags = Tags(page.html).found
    assert not {"link", "iframe", "object", "embed", "base", "form", "img"} & {t for t, _ in tags}
    assert [tag for tag, _ in tags].count("script") == 3
    assert not [a for _, given in tags for a in given if a in ("src", "style") or a[:2] == "on"]
    assert not re.search(r"https?://(?!www\.w3\.org)", page.html)
    (policy,) = (a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    script = page.html.rsplit("<script>", 1)[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert not re.search(r"\beval\b|innerHTML|Function\(|fetch\(|import\(|XMLHttp", script)
    assert page.html == tg.explain(language_model(), title="a title", text=SIGNS).html
    for given, said in (("1 < 2", "1 &lt; 2"), ("", "tinygrad_rnn")):
        html = tg.explain(language_model(), title=given, text=SIGNS).html
        assert f"<title>{said}</title>" in html and f">{said}</h1>" in html


def test_in_the_dark_a_colour_is_as_dark_as_it_was_light_and_keeps_its_hue():
    """White becomes a dark grey, black a light one; the lightness l of others 0.93 - 0.8 l."""
    turned = document._turned
    assert [turned(colour) for colour in ("#ffffff", "#000000")] == ["#212121", "#ededed"]
    assert turned("#3366cc") == "#3b6ed4"  # l = 0.5 becomes 0.53
    light = tg.explain(language_model(), text=SIGNS)
    colours = {*re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', light.figure.svg)}
    assert colours and all(f"{turned(colour)}; }}" in light.html for colour in colours)


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_script_stays_small_and_every_word_is_in_both_languages():
    scripts = {path.name: path.read_text("utf-8") for path in ROOM.glob("*.js")}
    assert sum(len(text.encode()) for text in scripts.values()) < 60_000
    assert all(text.startswith("// ") for text in scripts.values())
    assert max(len(line) for text in scripts.values() for line in text.splitlines()) <= 100
    words = data_of(tg.explain(language_model()), "words")
    same = {key for key, (english, chinese) in words.items() if english == chinese}
    assert same == {"strip_states", "strip_parts", "rule_own"}
    for english, chinese in words.values():
        holes = [sorted(re.findall(r"\{\w+\}", text)) for text in (english, chinese)]
        assert holes[0] == holes[1] and english and chinese
    asked = set(re.findall(r'data-(?:say|hint)="(\w+)"', (ROOM / "page.html").read_text("utf-8")))
    for text in scripts.values():
        asked |= set(re.findall(r'(?:say\(|hint = on \? )"(\w+)"', text))
        asked |= set(re.findall(r'"(rule_\w+)"', text))
    assert asked and asked <= set(words), asked - set(words)


def cells(letter):
    """How many columns of a terminal it takes."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def test_the_backward_pass_as_text_is_the_backward_pass():
    loss = language_model("gru", layers=2)
    lines = tg.explain(loss).text.splitlines()[1:]
    columns = [sum(map(cells, line)) for line in lines]
    assert max(columns) <= 100
    told = [line.split() for line in lines if line[:4].strip()]
    assert [int(words[0]) for words in told] == list(range(len(told)))
    steps = [s for s in loss.backward_steps() if not s.tensor.op or s.tensor.op.name != "pick"]
    shown = [float(re.search(r"#\d+\s+(\S+)", line)[1]) for line in lines if line[:4].strip()]
    for step, norm in zip(steps, shown, strict=True):
        if isinstance(step.gradient, np.ndarray):
            assert norm == pytest.approx(np.linalg.norm(step.gradient), rel=0.05)


def test_a_line_begins_with_its_first_piece_however_long():
    start = "x" * (backward.COLUMNS - 2)
    assert backward._wrapped(start, ["first", "second"])[0] == f"{start}first,"


def test_text_fits_with_wide_letters():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.name = "很长的名字" * 5
    with tg.scope("层" * 30 + "/t=0"):
        y = tg.tanh(x)
        y.name = x.name
    for line in tg.explain((y * y * x).sum()).text.splitlines():
        assert sum(map(cells, line)) <= 100


def test_what_cannot_be_explained_is_refused():
    loss = language_model()
    with pytest.raises(TypeError, match="explain: loss: expected a tensor, got list"):
        tg.explain([loss])
    with pytest.raises(ValueError, match=f"explain: text: expected {T} signs.*got 2"):
        tg.explain(loss, text="ab")
    with pytest.raises(RuntimeError, match="one element"):
        tg.explain(tg.tensor([1.0, 2.0], requires_grad=True) * 2)
    with pytest.raises(RuntimeError, match="does not require gradients"):
        tg.explain(tg.tensor(1.0))
    page = tg.explain(loss)
    with pytest.raises(ValueError, match=r"save: expected a file name ending in \.html"):
        page.save("bptt.svg")
    loss.backward()
    with pytest.raises(RuntimeError, match="backward"):
        tg.explain(loss)


def test_the_page_has_the_equations_of_each_layer():
    """Those of the cells, with the names of the run; of what has no steps there are none."""
    page = tg.explain(language_model("gru", layers=2))
    assert list(page.equations) == ["layer0", "layer1"]
    for found in page.equations.values():
        assert "h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ n_t" in str(found) and found.html in page.html
        assert "∂L/∂Wh[k] = Σ_t h_{t−1}ᵀ δa_t[k]    for k = z, r" in str(found)
    assert "∂L_t/∂h_t" in str(page.equations["layer0"])  # which is what the next layer reads
    x = tg.tensor([0.5, 2.0], requires_grad=True)
    assert tg.explain((x * x).sum()).equations == {}


def test_a_run_without_steps_has_a_page_too():
    x = tg.tensor([0.5, 2.0], requires_grad=True)
    data = data_of(tg.explain((tg.exp(x) * x).sum()))
    assert data["rows"] == [] and data["levels"][0] == "op"


def test_a_notebook_gets_the_picture_and_the_page():
    page = tg.explain(language_model())
    bundle = page._repr_mimebundle_()
    assert list(bundle) == ["text/html", "image/svg+xml", "text/plain"]
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/html"].index("<svg") < bundle["text/html"].index("<iframe")
    (frame,) = (given for tag, given in Tags(bundle["text/html"]).found if tag == "iframe")
    assert frame["srcdoc"] == page.html and "same-origin" not in frame["sandbox"]
    assert list(page._repr_mimebundle_(include={"text/plain"})) == ["text/plain"]
    assert list(page._repr_mimebundle_(exclude={"text/html"})) == ["image/svg+xml", "text/plain"]
    done, reached = sum(bool(r.inputs) for r in page.tape.records), len(page.tape.backward)
    size = len(page.html) // 1000
    assert repr(page) == f"page: {done} forward steps, {reached} backward, {size} kB"


def test_the_command_writes_a_page_or_prints_the_backward_pass(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "page.html"
    assert main(["explain", "北京大学", "--cell", "gru", "-o", str(path)]) == 0
    assert "GRU: 北京大 → 京大学" in path.read_text("utf-8")
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert main(["explain", "--text", "--cell", "rnn", "--steps", "3", "--layers", "2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["step", "t", "layer", "at", "|g|", "adds"]
    assert "h = tanh" in lines[7] and len(lines) > 40 and max(map(len, lines)) <= 100
    assert main(["explain", "--equations", "--cell", "rnn", "--steps", "3"]) == 0
    assert "∂L/∂Wh = Σ_t h_{t−1}ᵀ δa_t\n" in capsys.readouterr().out
    assert main(["explain", "--steps", "9", "short"]) == 2
    assert not (tmp_path / "bptt.html").exists()
    assert main(["explain", "ab", "--hidden", "1"]) == 0 and (tmp_path / "bptt.html").exists()
    assert "CHARACTERS: expected at least 10" in capsys.readouterr().err


def test_the_backward_pass_in_words_has_every_step_and_what_it_adds():
    """tanh'(tanh 2 / 2 - 2) = 0.175 at t=1; and long names, and a line that goes on below."""
    w = tg.tensor([0.5, 2.0], requires_grad=True, name="w")

    def step(x, h):
        a, b = tg.split(w, 2)
        return tg.tanh(a * h + b * x)

    (h,) = tg.unroll(step, tg.tensor([0.0]), tg.tensor([[1.0], [-1.0]]))
    assert (
        tg.explain(h.sum()).text
        == """\
step    t  layer  at                       |g|  adds
   0    -         sum #15                    1  stack #14 += 1.41
   1    -         stack #14               1.41  tanh #8 += 1, tanh #13 += 1
   2    1  t=1    tanh #13                   1  add #12 += 0.175
   3    1  t=1    add #12                0.175  mul #10 += 0.175, mul #11 += 0.175
   4    1  t=1    mul #11                0.175  split[1] #9 += 0.175
   5    1  t=1    mul #10                0.175  split[0] #9 += 0.169, tanh #8 += 0.0875
   6    1  t=1    split #9               0.243  w #0 += 0.243
   7    0  t=0    tanh #8                 1.09  add #7 += 0.0768
   8    0  t=0    add #7                0.0768  mul #5 += 0.0768, mul #6 += 0.0768
   9    0  t=0    mul #6                0.0768  split[1] #4 += 0.0768
  10    0  t=0    mul #5                0.0768  split[0] #4 += 0
  11    0  t=0    split #4              0.0768  w #0 += 0.0768
  12    -         w #0                   0.195  (a leaf: its gradient is whole)
"""
    )
    names = "a weight with a long name", "重量" * 10, "another weight with a long name"
    xs = [tg.tensor([1.0], requires_grad=True, name=name) for name in names]
    assert (
        tg.explain(tg.concat([xs[0], *xs]).sum()).text
        == """\
step    t  layer  at                       |g|  adds
   0    -         sum #4                     1  concat #3 += 2
   1    -         concat #3                  2  a weight with a long name #0 += 1,
                                                a weight with a long name #0 += 1,
                                                重量重量重量重量重量重量重量… #1 += 1,
                                                another weight with a long na… #2 += 1
   2    -         another weight wi…         1  (a leaf: its gradient is whole)
   3    -         重量重量重量重量…          1  (a leaf: its gradient is whole)
   4    -         a weight with a l…         2  (a leaf: its gradient is whole)
"""
    )


# -- what it does in a browser ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by Playwright; no browser is downloaded."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("the page is not tried in a browser: no playwright (pip install playwright)")
    if program is None:
        pytest.skip("the page is not tried in a browser: no chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


class Seen:
    """A page that was opened: what it asked for, and what it complained of."""

    def __init__(self, browser, path, fragment="", **context):
        self.context = browser.new_context(viewport={"width": 900, "height": 600}, **context)
        self.tab = self.context.new_page()
        self.requests, self.complaints = [], []
        self.tab.on("request", lambda r: self.requests.append(r.url))
        self.tab.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.tab.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.tab.goto(f"file://{path}{fragment}")

    def ask(self, script):
        return self.tab.evaluate(script)

    def until(self, condition):
        """Playwright's own waiting is an eval, which the page's policy forbids."""
        for _ in range(200):
            if self.ask(condition):
                return
            self.tab.wait_for_timeout(20)
        raise AssertionError(f"not within 4 s: {condition}")

    def k(self):
        return self.ask("explained.state.k")

    def close(self):
        self.context.close()
        assert self.complaints == []
        outside = [u for u in self.requests if not u.startswith(("file:", "blob:"))]
        assert outside == [] and sum(u.startswith("file:") for u in self.requests) == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    runs = {"rnn": recurrent()[0], "lstm": language_model(), "hostile": hostile()}
    for name, loss in runs.items():
        text = {"hostile": HOSTILE[:2]}.get(name, SIGNS)
        title = HOSTILE[0] if name == "hostile" else f"{name} 循环"
        tg.explain(loss, title=title, text=text).save(folder / f"{name}.html")
    return folder


@pytest.fixture
def open_page(browser, files):
    opened = []

    def open_page(name, fragment="", **context):
        opened.append(Seen(browser, files / f"{name}.html", fragment, **context))
        return opened[-1]

    yield open_page
    for seen in opened:
        seen.close()


def test_at_the_end_every_node_is_done_and_the_sums_are_numpys(open_page):
    seen, sums = open_page("rnn", "#k=0"), recurrent()[2]
    states = "[...document.querySelectorAll('.level:not([hidden]) .node.{}')].length"
    every = seen.ask(states.format("op"))
    assert seen.k() == 0 and seen.ask(states.format("waiting")) == every
    seen.tab.keyboard.press("End")
    assert seen.k() == seen.ask("explained.run.last")
    assert seen.ask("document.querySelectorAll('.node:not(.done)').length") == 0
    found = dict(
        seen.ask("explained.run.weights.map(w => [w.record.name, w.sum(explained.run.last)])")
    )
    assert set(found) == set(sums)
    for name, total in found.items():
        np.testing.assert_allclose(total, sums[name].ravel(), rtol=0, atol=1e-6)
    assert seen.ask("document.querySelectorAll('#weights i:not(.came)').length") == 0
    shown = seen.ask("[...document.querySelectorAll('#weights .total')].map(e => e.textContent)")
    norms = {f"{T} of {T} terms: {float(f'{np.linalg.norm(s):.3g}'):g}" for s in sums.values()}
    assert set(shown) == norms


def test_a_weight_fills_term_by_term(open_page):
    seen = open_page("rnn")
    weight = "explained.run.weights.find(w => w.record.name == 'Wh')"
    ticks = seen.ask(f"{weight}.shares.map(s => s.tick)")
    assert ticks == sorted(ticks) and len(ticks) == T
    for n, tick in enumerate(ticks):
        for k, came in ((tick - 1, n), (tick, n + 1)):
            seen.ask(f"explained.go({k})")
            bars = (
                "[...document.querySelectorAll('.weight')].filter(e => e.innerText.includes('Wh'))"
            )
            assert seen.ask(f"{bars}[0].querySelectorAll('i.came').length") == came
    seen.tab.click("#overlays button[value=both]")
    outline = "getComputedStyle(document.querySelector('.node.now > rect')).stroke"
    assert seen.ask(outline) == "rgb(240, 140, 0)"
    glowing = seen.ask("[...document.querySelectorAll('.node.now')].map(e => e.dataset.ids)")
    assert glowing == [str(seen.ask("explained.run.at(explained.state.k).record.id"))]


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_every_rule_that_is_told_gives_the_numbers_of_the_engine(name):
    """The letters of the page, computed by a reader of their own on the arrays of the tape."""
    tape, tried = tape_of(language_model(name)), set()
    for r in tape.records:
        for term in r.terms:
            rule = r.call.rules[term.place]
            if rule:
                x = tape.records[r.inputs[term.place][0]]
                found = worked_out(rule, letters_of(tape, r))
                expected = term.numbers.arrays
                found = found if len(expected) > 1 else [found]
                for got, g in zip(found, expected, strict=True):
                    got = sum_to(np.asarray(got), g.shape) if np.shape(got) != g.shape else got
                    np.testing.assert_allclose(got, g, rtol=1e-5, atol=1e-6, err_msg=rule)
                tried.add((r.call.op, term.place, x.kind))
    assert len(tried) > 8


def letters_of(tape, r):
    names = ["x"] if len(r.inputs) == 1 else "abcdefhijklmn"
    known = {"g": r.grad.arrays[0], "y": r.value.arrays[0]}
    if len(r.grad.arrays) > 1:  # else g[0] is the first row of g
        known |= {f"g[{k}]": g for k, g in enumerate(r.grad.arrays)}
    for name, (source, part) in zip(names, r.inputs, strict=False):
        known[name] = tape.records[source].value.arrays[max(0, part)]
    columns = np.shape(known.get("a"))[-1:]  # whose numbers are j
    known["j"] = np.arange(*columns or (0,))
    return {k: np.asarray(v, np.float64) for k, v in known.items()}


def worked_out(rule, known):
    return Formula(rule, known.get, {}, 1).whole()


EXAMPLES = """explained.run.records.flatMap((r) => r.terms.flatMap((term) =>
  explained.examples(explained.run, r, term, 64).map((x) =>
    ({ ...x, op: r.op, rule: term.rule }))))"""


def test_numbers_on_the_page_are_the_engines(open_page):
    seen = open_page("lstm")
    shown = seen.ask(EXAMPLES)
    assert len(shown) > 90 and {x["op"] for x in shown} >= {"tanh", "sigmoid", "mul", "matmul"}
    for x in shown:
        if x["op"] in ("tanh", "sigmoid", "mul") and abs(x["value"]) > 1e-3:
            words = x["text"].replace("⊙ 1e", "⊙ 1.0e")
            if "e" not in words:  # three digits of each number
                assert worked_out(words, {}) == pytest.approx(x["value"], rel=0.05, abs=2e-3)


def test_the_panel_says_the_rule_with_numbers(open_page):
    seen = open_page("rnn")
    tick = "explained.run.backwardAt[explained.run.records.findLast(r => r.op == 'tanh').id]"
    seen.ask(f"explained.go({tick})")
    rule = seen.tab.inner_text("#panel .rule")
    assert "g ⊙ (1 − y²)" in rule
    g, y, answer = re.search(
        r"\n\(?([−\d.]+)\)? ⊙ \(1 − \(?([−\d.]+)\)?²\) = ([−\d.]+)", rule
    ).groups()
    g, y, answer = (float(word.replace("−", "-")) for word in (g, y, answer))
    assert answer == pytest.approx(g * (1 - y * y), rel=2e-2)
    assert "it adds" in rule


def test_keys_buttons_and_links(open_page):
    seen = open_page("lstm", "#k=57&level=cell&lang=zh&theme=dark&overlay=both")
    tab, last = seen.tab, seen.ask("explained.run.last")
    seen.until("explained.state.level == 'cell'")
    assert seen.k() == 57 and tab.get_attribute("html", "lang") == "zh-CN"
    assert (
        tab.get_attribute("html", "data-theme") == "dark"
        and seen.ask("explained.state.overlay") == "both"
    )
    for key, k in [
        ("ArrowRight", 58),
        ("ArrowLeft", 57),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", last),
    ]:
        tab.keyboard.press(key)
        assert seen.k() == k
    seen.until(f"location.hash.includes('k={last}')")
    tab.evaluate("location.hash = '#k=12'")
    seen.until("explained.state.k == 12")
    tab.focus("#scrub")
    tab.keyboard.press("ArrowRight")
    assert seen.k() == 13  # once, though the slider has keys of its own
    tab.select_option("#speed", "40")
    tab.keyboard.press("Escape")
    tab.click("#play")
    seen.until("explained.state.k > 16")
    tab.click("#play")
    stopped = seen.k()
    tab.wait_for_timeout(80)
    assert seen.k() == stopped
    assert seen.ask("document.querySelector('#now').getAttribute('aria-live')") == "polite"


def test_a_link_with_a_question_mark(open_page):
    assert open_page("lstm", "?k=57").k() == 57


def test_languages_and_themes(open_page):
    seen = open_page("lstm", color_scheme="dark", locale="en-GB")
    assert seen.tab.get_attribute("html", "data-theme") == "dark"
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = seen.ask(ground)
    box = "getComputedStyle(document.querySelector('.step > rect')).fill"
    dark_box = seen.ask(box)
    seen.tab.click("#theme")
    assert seen.ask(ground) != dark and seen.ask(box) != dark_box
    assert max(int(part) for part in re.findall(r"\d+", dark_box)) < 60
    assert "Guided tour" in seen.tab.inner_text("header")
    english = seen.tab.inner_text("body")
    seen.tab.click("#language")
    assert "导览" in seen.tab.inner_text("header") and "反向" in seen.tab.inner_text("#now")
    assert "时间步之后" in seen.tab.text_content(".level svg")
    hints = "[...document.querySelectorAll('[data-hint]')].map(e => e.getAttribute('aria-label'))"
    words = json.loads(seen.ask("document.getElementById('words').textContent"))
    assert set(seen.ask(hints)) <= {chinese for _, chinese in words.values()}
    seen.tab.click("#language")
    assert seen.tab.inner_text("body") == english


def test_chinese_readers_get_chinese_at_once(open_page):
    assert "导览" in open_page("lstm", locale="zh-CN").tab.inner_text("header")


def test_search_hide_and_paths(open_page):
    seen = open_page("lstm")
    tab = seen.tab
    tab.fill("#search", "tanh")
    shown = seen.ask("[...document.querySelectorAll('.node.found')].map(e => e.textContent)")
    assert len(shown) == 2 * T and all("tanh" in text for text in shown)
    tab.keyboard.press("Enter")
    assert "tanh" in tab.inner_text("#panel")
    tab.fill("#search", "")
    assert seen.ask("document.querySelectorAll('.found').length") == 0
    tab.click("#kinds summary")
    tab.uncheck("#kinds input[value=parameter]")
    assert seen.ask("document.querySelectorAll('.node.parameter:not(.hidden)').length") == 0
    states, parts = (
        tab.locator("#strip [data-name=states] td"),
        tab.locator("#strip [data-name=parts]"),
    )
    assert states.count() == 2 * T and not parts.is_visible()
    states.nth(2).hover()
    early = seen.ask("document.querySelectorAll('.node.path').length")
    states.nth(4).hover()
    assert early > seen.ask("document.querySelectorAll('.node.path').length") > 0
    tab.click("#strip .link >> visible=true")
    assert parts.is_visible() and parts.locator("td:not(.none)").count() == T * (T + 1) // 2
    parts.locator("td").nth(2 * T).hover()  # what the third part feels of the first step
    lit = seen.ask(
        "[...document.querySelectorAll('.node.path')].map(e => e.dataset.ids).map(Number)"
    )
    times = seen.ask(f"{lit}.map(id => explained.run.records[id].t)")
    assert set(times) == {0, 1, 2}


def test_levels_and_files(open_page, files):
    seen = open_page("lstm")
    for level in seen.ask(
        "explained.run && JSON.parse(document.getElementById('data').textContent).levels"
    ):
        seen.tab.click(f"#levels button[value={level}]")
        seen.until(f"explained.state.level == '{level}'")
        assert seen.ask("document.querySelectorAll('.level:not([hidden]) .node').length") > 5
        undone = ".level:not([hidden]) .node:not(.done)"
        assert seen.ask(f"document.querySelectorAll('{undone}').length") == 0
    seen.tab.click("#levels button[value=op]")
    seen.tab.click("#files summary")
    with seen.tab.expect_download() as saving:
        seen.tab.click("#json")
    text = Path(saving.value.path()).read_text("utf-8")
    assert Tape.load(text) == tg.explain(language_model(), title="lstm 循环").tape
    with seen.tab.expect_download() as saving:
        seen.tab.click("#save")
    picture = ElementTree.fromstring(Path(saving.value.path()).read_text("utf-8"))
    styled = [
        e for e in picture.iter("{http://www.w3.org/2000/svg}rect") if "fill" in e.get("style", "")
    ]
    assert len(styled) > 20 and not list(picture.iter("{http://www.w3.org/2000/svg}script"))


def test_L02_hostile_words_stay_words(open_page):
    seen = open_page("hostile", "#k=0")
    kinds = "[...new Set([...document.querySelectorAll('*')].map(e => e.localName))].sort()"
    for key in ["End", *["ArrowLeft"] * 9]:
        seen.tab.keyboard.press(key)
    plain = open_page("lstm")
    assert set(seen.ask(kinds)) <= set(plain.ask(kinds)) | {"polygon"}
    assert seen.ask("window.hacked") is None
    assert "window.hacked = 1" in seen.tab.inner_text("h1")
    assert seen.ask("document.querySelectorAll('script').length") == 3


def twice(name):
    """An own op of that name, which doubles."""

    def body(x):
        return x * 2.0

    body.__name__ = name
    return tg.pointwise(lambda g, y, x: g * 2.0)(body)


OWN = ["tanh", "add", "matmul", "cross_entropy", "unstack", "constructor", "toString", "valueOf",
       "hasOwnProperty", "__proto__"]  # fmt: skip


def test_names_mean_nothing_on_the_page(browser, tmp_path):
    """Own ops called as the library's, or as what every object of a browser has; odd tensors."""
    x = tg.tensor([0.5, -0.25], requires_grad=True, name="grad of x")
    y = x
    for t, name in enumerate(OWN):
        with tg.scope(f"{'constructor' if t else '__proto__'}/t={t}"):
            y = twice(name)(y)
            y.name = ("no grad yet", "grad 1", "__proto__", "{where}", "$&")[t % 5]
    y = y * tg.tensor([1.0, 1.0], name="before the steps")
    tg.explain(y.sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=zh")
    shown = seen.ask(EXAMPLES)
    assert len(shown) == 2 + 2 * len(OWN)  # by their rules, whatever they are called
    assert {x["rule"] for x in shown} == {"2 g", "g ⊙ b"}
    own = seen.ask("explained.run.records.filter((r) => r.own).map((r) => [r.id, r.op])")
    assert [op for _, op in own] == [name.strip("_") for name in OWN]
    for number, op in own:
        seen.ask(f"explained.go(explained.run.backwardAt[{number}])")
        panel = seen.tab.inner_text("#panel")
        assert op in panel and not any(
            word in panel for word in ("tanh(x)", "a + b", "a @ b", "native code", "Σ")
        )
    told = seen.ask(
        "[...document.querySelectorAll('.level text')].map((e) => e.textContent).join()"
    )
    assert "before the steps" in told and "{where}" in told and "$&" in told  # untranslated
    assert "grad of x" in told
    seen.close()


def test_numbers_without_room_and_cells_of_the_strip_chosen_by_enter(open_page):
    seen = open_page("rnn", "#k=0")
    given = [0, 0.25, -0.3, 0.996, -0.996, 9.94, 9.96, -9.97, 12, 0.004]
    script = (Path(tg.__file__).parent / "page/numbers.js").read_text("utf-8")
    (function,) = re.findall(r"^function briefest.*?^}", script, re.M | re.S)
    found = seen.tab.evaluate(f"(() => {{ {function} return {given}.map(briefest); }})()")
    assert found == ["0", ".25", "−.30", "1.0", "−1.0", "9.9", "10", "−10", "12", "0"]
    cell = seen.tab.locator("#strip td[tabindex='0']").first
    cell.focus()
    before = seen.ask("explained.state.node")
    seen.tab.keyboard.press("Enter")
    assert seen.ask("explained.state.node") != before


def test_what_is_not_finite_is_loud(browser, tmp_path):
    x = tg.tensor([0.0, 4.0], requires_grad=True)
    tg.explain((tg.sqrt(x) * 0.5).sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html")
    fills = "[...document.querySelectorAll('.node rect')].map(e => e.style.fill)"
    assert 'url("#hatch")' in seen.ask(fills)
    assert "∞" in seen.tab.inner_text("#weights") and seen.tab.locator(".node.bad").count() == 1
    seen.close()


def test_it_is_usable_by_keyboard_and_told_to_who_listens(open_page):
    seen = open_page("lstm", "#k=80", reduced_motion="reduce")
    nameless = """[...document.querySelectorAll('button, input, select, .node, summary')]
      .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim()
        || e.closest('label')?.textContent.trim()))"""
    assert seen.ask(f"{nameless}.length") == 0
    assert seen.tab.inner_text("#now") == seen.tab.get_attribute("#scrub", "aria-valuetext")
    assert seen.ask("document.querySelectorAll('.node[tabindex=\"0\"]').length") == 1
    seen.tab.focus('.node[tabindex="0"]')
    before = seen.ask("explained.state.node")
    seen.tab.keyboard.press("ArrowDown")
    after = seen.ask("explained.state.node")
    assert after in seen.ask(f"explained.run.records[{before}].inputs.map(([s]) => s)")
    assert seen.ask("document.activeElement.dataset.ids") == str(after)
    seen.tab.click("#guide")
    captions = set()
    while seen.tab.is_visible("#tour"):
        captions.add(seen.tab.inner_text("#caption"))
        seen.tab.click("#next")
    assert len(captions) == 8 and seen.k() == seen.ask("explained.run.last")


def test_a_narrow_window_and_paper(open_page):
    seen = open_page("lstm")
    seen.tab.set_viewport_size({"width": 400, "height": 800})
    assert seen.ask("document.documentElement.scrollWidth") <= 400
    picture, aside = (seen.tab.locator(name).bounding_box() for name in ("#picture", "aside"))
    assert picture["width"] == aside["width"] == 400
    assert aside["y"] >= picture["y"] + picture["height"]
    seen.tab.emulate_media(media="print")
    assert not seen.tab.is_visible("#play") and seen.tab.is_visible("#picture svg")


def test_a_notebook_runs_the_page_in_its_frame(browser, tmp_path):
    bundle = tg.explain(language_model())._repr_mimebundle_()
    (tmp_path / "cell.html").write_text(f"<!DOCTYPE html><body>{bundle['text/html']}", "utf-8")
    seen = Seen(browser, tmp_path / "cell.html")
    frame = seen.tab.frame_locator("iframe")
    frame.locator("#before").click()
    assert "Back" in frame.locator("#now").inner_text()
    seen.requests = [url for url in seen.requests if url != "about:srcdoc"]
    seen.close()


def test_six_hundred_nodes_are_small_and_a_tick_touches_few_of_them(browser, tmp_path):
    page = tg.explain(language_model(steps=34))
    assert 500 < page.figure.nodes <= 600 and len(page.html.encode()) < 1_000_000
    page.save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html")
    ticks = """() => {
      const graph = document.querySelector(".level:not([hidden]) svg");
      const watch = new MutationObserver(() => {});
      watch.observe(graph, { attributes: true, childList: true, subtree: true });
      const found = [], start = explained.run.forward.length;
      for (let k = start; k < start + 90; k++) {
        explained.go(k);
        found.push(new Set(watch.takeRecords().map((r) => r.target)).size);
      }
      return found.sort((p, q) => p - q)[found.length >> 1];
    }"""
    everything = seen.ask("() => document.querySelectorAll('.level:not([hidden]) svg *').length")
    most = seen.ask(ticks)
    assert 0 < most < 120 < everything / 20
    seen.close()


def test_a_longer_run_is_shown_more_coarsely(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("tinygrad_rnn.page.levels"), "NODES", 60)
    page = tg.explain(language_model(steps=5))
    assert "op" not in data_of(page)["levels"]
    page.save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=en")
    assert "Too many ops" in seen.tab.inner_text("#facts")
    seen.close()


def in_parts():
    """A tuple of which one part is read three times, and the other once."""
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 20)), requires_grad=True, name="x")
    a, b = tg.split(x, 2, axis=-1)
    return (a * 3.0).sum() + (a * -2.0).sum() + (b * 0.5).sum() + (a * a).sum()


def shared():
    """A large weight that each step reads twice, with terms that nearly cancel."""
    rng = np.random.default_rng(0)
    W = tg.tensor(rng.normal(size=(12, 12)) * 0.1, requires_grad=True, name="W")
    h = tg.tensor(rng.normal(size=(1, 12)), name="h0")
    for t in range(3):
        with tg.scope(f"layer0/t={t}"):
            h = tg.tanh(h @ W - 0.9 * (h @ W))
    return h.sum()


@pytest.mark.parametrize("make", [in_parts, shared])
def test_sums_of_large_gradients_are_added_up_and_not_their_norms(make, browser, tmp_path):
    page = tg.explain(make())
    page.save(tmp_path / "page.html")
    seen, looked = Seen(browser, tmp_path / "page.html"), 0
    for r, came in zip(page.tape.records, page.tape.arrivals(), strict=True):
        every, steps = {}, {}
        for n, (source, term) in enumerate(came):
            part = source.inputs[term.place][1]
            for some in (every, steps.setdefault(source.t, {})):
                some[part] = some.get(part, 0) + term.numbers.flat
            if [again for again, _ in came[n + 1 : n + 2]] == [source]:
                continue  # one step of the pass adds both
            tick = f"explained.run.backwardAt[{source.id}]"
            norms = [seen.ask(f"() => explained.run.gradientAt({r.id}, {tick}, {t}).l2")
                     for t in ("null", source.t)]  # fmt: skip
            expected = [np.linalg.norm(np.concatenate([*some.values()]))
                        for some in (every, steps[source.t])]  # fmt: skip
            np.testing.assert_allclose(norms, expected, rtol=1e-3)
            looked += len(came) > 1
    assert looked >= 4
    seen.close()


def test_arrows_and_outlines_of_norm_one_are_seen_on_the_paper(browser, tmp_path):
    x = tg.tensor(np.zeros(1), requires_grad=True, name="x")
    tg.explain((x * 1.0).sum() + (x * 1.0).sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#overlay=both")
    seen.ask("() => explained.go(explained.run.last)")
    lines = seen.ask("""() => [...document.querySelectorAll(".level:not([hidden]) g path")]
        .map((path) => path.style.stroke).filter(Boolean)""")
    assert lines and "rgb(255, 255, 255)" not in lines
    seen.close()


def test_bars_are_in_time_in_both_directions(browser, tmp_path):
    both = nn.Recurrent(nn.Bidirectional(nn.RNN(2, 3, rng=0), nn.RNN(2, 3, rng=1)), unroll=True)
    tg.explain(both(np.ones((4, 1, 2), np.float32))[0].sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=en")
    rows = seen.ask("""() => [...document.querySelectorAll("details.weight .bars")]
        .map((bars) => [...bars.children].map((bar) => bar.title.match(/t = (\\d+)/)[1]))""")
    assert len(rows) == 6 and all(times == sorted(times) for times in rows)
    seen.close()


def test_terms_before_and_after_the_steps_are_at_the_ends(browser, tmp_path):
    W = tg.tensor(np.eye(3) * 0.5, requires_grad=True, name="W")
    h = tg.tensor(np.ones((1, 3)), name="h0") @ W
    for t in range(3):
        with tg.scope(f"layer0/t={t}"):
            h = tg.tanh(h @ W)
    with tg.scope("readout"):
        y = tg.tanh(h @ W)
    tg.explain(y.sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=en")
    titles = seen.ask("() => [...document.querySelectorAll('.bars > i')].map((b) => b.title)")
    where = [title.split(":")[0] for title in titles]
    assert [w.split(",")[0] for w in where[1:4]] == ["t = 0", "t = 1", "t = 2"]
    assert where[4] == "readout" and len(where) == 5
    seen.close()


def test_a_graph_without_time_has_a_tour_without_steps_and_a_picture_of_each_op(browser, tmp_path):
    x = y = tg.tensor(np.ones(2), requires_grad=True, name="x")
    for _ in range(310):
        y = tg.tanh(y + x)
    tg.explain(y.sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=en")
    assert "Too many ops" not in seen.tab.inner_text("#facts")
    assert seen.ask("explained.graph().nodes.length") > 600
    seen.ask("() => document.getElementById('guide').click()")
    captions = set()
    while (caption := seen.tab.inner_text("#caption")) not in captions:
        captions.add(caption)
        assert not re.search("first step|recurrent|strip|border", caption)
        if "All terms" in caption:
            break
        seen.ask("() => document.getElementById('next').click()")
    assert len(captions) >= 4
    seen.close()


def test_the_tour_crosses_a_border_along_the_state(browser, tmp_path):
    h, loss = tg.tensor(np.ones((1, 3)), name="h0"), 0.0
    W = tg.tensor(np.eye(3) * 0.4, requires_grad=True, name="W")
    for t in range(4):
        with tg.scope(f"c/t={t}"):
            h = tg.tanh(h @ W)
            part = (tg.exp(h) * h).sum()
            part.name = "ℓ"
        loss = loss + part
    tg.explain(loss).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#lang=en")
    seen.ask("() => document.getElementById('guide').click()")
    while "crosses" not in seen.tab.inner_text("#caption"):
        seen.ask("() => document.getElementById('next').click()")
    assert seen.ask("explained.run.at(explained.state.k).record.op") == "matmul"
    # A box of several ops shows what others read of it, as its words and the picture do.
    for level in ("gate", "cell", "folded"):
        seen.ask(f"() => document.querySelector('#levels button[value={level}]').click()")
        seen.until(f"explained.state.level == '{level}'")
        seen.ask("() => explained.go(explained.run.last)")
        shown = seen.ask("""() => explained.graph().nodes.filter((n) => n.ids.length > 1)
            .map((n) => [n.exits.map((id) => explained.run.records[id])
                                .map((r) => [r.t, r.grad.l2]),
                         explained.graph().norms(n, explained.run.last).grad])""")
        assert shown
        for exits, norm in shown:
            steps = {t: [g for s, g in exits if s == t] for t, _ in exits}
            assert norm == pytest.approx(max(np.linalg.norm(g) for g in steps.values()))
    seen.close()


def test_letters_of_parts_and_beside_numbers_stand_for_their_own(browser, tmp_path):
    z = tg.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], requires_grad=True, name="z")
    a, b = tg.split(z, 2, axis=-1)
    tg.explain((a * b).sum() + (z**3).sum() + (1.0 / z).sum()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html")
    shown = [f"{x['op']} {x['text']}" for x in seen.ask(EXAMPLES)]
    for words in ("mul 1 ⊙ 0.5", "mul 1 ⊙ 0.2", "power 3 · 1 ⊙ 0.4²", "div −1 ⊙ 3.33 / 0.3"):
        assert words in shown, shown
    seen.close()


def test_sums_of_which_nothing_is_left_are_right(browser, tmp_path):
    w = tg.tensor([1.0, 2.0], requires_grad=True, name="w")
    u = tg.tanh(w)
    page = tg.explain((u * 1.23412).sum() + (u * -1.23408).sum())
    page.save(tmp_path / "page.html")
    seen, (u,) = (
        Seen(browser, tmp_path / "page.html"),
        [r for r in page.tape.records if r.call.op == "tanh"],
    )
    last = f"explained.run.arrivals[{u.id}].at(-1).tick"
    assert seen.ask(f"explained.run.gradientAt({u.id}, {last}).l2") == pytest.approx(4e-5 * 2**0.5)
    seen.close()


def test_what_is_chosen_stays_and_the_picture_follows_the_hand(browser, tmp_path):
    tg.explain(language_model()).save(tmp_path / "page.html")
    seen = Seen(browser, tmp_path / "page.html", "#theme=dark")
    seen.tab.fill("#search", "tanh")
    seen.tab.keyboard.press("Enter")
    chosen = seen.ask("explained.state.node")
    for button in ("#theme", "#language", "#overlays button[value=value]"):
        seen.tab.click(button)
        assert seen.ask("explained.state.node") == chosen != 0
    seen.tab.set_viewport_size({"width": 1200, "height": 480})
    seen.tab.wait_for_timeout(50)
    place = "() => explained.graph().nodes.find((n) => n.box).el.getBoundingClientRect().x"
    box, before = seen.tab.locator("#picture").bounding_box(), seen.ask(place)
    seen.tab.mouse.move(box["x"] + 40, box["y"] + 40)
    seen.tab.mouse.down()
    seen.tab.mouse.move(box["x"] + 140, box["y"] + 70)
    seen.tab.mouse.up()
    assert seen.ask(place) - before == pytest.approx(100, abs=1)
    seen.tab.click("#kinds summary")
    seen.tab.uncheck("#kinds input[value=op]")
    drawn = "document.querySelectorAll('.level:not([hidden]) .edge:not(.hidden)').length"
    assert seen.ask(drawn) == 0
    seen.close()
