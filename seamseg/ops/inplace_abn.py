"""In-Place Activated BatchNorm as a function (Rota Bulò et al., CVPR 2018, section 3.2, "InPlace-ABN I").

Normalization, affine map and activation overwrite their input. The backward pass needs only the output: it inverts the
activation and the affine map. A BatchNorm followed by an activation would keep the inputs of both.

With a residual, the function is ``act(γ·x̂ + β + r)``, the end of a residual block. The backward pass then needs the
output and ``r``, which the layer that produced it keeps anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable
from torch.autograd.graph import Node
from torch.nn import functional

from seamseg.ops import abn_kernels
from seamseg.ops.collectives import Moments, sum_over_ranks
from seamseg.ops.native import has_values
from seamseg.ops.recomputation import check_versions, note_versions

Activation = Literal["leaky_relu", "elu", "identity", "relu"]  # in-place norms refuse relu
Scale = Literal["abs", "signed"]

# Numbers of the scales in csrc/inplace_abn/inplace_abn_cpu.cpp, and of the activations in activation.h.
_SCALES = {None: 0, "abs": 1, "signed": 2}
_CODES = {"identity": 0, "leaky_relu": 1, "elu": 2}


@dataclass(frozen=True)
class Statistics:
    """Mean and variance that normalize an input.

    Attributes:
        mean: C, float32 or float64.
        var: C, the biased variance, same type as ``mean``.
        count: Number of samples per channel of batch statistics, which the backward pass differentiates; None for
            constants (running statistics).
        group: Process group that the samples are spread over; with ``synchronized``, None means all ranks.
        synchronized: Whether the backward pass sums over ``group``.
    """

    mean: Tensor
    var: Tensor
    count: Tensor | None = None
    group: dist.ProcessGroup | None = None
    synchronized: bool = False

    def gradient_means(self, sums: Tensor, gamma: Tensor) -> Tensor:
        """Return a and b of the gradient ``γ/√(σ² + ε)·(dy − a − b·x̂)``, given this rank's ``Σ dy`` and ``Σ x̂·dy``."""
        if self.count is None:
            return torch.zeros_like(sums)
        totals = sum_over_ranks(sums, self.group) if self.synchronized else sums
        return totals / self.count.clamp(min=1)


@dataclass(frozen=True)
class RunningStatistics:
    """Running statistics of a layer, which batches update.

    Attributes:
        mean: C, overwritten.
        var: C, the unbiased variance, overwritten.
        num_batches: Number of batches so far, int64, overwritten.
        momentum: Weight of a batch; None for the cumulative average.
    """

    mean: Tensor
    var: Tensor
    num_batches: Tensor
    momentum: float | None

    def update(self, moments: Tensor, count: Tensor | int) -> None:
        """Move the statistics toward those of a batch.

        Args:
            moments: Mean and biased variance of the batch, 2×C.
            count: Number of samples per channel. A batch without samples changes nothing.
        """
        # A count on the GPU stays there, because reading it would wait for all pending work.
        has_samples: Tensor | int = int(count > 0) if isinstance(count, int) else count > 0
        if isinstance(count, int):
            correction: Tensor | float = count / max(count - 1, 1)
        else:
            correction = count / (count - 1).clamp(min=1)
        self.num_batches.add_(has_samples)
        momentum = 1 / max(int(self.num_batches), 1) if self.momentum is None else self.momentum
        new = has_samples * momentum if isinstance(has_samples, int) else has_samples.to(self.mean.dtype) * momentum
        mean, var = moments.unbind()
        self.mean.lerp_(mean.to(self.mean.dtype), new)
        self.var.lerp_((var * correction).to(self.var.dtype), new)


def check_activation(activation: str, slope: float) -> None:
    """Check that the activation can be inverted.

    Raises:
        ValueError: If the activation is unknown or not invertible, or its slope is not positive.
    """
    if activation == "relu":
        raise ValueError(
            "an in-place norm cannot use relu: it maps all negative values to 0, so the backward pass cannot recover "
            "them; use leaky_relu, elu or identity"
        )
    if activation not in _CODES:
        raise ValueError(f"unknown activation {activation!r}; known are leaky_relu, elu and identity")
    if activation != "identity" and not slope > 0:
        raise ValueError(f"the slope of {activation} must be greater than 0 to be inverted, not {slope}")


