"""The main job: learn to continue a text, and leave a model, a curve and a picture."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import data, optim
from ..data.text import UnknownCharacter
from ..kernels.threads import get_num_threads, set_num_threads
from ..language import said
from ..randomness import generator
from ..tensor import detach, no_grad
from ..view import curve, draw
from .limits import check, check_memory, option
from .lock import locked
from .main import STOPPED
from .run import BEST, CHECKPOINT, CURVE, GRAPH, Corpus, Run, Settings, fresh_folder
from .voice import harmless, verbatim

PROMPT = "The "  # what samples begin with, in a text that has these letters
SAVE_EVERY = 20.0  # seconds; what a power cut can cost


def train(options: argparse.Namespace) -> int:
    """`tinygrad-rnn train`: 0 when done, 130 when Ctrl-C ended it (everything is saved)."""
    with ExitStack() as held:
        run, corpus = _begin(options, held)
        held.enter_context(_threads(run.settings.threads or get_num_threads()))
        return _learn(run, corpus, quiet=options.quiet)


def _learn(run: Run, corpus: Corpus, *, quiet: bool) -> int:
    if not quiet:
        _introduce(run, corpus)
    run.save()  # a folder that cannot be written to is found out now, not after an epoch
    with _interruption() as stopped:
        for _ in _epochs(run, corpus, stopped, quiet=quiet):
            run.save()
            _draw_curve(run)
    run.save()
    _draw_curve(run)
    if stopped and not run.over:
        print(f"stopped; go on with: tinygrad-rnn train --resume {_quoted(run)}", flush=True)
        return STOPPED
    _draw_graph(run, corpus)
    _conclude(run)
    return 0


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """The number of threads that a run keeps: sums of other parts have other last bits."""
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


# -- beginning --------------------------------------------------------------------------------


def _begin(options: argparse.Namespace, held: ExitStack) -> tuple[Run, Corpus]:
    """The run and its text, in a folder that is locked for as long as `held` holds it."""
    given = {
        name: value for name in asdict(Settings()) if (value := getattr(options, name)) is not None
    }
    if given.get("text") == "":
        raise ValueError("TEXT is empty; leave it out to learn Python's own reference")
    check(given, option)
    if options.resume:
        folder = Path(options.resume)
        if folder.is_file():
            file, folder = folder, folder.parent
            if file.name != CHECKPOINT and (folder / CHECKPOINT).exists():
                raise ValueError(
                    f"--resume: {file} is not where the run in {folder} stands, and to go on from "
                    f"it would lose what came after. Give --resume {shlex.quote(str(folder))}, or "
                    f"begin a new run with --from {shlex.quote(str(file))}."
                )
        if folder.is_dir():  # or `load` says that there is none
            held.enter_context(locked(folder, "--resume"))
        return _resume(options, given)
    source = _source(options.source, given)
    settings = Settings(**given)
    least = replace(settings, batch=given.get("batch", LEAST))  # it may be fitted to the text
    corpus = Corpus.of(least, data.Vocabulary(source.characters) if source else None)
    settings = _placed(_fitted(settings, given, corpus))
    if options.out is not None:
        _check_folder(Path(options.out))
    _check_size(settings, corpus)
    run = Run.new(Path(), settings, corpus)
    if source:
        run.model.load_state_dict(source.model.state_dict())
    run.folder = Path(options.out) if options.out else fresh_folder(settings.cell)
    run.folder.mkdir(parents=True, exist_ok=True)
    held.enter_context(locked(run.folder, "--out"))
    _check_folder(run.folder)  # nobody came first
    return run, corpus


def _source(path: str | None, given: dict[str, object]) -> Run | None:
    """The run whose weights a new one begins with; its sizes become those that are given."""
    if path is None:
        return None
    source = Run.load(path, BEST)
    sizes = source.settings.sizes()
    for name in sizes.keys() & given.keys():
        if given[name] != sizes[name]:
            raise ValueError(f"--from begins with the weights of a run: {option(name)} is theirs")
    given |= sizes
    return source


UPDATES = 100  # an epoch of a short text should have as many: fewer are noise
LEAST = 4  # streams that a short text is read in


def _fitted(settings: Settings, given: dict[str, object], corpus: Corpus) -> Settings:
    """Fit the batch and the window to a short text, unless they were asked for."""
    count = len(corpus.training) // UPDATES
    if "batch" not in given:
        fit = max(LEAST, count // settings.window)
        settings = replace(settings, batch=min(settings.batch, fit))
    if "window" not in given:
        fit = max(16, count // settings.batch)
        settings = replace(settings, window=min(settings.window, fit))
    return settings


def _check_size(settings: Settings, corpus: Corpus) -> None:
    steps = min(settings.window, corpus.steps(settings))
    symbols = len(corpus.vocabulary)
    check_memory(symbols, **settings.sizes(), batch=settings.batch, steps=steps)


def _placed(settings: Settings) -> Settings:
    """Add the text's whole path and the number of threads: it can be resumed from anywhere."""
    text = settings.text and str(Path(settings.text).absolute())
    if text and text != text.encode(errors="replace").decode():
        raise ValueError(
            f"TEXT: {harmless(text)}: a run keeps this path, in which there is a byte that is no "
            "UTF-8. Rename it, or read a copy of it elsewhere."
        )
    return replace(settings, text=text, threads=settings.threads or get_num_threads())


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: {folder} is a file; name a folder")
    if (folder / CHECKPOINT).exists():
        raise ValueError(
            f"--out: {folder} already holds a run. Go on with it by --resume {folder}, or name "
            "another folder."
        )
    if (folder / BEST).exists():
        raise ValueError(f"--out: {folder} already holds a model: name another folder")


