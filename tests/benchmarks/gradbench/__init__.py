"""A tool for GradBench (github.com/gradbench/gradbench), a league table of automatic derivatives.

    PYTHONPATH=tests/benchmarks python -m gradbench

speaks its protocol on standard input and output, as the command for its `--tool` must.
"""
