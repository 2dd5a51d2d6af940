"""Semantic loss against upsampling all logits first: python -m benchmarks.semantic_loss.

Forward and backward pass of the bootstrapped cross-entropy of one image: CPU time of one thread, and memory without the
logits. The peer interpolates to the full size, computes the cross-entropy and averages the hardest quarter. Logits
are noise that prefers the right class, and classes are blocks of 32 pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.command import benchmark_parser, publish
from benchmarks.memory import peak_bytes
from benchmarks.table import Row
from benchmarks.timing import Side, medians
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy
from seamseg.structures import Size

CASES: tuple[tuple[int, int, Size], ...] = ((19, 8, (512, 1024)), (65, 8, (960, 1152)), (133, 4, (800, 1216)))
"""Number of classes, stride of the logits and size of the image: Cityscapes, Vistas and COCO."""
QUICK_CASES: tuple[tuple[int, int, Size], ...] = ((5, 4, (64, 96)),)
ROUNDS, QUICK_ROUNDS, WARM_UP = 20, 1, 1
HARDEST = 0.25
_BLOCK = 32
Loss = Callable[[Tensor, Tensor, Size], Tensor]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("semantic_loss", __doc__, "one round of a small image")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases, rounds = (QUICK_CASES, QUICK_ROUNDS) if options.quick else (CASES, ROUNDS)
    rows = [row for case in cases for row in case_rows(*case, rounds)]
    publish("semantic_loss", options, 1, ["torch", "seamseg"], rows)


def case_rows(num_classes: int, stride: int, size: Size, rounds: int) -> list[Row]:
    """Measure time and memory of one image."""
    logits, target = made_up_image(num_classes, stride, size)
    ours, peer = (step(loss, logits, target, size) for loss in (lean_loss, plain_loss))
    torch.testing.assert_close(ours(), peer(), rtol=1e-4, atol=1e-7)
    times = medians({"ours": cpu_time(ours), "peer": cpu_time(peer)}, rounds, WARM_UP)
    what = f"semantic loss, {num_classes} classes, {size[0]}×{size[1]} from stride {stride}"
    memory = (peak_bytes(ours) / 1e6, peak_bytes(peer) / 1e6)
    return [
        Row(f"time-{num_classes}", f"{what}: CPU time; upsampling first", times["ours"], times["peer"], "ms", 0.2),
        Row(f"memory-{num_classes}", f"{what}: peak memory; upsampling first", *memory, "MB", 0.1),
    ]


def made_up_image(num_classes: int, stride: int, size: Size) -> tuple[Tensor, Tensor]:
    """Return 1×C×h×w logits and H×W classes, void at the top."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, num_classes, (-(-size[0] // _BLOCK), -(-size[1] // _BLOCK)), generator=generator)
    target = blocks.repeat_interleave(_BLOCK, 0).repeat_interleave(_BLOCK, 1)[: size[0], : size[1]].contiguous()
    right = target[::stride, ::stride]
    logits = 2 * torch.randn(1, num_classes, *right.shape, generator=generator)
    logits[0].scatter_add_(0, right[None], torch.full_like(right, 6, dtype=torch.float32)[None])
    target[: _BLOCK // 2] = 255
    return logits, target


def lean_loss(logits: Tensor, target: Tensor, size: Size) -> Tensor:
    """Compute the loss as the networks do."""
    return bootstrapped_cross_entropy(logits, [target], size, HARDEST)


def plain_loss(logits: Tensor, target: Tensor, size: Size) -> Tensor:
    """Compute the loss from all upsampled logits."""
    enlarged = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    losses = functional.cross_entropy(enlarged, target[None], ignore_index=255, reduction="none").flatten()
    return losses.topk(math.ceil(HARDEST * losses.numel()), sorted=False).values.mean()


def step(loss: Loss, logits: Tensor, target: Tensor, size: Size) -> Callable[[], Tensor]:
    """Return a function that computes the gradient of the logits."""

    def work() -> Tensor:
        leaf = logits.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, target, size).sum(), leaf)
        return gradient

    return work


def cpu_time(work: Callable[[], object]) -> Side:
    """Return a side that measures the CPU time of this process, in milliseconds, which other programs hardly change."""

    def once() -> float:
        start = time.process_time()
        work()
        return 1000 * (time.process_time() - start)

    return once


if __name__ == "__main__":
    main()
