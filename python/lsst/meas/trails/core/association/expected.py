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

"""Predicted trails on an image: geometry, brightness and reasons for a missed trail."""

from __future__ import annotations

__all__ = (
    "BAND_COLORS",
    "MISSED_REASONS",
    "Brightness",
    "Placed",
    "SkyToPixel",
    "detection_probability",
    "expected_brightness",
    "missed_reason",
    "place_trails",
)

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..geometry import Trail, Trails, clip_segment
from ..motion import separation
from ..photometry import AB_ZEROPOINT_NJY, mag_to_flux, typical_variance
from ..planes import ImagePlanes
from ..render import optimal_snr, render_trail, variance_under
from .predict import PredictedTrails

type _Floats = npt.NDArray[np.float64]
type _Bools = npt.NDArray[np.bool_]

type SkyToPixel = Callable[[_Floats, _Floats], tuple[Any, Any]]
"""Map from ICRS right ascension and declination, degrees, to array coordinates x and y."""

BAND_COLORS: dict[str, float] = {"u": 1.7, "g": 0.3, "r": -0.2, "i": -0.4, "z": -0.4, "y": -0.4}
"""Approximate magnitudes in a band minus V of asteroids, between the C and S types, rounded to 0.1."""

MISSED_REASONS = {
    "": "Found.",
    "badPixels": "Less than half of the trail's flux falls on good pixels of the image.",
    "brightSource": "More than 30% of the trail's flux falls on sources that are brighter than the trail.",
    "short": "The trail is shorter than the trails that the network finds.",
    "unknownMagnitude": "The ephemeris has no magnitude.",
    "faint": "The expected SNR is below the SNR at which half of the trails are found.",
    "unexplained": "None of these: the trail should have been found.",
}
"""Reasons for a missed trail, in the order in which they are tested."""

_STEEPNESS = 6.0
"""Steepness of completeness against the logarithm of the SNR."""

_LEAST, _MOST = 0.02, 0.9
"""Probabilities of detection of the faintest and the brightest trails.

A predicted magnitude may be wrong, and bright trails may be cut by masks or lie on sources.
"""

_BRIGHT = 5.0
"""Excess of a pixel over the background that belongs to a source, standard deviations of the noise."""

_BORDER = 20
"""Pixels around a trail in which its background is measured."""


class Placed(NamedTuple):
    """Predicted trails on and near an image; arrays of shape (m,)."""

    predicted: PredictedTrails
    """Their predictions."""

    trails: Trails
    """The whole trails, array coordinates, without a flux; the first end is at the begin of the exposure."""

    visible: Trails
    """Their parts on the image; equal to ``trails`` for those beyond its edge."""

    on_image: _Floats
    """Fraction of the length on the image."""

    near_edge: _Bools
    """Whether the edge of the image may cut the trail, within the uncertainty."""

    position_err: _Floats
    """Uncertainties, pixels."""

    begin: tuple[_Floats, _Floats]
    """Array coordinates at the begin of the exposure."""

    end: tuple[_Floats, _Floats]
    """Array coordinates at the end of the exposure."""


def place_trails(
    predicted: PredictedTrails,
    sky_to_pixel: SkyToPixel,
    shape: tuple[int, int],
    pixel_scale: float,
    center: tuple[float, float],
    n_sigma: float = 4.0,
) -> Placed:
    """Place predicted trails on an image, and drop those that cannot be on it.

    Parameters
    ----------
    predicted
        The trails.
    sky_to_pixel
        Map from the sky to array coordinates; used near the image only.
    shape
        Shape (ny, nx) of the image.
    pixel_scale
        Arcseconds per pixel.
    center
        Right ascension and declination of the center of the image, degrees.
    n_sigma
        Largest distance of a kept trail from the image, standard deviations of its position.
    """
    # A projection may have any value far from its image.
    radius = 0.75 * np.hypot(*shape) * pixel_scale / 3600.0
    reach = separation(predicted.ra0, predicted.dec0, predicted.ra1, predicted.dec1)
    reach = radius + 0.5 * reach + n_sigma * predicted.position_err / 3600.0
    near = predicted[separation(predicted.ra, predicted.dec, *center) <= reach]
    x0, y0 = _to_pixels(sky_to_pixel, near.ra0, near.dec0)
    x1, y1 = _to_pixels(sky_to_pixel, near.ra1, near.dec1)
    error = near.position_err / pixel_scale
    margin = n_sigma * error
    low_x, high_x = np.minimum(x0, x1) - margin, np.maximum(x0, x1) + margin
    low_y, high_y = np.minimum(y0, y1) - margin, np.maximum(y0, y1) + margin
    ny, nx = shape
    keep = np.isfinite(low_x + high_x + low_y + high_y)
    keep &= (high_x >= -0.5) & (low_x <= nx - 0.5) & (high_y >= -0.5) & (low_y <= ny - 0.5)
    near_edge = (low_x < -0.5) | (high_x > nx - 0.5) | (low_y < -0.5) | (high_y > ny - 0.5)
    x0, y0, x1, y1 = x0[keep], y0[keep], x1[keep], y1[keep]
    whole = _from_ends(x0, y0, x1, y1)
    visible = _from_ends(*clip_segment(x0, y0, x1, y1, shape))
    middle_on = (visible.x >= -0.5) & (visible.x <= nx - 0.5) & (visible.y >= -0.5) & (visible.y <= ny - 0.5)
    fraction = np.where(whole.length > 0.0, visible.length / np.maximum(whole.length, 1e-12), 1.0)
    return Placed(
        predicted=near[keep],
        trails=whole,
        visible=visible,
        on_image=np.where(middle_on, fraction, 0.0),
        near_edge=near_edge[keep],
        position_err=error[keep],
        begin=(x0, y0),
        end=(x1, y1),
    )


