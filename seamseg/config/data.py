"""Settings of the data set, the augmentation and the batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from seamseg.config.settings import FilePath, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Settings

Triple = tuple[float, float, float]
DataFormat = Literal[
    "coco", "vistas_v1.2", "vistas_v2.0", "seamseg", "coco_detection", "cityscapes", "ade20k", "class_maps"
]


def _check_channels(values: Triple, info: ValidationInfo) -> Triple:
    """Return the values of ``mean`` or ``std`` if they are in range.

    Raises:
        ValueError: They are not; pydantic adds the key.
    """
    if min(values) < 0 or max(values) > 1 or (info.field_name == "std" and min(values) == 0):
        low = "greater than 0 and at most 1" if info.field_name == "std" else "in 0 … 1"
        raise ValueError(f"the values must be {low}, where 1 is the brightest pixel; divide values in 0 … 255 by 255")
    return values


Channels = Annotated[Triple, AfterValidator(_check_channels)]
"""Mean or standard deviation of red, green and blue; the name of the setting tells which."""


class ColorJitterSettings(Settings):
    """Random changes to the colors of training images. The published configs use none."""

    brightness: Fraction = 0.0
    """Brightness jitter, 0 … 1: all values of an image are multiplied by a random factor in 1 ± `brightness`."""

    contrast: Fraction = 0.0
    """Contrast jitter, 0 … 1: differences from the mean gray of the image are multiplied by a random factor in
    1 ± `contrast`."""

    saturation: Fraction = 0.0
    """Saturation jitter, 0 … 1: the difference of each pixel from its own gray is multiplied by a random factor in
    1 ± `saturation`."""

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Hue jitter, 0 … 0.5: colors are rotated around the gray axis by a random fraction of a full turn in ± `hue`."""


