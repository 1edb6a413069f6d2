"""Losses over sequences: masks, numbers at the edges, messages that guess the mistake."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg

T, B, C = 4, 3, 5
NAN = np.nan


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def leaf(array):
    return tg.tensor(array, requires_grad=True)


FLAGS = normal(1, T, B) > -0.3
CLASSES = np.random.default_rng(2).integers(0, C, (T, B))
CHANCES = np.random.default_rng(3).random((T, B, 2))


def by_hand(name, x, target):
    """Each loss by itself, from its definition, in plain NumPy."""
    if name == "cross_entropy":
        chances = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
        return -np.log(np.take_along_axis(chances, target[..., None], -1)[..., 0])
    if name == "nll_loss":
        return -np.take_along_axis(x, target[..., None], -1)[..., 0]
    if name == "mean_squared_error":
        return (x - target) ** 2
    if name == "l1_loss":
        return np.abs(x - target)
    if name == "huber_loss":
        e = np.abs(x - target)
        return np.array([a * a / 2 if a <= 1 else a - 0.5 for a in e.flat]).reshape(e.shape)
    if name == "kl_div":
        return target * (np.log(target) - x)
    chance = x if name == "binary_cross_entropy" else 1 / (1 + np.exp(-x))
    return -target * np.log(chance) - (1 - target) * np.log(1 - chance)


LOSSES = {  # the prediction and the target
    "cross_entropy": (normal(4, T, B, C), CLASSES),
    "mean_squared_error": (normal(5, T, B, 2), normal(6, T, B, 2)),
    "binary_cross_entropy_with_logits": (normal(7, T, B, 2), CHANCES),
    "l1_loss": (normal(12, T, B, 2), normal(13, T, B, 2)),
    "huber_loss": (normal(14, T, B, 2), 2 * normal(15, T, B, 2)),
    "nll_loss": (-np.abs(normal(16, T, B, C)), CLASSES),
    "kl_div": (-np.abs(normal(17, T, B, 2)), 0.1 + 0.9 * CHANCES),
    "binary_cross_entropy": (1 / (1 + np.exp(-normal(10, T, B, 2))), CHANCES),
}
CLASSIFIED = ("cross_entropy", "nll_loss")
each_loss = pytest.mark.parametrize("name", LOSSES)


def flags_like(flags, losses):
    return np.broadcast_to(flags.reshape(flags.shape + (1,) * (losses.ndim - flags.ndim)),
                           losses.shape)  # fmt: skip


@each_loss
@pytest.mark.parametrize("flags", [None, FLAGS, FLAGS[:, 0], np.ones((T, B), bool)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_only_what_the_mask_lets_through_counts(name, flags, reduction):
    """C11 and P53: a mean is the sum over the valid by their number."""
    x, target = LOSSES[name]
    losses = by_hand(name, x, target)
    valid = np.ones_like(losses, bool) if flags is None else flags_like(flags, losses)
    losses = np.where(valid, losses, 0)
    total = losses.sum()
    expected = {"none": losses, "sum": total, "mean": total / valid.sum()}[reduction]
    y = getattr(tg, name)(x, target, mask=flags, reduction=reduction)
    np.testing.assert_allclose(y.data, expected, rtol=1e-13, atol=1e-14)


@each_loss
def test_derivatives_under_a_mask(name):
    x, target = LOSSES[name]
    for flags in (FLAGS, FLAGS[:, 1]):
        tg.check_grads(lambda x, f=flags: getattr(tg, name)(x, target, mask=f), [x], order=2)


def test_derivatives_by_the_target():
    for name in [name for name in LOSSES if name not in CLASSIFIED]:
        tg.check_grads(getattr(tg, name), list(LOSSES[name]), order=2)


@each_loss
@pytest.mark.parametrize("bad", [NAN, np.inf, -np.inf])
def test_what_is_masked_out_does_not_leak(name, bad):
    """Neither into the value, nor the gradient, nor the gradient of the gradient."""
    f = getattr(tg, name)
    clean, target = LOSSES[name]
    dirty = clean.copy()
    dirty[~FLAGS] = bad
    wrong = target.copy()
    wrong[~FLAGS] = 99 if name in CLASSIFIED else bad
    found = []
    for x, y in ((leaf(clean), target), (leaf(dirty), wrong)):
        loss = f(x, y, mask=FLAGS)
        slope = tg.grad(loss, x, create_graph=True)
        bends = slope.requires_grad  # what is linear does not
        curve = tg.grad((slope * slope).sum(), x, allow_unused=True) if bends else None
        curve = tg.tensor(np.zeros(x.shape)) if curve is None else curve
        found.append([loss.data, slope.data, curve.data])
        assert not slope.data[~FLAGS].any() and not curve.data[~FLAGS].any()
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b)


@each_loss
def test_ignored_by_a_mask_is_never_touched(name):
    """Not even through the target's own gradient."""
    if name not in CLASSIFIED:
        x, target = LOSSES[name]
        x = x.copy()
        x[~FLAGS] = NAN
        y = leaf(target)
        assert not tg.grad(getattr(tg, name)(x, y, mask=FLAGS), y).data[~FLAGS].any()


