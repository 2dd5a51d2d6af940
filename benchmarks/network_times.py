"""Times of the network benchmark: prediction, training steps, targets, and the step of the demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.network_cases import (
    NUM_STUFF,
    NUM_THINGS,
    PLAIN,
    POSITIVES,
    Plan,
    annotation,
    describe_size,
    made_up_step,
    noise,
    overrides_of,
    panoptic,
    training,
)
from benchmarks.network_floor import Floor, measure_floor, record_operators
from benchmarks.network_peers import (
    PanopticFPN,
    WholeSemanticLoss,
    detectron2_panoptic_fpn,
    mask_rcnn,
    mask_rcnn_targets,
)
from benchmarks.random_predictor import plain_predictor, random_model, random_predictor
from benchmarks.table import Row
from benchmarks.timing import Side, medians, timed
from seamseg.algos.losses import TARGETS
from seamseg.builders import PredictionOptions
from seamseg.builders.memory import MadeUpStep, Workload
from seamseg.config import load_experiment, settings_file
from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.predict import Predictor
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.precision import PrecisionName
from seamseg.structures import Size

Work = Callable[[], object]
_CPU = torch.device("cpu")
_DEMO_SIZE = (192, 384)
_DEMO_OBJECTS = 10
_DEMO_LIMIT, _DEMO_GOAL = 180.0, 120.0
_FLOOR_ROUNDS = 3
_STAND_IN = (
    "Panoptic FPN, estimated because detectron2 is not installed: torchvision's Mask R-CNN with 80 classes and the "
    "semantic head of Kirillov et al. (2019) with 54, measured in this run"
)


def predict_rows(plan: Plan) -> list[Row]:
    """Measure the prediction of one image."""
    plan.start()
    image = noise(plan.size, 1)[0]
    predictors = {"float32": predictor(plan, "float32")}
    if plan.has_bf16:
        predictors["bf16"] = predictor(plan, "bf16")
    sides: dict[str, Work] = {name: prediction(one, plan.size, plan.num_detections) for name, one in predictors.items()}
    sides["plain"] = prediction(plainly_built(plan), plan.size, plan.num_detections)
    mask_network = mask_rcnn(plan.size, NUM_THINGS, plan.num_samples).eval().requires_grad_(False)
    sides["maskrcnn"] = lambda: mask_network([image])
    installed = detectron2_panoptic_fpn(plan.size)
    stand_in = PanopticFPN(plan.size, plan.num_samples).eval().to(memory_format=torch.channels_last)
    other = installed or stand_in.predict
    sides["pfpn"] = lambda: other(image)
    if plan.has_bf16:
        sides["pfpn-bf16"] = _in_bf16(lambda: other(image))
    floors = {name: _floor(sides[name], plan.rounds) for name in predictors}
    taken = times(plan, sides, plan.rounds)
    return _predict_rows(plan, taken, floors, "detectron2's Panoptic FPN" if installed else _STAND_IN)


def _predict_rows(plan: Plan, taken: Mapping[str, float], floors: Mapping[str, Floor], pfpn: str) -> list[Row]:
    what = f"one image of {describe_size(plan.size)} to the panoptic result, {plan.num_detections} detections"
    ours, half, floor = taken["float32"], taken.get("bf16"), floors["float32"]
    words = f"{what}; its floor. {floor.describe(ours)}"
    rows = [Row("predict", words, ours, floor.milliseconds, "ms", 1.4, 1.15)]
    if half is None:
        rows.append(Row("predict-bf16", "not measured: bf16 is left out", None, None, "ms"))
    else:
        floor = floors["bf16"]
        words = f"{what}, bf16; float32. {half / floor.milliseconds:.2f} × its own floor, {floor.describe(half)}"
        rows.append(Row("predict-bf16", words, half, ours, "ms", 0.55, 0.4))
    best, pfpn_best = (min(taken[name] for name in taken if name in names) for names in _BEST_SETTINGS)
    words = f"{what}, the faster of float32 and bf16; {pfpn}, likewise"
    built_plainly = "the same network built plainly: BatchNorm after every convolution, contiguous, float32"
    return [
        *rows,
        Row("predict-beside-pfpn", words, best, pfpn_best, "ms", 1.3, 1.0),
        Row("predict-beside-maskrcnn", f"{what}; torchvision's Mask R-CNN, float32", ours, taken["maskrcnn"], "ms"),
        Row("predict-beside-plain", f"{what}; {built_plainly}", ours, taken["plain"], "ms"),
    ]


_BEST_SETTINGS = ("float32", "bf16"), ("pfpn", "pfpn-bf16")


def step_rows(plan: Plan) -> list[Row]:
    """Measure training steps of two images."""
    plan.start()
    steps = {
        "all": made_up_step(plan.experiment(*overrides_of("float32")), plan.workload),
        "positives": made_up_step(plan.experiment(*overrides_of("float32", [POSITIVES])), plan.workload),
        "plain": plainly(made_up_step(plan.experiment(*PLAIN, "training.precision=float32"), plan.workload)),
    }
    sides: dict[str, Work] = {name: training(step) for name, step in steps.items()}
    sides |= _peer_steps(steps["all"], plan)
    floors = {name: _floor(sides[name], plan.step_rounds) for name in ("all", "positives")}
    taken = times(plan, sides, plan.step_rounds)
    what = f"training step, 2 × {describe_size(plan.size)}, 12 objects each, mask branch on"
    every, positives = f"{what} all samples, float32", f"{what} positives, float32"
    rows = []
    for slug, words, name in (("step", every, "all"), ("step-positives", positives, "positives")):
        floor = floors[name]
        words = f"{words}; its floor. {floor.describe(taken[name])}"
        rows.append(Row(slug, words, taken[name], floor.milliseconds, "ms", 1.5, 1.2))
    return [
        *rows,
        Row("step-beside-plain", f"{every}; the same network built plainly", taken["all"], taken["plain"], "ms"),
        Row(
            "step-positives-beside-maskrcnn",
            f"{positives}; torchvision's Mask R-CNN",
            taken["positives"],
            taken["maskrcnn"],
            "ms",
        ),
        Row("step-positives-beside-pfpn", f"{positives}; {_STAND_IN}", taken["positives"], taken["pfpn"], "ms"),
        targets_row(steps["all"], every),
    ]


def targets_row(step: MadeUpStep, words: str) -> Row:
    """Measure the share of anchors, matching, sampling, non-maximum suppression and targets in a profiled step."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        whole = _side(training(step))()
    spans = [event for event in recorded.key_averages() if event.key == TARGETS]
    targets = sum(event.cpu_time_total for event in spans) / 1000
    measure = f"anchors, matching, sampling, NMS and targets of a {words}; the whole step. Limited by bytes and calls"
    return Row("targets-share", measure, targets, whole, "ms", 0.06, 0.03)


