"""``seamseg env``: what a bug report needs to know of a machine."""

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
from seamseg.ops import native
from seamseg.runtime.allocator import SWITCH, keep_freed_memory

NO_LIBRARY = 1
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Native:
    """The native library in this process.

    Attributes:
        path: of the library.
        cpu_capability: instruction set of its CPU kernels.
        cuda_architectures: that its CUDA kernels were built for; none without CUDA.
    """

    path: str
    cpu_capability: str
    cuda_architectures: list[str]


@dataclass(frozen=True)
class Environment:
    """Versions, machine and build.

    Attributes:
        seamseg, python, torch, torchvision: versions.
        torch_cuda: the CUDA version that torch was built with.
        system: operating system and C library.
        processor: its name.
        threads: that torch computes with.
        gpus: name, compute capability and memory of each.
        distributed: backends of torch.distributed.
        keeps_freed_memory: whether the allocator could be told to.
        native: None if there is no library that loads.
        native_error: then, why.
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
    native: Native | None
    native_error: str | None


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "env",
        help="print versions, machine and build, for a bug report",
        description="Prints versions, the machine, and what the native library was built for. The exit code is 1 if "
        "that library is missing or does not load.",
    )
    subcommand.add_argument("--json", action="store_true", help="print it as JSON")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    found = environment()
    print(json.dumps(asdict(found), indent=2) if options.json else as_text(found))
    if found.native_error:
        print(f"seamseg: {found.native_error}", file=sys.stderr)
    return 0 if found.native else NO_LIBRARY


def environment() -> Environment:
    """Looks at this process and its machine."""
    library, error = _native()
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
        native=library,
        native_error=error,
    )


def as_text(found: Environment) -> str:
    """One line per fact."""
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
        **(_native_rows(found.native) if found.native else {"native library": "missing"}),
    }
    width = max(map(len, rows)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in rows.items())


def _native() -> tuple[Native | None, str | None]:
    try:
        path = native.load_library()
    except ImportError as error:
        return None, str(error)
    return Native(str(path), native.cpu_capability(), native.cuda_architectures().split()), None


def _native_rows(library: Native) -> dict[str, str]:
    return {
        "native library": library.path,
        "CPU kernels": library.cpu_capability,
        "CUDA kernels": " ".join(library.cuda_architectures)
        or "built without CUDA: to use a GPU, install the CUDA toolkit (nvcc) and build again with SEAMSEG_CUDA=1 "
        "pip install --no-build-isolation -e .",
    }


def _memory(kept: bool) -> str:
    if kept:
        return f"kept for reuse ({SWITCH}=0 switches it off)"
    if os.environ.get(SWITCH) == "0":
        return f"goes back to the system: {SWITCH}=0"
    return "goes back to the system: only glibc can keep it"


def processor() -> str:
    """Name of the CPU's model."""
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
