"""Norm and network on a GPU: python -m benchmarks.gpu  (`make gpu-check`).

Time and memory of the in-place norm beside BatchNorm and leaky ReLU, training steps and predictions with the settings
for Cityscapes in both precisions and memory formats, and the number of operators that wait for the GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import gpu_parts, machine
from benchmarks.command import benchmark_parser
from benchmarks.network_cases import FULL, QUICK, Plan
from benchmarks.table import RESULTS, Row, print_rows, write_rows

PACKAGES = ("torch", "seamseg", "inplace-abn")
NO_GPU = "there is no GPU that torch can use: run this on a machine with one, or pass --device cpu to check the program"


@dataclass(frozen=True)
class Part:
    """Rows that are measured in one process.

    Attributes:
        name: Slug of the row that says why the part could not be measured.
        measure: Function from the plan and the device to the rows.
    """

    name: str
    measure: Callable[[Plan, torch.device], list[Row]]


def parts(is_quick: bool) -> tuple[Part, ...]:
    """Return the parts, the most important ones first."""
    shapes = gpu_parts.QUICK_SHAPES if is_quick else gpu_parts.SHAPES
    return (
        Part("step-float32", partial(gpu_parts.step_rows, precision="float32")),
        Part("norm-float32", partial(gpu_parts.norm_rows, precision="float32", shapes=shapes)),
        Part("predict", gpu_parts.predict_rows),
        Part("waits", gpu_parts.wait_rows),
        Part("step-bf16", partial(gpu_parts.step_rows, precision="bf16")),
        Part("norm-bf16", partial(gpu_parts.norm_rows, precision="bf16", shapes=shapes)),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; the exit code is 1 if a part could not be measured, and 2 without a GPU."""
    parser = benchmark_parser("gpu", __doc__, "one round of small inputs")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="device (default: cuda)")
    parser.add_argument("--seconds", type=float, default=150.0, help="start no part after this time (default: 150)")
    options = parser.parse_args(arguments)
    if options.device.type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        sys.exit(2)
    plan, deadline = QUICK if options.quick else FULL, time.monotonic() + options.seconds
    output = options.output or (None if options.quick else RESULTS / "gpu.json")
    where, versions, rows = describe(options.device), machine.versions(*PACKAGES), list[Row]()
    complete = True
    for part in parts(options.quick):
        print(f"{part.name} …", file=sys.stderr)
        found, done = measured(part, plan, options.device, deadline)
        rows, complete = [*rows, *found], complete and done
        if output is not None:  # after every part, so that a time limit leaves the rows of the others
            write_rows(output, where, versions, rows)
    print_rows(where, versions, rows)
    if not complete:
        sys.exit(1)


def measured(part: Part, plan: Plan, device: torch.device, deadline: float) -> tuple[list[Row], bool]:
    """Return the rows of a part, or one that says why there are none, and whether the part was measured.

    A new process runs it, because an error of a kernel makes the GPU unusable for the process.
    """
    if time.monotonic() >= deadline:
        return [Row(part.name, "not measured: no time was left", None, None, "ms")], False
    try:
        return machine.in_fresh_process(part.measure, plan, device), True
    except Exception as error:  # the other parts are measured anyway, whatever it is
        first, *_ = str(error).splitlines() or [""]
        return [Row(part.name, f"not measured: {type(error).__name__}: {first}", None, None, "ms")], False


def describe(device: torch.device) -> str:
    """Return the device and the machine in one line."""
    if device.type != "cuda":
        return f"{device}, {machine.describe(torch.get_num_threads())}"
    properties = torch.cuda.get_device_properties(device)
    memory, release = properties.total_memory / 2**30, torch.version.cuda
    return f"{properties.name}, {memory:.0f} GiB, CUDA {release}; {machine.describe(torch.get_num_threads())}"


if __name__ == "__main__":
    main()