class DataSettings(Settings):
    """The data set, and the preprocessing and batching of its images."""

    root: FilePath | None = None
    """Folder of the data set. A leading `~` is expanded to the home folder. Training requires this setting."""

    format: DataFormat | None = None
    """Format of the data set. Panoptic data, for every task: `coco` (COCO panoptic), `vistas_v1.2` or `vistas_v2.0`
    (Mapillary Vistas as downloaded), or `seamseg` (a folder with `metadata.bin`, written by the conversion scripts of
    the published seamseg). Objects that may overlap, for `task=detection` and `task=instance`: `coco_detection`. Class
    maps, for `task=semantic`: `cityscapes`, `ade20k` or `class_maps` (docs/own-data.md). null detects the format; if
    several fit, it is the one that contains what the task needs and the least beyond it."""

    train_split: str = "train"
    """Name of the training split, or a unique prefix of it: `train` selects `train2017` or `training`."""

    val_split: str = "val"
    """Name of the validation split, or a unique prefix of it."""

    train_limit: PositiveInt | None = None
    """Use only this many images, the first ones of the training split. null uses all."""

    empty_images: Literal["keep", "skip"] = "keep"
    """Whether training images whose annotation lists no object or segment are kept, as examples of background, or
    skipped. Only JSON files list them (`coco`, `coco_detection`); images that a panoptic JSON file does not annotate
    are always left out. `roi.background_images` decides whether the region head learns from kept ones."""

    val_limit: PositiveInt | None = None
    """Use only this many images, the first ones of the validation split. null uses all."""

    shortest_side: PositiveInt = 1024
    """Length of the shorter side of an image after scaling, in pixels. The aspect ratio is kept, so `longest_side` can
    make it shorter."""

    longest_side: PositiveInt = 2048
    """Maximum length of the longer side of an image after scaling, in pixels; at least `shortest_side`."""

    random_scale: tuple[PositiveFloat, PositiveFloat] | None = (0.8, 1.0)
    """Range of a random factor on `shortest_side` in training; `longest_side` takes precedence. With `random_crop`, the
    factor multiplies the size that both sides yield and may exceed `longest_side`. null is a factor of 1."""

    scale_sampling: Literal["random", "uniform"] = "random"
    """How images, their scale and the place of the crop are drawn in training. `random`: each image once per epoch,
    with `random_scale` and a random place. `uniform`: instance scale-uniform sampling. Each sample starts from a class,
    drawn uniformly, and an image that shows it. For a thing class, one of its objects in the image and a level of the
    feature pyramid are drawn, the scale in the range of `random_scale` that brings the object closest to a size of this
    level is used, and the crop contains the object, or lies inside its box. For a stuff class, the scale is random and
    the crop contains a pixel of the class. An epoch has as many samples as before. Without `random_crop`, images are
    only scaled. Requires annotation that lists the classes of each image: `coco`, `coco_detection`, `seamseg`, and
    Vistas with its panoptic files."""

    class_sampling: Literal["none", "repeat"] = "none"
    """Whether images of rare classes are shown more often. `none`: each image once per epoch. `repeat`: repeat factor
    sampling. The fraction f of the images that show a class gives it the factor max(1, √(`repeat_threshold` / f)); an
    image is shown as often as the largest factor of its classes says, on average over the epochs. An epoch becomes
    longer: it has as many samples as the sum of all factors, rounded down. Requires the same annotation as
    `scale_sampling=uniform`, which already draws classes uniformly, so that the two cannot be combined."""

    repeat_threshold: Annotated[float, Field(gt=0, le=1)] = 0.001
    """Fraction of the training images below which a class is rare; only used with `class_sampling=repeat`."""

    random_flip: bool = True
    """Whether to mirror training images horizontally with probability 0.5."""

    random_crop: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width in pixels of a random crop that is cut out of each training image after scaling. null uses whole
    images. For large-scale jitter, combine it with a wide range such as `random_scale=[0.1,2.0]`."""

    crop_min_visible: Fraction = 0.1
    """Objects with less than this fraction of their pixels left after cropping become crowd: they keep their class and
    are ignored by the detection losses. Only used with `random_crop` and `copy_paste`."""

    copy_paste: Fraction = 0.0
    """Probability with which a training image gets objects of another one (Ghiasi et al., Simple Copy-Paste, CVPR
    2021): the other image is flipped, scaled, cropped and recolored at random, too, and each of its objects that are
    not crowd is then pasted with probability 0.5, in the same place and with hard edges. Objects that it covers lose
    those pixels; see `crop_min_visible`. Requires data with outlines of objects, and reads up to twice as many images.
    0 disables it."""

    color_jitter: ColorJitterSettings = ColorJitterSettings()
    """Random color changes of training images."""

    mean: Channels = (0.485, 0.456, 0.406)
    """Mean of red, green and blue, each in 0 … 1. It is subtracted from the pixel values."""

    std: Channels = (0.229, 0.224, 0.225)
    """Standard deviation of red, green and blue, each greater than 0 and at most 1. The pixel values are divided by it
    after `mean` is subtracted."""

    train_batch_size: PositiveInt = 1
    """Images per process in each training batch. The total batch also depends on the number of processes and on
    `training.accumulate`."""

    val_batch_size: PositiveInt = 1
    """Images per process in each batch of validation and `seamseg evaluate`."""

    num_workers: NonNegativeInt = Field(default=2)
    """Number of data worker processes per training process. 0 reads images in the training process. Workers pass
    batches through shared memory (/dev/shm): in Docker, start the container with `--shm-size=8g` or `--ipc=host`."""

    worker_timeout: PositiveFloat = 600.0
    """Seconds to wait for a batch from the data workers before the command ends with an error."""

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.longest_side < self.shortest_side:
            raise ValueError(
                f"longest_side={self.longest_side} is less than shortest_side={self.shortest_side}; swap the two values"
            )
        if self.random_scale is not None and self.random_scale[0] > self.random_scale[1]:
            raise ValueError(f"random_scale={list(self.random_scale)} must be a range with the lower bound first")
        if self.scale_sampling == "uniform" and self.random_scale is None:
            raise ValueError("scale_sampling=uniform chooses scales in the range of random_scale, but that is null")
        if self.scale_sampling == "uniform" and self.class_sampling == "repeat":
            raise ValueError(
                "scale_sampling=uniform already draws classes uniformly, so that class_sampling=repeat would have no "
                "effect; set class_sampling=none"
            )
        return self
