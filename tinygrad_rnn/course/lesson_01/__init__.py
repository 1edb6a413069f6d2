"""Lesson 01: a slope by nudging."""
