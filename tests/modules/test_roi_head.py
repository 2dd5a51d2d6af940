"""RoI head compared with its definition, and batches of few regions."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from oracles.gradients import assert_every_gradient_is_zero, assert_every_parameter_moves
from oracles.norm import stir
from oracles.published_names import published, shapes
from torch import Tensor, nn

from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import MASK_SIZE, REGION_SIZE, RoIHead

NUM_THINGS = 3
norms = pytest.mark.parametrize("norm", ["bn", "syncbn", "gn", "affine"])
box_heads = pytest.mark.parametrize("box_channels", [None, 6], ids=["fc2", "conv4"])
forms = pytest.mark.parametrize(
    ("box_channels", "mask_scoring", "num_stages"),
    [(None, False, 1), (6, False, 1), (6, True, 1), (None, False, 3), (6, True, 2)],
    ids=["published", "conv4", "scoring", "cascade", "all"],
)


def head(
    norm: str = "affine", box_channels: int | None = None, mask_scoring: bool = False, num_stages: int = 1
) -> RoIHead:
    factory = NormFactory(norm, groups=2)  # type: ignore[arg-type]
    made = RoIHead(
        *(4, NUM_THINGS, 8, 6, factory, box_channels),
        mask_scoring=mask_scoring,
        class_agnostic=num_stages > 1,
        num_later_stages=num_stages - 1,
    )
    stir(made)
    return made


def regions(count: int) -> Tensor:
    return torch.randn(count, 4, REGION_SIZE, REGION_SIZE, generator=torch.Generator().manual_seed(count))


def everything(made: RoIHead, features: Tensor) -> Tensor:
    classes, box_deltas = made.classify(features)
    masks = made.masks(features)
    loss = classes.square().sum() + box_deltas.square().sum() + masks.square().sum()
    for stage in made.later_stages:
        loss = loss + sum(values.square().sum() for values in stage.classify(features))
    return loss + made.mask_scores(features, masks[:, 0]).square().sum() if made.has_mask_scores else loss


@norms
@box_heads
@pytest.mark.parametrize("count", [0, 2, 5])
def test_roi_head_gives_one_row_per_region(norm: str, box_channels: int | None, count: int) -> None:
    classes, box_deltas = head(norm, box_channels).classify(regions(count))
    assert classes.shape == (count, NUM_THINGS + 1)
    assert box_deltas.shape == (count, NUM_THINGS, 4)
    made = head(norm, mask_scoring=True)
    masks = made.masks(regions(count))
    assert masks.shape == (count, NUM_THINGS, MASK_SIZE, MASK_SIZE)
    assert made.mask_scores(regions(count), masks[:, 0]).shape == (count, NUM_THINGS)


def test_class_branch_equals_its_layers_computed_by_hand() -> None:
    made, features = head(), regions(2)
    pooled = torch.zeros(2, 4, 7, 7)
    for y in range(7):
        for x in range(7):
            pooled[:, :, y, x] = features[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
    hidden = made.fc.bn1(pooled.reshape(2, -1) @ made.fc.fc1.weight.T)
    hidden = made.fc.bn2(hidden @ made.fc.fc2.weight.T)
    classes, box_deltas = made.classify(features)
    torch.testing.assert_close(classes, hidden @ made.roi_cls.weight.T + made.roi_cls.bias)
    flat = hidden @ made.roi_bbx.weight.T + made.roi_bbx.bias
    for klass in range(NUM_THINGS):
        torch.testing.assert_close(box_deltas[:, klass], flat[:, 4 * klass : 4 * klass + 4])


def test_class_branch_with_convolutions_equals_its_layers_computed_by_hand() -> None:
    made, features = head(box_channels=6), regions(2)
    hidden = features.reshape(2, 4, 7, 2, 7, 2).mean((3, 5))
    for layer in range(1, 5):
        conv = made.box.get_submodule(f"conv{layer}")
        assert conv.weight.shape == (6, 4 if layer == 1 else 6, 3, 3)
        hidden = made.box.get_submodule(f"bn{layer}")(nn.functional.conv2d(hidden, conv.weight, padding=1))
    hidden = made.box.bn_fc(hidden.reshape(2, -1) @ made.box.fc.weight.T)
    classes, box_deltas = made.classify(features)
    torch.testing.assert_close(classes, made.roi_cls(hidden), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(box_deltas.flatten(1), made.roi_bbx(hidden), rtol=1e-4, atol=1e-4)


def test_class_agnostic_box_deltas_are_the_same_for_every_class() -> None:
    made, features = head(num_stages=3), regions(2)
    for stage in (made, *made.later_stages):
        hidden = stage.fc(features.reshape(2, 4, 7, 2, 7, 2).mean((3, 5)).reshape(2, -1))
        classes, box_deltas = stage.classify(features)
        torch.testing.assert_close(classes, hidden @ stage.roi_cls.weight.T + stage.roi_cls.bias, rtol=1e-4, atol=1e-4)
        for klass in range(NUM_THINGS):
            torch.testing.assert_close(box_deltas[:, klass], stage.roi_bbx_any(hidden), rtol=1e-4, atol=1e-4)


def test_stages_of_a_cascade_have_layers_of_their_own_and_no_masks() -> None:
    names = [*head(box_channels=6, mask_scoring=True, num_stages=3).state_dict()]
    assert not [name for name in names if name.startswith("roi_bbx.")]
    later = [
        {name.removeprefix(f"stages.{stage}.") for name in names if name.startswith(f"stages.{stage}.")}
        for stage in "23"
    ]
    assert later[0] == later[1] == {name for name in names if name.startswith(("box.", "roi_cls.", "roi_bbx_any."))}


def test_class_branch_with_convolutions_has_other_names_than_the_published_one() -> None:
    """Otherwise `init_from` could load a fully connected layer of the same shape that expects other features."""
    names, published_names = ({*head(box_channels=channels).state_dict()} for channels in (4, None))
    assert {name.partition(".")[0] for name in names ^ published_names} == {"box", "fc"}


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("count", [0, 2])
def test_gradient_of_pooled_regions_equals_that_of_average_pool(memory_format: torch.memory_format, count: int) -> None:
    made, features = head(), regions(count).contiguous(memory_format=memory_format).requires_grad_()
    classes, _ = made.classify(features)
    expected = made.roi_cls(made.fc(nn.functional.avg_pool2d(features, 2).flatten(1)))
    torch.testing.assert_close(classes, expected)
    (found,), (by_pool,) = (torch.autograd.grad(y.square().sum(), features) for y in (classes, expected))
    torch.testing.assert_close(found, by_pool)


def test_class_branch_keeps_no_features_of_regions() -> None:
    made, features = head(), regions(3).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        made.classify(features)
    assert kept
    assert features.shape not in [tensor.shape for tensor in kept]


def test_mask_branch_equals_its_layers_computed_by_hand() -> None:
    made, features = head(), regions(2)
    hidden = features
    for layer in range(1, 5):
        conv = made.conv.get_submodule(f"conv{layer}")
        hidden = made.conv.get_submodule(f"bn{layer}")(nn.functional.conv2d(hidden, conv.weight, padding=1))
    # The transposed convolution writes a block of 2×2 for every position.
    enlarged = torch.zeros(2, 6, MASK_SIZE, MASK_SIZE)
    for y in range(REGION_SIZE):
        for x in range(REGION_SIZE):
            block = torch.einsum("ni,ioyx->noyx", hidden[:, :, y, x], made.conv.conv_up.weight)
            enlarged[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = block
    expected = nn.functional.conv2d(made.conv.bn_up(enlarged), made.roi_msk.weight, made.roi_msk.bias)
    torch.testing.assert_close(made.masks(features), expected, rtol=1e-4, atol=1e-4)


def test_mask_score_branch_equals_its_layers_computed_by_hand() -> None:
    made, features = head(mask_scoring=True), regions(2)
    masks = torch.randn(2, MASK_SIZE, MASK_SIZE, generator=torch.Generator().manual_seed(0)) * 3
    pooled = torch.zeros(2, 1, REGION_SIZE, REGION_SIZE)
    for y in range(REGION_SIZE):
        for x in range(REGION_SIZE):
            pooled[:, 0, y, x] = masks.sigmoid()[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].amax((1, 2))
    hidden = torch.cat([features, pooled], dim=1)
    for layer in range(1, 5):
        conv = made.iou.get_submodule(f"conv{layer}")
        stride = 2 if layer == 4 else 1
        hidden = nn.functional.conv2d(hidden, conv.weight, padding=1, stride=stride)
        hidden = made.iou.get_submodule(f"bn{layer}")(hidden)
    assert hidden.shape == (2, 6, 7, 7)
    hidden = made.iou.bn_fc1(hidden.reshape(2, -1) @ made.iou.fc1.weight.T)
    hidden = made.iou.bn_fc2(hidden @ made.iou.fc2.weight.T)
    expected = hidden @ made.roi_iou.weight.T + made.roi_iou.bias
    torch.testing.assert_close(made.mask_scores(features, masks), expected, rtol=1e-4, atol=1e-4)


def test_mask_score_depends_on_the_mask() -> None:
    made, features = head("gn", mask_scoring=True), regions(1)
    full, empty = (made.mask_scores(features, torch.full((1, MASK_SIZE, MASK_SIZE), logit)) for logit in (9.0, -9.0))
    assert not torch.allclose(full, empty, rtol=1e-2)


@norms
@forms
def test_roi_head_keeps_its_input(norm: str, box_channels: int | None, mask_scoring: bool, num_stages: int) -> None:
    features = regions(3)
    everything(head(norm, box_channels, mask_scoring, num_stages), features)
    assert torch.equal(features, regions(3))


@norms
@forms
def test_roi_head_without_regions_has_a_loss_of_zero_and_zero_gradients(
    norm: str, box_channels: int | None, mask_scoring: bool, num_stages: int
) -> None:
    made = head(norm, box_channels, mask_scoring, num_stages)
    before = copy.deepcopy(dict(made.named_buffers()))
    features = regions(0).requires_grad_()
    loss = everything(made, features)
    assert loss.item() == 0
    loss.backward()
    assert_every_gradient_is_zero(made)
    assert features.grad is not None
    for name, buffer in made.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("norm", ["bn", "syncbn"])
@forms
def test_roi_head_with_one_region_uses_running_statistics_and_warns_once(
    norm: str, box_channels: int | None, mask_scoring: bool, num_stages: int
) -> None:
    made = head(norm, box_channels, mask_scoring, num_stages)
    before = copy.deepcopy(dict(made.named_buffers()))
    with pytest.warns(UserWarning, match="a single region and uses its running statistics") as caught:
        loss = everything(made, regions(1))
    assert len(caught) == num_stages
    loss.backward()
    assert_every_parameter_moves(made)
    for name, buffer in made.named_buffers():
        assert torch.equal(buffer, before[name]), name
    torch.testing.assert_close(loss, everything(made.eval(), regions(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything(made.train(), regions(1))


@pytest.mark.parametrize("norm", ["gn", "affine"])
def test_roi_head_with_one_region_and_no_batch_statistics_does_not_warn(norm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything(head(norm), regions(1)).backward()


def test_roi_head_with_one_region_in_inference_equals_a_larger_batch() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = head("bn").eval()
        one, _ = made.classify(regions(3)[:1])
        many, _ = made.classify(regions(3))
    torch.testing.assert_close(one, many[:1])


@pytest.mark.parametrize("norm", ["bn", "syncbn", "gn", "affine", "plain", "brn", "mabn"])
@forms
def test_roi_head_gradients_reach_every_parameter(
    norm: str, box_channels: int | None, mask_scoring: bool, num_stages: int
) -> None:
    made = head(norm, box_channels, mask_scoring, num_stages)
    everything(made, regions(4)).backward()
    assert_every_parameter_moves(made)


@forms
def test_roi_head_with_several_regions_updates_running_statistics_once(
    box_channels: int | None, mask_scoring: bool, num_stages: int
) -> None:
    made = head("bn", box_channels, mask_scoring, num_stages)
    everything(made, regions(4))
    tracked = [buffer for name, buffer in made.named_buffers() if name.endswith("num_batches_tracked")]
    num_masks, num_boxes = 5 + 6 * mask_scoring, 2 if box_channels is None else 5
    assert [int(count) for count in tracked] == [1] * (num_masks + num_boxes * num_stages)


@box_heads
def test_roi_head_in_bfloat16_is_close_to_float32(box_channels: int | None) -> None:
    made, features = head("gn", box_channels, mask_scoring=True), regions(3)
    masks = torch.linspace(-3, 3, 3 * MASK_SIZE**2).view(3, MASK_SIZE, MASK_SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        found = [*made.classify(features), made.mask_scores(features, masks)]
    assert {one.dtype for one in found} == {torch.bfloat16}
    expected_values = [*made.classify(features), made.mask_scores(features, masks)]
    for one, expected in zip(found, expected_values, strict=True):
        torch.testing.assert_close(one.float(), expected, rtol=0.05, atol=0.1)


def test_roi_head_state_dict_has_the_published_names_and_shapes(shared: Path) -> None:
    with torch.device("meta"):
        made = RoIHead(256, 37, 1024, 256, NormFactory("bn"))
    assert shapes(made) == published(shared, "roi_head")