def batch_moments(x: Tensor) -> Moments:
    """Compute mean and biased variance of every channel in one pass, accurate even for small variances at large means.

    Args:
        x: N×C×… of any floating-point type. If N is 0, the result is zeros with count 0.
    """
    mean, var = abn_kernels.moments(x)
    return Moments(mean, var, mean.new_tensor(float(num_samples(x))))


def num_samples(x: Tensor) -> int:
    """Return the number of samples per channel of N×C×….

    Raises:
        ValueError: If there are fewer than two dimensions.
    """
    if x.ndim < 2:
        raise ValueError(f"a norm needs samples and channels, N×C×…, but got an input of shape {tuple(x.shape)}")
    return x.numel() // max(x.shape[1], 1)


def gamma_of(weight: Tensor, scale: Scale | None, eps: float) -> Tensor:
    """Return the factor γ for the weight w of a norm.

    Args:
        weight: C weights.
        scale: Definition of γ: abs(w) + ε for ``abs``, as in the paper; w + sign(w)·ε with sign(0) = +1 for
            ``signed``; w for None.
        eps: Constant ε that keeps γ away from 0.
    """
    # where() instead of abs() and sign(): their derivative at 0 is 0, so a weight of 0 would never change.
    if scale == "abs":
        with_gradient = torch.is_grad_enabled() or is_tracing()  # tracing checks its result without gradients
        size = torch.where(weight >= 0, weight, -weight) if with_gradient else weight.abs()
        return size + eps
    if scale == "signed":
        return torch.where(weight >= 0, weight + eps, weight - eps)
    return weight


