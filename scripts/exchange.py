"""Run a `seamseg` command with one piece of the network swapped for that of torchvision or detectron2.

python -m scripts.exchange "L1 loss of boxes" train scenes_r18 data.root=data/scenes --run-dir runs/exchanged

The pieces are those in which Panoptic FPN differs from the published network and that have no setting;
scripts/comparisons/scenes_causes.yaml compares them. `evaluate` needs the same piece as the training.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import init
from torchvision.models.detection.rpn import AnchorGenerator, RegionProposalNetwork, RPNHead

from seamseg.algos import losses, rpn
from seamseg.algos.rpn import ProposalSelector
from seamseg.builders import initial_weights
from seamseg.builders.network import initialize as our_initialize
from seamseg.cli import main as run_command
from seamseg.ops.boxes import decode_boxes
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence


def main(arguments: Sequence[str]) -> int:
    """Run the command that follows the name of the piece; return its exit code."""
    if not arguments or arguments[0] not in EXCHANGES:
        print(f"The first argument must be one of: {', '.join(EXCHANGES)}.", file=sys.stderr)
        return 2
    with ExitStack() as exchanged:
        for owner, name, piece in EXCHANGES[arguments[0]]:
            exchanged.enter_context(patch.object(owner, name, piece))
        return run_command(arguments[1:])


@torch.no_grad()
def select_in_levels(
    selector: ProposalSelector, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, sizes: Sequence[Size]
) -> PackedSequence:
    """Return the proposals that torchvision selects: the best of each level, suppressed within their level.

    Arguments and result are those of :class:`ProposalSelector`. Levels are told apart by the size of their anchors,
    which doubles from one to the next.
    """
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1).sqrt()
    _, counts = torch.unique_consecutive(sides.log2().round(), return_counts=True)
    peer = RegionProposalNetwork(
        AnchorGenerator(),
        RPNHead(1, 1),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=1,
        positive_fraction=0.5,
        pre_nms_top_n={"training": selector.num_before_nms},
        post_nms_top_n={"training": selector.num_after_nms},
        nms_thresh=selector.nms_threshold,
    )
    peer.min_size = selector.min_size
    boxes = torch.stack([decode_boxes(anchors, deltas.float()) for deltas in box_deltas])
    found, _ = peer.filter_proposals(boxes[..., [1, 0, 3, 2]], objectness.float(), list(sizes), counts.tolist())
    return PackedSequence(image[:, [1, 0, 3, 2]] for image in found)


@torch.no_grad()
def initialize(network: nn.Module, activation: str, slope: float, generator: torch.Generator) -> None:
    """Initialize the semantic head as usual, and the rest as torchvision does in its Mask R-CNN."""
    our_initialize(network, activation, slope, generator)
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) or name.startswith("sem_head"):
            continue
        if name.startswith("rpn_head"):
            init.normal_(module.weight, std=0.01, generator=generator)
        elif name.startswith("body.fpn"):
            init.kaiming_uniform_(module.weight, a=1, generator=generator)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
        else:
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)


EXCHANGES: Mapping[str, Sequence[tuple[Any, str, Any]]] = {
    "best proposals of each level": [(ProposalSelector, "__call__", select_in_levels)],
    # With this σ, the smooth L1 loss is the absolute difference but for a millionth around 0.
    "L1 loss of boxes": [(rpn, "BOX_SIGMA", 1000.0), (losses, "BOX_SIGMA", 1000.0)],
    "initial weights of torchvision": [(initial_weights, "initialize", initialize)],
}
"""What replaces which attribute of which module or class, by the name of the piece."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
