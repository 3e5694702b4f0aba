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

"""Random distractors: objects that a network must learn to reject."""

from __future__ import annotations

__all__ = ("DistractorPopulation", "Distractors", "draw_distractors")

import dataclasses

import numpy as np
import numpy.typing as npt

from ..geometry import Trail, Trails
from ..photometry import point_source_flux_limit, typical_variance
from ..planes import ImagePlanes
from ..render import add_trail
from .artifacts import add_cosmic_ray, add_satellite
from .population import draw_log_uniform, draw_power_law
from .streaks import draw_pattern

MEGAPIXEL = 1.0e6

_NO_HOSTS = np.zeros((0, 2))

_HOSTED, _MOVING = 1.0 / 3.0, 1.0 / 3.0
"""Fractions of point sources in galaxies, and of slow asteroids."""

_DEFOCUS = 3.0
"""Largest additional width of low satellites (standard deviation), pixels."""

_COSMIC_RAY = (9.0, 120.0)
"""Charge of cosmic rays per pixel of track, in units of the noise of a pixel: 300 to 4000 electrons in 30 s
of LSSTCam.
"""


@dataclasses.dataclass(frozen=True)
class DistractorPopulation:
    """Numbers and brightness of distractors."""

    satellites: float = 0.0
    """Mean number of satellites that cross the image."""

    satellite_brightness: tuple[float, float] = (2.0, 300.0)
    """Range of the flux of satellites per pixel of length, in units of the noise of a pixel, uniform in the
    logarithm.
    """

    satellite_patterns: float = 0.0
    """Fraction of the satellites with flares, tumbling or dashes."""

    satellite_ends: float = 0.0
    """Fraction of the satellites whose streak ends in the image."""

    cosmic_rays: float = 0.0
    """Mean number of unmasked cosmic rays per megapixel."""

    point_sources: float = 0.0
    """Mean number of point sources per megapixel."""

    point_source_snr: tuple[float, float] = (5.0, 100.0)
    """Range of the SNR of point sources."""

    point_source_index: float = -1.0
    """Exponent of a power law of their SNRs; -1 is uniform in the logarithm."""

    point_source_motion: float = 0.0
    """Longest trail of slow asteroids, a third of the point sources, pixels."""

    def __post_init__(self) -> None:
        numbers = (self.satellites, self.cosmic_rays, self.point_sources)
        if not all(0.0 <= number < np.inf for number in numbers):
            raise ValueError(f"The numbers of distractors are {numbers}; they must be finite and >= 0.")
        for name in ("point_source_snr", "satellite_brightness"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high < np.inf:
                raise ValueError(f"{name} must be an increasing pair, not {(low, high)}.")


@dataclasses.dataclass(frozen=True, eq=False)
class Distractors:
    """Distractors of one image."""

    signal: npt.NDArray[np.float32]
    """Expected light, image units, shape (ny, nx)."""

    trails: Trails
    """Positions as lines, of length 0 or shorter than the PSF for point sources."""

    source_type: tuple[str, ...]
    """``"Satellite"``, ``"CosmicRay"`` or ``"Star"`` for each distractor."""

    def __len__(self) -> int:
        return len(self.trails)


def draw_distractors(
    population: DistractorPopulation,
    planes: ImagePlanes,
    rng: np.random.Generator,
    hosts: npt.NDArray[np.float64] = _NO_HOSTS,
) -> Distractors:
    """Draw random distractors for an image.

    Parameters
    ----------
    population
        Numbers and brightness.
    planes
        The image; brightness is relative to the noise of its sky.
    rng
        Random numbers; the same state draws the same distractors.
    hosts
        Positions x, y of galaxies, shape (n, 2): a third of the point sources are transients in their nuclei.

    Returns
    -------
    distractors
        Empty if the image has no good pixel.
    """
    ny, nx = planes.shape
    signal = np.zeros(planes.shape, dtype=np.float32)
    trails: list[Trail] = []
    megapixels = nx * ny / MEGAPIXEL
    means = {
        "Satellite": population.satellites,
        "CosmicRay": population.cosmic_rays * megapixels,
        "Star": population.point_sources * megapixels,
    }
    count = {kind: int(rng.poisson(mean)) for kind, mean in means.items()}
    sky_variance = typical_variance(planes, planes.bad())
    noise = float(np.sqrt(sky_variance))
    if not np.isfinite(noise):
        count = dict.fromkeys(count, 0)
    for _ in range(count["Satellite"]):
        brightness = noise * draw_log_uniform(*population.satellite_brightness, rng)
        defocus = float(rng.uniform(0.0, _DEFOCUS))
        pattern = None
        if population.satellite_patterns or population.satellite_ends:
            shares = {"patterned": population.satellite_patterns, "ended": population.satellite_ends}
            pattern = draw_pattern(float(max(ny, nx)), rng, **shares)
        trails.append(add_satellite(signal, planes.psf, brightness, rng, defocus=defocus, pattern=pattern))
    for _ in range(count["CosmicRay"]):
        charge = (noise * _COSMIC_RAY[0], noise * _COSMIC_RAY[1])
        trails.append(add_cosmic_ray(signal, charge, rng).trail)
    for _ in range(count["Star"]):
        x, y = float(rng.uniform(-0.5, nx - 0.5)), float(rng.uniform(-0.5, ny - 0.5))
        if len(hosts) and rng.random() < _HOSTED:
            x, y = (float(value) for value in hosts[rng.integers(len(hosts))])
        snr = draw_power_law(*population.point_source_snr, population.point_source_index, rng)
        flux = float(point_source_flux_limit(planes.psf.kernel(x, y), sky_variance, nsigma=snr))
        source = Trail(x, y, 0.0, 0.0, flux)
        if population.point_source_motion > 0.0 and rng.random() < _MOVING:
            length, angle = rng.uniform(0.0, population.point_source_motion), rng.uniform(0.0, 180.0)
            source = Trail(x, y, float(length), float(angle), flux)
        trails.append(source)
        add_trail(signal, planes.psf, source)
    kinds = tuple(kind for kind, number in count.items() for _ in range(number))
    return Distractors(signal=signal, trails=Trails.from_trails(trails), source_type=kinds)
