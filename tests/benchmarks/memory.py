"""Peak memory of one forward and backward pass of an LSTM, in a process of its own.

python tests/benchmarks/memory.py ours 1000      # or: sqrt, torch; prints megabytes
"""

import ctypes
import gc
import resource
import subprocess
import sys
from pathlib import Path

from problem import problem

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measured(who, steps):
    """Megabytes, taken in a fresh process."""
    command = [sys.executable, __file__, who, str(steps)]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        raise RuntimeError((out.stderr.strip() or "no message").splitlines()[-1])
    return float(out.stdout)


def contender(who, given):
    if who == "torch":
        import in_torch

        return in_torch.layer(given)
    import ours

    return ours.layer(given, **({"checkpoint": "sqrt"} if who == "sqrt" else {}))


def high_water(restart=False):
    """The most kilobytes this process has held; begin again if asked to and the system can."""
    if restart and MARK.exists():
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
        MARK.write_text("5")
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def main(who, steps):
    tiny = contender(who, problem("LSTM", (2, 9, 4, 4)))
    tiny()
    run = contender(who, problem("LSTM", (32, steps, 128, 128)))
    before = high_water(restart=True)
    run()
    run()  # what is kept for the next call counts, whatever it costs then
    print((high_water() - before) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