def demo_rows(plan: Plan) -> list[Row]:
    """Measure the training step of the demo against its limit."""
    plan.start()
    experiment = load_experiment(settings_file("scenes_r18"), ["optimizer.lr=1e-6"])
    step = made_up_step(experiment, Workload(5, 4, _DEMO_SIZE, _DEMO_OBJECTS, "scenes"))
    side = training(step)
    floor = _floor(side, plan.rounds)
    taken = times(plan, {"demo": side}, 4 * plan.rounds)["demo"]
    words = (
        f"training step of the demo, {describe_size(_DEMO_SIZE)}, {experiment.training.precision}; the limit. "
        f"{taken / floor.milliseconds:.2f} × its floor, {floor.describe(taken)}"
    )
    return [Row("demo-step", words, taken, _DEMO_LIMIT, "ms", 1.0, round(_DEMO_GOAL / _DEMO_LIMIT, 2))]


def plainly(step: MadeUpStep) -> MadeUpStep:
    """Let the network of a step compute its semantic loss from whole logits."""
    network = panoptic(step)
    network.semantic_loss = WholeSemanticLoss(network.semantic_loss.hardest_fraction)
    return step


def peer_training(network: torch.nn.Module, loss: Callable[[], Tensor]) -> Work:
    """Return a training step of a peer, with SGD and momentum."""
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-6, momentum=0.9, fused=True)

    def work() -> None:
        keep_freed_memory()  # the faster setting; ours returns large blocks
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss())
        optimizer.step()

    return work


def mask_rcnn_step(step: MadeUpStep, plan: Plan) -> Work:
    """Return a training step of torchvision's Mask R-CNN on the images and objects of a step of ours."""
    network = mask_rcnn(plan.size, NUM_THINGS, plan.num_samples)
    images, targets = step.images.present, mask_rcnn_targets(annotation(step), NUM_STUFF)
    return peer_training(network, lambda: sum(network(images, targets).values()))


def _peer_steps(step: MadeUpStep, plan: Plan) -> dict[str, Work]:
    images, targets = step.images.present, mask_rcnn_targets(annotation(step), NUM_STUFF)
    truth = annotation(step)
    classes = torch.stack([truth.semantic_target(image) for image in range(len(images))])
    pfpn = PanopticFPN(plan.size, plan.num_samples).to(memory_format=torch.channels_last)
    return {
        "maskrcnn": mask_rcnn_step(step, plan),
        "pfpn": peer_training(pfpn, lambda: pfpn(images, targets, classes)),
    }


def predictor(plan: Plan, precision: PrecisionName) -> Predictor:
    """Return the predictor as users get it."""
    options = PredictionOptions(precision=precision)
    return random_predictor("cityscapes_r50", plan.size, plan.prediction, _CPU, CITYSCAPES, options)


def plainly_built(plan: Plan) -> Predictor:
    """Return the predictor with BatchNorm out of place in every layer, contiguous and in float32."""
    model = random_model("cityscapes_r50", plan.size, [*plan.prediction, *PLAIN], _CPU, CITYSCAPES)
    return plain_predictor(model, _CPU)


def prediction(made: Predictor, size: Size, num_detections: int, num_images: int = 1) -> Work:
    """Return the prediction of equal images of noise, after a check of the number of detections in each."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    prepared = [made.prepare(pixels)] * num_images
    for found in made.predict(prepared):
        assert len(found.detections) == num_detections, f"{len(found.detections)} detections"
    return lambda: made.predict(prepared)


def _in_bf16(work: Work) -> Work:
    def inside() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return work()

    return inside


def _floor(work: Work, rounds: int) -> Floor:
    return measure_floor(record_operators(work), min(rounds, _FLOOR_ROUNDS))


def times(plan: Plan, sides: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Return medians in milliseconds after the warm-up of the plan."""
    return medians({name: _side(work) for name, work in sides.items()}, rounds, plan.warm_up)


def _side(work: Work) -> Side:
    return timed(lambda: work, lambda given: given())
