"""Settings of the norm layers, the backbone and the feature pyramid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from seamseg.config.settings import FilePath, NonNegativeInt, PositiveFloat, PositiveInt, Settings

NormName = Literal["bn", "syncbn", "gn", "affine"]
Activation = Literal["leaky_relu", "elu", "identity"]
BodyPart = Literal["mod1", "mod2", "mod3", "mod4", "mod5"]


class NormSettings(Settings):
    """The norm after each convolution, and the activation after the norm."""

    name: NormName = "syncbn"
    """Kind of norm. `bn`: in-place BatchNorm with the statistics of each process; `syncbn`: in-place BatchNorm with the
    statistics of all processes; `gn`: group norm; `affine`: stored statistics that never change."""

    heads: NormName | None = None
    """Kind of norm in the RPN and RoI heads. null uses `name`."""

    activation: Activation = "leaky_relu"
    """Activation after the norm. In-place norms require an invertible one, so there is no ReLU."""

    slope: PositiveFloat = 0.01
    """Slope of the leaky ReLU for negative inputs, or α of the ELU. Not used by `identity`."""

    scale: Literal["abs", "signed"] = "abs"
    """Scale that follows from the weight w of a norm: `abs` uses |w| + ε, like the published code; `signed` keeps the
    sign of w, like an ordinary BatchNorm."""

    groups: PositiveInt = 16
    """Number of groups of the group norm. It must divide the number of channels of every layer."""

    momentum: float | None = Field(default=0.1, gt=0, le=1)
    """Momentum of the running statistics: the weight of the new batch. null computes the cumulative average."""

    sync: Literal["active", "masked"] = "masked"
    """Processes that exchange the `syncbn` statistics of the RoI head in a step where some processes have no regions.
    `active`: only those with regions, which then send the running statistics to the others. `masked`: all processes,
    some of which contribute nothing. Both take the same time if few images are without objects, and `masked` does not
    depend on earlier steps."""

    @field_validator("activation", mode="before")
    @classmethod
    def _invertible(cls, value: object) -> object:
        if value == "relu":
            raise ValueError("relu has no inverse, which in-place norms require; use leaky_relu, which is closest")
        return value


class BodySettings(Settings):
    """The backbone."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50"
    """Architecture of the backbone."""

    weights: FilePath | None = None
    """Initial weights of the backbone: `imagenet` (torchvision's weights, downloaded), the path of a file in
    torchvision's format, or null for random weights. `norm.name=gn` requires null."""

    frozen: tuple[BodyPart, ...] = ()
    """Parts of the backbone whose parameters are not trained. Their norms still use batch statistics. Requires
    `weights`. The published configs freeze mod1 and mod2."""

    norm_frozen: bool = False
    """Whether the norms of the backbone keep their stored parameters and statistics. Requires `weights`."""


class PyramidSettings(Settings):
    """The feature pyramid."""

    channels: PositiveInt = 256
    """Number of channels of every pyramid level."""

    extra_levels: NonNegativeInt = 0
    """Number of pyramid levels coarser than stride 32, each with twice the stride of the previous one."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of all pyramid levels in pixels, fine to coarse."""
        return tuple(4 * 2**level for level in range(4 + self.extra_levels))
