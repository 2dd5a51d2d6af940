"""Semantic loss, against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import losses as oracle
from support.drawn_truth import Drawn, batch, drawn, painted
from torch import Tensor

from seamseg.algos.losses import SemanticLoss
from seamseg.structures import PaddedImages

VOID = 255


def semantic_loss(logits: Tensor, images: list[Drawn], fraction: float = 0.25) -> Tensor:
    sizes = tuple((image.ids.shape[0], image.ids.shape[1]) for image in images)
    padded = (max(size[0] for size in sizes), max(size[1] for size in sizes))
    return SemanticLoss(fraction)(logits, PaddedImages(torch.zeros(len(images), 3, *padded), sizes), batch(images)).mean


def logits_with_errors(image: Drawn, error_pixels: str) -> Tensor:
    """Return logits at the size of the image, with loss log 2, or about 5 on pixels marked with x."""
    target = image.classes[image.ids].clamp(max=1)
    logits = torch.zeros(1, 2, *target.shape)
    marked = torch.tensor([[pixel == "x" for pixel in row] for row in error_pixels.split()])
    logits[0].scatter_(0, target[None], torch.where(marked, -5.0, 0.0)[None])
    return logits


ERROR_LOSS = math.log(1 + math.exp(5))


def test_semantic_loss_averages_only_the_hardest_quarter() -> None:
    image = drawn("1111 2222", classes=[0, 1])
    assert float(semantic_loss(logits_with_errors(image, "x... ...x"), [image])) == pytest.approx(ERROR_LOSS)
    assert float(semantic_loss(logits_with_errors(image, "x... ...."), [image])) == pytest.approx(
        (ERROR_LOSS + math.log(2)) / 2
    )


def test_semantic_loss_rounds_the_number_of_hardest_pixels_up() -> None:
    image = drawn("11111", classes=[0])
    assert float(semantic_loss(logits_with_errors(image, "x...."), [image])) == pytest.approx(
        (ERROR_LOSS + math.log(2)) / 2
    )
    one = drawn("1", classes=[0])
    assert float(semantic_loss(logits_with_errors(one, "x"), [one])) == pytest.approx(ERROR_LOSS)


def test_semantic_loss_counts_void_pixels_with_loss_zero() -> None:
    image = drawn("0000 0001", classes=[0])
    assert float(semantic_loss(logits_with_errors(image, "xxxx xxxx"), [image])) == pytest.approx(ERROR_LOSS / 2)


def test_semantic_loss_treats_crowd_like_other_segments() -> None:
    plain, crowd = drawn("1122", classes=[0, 1]), drawn("1122", classes=[0, 1], crowd=[2])
    logits = torch.randn(1, 2, 1, 4, generator=torch.Generator().manual_seed(0))
    assert semantic_loss(logits, [plain]) == semantic_loss(logits, [crowd])


def test_semantic_loss_of_a_void_image_is_zero_without_gradient() -> None:
    logits = torch.randn(1, 2, 2, 3, requires_grad=True)
    loss = semantic_loss(logits, [drawn("000 000")])
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_semantic_loss_weighs_images_of_different_size_equally() -> None:
    small, large = drawn("1", classes=[0]), drawn("1111 1111", classes=[0])
    logits = torch.zeros(2, 2, 2, 4)
    logits[0, 0] = -5
    assert float(semantic_loss(logits, [small, large])) == pytest.approx((ERROR_LOSS + math.log(2)) / 2)


def test_semantic_loss_ignores_padding() -> None:
    image, other = drawn("11 11", classes=[0]), drawn("1111 1111 1111", classes=[0])
    logits = torch.zeros(2, 2, 3, 4)
    logits[0, 0, 2:] = logits[0, 0, :, 2:] = -100  # beyond the first image
    assert float(semantic_loss(logits, [image, other])) == pytest.approx(math.log(2))


@pytest.mark.parametrize("seed", range(8))
def test_semantic_loss_of_random_logits_equals_loops_over_pixels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = [[(13, 18), (9, 22)], [(16, 16)], [(5, 7), (21, 3), (11, 11)]][seed % 3]
    hardest = [(1, 4), (1, 2), (1, 1)][seed % 3]
    images = [painted(torch.randint(0, 4, size, generator=generator), classes=[2, 0, 1], crowd=[3]) for size in sizes]
    padded = (max(size[0] for size in sizes), max(size[1] for size in sizes))
    small = (-(-padded[0] // 4), -(-padded[1] // 4))
    logits = torch.randn(len(images), 3, *small, generator=generator) * 3
    expected = [
        oracle.semantic_loss(scores, padded, image.classes[image.ids], hardest)
        for scores, image in zip(logits, images, strict=True)
    ]
    found = semantic_loss(logits, images, hardest[0] / hardest[1])
    assert float(found) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
