"""Lesson 12: why it is fast."""
