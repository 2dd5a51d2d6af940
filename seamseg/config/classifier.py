"""Settings of the training of a classification network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from seamseg.config.data import Channels, ColorJitterSettings
from seamseg.config.network import (
    BodySettings,
    NormSettings,
    check_body,
    check_compile,
    check_norm,
    check_whole_compile,
)
from seamseg.config.settings import (
    FilePath,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from seamseg.config.training import Optimizer, PolySchedule, Schedule, SGDSettings, TrainingSettings


class ClassifierDataSettings(Settings):
    """The image folder, and the preprocessing and batching of its images."""

    root: FilePath | None = None
    """Folder with one folder per split, which has one folder of images per class, such as `train/cat/1.jpg`. A leading
    `~` is expanded to the home folder. Training requires this setting."""

    train_split: str = "train"
    """Name of the folder of the training images."""

    val_split: str = "val"
    """Name of the folder of the validation images. Its classes must be among the classes of the training images."""

    crop: PositiveInt = 224
    """Side of the square images that the network gets, in pixels."""

    resize: PositiveInt = 256
    """Length of the shorter side of a validation image after scaling, in pixels; at least `crop`. The center of the
    scaled image is then cropped. With `padding`, training images are scaled in the same way."""

    random_area: tuple[PositiveFloat, Fraction] = (0.08, 1.0)
    """Range of the area of a random crop, as a fraction of the image. The crop is scaled to `crop`. Not used with
    `padding`."""

    random_aspect: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    """Range of the aspect ratio (width / height) of a random crop before scaling. Not used with `padding`."""

    padding: NonNegativeInt | None = None
    """Pixels of black to add on all sides of a scaled training image before a crop of fixed size is cut out at random,
    as is usual for CIFAR. null uses random crops of `random_area` and `random_aspect` instead."""

    random_flip: bool = True
    """Whether to mirror training images horizontally with probability 0.5."""

    color_jitter: ColorJitterSettings = ColorJitterSettings()
    """Random color changes of training images."""

    lighting: NonNegativeFloat = 0.0
    """Strength of the random color shift along the principal components of ImageNet's colors (Krizhevsky et al., 2012,
    section 4.1): the standard deviation of its three factors. 0 disables it; 0.1 is usual."""

    mean: Channels = (0.485, 0.456, 0.406)
    """Mean of red, green and blue, each in 0 … 1. It is subtracted from the pixel values."""

    std: Channels = (0.229, 0.224, 0.225)
    """Standard deviation of red, green and blue, each greater than 0 and at most 1. The pixel values are divided by it
    after `mean` is subtracted."""

    train_batch_size: PositiveInt = 32
    """Images per process in each training batch. The total batch also depends on the number of processes and on
    `training.accumulate`."""

    val_batch_size: PositiveInt = 32
    """Images per process in each batch of validation and `seamseg test-classifier`."""

    num_workers: NonNegativeInt = Field(default=2)
    """Number of data worker processes per training process. 0 reads images in the training process."""

    worker_timeout: PositiveFloat = 600.0
    """Seconds to wait for a batch from the data workers before the command ends with an error."""

    @model_validator(mode="after")
    def _check(self) -> ClassifierDataSettings:
        if self.resize < self.crop:
            raise ValueError(f"resize={self.resize} is less than crop={self.crop}; set resize to at least crop")
        for name in ("random_area", "random_aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}={[low, high]} must be a range with the lower bound first")
        return self


class ClassifierExperiment(Settings):
    """All settings of the training of a classification network: a body, the mean over its last map, a linear layer."""

    task: Literal["classification"] = "classification"
    """Marks these as the settings of a classification network."""

    data: ClassifierDataSettings = ClassifierDataSettings()
    norm: NormSettings = NormSettings()
    body: BodySettings = BodySettings()
    optimizer: Optimizer = SGDSettings()
    schedule: Schedule = PolySchedule()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _check(self) -> ClassifierExperiment:
        check_body(self.body, self.norm)
        check_compile(self.body, self.norm, self.training.memory)
        check_whole_compile(self.norm, self.training.compile, self.training.memory)
        check_norm(self.norm, self.training.precision)
        return self
