"""The tape of a run: what was computed and the backward pass, with arrays, for all who read it."""

from .numbers import Numbers as Numbers
from .record import tape_of as tape_of
from .tape import Call as Call
from .tape import Place as Place
from .tape import Record as Record
from .tape import Tape as Tape
from .tape import Term as Term

__all__ = ["Call", "Numbers", "Place", "Record", "Tape", "Term", "tape_of"]
