"""Semantic networks: loss, gradients, names, and predictions without detections."""

from __future__ import annotations

import pytest
import torch
from oracles import losses as oracle
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import NUM_STUFF, NUM_THINGS, scenes
from torch import Tensor

from seamseg.builders import build_fusion, build_network
from seamseg.builders.network import initialize
from seamseg.networks import PanopticNet, SegmentationNet, SemanticNet
from seamseg.networks.semantic import DeepLabNet, PyramidSemanticNet
from seamseg.structures import GroundTruth, PackedSequence, pad_images

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(64, 96), (48, 80)]
HEADS = {"mini_deeplab": PyramidSemanticNet, "deeplab": DeepLabNet}
each_head = pytest.mark.parametrize("head", HEADS)


def network_of(*overrides: str, seed: int = 0) -> SegmentationNet:
    with narrow_body():
        network = build_network(tiny_experiment(None, *overrides), NUM_STUFF, NUM_THINGS)
    initialize(network, "leaky_relu", 0.01, torch.Generator().manual_seed(seed))
    return network


def semantic_network(head: str, *overrides: str) -> SemanticNet:
    network = network_of("task=semantic", f"sem.head={head}", *overrides)
    assert isinstance(network, SemanticNet)
    return network


def loss_of(network: SemanticNet, images: PackedSequence, truth: GroundTruth) -> Tensor:
    losses = dict(network(images, truth, torch.Generator()).items())
    assert list(losses) == ["semantic"]
    return losses["semantic"]


@each_head
def test_semantic_loss_equals_a_loop_over_pixels(head: str) -> None:
    network = semantic_network(head).double()
    images, truth = scenes(["objects", "crowd"], SIZES)
    images = PackedSequence(image.double() for image in images.present)
    padded = pad_images(images)
    logits = network.logits(network.body(padded.tensor)).detach()
    expected = [
        oracle.semantic_loss(logits[image], padded.padded_size, truth.semantic_target(image)) for image in range(2)
    ]
    assert loss_of(network, images, truth).item() == pytest.approx(sum(expected) / 2, rel=1e-9)


@each_head
@pytest.mark.parametrize("norm_name", ["bn", "syncbn", "gn", "affine"])
def test_training_step_gives_every_parameter_a_gradient(head: str, norm_name: str) -> None:
    network = semantic_network(head, f"norm.name={norm_name}", "norm.groups=4")
    loss_of(network, *scenes(["objects", "no objects"], SIZES)).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


@each_head
def test_training_step_of_void_images_has_zero_loss_and_gradients(head: str) -> None:
    network = semantic_network(head)
    loss = loss_of(network, *scenes(["void", "void"], SIZES))
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is not None and not value.grad.any() for value in network.parameters())


@each_head
def test_predict_has_no_detections_and_a_segment_for_each_class(head: str) -> None:
    network = semantic_network(head).eval()
    images, _ = scenes(["objects", "no objects"], SIZES)
    predictions = network.predict(images)
    assert predictions.sizes == tuple(SIZES)
    fusion = build_fusion(tiny_experiment(None, "task=semantic"), NUM_STUFF, NUM_THINGS)
    for image, size in enumerate(SIZES):
        assert len(predictions.detections(image)) == 0
        fused = fusion(predictions.detections(image), predictions.semantics(image), size)
        segmentation = fused.segmentation
        assert torch.equal(segmentation.semantics, fused.semantics)
        assert segmentation.classes[1:].tolist() == fused.semantics.unique().tolist()
        assert not segmentation.crowd.any()
        assert segmentation.scores[1:].unique().tolist() == [1]


def test_build_fusion_of_the_semantic_task_keeps_single_pixels() -> None:
    fusion = build_fusion(tiny_experiment(None, "task=semantic", "fusion.min_stuff_area=100"), 3, 2)
    assert (fusion.num_stuff, fusion.min_stuff_area) == (5, 0)


@each_head
def test_network_is_built_for_the_head(head: str) -> None:
    assert type(semantic_network(head)) is HEADS[head]


def test_pyramid_network_has_the_names_and_numbers_of_the_panoptic_network() -> None:
    panoptic, semantic = network_of(seed=1), semantic_network("mini_deeplab")
    assert isinstance(panoptic, PanopticNet)
    shared = {name: value for name, value in panoptic.state_dict().items() if name.startswith(("body.", "sem_head."))}
    semantic.load_state_dict(shared, strict=True)
    images, _ = scenes(["objects", "no objects"], SIZES)
    one, other = panoptic.eval().predict(images), semantic.eval().predict(images)
    assert torch.equal(one.semantic_logits, other.semantic_logits)


def test_pyramid_network_has_no_extra_levels() -> None:
    """Nothing would use them, and several processes would wait for their gradients."""
    names = semantic_network("mini_deeplab", "fpn.extra_levels=2").state_dict()
    assert [name for name in names if ".extra." in name] == []


def test_deeplab_network_has_the_published_parts_and_the_stride_of_the_last_level() -> None:
    network = semantic_network("deeplab", "body.name=wide_resnet38_a2_dilated").eval()
    assert {name.partition(".")[0] for name in network.state_dict()} == {"body", "head", "cls"}
    images, _ = scenes(["objects"], SIZES[:1])
    assert network.predict(images).semantic_logits.shape == (1, NUM_STUFF + NUM_THINGS, 8, 12)
