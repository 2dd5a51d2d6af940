"""Which images, how large, in what batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from seamseg.config.settings import FilePath, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Settings

Triple = tuple[float, float, float]
DataFormat = Literal["coco", "vistas_v1.2", "vistas_v2.0", "seamseg"]


class ColorJitterSettings(Settings):
    """How far the colors of training images stray; the published configs leave them."""

    brightness: Fraction = 0.0
    """All values are multiplied by a factor drawn from 1 ± this."""

    contrast: Fraction = 0.0
    """The same for distances from the image's mean gray."""

    saturation: Fraction = 0.0
    """The same for distances of pixels from their own gray."""

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Colors are turned around the gray axis by a part of a full turn drawn from ± this."""


class DataSettings(Settings):
    """The data set and what becomes of its images."""

    root: FilePath | None = None
    """Folder of the data set; `~` at its beginning is the home folder."""

    format: DataFormat | None = None
    """What the folder holds: `coco` (COCO panoptic), `vistas_v1.2` or `vistas_v2.0` (Mapillary Vistas as downloaded),
    `seamseg` (`metadata.bin`, as the published seamseg converts); null recognizes it."""

    train_split: str = "train"
    """The split that is trained on; an unmistakable beginning of its name will do: train for train2017 or training."""

    val_split: str = "val"
    """The split that is validated on."""

    train_limit: PositiveInt | None = None
    """Only this many images of the training split, the first of its file."""

    val_limit: PositiveInt | None = None
    """Only this many images of the validation split."""

    shortest_side: PositiveInt = 1024
    """Images are scaled so that their shorter side has this length, in pixels …"""

    longest_side: PositiveInt = 2048
    """… unless the longer one would exceed this."""

    random_scale: tuple[PositiveFloat, PositiveFloat] | None = (0.8, 1.0)
    """Range of a random factor of `shortest_side` in training; null for none."""

    random_flip: bool = True
    """Whether every other training image is mirrored."""

    random_crop: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width of a part of each training image, cut out anywhere after scaling, in pixels; null for whole
    images. With a wide range such as `random_scale=[0.1,2.0]` and a `longest_side` that allows it, this is large-scale
    jitter."""

    crop_min_visible: Fraction = 0.1
    """An object of which a crop leaves a smaller part of its pixels is none any more: it becomes crowd, whose pixels
    keep their class while nothing is sought or denied there."""

    color_jitter: ColorJitterSettings = ColorJitterSettings()
    """Random colors."""

    mean: Triple = (0.485, 0.456, 0.406)
    """Mean of red, green and blue, in 0 … 1; subtracted from the values of a pixel."""

    std: Triple = (0.229, 0.224, 0.225)
    """Standard deviation of red, green and blue, greater than 0 and at most 1; the differences are divided by it."""

    train_batch_size: PositiveInt = 1
    """Images per process and step."""

    val_batch_size: PositiveInt = 1
    """Images per process in validation."""

    num_workers: NonNegativeInt = Field(default=2)
    """Processes per training process that read images; 0 reads in the training process. Batches come through shared
    memory (/dev/shm): in Docker, start the container with `--shm-size=8g` or `--ipc=host`."""

    worker_timeout: PositiveFloat = 600.0
    """Seconds to wait for a batch from these processes before the command ends with an error."""

    @field_validator("mean", "std")
    @classmethod
    def _check_scale(cls, values: Triple, info: ValidationInfo) -> Triple:
        if min(values) < 0 or max(values) > 1 or (info.field_name == "std" and min(values) == 0):
            low = "greater than 0 and at most 1" if info.field_name == "std" else "in 0 … 1"
            raise ValueError(
                f"the values must be {low}, where 1 is the brightest pixel; divide those of 0 … 255 by 255"
            )
        return values

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.longest_side < self.shortest_side:
            raise ValueError(
                f"longest_side={self.longest_side} is less than shortest_side={self.shortest_side}; exchange them"
            )
        if self.random_scale is not None and self.random_scale[0] > self.random_scale[1]:
            raise ValueError(f"random_scale={list(self.random_scale)} must be a range from low to high")
        return self
