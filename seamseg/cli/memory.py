"""``seamseg memory``: memory of one training step, by part, and what saves some of it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from seamseg.builders.memory import Workload, find_workload, measure_training
from seamseg.builders.training import with_choices
from seamseg.cli.arguments import at_least_one, at_least_zero, image_size
from seamseg.cli.output import counted, plain_console
from seamseg.config import (
    ClassifierExperiment,
    Experiment,
    TrainableSettings,
    differing_keys,
    known_configs,
    load_settings,
    settings_file,
)
from seamseg.config.load import CLASSIFIER
from seamseg.engine.step_memory import MOST_IMAGES, StepMemory, largest_batch
from seamseg.errors import SeamsegError, SettingsError
from seamseg.io.yaml_files import load_yaml
from seamseg.runtime.distributed import choose_device

UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
IN_PLACE = ("bn", "syncbn", "mabn", "brn")


@dataclass(frozen=True)
class Switch:
    """Settings that may save memory.

    Attributes:
        overrides: The settings as ``key=value``.
        changes: What else they change.
    """

    overrides: tuple[str, ...]
    changes: str

    def __str__(self) -> str:
        return " ".join(self.overrides)


@dataclass(frozen=True)
class Saving:
    """Measured effect of a switch.

    Attributes:
        settings: The settings as ``key=value``, separated by spaces.
        changes: What else they change.
        peak: Bytes that a step needs with them.
        saved: Bytes fewer than without them; negative if it needs more.
    """

    settings: str
    changes: str
    peak: int
    saved: int


@dataclass(frozen=True)
class MemoryReport:
    """Everything that the subcommand prints.

    Attributes:
        config: Config as given.
        device: Device that ran the step; None if no values were computed.
        batch_size: Images per batch.
        workload: Classes and images.
        memory: Memory of a step.
        savings: Effects of switches, most saved bytes first.
        available: Bytes of ``--fits``; None without it.
        largest_batch: Largest batch whose step fits these bytes; None without ``--fits``.
    """

    config: str
    device: str | None
    batch_size: int
    workload: Workload
    memory: StepMemory
    savings: tuple[Saving, ...]
    available: int | None
    largest_batch: int | None


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "memory",
        help="measure the memory of a training step",
        description="Measure what one training step of a config needs: parameters, gradients, state of the optimizer, "
        "what each part of the network keeps for the backward pass, and the peak; then what settings would save. The "
        "step is a real one, with a forward pass, a backward pass and the optimizer, on made-up images with random "
        "weights. By default its tensors have sizes but no values, so it takes seconds and fits any machine. Not "
        "counted are workspaces inside of operators, the CUDA context and fragmentation: leave about 1 GB for them on "
        "a GPU, or measure on it with --device cuda.",
    )
    add = subcommand.add_argument
    names = ", ".join([*known_configs(), *known_configs(CLASSIFIER)])
    add("config", metavar="CONFIG", help=f"YAML file of settings, or name of a built-in config: {names}")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="override a setting, such as training.memory=checkpoint")
    add("--fits", type=_size_in_bytes, metavar="SIZE", help="also find the largest batch for this memory, such as 11GB")
    add("--no-switches", action="store_true", help="do not measure what settings would save")
    add(
        "--stuff",
        type=at_least_zero,
        metavar="N",
        help="number of stuff classes (default: as in data.root, or as in COCO)",
    )
    add(
        "--things",
        type=at_least_zero,
        metavar="N",
        help="number of thing classes (default: as in data.root, or as in COCO)",
    )
    add(
        "--classes",
        type=at_least_one,
        metavar="N",
        help="number of classes of a classification network (default: as in data.root, or 1000)",
    )
    add(
        "--size",
        type=image_size,
        metavar="HxW",
        help="size of the images that the network gets (default: the largest in data.root, or that settings allow)",
    )
    add("--objects", type=at_least_zero, default=30, metavar="N", help="number of objects in each image (default: 30)")
    add(
        "--device",
        help="run the step on this device, such as cpu or cuda, instead of computing sizes only; needs the memory",
    )
    add("--json", action="store_true", help="print JSON, in bytes, instead of tables")
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    device = None if options.device is None else choose_device(options.device)
    load = _loader(options.config, device or choose_device())
    experiment = load(options.overrides)
    workload = _workload(experiment, options)
    memory = measure_training(experiment, workload, device)
    savings = () if options.no_switches else _savings(experiment, options.overrides, load, workload, memory, device)
    largest = None
    if options.fits is not None:
        largest = largest_batch(
            lambda size: measure_training(_with_batch(experiment, size), workload, device).needed, options.fits
        )
    size = experiment.data.train_batch_size
    report = MemoryReport(options.config, options.device, size, workload, memory, savings, options.fits, largest)
    if options.json:
        print(json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    return 0


def _loader(given: str, device: torch.device) -> Callable[[list[str]], TrainableSettings]:
    """Return a function from overrides to the settings, on a device, of a config of either kind of network."""
    is_classifier = given in known_configs(CLASSIFIER) and given not in known_configs() and not Path(given).exists()
    path = settings_file(given, CLASSIFIER if is_classifier else "")
    if path.is_file():
        tree = load_yaml(path.read_text(encoding="utf-8"), str(path))
        is_classifier = isinstance(tree, dict) and tree.get("task") == "classification"
    kind: type[TrainableSettings] = ClassifierExperiment if is_classifier else Experiment
    return lambda overrides: with_choices(load_settings(kind, path, overrides), device)


def _workload(experiment: TrainableSettings, options: argparse.Namespace) -> Workload:
    """Return the classes and images; options take precedence over values that were found or assumed."""
    segments = isinstance(experiment, Experiment)
    wrong = ("classes",) if segments else ("stuff", "things")
    for name in wrong:
        if getattr(options, name) is not None:
            network = "a network that segments" if segments else "a classification network"
            other = "--stuff and --things" if segments else "--classes"
            raise SettingsError(f"--{name} does not fit {options.config}, which is {network}; pass {other}")
    workload = find_workload(experiment, options.objects)
    given = {"num_stuff": options.stuff, "num_things": options.things if segments else options.classes}
    chosen = {name: value for name, value in given.items() if value is not None}
    size = options.size or workload.size
    if min(size) < 1:
        raise SettingsError(f"--size {size[0]}x{size[1]} is empty; both sides must be at least 1 pixel")
    if chosen or options.size:
        workload = replace(workload, source=f"{workload.source}; options where given")
    workload = replace(workload, size=size, **chosen)
    if not workload.num_stuff + workload.num_things:
        raise SettingsError("there are no classes; pass --stuff or --things with at least 1")
    return workload


def _with_batch(experiment: TrainableSettings, size: int) -> TrainableSettings:
    data = experiment.data.model_copy(update={"train_batch_size": size})
    return experiment.model_copy(update={"data": data})


def switches(experiment: TrainableSettings) -> list[Switch]:
    """Return the settings that may save memory in an experiment that does not have them yet."""
    found = []
    if not set(IN_PLACE) & experiment.norm.names:
        activation = ("norm.activation=leaky_relu",) if experiment.norm.activation == "relu" else ()
        found.append(Switch(("norm.name=bn", *activation), "the norm"))
    if experiment.training.memory in ("auto", "none"):
        found.append(Switch(("training.memory=checkpoint",), "nothing but the time"))
    if experiment.training.precision == "float32":
        found.append(Switch(("training.precision=bf16",), "the rounding"))
    size = experiment.data.train_batch_size
    if size > 1:
        accumulate = size * experiment.training.accumulate
        overrides = ("data.train_batch_size=1", f"training.accumulate={accumulate}")
        found.append(Switch(overrides, "the batches of the norms, and the time"))
    roi = experiment.roi if isinstance(experiment, Experiment) and experiment.task != "semantic" else None
    if roi is not None and not roi.masks_of_positives_only:
        found.append(Switch(("roi.masks_of_positives_only=true",), "the statistics of the mask branch's norms"))
    if experiment.training.weight_average is not None:
        found.append(Switch(("training.weight_average=null",), "the model that is saved"))
    if experiment.optimizer.name == "adamw":
        found.append(Switch(("optimizer.name=sgd",), "the optimizer, and so the learning rate to choose"))
    return found


def _savings(
    experiment: TrainableSettings,
    overrides: list[str],
    load: Callable[[list[str]], TrainableSettings],
    workload: Workload,
    memory: StepMemory,
    device: torch.device | None,
) -> tuple[Saving, ...]:
    """Measure every switch by itself; those that the settings do not allow are left out."""
    savings = []
    for switch in switches(experiment):
        try:
            changed = load([*overrides, *switch.overrides])
            needed = measure_training(changed, workload, device).needed
        except SeamsegError:
            continue
        if differing_keys(experiment, changed):
            savings.append(Saving(str(switch), switch.changes, needed, memory.needed - needed))
    return tuple(sorted(savings, key=lambda saving: -saving.saved))


def _print(report: MemoryReport) -> None:
    console = plain_console()
    workload, memory = report.workload, report.memory
    where = "without values" if report.device is None else f"on {report.device}"
    height, width = workload.size
    print(
        f"{report.config}: one training step of {counted(report.batch_size, 'image')} of {height}×{width} pixels, "
        f"measured {where}\n{workload.num_stuff + workload.num_things} classes ({workload.source})\n"
    )
    table = Table("", "MB", box=None)
    table.columns[1].justify = "right"
    for name, num_bytes in _lines(memory):
        table.add_row(name, f"{num_bytes / 1e6:,.1f}")
    console.print(table)
    print(f"\nThe peak is in the {memory.peak_phase}.")
    if report.savings:
        print()
        _print_savings(console, report.savings, memory.needed)
    if report.available is not None and report.largest_batch is not None:
        print(f"\n{_verdict(report.available, report.largest_batch)}")


def _print_savings(console: Console, savings: Sequence[Saving], needed: int) -> None:
    table = Table(box=None)
    table.add_column("setting", no_wrap=True)
    table.add_column("peak in MB", justify="right")
    table.add_column("saves", justify="right")
    table.add_column("changes")
    for saving in savings:
        share = f"{100 * saving.saved / needed:.0f} %"
        table.add_row(saving.settings, f"{saving.peak / 1e6:,.1f}", share, saving.changes)
    console.print(table)


def _lines(memory: StepMemory) -> list[tuple[str, int]]:
    """Return the lines of the table: names and bytes."""
    lines = [("parameters and buffers", memory.parameters), ("gradients", memory.gradients)]
    lines += [("state of the optimizer", memory.optimizer)]
    lines += [("averaged weights", memory.average)] if memory.average else []
    lines += [("images and annotation", memory.batch)]
    lines += [("kept for the backward pass", sum(memory.kept.values()))]
    lines += [(f"  {name}", num_bytes) for name, num_bytes in memory.kept.items()]
    lines += [("peak of all of them", memory.peak)]
    if memory.allocator_peak is not None:
        lines += [("peak of the allocator of the GPU", memory.allocator_peak)]
    return lines


def _verdict(available: int, largest: int) -> str:
    """Say which batch fits."""
    given = f"{available / 1e9:g} GB"
    if not largest:
        return f"Not even one image fits {given}."
    at_least = "at least " if largest >= MOST_IMAGES else ""
    return f"The largest batch that fits {given}: data.train_batch_size={at_least}{largest}"


def _size_in_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; pass a number with MB, GB, MiB or GiB, such as 11GB")
    return int(float(match[1]) * UNITS[match[2]])
