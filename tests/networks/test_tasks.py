"""Networks of each task: losses, gradients, names, and predictions without the missing parts."""

from __future__ import annotations

import pytest
import torch
from oracles import losses as oracle
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import NUM_STUFF, NUM_THINGS, scenes
from torch import Tensor

from seamseg.builders import build_fusion, build_network
from seamseg.builders.network import initialize
from seamseg.errors import SettingsError
from seamseg.networks import DeepLabNet, PyramidNet, SegmentationNet
from seamseg.structures import GroundTruth, PackedSequence, Predictions, pad_images

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(64, 96), (48, 80)]
HEADS = {"mini_deeplab": PyramidNet, "deeplab": DeepLabNet}
each_head = pytest.mark.parametrize("head", HEADS)


def network_of(
    *overrides: str, seed: int = 0, num_stuff: int = NUM_STUFF, num_things: int = NUM_THINGS
) -> SegmentationNet:
    with narrow_body():
        network = build_network(tiny_experiment(None, *overrides), num_stuff, num_things)
    initialize(network, "leaky_relu", 0.01, torch.Generator().manual_seed(seed))
    return network


def semantic_network(head: str, *overrides: str) -> SegmentationNet:
    return network_of("task=semantic", f"sem.head={head}", *overrides)


def loss_of(network: SegmentationNet, images: PackedSequence, truth: GroundTruth) -> Tensor:
    losses = dict(network(images, truth, torch.Generator()).items())
    assert list(losses) == ["semantic"]
    return losses["semantic"]


@each_head
def test_semantic_loss_equals_a_loop_over_pixels(head: str) -> None:
    network = semantic_network(head).double()
    images, truth = scenes(["objects", "crowd"], SIZES)
    images = PackedSequence(image.double() for image in images.present)
    padded = pad_images(images)
    if isinstance(network, DeepLabNet):
        logits = network.logits(padded.tensor).detach()
    else:
        logits = network.sem_head(network.body(padded.tensor)).detach()
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


LOSSES = {
    "instance": ["rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks"],
    "detection": ["rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes"],
    "semantic": ["semantic"],
}
each_task = pytest.mark.parametrize("task", LOSSES)


def pair_of(task: str, *overrides: str) -> tuple[SegmentationNet, SegmentationNet]:
    """Build a panoptic network and one of a task, with the same weights where both have them."""
    panoptic, network = network_of(*overrides, seed=1), network_of(f"task={task}", *overrides)
    names = network.state_dict().keys()
    shared = {name: value for name, value in panoptic.state_dict().items() if name in names}
    network.load_state_dict(shared, strict=True)
    return panoptic, network


@each_task
@pytest.mark.parametrize("overrides", [[], ["norm.name=gn", "norm.groups=4", "roi.masks_of_positives_only=true"]])
def test_losses_equal_those_of_the_panoptic_network_on_the_same_batch(task: str, overrides: list[str]) -> None:
    panoptic, network = pair_of(task, *overrides)
    images, truth = scenes(["objects", "crowd"], SIZES)
    all_losses, losses = (
        dict(one(images, truth, torch.Generator().manual_seed(3)).items()) for one in (panoptic, network)
    )
    assert list(losses) == LOSSES[task]
    assert {name: all_losses[name].item() for name in losses} == {name: one.item() for name, one in losses.items()}
    assert all(value > 0 for value in losses.values())


