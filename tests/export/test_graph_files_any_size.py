"""A network for any number of images of any size, in ONNX Runtime, PyTorch and OpenVINO, in float32 and in int8.

All tests use one export, which takes most of the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.exported_network import (
    BIASES,
    NORMALIZE,
    check_outputs,
    described,
    expected_outputs,
    exportable_network,
    image_outputs,
    pictures,
)
from support.tensorrt import unsupported_nodes
from torch import Tensor

from seamseg.export.fixed_network import ExportableNet
from seamseg.export.graph_files import trace, write_onnx, write_torch
from seamseg.export.numpy_fusion import OUTPUTS, Description, fuse, one_image
from seamseg.export.quantization import is_quantized, quantize
from seamseg.structures import Size

CASES: list[tuple[int, Size]] = [(1, (64, 64)), (2, (160, 96)), (3, (64, 288))]
"""Numbers and sizes of images. One level of the last size is wider than the window of the semantic head."""
Run = Callable[[Tensor], dict[str, Any]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    program = trace(ExportableNet(exportable_network(), NORMALIZE, None), batch=None)
    write_torch(folder / "model.pt2", program, described(None, None))
    write_onnx(folder / "model.onnx", program, described(None, None))
    return folder


def with_bias(path: Path, kind: str) -> bytes:
    """Return an ONNX file with another bias of the background class."""
    model = onnx.load(path)
    weight = "network.roi_head.roi_cls.weight"
    (name,) = (node.input[2] for node in model.graph.node if node.op_type == "Gemm" and weight in node.input)
    (bias,) = (one for one in model.graph.initializer if one.name == name)
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] = BIASES[kind]
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return model.SerializeToString()


def with_onnxruntime(model: bytes) -> Run:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"images": images.numpy()}), strict=True))


def with_openvino(model: bytes) -> Run:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed; tests/peers.sh installs it")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Tensor) -> dict[str, Any]:
        found = compiled([images.numpy()])
        return {name: found[name].copy() for name in OUTPUTS}

    return run


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "torch"])
def with_kind(request: pytest.FixtureRequest, files: Path) -> Callable[[str], Run]:
    """Return a function from a key of ``BIASES`` to a runtime with a network with this bias."""
    if request.param != "torch":
        runtime = {"onnxruntime": with_onnxruntime, "openvino": with_openvino}[request.param]
        return lambda kind: runtime(with_bias(files / "model.onnx", kind))
    module = torch.export.load(files / "model.pt2").module()

    def with_torch(kind: str) -> Run:
        with torch.no_grad():
            module.get_parameter("network.roi_head.roi_cls.bias")[0] = BIASES[kind]
        return torch.no_grad()(lambda images: dict(module(images)))

    return with_torch


@pytest.mark.slow
@pytest.mark.parametrize("kind", BIASES)
def test_file_for_any_size_outputs_equal_the_network(with_kind: Callable[[str], Run], kind: str) -> None:
    net, run = exportable_network(BIASES[kind]), with_kind(kind)
    most, counts = net.roi_heads.selector.max_predictions, []
    for number, size in CASES:
        images = pictures(number, size)
        found = run(images)
        assert {
            name: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in found.items()
        } == {
            "semantics": ((number, *size), "uint8"),
            "boxes": ((number, most, 4), "float32"),
            "classes": ((number, most), "int64"),
            "scores": ((number, most), "float32"),
            "masks": ((number, most, 28, 28), "float32"),
            "valid": ((number, most), "bool"),
        }
        for index, image in enumerate(images):
            truth = expected_outputs(net, image)
            counts.append(len(truth["boxes"]))
            check_outputs(image_outputs(found, index), truth)
            assert len(truth["semantics"].unique()) > 1
    assert {"full": min(counts) == most, "some": 0 < min(counts) < most, "none": max(counts) == 0}[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "batch"), [((96, 64), None), pytest.param(None, 2, marks=pytest.mark.manual, id="any-size-2")]
)
def test_file_for_any_number_or_any_size_equals_the_network(
    size: Size | None, batch: int | None, tmp_path: Path
) -> None:
    net = exportable_network(BIASES["some"])
    write_onnx(tmp_path / "model.onnx", trace(ExportableNet(net, NORMALIZE, size), batch), described(size, batch))
    run = with_onnxruntime((tmp_path / "model.onnx").read_bytes())
    for number, shape in ((batch or 1, size or (64, 96)), (batch or 3, size or (160, 64))):
        images = pictures(number, shape)
        found = run(images)
        for index, image in enumerate(images):
            check_outputs(image_outputs(found, index), expected_outputs(net, image))


@pytest.mark.parametrize("runtime", [with_onnxruntime, with_openvino])
def test_file_for_any_size_refuses_sides_that_are_not_multiples_of_32_or_below_64(
    files: Path, runtime: Callable[[bytes], Run]
) -> None:
    run = runtime((files / "model.onnx").read_bytes())
    for size in ((65, 96), (96, 95), (48, 160), (32, 64), (64, 32)):
        with pytest.raises(Exception, match="must_be_multiples_of_32_and_at_least_64"):
            run(pictures(1, size))


def test_file_for_any_size_names_its_axes_and_has_the_description(files: Path) -> None:
    model = onnx.load(files / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    axes = [
        [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    batch, size = "batch", ("height", "width")
    detections = [[batch, 20, 4], [batch, 20], [batch, 20], [batch, 20, 28, 28], [batch, 20]]
    assert axes == [[batch, *size, 3], [batch, *size], *detections]
    (entry,) = (entry for entry in model.metadata_props if entry.key == "seamseg")
    assert Description.from_json(entry.value) == described(None, None)
    assert json.loads(entry.value)["height"] is None


def test_file_for_any_size_has_only_operators_of_tensorrt(files: Path) -> None:
    assert unsupported_nodes(onnx.load(files / "model.onnx")) == []


@pytest.fixture(scope="module")
def int8(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{index}.png" for index in range(3)]
    for path, image in zip(paths, pictures(3, (100, 150)), strict=True):
        cv2.imwrite(str(path), image.numpy())
    quantize(files / "model.onnx", folder / "int8.onnx", paths)
    return folder / "int8.onnx"


def test_quantized_file_is_smaller_and_has_integers_in_all_large_layers(files: Path, int8: Path) -> None:
    model = onnx.load(int8)
    onnx.checker.check_model(model, full_check=True)
    weights = {one.name: one for one in model.graph.initializer}
    integers = [one for one in weights.values() if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1]
    floats = [one for one in weights.values() if one.data_type == onnx.TensorProto.FLOAT and len(one.dims) > 1]
    assert sum(np.prod(one.dims) for one in integers) > 0.95 * sum(np.prod(one.dims) for one in (*integers, *floats))
    assert unsupported_nodes(model) == []
    (entry,) = (entry for entry in model.metadata_props if entry.key == "seamseg")
    assert Description.from_json(entry.value) == described(None, None)


@pytest.mark.parametrize(
    ("name", "operator", "expected"),
    [
        ("body.mod1.conv1/node_conv2d", "Conv", True),
        ("body.fpn/node_add", "Add", True),
        ("roi_head.fc.fc1/node_linear", "Gemm", True),
        ("roi_head.stages.2.fc.fc1/node_linear", "Gemm", True),
        ("roi_head.stages.2.roi_cls/node_linear", "Gemm", False),
        ("roi_head.point.fc1/node_linear", "Gemm", False),
        ("rpn_head.conv_bbx/node_conv2d_3", "Conv", False),
        ("sem_head/node_conv2d_9", "Conv", False),
        ("sem_head.output.0/node_cumsum", "CumSum", False),
        ("node_add_7", "Add", False),
        ("node_matmul", "MatMul", False),
    ],
)
def test_layers_before_the_last_ones_are_quantized(name: str, operator: str, expected: bool) -> None:
    assert is_quantized(name, operator) == expected


@pytest.mark.parametrize("runtime", [with_onnxruntime, with_openvino])
def test_quantized_file_outputs_resemble_those_of_float32(files: Path, int8: Path, runtime: Any) -> None:
    images = pictures(2, (96, 128))
    expected = with_onnxruntime((files / "model.onnx").read_bytes())(images)
    found = runtime(int8.read_bytes())(images)
    same = (found["semantics"] == expected["semantics"]).mean()
    assert 0.8 < same < 1, "close, but not computed in float32"
    for index in range(2):
        segmentation = fuse(one_image(found, index), described(None, None))
        assert len(segmentation.classes) > 2
