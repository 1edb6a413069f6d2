"""What the numbers were measured on: their heading in tables and files."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import tinygrad_rnn

LIBRARIES = ("tinygrad-rnn", "numpy", "numba", "torch", "jax")


def machine(threads):
    """The machine and the libraries, as a flat dictionary."""
    available = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _model(),
        "cores": len(available(0)) if available else os.cpu_count(),
        "vectors": _vectors(),
        "caches": _caches(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "tinygrad-rnn": tinygrad_rnn.__version__,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def _cpuinfo(key):
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _model():
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    numbers = [f"{key} {_cpuinfo(key)}" for key in ("cpu family", "model") if _cpuinfo(key)]
    return f"{name} ({', '.join(numbers)})" if numbers else name  # the name alone may hide the make


def _vectors():
    flags = _cpuinfo("flags").split()
    return next((f for f in ("avx512f", "avx2", "avx") if f in flags), platform.machine())


def _caches():
    """Sizes of what the first core reads data through, from the nearest to the farthest."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    data = [p for p in sorted(folder.glob("index*")) if _line(p / "type") != "Instruction"]
    return "/".join(_line(p / "size") for p in data) or "unknown"


def _memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB"


def _line(path):
    return path.read_text().strip()


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "–"


def described(facts):
    """The facts in three lines."""
    libraries = ", ".join(f"{name} {facts[name]}" for name in LIBRARIES)
    return (
        f"{facts['cpu']}, {facts['cores']} cores ({facts['vectors']}), {facts['system']}, "
        f"{facts['threads']} threads.\n"
        f"Caches {facts['caches']}, memory {facts['memory']}.\n"
        f"Python {facts['python']}, {libraries}. {facts['date']}."
    )
