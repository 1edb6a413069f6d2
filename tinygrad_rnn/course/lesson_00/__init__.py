"""Lesson 00: train, sample, open the page."""
