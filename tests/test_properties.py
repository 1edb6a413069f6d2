"""Properties that hold for all inputs, and of processes side by side: rows P50 to P83."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_contract import close, leaf, normal, same

import tinygrad_rnn as tg
from tinygrad_rnn import optim

LOGITS = 3 * normal(6, 5)
TARGETS = np.array([0, 4, 2, 2, 1, 3])


def losses(f):
    """A loss of logits, and its gradient."""
    x = leaf(LOGITS)
    value = f(x)
    value.sum().backward()
    return value.data, x.grad.data


def alike(f, g, tolerance=1e-13):
    for a, b in zip(losses(f), losses(g), strict=True):
        close(a, b, tolerance)


@pytest.mark.parametrize("shift", [7.0, -1000.0, 2.0**20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_P50_log_softmax_sees_differences_only(shift, dtype):
    x = np.round(LOGITS * 2).astype(dtype)  # whole numbers: nothing is rounded
    found, moved = tg.log_softmax(x), tg.log_softmax(x + dtype(shift))
    np.testing.assert_array_equal(found, moved)
    sums = np.exp(found.astype(np.float64)).sum(-1)
    np.testing.assert_allclose(sums, 1, 0, 4 * x.shape[1] * np.finfo(dtype).eps)


def test_P51_losses_are_made_of_each_other():
    alike(
        lambda x: tg.cross_entropy(x, TARGETS, reduction="none"),
        lambda x: tg.nll_loss(tg.log_softmax(x), TARGETS, reduction="none"),
    )
    z, y = LOGITS[:, 0], TARGETS % 2
    a, b = leaf(z), leaf(z)
    pairs = tg.stack([b * 0.0, b], axis=1)
    one = tg.binary_cross_entropy_with_logits(a, y.astype(float), reduction="none")
    two = tg.cross_entropy(pairs, y, reduction="none")
    close(one, two, 1e-14)
    one.sum().backward()
    two.sum().backward()
    close(a.grad, b.grad, 1e-14)


def test_P52_a_class_is_a_chance_of_one_and_weights_scale():
    hot = np.eye(5)[TARGETS]
    alike(
        lambda x: tg.cross_entropy(x, TARGETS, reduction="none"),
        lambda x: -(tg.log_softmax(x) * hot).sum(axis=-1),
    )
    alike(
        lambda x: tg.cross_entropy(x, TARGETS, reduction="sum"),
        lambda x: tg.cross_entropy(x, TARGETS, reduction="sum", label_smoothing=0.0),
        0,
    )
    weights = np.array([0.5, 2.0, 1.0, 4.0, 0.25])
    alike(
        lambda x: tg.cross_entropy(x, TARGETS, reduction="none", weight=weights),
        lambda x: tg.cross_entropy(x, TARGETS, reduction="none") * weights[TARGETS],
    )


def test_P53_a_mean_is_the_sum_over_those_that_count():
    some = TARGETS.copy()
    some[[1, 4]] = -100
    alike(
        lambda x: tg.cross_entropy(x, some),
        lambda x: tg.cross_entropy(x, some, reduction="sum") / 4,
    )
    alike(
        lambda x: tg.mean_squared_error(x, LOGITS[::-1]),
        lambda x: ((x - LOGITS[::-1].copy()) ** 2).sum() / x.size,
    )


def test_P56_a_clipped_norm_is_clipped_once_and_keeps_its_direction():
    xs = [leaf(normal(3, 4)), leaf(normal(5, seed=1))]
    for x in xs:
        x.grad = x.data * 7
    before = np.concatenate([x.grad.data.ravel() for x in xs])
    assert abs(optim.clip_grad_norm(xs, 2.0) - np.linalg.norm(before)) < 1e-12 * 100
    once = [x.grad.data for x in xs]
    after = np.concatenate([g.ravel() for g in once])
    close(after, before * 2.0 / np.linalg.norm(before), 1e-12)
    assert optim.clip_grad_norm(xs, 2.0 + 1e-9) <= 2.0 + 1e-9
    for x, g in zip(xs, once, strict=True):
        same(x.grad.data, g)


WORK = """
import sys
import numpy as np
import tinygrad_rnn as tg
cell = tg.nn.RNN(3, 4, rng=0)
xs = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
(cell(xs)[0] ** 2).sum().backward()
print(cell.Wh.grad.data.tobytes().hex())
"""


def test_P83_two_processes_compile_into_one_empty_folder(tmp_path):
    """And a third finds what they left."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    how |= {"env": os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, "cwd": Path(__file__).parent}
    start = lambda: subprocess.Popen([sys.executable, "-W", "error", "-c", WORK], **how)
    both = [start(), start()]
    found = [process.communicate() for process in both]
    found.append(start().communicate())
    assert len({*found}) == 1 and not found[0][1] and len(found[0][0]) > 100
    names = [p.name for p in (tmp_path / "tinygrad_rnn").iterdir()]
    assert names and all(re.fullmatch(r"[0-9a-f]{40}\.compiled", name) for name in names)
