"""Exported networks for images of one size, run by ONNX Runtime and by PyTorch, compared with the original network.

``test_graph_files_any_size.py`` runs a network for images of any size.
"""

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
from support.exported_network import (
    NORMALIZE,
    SIZE,
    check_outputs,
    described,
    expected_outputs,
    exportable_network,
    image_outputs,
    picture,
    pictures,
)
from support.full_disk import file_size_limit
from support.golden_network import Golden
from support.tensorrt import unsupported_nodes
from torch.export import ExportedProgram
from torch.nn import functional

from seamseg.data.transforms import Normalize
from seamseg.errors import SeamsegError
from seamseg.export import graph_files
from seamseg.export.fixed_network import ExportableNet, FixedBoxes, calibrate, enlarged_classes
from seamseg.export.graph_files import output_names, trace, write_onnx, write_torch
from seamseg.export.numpy_fusion import OUTPUTS, Description
from seamseg.modules.norm import NormName
from seamseg.networks import PyramidNet
from seamseg.networks.pyramid import ObjectParts, SemanticParts
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import PackedSequence, SemanticLogits


def test_network_finds_more_detections_than_the_limit() -> None:
    """The limit cuts off detections, because a larger limit gives more."""
    net = exportable_network()
    net.roi_heads.selector.max_predictions = 1000
    assert all(len(expected_outputs(net, picture(seed))["boxes"]) > 20 for seed in (1, 2))


@pytest.mark.parametrize("norm", ["bn", "gn", "mabn"])
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_exportable_net_with_all_branches_equals_the_network(norm: NormName, bias: float) -> None:
    net, images = exportable_network(bias, norm, all_branches=True), pictures(2)
    truth = [expected_outputs(net, image) for image in images]
    with torch.no_grad():
        found = ExportableNet(net, NORMALIZE, SIZE)(images)
        net.roi_head.has_mask_scores = False
        plain = ExportableNet(net, NORMALIZE, SIZE)(images)
    for index in range(2):
        check_outputs(image_outputs(found, index), truth[index])
    assert found["valid"].sum() == plain["valid"].sum() > 2
    assert not torch.equal(found["boxes"], plain["boxes"]), "the order changes"
    assert (found["scores"] <= plain["scores"].max()).all()


@pytest.mark.parametrize("cascade", [(0.5,), (0.5, 0.6), (0.5, 0.6, 0.7)])
@pytest.mark.parametrize("bias", [0.0, 2.5, 50.0])
def test_exportable_net_of_a_cascade_equals_the_network(cascade: tuple[float, ...], bias: float) -> None:
    net, image = exportable_network(bias, cascade=cascade), picture(1)
    with torch.no_grad():
        found = image_outputs(ExportableNet(net, NORMALIZE, SIZE)(image[None]), 0)
    check_outputs(found, expected_outputs(net, image))
    assert found["valid"].any() == (bias < 50)


def test_calibrate_keeps_detections_with_a_score_of_0_in_front_of_empty_rows() -> None:
    boxes, valid = torch.arange(120.0).view(1, 30, 4), torch.arange(30)[None] < 20
    scores = torch.tensor([[0.9, 0.8, 0.7] + [0.6] * 17 + [0.0] * 10])
    found = FixedBoxes(boxes, torch.arange(30)[None], scores, valid)
    result, order = calibrate(found, torch.tensor([[-1.0, 0.5, 2] + [-2.0] * 17 + [1.0] * 10]))
    assert order[0].tolist() == result.classes[0].tolist() == [2, 1, 0, *range(3, 30)]
    assert result.scores[0].tolist() == pytest.approx([0.7, 0.4] + [0.0] * 28)
    assert torch.equal(result.valid, valid)
    assert torch.equal(result.boxes, boxes[:, order[0]])


@pytest.mark.slow
def test_files_of_a_network_with_all_branches_equal_the_network(tmp_path: Path) -> None:
    net, images = exportable_network(norm="gn", all_branches=True, cascade=(0.5, 0.6, 0.7)), pictures(2)
    program = trace(ExportableNet(net, NORMALIZE, SIZE), batch=2)
    write_onnx(tmp_path / "model.onnx", program, described(batch=2))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    by_onnx = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"images": images.numpy()}), strict=True))
    write_torch(tmp_path / "model.pt2", program, described(batch=2))
    extra = {"seamseg": ""}
    loaded = torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert Description.from_json(extra["seamseg"]) == described(batch=2)
    assert operators(loaded) <= KNOWN_OPERATORS
    with torch.no_grad():
        by_torch = loaded.module()(images)
    for found in (by_onnx, by_torch):
        for index, image in enumerate(images):
            check_outputs(image_outputs(found, index), expected_outputs(net, image))
            assert found["valid"][index].sum() > 10
    check_onnx_file(onnx.load(tmp_path / "model.onnx"))