@each_loss
def test_a_mean_over_nothing_is_0(name):
    x, target = leaf(LOSSES[name][0]), LOSSES[name][1]
    for reduction in ("mean", "sum"):
        loss = getattr(tg, name)(x, target, mask=np.zeros((T, B), bool), reduction=reduction)
        assert loss.item() == 0 and not tg.grad(loss, x).data.any()
    empty = getattr(tg, name)(x.data[:0], target[:0], mask=np.zeros((0, B), bool))
    assert empty.item() == 0


def test_a_mask_and_ignored_targets_together():
    x, target = LOSSES["cross_entropy"]
    some = np.where(CLASSES == 2, -100, CLASSES)
    both = tg.cross_entropy(x, some, mask=FLAGS)
    same = tg.cross_entropy(x, target, mask=FLAGS & (CLASSES != 2))
    padded = tg.cross_entropy(x, target, mask=FLAGS, ignore_index=2)
    assert both.item() == same.item() == padded.item()
    small = tg.cross_entropy(x, CLASSES.astype(np.uint8), mask=FLAGS)
    assert small.item() == tg.cross_entropy(x, target, mask=FLAGS).item()


def test_a_mask_with_a_past_or_inside_a_loop():
    """A mask may be a tensor; squares under a mask run in a compiled loop."""
    x, target = leaf(LOSSES["mean_squared_error"][0]), LOSSES["mean_squared_error"][1]

    def step(x, flags, y, h):
        return h + tg.mean_squared_error(x, y, mask=flags)

    one = tg.mean_squared_error(x, target, mask=tg.tensor(FLAGS), reduction="none")
    assert one.requires_grad
    paths = [
        tg.scan(step, 0.0, (x, tg.tensor(FLAGS), tg.tensor(target)), unroll=how)[0]
        for how in (False, True)
    ]
    np.testing.assert_allclose(paths[0].data, paths[1].data, rtol=1e-14)
    gradients = [tg.grad(p[-1], x).data for p in paths]
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-13, atol=1e-16)


# -- binary cross-entropy -------------------------------------------------------------------------


