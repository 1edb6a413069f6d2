"""The references themselves: against BPTT by hand, mpmath, differences, and each other."""

from functools import partial

import mpmath
import numpy as np
import pytest
import reference_layers as by_formula
import references as by_hand

T, B, I, H = 6, 3, 4, 5
RAGGED = (3, 6, 1)


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape) * 0.7


def gates(names, hidden=H, seed=0, bias=2):
    """Named gates of random, unequal weights."""
    rng = np.random.default_rng(seed)
    shapes = (I, H), (hidden, H), *[(H,)] * bias
    return {
        name: (*(rng.normal(size=s) * 0.5 for s in shapes), *[0.0] * (2 - bias)) for name in names
    }


def close(ours, theirs, atol=1e-12):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol * max(1, np.abs(theirs).max()))


# -- activations -------------------------------------------------------------------------------

one = mpmath.mpf(1)
PLAIN = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "relu": lambda x: x if x > 0 else 0 * x,
    "leaky_relu": lambda x: x if x > 0 else x * mpmath.mpf(0.01),
    "thresholded_relu": lambda x: x if x > 1 else 0 * x,
    "elu": lambda x: x if x > 0 else mpmath.exp(x) - 1,
    "softsign": lambda x: x / (1 + abs(x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "affine": lambda x: x,
    "identity": lambda x: x,
    "scaled_tanh": mpmath.tanh,
    "hard_sigmoid": lambda x: min(max(x * mpmath.mpf(0.2) + one / 2, 0 * x), one),
    "absolute": abs,
}
CONSTANTS = {
    "leaky_relu": ((0.3,), lambda x, a: x if x > 0 else a * x),
    "thresholded_relu": ((0.4,), lambda x, a: x if x > a else 0 * x),
    "elu": ((0.3,), lambda x, a: x if x > 0 else a * (mpmath.exp(x) - 1)),
    "affine": ((0.3, -0.2), lambda x, a, b: a * x + b),
    "scaled_tanh": ((0.3, 1.2), lambda x, a, b: a * mpmath.tanh(b * x)),
    "hard_sigmoid": ((0.7, 0.1), lambda x, a, b: min(max(a * x + b, 0 * x), one)),
}
KINDS = [(name, (), f) for name, f in PLAIN.items()]
KINDS += [(name, constants, f) for name, (constants, f) in CONSTANTS.items()]
POINTS = np.array([-800.0, -30.0, -3.1, -1.3, -0.2, 0.1, 0.7, 1.9, 31.0, 801.0])


@pytest.mark.parametrize("name, constants, plain", KINDS)
def test_activations_and_their_derivatives(name, constants, plain):
    f = partial(getattr(by_formula, name), **dict(zip(("alpha", "beta"), constants, strict=False)))
    exact = [mpmath.mpf(c) for c in constants]
    with mpmath.workdps(400):  # in less, 1 + exp(-800) would be 1
        values = np.array([plain(mpmath.mpf(x), *exact) for x in POINTS], float)
        slopes = [mpmath.diff(lambda x: plain(x, *exact), x, h=one / 10**150) for x in POINTS]
    np.testing.assert_allclose(f(POINTS), values, rtol=2e-15, atol=1e-15)
    stepped = f(POINTS + 1e-30j)
    np.testing.assert_allclose(np.real(stepped), values, rtol=2e-15, atol=1e-15)
    np.testing.assert_allclose(np.imag(stepped) / 1e-30, np.array(slopes, float), 1e-12, 1e-270)


def test_clipped_holds_what_goes_in():
    f = by_formula.clipped(by_formula.affine, 0.5)
    x = np.array([-2.0, -0.4, 0.3, 7.0])
    assert f(x).tolist() == [-0.5, -0.4, 0.3, 0.5]
    assert (np.imag(f(x + 1j)) == [0.0, 1.0, 1.0, 0.0]).all()
    assert by_formula.clipped(by_formula.relu, None) is by_formula.relu


# -- against backpropagation through time by hand ----------------------------------------------


def joined(weights, names, which):
    return np.concatenate([weights[name][which] for name in names], -1)


def layers_by_hand(kind):
    """Numbers of a layer, its states by hand, and its gradients by hand for cotangents g."""
    names = {"rnn": "h", "lstm": "ifgo", "gru": "zrn"}[kind]
    weights, xs, g = gates(names, bias=1), normal(T, B, I), normal(T, B, H, seed=1)
    state = tuple(normal(B, H, seed=k) for k in range(2 if kind == "lstm" else 1))
    Wx, Wh, b = (joined(weights, names, k) for k in range(3))
    if kind == "rnn":
        paths = (by_hand.rnn(xs, *state, Wx, Wh, b),)
        gradients = by_hand.rnn_bptt(xs, *paths, g, Wx, Wh)
    elif kind == "lstm":
        *paths, inside = by_hand.lstm(xs, *state, Wx, Wh, b)
        gradients = by_hand.lstm_bptt(xs, *paths, inside, g, Wx, Wh)
    else:
        Wh, Wn = Wh[:, : 2 * H], Wh[:, 2 * H :]
        *paths, inside = by_hand.gru(xs, *state, Wx, Wh, Wn, b)
        gradients = by_hand.gru_bptt(xs, *paths, inside, g, Wx, Wh, Wn)
        gradients["Wh"] = np.concatenate([gradients["Wh"], gradients["Wn"]], -1)
    return {"xs": xs, "state": state, "weights": weights}, paths, gradients, g


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_values_and_gradients_equal_those_by_hand(kind):
    arrays, paths, gradients, g = layers_by_hand(kind)
    layer = getattr(by_formula, kind)
    ys, end = layer(**arrays)
    close(ys, paths[0][1:])
    for ours, theirs in zip(end, paths, strict=True):
        close(ours, theirs[-1])
    found = by_formula.complex_step(lambda a: (g * layer(**a)[0]).sum(), arrays)
    close(found["xs",][1], gradients["x"].ravel())
    for k, name in enumerate("hc"[: len(end)]):
        close(found["state", k][1], gradients[name].ravel())
    for k, name in enumerate(("Wx", "Wh", "b")):
        blocks = np.split(gradients[name], len(arrays["weights"]), -1)
        for gate, block in zip(arrays["weights"], blocks, strict=True):
            close(found["weights", gate, k][1], block.ravel())


# -- every variant: derivatives against differences, rows against rows on their own ------------

PEEPHOLES = dict(zip("ifo", normal(3, H), strict=True))
smooth = {"i": by_formula.softplus, "h": by_formula.softsign}
VARIANTS = {
    "rnn": ("rnn", "h", {}),
    "rnn, relu": ("rnn", "h", {"activations": {"h": by_formula.relu}}),
    "lstm": ("lstm", "ifgo", {}),
    "lstm, clip": ("lstm", "ifgo", {"clip": 0.5}),
    "lstm, peepholes": ("lstm", "ifgo", {"peepholes": PEEPHOLES}),
    "lstm, coupled": ("lstm", "igo", {"peepholes": {"o": PEEPHOLES["o"]}, "coupled": True}),
    "lstm, own functions": ("lstm", "ifgo", {"activations": smooth}),
    "lstm, projected": ("lstm", "ifgo", {"projection": normal(H, 2)}),
    "gru": ("gru", "zrn", {}),
    "gru, after": ("gru", "zrn", {"reset": "after", "clip": 0.8}),
    "gru, previous": ("gru", "zrn", {"z_gates": "previous"}),
    "gru, after, previous": ("gru", "zrn", {"reset": "after", "z_gates": "previous"}),
}
variants = pytest.mark.parametrize("variant", VARIANTS)
ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def built(variant):
    """A layer as a function of (xs, state), its sequences, and its first state."""
    kind, names, options = VARIANTS[variant]
    hidden = options.get("projection", np.eye(H)).shape[1]
    layer = partial(getattr(by_formula, kind), weights=gates(names, hidden), **options)
    state = (normal(B, hidden), normal(B, H, seed=1)) if kind == "lstm" else (normal(B, H),)
    return layer, normal(T, B, I), state


def equal_differences(f, arrays, found):
    """Are derivatives that were found those that come of moving each entry a little?"""
    every = dict(by_formula.leaves(arrays))
    assert set(found) == set(every)
    for path, (entries, values) in found.items():
        array = every[path]
        for entry, value in zip(entries, values, strict=True):
            kept, sides = array.flat[entry], []
            for step in (1e-6, -1e-6):
                array.flat[entry] = kept + step
                sides.append(f(arrays))
            array.flat[entry] = kept
            assert value == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-6, abs=1e-7)


