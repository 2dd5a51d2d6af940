"""What the network is made of: norm, body, pyramid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from seamseg.config.settings import FilePath, NonNegativeInt, PositiveFloat, PositiveInt, Settings

NormName = Literal["bn", "syncbn", "gn", "affine"]
Activation = Literal["leaky_relu", "elu", "identity"]
BodyPart = Literal["mod1", "mod2", "mod3", "mod4", "mod5"]


class NormSettings(Settings):
    """The norm behind every convolution, and the activation behind the norm."""

    name: NormName = "syncbn"
    """`bn`: in place, statistics of this process; `syncbn`: in place, of all processes; `gn`: group norm; `affine`:
    stored statistics that never change."""

    heads: NormName | None = None
    """The norm of the proposal and region heads, if another one."""

    activation: Activation = "leaky_relu"
    """What follows the norm; it must be invertible."""

    slope: PositiveFloat = 0.01
    """Of the leaky ReLU below zero; α of the ELU."""

    scale: Literal["abs", "signed"] = "abs"
    """How the weight scales: `abs` as published, `signed` as in an ordinary BatchNorm."""

    groups: PositiveInt = 16
    """Of the group norm; must divide all widths."""

    momentum: float | None = Field(default=0.1, gt=0, le=1)
    """Of the running statistics; null for the cumulative average."""

    sync: Literal["active", "masked"] = "masked"
    """Of `syncbn`, in a step where some processes have no regions for the region head: `active`: the others alone
    exchange the statistics of its norms, and hand over what comes out; `masked`: all do, some contribute nothing. Where
    few images are without objects the two take the same time, and `masked` depends on no earlier step."""

    @field_validator("activation", mode="before")
    @classmethod
    def _invertible(cls, value: object) -> object:
        if value == "relu":
            raise ValueError("a ReLU has no inverse, which a norm in place needs; leaky_relu comes closest")
        return value


class BodySettings(Settings):
    """The backbone."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50"
    """Which ResNet."""

    weights: FilePath | None = None
    """Where the backbone starts from: `imagenet` (torchvision's weights, downloaded), a file in torchvision's format,
    or null for random weights."""

    frozen: tuple[BodyPart, ...] = ()
    """Parts whose parameters are not trained (their norms still use batch statistics). Published: mod1, mod2, which
    asks for `weights`."""

    norm_frozen: bool = False
    """Whether the backbone's norms keep their stored parameters and statistics, which asks for `weights`."""


class PyramidSettings(Settings):
    """The feature pyramid."""

    channels: PositiveInt = 256
    """Width of every level."""

    extra_levels: NonNegativeInt = 0
    """Levels coarser than stride 32, each at twice the stride."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Of all levels, in pixels, fine to coarse."""
        return tuple(4 * 2**level for level in range(4 + self.extra_levels))
