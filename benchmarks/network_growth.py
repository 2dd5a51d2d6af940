"""How the cost of a training step and a prediction grows: with image area, objects, classes and images.

Each cause is multiplied by a factor while everything else stays the same. No cost may grow faster than its cause. The
whole step and the whole prediction have costs that do not depend on the cause, and could hide a part that grows faster
than it, so the parts that are most likely to do so are measured by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.network_cases import (
    NUM_STUFF,
    NUM_THINGS,
    Plan,
    annotation,
    describe_size,
    made_up_step,
    overrides_of,
    panoptic,
    training,
)
from benchmarks.network_times import Work, prediction, times
from benchmarks.predict_memory import high_water_mark
from benchmarks.random_predictor import random_predictor
from benchmarks.table import Row
from seamseg.algos.losses import mask_targets
from seamseg.builders import PredictionOptions
from seamseg.builders.memory import MadeUpStep, Workload
from seamseg.networks import PyramidNet
from seamseg.predict import Predictor
from seamseg.structures import Categories, Category, Detections, SemanticLogits, Size, pad_images

TOLERANCE = 1.1
"""Factor on the growth of the cause that a cost may reach: times of equal work differ by some percent."""
NUM_IMAGES = 2
MEASURES: Mapping[str, str] = {
    "step": "training step",
    "predict": "prediction",
    "memory": "peak memory of a process that trains, without libraries",
    "semantic": "semantic loss, forward and backward",
    "targets": "anchors, matching, sampling and mask targets",
    "fusion": "panoptic fusion",
    "nms": "non-maximum suppression of proposals and detections",
}
"""Words for each cost; the slug of a row is ``growth-CAUSE-COST``."""
_WHOLE = ("step", "predict")
_STEPS = 2
_STRIDE, _MASK = 4, 28
_MIB_PER_GB = 1e9 / 2**20


@dataclass(frozen=True)
class Extent:
    """What a training step or a prediction works on.

    Attributes:
        size: Height and width of the images.
        num_objects: Number of annotated objects in each image, and of its detections.
        num_stuff, num_things: Number of classes.
        num_images: Number of images.
    """

    size: Size
    num_objects: int
    num_stuff: int
    num_things: int
    num_images: int

    def __str__(self) -> str:
        classes = self.num_stuff + self.num_things
        images = f"{self.num_images} × {describe_size(self.size)}"
        return f"{images}, {self.num_objects} objects each, {classes} classes"

    @property
    def workload(self) -> Workload:
        """Images and classes of a training step."""
        return Workload(self.num_stuff, self.num_things, self.size, self.num_objects, "growth")

    @property
    def categories(self) -> Categories:
        """Classes of a prediction."""
        numbers = range(self.num_stuff + self.num_things)
        gray = 128, 128, 128
        return Categories(tuple(Category(f"class {one}", one >= self.num_stuff, gray, one) for one in numbers))

    def logits(self) -> Tensor:
        """Return smooth random class logits, N×C×h×w."""
        shape = self.num_images, self.num_stuff + self.num_things
        height, width = (side // _STRIDE for side in self.size)
        coarse = torch.randn(*shape, max(1, height // 8), max(1, width // 8), generator=_generator())
        return functional.interpolate(coarse, (height, width), mode="bilinear")


@dataclass(frozen=True)
class Cause:
    """What is multiplied.

    Attributes:
        slug: Name in the slugs.
        words: Words for the table and the picture.
        side, objects, classes, images: Factors on the sides of the images, the objects in each image, the classes and
            the images.
    """

    slug: str
    words: str
    side: int = 1
    objects: int = 1
    classes: int = 1
    images: int = 1

    @property
    def factor(self) -> int:
        """Factor by which the cause grows."""
        return self.side**2 * self.objects * self.classes * self.images

    def grown(self, extent: Extent) -> Extent:
        """Return an extent with more of the cause."""
        return Extent(
            (self.side * extent.size[0], self.side * extent.size[1]),
            self.objects * extent.num_objects,
            self.classes * extent.num_stuff,
            self.classes * extent.num_things,
            self.images * extent.num_images,
        )


CAUSES = (
    Cause("area", "image area", side=2),
    Cause("objects", "objects", objects=10),
    Cause("classes", "classes", classes=4),
    Cause("images", "images", images=2),
)


def growth_rows(plan: Plan) -> list[Row]:
    """Measure all costs with each cause multiplied."""
    base = base_extent(plan)
    base_peak = plan.in_process(peak_gigabytes, plan, base)
    rows = []
    for cause in CAUSES:
        grown_peak = plan.in_process(peak_gigabytes, plan, cause.grown(base))
        taken = plan.in_process(cause_times, plan, cause) | {"memory": (grown_peak, base_peak)}
        rows += [growth_row(cause, base, cost, *taken[cost]) for cost in MEASURES]
    return rows


def base_extent(plan: Plan) -> Extent:
    """Return the extent before anything grows; the grown area and number of objects are those of the plan."""
    area, objects = (next(cause for cause in CAUSES if cause.slug == slug) for slug in ("area", "objects"))
    size = plan.size[0] // area.side, plan.size[1] // area.side
    return Extent(size, plan.num_detections // objects.objects, NUM_STUFF, NUM_THINGS, NUM_IMAGES)


def growth_row(cause: Cause, base: Extent, cost: str, grown: float, before: float) -> Row:
    """Return the row of one cost; its ratio is the growth of the cost."""
    words = f"{MEASURES[cost]}, {cause.words} ×{cause.factor}: {cause.grown(base)}; {base}"
    limit = round(TOLERANCE * cause.factor, 2)
    return Row(f"growth-{cause.slug}-{cost}", words, grown, before, _unit(cost), limit, float(cause.factor))


def _unit(cost: str) -> str:
    return "GB" if cost == "memory" else "ms"


def peak_gigabytes(plan: Plan, extent: Extent) -> float:
    """Return the peak memory of two training steps in this process, which must be new, without its libraries."""
    plan.start()
    libraries = high_water_mark()
    work = training(_step(plan, extent))
    for _ in range(_STEPS):
        work()
    return (high_water_mark() - libraries) / _MIB_PER_GB


def cause_times(plan: Plan, cause: Cause) -> dict[str, tuple[float, float]]:
    """Return the milliseconds of each cost with the cause multiplied, and without."""
    plan.start()
    base = base_extent(plan)
    extents = {"grown": cause.grown(base), "base": base}
    works = {(cost, name): work for name, one in extents.items() for cost, work in costs(plan, one).items()}
    taken: dict[str, tuple[float, float]] = {}
    for cost in dict.fromkeys(cost for cost, _ in works):
        rounds = plan.step_rounds if cost in _WHOLE else 4 * plan.rounds
        found = times(plan, {name: works[cost, name] for name in extents}, rounds)
        taken[cost] = found["grown"], found["base"]
    return taken


def costs(plan: Plan, extent: Extent) -> dict[str, Work]:
    """Return the work of each cost except memory."""
    step, predictor = _step(plan, extent), _predictor(plan, extent)
    return {
        "step": training(step),
        "predict": prediction(predictor, extent.size, extent.num_objects, extent.num_images),
        "semantic": _semantic_loss(step, extent),
        "targets": _targets(step, extent),
        "fusion": _fusion(predictor, step, extent),
        "nms": _suppression(predictor, extent),
    }


def _step(plan: Plan, extent: Extent) -> MadeUpStep:
    given = [f"data.train_batch_size={extent.num_images}"]
    return made_up_step(plan.experiment(*overrides_of("float32", given)), extent.workload)


def _predictor(plan: Plan, extent: Extent) -> Predictor:
    """Return a predictor; all classes of all regions enter its suppression, as more classes make each less likely."""
    given = [*replace(plan, num_detections=extent.num_objects).prediction, "roi.score_threshold=0"]
    options = PredictionOptions(precision="float32")
    place = torch.device("cpu")
    return random_predictor("cityscapes_r50", extent.size, given, place, extent.categories, options)


def _semantic_loss(step: MadeUpStep, extent: Extent) -> Work:
    loss, padded, truth = panoptic(step).semantic_loss, pad_images(step.images), annotation(step)
    logits = extent.logits().requires_grad_()
    return lambda: torch.autograd.grad(loss(logits, padded, truth).mean, logits)


def _targets(step: MadeUpStep, extent: Extent) -> Work:
    network, truth, sizes = panoptic(step), annotation(step), [extent.size] * extent.num_images
    rpn, roi_heads = network.rpn, network.roi_heads
    anchors, objectness, box_deltas = _random_anchors(network, extent)
    proposals = rpn.training_selector(anchors, objectness, box_deltas, sizes)

    def work() -> None:
        made = rpn.anchors(_level_sizes(network, extent), anchors.device)
        for image in range(extent.num_images):
            objects, crowd = truth.objects(image, extent.num_stuff), truth.crowd_pixels(image, extent.num_stuff)
            rpn.matcher(made, extent.size, objects.boxes, crowd, _generator())
            sample = roi_heads.matcher(proposals.entry(image), objects, crowd, _generator())
            boxes, segments = sample.boxes[: len(sample.objects)], objects.segment_ids[sample.objects]
            mask_targets(truth.annotation(image), boxes, segments, roi_heads.mask_size, False)

    return work


def _fusion(predictor: Predictor, step: MadeUpStep, extent: Extent) -> Work:
    """Fuse detections at the boxes of all objects, with masks that cover most of them."""
    objects = annotation(step).objects(0, extent.num_stuff)
    count = len(objects.boxes)
    masks = 2 + torch.randn(count, _MASK, _MASK, generator=_generator())
    detections = Detections(objects.boxes, objects.classes, torch.linspace(0.9, 0.6, count), masks)
    semantics = [SemanticLogits(logits, extent.size, extent.size) for logits in extent.logits()]

    def work() -> None:
        for one in semantics:
            predictor.fusion(detections, one, extent.size)

    return work


def _suppression(predictor: Predictor, extent: Extent) -> Work:
    network = predictor.network
    assert isinstance(network, PyramidNet)
    sizes = [extent.size] * extent.num_images
    proposal_inputs = _random_anchors(network, extent)
    select = network.rpn.inference_selector
    regions = [_random_regions(boxes, extent.num_things) for boxes in select(*proposal_inputs, sizes).present]

    def work() -> None:
        select(*proposal_inputs, sizes)
        for boxes, logits, box_deltas in regions:
            network.roi_heads.selector(boxes, logits, box_deltas, extent.size)

    return work


def _random_anchors(network: PyramidNet, extent: Extent) -> tuple[Tensor, Tensor, Tensor]:
    """Return the anchors, with random objectness and small box deltas in every image."""
    anchors = network.rpn.anchors(_level_sizes(network, extent), torch.device("cpu"))
    shape, generator = (extent.num_images, len(anchors)), _generator()
    box_deltas = 0.1 * torch.randn(*shape, 4, generator=generator)
    return anchors, torch.randn(*shape, generator=generator), box_deltas


def _random_regions(boxes: Tensor, num_things: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, with random class logits and box deltas."""
    generator = _generator()
    logits = torch.randn(len(boxes), num_things + 1, generator=generator)
    return boxes, logits, torch.randn(len(boxes), num_things, 4, generator=generator)


def _level_sizes(network: PyramidNet, extent: Extent) -> list[Size]:
    height, width = extent.size
    return [(-(-height // stride), -(-width // stride)) for stride in network.rpn.anchors.strides]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
