"""Panoptic fusion of detections and semantic logits (Porzi et al. 2019; Kirillov et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from seamseg.ops.bootstrapped_cross_entropy import upsample_probability
from seamseg.ops.boxes import scale_boxes
from seamseg.ops.fusion import Patch, panoptic_fusion, paste_probabilities, upsample_argmax
from seamseg.structures import VOID, Detections, PanopticSegmentation, SemanticLogits, Size


@dataclass(frozen=True)
class FusedImage:
    """Complete output for one image, in pixels of one size.

    Attributes:
        segmentation: Result of the panoptic fusion.
        detections: Detections before the fusion, with boxes in pixels of this size.
        semantics: H×W int64, the class that the semantic head predicts for every pixel; 255 without such a head.
        proposals: P×4 float32, the boxes that were classified, in pixels of this size; None if they are not known.
        confidence: H×W float32, see :func:`pixel_confidence`; None if it was not requested.
    """

    segmentation: PanopticSegmentation
    detections: Detections
    semantics: Tensor
    proposals: Tensor | None = None
    confidence: Tensor | None = None


Fusion = Callable[[Detections, SemanticLogits, Size], FusedImage]
"""Function that fuses the network's output for one image at a given size, as :class:`PanopticFusion` does."""


@dataclass(frozen=True)
class PanopticFusion:
    """Fuse the network's output at any size; boxes are scaled, masks and logits are resampled directly to that size.

    Without masks, the segmentation has no things, and without a semantic head, it has nothing but things.

    Attributes:
        num_stuff: Number of stuff classes; class ``num_stuff`` is the first thing.
        score_threshold: Detections with a score above this value take part.
        overlap_threshold: Maximum fraction of a detection's pixels that may already be taken; otherwise it is dropped.
        min_stuff_area: Minimum area of a stuff segment in pixels of the network's input; values below 1 are a fraction
            of the image.
        confidence: Whether to compute the confidence of every pixel, too.
    """

    num_stuff: int
    score_threshold: float
    overlap_threshold: float
    min_stuff_area: float
    confidence: bool = field(default=False, repr=False)  # results do not depend on it

    def __call__(self, detections: Detections, semantics: SemanticLogits, output_size: Size) -> FusedImage:
        """Return the segmentation of one image.

        Args:
            detections: Detections in pixels of the network's input.
            semantics: Class logits of the padded input that contains the image.
            output_size: Height and width of the result in pixels, for example of the network's input or of the
                original image.
        """
        if semantics.has_classes:
            classes = upsample_argmax(semantics, output_size)
        else:
            classes = torch.full(output_size, VOID, device=semantics.logits.device)
        return self.with_classes(detections, classes, semantics.size, semantics)

    def with_classes(
        self, detections: Detections, classes: Tensor, input_size: Size, semantics: SemanticLogits | None = None
    ) -> FusedImage:
        """Return the segmentation of one image whose pixels already have classes.

        Args:
            detections: Detections in pixels of the network's input.
            classes: H×W int64, the class of every pixel of the result according to the semantic head.
            input_size: Height and width of the network's input.
            semantics: Class logits of the padded input that contains the image, from which the confidence of pixels is
                computed; None computes no confidence.
        """
        output_size = classes.shape[0], classes.shape[1]
        pixels = output_size[0] * output_size[1]
        image = 1 if self.min_stuff_area < 1 else input_size[0] * input_size[1]
        scaled = replace(detections, boxes=scale_boxes(detections.boxes, input_size, output_size))
        segmentation, things = fuse(
            scaled,
            classes,
            num_stuff=self.num_stuff,
            score_threshold=self.score_threshold,
            overlap_threshold=self.overlap_threshold,
            min_stuff_area=self.min_stuff_area * pixels / image,
        )
        confidence = None
        if self.confidence and semantics is not None:
            confidence = pixel_confidence(segmentation, scaled.rows(things), semantics)
        return FusedImage(segmentation, scaled, classes, confidence=confidence)

    def with_patches(
        self, categories: Tensor, scores: Tensor, patches: Iterable[Patch], classes: Tensor, scale: float
    ) -> PanopticSegmentation:
        """Return the segmentation of a large image from masks at its size; see :func:`fuse_patches`.

        Args:
            categories: D int64, the classes of the objects, 0-based among the things.
            scores: D scores, descending and above ``score_threshold``.
            patches: Masks of the objects.
            classes: H×W uint8 on the CPU, the class of every pixel.
            scale: Number of pixels of the image per pixel of the network's input.
        """
        min_area = self.min_stuff_area * (classes.numel() if self.min_stuff_area < 1 else scale)
        return fuse_patches(
            categories,
            scores,
            patches,
            classes,
            num_stuff=self.num_stuff,
            overlap_threshold=self.overlap_threshold,
            min_stuff_area=min_area,
        )


