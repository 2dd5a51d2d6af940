"""Time of day and weather: effects of sun, sky and air on colors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seamseg.scenes.drawing.camera import UP, Points

Rgb = npt.NDArray[np.float64]
"""RGB color in 0 … 255, or RGB factors."""


@dataclass(frozen=True, eq=False)
class Light:
    """The light of one scene.

    Attributes:
        sun: Unit vector (right, up, forward) toward the sun.
        direct: RGB factors that the sun adds to a surface facing it.
        ambient: RGB factors that the sky adds everywhere.
        sky_top: Color of the sky overhead.
        sky_low: Color of the sky at the horizon.
        clouds: Cloud cover, 0 (clear) … 1 (overcast).
        visibility: Distance in meters at which haze has replaced 63 % of a color.
        lamps: Amount of artificial light, 0 … 1.
    """

    sun: Points
    direct: Rgb
    ambient: Rgb
    sky_top: Rgb
    sky_low: Rgb
    clouds: float
    visibility: float
    lamps: float

    @property
    def shadow_per_meter(self) -> Points:
        """Displacement (right, forward), in meters, of the shadow of a point at a height of one meter."""
        return -self.sun[[0, 2]] / max(float(self.sun[1]), 0.12)

    @property
    def shadow_factor(self) -> Rgb:
        """RGB factors for level ground in the shadow, relative to ground in the sun."""
        return self.ambient / (self.ambient + self.direct * max(float(self.sun[1]), 0.12))

    def shade(self, normals: Points, lit: float) -> Rgb:
        """Compute F×3 RGB factors for surfaces with F×3 unit normals, with the fraction ``lit`` in the sun."""
        facing = np.maximum(normals @ self.sun, 0)[:, None]
        return np.asarray(self.ambient * (0.85 + 0.15 * normals[:, 1:2]) + self.direct * (facing * lit))

    @property
    def on_ground(self) -> Rgb:
        """RGB factors for level ground in the sun."""
        return np.asarray(self.shade(UP[None], 1.0)[0])

    def haze(self, distance: Points) -> Points:
        """Compute the fraction of haze color at distances in meters."""
        return np.asarray(1 - np.exp(-np.maximum(distance, 0) / self.visibility))

    def through_air(self, colors: Rgb, distance: Points) -> Rgb:
        """Apply haze to F×3 colors seen from F distances."""
        share = self.haze(distance)[:, None]
        return np.asarray(colors * (1 - share) + self.sky_low * share)


def sample_light(rng: np.random.Generator) -> Light:
    """Sample clear, hazy, overcast or evening light."""
    kind = rng.choice(["clear", "hazy", "overcast", "evening"], p=[0.40, 0.15, 0.25, 0.20])
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = rng.uniform(0.12, 0.32) if kind == "evening" else rng.uniform(0.4, 1.15)
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(elevation), np.sin(azimuth) * np.cos(elevation)])
    makers = {"clear": _clear, "hazy": _hazy, "overcast": _overcast, "evening": _evening}
    return makers[str(kind)](rng, sun)


def _rgb(*values: float) -> Rgb:
    return np.array(values, np.float64)


def _clear(rng: np.random.Generator, sun: Points) -> Light:
    blue = rng.uniform(0, 1)
    return Light(
        sun=sun,
        direct=_rgb(0.74, 0.69, 0.60) * rng.uniform(0.85, 1.1),
        ambient=_rgb(0.44, 0.47, 0.53) * rng.uniform(0.9, 1.1),
        sky_top=_rgb(62, 112, 178) * (1 - blue) + _rgb(105, 150, 205) * blue,
        sky_low=_rgb(178, 203, 226) * (1 - blue) + _rgb(214, 222, 230) * blue,
        clouds=rng.uniform(0.05, 0.65),
        visibility=rng.uniform(220, 500),
        lamps=0.0,
    )


def _hazy(rng: np.random.Generator, sun: Points) -> Light:
    warm = rng.uniform(-1, 1)
    return Light(
        sun=sun,
        direct=_rgb(0.52, 0.47, 0.38) * rng.uniform(0.8, 1.1),
        ambient=_rgb(0.58, 0.58, 0.60),
        sky_top=_rgb(168 + 10 * warm, 182, 196 - 12 * warm),
        sky_low=_rgb(218 + 14 * warm, 216, 212 - 16 * warm),
        clouds=rng.uniform(0.1, 0.5),
        visibility=rng.uniform(70, 150),
        lamps=0.0,
    )


def _overcast(rng: np.random.Generator, sun: Points) -> Light:
    gray = rng.uniform(118, 205)
    return Light(
        sun=sun,
        direct=_rgb(0.12, 0.12, 0.12),
        ambient=_rgb(0.76, 0.79, 0.83) * rng.uniform(0.8, 1.0),
        sky_top=_rgb(gray * 0.86, gray * 0.90, gray * 0.96),
        sky_low=_rgb(gray * 1.08, gray * 1.09, gray * 1.10),
        clouds=rng.uniform(0.8, 1.0),
        visibility=rng.uniform(120, 300),
        lamps=float(rng.uniform(0, 1) < 0.3) * 0.35,
    )


def _evening(rng: np.random.Generator, sun: Points) -> Light:
    red, dim = rng.uniform(0, 1), rng.uniform(0.7, 1.0)
    return Light(
        sun=sun,
        direct=_rgb(0.85, 0.56, 0.33) * dim,
        ambient=_rgb(0.42, 0.42, 0.50) * dim,
        sky_top=(_rgb(58, 70, 112) * (1 - red) + _rgb(104, 100, 138) * red) * dim,
        sky_low=(_rgb(232, 178, 128) * (1 - red) + _rgb(226, 140, 108) * red) * dim,
        clouds=rng.uniform(0.1, 0.7),
        visibility=rng.uniform(150, 350),
        lamps=rng.uniform(0.5, 1.0),
    )
