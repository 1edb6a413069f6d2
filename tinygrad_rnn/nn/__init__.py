"""Layers are formulas: modules, cells, and the layer that folds cells over time."""

from .cells import GRU as GRU
from .cells import LSTM as LSTM
from .cells import RNN as RNN
from .language import LanguageModel as LanguageModel
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import Linear as Linear
from .module import Module as Module
from .module import count_parameters as count_parameters
from .recurrent import Cell as Cell
from .recurrent import Recurrent as Recurrent
