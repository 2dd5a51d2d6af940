"""Log of the collective operations of a process.

with CollectiveLog() as log:
    norm(x)
assert log.names == ["allgather_"]
"""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CollectiveLog(TorchDispatchMode):
    """Records the collectives that this rank starts, except those that DistributedDataParallel starts internally.

    Attributes:
        names: Names of the operations in order, such as ``allreduce_`` and ``broadcast_``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.names.append(func._schema.name.removeprefix("c10d::"))
        return func(*args, **(kwargs or {}))