@each_task
def test_predictions_equal_those_of_the_panoptic_network(task: str) -> None:
    panoptic, network = (one.eval() for one in pair_of(task))
    images, _ = scenes(["objects", "no objects"], SIZES)
    expected, found = panoptic.predict(images), network.predict(images)
    assert sum(map(len, expected.boxes)) > 0
    names = {"instance": ("boxes", "classes", "scores", "masks"), "detection": ("boxes", "classes", "scores")}
    for name in names.get(task, ()):
        pairs = zip(getattr(expected, name), getattr(found, name), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    if task == "semantic":
        assert torch.equal(expected.semantic_logits, found.semantic_logits)
    assert_missing_parts_are_empty(found, task)


def assert_missing_parts_are_empty(found: Predictions, task: str) -> None:
    for image in range(len(found)):
        detections, semantics = found.detections(image), found.semantics(image)
        assert detections.has_masks == (task == "instance")
        assert semantics.has_classes == (task == "semantic")
        assert semantics.size == SIZES[image]
        assert (len(detections) == 0) == (task == "semantic")


@each_task
@pytest.mark.parametrize("kinds", [["objects", "no objects"], ["crowd", "void"]])
def test_training_step_of_a_task_reaches_every_parameter(task: str, kinds: list[str]) -> None:
    """Parameters without gradient, even a zero one, would make several processes wait for each other."""
    network = network_of(f"task={task}", "fpn.extra_levels=1")
    losses = network(*scenes(kinds, SIZES), torch.Generator().manual_seed(0))
    torch.stack([value for _, value in losses.items()]).sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


SCORING = ("roi.mask_scoring=true", "roi.box_head=conv4", "roi.box_channels=16")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", ["panoptic", "instance"])
@pytest.mark.parametrize("kinds", [["objects", "no objects"], ["crowd", "void"]])
def test_training_step_with_mask_scoring_reaches_every_parameter(
    task: str, kinds: list[str], precision: torch.dtype
) -> None:
    network = network_of(f"task={task}", *SCORING)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = dict(network(*scenes(kinds, SIZES), torch.Generator().manual_seed(0)).items())
    assert list(losses)[: len(LOSSES["instance"]) + 1] == [*LOSSES["instance"], "roi_mask_scores"]
    assert (losses["roi_mask_scores"] > 0) == ("objects" in kinds)
    assert losses["roi_mask_scores"].dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    assert network.roi_head.roi_iou.weight.grad.any() == ("objects" in kinds)


def test_mask_scoring_changes_neither_other_losses_nor_their_weights() -> None:
    """The weights of the score branch are drawn after those of the other region branches."""
    plain, scoring = (network_of("task=instance", *overrides) for overrides in ([], ["roi.mask_scoring=true"]))
    assert all(torch.equal(value, scoring.state_dict()[name]) for name, value in plain.state_dict().items())
    images, truth = scenes(["objects", "crowd"], SIZES)
    losses, others = (dict(one(images, truth, torch.Generator().manual_seed(3)).items()) for one in (scoring, plain))
    losses.pop("roi_mask_scores")
    assert {name: value.item() for name, value in losses.items()} == {
        name: value.item() for name, value in others.items()
    }


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_predictions_with_mask_scoring_rank_by_class_score_times_predicted_iou(task: str) -> None:
    network = network_of(f"task={task}", *SCORING).eval()
    with torch.no_grad():
        network.roi_head.roi_iou.weight.zero_()
        network.roi_head.roi_iou.bias.copy_(torch.tensor([0.25, 1.5]))  # clipped to 1
        images, _ = scenes(["objects", "no objects"], SIZES)
        found = network.predict(images)
        network.roi_head.has_mask_scores = False
        plain = network.predict(images)
    for image in range(2):
        one, other = found.detections(image), plain.detections(image)
        scores = other.scores * torch.tensor([0.25, 1])[other.classes]
        order = scores.argsort(descending=True, stable=True)
        assert order.tolist() != sorted(order.tolist()), "the order changes"
        torch.testing.assert_close(one.scores, scores[order])
        for name in ("boxes", "classes", "masks"):
            assert torch.equal(getattr(one, name), getattr(other, name)[order])


def test_fusion_with_mask_scoring_paints_the_better_mask_first() -> None:
    network = network_of("task=instance", *SCORING).eval()
    with torch.no_grad():
        network.roi_head.roi_iou.weight.zero_()
        network.roi_head.roi_msk.bias.fill_(9)  # masks that fill their boxes
        fusion = build_fusion(tiny_experiment(None, "task=instance", "fusion.score_threshold=0"), NUM_STUFF, NUM_THINGS)
        found = []
        for ious in ([1.0, 1e-3], [1e-3, 1.0]):
            network.roi_head.roi_iou.bias.copy_(torch.tensor(ious))
            predictions = network.predict(scenes(["objects"], SIZES[:1])[0])
            fused = fusion(predictions.detections(0), predictions.semantics(0), SIZES[0])
            found.append(fused.segmentation.classes[1].item() - NUM_STUFF)
    assert found == [0, 1]


POINTS = "roi.mask_head=pointrend"


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", ["panoptic", "instance"])
@pytest.mark.parametrize("kinds", [["objects", "no objects"], ["crowd", "void"]])
@pytest.mark.parametrize("scoring", ["true", "false"])
def test_training_step_with_point_rendering_reaches_every_parameter(
    task: str, kinds: list[str], precision: torch.dtype, scoring: str
) -> None:
    network = network_of(f"task={task}", POINTS, f"roi.mask_scoring={scoring}")
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = dict(network(*scenes(kinds, SIZES), torch.Generator().manual_seed(0)).items())
    assert list(losses)[: len(LOSSES["instance"]) + 1] == [*LOSSES["instance"], "roi_points"]
    assert ("roi_mask_scores" in losses) == (scoring == "true")
    assert (losses["roi_points"] > 0) == ("objects" in kinds)
    assert losses["roi_points"].dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    assert network.roi_head.point.fc1.weight.grad.any() == ("objects" in kinds)


def test_point_rendering_changes_neither_other_losses_nor_their_weights() -> None:
    """The weights of the point head are drawn after those of the other region branches, and points after regions.

    In a cascade, the regions of later stages are drawn after the points, so they do change.
    """
    plain, pointed = (network_of("task=instance", *overrides) for overrides in ([], [POINTS]))
    assert all(torch.equal(value, pointed.state_dict()[name]) for name, value in plain.state_dict().items())
    assert {name.rpartition(".")[0] for name in pointed.state_dict().keys() - plain.state_dict().keys()} == {
        f"roi_head.point.{layer}" for layer in ("fc1", "fc2", "fc3", "roi_pnt")
    }
    images, truth = scenes(["objects", "crowd"], SIZES)
    losses, others = (dict(one(images, truth, torch.Generator().manual_seed(3)).items()) for one in (pointed, plain))
    losses.pop("roi_points")
    assert {name: value.item() for name, value in losses.items()} == {
        name: value.item() for name, value in others.items()
    }


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_predictions_with_point_rendering_differ_in_their_masks_only(precision: torch.dtype) -> None:
    network = network_of("task=instance", POINTS).eval()
    images, _ = scenes(["objects", "no objects"], SIZES)
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        network.roi_head.roi_msk.weight.mul_(100)
        network.roi_head.point.roi_pnt.weight.zero_()
        network.roi_head.point.roi_pnt.weight[:, -1] = 1  # logits of the coarse mask
        found = network.predict(images)
        network.roi_head.has_points = False
        plain = network.predict(images)
    for image in range(2):
        one, other = found.detections(image), plain.detections(image)
        for name in ("boxes", "classes", "scores"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert len(one) > 1
        assert (one.masks.dtype, one.masks.shape) == (torch.float32, (len(one), 224, 224))
        enlarged = torch.nn.functional.interpolate(other.masks[:, None], 224, mode="bilinear")[:, 0]
        # Doubling three times smooths more than once, except at the points, which read the coarse mask.
        assert ((one.masks > 0) == (enlarged > 0)).float().mean() > 0.97


CASCADE = ("roi.cascade=[0.5,0.6,0.7]", "roi.box_head=conv4", "roi.box_channels=16")
STAGE_LOSSES = ["roi_classes_2", "roi_boxes_2", "roi_classes_3", "roi_boxes_3"]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", ["panoptic", "instance", "detection"])
@pytest.mark.parametrize("kinds", [["objects", "no objects"], ["crowd", "void"]])
def test_training_step_of_a_cascade_reaches_every_parameter(
    task: str, kinds: list[str], precision: torch.dtype
) -> None:
    network = network_of(f"task={task}", *CASCADE)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = dict(network(*scenes(kinds, SIZES), torch.Generator().manual_seed(0)).items())
    assert list(losses)[4:8] == STAGE_LOSSES
    for name in STAGE_LOSSES:
        assert (losses[name] > 0) == ("objects" in kinds)
        assert losses[name].dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []
    for stage in (network.roi_head, *network.roi_head.later_stages):
        assert stage.roi_bbx_any.weight.grad.any() == ("objects" in kinds)
        assert stage.box.conv1.weight.grad.any() == ("objects" in kinds)


def test_cascade_with_every_other_setting_of_regions_predicts_in_the_order_of_scores() -> None:
    more = ("roi.mask_scoring=true", "roi.focal_gamma=2", "roi.box_loss=crop_aware", "roi.background_images=true")
    network = network_of("task=instance", "norm.heads=gn", "norm.groups=4", *CASCADE, *more)
    losses = network(*scenes(["objects", "no objects"], SIZES), torch.Generator().manual_seed(0))
    assert all(value.isfinite() and value > 0 for _, value in losses.items())
    with torch.no_grad():
        network.roi_head.roi_iou.bias.fill_(0.5)
    found = network.eval().predict(scenes(["objects", "no objects"], SIZES)[0])
    for image in range(2):
        scores = found.detections(image).scores
        assert len(scores) > 0
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("others", ["none", "all"])
@pytest.mark.parametrize("kinds", [["no objects", "objects"], ["crowd", "void"]])
def test_training_step_and_prediction_of_a_cascade_with_point_rendering(
    kinds: list[str], others: str, precision: torch.dtype
) -> None:
    more = (*SCORING, "roi.focal_gamma=2", "roi.box_loss=crop_aware", "roi.masks_of_positives_only=true")
    network = network_of(POINTS, CASCADE[0], *(more if others == "all" else ()))
    images, truth = scenes(kinds, SIZES)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        losses = dict(network(images, truth, torch.Generator().manual_seed(0)).items())
    of_regions = [name for name in losses if name.startswith("roi_")]
    assert of_regions == [
        *("roi_classes", "roi_boxes", *STAGE_LOSSES, "roi_masks", "roi_points"),
        *(["roi_mask_scores"] if others == "all" else []),
    ]
    for name in of_regions:
        assert (losses[name] > 0) == ("objects" in kinds), name
        assert losses[name].dtype == torch.float32
    torch.stack(list(losses.values())).sum().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.any() == ("objects" in kinds) or not name.startswith("roi_head."), name
    network.eval()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        found = [network.predict(images[:1]), network.predict(images)]
    without_detections(network)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        found.append(network.predict(images))
    for predictions, are_there in zip(found, (True, True, False), strict=True):
        for image in range(len(predictions.boxes)):
            one = predictions.detections(image)
            assert (len(one) > 0) == are_there
            assert one.masks.shape == (len(one), 224, 224)
            assert one.masks.dtype == one.scores.dtype == one.boxes.dtype == torch.float32
            assert one.masks.isfinite().all()
            assert (one.boxes[:, :2] >= 0).all()
            assert (one.boxes[:, 2:] <= torch.tensor(SIZES[image])).all()


def without_detections(network: SegmentationNet) -> None:
    """Make a network certain that every region is background, in all stages."""
    with torch.no_grad():
        for head in (network.roi_head, *network.roi_head.later_stages):
            head.roi_cls.bias[0] = 100


def single_stage_pair() -> tuple[SegmentationNet, SegmentationNet]:
    """Build the published head, and a cascade of one stage, with the same boxes for all classes in both."""
    plain, cascade = network_of("task=instance"), network_of("task=instance", "roi.cascade=[0.5]", seed=1)
    state = cascade.state_dict()
    for kind in ("weight", "bias"):
        box_deltas = state[f"roi_head.roi_bbx_any.{kind}"].normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        state[f"roi_head.roi_bbx.{kind}"] = torch.cat([box_deltas] * NUM_THINGS)
    plain.load_state_dict({name: value for name, value in state.items() if "roi_bbx_any" not in name})
    return plain, cascade


def test_cascade_of_one_stage_equals_the_published_head_with_equal_boxes_for_all_classes() -> None:
    plain, cascade = single_stage_pair()
    images, truth = scenes(["objects", "crowd"], SIZES)
    gradients = []
    for network in (plain, cascade):
        losses = dict(network(images, truth, torch.Generator().manual_seed(3)).items())
        assert list(losses) == LOSSES["instance"]
        torch.stack(list(losses.values())).sum().backward()
        gradients.append(
            [
                torch.stack(list(losses.values())).detach(),
                *(value.grad for name, value in network.named_parameters() if "roi_bbx" not in name),
            ]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    expected, found = (network.eval().predict(images) for network in (plain, cascade))
    for name in ("boxes", "classes", "scores", "masks"):
        for one, other in zip(getattr(expected, name), getattr(found, name), strict=True):
            assert len(one) > 0
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_cascade_off_changes_neither_weights_nor_losses() -> None:
    """All other weights are drawn before those of later stages, but the first stage has fewer box_deltas."""
    network = network_of("task=instance")
    assert not [name for name in network.state_dict() if "stages" in name or "roi_bbx_any" in name]
    with_stages = network_of("task=instance", "roi.cascade=[0.5,0.6]").state_dict()
    first = network_of("task=instance", "roi.cascade=[0.5]").state_dict()
    assert all(torch.equal(value, with_stages[name]) for name, value in first.items())


def test_fusion_of_instances_paints_things_and_leaves_the_rest_void() -> None:
    network = network_of("task=instance").eval()
    images, _ = scenes(["objects"], SIZES[:1])
    predictions = network.predict(images)
    fusion = build_fusion(tiny_experiment(None, "task=instance", "fusion.score_threshold=0"), NUM_STUFF, NUM_THINGS)
    fused = fusion(predictions.detections(0), predictions.semantics(0), (30, 40))
    assert fused.semantics.unique().tolist() == [255]
    assert fused.segmentation.size == (30, 40)
    assert (fused.segmentation.classes[1:] >= NUM_STUFF).all()
    assert fused.segmentation.ids.any()
    boxes = predictions.detections(0).boxes * torch.tensor([30 / 64, 40 / 96, 30 / 64, 40 / 96])
    torch.testing.assert_close(fused.detections.boxes, boxes)


def test_fusion_of_detections_without_masks_has_no_segments() -> None:
    network = network_of("task=detection").eval()
    predictions = network.predict(scenes(["objects"], SIZES[:1])[0])
    fusion = build_fusion(tiny_experiment(None, "fusion.score_threshold=0"), NUM_STUFF, NUM_THINGS)
    fused = fusion(predictions.detections(0), predictions.semantics(0), (30, 40))
    assert not fused.segmentation.ids.any()
    assert fused.segmentation.classes.tolist() == [255]
    assert len(fused.detections) == len(predictions.detections(0)) > 0


@pytest.mark.parametrize(
    ("num_stuff", "num_things", "parts"), [(3, 0, {"body", "sem_head"}), (0, 2, {"body", "rpn_head", "roi_head"})]
)
def test_panoptic_network_lacks_heads_without_classes(num_stuff: int, num_things: int, parts: set[str]) -> None:
    network = network_of("fpn.extra_levels=1", num_stuff=num_stuff, num_things=num_things)
    assert {name.partition(".")[0] for name in network.state_dict()} == parts
    assert any(".extra." in name for name in network.state_dict()) == (num_things > 0)


@pytest.mark.parametrize("task", ["instance", "detection"])
def test_network_that_finds_things_needs_some(task: str) -> None:
    with pytest.raises(SettingsError, match=f"task={task} .*only stuff"):
        network_of(f"task={task}", num_things=0)


def test_pyramid_network_has_no_extra_levels() -> None:
    """Nothing would use them, and several processes would wait for their gradients."""
    names = semantic_network("mini_deeplab", "fpn.extra_levels=2").state_dict()
    assert [name for name in names if ".extra." in name] == []


def test_deeplab_network_has_the_published_parts_and_the_stride_of_the_last_level() -> None:
    network = semantic_network("deeplab", "body.name=wide_resnet38_a2_dilated").eval()
    assert [name for name, _ in network.named_children()] == ["body", "head", "cls"]
    images, _ = scenes(["objects"], SIZES[:1])
    assert network.predict(images).semantic_logits.shape == (1, NUM_STUFF + NUM_THINGS, 8, 12)
