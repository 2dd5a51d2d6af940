"""The classification bodies and the semantic network against the numbers of the published networks."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.drawn_truth import batch, painted
from support.published_semantic import write_semantic
from torch import Tensor, nn

from seamseg.algos.losses import SemanticLoss
from seamseg.builders import open_model
from seamseg.builders.body import BODIES
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.norm import NormFactory
from seamseg.networks.classifier import Classifier
from seamseg.networks.deeplab import DeepLabNet
from seamseg.structures import GroundTruth, PackedSequence, PaddedImages

NORM = NormFactory("bn")
NAMES = {  # golden name: `body.name`
    "resnet34": "resnet34",
    "resnext101": "resnext101",
    "resnext152": "resnext152",
    "wider_resnet38": "wide_resnet38",
    "densenet121": "densenet121",
    "densenet264": "densenet264",
}
SEMANTIC = "wider_resnet38_a2_deeplab"
TOLERANCE = 5e-4
"""Measured differences: up to 1.3e-4 (resnext152), on logits of up to 6."""


@pytest.fixture(scope="module")
def images(shared: Path) -> Tensor:
    with np.load(shared / "golden" / "vistas_r50.npz") as arrays:
        return torch.from_numpy(np.stack([arrays[f"in/{image}/img"][:, :96, :96] for image in (0, 1)]))


def recorded(shared: Path, key: str) -> NDArray[np.float32]:
    with np.load(shared / "golden" / "bodies" / "bodies.npz") as arrays:
        return np.asarray(arrays[key])


def shapes(shared: Path, name: str) -> dict[str, list[int]]:
    return json.loads((shared / "golden" / "bodies" / f"{name}.json").read_text())


def published_names(network: Classifier) -> dict[str, Tensor]:
    return {name.removeprefix("body."): tensor for name, tensor in network.state_dict().items()}


@torch.no_grad()
def fill(tensors: dict[str, Tensor]) -> None:
    """Write the weights of the recorded runs, which follow from name and shape."""
    for name, tensor in tensors.items():
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        shape = tuple(tensor.shape)
        if len(shape) >= 2:
            values = rng.standard_normal(shape) * 1.4 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            values = rng.uniform(0.5, 1.5, shape) * np.where(rng.uniform(size=shape) < 0.1, -1, 1)
        elif name.endswith("bias"):
            values = rng.standard_normal(shape) * 0.1
        else:
            continue
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))


@pytest.mark.parametrize("name", NAMES)
def test_classifier_state_dict_has_published_names_and_shapes(shared: Path, name: str) -> None:
    with torch.device("meta"):
        network = Classifier(BODIES[NAMES[name]](NORM), num_classes=10)
    assert {key: list(tensor.shape) for key, tensor in published_names(network).items()} == shapes(shared, name)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_classifier_logits_equal_published_network(shared: Path, images: Tensor, name: str) -> None:
    network = Classifier(BODIES[NAMES[name]](NORM), num_classes=10)
    fill(published_names(network))
    expected = recorded(shared, f"{name}/logits")
    np.testing.assert_allclose(
        network.predict(PackedSequence(images.clone())).numpy(), expected, rtol=0, atol=TOLERANCE
    )


@pytest.mark.slow
@torch.no_grad()
def test_semantic_network_equals_published_network(shared: Path, images: Tensor) -> None:
    body = BODIES["wide_resnet38_a2_dilated"](NORM)
    network = DeepLabNet(body, DeepLabHead(body.channels[-1], NORM), 65, SemanticLoss())
    assert {key: list(tensor.shape) for key, tensor in network.state_dict().items()} == shapes(shared, SEMANTIC)
    fill(network.state_dict())
    for module in network.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    features = body(images.clone())[-1]
    expected = recorded(shared, f"{SEMANTIC}/body")
    np.testing.assert_allclose(features[:, :8].numpy(), expected, rtol=0, atol=TOLERANCE)
    found = network.predict(PackedSequence(images))
    logits = recorded(shared, f"{SEMANTIC}/logits")
    np.testing.assert_allclose(found.semantic_logits.numpy(), logits, rtol=0, atol=TOLERANCE)
    truth, sizes = painted_truth(images), ((96, 96), (96, 96))
    loss = SemanticLoss()(torch.from_numpy(logits), PaddedImages(images, sizes), truth).mean
    losses = network(PackedSequence(images), truth, torch.Generator())
    assert float(losses.semantic) == pytest.approx(float(loss), rel=1e-4)


def painted_truth(images: Tensor) -> GroundTruth:
    """Annotate squares of two classes."""
    ids = (torch.arange(96)[:, None] // 24 + torch.arange(96) // 24) % 2 + 1
    return batch([painted(ids, [64, 3]) for _ in images])


@pytest.mark.slow
def test_published_semantic_file_of_full_size_predicts_like_its_network(images: Tensor, tmp_path: Path) -> None:
    body = BODIES["wide_resnet38_a2_dilated"](NORM)
    network = DeepLabNet(body, DeepLabHead(body.channels[-1], NORM), 65, SemanticLoss()).eval()
    fill(network.state_dict())
    model = open_model(write_semantic(tmp_path / "vistas.pth.tar", network.state_dict()), torch.device("cpu"))
    crop = PackedSequence(images[:1, :, :64, :64])
    found, expected = (one.predict(crop).semantic_logits for one in (model.network, network))
    rows = [category.original_id - 1 for category in model.categories.classes]
    assert sorted(rows) == list(range(65))
    torch.testing.assert_close(found, expected[:, rows])
    assert model.output_categories.num_stuff == model.fusion.num_stuff == 65
