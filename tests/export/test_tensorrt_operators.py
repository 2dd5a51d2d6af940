"""The check of exported graphs against TensorRT's list finds every kind of node that TensorRT does not support."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tensorrt import unsupported_nodes

CONSTANTS = {
    "one": np.array([1]),
    "many": np.array([3840]),
    "scale": np.float32(0.5),
    "zero": np.int8(0),
    "not_zero": np.int8(3),
    "sizes": np.array([1, 1, 8, 8]),
}


def model(operator: str, *inputs: str, outputs: int = 1, kind: int = TensorProto.FLOAT, **attributes: Any) -> Any:
    """Return a model of one node; the input x is 1×1×4×4000, and n is not a constant."""
    node = helper.make_node(operator, inputs, [f"y{number}" for number in range(outputs)], "node", **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [
            helper.make_tensor_value_info("x", kind, (1, 1, 4, 4000)),
            helper.make_tensor_value_info("n", TensorProto.INT64, (1,)),
        ],
        [],
        [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


RESIZE = ("Resize", "x", "", "", "sizes")


@pytest.mark.parametrize(
    ("expected", "graph"),
    [
        (None, model("Relu", "x")),
        ("NonZero node", model("NonZero", "x")),
        ("Relu node of type DOUBLE", model("Relu", "x", kind=TensorProto.DOUBLE)),
        (None, model("TopK", "x", "one", outputs=2)),
        ("K is above 3839", model("TopK", "x", "many", outputs=2)),
        ("not sorted", model("TopK", "x", "one", outputs=2, sorted=0)),
        ("input 1 is not a constant", model("TopK", "x", "n", outputs=2)),
        (None, model("ReduceMax", "x", "one")),
        ("input 1 is not a constant", model("ReduceMax", "x", "n")),
        (None, model("QuantizeLinear", "x", "scale", "zero")),
        ("zero point is not 0", model("QuantizeLinear", "x", "scale", "not_zero")),
        ("zero point is not 0", model("QuantizeLinear", "x", "scale")),
        (None, model("MaxPool", "x", kernel_shape=[2, 2])),
        ("dilated", model("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 2])),
        ("has indices", model("MaxPool", "x", outputs=2, kernel_shape=[2, 2])),
        (None, model(*RESIZE, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")),
        ("cannot resize", model(*RESIZE, mode="cubic")),
        ("cannot resize", model(*RESIZE, mode="linear", antialias=1)),
    ],
)
def test_unsupported_nodes_describe_the_node_and_its_fault(expected: str | None, graph: onnx.ModelProto) -> None:
    found = unsupported_nodes(graph)
    assert len(found) == (expected is not None)
    assert all(expected in one for one in found)


@pytest.mark.parametrize(("results", "expected"), [(["kept"], []), (["kept", "of_all_rounds"], ["Loop node"])])
def test_unsupported_nodes_of_a_loop_are_found_in_and_at_it(results: list[str], expected: list[str]) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Relu", ["v"], ["w"]), helper.make_node("NonZero", ["v"], ["z"], "inner")],
        "body",
        [value("i", TensorProto.INT64, ()), value("c", TensorProto.BOOL, ()), value("v", TensorProto.FLOAT, (4,))],
        [value(name, kind, None) for name, kind in (("c", TensorProto.BOOL), ("w", TensorProto.FLOAT))]
        + [value("w", TensorProto.FLOAT, None) for _ in results[1:]],
    )
    loop = helper.make_node("Loop", ["", "go", "x"], results, "node", body=body)
    inputs = [value("go", TensorProto.BOOL, ()), value("x", TensorProto.FLOAT, (4,))]
    model = helper.make_model(
        helper.make_graph([loop], "graph", inputs, []), opset_imports=[helper.make_opsetid("", 18)]
    )
    found = [one.split(":")[0] for one in unsupported_nodes(model)]
    assert found == [*expected, "NonZero inner"]
