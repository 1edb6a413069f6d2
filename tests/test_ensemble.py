"""Ensembles: many networks, or many cuts of one."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.ensemble import Ensemble, monte_carlo
from tinygrad_rnn.tensor import mode


class Fixed(nn.Module):
    """Always the same answers, one after another."""

    def __init__(self, *answers):
        self.answers, self.calls = [tg.tensor(a) for a in answers], 0

    def __call__(self, x):
        self.calls += 1
        return self.answers[(self.calls - 1) % len(self.answers)]


class Dropped(nn.Module):
    """Linear in its weights and in what dropout leaves of x."""

    def __init__(self, p=0.4):
        self.inner = {"dropout": nn.Dropout(p, rng=0)}
        self.output = nn.Linear(6, 3, dtype=np.float64, rng=1)

    def __call__(self, x):
        return self.output(self.inner["dropout"](x))


def test_the_mean_of_many_passes_tends_to_the_full_net():
    """S28: within 5 standard errors, each known from the passes by themselves."""
    model, x = Dropped(), tg.tensor(np.random.default_rng(2).normal(size=(4, 6)))
    passes = np.stack([monte_carlo(model, x, 1).data for _ in range(400)])
    error = passes.std(0, ddof=1) / 20
    assert (passes.std(0) > 0.05).all()
    full = model.eval()(x).data
    assert (np.abs(monte_carlo(model, x, 400).data - full) < 5 * error).all()


def test_mean_and_vote_may_disagree():
    """Two are a little for class 0, one is very much for class 2."""
    members = [[[0.4, 0.3, 0.3]], [[0.4, 0.3, 0.3]], [[0.0, 0.0, 1.0]]]
    models = [Fixed(a) for a in members]
    mean, vote = Ensemble(*models)(None), Ensemble(*models, how="vote")(None)
    np.testing.assert_allclose(mean.data, np.mean(members, 0), rtol=1e-15)
    assert mean.data.argmax(-1).tolist() == [2] and vote.data.tolist() == [0]
    assert vote.shape == (1,) and vote.dtype.kind == "i"
    with pytest.raises(ValueError, match="stack"):  # nobody votes twice
        Ensemble(Fixed([[0.4, 0.6]]), Fixed([[0.4, 0.6]] * 2), how="vote")(None)
    model = Fixed(*members)
    assert monte_carlo(model, None, 3, how="vote").data.tolist() == [0] and model.calls == 3
    np.testing.assert_allclose(monte_carlo(model, None, 3).data, mean.data)


def test_equal_votes_go_to_the_lowest_class():
    answers = np.eye(4)[[[3, 1], [1, 3], [2, 2], [0, 2]]]  # (members, rows, classes)
    assert Ensemble(*map(Fixed, answers), how="vote")(None).data.tolist() == [0, 2]
    assert Ensemble(*map(Fixed, answers[:2]), how="vote")(None).data.tolist() == [1, 1]
    deep = Ensemble(*map(Fixed, answers[:, :, None].repeat(3, 2)), how="vote")(None)
    assert deep.data.tolist() == [[0, 0, 0], [2, 2, 2]]  # at each of three steps


@pytest.mark.parametrize("seed", range(20))
def test_an_ensemble_beats_its_average_member(seed):
    """The squared error of a mean is at most the mean of the squared errors (Jensen)."""
    rng = np.random.default_rng(seed)
    models = [nn.Linear(3, 2, dtype=np.float64, rng=rng) for _ in range(1 + seed % 5)]
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    together = tg.mean_squared_error(Ensemble(*models)(x), y).item()
    alone = np.mean([tg.mean_squared_error(m(x), y).item() for m in models])
    assert together <= alone * (1 + 1e-14) and (len(models) == 1 or together < alone)


def test_an_ensemble_is_a_module_that_learns():
    models = [nn.Linear(3, 2, dtype=np.float64, rng=k) for k in range(2)]
    both = Ensemble(*models)
    assert [p for p, _ in both.named_parameters()] == [
        "models.0.W", "models.0.b", "models.1.W", "models.1.b"
    ]  # fmt: skip
    both(np.ones((1, 3))).sum().backward()
    assert all((m.W.grad.data == 0.5).all() for m in models)
    assert not both.eval().models[1].training


def test_what_models_return_beside_their_output():
    cell = nn.GRU(2, 3, dtype=np.float64, rng=0)
    xs = np.random.default_rng(0).normal(size=(4, 1, 2))
    first = lambda result: result[0]
    close = lambda a, b: np.testing.assert_allclose(a.data, b.data, rtol=1e-14)
    close(Ensemble(cell, cell, output=first)(xs), cell(xs)[0])
    close(monte_carlo(cell, xs, 3, output=first), cell(xs)[0])
    for call in (lambda: Ensemble(cell)(xs), lambda: monte_carlo(cell, xs, 1)):
        with pytest.raises(TypeError, match=r"output: expected one tensor .* got tuple"):
            call()


def flags(model):
    return [m.training for m in model.modules()]


def test_every_flag_is_put_back():
    model, x = Dropped(), tg.tensor(np.ones((1, 6)))
    model.eval()
    model.output.train()
    before = flags(model)
    assert len(before) == 3 and len(set(before)) == 2
    assert not monte_carlo(model, x, 2).requires_grad and mode.recording
    assert flags(model) == before

    def fails(y):
        assert all(flags(model)) and not mode.recording
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        monte_carlo(model, x, 2, output=fails)
    assert flags(model) == before and mode.recording


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: Ensemble(), ValueError, "Ensemble: expected at least one model"),
        (lambda: Ensemble(tg.tanh), TypeError, "Ensemble: model 0: expected a Module, got Op"),
        (
            lambda: Ensemble(Fixed([1.0]), how="max"),
            ValueError,
            "how: expected one of ('mean', 'vote', 'all')",
        ),
        (lambda: Ensemble(Fixed(1.0))(0), TypeError, "output: expected one tensor with an axis"),
        (lambda: monte_carlo(Fixed([1.0]), 0, 0), ValueError, "samples: expected at least 1"),
        (lambda: monte_carlo(Fixed([1.0]), 0, 2.5), TypeError, "samples: expected a whole number"),
        (lambda: monte_carlo(Fixed([1.0]), 0, 1, how="no"), ValueError, "monte_carlo: how:"),
        (lambda: monte_carlo(np.tanh, 0, 1), TypeError, "monte_carlo: model: expected a Module"),
    ],
)
def test_refusals(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def test_all_of_them_are_there_for_a_spread():
    models = [Fixed([1.0, 2.0]), Fixed([3.0, 6.0])]
    found = Ensemble(*models, how="all")(None)
    assert found.data.tolist() == [[1.0, 2.0], [3.0, 6.0]]
    assert monte_carlo(models[0], None, 3, how="all").shape == (3, 2)


def test_a_vote_of_nan_is_refused():
    model = nn.Ensemble(nn.Linear(2, 3), nn.Linear(2, 3), how="vote", output=lambda y: y * np.nan)
    with pytest.raises(ValueError, match="Ensemble: a vote of NaN"):
        model(np.ones((4, 2), np.float32))
