"""Lesson 05: backpropagation through time, by hand."""
