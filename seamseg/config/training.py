"""Settings of the optimizer, the learning rate schedule, and the length and output of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from seamseg.config.settings import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Settings

AUTO = "auto"
"""Value of a setting that is chosen for the device when a run starts."""
AUTOMATIC = ("precision", "channels_last")
"""Settings of the training that may have this value."""


class OptimizerSettings(Settings):
    """Settings shared by all optimizers."""

    lr: PositiveFloat = 0.01
    """Base learning rate for the total batch of a step over all processes. The schedule and its warm-up multiply it by
    factors of at most 1."""

    lr_batch: PositiveInt | None = None
    """Number of images per step, over all processes, for which `lr` is given. The learning rate is scaled linearly to
    the actual number (Goyal et al., 2017). null uses `lr` unchanged."""

    weight_decay: NonNegativeFloat = 1e-4
    """Weight decay. `weight_decay_norm` sets whether it also applies to the norms."""

    weight_decay_norm: bool = True
    """Whether weight decay also applies to the parameters of the norms. The Vistas and Cityscapes configs use false."""

    clip_norm: PositiveFloat | None = None
    """Maximum norm of the gradient over all parameters; larger gradients are scaled down. null disables clipping. With
    or without clipping, an infinite or NaN norm ends the run before the step is taken."""


class SGDSettings(OptimizerSettings):
    """Stochastic gradient descent, the optimizer of the published system."""

    name: Literal["sgd"] = "sgd"
    """Chooses this optimizer."""

    momentum: Fraction = 0.9
    """SGD momentum."""

    nesterov: bool = True
    """Whether to use Nesterov momentum. No effect if `momentum` is 0."""


class AdamWSettings(OptimizerSettings):
    """Adam with decoupled weight decay. From random weights, it converges faster than SGD."""

    name: Literal["adamw"] = "adamw"
    """Chooses this optimizer."""

    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay rates of the running averages of the gradient and of the squared gradient."""


def _default_name(name: str) -> BeforeValidator:
    """Return a validator that adds the name of the default alternative to a group without name."""
    return BeforeValidator(lambda value: {"name": name, **value} if isinstance(value, dict) else value)


Optimizer = Annotated[SGDSettings | AdamWSettings, Field(discriminator="name"), _default_name(SGDSettings().name)]


class Warmup(Settings):
    """Linear warm-up of the learning rate at the start of a run."""

    iterations: NonNegativeInt = 500
    """Length of the warm-up, in iterations. 0 disables it."""

    factor: Fraction = 1 / 3
    """Factor on the learning rate at the start of the warm-up. It rises linearly to 1."""


class PolySchedule(Settings):
    """Polynomial decay: the learning rate is multiplied by (1 − k/K)^`power` after k of K iterations."""

    name: Literal["poly"] = "poly"
    """Chooses this schedule."""

    power: PositiveFloat = 0.9
    """Exponent of the decay. 1 is linear decay."""

    warmup: Warmup = Warmup()
    """Warm-up at the start of the run."""


class StepSchedule(Settings):
    """Step decay: the learning rate is multiplied by `gamma` at each milestone."""

    name: Literal["steps"] = "steps"
    """Chooses this schedule."""

    milestones: tuple[PositiveInt, ...]
    """Iterations, counted from 1, from which the learning rate is multiplied by another `gamma`; with `unit: epochs`,
    numbers of epochs after which it is."""

    unit: Literal["iterations", "epochs"] = "iterations"
    """Unit of `milestones`. An epoch has as many iterations as in the current run, so `epochs` does not depend on the
    batch size and the number of images."""

    gamma: PositiveFloat = 0.1
    """Factor on the learning rate at each milestone."""

    warmup: Warmup = Warmup()
    """Warm-up at the start of the run."""


class CosineSchedule(Settings):
    """Cosine decay: half a cosine from the full learning rate to zero."""

    name: Literal["cosine"] = "cosine"
    """Chooses this schedule."""

    warmup: Warmup = Warmup()
    """Warm-up at the start of the run."""


Schedule = Annotated[
    PolySchedule | StepSchedule | CosineSchedule, Field(discriminator="name"), _default_name(PolySchedule().name)
]


