"""Lesson 09: sequences of many lengths in one batch."""
