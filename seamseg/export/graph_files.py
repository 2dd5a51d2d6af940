"""Export of networks to files that run without this package: ONNX or a PyTorch exported program."""

from __future__ import annotations

import ast
import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from seamseg.errors import SeamsegError
from seamseg.export.fixed_network import SIZE_MULTIPLE, ExportableNet
from seamseg.export.numpy_fusion import Description
from seamseg.io.files import atomic_write

DESCRIPTION = "seamseg"
"""Name of the :class:`Description` in the metadata of an exported file."""
INPUT = "images"
"""Name of the input of an exported network."""
OPSET = 18
"""ONNX opset: the oldest one whose RoiAlign, Pad and Resize can express the network, for compatibility with old
runtimes."""
MAX_SIDE = 8192
"""Longest side, in pixels, of images of any size."""
MAX_BATCH = 1024
"""Largest number of images of any number."""


def trace(network: ExportableNet, batch: int | None = 1) -> ExportedProgram:
    """Trace the network on the CPU.

    Args:
        network: Network for images of one size or, slower, of any size.
        batch: Number of images; None for any number.
    """
    side = 2 * SIZE_MULTIPLE  # a side of 1 would become a constant
    example = torch.zeros(batch or 2, *(network.size or (side, side + SIZE_MULTIPLE)), 3, dtype=torch.uint8)
    dims: dict[int, Any] = {} if batch is not None else {0: Dim("batch", min=1, max=MAX_BATCH)}
    if network.size is None:
        most = MAX_SIDE // SIZE_MULTIPLE
        dims |= {axis + 1: SIZE_MULTIPLE * Dim(name, min=2, max=most) for axis, name in enumerate(("rows", "columns"))}
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,), dynamic_shapes=(dims,) if dims else None)


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
        input_names=[INPUT],
        output_names=output_names(program),
        verbose=False,
    )
    assert exported is not None
    _tidy(exported.model)
    exported.model.metadata_props[DESCRIPTION] = description.to_json()
    atomic_write(path, lambda temporary: exported.save(temporary, external_data=False))


def _tidy(model: Any) -> None:
    """Name nodes by their modules, such as ``rpn_head.conv1/conv2d_48``, and the axes of images of any number or size.

    The exporter describes the origin of each node, with paths of this machine.
    """
    for node in model.graph.all_nodes():
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        modules = [scope.removeprefix("network.") for scope in scopes[:-1] if scope.startswith("network.")]
        node.name = "/".join([*modules[-1:], node.name or ""])
        node.metadata_props.clear()
        node.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
    _read_shape_after_cast(model.graph)
    names = dict(zip(map(str, model.graph.inputs[0].shape), ("batch", "height", "width"), strict=False))
    for value in (*model.graph.inputs, *model.graph.outputs):
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                value.shape[axis] = names[str(size)]


def _read_shape_after_cast(graph: Any) -> None:
    """Let operators read the shape of the images after their conversion to float32: TensorRT only converts bytes."""
    (images,) = graph.inputs
    (cast,) = (node for node, _ in images.uses() if node.op_type == "Cast")
    for node, index in list(images.uses()):
        if node is not cast:
            node.replace_input_with(index, cast.outputs[0])
    graph.sort()


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


def check_onnx(packages: tuple[str, ...] = ("onnx", "onnxscript")) -> None:
    """Check that ONNX files can be written.

    Args:
        packages: Packages that are used for this.

    Raises:
        SeamsegError: A package is not installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SeamsegError(f"writing ONNX files requires {' and '.join(missing)}; run `pip install 'seamseg[onnx]'`")


def _save(program: ExportedProgram, path: Path, extra: dict[str, str]) -> None:
    # Pass a file object, because torch warns about names that do not end in .pt2.
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files=extra)