@dataclass(frozen=True)
class RenumberedFusion:
    """Fuse with the classes of a network and return classes of a data set that orders them differently.

    Detections whose class is stuff in the data set are dropped, because only things are detected there. Segments keep
    all their pixels.

    Attributes:
        fusion: Fusion with the classes of the network.
        new_classes: Class in the data set for each class of the network; 255 for none.
        num_stuff: Number of stuff classes in the data set.
    """

    fusion: PanopticFusion
    new_classes: tuple[int, ...]
    num_stuff: int

    def __call__(self, detections: Detections, semantics: SemanticLogits, output_size: Size) -> FusedImage:
        """Return the segmentation of one image; see :meth:`PanopticFusion.__call__`."""
        return self._renumbered(self.fusion(detections, semantics, output_size))

    def with_classes(
        self, detections: Detections, classes: Tensor, input_size: Size, semantics: SemanticLogits | None = None
    ) -> FusedImage:
        """Return the segmentation of one image; see :meth:`PanopticFusion.with_classes`."""
        return self._renumbered(self.fusion.with_classes(detections, classes, input_size, semantics))

    @property
    def score_threshold(self) -> float:
        """Detections with a score above this value take part."""
        return self.fusion.score_threshold

    def _renumbered(self, fused: FusedImage) -> FusedImage:
        void = [VOID] * (VOID + 1 - len(self.new_classes))
        table = torch.tensor([*self.new_classes, *void], device=fused.semantics.device)
        classes = table[fused.detections.classes + self.fusion.num_stuff]
        things = (classes >= self.num_stuff) & (classes != VOID)
        old = fused.detections
        renumbered = replace(old, classes=classes - self.num_stuff).rows(things)
        segmentation = replace(fused.segmentation, classes=table[fused.segmentation.classes])
        return FusedImage(segmentation, renumbered, table[fused.semantics], confidence=fused.confidence)


def fuse(
    detections: Detections,
    semantics: Tensor,
    *,
    num_stuff: int,
    score_threshold: float,
    overlap_threshold: float,
    min_stuff_area: float,
) -> tuple[PanopticSegmentation, Tensor]:
    """Paint things by descending score on free pixels, then add one segment per class on the remaining pixels.

    A detection whose mask has no pixel is not dropped: it gets an id that no pixel has. If remaining pixels belong to a
    thing class, they become a crowd segment, because they belong to no single object.

    Args:
        detections: Detections in pixels of the class map; equal scores keep their order.
        semantics: H×W integers, the class of every pixel; 255 means no class.
        num_stuff: Number of stuff classes.
        score_threshold: Detections with a score above this value take part.
        overlap_threshold: Maximum fraction of a detection's pixels that may already be taken; otherwise it is dropped.
        min_stuff_area: Minimum number of free pixels of a segment; classes without free pixels never get one.

    Returns:
        The segmentation, and the index of the detection of each thing: that of segment 1, 2, …

    Raises:
        ValueError: If the class of a pixel is not in 0 … 255.
        NativeLibraryError: If the native library is missing.
    """
    if detections.has_masks:
        order, masks = _by_falling_score(detections.scores, score_threshold), detections.masks
    else:
        order, masks = detections.classes[:0], detections.masks.new_zeros(0, 1, 1)
    fused = panoptic_fusion(masks[order], detections.boxes[order], semantics, overlap_threshold, min_stuff_area)
    things = order[fused.kept]
    segmentation = _segmentation(
        fused.ids, detections.classes[things], detections.scores[things], fused.classes, num_stuff
    )
    return segmentation, things


def _segmentation(ids: Tensor, things: Tensor, scores: Tensor, rest: Tensor, num_stuff: int) -> PanopticSegmentation:
    """Return a segmentation from the categories and scores of its things, and the classes of its other segments."""
    classes = torch.cat([rest.new_tensor([VOID]), things + num_stuff, rest])
    scores = torch.cat([scores.new_zeros(1).float(), scores.float(), scores.new_ones(len(rest)).float()])
    crowd = classes >= num_stuff
    crowd[: len(things) + 1] = False
    return PanopticSegmentation(ids, classes, crowd, scores)


