"""The command line: train on a text, sample from a trained model, draw a graph."""

__all__: list[str] = []  # commands are no functions: see main.py
