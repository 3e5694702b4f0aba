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

"""Moving objects that are in several simulated visits of a field."""

from __future__ import annotations

__all__ = ("MovingObjects", "draw_moving_objects")

import dataclasses

import astropy.units as u
import numpy as np
import numpy.typing as npt
from astropy.coordinates import SkyCoord

from lsst.images import Box, DetectorFrame, SkyProjection

from ..core.geometry import Trail, Trails
from ..core.injection.population import TrailPopulation
from ..core.motion import motion, move, separation
from .detector import PIXEL_SCALE

type _Floats = npt.NDArray[np.float64]
type _Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class MovingObjects:
    """Objects with uniform motion along great circles; all arrays have shape (n,)."""

    designation: npt.NDArray[np.str_]
    """Names."""

    ra: _Floats
    """Right ascension at the epoch, degrees."""

    dec: _Floats
    """Declination at the epoch, degrees."""

    rate: _Floats
    """Degrees per day."""

    position_angle: _Floats
    """Direction of motion at the epoch, degrees East of North."""

    flux: _Floats
    """Flux, nJy."""

    epoch: float
    """MJD, TAI."""

    def __len__(self) -> int:
        return len(self.ra)

    def trails_on(
        self, sky_projection: SkyProjection[DetectorFrame], bbox: Box, mjd: float, exposure_time: float
    ) -> tuple[Trails, _Ints, _Floats]:
        """Return the trails in an image.

        Parameters
        ----------
        sky_projection, bbox
            The image.
        mjd
            Middle of the exposure, MJD, TAI.
        exposure_time
            Seconds.

        Returns
        -------
        trails
            Trails with a midpoint in the image, in array coordinates.
        number
            Number of the object of each trail, shape (m,).
        position_angle
            Direction of motion in the image, degrees East of North, shape (m,).
        """
        dt, half = mjd - self.epoch, 0.5 * exposure_time / 86400.0
        ny, nx = bbox.y.size, bbox.x.size
        x_mid, y_mid = bbox.x.start + 0.5 * (nx - 1), bbox.y.start + 0.5 * (ny - 1)
        center = sky_projection.pixel_to_sky(x=np.array([x_mid]), y=np.array([y_mid]))
        ra, dec = move(self.ra, self.dec, self.rate, self.position_angle, dt)
        reach = np.hypot(nx, ny) * PIXEL_SCALE / 3600.0
        number = np.flatnonzero(separation(ra, dec, center.ra.deg[0], center.dec.deg[0]) < reach)
        if len(number) == 0:
            return Trails.empty(), number, np.zeros(0)
        start, stop = (
            move(self.ra[number], self.dec[number], self.rate[number], self.position_angle[number], time)
            for time in (dt - half, dt + half)
        )
        _, angle = motion(*start, *stop)
        ends = []
        for place in (start, stop):
            xy = sky_projection.sky_to_pixel(SkyCoord(ra=place[0] * u.deg, dec=place[1] * u.deg))
            ends += [np.atleast_1d(xy.x) - bbox.x.start, np.atleast_1d(xy.y) - bbox.y.start]
        trails = Trails.from_trails(
            Trail.from_ends(x0, y0, x1, y1, flux)
            for x0, y0, x1, y1, flux in np.stack([*ends, self.flux[number]], axis=1).tolist()
        )
        use = (trails.x >= -0.5) & (trails.x < nx - 0.5) & (trails.y >= -0.5) & (trails.y < ny - 0.5)
        return trails[use], number[use], angle[use]


def draw_moving_objects(
    population: TrailPopulation,
    *,
    centers: tuple[_Floats, _Floats],
    shape: tuple[int, int],
    times: _Floats,
    exposure_time: float,
    noise: float,
    fwhm: float,
    prefix: str,
    rng: np.random.Generator,
) -> MovingObjects:
    """Draw the objects around a field.

    Parameters
    ----------
    population
        Mean number of trails per image, and distributions of length and SNR; isotropic directions.
    centers
        Right ascension and declination of the centers of the images, degrees.
    shape
        Shape (ny, nx) of the images, pixels.
    times
        Middle of each exposure, MJD, TAI.
    exposure_time
        Seconds.
    noise, fwhm
        Standard deviation of a pixel of sky in nJy and FWHM of the PSF in pixels, to which the SNR refers.
    prefix
        Start of the designations.
    rng
        Random numbers.

    Returns
    -------
    objects
        Objects of uniform density in a circle that none can leave or reach during the visits, at the mean of
        the first and the last time.

    Notes
    -----
    The SNR is that of a uniform line convolved with a Gaussian (Veres et al. 2012, PASP 124, 1197) in the
    limits of short and long trails.
    """
    epoch = 0.5 * float(np.min(times) + np.max(times))
    to_rate = PIXEL_SCALE / 3600.0 / (exposure_time / 86400.0)
    half_size = 0.5 * np.hypot(*shape) * PIXEL_SCALE / 3600.0
    ra, dec = float(centers[0][0]), float(centers[1][0])
    reach = float(np.max(separation(ra, dec, *centers))) + half_size
    reach += population.length[1] * to_rate * (float(np.max(times)) - epoch + exposure_time / 86400.0)
    area = shape[0] * shape[1] * (PIXEL_SCALE / 3600.0) ** 2
    count = int(rng.poisson(population.number / area * np.pi * reach**2))
    distance, bearing = reach * np.sqrt(rng.random(count)), rng.uniform(0.0, 360.0, count)
    places = move(ra, dec, distance, bearing, 1.0)
    length = np.array([population.draw_length(rng) for _ in range(count)])
    snr = np.array([population.draw_brightness(rng) for _ in range(count)])
    # Inverse of the sum of squares of the normalized profile across the trail.
    width = 2.0 * np.sqrt(np.pi) * fwhm / 2.355
    return MovingObjects(
        designation=np.array([f"{prefix}-{number:05d}" for number in range(count)], dtype=np.str_),
        ra=places[0],
        dec=places[1],
        rate=length * to_rate,
        position_angle=rng.uniform(0.0, 360.0, count),
        flux=snr * noise * np.sqrt(width * (length + width)),
        epoch=epoch,
    )