def _to_pixels(sky_to_pixel: SkyToPixel, ra: _Floats, dec: _Floats) -> tuple[_Floats, _Floats]:
    """Return pixel coordinates; a projection may refuse to convert no position."""
    if len(ra) == 0:
        return np.zeros(0), np.zeros(0)
    x, y = sky_to_pixel(ra, dec)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _from_ends(x0: _Floats, y0: _Floats, x1: _Floats, y1: _Floats) -> Trails:
    return Trails.from_trails(Trail.from_ends(*map(float, ends)) for ends in zip(x0, y0, x1, y1, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Brightness:
    """Expected brightness of predicted trails; arrays of shape (m,), NaN for unknown magnitudes."""

    mag: _Floats
    """Magnitudes in the band of the image."""

    snr: _Floats
    """Optimal SNRs on the good pixels of the image, sqrt(sum (F t)^2 / V)."""

    whole_snr: _Floats
    """The same if all pixels were seen."""

    good_fraction: _Floats
    """Fractions of the flux on good pixels of the image."""

    bright_fraction: _Floats
    """Fractions of the flux on pixels of sources that are brighter than the trail."""


def expected_brightness(
    placed: Placed, planes: ImagePlanes, *, color: float, flux_per_njy: npt.ArrayLike
) -> Brightness:
    """Return the expected brightness of trails on an image.

    Parameters
    ----------
    placed
        The trails.
    planes
        The image.
    color
        Magnitude in the band of the image minus V.
    flux_per_njy
        Image units per nJy, of all trails or of each.

    Notes
    -----
    The variance plane includes the noise of the trail itself where it is bright, so that the SNR of bright
    trails is that of the image as it is.
    """
    bad = planes.bad()
    sky = typical_variance(planes, bad)
    mag = placed.predicted.mag + color
    scale = np.broadcast_to(np.asarray(flux_per_njy, dtype=np.float64), mag.shape)
    columns = np.full((4, len(mag)), np.nan)
    for i, trail in enumerate(placed.trails):
        stamp = render_trail(planes.psf, trail)
        slices, part = stamp.clipped(planes.shape)
        good = ~bad[slices]
        flux = float(mag_to_flux(mag[i], AB_ZEROPOINT_NJY) * scale[i])
        columns[2, i] = np.sum(part[good])
        if np.isfinite(flux):
            columns[0, i] = optimal_snr(stamp, planes.variance, flux, bad)
            variance = variance_under(stamp, planes.variance, sky)
            columns[1, i] = flux * np.sqrt(np.sum(np.square(stamp.array) / variance))
        columns[3, i] = _bright_fraction(planes, bad, slices, part, 0.0 if np.isnan(flux) else flux)
    snr, whole, good_fraction, bright = columns
    return Brightness(mag, snr, whole, np.clip(good_fraction, 0.0, 1.0), bright)


def _bright_fraction(
    planes: ImagePlanes, bad: _Bools, slices: tuple[slice, slice], part: _Floats, flux: float
) -> float:
    """Return the fraction of a trail's flux on brighter sources."""
    wide = tuple(slice(max(cut.start - _BORDER, 0), cut.stop + _BORDER) for cut in slices)
    around = planes.image[wide][~bad[wide]]
    good = ~bad[slices]
    total = float(np.sum(part[good]))
    if around.size == 0 or total <= 0.0:
        return 0.0
    excess = planes.image[slices] - float(np.median(around)) - flux * part
    limit = np.maximum(_BRIGHT * np.sqrt(np.maximum(planes.variance[slices], 0.0)), flux * part.max())
    return float(np.sum(part[good & (excess > limit)])) / total


def detection_probability(snr: _Floats, snr50: float | _Floats) -> _Floats:
    """Return the probabilities that trails are among the candidates.

    Parameters
    ----------
    snr
        Expected optimal SNRs; NaN if unknown.
    snr50
        SNR at which half of the trails are found, one value or one per trail.
    """
    with np.errstate(divide="ignore", over="ignore"):
        fraction = 1.0 / (1.0 + np.power(snr50 / np.maximum(snr, 1e-3), _STEEPNESS))
    return np.where(np.isfinite(snr), _LEAST + (_MOST - _LEAST) * fraction, 0.5)


def missed_reason(
    brightness: Brightness, length: _Floats, snr50: float | _Floats, min_length: float
) -> list[str]:
    """Return the probable reason for each trail to be missed; see `MISSED_REASONS`.

    Parameters
    ----------
    brightness
        Expected brightness of the trails.
    length
        Their lengths, pixels.
    snr50
        SNR at which half of the trails are found, one value or one per trail.
    min_length
        Shortest trails that are found, pixels.
    """
    reasons = []
    limits = np.broadcast_to(snr50, brightness.snr.shape)
    for snr, limit, good, bright, extent in zip(
        brightness.snr, limits, brightness.good_fraction, brightness.bright_fraction, length, strict=True
    ):
        if good < 0.5:
            reasons.append("badPixels")
        elif bright > 0.3:
            reasons.append("brightSource")
        elif extent < min_length:
            reasons.append("short")
        elif np.isnan(snr):
            reasons.append("unknownMagnitude")
        else:
            reasons.append("faint" if snr < limit else "unexplained")
    return reasons
