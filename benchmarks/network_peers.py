"""Networks that a user would pick instead: torchvision's Mask R-CNN, and Panoptic FPN of detectron2 or like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import maskrcnn_resnet50_fpn

from seamseg.algos.fusion import PanopticFusion
from seamseg.algos.losses import SemanticLoss
from seamseg.structures import VOID, Detections, GroundTruth, SemanticLogits, Size
from seamseg.structures.images import PaddedImages
from seamseg.structures.losses import LossSum

PFPN_STUFF, PFPN_THINGS = 53, 80
"""Classes of the Panoptic FPN for COCO, which has one more class for all things together."""
_THRESHOLD = 0.05
"""Minimum score of a detection. Random weights give each class about the same score, so it must be below that."""


def mask_rcnn(size: Size, num_things: int, num_samples: int) -> nn.Module:
    """Return torchvision's untrained Mask R-CNN, which finds as many proposals and detections as a trained one.

    Args:
        size: Height and width of the images, which are not resized.
        num_things: Number of thing classes.
        num_samples: Number of regions per image that are sampled in training.
    """
    network: Any = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=num_things + 1,
        min_size=min(size),
        max_size=max(size),
        box_batch_size_per_image=num_samples,
        box_score_thresh=min(_THRESHOLD, 0.5 / (num_things + 1)),
    )
    # Random deltas turn most boxes into the whole image, and suppression leaves a few dozen. Zeros keep the anchors.
    for predictor in (network.rpn.head, network.roi_heads.box_predictor):
        nn.init.zeros_(predictor.bbox_pred.weight)
    made: nn.Module = network
    return made


def mask_rcnn_targets(truth: GroundTruth, num_stuff: int) -> list[dict[str, Tensor]]:
    """Return the annotation of the objects as torchvision expects it."""
    targets = []
    for image in range(len(truth)):
        objects = truth.objects(image, num_stuff)
        ids = truth.ids.entry(image)[0]
        masks = (ids == objects.segment_ids[:, None, None]).to(torch.uint8)
        boxes = objects.boxes[:, [1, 0, 3, 2]]
        targets.append({"boxes": boxes, "labels": objects.classes + 1, "masks": masks})
    return targets


class SemanticFPNHead(nn.Module):
    """Semantic head of Panoptic FPN (Kirillov et al., 2019, section 3) with group norm: stride 4, 128 channels.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the pyramid levels.
    """

    def __init__(self, num_classes: int, in_channels: int = 256) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(in_channels, level) for level in range(4))
        self.predictor = nn.Conv2d(128, num_classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return N×C×h×w logits at the size of the finest of four levels."""
        total = self.branches[0](levels[0])
        for branch, level in zip(list(self.branches)[1:], levels[1:4], strict=True):
            total = total + branch(level)
        logits: Tensor = self.predictor(total)
        return logits


def _branch(in_channels: int, level: int) -> nn.Sequential:
    """Return the layers from a level to the size of level 0: a convolution and an upsampling per factor of 2."""
    layers: list[nn.Module] = []
    for stage in range(max(1, level)):
        layers += [nn.Conv2d(128 if stage else in_channels, 128, 3, padding=1, bias=False)]
        layers += [nn.GroupNorm(32, 128), nn.ReLU(inplace=True)]
        layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)] if level else []
    return nn.Sequential(*layers)


class PanopticFPN(nn.Module):
    """Panoptic FPN made of torchvision's Mask R-CNN and a semantic head, for machines without detectron2.

    Its masks are fused by this project, which is faster than pasting each of them at full size.

    Args:
        size: Height and width of the images.
        num_samples: Number of regions per image that are sampled in training.
    """

    def __init__(self, size: Size, num_samples: int) -> None:
        super().__init__()
        self.objects: Any = mask_rcnn(size, PFPN_THINGS, num_samples)
        self.semantics = SemanticFPNHead(PFPN_STUFF + 1)
        self.fusion = PanopticFusion(PFPN_STUFF + 1, 0.0, 0.5, 0)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]], classes: Tensor) -> Tensor:
        """Return the sum of all losses; ``classes`` is the N×H×W class of every pixel."""
        features, batch, targets = self._features(images, targets)
        proposals, losses = self.objects.rpn(batch, features, targets)
        _, region_losses = self.objects.roi_heads(features, proposals, batch.image_sizes, targets)
        logits = self._upsampled(features, batch.tensors.shape[-2:])
        semantic = functional.cross_entropy(logits, classes, ignore_index=VOID)
        total: Tensor = semantic + sum((losses | region_losses).values())
        return total

    @torch.no_grad()
    def predict(self, image: Tensor) -> object:
        """Return the panoptic segmentation of a 3×H×W image."""
        features, batch, _ = self._features([image], None)
        proposals, _ = self.objects.rpn(batch, features)
        (found,), _ = self.objects.roi_heads(features, proposals, batch.image_sizes)
        masks = torch.logit(found["masks"].squeeze(1), 1e-6)
        detections = Detections(found["boxes"][:, [1, 0, 3, 2]], found["labels"] - 1, found["scores"], masks)
        logits = self.semantics(list(features.values())[:4])[0]
        size = (image.shape[-2], image.shape[-1])
        return self.fusion(detections, SemanticLogits(logits, size, size), size)

    def _features(self, images: list[Tensor], targets: Any) -> tuple[Any, Any, Any]:
        batch, targets = self.objects.transform(images, targets)
        return self.objects.backbone(batch.tensors), batch, targets

    def _upsampled(self, features: Any, size: torch.Size) -> Tensor:
        logits: Tensor = self.semantics(list(features.values())[:4])
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


class WholeSemanticLoss(SemanticLoss):
    """The semantic loss computed plainly: logits, softmax and gradients of all pixels at once."""

    def __call__(self, logits: Tensor, images: PaddedImages, ground_truth: GroundTruth) -> LossSum:
        """Compute the loss; see :class:`seamseg.algos.losses.SemanticLoss`."""
        losses = []
        for image, (height, width) in enumerate(images.sizes):
            whole = functional.interpolate(logits[image : image + 1].float(), images.padded_size, mode="bilinear")
            target = ground_truth.semantic_target(image).unsqueeze(0)
            pixels = functional.cross_entropy(whole[..., :height, :width], target, ignore_index=VOID, reduction="none")
            num_hardest = -int(-self.hardest_fraction * height * width // 1)
            losses.append(pixels.flatten().topk(num_hardest, sorted=False).values.mean())
        return LossSum(torch.stack(losses).sum(), len(losses))


def detectron2_panoptic_fpn(size: Size) -> Callable[[Tensor], object] | None:
    """Return the prediction of detectron2's untrained Panoptic FPN, or None if it is not installed."""
    try:
        from detectron2 import model_zoo
        from detectron2.modeling import build_model
    except ImportError:
        return None
    config = model_zoo.get_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml")
    config.MODEL.DEVICE, config.MODEL.RESNETS.NORM, config.MODEL.FPN.NORM = "cpu", "BN", ""
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.5 / (PFPN_THINGS + 1)
    network = build_model(config).eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def predict(image: Tensor) -> object:
        return network([{"image": image, "height": size[0], "width": size[1]}])

    return predict
