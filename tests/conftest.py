"""What all tests share: a collector of garbage that leaves the tests themselves alone."""

import gc

gc.disable()  # until all tests are there: they are no garbage


def pytest_collection_finish(session):
    """Thousands of tests and what they imported stay to the end: not to be walked again and again.

    Compiling a loop makes a million objects that soon go by themselves.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
