"""What the numbers were measured on: their heading in tables and files."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

LIBRARIES = ("tinygrad-rnn", "numpy", "numba", "torch", "jax")


def machine(threads):
    """The machine and the libraries, as a flat dictionary."""
    available = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _model(),
        "cores": len(available(0)) if available else os.cpu_count(),
        "vectors": _vectors(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def _cpuinfo(key):
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _model():
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _vectors():
    flags = _cpuinfo("flags").split()
    return next((f for f in ("avx512f", "avx2", "avx") if f in flags), platform.machine())


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "–"


def described(facts):
    """The facts in two lines."""
    libraries = ", ".join(f"{name} {facts[name]}" for name in LIBRARIES)
    return (
        f"{facts['cpu']}, {facts['cores']} cores ({facts['vectors']}), {facts['system']}, "
        f"{facts['threads']} threads.\n"
        f"Python {facts['python']}, {libraries}. {facts['date']}."
    )
