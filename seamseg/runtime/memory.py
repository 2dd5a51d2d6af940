"""Memory of the tensors of a computation, by what they are for.

:class:`MemoryTracker` sees every operator that PyTorch runs, so it knows each block of memory from its allocation to
its release, on any device. Tensors without values (:func:`without_values`) have the same sizes and lifetimes as real
ones but need neither memory nor time, so that a network that does not fit the machine can be measured, too.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Role = Literal["parameters", "average", "gradients", "optimizer", "batch", "kept", "temporary"]
"""What a block of memory is for: parameters and buffers of the network, a second network with averaged weights, state
of the optimizer, images and annotation, values kept for the backward pass, or anything else."""
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass
class _Block:
    """Memory that one or more tensors share.

    Attributes:
        num_bytes: Size.
        role: What it is for.
        part: Part of the network that keeps it for the backward pass.
    """

    num_bytes: int
    role: Role
    part: str


class MemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that counts the memory of all tensors that are made inside it or passed to :meth:`assign`.

    A storage counts once, however many tensors share it, and until the last of them is freed. What an operator
    allocates and frees inside its kernel, such as the workspace of a convolution, is not seen.

    Attributes:
        part: Part of the network that runs now; see :meth:`attribute`.
        phase: Phase of the computation, set by the caller.
        peak: Largest number of bytes at a time, by role.
        peak_phase: Phase in which it was reached.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part, self.phase = "", ""
        self.peak: Mapping[Role, int] = {}
        self.peak_phase = ""
        self._blocks: dict[int, _Block] = {}
        self._totals: Counter[Role] = Counter()
        self._peak_total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count its new tensors."""
        schema = func._schema
        if not schema.returns:
            # It only writes to its arguments. Not all such operators accept tensors without values.
            has_values = not any(isinstance(value, FakeTensor) for value in tree_leaves(args))
            return func(*args, **(kwargs or {})) if has_values else None
        result = func(*args, **(kwargs or {}))
        results = result if len(schema.returns) > 1 else [result]
        for value, declared in zip(results, schema.returns, strict=True):
            if declared.alias_info is None:  # views and overwritten arguments are no new memory
                for tensor in tree_leaves(value):
                    if isinstance(tensor, Tensor):
                        self._add(tensor, "temporary")
        return result

    def assign(self, tensors: Iterable[Tensor], role: Role) -> None:
        """Set what the memory of tensors is for; count it from now on if it is not yet."""
        for tensor in tensors:
            block = self._blocks.get(_key(tensor))
            if block is None:
                self._add(tensor, role)
            else:
                self._move(block, role)

    def kept(self) -> dict[str, int]:
        """Return the bytes that are kept for the backward pass, by part of the network in the order of the first."""
        by_part: dict[str, int] = {}
        for block in self._blocks.values():
            if block.role == "kept":
                by_part[block.part] = by_part.get(block.part, 0) + block.num_bytes
        return by_part

    def totals(self) -> dict[Role, int]:
        """Return the bytes at the moment, by role."""
        return {role: total for role, total in self._totals.items() if total}

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """Count what autograd keeps inside the context as kept by the current part."""
        # As in a SavedVariable, the detached tensor avoids a cycle of an output and its own gradient function.
        with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
            yield

    @contextlib.contextmanager
    def attribute(self, parts: Mapping[str, nn.Module]) -> Iterator[None]:
        """Set :attr:`part` while a module of a part, or one inside it, runs.

        Args:
            parts: Parts of a network by name.
        """
        outer: list[str] = []

        def enter(name: str) -> None:
            outer.append(self.part)
            self.part = name

        def leave() -> None:
            self.part = outer.pop()

        with inside_parts(parts, enter, leave):
            yield

    def _keep(self, tensor: Tensor) -> Tensor:
        block = self._blocks.get(_key(tensor))
        if block is not None and block.role == "temporary":
            self._move(block, "kept")
            block.part = self.part
        return tensor.detach()

    def _add(self, tensor: Tensor, role: Role) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._blocks or not storage.nbytes():
            return
        self._blocks[key] = _Block(storage.nbytes(), role, self.part)
        weakref.finalize(storage, self._free, key).atexit = False
        self._totals[role] += storage.nbytes()
        total = sum(self._totals.values())
        if total > self._peak_total:
            self._peak_total, self.peak, self.peak_phase = total, self.totals(), self.phase

    def _move(self, block: _Block, role: Role) -> None:
        self._totals[block.role] -= block.num_bytes
        self._totals[role] += block.num_bytes
        block.role = role

    def _free(self, key: int) -> None:
        block = self._blocks.pop(key)
        self._totals[block.role] -= block.num_bytes


@contextlib.contextmanager
def inside_parts(
    parts: Mapping[str, nn.Module], enter: Callable[[str], None], leave: Callable[[], None]
) -> Iterator[None]:
    """Call functions whenever a module of a part, or one inside it, starts and ends its forward pass.

    Args:
        parts: Parts of a network by name.
        enter: Function that gets the name of the part.
        leave: Function that is called at the end, also after an error.
    """
    with contextlib.ExitStack() as undo:
        for name, module in parts.items():
            # Not only the part itself: heads may have methods of their own instead of ``forward``.
            for child in module.modules():
                before = child.register_forward_pre_hook(lambda *_, name=name: enter(name))
                after = child.register_forward_hook(lambda *_: leave(), always_call=True)
                undo.callback(before.remove)
                undo.callback(after.remove)
        yield


def without_values(network: NetworkT) -> NetworkT:
    """Replace the parameters of a network, in place, by ones that have a type, a shape and a device, but no values.

    Whatever is computed from them has no values either, in the forward and in the backward pass. Operations on other
    tensors, and so all decisions that depend on values, run as usual. Buffers keep their values, because norms read
    counts from them.
    """
    fake = _fake_mode()
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = fake.from_tensor(parameter.detach())
                module._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
    return network


def tensor_without_values(like: Tensor) -> Tensor:
    """Return a tensor of the type, shape and device of another one, but without values."""
    empty: Tensor = _fake_mode().from_tensor(like)
    return empty


@cache
def _fake_mode() -> FakeTensorMode:
    """Return the mode of all tensors without values, because tensors of different modes do not mix."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def _key(tensor: Tensor) -> int:
    """Return the address of the object that manages the memory of a tensor, which exists without values, too."""
    key: int = tensor.untyped_storage()._cdata
    return key
