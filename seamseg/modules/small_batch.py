"""Base of the in-place norms for batches of one or two images."""

from __future__ import annotations

import torch
from torch import Tensor

from seamseg.errors import SeamsegError
from seamseg.modules.abn import InPlaceABN
from seamseg.ops.inplace_abn import check_input


class SmallBatchABN(InPlaceABN):
    """Base of the norms whose training depends on earlier batches."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(γ·x̂ + β [+ residual])`` and write it over ``x`` if possible.

        Raises:
            SeamsegError: A checkpoint recomputes the layer in training.
        """
        if self.updates_running_stats:
            check_input(x, self.num_channels, residual)  # before the state changes
        return super().forward(x, residual)

    def _check_own_statistics(self) -> None:
        if self.updates_running_stats:
            raise ValueError(
                f"{self._describe()} uses statistics of earlier batches in training, which cannot be traced, exported "
                "or transformed by torch.func; call eval() on the network first"
            )

    def _check_recomputation(self) -> None:
        # As in is_recomputing(), but this call also breaks compiled graphs.
        if torch._C._current_graph_task_id() != -1:
            raise SeamsegError(
                f"{self._describe()} cannot be recomputed in the backward pass, as checkpoints do, because it would "
                "count the batch twice; leave it out of the checkpoint, use "
                "seamseg.modules.recomputation.checkpoint (training.memory=checkpoint), or set norm.name=bn"
            )

    def _update_running(self, moments: Tensor, count: Tensor | int) -> None:
        """Do nothing: :meth:`batch_statistics` has already updated the running statistics."""
