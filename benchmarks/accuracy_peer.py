"""torchvision's Mask R-CNN, trained by our training loop on our batches: python -m benchmarks.accuracy_peer.

Everything but the network is the same as in `seamseg train`: the batches, the optimizer, the schedule, the clipping of
the gradient, the weight average and the precision. The network learns only the things.
"""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from benchmarks.network_peers import mask_rcnn_targets
from seamseg.builders.data import build_evaluation_loader, build_training_loader, open_split, open_training_split
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.builders.training import assemble_run
from seamseg.config import Experiment, load_experiment, settings_file
from seamseg.config.heads import LossWeights
from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.loader import BatchLoader
from seamseg.engine.validation import Validated
from seamseg.export.model_file import MODEL_FILE, read_model
from seamseg.io.files import write_text
from seamseg.modules.fpn import PyramidBody
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process
from seamseg.runtime.stopping import StopRequest
from seamseg.structures import Categories, GroundTruth, Losses, PackedSequence, Size

CONFIG = "scenes_r18_best"
DETECTIONS_FILE = "instances.json"
"""Name of the COCO results in the run folder."""
CPU = Process(0, 1, torch.device("cpu"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the network with our body and pyramid, or detect the things in the held-out images."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy_peer", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("part", choices=("train", "detect"))
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"settings that replace those of {CONFIG}")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    experiment = load_experiment(settings_file(CONFIG), options.overrides)
    split = open_training_split(experiment)
    peer = build_peer(experiment, split.categories)
    if options.part == "train":
        train(peer, experiment, split, options.run)
    else:
        detect(peer, experiment, options.run)


def build_peer(experiment: Experiment, categories: Categories) -> MaskRCNNPeer:
    """Build torchvision's network on the body and the pyramid of ours, with the initial weights of ours.

    Args:
        experiment: Settings of our network.
        categories: Classes of the data set.
    """
    torch.manual_seed(experiment.training.seed)
    body = build_initialized_network(experiment, categories).body
    assert isinstance(body, PyramidBody)
    network = build_mask_rcnn(experiment, OurBackbone(body, experiment.fpn.channels), categories.num_things)
    return MaskRCNNPeer(network, categories.num_stuff)


class OurBackbone(nn.Module):
    """Body and pyramid of our network, norms included, in the form of torchvision's backbones.

    Args:
        body: Body and pyramid.
        out_channels: Number of channels of every level.
    """

    def __init__(self, body: PyramidBody, out_channels: int) -> None:
        super().__init__()
        self.body, self.out_channels = body, out_channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return the levels of N×3×H×W images by number, fine to coarse."""
        return OrderedDict((str(number), level) for number, level in enumerate(self.body(images)))


def build_mask_rcnn(
    experiment: Experiment, backbone: nn.Module, num_things: int, fc_channels: int | None = None
) -> MaskRCNN:
    """Build torchvision's network with the anchors, numbers of samples and widths of a config.

    Its other values are torchvision's defaults, such as the numbers of proposals and heads without norms.

    Args:
        experiment: Settings of the anchors, the sampling and the widths.
        backbone: Network from images to levels of ``out_channels`` channels each, which are also the channels of the
            RPN head and the mask branch.
        num_things: Number of thing classes.
        fc_channels: Number of channels of the two fully connected layers; None for that of the settings.
    """
    channels: Any = backbone.out_channels
    fc_channels = fc_channels or experiment.roi.fc_channels
    sizes = tuple((round(experiment.rpn.anchor_scale * stride),) for stride in experiment.fpn.strides)
    return MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, (tuple(experiment.rpn.anchor_ratios),) * len(sizes)),
        rpn_fg_iou_thresh=experiment.rpn.positive_threshold,
        rpn_batch_size_per_image=experiment.rpn.num_samples,
        box_batch_size_per_image=experiment.roi.num_samples,
        box_head=TwoMLPHead(channels * 7**2, fc_channels),
        box_predictor=FastRCNNPredictor(fc_channels, num_things + 1),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_things + 1),
    )


class MaskRCNNPeer(nn.Module):
    """torchvision's Mask R-CNN with the interface of a network that our training loop trains.

    It takes images that are already normalized and resized.

    Args:
        network: torchvision's network.
        num_stuff: Number of stuff classes of the data set, which it does not learn.
        frozen: Name of a part of ``network`` that stays in evaluation mode in training; empty for none.
    """

    def __init__(self, network: MaskRCNN, num_stuff: int, frozen: str = "") -> None:
        super().__init__()
        self.network: Any = network
        self.num_stuff, self.frozen = num_stuff, frozen
        # torchvision decodes boxes in the type of their deltas, and bfloat16 has steps of two pixels at 384.
        for head in (network.rpn.head, network.roi_heads.box_predictor, network.roi_heads.mask_predictor):
            head.register_forward_hook(_in_float32)

    def train(self, mode: bool = True) -> MaskRCNNPeer:
        """Set the mode; the frozen part stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.network.get_submodule(self.frozen).eval()
        return self

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """Compute the training losses of the things; as in torchvision's reference code, crowds are left out.

        Args:
            images: N normalized images, 3×H×W each.
            ground_truth: Annotation at the size of the images.
            generator: Not used; torchvision samples with torch's global generator, which the training loop seeds.
        """
        targets = mask_rcnn_targets(ground_truth, self.num_stuff)
        batch, features = self._features(images)
        proposals, first = self.network.rpn(batch, features, targets)
        _, second = self.network.roi_heads(features, proposals, batch.image_sizes, targets)
        return Losses(
            rpn_objectness=first["loss_objectness"],
            rpn_boxes=first["loss_rpn_box_reg"],
            roi_classes=second["loss_classifier"],
            roi_boxes=second["loss_box_reg"],
            roi_masks=second["loss_mask"],
        )

    @torch.no_grad()
    def detect(self, images: PackedSequence, sizes: Sequence[Size]) -> list[dict[str, Tensor]]:
        """Return boxes, labels, scores and masks of each image, at the given sizes, in torchvision's form."""
        batch, features = self._features(images)
        proposals, _ = self.network.rpn(batch, features)
        found, _ = self.network.roi_heads(features, proposals, batch.image_sizes)
        results: list[dict[str, Tensor]] = self.network.transform.postprocess(found, batch.image_sizes, list(sizes))
        return results

    def _features(self, images: PackedSequence) -> tuple[ImageList, dict[str, Tensor]]:
        """Return the padded images and their levels. torchvision's own transform would enlarge them in evaluation."""
        given = list(images.present)
        batch = ImageList(self.network.transform.batch_images(given), [(one.shape[1], one.shape[2]) for one in given])
        # Anchors have the type of the levels.
        return batch, {name: level.float() for name, level in self.network.backbone(batch.tensors).items()}


def _in_float32(module: nn.Module, inputs: object, output: Any) -> Any:
    return (
        output.float()
        if isinstance(output, Tensor)
        else type(output)(_in_float32(module, inputs, one) for one in output)
    )


class _NoValidation:
    """Validation of a network that another program scores: every network is the best."""

    loader: BatchLoader[Any]

    def __call__(self, network: Any) -> Validated:
        return Validated(quality=0.0, curves={}, summary="not scored")


def train(peer: MaskRCNNPeer, experiment: Experiment, split: AnnotatedDataset, run: Path) -> None:
    """Train and write the averaged weights to the run folder."""
    trainer, record = assemble_run(
        experiment,
        run,
        CPU,
        None,
        network=peer,
        build_loader=partial(build_training_loader, experiment, split, CPU),
        loss_weights=LossWeights().model_dump(),
        validation=_NoValidation(),
        classes=split.categories.to_list(),
    )
    trainer.run(record.position, record, StopRequest())
    record.close()


def detect(peer: MaskRCNNPeer, experiment: Experiment, run: Path) -> None:
    """Write the detections in the held-out images, at their original size, as COCO results to the run folder.

    They are computed in float32, as by ``seamseg evaluate``.
    """
    peer.load_state_dict(read_model(run / MODEL_FILE).tensors)
    peer.eval()
    split = open_split(experiment.data.root, experiment.data.val_split, None)
    things = [category.original_id for category in split.categories.classes[split.categories.num_stuff :]]
    results: list[dict[str, Any]] = []
    for batch in build_evaluation_loader(experiment, split, CPU).epoch(0):
        found = peer.detect(batch.images, batch.original_sizes)
        for image_id, one in zip(batch.image_ids, found, strict=True):
            results += [{"image_id": image_id, **entry} for entry in coco_results(one, things)]
    write_text(run / DETECTIONS_FILE, json.dumps(results))


def coco_results(found: dict[str, Tensor], category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
    """Return the detections in one image as COCO results without the image."""
    entries = []
    columns = (found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), found["masks"])
    for (x0, y0, x1, y1), label, score, mask in zip(*columns, strict=True):
        outline = coco_mask.encode(np.asfortranarray((mask[0] > 0.5).numpy().astype(np.uint8)))
        entries.append(
            {
                "category_id": category_ids[label - 1],
                "score": score,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": {"size": outline["size"], "counts": outline["counts"].decode()},
            }
        )
    return entries


if __name__ == "__main__":
    main()
