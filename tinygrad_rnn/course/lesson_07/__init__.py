"""Lesson 07: gates."""
