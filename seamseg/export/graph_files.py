"""A network of fixed size as a file that runs without this package: ONNX, or an exported program of PyTorch."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import torch
from torch.export import ExportedProgram

from seamseg.errors import SeamsegError
from seamseg.export.fixed_network import FixedSizeNet
from seamseg.export.numpy_fusion import OUTPUTS, Description
from seamseg.io.files import atomic_write

DESCRIPTION = "seamseg"
"""Under which name a file carries its :class:`Description`."""
OPSET = 18
"""Of ONNX: the oldest one whose RoiAlign, Pad and Resize say what the network computes, for old runtimes."""


def trace(network: FixedSizeNet) -> ExportedProgram:
    """The network's graph on the CPU."""
    example = torch.zeros(*network.size, 3, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,))


def write_onnx(path: Path, program: ExportedProgram, description: Description) -> None:
    """Writes an ONNX file, whole or not at all.

    Args:
        path: of the result; its folder must exist.
        program: of :func:`trace`.
        description: goes into the file.

    Raises:
        SeamsegError: the packages that write ONNX are not installed.
        OSError: it cannot be written.
    """
    check_onnx()
    for noisy in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=["image"], output_names=OUTPUTS, verbose=False
    )
    assert exported is not None
    exported.model.metadata_props[DESCRIPTION] = description.to_json()
    atomic_write(path, lambda temporary: exported.save(temporary, external_data=False))


def write_torch(path: Path, program: ExportedProgram, description: Description) -> None:
    """Writes a file for ``torch.export.load``, whole or not at all.

    Args:
        path, program, description: as in :func:`write_onnx`.

    Raises:
        OSError: it cannot be written.
    """
    extra = {DESCRIPTION: description.to_json()}
    atomic_write(path, lambda temporary: _save(program, temporary, extra))


def check_onnx() -> None:
    """Whether ONNX files can be written.

    Raises:
        SeamsegError: the packages that write them are not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise SeamsegError(f"ONNX files need {' and '.join(missing)}: run `pip install 'seamseg[onnx]'`")


def _save(program: ExportedProgram, path: Path, extra: dict[str, str]) -> None:
    # Into a file object, since torch doubts names that don't end in .pt2.
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files=extra)
