"""Native library: loading, supported devices, and the precision to compute in."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from zlib_ng import zlib_ng

from seamseg.errors import NativeLibraryError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _assume_constant_result(function: _Function) -> _Function:
    """``torch.compiler.assume_constant_result`` without its import of ``torch._dynamo``, which takes seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def at_least_float32(x: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; return float32 and float64 unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def has_values(x: Tensor) -> bool:
    """Return whether a tensor has values, which meta tensors and fake tensors lack."""
    return not (x.is_meta or isinstance(x, FakeTensor))


_PACKAGE = Path(__file__).resolve().parents[1]
_registering = threading.Lock()
_OLDEST_TORCH = "2.10"
_INSTALL = f"install a wheel for this platform ({platform.system()} {platform.machine()})"
_REBUILD = "rebuild it with `pip install --no-build-isolation -e .` in the checkout"


@_assume_constant_result
def require(
    operator: str,
    shapes: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup: Callable[..., Any] | None = None,
) -> bool:
    """Make ``torch.ops.seamseg.<operator>`` callable; the first call loads the library into the process.

    Args:
        operator: Name of the operator in the schemas of ``csrc/library.cpp``.
        shapes: Function from the operator's arguments to tensors with the right shapes and types and any content.
            ``torch.compile`` and ``torch.export`` run it instead of the kernel.
        backward: Formula of the derivative, as in ``torch.library.register_autograd``; None for an operator without
            one.
        setup: Function that saves what ``backward`` needs.

    Returns:
        True.

    Raises:
        NativeLibraryError: If the library is not built, cannot be loaded, or is too old to contain the operator.
    """
    with _registering:
        return _register(operator, shapes, backward, setup)


@cache
def _register(
    operator: str,
    shapes: Callable[..., Any],
    backward: Callable[..., Any] | None,
    setup: Callable[..., Any] | None,
) -> bool:
    _check_operator(load_library(), operator)
    torch.library.register_fake(f"seamseg::{operator}", shapes)
    if backward is not None:
        torch.library.register_autograd(f"seamseg::{operator}", backward, setup_context=setup)
    return True


@_assume_constant_result
def require_device(device: torch.device) -> bool:
    """Check that the library has kernels for a device.

    Args:
        device: Device of the tensors.

    Returns:
        True.

    Raises:
        NativeLibraryError: If the library was built without CUDA, or has no kernels for this kind of device.
    """
    if device.type == "cuda" and not cuda_architectures():
        raise NativeLibraryError(
            "the native library of seamseg was built without CUDA, so its layers cannot run on a GPU: install the "
            "wheel with CUDA in its version (such as 1.0.0+cu130), or install the CUDA toolkit (nvcc) in the version "
            f"that torch was built with ({torch.version.cuda}) and {_REBUILD}"
        )
    if device.type not in ("cpu", "cuda", "meta"):
        raise NativeLibraryError(
            f"seamseg has no native kernels for the device {device}; move the network to cpu or cuda"
        )
    return True


@_assume_constant_result
def has_kernels(device: torch.device) -> bool:
    """Return whether the library has kernels for a device: the CPU, and a GPU if it was built with CUDA."""
    return device.type in ("cpu", "meta") or (device.type == "cuda" and bool(cuda_architectures()))


def device_with_kernels(device: torch.device) -> torch.device:
    """Return the device itself, or the CPU if the library has no kernels for it."""
    return device if has_kernels(device) else torch.device("cpu")


@cache
def cpu_capability() -> str:
    """Return the instruction set of the CPU kernels: ``avx512_bf16``, ``avx512``, ``avx2`` or ``baseline``."""
    return _call_query("cpu_capability")


@cache
def cuda_architectures() -> tuple[str, ...]:
    """Return the architectures of the CUDA kernels, such as ``7.5`` and ``8.0+PTX``; empty if they were not built."""
    names = _call_query("cuda_architectures")  # separated by commas, as setup.py passes them to the compiler
    return tuple(names.split(",")) if names else ()


def _call_query(operator: str) -> str:
    path = load_library()
    _check_operator(path, operator)
    return str(getattr(torch.ops.seamseg, operator)())


def _check_operator(path: Path, operator: str) -> None:
    if not hasattr(torch.ops.seamseg, operator):
        raise NativeLibraryError(
            f"the native library {path} has no operator {operator}, so it is out of date: {_REBUILD}"
        )


def call(operator: str, shapes: Callable[..., Any], *arguments: Any) -> Any:
    """Run a native operator.

    Args:
        operator: Name of the operator.
        shapes: Function that returns empty results for the same arguments; see :func:`require`.
        arguments: Arguments of the operator.

    Raises:
        ValueError: If the operator rejects the arguments.
        NativeLibraryError: If the library is not built, cannot be loaded, or is too old to contain the operator.
    """
    require(operator, shapes)
    try:
        return getattr(torch.ops.seamseg, operator)(*arguments)
    except RuntimeError as error:
        raise argument_error(error, operator) from None


def argument_error(error: RuntimeError, operator: str) -> Exception:
    """Return the exception to raise instead of an error from a native operator.

    Kernels reject arguments with ``std::invalid_argument`` and a message that starts with the operator's name.
    Depending on the version of torch, it arrives in Python as a ValueError or a RuntimeError; this function makes it a
    ValueError. Other errors are returned unchanged.
    """
    message = str(error)
    return ValueError(message) if message.startswith(f"{operator}: ") else error


@cache
def use_zlib_ng() -> None:
    """Let the native readers of PNG files decompress with zlib-ng, once per process.

    The Python package exports the C functions of the library that it contains or links to. Calling them directly avoids
    allocations and copies of its Python interface, which take as long as decompressing the id map of a COCO image.

    Raises:
        NativeLibraryError: If the native library is not built, or the package does not export these functions.
    """
    load_library()
    library = ctypes.CDLL(zlib_ng.__file__)
    try:
        functions = [getattr(library, f"zng_{name}") for name in ("inflateInit2", "inflate", "inflateEnd", "crc32")]
    except AttributeError as error:
        raise NativeLibraryError(
            f"{zlib_ng.__file__} does not export the functions of zlib-ng ({error}): install the package zlib-ng >= 1.0"
        ) from error
    torch.ops.seamseg.use_zlib_ng(*(ctypes.cast(function, ctypes.c_void_p).value for function in functions))


@cache
def load_library(package: Path = _PACKAGE) -> Path:
    """Load the native library of the package, once per process, and return its path.

    Raises:
        NativeLibraryError: If the library is not built or cannot be loaded.
    """
    found = sorted(package.glob("_native*.so"))
    if not found:
        raise NativeLibraryError(
            f"the native library of seamseg is missing (no _native*.so in {package}): {_INSTALL}, or build it with "
            "`make setup` or `pip install -e .` in a checkout, which requires a C++ compiler (on Debian or Ubuntu: "
            "apt-get install g++)"
        )
    try:
        torch.ops.load_library(found[0])  # type: ignore[no-untyped-call]
    except OSError as error:
        # Newer versions of torch raise an error that only names the file, because of the one with the reason.
        reason, remedy = _reason_and_remedy(found[0], str(error.__cause__ or error))
        raise NativeLibraryError(
            f"the native library {found[0]} does not load with torch {torch.__version__} ({reason}): {remedy}"
        ) from error
    return found[0]


def _reason_and_remedy(library: Path, reason: str) -> tuple[str, str]:
    """Return why a library does not load, in words if the loader's are misleading, and what to do."""
    if torch.__version__ < _OLDEST_TORCH:
        return reason, f"install torch >= {_OLDEST_TORCH}"
    if "_cuda.so" in reason and torch.version.cuda is None:
        return reason, "install a torch with CUDA, or the wheel without `+cu` in its version"
    if reason.startswith(f"{library}: cannot open shared object file: No such file") and library.exists():
        reason = f"it was built for another processor than {platform.machine()}"  # glibc says so in these words
    return reason, f"{_INSTALL}, or {_REBUILD}"