def pixel_confidence(segmentation: PanopticSegmentation, things: Detections, semantics: SemanticLogits) -> Tensor:
    """Return the confidence of every pixel of a fused segmentation.

    A pixel of stuff, or of a thing class that belongs to no object, has the softmax probability of its class, from the
    upsampled logits. A pixel of a thing has the score of the detection times the probability of its mask at that pixel:
    the score is the probability that there is such an object, and the mask says whether the pixel belongs to it.

    Args:
        segmentation: Result of :func:`fuse`.
        things: Detections of segments 1 … T, with boxes in pixels of the segmentation.
        semantics: Class logits of the padded input that contains the image.

    Returns:
        H×W float32 in 0 … 1; 0 for void.
    """
    ids, classes = segmentation.ids, segmentation.semantics
    if semantics.has_classes:
        classes = classes.masked_fill((ids > 0) & (ids <= len(things)), VOID)
        confidence = upsample_probability(semantics, classes)
    else:
        confidence = torch.zeros(segmentation.size, device=ids.device)
    for segment, (logits, box, score) in enumerate(
        zip(things.masks, things.boxes, things.scores, strict=True), start=1
    ):
        patch = paste_probabilities(logits, box, segmentation.size)
        own = ids[patch.window] == segment
        confidence[patch.window][own] = (patch.mask * score.float())[own]
    return confidence


_STRIP_PIXELS = 1 << 22
"""Number of pixels whose stuff is placed at once by :func:`fuse_patches`."""


def fuse_patches(
    categories: Tensor,
    scores: Tensor,
    patches: Iterable[Patch],
    semantics: Tensor,
    *,
    num_stuff: int,
    overlap_threshold: float,
    min_stuff_area: float,
) -> PanopticSegmentation:
    """Fuse as :func:`fuse` does, but objects with masks of any resolution, on the CPU, with five bytes per pixel.

    Args:
        categories: D int64, the classes of the objects, 0-based among the things.
        scores: D scores, descending.
        patches: Masks of the objects in this order; each is needed only once.
        semantics: H×W uint8, the class of every pixel; 255 means no class.
        num_stuff: Number of stuff classes.
        overlap_threshold: Maximum fraction of an object's pixels that may already be taken; otherwise it is dropped.
        min_stuff_area: Minimum number of free pixels of a segment; classes without free pixels never get one.

    Returns:
        The segmentation, with int32 ids.
    """
    ids = torch.zeros(semantics.shape, dtype=torch.int32)
    kept: list[int] = []
    for number, patch in enumerate(patches):
        window = ids[patch.window]
        free = patch.mask & (window == 0)
        area, free_area = int(patch.mask.sum()), int(free.sum())
        if area == 0 or (area - free_area) / area <= overlap_threshold:
            kept.append(number)
            window[free] = len(kept)
    rest = _place_classes(ids, semantics, len(kept) + 1, min_stuff_area)
    return _segmentation(ids, categories[kept], scores[kept], rest, num_stuff)


def _place_classes(ids: Tensor, semantics: Tensor, first_id: int, min_area: float) -> Tensor:
    """Give ids to the free pixels, in place, one per class with enough of them, and return these classes."""
    num_rows = max(1, _STRIP_PIXELS // max(1, ids.shape[1]))
    strips = list(zip(torch.split(ids, num_rows), torch.split(semantics, num_rows), strict=True))
    areas = torch.zeros(VOID + 1, dtype=torch.int64)
    for owners, classes in strips:
        areas += torch.bincount(classes[owners == 0], minlength=VOID + 1)
    areas[VOID] = 0
    found = ((areas > 0) & (areas >= min_area)).nonzero().squeeze(1)
    id_of = torch.zeros(VOID + 1, dtype=torch.int32)
    id_of[found] = torch.arange(first_id, first_id + len(found), dtype=torch.int32)
    for owners, classes in strips:
        torch.where(owners == 0, id_of[classes.int()], owners, out=owners)
    return found


def _by_falling_score(scores: Tensor, threshold: float) -> Tensor:
    order = torch.argsort(scores, descending=True, stable=True)
    return order[scores[order] > threshold]
