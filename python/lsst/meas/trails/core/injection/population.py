# This file is part of meas_trails.
#
# Developed for the LSST Data Management System.
# This product includes software developed by the LSST Project
# (https://www.lsst.org).
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by the GNU General Public License,
# version 3 or later, that can be found in the LICENSE file.

"""Random populations of trails: how many, how long, how bright, where."""

from __future__ import annotations

__all__ = (
    "BRIGHTNESS_MODES",
    "LENGTH_DISTRIBUTIONS",
    "MAX_INJECTED_LENGTH",
    "TrailPopulation",
    "draw_log_uniform",
    "draw_power_law",
    "draw_trails",
    "rate_to_length",
    "trail_flux",
)

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..geometry import Trail, Trails, segment_distance, wrap_angle
from ..photometry import detection_magnitude_loss, mag_to_flux, point_source_flux_limit, typical_variance
from ..planes import ImagePlanes
from ..render import render_trail, variance_under

BRIGHTNESS_MODES: dict[str, str] = {
    "snr_optimal": "SNR of a matched filter on the trail, sqrt(sum (F t)^2 / V).",
    "snr_detection": "SNR of point-source detection on the trail (Jones et al. 2018).",
    "psf_mag": "AB magnitude of the point source that detection would take the trail for.",
    "integrated_mag": "AB magnitude of the whole trail.",
    "surface_brightness": "AB magnitude per pixel of length, as source_injection's `mag`.",
}
"""Definitions of the brightness of a trail, by name."""

LENGTH_DISTRIBUTIONS: dict[str, str] = {
    "log-uniform": "Uniform in the logarithm.",
    "uniform": "Uniform.",
    "power-law": "Proportional to a power of the length.",
}
"""Distributions of lengths, by name."""

MAX_INJECTED_LENGTH = 1000.0
"""Longest trail that is drawn, pixels: 160 deg/day in 30 s."""

_BRIGHTEST, _FAINTEST, _MAX_SNR = 0.0, 50.0, 1e6
"""Limits of magnitudes and SNR; values beyond them are mistakes."""

_TRIES = 200
"""Largest number of placements to try for a trail."""