class TrainingSettings(Settings):
    """Length, random seed, validation, checkpoints and precision of a run."""

    epochs: PositiveInt = 90
    """Number of passes over the training images."""

    seed: NonNegativeInt = 0
    """Random seed of the initial weights, the order of the images, the augmentation and all sampling."""

    validate_every: NonNegativeInt = 1
    """Number of epochs between validations; at most `epochs`. The last epoch always validates; 0 validates only then.
    The model with the best PQ is kept."""

    checkpoint_every: PositiveInt = 1
    """Number of epochs between checkpoints. The last epoch and every new best model also write one."""

    keep_checkpoints: PositiveInt = 2
    """Number of latest checkpoints to keep, so that the run can resume even if one is damaged. The checkpoint of the
    best model is kept in addition."""

    log_every: PositiveInt = 20
    """Number of iterations between log entries."""

    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Number format of convolutions and linear layers, by autocast. Weights, statistics and losses stay float32. `auto`
    is `bf16` if the processor or GPU has instructions for it (AVX512_BF16 or AMX), else `float32`; `seamseg env` prints
    the choice, and the settings in the run folder contain it. `fp16` requires a GPU; it scales the loss, and skips
    steps whose gradients overflow until the scale is low enough."""

    channels_last: Literal["auto"] | bool = "auto"
    """Whether weights and features use the channels-last memory format. `auto` uses it where it is faster: on CPUs, and
    on GPUs with `bf16` or `fp16`. Results differ by rounding only."""

    memory: Literal["auto", "none", "checkpoint", "compile"] = "auto"
    """How the backbone saves memory in addition to the in-place norms (`norm.name`). `auto` recomputes in the backward
    pass what the stem and the blocks of a ResNet would keep if their maps have at least 65536 positions, counted over
    the images of a batch: these keep the most and take the least time. Classification networks recompute nothing with
    `auto`. `checkpoint` recomputes in all blocks: in
    DenseNets, concatenation, norm and 1×1 convolution of each layer; in other networks, the whole block. A step takes
    longer by up to one more forward pass of the backbone. In both cases, gradients and running statistics stay the
    same. `compile` runs the backbone through `torch.compile`, which recomputes as much as `compile_budget` requires.
    The first step takes minutes, and so does a step with images of another size. `compile` requires `norm.name=bn`,
    `plain`, `gn` or `affine`. `none` recomputes nothing."""

    compile_budget: Fraction = 0.5
    """Fraction of what the compiled backbone would keep for the backward pass that it may keep. Only used with
    `memory=compile`."""

    compile: bool = False
    """Whether `torch.compile` compiles the backbone with the feature pyramid, and each head, for images of all sizes.
    Results differ by rounding. The first step and the first validation take minutes longer. Images and features then
    use the channels-last memory format. With `bf16` and `fp16`, `norm.name=bn` keeps as much for the backward pass as
    `plain`. Requires `norm.name` and `norm.heads` of `bn`, `plain`, `gn` or `affine`, `norm.momentum` that is not null,
    `memory` `auto` or `none`, and a C++ compiler on the machine that trains."""

    accumulate: PositiveInt = 1
    """Number of batches per optimizer step. Their losses are averaged. Norms compute the statistics of each batch
    separately."""

    num_pictures: NonNegativeInt = 4
    """Number of validation images to show in TensorBoard. 0 shows none."""

    weight_average: float | None = Field(default=None, gt=0, lt=1)
    """Decay per iteration of an exponential moving average of the weights, greater than 0 and less than 1. The average
    is then validated and saved as the model. null validates and saves the weights themselves."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.validate_every > self.epochs:
            raise ValueError(
                f"validate_every={self.validate_every} is more than epochs={self.epochs}; set 0 to validate at the end"
            )
        return self


class SegmentationTrainingSettings(TrainingSettings):
    """Length, random seed, validation, checkpoints and precision of a run, and the parts that it does not train."""

    frozen: tuple[str, ...] = ()
    """Parts of the network that are not trained, such as `[body, rpn_head, roi_head]` to train the semantic head of a
    panoptic network only. Their norms keep their statistics. The parts are `body` (with the feature pyramid),
    `rpn_head`, `roi_head` and `sem_head`, or `body`, `head` and `cls` with `sem.head=deeplab`. All weights of a frozen
    part must come from `init_from` or `body.weights`."""
