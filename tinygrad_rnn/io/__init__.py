"""What outlives the run: checkpoints that cannot run code, and files written whole or not at all.

Plain NumPy arrays and JSON-able metadata go in and come out. Only `torch`, `keras` and `onnx` know
layers: they give weights the names and layouts of those frameworks, without them.

Checkpoints: save, load, CheckpointError.
Other libraries: load_torch, from_torch, to_torch, load_keras, from_keras, to_keras, to_onnx, and
settings, which are those that a layer needs for such weights.
Files: arrays, write_atomically, write_text_atomically.
"""

from .atomic import write_atomically, write_text_atomically
from .checkpoint import CheckpointError, load, save
from .foreign import settings
from .keras import from_keras, load_keras, to_keras
from .npz import arrays
from .onnx import to_onnx
from .torch import from_torch, load_torch, to_torch

__all__ = [
    "CheckpointError", "arrays", "from_keras", "from_torch", "load", "load_keras", "load_torch",
    "save", "settings", "to_keras", "to_onnx", "to_torch", "write_atomically",
    "write_text_atomically",
]  # fmt: skip
