"""How the network is trained: optimizer, schedule, length, validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seamseg.config.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Settings


class OptimizerSettings(Settings):
    """What every optimizer has."""

    lr: PositiveFloat = 0.01
    """Learning rate after the warm-up, for the total batch of a step."""

    lr_batch: PositiveInt | None = None
    """Images per step, over all processes, that lr is meant for: the rate is scaled linearly to the real number (Goyal
    et al., 2017). null: lr as it is."""

    weight_decay: NonNegativeFloat = 1e-4
    """Penalty of the weights."""

    weight_decay_norm: bool = True
    """Whether the norms' parameters are decayed too; the Vistas and Cityscapes configs say no."""

    clip_norm: PositiveFloat | None = None
    """Largest norm of the whole gradient: a longer one is scaled down; null leaves it. A norm that is infinite or NaN
    ends the run before the step is taken."""


class SGDSettings(OptimizerSettings):
    """Stochastic gradient descent, the published choice."""

    name: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    """Of the velocity."""

    nesterov: bool = True
    """Whether the gradient is taken where the momentum leads."""


class AdamWSettings(OptimizerSettings):
    """Adam with decoupled weight decay: learns faster from random weights than plain gradient descent."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Of the running means of gradient and squared gradient."""


Optimizer = Annotated[SGDSettings | AdamWSettings, Field(discriminator="name")]


class Warmup(Settings):
    """The learning rate starts lower and rises linearly."""

    iterations: NonNegativeInt = 500
    """How long; 0 for none."""

    factor: Fraction = 1 / 3
    """Of the learning rate, where it starts."""


class PolySchedule(Settings):
    """(1 − k/K) to a power, K being all iterations."""

    name: Literal["poly"] = "poly"
    power: PositiveFloat = 0.9
    """The exponent."""

    warmup: Warmup = Warmup()
    """The start."""


class StepSchedule(Settings):
    """Falls by a factor at every milestone."""

    name: Literal["steps"] = "steps"
    milestones: tuple[PositiveInt, ...]
    """Iterations from which the rate is lower."""

    gamma: PositiveFloat = 0.1
    """The factor."""

    warmup: Warmup = Warmup()
    """The start."""


class CosineSchedule(Settings):
    """Half a cosine from the full rate to zero."""

    name: Literal["cosine"] = "cosine"
    warmup: Warmup = Warmup()
    """The start."""


Schedule = Annotated[PolySchedule | StepSchedule | CosineSchedule, Field(discriminator="name")]


class TrainingSettings(Settings):
    """Length, order and supervision of a run."""

    epochs: PositiveInt = 90
    """Passes over the training images."""

    seed: NonNegativeInt = 0
    """Of the first weights, the order of the images, their augmentation and all sampling."""

    validate_every: NonNegativeInt = 1
    """Epochs between validations, each of which may become the best; the last epoch always validates; 0: only that."""

    checkpoint_every: PositiveInt = 1
    """Epochs between checkpoints; the last epoch and every new best write one too."""

    keep_checkpoints: PositiveInt = 2
    """How many of the latest checkpoints stay, so that one may be damaged; that of the best model stays too."""

    log_every: PositiveInt = 20
    """Iterations between entries of the log."""

    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Type of the convolutions and linear layers in a step, by autocast; weights, statistics and losses stay float32.
    fp16 needs a GPU; it scales the loss, and skips steps whose gradients overflow until the scale is low enough."""

    channels_last: bool = False
    """Whether the weights, and with them the features, have their channels side by side in memory: faster on GPUs with
    a half type, and on CPUs."""

    accumulate: PositiveInt = 1
    """Batches per step of the optimizer; their losses are averaged. Norms see each batch by itself."""

    num_pictures: NonNegativeInt = 4
    """Validation images shown in TensorBoard."""

    weight_average: float | None = Field(default=None, gt=0, lt=1)
    """Decay per iteration of an exponential moving average of the weights, which is then validated and kept as the
    result; null: the weights themselves."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.validate_every > self.epochs:
            raise ValueError(
                f"validate_every={self.validate_every} is more than epochs={self.epochs}; use 0 to validate at the end"
            )
        return self
