"""What TensorRT's ONNX parser accepts; TensorRT itself needs a GPU.

Source: docs/operators.md of the repository onnx/onnx-tensorrt, in the version for TensorRT 10.15 (opsets 9 to 24). The
table below has those of its operators that exported networks use or may use, and ``_violation`` has their restrictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto

_FLOAT, _INT, _BOOL = {TensorProto.FLOAT}, {TensorProto.INT32, TensorProto.INT64}, {TensorProto.BOOL}
_BYTE = {TensorProto.UINT8}  # only for inputs and outputs of the network


def _table(names: str, types: set[int]) -> dict[str, set[int]]:
    return dict.fromkeys(names.split(), types)


SUPPORTED: dict[str, set[int]] = {
    **_table("AveragePool Clip Conv ConvTranspose CumSum Exp Floor Gemm GridSample InstanceNormalization", _FLOAT),
    **_table("IsInf IsNaN LeakyRelu Log MatMul MaxPool QuantizeLinear Reciprocal Relu Resize RoiAlign", _FLOAT),
    **_table("Sigmoid Softmax Sqrt", _FLOAT),
    **_table("Abs Add ArgMax Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Neg", _FLOAT | _INT),
    **_table("Pad Range ReduceMax ReduceMean ReduceMin ReduceSum ScatterElements Sub TopK", _FLOAT | _INT),
    **_table("Concat Constant ConstantOfShape Expand Gather GatherElements GatherND Identity", _FLOAT | _INT | _BOOL),
    **_table("Loop Reshape Shape Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where", _FLOAT | _INT | _BOOL),
    **_table("And Not Or Xor", _BOOL),
    **_table("Cast", _FLOAT | _INT | _BOOL | _BYTE),
    **_table("DequantizeLinear", {TensorProto.INT8}),
}
"""Types of the values that an operator computes with, of those that exported networks have."""
MAX_TOP = 3839
"""``K`` of ``TopK`` must be less than 3840."""
FIRST_VALUE = {"Where": 1, "Loop": 2}
"""Number of the first input with values, where it is not 0."""
CONSTANT_INPUTS = {
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "CumSum", "Squeeze", "Unsqueeze", "TopK"), 1),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), 2),
}
"""Number of an input that must be known when TensorRT builds the engine: axes, K, zero points."""
RESIZE_CHOICES: dict[str, set[Any]] = {
    "mode": {b"nearest", b"linear"},
    "coordinate_transformation_mode": {
        *(b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners")
    },
    "nearest_mode": {b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"},
    "keep_aspect_ratio_policy": {b"stretch"},
    "antialias": {0},
}
Constants = Mapping[str, NDArray[Any]]


def unsupported_nodes(model: onnx.ModelProto) -> list[str]:
    """Describe the nodes of a model that TensorRT does not support according to its list; none if it supports all."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return _unsupported(inferred.graph, {}, {})


def _unsupported(graph: onnx.GraphProto, outer: dict[str, int], known: Constants) -> list[str]:
    types = outer | {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    types |= {value.name: value.data_type for value in graph.initializer}
    constants = {**known, **{value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}}
    found = []
    for node in graph.node:
        first = FIRST_VALUE.get(node.op_type, 0)
        kind = types.get(node.input[first]) if len(node.input) > first else None
        for number, name in enumerate(node.output):
            types.setdefault(name, _type_of(node, number, kind))
        what = f"{node.op_type} {node.name}"
        if node.domain or node.op_type not in SUPPORTED:
            found.append(what)
        elif len(node.input) > first and kind not in SUPPORTED[node.op_type]:
            found.append(f"{what} of type {kind and TensorProto.DataType.Name(kind)}")
        elif violation := _violation(node, constants):
            found.append(f"{what}: {violation}")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _unsupported(attribute.g, types, constants)
    return found


def _violation(node: onnx.NodeProto, constants: Constants) -> str | None:
    """Return the restriction of the list that a node violates; None if there is none."""
    kind, attributes = node.op_type, {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    number = CONSTANT_INPUTS.get(kind)
    given = node.input[number] if number is not None and len(node.input) > number else None
    if given and given not in constants:
        return f"input {number} is not a constant"
    if kind == "TopK" and (constants[given].max() > MAX_TOP or attributes.get("sorted", 1) != 1):
        return f"K is above {MAX_TOP}, or the result is not sorted"
    if kind in ("QuantizeLinear", "DequantizeLinear") and (given is None or constants[given].any()):
        return "the zero point is not 0"
    if kind in ("AveragePool", "MaxPool") and ({*attributes.get("dilations", [])} - {1} or len(node.output) > 1):
        return "the window is dilated, or the result has indices"
    if kind == "Resize" and any(attributes.get(name, min(of)) not in of for name, of in RESIZE_CHOICES.items()):
        return "TensorRT cannot resize in this way"
    if kind == "Loop" and len(node.output) > len(node.input) - 2:
        return "the number of results depends on the number of rounds"
    return None


def _type_of(node: onnx.NodeProto, number: int, kind: int | None) -> int | None:
    """Return the type of an output for which shape inference gives none, such as one in the body of a loop."""
    if node.op_type in ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"):
        return TensorProto.BOOL
    if node.op_type in ("ArgMax", "Shape") or (node.op_type == "TopK" and number == 1):
        return TensorProto.INT64
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), kind)
