"""Cross-entropy of the hardest pixels, computed from logits of lower resolution that are never upsampled as a whole.

The upsampled logits of an image with 65 classes and 960×1152 pixels take 288 MB. So do the logarithms of their softmax
and the gradients of both. Here, the forward pass keeps five bytes per pixel, and the backward pass upsamples again. On
the CPU and on GPUs, native kernels (``csrc/fusion``) do so for all types but float64; everything else runs in strips of
rows. Nothing waits for a GPU, so there a class without logits fails an assertion of the kernel, as in the cross-entropy
of PyTorch.

Class weights and the focal loss are functions of a pixel's class and cross-entropy. They change the map of losses, and
multiply the gradient of each pixel by a factor, which is kept in four more bytes per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from seamseg.ops import native
from seamseg.ops.fusion import row_taps, score_step
from seamseg.structures import VOID, SemanticLogits, Size

STRIP_SCORES = 1 << 22
"""Maximum number of upsampled scores in one strip of rows, if it has several rows."""
_KERNEL_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def bootstrapped_cross_entropy(
    logits: Tensor,
    targets: Iterable[Tensor],
    padded_size: Size,
    hardest_fraction: float,
    class_weights: Tensor | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Average the cross-entropy of the hardest pixels of each image (Porzi et al. 2019, the loss of the semantic head).

    The logits are upsampled bilinearly (corners not aligned) to the padded image and cropped. Neither the forward nor
    the backward pass holds all upsampled logits of an image.

    Args:
        logits: N×C×h×w logits of the padded images, of any floating-point type; C is at most 255.
        targets: Class of every pixel of each image without padding, H×W int64; 255 is void, with loss 0. They are read
            one by one, so a generator does not have to hold more than one.
        padded_size: Height and width of the padded images.
        hardest_fraction: Fraction of an image's pixels that enter the mean, in (0, 1]; their number is rounded up. If
            several pixels at the limit have the same loss, any of them may enter.
        class_weights: C factors of the losses of each class's pixels; None for 1. The mean is still divided by the
            number of pixels, and the weighted loss decides which are the hardest.
        focal_gamma: Exponent γ ≥ 0 of the focal loss (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
            eq. 4, for several classes): the cross-entropy of a pixel is multiplied by (1 − p)^γ, where p is the
            probability of its class. 0 disables it.

    Returns:
        N losses, float64 for float64 logits, else float32. NaN counts as the largest loss.

    Raises:
        ValueError: If there are not C class weights, or a pixel has a class that is neither 255 nor below C; the
            latter is a RuntimeError where there are no kernels, and a later CUDA error on a GPU.
        NotImplementedError: If the second derivative is requested.
        NativeLibraryError: If the native library is missing.
    """
    if class_weights is not None and class_weights.shape != logits.shape[1:2]:
        raise ValueError(f"there are {tuple(class_weights.shape)} class weights for {logits.shape[1]} classes")
    emphasis = None if class_weights is None and focal_gamma == 0 else _Emphasis(class_weights, focal_gamma)
    losses: Tensor = _HardestMeans.apply(logits, targets, padded_size, hardest_fraction, emphasis)
    return losses


def upsample_probability(semantics: SemanticLogits, classes: Tensor) -> Tensor:
    """Return the softmax probability of a given class at every pixel of the unpadded image.

    The scores are interpolated as in :func:`seamseg.ops.fusion.upsample_argmax`, but never kept for all pixels at once:
    each probability is computed like its cross-entropy.

    Args:
        semantics: C×h×w scores of one padded image; C is at most 255.
        classes: H×W integers, the class of every pixel of the result; 255 means none.

    Returns:
        H×W float32 in 0 … 1 on the device of the classes; 0 for pixels without a class, and where the scores have no
        softmax because one of them is NaN or infinite.

    Raises:
        ValueError: If a pixel has a class that is neither 255 nor below C.
        ImportError: If the native library is not built.
    """
    logits, output_size = semantics.logits, (classes.shape[0], classes.shape[1])
    scores = logits.to(
        native.device_with_kernels(logits.device), logits.dtype if logits.dtype in _KERNEL_TYPES else torch.float32
    )
    steps = (score_step(semantics, output_size, axis) for axis in (0, 1))
    target = classes.to(scores.device, torch.int64)
    losses, _ = native.call("upsampled_cross_entropy", _loss_shapes, scores, target, *steps)
    probability: Tensor = losses.neg().exp().nan_to_num(nan=0.0).clamp(max=1)
    return probability.to(classes.device).masked_fill(classes == VOID, 0)


