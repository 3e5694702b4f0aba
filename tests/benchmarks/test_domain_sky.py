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
"""Tests of the sky of the domains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lsst.meas.trails.core.psf import FWHM_PER_SIGMA, PsfGrid

from domain_sky import GALAXY_SNR, Galaxy, galaxy_rows

# A Sersic profile of index 0.5 is a Gaussian; its light within the half-light ellipse is half of all.
GALAXY = Galaxy(x=120.0, y=110.0, angle=np.deg2rad(30.0), ratio=0.16, radius=8.0, index=0.5, flux=2000.0)


def test_the_snr_of_a_gaussian_galaxy() -> None:
    """SNR is flux over the root of variance and effective area, 4 pi times both convolved widths."""
    fwhm, shape = 4.0, (200, 180)
    variance = np.full((240, 220), 1.44)
    (row,) = galaxy_rows([GALAXY], variance, PsfGrid.gaussian(fwhm, size=31), 20, shape)
    np.testing.assert_allclose(row[:5], [100.0, 90.0, 30.0, 0.16, 20.0])
    widths = np.hypot(np.array([20.0, 3.2]) / np.sqrt(4.0 / 3.0), fwhm / FWHM_PER_SIGMA)
    expected = GALAXY.flux / np.sqrt(1.44 * 4.0 * np.pi * widths.prod())
    # The profile is softened at half a pixel.
    assert row[5] == pytest.approx(expected, rel=0.03)


def test_light_of_a_galaxy_lies_along_its_angle() -> None:
    pixels, light = GALAXY.light((240, 220), 3.0)
    y, x = (axis.astype(float) for axis in np.mgrid[pixels])
    assert light.sum() == pytest.approx(3.0)
    x, y = x - GALAXY.x, y - GALAXY.y
    angle = 0.5 * np.arctan2(2.0 * np.sum(light * x * y), np.sum(light * (x * x - y * y)))
    assert np.rad2deg(angle) == pytest.approx(30.0, abs=0.1)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = np.hypot(along / 20.0, across / 3.2) < 1.0
    assert light[inside].sum() / 3.0 == pytest.approx(0.5, abs=0.03)


def test_faint_and_distant_galaxies_are_not_listed() -> None:
    psf = PsfGrid.gaussian(4.0)
    others = [
        dataclasses.replace(GALAXY, x=10.0),
        dataclasses.replace(GALAXY, y=225.0),
        # The point-source limit is passed, the SNR is not.
        dataclasses.replace(GALAXY, flux=110.0),
        dataclasses.replace(GALAXY, flux=1.0),
    ]
    assert galaxy_rows(others, np.ones((240, 220)), psf, 20, (200, 180)).shape == (0, 6)
    assert GALAXY_SNR == 5.0
