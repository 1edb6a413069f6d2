"""Lesson 00 asks for nothing."""
