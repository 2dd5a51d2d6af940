"""The native library: loading it, its devices, and the types that are too coarse to compute in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _assume_constant_result(function: _Function) -> _Function:
    """``torch.compiler.assume_constant_result`` without its import of ``torch._dynamo``, which takes seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def at_least_float32(x: Tensor) -> Tensor:
    """Float16 and bfloat16 as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


_PACKAGE = Path(__file__).resolve().parents[1]
_registering = threading.Lock()
_REBUILD = "build it again with `pip install --no-build-isolation -e .` in the checkout"


@_assume_constant_result
def require(operator: str, shapes: Callable[..., Any]) -> bool:
    """Makes ``torch.ops.seamseg.<operator>`` callable; the first call loads the library into the process.

    Args:
        operator: its name in the schemas of ``csrc/library.cpp``.
        shapes: takes the operator's arguments and returns tensors of the right shapes and types with any content;
            ``torch.compile`` and ``torch.export`` run it in the kernel's place.

    Returns:
        True.

    Raises:
        ImportError: the library is not built, does not load, or was built before the operator was written.
    """
    with _registering:
        return _register(operator, shapes)


@cache
def _register(operator: str, shapes: Callable[..., Any]) -> bool:
    _check_operator(load_library(), operator)
    torch.library.register_fake(f"seamseg::{operator}", shapes)
    return True


@_assume_constant_result
def require_device(device: torch.device) -> bool:
    """Makes sure that the library has kernels for a device.

    Returns:
        True.

    Raises:
        ImportError: it was built without CUDA, or there are no kernels for such a device at all.
    """
    if device.type == "cuda" and not cuda_architectures():
        raise ImportError(
            "the native library of seamseg was built without CUDA, so its layers cannot run on a GPU: install the CUDA "
            f"toolkit (nvcc) of the version that torch was built with ({torch.version.cuda}) and {_REBUILD}"
        )
    if device.type not in ("cpu", "cuda", "meta"):
        raise ImportError(f"seamseg has no native kernels for the device {device}; move the network to the cpu or cuda")
    return True


def device_with_kernels(device: torch.device) -> torch.device:
    """The device itself, or the CPU where the library has no kernels for it."""
    has_kernels = device.type in ("cpu", "meta") or (device.type == "cuda" and bool(cuda_architectures()))
    return device if has_kernels else torch.device("cpu")


@cache
def cpu_capability() -> str:
    """The instruction set of this process's CPU kernels: ``avx512_bf16``, ``avx512``, ``avx2`` or ``baseline``."""
    return _ask("cpu_capability")


@cache
def cuda_architectures() -> str:
    """What the CUDA kernels were built for, as ``"7.5 8.0 …"``; empty if they were not built."""
    return _ask("cuda_architectures")


def _ask(operator: str) -> str:
    path = load_library()
    _check_operator(path, operator)
    return str(getattr(torch.ops.seamseg, operator)())


def _check_operator(path: Path, operator: str) -> None:
    if not hasattr(torch.ops.seamseg, operator):
        raise ImportError(f"the native library {path} has no operator {operator}, so it is out of date: {_REBUILD}")


def argument_error(error: RuntimeError, operator: str) -> Exception:
    """The exception to raise in the place of one that came out of a native operator.

    Kernels refuse arguments with ``std::invalid_argument`` and a message that starts with the operator's name. The
    version of torch decides whether that arrives in Python as a ValueError or a RuntimeError; this makes it a
    ValueError. Any other error is returned as it is.
    """
    message = str(error)
    return ValueError(message) if message.startswith(f"{operator}: ") else error


@cache
def load_library(package: Path = _PACKAGE) -> Path:
    """Loads the native library of the package, once per process, and returns its path.

    Raises:
        ImportError: the library is not built or does not load.
    """
    found = sorted(package.glob("_native*.so"))
    if not found:
        raise ImportError(
            f"the native library of seamseg is not built (no _native*.so in {package}): run `make setup` or "
            "`pip install -e .` in the checkout; both need a C++ compiler (on Debian or Ubuntu: apt-get install g++)"
        )
    try:
        torch.ops.load_library(found[0])  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ImportError(
            f"the native library {found[0]} does not load beside torch {torch.__version__} ({error}): {_REBUILD}"
        ) from error
    return found[0]
