"""What goes over process groups.

with CollectiveLog() as log:
    norm(x)
assert log.names == ["allgather_"]
"""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class CollectiveLog(TorchDispatchMode):
    """Notes the collectives that this rank starts, but for those of DistributedDataParallel, which torch starts inside.

    Attributes:
        names: of the operations, such as ``allreduce_`` and ``broadcast_``, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            self.names.append(func._schema.name.removeprefix("c10d::"))
        return func(*args, **(kwargs or {}))
