"""Export of networks to files that run without this package: ONNX or a PyTorch exported program."""

from __future__ import annotations

import ast
import importlib.util
import logging
from io import BytesIO
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
MIN_MULTIPLES = 2
"""Shortest side of images of any size, in multiples of ``SIZE_MULTIPLE``: a side of 1 would become a constant."""
MAX_WEIGHT_BYTES = (1 << 31) - (1 << 26)
"""Largest size of the weights in an ONNX file, a Protobuf message of less than 2 GiB; the graph takes the rest."""


def trace(network: ExportableNet, batch: int | None = 1) -> ExportedProgram:
    """Trace the network on the CPU.

    Args:
        network: Network for images of one size or, slower, of any size.
        batch: Number of images; None for any number.
    """
    side = MIN_MULTIPLES * SIZE_MULTIPLE
    example = torch.zeros(batch or 2, *(network.size or (side, side + SIZE_MULTIPLE)), 3, dtype=torch.uint8)
    dims: dict[int, Any] = {} if batch is not None else {0: Dim("batch", min=1, max=MAX_BATCH)}
    if network.size is None:
        most = MAX_SIDE // SIZE_MULTIPLE
        dims |= {
            axis: SIZE_MULTIPLE * Dim(name, min=MIN_MULTIPLES, max=most)
            for axis, name in enumerate(("rows", "columns"), start=1)
        }
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,), dynamic_shapes=(dims,) if dims else None)


def write_onnx(path: Path, program: ExportedProgram, description: Description) -> None:
    """Write an ONNX file atomically.

    Args:
        path: Output file; its folder must exist.
        program: Result of :func:`trace`.
        description: Description to store in the metadata of the file.

    Raises:
        SeamsegError: The packages that write ONNX files are not installed, or the network is too large for one.
        OSError: The file cannot be written.
    """
    check_onnx()
    num_bytes = sum(tensor.nbytes for tensor in program.state_dict.values())
    if num_bytes > MAX_WEIGHT_BYTES:
        raise SeamsegError(
            f"the weights take {num_bytes / 1e9:.2f} GB, but an ONNX file cannot hold more than "
            f"{MAX_WEIGHT_BYTES / 1e9:.2f} GB; write a .pt2 file with `seamseg export-torch`"
        )
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
    if not all(isinstance(size, int) for size in model.graph.inputs[0].shape[1:3]):
        _refuse_other_sides(model.graph)
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


SIDES = f"height_and_width_must_be_multiples_of_{SIZE_MULTIPLE}_and_at_least_{MIN_MULTIPLES * SIZE_MULTIPLE}"
"""Name of the node that refuses images of other sizes; the error message of ONNX Runtime and OpenVINO contains it."""


def _refuse_other_sides(graph: Any) -> None:
    """Reshape the images to the next allowed size, so that runtimes refuse images whose size is not allowed.

    They do not check the sides of an input themselves.
    """
    from onnxscript import ir

    (images,) = graph.inputs
    ((cast, _),) = images.uses()
    pixels, users = cast.outputs[0], list(cast.outputs[0].uses())
    steps, least = (
        ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
        for name, numbers in (
            ("image_steps", [1, SIZE_MULTIPLE, SIZE_MULTIPLE, 1]),
            ("image_least", [1, *[MIN_MULTIPLES * SIZE_MULTIPLE] * 2, 1]),
        )
    )
    for value in (steps, least):
        graph.register_initializer(value)
    shape = ir.node("Shape", [pixels], name="image_shape")
    number = ir.node("Div", [shape.outputs[0], steps], name="image_steps_per_side")
    whole = ir.node("Mul", [number.outputs[0], steps], name="image_sides_rounded")
    allowed = ir.node("Max", [whole.outputs[0], least], name="image_sides_allowed")
    checked = ir.node("Reshape", [pixels, allowed.outputs[0]], name=SIDES)
    checked.outputs[0].shape, checked.outputs[0].dtype = pixels.shape, pixels.dtype
    for node, index in users:
        if node.op_type != "Shape":
            node.replace_input_with(index, checked.outputs[0])
    graph.extend([shape, number, whole, allowed, checked])
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
    # Write to memory first: on a full disk, torch would abort the process. It also warns about names without .pt2.
    content = BytesIO()
    torch.export.save(program, content, extra_files=extra)
    path.write_bytes(content.getbuffer())
