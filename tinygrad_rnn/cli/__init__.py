"""The command line: train on a text, sample from a trained model, draw a graph."""