@dataclasses.dataclass(frozen=True)
class TrailPopulation:
    """Distributions of the trails of one image."""

    number: float = 20.0
    """Number of trails per image, or per ``density_area``."""

    density_area: float | None = None
    """Area in pixels that ``number`` refers to; `None` for the whole image."""

    length: tuple[float, float] = (6.0, 150.0)
    """Shortest and longest trail, pixels."""

    length_distribution: str = "log-uniform"
    """One of `LENGTH_DISTRIBUTIONS`."""

    length_index: float = -1.0
    """Exponent of a power law of lengths: -1 is log-uniform, 0 uniform."""

    angle: tuple[float, float] = (0.0, 180.0)
    """Range of the uniform distribution of angles, degrees counter-clockwise from +x; -10 to 10 is the same
    as 170 to 190.
    """

    brightness_mode: str = "snr_optimal"
    """One of `BRIGHTNESS_MODES`."""

    brightness: tuple[float, float] = (3.0, 30.0)
    """Range of brightness, in units of the mode."""

    brightness_index: float | None = None
    """Exponent of a power law of SNRs: -1 is log-uniform, -1.35 has half of 3 to 100 000 below 20; `None` is
    uniform, as magnitudes are.
    """

    blank_fraction: float = 0.0
    """Fraction of images without any trail."""

    avoid: tuple[str, ...] = ("NO_DATA",)
    """Mask planes that midpoints avoid."""

    allow_crossing: bool = False
    """Whether trails may cross each other."""

    separation: float = 20.0
    """Smallest distance between trails that may not cross, pixels."""

    def __post_init__(self) -> None:
        if self.brightness_mode not in BRIGHTNESS_MODES:
            raise ValueError(
                f"Unknown brightness mode {self.brightness_mode!r}; known are {', '.join(BRIGHTNESS_MODES)}."
            )
        if self.length_distribution not in LENGTH_DISTRIBUTIONS:
            known = ", ".join(LENGTH_DISTRIBUTIONS)
            raise ValueError(f"Unknown length distribution {self.length_distribution!r}; known are {known}.")
        is_snr = self.brightness_mode.startswith("snr")
        faint, bright = (0.0, _MAX_SNR) if is_snr else (_BRIGHTEST, _FAINTEST)
        low, high = self.brightness
        for name, valid, rule in (
            ("length_index", math.isfinite(self.length_index), "be finite"),
            (
                "brightness_index",
                self.brightness_index is None
                or (is_snr and low > 0.0 and math.isfinite(self.brightness_index)),
                "be finite, and is for positive SNRs only",
            ),
            (
                "length",
                0.0 < self.length[0] <= self.length[1] <= MAX_INJECTED_LENGTH,
                f"satisfy 0 < shortest <= longest <= {MAX_INJECTED_LENGTH:g} pixels",
            ),
            (
                "angle",
                bool(np.all(np.isfinite(self.angle)))
                and self.angle[0] <= self.angle[1] <= self.angle[0] + 180.0,
                "be an increasing pair at most 180 degrees apart",
            ),
            (
                "brightness",
                faint <= low <= high <= bright and (high > 0.0 or not is_snr),
                f"be an increasing pair; SNRs are positive and at most {_MAX_SNR:g}, magnitudes between "
                f"{_BRIGHTEST:g} and {_FAINTEST:g}",
            ),
            ("number", self.number >= 0.0, "not be negative"),
            ("blank_fraction", 0.0 <= self.blank_fraction <= 1.0, "be between 0 and 1"),
        ):
            if not valid:
                raise ValueError(f"{name} of trails is {getattr(self, name)}; it must {rule}.")

    def draw_length(self, rng: np.random.Generator) -> float:
        """Return a random length, pixels."""
        low, high = self.length
        match self.length_distribution:
            case "log-uniform":
                return draw_log_uniform(low, high, rng)
            case "uniform":
                return float(rng.uniform(low, high))
        return draw_power_law(low, high, self.length_index, rng)

    def draw_brightness(self, rng: np.random.Generator) -> float:
        """Return a random brightness, in units of the mode."""
        if self.brightness_index is None:
            return float(rng.uniform(*self.brightness))
        return draw_power_law(*self.brightness, self.brightness_index, rng)


