"""Medians of measurements that take turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Side = Callable[[], float]
"""Function that does its work once and returns the time."""


def timed(prepare: Callable[[], T], work: Callable[[T], object]) -> Side:
    """Return a side that times only ``work``, in milliseconds, not making its input or freeing its result."""

    def once() -> float:
        given = prepare()
        start = time.perf_counter()
        result = work(given)
        taken = 1000 * (time.perf_counter() - start)
        del given, result
        return taken

    return once


def medians(sides: Mapping[str, Side], rounds: int, warm_up: int) -> dict[str, float]:
    """Return the median of every side over rounds in which all sides take turns.

    A disturbance of the machine then affects all sides. Every other round reverses the order, so that no side always
    runs after the same other one.

    Args:
        sides: Sides to measure, by name.
        rounds: Number of rounds that count, at least 1.
        warm_up: Number of rounds before them, which do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    for turn in range(warm_up + rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            value = sides[name]()
            if turn >= warm_up:
                taken[name].append(value)
    return {name: median(values) for name, values in taken.items()}


def training_step(network: nn.Module, batch: Tensor) -> Side:
    """Return a step of SGD with momentum; freeing the old gradients is not timed."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def work(images: Tensor) -> None:
        network(images).backward()
        optimizer.step()

    def prepare() -> Tensor:
        optimizer.zero_grad()
        return batch

    return timed(prepare, work)
