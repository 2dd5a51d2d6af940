"""Panoptic network: gradients, empty images, sizes, options and determinism."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.tiny_network import NUM_STUFF, NUM_THINGS, scenes, tiny_network

from seamseg.modules.norm import NormName
from seamseg.networks import PyramidNet
from seamseg.structures import GroundTruth, Losses, PackedSequence

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(64, 96), (48, 80)]
KINDS = [
    ["objects", "objects"],
    ["objects", "no objects"],
    ["no objects", "objects"],
    ["objects", "void"],
    ["crowd", "objects"],
]
EMPTY_KINDS = [["no objects", "no objects"], ["crowd", "crowd"], ["void", "void"], ["crowd", "void"]]
REGION_LOSSES = ("roi_classes", "roi_boxes", "roi_masks")


def step(network: PyramidNet, images: PackedSequence, truth: GroundTruth, seed: int = 0) -> Losses:
    """Run one forward pass and compute the gradient of the unweighted sum of the losses."""
    losses = network(images, truth, torch.Generator().manual_seed(seed))
    torch.stack([value for _, value in losses.items()]).sum().backward()
    return losses


def numbers(losses: Losses) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in losses.items()}


def assert_finite(losses: Losses) -> None:
    assert all(math.isfinite(value) for value in numbers(losses).values())


def assert_positive(losses: Losses) -> None:
    assert_finite(losses)
    assert all(value > 0 for value in numbers(losses).values())


def assert_gradients_and_statistics_finite(network: PyramidNet) -> None:
    """Check that all gradients and statistics are finite."""
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    for name, buffer in network.named_buffers():
        assert buffer.isfinite().all(), name


def parameters_without_gradient(network: PyramidNet, prefix: str) -> set[str]:
    """Return the parameters of a part whose gradient is zero everywhere."""
    return {
        name
        for name, parameter in network.named_parameters()
        if name.startswith(prefix) and not parameter.grad.any()  # type: ignore[union-attr]
    }


@pytest.mark.parametrize("norm_name", ["bn", "syncbn", "gn", "affine"])
def test_training_step_gives_every_parameter_a_gradient(norm_name: str) -> None:
    network = tiny_network(norm_name)
    losses = step(network, *scenes(["objects", "objects"], SIZES))
    assert_positive(losses)
    assert_gradients_and_statistics_finite(network)
    assert parameters_without_gradient(network, "") == set()


@pytest.mark.parametrize("kinds", KINDS)
def test_training_step_with_objects_in_some_images_has_positive_losses(kinds: list[str]) -> None:
    network = tiny_network()
    losses = step(network, *scenes(kinds, SIZES))
    assert_positive(losses)
    assert_gradients_and_statistics_finite(network)
    assert parameters_without_gradient(network, "") == set()


@pytest.mark.parametrize("norm_name", ["bn", "syncbn", "gn", "affine"])
@pytest.mark.parametrize("kinds", EMPTY_KINDS)
def test_training_step_without_objects_has_zero_region_losses(kinds: list[str], norm_name: str) -> None:
    network = tiny_network(norm_name)
    before = {name: buffer.clone() for name, buffer in network.roi_head.named_buffers() if "num_batches" not in name}
    found = step(network, *scenes(kinds, SIZES))
    assert_finite(found)
    losses = numbers(found)
    assert [losses[name] for name in (*REGION_LOSSES, "rpn_boxes")] == [0, 0, 0, 0]
    assert (losses["rpn_objectness"] > 0) == (kinds != ["crowd", "crowd"])
    assert (losses["semantic"] > 0) == (kinds != ["void", "void"])
    assert_gradients_and_statistics_finite(network)
    assert parameters_without_gradient(network, "roi_head.") == {
        f"roi_head.{name}" for name, _ in network.roi_head.named_parameters()
    }
    assert all(torch.equal(dict(network.roi_head.named_buffers())[name], buffer) for name, buffer in before.items())


@pytest.mark.parametrize("kind", ["objects", "no objects", "crowd", "void"])
@pytest.mark.parametrize("size", [(33, 47), (40, 33), (64, 320)])
def test_training_step_with_one_image_of_any_size_is_finite(size: tuple[int, int], kind: str) -> None:
    network = tiny_network()
    assert_finite(step(network, *scenes([kind], [size])))
    assert_gradients_and_statistics_finite(network)


def test_training_step_with_one_sample_per_channel_raises_value_error() -> None:
    images, truth = scenes(["objects"], [(32, 32)])
    with pytest.raises(ValueError, match="one sample per channel"):
        tiny_network("bn")(images, truth, torch.Generator())
    assert_finite(step(tiny_network("gn"), images, truth))


def test_training_step_with_very_different_image_sizes_is_finite() -> None:
    network = tiny_network()
    losses = step(network, *scenes(["objects"] * 3, [(33, 130), (96, 40), (5, 7)]))
    assert_finite(losses)
    assert_gradients_and_statistics_finite(network)


def test_training_step_with_single_region_uses_running_statistics() -> None:
    network = tiny_network(num_samples=1)  # a quarter of 1 rounds to 0 positives: one background region
    with pytest.warns(UserWarning, match="single region"):
        losses = step(network, *scenes(["objects"], [(64, 96)]))
    assert_finite(losses)
    assert_gradients_and_statistics_finite(network)


@pytest.mark.parametrize("kinds", [["no objects", "no objects"], ["no objects", "void"]])
def test_training_step_with_background_images_trains_only_the_classifier(kinds: list[str]) -> None:
    network = tiny_network(background_images=True)
    losses = numbers(step(network, *scenes(kinds, SIZES)))
    assert losses["roi_classes"] > 0
    assert (losses["roi_boxes"], losses["roi_masks"]) == (0, 0)
    assert_gradients_and_statistics_finite(network)
    without_gradient = parameters_without_gradient(network, "roi_head.")
    assert "roi_head.roi_cls.weight" not in without_gradient
    assert {"roi_head.roi_bbx.weight", "roi_head.roi_msk.weight"} <= without_gradient


@pytest.mark.parametrize("norm_name", ["affine", "bn"])
@pytest.mark.parametrize("kinds", [["objects", "objects"], ["no objects", "objects"], ["no objects", "no objects"]])
def test_masks_of_positives_only_changes_only_batch_statistics(kinds: list[str], norm_name: str) -> None:
    batch = scenes(kinds, SIZES)
    all_masks, positive_masks = (tiny_network(norm_name, masks_of_positives_only=only) for only in (False, True))
    losses, gradients = [], []
    for network in (all_masks, positive_masks):
        losses.append(numbers(step(network, *batch)))
        assert_gradients_and_statistics_finite(network)
        gradients.append(network.roi_head.conv.conv1.weight.grad)
    has_objects = "objects" in kinds
    others = [{name: value for name, value in of.items() if name != "roi_masks"} for of in losses]
    assert others[0] == others[1]
    if norm_name == "affine":
        assert losses[0]["roi_masks"] == pytest.approx(losses[1]["roi_masks"], rel=1e-5)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-7)
    else:
        assert (losses[0]["roi_masks"] != losses[1]["roi_masks"]) == has_objects


def test_training_step_depends_only_on_the_generator() -> None:
    batch = scenes(["objects", "objects"], SIZES)
    first, network = numbers(step(tiny_network(), *batch)), tiny_network()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert numbers(step(network, *batch)) == first
    assert torch.equal(torch.get_rng_state(), state)
    other = numbers(step(tiny_network(), *batch, seed=1))
    assert other["rpn_objectness"] != first["rpn_objectness"]
    assert other["semantic"] == first["semantic"]


def test_training_step_updates_running_statistics_once_per_use() -> None:
    network = tiny_network()
    step(network, *scenes(["objects", "objects"], SIZES))
    uses = {name: int(buffer) for name, buffer in network.named_buffers() if name.endswith("num_batches_tracked")}
    assert uses.pop("rpn_head.bn1.num_batches_tracked") == 4  # once per level
    assert set(uses.values()) == {1}


@pytest.mark.parametrize("sizes", [SIZES, [(33, 47)], [(1, 1)], [(7, 200), (150, 9)]])
@pytest.mark.parametrize("norm_name", ["bn", "gn"])
def test_predict_images_of_any_size_returns_valid_detections(sizes: list[tuple[int, int]], norm_name: str) -> None:
    network = tiny_network(norm_name).eval()
    images, _ = scenes(["objects"] * len(sizes), sizes)
    found = network.predict(images)
    assert found.sizes == tuple(sizes)
    assert found.padded_size == (max(size[0] for size in sizes), max(size[1] for size in sizes))
    assert found.semantic_logits.shape[:2] == (len(sizes), NUM_STUFF + NUM_THINGS)
    assert found.semantic_logits.isfinite().all()
    for image, (height, width) in enumerate(sizes):
        detections = found.detections(image)
        count = len(detections)
        assert count <= 20
        assert detections.masks.shape == (count, 28, 28)
        assert detections.masks.isfinite().all()
        assert ((detections.classes >= 0) & (detections.classes < NUM_THINGS)).all()
        assert ((detections.scores > 0.05) & (detections.scores <= 1)).all()
        assert torch.equal(detections.scores, detections.scores.sort(descending=True).values)
        assert (detections.boxes[:, :2] >= 0).all()
        assert (detections.boxes[:, 2:] <= torch.tensor([height, width])).all()
        assert (detections.boxes[:, 2:] > detections.boxes[:, :2]).all()


def test_predict_with_untrained_network_returns_some_detections() -> None:
    """An untrained network gives each class one third, so the test above examines real detections."""
    found = tiny_network().eval().predict(scenes(["objects", "objects"], SIZES)[0])
    assert min(len(found.detections(image)) for image in range(2)) > 3


@pytest.mark.parametrize("norm_name", ["bn", "gn"])
def test_predict_without_detections_returns_zero_rows(norm_name: str) -> None:
    network = tiny_network(norm_name).eval()
    with torch.no_grad():
        network.roi_head.roi_cls.bias[0] = 100
    found = network.predict(scenes(["void", "objects"], SIZES)[0])
    for image in range(2):
        detections = found.detections(image)
        assert len(detections) == 0
        assert (detections.boxes.shape, detections.masks.shape) == ((0, 4), (0, 28, 28))


def test_predict_is_deterministic_and_changes_nothing() -> None:
    network = tiny_network().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, _ = scenes(["objects"], [(64, 96)])
    kept = images.entry(0).clone()
    first, again = network.predict(images), network.predict(images)
    assert not first.semantic_logits.requires_grad
    assert torch.equal(first.semantic_logits, again.semantic_logits)
    assert torch.equal(first.boxes.entry(0), again.boxes.entry(0))
    assert torch.equal(images.entry(0), kept)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_predict_images_of_one_size_is_independent_per_image() -> None:
    network = tiny_network().eval()
    images, _ = scenes(["objects", "objects"], [(64, 96), (64, 96)])
    together = network.predict(images)
    for image in range(2):
        alone = network.predict(images[image : image + 1])
        torch.testing.assert_close(alone.semantic_logits[0], together.semantic_logits[image], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.boxes.entry(0), together.boxes.entry(image), atol=1e-2, rtol=0)
        torch.testing.assert_close(alone.masks.entry(0), together.masks.entry(image), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("norm", "forms", "optional"),
    [
        ("bn", {}, ()),
        ("gn", {"box_channels": 8, "mask_scoring": True, "point_head": True}, ("roi_points", "roi_mask_scores")),
        ("gn", {"cascade": (0.5, 0.6, 0.7)}, ("roi_classes_2", "roi_classes_3")),
    ],
    ids=["published", "all branches", "cascade"],
)
def test_a_few_training_steps_overfit_one_batch(norm: NormName, forms: Any, optional: tuple[str, ...]) -> None:
    network = tiny_network(norm, **forms)
    batch = scenes(["objects", "no objects"], SIZES)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    history = []
    for iteration in range(25):
        optimizer.zero_grad()
        history.append(numbers(step(network, *batch, seed=iteration)))
        optimizer.step()
    first, last = history[0], history[-1]
    for name in ("rpn_objectness", "roi_classes", "roi_masks", "semantic", *optional):
        assert last[name] < 0.7 * first[name], name