@variants
@ways
def test_complex_steps_equal_differences(variant, reverse):
    layer, xs, state = built(variant)
    arrays = {"xs": xs, "state": state, **layer.keywords}
    options = {k: arrays.pop(k) for k in [*arrays] if k in NOT_ARRAYS}
    run = partial(layer.func, **options, lengths=RAGGED, reverse=reverse)

    def loss(a):
        ys, end = run(**a)
        return (normal(*ys.shape) * ys).sum() + sum((normal(*s.shape) * s).sum() for s in end)

    found = by_formula.complex_step(loss, arrays, most=4)
    assert {len(values) for _, values in found.values()} == {4}
    equal_differences(loss, arrays, found)


NOT_ARRAYS = {"activations", "clip", "coupled", "reset", "z_gates"}


@variants
@ways
def test_a_row_does_not_know_of_its_batch_mates_or_padding(variant, reverse):
    layer, xs, state = built(variant)
    ys, end = layer(xs, state, lengths=RAGGED, reverse=reverse)
    for b, length in enumerate(RAGGED):
        row = slice(b, b + 1)
        alone = xs[:length, row][:: -1 if reverse else 1]
        theirs, last = layer(alone, tuple(s[row] for s in state))
        close(ys[:length, row], theirs[:: -1 if reverse else 1])
        assert not ys[length:, b].any()
        for ours, s in zip(end, last, strict=True):
            close(ours[row], s)


