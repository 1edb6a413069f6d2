"""Lesson 08: backpropagation through time, cut into windows."""