class _Emphasis(NamedTuple):
    """Class weights and the exponent of the focal loss; see :func:`bootstrapped_cross_entropy`."""

    class_weights: Tensor | None
    focal_gamma: float

    def apply(self, losses: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the H×W emphasized losses of pixels, and their H×W derivatives by the cross-entropy."""
        weights = losses.new_ones(VOID + 1)
        if self.class_weights is not None:
            weights[: len(self.class_weights)] = self.class_weights
        factors = weights[target]
        if self.focal_gamma == 0:
            return losses * factors, factors
        missed = -torch.expm1(-losses)  # 1 − p, without cancellation
        factors *= missed**self.focal_gamma
        # The derivative of (1 − p)^γ c, with p = exp(−c), is (1 − p)^γ (1 + γ p c / (1 − p)). The fraction tends to
        # 1 where c is 0, and to 0 where c is so large that p is 0.
        share = torch.where(missed > 0, torch.exp(-losses) * losses.clamp(max=_LARGEST_EXPONENT) / missed, 1)
        return losses * factors, factors * (1 + self.focal_gamma * share)


_LARGEST_EXPONENT = 1000.0
"""Cross-entropy above which the probability is 0 in all types."""


class _HardestMeans(torch.autograd.Function):
    """Keeps the logits and, of every pixel, the logarithm of the sum of exponentials and the class if it is chosen."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        targets: Iterable[Tensor],
        padded_size: Size,
        hardest_fraction: float,
        emphasis: _Emphasis | None,
    ) -> Tensor:
        """Compute the loss of each image."""
        means, nums = [], []
        kept: list[Tensor | None] = []
        for scores, target in zip(logits, targets, strict=True):
            losses, log_sums = _pixel_losses(scores, target, padded_size)
            factors = None
            if emphasis is not None:
                losses, factors = emphasis.apply(losses, target)
            nums.append(math.ceil(hardest_fraction * losses.numel()))
            mean, classes = _choose_hardest(losses, target, nums[-1])
            means.append(mean)
            kept += [log_sums, classes, factors]
        ctx.save_for_backward(logits, *kept)  # type: ignore[arg-type]  # None is allowed
        ctx.padded_size, ctx.nums = padded_size, nums  # type: ignore[attr-defined]
        return torch.stack(means)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Compute the gradient of the logits."""
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the cross-entropy of upsampled logits has no second derivative; use create_graph=False"
            )
        logits, *kept = ctx.saved_tensors
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for image, num in enumerate(ctx.nums):
            log_sums, classes, factors = kept[3 * image : 3 * image + 3]
            chosen = _Chosen(log_sums, classes, upstream[image] / num, factors)
            gradient[image] = _gradient(logits[image], chosen, ctx.padded_size)
        return gradient, None, None, None, None


class _Chosen(NamedTuple):
    """Pixels of one image that have a gradient.

    Attributes:
        log_sums: H×W logarithms of the sums of the exponentials of all scores.
        classes: H×W uint8, the class of each chosen pixel; 255 for all others.
        weight: Gradient of the loss of each chosen pixel, zero-dimensional.
        factors: H×W factors of the weight; None if all are 1.
    """

    log_sums: Tensor
    classes: Tensor
    weight: Tensor
    factors: Tensor | None = None


def _choose_hardest(losses: Tensor, target: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the largest losses, and H×W uint8: the class of their pixels, and 255 elsewhere."""
    if _has_kernels(losses) and losses.device.type != "cuda":  # topk is as exact there, and does not wait for the GPU
        mean, classes = native.call("hardest_pixels", _hardest_shapes, losses, target, num)
        return mean, classes
    hardest = losses.flatten().topk(num, sorted=False)
    classes = torch.full_like(target, VOID, dtype=torch.uint8)
    classes.view(-1)[hardest.indices] = target.flatten()[hardest.indices].to(torch.uint8)
    return hardest.values.mean(), classes


def _pixel_losses(scores: Tensor, target: Tensor, padded_size: Size) -> tuple[Tensor, Tensor]:
    """Return the H×W cross-entropy of one image and the H×W logarithms of the sums of exponentials."""
    if _has_kernels(scores):
        arguments = (scores, target, *_steps(scores, padded_size))
        losses, log_sums = native.call("upsampled_cross_entropy", _loss_shapes, *arguments)
        return losses, log_sums
    losses = scores.new_empty(target.shape, dtype=_result_type(scores))
    log_sums = torch.empty_like(losses)
    upsampling = _Upsampling(scores, (len(target), target.shape[1]), padded_size)
    for rows in upsampling.strips():
        enlarged, classes = upsampling.enlarge(rows), target[rows]
        is_void = classes == VOID
        of_target = enlarged.gather(0, classes.masked_fill(is_void, 0)[None])
        losses[rows] = enlarged.sub_(of_target).logsumexp(0).masked_fill_(is_void, 0)
        log_sums[rows] = losses[rows] + of_target[0]
    return losses, log_sums


