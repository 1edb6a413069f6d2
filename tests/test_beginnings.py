"""How the weights of every cell and layer begin, found by walking the package."""

import inspect

import numpy as np
import pytest

from tinygrad_rnn import nn
from tinygrad_rnn.nn.init import orthogonal

I, H, P = 5, 4, 3
MAKES = {  # more than the default of some
    "LSTM": [{}, {"projection": P}, {"peepholes": True}, {"norm": "ba2016"}, {"coupled": True},
             {"forget_bias": 2.5}, {"convention": "torch"}, {"convention": "onnx"},
             {"bias": False}],
    "GRU": [{}, {"convention": "torch"}, {"norm": "ba2016"}, {"convention": "keras"}],
    "RNN": [{}, {"bias": 2}, {"untied": 3}],
    "OutputRecurrent": [{"outputs": P}],
    "LanguageModel": [{"cell": "gru", "embedding": I, "hidden": H}],
    "Ensemble": [], "Recurrent": [], "Bidirectional": [], "Dropout": [],  # no weights of their own
}  # fmt: skip
KINDS = [
    kind for kind in vars(nn).values()
    if inspect.isclass(kind) and issubclass(kind, nn.Module) and not issubclass(kind, nn.Modifier)
    and kind not in (nn.Module, nn.Part, nn.Cell)
]  # fmt: skip
CASES = [
    (kind, how, dtype)
    for kind in KINDS
    for how in MAKES.get(kind.__name__, [{}])
    for dtype in (np.float32, np.float64)
]


def made(kind, how, dtype):
    sizes = {nn.LayerNorm: (I,), nn.LanguageModel: (7,)}.get(kind, (I, H))
    rng = {} if kind is nn.LayerNorm else {"rng": np.random.default_rng(3)}
    return kind(*sizes, dtype=dtype, **how, **rng)


def is_orthogonal(block):
    """Rows or columns, whichever are fewer, of length 1 and at right angles."""
    block = block if block.shape[0] <= block.shape[1] else block.T
    np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-6)


def is_uniform(block, inputs, outputs):
    """Within Glorot's bound, and most of the way to it on both sides."""
    bound = np.sqrt(6 / (inputs + outputs))
    assert np.abs(block).max() <= bound and block.min() < -bound / 3 and block.max() > bound / 3


def of_cell(cell, name, x):
    """What each weight of a cell has to be; what is not known here fails."""
    width = cell.sizes[0]
    if isinstance(cell, nn.IRNN) and name in ("Wh", "Wx"):
        is_identity = name == "Wh" and np.array_equal(x, np.eye(H))
        assert is_identity or (0 < np.abs(x).max() < 0.005)
    elif name in ("Wh", "Wn"):
        for block in x if x.ndim == 3 else np.split(x, x.shape[1] // H, axis=1):
            assert block.shape == (width, H)
            is_orthogonal(block)
    elif name in ("Wx", "Wo", "V", "Wr"):
        rows, columns = x.shape[0], cell.width if name == "V" else P if name == "Wr" else H
        for block in np.split(x, x.shape[1] // columns, axis=1):
            is_uniform(block, rows, columns)
    elif name == "b" and isinstance(cell, nn.LSTM) and "f" in cell.order:
        for gate, block in zip(cell.order, np.split(x, 4), strict=True):
            assert np.all(block == (cell_forget(cell) if gate == "f" else 0))
    elif name == "b" and isinstance(cell, nn.MinimalGatedUnit):
        np.testing.assert_array_equal(x, [1] * H + [0] * H)
    else:
        assert name in ("b", "bh", "bn", "c", "P") and not x.any()


def cell_forget(cell):
    return getattr(cell, "expected_forget", 1.0)


@pytest.mark.parametrize("kind, how, dtype", CASES)
def test_every_weight_begins_as_it_should(kind, how, dtype):
    module = made(kind, how, dtype)
    seen = 0
    for part in module.modules():
        own = {k: x.data for k, x in vars(part).items() if hasattr(x, "requires_grad")}
        for name, x in own.items():
            assert x.dtype == dtype
            seen += 1
            if isinstance(part, nn.Cell):
                part.__dict__["expected_forget"] = how.get("forget_bias", 1.0)
                of_cell(part, name, x)
            elif isinstance(part, nn.Linear):
                assert not x.any() if name == "b" else not is_uniform(x, *x.shape)
            elif isinstance(part, nn.Embedding):
                assert 0.3 < x.std() * np.sqrt(x.shape[1]) < 1.7
            else:
                assert isinstance(part, nn.LayerNorm) and np.all(x == (name == "gain"))
    assert seen == len(module.parameters()) > 0


def test_a_random_orthogonal_matrix_is_as_likely_to_turn_as_to_mirror():
    """And its diagonal as likely below 0: without the signs of R it never would be evenly."""
    found = np.array([orthogonal(np.random.default_rng(k), 3) for k in range(400)])
    assert 0.4 < np.mean(np.linalg.det(found) > 0) < 0.6
    assert np.all(np.abs(np.mean(found, axis=0)) < 0.1)
    blocks = np.split(orthogonal(np.random.default_rng(0), 3, gates=2), 2, axis=1)
    assert not np.allclose(*blocks)
