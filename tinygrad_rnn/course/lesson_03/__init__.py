"""Lesson 03: arrays."""