def _gradient(scores: Tensor, chosen: _Chosen, padded_size: Size) -> Tensor:
    """Return the C×h×w gradient of the scores of one image."""
    if _has_kernels(scores):
        maps = (chosen.classes, chosen.log_sums, chosen.weight, chosen.factors)
        arguments = (scores, *maps, *_steps(scores, padded_size))
        result: Tensor = native.call("upsampled_cross_entropy_gradient", _gradient_shape, *arguments)
        return result
    gradient = torch.zeros_like(scores, dtype=_result_type(scores))
    upsampling = _Upsampling(scores, (len(chosen.classes), chosen.classes.shape[1]), padded_size)
    for rows in upsampling.strips():
        classes = chosen.classes[rows].long()
        is_left_out = classes == VOID
        change = upsampling.enlarge(rows).sub_(chosen.log_sums[rows]).clamp_(max=0).exp_()
        place = classes.masked_fill(is_left_out, 0)[None]
        change.scatter_add_(0, place, change.new_full((), -1).expand_as(place))
        if chosen.factors is not None:
            change.mul_(chosen.factors[rows])
        upsampling.add_gradient(rows, change.masked_fill_(is_left_out, 0).mul_(chosen.weight), gradient)
    return gradient


def _has_kernels(x: Tensor) -> bool:
    """Return whether the native library handles a tensor."""
    return x.dtype in _KERNEL_TYPES and native.has_kernels(x.device)


def _steps(scores: Tensor, padded_size: Size) -> tuple[float, float]:
    """Return the distance between neighboring pixels along each axis, in scores."""
    return scores.shape[1] / padded_size[0], scores.shape[2] / padded_size[1]


def _loss_shapes(logits: Tensor, target: Tensor, *steps: float) -> tuple[Tensor, Tensor]:
    return logits.new_empty(target.shape, dtype=torch.float32), logits.new_empty(target.shape, dtype=torch.float32)


def _hardest_shapes(losses: Tensor, target: Tensor, num: int) -> tuple[Tensor, Tensor]:
    return losses.new_empty(()), losses.new_empty(target.shape, dtype=torch.uint8)


def _gradient_shape(logits: Tensor, *others: Tensor | float | None) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.float32)


def _result_type(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


class _Upsampling:
    """Bilinear upsampling of the scores of one image, in strips of rows.

    Args:
        scores: C×h×w scores of the padded image.
        size: Height and width of the image without padding.
        padded_size: Height and width of the padded image.
    """

    def __init__(self, scores: Tensor, size: Size, padded_size: Size) -> None:
        self._scores, self._size, self._padded_size = scores, size, padded_size
        before, share = row_taps(scores.shape[1], range(size[0]), padded_size[0])
        after = (before + 1).clamp(max=scores.shape[1] - 1)
        self._before, self._after = before.to(scores.device), after.to(scores.device)
        self._share = share.to(_result_type(scores)).to(scores.device)[:, None]

    def strips(self) -> Iterator[slice]:
        """Yield consecutive rows of the image, as many as fit into :data:`STRIP_SCORES`."""
        num_rows = max(1, STRIP_SCORES // (self._scores.shape[0] * self._padded_size[1]))
        for start in range(0, self._size[0], num_rows):
            yield slice(start, min(start + num_rows, self._size[0]))

    def enlarge(self, rows: slice) -> Tensor:
        """Return the C×rows×W upsampled scores of a strip."""
        source = self._source(rows)
        scores = self._scores[None, :, source].to(_result_type(self._scores))
        size = [source.stop - source.start, self._padded_size[1]]
        wide = functional.interpolate(scores, size, mode="bilinear", align_corners=False)[0, :, :, : self._size[1]]
        upper, lower = (wide[:, taps[rows] - source.start] for taps in (self._before, self._after))
        share = self._share[rows]
        return upper.mul_(1 - share).add_(lower.mul_(share))

    def add_gradient(self, rows: slice, upstream: Tensor, gradient: Tensor) -> None:
        """Add the gradient of the scores, given that of a strip."""
        source, share = self._source(rows), self._share[rows]
        num, size = len(upstream), [source.stop - source.start, self._padded_size[1]]
        wide = upstream.new_zeros((1, num, *size))
        for taps, weight in ((self._before, 1 - share), (self._after, share)):
            wide[0, :, :, : self._size[1]].index_add_(1, taps[rows] - source.start, upstream * weight)
        shape = [1, num, size[0], gradient.shape[2]]
        gradient[:, source] += torch.ops.aten.upsample_bilinear2d_backward(wide, size, shape, False)[0]

    def _source(self, rows: slice) -> slice:
        """Return the rows of scores that a strip lies between."""
        num_source = self._scores.shape[1]
        # As in row_taps(), but in Python, because reading a tensor would be a break in compiled code.
        centers = (rows.start + 0.5, rows.stop - 0.5)
        first, last = (max(center * (num_source / self._padded_size[0]) - 0.5, 0.0) for center in centers)
        return slice(int(min(first, num_source - 1)), min(int(last) + 2, num_source))
