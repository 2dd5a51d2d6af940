"""Exported networks, run by ONNX Runtime and by PyTorch, compared with the original network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from oracles.norm import stir
from support.golden_network import Golden
from support.tiny_network import tiny_network
from torch import Tensor
from torch.nn import functional

from seamseg.data.transforms import Normalize
from seamseg.export.fixed_network import FixedBoxes, FixedSizeNet, calibrate, enlarged_classes
from seamseg.export.graph_files import output_names, trace, write_onnx, write_torch
from seamseg.export.numpy_fusion import OUTPUTS, Description
from seamseg.modules.abn import ABN
from seamseg.modules.norm import NormName
from seamseg.modules.roi_head import MASK_SIZE
from seamseg.networks import PyramidNet
from seamseg.networks.pyramid import ObjectParts, SemanticParts
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import PackedSequence, SemanticLogits

SIZE = (75, 107)  # no level has exactly half the size of the next finer one
NORMALIZE = Normalize((0.45, 0.4, 0.35), (0.2, 0.25, 0.3))
BIASES = {"full": 0.0, "some": 3.05, "none": 50.0}
"""Biases of the background class that give the maximum number of detections, fewer, or none."""
Run = Callable[[str, Tensor], dict[str, Tensor]]


def described() -> Description:
    return Description(*SIZE, ("a", "b"), ((1, 2, 3), (4, 5, 6)), (1, 2), 1, 0.5, 0.5, 16, "1")


def picture(seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def network(
    bias: float = 0.0, norm: NormName = "bn", all_branches: bool = False, cascade: tuple[float, ...] = ()
) -> PyramidNet:
    """Build a network with nontrivial norm statistics and weights, and with confident masks.

    Optionally, it has convolutions for boxes and a head for points, and scores masks, or it has stages.
    """
    branches: Any = {"box_channels": 8, "mask_scoring": True, "point_head": True} if all_branches else {}
    net = tiny_network(norm, cascade=cascade, **branches).eval()
    for number, module in enumerate(net.modules()):
        if isinstance(module, ABN):
            stir(module, seed=number)
    with torch.no_grad():
        net.roi_head.roi_msk.weight.mul_(30)
        net.rpn_head.conv_bbx.weight.mul_(3)
        for head in (net.roi_head, *net.roi_head.later_stages):
            head.roi_cls.bias.copy_(torch.tensor([bias, 0.1, 0.2]))
            if cascade:
                head.roi_bbx_any.weight.mul_(200)
        if all_branches:
            net.roi_head.roi_iou.weight.mul_(10)
            net.roi_head.roi_iou.bias.fill_(0.3)
            net.roi_head.point.roi_pnt.weight.mul_(100)
    return net


def expected(net: PyramidNet, image: Tensor, normalize: Normalize = NORMALIZE) -> dict[str, Tensor]:
    """Return the outputs of the original network; detections without padding rows."""
    predictions = net.predict(PackedSequence([normalize(image.permute(2, 0, 1))]))
    found = predictions.detections(0)
    return {
        "semantics": upsample_argmax(predictions.semantics(0), (image.shape[0], image.shape[1])).to(torch.uint8),
        "boxes": found.boxes,
        "classes": found.classes + net.roi_heads.num_stuff,
        "scores": found.scores,
        "masks": found.masks,
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    program = trace(FixedSizeNet(network(), NORMALIZE, SIZE))
    write_torch(folder / "model.pt2", program, described())
    write_onnx(folder / "model.onnx", program, described())
    return folder


@pytest.fixture(scope="module", params=["onnx", "torch"])
def run(request: pytest.FixtureRequest, files: Path) -> Run:
    return with_onnx(files) if request.param == "onnx" else with_torch(files)


def with_onnx(files: Path) -> Run:
    def run(kind: str, image: Tensor) -> dict[str, Tensor]:
        model = onnx.load(files / "model.onnx")
        weight = "network.roi_head.roi_cls.weight"
        (name,) = (node.input[2] for node in model.graph.node if node.op_type == "Gemm" and weight in node.input)
        (bias,) = (one for one in model.graph.initializer if one.name == name)
        values = onnx.numpy_helper.to_array(bias).copy()
        values[0] = BIASES[kind]
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(list(OUTPUTS), {"image": image.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, found, strict=True)}

    return run


def with_torch(files: Path) -> Run:
    module = torch.export.load(files / "model.pt2").module()

    def run(kind: str, image: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            module.get_parameter("network.roi_head.roi_cls.bias")[0] = BIASES[kind]
            found: dict[str, Tensor] = module(image)
        return found

    return run


def check(found: dict[str, Tensor], truth: dict[str, Tensor], max_wrong_pixels: int = 0) -> None:
    valid, num = found["valid"], len(truth["boxes"])
    assert valid.tolist() == [True] * num + [False] * (len(valid) - num)
    torch.testing.assert_close(found["boxes"][valid], truth["boxes"], atol=2e-3, rtol=0)
    torch.testing.assert_close(found["scores"][valid], truth["scores"], atol=1e-5, rtol=0)
    wrong = (found["masks"][valid] - truth["masks"]).abs() > 1e-3 + 1e-4 * truth["masks"].abs()
    # Which positions a point head decides about can depend on rounding.
    assert wrong.sum() <= (2e-3 * wrong.numel() if truth["masks"].shape[-1] > MASK_SIZE else 0)
    assert torch.equal(found["classes"][valid], truth["classes"])
    assert all(not found[name][~valid].any() for name in ("boxes", "classes", "scores", "masks"))
    assert (found["semantics"] != truth["semantics"]).sum() <= max_wrong_pixels


@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_exported_network_outputs_equal_the_network(run: Run, kind: str, seed: int) -> None:
    truth = expected(network(BIASES[kind]), picture(seed))
    num, most = len(truth["boxes"]), network().roi_heads.selector.max_predictions
    assert {"full": num == most, "some": 0 < num < most, "none": num == 0}[kind]
    found = run(kind, picture(seed))
    assert {name: (tuple(value.shape), value.dtype) for name, value in found.items()} == {
        "semantics": (SIZE, torch.uint8),
        "boxes": ((most, 4), torch.float32),
        "classes": ((most,), torch.int64),
        "scores": ((most,), torch.float32),
        "masks": ((most, 28, 28), torch.float32),
        "valid": ((most,), torch.bool),
    }
    check(found, truth)
    assert len(truth["semantics"].unique()) > 1


def test_network_finds_more_detections_than_the_limit() -> None:
    """The limit cuts off detections, because a larger limit gives more."""
    net = network()
    net.roi_heads.selector.max_predictions = 1000
    assert all(len(expected(net, picture(seed))["boxes"]) > 20 for seed in (1, 2))


@pytest.mark.parametrize("norm", ["bn", "gn", "mabn"])
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_fixed_size_net_with_all_branches_equals_the_network(norm: NormName, bias: float) -> None:
    net, image = network(bias, norm, all_branches=True), picture(1)
    truth = expected(net, image)
    with torch.no_grad():
        found = FixedSizeNet(net, NORMALIZE, SIZE)(image)
        net.roi_head.has_mask_scores = False
        plain = FixedSizeNet(net, NORMALIZE, SIZE)(image)
    check(found, truth)
    assert found["valid"].sum() == plain["valid"].sum() > 1
    assert not torch.equal(found["boxes"], plain["boxes"]), "the order changes"
    assert (found["scores"] <= plain["scores"].max()).all()


@pytest.mark.parametrize("cascade", [(0.5,), (0.5, 0.6), (0.5, 0.6, 0.7)])
@pytest.mark.parametrize("bias", [0.0, 2.5, 50.0])
def test_fixed_size_net_of_a_cascade_equals_the_network(cascade: tuple[float, ...], bias: float) -> None:
    net, image = network(bias, cascade=cascade), picture(1)
    with torch.no_grad():
        found = FixedSizeNet(net, NORMALIZE, SIZE)(image)
    check(found, expected(net, image))
    assert found["valid"].any() == (bias < 50)


def test_calibrate_keeps_detections_with_a_score_of_0_in_front_of_empty_rows() -> None:
    boxes, valid = torch.arange(120.0).view(30, 4), torch.arange(30) < 20
    scores = torch.tensor([0.9, 0.8, 0.7] + [0.6] * 17 + [0.0] * 10)
    found = FixedBoxes(boxes, torch.arange(30), scores, valid)
    result, order = calibrate(found, torch.tensor([-1.0, 0.5, 2] + [-2.0] * 17 + [1.0] * 10))
    assert order.tolist() == result.classes.tolist() == [2, 1, 0, *range(3, 30)]
    assert result.scores.tolist() == pytest.approx([0.7, 0.4] + [0.0] * 28)
    assert torch.equal(result.valid, valid)
    assert torch.equal(result.boxes, boxes[order])


@pytest.mark.slow
def test_files_of_a_network_with_all_branches_equal_the_network(tmp_path: Path) -> None:
    net, image = network(norm="gn", all_branches=True, cascade=(0.5, 0.6, 0.7)), picture(1)
    program = trace(FixedSizeNet(net, NORMALIZE, SIZE))
    write_onnx(tmp_path / "model.onnx", program, described())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(list(OUTPUTS), {"image": image.numpy()})
    by_onnx = {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, outputs, strict=True)}
    write_torch(tmp_path / "model.pt2", program, described())
    loaded = torch.export.load(tmp_path / "model.pt2")
    assert operators(loaded) <= KNOWN_OPERATORS
    with torch.no_grad():
        by_torch = loaded.module()(image)
    for found in (by_onnx, by_torch):
        check(found, expected(net, image))
        assert found["valid"].sum() > 10


def test_fixed_size_net_does_not_change_the_network() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    FixedSizeNet(net, NORMALIZE, SIZE)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())


def of_task(net: PyramidNet, task: str) -> PyramidNet:
    """Return a network with the heads of a task."""
    if task == "semantic":
        return PyramidNet(net.body, None, SemanticParts(net.sem_head, net.semantic_loss)).eval()
    head = copy.deepcopy(net.roi_head)
    if task == "detection":
        del head.conv, head.roi_msk
        head.has_masks = False
    return PyramidNet(net.body, ObjectParts(net.rpn_head, head, net.rpn, net.roi_heads)).eval()


@pytest.mark.parametrize("task", ["instance", "detection", "semantic"])
def test_fixed_size_net_of_another_task_has_the_outputs_of_its_heads(task: str) -> None:
    net, image = network(), picture(1)
    with torch.no_grad():
        found, every = (FixedSizeNet(one, NORMALIZE, SIZE)(image) for one in (of_task(net, task), net))
    missing = {"instance": {"semantics"}, "detection": {"semantics", "masks"}, "semantic": set(OUTPUTS) - {"semantics"}}
    assert list(found) == [name for name in OUTPUTS if name not in missing[task]]
    assert all(torch.equal(value, every[name]) for name, value in found.items())
    assert found["semantics"].any() if task == "semantic" else found["valid"].any()


def test_file_of_another_task_names_its_outputs(tmp_path: Path) -> None:
    program = trace(FixedSizeNet(of_task(network(), "semantic"), NORMALIZE, SIZE))
    assert output_names(program) == ["semantics"]
    write_onnx(tmp_path / "model.onnx", program, described())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["semantics"], {"image": picture(1).numpy()})
    assert np.array_equal(found, expected(network(), picture(1))["semantics"].numpy())


def test_onnx_file_has_only_standard_operators_and_the_description(files: Path) -> None:
    model: Any = onnx.load(files / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert not {"BatchNormalization", "NonMaxSuppression", "NonZero"} & {node.op_type for node in model.graph.node}
    shapes = [
        [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [[*SIZE, 3], [*SIZE], [20, 4], [20], [20], [20, 28, 28], [20]]
    (entry,) = (entry for entry in model.metadata_props if entry.key == "seamseg")
    assert Description.from_json(entry.value) == described()


KNOWN_OPERATORS = {"aten", "torchvision", "while_loop", "<built-in function getitem>"}


def operators(program: torch.export.ExportedProgram) -> set[str]:
    """Return the libraries of the operators of a program."""
    return {str(node.target).split(".")[0] for node in program.graph.nodes if node.op == "call_function"}


def test_torch_file_has_only_known_operators_and_the_description(files: Path) -> None:
    extra = {"seamseg": ""}
    program = torch.export.load(files / "model.pt2", extra_files=extra)
    assert Description.from_json(extra["seamseg"]) == described()
    assert operators(program) <= KNOWN_OPERATORS


@pytest.mark.parametrize("num_classes", [1, 8, 19])
def test_enlarged_classes_equal_upsample_argmax(num_classes: int) -> None:
    """Integer scores, so that ties are common, also between classes that are upsampled in different groups."""
    logits = torch.randint(0, 3, (num_classes, 6, 9), generator=torch.Generator().manual_seed(0)).float()
    expected = upsample_argmax(SemanticLogits(logits, (24, 36), (24, 36)), (24, 36))
    assert torch.equal(enlarged_classes(logits, (24, 36)).long(), expected)


def test_enlarged_classes_with_nonfinite_scores_equal_upsample_argmax() -> None:
    logits = torch.zeros(11, 4, 4)
    logits[9, 0, 0], logits[2, 3, 3], logits[0, 0, 3] = torch.inf, -torch.inf, torch.nan
    expected = upsample_argmax(SemanticLogits(logits, (16, 16), (16, 16)), (16, 16))
    assert expected[0, 0] == 9
    assert torch.equal(enlarged_classes(logits, (16, 16)).long(), expected)


@pytest.mark.slow
def test_onnx_published_network_equals_the_network(shared: Path, tmp_path: Path) -> None:
    """A ResNet-50 with 65 classes gives the same detections in ONNX Runtime as in PyTorch.

    They also equal the recorded ones, except for the rounding of the input to bytes.
    """
    golden = Golden(shared)
    net = golden.network().eval()
    golden.use_recorded_statistics(net)
    # The recorded inputs are normalized floats, but an exported network takes bytes, so they are rounded.
    normalize = Normalize(golden.experiment.data.mean, golden.experiment.data.std)
    pixels = golden.images().entry(0) * normalize.std + normalize.mean
    image = (pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
    program = trace(FixedSizeNet(net, normalize, (image.shape[0], image.shape[1])))
    write_onnx(tmp_path / "model.onnx", program, described())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(list(OUTPUTS), {"image": image.numpy()})
    found = {name: torch.from_numpy(value) for name, value in zip(OUTPUTS, outputs, strict=True)}
    truth = expected(net, image, normalize)
    valid = found["valid"]
    assert valid.sum() == len(truth["boxes"]) > 50
    rows = [torch.cat([one["boxes"], 1e4 * one["classes"][:, None]], dim=1) for one in (found, truth)]
    distances = torch.cdist(rows[1].double(), rows[0][valid].double(), p=torch.inf)
    assert distances.amin(1).max() < 0.03  # pixels; see golden/test_inference.py
    order = distances.argmin(1)
    torch.testing.assert_close(found["scores"][valid][order], truth["scores"], atol=2e-3, rtol=0)
    # Folding changes the rounding. Here it moves boxes by up to 0.009 pixels and changes 6 of 256 masks by more than
    # 5e-3, at most by 0.033, for logits of up to 15.
    torch.testing.assert_close(found["masks"][valid][order], truth["masks"], atol=0.05, rtol=0)
    wrong = found["semantics"] != truth["semantics"]
    assert wrong.double().mean() < 1e-3
    scores = net.predict(PackedSequence([normalize(image.permute(2, 0, 1))])).semantics(0)
    enlarged = functional.interpolate(scores.logits[None], scores.padded_size, mode="bilinear")[0]
    enlarged = enlarged[:, : image.shape[0], : image.shape[1]]
    chosen, best = (enlarged.gather(0, one["semantics"][None].long())[0][wrong] for one in (found, truth))
    assert (best - chosen < 1e-2).all(), "where the class differs, the scores of both classes are equal up to rounding"
    recorded = np.asarray(golden.numbers["eval/bbx_pred/0"])
    near = torch.cdist(torch.from_numpy(recorded).double(), found["boxes"][valid].double(), p=torch.inf).amin(1)
    assert (near < 0.05).double().mean() > 0.9
