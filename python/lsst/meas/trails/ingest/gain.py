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

"""Gain of FITS images, and its comparison with the noise of the image."""

from __future__ import annotations

__all__ = ("Gain", "check_gain", "find_gain")

import re
from typing import NamedTuple

import numpy as np
from astropy.io.fits import Header

from .cards import card_text, get_number, read_number
from .exposure_time import find_exposure_time
from .noise import SkyNoise
from .units import unit_flux

_KEYWORDS = (("EGAIN",), ("ATODGAIN",), ("GAIN",), ("CCDGAIN",), ("GAINA", "GAINB"))
"""Cards with electrons per unit, the preferred first.

EGAIN before GAIN: programs for cameras write their setting as GAIN, in tenths of a decibel or without a unit.
"""

_READ_NOISE = ("RDNOISE", "READNOIS", "RON", "RDNOISEA")
_NOMINAL_READ_NOISE = 20.0
"""Electrons; cameras for astronomy have less."""

_MOST_NOISE = 1000.0
"""Largest noise of a sky, electrons: that of a million electrons."""

_SKY_SIGMA = 5.0
"""Level of a sky that was not subtracted, in units of its noise."""

_FACTOR = 1.5
_LARGE_FACTOR = 30.0
"""Factor of a setting of a camera; crowded stars scatter the sky by up to 10 times its variance."""


class Gain(NamedTuple):
    """Electrons per unit of the pixels."""

    value: float
    """Electrons per unit."""

    source: str
    """Card or other origin."""

    warning: str = ""
    """Warning with the remedy, empty if there is none."""


def find_gain(header: Header) -> Gain | None:
    """Find the gain of an image.

    Parameters
    ----------
    header
        Header of the image.

    Returns
    -------
    gain
        1 for pixels in electrons; otherwise the first of the cards EGAIN, ATODGAIN, GAIN, CCDGAIN, and the
        mean of GAINA and GAINB, multiplied by the exposure time for pixels per second. `None` if it is
        unknown, or if the pixels are in units of flux density, to which a gain in the header does not apply.
    """
    if unit_flux(header) is not None:
        return None
    unit = card_text(header, "BUNIT").lower()
    if unit.startswith(("electron", "e-", "photo-e")):
        gain: Gain | None = Gain(1.0, f"BUNIT = {unit!r}")
    else:
        gain = _from_cards(header)
    if gain is None:
        return None
    if re.search(r"(/\s*s(ec(ond)?)?|[\s.]s(ec)?(\^|\*\*)?-1)$", unit):
        exposure_time = find_exposure_time(header)
        if exposure_time is None:
            return None
        return gain._replace(value=gain.value * exposure_time)
    return gain


def check_gain(gain: Gain, noise: SkyNoise, header: Header) -> Gain:
    """Compare a gain with the noise of the sky.

    Parameters
    ----------
    gain
        Gain of the header.
    noise
        Level and variance of the sky, in the units of the pixels.
    header
        Header of the image, for the read noise.

    Returns
    -------
    gain
        The gain, with a warning if the sky has less noise than its electrons. A gain that would make the
        noise much larger than from the electrons of the sky is replaced by the level over the variance of the
        sky, or by infinity if the sky was subtracted.
    """
    if not min(noise.variance, noise.local) > 0.0:
        return gain
    # Crowded stars or correlated noise falsify one of the two variances.
    variance = np.fmin(noise.local, noise.variance)
    electrons = variance * gain.value**2
    sky = max(noise.level, 0.0) * gain.value
    measured = f"the sky of {noise.level:.4g} scatters by {np.sqrt(variance):.3g}"
    if sky > _FACTOR * np.fmax(noise.local, noise.variance) * gain.value**2:
        warning = (
            f"{measured}, but with {gain.source} it must scatter by at least "
            f"{np.sqrt(noise.level / gain.value):.3g}. Pass --gain if the image is a mean of exposures, or "
            "calibrate it if it has a bias level"
        )
        return gain._replace(warning=warning)
    read_noise = next((n for k in _READ_NOISE if (n := get_number(header, k))), _NOMINAL_READ_NOISE)
    has_sky = noise.level > _SKY_SIGMA * np.sqrt(variance)
    expected = sky + max(read_noise, _NOMINAL_READ_NOISE) ** 2
    if not (has_sky and electrons > _LARGE_FACTOR * expected) and electrons < _MOST_NOISE**2:
        return gain
    warning = (
        f"{measured}, which is {np.sqrt(electrons):.0f} electrons with {gain.source}: that is rather a "
        "setting of the camera than electrons per unit. "
    )
    if not has_sky:
        return Gain(np.inf, "no gain", f"{warning}Pass --gain")
    estimate = float(noise.level / variance)
    return Gain(estimate, "the noise of the sky", f"{warning}{estimate:.3g} is assumed; pass --gain")


def _from_cards(header: Header) -> Gain | None:
    found = []
    for keywords in _KEYWORDS:
        numbers = [number for keyword in keywords if (number := _electrons(header, keyword)) is not None]
        if numbers:
            found.append(Gain(float(np.mean(numbers)), f"{keywords[0]} = {np.mean(numbers):g}"))
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if not 1.0 / _FACTOR < other.value / first.value < _FACTOR:
            return first._replace(warning=f"{first.source} is used and {other.source} is not; pass --gain")
    return first


def _electrons(header: Header, keyword: str) -> float | None:
    """Return the electrons per unit of a card; settings in decibels are none."""
    number = read_number(header, keyword)
    if number is None or number.value <= 0.0:
        return None
    words = f"{number.unit} {header.comments[keyword]}".lower()
    if re.search(r"\bdb\b|decibel|\bsetting\b", words):
        return None
    if re.search(r"\b(?:adu|dn|counts?)s?\s*(?:/|per)\s*(?:photo-?)?e", words):
        return 1.0 / number.value
    return number.value
