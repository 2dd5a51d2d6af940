"""What TensorRT's ONNX parser accepts; TensorRT itself needs a GPU.

Source: docs/operators.md of the repository onnx/onnx-tensorrt, in the version for TensorRT 10.15 (opsets 9 to 24). The
table below has those of its operators that exported networks use or may use.
"""

from __future__ import annotations

from typing import Any

import onnx
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


def unsupported_nodes(model: onnx.ModelProto) -> list[str]:
    """Describe the nodes of a model that TensorRT does not support according to its list; none if it supports all."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return _unsupported(inferred.graph, {})


def _unsupported(graph: onnx.GraphProto, outer: dict[str, int]) -> list[str]:
    types = outer | {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    constants = {value.name: value for value in graph.initializer}
    types |= {name: value.data_type for name, value in constants.items()}
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
        if node.op_type == "TopK" and not _is_small_top(node, constants):
            found.append(f"{what}: K is not a constant below {MAX_TOP + 1}, or the result is not sorted")
        is_quantized = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if is_quantized and onnx.numpy_helper.to_array(constants[node.input[2]]).any():
            found.append(f"{what}: the zero point is not 0")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _unsupported(attribute.g, types)
    return found


def _type_of(node: onnx.NodeProto, number: int, kind: int | None) -> int | None:
    """Return the type of an output for which shape inference gives none, such as one in the body of a loop."""
    if node.op_type in ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"):
        return TensorProto.BOOL
    if node.op_type in ("ArgMax", "Shape") or (node.op_type == "TopK" and number == 1):
        return TensorProto.INT64
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), kind)


def _is_small_top(node: Any, constants: dict[str, Any]) -> bool:
    is_sorted = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "sorted")
    number = constants.get(node.input[1])
    return is_sorted and number is not None and int(onnx.numpy_helper.to_array(number).max()) <= MAX_TOP
