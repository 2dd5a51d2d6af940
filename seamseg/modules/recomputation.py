"""Recomputation of parts of a network in the backward pass.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.

:func:`checkpoint` keeps the inputs of a part instead of what its layers keep. Its norms update their running statistics
once, and the recomputation normalizes with the statistics of the forward pass, so that it runs no collective and does
not depend on batches in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor, fx
from torch.utils import checkpoint as torch_checkpoint

from seamseg.ops.inplace_abn import Statistics, takes_ordinary_operators

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


def checkpoint(part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``part(*inputs)``; its layers keep nothing and run again in the backward pass.

    Values, gradients and running statistics equal those of the plain call: the recomputation has the same autocast mode
    and random numbers. Without gradients, in a compiled graph and in transforms of ``torch.func``, the call is plain.

    Args:
        part: Function of tensors that must not overwrite its inputs: an in-place norm must not be its first layer.
            Otherwise, PyTorch raises an error in the backward pass.
        inputs: Arguments, which are kept.
    """
    if not can_checkpoint():
        return part(*inputs)
    statistics: list[Statistics | None] = []
    output: Tensor = torch_checkpoint.checkpoint(
        part, *inputs, use_reentrant=False, context_fn=lambda: (_Tape(statistics), _Tape(statistics, replays=True))
    )
    return output


def can_checkpoint() -> bool:
    """Return whether :func:`checkpoint` has an effect."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and not takes_ordinary_operators()


def recorded(compute: Callable[[Tensor], Statistics | None], x: Tensor) -> Statistics | None:
    """Return ``compute(x)`` or, in the recomputation of a :func:`checkpoint`, its result in the forward pass."""
    tape = None if torch.compiler.is_compiling() else _tape.get()
    return compute(x) if tape is None else tape.next(compute, x)


class _Tape(AbstractContextManager[None]):
    """Context that records the statistics of each norm in the order of the calls, or replays them, any number of times.

    Args:
        statistics: Recorded statistics.
        replays: Whether to replay them.
    """

    def __init__(self, statistics: list[Statistics | None], replays: bool = False) -> None:
        self._statistics, self._replays, self._position = statistics, replays, 0
        self._outer: Token[_Tape | None] | None = None

    def next(self, compute: Callable[[Tensor], Statistics | None], x: Tensor) -> Statistics | None:
        """Compute and record the statistics of a call, or replay them."""
        if not self._replays:
            self._statistics.append(compute(x))
        self._position += 1
        return self._statistics[self._position - 1]

    def __enter__(self) -> None:
        self._position, self._outer = 0, _tape.set(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A recomputation ends with an exception as soon as it has all that the backward pass needs.
        assert self._outer is not None
        _tape.reset(self._outer)


_tape: ContextVar[_Tape | None] = ContextVar("tape", default=None)


def compile_within(budget: float, function: CallableT) -> CallableT:
    """Return a function that ``torch.compile`` compiles in its first call.

    The compiler chooses what to keep for the backward pass, and recomputes the rest
    (``torch._functorch.config.activation_memory_budget``).

    Args:
        budget: Fraction in 0 … 1 of what the compiled function would keep otherwise that it may keep.
        function: Function or network to compile.
    """
    compiled: CallableT = torch.compile(function, backend=partial(_compile, budget))  # type: ignore[assignment]
    return compiled


def _compile(budget: float, graph: fx.GraphModule, inputs: list[Any]) -> Any:
    from torch._functorch import config  # imported late, as the compiler, which takes seconds

    with config.patch(activation_memory_budget=budget):
        return _compiler()(graph, inputs)


def _compiler() -> Callable[[fx.GraphModule, list[Any]], Any]:
    from torch._inductor.compile_fx import compile_fx

    return compile_fx
