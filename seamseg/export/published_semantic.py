"""Reading of the semantic model published with In-Place ABN: a WideResNet-38 A2 with DeepLab head for Vistas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from seamseg.algos.losses import SemanticLoss
from seamseg.data.labels.vistas import vistas_categories
from seamseg.errors import ModelError
from seamseg.export.body_weights import COUNTER, differences
from seamseg.export.model_file import ModelFile
from seamseg.export.published import PublishedModel, load_torch_file
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.norm import NormFactory
from seamseg.modules.pre_activation import build_wide_resnet38
from seamseg.networks.deeplab import DeepLabNet
from seamseg.structures import Categories, Category
from seamseg.structures.categories import palette_color

PARTS = ("body", "head", "cls")
SETTINGS: dict[str, Any] = {
    "task": "semantic",
    "data": {
        "shortest_side": 2048,
        "longest_side": 4096,
        "mean": [0.41738699, 0.45732192, 0.46886091],
        "std": [0.25685097, 0.26509955, 0.29067996],
    },
    "norm": {"scale": "abs"},
    "body": {"name": "wide_resnet38_a2_dilated"},
    "sem": {"head": "deeplab"},
}
"""Settings of the published network. Its test has no limit of the longest side; ours bounds memory."""


def load_semantic(path: Path) -> PublishedModel | None:
    """Read a published semantic model.

    Only tensors and plain values are accepted, so that a file cannot run code.

    Args:
        path: Torch file with a dictionary whose ``state_dict`` has the parts ``body``, ``head`` and ``cls``.

    Returns:
        The model; None if the file cannot be read or contains something else.

    Raises:
        SeamsegError: The file has these parts, but their names and shapes belong to another network.
    """
    try:
        content = load_torch_file(path)
    except ModelError:
        return None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in PARTS):
        return None
    tensors = {f"{part}.{name}": tensor for part in PARTS for name, tensor in state[part].items()}
    wrong = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if wrong:
        raise ModelError(f"{path} is not a published model: {wrong[0]} is a {type(tensors[wrong[0]]).__name__}")
    expected = _expected(tensors.get("cls.weight"), path)
    for name in expected.keys() - tensors.keys():
        if name.endswith(COUNTER):  # norms of early versions of torch have none
            tensors[name] = torch.zeros((), dtype=torch.int64)
    if differing := differences(tensors, expected):
        raise ModelError(
            f"{path} is not a WideResNet-38 A2 with a DeepLab head, the only semantic network that is published: "
            f"{differing}"
        )
    return _model(tensors)


def _expected(classifier: Tensor | None, path: Path) -> dict[str, Tensor]:
    """Return the state dict of the published network, on the meta device, for the classifier's number of classes."""
    if classifier is None or classifier.ndim != 4 or not len(classifier):
        raise ModelError(f"{path} is not a published semantic model: cls has no weight of the shape classes×256×1×1")
    norm = NormFactory("bn")
    with torch.device("meta"):
        body = build_wide_resnet38("dilated", norm)
        network = DeepLabNet(body, DeepLabHead(body.channels[-1], norm), len(classifier), SemanticLoss())
    return network.state_dict()


def _model(tensors: dict[str, Tensor]) -> PublishedModel:
    num_classes = len(tensors["cls.weight"])
    vistas = vistas_categories()
    notes = [
        "the file does not say whether the body is dilated: body.name=wide_resnet38_a2_dilated is used, as published"
    ]
    if num_classes == len(vistas):
        # The published order is that of the label file, in which things and stuff are mixed. Ours has stuff first.
        order = [category.original_id - 1 for category in vistas.classes]
        tensors |= {name: tensors[name][order] for name in ("cls.weight", "cls.bias")}
        categories = vistas
        notes.append(f"the file does not name its {num_classes} classes: the names of Mapillary Vistas v1.2 are used")
    else:
        categories = Categories(
            tuple(Category(f"class {number}", False, palette_color(number), number) for number in range(num_classes))
        )
        notes.append(
            f"the file does not name its {num_classes} classes, and Mapillary Vistas v1.2 has {len(vistas)}: they are "
            f"called class 0 to class {num_classes - 1}"
        )
    settings = yaml.safe_dump(SETTINGS, sort_keys=False)
    return PublishedModel(ModelFile(settings, categories.to_list(), tensors), tuple(notes))