def check_onnx_file(model: Any) -> None:
    """Check operators, shapes and metadata of an exported file with all outputs."""
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert not {"BatchNormalization", "NonMaxSuppression", "NonZero"} & {node.op_type for node in model.graph.node}
    assert unsupported_nodes(model) == []
    shapes = [
        [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [[2, *SIZE, 3], [2, *SIZE], [2, 20, 4], [2, 20], [2, 20], [2, 20, 224, 224], [2, 20]]
    (entry,) = (entry for entry in model.metadata_props if entry.key == "seamseg")
    assert Description.from_json(entry.value) == described(batch=2)
    assert str(Path(__file__).parents[2]).encode() not in model.SerializeToString(), "no path of this machine"


KNOWN_OPERATORS = {"aten", "torchvision", "while_loop", "<built-in function getitem>"}


def operators(program: torch.export.ExportedProgram) -> set[str]:
    """Return the libraries of the operators of a program."""
    return {str(node.target).split(".")[0] for node in program.graph.nodes if node.op == "call_function"}


def test_exportable_net_does_not_change_the_network() -> None:
    net = exportable_network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ExportableNet(net, NORMALIZE, SIZE)
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
def test_exportable_net_of_another_task_has_the_outputs_of_its_heads(task: str) -> None:
    net, images = exportable_network(), pictures(1)
    with torch.no_grad():
        found, every = (ExportableNet(one, NORMALIZE, SIZE)(images) for one in (of_task(net, task), net))
    missing = {"instance": {"semantics"}, "detection": {"semantics", "masks"}, "semantic": set(OUTPUTS) - {"semantics"}}
    assert list(found) == [name for name in OUTPUTS if name not in missing[task]]
    assert all(torch.equal(value, every[name]) for name, value in found.items())
    assert found["semantics"].any() if task == "semantic" else found["valid"].any()


@pytest.fixture(scope="module")
def semantic() -> ExportedProgram:
    return trace(ExportableNet(of_task(exportable_network(), "semantic"), NORMALIZE, SIZE))


def test_file_of_another_task_names_its_outputs(semantic: ExportedProgram, tmp_path: Path) -> None:
    assert output_names(semantic) == ["semantics"]
    write_onnx(tmp_path / "model.onnx", semantic, described())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["semantics"], {"images": pictures(1).numpy()})
    assert np.array_equal(found[0], expected_outputs(exportable_network(), picture(1))["semantics"].numpy())


def test_write_onnx_network_above_the_limit_of_the_format_is_refused(
    semantic: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_bytes = sum(value.nbytes for value in semantic.state_dict.values())
    monkeypatch.setattr(graph_files, "MAX_WEIGHT_BYTES", num_bytes - 1)
    with pytest.raises(SeamsegError, match=r"cannot hold more than.*export-torch"):
        write_onnx(tmp_path / "model.onnx", semantic, described())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [write_onnx, write_torch])
def test_write_on_a_full_disk_raises_an_os_error_and_leaves_no_file(
    semantic: ExportedProgram, tmp_path: Path, write: Callable[..., None]
) -> None:
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path / "model", semantic, described())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_classes", [1, 8, 19])
def test_enlarged_classes_equal_upsample_argmax(num_classes: int) -> None:
    """Integer scores, so that ties are common, also between classes that are upsampled in different groups."""
    logits = torch.randint(0, 3, (num_classes, 6, 9), generator=torch.Generator().manual_seed(0)).float()
    expected = upsample_argmax(SemanticLogits(logits, (24, 36), (24, 36)), (24, 36))
    assert torch.equal(enlarged_classes(logits[None], (24, 36))[0].long(), expected)


def test_enlarged_classes_with_nonfinite_scores_equal_upsample_argmax() -> None:
    logits = torch.zeros(11, 4, 4)
    logits[9, 0, 0], logits[2, 3, 3], logits[0, 0, 3] = torch.inf, -torch.inf, torch.nan
    expected = upsample_argmax(SemanticLogits(logits, (16, 16), (16, 16)), (16, 16))
    assert expected[0, 0] == 9
    assert torch.equal(enlarged_classes(logits[None], (16, 16))[0].long(), expected)


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
    program = trace(ExportableNet(net, normalize, (image.shape[0], image.shape[1])))
    write_onnx(tmp_path / "model.onnx", program, described())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(list(OUTPUTS), {"images": image[None].numpy()})
    found = image_outputs(dict(zip(OUTPUTS, outputs, strict=True)), 0)
    truth = expected_outputs(net, image, normalize)
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