def _resume(options: argparse.Namespace, given: dict[str, object]) -> tuple[Run, Corpus]:
    extra = sorted(set(given) - {"epochs", "patience", "text", "encoding", "max_bytes"})
    for name, there in (("out", options.out), ("from", options.source), *((n, n) for n in extra)):
        if there:
            raise ValueError(
                f"--resume continues a run as it is: {option(name)} cannot change. Only --epochs, "
                "--patience and the place and --encoding of TEXT can."
            )
    run = Run.load(options.resume)
    run.settings = replace(run.settings, **given)  # type: ignore[arg-type]
    try:
        corpus = Corpus.of(run.settings, data.Vocabulary(run.characters))
    except UnknownCharacter:  # it was read, and has others
        raise _changed(run, options.resume) from None
    except data.TextError as error:
        command = f"tinygrad-rnn train TEXT --resume {shlex.quote(options.resume)}"
        raise data.TextError(f"--resume: {error}. Say where it is now: {command}") from None
    run.settings = _placed(run.settings)
    if corpus.digest != run.digest:
        raise _changed(run, options.resume)
    an_epoch = corpus.windows(run.settings)
    if run.done > an_epoch or len(run.bits) != run.epoch * an_epoch + run.done:
        raise ValueError(
            f"--resume: {run.folder} was trained on {len(run.bits)} windows, which are not "
            f"{run.epoch} epochs of {an_epoch} and {run.done}: its file was changed"
        )
    _check_size(run.settings, corpus)
    whole = all((run.folder / name).exists() for name in (CURVE, GRAPH))
    if run.over and whole:
        since = run.epoch - run.best
        early = run.settings.patience is not None and since >= run.settings.patience
        more = [f"--epochs {2 * run.epoch}"] * (run.epoch >= run.settings.epochs)
        more += [f"--patience {2 * since}"] * early
        raise ValueError(
            f"--resume: {run.folder} has finished its {run.epoch} epochs"
            f"{f', none better since epoch {run.best}' * early}. Give more: {' '.join(more)}"
        )
    return run, corpus


def _changed(run: Run, resume: str) -> ValueError:
    return ValueError(
        f"--resume: {run.settings.text or 'the default text'} is not the text that "
        f"{run.folder} was learning: it has changed. Give the old one, or begin a new run "
        f"with --from {shlex.quote(resume)}."
    )


def _introduce(run: Run, corpus: Corpus) -> None:
    s = run.settings
    count = sum(x.size for x in run.model.parameters())
    source = s.text or "Python's language reference (pydoc_data.topics)"
    print(
        f"text      {source}: {len(corpus.training) + len(corpus.held_out):,} characters, "
        f"{len(run.characters)} different; the last {len(corpus.held_out):,} are held out\n"
        f"model     {s.cell} {s.embedding} → {' → '.join([str(s.hidden)] * s.layers)}, "
        f"{count:,} parameters\n"
        f"training  {s.epochs} epochs of {s.batch} streams, {s.window} steps a window"
        f"{_why(s)}; threads: {s.threads}{_where(s)}\n"
        f"folder    {run.folder}",
        flush=True,
    )


def _why(s: Settings) -> str:
    """Why the streams or windows are smaller than usual."""
    usual = Settings()
    short = s.batch < usual.batch or s.window < usual.window
    return f" ({usual.batch} and {usual.window} for a longer text)" if short else ""


