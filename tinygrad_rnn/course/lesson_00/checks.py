"""Lesson 00: its file is run, and that is all."""

from .. import Lesson

LESSON = Lesson("five_minutes", "Five minutes: train, sample, open the page", 5)
