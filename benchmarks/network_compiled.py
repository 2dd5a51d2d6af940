"""Times of the network benchmark under torch.compile: a prediction and a training step, against the same without it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.network_cases import POSITIVES, Plan, describe_size, made_up_step, overrides_of, training
from benchmarks.network_times import Work, prediction, times
from benchmarks.random_predictor import random_predictor
from benchmarks.table import Row
from seamseg.builders import PredictionOptions
from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.modules.compilation import compile_network
from seamseg.predict import Predictor
from seamseg.runtime.precision import PrecisionName

_CPU = torch.device("cpu")
_SLUGS = "predict-compiled", "step-compiled"
_SLOW = "not measured: its compilation takes minutes; leave out --quick"


def compiled_rows(plan: Plan) -> list[Row]:
    """Measure a prediction of one image and a training step of two images, compiled and not."""
    plan.start()
    if not plan.compiles:
        return [Row(slug, _SLOW, None, None, "ms") for slug in _SLUGS]
    precision: PrecisionName = "bf16" if plan.has_bf16 else "float32"
    size = describe_size(plan.size)
    predict = f"one image of {size} to the panoptic result, {plan.num_detections} detections, {precision}"
    step = f"training step, 2 × {size}, 12 objects each, mask branch on positives, {precision}"
    return [
        _row(plan, _SLUGS[0], predict, lambda compiles: _prediction(plan, precision, compiles), plan.rounds),
        _row(plan, _SLUGS[1], step, lambda compiles: _step(plan, precision, compiles), plan.step_rounds),
    ]


def _row(plan: Plan, slug: str, words: str, make: Callable[[bool], Work], rounds: int) -> Row:
    """Compare a piece of work with its compiled form, whose first call compiles it."""
    start = time.perf_counter()
    compiled = make(True)
    compiled()
    words = f"{words}, under torch.compile, whose first call took {time.perf_counter() - start:.0f} s; not compiled"
    taken = times(plan, {"compiled": compiled, "eager": make(False)}, rounds)
    return Row(slug, words, taken["compiled"], taken["eager"], "ms")


def _prediction(plan: Plan, precision: PrecisionName, compiles: bool) -> Work:
    options = PredictionOptions(precision=precision, compile=compiles)
    made: Predictor = random_predictor("cityscapes_r50", plan.size, plan.prediction, _CPU, CITYSCAPES, options)
    return prediction(made, plan.size, plan.num_detections)


def _step(plan: Plan, precision: PrecisionName, compiles: bool) -> Work:
    step = made_up_step(plan.experiment(*overrides_of(precision, [POSITIVES])), plan.workload)
    if compiles:
        compile_network(step.network, _CPU)
    return training(step)