def test_binary_cross_entropy_with_logits_is_cross_entropy_of_two_classes():
    """P51: of 0 and x."""
    x, flags = normal(8, 20), normal(9, 20) > 0
    pairs = np.stack([np.zeros(20), x], -1)
    a, b = leaf(x), leaf(pairs)
    one, two = tg.binary_cross_entropy_with_logits(a, flags), tg.cross_entropy(b, flags.astype(int))
    np.testing.assert_allclose(one.data, two.data, rtol=1e-14)
    slopes = tg.grad(one, a).data, tg.grad(two, b).data[:, 1]
    np.testing.assert_allclose(*slopes, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_G01_binary_cross_entropy_with_logits_at_extremes(dtype):
    with np.errstate(all="raise"):
        x = tg.tensor([1e4, 1e4, -1e4, -1e4, 0, 20, -20], dtype=dtype, requires_grad=True)
        y = np.array([1, 0, 1, 0, 1, 1, 0])
        losses = tg.binary_cross_entropy_with_logits(x, y, reduction="none")
        slope = tg.grad(losses, x, np.ones(7, dtype))
    tail = math.log1p(math.exp(-20))
    np.testing.assert_allclose(losses.data, [0, 1e4, 1e4, 0, math.log(2), tail, tail], rtol=3e-7)
    near = 1 / (1 + math.exp(20))
    np.testing.assert_allclose(slope.data, [0, 1, -1, 0, -0.5, -near, near], rtol=3e-7)
    assert losses.dtype == slope.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_G01_binary_cross_entropy_at_extremes(dtype):
    """A logarithm ends at -100, without a warning, and there the slope is 0; no NaN anywhere."""
    with np.errstate(all="raise"):
        p = tg.tensor([0, 1, 0, 1, 0.5, 1e-30, 0.9], dtype=dtype, requires_grad=True)
        y = np.array([0, 1, 1, 0, 1, 1, 1])
        losses = tg.binary_cross_entropy(p, y, reduction="none")
        slope = tg.grad(losses, p, np.ones(7, dtype))
    tail = 30 * math.log(10)
    np.testing.assert_allclose(losses.data, [0, 0, 100, 100, math.log(2), tail, 0.105360516], 3e-7)
    np.testing.assert_allclose(slope.data, [1, -1, 0, 0, -2, -1e30, -1 / 0.9], rtol=3e-7)
    assert losses.dtype == slope.dtype == dtype
    both = [tg.binary_cross_entropy(leaf([0.0, 1.0]), leaf([0.0, 1.0])), tg.tensor(0.0)]
    assert both[0].item() == both[1].item()


def test_of_probabilities_and_of_logits_it_is_one_loss():
    x, target = leaf(normal(11, T, B)), CHANCES[..., 0]
    one = tg.binary_cross_entropy(tg.sigmoid(x), target, mask=FLAGS)
    two = tg.binary_cross_entropy_with_logits(x, target, mask=FLAGS)
    np.testing.assert_allclose(one.data, two.data, rtol=1e-13)
    np.testing.assert_allclose(tg.grad(one, x).data, tg.grad(two, x).data, rtol=1e-12)


# -- weights of classes, targets spread over them -------------------------------------------------

WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0])


def of_classes(logits, target, weights, smoothing):
    """Each target as a distribution over classes, term by term; and what it counts."""
    losses, shares = np.zeros(target.shape), np.zeros(target.shape)
    for at in np.ndindex(target.shape):
        logs = logits[at] - np.log(np.exp(logits[at]).sum())
        for c in range(logits.shape[-1]):
            chance = (1 - smoothing) * (c == target[at]) + smoothing / logits.shape[-1]
            losses[at] -= chance * weights[c] * logs[c]
        shares[at] = weights[target[at]]
    return losses, shares


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("flags", [None, FLAGS])
def test_cross_entropy_with_weights_and_smoothing(smoothing, weights, flags):
    x, target = LOSSES["cross_entropy"]
    losses, shares = of_classes(x, target, np.ones(C) if weights is None else weights, smoothing)
    counted = np.ones((T, B), bool) if flags is None else flags
    losses, shares = np.where(counted, losses, 0), np.where(counted, shares, 0)
    words = {"weight": weights, "label_smoothing": smoothing, "mask": flags}
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / shares.sum()}
    for reduction, wanted in expected.items():
        y = tg.cross_entropy(x, target, reduction=reduction, **words)
        np.testing.assert_allclose(y.data, wanted, rtol=1e-13, atol=1e-15)
    tg.check_grads(lambda x: tg.sin(tg.cross_entropy(x, target, **words)), [x], order=2)
    dirty = np.where(counted[..., None], x, NAN)
    if flags is not None:
        assert tg.cross_entropy(dirty, target, **words).item() == pytest.approx(expected["mean"])
        slope = tg.grad(tg.cross_entropy(y := leaf(dirty), target, **words), y)
        assert np.isfinite(slope.data).all() and not slope.data[~FLAGS].any()


