"""Builder of a training step on made-up images, and of the measurement of its memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seamseg.algos.class_weights import ClassWeights
from seamseg.algos.rpn import RegionProposalNetwork
from seamseg.builders.classifier import LOSS_WEIGHTS, build_initialized_classifier
from seamseg.builders.data import build_train_transform, open_training_split
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.builders.training import build_learning_rate, build_optimizer, with_choices
from seamseg.config import Experiment, TrainableSettings
from seamseg.data.image_folder import open_image_folder
from seamseg.engine.made_up_batch import MadeUpProposals, made_up_truth
from seamseg.engine.step_memory import StepMemory, measure_step
from seamseg.engine.train import OptimizationConfig
from seamseg.errors import SettingsError
from seamseg.io.files import expand_home
from seamseg.runtime.distributed import choose_device
from seamseg.runtime.memory import tensor_without_values, without_values
from seamseg.runtime.optimizer import WeightAverage
from seamseg.runtime.precision import Precision, choose_precision
from seamseg.structures import Categories, Category, GroundTruth, PackedSequence, Size

COCO_CLASSES = 53, 80
"""Number of stuff and thing classes of COCO, which are used if there is no data set."""
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Workload:
    """What a training step reads.

    Attributes:
        num_stuff: Number of stuff classes; 0 for a classification network.
        num_things: Number of thing classes, or of all classes of a classification network.
        size: Height and width of the images, in pixels.
        num_objects: Number of objects in each image.
        source: Where the numbers of classes and the size come from, for people.
    """

    num_stuff: int
    num_things: int
    size: Size
    num_objects: int
    source: str


def find_workload(experiment: TrainableSettings, num_objects: int) -> Workload:
    """Return the numbers of classes and the largest image of the data set, or assume them if ``data.root`` is not set.

    Raises:
        SeamsegError: The data set cannot be read.
    """
    if not isinstance(experiment, Experiment):
        images = experiment.data
        num_classes, source = IMAGENET_CLASSES, "classes of ImageNet assumed"
        if images.root is not None:
            num_classes = len(open_image_folder(expand_home(images.root), images.train_split).classes)
            source = f"classes of {images.root}"
        return Workload(0, num_classes, (images.crop, images.crop), 0, source)
    data, transform = experiment.data, build_train_transform(experiment)
    if data.root is None:
        stuff, things = COCO_CLASSES
        # Image that becomes the largest. With a crop, its size in prediction counts, whatever the random scale is.
        scale = 1.0 if data.random_scale is None or data.random_crop is not None else data.random_scale[1]
        size = transform.largest_size((min(int(scale * data.shortest_side), data.longest_side), data.longest_side))
        source = "classes of COCO assumed, with the largest images that the settings allow"
    else:
        split = open_training_split(experiment)
        stuff, things = split.categories.num_stuff, split.categories.num_things
        size = max(map(transform.largest_size, split.sizes), key=math.prod)
        source = f"classes and largest image of {data.root}"
    return Workload(stuff, things, size, num_objects, source)


@dataclass(frozen=True)
class MadeUpStep:
    """Training step of a network with random weights on made-up images.

    Attributes:
        network: Network in its memory format, on the device. Its proposals are made up, too.
        images: Images of one batch, all zeros.
        ground_truth: Their annotation; class indices for a classification network.
        optimization: Optimizer, precision and loss weights.
    """

    network: nn.Module
    images: PackedSequence
    ground_truth: GroundTruth | Tensor
    optimization: OptimizationConfig


def build_made_up_step(experiment: TrainableSettings, workload: Workload, device: torch.device | None) -> MadeUpStep:
    """Build a training step on made-up images.

    Args:
        experiment: Settings of the network, the batch and the optimizer. Weights are not read.
        workload: Classes and images.
        device: Device to run the step on. With None, the tensors have no values, so the step takes seconds and almost
            no memory; sizes are as for float32 and bfloat16 tensors on the CPU. Automatic settings are chosen for a
            GPU if there is one.

    Raises:
        SeamsegError: The settings do not fit each other.
    """
    experiment = with_choices(experiment, device or choose_device())
    network, loss_weights = _network(experiment, workload)
    truth, images = _batch(experiment, workload)
    place = device or torch.device("cpu")
    network = network.to(place)
    if experiment.training.channels_last is True:
        network = network.to(memory_format=torch.channels_last)
    decay = experiment.training.weight_average
    average = None if decay is None else WeightAverage(network, decay)
    if device is None:
        without_values(network)
        if average is not None:
            without_values(average.network)
        images = PackedSequence(tensor_without_values(image) for image in images.present)
    else:
        images, truth = images.to(place), truth.to(place)
    _make_up_proposals(network, truth)
    name = choose_precision(experiment.training.precision, place)
    optimization = OptimizationConfig(
        optimizer=build_optimizer(experiment, network),
        learning_rate=build_learning_rate(experiment, num_iterations=1, images_per_step=1),
        loss_weights=loss_weights,
        clip_norm=experiment.optimizer.clip_norm,
        # The CPU has no float16 autocast. Values of both types have the same size.
        precision=Precision("bf16" if device is None and name == "fp16" else name, place),
        accumulate=experiment.training.accumulate,
        average=average,
    )
    return MadeUpStep(network, images, truth, optimization)


def measure_training(experiment: TrainableSettings, workload: Workload, device: torch.device | None) -> StepMemory:
    """Measure the memory of one training step of a network with random weights on made-up images.

    Args:
        experiment: Settings of the network, the batch and the optimizer. Weights are not read.
        workload: Classes and images.
        device: Device to run the step on, or None to compute no values; see :func:`build_made_up_step`.

    Raises:
        SeamsegError: The settings do not fit each other, or the device has too little memory.
    """
    if experiment.training.memory == "compile":
        raise SettingsError(
            "training.memory=compile leaves it to the compiler what to keep, and compiled code cannot be followed; "
            "measure training.memory=none or checkpoint, or read the figures of `make bench-memory`"
        )
    if experiment.training.compile:
        raise SettingsError(
            "training.compile=true leaves it to the compiler what to keep, and compiled code cannot be followed; "
            "measure training.compile=false"
        )
    step = build_made_up_step(experiment, workload, device)
    return measure_step(step.network, step.images, step.ground_truth, step.optimization)


def _network(experiment: TrainableSettings, workload: Workload) -> tuple[nn.Module, dict[str, float]]:
    if not isinstance(experiment, Experiment):
        return build_initialized_classifier(experiment, workload.num_things, read_weights=False), LOSS_WEIGHTS
    numbers = range(workload.num_stuff + workload.num_things)
    gray = 128, 128, 128
    classes = (Category(f"class {number}", number >= workload.num_stuff, gray, number) for number in numbers)
    ones = (1.0,) * len(numbers)
    weights = ClassWeights(ones, (1.0, *ones[workload.num_stuff :])) if experiment.loss.class_weights else None
    categories = Categories(tuple(classes))
    network = build_initialized_network(experiment, categories, read_weights=False, class_weights=weights)
    return network, experiment.loss_weights.model_dump()


def _batch(experiment: TrainableSettings, workload: Workload) -> tuple[GroundTruth | Tensor, PackedSequence]:
    """Return annotation and images of one batch."""
    num_images, (height, width) = experiment.data.train_batch_size, workload.size
    images = PackedSequence(torch.zeros(3, height, width) for _ in range(num_images))
    if not isinstance(experiment, Experiment):
        return torch.arange(num_images) % workload.num_things, images
    counts = workload.num_stuff, workload.num_things, workload.num_objects
    return made_up_truth(workload.size, num_images, *counts), images


def _make_up_proposals(network: nn.Module, truth: GroundTruth | Tensor) -> None:
    """Let the region proposal network of a panoptic network return made-up proposals."""
    rpn = getattr(network, "rpn", None)
    if isinstance(rpn, RegionProposalNetwork) and isinstance(truth, GroundTruth):
        objects = [truth.objects(image, rpn.num_stuff).boxes for image in range(len(truth))]
        rpn.training_selector = MadeUpProposals(rpn.training_selector, objects)  # type: ignore[assignment]
