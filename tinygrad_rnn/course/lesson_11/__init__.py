"""Lesson 11: it writes."""
