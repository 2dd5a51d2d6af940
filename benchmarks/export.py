"""Exported networks against PyTorch: python -m benchmarks.export  (`make bench-export`).

Time of one image of 512×1024 on the CPU with the published network for Cityscapes and random weights, exported to ONNX
in float32 and in int8, in ONNX Runtime and in OpenVINO, against our own prediction in PyTorch in float32, with norms
folded. Then the sizes of the files, and the share of pixels whose class differs from PyTorch's. With --model and
--data, also the panoptic quality of a trained model.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.data_sets import SPLIT, made_up
from benchmarks.made_up import SMALL
from benchmarks.random_predictor import random_model
from benchmarks.table import Row
from benchmarks.timing import Side, medians, timed
from seamseg.builders import LoadedModel, PredictionOptions, build_predictor, open_model
from seamseg.cli.export_arguments import describe
from seamseg.data import open_data_set
from seamseg.data.images import read_image
from seamseg.data.resizing import channels_last, network_size, resize_image
from seamseg.export.fixed_network import ExportableNet
from seamseg.export.graph_files import trace, write_onnx
from seamseg.export.numpy_fusion import OUTPUTS, Description, fuse, input_size, one_image
from seamseg.export.quantization import quantize
from seamseg.metrics import PanopticQuality
from seamseg.modules import resnet
from seamseg.networks import PyramidNet
from seamseg.ops.fusion import upsample_argmax
from seamseg.predict import Predictor
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.scenes import SCENE_CATEGORIES
from seamseg.structures import PackedSequence, PanopticSegmentation, Size

ROUNDS, QUICK_ROUNDS = 7, 1
SIZE, QUICK_SIZE = (512, 1024), (64, 128)
NUM_CALIBRATION, QUICK_CALIBRATION = 8, 1
PRECISIONS = ("float32", "int8")
FLOAT32 = PredictionOptions(precision="float32")
RANDOM = ("body.weights=null", "body.frozen=[]", "body.norm_frozen=false", "norm.name=bn")

Runtime = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]
"""Function from N×H×W×3 images to the outputs of an exported network."""


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("export", __doc__, "one round of a small image and a small network")
    parser.add_argument(
        "--model", type=Path, help="trained panoptic model whose quality is measured, such as runs/demo"
    )
    parser.add_argument("--data", type=Path, help="data set with the split val, such as runs/demo-scenes")
    options = parser.parse_args(arguments)
    if (options.model is None) != (options.data is None):
        parser.error("--model and --data belong together")
    machine.warn_if_busy()
    threads = len(os.sched_getaffinity(0))
    rows = machine.new_process(options.quick)(measured_rows, threads, options)
    publish("export", options, threads, ["seamseg", "torch", "onnx", "onnxruntime", "openvino", "numpy"], rows)


def measured_rows(threads: int, options: argparse.Namespace) -> list[Row]:
    """Measure all rows."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    size = QUICK_SIZE if options.quick else SIZE
    with tempfile.TemporaryDirectory() as folder:
        made_up(
            Path(folder) / "scenes", size, num_scenes=QUICK_CALIBRATION if options.quick else NUM_CALIBRATION, enlarge=1
        )
        images = sorted((Path(folder) / "scenes" / "images" / SPLIT).glob("*.jpg"))
        model = street_model(size, options.quick)
        files = export(model, size, images[: QUICK_CALIBRATION if options.quick else NUM_CALIBRATION], Path(folder))
        pixels = read_image(images[0])
        rows = [*time_rows(model, files, pixels, threads, QUICK_ROUNDS if options.quick else ROUNDS), *size_rows(files)]
    if options.model is not None:
        rows += quality_rows(options.model, options.data, threads)
    return rows


def street_model(size: Size, quick: bool) -> LoadedModel:
    """Return a model of the config ``cityscapes_r50`` with random weights, or with narrow layers."""
    overrides = (*RANDOM, *(SMALL if quick else ()))
    with mock.patch.object(resnet, "STEM_CHANNELS", 8 if quick else resnet.STEM_CHANNELS):
        return random_model("cityscapes_r50", size, overrides, torch.device("cpu"), SCENE_CATEGORIES)


def export(model: LoadedModel, size: Size, images: list[Path], folder: Path) -> dict[str, Path]:
    """Export a model for one image of a size, and return the file of each precision."""
    files = {precision: folder / f"{precision}.onnx" for precision in PRECISIONS}
    assert isinstance(model.network, PyramidNet)
    program = trace(ExportableNet(model.network, model.transform.normalize, size))
    write_onnx(files["float32"], program, describe(model, size, 1))
    quantize(files["float32"], files["int8"], images)
    return files


def runtimes(path: Path, threads: int) -> dict[str, Runtime | None]:
    """Return the runtimes that can run a file on this machine; None for one that is not installed."""
    return {
        "onnxruntime": with_onnxruntime(path, threads),
        "openvino": with_openvino(path, threads) if importlib.util.find_spec("openvino") else None,
    }


