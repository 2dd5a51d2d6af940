"""Build CUDA kernels for the CPU and call them; cuda_host/ runs their threads."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from seamseg.ops.native import require

TYPES = [torch.float32, torch.float16, torch.bfloat16]
"""Types of fault_with_type() in cuda_host/launching.h."""
CSRC = Path(__file__).resolve().parents[2] / "csrc"
_HOST = Path(__file__).resolve().parent / "cuda_host"
# The compiler inserts calls of hooks.cpp at memory accesses; no sanitizer is linked.
_TRACED = ["-O1", "-fsanitize=thread,alignment,bounds", "-fno-sanitize-recover=all", "-Wno-unknown-pragmas"]


class Fault(Exception):
    """Error that a kernel made."""


class Kernels:
    """Library of functions that launch kernels and return a description of their errors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, function: str, *args: object) -> None:
        """Call a function, and raise Fault if its kernel made an error."""
        entry = getattr(self._library, function)
        entry.restype = ctypes.c_char_p
        fault = entry(*args).decode()
        if fault:
            raise Fault(fault)


class Operators:
    """Kernels that are called like operators: each method has the arguments and results of the one with its name."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels


@contextmanager
def in_place_of_operators(operators: Operators, shapes: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Replace operators of the library, given with their shape functions, by the methods with their names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, shape in shapes.items():
            require(name, shape)
            patch.setattr(torch.ops.seamseg, name, getattr(operators, name))
        yield


def build(source: str, folder: Path) -> Kernels:
    """Compile a file of cuda_host/ with the code that runs kernels; skip the test where there is no g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile CUDA kernels for the CPU with")
    objects = [folder.parent / "cuda_host.o", folder.parent / "hooks.o", folder / f"{source}.o"]
    for target, flags in zip(objects, (["-O2"], ["-O2"], _TRACED), strict=True):
        if not target.exists():  # the first two are shared by all tests of a session
            common = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", f"-I{_HOST}", f"-I{CSRC}"]
            name = source if target is objects[2] else f"{target.stem}.cpp"
            _run([compiler, *common, *flags, str(_HOST / name), "-o", str(target)])
    library = folder / f"{source}.so"
    _run([compiler, "-shared", *map(str, objects), "-Wl,-z,defs", "-o", str(library)])
    return Kernels(ctypes.CDLL(str(library)))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