def inplace_abn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    statistics: Statistics | None,
    eps: float,
    activation: Activation,
    slope: float,
    residual: Tensor | None = None,
    scale: Scale | None = None,
    running: RunningStatistics | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute ``act(γ·(x − μ)/√(σ² + ε) + β [+ r])`` and write it over ``x``.

    Args:
        x: N×C×…, overwritten; any floating-point type and strides, which the result keeps. It is copied instead if
            another tensor shares its memory: a view or its base, a detached tensor, or a tensor saved for the gradient
            of another operation.
        weight: C weights. Their γ (:func:`gamma_of`) must not be zero, because the backward pass divides by it.
        bias: C biases β.
        statistics: Statistics that normalize the input; None for those of ``x``, computed on the fly.
        eps: Constant ε added to the variance.
        activation: Activation accepted by :func:`check_activation`.
        slope: Negative slope of the leaky ReLU or α of the ELU.
        residual: N×C×… of the same type, added before the activation, or None.
        scale: Relation of γ and the weight; see :func:`gamma_of`.
        running: Running statistics to update with the moments of ``x``, if ``statistics`` is None.

    Returns:
        ``x`` itself (or the copy) with the output values, and the mean and biased variance that normalized it, 2×C.

    Raises:
        ValueError: If types, devices or shapes do not match.
        NativeLibraryError: If the native library is missing, or not for the device of ``x``.
    """
    _check_arguments(x, weight, bias, residual)
    if not torch.compiler.is_compiling():  # compiled graphs overwrite a copy
        if not _owns_memory(x):
            x = x.clone()
        if residual is not None and _shares_memory(x, residual):
            residual = residual.clone()  # the backward pass needs the original values
    z, moments = InPlaceABNFunction.apply(
        x, residual, weight, bias, scale, statistics, running, eps, _CODES[activation], slope
    )
    return z, moments


def is_tracing() -> bool:
    """Return whether ``torch.jit.trace`` is recording the computation."""
    result: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return result


def takes_ordinary_operators() -> bool:
    """Return whether the computation must consist of PyTorch's own functional operators.

    This is the case in tracing (``torch.jit.trace``), ONNX export, and transforms of ``torch.func``.
    """
    if is_tracing():
        return True
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()
    return torch._C._are_functorch_transforms_active()


def overwriting_obstacle(x: Tensor) -> str | None:
    """Return the reason why ``x`` must not be overwritten, if its producer shows one.

    The decision depends only on the type of the producer, never on its saved tensors: unpacking those would make a
    checkpoint run its function again. Producers whose type does not show it, such as a custom ``autograd.Function``,
    are accepted; :func:`inplace_abn` copies the tensors that they keep.

    Args:
        x: Input that requires gradients.

    Returns:
        The end of a sentence that includes the remedy; None if ``x`` may be overwritten.
    """
    if torch.compiler.is_compiling():
        return None  # compiled graphs overwrite a copy
    producer = x.grad_fn
    if producer is None:
        return "the input is a leaf that requires a gradient; pass a copy, x.clone()"
    if not _keeps_output(producer, x.output_nr):
        return None
    return (
        f"the operation that produced it ({producer.name()}) needs it for its own gradient; put a layer between them "
        "that does not need its output, such as a convolution, or pass a copy, x.clone()"
    )


def _keeps_output(producer: Node, output_nr: int) -> bool:
    """Return whether an operation is known to keep this output for its gradient."""
    if isinstance(producer, BackwardCFunction):
        return getattr(producer, "_forward_cls", None) is InPlaceABNFunction and output_nr == 0
    # With several inputs, the output may be kept for the gradient of only one of them, as in x ** y.
    return _saves_output(type(producer), output_nr) and len(producer.next_functions) == 1


@cache
def _saves_output(kind: type[Node], output_nr: int) -> bool:
    # The names come from torch's derivatives.yaml. Looking them up in the type does not unpack saved tensors.
    return any(hasattr(kind, f"_raw_saved_{name}") for name in ("result", f"result{output_nr}", "output"))


def activate_(x: Tensor, activation: Activation, slope: float, residual: Tensor | None = None) -> None:
    """Add the residual, if any, and apply the activation, both in place."""
    if residual is not None:
        x += residual
    if activation in ("leaky_relu", "relu"):
        functional.leaky_relu_(x, 0.0 if activation == "relu" else slope)
    elif activation == "elu":
        functional.elu_(x, slope)


def check_input(x: Tensor, num_channels: int, residual: Tensor | None) -> None:
    """Check that the input fits the norm; broadcasting would silently enlarge it otherwise.

    Raises:
        ValueError: If the input is not N×C×…, or the residual has another type or shape.
    """
    if is_tracing():  # sizes are tensors while tracing
        return
    if x.ndim < 2 or x.shape[1] != num_channels:
        raise ValueError(
            f"a norm over {num_channels} channels got an input of shape {tuple(x.shape)}; it takes N×C×… with "
            f"C = {num_channels}"
        )
    if residual is not None and (residual.dtype != x.dtype or residual.shape != x.shape):
        raise ValueError(
            f"the residual of a norm is {residual.dtype} {tuple(residual.shape)} and its input {x.dtype} "
            f"{tuple(x.shape)}; type and shape must be the same"
        )


def _check_arguments(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> None:
    check_input(x, weight.numel(), residual)
    for name, other in (("weight", weight), ("bias", bias), ("residual", residual)):
        if other is not None and other.device != x.device:
            raise ValueError(f"the {name} of a norm is on {other.device} and its input on {x.device}; move one of them")


def _shares_memory(x: Tensor, other: Tensor) -> bool:
    if not has_values(x):
        return bool(x.untyped_storage()._cdata == other.untyped_storage()._cdata)
    storage = x.untyped_storage().data_ptr()
    return storage != 0 and storage == other.untyped_storage().data_ptr()


def _owns_memory(x: Tensor) -> bool:
    """Return whether overwriting ``x`` changes no other tensor.

    Counting references also finds tensors that autograd does not track: views in inference mode, detached tensors, and
    tensors kept by a checkpoint, whose versions autograd does not check.
    """
    if x._is_view() or 0 in x.stride():  # expanded tensors overlap themselves
        return False
    if not x.untyped_storage().resizable():  # memory of NumPy, DLPack or another process
        return False
    return _num_references(x) <= _num_references_of_sole_owner()


def _num_references(x: Tensor) -> int:
    """Return the number of references to the memory of ``x``: tensors, autograd, and the Python object created here."""
    storage = x.untyped_storage()
    count: int = torch._C._storage_Use_Count(storage._cdata)
    return count


@cache
def _num_references_of_sole_owner() -> int:
    sole_owner = torch.empty(1)
    return _num_references(sole_owner)


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    scale: Scale | None
    statistics: Statistics | None
    eps: float
    activation: int
    slope: float


# Public name: autograd reports it if another operation changes a saved tensor or needs an overwritten one.
class InPlaceABNFunction(torch.autograd.Function):
    """Autograd function of :func:`inplace_abn`.

    It computes γ itself, because separate autograd operations on so few numbers would cost more than the norm of a
    small tensor.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        scale: Scale | None,
        statistics: Statistics | None,
        running: RunningStatistics | None,
        eps: float,
        activation: int,
        slope: float,
    ) -> tuple[Tensor, Tensor]:
        """Normalize, scale, shift and activate ``x`` in place."""
        if torch.compiler.is_compiling():
            # A compiled graph that overwrites one of its inputs loses gradients, and x may be such an input.
            x = x.clone()
        else:
            ctx.mark_dirty(x)
        gamma = None
        if statistics is None and abn_kernels.fits_layer(x, weight, bias):
            moments = _train_layer(x, residual, weight, bias, scale, running, eps, activation, slope)
        else:
            gamma = gamma_of(weight, scale, eps)
            moments = _train(x, residual, statistics, running, abn_kernels.Layer(gamma, bias, eps, activation, slope))
        ctx.mark_non_differentiable(moments)
        ctx.save_for_backward(x, weight, bias, gamma, moments, residual)  # type: ignore[arg-type]  # None is allowed
        note_versions(moments, x, *([] if residual is None else [residual]))
        ctx.scale, ctx.statistics, ctx.eps, ctx.activation, ctx.slope = scale, statistics, eps, activation, slope
        return x, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, dz: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients from the output."""
        z, weight, bias, gamma, moments, residual = ctx.saved_tensors
        check_versions(moments, z, *([] if residual is None else [residual]))
        if gamma is None:
            scale = _SCALES[ctx.scale]
            dx, dr, dweight, dbias = abn_kernels.layer_gradient(
                z, dz, residual, weight, bias, moments, scale, ctx.eps, ctx.activation, ctx.slope
            )
            return dx, dr, dweight, dbias, None, None, None, None, None, None
        layer = abn_kernels.Layer(gamma, bias, ctx.eps, ctx.activation, ctx.slope)
        if ctx.statistics is None:
            dx, dr, sums = abn_kernels.train_gradient(z, dz, residual, moments, layer)
        else:
            sums = abn_kernels.sums(z, dz, residual, layer)
            means = ctx.statistics.gradient_means(sums, gamma)
            dx, dr = abn_kernels.gradient(z, dz, residual, means, moments, layer)
        sum_dy, sum_xdy = sums.unbind()
        if ctx.scale == "abs":
            sum_xdy = torch.where(weight >= 0, sum_xdy, -sum_xdy)
        return dx, dr, sum_xdy.to(weight.dtype), sum_dy.to(bias.dtype), None, None, None, None, None, None


def _train(
    x: Tensor,
    residual: Tensor | None,
    statistics: Statistics | None,
    running: RunningStatistics | None,
    layer: abn_kernels.Layer,
) -> Tensor:
    """Normalize, scale, shift and activate ``x`` in place, and return the moments that normalized it, 2×C."""
    if statistics is None:
        moments = abn_kernels.train_(x, residual, layer)
        if running is not None:
            running.update(moments, num_samples(x))
    else:
        moments = torch.stack([statistics.mean, statistics.var]).to(abn_kernels.compute_type(x))
        abn_kernels.normalize_(x, residual, moments, layer)
    return moments


def _train_layer(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    scale: Scale | None,
    running: RunningStatistics | None,
    eps: float,
    activation: int,
    slope: float,
) -> Tensor:
    """Do the same with the moments of ``x``, in one operator."""
    numbers = None
    if running is not None and running.momentum is not None and abn_kernels.fits_layer(x, running.mean, running.var):
        numbers = running.mean, running.var, running.num_batches, running.momentum
    moments = abn_kernels.layer_train_(x, residual, weight, bias, numbers, _SCALES[scale], eps, activation, slope)
    if running is not None and numbers is None:
        running.update(moments, num_samples(x))
    return moments