def with_onnxruntime(path: Path, threads: int) -> Runtime:
    """Return a function that runs a file in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # leave the cores to the other sides
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"images": images}), strict=True))


def with_openvino(path: Path, threads: int) -> Runtime:
    """Return a function that runs a file in OpenVINO, without rounding to bfloat16."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        found = compiled([images])
        return {name: found[name] for name in OUTPUTS}

    return run


def time_rows(
    model: LoadedModel, files: Mapping[str, Path], pixels: NDArray[np.uint8], threads: int, rounds: int
) -> list[Row]:
    """Time all runtimes against PyTorch, and compare their classes of pixels, for one H×W×3 image."""
    torch_classes = with_torch(build_predictor(model, torch.device("cpu"), FLOAT32), pixels)
    sides: dict[str, Side] = {"torch": timed(lambda: None, lambda _: torch_classes())}
    found: dict[str, Runtime | None] = {
        f"{name}-{precision}": runtime
        for precision in PRECISIONS
        for name, runtime in runtimes(files[precision], threads).items()
    }
    for name, runtime in found.items():
        if runtime is not None:
            sides[name] = timed(lambda: pixels[None], runtime)
    took, expected = medians(sides, rounds, warm_up=1), torch_classes()
    what = f"image of {pixels.shape[0]}×{pixels.shape[1]} in {{}}; in PyTorch in float32"
    rows = []
    for name, runtime in found.items():
        if runtime is None:
            rows.append(Row(f"export-{name}", f"{what.format(name)}: not installed", None, took["torch"], "ms"))
            continue
        rows.append(Row(f"export-{name}", what.format(name), took[name], took["torch"], "ms"))
        wrong = 100 * float((runtime(pixels[None])["semantics"][0] != expected).mean())
        rows.append(
            Row(f"export-{name}-pixels", f"pixels with another class than in PyTorch, {name}", wrong, None, "%")
        )
    return rows


def with_torch(predictor: Predictor, pixels: NDArray[np.uint8]) -> Callable[[], NDArray[Any]]:
    """Return a function that predicts boxes, masks and the H×W classes of pixels, and returns the latter."""
    prepared = predictor.prepare(pixels).pixels[0]
    size = pixels.shape[0], pixels.shape[1]

    def run() -> NDArray[Any]:
        predictions = predictor.network.predict(PackedSequence([predictor.transform.normalize(prepared)]))
        return np.asarray(upsample_argmax(predictions.semantics(0), size))

    return run


def size_rows(files: Mapping[str, Path]) -> list[Row]:
    """Compare the sizes of the files."""
    float32, int8 = (files[precision].stat().st_size / 1e6 for precision in PRECISIONS)
    return [Row("export-size", "size of the ONNX file in int8; in float32", int8, float32, "MB")]


def quality_rows(path: Path, data: Path, threads: int) -> list[Row]:
    """Compare the panoptic quality of a trained model in ONNX Runtime and in PyTorch, in percent.

    The network gets all images at the size that the first one has in PyTorch.
    """
    model, data_set = open_model(path, torch.device("cpu")), open_data_set(data, "val")
    first, transform = data_set.read_image(0), model.transform
    size = network_size((first.shape[0], first.shape[1]), transform.shortest_side, transform.longest_side)
    training = open_data_set(data, "train", limit=64)
    paths = [training.image_path(index) for index in range(len(training))]
    with tempfile.TemporaryDirectory() as folder:
        files = export(model, size, paths, Path(folder))
        description = describe(model, size, 1)
        sides: dict[str, Callable[[NDArray[np.uint8]], PanopticSegmentation]] = {
            "torch": build_predictor(model, torch.device("cpu"), FLOAT32),
            **{name: segmenter(with_onnxruntime(file, threads), description) for name, file in files.items()},
        }
        qualities = {name: PanopticQuality(len(model.categories.names), model.fusion.num_stuff) for name in sides}
        for index in range(len(data_set)):
            image, truth = data_set.read_image(index), data_set.read_annotation(index)
            assert isinstance(truth, PanopticSegmentation)
            for name, segment in sides.items():
                qualities[name].update(segment(image), truth)
    scores = {name: 100 * quality.over_all().pq for name, quality in qualities.items()}
    what = f"PQ of {path.name} on {len(data_set)} images in ONNX Runtime in {{}}; in PyTorch in float32"
    return [
        Row(f"export-pq-{name}", what.format(name), scores[name], scores["torch"], "%", at_least=True)
        for name in PRECISIONS
    ]


def segmenter(runtime: Runtime, description: Description) -> Callable[[NDArray[np.uint8]], PanopticSegmentation]:
    """Return a function that segments an H×W×3 image with an exported network for one size."""

    def segment(image: NDArray[np.uint8]) -> PanopticSegmentation:
        size = image.shape[0], image.shape[1]
        scaled = channels_last(resize_image(image, input_size(description, size)))
        found = fuse(one_image(runtime(scaled[None]), 0), description, size)
        ids, classes, crowd = (torch.from_numpy(part) for part in (found.ids, found.classes, found.crowd))
        return PanopticSegmentation(ids, classes, crowd)

    return segment


if __name__ == "__main__":
    main()
