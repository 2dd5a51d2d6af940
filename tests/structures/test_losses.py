from __future__ import annotations

import pytest
import torch

from seamseg.structures import Losses

NAMES = [
    *("rpn_objectness", "rpn_boxes", "roi_classes", "roi_boxes", "roi_masks", "roi_points", "roi_mask_scores"),
    "semantic",
]


def losses() -> Losses:
    return Losses(*(torch.tensor(10.0**power, dtype=torch.float64, requires_grad=True) for power in range(8)))


def test_items_follow_the_order_of_the_fields() -> None:
    assert [(name, value.item()) for name, value in losses().items()] == [
        (name, 10.0**power) for power, name in enumerate(NAMES)
    ]


def test_total_matches_weights_by_name() -> None:
    weights = {name: float(number) for number, name in enumerate(NAMES)}
    expected = 76543210.0
    assert losses().total(weights).item() == expected
    assert losses().total(dict(reversed(weights.items()))).item() == expected


def test_total_scales_the_gradient_of_every_loss_by_its_weight() -> None:
    parts = losses()
    parts.total({name: number / 2 for number, name in enumerate(NAMES)}).backward()
    assert [value.grad.item() for _, value in parts.items() if value.grad is not None] == [
        0,
        0.5,
        1,
        1.5,
        2,
        2.5,
        3,
        3.5,
    ]


def test_total_with_zero_weight_still_shows_a_nan_loss() -> None:
    parts = losses()
    broken = Losses(torch.tensor(float("nan")), *(value for _, value in list(parts.items())[1:]))
    assert broken.total(dict.fromkeys(NAMES, 0.0)).isnan()


@pytest.mark.parametrize("names", [NAMES[:-1], [*NAMES, "extra"], [*NAMES[:-1], "sem"], []])
def test_total_with_missing_or_unknown_weights_raises_value_error(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must name \['roi_boxes', .*\], not \["):
        losses().total(dict.fromkeys(names, 1.0))


def test_total_without_weights_of_losses_that_a_network_lacks_needs_none() -> None:
    parts = Losses(semantic=torch.tensor(3.0), roi_boxes=torch.tensor(2.0))
    assert parts.total({"semantic": 1.0, "roi_boxes": 2.0}).item() == 3 + 2 * 2
    with pytest.raises(ValueError, match=r"must name \['roi_boxes', 'semantic'\] .* not \['semantic'\]"):
        parts.total({"semantic": 1.0})


def test_losses_that_a_network_lacks_are_left_out_of_items_and_total() -> None:
    parts = Losses(semantic=torch.tensor(3.0), roi_boxes=torch.tensor(2.0))
    assert [name for name, _ in parts.items()] == ["roi_boxes", "semantic"]
    assert parts.total({name: float(number) for number, name in enumerate(NAMES)}).item() == 3 * 2 + 7 * 3


def test_losses_of_later_stages_have_the_weights_of_the_first() -> None:
    parts = Losses(
        roi_classes=torch.tensor(1.0),
        roi_boxes=torch.tensor(10.0),
        roi_classes_2=torch.tensor(100.0),
        roi_boxes_3=torch.tensor(1000.0),
    )
    assert [name for name, _ in parts.items()] == ["roi_classes", "roi_boxes", "roi_classes_2", "roi_boxes_3"]
    assert parts.total({"roi_classes": 2.0, "roi_boxes": 3.0}).item() == 2 * 101 + 3 * 1010
    with pytest.raises(ValueError, match="nothing outside"):
        parts.total({"roi_classes": 2.0, "roi_boxes": 3.0, "roi_classes_2": 1.0})
    with pytest.raises(ValueError, match="must name"):
        Losses(roi_classes_2=torch.tensor(1.0)).total({})
