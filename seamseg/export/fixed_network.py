"""The panoptic network for one image of a fixed size, as a graph of plain operators (Porzi et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seamseg.algos.roi_pooling import RegionPooler
from seamseg.data.transforms import Normalize
from seamseg.export.fixed_selection import select_detections, select_proposals
from seamseg.modules.abn import ABN
from seamseg.modules.folding import fold_norms
from seamseg.networks import PanopticNet
from seamseg.ops.fusion import resample
from seamseg.structures import Size

CLASSES_AT_A_TIME = 8
"""Of the semantic scores that are enlarged together: those of all classes would take gigabytes at once."""


class FixedSizeNet(nn.Module):
    """What :meth:`PanopticNet.predict` finds in one image, with all shapes known beforehand.

    Norms are folded into the layers in front of them, nothing is an operator of this project, and no shape depends
    on the image: what it lacks in detections are rows of zeros that are marked as not valid.

    Args:
        network: stays as it is; a folded copy is used.
        normalize: from bytes to what the network reads.
        size: height and width of the images.

    Shape:
        An H×W×3 uint8 image, red first, to

        - ``semantics``: H×W uint8, the semantic head's class of every pixel;
        - ``boxes``: D×4 float32, ``(y0, x0, y1, x1)`` in pixels, by falling score;
        - ``classes``: D int64, stuff classes counted too: the first thing class is S;
        - ``scores``: D float32 in 0 … 1;
        - ``masks``: D×28×28 float32, mask logits in the box;
        - ``valid``: D bool, whether this is a detection; if not, its other entries are 0.

        D is the largest number of detections of the network's settings.

    Raises:
        ValueError: a norm can be neither folded nor exported.
    """

    network: PanopticNet

    def __init__(self, network: PanopticNet, normalize: Normalize, size: Size) -> None:
        super().__init__()
        folded = fold_norms(network).requires_grad_(False)
        assert isinstance(folded, PanopticNet)
        self.network = folded
        left = [name for name, module in self.network.named_modules() if isinstance(module, ABN)]
        if left:
            raise ValueError(f"the norms {', '.join(left)} don't stand behind a convolution: they cannot be exported")
        self.normalize, self.size = normalize, size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        network, size = self.network, self.size
        levels = network.body(self.normalize(image.permute(2, 0, 1))[None])
        regions = network.region_network
        proposals, valid = self._proposals(levels)
        logits, shifts = network.roi_head.classify(pool_regions(regions.pooler, levels, proposals, size))
        found = select_detections(regions.selector, proposals, valid, logits, shifts, size)
        masks = network.roi_head.masks(pool_regions(regions.pooler, levels, found.boxes, size))
        chosen = masks[torch.arange(len(masks), device=masks.device), found.classes]
        return {
            "semantics": enlarged_classes(network.sem_head(levels)[0], size),
            "boxes": found.boxes,
            "classes": (found.classes + regions.num_stuff) * found.valid,
            "scores": found.scores,
            "masks": chosen * found.valid[:, None, None],
            "valid": found.valid,
        }

    def _proposals(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        algorithm = self.network.proposal_network
        levels = levels[: len(algorithm.anchors.strides)]
        objectness, shifts = self.network.rpn_head(levels)
        sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]
        anchors = algorithm.anchors(sizes, objectness.device)
        return select_proposals(algorithm.inference_selector, anchors, objectness[0], shifts[0], self.size)


def pool_regions(pooler: RegionPooler, levels: Sequence[Tensor], boxes: Tensor, size: Size) -> Tensor:
    """What ``pooler`` samples of one image, read from all levels and chosen then, since how many boxes a level has
    depends on the image.

    Args:
        pooler: with the size of the features.
        levels: 1×C×h×w each, fine to coarse.
        boxes: R×4.
        size: height and width of the image.

    Returns:
        R×C×output×output.
    """
    level_of, first_image = pooler.level_of(boxes), torch.zeros_like(boxes[:, 0])
    features = pooler.sample(levels[0], boxes, first_image, size)
    for index, level in enumerate(levels[1 : pooler.num_levels], start=1):
        features = torch.where(
            (level_of == index)[:, None, None, None], pooler.sample(level, boxes, first_image, size), features
        )
    return features


def enlarged_classes(logits: Tensor, size: Size) -> Tensor:
    """The class with the largest score in every pixel, the smallest of several, as ``ops.interpolate.class_map``.

    Args:
        logits: C×h×w.
        size: height and width of the image they cover.

    Returns:
        H×W uint8.
    """
    best, classes = None, torch.zeros(size, dtype=torch.int64, device=logits.device)
    for first, part in zip(
        range(0, len(logits), CLASSES_AT_A_TIME), torch.split(logits, CLASSES_AT_A_TIME), strict=True
    ):
        values, indices = resample(part, size).max(dim=0)
        if best is None:
            best, classes = values, indices
        else:
            classes = torch.where(values > best, indices + first, classes)
            best = torch.maximum(best, values)
    return classes.to(torch.uint8)
