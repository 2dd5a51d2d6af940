"""torchvision's Mask R-CNN in our training loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.tiny_dataset import write_tiny_panoptic
from support.tiny_experiment import NARROW, narrow_body, write_tiny_splits
from torch import Tensor

from benchmarks import accuracy_peer
from benchmarks.accuracy_peer import CONFIG, CPU, MaskRCNNPeer, build_peer
from benchmarks.network_peers import mask_rcnn_targets
from seamseg.builders.data import build_evaluation_loader, build_training_loader, open_split, open_training_split
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.config import Experiment, load_experiment, settings_file
from seamseg.export.model_file import read_model
from seamseg.runtime.training_progress import TrainingProgress
from seamseg.score.objects import score_objects
from seamseg.structures import Batch, GroundTruth, PackedSequence

OVERRIDES = (*NARROW, "body={name: resnet18}", "training.num_pictures=0", "training.epochs=1", "data.val_limit=1")


@pytest.fixture(autouse=True)
def narrow() -> Iterator[None]:
    with narrow_body(16):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_splits(tmp_path_factory.mktemp("data"))


def experiment_of(data: Path, *overrides: str) -> Experiment:
    return load_experiment(settings_file(CONFIG), [f"data.root={data}", *OVERRIDES, *overrides])


def peer_of(experiment: Experiment) -> MaskRCNNPeer:
    return build_peer(experiment, open_training_split(experiment).categories)


def first_batch(experiment: Experiment) -> Batch:
    loader = build_training_loader(experiment, open_training_split(experiment), CPU, TrainingProgress())
    return next(iter(loader.epoch(0)))


def test_targets_have_things_without_crowd_in_the_form_of_torchvision() -> None:
    ids = torch.tensor([[1, 1, 1, 3], [1, 2, 1, 3]])
    truth = GroundTruth(
        PackedSequence([ids[None]]),
        PackedSequence([torch.tensor([255, 0, 1, 1])]),
        PackedSequence([torch.tensor([False, False, False, True])]),
        PackedSequence([torch.tensor([[-1.0, -1, -1, -1], [0, 0, 2, 3], [1, 1, 2, 2], [0, 3, 2, 4]])]),
    )
    (target,) = mask_rcnn_targets(truth, num_stuff=1)
    assert target["boxes"].tolist() == [[1, 1, 2, 2]]  # x0, y0, x1, y1
    assert target["labels"].tolist() == [1]
    assert target["masks"].tolist() == [[[0, 0, 0, 0], [0, 1, 0, 0]]]


def test_peer_has_our_body_and_the_widths_of_the_config(data: Path) -> None:
    experiment = experiment_of(data)
    peer = peer_of(experiment)
    ours = build_initialized_network(experiment, open_training_split(experiment).categories)
    body = peer.network.backbone.body.state_dict()
    assert all(torch.equal(body[name], value) for name, value in ours.body.state_dict().items())
    roi, rpn = peer.network.roi_heads, peer.network.rpn.head
    assert [rpn.cls_logits.in_channels, rpn.cls_logits.out_channels] == [16, 3]
    assert [roi.box_head.fc6.out_features, roi.box_predictor.cls_score.out_features] == [32, 3]
    assert roi.mask_predictor.conv5_mask.in_channels == 16
    assert peer.network.rpn.anchor_generator.sizes == ((10,), (20,), (40,), (80,))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_peer_has_the_losses_of_things_and_trains_all_parts(data: Path, precision: str) -> None:
    experiment = experiment_of(data)
    peer, batch = peer_of(experiment).train(), first_batch(experiment)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        losses = dict(peer(batch.images, batch.ground_truth, torch.Generator()).items())
    assert list(losses) == ["rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks"]
    total = torch.stack(list(losses.values())).sum()
    assert total.dtype == torch.float32
    assert total.isfinite()
    torch.autograd.backward(total)
    missing = [name for name, parameter in peer.named_parameters() if parameter.grad is None]
    assert missing == []


def test_peer_accepts_images_without_objects(tmp_path: Path) -> None:
    write_tiny_panoptic(tmp_path, split="train", num_images=1, images_without_objects=[0])
    experiment = experiment_of(tmp_path)
    batch = first_batch(experiment)
    losses = dict(peer_of(experiment).train()(batch.images, batch.ground_truth, torch.Generator()).items())
    assert losses["roi_boxes"] == losses["roi_masks"] == losses["rpn_boxes"] == 0
    assert losses["rpn_objectness"].isfinite()


def test_peer_sees_images_at_their_size_and_computes_boxes_in_float32(data: Path) -> None:
    experiment = experiment_of(data)
    peer = peer_of(experiment).eval()
    seen: dict[str, Tensor] = {}
    peer.network.rpn.head.register_forward_hook(
        lambda _, inputs, output: seen.update(level=inputs[0][0], out=output[1][0])
    )
    peer.network.roi_heads.box_predictor.register_forward_hook(lambda _, inputs, output: seen.update(deltas=output[1]))
    (image,) = torch.rand(1, 3, 64, 96)
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = peer.detect(PackedSequence([image]), [(128, 192)])
    assert seen["level"].shape[2:] == (16, 24)  # torchvision's own transform would have enlarged it to 800 pixels
    assert {tensor.dtype for tensor in seen.values()} == {torch.float32}
    assert found["masks"].shape[2:] == (128, 192)


def test_peer_keeps_its_frozen_part_in_evaluation_mode(data: Path) -> None:
    experiment = experiment_of(data)
    network = peer_of(experiment).network
    peer = MaskRCNNPeer(network, 2, frozen="backbone.body").train()
    assert not any(module.training for module in network.backbone.body.modules())
    assert peer.network.rpn.training


def test_training_is_repeatable_and_its_detections_can_be_scored(data: Path, tmp_path: Path) -> None:
    settings = [f"data.root={data}", *OVERRIDES]
    for name in ("a", "b"):
        accuracy_peer.main(["train", str(tmp_path / name), *settings])
    first, second = (read_model(tmp_path / name / "model.safetensors").tensors for name in ("a", "b"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    start = peer_of(experiment_of(data)).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in first.items())
    accuracy_peer.main(["detect", str(tmp_path / "a"), *settings])
    results = json.loads((tmp_path / "a" / "instances.json").read_text())
    assert isinstance(results, list)


def test_true_objects_as_detections_have_an_average_precision_of_one(data: Path, tmp_path: Path) -> None:
    experiment = experiment_of(data)
    split = open_split(str(data), "val", None)
    things = [category.original_id for category in split.categories.classes[split.categories.num_stuff :]]
    results = []
    for batch in build_evaluation_loader(experiment, split, CPU).epoch(0):
        for number, image_id in enumerate(batch.image_ids):
            objects = batch.ground_truth.objects(number, split.categories.num_stuff)
            masks = batch.ground_truth.ids.entry(number)[0] == objects.segment_ids[:, None, None]
            found = {
                "boxes": objects.boxes[:, [1, 0, 3, 2]],
                "labels": objects.classes + 1,
                "scores": torch.ones(len(masks)),
                "masks": masks[:, None].float(),
            }
            results += [{"image_id": image_id, **entry} for entry in accuracy_peer.coco_results(found, things)]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    scores = score_objects(data / "annotations" / "panoptic_val.json", file, None, None, lambda *_: None).scores
    assert scores.mask is not None
    assert (scores.box.ap, scores.mask.ap) == (1, 1)
