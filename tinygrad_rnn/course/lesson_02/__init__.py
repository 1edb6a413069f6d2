"""Lesson 02: the tape."""
