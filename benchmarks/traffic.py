"""Collectives of a process, counted where torch dispatches them, from Python and from C++."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

Operation = Literal["all_gather", "all_reduce", "broadcast"]
_NAMES: dict[str, Operation] = {
    "c10d::allgather_": "all_gather",
    "c10d::_allgather_base_": "all_gather",
    "c10d::allreduce_": "all_reduce",
    "c10d::allreduce_coalesced_": "all_reduce",
    "c10d::broadcast_": "broadcast",
}


@dataclass(frozen=True)
class Collective:
    """One call of a collective.

    Attributes:
        operation: Kind of the collective.
        bytes: Size of this rank's input; the bytes sent depend on the number of ranks and the algorithm. Receivers of a
            broadcast have no input.
        whole_numbers: Whether it carries integers.
    """

    operation: Operation
    bytes: int
    whole_numbers: bool


def collectives_of(work: Callable[[], object]) -> list[Collective]:
    """Return all collectives of this rank while ``work`` runs, in order.

    Raises:
        NotImplementedError: A collective has an unknown kind.
    """
    counter = _Counter()
    with counter:
        work()
    return counter.found


def total_bytes(collectives: Iterable[Collective]) -> int:
    """Return the sum of the sizes of all inputs."""
    return sum(one.bytes for one in collectives)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Collective] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.found.append(_collective(func._schema.name, args))
        return func(*args, **(kwargs or {}))


def _collective(name: str, args: Any) -> Collective:
    if name not in _NAMES:
        raise NotImplementedError(f"the collective {name} is not counted yet")
    operation = _NAMES[name]
    given = args[1] if operation == "all_gather" else args[0]
    tensors: list[torch.Tensor] = [given] if isinstance(given, torch.Tensor) else list(given)
    hands_over = operation != "broadcast" or args[2] == dist.get_rank()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return Collective(operation, size if hands_over else 0, not tensors[0].is_floating_point())
