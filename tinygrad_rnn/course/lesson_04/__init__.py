"""Lesson 04: a cell is a line."""
