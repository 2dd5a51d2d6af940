"""Quantization of an ONNX file to 8-bit integers, with ranges of values that are measured on images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxscript import ir

from seamseg.data.images import read_image
from seamseg.data.resizing import channels_last, resize_image
from seamseg.export.graph_files import DESCRIPTION, INPUT
from seamseg.export.numpy_fusion import Description, input_size
from seamseg.io.files import atomic_write
from seamseg.io.progress import Advance, progress_bar

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "LeakyRelu", "Relu", "Add", "MaxPool", "Resize")
"""ONNX operators that are quantized in the modules of ``MODULES``."""
MODULES = ("body.", "rpn_head.", "sem_head.", "roi_head.")
"""Beginnings of the names of quantized modules. Anchors, boxes, suppression and class maps belong to none."""
FLOAT_LAYERS = ("conv_obj", "conv_bbx", "roi_cls", "roi_bbx", "roi_bbx_any", "roi_msk", "roi_iou", "point")
"""Layers that stay in float32: those that predict logits and box deltas. 256 values are too few for them, and they have
little of the arithmetic. The last layer of the semantic head belongs to no quantized module either."""


def is_quantized(name: str, operator: str) -> bool:
    """Return whether a node of a file of :func:`seamseg.export.graph_files.write_onnx` is quantized.

    Args:
        name: Name of the node, such as ``rpn_head.conv1/conv2d_48``.
        operator: Its ONNX operator.
    """
    module, _, _ = name.rpartition("/")
    return operator in OPERATORS and module.startswith(MODULES) and not {*module.split(".")} & {*FLOAT_LAYERS}


def quantize(source: Path, out: Path, images: Sequence[Path]) -> None:
    """Quantize weights, per output channel, and activations of an ONNX file, and write the result atomically.

    The ranges are symmetric and biases stay in float32, because TensorRT accepts nothing else.

    Args:
        source: File written by :func:`seamseg.export.graph_files.write_onnx`.
        out: Output file; its folder must exist.
        images: Images whose activations set the ranges.

    Raises:
        BrokenImageError: An image cannot be read.
        OSError: The file cannot be written.
    """
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    description = Description.from_json(metadata[DESCRIPTION])
    logging.getLogger().addFilter(_is_no_advice)

    def write(path: Path) -> None:
        with progress_bar("calibrate", len(images)) as advance:
            quantize_static(
                model,
                path,
                _Batches(_batches(images, description, advance)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                nodes_to_quantize=[node.name for node in model.graph.node if is_quantized(node.name, node.op_type)],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
            )
        quantized = ir.load(path)
        quantized.graph.sort()  # bodies of loops use values that the quantization moved behind the loops
        quantized.metadata_props.clear()
        quantized.metadata_props.update(metadata)
        ir.save(quantized, path)

    try:
        atomic_write(out, write)
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Return whether a message of the log is not the advice to optimize a graph first, which the exporter did."""
    return "pre-processing" not in record.getMessage()


def _batches(images: Sequence[Path], description: Description, advance: Advance) -> Iterator[NDArray[np.uint8]]:
    """Read and scale images; a network for N images at a time gets each one N times."""
    for number, path in enumerate(images):
        advance(number, path.name)
        pixels = read_image(path, "upright")
        size = input_size(description, (pixels.shape[0], pixels.shape[1]))
        yield np.stack([channels_last(resize_image(pixels, size))] * (description.batch or 1))
    advance(len(images), "")


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Batches in the form that ONNX Runtime asks for."""

    def __init__(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, Any] | None:
        """Return the inputs of the network for the next batch; None after the last one."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}
