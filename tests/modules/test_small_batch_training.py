"""What the norms for small batches are for: training as with large batches, on crops of photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.modules.mabn import MovingAverages
from seamseg.modules.norm import NormFactory

CLASSES = ("person", "sky-other-merged", "tree-merged", "grass-merged", "wall-other-merged")
CROPS_PER_CLASS, SIDE = 200, 16
BATCH, SMALL, STEPS = 32, 2, 40
BN = NormFactory("bn")
MABN = NormFactory("mabn", mabn=MovingAverages(BATCH // SMALL, plain_iterations=100, warmup_iterations=300))


@pytest.fixture(scope="module")
def crops(shared: Path) -> tuple[Tensor, Tensor]:
    """Crops of COCO images at a quarter of their size, and the class of their central pixel."""
    found: list[list[np.ndarray]] = [[] for _ in CLASSES]
    for number, crop in _crops(shared / "data/coco128_panoptic", np.random.default_rng(0)):
        found[number].append(crop)
    rng = np.random.default_rng(1)
    chosen = [crops[k] for crops in found for k in rng.permutation(len(crops))[:CROPS_PER_CLASS]]
    images = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 128 - 1
    return images, torch.arange(len(CLASSES)).repeat_interleave(CROPS_PER_CLASS)


def _crops(root: Path, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Yield class and pixels of up to 24 crops of every class in every image."""
    content = json.loads((root / "annotations/panoptic_train2017.json").read_text())
    categories = [category for category in content["categories"] if category["name"] in CLASSES]
    number_of = {category["id"]: CLASSES.index(category["name"]) for category in categories}
    for annotation in content["annotations"]:
        png = cv2.imread(str(root / "annotations/panoptic_train2017" / annotation["file_name"]))
        ids = png[::4, ::4, ::-1].astype(int) @ np.array([1, 256, 65536])
        image = cv2.imread(str(root / "images/train2017" / annotation["file_name"].replace("png", "jpg")))
        image = cv2.resize(image, ids.shape[::-1], interpolation=cv2.INTER_AREA)
        centers = ids[SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2]
        for number in range(len(CLASSES)):
            segments = [s["id"] for s in annotation["segments_info"] if number_of.get(s["category_id"]) == number]
            rows, columns = np.nonzero(np.isin(centers, segments))
            for k in rng.permutation(len(rows))[:24]:
                yield number, image[rows[k] : rows[k] + SIDE, columns[k] : columns[k] + SIDE]


def trained_losses(norm: NormFactory, norm_batch: int, seed: int, crops: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Train with 32 crops per step, normalized in batches of ``norm_batch``.

    Returns:
        The mean loss of the last quarter of the steps, and the loss of all crops in evaluation.
    """
    images, classes = crops
    layers: list[nn.Module] = []
    widths = (3, 12, 24, 48)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for incoming, width in pairwise(widths):
            layers += [norm.conv(incoming, width, 3, stride=2), norm.make(width)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(CLASSES))]
        network = nn.Sequential(*layers, *head)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / STEPS)
        optimizer.zero_grad()
        losses.append(0.0)
        for rows in torch.randint(len(images), (BATCH,), generator=generator).split(norm_batch):
            loss = functional.cross_entropy(network(images[rows]), classes[rows]) * (len(rows) / BATCH)
            loss.backward()
            losses[-1] += float(loss.detach())
        optimizer.step()
    with torch.no_grad():
        evaluated = float(functional.cross_entropy(network.eval()(images), classes))
    return float(np.mean(losses[-STEPS // 4 :])), evaluated


@pytest.mark.slow
def test_mabn_in_batches_of_two_trains_closer_to_batch_norm_with_32_than_batch_norm_does(
    crops: tuple[Tensor, Tensor],
) -> None:
    distances: dict[str, list[np.ndarray]] = {"bn": [], "mabn": []}
    for seed in range(3):
        large = np.array(trained_losses(BN, BATCH, seed, crops))
        for norm in (BN, MABN):
            distances[norm.name].append(np.abs(np.array(trained_losses(norm, SMALL, seed, crops)) - large))
    ours, theirs = np.array(distances["mabn"]), np.array(distances["bn"])
    assert (ours < 0.6 * theirs)[:, 0].all(), (ours, theirs)  # the loss of training, with every seed
    assert (ours.mean(axis=0) < 0.6 * theirs.mean(axis=0)).all(), (ours, theirs)
