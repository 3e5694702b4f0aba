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

"""FITS headers and images for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits


def tan_header(**cards: object) -> fits.Header:
    """Return a header with a gnomonic WCS and other cards, which may replace it."""
    header = fits.Header()
    wcs = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRPIX1": 40.0,
        "CRPIX2": 32.0,
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CD1_1": -1.4e-4,
        "CD2_2": 1.4e-4,
        "RADESYS": "ICRS",
    }
    for keyword, value in {**wcs, **cards}.items():
        header[keyword] = value
    return header


def write_noise(path: Path, **cards: object) -> Path:
    """Write an image of 64 x 80 pixels of noise with a WCS and other cards."""
    pixels = np.random.default_rng(1).normal(100.0, 10.0, (64, 80)).astype(np.float32)
    fits.PrimaryHDU(pixels, tan_header(**cards)).writeto(path)
    return path
