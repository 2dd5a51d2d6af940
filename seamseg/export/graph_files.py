"""Export of a network of fixed size to files that run without this package: ONNX or a PyTorch exported program."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import torch
from torch.export import ExportedProgram

from seamseg.errors import SeamsegError
from seamseg.export.fixed_network import FixedSizeNet
from seamseg.export.numpy_fusion import Description
from seamseg.io.files import atomic_write

DESCRIPTION = "seamseg"
"""Name of the :class:`Description` in the metadata of an exported file."""
OPSET = 18
"""ONNX opset: the oldest one whose RoiAlign, Pad and Resize can express the network, for compatibility with old
runtimes."""


def trace(network: FixedSizeNet) -> ExportedProgram:
    """Trace the network on the CPU."""
    example = torch.zeros(*network.size, 3, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,))


def write_onnx(path: Path, program: ExportedProgram, description: Description) -> None:
    """Write an ONNX file atomically.

    Args:
        path: Output file; its folder must exist.
        program: Result of :func:`trace`.
        description: Description to store in the metadata of the file.

    Raises:
        SeamsegError: The packages that write ONNX files are not installed.
        OSError: The file cannot be written.
    """
    check_onnx()
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=output_names(program),
        verbose=False,
    )
    assert exported is not None
    exported.model.metadata_props[DESCRIPTION] = description.to_json()
    atomic_write(path, lambda temporary: exported.save(temporary, external_data=False))


def output_names(program: ExportedProgram) -> list[str]:
    """Return the names of the outputs of a traced network, in order: all or some of ``OUTPUTS``."""
    names: list[str] = list(program.call_spec.out_spec.context)
    return names


def write_torch(path: Path, program: ExportedProgram, description: Description) -> None:
    """Write a file for ``torch.export.load`` atomically.

    Args:
        path: Output file; its folder must exist.
        program: Result of :func:`trace`.
        description: Description to store in the file.

    Raises:
        OSError: The file cannot be written.
    """
    extra = {DESCRIPTION: description.to_json()}
    atomic_write(path, lambda temporary: _save(program, temporary, extra))


def check_onnx() -> None:
    """Check that ONNX files can be written.

    Raises:
        SeamsegError: The packages that write ONNX files are not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise SeamsegError(f"writing ONNX files requires {' and '.join(missing)}; run `pip install 'seamseg[onnx]'`")


def _save(program: ExportedProgram, path: Path, extra: dict[str, str]) -> None:
    # Pass a file object, because torch warns about names that do not end in .pt2.
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files=extra)
