"""Points of masks: interpolation, sampling for training, and subdivision, against loops, drawings and true shapes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles.bilinear import bilinear
from torch import Tensor
from torch.nn import functional

from seamseg.algos import point_rendering
from seamseg.algos.point_rendering import (
    NUM_RENDERED_POINTS,
    NUM_TRAINING_POINTS,
    CoarseMasks,
    logits_at,
    rendered,
    subdivided,
    training_points,
)
from seamseg.algos.roi_pooling import sample_points
from seamseg.modules.point_head import PointHead

SIZE, FINE = 28, 224
Shape = Callable[[Tensor, Tensor], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def coarse(logits: Tensor, boxes: Tensor | None = None) -> CoarseMasks:
    """Return masks of regions of class 0 in the first image."""
    zeros = torch.zeros(len(logits), dtype=torch.int64)
    return CoarseMasks(logits, zeros, torch.zeros(len(logits), 4) if boxes is None else boxes, zeros)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 5, SIZE])
def test_masks_at_points_equal_bilinear_interpolation(size: int, dtype: torch.dtype) -> None:
    logits = random(3, size, size).to(dtype)
    points = torch.rand(3, 40, 2, generator=torch.Generator().manual_seed(1))
    points[:, :4] = torch.tensor([[0.0, 0], [0, 1], [1, 0.5], [0.01, 0.99]])
    found = coarse(logits).at(points)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = [
        [bilinear(mask, y * size, x * size) for y, x in places]
        for mask, places in zip(logits.float(), points.tolist(), strict=True)
    ]
    torch.testing.assert_close(found.float(), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_masks_at_their_own_positions_are_their_logits() -> None:
    logits = torch.tensor([[[1.0, 2], [3, 4]]])
    points = torch.tensor([[[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.5, 0.5]]])
    assert coarse(logits).at(points).tolist() == [[1, 2, 3, 2.5]]


def test_points_in_pixels_are_fractions_of_their_boxes() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 1, 1]])
    points = torch.tensor([[[0.0, 0], [0.5, 0.25], [1, 1]], [[0.1, 0.2], [0, 1], [0.5, 0.5]]])
    expected = [[[10, 20], [20, 30], [30, 60]], [[0.1, 0.2], [0, 1], [0.5, 0.5]]]
    torch.testing.assert_close(coarse(torch.zeros(2, 4, 4), boxes).in_pixels(points), torch.tensor(expected))


def test_training_points_are_the_most_uncertain_of_all_candidates_and_random_others() -> None:
    """The candidates follow from the generator, and their uncertainty from the interpolation of each."""
    masks = coarse(random(3, SIZE, SIZE))
    points = training_points(masks, torch.Generator().manual_seed(5))
    assert (points.shape, points.dtype) == ((3, NUM_TRAINING_POINTS, 2), torch.float32)
    drawn = torch.rand(3, 3 * 196 + 49, 2, generator=torch.Generator().manual_seed(5))
    for mask, chosen, candidates in zip(masks.logits, points.tolist(), drawn.tolist(), strict=True):
        certainty = [abs(bilinear(mask, y * SIZE, x * SIZE)) for y, x in candidates[:588]]
        order = sorted(range(588), key=certainty.__getitem__)
        assert sorted(chosen[:147]) == sorted(candidates[index] for index in order[:147])
        assert chosen[147:] == candidates[588:]


def test_training_points_lie_at_the_border_of_a_mask() -> None:
    column = torch.linspace(-9, 9, SIZE)
    points = training_points(coarse(column.expand(4, SIZE, SIZE)), torch.Generator().manual_seed(0))
    distances = (points[..., 1] - 0.5).abs()
    assert distances[:, :147].max() < 0.2  # a quarter of the candidates: 0.125 on each side, if they were a grid
    assert distances[:, 147:].max() > 0.4
    assert points.min() >= 0
    assert points.max() <= 1


def test_training_points_of_no_region_draw_no_number() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert training_points(coarse(torch.zeros(0, SIZE, SIZE)), generator).shape == (0, NUM_TRAINING_POINTS, 2)
    assert torch.equal(generator.get_state(), before)


def test_training_points_get_no_gradient() -> None:
    logits = random(2, SIZE, SIZE).requires_grad_()
    assert not training_points(coarse(logits), torch.Generator()).requires_grad


def centers(size: int) -> tuple[Tensor, Tensor]:
    """Return y and x of the centers of size×size cells of a region, as fractions of its sides."""
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return y, x


def disk(y: Tensor, x: Tensor) -> Tensor:
    return (y - 0.52).square() + (x - 0.47).square() < 0.19**2


def diamond(y: Tensor, x: Tensor) -> Tensor:
    return (y - 0.5).abs() + 1.3 * (x - 0.48).abs() < 0.21


SHAPES = {"disk": disk, "diamond": diamond}


def coarse_logits(shape: Shape) -> Tensor:
    """Return M×M logits of the fraction of each cell that the shape covers."""
    covered = shape(*centers(8 * SIZE)).double()
    return torch.logit(functional.avg_pool2d(covered[None, None], 8)[0, 0], eps=1e-3).float()


def truth_at(shape: Shape, points: Tensor) -> Tensor:
    """Return logits of a point head that knows the shape."""
    return torch.where(shape(*points.double().unbind(-1)), 7.0, -7.0)


@pytest.mark.parametrize("name", SHAPES)
def test_subdivision_with_true_points_has_the_true_shape_at_full_resolution(name: str) -> None:
    """Interpolation alone gets the border wrong, so the points make the difference."""
    shape, mask = SHAPES[name], coarse_logits(SHAPES[name])[None]
    truth = shape(*centers(FINE))
    interpolated = functional.interpolate(mask[:, None], (FINE, FINE), mode="bilinear")[0, 0] > 0
    assert (interpolated != truth).sum() > 40
    found = subdivided(mask, lambda points: truth_at(shape, points))
    assert (found.shape, found.dtype) == ((1, FINE, FINE), torch.float32)
    assert torch.equal(found[0] > 0, truth)


def numbered(points: Tensor) -> Tensor:
    """Return large logits that differ at all points."""
    return 100 + torch.arange(float(points[..., 0].numel())).view(points.shape[:2])


def test_subdivision_predicts_the_most_uncertain_positions_and_interpolates_the_others() -> None:
    masks, asked = random(2, SIZE, SIZE), list[Tensor]()
    found = subdivided(masks, lambda points: asked.append(points) or numbered(points))
    expected = masks
    for size, points in zip((56, 112, 224), asked, strict=True):
        expected = functional.interpolate(expected[:, None], (size, size), mode="bilinear")[:, 0]
        assert points.shape == (2, NUM_RENDERED_POINTS, 2)
        rows, columns = (points * size - 0.5).round().long().unbind(-1)
        torch.testing.assert_close((torch.stack([rows, columns], -1) + 0.5) / size, points)
        for region in range(2):
            places = rows[region] * size + columns[region]
            chosen = torch.zeros(size**2, dtype=torch.bool).index_fill(0, places, True)
            assert chosen.sum() == NUM_RENDERED_POINTS, "no position is predicted twice"
            certainty = expected[region].flatten().abs()
            assert certainty[chosen].max() <= certainty[~chosen].min()
            expected[region].view(-1)[places] = numbered(points)[region]
    torch.testing.assert_close(found, expected)


def test_subdivision_of_a_small_mask_predicts_every_position_at_first() -> None:
    counts = list[int]()

    def predict(points: Tensor) -> Tensor:
        counts.append(points.shape[1])
        return points[..., 0] * 2 - 1

    found = subdivided(random(1, 4, 4), predict)
    assert counts == [64, 256, NUM_RENDERED_POINTS]
    assert found.shape == (1, 32, 32)
    torch.testing.assert_close(found[0, :, 0][:15] < 0, torch.ones(15, dtype=torch.bool))


def test_subdivision_of_nan_masks_is_nan_where_nothing_is_predicted() -> None:
    """A network that diverges ends with a message about its losses, not with an index error."""
    found = subdivided(torch.full((1, SIZE, SIZE), torch.nan), lambda points: points[..., 0])
    assert found.isnan().any()


def case(count: int, dtype: torch.dtype = torch.float32) -> tuple[PointHead, CoarseMasks, Tensor]:
    """Return a head for three classes, masks in two images, and a level of stride 4 with four channels."""
    head = PointHead(4, 6, 3)
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            parameter.copy_(random(*parameter.shape, seed=number))
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(3), dtype=dtype) * 40
    boxes = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)
    images, things = torch.arange(count) * 2 // max(count, 1), torch.arange(count) % 3
    masks = CoarseMasks(random(count, SIZE, SIZE).to(dtype), things, boxes, images)
    return head.to(dtype), masks, random(2, 4, 11, 12).to(dtype)


class Points:
    """Head of :func:`case`, with the interface that the algorithm calls."""

    def __init__(self, head: PointHead) -> None:
        self.head = head

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        logits: Tensor = self.head(features, coarse)
        return logits


def test_rendered_masks_of_each_region_do_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    head, masks, level = case(5)

    def render(some: CoarseMasks) -> Tensor:
        with torch.no_grad():
            return rendered(Points(head), some, lambda points, images: sample_points(level, points, images, (44, 48)))

    expected = render(masks)
    assert expected.shape == (5, FINE, FINE)
    monkeypatch.setattr(point_rendering, "REGIONS_AT_A_TIME", 2)
    torch.testing.assert_close(render(masks), expected, atol=1e-4, rtol=1e-4)
    one = CoarseMasks(masks.logits[3:4], masks.things[3:4], masks.boxes[3:4], masks.image_index[3:4])
    torch.testing.assert_close(render(one), expected[3:4], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, functional.interpolate(masks.logits[:, None], FINE, mode="bilinear")[:, 0])


def test_rendered_masks_without_regions_are_empty() -> None:
    head, masks, level = case(0)
    found = rendered(Points(head), masks, lambda points, images: sample_points(level, points, images, (44, 48)))
    assert found.shape == (0, FINE, FINE)


def test_logits_at_points_read_features_image_and_coarse_mask_of_each_region() -> None:
    """Every value comes from scalar interpolation and from the head on a single point."""
    head, masks, level = case(3)
    points = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0))
    found = logits_at(
        Points(head), masks, points, lambda points, images: sample_points(level, points, images, (44, 46))
    )
    assert found.shape == (3, 3, 5)
    for region in range(3):
        y0, x0, y1, x1 = masks.boxes[region].tolist()
        image = int(masks.image_index[region])
        for number, (y, x) in enumerate(points[region].tolist()):
            row = (y0 + y * (y1 - y0) - 0.5) * 11 / 44 + 0.5  # centers of first pixels are aligned
            column = (x0 + x * (x1 - x0) - 0.5) * 12 / 46 + 0.5
            features = torch.tensor([bilinear(plane, row, column) for plane in level[image]])
            logit = torch.tensor(bilinear(masks.logits[region], y * SIZE, x * SIZE))
            expected = head(features.view(1, 1, 4), logit.view(1, 1))[0, :, 0]
            torch.testing.assert_close(found[region, :, number], expected, atol=2e-3, rtol=1e-3)


def test_gradients_of_points_equal_finite_differences() -> None:
    head, masks, level = case(2, torch.float64)
    points = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(level: Tensor, logits: Tensor) -> Tensor:
        moved = CoarseMasks(logits, masks.things, masks.boxes, masks.image_index)
        return logits_at(Points(head), moved, points, lambda at, images: sample_points(level, at, images, (44, 48)))

    # Few entries have a gradient, and gradcheck looks at each of them, so the maps are small.
    small = functional.interpolate(masks.logits[:, None], 3)[:, 0].requires_grad_()
    assert torch.autograd.gradcheck(loss, (level[:, :, :3, :3].clone().requires_grad_(), small))
