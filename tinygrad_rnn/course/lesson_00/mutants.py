"""Lesson 00 asks for nothing, so nothing can go wrong."""