def _where(s: Settings) -> str:
    """A word about threads where there are not as many cores: the run keeps their number."""
    cores = os.cpu_count() or 1
    words = f", and {cores} cores here: the same bits, but slower"
    return words if (s.threads or 1) > cores else ""


# -- learning ---------------------------------------------------------------------------------


def _epochs(run: Run, corpus: Corpus, stopped: list[int], *, quiet: bool) -> Iterator:
    """Learn; yields where it is good to save, and ends early once `stopped` holds something."""
    s = run.settings
    steps, total = corpus.steps(s), corpus.windows(s) * s.epochs
    warmup, floor = min(50, total // 10), s.lr / 50
    schedule = partial(optim.cosine, peak=s.lr, total=total, warmup=warmup, floor=floor)
    saved = time.monotonic()
    with _Progress(steps * s.batch * s.epochs, quiet) as progress:
        progress.skip(steps * s.batch * run.epoch + run.done * s.window * s.batch)
        while not run.over:
            windows = data.windows(corpus.training, s.batch, s.window, start=run.done)
            how = {"state": run.state, "max_norm": 1.0, "schedule": schedule}
            loss = run.model.train().loss
            updates = optim.truncated_bptt(loss, windows, run.optimizer, **how)
            for update in updates:
                run.state, run.done = update.state, run.done + 1
                run.bits.append(update.loss / math.log(2))
                progress.advance(min(s.window, steps - (run.done - 1) * s.window) * s.batch, run)
                if stopped:
                    return
                if time.monotonic() - saved > SAVE_EVERY:
                    saved = time.monotonic()
                    yield
            run.epoch, run.done, run.state = run.epoch + 1, 0, None
            run.judged.append((len(run.bits), judge(run, corpus.held_out)))
            learnt = sum(run.bits[-corpus.windows(s) :]) / corpus.windows(s)
            limit = 2 * math.log2(len(run.characters) + 1)
            if not (run.judged[-1][1] < limit or learnt < limit / 2):  # or it knows it by heart
                raise optim.Diverged(
                    f"the held-out text takes {run.judged[-1][1]:.3g} bits per character, far more "
                    "than guessing. Try a smaller learning rate."
                )
            if run.best == run.epoch:
                run.save(BEST)
            if not quiet:
                progress.say(*_report(run, corpus))
            yield


def judge(run: Run, index: np.ndarray) -> float:
    """Bits per character on a text the model was not trained on."""
    model, s = run.model.eval(), run.settings
    batch = min(s.batch, max(1, (len(index) - 1) // s.window))
    state, total, count = None, 0.0, 0
    for x, y in data.windows(index, batch, 4 * s.window):
        with no_grad():
            loss, state = model.loss(x, y, state)
        state = detach(state)
        total, count = total + float(loss.item()) * y.size, count + y.size
    return total / count / math.log(2)


def _report(run: Run, corpus: Corpus) -> tuple[str, str]:
    """How well it does, and a prompt continued in its own words."""
    vocabulary = data.Vocabulary(run.characters)
    rng = generator("train", np.random.SeedSequence([run.settings.seed, run.epoch]))
    known = set(PROMPT) <= set(run.characters)
    prompt = vocabulary.encode(PROMPT) if known else corpus.held_out[:20]
    symbols = run.model.eval().sample(prompt, 240, temperature=0.7, rng=rng)
    text = harmless(vocabulary.decode([*prompt, *symbols]))
    quoted = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    done, bits = f"{run.epoch}/{run.settings.epochs}", f"{run.judged[-1][1]:.3f}"
    line = f"epoch {done}: {bits} bits per character on the held-out text\n"
    return line, f"{quoted}\n\n"


@contextmanager
def _interruption() -> Iterator[list[int]]:
    """Ctrl-C is written down, so that a step is finished first; a second one ends at once."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which is the only one that gets signals
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _columns() -> int:
    """How wide the terminal is; 0 when there is none, or it does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 0


class _Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    FORMAT = "{percentage:3.0f}%|{bar}| {desc}{rate_fmt}, {elapsed}<{remaining}"

    def __init__(self, total: int, quiet: bool):
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self.quiet, self.terminal = quiet, _columns() > 30
        how = {"bar_format": self.FORMAT, "smoothing": 0.1, "dynamic_ncols": True, "leave": False}
        off = quiet or not self.terminal
        self.bar = tqdm(total=total, unit=" char", unit_scale=True, disable=off, **how)
        self.logs = logging_redirect_tqdm() if self.terminal else nullcontext()
        self.total, self.done, self.at_start = total, 0, 0
        self.began: float | None = None  # once the first window is learnt: before, it compiles
        self.spoke = time.monotonic()

    def __enter__(self) -> _Progress:
        self.logs.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.logs.__exit__(None, None, None)
        self.bar.close()

    def skip(self, characters: int) -> None:
        """Begin where an earlier session ended."""
        self.done = self.at_start = characters
        self.bar.initial = self.bar.n = characters

    def advance(self, characters: int, run: Run) -> None:
        """Count so many characters more that were trained on."""
        self.done += characters
        if self.began is None:
            self.at_start, self.began = self.done, time.monotonic()
        recent = run.bits[-50:]
        bits = sum(recent) / len(recent)
        if self.terminal:
            self.bar.set_description_str(said(f"{bits:.3f} bits/char, "), refresh=False)
            self.bar.update(characters)
        elif not self.quiet and self.done > self.at_start and time.monotonic() - self.spoke > 10:
            self.spoke = time.monotonic()
            rate = (self.done - self.at_start) / (self.spoke - self.began)
            left = (self.total - self.done) / rate
            print(
                f"{100 * self.done / self.total:3.0f}%  {bits:.3f} bits/char, "
                f"{rate:,.0f} char/s, {left:.0f} s left",
                flush=True,
            )

    def say(self, text: str, quoted: str) -> None:
        """Print without breaking the bar, in no other language what is quoted."""
        with self.bar.external_write_mode(file=sys.stdout):
            sys.stdout.write(text)
            verbatim(quoted)
        sys.stdout.flush()


# -- ending -----------------------------------------------------------------------------------


def smoothed(values: Sequence[float]) -> list[float]:
    """Each value's mean with those before it, which weigh less for each step back: 0.97 as much,
    or of few values less, so that the mean does not lag."""
    keep = min(0.97, 1 - 1 / (1 + len(values) / 10))
    smooth, total = [], 0.0
    for k, value in enumerate(values, 1):
        total = keep * total + (1 - keep) * value
        smooth.append(total / (1 - keep**k))
    return smooth


def _draw_curve(run: Run) -> None:
    smooth = smoothed(run.bits)
    windows = list(range(1, len(smooth) + 1))
    series = {said("training (smoothed)"): (windows, smooth)}
    if run.judged:
        series[said("held-out text")] = ([k for k, _ in run.judged], [b for _, b in run.judged])
    unit = said("bits per character")
    chart = curve(
        series, title=f"{run.settings.cell}: {unit}", x_label=said("training windows"), y_label=unit
    )
    chart.save(run.folder / CURVE)


def _draw_graph(run: Run, corpus: Corpus) -> None:
    """The first steps of the text through the model, with the gradients that they give."""
    model = run.model.eval()
    x, y = next(data.windows(corpus.training[:9], 2, 4))
    run.optimizer.zero_grad()
    model.recurrent.unroll = True  # every step recorded, and its gradients with it
    loss, _ = model.loss(x, y)
    model.recurrent.unroll = False
    loss.backward(retain_graph=True)
    title = f"backpropagation through {len(x)} steps of {run.settings.cell}"
    draw(loss, title=said(title)).save(run.folder / GRAPH)
    run.optimizer.zero_grad()


def _quoted(run: Run) -> str:
    return shlex.quote(str(run.folder))


def _conclude(run: Run) -> None:
    bits, best = run.judged[-1][1], ""
    kept = (run.folder / BEST).exists()  # a copy of the checkpoint alone has lost it
    if run.best < run.epoch:
        least = run.judged[run.best - 1][1]
        which = "which is the one kept" if kept else "which is not in the folder any more"
        best = f"; {least:.3f} after epoch {run.best}, {which}"
        if bits > 1.5 * least:
            best += "; it learns the text by heart: --patience and --dropout help"
    early = ", and no epoch after it was better"
    model = f"{run.folder / BEST}         " if kept else f"{run.folder / CHECKPOINT}   "
    print(
        f"done: {bits:.3f} bits per character on the held-out text{best}"
        f"{early * (run.epoch < run.settings.epochs)}\n"
        f"  {model}the model; continue a text with: tinygrad-rnn sample {_quoted(run)}\n"
        f"  {run.folder / CHECKPOINT}   where it stands; go on with: "
        f"tinygrad-rnn train --resume {_quoted(run)}\n"
        f"  {run.folder / CURVE}                 the loss curve\n"
        f"  {run.folder / GRAPH}                the graph of a few of its steps",
        flush=True,
    )