def test_the_likelihood_of_a_log_softmax_is_cross_entropy():
    x, target = leaf(LOSSES["cross_entropy"][0]), np.where(CLASSES == 2, -100, CLASSES)
    for words in ({}, {"weight": WEIGHTS}, {"mask": FLAGS, "reduction": "sum"}):
        one = tg.nll_loss(tg.log_softmax(x), target, **words)
        two = tg.cross_entropy(x, target, **words)
        np.testing.assert_allclose(one.data, two.data, rtol=1e-13)
        np.testing.assert_allclose(tg.grad(one, x).data, tg.grad(two, x).data, atol=1e-14)


def test_weights_learn_and_take_the_precision_of_the_logits():
    x, target = LOSSES["cross_entropy"]
    for name in CLASSIFIED:
        f = getattr(tg, name)
        tg.check_grads(lambda w, f=f: f(x, target, weight=w), [WEIGHTS + 1], order=2)
        small = tg.tensor(x, dtype=np.float32)
        assert f(small, target, weight=[1.0] * C).dtype == np.float32
        zero = f(x, target, weight=np.zeros(C))  # nothing counts
        assert zero.item() == 0
        with pytest.raises(ValueError, match=rf"{name}: weight: expected shape \(5,\), got \(4,\)"):
            f(x, target, weight=np.ones(4))
    with pytest.raises(ValueError, match=r"label_smoothing: expected a number in \[0, 1\]"):
        tg.cross_entropy(x, target, label_smoothing=1.5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_a_loss_without_bound_is_infinite_and_not_nan(smoothing):
    for logits, target in (([[-np.inf, 0.0]], 0), (np.array([[2e38, -3e38]], np.float32), 1)):
        assert tg.cross_entropy(logits, [target], label_smoothing=smoothing).item() == np.inf


# -- far off, and other distributions ---------------------------------------------------------


def test_huber_at_its_edges():
    x = leaf([0.5, 2.0, -7.0, math.inf, 0.0, NAN])
    losses = tg.huber_loss(x, np.zeros(6), delta=2.0, reduction="none")
    np.testing.assert_array_equal(losses.data, [0.125, 2.0, 12.0, math.inf, 0.0, NAN])
    slope = tg.grad(losses[:5].sum(), x, retain_graph=True).data
    np.testing.assert_array_equal(slope[:5], [0.5, 2.0, -2.0, 2.0, 0.0])
    with pytest.raises(ValueError, match=r"huber_loss: delta: .* in \(0, inf\], got 0"):
        tg.huber_loss(x, np.zeros(6), delta=0)


def test_kl_of_what_never_happens():
    """0 log 0 is 0, whatever the other distribution says; where it says 0 of what happens, ∞."""
    x = leaf([-math.inf, -math.inf, math.log(0.5), 0.0])
    p, logs = leaf([0.0, 0.5, 0.0, 1.0]), leaf([-math.inf, math.log(0.5), -math.inf, 0.0])
    for target, word in ((p, False), (logs, True)):
        losses = tg.kl_div(x, target, log_target=word, reduction="none")
        np.testing.assert_array_equal(losses.data, [0, math.inf, 0, 0])
        slope = [g.data[[0, 2, 3]] for g in tg.grad(losses.sum(), [x, target])]
        np.testing.assert_array_equal(slope, [[0, 0, -1], [0, 0, 1]])
    q, p = LOSSES["kl_div"]
    one, two = tg.kl_div(q, p), tg.kl_div(q, np.log(p), log_target=True)
    np.testing.assert_allclose(one.data, two.data, rtol=1e-13)
    tg.check_grads(lambda *v: tg.kl_div(*v, log_target=True), [q, np.log(p)], order=2)


def test_the_divergence_is_no_less_than_0():
    p, q = (
        np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (normal(18, 9, C), normal(19, 9, C))
    )
    rows = tg.kl_div(np.log(q), p, reduction="none").data.sum(-1)
    assert (rows > 0).all() and tg.kl_div(np.log(p), p, reduction="sum").item() < 1e-15


# -- in a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CLASSIFIED, "binary_cross_entropy_with_logits",
                                  "binary_cross_entropy"])  # fmt: skip