def test_a_row_of_no_steps_keeps_its_state():
    layer, xs, state = built("lstm")
    ys, end = layer(xs, state, lengths=(0, 6, 2))
    assert not ys[:, 0].any() and all((e[0] == s[0]).all() for e, s in zip(end, state, strict=True))


def test_bidirectional_is_both_side_by_side():
    forward, xs, first = built("gru")
    backward, _, second = built("gru, after")
    ys, ends = by_formula.bidirectional(forward, backward, xs, (first, second), lengths=RAGGED)
    ahead, end = forward(xs, first, lengths=RAGGED)
    back, start = backward(xs, second, lengths=RAGGED, reverse=True)
    assert (ys == np.concatenate([ahead, back], -1)).all()
    assert (ends[0][0] == end[0]).all() and (ends[1][0] == start[0]).all()


# -- variants that say the same thing in two ways ----------------------------------------------


def test_z_of_the_candidate_is_one_minus_z_of_the_state_before():
    layer, xs, state = built("gru")
    weights = dict(layer.keywords["weights"])
    weights["z"] = tuple(-w for w in weights["z"])
    close(layer(xs, state, weights=weights, z_gates="previous")[0], layer(xs, state)[0])


def test_resets_differ_unless_nothing_recurs_into_the_candidate():
    layer, xs, state = built("gru")
    assert np.abs(layer(xs, state, reset="after")[0] - layer(xs, state)[0]).max() > 0.01
    weights = dict(layer.keywords["weights"])
    Wx, Wh, b, _ = weights["n"]
    weights["n"] = Wx, 0 * Wh, b, 0.0
    ours, theirs = (layer(xs, state, weights=weights, reset=r)[0] for r in ("before", "after"))
    close(ours, theirs)


def test_coupled_is_a_forget_gate_of_the_negated_input_gate():
    layer, xs, state = built("lstm, peepholes")
    weights, peepholes = (dict(layer.keywords[key]) for key in ("weights", "peepholes"))
    weights["f"], peepholes["f"] = tuple(-w for w in weights["i"]), -peepholes["i"]
    theirs = layer(xs, state, weights=weights, peepholes=peepholes)[0]
    close(layer(xs, state, coupled=True)[0], theirs)


def test_projected_is_an_lstm_whose_recurrent_matrices_are_products():
    layer, xs, (_, c) = built("lstm, projected")
    P, wide = layer.keywords["projection"], normal(B, H, seed=3)
    weights = {k: (Wx, P @ Wh, b, bh) for k, (Wx, Wh, b, bh) in layer.keywords["weights"].items()}
    ys, (h, last) = layer(xs, (wide @ P, c))
    theirs, (wide_h, wide_last) = by_formula.lstm(xs, (wide, c), weights)
    close(ys, theirs @ P)
    close(h, wide_h @ P)
    close(last, wide_last)


def test_names_of_gates_are_checked():
    layer, xs, state = built("lstm")
    with pytest.raises(AssertionError, match="gates are"):
        layer(xs, state, activations={"z": by_formula.tanh})


# -- complex steps -----------------------------------------------------------------------------


def test_complex_steps_of_some_entries_are_those_of_all_and_leave_the_arrays_alone():
    arrays = {"x": normal(4, 5), "nothing": None, "more": [normal(3), (normal(2), 2.0)]}
    before = {path: np.array(a) for path, a in by_formula.leaves(arrays)}
    f = lambda a: np.sin(a["x"]).sum() * a["more"][0].prod() + a["more"][1][1] ** 3
    full, some = (by_formula.complex_step(f, arrays, most=n) for n in (None, 7))
    assert full["x",][0].tolist() == list(range(20)) and len(some["x",][0]) == 7
    assert (full["x",][1][some["x",][0]] == some["x",][1]).all()
    close(full["x",][1], (np.cos(arrays["x"]) * arrays["more"][0].prod()).ravel())
    assert ("nothing",) not in full and full["more", 1, 1][1] == pytest.approx(12.0, rel=1e-15)
    assert all((before[path] == a).all() for path, a in by_formula.leaves(arrays) if a is not None)


def test_complex_steps_are_other_entries_for_another_seed():
    draw = lambda seed: by_formula.complex_step(np.sum, normal(200), most=5, seed=seed)[()][0]
    assert (draw(0) == draw(0)).all() and (draw(0) != draw(1)).any()