def draw_log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """Return a random number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def draw_power_law(low: float, high: float, index: float, rng: np.random.Generator) -> float:
    """Return a random number with a density that is a power of the number."""
    power = index + 1.0
    if abs(power) < 1e-6:
        return draw_log_uniform(low, high, rng)
    # Inverse of the cumulative distribution, relative to the lowest so that steep laws do not overflow.
    ratio = np.power(high / low, power)
    return float(low * np.power(1.0 + rng.random() * (ratio - 1.0), 1.0 / power))


def rate_to_length(rate: float, exposure_time: float, pixel_scale: float) -> float:
    """Return the length in pixels of the trail of a moving object.

    Parameters
    ----------
    rate
        Degrees per day.
    exposure_time
        Seconds.
    pixel_scale
        Arcseconds per pixel.
    """
    return rate * 3600.0 / 86400.0 * exposure_time / pixel_scale


def trail_flux(
    mode: str,
    brightness: float,
    trail: Trail,
    planes: ImagePlanes,
    sky_variance: float,
    flux_per_njy: float = 1.0,
) -> float:
    """Return the flux of a trail of given brightness, in image units.

    Parameters
    ----------
    mode
        One of `BRIGHTNESS_MODES`.
    brightness
        Brightness in the units of the mode.
    trail
        Position, length and angle of the trail.
    planes
        The image.
    sky_variance
        Typical variance of a pixel of sky, image units squared.
    flux_per_njy
        Image units per nJy.

    Raises
    ------
    ValueError
        Raised if the mode is unknown.
    """
    loss = detection_magnitude_loss(trail.length, planes.psf.fwhm(trail.x, trail.y))
    match mode:
        case "snr_optimal":
            stamp = render_trail(planes.psf, trail)
            variance = variance_under(stamp, planes.variance, sky_variance)
            return float(brightness / np.sqrt(np.sum(np.square(stamp.array) / variance)))
        case "snr_detection":
            limit = point_source_flux_limit(planes.psf.kernel(trail.x, trail.y), sky_variance, nsigma=1.0)
            return float(brightness * limit * 10.0 ** (0.4 * loss))
        case "psf_mag":
            return float(mag_to_flux(brightness - loss) * flux_per_njy)
        case "integrated_mag":
            return float(mag_to_flux(brightness) * flux_per_njy)
        case "surface_brightness":
            return float(mag_to_flux(brightness) * trail.length * flux_per_njy)
    raise ValueError(f"Unknown brightness mode {mode!r}.")


def draw_trails(
    population: TrailPopulation,
    planes: ImagePlanes,
    rng: np.random.Generator,
    flux_per_njy: float | Callable[[float, float], float] = 1.0,
) -> Trails:
    """Draw random trails for an image.

    Parameters
    ----------
    population
        Distributions of the trails.
    planes
        The image; its variance sets the flux of a given SNR.
    rng
        Random numbers; the same state draws the same trails.
    flux_per_njy
        Image units per nJy, for brightness in magnitudes; a function of the position x, y if it varies over
        the image.

    Returns
    -------
    trails
        Trails that find no room are left out.
    """
    ny, nx = planes.shape
    number = population.number
    if population.density_area is not None:
        number *= nx * ny / population.density_area
    # A fractional number is a mean: 2.3 trails are 3 in 30% of the images.
    count = int(number) + int(rng.random() < number % 1.0)
    if rng.random() < population.blank_fraction:
        count = 0
    bad = planes.bad()
    sky_variance = typical_variance(planes, bad)
    if count == 0 or not np.isfinite(sky_variance):
        return Trails.empty()
    avoided = planes.has(*population.avoid) if population.avoid else None
    place = _placer(population, (ny, nx), avoided, rng)

    trails = []
    for _ in range(count):
        length = population.draw_length(rng)
        brightness = population.draw_brightness(rng)
        trail = place(length)
        if trail is None:
            continue
        scale = flux_per_njy(trail.x, trail.y) if callable(flux_per_njy) else flux_per_njy
        flux = trail_flux(population.brightness_mode, brightness, trail, planes, sky_variance, scale)
        trails.append(dataclasses.replace(trail, flux=flux))
    return Trails.from_trails(trails)


def _placer(
    population: TrailPopulation,
    shape: tuple[int, int],
    avoided: npt.NDArray[np.bool_] | None,
    rng: np.random.Generator,
) -> Callable[[float], Trail | None]:
    """Return a function that places a trail of a given length."""
    placed: list[Trail] = []

    def place(length: float) -> Trail | None:
        for _ in range(_TRIES):
            x = float(rng.uniform(-0.5, shape[1] - 0.5))
            y = float(rng.uniform(-0.5, shape[0] - 0.5))
            angle = float(wrap_angle(rng.uniform(*population.angle)))
            column = min(max(round(x), 0), shape[1] - 1)
            row = min(max(round(y), 0), shape[0] - 1)
            if avoided is not None and avoided[row, column]:
                continue
            trail = Trail(x, y, length, angle)
            if not population.allow_crossing and any(
                _segments_near(trail, other, population.separation) for other in placed
            ):
                continue
            placed.append(trail)
            return trail
        return None

    return place


def _segments_near(a: Trail, b: Trail, separation: float) -> bool:
    """Return whether two segments are closer than a distance.

    The first is sampled at every quarter of the distance.
    """
    x0, y0, x1, y1 = a.ends
    steps = max(2, int(4.0 * np.hypot(x1 - x0, y1 - y0) / max(separation, 1.0)) + 2)
    t = np.linspace(0.0, 1.0, steps)
    px, py = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
    return bool(np.min(segment_distance(px, py, *b.ends)) < separation)
