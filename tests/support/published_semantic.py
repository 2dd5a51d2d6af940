"""A semantic model in the published form, written from the form's description.

write_semantic(tmp_path / "model.pth.tar", semantic_state(num_classes=65))     # within narrow_body()
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seamseg.algos.losses import SemanticLoss
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.norm import NormFactory
from seamseg.modules.pre_activation import build_wide_resnet38
from seamseg.networks.deeplab import DeepLabNet

PARTS = ("body", "head", "cls")


def semantic_state(num_classes: int = 65, seed: int = 0) -> dict[str, Tensor]:
    """Make the state dict of a network with random weights; its body is narrow within `narrow_body()`."""
    norm = NormFactory("bn")
    body = build_wide_resnet38("dilated", norm)
    network = DeepLabNet(body, DeepLabHead(body.channels[-1], norm), num_classes, SemanticLoss())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return network.state_dict()


def published_content(state: Mapping[str, Tensor], counters: bool = False) -> dict[str, Any]:
    """Make the content of the file; without counters, as in versions of torch in which norms had none."""
    parts: dict[str, Any] = {part: OrderedDict() for part in PARTS}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if counters or not rest.endswith("num_batches_tracked"):
            parts[part][rest] = tensor
    return {"state_dict": parts, "training_meta": {"epoch": 89}}


def write_semantic(path: Path, state: Mapping[str, Tensor], early: bool = True) -> Path:
    """Write the file; ``early`` uses the format of torch before 1.6."""
    torch.save(published_content(state), path, _use_new_zipfile_serialization=not early)
    return path
