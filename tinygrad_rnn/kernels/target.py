"""The processor that code is compiled for, and how LLVM compiles it, once: it is kept on disk.

Numba's settings NUMBA_CPU_NAME and NUMBA_CPU_FEATURES hold here too.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir

from .kept import Kept
from .waiting import apart

binding.initialize_native_target()
binding.initialize_native_asmprinter()
# What is left of a row after its last whole vector is done in halves and not one by one: a gradient
# through rows of 14 float64 numbers takes 0.7 of the time.
OPTION = "-epilogue-vectorization-minimum-VF=4"
binding.set_option("", OPTION)
# The passes for what is written instruction by instruction, as tiles are: the others find nothing
# to do there, and would take ten times as long.
BY_HAND = ("sroa", "simplify_cfg", "instruction_combine")
TARGET = binding.Target.from_default_triple()
CPU = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()


def _features() -> str:
    try:
        return str(binding.get_host_cpu_features().flatten())
    except RuntimeError:
        return ""


# An empty list, as of a generic processor, is a list too.
_ASKED = os.environ.get("NUMBA_CPU_FEATURES", "" if CPU.lower() == "generic" else None)
FEATURES = _features() if _ASKED is None else _ASKED
HOST = {name[1:] for name in FEATURES.split(",") if name.startswith("+")}
FUSED = bool(HOST & {"fma", "neon", "fp-armv8"})
VECTOR_BYTES = 64 if "avx512f" in HOST else 32 if "avx" in HOST else 16


def _machine() -> Any:
    """What writes machine code; an engine keeps one of its own."""
    reloc = "static" if TARGET.name.startswith("x86") else "default"
    return TARGET.create_target_machine(
        cpu=CPU, features=FEATURES, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


_MACHINE = _machine()


def module(name: str) -> Any:
    """An empty module for this processor."""
    made = ir.Module(name)
    made.triple, made.data_layout = TARGET.triple, str(_MACHINE.target_data)
    return made


def object_code(written: Any, by_hand: bool) -> bytes:
    """A module's machine code, after a few passes over what is written by hand, or after all."""
    return apart(_object_code, text := str(written), by_hand, alike=text)


def _object_code(text: str, by_hand: bool) -> bytes:
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    passes = binding.create_pass_builder(_MACHINE, options)
    parsed = binding.parse_assembly(text)
    if by_hand:
        few = binding.create_new_function_pass_manager()
        for name in BY_HAND:
            getattr(few, f"add_{name}_pass")()
        for function in parsed.functions:
            if not function.is_declaration:
                few.run(function, passes)
    else:
        passes.getModulePassManager().run(parsed, passes)
    code: bytes = _MACHINE.emit_object(parsed)
    return code


def loaded(code: bytes) -> Any:
    """An engine that holds machine code: its functions are there as long as it is."""
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def compiled(
    key: Any, write: Callable[[], Any], before: Callable[[bytes], Any] = len, by_hand: bool = True
) -> Any:
    """An engine with the code of a module: from disk, or compiled from what `write` makes.

    `before` is told the machine code before it is loaded: what it calls must be there by then.
    """
    kept = Kept("machine", key, TARGET.triple, CPU, FEATURES, OPTION)

    def ready(code: bytes) -> Any:
        before(code)
        return loaded(code)

    engine = kept.load(ready)
    if engine is None:
        code = object_code(write(), by_hand)
        kept.save(code)
        engine = ready(code)
    return engine


def called(engine: Any, name: str, wholes: int = 0, *kinds: Any, answer: Any = None) -> Any:
    """A function that an engine holds, for Python to call with so many whole numbers, and others.

    The interpreter's lock is let go meanwhile.
    """
    kind = ctypes.CFUNCTYPE(answer, *[ctypes.c_int64] * wholes, *kinds)
    made: Any = kind(engine.get_function_address(name))
    made.engine = engine  # which holds the code
    return made
