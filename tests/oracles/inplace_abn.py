"""In-place activated BatchNorm, channel by channel in float64. Arrays are N × C × S; moments, means and sums are 2 × C.

``lowest`` is a lower bound of z / slope when an ELU is inverted: the value used for an output that was rounded to -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    gamma: Array
    beta: Array
    activation: str
    slope: float
    eps: float = 1e-5
    lowest: float = -1 + float(np.finfo(np.float64).eps)

    def activate(self, y: Array) -> Array:
        if self.activation == "leaky_relu":
            return np.where(y > 0, y, self.slope * y)
        if self.activation == "elu":
            return np.where(y > 0, y, self.slope * np.expm1(np.minimum(y, 0)))
        return y

    def invert(self, z: Array) -> Array:
        if self.activation == "leaky_relu":
            return np.where(z > 0, z, z / self.slope)
        if self.activation == "elu":
            return np.where(z > 0, z, np.log1p(np.maximum(np.minimum(z, 0) / self.slope, self.lowest)))
        return z

    def derivative(self, z: Array) -> Array:
        """Return the derivative of the activation at the point where its value is z."""
        if self.activation == "leaky_relu":
            return np.where(z > 0, 1.0, self.slope)
        if self.activation == "elu":
            return np.where(z > 0, 1.0, z + self.slope)
        return np.ones_like(z)


def moments(x: Array) -> Array:
    """Return mean and biased variance of every channel; zeros without samples."""
    result = np.zeros((2, x.shape[1]))
    for c in range(x.shape[1]):
        if x[:, c].size > 0:
            result[:, c] = x[:, c].mean(), x[:, c].var()
    return result


def forward(layer: Layer, x: Array, moments: Array, residual: Array | None) -> Array:
    z = np.empty_like(x)
    for c in range(x.shape[1]):
        mean, var = moments[:, c]
        y = (x[:, c] - mean) / np.sqrt(var + layer.eps) * layer.gamma[c] + layer.beta[c]
        z[:, c] = layer.activate(y if residual is None else y + residual[:, c])
    return z


def _before(layer: Layer, c: int, z: Array, dz: Array, residual: Array | None) -> tuple[Array, Array]:
    """Return the normalized x of channel c, and the gradient before the activation."""
    y = layer.invert(z[:, c])
    if residual is not None:
        y = y - residual[:, c]
    return (y - layer.beta[c]) / layer.gamma[c], dz[:, c] * layer.derivative(z[:, c])


def sums(layer: Layer, z: Array, dz: Array, residual: Array | None) -> tuple[Array, Array]:
    """Return the sums of dy and x̂·dy, and the sums of their absolute values, which bound the rounding error."""
    result, sizes = np.zeros((2, z.shape[1])), np.zeros((2, z.shape[1]))
    for c in range(z.shape[1]):
        normalized, dy = _before(layer, c, z, dz, residual)
        result[:, c] = dy.sum(), (normalized * dy).sum()
        sizes[:, c] = abs(dy).sum(), abs(normalized * dy).sum()
    return result, sizes


def gradient(
    layer: Layer, z: Array, dz: Array, means: Array, moments: Array, residual: Array | None
) -> tuple[Array, Array]:
    """Return the gradients of x and of the residual; ``means`` of dy and x̂·dy are zeros for constant statistics."""
    dx, dr = np.empty_like(z), np.empty_like(z)
    for c in range(z.shape[1]):
        normalized, dy = _before(layer, c, z, dz, residual)
        mean_dy, mean_dot = means[:, c]
        dr[:, c] = dy
        dx[:, c] = (dy - mean_dy - normalized * mean_dot) * layer.gamma[c] / np.sqrt(moments[1, c] + layer.eps)
    return dx, dr
