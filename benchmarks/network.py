"""The whole network against its arithmetic and its peers: python -m benchmarks.network  (`make bench-network`).

Time of a prediction and of training steps against the floor, which is the time of their convolutions and matrix
products, each by itself in its best memory format; against torchvision's Mask R-CNN, Panoptic FPN and our own network
built plainly (BatchNorm out of place, contiguous, whole logits); and compiled against not compiled. Peak memory of
processes that train. Growth of time and memory with the area of the images, and the numbers of objects, classes and
images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks import machine, network_compiled, network_growth, network_memory, network_times
from benchmarks.command import benchmark_parser, publish, recorded_rows
from benchmarks.network_cases import FULL, QUICK, Plan
from benchmarks.table import Row, replace_rows
from seamseg.runtime.precision import automatic_precision

_NO_BF16 = "not measured: this processor has no bf16 instructions and would take many minutes; pass --slow-bf16"


@dataclass(frozen=True)
class Part:
    """Rows that are measured in one process.

    Attributes:
        name: Name for ``--only``.
        measure: Function from the plan to the rows.
        bf16: Slugs of rows in bf16, if the part has no others.
    """

    name: str
    measure: Callable[[Plan], list[Row]]
    bf16: tuple[str, ...] = ()


PARTS = (
    Part("predict", network_times.predict_rows),
    Part("step", network_times.step_rows),
    Part("compiled", network_compiled.compiled_rows),
    Part("demo", network_times.demo_rows),
    Part("growth", network_growth.growth_rows),
    *(Part(case.slug, case.rows, (case.slug,) if case.is_bf16 else ()) for case in network_memory.CASES),
)


PACKAGES = ["torch", "torchvision", "seamseg", "detectron2"]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("network", __doc__, "one round of small images")
    names = [part.name for part in PARTS]
    parser.add_argument(
        "--only",
        action="append",
        metavar="PART",
        choices=names,
        help=f"measure one part: {', '.join(names)}; repeatable",
    )
    parser.add_argument(
        "--update", action="store_true", help="with --only, replace the rows of these parts in the recorded file"
    )
    parser.add_argument("--skip-bf16", action="store_true", help="leave out the rows in bf16")
    parser.add_argument(
        "--slow-bf16", action="store_true", help="measure bf16 on a processor without instructions for it"
    )
    options = parser.parse_args(arguments)
    rows = recorded_rows("network", options, FULL.threads, PACKAGES) if options.update else []
    machine.warn_if_busy()
    for part in PARTS:
        if options.only is None or part.name in options.only:
            print(f"{part.name} …", file=sys.stderr)
            rows = replace_rows(rows, _measured(part, options))
    # A part is not recorded, unless it updates the file or --output names one.
    options.quick |= options.skip_bf16 or (options.only is not None and not options.update)
    publish("network", options, FULL.threads, PACKAGES, rows)


def _measured(part: Part, options: argparse.Namespace) -> Sequence[Row]:
    has_bf16 = not options.skip_bf16 and (options.slow_bf16 or automatic_precision(torch.device("cpu"))[0] == "bf16")
    if part.bf16 and not has_bf16:
        return [Row(slug, _NO_BF16, None, None, "GB") for slug in part.bf16]
    plan = replace(QUICK if options.quick else FULL, has_bf16=has_bf16)
    rows: list[Row] = plan.in_process(part.measure, plan)
    return rows


if __name__ == "__main__":
    main()
