"""Rows of the GPU benchmark: the norm, training steps, predictions, and waits for the GPU.

All functions take the device. On a CPU they measure the same, so that tests can run them without a GPU.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.abn_layers import SLOPE, check_equal, training_pass
from benchmarks.memory import peak_bytes, saved_bytes
from benchmarks.network_cases import Plan, describe_size, made_up_step, training
from benchmarks.network_times import Work, prediction
from benchmarks.random_predictor import plain_predictor, random_model, random_predictor
from benchmarks.table import Row
from benchmarks.timing import Side, medians, timed
from seamseg.builders import PredictionOptions
from seamseg.builders.memory import MadeUpStep
from seamseg.data.labels.cityscapes import CITYSCAPES
from seamseg.modules.abn import InPlaceABN
from seamseg.predict import Predictor
from seamseg.runtime.precision import PrecisionName
from seamseg.structures import PackedSequence

Given = TypeVar("Given")
Layout = Literal["contiguous", "channels last"]
Shape = tuple[int, int, int, int]

SHAPES: tuple[Shape, ...] = ((2, 64, 256, 512), (2, 256, 128, 256), (2, 1024, 32, 64), (1024, 256, 14, 14))
"""Inputs of norms in a step of two images of 512×1024: in the stem, two stages of the body, and the mask branch."""
QUICK_SHAPES: tuple[Shape, ...] = ((2, 8, 4, 4),)
CLAIM = "the authors of the norm report up to 50 % less memory and 0.8 to 2 % more time (Rota Bulò et al., CVPR 2018)"
_TYPES: Mapping[PrecisionName, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}
_WARM_UP = 2
_WAITING = "synchronizing CUDA operation"
"""Part of torch's warning about an operator that waits for the GPU."""


def device_timed(prepare: Callable[[], Given], work: Callable[[Given], object], device: torch.device) -> Side:
    """Return a side that times ``work`` in milliseconds, from its start to the end of its last kernel."""
    if device.type != "cuda":
        return timed(prepare, work)

    def once() -> float:
        given = prepare()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        start.record()
        result = work(given)
        end.record()
        end.synchronize()
        taken: float = start.elapsed_time(end)
        del given, result
        return taken

    return once


# ---- one norm -------------------------------------------------------------------------------------------------------


