"""The command line: train on a text, sample from what was learnt, draw a graph."""
