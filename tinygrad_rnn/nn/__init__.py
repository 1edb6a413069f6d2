"""Layers are formulas: modules, cells, what changes cells, and what folds them over time.

Cells: RNN, IRNN, LSTM, GRU, MinimalGatedUnit, OutputRecurrent. One of your own is a Cell.
Folded over time: any cell by a call, a stack by Recurrent, both ways by Bidirectional,
which is a Part, as a cell is.
Changed in one respect: Residual, TimeSkip, LearnedState, ClipGradient, Zoneout, DropConnect,
VariationalDropout, FeedforwardDropout. A change of your own is a Modifier.
Other layers: Linear, Embedding, Dropout, LayerNorm. A model is a Module that holds its layers.
Whole models: LanguageModel; several as one: Ensemble, monte_carlo.
In a step: gates names what it computes; once and each_step make what does not depend on the state.
Other libraries' ways: CONVENTIONS, convert, StateDict. To look at: equations, explain,
count_parameters. Names of activations: ACTIVATIONS, activation.
"""

import typing as _typing

from ..tensor import foreign as _foreign
from . import elsewhere as elsewhere
from .activations import ACTIVATIONS, activation
from .bidirectional import Bidirectional
from .cell import Cell, Part
from .cells import GRU, IRNN, LSTM, RNN, MinimalGatedUnit, OutputRecurrent
from .conventions import CONVENTIONS
from .convert import convert
from .ensemble import Ensemble, monte_carlo
from .equations import equations
from .explain import explain
from .language import LanguageModel
from .layers import Dropout, Embedding, Linear
from .modifiers import (
    ClipGradient,
    DropConnect,
    FeedforwardDropout,
    LearnedState,
    Modifier,
    Residual,
    TimeSkip,
    VariationalDropout,
    Zoneout,
)
from .module import Module, StateDict, count_parameters
from .moment import each_step, gates, once
from .norm import LayerNorm
from .recurrent import Recurrent

__all__ = [
    "ACTIVATIONS", "CONVENTIONS", "GRU", "IRNN", "LSTM", "RNN", "Bidirectional", "Cell",
    "ClipGradient", "DropConnect", "Dropout", "Embedding", "Ensemble", "FeedforwardDropout",
    "LanguageModel", "LayerNorm", "LearnedState", "Linear", "MinimalGatedUnit", "Modifier",
    "Module", "OutputRecurrent", "Part", "Recurrent", "Residual", "StateDict", "TimeSkip",
    "VariationalDropout", "Zoneout", "activation", "convert", "count_parameters", "each_step",
    "equations", "explain", "gates", "monte_carlo", "once",
]  # fmt: skip

if not _typing.TYPE_CHECKING:

    def __getattr__(name):
        hint = _foreign("nn", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
