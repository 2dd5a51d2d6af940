"""``seamseg env``: versions, machine and native library, for bug reports."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import distributed as dist

from seamseg import __version__
from seamseg.errors import NativeLibraryError
from seamseg.ops import native
from seamseg.runtime.allocator import SWITCH, keep_freed_memory
from seamseg.runtime.precision import PrecisionName, automatic_precision, prefers_channels_last

NO_LIBRARY = 1
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Native:
    """The native library in this process.

    Attributes:
        path: Path of the library.
        cpu_capability: Instruction set of its CPU kernels.
        cuda_architectures: CUDA architectures its kernels were built for; empty without CUDA.
    """

    path: str
    cpu_capability: str
    cuda_architectures: list[str]


@dataclass(frozen=True)
class Environment:
    """Versions, machine and build.

    Attributes:
        seamseg, python, torch, torchvision: Version strings.
        torch_cuda: CUDA version that torch was built with; None without CUDA.
        system: Operating system and C library.
        processor: Name of the CPU model.
        threads: Number of threads that torch computes with.
        gpus: Name, compute capability and memory of each GPU.
        distributed: Available backends of torch.distributed.
        keeps_freed_memory: Whether the allocator keeps freed memory for reuse.
        precision: Precision that ``auto`` means on the default device, and why.
        memory_format: Memory format that ``auto`` means for this precision, and why.
        native: The native library; None if it is missing or does not load.
        native_error: Reason why the native library does not load; None if it does.
    """

    seamseg: str
    python: str
    torch: str
    torchvision: str
    torch_cuda: str | None
    system: str
    processor: str
    threads: int
    gpus: list[str]
    distributed: list[str]
    keeps_freed_memory: bool
    precision: str
    memory_format: str
    native: Native | None
    native_error: str | None


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "env",
        help="print versions and machine details for a bug report",
        description="Print the versions of the packages, the machine, and what the native library was built for. The "
        "exit code is 1 if the native library is missing or does not load.",
    )
    subcommand.add_argument("--json", action="store_true", help="print JSON instead of text")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    found = environment()
    print(json.dumps(asdict(found), indent=2) if options.json else as_text(found))
    if found.native_error:
        print(f"seamseg: {found.native_error}", file=sys.stderr)
    return 0 if found.native else NO_LIBRARY


def environment() -> Environment:
    """Collect the facts about this process and its machine."""
    library, error = _native()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, reason = automatic_precision(device)
    return Environment(
        seamseg=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        torch_cuda=torch.version.cuda,
        system=platform.platform(),
        processor=processor(),
        threads=torch.get_num_threads(),
        gpus=_gpus(),
        distributed=_backends(),
        keeps_freed_memory=keep_freed_memory(),
        precision=f"{precision}, because {reason}",
        memory_format=_memory_format(device, precision),
        native=library,
        native_error=error,
    )


def as_text(found: Environment) -> str:
    """Format the facts as text, one line each."""
    rows = {
        "seamseg": found.seamseg,
        "python": found.python,
        "torch": f"{found.torch}, {f'CUDA {found.torch_cuda}' if found.torch_cuda else 'without CUDA'}",
        "torchvision": found.torchvision,
        "system": found.system,
        "processor": f"{found.processor}, {found.threads} threads",
        "GPUs": "; ".join(found.gpus) or "none",
        "distributed": ", ".join(found.distributed) or "none",
        "freed memory": _memory(found.keeps_freed_memory),
        "precision": found.precision,
        "memory format": found.memory_format,
        **(_native_rows(found.native) if found.native else {"native library": "missing"}),
    }
    width = max(map(len, rows)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in rows.items())


def _native() -> tuple[Native | None, str | None]:
    try:
        path = native.load_library()
    except NativeLibraryError as error:
        return None, str(error)
    return Native(str(path), native.cpu_capability(), list(native.cuda_architectures())), None


def _native_rows(library: Native) -> dict[str, str]:
    return {
        "native library": library.path,
        "CPU kernels": library.cpu_capability,
        "CUDA kernels": " ".join(library.cuda_architectures)
        or "built without CUDA: to use a GPU, install the wheel with CUDA in its version, or install the CUDA toolkit "
        "(nvcc) and rebuild with SEAMSEG_CUDA=1 pip install --no-build-isolation -e .",
    }


def _memory_format(device: torch.device, precision: PrecisionName) -> str:
    """Describe the memory format that ``training.channels_last=auto`` chooses, and why."""
    if not prefers_channels_last(device, precision):
        return f"contiguous, because {precision} does not use tensor cores"
    return f"channels last, because {'tensor cores compute in it' if device.type == 'cuda' else 'it is faster on CPUs'}"


def _memory(kept: bool) -> str:
    if kept:
        return f"kept for reuse (set {SWITCH}=0 to disable)"
    if os.environ.get(SWITCH) == "0":
        return f"returned to the system ({SWITCH}=0)"
    return "returned to the system (keeping it requires glibc)"


def processor() -> str:
    """Return the name of the CPU model."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{one.name}, {one.major}.{one.minor}, {one.total_memory / 2**30:.0f} GiB" for one in devices]


def _backends() -> list[str]:
    if not dist.is_available():
        return []
    known = {"gloo": dist.is_gloo_available, "nccl": dist.is_nccl_available, "mpi": dist.is_mpi_available}
    return [name for name, is_available in known.items() if is_available()]