class _Copy(nn.Module):
    """Copy of the input, which the next layer may overwrite, as it may overwrite the output of a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def norm_rows(plan: Plan, device: torch.device, precision: PrecisionName, shapes: Sequence[Shape]) -> list[Row]:
    """Measure one norm with its activation: time of both passes, and bytes kept between them.

    Args:
        plan: Extent of the run.
        device: Device to measure.
        precision: Type of the inputs; parameters are float32.
        shapes: Input sizes, N×C×H×W each.
    """
    rows = []
    for shape in shapes:
        for layout in _layouts(precision):
            ours = InPlaceABN(shape[1], "leaky_relu", SLOPE).to(device)
            peer = nn.Sequential(nn.BatchNorm2d(shape[1]), nn.LeakyReLU(SLOPE, inplace=True)).to(device)
            x, dz = (_values(shape, seed, precision, layout, device) for seed in range(2))
            check_equal(ours, peer, x, dz)
            layers = {"ours": ours, "peer": peer}
            sides = {name: device_timed(*training_pass(one, x, dz), device) for name, one in layers.items()}
            taken = medians(sides, 4 * plan.rounds, _WARM_UP)
            kept = _kept(ours, x), _kept(peer, x)
            words = f"norm + act, {precision}, {layout}; BatchNorm2d + LeakyReLU"
            slug = f"norm-{precision}-{'x'.join(map(str, shape))}-{layout.replace(' ', '-')}"
            rows += [
                Row(f"{slug}-time", f"forward + backward of {words}", taken["ours"], taken["peer"], "ms", 1.1, 1.0),
                Row(f"{slug}-memory", f"kept for the backward pass of {words}", *kept, "MB", 0.55, 0.5),
            ]
    return rows


def _kept(layer: nn.Module, x: Tensor) -> float:
    """Return the bytes that a layer after another one keeps for the backward pass, in MB."""
    return saved_bytes(nn.Sequential(_Copy(), layer), x.detach().requires_grad_()) / 1e6


def _layouts(precision: PrecisionName) -> tuple[Layout, ...]:
    return ("contiguous",) if precision == "float32" else ("contiguous", "channels last")


def _values(shape: Shape, seed: int, precision: PrecisionName, layout: Layout, device: torch.device) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, _TYPES[precision])
    return values.to(memory_format=torch.channels_last) if layout == "channels last" else values


# ---- training steps -------------------------------------------------------------------------------------------------


def step_rows(plan: Plan, device: torch.device, precision: PrecisionName) -> list[Row]:
    """Measure a training step of two images in place, beside BatchNorm and activation, and in the other layout."""
    usual: Layout = "contiguous" if precision == "float32" else "channels last"
    other: Layout = "channels last" if precision == "float32" else "contiguous"
    forms: dict[str, tuple[str, Layout]] = {"ours": ("bn", usual), "plain": ("plain", usual), "other": ("bn", other)}
    peaks = {name: _step_peak(_step(plan, device, precision, *forms[name])) for name in ("ours", "plain")}
    sides = {name: _step_side(training(_step(plan, device, precision, *form)), device) for name, form in forms.items()}
    taken = medians(sides, 2 * plan.step_rounds, _WARM_UP)
    what = f"training step, 2 × {describe_size(plan.size)}, {precision}, {usual}, norms in place"
    slug = f"step-{precision}"
    beside = "BatchNorm2d + LeakyReLU"
    return [
        Row(f"{slug}-time", f"{what}; {beside}. {CLAIM}", taken["ours"], taken["plain"], "ms", 1.05, 1.0),
        Row(f"{slug}-memory", f"peak of a {what}; {beside}. {CLAIM}", peaks["ours"], peaks["plain"], "GB", 0.9, 0.75),
        Row(f"{slug}-layout", f"{what}; {other}", taken["ours"], taken["other"], "ms"),
    ]


def _step(plan: Plan, device: torch.device, precision: PrecisionName, norm: str, layout: Layout) -> MadeUpStep:
    last = "true" if layout == "channels last" else "false"
    given = [f"norm.name={norm}", f"training.channels_last={last}", f"training.precision={precision}"]
    return made_up_step(plan.experiment(*given), plan.workload, device)


def _step_side(work: Work, device: torch.device) -> Side:
    return device_timed(lambda: None, lambda _: work(), device)


def _step_peak(step: MadeUpStep) -> float:
    """Return the peak memory of the second step, which has the momentum from its start, in GB.

    On a GPU, it is that of all tensors that torch has allocated, on a CPU that of the tensors of the step.
    """
    device, work = step.images.device, training(step)
    work()
    if device.type != "cuda":
        return peak_bytes(work) / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) / 1e9


# ---- predictions ----------------------------------------------------------------------------------------------------


def predict_rows(plan: Plan, device: torch.device) -> list[Row]:
    """Measure the prediction of one image in both precisions and layouts, and by the network built plainly."""
    predictors = {
        "float32": _predictor(plan, device, "float32"),
        "bf16": _predictor(plan, device, "bf16"),
        "float32 contiguous": _in_layout(_predictor(plan, device, "float32"), torch.contiguous_format),
        "float32 channels last": _in_layout(_predictor(plan, device, "float32"), torch.channels_last),
        "bf16 contiguous": _in_layout(_predictor(plan, device, "bf16"), torch.contiguous_format),
        "bf16 channels last": _in_layout(_predictor(plan, device, "bf16"), torch.channels_last),
        "plain": _plain(plan, device),
    }
    works = {name: prediction(one, plan.size, plan.num_detections) for name, one in predictors.items()}
    taken = medians({name: _step_side(work, device) for name, work in works.items()}, 2 * plan.rounds, _WARM_UP)
    what = f"one image of {describe_size(plan.size)} to the panoptic result, {plan.num_detections} detections"
    plain = "float32; the same network built plainly: BatchNorm after every convolution, contiguous"
    rows = [
        Row("predict-bf16", f"{what}, bf16; float32", taken["bf16"], taken["float32"], "ms", 1.0),
        Row("predict-plain", f"{what}, {plain}", taken["float32"], taken["plain"], "ms", 1.05, 1.0),
    ]
    for name in _TYPES:
        sides = taken[f"{name} channels last"], taken[f"{name} contiguous"]
        rows.append(Row(f"predict-{name}-layout", f"{what}, {name}, channels last; contiguous", *sides, "ms"))
    return rows


def _predictor(plan: Plan, device: torch.device, precision: PrecisionName) -> Predictor:
    options = PredictionOptions(precision=precision)
    return random_predictor("cityscapes_r50", plan.size, plan.prediction, device, CITYSCAPES, options)


def _plain(plan: Plan, device: torch.device) -> Predictor:
    given = [*plan.prediction, "norm.name=plain"]
    return plain_predictor(random_model("cityscapes_r50", plan.size, given, device, CITYSCAPES), device)


def _in_layout(predictor: Predictor, layout: torch.memory_format) -> Predictor:
    predictor.network.to(memory_format=layout)
    return predictor


# ---- waits for the GPU ----------------------------------------------------------------------------------------------


def wait_rows(plan: Plan, device: torch.device) -> list[Row]:
    """Count the operators that make the program wait for the GPU, in a training step and in a prediction."""
    step = _step(plan, device, "float32", "bn", "contiguous")
    network, generator = step.network, torch.Generator().manual_seed(0)
    predictor = _predictor(plan, device, "float32")
    pixels = torch.zeros(3, *plan.size, device=device)
    works: dict[str, Work] = {
        "forward pass of a training step": lambda: network(step.images, step.ground_truth, generator),
        "training step": training(step),
        "forward pass of a prediction": lambda: predictor.network.predict(PackedSequence([pixels])),
    }
    rows = []
    for (words, work), slug in zip(works.items(), ("forward", "step", "predict"), strict=True):
        work()
        places = waits(work, device)
        most = ", ".join(f"{count} in {place}" for place, count in places.most_common(4)) or "none"
        measure = f"operators of a {words} that wait for the GPU: {most}"
        rows.append(Row(f"waits-{slug}", measure, float(places.total()), None, "waits"))
    return rows


def waits(work: Work, device: torch.device) -> Counter[str]:
    """Return the number of operators of ``work`` that wait for the GPU, by file and line of the caller."""
    if device.type != "cuda":
        return Counter()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return places_of_waits(caught)


def places_of_waits(caught: Sequence[warnings.WarningMessage]) -> Counter[str]:
    """Return the number of warnings about waiting by file and line; other warnings do not count."""
    found = (one for one in caught if _WAITING in str(one.message))
    return Counter(f"{Path(one.filename).name}:{one.lineno}" for one in found)