def test_in_a_step_a_loss_says_where_it_belongs(name):
    x, target = LOSSES[name]
    f = getattr(tg, name)
    with pytest.raises(tg.Untraceable, match=f"{name}: .*after the scan.*unroll=True"):
        tg.scan(lambda x, y, s: s + f(x, y), np.zeros(()), (x, target))
    (sums,) = tg.unroll(lambda x, y, s: s + f(x, y), np.zeros(()), (x, target))
    np.testing.assert_allclose(sums.data[-1], T * f(x, target).item(), rtol=1e-13)


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, kind, words",
    [
        ({"mask": FLAGS.astype(float)}, TypeError, ["mask: expected bools", "float64", "mask > 0"]),
        ({"mask": FLAGS.T}, ValueError, ["mask: expected shape (4, 3", "(3, 4)", "Batch first?"]),
        ({"mask": FLAGS[..., None]}, ValueError, ["mask", "(4, 3, 1)", "mask[..., 0]"]),
        ({"mask": True}, ValueError, ["mask: expected shape (4, 3", "got ()"]),
        ({"reduction": "avg"}, ValueError, ["expected one of ('mean', 'sum', 'none')", "avg"]),
        ({"target": "turned"}, ValueError, ["target: expected shape (4, 3", "Batch first?",
                                            "tg.swapaxes(target, 0, 1)"]),
        ({"target": "longer"}, ValueError, ["target: expected shape", "Use target[..., 0]"]),
    ],
)  # fmt: skip
@each_loss
def test_refusals(name, change, kind, words):
    x, target = LOSSES[name]
    turned, longer = np.swapaxes(target, 0, 1), target[..., None]
    given = {"turned": turned, "longer": longer}.get(change.get("target"), target)
    rest = {k: v for k, v in change.items() if k != "target"}
    with pytest.raises(kind) as caught:
        getattr(tg, name)(x, given, **rest)
    for word in [name, *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "binary_cross_entropy"])
def test_chances_outside_0_and_1_are_refused_where_they_count(name):
    f, x = getattr(tg, name), np.full(3, 0.5)
    for target, words in [([-1, 1, 1], "make (target + 1) / 2"), ([0, 2, 0], "from 0 to 2"),
                          ([0, NAN, 1], "from nan to nan")]:  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}: target: expected numbers") as e:
            f(x, target)
        assert words in str(e.value)
        mask = [0 <= y <= 1 for y in target]
        assert math.isfinite(f(x, target, mask=mask).item())


def test_logits_are_no_probabilities():
    for logits in ([2.0, 0.5], [-1.0, 0.5], [NAN, 0.5]):
        with pytest.raises(ValueError, match=r"binary_cross_entropy: probability: .*_with_logits"):
            tg.binary_cross_entropy(logits, [1, 0])
        assert tg.binary_cross_entropy(logits, [1, 0], mask=[False, True]).item() == math.log(2)


@pytest.mark.parametrize("name, a, b, expected", [
    ("l1_loss", 1, 2, 1), ("huber_loss", 1, 2, 0.5), ("mean_squared_error", 20, 0, 400),
    ("binary_cross_entropy_with_logits", 3, 1, math.log1p(math.exp(-3))),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_losses_of_whole_numbers_are_those_of_floats(name, a, b, expected, dtype):
    found = getattr(tg, name)(tg.tensor(dtype([a])), tg.tensor(dtype([b]))).item()
    assert found == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("delta, dtype", [(np.inf, np.float64), (1e39, np.float32)])
def test_a_huber_loss_without_a_limit_is_a_square(delta, dtype):
    x = tg.tensor(dtype([3, -1]), requires_grad=True)
    loss = tg.huber_loss(x, np.zeros(2, dtype), delta=delta)
    assert loss.item() == 2.5 and tg.grad(loss, x).data.tolist() == [1.5, -0.5]


def test_a_single_target_has_a_single_flag():
    found = [tg.cross_entropy(np.zeros(3), 1, mask=np.array(flag)).item() for flag in (True, False)]
    np.testing.assert_allclose(found, [np.log(3), 0])
