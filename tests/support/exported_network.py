"""Networks to export, and the comparison of outputs of an exported network with those of the original one.

net = exportable_network(bias=3.05)
check_outputs(outputs_of_one_image, expected_outputs(net, picture(1)))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from oracles.norm import stir
from support.tiny_network import NUM_STUFF, NUM_THINGS, tiny_network
from torch import Tensor

from seamseg.data.transforms import Normalize
from seamseg.export.numpy_fusion import Description
from seamseg.modules.abn import ABN
from seamseg.modules.norm import NormName
from seamseg.modules.roi_head import MASK_SIZE
from seamseg.networks import PyramidNet
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import PackedSequence, Size

SIZE = (75, 107)  # no level has exactly half the size of the next finer one
NORMALIZE = Normalize((0.45, 0.4, 0.35), (0.2, 0.25, 0.3))
BIASES = {"full": 0.0, "some": 3.05, "none": 50.0}
"""Biases of the background class that give the maximum number of detections, fewer, or none."""


def described(size: Size | None = SIZE, batch: int | None = 1) -> Description:
    number = NUM_STUFF + NUM_THINGS
    return Description(
        *(size or (None, None)),
        batch=batch,
        size_multiple=32,
        shortest_side=64,
        longest_side=128,
        names=tuple("abcdefgh"[:number]),
        colors=tuple((20 * index, 2, 3) for index in range(number)),
        original_ids=tuple(range(number)),
        num_stuff=NUM_STUFF,
        score_threshold=0.1,
        overlap_threshold=0.5,
        min_stuff_area=16,
        version="1",
    )


def picture(seed: int, size: Size = SIZE) -> Tensor:
    return torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def pictures(number: int, size: Size = SIZE) -> Tensor:
    return torch.stack([picture(seed, size) for seed in range(1, number + 1)])


def exportable_network(
    bias: float = 0.0, norm: NormName = "bn", all_branches: bool = False, cascade: tuple[float, ...] = ()
) -> PyramidNet:
    """Build a network with nontrivial norm statistics and weights, and with confident masks.

    Optionally, it has convolutions for boxes and a head for points, and scores masks, or it has stages.
    """
    branches: Any = {"box_channels": 8, "mask_scoring": True, "point_head": True} if all_branches else {}
    net = tiny_network(norm, cascade=cascade, **branches).eval()
    for number, module in enumerate(net.modules()):
        if isinstance(module, ABN):
            stir(module, seed=number)
    with torch.no_grad():
        net.roi_head.roi_msk.weight.mul_(30)
        net.rpn_head.conv_bbx.weight.mul_(3)
        for head in (net.roi_head, *net.roi_head.later_stages):
            head.roi_cls.bias.copy_(torch.tensor([bias, 0.1, 0.2]))
            if cascade:
                head.roi_bbx_any.weight.mul_(200)
        if all_branches:
            net.roi_head.roi_iou.weight.mul_(10)
            net.roi_head.roi_iou.bias.fill_(0.3)
            net.roi_head.point.roi_pnt.weight.mul_(100)
    return net


def expected_outputs(net: PyramidNet, image: Tensor, normalize: Normalize = NORMALIZE) -> dict[str, Tensor]:
    """Return the outputs of the original network for one image; detections without padding rows."""
    predictions = net.predict(PackedSequence([normalize(image.permute(2, 0, 1))]))
    found = predictions.detections(0)
    return {
        "semantics": upsample_argmax(predictions.semantics(0), (image.shape[0], image.shape[1])).to(torch.uint8),
        "boxes": found.boxes,
        "classes": found.classes + net.roi_heads.num_stuff,
        "scores": found.scores,
        "masks": found.masks,
    }


def image_outputs(outputs: Mapping[str, Tensor | np.ndarray], index: int) -> dict[str, Tensor]:
    """Return the outputs of one image of a batch as tensors."""
    return {name: torch.as_tensor(values[index]) for name, values in outputs.items()}


def check_outputs(found: dict[str, Tensor], truth: dict[str, Tensor], max_wrong_pixels: int = 0) -> None:
    """Compare the outputs of an exported network for one image with :func:`expected_outputs`."""
    valid, num = found["valid"], len(truth["boxes"])
    assert valid.tolist() == [True] * num + [False] * (len(valid) - num)
    torch.testing.assert_close(found["boxes"][valid], truth["boxes"], atol=2e-3, rtol=0)
    torch.testing.assert_close(found["scores"][valid], truth["scores"], atol=1e-5, rtol=0)
    wrong = (found["masks"][valid] - truth["masks"]).abs() > 1e-3 + 1e-4 * truth["masks"].abs()
    # Which positions a point head decides about can depend on rounding.
    assert wrong.sum() <= (2e-3 * wrong.numel() if truth["masks"].shape[-1] > MASK_SIZE else 0)
    assert torch.equal(found["classes"][valid], truth["classes"])
    assert all(not found[name][~valid].any() for name in ("boxes", "classes", "scores", "masks"))
    assert (found["semantics"] != truth["semantics"]).sum() <= max_wrong_pixels
