"""GradBench's protocol: a message on each line of standard input, a response to each, as JSON."""

import json
import sys
import time
import traceback

from .evaluations import MODULES, prepared


def main():
    for line in sys.stdin:
        print(json.dumps(response(json.loads(line))), flush=True)


def response(message):
    """What a message is answered: by its kind, and with its id."""
    answer = {"start": started, "define": defined, "evaluate": evaluated}.get(message["kind"])
    return {"id": message["id"]} | (answer(message) if answer else {})


def started(message):
    return {"tool": "tinygrad-rnn"}


def defined(message):
    """Whether there is such a module; GradBench stops in peace where there is none."""
    module = message["module"]
    if module in MODULES:
        return {"success": True}
    return {"success": False, "error": f"no module {module!r}: expected one of {[*MODULES]}"}


def evaluated(message):
    """A function's output, and the nanoseconds of each time it ran, as often as was asked for."""
    try:
        given, timings, spent = message["input"], [], 0
        run, written = prepared(message["module"], message["function"], given)
        runs = given if isinstance(given, dict) else {}
        least, seconds = runs.get("min_runs", 1), runs.get("min_seconds", 0)
        while len(timings) < least or spent < seconds * 1e9:
            start = time.perf_counter_ns()
            output = run()
            took = time.perf_counter_ns() - start
            timings.append({"name": "evaluate", "nanoseconds": took})
            spent += took
        return {"success": True, "output": written(output), "timings": timings}
    except Exception:
        return {"success": False, "error": traceback.format_exc()}


if __name__ == "__main__":
    main()
