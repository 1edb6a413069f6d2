"""How things are timed: side by side, in rounds, so that a busy machine slows all alike."""

import gc
import math
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from goals import Ratio

SAMPLE = 0.01  # seconds: what is quicker is called more often in a round, and the mean is taken
BRIEF = 0.1  # seconds: the first call after a pause, which finds no cache filled, is not counted
PAUSE = 0.02  # between samples: threads of the library before may still be spinning
QUIET = 0.05  # of the machine: when other programs use more, a ratio is in doubt
LIMIT = 60.0  # seconds: no row takes longer, whatever number of rounds it has had


@dataclass
class Effort:
    """How long to measure: rounds until `seconds` are over, but never fewer than `rounds`.

    It begins when the machine is quiet, or after `patience` seconds in any case.
    """

    seconds: float = 1.2
    rounds: int = 7
    patience: float = 3.0


@dataclass
class Result:
    """Seconds of one call in every round, by contender; why one is missing, in `errors`.

    `others` is how much of the machine other programs used meanwhile: a library that shares each
    small product among threads suffers far more from them than one that does not.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    others: float | None = None

    def seconds(self, name, middle=statistics.median):
        return middle(self.times[name]) if self.times.get(name) else None

    def ms(self, name):
        seconds = self.seconds(name)
        return None if seconds is None else seconds * 1e3

    def ratio(self, other, one, goal=None, **how):
        """How many times as long `other` takes: the median over rounds of paired ratios."""
        if not (self.times.get(one) and self.times.get(other)):
            return Ratio(None, goal, **how)
        pairs = zip(self.times[other], self.times[one], strict=True)
        return ratio_of([a / b for a, b in pairs], goal, **how)

    def row(self, **ratios):
        """What every row of a table says: milliseconds, ratios, how it was measured."""
        rounds = max(map(len, self.times.values()), default=0)
        row = {name: self.ms(name) for name in (*self.times, *self.errors)} | ratios
        return row | {"rounds": rounds, "others": self.others, "errors": self.errors}


def ratio_of(found, goal=None, **how):
    """The median of ratios, with how far the 95 % interval reaches."""
    spread = math.expm1(interval(found)[1]) if len(found) > 2 else None
    return Ratio(statistics.median(found), goal, spread=spread, **how)


def interval(ratios):
    """Mean and half of the 95 % interval of ratios, as logarithms; the wildest tenth left out."""
    logs = sorted(map(math.log, ratios))
    cut = len(logs) // 10
    logs = logs[cut : len(logs) - cut]
    freedom = len(logs) - 1
    student = 1.96 + 2.5 / freedom * (1 + 1 / freedom)  # within 1 % from six on
    return statistics.fmean(logs), student * statistics.stdev(logs) / math.sqrt(len(logs))


def paired(builders, effort, agree=(), within=1e-2):
    """Build each contender, warm it up, and time all of them in every round, in rotating order.

    Contenders named in `agree` must answer the same arrays as the first of them, up to so much of
    the largest number. One that does not, or that raises, is left out. A run that has a method
    `seconds(calls)` times itself.
    """
    result, runs, calls, wanted, least = Result(), {}, {}, None, math.inf
    for name, build in builders.items():
        try:
            run = build()
            answer, once = _warmed(run)
            if name in agree:
                wanted = wanted or answer
                _check(wanted, answer, within)
        except Exception as error:
            result.errors[name] = said(error)
            continue
        runs[name], calls[name], least = run, max(1, round(SAMPLE / once)), min(least, once)
    wanted = answer = None
    names = list(runs)
    result.times = {name: [] for name in names}
    gc.collect()
    _wait(effort.patience)
    start, before, count = time.perf_counter(), _others(), 0
    while names:
        spent = time.perf_counter() - start
        if (count >= effort.rounds and spent > effort.seconds) or (count and spent > LIMIT):
            break
        turn = count % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(PAUSE)
            result.times[name].append(_sample(runs[name], calls[name], least < BRIEF))
        count += 1
    if names and before is not None:
        result.others = _use(before, spent)
    return result


def _wait(patience):
    """Sleep until other programs have left the machine alone for a moment."""
    moment, until = 0.3, time.perf_counter() + patience
    while time.perf_counter() < until:
        before, start = _others(), time.perf_counter()
        time.sleep(moment)
        if before is None or _use(before, time.perf_counter() - start) < QUIET:
            break


def watched(work):
    """What `work` answers, and the part of the machine that others used meanwhile."""
    start, before = time.perf_counter(), _others()
    answer = work()
    return answer, None if before is None else _use(before, time.perf_counter() - start)


def _use(before, seconds):
    """The part of the machine that others have used since then."""
    return max(0.0, _others() - before) / seconds / os.cpu_count()


def _others():
    """Seconds that all cores have worked for others since the start; None if nothing tells."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, hard, soft, taken = map(int, path.read_text().split()[1:9])
    ticks = user + nice + system + hard + soft + taken
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])  # ours, and of our children


def _sample(run, calls, brief=False):
    """Seconds of one call, the mean; if they are `brief`, after one that is not counted."""
    if hasattr(run, "seconds"):
        return run.seconds(calls)
    if brief:
        run()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _warmed(run):
    """What a run answers, and the seconds it takes once it has compiled and allocated."""
    start = time.perf_counter()
    answer = run()
    once = time.perf_counter() - start
    for _ in range(3 if once < 5 else 1 if once < 20 else 0):
        once = _sample(run, 1)
    return answer, once


def _check(wanted, answer, within):
    """All gradients are the first one's, up to rounding; else a ratio would compare nothing."""
    for a, b in zip(wanted, answer, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        off = float(np.abs(a - b).max() / np.abs(a).max())
        if not off < within:
            raise ValueError(f"its gradients are not those of the first: off by {off:.1e}")


def said(error):
    """An exception on one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")


def mean(ratios, goal=None):
    """The geometric mean of ratios that were measured; their errors are taken as independent."""
    known = [r for r in ratios if r.value]
    if not known:
        return Ratio(None, goal)
    spread = math.hypot(*(r.spread or 0 for r in known)) / len(known)
    return Ratio(statistics.geometric_mean(r.value for r in known), goal, spread=spread)
