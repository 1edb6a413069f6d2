"""Layers are formulas: modules, cells, what changes cells, and what folds them over time."""

import typing as _typing

from ..tensor import foreign as _foreign
from . import elsewhere as elsewhere
from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import activation as activation
from .bidirectional import Bidirectional as Bidirectional
from .cell import Cell as Cell
from .cell import Part as Part
from .cells import GRU as GRU
from .cells import IRNN as IRNN
from .cells import LSTM as LSTM
from .cells import RNN as RNN
from .cells import MinimalGatedUnit as MinimalGatedUnit
from .cells import OutputRecurrent as OutputRecurrent
from .conventions import CONVENTIONS as CONVENTIONS
from .convert import convert as convert
from .ensemble import Ensemble as Ensemble
from .ensemble import monte_carlo as monte_carlo
from .equations import equations as equations
from .explain import explain as explain
from .language import LanguageModel as LanguageModel
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import Linear as Linear
from .modifiers import ClipCotangent as ClipCotangent
from .modifiers import DropConnect as DropConnect
from .modifiers import FeedforwardDropout as FeedforwardDropout
from .modifiers import LearnedState as LearnedState
from .modifiers import Modifier as Modifier
from .modifiers import Residual as Residual
from .modifiers import TimeSkip as TimeSkip
from .modifiers import VariationalDropout as VariationalDropout
from .modifiers import Zoneout as Zoneout
from .module import Module as Module
from .module import StateDict as StateDict
from .module import count_parameters as count_parameters
from .moment import each_step as each_step
from .moment import gates as gates
from .moment import once as once
from .norm import LayerNorm as LayerNorm
from .recurrent import Recurrent as Recurrent

if not _typing.TYPE_CHECKING:

    def __getattr__(name):
        hint = _foreign("nn", name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
