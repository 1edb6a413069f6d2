"""What outlives the run: checkpoints that cannot run code, and files written whole or not at all.

Plain NumPy arrays and JSON-able metadata go in and come out; nothing here knows a tensor or a
layer.
"""

from .atomic import write_atomically, write_text_atomically
from .checkpoint import CheckpointError, load, save

__all__ = [
    "CheckpointError",
    "load",
    "save",
    "write_atomically",
    "write_text_atomically",
]
