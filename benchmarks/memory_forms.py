"""Memory and time of training for whole networks: python -m benchmarks.memory_forms  (`make bench-memory`).

Bytes kept for the backward pass, peak memory and time of a training step of ResNet-50, ResNeXt-101, WideResNet-38,
DenseNet-BC-100, DenseNet-264, a U-Net, and a network of yours (--network), each in place, in checkpoints and compiled,
against BatchNorm + leaky ReLU; and the largest batch in 11 GB.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.memory import peak_bytes, saved_bytes
from benchmarks.memory_networks import FORMS, Form, Loss, body_in, find_callable, started, unet_in, user_network_in
from benchmarks.table import Row
from benchmarks.timing import medians, training_step
from seamseg.cli.arguments import image_size
from seamseg.runtime.allocator import SWITCH, keep_freed_memory
from seamseg.runtime.memory import MemoryTracker, tensor_without_values, without_values

THREADS = 2
ROUNDS = 7
QUICK_ROUNDS = 1
AVAILABLE = 11e9
"""Memory of the GPU that the rows on batches are about, in bytes."""
_WARM_UP = 2
_LINE = 16, 32
"""Numbers of images whose memory gives that of any number."""
_OURS: tuple[Form, ...] = ("relu", "inplace", "checkpoint", "compile", "inplace-checkpoint")
_USERS: tuple[Form, ...] = ("converted", "compile")
_BATCH_FORMS: tuple[Form, ...] = ("leaky", "inplace", "converted", "checkpoint", "inplace-checkpoint")
_SLOW = "not measured: its compilation takes minutes; pass --compile-all"


@dataclass(frozen=True)
class Case:
    """Network to measure.

    Attributes:
        name: Name in the slugs.
        words: Name in the measures.
        make: Function from a form to the network.
        forms: Forms to compare with ``leaky``.
        images: Size of the batch that is trained, N×3×H×W.
        side: Side of the square images whose largest batch is computed, in pixels.
        limits: Limits of the bytes kept, as a fraction of those of ``leaky``, by form.
        compiles_quickly: Whether the form ``compile`` is measured unless it is requested.
    """

    name: str
    words: str
    make: Callable[[Form], nn.Module]
    forms: tuple[Form, ...]
    images: tuple[int, int, int, int]
    side: int
    limits: Mapping[Form, float]
    compiles_quickly: bool = False


_HALF: Mapping[Form, float] = {"inplace": 0.52}
_DENSE: Mapping[Form, float] = {**_HALF, "checkpoint": 0.56, "inplace-checkpoint": 0.56}
_RESIDUAL: Mapping[Form, float] = {"inplace": 0.58}


def _body(name: str, words: str, images: tuple[int, int, int, int], limits: Mapping[Form, float]) -> Case:
    side = images[-1] if images[-1] < 64 else 224
    return Case(name, words, partial(body_in, name=_BODY_NAMES.get(name, name)), _OURS, images, side, limits)


_BODY_NAMES = {"wrn38": "wide_resnet38"}
CASES = (
    replace(_body("resnet50", "ResNet-50", (4, 3, 160, 160), _RESIDUAL), compiles_quickly=True),
    _body("resnext101", "ResNeXt-101", (2, 3, 128, 128), _RESIDUAL),
    _body("wrn38", "WideResNet-38", (1, 3, 128, 128), _RESIDUAL),
    _body("densenet_bc100", "DenseNet-BC-100", (16, 3, 32, 32), _DENSE),
    _body("densenet264", "DenseNet-264", (2, 3, 128, 128), _DENSE),
    Case("unet", "U-Net", unet_in, (*_OURS, "converted"), (1, 3, 256, 256), 1024, _HALF, compiles_quickly=True),
)
_QUICK_CASES = ["unet"]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("memory", __doc__, "one round of small inputs for the U-Net, without compilers")
    parser.prog = "python -m benchmarks.memory_forms"
    parser.add_argument("--network", metavar="MODULE:CALLABLE", help="measure only the network that this returns")
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="images per step of --network (default: 2)")
    parser.add_argument(
        "--size", type=image_size, default=(224, 224), metavar="HxW", help="images of --network (default: 224x224)"
    )
    parser.add_argument(
        "--compile-all", action="store_true", help="also compile the networks for which it takes minutes"
    )
    parser.add_argument("--only", metavar="NAME", choices=[case.name for case in CASES], help="measure one network")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    rows = []
    for case in _cases(options):
        print(f"{case.words} …", file=sys.stderr)
        compiles = (case.compiles_quickly or options.compile_all) and not options.quick
        in_process = machine.new_process(options.quick)
        rows += in_process(case_rows, case, compiles, options.quick)
    options.quick |= len(_cases(options)) < len(CASES)  # a part is not recorded, unless --output names a file
    publish("memory", options, THREADS, ["torch", "seamseg"], rows)


def _cases(options: argparse.Namespace) -> Sequence[Case]:
    if options.network is None:
        names = [options.only] if options.only else _QUICK_CASES if options.quick else [case.name for case in CASES]
        return [case for case in CASES if case.name in names]
    find_callable(options.network)  # fails here rather than in a new process
    name = options.network.rpartition(":")[2]
    make = partial(_users_network, options.network)
    images = (options.batch, 3, *options.size)
    return [Case(name, options.network, make, _USERS, images, options.size[0], {}, compiles_quickly=True)]


def _users_network(name: str, form: Form) -> nn.Module:
    return user_network_in(form, find_callable(name))


def case_rows(case: Case, compiles: bool, quick: bool) -> list[Row]:
    """Measure all rows of a network, in a process that has not allocated anything yet.

    Args:
        case: Network.
        compiles: Whether to measure its form ``compile``.
        quick: Whether to run one round of small inputs.
    """
    if not keep_freed_memory():
        sys.exit(f"the allocator cannot be told to keep freed memory: needs Linux with glibc, and {SWITCH} not 0")
    torch.set_num_threads(THREADS)
    forms = tuple(form for form in ("leaky", *case.forms) if compiles or form != "compile")
    if quick:
        case = replace(case, images=(2, 3, 64, 64))
    networks = {form: started(case.make(form)) for form in forms}
    batch = torch.randn(case.images, generator=torch.Generator().manual_seed(0))
    steps = {str(form): training_step(network, batch) for form, network in networks.items()}
    for step in steps.values():
        step()  # compiles, and makes the state of the optimizer
    if case.forms != _USERS:  # other activations compute something else
        _check(networks, batch)
    saved = {str(form): saved_bytes(network, batch) / 1e6 for form, network in networks.items()}
    peaks = {str(form): peak_bytes(step) / 1e6 for form, step in steps.items()}
    times = medians(steps, QUICK_ROUNDS if quick else ROUNDS, _WARM_UP)
    batches = {str(form): float(batch_in(case, form)) for form in forms if form in _BATCH_FORMS}
    return _rows(case, {"saved": saved, "peak": peaks, "time": times, "batch": batches})


def _rows(case: Case, found: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Return a row for each kind of measure and form of a network."""
    size = "×".join(map(str, case.images))
    words = {
        "saved": f"kept for backward, {case.words}, {size}",
        "peak": f"most memory of a step on top of parameters and momentum, {case.words}, {size}",
        "time": f"training step, {case.words}, {size}",
        "batch": f"most images of {case.side}×{case.side} in 11 GB, {case.words}; more is better",
    }
    units = {"saved": "MB", "peak": "MB", "time": "ms", "batch": "images"}
    rows = []
    for kind, values in found.items():
        for form in case.forms:
            if kind == "batch" and form not in values:
                continue
            must = case.limits.get(form) if kind == "saved" else None
            must = 1.0 if (kind, form) == ("time", "inplace") else must
            measure = f"{words[kind]}: {_words(case, form)}; {_words(case, 'leaky')}" if form in values else _SLOW
            slug = f"{kind}-{case.name}-{form}"
            rows.append(Row(slug, measure, values.get(form), values["leaky"], units[kind], must))
    return rows


