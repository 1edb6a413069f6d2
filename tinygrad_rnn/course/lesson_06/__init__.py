"""Lesson 06: why a gradient dies."""
