"""Crops of a fixed size from single images, for classification: random ones for training, central ones for testing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from seamseg.data.color_jitter import ColorJitter
from seamseg.structures import Size

ATTEMPTS = 10
"""Number of random windows that are tried before the largest central one is used."""

LIGHTING_STD = (0.2175, 0.0188, 0.0045)
LIGHTING_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal components of the colors of ImageNet, for values in [0, 1]: a column of this matrix is the direction (red,
green, blue) of a component, and the entry of ``LIGHTING_STD`` its scale. The usual numbers, from fb.resnet.torch."""


@dataclass(frozen=True)
class RandomCrop:
    """Crop, mirror and recolor an image at random.

    Without ``padding``, a window of random area and aspect ratio is scaled to the crop (Szegedy et al., "Going Deeper
    with Convolutions", CVPR 2015, section 6). With ``padding``, the image is scaled and padded, and a window of the
    size of the crop is cut out.

    Attributes:
        crop: Side of the result in pixels.
        resize: Length of the shorter side before padding, in pixels; at least ``crop``. Only used with ``padding``.
        area: Bounds of the area of the window as a fraction of the image.
        aspect: Bounds of width / height of the window.
        padding: Black pixels to add on all sides; None for windows of random size.
        flip: Whether to mirror left and right with probability 0.5.
        color_jitter: Strength of the random color changes.
        lighting: Standard deviation of the factors of the principal components of the colors; 0 changes nothing.
    """

    crop: int
    resize: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    padding: int | None = None
    flip: bool = True
    color_jitter: ColorJitter = field(default_factory=ColorJitter)
    lighting: float = 0.0

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return a random crop, 3×crop×crop uint8.

        Each call draws the same number of values, so one setting does not change the draws of another.

        Args:
            image: 3×H×W uint8 image of any size.
            generator: CPU random generator.
        """
        draws = torch.rand(7 + 2 * ATTEMPTS, generator=generator, dtype=torch.float64).tolist()
        alphas = torch.randn(3, generator=generator, dtype=torch.float64) * self.lighting
        flip, top, left, *rest = draws
        if self.padding is None:
            window = self._window((image.shape[1], image.shape[2]), (top, left), rest[4:])
            shown = functional.resized_crop(image, *window, [self.crop, self.crop], antialias=True)
        else:
            padded = functional.pad(scale_shorter_side(image, self.resize), [self.padding])
            y, x = (
                int(place * (side - self.crop + 1)) for place, side in zip((top, left), padded.shape[1:], strict=True)
            )
            shown = functional.crop(padded, y, x, self.crop, self.crop)
        if self.flip and flip < 0.5:
            shown = functional.horizontal_flip(shown)
        return shift_colors(self.color_jitter.draw(rest[:4])(shown.contiguous()), alphas)

    def _window(self, size: Size, place: tuple[float, float], draws: list[float]) -> tuple[int, int, int, int]:
        """Return top, left, height and width of a random window.

        Args:
            size: Height and width of the image.
            place: Vertical and horizontal position of the window, in [0, 1).
            draws: Two numbers in [0, 1) per attempt.
        """
        height, width = size
        low, high = (math.log(bound) for bound in self.aspect)
        for first, second in zip(draws[::2], draws[1::2], strict=True):
            area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * first)
            aspect = math.exp(low + (high - low) * second)
            h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < h <= height and 0 < w <= width:
                return int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w
        h = min(height, max(1, round(width / self.aspect[0])))
        w = min(width, max(1, round(height * self.aspect[1])))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class CenterCrop:
    """Scale an image and crop its center.

    Attributes:
        resize: Length of the shorter side after scaling, in pixels.
        crop: Side of the crop in pixels, at most ``resize``; None returns the whole scaled image.
    """

    resize: int
    crop: int | None

    def __call__(self, image: Tensor) -> Tensor:
        """Return the center of a 3×H×W uint8 image, 3×crop×crop uint8."""
        scaled = scale_shorter_side(image, self.resize)
        return scaled if self.crop is None else functional.center_crop(scaled, [self.crop, self.crop]).contiguous()


def scale_shorter_side(image: Tensor, side: int) -> Tensor:
    """Scale a 3×H×W image bilinearly so that its shorter side has this length; the aspect ratio is kept."""
    scaled: Tensor = functional.resize(image, [side], antialias=True)
    return scaled


def shift_colors(image: Tensor, alphas: Tensor) -> Tensor:
    """Shift all colors along the principal components of ImageNet's colors (Krizhevsky et al., 2012, section 4.1).

    Args:
        image: 3×H×W uint8.
        alphas: 3 float64, the factors of the components.
    """
    if not bool(alphas.any()):
        return image
    shift = torch.tensor(LIGHTING_AXES, dtype=torch.float64) @ (
        alphas * torch.tensor(LIGHTING_STD, dtype=torch.float64)
    )
    values = image + (255 * shift).to(torch.float32)[:, None, None]
    return values.round_().clamp_(0, 255).to(torch.uint8)