def _words(case: Case, form: Form) -> str:
    if case.forms != _USERS:
        return FORMS[form]
    converted = "convert_norms, with leaky ReLUs in place of ReLUs"
    return {
        "leaky": "as it is",
        "converted": converted,
        "compile": "under torch.compile, activation_memory_budget 0.5",
    }[form]


def batch_in(case: Case, form: Form, available: float = AVAILABLE) -> int:
    """Return the largest number of images whose training step needs at most ``available`` bytes, in float32.

    It is computed from the steps of two batches that are large enough for a straight line.
    """
    network = without_values(started(case.make(form)))
    momentum = [torch.empty_like(parameter) for parameter in network.parameters()]

    def needed(num_images: int) -> int:
        tracker = MemoryTracker()
        tracker.assign([*network.parameters(), *network.buffers()], "parameters")
        tracker.assign(momentum, "optimizer")
        images = tensor_without_values(torch.empty(num_images, 3, case.side, case.side))
        tracker.assign([images], "batch")
        with tracker:
            network(images).backward()  # the step of the optimizer needs nothing more
        network.zero_grad()
        return sum(tracker.peak.values())

    few, many = _LINE
    bytes_of_few = needed(few)
    per_image = (needed(many) - bytes_of_few) / (many - few)
    return max(0, math.floor(few + (available - bytes_of_few) / per_image))


def _check(networks: Mapping[Form, Loss], batch: Tensor) -> None:
    """Check that all networks with a leaky ReLU compute the same loss."""
    with torch.no_grad():
        losses = {form: float(network(batch)) for form, network in networks.items() if form != "relu"}
    low, high = min(losses.values()), max(losses.values())
    assert high - low <= 1e-2 * high, f"the forms of a network compute different things: {losses}"


if __name__ == "__main__":
    main()
