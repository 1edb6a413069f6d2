"""Measuring networks: numbers about a graph that was run."""

from .parts import Decoupling as Decoupling
from .parts import independent_parts as independent_parts
from .parts import teacher_forcing_parts as teacher_forcing_parts
