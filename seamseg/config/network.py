"""Settings of the norm layers, the backbone and the feature pyramid."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from seamseg.config.settings import FilePath, NonNegativeInt, PositiveFloat, PositiveInt, Settings

NormName = Literal["bn", "syncbn", "plain", "gn", "affine", "brn", "mabn"]
UNCOMPILED = ("syncbn", "mabn", "brn")
WITHOUT_RELU = ("bn", "syncbn", "brn", "mabn")
Activation = Literal["leaky_relu", "elu", "identity", "relu"]
TORCHVISION = "torchvision:"
BODY_NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50", "resnext101", "resnext152"),
    *("wide_resnet38", "wide_resnet38_a2", "wide_resnet38_a2_dilated"),
    *("densenet121", "densenet169", "densenet201", "densenet264", "densenet_bc100"),
)
"""Names of the bodies that are built here."""


def _known_body(name: str) -> str:
    if name in BODY_NAMES or re.fullmatch(rf"{TORCHVISION}\w+", name):
        return name
    near = difflib.get_close_matches(name, BODY_NAMES, 1)
    hint = f"did you mean {near[0]}? Choose" if near else "choose"
    raise ValueError(f"no such body; {hint} {', '.join(BODY_NAMES)}, or torchvision:NAME")


BodyName = Annotated[str, AfterValidator(_known_body)]


class MovingAverageSettings(Settings):
    """Moving averages of `norm.name=mabn`."""

    window: PositiveInt = 16
    """Number of iterations whose statistics are averaged, in the forward and the backward pass. An iteration is a call
    of a norm: each batch of an accumulated step, and in the RPN each pyramid level. The window times the images of a
    batch should be about 32; 16 is for two images."""

    momentum: float = Field(default=0.02, gt=0, le=1)
    """Momentum of the running second moment: the minimum weight of the new iteration."""

    plain_iterations: NonNegativeInt = 100
    """Number of first iterations that use the statistics of their batch only."""

    warmup_iterations: NonNegativeInt = 1000
    """Number of first iterations that do not correct the average toward the running second moment."""


class RenormSettings(Settings):
    """Limits of the correction of `norm.name=brn`."""

    max_scale: float = Field(default=3.0, ge=1)
    """Maximum of the factor r; its minimum is the inverse."""

    max_shift: float = Field(default=5.0, ge=0)
    """Maximum absolute value of the shift d, in standard deviations."""

    plain_iterations: NonNegativeInt = 5000
    """Number of first iterations, which are calls of a norm, that are ordinary BatchNorm."""

    warmup_iterations: NonNegativeInt = 40000
    """Iteration from which on the limits have their final values. They grow linearly from `plain_iterations` to this
    iteration, so lower both numbers for short runs."""


class NormSettings(Settings):
    """The norm after each convolution, and the activation after the norm."""

    name: NormName = "syncbn"
    """Kind of norm. `bn`: in-place BatchNorm with the statistics of each process; `syncbn`: in-place BatchNorm with the
    statistics of all processes; `plain`: ordinary BatchNorm, which is not in place, with the statistics of each
    process; `gn`: group norm; `affine`: stored statistics that never change. For one or two images per process:
    `mabn`, BatchNorm with moving averages in the forward and the backward pass, which centers the filters in front of
    it instead of its input; `brn`, batch renormalization."""

    heads: NormName | None = None
    """Kind of norm in the RPN and RoI heads. null uses `name`."""

    activation: Activation = "leaky_relu"
    """Activation after the norm. `relu` has no inverse, so only `plain`, `gn` and `affine` accept it."""

    slope: PositiveFloat = 0.01
    """Slope of the leaky ReLU for negative inputs, or α of the ELU. Not used by `identity` and `relu`."""

    scale: Literal["abs", "signed"] = "abs"
    """Scale that follows from the weight w of a norm: `abs` uses |w| + ε, like the published code; `signed` keeps the
    sign of w, like an ordinary BatchNorm. Only used by `bn`, `syncbn`, `brn` and `mabn`."""

    groups: PositiveInt = 16
    """Number of groups of the group norm. It must divide the number of channels of every layer."""

    standardize_weights: bool = False
    """Whether the filters in front of a group norm are standardized: minus their mean, divided by their standard
    deviation. Requires `gn` as `name` or `heads`."""

    momentum: float | None = Field(default=0.1, gt=0, le=1)
    """Momentum of the running statistics: the weight of the new batch. null computes the cumulative average. `mabn` has
    its own momentum."""

    sync: Literal["active", "masked"] = "masked"
    """Processes that exchange the `syncbn` statistics of the RoI head in a step where some processes have no regions.
    `active`: only those with regions, which then send the running statistics to the others. `masked`: all processes,
    some of which contribute nothing. Both take the same time if few images are without objects, and `masked` does not
    depend on earlier steps."""

    mabn: MovingAverageSettings = MovingAverageSettings()
    """Moving averages of `name=mabn`."""

    brn: RenormSettings = RenormSettings()
    """Limits of the correction of `name=brn`."""

    @property
    def names(self) -> frozenset[NormName]:
        """Kinds of norm in the network."""
        return frozenset({self.name, self.heads or self.name})

    @field_validator("activation")
    @classmethod
    def _invertible(cls, value: Activation, info: ValidationInfo) -> Activation:
        if value == "relu" and not {info.data.get("name"), info.data.get("heads")}.isdisjoint(WITHOUT_RELU):
            raise ValueError(
                f"relu has no inverse, which the norms {', '.join(WITHOUT_RELU)} require; use leaky_relu, which is "
                "closest"
            )
        return value


class BodySettings(Settings):
    """The backbone."""

    name: BodyName = "resnet50"
    """Architecture of the backbone: `resnet18`, `34`, `50`, `101` or `152`; `resnext50`, `101` or `152`;
    `wide_resnet38` or `wide_resnet38_a2`; `densenet121`, `169`, `201` or `264`; or `torchvision:NAME` for a
    convolutional classification network of torchvision, such as `torchvision:mobilenet_v2`, which keeps its own norms.
    `wide_resnet38_a2_dilated` (stride 8) and `densenet_bc100` (for 32×32 images) do not fit the feature pyramid."""

    weights: FilePath | None = None
    """Initial weights of the backbone: `imagenet` (torchvision's first release, downloaded), as in the published
    system; `imagenet_v2` (torchvision's second release, which ResNets from `resnet50` on and some of torchvision's
    networks have); the path of a file in
    torchvision's format or in that of the published in-place networks; a run folder, whose best model is read;
    `hf://ORG/NAME` or `timm:NAME` for a model of the Hugging Face Hub or of timm, if `huggingface_hub` or `timm` is
    installed; or null for random weights. `norm.name=gn` requires null, except for a network of torchvision, and
    `norm.name=mabn` requires a model that was trained with it."""

    frozen: tuple[str, ...] = ()
    """Parts of the backbone whose parameters are not trained, such as `mod1` or, for torchvision's networks,
    `features.0`. Their norms still use batch statistics. Requires `weights` or `init_from`. The published configs
    freeze mod1 and mod2."""

    norm_frozen: bool = False
    """Whether the norms of the backbone keep their stored parameters and statistics. Requires `weights` or
    `init_from`."""


def check_body(body: BodySettings, norm: NormSettings, init_from: tuple[str, ...] | None = None) -> None:
    """Check that the settings of the backbone agree with each other and with the norm.

    Args:
        body: Settings of the backbone.
        norm: Settings of the norm.
        init_from: Models that the network starts from; None if the experiment has no such setting.

    Raises:
        ValueError: They do not; the message names the keys.
    """
    if body.weights is None and not init_from and (body.norm_frozen or body.frozen):
        sources = "body.weights" if init_from is None else "body.weights or init_from"
        raise ValueError(
            f"body.frozen and body.norm_frozen require {sources}, because otherwise they would freeze random weights; "
            "set body.weights=imagenet, or body.frozen=[] and body.norm_frozen=false"
        )
    if body.weights is not None and norm.name == "gn" and not body.name.startswith(TORCHVISION):
        raise ValueError(
            f"body.weights={body.weights} contains BatchNorm statistics, which norm.name=gn cannot use; "
            "choose another norm, or set body.weights=null"
        )
    if body.weights in ("imagenet", "imagenet_v2") and norm.name == "mabn" and not body.name.startswith(TORCHVISION):
        raise ValueError(
            f"body.weights={body.weights} was trained with BatchNorm, which subtracts means, and norm.name=mabn does "
            "not; choose another norm, or set body.weights to a model that was trained with norm.name=mabn or to null"
        )


def check_norm(norm: NormSettings, precision: str) -> None:
    """Check that the settings of the norm agree with each other and with ``training.precision``.

    Raises:
        ValueError: They do not; the message names the keys.
    """
    if "mabn" in norm.names and precision == "fp16":
        raise ValueError(
            "training.precision=fp16 scales the loss by a changing factor, but norm.name=mabn averages gradients "
            "over several steps; use bf16 or float32, or another norm"
        )
    if norm.standardize_weights and "gn" not in norm.names:
        raise ValueError(
            f"norm.standardize_weights=true is for group norm, but norm.name={norm.name}; set norm.name=gn or "
            "norm.standardize_weights=false"
        )


def check_compile(body: BodySettings, norm: NormSettings, memory: str) -> None:
    """Check that the norms of the backbone can be compiled if ``training.memory`` compiles it.

    Raises:
        ValueError: They cannot; the message names the keys.
    """
    if memory == "compile" and norm.name in UNCOMPILED and not body.name.startswith(TORCHVISION):
        raise ValueError(
            f"training.memory=compile saves nothing with norm.name={norm.name}, whose statistics divide the compiled "
            "graph at every norm; use norm.name=bn, plain, gn or affine, or training.memory=checkpoint"
        )


def check_whole_compile(norm: NormSettings, compiled: bool, memory: str) -> None:
    """Check that all norms can be compiled if ``training.compile`` compiles the network.

    Raises:
        ValueError: They cannot, or ``training.memory`` contradicts; the message names the keys.
    """
    if not compiled:
        return
    if memory not in ("auto", "none"):
        raise ValueError(
            f"training.memory={memory} has no effect on the graphs of training.compile=true, whose compiler chooses "
            "what to keep; set training.memory=auto, or training.compile=false"
        )
    for key, name in (("norm.name", norm.name), ("norm.heads", norm.heads or norm.name)):
        if name in UNCOMPILED:
            raise ValueError(
                f"training.compile=true makes one graph of each part, and the statistics of {key}={name} divide it at "
                "every norm; use bn, plain, gn or affine, or training.compile=false"
            )
    if norm.momentum is None and not norm.names.isdisjoint({"bn", "plain"}):
        raise ValueError(
            "training.compile=true cannot follow norm.momentum=null, whose weight of a batch changes in every step; "
            "set a momentum such as 0.1, or training.compile=false"
        )


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
